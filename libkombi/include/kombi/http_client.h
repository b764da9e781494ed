/*
 * HTTP/1.1 client on a libevent loop, with connection pools: the upstream
 * side of the gateway. Same strict parser as the server. One struct
 * kb_client a loop; not thread-safe. Names are resolved beforehand: the
 * caller gives addresses.
 */
#ifndef KOMBI_HTTP_CLIENT_H
#define KOMBI_HTTP_CLIENT_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <kombi/base.h>
#include <kombi/buf.h>
#include <kombi/error.h>
#include <kombi/http1.h>
#include <kombi/tls.h>

struct event_base;
struct kb_client;
struct kb_origin; /* one address with its pool of connections */
struct kb_call;   /* one request in flight */

/* Zero stands for the value named. */
struct kb_client_conf {
	struct event_base *base;
	struct kb_http1_limits limits; /* of responses; head 64 KiB */
	uint32_t idle_per_origin;      /* kept open: 512, last used first */
	int64_t idle_ms;   /* 55 s: less than our servers' idle_ms */
	uint64_t requests; /* on one connection: 10,000 */
	size_t high_water; /* request bytes buffered: 256 KiB */
};

struct kb_client *kb_client_new(const struct kb_client_conf *conf);
void kb_client_free(struct kb_client *c);

/* The pool of an address; the same object for the same address. Lives until
 * kb_origin_unref was called as often as it was asked for, or as the client. */
struct kb_origin *kb_client_origin(
    struct kb_client *c, const struct sockaddr *addr, socklen_t len);

/*
 * The same, spoken to by TLS: another pool than the plain one, and one a
 * context and name. Takes a reference of the context; `name` is copied. The
 * handshake counts as part of connecting (connect_ms, KB_CALL_CONNECT).
 */
struct kb_origin *
kb_client_origin_tls(struct kb_client *c, const struct sockaddr *addr,
    socklen_t len, struct kb_tls_client *tls, const char *name);
/* No more calls will be started by whoever asked for it; those under way go
 * on. The pool of an origin that nobody wants any more is closed. */
void kb_origin_unref(struct kb_origin *o);

/* Why a call failed. */
enum kb_call_error {
	KB_CALL_CONNECT, /* refused, unreachable, connect timeout, TLS */
	KB_CALL_TIMEOUT, /* no answer in time */
	KB_CALL_CLOSED,  /* closed or reset before the answer was complete */
	KB_CALL_BAD,     /* not HTTP, framing error, unasked 101 */
};

/*
 * Callbacks run later, on the loop, never inside the starting call. All
 * functions below may be called inside them, kb_call_cancel and starting
 * another call too; only kb_client_free may not. During on_done and on_fail
 * the functions of that call do nothing.
 */
struct kb_call_ops {
	/* Final response head (1xx but 101 are dropped). `bytes` is its
	 * buffer, valid during the call only. */
	void (*on_head)(struct kb_call *call, const struct kb_http1_head *h,
	    const char *bytes);
	void (*on_body)(struct kb_call *call, const char *data, size_t len);
	void (*on_writable)(struct kb_call *call);
	/* Complete; the call is gone after it. */
	void (*on_done)(struct kb_call *call);
	/*
	 * Failed; the call is gone after it. `sent`: bytes of the request may
	 * have reached the upstream; `answered`: response bytes came. A reused
	 * connection found closed before any answer is retried inside once if
	 * nothing was sent, or if the request has no body and an idempotent
	 * method (RFC 9110 9.2.2).
	 */
	void (*on_fail)(struct kb_call *call, enum kb_call_error error,
	    bool sent, bool answered);
};

struct kb_call_conf {
	struct kb_origin *origin;
	const struct kb_call_ops *ops;
	void *user;
	enum kb_method method; /* how to frame the answer */
	/* Request head, complete with the empty line; copied. Framing headers
	 * in it are the caller's responsibility and must match has_body. */
	const char *head;
	size_t head_len;
	/* Body follows by kb_call_write: its size, KB_LENGTH_STREAM for
	 * chunked (the engine makes the chunks), 0: none. */
	uint64_t body_length;
	/* Between two I/O operations; 0: none. read_ms counts while the
	 * request is complete and the answer not paused. */
	int64_t connect_ms, write_ms, read_ms;
	int64_t total_ms; /* 0: none */
	bool upgrade;     /* a 101 is welcome */
};

struct kb_call *kb_call_start(const struct kb_call_conf *conf);
void *kb_call_user(const struct kb_call *call);
/* As kb_ex_write: false above high_water, bytes taken all the same. */
bool kb_call_write(struct kb_call *call, const void *data, size_t len);
/* The body is complete: as long as announced. In a tunnel: ends our side. */
void kb_call_end(struct kb_call *call);
/* Stop reading the answer: no on_body until resumed. (on_done may come, if
 * all of it has been given out.) */
void kb_call_pause(struct kb_call *call);
void kb_call_resume(struct kb_call *call);
/* No more callbacks; the connection is closed. */
void kb_call_cancel(struct kb_call *call);
/* After on_head with status 101: bytes flow both ways by on_body and
 * kb_call_write until the upstream ends; deadlines but write_ms are off. */

/* "ip:port" or "[ip]:port" in an array of 64; lives as long as the origin. */
const char *kb_origin_text(const struct kb_origin *o);

struct kb_origin_stats {
	uint64_t connects, reused, failures;
	uint32_t active, idle;
};
/* Why the last TLS handshake that failed did; "" while none has. */
const char *kb_origin_problem(const struct kb_origin *o);
void kb_origin_stats(const struct kb_origin *o, struct kb_origin_stats *out);

#endif
