/*
 * request-size-limiting: the largest body of a route. Without it 1 MiB; 0
 * lifts the limit and the body's deadline (uploads, streams).
 */
#include "gateway.h"

struct size_limit {
	int64_t allowed_payload_size;
	int size_unit;
	bool require_content_length;
};

static const char *const units[] = { "megabytes", "kilobytes", "bytes", NULL };
static const uint64_t factors[] = { 1 << 20, 1 << 10, 1 };

static const struct field fields[] = {
	CONF_INT(struct size_limit, allowed_payload_size, .min = 0,
	    .max = INT64_C(1) << 40),
	CONF_ENUM(struct size_limit, size_unit, .choices = units),
	CONF_BOOL(struct size_limit, require_content_length),
	CONF_END,
};

static const struct size_limit defaults = { .allowed_payload_size = 128 };

static void
route(const struct plugin_use *use, struct route *r)
{
	const struct size_limit *limit = use->conf;

	r->body_limit = (uint64_t)limit->allowed_payload_size *
	    factors[limit->size_unit];
	r->needs_length = limit->require_content_length;
	r->unlimited = r->body_limit == 0;
	if (r->unlimited)
		r->body_limit = UINT64_MAX;
}

const struct plugin plugin_request_size_limiting = {
	.name = "request-size-limiting",
	.priority = 951,
	.fields = fields,
	.conf_size = sizeof(struct size_limit),
	.defaults = &defaults,
	.route = route,
	.help = "largest body of a route; 0: any",
};
