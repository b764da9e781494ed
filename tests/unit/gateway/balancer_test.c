/* Wheels and rings: whose turn it is by weight and by hash. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

struct loaded {
	struct problems p;
	struct snapshot *s;
	struct kb_buf text;
};

static void
load(struct loaded *l, const char *upstream)
{
	static char *no_env[] = { NULL };
	struct substitution sub = { .env = no_env };
	char *yaml;

	*l = (struct loaded) { 0 };
	l->p.arena = kb_arena_new(0);
	l->p.file = "kong.yml";
	yaml = kb_sprintf(l->p.arena,
	    "_format_version: \"3.0\"\nservices:\n- {name: a, host: u}\n"
	    "upstreams:\n- {name: u, %s}\n",
	    upstream);
	l->s = config_parse(&l->p, yaml, strlen(yaml), &sub);
	kb_buf_init(&l->text, 1 << 20);
	problems_print(&l->p, true, &l->text);
}

static const struct upstream *
loaded(struct loaded *l, const char *upstream)
{
	load(l, upstream);
	assert_string_equal(kb_buf_str(&l->text), "");
	return l->s->upstreams[0];
}

static void
done(struct loaded *l)
{
	kb_buf_free(&l->text);
	kb_arena_free(l->p.arena);
}

#define HASHED "algorithm: consistent-hashing, hash_on: ip, "
#define A "{target: \"a:1\"}, "
#define B "{target: \"b:1\"}, "
#define C "{target: \"c:1\", weight: 300}"

static void
heavy_targets_get_their_turns_spread_out(void **state)
{
	struct loaded l;
	const struct upstream *u = loaded(&l,
	    "targets: [{target: \"a:1\", weight: 50}, {target: \"b:1\", "
	    "weight: 10}, {target: \"c:1\", weight: 10}, {target: \"d:1\", "
	    "weight: 0}]");
	char turns[16] = "";

	(void)state;
	assert_int_equal(u->wheel_n, 7);
	for (size_t i = 0; i < u->wheel_n; i++)
		turns[i] = (char)('a' + u->wheel[i]);
	assert_string_equal(turns, "aabacaa");
	done(&l);
}

/* Target of the ring for a number; keys as clients have them. */
static size_t
target_of(const struct upstream *u, int i)
{
	char key[32];
	int n = snprintf(key, sizeof(key), "user-%d", i);
	uint64_t hash = balance_hash(key, (size_t)n);

	return u->balance->ring[ring_find(u->balance, hash)].target;
}

static void
the_ring_follows_the_weights(void **state)
{
	struct loaded l;
	const struct upstream *u = loaded(&l, HASHED "targets: [" A B C "]");
	int got[3] = { 0 };

	(void)state;
	assert_int_equal(u->balance->algorithm, CONSISTENT_HASHING);
	for (int i = 0; i < 10000; i++)
		got[target_of(u, i)]++;
	assert_in_range(got[0], 1500, 2500);
	assert_in_range(got[1], 1500, 2500);
	assert_in_range(got[2], 5200, 6800);
	done(&l);
}

static void
a_target_that_leaves_moves_only_its_own_keys(void **state)
{
	struct loaded l, m;
	const struct upstream *u = loaded(
	    &l, HASHED "targets: [" A B "{target: \"c:1\"}]");
	const struct upstream *v = loaded(
	    &m, HASHED "targets: [" A B "{target: \"c:1\", weight: 0}]");
	int moved = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		size_t before = target_of(u, i), after = target_of(v, i);

		assert_int_not_equal(after, 2);
		moved += before != 2 && before != after;
	}
	/* Not quite none: the others' shares of the points have grown. */
	assert_in_range(moved, 0, 1200);
	done(&m);
	done(&l);
}

static void
hashes_are_the_same_everywhere(void **state)
{
	(void)state;
	assert_true(balance_hash("", 0) == balance_hash("x", 0));
	assert_true(balance_hash("user-1", 6) == 0x41a2fca5c68401c5ULL);
}

static void
refused(const char *upstream, const char *why)
{
	struct loaded l;

	load(&l, upstream);
	assert_true(problems_any(&l.p));
	if (strstr(kb_buf_str(&l.text), why) == NULL)
		fail_msg("\"%s\" is not in:\n%s", why, kb_buf_str(&l.text));
	done(&l);
}

static void
a_hash_needs_what_it_hashes(void **state)
{
	(void)state;
	refused("hash_on: header, targets: [" A "]", "needs hash_on_header");
	refused("hash_on: ip, hash_fallback: query_arg, targets: [" A "]",
	    "needs hash_fallback_query_arg");
	refused("hash_on: cookie, targets: [" A "]", "needs hash_on_cookie");
	refused("hash_on: cookie, hash_on_cookie: \"a;b\", targets: [" A "]",
	    "needs hash_on_cookie");
	refused("slots: 5, targets: [" A "]", "slots must be 10 to 65536");
	refused("algorithm: fastest, targets: [" A "]",
	    "is not one of: round-robin, least-connections, "
	    "consistent-hashing");
}

static void
a_mean_of_latencies_follows_and_forgets(void **state)
{
	uint64_t mean = latency_mean(0, 5, 1000);

	(void)state;
	assert_int_equal(mean, 1000);
	for (int i = 0; i < 200; i++)
		mean = latency_mean(mean, 100, 9000);
	assert_in_range(mean, 7500, 9000);
	/* One outlier among many does not decide. */
	assert_in_range(latency_mean(1000, 5, 1000000), 1000, 2000);
	/* After a long silence the news is all that counts. */
	assert_in_range(latency_mean(1000, INT64_MAX, 9000), 8800, 9000);
	assert_true(latency_score(9000, 0, 0) > latency_score(1000, 0, 5));
	assert_true(latency_score(1000, 0, 9) > latency_score(9000, 0, 0));
	assert_true(latency_score(9000, 60000, 0) < latency_score(1000, 0, 0));
	assert_true(latency_score(0, INT64_MAX, 0) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heavy_targets_get_their_turns_spread_out),
		cmocka_unit_test(the_ring_follows_the_weights),
		cmocka_unit_test(a_target_that_leaves_moves_only_its_own_keys),
		cmocka_unit_test(hashes_are_the_same_everywhere),
		cmocka_unit_test(a_hash_needs_what_it_hashes),
		cmocka_unit_test(a_mean_of_latencies_follows_and_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
