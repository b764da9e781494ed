/* Clients by their id; each with its stream and subscriptions. */
#include "hub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#define BUCKETS 256
#define CLIENTS_MAX 10000
#define TOPICS_MAX (32u << 20) /* bytes of all clients' subscriptions */

struct client {
	struct client *next;
	char id[CLIENT_ID_SIZE + 1];
	char *peer;
	struct kb_stream *stream;
	/* collection, record and key of who it is, in one arena with the
	 * topics: replaced as a whole */
	struct kb_arena *arena;
	struct client_auth auth;
	const char **topics;
	size_t n, bytes;
};

struct hub {
	pthread_mutex_t lock;
	struct client *table[BUCKETS];
	size_t n;
	size_t bytes; /* of all subscriptions */
};

struct hub *
hub_new(void)
{
	struct hub *hub = kb_xalloc(sizeof(*hub));

	memset(hub, 0, sizeof(*hub));
	pthread_mutex_init(&hub->lock, NULL);
	return hub;
}

void
hub_free(struct hub *hub)
{
	if (hub == NULL)
		return;
	assert(hub->n == 0);
	pthread_mutex_destroy(&hub->lock);
	free(hub);
}

/* Under the lock: where the client of that id is, or would be. */
static struct client **
find(struct hub *hub, const char *id)
{
	struct client **at = &hub->table[kb_hash(id, strlen(id)) % BUCKETS];

	while (*at != NULL && strcmp((*at)->id, id) != 0)
		at = &(*at)->next;
	return at;
}

bool
hub_add(
    struct hub *hub, const char *id, const char *peer, struct kb_stream *stream)
{
	struct client *c;
	bool taken;

	pthread_mutex_lock(&hub->lock);
	taken = hub->n < CLIENTS_MAX && *find(hub, id) == NULL;
	if (taken) {
		c = kb_xalloc(sizeof(*c));
		memset(c, 0, sizeof(*c));
		memcpy(c->id, id, strnlen(id, CLIENT_ID_SIZE));
		c->peer = kb_xstrdup(peer);
		c->stream = kb_stream_ref(stream);
		*find(hub, id) = c;
		hub->n++;
	}
	pthread_mutex_unlock(&hub->lock);
	return taken;
}

static void
client_free(struct client *c)
{
	kb_stream_release(c->stream);
	if (c->arena != NULL)
		kb_arena_free(c->arena);
	free(c->peer);
	free(c);
}

void
hub_remove(struct hub *hub, const char *id)
{
	struct client **at, *c;

	pthread_mutex_lock(&hub->lock);
	at = find(hub, id);
	c = *at;
	if (c != NULL) {
		*at = c->next;
		hub->n--;
		hub->bytes -= c->bytes;
	}
	pthread_mutex_unlock(&hub->lock);
	if (c != NULL)
		client_free(c);
}

void
hub_end(struct hub *hub)
{
	pthread_mutex_lock(&hub->lock);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct client *c = hub->table[i]; c; c = c->next)
			kb_stream_end(c->stream);
	pthread_mutex_unlock(&hub->lock);
}

size_t
hub_count(struct hub *hub)
{
	size_t n;

	pthread_mutex_lock(&hub->lock);
	n = hub->n;
	pthread_mutex_unlock(&hub->lock);
	return n;
}

bool
hub_is_full(struct hub *hub)
{
	return hub_count(hub) >= CLIENTS_MAX;
}

static const char *
copied(struct kb_arena *a, const char *s)
{
	return s ? kb_strdup(a, s) : NULL;
}

static struct client_auth
auth_copy(struct kb_arena *a, const struct client_auth *auth)
{
	return (struct client_auth) {
		.collection_id = copied(a, auth->collection_id),
		.record_id = copied(a, auth->record_id),
		.token_key = copied(a, auth->token_key),
		.until_s = auth->until_s,
	};
}

/* A guest may become somebody; somebody may not become another one. */
static bool
may_become(const struct client_auth *was, const struct client_auth *now)
{
	if (was->record_id == NULL)
		return true;
	return kb_str_eq(was->record_id, now->record_id) &&
	    kb_str_eq(was->collection_id, now->collection_id);
}

static size_t
bytes_of(const char *const *topics)
{
	size_t bytes = 0;

	for (; *topics != NULL; topics++)
		bytes += strlen(*topics) + sizeof(*topics) + 1;
	return bytes;
}

static void
replace(
    struct client *c, const struct client_auth *auth, const char *const *topics)
{
	struct kb_arena *a = kb_arena_new(0);
	size_t n = 0;

	while (topics[n] != NULL)
		n++;
	c->auth = auth_copy(a, auth);
	c->topics = kb_new_array(a, n + 1, const char *);
	for (c->n = 0; c->n < n; c->n++)
		c->topics[c->n] = kb_strdup(a, topics[c->n]);
	if (c->arena != NULL)
		kb_arena_free(c->arena);
	c->arena = a;
}

/* Under the lock: within what all clients together may hold. */
static bool
replace_bounded(struct hub *hub, struct client *c,
    const struct client_auth *auth, const char *const *topics)
{
	size_t bytes = bytes_of(topics), others = hub->bytes - c->bytes;

	if (bytes > c->bytes && bytes > TOPICS_MAX - others)
		return false;
	replace(c, auth, topics);
	c->bytes = bytes;
	hub->bytes = others + bytes;
	return true;
}

enum hub_answer
hub_subscribe(struct hub *hub, const char *id, const char *peer,
    const struct client_auth *auth, const char *const *topics)
{
	enum hub_answer answer = HUB_OK;
	struct client *c;

	pthread_mutex_lock(&hub->lock);
	c = *find(hub, id);
	if (c == NULL)
		answer = HUB_UNKNOWN;
	else if (strcmp(c->peer, peer) != 0)
		answer = HUB_PEER;
	else if (!may_become(&c->auth, auth))
		answer = HUB_AUTH;
	else if (!replace_bounded(hub, c, auth, topics))
		answer = HUB_FULL;
	pthread_mutex_unlock(&hub->lock);
	return answer;
}

bool
hub_unsubscribe(struct hub *hub, const char *client, const char *topic)
{
	size_t left = 0, before = 0;
	struct client *c;

	pthread_mutex_lock(&hub->lock);
	c = *find(hub, client);
	if (c != NULL) {
		before = c->n;
		for (size_t i = 0; i < c->n; i++)
			if (strcmp(c->topics[i], topic) != 0)
				c->topics[left++] = c->topics[i];
		c->n = left;
	}
	pthread_mutex_unlock(&hub->lock);
	return left < before;
}

/* A topic alone, or with "?options=…" behind it. */
static bool
is_about(const char *subscription, const char *topic)
{
	size_t len = strlen(topic);

	return strncmp(subscription, topic, len) == 0 &&
	    (subscription[len] == '\0' || subscription[len] == '?');
}

static bool
is_about_one(const char *subscription, const char *const *topics)
{
	for (; *topics != NULL; topics++)
		if (is_about(subscription, *topics))
			return true;
	return false;
}

/* Who it is now: its token's end is an end of what it may know. */
static struct client_auth
auth_now(struct kb_arena *a, const struct client_auth *auth)
{
	if (auth->until_s > 0 && auth->until_s <= kb_wall_s())
		return (struct client_auth) { NULL, NULL, NULL, 0 };
	return auth_copy(a, auth);
}

/* Under the lock: counts, or with `out` copies. */
static size_t
collect(struct hub *hub, struct kb_arena *a, const char *const *topics,
    struct subscription *out)
{
	size_t n = 0;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct client *c = hub->table[i]; c; c = c->next)
			for (size_t k = 0; k < c->n; k++) {
				if (!is_about_one(c->topics[k], topics))
					continue;
				if (out != NULL)
					out[n] = (struct subscription) {
						kb_strdup(a, c->id),
						kb_strdup(a, c->topics[k]),
						auth_now(a, &c->auth),
					};
				n++;
			}
	return n;
}

void
hub_find(struct hub *hub, struct kb_arena *a, const char *const *topics,
    struct subscription **out, size_t *n)
{
	pthread_mutex_lock(&hub->lock);
	*n = hub->n > 0 ? collect(hub, a, topics, NULL) : 0;
	*out = kb_new_array(a, *n + 1, struct subscription);
	if (*n > 0)
		*n = collect(hub, a, topics, *out);
	pthread_mutex_unlock(&hub->lock);
}

void
hub_send(
    struct hub *hub, const char *client, const char *topic, const char *data)
{
	struct kb_stream *stream = NULL;
	struct client *c;
	struct kb_buf b;

	pthread_mutex_lock(&hub->lock);
	c = *find(hub, client);
	if (c != NULL)
		stream = kb_stream_ref(c->stream);
	pthread_mutex_unlock(&hub->lock);
	if (stream == NULL)
		return;
	kb_buf_init(&b, 64u << 20);
	kb_buf_addf(&b, "id:%s\nevent:%s\ndata:", client, topic);
	kb_buf_adds(&b, data);
	kb_buf_adds(&b, "\n\n");
	if (!kb_buf_failed(&b))
		(void)kb_stream_send(stream, kb_buf_str(&b), b.len);
	kb_buf_free(&b);
	kb_stream_release(stream);
}
