/*
 * What is known of a request afterwards: one line of the access log (no
 * query string, no secrets) and the metrics under Kong's names.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { CODES = 16 };

static const double milliseconds[] = { 1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100,
	200, 500, 750, 1000, 3000, 6000, 30000, 60000 };

static struct kb_metric requests = {
	.kind = KB_COUNTER,
	.name = "kong_http_requests_total",
	.help = "Requests by service, route and status",
	.labels = { "service", "route", "code" },
};

static struct kb_metric latency = {
	.kind = KB_HISTOGRAM,
	.name = "kong_request_latency_ms",
	.help = "From the first byte of a request to the last of its answer",
	.labels = { "service", "route" },
	.bounds = milliseconds,
	.n_bounds = KB_COUNT(milliseconds),
};

static struct kb_metric bytes = {
	.kind = KB_COUNTER,
	.name = "kong_bandwidth_bytes",
	.help = "Body bytes",
	.labels = { "service", "route", "direction" },
};

static struct kb_metric limited = {
	.kind = KB_COUNTER,
	.name = "kong_rate_limiting_limit_hit_total",
	.help = "Requests refused by a rate limit",
	.labels = { "route" },
};

static struct kb_metric refused = {
	.kind = KB_COUNTER,
	.name = "kong_refused_total",
	.help = "Requests refused before they had a route",
	.labels = { "code" },
};

static struct kb_metric connections = {
	.kind = KB_GAUGE,
	.name = "kong_nginx_connections_total",
	.help = "Client connections, and requests seen",
	.labels = { "state" },
};

/* Series of one route on one loop. */
struct route_metrics {
	struct {
		int code;
		struct kb_series *series;
	} codes[CODES];
	struct kb_series *latency, *in, *out;
};

static void
collect(void *arg)
{
	struct gateway *g = arg;
	static const char *const active[KB_METRIC_LABELS] = { "active" };
	static const char *const total[KB_METRIC_LABELS] = { "total" };
	uint64_t n = 0, open = 0;

	for (size_t i = 0; i < g->n_loops; i++) {
		n += atomic_load(&g->loops[i].requests);
		open += atomic_load(&g->loops[i].connections);
	}
	kb_series_set(kb_metric_series(&connections, active), (double)open);
	kb_series_set(kb_metric_series(&connections, total), (double)n);
}

void
metrics_register(struct gateway *g)
{
	struct kb_metric *all[] = { &requests, &latency, &bytes, &limited,
		&refused, &connections };

	for (size_t i = 0; i < KB_COUNT(all); i++)
		kb_metric_register(all[i]);
	kb_metrics_collector(collect, g);
}

static const char *
code_text(int code, char out[8])
{
	snprintf(out, 8, "%d", code);
	return out;
}

static struct route_metrics *
metrics_of(struct exchange *x)
{
	struct local *l = x->local;
	size_t index = x->route ? x->route->index : l->snapshot->n_routes;
	const char *service = x->route ? x->route->service->name : "none";
	const char *route = x->route ? x->route->name : "none";
	const char *const labels[KB_METRIC_LABELS] = { service, route };
	const char *const in[KB_METRIC_LABELS] = { service, route, "ingress" };
	const char *const out[KB_METRIC_LABELS] = { service, route, "egress" };
	struct route_metrics *m = l->metrics[index];

	if (m != NULL)
		return m;
	m = kb_xalloc(sizeof(*m));
	memset(m, 0, sizeof(*m));
	m->latency = kb_metric_series(&latency, labels);
	m->in = kb_metric_series(&bytes, in);
	m->out = kb_metric_series(&bytes, out);
	l->metrics[index] = m;
	return m;
}

void
observe_free(struct local *l)
{
	for (size_t i = 0; i <= l->snapshot->n_routes; i++)
		free(l->metrics[i]);
}

static struct kb_series *
code_series(struct exchange *x, struct route_metrics *m, int status)
{
	char code[8];
	const char *const labels[KB_METRIC_LABELS] = {
		x->route ? x->route->service->name : "none",
		x->route ? x->route->name : "none",
		code_text(status, code),
	};
	size_t i = 0;

	for (; i < CODES && m->codes[i].series != NULL; i++)
		if (m->codes[i].code == status)
			return m->codes[i].series;
	if (i == CODES)
		return kb_metric_series(&requests, labels);
	m->codes[i].code = status;
	m->codes[i].series = kb_metric_series(&requests, labels);
	return m->codes[i].series;
}

void
exchange_count_limited(struct exchange *x)
{
	const char *const labels[KB_METRIC_LABELS] = { x->route->name };

	kb_series_add(kb_metric_series(&limited, labels), 1);
}

static void
log_line(struct exchange *x, int status, int64_t now_ns)
{
	struct kb_buf *b = &x->loop->lines;
	const struct kb_identity *id = exchange_identity(x);
	char now[KB_RFC3339_SIZE];
	struct kb_jsonw w;

	kb_rfc3339(kb_wall_ms(), now);
	kb_buf_reset(b);
	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "timestamp", now);
	kb_w_str(&w, "level", "info");
	kb_w_str(&w, "message", "request");
	kb_w_str(&w, "service", "gateway");
	kb_w_str(&w, "requestId", kb_ex_request_id(x->ex));
	if (id != NULL)
		kb_w_str(&w, "userId", id->value[KB_ID_USER]);
	kb_w_opt(&w, "tenant", x->tenant);
	kb_w_str(&w, "method", kb_method_name(exchange_method(x)));
	kb_w_slice(&w, "path", kb_ex_path(x->ex));
	kb_w_int(&w, "statusCode", status);
	kb_w_int(
	    &w, "durationMs", (now_ns - kb_ex_started_ns(x->ex)) / 1000000);
	kb_w_opt(&w, "route", x->route ? x->route->name : NULL);
	if (x->upstream_status) {
		kb_w_int(&w, "upstreamStatus", x->upstream_status);
		kb_w_int(&w, "upstreamMs",
		    (x->upstream_ns - kb_ex_started_ns(x->ex)) / 1000000);
	}
	if (x->tries > 1)
		kb_w_int(&w, "tries", x->tries);
	kb_w_int(&w, "bytesOut", (int64_t)kb_ex_bytes_out(x->ex));
	kb_w_str(&w, "peer", x->client_ip);
	kb_w_object_end(&w);
	kb_log_raw(b->ptr, b->len);
}

void
observe(struct exchange *x, int status)
{
	struct route_metrics *m = metrics_of(x);
	int64_t now_ns = kb_mono_ns();
	uint64_t in = kb_ex_bytes_in(x->ex), out = kb_ex_bytes_out(x->ex);
	struct kb_server_stats stats;

	kb_series_add(code_series(x, m, status), 1);
	kb_series_observe(
	    m->latency, (double)(now_ns - kb_ex_started_ns(x->ex)) / 1e6);
	if (in)
		kb_series_add(m->in, (double)in);
	if (out)
		kb_series_add(m->out, (double)out);
	kb_server_stats(x->loop->server, &stats);
	atomic_store_explicit(
	    &x->loop->connections, stats.connections, memory_order_relaxed);
	atomic_store_explicit(
	    &x->loop->busy, stats.active, memory_order_relaxed);
	atomic_store_explicit(
	    &x->loop->accepted, stats.accepted, memory_order_relaxed);
	if (kb_log_enabled(KB_INFO))
		log_line(x, status, now_ns);
}

void
observe_refused(void *arg, const struct sockaddr_storage *peer, int status,
    const char *request_id, const char *why)
{
	char code[8], address[INET6_ADDRSTRLEN] = "";
	const char *const labels[KB_METRIC_LABELS] = { code_text(
	    status, code) };
	const void *bytes_of = NULL;

	(void)arg;
	if (peer->ss_family == AF_INET)
		bytes_of = &((const struct sockaddr_in *)(const void *)peer)
				->sin_addr;
	else if (peer->ss_family == AF_INET6)
		bytes_of = &((const struct sockaddr_in6 *)(const void *)peer)
				->sin6_addr;
	if (bytes_of != NULL)
		inet_ntop(peer->ss_family, bytes_of, address, sizeof(address));
	kb_series_add(kb_metric_series(&refused, labels), 1);
	kb_info(NULL, "request refused", KB_S("requestId", request_id),
	    KB_N("statusCode", status), KB_S("why", why),
	    KB_S("peer", address));
}
