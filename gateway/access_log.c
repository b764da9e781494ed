/*
 * The access log: one JSON object a request. It tells the path but no query
 * and no header of the client, so that it holds no secret. The lines are put
 * together from constant parts: by the general writer they cost a quarter of
 * what a request costs. What people or clients have named is escaped; times,
 * numbers, ids of requests, addresses and slugs cannot need it.
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

/* A constant part of the line. */
#define PART(b, text) kb_buf_add(b, text, sizeof(text) - 1)

/* Of enum kb_call_error. */
static const char *const call_errors[] = {
	[KB_CALL_CONNECT] = "connect",
	[KB_CALL_TIMEOUT] = "timeout",
	[KB_CALL_CLOSED] = "closed",
	[KB_CALL_BAD] = "bad answer",
};

static int64_t
whole_ms(int64_t ns)
{
	return ns > 0 ? ns / 1000000 : 0;
}

const char *
try_error(const struct tried *t)
{
	return t->failed ? call_errors[t->error] : NULL;
}

/* The time is written anew when its millisecond is over. */
static const char *
stamp(struct loop *l)
{
	int64_t now = kb_wall_ms();

	if (now != l->stamp_ms)
		kb_rfc3339(now, l->stamp);
	l->stamp_ms = now;
	return l->stamp;
}

static void
add_escaped(struct kb_buf *b, struct kb_slice text)
{
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_slice(&w, NULL, text);
}

static void
add_ms(struct kb_buf *b, int64_t ns)
{
	kb_buf_addu(b, (uint64_t)whole_ms(ns));
}

static void
add_caller(struct kb_buf *b, const struct exchange *x)
{
	const struct kb_identity *id = exchange_identity(x);

	if (id != NULL && id->value[KB_ID_USER] != NULL) {
		PART(b, ",\"userId\":");
		add_escaped(b, kb_slice_of(id->value[KB_ID_USER]));
	}
	if (x->consumer != NULL) {
		PART(b, ",\"consumer\":");
		add_escaped(b, kb_slice_of(consumer_name(x->consumer)));
	}
	if (x->tenant != NULL) {
		PART(b, ",\"tenant\":\"");
		kb_buf_adds(b, x->tenant);
		PART(b, "\"");
	}
}

static void
add_request(struct kb_buf *b, const struct exchange *x, int status)
{
	PART(b, ",\"method\":\"");
	kb_buf_adds(b, kb_method_name(exchange_method(x)));
	PART(b, "\",\"path\":");
	add_escaped(b, kb_ex_path(x->ex));
	PART(b, ",\"statusCode\":");
	kb_buf_addu(b, (uint64_t)status);
}

/* request: all of it; kong: until upstream was asked; proxy: from then until
 * the head of its answer (Kong 3.9). */
static void
add_latencies(struct kb_buf *b, const struct spent *s)
{
	PART(b, ",\"durationMs\":");
	add_ms(b, s->request_ns);
	PART(b, ",\"latencies\":{\"request\":");
	add_ms(b, s->request_ns);
	PART(b, ",\"kong\":");
	add_ms(b, s->kong_ns);
	if (s->proxied) {
		PART(b, ",\"proxy\":");
		add_ms(b, s->proxy_ns);
	}
	PART(b, "}");
}

static void
add_route(struct kb_buf *b, const struct exchange *x)
{
	if (x->upstream_status)
		PART(b, ",\"source\":\"service\"");
	else
		PART(b, ",\"source\":\"kong\"");
	if (x->route == NULL)
		return;
	PART(b, ",\"route\":");
	add_escaped(b, kb_slice_of(x->route->name));
	PART(b, ",\"routeService\":");
	add_escaped(b, kb_slice_of(x->route->service->name));
}

static void
add_attempt(struct kb_buf *b, const struct tried *t)
{
	PART(b, "{\"address\":\"");
	kb_buf_adds(b, t->address);
	PART(b, "\",\"ms\":");
	add_ms(b, t->ended_ns - t->began_ns);
	if (t->status) {
		PART(b, ",\"status\":");
		kb_buf_addu(b, (uint64_t)t->status);
	}
	if (t->failed) {
		PART(b, ",\"error\":\"");
		kb_buf_adds(b, try_error(t));
		PART(b, "\"");
	}
	PART(b, "}");
}

static void
add_attempts(struct kb_buf *b, const struct exchange *x)
{
	size_t n = x->tries < TRIES_KEPT ? x->tries : TRIES_KEPT;

	PART(b, ",\"retries\":");
	kb_buf_addu(b, x->tries - 1);
	PART(b, ",\"attempts\":[");
	for (size_t i = 0; i < n; i++) {
		if (i)
			PART(b, ",");
		add_attempt(b, &x->tried[i]);
	}
	PART(b, "]");
}

static void
add_upstream(struct kb_buf *b, const struct exchange *x)
{
	if (x->tries == 0)
		return;
	PART(b, ",\"upstream\":\"");
	kb_buf_adds(b, last_try(x)->address);
	PART(b, "\"");
	if (x->upstream_status) {
		PART(b, ",\"upstreamStatus\":");
		kb_buf_addu(b, (uint64_t)x->upstream_status);
	}
	PART(b, ",\"tries\":");
	kb_buf_addu(b, x->tries);
	if (x->tries > 1)
		add_attempts(b, x);
}

static void
add_wire(struct kb_buf *b, const struct exchange *x)
{
	const struct kb_tls *tls = kb_ex_tls(x->ex);

	PART(b, ",\"bytesIn\":");
	kb_buf_addu(b, kb_ex_bytes_in(x->ex));
	PART(b, ",\"bytesOut\":");
	kb_buf_addu(b, kb_ex_bytes_out(x->ex));
	PART(b, ",\"peer\":\"");
	kb_buf_adds(b, x->client_ip);
	if (tls != NULL) {
		PART(b, "\",\"tls\":\"");
		kb_buf_adds(b, kb_tls_version(tls));
	}
	PART(b, "\"}");
}

void
access_log(struct exchange *x, int status, const struct spent *spent)
{
	struct kb_buf *b = &x->loop->lines;

	kb_buf_reset(b);
	PART(b, "{\"timestamp\":\"");
	kb_buf_add(b, stamp(x->loop), KB_RFC3339_SIZE - 1);
	PART(b,
	    "\",\"level\":\"info\",\"message\":\"request\","
	    "\"service\":\"gateway\",\"requestId\":\"");
	kb_buf_adds(b, kb_ex_request_id(x->ex));
	PART(b, "\"");
	if (x->trace_id != NULL) {
		PART(b, ",\"traceId\":\"");
		kb_buf_adds(b, x->trace_id);
		PART(b, "\"");
	}
	add_caller(b, x);
	add_request(b, x, status);
	add_latencies(b, spent);
	add_route(b, x);
	add_upstream(b, x);
	add_wire(b, x);
	if (!kb_buf_failed(b))
		kb_log_raw(b->ptr, b->len);
}
