/*
 * What only SQLite promises: group commit, one process a file, survival of
 * kill -9, backups, and a connection that a hostile file cannot use.
 */
#include "db_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "db_sqlite.h"

/* Children of the kill test make threads, which TSan allows only if told. */
const char *__tsan_default_options(void);

__attribute__((visibility("default"))) const char *
__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static int
setup(void **state)
{
	*state = fixture_sqlite();
	return 0;
}

static int
teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* Tests wait for a state, never for a time; this only ends a broken one. */
static void
await(bool (*reached)(void *), void *arg)
{
	int64_t limit = kb_mono_ms() + 20000;

	while (!reached(arg)) {
		assert_true(kb_mono_ms() < limit);
		sched_yield();
	}
}

/* ---- group commit
 * --------------------------------------------------------------- */

enum { MEMBERS = 8 };

struct member {
	pthread_t thread;
	struct kb_db *db;
	int number;
	kb_tx_fn *fn;
	int64_t deadline_ms;
	enum kb_err err;
	atomic_int runs;
};

static bool
all_wait(void *arg)
{
	struct sqlite_db *db = arg;
	int n = 0;

	pthread_mutex_lock(&db->queue);
	for (struct sqlite_waiter *w = db->waiting.head; w; w = w->next)
		n++;
	pthread_mutex_unlock(&db->queue);
	return n == MEMBERS;
}

static void *
member_main(void *arg)
{
	struct member *m = arg;
	struct kb_cx cx = { .arena = kb_arena_new(0), .db = m->db };

	if (m->deadline_ms != 0)
		cx.deadline_ms = kb_mono_ms() + m->deadline_ms;
	m->err = kb_transaction(&cx, m->fn, m);
	kb_arena_free(cx.arena);
	return NULL;
}

struct party {
	struct kb_db *db;
	struct member *members;
	bool started;
};

/* Leads; the members come while it runs, so all of them have to wait. */
static enum kb_err
first_waits_for_the_others(struct kb_cx *cx, void *arg)
{
	struct party *p = arg;

	for (int i = 0; !p->started && i < MEMBERS; i++) {
		p->members[i].db = p->db;
		p->members[i].number = i;
		pthread_create(
		    &p->members[i].thread, NULL, member_main, &p->members[i]);
	}
	if (!p->started)
		await(all_wait, KB_CONTAINER(p->db, struct sqlite_db, base));
	p->started = true;
	return thing_insert(cx, "first", 0);
}

static void
run_together(struct fixture *f, struct member *members)
{
	struct party p = { f->db, members, false };

	assert_int_equal(
	    kb_transaction(&f->cx, first_waits_for_the_others, &p), KB_OK);
	for (int i = 0; i < MEMBERS; i++)
		pthread_join(members[i].thread, NULL);
}

static enum kb_err
insert_own(struct kb_cx *cx, void *arg)
{
	struct member *m = arg;

	atomic_fetch_add(&m->runs, 1);
	return thing_insert(
	    cx, kb_sprintf(cx->arena, "member-%d", m->number), m->number);
}

static enum kb_err
insert_and_refuse(struct kb_cx *cx, void *arg)
{
	enum kb_err err = insert_own(cx, arg);

	return err ? err : KB_QUOTA;
}

static enum kb_err
insert_a_conflict(struct kb_cx *cx, void *arg)
{
	enum kb_err err = insert_own(cx, arg);

	return err ? err : thing_insert(cx, "first", 1);
}

static void
writers_that_wait_commit_together(void **state)
{
	struct fixture *f = *state;
	struct member members[MEMBERS] = { 0 };
	uint64_t commits = atomic_load(&f->db->stats.commits);
	uint64_t done = atomic_load(&f->db->stats.transactions);

	for (int i = 0; i < MEMBERS; i++)
		members[i].fn = insert_own;
	run_together(f, members);
	for (int i = 0; i < MEMBERS; i++)
		assert_int_equal(members[i].err, KB_OK);
	assert_int_equal(things_count(&f->cx), 1 + MEMBERS);
	assert_int_equal(
	    atomic_load(&f->db->stats.transactions) - done, 1 + MEMBERS);
	assert_in_range(atomic_load(&f->db->stats.commits) - commits, 1, 2);
}

static void
a_rolled_back_member_does_not_touch_the_others(void **state)
{
	struct fixture *f = *state;
	struct member members[MEMBERS] = { 0 };

	for (int i = 0; i < MEMBERS; i++)
		members[i].fn = insert_own;
	members[2].fn = insert_and_refuse;
	members[5].fn = insert_a_conflict;
	run_together(f, members);
	for (int i = 0; i < MEMBERS; i++)
		assert_int_equal(members[i].err,
		    i == 2       ? KB_QUOTA
			: i == 5 ? KB_CONFLICT
				 : KB_OK);
	assert_int_equal(things_count(&f->cx), 1 + MEMBERS - 2);
}

/* An interrupted write ends SQLite's whole transaction, not its savepoint. */
static enum kb_err
insert_for_ever(struct kb_cx *cx, void *arg)
{
	struct member *m = arg;

	atomic_fetch_add(&m->runs, 1);
	return kb_exec(cx,
	    "INSERT INTO things (id) WITH RECURSIVE c (x) AS (SELECT 1 UNION"
	    " ALL SELECT x + 1 FROM c WHERE x < 100000000) SELECT x FROM c");
}

static void
a_member_that_takes_the_transaction_down_is_the_only_one_to_fail(void **state)
{
	struct fixture *f = *state;
	struct member members[MEMBERS] = { 0 };
	int runs = 0;

	for (int i = 0; i < MEMBERS; i++)
		members[i].fn = insert_own;
	members[4].fn = insert_for_ever;
	members[4].deadline_ms = 2000;
	run_together(f, members);
	for (int i = 0; i < MEMBERS; i++) {
		assert_int_equal(members[i].err, i == 4 ? KB_TIMEOUT : KB_OK);
		runs += atomic_load(&members[i].runs);
	}
	assert_true(runs >= MEMBERS);
	assert_int_equal(things_count(&f->cx), 1 + MEMBERS - 1);
}

static enum kb_err
insert_orphan(struct kb_cx *cx, void *arg)
{
	struct member *m = arg;

	return kb_exec(cx, "INSERT INTO later (id, thing) VALUES ($1, 'none')",
	    KB_INT(m->number));
}

static enum kb_err
make_later(struct kb_cx *cx, void *arg)
{
	(void)arg;
	return kb_exec(cx,
	    "CREATE TABLE later (id BIGINT, thing TEXT REFERENCES things (id)"
	    " DEFERRABLE INITIALLY DEFERRED)");
}

static void
a_deferred_foreign_key_fails_its_own_member(void **state)
{
	struct fixture *f = *state;
	struct member members[MEMBERS] = { 0 };

	assert_int_equal(kb_transaction(&f->cx, make_later, NULL), KB_OK);
	for (int i = 0; i < MEMBERS; i++)
		members[i].fn = i == 3 ? insert_orphan : insert_own;
	run_together(f, members);
	for (int i = 0; i < MEMBERS; i++)
		assert_int_equal(members[i].err, i == 3 ? KB_CONFLICT : KB_OK);
}

/* ---- kill -9
 * ------------------------------------------------------------------------ */

struct writer {
	pthread_t thread;
	struct kb_db *db;
	int pipe;
	int round, number;
};

/* Tells an id only after its insert has returned KB_OK. */
static void *
write_and_tell(void *arg)
{
	struct writer *w = arg;
	struct kb_cx cx = { .db = w->db };

	for (int i = 0;; i++) {
		char id[64] = { 0 };

		cx.arena = kb_arena_new(0);
		snprintf(id, sizeof(id), "%d-%d-%d", w->round, w->number, i);
		if (thing_insert(&cx, id, i) != KB_OK)
			_exit(2);
		if (write(w->pipe, id, sizeof(id)) != (ssize_t)sizeof(id))
			_exit(3);
		kb_arena_free(cx.arena);
	}
	return NULL;
}

static void
child_writes(const struct fixture *f, int round, int pipe)
{
	const struct kb_db_conf conf = { .url = f->url };
	struct writer writers[4];
	struct kb_db *db;

	if (kb_db_open(&conf, &db) != KB_OK)
		_exit(1);
	for (int i = 0; i < 4; i++) {
		writers[i] = (struct writer) { 0, db, pipe, round, i };
		pthread_create(
		    &writers[i].thread, NULL, write_and_tell, &writers[i]);
	}
	pause();
}

/* Reads what was told; kills the child in the middle of it. */
static size_t
kill_while_it_writes(
    struct fixture *f, int round, char (*told)[64], size_t most)
{
	int ends[2];
	pid_t child;
	size_t n = 0;
	int status;
	size_t least = 5 + (size_t)round * 7;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(ends[0]);
		child_writes(f, round, ends[1]);
	}
	close(ends[1]);
	while (n < most && read(ends[0], told[n], 64) == 64)
		if (++n == least)
			kill(child, SIGKILL);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(ends[0]);
	return n;
}

static bool
is_there(struct kb_cx *cx, const char *id)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT n FROM things WHERE id = $1", KB_TEXT(id));
	struct fixture_number n;

	return kb_rows_one(&rows, fixture_number_cols, &n) == KB_OK;
}

static void
no_acknowledged_row_is_lost_by_kill_9(void **state)
{
	struct fixture *f = *state;
	static char told[4096][64];
	size_t all = 0;

	for (int round = 0; round < 20; round++) {
		size_t n;

		fixture_close(f);
		n = kill_while_it_writes(f, round, told, KB_COUNT(told));
		fixture_open(f);
		assert_true(n > 0);
		for (size_t i = 0; i < n; i++)
			assert_true(is_there(&f->cx, told[i]));
		all += n;
	}
	assert_true((size_t)things_count(&f->cx) >= all);
}

/* ---- one process a file
 * ---------------------------------------------------------------- */

static int
open_in_child(const struct fixture *f)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		const struct kb_db_conf conf = { .url = f->url };
		struct kb_db *db;
		enum kb_err err = kb_db_open(&conf, &db);

		_exit((int)err);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WEXITSTATUS(status);
}

static void
a_second_process_is_refused_while_the_first_has_the_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(open_in_child(f), KB_UNAVAILABLE);
	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
	fixture_close(f);
	assert_int_equal(open_in_child(f), KB_OK);
	fixture_open(f);
	assert_int_equal(things_count(&f->cx), 1);
}

static void
files_are_for_their_owner_only(void **state)
{
	static const char *const names[] = { "data.db", "data.db-wal",
		"data.db-shm", "data.db.lock" };
	struct fixture *f = *state;
	char path[128];
	struct stat st;

	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
	for (size_t i = 0; i < KB_COUNT(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
}

static void
a_missing_folder_is_told_and_not_made(void **state)
{
	struct kb_db_conf conf = { .url = "sqlite:/nowhere/at/all/data.db" };
	struct kb_db *db = NULL;

	(void)state;
	assert_int_equal(kb_db_open(&conf, &db), KB_UNAVAILABLE);
	conf.url = "mysql://localhost/x";
	assert_int_equal(kb_db_open(&conf, &db), KB_INTERNAL);
	assert_null(db);
}

/* ---- backup
 * ------------------------------------------------------------------------------
 */

static atomic_bool stop_writing;
static atomic_int pairs_written;

static enum kb_err
insert_pair(struct kb_cx *cx, void *arg)
{
	const int *i = arg;
	enum kb_err err = thing_insert(
	    cx, kb_sprintf(cx->arena, "%d-a", *i), *i);

	return err ? err
		   : thing_insert(cx, kb_sprintf(cx->arena, "%d-b", *i), *i);
}

static void *
write_pairs(void *arg)
{
	struct kb_cx cx = { .arena = kb_arena_new(0), .db = arg };

	for (int i = 0; !atomic_load(&stop_writing); i++) {
		assert_int_equal(kb_transaction(&cx, insert_pair, &i), KB_OK);
		atomic_fetch_add(&pairs_written, 1);
	}
	kb_arena_free(cx.arena);
	return NULL;
}

static bool
some_pairs(void *arg)
{
	return atomic_load(&pairs_written) >= *(int *)arg;
}

static void
a_backup_while_others_write_is_whole(void **state)
{
	struct fixture *f = *state;
	struct fixture copy = { 0 };
	char path[128];
	pthread_t thread;
	int wanted = 50;

	snprintf(path, sizeof(path), "%s/backup.db", f->dir);
	snprintf(copy.url, sizeof(copy.url), "sqlite:%s", path);
	atomic_store(&stop_writing, false);
	atomic_store(&pairs_written, 0);
	pthread_create(&thread, NULL, write_pairs, f->db);
	await(some_pairs, &wanted);
	assert_int_equal(kb_db_backup(f->db, path), KB_OK);
	wanted = atomic_load(&pairs_written) + 10;
	await(some_pairs, &wanted);
	atomic_store(&stop_writing, true);
	pthread_join(thread, NULL);
	fixture_open(&copy);
	assert_true(things_count(&copy.cx) >= 100);
	assert_true(things_count(&copy.cx) < things_count(&f->cx));
	assert_int_equal(things_count(&copy.cx) % 2, 0);
	fixture_close(&copy);
	assert_int_equal(kb_db_backup(f->db, path), KB_CONFLICT);
}

/* ---- hostile files and texts
 * ----------------------------------------------------------------- */

static enum kb_err
run_text(struct kb_cx *cx, void *arg)
{
	return kb_exec(cx, arg);
}

static void
statements_that_reach_outside_are_refused(void **state)
{
	static const char *const texts[] = {
		"ATTACH '/etc/passwd' AS x",
		"DETACH main",
		"PRAGMA journal_mode = DELETE",
		"PRAGMA synchronous = OFF",
		"PRAGMA writable_schema = ON",
		"PRAGMA foreign_keys = OFF",
		"SELECT load_extension('/tmp/x.so')",
		"COMMIT",
		"ROLLBACK",
		"SAVEPOINT x",
		"VACUUM INTO '/tmp/x.db'",
		"UPDATE sqlite_schema SET sql = 'x'",
	};
	struct fixture *f = *state;
	char text[128];

	for (size_t i = 0; i < KB_COUNT(texts); i++) {
		snprintf(text, sizeof(text), "%s", texts[i]);
		assert_int_equal(
		    kb_transaction(&f->cx, run_text, text), KB_INTERNAL);
	}
	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
}

static void
overwrite(const char *path, off_t at, const char *bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(
	    pwrite(fd, bytes, strlen(bytes), at), (ssize_t)strlen(bytes));
	close(fd);
}

static void
a_damaged_file_is_refused_after_an_unclean_stop(void **state)
{
	struct fixture *f = *state;
	const struct kb_db_conf conf = { .url = f->url };
	char path[128];
	struct kb_db *db = NULL;

	for (int i = 0; i < 200; i++)
		assert_int_equal(thing_insert(&f->cx,
				     kb_sprintf(f->arena, "thing-%d", i), i),
		    KB_OK);
	fixture_close(f);
	snprintf(path, sizeof(path), "%s/data.db", f->dir);
	overwrite(path, 4096, "this is not a page of a b-tree at all");
	snprintf(path, sizeof(path), "%s/data.db.lock", f->dir);
	overwrite(path, 0, "open\n");
	assert_int_equal(kb_db_open(&conf, &db), KB_UNAVAILABLE);
	assert_null(db);
}

static void
a_file_that_is_no_database_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct kb_db_conf conf = { .url = f->url };
	char path[128];
	struct kb_db *db = NULL;

	fixture_close(f);
	snprintf(path, sizeof(path), "%s/data.db", f->dir);
	overwrite(path, 0, "#!/bin/sh\necho not a database of any kind\n");
	assert_int_equal(kb_db_open(&conf, &db), KB_UNAVAILABLE);
	assert_null(db);
}

/* ---- limits
 * ------------------------------------------------------------------------------------
 */

static void
a_long_query_ends_at_its_deadline(void **state)
{
	struct fixture *f = *state;
	struct kb_cx cx = f->cx;
	struct kb_rows rows;
	struct fixture_number n;

	cx.deadline_ms = kb_mono_ms() + 50;
	rows = kb_query(&cx,
	    "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
	    " SELECT COUNT(*) FROM c");
	assert_int_equal(
	    kb_rows_one(&rows, fixture_number_cols, &n), KB_TIMEOUT);
	assert_true(kb_mono_ms() - cx.deadline_ms < 5000);
}

static void *
read_in_vain(void *arg)
{
	struct member *m = arg;
	struct kb_cx cx = {
		.arena = kb_arena_new(0),
		.db = m->db,
		.deadline_ms = kb_mono_ms() + 50,
	};
	struct kb_rows rows = kb_query(&cx, "SELECT n FROM things");

	m->err = kb_rows_end(&rows);
	kb_arena_free(cx.arena);
	return NULL;
}

static void
a_reader_waits_only_so_long_for_a_connection(void **state)
{
	struct fixture *f = *state;
	struct member m = { 0 };
	struct kb_db_conf conf = { .url = f->url, .connections = 1 };
	struct kb_rows rows;

	fixture_close(f);
	assert_int_equal(kb_db_open(&conf, &f->db), KB_OK);
	f->arena = kb_arena_new(0);
	f->cx = (struct kb_cx) { .arena = f->arena, .db = f->db };
	m.db = f->db;
	rows = kb_query(&f->cx, "SELECT n FROM things");
	pthread_create(&m.thread, NULL, read_in_vain, &m);
	pthread_join(m.thread, NULL);
	assert_int_equal(m.err, KB_UNAVAILABLE);
	assert_int_equal(kb_rows_end(&rows), KB_OK);
	pthread_create(&m.thread, NULL, read_in_vain, &m);
	pthread_join(m.thread, NULL);
	assert_int_equal(m.err, KB_OK);
}

static void
values_over_the_limit_are_too_large(void **state)
{
	struct fixture *f = *state;
	size_t size = 9u << 20;
	char *big = malloc(size + 1);

	memset(big, 'x', size);
	big[size] = '\0';
	assert_int_equal(kb_exec(&f->cx, "INSERT INTO things (id) VALUES ($1)",
			     KB_TEXT(big)),
	    KB_TOO_LARGE);
	free(big);
	assert_int_equal(thing_insert(&f->cx, "a", 1), KB_OK);
}

/* A child with a disk of 512 KiB; its exit code says where it failed. */
static int
fill_the_disk(struct fixture *f)
{
	char text[4001];
	enum kb_err err = KB_OK;
	int64_t before;
	int n = 0;

	fixture_open(f);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	while (!err && n < 1000) {
		err = kb_exec(&f->cx,
		    "INSERT INTO things (id, note) VALUES ($1, $2)",
		    KB_TEXT(kb_sprintf(f->arena, "%d", n)), KB_TEXT(text));
		n += !err;
	}
	if (err != KB_RESOURCE_LIMIT)
		return 10 + (int)err;
	before = things_count(&f->cx);
	if (before != n)
		return 4;
	if (mount(NULL, f->dir, NULL, MS_REMOUNT, "size=4m") != 0)
		return 5;
	err = thing_insert(&f->cx, "after", 1);
	if (err)
		return 60 + (int)err;
	return things_count(&f->cx) == n + 1 ? 0 : 6;
}

static void
a_full_disk_is_told_and_survived(void **state)
{
	struct fixture *f = *state;
	pid_t child;
	int status;

	fixture_close(f);
	child = fork();
	if (child == 0) {
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("tmpfs", f->dir, "tmpfs", 0, "size=512k") != 0)
			_exit(77);
		_exit(fill_the_disk(f));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WEXITSTATUS(status) == 77)
		skip(); /* needs the right to mount */
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
a_write_error_is_not_acknowledged_and_the_writer_recovers(void **state)
{
	struct fixture *f = *state;
	struct rlimit small = { 300000, RLIM_INFINITY };
	struct rlimit before;
	char text[4001];
	enum kb_err err = KB_OK;
	int n = 0;
	int64_t limit;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	setrlimit(RLIMIT_FSIZE, &small);
	while (!err && n < 1000) {
		err = kb_exec(&f->cx,
		    "INSERT INTO things (id, note) VALUES ($1, $2)",
		    KB_TEXT(kb_sprintf(f->arena, "%d", n)), KB_TEXT(text));
		n += !err;
	}
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(err, KB_UNAVAILABLE);
	assert_int_equal(things_count(&f->cx), n);
	limit = kb_mono_ms() + 5000;
	while (thing_insert(&f->cx, "after", 1) != KB_OK)
		assert_true(kb_mono_ms() < limit);
	assert_int_equal(things_count(&f->cx), n + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(writers_that_wait_commit_together),
		TEST(a_rolled_back_member_does_not_touch_the_others),
		TEST(
		    a_member_that_takes_the_transaction_down_is_the_only_one_to_fail),
		TEST(a_deferred_foreign_key_fails_its_own_member),
		TEST(no_acknowledged_row_is_lost_by_kill_9),
		TEST(a_second_process_is_refused_while_the_first_has_the_file),
		TEST(files_are_for_their_owner_only),
		TEST(a_missing_folder_is_told_and_not_made),
		TEST(a_backup_while_others_write_is_whole),
		TEST(statements_that_reach_outside_are_refused),
		TEST(a_damaged_file_is_refused_after_an_unclean_stop),
		TEST(a_file_that_is_no_database_is_refused),
		TEST(a_long_query_ends_at_its_deadline),
		TEST(a_reader_waits_only_so_long_for_a_connection),
		TEST(values_over_the_limit_are_too_large),
		TEST(a_full_disk_is_told_and_survived),
		TEST(a_write_error_is_not_acknowledged_and_the_writer_recovers),
	};

	fixture_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
