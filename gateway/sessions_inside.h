/*
 * A session as one loop holds it: sessions.c keeps them, sessions_refresh.c
 * gets them new tokens.
 */
#ifndef GATEWAY_SESSIONS_INSIDE_H
#define GATEWAY_SESSIONS_INSIDE_H

#include <kombi/redis.h>

#include "oidc_inside.h"

struct live {
	unsigned char id[SESSION_ID];
	struct loop *loop;          /* NULL: it has ended */
	struct live *next;          /* in its bucket */
	struct live *newer, *older; /* by use */
	bool listed;
	unsigned refs; /* the table's, and answers under way */
	struct oidc_client *client;
	struct session_times times;
	struct kb_arena *arena; /* of the three below */
	char *key, *place, *lock;
	struct kb_arena *record; /* NULL: nothing is known */
	struct session session;
	struct token_entry *entry;
	int64_t loaded_ms, retry_ms, touched_ms;
	bool loading, gone;
	struct session_wait *waiters;
	/* while it is refreshed */
	bool refreshing, locked;
	int64_t refresh_again_ms;
	unsigned looks, writes;
	char nonce[23]; /* of the lock */
	struct event *timer;
};

enum {
	SESSION_REDIS_MS = 500,
	SESSION_EARLY_S = 60, /* before its end a token is refreshed beside */
	SESSION_LOCK_MS = 20000, /* longer than a refresh may take */
};

void live_unref(struct live *s);
/* The loop is about to end: nothing is begun any more. */
bool live_has_ended(const struct live *s);
/* Takes over the arena. */
void
live_adopt(struct live *s, struct kb_arena *a, const struct session *session);
/* The record as it came from Redis; false: it is none of ours. */
bool live_adopt_text(struct live *s, struct kb_slice text);
/* It is over: here, and in Redis. */
void live_end(struct live *s);
/* Those that wait for it go on, or its tokens are refreshed first. */
void live_wake(struct live *s);
/* `argv` is NULL-ended text, at most 8. */
void session_redis(
    struct loop *l, const char *const *argv, kb_redis_fn *fn, void *arg);
/* For how long the record may lie unused; at most to its absolute end. */
int64_t session_ttl(const struct session *s, const struct session_times *times);
/* True: it is under way, and live_wake comes when it is over. */
bool live_refresh(struct live *s);

#endif
