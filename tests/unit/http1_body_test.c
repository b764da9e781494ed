/*
 * Bodies of HTTP/1.1: by length, chunked, until close; what is taken, what
 * is refused, and that neither depends on where the bytes are cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/http1.h>
#include <kombi/str.h>

struct outcome {
	bool ok, ended;
	size_t used;
	struct kb_buf data;
};

static bool
feed(
    struct kb_http1_body *b, const char *bytes, size_t len, struct outcome *out)
{
	struct kb_slice in = { bytes, len }, data;

	while (in.len > 0 && !b->ended) {
		size_t before = in.len;

		if (!kb_http1_body_next(
			b, &in, &data, &kb_http1_default_limits))
			return false;
		assert_true(in.len < before);
		kb_buf_add(&out->data, data.ptr, data.len);
	}
	out->used += len - in.len;
	return true;
}

/* In two pieces, each in a copy of exactly its size. */
static struct outcome
decode(const struct kb_http1_body *start, const char *bytes, size_t len,
    size_t cut)
{
	struct kb_http1_body b = *start;
	struct outcome out = { .ok = true };
	char *one = malloc(cut + 1), *two = malloc(len - cut + 1);

	assert_true(one && two);
	memcpy(one + 1, bytes, cut);
	memcpy(two + 1, bytes + cut, len - cut);
	kb_buf_init(&out.data, 16 << 20);
	out.ok = feed(&b, one + 1, cut, &out) &&
	    feed(&b, two + 1, len - cut, &out);
	out.ended = b.ended;
	free(one);
	free(two);
	if (out.ok)
		assert_int_equal(b.total, out.data.len);
	else
		assert_false(b.ended);
	return out;
}

/* At every place where it can be cut the same comes out. */
static struct outcome
decode_all(const struct kb_http1_body *start, const char *bytes, size_t len)
{
	struct outcome whole = decode(start, bytes, len, 0);
	size_t step = len > 4096 ? len / 61 : 1;

	for (size_t cut = 1; cut < len; cut += step) {
		struct outcome two = decode(start, bytes, len, cut);

		if (two.ok != whole.ok || two.ended != whole.ended ||
		    (two.ok && two.used != whole.used) ||
		    strcmp(kb_buf_str(&two.data), kb_buf_str(&whole.data)) != 0)
			fail_msg("cut at %zu differs: %.80s", cut, bytes);
		kb_buf_free(&two.data);
	}
	return whole;
}

static struct kb_http1_body
chunked(void)
{
	struct kb_http1_head h;
	struct kb_http1_body b;

	kb_http1_head_init(&h, false);
	h.chunked = true;
	kb_http1_body_request(&b, &h);
	assert_int_equal(b.kind, KB_BODY_CHUNKED);
	return b;
}

static void
assert_chunked(const char *bytes, const char *data)
{
	struct kb_http1_body b = chunked();
	struct outcome o = decode_all(&b, bytes, strlen(bytes));

	if (!data) {
		if (o.ok)
			fail_msg("taken: %s", bytes);
	} else if (!o.ok || !o.ended ||
	    strcmp(kb_buf_str(&o.data), data) != 0) {
		fail_msg("%s gives %d %s", bytes, o.ok, kb_buf_str(&o.data));
	}
	kb_buf_free(&o.data);
}

static void
chunks_are_put_together(void **state)
{
	static const char *const cases[][2] = {
		{ "0\r\n\r\n", "" },
		{ "5\r\nhello\r\n0\r\n\r\n", "hello" },
		{ "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc" },
		{ "A\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\n\r\n",
		    "0123456789abcdefghij" },
		{ "0000000000000001\r\na\r\n0000\r\n\r\n", "a" },
		{ "2\r\n\r\n\r\n0\r\n\r\n", "\r\n" },
		{ "1;a\r\nx\r\n0;b=c\r\n\r\n", "x" },
		{ "1;a=\"q \\\" ;\t\";b;c=d\r\nx\r\n0\r\n\r\n", "x" },
		{ "1\r\nx\r\n0\r\nA: b\r\nC:\r\nD: \xc3\xa9\t\r\n\r\n", "x" },
		{ "1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n", "x" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++)
		assert_chunked(cases[i][0], cases[i][1]);
}

static void
any_other_framing_of_chunks_is_refused(void **state)
{
	static const char *const cases[] = {
		"\r\n",
		"x\r\n",
		"-1\r\n",
		"+1\r\n",
		" 1\r\n",
		"1 \r\n",
		"1\t\r\n",
		"0x1\r\n",
		"1\n",
		"1\rx",
		"1\r\r\n",
		"g\r\n",
		"00000000000000001\r\n",
		"FFFFFFFFFFFFFFFF\r\n",
		"20000000000001\r\n",
		"1;\r\n",
		"1; a\r\n",
		"1;a =b\r\n",
		"1;a= b\r\n",
		"1;a=\r\n",
		"1;a=\"b\r\n",
		"1;a=\"b\"c\r\n",
		"1;a\rb\r\n",
		"1;\nx\r\n",
		"1;a=\"\x01\"\r\n",
		"1;a=\"\\\n\"\r\n",
		"1;a b\r\n",
		"1\r\nab\r\n",
		"1\r\na\n",
		"1\r\na\rx",
		"1\r\naXX0\r\n",
		"0\r\nx\r\n",
		"0\r\n: x\r\n",
		"0\r\nA : b\r\n",
		"0\r\n a: b\r\n",
		"0\r\nA: b\r\n c\r\n",
		"0\r\nA: b\n",
		"0\r\nA: \x01\r\n",
		"0\r\nA: b\rc",
		"0\r\n\n",
		"0\r\n\rx",
		"0\r\nGET / HTTP/1.1\r\n",
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++)
		assert_chunked(cases[i], NULL);
}

static void
what_follows_the_last_chunk_is_not_touched(void **state)
{
	static const char text[] = "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
	struct kb_http1_body b = chunked();
	struct outcome o = decode_all(&b, text, sizeof(text) - 1);

	(void)state;
	assert_true(o.ok && o.ended);
	assert_string_equal(text + o.used, "GET / HTTP/1.1\r\n");
	kb_buf_free(&o.data);
}

/* `n` times `piece` between `before` and `after`. */
static void
assert_repeated(
    const char *before, const char *piece, size_t n, const char *after, bool ok)
{
	struct kb_http1_body b = chunked();
	struct outcome o;
	struct kb_buf text;

	kb_buf_init(&text, 1 << 20);
	kb_buf_adds(&text, before);
	for (size_t i = 0; i < n; i++)
		kb_buf_adds(&text, piece);
	kb_buf_adds(&text, after);
	o = decode_all(&b, text.ptr, text.len);
	if (o.ok != ok || o.ended != ok)
		fail_msg("%s %zu times: %d", piece, n, o.ok);
	kb_buf_free(&o.data);
	kb_buf_free(&text);
}

static void
extensions_and_trailers_are_limited(void **state)
{
	const char *end = "\r\na\r\n0\r\n\r\n";

	(void)state;
	/* What follows the ';', CR counted, in one chunk and in all. */
	assert_repeated("1;", "x", 255, end, true);
	assert_repeated("1;", "x", 256, end, false);
	assert_repeated("", "1;xyz\r\na\r\n", 1024, "0\r\n\r\n", true);
	assert_repeated("", "1;xyz\r\na\r\n", 1025, "0\r\n\r\n", false);
	/* Trailers with their line ends, the last empty line too. */
	assert_repeated("0\r\n", "A: b\r\n", 682, "\r\n", true);
	assert_repeated("0\r\n", "A: b\r\n", 683, "\r\n", false);
	/* Many small chunks are none of that. */
	assert_repeated("", "1\r\na\r\n", 10000, "0\r\n\r\n", true);
}

static void
a_body_with_a_length_ends_with_its_last_byte(void **state)
{
	struct kb_http1_head h;
	struct kb_http1_body b;
	struct outcome o;

	(void)state;
	kb_http1_head_init(&h, false);
	h.has_length = true;
	h.length = 5;
	kb_http1_body_request(&b, &h);
	assert_false(b.ended);
	o = decode_all(&b, "helloGET", 8);
	assert_true(o.ok && o.ended);
	assert_int_equal(o.used, 5);
	assert_string_equal(kb_buf_str(&o.data), "hello");
	kb_buf_free(&o.data);
	h.length = 0;
	kb_http1_body_request(&b, &h);
	assert_true(b.ended);
	h.has_length = false;
	kb_http1_body_request(&b, &h);
	assert_int_equal(b.kind, KB_BODY_NONE);
	assert_true(b.ended);
}

static void
the_kind_of_an_answers_body_follows_method_and_status(void **state)
{
	static const struct {
		enum kb_method method;
		uint16_t status;
		bool length, chunked;
		enum kb_body_kind kind;
	} cases[] = {
		{ KB_M_GET, 200, true, false, KB_BODY_LENGTH },
		{ KB_M_GET, 200, false, true, KB_BODY_CHUNKED },
		{ KB_M_GET, 200, false, false, KB_BODY_UNTIL_CLOSE },
		{ KB_M_POST, 500, false, false, KB_BODY_UNTIL_CLOSE },
		{ KB_M_HEAD, 200, true, false, KB_BODY_NONE },
		{ KB_M_HEAD, 200, false, true, KB_BODY_NONE },
		{ KB_M_GET, 204, true, false, KB_BODY_NONE },
		{ KB_M_GET, 304, true, false, KB_BODY_NONE },
		{ KB_M_GET, 101, false, false, KB_BODY_NONE },
		{ KB_M_GET, 103, true, false, KB_BODY_NONE },
	};
	struct kb_http1_body b;
	struct outcome o;

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_http1_head h;

		kb_http1_head_init(&h, true);
		h.status = cases[i].status;
		h.has_length = cases[i].length;
		h.length = 3;
		h.chunked = cases[i].chunked;
		kb_http1_body_response(&b, &h, cases[i].method);
		assert_int_equal(b.kind, cases[i].kind);
		assert_int_equal(b.ended, b.kind == KB_BODY_NONE);
		if (b.kind == KB_BODY_UNTIL_CLOSE) {
			o = decode_all(&b, "any bytes", 9);
			assert_true(o.ok && !o.ended);
			assert_int_equal(o.data.len, 9);
			kb_buf_free(&o.data);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_are_put_together),
		cmocka_unit_test(any_other_framing_of_chunks_is_refused),
		cmocka_unit_test(what_follows_the_last_chunk_is_not_touched),
		cmocka_unit_test(extensions_and_trailers_are_limited),
		cmocka_unit_test(a_body_with_a_length_ends_with_its_last_byte),
		cmocka_unit_test(
		    the_kind_of_an_answers_body_follows_method_and_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
