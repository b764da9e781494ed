/*
 * Feature flags by level in platform.db. The row without a key holds the
 * level's version, also when it has no flags at all.
 */
#include "stack.h"

static const struct kb_col cols[] = {
	KB_COL_STR(struct flag, key),
	KB_COL_STR(struct flag, value),
	KB_COLS_END,
};

static const struct kb_col version_cols[] = {
	KB_COL_INT(struct flag_level, version),
	KB_COLS_END,
};

struct replace {
	const struct flag_level *level;
	const struct flag *flags;
	size_t n;
	bool fresh;
};

static enum kb_err
version_of(struct kb_cx *tx, const struct flag_level *l, int64_t *version)
{
	struct flag_level here = { 0 };
	struct kb_rows rows = kb_query(tx,
	    "SELECT version FROM _feature_flags"
	    " WHERE tenant_id = $1 AND sub = $2 AND key = ''",
	    KB_TEXT(l->tenant_id), KB_TEXT(l->sub));
	enum kb_err err = kb_rows_one(&rows, version_cols, &here);

	*version = here.version;
	return err == KB_NOT_FOUND ? KB_OK : err;
}

static enum kb_err
put(struct kb_cx *tx, const struct flag_level *l, const struct flag *f)
{
	return kb_exec(tx,
	    "INSERT INTO _feature_flags"
	    " (tenant_id, sub, key, value, version, updated)"
	    " VALUES ($1, $2, $3, $4, $5, $6)",
	    KB_TEXT(l->tenant_id), KB_TEXT(l->sub), KB_TEXT(f->key),
	    KB_TEXT(f->value), KB_INT(l->version), KB_TEXT(l->updated));
}

static enum kb_err
replace_tx(struct kb_cx *tx, void *arg)
{
	static const struct flag marker = { "", "null" };
	struct replace *r = arg;
	const struct flag_level *l = r->level;
	int64_t here;
	enum kb_err err = version_of(tx, l, &here);

	r->fresh = !err && l->version > here;
	if (!r->fresh)
		return err;
	err = kb_exec(tx,
	    "DELETE FROM _feature_flags WHERE tenant_id = $1 AND sub = $2",
	    KB_TEXT(l->tenant_id), KB_TEXT(l->sub));
	if (!err)
		err = put(tx, l, &marker);
	for (size_t i = 0; !err && i < r->n; i++)
		err = put(tx, l, &r->flags[i]);
	return err;
}

enum kb_err
flags_replace(struct kb_cx *platform, const struct flag_level *level,
    const struct flag *flags, size_t n, bool *fresh)
{
	struct replace r = { .level = level, .flags = flags, .n = n };
	enum kb_err err = kb_transaction(platform, replace_tx, &r);

	*fresh = r.fresh;
	return err;
}

enum kb_err
flags_of(struct kb_cx *platform, const char *tenant_id, const char *sub,
    struct flag **out, size_t *n)
{
	/* Of each key the row that comes last of default, tenant, user. */
	struct kb_rows rows = kb_query(platform,
	    "SELECT f.key, f.value FROM _feature_flags f WHERE f.key <> ''"
	    " AND ((f.sub = '' AND f.tenant_id IN ('', $1))"
	    " OR (f.sub = $2 AND f.tenant_id = ''))"
	    " AND NOT EXISTS (SELECT 1 FROM _feature_flags g"
	    " WHERE g.key = f.key AND ((f.sub = '' AND f.tenant_id = ''"
	    " AND g.sub = '' AND g.tenant_id = $1)"
	    " OR (f.sub = '' AND $2 <> '' AND g.sub = $2"
	    " AND g.tenant_id = ''))) ORDER BY f.key",
	    KB_TEXT(tenant_id), KB_TEXT(sub ? sub : ""));

	return kb_rows_all(&rows, cols, sizeof(struct flag), out, n);
}
