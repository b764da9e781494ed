/*
 * What only PostgreSQL can do to us: go away, come back, deadlock, be slow,
 * have too few connections.
 */
#include "db_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "pgsql.h"

static struct pgsql server;

static void
open_with(struct fixture *f, unsigned connections, int64_t statement_ms)
{
	const struct kb_db_conf conf = {
		.url = f->url,
		.password = &f->password,
		.connections = connections,
		.statement_ms = statement_ms,
		.migrations = fixture_migrations,
	};

	if (f->db != NULL)
		fixture_close(f);
	assert_int_equal(kb_db_open(&conf, &f->db), KB_OK);
	f->arena = kb_arena_new(0);
	f->cx = (struct kb_cx) { .arena = f->arena, .db = f->db };
}

static int
setup(void **state)
{
	struct fixture *f = fixture_new();

	snprintf(f->url, sizeof(f->url), "postgresql://kombi@/postgres?host=%s",
	    server.dir);
	kb_secret_set(&f->password, PGSQL_PASSWORD, strlen(PGSQL_PASSWORD));
	if (server.pid == 0)
		assert_true(pgsql_start(&server));
	open_with(f, 0, 0);
	assert_int_equal(kb_exec(&f->cx, "DELETE FROM parts"), KB_OK);
	assert_int_equal(kb_exec(&f->cx, "DELETE FROM things"), KB_OK);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

static enum kb_err
insert_by_arg(struct kb_cx *cx, void *arg)
{
	return thing_insert(cx, arg, 1);
}

/* ---- the server goes and comes
 * --------------------------------------------------- */

static void
restart(void)
{
	pgsql_stop(&server, SIGINT);
	assert_true(pgsql_start(&server));
}

static void
a_restart_between_calls_is_not_noticed(void **state)
{
	struct fixture *f = *state;
	char id[] = "in transaction";

	assert_int_equal(thing_insert(&f->cx, "before", 1), KB_OK);
	restart();
	assert_int_equal(things_count(&f->cx), 1);
	restart();
	assert_int_equal(kb_transaction(&f->cx, insert_by_arg, id), KB_OK);
	restart();
	assert_int_equal(thing_insert(&f->cx, "after", 1), KB_OK);
	assert_int_equal(things_count(&f->cx), 3);
}

static void
while_the_server_is_away_calls_fail_at_once_and_then_recover(void **state)
{
	struct fixture *f = *state;
	int64_t start;
	int64_t limit;

	pgsql_stop(&server, SIGQUIT);
	start = kb_mono_ms();
	for (int i = 0; i < 20; i++)
		assert_int_equal(
		    thing_insert(&f->cx, "away", i), KB_UNAVAILABLE);
	assert_int_equal(kb_db_ping(f->db), KB_UNAVAILABLE);
	assert_true(kb_mono_ms() - start < 2000);
	assert_true(pgsql_start(&server));
	limit = kb_mono_ms() + 5000;
	while (thing_insert(&f->cx, "back", 1) != KB_OK)
		assert_true(kb_mono_ms() < limit);
	assert_int_equal(things_count(&f->cx), 1);
}

static enum kb_err
cut_own_connection(struct kb_cx *cx, void *arg)
{
	enum kb_err err = thing_insert(cx, "lost", 1);
	struct kb_rows rows;

	(void)arg;
	if (err)
		return err;
	rows = kb_query(cx,
	    "SELECT CAST(pg_terminate_backend(pg_backend_pid()) AS INTEGER)");
	while (kb_rows_next(&rows, NULL, NULL))
		;
	return kb_rows_end(&rows);
}

static void
a_connection_cut_inside_a_transaction_fails_it_and_no_more(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
	    kb_transaction(&f->cx, cut_own_connection, NULL), KB_UNAVAILABLE);
	assert_int_equal(things_count(&f->cx), 0);
	assert_int_equal(thing_insert(&f->cx, "lost", 1), KB_OK);
}

static void
a_silent_server_is_given_up_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct kb_cx cx = f->cx;
	struct kb_rows rows;

	cx.deadline_ms = kb_mono_ms() + 100;
	rows = kb_query(&cx, "SELECT pg_sleep(30)");
	assert_int_equal(kb_rows_end(&rows), KB_TIMEOUT);
	assert_true(kb_mono_ms() - cx.deadline_ms < 3000);
	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
}

static void
a_statement_over_its_time_is_stopped_by_the_server(void **state)
{
	struct fixture *f = *state;
	struct kb_rows rows;

	open_with(f, 0, 100);
	rows = kb_query(&f->cx, "SELECT pg_sleep(30)");
	assert_int_equal(kb_rows_end(&rows), KB_TIMEOUT);
	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
	assert_int_equal(atomic_load(&f->db->stats.connects), 1);
}

/* ---- several at once
 * -------------------------------------------------------------- */

struct locker {
	pthread_t thread;
	struct kb_db *db;
	const char *first, *second;
	pthread_barrier_t *both;
	int runs;
	enum kb_err err;
};

static enum kb_err
lock_two(struct kb_cx *cx, void *arg)
{
	struct locker *l = arg;
	const char *sql = "UPDATE things SET n = n + 1 WHERE id = $1";
	enum kb_err err = kb_exec(cx, sql, KB_TEXT(l->first));

	/* Both hold one row when they ask for the other's. */
	if (++l->runs == 1)
		pthread_barrier_wait(l->both);
	return err ? err : kb_exec(cx, sql, KB_TEXT(l->second));
}

static void *
locker_main(void *arg)
{
	struct locker *l = arg;
	struct kb_cx cx = { .arena = kb_arena_new(0), .db = l->db };

	l->err = kb_transaction(&cx, lock_two, l);
	kb_arena_free(cx.arena);
	return NULL;
}

static void
a_deadlock_is_resolved_by_running_one_again(void **state)
{
	struct fixture *f = *state;
	pthread_barrier_t both;
	struct locker a = { .first = "a", .second = "b", .both = &both };
	struct locker b = { .first = "b", .second = "a", .both = &both };
	struct fixture_number n;
	struct kb_rows rows;

	/* The deadlock must be found before lock_timeout ends the wait. */
	assert_int_equal(
	    kb_exec(&f->cx, "ALTER ROLE kombi SET deadlock_timeout = '20ms'"),
	    KB_OK);
	open_with(f, 0, 0);
	assert_int_equal(thing_insert(&f->cx, "a", 0), KB_OK);
	assert_int_equal(thing_insert(&f->cx, "b", 0), KB_OK);
	pthread_barrier_init(&both, NULL, 2);
	a.db = f->db;
	b.db = f->db;
	pthread_create(&a.thread, NULL, locker_main, &a);
	pthread_create(&b.thread, NULL, locker_main, &b);
	pthread_join(a.thread, NULL);
	pthread_join(b.thread, NULL);
	pthread_barrier_destroy(&both);
	assert_int_equal(a.err, KB_OK);
	assert_int_equal(b.err, KB_OK);
	assert_in_range(a.runs + b.runs, 3, 6);
	rows = kb_query(&f->cx, "SELECT SUM(n) FROM things");
	assert_int_equal(kb_rows_one(&rows, fixture_number_cols, &n), KB_OK);
	assert_int_equal(n.n, 4);
}

static void *
insert_in_vain(void *arg)
{
	struct locker *l = arg;
	struct kb_cx cx = {
		.arena = kb_arena_new(0),
		.db = l->db,
		.deadline_ms = kb_mono_ms() + 50,
	};

	l->err = thing_insert(&cx, "other", 1);
	kb_arena_free(cx.arena);
	return NULL;
}

static enum kb_err
while_another_wants_the_connection(struct kb_cx *cx, void *arg)
{
	struct locker *l = arg;

	pthread_create(&l->thread, NULL, insert_in_vain, l);
	pthread_join(l->thread, NULL);
	return thing_insert(cx, "own", 1);
}

static void
a_caller_waits_only_so_long_for_a_connection(void **state)
{
	struct fixture *f = *state;
	struct locker l = { 0 };

	open_with(f, 1, 0);
	l.db = f->db;
	assert_int_equal(
	    kb_transaction(&f->cx, while_another_wants_the_connection, &l),
	    KB_OK);
	assert_int_equal(l.err, KB_UNAVAILABLE);
	assert_int_equal(things_count(&f->cx), 1);
}

static void
a_locked_row_is_not_waited_for_long(void **state)
{
	struct fixture *f = *state;
	pthread_barrier_t both;
	struct locker l = { .first = "a", .second = "a", .both = &both };
	int64_t start;

	assert_int_equal(thing_insert(&f->cx, "a", 0), KB_OK);
	pthread_barrier_init(&both, NULL, 2);
	l.db = f->db;
	/* The other holds the row while it waits at the barrier. */
	pthread_create(&l.thread, NULL, locker_main, &l);
	start = kb_mono_ms();
	while (
	    kb_exec(&f->cx, "UPDATE things SET n = 5 WHERE id = 'a'") == KB_OK)
		assert_true(kb_mono_ms() - start < 20000);
	assert_int_equal(
	    kb_exec(&f->cx, "UPDATE things SET n = 5 WHERE id = 'a'"),
	    KB_UNAVAILABLE);
	pthread_barrier_wait(&both);
	pthread_join(l.thread, NULL);
	pthread_barrier_destroy(&both);
	assert_int_equal(l.err, KB_OK);
}

/* ---- secrets and misconfiguration
 * ------------------------------------------------------- */

static void
a_wrong_password_is_refused_and_not_logged(void **state)
{
	struct fixture *f = *state;
	struct kb_secret wrong = { 0 };
	struct kb_db_conf conf = { .url = f->url, .password = &wrong };
	struct kb_db *db = NULL;
	FILE *log = tmpfile();
	char text[4096] = { 0 };

	kb_secret_set(&wrong, "hunter2-hunter2", 15);
	kb_log_fd(fileno(log));
	assert_int_equal(kb_db_open(&conf, &db), KB_UNAVAILABLE);
	conf.url = "postgresql://kombi:hunter2%zz@/x";
	assert_int_equal(kb_db_open(&conf, &db), KB_INTERNAL);
	kb_log_flush();
	fixture_quiet();
	rewind(log);
	assert_true(fread(text, 1, sizeof(text) - 1, log) > 0);
	assert_non_null(strstr(text, "cannot connect"));
	assert_null(strstr(text, "hunter2"));
	fclose(log);
	kb_secret_free(&wrong);
}

static void
values_are_not_logged(void **state)
{
	struct fixture *f = *state;
	FILE *log = tmpfile();
	char text[8192] = { 0 };

	kb_log_fd(fileno(log));
	assert_int_equal(thing_insert(&f->cx, "hunter2", 1), KB_OK);
	assert_int_equal(thing_insert(&f->cx, "hunter2", 1), KB_CONFLICT);
	assert_int_equal(
	    kb_exec(&f->cx, "UPDATE things SET n = $1", KB_TEXT("hunter2")),
	    KB_INVALID);
	kb_log_flush();
	fixture_quiet();
	rewind(log);
	assert_true(fread(text, 1, sizeof(text) - 1, log) > 0);
	assert_non_null(strstr(text, "22P02"));
	assert_null(strstr(text, "hunter2"));
	fclose(log);
}

static void
a_table_that_changes_under_a_statement_is_read_anew(void **state)
{
	struct fixture *f = *state;
	struct kb_rows rows;
	int n = 0;

	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
	for (int i = 0; i < 2; i++) {
		rows = kb_query(&f->cx, "SELECT * FROM things");
		while (kb_rows_next(&rows, NULL, NULL))
			n++;
		assert_int_equal(kb_rows_end(&rows), KB_OK);
		assert_int_equal(kb_exec(&f->cx,
				     i ? "ALTER TABLE things DROP COLUMN z"
				       : "ALTER TABLE things ADD z TEXT"),
		    KB_OK);
	}
	assert_int_equal(n, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_restart_between_calls_is_not_noticed),
		TEST(
		    while_the_server_is_away_calls_fail_at_once_and_then_recover),
		TEST(
		    a_connection_cut_inside_a_transaction_fails_it_and_no_more),
		TEST(a_silent_server_is_given_up_at_the_deadline),
		TEST(a_statement_over_its_time_is_stopped_by_the_server),
		TEST(a_deadlock_is_resolved_by_running_one_again),
		TEST(a_caller_waits_only_so_long_for_a_connection),
		TEST(a_locked_row_is_not_waited_for_long),
		TEST(a_wrong_password_is_refused_and_not_logged),
		TEST(values_are_not_logged),
		TEST(a_table_that_changes_under_a_statement_is_read_anew),
	};
	const char *why = pgsql_find(&server);

	if (why != NULL) {
		print_message("skipped: %s\n", why);
		return 0;
	}
	fixture_quiet();
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
