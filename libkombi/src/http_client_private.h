/*
 * The client engine's inside: connections, calls, and who may touch what.
 *
 * A call always has a connection until it is over; a connection has a call
 * or waits in its origin's pool. User callbacks run from event callbacks
 * only, while conn.busy is set; a cancel inside one is noted and carried out
 * when the callback has returned. So no function here has the ground taken
 * from under its feet by a callback, but for the ones that end a call:
 * those do it last.
 */
#ifndef KOMBI_HTTP_CLIENT_PRIVATE_H
#define KOMBI_HTTP_CLIENT_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include <kombi/http_client.h>

#define CLIENT_SCRATCH ((size_t)128 * 1024) /* read at once */
#define CLIENT_TIMEOUTS 16 /* durations with a queue of their own */
#define CLIENT_BUCKETS 64
#define CLIENT_KEEP ((size_t)16 * 1024) /* larger buffers are not kept */

struct conn;
TAILQ_HEAD(conns, conn);

struct kb_client {
	struct kb_client_conf conf;
	struct kb_origin *origins[CLIENT_BUCKETS];
	struct kb_origin *unused; /* without references, at some time */
	struct conns free_conns;
	struct kb_call *free_calls;
	char *scratch;
	struct {
		int64_t ms;
		const struct timeval *tv;
	} timeouts[CLIENT_TIMEOUTS];
};

struct kb_origin {
	struct kb_client *client;
	struct kb_origin *next;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char text[64];             /* the address, for people */
	struct kb_tls_client *tls; /* NULL: plain */
	char *name;                /* for TLS */
	char problem[128];         /* of the last handshake that failed */
	struct conns idle;         /* last used first */
	struct conns active;
	unsigned refs;
	bool unused; /* on the client's list of those */
	struct kb_origin *next_unused;
	int64_t unused_ms;
	struct kb_origin_stats stats;
};

struct conn {
	struct kb_origin *origin;
	struct kb_call *call; /* NULL: idle */
	TAILQ_ENTRY(conn) link;
	struct event readable, writable, timer;
	int fd;             /* -1: could not even be opened */
	struct kb_tls *tls; /* NULL: plain, or not connected yet */
	bool connecting;
	bool reused;
	bool reading;     /* the read event is added */
	bool write_armed; /* output waits for the socket */
	bool busy;        /* inside a user callback */
	int64_t deadline; /* 0: none */
	int64_t timer_at; /* when the timer fires; 0: not set */
	uint64_t requests;
};

enum phase { CALL_HEAD, CALL_BODY, CALL_TUNNEL };

struct kb_call {
	struct kb_call_conf conf;
	struct kb_call *next_free;
	struct conn *conn; /* NULL: over */
	enum phase phase;
	bool ended; /* the request is complete */
	bool paused, stashed;
	bool choked; /* kb_call_write said false */
	bool cancelled;
	bool broken; /* a write failed: reading will tell why */
	bool sent, answered, retried;
	unsigned interim;   /* 1xx answers so far */
	uint64_t body_left; /* of the request, with a length */
	int64_t total_at;   /* 0: no deadline */
	/* Request bytes from out_off on wait to be sent; those before are kept
	 * while a retry may need them. */
	struct kb_buf out;
	size_t out_off;
	/* Answer bytes that could not be used yet. */
	struct kb_buf in;
	struct kb_http1_head head;
	struct kb_http1_body body;
};

/* Bytes that wait to be sent on this connection. */
static inline size_t
kb_call_pending(const struct kb_call *call)
{
	return call->broken ? 0 : call->out.len - call->out_off;
}

/* ---- http_client.c ---- */

void kb_call_release(struct kb_call *call);
/* Sent twice it does the same as once, and all of it is at hand. */
bool kb_call_repeatable(const struct kb_call *call);

/* ---- http_client_conn.c: sockets, events, deadlines ---- */

/* Gives the call a connection: from the pool unless `fresh`, else new. */
void kb_conn_begin(struct kb_call *call, bool fresh);
/* Detaches the call, closes, puts the object away. */
void kb_conn_close(struct conn *c);
/* Detaches the call, keeps the connection for the next. */
void kb_conn_keep(struct conn *c);
void kb_conn_put(struct conn *c, const struct iovec *iov, int n);
void kb_conn_flush(struct conn *c);
void kb_conn_reading(struct conn *c, bool on);
/* I/O has made progress or the call changed: the deadline moves. */
void kb_conn_touch(struct conn *c);

/* ---- http_client_tls.c: the transport ---- */

enum connected { CONN_FAILED, CONN_WAITS, CONN_READY };

/* The socket is connected: goes on with what TLS wants, if it is spoken. */
enum connected kb_wire_shake(struct conn *c);
ssize_t kb_wire_recv(struct conn *c, void *to, size_t len);
/* As sendmsg; of TLS the first part only. */
ssize_t kb_wire_sendv(struct conn *c, struct iovec *iov, size_t n);
/* An idle connection's event was no sign of its end. */
bool kb_wire_is_quiet(struct conn *c);
/* Before the socket is closed. */
void kb_wire_drop(struct conn *c);
/* Our side of a tunnel ends. */
void kb_wire_end(struct conn *c);

/* ---- http_client_answer.c: from bytes to callbacks ---- */

void kb_answer_feed(struct conn *c, const char *bytes, size_t len);
void kb_answer_eof(struct conn *c, bool reset);
void kb_answer_writable(struct conn *c);
void kb_answer_fail(struct conn *c, enum kb_call_error error);

#endif
