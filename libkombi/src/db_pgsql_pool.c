/*
 * The PostgreSQL connections of a process: a bounded number, lent for one
 * statement or one transaction, a short wait for a free one, and no storm of
 * attempts while the server is away.
 */
#include "db_pgsql.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

enum {
	CONNECTIONS = 8,
	STATEMENT_MS = 5000,
	WAIT_MS = 1000, /* for a free connection */
};

static struct pgsql_db *
db_of(struct kb_db *base)
{
	return KB_CONTAINER(base, struct pgsql_db, base);
}

/* ---- open and close
 * ---------------------------------------------------------------- */

/* libpq's message about a bad URL may quote a piece of the password. */
static bool
url_is_valid(const char *url)
{
	char *reason = NULL;
	PQconninfoOption *options = PQconninfoParse(url, &reason);

	PQfreemem(reason);
	if (options == NULL)
		return false;
	PQconninfoFree(options);
	return true;
}

static struct pgsql_db *
db_new(const struct kb_db_conf *conf)
{
	struct pgsql_db *db = kb_xalloc(sizeof(*db));
	const unsigned char *password;
	pthread_condattr_t monotonic;
	size_t len;

	*db = (struct pgsql_db) {
		.base.driver = &kb_db_pgsql,
		.url = kb_xstrdup(conf->url),
		.statement_ms = conf->statement_ms ? conf->statement_ms
						   : STATEMENT_MS,
		.most = conf->connections ? conf->connections : CONNECTIONS,
	};
	if (conf->password != NULL && kb_secret_is_set(conf->password)) {
		password = kb_secret_reveal(conf->password, &len);
		kb_secret_set(&db->password, password, len);
	}
	pthread_mutex_init(&db->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&db->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return db;
}

enum kb_err
pgsql_open(const struct kb_db_conf *conf, struct kb_db **out)
{
	struct pgsql_db *db;
	enum kb_err err;

	if (!url_is_valid(conf->url)) {
		kb_error(NULL,
		    "the database URL is not valid: "
		    "postgresql://user@host:port/database is expected");
		return KB_INTERNAL;
	}
	db = db_new(conf);
	err = kb_db_ping(&db->base);
	if (err) {
		pgsql_close(&db->base);
		return err;
	}
	*out = &db->base;
	return KB_OK;
}

void
pgsql_close(struct kb_db *base)
{
	struct pgsql_db *db = db_of(base);

	while (db->idle != NULL) {
		struct pgsql_conn *c = db->idle;

		db->idle = c->next;
		db->open--;
		pgsql_disconnect(c);
	}
	assert(db->open == 0);
	kb_secret_free(&db->password);
	pthread_cond_destroy(&db->freed);
	pthread_mutex_destroy(&db->lock);
	free(db->url);
	free(db);
}

/* ---- lending
 * ------------------------------------------------------------------------- */

static struct timespec
after_ms(int64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* With db->lock held: an idle one, or leave to open one (NULL). */
static enum kb_err
take(struct pgsql_db *db, const struct kb_cx *cx, struct pgsql_conn **out)
{
	struct timespec until = after_ms(kb_cx_left_ms(cx, WAIT_MS));
	int timed_out = 0;

	while (db->idle == NULL && db->open >= db->most && timed_out == 0)
		timed_out = pthread_cond_timedwait(
		    &db->freed, &db->lock, &until);
	if (db->idle != NULL) {
		*out = db->idle;
		db->idle = db->idle->next;
		return KB_OK;
	}
	*out = NULL;
	if (db->open >= db->most) {
		kb_warn(cx->log, "database: no connection is free",
		    KB_S("driver", "postgresql"),
		    KB_N("connections", db->most));
		return KB_UNAVAILABLE;
	}
	/* Told when it failed; not again by everybody who comes meanwhile. */
	if (kb_mono_ms() < db->retry_ms)
		return KB_UNAVAILABLE;
	db->open++;
	return KB_OK;
}

/* One less is open: somebody who waits may open another. */
static void
gone(struct pgsql_db *db, int64_t retry_ms)
{
	pthread_mutex_lock(&db->lock);
	db->open--;
	if (retry_ms != 0)
		db->retry_ms = retry_ms;
	pthread_cond_signal(&db->freed);
	pthread_mutex_unlock(&db->lock);
}

static enum kb_err
open_one(struct pgsql_db *db, struct pgsql_conn **out)
{
	enum kb_err err = pgsql_connect(db, out);

	/* Not all processes at the same moment: 100 to 227 ms. */
	if (err)
		gone(db, kb_mono_ms() + 100 + (kb_mono_ns() & 127));
	return err;
}

enum kb_err
pgsql_borrow(struct kb_cx *cx, struct kb_db_conn **out)
{
	struct pgsql_db *db = db_of(cx->db);
	struct pgsql_conn *c = NULL;
	enum kb_err err;

	if (cx->deadline_ms != 0 && kb_mono_ms() > cx->deadline_ms)
		return KB_TIMEOUT;
	for (;;) {
		pthread_mutex_lock(&db->lock);
		err = take(db, cx, &c);
		pthread_mutex_unlock(&db->lock);
		if (err || c == NULL || pgsql_is_quiet(c))
			break;
		/* It died while nobody used it. */
		pgsql_disconnect(c);
		gone(db, 0);
	}
	if (!err && c == NULL)
		err = open_one(db, &c);
	if (!err)
		*out = &c->base;
	return err;
}

void
pgsql_give_back(struct kb_db_conn *base)
{
	struct pgsql_conn *c = KB_CONTAINER(base, struct pgsql_conn, base);
	struct pgsql_db *db = db_of(base->db);

	if (c->broken || PQtransactionStatus(c->h) != PQTRANS_IDLE) {
		pgsql_disconnect(c);
		gone(db, 0);
		return;
	}
	pthread_mutex_lock(&db->lock);
	c->next = db->idle;
	db->idle = c;
	pthread_cond_signal(&db->freed);
	pthread_mutex_unlock(&db->lock);
}

void
pgsql_step_aside(struct kb_db *base)
{
	struct pgsql_db *db = db_of(base);
	struct timespec until = after_ms(1 + (kb_mono_ns() >> 10) % 16);

	pthread_mutex_lock(&db->lock);
	pthread_cond_timedwait(&db->freed, &db->lock, &until);
	/* The wake-up may have been meant for one who wants a connection. */
	pthread_cond_signal(&db->freed);
	pthread_mutex_unlock(&db->lock);
}
