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
#include <unistd.h>

#include <kombi/arena.h>
#include <kombi/log.h>
#include <kombi/pool.h>
#include <kombi/time.h>

struct queue {
	struct kb_task *head, **tail;
	unsigned n;
};

struct kb_pool {
	pthread_mutex_t lock; /* todo, back, busy, stopping */
	pthread_cond_t wake;
	struct queue todo, back;
	unsigned busy, limit, n_threads;
	bool stopping;
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

static void
give_back(struct kb_pool *p, struct kb_task *t)
{
	bool first = p->back.head == NULL;

	queue_push(&p->back, t);
	if (first)
		(void)eventfd_write(p->efd, 1);
}

static void *
worker_main(void *arg)
{
	struct kb_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->todo.head == NULL && !p->stopping)
			pthread_cond_wait(&p->wake, &p->lock);
		if (p->todo.head == NULL)
			break;
		struct kb_task *t = queue_take(&p->todo);
		p->busy++;
		pthread_mutex_unlock(&p->lock);

		t->work(t);

		pthread_mutex_lock(&p->lock);
		p->busy--;
		give_back(p, t);
	}
	pthread_mutex_unlock(&p->lock);
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
start_threads(struct kb_pool *p, unsigned threads)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&p->threads[i], NULL, worker_main, p) != 0)
			kb_fatal("cannot start worker thread %u of %u", i + 1,
			    threads);
	p->n_threads = threads;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct kb_pool *
kb_pool_new(struct event_base *base, unsigned threads, unsigned queue)
{
	struct kb_pool *p = kb_xalloc(sizeof(*p));

	assert(threads > 0);
	*p = (struct kb_pool) { .limit = queue };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	queue_init(&p->todo);
	queue_init(&p->back);
	p->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (p->efd < 0)
		kb_fatal("cannot make an eventfd (errno %d)", errno);
	p->ev = event_new(base, p->efd, EV_READ | EV_PERSIST, on_back, p);
	if (p->ev == NULL || event_add(p->ev, NULL) != 0)
		kb_fatal("cannot watch the worker pool");
	p->threads = kb_xalloc(threads * sizeof(*p->threads));
	start_threads(p, threads);
	return p;
}

bool
kb_pool_submit(struct kb_pool *p, struct kb_task *t)
{
	bool taken;

	t->queued_ms = kb_mono_ms();
	pthread_mutex_lock(&p->lock);
	taken = !p->stopping && p->todo.n < p->limit;
	if (taken) {
		queue_push(&p->todo, t);
		pthread_cond_signal(&p->wake);
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
	return read_counter(p, &p->todo.n);
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
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	deliver(p);
	event_free(p->ev);
	close(p->efd);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}
