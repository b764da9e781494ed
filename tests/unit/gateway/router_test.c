/* Which route takes a request, and the path that upstream sees. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

struct table {
	struct kb_arena *arena;
	struct snapshot *s;
};

/* Routes as lines of flow YAML below one service. */
static struct table
table_by(const char *routes, bool kong)
{
	struct problems p = { .arena = kb_arena_new(0),
		.file = "t",
		.defaults.kong_router = kong };
	struct substitution sub = { 0 };
	struct table t = { .arena = p.arena };
	char *yaml = kb_sprintf(p.arena,
	    "_format_version: \"3.0\"\nservices:\n- name: s\n"
	    "  host: h\n  routes:\n%s",
	    routes);

	t.s = config_parse(&p, yaml, strlen(yaml), &sub);
	assert_false(problems_any(&p));
	return t;
}

static struct table
table_of(const char *routes)
{
	return table_by(routes, false);
}

static struct router_match
find(const struct table *t, const char *method, const char *host,
    const char *path)
{
	struct router_match m;

	router_find(t->s->router,
	    &(struct router_query) {
		.path = kb_slice_of(path),
		.host = kb_slice_of(host),
		.method = kb_method_of(method, strlen(method)),
		.proto = PROTO_HTTP,
	    },
	    &m);
	return m;
}

static const char *
name_at(const struct table *t, const char *path)
{
	struct router_match m = find(t, "GET", "x.io", path);

	return m.route ? m.route->name : "-";
}

static void
a_prefix_matches_whole_segments_only(void **state)
{
	struct table t = table_of("  - {name: admin, paths: [/v1/admin]}\n"
				  "  - {name: dir, paths: [/files/]}\n");

	(void)state;
	assert_string_equal(name_at(&t, "/v1/admin"), "admin");
	assert_string_equal(name_at(&t, "/v1/admin/"), "admin");
	assert_string_equal(name_at(&t, "/v1/admin/users/7"), "admin");
	assert_string_equal(name_at(&t, "/v1/adminx"), "-");
	assert_string_equal(name_at(&t, "/v1/admin;x"), "-");
	assert_string_equal(name_at(&t, "/v1"), "-");
	assert_string_equal(name_at(&t, "/"), "-");
	assert_string_equal(name_at(&t, "/files"), "-");
	assert_string_equal(name_at(&t, "/files/"), "dir");
	assert_string_equal(name_at(&t, "/files/a"), "dir");
	kb_arena_free(t.arena);
}

static void
the_longest_prefix_wins_whatever_the_order(void **state)
{
	struct table t = table_of("  - {name: root, paths: [/]}\n"
				  "  - {name: v1, paths: [/v1]}\n"
				  "  - {name: deep, paths: [/v1/a/b/c]}\n"
				  "  - {name: a, paths: [/v1/a]}\n"
				  "  - {name: a-b, paths: [/v1/a-b]}\n");

	(void)state;
	assert_string_equal(name_at(&t, "/"), "root");
	assert_string_equal(name_at(&t, "/v1x"), "root");
	assert_string_equal(name_at(&t, "/v1/z"), "v1");
	assert_string_equal(name_at(&t, "/v1/a/b"), "a");
	assert_string_equal(name_at(&t, "/v1/a/b/c/d"), "deep");
	assert_string_equal(name_at(&t, "/v1/a-b/x"), "a-b");
	kb_arena_free(t.arena);
}

static void
a_method_that_does_not_fit_is_told_with_those_that_do(void **state)
{
	struct table t = table_of(
	    "  - {name: r, paths: [/r], methods: [GET, POST]}\n"
	    "  - {name: all, paths: [/all]}\n");
	struct router_match m = find(&t, "DELETE", "x.io", "/r/1");
	char *list;

	(void)state;
	assert_null(m.route);
	list = method_list(t.arena, m.allow);
	assert_string_equal(list, "GET, HEAD, POST");
	assert_non_null(find(&t, "HEAD", "x.io", "/r").route);
	assert_non_null(find(&t, "DELETE", "x.io", "/all").route);
	m = find(&t, "GET", "x.io", "/none");
	assert_null(m.route);
	assert_int_equal(m.allow, 0);
	kb_arena_free(t.arena);
}

static void
a_shorter_prefix_serves_where_the_longer_has_other_methods(void **state)
{
	struct table t = table_of(
	    "  - {name: public, paths: [/v1/public], methods: [GET]}\n"
	    "  - {name: rest, paths: [/v1]}\n");

	(void)state;
	assert_string_equal(name_at(&t, "/v1/public/x"), "public");
	assert_string_equal(
	    find(&t, "POST", "x.io", "/v1/public/x").route->name, "rest");
	kb_arena_free(t.arena);
}

static void
hosts_are_matched_exactly_then_by_wildcard_then_any(void **state)
{
	struct table t = table_of(
	    "  - {name: any, paths: [/a]}\n"
	    "  - {name: wild, paths: [/a], hosts: [\"*.x.io\"]}\n"
	    "  - {name: deeper, paths: [/a], hosts: [\"*.b.x.io\"]}\n"
	    "  - {name: right, paths: [/a], hosts: [\"x.*\"]}\n"
	    "  - {name: exact, paths: [/a], hosts: [a.x.io, b.x.io]}\n"
	    "  - {name: only-host, hosts: [h.io]}\n");
	static const struct {
		const char *host, *name;
	} cases[] = {
		{ "a.x.io", "exact" },
		{ "b.x.io", "exact" },
		{ "c.x.io", "wild" },
		{ "c.b.x.io", "deeper" },
		{ "x.com", "right" },
		{ "x.io", "right" },
		{ "evilx.io", "any" },
		{ "", "any" },
		{ "h.io", "any" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++)
		assert_string_equal(
		    find(&t, "GET", cases[i].host, "/a/b").route->name,
		    cases[i].name);
	assert_string_equal(
	    find(&t, "GET", "h.io", "/else").route->name, "only-host");
	assert_null(find(&t, "GET", "i.io", "/else").route);
	kb_arena_free(t.arena);
}

static void
a_route_for_https_asks_for_it(void **state)
{
	struct table t = table_of(
	    "  - {name: r, paths: [/r], protocols: [https]}\n");
	struct router_match m = find(&t, "GET", "x.io", "/r");

	(void)state;
	assert_null(m.route);
	assert_true(m.https_only);
	kb_arena_free(t.arena);
}

static void
websockets_pass_only_where_allowed(void **state)
{
	struct table t = table_of(
	    "  - {name: a, paths: [/a]}\n"
	    "  - {name: b, paths: [/b], protocols: [http, ws]}\n"
	    "  - {name: c, paths: [/c], tags: [websocket]}\n");

	(void)state;
	assert_false(t.s->routes[0]->websocket);
	assert_true(t.s->routes[1]->websocket);
	assert_true(t.s->routes[2]->websocket);
	kb_arena_free(t.arena);
}

static void
ten_thousand_routes_are_found_without_looking_at_all(void **state)
{
	struct kb_buf b;
	struct table t;
	char path[64];
	int64_t begin;

	(void)state;
	kb_buf_init(&b, 8 << 20);
	for (int i = 0; i < 10000; i++)
		kb_buf_addf(&b,
		    "  - {name: r%d, paths: [/v1/r%d], hosts: [h%d.io]}\n", i,
		    i, i % 100);
	t = table_of(kb_buf_str(&b));
	kb_buf_free(&b);
	begin = kb_mono_ms();
	for (int i = 0; i < 10000; i++) {
		char host[32];
		struct router_match m;

		snprintf(path, sizeof(path), "/v1/r%d/x", i);
		snprintf(host, sizeof(host), "h%d.io", i % 100);
		m = find(&t, "GET", host, path);
		assert_non_null(m.route);
		assert_int_equal(m.route->index, i);
		assert_null(find(&t, "GET", "other.io", path).route);
	}
	assert_true(kb_mono_ms() - begin < 2000);
	kb_arena_free(t.arena);
}

static void
a_hostile_path_costs_no_more_than_its_length(void **state)
{
	struct table t = table_of("  - {name: r, paths: [/a/a/a/a/a/a/a/a]}\n");
	char path[8001];
	int64_t begin = kb_mono_ms();

	(void)state;
	for (size_t i = 0; i < sizeof(path) - 1; i++)
		path[i] = i % 2 ? 'a' : '/';
	path[sizeof(path) - 1] = '\0';
	for (int i = 0; i < 1000; i++)
		assert_string_equal(name_at(&t, path), "r");
	assert_true(kb_mono_ms() - begin < 1000);
	kb_arena_free(t.arena);
}

static struct table
table_kong(const char *routes)
{
	return table_by(routes, true);
}

static void
expressions_are_tried_where_their_literal_beginning_ends(void **state)
{
	struct table t = table_of(
	    "  - {name: root, paths: [/]}\n"
	    "  - {name: v, paths: [\"~/v[0-9]+/users$\"]}\n"
	    "  - {name: v1, paths: [/v1]}\n"
	    "  - {name: items, paths: [/shop/items]}\n"
	    "  - {name: id, paths: [\"~/shop/items/(?<id>[0-9]+)\"]}\n"
	    "  - {name: any, paths: [\"~/shop/items/.+\"], regex_priority: "
	    "9}\n"
	    "  - {name: opt, paths: [\"~/opt/?x\"]}\n");

	(void)state;
	assert_string_equal(name_at(&t, "/v2/users"), "v");
	assert_string_equal(name_at(&t, "/v2/users/x"), "root");
	/* The longer literal beginning wins. */
	assert_string_equal(name_at(&t, "/v1/users"), "v1");
	assert_string_equal(name_at(&t, "/shop/items"), "items");
	assert_string_equal(name_at(&t, "/shop/items/7"), "any");
	assert_string_equal(name_at(&t, "/opt/x"), "opt");
	assert_string_equal(name_at(&t, "/optx"), "opt");
	kb_arena_free(t.arena);
}

static void
an_expression_takes_the_part_that_it_matched(void **state)
{
	struct table t = table_of("  - {name: r, paths: [\"~/a/\\\\d+\"]}\n");
	struct router_match m = find(&t, "GET", "x.io", "/a/12/b");

	(void)state;
	assert_non_null(m.route);
	assert_non_null(m.regex);
	assert_int_equal(m.prefix, 5);
	assert_null(find(&t, "GET", "x.io", "/b/a/12").route);
	kb_arena_free(t.arena);
}

static struct kb_http1_head *
head_of(struct table *t, const char *bytes)
{
	struct kb_http1_head *h = kb_new(t->arena, struct kb_http1_head);
	enum kb_err err;
	const char *why;

	kb_http1_head_init(h, false);
	assert_int_equal(kb_http1_parse(h, bytes, strlen(bytes),
			     &kb_http1_default_limits, &err, &why),
	    KB_HTTP1_DONE);
	return h;
}

static const char *
name_with(struct table *t, const char *header, const char *sni)
{
	char *bytes = kb_sprintf(
	    t->arena, "GET /a HTTP/1.1\r\nHost: x.io\r\n%s\r\n", header);
	struct router_match m;

	router_find(t->s->router,
	    &(struct router_query) {
		.path = kb_slice_of("/a"),
		.host = kb_slice_of("x.io"),
		.method = KB_M_GET,
		.proto = sni ? PROTO_HTTPS : PROTO_HTTP,
		.head = head_of(t, bytes),
		.bytes = bytes,
		.sni = kb_slice_of(sni ? sni : ""),
	    },
	    &m);
	return m.route ? m.route->name : "-";
}

static void
headers_and_names_of_tls_choose_among_routes(void **state)
{
	static const char
	    routes[] = "  - {name: plain, paths: [/a]}\n"
		       "  - {name: two, paths: [/a], headers: {X-V: [2, 3]}}\n"
		       "  - {name: both, paths: [/a], headers: {X-V: [2], X-W: "
		       "[\"~*^a+$\"]"
		       "}}\n"
		       "  - {name: tls, paths: [/a], protocols: [https], snis: "
		       "[\"*.s.io\"]"
		       "}\n";

	(void)state;
	for (int kong = 0; kong < 2; kong++) {
		struct table t = table_by(routes, kong);

		assert_string_equal(name_with(&t, "", NULL), "plain");
		assert_string_equal(name_with(&t, "x-v: 3\r\n", NULL), "two");
		assert_string_equal(name_with(&t, "X-V: 4\r\n", NULL), "plain");
		assert_string_equal(
		    name_with(&t, "X-V: 9\r\nX-V: 2\r\n", NULL), "two");
		assert_string_equal(
		    name_with(&t, "X-V: 2\r\nX-W: AAA\r\n", NULL), "both");
		assert_string_equal(
		    name_with(&t, "X-V: 2\r\nX-W: AAB\r\n", NULL), "two");
		assert_string_equal(name_with(&t, "", "a.s.io"), "tls");
		assert_string_equal(name_with(&t, "", "s.io"), "plain");
		kb_arena_free(t.arena);
	}
}

static void
kongs_way_takes_raw_prefixes_by_its_priorities(void **state)
{
	struct table t = table_kong(
	    "  - {name: short, paths: [/v1], methods: [GET]}\n"
	    "  - {name: long, paths: [/v1/admin]}\n"
	    "  - {name: re, paths: [\"~/x/[a-z]+\"]}\n"
	    "  - {name: re2, paths: [\"~/x/[a-z]+/\"], regex_priority: 1}\n"
	    "  - {name: px, paths: [/x/abc/def]}\n"
	    "  - {name: host, paths: [/h], hosts: [\"x.io\"]}\n"
	    "  - {name: wild, paths: [/h/longer], hosts: [\"*.io\"]}\n"
	    "  - {name: mixed, paths: [/m, /m/very/long]}\n"
	    "  - {name: middle, paths: [/m/very]}\n");

	(void)state;
	/* More kinds of demands come before a longer path. */
	assert_string_equal(name_at(&t, "/v1/administrator"), "short");
	assert_string_equal(
	    find(&t, "PUT", "x.io", "/v1/administrator").route->name, "long");
	assert_null(find(&t, "HEAD", "x.io", "/v1").route);
	assert_string_equal(name_at(&t, "/x/abc/def"), "re2");
	assert_string_equal(name_at(&t, "/x/abc"), "re");
	assert_string_equal(name_at(&t, "/h/longer"), "host");
	assert_string_equal(
	    find(&t, "GET", "y.io", "/h/longer").route->name, "wild");
	/* A long path of a route does not lift its short one. */
	assert_string_equal(name_at(&t, "/m/very/x"), "middle");
	assert_string_equal(name_at(&t, "/m/very/long/x"), "mixed");
	assert_string_equal(name_at(&t, "/none"), "-");
	kb_arena_free(t.arena);
}

static void
many_routes(bool kong)
{
	struct kb_buf b;
	struct table t;
	int64_t begin, took;
	char path[64];

	kb_buf_init(&b, 8 << 20);
	for (int i = 0; i < 10000; i++)
		kb_buf_addf(&b, "  - {name: r%d, paths: [\"%s/v1/r%d%s\"]}\n",
		    i, i % 10 ? "" : "~", i, i % 10 ? "" : "/[a-z]+$");
	begin = kb_mono_ms();
	t = table_by(kb_buf_str(&b), kong);
	kb_buf_free(&b);
	print_message("10,000 routes loaded in %lld ms and %zu KiB\n",
	    (long long)(kb_mono_ms() - begin), kb_arena_used(t.arena) / 1024);
	assert_true(kb_mono_ms() - begin < 5000);
	assert_true(kb_arena_used(t.arena) < (size_t)48 << 20);
	begin = kb_mono_ns();
	for (int i = 1; i < 10000; i += 10) {
		snprintf(path, sizeof(path), "/v1/r%d/x", i);
		assert_int_equal(find(&t, "GET", "x.io", path).route->index, i);
	}
	took = (kb_mono_ns() - begin) / 1000;
	print_message("%s: %lld ns a look-up in 10,000 routes\n",
	    kong ? "kong" : "segments", (long long)took);
	assert_true(took < (kong ? 2000000 : 200000));
	kb_arena_free(t.arena);
}

static void
look_ups_among_ten_thousand_with_expressions_stay_quick(void **state)
{
	(void)state;
	many_routes(false);
	many_routes(true);
}

static void
paths_are_joined_behind_raw_prefixes_too(void **state)
{
	static const struct {
		const char *service, *route;
		bool strip;
		const char *request, *upstream;
	} rows[] = {
		{ "/", "/route", true, "/routereq", "/req" },
		{ "/srv", "/rou", false, "/roureq", "/srv/roureq" },
		{ "/srv", "/rou", true, "/roureq", "/srv/req" },
		{ "/service", "/route", true, "/routereq", "/service/req" },
		{ "/service", "/route/", true, "/route/", "/service/" },
		{ "/service", "/route/", true, "/route/req", "/service/req" },
		{ "/service/", "/route", true, "/route", "/service" },
		{ "/service", "/route", true, "/route./req", "/service/req" },
		{ "/service", "/route", true, "/route../req", "/service/req" },
		{ "/service", "/route", true, "/route..", "/service" },
		{ "/service", "", true, "/", "/service" },
		{ "/service", "", true, "/route", "/service/route" },
		{ "/service/", "", true, "/route", "/service/route" },
		{ "/service", "/route", true, "/route.x/req",
		    "/service/.x/req" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(rows); i++) {
		struct service s = { .path = rows[i].service };
		struct route r = { .service = &s, .strip_path = rows[i].strip };
		struct kb_buf out;

		kb_buf_init(&out, 1024);
		upstream_path(&out, &r, kb_slice_of(rows[i].request),
		    strlen(rows[i].route));
		assert_string_equal(kb_buf_str(&out), rows[i].upstream);
		kb_buf_free(&out);
	}
}

/* Kong 3.9, the rows that hold whole segments. */
static void
paths_are_joined_as_kong_does(void **state)
{
	static const struct {
		const char *service, *route;
		bool strip;
		const char *request, *upstream;
	} rows[] = {
		{ "/", "/route", true, "/route", "/" },
		{ "/", "/route", true, "/route/", "/" },
		{ "/", "/route", false, "/route/x", "/route/x" },
		{ "/srv", "/rou", false, "/rou/req", "/srv/rou/req" },
		{ "/srv", "/rou", true, "/rou/req", "/srv/req" },
		{ "/srv/", "/rou", false, "/rou", "/srv/rou" },
		{ "/srv/", "/rou", true, "/rou", "/srv" },
		{ "/service", "/", true, "/", "/service" },
		{ "/service", "/", false, "/route", "/service/route" },
		{ "/service", "/", true, "/route/", "/service/route/" },
		{ "/service", "/route", false, "/route/", "/service/route/" },
		{ "/service", "/route", true, "/route", "/service" },
		{ "/service", "/route", true, "/route/", "/service/" },
		{ "/service", "/route/", true, "/route/", "/service/" },
		{ "/service", "/route/", true, "/route/req", "/service/req" },
		{ "/service/", "/route", true, "/route/", "/service/" },
		{ "", "/route", false, "/route", "/route" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(rows); i++) {
		struct service s = { .path = rows[i].service };
		struct route r = { .service = &s, .strip_path = rows[i].strip };
		size_t prefix = strlen(rows[i].route);
		struct kb_buf out;

		if (rows[i].route[prefix - 1] == '/')
			prefix--;
		kb_buf_init(&out, 1024);
		upstream_path(&out, &r, kb_slice_of(rows[i].request), prefix);
		assert_string_equal(kb_buf_str(&out), rows[i].upstream);
		kb_buf_free(&out);
	}
}

static void
internal_paths_are_denied_in_any_case(void **state)
{
	static const char *const denied[] = { "/api/internal",
		"/api/internal/users/x", "/API/Internal/x", "/metrics",
		"/ready", "/ready/x", "/api/internal;x" };
	static const char *const open[] = { "/api/internals", "/readyx",
		"/metric", "/api", "/v1/metrics", "/" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(denied); i++)
		assert_true(path_is_denied(kb_slice_of(denied[i])));
	for (size_t i = 0; i < KB_COUNT(open); i++)
		assert_false(path_is_denied(kb_slice_of(open[i])));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_prefix_matches_whole_segments_only),
		cmocka_unit_test(the_longest_prefix_wins_whatever_the_order),
		cmocka_unit_test(
		    a_method_that_does_not_fit_is_told_with_those_that_do),
		cmocka_unit_test(
		    a_shorter_prefix_serves_where_the_longer_has_other_methods),
		cmocka_unit_test(
		    hosts_are_matched_exactly_then_by_wildcard_then_any),
		cmocka_unit_test(a_route_for_https_asks_for_it),
		cmocka_unit_test(websockets_pass_only_where_allowed),
		cmocka_unit_test(
		    ten_thousand_routes_are_found_without_looking_at_all),
		cmocka_unit_test(a_hostile_path_costs_no_more_than_its_length),
		cmocka_unit_test(
		    expressions_are_tried_where_their_literal_beginning_ends),
		cmocka_unit_test(an_expression_takes_the_part_that_it_matched),
		cmocka_unit_test(headers_and_names_of_tls_choose_among_routes),
		cmocka_unit_test(
		    kongs_way_takes_raw_prefixes_by_its_priorities),
		cmocka_unit_test(
		    look_ups_among_ten_thousand_with_expressions_stay_quick),
		cmocka_unit_test(paths_are_joined_as_kong_does),
		cmocka_unit_test(paths_are_joined_behind_raw_prefixes_too),
		cmocka_unit_test(internal_paths_are_denied_in_any_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
