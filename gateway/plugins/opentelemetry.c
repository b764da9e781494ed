/*
 * opentelemetry: takes a trace up where the client has it, or begins one,
 * passes it on to upstream, and tells an OTLP collector by HTTP with JSON
 * (OTLP 1.x, semantic conventions of HTTP). A request that is not sampled
 * costs the reading and writing of a header field; what is sampled is
 * written to a queue, and sent by a thread of its own.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

enum { SPANS_MAX = 64 * 1024, USER_AGENT_MAX = 256 };

enum header_type { PRESERVE, IGNORE, W3C, B3, B3_SINGLE };
static const char *const header_types[] = { "preserve", "ignore", "w3c", "b3",
	"b3-single", NULL };
static const char *const strategies[] = { "parent_drop_probability_fallback",
	"parent_probability_fallback", NULL };

struct conf {
	const char *endpoint, *traces_endpoint;
	const struct kb_yaml *headers, *resource_attributes, *sampling_rate,
	    *queue;
	int64_t batch_span_count, batch_flush_delay;
	int64_t connect_timeout, send_timeout, read_timeout;
	const char *http_response_header_for_traceid;
	int header_type, sampling_strategy;
	/* made by load */
	double rate;
	struct exporter *exporter;
};

static const struct field fields[] = {
	CONF_STR(struct conf, endpoint),
	CONF_STR(struct conf, traces_endpoint),
	CONF_NODE(struct conf, headers),
	CONF_NODE(struct conf, resource_attributes),
	CONF_NODE(struct conf, sampling_rate),
	CONF_NODE(struct conf, queue),
	CONF_INT(struct conf, batch_span_count, .min = 1, .max = 10000),
	CONF_INT(struct conf, batch_flush_delay, .min = 0, .max = 3600),
	CONF_INT(struct conf, connect_timeout, .min = 1, .max = 600000),
	CONF_INT(struct conf, send_timeout, .min = 1, .max = 600000),
	CONF_INT(struct conf, read_timeout, .min = 1, .max = 600000),
	CONF_STR(struct conf, http_response_header_for_traceid),
	CONF_ENUM(struct conf, header_type, .choices = header_types),
	CONF_ENUM(struct conf, sampling_strategy, .choices = strategies),
	CONF_LATER("logs_endpoint", "logs go to the standard output"),
	CONF_LATER("propagation", "say it by header_type"),
	CONF_END,
};

static const struct conf defaults = {
	.batch_span_count = 200,
	.batch_flush_delay = 3,
	.connect_timeout = 1000,
	.send_timeout = 5000,
	.read_timeout = 5000,
};

/* Kong's queue; what is not here is its own affair. */
struct queue {
	int64_t max_batch_size, max_entries;
	const struct kb_yaml *max_coalescing_delay, *max_retry_time;
};

static const struct field queue_fields[] = {
	CONF_INT(struct queue, max_batch_size, .min = 1, .max = 1000000),
	CONF_INT(struct queue, max_entries, .min = 1, .max = 1000000),
	CONF_NODE(struct queue, max_coalescing_delay),
	CONF_NODE(struct queue, max_retry_time),
	CONF_NOTE("max_bytes", "16 MiB"),
	CONF_NOTE("initial_retry_delay", "0.5 s"),
	CONF_NOTE("max_retry_delay", "8 s"),
	CONF_NOTE("concurrency_limit", "one request at a time"),
	CONF_END,
};

/* ---- loading ----------------------------------------------------------------
 */

static unsigned
line_of(const struct plugin_use *use)
{
	return use->config ? use->config->line : use->line;
}

/* A number in min..max; `y` NULL: the fallback. */
static double
read_number(struct problems *p, const struct kb_yaml *y, double fallback,
    double max, const char *what)
{
	char *end;
	double v;

	if (y == NULL || kb_yaml_is_null(y))
		return fallback;
	v = y->kind == KB_YAML_SCALAR ? strtod(y->text, &end) : NAN;
	if (y->kind == KB_YAML_SCALAR && y->text[0] != '\0' && *end == '\0' &&
	    v >= 0 && v <= max)
		return v;
	problem(p, y->line,
	    "plugin opentelemetry: %s must be a number from 0 to %g", what,
	    max);
	return fallback;
}

/* The scalars of a mapping, one after the other; NULL ends. */
static const struct kb_yaml *
entries(struct problems *p, const struct kb_yaml *map, const char *what)
{
	if (map == NULL || kb_yaml_is_null(map))
		return NULL;
	if (map->kind != KB_YAML_MAPPING) {
		problem(p, map->line,
		    "plugin opentelemetry: %s must be a mapping", what);
		return NULL;
	}
	for (const struct kb_yaml *y = map->first; y; y = y->next)
		if (y->kind != KB_YAML_SCALAR) {
			problem(p, y->line,
			    "plugin opentelemetry: %s.%s must be a text", what,
			    y->key);
			return NULL;
		}
	return map->first;
}

static const char *const *
read_headers(struct problems *p, const struct kb_yaml *map)
{
	struct kb_arena *a = problems_arena(p);
	const struct kb_yaml *y = entries(p, map, "headers");
	const char **v = kb_new_array(a, (map ? map->n : 0) + 1, const char *);
	size_t n = 0;

	for (; y; y = y->next) {
		if (!line_name_is_free(y->key) ||
		    kb_has_control(y->text, strlen(y->text)))
			problem(p, y->line,
			    "plugin opentelemetry: headers.%s cannot be sent",
			    y->key);
		v[n++] = kb_sprintf(a, "%s: %s", y->key, y->text);
	}
	return v;
}

static void
write_attribute(struct kb_jsonw *w, const char *key, const char *value)
{
	if (value == NULL)
		return;
	kb_w_object(w, NULL);
	kb_w_str(w, "key", key);
	kb_w_object(w, "value");
	kb_w_str(w, "stringValue", value);
	kb_w_object_end(w);
	kb_w_object_end(w);
}

static void
write_number(struct kb_jsonw *w, const char *key, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	kb_w_object(w, NULL);
	kb_w_str(w, "key", key);
	kb_w_object(w, "value");
	kb_w_str(w, "intValue", text);
	kb_w_object_end(w);
	kb_w_object_end(w);
}

/* What stands before the spans of a request to the collector. */
static const char *
resource(struct problems *p, const struct kb_yaml *map)
{
	static const char tail[] = "},\"scopeSpans\":[{\"scope\":{\"name\":"
				   "\"kombify-gateway\",\"version\":\"";
	const struct kb_yaml *y = entries(p, map, "resource_attributes");
	struct kb_buf b;
	struct kb_jsonw w;
	char *text;

	kb_buf_init(&b, SPANS_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_array(&w, "attributes");
	if (map == NULL || kb_yaml_get(map, "service.name") == NULL)
		write_attribute(&w, "service.name", "kong");
	if (map == NULL || kb_yaml_get(map, "service.version") == NULL)
		write_attribute(&w, "service.version", KOMBI_VERSION);
	for (; y; y = y->next)
		write_attribute(&w, y->key, y->text);
	kb_w_array_end(&w);
	kb_w_object_end(&w);
	text = kb_sprintf(problems_arena(p),
	    "{\"resourceSpans\":[{\"resource\":%.*s%s" KOMBI_VERSION
	    "\"},\"spans\":[",
	    (int)b.len - 1, kb_buf_str(&b), tail);
	kb_buf_free(&b);
	return text;
}

static void
put_exporter(void *arg)
{
	exporter_put(arg);
}

static void
make_exporter(struct problems *p, struct conf *c, const char *url)
{
	struct queue q = {
		.max_batch_size = c->batch_span_count,
		.max_entries = 10000,
	};
	struct exporter_conf e = {
		.name = "opentelemetry",
		.url = url,
		.method = "POST",
		.content_type = "application/json",
		.headers = read_headers(p, c->headers),
		.before = resource(p, c->resource_attributes),
		.after = "]}]}]}",
	};

	if (c->queue)
		fields_read(p, c->queue, queue_fields, &q,
		    "plugin opentelemetry: queue");
	e.batch = q.max_batch_size;
	e.queue = q.max_entries;
	e.delay_ms = (int64_t)(1000 *
	    read_number(p, q.max_coalescing_delay, (double)c->batch_flush_delay,
		3600, "queue.max_coalescing_delay"));
	e.retry_ms = (int64_t)(1000 *
	    read_number(p, q.max_retry_time, 60, 3600, "queue.max_retry_time"));
	e.timeout_ms = c->connect_timeout + c->send_timeout + c->read_timeout;
	if (problems_any(p))
		return;
	c->exporter = exporter_get(&e);
	kb_arena_on_free(problems_arena(p), put_exporter, c->exporter);
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	const char *url = c->traces_endpoint ? c->traces_endpoint : c->endpoint;
	const char *name = c->http_response_header_for_traceid;

	c->rate = read_number(p, c->sampling_rate, 1, 1, "sampling_rate");
	if (name && !line_name_is_free(name))
		problem(p, line_of(use),
		    "plugin opentelemetry: "
		    "http_response_header_for_traceid \"%s\" cannot be used",
		    name);
	if (url == NULL)
		problem(p, line_of(use),
		    "plugin opentelemetry: traces_endpoint must be the URL of "
		    "a collector, such as http://127.0.0.1:4318/v1/traces");
	else if ((!kb_str_starts(url, "http://") &&
		     !kb_str_starts(url, "https://")) ||
	    strpbrk(url, " \"<>@") || kb_has_control(url, strlen(url)))
		problem(p, line_of(use),
		    "plugin opentelemetry: the endpoint must begin with "
		    "http:// or https:// and hold no user name");
	else
		make_exporter(p, c, url);
}

/* ---- the trace of a request -------------------------------------------------
 */

/* Of one loop. */
struct memory {
	uint64_t seed[2];
	struct kb_buf spans;
};

static void *
memory_new(struct loop *l)
{
	struct memory *m = kb_xalloc(sizeof(*m));

	(void)l;
	kb_random(m->seed, sizeof(m->seed));
	m->seed[0] |= 1; /* both zero would stay zero */
	kb_buf_init(&m->spans, SPANS_MAX);
	return m;
}

static void
memory_free(void *p)
{
	struct memory *m = p;

	kb_buf_free(&m->spans);
	free(m);
}

static struct memory *
memory_of(struct exchange *x, const struct plugin_use *use)
{
	return loop_slot(
	    exchange_loop(x), use->plugin, memory_new, memory_free);
}

/* xoroshiro128+ (Blackman, Vigna): ids must differ, nobody has to fear that
 * they are guessed. */
static uint64_t
draw(struct memory *m)
{
	uint64_t a = m->seed[0], b = m->seed[1], sum = a + b;

	b ^= a;
	m->seed[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
	m->seed[1] = b << 37 | b >> 27;
	return sum;
}

static void
draw_id(struct memory *m, char *out, size_t digits)
{
	uint64_t bits;

	for (size_t i = 0; i < digits; i += 16) {
		do
			bits = draw(m);
		while (bits == 0);
		kb_hex(&bits, sizeof(bits), out + i);
	}
}

struct slot {
	bool begun;
	enum header_type found;    /* how the client has it */
	char parent[SPAN_ID_SIZE]; /* "": none */
	struct trace_context here; /* trace, our span, whether sampled */
	struct kb_slice state;     /* tracestate to be passed on */
};

/* ptr NULL when there is none, or more than one. */
static struct kb_slice
only(const struct exchange *x, const char *name)
{
	const struct kb_http1_head *h = exchange_head(x);
	const char *bytes = exchange_bytes(x);
	struct kb_slice value = { NULL, 0 };

	for (unsigned i = 0; i < h->n_fields; i++) {
		if (h->fields[i].id != KB_H_OTHER ||
		    !kb_slice_eqi(kb_http1_name(&h->fields[i], bytes), name))
			continue;
		if (value.ptr != NULL)
			return (struct kb_slice) { NULL, 0 };
		value = kb_http1_value(&h->fields[i], bytes);
	}
	return value;
}

static bool
extract(const struct exchange *x, struct slot *s, struct trace_context *out)
{
	struct kb_slice value = only(x, "traceparent");

	s->found = W3C;
	if (value.ptr && trace_parse_w3c(value, out)) {
		s->state = only(x, "tracestate");
		return true;
	}
	value = only(x, "b3");
	s->found = B3_SINGLE;
	if (value.ptr && trace_parse_b3(value, out))
		return true;
	value = only(x, "X-B3-TraceId");
	s->found = B3;
	return value.ptr &&
	    trace_parse_b3_fields(
		value, only(x, "X-B3-SpanId"), only(x, "X-B3-Sampled"), out);
}

static bool
is_sampled(const struct conf *c, enum sampled parent, const char *trace)
{
	if (parent == SAMPLED_NO)
		return false;
	if (parent == SAMPLED_YES && c->sampling_strategy == 1)
		return true;
	return trace_is_in_share(trace, c->rate);
}

static struct slot *
trace_of(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	struct slot *s = exchange_slot(x, use->plugin, sizeof(*s));
	struct trace_context parent = { .sampled = SAMPLED_UNKNOWN };
	struct memory *m = memory_of(x, use);

	if (s->begun)
		return s;
	s->begun = true;
	if (c->header_type == IGNORE || !extract(x, s, &parent)) {
		s->found = W3C;
		memset(&parent, 0, sizeof(parent));
	}
	if (parent.trace[0]) {
		memcpy(s->here.trace, parent.trace, sizeof(parent.trace));
		memcpy(s->parent, parent.span, sizeof(parent.span));
	} else
		draw_id(m, s->here.trace, TRACE_ID_SIZE - 1);
	draw_id(m, s->here.span, SPAN_ID_SIZE - 1);
	s->here.sampled = is_sampled(c, parent.sampled, s->here.trace)
	    ? SAMPLED_YES
	    : SAMPLED_NO;
	exchange_set_trace(x, s->here.trace);
	return s;
}

static void
inject_w3c(struct exchange *x, const struct slot *s)
{
	char value[TRACEPARENT_SIZE];

	trace_write_w3c(&s->here, value);
	exchange_add_upstream(x, "traceparent", value);
	if (s->state.ptr && tracestate_ok(s->state))
		exchange_add_upstream(
		    x, "tracestate", kb_slice_dup(exchange_arena(x), s->state));
}

static void
inject_b3(struct exchange *x, const struct slot *s)
{
	exchange_add_upstream(x, "X-B3-TraceId", s->here.trace);
	exchange_add_upstream(x, "X-B3-SpanId", s->here.span);
	if (s->parent[0])
		exchange_add_upstream(x, "X-B3-ParentSpanId", s->parent);
	exchange_add_upstream(
	    x, "X-B3-Sampled", s->here.sampled == SAMPLED_YES ? "1" : "0");
}

static void
inject_b3_single(struct exchange *x, const struct slot *s)
{
	exchange_add_upstream(x, "b3",
	    kb_sprintf(exchange_arena(x), "%s-%s-%d%s%s", s->here.trace,
		s->here.span, s->here.sampled == SAMPLED_YES,
		s->parent[0] ? "-" : "", s->parent));
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	const struct slot *s = trace_of(x, use);
	int type = c->header_type >= W3C ? c->header_type : (int)s->found;

	if (type == B3)
		inject_b3(x, s);
	else if (type == B3_SINGLE)
		inject_b3_single(x, s);
	else
		inject_w3c(x, s);
	return NEXT;
}

static void
response(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;

	if (c->http_response_header_for_traceid)
		exchange_add_response(x, c->http_response_header_for_traceid,
		    trace_of(x, use)->here.trace);
}

/* ---- spans ------------------------------------------------------------------
 */

enum span_kind { KIND_INTERNAL_ = 1, KIND_SERVER_ = 2, KIND_CLIENT_ = 3 };

struct span {
	const char *id, *parent, *name;
	enum span_kind kind;
	int64_t began_ns, ended_ns;
};

static void
write_time(struct kb_jsonw *w, const char *name, int64_t ns)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)ns);
	kb_w_str(w, name, text);
}

/* Leaves the attributes open. */
static void
begin_span(struct kb_jsonw *w, const char *trace, const struct span *s)
{
	kb_w_object(w, NULL);
	kb_w_str(w, "traceId", trace);
	kb_w_str(w, "spanId", s->id);
	if (s->parent[0])
		kb_w_str(w, "parentSpanId", s->parent);
	kb_w_str(w, "name", s->name);
	kb_w_int(w, "kind", s->kind);
	write_time(w, "startTimeUnixNano", s->began_ns);
	write_time(w, "endTimeUnixNano", s->ended_ns);
	kb_w_array(w, "attributes");
}

static void
end_span(struct kb_jsonw *w, bool failed)
{
	kb_w_array_end(w);
	if (failed) {
		kb_w_object(w, "status");
		kb_w_int(w, "code", 2);
		kb_w_object_end(w);
	}
	kb_w_object_end(w);
}

static const char *
user_agent(struct exchange *x)
{
	struct kb_slice v = kb_http1_get(
	    exchange_head(x), exchange_bytes(x), KB_H_USER_AGENT);

	if (v.len == 0)
		return NULL;
	if (v.len > USER_AGENT_MAX)
		v.len = USER_AGENT_MAX;
	return kb_slice_dup(exchange_arena(x), v);
}

/* The request as its client sees it. The query may hold secrets and is not
 * told. */
static void
write_server(struct kb_jsonw *w, struct exchange *x, const struct slot *s,
    const struct report *r)
{
	const struct route *route = exchange_route(x);
	const char *method = kb_method_name(exchange_method(x));
	const char *path = route && route->paths.n == 1 ? route->paths.v[0]
							: NULL;
	struct kb_arena *a = exchange_arena(x);

	begin_span(w, s->here.trace,
	    &(struct span) {
		.id = s->here.span,
		.parent = s->parent,
		.name = path ? kb_sprintf(a, "%s %s", method, path) : method,
		.kind = KIND_SERVER_,
		.began_ns = r->began_ns,
		.ended_ns = r->ended_ns,
	    });
	write_attribute(w, "http.request.method", method);
	write_attribute(w, "url.path", kb_slice_dup(a, exchange_path(x)));
	write_attribute(w, "url.scheme", r->https ? "https" : "http");
	write_attribute(w, "http.route", path);
	write_number(w, "http.response.status_code", r->status);
	write_attribute(w, "client.address", exchange_client_ip(x));
	write_attribute(w, "user_agent.original", user_agent(x));
	write_attribute(w, "network.protocol.version",
	    exchange_head(x)->minor ? "1.1" : "1.0");
	write_attribute(w, "http.request.id", exchange_request_id(x));
	if (route) {
		write_attribute(w, "kong.route.name", route->name);
		write_attribute(w, "kong.service.name", route->service->name);
	}
	if (r->status >= 500)
		write_attribute(
		    w, "error.type", kb_sprintf(a, "%d", r->status));
	end_span(w, r->status >= 500);
}

static void
write_plugins(struct kb_jsonw *w, const struct slot *s, const char *id,
    const struct report *r)
{
	begin_span(w, s->here.trace,
	    &(struct span) {
		.id = id,
		.parent = s->here.span,
		.name = "kong.access",
		.kind = KIND_INTERNAL_,
		.began_ns = r->began_ns,
		.ended_ns = r->asked_ns ? r->asked_ns : r->ended_ns,
	    });
	end_span(w, false);
}

static void
write_try(struct kb_jsonw *w, const struct slot *s, const char *id,
    const struct report_try *t)
{
	const char *colon = strrchr(t->address, ':');
	char host[64] = "";
	uint64_t port;

	begin_span(w, s->here.trace,
	    &(struct span) {
		.id = id,
		.parent = s->here.span,
		.name = "kong.balancer",
		.kind = KIND_CLIENT_,
		.began_ns = t->began_ns,
		.ended_ns = t->ended_ns,
	    });
	if (colon && (size_t)(colon - t->address) < sizeof(host)) {
		memcpy(host, t->address, (size_t)(colon - t->address));
		write_attribute(w, "network.peer.address", host);
		if (kb_parse_u64(kb_slice_of(colon + 1), &port))
			write_number(w, "network.peer.port", (int64_t)port);
	}
	write_number(w, "http.request.resend_count", t->number);
	if (t->status)
		write_number(w, "http.response.status_code", t->status);
	write_attribute(w, "error.type", t->error);
	end_span(w, t->error != NULL || t->status >= 500);
}

static void
log_spans(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	const struct slot *s = trace_of(x, use);
	struct memory *m = memory_of(x, use);
	struct report r;
	struct kb_jsonw w;
	char id[SPAN_ID_SIZE];

	if (s->here.sampled != SAMPLED_YES || c->exporter == NULL)
		return;
	exchange_report(x, &r);
	kb_buf_reset(&m->spans);
	kb_w_init(&w, &m->spans);
	/* The parts of an array, without its brackets. */
	kb_w_array(&w, NULL);
	write_server(&w, x, s, &r);
	draw_id(m, id, SPAN_ID_SIZE - 1);
	write_plugins(&w, s, id, &r);
	for (size_t i = 0; i < r.n_tries; i++) {
		draw_id(m, id, SPAN_ID_SIZE - 1);
		write_try(&w, s, id, &r.tries[i]);
	}
	kb_w_array_end(&w);
	if (!kb_buf_failed(&m->spans))
		exporter_add(c->exporter, m->spans.ptr + 1, m->spans.len - 2);
}

const struct plugin plugin_opentelemetry = {
	.name = "opentelemetry",
	.priority = 14,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.response = response,
	.log = log_spans,
	.help = "traces: W3C or B3, told to an OTLP collector",
};
