/* The stack service through the loopback: tenants, entry, stacks, jobs. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/json.h>
#include <kombi/time.h>

#include "stack.h"
#include "stack_service.h"

#define SECRET "unit-test-secret-0123456789-abcdefghij"
#define DEADLINE_MS 10000
#define EXCHANGE "/api/internal/sso/exchange"

struct fixture {
	struct kb_loopback *lo;
	struct kb_arena *a;
	char dir[64];
};

#define USER(sub, org, plan)                                                   \
	{                                                                      \
		.value = { sub, sub "%40example.com", sub, org, "user", plan } \
	}

static const struct kb_identity alice = USER("alice", "org-a", "pro");
static const struct kb_identity anna = USER("anna", "org-a", "pro");
static const struct kb_identity bob = USER("bob", "org-b", "free");

static void
remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char child[512];

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (unlink(child) != 0)
			remove_tree(child);
	}
	if (dir != NULL)
		closedir(dir);
	rmdir(path);
}

static struct kb_loopback *
start_service(const char *dir)
{
	char data[96];
	const char *env[] = { data, "KOMBI_ENVIRONMENT=development",
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared",
		"KOMBI_SERVICE_SECRET=" SECRET, "KOMBI_LOG_LEVEL=error",
		"STACKKITS_URL=http://127.0.0.1:9", NULL };

	snprintf(data, sizeof(data), "KOMBI_DATA_DIR=%s", dir);
	return kb_loopback_start(&stack_service, env);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/kombi-stack-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	f->lo = start_service(f->dir);
	f->a = kb_arena_new(0);
	*state = f;
	return f->lo == NULL;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	kb_loopback_stop(f->lo);
	remove_tree(f->dir);
	kb_arena_free(f->a);
	free(f);
	return 0;
}

static struct kb_loopback_answer
call(struct fixture *f, const char *method, const char *target,
    const struct kb_identity *user, const char *body)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };

	return kb_loopback_call(
	    f->lo, method, target, user, NULL, body ? json : NULL, body);
}

/* A call with a session token instead of the gateway's word. */
static struct kb_loopback_answer
session_call(struct fixture *f, const char *method, const char *target,
    const char *token)
{
	const char *headers[] = {
		kb_sprintf(f->a, "Authorization: %s", token),
		NULL,
	};

	return kb_loopback_call(
	    f->lo, method, target, NULL, NULL, headers, NULL);
}

static const struct kb_json *
parse(struct fixture *f, struct kb_loopback_answer answer)
{
	const struct kb_json *j = NULL;
	const char *why = NULL;

	assert_int_equal(
	    kb_json_parse(f->a, answer.body, answer.len, &j, &why), KB_OK);
	return j;
}

static const struct kb_json *
data(struct fixture *f, struct kb_loopback_answer answer)
{
	const struct kb_json *d = kb_json_get(parse(f, answer), "data");

	if (d == NULL)
		fail_msg("%d %s", answer.status, answer.body);
	return d;
}

static const char *
error_code(struct fixture *f, struct kb_loopback_answer answer)
{
	return kb_json_str(kb_json_get(parse(f, answer), "error"), "code");
}

static const struct kb_json *
enter(struct fixture *f, const struct kb_identity *user)
{
	struct kb_loopback_answer answer = call(
	    f, "POST", EXCHANGE, user, NULL);

	if (answer.status != 200)
		fail_msg("%d %s", answer.status, answer.body);
	return parse(f, answer);
}

static const char *
create(struct fixture *f, const struct kb_identity *user, const char *body)
{
	struct kb_loopback_answer answer = call(
	    f, "POST", "/v1/stacks", user, body);

	if (answer.status != 201)
		fail_msg("%d %s", answer.status, answer.body);
	return kb_json_str(data(f, answer), "id");
}

static void
the_exchange_answers_as_the_contract_says(void **state)
{
	static const char *const members[] = { "token", "tenantId",
		"tenantSlug", "userId", "email", "role", "expiresAt",
		"redirectUrl" };
	struct fixture *f = *state;
	const struct kb_json *e = enter(f, &alice);
	int64_t expires;

	for (size_t i = 0; i < KB_COUNT(members); i++)
		if (kb_json_str(e, members[i]) == NULL)
			fail_msg("no %s", members[i]);
	assert_string_equal(kb_json_str(e, "tenantSlug"), "org-a");
	assert_string_equal(kb_json_str(e, "email"), "alice@example.com");
	assert_string_equal(
	    kb_json_str(e, "redirectUrl"), "/tenant/org-a/dashboard");
	assert_string_equal(kb_json_str(kb_json_get(e, "user"), "id"),
	    kb_json_str(e, "userId"));
	assert_true(kb_rfc3339_parse(kb_json_str(e, "expiresAt"), &expires));
	assert_true(expires > kb_wall_ms());
}

static void
the_first_user_is_admin_and_later_ones_are_members(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(kb_json_str(enter(f, &alice), "role"), "admin");
	assert_string_equal(kb_json_str(enter(f, &anna), "role"), "member");
	assert_string_equal(kb_json_str(enter(f, &alice), "role"), "admin");
}

static void
entering_twice_is_the_same_user_in_the_same_tenant(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *one = enter(f, &alice), *two = enter(f, &alice);

	assert_string_equal(
	    kb_json_str(one, "userId"), kb_json_str(two, "userId"));
	assert_string_equal(
	    kb_json_str(one, "tenantId"), kb_json_str(two, "tenantId"));
}

static void
an_empty_organisation_is_refused(void **state)
{
	struct kb_identity nobody = alice;
	struct fixture *f = *state;

	nobody.value[KB_ID_ORG] = NULL;
	assert_int_equal(call(f, "POST", EXCHANGE, &nobody, NULL).status, 400);
}

static void
organisations_that_fold_to_one_slug_get_two_tenants(void **state)
{
	struct kb_identity a = USER("a", "Org:X", "free");
	struct kb_identity b = USER("b", "org.x", "free");
	struct fixture *f = *state;
	const char *one = kb_json_str(enter(f, &a), "tenantSlug");
	const char *two = kb_json_str(enter(f, &b), "tenantSlug");

	assert_string_equal(one, "org-x");
	assert_string_not_equal(one, two);
}

static void
without_entering_nobody_gets_in(void **state)
{
	struct kb_identity visitor = anna;
	struct fixture *f = *state;

	enter(f, &alice);
	assert_string_equal(
	    error_code(f, call(f, "GET", "/v1/stacks", &visitor, NULL)),
	    "TENANT_REQUIRED");
	visitor.value[KB_ID_TENANT] = "org-a";
	assert_string_equal(
	    error_code(f, call(f, "GET", "/v1/stacks", &visitor, NULL)),
	    "TENANT_FORBIDDEN");
	visitor.value[KB_ID_TENANT] = "nowhere";
	assert_string_equal(
	    error_code(f, call(f, "GET", "/v1/stacks", &visitor, NULL)),
	    "TENANT_NOT_FOUND");
}

static void
stacks_keep_their_file_byte_for_byte(void **state)
{
	static const char
	    body[] = "{\"name\":\"home\",\"kit\":\"base-homelab\","
		     "\"spec\":\"# mine\\nname:  home\\r\\n\\tx: \\u00e4\\n\"}";
	struct fixture *f = *state;
	struct kb_loopback_answer answer;

	enter(f, &alice);
	answer = call(f, "GET",
	    kb_sprintf(f->a, "/v1/stacks/%s/spec", create(f, &alice, body)),
	    &alice, NULL);
	assert_int_equal(answer.status, 200);
	assert_string_equal(
	    answer.body, "# mine\nname:  home\r\n\tx: \xc3\xa4\n");
}

static void
another_tenants_stack_is_not_there(void **state)
{
	struct fixture *f = *state;
	struct kb_identity thief = bob;
	const char *at;

	enter(f, &alice);
	enter(f, &bob);
	at = kb_sprintf(
	    f->a, "/v1/stacks/%s", create(f, &alice, "{\"name\":\"home\"}"));
	assert_int_equal(call(f, "GET", at, &bob, NULL).status, 404);
	assert_int_equal(
	    call(f, "PATCH", at, &bob, "{\"name\":\"x\"}").status, 404);
	assert_int_equal(call(f, "DELETE", at, &bob, NULL).status, 404);
	thief.value[KB_ID_TENANT] = "org-a";
	assert_int_equal(call(f, "GET", at, &thief, NULL).status, 403);
	assert_int_equal(
	    call(f, "GET", kb_sprintf(f->a, "/tenant/org-a%s", at), &bob, NULL)
		.status,
	    403);
	assert_int_equal(call(f, "GET", at, &alice, NULL).status, 200);
}

static void
a_member_sees_its_own_and_shared_stacks_only(void **state)
{
	struct fixture *f = *state;
	const char *own, *shared, *anna_id;

	enter(f, &alice);
	anna_id = kb_json_str(enter(f, &anna), "userId");
	own = kb_sprintf(
	    f->a, "/v1/stacks/%s", create(f, &alice, "{\"name\":\"private\"}"));
	shared = kb_sprintf(f->a, "/v1/stacks/%s",
	    create(f, &alice,
		kb_sprintf(f->a, "{\"name\":\"shared\",\"members\":[\"%s\"]}",
		    anna_id)));
	assert_int_equal(call(f, "GET", own, &anna, NULL).status, 404);
	assert_int_equal(call(f, "GET", shared, &anna, NULL).status, 200);
	assert_int_equal(call(f, "DELETE", shared, &anna, NULL).status, 403);
	assert_int_equal(
	    kb_json_size(data(f, call(f, "GET", "/v1/stacks", &anna, NULL))),
	    1);
	assert_int_equal(
	    kb_json_size(data(f, call(f, "GET", "/v1/stacks", &alice, NULL))),
	    2);
}

static void
strangers_cannot_be_made_members(void **state)
{
	struct fixture *f = *state;
	const char *bob_id;

	enter(f, &alice);
	bob_id = kb_json_str(enter(f, &bob), "userId");
	assert_int_equal(
	    call(f, "POST", "/v1/stacks", &alice,
		kb_sprintf(
		    f->a, "{\"name\":\"x\",\"members\":[\"%s\"]}", bob_id))
		.status,
	    400);
}

static void
a_change_touches_only_what_was_given(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *s;
	const char *at;

	enter(f, &alice);
	at = kb_sprintf(f->a, "/v1/stacks/%s",
	    create(f, &alice,
		"{\"name\":\"home\",\"description\":\"d\",\"spec\":\"a: 1\"}"));
	s = data(f, call(f, "PATCH", at, &alice, "{\"name\":\"cabin\"}"));
	assert_string_equal(kb_json_str(s, "name"), "cabin");
	assert_string_equal(kb_json_str(s, "description"), "d");
	assert_string_equal(kb_json_str(s, "spec"), "a: 1");
	assert_int_equal(call(f, "DELETE", at, &alice, NULL).status, 204);
	assert_int_equal(call(f, "GET", at, &alice, NULL).status, 404);
}

static void
the_quota_is_exact_and_told(void **state)
{
	struct fixture *f = *state;
	struct kb_loopback_answer answer;
	const struct kb_json *details;
	int64_t limit = 0, current = 0;

	enter(f, &bob);
	create(f, &bob, "{\"name\":\"one\"}");
	create(f, &bob, "{\"name\":\"two\"}");
	answer = call(f, "POST", "/v1/stacks", &bob, "{\"name\":\"three\"}");
	assert_int_equal(answer.status, 403);
	assert_non_null(strstr(answer.headers, "X-Quota-Limit: 2"));
	assert_non_null(strstr(answer.headers, "X-Quota-Remaining: 0"));
	assert_string_equal(error_code(f, answer), "QUOTA_EXCEEDED");
	details = kb_json_get(
	    kb_json_get(parse(f, answer), "error"), "details");
	assert_true(kb_json_int(details, "limit", &limit));
	assert_true(kb_json_int(details, "current", &current));
	assert_int_equal(limit, 2);
	assert_int_equal(current, 2);
}

static void
a_session_opens_its_own_tenant_and_no_other(void **state)
{
	struct fixture *f = *state;
	const char *token = kb_json_str(enter(f, &alice), "token");

	enter(f, &bob);
	create(f, &alice, "{\"name\":\"home\"}");
	assert_int_equal(
	    session_call(f, "GET", "/tenant/org-a/v1/stacks", token).status,
	    200);
	assert_int_equal(session_call(f, "GET", "/tenant/org-a/v1/stacks",
			     kb_sprintf(f->a, "Bearer %s", token))
			     .status,
	    200);
	assert_int_equal(
	    session_call(f, "GET", "/tenant/org-b/v1/stacks", token).status,
	    401);
	assert_int_equal(
	    session_call(f, "GET", "/tenant/none/v1/stacks", token).status,
	    401);
	assert_int_equal(
	    session_call(f, "GET", "/v1/stacks", token).status, 401);
	assert_int_equal(
	    session_call(f, "GET", "/tenant/org-a/v1/stacks", "no.token.atall")
		.status,
	    401);
}

static void
a_session_can_be_refreshed(void **state)
{
	struct fixture *f = *state;
	const char *token = kb_json_str(enter(f, &alice), "token");
	struct kb_loopback_answer answer = session_call(f, "POST",
	    "/tenant/org-a/api/collections/users/auth-refresh", token);
	const char *fresh;

	assert_int_equal(answer.status, 200);
	fresh = kb_json_str(parse(f, answer), "token");
	assert_non_null(fresh);
	assert_int_equal(
	    session_call(f, "GET", "/tenant/org-a/v1/tenant", fresh).status,
	    200);
}

static void
a_suspended_tenant_refuses_its_members_at_once(void **state)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };
	struct fixture *f = *state;
	const char *token = kb_json_str(enter(f, &alice), "token");

	assert_int_equal(
	    kb_loopback_call(f->lo, "PATCH", "/api/internal/tenants/org-a",
		NULL, "admin", json, "{\"status\":\"suspended\"}")
		.status,
	    200);
	assert_int_equal(
	    call(f, "GET", "/v1/stacks", &alice, NULL).status, 403);
	assert_int_equal(
	    session_call(f, "GET", "/tenant/org-a/v1/stacks", token).status,
	    403);
	assert_int_equal(call(f, "POST", EXCHANGE, &alice, NULL).status, 403);
}

static const struct kb_json *
await_job(struct fixture *f, const char *id)
{
	const char *at = kb_sprintf(f->a, "/v1/jobs/%s", id);
	int64_t until = kb_mono_ms() + DEADLINE_MS;

	while (kb_mono_ms() < until) {
		const struct kb_json *j = data(
		    f, call(f, "GET", at, &alice, NULL));
		const char *error = kb_json_str(j, "error");

		if (error != NULL)
			return j;
		usleep(5000);
	}
	fail_msg("the job %s does not get anywhere", id);
	return NULL;
}

static void
a_job_that_cannot_reach_stackkits_says_so_and_is_tried_again(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *log;
	struct kb_loopback_answer answer;
	const char *stack, *job;

	enter(f, &alice);
	stack = create(f, &alice, "{\"name\":\"home\",\"spec\":\"a: 1\"}");
	answer = call(f, "POST",
	    kb_sprintf(f->a, "/v1/stacks/%s/validate", stack), &alice, NULL);
	assert_int_equal(answer.status, 202);
	job = kb_json_str(data(f, answer), "jobId");
	assert_string_equal(
	    kb_json_str(await_job(f, job), "status"), "pending");
	log = data(f,
	    call(f, "GET", kb_sprintf(f->a, "/v1/jobs/%s/logs", job), &alice,
		NULL));
	assert_true(kb_json_size(kb_json_get(log, "lines")) >= 3);
	assert_false(kb_json_bool(log, "done", true));
	/* Resuming after the second line gives the third one first. */
	log = data(f,
	    call(f, "GET", kb_sprintf(f->a, "/v1/jobs/%s/logs?after=2", job),
		&alice, NULL));
	int64_t seq = 0;
	assert_true(
	    kb_json_int(kb_json_at(kb_json_get(log, "lines"), 0), "seq", &seq));
	assert_int_equal(seq, 3);
	enter(f, &bob);
	assert_int_equal(
	    call(f, "GET", kb_sprintf(f->a, "/v1/jobs/%s", job), &bob, NULL)
		.status,
	    404);
	answer = call(f, "POST", kb_sprintf(f->a, "/v1/jobs/%s/cancel", job),
	    &alice, NULL);
	assert_int_equal(answer.status, 200);
	assert_string_equal(
	    kb_json_str(data(f, answer), "status"), "cancelled");
}

static void
a_restart_finds_everything_again(void **state)
{
	struct fixture *f = *state;
	const char *token = kb_json_str(enter(f, &alice), "token");

	create(f, &alice, "{\"name\":\"home\"}");
	kb_loopback_stop(f->lo);
	f->lo = start_service(f->dir);
	assert_non_null(f->lo);
	assert_int_equal(
	    kb_json_size(data(
		f, session_call(f, "GET", "/tenant/org-a/v1/stacks", token))),
	    1);
}

static void
provisioning_is_for_admin_and_may_be_repeated(void **state)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };
	static const char
	    body[] = "{\"slug\":\"acme\",\"name\":\"Acme\","
		     "\"zitadelOrgId\":\"org-a\",\"plan\":\"pro\","
		     "\"maxUsers\":7}";
	static const char other[] = "{\"slug\":\"acme\",\"name\":\"Acme\","
				    "\"zitadelOrgId\":\"org-c\"}";
	struct fixture *f = *state;
	const char *at = "/api/internal/tenants";

	assert_int_equal(
	    kb_loopback_call(f->lo, "POST", at, NULL, "admin", json, body)
		.status,
	    201);
	assert_int_equal(
	    kb_loopback_call(f->lo, "POST", at, NULL, "admin", json, body)
		.status,
	    200);
	assert_int_equal(
	    kb_loopback_call(f->lo, "POST", at, NULL, "admin", json, other)
		.status,
	    409);
	assert_int_equal(
	    kb_loopback_call(f->lo, "POST", at, NULL, "sim", json, body).status,
	    403);
	assert_int_equal(call(f, "POST", at, &alice, body).status, 403);
	assert_string_equal(
	    kb_json_str(enter(f, &alice), "tenantSlug"), "acme");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_exchange_answers_as_the_contract_says),
		CASE(the_first_user_is_admin_and_later_ones_are_members),
		CASE(entering_twice_is_the_same_user_in_the_same_tenant),
		CASE(an_empty_organisation_is_refused),
		CASE(organisations_that_fold_to_one_slug_get_two_tenants),
		CASE(without_entering_nobody_gets_in),
		CASE(stacks_keep_their_file_byte_for_byte),
		CASE(another_tenants_stack_is_not_there),
		CASE(a_member_sees_its_own_and_shared_stacks_only),
		CASE(strangers_cannot_be_made_members),
		CASE(a_change_touches_only_what_was_given),
		CASE(the_quota_is_exact_and_told),
		CASE(a_session_opens_its_own_tenant_and_no_other),
		CASE(a_session_can_be_refreshed),
		CASE(a_suspended_tenant_refuses_its_members_at_once),
		CASE(
		    a_job_that_cannot_reach_stackkits_says_so_and_is_tried_again),
		CASE(a_restart_finds_everything_again),
		CASE(provisioning_is_for_admin_and_may_be_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
