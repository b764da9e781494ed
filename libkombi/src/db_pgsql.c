/*
 * The PostgreSQL driver: prepared statements, values and columns as text,
 * transactions. A result is read whole before the first row is given out, so
 * a cursor holds no connection.
 */
#include "db_pgsql.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

enum {
	TRIES = 3,                 /* of a transaction that met another */
	MIGRATION_MS = 10 * 60000, /* see migrating() */
};

static struct pgsql_conn *
conn_of(struct kb_db_conn *base)
{
	return KB_CONTAINER(base, struct pgsql_conn, base);
}

/* ---- statements
 * ---------------------------------------------------------------------- */

struct statement_name {
	char text[16];
};

static struct statement_name
name_of(const struct kb_stmt *s)
{
	struct statement_name name;

	snprintf(name.text, sizeof(name.text), "s%u", s->number);
	return name;
}

struct dropping {
	struct pgsql_conn *c;
	const struct kb_cx *cx;
};

/* One that cannot be dropped leaves a connection that is not used again. */
static void
deallocate(struct kb_stmt *s, void *arg)
{
	struct dropping *d = arg;
	char sql[40];

	snprintf(sql, sizeof(sql), "DEALLOCATE %s", name_of(s).text);
	if (pgsql_simple(d->c, d->cx, sql) != KB_OK)
		d->c->broken = true;
}

static void
never_prepared(struct kb_stmt *s, void *arg)
{
	(void)s;
	(void)arg;
}

static enum kb_err
prepare(struct pgsql_conn *c, const struct kb_cx *cx, const char *sql,
    struct kb_stmt **out)
{
	struct kb_stmt *s = kb_stmts_find(&c->base.stmts, sql);
	struct dropping d = { c, cx };
	PGresult *r = NULL;
	enum kb_err err;

	if (s != NULL) {
		*out = s;
		return KB_OK;
	}
	s = kb_stmts_add(&c->base.stmts, sql, deallocate, &d);
	err = pgsql_answer(
	    c, cx, sql, PQsendPrepare(c->h, name_of(s).text, sql, 0, NULL), &r);
	PQclear(r);
	if (err) {
		kb_stmts_remove(&c->base.stmts, s, never_prepared, NULL);
		return err;
	}
	atomic_fetch_add(&c->base.db->stats.prepares, 1);
	*out = s;
	return KB_OK;
}

/* ---- values
 * -----------------------------------------------------------------------------
 */

struct params {
	int n;
	const char **text;
	int *len;
	int *format; /* 1: bytes as they are */
};

static void
param_set(struct kb_arena *a, struct params *p, int i, const struct kb_val *v)
{
	switch (v->kind) {
	case KB_V_INT:
		p->text[i] = kb_sprintf(a, "%lld", (long long)v->i);
		break;
	case KB_V_NUM: p->text[i] = kb_sprintf(a, "%.17g", v->d); break;
	case KB_V_TEXT: p->text[i] = v->ptr; break;
	case KB_V_BLOB:
		p->text[i] = v->len ? v->ptr : "";
		p->len[i] = (int)v->len;
		p->format[i] = 1;
		break;
	case KB_V_NULL:
	case KB_V_END: break;
	}
}

static struct params
params_of(struct kb_arena *a, const struct kb_val *values)
{
	struct params p = { 0 };
	size_t n = 0;

	while (values[n].kind != KB_V_END)
		n++;
	p.n = (int)n;
	p.text = kb_new_array(a, n, const char *);
	p.len = kb_new_array(a, n, int);
	p.format = kb_new_array(a, n, int);
	for (int i = 0; i < p.n; i++)
		param_set(a, &p, i, &values[i]);
	return p;
}

static enum kb_err
run(struct pgsql_conn *c, struct kb_cx *cx, const char *sql,
    const struct kb_val *values, PGresult **out)
{
	struct kb_stmt *s = NULL;
	struct params p;
	enum kb_err err;
	int sent;

	c->sent = false;
	err = prepare(c, cx, sql, &s);
	if (err)
		return err;
	p = params_of(cx->arena, values);
	c->sent = true;
	sent = PQsendQueryPrepared(
	    c->h, name_of(s).text, p.n, p.text, p.len, p.format, 0);
	return pgsql_answer(c, cx, sql, sent, out);
}

/* ---- cursors
 * -------------------------------------------------------------------------------
 */

/* The server may have restarted since: one more try, with another one. */
static enum kb_err
replace(struct kb_cx *cx, struct kb_db_conn **conn)
{
	pgsql_give_back(*conn);
	*conn = NULL;
	return pgsql_borrow(cx, conn);
}

static bool
was_lost(const struct kb_db_conn *base, enum kb_err err)
{
	const struct pgsql_conn *c = (const struct pgsql_conn *)base;

	return err == KB_UNAVAILABLE && c->broken;
}

static enum kb_err
query(struct kb_rows *rows, const char *sql, const struct kb_val *values)
{
	PGresult *r = NULL;
	enum kb_err err = run(conn_of(rows->conn), rows->cx, sql, values, &r);

	/* Reading twice does no harm. */
	if (rows->own_conn && was_lost(rows->conn, err)) {
		err = replace(rows->cx, &rows->conn);
		rows->own_conn = !err;
		if (!err)
			err = run(
			    conn_of(rows->conn), rows->cx, sql, values, &r);
	}
	if (rows->own_conn) {
		pgsql_give_back(rows->conn);
		rows->own_conn = false;
		rows->conn = NULL;
	}
	rows->stmt = r;
	return err;
}

static bool
step(struct kb_rows *rows)
{
	if (rows->row < PQntuples(rows->stmt)) {
		rows->row++;
		return true;
	}
	rows->row = KB_ROWS_OVER;
	return false;
}

static int
columns(const struct kb_rows *rows)
{
	return PQnfields(rows->stmt);
}

static struct kb_slice
bytes_of(struct kb_arena *a, const char *text)
{
	struct kb_slice s = { .ptr = NULL };
	unsigned char *raw;
	size_t len;

	if (text == NULL)
		return s;
	raw = PQunescapeBytea((const unsigned char *)text, &len);
	s = (struct kb_slice) { .ptr = (const char *)raw, .len = len };
	s.ptr = len ? kb_slice_dup(a, s) : "";
	PQfreemem(raw);
	return s;
}

/* boolean columns come as t and f, ours as 0 and 1 */
static bool
flag_of(const char *text)
{
	return text[0] == 't' || strtoll(text, NULL, 10) != 0;
}

static void
column(struct kb_rows *rows, int i, enum kb_col_type type, void *into)
{
	const PGresult *r = rows->stmt;
	struct kb_arena *a = rows->cx->arena;
	int row = (int)rows->row - 1;
	bool null = PQgetisnull(r, row, i);
	const char *text = PQgetvalue(r, row, i); /* "" for NULL */

	switch (type) {
	case KB_COL_T_STR:
		*(const char **)into = null
		    ? NULL
		    : kb_strndup(a, text, (size_t)PQgetlength(r, row, i));
		break;
	case KB_COL_T_INT: *(int64_t *)into = strtoll(text, NULL, 10); break;
	case KB_COL_T_NUM: *(double *)into = strtod(text, NULL); break;
	case KB_COL_T_BOOL: *(bool *)into = flag_of(text); break;
	case KB_COL_T_BYTES:
		*(struct kb_slice *)into = bytes_of(a, null ? NULL : text);
		break;
	case KB_COL_T_END: break;
	}
}

static void
finish(struct kb_rows *rows)
{
	PQclear(rows->stmt);
}

/* ---- statements without rows
 * ------------------------------------------------------------- */

static enum kb_err
exec_on(struct pgsql_conn *c, struct kb_cx *cx, const char *sql,
    const struct kb_val *values, int64_t *changed)
{
	PGresult *r = NULL;
	enum kb_err err = run(c, cx, sql, values, &r);

	if (!err && changed != NULL)
		*changed = PQresultStatus(r) == PGRES_TUPLES_OK &&
			kb_str_starts(PQcmdStatus(r), "SELECT")
		    ? 0
		    : strtoll(PQcmdTuples(r), NULL, 10);
	PQclear(r);
	return err;
}

/* A statement that was sent may have been done, though nobody told us. */
static enum kb_err
exec(struct kb_cx *cx, const char *sql, const struct kb_val *values,
    int64_t *changed)
{
	struct kb_db_conn *conn = NULL;
	enum kb_err err;

	if (cx->tx != NULL)
		return exec_on(conn_of(cx->tx), cx, sql, values, changed);
	err = pgsql_borrow(cx, &conn);
	if (err)
		return err;
	err = exec_on(conn_of(conn), cx, sql, values, changed);
	if (was_lost(conn, err) && !conn_of(conn)->sent) {
		err = replace(cx, &conn);
		if (!err)
			err = exec_on(conn_of(conn), cx, sql, values, changed);
	}
	for (int i = 1; err && conn != NULL && i < TRIES; i++) {
		if (!conn_of(conn)->again)
			break;
		pgsql_step_aside(cx->db);
		err = exec_on(conn_of(conn), cx, sql, values, changed);
	}
	if (conn != NULL)
		pgsql_give_back(conn);
	return err;
}

/* ---- transactions
 * ---------------------------------------------------------------------------
 */

/* Nothing was asked of it yet, so a dead one is replaced unseen. */
static enum kb_err
begin(struct kb_cx *cx, struct kb_db_conn **conn)
{
	enum kb_err err = pgsql_borrow(cx, conn);

	if (err)
		return err;
	err = pgsql_simple(conn_of(*conn), cx, "BEGIN");
	if (!was_lost(*conn, err))
		return err;
	err = replace(cx, conn);
	return err ? err : pgsql_simple(conn_of(*conn), cx, "BEGIN");
}

/* A lost COMMIT's outcome is not known; nobody is told that it worked. Once
 * sent, it gets the time it takes: the deadline is asked before. */
static enum kb_err
commit(struct pgsql_conn *c, const struct kb_cx *cx)
{
	const struct kb_cx patient = { .log = cx->log, .arena = cx->arena };
	int64_t start = kb_mono_ns();
	PGresult *r = NULL;
	enum kb_err err;

	if (kb_cx_left_ms(cx, 1) == 0)
		return KB_TIMEOUT;
	err = pgsql_answer(
	    c, &patient, "COMMIT", PQsendQuery(c->h, "COMMIT"), &r);
	if (!err && !kb_str_eq(PQcmdStatus(r), "COMMIT"))
		err = KB_UNAVAILABLE;
	PQclear(r);
	if (!err)
		kb_db_committed(cx->db, kb_mono_ns() - start, 1);
	return err;
}

/* The caller's deadline is over perhaps; this one is ours. */
static void
rollback(struct pgsql_conn *c, const struct kb_cx *cx)
{
	struct kb_cx patient = { .log = cx->log, .arena = cx->arena };
	bool again = c->again;

	if (!c->broken && PQtransactionStatus(c->h) != PQTRANS_IDLE &&
	    pgsql_simple(c, &patient, "ROLLBACK") != KB_OK)
		c->broken = true;
	c->again = again;
}

static enum kb_err
try_once(struct kb_cx *cx, kb_tx_fn *fn, void *arg, bool *again)
{
	struct kb_cx inner = *cx;
	struct kb_db_conn *conn = NULL;
	int64_t patience;
	struct pgsql_conn *c;
	enum kb_err err = begin(cx, &conn);

	*again = false;
	if (conn == NULL)
		return err;
	c = conn_of(conn);
	patience = c->patience_ms;
	conn->failed = err;
	inner.tx = conn;
	if (!err)
		err = fn(&inner, arg);
	if (!err)
		err = conn->failed;
	if (!err)
		err = commit(c, cx);
	if (err)
		rollback(c, cx);
	*again = err && c->again;
	c->patience_ms = patience;
	conn->failed = KB_OK;
	pgsql_give_back(conn);
	return err;
}

static enum kb_err
transaction(struct kb_cx *cx, kb_tx_fn *fn, void *arg)
{
	bool again = false;
	enum kb_err err = try_once(cx, fn, arg, &again);

	for (int i = 1; again && i < TRIES; i++) {
		pgsql_step_aside(cx->db);
		err = try_once(cx, fn, arg, &again);
	}
	return err;
}

/* ---- migrations
 * ----------------------------------------------------------------------------------
 */

/* One process migrates, the others wait for it longer than for a row. */
static enum kb_err
migrating(struct kb_cx *cx)
{
	struct pgsql_conn *c = conn_of(cx->tx);

	c->patience_ms = MIGRATION_MS;
	return pgsql_simple(c, cx,
	    "SET LOCAL lock_timeout = '300s';"
	    "SET LOCAL statement_timeout = '590s';"
	    "SELECT pg_advisory_xact_lock(hashtext('kombi_migrations'))");
}

static enum kb_err
script(struct kb_cx *cx, const char *sql)
{
	struct pgsql_conn *c = conn_of(cx->tx);
	enum kb_err err = pgsql_simple(c, cx, sql);

	if (!err && PQtransactionStatus(c->h) != PQTRANS_INTRANS) {
		kb_error(cx->log, "database: script ended its transaction");
		err = KB_INTERNAL;
	}
	return err;
}

const struct kb_db_driver kb_db_pgsql = {
	.scheme = "postgresql:",
	.open = pgsql_open,
	.close = pgsql_close,
	.borrow = pgsql_borrow,
	.give_back = pgsql_give_back,
	.query = query,
	.step = step,
	.columns = columns,
	.column = column,
	.finish = finish,
	.exec = exec,
	.transaction = transaction,
	.migrating = migrating,
	.script = script,
};
