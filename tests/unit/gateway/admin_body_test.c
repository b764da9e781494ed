/* Bodies of the Admin API: JSON and forms to trees. */
#include "test.h"

#include <string.h>

#include <kombi/str.h>

#include "admin_body.h"

static struct kb_arena *arena;

static int
setup(void **state)
{
	(void)state;
	arena = kb_arena_new(0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	kb_arena_free(arena);
	return 0;
}

static void
form_is(const char *form, const char *json)
{
	struct kb_yaml *y = NULL;
	const char *why = "";

	if (tree_of_form(arena, kb_slice_of(form), &y, &why) != KB_OK)
		fail_msg("%s: %s", form, why);
	assert_string_equal(kb_yaml_to_json(arena, y), json);
}

static void
form_is_refused(const char *form, const char *says)
{
	struct kb_yaml *y = NULL;
	const char *why = "";

	assert_int_equal(
	    tree_of_form(arena, kb_slice_of(form), &y, &why), KB_INVALID);
	if (strstr(why, says) == NULL)
		fail_msg("%s: %s", form, why);
}

static void
forms_are_nested_by_dots_and_brackets(void **state)
{
	(void)state;
	form_is("name=x&retries=5&enabled=false",
	    "{\"name\":\"x\",\"retries\":5,\"enabled\":false}");
	form_is("config.minute=5&config.policy=local",
	    "{\"config\":{\"minute\":5,\"policy\":\"local\"}}");
	form_is("a.b.c[]=1&a.b.c[]=2", "{\"a\":{\"b\":{\"c\":[1,2]}}}");
	form_is("paths[]=%2Fa&paths[]=/b", "{\"paths\":[\"/a\",\"/b\"]}");
	form_is("paths[1]=/a&paths[2]=/b", "{\"paths\":[\"/a\",\"/b\"]}");
	form_is("service[name]=s", "{\"service\":{\"name\":\"s\"}}");
	form_is("targets[][name]=s", "{\"targets\":[{\"name\":\"s\"}]}");
}

static void
a_name_that_is_there_twice_makes_a_list(void **state)
{
	(void)state;
	form_is("hosts=a&hosts=b&hosts=c", "{\"hosts\":[\"a\",\"b\",\"c\"]}");
}

static void
values_are_decoded_and_empty_ones_are_null(void **state)
{
	(void)state;
	form_is("a=b+c%2B&d=&e&&", "{\"a\":\"b c+\",\"d\":null,\"e\":null}");
	form_is("", "{}");
}

static void
forms_that_contradict_themselves_are_refused(void **state)
{
	(void)state;
	form_is_refused("a=1&a.b=2", "two things");
	form_is_refused("a.b=1&a[]=2", "two things");
	form_is_refused("a[]=1&a.b=2", "two things");
	form_is_refused("a.b=1&a=2", "two things");
}

static void
names_and_escapes_that_are_none_are_refused(void **state)
{
	static const char *const names[] = { "=x", ".a=x", "a.=x", "a..b=x",
		"a[=x", "a[b=x", "a[]b=x", "[]=x",
		"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q=x" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(names); i++)
		form_is_refused(names[i], "bad name");
	form_is_refused("a=%zz", "escape");
	form_is_refused("a=%00", "escape");
	form_is_refused("a=%ff", "UTF-8");
}

static void
json_keeps_its_types(void **state)
{
	struct kb_yaml *y = NULL;
	const char *why = "";
	const char *text = "{\"a\":\"1\",\"b\":1,\"c\":[true,null,\"null\"],"
			   "\"d\":{\"e\":0.5}}";

	(void)state;
	assert_int_equal(
	    tree_of_json(arena, kb_slice_of(text), &y, &why), KB_OK);
	assert_string_equal(kb_yaml_to_json(arena, y), text);
	assert_int_equal(
	    tree_of_json(arena, kb_slice_of("{\"a\":1,\"a\":2}"), &y, &why),
	    KB_INVALID);
}

static void
the_type_is_that_of_the_header_or_the_first_byte(void **state)
{
	const struct kb_slice none = { NULL, 0 };

	(void)state;
	assert_int_equal(body_type_of(kb_slice_of("Application/JSON; x=y"),
			     kb_slice_of("{}")),
	    BODY_JSON);
	assert_int_equal(body_type_of(none, kb_slice_of("\n {}")), BODY_JSON);
	assert_int_equal(body_type_of(none, kb_slice_of("a=b")), BODY_OTHER);
	assert_int_equal(
	    body_type_of(kb_slice_of("text/xml"), kb_slice_of("<")),
	    BODY_OTHER);
	assert_int_equal(body_type_of(none, kb_slice_of("")), BODY_NONE);
}

static void
one_value_is_found_by_its_name(void **state)
{
	struct kb_slice form = kb_slice_of("a=1&size=x%20y&size=2&bad=%z");

	(void)state;
	assert_string_equal(form_value(arena, form, "size"), "x y");
	assert_null(form_value(arena, form, "siz"));
	assert_null(form_value(arena, form, "bad"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_are_nested_by_dots_and_brackets),
		cmocka_unit_test(a_name_that_is_there_twice_makes_a_list),
		cmocka_unit_test(values_are_decoded_and_empty_ones_are_null),
		cmocka_unit_test(forms_that_contradict_themselves_are_refused),
		cmocka_unit_test(names_and_escapes_that_are_none_are_refused),
		cmocka_unit_test(json_keeps_its_types),
		cmocka_unit_test(
		    the_type_is_that_of_the_header_or_the_first_byte),
		cmocka_unit_test(one_value_is_found_by_its_name),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
