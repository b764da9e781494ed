/*
 * Arenas: memory is zeroed, aligned and apart, clean-ups run once and in
 * reverse, a reset gives everything back but the first block.
 */
#include "test.h"

static void
memory_is_zeroed_and_aligned_for_any_type(void **state)
{
	size_t size, i;

	for (size = 0; size < 300; size += 7) {
		unsigned char *p = kb_arena_alloc(*state, size);

		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		for (i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
}

static void
allocations_do_not_overlap(void **state)
{
	unsigned char *parts[200];
	size_t i, j;

	for (i = 0; i < 200; i++) {
		parts[i] = kb_arena_alloc(*state, i * 13 + 1);
		memset(parts[i], (int)i, i * 13 + 1);
	}
	for (i = 0; i < 200; i++)
		for (j = 0; j < i * 13 + 1; j++)
			assert_int_equal(parts[i][j], (unsigned char)i);
}

static void
a_large_block_is_served_and_small_ones_go_on(void **state)
{
	char *small = kb_strdup(*state, "before");
	unsigned char *large = kb_arena_alloc(*state, 5000000);
	char *after = kb_strdup(*state, "after");

	large[0] = large[4999999] = 1;
	assert_string_equal(small, "before");
	assert_string_equal(after, "after");
}

static void
used_counts_what_was_handed_out_and_reset_forgets(void **state)
{
	size_t before = kb_arena_used(*state);
	unsigned char *p, *q;

	p = kb_arena_alloc(*state, 100);
	assert_int_equal(kb_arena_used(*state) - before, 100);
	memset(p, 0xff, 100);
	kb_arena_alloc(*state, 100000);
	kb_arena_reset(*state);
	assert_int_equal(kb_arena_used(*state), 0);
	q = kb_arena_alloc(*state, 100);
	assert_ptr_equal(p, q);
	assert_int_equal(q[0], 0);
	assert_int_equal(q[99], 0);
}

static char order[8];

static void
note(void *arg)
{
	size_t n = strlen(order);

	order[n] = *(const char *)arg;
	order[n + 1] = '\0';
}

static char letter_a = 'a', letter_b = 'b';

static void
cleanups_run_once_last_registered_first(void **state)
{
	struct kb_arena *a = kb_arena_new(64);

	(void)state;
	order[0] = '\0';
	kb_arena_on_free(a, note, &letter_a);
	kb_arena_on_free(a, note, &letter_b);
	kb_arena_reset(a);
	assert_string_equal(order, "ba");
	kb_arena_on_free(a, note, &letter_a);
	kb_arena_free(a);
	assert_string_equal(order, "baa");
}

static void
strings_are_copied_and_formatted(void **state)
{
	assert_null(kb_strdup(*state, NULL));
	assert_string_equal(kb_strndup(*state, "abcdef", 3), "abc");
	assert_string_equal(kb_strndup(*state, NULL, 0), "");
	assert_string_equal(
	    kb_slice_dup(*state, (struct kb_slice) { "xyz", 2 }), "xy");
	assert_string_equal(
	    kb_sprintf(*state, "%s-%05d-%c", "a", 42, 'z'), "a-00042-z");
	assert_int_equal(strlen(kb_sprintf(*state, "%9000d", 1)), 9000);
}

static void
freeing_null_is_fine(void **state)
{
	(void)state;
	kb_arena_free(NULL);
	kb_arena_free(kb_arena_new(1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(memory_is_zeroed_and_aligned_for_any_type),
		test_with_arena(allocations_do_not_overlap),
		test_with_arena(a_large_block_is_served_and_small_ones_go_on),
		test_with_arena(
		    used_counts_what_was_handed_out_and_reset_forgets),
		cmocka_unit_test(cleanups_run_once_last_registered_first),
		test_with_arena(strings_are_copied_and_formatted),
		cmocka_unit_test(freeing_null_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
