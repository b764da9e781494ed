/*
 * The Cookie field: one value or none is believed, and what is hidden from
 * upstream is gone in every spelling.
 */
#include "test.h"

#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static void
a_cookie_is_found_once_or_not_believed(void **state)
{
	struct kb_slice v = { NULL, 0 };

	(void)state;
	assert_int_equal(
	    cookie_find(kb_slice_of("a=1; sid = x ;b"), "sid", &v), COOKIE_ONE);
	assert_true(kb_slice_eq(v, "x"));
	assert_int_equal(
	    cookie_find(kb_slice_of("sid2=1; SID=2; =sid"), "sid", &v),
	    COOKIE_NONE);
	assert_int_equal(
	    cookie_find(kb_slice_of("sid=1;sid=1"), "sid", &v), COOKIE_SEVERAL);
}

static void
hidden_cookies_leave_the_others(void **state)
{
	static const char *const names[] = { "sid", "login_" };

	assert_string_equal(
	    cookie_without(*state,
		kb_slice_of("a=1;sid=x; b=2 ;login_7=y;; sidecar=z;c"), names,
		2),
	    "a=1; b=2; c");
	assert_null(cookie_without(*state, kb_slice_of("sid=x; ;"), names, 2));
}

/* More than half of the bytes are ';', and each becomes "; ". */
static void
many_short_pairs_fit(void **state)
{
	static const char *const names[] = { "sid" };
	char field[4000], *rest;

	memset(field, ';', sizeof(field));
	for (size_t i = 0; i < sizeof(field); i += 2)
		field[i] = 'a';
	rest = cookie_without(
	    *state, (struct kb_slice) { field, sizeof(field) }, names, 1);
	assert_int_equal(strlen(rest), 3 * (sizeof(field) / 2) - 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cookie_is_found_once_or_not_believed),
		test_with_arena(hidden_cookies_leave_the_others),
		test_with_arena(many_short_pairs_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
