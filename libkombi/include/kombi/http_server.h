/*
 * HTTP/1.1 server on a libevent loop: accepts, parses, keeps limits and
 * deadlines, writes. One struct kb_server a thread (own event_base, listener
 * with SO_REUSEPORT); nothing here is thread-safe.
 *
 * A connection carries one exchange at a time; pipelined requests wait in
 * its buffer until the exchange before is done. Idle connections hold no
 * buffers. Framing errors, limits and deadlines are answered by the engine
 * itself in the error envelope and never reach the handler.
 */
#ifndef KOMBI_HTTP_SERVER_H
#define KOMBI_HTTP_SERVER_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/buf.h>
#include <kombi/error.h>
#include <kombi/http1.h>
#include <kombi/tls.h>

struct event_base;
struct kb_server;
struct kb_exchange; /* one request and its answer */

struct kb_server_limits {
	struct kb_http1_limits http1;
	uint64_t body; /* default largest body, 1 MiB; per exchange settable */
	int64_t head_ms;      /* total, from the first byte of a head: 10 s; as
				 much for a TLS handshake */
	int64_t first_ms;     /* new connection without a byte: 10 s */
	int64_t idle_ms;      /* between requests: 60 s */
	int64_t body_ms;      /* total for a body: 55 s; 0: none (streams) */
	int64_t body_rate;    /* least bytes a second after 5 s: 1024 */
	int64_t write_ms;     /* no progress of output: 30 s */
	uint64_t requests;    /* on one connection: 10,000 */
	uint32_t connections; /* of this server: 20,000 */
	size_t high_water;    /* output buffered before on_writable matters: 256
				 KiB */
};

extern const struct kb_server_limits kb_server_default_limits;

/* How an exchange ended. */
enum kb_end {
	KB_END_SENT,    /* answer sent whole */
	KB_END_ABORTED, /* client left or broke off before that, or kb_ex_abort
			 */
	KB_END_TIMEOUT, /* a deadline passed */
	KB_END_ERROR,   /* answered by the engine (framing, limit) */
};

/*
 * What a user of the engine provides. Callbacks run on the loop's thread and
 * never before the call that started them has returned.
 */
struct kb_server_ops {
	/*
	 * The head is complete and valid. Return soon; answer now or later.
	 * Request bytes (kb_ex_head, kb_ex_bytes) stay until on_end.
	 */
	void (*on_request)(struct kb_exchange *ex);
	/* Body bytes, decoded; only valid during the call. */
	void (*on_body)(struct kb_exchange *ex, const char *data, size_t len);
	/* The body is complete (also called for requests without one). */
	void (*on_body_end)(struct kb_exchange *ex);
	/* Buffered output fell below half of high_water after having been
	 * above. */
	void (*on_writable)(struct kb_exchange *ex);
	/*
	 * Exactly once for each on_request: the last call; ex is gone after it.
	 */
	void (*on_end)(struct kb_exchange *ex, enum kb_end end);
	/*
	 * For requests that never reached on_request (framing errors, limits):
	 * for counting and logging. May be NULL.
	 */
	void (*on_refused)(void *arg, const struct sockaddr_storage *peer,
	    int status, const char *request_id, const char *why);
};

struct kb_server_conf {
	struct event_base *base;
	const struct kb_server_limits *limits; /* NULL: defaults */
	const struct kb_server_ops *ops;
	void *arg;                 /* kb_ex_arg() */
	const char *server_header; /* "Server" value, NULL: none */
	/* header lines ("Name: value\r\n"…) put on every answer that has none
	 * of that name itself, NULL: none */
	const char *always;
	/* further ones on error envelopes that the engine makes by itself;
	 * on TLS connections the second. NULL: none */
	const char *on_fail, *on_fail_tls;
};

struct kb_server *kb_server_new(const struct kb_server_conf *conf);

/* A listening socket; port 0 picks a free one. -1 and *why on failure. */
int kb_listen_socket(
    const char *address, int port, bool reuseport, const char **why);
int kb_listen_port(int fd);
/* Takes over the descriptor. May be called for several. */
void kb_server_listen(struct kb_server *s, int fd);
/*
 * The same, speaking TLS. A server has one context for all such listeners:
 * `tls` (of which it takes a reference) replaces the one that it had.
 */
void
kb_server_listen_tls(struct kb_server *s, int fd, struct kb_tls_server *tls);
/* For connections from now on; those that are open stay as they are. */
void kb_server_set_tls(struct kb_server *s, struct kb_tls_server *tls);

/*
 * Graceful end: stops accepting, closes idle connections, lets exchanges in
 * flight finish with "Connection: close"; after `ms` cuts the rest. `done`
 * is called once, on the loop, and may not free the server. Called once more
 * it only sets another end, `ms` from now (0: at once).
 */
void kb_server_drain(
    struct kb_server *s, int64_t ms, void (*done)(void *), void *arg);
/*
 * How long draining leaves connections open that carry no request, 0: not at
 * all, as without this call. A request that its client sent before it saw the
 * end is answered then ("Connection: close"), and not lost. To be called
 * before kb_server_drain.
 */
void kb_server_drain_idle(struct kb_server *s, int64_t ms);
/* At once; never from inside of a callback of the server. */
void kb_server_free(struct kb_server *s);

struct kb_server_stats {
	uint64_t accepted, requests, refused;
	uint64_t handshakes, handshakes_failed; /* TLS */
	uint32_t connections, active;           /* now */
};
/* Any thread, while the server lives. */
void kb_server_stats(const struct kb_server *s, struct kb_server_stats *out);

/* ---- an exchange ------------------------------------------------------- */

const struct kb_http1_head *kb_ex_head(const struct kb_exchange *ex);
const char *kb_ex_bytes(const struct kb_exchange *ex); /* head's buffer */
/* Normalised path (NUL-terminated) and raw query without '?' ("" if none). */
struct kb_slice kb_ex_path(const struct kb_exchange *ex);
struct kb_slice kb_ex_query(const struct kb_exchange *ex);
bool kb_ex_has_query(const struct kb_exchange *ex); /* there was a '?' */
/* Host of the request without port, lower case; "" for 1.0 without Host. */
struct kb_slice kb_ex_host(const struct kb_exchange *ex);
const struct sockaddr_storage *kb_ex_peer(const struct kb_exchange *ex);
/* Peer address as text, no port. */
const char *kb_ex_peer_text(const struct kb_exchange *ex);
/* The TLS connection that it came on, NULL for plain ones: name asked for,
 * version, client certificate. Until on_end. */
const struct kb_tls *kb_ex_tls(const struct kb_exchange *ex);
/* Accepted client id or a fresh one; also on engine-made errors. */
const char *kb_ex_request_id(const struct kb_exchange *ex);
void *kb_ex_arg(const struct kb_exchange *ex); /* conf.arg */
/* The handler's own pointer. */
void kb_ex_set_user(struct kb_exchange *ex, void *user);
void *kb_ex_user(const struct kb_exchange *ex);
/* Memory that lives until on_end has returned. */
struct kb_arena *kb_ex_arena(struct kb_exchange *ex);
struct event_base *kb_ex_base(const struct kb_exchange *ex);
int64_t kb_ex_started_ns(const struct kb_exchange *ex); /* monotonic */

/* Largest body of this exchange; larger is answered 413. To be called in
 * on_request; a Content-Length beyond is answered at once by the engine. */
void kb_ex_body_limit(struct kb_exchange *ex, uint64_t limit);
/* Deadline for the body of this exchange, 0: none (uploads, streams). */
void kb_ex_body_deadline(struct kb_exchange *ex, int64_t ms);
/*
 * The client waits for "100 Continue": nothing is sent until this is called
 * (or an answer is sent instead). Harmless when it does not wait.
 */
void kb_ex_continue(struct kb_exchange *ex);
/* Stops / goes on with reading the body: back-pressure. */
void kb_ex_pause(struct kb_exchange *ex);
void kb_ex_resume(struct kb_exchange *ex);

/*
 * Answer. `lines` are complete header lines with CRLF each, without framing
 * (no Content-Length, Transfer-Encoding, Connection, Date: the engine's
 * business); values must be clean (assert). length: body size, or
 * KB_LENGTH_STREAM (chunked; to a 1.0 client: until close). HEAD, 204 and
 * 304 send no body whatever is written. Answering before the body was read
 * drains up to 64 KiB within 1 s or closes.
 */
#define KB_LENGTH_STREAM UINT64_MAX
void kb_ex_head_out(struct kb_exchange *ex, int status, const char *lines,
    size_t lines_len, uint64_t length);
/* Body bytes; copied. Returns false when output is above high_water: go on
 * at on_writable (the bytes were taken all the same). */
bool kb_ex_write(struct kb_exchange *ex, const void *data, size_t len);
/* The answer is complete. A body shorter than announced closes. */
void kb_ex_finish(struct kb_exchange *ex);
/* All three at once. */
void kb_ex_answer(struct kb_exchange *ex, int status, const char *lines,
    size_t lines_len, const void *body, size_t len);
/* The error envelope with the request id, also as X-Request-ID (other
 * answers carry that header only if `lines` has it); extra header lines or
 * NULL. `message` NULL: the code's own text. `details` is JSON text or NULL. */
void kb_ex_fail(struct kb_exchange *ex, enum kb_err err, const char *message,
    const char *details, const char *lines);
/* An interim 1xx (not 101) answer. */
void kb_ex_interim(
    struct kb_exchange *ex, int status, const char *lines, size_t lines_len);
/* After the head of an answer went out: cut the connection so that the
 * client sees the truncation (KB_END_ABORTED). Before: like
 * kb_ex_fail(KB_BAD_GATEWAY). */
void kb_ex_abort(struct kb_exchange *ex);
/* The connection ends after this answer. */
void kb_ex_close_after(struct kb_exchange *ex);
/* The answer has no end of its own: a client that closes its side, which may
 * still wait for the rest of others, has left (KB_END_ABORTED). After the
 * head of the answer. */
void kb_ex_endless(struct kb_exchange *ex);
bool kb_ex_head_sent(const struct kb_exchange *ex);
int kb_ex_status(const struct kb_exchange *ex);         /* 0 before the head */
uint64_t kb_ex_bytes_out(const struct kb_exchange *ex); /* body bytes */
uint64_t kb_ex_bytes_in(const struct kb_exchange *ex);

/*
 * Upgrade: sends 101 with these lines and turns the connection into a tunnel:
 * bytes come by on_body, go by kb_ex_write, kb_ex_finish closes; deadlines
 * but write_ms are off. on_body_end: the client closed its side.
 */
void kb_ex_upgrade(struct kb_exchange *ex, const char *lines, size_t lines_len);

#endif
