/*
 * What a decision of the rate limits costs: nanoseconds of CPU, by how many
 * subjects there are and how many threads ask. No Redis: it is off this path.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kombi/str.h>
#include <kombi/window.h>

enum { TAKES = 4000000, THREADS_MAX = 4 };

struct work {
	struct kb_window *w;
	unsigned subjects, seed;
	double ns;
};

static double
cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void *
ask(void *arg)
{
	struct work *work = arg;
	const struct kb_window_rule rule = { .limit = 1000, .window_s = 60 };
	struct kb_window_verdict v;
	char key[32] = "0123456789abcdef-u-";
	unsigned state = work->seed;
	double began = cpu_ns();

	for (int i = 0; i < TAKES; i++) {
		unsigned subject;

		state = state * 1664525 + 1013904223;
		subject = (state >> 8) % work->subjects;
		memcpy(key + 19, &subject, sizeof(subject));
		kb_window_take(
		    work->w, (struct kb_slice) { key, 23 }, &rule, &v);
	}
	work->ns = (cpu_ns() - began) / TAKES;
	return NULL;
}

static void
measure(unsigned subjects, unsigned threads)
{
	struct kb_window *w = kb_window_new(&(struct kb_window_conf) { 0 });
	struct work work[THREADS_MAX];
	pthread_t thread[THREADS_MAX];
	double sum = 0;

	for (unsigned i = 0; i < threads; i++) {
		work[i] = (struct work) { w, subjects, i + 1, 0 };
		if (pthread_create(&thread[i], NULL, ask, &work[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		sum += work[i].ns;
	}
	printf("%6u subjects, %u threads: %4.0f ns of CPU a decision\n",
	    subjects, threads, sum / threads);
	kb_window_free(w);
}

int
main(void)
{
	static const unsigned subjects[] = { 1, 1000, 50000 };

	for (size_t i = 0; i < KB_COUNT(subjects); i++)
		for (unsigned threads = 1; threads <= 2; threads++)
			measure(subjects[i], threads);
	return 0;
}
