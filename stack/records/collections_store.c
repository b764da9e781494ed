/*
 * Definitions of collections in the tenant's database, and the tables that
 * go with them: made and altered in one transaction.
 */
#include <string.h>

#include <kombi/str.h>

#include "collections.h"
#include "files.h"
#include "settings.h"

struct row {
	const char *id, *name, *type, *table, *fields, *indexes, *options;
	const char *rules[RULE_COUNT];
	const char *created, *updated;
	bool system;
};

#define COLUMNS                                                                \
	"id, name, type, system, table_name, fields, indexes, list_rule,"      \
	" view_rule, create_rule, update_rule, delete_rule, created, updated," \
	" options"

#define COL_RULE(i)                                                            \
	{                                                                      \
		KB_COL_T_STR,                                                  \
		    offsetof(struct row, rules) + (i) * sizeof(char *), ""     \
	}

static const struct kb_col cols[] = {
	KB_COL_STR(struct row, id),
	KB_COL_STR(struct row, name),
	KB_COL_STR(struct row, type),
	KB_COL_BOOL(struct row, system),
	KB_COL_STR(struct row, table),
	KB_COL_STR(struct row, fields),
	KB_COL_STR(struct row, indexes),
	COL_RULE(RULE_LIST),
	COL_RULE(RULE_VIEW),
	COL_RULE(RULE_CREATE),
	COL_RULE(RULE_UPDATE),
	COL_RULE(RULE_DELETE),
	KB_COL_STR(struct row, created),
	KB_COL_STR(struct row, updated),
	KB_COL_STR(struct row, options),
	KB_COLS_END,
};

/* ---- reading
 * ------------------------------------------------------------------ */

static enum kb_err
read_fields(struct kb_cx *cx, struct kb_arena *a, const char *text,
    struct collection *c)
{
	const struct kb_json *list, *j;
	const char *why = NULL;

	if (kb_json_parse(a, text, strlen(text), &list, &why))
		return KB_INTERNAL;
	c->fields = kb_new_array(a, kb_json_size(list), struct field);
	for (j = kb_json_first(list); j != NULL; j = kb_json_after(j)) {
		if (!field_read(a, j, &c->fields[c->n_fields], &why)) {
			kb_error(cx->log, "a collection cannot be read",
			    KB_S("collection", c->name), KB_S("why", why));
			return KB_INTERNAL;
		}
		c->n_fields++;
	}
	collection_prepare(a, c);
	return KB_OK;
}

static enum collection_type
type_of(const char *name)
{
	return strcmp(name, "auth") == 0 ? CT_AUTH
	    : strcmp(name, "view") == 0  ? CT_VIEW
					 : CT_BASE;
}

static enum kb_err
read_options(struct kb_arena *a, const struct row *r, struct collection *c)
{
	const struct kb_json *j;
	const char *why = NULL, *query;

	if (kb_json_parse(a, r->options, strlen(r->options), &j, &why))
		return KB_INTERNAL;
	if (c->type == CT_AUTH)
		c->auth_options = auth_options_read(a, j, NULL);
	if (c->type == CT_VIEW) {
		query = kb_json_str(j, "viewQuery");
		c->view_query = kb_strdup(a, query ? query : "");
	}
	return KB_OK;
}

static enum kb_err
read_row(struct kb_cx *cx, struct kb_arena *a, const struct row *r,
    struct collection *c)
{
	size_t n;

	*c = (struct collection) {
		.id = kb_strdup(a, r->id),
		.name = kb_strdup(a, r->name),
		.table = kb_strdup(a, r->table),
		.type = type_of(r->type),
		.auth = type_of(r->type) == CT_AUTH,
		.system = r->system,
		.created = kb_strdup(a, r->created),
		.updated = kb_strdup(a, r->updated),
		.indexes = value_list(a, r->indexes, &n),
	};
	for (int i = 0; i < RULE_COUNT; i++)
		c->rules[i] = kb_strdup(a, r->rules[i]);
	if (read_options(a, r, c)) {
		kb_error(cx->log, "options of a collection cannot be read",
		    KB_S("collection", c->name));
		return KB_INTERNAL;
	}
	return read_fields(cx, a, r->fields, c);
}

enum kb_err
schema_load(struct kb_cx *cx, struct schema *s)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT " COLUMNS " FROM _collections ORDER BY rowid");
	struct row *all;
	size_t n;
	enum kb_err err = kb_rows_all(&rows, cols, sizeof(*all), &all, &n);

	if (err)
		return err;
	s->collections = kb_new_array(s->arena, n + 1, struct collection);
	for (; !err && s->n < n; s->n++)
		err = read_row(cx, s->arena, &all[s->n], &s->collections[s->n]);
	return err ? err : settings_limits(cx, s->arena, &s->limits);
}

/* ---- tables
 * --------------------------------------------------------------------- */

/* Doubles what quotes, so that a name stays one name. */
const char *
sql_name(struct kb_arena *a, const char *name)
{
	size_t len = strlen(name);
	char *out = kb_arena_alloc(a, 2 * len + 3), *p = out;

	*p++ = '"';
	for (; *name != '\0'; name++) {
		if (*name == '"')
			*p++ = '"';
		*p++ = *name;
	}
	*p++ = '"';
	*p = '\0';
	return out;
}

static const char *
column_type(const struct field *f)
{
	if (field_is_multi(f))
		return "TEXT NOT NULL DEFAULT '[]'";
	switch (f->type) {
	case FT_NUMBER: return "NUMERIC NOT NULL DEFAULT 0";
	case FT_BOOL: return "INTEGER NOT NULL DEFAULT 0";
	case FT_JSON: return "TEXT DEFAULT NULL";
	case FT_GEO_POINT:
		return "TEXT NOT NULL DEFAULT '{\"lon\":0,\"lat\":0}'";
	default:
		return f->primary_key ? "TEXT NOT NULL PRIMARY KEY"
				      : "TEXT NOT NULL DEFAULT ''";
	}
}

static enum kb_err
create_table(struct kb_cx *cx, const struct collection *c)
{
	struct kb_arena *a = cx->arena;
	const char *sql = kb_sprintf(
	    a, "CREATE TABLE %s (", sql_name(a, c->table));

	for (size_t i = 0; i < c->n_fields; i++)
		sql = kb_sprintf(a, "%s%s%s %s", sql, i ? ", " : "",
		    sql_name(a, c->fields[i].name), column_type(&c->fields[i]));
	return kb_exec(cx, kb_sprintf(a, "%s)", sql));
}

/* Its query was judged before (view.c). */
static enum kb_err
create_view(struct kb_cx *cx, const struct collection *c)
{
	return kb_exec(cx,
	    kb_sprintf(cx->arena, "CREATE VIEW %s AS SELECT * FROM (%s\n)",
		sql_name(cx->arena, c->table), c->view_query));
}

const char *
view_everything(struct kb_arena *a, const struct collection *c)
{
	return kb_sprintf(a, "SELECT * FROM %s", sql_name(a, c->table));
}

/* Names of indexes are the database's: the collection's id makes them own. */
static const char *
index_name(struct kb_arena *a, const struct collection *c, const char *name)
{
	return sql_name(a, kb_sprintf(a, "%s %s", c->table, name));
}

static enum kb_err
create_index(
    struct kb_cx *cx, const struct collection *c, const struct index *x)
{
	struct kb_arena *a = cx->arena;
	const char *sql = kb_sprintf(a, "CREATE %sINDEX %s ON %s (%s",
	    x->unique ? "UNIQUE " : "", index_name(a, c, x->name),
	    sql_name(a, c->table), x->expressions ? x->expressions : "");

	for (size_t i = 0; i < x->n; i++)
		sql = kb_sprintf(a, "%s%s%s%s%s", sql, i ? ", " : "",
		    sql_name(a, x->columns[i]),
		    x->nocase[i] ? " COLLATE NOCASE" : "",
		    x->descending[i] ? " DESC" : "");
	sql = kb_sprintf(a, "%s)", sql);
	if (x->skip_empty)
		sql = kb_sprintf(
		    a, "%s WHERE %s != ''", sql, sql_name(a, x->columns[0]));
	else if (x->where != NULL)
		sql = kb_sprintf(a, "%s WHERE %s", sql, x->where);
	return kb_exec(cx, sql);
}

static enum kb_err
create_indexes(struct kb_cx *cx, const struct collection *c)
{
	enum kb_err err = KB_OK;
	struct index x;

	for (size_t i = 0; !err && c->indexes[i] != NULL; i++)
		if (index_parse(cx->arena, c->indexes[i], &x))
			err = create_index(cx, c, &x);
	return err;
}

static enum kb_err
drop_indexes(struct kb_cx *cx, const struct collection *c)
{
	enum kb_err err = KB_OK;
	struct index x;

	for (size_t i = 0; !err && c->indexes[i] != NULL; i++)
		if (index_parse(cx->arena, c->indexes[i], &x))
			err = kb_exec(cx,
			    kb_sprintf(cx->arena, "DROP INDEX IF EXISTS %s",
				index_name(cx->arena, c, x.name)));
	return err;
}

/* ---- definitions
 * ------------------------------------------------------------------ */

static const char *
fields_text(struct kb_cx *cx, const struct collection *c)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 4u << 20);
	kb_w_init(&w, &b);
	kb_w_array(&w, NULL);
	for (size_t i = 0; i < c->n_fields; i++)
		field_write(&w, &c->fields[i]);
	kb_w_array_end(&w);
	text = kb_strdup(cx->arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

static const char *
indexes_text(struct kb_cx *cx, const struct collection *c)
{
	size_t n = 0;

	while (c->indexes[n] != NULL)
		n++;
	return value_list_text(cx->arena, c->indexes, n);
}

static const char *
options_text(struct kb_cx *cx, const struct collection *c)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 4u << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	if (c->type == CT_AUTH)
		auth_options_write(&w, c->auth_options, true);
	if (c->type == CT_VIEW)
		kb_w_str(&w, "viewQuery", c->view_query);
	kb_w_object_end(&w);
	text = kb_strdup(cx->arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

struct definition {
	const struct collection *was, *c;
};

static enum kb_err
create_tx(struct kb_cx *cx, void *arg)
{
	const struct definition *ch = arg;
	const struct collection *c = ch->c;
	enum kb_err err = c->type == CT_VIEW ? create_view(cx, c)
					     : create_table(cx, c);

	if (!err)
		err = create_indexes(cx, c);
	if (err)
		return err;
	return kb_exec(cx,
	    "INSERT INTO _collections (" COLUMNS ") VALUES"
	    " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
	    " $15)",
	    KB_TEXT(c->id), KB_TEXT(c->name),
	    KB_TEXT(collection_type_name(c->type)), KB_FLAG(c->system),
	    KB_TEXT(c->table), KB_TEXT(fields_text(cx, c)),
	    KB_TEXT(indexes_text(cx, c)), KB_TEXT(c->rules[RULE_LIST]),
	    KB_TEXT(c->rules[RULE_VIEW]), KB_TEXT(c->rules[RULE_CREATE]),
	    KB_TEXT(c->rules[RULE_UPDATE]), KB_TEXT(c->rules[RULE_DELETE]),
	    KB_TEXT(c->created), KB_TEXT(c->updated),
	    KB_TEXT(options_text(cx, c)));
}

enum kb_err
collection_create(struct kb_cx *cx, const struct collection *c)
{
	struct definition ch = { .c = c };

	return kb_transaction(cx, create_tx, &ch);
}

static const struct field *
field_by_id(const struct collection *c, const char *id)
{
	for (size_t i = 0; i < c->n_fields; i++)
		if (strcmp(c->fields[i].id, id) == 0)
			return &c->fields[i];
	return NULL;
}

static enum kb_err
alter(struct kb_cx *cx, const struct collection *c, const char *what,
    const char *name, const char *rest)
{
	struct kb_arena *a = cx->arena;

	return kb_exec(cx,
	    kb_sprintf(a, "ALTER TABLE %s %s %s%s", sql_name(a, c->table), what,
		sql_name(a, name), rest));
}

static const char *
rename_to(struct kb_arena *a, const char *name)
{
	return kb_sprintf(a, " TO %s", sql_name(a, name));
}

/* Two steps: fields may change places. '#' is in no name of a field. */
static enum kb_err
rename_fields(struct kb_cx *cx, const struct definition *ch)
{
	const struct collection *c = ch->c;
	struct kb_arena *a = cx->arena;
	enum kb_err err = KB_OK;

	for (int step = 0; step < 2; step++)
		for (size_t i = 0; !err && i < c->n_fields; i++) {
			const struct field *now = &c->fields[i];
			const struct field *was = field_by_id(ch->was, now->id);
			const char *between = kb_sprintf(a, "#%zu", i);

			if (was == NULL || strcmp(was->name, now->name) == 0)
				continue;
			err = alter(cx, c, "RENAME COLUMN",
			    step ? between : was->name,
			    rename_to(a, step ? now->name : between));
		}
	return err;
}

/* One value becomes a list of one, a list its last value. */
static enum kb_err
convert_field(struct kb_cx *cx, const struct collection *c,
    const struct field *was, const struct field *now)
{
	struct kb_arena *a = cx->arena;
	const char *name = sql_name(a, now->name);
	const char *table = sql_name(a, c->table);

	if (field_is_multi(was) == field_is_multi(now))
		return KB_OK;
	if (field_is_multi(now))
		return kb_exec(cx,
		    kb_sprintf(a,
			"UPDATE %s SET %s = CASE WHEN %s = '' THEN '[]'"
			" ELSE json_array(%s) END",
			table, name, name, name));
	return kb_exec(cx,
	    kb_sprintf(a,
		"UPDATE %s SET %s = coalesce(json_extract(%s, '$[#-1]'), '')",
		table, name, name));
}

static enum kb_err
alter_fields(struct kb_cx *cx, const struct definition *ch)
{
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < ch->was->n_fields; i++)
		if (field_by_id(ch->c, ch->was->fields[i].id) == NULL)
			err = alter(cx, ch->c, "DROP COLUMN",
			    ch->was->fields[i].name, "");
	if (!err)
		err = rename_fields(cx, ch);
	for (size_t i = 0; !err && i < ch->c->n_fields; i++) {
		const struct field *now = &ch->c->fields[i];
		const struct field *was = field_by_id(ch->was, now->id);

		if (was != NULL)
			err = convert_field(cx, ch->c, was, now);
		else
			err = alter(cx, ch->c, "ADD COLUMN", now->name,
			    kb_sprintf(cx->arena, " %s", column_type(now)));
	}
	return err;
}

static enum kb_err
drop_table(struct kb_cx *cx, const struct collection *c)
{
	return kb_exec(cx,
	    kb_sprintf(cx->arena, "DROP %s %s",
		c->type == CT_VIEW ? "VIEW" : "TABLE",
		sql_name(cx->arena, c->table)));
}

/* The table has the collection's name: it goes with it. */
static enum kb_err
alter_table(struct kb_cx *cx, const struct definition *ch)
{
	struct kb_arena *a = cx->arena;
	enum kb_err err = KB_OK;

	if (ch->c->type == CT_VIEW) {
		err = drop_table(cx, ch->was);
		return err ? err : create_view(cx, ch->c);
	}
	if (strcmp(ch->was->table, ch->c->table) != 0)
		err = kb_exec(cx,
		    kb_sprintf(a, "ALTER TABLE %s RENAME TO %s",
			sql_name(a, ch->was->table),
			sql_name(a, ch->c->table)));
	return err ? err : alter_fields(cx, ch);
}

static enum kb_err
alter_tx(struct kb_cx *cx, void *arg)
{
	const struct definition *ch = arg;
	const struct collection *c = ch->c;
	enum kb_err err = drop_indexes(cx, ch->was);

	if (!err)
		err = alter_table(cx, ch);
	if (!err)
		err = create_indexes(cx, c);
	if (err)
		return err;
	return kb_exec(cx,
	    "UPDATE _collections SET name = $2, fields = $3, indexes = $4,"
	    " list_rule = $5, view_rule = $6, create_rule = $7,"
	    " update_rule = $8, delete_rule = $9, updated = $10,"
	    " options = $11, table_name = $12 WHERE id = $1",
	    KB_TEXT(c->id), KB_TEXT(c->name), KB_TEXT(fields_text(cx, c)),
	    KB_TEXT(indexes_text(cx, c)), KB_TEXT(c->rules[RULE_LIST]),
	    KB_TEXT(c->rules[RULE_VIEW]), KB_TEXT(c->rules[RULE_CREATE]),
	    KB_TEXT(c->rules[RULE_UPDATE]), KB_TEXT(c->rules[RULE_DELETE]),
	    KB_TEXT(c->updated), KB_TEXT(options_text(cx, c)),
	    KB_TEXT(c->table));
}

enum kb_err
collection_alter(
    struct kb_cx *cx, const struct collection *was, const struct collection *c)
{
	struct definition ch = { was, c };

	return kb_transaction(cx, alter_tx, &ch);
}

static enum kb_err
drop_tx(struct kb_cx *cx, void *arg)
{
	const struct definition *ch = arg;
	const struct collection *c = ch->c;
	enum kb_err err = drop_table(cx, c);

	if (!err)
		err = files_delete_all(cx, c);
	if (err)
		return err;
	return kb_exec(
	    cx, "DELETE FROM _collections WHERE id = $1", KB_TEXT(c->id));
}

enum kb_err
collection_drop(struct kb_cx *cx, const struct collection *c)
{
	struct definition ch = { .c = c };

	return kb_transaction(cx, drop_tx, &ch);
}

struct truncation {
	struct api *api;
	const struct collection *c;
};

/* As if one by one: what refers to them is emptied or goes, everybody who
 * listens is told. */
static enum kb_err
truncate_tx(struct kb_cx *cx, void *arg)
{
	struct truncation *t = arg;
	struct query q = { .arena = cx->arena, .c = t->c, .where = "" };
	struct record **rows;
	size_t n;
	enum kb_err err;

	t->api->changes = NULL;
	files_settle(t->api, false);
	err = records_all(cx, &q, &rows, &n);
	for (size_t i = 0; !err && i < n; i++)
		err = record_delete(t->api, cx, rows[i]);
	return err;
}

enum kb_err
collection_truncate(
    struct api *api, struct kb_cx *cx, const struct collection *c)
{
	struct truncation t = { api, c };

	return kb_transaction(cx, truncate_tx, &t);
}
