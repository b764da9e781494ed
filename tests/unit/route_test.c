/* Matching of paths against route tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include <kombi/http.h>
#include <kombi/str.h>

#include "route.h"

static struct kb_reply
nothing(struct kb_request *req)
{
	return kb_no_content(req);
}

static const struct kb_route rows[] = {
	KB_GET("/", KB_PUBLIC, nothing),
	KB_GET("/v1/stacks", KB_USER, nothing),
	KB_POST("/v1/stacks", KB_USER, nothing),
	KB_GET("/v1/stacks/{id}", KB_USER, nothing),
	KB_DELETE("/v1/stacks/{stack}", KB_USER, nothing),
	KB_GET("/v1/stacks/search", KB_USER, nothing),
	KB_GET("/v1/stacks/{id}/jobs/{job}", KB_USER, nothing),
	KB_GET("/v1/{kind}/all", KB_USER, nothing),
	KB_ROUTES_END,
};

static struct kb_router *
router_of(struct kb_arena *a, const struct kb_route *table)
{
	const struct kb_route *const tables[] = { table, NULL };
	const char *why = NULL;
	struct kb_router *r = kb_router_new(a, tables, &why);

	if (r == NULL)
		fail_msg("%s", why);
	return r;
}

static int
setup(void **state)
{
	*state = kb_arena_new(0);
	return 0;
}

static int
teardown(void **state)
{
	kb_arena_free(*state);
	return 0;
}

static void
paths_find_their_row(void **state)
{
	static const struct {
		enum kb_method method;
		const char *path, *pattern;
	} cases[] = {
		{ KB_M_GET, "/", "/" },
		{ KB_M_GET, "/v1/stacks", "/v1/stacks" },
		{ KB_M_HEAD, "/v1/stacks", "/v1/stacks" },
		{ KB_M_GET, "/v1/stacks/abc", "/v1/stacks/{id}" },
		{ KB_M_DELETE, "/v1/stacks/abc", "/v1/stacks/{stack}" },
		{ KB_M_GET, "/v1/stacks/search", "/v1/stacks/search" },
		{ KB_M_GET, "/v1/stacks/a/jobs/b",
		    "/v1/stacks/{id}/jobs/{job}" },
		{ KB_M_GET, "/v1/nodes/all", "/v1/{kind}/all" },
	};
	struct kb_router *r = router_of(*state, rows);
	struct kb_match m;

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		assert_int_equal(kb_router_match(r, cases[i].method,
				     kb_slice_of(cases[i].path), &m),
		    KB_OK);
		assert_string_equal(m.route->pattern, cases[i].pattern);
	}
}

static void
parameters_carry_the_names_of_their_row(void **state)
{
	struct kb_router *r = router_of(*state, rows);
	struct kb_match m;

	assert_int_equal(kb_router_match(r, KB_M_GET,
			     kb_slice_of("/v1/stacks/a/jobs/b"), &m),
	    KB_OK);
	assert_int_equal(m.n_params, 2);
	assert_true(kb_slice_eq(m.names[0], "id"));
	assert_true(kb_slice_eq(m.values[0], "a"));
	assert_true(kb_slice_eq(m.names[1], "job"));
	assert_true(kb_slice_eq(m.values[1], "b"));
	assert_int_equal(
	    kb_router_match(r, KB_M_DELETE, kb_slice_of("/v1/stacks/x"), &m),
	    KB_OK);
	assert_true(kb_slice_eq(m.names[0], "stack"));
}

static void
unknown_paths_are_not_found(void **state)
{
	static const char *const paths[] = { "/v1", "/v1/stacks/", "/v1/stack",
		"/v1/stacksx", "/v1/stacks/a/jobs", "/v1/stacks//jobs/b",
		"/v2/stacks", "//", "/v1/stacks/a/jobs/b/c", "v1" };
	struct kb_router *r = router_of(*state, rows);
	struct kb_match m;

	for (size_t i = 0; i < KB_COUNT(paths); i++)
		assert_int_equal(
		    kb_router_match(r, KB_M_GET, kb_slice_of(paths[i]), &m),
		    KB_NOT_FOUND);
}

static void
other_methods_are_told_the_allowed_ones(void **state)
{
	struct kb_router *r = router_of(*state, rows);
	struct kb_match m;

	assert_int_equal(
	    kb_router_match(r, KB_M_DELETE, kb_slice_of("/v1/stacks"), &m),
	    KB_METHOD);
	assert_null(m.route);
	assert_string_equal(m.allow, "GET, HEAD, POST, OPTIONS");
	assert_int_equal(
	    kb_router_match(r, KB_M_OTHER, kb_slice_of("/v1/stacks"), &m),
	    KB_METHOD);
	assert_int_equal(
	    kb_router_match(r, KB_M_OPTIONS, kb_slice_of("/v1/stacks"), &m),
	    KB_METHOD);
}

static void
faulty_rows_are_refused_by_name(void **state)
{
	static const struct {
		struct kb_route rows[3];
		const char *why;
	} cases[] = {
		{ { { .method = KB_M_GET, .pattern = "/a", .handler = nothing },
		      KB_ROUTES_END },
		    "route GET /a: no permission" },
		{ { KB_GET("/a", KB_PUBLIC, NULL), KB_ROUTES_END },
		    "route GET /a: no handler" },
		{ { KB_GET("a", KB_PUBLIC, nothing), KB_ROUTES_END },
		    "route GET a: pattern does not begin with '/'" },
		{ { KB_GET("/a/{x}", KB_PUBLIC, nothing),
		      KB_GET("/a/{y}", KB_PUBLIC, nothing), KB_ROUTES_END },
		    "route GET /a/{y}: the same route twice" },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const struct kb_route *const tables[] = { cases[i].rows, NULL };
		const char *why = NULL;

		assert_null(kb_router_new(*state, tables, &why));
		assert_string_equal(why, cases[i].why);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    paths_find_their_row, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    parameters_carry_the_names_of_their_row, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    unknown_paths_are_not_found, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    other_methods_are_told_the_allowed_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    faulty_rows_are_refused_by_name, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
