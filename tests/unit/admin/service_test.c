/* The admin service through the loopback, on a PostgreSQL of its own. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/json.h>
#include <kombi/time.h>

#include "admin.h"
#include "pgsql.h"

#define PASSWORD_IN_URL "correct%20horse%20%25%20battery"

static struct pgsql server;
static struct kb_loopback *lo;
static struct kb_arena *arena;

#define USER(sub, org, roles, plan)                                            \
	{                                                                      \
		.value = { sub, sub "%40example.com", sub, org, roles, plan }  \
	}

static const struct kb_identity root = USER(
    "root", "org-k", "kombisphere_admin", "enterprise");

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
call(const char *method, const char *target, const struct kb_identity *user,
    const char *body)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };

	return kb_loopback_call(
	    lo, method, target, user, NULL, body ? json : NULL, body);
}

static struct kb_loopback_answer
service_call(const char *method, const char *target, const char *caller,
    const char *body)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };

	return kb_loopback_call(
	    lo, method, target, NULL, caller, body ? json : NULL, body);
}

static const struct kb_json *
parse(struct kb_loopback_answer answer)
{
	const struct kb_json *j = NULL;
	const char *why = NULL;

	assert_int_equal(
	    kb_json_parse(arena, answer.body, answer.len, &j, &why), KB_OK);
	return j;
}

static const struct kb_json *
data(struct kb_loopback_answer answer)
{
	const struct kb_json *d = kb_json_get(parse(answer), "data");

	if (d == NULL)
		fail_msg("%d %s", answer.status, answer.body);
	return d;
}

static const char *
error_code(struct kb_loopback_answer answer)
{
	return kb_json_str(kb_json_get(parse(answer), "error"), "code");
}

static void
a_user_creates_the_tenant_of_its_organisation(void **state)
{
	static const struct kb_identity alice = USER(
	    "alice", "org-a", "user", "pro");
	struct kb_loopback_answer answer = call("POST", "/v1/tenants", &alice,
	    "{\"slug\":\"acme\",\"name\":\"Acme\"}");
	const struct kb_json *t;
	int64_t users = 0;

	(void)state;
	if (answer.status != 201)
		fail_msg("%d %s", answer.status, answer.body);
	t = data(answer);
	assert_string_equal(kb_json_str(t, "slug"), "acme");
	assert_string_equal(kb_json_str(t, "orgId"), "org-a");
	assert_string_equal(kb_json_str(t, "plan"), "PRO");
	assert_true(kb_json_int(t, "maxUsers", &users));
	assert_int_equal(users, 10);
	assert_int_equal(
	    kb_json_size(data(call("GET", "/v1/tenants", &alice, NULL))), 1);
	assert_string_equal(error_code(call("POST", "/v1/tenants", &alice,
				"{\"slug\":\"acme2\",\"name\":\"Acme\"}")),
	    "CONFLICT");
}

static void
a_slug_belongs_to_one_tenant(void **state)
{
	static const struct kb_identity one = USER(
	    "o1", "org-one", "user", "free");
	static const struct kb_identity two = USER(
	    "o2", "org-two", "user", "free");

	(void)state;
	assert_int_equal(call("POST", "/v1/tenants", &one,
			     "{\"slug\":\"taken\",\"name\":\"One\"}")
			     .status,
	    201);
	assert_int_equal(call("POST", "/v1/tenants", &two,
			     "{\"slug\":\"taken\",\"name\":\"Two\"}")
			     .status,
	    409);
	assert_int_equal(
	    kb_json_size(data(call("GET", "/v1/tenants", &two, NULL))), 0);
}

static void
nobody_chooses_plan_or_organisation_of_its_own_tenant(void **state)
{
	static const struct kb_identity eve = USER(
	    "eve", "org-eve", "user", "free");

	(void)state;
	assert_int_equal(call("POST", "/v1/tenants", &eve,
			     "{\"slug\":\"eve\",\"name\":\"E\","
			     "\"plan\":\"enterprise\"}")
			     .status,
	    400);
	assert_int_equal(call("POST", "/v1/tenants", &eve,
			     "{\"slug\":\"eve\",\"name\":\"E\","
			     "\"orgId\":\"org-a\"}")
			     .status,
	    400);
	assert_int_equal(call("POST", "/v1/tenants", &eve,
			     "{\"slug\":\"admin\",\"name\":\"E\"}")
			     .status,
	    400);
}

static void
services_find_where_a_tenant_lives(void **state)
{
	static const struct kb_identity gina = USER(
	    "gina", "org-g", "user", "pro");
	const struct kb_json *list, *instance;

	(void)state;
	assert_int_equal(call("POST", "/v1/tenants", &gina,
			     "{\"slug\":\"gina\",\"name\":\"G\"}")
			     .status,
	    201);
	list = data(service_call(
	    "GET", "/api/internal/tenants/by-org/org-g", "gateway", NULL));
	assert_int_equal(kb_json_size(list), 1);
	instance = kb_json_get(kb_json_at(list, 0), "instance");
	assert_string_equal(
	    kb_json_str(instance, "internalEndpoint"), "http://127.0.0.1:9");
	assert_int_equal(
	    kb_json_size(data(service_call("GET",
		"/api/internal/tenants/by-org/org-none", "gateway", NULL))),
	    0);
	assert_int_equal(service_call("GET",
			     "/api/internal/tenants/by-org/org-g", "sim", NULL)
			     .status,
	    403);
	assert_int_equal(
	    call("GET", "/api/internal/tenants/by-org/org-g", &gina, NULL)
		.status,
	    403);
}

static void
only_platform_administrators_reach_admin_routes(void **state)
{
	static const struct kb_identity org_admin = USER(
	    "oa", "org-a", "admin", "pro");
	static const struct kb_identity almost = USER(
	    "al", "org-a", "not_kombisphere_admin,user", "pro");
	static const char *const routes[] = { "/v1/admin/users",
		"/v1/admin/tenants", "/v1/admin/instances" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(routes); i++) {
		assert_int_equal(
		    call("GET", routes[i], &org_admin, NULL).status, 403);
		assert_int_equal(
		    call("GET", routes[i], &almost, NULL).status, 403);
		assert_int_equal(
		    call("GET", routes[i], NULL, NULL).status, 401);
		assert_int_equal(
		    call("GET", routes[i], &root, NULL).status, 200);
	}
}

static void
numbers_of_a_tenant_are_checked(void **state)
{
	static const char *const values[] = { "1.5", "-1", "\"5\"", "true",
		"1e999" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(values); i++)
		assert_int_equal(
		    call("POST", "/v1/admin/tenants", &root,
			kb_sprintf(arena,
			    "{\"slug\":\"t1\",\"name\":\"T\",\"orgId\":\"o1\","
			    "\"maxNodes\":%s}",
			    values[i]))
			.status,
		    400);
}

struct race {
	pthread_t thread;
	struct kb_cx cx;
	char slug[32], org[32];
	enum kb_err err;
};

static void *
create_one(void *arg)
{
	struct race *r = arg;
	struct tenant t = {
		.id = r->slug,
		.slug = r->slug,
		.name = r->slug,
		.org = r->org,
		.plan = "FREE",
		.max_users = 5,
		.max_nodes = 3,
	};

	r->err = tenant_create(&r->cx, &t, "http://127.0.0.1:9");
	return NULL;
}

/* Twelve at once for an instance with room for five. */
static void
an_instance_never_gets_more_tenants_than_it_has_room_for(void **state)
{
	enum { RACERS = 12, ROOM = 5 };
	struct kb_app *app = kb_loopback_app(lo);
	struct kb_cx cx = { .arena = arena, .db = app->db };
	struct race races[RACERS];
	struct instance i;
	int placed = 0, refused = 0;

	(void)state;
	assert_int_equal(kb_exec(&cx,
			     "UPDATE kombistack_instances"
			     " SET max_tenants = current_tenants + $1",
			     KB_INT(ROOM)),
	    KB_OK);
	for (int n = 0; n < RACERS; n++) {
		struct race *r = &races[n];

		*r = (struct race) { .cx = cx };
		r->cx.arena = kb_arena_new(0);
		snprintf(r->slug, sizeof(r->slug), "race-%d", n);
		snprintf(r->org, sizeof(r->org), "org-race-%d", n);
		pthread_create(&r->thread, NULL, create_one, r);
	}
	for (int n = 0; n < RACERS; n++) {
		pthread_join(races[n].thread, NULL);
		kb_arena_free(races[n].cx.arena);
		placed += races[n].err == KB_OK;
		refused += races[n].err == KB_UNAVAILABLE;
	}
	assert_int_equal(placed, ROOM);
	assert_int_equal(refused, RACERS - ROOM);
	struct instance *all;
	size_t n;
	assert_int_equal(instances_all(&cx, &all, &n), KB_OK);
	i = all[0];
	assert_int_equal(i.current_tenants, i.max_tenants);
	assert_int_equal(kb_exec(&cx,
			     "UPDATE kombistack_instances"
			     " SET max_tenants = 10000 WHERE id = $1",
			     KB_TEXT(i.id)),
	    KB_OK);
}

static void
an_unhealthy_instance_gets_no_tenants(void **state)
{
	static const struct kb_identity hans = USER(
	    "hans", "org-h", "user", "free");
	const struct kb_json *list = data(
	    call("GET", "/v1/admin/instances", &root, NULL));
	const char *id = kb_json_str(kb_json_at(list, 0), "id");

	(void)state;
	assert_int_equal(
	    service_call("POST", "/api/internal/instances/health", "stack",
		kb_sprintf(arena,
		    "{\"instanceId\":\"%s\",\"timestamp\":\"%s\","
		    "\"status\":\"unhealthy\"}",
		    id, kb_now_text(arena)))
		.status,
	    202);
	assert_int_equal(call("POST", "/v1/tenants", &hans,
			     "{\"slug\":\"hans\",\"name\":\"H\"}")
			     .status,
	    503);
	usleep(2000); /* the next report must be newer by its millisecond */
	assert_int_equal(
	    service_call("POST", "/api/internal/instances/health", "stack",
		kb_sprintf(arena,
		    "{\"instanceId\":\"%s\",\"timestamp\":\"%s\","
		    "\"status\":\"healthy\",\"metrics\":{\"cpuPercent\":12.5,"
		    "\"memoryPercent\":40,\"tenantCount\":1}}",
		    id, kb_now_text(arena)))
		.status,
	    202);
	assert_int_equal(call("POST", "/v1/tenants", &hans,
			     "{\"slug\":\"hans\",\"name\":\"H\"}")
			     .status,
	    201);
	assert_int_equal(
	    kb_json_size(data(call("GET",
		kb_sprintf(arena, "/v1/admin/instances/%s/health", id), &root,
		NULL))),
	    2);
	assert_int_equal(
	    service_call("POST", "/api/internal/instances/health", "stack",
		kb_sprintf(arena,
		    "{\"instanceId\":\"ins_none\",\"timestamp\":\"%s\","
		    "\"status\":\"healthy\"}",
		    kb_now_text(arena)))
		.status,
	    404);
}

static void
users_are_kept_by_sub(void **state)
{
	const struct kb_json *u;

	(void)state;
	assert_int_equal(service_call("POST", "/api/internal/users", "cloud",
			     "{\"sub\":\"u-1\",\"email\":\"u@example.com\"}")
			     .status,
	    201);
	assert_int_equal(service_call("POST", "/api/internal/users", "cloud",
			     "{\"sub\":\"u-1\",\"name\":\"Ulla\"}")
			     .status,
	    200);
	u = parse(
	    service_call("GET", "/api/internal/users/u-1", "cloud", NULL));
	assert_string_equal(kb_json_str(u, "email"), "u@example.com");
	assert_string_equal(kb_json_str(u, "displayName"), "Ulla");
	assert_int_equal(
	    service_call("GET", "/api/internal/users/none", "cloud", NULL)
		.status,
	    404);
	assert_int_equal(service_call("POST", "/api/internal/users", "cloud",
			     "{\"sub\":\"a b\"}")
			     .status,
	    400);
}

static void
the_public_catalog_needs_no_account_and_filters(void **state)
{
	struct kb_loopback_answer answer = call(
	    "GET", "/v1/catalog/public", NULL, NULL);

	(void)state;
	assert_int_equal(answer.status, 200);
	assert_int_equal(kb_json_size(data(answer)), 14);
	assert_int_equal(
	    kb_json_size(data(call("GET",
		"/v1/catalog/public?category=reverse-proxy", NULL, NULL))),
	    2);
	assert_int_equal(kb_json_size(data(call("GET",
			     "/v1/catalog/public?q=grafana", NULL, NULL))),
	    1);
	/* A search for LIKE's own signs finds them only. */
	assert_int_equal(kb_json_size(data(call(
			     "GET", "/v1/catalog/public?q=%25", NULL, NULL))),
	    0);
	assert_int_equal(
	    kb_json_size(data(call("GET",
		"/v1/catalog/public?q=%27%3B%20DROP%20TABLE%20tools", NULL,
		NULL))),
	    0);
	assert_int_equal(kb_json_size(data(call(
			     "GET", "/v1/catalog/categories", NULL, NULL))),
	    27);
	assert_int_equal(
	    call("GET", "/v1/catalog/public?limit=0", NULL, NULL).status, 400);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_user_creates_the_tenant_of_its_organisation),
		cmocka_unit_test(a_slug_belongs_to_one_tenant),
		cmocka_unit_test(
		    nobody_chooses_plan_or_organisation_of_its_own_tenant),
		cmocka_unit_test(services_find_where_a_tenant_lives),
		cmocka_unit_test(
		    only_platform_administrators_reach_admin_routes),
		cmocka_unit_test(numbers_of_a_tenant_are_checked),
		cmocka_unit_test(
		    an_instance_never_gets_more_tenants_than_it_has_room_for),
		cmocka_unit_test(an_unhealthy_instance_gets_no_tenants),
		cmocka_unit_test(users_are_kept_by_sub),
		cmocka_unit_test(
		    the_public_catalog_needs_no_account_and_filters),
	};
	const char *why = pgsql_find(&server);

	if (why != NULL) {
		print_message("skipped: %s\n", why);
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
