/*
 * Tenants of sim: provisioned by admin, or made at the first request that the
 * gateway vouches for; and which tenant a request is about.
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "sim.h"

static const char *const plan_names[] = { "free", "pro", "enterprise", NULL };

/* The seed's column defaults for free; C-19: three at a time. */
static const struct {
	const char *plan;
	int64_t simulations, nodes;
	double cpu, memory_gb;
} plans[] = {
	{ "free", 3, 5, 4, 8 },
	{ "pro", 10, 10, 16, 64 },
	{ "enterprise", -1, 20, 64, 256 },
};

void
plan_limits(struct tenant *t)
{
	size_t i = 0;

	while (i < KB_COUNT(plans) - 1 && strcmp(plans[i].plan, t->plan) != 0)
		i++;
	t->max_simulations = plans[i].simulations;
	t->max_nodes = plans[i].nodes;
	t->quota_cpu = plans[i].cpu;
	t->quota_memory_gb = plans[i].memory_gb;
}

struct ssh_pool
ssh_pool_of(struct kb_app *app)
{
	const struct sim_config *c = sim_config(app);

	return (struct ssh_pool) {
		.start = c->ssh_start,
		.end = c->ssh_end,
		.block = c->ssh_block,
	};
}

struct tenant_body {
	const char *id, *slug, *name, *org, *plan;
	int64_t max_users, max_nodes;
};

const struct kb_rule tenant_rules[] = {
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
	KB_RULE_INT_AS(struct tenant_body, max_users, "maxUsers", .min = -1,
	    .max = 1000000, .doc = "Not used by sim"),
	KB_RULE_INT_AS(struct tenant_body, max_nodes, "maxNodes", .min = -1,
	    .max = 1000000, .doc = "Not used by sim"),
	KB_RULES_END,
};

static void
tenant_json(struct kb_jsonw *w, const void *obj)
{
	const struct tenant *t = obj;

	kb_w_str(w, "id", t->id);
	kb_w_str(w, "slug", t->slug);
	kb_w_str(w, "plan", t->plan);
	kb_w_str(w, "status", t->status);
	kb_w_int(w, "maxSimulations", t->max_simulations);
	kb_w_int(w, "maxNodesPerSimulation", t->max_nodes);
	kb_w_int(w, "sshPortStart", t->ssh_start);
	kb_w_int(w, "sshPortEnd", t->ssh_end);
	kb_w_str(w, "createdAt", t->created);
}

static struct tenant
tenant_make(struct kb_arena *a, const struct tenant_body *b)
{
	struct tenant t = {
		.id = b->id ? b->id : kb_id_new(a, "ten"),
		.slug = b->slug,
		.name = b->name,
		.org = b->org,
		.plan = b->plan ? b->plan : "free",
		.status = "active",
		.created = kb_now_text(a),
	};

	t.updated = t.created;
	plan_limits(&t);
	return t;
}

/* Told again (or after the first request made it): bring it up to date. */
static struct kb_reply
told_again(struct kb_request *req, const struct tenant_body *b)
{
	struct tenant t;
	enum kb_err err = tenant_by_org(&req->cx, b->org, &t);

	if (err == KB_NOT_FOUND || (!err && !kb_str_eq(t.slug, b->slug)))
		return kb_fail(
		    req, KB_CONFLICT, "The slug or the organisation is taken");
	if (!err && b->plan != NULL && strcmp(t.plan, b->plan) != 0) {
		t.plan = b->plan;
		plan_limits(&t);
	}
	if (!err) {
		t.name = b->name;
		t.updated = kb_now_text(req->cx.arena);
		err = tenant_update(&req->cx, &t);
	}
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 200, tenant_json, &t);
}

struct kb_reply
tenants_create(struct kb_request *req)
{
	struct tenant_body b = { 0 };
	struct ssh_pool pool = ssh_pool_of(kb_app(req));
	struct tenant t;
	enum kb_err err;

	if (!kb_read_body(req, tenant_rules, &b))
		return kb_invalid(req);
	t = tenant_make(req->cx.arena, &b);
	err = tenant_insert(&req->cx, &t, &pool);
	if (err == KB_CONFLICT)
		return told_again(req, &b);
	if (!err)
		err = kb_audit(
		    req, &req->cx, "tenant.created", "tenant", t.id, NULL);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 201, tenant_json, &t);
}

/*
 * The gateway names slug and organisation under its proof; admin's message
 * about the tenant may still be on its way.
 */
static enum kb_err
make_from_request(struct kb_request *req, struct tenant *t)
{
	struct ssh_pool pool = ssh_pool_of(kb_app(req));
	struct tenant_body b = {
		.slug = req->user.tenant,
		.name = req->user.tenant,
		.org = req->user.org,
		.plan = kb_plan_name(req->user.plan),
	};
	enum kb_err err;

	if (b.slug == NULL || b.slug[0] == '\0')
		return KB_TENANT_REQUIRED;
	if (!kb_is_slug(b.slug))
		return KB_TENANT_NOT_FOUND;
	*t = tenant_make(req->cx.arena, &b);
	err = tenant_insert(&req->cx, t, &pool);
	if (err == KB_CONFLICT) /* made by a request beside us, or not ours */
		err = tenant_by_org(&req->cx, req->user.org, t);
	return err == KB_NOT_FOUND ? KB_TENANT_FORBIDDEN : err;
}

/* The organisation is what the identity provider vouches for: it, not the
 * slug, finds the tenant. */
static enum kb_err
find_tenant(struct kb_request *req, struct tenant *t)
{
	enum kb_err err;

	if (req->user.org == NULL || req->user.org[0] == '\0')
		return KB_TENANT_REQUIRED;
	err = tenant_by_org(&req->cx, req->user.org, t);
	if (err == KB_NOT_FOUND)
		err = make_from_request(req, t);
	if (err)
		return err;
	if (req->user.tenant != NULL && req->user.tenant[0] != '\0' &&
	    strcmp(req->user.tenant, t->slug) != 0)
		return KB_TENANT_FORBIDDEN;
	return KB_OK;
}

static enum kb_tenant_role
role_of(const struct kb_user *user)
{
	if (kb_roles_have(user->roles, "admin"))
		return KB_ROLE_ADMIN;
	return kb_roles_have(user->roles, "viewer") ? KB_ROLE_VIEWER
						    : KB_ROLE_MEMBER;
}

enum kb_err
tenant_resolve(struct kb_request *req)
{
	struct tenant *t = kb_new(req->cx.arena, struct tenant);
	enum kb_err err = find_tenant(req, t);

	if (err)
		return err;
	if (strcmp(t->status, "suspended") == 0)
		return KB_TENANT_FORBIDDEN;
	if (strcmp(t->status, "active") != 0)
		return KB_TENANT_NOT_FOUND;
	req->tenant = t;
	req->role = role_of(&req->user);
	return KB_OK;
}
