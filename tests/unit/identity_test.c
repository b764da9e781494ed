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
#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

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

/* ---- roles and plans -----------------------------------------------------*/

static void
a_role_is_held_only_by_its_whole_name(void **state)
{
	(void)state;
	assert_true(kb_roles_have("admin,user", "admin"));
	assert_true(kb_roles_have("admin,user", "user"));
	assert_false(kb_roles_have("admin,user", "use"));
	assert_false(kb_roles_have("not_admin", "admin"));
	assert_false(kb_roles_have("admin,user", "admin,user"));
	assert_false(kb_roles_have("admin,user", ""));
	assert_false(kb_roles_have("", "admin"));
	assert_false(kb_roles_have(NULL, "admin"));
}

static void
plans_are_known_by_name_in_any_case(void **state)
{
	enum kb_plan p = KB_PLAN_FREE;

	(void)state;
	assert_true(kb_plan_of("PRO", &p));
	assert_int_equal(p, KB_PLAN_PRO);
	assert_true(kb_plan_of("enterprise", &p));
	assert_string_equal(kb_plan_name(p), "enterprise");
	assert_false(kb_plan_of("ENTERPRISE ", &p));
	assert_false(kb_plan_of("platinum", &p));
	assert_false(kb_plan_of(NULL, &p));
}

#define ROLES "'urn:zitadel:iam:org:project:roles':"
#define ORG "'urn:zitadel:iam:org:id':'org_a',"
#define OWNER "'urn:zitadel:iam:user:resourceowner:id':'org_o',"

/* Claims (with ' for ") and the seven values, "|" between them. */
static const struct {
	const char *claims, *want; /* want NULL: refused */
} claim_cases[] = {
	{ "{'sub':'u1'}", "u1|-|-|-|-|free|-" },
	{ "{'sub':'u1','name':null,'plan':null}", "u1|-|-|-|-|free|-" },
	{ "{" ORG "'sub':'u1'}", "u1|-|-|org_a|-|free|-" },
	{ "{" ORG OWNER "'sub':'u1'}", "u1|-|-|org_o|-|free|-" },
	{ "{'sub':'u1','email':'a+1@b.c','name':'J\xc3\xb6rg M'}",
	    "u1|a%2B1@b.c|J%C3%B6rg%20M|-|-|free|-" },
	{ "{'sub':'u1','name':'100% <a>'}",
	    "u1|-|100%25%20%3Ca%3E|-|-|free|-" },
	{ "{'sub':'google|1:2@x.y-z_0'}", "google|1:2@x.y-z_0|-|-|-|-|free|-" },
	/* roles */
	{ "{" ORG "'sub':'u'," ROLES "{'user':{},'admin':{}}}",
	    "u|-|-|org_a|admin,user|free|-" },
	{ "{" ORG "'sub':'u'," ROLES "{'b':{'org_a':'x'},'a':{'org_b':'y'}}}",
	    "u|-|-|org_a|b|free|-" },
	{ "{" ORG "'sub':'u'," ROLES "{'a':{'org_b':'y','org_a':'x'}}}",
	    "u|-|-|org_a|a|free|-" },
	{ "{'sub':'u'," ROLES "{'a':{'org_b':'y'}}}", "u|-|-|-||free|-" },
	{ "{" ORG "'sub':'u'," ROLES "{'user':{'kombisphere_admin':{}}}}",
	    "u|-|-|org_a||free|-" },
	{ "{" ORG "'sub':'u'," ROLES "{}}", "u|-|-|org_a||free|-" },
	{ "{'sub':'u'," ROLES "['a']}", NULL },
	{ "{'sub':'u'," ROLES "'a'}", NULL },
	{ "{'sub':'u'," ROLES "{'a':true}}", NULL },
	{ "{'sub':'u'," ROLES "{'a':['org_a']}}", NULL },
	{ "{'sub':'u'," ROLES "{'user,admin':{}}}", NULL },
	{ "{'sub':'u'," ROLES "{'user\\r\\nX: y':{}}}", NULL },
	{ "{'sub':'u'," ROLES "{'':{}}}", NULL },
	{ "{" ORG "'sub':'u'," ROLES "{'user admin':{'org_b':'y'}}}", NULL },
	/* plan */
	{ "{'sub':'u','plan':'Pro'}", "u|-|-|-|-|pro|-" },
	{ "{'sub':'u'," ROLES "{'subscriber_pro':{}}}",
	    "u|-|-|-|subscriber_pro|pro|-" },
	{ "{'sub':'u'," ROLES "{'subscriber:pro':{}}}",
	    "u|-|-|-|subscriber:pro|pro|-" },
	{ "{'sub':'u'," ROLES
	  "{'subscriber_pro':{},'subscriber_enterprise':{}}}",
	    "u|-|-|-|subscriber_enterprise,subscriber_pro|enterprise|-" },
	{ "{'sub':'u'," ROLES "{'subscriber_enterprise':{'org_b':'x'}}}",
	    "u|-|-|-||free|-" },
	{ "{'sub':'u','plan':'free'," ROLES "{'subscriber_pro':{}}}",
	    "u|-|-|-|subscriber_pro|free|-" },
	{ "{'sub':'u','plan':'platinum'," ROLES "{'subscriber_pro':{}}}",
	    "u|-|-|-|subscriber_pro|free|-" },
	{ "{'sub':'u','plan':'ENTERPRISE '}", "u|-|-|-|-|free|-" },
	{ "{'sub':'u','plan':{'x':'enterprise'}}", NULL },
	/* values that cannot stand in a header */
	{ "{}", NULL },
	{ "{'sub':''}", NULL },
	{ "{'sub':1}", NULL },
	{ "{'sub':null}", NULL },
	{ "{'sub':' u'}", NULL },
	{ "{'sub':'u\\nX-Tenant-ID: b'}", NULL },
	{ "{'sub':'u\\u2028x'}", NULL },
	{ "{'sub':'u','urn:zitadel:iam:org:id':'../b'}", NULL },
	{ "{'sub':'u','urn:zitadel:iam:org:id':'a,b'}", NULL },
	{ "{'sub':'u','urn:zitadel:iam:org:id':''}", NULL },
	{ "{'sub':'u','urn:zitadel:iam:org:id':7}", NULL },
	{ "{" ORG "'sub':'u','urn:zitadel:iam:user:resourceowner:id':'a b'}",
	    NULL },
	{ "{'sub':'u','name':'A\\r\\nX-User-ID: root'}", NULL },
	{ "{'sub':'u','name':'A\\u007fB'}", NULL },
	{ "{'sub':'u','name':['A']}", NULL },
	{ "{'sub':'u','email':'a\\tb@c.d'}", NULL },
	{ "{'sub':'u','email':1}", NULL },
};

static const struct kb_json *
json(struct kb_arena *a, const char *text)
{
	char *s = kb_strdup(a, text);
	const struct kb_json *j;
	const char *why = "";

	for (char *p = s; *p; p++)
		if (*p == '\'')
			*p = '"';
	if (kb_json_parse(a, s, strlen(s), &j, &why))
		fail_msg("%s: %s", s, why);
	return j;
}

static const char *
joined(struct kb_arena *a, const struct kb_identity *id)
{
	const char *s = "";

	for (int i = 0; i < KB_ID_FIELDS; i++)
		s = kb_sprintf(a, "%s%s%s", s, i ? "|" : "",
		    id->value[i] ? id->value[i] : "-");
	return s;
}

static void
claims_become_the_values_of_the_headers_or_are_refused(void **state)
{
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	for (size_t i = 0; i < KB_COUNT(claim_cases); i++) {
		struct kb_identity id;
		enum kb_err err = kb_identity_from_claims(
		    a, json(a, claim_cases[i].claims), NULL, &id);

		if (err != (claim_cases[i].want ? KB_OK : KB_AUTH_INVALID))
			fail_msg("%s: %d", claim_cases[i].claims, err);
		if (!err)
			assert_string_equal(
			    joined(a, &id), claim_cases[i].want);
	}
	kb_arena_free(a);
}

static void
the_claims_map_chooses_other_claims(void **state)
{
	static const char *const org[] = { "tenant", "company", NULL };
	const struct kb_claims_map map = {
		.user = "uid", .org = org, .roles = "groups", .plan = "tier"
	};
	struct kb_arena *a = kb_arena_new(0);
	struct kb_identity id;

	(void)state;
	assert_int_equal(kb_identity_from_claims(a,
			     json(a,
				 "{'sub':'no','uid':'u','company':'c','groups':"
				 "{'g':{'c':1}},"
				 "'tier':'pro','plan':'enterprise'}"),
			     &map, &id),
	    KB_OK);
	assert_string_equal(joined(a, &id), "u|-|-|c|g|pro|-");
	kb_arena_free(a);
}

static void
too_long_values_and_too_many_roles_are_refused(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_identity id;
	struct kb_buf b;
	char sub[130];

	(void)state;
	memset(sub, 'x', sizeof(sub));
	sub[129] = '\0';
	assert_int_equal(
	    kb_identity_from_claims(
		a, json(a, kb_sprintf(a, "{'sub':'%s'}", sub)), NULL, &id),
	    KB_AUTH_INVALID);
	sub[128] = '\0';
	assert_int_equal(
	    kb_identity_from_claims(
		a, json(a, kb_sprintf(a, "{'sub':'%s'}", sub)), NULL, &id),
	    KB_OK);

	kb_buf_init(&b, 1 << 20);
	kb_buf_adds(&b, "{'sub':'u'," ROLES "{'r':{}");
	for (int i = 0; i < 1000; i++)
		kb_buf_addf(&b, ",'r%d':{}", i);
	kb_buf_adds(&b, "}}");
	assert_int_equal(
	    kb_identity_from_claims(a, json(a, kb_buf_str(&b)), NULL, &id),
	    KB_AUTH_INVALID);
	kb_buf_free(&b);
	kb_arena_free(a);
}

/* ---- service tokens ------------------------------------------------------*/

static char *
service_token(struct kb_arena *a, const struct kb_secret *r, const char *caller,
    const char *callee)
{
	struct kb_pair_keys keys;

	kb_pair_keys(r, NULL, caller, callee, &keys);
	return kb_service_token(a, &keys, caller, callee);
}

static enum kb_err
service_check(struct kb_arena *a, const struct kb_secret *r,
    const struct kb_secret *n, const char *token, const char *callee,
    const char **caller)
{
	return kb_service_token_check(
	    a, r, n, kb_slice_of(token), callee, caller);
}

static void
a_service_token_names_its_caller_at_its_callee_alone(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	char *token = service_token(a, &root, "admin", "stack");
	const char *caller = NULL;

	(void)state;
	assert_int_equal(
	    service_check(a, &root, NULL, token, "stack", &caller), KB_OK);
	assert_string_equal(caller, "admin");
	assert_int_equal(service_check(a, &root, NULL, token, "sim", &caller),
	    KB_AUTH_INVALID);
	assert_int_equal(
	    service_check(a, &other, NULL, token, "stack", &caller),
	    KB_AUTH_INVALID);
	assert_int_equal(
	    service_check(a, &next, &root, token, "stack", &caller), KB_OK);
	assert_int_equal(
	    service_check(a, &root, &next,
		service_token(a, &next, "admin", "stack"), "stack", &caller),
	    KB_OK);
	kb_arena_free(a);
}

static void
a_service_token_ends_with_its_minute(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	char *token = service_token(a, &root, "admin", "stack");
	const char *caller;

	(void)state;
	kb_clock_shift(66000);
	assert_int_equal(service_check(a, &root, NULL, token, "stack", &caller),
	    KB_AUTH_INVALID);
	kb_clock_shift(-66000);
	kb_arena_free(a);
}

/* A service that holds its own pair's key speaks for nobody else. */
static void
a_service_token_with_another_callers_name_is_refused(void **state)
{
	static const char *const bad[] = {
		"{'iss':'admin','aud':'stack','exp':%lld}",
		"{'iss':'sim','aud':'admin','exp':%lld}",
		"{'iss':'sim','aud':'stack'}",
		"{'iss':'sim','aud':'stack','exp':'%lld'}",
		"{'iss':'sim','svc':'admin','aud':'stack','exp':%lld}",
		"{'iss':'sim stack','aud':'stack','exp':%lld}",
		"{'iss':1,'aud':'stack','exp':%lld}",
		"{'aud':'stack','exp':%lld}",
		"{'iss':'sim','aud':'stack','exp':9999999999}",
		"['iss','sim']",
	};
	struct kb_arena *a = kb_arena_new(0);
	struct kb_pair_keys keys;
	const char *caller, *good;

	(void)state;
	kb_pair_keys(&root, NULL, "sim", "stack", &keys);
	for (size_t i = 0; i <= KB_COUNT(bad); i++) {
		const char *format = i < KB_COUNT(bad)
		    ? bad[i]
		    : "{'iss':'sim','aud':'stack','exp':%lld}";
		const char *at = strstr(format, "%lld");
		char *claims = at
		    ? kb_sprintf(a, "%.*s%lld%s", (int)(at - format), format,
			  (long long)kb_wall_s() + 50, at + 4)
		    : kb_strdup(a, format);

		for (char *p = claims; *p; p++)
			if (*p == '\'')
				*p = '"';
		good = kb_jwt_sign_hs256(
		    a, claims, keys.keys[0].id, keys.keys[0].key, 32);
		assert_int_equal(
		    service_check(a, &root, NULL, good, "stack", &caller),
		    i < KB_COUNT(bad) ? KB_AUTH_INVALID : KB_OK);
		good = kb_jwt_sign_hs256(a, claims, NULL, keys.keys[0].key, 32);
		assert_int_equal(
		    service_check(a, &root, NULL, good, "stack", &caller),
		    KB_AUTH_INVALID);
	}
	kb_arena_free(a);
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
		cmocka_unit_test(a_role_is_held_only_by_its_whole_name),
		cmocka_unit_test(plans_are_known_by_name_in_any_case),
		cmocka_unit_test(
		    claims_become_the_values_of_the_headers_or_are_refused),
		cmocka_unit_test(the_claims_map_chooses_other_claims),
		cmocka_unit_test(
		    too_long_values_and_too_many_roles_are_refused),
		cmocka_unit_test(
		    a_service_token_names_its_caller_at_its_callee_alone),
		cmocka_unit_test(a_service_token_ends_with_its_minute),
		cmocka_unit_test(
		    a_service_token_with_another_callers_name_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
