/* The state of an address: what makes it healthy and unhealthy, and what the
 * file says about that. */
#include "test.h"

#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static const struct limits limits = {
	.successes = 2, .http = 3, .tcp = 2, .timeouts = 1
};

static uint64_t
steps(uint64_t s, enum health_event what, int n)
{
	while (n-- > 0)
		s = health_step(s, what, 503, &limits);
	return s;
}

static void
as_many_failures_in_a_row_as_the_limit_make_it_unhealthy(void **state)
{
	uint64_t s = steps(0, FAIL_HTTP, 2);
	char why[48];

	(void)state;
	assert_true(health_is_healthy(0));
	assert_true(health_is_healthy(s));
	assert_int_equal(health_count(s, FAIL_HTTP), 2);
	s = steps(s, FAIL_HTTP, 1);
	assert_false(health_is_healthy(s));
	health_reason(s, why);
	assert_string_equal(why, "answered 503");
	s = health_step(steps(0, FAIL_TCP, 1), FAIL_TCP, 0, &limits);
	assert_false(health_is_healthy(s));
	health_reason(s, why);
	assert_string_equal(why, "could not be reached or broke off");
}

static void
failures_of_different_kinds_are_counted_apart(void **state)
{
	uint64_t s = steps(steps(0, FAIL_HTTP, 2), FAIL_TCP, 1);

	(void)state;
	assert_true(health_is_healthy(s));
	assert_int_equal(health_count(s, FAIL_HTTP), 2);
	assert_int_equal(health_count(s, FAIL_TCP), 1);
	assert_false(health_is_healthy(steps(s, FAIL_TIMEOUT, 1)));
}

static void
a_success_ends_a_row_of_failures(void **state)
{
	uint64_t s = steps(steps(0, FAIL_HTTP, 2), SUCCESS, 1);

	(void)state;
	assert_int_equal(health_count(s, FAIL_HTTP), 0);
	assert_true(health_is_healthy(steps(s, FAIL_HTTP, 2)));
	assert_true(steps(0, SUCCESS, 1) == 0);
}

static void
it_takes_successes_in_a_row_to_come_back(void **state)
{
	uint64_t s = steps(0, FAIL_HTTP, 3);

	(void)state;
	s = steps(s, SUCCESS, 1);
	assert_false(health_is_healthy(s));
	s = steps(s, FAIL_TCP, 1);
	assert_false(health_is_healthy(steps(s, SUCCESS, 1)));
	assert_true(health_is_healthy(steps(s, SUCCESS, 2)));
}

static void
a_limit_of_zero_does_not_count(void **state)
{
	static const struct limits none = { 0 };
	uint64_t s = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		s = health_step(s, FAIL_TCP, 0, &none);
	assert_true(s == 0);
	s = steps(0, FAIL_HTTP, 3);
	for (int i = 0; i < 1000; i++)
		s = health_step(s, SUCCESS, 200, &none);
	assert_false(health_is_healthy(s));
}

static void
who_returned_after_a_while_is_out_again_at_the_next_failure(void **state)
{
	uint64_t s = health_step(steps(0, FAIL_HTTP, 3), RETURN, 0, &limits);

	(void)state;
	assert_true(health_is_healthy(s));
	assert_false(health_is_healthy(steps(s, FAIL_HTTP, 1)));
	assert_true(
	    health_is_healthy(steps(steps(s, SUCCESS, 1), FAIL_HTTP, 2)));
	assert_true(health_step(0, RETURN, 0, &limits) == 0);
}

static void
an_operator_can_set_it(void **state)
{
	uint64_t s = health_step(0, BY_HAND, 0, &limits);

	(void)state;
	assert_false(health_is_healthy(s));
	assert_true(health_is_healthy(health_step(s, BY_HAND, 1, &limits)));
}

/* ---- the file
 * ------------------------------------------------------------------ */

struct loaded {
	struct problems p;
	struct snapshot *s;
	struct kb_buf text;
};

static void
load(struct loaded *l, const char *healthchecks)
{
	static char *no_env[] = { NULL };
	struct substitution sub = { .env = no_env };
	char *yaml;

	*l = (struct loaded) { 0 };
	l->p.arena = kb_arena_new(0);
	l->p.file = "kong.yml";
	yaml = kb_sprintf(l->p.arena,
	    "_format_version: \"3.0\"\n"
	    "services:\n- {name: a, host: u}\n"
	    "upstreams:\n- name: u\n  targets: [{target: 127.0.0.1:1}]\n"
	    "  healthchecks: %s\n",
	    healthchecks);
	l->s = config_parse(&l->p, yaml, strlen(yaml), &sub);
	kb_buf_init(&l->text, 1 << 20);
	problems_print(&l->p, true, &l->text);
}

static void
done(struct loaded *l)
{
	kb_buf_free(&l->text);
	kb_arena_free(l->p.arena);
}

static const struct checks *
checks_of(const struct loaded *l)
{
	assert_string_equal(kb_buf_str(&l->text), "");
	return l->s->upstreams[0]->checks;
}

static void
too_many_requests_count_only_where_the_file_says_so(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    "{active: {healthy: {interval: 1}}, passive: {unhealthy: "
	    "{http_failures: 1}}}");
	assert_false(status_has(&checks_of(&l)->active.unhealthy, 429));
	assert_false(status_has(&checks_of(&l)->passive.unhealthy, 429));
	assert_true(status_has(&checks_of(&l)->active.unhealthy, 404));
	assert_true(status_has(&checks_of(&l)->passive.unhealthy, 503));
	assert_true(status_has(&checks_of(&l)->passive.healthy, 226));
	assert_false(status_has(&checks_of(&l)->passive.unhealthy, 404));
	done(&l);
	load(&l,
	    "{passive: {unhealthy: {http_failures: 1, http_statuses: "
	    "[429]}}}");
	assert_true(status_has(&checks_of(&l)->passive.unhealthy, 429));
	assert_false(status_has(&checks_of(&l)->passive.unhealthy, 500));
	done(&l);
}

static void
intervals_may_be_fractions_and_one_may_stand_for_both(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    "{active: {interval: 30, timeout: 0.5, unhealthy: {interval: "
	    "1.25, tcp_failures: 2}}}");
	assert_int_equal(checks_of(&l)->healthy_ms, 30000);
	assert_int_equal(checks_of(&l)->unhealthy_ms, 1250);
	assert_int_equal(checks_of(&l)->timeout_ms, 500);
	assert_int_equal(checks_of(&l)->active.limits.tcp, 2);
	assert_int_equal(checks_of(&l)->threshold, -1);
	assert_true(checks_of(&l)->probes);
	done(&l);
}

static void
without_intervals_and_limits_nothing_is_checked(void **state)
{
	struct loaded l;

	(void)state;
	load(&l, "{active: {http_path: /x}, threshold: 10}");
	assert_null(checks_of(&l));
	done(&l);
	load(&l, "{passive: {unhealthy: {timeouts: 1, recover_after: 5}}}");
	assert_true(checks_of(&l)->returns);
	assert_int_equal(checks_of(&l)->return_ms, 5000);
	done(&l);
}

static void
refused(const char *healthchecks, const char *why)
{
	struct loaded l;

	load(&l, healthchecks);
	assert_true(problems_any(&l.p));
	if (strstr(kb_buf_str(&l.text), why) == NULL)
		fail_msg("\"%s\" is not in:\n%s", why, kb_buf_str(&l.text));
	done(&l);
}

static void
wrong_values_are_refused_by_name(void **state)
{
	(void)state;
	refused("{active: {healthy: {intervall: 1}}}",
	    "unknown field \"intervall\", did you mean \"interval\"?");
	refused("{active: {timeout: -1}}", "active.timeout must be seconds");
	refused("{active: {timeout: 0}}", "active.timeout must be above 0");
	refused("{active: {http_path: x}}", "http_path must begin with");
	refused("{active: {type: grpc}}", "is not one of: http, tcp, https");
	refused("{passive: {healthy: {interval: 1}}}",
	    "interval belongs to active");
	refused("{active: {headers: {X-A: [\"b\\r\\nc\"]}}}",
	    "header \"X-A\" may not be set");
	refused(
	    "{active: {headers: {Host: a}}}", "header \"Host\" may not be set");
	refused("{threshold: 101}", "threshold must be 0 to 100");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    as_many_failures_in_a_row_as_the_limit_make_it_unhealthy),
		cmocka_unit_test(failures_of_different_kinds_are_counted_apart),
		cmocka_unit_test(a_success_ends_a_row_of_failures),
		cmocka_unit_test(it_takes_successes_in_a_row_to_come_back),
		cmocka_unit_test(a_limit_of_zero_does_not_count),
		cmocka_unit_test(
		    who_returned_after_a_while_is_out_again_at_the_next_failure),
		cmocka_unit_test(an_operator_can_set_it),
		cmocka_unit_test(
		    too_many_requests_count_only_where_the_file_says_so),
		cmocka_unit_test(
		    intervals_may_be_fractions_and_one_may_stand_for_both),
		cmocka_unit_test(
		    without_intervals_and_limits_nothing_is_checked),
		cmocka_unit_test(wrong_values_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
