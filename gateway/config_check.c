/*
 * `gateway check [--allow-unset] [--skip-unsupported] [--json] FILE`: every
 * problem of a configuration file with its line, and what has no effect or
 * another one than it seems. Status 0: it would be served; 1: it would not;
 * 2: the arguments are wrong.
 */
#include <stdio.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "inside.h"

struct checking {
	const char *file;
	bool json, issuer_unset;
	struct substitution sub;
	struct problems p;
};

static const char *
env_value(char *const env[], const char *name)
{
	size_t n = strlen(name);

	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=' &&
		    (*env)[n + 1] != '\0')
			return *env + n + 1;
	return NULL;
}

/* What the process would put in of its options, for what a file leaves out;
 * without an environment place holders, so that the rest can be judged. */
static void
read_defaults(struct checking *c)
{
	static const char *const unset[] = { "unset", NULL };
	struct gateway_defaults *d = &c->p.defaults;
	char *const *env = c->sub.env;

	d->issuer = env_value(env, "ZITADEL_ISSUER");
	d->jwks_url = env_value(env, "ZITADEL_JWKS_URL");
	d->client_id = env_value(env, "ZITADEL_CLIENT_ID");
	d->kong_router = kb_str_eq(env_value(env, "KOMBI_ROUTER"), "kong");
	if (!c->sub.allow_unset)
		return;
	c->issuer_unset = d->issuer == NULL;
	if (d->issuer == NULL)
		d->issuer = "https://unset.invalid";
	if (d->client_id == NULL)
		d->client_id = "unset";
	d->audience = unset;
}

/* [{"file","line","level","message"}, …] */
static void
print_json(const struct problems *p)
{
	struct kb_buf text;
	struct kb_jsonw w;

	kb_buf_init(&text, 1 << 22);
	kb_w_init(&w, &text);
	kb_w_array(&w, NULL);
	for (size_t i = 0; i < p->n; i++) {
		kb_w_object(&w, NULL);
		kb_w_str(&w, "file", p->file);
		kb_w_int(&w, "line", p->v[i].line);
		kb_w_str(&w, "level", p->v[i].error ? "error" : "note");
		kb_w_str(&w, "message", p->v[i].text);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	printf("%s\n", kb_buf_str(&text));
	kb_buf_free(&text);
}

static bool
uses_plugin(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_uses; i++)
		if (kb_str_eq(s->uses[i]->name, name))
			return true;
	return false;
}

static void
print_summary(const struct checking *c, const struct snapshot *s)
{
	const struct strs *names = &c->sub.names;
	bool issuer = c->issuer_unset &&
	    (uses_plugin(s, "jwt") || uses_plugin(s, "openid-connect"));

	printf("%s: ok: %zu services, %zu routes, %zu upstreams, "
	       "%zu plugins, %zu consumers\n",
	    c->file, s->n_services, s->n_routes, s->n_upstreams, s->n_uses,
	    s->n_consumers);
	if (names->n == 0 && !issuer)
		return;
	printf("variables:");
	for (size_t i = 0; i < names->n; i++) {
		printf(" %s", names->v[i]);
		issuer = issuer && !kb_str_eq(names->v[i], "ZITADEL_ISSUER");
	}
	printf("%s\n", issuer ? " ZITADEL_ISSUER" : "");
}

static int
check_file(struct checking *c)
{
	struct snapshot *s = config_load_file(&c->p, c->file, &c->sub);
	struct kb_buf text;
	int status = s == NULL || problems_any(&c->p);

	if (status == 0)
		config_explain(&c->p, s);
	kb_buf_init(&text, 1 << 22);
	problems_print(&c->p, true, &text);
	if (c->json)
		print_json(&c->p);
	else
		fputs(kb_buf_str(&text), stderr);
	if (status == 0 && !c->json)
		print_summary(c, s);
	kb_buf_free(&text);
	return status;
}

int
config_check(int argc, char *argv[], char *const env[])
{
	struct checking c = { .sub.env = env };
	int status;

	for (int i = 0; i < argc; i++) {
		if (kb_str_eq(argv[i], "--allow-unset"))
			c.sub.allow_unset = true;
		else if (kb_str_eq(argv[i], "--skip-unsupported"))
			c.p.skip_unsupported = true;
		else if (kb_str_eq(argv[i], "--json"))
			c.json = true;
		else if (argv[i][0] != '-' && c.file == NULL)
			c.file = argv[i];
		else
			argc = 0;
	}
	if (argc == 0 || c.file == NULL) {
		fprintf(stderr,
		    "usage: gateway check [--allow-unset] "
		    "[--skip-unsupported] [--json] FILE\n");
		return 2;
	}
	c.p.arena = kb_arena_new(0);
	c.p.file = c.file;
	read_defaults(&c);
	status = check_file(&c);
	kb_arena_free(c.p.arena);
	return status;
}
