/* The configuration file: what is accepted, and what is said about the rest. */
#include "test.h"

#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static char *no_env[] = { NULL };

struct loaded {
	struct problems p;
	struct snapshot *s;
	struct substitution sub;
	struct kb_buf text;
};

static void
load_with(struct loaded *l, const char *yaml, char *const env[])
{
	*l = (struct loaded) { 0 };
	l->p.arena = kb_arena_new(0);
	l->p.file = "kong.yml";
	l->sub.env = env;
	l->s = config_parse(&l->p, yaml, strlen(yaml), &l->sub);
	kb_buf_init(&l->text, 1 << 20);
	problems_print(&l->p, true, &l->text);
}

static void
load(struct loaded *l, const char *yaml)
{
	load_with(l, yaml, no_env);
}

static void
done(struct loaded *l)
{
	kb_buf_free(&l->text);
	kb_arena_free(l->p.arena);
}

static void
assert_says(const struct loaded *l, const char *line)
{
	if (strstr(kb_buf_str(&l->text), line) == NULL)
		fail_msg("\"%s\" is not in:\n%s", line, kb_buf_str(&l->text));
}

static void
refused_with(const char *yaml, const char *line)
{
	struct loaded l;

	load(&l, yaml);
	assert_true(problems_any(&l.p));
	assert_says(&l, line);
	done(&l);
}

#define HEAD "_format_version: \"3.0\"\n"
#define SERVICE                                                                \
	HEAD "services:\n- name: stack\n  url: http://127.0.0.1:9000/base\n"

static void
a_service_with_its_routes_and_plugins_loads(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    SERVICE "  retries: 2\n  routes:\n  - name: stacks\n"
		    "    paths: [/v1/stacks, /v1/jobs]\n    methods: [GET]\n"
		    "    strip_path: false\n    plugins:\n    - name: acl\n"
		    "      config: {allow: [admin]}\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_int_equal(l.s->n_routes, 1);
	assert_string_equal(l.s->routes[0]->service->host, "127.0.0.1");
	assert_int_equal(l.s->routes[0]->service->port, 9000);
	assert_string_equal(l.s->routes[0]->service->path, "/base");
	assert_int_equal(l.s->routes[0]->service->retries, 2);
	assert_int_equal(l.s->routes[0]->service->read_timeout, 60000);
	assert_int_equal(l.s->routes[0]->chain.n, 1);
	assert_int_equal(l.s->routes[0]->method_mask, 1U << KB_M_GET);
	done(&l);
}

static void
an_unknown_field_is_named_with_its_line_and_the_nearest_name(void **state)
{
	(void)state;
	refused_with(SERVICE "  retrys: 2\n",
	    "kong.yml:5: service: unknown field \"retrys\", did you mean "
	    "\"retries\"?");
	refused_with(SERVICE
	    "  routes:\n  - paths: [/a]\n    stripPath: true\n",
	    "kong.yml:7: route: unknown field \"stripPath\", did you mean "
	    "\"strip_path\"?");
	refused_with(SERVICE "  zzzzzzzz: 2\n",
	    "kong.yml:5: service: unknown field \"zzzzzzzz\"");
}

static void
a_wrong_type_is_named_with_its_line(void **state)
{
	(void)state;
	refused_with(SERVICE "  retries: many\n",
	    "kong.yml:5: service: retries must be a whole number");
	refused_with(SERVICE "  retries: 40000\n",
	    "kong.yml:5: service: retries must be 0 to 32767");
	refused_with(SERVICE "  enabled: 3\n",
	    "kong.yml:5: service: enabled must be true or false");
	refused_with(
	    SERVICE "  routes: 7\n", "kong.yml:5: routes must be a list");
	refused_with(HEAD "upstreams:\n- name: u\n  algorithm: fastest\n",
	    "kong.yml:4: upstream: algorithm \"fastest\" is not one of: "
	    "round-robin");
}

static void
all_problems_of_a_file_are_told_in_order_of_lines(void **state)
{
	struct loaded l;
	const char *first, *second;

	(void)state;
	load(&l,
	    SERVICE "  colour: red\n- name: b\n  url: ftp://x\n"
		    "- name: c\n");
	first = strstr(kb_buf_str(&l.text), "kong.yml:5:");
	second = strstr(
	    kb_buf_str(&l.text), "kong.yml:6: service: url must be");
	assert_non_null(first);
	assert_non_null(second);
	assert_true(first < second);
	assert_says(&l, "kong.yml:8: service c: host or url is required");
	done(&l);
}

static void
what_kong_knows_and_we_do_not_is_refused_by_name(void **state)
{
	(void)state;
	refused_with(HEAD "hmacauth_credentials: []\n",
	    "kong.yml:2: file: hmacauth_credentials is not implemented: "
	    "hmac-auth");
	refused_with(HEAD "consumers:\n- username: a\n  "
			  "oauth2_credentials: []\n",
	    "kong.yml:4: consumer: oauth2_credentials is not implemented");
	refused_with(SERVICE "  routes:\n  - paths: [\"~/a/([0-9]+\"]\n",
	    "kong.yml:6: route stack-route-1: \"/a/([0-9]+\" is not a "
	    "regular expression");
	refused_with(SERVICE "  routes:\n  - {paths: [/a], sources: []}\n",
	    "kong.yml:6: route: sources is not implemented");
	refused_with(SERVICE
	    "  routes:\n  - {paths: [/a], headers: {host: [x]}}\n",
	    "kong.yml:6: route stack-route-1: headers: \"host\" cannot be "
	    "asked for, use hosts");
	refused_with(SERVICE
	    "  routes:\n  - {paths: [/a], https_redirect_status_code: 303}\n",
	    "https_redirect_status_code is not one of");
	refused_with(HEAD "plugins:\n- name: oauth2\n",
	    "kong.yml:3: plugin \"oauth2\" is not supported; there are: "
	    "correlation-id, ");
	refused_with("_format_version: \"0.9\"\n", "must be \"3.0\"");
}

static void
references_must_lead_somewhere(void **state)
{
	(void)state;
	refused_with(HEAD
	    "routes:\n- name: r\n  paths: [/a]\n  service: nobody\n",
	    "kong.yml:3: route r: there is no service \"nobody\"");
	refused_with(HEAD
	    "plugins:\n- name: acl\n  route: r\n  config: {allow: [a]}\n",
	    "kong.yml:3: plugin acl: there is no route \"r\"");
	refused_with(SERVICE "- name: stack\n  host: b\n",
	    "kong.yml:5: service \"stack\" is there twice (also in line 3)");
}

static void
paths_must_be_normal(void **state)
{
	(void)state;
	refused_with(SERVICE "  routes:\n  - paths: [/a//b]\n",
	    "path \"/a//b\" is not normalised, write \"/a/b\"");
	refused_with(SERVICE "  routes:\n  - paths: [a]\n",
	    "path \"a\" must begin with \"/\"");
	refused_with(SERVICE "  routes:\n  - paths: [/a/../b]\n",
	    "is not normalised, write \"/b\"");
}

static void
broken_yaml_has_its_line(void **state)
{
	(void)state;
	refused_with(HEAD "services: [\n", "kong.yml:");
	refused_with("- a\n", "the file must be a mapping");
}

static void
variables_are_put_in_after_parsing(void **state)
{
	char tag[] = "TAG=x: {evil: true} # no", retries[] = "RETRIES=7",
	     empty[] = "EMPTY=";
	char *env[] = { tag, retries, empty, NULL };
	struct loaded l;

	(void)state;
	load_with(&l,
	    SERVICE "  retries: ${RETRIES}\n  tags: [\"${EMPTY:-fallback}\", "
		    "\"$literal\", \"a${NONE:-}b\", \"${TAG}\"]\n",
	    env);
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_int_equal(l.s->services[0]->retries, 7);
	assert_string_equal(l.s->services[0]->tags.v[0], "fallback");
	assert_string_equal(l.s->services[0]->tags.v[1], "$literal");
	assert_string_equal(l.s->services[0]->tags.v[2], "ab");
	assert_string_equal(
	    l.s->services[0]->tags.v[3], "x: {evil: true} # no");
	done(&l);
}

static void
a_host_must_be_one(void **state)
{
	(void)state;
	refused_with(HEAD "services:\n- {name: a, host: \"a b\"}\n",
	    "kong.yml:3: service a: host \"a b\" is not a host name");
	refused_with(HEAD "services:\n- {name: a, url: \"http://a:0/\"}\n",
	    "kong.yml:3: service: url has no valid host");
}

static void
a_quoted_number_stays_text(void **state)
{
	char retries[] = "RETRIES=7";
	char *env[] = { retries, NULL };
	struct loaded l;

	(void)state;
	load_with(&l, SERVICE "  retries: \"${RETRIES}\"\n", env);
	assert_says(&l, "kong.yml:5: service: retries must be a whole number");
	done(&l);
}

static void
all_missing_variables_are_listed_with_their_lines(void **state)
{
	struct loaded l;

	(void)state;
	load(&l, SERVICE "  tags: [\"${ONE}\"]\n  path: /${TWO}\n");
	assert_says(&l, "kong.yml:5: environment variable ONE is not set");
	assert_says(&l, "kong.yml:6: environment variable TWO is not set");
	assert_int_equal(l.p.errors, 2);
	done(&l);
	refused_with(SERVICE "  tags: [\"${a b}\"]\n",
	    "kong.yml:5: \"${a b}\" is not of the form");
	refused_with(SERVICE "  tags: [\"${ONE\"]\n",
	    "kong.yml:5: \"${\" without a \"}\"");
}

static void
unset_variables_may_be_allowed_for_checking(void **state)
{
	struct loaded l = { 0 };
	const char *yaml = HEAD "upstreams:\n- name: u\n  targets:\n"
				"  - target: ${A_HOST}:${A_PORT}\n";

	(void)state;
	l.p.arena = kb_arena_new(0);
	l.p.file = "kong.yml";
	l.sub = (struct substitution) { .env = no_env, .allow_unset = true };
	l.s = config_parse(&l.p, yaml, strlen(yaml), &l.sub);
	assert_false(problems_any(&l.p));
	assert_int_equal(l.sub.names.n, 2);
	assert_string_equal(l.sub.names.v[0], "A_HOST");
	kb_arena_free(l.p.arena);
}

static void
deck_and_vault_references_are_put_in(void **state)
{
	char port[] = "DECK_PORT=9001", name[] = "DECK_NAME=n",
	     secret[] = "MY_SECRET={\"user\":\"joe\"}", pre[] = "KONG_X=pre",
	     plain[] = "Plain=p";
	char *env[] = { port, name, secret, pre, plain, NULL };
	struct loaded l;
	const struct strs *tags;

	(void)state;
	load_with(&l,
	    HEAD "vaults:\n- {name: env, prefix: mine, config: {prefix: "
		 "KONG_}}\nservices:\n- name: s\n  host: h\n"
		 "  port: ${{ env \"DECK_PORT\" | toInt }}\n"
		 "  tags:\n  - \"${{ env \"DECK_NAME\" }}-x\"\n"
		 "  - '{vault://env/my-secret/user}'\n"
		 "  - '{vault://mine/x}'\n  - '{env://Plain}'\n"
		 "  - '{other://y}'\n",
	    env);
	assert_says(&l, "a tag is text without");
	tags = &l.s->services[0]->tags;
	assert_int_equal(l.s->services[0]->port, 9001);
	assert_string_equal(tags->v[0], "n-x");
	assert_string_equal(tags->v[1], "joe");
	assert_string_equal(tags->v[2], "pre");
	assert_string_equal(tags->v[3], "p");
	assert_string_equal(tags->v[4], "{other://y}");
	assert_int_equal(l.sub.names.n, 5);
	done(&l);
	load_with(&l,
	    HEAD "services: [{name: s, host: h, port: ${{ env \"DECK_PORT\" | "
		 "toInt }}, tags: [${{ env \"DECK_NAME\" }}]}]\n",
	    env);
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_int_equal(l.s->services[0]->port, 9001);
	assert_string_equal(l.s->services[0]->tags.v[0], "n");
	done(&l);
	load_with(&l,
	    HEAD "services:\n- name: s\n  host: ${{ env \"HOST\" }}\n"
		 "  port: ${{ env \"DECK_NAME\" | toInt }}\n"
		 "  path: ${{ env DECK_NAME }}\n"
		 "  retries: '{vault://aws/x}'\n",
	    env);
	assert_says(&l, "kong.yml:4: environment variable HOST is not set");
	assert_says(&l, "kong.yml:4: environment variable HOST: decK's names");
	assert_says(&l,
	    "kong.yml:5: environment variable DECK_NAME does not "
	    "fit toInt");
	assert_says(&l, "kong.yml:7: there is no vault \"aws\"");
	done(&l);
}

static void
anchors_and_merges_are_resolved(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    HEAD "services:\n- &one\n  name: a\n  host: h\n  retries: 2\n"
		 "- <<: *one\n  name: b\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_int_equal(l.s->n_services, 2);
	assert_int_equal(l.s->services[1]->retries, 2);
	done(&l);
	refused_with(HEAD "---\n" HEAD, "only one document is allowed");
}

static void
files_before_3_0_have_unmarked_regexes(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    "_format_version: \"2.1\"\nservices:\n- name: s\n  host: h\n"
	    "  routes:\n  - {name: r, paths: [\"/a/\\\\d+\", /plain]}\n");
	assert_string_equal(l.s->routes[0]->paths.v[0], "~/a/\\d+");
	assert_string_equal(l.s->routes[0]->paths.v[1], "/plain");
	done(&l);
}

static void
the_most_specific_plugin_configuration_wins(void **state)
{
	struct loaded l;
	const struct route *a, *b;

	(void)state;
	load(&l,
	    SERVICE "  routes:\n  - {name: a, paths: [/a]}\n"
		    "  - {name: b, paths: [/b]}\n"
		    "  plugins:\n  - {name: acl, config: {allow: [s]}}\n"
		    "plugins:\n- {name: acl, config: {allow: [g]}}\n"
		    "- {name: acl, route: a, config: {allow: [r]}}\n"
		    "- {name: cors, config: {origins: [\"https://x.io\"]}}\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	a = l.s->routes[0];
	b = l.s->routes[1];
	assert_int_equal(a->chain.n, 2);
	assert_string_equal(a->chain.v[0]->name, "cors");
	assert_string_equal(a->chain.v[1]->scope, "route a");
	assert_string_equal(b->chain.v[1]->scope, "service stack");
	assert_string_equal(l.s->global.v[1]->scope, "global");
	assert_true(a->cors);
	assert_false(a->authenticated);
	done(&l);
}

static const struct plugin_use *
for_consumer(const struct loaded *l, const char *route, const char *consumer)
{
	const struct route *r = NULL;
	const struct consumer *c = NULL;

	for (size_t i = 0; i < l->s->n_routes; i++)
		if (kb_str_eq(l->s->routes[i]->name, route))
			r = l->s->routes[i];
	for (size_t i = 0; i < l->s->n_consumers; i++)
		if (kb_str_eq(l->s->consumers[i]->username, consumer))
			c = l->s->consumers[i];
	return use_of_consumer(l->s, plugin_find("request-termination"), r, c);
}

static void
consumers_come_in_kongs_order(void **state)
{
	static const struct {
		const char *scope, *where;
	} order[] = {
		{ "route a and service stack and consumer u",
		    "route: a, service: stack, consumer: u" },
		{ "route a and consumer u", "route: a, consumer: u" },
		{ "service stack and consumer u",
		    "service: stack, consumer: u" },
		{ "route a and consumer_group g",
		    "route: a, consumer_group: g" },
		{ "service stack and route a", "route: a, service: stack" },
		{ "consumer u", "consumer: u" },
		{ "consumer_group g", "consumer_group: g" },
	};
	char yaml[4096];

	(void)state;
	for (size_t first = 0; first < KB_COUNT(order); first++) {
		const struct plugin_use *use;
		struct loaded l;
		size_t n = (size_t)snprintf(yaml, sizeof(yaml), "%s",
		    SERVICE "  routes:\n  - {name: a, paths: [/a]}\n"
			    "consumer_groups: [{name: g}]\n"
			    "consumers:\n- {username: u, groups: [{name: g}]}\n"
			    "- {username: v}\n"
			    "plugins:\n- {name: request-termination}\n"
			    "- {name: request-termination, route: a}\n");

		for (size_t i = KB_COUNT(order); i-- > first;)
			n += (size_t)snprintf(yaml + n, sizeof(yaml) - n,
			    "- {name: request-termination, %s}\n",
			    order[i].where);
		load(&l, yaml);
		assert_string_equal(kb_buf_str(&l.text), "");
		use = for_consumer(&l, "a", "u");
		assert_non_null(use);
		/* Scopes are told in the order service, route, consumer. */
		assert_int_equal(use->consumer != NULL,
		    strstr(order[first].where, "consumer:") != NULL);
		assert_int_equal(use->consumer_group != NULL,
		    strstr(order[first].where, "consumer_group:") != NULL);
		assert_int_equal(use->route != NULL,
		    strstr(order[first].where, "route:") != NULL);
		assert_int_equal(use->service != NULL,
		    strstr(order[first].where, "service:") != NULL);
		done(&l);
	}
	refused_with(HEAD "consumers: [{username: u}]\nplugins:\n"
			  "- {name: key-auth, consumer: u}\n",
	    "kong.yml:4: plugin key-auth: cannot be configured for a "
	    "consumer");
}

static void
plugins_run_where_their_protocols_are(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    SERVICE "  routes:\n  - {name: a, paths: [/a], protocols: [https]}"
		    "\n  - {name: b, paths: [/b]}\n"
		    "plugins:\n- {name: request-termination, protocols: "
		    "[http]}\n");
	assert_int_equal(l.s->routes[0]->chain.n, 0);
	assert_int_equal(l.s->routes[1]->chain.n, 1);
	done(&l);
}

static void
explained(const char *yaml, const char *says)
{
	struct loaded l;

	load(&l, yaml);
	assert_false(problems_any(&l.p));
	config_explain(&l.p, l.s);
	kb_buf_reset(&l.text);
	problems_print(&l.p, true, &l.text);
	if (says == NULL)
		assert_string_equal(kb_buf_str(&l.text), "");
	else
		assert_says(&l, says);
	done(&l);
}

static void
dead_configuration_is_explained(void **state)
{
	(void)state;
	explained(SERVICE "  routes:\n  - {name: a, paths: [/a]}\n"
			  "  - {name: b, paths: [/a], methods: [GET, OPTIONS]}"
			  "\n  - {name: c, paths: [/a/b], hosts: [x.io]}\n"
			  "  - {name: d, paths: [/a/], hosts: [\"*.x.io\"]}\n",
	    NULL);
	explained(SERVICE "  routes:\n  - {name: a, paths: [/a]}\n"
			  "  - {name: b, paths: [/a]}\n",
	    "kong.yml:7: note: route b: \"/a\" is never reached: route a "
	    "(line 6) takes all of it");
	explained(SERVICE
	    "  routes:\n  - {name: a, paths: [/a], methods: [GET]}\n",
	    "kong.yml:6: note: route a: no page of another origin can call");
	explained(HEAD "plugins:\n- name: cors\n  config:\n"
		       "    credentials: true\n    origins:\n"
		       "    - https://*.x.io\n",
	    "kong.yml:7: note: plugin cors: any page at \"https://*.x.io\" "
	    "may act");
	explained(HEAD "plugins:\n- name: cors\n  config: {origins: [\"*\"]}"
		       "\n",
	    "kong.yml:4: note: plugin cors: every page of the web");
	explained(HEAD
	    "plugins:\n- name: jwt\n  config: {issuer: \"https://i\", "
	    "uri_param_names: [], claims_to_verify: [exp], "
	    "maximum_expiration: 3600}\n",
	    "kong.yml:4: note: plugin jwt: maximum_expiration");
	explained(HEAD "services: [{name: s, host: h, enabled: false}]\n",
	    "kong.yml:2: note: service s: is not enabled");
	explained(HEAD "upstreams: [{name: u}]\n",
	    "note: upstream \"u\" is not the host of any service");
}

static void
unsupported_plugins_may_be_skipped(void **state)
{
	struct loaded l = { 0 };
	const char *yaml = HEAD "plugins: [{name: oauth2}]\n";

	(void)state;
	l.p.arena = kb_arena_new(0);
	l.p.file = "kong.yml";
	l.p.skip_unsupported = true;
	l.s = config_parse(&l.p, yaml, strlen(yaml), &l.sub);
	assert_false(problems_any(&l.p));
	kb_buf_init(&l.text, 1 << 20);
	problems_print(&l.p, true, &l.text);
	assert_says(&l, "plugin \"oauth2\" is not supported and skipped");
	done(&l);
}

static void
a_jwt_secret_names_the_issuer(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    HEAD "consumers:\n- username: u\n  jwt_secrets:\n"
		 "  - key: https://issuer.example\n    algorithm: RS256\n"
		 "    rsa_public_key: |\n      # replace this by the key\n"
		 "plugins:\n- {name: jwt, config: {claims_to_verify: [exp], "
		 "uri_param_names: []}}\n");
	assert_false(problems_any(&l.p));
	assert_says(&l, "keys come from the key set of the issuer");
	assert_string_equal(l.p.defaults.issuer, "https://issuer.example");
	done(&l);
}

static void
a_disabled_plugin_does_not_shadow_and_a_disabled_service_has_no_routes(
    void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    SERVICE "  routes:\n  - {name: a, paths: [/a]}\n"
		    "- {name: off, host: h, enabled: false, routes: [{name: x, "
		    "paths: [/x]}]}\n"
		    "plugins:\n- {name: acl, config: {allow: [g]}}\n"
		    "- {name: acl, route: a, enabled: false, config: {allow: "
		    "[r]}}\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_int_equal(l.s->n_routes, 1);
	assert_string_equal(l.s->routes[0]->chain.v[0]->scope, "global");
	done(&l);
}

static void
targets_take_turns_by_their_weight(void **state)
{
	struct loaded l;
	const struct upstream *u;

	(void)state;
	load(&l,
	    HEAD "services:\n- {name: s, host: u}\nupstreams:\n- name: u\n"
		 "  targets:\n  - {target: \"a:1\", weight: 200}\n"
		 "  - {target: \"b:2\", weight: 100}\n"
		 "  - {target: \"c:3\", weight: 0}\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	u = l.s->services[0]->upstream;
	assert_ptr_equal(u, l.s->upstreams[0]);
	assert_int_equal(u->wheel_n, 3);
	assert_int_equal(u->wheel[0], 0);
	assert_int_equal(u->wheel[1], 1);
	assert_int_equal(u->wheel[2], 0);
	done(&l);
}

static void
our_own_services_are_known_by_their_upstream(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    HEAD "services:\n- {name: catalog, host: admin-upstream}\n"
		 "- {name: other, host: elsewhere}\n"
		 "- {name: mine, host: m, tags: [\"callee:mine\"]}\n"
		 "upstreams:\n- {name: admin-upstream, targets: [{target: "
		 "\"a:1\"}]}\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_string_equal(snapshot_service(l.s, "catalog")->callee, "admin");
	assert_string_equal(
	    snapshot_service(l.s, "catalog")->display_name, "Administration");
	assert_int_equal(
	    snapshot_service(l.s, "other")->callee_index, NO_CALLEE);
	assert_true(snapshot_service(l.s, "mine")->callee_index != NO_CALLEE);
	done(&l);
}

static void
plugins_check_their_configuration(void **state)
{
	static const struct {
		const char *yaml, *says;
	} cases[] = {
		{ "{name: cors, config: {origins: [\"*\"], credentials: true}}",
		    "credentials need origins by name" },
		{ "{name: cors, config: {origins: [\"https://(.*[.]x\"]}}",
		    "plugin cors: origin \"https://(.*[.]x\": missing" },
		{ "{name: cors, config: {origins: [\"app.x.io\"]}}",
		    "must be scheme://host[:port], scheme://*.domain or" },
		{ "{name: jwt, config: {issuer: \"https://i\", "
		  "claims_to_verify: [aud]}}",
		    "claims_to_verify has aud but there is no audience" },
		{ "{name: jwt, config: {issuer: \"https://i\", "
		  "uri_param_names: [jwt]}}",
		    "uri_param_names must be []" },
		{ "{name: jwt}", "issuer is required" },
		{ "{name: acl, config: {allow: []}}",
		    "either allow or deny must name a role or group" },
		{ "{name: acl, config: {}}", "either allow or deny must" },
		{ "{name: rate-limiting-advanced, config: {limit: [1, 2], "
		  "window_size: [60]}}",
		    "must have the same length" },
		{ "{name: rate-limiting-advanced, config: {limit: [1], "
		  "window_size: [60], identifier: user}}",
		    "identifier \"user\" is not one of" },
		{ "{name: correlation-id, config: {header_name: X-User-ID}}",
		    "cannot be used" },
		{ "{name: tenant-router, config: {}}",
		    "admin_service is required" },
		{ "{name: sso-start, config: {colour: red}}",
		    "unknown field \"colour\"" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct loaded l;
		char yaml[512];

		snprintf(
		    yaml, sizeof(yaml), HEAD "plugins:\n- %s\n", cases[i].yaml);
		load(&l, yaml);
		assert_true(problems_any(&l.p));
		assert_says(&l, cases[i].says);
		assert_says(&l, "kong.yml:3: ");
		done(&l);
	}
}

static void
identity_headers_are_not_granted_to_browsers(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    HEAD "plugins:\n- {name: cors, config: {origins: "
		 "[\"https://x.io\"], headers: [X-User-ID, X-Tenant-ID]}}\n");
	assert_false(problems_any(&l.p));
	assert_says(&l,
	    "kong.yml:3: note: plugin cors: header X-User-ID belongs to the "
	    "gateway");
	assert_null(strstr(kb_buf_str(&l.text), "X-Tenant-ID"));
	done(&l);
}

static void
the_size_limit_belongs_to_the_route(void **state)
{
	struct loaded l;

	(void)state;
	load(&l,
	    SERVICE "  routes:\n  - {name: a, paths: [/a]}\n"
		    "  - name: b\n    paths: [/b]\n    plugins:\n"
		    "    - {name: request-size-limiting, config: "
		    "{allowed_payload_size: 3, size_unit: kilobytes}}\n"
		    "  - name: c\n    paths: [/c]\n    plugins:\n"
		    "    - {name: request-size-limiting, config: "
		    "{allowed_payload_size: 0}}\n");
	assert_string_equal(kb_buf_str(&l.text), "");
	assert_int_equal(l.s->routes[0]->body_limit, 1 << 20);
	assert_int_equal(l.s->routes[1]->body_limit, 3 << 10);
	assert_true(l.s->routes[2]->body_limit == UINT64_MAX);
	assert_true(l.s->routes[2]->unlimited);
	done(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_with_its_routes_and_plugins_loads),
		cmocka_unit_test(
		    an_unknown_field_is_named_with_its_line_and_the_nearest_name),
		cmocka_unit_test(a_wrong_type_is_named_with_its_line),
		cmocka_unit_test(
		    all_problems_of_a_file_are_told_in_order_of_lines),
		cmocka_unit_test(
		    what_kong_knows_and_we_do_not_is_refused_by_name),
		cmocka_unit_test(references_must_lead_somewhere),
		cmocka_unit_test(paths_must_be_normal),
		cmocka_unit_test(broken_yaml_has_its_line),
		cmocka_unit_test(variables_are_put_in_after_parsing),
		cmocka_unit_test(a_host_must_be_one),
		cmocka_unit_test(a_quoted_number_stays_text),
		cmocka_unit_test(
		    all_missing_variables_are_listed_with_their_lines),
		cmocka_unit_test(unset_variables_may_be_allowed_for_checking),
		cmocka_unit_test(deck_and_vault_references_are_put_in),
		cmocka_unit_test(anchors_and_merges_are_resolved),
		cmocka_unit_test(files_before_3_0_have_unmarked_regexes),
		cmocka_unit_test(the_most_specific_plugin_configuration_wins),
		cmocka_unit_test(consumers_come_in_kongs_order),
		cmocka_unit_test(plugins_run_where_their_protocols_are),
		cmocka_unit_test(dead_configuration_is_explained),
		cmocka_unit_test(unsupported_plugins_may_be_skipped),
		cmocka_unit_test(a_jwt_secret_names_the_issuer),
		cmocka_unit_test(
		    a_disabled_plugin_does_not_shadow_and_a_disabled_service_has_no_routes),
		cmocka_unit_test(targets_take_turns_by_their_weight),
		cmocka_unit_test(our_own_services_are_known_by_their_upstream),
		cmocka_unit_test(plugins_check_their_configuration),
		cmocka_unit_test(identity_headers_are_not_granted_to_browsers),
		cmocka_unit_test(the_size_limit_belongs_to_the_route),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
