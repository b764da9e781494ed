/*
 * Migrations: forward only, each in a transaction of its own under a lock
 * that keeps other processes out, remembered with a checksum in
 * kombi_migrations. What was applied may not change, and a database that is
 * newer than the program is not touched.
 */
#include "db_driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <kombi/time.h>

static const char create[] = "CREATE TABLE IF NOT EXISTS kombi_migrations ("
			     " version INTEGER PRIMARY KEY,"
			     " name TEXT NOT NULL,"
			     " checksum TEXT NOT NULL,"
			     " applied_at TEXT NOT NULL)";

struct applied {
	int64_t version;
	const char *name, *checksum;
};

static const struct kb_col applied_cols[] = {
	KB_COL_INT(struct applied, version),
	KB_COL_STR(struct applied, name),
	KB_COL_STR(struct applied, checksum),
	KB_COLS_END,
};

struct run {
	const struct kb_migration *migrations;
	int version; /* highest applied */
	bool more;
};

#define CHECKSUM_SIZE 17

/* FNV-1a: it finds an edited file, nobody gains by forging one. */
static void
checksum(const char *sql, char out[CHECKSUM_SIZE])
{
	uint64_t h = 14695981039346656037u;

	for (const char *p = sql; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * 1099511628211u;
	snprintf(out, CHECKSUM_SIZE, "%016" PRIx64, h);
}

static const struct kb_migration *
find(const struct kb_migration *m, int64_t version)
{
	while (m->version != 0 && m->version != version)
		m++;
	return m->version ? m : NULL;
}

static enum kb_err
judge(const struct run *run, const struct applied *a)
{
	const struct kb_migration *m = find(run->migrations, a->version);
	char sum[CHECKSUM_SIZE];

	if (m == NULL) {
		kb_error(NULL,
		    "database is newer than this program: it knows a "
		    "migration that the program does not; run a newer program "
		    "or restore a backup",
		    KB_N("version", a->version), KB_S("name", a->name));
		return KB_INTERNAL;
	}
	checksum(m->sql, sum);
	if (strcmp(sum, a->checksum) == 0)
		return KB_OK;
	kb_error(NULL,
	    "an applied migration was changed afterwards: undo the change and "
	    "add a new migration instead",
	    KB_N("version", a->version), KB_S("name", m->name),
	    KB_S("applied", a->checksum), KB_S("now", sum));
	return KB_INTERNAL;
}

/* One that was slipped in below the newest would never run. */
static enum kb_err
look_for_gaps(const struct run *run, size_t n_applied)
{
	const struct kb_migration *m = run->migrations;
	size_t n = 0;

	while (m->version != 0 && m->version <= run->version) {
		m++;
		n++;
	}
	if (n == n_applied)
		return KB_OK;
	kb_error(NULL,
	    "a migration was added below the newest applied one: give it a "
	    "higher number",
	    KB_N("newest_applied", run->version));
	return KB_INTERNAL;
}

/* What is applied, all of it judged. */
static enum kb_err
look(struct kb_cx *cx, struct run *run)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT version, name, checksum FROM kombi_migrations"
	    " ORDER BY version");
	struct applied *applied = NULL;
	size_t n = 0;
	enum kb_err err = kb_rows_all(
	    &rows, applied_cols, sizeof(*applied), &applied, &n);

	run->version = 0;
	for (size_t i = 0; !err && i < n; i++) {
		err = judge(run, &applied[i]);
		run->version = (int)applied[i].version;
	}
	return err ? err : look_for_gaps(run, n);
}

static enum kb_err
apply(struct kb_cx *cx, const struct kb_migration *m)
{
	char sum[CHECKSUM_SIZE];
	enum kb_err err = cx->db->driver->script(cx, m->sql);

	if (err) {
		kb_error(NULL, "migration failed", KB_N("version", m->version),
		    KB_S("name", m->name));
		return err;
	}
	checksum(m->sql, sum);
	return kb_exec(cx,
	    "INSERT INTO kombi_migrations (version, name, checksum, applied_at)"
	    " VALUES ($1, $2, $3, $4)",
	    KB_INT(m->version), KB_TEXT(m->name), KB_TEXT(sum),
	    KB_TEXT(kb_now_text(cx->arena)));
}

/* At most one: each has its transaction. Another process may be doing the
 * same, so what is applied is read again under the lock. */
static enum kb_err
next_one(struct kb_cx *cx, void *arg)
{
	struct run *run = arg;
	const struct kb_migration *m = run->migrations;
	enum kb_err err = cx->db->driver->migrating(cx);

	if (!err)
		err = kb_exec(cx, create);
	if (!err)
		err = look(cx, run);
	if (err)
		return err;
	while (m->version != 0 && m->version <= run->version)
		m++;
	run->more = m->version != 0;
	if (!run->more)
		return KB_OK;
	err = apply(cx, m);
	if (!err)
		run->version = m->version;
	return err;
}

static bool
is_ascending(const struct kb_migration *m)
{
	for (int before = 0; m->version != 0; before = m->version, m++)
		if (m->version <= before)
			return false;
	return true;
}

enum kb_err
kb_migrate(struct kb_cx *cx, const struct kb_migration *migrations)
{
	struct run run = { .migrations = migrations, .more = true };
	enum kb_err err = KB_OK;

	if (!is_ascending(migrations)) {
		kb_error(NULL, "migrations are not in ascending order");
		return KB_INTERNAL;
	}
	while (!err && run.more)
		err = kb_transaction(cx, next_one, &run);
	if (!err)
		cx->db->version = run.version;
	return err;
}
