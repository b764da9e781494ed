/*
 * Between db.c and its drivers: what a driver offers, and the statement
 * cache that a connection of either kind carries.
 */
#ifndef KOMBI_DB_DRIVER_H
#define KOMBI_DB_DRIVER_H

#include <stdatomic.h>

#include <kombi/db.h>

/* ---- statement cache ------------------------------------------------------
 */

struct kb_stmt {
	struct kb_stmt *next;
	char *sql;
	uint64_t hash;
	uint64_t used; /* tick of the last use */
	void *handle;  /* the driver's; may be NULL */
	unsigned number;
	bool busy;   /* a cursor stands on it (SQLite) */
	bool cached; /* else its cursor frees it */
};

typedef void kb_stmt_drop(struct kb_stmt *stmt, void *arg);

struct kb_stmts {
	struct kb_stmt *hint[64]; /* by the address of the text */
	struct kb_stmt *bucket[128];
	unsigned n;
	unsigned numbers;
	uint64_t tick;
};

/* NULL when not there. */
struct kb_stmt *kb_stmts_find(struct kb_stmts *c, const char *sql);
/* A new entry; the one unused for longest is dropped when there are too many.
 * Not `cached` (the caller frees it) while one with this text is in use. */
struct kb_stmt *kb_stmts_add(
    struct kb_stmts *c, const char *sql, kb_stmt_drop *drop, void *arg);
void kb_stmt_free(struct kb_stmt *stmt, kb_stmt_drop *drop, void *arg);
/* Takes one out of the cache and frees it. */
void kb_stmts_remove(
    struct kb_stmts *c, struct kb_stmt *stmt, kb_stmt_drop *drop, void *arg);
void kb_stmts_clear(struct kb_stmts *c, kb_stmt_drop *drop, void *arg);

/* ---- driver ----------------------------------------------------------------
 */

struct kb_db_conn {
	struct kb_db *db;
	struct kb_stmts stmts;
	/* First error in the running transaction; it cannot commit any more. */
	enum kb_err failed;
};

/* Counted since open; for metrics and tests. */
struct kb_db_stats {
	atomic_uint_fast64_t transactions; /* that committed */
	atomic_uint_fast64_t commits;      /* of the database: batches */
	atomic_uint_fast64_t prepares;
	atomic_uint_fast64_t connects;
};

struct kb_db {
	const struct kb_db_driver *driver;
	struct kb_db_stats stats;
	int version; /* highest applied migration */
};

/* kb_rows.row after the last row: stepping on would run a statement again. */
#define KB_ROWS_OVER (-1)

struct kb_db_driver {
	const char *scheme; /* "sqlite:" */
	enum kb_err (*open)(const struct kb_db_conf *conf, struct kb_db **out);
	void (*close)(struct kb_db *db);
	/* A connection for one cursor outside of a transaction. */
	enum kb_err (*borrow)(struct kb_cx *cx, struct kb_db_conn **out);
	void (*give_back)(struct kb_db_conn *conn);
	/* Starts the statement: rows->stmt, or an error and none. */
	enum kb_err (*query)(
	    struct kb_rows *rows, const char *sql, const struct kb_val *values);
	/* To the next row, counted in rows->row; false at the end
	 * (KB_ROWS_OVER) or with rows->err set. */
	bool (*step)(struct kb_rows *rows);
	int (*columns)(const struct kb_rows *rows);
	/* Column i of this row into a member of that type. */
	void (*column)(
	    struct kb_rows *rows, int i, enum kb_col_type type, void *into);
	void (*finish)(struct kb_rows *rows);
	/* cx->tx may be NULL: then a transaction of its own. */
	enum kb_err (*exec)(struct kb_cx *cx, const char *sql,
	    const struct kb_val *values, int64_t *changed);
	/* cx->tx is NULL. */
	enum kb_err (*transaction)(struct kb_cx *cx, kb_tx_fn *fn, void *arg);
	/* Inside of a migration's transaction: keeps other processes out. */
	enum kb_err (*migrating)(struct kb_cx *cx);
	/* Several statements; inside of a transaction, must not end it. */
	enum kb_err (*script)(struct kb_cx *cx, const char *sql);
	enum kb_err (*backup)(struct kb_db *db, const char *path);
	/* NULL: not offered. */
	enum kb_err (*describe)(struct kb_db_conn *conn, struct kb_cx *cx,
	    const char *sql, struct kb_db_described *out);
};

extern const struct kb_db_driver kb_db_sqlite;
extern const struct kb_db_driver kb_db_pgsql;

/* Brings the database to the newest of these migrations; migrate.c. */
enum kb_err
kb_migrate(struct kb_cx *cx, const struct kb_migration *migrations) KB_MUSTUSE;

/* Counts a COMMIT that took so long for so many transactions; db_metrics.c. */
void kb_db_committed(struct kb_db *db, int64_t ns, uint64_t members);

/* Milliseconds left until the deadline, `most` when there is none. */
int64_t kb_cx_left_ms(const struct kb_cx *cx, int64_t most);

#endif
