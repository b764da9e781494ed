/* Tenants and memberships in platform.db. */
#include <kombi/id.h>
#include <kombi/time.h>

#include "platform.h"

#define COLUMNS                                                                \
	"id, slug, name, zitadel_org_id, plan, status, token_secret,"          \
	" max_users, max_nodes, max_stacks, max_storage, created, updated"

static const struct kb_col cols[] = {
	KB_COL_STR(struct tenant, id),
	KB_COL_STR(struct tenant, slug),
	KB_COL_STR(struct tenant, name),
	KB_COL_STR(struct tenant, org),
	KB_COL_STR(struct tenant, plan),
	KB_COL_STR(struct tenant, status),
	KB_COL_STR(struct tenant, token_secret),
	KB_COL_INT(struct tenant, max_users),
	KB_COL_INT(struct tenant, max_nodes),
	KB_COL_INT(struct tenant, max_stacks),
	KB_COL_INT(struct tenant, max_storage),
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

/* The home of a self-hosted instance takes no place from others. */
enum kb_err
tenant_count(struct kb_cx *cx, int64_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM _tenants WHERE status <> $1 AND slug <> $2",
	    KB_TEXT("deleted"), KB_TEXT(DEFAULT_TENANT));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

struct insert {
	const struct tenant *t;
	int64_t max;
};

static enum kb_err
insert_tx(struct kb_cx *cx, void *arg)
{
	const struct insert *in = arg;
	const struct tenant *t = in->t;
	int64_t n;
	enum kb_err err = tenant_count(cx, &n);

	if (err)
		return err;
	if (in->max >= 0 && n >= in->max)
		return KB_UNAVAILABLE;
	return kb_exec(cx,
	    "INSERT INTO _tenants (" COLUMNS ") VALUES"
	    " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
	    " $13)",
	    KB_TEXT(t->id), KB_TEXT(t->slug), KB_TEXT(t->name), KB_TEXT(t->org),
	    KB_TEXT(t->plan), KB_TEXT(t->status), KB_TEXT(t->token_secret),
	    KB_INT(t->max_users), KB_INT(t->max_nodes), KB_INT(t->max_stacks),
	    KB_INT(t->max_storage), KB_TEXT(t->created), KB_TEXT(t->updated));
}

enum kb_err
tenant_insert(struct kb_cx *cx, const struct tenant *t, int64_t max_tenants)
{
	struct insert in = { .t = t, .max = max_tenants };

	return kb_transaction(cx, insert_tx, &in);
}

enum kb_err
tenant_update(struct kb_cx *cx, const struct tenant *t)
{
	return kb_exec(cx,
	    "UPDATE _tenants SET name = $2, plan = $3, status = $4,"
	    " max_users = $5, max_nodes = $6, max_stacks = $7, updated = $8,"
	    " max_storage = $9, token_secret = $10"
	    " WHERE id = $1",
	    KB_TEXT(t->id), KB_TEXT(t->name), KB_TEXT(t->plan),
	    KB_TEXT(t->status), KB_INT(t->max_users), KB_INT(t->max_nodes),
	    KB_INT(t->max_stacks), KB_TEXT(kb_now_text(cx->arena)),
	    KB_INT(t->max_storage), KB_TEXT(t->token_secret));
}

enum kb_err
tenant_by_slug(struct kb_cx *cx, const char *slug, struct tenant *t)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM _tenants WHERE slug = $1", KB_TEXT(slug));

	return kb_rows_one(&rows, cols, t);
}

enum kb_err
tenant_by_org(struct kb_cx *cx, const char *org, struct tenant *t)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM _tenants WHERE zitadel_org_id = $1",
	    KB_TEXT(org));

	return kb_rows_one(&rows, cols, t);
}

enum kb_err
tenant_by_id(struct kb_cx *cx, const char *id, struct tenant *t)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT " COLUMNS " FROM _tenants WHERE id = $1", KB_TEXT(id));

	return kb_rows_one(&rows, cols, t);
}

enum kb_err
tenants_active(struct kb_cx *cx, struct tenant **rows_out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM _tenants WHERE status = $1 ORDER BY slug",
	    KB_TEXT("active"));

	return kb_rows_all(&rows, cols, sizeof(struct tenant), rows_out, n);
}

enum kb_err
tenant_last_of(struct kb_cx *cx, const char *sub, struct tenant *t)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT t.id, t.slug, t.name, t.zitadel_org_id, t.plan, t.status,"
	    " t.token_secret, t.max_users, t.max_nodes, t.max_stacks,"
	    " t.max_storage,"
	    " t.created, t.updated"
	    " FROM _sso_mappings m JOIN _tenants t ON t.id = m.tenant_id"
	    " WHERE m.zitadel_sub = $1 AND t.status <> $2"
	    " ORDER BY m.last_login DESC, t.id LIMIT 1",
	    KB_TEXT(sub), KB_TEXT("deleted"));

	return kb_rows_one(&rows, cols, t);
}

static const struct kb_col mapping_cols[] = {
	KB_COL_STR(struct mapping, sub),
	KB_COL_STR(struct mapping, tenant_id),
	KB_COL_STR(struct mapping, user_id),
	KB_COL_BOOL(struct mapping, is_admin),
	KB_COL_STR(struct mapping, last_login),
	KB_COLS_END,
};

enum kb_err
mapping_get(struct kb_cx *platform, const char *sub, const char *tenant_id,
    struct mapping *m)
{
	struct kb_rows rows = kb_query(platform,
	    "SELECT zitadel_sub, tenant_id, pb_user_id, is_admin, last_login"
	    " FROM _sso_mappings WHERE zitadel_sub = $1 AND tenant_id = $2",
	    KB_TEXT(sub), KB_TEXT(tenant_id));

	return kb_rows_one(&rows, mapping_cols, m);
}

enum kb_err
mapping_upsert(struct kb_cx *platform, const struct mapping *m)
{
	return kb_exec(platform,
	    "INSERT INTO _sso_mappings"
	    " (id, zitadel_sub, tenant_id, pb_user_id, is_admin, last_login)"
	    " VALUES ($1, $2, $3, $4, $5, $6)"
	    " ON CONFLICT (zitadel_sub, tenant_id) DO UPDATE SET"
	    " pb_user_id = excluded.pb_user_id,"
	    " is_admin = excluded.is_admin,"
	    " last_login = excluded.last_login",
	    KB_TEXT(kb_id_new(platform->arena, "map")), KB_TEXT(m->sub),
	    KB_TEXT(m->tenant_id), KB_TEXT(m->user_id), KB_FLAG(m->is_admin),
	    KB_TEXT(m->last_login));
}

enum kb_err
mapping_delete(
    struct kb_cx *platform, const char *tenant_id, const char *user_id)
{
	return kb_exec(platform,
	    "DELETE FROM _sso_mappings WHERE tenant_id = $1 AND pb_user_id = "
	    "$2",
	    KB_TEXT(tenant_id), KB_TEXT(user_id));
}

enum kb_err
tenants_to_migrate(struct kb_cx *platform, int version, int64_t most,
    struct tenant **rows_out, size_t *n, int64_t *waiting)
{
	struct kb_rows rows = kb_query(platform,
	    "SELECT count(*) FROM _tenants"
	    " WHERE status <> $1 AND schema_version < $2",
	    KB_TEXT("deleted"), KB_INT(version));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*waiting = c.n;
	if (err)
		return err;
	rows = kb_query(platform,
	    "SELECT " COLUMNS " FROM _tenants"
	    " WHERE status <> $1 AND schema_version < $2"
	    " ORDER BY slug LIMIT $3",
	    KB_TEXT("deleted"), KB_INT(version), KB_INT(most));
	return kb_rows_all(&rows, cols, sizeof(struct tenant), rows_out, n);
}

enum kb_err
tenant_migrated(struct kb_cx *platform, const char *id, int version)
{
	return kb_exec(platform,
	    "UPDATE _tenants SET schema_version = $2 WHERE id = $1",
	    KB_TEXT(id), KB_INT(version));
}
