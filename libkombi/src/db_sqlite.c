/*
 * The SQLite driver: statements, values and columns. Connections are made in
 * db_sqlite_conn.c, lent in db_sqlite_open.c, and transactions queue in
 * db_sqlite_queue.c.
 */
#include "db_sqlite.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>

#include <kombi/str.h>
#include <kombi/time.h>

static struct sqlite_conn *
conn_of(struct kb_db_conn *base)
{
	return KB_CONTAINER(base, struct sqlite_conn, base);
}

/* ---- statements ------------------------------------------------------------
 */

/* The message of a failed prepare is about the text, there are no values. */
static enum kb_err
prepare_failed(
    struct sqlite_conn *c, const struct kb_log *log, int rc, const char *sql)
{
	if ((rc & 0xff) != SQLITE_ERROR && (rc & 0xff) != SQLITE_AUTH)
		return sqlite_error(c, log, rc, sql);
	kb_error(log, "database: statement refused", KB_S("driver", "sqlite"),
	    KB_S("reason", sqlite3_errmsg(c->h)), KB_S("sql", sql));
	return KB_INTERNAL;
}

static enum kb_err
prepare(struct sqlite_conn *c, const struct kb_log *log, const char *sql,
    struct kb_stmt **out)
{
	struct kb_stmt *s = kb_stmts_find(&c->base.stmts, sql);
	sqlite3_stmt *st = NULL;
	int rc;

	if (s != NULL && !s->busy) {
		*out = s;
		return KB_OK;
	}
	rc = sqlite3_prepare_v3(
	    c->h, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
	if (rc != SQLITE_OK)
		return prepare_failed(c, log, rc, sql);
	s = kb_stmts_add(&c->base.stmts, sql, sqlite_stmt_drop, NULL);
	s->handle = st;
	atomic_fetch_add(&c->base.db->stats.prepares, 1);
	*out = s;
	return KB_OK;
}

/*
 * Bind by name: SQLite numbers "$2" by where it first appears, so binding by
 * position would silently swap parameters when they appear out of order.
 */
static int
index_of(sqlite3_stmt *st, int i)
{
	char name[16];
	const char *here = sqlite3_bind_parameter_name(st, i);

	snprintf(name, sizeof(name), "$%d", i);
	if (kb_str_eq(here, name))
		return i;
	return sqlite3_bind_parameter_index(st, name);
}

static int
bind_one(sqlite3_stmt *st, int at, const struct kb_val *v,
    sqlite3_destructor_type life)
{
	switch (v->kind) {
	case KB_V_INT: return sqlite3_bind_int64(st, at, v->i);
	case KB_V_NUM: return sqlite3_bind_double(st, at, v->d);
	case KB_V_TEXT:
		return sqlite3_bind_text64(
		    st, at, v->ptr, v->len, life, SQLITE_UTF8);
	case KB_V_BLOB:
		return sqlite3_bind_blob64(
		    st, at, v->len ? v->ptr : "", v->len, life);
	default: return sqlite3_bind_null(st, at);
	}
}

/* SQLITE_RANGE when values and parameters do not match one to one. */
static int
bind(
    sqlite3_stmt *st, const struct kb_val *values, sqlite3_destructor_type life)
{
	int n = 0;
	int rc = SQLITE_OK;

	while (rc == SQLITE_OK && values[n].kind != KB_V_END) {
		rc = bind_one(st, index_of(st, n + 1), &values[n], life);
		n++;
	}
	if (rc == SQLITE_OK && n != sqlite3_bind_parameter_count(st))
		return SQLITE_RANGE;
	return rc;
}

static void
release(struct sqlite_conn *c, struct kb_stmt *s)
{
	sqlite3_reset(s->handle);
	sqlite3_clear_bindings(s->handle);
	s->busy = false;
	c->cursors--;
	if (!s->cached)
		kb_stmt_free(s, sqlite_stmt_drop, NULL);
}

/* `life`: whether values outlive the statement's run or are copied. */
static enum kb_err
start(struct sqlite_conn *c, const struct kb_cx *cx, const char *sql,
    const struct kb_val *values, sqlite3_destructor_type life,
    struct kb_stmt **out)
{
	struct kb_stmt *s = NULL;
	enum kb_err err = prepare(c, cx->log, sql, &s);
	int rc;

	if (err)
		return err;
	assert(s != NULL);
	c->deadline_ms = cx->deadline_ms;
	c->cursors++;
	s->busy = true;
	rc = bind(s->handle, values, life);
	if (rc != SQLITE_OK) {
		err = sqlite_error(c, cx->log, rc, sql);
		release(c, s);
		return err;
	}
	*out = s;
	return KB_OK;
}

/* ---- cursors ----------------------------------------------------------------
 */

static enum kb_err
query(struct kb_rows *rows, const char *sql, const struct kb_val *values)
{
	struct sqlite_conn *c = conn_of(rows->conn);
	struct kb_stmt *s = NULL;
	enum kb_err err = start(c, rows->cx, sql, values, SQLITE_TRANSIENT, &s);

	if (err)
		return err;
	assert(s != NULL);
	assert(rows->cx->tx != NULL || sqlite3_stmt_readonly(s->handle));
	rows->stmt = s;
	return KB_OK;
}

static bool
step(struct kb_rows *rows)
{
	struct sqlite_conn *c = conn_of(rows->conn);
	struct kb_stmt *s = rows->stmt;
	int rc = sqlite3_step(s->handle);

	if (rc == SQLITE_ROW) {
		rows->row++;
		return true;
	}
	if (rc != SQLITE_DONE)
		rows->err = sqlite_error(c, rows->cx->log, rc, s->sql);
	rows->row = KB_ROWS_OVER;
	return false;
}

static int
columns(const struct kb_rows *rows)
{
	const struct kb_stmt *s = rows->stmt;

	return sqlite3_column_count(s->handle);
}

static const char *
text_at(struct kb_arena *a, sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);

	if (text == NULL)
		return NULL;
	return kb_strndup(a, text, (size_t)sqlite3_column_bytes(st, i));
}

static struct kb_slice
bytes_at(struct kb_arena *a, sqlite3_stmt *st, int i)
{
	const void *bytes = sqlite3_column_blob(st, i);
	struct kb_slice s = {
		.ptr = bytes,
		.len = (size_t)sqlite3_column_bytes(st, i),
	};

	if (sqlite3_column_type(st, i) == SQLITE_NULL)
		return (struct kb_slice) { 0 };
	s.ptr = s.len ? kb_slice_dup(a, s) : "";
	return s;
}

static void
column(struct kb_rows *rows, int i, enum kb_col_type type, void *into)
{
	struct kb_stmt *s = rows->stmt;
	struct kb_arena *a = rows->cx->arena;

	switch (type) {
	case KB_COL_T_STR:
		*(const char **)into = text_at(a, s->handle, i);
		break;
	case KB_COL_T_INT:
		*(int64_t *)into = sqlite3_column_int64(s->handle, i);
		break;
	case KB_COL_T_NUM:
		*(double *)into = sqlite3_column_double(s->handle, i);
		break;
	case KB_COL_T_BOOL:
		*(bool *)into = sqlite3_column_int64(s->handle, i) != 0;
		break;
	case KB_COL_T_BYTES:
		*(struct kb_slice *)into = bytes_at(a, s->handle, i);
		break;
	case KB_COL_T_END: break;
	}
}

/* A statement that writes is run to its end, whatever the caller read. */
static void
finish(struct kb_rows *rows)
{
	struct kb_stmt *s = rows->stmt;

	while (!rows->err && rows->row != KB_ROWS_OVER &&
	    !sqlite3_stmt_readonly(s->handle))
		step(rows);
	release(conn_of(rows->conn), s);
}

/* ---- statements without rows
 * -------------------------------------------------- */

static enum kb_err
exec_in_tx(struct kb_cx *cx, const char *sql, const struct kb_val *values,
    int64_t *changed)
{
	struct sqlite_conn *c = conn_of(cx->tx);
	struct kb_stmt *s = NULL;
	enum kb_err err = start(c, cx, sql, values, SQLITE_STATIC, &s);
	int rc;

	if (err)
		return err;
	assert(s != NULL);
	do {
		rc = sqlite3_step(s->handle);
	} while (rc == SQLITE_ROW);
	if (rc != SQLITE_DONE)
		err = sqlite_error(c, cx->log, rc, sql);
	else if (changed != NULL)
		*changed = sqlite3_stmt_readonly(s->handle)
		    ? 0
		    : sqlite3_changes(c->h);
	release(c, s);
	return err;
}

struct exec {
	const char *sql;
	const struct kb_val *values;
	int64_t *changed;
};

static enum kb_err
exec_alone(struct kb_cx *cx, void *arg)
{
	const struct exec *e = arg;

	return exec_in_tx(cx, e->sql, e->values, e->changed);
}

static enum kb_err
exec(struct kb_cx *cx, const char *sql, const struct kb_val *values,
    int64_t *changed)
{
	struct exec e = { sql, values, changed };

	if (cx->tx != NULL)
		return exec_in_tx(cx, sql, values, changed);
	return sqlite_transaction(cx, exec_alone, &e);
}

/* ---- migrations
 * ----------------------------------------------------------------- */

/* The write transaction itself is the lock, see sqlite_open() for processes. */
static enum kb_err
migrating(struct kb_cx *cx)
{
	assert(cx->tx != NULL);
	return KB_OK;
}

static enum kb_err
script(struct kb_cx *cx, const char *sql)
{
	struct sqlite_conn *c = conn_of(cx->tx);
	int rc = sqlite3_exec(c->h, sql, NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		return KB_OK;
	kb_error(cx->log, "database: script failed", KB_S("driver", "sqlite"),
	    KB_N("code", rc), KB_S("reason", sqlite3_errmsg(c->h)));
	return KB_INTERNAL;
}

const struct kb_db_driver kb_db_sqlite = {
	.scheme = "sqlite:",
	.open = sqlite_open,
	.close = sqlite_close,
	.borrow = sqlite_borrow,
	.give_back = sqlite_give_back,
	.query = query,
	.step = step,
	.columns = columns,
	.column = column,
	.finish = finish,
	.exec = exec,
	.transaction = sqlite_transaction,
	.migrating = migrating,
	.script = script,
	.backup = sqlite_backup,
	.describe = sqlite_describe,
};
