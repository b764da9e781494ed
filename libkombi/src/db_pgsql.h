/*
 * Inside of the PostgreSQL driver: connection and pool.
 */
#ifndef KOMBI_DB_PGSQL_H
#define KOMBI_DB_PGSQL_H

#include <libpq-fe.h>
#include <pthread.h>

#include "db_driver.h"

/* Used by one thread at a time. */
struct pgsql_conn {
	struct kb_db_conn base;
	struct pgsql_conn *next; /* in idle */
	PGconn *h;
	int64_t patience_ms; /* for one answer, when no deadline is nearer */
	bool sent;           /* the statement itself has left this process */
	bool again;          /* a serialisation failure or deadlock */
	bool broken;         /* lost, or in a state that nobody knows */
};

struct pgsql_db {
	struct kb_db base;
	char *url;
	struct kb_secret password;
	int64_t statement_ms;

	/* Covers the four below: who has which connection. */
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct pgsql_conn *idle;
	unsigned open, most;
	int64_t retry_ms; /* no new connection before; the server is away */
};

/* db_pgsql_conn.c */
enum kb_err
pgsql_connect(struct pgsql_db *db, struct pgsql_conn **out) KB_MUSTUSE;
void pgsql_disconnect(struct pgsql_conn *c);
/* Nothing came while it was idle: an answer nobody asked for is the end. */
bool pgsql_is_quiet(const struct pgsql_conn *c);
/*
 * Waits for the answer to what was sent, at most until the deadline. *out is
 * the last result, to be cleared by the caller; none with an error, which is
 * logged with `sql`.
 */
enum kb_err pgsql_answer(struct pgsql_conn *c, const struct kb_cx *cx,
    const char *sql, int sent, PGresult **out) KB_MUSTUSE;
/* A text without values. */
enum kb_err pgsql_simple(
    struct pgsql_conn *c, const struct kb_cx *cx, const char *sql) KB_MUSTUSE;

/* db_pgsql_pool.c */
enum kb_err pgsql_open(const struct kb_db_conf *conf, struct kb_db **out);
void pgsql_close(struct kb_db *base);
enum kb_err pgsql_borrow(struct kb_cx *cx, struct kb_db_conn **out);
void pgsql_give_back(struct kb_db_conn *base);
/* Lets a transaction that ours collided with end first: until some connection
 * is given back, at most 1 to 17 ms. */
void pgsql_step_aside(struct kb_db *base);

#endif
