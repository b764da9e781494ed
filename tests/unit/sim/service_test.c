/* The sim service through the loopback: what its users may and may not do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/json.h>
#include <kombi/time.h>

#include "sim.h"

#define SECRET "unit-test-secret-0123456789-abcdefghij"
#define DEADLINE_MS 10000

struct fixture {
	struct kb_loopback *lo;
	struct kb_arena *a;
	char dir[64];
};

static const struct kb_identity alice = {
	.value = { "alice", "alice%40example.com", "Alice", "org-a", "user",
	    "free", "acme" },
};
static const struct kb_identity bob = {
	.value = { "bob", "bob%40example.com", "Bob", "org-b", "user", "pro",
	    "beta" },
};
static const struct kb_identity viewer = {
	.value = { "vera", NULL, NULL, "org-a", "viewer", "free", "acme" },
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char data[96];
	const char *env[] = { data, "KOMBI_ENVIRONMENT=development",
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared",
		"KOMBI_SERVICE_SECRET=" SECRET, "KOMBI_LOG_LEVEL=error", NULL };

	snprintf(f->dir, sizeof(f->dir), "/tmp/kombi-sim-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(data, sizeof(data), "KOMBI_DATA_DIR=%s", f->dir);
	f->lo = kb_loopback_start(&sim_service, env);
	f->a = kb_arena_new(0);
	*state = f;
	return f->lo == NULL;
}

static int
teardown(void **state)
{
	static const char *const names[] = { "sim.db", "sim.db-wal",
		"sim.db-shm", "sim.db.lock" };
	struct fixture *f = *state;
	char path[128];

	kb_loopback_stop(f->lo);
	for (size_t i = 0; i < KB_COUNT(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		unlink(path);
	}
	rmdir(f->dir);
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

	assert_non_null(d);
	return d;
}

static const char *
error_code(struct fixture *f, struct kb_loopback_answer answer)
{
	return kb_json_str(kb_json_get(parse(f, answer), "error"), "code");
}

static const char *
create(struct fixture *f, const struct kb_identity *user, const char *body)
{
	struct kb_loopback_answer answer = call(
	    f, "POST", "/v1/simulations", user, body);

	if (answer.status != 201)
		print_message("%s\n", answer.body);
	assert_int_equal(answer.status, 201);
	return kb_json_str(data(f, answer), "id");
}

/* Polls until the simulation has that status. */
static void
await(struct fixture *f, const struct kb_identity *user, const char *id,
    const char *status)
{
	const char *target = kb_sprintf(f->a, "/v1/simulations/%s", id);
	int64_t until = kb_mono_ms() + DEADLINE_MS;
	const char *now = NULL;

	while (kb_mono_ms() < until) {
		struct kb_loopback_answer answer = call(
		    f, "GET", target, user, NULL);

		if (answer.status == 404 && strcmp(status, "gone") == 0)
			return;
		if (answer.status == 200)
			now = kb_json_str(data(f, answer), "status");
		if (now != NULL && strcmp(now, status) == 0)
			return;
		usleep(2000);
	}
	fail_msg("wanted %s, is %s", status, now ? now : "not there");
}

#define TWO_NODES                                                              \
	"{\"name\":\"home\",\"nodes\":[{\"name\":\"a\",\"role\":\"main\","     \
	"\"resources\":{\"cpu\":1,\"memory\":\"1Gi\"}},"                       \
	"{\"name\":\"b\",\"resources\":{\"cpu\":1,\"memory\":\"512Mi\"}}]}"

static void
a_simulation_runs_stops_and_goes(void **state)
{
	struct fixture *f = *state;
	const char *id = create(f, &alice, TWO_NODES);
	const char *at = kb_sprintf(f->a, "/v1/simulations/%s", id);
	const struct kb_json *sim;

	await(f, &alice, id, "stopped");
	assert_int_equal(
	    call(f, "POST", kb_sprintf(f->a, "%s/start", at), &alice, NULL)
		.status,
	    202);
	await(f, &alice, id, "running");
	sim = data(f, call(f, "GET", at, &alice, NULL));
	assert_int_equal(kb_json_size(kb_json_get(sim, "nodes")), 2);
	assert_int_equal(
	    call(f, "POST", kb_sprintf(f->a, "%s/start", at), &alice, NULL)
		.status,
	    409);
	assert_int_equal(
	    call(f, "POST", kb_sprintf(f->a, "%s/stop", at), &alice, NULL)
		.status,
	    202);
	await(f, &alice, id, "stopped");
	assert_int_equal(call(f, "DELETE", at, &alice, NULL).status, 202);
	await(f, &alice, id, "gone");
}

static void
the_log_tells_what_happened_and_is_resumed(void **state)
{
	struct fixture *f = *state;
	const char *id = create(f, &alice,
	    "{\"name\":\"logged\",\"start\":true,\"nodes\":[{\"name\":\"n\"}]"
	    "}");
	const struct kb_json *page, *rest;
	int64_t next = 0;

	await(f, &alice, id, "running");
	page = data(f,
	    call(f, "GET", kb_sprintf(f->a, "/v1/simulations/%s/logs", id),
		&alice, NULL));
	assert_true(kb_json_size(kb_json_get(page, "events")) >= 2);
	assert_true(kb_json_int(page, "next", &next));
	rest = data(f,
	    call(f, "GET",
		kb_sprintf(f->a, "/v1/simulations/%s/logs?after=%lld", id,
		    (long long)next),
		&alice, NULL));
	assert_int_equal(kb_json_size(kb_json_get(rest, "events")), 0);
}

static void
another_tenants_simulation_is_not_there(void **state)
{
	struct fixture *f = *state;
	const char *id = create(f, &alice, TWO_NODES);
	const char *at = kb_sprintf(f->a, "/v1/simulations/%s", id);
	const struct kb_json *sim = data(f, call(f, "GET", at, &alice, NULL));
	const char *node = kb_json_str(
	    kb_json_at(kb_json_get(sim, "nodes"), 0), "id");
	const char *node_at = kb_sprintf(f->a, "/v1/nodes/%s", node);

	assert_int_equal(call(f, "GET", at, &bob, NULL).status, 404);
	assert_int_equal(call(f, "DELETE", at, &bob, NULL).status, 404);
	assert_int_equal(
	    call(f, "PATCH", at, &bob, "{\"name\":\"mine\"}").status, 404);
	assert_int_equal(
	    call(f, "POST", kb_sprintf(f->a, "%s/start", at), &bob, NULL)
		.status,
	    404);
	assert_int_equal(
	    call(f, "GET", kb_sprintf(f->a, "%s/nodes", at), &bob, NULL).status,
	    404);
	assert_int_equal(call(f, "GET", node_at, &bob, NULL).status, 404);
	assert_int_equal(call(f, "DELETE", node_at, &bob, NULL).status, 404);
	assert_int_equal(kb_json_size(data(
			     f, call(f, "GET", "/v1/simulations", &bob, NULL))),
	    0);
}

static void
a_slug_of_another_organisation_is_refused(void **state)
{
	struct fixture *f = *state;
	struct kb_identity thief = bob;

	create(f, &alice, "{\"name\":\"x\"}");
	create(f, &bob, "{\"name\":\"y\"}");
	thief.value[KB_ID_TENANT] = "acme";
	assert_string_equal(
	    error_code(f, call(f, "GET", "/v1/simulations", &thief, NULL)),
	    "TENANT_FORBIDDEN");
}

static void
a_viewer_reads_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	const char *id = create(f, &alice, TWO_NODES);
	const char *at = kb_sprintf(f->a, "/v1/simulations/%s", id);

	assert_int_equal(call(f, "GET", at, &viewer, NULL).status, 200);
	assert_string_equal(error_code(f, call(f, "DELETE", at, &viewer, NULL)),
	    "AUTH_INSUFFICIENT");
	assert_string_equal(error_code(f,
				call(f, "POST", "/v1/simulations", &viewer,
				    "{\"name\":\"v\"}")),
	    "AUTH_INSUFFICIENT");
}

static void
the_fourth_simulation_of_a_free_tenant_is_refused(void **state)
{
	struct fixture *f = *state;
	struct kb_loopback_answer answer;
	const struct kb_json *details;
	int64_t limit = 0;

	for (int i = 0; i < 3; i++)
		create(f, &alice, "{\"name\":\"s\"}");
	answer = call(f, "POST", "/v1/simulations", &alice,
	    "{\"name\":\"one too many\"}");
	assert_int_equal(answer.status, 403);
	assert_string_equal(error_code(f, answer), "QUOTA_EXCEEDED");
	details = kb_json_get(
	    kb_json_get(parse(f, answer), "error"), "details");
	assert_string_equal(kb_json_str(details, "resource"), "simulations");
	assert_true(kb_json_int(details, "limit", &limit));
	assert_int_equal(limit, 3);
}

static void
running_nodes_count_against_cpu_and_memory(void **state)
{
	struct fixture *f = *state;
	const char *big = "{\"name\":\"big\",\"start\":true,\"nodes\":["
			  "{\"name\":\"a\",\"resources\":{\"cpu\":5}}]}";
	const char *
	    fat = "{\"name\":\"fat\",\"start\":true,\"nodes\":[{\"name\":\"a\","
		  "\"resources\":{\"cpu\":1,\"memory\":\"9Gi\"}}]}";

	assert_string_equal(
	    error_code(f, call(f, "POST", "/v1/simulations", &alice, big)),
	    "QUOTA_EXCEEDED");
	assert_string_equal(
	    error_code(f, call(f, "POST", "/v1/simulations", &alice, fat)),
	    "QUOTA_EXCEEDED");
	/* Nothing of a refused simulation stays. */
	assert_int_equal(kb_json_size(data(f,
			     call(f, "GET", "/v1/simulations", &alice, NULL))),
	    0);
}

static void
bad_bodies_name_the_field(void **state)
{
	static const struct {
		const char *body, *field;
	} rows[] = {
		{ "{}", "name" },
		{ "{\"name\":\" x\"}", "name" },
		{ "{\"name\":\"x\",\"extra\":1}", "extra" },
		{ "{\"name\":\"x\",\"nodes\":{}}", "nodes" },
		{ "{\"name\":\"x\",\"nodes\":[{\"name\":\"A B\"}]}",
		    "nodes[0].name" },
		{ "{\"name\":\"x\",\"nodes\":[{\"name\":\"a\",\"resources\":"
		  "{\"memory\":\"2GB\"}}]}",
		    "nodes[0].resources.memory" },
		{ "{\"name\":\"x\",\"nodes\":[{\"name\":\"a\",\"resources\":"
		  "{\"disk\":\"99999999999Ti\"}}]}",
		    "nodes[0].resources.disk" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < KB_COUNT(rows); i++) {
		struct kb_loopback_answer answer = call(
		    f, "POST", "/v1/simulations", &alice, rows[i].body);
		const struct kb_json *fields;

		assert_int_equal(answer.status, 400);
		fields = kb_json_get(
		    kb_json_get(
			kb_json_get(parse(f, answer), "error"), "details"),
		    "fields");
		if (kb_json_get(fields, rows[i].field) == NULL)
			fail_msg("%s: no %s in %s", rows[i].body, rows[i].field,
			    answer.body);
	}
}

static void
node_names_are_unique_and_ports_are_of_the_tenants_block(void **state)
{
	struct fixture *f = *state;
	const char *id = create(f, &alice, TWO_NODES);
	const char *nodes = kb_sprintf(f->a, "/v1/simulations/%s/nodes", id);
	const struct kb_json *list;

	assert_int_equal(
	    call(f, "POST", nodes, &alice, "{\"name\":\"a\"}").status, 409);
	assert_int_equal(
	    call(f, "POST", nodes, &alice, "{\"name\":\"c\"}").status, 201);
	list = data(f, call(f, "GET", nodes, &alice, NULL));
	assert_int_equal(kb_json_size(list), 3);
	for (size_t i = 0; i < 3; i++) {
		int64_t port = 0;

		assert_true(kb_json_int(kb_json_at(list, i), "sshPort", &port));
		assert_int_equal(port, 20000 + (int64_t)i);
	}
}

static void
logging_in_needs_a_running_node_and_has_its_own_password(void **state)
{
	struct fixture *f = *state;
	const char *id = create(f, &alice, TWO_NODES);
	const char *at = kb_sprintf(f->a, "/v1/simulations/%s", id);
	const struct kb_json *sim = data(f, call(f, "GET", at, &alice, NULL));
	const struct kb_json *nodes = kb_json_get(sim, "nodes");
	const char *first = kb_json_str(kb_json_at(nodes, 0), "id");
	const char *second = kb_json_str(kb_json_at(nodes, 1), "id");
	const char *one, *two;

	assert_int_equal(
	    call(f, "GET", kb_sprintf(f->a, "/v1/nodes/%s/ssh", first), &alice,
		NULL)
		.status,
	    409);
	call(f, "POST", kb_sprintf(f->a, "%s/start", at), &alice, NULL);
	await(f, &alice, id, "running");
	one = kb_json_str(
	    data(f,
		call(f, "GET", kb_sprintf(f->a, "/v1/nodes/%s/ssh", first),
		    &alice, NULL)),
	    "password");
	two = kb_json_str(
	    data(f,
		call(f, "GET", kb_sprintf(f->a, "/v1/nodes/%s/ssh", second),
		    &alice, NULL)),
	    "password");
	assert_non_null(one);
	assert_string_not_equal(one, two);
}

static void
every_template_can_be_applied(void **state)
{
	struct fixture *f = *state;
	const struct kb_json *list = data(
	    f, call(f, "GET", "/v1/templates", &bob, NULL));

	assert_int_equal(kb_json_size(list), 8);
	for (size_t i = 0; i < kb_json_size(list); i++) {
		const char *id = kb_json_str(kb_json_at(list, i), "id");

		assert_int_equal(
		    call(f, "POST",
			kb_sprintf(f->a, "/v1/templates/%s/apply", id), &bob,
			"{\"autoStart\":false}")
			.status,
		    201);
	}
	assert_int_equal(
	    call(f, "POST", "/v1/templates/none/apply", &bob, "{}").status,
	    404);
}

static void
admin_provisions_a_tenant_and_may_repeat_it(void **state)
{
	static const char *const json[] = { "Content-Type: application/json",
		NULL };
	static const char body[] = "{\"slug\":\"acme\",\"name\":\"Acme\","
				   "\"zitadelOrgId\":\"org-a\","
				   "\"plan\":\"pro\"}";
	struct fixture *f = *state;

	assert_int_equal(kb_loopback_call(f->lo, "POST",
			     "/api/internal/tenants", NULL, "admin", json, body)
			     .status,
	    201);
	assert_int_equal(kb_loopback_call(f->lo, "POST",
			     "/api/internal/tenants", NULL, "admin", json, body)
			     .status,
	    200);
	assert_int_equal(kb_loopback_call(f->lo, "POST",
			     "/api/internal/tenants", NULL, "stack", json, body)
			     .status,
	    403);
	assert_int_equal(
	    call(f, "POST", "/api/internal/tenants", &alice, body).status, 403);
}

static void
nobody_is_told_anything_without_a_proof(void **state)
{
	static const char *const forged[] = { "X-User-ID: alice",
		"X-Org-ID: org-a", "X-Tenant-ID: acme", NULL };
	struct fixture *f = *state;

	assert_int_equal(
	    call(f, "GET", "/v1/simulations", NULL, NULL).status, 401);
	assert_string_equal(
	    error_code(f,
		kb_loopback_call(
		    f->lo, "GET", "/v1/simulations", NULL, NULL, forged, NULL)),
	    "AUTH_INVALID");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_simulation_runs_stops_and_goes),
		CASE(the_log_tells_what_happened_and_is_resumed),
		CASE(another_tenants_simulation_is_not_there),
		CASE(a_slug_of_another_organisation_is_refused),
		CASE(a_viewer_reads_and_changes_nothing),
		CASE(the_fourth_simulation_of_a_free_tenant_is_refused),
		CASE(running_nodes_count_against_cpu_and_memory),
		CASE(bad_bodies_name_the_field),
		CASE(node_names_are_unique_and_ports_are_of_the_tenants_block),
		CASE(logging_in_needs_a_running_node_and_has_its_own_password),
		CASE(every_template_can_be_applied),
		CASE(admin_provisions_a_tenant_and_may_repeat_it),
		CASE(nobody_is_told_anything_without_a_proof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
