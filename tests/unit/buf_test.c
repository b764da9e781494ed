/*
 * Buffers: growth, the ceiling, the sticky error, numbers.
 */
#include <math.h>

#include "test.h"

#include <kombi/buf.h>

static void
an_empty_buffer_reads_as_an_empty_string(void **state)
{
	struct kb_buf b;

	(void)state;
	kb_buf_init(&b, 10);
	assert_string_equal(kb_buf_str(&b), "");
	assert_null(b.ptr);
	kb_buf_add(&b, "", 0);
	assert_null(b.ptr);
	kb_buf_free(&b);
}

static void
appends_grow_and_stay_terminated(void **state)
{
	struct kb_buf b;
	int i;

	(void)state;
	kb_buf_init(&b, 100000);
	for (i = 0; i < 5000; i++) {
		kb_buf_adds(&b, "ab");
		kb_buf_addc(&b, 'c');
	}
	assert_int_equal(b.len, 15000);
	assert_int_equal(strlen(kb_buf_str(&b)), 15000);
	kb_buf_reset(&b);
	assert_string_equal(kb_buf_str(&b), "");
	kb_buf_addf(&b, "%d %s", 7, "seven");
	assert_string_equal(kb_buf_str(&b), "7 seven");
	kb_buf_free(&b);
}

static void
over_the_ceiling_the_append_is_dropped_and_the_error_stays(void **state)
{
	struct kb_buf b;

	(void)state;
	kb_buf_init(&b, 5);
	kb_buf_adds(&b, "12345");
	assert_false(kb_buf_failed(&b));
	kb_buf_addc(&b, '6');
	assert_true(kb_buf_failed(&b));
	assert_string_equal(kb_buf_str(&b), "12345");
	kb_buf_consume(&b, 3);
	kb_buf_addc(&b, '7');
	assert_string_equal(kb_buf_str(&b), "45");
	assert_true(kb_buf_failed(&b));
	kb_buf_reset(&b);
	assert_false(kb_buf_failed(&b));
	kb_buf_addf(&b, "%s", "123456");
	assert_true(kb_buf_failed(&b));
	kb_buf_free(&b);
	kb_buf_addc(&b, 'x');
	assert_string_equal(kb_buf_str(&b), "x");
	kb_buf_free(&b);
}

static void
reserved_room_is_written_then_committed(void **state)
{
	struct kb_buf b;
	char *p;

	(void)state;
	kb_buf_init(&b, 1000);
	kb_buf_adds(&b, "head ");
	p = kb_buf_reserve(&b, 995);
	assert_non_null(p);
	memcpy(p, "tail", 4);
	kb_buf_commit(&b, 4);
	assert_string_equal(kb_buf_str(&b), "head tail");
	assert_null(kb_buf_reserve(&b, 992));
	assert_false(kb_buf_failed(&b));
	kb_buf_consume(&b, 5);
	assert_string_equal(kb_buf_str(&b), "tail");
	kb_buf_consume(&b, 4);
	assert_int_equal(b.len, 0);
	kb_buf_free(&b);
}

static void
whole_numbers_are_written_in_decimal(void **state)
{
	struct kb_buf b;

	(void)state;
	kb_buf_init(&b, 1000);
	kb_buf_addu(&b, 0);
	kb_buf_addc(&b, ' ');
	kb_buf_addu(&b, UINT64_MAX);
	assert_string_equal(kb_buf_str(&b), "0 18446744073709551615");
	kb_buf_free(&b);
}

static void
doubles_are_short_and_read_back_the_same(void **state)
{
	static const double values[] = { 0.1, 1.0 / 3, 1e300, 5e-324, -2.5,
		123456789.123456789, 9007199254740993.0, 1e15, 1e22, -1e-7 };
	struct kb_buf b;
	size_t i;

	(void)state;
	kb_buf_init(&b, 1000);
	for (i = 0; i < KB_COUNT(values); i++) {
		kb_buf_reset(&b);
		kb_buf_addd(&b, values[i]);
		assert_true(strtod(kb_buf_str(&b), NULL) == values[i]);
	}
	kb_buf_reset(&b);
	kb_buf_addd(&b, 0.1);
	kb_buf_addc(&b, ' ');
	kb_buf_addd(&b, -3);
	kb_buf_addc(&b, ' ');
	kb_buf_addd(&b, -0.0);
	assert_string_equal(kb_buf_str(&b), "0.1 -3 -0");
	kb_buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_reads_as_an_empty_string),
		cmocka_unit_test(appends_grow_and_stay_terminated),
		cmocka_unit_test(
		    over_the_ceiling_the_append_is_dropped_and_the_error_stays),
		cmocka_unit_test(reserved_room_is_written_then_committed),
		cmocka_unit_test(whole_numbers_are_written_in_decimal),
		cmocka_unit_test(doubles_are_short_and_read_back_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
