/*
 * Heads of HTTP/1.1: what is read, what is refused, and that neither depends
 * on how the bytes arrive. The corpus tests/attacks/http_raw.jsonl is fed
 * through parser and body decoder as library calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/http1.h>
#include <kombi/str.h>

#define GET "GET / HTTP/1.1\r\nHost: h\r\n"

/* ---- one connection, fed in two pieces ----------------------------------- */

struct outcome {
	enum kb_http1_result last; /* MORE: ended inside a message */
	enum kb_err err;
	unsigned messages; /* complete ones */
	uint64_t body;     /* bytes of all bodies */
	uint64_t sum;      /* and their hash */
};

struct feed {
	bool response, in_body;
	struct kb_http1_head head;
	struct kb_http1_body body;
	size_t at;
	struct outcome out;
};

/* True when the body is complete and the connection goes on. */
static bool
feed_body(struct feed *f, const char *bytes, size_t len)
{
	struct kb_slice in = { bytes + f->at, len - f->at }, data;

	while (in.len > 0 && !f->body.ended) {
		if (!kb_http1_body_next(
			&f->body, &in, &data, &kb_http1_default_limits)) {
			f->out.last = KB_HTTP1_BAD;
			f->out.err = KB_MALFORMED;
			return false;
		}
		f->out.body += data.len;
		for (size_t i = 0; i < data.len; i++)
			f->out.sum = f->out.sum * 31 + (uint8_t)data.ptr[i];
	}
	f->at = len - in.len;
	if (!f->body.ended)
		return false;
	f->in_body = false;
	f->out.messages++;
	f->out.last = KB_HTTP1_DONE;
	return f->head.keep_alive;
}

/* True when a head is complete. */
static bool
feed_head(struct feed *f, const char *bytes, size_t len)
{
	const char *why = NULL;

	if (len == f->at)
		return false;
	f->out.last = kb_http1_parse(&f->head, bytes + f->at, len - f->at,
	    &kb_http1_default_limits, &f->out.err, &why);
	if (f->out.last != KB_HTTP1_DONE) {
		assert_true(f->out.last == KB_HTTP1_MORE || why != NULL);
		return false;
	}
	f->at += f->head.done;
	f->in_body = true;
	if (f->response)
		kb_http1_body_response(&f->body, &f->head, KB_M_GET);
	else
		kb_http1_body_request(&f->body, &f->head);
	f->out.last = KB_HTTP1_MORE;
	return true;
}

/* All bytes up to len have arrived. False when the connection is over. */
static bool
feed_more(struct feed *f, const char *bytes, size_t len)
{
	for (;;) {
		if (!f->in_body && !feed_head(f, bytes, len))
			return f->out.last != KB_HTTP1_BAD;
		if (!feed_body(f, bytes, len))
			return f->in_body && f->out.last != KB_HTTP1_BAD;
		kb_http1_head_init(&f->head, f->response);
	}
}

/* Exactly sized copies, so that reading past the end is seen. */
static char *
copy(const char *bytes, size_t len)
{
	char *p = malloc(len ? len : 1);

	assert_non_null(p);
	memcpy(p, bytes, len);
	return p;
}

static struct outcome
run_split(const char *bytes, size_t len, size_t cut, bool response)
{
	struct feed f = { .response = response };
	char *first = copy(bytes, cut), *all = copy(bytes, len);

	kb_http1_head_init(&f.head, response);
	if (cut == 0 || feed_more(&f, first, cut))
		feed_more(&f, all, len);
	free(first);
	free(all);
	return f.out;
}

static void
assert_same(const struct outcome *a, const struct outcome *b, size_t cut,
    const char *what)
{
	if (a->last != b->last || a->messages != b->messages ||
	    a->body != b->body || a->sum != b->sum ||
	    (a->last == KB_HTTP1_BAD && a->err != b->err))
		fail_msg("split at %zu gives %d/%d %u %lu, whole %d/%d %u "
			 "%lu: %.60s",
		    cut, (int)b->last, (int)b->err, b->messages,
		    (unsigned long)b->body, (int)a->last, (int)a->err,
		    a->messages, (unsigned long)a->body, what);
}

/* Whole and split at every offset (some offsets of large ones): the same. */
static struct outcome
run(const char *bytes, size_t len, bool response, const char *what)
{
	struct outcome whole = run_split(bytes, len, 0, response);
	size_t step = len > 4096 ? len / 37 + 1 : 1;

	for (size_t cut = 1; cut < len; cut += step) {
		struct outcome two = run_split(bytes, len, cut, response);

		assert_same(&whole, &two, cut, what);
	}
	return whole;
}

static struct outcome
run_text(const char *text)
{
	return run(text, strlen(text), false, text);
}

static void
assert_refused(const char *text, enum kb_err err)
{
	struct outcome o = run_text(text);

	if (o.last != KB_HTTP1_BAD || o.err != err)
		fail_msg("not refused with %d but %d/%d: %s", (int)err,
		    (int)o.last, (int)o.err, text);
}

static void
assert_taken(const char *text)
{
	struct outcome o = run_text(text);

	if (o.last != KB_HTTP1_DONE)
		fail_msg("refused: %s", text);
}

/* ---- reading ---------------------------------------------------------------
 */

static void
parse_ok(struct kb_http1_head *h, const char *text, bool response)
{
	const char *why = NULL;
	enum kb_err err;

	kb_http1_head_init(h, response);
	if (kb_http1_parse(h, text, strlen(text), &kb_http1_default_limits,
		&err, &why) != KB_HTTP1_DONE)
		fail_msg("%s: %s", why ? why : "incomplete", text);
}

static void
a_request_is_read_by_offsets(void **state)
{
	static const char text[] = "\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: "
				   "example.org:80\r\nX-Thing:  \t a b \t\r\n"
				   "content-LENGTH:5\r\nEmpty:\r\n\r\nhello";
	struct kb_http1_head h;

	(void)state;
	parse_ok(&h, text, false);
	assert_int_equal(h.start, 2);
	assert_int_equal(h.method, KB_M_POST);
	assert_int_equal(h.method_len, 4);
	assert_int_equal(h.target_len, 8);
	assert_memory_equal(text + h.target, "/a/b?c=d", 8);
	assert_int_equal(h.minor, 1);
	assert_int_equal(h.n_fields, 4);
	assert_int_equal(h.host, 0);
	assert_int_equal(h.fields[2].id, KB_H_CONTENT_LENGTH);
	assert_true(kb_slice_eq(kb_http1_find(&h, text, "x-thing"), "a b"));
	assert_true(kb_slice_eq(kb_http1_find(&h, text, "EMPTY"), ""));
	assert_null(kb_http1_find(&h, text, "none").ptr);
	assert_true(
	    kb_slice_eq(kb_http1_get(&h, text, KB_H_HOST), "example.org:80"));
	assert_int_equal(kb_http1_count(&h, KB_H_OTHER), 2);
	assert_true(h.has_length);
	assert_int_equal(h.length, 5);
	assert_true(h.keep_alive);
	assert_string_equal(text + h.done, "hello");
}

static void
a_response_is_read(void **state)
{
	struct kb_http1_head h;

	(void)state;
	parse_ok(&h,
	    "HTTP/1.1 404 Not \xc3\xa9\r\nServer: x\r\n"
	    "Transfer-Encoding: Chunked\r\n\r\n",
	    true);
	assert_int_equal(h.status, 404);
	assert_true(h.chunked);
	assert_true(h.keep_alive);
	parse_ok(&h, "HTTP/1.0 200 \r\n\r\n", true);
	assert_int_equal(h.minor, 0);
	assert_false(h.keep_alive);
}

static void
every_known_header_is_found_in_any_case(void **state)
{
	static const struct {
		enum kb_header_id id;
		const char *name;
	} all[] = {
#define ROW(id, name) { KB_H_##id, name },
		KB_HEADER_TABLE(ROW)
#undef ROW
	};

	(void)state;
	assert_int_equal(KB_COUNT(all), KB_H_COUNT - 1);
	for (size_t i = 0; i < KB_COUNT(all); i++) {
		char upper[64];
		size_t len = strlen(all[i].name);

		for (size_t k = 0; k <= len; k++) {
			char c = all[i].name[k];

			upper[k] = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
		}
		assert_int_equal(kb_header_id(all[i].name, len), all[i].id);
		assert_int_equal(kb_header_id(upper, len), all[i].id);
		upper[len - 1] ^= 1;
		assert_int_equal(kb_header_id(upper, len), KB_H_OTHER);
		assert_int_equal(kb_header_id(upper, len - 1), KB_H_OTHER);
	}
	assert_int_equal(kb_header_id("x\rapi\rkey", 9), KB_H_OTHER);
	assert_int_equal(kb_header_id("", 0), KB_H_OTHER);
}

static void
every_method_is_found_in_capitals_only(void **state)
{
	(void)state;
	for (enum kb_method m = KB_M_GET; m < KB_M_OTHER; m++) {
		const char *name = kb_method_name(m);

		assert_int_equal(kb_method_of(name, strlen(name)), m);
	}
	assert_int_equal(kb_method_of("get", 3), KB_M_OTHER);
	assert_int_equal(kb_method_of("GE", 2), KB_M_OTHER);
	assert_int_equal(kb_method_of("PROPFIND", 8), KB_M_OTHER);
}

static void
connection_options_decide_about_keeping_it(void **state)
{
	static const struct {
		const char *version, *connection;
		bool keep, upgrade;
	} cases[] = {
		{ "1.1", "X: y", true, false },
		{ "1.1", "Connection: close", false, false },
		{ "1.1", "Connection: a, CLOSE ,b", false, false },
		{ "1.1", "Connection: closed", true, false },
		{ "1.0", "X: y", false, false },
		{ "1.0", "Connection: Keep-Alive", true, false },
		{ "1.0", "Connection: keep-alive, close", false, false },
		{ "1.1", "Connection: Upgrade\r\nUpgrade: x", true, true },
		{ "1.1", "Connection: Upgrade", true, false },
		{ "1.1", "Upgrade: x", true, false },
		{ "1.0", "Connection: Upgrade\r\nUpgrade: x", false, false },
	};
	struct kb_http1_head h;
	char text[200];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		snprintf(text, sizeof(text),
		    "GET / HTTP/%s\r\nHost: h\r\n%s\r\n\r\n", cases[i].version,
		    cases[i].connection);
		parse_ok(&h, text, false);
		assert_int_equal(h.keep_alive, cases[i].keep);
		assert_int_equal(h.upgrade, cases[i].upgrade);
	}
}

static void
expect_is_seen_in_http_1_1_only(void **state)
{
	struct kb_http1_head h;

	(void)state;
	parse_ok(&h, GET "Expect: 100-Continue\r\n\r\n", false);
	assert_true(h.expect_continue);
	parse_ok(&h, GET "Expect: tea\r\n\r\n", false);
	assert_false(h.expect_continue);
	parse_ok(&h, "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", false);
	assert_false(h.expect_continue);
}

static void
tokens_are_found_in_lists(void **state)
{
	(void)state;
	assert_true(kb_http1_has_token(kb_slice_of("a,b"), "B"));
	assert_true(kb_http1_has_token(kb_slice_of(" ,, \tb\t"), "b"));
	assert_false(kb_http1_has_token(kb_slice_of("ab, ba"), "b"));
	assert_false(kb_http1_has_token(kb_slice_of(""), "b"));
	assert_false(kb_http1_has_token((struct kb_slice) { NULL, 0 }, "b"));
}

/* ---- refusing ---------------------------------------------------------------
 */

static void
bad_fields_and_two_framings_are_refused(void **state)
{
	static const char *const fields[] = {
		"Content-Length: 1\r\nContent-Length: 1",
		"Content-Length: 1, 1",
		"Content-Length: +1",
		"Content-Length: ",
		"Content-Length: 0x1",
		"Content-Length: 9007199254740993",
		"Content-Length: 1\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nContent-Length: 1",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked, chunked",
		"Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding:",
		"Host: h",
		"X : y",
		"X\t: y",
		" X: y",
		"X: y\r\n z",
		": y",
		"X",
		"X: a\rb",
		"X: a\nY: b",
		"X: a\x01",
		"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x7f",
		"X: aaaaaaaaaaa\raaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"X\xc3\xa9: y",
		"X(: y",
	};
	char text[300];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(fields); i++) {
		snprintf(text, sizeof(text), GET "%s\r\n\r\n", fields[i]);
		assert_refused(text, KB_MALFORMED);
	}
	assert_refused(
	    GET "Transfer-Encoding: gzip\r\n\r\n", KB_NOT_IMPLEMENTED);
	assert_refused("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
	    KB_MALFORMED);
}

static void
bytes_above_ascii_are_taken_in_values_only(void **state)
{
	(void)state;
	assert_taken(GET "X-Name: J\xc3\xb6rg\tM\r\n\r\n");
	assert_refused(
	    "GET /\xc3\xb6 HTTP/1.1\r\nHost: h\r\n\r\n", KB_MALFORMED);
	assert_refused(
	    "GET / HTTP/1.1\r\nHost: h\xc3\xb6\r\n\r\n", KB_MALFORMED);
}

static void
request_lines_are_exact(void **state)
{
	static const struct {
		const char *line;
		enum kb_err err; /* KB_OK: taken */
	} cases[] = {
		{ "GET /a HTTP/1.1", KB_OK },
		{ "get /a HTTP/1.1", KB_OK },
		{ "M-SEARCH /a HTTP/1.1", KB_OK },
		{ "OPTIONS * HTTP/1.1", KB_OK },
		{ "CONNECT h:443 HTTP/1.1", KB_OK },
		{ "CONNECT [::1]:443 HTTP/1.1", KB_OK },
		{ "GET http://h/x HTTP/1.1", KB_OK },
		{ "GET HTTPS://H HTTP/1.1", KB_OK },
		{ "GET  /a HTTP/1.1", KB_MALFORMED },
		{ "GET /a  HTTP/1.1", KB_MALFORMED },
		{ "GET /a HTTP/1.1 ", KB_MALFORMED },
		{ "GET\t/a HTTP/1.1", KB_MALFORMED },
		{ "GET /a b HTTP/1.1", KB_MALFORMED },
		{ "GET /a#b HTTP/1.1", KB_MALFORMED },
		{ "GET a HTTP/1.1", KB_MALFORMED },
		{ "GET * HTTP/1.1", KB_MALFORMED },
		{ "GET h:443 HTTP/1.1", KB_MALFORMED },
		{ "CONNECT h:1 HTTP/1.1\r\nContent-Length: 0", KB_OK },
		{ "CONNECT h:1 HTTP/1.1\r\nContent-Length: 3", KB_MALFORMED },
		{ "CONNECT h:1 HTTP/1.1\r\nTransfer-Encoding: chunked",
		    KB_MALFORMED },
		{ "CONNECT h HTTP/1.1", KB_MALFORMED },
		{ "CONNECT [::1] HTTP/1.1", KB_MALFORMED },
		{ "CONNECT /a HTTP/1.1", KB_MALFORMED },
		{ "GET http:///x HTTP/1.1", KB_MALFORMED },
		{ "GET http://u@h/x HTTP/1.1", KB_MALFORMED },
		{ "GET http://other/x HTTP/1.1", KB_MALFORMED },
		{ "GET ftp://h/x HTTP/1.1", KB_MALFORMED },
		{ "GET /a", KB_MALFORMED },
		{ "GET", KB_MALFORMED },
		{ "GET HTTP/1.1", KB_MALFORMED },
		{ "GET /a http/1.1", KB_MALFORMED },
		{ "GET /a HTTP/11", KB_MALFORMED },
		{ "GET /a HTTP/1.2", KB_HTTP_VERSION },
		{ "GET /a HTTP/2.0", KB_HTTP_VERSION },
		{ "GET /a HTTP/0.9", KB_HTTP_VERSION },
	};
	char text[200];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		snprintf(
		    text, sizeof(text), "%s\r\nHost: h\r\n\r\n", cases[i].line);
		if (cases[i].err)
			assert_refused(text, cases[i].err);
		else
			assert_taken(text);
	}
}

static void
connect_is_read_as_an_authority(void **state)
{
	struct kb_http1_head h;

	(void)state;
	parse_ok(&h, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", false);
	assert_int_equal(h.method, KB_M_CONNECT);
	assert_int_equal(h.target_len, 5);
}

static void
http_1_1_needs_a_host(void **state)
{
	(void)state;
	assert_refused("GET / HTTP/1.1\r\n\r\n", KB_MALFORMED);
	assert_refused("GET / HTTP/1.1\r\nHost:\r\n\r\n", KB_MALFORMED);
	assert_taken("GET / HTTP/1.0\r\n\r\n");
}

static void
one_empty_line_is_skipped_and_not_two(void **state)
{
	(void)state;
	assert_taken("\r\n" GET "\r\n");
	assert_refused("\r\n\r\n" GET "\r\n", KB_MALFORMED);
	assert_refused("\n" GET "\r\n", KB_MALFORMED);
	assert_refused("\rG", KB_MALFORMED);
}

static void
bad_status_lines_are_refused(void **state)
{
	static const char *const lines[] = {
		"garbage",
		"HTTP/1.1 200",
		"HTTP/1.1 2000 OK",
		"HTTP/1.1 99999 X",
		"HTTP/1.1 099 X",
		"HTTP/1.1 600 X",
		"HTTP/1.1 20x X",
		"HTTP/1.1  200 X",
		"HTTP/2.0 200 X",
		"HTTP/1.1 200 a\x01",
		"ICY 200 OK",
		"",
	};
	struct outcome o;
	char text[100];

	(void)state;
	for (size_t i = 0; i < KB_COUNT(lines); i++) {
		snprintf(text, sizeof(text), "%s\r\n\r\n", lines[i]);
		o = run(text, strlen(text), true, text);
		if (o.last != KB_HTTP1_BAD)
			fail_msg("taken: %s", lines[i]);
	}
}

static void
an_error_is_found_before_the_head_is_complete(void **state)
{
	(void)state;
	assert_refused(GET "X : y\r\nUnfinished", KB_MALFORMED);
	assert_refused("\x16\x03\x01", KB_MALFORMED);
}

/* ---- limits
 * ------------------------------------------------------------------ */

static struct outcome
run_sized(const char *before, size_t fill, const char *after)
{
	size_t b = strlen(before), a = strlen(after), len = b + fill + a;
	char *text = malloc(len);
	struct outcome o;

	assert_non_null(text);
	memcpy(text, before, b);
	memset(text + b, 'a', fill);
	memcpy(text + b + fill, after, a);
	o = run(text, len, false, before);
	free(text);
	return o;
}

static void
limits_count_the_line_end_and_are_exact(void **state)
{
	const char *end = " HTTP/1.1\r\nHost: h\r\n\r\n";
	struct outcome o;

	(void)state;
	/* "GET /" and " HTTP/1.1\r\n" are 16 bytes. */
	o = run_sized("GET /", 8192 - 16, end);
	assert_int_equal(o.last, KB_HTTP1_DONE);
	o = run_sized("GET /", 8193 - 16, end);
	assert_int_equal(o.last, KB_HTTP1_BAD);
	assert_int_equal(o.err, KB_URI_TOO_LONG);
	o = run_sized("GET /", 9000, "");
	assert_int_equal(o.err, KB_URI_TOO_LONG);
	o = run_sized(GET "X:", 8192 - 4, "\r\n\r\n");
	assert_int_equal(o.last, KB_HTTP1_DONE);
	o = run_sized(GET "X:", 8193 - 4, "\r\n\r\n");
	assert_int_equal(o.last, KB_HTTP1_BAD);
	assert_int_equal(o.err, KB_HEADERS_TOO_LARGE);
	o = run_sized(GET "X:", 9000, "");
	assert_int_equal(o.err, KB_HEADERS_TOO_LARGE);
}

/* A head with `n` fields whose values have `size` bytes. */
static struct outcome
run_fields(int n, int size)
{
	static char text[40000];
	size_t len = (size_t)snprintf(text, sizeof(text), GET);

	for (int i = 0; i < n; i++)
		len += (size_t)snprintf(
		    text + len, sizeof(text) - len, "X: %0*d\r\n", size, 0);
	len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n");
	return run(text, len, false, "fields");
}

static void
the_whole_head_and_the_number_of_fields_are_limited(void **state)
{
	struct outcome o;

	(void)state;
	o = run_fields(4, 4000);
	assert_int_equal(o.last, KB_HTTP1_DONE);
	o = run_fields(5, 4000);
	assert_int_equal(o.last, KB_HTTP1_BAD);
	assert_int_equal(o.err, KB_HEADERS_TOO_LARGE);
	o = run_fields(99, 1);
	assert_int_equal(o.last, KB_HTTP1_DONE);
	o = run_fields(100, 1);
	assert_int_equal(o.last, KB_HTTP1_BAD);
	assert_int_equal(o.err, KB_HEADERS_TOO_LARGE);
}

/* ---- the corpus
 * --------------------------------------------------------------- */

/* Cases that are for those above the parser, and why. */
static const char *const not_for_the_parser[] = {
	"HTTP-025", /* body over the limit of the route */
	"HTTP-114", /* lower-case method: a token, refused by the routes */
	"HTTP-166", /* CONNECT, whose Host also differs: by the server */
	"HTTP-169", /* a long method: a token, refused by the routes */
	"HTTP-180", /* no LF at all: ends by its deadline */
	"HTTP-225", /* two Authorization fields: of those who read them */
	"HTTP-234", /* body over the route's limit */
	"HTTP-235", /* the same */
	"HTTP-236", /* the same */
};

static bool
is_for_the_parser(const char *id)
{
	for (size_t i = 0; i < KB_COUNT(not_for_the_parser); i++)
		if (strncmp(id, not_for_the_parser[i], 8) == 0)
			return false;
	return true;
}

/* Appends the bytes of the base64 member "key" in a line of JSON. */
static const char *
decode_member(const char *json, const char *key, struct kb_buf *out)
{
	char pattern[64], *room;
	const char *at, *end;
	long n;

	snprintf(pattern, sizeof(pattern), "\"%s\": \"", key);
	at = strstr(json, pattern);
	if (!at)
		return NULL;
	at += strlen(pattern);
	end = strchr(at, '"');
	assert_non_null(end);
	room = kb_buf_reserve(out, (size_t)(end - at) + 3);
	assert_non_null(room);
	n = kb_base64_decode(at, (size_t)(end - at), room);
	assert_true(n >= 0);
	kb_buf_commit(out, (size_t)n);
	return end;
}

/* "gen": pieces with the number of their repetitions. */
static void
decode_gen(const char *json, struct kb_buf *out)
{
	struct kb_buf piece;
	const char *at = strstr(json, "\"gen\": [");

	kb_buf_init(&piece, 1 << 20);
	while (at && (at = decode_member(at, "b64", &piece)) != NULL) {
		const char *repeat = strstr(at, "\"repeat\": ");
		long n = repeat ? strtol(repeat + 10, NULL, 10) : 1;

		for (long i = 0; i < n; i++)
			kb_buf_add(out, piece.ptr, piece.len);
		kb_buf_reset(&piece);
	}
	kb_buf_free(&piece);
}

/* @@HOST@@ stands for a host name. */
static void
put_host(struct kb_buf *in, struct kb_buf *out)
{
	const char *p = in->ptr, *end = in->ptr + in->len, *at;

	while ((at = memmem(p, (size_t)(end - p), "@@HOST@@", 8)) != NULL) {
		kb_buf_add(out, p, (size_t)(at - p));
		kb_buf_adds(out, "gateway.test");
		p = at + 8;
	}
	kb_buf_add(out, p, (size_t)(end - p));
}

struct tally {
	unsigned refused, taken, either, above, responses;
};

/* Those that the gateway must answer with 502 are bad to the parser, but
 * for the 101 that nobody asked for and the connection closed unanswered. */
static void
check_response(const char *line, const struct kb_buf *b, struct tally *t)
{
	struct outcome o = run(kb_buf_str(b), b->len, true, line);
	bool above = strstr(line, "HTTP-259") || b->len == 0;

	if (strstr(line, "\"status\": [502]") && !above &&
	    o.last != KB_HTTP1_BAD)
		fail_msg("taken: %s", line);
	t->responses++;
}

static void
check_request(const char *line, const struct kb_buf *b, struct tally *t)
{
	const char *id = strstr(line, "HTTP-");
	struct outcome o = run(b->ptr, b->len, false, line);

	if (strstr(line, "\"verdict\": \"either\"")) {
		t->either++;
	} else if (!is_for_the_parser(id)) {
		t->above++;
	} else if (strstr(line, "\"verdict\": \"reject\"")) {
		if (o.last != KB_HTTP1_BAD)
			fail_msg("%.8s was taken: %.2000s", id, line);
		t->refused++;
	} else {
		if (o.last == KB_HTTP1_BAD)
			fail_msg("%.8s was refused: %.2000s", id, line);
		t->taken++;
	}
}

static void
check_case(const char *line, struct tally *t)
{
	struct kb_buf raw, b;

	kb_buf_init(&raw, 16 << 20);
	kb_buf_init(&b, 16 << 20);
	if (strstr(line, "\"upstream_sends_b64\"")) {
		decode_member(line, "upstream_sends_b64", &b);
		check_response(line, &b, t);
	} else if (!strstr(line, "\"steps\"")) {
		if (!decode_member(line, "raw_b64", &raw))
			decode_gen(line, &raw);
		put_host(&raw, &b);
		check_request(line, &b, t);
	}
	kb_buf_free(&raw);
	kb_buf_free(&b);
}

static void
the_corpus_comes_out_as_expected_whole_and_split(void **state)
{
	const char *root = getenv("KOMBI_SOURCE_DIR");
	struct tally t = { 0 };
	size_t room = 0;
	char path[500], *line = NULL;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/tests/attacks/http_raw.jsonl",
	    root ? root : ".");
	f = fopen(path, "r");
	if (!f)
		fail_msg("no corpus at %s", path);
	while (getline(&line, &room, f) > 0)
		check_case(line, &t);
	free(line);
	fclose(f);
	print_message("corpus: %u refused, %u taken, %u either, %u above the "
		      "parser, %u responses\n",
	    t.refused, t.taken, t.either, t.above, t.responses);
	assert_true(t.refused > 90 && t.taken > 15 && t.responses > 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_read_by_offsets),
		cmocka_unit_test(a_response_is_read),
		cmocka_unit_test(every_known_header_is_found_in_any_case),
		cmocka_unit_test(every_method_is_found_in_capitals_only),
		cmocka_unit_test(connection_options_decide_about_keeping_it),
		cmocka_unit_test(expect_is_seen_in_http_1_1_only),
		cmocka_unit_test(tokens_are_found_in_lists),
		cmocka_unit_test(bad_fields_and_two_framings_are_refused),
		cmocka_unit_test(bytes_above_ascii_are_taken_in_values_only),
		cmocka_unit_test(request_lines_are_exact),
		cmocka_unit_test(connect_is_read_as_an_authority),
		cmocka_unit_test(http_1_1_needs_a_host),
		cmocka_unit_test(one_empty_line_is_skipped_and_not_two),
		cmocka_unit_test(bad_status_lines_are_refused),
		cmocka_unit_test(an_error_is_found_before_the_head_is_complete),
		cmocka_unit_test(limits_count_the_line_end_and_are_exact),
		cmocka_unit_test(
		    the_whole_head_and_the_number_of_fields_are_limited),
		cmocka_unit_test(
		    the_corpus_comes_out_as_expected_whole_and_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
