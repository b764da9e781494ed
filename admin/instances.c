/* Stack instances: registered by operators, reporting their health. */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "admin.h"

#define HISTORY 20

static const char *const modes[] = { "SHARED", "DEDICATED", NULL };
static const char *const states[] = { "healthy", "degraded", "unhealthy",
	NULL };

struct instance_body {
	const char *name, *region, *mode, *internal_endpoint, *public_endpoint;
	int64_t max_tenants;
};

static bool
is_endpoint(const char *s)
{
	const char *host = strstr(s, "://");

	return (kb_str_starts(s, "http://") || kb_str_starts(s, "https://")) &&
	    host[3] != '\0' && strpbrk(s, " @?#\\") == NULL &&
	    !kb_str_ends(s, "/");
}

const struct kb_rule instance_rules[] = {
	KB_RULE_STR(struct instance_body, name, .match = kb_is_slug,
	    .hint = "may hold a-z, 0-9 and dashes"),
	KB_RULE_STR(struct instance_body, region, .required = true,
	    .match = kb_is_slug, .hint = "may hold a-z, 0-9 and dashes"),
	KB_RULE_STR_AS(
	    struct instance_body, mode, "deploymentMode", .choices = modes),
	KB_RULE_STR_AS(struct instance_body, internal_endpoint,
	    "internalEndpoint", .required = true, .max = 256,
	    .match = is_endpoint,
	    .hint = "must be http://host:port without a path at its end"),
	KB_RULE_STR_AS(struct instance_body, public_endpoint, "publicEndpoint",
	    .nullable = true, .max = 256, .match = is_endpoint,
	    .hint = "must be http://host:port without a path at its end"),
	KB_RULE_INT_AS(struct instance_body, max_tenants, "maxTenants",
	    .min = 1, .max = 10000),
	KB_RULES_END,
};

struct metrics_body {
	double cpu, memory;
	int64_t tenants;
};

static const struct kb_rule metrics_rules[] = {
	KB_RULE_NUM_AS(
	    struct metrics_body, cpu, "cpuPercent", .min = 0, .max = 100),
	KB_RULE_NUM_AS(
	    struct metrics_body, memory, "memoryPercent", .min = 0, .max = 100),
	KB_RULE_INT_AS(struct metrics_body, tenants, "tenantCount", .min = 0,
	    .max = 1000000),
	KB_RULES_END,
};

struct health_body {
	const char *instance_id, *timestamp, *status;
	struct metrics_body metrics;
};

static bool
is_time(const char *s)
{
	int64_t ms;

	return kb_rfc3339_parse(s, &ms);
}

const struct kb_rule health_rules[] = {
	KB_RULE_STR_AS(struct health_body, instance_id, "instanceId",
	    .required = true, .match = kb_is_id,
	    .hint = "must be an instance's id"),
	KB_RULE_STR(struct health_body, timestamp, .required = true,
	    .match = is_time, .hint = "must be an RFC 3339 time"),
	KB_RULE_STR(
	    struct health_body, status, .required = true, .choices = states),
	KB_RULE_OBJECT_AS(struct health_body, metrics, "metrics",
	    struct metrics_body, metrics_rules),
	KB_RULES_END,
};

static void
instance_json(struct kb_jsonw *w, const void *obj)
{
	const struct instance *i = obj;

	kb_w_str(w, "id", i->id);
	kb_w_str(w, "name", i->name);
	kb_w_str(w, "region", i->region);
	kb_w_str(w, "status", i->status);
	kb_w_str(w, "deploymentMode", i->mode);
	kb_w_int(w, "maxTenants", i->max_tenants);
	kb_w_int(w, "currentTenants", i->current_tenants);
	kb_w_str(w, "internalEndpoint", i->internal_endpoint);
	kb_w_str(w, "publicEndpoint", i->public_endpoint);
	kb_w_str(w, "health", i->health);
	kb_w_str(w, "createdAt", i->created);
	kb_w_str(w, "updatedAt", i->updated);
}

struct kb_reply
instances_list(struct kb_request *req)
{
	struct kb_page page = { .page = 1 };
	struct instance *rows;
	size_t n;
	enum kb_err err = instances_all(&req->cx, &rows, &n);

	if (err)
		return kb_fail(req, err, NULL);
	page.limit = page.total = (int64_t)n;
	return kb_items(req, instance_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
instances_create(struct kb_request *req)
{
	struct instance_body b = { .mode = "SHARED" };
	struct instance i;
	enum kb_err err;

	if (!kb_read_body(req, instance_rules, &b))
		return kb_invalid(req);
	i = (struct instance) {
		.id = kb_id_new(req->cx.arena, "ins"),
		.region = b.region,
		.status = "ACTIVE",
		.mode = b.mode,
		.internal_endpoint = b.internal_endpoint,
		.public_endpoint = b.public_endpoint,
		.max_tenants = b.max_tenants,
	};
	i.name = b.name ? b.name
			: kb_sprintf(req->cx.arena, "kombistack-%s-%lld",
			      b.region, (long long)kb_wall_s());
	if (strcmp(b.mode, "DEDICATED") == 0)
		i.max_tenants = 1;
	else if (i.max_tenants == 0)
		i.max_tenants = 50;
	err = instance_insert(&req->cx, &i);
	if (err == KB_CONFLICT)
		return kb_fail(req, err, "There is an instance \"%s\"", i.name);
	if (!err)
		err = kb_audit(req, &req->cx, "admin.instance.registered",
		    "instance", i.id, NULL);
	if (!err)
		err = instance_by_id(&req->cx, i.id, &i);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 201, instance_json, &i);
}

static void
percent_json(struct kb_jsonw *w, const char *name, double x)
{
	if (x < 0)
		kb_w_null(w, name);
	else
		kb_w_num(w, name, x);
}

static void
check_json(struct kb_jsonw *w, const void *obj)
{
	const struct health_check *h = obj;

	kb_w_str(w, "timestamp", h->at);
	kb_w_str(w, "status", h->status);
	kb_w_str(w, "database", h->database);
	kb_w_str(w, "api", h->api);
	kb_w_str(w, "agents", h->agents);
	percent_json(w, "cpuPercent", h->cpu);
	percent_json(w, "memoryPercent", h->memory);
	percent_json(w, "storagePercent", h->storage);
}

struct kb_reply
instances_health(struct kb_request *req)
{
	struct kb_page page = { .page = 1, .limit = HISTORY, .total = -1 };
	struct health_check *rows;
	struct instance i;
	size_t n;
	enum kb_err err = instance_by_id(&req->cx, kb_param(req, "id"), &i);

	if (!err)
		err = health_latest(&req->cx, i.id, HISTORY, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, check_json, rows, n, sizeof(*rows), &page);
}

static const char *
component_of(const char *state)
{
	return strcmp(state, "unhealthy") == 0 ? "ERROR" : "OK";
}

static const char *
upper(struct kb_arena *a, const char *s)
{
	char *copy = kb_strdup(a, s);

	for (char *p = copy; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
	return copy;
}

struct kb_reply
instances_report(struct kb_request *req)
{
	struct health_body b = { .metrics = { .cpu = -1, .memory = -1 } };
	struct health_check h;
	enum kb_err err;

	if (!kb_read_body(req, health_rules, &b))
		return kb_invalid(req);
	h = (struct health_check) {
		.id = kb_id_new(req->cx.arena, "hlt"),
		.instance_id = b.instance_id,
		.at = b.timestamp,
		.status = upper(req->cx.arena, b.status),
		.database = component_of(b.status),
		.api = "OK",
		.agents = "OK",
		.cpu = b.metrics.cpu,
		.memory = b.metrics.memory,
		.storage = -1,
	};
	err = health_insert(&req->cx, &h);
	if (err == KB_CONFLICT) /* no such instance */
		return kb_fail(req, KB_NOT_FOUND, NULL);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_json_reply(req, 202, "{\"data\":{\"accepted\":true}}");
}
