/*
 * Mails: nothing that people name can add a header, a line or a receiver.
 */
#include "test.h"

#include <kombi/mail.h>
#include <kombi/str.h>

static struct kb_mail
plain(void)
{
	return (struct kb_mail) {
		.from_name = "Support",
		.from = "no-reply@example.com",
		.to = "ann@example.com",
		.subject = "Hello",
		.html = "<p>Hi &amp; welcome</p>",
	};
}

static void
a_mail_has_both_forms(void **state)
{
	struct kb_mail m = plain();
	const char *text;

	assert_int_equal(kb_mail_compose(*state, &m, &text), KB_OK);
	assert_non_null(strstr(text, "\r\nTo: <ann@example.com>\r\n"));
	assert_non_null(strstr(text, "\r\nSubject: Hello\r\n"));
	assert_non_null(strstr(text, "text/plain; charset=utf-8"));
	assert_non_null(strstr(text, "text/html; charset=utf-8"));
	/* "Hi & welcome" */
	assert_non_null(strstr(text, "SGkgJiB3ZWxjb21l"));
}

static void
lines_are_short_and_end_as_they_should(void **state)
{
	struct kb_mail m = plain();
	char subject[900];
	const char *text, *end;

	memset(subject, 'x', sizeof(subject) - 1);
	subject[sizeof(subject) - 1] = '\0';
	m.subject = subject;
	assert_int_equal(kb_mail_compose(*state, &m, &text), KB_OK);
	for (; (end = strchr(text, '\n')) != NULL; text = end + 1) {
		assert_true(end > text && end[-1] == '\r');
		assert_true(end - text < 120);
	}
}

static void
names_cannot_add_headers(void **state)
{
	struct kb_mail m = plain();
	const char *text;

	m.subject = "Hi\r\nBcc: all@example.com\r\n\r\nbody";
	m.from_name = "A\" <x@example.com>\r\nX-Bad: 1";
	assert_int_equal(kb_mail_compose(*state, &m, &text), KB_OK);
	assert_null(strstr(text, "Bcc:"));
	assert_null(strstr(text, "X-Bad"));
	assert_null(strstr(text, "x@example.com"));
}

static void
characters_are_not_cut(void **state)
{
	struct kb_mail m = plain();
	const char *text;

	/* 20 of them, three bytes each: no word ends inside of one */
	m.subject = "€€€€€€€€€€€€€€€€€€€€";
	assert_int_equal(kb_mail_compose(*state, &m, &text), KB_OK);
	assert_non_null(strstr(text,
	    "Subject: =?UTF-8?B?4oKs4oKs4oKs4oKs4oKs4oKs4oKs4oKs4oKs4oKs4oKs"
	    "4oKs4oKs4oKs?=\r\n =?UTF-8?B?4oKs4oKs4oKs4oKs4oKs4oKs?=\r\n"));
}

static void
addresses_are_addresses(void **state)
{
	static const char *const bad[] = { "", "ann", "ann@example.com\r\nx",
		"a b@example.com", "<ann@example.com>", "a,b@example.com",
		"ann@example.com,bob@example.com", "a@b@c" };
	struct kb_mail m = plain();
	const char *text;

	for (size_t i = 0; i < KB_COUNT(bad); i++) {
		m.to = bad[i];
		assert_int_equal(
		    kb_mail_compose(*state, &m, &text), KB_INVALID);
	}
	m = plain();
	m.from = "x\n@example.com";
	assert_int_equal(kb_mail_compose(*state, &m, &text), KB_INVALID);
}

static void
html_becomes_words(void **state)
{
	assert_string_equal(
	    kb_mail_text_of(*state,
		"<p>Hello,</p>\n<p><a class=\"b\" href=\"https://x/y\">Go</a>"
		" &lt;3<br>bye</p>"),
	    "Hello,\n\nGo (https://x/y) <3\nbye\n\n");
	assert_string_equal(kb_mail_text_of(*state, "a <b"), "a ");
	assert_string_equal(kb_mail_text_of(*state, NULL), "");
}

static void
servers_that_are_none_are_refused(void **state)
{
	struct kb_mail m = plain();
	struct kb_smtp s = { .host = "127.0.0.1/x", .port = 25 };

	assert_int_equal(kb_smtp_send(*state, NULL, &s, &m), KB_INVALID);
	s.host = "user@host";
	assert_int_equal(kb_smtp_send(*state, NULL, &s, &m), KB_INVALID);
	s = (struct kb_smtp) { .host = "localhost", .port = 0 };
	assert_int_equal(kb_smtp_send(*state, NULL, &s, &m), KB_INVALID);
	s = (struct kb_smtp) {
		.host = "localhost", .port = 25, .auth = "PLAIN;AUTH=LOGIN"
	};
	assert_int_equal(kb_smtp_send(*state, NULL, &s, &m), KB_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(a_mail_has_both_forms),
		test_with_arena(lines_are_short_and_end_as_they_should),
		test_with_arena(names_cannot_add_headers),
		test_with_arena(characters_are_not_cut),
		test_with_arena(addresses_are_addresses),
		test_with_arena(html_becomes_words),
		test_with_arena(servers_that_are_none_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
