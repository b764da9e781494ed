/* Rows of collections: texts made from the schema, values always bound. */
#include <string.h>

#include <kombi/str.h>

#include "changes.h"
#include "files.h"

void
collection_prepare(struct kb_arena *a, struct collection *c)
{
	static const enum kb_col_type types[FT_COUNT] = {
		[FT_NUMBER] = KB_COL_T_NUM,
		[FT_BOOL] = KB_COL_T_BOOL,
	};
	struct kb_buf b;

	kb_buf_init(&b, 1u << 20);
	c->cols = kb_new_array(a, c->n_fields + 1, struct kb_col);
	for (size_t i = 0; i < c->n_fields; i++) {
		const struct field *f = &c->fields[i];
		enum kb_col_type type = types[f->type];

		kb_buf_addf(&b, "%st.%s", i ? ", " : "", sql_name(a, f->name));
		c->cols[i] = (struct kb_col) {
			.type = type == KB_COL_T_END ? KB_COL_T_STR : type,
			.offset = i * sizeof(union cell),
			.name = f->name,
		};
	}
	c->columns = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
}

static struct record *
record_new(struct kb_arena *a, const struct collection *c)
{
	struct record *r = kb_new(a, struct record);

	r->c = c;
	r->cells = kb_new_array(a, c->n_fields, union cell);
	return r;
}

static const char *
table_of(struct kb_cx *cx, const struct collection *c)
{
	return sql_name(cx->arena, c->table);
}

#define REFERRING_MAX 1000

/* ---- reading
 * ---------------------------------------------------------------------- */

static enum kb_err
fetch(struct kb_cx *cx, struct query *q, const char *sql, struct record ***out,
    size_t *n)
{
	struct kb_rows rows = kb_query_v(cx, sql, query_values(q));
	size_t room = 32;
	struct record **all = kb_new_array(cx->arena, room, struct record *);
	struct record *r = record_new(cx->arena, q->c);

	*n = 0;
	while (kb_rows_next(&rows, q->c->cols, r->cells)) {
		if (*n == room) {
			struct record **grown = kb_new_array(
			    cx->arena, 2 * room, struct record *);

			memcpy(grown, all, room * sizeof(struct record *));
			all = grown;
			room *= 2;
		}
		all[(*n)++] = r;
		r = record_new(cx->arena, q->c);
	}
	*out = all;
	return kb_rows_end(&rows);
}

struct count {
	int64_t n;
};
static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

static enum kb_err
count(
    struct kb_cx *cx, const char *sql, const struct kb_val *values, int64_t *n)
{
	struct kb_rows rows = kb_query_v(cx, sql, values);
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

enum kb_err
records_page(struct kb_cx *cx, struct query *q, struct record_page *page,
    struct record ***rows, size_t *n)
{
	const char *where = query_condition(q);
	const char *table = table_of(cx, q->c), *sql;
	enum kb_err err = KB_OK;

	/* The sort's parameters come before: both texts hold the same. */
	if (page->total >= 0) {
		struct query counted = *q;

		counted.n_params = page->n_where;
		counted.params = kb_new_array(
		    cx->arena, q->n_params + 2, struct kb_val);
		counted.room = q->n_params + 2;
		for (size_t i = 0; i < page->n_where; i++)
			counted.params[i] = q->params[i];
		err = count(cx,
		    kb_sprintf(cx->arena, "SELECT count(*) FROM %s t WHERE 1%s",
			table, where),
		    query_values(&counted), &page->total);
	}
	if (err)
		return err;
	sql = kb_sprintf(cx->arena,
	    "SELECT %s FROM %s t WHERE 1%s ORDER BY %s LIMIT ", q->c->columns,
	    table, where, page->order);
	sql = kb_sprintf(cx->arena, "%s%s OFFSET ", sql,
	    query_param(q, KB_INT(page->per_page)));
	sql = kb_sprintf(cx->arena, "%s%s", sql,
	    query_param(q, KB_INT((page->page - 1) * page->per_page)));
	return fetch(cx, q, sql, rows, n);
}

enum kb_err
record_get(
    struct kb_cx *cx, struct query *q, const char *id, struct record **out)
{
	const char *where = query_condition(q);
	struct record **rows;
	size_t n;
	enum kb_err err = fetch(cx, q,
	    kb_sprintf(cx->arena, "SELECT %s FROM %s t WHERE t.\"id\" = %s%s",
		q->c->columns, table_of(cx, q->c), query_param(q, KB_TEXT(id)),
		where),
	    &rows, &n);

	if (err)
		return err;
	if (n == 0)
		return KB_NOT_FOUND;
	*out = rows[0];
	return KB_OK;
}

enum kb_err
records_by_ids(struct kb_cx *cx, struct query *q, const char *ids,
    struct record ***rows, size_t *n)
{
	const char *where = query_condition(q);

	return fetch(cx, q,
	    kb_sprintf(cx->arena,
		"SELECT %s FROM %s t WHERE t.\"id\" IN"
		" (SELECT value FROM json_each(%s))%s",
		q->c->columns, table_of(cx, q->c), query_param(q, KB_TEXT(ids)),
		where),
	    rows, n);
}

enum kb_err
view_rows(struct kb_cx *cx, struct query *q, int64_t most,
    struct record ***rows, size_t *n)
{
	return fetch(cx, q,
	    kb_sprintf(cx->arena, "SELECT %s FROM (%s) t LIMIT %s",
		q->c->columns, q->c->view_query, query_param(q, KB_INT(most))),
	    rows, n);
}

enum kb_err
records_all(struct kb_cx *cx, struct query *q, struct record ***rows, size_t *n)
{
	return fetch(cx, q,
	    kb_sprintf(cx->arena, "SELECT %s FROM %s t", q->c->columns,
		table_of(cx, q->c)),
	    rows, n);
}

/* So many of one record are shown with it. */
static const char *
some_of_each(struct kb_cx *cx, const struct query *q, const struct field *f,
    const char *condition)
{
	struct kb_arena *a = cx->arena;

	return kb_sprintf(a,
	    "SELECT %s FROM (SELECT t.*, row_number() OVER (PARTITION BY t.%s)"
	    " AS \"#row\" FROM %s t WHERE %s) t WHERE t.\"#row\" <= %d",
	    q->c->columns, sql_name(a, f->name), table_of(cx, q->c), condition,
	    REFERRING_MAX);
}

enum kb_err
records_referring(struct kb_cx *cx, struct query *q, const struct field *f,
    const char *ids, struct record ***rows, size_t *n)
{
	struct kb_arena *a = cx->arena;
	const char *where = query_condition(q);
	const char *open = field_is_multi(f)
	    ? "EXISTS (SELECT 1 FROM json_each("
	    : "(";
	const char *in = field_is_multi(f) ? ") e WHERE e.value IN" : " IN";
	const char *condition = kb_sprintf(a,
	    "%st.%s%s (SELECT value FROM json_each(%s)))%s", open,
	    sql_name(a, f->name), in, query_param(q, KB_TEXT(ids)), where);
	size_t asked;

	if (q->api != NULL && !field_is_multi(f))
		return fetch(cx, q, some_of_each(cx, q, f, condition), rows, n);
	(void)value_list(a, ids, &asked);
	return fetch(cx, q,
	    kb_sprintf(a, "SELECT %s FROM %s t WHERE %s%s", q->c->columns,
		table_of(cx, q->c), condition,
		q->api ? kb_sprintf(a, " LIMIT %zu", asked * REFERRING_MAX)
		       : ""),
	    rows, n);
}

enum kb_err
records_count_ids(
    struct kb_cx *cx, const struct collection *c, const char *ids, int64_t *n)
{
	return count(cx,
	    kb_sprintf(cx->arena,
		"SELECT count(*) FROM %s WHERE \"id\" IN"
		" (SELECT value FROM json_each($1))",
		table_of(cx, c)),
	    (const struct kb_val[]) { KB_TEXT(ids), KB_SQL_END_ }, n);
}

/* ---- writing
 * ---------------------------------------------------------------------- */

/* The form that a column gives its values: comparisons depend on it. */
static const char *
cast_of(const struct field *f)
{
	return f->type == FT_NUMBER ? "NUMERIC"
	    : f->type == FT_BOOL    ? "INTEGER"
				    : "TEXT";
}

enum kb_err
record_would(
    struct kb_cx *cx, struct query *q, const struct record *r, bool *holds)
{
	const char *where = query_condition(q), *sql = "";
	int64_t n = 0;
	enum kb_err err;

	*holds = true;
	if (where[0] == '\0')
		return KB_OK;
	for (size_t i = 0; i < r->c->n_fields; i++)
		sql = kb_sprintf(cx->arena, "%s%sCAST(%s AS %s) AS %s", sql,
		    i ? ", " : "",
		    query_param(q, value_bind(&r->c->fields[i], r->cells[i])),
		    cast_of(&r->c->fields[i]),
		    sql_name(cx->arena, r->c->fields[i].name));
	err = count(cx,
	    kb_sprintf(cx->arena,
		"SELECT count(*) FROM (SELECT %s) t WHERE 1%s", sql, where),
	    query_values(q), &n);
	*holds = n > 0;
	return err;
}

static struct kb_val *
values_of(struct kb_arena *a, const struct record *r)
{
	struct kb_val *v = kb_new_array(a, r->c->n_fields + 2, struct kb_val);
	size_t i;

	for (i = 0; i < r->c->n_fields; i++)
		v[i] = value_bind(&r->c->fields[i], r->cells[i]);
	v[i] = KB_SQL_END_;
	return v;
}

enum kb_err
record_insert(struct kb_cx *cx, const struct record *r)
{
	struct kb_buf names, marks;
	const char *sql;

	kb_buf_init(&names, 1u << 20);
	kb_buf_init(&marks, 1u << 20);
	for (size_t i = 0; i < r->c->n_fields; i++) {
		kb_buf_addf(&names, "%s%s", i ? ", " : "",
		    sql_name(cx->arena, r->c->fields[i].name));
		kb_buf_addf(&marks, "%s$%zu", i ? ", " : "", i + 1);
	}
	sql = kb_sprintf(cx->arena, "INSERT INTO %s (%s) VALUES (%s)",
	    table_of(cx, r->c), kb_buf_str(&names), kb_buf_str(&marks));
	kb_buf_free(&names);
	kb_buf_free(&marks);
	return kb_exec_v(cx, sql, values_of(cx->arena, r), NULL);
}

enum kb_err
record_update(struct kb_cx *cx, const struct record *r)
{
	struct kb_arena *a = cx->arena;
	const char *sql = kb_sprintf(a, "UPDATE %s SET ", table_of(cx, r->c));
	size_t n = r->c->n_fields;
	struct kb_val *v = values_of(a, r);

	for (size_t i = 0; i < n; i++)
		sql = kb_sprintf(a, "%s%s%s = $%zu", sql, i ? ", " : "",
		    sql_name(a, r->c->fields[i].name), i + 1);
	v[n] = KB_TEXT(record_id_of(r));
	v[n + 1] = KB_SQL_END_;
	return kb_exec_v(
	    cx, kb_sprintf(a, "%s WHERE \"id\" = $%zu", sql, n + 1), v, NULL);
}

/* ---- deleting
 * ----------------------------------------------------------------------- */

struct refers {
	struct api *api;
	const struct schema *schema;
	const struct collection *c; /* whose record goes */
	const struct record *record;
	const char *id;
	unsigned depth;
};

#define CASCADE_DEPTH 1000 /* chains; a circle ends by itself */

static enum kb_err delete_with(struct kb_cx *cx, const struct refers *r);

static enum kb_err
referring_ids(struct kb_cx *cx, const struct refers *r,
    const struct collection *from, const struct field *f, struct record ***rows,
    size_t *n)
{
	struct query q = { .arena = cx->arena, .c = from, .where = "" };
	const char *ids = value_list_text(cx->arena, &r->id, 1);

	return records_referring(cx, &q, f, ids, rows, n);
}

/* Takes the id out of the field; false when the field may not be empty. */
static bool
take_out(
    struct kb_arena *a, const struct field *f, const char *id, union cell *v)
{
	const char *const *old;
	const char **rest;
	size_t n, left = 0;

	if (!field_is_multi(f)) {
		v->text = "";
		return !f->required;
	}
	old = value_list(a, v->text, &n);
	rest = kb_new_array(a, n + 1, const char *);
	for (size_t i = 0; i < n; i++)
		if (strcmp(old[i], id) != 0)
			rest[left++] = old[i];
	v->text = value_list_text(a, rest, left);
	return left > 0 || !f->required;
}

static enum kb_err
record_changed(struct kb_cx *cx, struct api *api, const struct record *r)
{
	enum kb_err err = record_update(cx, r);

	return err ? err : change_note(api, cx, CHANGE_UPDATE, r);
}

/* One row that referred: read anew, since what went before may have changed
 * it or taken it along. */
static enum kb_err
release_row(struct kb_cx *cx, const struct refers *r,
    const struct collection *from, size_t i, const char *id)
{
	const struct field *f = &from->fields[i];
	struct query q = { .arena = cx->arena, .c = from, .where = "" };
	struct record *row;
	struct refers next;
	bool may;
	enum kb_err err = record_get(cx, &q, id, &row);

	if (err)
		return err == KB_NOT_FOUND ? KB_OK : err;
	may = take_out(cx->arena, f, r->id, &row->cells[i]);
	if (f->cascade &&
	    (!may || !field_is_multi(f) ||
		strcmp(row->cells[i].text, "[]") == 0)) {
		next = (struct refers) { r->api, r->schema, from, row, id,
			r->depth + 1 };
		return delete_with(cx, &next);
	}
	return may ? record_changed(cx, r->api, row) : KB_CONFLICT;
}

static enum kb_err
release_field(struct kb_cx *cx, const struct refers *r,
    const struct collection *from, size_t i)
{
	struct record **rows;
	size_t n;
	enum kb_err err = referring_ids(
	    cx, r, from, &from->fields[i], &rows, &n);

	for (size_t k = 0; !err && k < n; k++)
		err = release_row(cx, r, from, i, record_id_of(rows[k]));
	return err;
}

static enum kb_err
delete_row(struct kb_cx *cx, const struct refers *r)
{
	enum kb_err err = change_note(r->api, cx, CHANGE_DELETE, r->record);

	if (!err)
		err = files_drop(r->api, cx, r->record);
	if (err)
		return err;
	return kb_exec(cx,
	    kb_sprintf(cx->arena, "DELETE FROM %s WHERE \"id\" = $1",
		table_of(cx, r->c)),
	    KB_TEXT(r->id));
}

/* The row first, so that records that refer to each other come to an end. */
static enum kb_err
delete_with(struct kb_cx *cx, const struct refers *r)
{
	enum kb_err err = r->depth < CASCADE_DEPTH ? delete_row(cx, r)
						   : KB_CONFLICT;

	for (size_t i = 0; !err && i < r->schema->n; i++) {
		const struct collection *from = &r->schema->collections[i];

		for (size_t k = 0;
		     !err && from->type != CT_VIEW && k < from->n_fields; k++)
			if (from->fields[k].type == FT_RELATION &&
			    strcmp(from->fields[k].collection_id, r->c->id) ==
				0)
				err = release_field(cx, r, from, k);
	}
	return err;
}

enum kb_err
record_delete(struct api *api, struct kb_cx *cx, const struct record *record)
{
	struct refers r = { .api = api,
		.schema = api->schema,
		.c = record->c,
		.record = record,
		.id = record_id_of(record) };

	return delete_with(cx, &r);
}

/* ---- what a refused row shares with others
 * -------------------------------------------- */

static size_t
field_at(const struct collection *c, const char *name)
{
	size_t i = 0;

	while (i < c->n_fields && strcmp(c->fields[i].name, name) != 0)
		i++;
	return i;
}

static enum kb_err
shares_index(struct kb_cx *cx, const struct record *r, const struct index *x,
    bool *shares)
{
	struct kb_val v[KB_COUNT(x->columns) + 2];
	const char *sql = kb_sprintf(cx->arena,
	    "SELECT count(*) FROM %s WHERE \"id\" <> $1", table_of(cx, r->c));
	int64_t n = 0;
	enum kb_err err;

	v[0] = KB_TEXT(record_id_of(r));
	for (size_t i = 0; i < x->n; i++) {
		size_t k = field_at(r->c, x->columns[i]);

		v[i + 1] = value_bind(&r->c->fields[k], r->cells[k]);
		sql = kb_sprintf(cx->arena, "%s AND %s = $%zu%s", sql,
		    sql_name(cx->arena, x->columns[i]), i + 2,
		    x->nocase[i] ? " COLLATE NOCASE" : "");
	}
	v[x->n + 1] = KB_SQL_END_;
	err = count(cx, sql, v, &n);
	*shares = n > 0;
	return err;
}

enum kb_err
record_duplicates(
    struct kb_cx *cx, const struct record *r, struct api_errors *errors)
{
	const char *ids = value_list_text(
	    cx->arena, (const char *const[]) { record_id_of(r) }, 1);
	int64_t n = 0;
	enum kb_err err = records_count_ids(cx, r->c, ids, &n);
	struct index x;
	bool shares;

	if (n > 0)
		api_error_add(cx->arena, errors, "id", "validation_not_unique",
		    "Value must be unique.");
	for (size_t i = 0; !err && r->c->indexes[i] != NULL; i++) {
		if (!index_parse(cx->arena, r->c->indexes[i], &x) || !x.unique)
			continue;
		err = shares_index(cx, r, &x, &shares);
		for (size_t k = 0; !err && shares && k < x.n; k++)
			api_error_add(cx->arena, errors, x.columns[k],
			    "validation_not_unique", "Value must be unique.");
	}
	return err;
}

enum kb_err
users_admins_but(struct kb_cx *cx, const char *id, int64_t *n)
{
	return count(cx,
	    "SELECT count(*) FROM users WHERE role = 'admin'"
	    " AND disabled = 0 AND id <> $1",
	    (const struct kb_val[]) { KB_TEXT(id), KB_SQL_END_ }, n);
}
