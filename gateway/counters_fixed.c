/*
 * Counters of fixed windows, aligned to the calendar: a table of small sets
 * as in counters.c. A full set gives up what has ended, then what ends first,
 * so that a flood of new subjects in short windows takes no long one away.
 */
#include <pthread.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "gateway.h"

enum { SHARDS = 64, SETS = 128, WAYS = 16 };

struct counter {
	uint64_t key; /* of subject and window */
	uint32_t ends, count;
};

static struct shard {
	pthread_mutex_t lock; /* covers sets */
	struct counter sets[SETS][WAYS];
} shards[SHARDS] = {
	[0 ... SHARDS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER },
};

static uint64_t
key_of(uint64_t subject, int64_t begin_s)
{
	uint64_t mixed[2] = { subject, (uint64_t)begin_s };

	return kb_hash(mixed, sizeof(mixed)) | 1;
}

static struct counter *
find(struct counter *set, uint64_t key)
{
	for (int i = 0; i < WAYS; i++)
		if (set[i].key == key)
			return &set[i];
	return NULL;
}

static struct counter *
make(struct counter *set, uint64_t key, int64_t end_s)
{
	struct counter *c = &set[0];

	for (int i = 1; i < WAYS; i++)
		if (set[i].ends < c->ends)
			c = &set[i];
	*c = (struct counter) { .key = key, .ends = (uint32_t)end_s };
	return c;
}

void
counter_take_fixed(uint64_t subject, int64_t begin_s, int64_t end_s,
    int64_t limit, struct counted *out)
{
	uint64_t key = key_of(subject, begin_s);
	struct shard *shard = &shards[key >> 58];
	struct counter *set = shard->sets[(key >> 32) % SETS], *c;
	int64_t used;

	pthread_mutex_lock(&shard->lock);
	c = find(set, key);
	if (c == NULL)
		c = make(set, key, end_s);
	out->over = c->count >= limit;
	if (!out->over)
		c->count++;
	used = c->count;
	pthread_mutex_unlock(&shard->lock);
	out->limit = limit;
	out->remaining = used < limit ? limit - used : 0;
	out->reset_s = end_s;
	out->wait_s = end_s - kb_wall_s();
	if (out->wait_s < 1)
		out->wait_s = 1;
}

void
counter_give_fixed(uint64_t subject, int64_t begin_s)
{
	uint64_t key = key_of(subject, begin_s);
	struct shard *shard = &shards[key >> 58];
	struct counter *c;

	pthread_mutex_lock(&shard->lock);
	c = find(shard->sets[(key >> 32) % SETS], key);
	if (c != NULL && c->count > 0)
		c->count--;
	pthread_mutex_unlock(&shard->lock);
}
