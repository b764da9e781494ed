/*
 * What database tests share: a temporary folder, a table, short calls.
 */
#ifndef TESTS_DB_FIXTURE_H
#define TESTS_DB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/db.h>
#include <kombi/log.h>
#include <kombi/time.h>

#include "db_driver.h"

struct fixture {
	char dir[64]; /* temporary, "" if none */
	char url[256];
	struct kb_secret password;
	const struct kb_migration *migrations;
	struct kb_arena *arena;
	struct kb_db *db;
	struct kb_cx cx;
};

static const struct kb_migration fixture_migrations[] = {
	{ 1, "0001_things",
	    "CREATE TABLE things (id TEXT PRIMARY KEY, n BIGINT, x DOUBLE "
	    "PRECISION, flag INTEGER NOT NULL DEFAULT 0 CHECK (flag IN (0, 1)),"
	    " note TEXT);"
	    "CREATE TABLE parts (id TEXT PRIMARY KEY, thing TEXT NOT NULL"
	    " REFERENCES things (id));" },
	{ 0 },
};

static inline void
fixture_dir(struct fixture *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/kombi-db-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
}

static inline void
fixture_remove(const struct fixture *f)
{
	DIR *d = opendir(f->dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
	rmdir(f->dir);
}

static inline void
fixture_open(struct fixture *f)
{
	const struct kb_db_conf conf = {
		.url = f->url,
		.password = &f->password,
		.migrations = f->migrations,
	};

	assert_int_equal(kb_db_open(&conf, &f->db), KB_OK);
	assert_int_equal(kb_db_version(f->db), f->migrations ? 1 : 0);
	f->arena = kb_arena_new(0);
	f->cx = (struct kb_cx) { .arena = f->arena, .db = f->db };
}

static inline void
fixture_close(struct fixture *f)
{
	kb_db_close(f->db);
	kb_arena_free(f->arena);
	f->db = NULL;
	f->arena = NULL;
}

static inline struct fixture *
fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->migrations = fixture_migrations;
	return f;
}

static inline struct fixture *
fixture_sqlite(void)
{
	struct fixture *f = fixture_new();

	fixture_dir(f);
	snprintf(f->url, sizeof(f->url), "sqlite:%s/data.db", f->dir);
	fixture_open(f);
	return f;
}

static inline void
fixture_free(struct fixture *f)
{
	if (f == NULL)
		return;
	if (f->db != NULL)
		fixture_close(f);
	if (f->dir[0] != '\0')
		fixture_remove(f);
	kb_secret_free(&f->password);
	free(f);
}

/* ---- the table of the tests
 * -------------------------------------------------- */

static inline enum kb_err
thing_insert(struct kb_cx *cx, const char *id, int64_t n)
{
	return kb_exec(cx, "INSERT INTO things (id, n) VALUES ($1, $2)",
	    KB_TEXT(id), KB_INT(n));
}

struct fixture_number {
	int64_t n;
};

static const struct kb_col fixture_number_cols[] = {
	KB_COL_INT(struct fixture_number, n),
	KB_COLS_END,
};

static inline int64_t
things_count(struct kb_cx *cx)
{
	struct kb_rows rows = kb_query(cx, "SELECT COUNT(*) FROM things");
	struct fixture_number c = { -1 };

	assert_int_equal(kb_rows_one(&rows, fixture_number_cols, &c), KB_OK);
	return c.n;
}

/* Log lines of expected failures would only confuse the reader. */
static inline void
fixture_quiet(void)
{
	static int null = -1;

	if (null < 0) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		kb_log_init("test", KB_DEBUG);
	}
	kb_log_fd(getenv("KOMBI_TEST_LOG") == NULL ? null : 1);
}

#endif
