/*
 * Secrets: set, shown through one door only, gone when freed.
 */
#include "test.h"

#include <kombi/secret.h>

static void
a_secret_is_revealed_with_its_length(void **state)
{
	struct kb_secret s = { 0 };
	size_t len = 7;

	(void)state;
	assert_false(kb_secret_is_set(&s));
	assert_string_equal((const char *)kb_secret_reveal(&s, &len), "");
	assert_int_equal(len, 0);
	kb_secret_set(&s, "a\0b", 3);
	assert_true(kb_secret_is_set(&s));
	assert_memory_equal(kb_secret_reveal(&s, &len), "a\0b\0", 4);
	assert_int_equal(len, 3);
	kb_secret_free(&s);
	assert_false(kb_secret_is_set(&s));
	kb_secret_free(&s);
}

static void
setting_again_replaces_also_by_a_part_of_itself(void **state)
{
	struct kb_secret s = { 0 };
	size_t len;

	(void)state;
	kb_secret_set(&s, "first value", 11);
	kb_secret_set(&s, kb_secret_reveal(&s, NULL) + 6, 5);
	assert_string_equal((const char *)kb_secret_reveal(&s, &len), "value");
	assert_int_equal(len, 5);
	kb_secret_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_secret_is_revealed_with_its_length),
		cmocka_unit_test(
		    setting_again_replaces_also_by_a_part_of_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
