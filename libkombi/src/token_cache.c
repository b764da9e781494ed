/*
 * Verified tokens, so that a signature is checked once a minute and not once
 * a request. Chained hash table with CLOCK eviction (second chance). Refused
 * tokens have a smaller table of their own: whoever floods us with rubbish
 * evicts rubbish, never a user's session.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define LIFE_MS 60000
#define REFUSED_LIFE_MS 10000
#define REFUSED_SHARE 4    /* one refused entry for so many good ones */
#define BYTES_A_TOKEN 1024 /* of the ceiling; one token may be longer */
#define HASHED 128         /* bytes at the end of a token */

struct entry {
	uint64_t hash;
	char *token; /* NULL: free */
	uint32_t len;
	uint32_t next; /* in the chain: index + 1, 0 ends it */
	uint64_t generation;
	int64_t until_ms; /* monotonic */
	void *value;
	bool used; /* since the hand was here last */
};

struct table {
	struct entry *entries;
	uint32_t *heads; /* index + 1, 0: empty chain */
	uint32_t size, mask, hand;
	size_t bytes, max_bytes;
};

struct kb_token_cache {
	struct table good, refused;
	void (*free_value)(void *);
};

static void
table_init(struct table *t, size_t size)
{
	uint32_t chains = 16;

	while (chains < 2 * size)
		chains *= 2;
	t->size = (uint32_t)size;
	t->mask = chains - 1;
	t->entries = kb_xalloc(size * sizeof(*t->entries));
	t->heads = kb_xalloc(chains * sizeof(*t->heads));
	t->max_bytes = size * BYTES_A_TOKEN;
	if (t->max_bytes < KB_JWT_MAX)
		t->max_bytes = KB_JWT_MAX;
}

struct kb_token_cache *
kb_token_cache_new(size_t entries, void (*free_value)(void *))
{
	struct kb_token_cache *c = kb_xalloc(sizeof(*c));
	size_t refused = entries / REFUSED_SHARE;

	assert(entries > 0 && entries < 1 << 24);
	table_init(&c->good, entries);
	table_init(&c->refused, refused ? refused : 1);
	c->free_value = free_value;
	return c;
}

static uint32_t *
link_to(struct table *t, uint32_t at)
{
	uint32_t *link = &t->heads[t->entries[at].hash & t->mask];

	while (*link != at + 1)
		link = &t->entries[*link - 1].next;
	return link;
}

static void
evict(struct kb_token_cache *c, struct table *t, uint32_t at)
{
	struct entry *e = &t->entries[at];

	*link_to(t, at) = e->next;
	t->bytes -= e->len;
	free(e->token);
	if (e->value && c->free_value)
		c->free_value(e->value);
	memset(e, 0, sizeof(*e));
}

void
kb_token_cache_free(struct kb_token_cache *c)
{
	struct table *tables[2];

	if (!c)
		return;
	tables[0] = &c->good;
	tables[1] = &c->refused;
	for (size_t i = 0; i < KB_COUNT(tables); i++) {
		for (uint32_t at = 0; at < tables[i]->size; at++)
			if (tables[i]->entries[at].token)
				evict(c, tables[i], at);
		free(tables[i]->entries);
		free(tables[i]->heads);
	}
	free(c);
}

static struct entry *
find(struct table *t, uint64_t hash, const char *token, size_t len)
{
	uint32_t at = t->heads[hash & t->mask];

	for (; at; at = t->entries[at - 1].next) {
		struct entry *e = &t->entries[at - 1];

		if (e->hash == hash && e->len == len &&
		    memcmp(e->token, token, len) == 0)
			return e;
	}
	return NULL;
}

/* The entry if it still holds; one that does not is dropped on the way. */
static struct entry *
find_live(struct kb_token_cache *c, struct table *t, uint64_t hash,
    struct kb_slice token, uint64_t generation)
{
	struct entry *e = find(t, hash, token.ptr, token.len);

	if (!e)
		return NULL;
	if (e->generation != generation || kb_mono_coarse_ms() >= e->until_ms) {
		evict(c, t, (uint32_t)(e - t->entries));
		return NULL;
	}
	e->used = true;
	return e;
}

/*
 * Of the end of a token, which is its signature: that is where tokens differ,
 * and hashing all of it would cost more than comparing it once. Tokens made
 * to share their end share a chain of the refused ones at worst, which is
 * shorter than a verification.
 */
static uint64_t
hash_of(const char *token, size_t len)
{
	size_t n = len < HASHED ? len : HASHED;

	return kb_hash(token + len - n, n);
}

enum kb_cached
kb_token_cache_get(struct kb_token_cache *c, const char *token, size_t len,
    uint64_t generation, void **value)
{
	uint64_t hash = hash_of(token, len);
	struct kb_slice s = { token, len };
	struct entry *e = find_live(c, &c->good, hash, s, generation);

	if (e) {
		*value = e->value;
		return KB_CACHE_HIT;
	}
	if (find_live(c, &c->refused, hash, s, generation))
		return KB_CACHE_REFUSED;
	return KB_CACHE_MISS;
}

/* A free place, made by turning the hand until the token fits. */
static uint32_t
make_room(struct kb_token_cache *c, struct table *t, size_t len)
{
	for (;;) {
		uint32_t at = t->hand;
		struct entry *e = &t->entries[at];

		t->hand = at + 1 == t->size ? 0 : at + 1;
		if (e->token && e->used) {
			e->used = false;
			continue;
		}
		if (e->token)
			evict(c, t, at);
		if (t->bytes + len <= t->max_bytes)
			return at;
	}
}

static void
forget(struct kb_token_cache *c, struct table *t, uint64_t hash,
    struct kb_slice token)
{
	struct entry *e = find(t, hash, token.ptr, token.len);

	if (e)
		evict(c, t, (uint32_t)(e - t->entries));
}

static int64_t
life_ms(int64_t expires_s)
{
	int64_t left_s = expires_s - kb_wall_s();

	if (left_s <= 0)
		return 0;
	return left_s < LIFE_MS / 1000 ? left_s * 1000 : LIFE_MS;
}

void
kb_token_cache_put(struct kb_token_cache *c, const char *token, size_t len,
    uint64_t generation, int64_t expires_s, void *value)
{
	struct table *t = value ? &c->good : &c->refused;
	uint64_t hash = hash_of(token, len);
	struct kb_slice s = { token, len };
	struct entry *e;
	uint32_t at;

	/* What is too long is refused faster than it is looked up. */
	assert(!value || len <= KB_JWT_MAX);
	if (!len || len > KB_JWT_MAX)
		return;
	forget(c, &c->good, hash, s);
	forget(c, &c->refused, hash, s);

	at = make_room(c, t, len);
	e = &t->entries[at];
	e->token = kb_xalloc(len);
	memcpy(e->token, token, len);
	e->len = (uint32_t)len;
	e->hash = hash;
	e->generation = generation;
	e->until_ms = kb_mono_coarse_ms() +
	    (value ? life_ms(expires_s) : REFUSED_LIFE_MS);
	e->value = value;
	e->next = t->heads[hash & t->mask];
	t->heads[hash & t->mask] = at + 1;
	t->bytes += len;
}
