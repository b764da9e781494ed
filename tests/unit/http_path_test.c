/*
 * Request targets: one normal form, refused or not, and the same again when
 * it is normalised twice. The corpus path_normalisation.jsonl gives paths
 * that have led gateways astray.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/http1.h>
#include <kombi/str.h>

struct result {
	enum kb_err err;
	struct kb_buf path;
	struct kb_slice query, authority;
};

static struct result
normalise(const char *target)
{
	struct result r;

	kb_buf_init(&r.path, 1 << 16);
	r.err = kb_http_path(
	    kb_slice_of(target), &r.path, &r.query, &r.authority);
	return r;
}

static void
assert_path(const char *target, const char *path)
{
	struct result r = normalise(target);

	if (!path) {
		if (!r.err)
			fail_msg("%s became %s", target, kb_buf_str(&r.path));
		assert_int_equal(r.path.len, 0);
	} else if (r.err || strcmp(kb_buf_str(&r.path), path) != 0) {
		fail_msg("%s became %s (%d), not %s", target,
		    kb_buf_str(&r.path), (int)r.err, path);
	}
	kb_buf_free(&r.path);
}

static void
paths_get_their_normal_form(void **state)
{
	static const char *const cases[][2] = {
		{ "/", "/" },
		{ "/a", "/a" },
		{ "/a/", "/a/" },
		{ "//", "/" },
		{ "///a///b//", "/a/b/" },
		{ "/.", "/" },
		{ "/..", "/" },
		{ "/../../..", "/" },
		{ "/a/.", "/a/" },
		{ "/a/..", "/" },
		{ "/a/b/..", "/a/" },
		{ "/a/b/../", "/a/" },
		{ "/a/b/../c", "/a/c" },
		{ "/a//../b", "/b" },
		{ "/a/./b/./", "/a/b/" },
		{ "/a/.../b", "/a/.../b" },
		{ "/a/..b/c..", "/a/..b/c.." },
		{ "/%2e%2E/a", "/a" },
		{ "/a/%2e./b", "/b" },
		{ "/a/b%2e/c", "/a/b./c" },
		{ "/%61%5f%7E%2d", "/a_~-" },
		{ "/a%3bb", "/a%3Bb" },
		{ "/a;b=c,d", "/a;b=c,d" },
		{ "/%c3%a9", "/%C3%A9" },
		{ "/%e2%82%ac/%f0%9f%98%80", "/%E2%82%AC/%F0%9F%98%80" },
		{ "/a b", NULL },
		{ "/{x}|<\"^`>[]", "/%7Bx%7D%7C%3C%22%5E%60%3E%5B%5D" },
		{ "/%7bx%7d", "/%7Bx%7D" },
		{ "/%20", "/%20" },
		{ "/v1/../../../v1/admin", "/v1/admin" },
		{ "*", "*" },
		{ "/*", "/*" },
		{ "http://h", "/" },
		{ "http://h/a/../b", "/b" },
		{ "HTTPS://H:8/x", "/x" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++)
		assert_path(cases[i][0], cases[i][1]);
}

static void
paths_that_two_readers_may_read_differently_are_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"a",
		"%2fa",
		"/%00",
		"/%2f",
		"/%ef%bc%8e%ef%bc%8e/admin",
		"/%E2%88%95",
		"/%2F",
		"/a%5cb",
		"/%25",
		"/\\",
		"/%",
		"/%4",
		"/%zz",
		"/%u002e",
		"/%-1",
		"/a#b",
		"/%0a",
		"/%7f",
		"/%1F",
		"/\x01",
		"/\x7f",
		"/\xc3\xa9",
		"/%c3",
		"/%c3/%a9",
		"/%c3a",
		"/%a9",
		"/%c0%ae",
		"/%e0%80%ae",
		"/%ed%a0%80",
		"/%f4%90%80%80",
		"/%f8%80%80%80%80",
		"/%ff%fe",
		"h:80",
		"ftp://h/",
		"http:///x",
		"http://u@h/",
		"http://h:0/",
		"http://h:99999/",
		"http://h\\x/",
		"*x",
		"**",
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++)
		assert_path(cases[i], NULL);
}

static void
the_query_is_checked_and_kept_as_it_is(void **state)
{
	static const char *const bad[] = { "/?a b", "/?#", "/?%", "/?%4",
		"/?%gg", "/?\xc3", "/?a\tb" };
	struct result r;

	(void)state;
	r = normalise("/a/../b?x=%2f..&y[]=?");
	assert_int_equal(r.err, KB_OK);
	assert_string_equal(kb_buf_str(&r.path), "/b");
	assert_true(kb_slice_eq(r.query, "x=%2f..&y[]=?"));
	assert_null(r.authority.ptr);
	kb_buf_free(&r.path);
	r = normalise("/a?");
	assert_non_null(r.query.ptr);
	assert_int_equal(r.query.len, 0);
	kb_buf_free(&r.path);
	r = normalise("/a");
	assert_null(r.query.ptr);
	kb_buf_free(&r.path);
	r = normalise("http://h:80?q");
	assert_string_equal(kb_buf_str(&r.path), "/");
	assert_true(kb_slice_eq(r.query, "q"));
	assert_true(kb_slice_eq(r.authority, "h:80"));
	kb_buf_free(&r.path);
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_path(bad[i], NULL);
}

static void
the_path_is_appended_within_the_ceiling(void **state)
{
	struct kb_slice q, a;
	struct kb_buf b;

	(void)state;
	kb_buf_init(&b, 10);
	kb_buf_adds(&b, "x");
	assert_int_equal(kb_http_path(kb_slice_of("/abc"), &b, &q, &a), KB_OK);
	assert_string_equal(kb_buf_str(&b), "x/abc");
	assert_int_equal(
	    kb_http_path(kb_slice_of("/abcdef"), &b, &q, &a), KB_URI_TOO_LONG);
	assert_string_equal(kb_buf_str(&b), "x/abc");
	kb_buf_free(&b);
}

/* ---- authorities ------------------------------------------------------------
 */

static void
hosts_are_names_or_addresses_with_a_port(void **state)
{
	static const char *const good[] = { "h", "h:1", "h:65535", "a.b.c",
		"a.b.c.", "a_b-c~d", "1.2.3.4:80", "[::1]", "[::1]:80",
		"[2001:db8::1.2.3.4]" };
	static const char *const bad[] = { "", ":80", "h:", "h:0", "h:65536",
		"h:999999", "h:8x", "h:+8", "a b", "a,b", "u@h", "h/x", "h?x",
		"h#x", ".h", "a..b", "[::1", "::1", "[]", "[::1]x",
		"[::1]:", "[::g]", "[::1%25eth0]", "[v1.x]", "h\\x", "h%41",
		"h:1:2", "h\xc3\xa9", "[1.2.3.4]",
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]" };
	char longest[300];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(good); i++)
		if (!kb_http_host_ok(kb_slice_of(good[i])))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		if (kb_http_host_ok(kb_slice_of(bad[i])))
			fail_msg("taken: %s", bad[i]);
	assert_false(kb_http_host_ok((struct kb_slice) { "[\0]", 3 }));
	memset(longest, 'a', sizeof(longest));
	assert_true(kb_http_host_ok((struct kb_slice) { longest, 253 }));
	assert_false(kb_http_host_ok((struct kb_slice) { longest, 254 }));
}

/* ---- the corpus
 * --------------------------------------------------------------- */

/* What no router and no upstream may ever see. */
static void
assert_normal(const char *target, const char *path)
{
	static const char *const never[] = { "//", "/./", "/../", "\\", "%2E",
		"%2F", "%5C", "%25", "%00", "#", " " };

	assert_true(path[0] == '/' || strcmp(path, "*") == 0);
	for (size_t i = 0; i < KB_COUNT(never); i++)
		if (strstr(path, never[i]))
			fail_msg("%s became %s", target, path);
	assert_false(kb_str_ends(path, "/.") || kb_str_ends(path, "/.."));
	for (const char *p = path; (p = strchr(p, '%')) != NULL; p++)
		assert_true(strchr("0123456789ABCDEF", p[1]) &&
		    strchr("0123456789ABCDEF", p[2]));
}

static void
check_target(const char *target, unsigned *taken, unsigned *refused)
{
	struct result once = normalise(target);

	if (once.err) {
		assert_int_equal(once.path.len, 0);
		++*refused;
	} else {
		assert_normal(target, kb_buf_str(&once.path));
		assert_path(kb_buf_str(&once.path), kb_buf_str(&once.path));
		++*taken;
	}
	kb_buf_free(&once.path);
}

static void
the_corpus_is_normal_or_refused_and_stays_so(void **state)
{
	const char *root = getenv("KOMBI_SOURCE_DIR");
	unsigned taken = 0, refused = 0;
	char path[500], *line = NULL;
	size_t room = 0;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path),
	    "%s/tests/attacks/path_normalisation.jsonl", root ? root : ".");
	f = fopen(path, "r");
	if (!f)
		fail_msg("no corpus at %s", path);
	while (getline(&line, &room, f) > 0) {
		char *target = strstr(line, "\"path\": \""), *end;

		assert_non_null(target);
		target += 9;
		end = strchr(target, '"');
		assert_non_null(end);
		*end = '\0';
		check_target(target, &taken, &refused);
	}
	free(line);
	fclose(f);
	print_message("corpus: %u normal, %u refused\n", taken, refused);
	assert_true(taken > 40 && refused > 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_get_their_normal_form),
		cmocka_unit_test(
		    paths_that_two_readers_may_read_differently_are_refused),
		cmocka_unit_test(the_query_is_checked_and_kept_as_it_is),
		cmocka_unit_test(the_path_is_appended_within_the_ceiling),
		cmocka_unit_test(hosts_are_names_or_addresses_with_a_port),
		cmocka_unit_test(the_corpus_is_normal_or_refused_and_stays_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
