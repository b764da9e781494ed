/*
 * /health, /ready and /metrics of every service (spec B.10). The gateway
 * forwards none of the last two.
 */
#include <kombi/json.h>
#include <kombi/metrics.h>
#include <kombi/time.h>

#include "service_private.h"

#define METRICS_MAX (8u << 20)

struct verdict {
	const char *name, *why;
	bool ready;
};

#define CHECKS_MAX 16

struct health {
	struct verdict checks[CHECKS_MAX];
	size_t n;
	const char *status;
	bool ready;
	char now[KB_RFC3339_SIZE];
};

static void
judge(struct health *h, const char *name, const char *why, bool ready)
{
	if (h->n < CHECKS_MAX)
		h->checks[h->n++] = (struct verdict) { name, why, ready };
	if (why == NULL)
		return;
	if (ready) {
		h->ready = false;
		h->status = "unhealthy";
	} else if (h->ready)
		h->status = "degraded";
}

static struct health *
examine(struct kb_request *req)
{
	struct kb_app *app = req->private_->app;
	struct health *h = kb_new(req->cx.arena, struct health);
	const struct kb_check *c = app->service->checks;

	h->status = "healthy";
	h->ready = true;
	kb_rfc3339(kb_wall_ms(), h->now);
	if (app->db != NULL)
		judge(h, "database",
		    kb_db_ping(app->db) ? "does not answer" : NULL, true);
	for (; c != NULL && c->name != NULL; c++)
		judge(h, c->name, c->check(app, req->cx.arena), c->ready);
	for (size_t i = 0; i < h->n; i++)
		if (h->checks[i].why != NULL)
			kb_warn(req->cx.log, "health check failed",
			    KB_S("check", h->checks[i].name),
			    KB_S("why", h->checks[i].why));
	return h;
}

/* Why a check failed is for the log: names and addresses stay inside. */
static void
health_json(struct kb_jsonw *w, const void *obj)
{
	const struct health *h = obj;

	kb_w_str(w, "status", h->status);
	kb_w_str(w, "version", KOMBI_VERSION);
	kb_w_str(w, "timestamp", h->now);
	kb_w_object(w, "checks");
	for (size_t i = 0; i < h->n; i++)
		kb_w_str(
		    w, h->checks[i].name, h->checks[i].why ? "error" : "ok");
	kb_w_object_end(w);
}

static struct kb_reply
health_get(struct kb_request *req)
{
	const struct health *h = examine(req);

	return kb_bare(req, h->ready ? 200 : 503, health_json, h);
}

static struct kb_reply
ready_get(struct kb_request *req)
{
	struct kb_runtime *rt = kb_runtime_of(req->private_->app);
	bool ready = !atomic_load(&rt->draining) && examine(req)->ready;

	return kb_bytes_reply(req, ready ? 200 : 503, NULL, "", 0);
}

static struct kb_reply
metrics_get(struct kb_request *req)
{
	struct kb_buf *b = kb_arena_buf(req->cx.arena, METRICS_MAX);

	kb_metrics_text(b);
	if (kb_buf_failed(b))
		return kb_fail(req, KB_INTERNAL, NULL);
	return kb_bytes_reply(
	    req, 200, "text/plain; version=0.0.4", kb_buf_str(b), b->len);
}

const struct kb_route kb_frame_routes[] = {
	KB_GET("/health", KB_PUBLIC, health_get,
	    .summary = "Health of the service",
	    .returns = "200 healthy or degraded; 503 unhealthy"),
	KB_GET("/ready", KB_PUBLIC, ready_get,
	    .summary = "Whether requests may be sent here"),
	KB_GET("/metrics", KB_PUBLIC, metrics_get,
	    .summary = "Metrics in the Prometheus text format"),
	KB_ROUTES_END,
};
