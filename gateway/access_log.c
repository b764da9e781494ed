/*
 * The access log: one JSON object a request. It tells the path but no query
 * and no header of the client, so that it holds no secret.
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

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
write_caller(struct kb_jsonw *w, const struct exchange *x)
{
	const struct kb_identity *id = exchange_identity(x);

	if (id != NULL)
		kb_w_str(w, "userId", id->value[KB_ID_USER]);
	if (x->consumer != NULL)
		kb_w_str(w, "consumer", consumer_name(x->consumer));
	kb_w_opt(w, "tenant", x->tenant);
}

/* request: all of it; kong: until upstream was asked; proxy: from then until
 * the head of its answer (Kong 3.9). */
static void
write_latencies(struct kb_jsonw *w, const struct spent *s)
{
	kb_w_int(w, "durationMs", whole_ms(s->request_ns));
	kb_w_object(w, "latencies");
	kb_w_int(w, "request", whole_ms(s->request_ns));
	kb_w_int(w, "kong", whole_ms(s->kong_ns));
	if (s->proxied)
		kb_w_int(w, "proxy", whole_ms(s->proxy_ns));
	kb_w_object_end(w);
}

static void
write_attempts(struct kb_jsonw *w, const struct exchange *x)
{
	size_t n = x->tries < TRIES_KEPT ? x->tries : TRIES_KEPT;

	kb_w_array(w, "attempts");
	for (size_t i = 0; i < n; i++) {
		const struct tried *t = &x->tried[i];

		kb_w_object(w, NULL);
		kb_w_str(w, "address", t->address);
		kb_w_int(w, "ms", whole_ms(t->ended_ns - t->began_ns));
		if (t->status)
			kb_w_int(w, "status", t->status);
		kb_w_opt(w, "error", try_error(t));
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static void
write_upstream(struct kb_jsonw *w, const struct exchange *x)
{
	if (x->tries == 0)
		return;
	kb_w_str(w, "upstream", last_try(x)->address);
	if (x->upstream_status)
		kb_w_int(w, "upstreamStatus", x->upstream_status);
	kb_w_int(w, "tries", x->tries);
	if (x->tries > 1) {
		kb_w_int(w, "retries", x->tries - 1);
		write_attempts(w, x);
	}
}

void
access_log(struct exchange *x, int status, const struct spent *spent)
{
	struct kb_buf *b = &x->loop->lines;
	const struct kb_tls *tls = kb_ex_tls(x->ex);
	struct kb_jsonw w;

	kb_buf_reset(b);
	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "timestamp", stamp(x->loop));
	kb_w_str(&w, "level", "info");
	kb_w_str(&w, "message", "request");
	kb_w_str(&w, "service", "gateway");
	kb_w_str(&w, "requestId", kb_ex_request_id(x->ex));
	kb_w_opt(&w, "traceId", x->trace_id);
	write_caller(&w, x);
	kb_w_str(&w, "method", kb_method_name(exchange_method(x)));
	kb_w_slice(&w, "path", kb_ex_path(x->ex));
	kb_w_int(&w, "statusCode", status);
	write_latencies(&w, spent);
	kb_w_str(&w, "source", x->upstream_status ? "service" : "kong");
	if (x->route != NULL) {
		kb_w_str(&w, "route", x->route->name);
		kb_w_str(&w, "routeService", x->route->service->name);
	}
	write_upstream(&w, x);
	kb_w_int(&w, "bytesIn", (int64_t)kb_ex_bytes_in(x->ex));
	kb_w_int(&w, "bytesOut", (int64_t)kb_ex_bytes_out(x->ex));
	kb_w_str(&w, "peer", x->client_ip);
	if (tls != NULL)
		kb_w_str(&w, "tls", kb_tls_version(tls));
	kb_w_object_end(&w);
	if (!kb_buf_failed(b))
		kb_log_raw(b->ptr, b->len);
}
