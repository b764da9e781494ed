/* Forms with files, whole, torn at every byte, and bad ones. */
#include "test.h"

#include <kombi/multipart.h>
#include <kombi/str.h>

struct heard {
	struct kb_arena *arena;
	struct kb_buf text;
};

static enum kb_err
on_part(void *arg, const struct kb_multipart_part *p)
{
	struct heard *h = arg;

	kb_buf_addf(&h->text, "[%s|%s|%s]", p->name,
	    p->filename ? p->filename : "-", p->type ? p->type : "-");
	return KB_OK;
}

static enum kb_err
on_data(void *arg, const char *data, size_t len)
{
	struct heard *h = arg;

	kb_buf_add(&h->text, data, len);
	return KB_OK;
}

static enum kb_err
on_end(void *arg)
{
	struct heard *h = arg;

	kb_buf_adds(&h->text, ";");
	return KB_OK;
}

/* What is heard of the body in pieces of `step` bytes. */
static enum kb_err
hear(struct kb_arena *a, const char *body, size_t step, const char **text)
{
	struct heard h = { .arena = a };
	struct kb_multipart_conf conf = { on_part, on_data, on_end, &h, 3 };
	struct kb_multipart *m = kb_multipart_new(a, "AaB", &conf);
	size_t len = strlen(body);
	enum kb_err err = KB_OK;

	kb_buf_init(&h.text, 1 << 20);
	for (size_t at = 0; !err && at < len; at += step)
		err = kb_multipart_feed(
		    m, body + at, len - at < step ? len - at : step);
	if (!err)
		err = kb_multipart_finish(m);
	*text = kb_strdup(a, kb_buf_str(&h.text));
	kb_buf_free(&h.text);
	return err;
}

#define DISPOSITION "Content-Disposition: form-data; name="

static void
a_form_is_the_same_in_pieces_of_any_size(void **state)
{
	static const char body[] =
	    "before\r\n--AaB\r\n" DISPOSITION "\"title\"\r\n\r\nHello\r\n-"
	    "-Aa\r\r\n--AaB\r\n" DISPOSITION "doc; filename=\"C:\\a\\\"b.txt\""
	    "\r\nContent-Type: text/plain\r\n\r\n\r\n\r\n--AaB\r\n"
	    "content-disposition:form-data;name=\"e\"\r\n\r\n\r\n--AaB--\r\nx";
	static const char want[] = "[title|-|-]Hello\r\n--Aa\r;"
				   "[doc|C:\\a\"b.txt|text/plain]\r\n;"
				   "[e|-|-];";
	const char *text;

	for (size_t step = 1; step <= sizeof(body); step++) {
		assert_int_equal(hear(*state, body, step, &text), KB_OK);
		assert_string_equal(text, want);
	}
}

static void
what_ends_early_is_refused_wherever_it_ends(void **state)
{
	static const char body[] = "--AaB\r\n" DISPOSITION
				   "\"a\"\r\n\r\nvalue\r\n--AaB--";
	const char *text;

	for (size_t len = 0; len < sizeof(body) - 1; len++)
		assert_int_equal(
		    hear(*state, kb_strndup(*state, body, len), 7, &text),
		    KB_MALFORMED);
	assert_int_equal(hear(*state, body, 7, &text), KB_OK);
}

static void
bad_forms_are_refused(void **state)
{
	static const char *const bad[] = {
		"--AaB\r\n\r\nno header\r\n--AaB--",
		"--AaB\r\n" DISPOSITION "\"a\r\n\r\nx\r\n--AaB--",
		"--AaB\r\n" DISPOSITION "\"a\"; name=b\r\n\r\nx\r\n--AaB--",
		"--AaB\r\n" DISPOSITION "\"a\"\r\n" DISPOSITION
		"\"b\"\r\n\r\nx\r\n--AaB--",
		"--AaB\r\n" DISPOSITION "\"a\"\n\r\n\r\nx\r\n--AaB--",
		"--AaB\r\nContent-Disposition: file; "
		"name=a\r\n\r\nx\r\n--AaB--",
		"--AaB\r\n" DISPOSITION "\"\xff\"\r\n\r\nx\r\n--AaB--",
		"--AaB \r\n" DISPOSITION "a\r\n\r\nx\r\n--AaB--",
		"--AaB\r\nBad Name: x\r\n" DISPOSITION "a\r\n\r\nx\r\n--AaB--",
	};
	const char *text;

	for (size_t i = 0; i < KB_COUNT(bad); i++)
		assert_int_equal(hear(*state, bad[i], 5, &text), KB_MALFORMED);
}

static void
parts_names_and_headers_have_limits(void **state)
{
	struct kb_arena *a = *state;
	char *name = kb_arena_alloc(a, 9001);
	const char *text, *part = "--AaB\r\n" DISPOSITION "a\r\n\r\nx\r\n";

	memset(name, 'n', 257);
	assert_int_equal(
	    hear(a, kb_sprintf(a, "--AaB\r\n" DISPOSITION "%s\r\n\r\n", name),
		100, &text),
	    KB_TOO_LARGE);
	memset(name, 'n', 9000);
	assert_int_equal(
	    hear(a, kb_sprintf(a, "--AaB\r\nX: %s\r\n", name), 100, &text),
	    KB_TOO_LARGE);
	assert_int_equal(
	    hear(a, kb_sprintf(a, "%s%s%s--AaB--", part, part, part), 100,
		&text),
	    KB_OK);
	assert_int_equal(
	    hear(a, kb_sprintf(a, "%s%s%s%s--AaB--", part, part, part, part),
		100, &text),
	    KB_TOO_LARGE);
}

static void
a_boundary_is_read_as_the_document_says(void **state)
{
	static const struct {
		const char *type, *boundary;
	} cases[] = {
		{ "multipart/form-data; boundary=abc", "abc" },
		{ "Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"",
		    "a b" },
		{ "multipart/form-data", NULL },
		{ "multipart/form-data; boundary=", NULL },
		{ "multipart/form-data; boundary=\"a \"", NULL },
		{ "multipart/form-data; boundary=a; boundary=b", NULL },
		{ "multipart/form-data; boundary=\"a\r\nb\"", NULL },
		{ "multipart/mixed; boundary=a", NULL },
		{ "multipart/form-dataX; boundary=a", NULL },
	};

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const char *b;
		bool ok = kb_multipart_boundary(*state, cases[i].type, &b);

		assert_int_equal(ok, cases[i].boundary != NULL);
		if (ok)
			assert_string_equal(b, cases[i].boundary);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(a_form_is_the_same_in_pieces_of_any_size),
		test_with_arena(what_ends_early_is_refused_wherever_it_ends),
		test_with_arena(bad_forms_are_refused),
		test_with_arena(parts_names_and_headers_have_limits),
		test_with_arena(a_boundary_is_read_as_the_document_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
