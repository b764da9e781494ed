/*
 * The bound that window.h documents, as a property: replicas, random arrivals
 * and a Redis that lags, loses answers, refuses and forgets, all in simulated
 * time, judged by an exact log of what passed. Each seed is another world.
 */
#include "test.h"

#include <event2/event.h>

#include <kombi/redis.h>
#include <kombi/str.h>
#include <kombi/window.h>

enum { REPLICAS = 4, CALLS = 64, KEYS = 16, LOG = 60000, FIELDS = 6 };

/* ---- time: one clock, that of the test -------------------------------------
 */

static int64_t now_ms = 1700000000000;

/* In the place of the C library, for libkombi and libevent. */
__attribute__((visibility("default"))) int
clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = now_ms / 1000;
	ts->tv_nsec = now_ms % 1000 * 1000000;
	return 0;
}

/* ---- Redis: what the script does, in C --------------------------------------
 */

struct kb_redis_reply {
	int64_t v[3 + 4 * KEYS];
	size_t n;
};

struct counter {
	char key[40];
	uint32_t window;
	int64_t now, before;
};

struct call {
	kb_redis_fn *fn;
	void *arg;
	int64_t due_ms;
	enum kb_redis_result result;
	struct kb_redis_reply reply;
};

static struct {
	struct counter counters[KEYS];
	size_t n;
	int64_t epoch;
	unsigned replicas;
	bool up;
	int lag_ms, lost_percent, refused_percent;
	struct call calls[CALLS];
	size_t n_calls;
} redis;

static unsigned random_state;

static unsigned
draw(unsigned below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

static struct counter *
counter_of(struct kb_slice key)
{
	size_t i = 0;

	while (i < redis.n && !kb_slice_eq(key, redis.counters[i].key))
		i++;
	assert_true(i < KEYS && key.len < sizeof(redis.counters[i].key));
	if (i == redis.n) {
		redis.counters[i] = (struct counter) { .window = 0 };
		memcpy(redis.counters[i].key, key.ptr, key.len);
		redis.n++;
	}
	return &redis.counters[i];
}

static int64_t
above_zero(int64_t n)
{
	return n > 0 ? n : 0;
}

static int64_t
lease_of(const struct counter *c, const int32_t said[FIELDS])
{
	int64_t size = (int64_t)said[4] * 1000;
	int64_t into = now_ms - (int64_t)(uint32_t)said[0] * size;
	int64_t left = said[3] - c->now - c->before * (size - into) / size;
	int64_t lease = left / (4 * (int64_t)redis.replicas);

	return left <= 0 ? 0 : lease > 1 ? lease : 1;
}

static void
count(struct kb_redis_reply *reply, struct kb_slice key,
    const int32_t said[FIELDS])
{
	struct counter *c = counter_of(key);
	uint32_t window = (uint32_t)said[0];
	int64_t lease = 0;

	if (c->window + 1 == window)
		*c = (struct counter) { .before = c->now, .window = window };
	else if (c->window < window)
		*c = (struct counter) { .window = window };
	memcpy(c->key, key.ptr, key.len);
	if (c->window == window) {
		c->now = above_zero(c->now + said[1]);
		c->before = above_zero(c->before + said[2]);
		if (said[5] & 1)
			lease = lease_of(c, said);
		c->now += lease;
	} else {
		c->before = above_zero(c->before + said[1]);
	}
	reply->v[reply->n++] = c->window;
	reply->v[reply->n++] = c->now;
	reply->v[reply->n++] = c->before;
	reply->v[reply->n++] = lease;
}

void
kb_redis_eval(struct kb_redis *r, const struct kb_redis_script *s,
    const struct kb_redis_call *call)
{
	struct call *c = &redis.calls[redis.n_calls++];
	size_t n = (call->argc - 4) / 2;

	(void)r;
	(void)s;
	assert_true(redis.n_calls <= CALLS && n <= KEYS);
	*c = (struct call) {
		.fn = call->fn,
		.arg = call->arg,
		.due_ms = now_ms + 1 + draw((unsigned)redis.lag_ms + 1),
	};
	if (!redis.up || draw(100) < (unsigned)redis.refused_percent) {
		c->result = redis.up ? KB_REDIS_REFUSED : KB_REDIS_DOWN;
		return;
	}
	c->reply.v[c->reply.n++] = redis.epoch;
	c->reply.v[c->reply.n++] = now_ms;
	c->reply.v[c->reply.n++] = redis.replicas;
	for (size_t i = 0; i < n; i++) {
		int32_t said[FIELDS];

		assert_int_equal(call->argv[4 + n + i].len, sizeof(said));
		memcpy(said, call->argv[4 + n + i].ptr, sizeof(said));
		count(&c->reply, call->argv[3 + i], said);
	}
	if (draw(100) < (unsigned)redis.lost_percent) {
		c->result = KB_REDIS_TIMEOUT; /* done, and nobody hears of it */
		c->due_ms = now_ms + 100;
	}
}

static void
deliver(void)
{
	for (size_t i = 0; i < redis.n_calls;) {
		struct call c = redis.calls[i];

		if (c.due_ms > now_ms) {
			i++;
			continue;
		}
		redis.calls[i] = redis.calls[--redis.n_calls];
		c.fn(
		    c.result, c.result == KB_REDIS_OK ? &c.reply : NULL, c.arg);
	}
}

bool
kb_redis_is_up(const struct kb_redis *r)
{
	(void)r;
	return redis.up;
}

void
kb_redis_script_init(struct kb_redis_script *s, const char *text)
{
	s->text = text;
}

/* An item is its own number's place in the reply. */
const struct kb_redis_reply *
kb_redis_item(const struct kb_redis_reply *reply, size_t i)
{
	return reply && i < reply->n
	    ? (const struct kb_redis_reply *)(const void *)&reply->v[i]
	    : NULL;
}

int64_t
kb_redis_int(const struct kb_redis_reply *reply)
{
	return reply ? reply->v[0] : 0;
}

size_t
kb_redis_count(const struct kb_redis_reply *reply)
{
	return reply ? reply->n : 0;
}

struct kb_slice
kb_redis_text(const struct kb_redis_reply *reply)
{
	(void)reply;
	return (struct kb_slice) { "", 0 };
}

/* ---- worlds
 * ------------------------------------------------------------------ */

struct world {
	struct event_base *base;
	struct kb_window *w[REPLICAS];
	struct kb_window_sync *sync[REPLICAS];
	unsigned n;
	int64_t limit, window_s;
	int64_t passed_ms[LOG];
	size_t passed, offered;
	double worst; /* estimate over all replicas, after one that passed */
};

static void
open_world(struct world *w, unsigned seed)
{
	memset(w, 0, sizeof(*w));
	random_state = seed * 2654435761U + 1;
	memset(&redis, 0, sizeof(redis));
	w->n = 1 + draw(REPLICAS);
	w->limit = 5 + draw(400);
	w->window_s = 1 + draw(5);
	redis.up = true;
	redis.replicas = w->n;
	redis.epoch = 1;
	redis.lag_ms = (int)draw(40);
	w->base = event_base_new();
	for (unsigned i = 0; i < w->n; i++) {
		w->w[i] = kb_window_new(
		    &(struct kb_window_conf) { .replicas = w->n, .keys = 512 });
		w->sync[i] = kb_window_sync_new(w->w[i], 0, w->base, NULL);
	}
}

static void
close_world(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++)
		kb_window_sync_free(w->sync[i]);
	now_ms += 1000;
	deliver();
	for (unsigned i = 0; i < w->n; i++)
		kb_window_free(w->w[i]);
	event_base_free(w->base);
}

static void
judge(struct world *w)
{
	int64_t size = w->window_s * 1000, start = now_ms - now_ms % size;
	double now = 0, before = 0, estimate;

	for (size_t i = w->passed; i-- > 0;) {
		if (w->passed_ms[i] < start - size)
			break;
		if (w->passed_ms[i] >= start)
			now++;
		else
			before++;
	}
	estimate = now + before * (double)(size - now_ms % size) / (double)size;
	if (estimate > w->worst)
		w->worst = estimate;
}

static void
arrive(struct world *w)
{
	const struct kb_window_rule rule = { .limit = w->limit,
		.window_s = w->window_s };
	struct kb_window_verdict v;

	w->offered++;
	kb_window_take(w->w[draw(w->n)], kb_slice_of("caller"), &rule, &v);
	if (v.over)
		return;
	assert_true(w->passed < LOG);
	w->passed_ms[w->passed++] = now_ms;
	judge(w);
}

/* So long, with `percent` of the limit offered in bursts and trickles. */
static void
run(struct world *w, int64_t ms, unsigned percent)
{
	int64_t end = now_ms + ms;
	double due = 0,
	       rate = (double)w->limit * percent / 100 /
	    ((double)w->window_s * 1000);

	for (; now_ms < end; now_ms++) {
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		deliver();
		due += rate * (double)draw(200) / 100;
		if (draw(500) == 0) /* all at once */
			due += (double)draw((unsigned)w->limit);
		for (; due >= 1; due--)
			arrive(w);
	}
}

/* As window.h has it. */
static double
bound(const struct world *w, int times)
{
	int64_t share = (w->limit + w->n - 1) / w->n;

	return (double)(w->limit + times * (int64_t)(w->n - 1) * share) + 1;
}

static struct world world;

static void
the_bound_holds_whatever_the_lag_and_the_load(void **state)
{
	double worst = 0;
	struct kb_window_stats stats;

	(void)state;
	for (unsigned seed = 1; seed <= 150; seed++) {
		open_world(&world, seed);
		run(&world, 6000, 50 + draw(300));
		if (world.worst > bound(&world, 1))
			fail_msg("seed %u: %.1f, limit %d, %u replicas", seed,
			    world.worst, (int)world.limit, world.n);
		kb_window_stats(world.w[0], &stats);
		if (!stats.shared || stats.exchanges < 5)
			fail_msg("seed %u: shared %d, %d exchanges, %d failed",
			    seed, stats.shared, (int)stats.exchanges,
			    (int)stats.failed_exchanges);
		if (world.n == 1)
			assert_true(world.worst <= (double)world.limit + 1);
		if (world.worst / (double)world.limit > worst)
			worst = world.worst / (double)world.limit;
		close_world(&world);
	}
	print_message("worst estimate: %.2f of the limit\n", worst);
}

static void
lost_answers_and_refusals_do_not_open_the_gate(void **state)
{
	(void)state;
	for (unsigned seed = 1000; seed < 1100; seed++) {
		open_world(&world, seed);
		redis.lost_percent = (int)draw(60);
		redis.refused_percent = (int)draw(60);
		run(&world, 6000, 50 + draw(300));
		if (world.worst > bound(&world, 1))
			fail_msg("seed %u: %.1f, limit %d, %u replicas", seed,
			    world.worst, (int)world.limit, world.n);
		close_world(&world);
	}
}

static void
without_redis_replicas_come_to_the_limit_together(void **state)
{
	(void)state;
	for (unsigned seed = 2000; seed < 2060; seed++) {
		open_world(&world, seed);
		redis.up = false;
		run(&world, 6000, 100 + draw(300));
		/* Each rounds its share up. */
		if (world.worst > (double)(world.limit + world.n) + 1)
			fail_msg("seed %u: %.1f, limit %d, %u replicas", seed,
			    world.worst, (int)world.limit, world.n);
		close_world(&world);
	}
}

static void
what_comes_and_goes_stays_within_the_bound(void **state)
{
	(void)state;
	for (unsigned seed = 3000; seed < 3100; seed++) {
		open_world(&world, seed);
		for (int i = 0; i < 6; i++) {
			redis.up = draw(2);
			run(&world, 1000, 50 + draw(300));
			if (i == 3) { /* it comes back empty */
				redis.n = 0;
				redis.epoch++;
			}
		}
		if (world.worst > bound(&world, 2))
			fail_msg("seed %u: %.1f, limit %d, %u replicas", seed,
			    world.worst, (int)world.limit, world.n);
		close_world(&world);
	}
}

static void
who_stays_well_below_is_never_refused(void **state)
{
	(void)state;
	for (unsigned seed = 4000; seed < 4050; seed++) {
		int64_t end;

		open_world(&world, seed);
		world.limit += 100;
		end = now_ms + 8000;
		for (int64_t n = 0; now_ms < end; now_ms++, n++) {
			event_base_loop(world.base, EVLOOP_NONBLOCK);
			deliver();
			if (n % (world.window_s * 1000 * 2 / world.limit + 1) ==
			    0)
				arrive(&world);
		}
		assert_int_equal(world.passed, world.offered);
		close_world(&world);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bound_holds_whatever_the_lag_and_the_load),
		cmocka_unit_test(
		    lost_answers_and_refusals_do_not_open_the_gate),
		cmocka_unit_test(
		    without_redis_replicas_come_to_the_limit_together),
		cmocka_unit_test(what_comes_and_goes_stays_within_the_bound),
		cmocka_unit_test(who_stays_well_below_is_never_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
