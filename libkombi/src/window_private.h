/*
 * Inside of the sliding windows: window.c decides, window_sync.c exchanges
 * counts with Redis.
 */
#ifndef KOMBI_WINDOW_PRIVATE_H
#define KOMBI_WINDOW_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <kombi/window.h>

enum {
	WINDOW_SHARDS = 64,
	WINDOW_WAYS = 8,
	WINDOW_ID = 16,
	WINDOW_LEASE_PERCENT = 80,
	WINDOW_PREFETCH_PERCENT = 70,
};

struct window_entry {
	unsigned char id[WINDOW_ID]; /* the key as Redis knows it */
	uint32_t window_s, limit;
	uint32_t number; /* of the present window, since the epoch */
	/* Redis' counts as last heard, our leases included. */
	int32_t global_now, global_before;
	/* Ours that Redis has not acknowledged; negative: given back. */
	int32_t own_now, own_before;
	/* Ours that were sent and not answered: Redis may have them, so they
	 * are neither sent again nor forgotten before it is heard. */
	int32_t unsure_now, unsure_before;
	/* All that we let through. */
	int32_t passed_now, passed_before;
	/* Of global_now: ours of the last exchange. Others may have sent as
	 * much at the same time, which the next one tells. */
	int32_t recent;
	int32_t lease, chunk; /* to spend, part of global_now; as granted */
	uint32_t ask_after;   /* no lease to be had before; ms, low 32 bits */
	uint32_t epoch; /* of Redis' data that knows our counts; 0: none */
	uint8_t kind;   /* enum kb_window_kind */
	bool want;      /* a lease */
	bool refresh;   /* hear once more what the others did meanwhile */
	bool active;    /* used its lease since the last regular look */
};

/* Keys in one cache line, so that a look-up touches two. */
struct window_set {
	uint64_t key[WINDOW_WAYS]; /* 0: free */
	struct window_entry entry[WINDOW_WAYS];
};

struct window_shard {
	pthread_mutex_t lock; /* covers all of the shard */
	struct window_set *sets;
	uint64_t *dirty; /* bit an entry: the exchange shall look at it */
	uint64_t passed, refused, rationed, made, evicted;
} __attribute__((aligned(64)));

struct window_part {
	_Atomic bool attached; /* a sync looks after it */
	_Atomic bool up;       /* and Redis answers */
	_Atomic bool poked;
	int wake; /* eventfd */
};

struct kb_window {
	struct window_shard shards[WINDOW_SHARDS];
	void *memory;  /* of the sets: zero pages until they are used */
	size_t n_sets; /* a shard, a power of two */
	struct window_part *parts;
	unsigned n_parts;
	unsigned configured;       /* replicas */
	_Atomic unsigned replicas; /* reckoned with */
	_Atomic int64_t offset_ms; /* shared time - monotonic */
	int64_t sync_ms;
	char namespace[64];
	char replica[33];
	_Atomic uint64_t exchanges, exchanged_keys, failed, recoveries, moves;
};

/* Where a time lies in its window. */
struct window_moment {
	uint32_t number;    /* of the window, since the epoch */
	int64_t into, size; /* milliseconds */
	bool slides;
};

struct window_moment
window_moment(enum kb_window_kind kind, int64_t window_s, int64_t now_ms);
/* Milliseconds since the epoch as all replicas agree on. */
int64_t window_now_ms(const struct kb_window *w);
/* Makes the entry's window that of `number`. */
void window_roll(struct window_entry *e, uint32_t number);
/* Milliseconds until the estimate falls below the limit. */
int64_t window_wait_ms(const struct window_entry *e, struct window_moment m);

static inline struct window_entry *
window_entry_at(struct window_shard *shard, size_t i)
{
	return &shard->sets[i / WINDOW_WAYS].entry[i % WINDOW_WAYS];
}

static inline void
window_mark(struct window_shard *shard, size_t i)
{
	shard->dirty[i / 64] |= (uint64_t)1 << (i % 64);
}

#endif
