/*
 * prometheus: the finer metrics of the routes that it is on, in Kong's names
 * (Kong 3.9). Requests, their codes, latency, bytes and the health of
 * targets are counted always; this adds the consumer, and how the latency
 * divides between the gateway and upstream.
 */
#include "gateway.h"

struct conf {
	bool per_consumer, status_code_metrics, latency_metrics,
	    bandwidth_metrics, upstream_health_metrics;
};

static const struct field fields[] = {
	CONF_BOOL(struct conf, per_consumer),
	CONF_BOOL(struct conf, latency_metrics),
	CONF_BOOL(struct conf, status_code_metrics),
	CONF_BOOL(struct conf, bandwidth_metrics),
	CONF_BOOL(struct conf, upstream_health_metrics),
	CONF_NOTE("ai_metrics", "there is no AI proxy here"),
	CONF_NOTE("wasm_metrics", "there are no filters here"),
	CONF_END,
};

static void
route(const struct plugin_use *use, struct route *r)
{
	const struct conf *c = use->conf;

	r->observed = (c->per_consumer ? OBSERVE_CONSUMER : 0) |
	    (c->latency_metrics ? OBSERVE_LATENCY : 0);
}

const struct plugin plugin_prometheus = {
	.name = "prometheus",
	.priority = 13,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.route = route,
	.help = "finer metrics: by consumer, latency of gateway and upstream",
};
