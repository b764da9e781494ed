/*
 * Metrics: the text that Prometheus reads, bounded labels, many threads.
 */
#include <math.h>
#include <pthread.h>

#include "test.h"

#include <kombi/metrics.h>

static char *
text_of(struct kb_arena *a)
{
	struct kb_buf b;
	char *out;

	kb_buf_init(&b, 10000000);
	kb_metrics_text(&b);
	assert_false(kb_buf_failed(&b));
	out = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}

static struct kb_metric requests = {
	.kind = KB_COUNTER,
	.name = "test_requests_total",
	.help = "Requests,\nby \"method\" \\ status.",
	.labels = { "method", "status" },
};

static void
counters_have_help_type_and_a_line_a_series(void **state)
{
	struct kb_series *get, *put;
	const char *text;

	kb_metric_register(&requests);
	kb_metric_register(&requests);
	get = kb_metric_series(&requests, (const char *[]) { "GET", "200" });
	put = kb_metric_series(&requests, (const char *[]) { "PUT", "200" });
	assert_ptr_equal(get,
	    kb_metric_series(&requests, (const char *[]) { "GET", "200" }));
	kb_series_add(get, 1);
	kb_series_add(get, 2);
	kb_series_add(put, 0.5);
	text = text_of(*state);
	test_contains(text,
	    "# HELP test_requests_total Requests,\\nby \"method\" \\\\ "
	    "status.\n# TYPE test_requests_total counter\n"
	    "test_requests_total{method=\"GET\",status=\"200\"} 3\n"
	    "test_requests_total{method=\"PUT\",status=\"200\"} 0.5\n");
	assert_null(strstr(strstr(text, "# HELP test_requests_total") + 1,
	    "# HELP test_requests_total"));
}

static struct kb_metric escaped = {
	.kind = KB_GAUGE,
	.name = "test_escaped",
	.help = "h",
	.labels = { "path" },
};

static void
label_values_cannot_break_out(void **state)
{
	const char *value = "a\"} 1\nforged 2\\";
	struct kb_series *s;

	kb_metric_register(&escaped);
	s = kb_metric_series(&escaped, &value);
	kb_series_set(s, -2.5);
	test_contains(text_of(*state),
	    "test_escaped{path=\"a\\\"} 1\\nforged 2\\\\\"} -2.5\n");
	kb_series_set(s, INFINITY);
	test_contains(text_of(*state), "\\\\\"} +Inf\n");
}

static const double bounds[] = { 0.1, 1 };
static struct kb_metric seconds = {
	.kind = KB_HISTOGRAM,
	.name = "test_seconds",
	.help = "h",
	.labels = { "route" },
	.bounds = bounds,
	.n_bounds = 2,
};

static void
histograms_are_cumulative(void **state)
{
	struct kb_series *s;

	kb_metric_register(&seconds);
	s = kb_metric_series(&seconds, (const char *[]) { "/" });
	kb_series_observe(s, 0.05);
	kb_series_observe(s, 0.1);
	kb_series_observe(s, 0.5);
	kb_series_observe(s, 7);
	test_contains(text_of(*state),
	    "# TYPE test_seconds histogram\n"
	    "test_seconds_bucket{route=\"/\",le=\"0.1\"} 2\n"
	    "test_seconds_bucket{route=\"/\",le=\"1\"} 3\n"
	    "test_seconds_bucket{route=\"/\",le=\"+Inf\"} 4\n"
	    "test_seconds_sum{route=\"/\"} 7.65\n"
	    "test_seconds_count{route=\"/\"} 4\n");
}

static struct kb_metric plain = {
	.kind = KB_GAUGE,
	.name = "test_plain",
	.help = "h",
};

static void
set_plain(void *arg)
{
	kb_series_set(kb_metric_series(&plain, NULL), *(double *)arg);
}

static void
collectors_run_before_the_text_is_made(void **state)
{
	static double value = 42;

	kb_metric_register(&plain);
	test_contains(text_of(*state), "\ntest_plain 0\n");
	kb_metrics_collector(set_plain, &value);
	test_contains(text_of(*state), "\ntest_plain 42\n");
}

static struct kb_metric many = {
	.kind = KB_COUNTER,
	.name = "test_many_total",
	.help = "h",
	.labels = { "id" },
};

static void
series_beyond_256_are_counted_as_other(void **state)
{
	int i;

	kb_metric_register(&many);
	for (i = 0; i < 1000; i++) {
		const char *id = kb_sprintf(*state, "id%d", i);

		kb_series_add(kb_metric_series(&many, &id), 1);
	}
	assert_int_equal(many.n_series, 256);
	test_contains(text_of(*state), "test_many_total{id=\"other\"} 745\n");
	test_contains(text_of(*state), "test_many_total{id=\"id0\"} 1\n");
}

static void *
count_up(void *arg)
{
	int i;

	for (i = 0; i < 10000; i++)
		kb_series_add(arg, 1);
	return NULL;
}

static void
no_update_of_threads_is_lost(void **state)
{
	struct kb_series *s = kb_metric_series(
	    &requests, (const char *[]) { "ALL", "1" });
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, count_up, s), 0);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	test_contains(text_of(*state), "status=\"1\"} 40000\n");
}

static struct kb_metric owned = {
	.kind = KB_HISTOGRAM,
	.name = "test_owned",
	.help = "h",
	.bounds = bounds,
	.n_bounds = 2,
};

static void *
observe_alone(void *arg)
{
	kb_metrics_thread();
	for (int i = 0; i < 10000; i++)
		kb_series_observe(arg, 0.5);
	kb_metrics_thread_end();
	return NULL;
}

static void
cells_of_threads_are_added_up(void **state)
{
	struct kb_series *s = kb_metric_series(&owned, NULL);
	pthread_t threads[20]; /* more than there are cells for */

	kb_metric_register(&owned);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 20; i++)
			assert_int_equal(
			    pthread_create(&threads[i], NULL, observe_alone, s),
			    0);
		(void)text_of(*state); /* while they count */
		for (int i = 0; i < 20; i++)
			pthread_join(threads[i], NULL);
	}
	test_contains(text_of(*state), "test_owned_bucket{le=\"1\"} 400000\n");
	test_contains(text_of(*state), "\ntest_owned_sum 200000\n");
}

static struct kb_metric few = {
	.kind = KB_COUNTER,
	.name = "test_few_total",
	.help = "h",
	.labels = { "a", "b", "c", "d", "e", "f" },
	.max_series = 4,
	.overflow = "__overflow__",
};

static struct kb_series *
take(const char *a)
{
	return kb_series_take(
	    &few, (const char *[]) { a, "b", "c", "d", "e", "f" });
}

static void
series_that_nobody_holds_make_room(void **state)
{
	struct kb_series *one, *two, *three, *over;

	kb_metric_register(&few);
	one = take("1");
	two = take("2");
	three = take("3");
	kb_series_add(one, 1);
	over = take("4");
	kb_series_add(over, 4);
	test_contains(text_of(*state),
	    "{a=\"__overflow__\",b=\"__overflow__\",c=\"__overflow__\","
	    "d=\"__overflow__\",e=\"__overflow__\",f=\"__overflow__\"} 4\n");
	/* Dropped ones keep their value while there is room ... */
	kb_series_drop(two);
	kb_series_drop(one);
	test_contains(text_of(*state), "test_few_total{a=\"1\"");
	assert_ptr_equal(take("1"), one);
	/* ... then the one that was left first goes. */
	kb_series_add(take("5"), 5);
	assert_null(strstr(text_of(*state), "test_few_total{a=\"2\""));
	test_contains(text_of(*state), "test_few_total{a=\"5\"");
	kb_series_drop(NULL);
	kb_series_drop(three);
	kb_series_drop(over);
	kb_series_drop(one);
	assert_int_equal(few.n_series, 4);
	for (int i = 0; i < 1000; i++)
		kb_series_drop(take(kb_sprintf(*state, "r%d", i)));
	assert_int_equal(few.n_series, 4);
	test_contains(text_of(*state), "test_few_total{a=\"r999\"");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(counters_have_help_type_and_a_line_a_series),
		test_with_arena(label_values_cannot_break_out),
		test_with_arena(histograms_are_cumulative),
		test_with_arena(collectors_run_before_the_text_is_made),
		test_with_arena(series_beyond_256_are_counted_as_other),
		test_with_arena(no_update_of_threads_is_lost),
		test_with_arena(cells_of_threads_are_added_up),
		test_with_arena(series_that_nobody_holds_make_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
