/* Names and types of files: what clients say never becomes a path. */
#include "test.h"

#include <kombi/str.h>

#include "records/files.h"

/* The stored name with its random part as '?'. */
static const char *
stored(void **state, const char *name, const char *type)
{
	char *s = kb_strdup(*state, file_stored_name(*state, name, type));
	char *end = strchr(strrchr(s, '_'), '.');

	assert_true(file_part_ok(s));
	end = end ? end : s + strlen(s);
	assert_int_equal(end - strrchr(s, '_'), 11);
	memset(strrchr(s, '_') + 1, '?', 10);
	return s;
}

static void
a_stored_name_is_made_of_words(void **state)
{
	static const struct {
		const char *name, *type, *want;
	} cases[] = {
		{ "My Photo.PNG", "image/png", "my_photo_??????????.PNG" },
		{ "HTMLParser2Test.TXT", "text/plain",
		    "htmlparser2_test_??????????.TXT" },
		{ "docs.tar.gz", "application/gzip", "docs_??????????.tar.gz" },
		{ "noext", "text/plain; charset=utf-8",
		    "noext_??????????.txt" },
		{ "../../etc/passwd", "application/octet-stream", NULL },
		{ "a b  c--d.p h", "text/plain", "a_b_c_d_??????????.ph" },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const char *s = stored(state, cases[i].name, cases[i].type);

		if (cases[i].want != NULL)
			assert_string_equal(s, cases[i].want);
	}
	assert_int_equal(strlen(file_stored_name(*state, "", "")), 21);
	assert_true(strlen(stored(state,
			kb_sprintf(*state, "%0600d.%0300d", 1, 2), "")) < 150);
}

static void
parts_of_paths_are_judged(void **state)
{
	static const char *const bad[] = { "", ".", "..", ".hidden", "a/b",
		"a\\b", "a\nb" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_false(file_part_ok(bad[i]));
	assert_true(file_part_ok("a_0123456789.txt"));
}

static void
types_are_told_by_the_first_bytes(void **state)
{
	(void)state;
	assert_string_equal(file_sniff("\x89PNG\r\n\x1a\n", 8), "image/png");
	assert_string_equal(file_sniff("<svg x>", 7), "image/svg+xml");
	assert_string_equal(
	    file_sniff(" <!DOCTYPE HTML>", 16), "text/html; charset=utf-8");
	assert_string_equal(
	    file_sniff("hello", 5), "text/plain; charset=utf-8");
	assert_string_equal(file_sniff("a\0b", 3), "application/octet-stream");
	assert_string_equal(file_sniff("", 0), "text/plain; charset=utf-8");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(a_stored_name_is_made_of_words),
		test_with_arena(parts_of_paths_are_judged),
		test_with_arena(types_are_told_by_the_first_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
