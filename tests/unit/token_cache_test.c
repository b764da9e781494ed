/*
 * The cache of verified tokens: what it may remember, for how long, and what
 * a flood can do to it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

static int alive; /* values that the cache holds */

static void
free_value(void *v)
{
	alive--;
	free(v);
}

static void *
value(int n)
{
	int *v = kb_xalloc(sizeof(*v));

	*v = n;
	alive++;
	return v;
}

static enum kb_cached
get(struct kb_token_cache *c, const char *token, uint64_t generation)
{
	void *v = NULL;
	enum kb_cached got = kb_token_cache_get(
	    c, token, strlen(token), generation, &v);

	assert_true((got == KB_CACHE_HIT) == (v != NULL));
	return got;
}

static void
put(struct kb_token_cache *c, const char *token, int64_t life_s, void *v)
{
	kb_token_cache_put(c, token, strlen(token), 1, kb_wall_s() + life_s, v);
}

static void
a_token_is_found_only_as_the_whole_that_was_put(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(16, free_value);
	void *v;

	(void)state;
	assert_int_equal(get(c, "a.b.c", 1), KB_CACHE_MISS);
	put(c, "a.b.c", 600, value(7));
	assert_int_equal(
	    kb_token_cache_get(c, "a.b.c", 5, 1, &v), KB_CACHE_HIT);
	assert_int_equal(*(int *)v, 7);
	assert_int_equal(get(c, "a.b.", 1), KB_CACHE_MISS);
	assert_int_equal(get(c, "a.b.d", 1), KB_CACHE_MISS);
	assert_int_equal(get(c, "", 1), KB_CACHE_MISS);
	kb_token_cache_free(c);
	assert_int_equal(alive, 0);
}

static void
an_entry_ends_after_a_minute_or_with_its_token(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(16, free_value);

	(void)state;
	put(c, "long", 600, value(1));
	put(c, "short", 10, value(2));
	put(c, "over", -5, value(3));
	assert_int_equal(alive, 3);
	assert_int_equal(get(c, "over", 1), KB_CACHE_MISS);
	assert_int_equal(alive, 2);
	kb_clock_shift(11000);
	assert_int_equal(get(c, "short", 1), KB_CACHE_MISS);
	assert_int_equal(get(c, "long", 1), KB_CACHE_HIT);
	kb_clock_shift(50000);
	assert_int_equal(get(c, "long", 1), KB_CACHE_MISS);
	assert_int_equal(alive, 0);
	kb_clock_shift(-61000);
	kb_token_cache_free(c);
}

static void
refused_tokens_are_remembered_ten_seconds(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(16, free_value);

	(void)state;
	put(c, "bad", 600, NULL);
	assert_int_equal(get(c, "bad", 1), KB_CACHE_REFUSED);
	kb_clock_shift(10001);
	assert_int_equal(get(c, "bad", 1), KB_CACHE_MISS);
	kb_clock_shift(-10001);
	kb_token_cache_free(c);
}

static void
new_keys_make_every_entry_old(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(16, free_value);

	(void)state;
	put(c, "good", 600, value(1));
	put(c, "bad", 600, NULL);
	assert_int_equal(get(c, "good", 2), KB_CACHE_MISS);
	assert_int_equal(get(c, "bad", 2), KB_CACHE_MISS);
	assert_int_equal(get(c, "good", 1), KB_CACHE_MISS);
	kb_token_cache_free(c);
	assert_int_equal(alive, 0);
}

static void
the_last_word_about_a_token_counts(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(16, free_value);
	void *v;

	(void)state;
	put(c, "t", 600, NULL);
	put(c, "t", 600, value(1));
	put(c, "t", 600, value(2));
	assert_int_equal(kb_token_cache_get(c, "t", 1, 1, &v), KB_CACHE_HIT);
	assert_int_equal(*(int *)v, 2);
	assert_int_equal(alive, 1);
	put(c, "t", 600, NULL);
	assert_int_equal(get(c, "t", 1), KB_CACHE_REFUSED);
	assert_int_equal(alive, 0);
	kb_token_cache_free(c);
}

static void
the_cache_is_bounded_and_keeps_what_is_used(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(64, free_value);
	char token[32];

	(void)state;
	put(c, "dear", 600, value(0));
	for (int i = 0; i < 10000; i++) {
		snprintf(token, sizeof(token), "token %d", i);
		put(c, token, 600, value(i));
		assert_int_equal(get(c, "dear", 1), KB_CACHE_HIT);
		assert_true(alive <= 64);
	}
	assert_true(alive > 32);
	kb_token_cache_free(c);
	assert_int_equal(alive, 0);
}

static void
a_flood_of_refused_tokens_evicts_no_good_one(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(64, free_value);
	char token[32];

	(void)state;
	for (int i = 0; i < 64; i++) {
		snprintf(token, sizeof(token), "good %d", i);
		put(c, token, 600, value(i));
	}
	for (int i = 0; i < 10000; i++) {
		snprintf(token, sizeof(token), "bad %d", i);
		put(c, token, 600, NULL);
		assert_int_equal(get(c, token, 1), KB_CACHE_REFUSED);
	}
	for (int i = 0; i < 64; i++) {
		snprintf(token, sizeof(token), "good %d", i);
		assert_int_equal(get(c, token, 1), KB_CACHE_HIT);
	}
	kb_token_cache_free(c);
}

static void
long_tokens_take_no_more_memory_than_the_ceiling(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(64, free_value);
	char token[KB_JWT_MAX + 2];

	(void)state;
	memset(token, 'x', sizeof(token));
	for (int i = 0; i < 1000; i++) {
		snprintf(token, 16, "%d.", i);
		token[strlen(token)] = 'x';
		kb_token_cache_put(
		    c, token, KB_JWT_MAX, 1, kb_wall_s() + 600, value(i));
		assert_true(alive <= 8);
	}
	kb_token_cache_put(c, token, KB_JWT_MAX + 1, 1, 0, NULL);
	assert_int_equal(
	    kb_token_cache_get(c, token, KB_JWT_MAX + 1, 1, &(void *) { NULL }),
	    KB_CACHE_MISS);
	kb_token_cache_free(c);
	assert_int_equal(alive, 0);
}

/* Against a plain model: the cache may forget, but never mix tokens up. */
static void
random_use_never_mixes_tokens_up(void **state)
{
	struct kb_token_cache *c = kb_token_cache_new(32, free_value);
	int model[100] = { 0 }; /* 0: never put, -1: refused, else value */
	unsigned seed = 1, hits = 0;

	(void)state;
	for (int i = 1; i < 100000; i++) {
		char token[16];
		int n = rand_r(&seed) % 100;
		void *v = NULL;

		snprintf(token, sizeof(token), "t%d", n);
		switch (rand_r(&seed) % 4) {
		case 0:
			put(c, token, 600, value(i));
			model[n] = i;
			break;
		case 1:
			put(c, token, 600, NULL);
			model[n] = -1;
			break;
		default:
			switch (kb_token_cache_get(
			    c, token, strlen(token), 1, &v)) {
			case KB_CACHE_HIT:
				hits++;
				assert_int_equal(*(int *)v, model[n]);
				break;
			case KB_CACHE_REFUSED:
				assert_int_equal(model[n], -1);
				break;
			case KB_CACHE_MISS: break;
			}
		}
	}
	assert_true(hits > 1000);
	kb_token_cache_free(c);
	assert_int_equal(alive, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_token_is_found_only_as_the_whole_that_was_put),
		cmocka_unit_test(
		    an_entry_ends_after_a_minute_or_with_its_token),
		cmocka_unit_test(refused_tokens_are_remembered_ten_seconds),
		cmocka_unit_test(new_keys_make_every_entry_old),
		cmocka_unit_test(the_last_word_about_a_token_counts),
		cmocka_unit_test(the_cache_is_bounded_and_keeps_what_is_used),
		cmocka_unit_test(a_flood_of_refused_tokens_evicts_no_good_one),
		cmocka_unit_test(
		    long_tokens_take_no_more_memory_than_the_ceiling),
		cmocka_unit_test(random_use_never_mixes_tokens_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
