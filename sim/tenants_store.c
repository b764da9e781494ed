/* Tenants, their quotas and their blocks of SSH ports. */
#include "sim.h"

#define COLUMNS                                                                \
	"id, slug, name, zitadel_org_id, plan, status, max_simulations,"       \
	" max_nodes_per_sim, resource_quota_cpu, resource_quota_memory_gb,"    \
	" ssh_start, ssh_end, created_at, updated_at"

static const struct kb_col cols[] = {
	KB_COL_STR(struct tenant, id),
	KB_COL_STR(struct tenant, slug),
	KB_COL_STR(struct tenant, name),
	KB_COL_STR(struct tenant, org),
	KB_COL_STR(struct tenant, plan),
	KB_COL_STR(struct tenant, status),
	KB_COL_INT(struct tenant, max_simulations),
	KB_COL_INT(struct tenant, max_nodes),
	KB_COL_NUM(struct tenant, quota_cpu),
	KB_COL_NUM(struct tenant, quota_memory_gb),
	KB_COL_INT(struct tenant, ssh_start),
	KB_COL_INT(struct tenant, ssh_end),
	KB_COL_STR(struct tenant, created),
	KB_COL_STR(struct tenant, updated),
	KB_COLS_END,
};

struct block {
	int64_t start;
};

static const struct kb_col block_cols[] = {
	KB_COL_INT(struct block, start),
	KB_COLS_END,
};

struct insert {
	struct tenant *t;
	const struct ssh_pool *pool;
};

/* The lowest block after an existing one (or the first) that nobody has. */
static enum kb_err
take_block(struct kb_cx *cx, const struct ssh_pool *pool, struct tenant *t)
{
	struct block b = { 0 };
	struct kb_rows rows = kb_query(cx,
	    "SELECT candidate FROM (SELECT $1 AS candidate"
	    " UNION SELECT ssh_end + 1 FROM tenants)"
	    " WHERE candidate >= $1 AND candidate + $3 - 1 <= $2"
	    " AND NOT EXISTS (SELECT 1 FROM tenants"
	    " WHERE ssh_start <= candidate + $3 - 1 AND ssh_end >= candidate)"
	    " ORDER BY candidate LIMIT 1",
	    KB_INT(pool->start), KB_INT(pool->end), KB_INT(pool->block));
	enum kb_err err = kb_rows_one(&rows, block_cols, &b);

	if (err)
		return err == KB_NOT_FOUND ? KB_UNAVAILABLE : err;
	t->ssh_start = b.start;
	t->ssh_end = b.start + pool->block - 1;
	return KB_OK;
}

static enum kb_err
insert_tx(struct kb_cx *cx, void *arg)
{
	const struct insert *in = arg;
	struct tenant *t = in->t;
	enum kb_err err = take_block(cx, in->pool, t);

	if (err)
		return err;
	return kb_exec(cx,
	    "INSERT INTO tenants (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6,"
	    " $7, $8, $9, $10, $11, $12, $13, $14)",
	    KB_TEXT(t->id), KB_TEXT(t->slug), KB_TEXT(t->name), KB_TEXT(t->org),
	    KB_TEXT(t->plan), KB_TEXT(t->status), KB_INT(t->max_simulations),
	    KB_INT(t->max_nodes), KB_REAL(t->quota_cpu),
	    KB_REAL(t->quota_memory_gb), KB_INT(t->ssh_start),
	    KB_INT(t->ssh_end), KB_TEXT(t->created), KB_TEXT(t->updated));
}

enum kb_err
tenant_insert(struct kb_cx *cx, struct tenant *t, const struct ssh_pool *pool)
{
	struct insert in = { .t = t, .pool = pool };

	return kb_transaction(cx, insert_tx, &in);
}

enum kb_err
tenant_update(struct kb_cx *cx, const struct tenant *t)
{
	return kb_exec(cx,
	    "UPDATE tenants SET name = $2, plan = $3, status = $4,"
	    " max_simulations = $5, max_nodes_per_sim = $6,"
	    " resource_quota_cpu = $7, resource_quota_memory_gb = $8,"
	    " updated_at = $9 WHERE id = $1",
	    KB_TEXT(t->id), KB_TEXT(t->name), KB_TEXT(t->plan),
	    KB_TEXT(t->status), KB_INT(t->max_simulations),
	    KB_INT(t->max_nodes), KB_REAL(t->quota_cpu),
	    KB_REAL(t->quota_memory_gb), KB_TEXT(t->updated));
}

enum kb_err
tenant_by_slug(struct kb_cx *cx, const char *slug, struct tenant *t)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM tenants WHERE slug = $1", KB_TEXT(slug));

	return kb_rows_one(&rows, cols, t);
}

enum kb_err
tenant_by_org(struct kb_cx *cx, const char *org, struct tenant *t)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM tenants WHERE zitadel_org_id = $1",
	    KB_TEXT(org));

	return kb_rows_one(&rows, cols, t);
}
