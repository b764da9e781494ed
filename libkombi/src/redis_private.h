/*
 * Inside of the Redis client: redis.c keeps the commands and the breaker,
 * redis_conn.c the connection, redis_name.c looks names up.
 */
#ifndef KOMBI_REDIS_PRIVATE_H
#define KOMBI_REDIS_PRIVATE_H

#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include <kombi/buf.h>
#include <kombi/redis.h>

enum redis_state {
	REDIS_REST,    /* until the timer tries again */
	REDIS_NAMING,  /* the host's name is looked up */
	REDIS_DIALING, /* connect is under way */
	REDIS_GREET,   /* AUTH and SELECT are unanswered */
	REDIS_PROBE,   /* PING is unanswered, or will be sent again */
	REDIS_UP,
};

enum redis_origin { FROM_USER, FROM_GREETING, FROM_PROBE };

/* A command that was sent; answers come in this order. */
struct redis_slot {
	enum redis_origin origin;
	bool settled; /* timed out: its answer goes nowhere */
	kb_redis_fn *fn;
	void *arg;
	int64_t sent_ms, deadline_ms;
	struct kb_buf again; /* the same as EVAL; empty: not a script */
};

/* A callback that is owed without anything sent. */
struct redis_debt {
	enum kb_redis_result result;
	kb_redis_fn *fn;
	void *arg;
};

union redis_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

struct redis_counts {
	_Atomic uint64_t commands, answers, timeouts, refused, not_sent,
	    connects, losses, opened, scripts;
	_Atomic uint32_t inflight;
	_Atomic bool up;
};

struct redis_lookup; /* redis_name.c */

struct kb_redis {
	struct kb_redis_conf conf; /* strings owned */
	struct kb_secret password;
	char *host, *user;
	enum redis_state state;
	unsigned failures; /* in a row */
	unsigned tries;    /* since a command was last answered */
	unsigned depth;    /* callbacks that we are in */
	bool freed;
	bool told; /* that Redis is down */

	int fd; /* -1: none */
	struct event io, timer, deadline, soon;
	redisReader *reader;
	redisReplyObjectFunctions fns;
	struct kb_buf out;
	size_t unanswered_bytes; /* read for the reply under way */
	unsigned greetings;      /* unanswered */
	struct redis_lookup *lookup;

	struct redis_slot *slots; /* ring */
	uint32_t head, count, cap;
	struct redis_debt *debts;
	size_t n_debts, cap_debts;

	struct redis_counts counts;
};

/* redis.c */
struct redis_slot *
kb_redis_push(struct kb_redis *r, enum redis_origin origin, int64_t timeout_ms);
void
kb_redis_encode(struct kb_buf *out, const struct kb_slice *argv, size_t argc);
/* One answer has arrived; takes it. False: it makes no sense. */
bool kb_redis_answer(struct kb_redis *r, redisReply *reply);
/* Drops the connection, settles all, tries again later. */
void kb_redis_lost(struct kb_redis *r, const char *why);
void kb_redis_enter(struct kb_redis *r);
void kb_redis_leave(struct kb_redis *r); /* r may be gone after it */

/* redis_conn.c */
void kb_redis_conn_init(struct kb_redis *r);
void kb_redis_dial(struct kb_redis *r);
/* With an address, or NULL: there is none. */
void kb_redis_dial_address(
    struct kb_redis *r, const union redis_address *address, socklen_t len);
void kb_redis_hang_up(struct kb_redis *r);
/* Reads what is there; true if the connection still stands. */
bool kb_redis_receive(struct kb_redis *r);
void kb_redis_send_soon(struct kb_redis *r);
void kb_redis_rest(struct kb_redis *r);
void kb_redis_timer(struct event *ev, int64_t ms);

/* redis_name.c: ends in kb_redis_dial_address, later. */
void kb_redis_lookup(struct kb_redis *r);
void kb_redis_lookup_drop(struct kb_redis *r);

#endif
