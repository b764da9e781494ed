/* Signatures of webhooks, with the vendors' vectors and against forgers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/str.h>
#include <kombi/time.h>
#include <kombi/webhook.h>

#define NOW 1700000000
#define STRIPE_SECRET "whsec_test_secret"
#define STRIPE_BODY "{\"id\":\"evt_1\",\"object\":\"event\"}"
#define STRIPE_MAC                                                             \
	"0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd"
#define ZITADEL_MAC                                                            \
	"aab2ca68c9a451d78a9490a26c7ff4e727ba022c06a993ab1a6d341d94c97070"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define EIGHT(x) x x x x x x x x

static struct kb_secret stripe, zitadel, other, unset;
static struct kb_arena *arena;

static int
setup(void **state)
{
	(void)state;
	arena = kb_arena_new(0);
	kb_secret_set(&stripe, STRIPE_SECRET, strlen(STRIPE_SECRET));
	kb_secret_set(&zitadel, "zt-signing-key-1", 16);
	kb_secret_set(&other, "whsec_other", 11);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	kb_secret_free(&stripe);
	kb_secret_free(&zitadel);
	kb_secret_free(&other);
	kb_arena_free(arena);
	return 0;
}

static enum kb_err
verify(const char *header)
{
	const struct kb_webhook w = { header, NULL, kb_slice_of(STRIPE_BODY),
		NOW };

	return kb_webhook_verify(&w, &stripe, NULL);
}

static enum kb_err
verify_at(int64_t now_s, const char *timestamp)
{
	const struct kb_webhook w = { "t=1700000000,v1=" STRIPE_MAC, timestamp,
		kb_slice_of(STRIPE_BODY), now_s };

	return kb_webhook_verify(&w, &stripe, NULL);
}

static void
the_vectors_of_stripe_and_zitadel_verify(void **state)
{
	const struct kb_webhook z = { "t=1700000000,v1=" ZITADEL_MAC, NULL,
		kb_slice_of("{\"aggregateID\":\"1\"}"), NOW };

	(void)state;
	assert_int_equal(verify("t=1700000000,v1=" STRIPE_MAC), KB_OK);
	assert_int_equal(kb_webhook_verify(&z, &zitadel, NULL), KB_OK);
	assert_int_equal(
	    kb_webhook_verify(&z, &stripe, NULL), KB_BAD_SIGNATURE);
	assert_string_equal(
	    kb_webhook_sign(arena, &stripe, NOW, kb_slice_of(STRIPE_BODY)),
	    "t=1700000000,v1=" STRIPE_MAC);
}

static void
forms_that_senders_use_are_taken(void **state)
{
	static const char *const good[] = {
		"t=1700000000,v9=abc,v1=" STRIPE_MAC,
		"t=1700000000,v0=" ZEROS ",v1=" STRIPE_MAC,
		"t=1700000000,v1=" ZEROS ",v1=" STRIPE_MAC,
		"t=1700000000,v1=nonsense,v1=" STRIPE_MAC,
		"t=1700000000,v1=" STRIPE_MAC ",v1=" ZEROS,
		"v1=" STRIPE_MAC ",t=1700000000",
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(good); i++)
		if (verify(good[i]) != KB_OK)
			fail_msg("%s", good[i]);
}

static void
what_is_not_exactly_a_signature_is_refused(void **state)
{
	static const char *const bad[] = { NULL, "", ",", "t", "t=1700000000",
		"v1=" STRIPE_MAC, "t=1700000000,v1=", "t=1700000000,v1=" ZEROS,
		"t=1700000000,v0=" STRIPE_MAC, "t=1700000000,V1=" STRIPE_MAC,
		"t=1700000000;v1=" STRIPE_MAC, "t=1700000000, v1=" STRIPE_MAC,
		"t=1700000000.0,v1=" STRIPE_MAC, "t=-1700000000,v1=" STRIPE_MAC,
		"t=+1700000000,v1=" STRIPE_MAC, "t=,v1=" STRIPE_MAC,
		"t=abc,v1=" STRIPE_MAC, "t=1,t=1700000000,v1=" STRIPE_MAC,
		"t=1700000000,t=1700000000,v1=" STRIPE_MAC,
		"t=01700000000,v1=" STRIPE_MAC, "t=1700000001,v1=" STRIPE_MAC,
		"t=1700000000,v1=" STRIPE_MAC "0",
		"t=1700000000,v1=" STRIPE_MAC ",",
		"t=1700000000,v1=" STRIPE_MAC ",v1",
		"t=1700000000,v1=" STRIPE_MAC "=",
		"t=9999999999999999999999,v1=" STRIPE_MAC,
		"t=1700000000,v1=0c8670ed" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(bad); i++)
		if (verify(bad[i]) != KB_BAD_SIGNATURE)
			fail_msg("taken: %s", bad[i] ? bad[i] : "no header");
}

static void
every_changed_byte_of_header_or_body_is_noticed(void **state)
{
	char header[] = "t=1700000000,v1=" STRIPE_MAC;
	char body[] = STRIPE_BODY;
	struct kb_webhook w = { header, NULL, { body, strlen(body) }, NOW };

	(void)state;
	for (size_t i = 0; i < strlen(header); i++) {
		header[i] ^= 1;
		assert_int_not_equal(
		    kb_webhook_verify(&w, &stripe, NULL), KB_OK);
		header[i] ^= 1;
	}
	for (size_t i = 0; i < strlen(body); i++) {
		body[i] ^= 1;
		assert_int_equal(
		    kb_webhook_verify(&w, &stripe, NULL), KB_BAD_SIGNATURE);
		body[i] ^= 1;
	}
	w.body.len--;
	assert_int_equal(
	    kb_webhook_verify(&w, &stripe, NULL), KB_BAD_SIGNATURE);
	w.body.len++;
	assert_int_equal(kb_webhook_verify(&w, &stripe, NULL), KB_OK);
}

static void
at_most_eight_signatures_are_tried(void **state)
{
	char *long_one;

	(void)state;
	assert_int_equal(
	    verify("t=1700000000" EIGHT(",v1=" ZEROS)), KB_BAD_SIGNATURE);
	assert_int_equal(
	    verify("t=1700000000,v1=" STRIPE_MAC ",v1=1,v1=2,v1=3,v1=4"
		   ",v1=5,v1=6,v1=7"),
	    KB_OK);
	assert_int_equal(
	    verify("t=1700000000,v1=" STRIPE_MAC EIGHT(",v1=" ZEROS)),
	    KB_BAD_SIGNATURE);
	long_one = kb_sprintf(
	    arena, "t=1700000000,v1=%s,x=%*s", STRIPE_MAC, 5000, "a");
	assert_int_equal(verify(long_one), KB_BAD_SIGNATURE);
}

static void
deliveries_are_taken_for_five_minutes_and_one_of_the_future(void **state)
{
	(void)state;
	assert_int_equal(verify_at(NOW + 300, NULL), KB_OK);
	assert_int_equal(verify_at(NOW + 301, NULL), KB_TIMESTAMP_EXPIRED);
	assert_int_equal(verify_at(NOW - 60, NULL), KB_OK);
	assert_int_equal(verify_at(NOW - 61, NULL), KB_TIMESTAMP_EXPIRED);
	assert_int_equal(verify_at(0, NULL), KB_TIMESTAMP_EXPIRED);
}

static void
a_time_beside_the_signature_must_agree_with_it(void **state)
{
	(void)state;
	assert_int_equal(verify_at(NOW, "2023-11-14T22:13:20Z"), KB_OK);
	assert_int_equal(verify_at(NOW, "2023-11-14T23:14:20+01:00"), KB_OK);
	assert_int_equal(
	    verify_at(NOW, "2023-11-14T22:14:20.001Z"), KB_TIMESTAMP_EXPIRED);
	assert_int_equal(
	    verify_at(NOW, "2023-11-14T22:12:19Z"), KB_TIMESTAMP_EXPIRED);
	assert_int_equal(verify_at(NOW, "yesterday"), KB_TIMESTAMP_EXPIRED);
	/* It makes nothing young again. */
	assert_int_equal(verify_at(NOW + 3600, "2023-11-14T23:13:20Z"),
	    KB_TIMESTAMP_EXPIRED);
}

static void
either_secret_of_a_rotation_verifies_and_none_refuses(void **state)
{
	const struct kb_webhook w = { "t=1700000000,v1=" STRIPE_MAC, NULL,
		kb_slice_of(STRIPE_BODY), NOW };

	(void)state;
	assert_int_equal(kb_webhook_verify(&w, &other, &stripe), KB_OK);
	assert_int_equal(kb_webhook_verify(&w, &stripe, &other), KB_OK);
	assert_int_equal(kb_webhook_verify(&w, &unset, &stripe), KB_OK);
	assert_int_equal(
	    kb_webhook_verify(&w, &other, &unset), KB_BAD_SIGNATURE);
	assert_int_equal(kb_webhook_verify(&w, &unset, NULL), KB_CONFIGURATION);
	assert_int_equal(kb_webhook_verify(&w, NULL, NULL), KB_CONFIGURATION);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_stripe_and_zitadel_verify),
		cmocka_unit_test(forms_that_senders_use_are_taken),
		cmocka_unit_test(what_is_not_exactly_a_signature_is_refused),
		cmocka_unit_test(
		    every_changed_byte_of_header_or_body_is_noticed),
		cmocka_unit_test(at_most_eight_signatures_are_tried),
		cmocka_unit_test(
		    deliveries_are_taken_for_five_minutes_and_one_of_the_future),
		cmocka_unit_test(
		    a_time_beside_the_signature_must_agree_with_it),
		cmocka_unit_test(
		    either_secret_of_a_rotation_verifies_and_none_refuses),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
