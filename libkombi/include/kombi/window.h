/*
 * Request limits in sliding windows and in windows of the calendar, decided in
 * this process and shared by all replicas through Redis off the hot path
 * (DESIGN 3 and 4.7).
 *
 * Estimate (the formula of Kong's rate-limiting-advanced): requests of the
 * present window + requests of the window before x the part of it that is
 * still inside of the last `window_s` seconds, rounded down. A request is let
 * through if the estimate before it is below the limit; refused ones do not
 * count. So in each aligned window at most `limit` pass, and in any window_s
 * seconds at most limit + (part of them in the newer window) x (those of the
 * older window): even arrivals stay at the limit; a burst at the very end of
 * one window followed by an even window approaches twice the limit, which is
 * the price of two counters a key.
 *
 * Windows that do not slide (FIXED, MONTH, YEAR) begin with nothing and end at
 * once, in UTC; no more than `limit` pass in each.
 *
 * Sharing. Counts that Redis does not have yet are exchanged every sync_ms,
 * up to 128 keys in one script call. Between two exchanges a replica lets
 * through at most its share, (limit - estimate) / replicas rounded up; when
 * a quarter of that is used the exchange is made at once. What was a large
 * part of a limit takes two exchanges: the others may have said as much in the
 * meantime. From 80 % of a limit
 * on only what was leased from Redis beforehand passes. Bound: the estimate
 * over all replicas exceeds the limit by no more than what other replicas let
 * through between two exchanges, in the worst case (all of them hit at the
 * same instant, none having heard of the key) by (replicas - 1) x
 * ceil(limit / replicas). With one replica it is exact.
 *
 * Redis away: the same share rule goes on without exchanges, so each replica
 * comes to limit / replicas; nothing waits. When Redis is back everything
 * that it missed or lost is sent again.
 *
 * Time is monotonic, set to Redis' clock when it answers: a jump of the wall
 * clock has no effect, a jump of Redis' clock costs at most one window.
 */
#ifndef KOMBI_WINDOW_H
#define KOMBI_WINDOW_H

#include <kombi/base.h>

struct event_base;
struct kb_redis;
struct kb_window;
struct kb_window_sync;

/* Zero stands for the value named. */
struct kb_window_conf {
	/* Replicas with the same one share their counts. Up to 63 characters;
	 * "kombi". */
	const char *namespace;
	size_t keys;       /* remembered, then idle ones go: 65,536 */
	unsigned replicas; /* at least that many are expected: 1; more are
			      noticed through Redis */
	unsigned loops;    /* that will sync: 1, at most 64 */
	int64_t sync_ms;   /* 50 */
};

struct kb_window *kb_window_new(const struct kb_window_conf *conf);
/* After all its syncs. NULL is fine. */
void kb_window_free(struct kb_window *w);

enum kb_window_kind {
	KB_WINDOW_SLIDING,
	KB_WINDOW_FIXED, /* begins at multiples of window_s */
	KB_WINDOW_MONTH, /* window_s has no meaning */
	KB_WINDOW_YEAR,
};

struct kb_window_rule {
	enum kb_window_kind kind;
	int64_t limit;    /* 1 to 1e9 */
	int64_t window_s; /* 1 to 31,536,000 */
};

struct kb_window_verdict {
	int64_t limit, remaining;
	int64_t reset_s;  /* unix time at which the present window ends */
	int64_t reset_in; /* seconds until then, at least 1 */
	int64_t wait_s; /* until a request would pass, at least 1; 0: passed */
	bool over;      /* refused, and not counted */
	bool alone;     /* Redis was to be asked and is away */
};

/*
 * One more request of `key` (any bytes; only a hash leaves the process). The
 * same key under another kind or window_s is another counter. Any thread; a
 * lock is held for some dozen instructions; never waits for Redis.
 */
void kb_window_take(struct kb_window *w, struct kb_slice key,
    const struct kb_window_rule *rule, struct kb_window_verdict *out);
/* Takes back what has just passed. */
void kb_window_give(struct kb_window *w, struct kb_slice key,
    const struct kb_window_rule *rule);

/*
 * Lets one loop exchange the counts of its part (index < conf.loops) of the
 * table. Parts without a sync are counted in this process only. The client's
 * ACL user needs EVALSHA, EVAL and ~rl:* with GET SET TIME ZADD
 * ZREMRANGEBYSCORE ZCARD PEXPIRE. Belongs to the loop's thread. Free it before
 * the client; what is unsent then is sent by a sync that comes later.
 */
struct kb_window_sync *kb_window_sync_new(struct kb_window *w, unsigned index,
    struct event_base *base, struct kb_redis *redis);
void kb_window_sync_free(struct kb_window_sync *s);

struct kb_window_stats {
	bool shared;       /* every part is exchanging with Redis */
	unsigned replicas; /* as reckoned with */
	uint64_t passed, refused;
	uint64_t rationed; /* refused for want of a share or lease, below
			      the limit */
	uint64_t keys_made, keys_evicted; /* evicted: still counting ones */
	uint64_t exchanges, exchanged_keys, failed_exchanges;
	uint64_t recoveries;  /* Redis had lost its data */
	uint64_t clock_moves; /* our time was set by Redis' */
};
/* Any thread. */
void kb_window_stats(struct kb_window *w, struct kb_window_stats *out);

#endif
