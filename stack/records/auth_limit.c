/*
 * How often something may be tried: so many times from the first one on, until
 * its time is over. Exact for each key, in this process; when there are too
 * many keys, those that end first are forgotten.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "auth.h"

#define SETS 4096
#define WAYS 8

struct slot {
	uint64_t key;
	int64_t end_ms; /* monotonic; in the past: free */
	int64_t n;
};

struct auth_limits {
	pthread_mutex_t lock;
	struct slot slots[SETS][WAYS];
};

struct auth_limits *
auth_limits_new(void)
{
	struct auth_limits *l = kb_xalloc(sizeof(*l));

	memset(l, 0, sizeof(*l));
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

void
auth_limits_free(struct auth_limits *l)
{
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static uint64_t
key_of(struct api *api, const struct auth_limit *limit, const char *who)
{
	const char *text = kb_sprintf(api->req->cx.arena, "%s\n%s\n%s",
	    api->tenant->row.id, limit->what, who);

	return kb_hash(text, strlen(text));
}

/* Under the lock. */
static struct slot *
find(struct auth_limits *l, uint64_t key, int64_t now)
{
	struct slot *set = l->slots[key % SETS];

	for (size_t i = 0; i < WAYS; i++)
		if (set[i].key == key && set[i].end_ms > now)
			return &set[i];
	return NULL;
}

static struct slot *
ends_first(struct auth_limits *l, uint64_t key)
{
	struct slot *set = l->slots[key % SETS], *first = &set[0];

	for (size_t i = 1; i < WAYS; i++)
		if (set[i].end_ms < first->end_ms)
			first = &set[i];
	return first;
}

bool
auth_limit_take(
    struct api *api, const struct auth_limit *limit, const char *who)
{
	struct auth_limits *l = stack_state(kb_app(api->req))->auth_limits;
	uint64_t key = key_of(api, limit, who);
	int64_t now = kb_mono_ms();
	struct slot *s;
	bool may;

	pthread_mutex_lock(&l->lock);
	s = find(l, key, now);
	if (s == NULL) {
		s = ends_first(l, key);
		*s = (struct slot) { key, now + limit->window_s * 1000, 0 };
	}
	may = s->n < limit->most;
	s->n += may;
	pthread_mutex_unlock(&l->lock);
	return may;
}

void
auth_limit_give(
    struct api *api, const struct auth_limit *limit, const char *who)
{
	struct auth_limits *l = stack_state(kb_app(api->req))->auth_limits;
	uint64_t key = key_of(api, limit, who);
	struct slot *s;

	pthread_mutex_lock(&l->lock);
	s = find(l, key, kb_mono_ms());
	if (s != NULL && s->n > 0)
		s->n--;
	pthread_mutex_unlock(&l->lock);
}
