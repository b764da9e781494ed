/* Lists of records: filters, sorting, pages, expanded relations. */
#include "records_world.h"

static void
filters_mean_what_pocketbase_means(void **state)
{
	static const struct {
		const char *filter, *titles;
	} cases[] = {
		{ "title = 'one'", "one" },
		{ "title != \"one\"", "two_100% Three" },
		{ "views > 2 && views <= 20", "two_100% Three" },
		{ "views = 3.5 || open = true", "one Three" },
		{ "views = 1 || views = 20 && title = 'x'", "one" },
		{ "(views = 1 || views = 20) && title = 'one'", "one" },
		{ "title ~ 'E'", "one Three" },
		{ "title ~ 'o%'", "one" },
		{ "title ~ '_100%'", "" },
		{ "title ~ '_'", "two_100%" },
		{ "title !~ 'o'", "Three" },
		{ "title:lower = 'three'", "Three" },
		{ "author = ''", "Three" },
		{ "author != null", "one two_100%" },
		{ "author.name = 'Ada'", "one" },
		{ "author.team = ''", "Three" },
		{ "author.id != ''", "one two_100%" },
		{ "tags ~ 'red'", "one two_100%" },
		{ "tags:each = 'red'", "one" },
		{ "tags:each ?= 'red'", "one two_100%" },
		{ "tags:each ?= 'blue' && tags:each ?= 'red'", "" },
		{ "tags:each != 'green'", "one two_100% Three" },
		{ "tags:length = 2", "two_100%" },
		{ "tags:length = 0", "Three" },
		{ "readers.name = 'Ben'", "two_100%" },
		{ "readers.name ?= 'Ben'", "one two_100%" },
		{ "readers.name ?= 'Ada' && readers.team ?= 'y'", "" },
		{ "author.posts_via_author.views ?> 10", "two_100%" },
		{ "meta.a.b = 7", "one" },
		{ "meta.list.1 = 2", "one" },
		{ "meta = 'plain'", "Three" },
		{ "meta = null", "two_100%" },
		{ "at > '2026-01-15'", "two_100%" },
		{ "at < @now && at != ''", "one two_100%" },
		{ "at >= @yearStart && at <= @tomorrow && 1 = 2", "" },
		{ "strftime('%m', at) = '02'", "two_100%" },
		{ "'one' = title // the first\n && open = true", "one" },
		{ "title = 'o\\'x' || title = \"it's\"", "" },
		{ "1 = 1", "one two_100% Three" },
		{ "  ", "one two_100% Three" },
	};
	struct fixture *f = *state;

	make_world(f);
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const char *got = titles(
		    f, NULL, query_of(f, "filter", cases[i].filter));

		if (strcmp(got, cases[i].titles) != 0)
			fail_msg("%s: \"%s\" instead of \"%s\"",
			    cases[i].filter, got, cases[i].titles);
	}
}

static void
what_is_no_filter_is_refused(void **state)
{
	static const char *const bad[] = { "title", "title =", "= 1",
		"title == 1", "nothing = 1", "title = 'x", "title.x = 1",
		"(title = 'a'", "title = 'a')", "title = 1 &&", "secret = 's'",
		"a; DROP TABLE posts", "title:each = 1", "views:nope = 1",
		"system('x') = 1", "author.secret.x = 1", "x_via_y.id = 1",
		"author.posts_via_readers = 1", "title = 1 -- x", "..=1",
		"author. = 1", "@what = 1", "id = 1.2.3" };
	struct fixture *f = *state;
	struct kb_buf deep;

	make_world(f);
	for (size_t i = 0; i < KB_COUNT(bad); i++) {
		struct kb_loopback_answer answer = ask(f, NULL, "GET",
		    kb_sprintf(f->a, API "/posts/records?%s",
			query_of(f, "filter", bad[i])),
		    NULL);

		if (answer.status != 400)
			fail_msg(
			    "%s: %d %s", bad[i], answer.status, answer.body);
	}
	expect(f, 403,
	    ask(f, f->member, "GET",
		kb_sprintf(f->a, API "/posts/records?%s",
		    query_of(f, "filter", "@request.auth.id != ''")),
		NULL));
	kb_buf_init(&deep, 65536);
	for (int i = 0; i < 199; i++)
		kb_buf_adds(&deep, "views=1||");
	kb_buf_adds(&deep, "views=1");
	assert_string_equal(
	    titles(f, NULL, query_of(f, "filter", kb_buf_str(&deep))), "one");
	kb_buf_free(&deep);
}

static void
lists_are_sorted_paged_and_trimmed(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *j;
	int64_t n = 0;

	make_world(f);
	assert_string_equal(
	    titles(f, NULL, "sort=-views"), "two_100% Three one");
	assert_string_equal(
	    titles(f, NULL, "sort=author.name,-title"), "Three one two_100%");
	assert_string_equal(
	    titles(f, NULL, "perPage=1&page=2&sort=@rowid"), "two_100%");
	j = expect(f, 200,
	    ask(f, NULL, "GET", API "/posts/records?perPage=2&fields=id,views",
		NULL));
	assert_true(kb_json_int(j, "totalItems", &n) && n == 3);
	assert_true(kb_json_int(j, "totalPages", &n) && n == 2);
	assert_int_equal(
	    kb_json_size(kb_json_first(kb_json_get(j, "items"))), 2);
	j = expect(f, 200,
	    ask(f, NULL, "GET", API "/posts/records?skipTotal=1", NULL));
	assert_true(kb_json_int(j, "totalItems", &n) && n == -1);
	expect(f, 400, ask(f, NULL, "GET", API "/posts/records?sort=x", NULL));
	expect(f, 400,
	    ask(f, NULL, "GET", API "/posts/records?sort=secret", NULL));
}

static void
relations_are_expanded_as_far_as_they_may_be_seen(void **state)
{
	struct fixture *f = *state;
	struct world w = make_world(f);
	const struct kb_json *j, *e;
	const char *query = kb_sprintf(f->a,
	    API "/posts/records?sort=@rowid&expand=author,readers,"
		"author.posts_via_author");

	j = expect(f, 200, ask(f, NULL, "GET", query, NULL));
	e = kb_json_get(kb_json_first(kb_json_get(j, "items")), "expand");
	assert_string_equal(
	    kb_json_str(kb_json_get(e, "author"), "name"), "Ada");
	assert_int_equal(kb_json_size(kb_json_get(e, "readers")), 2);
	e = kb_json_get(kb_json_get(e, "author"), "expand");
	assert_int_equal(kb_json_size(kb_json_get(e, "posts_via_author")), 1);

	expect(f, 200,
	    ask(f, f->admin, "PATCH", kb_sprintf(f->a, API "/%s", w.authors_id),
		"{\"viewRule\":null,\"listRule\":null}"));
	j = expect(f, 200, ask(f, NULL, "GET", query, NULL));
	assert_null(
	    kb_json_get(kb_json_first(kb_json_get(j, "items")), "expand"));
	/* Nor does a filter tell what may not be seen. */
	assert_string_equal(
	    titles(f, NULL, query_of(f, "filter", "author.name ~ 'A'")), "");
	assert_string_equal(
	    titles(f, f->admin, query_of(f, "filter", "author.name ~ 'A'")),
	    "one");
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(filters_mean_what_pocketbase_means),
		T(what_is_no_filter_is_refused),
		T(lists_are_sorted_paged_and_trimmed),
		T(relations_are_expanded_as_far_as_they_may_be_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
