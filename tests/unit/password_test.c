/*
 * bcrypt: hashes of others verify, ours are salted, bytes over 72 are refused.
 */
#include "test.h"

#include <kombi/password.h>
#include <kombi/str.h>

/* Known answers (crypt_blowfish's own vectors among them). */
static void
hashes_of_other_programs_are_verified(void **state)
{
	(void)state;
	assert_true(kb_password_verify("U*U",
	    "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
	assert_true(kb_password_verify("U*U",
	    "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
	assert_true(kb_password_verify("U*U",
	    "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
	assert_false(kb_password_verify("U*V",
	    "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
}

static void
a_hash_is_of_its_password_alone(void **state)
{
	char *one = kb_password_hash(*state, "correct horse", 4);
	char *two = kb_password_hash(*state, "correct horse", 4);

	assert_true(kb_str_starts(one, "$2b$04$"));
	assert_string_not_equal(one, two);
	assert_true(kb_password_verify("correct horse", one));
	assert_true(kb_password_verify("correct horse", two));
	assert_false(kb_password_verify("correct horsf", one));
	assert_false(kb_password_verify("", one));
}

static void
what_bcrypt_would_cut_off_is_refused(void **state)
{
	char text[74];
	char *hash;

	memset(text, 'a', sizeof(text));
	text[72] = '\0';
	hash = kb_password_hash(*state, text, 4);
	assert_non_null(hash);
	assert_true(kb_password_verify(text, hash));
	text[72] = 'a';
	text[73] = '\0';
	assert_null(kb_password_hash(*state, text, 4));
	assert_false(kb_password_verify(text, hash));
	assert_null(kb_password_hash(*state, "", 4));
}

static void
nothing_verifies_against_what_is_no_hash(void **state)
{
	(void)state;
	assert_false(kb_password_verify("x", NULL));
	assert_false(kb_password_verify("", ""));
	assert_false(kb_password_verify("x", "x"));
	assert_false(kb_password_verify("U*U",
	    "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
	/* would take hours */
	assert_false(kb_password_verify("U*U",
	    "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(hashes_of_other_programs_are_verified),
		test_with_arena(a_hash_is_of_its_password_alone),
		test_with_arena(what_bcrypt_would_cut_off_is_refused),
		test_with_arena(nothing_verifies_against_what_is_no_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
