/*
 * What is known of every request afterwards: one log line, a few metrics.
 */
#include <pthread.h>

#include <kombi/log.h>
#include <kombi/metrics.h>
#include <kombi/time.h>

#include "service_private.h"

static const double seconds[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
	0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 };

static struct kb_metric requests = {
	.kind = KB_COUNTER,
	.name = "http_requests_total",
	.help = "Answered requests",
	.labels = { "route", "method", "status" },
};

static struct kb_metric durations = {
	.kind = KB_HISTOGRAM,
	.name = "http_request_duration_seconds",
	.help = "From the first byte of the head to the last of the answer",
	.labels = { "route" },
	.bounds = seconds,
	.n_bounds = KB_COUNT(seconds),
};

static struct kb_metric in_flight = {
	.kind = KB_GAUGE,
	.name = "http_requests_in_flight",
	.help = "Requests being worked on",
};

static struct kb_metric waiting = {
	.kind = KB_GAUGE,
	.name = "http_queue_waiting",
	.help = "Requests that wait for a worker",
};

static struct kb_metric refused = {
	.kind = KB_COUNTER,
	.name = "http_refused_total",
	.help = "Requests that were refused before they had a route",
	.labels = { "status" },
};

static const char *const no_labels[KB_METRIC_LABELS] = { NULL };

#define CLASSES 5 /* of status: 1xx to 5xx */

/*
 * Looking a series up takes a lock and makes its labels' text: done once a
 * route. Read and written on the loop alone.
 */
struct kb_access {
	const struct kb_route *routes; /* the service's */
	size_t n_frame;
	struct kb_series *in_flight, *waiting;
	struct {
		struct kb_series *requests[CLASSES], *duration;
	} rows[];
};

static void
register_all(void)
{
	kb_metric_register(&requests);
	kb_metric_register(&durations);
	kb_metric_register(&in_flight);
	kb_metric_register(&waiting);
	kb_metric_register(&refused);
}

void
kb_access_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_all);
}

static size_t
count(const struct kb_route *routes)
{
	size_t n = 0;

	while (routes[n].method != KB_M_NONE)
		n++;
	return n;
}

struct kb_access *
kb_access_new(struct kb_arena *a, const struct kb_route *routes)
{
	struct kb_access *access;
	size_t frame = count(kb_frame_routes), n = frame + count(routes);

	access = kb_arena_alloc(
	    a, sizeof(*access) + n * sizeof(access->rows[0]));
	access->routes = routes;
	access->n_frame = frame;
	access->in_flight = kb_metric_series(&in_flight, no_labels);
	access->waiting = kb_metric_series(&waiting, no_labels);
	return access;
}

void
kb_access_begin(struct kb_access *access)
{
	kb_series_add(access->in_flight, 1);
}

static const char *
status_class(int status)
{
	static const char *const classes[CLASSES] = { "1xx", "2xx", "3xx",
		"4xx", "5xx" };

	return status >= 100 && status < 600 ? classes[status / 100 - 1]
					     : "none";
}

static void
count_request(struct kb_access *access, const struct kb_request *req,
    int status, double s)
{
	const struct kb_route *r = req->route, *frame = kb_frame_routes;
	const char *const labels[KB_METRIC_LABELS] = { r ? r->pattern : "none",
		kb_method_name(req->method), status_class(status) };
	struct kb_series **row, **duration;

	if (r == NULL || r->method != req->method || status < 100 ||
	    status > 599) {
		kb_series_add(kb_metric_series(&requests, labels), 1);
		kb_series_observe(kb_metric_series(&durations, labels), s);
		return;
	}
	size_t i = r >= frame && r < frame + access->n_frame
	    ? (size_t)(r - frame)
	    : access->n_frame + (size_t)(r - access->routes);
	row = &access->rows[i].requests[status / 100 - 1];
	duration = &access->rows[i].duration;
	if (*row == NULL)
		*row = kb_metric_series(&requests, labels);
	if (*duration == NULL)
		*duration = kb_metric_series(&durations, labels);
	kb_series_add(*row, 1);
	kb_series_observe(*duration, s);
}

void
kb_access_end(struct kb_access *access, const struct kb_request *req,
    int status, int64_t started_ns)
{
	int64_t ns = kb_mono_ns() - started_ns;

	kb_series_add(access->in_flight, -1);
	count_request(access, req, status, (double)ns / 1e9);
	kb_info(&req->private_->log, "request",
	    KB_S("method", kb_method_name(req->method)),
	    KB_S("path", req->path), KB_N("statusCode", status),
	    KB_N("durationMs", ns / 1000000), KB_S("peer", req->peer));
}

void
kb_access_refused(
    const char *peer, int status, const char *request_id, const char *why)
{
	const char *const labels[KB_METRIC_LABELS] = { status_class(status) };

	kb_series_add(kb_metric_series(&refused, labels), 1);
	kb_info(NULL, "request refused", KB_N("statusCode", status),
	    KB_S("requestId", request_id), KB_S("reason", why),
	    KB_S("peer", peer));
}

void
kb_access_queue(struct kb_access *access, unsigned n)
{
	kb_series_set(access->waiting, n);
}
