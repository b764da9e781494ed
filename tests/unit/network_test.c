/* Networks, and who asks from behind proxies. */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <kombi/network.h>
#include <kombi/str.h>

static void
networks_hold_their_addresses(void **state)
{
	struct kb_network n;
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct sockaddr_storage any = { 0 };

	(void)state;
	four.sin_addr.s_addr = htonl(0x0a010203);
	memcpy(&any, &four, sizeof(four));
	assert_true(kb_network_parse("10.0.0.0/8", &n));
	assert_true(kb_network_has(&n, &any));
	assert_true(kb_network_parse("10.1.2.3", &n));
	assert_true(kb_network_has(&n, &any));
	assert_true(kb_network_parse("10.1.2.2/31", &n));
	assert_true(kb_network_has(&n, &any));
	assert_true(kb_network_parse("10.1.2.4/30", &n));
	assert_false(kb_network_has(&n, &any));
	assert_true(kb_network_parse("fd00::/8", &n));
	assert_false(kb_network_has(&n, &any));
	assert_false(kb_network_parse("10.0.0.0/33", &n));
	assert_false(kb_network_parse("ten", &n));
	assert_false(kb_network_parse("10.0.0.0/", &n));
}

static void
only_trusted_proxies_say_who_asks(void **state)
{
	static const char *const list[] = { "127.0.0.1", "10.0.0.0/8", NULL };
	static const struct {
		const char *peer, *forwarded, *client;
	} cases[] = {
		{ "192.0.2.1", "198.51.100.9", "192.0.2.1" },
		{ "127.0.0.1", "", "127.0.0.1" },
		{ "127.0.0.1", "198.51.100.9", "198.51.100.9" },
		{ "127.0.0.1", "1.1.1.1, 198.51.100.9 , 10.1.2.3",
		    "198.51.100.9" },
		{ "127.0.0.1", "1.1.1.1, nobody", "127.0.0.1" },
		{ "127.0.0.1", "10.0.0.1", "10.0.0.1" },
		{ "127.0.0.1", "2001:db8::1", "2001:db8::1" },
	};
	struct kb_arena *a = kb_arena_new(0);
	struct kb_networks trusted = kb_networks_of(a, list);
	struct kb_networks none = kb_networks_of(a, NULL);

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_slice told = kb_slice_of(cases[i].forwarded);

		assert_string_equal(cases[i].client,
		    kb_forwarded_client(a, &trusted, cases[i].peer, told));
		assert_string_equal(cases[i].peer,
		    kb_forwarded_client(a, &none, cases[i].peer, told));
	}
	kb_arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_hold_their_addresses),
		cmocka_unit_test(only_trusted_proxies_say_who_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
