/* Files become flat entities that refer by ids, and can be changed. */
#include "plugins_config.h"

#include <kombi/str.h>

#define HEAD "_format_version: \"3.0\"\n"
#define UUID "11111111-2222-4333-8444-555555555555"

static const struct entity *
find(const struct loaded *l, enum kind kind, const char *name)
{
	const struct entity *e = document_find(l->s->document, kind, name);

	if (e == NULL)
		fail_msg("no %s %s", kind_infos[kind].singular, name);
	return e;
}

static const char *
text(const struct entity *e, const char *member)
{
	const struct kb_yaml *y = kb_yaml_get(e->y, member);

	return y ? y->text : NULL;
}

static void
refused(const char *yaml, const char *says)
{
	struct loaded l;

	load_text(&l, yaml);
	assert_true(problems_any(&l.p));
	if (strstr(kb_buf_str(&l.text), says) == NULL)
		fail_msg("\"%s\" is not in: %s", says, kb_buf_str(&l.text));
	unload(&l);
}

static const char nested[] = HEAD
    "services:\n- name: s\n  url: http://127.0.0.1:9\n  routes:\n"
    "  - {name: r, paths: [/r], plugins: [{name: acl, config: {allow: "
    "[a]}}]}\n"
    "consumers:\n- username: u\n  custom_id: c-1\n"
    "  keyauth_credentials: [{key: 0123456789abcdef}]\n"
    "  acls: [{group: g}]\n"
    "upstreams:\n- {name: up, targets: [{target: \"a:1\"}]}\n";

static const char flat[] = HEAD
    "plugins:\n- {name: acl, route: {name: r}, config: {allow: [a]}}\n"
    "acls:\n- {group: g, consumer: c-1}\n"
    "keyauth_credentials:\n- {consumer: u, key: 0123456789abcdef}\n"
    "targets:\n- {target: \"a:1\", upstream: up}\n"
    "routes:\n- {name: r, paths: [/r], service: s}\n"
    "upstreams:\n- {name: up}\n"
    "consumers:\n- {username: u, custom_id: c-1}\n"
    "services:\n- {name: s, url: \"http://127.0.0.1:9\"}\n";

static void
nested_and_flat_files_make_the_same_document(void **state)
{
	struct loaded a, b;

	(void)state;
	load_text(&a, nested);
	load_text(&b, flat);
	assert_false(problems_any(&a.p) || problems_any(&b.p));
	for (int k = 0; k < KINDS; k++) {
		assert_int_equal(
		    a.s->document->of[k].n, b.s->document->of[k].n);
		for (size_t i = 0; i < a.s->document->of[k].n; i++)
			assert_string_equal(a.s->document->of[k].v[i]->id,
			    b.s->document->of[k].v[i]->id);
	}
	assert_int_equal(a.s->document->of[KIND_ROUTE].n, 1);
	assert_string_equal(document_foreign(a.s->document,
				find(&a, KIND_ROUTE, "r"), "service")
				->name,
	    "s");
	assert_null(kb_yaml_get(find(&a, KIND_SERVICE, "s")->y, "routes"));
	unload(&a);
	unload(&b);
}

static void
ids_are_made_of_names_as_kong_makes_them(void **state)
{
	struct loaded l;

	(void)state;
	load_text(&l, nested);
	/* uuid5(uuid5(Kong's, "services"), "s") by Python's uuid */
	assert_string_equal(find(&l, KIND_SERVICE, "s")->id,
	    "b268827a-8f7f-551f-8769-e6bceb2f3ec6");
	assert_string_equal(find(&l, KIND_CONSUMER, "u")->id,
	    "006a59a7-8eb1-5cc5-9890-db96d542fcca");
	assert_string_equal(text(find(&l, KIND_ROUTE, "r"), "id"),
	    find(&l, KIND_ROUTE, "r")->id);
	unload(&l);
	load_text(&l, HEAD "services:\n- {id: " UUID ", name: s, host: h}\n");
	assert_string_equal(find(&l, KIND_SERVICE, "s")->id, UUID);
	assert_ptr_equal(
	    find(&l, KIND_SERVICE, UUID), find(&l, KIND_SERVICE, "s"));
	unload(&l);
}

static void
no_secret_stands_in_a_document(void **state)
{
	struct loaded l;

	(void)state;
	load_text(&l,
	    HEAD
	    "consumers:\n- username: u\n"
	    "  keyauth_credentials: [{key: plain-key-of-length}]\n"
	    "  basicauth_credentials: [{username: u, password: plain-word}]\n"
	    "  jwt_secrets: [{key: k, algorithm: RS256, secret: "
	    "plain-secret}]\n"
	    "certificates:\n- cert: \"-----BEGIN CERTIFICATE-----\\n\"\n"
	    "  key: plain-pem\n");
	/* It is no certificate, which is said, without the key. */
	assert_true(problems_any(&l.p));
	assert_null(strstr(kb_buf_str(&l.text), "plain"));
	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < l.s->document->of[k].n; i++)
			assert_null(strstr(kb_yaml_to_json(l.p.arena,
					       l.s->document->of[k].v[i]->y),
			    "plain"));
	assert_string_equal(
	    find(&l, KIND_JWT_SECRET, "k")->secret, "plain-secret");
	assert_string_equal(l.s->certificates[0]->key, "plain-pem");
	unload(&l);
}

static void
passwords_are_found_by_their_salted_hash(void **state)
{
	struct loaded l;
	struct local local = { 0 };
	struct exchange x = { .local = &local };

	(void)state;
	load_text(&l,
	    HEAD "consumers:\n- username: u\n  basicauth_credentials: "
		 "[{username: joe, password: secret}]\n");
	local.snapshot = l.s;
	assert_non_null(
	    exchange_find_password(&x, "joe", kb_slice_of("secret")));
	assert_null(exchange_find_password(&x, "joe", kb_slice_of("secreT")));
	assert_null(exchange_find_password(&x, "jo", kb_slice_of("secret")));
	assert_null(exchange_find_password(&x, "joe", kb_slice_of("")));
	unload(&l);
}

static void
what_is_there_twice_or_nowhere_is_told_with_both_lines(void **state)
{
	(void)state;
	refused(HEAD "services:\n- {name: a, host: h}\n- {name: a, host: h}\n",
	    "kong.yml:4: service \"a\" is there twice (also in line 3)");
	refused(HEAD "services:\n- {id: " UUID ", name: a, host: h}\n"
		     "- {id: " UUID ", name: b, host: h}\n",
	    "kong.yml:4: service: the id " UUID
	    " is there twice (also in line 3)");
	refused(HEAD "consumers:\n- {username: a, custom_id: x}\n"
		     "- {username: b, custom_id: x}\n",
	    "kong.yml:4: consumer: the custom_id \"x\" is there twice (also "
	    "in line 3)");
	refused(HEAD "upstreams:\n- name: u\n  targets:\n  - target: a:1\n"
		     "  - target: a:1\n",
	    "kong.yml:6: target \"a:1\" is there twice (also in line 5)");
	refused(HEAD "plugins:\n- {name: cors, config: {origins: "
		     "[\"https://a.io\"]}}\n- {name: cors, config: {origins: "
		     "[\"https://a.io\"]}}\n",
	    "kong.yml:4: plugin cors is configured twice for global (also in "
	    "line 3)");
	refused(HEAD "targets:\n- {target: \"a:1\", upstream: nope}\n",
	    "kong.yml:3: target a:1: there is no upstream \"nope\"");
	refused(HEAD "acls:\n- {group: g}\n",
	    "kong.yml:3: acl g: consumer is required");
	refused(HEAD "services:\n- {id: x, name: a, host: h}\n",
	    "kong.yml:3: service a: id must be a UUID");
	refused(HEAD "services:\n- {name: a, host: h, tags: [\"a,b\"]}\n",
	    "kong.yml:3: service a: a tag is text without");
	refused(HEAD "services:\n- name: a\n  host: h\n  routes:\n"
		     "  - {name: r, paths: [/], service: b}\n"
		     "- {name: b, host: h}\n",
	    "kong.yml:6: route r: stands below the service \"a\" but names "
	    "another one");
	refused(HEAD "consumers:\n- username: a\n  keyauth_credentials: "
		     "[{key: 0123456789abcdef}, {key: 0123456789abcdef}]\n",
	    "kong.yml:4: keyauth_credentials: the same key is there twice");
}

static void
shared_plugin_configurations_are_merged(void **state)
{
	struct loaded l;
	const struct kb_yaml *config;

	(void)state;
	load_text(&l,
	    HEAD "_plugin_configs:\n  one: {allow: [a], hide_groups_header: "
		 "true}\nplugins:\n- {name: acl, _config: one, config: {allow: "
		 "[b]}}\n");
	config = kb_yaml_get(l.s->document->of[KIND_PLUGIN].v[0]->y, "config");
	assert_string_equal(kb_yaml_get(config, "allow")->first->text, "b");
	assert_string_equal(
	    kb_yaml_get(config, "hide_groups_header")->text, "true");
	unload(&l);
	refused(HEAD "plugins:\n- {name: acl, _config: two}\n",
	    "plugin: _config \"two\" is not one of _plugin_configs");
}

#define PEM "\"-----BEGIN CERTIFICATE-----\\nMA==\\n\""

static void
certificates_are_bound_to_names_and_services(void **state)
{
	struct loaded l;
	const struct service *s;

	(void)state;
	load_text(&l,
	    HEAD "certificates:\n- id: " UUID "\n  cert: " PEM
		 "\n  key: k\n  snis: [a.io, {name: \"*.b.io\"}]\n"
		 "snis:\n- {name: c.io, certificate: {id: " UUID "}}\n"
		 "ca_certificates:\n- id: 21111111-2222-4333-8444-"
		 "555555555555\n  cert: " PEM
		 "\nservices:\n- name: s\n  url: https://h/x\n"
		 "  tls_verify: true\n  tls_verify_depth: 2\n"
		 "  client_certificate: " UUID "\n"
		 "  ca_certificates: [21111111-2222-4333-8444-555555555555]\n"
		 "upstreams:\n- {name: u, client_certificate: {id: " UUID
		 "}}\n");
	s = snapshot_service(l.s, "s");
	assert_int_equal(l.s->certificates[0]->snis.n, 3);
	assert_string_equal(l.s->certificates[0]->snis.v[2], "c.io");
	assert_int_equal(s->protocol, SERVICE_HTTPS);
	assert_int_equal(s->port, 443);
	assert_int_equal(s->tls_verify, TLS_VERIFY_ON);
	assert_int_equal(s->tls_verify_depth, 2);
	assert_ptr_equal(s->client_certificate, l.s->certificates[0]);
	assert_ptr_equal(s->ca_certificates[0], l.s->ca_certificates[0]);
	assert_ptr_equal(
	    l.s->upstreams[0]->client_certificate, l.s->certificates[0]);
	unload(&l);
	refused(HEAD "services:\n- {name: s, host: h, client_certificate: " UUID
		     "}\n",
	    "kong.yml:3: service s: there is no certificate \"" UUID "\"");
	refused(HEAD "certificates:\n- cert: " PEM "\n",
	    "kong.yml:3: certificate: key is required");
	refused(HEAD "certificates:\n- {cert: nothing, key: k}\n",
	    "kong.yml:3: certificate: cert must be PEM text");
}

static void
groups_are_told_from_either_side(void **state)
{
	struct loaded l;

	(void)state;
	load_text(&l,
	    HEAD "consumer_groups:\n- {name: gold, consumers: [{username: "
		 "a}]}\n- {name: old}\nconsumers:\n- {username: a}\n"
		 "- {username: b, groups: [{name: gold}, {name: old}]}\n");
	assert_false(problems_any(&l.p));
	assert_int_equal(l.s->consumers[0]->n_member_of, 1);
	assert_string_equal(l.s->consumers[0]->member_of[0]->name, "gold");
	assert_int_equal(l.s->consumers[1]->n_member_of, 2);
	unload(&l);
	refused(HEAD "consumer_groups:\n- {name: g, consumers: [{username: "
		     "z}]}\n",
	    "consumer_group g: there is no consumer \"z\"");
}

static struct entity *
put(struct problems *p, struct document *d, enum kind kind, const char *yaml)
{
	struct kb_yaml *y = NULL;
	const char *why = "";

	assert_int_equal(
	    kb_yaml_parse(d->arena, yaml, strlen(yaml), &y, &why), KB_OK);
	return document_put(p, d, kind, y, 0);
}

static void
a_copy_can_be_changed_and_becomes_a_snapshot(void **state)
{
	struct loaded l;
	struct problems p = { .file = "api" };
	struct document *d;
	struct snapshot *s;
	struct entity *e;

	(void)state;
	load_text(&l, nested);
	p.arena = kb_arena_new(0);
	d = document_copy(p.arena, l.s->document);
	unload(&l);
	e = put(&p, d, KIND_ROUTE, "{name: new, paths: [/n], service: s}");
	assert_non_null(e);
	assert_true(kb_is_uuid(e->id));
	e = put(&p, d, KIND_SERVICE,
	    kb_sprintf(p.arena, "{id: %s, name: t, host: h}",
		document_find(d, KIND_SERVICE, "s")->id));
	assert_non_null(e);
	assert_null(document_find(d, KIND_SERVICE, "s"));
	s = document_link(&p, d);
	assert_false(problems_any(&p));
	assert_int_equal(s->n_routes, 2);
	assert_string_equal(s->routes[1]->service->name, "t");
	assert_null(put(&p, d, KIND_ROUTE,
	    "{id: " UUID ", name: new, paths: [/x], service: t}"));
	assert_true(problems_any(&p));
	kb_arena_free(p.arena);
}

static void
what_belongs_to_an_entity_goes_with_it(void **state)
{
	struct loaded l;
	struct problems p = { .file = "api" };
	struct document *d;
	struct entity *service, *route;

	(void)state;
	load_text(&l, nested);
	p.arena = kb_arena_new(0);
	d = document_copy(p.arena, l.s->document);
	unload(&l);
	service = document_find(d, KIND_SERVICE, "s");
	route = document_find(d, KIND_ROUTE, "r");
	assert_ptr_equal(document_remove(d, service), route);
	assert_null(document_remove(d, route));
	assert_int_equal(d->of[KIND_PLUGIN].n, 0);
	assert_null(document_remove(d, service));
	assert_null(document_remove(d, document_find(d, KIND_CONSUMER, "c-1")));
	assert_int_equal(d->of[KIND_KEYAUTH].n + d->of[KIND_ACL].n, 0);
	assert_null(document_remove(d, document_find(d, KIND_UPSTREAM, "up")));
	for (int k = 0; k < KINDS; k++)
		assert_int_equal(d->of[k].n, 0);
	kb_arena_free(p.arena);
}

static void
a_secret_that_is_left_out_stays(void **state)
{
	struct loaded l;
	struct problems p = { .file = "api" };
	struct document *d;
	struct entity *e;

	(void)state;
	load_text(&l,
	    HEAD "consumers:\n- username: u\n  jwt_secrets: [{id: " UUID
		 ", key: k, algorithm: RS256, secret: s3}]\n");
	p.arena = kb_arena_new(0);
	d = document_copy(p.arena, l.s->document);
	unload(&l);
	e = put(&p, d, KIND_JWT_SECRET,
	    "{id: " UUID ", key: k2, algorithm: ES256, consumer: u}");
	assert_non_null(e);
	assert_string_equal(e->secret, "s3");
	assert_null(document_find(d, KIND_JWT_SECRET, "k"));
	kb_arena_free(p.arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested_and_flat_files_make_the_same_document),
		cmocka_unit_test(ids_are_made_of_names_as_kong_makes_them),
		cmocka_unit_test(no_secret_stands_in_a_document),
		cmocka_unit_test(passwords_are_found_by_their_salted_hash),
		cmocka_unit_test(
		    what_is_there_twice_or_nowhere_is_told_with_both_lines),
		cmocka_unit_test(shared_plugin_configurations_are_merged),
		cmocka_unit_test(certificates_are_bound_to_names_and_services),
		cmocka_unit_test(groups_are_told_from_either_side),
		cmocka_unit_test(a_copy_can_be_changed_and_becomes_a_snapshot),
		cmocka_unit_test(what_belongs_to_an_entity_goes_with_it),
		cmocka_unit_test(a_secret_that_is_left_out_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
