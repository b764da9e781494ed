/* Sliding windows. */
#include "test.h"

#include <kombi/time.h>

#include "inside.h"

/* To the start of a window of 60 s. */
static void
to_window(void)
{
	kb_clock_shift(60000 - kb_wall_ms() % 60000);
}

static int64_t
taken(uint64_t subject, int64_t limit, int tries)
{
	struct counted c = { 0 };
	int64_t n = 0;

	for (int i = 0; i < tries; i++) {
		counter_take(subject, 60, limit, &c);
		n += !c.over;
	}
	return n;
}

static void
a_limit_lets_exactly_so_many_pass(void **state)
{
	struct counted c;

	(void)state;
	to_window();
	counter_take(1, 60, 5, &c);
	assert_false(c.over);
	assert_int_equal(c.limit, 5);
	assert_int_equal(c.remaining, 4);
	assert_true(c.wait_s >= 1 && c.wait_s <= 60);
	assert_int_equal(c.reset_s % 60, 0);
	assert_int_equal(taken(1, 5, 20), 4);
	counter_take(1, 60, 5, &c);
	assert_true(c.over);
	assert_int_equal(c.remaining, 0);
}

static void
subjects_and_windows_do_not_share(void **state)
{
	struct counted c;

	(void)state;
	to_window();
	assert_int_equal(taken(10, 3, 5), 3);
	assert_int_equal(taken(11, 3, 5), 3);
	counter_take(10, 3600, 3, &c);
	assert_false(c.over);
}

static void
the_window_before_counts_for_its_part(void **state)
{
	(void)state;
	to_window();
	assert_int_equal(taken(20, 100, 200), 100);
	to_window();
	kb_clock_shift(30000);
	/* Half of the hundred still count, so half a hundred may pass. */
	assert_in_range(taken(20, 100, 200), 49, 51);
	to_window();
	to_window();
	assert_int_equal(taken(20, 100, 200), 100);
}

static void
a_flood_of_subjects_keeps_the_table_small(void **state)
{
	struct counted c;

	(void)state;
	to_window();
	for (uint64_t i = 0; i < 500000; i++) {
		counter_take(1000 + i, 60, 1, &c);
		assert_false(c.over);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_lets_exactly_so_many_pass),
		cmocka_unit_test(subjects_and_windows_do_not_share),
		cmocka_unit_test(the_window_before_counts_for_its_part),
		cmocka_unit_test(a_flood_of_subjects_keeps_the_table_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
