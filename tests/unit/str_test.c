/*
 * Strings: slices, numbers, names, encodings.
 */
#include "test.h"

#include <kombi/str.h>

static void
slices_compare_and_trim(void **state)
{
	(void)state;
	assert_true(kb_slice_eq(kb_slice_of("abc"), "abc"));
	assert_false(kb_slice_eq(kb_slice_of("abc"), "abcd"));
	assert_false(kb_slice_eq(test_slice("abc\0"), "abc"));
	assert_true(kb_slice_eqi(kb_slice_of("Content-TYPE"), "content-type"));
	assert_false(kb_slice_eqi(kb_slice_of("[x]"), "{x}"));
	assert_true(
	    kb_slice_eq(kb_slice_trim(kb_slice_of(" \t a b\t ")), "a b"));
	assert_int_equal(kb_slice_trim(kb_slice_of("  ")).len, 0);
	assert_true(kb_str_eq(NULL, NULL));
	assert_false(kb_str_eq(NULL, ""));
	assert_true(kb_str_starts("abc", "ab"));
	assert_false(kb_str_starts("a", "ab"));
	assert_true(kb_str_ends("x.yml", ".yml"));
	assert_false(kb_str_ends("yml", ".yml"));
}

static void
splitting_gives_every_part_also_empty_ones(void **state)
{
	static const char *const want[] = { "a", "", "bc", "" };
	struct kb_slice rest = kb_slice_of("a,,bc,"), part;
	size_t n = 0;

	(void)state;
	while (kb_slice_next(&rest, ',', &part))
		assert_true(kb_slice_eq(part, want[n++]));
	assert_int_equal(n, 4);
	rest = kb_slice_of("");
	assert_true(kb_slice_next(&rest, ',', &part));
	assert_int_equal(part.len, 0);
	assert_false(kb_slice_next(&rest, ',', &part));
}

static void
numbers_are_whole_strings_without_overflow(void **state)
{
	static const char *const bad[] = { "", "+1", " 1", "1 ", "0x1", "1e3",
		"18446744073709551616", "99999999999999999999", "-1", "1.0" };
	static const char *const bad_signed[] = { "", "-", "--1", "+1",
		"9223372036854775808", "-9223372036854775809", "- 1" };
	uint64_t u;
	int64_t i;
	size_t n;

	(void)state;
	for (n = 0; n < KB_COUNT(bad); n++)
		assert_false(kb_parse_u64(kb_slice_of(bad[n]), &u));
	for (n = 0; n < KB_COUNT(bad_signed); n++)
		assert_false(kb_parse_i64(kb_slice_of(bad_signed[n]), &i));
	assert_true(kb_parse_u64(kb_slice_of("18446744073709551615"), &u));
	assert_true(u == UINT64_MAX);
	assert_true(kb_parse_i64(kb_slice_of("-9223372036854775808"), &i));
	assert_true(i == INT64_MIN);
	assert_true(kb_parse_i64(kb_slice_of("007"), &i));
	assert_int_equal(i, 7);
}

static void
utf8_is_held_to_rfc_3629(void **state)
{
	static const char *const bad[] = { "\x80", "\xc3", "\xc0\xaf",
		"\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\xaf",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xe4",
		"\xe2\x82", "\xf0\x9f\x98" };
	static const char *const good[] = { "", "a", "\xc3\xa4", "\xe2\x82\xac",
		"\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf" };
	size_t i;

	(void)state;
	for (i = 0; i < KB_COUNT(bad); i++)
		assert_false(kb_utf8_valid(bad[i], strlen(bad[i])));
	for (i = 0; i < KB_COUNT(good); i++)
		assert_true(kb_utf8_valid(good[i], strlen(good[i])));
}

struct name_case {
	const char *text;
	bool ok;
};

static void
check_names(bool (*fn)(const char *), const struct name_case *cases, size_t n)
{
	for (; n > 0; n--, cases++)
		if (fn(cases->text) != cases->ok)
			fail_msg("\"%s\" should be %s", cases->text,
			    cases->ok ? "accepted" : "refused");
}

#define S63 "a23456789012345678901234567890123456789012345678901234567890123"

static void
slugs_ids_and_uuids_have_one_form(void **state)
{
	static const struct name_case slugs[] = { { "a", true },
		{ "acme-2", true }, { S63, true }, { S63 "4", false },
		{ "", false }, { "-a", false }, { "a-", false }, { "A", false },
		{ "a_b", false }, { "a.b", false }, { "a\n", false },
		{ NULL, false } };
	static const struct name_case ids[] = { { "stk_01jd", true },
		{ S63 "4", true }, { S63 "45", false }, { "", false },
		{ "A", false }, { "a/b", false }, { "..", false } };
	static const struct name_case uuids[] = {
		{ "6ba7b810-9dad-11d1-80b4-00c04fd430c8", true },
		{ "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", true },
		{ "6ba7b810-9dad-11d1-80b4-00c04fd430c", false },
		{ "6ba7b810-9dad-11d1-80b4-00c04fd430c8 ", false },
		{ "6ba7b8109dad-11d1-80b4-00c04fd430c8-", false },
		{ "ga7b810a-9dad-11d1-80b4-00c04fd430c8", false }
	};

	(void)state;
	check_names(kb_is_slug, slugs, KB_COUNT(slugs));
	check_names(kb_is_id, ids, KB_COUNT(ids));
	check_names(kb_is_uuid, uuids, KB_COUNT(uuids));
}

static void
names_are_printable_text_without_blanks_at_the_ends(void **state)
{
	static const struct name_case names[] = { { "My homelab", true },
		{ "B\xc3\xbcro", true }, { "", false }, { " a", false },
		{ "a ", false }, { "   ", false }, { "a\tb", false },
		{ "a\x7f", false }, { "a\xff", false }, { "a\xc2\x85", false },
		{ S63 "-" S63 "5", true }, { S63 "-" S63 "56", false } };
	static const struct name_case emails[] = { { "a@b.de", true },
		{ "a.b+c@example.org", true }, { "a@localhost", true },
		{ "a", false }, { "@b", false }, { "a@", false },
		{ "a@b@c", false }, { "a b@c.d", false }, { "a@b..c", false },
		{ "a@b.", false }, { "<a@b.de>", false }, { "a@b\n.de", false },
		{ "a,b@c.de", false } };

	(void)state;
	check_names(kb_is_name, names, KB_COUNT(names));
	check_names(kb_is_email, emails, KB_COUNT(emails));
}

static void
hex_goes_there_and_back(void **state)
{
	unsigned char out[4];
	char text[9];

	(void)state;
	kb_hex("\x00\xff\x1a", 3, text);
	assert_string_equal(text, "00ff1a");
	assert_true(kb_unhex("00Ff1a", 6, out));
	assert_memory_equal(out, "\x00\xff\x1a", 3);
	assert_false(kb_unhex("0", 1, out));
	assert_false(kb_unhex("0g", 2, out));
}

static void
base64url_of_rfc_4648_and_every_length(void **state)
{
	unsigned char data[40], out[64];
	size_t n, i;

	assert_string_equal(kb_base64url(*state, "foobar", 6), "Zm9vYmFy");
	assert_string_equal(kb_base64url(*state, "fooba", 5), "Zm9vYmE");
	assert_string_equal(kb_base64url(*state, "\xfb\xff", 2), "-_8");
	assert_string_equal(kb_base64(*state, "\xfb\xff", 2), "+/8=");
	assert_string_equal(kb_base64(*state, "f", 1), "Zg==");
	for (i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 37 + 11);
	for (n = 0; n < sizeof(data); n++) {
		char *url = kb_base64url(*state, data, n);
		char *plain = kb_base64(*state, data, n);

		assert_int_equal(
		    kb_base64url_decode(url, strlen(url), out), (long)n);
		assert_memory_equal(out, data, n);
		assert_int_equal(
		    kb_base64_decode(plain, strlen(plain), out), (long)n);
		assert_memory_equal(out, data, n);
	}
}

static void
base64_decoding_refuses_second_spellings(void **state)
{
	static const char *const bad_url[] = { "A", "AAAAA", "AA==", "A A",
		"AA\n", "AB", "AAB", "+/8", "Zm9v=" };
	static const char *const bad_std[] = { "AA", "AAA",
		"AB==", "AAB=", "A===", "====", "-_8=", "AA=A", "AA==AA==" };
	unsigned char out[64];
	size_t i;

	(void)state;
	for (i = 0; i < KB_COUNT(bad_url); i++)
		assert_int_equal(
		    kb_base64url_decode(bad_url[i], strlen(bad_url[i]), out),
		    -1);
	for (i = 0; i < KB_COUNT(bad_std); i++)
		assert_int_equal(
		    kb_base64_decode(bad_std[i], strlen(bad_std[i]), out), -1);
}

static void
percent_encoding_keeps_only_what_it_may(void **state)
{
	struct kb_buf b;
	char *out;

	kb_buf_init(&b, 100);
	kb_percent_encode(&b, "a/b c~\xc3\xa4%", "/");
	assert_string_equal(kb_buf_str(&b), "a/b%20c~%C3%A4%25");
	kb_buf_free(&b);
	assert_true(
	    kb_percent_decode(*state, kb_slice_of("a%2Fb%c3%A4"), &out));
	assert_string_equal(out, "a/b\xc3\xa4");
	assert_false(kb_percent_decode(*state, kb_slice_of("%"), &out));
	assert_false(kb_percent_decode(*state, kb_slice_of("%2"), &out));
	assert_false(kb_percent_decode(*state, kb_slice_of("%zz"), &out));
	assert_false(kb_percent_decode(*state, kb_slice_of("a%00b"), &out));
	assert_false(kb_percent_decode(*state, test_slice("a\0b"), &out));
}

static void
hashes_differ_for_other_bytes_and_lengths(void **state)
{
	static const char text[] = "abcdefghijklmnop";
	uint64_t seen[17];
	size_t i, j;

	(void)state;
	for (i = 0; i <= 16; i++) {
		seen[i] = kb_hash(text, i);
		assert_true(seen[i] == kb_hash(text, i));
		for (j = 0; j < i; j++)
			assert_true(seen[i] != seen[j]);
	}
	assert_true(kb_hash("ab", 2) != kb_hash("ba", 2));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_compare_and_trim),
		cmocka_unit_test(splitting_gives_every_part_also_empty_ones),
		cmocka_unit_test(numbers_are_whole_strings_without_overflow),
		cmocka_unit_test(utf8_is_held_to_rfc_3629),
		cmocka_unit_test(slugs_ids_and_uuids_have_one_form),
		cmocka_unit_test(
		    names_are_printable_text_without_blanks_at_the_ends),
		cmocka_unit_test(hex_goes_there_and_back),
		test_with_arena(base64url_of_rfc_4648_and_every_length),
		cmocka_unit_test(base64_decoding_refuses_second_spellings),
		test_with_arena(percent_encoding_keeps_only_what_it_may),
		cmocka_unit_test(hashes_differ_for_other_bytes_and_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
