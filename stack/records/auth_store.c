/* Rows of auth collections, with the columns that no client sees. */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>
#include <kombi/time.h>

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

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

enum kb_err
auth_members(struct kb_cx *cx, int64_t *n)
{
	struct count row = { 0 };
	struct kb_rows rows = kb_query(
	    cx, "SELECT count(*) FROM users WHERE role <> ''", KB_SQL_END_);
	enum kb_err err = kb_rows_one(&rows, count_cols, &row);

	*n = row.n;
	return err;
}

enum kb_err
auth_count(struct kb_cx *cx, const struct collection *c, int64_t *n)
{
	struct count row = { 0 };
	struct kb_rows rows = kb_query(cx,
	    kb_sprintf(cx->arena, "SELECT count(*) FROM %s",
		sql_name(cx->arena, c->table)),
	    KB_SQL_END_);
	enum kb_err err = kb_rows_one(&rows, count_cols, &row);

	*n = row.n;
	return err;
}

struct record *
auth_ref_new(const struct api *api, struct kb_cx *cx, const char *of,
    const struct record *r)
{
	const struct collection *c = schema_find(api->schema, of);
	struct record *ref = kb_new(cx->arena, struct record);
	union cell now = { .text = record_now(cx->arena) };

	ref->c = c;
	ref->cells = kb_new_array(cx->arena, c->n_fields, union cell);
	for (size_t i = 0; i < c->n_fields; i++)
		ref->cells[i] = value_zero(&c->fields[i]);
	(void)auth_set(
	    ref, "id", (union cell) { .text = record_new_id(cx->arena) });
	(void)auth_set(ref, "collectionRef", (union cell) { .text = r->c->id });
	(void)auth_set(
	    ref, "recordRef", (union cell) { .text = record_id_of(r) });
	(void)auth_set(ref, "created", now);
	(void)auth_set(ref, "updated", now);
	return ref;
}

static enum kb_err
refs_where(struct kb_cx *cx, const struct collection *of, const char *where,
    const struct kb_val *values, struct record ***rows_out, size_t *n)
{
	size_t size = of->n_fields * sizeof(union cell);
	struct kb_rows rows = kb_query_v(cx,
	    kb_sprintf(cx->arena, "SELECT %s FROM %s t WHERE %s", of->columns,
		sql_name(cx->arena, of->table), where),
	    values);
	char *all;
	enum kb_err err = kb_rows_all(&rows, of->cols, size, &all, n);

	*rows_out = kb_new_array(cx->arena, *n + 1, struct record *);
	for (size_t i = 0; !err && i < *n; i++) {
		struct record *r = kb_new(cx->arena, struct record);

		r->c = of;
		r->cells = (union cell *)(void *)(all + i * size);
		(*rows_out)[i] = r;
	}
	return err;
}

static enum kb_err
first_of(enum kb_err err, struct record **rows, size_t n, struct record **out)
{
	if (!err && n == 0)
		err = KB_NOT_FOUND;
	if (!err)
		*out = rows[0];
	return err;
}

enum kb_err
auth_ref_get(const struct api *api, struct kb_cx *cx, const char *of,
    const char *id, struct record **out)
{
	const struct collection *c = schema_find(api->schema, of);
	struct record **rows;
	size_t n;
	enum kb_err err = refs_where(cx, c, "t.\"id\" = $1",
	    (const struct kb_val[]) { KB_TEXT(id), KB_SQL_END_ }, &rows, &n);

	return first_of(err, rows, n, out);
}

enum kb_err
auth_refs(struct kb_cx *cx, const struct collection *of, const struct record *r,
    struct record ***rows, size_t *n)
{
	return refs_where(cx, of,
	    "t.\"collectionRef\" = $1 AND t.\"recordRef\" = $2"
	    " ORDER BY t.\"created\" DESC, t.rowid DESC LIMIT 100",
	    (const struct kb_val[]) {
		KB_TEXT(r->c->id), KB_TEXT(record_id_of(r)), KB_SQL_END_ },
	    rows, n);
}

enum kb_err
auth_link_find(struct kb_cx *cx, const struct collection *links,
    const struct record *link, struct record **out)
{
	struct record **rows;
	size_t n;
	enum kb_err err = refs_where(cx, links,
	    "t.\"collectionRef\" = $1 AND t.\"provider\" = $2"
	    " AND t.\"providerId\" = $3",
	    (const struct kb_val[]) { KB_TEXT(auth_text(link, "collectionRef")),
		KB_TEXT(auth_text(link, "provider")),
		KB_TEXT(auth_text(link, "providerId")), KB_SQL_END_ },
	    &rows, &n);

	return first_of(err, rows, n, out);
}

enum kb_err
auth_ref_delete(struct kb_cx *cx, const struct record *ref)
{
	int64_t gone = 0;
	enum kb_err err = kb_exec_n(cx, &gone,
	    kb_sprintf(cx->arena, "DELETE FROM %s WHERE \"id\" = $1",
		sql_name(cx->arena, ref->c->table)),
	    KB_TEXT(record_id_of(ref)));

	return !err && gone == 0 ? KB_NOT_FOUND : err;
}

enum kb_err
auth_refs_prune(struct kb_cx *cx, const struct record *like, int64_t life_s)
{
	char before[KB_RFC3339_SIZE];

	kb_rfc3339(kb_wall_ms() - life_s * 1000, before);
	before[10] = ' ';
	return kb_exec(cx,
	    kb_sprintf(cx->arena,
		"DELETE FROM %s WHERE \"collectionRef\" = $1"
		" AND \"created\" < $2",
		sql_name(cx->arena, like->c->table)),
	    KB_TEXT(auth_text(like, "collectionRef")), KB_TEXT(before));
}

/* ---- new secrets
 * ---------------------------------------------------------------------- */

enum kb_err
auth_rotate_secrets(struct kb_cx *cx)
{
	return kb_exec(cx,
	    "UPDATE _collections SET options = json_set(options,"
	    " '$.authToken.secret', lower(hex(randomblob(25))),"
	    " '$.passwordResetToken.secret', lower(hex(randomblob(25))),"
	    " '$.emailChangeToken.secret', lower(hex(randomblob(25))),"
	    " '$.verificationToken.secret', lower(hex(randomblob(25))),"
	    " '$.fileToken.secret', lower(hex(randomblob(25))))"
	    " WHERE type = $1",
	    KB_TEXT("auth"));
}

enum kb_err
auth_rotate_keys(struct kb_cx *cx, const struct collection *c)
{
	return kb_exec(cx,
	    kb_sprintf(cx->arena,
		"UPDATE %s SET \"tokenKey\" = lower(hex(randomblob(25)))",
		sql_name(cx->arena, c->table)),
	    KB_SQL_END_);
}

enum kb_err
auth_empty(struct kb_cx *cx, const struct collection *c)
{
	return kb_exec(cx,
	    kb_sprintf(
		cx->arena, "DELETE FROM %s", sql_name(cx->arena, c->table)),
	    KB_SQL_END_);
}
