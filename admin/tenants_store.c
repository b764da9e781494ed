/* Tenants, placed on an instance in the transaction that makes them. */
#include <string.h>

#include <kombi/id.h>
#include <kombi/json.h>
#include <kombi/str.h>

#include "admin.h"

#define COLUMNS                                                                \
	"t.id, t.slug, t.name, t.zitadel_org_id, t.instance_id, t.plan,"       \
	" t.status, t.subscription_status, t.max_users, "                      \
	"t.max_nodes, " TIME_TEXT(                                             \
	    "t.provisioned_at") ", i.internal_endpoint,"                       \
				" i.public_endpoint, i.status::text,"          \
				" coalesce((SELECT h.status::text"             \
				" FROM instance_health_checks h"               \
				" WHERE h.instance_id = i.id"                  \
				" ORDER BY h.timestamp DESC LIMIT 1),"         \
				" 'UNKNOWN'), " TIME_TEXT(                     \
				    "t.created_at") ", " TIME_TEXT("t."        \
								   "updated_"  \
								   "at")
#define TABLES                                                                 \
	"tenants t LEFT JOIN kombistack_instances i ON i.id = t.instance_id"

static const struct kb_col cols[] = {
	KB_COL_STR(struct tenant, id),
	KB_COL_STR(struct tenant, slug),
	KB_COL_STR(struct tenant, name),
	KB_COL_STR(struct tenant, org),
	KB_COL_STR(struct tenant, instance_id),
	KB_COL_STR(struct tenant, plan),
	KB_COL_STR(struct tenant, status),
	KB_COL_STR(struct tenant, subscription_status),
	KB_COL_INT(struct tenant, max_users),
	KB_COL_INT(struct tenant, max_nodes),
	KB_COL_STR(struct tenant, provisioned),
	KB_COL_STR(struct tenant, internal_endpoint),
	KB_COL_STR(struct tenant, public_endpoint),
	KB_COL_STR(struct tenant, instance_status),
	KB_COL_STR(struct tenant, instance_health),
	KB_COL_STR(struct tenant, created),
	KB_COL_STR(struct tenant, updated),
	KB_COLS_END,
};

struct count {
	int64_t n;
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

/* The provisioning request that stack and sim take, as JSON. */
static const char *
provisioning(struct kb_arena *a, const struct tenant *t)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	const char *text;

	kb_buf_init(&buf, 8192);
	kb_w_init(&w, &buf);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "id", t->id);
	kb_w_str(&w, "slug", t->slug);
	kb_w_str(&w, "name", t->name);
	kb_w_str(&w, "zitadelOrgId", t->org);
	kb_w_str(&w, "plan", kb_str_lower(a, t->plan));
	kb_w_int(&w, "maxUsers", t->max_users);
	kb_w_int(&w, "maxNodes", t->max_nodes);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return text;
}

static enum kb_err
tell(struct kb_cx *tx, const struct tenant *t, const char *callee,
    const char *base)
{
	struct letter l = {
		.id = kb_id_new(tx->arena, "out"),
		.callee = callee,
		.method = "POST",
		.url = kb_sprintf(tx->arena, "%s/api/internal/tenants", base),
		.body = provisioning(tx->arena, t),
		.tenant_id = t->id,
	};

	return outbox_add(tx, &l);
}

static const struct kb_col changed_cols[] = {
	KB_COL_STR(struct tenant, slug),
	KB_COL_STR(struct tenant, org),
	KB_COLS_END,
};

enum kb_err
tenants_changed(struct kb_cx *cx, int64_t since_ms, size_t max, int64_t *now_ms,
    struct tenant **out, size_t *n)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT (extract(epoch FROM now()) * 1000)::bigint");
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*now_ms = c.n;
	*n = 0;
	if (err || since_ms < 0)
		return err;
	rows = kb_query(cx,
	    "SELECT t.slug, t.zitadel_org_id FROM " TABLES
	    " WHERE greatest(t.updated_at, i.updated_at)"
	    " > to_timestamp($1::bigint / 1000.0) LIMIT $2",
	    KB_INT(since_ms), KB_INT(max));
	return kb_rows_all(&rows, changed_cols, sizeof(struct tenant), out, n);
}

struct create {
	struct tenant *t;
	const char *sim_url;
};

static enum kb_err
create_tx(struct kb_cx *tx, void *arg)
{
	const struct create *c = arg;
	struct tenant *t = c->t;
	struct instance i;
	enum kb_err err = instance_pick(tx, &i);

	if (err)
		return err;
	t->instance_id = i.id;
	t->internal_endpoint = i.internal_endpoint;
	t->public_endpoint = i.public_endpoint;
	err = kb_exec(tx,
	    "INSERT INTO tenants (id, slug, name, zitadel_org_id,"
	    " instance_id, plan, max_users, max_nodes)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	    KB_TEXT(t->id), KB_TEXT(t->slug), KB_TEXT(t->name), KB_TEXT(t->org),
	    KB_TEXT(t->instance_id), KB_TEXT(t->plan), KB_INT(t->max_users),
	    KB_INT(t->max_nodes));
	if (!err)
		err = instance_add_tenant(tx, i.id);
	if (!err)
		err = tell(tx, t, "stack", i.internal_endpoint);
	if (!err)
		err = tell(tx, t, "sim", c->sim_url);
	return err;
}

enum kb_err
tenant_create(struct kb_cx *cx, struct tenant *t, const char *sim_url)
{
	struct create c = { .t = t, .sim_url = sim_url };

	return kb_transaction(cx, create_tx, &c);
}

enum kb_err
tenant_by_slug(struct kb_cx *cx, const char *slug, struct tenant *t)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM " TABLES
	    " WHERE t.slug = $1 AND t.status <> 'deleted'",
	    KB_TEXT(slug));

	return kb_rows_one(&rows, cols, t);
}

enum kb_err
tenants_by_org(
    struct kb_cx *cx, const char *org, struct tenant **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM " TABLES
	    " WHERE t.zitadel_org_id = $1 AND t.status <> 'deleted'"
	    " ORDER BY t.created_at, t.id",
	    KB_TEXT(org));

	return kb_rows_all(&rows, cols, sizeof(struct tenant), out, n);
}

enum kb_err
tenants_page(
    struct kb_cx *cx, struct kb_page *page, struct tenant **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx, "SELECT count(*) FROM tenants");
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM " TABLES
	    " ORDER BY t.id DESC LIMIT $1 OFFSET $2",
	    KB_INT(page->limit), KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct tenant), out, n);
}

enum kb_err
tenants_of_user(
    struct kb_cx *cx, const char *sub, struct tenant **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM " TABLES
	    " JOIN users u ON u.tenant_id = t.id"
	    " WHERE u.sub = $1 AND t.status <> 'deleted'",
	    KB_TEXT(sub));

	return kb_rows_all(&rows, cols, sizeof(struct tenant), out, n);
}

enum kb_err
tenant_set_owner(struct kb_cx *cx, const char *tenant_id, const char *sub)
{
	return kb_exec(cx,
	    "UPDATE users SET tenant_id = $1, is_homelab_admin = true,"
	    " homelab_role = 'admin', updated_at = now() WHERE sub = $2",
	    KB_TEXT(tenant_id), KB_TEXT(sub));
}
