/* The worker pool behind a loop. */
#include "test.h"

#include <event2/event.h>
#include <pthread.h>

#include <kombi/base.h>
#include <kombi/pool.h>
#include <kombi/time.h>

struct job {
	struct kb_task task;
	pthread_t worker, loop;
	int *done;
	pthread_mutex_t *gate; /* work waits for it, or NULL */
};

static void
work(struct kb_task *t)
{
	struct job *job = KB_CONTAINER(t, struct job, task);

	job->worker = pthread_self();
	if (job->gate != NULL) {
		pthread_mutex_lock(job->gate);
		pthread_mutex_unlock(job->gate);
	}
}

static void
done(struct kb_task *t)
{
	struct job *job = KB_CONTAINER(t, struct job, task);

	job->loop = pthread_self();
	(*job->done)++;
}

static void
turn_until(struct event_base *base, const int *count, int n)
{
	int64_t until = kb_mono_ms() + 10000;
	struct timeval tv = { 0, 1000 };

	while (*count < n && kb_mono_ms() < until) {
		event_base_loopexit(base, &tv);
		event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_equal(*count, n);
}

static void
tasks_run_on_workers_and_come_back_on_the_loop(void **state)
{
	struct event_base *base = event_base_new();
	struct kb_pool *p = kb_pool_new(base, 4, 1000);
	struct job jobs[500];
	int n = 0;

	(void)state;
	for (size_t i = 0; i < KB_COUNT(jobs); i++) {
		jobs[i] = (struct job) { .task = { .work = work, .done = done },
			.done = &n };
		assert_true(kb_pool_submit(p, &jobs[i].task));
	}
	turn_until(base, &n, KB_COUNT(jobs));
	for (size_t i = 0; i < KB_COUNT(jobs); i++) {
		assert_true(pthread_equal(jobs[i].loop, pthread_self()));
		assert_false(pthread_equal(jobs[i].worker, pthread_self()));
	}
	assert_int_equal(kb_pool_busy(p), 0);
	kb_pool_free(p);
	event_base_free(base);
}

static bool
is_busy(void *arg)
{
	return kb_pool_busy(arg) == 1;
}

static void
a_full_queue_refuses_and_loses_nothing(void **state)
{
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	struct event_base *base = event_base_new();
	struct kb_pool *p = kb_pool_new(base, 1, 2);
	struct job jobs[4];
	int n = 0;

	(void)state;
	for (size_t i = 0; i < KB_COUNT(jobs); i++)
		jobs[i] = (struct job) { .task = { .work = work, .done = done },
			.done = &n,
			.gate = &gate };
	pthread_mutex_lock(&gate);
	assert_true(kb_pool_submit(p, &jobs[0].task));
	assert_true(test_wait(is_busy, p));
	assert_true(kb_pool_submit(p, &jobs[1].task));
	assert_true(kb_pool_submit(p, &jobs[2].task));
	assert_int_equal(kb_pool_waiting(p), 2);
	assert_false(kb_pool_submit(p, &jobs[3].task));
	pthread_mutex_unlock(&gate);
	turn_until(base, &n, 3);
	assert_true(kb_pool_submit(p, &jobs[3].task));
	turn_until(base, &n, 4);
	kb_pool_free(p);
	event_base_free(base);
}

static void
freeing_runs_what_is_queued_to_its_end(void **state)
{
	struct event_base *base = event_base_new();
	struct kb_pool *p = kb_pool_new(base, 2, 100);
	struct job jobs[100];
	int n = 0;

	(void)state;
	for (size_t i = 0; i < KB_COUNT(jobs); i++) {
		jobs[i] = (struct job) { .task = { .work = work, .done = done },
			.done = &n };
		assert_true(kb_pool_submit(p, &jobs[i].task));
	}
	kb_pool_free(p);
	assert_int_equal(n, KB_COUNT(jobs));
	kb_pool_free(NULL);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    tasks_run_on_workers_and_come_back_on_the_loop),
		cmocka_unit_test(a_full_queue_refuses_and_loses_nothing),
		cmocka_unit_test(freeing_runs_what_is_queued_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
