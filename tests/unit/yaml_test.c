/*
 * YAML: values with their places, what is refused, and what a small text
 * must not become.
 */
#include "test.h"

#include <kombi/str.h>
#include <kombi/time.h>
#include <kombi/yaml.h>

static const char *
why_of(struct kb_arena *a, struct kb_slice text)
{
	struct kb_yaml *y;
	const char *why;

	if (!kb_yaml_parse(a, text.ptr, text.len, &y, &why))
		return "(accepted)";
	assert_null(y);
	assert_non_null(why);
	return why;
}

static struct kb_yaml *
parse(struct kb_arena *a, const char *text)
{
	struct kb_yaml *y;
	const char *why;

	if (kb_yaml_parse(a, text, strlen(text), &y, &why))
		fail_msg("%s: %s", text, why);
	assert_null(why);
	return y;
}

struct pair {
	const char *yaml, *json;
};

static void
documents_become_trees(void **state)
{
	static const struct pair cases[] = {
		{ "a: 1", "{\"a\":1}" },
		{ "- a\n- [b, c]\n- {d: e}\n",
		    "[\"a\",[\"b\",\"c\"],{\"d\":\"e\"}]" },
		{ "plain text", "\"plain text\"" },
		{ "a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}" },
		{ "a: >-\n  x\n  y\n", "{\"a\":\"x y\"}" },
		{ "a:\nb: ''\n", "{\"a\":null,\"b\":\"\"}" },
		{ "# only\na: 'it''s' # comment\n", "{\"a\":\"it's\"}" },
		{ "---\na: 1\n...\n", "{\"a\":1}" },
		{ "\xef\xbb\xbf"
		  "a: 1",
		    "{\"a\":1}" },
		{ "1: x\nnull: y\n", "{\"1\":\"x\",\"null\":\"y\"}" },
		{ "a: \"\\u00e4\\n\"", "{\"a\":\"\xc3\xa4\\n\"}" },
		{ "a: !!str 5\nb: !!int 6\nc: ! 7",
		    "{\"a\":\"5\",\"b\":6,"
		    "\"c\":\"7\"}" },
	};
	size_t i;

	for (i = 0; i < KB_COUNT(cases); i++)
		assert_string_equal(
		    kb_yaml_to_json(*state, parse(*state, cases[i].yaml)),
		    cases[i].json);
}

static void
plain_scalars_follow_the_core_schema(void **state)
{
	static const struct pair cases[] = {
		{ "[yes, no, on, off, y, n]",
		    "[\"yes\",\"no\",\"on\",\"off\",\"y\",\"n\"]" },
		{ "[true, False, TRUE, tRUE]", "[true,false,true,\"tRUE\"]" },
		{ "[~, null, Null, nULL]", "[null,null,null,\"nULL\"]" },
		{ "[0, -0, +12, 012, 0o17, 0x1F, 1_000]",
		    "[0,0,12,12,15,31,\"1_000\"]" },
		{ "[1.5, .5, 1., 1e3, -2E-2, 1e]",
		    "[1.5,0.5,1,1000,-0.02,\"1e\"]" },
		{ "[.inf, .nan, 0x, 0o8, '1', \"true\"]",
		    "[\".inf\",\".nan\",\"0x\",\"0o8\",\"1\",\"true\"]" },
		{ "[9223372036854775807, 1.2.3, 12:30:45, 2026-01-01]",
		    "[9223372036854775807,\"1.2.3\",\"12:30:45\","
		    "\"2026-01-01\"]" },
	};
	size_t i;

	for (i = 0; i < KB_COUNT(cases); i++)
		assert_string_equal(
		    kb_yaml_to_json(*state, parse(*state, cases[i].yaml)),
		    cases[i].json);
}

static void
every_node_knows_its_place(void **state)
{
	const struct kb_yaml *y = parse(*state,
	    "name: lab\nnodes:\n  - host: a\n    port: 22\n  - {host: b}\n");
	const struct kb_yaml *nodes = kb_yaml_get(y, "nodes");
	const struct kb_yaml *port = kb_yaml_get(nodes->first, "port");
	int64_t n;

	assert_int_equal(nodes->line, 3);
	assert_int_equal(nodes->column, 3);
	assert_int_equal(nodes->key_line, 2);
	assert_int_equal(nodes->n, 2);
	assert_int_equal(port->line, 4);
	assert_int_equal(port->column, 11);
	assert_int_equal(port->key_column, 5);
	assert_string_equal(port->key, "port");
	assert_true(kb_yaml_int(port, &n));
	assert_int_equal(n, 22);
	assert_null(kb_yaml_get(y, "Name"));
	assert_null(kb_yaml_get(nodes, "host"));
	assert_null(kb_yaml_get(NULL, "host"));
	assert_null(nodes->first->key);
}

static void
typed_reading_refuses_other_types(void **state)
{
	const struct kb_yaml *y = parse(*state,
	    "{i: 1, s: '1', f: 1.5, b: true, n: ~, big: "
	    "9223372036854775808, m: {}}");
	int64_t n;
	bool b;

	assert_true(kb_yaml_int(kb_yaml_get(y, "i"), &n));
	assert_false(kb_yaml_int(kb_yaml_get(y, "s"), &n));
	assert_false(kb_yaml_int(kb_yaml_get(y, "f"), &n));
	assert_false(kb_yaml_int(kb_yaml_get(y, "big"), &n));
	assert_false(kb_yaml_int(kb_yaml_get(y, "m"), &n));
	assert_false(kb_yaml_int(NULL, &n));
	assert_true(kb_yaml_bool(kb_yaml_get(y, "b"), &b) && b);
	assert_false(kb_yaml_bool(kb_yaml_get(y, "i"), &b));
	assert_true(kb_yaml_is_null(kb_yaml_get(y, "n")));
	assert_false(kb_yaml_is_null(kb_yaml_get(y, "s")));
}

static void
aliases_and_merge_keys_are_resolved(void **state)
{
	static const struct pair cases[] = {
		{ "a: &x {k: 1}\nb: *x\nc: [*x, *x]\n",
		    "{\"a\":{\"k\":1},\"b\":{\"k\":1},"
		    "\"c\":[{\"k\":1},{\"k\":1}]}" },
		{ "a: &x {k: 1, l: 2}\nb: {<<: *x, k: 9}\n",
		    "{\"a\":{\"k\":1,\"l\":2},\"b\":{\"k\":9,\"l\":2}}" },
		{ "a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc: {<<: [*x, *y]}\n",
		    "{\"a\":{\"k\":1},\"b\":{\"k\":2,\"l\":3},"
		    "\"c\":{\"k\":1,\"l\":3}}" },
		{ "a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}" },
		{ "a: {'<<': 1}", "{\"a\":{\"<<\":1}}" },
	};
	const struct kb_yaml *y;
	size_t i;

	for (i = 0; i < KB_COUNT(cases); i++)
		assert_string_equal(
		    kb_yaml_to_json(*state, parse(*state, cases[i].yaml)),
		    cases[i].json);
	y = parse(*state, "a: &x {k: 1}\nb: *x\n");
	assert_int_equal(kb_yaml_get(y, "b")->line, 2);
	assert_int_equal(kb_yaml_get(kb_yaml_get(y, "b"), "k")->line, 1);
	assert_string_equal(kb_yaml_get(y, "b")->key, "b");
	assert_string_equal(kb_yaml_get(y, "a")->key, "a");
}

struct bad {
	struct kb_slice text;
	const char *why;
};

#define B(text, why)                                                           \
	{                                                                      \
		{ (text), sizeof(text) - 1 }, (why)                            \
	}

static void
bad_documents_are_refused_with_line_and_column(void **state)
{
	static const struct bad cases[] = {
		B("", "line 1, column 1: the document is empty"),
		B("# nothing\n", "the document is empty"),
		B("a: 1\nb: 2\na: 3\n",
		    "line 3, column 1: duplicate key \"a\", first on line 1"),
		B("{x: 1, 'x': 2}", "line 1, column 8: duplicate key \"x\""),
		B("a: {<<: {b: 1}, <<: {c: 1}}", "duplicate key \"<<\""),
		B("a: 1\n---\nb: 2\n", "line 2, column 1: only one document"),
		B("a: *nope\n", "line 1, column 4: alias *nope"),
		B("a: &a [*a]\n", "line 1, column 8: alias *a"),
		B("a: &a\n  b: *a\n", "line 2, column 6: alias *a"),
		B("? [a, b]\n: c\n", "line 1, column 3: a key must be text"),
		B("&k a: 1\n*k : 2\n", "a key must be text"),
		B("<<: 5\n", "<< needs a mapping"),
		B("<<: [5]\n", "<< needs a mapping"),
		B("a: !!binary aGk=\n", "line 1, column 4: tag"),
		B("a: !!python/object:os.system x\n", "is not allowed here"),
		B("a: !custom x\n", "is not allowed here"),
		B("!!set {a}\n", "is not allowed here"),
		B("a: !!int 'x'\n", "is not allowed here"),
		B("a: [1, 2\n", "line 2, column 1: "),
		B("a: 'x\n",
		    "line 1, column 4: found unexpected end of stream"),
		B("\ta: 1\n", "line 1, column 1: "),
		B("a: b: c\n", "line 1, column 5: "),
		B("a:\n - 1\n 2\n",
		    "line 3, column 2: could not find expected ':'"),
		B("a: \"\\0\"\n", "line 1, column 4: \\0 is not allowed"),
		B("a: \0\n", "line 1, column 4: "),
		B("ok: 1\na: \xff\n", "line 2, column 4: invalid UTF-8"),
		B("\xff\xfe"
		  "a\0",
		    "line 1, column 1: invalid UTF-8"),
		B("a: \x1b[31m\n", "line 1, column "),
		B("%YAML 9.9\n---\na: 1\n", "line 1, column 1: "),
	};
	size_t i;

	for (i = 0; i < KB_COUNT(cases); i++)
		test_contains(why_of(*state, cases[i].text), cases[i].why);
}

static char *
repeat(struct kb_arena *a, const char *unit, size_t n)
{
	size_t len = strlen(unit), i;
	char *out = kb_arena_alloc(a, n * len + 1);

	for (i = 0; i < n; i++)
		memcpy(out + i * len, unit, len);
	return out;
}

static void
depth_size_and_expansion_are_bounded(void **state)
{
	static const char laughs[] =
	    "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
	    "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
	    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
	    "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e]\n";
	char *text = kb_sprintf(
	    *state, "%s1%s", repeat(*state, "[", 31), repeat(*state, "]", 31));

	parse(*state, text);
	test_contains(why_of(*state, kb_slice_of(repeat(*state, "[", 33))),
	    "nested deeper than 32");
	test_contains(why_of(*state, kb_slice_of(repeat(*state, "- ", 5000))),
	    "nested deeper than 32");
	test_contains(why_of(*state, test_slice(laughs)),
	    "more than 10000 values after alias expansion");
	text = kb_sprintf(*state, "a: &a %s\nb: [%s]\n",
	    repeat(*state, "x", 500000), repeat(*state, "*a,", 20));
	test_contains(
	    why_of(*state, kb_slice_of(text)), "too much text after alias");
	test_contains(why_of(*state, kb_slice_of(repeat(*state, "a", 1048577))),
	    "more than 1048576 bytes");
}

/* Nesting by alias counts as nesting. */
static void
aliases_do_not_get_round_the_depth(void **state)
{
	char *text = kb_sprintf(*state, "a: &a %s1%s\nb: %s*a%s\n",
	    repeat(*state, "[", 20), repeat(*state, "]", 20),
	    repeat(*state, "[", 20), repeat(*state, "]", 20));

	test_contains(
	    why_of(*state, kb_slice_of(text)), "nested deeper than 32");
}

static void
many_keys_do_not_cost_their_square(void **state)
{
	const struct kb_yaml_limits limits = { 8000000, 200000 };
	int64_t began = kb_mono_ms();
	struct kb_yaml *y;
	const char *why;
	struct kb_buf b;
	int i;

	kb_buf_init(&b, 8000000);
	for (i = 0; i < 30000; i++)
		kb_buf_addf(&b, "key%d: %d\n", i, i);
	test_contains(
	    why_of(*state, (struct kb_slice) { b.ptr, b.len }), "10000 values");
	assert_int_equal(
	    kb_yaml_parse_within(
		*state, (struct kb_slice) { b.ptr, b.len }, &limits, &y, &why),
	    KB_OK);
	kb_buf_free(&b);
	assert_int_equal(y->n, 30000);
	assert_true(kb_mono_ms() - began < 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(documents_become_trees),
		test_with_arena(plain_scalars_follow_the_core_schema),
		test_with_arena(every_node_knows_its_place),
		test_with_arena(typed_reading_refuses_other_types),
		test_with_arena(aliases_and_merge_keys_are_resolved),
		test_with_arena(bad_documents_are_refused_with_line_and_column),
		test_with_arena(depth_size_and_expansion_are_bounded),
		test_with_arena(aliases_do_not_get_round_the_depth),
		test_with_arena(many_keys_do_not_cost_their_square),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
