/*
 * Time: dates as text and back, both clocks under the test's hand.
 */
#include "test.h"

#include <kombi/time.h>

struct date_case {
	const char *text;
	int64_t ms;
};

static void
known_dates_are_read(void **state)
{
	static const struct date_case cases[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1970-01-01T00:00:00.001Z", 1 },
		{ "2000-02-29T12:30:45.5Z", 951827445500 },
		{ "2026-11-20T10:32:23.123Z", 1795170743123 },
		{ "2026-11-20T12:32:23.123999+02:00", 1795170743123 },
		{ "2026-11-20T00:02:23.123-10:30", 1795170743123 },
		{ "1969-12-31T23:59:59.999Z", -1 },
		{ "9999-12-31T23:59:59.999Z", 253402300799999 },
		{ "0000-01-01T00:00:00Z", -62167219200000 },
	};
	int64_t ms;
	size_t i;

	(void)state;
	for (i = 0; i < KB_COUNT(cases); i++) {
		assert_true(kb_rfc3339_parse(cases[i].text, &ms));
		assert_true(ms == cases[i].ms);
	}
}

static void
what_is_no_date_is_refused(void **state)
{
	static const char *const bad[] = { "", "2026", "2026-11-20",
		"2026-11-20T10:32:23", "2026-11-20 10:32:23Z",
		"2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
		"2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
		"1900-02-29T00:00:00Z", "2026-11-20T24:00:00Z",
		"2026-11-20T10:60:00Z", "2026-11-20T10:32:60Z",
		"2026-11-20T10:32:23.Z", "2026-11-20T10:32:23Z ",
		"2026-11-20T10:32:23+0200", "2026-11-20T10:32:23+24:00",
		"26-11-20T10:32:23Z", "+2026-11-20T10:32:23Z",
		"2026-11-20T10:32:23,5Z", "2026-1-20T10:32:23Z" };
	int64_t ms;
	size_t i;

	(void)state;
	assert_false(kb_rfc3339_parse(NULL, &ms));
	for (i = 0; i < KB_COUNT(bad); i++)
		if (kb_rfc3339_parse(bad[i], &ms))
			fail_msg("accepted: %s", bad[i]);
}

static void
every_day_of_centuries_goes_there_and_back(void **state)
{
	char text[KB_RFC3339_SIZE];
	int64_t day, ms;

	(void)state;
	for (day = -200000; day < 200000; day += 17) {
		kb_rfc3339(day * 86400000 + 1234567, text);
		assert_true(kb_rfc3339_parse(text, &ms));
		assert_true(ms == day * 86400000 + 1234567);
	}
}

static void
dates_out_of_four_digits_are_held_at_the_ends(void **state)
{
	char text[KB_RFC3339_SIZE];

	(void)state;
	kb_rfc3339(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999Z");
	kb_rfc3339(INT64_MIN, text);
	assert_string_equal(text, "0000-01-01T00:00:00.000Z");
}

static void
http_dates_are_imf_fixdate(void **state)
{
	char text[30];

	(void)state;
	kb_http_date(784111777, text);
	assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	kb_http_date(0, text);
	assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
	kb_http_date(1709164800, text);
	assert_string_equal(text, "Thu, 29 Feb 2024 00:00:00 GMT");
}

static void
both_clocks_are_shifted_for_tests(void **state)
{
	int64_t mono = kb_mono_ms(), wall = kb_wall_ms();

	kb_clock_shift(3600000);
	assert_in_range(kb_mono_ms() - mono, 3600000, 3660000);
	assert_in_range(kb_wall_ms() - wall, 3600000, 3660000);
	assert_in_range(kb_wall_s() - wall / 1000, 3600, 3661);
	kb_clock_shift(-3600000);
	assert_in_range(kb_mono_ms() - mono, 0, 60000);
	assert_int_equal(strlen(kb_now_text(*state)), 24);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_dates_are_read),
		cmocka_unit_test(what_is_no_date_is_refused),
		cmocka_unit_test(every_day_of_centuries_goes_there_and_back),
		cmocka_unit_test(dates_out_of_four_digits_are_held_at_the_ends),
		cmocka_unit_test(http_dates_are_imf_fixdate),
		test_with_arena(both_clocks_are_shifted_for_tests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
