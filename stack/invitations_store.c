/* Invitations in platform.db: their receivers are of no tenant yet. */
#include <kombi/time.h>

#include "platform.h"

#define COLUMNS                                                                \
	"id, tenant_id, email, role, token_hash, invited_by, created,"         \
	" expires, accepted_by, accepted"

static const struct kb_col cols[] = {
	KB_COL_STR(struct invitation, id),
	KB_COL_STR(struct invitation, tenant_id),
	KB_COL_STR(struct invitation, email),
	KB_COL_STR(struct invitation, role),
	KB_COL_STR(struct invitation, token_hash),
	KB_COL_STR(struct invitation, invited_by),
	KB_COL_STR(struct invitation, created),
	KB_COL_STR(struct invitation, expires),
	KB_COL_STR(struct invitation, accepted_by),
	KB_COL_STR(struct invitation, accepted),
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
invitation_insert(struct kb_cx *platform, const struct invitation *i)
{
	int64_t changed;
	enum kb_err err = kb_exec_n(platform, &changed,
	    "INSERT INTO _invitations (" COLUMNS ")"
	    " SELECT $1, $2, $3, $4, $5, $6, $7, $8, '', ''"
	    " WHERE NOT EXISTS (SELECT 1 FROM _invitations"
	    " WHERE tenant_id = $2 AND email = $3 AND accepted = ''"
	    " AND expires > $7)",
	    KB_TEXT(i->id), KB_TEXT(i->tenant_id), KB_TEXT(i->email),
	    KB_TEXT(i->role), KB_TEXT(i->token_hash), KB_TEXT(i->invited_by),
	    KB_TEXT(i->created), KB_TEXT(i->expires));

	return !err && changed == 0 ? KB_CONFLICT : err;
}

enum kb_err
invitations_open(struct kb_cx *platform, const char *tenant_id,
    struct kb_page *page, struct invitation **rows_out, size_t *n)
{
	const char *now = kb_now_text(platform->arena);
	struct kb_rows rows = kb_query(platform,
	    "SELECT count(*) FROM _invitations"
	    " WHERE tenant_id = $1 AND accepted = '' AND expires > $2",
	    KB_TEXT(tenant_id), KB_TEXT(now));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(platform,
	    "SELECT " COLUMNS " FROM _invitations"
	    " WHERE tenant_id = $1 AND accepted = '' AND expires > $2"
	    " ORDER BY id LIMIT $3 OFFSET $4",
	    KB_TEXT(tenant_id), KB_TEXT(now), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct invitation), rows_out, n);
}

enum kb_err
invitation_delete(struct kb_cx *platform, const char *tenant_id, const char *id)
{
	int64_t changed;
	enum kb_err err = kb_exec_n(platform, &changed,
	    "DELETE FROM _invitations"
	    " WHERE id = $1 AND tenant_id = $2 AND accepted = ''",
	    KB_TEXT(id), KB_TEXT(tenant_id));

	return !err && changed == 0 ? KB_NOT_FOUND : err;
}

enum kb_err
invitation_by_hash(
    struct kb_cx *platform, const char *hash, struct invitation *i)
{
	struct kb_rows rows = kb_query(platform,
	    "SELECT " COLUMNS " FROM _invitations WHERE token_hash = $1"
	    " AND accepted = '' AND expires > $2",
	    KB_TEXT(hash), KB_TEXT(kb_now_text(platform->arena)));

	return kb_rows_one(&rows, cols, i);
}

enum kb_err
invitation_claim(struct kb_cx *platform, const char *id, const char *sub)
{
	int64_t changed;
	enum kb_err err = kb_exec_n(platform, &changed,
	    "UPDATE _invitations SET accepted_by = $2 WHERE id = $1"
	    " AND accepted = '' AND (accepted_by = '' OR accepted_by = $2)",
	    KB_TEXT(id), KB_TEXT(sub));

	return !err && changed == 0 ? KB_NOT_FOUND : err;
}

enum kb_err
invitation_close(struct kb_cx *platform, const char *id)
{
	return kb_exec(platform,
	    "UPDATE _invitations SET accepted = $2 WHERE id = $1", KB_TEXT(id),
	    KB_TEXT(kb_now_text(platform->arena)));
}
