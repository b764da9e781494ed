/*
 * Windows of requests: the table and the decision. A fixed table in 64 shards;
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
shards_init(struct kb_window *w)
{
	size_t words = (w->n_sets * WINDOW_WAYS + 63) / 64;
	struct window_set *sets;

	w->memory = calloc(1, WINDOW_SHARDS * w->n_sets * sizeof(*sets) + 64);
	if (w->memory == NULL)
		abort();
	sets = (struct window_set *)(((uintptr_t)w->memory + 63) &
	    ~(uintptr_t)63);
	for (size_t i = 0; i < WINDOW_SHARDS; i++) {
		struct window_shard *shard = &w->shards[i];

		pthread_mutex_init(&shard->lock, NULL);
		shard->sets = sets + i * w->n_sets;
		shard->dirty = kb_xalloc(words * sizeof(uint64_t));
		memset(shard->dirty, 0, words * sizeof(uint64_t));
	}
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
	shards_init(w);
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
		free(w->shards[i].dirty);
	}
	free(w->memory);
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

/* Days since the epoch of the first of a month; months count from 1970. */
static int64_t
days_to_month(int64_t months)
{
	static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243,
		273, 304, 334 };
	int64_t year = 1970 + months / 12, past = year - 1;
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return (year - 1970) * 365 + (past / 4 - 1969 / 4) -
	    (past / 100 - 1969 / 100) + (past / 400 - 1969 / 400) +
	    before[months % 12] + (leap && months % 12 > 1);
}

static struct window_moment
calendar_moment(int64_t step, int64_t now_ms)
{
	const int64_t day_ms = 86400000;
	int64_t days = now_ms / day_ms;
	int64_t months = days * 12 / 366 / step * step; /* never too late */
	int64_t begin, end;

	while (days_to_month(months + step) <= days)
		months += step;
	begin = days_to_month(months) * day_ms;
	end = days_to_month(months + step) * day_ms;
	return (struct window_moment) {
		.number = (uint32_t)(months / step),
		.into = now_ms - begin,
		.size = end - begin,
	};
}

struct window_moment
window_moment(enum kb_window_kind kind, int64_t window_s, int64_t now_ms)
{
	int64_t size = window_s * 1000;

	if (kind == KB_WINDOW_MONTH || kind == KB_WINDOW_YEAR)
		return calendar_moment(kind == KB_WINDOW_YEAR ? 12 : 1, now_ms);
	return (struct window_moment) {
		.number = (uint32_t)(now_ms / size),
		.into = now_ms % size,
		.size = size,
		.slides = kind == KB_WINDOW_SLIDING,
	};
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
	e->recent = 0;
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

static int64_t
faded(int64_t before, struct window_moment m)
{
	if (before <= 0 || !m.slides)
		return 0;
	return before * (m.size - m.into) / m.size;
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
estimate(const struct window_entry *e, struct window_moment m)
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
window_wait_ms(const struct window_entry *e, struct window_moment m)
{
	int64_t now = sum_now(e), at;

	if (!m.slides)
		return now < e->limit ? 0 : m.size - m.into;
	if (now < e->limit)
		at = fades_after(sum_before(e), e->limit - now, m.size);
	else
		at = m.size + fades_after(now, e->limit, m.size);
	return at > m.into ? at - m.into : 0;
}

/* ---- the table --------------------------------------------------------------
 */

static void
identify(const struct kb_window *w, struct kb_slice key,
    const struct kb_window_rule *rule, unsigned char id[WINDOW_ID])
{
	unsigned char digest[KB_SHA256_SIZE];
	const int64_t which[2] = { rule->window_s, rule->kind };
	const struct kb_slice parts[] = {
		{ (const char *)which, sizeof(which) },
		key,
	};

	kb_hmac_sha256_parts(
	    w->namespace, strlen(w->namespace), parts, 2, digest);
	memcpy(id, digest, WINDOW_ID);
}

/* When the last of its counts has no meaning any more. */
static int64_t
forgotten_ms(const struct window_entry *e)
{
	int64_t months = e->kind == KB_WINDOW_YEAR ? 12 : 1;

	if (e->kind == KB_WINDOW_MONTH || e->kind == KB_WINDOW_YEAR)
		return days_to_month(((int64_t)e->number + 1) * months) *
		    86400000;
	return ((int64_t)e->number + (e->kind == KB_WINDOW_SLIDING ? 2 : 1)) *
	    e->window_s * 1000;
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
		end = forgotten_ms(e);
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
	struct window_moment m;
	int64_t now_ms;
	bool attached; /* a sync looks after the part */
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
	/* So early that the next one finds it. */
	if (up &&
	    (used + 1) * 100 >= (int64_t)e->limit * WINDOW_PREFETCH_PERCENT)
		*urgent = want_lease(a);
	if (up && used * 100 >= (int64_t)e->limit * WINDOW_LEASE_PERCENT)
		return false;
	own = (int64_t)e->own_now + e->unsure_now +
	    faded((int64_t)e->own_before + e->unsure_before, a->m);
	own += e->recent;
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
	bool ok;

	if (a->attached && a->w->replicas > 1) {
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
	if (a->attached && (ok || *urgent))
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
		int64_t wait = window_wait_ms(e, a->m);

		a->shard->refused++;
		a->shard->rationed += used < e->limit;
		out->wait_s = wait > 1000 ? (wait + 999) / 1000 : 1;
		left = 0;
	} else {
		a->shard->passed++;
	}
	out->remaining = left > 0 ? left : 0;
	out->reset_s = (a->now_ms - a->m.into + a->m.size) / 1000;
	out->reset_in = (a->m.size - a->m.into + 999) / 1000;
	out->alone = a->attached &&
	    !atomic_load_explicit(&a->part->up, memory_order_relaxed);
}

static uint64_t
hash_of(struct kb_slice key, const struct kb_window_rule *rule)
{
	uint64_t which = (uint64_t)rule->window_s * 4 + rule->kind;
	uint64_t hash = kb_hash(key.ptr, key.len) ^ which * 0x9e3779b97f4a7c15;

	return hash ? hash : 1;
}

static struct ask
begin(struct kb_window *w, uint64_t hash, const struct kb_window_rule *rule)
{
	size_t shard = hash >> 58;
	struct ask a = {
		.w = w,
		.part = &w->parts[shard % w->n_parts],
		.shard = &w->shards[shard],
		.now_ms = window_now_ms(w),
	};

	assert(rule->limit > 0 && rule->limit <= 1000000000);
	assert(rule->window_s > 0 && rule->window_s <= 31536000);
	a.m = window_moment(rule->kind, rule->window_s, a.now_ms);
	a.attached = atomic_load_explicit(
	    &a.part->attached, memory_order_relaxed);
	return a;
}

/* The entry of the key in its shard; the lock is held. False: there is none. */
static bool
look_up(struct ask *a, uint64_t hash)
{
	size_t set_index = hash & (a->w->n_sets - 1);
	struct window_set *set = &a->shard->sets[set_index];
	size_t way = find(set, hash);

	if (way == WINDOW_WAYS)
		return false;
	a->e = &set->entry[way];
	a->index = set_index * WINDOW_WAYS + way;
	window_roll(a->e, a->m.number);
	return true;
}

static void
make_entry(struct ask *a, uint64_t hash, struct kb_slice key,
    const struct kb_window_rule *rule)
{
	size_t set_index = hash & (a->w->n_sets - 1);
	struct window_set *set = &a->shard->sets[set_index];
	size_t way = victim_of(a->shard, set, a->now_ms);

	a->shard->made++;
	a->e = &set->entry[way];
	a->index = set_index * WINDOW_WAYS + way;
	set->key[way] = hash;
	memset(a->e, 0, sizeof(*a->e));
	a->e->window_s = (uint32_t)rule->window_s;
	a->e->kind = (uint8_t)rule->kind;
	a->e->number = a->m.number;
	identify(a->w, key, rule, a->e->id);
}

void
kb_window_take(struct kb_window *w, struct kb_slice key,
    const struct kb_window_rule *rule, struct kb_window_verdict *out)
{
	uint64_t hash = hash_of(key, rule);
	struct ask a = begin(w, hash, rule);
	bool urgent = false;

	pthread_mutex_lock(&a.shard->lock);
	if (!look_up(&a, hash))
		make_entry(&a, hash, key, rule);
	a.e->limit = (uint32_t)rule->limit;
	judge(&a, out, &urgent);
	pthread_mutex_unlock(&a.shard->lock);
	if (urgent)
		poke(a.part);
}

void
kb_window_give(
    struct kb_window *w, struct kb_slice key, const struct kb_window_rule *rule)
{
	uint64_t hash = hash_of(key, rule);
	struct ask a = begin(w, hash, rule);

	pthread_mutex_lock(&a.shard->lock);
	if (look_up(&a, hash) && a.e->passed_now > 0) {
		a.e->passed_now--;
		a.e->own_now--;
		a.shard->passed--;
		if (a.attached)
			window_mark(a.shard, a.index);
	}
	pthread_mutex_unlock(&a.shard->lock);
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
