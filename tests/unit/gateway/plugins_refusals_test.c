/* What files may say to the plugins that refuse or answer by themselves. */
#include "plugins_config.h"

#include <kombi/network.h>

static void
networks_are_read_or_refused_with_their_line(void **state)
{
	(void)state;
	is_accepted("ip-restriction",
	    "{allow: [10.0.0.0/8, 192.168.1.1, '::1', 'fd00::/8'], deny: "
	    "[10.0.0.1/32]}");
	is_told("ip-restriction", "{allow: [10.0.0.0/33]}", true,
	    "plugin ip-restriction: allow \"10.0.0.0/33\" must be an IPv4 or "
	    "IPv6 address or network");
	is_told("ip-restriction", "{deny: [example.org]}", true,
	    "plugin ip-restriction: deny \"example.org\" must be");
	is_told("ip-restriction", "{deny: [10.0.0.1], status: 200}", true,
	    "plugin ip-restriction: status must be 400 to 599");
	is_told("ip-restriction", "{denied: [10.0.0.1]}", true,
	    "plugin ip-restriction: unknown field \"denied\", did you mean "
	    "\"deny\"?");
}

static void
a_restriction_without_networks_is_refused(void **state)
{
	struct loaded l;

	(void)state;
	load_plugin(&l, "ip-restriction", "{}");
	assert_true(problems_any(&l.p));
	unload(&l);
}

static void
addresses_are_in_networks_whatever_their_form(void **state)
{
	static const struct {
		const char *network, *ip;
		bool in;
	} rows[] = {
		{ "10.0.0.0/8", "10.255.0.1", true },
		{ "10.0.0.0/8", "11.0.0.1", false },
		{ "10.0.0.0/8", "::ffff:10.0.0.1", true },
		{ "10.0.0.0/9", "10.128.0.0", false },
		{ "1.2.3.4", "1.2.3.4", true },
		{ "1.2.3.4", "1.2.3.5", false },
		{ "0.0.0.0/0", "255.1.1.1", true },
		{ "0.0.0.0/0", "::1", false },
		{ "::/0", "::1", true },
		{ "fd00::/8", "fdff::1", true },
		{ "fd00::/8", "fe80::1", false },
		{ "10.0.0.0/8", "", false },
		{ "0.0.0.0/0", "junk", false },
	};
	struct kb_network n;

	(void)state;
	for (size_t i = 0; i < KB_COUNT(rows); i++) {
		assert_true(kb_network_parse(rows[i].network, &n));
		if (kb_network_has_text(&n, rows[i].ip) != rows[i].in)
			fail_msg("%s %s", rows[i].network, rows[i].ip);
	}
}

static void
an_answer_of_the_file_is_judged(void **state)
{
	(void)state;
	is_accepted("request-termination", "{}");
	is_accepted("request-termination",
	    "{status_code: 200, body: '', content_type: text/plain, trigger: "
	    "X-Stop}");
	is_accepted("request-termination", "{echo: true, message: x}");
	is_told("request-termination", "{message: a, body: b}", true,
	    "plugin request-termination: message cannot be used with body or "
	    "content_type");
	is_told("request-termination", "{content_type: a/b}", true,
	    "plugin request-termination: content_type needs a body");
	is_told("request-termination", "{status_code: 100}", true,
	    "plugin request-termination: status_code must be 200 to 599");
	is_told("request-termination", "{status_code: 600}", true,
	    "plugin request-termination: status_code must be 100 to 599");
	is_told("request-termination", "{trigger: X-User-ID}", true,
	    "plugin request-termination: trigger \"X-User-ID\" must be the "
	    "name of a header");
}

static void
patterns_that_could_be_expensive_or_mean_else_are_refused(void **state)
{
	(void)state;
	is_accepted("bot-detection", "{}");
	is_accepted("bot-detection",
	    "{deny: ['(?i)wget|curl', '^a[0-9]+\\.b', 'x y'], allow: ['z$']}");
	is_accepted("bot-detection",
	    "{deny: ['(a)\\1', '\\d+', 'a{1000}'], allow: ['a(?=b)']}");
	is_told("bot-detection", "{allow: ['a(b']}", true,
	    "plugin bot-detection: the pattern \"a(b\": ");
	is_told("bot-detection", "{whitelist: [a]}", true,
	    "plugin bot-detection: unknown field \"whitelist\"");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_are_read_or_refused_with_their_line),
		cmocka_unit_test(a_restriction_without_networks_is_refused),
		cmocka_unit_test(addresses_are_in_networks_whatever_their_form),
		cmocka_unit_test(an_answer_of_the_file_is_judged),
		cmocka_unit_test(
		    patterns_that_could_be_expensive_or_mean_else_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
