/*
 * Tenants: users create the one of their organisation, operators create them
 * for others, the gateway asks where they live.
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>

#include "admin.h"

enum { CHANGES_MAX = 1000 };

static const char *const plan_names[] = { "FREE", "PRO", "ENTERPRISE", "free",
	"pro", "enterprise", NULL };

/* Upper case, as the platform's database spells it. */
static const struct {
	const char *plan;
	int64_t users, nodes;
} plans[] = {
	{ "FREE", 5, 3 },
	{ "PRO", 10, 10 },
	{ "ENTERPRISE", -1, 50 },
};

struct tenant_body {
	const char *slug, *name, *org, *plan;
	int64_t max_users, max_nodes;
	bool has_users, has_nodes;
};

/* clang-format off */
#define NAME_RULES \
	KB_RULE_STR(struct tenant_body, slug, .required = true, .match = kb_is_slug, .hint = "may hold a-z, 0-9 and dashes, 1 to 63 characters"), \
	KB_RULE_STR(struct tenant_body, name, .required = true, .match = kb_is_name, .hint = "must be 1 to 128 characters, no blank at either end")
/* clang-format on */

/* The organisation is the caller's own; the plan follows its token. */
const struct kb_rule tenant_own_rules[] = {
	NAME_RULES,
	KB_RULES_END,
};

static bool
is_org(const char *s)
{
	return s[0] != '\0' &&
	    strspn(s,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789_.:@|-") == strlen(s);
}

const struct kb_rule tenant_rules[] = {
	NAME_RULES,
	KB_RULE_STR_AS(struct tenant_body, org, "orgId", .required = true,
	    .max = 128, .match = is_org,
	    .hint = "must be an organisation's id"),
	KB_RULE_STR(struct tenant_body, plan, .choices = plan_names),
	KB_RULE_INT_AS(struct tenant_body, max_users, "maxUsers", .min = 1,
	    .max = 100000, .present = offsetof(struct tenant_body, has_users)),
	KB_RULE_INT_AS(struct tenant_body, max_nodes, "maxNodes", .min = 1,
	    .max = 100000, .present = offsetof(struct tenant_body, has_nodes)),
	KB_RULES_END,
};

/* Slugs that would read as a place of the platform. */
static bool
is_reserved(const char *slug)
{
	static const char *const reserved[] = { "default", "admin", "api",
		"app", "auth", "internal", "platform", "system", "www" };

	for (size_t i = 0; i < KB_COUNT(reserved); i++)
		if (strcmp(slug, reserved[i]) == 0)
			return true;
	return false;
}

void
plan_limits(struct tenant *t)
{
	size_t i = 0;

	while (i < KB_COUNT(plans) - 1 && strcmp(plans[i].plan, t->plan) != 0)
		i++;
	t->max_users = plans[i].users;
	t->max_nodes = plans[i].nodes;
}

static const char *
plan_in_database(struct kb_arena *a, const char *name)
{
	enum kb_plan plan;
	char *upper;

	if (name == NULL || !kb_plan_of(name, &plan))
		plan = KB_PLAN_FREE;
	upper = kb_strdup(a, kb_plan_name(plan));
	for (char *p = upper; *p; p++)
		*p = (char)(*p - 'a' + 'A');
	return upper;
}

static void
tenant_json(struct kb_jsonw *w, const void *obj)
{
	const struct tenant *t = obj;

	kb_w_str(w, "id", t->id);
	kb_w_str(w, "slug", t->slug);
	kb_w_str(w, "name", t->name);
	kb_w_str(w, "orgId", t->org);
	kb_w_str(w, "plan", t->plan);
	kb_w_str(w, "status", t->status);
	kb_w_str(w, "subscriptionStatus", t->subscription_status);
	kb_w_int(w, "maxUsers", t->max_users);
	kb_w_int(w, "maxNodes", t->max_nodes);
	kb_w_str(w, "instanceId", t->instance_id);
	kb_w_bool(w, "provisioned", t->provisioned != NULL);
	kb_w_str(w, "createdAt", t->created);
	kb_w_str(w, "updatedAt", t->updated);
}

/* For services: also where the tenant lives. */
static void
placed_json(struct kb_jsonw *w, const void *obj)
{
	const struct tenant *t = obj;

	tenant_json(w, t);
	kb_w_object(w, "instance");
	kb_w_str(w, "id", t->instance_id);
	kb_w_str(w, "internalEndpoint", t->internal_endpoint);
	kb_w_str(w, "publicEndpoint", t->public_endpoint);
	kb_w_str(w, "status", t->instance_status);
	kb_w_str(w, "health", t->instance_health);
	kb_w_object_end(w);
}

static struct kb_reply
not_created(struct kb_request *req, enum kb_err err, const struct tenant *t)
{
	struct tenant other;

	if (err == KB_UNAVAILABLE) {
		kb_reply_header(req, "Retry-After", "60");
		return kb_fail(req, err,
		    "No instance has room for another tenant at the moment");
	}
	if (err != KB_CONFLICT)
		return kb_fail(req, err, NULL);
	if (!tenant_by_slug(&req->cx, t->slug, &other))
		return kb_fail(req, err, "The slug \"%s\" is taken", t->slug);
	return kb_fail(req, err, "This organisation has a tenant already");
}

static struct kb_reply
create(struct kb_request *req, struct tenant *t)
{
	enum kb_err err;

	if (is_reserved(t->slug)) {
		kb_bad_field(req, "slug", "is reserved; choose another one");
		return kb_invalid(req);
	}
	t->id = kb_id_new(req->cx.arena, "ten");
	err = tenant_create(&req->cx, t, admin_state(kb_app(req))->sim_url);
	if (err)
		return not_created(req, err, t);
	kb_background_wake(kb_app(req), "outbox");
	err = kb_audit(req, &req->cx, "tenant.created", "tenant", t->id, NULL);
	if (!err && req->user.sub != NULL && req->user.org != NULL &&
	    strcmp(req->user.org, t->org) == 0)
		err = tenant_set_owner(&req->cx, t->id, req->user.sub);
	if (!err)
		err = tenant_by_slug(&req->cx, t->slug, t);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 201, tenant_json, t);
}

/* Makes sure that the platform knows the caller. */
static enum kb_err
know_caller(struct kb_request *req)
{
	struct user u = {
		.sub = req->user.sub,
		.email = req->user.email,
		.name = req->user.name,
	};
	bool created;

	return user_upsert(&req->cx, &u, &created);
}

struct kb_reply
tenants_create_own(struct kb_request *req)
{
	struct tenant_body b = { 0 };
	struct tenant t = { 0 };
	enum kb_err err;

	if (req->user.org == NULL)
		return kb_fail(req, KB_FORBIDDEN,
		    "Your account belongs to no organisation");
	if (!kb_read_body(req, tenant_own_rules, &b))
		return kb_invalid(req);
	err = know_caller(req);
	if (err)
		return kb_fail(req, err, NULL);
	t.slug = b.slug;
	t.name = b.name;
	t.org = req->user.org;
	t.plan = plan_in_database(req->cx.arena, kb_plan_name(req->user.plan));
	plan_limits(&t);
	return create(req, &t);
}

struct kb_reply
tenants_create(struct kb_request *req)
{
	struct tenant_body b = { 0 };
	struct tenant t = { 0 };

	if (!kb_read_body(req, tenant_rules, &b))
		return kb_invalid(req);
	t.slug = b.slug;
	t.name = b.name;
	t.org = b.org;
	t.plan = plan_in_database(req->cx.arena, b.plan);
	plan_limits(&t);
	if (b.has_users)
		t.max_users = b.max_users;
	if (b.has_nodes)
		t.max_nodes = b.max_nodes;
	return create(req, &t);
}

static struct kb_reply
all_of_them(struct kb_request *req, enum kb_err err, struct tenant *rows,
    size_t n, kb_json_fn *fn)
{
	struct kb_page page = {
		.page = 1,
		.limit = (int64_t)n,
		.total = (int64_t)n,
	};

	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, fn, rows, n, sizeof(*rows), &page);
}

struct kb_reply
tenants_list_own(struct kb_request *req)
{
	struct tenant *rows = NULL;
	size_t n = 0;
	enum kb_err err = KB_OK;

	if (req->user.org != NULL)
		err = tenants_by_org(&req->cx, req->user.org, &rows, &n);
	return all_of_them(req, err, rows, n, tenant_json);
}

struct kb_reply
tenants_get_by_org(struct kb_request *req)
{
	struct tenant *rows = NULL;
	size_t n = 0;
	enum kb_err err = tenants_by_org(
	    &req->cx, kb_param(req, "orgId"), &rows, &n);

	return all_of_them(req, err, rows, n, placed_json);
}

struct kb_reply
users_tenants(struct kb_request *req)
{
	struct tenant *rows = NULL;
	size_t n = 0;
	enum kb_err err = tenants_of_user(
	    &req->cx, kb_param(req, "sub"), &rows, &n);

	return all_of_them(req, err, rows, n, placed_json);
}

struct kb_reply
tenants_get(struct kb_request *req)
{
	struct tenant t;
	enum kb_err err = tenant_by_slug(&req->cx, kb_param(req, "slug"), &t);

	if (err)
		return kb_fail(
		    req, err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err, NULL);
	return kb_data(req, 200, placed_json, &t);
}

struct changes {
	int64_t now_ms;
	const struct tenant *rows;
	size_t n;
};

static void
changes_json(struct kb_jsonw *w, const void *obj)
{
	const struct changes *c = obj;

	kb_w_int(w, "now", c->now_ms);
	kb_w_bool(w, "all", c->n > CHANGES_MAX);
	kb_w_array(w, "tenants");
	for (size_t i = 0; i < c->n && c->n <= CHANGES_MAX; i++) {
		kb_w_object(w, NULL);
		kb_w_str(w, "slug", c->rows[i].slug);
		kb_w_str(w, "orgId", c->rows[i].org);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

/* Without "since" it only tells the time to ask from. */
struct kb_reply
tenants_get_changed(struct kb_request *req)
{
	const char *text = kb_query_param(req, "since");
	struct changes c = { 0 };
	struct tenant *rows = NULL;
	uint64_t since = 0;
	enum kb_err err;

	if (text != NULL &&
	    (!kb_parse_u64(kb_slice_of(text), &since) || since > INT64_MAX)) {
		kb_bad_field(req, "since", "must be unix milliseconds");
		return kb_invalid(req);
	}
	err = tenants_changed(&req->cx, text ? (int64_t)since : -1,
	    CHANGES_MAX + 1, &c.now_ms, &rows, &c.n);
	if (err)
		return kb_fail(req, err, NULL);
	c.rows = rows;
	return kb_data(req, 200, changes_json, &c);
}

struct kb_reply
tenants_list(struct kb_request *req)
{
	struct kb_page page;
	struct tenant *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = tenants_page(&req->cx, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, placed_json, rows, n, sizeof(*rows), &page);
}
