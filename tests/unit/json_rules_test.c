/*
 * Rule tables: every problem of a body by its path, with what is allowed.
 */
#include "test.h"

#include <kombi/json.h>
#include <kombi/str.h>

struct node {
	const char *name;
	int64_t cores;
};

struct order {
	const char *name;
	const char *plan;
	int64_t count;
	double ratio;
	bool active;
	bool has_note;
	const char *note;
	const char *const *tags;
	const struct kb_json *extra;
	struct node first;
	struct kb_list nodes;
};

static const char *const plans[] = { "free", "pro", NULL };

static const struct kb_rule node_rules[] = {
	KB_RULE_STR(struct node, name, .required = true, .max = 8),
	KB_RULE_INT(struct node, cores, .min = 1, .max = 64),
	KB_RULES_END,
};

static const struct kb_rule order_rules[] = {
	KB_RULE_STR(struct order, name, .required = true, .min = 1, .max = 4,
	    .match = kb_is_slug, .hint = "may hold a-z, 0-9, -"),
	KB_RULE_STR(struct order, plan, .choices = plans),
	KB_RULE_INT(struct order, count, .min = -1, .max = 10),
	KB_RULE_NUM(struct order, ratio, .min = 0, .max = 1),
	KB_RULE_BOOL(struct order, active),
	KB_RULE_STR(struct order, note, .nullable = true,
	    .present = offsetof(struct order, has_note)),
	KB_RULE_STRS(struct order, tags, .max = 3, .match = kb_is_slug),
	KB_RULE_JSON(struct order, extra),
	KB_RULE_OBJECT_AS(
	    struct order, first, "first", struct node, node_rules),
	KB_RULE_OBJECTS_AS(struct order, nodes, "nodes", struct node,
	    node_rules, .min = 1, .max = 2),
	KB_RULES_END,
};

/* Binds text; "path: text" lines of all problems, or "" */
static const char *
bind(struct kb_arena *a, const char *text, struct order *out)
{
	struct kb_problems problems = { 0 };
	const struct kb_problem *p;
	const struct kb_json *j;
	const char *why, *lines = "";
	bool ok;

	*out = (struct order) { .count = 5, .plan = "free" };
	if (kb_json_parse(a, text, strlen(text), &j, &why))
		fail_msg("%s: %s", text, why);
	ok = kb_json_bind(a, j, order_rules, out, &problems);
	assert_int_equal(ok, problems.n == 0);
	for (p = problems.first; p; p = p->next)
		lines = kb_sprintf(a, "%s%s: %s\n", lines, p->path, p->text);
	return lines;
}

static void
members_are_bound_to_their_fields(void **state)
{
	struct order o;
	const struct node *nodes;

	assert_string_equal(
	    bind(*state,
		"{\"name\":\"abc\",\"plan\":\"pro\",\"count\":-1,\"ratio\":0.5,"
		"\"active\":true,\"note\":\"n\",\"tags\":[\"x\",\"y\"],"
		"\"extra\":{\"any\":[1]},\"first\":{\"name\":\"f\"},"
		"\"nodes\":[{\"name\":\"n1\",\"cores\":4},{\"name\":\"n2\"}]}",
		&o),
	    "");
	assert_string_equal(o.name, "abc");
	assert_string_equal(o.plan, "pro");
	assert_int_equal(o.count, -1);
	assert_true(o.ratio > 0.4 && o.ratio < 0.6);
	assert_true(o.active);
	assert_true(o.has_note);
	assert_string_equal(o.tags[1], "y");
	assert_null(o.tags[2]);
	assert_string_equal(kb_json_print(*state, o.extra), "{\"any\":[1]}");
	assert_string_equal(o.first.name, "f");
	assert_int_equal(o.nodes.n, 2);
	nodes = o.nodes.items;
	assert_int_equal(nodes[0].cores, 4);
	assert_string_equal(nodes[1].name, "n2");
}

static void
absent_members_leave_their_field_alone(void **state)
{
	struct order o;

	assert_string_equal(bind(*state, "{\"name\":\"a\"}", &o), "");
	assert_int_equal(o.count, 5);
	assert_string_equal(o.plan, "free");
	assert_false(o.has_note);
	assert_string_equal(
	    bind(*state, "{\"name\":\"a\",\"note\":null}", &o), "");
	assert_null(o.note);
	assert_true(o.has_note);
	assert_string_equal(
	    bind(*state, "{\"name\":\"a\",\"extra\":null}", &o), "");
	assert_int_equal(kb_json_kind(o.extra), KB_JSON_NULL);
}

struct problem_case {
	const char *text, *want;
};

static void
each_problem_says_path_and_what_is_allowed(void **state)
{
	static const struct problem_case cases[] = {
		{ "{}", "name: is required\n" },
		{ "[]", "body: must be an object\n" },
		{ "\"x\"", "body: must be an object\n" },
		{ "{\"name\":1}", "name: must be a string\n" },
		{ "{\"name\":null}", "name: must not be null\n" },
		{ "{\"name\":\"\"}", "name: must have 1 to 4 characters\n" },
		{ "{\"name\":\"abcde\"}",
		    "name: must have 1 to 4 characters\n" },
		{ "{\"name\":\"A\"}", "name: may hold a-z, 0-9, -\n" },
		{ "{\"name\":\"a\",\"NAME\":\"b\"}", "NAME: unknown field\n" },
		{ "{\"name\":\"a\",\"plan\":\"gold\"}",
		    "plan: must be one of free, pro\n" },
		{ "{\"name\":\"a\",\"count\":1.5}",
		    "count: must be a whole number\n" },
		{ "{\"name\":\"a\",\"count\":\"5\"}",
		    "count: must be a whole number\n" },
		{ "{\"name\":\"a\",\"count\":11}",
		    "count: must be between -1 and 10\n" },
		{ "{\"name\":\"a\",\"ratio\":1.01}",
		    "ratio: must be between 0 and 1\n" },
		{ "{\"name\":\"a\",\"ratio\":true}",
		    "ratio: must be a number\n" },
		{ "{\"name\":\"a\",\"active\":1}",
		    "active: must be true or false\n" },
		{ "{\"name\":\"a\",\"tags\":\"x\"}",
		    "tags: must be an array\n" },
		{ "{\"name\":\"a\",\"tags\":[\"a\",1,\"B\"]}",
		    "tags[1]: must be a string\ntags[2]: is not valid\n" },
		{ "{\"name\":\"a\",\"tags\":[\"a\",\"b\",\"c\",\"d\"]}",
		    "tags: must have at most 3 items\n" },
		{ "{\"name\":\"a\",\"first\":[]}",
		    "first: must be an object\n" },
		{ "{\"name\":\"a\",\"first\":{\"x\":1}}",
		    "first.name: is required\nfirst.x: unknown field\n" },
		{ "{\"name\":\"a\",\"nodes\":[]}",
		    "nodes: must have 1 to 2 items\n" },
		{ "{\"name\":\"a\",\"nodes\":[{\"name\":\"ok\"},"
		  "{\"name\":7,\"cores\":0}]}",
		    "nodes[1].name: must be a string\n"
		    "nodes[1].cores: must be between 1 and 64\n" },
		{ "{\"name\":\"a\",\"nodes\":[3]}",
		    "nodes[0]: must be an object\n" },
	};
	struct order o;
	size_t i;

	for (i = 0; i < KB_COUNT(cases); i++)
		assert_string_equal(
		    bind(*state, cases[i].text, &o), cases[i].want);
}

static void
all_problems_are_told_at_once(void **state)
{
	struct order o;

	assert_string_equal(
	    bind(*state, "{\"count\":99,\"active\":0,\"what\":1}", &o),
	    "name: is required\ncount: must be between -1 and 10\n"
	    "active: must be true or false\nwhat: unknown field\n");
}

static void
length_counts_characters_not_bytes(void **state)
{
	static const char four[] = "\xf0\x9f\x98\x80\xf0\x9f\x98\x80"
				   "\xc3\xa4\xe2\x82\xac";
	static const struct kb_rule rules[] = {
		KB_RULE_STR(struct node, name, .min = 1, .max = 4),
		KB_RULES_END,
	};
	struct kb_problems problems = { 0 };
	struct node node = { 0 };
	const struct kb_json *j;
	const char *why, *text = kb_sprintf(*state, "{\"name\":\"%s\"}", four);

	assert_int_equal(
	    kb_json_parse(*state, text, strlen(text), &j, &why), KB_OK);
	assert_true(kb_json_bind(*state, j, rules, &node, &problems));
	assert_string_equal(node.name, four);
}

static void
bounds_may_have_one_side(void **state)
{
	static const struct kb_rule rules[] = {
		KB_RULE_STR(struct node, name),
		KB_RULE_INT(struct node, cores, .min = 5),
		KB_RULES_END,
	};
	struct kb_problems problems = { 0 };
	struct node node = { 0 };
	const struct kb_json *j;
	char *text = kb_arena_alloc(*state, 70100);
	const char *why;

	memset(text, 'x', 70000);
	memcpy(text, "{\"cores\":4,\"name\":\"", 19);
	memcpy(text + 70000, "\"}", 3);
	assert_int_equal(
	    kb_json_parse(*state, text, strlen(text), &j, &why), KB_OK);
	assert_false(kb_json_bind(*state, j, rules, &node, &problems));
	assert_string_equal(
	    problems.first->text, "must have at most 65536 bytes");
	assert_string_equal(problems.first->next->text, "must be at least 5");
}

static void
no_more_than_64_problems_are_kept_but_all_count(void **state)
{
	struct kb_problems problems = { 0 };
	const struct kb_problem *p;
	const struct kb_json *j;
	const char *why;
	struct kb_buf b;
	struct node node;
	size_t n = 0, i;

	kb_buf_init(&b, 10000);
	for (i = 0; i < 200; i++)
		kb_buf_addf(&b, "%c\"f%zu\":0", i ? ',' : '{', i);
	kb_buf_addc(&b, '}');
	assert_int_equal(kb_json_parse(*state, b.ptr, b.len, &j, &why), KB_OK);
	kb_buf_free(&b);
	assert_false(kb_json_bind(*state, j, node_rules, &node, &problems));
	assert_int_equal(problems.n, 201);
	for (p = problems.first; p; p = p->next)
		n++;
	assert_int_equal(n, 64);
	assert_false(kb_json_bind(*state, j, node_rules, &node, &problems));
}

static void
no_body_at_all_is_a_problem(void **state)
{
	struct kb_problems problems = { 0 };
	struct node node;

	assert_false(kb_json_bind(*state, NULL, node_rules, &node, &problems));
	assert_string_equal(problems.first->text, "must be an object");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(members_are_bound_to_their_fields),
		test_with_arena(absent_members_leave_their_field_alone),
		test_with_arena(each_problem_says_path_and_what_is_allowed),
		test_with_arena(all_problems_are_told_at_once),
		test_with_arena(length_counts_characters_not_bytes),
		test_with_arena(bounds_may_have_one_side),
		test_with_arena(
		    no_more_than_64_problems_are_kept_but_all_count),
		test_with_arena(no_body_at_all_is_a_problem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
