/*
 * Identity: owned header names, the gateway's proof, roles and plans of
 * claims, tokens between services.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/crypto.h>
#include <kombi/identity.h>
#include <kombi/str.h>

#define NOW 1790000000

static struct kb_secret root, next, other;

static int
set_up(void **state)
{
	(void)state;
	kb_secret_set(&root, "0123456789abcdef0123456789abcdef", 32);
	kb_secret_set(&next, "fedcba9876543210fedcba9876543210", 32);
	kb_secret_set(&other, "another secret of thirty-two byte", 32);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	kb_secret_free(&root);
	kb_secret_free(&next);
	kb_secret_free(&other);
	return 0;
}

static const struct kb_identity
    alice = { .value = {
		  [KB_ID_USER] = "user-a1",
		  [KB_ID_ORG] = "org_a",
		  [KB_ID_ROLES] = "subscriber_pro,user",
		  [KB_ID_PLAN] = "pro",
	      } };

static enum kb_err
check(const struct kb_secret *r, const struct kb_secret *n, int64_t now,
    const char *method, const struct kb_identity *id, const char *proof)
{
	struct kb_pair_keys keys;

	kb_pair_keys(r, n, "gateway", "stack", &keys);
	return kb_proof_check(
	    &keys, now, method, "stack", id, kb_slice_of(proof));
}

static void
make(const struct kb_secret *r, const struct kb_secret *n, char *out)
{
	struct kb_pair_keys keys;

	kb_pair_keys(r, n, "gateway", "stack", &keys);
	kb_proof_make(&keys, NOW, "GET", "stack", &alice, out);
}

/* ---- names ---------------------------------------------------------------*/

static void
every_spelling_of_an_owned_header_is_owned(void **state)
{
	static const char *const names[] = { "X-User-ID", "x-user-id",
		"X-User_ID", "X_USER_ID", "X.User.ID", "X!User!ID", "X~User~ID",
		"X-User-ID-", "X-User-ID_._", "X-User-Sub", "X-User-Email",
		"X-User-Name", "X-User-Roles", "X_User_Roles", "X-Org-ID",
		"X-Org", "X-Tenant-ID", "X.Tenant.ID", "X-Tenant-Slug",
		"X-Subscription-Plan", "X-Service-Name", "X-Forwarded-By",
		"X-Internal-Token", "X-Kombi-Gateway-Signature",
		"X-Kombi-Service", "X-Kombi-Proof", "X-Kombify-Service-Auth",
		"X-Consumer-ID", "X-Consumer-Username", "X-Consumer-Custom-ID",
		"X-Credential-Identifier", "X-Authenticated-UserId",
		"X-Authenticated-Scope", "X-Anonymous-Consumer",
		"X-Original-Authorization", "X_Forwarded_For",
		"X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP",
		"CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP",
		"X-Kombi-Something-Much-Longer-Than-Every-Row-Of-The-Table" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(names); i++)
		if (!kb_header_is_owned(names[i], strlen(names[i])))
			fail_msg("%s is not owned", names[i]);
	for (size_t i = 0; i < KB_ID_FIELDS; i++)
		assert_true(kb_header_is_owned(
		    kb_identity_header[i], strlen(kb_identity_header[i])));
	assert_true(kb_header_is_owned(KB_PROOF_HEADER, 13));
}

static void
other_headers_are_not_owned(void **state)
{
	static const char *const names[] = { "", "X", "X-", "-", "Host",
		"Accept", "Authorization", "X-Request-ID", "X-Api-Key",
		"Content-Type", "Cookie", "Traceparent", "From",
		"X-Requested-With", "X-Userid-Like", "XUser", "X-Use",
		"X-Organisation", "X-Original-Authorization-Date",
		"Forwarded-For", "X-Correlation-ID", "Transfer-Encoding" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(names); i++)
		if (kb_header_is_owned(names[i], strlen(names[i])))
			fail_msg("%s is owned", names[i]);
}

/* ---- proof ---------------------------------------------------------------*/

static void
a_proof_holds_for_what_it_was_made_for(void **state)
{
	char proof[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	assert_int_equal(strncmp(proof, "t=1790000000,k=", 15), 0);
	assert_int_equal(check(&root, NULL, NOW, "GET", &alice, proof), KB_OK);
	assert_int_equal(
	    check(&root, NULL, NOW + 60, "GET", &alice, proof), KB_OK);
	assert_int_equal(
	    check(&root, NULL, NOW - 5, "GET", &alice, proof), KB_OK);
}

static void
a_proof_ends_after_a_minute_and_does_not_come_from_the_future(void **state)
{
	char proof[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	assert_int_equal(check(&root, NULL, NOW + 61, "GET", &alice, proof),
	    KB_AUTH_INVALID);
	assert_int_equal(
	    check(&root, NULL, NOW - 6, "GET", &alice, proof), KB_AUTH_INVALID);
}

static void
a_proof_holds_for_no_other_method_callee_caller_or_secret(void **state)
{
	struct kb_pair_keys keys;
	char proof[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	assert_int_equal(
	    check(&root, NULL, NOW, "DELETE", &alice, proof), KB_AUTH_INVALID);
	assert_int_equal(
	    check(&other, NULL, NOW, "GET", &alice, proof), KB_AUTH_INVALID);
	kb_pair_keys(&root, NULL, "gateway", "admin", &keys);
	assert_int_equal(kb_proof_check(&keys, NOW, "GET", "admin", &alice,
			     kb_slice_of(proof)),
	    KB_AUTH_INVALID);
	kb_pair_keys(&root, NULL, "sim", "stack", &keys);
	assert_int_equal(kb_proof_check(&keys, NOW, "GET", "stack", &alice,
			     kb_slice_of(proof)),
	    KB_AUTH_INVALID);
	kb_pair_keys(&root, NULL, "gateway", "stack", &keys);
	assert_int_equal(kb_proof_check(&keys, NOW, "GET", "admin", &alice,
			     kb_slice_of(proof)),
	    KB_AUTH_INVALID);
}

static void
changing_any_identity_value_breaks_the_proof(void **state)
{
	char proof[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	for (int i = 0; i < KB_ID_FIELDS; i++) {
		struct kb_identity changed = alice;

		changed.value[i] = "x";
		assert_int_equal(
		    check(&root, NULL, NOW, "GET", &changed, proof),
		    KB_AUTH_INVALID);
		changed.value[i] = "x\ny";
		assert_int_equal(
		    check(&root, NULL, NOW, "GET", &changed, proof),
		    KB_AUTH_INVALID);
	}
}

static void
an_absent_value_and_an_empty_one_are_the_same(void **state)
{
	struct kb_identity empty = alice;
	char proof[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	empty.value[KB_ID_TENANT] = "";
	assert_int_equal(check(&root, NULL, NOW, "GET", &empty, proof), KB_OK);
}

static void
secrets_rotate_without_a_refused_proof(void **state)
{
	char by_old[KB_PROOF_SIZE], by_new[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, by_old);
	make(&next, NULL, by_new);
	assert_int_equal(
	    check(&root, &next, NOW, "GET", &alice, by_old), KB_OK);
	assert_int_equal(
	    check(&root, &next, NOW, "GET", &alice, by_new), KB_OK);
	assert_int_equal(
	    check(&next, NULL, NOW, "GET", &alice, by_old), KB_AUTH_INVALID);
}

static void
nothing_is_proven_without_a_secret(void **state)
{
	struct kb_secret none = { 0 };
	struct kb_pair_keys keys;
	char proof[KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	kb_pair_keys(&none, NULL, "gateway", "stack", &keys);
	assert_int_equal(keys.n, 0);
	assert_int_equal(
	    check(&none, NULL, NOW, "GET", &alice, proof), KB_AUTH_INVALID);
}

static void
a_misshapen_proof_is_refused(void **state)
{
	char proof[KB_PROOF_SIZE], bad[2 * KB_PROOF_SIZE];

	(void)state;
	make(&root, NULL, proof);
	for (size_t i = 0; proof[i]; i++) {
		memcpy(bad, proof, sizeof(proof));
		bad[i] ^= 1;
		assert_int_equal(check(&root, NULL, NOW, "GET", &alice, bad),
		    KB_AUTH_INVALID);
		memcpy(bad, proof, sizeof(proof));
		bad[i] = '\0';
		assert_int_equal(check(&root, NULL, NOW, "GET", &alice, bad),
		    KB_AUTH_INVALID);
	}
	snprintf(bad, sizeof(bad), "%s,", proof);
	assert_int_equal(
	    check(&root, NULL, NOW, "GET", &alice, bad), KB_AUTH_INVALID);
	snprintf(bad, sizeof(bad), "%s,v1=00", proof);
	assert_int_equal(
	    check(&root, NULL, NOW, "GET", &alice, bad), KB_AUTH_INVALID);
	snprintf(bad, sizeof(bad), "%s%s", proof, proof);
	assert_int_equal(
	    check(&root, NULL, NOW, "GET", &alice, bad), KB_AUTH_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_spelling_of_an_owned_header_is_owned),
		cmocka_unit_test(other_headers_are_not_owned),
		cmocka_unit_test(a_proof_holds_for_what_it_was_made_for),
		cmocka_unit_test(
		    a_proof_ends_after_a_minute_and_does_not_come_from_the_future),
		cmocka_unit_test(
		    a_proof_holds_for_no_other_method_callee_caller_or_secret),
		cmocka_unit_test(changing_any_identity_value_breaks_the_proof),
		cmocka_unit_test(an_absent_value_and_an_empty_one_are_the_same),
		cmocka_unit_test(secrets_rotate_without_a_refused_proof),
		cmocka_unit_test(nothing_is_proven_without_a_secret),
		cmocka_unit_test(a_misshapen_proof_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
