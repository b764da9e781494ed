/*
 * Crypto against published vectors: FIPS 180, RFC 4231, RFC 5869, and the
 * sealed field's refusal of whatever is not its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

static void
assert_hex(const void *got, size_t n, const char *want)
{
	char hex[256];

	assert_true(2 * n < sizeof(hex));
	kb_hex(got, n, hex);
	assert_string_equal(hex, want);
}

static void
hashes_match_the_published_vectors(void **state)
{
	unsigned char out[32];
	char hex[65];

	(void)state;
	kb_sha256("abc", 3, out);
	assert_hex(out, 32,
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	kb_sha256_hex(NULL, 0, hex);
	assert_string_equal(hex,
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	kb_sha1("abc", 3, out);
	assert_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void
hmac_matches_rfc_4231(void **state)
{
	unsigned char key[131], out[32];
	struct kb_slice parts[] = {
		{ "what do ya want ", 16 },
		{ NULL, 0 },
		{ "for nothing?", 12 },
	};

	(void)state;
	memset(key, 0x0b, 20);
	kb_hmac_sha256(key, 20, "Hi There", 8, out);
	assert_hex(out, 32,
	    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	kb_hmac_sha256_parts("Jefe", 4, parts, KB_COUNT(parts), out);
	assert_hex(out, 32,
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, 131);
	kb_hmac_sha256(key, 131,
	    "Test Using Larger Than Block-Size Key - Hash Key First", 54, out);
	assert_hex(out, 32,
	    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void
hkdf_matches_rfc_5869_without_salt(void **state)
{
	unsigned char key[22], out[42];

	(void)state;
	memset(key, 0x0b, sizeof(key));
	kb_hkdf_sha256(key, sizeof(key), "", out, sizeof(out));
	assert_hex(out, sizeof(out),
	    "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
	    "9d201395faa4b61a96c8");
}

static void
random_bytes_do_not_repeat(void **state)
{
	unsigned char a[32] = { 0 }, b[32] = { 0 };

	(void)state;
	kb_random(a, sizeof(a));
	kb_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

static void
comparison_tells_equal_from_different(void **state)
{
	(void)state;
	assert_true(kb_equal_ct("abc", "abc", 3));
	assert_false(kb_equal_ct("abc", "abd", 3));
	assert_true(kb_equal_ct("a", "b", 0));
	assert_true(kb_str_equal_ct("secret", "secret"));
	assert_false(kb_str_equal_ct("secret", "secre"));
	assert_false(kb_str_equal_ct(NULL, "secret"));
	assert_false(kb_str_equal_ct(NULL, NULL));
}

static void
wiping_leaves_zeros(void **state)
{
	unsigned char b[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, z[8] = { 0 };

	(void)state;
	kb_wipe(b, sizeof(b));
	assert_memory_equal(b, z, sizeof(b));
	kb_wipe(NULL, 0);
}

static void
a_sealed_field_opens_only_in_its_place(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	unsigned char key[32] = { 7 }, other[32] = { 8 }, *plain;
	char *text, *again;
	size_t len;

	(void)state;
	text = kb_field_encrypt(a, key, "s3cret", 6, "acme|nodes|key|1");
	again = kb_field_encrypt(a, key, "s3cret", 6, "acme|nodes|key|1");
	assert_true(kb_str_starts(text, "enc:v1:"));
	assert_string_not_equal(text, again);
	assert_int_equal(
	    kb_field_decrypt(a, key, text, "acme|nodes|key|1", &plain, &len),
	    KB_OK);
	assert_int_equal(len, 6);
	assert_string_equal((char *)plain, "s3cret");

	assert_int_equal(
	    kb_field_decrypt(a, key, text, "acme|nodes|key|2", &plain, &len),
	    KB_INVALID);
	assert_int_equal(
	    kb_field_decrypt(a, other, text, "acme|nodes|key|1", &plain, &len),
	    KB_INVALID);
	text[9] = text[9] == 'A' ? 'B' : 'A';
	assert_int_equal(
	    kb_field_decrypt(a, key, text, "acme|nodes|key|1", &plain, &len),
	    KB_INVALID);
	kb_arena_free(a);
}

static void
an_empty_field_can_be_sealed_and_rubbish_cannot_be_opened(void **state)
{
	static const char *const rubbish[] = { "", "enc:v1:", "enc:v2:AAAA",
		"plain", "enc:v1:AAAA", "enc:v1:!!!!",
		"enc:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==" };
	struct kb_arena *a = kb_arena_new(0);
	unsigned char key[32] = { 7 }, *plain;
	size_t len = 1;

	(void)state;
	assert_int_equal(
	    kb_field_decrypt(a, key, kb_field_encrypt(a, key, NULL, 0, "x"),
		"x", &plain, &len),
	    KB_OK);
	assert_int_equal(len, 0);
	for (size_t i = 0; i < KB_COUNT(rubbish); i++)
		assert_int_equal(
		    kb_field_decrypt(a, key, rubbish[i], "x", &plain, &len),
		    KB_INVALID);
	kb_arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_match_the_published_vectors),
		cmocka_unit_test(hmac_matches_rfc_4231),
		cmocka_unit_test(hkdf_matches_rfc_5869_without_salt),
		cmocka_unit_test(random_bytes_do_not_repeat),
		cmocka_unit_test(comparison_tells_equal_from_different),
		cmocka_unit_test(wiping_leaves_zeros),
		cmocka_unit_test(a_sealed_field_opens_only_in_its_place),
		cmocka_unit_test(
		    an_empty_field_can_be_sealed_and_rubbish_cannot_be_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
