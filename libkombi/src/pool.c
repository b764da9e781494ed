/*
 * Worker threads behind a loop: hands tasks over and back. The lock covers
 * the two queues and the counters, never a task's work.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <kombi/arena.h>
#include <kombi/log.h>
#include <kombi/pool.h>
#include <kombi/time.h>

#define LANES 256 /* owners share one when their hashes meet */
#define SLOW_NICE 10
#define AGE_MS 500 /* what a lane used counts half after so long */
#define HEAVY_NS 300000000
#define ABOUT_MS 1000 /* a lane that ran so lately is about */

struct queue {
	struct kb_task *head, **tail;
	unsigned n;
};

enum speed { FAST, SLOW, SPEEDS };

struct lane {
	struct queue todo;
	unsigned busy;
	bool ready;        /* is in a list of lanes that may go on */
	struct lane *next; /* of that list */
	int64_t cpu_ns, aged_ms;
};

/* Lanes that have a task and may run it, the one that waited longest first. */
struct lanes {
	struct lane *head, **tail;
	pthread_cond_t wake;
};

struct kb_pool {
	pthread_mutex_t lock;         /* all but ev, efd, threads */
	struct lane lanes[LANES + 1]; /* [0]: nobody's */
	struct lanes ready[SPEEDS];
	struct queue back;
	unsigned waiting, busy, limit, n_threads, n_slow;
	bool stopping;
	/* the lane that ran last, and the last one that was another */
	struct {
		const struct lane *lane;
		int64_t ms;
	} last, before;
	int efd; /* tells the loop that `back` is no longer empty */
	struct event *ev;
	pthread_t *threads;
};

static void
queue_init(struct queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
	q->n = 0;
}

static void
queue_push(struct queue *q, struct kb_task *t)
{
	t->next = NULL;
	*q->tail = t;
	q->tail = &t->next;
	q->n++;
}

static struct kb_task *
queue_take(struct queue *q)
{
	struct kb_task *t = q->head;

	q->head = t->next;
	if (q->head == NULL)
		q->tail = &q->head;
	q->n--;
	return t;
}

/* ---- lanes ----------------------------------------------------------------
 */

static struct lane *
lane_of(struct kb_pool *p, const struct kb_task *t)
{
	return &p->lanes[t->lane ? 1 + t->lane % LANES : 0];
}

static bool
is_nobodys(const struct kb_pool *p, const struct lane *lane)
{
	return lane == &p->lanes[0];
}

/* A quarter of the threads is left to others. */
static unsigned
lane_threads(const struct kb_pool *p, const struct lane *lane)
{
	unsigned most = p->n_threads - p->n_threads / 4;

	return is_nobodys(p, lane) ? p->n_threads : most;
}

static unsigned
lane_room(const struct kb_pool *p, const struct lane *lane)
{
	return is_nobodys(p, lane) ? p->limit : p->limit - p->limit / 4;
}

static bool
others_are_about(const struct kb_pool *p, const struct lane *lane, int64_t now)
{
	if (p->last.lane != NULL && p->last.lane != lane)
		return now - p->last.ms < ABOUT_MS;
	return p->before.lane != NULL && now - p->before.ms < ABOUT_MS;
}

static void
lane_age(struct lane *lane, int64_t now)
{
	int64_t halves = (now - lane->aged_ms) / AGE_MS;

	if (halves <= 0)
		return;
	lane->cpu_ns >>= halves < 62 ? halves : 62;
	lane->aged_ms = now;
}

static enum speed
lane_speed(struct kb_pool *p, struct lane *lane, int64_t now)
{
	if (p->n_slow == 0 || p->stopping || is_nobodys(p, lane))
		return FAST;
	lane_age(lane, now);
	return lane->cpu_ns > HEAVY_NS && others_are_about(p, lane, now) ? SLOW
									 : FAST;
}

static void
lane_go_on(struct kb_pool *p, struct lane *lane, int64_t now)
{
	struct lanes *to;

	if (lane->ready || lane->todo.n == 0 ||
	    lane->busy >= lane_threads(p, lane))
		return;
	to = &p->ready[lane_speed(p, lane, now)];
	lane->ready = true;
	lane->next = NULL;
	*to->tail = lane;
	to->tail = &lane->next;
	pthread_cond_signal(&to->wake);
}

static struct lane *
lane_take(struct lanes *from)
{
	struct lane *lane = from->head;

	from->head = lane->next;
	if (from->head == NULL)
		from->tail = &from->head;
	lane->ready = false;
	return lane;
}

static void
lane_was_used(struct kb_pool *p, const struct lane *lane, int64_t now)
{
	if (p->last.lane != lane)
		p->before = p->last;
	p->last.lane = lane;
	p->last.ms = now;
}

static int64_t
thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- workers ---------------------------------------------------------------
 */

static void
give_back(struct kb_pool *p, struct kb_task *t)
{
	bool first = p->back.head == NULL;

	queue_push(&p->back, t);
	if (first)
		(void)eventfd_write(p->efd, 1);
}

/* Under the lock, which is left while the task runs. */
static void
run_one(struct kb_pool *p, struct lane *lane)
{
	struct kb_task *t = queue_take(&lane->todo);
	bool counted = p->n_slow > 0 && !is_nobodys(p, lane);
	int64_t now = kb_mono_ms(), cpu = 0;

	p->waiting--;
	p->busy++;
	lane->busy++;
	lane_was_used(p, lane, now);
	lane_go_on(p, lane, now);
	pthread_mutex_unlock(&p->lock);
	if (counted)
		cpu = thread_cpu_ns();
	t->work(t);
	if (counted)
		cpu = thread_cpu_ns() - cpu;
	pthread_mutex_lock(&p->lock);
	p->busy--;
	lane->busy--;
	lane->cpu_ns += cpu;
	lane_go_on(p, lane, now);
	give_back(p, t);
}

static void
worker(struct kb_pool *p, enum speed speed)
{
	struct lanes *mine = &p->ready[speed];

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (mine->head == NULL && !p->stopping)
			pthread_cond_wait(&mine->wake, &p->lock);
		if (mine->head == NULL)
			break;
		run_one(p, lane_take(mine));
	}
	pthread_mutex_unlock(&p->lock);
}

static void *
fast_main(void *arg)
{
	worker(arg, FAST);
	return NULL;
}

static void *
slow_main(void *arg)
{
	/* Of this thread alone, on Linux. Without it there are still turns. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), SLOW_NICE);
	worker(arg, SLOW);
	return NULL;
}

/* On the loop: what the workers have finished. */
static void
deliver(struct kb_pool *p)
{
	struct kb_task *head;

	pthread_mutex_lock(&p->lock);
	head = p->back.head;
	queue_init(&p->back);
	pthread_mutex_unlock(&p->lock);

	for (struct kb_task *t = head, *next; t != NULL; t = next) {
		next = t->next;
		t->done(t);
	}
}

static void
on_back(evutil_socket_t fd, short what, void *arg)
{
	eventfd_t n;

	(void)what;
	(void)eventfd_read(fd, &n);
	deliver(arg);
}

/* Signals belong to the loop's thread. */
static void
start_threads(
    pthread_t *to, unsigned n, void *(*run)(void *), struct kb_pool *p)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&to[i], NULL, run, p) != 0)
			kb_fatal(
			    "cannot start worker thread %u of %u", i + 1, n);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct kb_pool *
kb_pool_new(struct event_base *base, unsigned threads, unsigned queue)
{
	struct kb_pool *p = kb_xalloc(sizeof(*p));

	assert(threads > 0);
	*p = (struct kb_pool) { .limit = queue, .n_threads = threads };
	pthread_mutex_init(&p->lock, NULL);
	for (int i = 0; i < SPEEDS; i++) {
		p->ready[i].tail = &p->ready[i].head;
		pthread_cond_init(&p->ready[i].wake, NULL);
	}
	for (size_t i = 0; i <= LANES; i++)
		queue_init(&p->lanes[i].todo);
	queue_init(&p->back);
	p->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (p->efd < 0)
		kb_fatal("cannot make an eventfd (errno %d)", errno);
	p->ev = event_new(base, p->efd, EV_READ | EV_PERSIST, on_back, p);
	if (p->ev == NULL || event_add(p->ev, NULL) != 0)
		kb_fatal("cannot watch the worker pool");
	p->threads = kb_xalloc(2 * threads * sizeof(*p->threads));
	start_threads(p->threads, threads, fast_main, p);
	return p;
}

void
kb_pool_slow_lanes(struct kb_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->n_slow = p->n_threads;
	pthread_mutex_unlock(&p->lock);
	start_threads(p->threads + p->n_threads, p->n_slow, slow_main, p);
}

bool
kb_pool_submit(struct kb_pool *p, struct kb_task *t)
{
	struct lane *lane = lane_of(p, t);
	bool taken;

	t->queued_ms = kb_mono_ms();
	pthread_mutex_lock(&p->lock);
	taken = !p->stopping && p->waiting < p->limit &&
	    lane->todo.n < lane_room(p, lane);
	if (taken) {
		queue_push(&lane->todo, t);
		p->waiting++;
		lane_go_on(p, lane, t->queued_ms);
	}
	pthread_mutex_unlock(&p->lock);
	return taken;
}

/* The counters change under the lock; a look at them takes it too. */
static unsigned
read_counter(const struct kb_pool *p, const unsigned *counter)
{
	pthread_mutex_t *lock = &((struct kb_pool *)(uintptr_t)p)->lock;
	unsigned n;

	pthread_mutex_lock(lock);
	n = *counter;
	pthread_mutex_unlock(lock);
	return n;
}

unsigned
kb_pool_waiting(const struct kb_pool *p)
{
	return read_counter(p, &p->waiting);
}

unsigned
kb_pool_busy(const struct kb_pool *p)
{
	return read_counter(p, &p->busy);
}

void
kb_pool_free(struct kb_pool *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	for (int i = 0; i < SPEEDS; i++)
		pthread_cond_broadcast(&p->ready[i].wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads + p->n_slow; i++)
		pthread_join(p->threads[i], NULL);
	deliver(p);
	event_free(p->ev);
	close(p->efd);
	for (int i = 0; i < SPEEDS; i++)
		pthread_cond_destroy(&p->ready[i].wake);
	pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}
