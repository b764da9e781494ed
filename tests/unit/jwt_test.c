/*
 * Tokens: our own HS256 ones by hand, and the attack corpus against the
 * whole way from the bytes to an identity.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/child.h>
#include <kombi/identity.h>
#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define KEY "0123456789abcdef0123456789abcdef"
#define OUTPUT_MAX (32 << 20)

static const struct kb_jwt_rules lax = { .leeway_s = 30 };

static char *
quoted(struct kb_arena *a, const char *text)
{
	char *s = kb_strdup(a, text);

	for (char *p = s; *p; p++)
		if (*p == '\'')
			*p = '"';
	return s;
}

/* A token with these claims (' for "); "$N" stands for now + N. */
static char *
signed_token(struct kb_arena *a, const char *claims)
{
	const char *at = strchr(claims, '$');
	char *end = NULL;

	if (at) {
		long long ahead = strtoll(at + 1, &end, 10);

		claims = kb_sprintf(a, "%.*s%lld%s", (int)(at - claims), claims,
		    (long long)kb_wall_s() + ahead, end);
	}
	return kb_jwt_sign_hs256(a, quoted(a, claims), NULL, KEY, 32);
}

static enum kb_err
verify(struct kb_arena *a, const char *token, const struct kb_jwt_rules *rules,
    struct kb_jwt *jwt)
{
	enum kb_err err = kb_jwt_verify_hs256(a,
	    (struct kb_slice) { token, strlen(token) },
	    (struct kb_slice) { KEY, 32 }, rules, jwt);

	assert_true((err == KB_OK) == (jwt->why == NULL));
	return err;
}

static void
what_we_sign_we_verify(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwt jwt;
	char *token = kb_jwt_sign_hs256(a,
	    kb_sprintf(a, "{\"iss\":\"i\",\"sub\":\"s\",\"exp\":%lld,\"x\":7}",
		(long long)kb_wall_s() + 60),
	    "key \"1\"", KEY, 32);
	int64_t x = 0;

	(void)state;
	assert_int_equal(verify(a, token, &lax, &jwt), KB_OK);
	assert_string_equal(jwt.issuer, "i");
	assert_string_equal(jwt.subject, "s");
	assert_int_equal(jwt.issued_at, 0);
	assert_true(jwt.expires > kb_wall_s());
	assert_true(kb_json_int(jwt.claims, "x", &x));
	assert_int_equal(x, 7);
	assert_string_equal(kb_json_str(jwt.header, "kid"), "key \"1\"");
	kb_arena_free(a);
}

/* RFC 7515 A.1: a token of the standard itself. */
static void
the_hs256_example_of_rfc_7515_verifies(void **state)
{
	static const char token[] =
	    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
	    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
	    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
	    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
	static const char key[] = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_"
				  "T-1qS0gZH75aKtMN3Yj0i"
				  "PS4hcgUuTwjAzZr1Z9CAow";
	const struct kb_jwt_rules rules = { .issuer = "joe",
		.leeway_s = (int64_t)1 << 40 };
	struct kb_arena *a = kb_arena_new(0);
	unsigned char raw[128];
	struct kb_jwt jwt;
	long n = kb_base64url_decode(key, strlen(key), raw);

	(void)state;
	assert_int_equal(n, 64);
	assert_int_equal(
	    kb_jwt_verify_hs256(a, (struct kb_slice) { token, strlen(token) },
		(struct kb_slice) { (const char *)raw, (size_t)n }, &rules,
		&jwt),
	    KB_OK);
	assert_int_equal(jwt.expires, 1300819380);
	kb_arena_free(a);
}

static void
one_changed_bit_anywhere_is_refused(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	char *token = signed_token(a, "{'exp':$60}");
	struct kb_jwt jwt;

	(void)state;
	assert_int_equal(verify(a, token, &lax, &jwt), KB_OK);
	for (size_t i = 0; token[i]; i++)
		for (int bit = 0; bit < 8; bit++) {
			token[i] = (char)(token[i] ^ (1 << bit));
			if (kb_jwt_verify_hs256(a,
				(struct kb_slice) { token, strlen(token) },
				(struct kb_slice) { KEY, 32 }, &lax,
				&jwt) == KB_OK)
				fail_msg("bit %d of byte %zu", bit, i);
			token[i] = (char)(token[i] ^ (1 << bit));
		}
	kb_arena_free(a);
}

static void
a_token_is_refused_with_another_key_an_empty_one_or_cut_short(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	char *token = signed_token(a, "{'exp':$60}");
	struct kb_jwt jwt;

	(void)state;
	assert_int_equal(
	    kb_jwt_verify_hs256(a, (struct kb_slice) { token, strlen(token) },
		(struct kb_slice) { "0123456789abcdef0123456789abcdeg", 32 },
		&lax, &jwt),
	    KB_AUTH_INVALID);
	assert_int_equal(
	    kb_jwt_verify_hs256(a, (struct kb_slice) { token, strlen(token) },
		(struct kb_slice) { "", 0 }, &lax, &jwt),
	    KB_AUTH_INVALID);
	assert_string_equal(jwt.why, "empty key");
	for (size_t len = 0; len < strlen(token); len++)
		assert_int_equal(
		    kb_jwt_verify_hs256(a, (struct kb_slice) { token, len },
			(struct kb_slice) { KEY, 32 }, &lax, &jwt),
		    KB_AUTH_INVALID);
	kb_arena_free(a);
}

static void
claims_are_held_to_the_rules(void **state)
{
	static const char *const audience[] = { "one", "two", NULL };
	static const struct kb_jwt_rules rules = { .issuer = "i",
		.audience = audience,
		.leeway_s = 30,
		.max_life_s = 3600 };
	static const struct {
		const char *claims;
		bool good;
	} cases[] = {
		{ "{'iss':'i','aud':'one','exp':$60}", true },
		{ "{'iss':'i','aud':['x','two'],'exp':$60}", true },
		{ "{'iss':'i','aud':'one','exp':$-25}", true },
		{ "{'iss':'i','aud':'one','exp':$-30}", false },
		{ "{'iss':'i','aud':'one','exp':$3625}", true },
		{ "{'iss':'i','aud':'one','exp':$3635}", false },
		{ "{'iss':'i','aud':'one'}", false },
		{ "{'iss':'i','aud':'one','exp':null}", false },
		{ "{'iss':'i','aud':'one','exp':true}", false },
		{ "{'iss':'i','aud':'one','exp':'$60'}", false },
		{ "{'iss':'i','aud':'one','exp':$60.5}", false },
		{ "{'iss':'i','aud':'one','exp':1e300}", false },
		{ "{'iss':'i','aud':'one','exp':$60,'nbf':1}", true },
		{ "{'iss':'i','aud':'one','exp':$60,'nbf':9e9}", false },
		{ "{'iss':'i','aud':'one','exp':$60,'nbf':'1'}", false },
		{ "{'iss':'i','aud':'one','exp':$60,'iat':9e9}", false },
		{ "{'iss':'i','aud':'one','exp':$60,'iat':[]}", false },
		{ "{'iss':'i','aud':'one','exp':$60,'sub':1}", false },
		{ "{'iss':'i/','aud':'one','exp':$60}", false },
		{ "{'iss':['i'],'aud':'one','exp':$60}", false },
		{ "{'aud':'one','exp':$60}", false },
		{ "{'iss':'i','exp':$60}", false },
		{ "{'iss':'i','aud':[],'exp':$60}", false },
		{ "{'iss':'i','aud':['one',1],'exp':$60}", false },
		{ "{'iss':'i','aud':{'one':'one'},'exp':$60}", false },
		{ "{'iss':'i','aud':'ONE','exp':$60}", false },
	};
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_jwt jwt;

		if ((verify(a, signed_token(a, cases[i].claims), &rules,
			 &jwt) == KB_OK) != cases[i].good)
			fail_msg("%s", cases[i].claims);
	}
	kb_arena_free(a);
}

static void
peeking_reads_claims_and_refuses_what_is_no_token(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a.b", "a.b.c.d",
		"a.bm8.c", "a.W10.c", "undefined", "a.e30=.c" };
	struct kb_arena *a = kb_arena_new(0);
	char *token = signed_token(a, "{'tenant':'acme'}");
	const struct kb_json *claims;

	(void)state;
	assert_int_equal(kb_jwt_peek(a, token, strlen(token), &claims), KB_OK);
	assert_string_equal(kb_json_str(claims, "tenant"), "acme");
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_int_equal(
		    kb_jwt_peek(a, bad[i], strlen(bad[i]), &claims),
		    KB_INVALID);
	kb_arena_free(a);
}

/* ---- published public-key tokens, from several threads --------------------*/

#define RFC_PAYLOAD                                                            \
	"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl" \
	"LmNvbS9pc19yb290Ijp0cnVlfQ"

static const char rfc_keys[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a2\",\"n\":\"ofgWCuLjybRlzo0tZWJjN"
    "iuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4"
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL"
    "-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMT"
    "BQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q"
    "2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}";
static const char rfc_ec_keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"a3\",\"crv\":\"P-256\",\"x\":\"f83OJ"
    "3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LN"
    "pXW6pCyStikYjKIWI5a0\"}]}";
/* RFC 7515 A.2 and A.3; they carry no kid, so each has a set of one key. */
static const char rfc_rs256[] =
    "eyJhbGciOiJSUzI1NiJ9." RFC_PAYLOAD
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm"
    "4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f"
    "_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOL"
    "n6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUT"
    "I8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
static const char rfc_es256[] = "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD
				".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-"
				"F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxf"
				"KTUJqPP3-Kg6NU1Q";

struct verifier {
	pthread_t thread;
	struct kb_jwks *rsa, *ec;
	int good;
};

static bool
holds(struct kb_jwks *keys, const char *token)
{
	const struct kb_jwt_rules rules = { .issuer = "joe",
		.leeway_s = (int64_t)1 << 40 };
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwt jwt;

	bool good;
	good = kb_jwt_verify(a, (struct kb_slice) { token, strlen(token) },
		   keys, &rules, &jwt) == KB_OK;
	kb_arena_free(a);
	return good;
}

static void *
verify_often(void *arg)
{
	struct verifier *v = arg;

	for (int i = 0; i < 25; i++)
		v->good += holds(v->rsa, rfc_rs256) + holds(v->ec, rfc_es256) +
		    !holds(v->rsa, rfc_es256) + !holds(v->ec, rfc_rs256);
	return NULL;
}

static void
the_rs256_and_es256_examples_of_rfc_7515_verify_in_any_thread(void **state)
{
	struct verifier v[4] = { 0 };
	struct kb_jwks *rsa = NULL, *ec = NULL;
	const char *why;

	(void)state;
	assert_int_equal(
	    kb_jwks_parse(rfc_keys, strlen(rfc_keys), &rsa, &why), KB_OK);
	assert_int_equal(
	    kb_jwks_parse(rfc_ec_keys, strlen(rfc_ec_keys), &ec, &why), KB_OK);
	for (size_t i = 0; i < KB_COUNT(v); i++) {
		v[i].rsa = rsa;
		v[i].ec = ec;
		assert_int_equal(
		    pthread_create(&v[i].thread, NULL, verify_often, &v[i]), 0);
	}
	for (size_t i = 0; i < KB_COUNT(v); i++) {
		pthread_join(v[i].thread, NULL);
		assert_int_equal(v[i].good, 100);
	}
	kb_jwks_unref(rsa);
	kb_jwks_unref(ec);
}

/* ---- the corpus ----------------------------------------------------------*/

/* Where our decision is not the corpus': "plan claim, else highest
 * subscriber role" (DESIGN 4.3); the case has that role and expects free. */
static const char *const other_plan[] = { "JWT-294" };

struct corpus_case {
	const char *id, *title, *accept, *plan, *lacks;
	struct kb_slice token, jwks, then;
};

static struct kb_slice
decoded(struct kb_arena *a, const struct kb_json *j, const char *name)
{
	const char *text = kb_json_str(j, name);
	struct kb_slice s = { NULL, 0 };
	char *out;

	if (!text)
		return s;
	out = kb_arena_alloc(a, strlen(text) + 3);
	s.ptr = out;
	s.len = (size_t)kb_base64url_decode(text, strlen(text), out);
	return s;
}

static struct corpus_case
read_case(struct kb_arena *a, struct kb_slice line)
{
	const struct kb_json *j;
	const char *why;

	if (kb_json_parse(a, line.ptr, line.len, &j, &why))
		fail_msg("corpus: %s", why);
	return (struct corpus_case) {
		.id = kb_json_str(j, "id"),
		.title = kb_json_str(j, "title"),
		.accept = kb_json_str(j, "accept"),
		.plan = kb_json_str(j, "plan"),
		.lacks = kb_json_str(j, "lacks"),
		.token = decoded(a, j, "token"),
		.jwks = decoded(a, j, "jwks"),
		.then = decoded(a, j, "then"),
	};
}

/* Runs the tool that makes keys and signs the cases as of now. */
static struct kb_slice
corpus(struct kb_arena *a)
{
	const char *root = getenv("KOMBI_SOURCE_DIR");
	const char *folder = kb_sprintf(
	    a, "%s/tests/attacks", root ? root : ".");
	const char *const argv[] = { "python3",
		kb_sprintf(a, "%s/tools/jwt_corpus.py", folder),
		kb_sprintf(a, "%s/jwt_cases.jsonl", folder), NULL };
	const struct kb_child child = {
		.program = "/usr/bin/python3",
		.argv = argv,
		.deadline_ms = 100000,
		.max_output = OUTPUT_MAX,
	};
	struct kb_child_result r;
	const char *why = "";

	if (kb_child_run(a, &child, &r, &why))
		fail_msg("python3: %s", why);
	if (r.end != KB_CHILD_EXITED || r.status)
		fail_msg("jwt_corpus.py: %s", r.err);
	return (struct kb_slice) { r.out, r.out_len };
}

static bool
plan_differs(const struct corpus_case *c, const char *plan)
{
	for (size_t i = 0; i < KB_COUNT(other_plan); i++)
		if (strcmp(c->id, other_plan[i]) == 0)
			return false;
	return c->plan && !kb_str_eq(c->plan, plan);
}

/* The outcome as text when it is not what the corpus expects, else NULL. */
static const char *
judge(struct kb_arena *a, const struct corpus_case *c, struct kb_jwks *keys)
{
	static const char *const audience[] = { "kombisphere-api", NULL };
	static const struct kb_jwt_rules rules = {
		.issuer = "https://auth.kombisphere.io",
		.audience = audience,
		.leeway_s = 30,
		.max_life_s = 3600,
		.typ_at_jwt = true
	};
	struct kb_identity id;
	struct kb_jwt jwt;

	if (kb_jwt_verify(a, c->token, keys, &rules, &jwt))
		return strcmp(c->accept, "yes") == 0 ? jwt.why : NULL;
	if (kb_identity_from_claims(a, jwt.claims, NULL, &id))
		return strcmp(c->accept, "yes") == 0 ? "identity" : NULL;
	if (strcmp(c->accept, "no") == 0)
		return "was accepted";
	if (plan_differs(c, id.value[KB_ID_PLAN]))
		return id.value[KB_ID_PLAN];
	if (c->lacks && kb_roles_have(id.value[KB_ID_ROLES], c->lacks))
		return "has the role";
	return NULL;
}

static const char *
run_case(struct kb_arena *a, const struct corpus_case *c, struct kb_jwks *good)
{
	struct kb_jwks *keys = NULL, *then = NULL;
	const char *why, *problem;

	if (!c->jwks.ptr)
		return judge(a, c, good);
	if (kb_jwks_parse(c->jwks.ptr, c->jwks.len, &keys, &why))
		keys = NULL;
	problem = judge(a, c, keys);
	/* A refresh that brings rubbish must be seen to be rubbish. */
	if (!problem && c->then.ptr &&
	    kb_jwks_parse(c->then.ptr, c->then.len, &then, &why) == KB_OK)
		problem = "the refreshed set was taken";
	kb_jwks_unref(then);
	kb_jwks_unref(keys);
	return problem;
}

static void
every_case_of_the_attack_corpus_comes_out_as_it_says(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_slice rest = corpus(a), line;
	struct kb_jwks *good = NULL;
	unsigned n = 0, failed = 0;
	const char *why;

	(void)state;
	assert_true(kb_slice_next(&rest, '\n', &line));
	struct corpus_case first = read_case(a, line);
	assert_int_equal(
	    kb_jwks_parse(first.jwks.ptr, first.jwks.len, &good, &why), KB_OK);
	while (kb_slice_next(&rest, '\n', &line) && line.len) {
		struct corpus_case c = read_case(a, line);
		const char *problem = run_case(a, &c, good);

		n++;
		if (problem) {
			failed++;
			print_message("%s %s: %s\n", c.id, c.title, problem);
		}
	}
	print_message("%u cases, %u failed\n", n, failed);
	assert_int_equal(failed, 0);
	assert_true(n >= 190);
	kb_jwks_unref(good);
	kb_arena_free(a);
}

static void
without_keys_nobody_is_judged(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwt jwt;

	(void)state;
	assert_int_equal(kb_jwt_verify(a, (struct kb_slice) { "a.b.c", 5 },
			     NULL, &lax, &jwt),
	    KB_UNAVAILABLE);
	assert_false(jwt.unknown_kid);
	kb_arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_we_sign_we_verify),
		cmocka_unit_test(the_hs256_example_of_rfc_7515_verifies),
		cmocka_unit_test(one_changed_bit_anywhere_is_refused),
		cmocka_unit_test(
		    a_token_is_refused_with_another_key_an_empty_one_or_cut_short),
		cmocka_unit_test(claims_are_held_to_the_rules),
		cmocka_unit_test(
		    peeking_reads_claims_and_refuses_what_is_no_token),
		cmocka_unit_test(without_keys_nobody_is_judged),
		cmocka_unit_test(
		    the_rs256_and_es256_examples_of_rfc_7515_verify_in_any_thread),
		cmocka_unit_test(
		    every_case_of_the_attack_corpus_comes_out_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
