/*
 * One PostgreSQL connection: made with time limits on everything, asked
 * without blocking for ever, and its SQLSTATEs translated.
 */
#include "db_pgsql.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

enum {
	LOCK_MS = 500,   /* lock_timeout */
	GRACE_MS = 1000, /* the server's own timeout should come first */
};

/* ---- errors
 * ---------------------------------------------------------------------- */

enum trouble { FINE, AGAIN, BROKEN };

/* clang-format off */
static const struct {
	const char *state; /* or its beginning; the first match counts */
	enum kb_err err;
	enum trouble trouble;
	enum kb_level level;
	const char *message;
} meanings[] = {
	{ "23505", KB_CONFLICT, FINE, KB_DEBUG, "database: not unique" },
	{ "23503", KB_CONFLICT, FINE, KB_DEBUG, "database: foreign key" },
	{ "23P01", KB_CONFLICT, FINE, KB_DEBUG, "database: excluded by another row" },
	{ "23", KB_INVALID, FINE, KB_WARN, "database: the row breaks a rule of its table" },
	{ "22", KB_INVALID, FINE, KB_WARN, "database: value does not fit" },
	{ "40001", KB_UNAVAILABLE, AGAIN, KB_INFO, "database: serialisation failure" },
	{ "40P01", KB_UNAVAILABLE, AGAIN, KB_INFO, "database: deadlock" },
	{ "55P03", KB_UNAVAILABLE, FINE, KB_WARN, "database: row stayed locked" },
	{ "57014", KB_TIMEOUT, FINE, KB_WARN, "database: statement took too long" },
	{ "57P", KB_UNAVAILABLE, BROKEN, KB_WARN, "database: server is going down" },
	{ "08P01", KB_INTERNAL, FINE, KB_ERROR, "database: values and parameters do not match" },
	{ "08", KB_UNAVAILABLE, BROKEN, KB_WARN, "database: connection lost" },
	{ "25006", KB_UNAVAILABLE, BROKEN, KB_WARN, "database: server has become read-only" },
	{ "25P03", KB_UNAVAILABLE, BROKEN, KB_WARN, "database: transaction was idle too long" },
	{ "0A000", KB_UNAVAILABLE, BROKEN, KB_WARN, "database: table has changed under a prepared statement" },
	{ "26000", KB_UNAVAILABLE, BROKEN, KB_WARN, "database: prepared statement is gone" },
	{ "53100", KB_RESOURCE_LIMIT, FINE, KB_ERROR, "database: disk full" },
	{ "53", KB_UNAVAILABLE, FINE, KB_ERROR, "database: server is out of resources" },
	{ "58", KB_UNAVAILABLE, BROKEN, KB_ERROR, "database: I/O error" },
	{ "XX001", KB_UNAVAILABLE, FINE, KB_ERROR, "database: damaged" },
	{ "XX002", KB_UNAVAILABLE, FINE, KB_ERROR, "database: damaged" },
	{ "", KB_INTERNAL, FINE, KB_ERROR, "database: error" },
};
/* clang-format on */

/* The primary message of these is about the text; others may hold values. */
static bool
is_about_text(const char *state)
{
	return kb_str_starts(state, "42");
}

static enum kb_err
result_error(struct pgsql_conn *c, const struct kb_cx *cx, const char *sql,
    const PGresult *r)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	size_t i = 0;

	/* libpq's own errors have no state: the connection is gone. */
	if (state == NULL)
		state = "08000";
	while (!kb_str_starts(state, meanings[i].state))
		i++;
	c->again = meanings[i].trouble == AGAIN;
	if (meanings[i].trouble == BROKEN || PQstatus(c->h) != CONNECTION_OK)
		c->broken = true;
	kb_log_write(cx->log, meanings[i].level, meanings[i].message,
	    (const struct kb_field[]) { KB_S("driver", "postgresql"),
		KB_S("state", state),
		KB_S("constraint",
		    PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME)),
		KB_S("reason",
		    is_about_text(state)
			? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY)
			: NULL),
		KB_S("sql", sql), KB_END });
	return meanings[i].err;
}

static enum kb_err
lost(struct pgsql_conn *c, const struct kb_cx *cx, const char *sql)
{
	c->broken = true;
	kb_warn(cx->log, "database: connection lost",
	    KB_S("driver", "postgresql"), KB_S("sql", sql));
	return KB_UNAVAILABLE;
}

/* ---- asking and waiting
 * -------------------------------------------------------------- */

/* KB_OK when PQgetResult would not block. */
static enum kb_err
wait_ready(struct pgsql_conn *c, int64_t until)
{
	for (;;) {
		int flushing = PQflush(c->h);
		struct pollfd p = { .fd = PQsocket(c->h), .events = POLLIN };
		int64_t left = until - kb_mono_ms();
		int n;

		if (flushing < 0)
			return KB_UNAVAILABLE;
		if (flushing == 0 && !PQisBusy(c->h))
			return KB_OK;
		if (left <= 0)
			return KB_TIMEOUT;
		if (flushing > 0)
			p.events |= POLLOUT;
		n = poll(&p, 1, (int)left);
		if (n < 0 && errno != EINTR)
			return KB_UNAVAILABLE;
		if (n > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)) &&
		    !PQconsumeInput(c->h))
			return KB_UNAVAILABLE;
	}
}

static bool
is_error(const PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK &&
	    status != PGRES_EMPTY_QUERY;
}

/* The server is silent: it may still run the statement, but not for us. */
static enum kb_err
give_up(struct pgsql_conn *c, const struct kb_cx *cx, const char *sql)
{
	c->broken = true;
	kb_warn(cx->log, "database: no answer in time",
	    KB_S("driver", "postgresql"), KB_S("sql", sql));
	return KB_TIMEOUT;
}

enum kb_err
pgsql_answer(struct pgsql_conn *c, const struct kb_cx *cx, const char *sql,
    int sent, PGresult **out)
{
	int64_t until = kb_mono_ms() + kb_cx_left_ms(cx, c->patience_ms);
	enum kb_err err = sent ? KB_OK : KB_UNAVAILABLE;
	PGresult *last = NULL;
	PGresult *r = NULL;

	c->again = false;
	while (!err && (err = wait_ready(c, until)) == KB_OK &&
	    (r = PQgetResult(c->h)) != NULL) {
		/* Of several statements the first error ends all. */
		PQclear(last);
		last = r;
	}
	if (err) {
		PQclear(last);
		return err == KB_TIMEOUT ? give_up(c, cx, sql)
					 : lost(c, cx, sql);
	}
	if (last == NULL)
		return lost(c, cx, sql);
	if (is_error(last)) {
		err = result_error(c, cx, sql, last);
		PQclear(last);
		return err;
	}
	*out = last;
	return KB_OK;
}

enum kb_err
pgsql_simple(struct pgsql_conn *c, const struct kb_cx *cx, const char *sql)
{
	PGresult *r = NULL;
	enum kb_err err = pgsql_answer(c, cx, sql, PQsendQuery(c->h, sql), &r);

	PQclear(r);
	return err;
}

bool
pgsql_is_quiet(const struct pgsql_conn *c)
{
	struct pollfd p = { .fd = PQsocket(c->h), .events = POLLIN };

	return PQstatus(c->h) == CONNECTION_OK && poll(&p, 1, 0) == 0;
}

/* ---- connecting
 * ------------------------------------------------------------------------ */

/* "relation already exists, skipping" and the like would go to stderr. */
static void
ignore_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

/* The URL comes first, what follows wins over it. */
static PGconn *
connect_with_limits(const struct pgsql_db *db, struct kb_arena *a)
{
	char *options = kb_sprintf(a,
	    "-c statement_timeout=%lld -c lock_timeout=%d"
	    " -c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
	    (long long)db->statement_ms, LOCK_MS);
	bool secret = kb_secret_is_set(&db->password);
	size_t len;
	const struct {
		const char *key, *value;
	} pairs[] = {
		{ "dbname", db->url },
		{ "connect_timeout", "2" },
		{ "tcp_user_timeout", "5000" },
		{ "keepalives", "1" },
		{ "keepalives_idle", "5" },
		{ "keepalives_interval", "2" },
		{ "keepalives_count", "3" },
		{ "fallback_application_name", program_invocation_short_name },
		{ "target_session_attrs", "read-write" },
		{ "client_encoding", "UTF8" },
		{ "gssencmode", "disable" },
		{ "options", options },
		{ secret ? "password" : NULL,
		    secret ? (const char *)kb_secret_reveal(&db->password, &len)
			   : NULL },
		{ NULL, NULL },
	};
	const char *keys[KB_COUNT(pairs)];
	const char *values[KB_COUNT(pairs)];

	for (size_t i = 0; i < KB_COUNT(pairs); i++) {
		keys[i] = pairs[i].key;
		values[i] = pairs[i].value;
	}
	return PQconnectdbParams(keys, values, 1);
}

enum kb_err
pgsql_connect(struct pgsql_db *db, struct pgsql_conn **out)
{
	struct kb_arena *a = kb_arena_new(0);
	PGconn *h = connect_with_limits(db, a);
	struct pgsql_conn *c;

	kb_arena_free(a);
	if (PQstatus(h) != CONNECTION_OK || PQsetnonblocking(h, 1) != 0) {
		kb_error(NULL, "database: cannot connect",
		    KB_S("driver", "postgresql"),
		    KB_S("reason", PQerrorMessage(h)));
		PQfinish(h);
		return KB_UNAVAILABLE;
	}
	PQsetNoticeReceiver(h, ignore_notice, NULL);
	c = kb_xalloc(sizeof(*c));
	*c = (struct pgsql_conn) {
		.base.db = &db->base,
		.h = h,
		.patience_ms = db->statement_ms + GRACE_MS,
	};
	atomic_fetch_add(&db->base.stats.connects, 1);
	*out = c;
	return KB_OK;
}

/* What the server has prepared ends with the session. */
static void
forget(struct kb_stmt *stmt, void *arg)
{
	(void)stmt;
	(void)arg;
}

void
pgsql_disconnect(struct pgsql_conn *c)
{
	kb_stmts_clear(&c->base.stmts, forget, NULL);
	PQfinish(c->h);
	free(c);
}
