/* The worker pool behind a loop. */
#include "test.h"

#include <event2/event.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

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

/* ---- lanes */

struct turn {
	struct kb_task task;
	int *order, at, nice; /* how many were done before */
	int64_t burn_ns;      /* of the processor's time */
};

static int64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
turn_work(struct kb_task *t)
{
	struct turn *turn = KB_CONTAINER(t, struct turn, task);
	int64_t until = cpu_ns() + turn->burn_ns;

	turn->nice = getpriority(PRIO_PROCESS, (id_t)gettid());
	while (cpu_ns() < until)
		;
}

static void
turn_done(struct kb_task *t)
{
	struct turn *turn = KB_CONTAINER(t, struct turn, task);

	turn->at = (*turn->order)++;
}

static struct turn
turn_of(uint64_t lane, int *order, int64_t burn_ns)
{
	return (struct turn) {
		.task = { .work = turn_work, .done = turn_done, .lane = lane },
		.order = order,
		.burn_ns = burn_ns
	};
}

static void
lanes_take_turns_whoever_has_more(void **state)
{
	struct event_base *base = event_base_new();
	struct kb_pool *p = kb_pool_new(base, 1, 100);
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	int order = 0, n = 0;
	struct job first = { .task = { .work = work, .done = done },
		.done = &n,
		.gate = &gate };
	struct turn many[20], few[3];

	(void)state;
	pthread_mutex_lock(&gate);
	assert_true(kb_pool_submit(p, &first.task));
	assert_true(test_wait(is_busy, p));
	for (size_t i = 0; i < KB_COUNT(many); i++) {
		many[i] = turn_of(7, &order, 0);
		assert_true(kb_pool_submit(p, &many[i].task));
	}
	for (size_t i = 0; i < KB_COUNT(few); i++) {
		few[i] = turn_of(8, &order, 0);
		assert_true(kb_pool_submit(p, &few[i].task));
	}
	pthread_mutex_unlock(&gate);
	turn_until(base, &order, KB_COUNT(many) + KB_COUNT(few));
	for (int i = 0; i < (int)KB_COUNT(few); i++)
		assert_int_equal(few[i].at, 2 * i + 1);
	kb_pool_free(p);
	event_base_free(base);
}

static void
one_lane_does_not_fill_the_queue(void **state)
{
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	struct event_base *base = event_base_new();
	struct kb_pool *p = kb_pool_new(base, 1, 8);
	int n = 0, order = 0;
	struct job first = { .task = { .work = work, .done = done },
		.done = &n,
		.gate = &gate };
	struct turn one[8], other;

	(void)state;
	pthread_mutex_lock(&gate);
	assert_true(kb_pool_submit(p, &first.task));
	assert_true(test_wait(is_busy, p));
	for (size_t i = 0; i < KB_COUNT(one); i++) {
		one[i] = turn_of(7, &order, 0);
		assert_int_equal(kb_pool_submit(p, &one[i].task), i < 6);
	}
	other = turn_of(8, &order, 0);
	assert_true(kb_pool_submit(p, &other.task));
	pthread_mutex_unlock(&gate);
	turn_until(base, &order, 7);
	kb_pool_free(p);
	event_base_free(base);
}

/* One after the other, so that each is judged by what came before. */
static int
nice_of(struct event_base *base, struct kb_pool *p, uint64_t lane, int64_t ns)
{
	int order = 0;
	struct turn turn = turn_of(lane, &order, ns);

	assert_true(kb_pool_submit(p, &turn.task));
	turn_until(base, &order, 1);
	return turn.nice;
}

static void
a_heavy_lane_goes_on_slowly_while_others_are_about(void **state)
{
	struct event_base *base = event_base_new();
	struct kb_pool *p = kb_pool_new(base, 2, 8);
	int usual, slow;

	(void)state;
	kb_pool_slow_lanes(p);
	usual = slow = nice_of(base, p, 7, 700000000);
	assert_int_equal(nice_of(base, p, 7, 0), usual); /* alone */
	/* More than once, since on a busy machine it may be forgotten. */
	for (int i = 0; i < 20 && slow == usual; i++) {
		(void)nice_of(base, p, 7, 700000000);
		assert_int_equal(nice_of(base, p, 8, 0), usual);
		slow = nice_of(base, p, 7, 0);
	}
	assert_int_not_equal(slow, usual);
	assert_int_equal(nice_of(base, p, 8, 0), usual);
	kb_pool_free(p);
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
		cmocka_unit_test(lanes_take_turns_whoever_has_more),
		cmocka_unit_test(one_lane_does_not_fill_the_queue),
		cmocka_unit_test(
		    a_heavy_lane_goes_on_slowly_while_others_are_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
