/*
 * The error table: every error has a code, a status and a text.
 */
#include "test.h"

#include <kombi/error.h>

static void
every_error_has_code_status_and_text(void **state)
{
	int i;

	(void)state;
	for (i = KB_OK + 1; i < KB_ERR_COUNT; i++) {
		enum kb_err err = (enum kb_err)i;

		assert_in_range(kb_err_status(err), 400, 599);
		assert_true(strlen(kb_err_text(err)) > 3);
		assert_int_equal(
		    strspn(kb_err_code(err), "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"),
		    strlen(kb_err_code(err)));
	}
}

static void
rows_are_found_by_their_name(void **state)
{
	(void)state;
	assert_string_equal(kb_err_code(KB_UNAUTHENTICATED), "AUTH_REQUIRED");
	assert_int_equal(kb_err_status(KB_FORBIDDEN), 403);
	assert_string_equal(kb_err_text(KB_METHOD), "Method not allowed");
	assert_int_equal(kb_err_status(KB_OK), 200);
}

static void
an_unknown_error_is_an_internal_one(void **state)
{
	(void)state;
	assert_int_equal(kb_err_status((enum kb_err)KB_ERR_COUNT), 500);
	assert_string_equal(kb_err_code((enum kb_err) - 1), "INTERNAL_ERROR");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_has_code_status_and_text),
		cmocka_unit_test(rows_are_found_by_their_name),
		cmocka_unit_test(an_unknown_error_is_an_internal_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
