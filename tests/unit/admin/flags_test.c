/*
 * Feature flags on a PostgreSQL of their own: what holds for whom, what is
 * refused, and what the instances are told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/json.h>

#include "admin.h"
#include "pgsql.h"

#define PASSWORD_IN_URL "correct%20horse%20%25%20battery"
#define FLAGS "/v1/admin/feature-flags"
#define INTERNAL "/api/internal/feature-flags"

static struct pgsql server;
static struct kb_loopback *lo;
static struct kb_arena *arena;

static const struct kb_identity root = {
	.value = { "root", "root%40example.com", "root", "org-k",
	    "kombisphere_admin", "enterprise" }
};
static const struct kb_identity alice = {
	.value = { "alice", "a%40example.com", "alice", "org-a", "user", "pro" }
};

static int
setup(void **state)
{
	char url[256];
	const char *env[] = { url, "KOMBI_ENVIRONMENT=development",
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared", "KOMBI_LOG_LEVEL=error",
		"STACK_SERVICE_PORT=9", "SIM_SERVICE_PORT=9", NULL };

	(void)state;
	if (!pgsql_init(&server))
		return -1;
	snprintf(url, sizeof(url),
	    "DATABASE_URL=postgresql://kombi:%s@/postgres?host=%s",
	    PASSWORD_IN_URL, server.dir);
	arena = kb_arena_new(0);
	lo = kb_loopback_start(&admin_service, env);
	return lo == NULL;
}

static int
teardown(void **state)
{
	(void)state;
	kb_loopback_stop(lo);
	kb_arena_free(arena);
	pgsql_free(&server);
	return 0;
}

static struct kb_loopback_answer
call(const char *method, const char *target, const char *caller,
    const char *body)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };

	return kb_loopback_call(lo, method, target, caller ? NULL : &root,
	    caller, body ? json : NULL, body);
}

static void
expect(int status, struct kb_loopback_answer answer)
{
	if (answer.status != status)
		fail_msg("%d %s", answer.status, answer.body);
}

static const struct kb_json *
parse(struct kb_loopback_answer answer)
{
	const struct kb_json *j = NULL;
	const char *why = NULL;

	expect(200, answer);
	assert_int_equal(
	    kb_json_parse(arena, answer.body, answer.len, &j, &why), KB_OK);
	return j;
}

static const char *
value_for(const char *query, const char *key)
{
	const struct kb_json *answer = parse(call(
	    "GET", kb_sprintf(arena, INTERNAL "?%s", query), "stack", NULL));

	return kb_json_print(
	    arena, kb_json_get(kb_json_get(answer, "flags"), key));
}

struct told {
	int64_t n;
	const char *body;
};

/* Letters about flags whose body holds that text, and the last of them. */
static struct told
letters(const char *part)
{
	static const struct kb_col cols[] = {
		KB_COL_INT(struct told, n),
		KB_COL_STR(struct told, body),
		KB_COLS_END,
	};
	struct kb_cx cx = { .arena = arena, .db = kb_loopback_app(lo)->db };
	struct told t = { 0 };
	struct kb_rows rows = kb_query(&cx,
	    "SELECT count(*), (array_agg(body ORDER BY"
	    " (body::jsonb->>'version')::bigint DESC))[1] FROM outbox"
	    " WHERE url LIKE '%/api/internal/feature-flags/apply'"
	    " AND callee = 'stack' AND strpos(body, $1) > 0",
	    KB_TEXT(part));

	assert_int_equal(kb_rows_one(&rows, cols, &t), KB_OK);
	return t;
}

static void
a_users_value_wins_over_the_organisations_and_that_over_the_default(
    void **state)
{
	(void)state;
	expect(201,
	    call("POST", FLAGS, NULL,
		"{\"key\":\"editor\",\"type\":\"string\",\"default\":"
		"\"old\"}"));
	expect(201,
	    call("POST", FLAGS, NULL,
		"{\"key\":\"ratio\",\"type\":\"number\",\"default\":0.25}"));
	expect(204,
	    call("PUT", FLAGS "/editor/assignments", NULL,
		"{\"orgId\":\"org-a\",\"value\":\"new\"}"));
	assert_string_equal(value_for("sub=alice", "editor"), "\"old\"");
	assert_string_equal(
	    value_for("sub=alice&org=org-a", "editor"), "\"new\"");
	expect(200,
	    call("POST", INTERNAL "/alice", "cloud",
		"{\"flags\":{\"editor\":\"mine\",\"ratio\":7}}"));
	assert_string_equal(
	    value_for("sub=alice&org=org-a", "editor"), "\"mine\"");
	assert_string_equal(value_for("sub=alice", "ratio"), "7");
	assert_string_equal(value_for("sub=bob", "ratio"), "0.25");
	/* null gives the organisation's back. */
	expect(200,
	    call("POST", INTERNAL "/alice", "cloud",
		"{\"flags\":{\"editor\":null}}"));
	assert_string_equal(
	    value_for("sub=alice&org=org-a", "editor"), "\"new\"");
}

static void
values_have_the_flags_type_and_wrong_ones_change_nothing(void **state)
{
	static const char *const wrong[] = { "{}", "{\"flags\":[]}",
		"{\"flags\":{\"none\":true}}", "{\"flags\":{\"dark\":1}}",
		"{\"flags\":{\"dark\":\"true\"}}",
		"{\"flags\":{\"dark\":false,\"ratio\":\"x\"}}",
		"{\"flags\":{\"dark\":{}}}" };

	(void)state;
	expect(201,
	    call("POST", FLAGS, NULL,
		"{\"key\":\"dark\",\"type\":\"bool\",\"default\":true}"));
	for (size_t i = 0; i < KB_COUNT(wrong); i++)
		expect(400, call("POST", INTERNAL "/carl", "cloud", wrong[i]));
	assert_string_equal(value_for("sub=carl", "dark"), "true");
	expect(400,
	    call("POST", FLAGS, NULL,
		"{\"key\":\"x\",\"type\":\"bool\",\"default\":1}"));
	expect(400,
	    call("POST", FLAGS, NULL,
		"{\"key\":\"A b\",\"type\":\"bool\",\"default\":true}"));
	expect(409,
	    call("POST", FLAGS, NULL,
		"{\"key\":\"dark\",\"type\":\"bool\",\"default\":true}"));
	expect(
	    400, call("PATCH", FLAGS "/dark", NULL, "{\"default\":\"yes\"}"));
	expect(400,
	    call("PUT", FLAGS "/dark/assignments", NULL, "{\"value\":true}"));
	expect(400, call("GET", INTERNAL, "stack", NULL));
	expect(404, call("GET", FLAGS "/none", NULL, NULL));
}

static void
every_change_is_told_to_the_instances_that_it_concerns(void **state)
{
	struct told t;
	int64_t before = letters("").n;

	(void)state;
	/* The defaults: one letter for the one instance. */
	expect(200, call("PATCH", FLAGS "/dark", NULL, "{\"default\":false}"));
	t = letters("");
	assert_int_equal(t.n, before + 1);
	assert_non_null(strstr(t.body, "\"dark\":false"));
	assert_non_null(strstr(t.body, "\"ratio\":0.25"));
	/* An organisation without a tenant lives nowhere. */
	expect(204,
	    call("PUT", FLAGS "/dark/assignments", NULL,
		"{\"orgId\":\"org-none\",\"value\":true}"));
	assert_int_equal(letters("").n, before + 1);
	expect(201,
	    kb_loopback_call(lo, "POST", "/v1/tenants", &alice, NULL,
		((const char *const[]) {
		    "Content-Type: application/json", NULL }),
		"{\"slug\":\"acme\",\"name\":\"Acme\"}"));
	expect(204,
	    call("PUT", FLAGS "/dark/assignments", NULL,
		"{\"orgId\":\"org-a\",\"value\":true}"));
	t = letters("\"org\":\"org-a\"");
	assert_int_equal(t.n, 1);
	assert_non_null(strstr(t.body, "\"dark\":true,\"editor\":\"new\""));
	expect(200,
	    call("POST", INTERNAL "/alice", "cloud",
		"{\"flags\":{\"dark\":false}}"));
	t = letters("\"sub\":\"alice\"");
	assert_int_equal(t.n, 1);
	assert_non_null(
	    strstr(t.body, "\"flags\":{\"dark\":false,\"ratio\":7}"));
}

static void
a_deleted_flag_is_gone_for_everybody(void **state)
{
	(void)state;
	expect(204, call("DELETE", FLAGS "/dark", NULL, NULL));
	expect(404, call("DELETE", FLAGS "/dark", NULL, NULL));
	assert_null(strstr(
	    call("GET", INTERNAL "?sub=alice&org=org-a", "cloud", NULL).body,
	    "dark"));
	assert_null(strstr(letters("\"sub\":\"alice\"").body, "dark"));
	assert_null(strstr(letters("\"org\":\"org-a\"").body, "dark"));
}

static void
an_assignment_is_taken_away_by_its_id(void **state)
{
	const struct kb_json *list = kb_json_get(
	    parse(call("GET", FLAGS "/editor/assignments", NULL, NULL)),
	    "data");
	const char *id = kb_json_str(kb_json_at(list, 0), "id");
	const char *target = kb_sprintf(
	    arena, FLAGS "/editor/assignments/%s", id);

	(void)state;
	assert_int_equal(kb_json_size(list), 1);
	/* Under another flag's name it is not there. */
	expect(404,
	    call("DELETE", kb_sprintf(arena, FLAGS "/ratio/assignments/%s", id),
		NULL, NULL));
	expect(204, call("DELETE", target, NULL, NULL));
	expect(404, call("DELETE", target, NULL, NULL));
	assert_string_equal(
	    value_for("sub=alice&org=org-a", "editor"), "\"old\"");
}

static void
only_operators_define_and_only_services_ask(void **state)
{
	(void)state;
	expect(
	    403, kb_loopback_call(lo, "GET", FLAGS, &alice, NULL, NULL, NULL));
	expect(401, kb_loopback_call(lo, "GET", FLAGS, NULL, NULL, NULL, NULL));
	expect(403, call("POST", INTERNAL "/alice", "stack", "{\"flags\":{}}"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_users_value_wins_over_the_organisations_and_that_over_the_default),
		cmocka_unit_test(
		    values_have_the_flags_type_and_wrong_ones_change_nothing),
		cmocka_unit_test(
		    every_change_is_told_to_the_instances_that_it_concerns),
		cmocka_unit_test(a_deleted_flag_is_gone_for_everybody),
		cmocka_unit_test(an_assignment_is_taken_away_by_its_id),
		cmocka_unit_test(only_operators_define_and_only_services_ask),
	};
	const char *why = pgsql_find(&server);

	if (why != NULL) {
		print_message("skipped: %s\n", why);
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
