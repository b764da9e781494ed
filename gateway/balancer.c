/*
 * Which address takes the next request of a service: targets by turns, by
 * their load or by a hash, addresses of a target by turns. Unhealthy ones are
 * passed over, and for a second those that refused a connection; when none is
 * left, all are tried, unless the file names a threshold.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { DOWN_MS = 1000, UNUSED_MS = 10000 };

/* Which addresses are good enough; the first that finds one ends it. */
enum pass { GOOD, HEALTHY, PANIC, PANIC_ANY, PASSES };

struct choice {
	struct loop *l;
	const struct local *local;
	const struct service *s;
	const struct upstream *u;
	const struct instance *only; /* NULL: any target */
	const struct spot *avoid;
	int64_t now;
	size_t turn;
	uint64_t key;
	enum pass pass;
};

/* ---- addresses of targets ---------------------------------------------------
 */

/* How an address is spoken to: another pool for another certificate or name. */
struct wire {
	struct kb_tls_client *tls; /* NULL: plain */
	const char *name;
};

static struct wire
wire_of(const struct choice *c, const struct seat *seat)
{
	struct wire w = { c->s->tls, c->s->tls_name };

	if (c->only != NULL) {
		w.tls = c->only->tls ? c->local->snapshot->instance_tls : NULL;
		w.name = NULL;
	}
	if (w.name == NULL)
		w.name = seat->host;
	return w;
}

static void
drop_origins(struct origin_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		kb_origin_unref(set->origins[i]);
	set->n = 0;
}

static void
refresh(struct loop *l, struct seat *seat, struct origin_set *set)
{
	struct peer_address list[PEER_ADDRESSES];
	size_t n = health_spots(
	    l->gateway->health, seat, set->spots, list, &set->generation);

	drop_origins(set);
	for (size_t i = 0; i < n; i++) {
		const struct sockaddr *sa = (const void *)&list[i].addr;

		set->origins[i] = set->tls
		    ? kb_client_origin_tls(
			  l->client, sa, list[i].len, set->tls, set->name)
		    : kb_client_origin(l->client, sa, list[i].len);
		set->down_until_ms[i] = 0;
	}
	set->n = n;
}

static struct origin_set *
new_set(const struct wire *w, const struct seat *seat, struct origin_set *next)
{
	struct origin_set *set = kb_xalloc(sizeof(*set));

	memset(set, 0, sizeof(*set));
	set->next = next;
	set->serial = seat->serial;
	if (w->tls != NULL) {
		set->tls = kb_tls_client_ref(w->tls);
		set->name = kb_xstrdup(w->name);
	}
	return set;
}

static void
set_free(struct origin_set *set)
{
	drop_origins(set);
	kb_tls_client_unref(set->tls);
	free(set->name);
	free(set);
}

void
origin_sets_free(struct origin_set *set)
{
	while (set != NULL) {
		struct origin_set *next = set->next;

		set_free(set);
		set = next;
	}
}

void
balancer_turn(struct loop *l)
{
	const struct snapshot *now_used = l->local->snapshot;
	int64_t now = kb_mono_ms();

	for (size_t i = 0; i < l->n_origins; i++) {
		struct origin_set **at = &l->origins[i];

		while (*at != NULL) {
			struct origin_set *set = *at;

			if (set->pins > 0 ||
			    (now - set->used_ms < UNUSED_MS &&
				(set->tls == NULL ||
				    snapshot_uses_tls(now_used, set->tls)))) {
				at = &set->next;
				continue;
			}
			*at = set->next;
			set_free(set);
		}
	}
}

static struct origin_set *
origins_of(const struct choice *c, struct seat *seat)
{
	struct wire w = wire_of(c, seat);
	struct loop *l = c->l;
	struct origin_set *set;

	if (seat->index >= l->n_origins) {
		size_t n = seat->index + 64;

		l->origins = kb_xrealloc(l->origins, n * sizeof(*l->origins));
		memset(l->origins + l->n_origins, 0,
		    (n - l->n_origins) * sizeof(*l->origins));
		l->n_origins = n;
	}
	for (set = l->origins[seat->index]; set != NULL; set = set->next)
		if (set->serial == seat->serial && set->tls == w.tls &&
		    (w.tls == NULL || kb_str_eq(set->name, w.name)))
			break;
	if (set == NULL) {
		set = new_set(&w, seat, l->origins[seat->index]);
		l->origins[seat->index] = set;
	}
	set->used_ms = c->now;
	if (set->n == 0 ||
	    set->generation !=
		atomic_load_explicit(
		    &seat->peer->generation, memory_order_acquire))
		refresh(l, seat, set);
	return set;
}

static bool
fits(const struct choice *c, const struct origin_set *set, size_t at)
{
	const struct spot *spot = set->spots[at];

	if (c->pass <= HEALTHY && !spot_is_healthy(c->u, spot))
		return false;
	if (c->pass == HEALTHY || c->pass == PANIC_ANY)
		return true;
	return set->down_until_ms[at] <= c->now && spot != c->avoid;
}

static void
take(const struct seat *seat, struct origin_set *set, size_t at,
    struct picked *out)
{
	out->seat = seat;
	out->origin = set->origins[at];
	out->set = set;
	out->spot = set->spots[at];
	out->at = at;
}

/* An address of that target that fits, beginning at `from`. */
static bool
take_any(
    const struct choice *c, struct seat *seat, size_t from, struct picked *out)
{
	struct origin_set *set = origins_of(c, seat);

	for (size_t i = 0; i < set->n; i++) {
		size_t at = (from + i) % set->n;

		if (fits(c, set, at)) {
			take(seat, set, at, out);
			return true;
		}
	}
	return false;
}

/* ---- the algorithms
 * ------------------------------------------------------------
 */

static bool
by_turns(const struct choice *c, struct picked *out)
{
	const struct upstream *u = c->u;

	for (size_t i = 0; i < u->wheel_n; i++) {
		size_t target = u->wheel[(c->turn + i) % u->wheel_n];
		struct seat *seat = u->targets[target].seat;
		struct origin_set *set = origins_of(c, seat);

		if (!take_any(c, seat, set->turn, out))
			continue;
		set->turn = out->at + 1;
		return true;
	}
	return false;
}

static bool
is_less(uint64_t calls, int64_t weight, uint64_t than, int64_t its_weight)
{
	return (calls + 1) * (uint64_t)its_weight <
	    (than + 1) * (uint64_t)weight;
}

/* The least of (calls + 1) / weight; equal ones by turns. */
static bool
by_load(const struct choice *c, struct picked *out)
{
	const struct upstream *u = c->u;
	uint64_t least = 0;
	int64_t weight = 0;

	for (size_t i = 0; i < u->n; i++) {
		size_t t = (c->turn + i) % u->n;
		const struct target *target = &u->targets[t];
		struct origin_set *set = origins_of(c, target->seat);

		for (size_t at = 0; target->weight && at < set->n; at++) {
			uint64_t calls = atomic_load_explicit(
			    &set->spots[at]->calls, memory_order_relaxed);

			if (!fits(c, set, at) ||
			    (weight &&
				!is_less(calls, target->weight, least, weight)))
				continue;
			least = calls;
			weight = target->weight;
			take(target->seat, set, at, out);
		}
	}
	return weight > 0;
}

static uint64_t
score_of(const struct choice *c, struct spot *spot)
{
	return latency_score(
	    atomic_load_explicit(&spot->mean_us, memory_order_relaxed),
	    c->now -
		atomic_load_explicit(&spot->sampled_ms, memory_order_relaxed),
	    atomic_load_explicit(&spot->calls, memory_order_relaxed));
}

/* The quicker of two: the one whose turn it is, and any other one. All to
 * the quickest would make it the slowest. */
static bool
by_latency(const struct choice *c, struct picked *out)
{
	const struct upstream *u = c->u;
	size_t turn = c->turn % u->wheel_n;
	size_t other = u->wheel_n < 2
	    ? 0
	    : 1 + (c->turn * 2654435761U >> 7) % (u->wheel_n - 1);
	size_t pair[] = { turn, (turn + other) % u->wheel_n };
	struct picked best = { 0 };

	for (size_t i = 0; i < KB_COUNT(pair); i++) {
		struct seat *seat = u->targets[u->wheel[pair[i]]].seat;
		struct picked one = *out;

		if (take_any(c, seat, c->turn, &one) &&
		    (best.spot == NULL ||
			score_of(c, one.spot) < score_of(c, best.spot)))
			best = one;
	}
	if (best.spot == NULL)
		return by_turns(c, out);
	*out = best;
	return true;
}

static bool
by_hash(const struct choice *c, struct picked *out)
{
	const struct balance *b = c->u->balance;
	size_t at = ring_find(b, c->key);

	for (size_t i = 0; i < b->ring_n; i++) {
		const struct point *p = &b->ring[(at + i) % b->ring_n];

		if (take_any(c, c->u->targets[p->target].seat,
			(size_t)(c->key & 0xffff), out))
			return true;
	}
	return false;
}

static bool
look(const struct choice *c, struct picked *out)
{
	const struct balance *b = c->u->balance;

	if (c->only != NULL)
		return take_any(c, c->only->seat, c->turn, out);
	if (b != NULL && b->algorithm == LEAST_CONNECTIONS)
		return by_load(c, out);
	if (b != NULL && b->algorithm == LATENCY && c->u->wheel_n)
		return by_latency(c, out);
	if (b != NULL && b->algorithm == CONSISTENT_HASHING && c->key)
		return by_hash(c, out);
	return by_turns(c, out);
}

/* Percent of the weight that is healthy. */
static int64_t
available(const struct choice *c)
{
	int64_t total = 0, good = 0;

	for (size_t i = 0; i < c->u->n; i++) {
		const struct target *t = &c->u->targets[i];
		struct origin_set *set = origins_of(c, t->seat);

		for (size_t at = 0; at < set->n; at++) {
			total += t->weight;
			if (spot_is_healthy(c->u, set->spots[at]))
				good += t->weight;
		}
	}
	return total ? good * 100 / total : 0;
}

static enum pass
passes(const struct choice *c)
{
	const struct checks *k = c->u->checks;

	if (k == NULL)
		return PANIC;
	/* The data is there and nowhere else: no reason to try all the same. */
	if (c->only != NULL)
		return PANIC;
	if (k->threshold < 0)
		return PASSES;
	return available(c) > k->threshold ? PANIC : GOOD;
}

void
balancer_pick(struct loop *l, struct local *local, const struct service *s,
    uint64_t key, struct picked *out)
{
	const struct upstream *u = s->upstream;
	struct choice c = {
		.l = l,
		.local = local,
		.s = s,
		.u = u,
		.only = out->only,
		.avoid = out->spot,
		.now = kb_mono_ms(),
		.key = key,
	};
	enum pass end = passes(&c);

	if (u->wheel_n > 1 || c.only != NULL)
		c.turn = local->turns[u->index]++;
	*out = (struct picked) { .upstream = u, .only = c.only };
	while (c.pass < end && !look(&c, out))
		c.pass++;
	if (out->origin == NULL)
		return;
	out->set->pins++;
	out->pinned = true;
	if (c.pass >= PANIC)
		health_count_panic(u);
	if (u->balance &&
	    (u->balance->algorithm == LEAST_CONNECTIONS ||
		u->balance->algorithm == LATENCY)) {
		out->began_ns = kb_mono_ns();
		atomic_fetch_add(&out->spot->calls, 1);
		out->counted = true;
	}
}

/* ---- what became of it
 * ---------------------------------------------------------
 */

/* Addresses may have changed meanwhile. */
static void
mark(struct picked *p, int64_t down_until)
{
	if (p->set != NULL && p->at < p->set->n &&
	    p->set->spots[p->at] == p->spot)
		p->set->down_until_ms[p->at] = down_until;
}

/* Until the head of the answer; two loops at once may lose one sample. */
static void
sample(struct picked *p)
{
	struct spot *spot = p->spot;
	int64_t now = kb_mono_ms(), took = kb_mono_ns() - p->began_ns;

	atomic_store(&spot->mean_us,
	    latency_mean(atomic_load(&spot->mean_us),
		now - atomic_load(&spot->sampled_ms), (uint64_t)took / 1000));
	atomic_store(&spot->sampled_ms, now);
}

void
balancer_answered(struct picked *p, int status)
{
	const struct checks *k = p->upstream ? p->upstream->checks : NULL;

	mark(p, 0);
	if (p->counted && p->upstream->balance->algorithm == LATENCY)
		sample(p);
	if (k != NULL && k->watches && p->spot)
		health_status(p->seat, p->spot, &k->passive, status);
}

void
balancer_failed(struct picked *p, enum kb_call_error error)
{
	const struct checks *k = p->upstream ? p->upstream->checks : NULL;

	if (error == KB_CALL_CONNECT)
		mark(p, kb_mono_ms() + DOWN_MS);
	if (k != NULL && k->watches && p->spot)
		health_report(p->seat, p->spot, &k->passive.limits,
		    error == KB_CALL_TIMEOUT ? FAIL_TIMEOUT : FAIL_TCP, 0);
	balancer_over(p);
}

void
balancer_over(struct picked *p)
{
	if (p->counted)
		atomic_fetch_sub(&p->spot->calls, 1);
	if (p->pinned)
		p->set->pins--;
	p->counted = p->pinned = false;
}

bool
balancer_has_other(struct loop *l, const struct local *local,
    const struct service *s, const struct instance *only)
{
	struct choice c = {
		.l = l,
		.local = local,
		.s = s,
		.u = s->upstream,
		.only = only,
		.now = kb_mono_ms(),
		.pass = GOOD,
	};
	struct picked found;

	if (only != NULL)
		return take_any(&c, only->seat, 0, &found);
	for (size_t i = 0; i < c.u->n; i++)
		if (c.u->targets[i].weight &&
		    take_any(&c, c.u->targets[i].seat, 0, &found))
			return true;
	return false;
}
