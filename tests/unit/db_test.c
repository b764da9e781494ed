/*
 * One body for every driver: what a store may rely on.
 */
#include "db_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "pgsql.h"

struct thing {
	const char *id;
	int64_t n;
	double x;
	bool flag;
	const char *note;
};

static const struct kb_col thing_cols[] = {
	KB_COL_STR(struct thing, id),
	KB_COL_INT(struct thing, n),
	KB_COL_NUM(struct thing, x),
	KB_COL_BOOL(struct thing, flag),
	KB_COL_STR(struct thing, note),
	KB_COLS_END,
};

#define COLUMNS "id, n, x, flag, note"

static enum kb_err
insert(struct kb_cx *cx, const struct thing *t)
{
	return kb_exec(cx,
	    "INSERT INTO things (" COLUMNS ") VALUES ($1, $2, $3, $4, $5)",
	    KB_TEXT(t->id), KB_INT(t->n), KB_REAL(t->x), KB_FLAG(t->flag),
	    KB_TEXT(t->note));
}

static enum kb_err
get(struct kb_cx *cx, const char *id, struct thing *t)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT " COLUMNS " FROM things WHERE id = $1", KB_TEXT(id));

	return kb_rows_one(&rows, thing_cols, t);
}

static struct kb_cx *
fresh(void **state)
{
	struct fixture *f = *state;
	struct kb_cx *cx = &f->cx;

	assert_int_equal(kb_exec(cx, "DELETE FROM parts"), KB_OK);
	assert_int_equal(kb_exec(cx, "DELETE FROM things"), KB_OK);
	return cx;
}

/* ---- values and columns
 * ---------------------------------------------------------- */

static void
what_is_stored_is_read_back(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing t = { "a", INT64_MIN, 0.1, true, "Größe 'x' \" \\ $1" };
	struct thing r = { 0 };

	assert_int_equal(insert(cx, &t), KB_OK);
	assert_int_equal(get(cx, "a", &r), KB_OK);
	assert_string_equal(r.id, "a");
	assert_true(r.n == INT64_MIN);
	assert_true(r.x == 0.1);
	assert_true(r.flag);
	assert_string_equal(r.note, t.note);
}

static void
null_is_null_and_empty_is_empty(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing r = { .note = "before" };

	assert_int_equal(insert(cx, &(struct thing) { .id = "a" }), KB_OK);
	assert_int_equal(
	    insert(cx, &(struct thing) { .id = "b", .note = "" }), KB_OK);
	assert_int_equal(get(cx, "a", &r), KB_OK);
	assert_null(r.note);
	assert_int_equal(get(cx, "b", &r), KB_OK);
	assert_string_equal(r.note, "");
	assert_int_equal(
	    kb_exec(cx, "UPDATE things SET n = $1, x = $2", KB_NULL, KB_NULL),
	    KB_OK);
	r = (struct thing) { .n = 7, .x = 7 };
	assert_int_equal(get(cx, "a", &r), KB_OK);
	assert_true(r.n == 0 && r.x == 0);
}

static void
parameters_are_bound_by_their_number(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing r = { 0 };

	assert_int_equal(kb_exec(cx,
			     "INSERT INTO things (note, id, n)"
			     " VALUES ($3, $1, $2)",
			     KB_TEXT("a"), KB_INT(2), KB_TEXT("three")),
	    KB_OK);
	assert_int_equal(get(cx, "a", &r), KB_OK);
	assert_int_equal(r.n, 2);
	assert_string_equal(r.note, "three");
}

struct blob {
	struct kb_slice data;
};

static const struct kb_col blob_cols[] = {
	KB_COL_BYTES(struct blob, data),
	KB_COLS_END,
};

static void
bytes_are_kept_as_they_are(void **state)
{
	static const char bytes[] = "\0\xff\x80'\\x\0";
	struct kb_cx *cx = fresh(state);
	struct kb_rows rows;
	struct blob *b = NULL;
	size_t n;

	assert_int_equal(
	    kb_exec(cx,
		"INSERT INTO blobs (id, data) VALUES (1, $1),"
		" (2, $2), (3, $3)",
		KB_BYTES(bytes, sizeof(bytes)), KB_BYTES(NULL, 0), KB_NULL),
	    KB_OK);
	rows = kb_query(cx, "SELECT data FROM blobs ORDER BY id");
	assert_int_equal(
	    kb_rows_all(&rows, blob_cols, sizeof(*b), &b, &n), KB_OK);
	assert_int_equal(n, 3);
	assert_int_equal(b[0].data.len, sizeof(bytes));
	assert_memory_equal(b[0].data.ptr, bytes, sizeof(bytes));
	assert_non_null(b[1].data.ptr);
	assert_int_equal(b[1].data.len, 0);
	assert_null(b[2].data.ptr);
	assert_int_equal(kb_exec(cx, "DELETE FROM blobs"), KB_OK);
}

static void
a_parameter_may_be_used_twice(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing r = { 0 };

	assert_int_equal(kb_exec(cx,
			     "INSERT INTO things (id, note) VALUES"
			     " (CAST($1 AS TEXT), CAST($1 AS TEXT))",
			     KB_TEXT("a")),
	    KB_OK);
	assert_int_equal(get(cx, "a", &r), KB_OK);
	assert_string_equal(r.note, "a");
}

static void
values_cannot_become_sql(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing r = { 0 };
	const char *evil = "x'); DROP TABLE things; --";

	assert_int_equal(insert(cx, &(struct thing) { .id = evil }), KB_OK);
	assert_int_equal(get(cx, evil, &r), KB_OK);
	assert_string_equal(r.id, evil);
	assert_int_equal(get(cx, "' OR '1'='1", &r), KB_NOT_FOUND);
}

static void
all_rows_come_as_an_array(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct kb_rows rows;
	struct thing *things = NULL;
	size_t n = 0;

	for (int i = 0; i < 100; i++)
		assert_int_equal(
		    thing_insert(cx, kb_sprintf(cx->arena, "t%03d", i), i),
		    KB_OK);
	rows = kb_query(cx, "SELECT " COLUMNS " FROM things ORDER BY id");
	assert_int_equal(
	    kb_rows_all(&rows, thing_cols, sizeof(*things), &things, &n),
	    KB_OK);
	assert_int_equal(n, 100);
	assert_string_equal(things[99].id, "t099");
	assert_int_equal(things[42].n, 42);
	rows = kb_query(cx, "SELECT " COLUMNS " FROM things LIMIT 0");
	assert_int_equal(
	    kb_rows_all(&rows, thing_cols, sizeof(*things), &things, &n),
	    KB_OK);
	assert_int_equal(n, 0);
}

static void
a_cursor_may_be_left_early_and_next_after_the_end_is_false(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct kb_rows rows;
	struct thing t;

	for (int i = 0; i < 3; i++)
		assert_int_equal(
		    thing_insert(cx, kb_sprintf(cx->arena, "%d", i), i), KB_OK);
	rows = kb_query(cx, "SELECT " COLUMNS " FROM things ORDER BY id");
	assert_true(kb_rows_next(&rows, thing_cols, &t));
	assert_int_equal(kb_rows_end(&rows), KB_OK);
	rows = kb_query(cx, "SELECT " COLUMNS " FROM things ORDER BY id");
	for (int i = 0; i < 3; i++)
		assert_true(kb_rows_next(&rows, thing_cols, &t));
	assert_false(kb_rows_next(&rows, thing_cols, &t));
	assert_false(kb_rows_next(&rows, thing_cols, &t));
	assert_int_equal(kb_rows_end(&rows), KB_OK);
}

static void
queries_nest_and_see_what_was_written_meanwhile(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct kb_rows outer;
	struct thing t;
	struct thing same;
	int n = 0;

	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
	assert_int_equal(thing_insert(cx, "b", 2), KB_OK);
	outer = kb_query(
	    cx, "SELECT " COLUMNS " FROM things WHERE n < $1", KB_INT(100));
	while (kb_rows_next(&outer, thing_cols, &t)) {
		char *copy = kb_sprintf(cx->arena, "copy-%s", t.id);

		assert_int_equal(get(cx, t.id, &same), KB_OK);
		assert_int_equal(thing_insert(cx, copy, 100), KB_OK);
		assert_int_equal(get(cx, copy, &same), KB_OK);
		n++;
	}
	assert_int_equal(kb_rows_end(&outer), KB_OK);
	assert_int_equal(n, 2);
	assert_int_equal(things_count(cx), 4);
}

static void
changed_rows_are_counted(void **state)
{
	struct kb_cx *cx = fresh(state);
	int64_t changed = -1;

	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
	assert_int_equal(thing_insert(cx, "b", 1), KB_OK);
	assert_int_equal(
	    kb_exec_n(cx, &changed, "UPDATE things SET n = $1 WHERE n = $2",
		KB_INT(2), KB_INT(1)),
	    KB_OK);
	assert_int_equal(changed, 2);
	assert_int_equal(
	    kb_exec_n(cx, &changed, "DELETE FROM things WHERE id = $1",
		KB_TEXT("none")),
	    KB_OK);
	assert_int_equal(changed, 0);
}

/* ---- errors
 * ------------------------------------------------------------------------ */

static void
violations_are_told_apart(void **state)
{
	struct kb_cx *cx = fresh(state);

	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
	assert_int_equal(thing_insert(cx, "a", 2), KB_CONFLICT);
	assert_int_equal(
	    kb_exec(cx, "INSERT INTO parts (id, thing) VALUES ($1, $2)",
		KB_TEXT("p"), KB_TEXT("none")),
	    KB_CONFLICT);
	assert_int_equal(
	    kb_exec(cx, "INSERT INTO parts (id, thing) VALUES ($1, $2)",
		KB_TEXT("p"), KB_NULL),
	    KB_INVALID);
	assert_int_equal(
	    kb_exec(cx, "UPDATE things SET flag = $1", KB_INT(2)), KB_INVALID);
	assert_int_equal(things_count(cx), 1);
}

static void
a_wrong_statement_is_an_internal_error_and_harms_nothing(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing t;
	struct kb_rows rows = kb_query(cx, "SELECT nothing FROM nowhere");

	assert_false(kb_rows_next(&rows, thing_cols, &t));
	assert_int_equal(kb_rows_end(&rows), KB_INTERNAL);
	assert_int_equal(kb_exec(cx, "GARBAGE"), KB_INTERNAL);
	assert_int_equal(
	    kb_exec(cx, "DELETE FROM things WHERE id = $1"), KB_INTERNAL);
	assert_int_equal(kb_exec(cx, "DELETE FROM things WHERE id = $1",
			     KB_TEXT("a"), KB_TEXT("b")),
	    KB_INTERNAL);
	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
}

static void
a_deadline_that_has_passed_stops_at_once(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct kb_cx late = *cx;
	struct thing t;

	late.deadline_ms = kb_mono_ms() - 10;
	assert_int_equal(get(&late, "a", &t), KB_TIMEOUT);
	assert_int_equal(thing_insert(&late, "a", 1), KB_TIMEOUT);
	assert_int_equal(things_count(cx), 0);
}

/* ---- transactions
 * -------------------------------------------------------------------- */

static enum kb_err
two_inserts(struct kb_cx *cx, void *arg)
{
	const enum kb_err *then = arg;
	enum kb_err err = thing_insert(cx, "a", 1);

	if (!err)
		err = thing_insert(cx, "b", 1);
	return err ? err : *then;
}

static void
a_transaction_is_all_or_nothing(void **state)
{
	struct kb_cx *cx = fresh(state);
	enum kb_err then = KB_QUOTA;

	assert_int_equal(kb_transaction(cx, two_inserts, &then), KB_QUOTA);
	assert_int_equal(things_count(cx), 0);
	then = KB_OK;
	assert_int_equal(kb_transaction(cx, two_inserts, &then), KB_OK);
	assert_int_equal(things_count(cx), 2);
	assert_int_equal(kb_transaction(cx, two_inserts, &then), KB_CONFLICT);
	assert_int_equal(things_count(cx), 2);
}

static enum kb_err
ignores_a_conflict(struct kb_cx *cx, void *arg)
{
	(void)arg;
	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
	assert_int_equal(thing_insert(cx, "a", 1), KB_CONFLICT);
	assert_int_equal(thing_insert(cx, "b", 1), KB_CONFLICT);
	return KB_OK;
}

static void
a_transaction_in_which_a_statement_failed_does_not_commit(void **state)
{
	struct kb_cx *cx = fresh(state);

	assert_int_equal(
	    kb_transaction(cx, ignores_a_conflict, NULL), KB_CONFLICT);
	assert_int_equal(things_count(cx), 0);
}

static enum kb_err
inner_fails(struct kb_cx *cx, void *arg)
{
	enum kb_err then = KB_OK;

	assert_int_equal(kb_transaction(cx, two_inserts, &then), KB_OK);
	then = KB_FORBIDDEN;
	return arg == NULL ? KB_OK : KB_FORBIDDEN;
}

static void
nested_transactions_join_the_outer_one(void **state)
{
	struct kb_cx *cx = fresh(state);
	int fail = 1;

	assert_int_equal(kb_transaction(cx, inner_fails, &fail), KB_FORBIDDEN);
	assert_int_equal(things_count(cx), 0);
	assert_int_equal(kb_transaction(cx, inner_fails, NULL), KB_OK);
	assert_int_equal(things_count(cx), 2);
}

static enum kb_err
writes_with_a_query(struct kb_cx *cx, void *arg)
{
	struct kb_rows rows = kb_query(cx,
	    "INSERT INTO things (id, n) VALUES ($1, $2) RETURNING n",
	    KB_TEXT("r"), KB_INT(41));
	enum kb_err err = kb_rows_one(&rows, fixture_number_cols, arg);

	if (err)
		return err;
	rows = kb_query(cx,
	    "UPDATE things SET n = n + 1 WHERE id = $1 RETURNING n",
	    KB_TEXT("r"));
	while (kb_rows_next(&rows, fixture_number_cols, arg))
		;
	return kb_rows_end(&rows);
}

static void
a_query_in_a_transaction_may_write_and_return(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct fixture_number n = { 0 };
	struct thing t;

	assert_int_equal(kb_transaction(cx, writes_with_a_query, &n), KB_OK);
	assert_int_equal(n.n, 42);
	assert_int_equal(get(cx, "r", &t), KB_OK);
	assert_int_equal(t.n, 42);
}

/* ---- threads
 * ----------------------------------------------------------------------------
 */

enum { THREADS = 16, ROUNDS = 40 };

struct worker {
	pthread_t thread;
	struct kb_db *db;
	int number;
	int errors;
};

static enum kb_err
add_one(struct kb_cx *cx, void *arg)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT n FROM things WHERE id = 'sum'");
	struct fixture_number sum;
	enum kb_err err = kb_rows_one(&rows, fixture_number_cols, &sum);

	(void)arg;
	if (err)
		return err;
	return kb_exec(cx, "UPDATE things SET n = n + 1 WHERE id = 'sum'");
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct kb_cx cx = { .arena = kb_arena_new(0), .db = w->db };
	struct thing t;

	for (int i = 0; i < ROUNDS; i++) {
		enum kb_err err;

		if (w->number % 2 == 0)
			err = get(&cx, "sum", &t);
		else if (i % 2 == 0)
			err = kb_transaction(&cx, add_one, NULL);
		else
			err = thing_insert(&cx,
			    kb_sprintf(cx.arena, "%d-%d", w->number, i), i);
		w->errors += err != KB_OK;
	}
	kb_arena_free(cx.arena);
	return NULL;
}

static void
sixteen_threads_read_and_write_without_an_error(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct worker workers[THREADS];
	struct thing sum;

	assert_int_equal(thing_insert(cx, "sum", 0), KB_OK);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker) { .db = cx->db, .number = i };
		assert_int_equal(
		    pthread_create(&workers[i].thread, NULL, work, &workers[i]),
		    0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].errors, 0);
	assert_int_equal(get(cx, "sum", &sum), KB_OK);
	assert_int_equal(sum.n, THREADS / 2 * ROUNDS / 2);
	assert_int_equal(things_count(cx), 1 + THREADS / 2 * ROUNDS / 2);
}

static void
statements_are_prepared_once(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct thing t;
	uint64_t before;

	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
	assert_int_equal(get(cx, "a", &t), KB_OK);
	before = atomic_load(&cx->db->stats.prepares);
	for (int i = 0; i < 50; i++)
		assert_int_equal(get(cx, "a", &t), KB_OK);
	assert_true(atomic_load(&cx->db->stats.prepares) == before);
}

static void
more_texts_than_the_cache_holds_are_fine(void **state)
{
	struct kb_cx *cx = fresh(state);
	struct kb_rows rows;
	struct fixture_number n;

	for (int i = 0; i < 500; i++) {
		rows = kb_query(
		    cx, kb_sprintf(cx->arena, "SELECT %d + 0 FROM things", i));
		assert_int_equal(
		    kb_rows_one(&rows, fixture_number_cols, &n), KB_NOT_FOUND);
	}
	assert_int_equal(thing_insert(cx, "a", 1), KB_OK);
	rows = kb_query(cx, "SELECT 499 + 0 FROM things");
	assert_int_equal(kb_rows_one(&rows, fixture_number_cols, &n), KB_OK);
	assert_int_equal(n.n, 499);
}

static void
the_database_answers_a_ping_and_knows_its_version(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(kb_db_ping(f->db), KB_OK);
	assert_int_equal(kb_db_version(f->db), 1);
}

/* ---- the databases
 * -------------------------------------------------------------------------- */

/* The one column type whose name differs. */
static void
make_blobs(struct fixture *f, const char *type)
{
	assert_int_equal(
	    kb_exec(&f->cx,
		kb_sprintf(
		    f->arena, "CREATE TABLE blobs (id BIGINT, data %s)", type)),
	    KB_OK);
}

static int
open_file(void **state)
{
	struct fixture *f = fixture_sqlite();

	make_blobs(f, "BLOB");
	*state = f;
	return 0;
}

static int
open_memory(void **state)
{
	struct fixture *f = fixture_new();

	snprintf(f->url, sizeof(f->url), "sqlite::memory:");
	fixture_open(f);
	make_blobs(f, "BLOB");
	*state = f;
	return 0;
}

static struct pgsql server;

static int
open_pgsql(void **state)
{
	struct fixture *f = fixture_new();

	assert_true(pgsql_init(&server));
	snprintf(f->url, sizeof(f->url), "postgresql://kombi@/postgres?host=%s",
	    server.dir);
	kb_secret_set(&f->password, PGSQL_PASSWORD, strlen(PGSQL_PASSWORD));
	fixture_open(f);
	make_blobs(f, "BYTEA");
	*state = f;
	return 0;
}

static int
shut_pgsql(void **state)
{
	fixture_free(*state);
	pgsql_free(&server);
	return 0;
}

static int
shut(void **state)
{
	fixture_free(*state);
	return 0;
}

#define TESTS(T)                                                               \
	T(what_is_stored_is_read_back), T(null_is_null_and_empty_is_empty),    \
	    T(parameters_are_bound_by_their_number),                           \
	    T(bytes_are_kept_as_they_are), T(a_parameter_may_be_used_twice),   \
	    T(values_cannot_become_sql), T(all_rows_come_as_an_array),         \
	    T(a_cursor_may_be_left_early_and_next_after_the_end_is_false),     \
	    T(queries_nest_and_see_what_was_written_meanwhile),                \
	    T(changed_rows_are_counted), T(violations_are_told_apart),         \
	    T(a_wrong_statement_is_an_internal_error_and_harms_nothing),       \
	    T(a_deadline_that_has_passed_stops_at_once),                       \
	    T(a_transaction_is_all_or_nothing),                                \
	    T(a_transaction_in_which_a_statement_failed_does_not_commit),      \
	    T(nested_transactions_join_the_outer_one),                         \
	    T(a_query_in_a_transaction_may_write_and_return),                  \
	    T(sixteen_threads_read_and_write_without_an_error),                \
	    T(statements_are_prepared_once),                                   \
	    T(more_texts_than_the_cache_holds_are_fine),                       \
	    T(the_database_answers_a_ping_and_knows_its_version)

int
main(void)
{
	const struct CMUnitTest tests[] = { TESTS(cmocka_unit_test) };
	const char *why = pgsql_find(&server);
	int failed = 0;

	fixture_quiet();
	failed += cmocka_run_group_tests_name(
	    "sqlite file", tests, open_file, shut);
	failed += cmocka_run_group_tests_name(
	    "sqlite memory", tests, open_memory, shut);
	if (why != NULL)
		print_message("skipped for PostgreSQL: %s\n", why);
	else
		failed += cmocka_run_group_tests_name(
		    "postgresql", tests, open_pgsql, shut_pgsql);
	return failed;
}
