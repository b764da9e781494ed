/* Secrets of a tenant as rows; what is in them is ciphertext here. */
#include "platform.h"

#define COLUMNS                                                                \
	"id, key, label, kind, stack_id, ciphertext, metadata, created_by,"    \
	" created, updated"

/* Admins see all; others what they keep themselves and what belongs to stacks
 * that they own or are members of. $1 and $2 are the viewer. */
#define MAY_SEE                                                                \
	"($1 OR created_by = $2 OR stack_id IN (SELECT id FROM _kombi_stacks"  \
	" WHERE owner_id = $2) OR stack_id IN (SELECT stack_id"                \
	" FROM _kombi_stack_members WHERE user_id = $2))"

static const struct kb_col cols[] = {
	KB_COL_STR(struct wallet_item, id),
	KB_COL_STR(struct wallet_item, key),
	KB_COL_STR(struct wallet_item, label),
	KB_COL_STR(struct wallet_item, kind),
	KB_COL_STR(struct wallet_item, stack_id),
	KB_COL_STR(struct wallet_item, ciphertext),
	KB_COL_STR(struct wallet_item, metadata),
	KB_COL_STR(struct wallet_item, created_by),
	KB_COL_STR(struct wallet_item, created),
	KB_COL_STR(struct wallet_item, updated),
	KB_COLS_END,
};

struct count {
	int64_t n;
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

enum kb_err
wallet_insert(
    struct kb_cx *tenant, const struct viewer *v, const struct wallet_item *i)
{
	int64_t changed;
	enum kb_err err = kb_exec_n(tenant, &changed,
	    "INSERT INTO _kombi_wallet (" COLUMNS ")"
	    " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9"
	    " WHERE $5 IS NULL OR EXISTS (SELECT 1 FROM _kombi_stacks s"
	    " WHERE s.id = $5 AND ($10 OR s.owner_id = $8 OR s.id IN"
	    " (SELECT stack_id FROM _kombi_stack_members"
	    " WHERE user_id = $8)))",
	    KB_TEXT(i->id), KB_TEXT(i->key), KB_TEXT(i->label),
	    KB_TEXT(i->kind), KB_TEXT(i->stack_id), KB_TEXT(i->ciphertext),
	    KB_TEXT(i->metadata), KB_TEXT(i->created_by), KB_TEXT(i->created),
	    KB_FLAG(v->admin));

	return !err && changed == 0 ? KB_INVALID : err;
}

enum kb_err
wallet_get(struct kb_cx *tenant, const struct viewer *v, const char *id,
    struct wallet_item *i)
{
	struct kb_rows rows = kb_query(tenant,
	    "SELECT " COLUMNS " FROM _kombi_wallet WHERE " MAY_SEE
	    " AND id = $3",
	    KB_FLAG(v->admin), KB_TEXT(v->user_id), KB_TEXT(id));

	return kb_rows_one(&rows, cols, i);
}

enum kb_err
wallet_page(struct kb_cx *tenant, const struct viewer *v, struct kb_page *page,
    struct wallet_item **rows_out, size_t *n)
{
	struct kb_rows rows = kb_query(tenant,
	    "SELECT count(*) FROM _kombi_wallet WHERE " MAY_SEE,
	    KB_FLAG(v->admin), KB_TEXT(v->user_id));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(tenant,
	    "SELECT " COLUMNS " FROM _kombi_wallet WHERE " MAY_SEE
	    " ORDER BY id LIMIT $3 OFFSET $4",
	    KB_FLAG(v->admin), KB_TEXT(v->user_id), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(
	    &rows, cols, sizeof(struct wallet_item), rows_out, n);
}

enum kb_err
wallet_update(struct kb_cx *tenant, const struct wallet_item *i)
{
	return kb_exec(tenant,
	    "UPDATE _kombi_wallet SET label = $2, kind = $3, ciphertext = $4,"
	    " metadata = $5, updated = $6 WHERE id = $1",
	    KB_TEXT(i->id), KB_TEXT(i->label), KB_TEXT(i->kind),
	    KB_TEXT(i->ciphertext), KB_TEXT(i->metadata), KB_TEXT(i->updated));
}

enum kb_err
wallet_delete(struct kb_cx *tenant, const struct viewer *v, const char *id)
{
	int64_t changed;
	enum kb_err err = kb_exec_n(tenant, &changed,
	    "DELETE FROM _kombi_wallet WHERE " MAY_SEE " AND id = $3",
	    KB_FLAG(v->admin), KB_TEXT(v->user_id), KB_TEXT(id));

	return !err && changed == 0 ? KB_NOT_FOUND : err;
}
