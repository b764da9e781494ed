/*
 * Migrations on both databases: forward, once, whole, and suspicious.
 */
#include "db_fixture.h"

#include <pthread.h>

#include "pgsql.h"

static struct pgsql server;

#define ONE                                                                    \
	"CREATE TABLE one (id TEXT PRIMARY KEY); INSERT INTO one VALUES "      \
	"('a');"
#define TWO "CREATE TABLE two (id TEXT); INSERT INTO two SELECT id FROM one;"

static const struct kb_migration first[] = {
	{ 1, "0001_one", ONE },
	{ 0 },
};

static const struct kb_migration both[] = {
	{ 1, "0001_one", ONE },
	{ 2, "0002_two", TWO },
	{ 0 },
};

static enum kb_err
open_at(
    const struct fixture *f, const struct kb_migration *m, struct kb_db **db)
{
	const struct kb_db_conf conf = {
		.url = f->url,
		.password = (struct kb_secret *)(uintptr_t)&f->password,
		.migrations = m,
	};

	*db = NULL;
	return kb_db_open(&conf, db);
}

static void
assert_opens_at(
    const struct fixture *f, const struct kb_migration *m, int version)
{
	struct kb_db *db;

	assert_int_equal(open_at(f, m, &db), KB_OK);
	assert_int_equal(kb_db_version(db), version);
	kb_db_close(db);
}

/* Opened without migrations: what is in there. */
static int64_t
number(const struct fixture *f, const char *sql)
{
	struct kb_cx cx = { .arena = kb_arena_new(0) };
	struct fixture_number n = { -1 };
	struct kb_rows rows;

	assert_int_equal(open_at(f, NULL, &cx.db), KB_OK);
	rows = kb_query(&cx, sql);
	if (kb_rows_one(&rows, fixture_number_cols, &n) != KB_OK)
		n.n = -1;
	kb_db_close(cx.db);
	kb_arena_free(cx.arena);
	return n.n;
}

/* ---- tests
 * ---------------------------------------------------------------------- */

static void
migrations_run_once_and_in_order(void **state)
{
	const struct fixture *f = *state;

	assert_opens_at(f, first, 1);
	assert_opens_at(f, both, 2);
	assert_opens_at(f, both, 2);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM one"), 1);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM two"), 1);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM kombi_migrations"), 2);
}

static void
a_failing_migration_leaves_nothing_behind(void **state)
{
	static const struct kb_migration broken[] = {
		{ 1, "0001_one", ONE },
		{ 2, "0002_two", TWO " INSERT INTO nowhere VALUES (1);" },
		{ 0 },
	};
	const struct fixture *f = *state;
	struct kb_db *db;

	assert_int_equal(open_at(f, broken, &db), KB_INTERNAL);
	assert_null(db);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM one"), 1);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM two"), -1);
	assert_opens_at(f, both, 2);
}

static void
a_migration_changed_after_it_was_applied_is_refused(void **state)
{
	static const struct kb_migration changed[] = {
		{ 1, "0001_one", ONE " " },
		{ 2, "0002_two", TWO },
		{ 0 },
	};
	const struct fixture *f = *state;
	struct kb_db *db;

	assert_opens_at(f, first, 1);
	assert_int_equal(open_at(f, changed, &db), KB_INTERNAL);
	assert_null(db);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM two"), -1);
}

static void
a_database_newer_than_the_program_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct kb_db *db;

	assert_opens_at(f, both, 2);
	assert_int_equal(open_at(f, first, &db), KB_INTERNAL);
	assert_null(db);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM two"), 1);
}

static void
a_migration_slipped_in_below_is_refused(void **state)
{
	static const struct kb_migration gap[] = {
		{ 2, "0002_one", ONE },
		{ 0 },
	};
	static const struct kb_migration slipped[] = {
		{ 1, "0001_new", "CREATE TABLE late (id TEXT)" },
		{ 2, "0002_one", ONE },
		{ 0 },
	};
	const struct fixture *f = *state;
	struct kb_db *db;

	assert_opens_at(f, gap, 2);
	assert_int_equal(open_at(f, slipped, &db), KB_INTERNAL);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM late"), -1);
}

static void
migrations_out_of_order_are_refused(void **state)
{
	static const struct kb_migration twice[] = {
		{ 1, "0001_one", ONE },
		{ 1, "0001_two", TWO },
		{ 0 },
	};
	const struct fixture *f = *state;
	struct kb_db *db;

	assert_int_equal(open_at(f, twice, &db), KB_INTERNAL);
	assert_int_equal(number(f, "SELECT COUNT(*) FROM one"), -1);
}

static void
a_script_cannot_end_its_transaction(void **state)
{
	static const struct kb_migration ends[] = {
		{ 1, "0001_one", ONE " COMMIT;" },
		{ 0 },
	};
	const struct fixture *f = *state;
	struct kb_db *db;

	assert_int_equal(open_at(f, ends, &db), KB_INTERNAL);
	assert_null(db);
}

struct starter {
	pthread_t thread;
	const struct fixture *f;
	enum kb_err err;
	int version;
};

static void *
start(void *arg)
{
	struct starter *s = arg;
	struct kb_db *db;

	s->err = open_at(s->f, both, &db);
	if (!s->err)
		s->version = kb_db_version(db);
	kb_db_close(db);
	return NULL;
}

static void
instances_that_start_together_migrate_once(void **state)
{
	const struct fixture *f = *state;
	struct starter starters[6];

	for (size_t i = 0; i < KB_COUNT(starters); i++) {
		starters[i] = (struct starter) { .f = f };
		pthread_create(&starters[i].thread, NULL, start, &starters[i]);
	}
	for (size_t i = 0; i < KB_COUNT(starters); i++)
		pthread_join(starters[i].thread, NULL);
	for (size_t i = 0; i < KB_COUNT(starters); i++) {
		assert_int_equal(starters[i].err, KB_OK);
		assert_int_equal(starters[i].version, 2);
	}
	assert_int_equal(number(f, "SELECT COUNT(*) FROM two"), 1);
}

/* ---- the databases
 * ------------------------------------------------------------------ */

static int
new_file(void **state)
{
	struct fixture *f = fixture_new();

	fixture_dir(f);
	snprintf(f->url, sizeof(f->url), "sqlite:%s/data.db", f->dir);
	*state = f;
	return 0;
}

static int
remove_file(void **state)
{
	fixture_free(*state);
	return 0;
}

static int
new_schema(void **state)
{
	struct fixture *f = fixture_new();
	struct kb_cx cx = { .arena = kb_arena_new(0) };

	snprintf(f->url, sizeof(f->url), "postgresql://kombi@/postgres?host=%s",
	    server.dir);
	kb_secret_set(&f->password, PGSQL_PASSWORD, strlen(PGSQL_PASSWORD));
	assert_int_equal(open_at(f, NULL, &cx.db), KB_OK);
	assert_int_equal(kb_exec(&cx, "DROP SCHEMA public CASCADE"), KB_OK);
	assert_int_equal(kb_exec(&cx, "CREATE SCHEMA public"), KB_OK);
	kb_db_close(cx.db);
	kb_arena_free(cx.arena);
	*state = f;
	return 0;
}

static int
start_server(void **state)
{
	(void)state;
	return pgsql_init(&server) ? 0 : -1;
}

static int
stop_server(void **state)
{
	(void)state;
	pgsql_free(&server);
	return 0;
}

#define FILE_TEST(name)                                                        \
	cmocka_unit_test_setup_teardown(name, new_file, remove_file)
#define SERVER_TEST(name)                                                      \
	cmocka_unit_test_setup_teardown(name, new_schema, remove_file)

#define TESTS(T)                                                               \
	T(migrations_run_once_and_in_order),                                   \
	    T(a_failing_migration_leaves_nothing_behind),                      \
	    T(a_migration_changed_after_it_was_applied_is_refused),            \
	    T(a_database_newer_than_the_program_is_refused),                   \
	    T(a_migration_slipped_in_below_is_refused),                        \
	    T(migrations_out_of_order_are_refused),                            \
	    T(a_script_cannot_end_its_transaction)

int
main(void)
{
	const struct CMUnitTest file_tests[] = { TESTS(FILE_TEST) };
	const struct CMUnitTest server_tests[] = { TESTS(SERVER_TEST),
		SERVER_TEST(instances_that_start_together_migrate_once) };
	const char *why = pgsql_find(&server);
	int failed;

	fixture_quiet();
	failed = cmocka_run_group_tests_name("sqlite", file_tests, NULL, NULL);
	if (why != NULL)
		print_message("skipped for PostgreSQL: %s\n", why);
	else
		failed += cmocka_run_group_tests_name(
		    "postgresql", server_tests, start_server, stop_server);
	return failed;
}
