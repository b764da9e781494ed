/*
 * Trace context: what the standards allow is read and written the same way,
 * all else counts as absent.
 */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static bool
w3c(const char *text, struct trace_context *c)
{
	return trace_parse_w3c(kb_slice_of(text), c);
}

static void
a_traceparent_is_read_as_the_standard_says(void **state)
{
	struct trace_context c;
	char text[TRACEPARENT_SIZE];

	(void)state;
	assert_true(w3c("00-" TRACE "-" SPAN "-01", &c));
	assert_string_equal(c.trace, TRACE);
	assert_string_equal(c.span, SPAN);
	assert_int_equal(c.sampled, SAMPLED_YES);
	trace_write_w3c(&c, text);
	assert_string_equal(text, "00-" TRACE "-" SPAN "-01");
	assert_true(w3c("00-" TRACE "-" SPAN "-fe", &c));
	assert_int_equal(c.sampled, SAMPLED_NO);
	/* A later version may be longer. */
	assert_true(w3c("cc-" TRACE "-" SPAN "-01-what-the-future", &c));
	assert_true(w3c("01-" TRACE "-" SPAN "-01", &c));
}

static void
what_is_no_traceparent_is_refused(void **state)
{
	static const char *const bad[] = { "", "00", "00-" TRACE "-" SPAN,
		"00-" TRACE "-" SPAN "-1", "00-" TRACE "-" SPAN "-01-",
		"00-" TRACE "-" SPAN "-01 ", "cc-" TRACE "-" SPAN "-01.x",
		"ff-" TRACE "-" SPAN "-01", "0x-" TRACE "-" SPAN "-01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"00-" TRACE "-0000000000000000-01", "00-" TRACE "-" SPAN "-0g",
		"00_" TRACE "_" SPAN "_01" };
	struct trace_context c;

	(void)state;
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_false(w3c(bad[i], &c));
}

static void
a_tracestate_is_passed_on_when_it_is_one(void **state)
{
	static const char *const good[] = { "a=1", "a=1,b=2", "a=1 , ,b=2",
		"0tenant@vendor=x y", "k/*-_@=!~" };
	static const char *const bad[] = { "", ",", "a", "a=", "=1", "A=1",
		"a=1=2", "a=\t", "*a=1", "a=\x7f", "a=\xc3\xa9" };

	for (size_t i = 0; i < KB_COUNT(good); i++)
		assert_true(tracestate_ok(kb_slice_of(good[i])));
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_false(tracestate_ok(kb_slice_of(bad[i])));
	assert_false(
	    tracestate_ok(kb_slice_of(kb_sprintf(*state, "a=%600d", 1))));
}

static void
b3_is_read_in_both_forms(void **state)
{
	struct trace_context c;
	struct kb_slice none = { NULL, 0 };

	(void)state;
	assert_true(trace_parse_b3(kb_slice_of(TRACE "-" SPAN "-1"), &c));
	assert_string_equal(c.trace, TRACE);
	assert_int_equal(c.sampled, SAMPLED_YES);
	assert_true(trace_parse_b3(
	    kb_slice_of("a3ce929d0e0e4736-" SPAN "-d-" SPAN), &c));
	assert_string_equal(c.trace, "0000000000000000a3ce929d0e0e4736");
	assert_true(trace_parse_b3(kb_slice_of("0"), &c));
	assert_int_equal(c.sampled, SAMPLED_NO);
	assert_string_equal(c.trace, "");
	assert_true(trace_parse_b3(kb_slice_of(TRACE "-" SPAN), &c));
	assert_int_equal(c.sampled, SAMPLED_UNKNOWN);
	assert_false(trace_parse_b3(kb_slice_of(TRACE), &c));
	assert_false(trace_parse_b3(kb_slice_of("x"), &c));
	assert_false(trace_parse_b3(kb_slice_of(TRACE "-" SPAN "-2"), &c));
	assert_false(
	    trace_parse_b3(kb_slice_of(TRACE "-" SPAN "-1-" SPAN "-1"), &c));
	assert_false(trace_parse_b3(kb_slice_of(TRACE "-" SPAN "-1-abc"), &c));
	assert_true(trace_parse_b3_fields(
	    kb_slice_of(TRACE), kb_slice_of(SPAN), none, &c));
	assert_false(trace_parse_b3_fields(kb_slice_of(TRACE), none, none, &c));
}

static void
shares_are_taken_by_the_trace(void **state)
{
	unsigned taken = 0;

	(void)state;
	assert_true(trace_is_in_share(TRACE, 1));
	assert_false(trace_is_in_share(TRACE, 0));
	assert_true(trace_is_in_share("ffffffffffffffffffffffffffffffff", 1));
	for (unsigned i = 0; i < 4096; i++) {
		char id[TRACE_ID_SIZE];

		snprintf(id, sizeof(id), "%032x", i);
		memcpy(id + 16, id + 29, 3); /* the digits that decide */
		taken += trace_is_in_share(id, 0.25);
	}
	assert_int_equal(taken, 1024);
	assert_true(trace_owns_field(kb_slice_of("Traceparent")));
	assert_false(trace_owns_field(kb_slice_of("trace")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(a_traceparent_is_read_as_the_standard_says),
		test_with_arena(what_is_no_traceparent_is_refused),
		test_with_arena(a_tracestate_is_passed_on_when_it_is_one),
		test_with_arena(b3_is_read_in_both_forms),
		test_with_arena(shares_are_taken_by_the_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
