/*
 * Parts of auth that need no tenant: persons of other providers, templates of
 * mails.
 */
#include "test.h"

#include <kombi/str.h>

#include "mail.h"
#include "records/auth_provider.h"

static struct person
read_as(void **state, const char *provider, const char *text)
{
	const struct kb_json *j;
	const char *why;
	struct person p = { .id = "" };

	assert_int_equal(
	    kb_json_parse(*state, text, strlen(text), &j, &why), KB_OK);
	(void)person_read(*state, &provider_find(provider)->paths, j, &p);
	return p;
}

static void
an_address_counts_when_the_provider_knows_it(void **state)
{
	struct person p = read_as(state, "google",
	    "{\"sub\":\"1\",\"email\":\"a@b.co\",\"email_verified\":true}");

	assert_string_equal(p.id, "1");
	assert_true(p.verified);
	p = read_as(state, "google",
	    "{\"sub\":\"1\",\"email\":\"a@b.co\",\"email_verified\":false}");
	assert_false(p.verified);
	assert_string_equal(p.email, "");
	p = read_as(state, "oidc",
	    "{\"sub\":\"1\",\"email\":\"a@b.co\",\"email_verified\":\"true\"}");
	assert_true(p.verified);
	p = read_as(state, "oidc", "{\"sub\":\"1\",\"email\":\"a@b.co\"}");
	assert_false(p.verified);
	/* Their directories hold what their owners wrote. */
	p = read_as(state, "microsoft", "{\"id\":\"1\",\"mail\":\"a@b.co\"}");
	assert_false(p.verified);
	assert_string_equal(p.email, "a@b.co");
}

static void
paths_lead_through_lists_and_numbers(void **state)
{
	struct person p = read_as(state, "github",
	    "{\"id\":583231,\"login\":\"octocat\",\"email\":null}");

	assert_string_equal(p.id, "583231");
	assert_string_equal(p.username, "octocat");
	assert_string_equal(p.email, "");
	p = read_as(state, "twitch",
	    "{\"data\":[{\"id\":\"9\",\"login\":\"x\",\"email\":\"a@b.co\"}]}");
	assert_string_equal(p.id, "9");
	assert_true(p.verified);
	p = read_as(state, "twitch", "{\"data\":[]}");
	assert_string_equal(p.id, "");
	p = read_as(state, "twitch", "[1]");
	assert_string_equal(p.id, "");
}

static void
a_configuration_overrides_but_does_not_leak(void **state)
{
	struct oauth2_provider conf = { .name = "github",
		.client_id = "",
		.client_secret = "",
		.auth_url = "",
		.token_url = "",
		.user_info_url = "https://github.example.com/user",
		.display_name = "Ours",
		.pkce = false,
		.pkce_set = true };
	struct provider p;

	(void)state;
	provider_fill(&conf, &p);
	assert_string_equal(p.display, "Ours");
	assert_string_equal(p.user_url, "https://github.example.com/user");
	assert_false(p.pkce);
	/* the token of another host is not for github.com */
	assert_null(p.emails_url);
	assert_null(provider_find("nothere"));
}

static void
placeholders_are_filled_once(void **state)
{
	const struct placeholder p[] = {
		{ "{TOKEN}", "secret" },
		{ "{RECORD:name}", "{TOKEN} & {RECORD:name}" },
	};

	assert_string_equal(
	    mail_fill(*state, "Hi {RECORD:name}: {TOKEN} {OTHER} {", p, 2),
	    "Hi {TOKEN} & {RECORD:name}: secret {OTHER} {");
	assert_string_equal(mail_escape(*state, "<a href=\"x\">'&"),
	    "&lt;a href=&#34;x&#34;&gt;&#39;&amp;");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(an_address_counts_when_the_provider_knows_it),
		test_with_arena(paths_lead_through_lists_and_numbers),
		test_with_arena(a_configuration_overrides_but_does_not_leak),
		test_with_arena(placeholders_are_filled_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
