/* Tenants: provisioning by admin, and what members see of their own. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "platform.h"
#include "records/files.h"
#include "tenants.h"

#define SECRET_BYTES 32

static const char *const plan_names[] = { "free", "pro", "enterprise", NULL };
static const char *const status_names[] = { "active", "suspended", NULL };

struct tenant_body {
	const char *id, *slug, *name, *org, *plan, *status;
	const char *reason;
	bool rotate;
	int64_t max_users, max_nodes, max_stacks, max_storage;
	bool has_users, has_nodes, has_stacks, has_storage;
};

/* clang-format off */
#define LIMIT_RULES \
	KB_RULE_INT_AS(struct tenant_body, max_users, "maxUsers", .min = -1, .max = 1000000, .present = offsetof(struct tenant_body, has_users)), \
	KB_RULE_INT_AS(struct tenant_body, max_nodes, "maxNodes", .min = -1, .max = 1000000, .present = offsetof(struct tenant_body, has_nodes)), \
	KB_RULE_INT_AS(struct tenant_body, max_stacks, "maxStacks", .min = -1, .max = 1000000, .present = offsetof(struct tenant_body, has_stacks)), \
	KB_RULE_INT_AS(struct tenant_body, max_storage, "maxStorage", .min = -1, .max = 1LL << 50, .present = offsetof(struct tenant_body, has_storage), .doc = "Bytes")
/* clang-format on */

extern const struct kb_rule tenant_create_rules[], tenant_patch_rules[];

const struct kb_rule tenant_create_rules[] = {
	KB_RULE_STR(struct tenant_body, id, .match = kb_is_id,
	    .hint = "may hold a-z, 0-9, _ and -"),
	KB_RULE_STR(struct tenant_body, slug, .required = true,
	    .match = kb_is_slug,
	    .hint = "may hold a-z, 0-9 and dashes, 1 to 63 characters"),
	KB_RULE_STR(struct tenant_body, name, .required = true,
	    .match = kb_is_name, .hint = "must be 1 to 128 characters"),
	KB_RULE_STR_AS(struct tenant_body, org, "zitadelOrgId",
	    .required = true, .min = 1, .max = 128),
	KB_RULE_STR(struct tenant_body, plan, .choices = plan_names),
	LIMIT_RULES,
	KB_RULES_END,
};

const struct kb_rule tenant_patch_rules[] = {
	KB_RULE_STR(struct tenant_body, name, .match = kb_is_name,
	    .hint = "must be 1 to 128 characters"),
	KB_RULE_STR(struct tenant_body, plan, .choices = plan_names),
	KB_RULE_STR(struct tenant_body, status, .choices = status_names),
	KB_RULE_STR(struct tenant_body, reason, .min = 1, .max = 500,
	    .doc = "Why; required where a limit is set"),
	KB_RULE_BOOL_AS(struct tenant_body, rotate, "rotateTokenSecret",
	    .doc = "true: no session of the tenant is good any more"),
	LIMIT_RULES,
	KB_RULES_END,
};

static void
tenant_json(struct kb_jsonw *w, const void *obj)
{
	const struct tenant *t = obj;

	kb_w_str(w, "id", t->id);
	kb_w_str(w, "slug", t->slug);
	kb_w_str(w, "name", t->name);
	kb_w_str(w, "plan", t->plan);
	kb_w_str(w, "status", t->status);
	kb_w_int(w, "maxUsers", t->max_users);
	kb_w_int(w, "maxNodes", t->max_nodes);
	kb_w_int(w, "maxStacks", t->max_stacks);
	kb_w_int(w, "maxStorage", t->max_storage);
	kb_w_str(w, "createdAt", t->created);
	kb_w_str(w, "updatedAt", t->updated);
}

/* What is not given follows the plan, or stays as it was. */
static void
apply_limits(struct tenant *t, const struct tenant_body *b)
{
	if (b->has_users)
		t->max_users = b->max_users;
	if (b->has_nodes)
		t->max_nodes = b->max_nodes;
	if (b->has_stacks)
		t->max_stacks = b->max_stacks;
	if (b->has_storage)
		t->max_storage = b->max_storage;
}

static const char *
new_secret(struct kb_arena *a)
{
	unsigned char secret[SECRET_BYTES];
	const char *text;

	kb_random(secret, sizeof(secret));
	text = kb_base64url(a, secret, sizeof(secret));
	kb_wipe(secret, sizeof(secret));
	return text;
}

struct tenant
tenant_make(struct kb_arena *a, const char *slug, const char *name,
    const char *org, const char *plan)
{
	struct tenant t = {
		.id = kb_id_new(a, "ten"),
		.slug = slug,
		.name = name,
		.org = org,
		.plan = plan ? plan : "free",
		.status = "active",
		.created = kb_now_text(a),
	};

	t.token_secret = new_secret(a);
	t.updated = t.created;
	plan_limits(&t);
	return t;
}

enum kb_err
tenant_open_check(struct kb_app *app, struct kb_arena *a, const char *slug)
{
	struct tenancy *tenancy = stack_state(app)->tenancy;
	struct tenant_handle *h;
	enum kb_err err = tenancy_acquire(tenancy, a, slug, &h);

	if (!err)
		tenancy_release(tenancy, h);
	return err;
}

/*
 * The same tenant again is no error: admin repeats a provisioning of which it
 * does not know how it ended.
 */
static struct kb_reply
created_before(struct kb_request *req, const struct tenant_body *b)
{
	struct tenant t;
	enum kb_err err = tenant_by_slug(&req->cx, b->slug, &t);

	if (!err && kb_str_eq(t.org, b->org))
		return kb_data(req, 200, tenant_json, &t);
	if (err && err != KB_NOT_FOUND)
		return kb_fail(req, err, NULL);
	return kb_fail(req, KB_CONFLICT, "%s",
	    err ? "Another tenant belongs to this organisation"
		: "The slug is taken");
}

struct kb_reply
tenants_create(struct kb_request *req)
{
	struct tenant_body b = { 0 };
	struct tenant t;
	enum kb_err err;

	if (!kb_read_body(req, tenant_create_rules, &b))
		return kb_invalid(req);
	t = tenant_make(req->cx.arena, b.slug, b.name, b.org, b.plan);
	if (b.id != NULL)
		t.id = b.id;
	apply_limits(&t, &b);
	err = tenant_insert(&req->cx, &t, stack_max_tenants(kb_app(req)));
	if (err == KB_CONFLICT)
		return created_before(req, &b);
	if (err == KB_UNAVAILABLE)
		return kb_fail(req, err, "This instance takes no more tenants");
	if (!err)
		err = tenant_open_check(kb_app(req), req->cx.arena, t.slug);
	if (!err)
		err = tenant_migrated(&req->cx, t.id, tenant_schema_version());
	if (!err)
		err = kb_audit(
		    req, &req->cx, "tenant.created", "tenant", t.id, NULL);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 201, tenant_json, &t);
}

struct kb_reply
tenants_get(struct kb_request *req)
{
	struct tenant t;
	enum kb_err err = tenant_by_slug(&req->cx, kb_param(req, "slug"), &t);

	if (err)
		return kb_fail(
		    req, err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err, NULL);
	return kb_data(req, 200, tenant_json, &t);
}

static bool
has_limits(const struct tenant_body *b)
{
	return b->has_users || b->has_nodes || b->has_stacks || b->has_storage;
}

static bool
read_patch(struct kb_request *req, struct tenant_body *b)
{
	if (!kb_read_body(req, tenant_patch_rules, b))
		return false;
	if (!has_limits(b) || b->reason != NULL)
		return true;
	kb_bad_field(req, "reason", "is required where a limit is set");
	return false;
}

static void
apply_patch(struct kb_arena *a, const struct tenant_body *b, struct tenant *t)
{
	if (b->plan != NULL && strcmp(b->plan, t->plan) != 0) {
		t->plan = b->plan;
		plan_limits(t);
	}
	if (b->name != NULL)
		t->name = b->name;
	if (b->status != NULL)
		t->status = b->status;
	if (b->rotate)
		t->token_secret = new_secret(a);
	apply_limits(t, b);
}

struct patched {
	const struct tenant *was, *now;
	const char *reason;
};

static void
limits_json(struct kb_jsonw *w, const char *name, const struct tenant *t)
{
	kb_w_object(w, name);
	kb_w_str(w, "plan", t->plan);
	kb_w_str(w, "status", t->status);
	kb_w_int(w, "maxUsers", t->max_users);
	kb_w_int(w, "maxNodes", t->max_nodes);
	kb_w_int(w, "maxStacks", t->max_stacks);
	kb_w_int(w, "maxStorage", t->max_storage);
	kb_w_object_end(w);
}

static void
patched_json(struct kb_jsonw *w, const void *obj)
{
	const struct patched *p = obj;

	limits_json(w, "before", p->was);
	limits_json(w, "after", p->now);
	kb_w_opt(w, "reason", p->reason);
}

/* The name of what was done, the weightiest first. */
static const char *
patch_action(const struct patched *p, const struct tenant_body *b)
{
	if (strcmp(p->was->status, p->now->status) != 0)
		return strcmp(p->now->status, "active") == 0
		    ? "tenant.resumed"
		    : "tenant.suspended";
	if (has_limits(b))
		return "quota.overridden";
	if (strcmp(p->was->plan, p->now->plan) != 0)
		return "tenant.plan_changed";
	return b->rotate ? "tenant.secret_rotated" : "tenant.updated";
}

struct kb_reply
tenants_patch(struct kb_request *req)
{
	struct tenant_body b = { 0 };
	struct tenant was, t;
	struct patched p = { .was = &was, .now = &t };
	enum kb_err err;

	if (!read_patch(req, &b))
		return kb_invalid(req);
	err = tenant_by_slug(&req->cx, kb_param(req, "slug"), &was);
	if (!err && strcmp(was.status, "deleted") == 0)
		err = KB_NOT_FOUND;
	if (err)
		return kb_fail(
		    req, err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err, NULL);
	t = was;
	apply_patch(req->cx.arena, &b, &t);
	p.reason = b.reason;
	req->user.tenant = t.slug;
	err = tenant_update(&req->cx, &t);
	if (!err)
		err = kb_audit(req, &req->cx, patch_action(&p, &b), "tenant",
		    t.id, details_text(req->cx.arena, patched_json, &p));
	if (err)
		return kb_fail(req, err, NULL);
	if (strcmp(t.status, "active") != 0 || b.rotate)
		tenancy_end_clients(stack_state(kb_app(req))->tenancy, t.slug);
	return kb_data(req, 200, tenant_json, &t);
}

/* The rows stay, out of reach, until they are exported or purged. */
struct kb_reply
tenants_delete(struct kb_request *req)
{
	struct tenant t;
	enum kb_err err = tenant_by_slug(&req->cx, kb_param(req, "slug"), &t);

	if (!err) {
		t.status = "deleted";
		err = tenant_update(&req->cx, &t);
	}
	if (!err)
		err = kb_audit(
		    req, &req->cx, "tenant.deleted", "tenant", t.id, NULL);
	if (err)
		return kb_fail(
		    req, err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err, NULL);
	tenancy_end_clients(stack_state(kb_app(req))->tenancy, t.slug);
	return kb_no_content(req);
}

static void
current_json(struct kb_jsonw *w, const void *obj)
{
	const struct tenant_cx *tc = obj;

	tenant_json(w, &tc->row);
	kb_w_str(w, "role", tc->user.role);
	kb_w_str(w, "userId", tc->user.id);
}

struct kb_reply
tenant_current(struct kb_request *req)
{
	return kb_data(req, 200, current_json, tenant_of(req));
}

static void
member_json(struct kb_jsonw *w, const void *obj)
{
	const struct member *m = obj;

	kb_w_str(w, "id", m->id);
	kb_w_str(w, "email", m->email);
	kb_w_str(w, "name", m->name);
	kb_w_str(w, "role", m->role);
	kb_w_bool(w, "disabled", m->disabled);
}

struct kb_reply
tenant_members(struct kb_request *req)
{
	struct kb_page page;
	struct member *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = members_list(&req->cx, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, member_json, rows, n, sizeof(*rows), &page);
}

struct usage {
	const struct tenant *t;
	struct quota quotas[4];
};

static void
quota_json(struct kb_jsonw *w, const struct quota *q)
{
	int64_t rest = q->limit > q->used ? q->limit - q->used : 0;

	kb_w_object(w, q->resource);
	kb_w_int(w, "used", q->used);
	kb_w_int(w, "limit", q->limit);
	kb_w_int(w, "remaining", q->limit < 0 ? -1 : rest);
	kb_w_object_end(w);
}

static void
usage_json(struct kb_jsonw *w, const void *obj)
{
	const struct usage *u = obj;

	kb_w_str(w, "plan", u->t->plan);
	for (size_t i = 0; i < KB_COUNT(u->quotas); i++)
		quota_json(w, &u->quotas[i]);
	kb_w_array(w, "warnings");
	for (size_t i = 0; i < KB_COUNT(u->quotas); i++)
		if (quota_is_near(&u->quotas[i]))
			kb_w_str(w, NULL, u->quotas[i].resource);
	kb_w_array_end(w);
}

struct kb_reply
tenant_usage(struct kb_request *req)
{
	const struct tenant *t = &tenant_of(req)->row;
	struct usage u = { .t = t,
		.quotas = { { "users", t->max_users, 0 },
		    { "nodes", t->max_nodes, 0 },
		    { "stacks", t->max_stacks, 0 },
		    { "storage", t->max_storage, 0 } } };
	struct kb_page page = { .page = 1, .limit = 1 };
	struct member *rows;
	size_t n;
	enum kb_err err = members_list(&req->cx, &page, &rows, &n);

	u.quotas[0].used = page.total;
	if (!err)
		err = nodes_used(&req->cx, &u.quotas[1].used);
	if (!err)
		err = stacks_used(&req->cx, &u.quotas[2].used);
	if (!err)
		err = files_used(&req->cx, &u.quotas[3].used);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 200, usage_json, &u);
}
