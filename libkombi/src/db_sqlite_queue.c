/*
 * The writers of one SQLite file, in a queue that commits together: who
 * comes first leads, runs the transactions that wait (each in a savepoint of
 * its own, with its own cx) and commits once for all of them. One fsync pays
 * for as many as had to wait for the last one.
 */
#include "db_sqlite.h"

#include <assert.h>

#include <kombi/time.h>

enum { BATCH_MOST = 64 };
static const int64_t batch_ns = 5000000; /* no new member after that */

/* What the leader has run since BEGIN. */
struct batch {
	struct sqlite_list good; /* wait for the COMMIT */
	struct sqlite_list bad;  /* have their error */
	unsigned n;
	bool open; /* between BEGIN and COMMIT or ROLLBACK */
};

static void
list_init(struct sqlite_list *l)
{
	*l = (struct sqlite_list) { .head = NULL, .tail = &l->head };
}

static void
list_push(struct sqlite_list *l, struct sqlite_waiter *w)
{
	w->next = NULL;
	*l->tail = w;
	l->tail = &w->next;
}

static struct sqlite_waiter *
list_take(struct sqlite_list *l)
{
	struct sqlite_waiter *w = l->head;

	if (w == NULL)
		return NULL;
	l->head = w->next;
	if (l->head == NULL)
		l->tail = &l->head;
	return w;
}

/* ---- a member of the batch
 * ------------------------------------------------------- */

static enum kb_err
control(struct sqlite_db *db, const struct sqlite_waiter *w,
    enum sqlite_control what)
{
	int rc = sqlite_control(db->writer, what);

	return rc ? sqlite_error(db->writer, w->cx->log, rc, NULL) : KB_OK;
}

/* The first needs no savepoint: its rollback is the batch's. */
static enum kb_err
member_begin(
    struct sqlite_db *db, struct batch *b, const struct sqlite_waiter *w)
{
	enum kb_err err;

	if (b->good.head != NULL)
		return control(db, w, SQLITE_CTL_SAVEPOINT);
	err = sqlite_writer(db);
	if (!err)
		err = control(db, w, SQLITE_CTL_BEGIN);
	b->open = !err;
	return err;
}

static enum kb_err
member_run(struct sqlite_db *db, const struct sqlite_waiter *w)
{
	struct sqlite_conn *c = db->writer;
	struct kb_cx cx = *w->cx;
	int cursors = c->cursors;
	enum kb_err err;

	cx.tx = &c->base;
	c->base.failed = KB_OK;
	err = w->fn(&cx, w->arg);
	assert(c->cursors == cursors); /* else a kb_rows_end is missing */
	if (!err)
		err = c->base.failed;
	if (!err && sqlite_has_deferred(c))
		err = KB_CONFLICT;
	return err;
}

/* SQLite gave the whole transaction up (disk full, I/O error, interrupted
 * write): the others of the batch have done nothing wrong and run again. */
static void
batch_lost(struct sqlite_db *db, struct batch *b)
{
	b->open = false;
	if (b->good.head == NULL)
		return;
	pthread_mutex_lock(&db->queue);
	*b->good.tail = db->waiting.head;
	if (db->waiting.head == NULL)
		db->waiting.tail = b->good.tail;
	db->waiting.head = b->good.head;
	pthread_mutex_unlock(&db->queue);
	list_init(&b->good);
}

static void
member_undo(
    struct sqlite_db *db, struct batch *b, const struct sqlite_waiter *w)
{
	bool alone = b->good.head == NULL;
	enum kb_err err = KB_OK;

	if (!b->open)
		return;
	if (sqlite_in_transaction(db->writer) && !alone) {
		err = control(db, w, SQLITE_CTL_ROLLBACK_TO);
		if (!err)
			err = control(db, w, SQLITE_CTL_RELEASE);
		if (!err)
			return;
	}
	if (sqlite_in_transaction(db->writer))
		err = control(db, w, SQLITE_CTL_ROLLBACK);
	if (err)
		db->writer->broken = true;
	batch_lost(db, b);
}

static void
member(struct sqlite_db *db, struct batch *b, struct sqlite_waiter *w)
{
	bool saved = b->good.head != NULL;

	b->n++;
	if (w->cx->deadline_ms != 0 && kb_mono_ms() > w->cx->deadline_ms) {
		w->err = KB_TIMEOUT;
		list_push(&b->bad, w);
		return;
	}
	w->err = member_begin(db, b, w);
	if (!w->err) {
		w->err = member_run(db, w);
		if (!w->err && saved)
			w->err = control(db, w, SQLITE_CTL_RELEASE);
		if (w->err)
			member_undo(db, b, w);
	}
	list_push(w->err ? &b->bad : &b->good, w);
}

/* ---- the leader
 * -------------------------------------------------------------------- */

static struct sqlite_waiter *
next_waiter(struct sqlite_db *db)
{
	struct sqlite_waiter *w;

	pthread_mutex_lock(&db->queue);
	w = list_take(&db->waiting);
	pthread_mutex_unlock(&db->queue);
	return w;
}

/* Nobody has been told success before this returns. */
static void
batch_commit(struct sqlite_db *db, struct batch *b)
{
	enum kb_err err;
	uint64_t n = 0;
	int64_t start = kb_mono_ns();

	if (!b->open)
		return;
	err = control(db, b->good.head, SQLITE_CTL_COMMIT);
	if (err && sqlite_in_transaction(db->writer) &&
	    sqlite_control(db->writer, SQLITE_CTL_ROLLBACK) != 0)
		db->writer->broken = true;
	if (err && err != KB_RESOURCE_LIMIT)
		err = KB_UNAVAILABLE;
	for (struct sqlite_waiter *w = b->good.head; w != NULL; w = w->next) {
		w->err = err;
		n++;
	}
	if (!err)
		kb_db_committed(&db->base, kb_mono_ns() - start, n);
}

static void
batch_run(struct sqlite_db *db, struct batch *b, struct sqlite_waiter *first)
{
	int64_t until = kb_mono_ns() + batch_ns;
	struct sqlite_waiter *w = first;

	list_init(&b->good);
	list_init(&b->bad);
	while (w != NULL) {
		member(db, b, w);
		w = b->n < BATCH_MOST && kb_mono_ns() < until ? next_waiter(db)
							      : NULL;
	}
	batch_commit(db, b);
}

/* The waiters live on their threads' stacks: not touched after DONE. */
static void
wake_all(struct sqlite_list *l)
{
	struct sqlite_waiter *w;

	while ((w = list_take(l)) != NULL) {
		w->state = SQLITE_DONE;
		pthread_cond_signal(&w->wake);
	}
}

static void
hand_over(struct sqlite_db *db)
{
	struct sqlite_waiter *next = db->waiting.head;

	db->running = next ? SQLITE_HANDED_OVER : SQLITE_IDLE;
	if (next == NULL)
		return;
	next->state = SQLITE_LEADS;
	pthread_cond_signal(&next->wake);
}

/* Called and returns with the queue locked; its own waiter may have been put
 * back by batch_lost(), so it leads until that one is done. */
static void
lead(struct sqlite_db *db, struct sqlite_waiter *own)
{
	db->running = SQLITE_RUNNING;
	db->leader = pthread_self();
	while (own->state != SQLITE_DONE) {
		struct batch b = { .n = 0 };
		struct sqlite_waiter *first = list_take(&db->waiting);

		pthread_mutex_unlock(&db->queue);
		batch_run(db, &b, first);
		pthread_mutex_lock(&db->queue);
		wake_all(&b.good);
		wake_all(&b.bad);
	}
	hand_over(db);
}

static void
queue_up(struct sqlite_db *db, struct sqlite_waiter *w)
{
	pthread_cond_init(&w->wake, NULL);
	pthread_mutex_lock(&db->queue);
	/* fn must use the cx that it was given: its tx is the writer. */
	assert(db->running != SQLITE_RUNNING ||
	    !pthread_equal(db->leader, pthread_self()));
	list_push(&db->waiting, w);
	if (db->running == SQLITE_IDLE)
		w->state = SQLITE_LEADS;
	while (w->state == SQLITE_WAITING)
		pthread_cond_wait(&w->wake, &db->queue);
	if (w->state == SQLITE_LEADS)
		lead(db, w);
	pthread_mutex_unlock(&db->queue);
	pthread_cond_destroy(&w->wake);
}

/* ":memory:": one connection, nothing to sync, so nothing to share. */
static void
run_alone(struct sqlite_db *db, struct sqlite_waiter *w)
{
	struct batch b = { .n = 0 };

	pthread_mutex_lock(&db->only);
	assert(!sqlite_in_transaction(db->writer));
	list_init(&b.good);
	list_init(&b.bad);
	member(db, &b, w);
	batch_commit(db, &b);
	pthread_mutex_unlock(&db->only);
}

enum kb_err
sqlite_transaction(struct kb_cx *cx, kb_tx_fn *fn, void *arg)
{
	struct sqlite_db *db = KB_CONTAINER(cx->db, struct sqlite_db, base);
	struct sqlite_waiter w = { .cx = cx, .fn = fn, .arg = arg };

	if (db->memory)
		run_alone(db, &w);
	else
		queue_up(db, &w);
	return w.err;
}
