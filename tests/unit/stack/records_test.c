/* The records API through the loopback: collections, records, rules. */
#include "records_world.h"

static void
a_record_lives_from_create_to_delete(void **state)
{
	struct fixture *f = *state;
	struct world w = make_world(f);
	const struct kb_json *j;
	const char *id, *at;
	double d = 0;

	j = expect(f, 200,
	    ask(f, NULL, "POST", API "/posts/records",
		kb_sprintf(f->a,
		    "{\"title\":\"n\",\"views\":2,\"tags\":[\"red\"],"
		    "\"readers\":[\"%s\"],\"secret\":\"mine\"}",
		    w.ada)));
	id = kb_json_str(j, "id");
	assert_int_equal(strlen(id), 15);
	assert_string_equal(kb_json_str(j, "collectionName"), "posts");
	assert_null(kb_json_get(j, "secret"));
	at = kb_sprintf(f->a, API "/posts/records/%s", id);
	j = expect(f, 200,
	    ask(f, NULL, "PATCH", at,
		kb_sprintf(f->a,
		    "{\"views+\":3,\"tags+\":\"blue\",\"+readers\":\"%s\"}",
		    w.ben)));
	assert_true(kb_json_number(kb_json_get(j, "views"), &d) && d == 5);
	assert_int_equal(kb_json_size(kb_json_get(j, "tags")), 2);
	assert_string_equal(
	    kb_json_text(kb_json_first(kb_json_get(j, "readers"))), w.ben);
	j = expect(f, 200,
	    ask(f, NULL, "PATCH", at, "{\"tags-\":[\"red\",\"blue\"]}"));
	assert_int_equal(kb_json_size(kb_json_get(j, "tags")), 0);
	j = expect(f, 200, ask(f, f->admin, "GET", at, NULL));
	assert_string_equal(kb_json_str(j, "secret"), "");
	expect(f, 204, ask(f, NULL, "DELETE", at, NULL));
	expect(f, 404, ask(f, NULL, "GET", at, NULL));
	expect(f, 404, ask(f, NULL, "DELETE", at, NULL));
}

static const char *
field_code(struct fixture *f, const char *body, const char *field)
{
	const struct kb_json *j = expect(
	    f, 400, ask(f, NULL, "POST", API "/checks/records", body));

	return kb_json_str(kb_json_get(kb_json_get(j, "data"), field), "code");
}

static void
values_are_judged_with_pocketbases_codes(void **state)
{
	static const struct {
		const char *body, *field, *code;
	} cases[] = {
		{ "{}", "t", "validation_required" },
		{ "{\"t\":\"a\"}", "t", "validation_min_text_constraint" },
		{ "{\"t\":\"abcdef\"}", "t", "validation_max_text_constraint" },
		{ "{\"t\":\"abc\",\"n\":1.5}", "n",
		    "validation_only_int_constraint" },
		{ "{\"t\":\"abc\",\"n\":1}", "n",
		    "validation_min_number_constraint" },
		{ "{\"t\":\"abc\",\"n\":99}", "n",
		    "validation_max_number_constraint" },
		{ "{\"t\":\"abc\",\"e\":\"x\"}", "e", "validation_is_email" },
		{ "{\"t\":\"abc\",\"u\":\"x\"}", "u",
		    "validation_invalid_url" },
		{ "{\"t\":\"abc\",\"s\":\"z\"}", "s",
		    "validation_invalid_value" },
		{ "{\"t\":\"abc\",\"m\":[\"a\",\"b\",\"c\"]}", "m",
		    "validation_too_many_values" },
		{ "{\"t\":\"abc\",\"r\":\"nobody\"}", "r",
		    "validation_missing_rel_records" },
		{ "{\"t\":\"abc\",\"k\":\"taken\"}", "k",
		    "validation_not_unique" },
		{ "{\"t\":\"abc\",\"id\":\"short\"}", "id",
		    "validation_min_text_constraint" },
		{ "{\"t\":\"abc\",\"id\":\"ABCDEFGHIJKLMNO\"}", "id",
		    "validation_invalid_format" },
	};
	struct fixture *f = *state;

	make_collection(f,
	    "{\"name\":\"checks\",\"fields\":["
	    "{\"name\":\"t\",\"type\":\"text\",\"required\":true,\"min\":2,"
	    "\"max\":5},"
	    "{\"name\":\"n\",\"type\":\"number\",\"onlyInt\":true,\"min\":2,"
	    "\"max\":10},"
	    "{\"name\":\"e\",\"type\":\"email\"},"
	    "{\"name\":\"u\",\"type\":\"url\"},"
	    "{\"name\":\"k\",\"type\":\"text\"},"
	    "{\"name\":\"s\",\"type\":\"select\",\"maxSelect\":1,"
	    "\"values\":[\"a\"]},"
	    "{\"name\":\"m\",\"type\":\"select\",\"maxSelect\":2,"
	    "\"values\":[\"a\",\"b\",\"c\"]},"
	    "{\"name\":\"r\",\"type\":\"relation\","
	    "\"collectionId\":\"_pb_users_auth_\",\"maxSelect\":1}],"
	    "\"indexes\":[\"CREATE UNIQUE INDEX `ik` ON `checks` (`k`)"
	    " WHERE `k` != ''\"]," OPEN_RULES "}");
	make_record(f, "checks", "{\"t\":\"abc\",\"k\":\"taken\"}");
	make_record(f, "checks", "{\"t\":\"abc\"}");
	make_record(f, "checks", "{\"t\":\"abc\"}");
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const char *code = field_code(f, cases[i].body, cases[i].field);

		if (!kb_str_eq(code, cases[i].code))
			fail_msg("%s: %s", cases[i].body, code ? code : "none");
	}
}

static void
rules_decide_who_may_do_what(void **state)
{
	struct fixture *f = *state;
	const char *mine, *hers;

	make_collection(f,
	    "{\"name\":\"notes\",\"fields\":["
	    "{\"name\":\"text\",\"type\":\"text\"},"
	    "{\"name\":\"owner\",\"type\":\"relation\",\"maxSelect\":1,"
	    "\"collectionId\":\"_pb_users_auth_\"}],"
	    "\"listRule\":\"owner = @request.auth.id\","
	    "\"viewRule\":\"owner.role = 'admin' || owner ="
	    " @request.auth.id\","
	    "\"createRule\":\"owner = @request.auth.id &&"
	    " @request.auth.id != ''\","
	    "\"updateRule\":\"owner = @request.auth.id &&"
	    " @request.body.owner:changed = false\"}");
	mine = make_record(f, "notes",
	    kb_sprintf(f->a, "{\"text\":\"a\",\"owner\":\"%s\"}", f->admin_id));
	hers = kb_json_str(
	    expect(f, 200,
		ask(f, f->member, "POST", API "/notes/records",
		    kb_sprintf(f->a, "{\"text\":\"b\",\"owner\":\"%s\"}",
			f->member_id))),
	    "id");
	/* Nobody writes in another's name, a guest in nobody's. */
	expect(f, 400,
	    ask(f, f->member, "POST", API "/notes/records",
		kb_sprintf(f->a, "{\"owner\":\"%s\"}", f->admin_id)));
	expect(f, 400, ask(f, NULL, "POST", API "/notes/records", "{}"));
	assert_int_equal(
	    kb_json_size(kb_json_get(
		expect(f, 200,
		    ask(f, f->member, "GET", API "/notes/records", NULL)),
		"items")),
	    1);
	assert_int_equal(
	    kb_json_size(kb_json_get(
		expect(f, 200, ask(f, NULL, "GET", API "/notes/records", NULL)),
		"items")),
	    0);
	expect(f, 200,
	    ask(f, NULL, "GET", kb_sprintf(f->a, API "/notes/records/%s", mine),
		NULL));
	expect(f, 404,
	    ask(f, NULL, "GET", kb_sprintf(f->a, API "/notes/records/%s", hers),
		NULL));
	hers = kb_sprintf(f->a, API "/notes/records/%s", hers);
	expect(f, 200, ask(f, f->member, "PATCH", hers, "{\"text\":\"c\"}"));
	expect(f, 404,
	    ask(f, f->member, "PATCH", hers,
		kb_sprintf(f->a, "{\"owner\":\"%s\"}", f->admin_id)));
	expect(f, 404, ask(f, NULL, "PATCH", hers, "{\"text\":\"d\"}"));
	/* No rule at all: superusers. */
	expect(f, 403, ask(f, f->member, "DELETE", hers, NULL));
	expect(f, 204, ask(f, f->admin, "DELETE", hers, NULL));
}

static void
collections_are_the_admins_and_are_checked(void **state)
{
	static const struct {
		const char *body, *field, *code;
	} cases[] = {
		{ "{}", "name", "validation_required" },
		{ "{\"name\":\"a b\"}", "name", "validation_match_invalid" },
		{ "{\"name\":\"USERS\"}", "name",
		    "validation_collection_name_exists" },
		{ "{\"name\":\"jobs\"}", "name",
		    "validation_collection_name_exists" },
		{ "{\"name\":\"x\",\"listRule\":\"nope = 1\"}", "listRule",
		    "validation_invalid_rule" },
		{ "{\"name\":\"x\",\"type\":\"view\"}", "viewQuery",
		    "validation_required" },
		{ "{\"name\":\"x\",\"type\":\"view\",\"viewQuery\":"
		  "\"SELECT id FROM _kombi_jobs\"}",
		    "viewQuery", "validation_invalid_view_query" },
		{ "{\"name\":\"x\",\"type\":\"view\",\"viewQuery\":"
		  "\"SELECT id, password FROM users\"}",
		    "viewQuery", "validation_invalid_view_query" },
		{ "{\"name\":\"x\",\"indexes\":[\"DROP TABLE users\"]}", NULL,
		    NULL },
		{ "{\"name\":\"x\",\"fields\":[{\"name\":\"f\","
		  "\"type\":\"select\"}]}",
		    NULL, NULL },
		{ "{\"name\":\"x\",\"fields\":[{\"name\":\"a\\\"; DROP\","
		  "\"type\":\"text\"}]}",
		    NULL, NULL },
		{ "{\"name\":\"x\",\"fields\":[{\"name\":\"expand\","
		  "\"type\":\"text\"}]}",
		    NULL, NULL },
	};
	struct fixture *f = *state;
	const struct kb_json *j;

	expect(f, 401, ask(f, NULL, "GET", API, NULL));
	expect(f, 403, ask(f, f->member, "GET", API, NULL));
	expect(f, 403, ask(f, f->member, "POST", API, "{\"name\":\"x\"}"));
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		j = kb_json_get(
		    expect(
			f, 400, ask(f, f->admin, "POST", API, cases[i].body)),
		    "data");
		assert_true(kb_json_size(j) > 0);
		if (cases[i].field != NULL)
			assert_string_equal(
			    kb_json_str(kb_json_get(j, cases[i].field), "code"),
			    cases[i].code);
	}
	j = make_collection(f, "{\"name\":\"x\"}");
	assert_string_equal(kb_json_str(j, "id"), "pbc_3064591283");
	expect(f, 200, ask(f, f->admin, "GET", API "/x", NULL));
	j = make_collection(f, "{\"name\":\"y\",\"id\":\"users\"}");
	assert_true(kb_str_starts(kb_json_str(j, "id"), "pbc_"));
	expect(f, 204, ask(f, f->admin, "DELETE", API "/x", NULL));
	expect(f, 404, ask(f, f->admin, "GET", API "/x", NULL));
	expect(f, 400, ask(f, f->admin, "DELETE", API "/users", NULL));
}

static void
a_changed_collection_keeps_its_records(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *j, *fields;
	const char *id, *body;

	j = make_collection(f,
	    "{\"name\":\"old\",\"fields\":["
	    "{\"name\":\"a\",\"type\":\"text\"},"
	    "{\"name\":\"b\",\"type\":\"text\"},"
	    "{\"name\":\"s\",\"type\":\"select\",\"maxSelect\":1,"
	    "\"values\":[\"p\",\"q\"]}]," OPEN_RULES "}");
	id = make_record(f, "old", "{\"a\":\"A\",\"b\":\"B\",\"s\":\"q\"}");
	fields = kb_json_get(j, "fields");
	/* a and b change places, s takes more, c is new. */
	body = kb_sprintf(f->a,
	    "{\"name\":\"fresh\",\"fields\":["
	    "{\"id\":\"%s\",\"name\":\"b\",\"type\":\"text\"},"
	    "{\"id\":\"%s\",\"name\":\"a\",\"type\":\"text\"},"
	    "{\"id\":\"%s\",\"name\":\"s\",\"type\":\"select\","
	    "\"maxSelect\":2,\"values\":[\"p\",\"q\"]},"
	    "{\"name\":\"c\",\"type\":\"number\"}]}",
	    kb_json_str(kb_json_at(fields, 1), "id"),
	    kb_json_str(kb_json_at(fields, 2), "id"),
	    kb_json_str(kb_json_at(fields, 3), "id"));
	expect(f, 200, ask(f, f->admin, "PATCH", API "/old", body));
	expect(f, 404, ask(f, NULL, "GET", API "/old/records", NULL));
	j = expect(f, 200,
	    ask(f, NULL, "GET", kb_sprintf(f->a, API "/fresh/records/%s", id),
		NULL));
	assert_string_equal(kb_json_str(j, "a"), "B");
	assert_string_equal(kb_json_str(j, "b"), "A");
	assert_string_equal(
	    kb_json_text(kb_json_first(kb_json_get(j, "s"))), "q");
	assert_non_null(kb_json_get(j, "c"));
}

static void
what_refers_to_a_deleted_record_follows_or_holds_it(void **state)
{
	struct fixture *f = *state;
	struct world w = make_world(f);
	const struct kb_json *j;
	const char *keeper;

	make_collection(f,
	    kb_sprintf(f->a,
		"{\"name\":\"keepers\",\"fields\":[{\"name\":\"who\","
		"\"type\":\"relation\",\"required\":true,\"maxSelect\":1,"
		"\"collectionId\":\"%s\"}]," OPEN_RULES "}",
		w.authors_id));
	make_collection(f,
	    kb_sprintf(f->a,
		"{\"name\":\"followers\",\"fields\":[{\"name\":\"who\","
		"\"type\":\"relation\",\"cascadeDelete\":true,"
		"\"maxSelect\":1,\"collectionId\":\"%s\"}]," OPEN_RULES "}",
		w.authors_id));
	keeper = make_record(
	    f, "keepers", kb_sprintf(f->a, "{\"who\":\"%s\"}", w.ben));
	make_record(
	    f, "followers", kb_sprintf(f->a, "{\"who\":\"%s\"}", w.ben));
	expect(f, 400,
	    ask(f, NULL, "DELETE",
		kb_sprintf(f->a, API "/authors/records/%s", w.ben), NULL));
	expect(f, 204,
	    ask(f, NULL, "DELETE",
		kb_sprintf(f->a, API "/keepers/records/%s", keeper), NULL));
	expect(f, 204,
	    ask(f, NULL, "DELETE",
		kb_sprintf(f->a, API "/authors/records/%s", w.ben), NULL));
	j = expect(f, 200, ask(f, NULL, "GET", API "/followers/records", NULL));
	assert_int_equal(kb_json_size(kb_json_get(j, "items")), 0);
	assert_string_equal(
	    titles(f, NULL, query_of(f, "filter", "author = ''")),
	    "two_100% Three");
	assert_string_equal(
	    titles(f, NULL, query_of(f, "filter", "readers:length = 1")),
	    "one");
}

/* A collection whose records follow one another into the end. */
static void
make_links(struct fixture *f)
{
	const struct kb_json *j = make_collection(
	    f, "{\"name\":\"links\"," OPEN_RULES "}");

	expect(f, 200,
	    ask(f, f->admin, "PATCH", API "/links",
		kb_sprintf(f->a,
		    "{\"fields\":[{\"name\":\"next\",\"type\":\"relation\","
		    "\"cascadeDelete\":true,\"maxSelect\":1,"
		    "\"collectionId\":\"%s\"},{\"name\":\"also\","
		    "\"type\":\"relation\",\"maxSelect\":1,"
		    "\"collectionId\":\"%s\"}]}",
		    kb_json_str(j, "id"), kb_json_str(j, "id"))));
}

static size_t
links_left(struct fixture *f)
{
	const struct kb_json *j = expect(f, 200,
	    ask(f, NULL, "GET", API "/links/records?perPage=500", NULL));

	return kb_json_size(kb_json_get(j, "items"));
}

static void
records_that_refer_in_a_circle_or_a_long_chain_go_together(void **state)
{
	struct fixture *f = *state;
	const char *first, *last, *rest;

	make_links(f);
	first = make_record(f, "links", "{}");
	last = make_record(
	    f, "links", kb_sprintf(f->a, "{\"next\":\"%s\"}", first));
	/* Refers to both: to one that takes it along by neither. */
	rest = make_record(
	    f, "links", kb_sprintf(f->a, "{\"also\":\"%s\"}", last));
	expect(f, 200,
	    ask(f, NULL, "PATCH",
		kb_sprintf(f->a, API "/links/records/%s", first),
		kb_sprintf(f->a, "{\"next\":\"%s\"}", last)));
	expect(f, 204,
	    ask(f, NULL, "DELETE",
		kb_sprintf(f->a, API "/links/records/%s", first), NULL));
	assert_int_equal(links_left(f), 1);
	assert_string_equal(
	    kb_json_str(
		expect(f, 200,
		    ask(f, NULL, "GET",
			kb_sprintf(f->a, API "/links/records/%s", rest), NULL)),
		"also"),
	    "");
	first = last = rest;
	for (int i = 0; i < 60; i++)
		last = make_record(
		    f, "links", kb_sprintf(f->a, "{\"next\":\"%s\"}", last));
	assert_int_equal(links_left(f), 61);
	expect(f, 204,
	    ask(f, NULL, "DELETE",
		kb_sprintf(f->a, API "/links/records/%s", first), NULL));
	assert_int_equal(links_left(f), 0);
}

static void
members_are_guarded_whatever_the_rules_say(void **state)
{
	struct fixture *f = *state;
	const char *me = kb_sprintf(
	    f->a, API "/users/records/%s", f->member_id);
	const char *boss = kb_sprintf(
	    f->a, API "/users/records/%s", f->admin_id);
	const struct kb_json *j;

	j = expect(f, 200, ask(f, f->member, "GET", boss, NULL));
	assert_null(kb_json_get(j, "email"));
	assert_null(kb_json_get(j, "tokenKey"));
	assert_null(kb_json_get(j, "ssoSub"));
	j = expect(f, 200, ask(f, f->member, "GET", me, NULL));
	assert_string_equal(kb_json_str(j, "email"), "anna@example.com");
	expect(f, 200, ask(f, f->member, "PATCH", me, "{\"name\":\"Anna\"}"));
	expect(f, 404, ask(f, f->member, "PATCH", me, "{\"role\":\"admin\"}"));
	expect(f, 404, ask(f, f->member, "PATCH", boss, "{\"name\":\"x\"}"));
	expect(f, 200,
	    ask(f, f->admin, "PATCH", API "/users", "{\"updateRule\":\"\"}"));
	expect(f, 400, ask(f, f->member, "PATCH", me, "{\"role\":\"admin\"}"));
	expect(
	    f, 400, ask(f, f->admin, "PATCH", boss, "{\"role\":\"member\"}"));
	expect(f, 400, ask(f, f->admin, "DELETE", boss, NULL));
	expect(f, 403, ask(f, f->member, "POST", API "/users/records", "{}"));
	/* An address that is not shown cannot be asked for either. */
	j = expect(f, 200,
	    ask(f, f->member, "GET",
		kb_sprintf(f->a, API "/users/records?%s",
		    query_of(f, "filter", "email ~ 'alice'")),
		NULL));
	assert_int_equal(kb_json_size(kb_json_get(j, "items")), 0);
}

static void
both_addresses_reach_the_same_rows_and_no_other_tenants(void **state)
{
	struct fixture *f = *state;
	struct world w = make_world(f);
	const char *id, *theirs = enter(f, &bob, &id);
	const struct kb_json *j;

	(void)w;
	j = expect(f, 200,
	    ask(f, f->admin, "GET", "/api/collections/posts_org-a/records",
		NULL));
	assert_int_equal(kb_json_size(kb_json_get(j, "items")), 3);
	expect(f, 404,
	    ask(f, theirs, "GET", "/api/collections/posts_org-b/records",
		NULL));
	expect(f, 404,
	    ask(f, f->admin, "GET", "/api/collections/posts/records", NULL));
	expect(f, 404,
	    ask(f, f->admin, "GET", "/api/collections/posts_nope/records",
		NULL));
	/* Another tenant's token is a guest's here. */
	expect(f, 401, ask(f, theirs, "GET", API, NULL));
	/* The gateway's word counts where the person is a member. */
	assert_int_equal(
	    kb_loopback_call(f->lo, "GET",
		"/api/collections/users_org-a/records", &bob, NULL, NULL, NULL)
		.status,
	    403);
	assert_int_equal(
	    kb_loopback_call(f->lo, "GET",
		"/api/collections/users_org-a/records", &anna, NULL, NULL, NULL)
		.status,
	    200);
}

static void
errors_have_pocketbases_shape_here_and_the_envelope_elsewhere(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *j;
	int64_t status = 0;

	j = expect(
	    f, 404, ask(f, NULL, "GET", "/tenant/org-a/api/nothing", NULL));
	assert_true(kb_json_int(j, "status", &status) && status == 404);
	assert_int_equal(kb_json_kind(kb_json_get(j, "data")), KB_JSON_OBJECT);
	assert_string_equal(
	    kb_json_str(j, "message"), "The requested resource wasn't found.");
	j = expect(f, 404, ask(f, NULL, "GET", API "/nope/records", NULL));
	assert_string_equal(
	    kb_json_str(j, "message"), "Missing collection context.");
	j = expect(f, 400,
	    ask(f, f->admin, "POST", API, "{\"name\":\"a\",\"name\":\"b\"}"));
	assert_string_equal(kb_json_str(j, "message"),
	    "An error occurred while loading the submitted data.");
	j = expect(f, 404, ask(f, NULL, "PUT", API "/x/records", "{}"));
	assert_non_null(kb_json_get(j, "data"));
	j = expect(f, 404, ask(f, NULL, "GET", "/tenant/org-a/v1/nope", NULL));
	assert_non_null(kb_json_get(j, "error"));
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_record_lives_from_create_to_delete),
		T(values_are_judged_with_pocketbases_codes),
		T(rules_decide_who_may_do_what),
		T(collections_are_the_admins_and_are_checked),
		T(a_changed_collection_keeps_its_records),
		T(what_refers_to_a_deleted_record_follows_or_holds_it),
		T(records_that_refer_in_a_circle_or_a_long_chain_go_together),
		T(members_are_guarded_whatever_the_rules_say),
		T(both_addresses_reach_the_same_rows_and_no_other_tenants),
		T(errors_have_pocketbases_shape_here_and_the_envelope_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
