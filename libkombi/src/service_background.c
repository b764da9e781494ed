/*
 * Work that a service does beside its requests: one thread a row, woken by
 * its clock or by name.
 */
#include <pthread.h>
#include <signal.h>

#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "service_private.h"

struct kb_background_thread {
	const struct kb_background *work;
	struct kb_app *app;
	pthread_t thread;
	pthread_mutex_t lock; /* woken, stopping */
	pthread_cond_t wake;
	bool woken, stopping;
};

/* Waits for `ms`, a wake or the end. False at the end. */
static bool
rest(struct kb_background_thread *t, int64_t ms)
{
	struct timespec until;
	bool go_on;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&t->lock);
	while (!t->woken && !t->stopping)
		if (pthread_cond_timedwait(&t->wake, &t->lock, &until) != 0)
			break;
	t->woken = false;
	go_on = !t->stopping;
	pthread_mutex_unlock(&t->lock);
	return go_on;
}

static void *
background_main(void *arg)
{
	struct kb_background_thread *t = arg;
	struct kb_arena *a = kb_arena_new(0);
	struct kb_log log = { .fields = {
				  KB_S("background", t->work->name), KB_END } };
	int64_t ms;

	do {
		struct kb_cx cx = { .arena = a, .log = &log, .db = t->app->db };

		ms = t->work->run(t->app, &cx);
		kb_arena_reset(a);
	} while (ms != KB_BACKGROUND_DONE && rest(t, ms > 0 ? ms : 0));
	kb_arena_free(a);
	return NULL;
}

static void
prepare_one(struct kb_background_thread *t, const struct kb_background *work,
    struct kb_app *app)
{
	pthread_condattr_t attr;

	t->work = work;
	t->app = app;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->wake, &attr);
	pthread_condattr_destroy(&attr);
}

static void
start_one(struct kb_background_thread *t)
{
	if (pthread_create(&t->thread, NULL, background_main, t) != 0)
		kb_fatal("cannot start background work %s", t->work->name);
}

void
kb_background_start(struct kb_runtime *rt)
{
	const struct kb_background *work = rt->app.service->background;
	sigset_t all, before;
	size_t n = 0;

	while (work != NULL && work[n].name != NULL)
		n++;
	if (n == 0)
		return;
	rt->background = kb_new_array(
	    rt->arena, n, struct kb_background_thread);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* All are there before the first runs: it may wake another one. */
	for (size_t i = 0; i < n; i++)
		prepare_one(&rt->background[i], &work[i], &rt->app);
	rt->n_background = n;
	for (size_t i = 0; i < n; i++)
		start_one(&rt->background[i]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
notify(struct kb_background_thread *t, bool *flag)
{
	pthread_mutex_lock(&t->lock);
	*flag = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
}

void
kb_background_stop(struct kb_runtime *rt)
{
	for (size_t i = 0; i < rt->n_background; i++)
		notify(&rt->background[i], &rt->background[i].stopping);
	for (size_t i = 0; i < rt->n_background; i++) {
		pthread_join(rt->background[i].thread, NULL);
		pthread_cond_destroy(&rt->background[i].wake);
		pthread_mutex_destroy(&rt->background[i].lock);
	}
	rt->n_background = 0;
}

void
kb_background_wake(struct kb_app *app, const char *name)
{
	struct kb_runtime *rt = kb_runtime_of(app);

	for (size_t i = 0; i < rt->n_background; i++)
		if (kb_str_eq(rt->background[i].work->name, name))
			notify(&rt->background[i], &rt->background[i].woken);
}
