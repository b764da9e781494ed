/*
 * Webhooks on a PostgreSQL of their own: who is refused, what is kept once,
 * and that users end as Zitadel has them whatever way the events came.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>
#include <kombi/webhook.h>

#include "admin.h"
#include "pgsql.h"

#define PASSWORD_IN_URL "correct%20horse%20%25%20battery"
#define STRIPE_KEY "whsec_unit_1f7c0ae2b9"
#define STRIPE_NEXT "whsec_unit_88d2e01c5a"
#define ZITADEL_KEY "zt-unit-5b0e91d7c4f2"
#define STRIPE "/api/webhooks/stripe"
#define ZITADEL "/api/webhooks/zitadel"
#define DEADLINE_MS 20000

static struct pgsql server;
static struct kb_loopback *lo;
static struct kb_arena *arena;

static const struct kb_identity root = {
	.value = { "root", "root%40example.com", "root", "org-k",
	    "kombisphere_admin", "enterprise" }
};

static struct kb_loopback *
start(bool with_secrets)
{
	char url[256];
	const char *env[] = { url, "KOMBI_ENVIRONMENT=development",
		"KOMBIFY_DEPLOYMENT_MODE=saas-shared", "KOMBI_LOG_LEVEL=error",
		"STACK_SERVICE_PORT=9", "SIM_SERVICE_PORT=9",
		"STRIPE_WEBHOOK_SECRET=" STRIPE_KEY,
		"STRIPE_WEBHOOK_SECRET_NEXT=" STRIPE_NEXT,
		"ZITADEL_WEBHOOK_SECRET=" ZITADEL_KEY, NULL };

	if (!with_secrets)
		env[6] = NULL;
	snprintf(url, sizeof(url),
	    "DATABASE_URL=postgresql://kombi:%s@/postgres?host=%s",
	    PASSWORD_IN_URL, server.dir);
	return kb_loopback_start(&admin_service, env);
}

static int
setup(void **state)
{
	(void)state;
	if (!pgsql_init(&server))
		return -1;
	arena = kb_arena_new(0);
	lo = start(true);
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
send_signed(const char *target, const char *key, int64_t at_s, const char *body)
{
	bool stripe = strcmp(target, STRIPE) == 0;
	struct kb_secret secret = { 0 };
	const char *headers[] = { "Content-Type: application/json", NULL,
		NULL };

	kb_secret_set(&secret, key, strlen(key));
	headers[1] = kb_sprintf(arena, "%s: %s",
	    stripe ? "Stripe-Signature" : "ZITADEL-Signature",
	    kb_webhook_sign(arena, &secret, at_s, kb_slice_of(body)));
	kb_secret_free(&secret);
	return kb_loopback_call(lo, "POST", target, NULL, NULL, headers, body);
}

static struct kb_loopback_answer
send(const char *target, const char *body)
{
	return send_signed(target,
	    strcmp(target, STRIPE) == 0 ? STRIPE_KEY : ZITADEL_KEY, kb_wall_s(),
	    body);
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
get(const char *target)
{
	struct kb_loopback_answer answer = kb_loopback_call(
	    lo, "GET", target, &root, NULL, NULL, NULL);

	if (answer.status != 200)
		fail_msg("%s: %d %s", target, answer.status, answer.body);
	return parse(answer);
}

static int64_t
events(const char *query)
{
	int64_t total = -1;

	assert_true(kb_json_int(
	    kb_json_get(
		get(kb_sprintf(arena, "/v1/admin/webhooks?%s", query)), "meta"),
	    "total", &total));
	return total;
}

static void
assert_refused(struct kb_loopback_answer answer, int status, const char *code)
{
	const struct kb_json *error = kb_json_get(parse(answer), "error");

	if (answer.status != status)
		fail_msg("%d %s", answer.status, answer.body);
	assert_string_equal(kb_json_str(error, "code"), code);
}

static struct kb_cx
database(void)
{
	return (struct kb_cx) { .arena = arena, .db = kb_loopback_app(lo)->db };
}

static void
wait_until_done(void)
{
	int64_t limit = kb_mono_ms() + DEADLINE_MS;

	while (events("provider=zitadel&status=pending") > 0) {
		assert_true(kb_mono_ms() < limit);
		usleep(2000);
	}
}

static const struct kb_json *
user(const char *sub)
{
	struct kb_loopback_answer answer = kb_loopback_call(lo, "GET",
	    kb_sprintf(arena, "/api/internal/users/%s", sub), NULL, "cloud",
	    NULL, NULL);

	if (answer.status != 200)
		fail_msg("%s: %d %s", sub, answer.status, answer.body);
	return parse(answer);
}

static char *
stripe_event(const char *id, const char *customer)
{
	return kb_sprintf(arena,
	    "{\"id\":\"%s\",\"object\":\"event\",\"created\":%lld,"
	    "\"type\":\"customer.subscription.updated\",\"data\":{\"object\":"
	    "{\"id\":\"sub_1\",\"object\":\"subscription\",\"customer\":\"%s\","
	    "\"metadata\":{\"tenant\":\"victim\"}}}}",
	    id, (long long)kb_wall_s(), customer);
}

static char *
action(const char *sub, int sequence, const char *type, const char *payload)
{
	return kb_sprintf(arena,
	    "{\"aggregateID\":\"%s\",\"aggregateType\":\"user\","
	    "\"resourceOwner\":\"org\",\"instanceID\":\"i1\","
	    "\"version\":\"v2\",\"sequence\":%d,\"event_type\":\"%s\","
	    "\"created_at\":\"2026-01-01T00:00:00Z\",\"userID\":\"x\","
	    "\"event_payload\":%s}",
	    sub, sequence, type, payload);
}

static void
only_signed_and_fresh_deliveries_are_taken(void **state)
{
	char *body = stripe_event("evt_refused", "cus_1");
	int64_t now = kb_wall_s();

	(void)state;
	assert_refused(
	    kb_loopback_call(lo, "POST", STRIPE, NULL, NULL, NULL, body), 400,
	    "INVALID_SIGNATURE");
	assert_refused(send_signed(STRIPE, "whsec_other", now, body), 400,
	    "INVALID_SIGNATURE");
	assert_refused(send_signed(STRIPE, ZITADEL_KEY, now, body), 400,
	    "INVALID_SIGNATURE");
	assert_refused(send_signed(STRIPE, STRIPE_KEY, now - 330, body), 400,
	    "TIMESTAMP_EXPIRED");
	assert_refused(send_signed(STRIPE, STRIPE_KEY, now + 330, body), 400,
	    "TIMESTAMP_EXPIRED");
	assert_int_equal(events("provider=stripe"), 0);
}

static void
a_delivery_that_comes_again_is_kept_once(void **state)
{
	char *body = stripe_event("evt_twice", "cus_unknown");
	struct kb_loopback_answer answer = send(STRIPE, body);
	int64_t before;

	(void)state;
	assert_int_equal(answer.status, 200);
	assert_true(kb_json_bool(parse(answer), "received", false));
	assert_non_null(kb_json_str(parse(answer), "requestId"));
	before = events("provider=stripe&status=pending");
	/* Another signature, another secret, a later time. */
	assert_int_equal(
	    send_signed(STRIPE, STRIPE_NEXT, kb_wall_s() - 9, body).status,
	    200);
	assert_int_equal(send(STRIPE, body).status, 200);
	assert_int_equal(events("provider=stripe&status=pending"), before);
}

struct sender {
	pthread_t thread;
	struct webhook_event e;
	struct kb_cx cx;
	bool fresh;
	enum kb_err err;
};

static void *
insert_one(void *arg)
{
	struct sender *s = arg;

	s->err = webhook_insert(&s->cx, &s->e, NULL, &s->fresh);
	return NULL;
}

static void
of_many_copies_at_once_one_is_kept(void **state)
{
	enum { COPIES = 12 };
	struct sender senders[COPIES];
	int fresh = 0;

	(void)state;
	for (int i = 0; i < COPIES; i++) {
		struct sender *s = &senders[i];

		*s = (struct sender) { .cx = database() };
		s->cx.arena = kb_arena_new(0);
		s->e = (struct webhook_event) { .id = kb_sprintf(
						    arena, "whe_%d", i),
			.provider = "stripe",
			.event_id = "evt_parallel",
			.type = "invoice.paid",
			.object = "cus_p",
			.payload = "{}" };
		pthread_create(&s->thread, NULL, insert_one, s);
	}
	for (int i = 0; i < COPIES; i++) {
		pthread_join(senders[i].thread, NULL);
		kb_arena_free(senders[i].cx.arena);
		assert_int_equal(senders[i].err, KB_OK);
		fresh += senders[i].fresh;
	}
	assert_int_equal(fresh, 1);
}

struct dirt {
	int64_t mine, others;
};

static struct dirt
dirty_customers(void)
{
	static const struct kb_col cols[] = {
		KB_COL_INT(struct dirt, mine),
		KB_COL_INT(struct dirt, others),
		KB_COLS_END,
	};
	struct kb_cx cx = database();
	struct dirt d = { 0 };
	struct kb_rows rows = kb_query(&cx,
	    "SELECT count(*) FILTER (WHERE customer_id = 'cus_mine'),"
	    " count(*) FILTER (WHERE customer_id <> 'cus_mine')"
	    " FROM stripe_customers WHERE dirty_at IS NOT NULL");

	assert_int_equal(kb_rows_one(&rows, cols, &d), KB_OK);
	return d;
}

static void
an_event_marks_the_customer_that_we_know_and_nobody_else(void **state)
{
	struct kb_cx cx = database();

	(void)state;
	assert_int_equal(kb_exec(&cx,
			     "INSERT INTO tenants (id, slug, name,"
			     " zitadel_org_id) VALUES ('ten_m', 'mine', 'M',"
			     " 'org-m'), ('ten_v', 'victim', 'V', 'org-v')"),
	    KB_OK);
	assert_int_equal(
	    kb_exec(&cx,
		"INSERT INTO stripe_customers (customer_id, tenant_id)"
		" VALUES ('cus_mine', 'ten_m'), ('cus_victim', 'ten_v')"),
	    KB_OK);
	assert_int_equal(
	    send(STRIPE, stripe_event("evt_sql", "cus' OR '1'='1")).status,
	    200);
	assert_int_equal(dirty_customers().mine, 0);
	assert_int_equal(
	    send(STRIPE, stripe_event("evt_mine", "cus_mine")).status, 200);
	assert_int_equal(dirty_customers().mine, 1);
	assert_int_equal(dirty_customers().others, 0);
}

static void
what_is_no_event_is_refused_and_changes_nothing(void **state)
{
	static const char *const bodies[] = { "", "null", "[]", "\"x\"", "{}",
		"{\"id\":\"evt_1\"", "{\"id\":\"evt_1\",\"id\":\"evt_2\"}",
		"{\"id\":\"sub_1\",\"object\":\"event\",\"type\":\"a\"}",
		"{\"id\":\"evt_a b\",\"object\":\"event\",\"type\":\"a\"}",
		"{\"id\":\"evt_x\",\"object\":\"event\",\"type\":7}",
		"{\"id\":\"evt_x\",\"object\":\"list\",\"type\":\"a\"}",
		"{\"event_type\":\"user.added\",\"sequence\":1}",
		"{\"aggregateID\":\"u\",\"event_type\":\"user.added\"}",
		"{\"aggregateID\":\"u\",\"event_type\":\"user.added\","
		"\"sequence\":-1}",
		"{\"event\":\"user.created\",\"payload\":{\"userId\":\"u\"}}",
		"{\"event\":\"user.created\",\"timestamp\":"
		"\"2026-01-01T00:00:00Z\",\"payload\":[]}" };
	int64_t before = events("");

	(void)state;
	for (size_t i = 0; i < KB_COUNT(bodies); i++) {
		assert_refused(
		    send(STRIPE, bodies[i]), 400, "VALIDATION_FAILED");
		assert_refused(
		    send(ZITADEL, bodies[i]), 400, "VALIDATION_FAILED");
	}
	assert_int_equal(events(""), before);
}

static void
both_forms_of_zitadel_keep_users_up_to_date(void **state)
{
	const struct kb_json *u;

	(void)state;
	/* {"displayName":"Ada L","email":"ada@example.com"} */
	assert_int_equal(
	    send(ZITADEL,
		action("ada", 1, "user.human.added",
		    "\"eyJkaXNwbGF5TmFtZSI6IkFkYSBMIiwiZW1haWwiOiJhZGFAZXhhbX"
		    "BsZS5jb20ifQ==\""))
		.status,
	    200);
	assert_int_equal(send(ZITADEL,
			     action("ada", 2, "user.human.email.changed",
				 "{\"email\":\"ada@example.org\"}"))
			     .status,
	    200);
	assert_int_equal(
	    send(ZITADEL,
		"{\"event\":\"user.created\",\"timestamp\":"
		"\"2026-01-01T00:00:00Z\",\"payload\":{\"userId\":\"bea\","
		"\"firstName\":\"Bea\",\"lastName\":\"B\","
		"\"email\":\"bea@example.com\"}}")
		.status,
	    200);
	assert_int_equal(
	    send(ZITADEL, action("org-1", 3, "org.added", "{}")).status, 200);
	wait_until_done();
	u = user("ada");
	assert_string_equal(kb_json_str(u, "displayName"), "Ada L");
	assert_string_equal(kb_json_str(u, "email"), "ada@example.org");
	assert_string_equal(kb_json_str(u, "status"), "active");
	assert_string_equal(kb_json_str(user("bea"), "displayName"), "Bea B");
	assert_int_equal(events("status=ignored"), 1);
}

static void
a_suspended_user_is_restored_and_a_deleted_one_forgotten(void **state)
{
	const struct kb_json *u;

	(void)state;
	send(ZITADEL,
	    action("eve", 1, "user.human.added",
		"{\"displayName\":\"Eve\",\"email\":\"eve@example.com\"}"));
	send(ZITADEL, action("eve", 2, "user.deactivated", "{}"));
	wait_until_done();
	assert_string_equal(kb_json_str(user("eve"), "status"), "suspended");
	send(ZITADEL, action("eve", 3, "user.reactivated", "{}"));
	wait_until_done();
	assert_string_equal(kb_json_str(user("eve"), "status"), "active");
	send(ZITADEL, action("eve", 4, "user.removed", "{}"));
	/* Nothing brings it back, newer or older. */
	send(ZITADEL, action("eve", 5, "user.reactivated", "{}"));
	send(ZITADEL,
	    action("eve", 6, "user.human.profile.changed",
		"{\"displayName\":\"Eve\"}"));
	wait_until_done();
	kb_loopback_call(lo, "POST", "/api/internal/users", NULL, "cloud",
	    ((const char *const[]) { "Content-Type: application/json", NULL }),
	    "{\"sub\":\"eve\",\"name\":\"Eve\"}");
	u = user("eve");
	assert_string_equal(kb_json_str(u, "status"), "deleted");
	assert_null(kb_json_str(u, "displayName"));
	assert_null(kb_json_str(u, "email"));
}

/* What Zitadel says of one user, in its order; the last of each part wins. */
static const struct told {
	const char *type, *payload;
} story[] = {
	{ "user.human.added",
	    "{\"displayName\":\"N1\",\"email\":\"e1@example.com\"}" },
	{ "user.human.email.changed", "{\"email\":\"e2@example.com\"}" },
	{ "user.deactivated", "{}" },
	{ "user.human.profile.changed", "{\"displayName\":\"N2\"}" },
	{ "user.reactivated", "{}" },
	{ "user.human.email.changed", "{\"email\":\"e3@example.com\"}" },
	{ "user.locked", "{}" },
};

/* 60 orders, with repeats, drawn by a generator that is the same each run. */
static void
users_end_as_zitadel_has_them_in_whatever_order_events_come(void **state)
{
	enum { ORDERS = 60, STORY = KB_COUNT(story) };
	uint32_t seed = 7;

	(void)state;
	for (int o = 0; o < ORDERS; o++) {
		const char *sub = kb_sprintf(arena, "order-%d", o);
		bool sent[STORY] = { false };

		for (size_t left = STORY; left > 0;) {
			size_t i = (seed = seed * 1664525 + 1013904223) >> 16;

			i %= STORY;
			assert_int_equal(
			    send(ZITADEL,
				action(sub, (int)i + 1, story[i].type,
				    story[i].payload))
				.status,
			    200);
			left -= !sent[i];
			sent[i] = true;
		}
	}
	wait_until_done();
	for (int o = 0; o < ORDERS; o++) {
		const struct kb_json *u = user(
		    kb_sprintf(arena, "order-%d", o));

		assert_string_equal(kb_json_str(u, "displayName"), "N2");
		assert_string_equal(kb_json_str(u, "email"), "e3@example.com");
		assert_string_equal(kb_json_str(u, "status"), "suspended");
	}
}

static enum kb_err
cannot_be_done(
    struct kb_cx *tx, const struct webhook_event *e, const char **status)
{
	(void)tx;
	(void)e;
	(void)status;
	return KB_INVALID;
}

static void
an_event_that_fails_keeps_nobody_waiting_for_ever(void **state)
{
	struct kb_cx cx = database();
	struct webhook_event e = { .id = "whe_poison",
		.provider = "stripe",
		.event_id = "poison",
		.type = "x",
		.object = "poisoned",
		.payload = "{}" };
	bool fresh;

	(void)state;
	assert_int_equal(webhook_insert(&cx, &e, NULL, &fresh), KB_OK);
	assert_int_equal(
	    webhook_failed(&cx, &e, "VALIDATION_FAILED", 1, false), KB_OK);
	assert_int_equal(events("status=failed"), 0);
	assert_int_equal(
	    webhook_failed(&cx, &e, "VALIDATION_FAILED", 1, true), KB_OK);
	assert_int_equal(events("status=failed"), 1);
	assert_int_equal(webhook_next(&cx, cannot_be_done, &e), KB_NOT_FOUND);
	assert_int_equal(
	    kb_loopback_call(lo, "POST", "/v1/admin/webhooks/whe_poison/retry",
		&root, NULL, NULL, NULL)
		.status,
	    204);
	assert_int_equal(events("status=failed"), 0);
	assert_int_equal(
	    kb_loopback_call(lo, "POST", "/v1/admin/webhooks/whe_poison/retry",
		&root, NULL, NULL, NULL)
		.status,
	    404);
}

static void
operators_see_events_without_their_payload(void **state)
{
	struct kb_loopback_answer answer = kb_loopback_call(lo, "GET",
	    "/v1/admin/webhooks?provider=zitadel", &root, NULL, NULL, NULL);

	(void)state;
	assert_int_equal(answer.status, 200);
	assert_null(strstr(answer.body, "example.com"));
	assert_null(strstr(answer.body, "payload"));
	assert_int_equal(
	    kb_loopback_call(lo, "GET", "/v1/admin/webhooks?status=lost", &root,
		NULL, NULL, NULL)
		.status,
	    400);
	assert_int_equal(kb_loopback_call(lo, "GET", "/v1/admin/webhooks", NULL,
			     NULL, NULL, NULL)
			     .status,
	    401);
}

struct audited {
	int64_t refused, suspended;
};

static void
refusals_and_suspensions_stand_in_the_audit_log(void **state)
{
	static const struct kb_col cols[] = {
		KB_COL_INT(struct audited, refused),
		KB_COL_INT(struct audited, suspended),
		KB_COLS_END,
	};
	struct kb_cx cx = database();
	struct audited a = { 0 };
	struct kb_rows rows = kb_query(&cx,
	    "SELECT count(*) FILTER (WHERE action = 'webhook.rejected'),"
	    " count(*) FILTER (WHERE action = 'user.suspended'"
	    " AND resource_id = 'eve') FROM audit_log");

	(void)state;
	assert_int_equal(kb_rows_one(&rows, cols, &a), KB_OK);
	assert_true(a.refused >= 1);
	assert_int_equal(a.suspended, 1);
}

static void
without_a_database_the_sender_is_told_to_come_again(void **state)
{
	char *body = stripe_event("evt_down", "cus_1");
	int64_t limit;

	(void)state;
	pgsql_stop(&server, SIGINT);
	assert_refused(send(STRIPE, body), 503, "SERVICE_UNAVAILABLE");
	assert_true(pgsql_start(&server));
	limit = kb_mono_ms() + DEADLINE_MS;
	while (send(STRIPE, body).status != 200) {
		assert_true(kb_mono_ms() < limit);
		usleep(10000);
	}
	assert_int_equal(events("provider=stripe&status=pending") > 0, 1);
}

static void
without_a_secret_everything_is_refused(void **state)
{
	char *body = stripe_event("evt_open", "cus_1");

	(void)state;
	assert_string_equal(
	    kb_json_str(get(STRIPE "/health"), "status"), "healthy");
	kb_loopback_stop(lo);
	lo = start(false);
	assert_non_null(lo);
	assert_refused(send(STRIPE, body), 500, "CONFIGURATION_ERROR");
	assert_refused(send(ZITADEL, body), 500, "CONFIGURATION_ERROR");
	assert_int_equal(kb_loopback_call(lo, "GET", ZITADEL "/health", NULL,
			     NULL, NULL, NULL)
			     .status,
	    503);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_signed_and_fresh_deliveries_are_taken),
		cmocka_unit_test(a_delivery_that_comes_again_is_kept_once),
		cmocka_unit_test(of_many_copies_at_once_one_is_kept),
		cmocka_unit_test(
		    an_event_marks_the_customer_that_we_know_and_nobody_else),
		cmocka_unit_test(
		    what_is_no_event_is_refused_and_changes_nothing),
		cmocka_unit_test(both_forms_of_zitadel_keep_users_up_to_date),
		cmocka_unit_test(
		    a_suspended_user_is_restored_and_a_deleted_one_forgotten),
		cmocka_unit_test(
		    users_end_as_zitadel_has_them_in_whatever_order_events_come),
		cmocka_unit_test(
		    an_event_that_fails_keeps_nobody_waiting_for_ever),
		cmocka_unit_test(operators_see_events_without_their_payload),
		cmocka_unit_test(
		    refusals_and_suspensions_stand_in_the_audit_log),
		cmocka_unit_test(
		    without_a_database_the_sender_is_told_to_come_again),
		cmocka_unit_test(without_a_secret_everything_is_refused),
	};
	const char *why = pgsql_find(&server);

	if (why != NULL) {
		print_message("skipped: %s\n", why);
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
