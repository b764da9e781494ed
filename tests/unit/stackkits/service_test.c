/* The service through its loopback, with a stand-in for cue. */
#include <setjmp.h>
#include <stdarg.h>

#include "folder.h"

#include <kombi/str.h>
#include <kombi/time.h>

#include "stackkits.h"

static struct kb_loopback *lo;
static const struct kb_identity free_user = { { "u1", "", "", "o1", "", "free",
    "" } };
static const struct kb_identity pro_user = { { "u2", "", "", "o1", "", "pro",
    "" } };

/* Starts the service on two kits; `cue` is the body of a script, or NULL. */
static struct kb_arena *
start_with(const char *cue, const char *timeout)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *path = cue != NULL
	    ? folder_script(a, "cue",
		  kb_sprintf(a, "[ \"$1\" = vet ] && exit 0\n%s", cue))
	    : "/nonexistent/cue";
	const char *const env[] = {
		kb_sprintf(a, "STACKKITS_DIR=%s", folder),
		kb_sprintf(a, "CUE_BIN=%s", path),
		"KOMBI_CUE_CPU_SECONDS=1",
		timeout,
		NULL,
	};

	folder_kit(a, "good-kit", "free");
	folder_kit(a, "pro-kit", "pro");
	lo = kb_loopback_start(&sk_service, env);
	assert_non_null(lo);
	return a;
}

/* A timeout that only a hang reaches, however busy the machine is. */
static struct kb_arena *
start(const char *cue)
{
	return start_with(cue, "KOMBI_CUE_TIMEOUT_MS=60000");
}

static void
finish(struct kb_arena *a)
{
	kb_loopback_stop(lo);
	kb_arena_free(a);
}

static struct kb_loopback_answer
get(const struct kb_identity *user, const char *target)
{
	return kb_loopback_call(lo, "GET", target, user, NULL, NULL, NULL);
}

static struct kb_loopback_answer
validate(const char *target, const char *body)
{
	return kb_loopback_call(
	    lo, "POST", target, &free_user, NULL, NULL, body);
}

#define has(text, part) assert_non_null(strstr((text), (part)))
#define hasnt(text, part) assert_null(strstr((text), (part)))

static void
the_list_holds_what_the_plan_includes(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	struct kb_loopback_answer r = get(&free_user, "/v1/stackkits");

	(void)state;
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body,
	    "{\"kits\":[{\"id\":\"good-kit\",\"name\":\"A kit\","
	    "\"version\":\"1.1.0\",\"description\":\"For tests.\","
	    "\"minPlan\":\"free\",\"tags\":[\"test\"],"
	    "\"downloadUrl\":\"/v1/stackkits/good-kit/download\"}]}");
	r = get(&pro_user, "/v1/stackkits");
	has(r.body, "\"pro-kit\"");
	r = kb_loopback_call(
	    lo, "GET", "/v1/stackkits", NULL, "stack", NULL, NULL);
	assert_int_equal(r.status, 200);
	has(r.body, "\"pro-kit\"");
	assert_int_equal(get(NULL, "/v1/stackkits").status, 401);
	finish(a);
}

static void
another_service_is_refused(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");

	(void)state;
	assert_true(kb_loopback_call(
			lo, "GET", "/v1/stackkits", NULL, "sim", NULL, NULL)
			.status >= 401);
	finish(a);
}

static void
an_unknown_kit_is_not_found_whatever_is_asked_of_it(void **state)
{
	static const char *const targets[] = { "/v1/stackkits/nope",
		"/v1/stackkits/nope/download", "/v1/stackkits/nope/versions",
		"/v1/stackkits/nope/versions/1.0.0/changelog" };
	struct kb_arena *a = start("echo '{\"valid\":true}'");

	(void)state;
	for (size_t i = 0; i < KB_COUNT(targets); i++) {
		struct kb_loopback_answer r = get(&free_user, targets[i]);

		assert_int_equal(r.status, 404);
		has(r.body, "\"code\":\"NOT_FOUND\"");
		has(r.body, "\"message\":\"Kit not found\"");
	}
	finish(a);
}

static void
a_kit_above_the_plan_says_which_plan_it_needs(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	struct kb_loopback_answer r = get(
	    &free_user, "/v1/stackkits/pro-kit/download");

	(void)state;
	assert_int_equal(r.status, 403);
	has(r.body, "\"code\":\"PLAN_UPGRADE_REQUIRED\"");
	has(r.body, "\"message\":\"Plan upgrade required\"");
	has(r.body, "\"requiredPlan\":\"pro\"");
	r = validate("/v1/stackkits/pro-kit/validate",
	    "{\"kombinationYaml\":\"name: a\"}");
	assert_int_equal(r.status, 403);
	r = get(&free_user, "/v1/stackkits/pro-kit");
	assert_int_equal(r.status, 200);
	has(r.body, "\"available\":false");
	assert_int_equal(
	    get(&pro_user, "/v1/stackkits/pro-kit/download").status, 200);
	finish(a);
}

static void
a_download_carries_its_checksum_and_is_not_sent_twice(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	struct kb_loopback_answer r = get(
	    &free_user, "/v1/stackkits/good-kit-alias/download");
	const char *sum, *etag, *stale = "If-None-Match: \"x\"";
	const char *headers[] = { NULL, NULL };

	(void)state;
	assert_int_equal(r.status, 200);
	assert_memory_equal(r.body, "\x1f\x8b", 2);
	has(r.headers, "application/gzip");
	has(r.headers, "attachment; filename=\"good-kit-1.1.0.tar.gz\"");
	sum = strstr(r.headers, "X-Checksum-SHA256: ");
	assert_non_null(sum);
	sum = kb_strndup(a, sum + 19, 64);
	has(r.headers, kb_sprintf(a, "ETag: \"%s\"", sum));
	etag = kb_sprintf(a, "If-None-Match: \"x\", W/\"%s\"", sum);
	headers[0] = etag;
	r = kb_loopback_call(lo, "GET", "/v1/stackkits/good-kit/download",
	    &free_user, NULL, headers, NULL);
	assert_int_equal(r.status, 304);
	assert_int_equal(r.len, 0);
	headers[0] = stale;
	r = kb_loopback_call(lo, "GET", "/v1/stackkits/good-kit/download",
	    &free_user, NULL, headers, NULL);
	assert_int_equal(r.status, 200);
	finish(a);
}

static void
versions_and_changes_are_told(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	struct kb_loopback_answer r = get(
	    &free_user, "/v1/stackkits/good-kit/versions");

	(void)state;
	assert_string_equal(r.body,
	    "{\"stackkit\":\"good-kit\",\"versions\":["
	    "{\"version\":\"1.1.0\",\"released\":\"2026-02-01\","
	    "\"latest\":true},"
	    "{\"version\":\"1.0.0\",\"released\":\"2026-01-01\","
	    "\"latest\":false}]}");
	r = get(&free_user, "/v1/stackkits/good-kit/versions/1.0.0/changelog");
	assert_int_equal(r.status, 200);
	has(r.body, "- First.");
	hasnt(r.body, "- New.");
	r = get(&free_user, "/v1/stackkits/good-kit/versions/9.9.9/changelog");
	assert_int_equal(r.status, 404);
	finish(a);
}

static void
findings_of_the_kit_come_with_path_code_message_and_line(void **state)
{
	struct kb_arena *a = start(
	    "echo '{\"valid\":false,\"errors\":[{\"path\":\"nodes[0].name\","
	    "\"code\":\"INVALID_FORMAT\",\"message\":\"must be a name\"}]}'");
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: a\\nnodes:\\n  - name: B\\n\"}");

	(void)state;
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body,
	    "{\"valid\":false,\"errors\":[{\"path\":\"nodes[0].name\","
	    "\"code\":\"INVALID_FORMAT\",\"message\":\"must be a name\","
	    "\"line\":3,\"column\":11}]}");
	finish(a);
}

static void
text_that_is_no_yaml_is_invalid_with_its_line(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: a\\nnodes: [\\n\"}");

	(void)state;
	assert_int_equal(r.status, 200);
	has(r.body, "\"valid\":false");
	has(r.body, "\"code\":\"INVALID_FORMAT\"");
	has(r.body, "\"line\":");
	finish(a);
}

static void
bodies_are_checked_before_anything_is_judged(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate", "{\"yaml\":1}");

	(void)state;
	assert_int_equal(r.status, 400);
	has(r.body, "kombinationYaml");
	r = validate("/v1/stackkits/validate", "{\"stackkit\":\"good-kit\"}");
	assert_int_equal(r.status, 400);
	has(r.body, "config");
	finish(a);
}

static void
the_same_document_is_judged_once(void **state)
{
	struct kb_arena *a = start(
	    "case $2 in --out) echo x >>\"${0%/*}/count\";; esac\n"
	    "echo '{\"valid\":true}'");
	static const char body[] = "{\"kombinationYaml\":\"name: abc\"}";
	const char *count = kb_sprintf(a, "%s/count", folder);
	struct stat before, after;

	(void)state;
	assert_int_equal(
	    validate("/v1/stackkits/good-kit/validate", body).status, 200);
	assert_int_equal(stat(count, &before), 0);
	for (int i = 0; i < 3; i++)
		has(validate("/v1/stackkits/good-kit/validate", body).body,
		    "\"valid\":true");
	assert_int_equal(stat(count, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	validate("/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: abd\"}");
	assert_int_equal(stat(count, &after), 0);
	assert_true(after.st_size > before.st_size);
	finish(a);
}

/* The probe at start goes through, the document "name: loop" does not. */
#define UNLESS_PROBE "grep -q probe && { echo '{\"valid\":true}'; exit; }\n"

static void
a_document_that_costs_too_much_is_invalid_not_a_hang(void **state)
{
	struct kb_arena *a = start(UNLESS_PROBE "while :; do :; done");
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: loop\"}");

	(void)state;
	assert_int_equal(r.status, 200);
	has(r.body, "\"valid\":false");
	has(r.body, "too complex");
	finish(a);
}

static void
a_judge_that_hangs_is_a_timeout(void **state)
{
	struct kb_arena *a = start_with(
	    UNLESS_PROBE "exec /bin/sleep 60", "KOMBI_CUE_TIMEOUT_MS=3000");
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: hang\"}");

	(void)state;
	assert_int_equal(r.status, 504);
	has(r.body, "\"code\":\"SERVICE_UNAVAILABLE\"");
	finish(a);
}

static void
a_failing_kit_is_an_internal_error_without_its_text(void **state)
{
	struct kb_arena *a = start(
	    UNLESS_PROBE "echo 'report: secret place' >&2; exit 1");
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: x\"}");

	(void)state;
	assert_int_equal(r.status, 500);
	hasnt(r.body, "secret place");
	finish(a);
}

static void
without_cue_the_answer_says_what_to_set(void **state)
{
	struct kb_arena *a = start(NULL);
	struct kb_loopback_answer r = validate(
	    "/v1/stackkits/good-kit/validate",
	    "{\"kombinationYaml\":\"name: x\"}");

	(void)state;
	assert_int_equal(r.status, 503);
	has(r.body, "\"code\":\"SERVICE_UNAVAILABLE\"");
	has(r.body, "CUE_BIN");
	assert_int_equal(get(NULL, "/ready").status, 503);
	assert_int_equal(
	    get(&free_user, "/v1/stackkits/good-kit/download").status, 200);
	finish(a);
}

static void
a_kit_by_name_gets_the_whole_report(void **state)
{
	struct kb_arena *a = start(
	    "echo '{\"valid\":true,\"warnings\":[{\"path\":\"x\",\"code\":"
	    "\"UNKNOWN_FIELD\",\"message\":\"is not known\"}],"
	    "\"info\":{\"services_count\":2}}'");
	struct kb_loopback_answer r = validate("/v1/stackkits/validate",
	    "{\"stackkit\":\"good-kit-alias\",\"config\":{\"name\":\"a\"}}");

	(void)state;
	assert_int_equal(r.status, 200);
	has(r.body, "\"valid\":true,\"stackkit\":\"good-kit\"");
	has(r.body, "\"version\":\"1.1.0\"");
	has(r.body, "\"info\":{\"services_count\":2}");
	r = validate("/v1/stackkits/validate",
	    "{\"stackkit\":\"good-kit\",\"strict\":true,"
	    "\"config\":\"name: a\"}");
	has(r.body, "\"valid\":false");
	r = validate("/v1/stackkits/validate",
	    "{\"stackkit\":\"good-kit\",\"version\":\"0.1.0\","
	    "\"config\":{}}");
	assert_int_equal(r.status, 404);
	finish(a);
}

static bool
lists(const char *kit)
{
	return strstr(get(&pro_user, "/v1/stackkits").body, kit) != NULL;
}

static void
a_reload_brings_new_kits_while_requests_are_served(void **state)
{
	struct kb_arena *a = start("echo '{\"valid\":true}'");
	int64_t until = kb_mono_ms() + 20000;

	(void)state;
	assert_false(lists("\"new-kit\""));
	folder_kit(a, "new-kit", "free");
	folder_put(a, "kits/good-kit/stackkit.yaml", "broken: [\n");
	sk_service.reload(kb_loopback_app(lo));
	while (!lists("\"new-kit\""))
		assert_true(kb_mono_ms() < until);
	assert_false(lists("\"good-kit\""));
	assert_true(lists("\"pro-kit\""));
	finish(a);
}

#define IN_FOLDER(f)                                                           \
	cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(the_list_holds_what_the_plan_includes),
		IN_FOLDER(another_service_is_refused),
		IN_FOLDER(an_unknown_kit_is_not_found_whatever_is_asked_of_it),
		IN_FOLDER(a_kit_above_the_plan_says_which_plan_it_needs),
		IN_FOLDER(
		    a_download_carries_its_checksum_and_is_not_sent_twice),
		IN_FOLDER(versions_and_changes_are_told),
		IN_FOLDER(
		    findings_of_the_kit_come_with_path_code_message_and_line),
		IN_FOLDER(text_that_is_no_yaml_is_invalid_with_its_line),
		IN_FOLDER(bodies_are_checked_before_anything_is_judged),
		IN_FOLDER(the_same_document_is_judged_once),
		IN_FOLDER(a_document_that_costs_too_much_is_invalid_not_a_hang),
		IN_FOLDER(a_judge_that_hangs_is_a_timeout),
		IN_FOLDER(a_failing_kit_is_an_internal_error_without_its_text),
		IN_FOLDER(without_cue_the_answer_says_what_to_set),
		IN_FOLDER(a_kit_by_name_gets_the_whole_report),
		IN_FOLDER(a_reload_brings_new_kits_while_requests_are_served),
	};

	kb_log_fd(2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
