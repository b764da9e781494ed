/*
 * The client engine's answers: from bytes to callbacks, and how calls end.
 */
#include <assert.h>
#include <string.h>

#include "http_client_private.h"

#define MAX_INTERIM 16 /* 1xx answers to one request */

enum verdict {
	GO_ON,    /* wants more bytes, or is paused */
	COMPLETE, /* the answer has been given out */
	BROKEN,
};

/* ---- endings: each gives up the connection first ------------------------- */

static void
end_cancelled(struct conn *c)
{
	struct kb_call *call = c->call;

	kb_conn_close(c);
	kb_call_release(call);
}

void
kb_answer_fail(struct conn *c, enum kb_call_error error)
{
	struct kb_call *call = c->call;

	c->origin->stats.failures++;
	kb_conn_close(c);
	call->conf.ops->on_fail(call, error, call->sent, call->answered);
	kb_call_release(call);
}

static bool
may_keep(const struct conn *c, bool extra)
{
	const struct kb_call *call = c->call;

	return call->phase == CALL_BODY && call->head.keep_alive && !extra &&
	    call->body.kind != KB_BODY_UNTIL_CLOSE && call->ended &&
	    kb_call_pending(call) == 0 && !call->broken &&
	    c->requests < c->origin->client->conf.requests;
}

static void
finish(struct conn *c, bool extra)
{
	struct kb_call *call = c->call;

	if (may_keep(c, extra))
		kb_conn_keep(c);
	else
		kb_conn_close(c);
	call->conf.ops->on_done(call);
	kb_call_release(call);
}

/* A pooled connection that turns out to be closed: the call gets another. */
static bool
retry(struct conn *c)
{
	struct kb_call *call = c->call;

	if (!c->reused || call->answered || call->retried ||
	    !kb_call_repeatable(call))
		return false;
	kb_conn_close(c);
	call->retried = true;
	call->sent = call->broken = false;
	call->out_off = 0;
	kb_conn_begin(call, true);
	return true;
}

/* ---- answers ---------------------------------------------------------------
 */

static bool
switch_protocol(struct kb_call *call)
{
	if (!call->conf.upgrade || !call->head.upgrade)
		return false;
	call->phase = CALL_TUNNEL;
	call->ended = false; /* of our side of the tunnel from here on */
	return true;
}

/* An interim answer is dropped; framing fields in one are an error. */
static bool
drop_interim(struct kb_call *call)
{
	if (call->head.has_length || call->head.chunked ||
	    ++call->interim > MAX_INTERIM)
		return false;
	kb_http1_head_init(&call->head, true);
	return true;
}

/* Moves *at behind a complete head. */
static enum verdict
take_head(struct conn *c, const char *bytes, size_t len, size_t *at)
{
	struct kb_call *call = c->call;
	struct kb_http1_head *h = &call->head;
	const char *start = bytes + *at, *why;
	enum kb_err err;

	switch (kb_http1_parse(
	    h, start, len - *at, &c->origin->client->conf.limits, &err, &why)) {
	case KB_HTTP1_MORE: return GO_ON;
	case KB_HTTP1_BAD: return BROKEN;
	default: *at += h->done;
	}
	if (h->status < 200 && h->status != 101)
		return drop_interim(call) ? GO_ON : BROKEN;
	if (h->status == 101) {
		if (!switch_protocol(call))
			return BROKEN;
	} else {
		kb_http1_body_response(&call->body, h, call->conf.method);
		call->phase = CALL_BODY;
	}
	call->conf.ops->on_head(call, h, start);
	return GO_ON;
}

static enum verdict
take_body(struct conn *c, const char *bytes, size_t len, size_t *at)
{
	struct kb_call *call = c->call;
	struct kb_slice in = { bytes + *at, len - *at }, data = in;

	if (call->phase == CALL_TUNNEL)
		in = (struct kb_slice) { bytes + len, 0 };
	else if (!kb_http1_body_next(
		     &call->body, &in, &data, &c->origin->client->conf.limits))
		return BROKEN;
	*at = len - in.len;
	if (data.len > 0)
		call->conf.ops->on_body(call, data.ptr, data.len);
	return GO_ON;
}

/* Gives out what it can; *at: the bytes used. */
static enum verdict
consume(struct conn *c, const char *bytes, size_t len, size_t *at)
{
	struct kb_call *call = c->call;
	enum verdict v = GO_ON;

	while (v == GO_ON && !call->cancelled) {
		size_t before = *at;
		bool in_head = call->phase == CALL_HEAD;

		if (call->phase == CALL_BODY && call->body.ended)
			return COMPLETE;
		if (call->paused || *at == len)
			break;
		v = in_head ? take_head(c, bytes, len, at)
			    : take_body(c, bytes, len, at);
		if (*at == before) /* a head that is not complete */
			break;
	}
	return v;
}

/* Bytes left over wait in the call. False: too many. */
static bool
stash(struct kb_call *call, const char *rest, size_t len, size_t used)
{
	if (call->in.len > 0)
		kb_buf_consume(&call->in, used);
	else
		kb_buf_add(&call->in, rest, len);
	call->stashed = call->paused && call->in.len > 0;
	return !kb_buf_failed(&call->in);
}

void
kb_answer_feed(struct conn *c, const char *bytes, size_t len)
{
	struct kb_call *call = c->call;
	size_t used = 0;
	enum verdict v;

	call->answered = true;
	if (call->in.len > 0) {
		kb_buf_add(&call->in, bytes, len);
		bytes = call->in.ptr;
		len = call->in.len;
	}
	c->busy = true;
	v = consume(c, bytes, len, &used);
	c->busy = false;
	if (call->cancelled)
		end_cancelled(c);
	else if (v == COMPLETE)
		finish(c, used < len);
	else if (v == BROKEN || !stash(call, bytes + used, len - used, used))
		kb_answer_fail(c, KB_CALL_BAD);
	else
		kb_conn_touch(c);
}

void
kb_answer_eof(struct conn *c, bool reset)
{
	const struct kb_call *call = c->call;
	bool until_close = call->phase == CALL_BODY &&
	    call->body.kind == KB_BODY_UNTIL_CLOSE;

	if (!reset && (until_close || call->phase == CALL_TUNNEL))
		finish(c, true);
	else if (!retry(c))
		kb_answer_fail(c, KB_CALL_CLOSED);
}

void
kb_answer_writable(struct conn *c)
{
	struct kb_call *call = c->call;

	if (!call->choked ||
	    kb_call_pending(call) >= c->origin->client->conf.high_water / 2)
		return;
	call->choked = false;
	if (!call->conf.ops->on_writable)
		return;
	c->busy = true;
	call->conf.ops->on_writable(call);
	c->busy = false;
	if (call->cancelled)
		end_cancelled(c);
}
