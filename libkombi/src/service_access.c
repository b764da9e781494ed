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

void
kb_access_begin(void)
{
	kb_series_add(kb_metric_series(&in_flight, no_labels), 1);
}

/* 499: the client was gone before its answer. */
static const char *
status_class(int status)
{
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx",
		"5xx" };

	return status >= 100 && status < 600 ? classes[status / 100 - 1]
					     : "none";
}

void
kb_access_end(const struct kb_request *req, int status, int64_t started_ns)
{
	const char *route = req->route ? req->route->pattern : "none";
	const char *const labels[KB_METRIC_LABELS] = { route,
		kb_method_name(req->method), status_class(status) };
	int64_t ns = kb_mono_ns() - started_ns;

	kb_series_add(kb_metric_series(&in_flight, no_labels), -1);
	kb_series_add(kb_metric_series(&requests, labels), 1);
	kb_series_observe(
	    kb_metric_series(&durations, labels), (double)ns / 1e9);
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
kb_access_queue(unsigned n)
{
	kb_series_set(kb_metric_series(&waiting, no_labels), n);
}
