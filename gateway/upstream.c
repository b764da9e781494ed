/*
 * Upstream's side of an exchange: tries, the body streaming both ways with
 * back-pressure, retries, and what a failure means to the client. Also the
 * small questions that plugins ask of other services.
 */
#include <event2/event.h>
#include <string.h>

#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum {
	RETRY_COST = 100,   /* hundredths */
	CREDIT_MAX = 10000, /* so a busy gateway may retry 100 at once */
	FIRST_DELAY_MS = 20,
	LONGEST_DELAY_MS = 200,
	TELL_MS = 1000,
};

static const struct kb_call_ops call_ops;

/* ---- starting a try
 * ---------------------------------------------------------- */

static uint64_t
call_length(const struct exchange *x)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);

	if (x->rewrite && x->rewrite->body)
		return x->rewrite->body_len;
	if (h->chunked)
		return KB_LENGTH_STREAM;
	return h->has_length ? h->length : 0;
}

/* What of the body came already goes into the new try. */
static void
catch_up(struct exchange *x)
{
	if (x->rewrite && x->rewrite->body) {
		if (x->rewrite->body_len == 0)
			return;
		(void)kb_call_write(
		    x->call, x->rewrite->body, x->rewrite->body_len);
		kb_call_end(x->call);
		return;
	}
	if (!x->has_body)
		return;
	kb_ex_continue(x->ex);
	if (x->replay.len)
		(void)kb_call_write(x->call, x->replay.ptr, x->replay.len);
	if (x->body_ended)
		kb_call_end(x->call);
	if (x->paused) {
		x->paused = false;
		kb_ex_resume(x->ex);
	}
}

static const char *
instance_problem(const struct exchange *x)
{
	return x->instance ? "The instance of this tenant is not available"
			   : NULL;
}

/* Where the present try stands: what comes after TRIES_KEPT shares a place. */
static size_t
present_try(const struct exchange *x)
{
	if (x->tries == 0)
		return 0;
	return x->tries < TRIES_KEPT ? x->tries - 1 : TRIES_KEPT - 1;
}

const struct tried *
last_try(const struct exchange *x)
{
	return &x->tried[present_try(x)];
}

static void
begin_try(struct exchange *x)
{
	bool first = x->tries++ == 0;
	struct tried *t;

	t = &x->tried[present_try(x)];
	memset(t, 0, sizeof(*t));
	t->began_ns = first ? x->asked_ns : kb_mono_ns();
	/* The origin may be gone when it is told. */
	memcpy(t->address, kb_origin_text(x->picked.origin),
	    sizeof(t->address) - 1);
}

static void
start_try(struct exchange *x)
{
	const struct service *s = x->route->service;
	struct loop *l = x->loop;

	x->picked.only = x->instance;
	balancer_pick(l, x->local, s, x->balance_key, &x->picked);
	if (x->picked.origin == NULL) {
		exchange_fail(x, KB_UNAVAILABLE, instance_problem(x));
		return;
	}
	upstream_head(x);
	if (kb_buf_failed(&l->head)) {
		balancer_over(&x->picked);
		exchange_fail(x, KB_HEADERS_TOO_LARGE, NULL);
		return;
	}
	begin_try(x);
	x->call = kb_call_start(&(struct kb_call_conf) {
	    .origin = x->picked.origin,
	    .ops = &call_ops,
	    .user = x,
	    .method = upstream_method(x),
	    .head = l->head.ptr,
	    .head_len = l->head.len,
	    .body_length = call_length(x),
	    .connect_ms = s->connect_timeout,
	    .write_ms = s->write_timeout,
	    .read_ms = s->read_timeout,
	    .upgrade = upstream_may_upgrade(x),
	});
	catch_up(x);
}

void
upstream_start(struct exchange *x)
{
	int64_t *credit = &x->loop->retry_credit;

	x->asked_ns = kb_mono_ns();
	*credit += x->loop->gateway->config->retry_percent;
	if (*credit > CREDIT_MAX)
		*credit = CREDIT_MAX;
	if (x->route->service->upstream->balance)
		x->balance_key = balance_key(x);
	start_try(x);
}

/* ---- the request's body
 * ---------------------------------------------------------- */

static void
keep_for_replay(struct exchange *x, const char *data, size_t len)
{
	if (x->replay_lost)
		return;
	if (x->replay.len + len > REPLAY_MAX) {
		x->replay_lost = true;
		kb_buf_free(&x->replay);
		return;
	}
	kb_buf_add(&x->replay, data, len);
}

void
upstream_body(struct exchange *x, const char *data, size_t len)
{
	if (x->tunnel) {
		if (x->call != NULL && !kb_call_write(x->call, data, len))
			kb_ex_pause(x->ex);
		return;
	}
	if (x->phase > PHASE_UPSTREAM && x->call == NULL)
		return;
	keep_for_replay(x, data, len);
	if (x->call != NULL && !kb_call_write(x->call, data, len))
		kb_ex_pause(x->ex);
}

void
upstream_body_end(struct exchange *x)
{
	if (x->call != NULL && (x->has_body || x->tunnel))
		kb_call_end(x->call);
}

static void
on_call_writable(struct kb_call *call)
{
	struct exchange *x = kb_call_user(call);

	kb_ex_resume(x->ex);
}

/* ---- the answer
 * -------------------------------------------------------------------- */

static void
on_head(struct kb_call *call, const struct kb_http1_head *h, const char *bytes)
{
	struct exchange *x = kb_call_user(call);

	balancer_answered(&x->picked, h->status);
	x->upstream_ns = kb_mono_ns();
	x->upstream_status = h->status;
	x->tried[present_try(x)].ended_ns = x->upstream_ns;
	x->tried[present_try(x)].status = h->status;
	x->answer = h;
	x->answer_bytes = bytes;
	x->replay_lost = true;
	exchange_resume(x);
}

static void
on_body(struct kb_call *call, const char *data, size_t len)
{
	struct exchange *x = kb_call_user(call);

	if (x->held)
		held_body(x, data, len);
	else if (!kb_ex_write(x->ex, data, len))
		kb_call_pause(call);
}

void
upstream_writable(struct exchange *x)
{
	if (x->call != NULL)
		kb_call_resume(x->call);
}

static void
on_done(struct kb_call *call)
{
	struct exchange *x = kb_call_user(call);

	x->call = NULL;
	balancer_over(&x->picked);
	if (x->held)
		held_done(x);
	else
		kb_ex_finish(x->ex);
}

/* ---- failures and retries
 * --------------------------------------------------------------- */

static enum kb_err
error_of(enum kb_call_error error)
{
	static const enum kb_err table[] = {
		[KB_CALL_CONNECT] = KB_UNAVAILABLE,
		[KB_CALL_TIMEOUT] = KB_TIMEOUT,
		[KB_CALL_CLOSED] = KB_BAD_GATEWAY,
		[KB_CALL_BAD] = KB_BAD_GATEWAY,
	};

	return table[error];
}

static bool
is_idempotent(enum kb_method m)
{
	return m == KB_M_GET || m == KB_M_HEAD || m == KB_M_PUT ||
	    m == KB_M_DELETE || m == KB_M_OPTIONS;
}

/* It does the same when it comes twice: by its method, or because the client
 * says that upstream knows it by a key (draft-ietf-httpapi-idempotency-key). */
static bool
is_repeatable(struct exchange *x)
{
	return is_idempotent(upstream_method(x)) ||
	    exchange_header(x, "Idempotency-Key").len > 0;
}

/* As nginx does, and a budget so that retries cannot double a storm. */
static bool
may_retry(struct exchange *x, enum kb_call_error error, bool sent)
{
	int64_t *credit = &x->loop->retry_credit;

	if (error == KB_CALL_BAD || x->replay_lost)
		return false;
	if (sent && !is_repeatable(x))
		return false;
	if (x->tries > x->route->service->retries || *credit < RETRY_COST)
		return false;
	*credit -= RETRY_COST;
	return true;
}

static void
try_again(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *x = arg;

	(void)fd;
	(void)what;
	start_try(x);
	if (x->phase != PHASE_UPSTREAM)
		exchange_resume(x);
}

/* At once where there is another address, else after a short while: a
 * service that restarts is back before most clients would notice. */
static void
schedule_retry(struct exchange *x)
{
	int64_t ms = FIRST_DELAY_MS << (x->tries < 5 ? x->tries - 1 : 4);
	struct timeval after = { 0 };

	if (ms > LONGEST_DELAY_MS)
		ms = LONGEST_DELAY_MS;
	if (!balancer_has_other(
		x->loop, x->local, x->route->service, x->instance))
		after.tv_usec = (suseconds_t)ms * 1000;
	if (x->has_body && !x->body_ended && !x->paused) {
		x->paused = true;
		kb_ex_pause(x->ex);
	}
	if (x->retry_timer == NULL)
		x->retry_timer = evtimer_new(x->loop->base, try_again, x);
	evtimer_add(x->retry_timer, &after);
}

/* A handshake fails for reasons that only the log can tell; not as often as
 * somebody asks. */
static void
tell_handshake(struct exchange *x)
{
	const char *why = kb_origin_problem(x->picked.origin);
	int64_t now = kb_mono_ms();

	if (why[0] == '\0' || now - x->loop->told_ms < TELL_MS)
		return;
	x->loop->told_ms = now;
	kb_warn(NULL, "TLS to a service failed",
	    KB_S("service", x->route->service->name),
	    KB_S("address", x->picked.spot->text), KB_S("why", why));
}

/* What breaks off later than its head has its time already. */
static void
fail_try(struct exchange *x, enum kb_call_error error)
{
	struct tried *t = &x->tried[present_try(x)];

	t->failed = !x->tunnel;
	t->error = error;
	if (t->ended_ns == 0)
		t->ended_ns = kb_mono_ns();
}

static void
on_fail(
    struct kb_call *call, enum kb_call_error error, bool sent, bool answered)
{
	struct exchange *x = kb_call_user(call);

	(void)answered; /* a head that is not complete is none */
	x->call = NULL;
	if (error == KB_CALL_CONNECT)
		tell_handshake(x);
	fail_try(x, error);
	if (x->tunnel)
		balancer_over(&x->picked);
	else
		balancer_failed(&x->picked, error);
	if (x->tunnel) {
		kb_ex_finish(x->ex);
		return;
	}
	if (kb_ex_head_sent(x->ex)) {
		kb_warn(NULL, "upstream broke off an answer",
		    KB_S("service", x->route->service->name),
		    KB_S("requestId", exchange_request_id(x)));
		kb_ex_abort(x->ex);
		return;
	}
	if (x->held) {
		held_fail(x, error_of(error));
		return;
	}
	if (x->phase != PHASE_UPSTREAM)
		return;
	if (may_retry(x, error, sent)) {
		schedule_retry(x);
		return;
	}
	exchange_fail(x, error_of(error),
	    error == KB_CALL_CONNECT ? instance_problem(x) : NULL);
	exchange_resume(x);
}

static const struct kb_call_ops call_ops = {
	.on_head = on_head,
	.on_body = on_body,
	.on_writable = on_call_writable,
	.on_done = on_done,
	.on_fail = on_fail,
};

void
upstream_cancel(struct exchange *x)
{
	struct kb_call *call = x->call;

	if (x->retry_timer)
		evtimer_del(x->retry_timer);
	x->call = NULL;
	balancer_over(&x->picked);
	if (call != NULL)
		kb_call_cancel(call);
}

/* ---- questions of plugins
 * ------------------------------------------------------------------ */

static void
ask_over(struct ask *a, enum kb_err err)
{
	a->call = NULL;
	a->err = err;
	a->done(a);
}

static void
ask_head(struct kb_call *call, const struct kb_http1_head *h, const char *bytes)
{
	struct ask *a = kb_call_user(call);

	(void)bytes;
	a->status = h->status;
}

static void
ask_body(struct kb_call *call, const char *data, size_t len)
{
	struct ask *a = kb_call_user(call);

	kb_buf_add(&a->body, data, len);
}

static void
ask_done(struct kb_call *call)
{
	struct ask *a = kb_call_user(call);

	ask_over(a, kb_buf_failed(&a->body) ? KB_BAD_GATEWAY : KB_OK);
}

static void ask_begin(struct ask *a);

static void
ask_fail(
    struct kb_call *call, enum kb_call_error error, bool sent, bool answered)
{
	struct ask *a = kb_call_user(call);
	bool again = a->repeatable && !a->repeated && !answered &&
	    (error == KB_CALL_CLOSED || error == KB_CALL_CONNECT);

	(void)sent;
	if (!again) {
		ask_over(a, error_of(error));
		return;
	}
	a->repeated = true;
	ask_begin(a);
}

static void
ask_writable(struct kb_call *call)
{
	(void)call;
}

static const struct kb_call_ops ask_ops = {
	.on_head = ask_head,
	.on_body = ask_body,
	.on_writable = ask_writable,
	.on_done = ask_done,
	.on_fail = ask_fail,
};

/* There is no address: told later, never inside of ask_start. */
static void
ask_without_address(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;

	(void)fd;
	(void)what;
	event_free(a->later);
	a->later = NULL;
	ask_over(a, KB_UNAVAILABLE);
}

static void
ask_begin(struct ask *a)
{
	const struct service *s = a->service;
	struct loop *l = a->loop;
	struct timeval now = { 0 };
	struct picked picked = { .only = a->instance };
	struct kb_buf *head = &l->head;

	balancer_pick(l, a->local, s, 0, &picked);
	balancer_over(&picked); /* questions are short: they do not count */
	if (picked.origin == NULL) {
		a->later = evtimer_new(l->base, ask_without_address, a);
		evtimer_add(a->later, &now);
		return;
	}
	kb_buf_reset(head);
	kb_buf_addf(head, "%s %s%s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n",
	    kb_method_name(a->method), s->path, a->path,
	    a->instance ? a->instance->authority : s->host_value, a->headers,
	    a->method == KB_M_POST ? "Content-Length: 0\r\n" : "");
	a->call = kb_call_start(&(struct kb_call_conf) {
	    .origin = picked.origin,
	    .ops = &ask_ops,
	    .user = a,
	    .method = a->method,
	    .head = head->ptr,
	    .head_len = head->len,
	    .connect_ms = a->timeout_ms,
	    .write_ms = a->timeout_ms,
	    .read_ms = a->timeout_ms,
	    .total_ms = a->timeout_ms,
	});
}

static void
ask_prepare(struct ask *a, struct loop *l, struct local *local)
{
	kb_buf_init(&a->body, a->max_answer);
	a->call = NULL;
	a->later = NULL;
	a->loop = l;
	a->local = local;
	a->instance = NULL;
	a->repeated = false;
}

void
ask_start(struct exchange *x, struct ask *a)
{
	ask_prepare(a, x->loop, x->local);
	if (x->route != NULL && a->service == x->route->service)
		a->instance = x->instance;
	ask_begin(a);
}

void
ask_start_alone(struct loop *l, struct ask *a)
{
	ask_prepare(a, l, l->local);
	ask_begin(a);
}

void
ask_cancel(struct ask *a)
{
	if (a->later)
		event_free(a->later);
	if (a->call)
		kb_call_cancel(a->call);
	a->later = NULL;
	a->call = NULL;
}
