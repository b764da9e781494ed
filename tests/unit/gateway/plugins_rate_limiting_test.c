/* What the plugins that limit may be told, and what they make of it. */
#include "plugins_config.h"

#include <kombi/window.h>

static const char *const basic = "rate-limiting";
static const char *const advanced = "rate-limiting-advanced";

static void
limits_and_what_they_count_by_are_judged_at_load(void **state)
{
	(void)state;
	is_accepted(basic, "{minute: 5, hour: 100, limit_by: ip}");
	is_accepted(basic,
	    "{second: 1, year: 1, limit_by: path, path: /a, error_code: 503, "
	    "error_message: x, hide_client_headers: true, fault_tolerant: "
	    "false}");
	is_told(basic, "{}", true,
	    "plugin rate-limiting: one of second, minute, hour, day, month, "
	    "year is required");
	is_told(basic, "{minute: 5, day: 4}", true,
	    "plugin rate-limiting: the limit of a Day (4) must not be smaller "
	    "than that of a Minute (5)");
	is_told(basic, "{minute: 0}", true,
	    "plugin rate-limiting: minute must be 1 to 1000000000");
	is_told(basic, "{minute: 1, limit_by: header}", true,
	    "plugin rate-limiting: to count by header needs header_name");
	is_told(basic, "{minute: 1, limit_by: header, header_name: A}", false,
	    "plugin rate-limiting: counted by header: a client chooses");
	is_told(basic, "{minute: 1, limit_by: path}", true,
	    "plugin rate-limiting: to count by path needs a path");
	is_told(basic, "{minute: 1, limit_by: user}", true,
	    "plugin rate-limiting: limit_by \"user\" is not one of: consumer, "
	    "credential, ip, service, header, path, consumer-group");
	is_told(basic, "{minutes: 1}", true,
	    "plugin rate-limiting: unknown field \"minutes\", did you mean "
	    "\"minute\"?");
}

static void
limits_in_windows_are_judged_at_load(void **state)
{
	(void)state;
	is_accepted(advanced,
	    "{limit: [5, 100], window_size: [60, 90], window_type: fixed, "
	    "identifier: ip, retry_after_jitter_max: 3, error_code: 430, "
	    "error_message: slowly, disable_penalty: true}");
	is_accepted(advanced,
	    "{limit: [5], window_size: [60], compound_identifier: [consumer, "
	    "ip]}");
	is_accepted(advanced,
	    "{limit: [50, 200, 500, 10000], window_size: [60, 60, 60, 60], "
	    "identifier: jwt_claim_plan}");
	is_accepted(advanced,
	    "{limit: [5, 9], window_size: [60, 60], identifier: "
	    "jwt_claim_tier, claim_values: [a, b], claim_default: a}");
	is_told(advanced, "{limit: [5], window_size: [60, 90]}", true,
	    "plugin rate-limiting-advanced: limit and window_size must have "
	    "the same length");
	is_told(advanced, "{limit: [5, 9], window_size: [60, 60]}", true,
	    "plugin rate-limiting-advanced: two limits for 60 seconds");
	is_told(advanced,
	    "{limit: [5], window_size: [60], identifier: jwt_claim_}", true,
	    "plugin rate-limiting-advanced: identifier \"jwt_claim_\" is not "
	    "one of");
	is_told(advanced,
	    "{limit: [5], window_size: [60], compound_identifier: [me]}", true,
	    "plugin rate-limiting-advanced: compound_identifier has \"me\"");
	is_told(advanced,
	    "{limit: [5], window_size: [60], identifier: jwt_claim_plan, "
	    "claim_values: [free, pro]}",
	    true,
	    "plugin rate-limiting-advanced: claim_values and limit must have "
	    "the same length");
	is_told(advanced,
	    "{limit: [5], window_size: [60], disable_penalty: false}", false,
	    "plugin rate-limiting-advanced: disable_penalty false: refused "
	    "requests do not count all the same");
}

static void
redis_is_named_by_shorthands_a_block_or_the_process(void **state)
{
	(void)state;
	is_accepted(basic, "{minute: 1, policy: redis}");
	is_accepted(basic, "{minute: 1, policy: cluster, sync_rate: -1}");
	is_accepted(basic,
	    "{minute: 1, redis_host: r.example, redis_port: 7, "
	    "redis_username: u, redis_password: p, redis_database: 3, "
	    "redis_timeout: 2000, redis_ssl: false}");
	is_accepted(basic,
	    "{minute: 1, redis: {host: null, port: 6379, timeout: 2000, ssl: "
	    "false, ssl_verify: false, server_name: null}}");
	is_accepted(advanced,
	    "{limit: [5], window_size: [60], strategy: redis, sync_rate: 0.1, "
	    "namespace: n, redis: {host: r.example, connect_timeout: 1, "
	    "send_timeout: 1, read_timeout: 1, keepalive_pool_size: 9, "
	    "sentinel_master: null}}");
	/* An empty default of a template: no Redis. */
	is_accepted(basic, "{minute: 1, redis_host: '', redis_password: ''}");
	is_told(basic, "{minute: 1, redis_ssl: true}", true,
	    "plugin rate-limiting: redis_ssl is not implemented");
	is_told(basic, "{minute: 1, redis: {host: x, sentinel_role: any}}",
	    true, "redis: sentinel_role");
	is_told(basic, "{minute: 1, redis: {hosts: x}}", true,
	    "redis: unknown field \"hosts\", did you mean \"host\"?");
	is_told(advanced, "{limit: [5], window_size: [60], sync_rate: 0}",
	    false, "plugin rate-limiting-advanced: sync_rate 0: counts are");
	is_told(advanced, "{limit: [5], window_size: [60], sync_rate: 0.001}",
	    true, "plugin rate-limiting-advanced: sync_rate must be");
	is_told(advanced, "{limit: [5], window_size: [60], sync_rate: often}",
	    true, "plugin rate-limiting-advanced: sync_rate must be");
}

static void
equal_servers_share_their_windows(void **state)
{
	struct counters_conf a = { .shared = true,
		.redis.host = "same.example" };
	struct counters_conf b = { .shared = true,
		.redis.host = "same.example" };
	struct counters_conf local = { .redis.host = "same.example" };
	struct counters_conf none = { .shared = false };

	(void)state;
	assert_non_null(counters_get(&a));
	assert_ptr_equal(counters_get(&a), counters_get(&b));
	assert_ptr_equal(counters_get(&local), counters_get(&none));
	assert_ptr_not_equal(counters_get(&local), counters_get(&a));
	b.redis.password = "p";
	assert_ptr_not_equal(counters_get(&a), counters_get(&b));
}

static void
the_gateways_own_limits_are_exact(void **state)
{
	struct counted c = { 0 };
	int passed = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		counter_take(7, 3600, 5, &c);
		passed += !c.over;
	}
	assert_int_equal(passed, 5);
	assert_true(c.wait_s >= 1 && c.remaining == 0 && c.limit == 5);
	counter_take(8, 3600, 5, &c);
	assert_false(c.over);
}

static int
forget(void **state)
{
	(void)state;
	counters_forget();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(
		    limits_and_what_they_count_by_are_judged_at_load, forget),
		cmocka_unit_test_teardown(
		    limits_in_windows_are_judged_at_load, forget),
		cmocka_unit_test_teardown(
		    redis_is_named_by_shorthands_a_block_or_the_process,
		    forget),
		cmocka_unit_test_teardown(
		    equal_servers_share_their_windows, forget),
		cmocka_unit_test_teardown(
		    the_gateways_own_limits_are_exact, forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
