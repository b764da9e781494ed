/*
 * Bytes in: heads, bodies, pipelined requests, and how connections end.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "http_server_private.h"

#define IN_FIRST 4096
#define KEEP_CAP 16384    /* larger buffers are not kept */
#define FREE_EXCHANGES 64 /* kept for the next ones */
#define DRAIN_MAX 65536
#define LINGER_MAX (8u << 20)
#define RATE_GRACE_MS 5000

static size_t
in_max(const struct kb_server *s)
{
	return (size_t)s->limits.http1.head + IN_FIRST;
}

/* ---- exchanges and the free list
 * ------------------------------------------------ */

/* Ready for the next message; what was read behind the last one stays. */
static void
ex_reset(struct kb_exchange *ex)
{
	kb_arena_reset(ex->arena);
	kb_buf_reset(&ex->path);
	kb_buf_reset(&ex->out);
	ex->out_off = 0;
	ex->base = ex->used;
	if (ex->spill.len > 0) {
		if (ex->spill.len > ex->in_cap) {
			ex->in = kb_xrealloc(ex->in, ex->spill.len);
			ex->in_cap = ex->spill.len;
		}
		memcpy(ex->in, ex->spill.ptr, ex->spill.len);
		ex->base = 0;
		ex->in_len = ex->spill.len;
		kb_buf_free(&ex->spill);
	}
	if (ex->base == ex->in_len)
		ex->base = ex->in_len = 0;
	ex->used = ex->base;
	kb_http1_head_init(&ex->head, false);
	ex->user = NULL;
	ex->query = ex->host = (struct kb_slice) { "", 0 };
	ex->announced = ex->bytes_out = 0;
	ex->status = 0;
	ex->phase = KB_PHASE_HEAD;
	ex->end = KB_END_SENT;
	ex->unseen = true;
	ex->body_ended = ex->paused = ex->wants_continue = false;
	ex->head_out = ex->finished = ex->chunked_out = false;
	ex->bodyless_out = ex->above = ex->sealed = ex->broken = false;
	ex->close_after = ex->cut = ex->tunnel = ex->endless = false;
	ex->id[0] = ex->peer_text[0] = '\0';
}

static struct kb_exchange *
ex_take(struct kb_conn *c)
{
	struct kb_server *s = c->server;
	struct kb_exchange *ex = s->free;

	if (ex != NULL) {
		s->free = ex->due_next;
		s->n_free--;
	} else {
		ex = kb_xalloc(sizeof(*ex));
		memset(ex, 0, sizeof(*ex));
		ex->server = s;
		ex->arena = kb_arena_new(1024);
		kb_buf_init(&ex->path, 65536);
		kb_buf_init(&ex->out, SIZE_MAX / 2);
		kb_buf_init(&ex->spill, KB_SCRATCH);
	}
	if (ex->in == NULL) {
		ex->in = kb_xalloc(IN_FIRST);
		ex->in_cap = IN_FIRST;
	}
	ex->conn = c;
	event_assign(&ex->ev_write, s->base, event_get_fd(&c->ev), EV_WRITE,
	    kb_ex_on_writable, ex);
	ex_reset(ex);
	c->ex = ex;
	return ex;
}

void
kb_ex_free(struct kb_exchange *ex)
{
	kb_arena_free(ex->arena);
	kb_buf_free(&ex->path);
	kb_buf_free(&ex->out);
	kb_buf_free(&ex->spill);
	free(ex->in);
	free(ex);
}

static void
ex_give(struct kb_conn *c)
{
	struct kb_exchange *ex = c->ex;
	struct kb_server *s = c->server;

	c->ex = NULL;
	kb_ex_undue(ex);
	if (ex->write_armed)
		event_del(&ex->ev_write);
	ex->write_armed = false;
	ex->conn = NULL;
	if (s->n_free >= FREE_EXCHANGES) {
		kb_ex_free(ex);
		return;
	}
	if (ex->in_cap > KEEP_CAP) {
		free(ex->in);
		ex->in = NULL;
	}
	if (ex->out.cap > KEEP_CAP)
		kb_buf_free(&ex->out);
	kb_buf_free(&ex->spill);
	ex->in_len = ex->base = ex->used = 0;
	ex->due_next = s->free;
	s->free = ex;
	s->n_free++;
}

/* ---- the end of connections
 * ------------------------------------------------------- */

/* Tells the user, once. */
static void
ex_ended(struct kb_exchange *ex, enum kb_end end)
{
	if (ex->phase != KB_PHASE_ACTIVE || ex->unseen)
		return;
	kb_count(&ex->server->stats.active, -1);
	ex->phase = KB_PHASE_DRAIN;
	ex->server->ops->on_end(ex, end);
}

void
kb_conn_break(struct kb_conn *c, enum kb_end end)
{
	if (c->ex != NULL) {
		c->cut = true;
		ex_ended(c->ex, end);
		ex_give(c);
	}
	kb_conn_free(c);
}

/*
 * Closing with unread bytes would reset the connection and could take our
 * answer away from the client: shut our side, drop what still comes.
 */
static void
conn_linger(struct kb_conn *c)
{
	if (c->ex != NULL)
		ex_give(c);
	if (c->half_closed || kb_conn_shut(c) != 0) {
		kb_conn_free(c);
		return;
	}
	c->lingering = true;
	kb_conn_read(c, true);
	kb_conn_wait(c, KB_WAIT_LINGER);
}

static void
linger_read(struct kb_conn *c)
{
	ssize_t n = recv(
	    event_get_fd(&c->ev), c->server->scratch, KB_SCRATCH, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->lingered += (uint32_t)n;
	if (n <= 0 || c->lingered > LINGER_MAX)
		kb_conn_free(c);
}

/*
 * Reset instead of FIN: a cut answer must not look complete, and what a
 * stalled reader has not taken must not stay in the kernel.
 */
static void
conn_cut(struct kb_conn *c, enum kb_end end)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	c->cut = true;
	(void)setsockopt(
	    event_get_fd(&c->ev), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	kb_conn_break(c, end);
}

void
kb_conn_next(struct kb_conn *c)
{
	struct kb_exchange *ex = c->ex;

	ex_ended(ex, ex->end);
	ex->phase = KB_PHASE_DRAIN;
	if (ex->cut)
		conn_cut(c, KB_END_ABORTED);
	else if (ex->close_after || c->half_closed || ex->tunnel)
		conn_linger(c);
	else {
		ex->drain_limit = ex->body.total + DRAIN_MAX;
		kb_conn_proceed(c);
	}
}

/* ---- heads
 * -------------------------------------------------------------------------- */

static bool
host_matches(const struct kb_exchange *ex, struct kb_slice authority)
{
	struct kb_slice host = kb_http1_get(
	    &ex->head, kb_ex_bytes(ex), KB_H_HOST);

	return authority.ptr == NULL || host.ptr == NULL ||
	    (host.len == authority.len &&
		strncasecmp(host.ptr, authority.ptr, host.len) == 0);
}

static enum kb_err
check_head(struct kb_exchange *ex, const char **why)
{
	const struct kb_http1_head *h = &ex->head;
	const char *bytes = kb_ex_bytes(ex);
	struct kb_slice target = { bytes + h->target, h->target_len };
	struct kb_slice authority = { NULL, 0 };
	enum kb_err err;

	*why = NULL;
	if (h->method == KB_M_CONNECT || h->method == KB_M_TRACE)
		return KB_METHOD;
	if (h->method == KB_M_OTHER)
		return KB_NOT_IMPLEMENTED;
	if (!h->expect_continue && kb_http1_count(h, KB_H_EXPECT) > 0)
		return KB_EXPECTATION;
	err = kb_http_path(target, &ex->path, &ex->query, &authority);
	if (err) {
		*why = "The request target is not valid";
		return err;
	}
	if (ex->path.len == 1 && ex->path.ptr[0] == '*' &&
	    h->method != KB_M_OPTIONS) {
		*why = "The request target is not valid";
		return KB_MALFORMED;
	}
	if (!host_matches(ex, authority)) {
		*why = "The target and the Host field disagree";
		return KB_MALFORMED;
	}
	return KB_OK;
}

/* A complete head: the exchange becomes active. */
static void
begin(struct kb_exchange *ex)
{
	struct kb_server *s = ex->server;
	const char *why;
	enum kb_err err;

	ex->conn->requests++;
	ex->used = ex->base + ex->head.done;
	ex->started_ns = kb_mono_ns();
	ex->body_limit = s->limits.body;
	ex->body_ms = s->limits.body_ms;
	ex->body_began_ms = ex->started_ns / 1000000;
	kb_http1_body_request(&ex->body, &ex->head);
	err = check_head(ex, &why);
	if (err) {
		kb_ex_refuse(ex, KB_END_ERROR, err, why);
		return;
	}
	kb_count(&s->stats.requests, 1);
	kb_count(&s->stats.active, 1);
	ex->phase = KB_PHASE_ACTIVE;
	ex->unseen = false;
	ex->wants_continue = ex->head.expect_continue && ex->head.minor > 0 &&
	    !ex->body.ended && ex->used == ex->in_len;
	s->ops->on_request(ex);
	if (ex->head.has_length && ex->head.length > ex->body_limit &&
	    !ex->head_out)
		kb_ex_refuse(ex, KB_END_ERROR, KB_TOO_LARGE, NULL);
}

/*
 * A CR that no LF follows is wrong wherever it stands: a head with bare CRs
 * for line ends is refused at once and not when its deadline has passed.
 */
static bool
has_bare_cr(const struct kb_exchange *ex)
{
	const char *p = ex->in + ex->base, *end = ex->in + ex->in_len;

	while ((p = memchr(p, '\r', (size_t)(end - p))) != NULL) {
		if (++p == end)
			return false;
		if (*p != '\n')
			return true;
	}
	return false;
}

/* False: more bytes are needed, or it is answered. */
static bool
head_step(struct kb_exchange *ex)
{
	enum kb_err err = KB_MALFORMED;
	const char *why = NULL;

	if (ex->in_len == ex->base)
		return false;
	switch (kb_http1_parse(&ex->head, ex->in + ex->base,
	    ex->in_len - ex->base, &ex->server->limits.http1, &err, &why)) {
	case KB_HTTP1_DONE: begin(ex); return true;
	case KB_HTTP1_BAD: break;
	case KB_HTTP1_MORE:
		if (!has_bare_cr(ex))
			return false;
		err = KB_MALFORMED;
		why = "a bare CR";
	}
	kb_ex_refuse(ex, KB_END_ERROR, err, why);
	return false;
}

/* ---- bodies
 * -------------------------------------------------------------------------- */

static void
body_done(struct kb_exchange *ex)
{
	if (ex->body_ended)
		return;
	ex->body_ended = true;
	if (kb_ex_heard(ex))
		ex->server->ops->on_body_end(ex);
}

/* Decodes from *in; false: the exchange was refused. */
static bool
feed(struct kb_exchange *ex, struct kb_slice *in)
{
	const struct kb_http1_limits *limits = &ex->server->limits.http1;

	if (in->len > 0)
		ex->wants_continue = false;
	while (in->len > 0 && !ex->body.ended) {
		struct kb_slice data;

		if (!kb_http1_body_next(&ex->body, in, &data, limits)) {
			kb_ex_refuse(ex, KB_END_ERROR, KB_MALFORMED,
			    "The body is not framed correctly");
			return false;
		}
		if (!kb_ex_heard(ex))
			continue;
		if (ex->body.total > ex->body_limit) {
			kb_ex_refuse(ex, KB_END_ERROR, KB_TOO_LARGE, NULL);
			return false;
		}
		if (data.len > 0)
			ex->server->ops->on_body(ex, data.ptr, data.len);
	}
	return true;
}

/* What came with the head, or behind it in the same read. */
static void
feed_buffered(struct kb_exchange *ex)
{
	struct kb_slice in = { ex->in + ex->used, ex->in_len - ex->used };

	if (ex->tunnel) {
		ex->used = ex->in_len;
		if (in.len > 0 && kb_ex_heard(ex))
			ex->server->ops->on_body(ex, in.ptr, in.len);
		return;
	}
	if (!feed(ex, &in))
		return;
	ex->used = ex->in_len - in.len;
	if (ex->body.ended)
		body_done(ex);
}

static void
feed_scratch(struct kb_exchange *ex, size_t len)
{
	struct kb_slice in = { ex->server->scratch, len };

	if (ex->tunnel) {
		if (kb_ex_heard(ex))
			ex->server->ops->on_body(ex, in.ptr, in.len);
		return;
	}
	if (!feed(ex, &in))
		return;
	/* The head's buffer may not move now: the next message waits aside. */
	kb_buf_add(&ex->spill, in.ptr, in.len);
	if (ex->body.ended)
		body_done(ex);
}

/* ---- states
 * ----------------------------------------------------------------------------
 */

void
kb_conn_read(struct kb_conn *c, bool on)
{
	if (c->reading != on) {
		c->reading = on;
		if (on)
			event_add(&c->ev, NULL);
		else
			event_del(&c->ev);
	}
	/* What TLS holds already, the socket will not tell of. After adding:
	 * libevent does not add what is active. */
	if (on && c->tls != NULL && kb_tls_pending(c->tls))
		event_active(&c->ev, EV_READ, 0);
}

static bool
wants_bytes(const struct kb_conn *c)
{
	const struct kb_exchange *ex = c->ex;

	if (c->half_closed)
		return false;
	if (ex == NULL || ex->phase != KB_PHASE_ACTIVE)
		return true;
	if (ex->tunnel || !ex->body_ended)
		return !ex->paused;
	/* The next request may come in, as far as there is room. */
	return ex->spill.len == 0 && ex->in_len < ex->in_cap;
}

static enum kb_wait
wait_of(const struct kb_conn *c)
{
	const struct kb_exchange *ex = c->ex;

	if (ex == NULL)
		return c->requests > 0 ? KB_WAIT_IDLE : KB_WAIT_FIRST;
	if (kb_ex_pending(ex) > 0)
		return KB_WAIT_TICK;
	if (ex->phase == KB_PHASE_HEAD)
		return KB_WAIT_HEAD;
	if (ex->phase == KB_PHASE_DRAIN)
		return KB_WAIT_LINGER;
	return ex->body_ended || ex->paused || ex->tunnel ? KB_WAIT_NOTHING
							  : KB_WAIT_TICK;
}

void
kb_conn_settle(struct kb_conn *c)
{
	kb_conn_read(c, wants_bytes(c));
	kb_conn_wait(c, wait_of(c));
}

/* Nothing of a next request is there: the exchange's memory goes back. */
static void
conn_idle(struct kb_conn *c)
{
	ex_give(c);
	if (kb_server_ends_idle(c->server) || c->half_closed)
		kb_conn_free(c);
	else
		kb_conn_settle(c);
}

/* One step of the rest of an answered body; true: the next request may be. */
static bool
drain_step(struct kb_exchange *ex)
{
	if (!ex->body.ended)
		feed_buffered(ex);
	if (!ex->body.ended)
		return false;
	ex_reset(ex);
	return true;
}

void
kb_conn_proceed(struct kb_conn *c)
{
	struct kb_exchange *ex = c->ex;

	for (bool on = true; on;) {
		switch (ex->phase) {
		case KB_PHASE_HEAD: on = head_step(ex); break;
		case KB_PHASE_DRAIN: on = drain_step(ex); break;
		default:
			on = false;
			if (ex->tunnel || (!ex->body_ended && !ex->paused))
				feed_buffered(ex);
		}
	}
	if (ex->phase == KB_PHASE_HEAD && ex->in_len == ex->base)
		conn_idle(c);
	else if (ex->phase == KB_PHASE_DRAIN &&
	    (ex->close_after || ex->body.total > ex->drain_limit))
		conn_linger(c);
	else
		kb_conn_settle(c);
}

/* ---- events
 * ------------------------------------------------------------------------------
 */

static void
at_eof(struct kb_conn *c)
{
	struct kb_exchange *ex = c->ex;

	c->half_closed = true;
	if (ex == NULL || ex->phase != KB_PHASE_ACTIVE ||
	    (ex->endless && !ex->finished)) {
		kb_conn_break(c, KB_END_ABORTED);
		return;
	}
	if (ex->tunnel)
		body_done(ex);
	else if (!ex->body_ended && !ex->unseen)
		kb_ex_refuse(ex, KB_END_ABORTED, KB_MALFORMED,
		    "The body ended before its length");
	ex->close_after = true;
	kb_conn_settle(c);
}

/* Room behind in_len; false when there is none to be had now. */
static bool
make_room(struct kb_exchange *ex)
{
	if (ex->in_len < ex->in_cap)
		return true;
	if (ex->phase != KB_PHASE_HEAD)
		return false;
	if (ex->base > 0) {
		memmove(ex->in, ex->in + ex->base, ex->in_len - ex->base);
		ex->in_len -= ex->base;
		ex->base = ex->used = 0;
		return true;
	}
	if (ex->in_cap >= in_max(ex->server))
		return false;
	ex->in_cap = 2 * ex->in_cap < in_max(ex->server) ? 2 * ex->in_cap
							 : in_max(ex->server);
	ex->in = kb_xrealloc(ex->in, ex->in_cap);
	return true;
}

/* Bytes of a body are not kept: they pass through the scratch buffer. */
static bool
reads_body(const struct kb_exchange *ex)
{
	if (ex->phase == KB_PHASE_HEAD)
		return false;
	return ex->tunnel || !ex->body_ended;
}

static size_t
body_room(const struct kb_exchange *ex)
{
	if (!ex->tunnel && ex->body.kind == KB_BODY_LENGTH &&
	    ex->body.left < KB_SCRATCH)
		return (size_t)ex->body.left;
	return KB_SCRATCH;
}

static ssize_t
read_bytes(struct kb_conn *c, struct kb_exchange *ex)
{
	ssize_t n;

	if (reads_body(ex)) {
		n = kb_conn_recv(c, c->server->scratch, body_room(ex));
		if (n > 0)
			feed_scratch(ex, (size_t)n);
		return n;
	}
	n = kb_conn_recv(c, ex->in + ex->in_len, ex->in_cap - ex->in_len);
	if (n > 0)
		ex->in_len += (size_t)n;
	return n;
}

/*
 * Part of a TLS record is no sign of life: the deadline runs on, or somebody
 * could wait for ever, a byte at a time.
 */
static void
read_nothing(struct kb_conn *c)
{
	if (c->tls != NULL && !kb_server_ends_idle(c->server))
		ex_give(c);
	else
		conn_idle(c);
}

void
kb_conn_readable(evutil_socket_t fd, short what, void *arg)
{
	struct kb_conn *c = arg;
	struct kb_exchange *ex;
	ssize_t n;

	(void)fd;
	(void)what;
	if (c->lingering) {
		linger_read(c);
		return;
	}
	if (c->shaking) {
		kb_conn_shake(c);
		return;
	}
	ex = c->ex ? c->ex : ex_take(c);
	if (!reads_body(ex) && !make_room(ex)) {
		kb_conn_read(c, false);
		return;
	}
	n = read_bytes(c, ex);
	if (n > 0)
		kb_conn_proceed(c);
	else if (n == 0)
		at_eof(c);
	else if (errno != EAGAIN && errno != EINTR)
		kb_conn_break(c, KB_END_ABORTED);
	else if (ex->phase == KB_PHASE_HEAD && ex->in_len == ex->base)
		read_nothing(c);
}

/* Why the body takes too long, or NULL. */
static const char *
body_fault(const struct kb_exchange *ex, int64_t now)
{
	int64_t ms = now - ex->body_began_ms;
	int64_t rate = ex->server->limits.body_rate;

	if (ex->body_ended || ex->paused || ex->wants_continue || ex->tunnel ||
	    ex->body_ms == 0 || ex->unseen)
		return NULL;
	if (ms > ex->body_ms)
		return "The body took too long to arrive";
	if (ms > RATE_GRACE_MS && ex->body.total < (uint64_t)(rate * ms / 1000))
		return "The body arrives too slowly";
	return NULL;
}

static void
tick(struct kb_conn *c)
{
	struct kb_exchange *ex = c->ex;
	int64_t now = kb_mono_coarse_ms();
	const char *why = body_fault(ex, now);

	if (kb_ex_pending(ex) > 0 &&
	    now - ex->progress_ms > ex->server->limits.write_ms) {
		conn_cut(c, KB_END_TIMEOUT);
		return;
	}
	if (why != NULL && !ex->finished)
		kb_ex_refuse(ex, KB_END_TIMEOUT, KB_REQUEST_TIMEOUT, why);
	kb_conn_settle(c);
}

void
kb_conn_timeout(struct kb_conn *c, enum kb_wait was)
{
	switch (was) {
	case KB_WAIT_TICK: tick(c); break;
	case KB_WAIT_HEAD:
		if (c->shaking) {
			kb_count(&c->server->stats.handshakes_failed, 1);
			kb_conn_free(c);
			break;
		}
		kb_ex_refuse(c->ex, KB_END_TIMEOUT, KB_REQUEST_TIMEOUT, NULL);
		kb_conn_settle(c);
		break;
	case KB_WAIT_LINGER:
		if (c->lingering)
			kb_conn_free(c);
		else
			conn_linger(c);
		break;
	default: kb_conn_break(c, KB_END_TIMEOUT); break;
	}
}
