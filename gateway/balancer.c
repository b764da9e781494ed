/*
 * Which address takes the next request of a service: targets by turns, by
 * their load or by a hash, addresses of a target by turns. Unhealthy ones are
 * passed over, and for a second those that refused a connection; when none is
 * left, all are tried, unless the file names a threshold.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/time.h>

#include "inside.h"

enum { DOWN_MS = 1000 };

/* Which addresses are good enough; the first that finds one ends it. */
enum pass { GOOD, HEALTHY, PANIC, PANIC_ANY, PASSES };

struct choice {
	struct loop *l;
	const struct upstream *u;
	const struct spot *avoid;
	int64_t now;
	size_t turn;
	uint64_t key;
	enum pass pass;
};

/* ---- addresses of targets ---------------------------------------------------
 */

static void
refresh(struct loop *l, struct seat *seat, struct origin_set *set)
{
	struct peer_address list[PEER_ADDRESSES];
	size_t n = health_spots(
	    l->gateway->health, seat, set->spots, list, &set->generation);

	for (size_t i = 0; i < n; i++) {
		set->origins[i] = kb_client_origin(l->client,
		    (const struct sockaddr *)&list[i].addr, list[i].len);
		set->down_until_ms[i] = 0;
	}
	set->n = n;
}

static struct origin_set *
origins_of(struct loop *l, struct seat *seat)
{
	struct origin_set *set;

	if (seat->index >= l->n_origins) {
		size_t n = seat->index + 64;

		l->origins = kb_xrealloc(l->origins, n * sizeof(*l->origins));
		memset(l->origins + l->n_origins, 0,
		    (n - l->n_origins) * sizeof(*l->origins));
		l->n_origins = n;
	}
	set = l->origins[seat->index];
	if (set == NULL) {
		set = kb_xalloc(sizeof(*set));
		memset(set, 0, sizeof(*set));
		l->origins[seat->index] = set;
	}
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
take(const struct choice *c, size_t target, struct origin_set *set, size_t at,
    struct picked *out)
{
	out->seat = c->u->targets[target].seat;
	out->origin = set->origins[at];
	out->set = set;
	out->spot = set->spots[at];
	out->at = at;
}

/* An address of that target that fits, beginning at `from`. */
static bool
take_any(const struct choice *c, size_t target, size_t from, struct picked *out)
{
	struct origin_set *set = origins_of(c->l, c->u->targets[target].seat);

	for (size_t i = 0; i < set->n; i++) {
		size_t at = (from + i) % set->n;

		if (fits(c, set, at)) {
			take(c, target, set, at, out);
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
		struct origin_set *set = origins_of(
		    c->l, u->targets[target].seat);

		if (!take_any(c, target, set->turn, out))
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
		struct origin_set *set = origins_of(c->l, target->seat);

		for (size_t at = 0; target->weight && at < set->n; at++) {
			uint64_t calls = atomic_load_explicit(
			    &set->spots[at]->calls, memory_order_relaxed);

			if (!fits(c, set, at) ||
			    (weight &&
				!is_less(calls, target->weight, least, weight)))
				continue;
			least = calls;
			weight = target->weight;
			take(c, t, set, at, out);
		}
	}
	return weight > 0;
}

static bool
by_hash(const struct choice *c, struct picked *out)
{
	const struct balance *b = c->u->balance;
	size_t at = ring_find(b, c->key);

	for (size_t i = 0; i < b->ring_n; i++) {
		const struct point *p = &b->ring[(at + i) % b->ring_n];

		if (take_any(c, p->target, (size_t)(c->key & 0xffff), out))
			return true;
	}
	return false;
}

static bool
look(const struct choice *c, struct picked *out)
{
	const struct balance *b = c->u->balance;

	if (b != NULL && b->algorithm == LEAST_CONNECTIONS)
		return by_load(c, out);
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
		struct origin_set *set = origins_of(c->l, t->seat);

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
		.u = u,
		.avoid = out->spot,
		.now = kb_mono_ms(),
		.key = key,
	};
	enum pass end = passes(&c);

	if (u->wheel_n > 1)
		c.turn = local->turns[u->index]++;
	*out = (struct picked) { .upstream = u };
	while (c.pass < end && !look(&c, out))
		c.pass++;
	if (out->origin == NULL)
		return;
	if (c.pass >= PANIC)
		health_count_panic(u);
	if (u->balance && u->balance->algorithm == LEAST_CONNECTIONS) {
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

void
balancer_answered(struct picked *p, int status)
{
	const struct checks *k = p->upstream ? p->upstream->checks : NULL;

	mark(p, 0);
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
	p->counted = false;
}

bool
balancer_has_other(struct loop *l, const struct service *s)
{
	struct choice c = {
		.l = l,
		.u = s->upstream,
		.now = kb_mono_ms(),
		.pass = GOOD,
	};
	struct picked found;

	for (size_t i = 0; i < c.u->n; i++)
		if (c.u->targets[i].weight && take_any(&c, i, 0, &found))
			return true;
	return false;
}
