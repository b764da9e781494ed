/*
 * Inside of the SQLite driver: connection, database, writer queue. Only
 * db_sqlite.c, db_sqlite_conn.c and db_sqlite_open.c see sqlite3.h itself.
 */
#ifndef KOMBI_DB_SQLITE_H
#define KOMBI_DB_SQLITE_H

#include <pthread.h>

#include "db_driver.h"

struct sqlite3;
struct sqlite3_stmt;

/* Transaction control: no other statement may. */
enum sqlite_control {
	SQLITE_CTL_BEGIN,
	SQLITE_CTL_COMMIT,
	SQLITE_CTL_ROLLBACK,
	SQLITE_CTL_SAVEPOINT,
	SQLITE_CTL_RELEASE,
	SQLITE_CTL_ROLLBACK_TO,
	SQLITE_CTL_COUNT
};

/* Used by one thread at a time. */
struct sqlite_conn {
	struct kb_db_conn base;
	struct sqlite_conn *next; /* in idle or in lent */
	struct sqlite3 *h;
	struct sqlite3_stmt *control[SQLITE_CTL_COUNT];
	pthread_t borrower;
	int64_t deadline_ms; /* of the statement that runs; 0: none */
	int cursors;         /* that stand on it */
	bool writer;
	bool controlling; /* inside of sqlite_control() */
	bool broken; /* I/O error or damage: closed instead of used again */
};

/* One transaction that waits for its turn, on the stack of its thread. */
struct sqlite_waiter {
	struct sqlite_waiter *next;
	struct kb_cx *cx;
	kb_tx_fn *fn;
	void *arg;
	enum kb_err err;
	enum { SQLITE_WAITING, SQLITE_LEADS, SQLITE_DONE } state;
	pthread_cond_t wake;
};

struct sqlite_list {
	struct sqlite_waiter *head;
	struct sqlite_waiter **tail;
};

struct sqlite_db {
	struct kb_db base;
	char *path; /* ":memory:" as it is */
	int lock_fd;
	bool memory;
	bool durable_off;

	/* Covers the four below: who has which reader. */
	pthread_mutex_t readers;
	pthread_cond_t reader_free;
	struct sqlite_conn *idle, *lent;
	unsigned open, most;

	/* Covers the three below: who is next to write. */
	pthread_mutex_t queue;
	struct sqlite_list waiting;
	pthread_t leader;
	enum { SQLITE_IDLE, SQLITE_HANDED_OVER, SQLITE_RUNNING } running;

	/* The leader's alone. */
	struct sqlite_conn *writer; /* NULL after a failure */
	int64_t retry_ms;           /* not opened again before */

	/* ":memory:" has one connection: whoever uses it holds this. */
	pthread_mutex_t only;
};

/* db_sqlite_conn.c */
enum kb_err sqlite_conn_open(
    struct sqlite_db *db, bool writer, struct sqlite_conn **out) KB_MUSTUSE;
void sqlite_conn_close(struct sqlite_conn *c);
int sqlite_control(struct sqlite_conn *c, enum sqlite_control what);
bool sqlite_in_transaction(const struct sqlite_conn *c);
/* Foreign keys that only a COMMIT would complain about. */
bool sqlite_has_deferred(const struct sqlite_conn *c);
/* "quick_check": false when the file is damaged. */
bool sqlite_check(struct sqlite_conn *c);
/* What a result code means; logs it, with the statement if there is one. */
enum kb_err sqlite_error(
    struct sqlite_conn *c, const struct kb_log *log, int rc, const char *sql);
enum kb_err sqlite_describe(struct kb_db_conn *conn, struct kb_cx *cx,
    const char *sql, struct kb_db_described *out) KB_MUSTUSE;
void sqlite_stmt_drop(struct kb_stmt *stmt, void *arg);

/* db_sqlite_open.c */
enum kb_err sqlite_open(const struct kb_db_conf *conf, struct kb_db **out);
void sqlite_close(struct kb_db *base);
enum kb_err sqlite_borrow(struct kb_cx *cx, struct kb_db_conn **out);
void sqlite_give_back(struct kb_db_conn *base);
enum kb_err sqlite_backup(struct kb_db *base, const char *path);
/* A writer in working order; opens it anew after a failure. */
enum kb_err sqlite_writer(struct sqlite_db *db) KB_MUSTUSE;

/* db_sqlite_queue.c */
enum kb_err sqlite_transaction(struct kb_cx *cx, kb_tx_fn *fn, void *arg);

#endif
