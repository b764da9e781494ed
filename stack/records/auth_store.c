/* Rows of auth collections, with the columns that no client sees. */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "auth.h"

/* Columns that an older definition keeps beside its fields. */
static const struct {
	const char *name;
	bool flag;
	bool users; /* of the members alone */
} beside[] = {
	{ "tokenKey", false, false },
	{ "disabled", true, true },
};

struct shape {
	const char *columns;
	struct kb_col *cols;
	int at[KB_COUNT(beside)]; /* in the cells; -1: a field or none */
	size_t n;
};

static struct shape
shape_of(struct kb_arena *a, const struct collection *c)
{
	struct shape s = { .columns = c->columns, .n = c->n_fields };

	s.cols = kb_new_array(a, s.n + KB_COUNT(beside) + 1, struct kb_col);
	memcpy(s.cols, c->cols, s.n * sizeof(*s.cols));
	for (size_t i = 0; i < KB_COUNT(beside); i++) {
		s.at[i] = -1;
		if (collection_field(c, beside[i].name) != NULL ||
		    (beside[i].users && strcmp(c->id, USERS_ID) != 0))
			continue;
		s.at[i] = (int)s.n;
		s.cols[s.n] = (struct kb_col) {
			.type = beside[i].flag ? KB_COL_T_BOOL : KB_COL_T_STR,
			.offset = s.n * sizeof(union cell),
			.name = beside[i].name,
		};
		s.columns = kb_sprintf(
		    a, "%s, t.%s", s.columns, sql_name(a, beside[i].name));
		s.n++;
	}
	return s;
}

static void
read_row(const struct shape *s, struct record *r, struct auth_row *row)
{
	*row = (struct auth_row) {
		.record = r,
		.token_key = auth_text(r, "tokenKey"),
		.password = auth_text(r, "password"),
		.disabled = auth_flag(r, "disabled"),
	};
	if (s->at[0] >= 0)
		row->token_key = r->cells[s->at[0]].text;
	if (s->at[1] >= 0)
		row->disabled = r->cells[s->at[1]].flag;
	if (row->token_key == NULL)
		row->token_key = "";
}

static enum kb_err
one(struct kb_cx *cx, const struct collection *c, const char *where,
    const char *value, struct auth_row *row)
{
	struct shape s = shape_of(cx->arena, c);
	struct record *r = kb_new(cx->arena, struct record);
	struct kb_rows rows;
	enum kb_err err;

	r->c = c;
	r->cells = kb_new_array(cx->arena, s.n, union cell);
	rows = kb_query(cx,
	    kb_sprintf(cx->arena, "SELECT %s FROM %s t WHERE %s LIMIT 1",
		s.columns, sql_name(cx->arena, c->table), where),
	    KB_TEXT(value));
	err = kb_rows_one(&rows, s.cols, r->cells);
	if (!err)
		read_row(&s, r, row);
	return err;
}

enum kb_err
auth_row_get(struct kb_cx *cx, const struct collection *c, const char *id,
    struct auth_row *row)
{
	return one(cx, c, "t.\"id\" = $1", id, row);
}

enum kb_err
auth_row_by(struct kb_cx *cx, const struct collection *c, const char *field,
    const char *value, struct auth_row *row)
{
	struct index x;

	for (size_t i = 0; c->indexes[i] != NULL; i++)
		if (index_parse(cx->arena, c->indexes[i], &x) && x.unique &&
		    x.n == 1 && strcasecmp(x.columns[0], field) == 0)
			return one(cx, c,
			    kb_sprintf(cx->arena, "t.%s = $1%s",
				sql_name(cx->arena, field),
				x.nocase[0] ? " COLLATE NOCASE" : ""),
			    value, row);
	return KB_NOT_FOUND;
}

/* ---- what belongs to a record
 * -------------------------------------------------------- */

enum kb_err
auth_refs_delete(
    struct kb_cx *cx, const struct collection *of, const struct record *r)
{
	return kb_exec(cx,
	    kb_sprintf(cx->arena,
		"DELETE FROM %s WHERE \"collectionRef\" = $1"
		" AND \"recordRef\" = $2",
		sql_name(cx->arena, of->table)),
	    KB_TEXT(r->c->id), KB_TEXT(record_id_of(r)));
}

struct count {
	int64_t n;
};

enum kb_err
auth_count(struct kb_cx *cx, const struct collection *c, int64_t *n)
{
	static const struct kb_col cols[] = {
		KB_COL_INT(struct count, n),
		KB_COLS_END,
	};
	struct count row = { 0 };
	struct kb_rows rows = kb_query(cx,
	    kb_sprintf(cx->arena, "SELECT count(*) FROM %s",
		sql_name(cx->arena, c->table)),
	    KB_SQL_END_);
	enum kb_err err = kb_rows_one(&rows, cols, &row);

	*n = row.n;
	return err;
}
