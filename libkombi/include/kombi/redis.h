/*
 * Redis client on a libevent loop: one connection, asynchronous, RESP2.
 * It connects by itself, again and again with jittered back-off, and tells
 * at once when Redis cannot be asked: nobody waits for a dead Redis.
 *
 * Breaker: after three failures in a row (a timeout, a lost connection, an
 * answer such as -LOADING, -READONLY or -OOM) the connection is dropped and
 * commands fail at once. In the background it is made anew; a PING that is
 * answered within command_ms brings the client back, less than a second after
 * Redis is well again.
 *
 * A client belongs to the thread of its loop; kb_redis_is_up and
 * kb_redis_stats may be called from any thread.
 */
#ifndef KOMBI_REDIS_H
#define KOMBI_REDIS_H

#include <kombi/base.h>
#include <kombi/log.h>
#include <kombi/secret.h>

struct event_base;
struct kb_redis;
struct kb_redis_reply;

/* Strings and the secret are copied. Zero stands for the value named. */
struct kb_redis_conf {
	struct event_base *base;
	/* Name, address, or "/path" of a unix socket. Names are looked up off
	 * the loop, anew for each connection. Required. */
	const char *host;
	int port;                         /* 6379 */
	const char *user;                 /* ACL user; NULL: "default" */
	const struct kb_secret *password; /* NULL or not set: no AUTH */
	int database;                     /* 0 */
	int64_t connect_ms;               /* name, connect, AUTH, SELECT: 500 */
	int64_t command_ms;               /* a command's answer: 20 */
	uint32_t inflight;                /* commands without answer: 128 */
	size_t reply_max;                 /* bytes of one answer: 8 MiB */
	const struct kb_log *log; /* parent of its lines; outlives it; or NULL
				   */
	/* Instead of those lines: Redis was lost, or is back after that. On
	 * the loop; must not free the client. */
	void (*changed)(void *arg, bool is_up, const char *why);
	void *arg;
};

/* Starts to connect; never fails. */
struct kb_redis *kb_redis_new(const struct kb_redis_conf *conf);
/* Outstanding callbacks run inside with KB_REDIS_CLOSED. May be called in a
 * callback; nothing may be started then. NULL is fine. */
void kb_redis_free(struct kb_redis *r);

enum kb_redis_result {
	KB_REDIS_OK,      /* an answer that is not an error */
	KB_REDIS_ERROR,   /* Redis found the command wrong; text in reply */
	KB_REDIS_REFUSED, /* Redis cannot serve now: loading, read-only, full */
	KB_REDIS_DOWN,    /* no connection or breaker open; not sent */
	KB_REDIS_BUSY,    /* too many in flight; not sent */
	KB_REDIS_TIMEOUT, /* no answer in time; may have been done */
	KB_REDIS_CLOSED,  /* connection lost; may have been done */
};
const char *kb_redis_result_name(enum kb_redis_result result);

/* `reply` is set for OK, ERROR and REFUSED and valid during the call only. */
typedef void kb_redis_fn(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg);

struct kb_redis_call {
	const struct kb_slice *argv; /* any bytes; copied */
	size_t argc;
	kb_redis_fn *fn; /* NULL: nobody is interested */
	void *arg;
	int64_t timeout_ms; /* 0: the client's command_ms */
};

/* Starts a command. The callback runs exactly once, later (never inside this
 * call), on the loop. */
void kb_redis_start(struct kb_redis *r, const struct kb_redis_call *call);

/* A Lua script. Static storage, or longer than all clients. */
struct kb_redis_script {
	const char *text;
	char sha[41]; /* filled by kb_redis_script_init */
};

void kb_redis_script_init(struct kb_redis_script *s, const char *text);
/* EVALSHA; argv begins with the number of keys. When Redis does not know the
 * script, once more as EVAL, within the same time: that also loads it. */
void kb_redis_eval(struct kb_redis *r, const struct kb_redis_script *s,
    const struct kb_redis_call *call);

/* ---- replies ------------------------------------------------------------- */

enum kb_redis_kind {
	KB_REDIS_NIL,
	KB_REDIS_INT,
	KB_REDIS_TEXT, /* bulk or simple string, or an error's text */
	KB_REDIS_LIST,
};

/* All take NULL for a nil, and answer 0, empty or NULL for another kind. */
enum kb_redis_kind kb_redis_kind(const struct kb_redis_reply *reply);
int64_t kb_redis_int(const struct kb_redis_reply *reply);
struct kb_slice kb_redis_text(const struct kb_redis_reply *reply);
size_t kb_redis_count(const struct kb_redis_reply *reply);
/* NULL behind the end. */
const struct kb_redis_reply *
kb_redis_item(const struct kb_redis_reply *reply, size_t i);

/* ---- state --------------------------------------------------------------- */

bool kb_redis_is_up(const struct kb_redis *r);

struct kb_redis_stats {
	bool up;
	uint32_t inflight;
	uint64_t commands; /* sent */
	uint64_t answers;  /* in time */
	uint64_t timeouts, refused;
	uint64_t not_sent; /* down or busy */
	uint64_t connects; /* connections that came up */
	uint64_t losses;   /* connections that were up and ended */
	uint64_t opened;   /* breaker: closed to open */
	uint64_t scripts;  /* sent again as EVAL */
};
void kb_redis_stats(const struct kb_redis *r, struct kb_redis_stats *out);

#endif
