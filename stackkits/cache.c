/*
 * Verdicts by content hash. A document is judged once for a kit's content;
 * the same answer is given until something newer needs its place.
 */
#include "stackkits.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS = 4, MAX_REPORT = 64 << 10 };

struct entry {
	char key[65];
	char *report;
	uint64_t used;
};

struct sk_cache {
	pthread_mutex_t lock; /* covers everything below */
	struct entry *entries;
	size_t sets;
	uint64_t clock;
};

struct sk_cache *
sk_cache_new(size_t entries)
{
	struct sk_cache *c = kb_xalloc(sizeof(*c));

	*c = (struct sk_cache) { .sets = (entries + WAYS - 1) / WAYS };
	pthread_mutex_init(&c->lock, NULL);
	c->entries = calloc(c->sets * WAYS, sizeof(*c->entries));
	if (c->entries == NULL)
		c->sets = 0; /* works without */
	return c;
}

void
sk_cache_free(struct sk_cache *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->sets * WAYS; i++)
		free(c->entries[i].report);
	free(c->entries);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Keys are hex of SHA-256: their first digits spread well enough. */
static struct entry *
set_of(const struct sk_cache *c, const char key[65])
{
	uint64_t n = 0;

	for (int i = 0; i < 12; i++)
		n = n * 31 + (unsigned char)key[i];
	return &c->entries[n % c->sets * WAYS];
}

const char *
sk_cache_get(struct sk_cache *c, struct kb_arena *a, const char key[65])
{
	const char *found = NULL;

	if (c->sets == 0)
		return NULL;
	pthread_mutex_lock(&c->lock);
	for (struct entry *e = set_of(c, key), *end = e + WAYS; e < end; e++)
		if (e->report != NULL && strcmp(e->key, key) == 0) {
			e->used = ++c->clock;
			found = kb_strdup(a, e->report);
			break;
		}
	pthread_mutex_unlock(&c->lock);
	return found;
}

void
sk_cache_put(struct sk_cache *c, const char key[65], const char *report)
{
	struct entry *place;

	if (c->sets == 0 || strlen(report) > MAX_REPORT)
		return;
	pthread_mutex_lock(&c->lock);
	place = set_of(c, key);
	for (struct entry *e = place, *end = e + WAYS; e < end; e++) {
		if (e->report != NULL && strcmp(e->key, key) == 0) {
			place = e;
			break;
		}
		if (e->used < place->used)
			place = e;
	}
	free(place->report);
	memcpy(place->key, key, 65);
	place->report = kb_xstrdup(report);
	place->used = ++c->clock;
	pthread_mutex_unlock(&c->lock);
}
