/*
 * What is known of a request afterwards: the metrics under Kong's names
 * (Kong 3.9). The series of a route are looked up once a loop and then
 * only added to; each loop has cells of its own.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

_Static_assert((int)TRIES_KEPT == (int)REPORT_TRIES, "all are reported");

enum { CODES = 12, CONSUMERS = 16 };

#define OVERFLOW_LABEL "__overflow__"

/* Kong's bounds; those of the whole request begin lower, since it is often
 * answered within a few milliseconds. */
static const double fine[] = { 1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200,
	500, 750, 1000, 3000, 6000 };
static const double coarse[] = { 1, 2, 5, 10, 25, 50, 80, 100, 250, 400, 700,
	1000, 2000, 5000, 10000, 30000, 60000 };

static struct kb_metric requests = {
	.kind = KB_COUNTER,
	.name = "kong_http_requests_total",
	.help = "Requests by service, route and status; source kong: the "
		"gateway answered",
	.labels = { "service", "route", "code", "source", "workspace",
	    "consumer" },
};

static struct kb_metric request_latency = {
	.kind = KB_HISTOGRAM,
	.name = "kong_request_latency_ms",
	.help = "From the first byte of a request to the last of its answer",
	.labels = { "service", "route", "workspace" },
	.bounds = coarse,
	.n_bounds = KB_COUNT(coarse),
};

static struct kb_metric kong_latency = {
	.kind = KB_HISTOGRAM,
	.name = "kong_kong_latency_ms",
	.help = "Of that, until upstream was asked",
	.labels = { "service", "route", "workspace" },
	.bounds = fine,
	.n_bounds = KB_COUNT(fine),
};

static struct kb_metric upstream_latency = {
	.kind = KB_HISTOGRAM,
	.name = "kong_upstream_latency_ms",
	.help = "From asking upstream to the head of its answer, retries "
		"included",
	.labels = { "service", "route", "workspace" },
	.bounds = coarse,
	.n_bounds = KB_COUNT(coarse),
};

static struct kb_metric bytes = {
	.kind = KB_COUNTER,
	.name = "kong_bandwidth_bytes",
	.help = "Body bytes",
	.labels = { "service", "route", "direction", "workspace", "consumer" },
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
	.help = "Client connections by state; total: requests seen",
	.labels = { "node_id", "subsystem", "state" },
};

static struct kb_metric requests_seen = {
	.kind = KB_GAUGE,
	.name = "kong_nginx_requests_total",
	.help = "Requests seen",
	.labels = { "node_id", "subsystem" },
};

static struct kb_metric node_info = {
	.kind = KB_GAUGE,
	.name = "kong_node_info",
	.help = "This gateway",
	.labels = { "node_id", "version" },
};

static struct kb_metric datastore = {
	.kind = KB_GAUGE,
	.name = "kong_datastore_reachable",
	.help = "1: the configuration is in memory, there is no database",
};

static struct kb_metric metric_errors = {
	.kind = KB_COUNTER,
	.name = "kong_nginx_metric_errors_total",
	.help = "Series that found no place, each time they were looked for",
};

static struct kb_metric memory = {
	.kind = KB_GAUGE,
	.name = "process_resident_memory_bytes",
	.help = "Resident memory",
};

static struct kb_metric cpu = {
	.kind = KB_COUNTER,
	.name = "process_cpu_seconds_total",
	.help = "Processor time, user and system",
};

/* What a caller adds to the label "consumer". */
struct counts {
	const struct consumer *consumer;
	struct {
		int code; /* negative: upstream's own answer */
		struct kb_series *series;
	} codes[CODES];
	struct kb_series *in, *out;
};

/* Series of one route on one loop. */
struct route_metrics {
	struct counts all;          /* without a consumer */
	struct counts *of_consumer; /* CONSUMERS by index; NULL: not counted */
	struct kb_series *request, *kong, *upstream;
};

/* ---- read off when somebody asks --------------------------------------------
 */

static char node_id[KB_UUID_SIZE];

const char *
metrics_node_id(void)
{
	return node_id;
}

static double
seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void
collect_process(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long size, resident;
	struct rusage usage;

	if (f != NULL && fscanf(f, "%lu %lu", &size, &resident) == 2)
		kb_series_set(kb_metric_series(&memory, NULL),
		    (double)resident * (double)sysconf(_SC_PAGESIZE));
	if (f != NULL)
		fclose(f);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		kb_series_set(kb_metric_series(&cpu, NULL),
		    seconds(usage.ru_utime) + seconds(usage.ru_stime));
}

static void
collect(void *arg)
{
	const struct gateway *g = arg;
	struct kb_server_stats stats;

	loops_stats(g, &stats);
	const struct {
		const char *state;
		uint64_t n;
	} states[] = {
		{ "accepted", stats.accepted },
		{ "handled", stats.accepted },
		{ "active", stats.connections },
		{ "reading", 0 },
		{ "writing", stats.active },
		{ "waiting", stats.connections - stats.active },
		{ "total", stats.requests },
	};
	const char *labels[KB_METRIC_LABELS] = { node_id, "http" };

	for (size_t i = 0; i < KB_COUNT(states); i++) {
		labels[2] = states[i].state;
		kb_series_set(kb_metric_series(&connections, labels),
		    (double)states[i].n);
	}
	kb_series_set(
	    kb_metric_series(&requests_seen, labels), (double)stats.requests);
	labels[1] = KOMBI_VERSION;
	kb_series_set(kb_metric_series(&node_info, labels), 1);
	kb_series_set(kb_metric_series(&datastore, NULL), 1);
	collect_process();
}

void
metrics_register(struct gateway *g)
{
	struct kb_metric *all[] = { &requests, &request_latency, &kong_latency,
		&upstream_latency, &bytes, &limited, &refused, &connections,
		&requests_seen, &node_info, &datastore, &metric_errors, &memory,
		&cpu };

	kb_uuid4(node_id);
	for (size_t i = 0; i < KB_COUNT(all); i++) {
		all[i]->max_series = (unsigned)g->config->metric_series;
		all[i]->overflow = OVERFLOW_LABEL;
		kb_metric_register(all[i]);
	}
	kb_metrics_collector(collect, g);
}

/* ---- series of a route ------------------------------------------------------
 */

const char *
consumer_name(const struct consumer *c)
{
	if (c->username != NULL)
		return c->username;
	return c->custom_id ? c->custom_id : c->id;
}

static struct kb_series *
take(struct kb_metric *m, const char *const labels[])
{
	struct kb_series *s = kb_series_take(m, labels);

	if (kb_series_is_overflow(s))
		kb_series_add(kb_metric_series(&metric_errors, NULL), 1);
	return s;
}

static const char *
service_label(const struct exchange *x)
{
	return x->route ? x->route->service->name : "none";
}

static const char *
route_label(const struct exchange *x)
{
	return x->route ? x->route->name : "none";
}

static const char *
consumer_label(const struct counts *c)
{
	return c->consumer ? consumer_name(c->consumer) : "";
}

static struct route_metrics *
metrics_of(struct exchange *x)
{
	struct local *l = x->local;
	size_t index = x->route ? x->route->index : l->snapshot->n_routes;
	unsigned observed = x->route ? x->route->observed : 0;
	const char *const labels[KB_METRIC_LABELS] = { service_label(x),
		route_label(x), "default" };
	struct route_metrics *m = l->metrics[index];

	if (m != NULL)
		return m;
	m = kb_xalloc(sizeof(*m));
	m->request = take(&request_latency, labels);
	if (observed & OBSERVE_LATENCY) {
		m->kong = take(&kong_latency, labels);
		m->upstream = take(&upstream_latency, labels);
	}
	if (observed & OBSERVE_CONSUMER)
		m->of_consumer = kb_xalloc(CONSUMERS * sizeof(struct counts));
	l->metrics[index] = m;
	return m;
}

static void
counts_free(struct counts *c)
{
	for (size_t i = 0; i < CODES; i++)
		kb_series_drop(c->codes[i].series);
	kb_series_drop(c->in);
	kb_series_drop(c->out);
	memset(c, 0, sizeof(*c));
}

static void
route_metrics_free(struct route_metrics *m)
{
	counts_free(&m->all);
	for (size_t i = 0; m->of_consumer && i < CONSUMERS; i++)
		counts_free(&m->of_consumer[i]);
	kb_series_drop(m->request);
	kb_series_drop(m->kong);
	kb_series_drop(m->upstream);
	free(m->of_consumer);
	free(m);
}

void
observe_free(struct local *l)
{
	for (size_t i = 0; i <= l->snapshot->n_routes; i++)
		if (l->metrics[i])
			route_metrics_free(l->metrics[i]);
}

/* Of the caller where the route counts by consumer. Callers take the places
 * by turns: who comes often mostly finds its own. */
static struct counts *
counts_of(const struct exchange *x, struct route_metrics *m)
{
	struct counts *c;

	if (m->of_consumer == NULL || x->consumer == NULL)
		return &m->all;
	c = &m->of_consumer[x->consumer->index % CONSUMERS];
	if (c->consumer != x->consumer) {
		counts_free(c);
		c->consumer = x->consumer;
	}
	return c;
}

/* ---- counting
 * ----------------------------------------------------------------
 */

static void
count_code(const struct exchange *x, struct counts *c, int status)
{
	char text[16];
	const char *const labels[KB_METRIC_LABELS] = { service_label(x),
		route_label(x), text, x->upstream_status ? "service" : "kong",
		"default", consumer_label(c) };
	int code = x->upstream_status ? -status : status;
	struct kb_series *s;
	size_t i = 0;

	for (; i < CODES && c->codes[i].series != NULL; i++)
		if (c->codes[i].code == code) {
			kb_series_add(c->codes[i].series, 1);
			return;
		}
	snprintf(text, sizeof(text), "%d", status);
	s = take(&requests, labels);
	kb_series_add(s, 1);
	if (i == CODES) {
		kb_series_drop(s);
		return;
	}
	c->codes[i].code = code;
	c->codes[i].series = s;
}

static void
count_bytes(const struct exchange *x, struct counts *c, struct kb_series **to,
    const char *direction, uint64_t n)
{
	const char *const labels[KB_METRIC_LABELS] = { service_label(x),
		route_label(x), direction, "default", consumer_label(c) };

	if (n == 0)
		return;
	if (*to == NULL)
		*to = take(&bytes, labels);
	kb_series_add(*to, (double)n);
}

void
spent_of(const struct exchange *x, struct spent *s)
{
	int64_t began = kb_ex_started_ns(x->ex), now = kb_mono_ns();

	s->request_ns = now - began;
	s->kong_ns = (x->asked_ns ? x->asked_ns : now) - began;
	s->proxied = x->upstream_ns != 0;
	s->proxy_ns = s->proxied ? x->upstream_ns - x->asked_ns : 0;
}

static double
in_ms(int64_t ns)
{
	return (double)ns / 1e6;
}

void
observe(struct exchange *x, int status)
{
	struct route_metrics *m = metrics_of(x);
	struct counts *c = counts_of(x, m);
	struct spent spent;

	spent_of(x, &spent);
	count_code(x, c, status);
	count_bytes(x, c, &c->in, "ingress", kb_ex_bytes_in(x->ex));
	count_bytes(x, c, &c->out, "egress", kb_ex_bytes_out(x->ex));
	kb_series_observe(m->request, in_ms(spent.request_ns));
	if (m->kong != NULL) {
		kb_series_observe(m->kong, in_ms(spent.kong_ns));
		if (spent.proxied)
			kb_series_observe(m->upstream, in_ms(spent.proxy_ns));
	}
	if (kb_log_enabled(KB_INFO))
		access_log(x, status, &spent);
}

void
exchange_report(const struct exchange *x, struct report *out)
{
	int64_t now = kb_mono_ns(), to_wall = kb_wall_ms() * 1000000 - now;
	size_t n = x->tries < TRIES_KEPT ? x->tries : TRIES_KEPT;

	*out = (struct report) {
		.status = x->ended_status,
		.https = x->https,
		.began_ns = kb_ex_started_ns(x->ex) + to_wall,
		.ended_ns = now + to_wall,
		.asked_ns = x->asked_ns ? x->asked_ns + to_wall : 0,
		.n_tries = n,
	};
	for (size_t i = 0; i < n; i++) {
		const struct tried *t = &x->tried[i];

		out->tries[i] = (struct report_try) {
			.address = t->address,
			.began_ns = t->began_ns + to_wall,
			.ended_ns = (t->ended_ns ? t->ended_ns : now) + to_wall,
			.status = t->status,
			.error = try_error(t),
			.number = (int)i,
		};
	}
}

void
exchange_set_trace(struct exchange *x, const char *trace_id)
{
	x->trace_id = trace_id;
}

void
exchange_count_limited(struct exchange *x)
{
	const char *const labels[KB_METRIC_LABELS] = { x->route->name };
	struct kb_series *s = take(&limited, labels);

	kb_series_add(s, 1);
	kb_series_drop(s);
}

void
observe_refused(void *arg, const struct sockaddr_storage *peer, int status,
    const char *request_id, const char *why)
{
	char code[16], address[INET6_ADDRSTRLEN] = "";
	const char *const labels[KB_METRIC_LABELS] = { code };
	const void *bytes_of = NULL;

	(void)arg;
	snprintf(code, sizeof(code), "%d", status);
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
