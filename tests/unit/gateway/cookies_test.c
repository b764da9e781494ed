/*
 * The Cookie field taken apart: what counts as a cookie of a name, and what
 * upstream still sees.
 */
#include "test.h"

#include <kombi/str.h>

#include "inside.h"

static void
finds(const char *field, const char *want)
{
	struct kb_slice value = { NULL, 0 };

	assert_int_equal(
	    cookie_find(kb_slice_of(field), "sid", &value), COOKIE_ONE);
	assert_true(kb_slice_eq(value, want));
}

static void
does_not_find(const char *field, enum cookie_found found)
{
	struct kb_slice value;

	assert_int_equal(cookie_find(kb_slice_of(field), "sid", &value), found);
}

static void
a_cookie_is_found_by_its_exact_name(void **state)
{
	(void)state;
	finds("sid=abc", "abc");
	finds("a=b; sid=abc; c=d", "abc");
	finds("a=b;sid=abc", "abc");
	finds("  sid = abc  ;", "abc");
	finds("sid=", "");
	finds("sid=a=b", "a=b");
	finds(";;sid=x;;", "x");
	finds("sid; sid=x", "x");
	does_not_find("", COOKIE_NONE);
	does_not_find("sid", COOKIE_NONE);
	does_not_find("SID=x", COOKIE_NONE);
	does_not_find("sid2=x; xsid=y", COOKIE_NONE);
	does_not_find("a=\"sid=x\"", COOKIE_NONE);
	does_not_find("=sid; =x", COOKIE_NONE);
}

static void
a_name_that_is_there_twice_is_told(void **state)
{
	(void)state;
	does_not_find("sid=a; sid=b", COOKIE_SEVERAL);
	does_not_find("sid=a; sid=a", COOKIE_SEVERAL);
	does_not_find("sid=a; x=y; sid =", COOKIE_SEVERAL);
}

static void
keeps(struct kb_arena *a, const char *field, const char *want)
{
	const char *const names[] = { "sid", "jwt=" };
	char *got = cookie_without(a, kb_slice_of(field), names, 2);

	if (want == NULL)
		assert_null(got);
	else
		assert_string_equal(got, want);
}

static void
upstream_sees_the_other_cookies_alone(void **state)
{
	keeps(*state, "a=b; sid=x; c=d", "a=b; c=d");
	keeps(*state, "sid=x", NULL);
	keeps(*state, "sid_auth_12=x;sid=y", NULL);
	keeps(*state, "jwt=x; jwt2=y", "jwt2=y");
	keeps(*state, "  a=b ;; c", "a=b; c");
	keeps(*state, "a;b;c;d;e;f;g;h;i;j;k;l;m;n;o;p;q;r;s;t;u;v;w;x;y;z",
	    "a; b; c; d; e; f; g; h; i; j; k; l; m; n; o; p; q; r; s; t; u; v; "
	    "w; x; y; z");
	keeps(*state, "", NULL);
	keeps(*state, " ; ;", NULL);
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
		cmocka_unit_test(a_cookie_is_found_by_its_exact_name),
		cmocka_unit_test(a_name_that_is_there_twice_is_told),
		test_with_arena(upstream_sees_the_other_cookies_alone),
		test_with_arena(many_short_pairs_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
