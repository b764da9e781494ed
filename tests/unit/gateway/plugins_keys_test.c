/* Consumers of the file, their keys, and what key-auth may be told. */
#include "plugins_config.h"

#include <kombi/str.h>

#define HEAD "_format_version: \"3.0\"\nconsumers:\n"
#define KEY "0123456789abcdef"

static const struct credential *
owner(struct loaded *l, const char *key)
{
	struct local local = { .snapshot = l->s };
	struct exchange x = { .local = &local };

	return exchange_find_key(&x, kb_slice_of(key));
}

static void
refused(const char *consumers, const char *says)
{
	struct loaded l;
	char yaml[4096];

	snprintf(yaml, sizeof(yaml), "%s%s", HEAD, consumers);
	load_text(&l, yaml);
	assert_true(problems_any(&l.p));
	if (strstr(kb_buf_str(&l.text), says) == NULL)
		fail_msg("\"%s\" is not in: %s", says, kb_buf_str(&l.text));
	assert_null(strstr(kb_buf_str(&l.text), KEY));
	unload(&l);
}

static void
a_key_names_its_consumer_and_no_other_text_does(void **state)
{
	struct loaded l;
	char key[64];

	(void)state;
	load_text(&l,
	    HEAD
	    "- username: a\n  keyauth_credentials: [{key: " KEY "-a}, "
	    "{key: " KEY
	    "-b, id: 11111111-2222-4333-8444-555555555555}]\n- username: b\n  "
	    "keyauth_credentials: [{key: " KEY "-c}]\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_string_equal(owner(&l, KEY "-a")->consumer->username, "a");
	assert_string_equal(
	    owner(&l, KEY "-b")->id, "11111111-2222-4333-8444-555555555555");
	assert_string_equal(owner(&l, KEY "-c")->consumer->username, "b");
	assert_null(owner(&l, ""));
	assert_null(owner(&l, KEY));
	for (size_t i = 0; i < 18; i++) {
		memcpy(key, KEY "-a", 19);
		key[i] ^= 1;
		assert_null(owner(&l, key));
	}
	unload(&l);
}

static void
the_key_itself_is_not_kept(void **state)
{
	struct loaded l;
	const struct entity *credential;

	(void)state;
	load_text(&l,
	    HEAD "- username: a\n  keyauth_credentials: [{key: " KEY "}]\n");
	credential = l.s->document->of[KIND_KEYAUTH].v[0];
	/* printf 0123456789abcdef | sha256sum */
	assert_string_equal(kb_yaml_get(credential->y, "key")->text,
	    "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564"
	    "176929f");
	assert_non_null(owner(&l, KEY));
	unload(&l);
}

static void
a_salted_hash_stands_for_its_key(void **state)
{
	struct loaded l;

	(void)state;
	/* printf '\1\2\3\4\5\6\7\10swordfish' | sha256sum */
	load_text(&l,
	    HEAD "- username: a\n  keyauth_credentials:\n  - key: "
		 "sha256:0102030405060708:"
		 "f69e3e0d014911abeb2c4cd5ad4c4d7bedb9931887e8f11fd9b43ebfe961a"
		 "ab9\n");
	assert_non_null(owner(&l, "swordfish"));
	assert_null(owner(&l, "swordfisH"));
	assert_null(owner(&l, "sha256:0102030405060708"));
	unload(&l);
}

static void
groups_and_tags_make_roles_plan_and_organisation(void **state)
{
	struct loaded l;
	const struct consumer *c;

	(void)state;
	load_text(&l,
	    HEAD "- username: a\n  tags: [plan:Enterprise, org:o-1, role:b, "
		 "team]\n  acls: [{group: c}, {group: a}, {group: b}]\n"
		 "- username: b\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	c = l.s->consumers[0];
	assert_string_equal(c->roles, "a,b,c");
	assert_string_equal(c->plan, "enterprise");
	assert_string_equal(c->org, "o-1");
	assert_int_equal(c->groups.n, 3);
	assert_null(l.s->consumers[1]->roles);
	assert_string_equal(l.s->consumers[1]->plan, "free");
	assert_int_equal(strlen(c->id), 36);
	assert_string_not_equal(c->id, l.s->consumers[1]->id);
	unload(&l);
}

static void
consumers_that_cannot_be_are_refused_without_telling_a_key(void **state)
{
	(void)state;
	refused(
	    "- custom: a\n", "kong.yml:3: consumer: unknown field \"custom\"");
	refused("- tags: []\n",
	    "kong.yml:3: consumer: username or custom_id is required");
	refused("- username: a\n- username: a\n",
	    "consumer \"a\" is there twice (also in line 3)");
	refused("- username: a\n  tags: [plan:gold]\n",
	    "consumer: the tag plan: must be there once, one of plan:free");
	refused("- username: a\n  acls: [{group: 'x y'}]\n",
	    "consumer: the group or role \"x y\" must be");
	refused("- username: a\n  acls: [{name: x}]\n",
	    "acls: unknown field \"name\"");
	refused("- username: é\n  keyauth_credentials: [{key: " KEY "}]\n",
	    "with keys must be 1 to 128 of letters");
	refused("- username: a\n  keyauth_credentials: [{key: " KEY
		"}, {key: " KEY "}]\n",
	    "keyauth_credentials: the same key is there twice (also in line "
	    "4)");
	refused("- username: a\n  keyauth_credentials: [{key: ''}]\n",
	    "keyauth_credentials: key must be a text of 1 to 1024");
	refused("- username: a\n  keyauth_credentials: [{key: [" KEY "]}]\n",
	    "keyauth_credentials: key must be a text of 1 to 1024");
	refused("- username: a\n  keyauth_credentials: [{ttl: 3}]\n",
	    "keyauth_credentials: ttl is not implemented");
	refused("- username: a\n  keyauth_credentials: [{key: 'sha256:01:02'}]"
		"\n",
	    "keyauth_credentials: a hashed key is sha256:HASH or");
	refused("- username: a\n  keyauth_credentials: 7\n",
	    "keyauth_credentials must be a list");
}

static void
a_short_key_is_remarked(void **state)
{
	struct loaded l;

	(void)state;
	load_text(
	    &l, HEAD "- username: a\n  keyauth_credentials: [{key: abc}]\n");
	assert_false(problems_any(&l.p));
	assert_non_null(strstr(kb_buf_str(&l.text),
	    "kong.yml:4: note: keyauth_credentials: a key of less than 16"));
	unload(&l);
}

static void
key_auth_is_judged_at_load(void **state)
{
	(void)state;
	is_accepted("key-auth", "{}");
	is_accepted("key-auth",
	    "{key_names: [X-Api-Key, api_key], hide_credentials: true, realm: "
	    "r, anonymous: a, run_on_preflight: false}");
	is_told("key-auth", "{key_in_query: true}", false,
	    "plugin key-auth: keys in the query end up in logs and histories");
	is_told("key-auth", "{key_in_body: true}", false,
	    "plugin key-auth: key_in_body: forms and JSON bodies are read");
	is_told("key-auth", "{key_in_header: false}", true,
	    "plugin key-auth: key_in_header, key_in_query or "
	    "key_in_body must be true");
	is_told("key-auth", "{key_names: [X-User-ID]}", true,
	    "plugin key-auth: key_names \"X-User-ID\" must be letters");
	is_told("key-auth", "{key_names: [x_user_id]}", true,
	    "plugin key-auth: key_names \"x_user_id\" must be letters");
	is_told("key-auth", "{key_names: []}", true,
	    "plugin key-auth: key_names must name a header");
	is_told("key-auth", "{realm: 'a\"b'}", true,
	    "plugin key-auth: realm may not hold quotes");
	is_told("key-auth", "{key_name: [a]}", true,
	    "plugin key-auth: unknown field \"key_name\", did you mean "
	    "\"key_names\"?");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_key_names_its_consumer_and_no_other_text_does),
		cmocka_unit_test(the_key_itself_is_not_kept),
		cmocka_unit_test(a_salted_hash_stands_for_its_key),
		cmocka_unit_test(
		    groups_and_tags_make_roles_plan_and_organisation),
		cmocka_unit_test(
		    consumers_that_cannot_be_are_refused_without_telling_a_key),
		cmocka_unit_test(a_short_key_is_remarked),
		cmocka_unit_test(key_auth_is_judged_at_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
