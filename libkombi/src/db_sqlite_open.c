/*
 * One SQLite database file: locked against other processes, checked after an
 * unclean stop, its reading connections lent out, its backup.
 */
#include "db_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/time.h>

enum {
	READERS = 8,
	WAIT_MS = 1000,  /* for a free reader */
	RETRY_MS = 1000, /* between attempts to open a failed writer */
};

/* Larger files are not read through at start; the log says so. */
static const off_t check_most = 64 << 20;

/* Content of the lock file while the database is open. */
static const char in_use[] = "open\n";

static struct sqlite_db *
db_of(struct kb_db *base)
{
	return KB_CONTAINER(base, struct sqlite_db, base);
}

static enum kb_err
refuse(const struct sqlite_db *db, const char *message, int error)
{
	kb_error(NULL, message, KB_S("file", db->path),
	    KB_S("reason", error ? strerrordesc_np(error) : NULL));
	return KB_UNAVAILABLE;
}

/* ---- files
 * -------------------------------------------------------------------- */

static int
open_private(const char *path)
{
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Two processes on one file would each believe to be its only writer. */
static enum kb_err
take_lock(struct sqlite_db *db, bool *unclean)
{
	struct kb_arena *a = kb_arena_new(0);
	char *path = kb_sprintf(a, "%s.lock", db->path);
	enum kb_err err = KB_OK;

	db->lock_fd = open_private(path);
	if (db->lock_fd < 0)
		err = refuse(db, "database: cannot create lock file", errno);
	else if (flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0)
		err = refuse(
		    db, "database: file is in use by another process", errno);
	else if (lseek(db->lock_fd, 0, SEEK_END) > 0)
		*unclean = true;
	else if (write(db->lock_fd, in_use, strlen(in_use)) < 0)
		err = refuse(db, "database: cannot write lock file", errno);
	kb_arena_free(a);
	return err;
}

static void
drop_lock(struct sqlite_db *db, bool clean)
{
	if (db->lock_fd < 0)
		return;
	if (clean && ftruncate(db->lock_fd, 0) != 0)
		kb_warn(NULL, "database: cannot clear lock file",
		    KB_S("file", db->path));
	close(db->lock_fd);
}

/* Made here and not by SQLite, so that nobody else can read it. */
static enum kb_err
make_file(struct sqlite_db *db)
{
	int fd = open_private(db->path);

	if (fd < 0)
		return refuse(db, "database: cannot open file", errno);
	close(fd);
	return KB_OK;
}

/* ---- writer
 * --------------------------------------------------------------------- */

static enum kb_err
check(struct sqlite_db *db)
{
	struct stat st;

	if (stat(db->path, &st) != 0 || st.st_size > check_most) {
		kb_warn(NULL, "database: too large to check after a failure",
		    KB_S("file", db->path));
		return KB_OK;
	}
	if (sqlite_check(db->writer))
		return KB_OK;
	return refuse(db, "database: file is damaged", 0);
}

static enum kb_err
open_writer(struct sqlite_db *db, bool doubt)
{
	enum kb_err err = sqlite_conn_open(db, true, &db->writer);

	if (!err && doubt)
		err = check(db);
	if (err) {
		sqlite_conn_close(db->writer);
		db->writer = NULL;
		db->retry_ms = kb_mono_ms() + RETRY_MS;
	}
	return err;
}

/* A failed fsync cannot be repeated: what a handle believes is gone with it. */
enum kb_err
sqlite_writer(struct sqlite_db *db)
{
	if (db->writer != NULL && !db->writer->broken)
		return KB_OK;
	sqlite_conn_close(db->writer);
	db->writer = NULL;
	if (kb_mono_ms() < db->retry_ms)
		return KB_UNAVAILABLE;
	return open_writer(db, true);
}

/* ---- open and close
 * --------------------------------------------------------------- */

/* Connections are used by one thread at a time: no need for its locks. */
static void
configure_once(void)
{
	sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static struct sqlite_db *
db_new(const struct kb_db_conf *conf)
{
	struct sqlite_db *db = kb_xalloc(sizeof(*db));
	const char *path = conf->url + strlen(kb_db_sqlite.scheme);
	pthread_mutexattr_t again;
	pthread_condattr_t monotonic;

	*db = (struct sqlite_db) {
		.base.driver = &kb_db_sqlite,
		.path = kb_xstrdup(path),
		.lock_fd = -1,
		.memory = kb_str_eq(path, ":memory:"),
		.durable_off = conf->durable_off,
		.most = conf->connections ? conf->connections : READERS,
	};
	db->waiting.tail = &db->waiting.head;
	pthread_mutexattr_init(&again);
	pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&db->only, &again);
	pthread_mutexattr_destroy(&again);
	pthread_mutex_init(&db->readers, NULL);
	pthread_mutex_init(&db->queue, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&db->reader_free, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return db;
}

static void
close_db(struct sqlite_db *db, bool clean)
{
	assert(db->lent == NULL);
	while (db->idle != NULL) {
		struct sqlite_conn *c = db->idle;

		db->idle = c->next;
		sqlite_conn_close(c);
	}
	/* Last: it folds the write-ahead log into the file. */
	clean = clean && db->writer != NULL && !db->writer->broken;
	sqlite_conn_close(db->writer);
	drop_lock(db, clean);
	pthread_cond_destroy(&db->reader_free);
	pthread_mutex_destroy(&db->queue);
	pthread_mutex_destroy(&db->readers);
	pthread_mutex_destroy(&db->only);
	free(db->path);
	free(db);
}

enum kb_err
sqlite_open(const struct kb_db_conf *conf, struct kb_db **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sqlite_db *db = db_new(conf);
	bool unclean = false;
	enum kb_err err = KB_OK;

	pthread_once(&once, configure_once);
	if (!db->memory)
		err = take_lock(db, &unclean);
	if (!err && !db->memory)
		err = make_file(db);
	if (!err)
		err = open_writer(db, unclean);
	if (err) {
		close_db(db, false);
		return err;
	}
	*out = &db->base;
	return KB_OK;
}

void
sqlite_close(struct kb_db *base)
{
	close_db(db_of(base), true);
}

/* ---- readers
 * ------------------------------------------------------------------------ */

static bool
holds_one(const struct sqlite_db *db)
{
	const struct sqlite_conn *c = db->lent;

	while (c != NULL && !pthread_equal(c->borrower, pthread_self()))
		c = c->next;
	return c != NULL;
}

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

/*
 * Waits until there is an idle one or one may be opened. Whoever holds one
 * already (a query inside of the loop of another) may go over the limit: if
 * it waited, all might wait for each other.
 */
static bool
wait_for_reader(struct sqlite_db *db, const struct kb_cx *cx)
{
	struct timespec until = after_ms(kb_cx_left_ms(cx, WAIT_MS));
	bool may = holds_one(db);

	while (!may && db->idle == NULL && db->open >= db->most)
		if (pthread_cond_timedwait(
			&db->reader_free, &db->readers, &until) != 0)
			return db->idle != NULL || db->open < db->most;
	return true;
}

static void
lend(struct sqlite_db *db, struct sqlite_conn *c)
{
	c->borrower = pthread_self();
	c->next = db->lent;
	db->lent = c;
}

static enum kb_err
borrow_reader(struct sqlite_db *db, struct kb_cx *cx, struct sqlite_conn **out)
{
	enum kb_err err = KB_OK;
	struct sqlite_conn *c;

	pthread_mutex_lock(&db->readers);
	if (!wait_for_reader(db, cx)) {
		pthread_mutex_unlock(&db->readers);
		kb_warn(cx->log, "database: all readers are busy",
		    KB_S("file", db->path), KB_N("readers", db->most));
		return KB_UNAVAILABLE;
	}
	c = db->idle;
	if (c != NULL)
		db->idle = c->next;
	else
		db->open++;
	if (c == NULL) {
		pthread_mutex_unlock(&db->readers);
		err = sqlite_conn_open(db, false, &c);
		pthread_mutex_lock(&db->readers);
	}
	if (err) {
		db->open--;
		pthread_cond_signal(&db->reader_free);
	} else {
		lend(db, c);
	}
	pthread_mutex_unlock(&db->readers);
	*out = c;
	return err;
}

enum kb_err
sqlite_borrow(struct kb_cx *cx, struct kb_db_conn **out)
{
	struct sqlite_db *db = db_of(cx->db);
	struct sqlite_conn *c = NULL;
	enum kb_err err = KB_OK;

	if (cx->deadline_ms != 0 && kb_mono_ms() > cx->deadline_ms)
		return KB_TIMEOUT;
	if (db->memory) {
		pthread_mutex_lock(&db->only);
		c = db->writer;
	} else {
		err = borrow_reader(db, cx, &c);
	}
	if (!err)
		*out = &c->base;
	return err;
}

void
sqlite_give_back(struct kb_db_conn *base)
{
	struct sqlite_conn *c = KB_CONTAINER(base, struct sqlite_conn, base);
	struct sqlite_db *db = db_of(base->db);
	struct sqlite_conn **p = &db->lent;
	bool keep;

	if (db->memory) {
		pthread_mutex_unlock(&db->only);
		return;
	}
	assert(c->cursors == 0);
	pthread_mutex_lock(&db->readers);
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	keep = !c->broken && db->open <= db->most;
	if (keep) {
		c->next = db->idle;
		db->idle = c;
	} else {
		db->open--;
	}
	pthread_cond_signal(&db->reader_free);
	pthread_mutex_unlock(&db->readers);
	if (!keep)
		sqlite_conn_close(c);
}

/* ---- backup
 * -------------------------------------------------------------------------- */

/*
 * All in one step: one read transaction sees one state, and with a
 * write-ahead log it keeps no writer waiting. In several steps every commit
 * between them would start the copy anew.
 */
static int
copy_into(struct sqlite_conn *from, const char *path)
{
	sqlite3 *to = NULL;
	sqlite3_backup *b = NULL;
	int rc = sqlite3_open_v2(path, &to,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
	    NULL);

	if (rc == SQLITE_OK)
		b = sqlite3_backup_init(to, "main", from->h, "main");
	if (b != NULL) {
		sqlite3_backup_step(b, -1);
		rc = sqlite3_backup_finish(b);
	} else if (rc == SQLITE_OK) {
		rc = sqlite3_extended_errcode(to);
	}
	/* One file without a log beside it: it is carried elsewhere. */
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(
		    to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
	sqlite3_close_v2(to);
	return rc;
}

/* Only where nothing is: a backup must not overwrite another. */
static enum kb_err
make_new(const char *path)
{
	int fd = open(
	    path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		kb_error(NULL, "database: cannot create backup file",
		    KB_S("file", path), KB_S("reason", strerrordesc_np(errno)));
		return errno == EEXIST ? KB_CONFLICT : KB_UNAVAILABLE;
	}
	close(fd);
	return KB_OK;
}

enum kb_err
sqlite_backup(struct kb_db *base, const char *path)
{
	struct kb_cx cx = { .db = base };
	struct kb_db_conn *from = NULL;
	enum kb_err err = make_new(path);
	int rc;

	if (err)
		return err;
	err = sqlite_borrow(&cx, &from);
	if (!err) {
		struct sqlite_conn *c = KB_CONTAINER(
		    from, struct sqlite_conn, base);

		c->deadline_ms = 0;
		rc = copy_into(c, path);
		if (rc != SQLITE_OK)
			err = sqlite_error(c, NULL, rc, "(backup)");
		sqlite_give_back(from);
	}
	if (err)
		unlink(path);
	return err;
}
