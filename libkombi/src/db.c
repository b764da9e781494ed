/*
 * The face of the database: chooses the driver by the URL's scheme and keeps
 * the rules that hold for both, above all that a transaction in which
 * something failed cannot commit.
 */
#include "db_driver.h"

#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

static const struct {
	const char *scheme;
	const struct kb_db_driver *driver;
} drivers[] = {
	{ "sqlite:", &kb_db_sqlite },
	{ "postgresql:", &kb_db_pgsql },
	{ "postgres:", &kb_db_pgsql },
};

static const struct kb_db_driver *
driver_of(const char *url)
{
	for (size_t i = 0; i < KB_COUNT(drivers); i++)
		if (kb_str_starts(url, drivers[i].scheme))
			return drivers[i].driver;
	return NULL;
}

static enum kb_err
migrate(struct kb_db *db, const struct kb_migration *migrations)
{
	struct kb_cx cx = { .arena = kb_arena_new(0), .db = db };
	enum kb_err err = kb_migrate(&cx, migrations);

	kb_arena_free(cx.arena);
	return err;
}

enum kb_err
kb_db_open(const struct kb_db_conf *conf, struct kb_db **out)
{
	const struct kb_db_driver *driver = driver_of(conf->url);
	struct kb_db *db = NULL;
	enum kb_err err;

	if (driver == NULL) {
		kb_error(NULL,
		    "the database URL must begin with sqlite: or postgresql:");
		return KB_INTERNAL;
	}
	err = driver->open(conf, &db);
	if (err)
		return err;
	if (conf->migrations != NULL)
		err = migrate(db, conf->migrations);
	if (err) {
		driver->close(db);
		return err;
	}
	*out = db;
	return KB_OK;
}

void
kb_db_close(struct kb_db *db)
{
	if (db != NULL)
		db->driver->close(db);
}

enum kb_err
kb_db_ping(struct kb_db *db)
{
	struct kb_cx cx = {
		.arena = kb_arena_new(0),
		.db = db,
		.deadline_ms = kb_mono_ms() + 2000,
	};
	struct kb_rows rows = kb_query(&cx, "SELECT 1");
	enum kb_err err;

	while (kb_rows_next(&rows, NULL, NULL))
		;
	err = kb_rows_end(&rows);
	kb_arena_free(cx.arena);
	return err;
}

int
kb_db_version(struct kb_db *db)
{
	return db->version;
}

enum kb_err
kb_db_backup(struct kb_db *db, const char *path)
{
	if (db->driver->backup == NULL)
		return KB_NOT_IMPLEMENTED;
	return db->driver->backup(db, path);
}

enum kb_err
kb_db_describe(struct kb_cx *cx, const char *sql, struct kb_db_described *d)
{
	const struct kb_db_driver *driver = cx->db->driver;
	struct kb_db_conn *conn;
	enum kb_err err;

	d->cols = NULL;
	d->n = 0;
	d->why = NULL;
	if (driver->describe == NULL)
		return KB_NOT_IMPLEMENTED;
	/* What the transaction made so far counts. */
	if (cx->tx != NULL)
		return cx->tx->failed ? cx->tx->failed
				      : driver->describe(cx->tx, cx, sql, d);
	err = driver->borrow(cx, &conn);
	if (err)
		return err;
	err = driver->describe(conn, cx, sql, d);
	driver->give_back(conn);
	return err;
}

struct kb_val
kb_val_text(const char *s)
{
	if (s == NULL)
		return KB_NULL;
	return (
	    struct kb_val) { .kind = KB_V_TEXT, .ptr = s, .len = strlen(s) };
}

int64_t
kb_cx_left_ms(const struct kb_cx *cx, int64_t most)
{
	int64_t left;

	if (cx->deadline_ms == 0)
		return most;
	left = cx->deadline_ms - kb_mono_ms();
	if (left < 0)
		return 0;
	return left < most ? left : most;
}

enum kb_err
kb_exec_v(struct kb_cx *cx, const char *sql, const struct kb_val *values,
    int64_t *changed)
{
	enum kb_err err;

	if (cx->tx != NULL && cx->tx->failed)
		return cx->tx->failed;
	err = cx->db->driver->exec(cx, sql, values, changed);
	if (err && cx->tx != NULL)
		cx->tx->failed = err;
	return err;
}

enum kb_err
kb_transaction(struct kb_cx *cx, kb_tx_fn *fn, void *arg)
{
	enum kb_err err;

	if (cx->tx == NULL)
		return cx->db->driver->transaction(cx, fn, arg);
	if (cx->tx->failed)
		return cx->tx->failed;
	err = fn(cx, arg);
	if (err && !cx->tx->failed)
		cx->tx->failed = err;
	return err;
}
