/* The numbered changes of a tenant. */
#include <kombi/time.h>

#include "changes.h"

#define TRIM_EVERY 250 /* so many are too much at most */

struct number {
	int64_t n;
};

static const struct kb_col number_cols[] = {
	KB_COL_INT(struct number, n),
	KB_COLS_END,
};

static const struct kb_col cols[] = {
	KB_COL_INT(struct change_row, seq),
	KB_COL_INT(struct change_row, action),
	KB_COL_STR(struct change_row, collection_id),
	KB_COL_STR(struct change_row, record_id),
	KB_COLS_END,
};

static enum kb_err
number(struct kb_rows rows, int64_t *out)
{
	struct number n = { 0 };
	enum kb_err err = kb_rows_one(&rows, number_cols, &n);

	*out = n.n;
	return err;
}

enum kb_err
changes_newest(struct kb_cx *cx, int64_t *seq)
{
	return number(kb_query(cx,
			  "SELECT coalesce((SELECT seq FROM sqlite_sequence"
			  " WHERE name = '_kombi_changes'), 0)"),
	    seq);
}

enum kb_err
changes_oldest(struct kb_cx *cx, int64_t *seq)
{
	return number(
	    kb_query(cx, "SELECT coalesce(min(seq), 0) FROM _kombi_changes"),
	    seq);
}

enum kb_err
change_insert(
    struct kb_cx *cx, const struct change *c, const struct retention *keep)
{
	int64_t now = kb_wall_s(), seq;
	struct kb_rows rows = kb_query(cx,
	    "INSERT INTO _kombi_changes"
	    " (collection_id, record_id, action, created)"
	    " VALUES ($1, $2, $3, $4) RETURNING seq",
	    KB_TEXT(c->r->c->id), KB_TEXT(record_id_of(c->r)),
	    KB_INT(c->action), KB_INT(now));
	enum kb_err err = number(rows, &seq);

	if (err || seq % TRIM_EVERY != 0)
		return err;
	return kb_exec(cx,
	    "DELETE FROM _kombi_changes WHERE seq <= $1 OR created < $2",
	    KB_INT(seq - keep->rows), KB_INT(now - keep->days * 86400));
}

enum kb_err
changes_after(struct kb_cx *cx, int64_t seq, int64_t limit,
    struct change_row **rows_out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT seq, action, collection_id, record_id FROM _kombi_changes"
	    " WHERE seq > $1 ORDER BY seq LIMIT $2",
	    KB_INT(seq), KB_INT(limit));

	return kb_rows_all(&rows, cols, sizeof(struct change_row), rows_out, n);
}
