/* Rules of the transformers: what a file may say, and texts taken apart. */
#include "plugins_config.h"

#include <kombi/str.h>

#define RT "request-transformer"

static void
all_operations_and_areas_load(void **state)
{
	(void)state;
	is_accepted(RT,
	    "{http_method: PUT, remove: {headers: [A], querystring: [b], "
	    "body: [c]}, rename: {headers: ['A:B'], querystring: ['a:b'], "
	    "body: ['a:b']}, replace: {uri: /x, headers: ['Host:x.y', 'A:b'], "
	    "querystring: ['a:'], body: ['a:b:c']}, add: {headers: ['A::b']}, "
	    "append: {body: ['a:b']}}");
	is_accepted(RT, "{}");
	is_accepted(RT, "{add: {headers: []}, remove: null}");
}

static void
unknown_names_and_shapes_are_refused_with_their_line(void **state)
{
	(void)state;
	is_told(RT, "{ad: {}}", true,
	    "plugin request-transformer: unknown field \"ad\", did you mean "
	    "\"add\"?");
	is_told(RT, "{add: {header: []}}", true,
	    "plugin request-transformer: add: unknown field \"header\", did "
	    "you mean \"headers\"?");
	is_told(RT, "{add: {uri: /x}}", true,
	    "plugin request-transformer: add: unknown field \"uri\"");
	is_told(RT, "{add: {headers: 'A:b'}}", true,
	    "plugin request-transformer: add.headers must be a list");
	is_told(RT, "{add: {headers: [A]}}", true,
	    "plugin request-transformer: add.headers: \"A\" must be "
	    "name:value");
	is_told(RT, "{rename: {body: ['a:']}}", true,
	    "plugin request-transformer: rename.body: \"a:\" must be old:new");
	is_told(RT, "{remove: {headers: ['A:b']}}", true,
	    "plugin request-transformer: remove.headers: \"A:b\" must be a "
	    "name");
	is_told(RT, "{add: {headers: [\"A:b\\nC\"]}}", true,
	    "plugin request-transformer: add.headers: an item must be a text "
	    "without control characters");
	is_told(RT, "{http_method: HEAD}", true,
	    "plugin request-transformer: http_method \"HEAD\" is not one of: "
	    "GET, POST, PUT, PATCH, DELETE, OPTIONS");
	is_told(RT, "{replace: {uri: 'x'}}", true,
	    "plugin request-transformer: replace.uri must be a path");
	is_told(RT, "{replace: {uri: '/x?y'}}", true,
	    "plugin request-transformer: replace.uri must be a path");
}

static void
names_of_the_gateway_cannot_be_changed(void **state)
{
	static const char *const names[] = { "X-User-ID", "x_user_id",
		"X-Tenant-ID", "X-Kombi-Proof", "X-Consumer-Username",
		"X-Internal-Token", "X-Original-Authorization" };
	static const char *const shapes[][2] = {
		{ "remove", "" },
		{ "rename", ":B" },
		{ "replace", ":v" },
		{ "add", ":v" },
		{ "append", ":v" },
		{ "add", ":$(headers.a)" },
		{ "add", ":a-$(jwt_claims.sub)" },
	};
	char config[128], says[128];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(names); i++) {
		for (size_t j = 0; j < KB_COUNT(shapes); j++) {
			snprintf(config, sizeof(config),
			    "{%s: {headers: ['%s%s']}}", shapes[j][0], names[i],
			    shapes[j][1]);
			snprintf(
			    says, sizeof(says), "%s belongs to the", names[i]);
			struct loaded l;

			load_plugin(&l, RT, config);
			assert_true(problems_any(&l.p));
			assert_non_null(strstr(kb_buf_str(&l.text), says));
			unload(&l);
		}
	}
	is_told(RT, "{rename: {headers: ['A:X-User-ID']}}", true,
	    "plugin request-transformer: rename.headers: \"X-User-ID\" cannot "
	    "be changed");
}

static void
names_of_framing_and_the_connection_cannot_be_changed(void **state)
{
	static const char *const names[] = { "Content-Length",
		"transfer-encoding", "Connection", "TE", "Upgrade", "Expect",
		"X-Request-ID", "Host", "A B", "A_B", "" };
	char config[128];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(names); i++) {
		struct loaded l;

		snprintf(config, sizeof(config), "{add: {headers: ['%s:v']}}",
		    names[i]);
		load_plugin(&l, RT, config);
		assert_true(problems_any(&l.p));
		unload(&l);
	}
}

static void
the_platforms_own_intent_is_understood(void **state)
{
	(void)state;
	is_told(RT, "{replace: {headers: ['X-User-ID:$(jwt_claims.sub)']}}",
	    false,
	    "plugin request-transformer: replace.headers: X-User-ID is always "
	    "set by the gateway itself, from the verified token");
	is_told(RT, "{add: {headers: ['X-Forwarded-By:Kong']}}", false,
	    "plugin request-transformer: add.headers: X-Forwarded-By is "
	    "always set by the gateway itself");
	is_accepted(RT, "{add: {headers: ['X-Service-Name:KombiStack']}}");
	is_accepted(
	    RT, "{add: {headers: ['X-User-Locale:$(jwt_claims.locale)']}}");
}

static void
templates_are_judged_at_load(void **state)
{
	static const char *const good[] = { "$(headers.a)",
		"$(headers[\"a-b\"])", "$(query_params.q or 'x')",
		"$(uri_captures[1])", "a-$(uri_captures.n)-b",
		"$(jwt_claims.\"a:b\")", "$(jwt_claims[\"a\"])",
		"$( headers.a )", "$(\"$(x)\")", "$(consumer.username)", "$5",
		"$(headers.host)" };
	static const char *const bad[][2] = {
		{ "$(headers)", "a member is written" },
		{ "$(headers.a", "only $(source.name)" },
		{ "$(headers.a .. b)", "only $(source.name)" },
		{ "$(os.exit())", "an expression begins with one of: headers" },
		{ "$(headers.a or b)", "after \"or\"" },
		{ "$(function() end)", "an expression begins" },
		{ "$()", "the expression is not understood" },
		{ "$(headers.authorization)", "this header belongs" },
		{ "$(headers.x_user_id)", "this header belongs" },
		{ "$(headers[\"X-Tenant-ID\"])", "this header belongs" },
		{ "$(consumer.key)", "of a consumer there are" },
	};
	char config[256];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(good); i++) {
		char quoted[128];
		size_t n = 0;

		for (const char *c = good[i]; *c; c++) {
			quoted[n++] = *c;
			if (*c == '\'')
				quoted[n++] = '\'';
		}
		quoted[n] = '\0';
		snprintf(config, sizeof(config), "{add: {headers: ['A:%s']}}",
		    quoted);
		is_accepted(RT, config);
	}
	for (size_t i = 0; i < KB_COUNT(bad); i++) {
		struct loaded l;

		snprintf(config, sizeof(config), "{add: {headers: ['A:%s']}}",
		    bad[i][0]);
		load_plugin(&l, RT, config);
		assert_true(problems_any(&l.p));
		if (strstr(kb_buf_str(&l.text), bad[i][1]) == NULL)
			fail_msg("%s: %s", bad[i][0], kb_buf_str(&l.text));
		unload(&l);
	}
}

static void
forms_come_back_as_they_were(void **state)
{
	struct lines l = { .arena = *state };
	struct kb_slice text;

	form_split(&l, kb_slice_of("a=1&b+c=%2f&&d&=x&e=&%zz=1&a=2"));
	assert_int_equal(l.n, 7);
	assert_true(kb_slice_eq(l.v[1].name, "b c"));
	assert_true(kb_slice_eq(l.v[1].value, "=%2f"));
	assert_int_equal(l.v[2].value.len, 0);
	text = form_join(&l);
	assert_string_equal(text.ptr, "a=1&b%20c=%2f&d&=x&e=&%25zz=1&a=2");
}

static void
objects_come_back_as_they_were(void **state)
{
	static const char *const same[] = { "{}", "{\"a\":1}",
		"{\"a\":[1,{\"b\":\"}],\"}],\"c\":\"\\\"\\\\\"}",
		"{\"a\":{\"b\":{}},\"n\":-1.5e300,\"t\":true,\"z\":null}",
		"{\"\":\"\"}", "{\"big\":123456789012345678901234567890}" };
	static const char *const none[] = { "", "[]", "1", "{", "{\"a\":1",
		"{\"a\":1}x", "{\"a\":1,\"a\":2}", "\"{}\"",
		"{\"a\":\"\\u0000\"}", "nul" };

	for (size_t i = 0; i < KB_COUNT(same); i++) {
		struct lines l = { .arena = *state };

		assert_true(json_split(&l, kb_slice_of(same[i])));
		assert_string_equal(json_join(&l).ptr, same[i]);
	}
	for (size_t i = 0; i < KB_COUNT(none); i++) {
		struct lines l = { .arena = *state };

		assert_false(json_split(&l, kb_slice_of(none[i])));
	}
	struct lines l = { .arena = *state };

	assert_true(json_split(
	    &l, kb_slice_of(" { \"\\u0061\" : [ 1 ] , \"b\" :\t2\n} ")));
	assert_true(kb_slice_eq(l.v[0].name, "a"));
	assert_string_equal(json_join(&l).ptr, "{\"a\":[ 1 ],\"b\":2}");
}

static void
rules_for_answers_know_types_but_no_templates(void **state)
{
	(void)state;
	is_accepted("response-transformer",
	    "{remove: {headers: [A], json: [a]}, add: {json: ['a:1', "
	    "'b:true'], json_types: [number, boolean], headers: "
	    "['A:$(what.ever)']}, rename: {json: ['a:b']}}");
	is_told("response-transformer",
	    "{add: {json: ['a:x'], json_types: [number]}}", true,
	    "plugin response-transformer: add.json: \"x\" is no number");
	is_told("response-transformer",
	    "{add: {json: ['a:1'], json_types: [boolean]}}", true,
	    "plugin response-transformer: add.json: \"1\" is no boolean");
	is_told("response-transformer",
	    "{add: {json: ['a:1'], json_types: [text]}}", true,
	    "plugin response-transformer: add.json: json_types must be string, "
	    "number or boolean");
	is_told("response-transformer", "{remove: {json_types: []}}", true,
	    "plugin response-transformer: remove: unknown field "
	    "\"json_types\"");
	is_told("response-transformer", "{add: {querystring: []}}", true,
	    "plugin response-transformer: add: unknown field "
	    "\"querystring\"");
	is_told("response-transformer",
	    "{remove: {headers: [Strict-Transport-Security]}}", true,
	    "plugin response-transformer: remove.headers: "
	    "\"Strict-Transport-Security\" cannot be changed");
	is_told("response-transformer", "{add: {headers: ['X-User-ID:1']}}",
	    true,
	    "plugin response-transformer: add.headers: \"X-User-ID\" cannot "
	    "be changed");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_operations_and_areas_load),
		cmocka_unit_test(
		    unknown_names_and_shapes_are_refused_with_their_line),
		cmocka_unit_test(names_of_the_gateway_cannot_be_changed),
		cmocka_unit_test(
		    names_of_framing_and_the_connection_cannot_be_changed),
		cmocka_unit_test(the_platforms_own_intent_is_understood),
		cmocka_unit_test(templates_are_judged_at_load),
		cmocka_unit_test(rules_for_answers_know_types_but_no_templates),
		test_with_arena(forms_come_back_as_they_were),
		test_with_arena(objects_come_back_as_they_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
