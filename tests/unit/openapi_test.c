/* The OpenAPI document that is made from route and rule tables. */
#include "test.h"

#include <kombi/json.h>
#include <kombi/service.h>
#include <kombi/str.h>

struct part {
	const char *id;
};

struct thing {
	const char *name;
	int64_t size;
	const char *const *tags;
	struct kb_list parts;
};

static const char *const colours[] = { "red", "blue", NULL };

static const struct kb_rule part_rules[] = {
	KB_RULE_STR(struct part, id, .required = true),
	KB_RULES_END,
};

static const struct kb_rule thing_rules[] = {
	KB_RULE_STR(struct thing, name, .required = true, .min = 1, .max = 64,
	    .doc = "What people call it"),
	KB_RULE_INT(struct thing, size, .min = 1, .max = 9, .nullable = true),
	KB_RULE_STRS(struct thing, tags, .max = 5, .choices = colours),
	KB_RULE_OBJECTS_AS(
	    struct thing, parts, "parts", struct part, part_rules),
	KB_RULES_END,
};

static struct kb_reply
nothing(struct kb_request *req)
{
	return kb_no_content(req);
}

static const struct kb_route routes[] = {
	KB_GET("/things", KB_PUBLIC, nothing, .summary = "List things"),
	KB_POST("/things", KB_USER_OR_SERVICE("admin"), nothing,
	    .body = thing_rules, .returns = "201 The thing; 409 There is one"),
	KB_DELETE(
	    "/things/{id}/parts/{part}", KB_TENANT(KB_ROLE_ADMIN), nothing),
	KB_GET("/all", KB_PLATFORM("kombisphere_admin"), nothing),
	KB_ROUTES_END,
};

static const struct kb_service service = {
	.name = "things", .title = "Things", .routes = routes
};

/* Member of a member …, by names separated by '|'. */
static const struct kb_json *
at(const struct kb_json *j, const char *path)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_slice rest = kb_slice_of(path), name;

	while (kb_slice_next(&rest, '|', &name))
		j = kb_json_get(j, kb_slice_dup(a, name));
	kb_arena_free(a);
	return j;
}

static const struct kb_json *
document(struct kb_arena *a)
{
	const char *text = kb_openapi(a, &service), *why = NULL;
	const struct kb_json *j;

	if (kb_json_parse(a, text, strlen(text), &j, &why) != KB_OK)
		fail_msg("%s", why);
	return j;
}

static void
every_route_and_the_frames_own_are_there(void **state)
{
	const struct kb_json *doc = document(*state);

	assert_string_equal(kb_json_str(doc, "openapi"), "3.1.0");
	assert_string_equal(kb_json_str(at(doc, "info"), "title"), "Things");
	assert_int_equal(kb_json_size(at(doc, "paths")), 6);
	assert_non_null(at(doc, "paths|/health|get"));
	assert_non_null(at(doc, "paths|/ready|get"));
	assert_non_null(at(doc, "paths|/metrics|get"));
	assert_int_equal(kb_json_size(at(doc, "paths|/things")), 2);
	assert_string_equal(
	    kb_json_str(at(doc, "paths|/things|get"), "summary"),
	    "List things");
}

static void
bodies_are_schemas_of_their_rules(void **state)
{
	const struct kb_json *schema = at(document(*state),
	    "paths|/things|post|requestBody|content|application/json|schema");
	const struct kb_json *name = at(schema, "properties|name");
	int64_t n;

	assert_false(kb_json_bool(schema, "additionalProperties", true));
	assert_string_equal(
	    kb_json_text(kb_json_at(at(schema, "required"), 0)), "name");
	assert_string_equal(kb_json_str(name, "type"), "string");
	assert_string_equal(
	    kb_json_str(name, "description"), "What people call it");
	assert_true(kb_json_int(name, "maxLength", &n));
	assert_int_equal(n, 64);
	assert_int_equal(
	    kb_json_kind(at(schema, "properties|size|type")), KB_JSON_ARRAY);
	assert_int_equal(
	    kb_json_size(at(schema, "properties|tags|items|enum")), 2);
	assert_non_null(at(schema, "properties|parts|items|properties|id"));
}

static void
permissions_and_answers_are_told(void **state)
{
	const struct kb_json *doc = document(*state);
	const struct kb_json *post = at(doc, "paths|/things|post");
	const struct kb_json *del = at(
	    doc, "paths|/things/{id}/parts/{part}|delete");

	assert_int_equal(
	    kb_json_size(at(doc, "paths|/things|get|security")), 0);
	assert_int_equal(kb_json_size(at(post, "security")), 2);
	assert_string_equal(
	    kb_json_str(at(del, "x-permission"), "role"), "admin");
	assert_int_equal(kb_json_size(at(del, "parameters")), 2);
	assert_string_equal(
	    kb_json_str(kb_json_at(at(del, "parameters"), 1), "name"), "part");
	assert_string_equal(
	    kb_json_text(
		kb_json_at(at(doc, "paths|/all|get|x-permission|roles"), 0)),
	    "kombisphere_admin");
	assert_string_equal(
	    kb_json_str(at(post, "responses|409"), "description"),
	    "There is one");
	assert_string_equal(kb_json_str(at(post, "responses|default"), "$ref"),
	    "#/components/responses/Error");
	assert_non_null(at(doc, "components|responses|Error"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(every_route_and_the_frames_own_are_there),
		test_with_arena(bodies_are_schemas_of_their_rules),
		test_with_arena(permissions_and_answers_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
