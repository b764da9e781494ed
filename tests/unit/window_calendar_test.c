/*
 * Windows that do not slide: aligned to the calendar in UTC, exactly the limit
 * in each; and what is given back.
 */
#include "test.h"

#include <kombi/str.h>
#include <kombi/time.h>
#include <kombi/window.h>

#include "window_private.h"

static const struct kb_window_rule minute = {
	.kind = KB_WINDOW_FIXED, .limit = 5, .window_s = 60
};

static int
taken(struct kb_window *w, const char *key, const struct kb_window_rule *rule,
    int tries)
{
	struct kb_window_verdict v;
	int passed = 0;

	for (int i = 0; i < tries; i++) {
		kb_window_take(w, kb_slice_of(key), rule, &v);
		passed += !v.over;
	}
	return passed;
}

static int64_t
utc(int year, int month, int day)
{
	struct tm tm = {
		.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day
	};

	return (int64_t)timegm(&tm) * 1000;
}

static void
months_and_years_are_those_of_the_calendar(void **state)
{
	(void)state;
	/* Every day for 130 years, among them 2000, 2100 and leap years. */
	for (int64_t day = 0; day < 47500; day++) {
		int64_t ms = day * 86400000 + day * 1777 % 86400000;
		time_t t = (time_t)(ms / 1000);
		struct window_moment m = window_moment(KB_WINDOW_MONTH, 1, ms);
		struct window_moment y = window_moment(KB_WINDOW_YEAR, 1, ms);
		struct tm tm;

		gmtime_r(&t, &tm);
		assert_int_equal(m.number, (tm.tm_year - 70) * 12 + tm.tm_mon);
		assert_int_equal(
		    ms - m.into, utc(tm.tm_year + 1900, tm.tm_mon + 1, 1));
		assert_int_equal(ms - m.into + m.size,
		    utc(tm.tm_year + 1900, tm.tm_mon + 2, 1));
		assert_int_equal(y.number, tm.tm_year - 70);
		assert_int_equal(ms - y.into, utc(tm.tm_year + 1900, 1, 1));
		assert_int_equal(
		    ms - y.into + y.size, utc(tm.tm_year + 1901, 1, 1));
		assert_false(m.slides || y.slides);
	}
}

static void
each_window_lets_exactly_its_limit_pass(void **state)
{
	struct kb_window *w = kb_window_new(&(struct kb_window_conf) { 0 });
	struct kb_window_verdict v;

	(void)state;
	kb_clock_shift(60000 - kb_wall_ms() % 60000);
	kb_window_take(w, kb_slice_of("a"), &minute, &v);
	assert_false(v.over);
	assert_int_equal(v.remaining, 4);
	assert_int_equal(v.reset_s % 60, 0);
	assert_in_range(v.reset_in, 58, 60);
	assert_int_equal(taken(w, "a", &minute, 50), 4);
	kb_window_take(w, kb_slice_of("a"), &minute, &v);
	assert_true(v.over && !v.alone);
	assert_int_equal(v.wait_s, v.reset_in);
	/* All at once at the edge: nothing of the window before counts. */
	kb_clock_shift(v.wait_s * 1000);
	assert_int_equal(taken(w, "a", &minute, 50), 5);
	kb_window_free(w);
}

static void
kinds_do_not_share(void **state)
{
	struct kb_window *w = kb_window_new(&(struct kb_window_conf) { 0 });
	struct kb_window_rule rule = minute;

	(void)state;
	assert_int_equal(taken(w, "a", &rule, 9), 5);
	rule.kind = KB_WINDOW_SLIDING;
	assert_int_equal(taken(w, "a", &rule, 9), 5);
	rule.kind = KB_WINDOW_MONTH;
	assert_int_equal(taken(w, "a", &rule, 9), 5);
	rule.kind = KB_WINDOW_YEAR;
	assert_int_equal(taken(w, "a", &rule, 9), 5);
	kb_window_free(w);
}

static void
what_is_given_back_can_be_taken_again(void **state)
{
	struct kb_window *w = kb_window_new(&(struct kb_window_conf) { 0 });
	struct kb_window_stats stats;

	(void)state;
	kb_clock_shift(60000 - kb_wall_ms() % 60000);
	assert_int_equal(taken(w, "a", &minute, 9), 5);
	kb_window_give(w, kb_slice_of("a"), &minute);
	kb_window_give(w, kb_slice_of("a"), &minute);
	assert_int_equal(taken(w, "a", &minute, 9), 2);
	kb_window_give(w, kb_slice_of("nobody"), &minute);
	assert_int_equal(taken(w, "nobody", &minute, 9), 5);
	kb_window_stats(w, &stats);
	assert_int_equal(stats.passed, 10);
	kb_window_free(w);
}

static void
a_flood_in_short_windows_takes_no_long_one_away(void **state)
{
	struct kb_window *w = kb_window_new(
	    &(struct kb_window_conf) { .keys = 1024 });
	struct kb_window_rule year = {
		.kind = KB_WINDOW_YEAR, .limit = 1, .window_s = 31536000
	};
	char key[16];

	(void)state;
	assert_int_equal(taken(w, "a", &year, 2), 1);
	for (int i = 0; i < 30000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		taken(w, key, &minute, 1);
	}
	assert_int_equal(taken(w, "a", &year, 2), 0);
	kb_window_free(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(months_and_years_are_those_of_the_calendar),
		cmocka_unit_test(each_window_lets_exactly_its_limit_pass),
		cmocka_unit_test(kinds_do_not_share),
		cmocka_unit_test(what_is_given_back_can_be_taken_again),
		cmocka_unit_test(
		    a_flood_in_short_windows_takes_no_long_one_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
