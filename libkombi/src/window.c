/*
 * Sliding windows: the table and the decision. A fixed table in 64 shards;
 * each look-up is one hash, one lock, one set of eight keys. A full set gives
 * up its oldest entry.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <kombi/arena.h>
#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "window_private.h"

/* ---- life ---------------------------------------------------------------- */

static void
shard_init(struct window_shard *shard, size_t n_sets)
{
	size_t entries = n_sets * WINDOW_WAYS;
	void *sets = NULL;

	pthread_mutex_init(&shard->lock, NULL);
	if (posix_memalign(&sets, 64, n_sets * sizeof(*shard->sets)) != 0)
		abort();
	memset(sets, 0, n_sets * sizeof(*shard->sets));
	shard->sets = sets;
	shard->dirty = kb_xalloc((entries + 63) / 64 * sizeof(uint64_t));
	memset(shard->dirty, 0, (entries + 63) / 64 * sizeof(uint64_t));
}

struct kb_window *
kb_window_new(const struct kb_window_conf *conf)
{
	size_t keys = conf->keys ? conf->keys : 65536;
	struct kb_window *w = NULL;
	unsigned char random[16];

	if (posix_memalign((void **)&w, 64, sizeof(*w)) != 0)
		abort();
	memset(w, 0, sizeof(*w));
	for (w->n_sets = 1; w->n_sets * WINDOW_SHARDS * WINDOW_WAYS < keys;)
		w->n_sets *= 2;
	for (size_t i = 0; i < WINDOW_SHARDS; i++)
		shard_init(&w->shards[i], w->n_sets);
	w->n_parts = conf->loops ? conf->loops : 1;
	assert(w->n_parts <= WINDOW_SHARDS);
	w->parts = kb_xalloc(w->n_parts * sizeof(*w->parts));
	memset(w->parts, 0, w->n_parts * sizeof(*w->parts));
	for (unsigned i = 0; i < w->n_parts; i++)
		w->parts[i].wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->configured = conf->replicas ? conf->replicas : 1;
	w->replicas = w->configured;
	w->sync_ms = conf->sync_ms ? conf->sync_ms : 50;
	w->offset_ms = kb_wall_ms() - kb_mono_ms();
	snprintf(w->namespace, sizeof(w->namespace), "%s",
	    conf->namespace ? conf->namespace : "kombi");
	kb_random(random, sizeof(random));
	kb_hex(random, sizeof(random), w->replica);
	return w;
}

void
kb_window_free(struct kb_window *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < WINDOW_SHARDS; i++) {
		pthread_mutex_destroy(&w->shards[i].lock);
		free(w->shards[i].sets);
		free(w->shards[i].dirty);
	}
	for (unsigned i = 0; i < w->n_parts; i++) {
		assert(!w->parts[i].attached);
		if (w->parts[i].wake >= 0)
			close(w->parts[i].wake);
	}
	free(w->parts);
	free(w);
}

/* ---- time -----------------------------------------------------------------
 */

int64_t
window_now_ms(const struct kb_window *w)
{
	return kb_mono_ms() +
	    atomic_load_explicit(&w->offset_ms, memory_order_relaxed);
}

void
window_roll(struct window_entry *e, uint32_t number)
{
	int32_t gone = (int32_t)(number - e->number);

	if (gone == 0)
		return;
	/* What is left of a lease was counted and not used. */
	e->own_now -= e->lease;
	e->lease = 0;
	e->ask_after = 0;
	e->number = number;
	if (gone < 0) /* the clock went back: nothing is forgiven */
		return;
	e->global_before = gone == 1 ? e->global_now : 0;
	e->own_before = gone == 1 ? e->own_now : 0;
	e->passed_before = gone == 1 ? e->passed_now : 0;
	e->unsure_before = gone == 1 ? e->unsure_now : 0;
	e->global_now = e->own_now = e->passed_now = e->unsure_now = 0;
}

/* ---- arithmetic ------------------------------------------------------------
 */

struct moment {
	int64_t into, size; /* milliseconds */
};

static int64_t
faded(int64_t before, struct moment m)
{
	return before <= 0 ? 0 : before * (m.size - m.into) / m.size;
}

static int64_t
sum_now(const struct window_entry *e)
{
	return (int64_t)e->global_now + e->own_now + e->unsure_now;
}

static int64_t
sum_before(const struct window_entry *e)
{
	return (int64_t)e->global_before + e->own_before + e->unsure_before;
}

static int64_t
estimate(const struct window_entry *e, struct moment m)
{
	return sum_now(e) + faded(sum_before(e), m);
}

/* Smallest x >= 0 with total * (size - x) / size, rounded down, < limit. */
static int64_t
fades_after(int64_t total, int64_t limit, int64_t size)
{
	if (total <= 0 || total < limit)
		return 0;
	return size - (limit * size - 1) / total;
}

int64_t
window_wait_ms(const struct window_entry *e, int64_t into_ms)
{
	int64_t size = (int64_t)e->window_s * 1000;
	int64_t now = sum_now(e), before = sum_before(e), at;

	if (now < e->limit)
		at = fades_after(before, e->limit - now, size);
	else
		at = size + fades_after(now, e->limit, size);
	return at > into_ms ? at - into_ms : 0;
}

/* ---- the table --------------------------------------------------------------
 */

static void
identify(const struct kb_window *w, struct kb_slice key, int64_t window_s,
    unsigned char id[WINDOW_ID])
{
	unsigned char digest[KB_SHA256_SIZE];
	const struct kb_slice parts[] = {
		{ (const char *)&window_s, sizeof(window_s) },
		key,
	};

	kb_hmac_sha256_parts(
	    w->namespace, strlen(w->namespace), parts, 2, digest);
	memcpy(id, digest, WINDOW_ID);
}

/* A way of the set for a new key: a free one, else whose last window is
 * longest over. */
static size_t
victim_of(
    struct window_shard *shard, const struct window_set *set, int64_t now_ms)
{
	int64_t oldest = INT64_MAX;
	size_t chosen = 0;

	for (size_t i = 0; i < WINDOW_WAYS; i++) {
		const struct window_entry *e = &set->entry[i];
		int64_t end;

		if (set->key[i] == 0)
			return i;
		end = ((int64_t)e->number + 2) * e->window_s * 1000;
		if (end < oldest) {
			oldest = end;
			chosen = i;
		}
	}
	shard->evicted += oldest > now_ms;
	return chosen;
}

static size_t
find(const struct window_set *set, uint64_t hash)
{
	size_t i = 0;

	while (i < WINDOW_WAYS && set->key[i] != hash)
		i++;
	return i;
}

/* ---- the decision
 * ------------------------------------------------------------
 */

struct ask {
	struct kb_window *w;
	struct window_part *part;
	struct window_shard *shard;
	struct window_entry *e;
	size_t index; /* of the entry in its shard */
	struct moment m;
	int64_t now_ms;
};

static void
poke(struct window_part *part)
{
	const uint64_t one = 1;

	if (atomic_exchange_explicit(&part->poked, true, memory_order_relaxed))
		return;
	if (write(part->wake, &one, sizeof(one)) < 0)
		part->poked = false; /* the regular exchange does it */
}

static bool
want_lease(const struct ask *a)
{
	if ((int32_t)((uint32_t)a->now_ms - a->e->ask_after) < 0 &&
	    a->e->ask_after != 0)
		return false;
	a->e->want = true;
	return true;
}

/* Whether one more passes where several replicas share; spends a lease. */
static bool
share_allows(const struct ask *a, int64_t used, bool *urgent)
{
	struct window_entry *e = a->e;
	bool up = atomic_load_explicit(&a->part->up, memory_order_relaxed);
	int64_t replicas = a->w->replicas, own, share;

	if (e->lease > 0) {
		e->lease--;
		e->active = true;
		if (2 * e->lease <= e->chunk && up)
			*urgent = want_lease(a);
		return true;
	}
	if (up && used * 100 >= (int64_t)e->limit * WINDOW_PREFETCH_PERCENT)
		*urgent = want_lease(a);
	if (up && used * 100 >= (int64_t)e->limit * WINDOW_LEASE_PERCENT)
		return false;
	own = (int64_t)e->own_now + e->unsure_now +
	    faded((int64_t)e->own_before + e->unsure_before, a->m);
	share = (e->limit - (used - own) + replicas - 1) / replicas;
	if (up && 4 * (own + 1) >= share)
		*urgent = true;
	if (used >= e->limit || own >= share)
		return false;
	e->own_now++;
	return true;
}

/* True if it passes. */
static bool
decide(const struct ask *a, int64_t used, bool *urgent)
{
	struct window_entry *e = a->e;
	bool attached = atomic_load_explicit(
	    &a->part->attached, memory_order_relaxed);
	bool ok;

	if (attached && a->w->replicas > 1) {
		ok = share_allows(a, used, urgent);
	} else {
		/* A lease from when there were more: counted already. */
		ok = e->lease > 0 || used < e->limit;
		if (ok && e->lease > 0)
			e->lease--;
		else if (ok)
			e->own_now++;
	}
	if (ok)
		e->passed_now++;
	if (attached && (ok || *urgent))
		window_mark(a->shard, a->index);
	return ok;
}

static void
judge(const struct ask *a, struct kb_window_verdict *out, bool *urgent)
{
	struct window_entry *e = a->e;
	int64_t used = estimate(e, a->m), left;

	out->over = !decide(a, used, urgent);
	out->limit = e->limit;
	out->wait_s = 0;
	left = e->limit - estimate(e, a->m) + e->lease;
	if (out->over) {
		int64_t wait = window_wait_ms(e, a->m.into);

		a->shard->refused++;
		a->shard->rationed += used < e->limit;
		out->wait_s = wait > 1000 ? (wait + 999) / 1000 : 1;
		left = 0;
	} else {
		a->shard->passed++;
	}
	out->remaining = left > 0 ? left : 0;
	out->reset_s = ((int64_t)e->number + 1) * e->window_s;
}

/* The entry of the key in its shard, made if need be; the lock is held. */
static void
open_entry(struct ask *a, uint64_t hash, struct kb_slice key, int64_t window_s)
{
	size_t set_index = hash & (a->w->n_sets - 1);
	struct window_set *set = &a->shard->sets[set_index];
	uint32_t number = (uint32_t)(a->now_ms / a->m.size);
	size_t way = find(set, hash);

	if (way == WINDOW_WAYS) {
		way = victim_of(a->shard, set, a->now_ms);
		a->shard->made++;
		set->key[way] = hash;
		memset(&set->entry[way], 0, sizeof(set->entry[way]));
		set->entry[way].window_s = (uint32_t)window_s;
		set->entry[way].number = number;
		identify(a->w, key, window_s, set->entry[way].id);
	}
	a->e = &set->entry[way];
	a->index = set_index * WINDOW_WAYS + way;
	window_roll(a->e, number);
}

void
kb_window_take(struct kb_window *w, struct kb_slice key, int64_t limit,
    int64_t window_s, struct kb_window_verdict *out)
{
	uint64_t hash = kb_hash(key.ptr, key.len) ^
	    (uint64_t)window_s * 0x9e3779b97f4a7c15;
	size_t shard = hash >> 58;
	struct ask a = { .w = w,
		.part = &w->parts[shard % w->n_parts],
		.shard = &w->shards[shard],
		.m.size = window_s * 1000,
		.now_ms = window_now_ms(w) };
	bool urgent = false;

	assert(limit > 0 && limit <= 1000000000);
	assert(window_s > 0 && window_s <= 31536000);
	a.m.into = a.now_ms % a.m.size;
	pthread_mutex_lock(&a.shard->lock);
	open_entry(&a, hash ? hash : 1, key, window_s);
	a.e->limit = (uint32_t)limit;
	judge(&a, out, &urgent);
	pthread_mutex_unlock(&a.shard->lock);
	if (urgent)
		poke(a.part);
}

void
kb_window_stats(struct kb_window *w, struct kb_window_stats *out)
{
	*out = (struct kb_window_stats) {
		.shared = true,
		.replicas = w->replicas,
		.exchanges = w->exchanges,
		.exchanged_keys = w->exchanged_keys,
		.failed_exchanges = w->failed,
		.recoveries = w->recoveries,
		.clock_moves = w->moves,
	};
	for (unsigned i = 0; i < w->n_parts; i++)
		if (!w->parts[i].up)
			out->shared = false;
	for (size_t i = 0; i < WINDOW_SHARDS; i++) {
		struct window_shard *s = &w->shards[i];

		pthread_mutex_lock(&s->lock);
		out->passed += s->passed;
		out->refused += s->refused;
		out->rationed += s->rationed;
		out->keys_made += s->made;
		out->keys_evicted += s->evicted;
		pthread_mutex_unlock(&s->lock);
	}
}
