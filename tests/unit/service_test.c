/* A service without a socket: who may call what, and how it is answered. */
#include "test.h"

#include <kombi/identity.h>
#include <kombi/service.h>
#include <kombi/str.h>

struct note {
	const char *name;
	int64_t size;
};

static const struct kb_rule note_rules[] = {
	KB_RULE_STR(struct note, name, .required = true, .min = 1, .max = 10),
	KB_RULE_INT(struct note, size, .min = 1, .max = 9),
	KB_RULES_END,
};

static void
user_json(struct kb_jsonw *w, const void *obj)
{
	const struct kb_user *u = obj;

	kb_w_str(w, "sub", u->sub);
	kb_w_str(w, "name", u->name);
	kb_w_str(w, "service", u->service);
	kb_w_str(w, "tenant", u->tenant);
	kb_w_str(w, "plan", kb_plan_name(u->plan));
}

static struct kb_reply
whoami(struct kb_request *req)
{
	return kb_data(req, 200, user_json, &req->user);
}

static void
note_json(struct kb_jsonw *w, const void *obj)
{
	const struct note *n = obj;

	kb_w_str(w, "name", n->name);
	kb_w_int(w, "size", n->size);
}

static struct kb_reply
note_create(struct kb_request *req)
{
	struct note n = { .size = 1 };

	if (!kb_read_body(req, note_rules, &n))
		return kb_invalid(req);
	kb_reply_header(req, "Location", "/notes/1");
	return kb_data(req, 201, note_json, &n);
}

static struct kb_reply
note_list(struct kb_request *req)
{
	static const struct note notes[] = { { "a", 1 }, { "b", 2 } };
	struct kb_page page;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	page.total = 2;
	return kb_items(
	    req, note_json, notes, KB_COUNT(notes), sizeof(notes[0]), &page);
}

static struct kb_reply
note_get(struct kb_request *req)
{
	struct note n = { .name = kb_param(req, "id"), .size = 1 };

	return kb_bare(req, 200, note_json, &n);
}

static struct kb_reply
note_find(struct kb_request *req)
{
	struct note n = { .name = kb_query_param(req, "q"), .size = 1 };

	return kb_bare(req, 200, note_json, &n);
}

static struct kb_reply
raw(struct kb_request *req)
{
	return kb_bytes_reply(req, 200, "text/plain", req->body, req->body_len);
}

static const struct kb_route routes[] = {
	KB_GET("/public", KB_PUBLIC, whoami),
	KB_GET("/user", KB_USER, whoami),
	KB_GET("/both", KB_USER_OR_SERVICE("admin"), whoami),
	KB_GET("/service", KB_SERVICE("admin", "sim"), whoami),
	KB_GET(
	    "/platform", KB_PLATFORM("kombisphere_admin", "support"), whoami),
	KB_GET("/tenant", KB_TENANT(KB_ROLE_MEMBER), whoami),
	KB_GET("/notes", KB_PUBLIC, note_list),
	KB_POST("/notes", KB_PUBLIC, note_create, .body = note_rules,
	    .body_limit = 100, .returns = "201 The note; 409 There is one"),
	KB_GET("/notes/{id}", KB_PUBLIC, note_get),
	KB_GET("/find", KB_PUBLIC, note_find),
	KB_POST("/raw", KB_PUBLIC, raw, .flags = KB_RAW_BODY),
	KB_ROUTES_END,
};

static int tenant_done_calls;

/* Roles by tenant: who names "own" is a member, "look" a viewer. */
static enum kb_err
tenant(struct kb_request *req)
{
	if (req->user.tenant == NULL)
		return KB_TENANT_REQUIRED;
	if (strcmp(req->user.tenant, "own") == 0)
		req->role = KB_ROLE_MEMBER;
	else if (strcmp(req->user.tenant, "look") == 0)
		req->role = KB_ROLE_VIEWER;
	else
		return KB_TENANT_FORBIDDEN;
	return KB_OK;
}

static void
tenant_done(struct kb_request *req)
{
	(void)req;
	tenant_done_calls++;
}

static enum kb_err
session(struct kb_request *req, struct kb_slice token)
{
	if (!kb_slice_eq(token, "local-session"))
		return KB_AUTH_INVALID;
	req->user.sub = "local-user";
	req->user.tenant = "own";
	return KB_OK;
}

static const char *faulty; /* name of the check that fails */

static const char *
check_storage(struct kb_app *app, struct kb_arena *a)
{
	(void)app;
	(void)a;
	return kb_str_eq(faulty, "storage") ? "disk /secret is full" : NULL;
}

static const char *
check_cache(struct kb_app *app, struct kb_arena *a)
{
	(void)app;
	(void)a;
	return kb_str_eq(faulty, "cache") ? "gone" : NULL;
}

static const struct kb_check checks[] = {
	{ "storage", check_storage, true },
	{ "cache", check_cache, false },
	{ NULL, NULL, false },
};

static const struct kb_service service = {
	.name = "notes",
	.title = "Notes",
	.port = 1,
	.routes = routes,
	.tenant = tenant,
	.tenant_done = tenant_done,
	.checks = checks,
};

static int
setup(void **state)
{
	faulty = NULL;
	tenant_done_calls = 0;
	*state = kb_loopback_start(&service, NULL);
	return *state == NULL;
}

static int
teardown(void **state)
{
	kb_loopback_stop(*state);
	return 0;
}

static const struct kb_identity alice = { .value = {
					      [KB_ID_USER] = "alice",
					      [KB_ID_NAME] = "Al%C3%AFce%20A",
					      [KB_ID_ORG] = "org_a",
					      [KB_ID_ROLES] = "member,support",
					      [KB_ID_PLAN] = "pro",
					      [KB_ID_TENANT] = "own",
					  } };

static const struct kb_identity
    bob = { .value = {
		[KB_ID_USER] = "bob",
		[KB_ID_ROLES] = "supporters,kombisphere",
		[KB_ID_TENANT] = "look",
	    } };

static const struct kb_identity nobody = { .value = { NULL } };

static void
every_permission_lets_in_whom_it_names_and_no_one_else(void **state)
{
	static const struct {
		const char *path;
		const struct kb_identity *user;
		const char *caller;
		int status;
		const char *part; /* of the body */
	} cases[] = {
		{ "/public", NULL, NULL, 200, "\"sub\":null" },
		{ "/public", &alice, NULL, 200, "\"sub\":\"alice\"" },
		{ "/user", NULL, NULL, 401, "AUTH_REQUIRED" },
		{ "/user", &nobody, NULL, 401, "AUTH_REQUIRED" },
		{ "/user", &alice, NULL, 200,
		    "\"name\":\"Al\xc3\xaf"
		    "ce A\"" },
		{ "/user", NULL, "admin", 401, "AUTH_INVALID" },
		{ "/both", &alice, NULL, 200, "\"plan\":\"pro\"" },
		{ "/both", NULL, "admin", 200, "\"service\":\"admin\"" },
		{ "/both", NULL, "sim", 403, "AUTH_INSUFFICIENT" },
		{ "/service", NULL, NULL, 401, "AUTH_REQUIRED" },
		{ "/service", NULL, "sim", 200, "\"service\":\"sim\"" },
		{ "/service", NULL, "stack", 403, "AUTH_INSUFFICIENT" },
		{ "/service", &alice, NULL, 403, "AUTH_INSUFFICIENT" },
		{ "/platform", &alice, NULL, 200, "alice" },
		{ "/platform", &bob, NULL, 403, "AUTH_INSUFFICIENT" },
		{ "/platform", NULL, "admin", 401, "AUTH_INVALID" },
		{ "/tenant", NULL, NULL, 401, "AUTH_REQUIRED" },
		{ "/tenant", &alice, NULL, 200, "\"tenant\":\"own\"" },
		{ "/tenant", &bob, NULL, 403, "AUTH_INSUFFICIENT" },
		{ "/tenant", NULL, "admin", 401, "AUTH_INVALID" },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_loopback_answer a = kb_loopback_call(*state, "GET",
		    cases[i].path, cases[i].user, cases[i].caller, NULL, NULL);

		if (a.status != cases[i].status)
			fail_msg("case %zu (%s): %d instead of %d", i,
			    cases[i].path, a.status, cases[i].status);
		test_contains(a.body, cases[i].part);
	}
}

static void
identity_without_a_fitting_proof_is_refused(void **state)
{
	static const char *const forged[] = { "X-User-ID: root", NULL };
	static const char *const alias[] = { "X_User_Roles: root", NULL };
	static const char *const stale[] = { "X-User-ID: root",
		"X-Kombi-Proof: t=1,k=00000000,v1=00", NULL };
	static const char *const twice[] = { "X-Org-ID: org_b", NULL };
	const char *const *const sets[] = { forged, alias, stale };

	for (size_t i = 0; i < KB_COUNT(sets); i++) {
		struct kb_loopback_answer a = kb_loopback_call(
		    *state, "GET", "/user", NULL, NULL, sets[i], NULL);

		assert_int_equal(a.status, 401);
		test_contains(a.body, "AUTH_INVALID");
		test_contains(a.headers, "WWW-Authenticate: Bearer\r\n");
	}
	assert_int_equal(
	    kb_loopback_call(*state, "GET", "/user", &alice, NULL, twice, NULL)
		.status,
	    401);
	/* On a public route a bad proof names nobody. */
	assert_string_equal(
	    kb_loopback_call(*state, "GET", "/public", NULL, NULL, stale, NULL)
		    .body +
		sizeof("{\"data\":{") - 1,
	    "\"sub\":null,\"name\":null,\"service\":null,\"tenant\":null,"
	    "\"plan\":\"free\"}}");
}

static void
in_saas_a_user_has_to_come_through_the_gateway(void **state)
{
	static const char *const env[] = {
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared", NULL
	};
	struct kb_loopback *saas = kb_loopback_start(&service, env);
	struct kb_loopback_answer a;

	(void)state;
	assert_non_null(saas);
	a = kb_loopback_call(saas, "GET", "/user", NULL, NULL, NULL, NULL);
	assert_int_equal(a.status, 401);
	test_contains(a.body, "KONG_AUTH_REQUIRED");
	a = kb_loopback_call(saas, "GET", "/service", NULL, NULL, NULL, NULL);
	test_contains(a.body, "AUTH_REQUIRED");
	a = kb_loopback_call(saas, "GET", "/public", NULL, NULL, NULL, NULL);
	assert_int_equal(a.status, 200);
	kb_loopback_stop(saas);
}

static void
a_services_own_sessions_open_user_and_tenant_routes(void **state)
{
	static const char *const good[] = { "Authorization: local-session",
		NULL };
	static const char *const bearer[] = {
		"Authorization: Bearer local-session", NULL
	};
	static const char *const bad[] = { "Authorization: other", NULL };
	struct kb_service own = service;
	struct kb_loopback *lo;

	(void)state;
	own.session = session;
	lo = kb_loopback_start(&own, NULL);
	assert_non_null(lo);
	assert_int_equal(
	    kb_loopback_call(lo, "GET", "/user", NULL, NULL, good, NULL).status,
	    200);
	assert_int_equal(
	    kb_loopback_call(lo, "GET", "/tenant", NULL, NULL, bearer, NULL)
		.status,
	    200);
	assert_int_equal(
	    kb_loopback_call(lo, "GET", "/user", NULL, NULL, bad, NULL).status,
	    401);
	assert_int_equal(
	    kb_loopback_call(lo, "GET", "/platform", NULL, NULL, good, NULL)
		.status,
	    401);
	assert_int_equal(
	    kb_loopback_call(lo, "GET", "/both", NULL, "sim", NULL, NULL)
		.status,
	    403);
	kb_loopback_stop(lo);
}

static void
a_tenant_that_was_entered_is_left(void **state)
{
	kb_loopback_call(*state, "GET", "/tenant", &alice, NULL, NULL, NULL);
	assert_int_equal(tenant_done_calls, 1);
	kb_loopback_call(*state, "GET", "/tenant", &bob, NULL, NULL, NULL);
	assert_int_equal(tenant_done_calls, 2);
	kb_loopback_call(*state, "GET", "/user", &bob, NULL, NULL, NULL);
	assert_int_equal(tenant_done_calls, 2);
}

static void
requests_are_answered_by_the_contract(void **state)
{
	static const char *const text[] = { "Content-Type: text/plain", NULL };
	static const char *const utf8[] = {
		"Content-Type: application/json; charset=utf-8", NULL
	};
	static const struct {
		const char *method, *target;
		const char *const *headers;
		const char *body;
		int status;
		const char *part;
	} cases[] = {
		{ "GET", "/nope", NULL, NULL, 404, "\"NOT_FOUND\"" },
		{ "GET", "/notes/", NULL, NULL, 404, "\"NOT_FOUND\"" },
		{ "PUT", "/notes", NULL, NULL, 405, "METHOD_NOT_ALLOWED" },
		{ "OPTIONS", "/notes", NULL, NULL, 204, "" },
		{ "HEAD", "/notes", NULL, NULL, 200, "" },
		{ "GET", "/notes/a%C3%A9", NULL, NULL, 200,
		    "{\"name\":\"a\xc3\xa9\",\"size\":1}" },
		{ "GET", "/notes/%FF", NULL, NULL, 400, "VALIDATION_FAILED" },
		{ "GET", "/notes/a%0Ab", NULL, NULL, 400, "VALIDATION_FAILED" },
		{ "GET", "/find?p=1&q=a+b%26c&q=2", NULL, NULL, 200,
		    "{\"name\":\"a b&c\",\"size\":1}" },
		{ "GET", "/find?q", NULL, NULL, 200, "{\"name\":\"\"," },
		{ "GET", "/find?q=%ff", NULL, NULL, 400, "VALIDATION_FAILED" },
		{ "POST", "/notes", NULL, "{\"name\":\"a\",\"size\":3}", 201,
		    "{\"data\":{\"name\":\"a\",\"size\":3}}" },
		{ "POST", "/notes", utf8, "{\"name\":\"a\"}", 201, "\"a\"" },
		{ "POST", "/notes", text, "{\"name\":\"a\"}", 415,
		    "UNSUPPORTED_MEDIA_TYPE" },
		{ "POST", "/notes", NULL, NULL, 400, "A JSON body is" },
		{ "POST", "/notes", NULL, "[]", 400, "must be a JSON object" },
		{ "POST", "/notes", NULL, "{\"name\":", 400, "Invalid JSON" },
		{ "POST", "/notes", NULL, "{\"size\":99,\"x\":1}", 400,
		    "\"details\":{\"fields\":{" },
		{ "POST", "/raw", text, "anything", 200, "anything" },
		{ "GET", "/notes?page=2&limit=5", NULL, NULL, 200,
		    "],\"meta\":{\"page\":2,\"limit\":5,\"total\":2}}" },
		{ "GET", "/notes?limit=101", NULL, NULL, 400,
		    "\"limit\":\"must be between 1 and 100\"" },
		{ "GET", "/notes?page=0&limit=x", NULL, NULL, 400,
		    "\"page\":\"must be" },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_loopback_answer a = kb_loopback_call(*state,
		    cases[i].method, cases[i].target, NULL, NULL,
		    cases[i].headers, cases[i].body);

		if (a.status != cases[i].status)
			fail_msg("%s %s: %d instead of %d, %s", cases[i].method,
			    cases[i].target, a.status, cases[i].status, a.body);
		test_contains(a.body, cases[i].part);
		test_contains(a.headers, "X-Content-Type-Options: nosniff");
		test_contains(a.headers, "Cache-Control: no-store");
		test_contains(a.headers, "X-Request-ID: req_");
	}
}

static void
bodies_over_the_routes_limit_are_refused(void **state)
{
	char body[128];

	memset(body, ' ', sizeof(body));
	memcpy(body, "{}", 2);
	body[101] = '\0';
	assert_int_equal(
	    kb_loopback_call(*state, "POST", "/notes", NULL, NULL, NULL, body)
		.status,
	    413);
}

static void
replies_carry_the_handlers_headers_and_allow(void **state)
{
	struct kb_loopback_answer a = kb_loopback_call(
	    *state, "POST", "/notes", NULL, NULL, NULL, "{\"name\":\"a\"}");

	test_contains(a.headers, "Location: /notes/1\r\n");
	a = kb_loopback_call(*state, "PATCH", "/notes", NULL, NULL, NULL, NULL);
	test_contains(a.headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
	a = kb_loopback_call(
	    *state, "OPTIONS", "/notes", NULL, NULL, NULL, NULL);
	test_contains(a.headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
}

static void
health_tells_which_check_fails_and_not_why(void **state)
{
	static const struct {
		const char *faulty;
		int health, ready;
		const char *part;
	} cases[] = {
		{ NULL, 200, 200, "{\"status\":\"healthy\",\"version\":" },
		{ "cache", 200, 200, "\"cache\":\"error\"" },
		{ "cache", 200, 200, "\"degraded\"" },
		{ "storage", 503, 503, "\"unhealthy\"" },
		{ "storage", 503, 503,
		    "{\"storage\":\"error\",\"cache\":\"ok\"}" },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_loopback_answer a;

		faulty = cases[i].faulty;
		a = kb_loopback_call(
		    *state, "GET", "/health", NULL, NULL, NULL, NULL);
		assert_int_equal(a.status, cases[i].health);
		test_contains(a.body, cases[i].part);
		assert_null(strstr(a.body, "secret"));
		a = kb_loopback_call(
		    *state, "GET", "/ready", NULL, NULL, NULL, NULL);
		assert_int_equal(a.status, cases[i].ready);
		assert_int_equal(a.len, 0);
	}
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_permission_lets_in_whom_it_names_and_no_one_else),
		T(identity_without_a_fitting_proof_is_refused),
		T(in_saas_a_user_has_to_come_through_the_gateway),
		T(a_services_own_sessions_open_user_and_tenant_routes),
		T(a_tenant_that_was_entered_is_left),
		T(requests_are_answered_by_the_contract),
		T(bodies_over_the_routes_limit_are_refused),
		T(replies_carry_the_handlers_headers_and_allow),
		T(health_tells_which_check_fails_and_not_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
