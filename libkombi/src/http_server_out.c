/*
 * Bytes out: answers, chunked framing, flushing, and the end of exchanges.
 * Functions that users call only record; large bodies alone are written at
 * once, past the buffer.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "envelope.h"
#include "http_server_private.h"

#define DIRECT_MIN 8192 /* below, copying is cheaper than a call */
#define DRAIN_MAX 65536

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{ 100, "Continue" },
	{ 101, "Switching Protocols" },
	{ 103, "Early Hints" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 204, "No Content" },
	{ 206, "Partial Content" },
	{ 301, "Moved Permanently" },
	{ 302, "Found" },
	{ 303, "See Other" },
	{ 304, "Not Modified" },
	{ 307, "Temporary Redirect" },
	{ 308, "Permanent Redirect" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" },
	{ 417, "Expectation Failed" },
	{ 422, "Unprocessable Content" },
	{ 426, "Upgrade Required" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
	{ 507, "Insufficient Storage" },
};

static const char *
reason(int status)
{
	for (size_t i = 0; i < KB_COUNT(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "";
}

/* ---- to the socket
 * --------------------------------------------------------------- */

static void
note_progress(struct kb_exchange *ex)
{
	ex->progress_ms = kb_mono_coarse_ms();
}

static void
arm_write(struct kb_exchange *ex)
{
	if (ex->write_armed)
		return;
	ex->write_armed = true;
	event_add(&ex->ev_write, NULL);
}

/* Writes what it can of the buffer. */
static void
flush(struct kb_exchange *ex)
{
	while (kb_ex_pending(ex) > 0 && !ex->broken) {
		ssize_t n = kb_conn_send(
		    ex->conn, ex->out.ptr + ex->out_off, kb_ex_pending(ex));

		if (n >= 0) {
			ex->out_off += (size_t)n;
			note_progress(ex);
		} else if (errno == EAGAIN) {
			arm_write(ex);
			return;
		} else if (errno != EINTR)
			ex->broken = true;
	}
	kb_buf_reset(&ex->out);
	ex->out_off = 0;
}

/*
 * The buffer, then a frame of a chunk, its bytes and its end in one call;
 * how many bytes of all of it were taken.
 */
static size_t
write_direct(struct kb_exchange *ex, const char *frame, size_t frame_len,
    struct kb_slice data)
{
	const char *end = frame_len > 0 ? "\r\n" : "";
	struct iovec v[4] = {
		{ ex->out.ptr + ex->out_off, kb_ex_pending(ex) },
		{ (void *)(uintptr_t)frame, frame_len },
		{ (void *)(uintptr_t)data.ptr, data.len },
		{ (void *)(uintptr_t)end, strlen(end) },
	};
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 4 };
	ssize_t n;

	if (v[0].iov_len == 0)
		v[0].iov_base = v[1].iov_base;
	n = sendmsg(event_get_fd(&ex->conn->ev), &m, MSG_NOSIGNAL);
	if (n >= 0) {
		note_progress(ex);
		return (size_t)n;
	}
	if (errno != EAGAIN && errno != EINTR)
		ex->broken = true;
	return 0;
}

/* Puts what is left of a part after `taken` bytes into the buffer. */
static void
keep_rest(struct kb_buf *out, size_t *taken, const char *part, size_t len)
{
	size_t skip = *taken < len ? *taken : len;

	*taken -= skip;
	kb_buf_add(out, part + skip, len - skip);
}

static void
add_data(struct kb_exchange *ex, struct kb_slice data)
{
	char frame[24] = "";
	size_t frame_len = 0, taken = 0;

	if (ex->chunked_out)
		frame_len = (size_t)snprintf(
		    frame, sizeof(frame), "%zx\r\n", data.len);
	/* While output waits for the socket, order forbids a short cut; TLS
	 * has none. */
	if (data.len >= DIRECT_MIN && !ex->write_armed &&
	    ex->conn->tls == NULL) {
		size_t before = kb_ex_pending(ex);

		taken = write_direct(ex, frame, frame_len, data);
		if (taken < before) {
			ex->out_off += taken;
			taken = 0;
		} else {
			kb_buf_reset(&ex->out);
			ex->out_off = 0;
			taken -= before;
		}
	}
	keep_rest(&ex->out, &taken, frame, frame_len);
	keep_rest(&ex->out, &taken, data.ptr, data.len);
	if (frame_len > 0)
		keep_rest(&ex->out, &taken, "\r\n", 2);
}

/* ---- heads
 * ----------------------------------------------------------------------------
 */

static const char *
date_line(struct kb_server *s)
{
	int64_t now = kb_wall_s();

	if (now != s->date_s) {
		char date[30];

		kb_http_date(now, date);
		snprintf(s->date, sizeof(s->date), "Date: %s\r\n", date);
		s->date_s = now;
	}
	return s->date;
}

/* Whether the connection must end after this answer. */
static bool
must_close(const struct kb_exchange *ex, uint64_t length)
{
	const struct kb_server *s = ex->server;

	if (ex->close_after || s->draining || !ex->head.keep_alive ||
	    ex->conn->half_closed || ex->wants_continue ||
	    ex->conn->requests >= s->limits.requests)
		return true;
	if (length == KB_LENGTH_STREAM && ex->head.minor == 0 &&
	    !ex->bodyless_out)
		return true;
	return !ex->body.ended && ex->body.kind == KB_BODY_LENGTH &&
	    ex->body.left > DRAIN_MAX;
}

static void
status_line(struct kb_buf *out, int status)
{
	kb_buf_adds(out, "HTTP/1.1 ");
	kb_buf_addu(out, (uint64_t)status);
	kb_buf_addc(out, ' ');
	kb_buf_adds(out, reason(status));
	kb_buf_adds(out, "\r\n");
}

static void
framing_lines(struct kb_exchange *ex, uint64_t length)
{
	struct kb_buf *out = &ex->out;

	if (ex->status != 204 && ex->status != 304) {
		if (length != KB_LENGTH_STREAM) {
			kb_buf_adds(out, "Content-Length: ");
			kb_buf_addu(out, length);
			kb_buf_adds(out, "\r\n");
		} else if (ex->head.minor > 0) {
			kb_buf_adds(out, "Transfer-Encoding: chunked\r\n");
			ex->chunked_out = !ex->bodyless_out;
		}
	}
	if (ex->close_after)
		kb_buf_adds(out, "Connection: close\r\n");
	else if (ex->head.minor == 0)
		kb_buf_adds(out, "Connection: keep-alive\r\n");
	kb_buf_adds(out, "\r\n");
}

static bool
names_line(struct kb_slice lines, const char *name, size_t len)
{
	for (size_t i = 0; i + len < lines.len; i++) {
		const char *end;

		if (strncasecmp(lines.ptr + i, name, len) == 0)
			return true;
		end = memchr(lines.ptr + i, '\n', lines.len - i);
		if (end == NULL)
			return false;
		i = (size_t)(end - lines.ptr);
	}
	return false;
}

/* What an answer says itself goes before what all say. */
static void
always_lines(struct kb_buf *out, const char *always, struct kb_slice lines)
{
	while (*always != '\0') {
		const char *end = strchr(always, '\n') + 1;
		const char *colon = strchr(always, ':') + 1;

		if (!names_line(lines, always, (size_t)(colon - always)))
			kb_buf_add(out, always, (size_t)(end - always));
		always = end;
	}
}

static void
head_out(
    struct kb_exchange *ex, int status, struct kb_slice lines, uint64_t length)
{
	struct kb_server *s = ex->server;
	struct kb_buf *out = &ex->out;

	ex->head_out = true;
	ex->status = status;
	ex->bodyless_out = ex->head.method == KB_M_HEAD || status == 204 ||
	    status == 304;
	ex->announced = length;
	ex->close_after = must_close(ex, length);
	status_line(out, status);
	kb_buf_adds(out, date_line(s));
	if (s->server_line != NULL)
		kb_buf_adds(out, s->server_line);
	always_lines(out, s->always, lines);
	kb_buf_add(out, lines.ptr, lines.len);
	framing_lines(ex, length);
	note_progress(ex);
	kb_ex_due(ex);
}

static void
write_out(struct kb_exchange *ex, struct kb_slice data)
{
	if (ex->announced != KB_LENGTH_STREAM &&
	    data.len > ex->announced - ex->bytes_out)
		data.len = (size_t)(ex->announced - ex->bytes_out);
	ex->bytes_out += data.len;
	if (data.len == 0 || ex->bodyless_out || ex->broken)
		return;
	add_data(ex, data);
	kb_ex_due(ex);
}

static void
finish(struct kb_exchange *ex)
{
	ex->finished = true;
	if (ex->chunked_out)
		kb_buf_adds(&ex->out, "0\r\n\r\n");
	else if (ex->announced != KB_LENGTH_STREAM && !ex->bodyless_out &&
	    ex->bytes_out < ex->announced)
		ex->cut = true;
	kb_ex_due(ex);
}

/* Of errors that no handler has a hand in. */
static const char *
engine_lines(const struct kb_exchange *ex)
{
	const struct kb_server *s = ex->server;

	return kb_ex_tls(ex) ? s->on_fail_tls : s->on_fail;
}

/* The error envelope, whole. */
static void
fail(struct kb_exchange *ex, enum kb_err err, const char *message,
    const char *details, const char *lines)
{
	struct kb_buf body, head;

	kb_buf_init(&body, 1 << 20);
	kb_buf_init(&head, 1 << 16);
	kb_envelope_error(&body, err, message, details, kb_ex_request_id(ex));
	kb_buf_addf(&head,
	    "Content-Type: application/json\r\nCache-Control: no-store\r\n"
	    "X-Request-ID: %s\r\n%s%s",
	    kb_ex_request_id(ex), kb_envelope_lines(err), lines ? lines : "");
	head_out(ex, kb_err_status(err),
	    (struct kb_slice) { head.ptr, head.len }, body.len);
	write_out(ex, (struct kb_slice) { body.ptr, body.len });
	finish(ex);
	kb_buf_free(&body);
	kb_buf_free(&head);
}

/* ---- what users call
 * ---------------------------------------------------------------------- */

static bool
is_void(const struct kb_exchange *ex)
{
	return ex->sealed || ex->finished || ex->unseen ||
	    ex->phase != KB_PHASE_ACTIVE;
}

void
kb_ex_head_out(struct kb_exchange *ex, int status, const char *lines,
    size_t lines_len, uint64_t length)
{
	if (is_void(ex))
		return;
	assert(!ex->head_out && status >= 200 && status <= 599);
	head_out(ex, status, (struct kb_slice) { lines, lines_len }, length);
}

bool
kb_ex_write(struct kb_exchange *ex, const void *data, size_t len)
{
	if (is_void(ex))
		return true;
	assert(ex->head_out);
	write_out(ex, (struct kb_slice) { data, len });
	if (kb_ex_pending(ex) <= ex->server->limits.high_water)
		return true;
	ex->above = true;
	return false;
}

void
kb_ex_finish(struct kb_exchange *ex)
{
	if (is_void(ex))
		return;
	assert(ex->head_out);
	finish(ex);
}

void
kb_ex_answer(struct kb_exchange *ex, int status, const char *lines,
    size_t lines_len, const void *body, size_t len)
{
	if (is_void(ex))
		return;
	kb_ex_head_out(ex, status, lines, lines_len, len);
	write_out(ex, (struct kb_slice) { body, len });
	finish(ex);
}

void
kb_ex_fail(struct kb_exchange *ex, enum kb_err err, const char *message,
    const char *details, const char *lines)
{
	if (is_void(ex))
		return;
	if (ex->head_out)
		kb_ex_abort(ex);
	else
		fail(ex, err, message, details, lines);
}

void
kb_ex_interim(
    struct kb_exchange *ex, int status, const char *lines, size_t lines_len)
{
	if (is_void(ex) || ex->head_out || ex->head.minor == 0)
		return;
	assert(status >= 100 && status <= 199 && status != 101);
	status_line(&ex->out, status);
	kb_buf_add(&ex->out, lines, lines_len);
	kb_buf_adds(&ex->out, "\r\n");
	note_progress(ex);
	kb_ex_due(ex);
}

void
kb_ex_continue(struct kb_exchange *ex)
{
	if (!ex->wants_continue)
		return;
	ex->wants_continue = false;
	ex->body_began_ms = kb_mono_coarse_ms();
	kb_ex_interim(ex, 100, "", 0);
}

void
kb_ex_abort(struct kb_exchange *ex)
{
	if (is_void(ex))
		return;
	if (!ex->head_out) {
		fail(ex, KB_BAD_GATEWAY, NULL, NULL, engine_lines(ex));
		return;
	}
	ex->cut = true;
	ex->finished = true;
	ex->end = KB_END_ABORTED;
	kb_ex_due(ex);
}

void
kb_ex_close_after(struct kb_exchange *ex)
{
	ex->close_after = true;
}

void
kb_ex_endless(struct kb_exchange *ex)
{
	if (is_void(ex))
		return;
	if (ex->conn->half_closed)
		kb_ex_abort(ex);
	else
		ex->endless = true;
}

void
kb_ex_upgrade(struct kb_exchange *ex, const char *lines, size_t lines_len)
{
	if (is_void(ex))
		return;
	assert(!ex->head_out);
	ex->status = 101;
	ex->head_out = ex->tunnel = ex->close_after = true;
	ex->announced = KB_LENGTH_STREAM;
	ex->body_ended = false;
	status_line(&ex->out, 101);
	kb_buf_adds(&ex->out, date_line(ex->server));
	kb_buf_add(&ex->out, lines, lines_len);
	kb_buf_adds(&ex->out, "Connection: Upgrade\r\n\r\n");
	note_progress(ex);
	kb_ex_due(ex);
}

void
kb_ex_pause(struct kb_exchange *ex)
{
	if (ex->paused || is_void(ex))
		return;
	ex->paused = true;
	ex->paused_at_ms = kb_mono_coarse_ms();
	kb_ex_due(ex);
}

void
kb_ex_resume(struct kb_exchange *ex)
{
	if (!ex->paused || is_void(ex))
		return;
	ex->paused = false;
	/* The time of a pause is not the client's. */
	ex->body_began_ms += kb_mono_coarse_ms() - ex->paused_at_ms;
	kb_ex_due(ex);
}

/* ---- on the loop
 * ------------------------------------------------------------------------------
 */

void
kb_ex_refuse(struct kb_exchange *ex, enum kb_end end, enum kb_err err,
    const char *message)
{
	if (ex->sealed)
		return;
	ex->end = end;
	ex->close_after = true;
	ex->body_ended = true; /* nothing more is read of it */
	if (ex->finished) {
		ex->sealed = true;
		return;
	}
	ex->phase = KB_PHASE_ACTIVE;
	ex->sealed = true;
	if (ex->head_out) {
		ex->cut = ex->finished = true;
		kb_ex_due(ex);
	} else
		fail(ex, err, message, NULL, engine_lines(ex));
	if (ex->unseen) {
		kb_count(&ex->server->stats.refused, 1);
		if (ex->server->ops->on_refused != NULL)
			ex->server->ops->on_refused(ex->server->arg,
			    kb_ex_peer(ex), ex->status, kb_ex_request_id(ex),
			    message ? message : kb_err_text(err));
	}
}

static void
tell_writable(struct kb_exchange *ex)
{
	if (!ex->above ||
	    kb_ex_pending(ex) >= ex->server->limits.high_water / 2)
		return;
	ex->above = false;
	if (kb_ex_heard(ex) && ex->server->ops->on_writable != NULL)
		ex->server->ops->on_writable(ex);
}

void
kb_ex_work(struct kb_exchange *ex)
{
	struct kb_conn *c = ex->conn;

	if (!ex->write_armed)
		flush(ex);
	if (ex->broken) {
		kb_conn_break(c, KB_END_ABORTED);
		return;
	}
	tell_writable(ex);
	if (ex->finished && kb_ex_pending(ex) == 0)
		kb_conn_next(c);
	else if (ex->phase == KB_PHASE_ACTIVE)
		kb_conn_proceed(c);
	else
		kb_conn_settle(c);
}

void
kb_ex_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct kb_exchange *ex = arg;

	(void)fd;
	(void)what;
	ex->write_armed = false;
	kb_ex_undue(ex);
	kb_ex_work(ex);
}
