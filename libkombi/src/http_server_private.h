/*
 * Private: the parts of the HTTP/1.1 server.
 *
 * http_server.c       server, listeners, deadlines, drain
 * http_server_conn.c  bytes in: heads, bodies, pipelining, closing
 * http_server_out.c   bytes out: answers, flushing, end of an exchange
 * http_server_tls.c   handshakes, and how TLS connections end
 *
 * A connection that waits is a struct kb_conn and nothing else. With its
 * first byte it takes a struct kb_exchange (head, buffers, write event) from
 * the server's free list, and gives it back when it waits again.
 *
 * Nothing calls back out of a kb_ex_ function: they record and put the
 * exchange on the server's list of due ones, which the loop works off.
 */
#ifndef KOMBI_HTTP_SERVER_PRIVATE_H
#define KOMBI_HTTP_SERVER_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/socket.h>

#include <stdatomic.h>

#include <kombi/http_server.h>

#define KB_REQUEST_ID_SIZE 65
#define KB_PEER_SIZE 46
#define KB_SCRATCH 65536

/* Deadlines: one list each, first due first, since all of one list have the
 * same length. */
enum kb_wait {
	KB_WAIT_NOTHING,
	KB_WAIT_FIRST,  /* new connection without a byte */
	KB_WAIT_IDLE,   /* between requests */
	KB_WAIT_HEAD,   /* of a head, from its first byte */
	KB_WAIT_TICK,   /* body or output in progress: looked at again */
	KB_WAIT_LINGER, /* unread rest of a body, or of a connection */
	KB_WAITS
};

struct kb_conn {
	struct event ev; /* read, persistent */
	struct kb_server *server;
	struct kb_exchange *ex;      /* NULL while idle or lingering */
	struct kb_conn *prev, *next; /* all connections */
	struct kb_conn *wait_prev, *wait_next; /* of one deadline */
	int64_t due_ms;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer;
	uint32_t requests;
	uint32_t lingered;    /* bytes dropped while lingering */
	uint8_t wait;         /* enum kb_wait */
	bool reading : 1;     /* read event is added */
	bool lingering : 1;   /* our side is shut, theirs is being emptied */
	bool half_closed : 1; /* their side is shut */
	bool shaking : 1;     /* TLS is to be agreed on first */
	bool cut : 1;         /* must not end as if complete */
	struct kb_tls *tls;   /* NULL: plain, or not a byte yet */
};

enum kb_phase {
	KB_PHASE_HEAD,   /* reading a head */
	KB_PHASE_ACTIVE, /* on_request was called, on_end was not */
	KB_PHASE_DRAIN,  /* answered; dropping the rest of the body */
};

struct kb_exchange {
	struct kb_conn *conn;
	struct kb_server *server;
	struct kb_exchange *due_next; /* list of due ones, or free list */
	struct event ev_write;
	struct kb_arena *arena;
	void *user;

	/* in: the message begins at `base`, bytes before `used` are taken */
	char *in;
	size_t in_cap, in_len, base, used;
	struct kb_buf spill; /* read behind a chunked body */
	struct kb_http1_head head;
	struct kb_http1_body body;
	struct kb_buf path;
	struct kb_slice query, host;
	uint64_t body_limit, drain_limit;
	int64_t body_ms, body_began_ms, paused_at_ms;
	int64_t started_ns;

	/* out */
	struct kb_buf out;
	size_t out_off;
	uint64_t announced, bytes_out;
	int64_t progress_ms; /* output moved */
	int status;

	enum kb_phase phase;
	enum kb_end end;
	bool due; /* on the list */
	bool write_armed;
	bool unseen;     /* on_request was not called */
	bool body_ended; /* on_body_end was called, or needs not be */
	bool paused;
	bool wants_continue;
	bool head_out, finished;
	bool chunked_out, bodyless_out;
	bool above;       /* of high water */
	bool sealed;      /* ended by the engine: calls are void */
	bool broken;      /* writing failed */
	bool close_after; /* no further exchange on this connection */
	bool cut;         /* the end must show as a truncation */
	bool tunnel;
	bool endless;                /* ends when the client closes its side */
	char id[KB_REQUEST_ID_SIZE]; /* "" until asked for */
	char peer_text[KB_PEER_SIZE];
};

struct kb_listener {
	struct event ev;
	struct kb_server *server;
	struct kb_listener *next;
	bool tls;
};

/* Written by the server's thread alone, read by any. */
struct server_counts {
	_Atomic uint64_t accepted, requests, refused;
	_Atomic uint64_t handshakes, handshakes_failed;
	_Atomic uint64_t connections, active;
};

/* One writer needs no locked instruction. */
static inline void
kb_count(_Atomic uint64_t *n, int by)
{
	uint64_t was = atomic_load_explicit(n, memory_order_relaxed);

	atomic_store_explicit(n, was + (uint64_t)by, memory_order_relaxed);
}

struct kb_server {
	struct event_base *base;
	struct kb_server_limits limits;
	const struct kb_server_ops *ops;
	void *arg;
	char *server_line, *always, *on_fail, *on_fail_tls;
	struct kb_listener *listeners;
	struct kb_tls_server *tls; /* NULL: no listener speaks it */
	unsigned shakes;           /* steps of handshakes in this turn */
	struct event turn;         /* the end of this turn of the loop */
	struct kb_conn *conns;
	struct {
		struct kb_conn *first, *last;
	} waits[KB_WAITS];
	struct event timer;
	int64_t timer_due_ms; /* 0: not armed */
	struct event resume;  /* accepting again after the pause */
	int reserve_fd;       /* given up to refuse when there are no others */
	bool starved;         /* there were none; last at: */
	int64_t starved_ms;

	struct kb_exchange *due_first, **due_last;
	unsigned n_due;
	struct event due_event;
	struct kb_exchange *free;
	unsigned n_free;
	char *scratch; /* KB_SCRATCH bytes, for bodies and what is dropped */

	char date[40]; /* "Date: …\r\n" */
	int64_t date_s;

	bool draining;
	bool sparing;          /* draining, and idle connections stay yet */
	int64_t drain_idle_ms; /* how long they do */
	struct event idle_timer;
	void (*drained)(void *);
	void *drained_arg;
	struct event drain_timer;
	struct server_counts stats;
};

/* ---- http_server.c ----------------------------------------------------------
 */

/* Takes over an accepted descriptor. */
void kb_conn_new(
    struct kb_server *s, int fd, const struct sockaddr_storage *peer, bool tls);
void kb_conn_wait(struct kb_conn *c, enum kb_wait wait);
/* Closes and frees; its exchange, if any, must have ended. */
void kb_conn_free(struct kb_conn *c);
/* Puts the exchange on the list that the loop works off next. */
void kb_ex_due(struct kb_exchange *ex);
void kb_ex_undue(struct kb_exchange *ex);

/* Draining, and connections without a request are to be closed. */
static inline bool
kb_server_ends_idle(const struct kb_server *s)
{
	return s->draining && !s->sparing;
}

/* ---- http_server_conn.c
 * ------------------------------------------------------ */

void kb_conn_readable(evutil_socket_t fd, short what, void *arg);
/* A deadline has passed. */
void kb_conn_timeout(struct kb_conn *c, enum kb_wait was);
void kb_conn_read(struct kb_conn *c, bool on);
/* Goes on with what is in the buffer, then sets deadline and events. */
void kb_conn_proceed(struct kb_conn *c);
/* Deadline and read event by the state of the exchange. */
void kb_conn_settle(struct kb_conn *c);
/* The exchange is over: the next one, the rest of its body, or the end. */
void kb_conn_next(struct kb_conn *c);
/* The connection is lost or given up: ends its exchange and frees it. */
void kb_conn_break(struct kb_conn *c, enum kb_end end);
void kb_ex_free(struct kb_exchange *ex);

/* ---- http_server_tls.c ------------------------------------------------------
 */

void kb_shake_init(struct kb_server *s);
void kb_shake_stop(struct kb_server *s);
/* One step of a handshake; may free the connection. */
void kb_conn_shake(struct kb_conn *c);
/* Ends our side so that the client knows it as the end; 0 as shutdown. */
int kb_conn_shut(struct kb_conn *c);
/* Ends and frees TLS, if the connection has it. */
void kb_conn_drop_tls(struct kb_conn *c);

/* The transport: the bare socket, or TLS on it. */
static inline ssize_t
kb_conn_recv(struct kb_conn *c, void *to, size_t len)
{
	if (c->tls != NULL)
		return kb_tls_read(c->tls, to, len);
	return recv(event_get_fd(&c->ev), to, len, 0);
}

static inline ssize_t
kb_conn_send(struct kb_conn *c, const void *from, size_t len)
{
	if (c->tls != NULL)
		return kb_tls_write(c->tls, from, len);
	return send(event_get_fd(&c->ev), from, len, MSG_NOSIGNAL);
}

/* ---- http_server_out.c
 * --------------------------------------------------------- */

/* Engine-made end of an exchange: an answer if there is none yet. */
void kb_ex_refuse(struct kb_exchange *ex, enum kb_end end, enum kb_err err,
    const char *message);
/* Works off one due exchange: flush, on_end, what comes next. */
void kb_ex_work(struct kb_exchange *ex);
void kb_ex_on_writable(evutil_socket_t fd, short what, void *arg);

/* Bytes of output that wait. */
static inline size_t
kb_ex_pending(const struct kb_exchange *ex)
{
	return ex->out.len - ex->out_off;
}

/* The user still wants to hear of this exchange. */
static inline bool
kb_ex_heard(const struct kb_exchange *ex)
{
	return !ex->unseen && !ex->sealed && !ex->finished;
}

#endif
