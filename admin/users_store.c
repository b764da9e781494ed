/* Users of the platform, by the sub of their identity provider. */
#include <kombi/id.h>
#include <kombi/str.h>

#include "admin.h"

#define COLUMNS                                                                \
	"id, sub, email, name, avatar_url, tenant_id, homelab_role, status,"   \
	" is_homelab_admin::int, " TIME_TEXT("created_at") ", " TIME_TEXT(     \
	    "updated_at")

static const struct kb_col cols[] = {
	KB_COL_STR(struct user, id),
	KB_COL_STR(struct user, sub),
	KB_COL_STR(struct user, email),
	KB_COL_STR(struct user, name),
	KB_COL_STR(struct user, avatar_url),
	KB_COL_STR(struct user, tenant_id),
	KB_COL_STR(struct user, role),
	KB_COL_STR(struct user, status),
	KB_COL_BOOL(struct user, homelab_admin),
	KB_COL_STR(struct user, created),
	KB_COL_STR(struct user, updated),
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
user_by_sub(struct kb_cx *cx, const char *sub, struct user *u)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT " COLUMNS " FROM users WHERE sub = $1", KB_TEXT(sub));

	return kb_rows_one(&rows, cols, u);
}

struct upsert {
	struct user *u;
	bool created;
};

static enum kb_err
upsert_tx(struct kb_cx *cx, void *arg)
{
	struct upsert *up = arg;
	struct user *u = up->u;
	struct kb_rows rows = kb_query(cx,
	    "INSERT INTO users AS u (id, sub, email, name, avatar_url)"
	    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (sub) DO UPDATE SET"
	    /* Who was deleted gets nothing back. */
	    " email = CASE WHEN u.status <> 'deleted'"
	    " THEN coalesce(excluded.email, u.email) END,"
	    " name = CASE WHEN u.status <> 'deleted'"
	    " THEN coalesce(excluded.name, u.name) END,"
	    " avatar_url = CASE WHEN u.status <> 'deleted'"
	    " THEN coalesce(excluded.avatar_url, u.avatar_url) END,"
	    " updated_at = now() RETURNING " COLUMNS,
	    KB_TEXT(u->id), KB_TEXT(u->sub), KB_TEXT(u->email),
	    KB_TEXT(u->name), KB_TEXT(u->avatar_url));
	const char *id = u->id;
	enum kb_err err = kb_rows_one(&rows, cols, u);

	/* An existing row keeps its own id. */
	up->created = !err && kb_str_eq(id, u->id);
	return err;
}

enum kb_err
user_upsert(struct kb_cx *cx, struct user *u, bool *created)
{
	struct upsert up = { .u = u };
	enum kb_err err;

	u->id = kb_id_new(cx->arena, "usr");
	err = kb_transaction(cx, upsert_tx, &up);
	*created = up.created;
	return err;
}

enum kb_err
users_page(struct kb_cx *cx, struct kb_page *page, struct user **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx, "SELECT count(*) FROM users");
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM users ORDER BY id DESC"
	    " LIMIT $1 OFFSET $2",
	    KB_INT(page->limit), KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct user), out, n);
}
