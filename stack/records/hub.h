/*
 * The realtime clients of a tenant, beside its open database. Thread-safe.
 */
#ifndef STACK_HUB_H
#define STACK_HUB_H

#include <kombi/stream.h>

#include "records.h"

#define CLIENT_ID_SIZE 40
#define SUBSCRIPTIONS_MAX 1000
#define SUBSCRIPTION_LEN 2500

/* Who a client is: looked up anew before anything is told to it. */
struct client_auth {
	const char *collection_id, *record_id; /* NULL: a guest */
	const char *token_key; /* as it was; another one: a guest since */
	int64_t until_s;       /* end of its token; a guest since. 0: none */
};

/* One subscription of one client, copied out of the hub. */
struct subscription {
	const char *client, *topic; /* topic: as it was asked for */
	struct client_auth auth;
};

struct hub;

struct hub *hub_new(void);
void hub_free(struct hub *hub); /* NULL is fine; no client may be left */
/* A new client; false: there are too many. Takes a reference of the stream. */
bool hub_add(struct hub *hub, const char *id, const char *peer,
    struct kb_stream *stream);
void hub_remove(struct hub *hub, const char *id);
/* Ends all clients' streams: the tenant is suspended or goes. */
void hub_end(struct hub *hub);
size_t hub_count(struct hub *hub);
bool hub_is_full(struct hub *hub);

enum hub_answer { HUB_OK, HUB_UNKNOWN, HUB_PEER, HUB_AUTH, HUB_FULL };
/* Replaces the client's subscriptions. HUB_AUTH: it was somebody else.
 * HUB_FULL: all clients' together are too many. */
enum hub_answer hub_subscribe(struct hub *hub, const char *id, const char *peer,
    const struct client_auth *auth, const char *const *topics);
/* Subscriptions to one of the topics, with or without options. */
void hub_find(struct hub *hub, struct kb_arena *a, const char *const *topics,
    struct subscription **out, size_t *n);
/* Takes one topic off; false: it was not subscribed to. */
bool hub_unsubscribe(struct hub *hub, const char *client, const char *topic);
/* One event: "id:…\nevent:topic\ndata:…\n\n". */
void hub_send(
    struct hub *hub, const char *client, const char *topic, const char *data);

#endif
