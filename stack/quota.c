/* Quotas (contract B.12): limits by plan, headers, the refusal. */
#include <string.h>

#include <kombi/metrics.h>

#include "platform.h"

#define UPGRADE_URL "https://app.kombify.io/upgrade"
#define GB 1000000000LL
#define NEAR_PERCENT 80

/* -1 is unlimited. Users and nodes: the seed's column defaults for free. */
static const struct {
	const char *plan;
	int64_t users, nodes, stacks, storage;
} plans[] = {
	{ "free", 5, 3, 2, 10 * GB },
	{ "pro", 10, 10, 5, 100 * GB },
	{ "enterprise", -1, 50, 20, 1000 * GB },
};

void
plan_limits(struct tenant *t)
{
	size_t i = 0;

	while (i < KB_COUNT(plans) - 1 && strcmp(plans[i].plan, t->plan) != 0)
		i++;
	t->max_users = plans[i].users;
	t->max_nodes = plans[i].nodes;
	t->max_stacks = plans[i].stacks;
	t->max_storage = plans[i].storage;
}

void
quota_headers(struct kb_request *req, int64_t limit, int64_t used)
{
	struct kb_arena *a = req->cx.arena;
	int64_t remaining = limit < 0 ? -1 : limit > used ? limit - used : 0;

	kb_reply_header(
	    req, "X-Quota-Limit", kb_sprintf(a, "%lld", (long long)limit));
	kb_reply_header(
	    req, "X-Quota-Used", kb_sprintf(a, "%lld", (long long)used));
	kb_reply_header(req, "X-Quota-Remaining",
	    kb_sprintf(a, "%lld", (long long)remaining));
}

struct excess {
	const char *resource;
	int64_t limit, used;
};

static void
excess_json(struct kb_jsonw *w, const void *obj)
{
	const struct excess *e = obj;

	kb_w_str(w, "resource", e->resource);
	kb_w_int(w, "current", e->used);
	kb_w_int(w, "limit", e->limit);
	kb_w_int(w, "remaining", 0);
	kb_w_str(w, "upgradeUrl", UPGRADE_URL);
}

/* Told without an entry in the activity: who meets a limit in a loop must not
 * fill the tenant's own log. */
static void
note_excess(struct kb_request *req, const struct excess *e)
{
	enum kb_err err = kb_audit(req, platform_of(req), "quota.exceeded",
	    "quota", e->resource, details_text(req->cx.arena, excess_json, e));

	if (err)
		kb_error(req->cx.log, "a refusal was not noted",
		    KB_S("error", kb_err_code(err)));
}

struct kb_reply
quota_exceeded(
    struct kb_request *req, const char *resource, int64_t limit, int64_t used)
{
	struct excess e = {
		.resource = resource, .limit = limit, .used = used
	};

	quota_headers(req, limit, used);
	note_excess(req, &e);
	return kb_fail_details(req, KB_QUOTA,
	    kb_sprintf(req->cx.arena, "%s quota exceeded: %lld/%lld", resource,
		(long long)used, (long long)limit),
	    excess_json, &e);
}

static struct kb_metric near_metric = {
	.kind = KB_COUNTER,
	.name = "stack_quota_alerts_total",
	.help = "Tenants that came to four fifths of a quota",
	.labels = { "resource" },
};

void
quota_register(void)
{
	kb_metric_register(&near_metric);
}

static bool
is_near(int64_t limit, int64_t used)
{
	return limit > 0 && used >= limit - limit * (100 - NEAR_PERCENT) / 100;
}

bool
quota_is_near(const struct quota *q)
{
	return is_near(q->limit, q->used);
}

static void
quota_json(struct kb_jsonw *w, const void *obj)
{
	const struct quota *q = obj;

	kb_w_int(w, "used", q->used);
	kb_w_int(w, "limit", q->limit);
}

void
quota_took(struct kb_request *req, struct kb_cx *tenant, const struct quota *q)
{
	struct happening h = {
		.actor = "stack",
		.actor_name = "",
		.action = "quota.near",
		.resource = "quota",
		.resource_id = q->resource,
	};
	enum kb_err err;

	quota_headers(req, q->limit, q->used);
	if (!quota_is_near(q) || is_near(q->limit, q->used - 1))
		return;
	kb_series_add(
	    kb_metric_series(&near_metric, (const char *[]) { q->resource }),
	    1);
	kb_warn(req->cx.log, "a quota is nearly used up",
	    KB_S("resource", q->resource), KB_N("used", q->used),
	    KB_N("limit", q->limit));
	h.details = details_text(req->cx.arena, quota_json, q);
	err = activity_insert(tenant, &h);
	if (!err)
		err = kb_audit(req, platform_of(req), h.action, h.resource,
		    q->resource, h.details);
	if (err)
		kb_error(req->cx.log, "an alert was not noted",
		    KB_S("error", kb_err_code(err)));
}
