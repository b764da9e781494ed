/* Quotas (contract B.12): limits by plan, headers, the refusal. */
#include <string.h>

#include "stack.h"

#define UPGRADE_URL "https://app.kombify.io/upgrade"

/* -1 is unlimited. Users and nodes: the seed's column defaults for free. */
static const struct {
	const char *plan;
	int64_t users, nodes, stacks;
} plans[] = {
	{ "free", 5, 3, 2 },
	{ "pro", 10, 10, 5 },
	{ "enterprise", -1, 50, 20 },
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

struct kb_reply
quota_exceeded(
    struct kb_request *req, const char *resource, int64_t limit, int64_t used)
{
	struct excess e = {
		.resource = resource, .limit = limit, .used = used
	};

	quota_headers(req, limit, used);
	return kb_fail_details(req, KB_QUOTA,
	    kb_sprintf(req->cx.arena, "%s quota exceeded: %lld/%lld", resource,
		(long long)used, (long long)limit),
	    excess_json, &e);
}
