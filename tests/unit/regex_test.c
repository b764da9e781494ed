/* Regular expressions: groups, anchors, and bounds that no text gets over. */
#include "test.h"

#include <pthread.h>
#include <string.h>

#include <kombi/regex.h>
#include <kombi/str.h>
#include <kombi/time.h>

static struct kb_regex *
compiled(struct kb_arena *a, const char *pattern, unsigned flags)
{
	const char *why = NULL;
	struct kb_regex *re = kb_regex_new(a, pattern, flags, &why);

	if (re == NULL)
		fail_msg("%s: %s", pattern, why);
	return re;
}

static void
groups_have_names_and_numbers(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_slice g[KB_REGEX_GROUPS];
	struct kb_regex *re = compiled(
	    a, "/u/(?<id>\\d+)(/(x))?/(?P<rest>.*)", KB_REGEX_AT_START);

	(void)state;
	assert_true(kb_regex_match(re, kb_slice_of("/u/12/tail"), g));
	assert_true(kb_slice_eq(g[0], "/u/12/tail"));
	assert_true(kb_slice_eq(g[1], "12"));
	assert_null(g[2].ptr);
	assert_true(kb_slice_eq(g[4], "tail"));
	assert_int_equal(kb_regex_groups(re), 4);
	assert_string_equal(kb_regex_name(re, 1), "id");
	assert_null(kb_regex_name(re, 2));
	assert_string_equal(kb_regex_name(re, 4), "rest");
	kb_arena_free(a);
}

static void
flags_say_where_and_how_it_matches(void **state)
{
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	assert_false(kb_regex_match(
	    compiled(a, "b", KB_REGEX_AT_START), kb_slice_of("ab"), NULL));
	assert_true(
	    kb_regex_match(compiled(a, "b", 0), kb_slice_of("ab"), NULL));
	assert_false(kb_regex_match(
	    compiled(a, "a|ab", KB_REGEX_WHOLE), kb_slice_of("abc"), NULL));
	assert_true(kb_regex_match(
	    compiled(a, "a|ab", KB_REGEX_WHOLE), kb_slice_of("ab"), NULL));
	assert_true(kb_regex_match(
	    compiled(a, "AB", KB_REGEX_ICASE), kb_slice_of("ab"), NULL));
	assert_true(kb_regex_match(
	    compiled(a, "", 0), (struct kb_slice) { NULL, 0 }, NULL));
	kb_arena_free(a);
}

static void
what_is_no_expression_is_told(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	char many[3 * 32 + 1], long_one[5000];
	const char *why;

	(void)state;
	assert_null(kb_regex_new(a, "a(b", 0, &why));
	assert_non_null(strstr(why, "parenthesis"));
	assert_null(kb_regex_new(a, "\\C", 0, &why));
	for (int i = 0; i < 32; i++)
		memcpy(many + (size_t)3 * (size_t)i, "(a)", 4);
	assert_null(kb_regex_new(a, many, 0, &why));
	assert_string_equal(why, "more than 31 groups");
	memset(long_one, 'a', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = '\0';
	assert_null(kb_regex_new(a, long_one, 0, &why));
	kb_arena_free(a);
}

static void *
explode(void *arg)
{
	static const char *const patterns[] = { "(a+)+$", "(a|aa)+$", "(.*)*x",
		"(a?){30}a{30}$", "^(([a-z])+.)+[A-Z]([a-z])+$" };
	struct kb_arena *a = kb_arena_new(0);
	char text[4096];

	(void)arg;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '!';
	for (size_t i = 0; i < KB_COUNT(patterns); i++)
		(void)kb_regex_match(compiled(a, patterns[i], 0),
		    (struct kb_slice) { text, sizeof(text) }, NULL);
	kb_arena_free(a);
	return NULL;
}

static void
no_pattern_holds_a_thread(void **state)
{
	int64_t begin = kb_mono_ms();
	pthread_t thread;

	(void)state;
	explode(NULL);
	assert_int_equal(pthread_create(&thread, NULL, explode, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* Unbounded, one of them alone takes longer than there is time. */
	assert_true(kb_mono_ms() - begin < 2000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_have_names_and_numbers),
		cmocka_unit_test(flags_say_where_and_how_it_matches),
		cmocka_unit_test(what_is_no_expression_is_told),
		cmocka_unit_test(no_pattern_holds_a_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
