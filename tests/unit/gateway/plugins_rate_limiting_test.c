/* Counters of fixed windows, and what rate-limiting may be told. */
#include "plugins_config.h"

#include <kombi/time.h>

static int64_t
taken(uint64_t subject, int64_t begin, int64_t limit, int tries)
{
	struct counted c = { 0 };
	int64_t n = 0;

	for (int i = 0; i < tries; i++) {
		counter_take_fixed(subject, begin, begin + 3600, limit, &c);
		n += !c.over;
	}
	return n;
}

static void
a_window_lets_exactly_its_limit_pass(void **state)
{
	int64_t now = kb_wall_s() / 3600 * 3600;
	struct counted c;

	(void)state;
	counter_take_fixed(1, now, now + 3600, 3, &c);
	assert_false(c.over);
	assert_int_equal(c.remaining, 2);
	assert_int_equal(c.reset_s, now + 3600);
	assert_true(c.wait_s >= 1 && c.wait_s <= 3600);
	assert_int_equal(taken(1, now, 3, 10), 2);
	counter_take_fixed(1, now, now + 3600, 3, &c);
	assert_true(c.over);
	assert_int_equal(c.remaining, 0);
}

static void
windows_and_subjects_do_not_share(void **state)
{
	int64_t now = kb_wall_s() / 3600 * 3600;

	(void)state;
	assert_int_equal(taken(10, now, 2, 5), 2);
	assert_int_equal(taken(11, now, 2, 5), 2);
	assert_int_equal(taken(10, now + 3600, 2, 5), 2);
}

static void
what_is_given_back_can_be_taken_again(void **state)
{
	int64_t now = kb_wall_s() / 3600 * 3600;

	(void)state;
	assert_int_equal(taken(20, now, 2, 5), 2);
	counter_give_fixed(20, now);
	assert_int_equal(taken(20, now, 2, 5), 1);
	counter_give_fixed(21, now);
	assert_int_equal(taken(21, now, 2, 5), 2);
}

static void
a_flood_in_short_windows_takes_no_long_one_away(void **state)
{
	int64_t now = kb_wall_s();
	struct counted c;

	(void)state;
	counter_take_fixed(30, now, now + 86400, 1, &c);
	for (uint64_t i = 0; i < 300000; i++)
		counter_take_fixed(1000 + i, now, now + 60, 1, &c);
	counter_take_fixed(30, now, now + 86400, 1, &c);
	assert_true(c.over);
}

static void
limits_and_what_they_count_by_are_judged_at_load(void **state)
{
	const char *what = "rate-limiting";

	(void)state;
	is_accepted(what, "{minute: 5, hour: 100, limit_by: ip}");
	is_accepted(what,
	    "{second: 1, year: 1, limit_by: path, path: /a, error_code: 503, "
	    "error_message: x, hide_client_headers: true, fault_tolerant: "
	    "false}");
	is_told(what, "{}", true,
	    "plugin rate-limiting: one of second, minute, hour, day, month, "
	    "year is required");
	is_told(what, "{minute: 5, day: 4}", true,
	    "plugin rate-limiting: the limit of a Day (4) must not be smaller "
	    "than that of a Minute (5)");
	is_told(what, "{minute: 0}", true,
	    "plugin rate-limiting: minute must be 1 to 1000000000");
	is_told(what, "{minute: 1, limit_by: header}", true,
	    "plugin rate-limiting: limit_by header needs header_name");
	is_told(what, "{minute: 1, limit_by: header, header_name: A}", false,
	    "plugin rate-limiting: limit_by header: a client chooses");
	is_told(what, "{minute: 1, limit_by: path}", true,
	    "plugin rate-limiting: limit_by path needs a path");
	is_told(what, "{minute: 1, limit_by: user}", true,
	    "plugin rate-limiting: limit_by \"user\" is not one of: consumer, "
	    "credential, ip, service, header, path");
	is_told(what, "{minute: 1, policy: redis}", false,
	    "plugin rate-limiting: policy redis: counted in this process");
	is_told(what, "{minute: 1, redis: {host: x}}", false,
	    "plugin rate-limiting: redis: counted in this process");
	is_told(what, "{minutes: 1}", true,
	    "plugin rate-limiting: unknown field \"minutes\", did you mean "
	    "\"minute\"?");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_lets_exactly_its_limit_pass),
		cmocka_unit_test(windows_and_subjects_do_not_share),
		cmocka_unit_test(what_is_given_back_can_be_taken_again),
		cmocka_unit_test(
		    a_flood_in_short_windows_takes_no_long_one_away),
		cmocka_unit_test(
		    limits_and_what_they_count_by_are_judged_at_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
