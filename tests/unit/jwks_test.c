/*
 * Key sets: which keys of a document count, and what is refused whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/jwt.h>
#include <kombi/str.h>

/* Public keys made for this test; nobody holds their private halves. */
#define N1                                                                     \
	"iA84IuzNOpzncVOybr0RaE0aiyuDIxWfm5ONwbGs9yB0180Br2XPbfjOWCIhoK"       \
	"J8-3Dv-nvDwjTgZcCBxMWFSD0wsvHQsusXBxPJUAIwNjst_8D6Gi0TWN0JoL_u"       \
	"I9CeQ6Dbzf4qzq4JjTlEuSXNF6l0_I1pEKmYENETwynTEMoCd5zsK0BzpxCGqn"       \
	"hJZNrBeo1m3nTwtWRBrw3vXSSbhuE0ZpvmdVMCDm9KqSzN4up71IPbghrhMw0H"       \
	"eoD1uW5mWww4Kie0TymoT00UfIqHzHGaFB9YfxYC04mHBuZu2-WGkel5JuWtmm"       \
	"DrHoQaEWHIg1H-kS00SJMuEEIG1RygrQ"
#define N2                                                                     \
	"mZn7o6GtKXSCFWYI1TJcoZUvC9jObCZeuXw7hPnfM-5MHccKc_q877ErhnBcQu"       \
	"bt4cZbv8ZSROZetGvs0q1yuMaC9j_D2eXKdqEwC1Lqj_s6RWuBg9naRQAWWUjb"       \
	"raEOOuhH2IPMqssrE1AN_nHU6jyXwMqpKzVAMM3uHjMmRBCFas9VRTxYPU9cZM"       \
	"A6OoSJ3fVM7s_-m4pHr-mxS_2jeP7HYsXFNTT_AImq8b-K8H7fds-ZdS_YLS1q"       \
	"bINCEQHHc260DUwURxD93EmtGatfw_GDtjTXA9mnyI3QCm9T4Xjz3cC5Bt1KcK"       \
	"p-SzJ9z1kL5Ske3MQZU5EYOg_jop1aIw"
#define N_SHORT                                                                \
	"iA84IuzNOpzncVOybr0RaE0aiyuDIxWfm5ONwbGs9yB0180Br2XPbfjOWCIhoK"       \
	"J8-3Dv-nvDwjTgZcCBxMWFSD0wsvHQsusXBxPJUAIwNjst_8D6Gi0TWN0JoL_u"       \
	"I9CeQ6Dbzf4qzq4JjTlEuSXNF6l0_I1pEKmYENETwynTEM"
#define X "Ni0NnamP7P9mzVouyMNU-rk7kZYUgeGvmnffFS3TDNI"
#define Y "Ym4Pj48TpVi0JymDXWgWcMbTHkMae42JGZLQUu5SfpQ"

/* clang-format off */
#define RSA_(kid, n, more) \
	"{\"kty\":\"RSA\",\"kid\":\"" kid "\",\"n\":\"" n "\",\"e\":\"AQAB\"" more "}"
#define EC_(kid, x, y, more) \
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"" kid "\",\"x\":\"" x "\",\"y\":\"" y "\"" more "}"
#define SET(keys) "{\"keys\":[" keys "]}"

/* clang-format on */

static const char rsa_spki
    [] = "-----BEGIN PUBLIC KEY-----\n"
	 "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAiA84IuzNOpzncVOybr0R\n"
	 "aE0aiyuDIxWfm5ONwbGs9yB0180Br2XPbfjOWCIhoKJ8+3Dv+nvDwjTgZcCBxMWF\n"
	 "SD0wsvHQsusXBxPJUAIwNjst/8D6Gi0TWN0JoL/uI9CeQ6Dbzf4qzq4JjTlEuSXN\n"
	 "F6l0/I1pEKmYENETwynTEMoCd5zsK0BzpxCGqnhJZNrBeo1m3nTwtWRBrw3vXSSb\n"
	 "huE0ZpvmdVMCDm9KqSzN4up71IPbghrhMw0HeoD1uW5mWww4Kie0TymoT00UfIqH\n"
	 "zHGaFB9YfxYC04mHBuZu2+WGkel5JuWtmmDrHoQaEWHIg1H+kS00SJMuEEIG1Ryg\n"
	 "rQIDAQAB\n"
	 "-----END PUBLIC KEY-----\n";
static const char rsa_pkcs1
    [] = "-----BEGIN RSA PUBLIC KEY-----\n"
	 "MIIBCgKCAQEAiA84IuzNOpzncVOybr0RaE0aiyuDIxWfm5ONwbGs9yB0180Br2XP\n"
	 "bfjOWCIhoKJ8+3Dv+nvDwjTgZcCBxMWFSD0wsvHQsusXBxPJUAIwNjst/8D6Gi0T\n"
	 "WN0JoL/uI9CeQ6Dbzf4qzq4JjTlEuSXNF6l0/I1pEKmYENETwynTEMoCd5zsK0Bz\n"
	 "pxCGqnhJZNrBeo1m3nTwtWRBrw3vXSSbhuE0ZpvmdVMCDm9KqSzN4up71IPbghrh\n"
	 "Mw0HeoD1uW5mWww4Kie0TymoT00UfIqHzHGaFB9YfxYC04mHBuZu2+WGkel5JuWt\n"
	 "mmDrHoQaEWHIg1H+kS00SJMuEEIG1RygrQIDAQAB\n"
	 "-----END RSA PUBLIC KEY-----\n";
static const char p256_spki
    [] = "-----BEGIN PUBLIC KEY-----\n"
	 "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENi0NnamP7P9mzVouyMNU+rk7kZYU\n"
	 "geGvmnffFS3TDNJibg+PjxOlWLQnKYNdaBZwxtMeQxp7jYkZktBS7lJ+lA==\n"
	 "-----END PUBLIC KEY-----\n";
static const char p384_spki
    [] = "-----BEGIN PUBLIC KEY-----\n"
	 "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEolawzjEGqxo27XDXGHGqZYtyGHHUlR7Q\n"
	 "nSRwqCRaPiEPBjECgnHFQ3UmmgVUu+qY18qshX6zmz+OxV9jPSRiL0jbxO5VzttW\n"
	 "MZezPmU+OypYCTn+ZlVlReovtPO8tZFX\n"
	 "-----END PUBLIC KEY-----\n";
static const char rsa1024_spki
    [] = "-----BEGIN PUBLIC KEY-----\n"
	 "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDQJMpbDkLF34rt45ajyjoO7IP6\n"
	 "jZGCTaXKQhgRYubFbJQoVppDvsriBxLWh+aWFiPtBFeY86loP2z5woUrnpAgydsT\n"
	 "ACd96pseHktElXtRUwsCswoG6JlsOWWgS1ESTf3mRWzm8QsbZTwmUTE4Q4tb04IT\n"
	 "VFcExkzoZwEFk2lVuQIDAQAB\n"
	 "-----END PUBLIC KEY-----\n";
static const char rsa_e3_spki
    [] = "-----BEGIN PUBLIC KEY-----\n"
	 "MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAucYCk91sD77l0D3zDO4v\n"
	 "XWWQBGfQTBDzYJPbZp+yVNc71jF75V8+BTtACblzBKj0h6QNDHfFpFs9hj88Djb+\n"
	 "Q53gnMYyHFkqMiSGEg9j8a4yUUP8kAkVrBD4EzdOxutYRYql6pBnPmkqEzHgH5wK\n"
	 "KkByN6rPdQk1TgvFuDB4WuqhYGFpycAJVc0ky3ADto+FbWJqrJxPOGGZIHz6pT0F\n"
	 "ghy0MagRYN0wnwXdFloW3aIBn5d2rZVW02V6FmrzuzJBrVuLGA14Ku9Vos+dGIVc\n"
	 "KJB7ooRBndmmHAKIjpeq2ns265C6F/uN6bJbLS09rmyfZ9DQTEASds9lS5tSa4AH\n"
	 "dQIBAw==\n"
	 "-----END PUBLIC KEY-----\n";

static size_t
count(const char *text)
{
	struct kb_jwks *set = NULL;
	const char *why = NULL;
	size_t n = 0;

	if (kb_jwks_parse(text, strlen(text), &set, &why) == KB_OK)
		n = kb_jwks_count(set);
	else
		assert_non_null(why);
	kb_jwks_unref(set);
	return n;
}

static void
usable_keys_count_and_are_found_by_their_exact_kid(void **state)
{
	static const char text[] = SET(RSA_("k1", N1, "") "," EC_("k2", X, Y,
	    ",\"use\":\"sig\",\"alg\":\"ES256\",\"key_ops\":[\"verify\"]"));
	struct kb_jwks *set = NULL;
	const char *why;

	(void)state;
	assert_int_equal(kb_jwks_parse(text, strlen(text), &set, &why), KB_OK);
	assert_int_equal(kb_jwks_count(set), 2);
	assert_true(kb_jwks_has(set, "k1"));
	assert_true(kb_jwks_has(set, "k2"));
	assert_false(kb_jwks_has(set, "K1"));
	assert_false(kb_jwks_has(set, "k"));
	assert_false(kb_jwks_has(set, "k11"));
	assert_false(kb_jwks_has(set, ""));
	assert_false(kb_jwks_has(set, NULL));
	kb_jwks_unref(set);
}

static void
a_set_lives_as_long_as_its_last_reference(void **state)
{
	static const char text[] = SET(EC_("k", X, Y, ""));
	struct kb_jwks *set = NULL, *second;
	const char *why;

	(void)state;
	assert_int_equal(kb_jwks_parse(text, strlen(text), &set, &why), KB_OK);
	second = kb_jwks_ref(set);
	kb_jwks_unref(set);
	assert_true(kb_jwks_has(second, "k"));
	kb_jwks_unref(second);
	kb_jwks_unref(NULL);
}

static void
keys_that_must_not_verify_are_left_out(void **state)
{
	static const char *const keys[] = {
		RSA_("k", N1, ",\"use\":\"enc\""),
		RSA_("k", N1, ",\"use\":7"),
		RSA_("k", N1, ",\"alg\":\"RS512\""),
		RSA_("k", N1, ",\"alg\":\"HS256\""),
		RSA_("k", N1, ",\"alg\":\"ES256\""),
		RSA_("k", N1, ",\"alg\":null"),
		RSA_("k", N1, ",\"key_ops\":[\"sign\"]"),
		RSA_("k", N1, ",\"key_ops\":\"verify\""),
		RSA_("k", N1, ",\"d\":\"AQAB\""),
		RSA_("", N1, ""),
		RSA_("k", N_SHORT, ""),
		RSA_("k", "AA", ""),
		RSA_("k", "", ""),
		RSA_("k", "!", ""),
		RSA_("k", N1 "=", ""),
		"{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"" N1 "\",\"e\":\"AQ\"}",
		"{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"" N1 "\",\"e\":\"Aw\"}",
		"{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"" N1
		"\",\"e\":\"AQAA\"}",
		"{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"" N1
		"\",\"e\":\"AQAAAAAAAAAB\"}",
		"{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"" N1 "\"}",
		"{\"kty\":\"RSA\",\"kid\":7,\"n\":\"" N1 "\",\"e\":\"AQAB\"}",
		EC_("k", X, X, ""),
		EC_("k", "AA", Y, ""),
		EC_("k", Y, "", ""),
		EC_("k", X, Y, ",\"alg\":\"RS256\""),
		"{\"kty\":\"EC\",\"kid\":\"k\",\"x\":\"" X "\",\"y\":\"" Y
		"\"}",
		"{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"k\",\"x\":\"" X
		"\",\"y\":\"" Y "\"}",
		"{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"c2VjcmV0\"}",
		"{\"kty\":\"OKP\",\"kid\":\"k\",\"crv\":\"Ed25519\",\"x\":"
		"\"AA\"}",
		"{}",
		"null",
		"\"x\"",
		"[]",
	};
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	for (size_t i = 0; i < KB_COUNT(keys); i++) {
		if (count(kb_sprintf(a, SET("%s"), keys[i])))
			fail_msg("alone: %s", keys[i]);
		if (count(kb_sprintf(
			a, SET("%s," EC_("good", X, Y, "")), keys[i])) != 1)
			fail_msg("spoils a good key: %s", keys[i]);
	}
	kb_arena_free(a);
}

static void
a_key_without_kid_counts_only_when_it_is_the_only_one(void **state)
{
	static const char lone[] = "{\"kty\":\"RSA\",\"n\":\"" N1
				   "\",\"e\":\"AQAB\"}";
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	assert_int_equal(count(kb_sprintf(a, SET("%s"), lone)), 1);
	assert_int_equal(
	    count(kb_sprintf(a, SET("%s," EC_("k", X, Y, "")), lone)), 1);
	assert_int_equal(count(kb_sprintf(a, SET("%s,%s"), lone, lone)), 0);
	kb_arena_free(a);
}

static void
one_kid_for_two_keys_is_nobodys_and_the_same_key_twice_is_one(void **state)
{
	(void)state;
	assert_int_equal(
	    count(SET(RSA_("k", N1, "") "," RSA_("k", N1, ""))), 1);
	assert_int_equal(
	    count(SET(RSA_("k", N1, "") "," RSA_("k", N2, ""))), 0);
	assert_int_equal(
	    count(SET(RSA_("k", N1, "") "," EC_("k", X, Y, ""))), 0);
	assert_int_equal(count(SET(RSA_("k", N1, "") "," RSA_("k", N2,
			     "") "," RSA_("k", N1, "") "," EC_("z", X, Y, ""))),
	    1);
	/* An entry that does not count cannot make another one ambiguous. */
	assert_int_equal(
	    count(SET(RSA_("k", N1, "") "," RSA_("k", N2, ",\"use\":\"enc\""))),
	    1);
}

static void
documents_that_are_no_key_set_are_refused(void **state)
{
	static const char *const texts[] = { "", "<html>", "{}", "[]", "null",
		"{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[null,1,\"x\"]}",
		"{\"keys\":[" EC_("k", X, Y, ""),
		"{\"keys\":[],\"keys\":[" EC_("k", X, Y, "") "]}",
		SET(EC_("k", X, Y, "")) "x" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(texts); i++)
		assert_int_equal(count(texts[i]), 0);
}

static void
a_set_has_at_most_64_keys_and_256_kib(void **state)
{
	struct kb_buf b;

	(void)state;
	for (int keys = 64; keys <= 65; keys++) {
		kb_buf_init(&b, 1 << 20);
		kb_buf_adds(&b, "{\"keys\":[{}");
		for (int i = 1; i < keys - 1; i++)
			kb_buf_adds(&b, ",{}");
		kb_buf_adds(&b, "," EC_("k", X, Y, "") "]}");
		assert_int_equal(count(kb_buf_str(&b)), keys == 64 ? 1 : 0);
		kb_buf_free(&b);
	}

	kb_buf_init(&b, 1 << 20);
	kb_buf_adds(&b, SET(EC_("k", X, Y, "")));
	while (b.len < 256 * 1024)
		kb_buf_addc(&b, ' ');
	assert_int_equal(count(kb_buf_str(&b)), 1);
	kb_buf_addc(&b, ' ');
	assert_int_equal(count(kb_buf_str(&b)), 0);
	kb_buf_free(&b);
}

static void
a_pem_key_becomes_a_set_of_one_under_the_same_limits(void **state)
{
	static const struct {
		const char *pem;
		bool good;
	} cases[] = { { rsa_spki, true }, { rsa_pkcs1, true },
		{ p256_spki, true }, { p384_spki, false },
		{ rsa1024_spki, false }, { rsa_e3_spki, false }, { "", false },
		{ "-----BEGIN PUBLIC KEY-----\n", false } };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_jwks *set = NULL;
		enum kb_err err = kb_jwks_from_pem(cases[i].pem, "k", &set);

		if (err != (cases[i].good ? KB_OK : KB_INVALID))
			fail_msg("%zu: %s", i, cases[i].pem);
		if (!err)
			assert_true(kb_jwks_has(set, "k"));
		kb_jwks_unref(set);
	}
}

/* {"alg":"RS256","kid":"k9"}, {"alg":"RS256"}, {"alg":"HS256","kid":"k9"} */
static void
only_a_wellformed_token_with_a_foreign_kid_asks_for_new_keys(void **state)
{
	static const struct {
		const char *token;
		bool unknown;
	} cases[] = {
		{ "eyJhbGciOiJSUzI1NiIsImtpZCI6Ims5In0.e30.AA", true },
		{ "eyJhbGciOiJSUzI1NiJ9.e30.AA", false },
		{ "eyJhbGciOiJIUzI1NiIsImtpZCI6Ims5In0.e30.AA", false },
		{ "eyJhbGciOiJSUzI1NiIsImtpZCI6Ims5In0.e30.A", false },
		{ "eyJhbGciOiJSUzI1NiIsImtpZCI6Ims5In0.e30", false },
	};
	static const struct kb_jwt_rules rules = { .leeway_s = 30 };
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwks *set = NULL;

	(void)state;
	assert_int_equal(kb_jwks_from_pem(rsa_spki, "k", &set), KB_OK);
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_jwt jwt;

		assert_int_equal(kb_jwt_verify(a,
				     (struct kb_slice) { cases[i].token,
					 strlen(cases[i].token) },
				     set, &rules, &jwt),
		    KB_AUTH_INVALID);
		if (jwt.unknown_kid != cases[i].unknown)
			fail_msg("%s: %s", cases[i].token, jwt.why);
	}
	kb_jwks_unref(set);
	kb_arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    usable_keys_count_and_are_found_by_their_exact_kid),
		cmocka_unit_test(a_set_lives_as_long_as_its_last_reference),
		cmocka_unit_test(keys_that_must_not_verify_are_left_out),
		cmocka_unit_test(
		    a_key_without_kid_counts_only_when_it_is_the_only_one),
		cmocka_unit_test(
		    one_kid_for_two_keys_is_nobodys_and_the_same_key_twice_is_one),
		cmocka_unit_test(documents_that_are_no_key_set_are_refused),
		cmocka_unit_test(a_set_has_at_most_64_keys_and_256_kib),
		cmocka_unit_test(
		    a_pem_key_becomes_a_set_of_one_under_the_same_limits),
		cmocka_unit_test(
		    only_a_wellformed_token_with_a_foreign_kid_asks_for_new_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
