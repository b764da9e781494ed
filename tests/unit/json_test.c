/*
 * JSON: what is read and what is refused, trees, and the writer.
 */
#include <math.h>

#include "test.h"

#include <kombi/json.h>
#include <kombi/time.h>

struct text {
	const char *bytes;
	size_t len;
};

#define T(text)                                                                \
	{                                                                      \
		(text), sizeof(text) - 1                                       \
	}

static const struct text accepted[] = {
	T("{}"),
	T("[]"),
	T("0"),
	T("-0"),
	T("1"),
	T("-1"),
	T("12.5"),
	T("\"\""),
	T("true"),
	T("false"),
	T("null"),
	T(" 1 "),
	T("\t\r\n [ ] \n"),
	T("[1,2]"),
	T("[[],[]]"),
	T("{\"a\":1}"),
	T("{\"\":0}"),
	T("{\"a\":{\"a\":{\"a\":1}}}"),
	T("[{\"a\":1},{\"a\":1}]"),
	T("{\"a\":1,\"A\":2}"),
	T("{\"a\":[],\"b\":{}}"),
	T("1e5"),
	T("1E5"),
	T("1e+5"),
	T("1e-5"),
	T("1.25e2"),
	T("0.1"),
	T("0e1"),
	T("0E+0"),
	T("-0.0"),
	T("123456789012345678901234567890"),
	T("1e308"),
	T("5e-324"),
	T("1e-400"),
	T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
	T("\"\\u0041\""),
	T("\"\\u00e4\""),
	T("\"\\uD83D\\uDE00\""),
	T("\"\\ud83d\\ude00x\""),
	T("\"\\uFFFF\""),
	T("\"\\u0001\""),
	T("\"\x7f\""),
	T("\"\xc3\xa4\""),
	T("\"\xe2\x82\xac\""),
	T("\"\xf0\x9f\x98\x80\""),
	T("\"\xef\xbf\xbf\""),
	T("\"\xe2\x80\xa8\""),
	T("\"a b\""),
	T("\"/*x*/\""),
	T("[null,true,false,1,\"a\",{},[]]"),
	T("{\"__proto__\":1}"),
	T("{ \"a\" : 1 , \"b\" : 2 }"),
	T("\"\\\\u0000\""),
	T("[\"\\u005c\"]"),
};

static const struct text refused[] = {
	/* structure */
	T(""),
	T(" "),
	T("\n"),
	T("["),
	T("]"),
	T("{"),
	T("}"),
	T("[1"),
	T("[1,"),
	T("[1,]"),
	T("[,1]"),
	T("[,]"),
	T("[1,,2]"),
	T("[1 2]"),
	T("[1}"),
	T("{]"),
	T("{\"a\""),
	T("{\"a\":"),
	T("{\"a\":1"),
	T("{\"a\":1,"),
	T("{\"a\":1,}"),
	T("{,\"a\":1}"),
	T("{\"a\" 1}"),
	T("{\"a\"::1}"),
	T("{\"a\":1 \"b\":2}"),
	T("{\"a\":1;\"b\":2}"),
	T("{\"a\",1}"),
	T("{\"a\":}"),
	T("{:1}"),
	T("{1:1}"),
	T("{a:1}"),
	T("{'a':1}"),
	T("{null:1}"),
	T("{[]:1}"),
	T("{\"a\":1}}"),
	T("[]]"),
	T("1 2"),
	T("{} {}"),
	T("[] x"),
	T("{}#"),
	T("{}//x"),
	T("{}/**/"),
	T("/**/{}"),
	T("{/*x*/}"),
	T("[1]\0"),
	T("\0"),
	T("1\0"),
	T("[\0]"),
	T("a: b"),
	T("=1"),
	T("(1)"),
	T("<a/>"),
	T("[*]"),
	/* words */
	T("tru"),
	T("True"),
	T("TRUE"),
	T("nul"),
	T("nulll"),
	T("NULL"),
	T("truefalse"),
	T("undefined"),
	T("NaN"),
	T("nan"),
	T("Infinity"),
	T("-Infinity"),
	T("inf"),
	T("[fals]"),
	T("t"),
	T("yes"),
	/* numbers */
	T("01"),
	T("-01"),
	T("00"),
	T("+1"),
	T("1."),
	T(".5"),
	T("-.5"),
	T("-"),
	T("--1"),
	T("+-1"),
	T("1e"),
	T("1e+"),
	T("1e-"),
	T("1ee1"),
	T("0.e1"),
	T("1.e1"),
	T("0x1"),
	T("0b1"),
	T("1_000"),
	T("1,000"),
	T("1 000"),
	T("1.2.3"),
	T("1e1.5"),
	T("-a"),
	T("[-]"),
	T("1f"),
	T("1e309"),
	T("-1e400"),
	T("1e99999999999"),
	T("\xef\xbc\x91"),
	T("1234567890123456789012345678901234567890123456789012345678901234"),
	/* strings */
	T("\""),
	T("\"a"),
	T("\"\\"),
	T("\"\\\""),
	T("'a'"),
	T("`a`"),
	T("\"\\x41\""),
	T("\"\\a\""),
	T("\"\\v\""),
	T("\"\\0\""),
	T("\"\\'\""),
	T("\"\\u\""),
	T("\"\\u0\""),
	T("\"\\u00\""),
	T("\"\\u004\""),
	T("\"\\u00g0\""),
	T("\"\\u+041\""),
	T("\"\\u 041\""),
	T("\"\\U0041\""),
	T("\"\\u{41}\""),
	T("\"\\u0000\""),
	T("\"a\\u0000b\""),
	T("{\"a\\u0000\":1}"),
	T("\"\\ud800\""),
	T("\"\\udc00\""),
	T("\"\\ud800\\ud800\""),
	T("\"\\udc00\\ud800\""),
	T("\"\\ud800x\""),
	T("\"\\ud800\\n\""),
	T("\"\\ud83d\\u0041\""),
	T("\"\\ud83d\\ude0\""),
	T("\"\n\""),
	T("\"\t\""),
	T("\"\r\""),
	T("\"\x01\""),
	T("\"\x1f\""),
	T("\"\0\""),
	T("\"a\" \"b\""),
	T("\"\\\n\""),
	T("\"\\\xc3\xa4\""),
	/* encoding */
	T("\xef\xbb\xbf{}"),
	T("\xff\xfe[\0]\0"),
	T("\0[\0]"),
	T("\"\x80\""),
	T("\"\xc3\""),
	T("\"\xc0\xaf\""),
	T("\"\xe0\x80\xaf\""),
	T("\"\xed\xa0\x80\""),
	T("\"\xf0\x9f\x98\""),
	T("\"\xf4\x90\x80\x80\""),
	T("\"\xf5\x80\x80\x80\""),
	T("\"\xe4\""),
	T("\xc2\xa0[]"),
	T("[\f]"),
	T("[\v]"),
	T("\xe2\x80\x83[]"),
	/* duplicates */
	T("{\"a\":1,\"a\":1}"),
	T("{\"a\":1,\"b\":2,\"a\":3}"),
	T("{\"a\":1,\"\\u0061\":2}"),
	T("{\"\\u0061\":1,\"a\":2}"),
	T("{\"\":1,\"\":2}"),
	T("{\"x\":{\"a\":1,\"a\":2}}"),
	T("[{\"a\":{},\"a\":{}}]"),
	T("{\"a\":{\"b\":1},\"a\":2}"),
	T("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}"),
	T("{\"/\":1,\"\\/\":2}"),
	T("{\"\\u00e4\":1,\"\xc3\xa4\":2}"),
	T("{\"\\u20ac\":1,\"\xe2\x82\xac\":2}"),
	T("{\"\\n\":1,\"\\u000a\":2}"),
};

static void
well_formed_texts_are_read(void **state)
{
	const struct kb_json *j;
	const char *why;
	size_t i;

	for (i = 0; i < KB_COUNT(accepted); i++) {
		const struct text *t = &accepted[i];

		if (kb_json_parse(*state, t->bytes, t->len, &j, &why))
			fail_msg("%s: %s", t->bytes, why);
		assert_non_null(j);
		assert_null(kb_json_check(*state, t->bytes, t->len));
	}
}

static void
malformed_texts_are_refused_with_a_place(void **state)
{
	const struct kb_json *j;
	const char *why;
	size_t i;

	assert_true(KB_COUNT(accepted) + KB_COUNT(refused) > 200);
	for (i = 0; i < KB_COUNT(refused); i++) {
		const struct text *t = &refused[i];

		if (!kb_json_parse(*state, t->bytes, t->len, &j, &why))
			fail_msg("accepted (row %zu): %s", i, t->bytes);
		assert_null(j);
		test_contains(why, " at byte ");
	}
}

/* The scan never reads beyond the length: ASan sees the heap copy's end. */
static void
every_prefix_is_judged_without_reading_on(void **state)
{
	static const char text[] = "{\"a\\u00e4\\ud83d\\ude00\xe2\x82\xac\":"
				   "[-1.5e+3,true,null,{\"b\":\"c\"}]}";
	size_t len;

	for (len = 0; len < sizeof(text) - 1; len++) {
		char *copy = malloc(len ? len : 1);

		memcpy(copy, text, len);
		assert_non_null(kb_json_check(*state, copy, len));
		free(copy);
	}
	assert_null(kb_json_check(*state, text, sizeof(text) - 1));
}

static const char *
why_of(struct kb_arena *a, const char *text)
{
	return kb_json_check(a, text, strlen(text));
}

static void
messages_say_what_and_where(void **state)
{
	assert_string_equal(why_of(*state, "{\"name\":1,\"n\\u0061me\":2}"),
	    "duplicate member \"name\" at byte 10");
	assert_string_equal(
	    why_of(*state, "{\"a\":01}"), "',' or '}' was expected at byte 6");
	assert_string_equal(
	    why_of(*state, "[1,]"), "a value was expected at byte 3");
	assert_string_equal(
	    why_of(*state, "{} x"), "text after the value at byte 3");
	test_contains(why_of(*state, "[1"), "unexpected end");
	test_contains(why_of(*state, "\"\\u0000\""), "\\u0000 is not allowed");
}

static char *
repeat(struct kb_arena *a, const char *unit, size_t n)
{
	size_t len = strlen(unit), i;
	char *out = kb_arena_alloc(a, n * len + 1);

	for (i = 0; i < n; i++)
		memcpy(out + i * len, unit, len);
	return out;
}

static void
depth_is_bounded_at_32(void **state)
{
	char *text = kb_sprintf(
	    *state, "%s%s", repeat(*state, "[", 32), repeat(*state, "]", 32));

	assert_null(why_of(*state, text));
	text = kb_sprintf(
	    *state, "%s%s", repeat(*state, "[", 33), repeat(*state, "]", 33));
	test_contains(why_of(*state, text), "nested deeper than 32");
	test_contains(why_of(*state, repeat(*state, "[", 100000)), "deeper");
	test_contains(
	    why_of(*state, repeat(*state, "{\"a\":", 100000)), "deeper");
}

static void
many_members_do_not_cost_their_square(void **state)
{
	const size_t count = 50000;
	int64_t began = kb_mono_ms();
	struct kb_buf b;
	size_t i;

	kb_buf_init(&b, 10000000);
	kb_buf_addc(&b, '{');
	for (i = 0; i < count; i++)
		kb_buf_addf(&b, "%s\"m%zu\":1", i ? "," : "", i);
	kb_buf_addc(&b, '}');
	assert_null(kb_json_check(*state, b.ptr, b.len));
	b.ptr[b.len - 1] = ',';
	kb_buf_adds(&b, "\"m49999\":2}");
	test_contains(kb_json_check(*state, b.ptr, b.len), "duplicate member");
	kb_buf_free(&b);
	assert_true(kb_mono_ms() - began < 5000);
}

static const struct kb_json *
parse(struct kb_arena *a, const char *text)
{
	const struct kb_json *j;
	const char *why;

	if (kb_json_parse(a, text, strlen(text), &j, &why))
		fail_msg("%s: %s", text, why);
	return j;
}

static void
members_are_found_by_exact_name_and_kind(void **state)
{
	const struct kb_json *j = parse(*state,
	    "{\"s\":\"x\",\"n\":7,\"b\":true,\"z\":null,\"a\":[1,\"two\"]}");
	int64_t n = 0;

	assert_int_equal(kb_json_kind(j), KB_JSON_OBJECT);
	assert_string_equal(kb_json_str(j, "s"), "x");
	assert_null(kb_json_str(j, "S"));
	assert_null(kb_json_str(j, "n"));
	assert_true(kb_json_int(j, "n", &n));
	assert_int_equal(n, 7);
	assert_false(kb_json_int(j, "s", &n));
	assert_false(kb_json_int(j, "absent", &n));
	assert_true(kb_json_bool(j, "b", false));
	assert_true(kb_json_bool(j, "s", true));
	assert_false(kb_json_bool(j, "absent", false));
	assert_int_equal(kb_json_kind(kb_json_get(j, "z")), KB_JSON_NULL);
	assert_int_equal(kb_json_size(j), 5);
	assert_int_equal(kb_json_size(kb_json_get(j, "a")), 2);
	assert_string_equal(
	    kb_json_text(kb_json_at(kb_json_get(j, "a"), 1)), "two");
	assert_null(kb_json_at(j, 5));
	assert_string_equal(kb_json_name_at(j, 1), "n");
	assert_string_equal(kb_json_name(kb_json_after(kb_json_first(j))), "n");
	assert_null(kb_json_get(NULL, "x"));
	assert_null(kb_json_get(kb_json_get(j, "a"), "x"));
	assert_null(kb_json_first(kb_json_get(j, "s")));
	assert_int_equal(kb_json_size(NULL), 0);
}

static void
integers_beyond_what_a_double_holds_are_none(void **state)
{
	static const char *const bad[] = { "1.5", "9007199254740992",
		"9007199254740993", "-9007199254740992", "1e300", "\"5\"",
		"true", "0.1", "null" };
	int64_t n;
	size_t i;

	for (i = 0; i < KB_COUNT(bad); i++)
		assert_false(kb_json_integer(parse(*state, bad[i]), &n));
	assert_true(kb_json_integer(parse(*state, "9007199254740991"), &n));
	assert_true(n == 9007199254740991);
	assert_true(kb_json_integer(parse(*state, "-9007199254740991"), &n));
	assert_true(kb_json_integer(parse(*state, "1e3"), &n));
	assert_int_equal(n, 1000);
}

static void
trees_are_printed_as_they_were_read(void **state)
{
	static const char *const texts[] = { "{\"a\":[1,-2.5,1e+300,true,null],"
					     "\"b\":{\"c\":\"\\\"\\\\\\n\"}}",
		"[]", "{}", "\"\xf0\x9f\x98\x80\"", "0.1", "-0",
		"9007199254740991" };
	size_t i;

	for (i = 0; i < KB_COUNT(texts); i++)
		assert_string_equal(
		    kb_json_print(*state, parse(*state, texts[i])), texts[i]);
	assert_string_equal(
	    kb_json_print(*state, parse(*state, " [ 1.0 , \"\\u0041\\/\" ] ")),
	    "[1,\"A/\"]");
}

static void
the_writer_puts_commas_and_escapes(void **state)
{
	struct kb_buf b;
	struct kb_jsonw w;

	(void)state;
	kb_buf_init(&b, 1000);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "s\"", "a\"\\/\b\f\n\r\t\x01\x7f<");
	kb_w_str(&w, "null", NULL);
	kb_w_opt(&w, "left out", NULL);
	kb_w_opt(&w, "o", "x");
	kb_w_array(&w, "a");
	kb_w_int(&w, NULL, INT64_MIN);
	kb_w_int(&w, NULL, INT64_MAX);
	kb_w_object(&w, NULL);
	kb_w_object_end(&w);
	kb_w_array(&w, NULL);
	kb_w_array_end(&w);
	kb_w_array_end(&w);
	kb_w_bool(&w, "b", false);
	kb_w_slice(&w, "z", test_slice("a\0b"));
	kb_w_raw(&w, "r", "{\"x\":1}");
	kb_w_object_end(&w);
	assert_string_equal(kb_buf_str(&b),
	    "{\"s\\\"\":\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u007f<\","
	    "\"null\":null,\"o\":\"x\",\"a\":[-9223372036854775808,"
	    "9223372036854775807,{},[]],\"b\":false,\"z\":\"a\\u0000b\","
	    "\"r\":{\"x\":1}}");
	kb_buf_free(&b);
}

static const char *
written_num(struct kb_arena *a, double v)
{
	struct kb_buf b;
	struct kb_jsonw w;
	char *out;

	kb_buf_init(&b, 100);
	kb_w_init(&w, &b);
	kb_w_num(&w, NULL, v);
	out = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}

static void
numbers_written_read_back_the_same(void **state)
{
	static const double values[] = { 0, 1, -1, 0.1, 1.0 / 3, 1e21, 5e-324,
		1.7976931348623157e308, 4503599627370497.5 };
	size_t i;
	double v;

	for (i = 0; i < KB_COUNT(values); i++) {
		const char *text = written_num(*state, values[i]);

		assert_true(kb_json_number(parse(*state, text), &v));
		assert_true(v == values[i]);
	}
	assert_string_equal(written_num(*state, 0.1), "0.1");
	assert_string_equal(written_num(*state, 100), "100");
	assert_string_equal(written_num(*state, INFINITY), "null");
	assert_string_equal(written_num(*state, NAN), "null");
}

/* Any bytes at all become well-formed text. */
static void
invalid_utf8_is_replaced_when_written(void **state)
{
	struct kb_buf b;
	struct kb_jsonw w;
	int c, d;

	kb_buf_init(&b, 1000);
	for (c = 0; c < 256; c++)
		for (d = 0; d < 256; d += 5) {
			char bytes[3] = { (char)c, (char)d, 'x' };

			kb_buf_reset(&b);
			kb_w_init(&w, &b);
			kb_w_array(&w, NULL);
			kb_w_slice(&w, NULL, (struct kb_slice) { bytes, 3 });
			kb_w_array_end(&w);
			if (c == 0 || d == 0) /* reading refuses \u0000 */
				continue;
			assert_null(kb_json_check(*state, b.ptr, b.len));
		}
	kb_buf_reset(&b);
	kb_w_init(&w, &b);
	kb_w_str(&w, NULL, "a\xff\xe2\x82z");
	assert_string_equal(
	    kb_buf_str(&b), "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
	kb_buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(well_formed_texts_are_read),
		test_with_arena(malformed_texts_are_refused_with_a_place),
		test_with_arena(every_prefix_is_judged_without_reading_on),
		test_with_arena(messages_say_what_and_where),
		test_with_arena(depth_is_bounded_at_32),
		test_with_arena(many_members_do_not_cost_their_square),
		test_with_arena(members_are_found_by_exact_name_and_kind),
		test_with_arena(integers_beyond_what_a_double_holds_are_none),
		test_with_arena(trees_are_printed_as_they_were_read),
		cmocka_unit_test(the_writer_puts_commas_and_escapes),
		test_with_arena(numbers_written_read_back_the_same),
		test_with_arena(invalid_utf8_is_replaced_when_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
