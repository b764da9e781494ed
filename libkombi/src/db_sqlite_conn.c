/*
 * One SQLite connection: opened defensively (a damaged or planted file must
 * not be able to do more than fail), closed, and its errors translated.
 */
#include "db_sqlite.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

static const char *const controls[SQLITE_CTL_COUNT] = {
	[SQLITE_CTL_BEGIN] = "BEGIN IMMEDIATE",
	[SQLITE_CTL_COMMIT] = "COMMIT",
	[SQLITE_CTL_ROLLBACK] = "ROLLBACK",
	[SQLITE_CTL_SAVEPOINT] = "SAVEPOINT member",
	[SQLITE_CTL_RELEASE] = "RELEASE member",
	[SQLITE_CTL_ROLLBACK_TO] = "ROLLBACK TO member",
};

/* Pragmas that only look; the others are set at open and stay so. */
static const char *const readable[] = {
	"table_info",
	"table_xinfo",
	"table_list",
	"index_list",
	"index_info",
	"index_xinfo",
	"foreign_key_list",
	"page_count",
	"page_size",
	"freelist_count",
	"optimize",
};

static bool
is_readable(const char *pragma)
{
	for (size_t i = 0; i < KB_COUNT(readable); i++)
		if (strcmp(readable[i], pragma) == 0)
			return true;
	return false;
}

/* Asked whenever a statement is prepared, also anew after a schema change. */
static int
authorize(void *arg, int action, const char *a, const char *b, const char *db,
    const char *trigger)
{
	const struct sqlite_conn *c = arg;

	(void)db;
	(void)trigger;
	switch (action) {
	case SQLITE_ATTACH:
	case SQLITE_DETACH: return SQLITE_DENY;
	case SQLITE_TRANSACTION: /* kb_transaction's alone */
	case SQLITE_SAVEPOINT: return c->controlling ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_PRAGMA: return is_readable(a) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_FUNCTION:
		return strcmp(b, "load_extension") == 0 ? SQLITE_DENY
							: SQLITE_OK;
	default: return SQLITE_OK;
	}
}

/* Every few thousand steps of the virtual machine: is there time left? */
static int
out_of_time(void *arg)
{
	const struct sqlite_conn *c = arg;

	return c->deadline_ms != 0 && kb_mono_ms() > c->deadline_ms;
}

static void
set_limits(sqlite3 *h)
{
	static const struct {
		int what, most;
	} limits[] = {
		{ SQLITE_LIMIT_LENGTH, 8 << 20 }, /* of a value and of a row */
		{ SQLITE_LIMIT_SQL_LENGTH, 100000 },
		{ SQLITE_LIMIT_EXPR_DEPTH, 100 },
		{ SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000 },
		{ SQLITE_LIMIT_TRIGGER_DEPTH, 10 },
		{ SQLITE_LIMIT_WORKER_THREADS, 0 },
	};

	for (size_t i = 0; i < KB_COUNT(limits); i++)
		sqlite3_limit(h, limits[i].what, limits[i].most);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	/* Views and indexes of tenants use JSON's functions, which some builds
	 * call unsafe. They were judged one by one when they were made, and
	 * no function that a schema could call has effects here: there are
	 * none of ours, and extensions are not loaded. */
	sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	/* Writers queue before they come here; this is for other processes. */
	sqlite3_busy_timeout(h, 1000);
}

/* Asks for the write-ahead log and looks whether it came: without it readers
 * would block the writer, and a commit would mean something else. */
static int
set_journal(struct sqlite_conn *c, const struct sqlite_db *db)
{
	const char *want = db->memory ? "memory" : "wal";
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(
	    c->h, "PRAGMA journal_mode = WAL", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		rc = kb_str_eq((const char *)sqlite3_column_text(st, 0), want)
		    ? SQLITE_OK
		    : SQLITE_CANTOPEN;
	sqlite3_finalize(st);
	return rc;
}

static int
set_pragmas(struct sqlite_conn *c, const struct sqlite_db *db)
{
	const char *const texts[] = {
		"PRAGMA cell_size_check = ON",
		"PRAGMA journal_size_limit = 67108864",
		"PRAGMA temp_store = MEMORY",
		db->durable_off ? "PRAGMA synchronous = NORMAL"
				: "PRAGMA synchronous = FULL",
		c->writer ? NULL : "PRAGMA query_only = ON",
	};
	int rc = set_journal(c, db);

	for (size_t i = 0; rc == SQLITE_OK && i < KB_COUNT(texts); i++)
		if (texts[i] != NULL)
			rc = sqlite3_exec(c->h, texts[i], NULL, NULL, NULL);
	return rc;
}

static int
prepare_controls(struct sqlite_conn *c)
{
	int rc = SQLITE_OK;

	for (int i = 0; c->writer && rc == SQLITE_OK && i < SQLITE_CTL_COUNT;
	     i++)
		rc = sqlite3_prepare_v3(c->h, controls[i], -1,
		    SQLITE_PREPARE_PERSISTENT, &c->control[i], NULL);
	return rc;
}

enum kb_err
sqlite_conn_open(struct sqlite_db *db, bool writer, struct sqlite_conn **out)
{
	struct sqlite_conn *c = kb_xalloc(sizeof(*c));
	enum kb_err err;
	int rc;

	*c = (struct sqlite_conn) { .base.db = &db->base, .writer = writer };
	rc = sqlite3_open_v2(db->path, &c->h,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
	    NULL);
	if (rc == SQLITE_OK) {
		set_limits(c->h);
		rc = set_pragmas(c, db);
	}
	if (rc == SQLITE_OK)
		rc = prepare_controls(c);
	if (rc != SQLITE_OK) {
		err = sqlite_error(c, NULL, rc, NULL);
		sqlite_conn_close(c);
		return err;
	}
	sqlite3_set_authorizer(c->h, authorize, c);
	sqlite3_progress_handler(c->h, 4000, out_of_time, c);
	atomic_fetch_add(&db->base.stats.connects, 1);
	*out = c;
	return KB_OK;
}

void
sqlite_stmt_drop(struct kb_stmt *stmt, void *arg)
{
	(void)arg;
	sqlite3_finalize(stmt->handle);
}

void
sqlite_conn_close(struct sqlite_conn *c)
{
	if (c == NULL)
		return;
	kb_stmts_clear(&c->base.stmts, sqlite_stmt_drop, NULL);
	for (int i = 0; i < SQLITE_CTL_COUNT; i++)
		sqlite3_finalize(c->control[i]);
	sqlite3_close_v2(c->h);
	free(c);
}

int
sqlite_control(struct sqlite_conn *c, enum sqlite_control what)
{
	int rc;

	c->deadline_ms = 0;
	c->controlling = true;
	rc = sqlite3_step(c->control[what]);
	c->controlling = false;
	sqlite3_reset(c->control[what]);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

bool
sqlite_in_transaction(const struct sqlite_conn *c)
{
	return !sqlite3_get_autocommit(c->h);
}

bool
sqlite_has_deferred(const struct sqlite_conn *c)
{
	int now = 0;
	int high = 0;

	sqlite3_db_status(c->h, SQLITE_DBSTATUS_DEFERRED_FKS, &now, &high, 0);
	return now != 0;
}

bool
sqlite_check(struct sqlite_conn *c)
{
	sqlite3_stmt *st = NULL;
	bool ok = false;

	sqlite3_set_authorizer(c->h, NULL, NULL);
	if (sqlite3_prepare_v2(c->h, "PRAGMA quick_check(1)", -1, &st, NULL) ==
		SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		ok = kb_str_eq((const char *)sqlite3_column_text(st, 0), "ok");
	sqlite3_finalize(st);
	sqlite3_set_authorizer(c->h, authorize, c);
	return ok;
}

/* clang-format off */
static const struct {
	int code; /* extended, or primary when no row has the extended one */
	enum kb_err err;
	enum kb_level level;
	const char *message;
} meanings[] = {
	{ SQLITE_CONSTRAINT_UNIQUE, KB_CONFLICT, KB_DEBUG, "database: not unique" },
	{ SQLITE_CONSTRAINT_PRIMARYKEY, KB_CONFLICT, KB_DEBUG, "database: not unique" },
	{ SQLITE_CONSTRAINT_ROWID, KB_CONFLICT, KB_DEBUG, "database: not unique" },
	{ SQLITE_CONSTRAINT_FOREIGNKEY, KB_CONFLICT, KB_DEBUG, "database: foreign key" },
	{ SQLITE_CONSTRAINT, KB_INVALID, KB_WARN, "database: the row breaks a rule of its table" },
	{ SQLITE_TOOBIG, KB_TOO_LARGE, KB_WARN, "database: value too large" },
	{ SQLITE_INTERRUPT, KB_TIMEOUT, KB_WARN, "database: statement took too long" },
	{ SQLITE_BUSY, KB_UNAVAILABLE, KB_WARN, "database: locked by another process" },
	{ SQLITE_FULL, KB_RESOURCE_LIMIT, KB_ERROR, "database: disk full" },
	{ SQLITE_IOERR, KB_UNAVAILABLE, KB_ERROR, "database: I/O error" },
	{ SQLITE_CORRUPT, KB_UNAVAILABLE, KB_ERROR, "database: file is damaged" },
	{ SQLITE_NOTADB, KB_UNAVAILABLE, KB_ERROR, "database: file is no database" },
	{ SQLITE_CANTOPEN, KB_UNAVAILABLE, KB_ERROR, "database: cannot open file" },
	{ SQLITE_READONLY, KB_UNAVAILABLE, KB_ERROR, "database: file cannot be written" },
};
/* clang-format on */

static size_t
find_meaning(int rc)
{
	size_t n = KB_COUNT(meanings);
	size_t i = 0;

	while (i < n && meanings[i].code != rc)
		i++;
	if (i < n)
		return i;
	for (i = 0; i < n && meanings[i].code != (rc & 0xff); i++)
		;
	return i;
}

static bool
breaks(int primary)
{
	return primary == SQLITE_IOERR || primary == SQLITE_CORRUPT ||
	    primary == SQLITE_NOTADB || primary == SQLITE_CANTOPEN;
}

enum kb_err
sqlite_error(
    struct sqlite_conn *c, const struct kb_log *log, int rc, const char *sql)
{
	const struct sqlite_db *db = KB_CONTAINER(
	    c->base.db, struct sqlite_db, base);
	size_t i = find_meaning(rc);
	bool known = i < KB_COUNT(meanings);
	const struct kb_field fields[] = {
		KB_S("driver", "sqlite"),
		KB_N("code", rc),
		KB_S("file", db->path),
		KB_S("sql", sql),
		KB_END,
	};

	if (breaks(rc & 0xff))
		c->broken = true;
	kb_log_write(log, known ? meanings[i].level : KB_ERROR,
	    known ? meanings[i].message : "database: error", fields);
	return known ? meanings[i].err : KB_INTERNAL;
}

/* ---- statements of others
 * ------------------------------------------------------------ */

/* What a SELECT does, and nothing beyond. */
static int
authorize_other(void *arg, int action, const char *a, const char *b,
    const char *db, const char *trigger)
{
	struct kb_db_described *d = arg;

	(void)db;
	(void)trigger;
	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_RECURSIVE: return SQLITE_OK;
	case SQLITE_FUNCTION:
		return strcmp(b, "load_extension") == 0 ? SQLITE_DENY
							: SQLITE_OK;
	case SQLITE_READ:
		return d->may_read(d->arg, a, b ? b : "") ? SQLITE_OK
							  : SQLITE_DENY;
	default: return SQLITE_DENY;
	}
}

static const char *
copied(struct kb_arena *a, const char *s)
{
	return s ? kb_strdup(a, s) : NULL;
}

static void
describe_columns(
    struct kb_arena *a, sqlite3_stmt *st, struct kb_db_described *out)
{
	int n = sqlite3_column_count(st);

	out->cols = kb_new_array(a, (size_t)n + 1, struct kb_db_column);
	for (int i = 0; i < n; i++)
		out->cols[out->n++] = (struct kb_db_column) {
			.name = copied(a, sqlite3_column_name(st, i)),
			.type = copied(a, sqlite3_column_decltype(st, i)),
			.table = copied(a, sqlite3_column_table_name(st, i)),
			.origin = copied(a, sqlite3_column_origin_name(st, i)),
		};
}

enum kb_err
sqlite_describe(struct kb_db_conn *conn, struct kb_cx *cx, const char *sql,
    struct kb_db_described *out)
{
	struct sqlite_conn *c = KB_CONTAINER(conn, struct sqlite_conn, base);
	sqlite3_stmt *st = NULL;
	const char *tail = "";

	sqlite3_set_authorizer(c->h, authorize_other, out);
	if (sqlite3_prepare_v2(c->h, sql, -1, &st, &tail) != SQLITE_OK)
		out->why = kb_strdup(cx->arena, sqlite3_errmsg(c->h));
	else if (st == NULL || !sqlite3_stmt_readonly(st) ||
	    sqlite3_column_count(st) == 0)
		out->why = "only a SELECT is allowed";
	else if (tail[strspn(tail, " \t\r\n;")] != '\0')
		out->why = "only one statement is allowed";
	else if (sqlite3_bind_parameter_count(st) > 0)
		out->why = "parameters are not allowed";
	else
		describe_columns(cx->arena, st, out);
	sqlite3_finalize(st);
	sqlite3_set_authorizer(c->h, authorize, c);
	return out->why ? KB_INVALID : KB_OK;
}
