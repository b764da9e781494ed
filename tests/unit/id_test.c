/*
 * Identifiers: ordered, unique, also between threads; UUIDs; request ids.
 */
#include <pthread.h>

#include "test.h"

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

static void
ids_have_prefix_and_26_characters(void **state)
{
	const char *id = kb_id_new(*state, "stk");

	assert_int_equal(strlen(id), 30);
	assert_true(kb_str_starts(id, "stk_"));
	assert_true(kb_is_id(id));
	assert_true(kb_str_starts(kb_id_new(*state, "job_"), "job_"));
	assert_int_equal(strlen(kb_id_new(*state, "job_")), 30);
	assert_int_equal(strlen(kb_id_new(*state, NULL)), 26);
	assert_int_equal(strlen(kb_id_new(*state, "")), 26);
}

static void
ids_sort_by_creation_also_when_the_clock_goes_back(void **state)
{
	const char *before = kb_id_new(*state, "a");
	int i;

	for (i = 0; i < 5000; i++) {
		const char *id = kb_id_new(*state, "a");

		assert_true(strcmp(before, id) < 0);
		before = id;
		if (i == 2000)
			kb_clock_shift(-60000);
		if (i == 4000)
			kb_clock_shift(120000);
	}
	kb_clock_shift(-60000);
}

#define PER_THREAD 2000

static void *
make_ids(void *arg)
{
	char(*out)[32] = arg;
	struct kb_arena *a = kb_arena_new(0);
	int i;

	for (i = 0; i < PER_THREAD; i++)
		memcpy(out[i], kb_id_new(a, ""), 27);
	kb_arena_free(a);
	return NULL;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
threads_never_get_the_same_id(void **state)
{
	static char ids[4 * PER_THREAD][32];
	pthread_t threads[4];
	int i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_ids,
				     ids[i * PER_THREAD]),
		    0);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	qsort(ids, 4 * PER_THREAD, sizeof(ids[0]), compare_ids);
	for (i = 1; i < 4 * PER_THREAD; i++)
		assert_true(strcmp(ids[i - 1], ids[i]) < 0);
}

static void
random_uuids_say_version_4(void **state)
{
	char a[KB_UUID_SIZE], b[KB_UUID_SIZE];

	(void)state;
	kb_uuid4(a);
	kb_uuid4(b);
	assert_true(kb_is_uuid(a));
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
	assert_string_not_equal(a, b);
}

static void
named_uuids_are_those_of_rfc_9562(void **state)
{
	char out[KB_UUID_SIZE];

	(void)state;
	kb_uuid5(
	    "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com", out);
	assert_string_equal(out, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
	kb_uuid5("6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "python.org", out);
	assert_string_equal(out, "886313e1-3b8a-5372-9b90-0c9aee199e5d");
}

static void
request_ids_of_clients_are_kept_only_if_harmless(void **state)
{
	static const char *const bad[] = { "", "a b", "a\n", "a/b", "a\"b",
		"<x>", "\xc3\xa4" };
	char longest[65];
	size_t i;

	(void)state;
	for (i = 0; i < KB_COUNT(bad); i++)
		assert_false(kb_request_id_ok(bad[i], strlen(bad[i])));
	memset(longest, 'x', sizeof(longest));
	assert_true(kb_request_id_ok(longest, 64));
	assert_false(kb_request_id_ok(longest, 65));
	assert_false(kb_request_id_ok("a\0b", 3));
	assert_true(kb_request_id_ok("Az09._-", 7));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(ids_have_prefix_and_26_characters),
		test_with_arena(
		    ids_sort_by_creation_also_when_the_clock_goes_back),
		cmocka_unit_test(threads_never_get_the_same_id),
		cmocka_unit_test(random_uuids_say_version_4),
		cmocka_unit_test(named_uuids_are_those_of_rfc_9562),
		cmocka_unit_test(
		    request_ids_of_clients_are_kept_only_if_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
