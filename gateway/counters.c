/*
 * Sliding window counters of a process, shared by its loops: a fixed table
 * of small sets, each shard under a lock that is held for a few dozen
 * instructions. The estimate is the present window plus the part of the one
 * before that still counts. A full set gives up its oldest entry.
 */
#include <pthread.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "gateway.h"

enum { SHARDS = 64, SETS = 128, WAYS = 16 };

struct counter {
	uint64_t key;
	uint32_t window; /* number of the present window, since the epoch */
	uint32_t now, before;
};

struct shard {
	pthread_mutex_t lock; /* covers sets */
	struct counter sets[SETS][WAYS];
};

static struct shard shards[SHARDS] = {
	[0 ... SHARDS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER },
};

static struct counter *
counter_of(struct counter *set, uint64_t key, uint32_t window)
{
	struct counter *c = &set[0];

	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].window < c->window)
			c = &set[i];
	}
	*c = (struct counter) { .key = key, .window = window };
	return c;
}

static void
roll(struct counter *c, uint32_t window)
{
	if (c->window == window)
		return;
	c->before = c->window + 1 == window ? c->now : 0;
	c->now = 0;
	c->window = window;
}

/* Requests in the window that ends now, rounded down. */
static int64_t
estimate(const struct counter *c, int64_t into_ms, int64_t window_ms)
{
	return (int64_t)c->now +
	    (int64_t)c->before * (window_ms - into_ms) / window_ms;
}

void
counter_take(
    uint64_t subject, int64_t window_s, int64_t limit, struct counted *out)
{
	uint64_t mixed[2] = { subject, (uint64_t)window_s };
	uint64_t key = kb_hash(mixed, sizeof(mixed)) | 1;
	struct shard *shard = &shards[key >> 58];
	int64_t now_ms = kb_wall_ms(), window_ms = window_s * 1000;
	uint32_t window = (uint32_t)(now_ms / window_ms);
	struct counter *c;
	int64_t used;

	pthread_mutex_lock(&shard->lock);
	c = counter_of(shard->sets[(key >> 32) % SETS], key, window);
	roll(c, window);
	used = estimate(c, now_ms % window_ms, window_ms);
	out->over = used >= limit;
	if (!out->over) {
		c->now++;
		used++;
	}
	pthread_mutex_unlock(&shard->lock);
	out->limit = limit;
	out->remaining = used < limit ? limit - used : 0;
	out->reset_s = ((int64_t)window + 1) * window_s;
	out->wait_s = out->reset_s - now_ms / 1000;
	if (out->wait_s < 1)
		out->wait_s = 1;
}
