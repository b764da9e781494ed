/*
 * SQL for stores: the same calls for SQLite and PostgreSQL. Values are bound
 * ($1, $2, …), statements are prepared once a connection and kept, the first
 * error sticks to a cursor and is told at its end.
 *
 *	struct kb_rows rows = kb_query(cx, "SELECT … WHERE owner = $1",
 *	    KB_TEXT(owner));
 *	while (kb_rows_next(&rows, cols, &s))
 *		…;
 *	return kb_rows_end(&rows);
 *
 * Threads: a struct kb_db may be used by many threads at once, a struct
 * kb_cx by one. SQLite: readers run in parallel on their own connections;
 * writers of a file are queued, and those that wait together commit together
 * (WAL, synchronous=FULL): a write has returned KB_OK only when it is on the
 * disk. PostgreSQL: a pool of connections a database; a lost connection is
 * KB_UNAVAILABLE and is opened anew by the next call.
 *
 * One text for both databases. Write: TEXT, BIGINT (INTEGER is 32 bits on
 * PostgreSQL), DOUBLE PRECISION columns; booleans as INTEGER 0/1; times as
 * TEXT in RFC 3339 (KB_TEXT(kb_now_text())) or BIGINT milliseconds; JSON as
 * TEXT; ids as TEXT primary keys made by kb_id_new. ON CONFLICT …, RETURNING
 * and CAST(x AS type) work on both. A parameter that is compared with nothing
 * but NULL, or used twice in different places, needs CAST($1 AS TEXT).
 * Migrations of one service are for one database and may use its dialect.
 *
 * Errors: a row that breaks a unique or foreign key is KB_CONFLICT; one that
 * breaks CHECK or NOT NULL is KB_INVALID (a value came through that nobody
 * judged; logged); no time left KB_TIMEOUT; value over 8 MiB on SQLite
 * KB_TOO_LARGE; disk full KB_RESOURCE_LIMIT; database away, locked, damaged
 * KB_UNAVAILABLE; what is a mistake in the program KB_INTERNAL. The driver
 * logs the cause with the statement's text and never a value; nothing of it
 * goes to clients. After KB_UNAVAILABLE or KB_TIMEOUT a write may still have
 * happened: make it safe to repeat.
 */
#ifndef KOMBI_DB_H
#define KOMBI_DB_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/log.h>
#include <kombi/secret.h>

struct kb_db;
struct kb_db_conn; /* private */

/* Unit of work: all that a store may use. */
struct kb_cx {
	struct kb_arena *arena;
	const struct kb_log *log;
	struct kb_db *db;
	struct kb_db_conn *tx; /* inside kb_transaction, else NULL */
	int64_t deadline_ms;   /* kb_mono_ms() limit, 0: none */
};

struct kb_migration {
	int version; /* from 1, ascending; 0 ends the table */
	const char *name;
	const char *sql; /* may hold several statements */
};

struct kb_db_conf {
	/*
	 * "sqlite:/path/file.db" (made 0600, the folder must be there; a
	 * second process that opens it is refused by file.db.lock; up to
	 * 64 MiB it is checked after an unclean stop), "sqlite::memory:" (one
	 * connection, for tests), "postgresql://…"
	 */
	const char *url;
	struct kb_secret *password; /* PostgreSQL, if not in the URL; or NULL */
	unsigned connections; /* PostgreSQL: pool size; SQLite: readers; 0: 8 */
	bool durable_off;     /* SQLite synchronous=NORMAL (metrics, caches) */
	const struct kb_migration *migrations; /* run at open, NULL: none */
	int64_t statement_ms; /* PostgreSQL statement_timeout, 0: 5000 */
};

/* Opens and migrates. KB_UNAVAILABLE, KB_INTERNAL with a log line. */
enum kb_err
kb_db_open(const struct kb_db_conf *conf, struct kb_db **out) KB_MUSTUSE;
void kb_db_close(struct kb_db *db); /* NULL is fine; no call may be running */
/* Answers a trivial query: for /ready. */
enum kb_err kb_db_ping(struct kb_db *db) KB_MUSTUSE;
/* Highest applied migration. */
int kb_db_version(struct kb_db *db);
/* SQLite: consistent copy into a new file while writers go on. KB_CONFLICT
 * if the file exists; nothing is left of a failed one. */
enum kb_err kb_db_backup(struct kb_db *db, const char *path) KB_MUSTUSE;

/* ---- values ------------------------------------------------------------ */

enum kb_val_kind {
	KB_V_END,
	KB_V_NULL,
	KB_V_INT,
	KB_V_NUM,
	KB_V_TEXT,
	KB_V_BLOB
};

struct kb_val {
	enum kb_val_kind kind;
	int64_t i;
	double d;
	const void *ptr;
	size_t len;
};

#define KB_TEXT(s) kb_val_text(s) /* NULL binds NULL */
#define KB_INT(n) ((struct kb_val) { .kind = KB_V_INT, .i = (int64_t)(n) })
#define KB_REAL(x) ((struct kb_val) { .kind = KB_V_NUM, .d = (x) })
#define KB_FLAG(b) KB_INT((b) ? 1 : 0) /* booleans are 0/1 columns */
#define KB_BYTES(p, n)                                                         \
	((struct kb_val) { .kind = KB_V_BLOB, .ptr = (p), .len = (n) })
#define KB_NULL ((struct kb_val) { .kind = KB_V_NULL })
struct kb_val kb_val_text(const char *s);

/* ---- columns ------------------------------------------------------------ */

enum kb_col_type {
	KB_COL_T_END,
	KB_COL_T_STR,   /* const char *; NULL for NULL */
	KB_COL_T_INT,   /* int64_t; 0 for NULL */
	KB_COL_T_NUM,   /* double */
	KB_COL_T_BOOL,  /* bool */
	KB_COL_T_BYTES, /* struct kb_slice; BLOB, bytea; ptr NULL for NULL */
};

/* One row a result column, in the order of the SELECT. */
struct kb_col {
	enum kb_col_type type;
	size_t offset;
	const char *name;
};

/* clang-format off */
#define KB_COL_STR(t, m) { KB_COL_T_STR, KB_OFFSET_OF(t, m, const char *), #m }
#define KB_COL_INT(t, m) { KB_COL_T_INT, KB_OFFSET_OF(t, m, int64_t), #m }
#define KB_COL_NUM(t, m) { KB_COL_T_NUM, KB_OFFSET_OF(t, m, double), #m }
#define KB_COL_BOOL(t, m) { KB_COL_T_BOOL, KB_OFFSET_OF(t, m, bool), #m }
#define KB_COL_BYTES(t, m) { KB_COL_T_BYTES, KB_OFFSET_OF(t, m, struct kb_slice), #m }
#define KB_COLS_END { .type = KB_COL_T_END }
/* clang-format on */

/* ---- queries ------------------------------------------------------------ */

struct kb_rows {
	struct kb_cx *cx;
	struct kb_db_conn *conn; /* private from here */
	void *stmt;
	int64_t row;
	enum kb_err err;
	bool own_conn;
};

/*
 * `sql` must be a constant: statements are cached by its address and text.
 * Outside of a transaction a query reads; a statement that writes belongs
 * into kb_exec or kb_transaction (asserted for SQLite). Strings of rows are
 * copied into cx->arena.
 */
struct kb_rows
kb_query_v(struct kb_cx *cx, const char *sql, const struct kb_val *values);
#define kb_query(cx, ...) KB_SQL_(kb_query_v, cx, __VA_ARGS__, KB_SQL_END_)
bool kb_rows_next(struct kb_rows *rows, const struct kb_col *cols, void *into);
enum kb_err kb_rows_end(struct kb_rows *rows) KB_MUSTUSE;
/* Exactly one row wanted: KB_NOT_FOUND if none. Ends the cursor. */
enum kb_err kb_rows_one(
    struct kb_rows *rows, const struct kb_col *cols, void *into) KB_MUSTUSE;
/* All rows as an array of structs in the arena. Ends the cursor. */
enum kb_err kb_rows_all(struct kb_rows *rows, const struct kb_col *cols,
    size_t size, void *items_out, size_t *n_out) KB_MUSTUSE;

/*
 * A statement without rows. Unique and foreign key violations are
 * KB_CONFLICT. Outside of kb_transaction it is a transaction of its own.
 */
enum kb_err kb_exec_v(struct kb_cx *cx, const char *sql,
    const struct kb_val *values, int64_t *changed) KB_MUSTUSE;
#define kb_exec(cx, ...) KB_SQLX_(cx, NULL, __VA_ARGS__, KB_SQL_END_)
/* The same, telling how many rows were changed. */
#define kb_exec_n(cx, changed, ...)                                            \
	KB_SQLX_(cx, changed, __VA_ARGS__, KB_SQL_END_)

#define KB_SQL_END_ ((struct kb_val) { .kind = KB_V_END })
#define KB_SQL_(fn, cx, sql, ...)                                              \
	fn((cx), (sql), (const struct kb_val[]) { __VA_ARGS__ })
#define KB_SQLX_(cx, changed, sql, ...)                                        \
	kb_exec_v(                                                             \
	    (cx), (sql), (const struct kb_val[]) { __VA_ARGS__ }, (changed))

/* ---- other people's statements (SQLite) -----------------------------------
 */

/* A column of a result; NULL: not a plain column of a table. */
struct kb_db_column {
	const char *name, *type, *table, *origin;
};
struct kb_db_described {
	/* Whether the statement may read the column ("": how many rows) of
	 * that table. */
	bool (*may_read)(void *arg, const char *table, const char *column);
	void *arg;
	/* out: its columns, or why it is refused (for its author) */
	struct kb_db_column *cols;
	size_t n;
	const char *why;
};
/*
 * Judges one SELECT that somebody else wrote, without running it: it reads
 * what may_read allows and does nothing else. KB_INVALID: it is refused.
 */
enum kb_err kb_db_describe(
    struct kb_cx *cx, const char *sql, struct kb_db_described *d) KB_MUSTUSE;

/* ---- transactions -------------------------------------------------------- */

/* Work inside of a transaction; use the cx that is passed. */
typedef enum kb_err kb_tx_fn(struct kb_cx *cx, void *arg);

/*
 * Runs fn in a write transaction (BEGIN IMMEDIATE on SQLite): committed when
 * it returns KB_OK, rolled back otherwise; its error is returned. May run on
 * another thread while the caller waits (group commit), and again after a
 * serialisation failure (PostgreSQL) or when a neighbour in the same commit
 * brought the disk's limit down on both (SQLite): fn must not have effects
 * outside of the database and its own arg, and must set its arg anew each
 * time. It must not begin a transaction on another database (two such could
 * wait for each other for ever), and use no cx but the one passed (asserted).
 * On SQLite no other writer runs meanwhile; PostgreSQL's level is READ
 * COMMITTED: lock what you decide by (SELECT … FOR UPDATE), or let one
 * statement do both.
 * Nested calls join the outer one: if one of them fails, or any statement,
 * the whole is rolled back and returns that error, whatever fn returns.
 */
enum kb_err
kb_transaction(struct kb_cx *cx, kb_tx_fn *fn, void *arg) KB_MUSTUSE;

#endif
