/* Feature flags as admin sends them: levels, versions, what is refused. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/json.h>

#include "stack.h"
#include "stack_service.h"

#define APPLY "/api/internal/feature-flags/apply"

static struct kb_loopback *lo;
static struct kb_arena *arena;
static char dir[64];

static int
setup(void **state)
{
	char data[96];
	const char *env[] = { data, "KOMBI_ENVIRONMENT=development",
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared", "KOMBI_LOG_LEVEL=error",
		"STACKKITS_URL=http://127.0.0.1:9", NULL };

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/kombi-flags-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(data, sizeof(data), "KOMBI_DATA_DIR=%s", dir);
	arena = kb_arena_new(0);
	lo = kb_loopback_start(&stack_service, env);
	return lo == NULL;
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static int
teardown(void **state)
{
	(void)state;
	kb_loopback_stop(lo);
	kb_arena_free(arena);
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct kb_loopback_answer
post(const char *target, const char *body)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };

	return kb_loopback_call(lo, "POST", target, NULL, "admin", json, body);
}

/* "applied/skipped" */
static const char *
apply(const char *body)
{
	struct kb_loopback_answer answer = post(APPLY, body);
	const struct kb_json *j = NULL;
	const char *why = NULL;
	int64_t applied = -1, skipped = -1;

	if (answer.status != 200)
		fail_msg("%d %s", answer.status, answer.body);
	assert_int_equal(
	    kb_json_parse(arena, answer.body, answer.len, &j, &why), KB_OK);
	assert_true(kb_json_int(j, "applied", &applied));
	assert_true(kb_json_int(j, "skipped", &skipped));
	assert_non_null(kb_json_str(j, "updatedAt"));
	return kb_sprintf(arena, "%d/%d", (int)applied, (int)skipped);
}

/* "key=value …" of what holds. */
static const char *
holds(const char *tenant_id, const char *sub)
{
	struct kb_cx cx = { .arena = arena, .db = kb_loopback_app(lo)->db };
	struct flag *rows;
	size_t n;
	const char *text = "";

	assert_int_equal(flags_of(&cx, tenant_id, sub, &rows, &n), KB_OK);
	for (size_t i = 0; i < n; i++)
		text = kb_sprintf(
		    arena, "%s%s=%s ", text, rows[i].key, rows[i].value);
	return text;
}

static void
older_letters_and_repeated_ones_change_nothing(void **state)
{
	(void)state;
	assert_string_equal(
	    apply("{\"sub\":\"u\",\"flags\":{\"a\":true,\"b\":2},"
		  "\"version\":10}"),
	    "2/0");
	assert_string_equal(
	    apply("{\"sub\":\"u\",\"flags\":{\"a\":true,\"b\":2},"
		  "\"version\":10}"),
	    "0/2");
	assert_string_equal(
	    apply("{\"sub\":\"u\",\"flags\":{\"a\":false},\"version\":9}"),
	    "0/1");
	assert_string_equal(holds("ten_x", "u"), "a=true b=2 ");
	/* What a newer one does not name is gone, and stays so. */
	assert_string_equal(
	    apply("{\"sub\":\"u\",\"flags\":{},\"version\":12}"), "0/0");
	assert_string_equal(
	    apply("{\"sub\":\"u\",\"flags\":{\"a\":true},\"version\":11}"),
	    "0/1");
	assert_string_equal(holds("ten_x", "u"), "");
}

static void
a_users_flag_wins_over_the_tenants_and_that_over_the_default(void **state)
{
	(void)state;
	assert_int_equal(
	    post("/api/internal/tenants",
		"{\"id\":\"ten_a\",\"slug\":\"acme\",\"name\":\"A\","
		"\"zitadelOrgId\":\"org-a\"}")
		.status,
	    201);
	apply("{\"flags\":{\"x\":\"d\",\"y\":\"d\",\"z\":\"d\"},"
	      "\"version\":20}");
	apply("{\"org\":\"org-a\",\"flags\":{\"x\":\"o\",\"y\":\"o\"},"
	      "\"version\":21}");
	apply("{\"sub\":\"u\",\"flags\":{\"x\":\"u\"},\"version\":22}");
	assert_string_equal(holds("ten_a", "u"), "x=\"u\" y=\"o\" z=\"d\" ");
	assert_string_equal(holds("ten_a", "v"), "x=\"o\" y=\"o\" z=\"d\" ");
	assert_string_equal(holds("ten_b", "u"), "x=\"u\" y=\"d\" z=\"d\" ");
	assert_string_equal(holds("ten_b", ""), "x=\"d\" y=\"d\" z=\"d\" ");
}

static void
what_is_no_letter_is_refused_and_changes_nothing(void **state)
{
	static const char *const wrong[] = { "{}", "{\"flags\":{}}",
		"{\"flags\":{},\"version\":0}", "{\"flags\":[],\"version\":99}",
		"{\"flags\":{\"a\":null},\"version\":99}",
		"{\"flags\":{\"a\":[1]},\"version\":99}",
		"{\"flags\":{\"\":1},\"version\":99}",
		"{\"sub\":\"u\",\"org\":\"org-a\",\"flags\":{},"
		"\"version\":99}" };
	const char *before = holds("ten_a", "u");

	(void)state;
	for (size_t i = 0; i < KB_COUNT(wrong); i++)
		assert_int_equal(post(APPLY, wrong[i]).status, 400);
	assert_int_equal(
	    post(APPLY, "{\"org\":\"no\",\"flags\":{},\"version\":99}").status,
	    404);
	assert_string_equal(holds("ten_a", "u"), before);
	assert_int_equal(
	    kb_loopback_call(lo, "POST", APPLY, NULL, "sim", NULL, NULL).status,
	    403);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    older_letters_and_repeated_ones_change_nothing),
		cmocka_unit_test(
		    a_users_flag_wins_over_the_tenants_and_that_over_the_default),
		cmocka_unit_test(
		    what_is_no_letter_is_refused_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
