/*
 * Records of sessions: what is sealed comes out as it went in, and nowhere
 * else; and where a browser may be sent.
 */
#include "test.h"

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

static const struct session alice = {
	.sub = "alice",
	.sid = "s-1",
	.access = "access.token.x",
	.refresh = "refresh",
	.id_token = "id.token.x",
	.created_s = 1000,
	.issued_s = 999,
	.expires_s = 4600,
	.identity.value = {
		[KB_ID_USER] = "alice",
		[KB_ID_EMAIL] = "alice@example.org",
		[KB_ID_ROLES] = "admin,user",
	},
};

static struct seal_keys
keys_of(const char *secret, const char *next)
{
	struct kb_secret one = { 0 }, two = { 0 };
	struct seal_keys keys;

	kb_secret_set(&one, secret, strlen(secret));
	if (next)
		kb_secret_set(&two, next, strlen(next));
	seal_keys_make(&one, &two, "kombi session v1", &keys);
	kb_secret_free(&one);
	kb_secret_free(&two);
	return keys;
}

static bool
opens(struct kb_arena *a, const struct seal_keys *keys, const char *place,
    const char *text, struct session *out)
{
	return session_open(a, keys, place, kb_slice_of(text), out);
}

static void
a_session_comes_out_as_it_went_in(void **state)
{
	struct seal_keys keys = keys_of("first secret of the test", NULL);
	struct session s = alice, out;
	char *text;

	s.claims = s.access;
	text = session_seal(*state, &keys, "place", &s);
	assert_null(strstr(text, "alice"));
	assert_true(opens(*state, &keys, "place", text, &out));
	assert_string_equal(out.sub, "alice");
	assert_string_equal(out.sid, "s-1");
	assert_string_equal(out.claims, out.access);
	assert_string_equal(out.refresh, "refresh");
	assert_string_equal(out.id_token, "id.token.x");
	assert_int_equal(out.created_s, 1000);
	assert_int_equal(out.issued_s, 999);
	assert_int_equal(out.expires_s, 4600);
	assert_string_equal(
	    out.identity.value[KB_ID_EMAIL], "alice@example.org");
	assert_null(out.identity.value[KB_ID_NAME]);
}

static void
a_record_opens_in_its_own_place_and_unchanged_only(void **state)
{
	struct seal_keys keys = keys_of("first secret of the test", NULL);
	char *text = session_seal(*state, &keys, "place", &alice);
	size_t n = strlen(text);
	struct session out;

	assert_false(opens(*state, &keys, "places", text, &out));
	for (size_t i = 0; i < n; i++) {
		char *changed = kb_strdup(*state, text);

		changed[i] = changed[i] == 'A' ? 'B' : 'A';
		assert_false(opens(*state, &keys, "place", changed, &out));
		assert_false(opens(
		    *state, &keys, "place", kb_strndup(*state, text, i), &out));
	}
}

static void
secrets_rotate_without_ending_sessions(void **state)
{
	struct seal_keys old = keys_of("first secret of the test", NULL);
	struct seal_keys both = keys_of(
	    "second secret of the test", "first secret of the test");
	struct seal_keys later = keys_of("second secret of the test", NULL);
	char *text = session_seal(*state, &old, "place", &alice);
	struct session out;

	assert_true(opens(*state, &both, "place", text, &out));
	assert_false(opens(*state, &later, "place", text, &out));
	text = session_seal(*state, &both, "place", &alice);
	assert_true(opens(*state, &later, "place", text, &out));
	assert_false(opens(*state, &old, "place", text, &out));
}

static void
an_id_is_sixteen_bytes_in_one_spelling(void **state)
{
	static const char *const bad[] = { "", "AAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB",
		"AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAA A",
		"AAAAAAAAAAAAAAAAAAAA+A" };
	unsigned char id[SESSION_ID];

	assert_true(session_id(kb_slice_of("AAAAAAAAAAAAAAAAAAAAAA"), id));
	assert_true(session_id(kb_slice_of("_-_-_-_-_-_-_-_-_-_-_w"), id));
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_false(session_id(kb_slice_of(bad[i]), id));
	assert_null(strstr(session_key(*state, id), "_-_-"));
}

static void
a_logout_token_says_what_it_is_for(void **state)
{
	static const struct {
		const char *claims;
		bool good;
	} cases[] = {
#define EVENT                                                                  \
	"\"events\":{\"http://schemas.openid.net/event/backchannel-logout\":"
		{ "\"sub\":\"u\",\"jti\":\"j\"," EVENT "{}}", true },
		{ "\"sid\":\"s\",\"jti\":\"j\"," EVENT "{\"x\":1}}", true },
		{ "\"jti\":\"j\"," EVENT "{}}", false },
		{ "\"sub\":\"u\"," EVENT "{}}", false },
		{ "\"sub\":\"u\",\"jti\":\"j\"," EVENT "[]}", false },
		{ "\"sub\":\"u\",\"jti\":\"j\",\"events\":{}", false },
		{ "\"sub\":\"u\",\"jti\":\"j\"", false },
		{ "\"sub\":5,\"jti\":\"j\"," EVENT "{}}", false },
		{ "\"sub\":\"u\",\"jti\":\"j\",\"nonce\":null," EVENT "{}}",
		    false },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		char *text = kb_sprintf(*state, "{\"iat\":%lld,%s}",
		    (long long)kb_wall_s(), cases[i].claims);
		const struct kb_json *j;
		struct logout_token out;
		const char *why;

		assert_int_equal(
		    kb_json_parse(*state, text, strlen(text), &j, &why), KB_OK);
		assert_int_equal(logout_claims(j, &out),
		    cases[i].good ? KB_OK : KB_AUTH_INVALID);
	}
}

static void
an_allow_list_names_origins_that_browsers_send(void **state)
{
	static const char *const good[] = { "https://app.test",
		"https://app.test:8443", "https://app.test/a/b",
		"http://127.0.0.1:3000", "http://localhost" };
	static const char *const bad[] = { "", "app.test", "https://",
		"https:///x", "http://app.test", "https://App.test",
		"https://app.test/a/../b", "https://app.test/?x",
		"https://a b.test", "https://u@app.test", "ftp://app.test",
		"http://localhost.evil.test", "//app.test" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(good); i++)
		assert_null(return_entry_problem(good[i]));
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_non_null(return_entry_problem(bad[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(a_session_comes_out_as_it_went_in),
		test_with_arena(
		    a_record_opens_in_its_own_place_and_unchanged_only),
		test_with_arena(secrets_rotate_without_ending_sessions),
		test_with_arena(an_id_is_sixteen_bytes_in_one_spelling),
		test_with_arena(a_logout_token_says_what_it_is_for),
		cmocka_unit_test(
		    an_allow_list_names_origins_that_browsers_send),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
