/*
 * key-auth: an API key in a header names a consumer of the file, who then
 * is the caller (Kong 3.9). Keys in the query are taken only when the
 * file says so: they end up in logs and histories. So are those in a body,
 * a form or a JSON object, which is then read before it goes on.
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

enum { BODY_MAX = 1024 * 1024 };

struct conf {
	struct strs key_names;
	bool key_in_header, key_in_query, key_in_body;
	bool hide_credentials, run_on_preflight;
	const char *anonymous, *realm;
	/* made by load */
	const char *challenge;
};

static const struct field fields[] = {
	CONF_STRS(struct conf, key_names),
	CONF_BOOL(struct conf, key_in_header),
	CONF_BOOL(struct conf, key_in_query),
	CONF_BOOL(struct conf, key_in_body),
	CONF_BOOL(struct conf, hide_credentials),
	CONF_BOOL(struct conf, run_on_preflight),
	CONF_STR(struct conf, anonymous),
	CONF_STR(struct conf, realm),
	CONF_LATER("identity_realms", "consumers are those of this file"),
	CONF_END,
};

static const struct conf defaults = {
	.key_names = {
		.v = (const char *const[]) { "X-Api-Key", "apikey" },
		.n = 2,
	},
	.key_in_header = true,
	.run_on_preflight = true,
};

static void
check_names(
    struct problems *p, const struct plugin_use *use, const struct conf *c)
{
	struct kb_arena *a = problems_arena(p);
	unsigned line = use->config ? use->config->line : use->line;

	if (c->key_names.n == 0)
		problem(
		    p, line, "plugin key-auth: key_names must name a header");
	for (size_t i = 0; i < c->key_names.n; i++) {
		char *name = kb_strdup(a, c->key_names.v[i]);

		for (char *at = name; *at; at++)
			if (*at == '_')
				*at = '-';
		if (!line_name_is_free(name))
			problem(p, line,
			    "plugin key-auth: key_names \"%s\" must be letters,"
			    " digits, '-' and '_', and not one of the gateway's"
			    " own",
			    c->key_names.v[i]);
	}
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	unsigned line = use->config ? use->config->line : use->line;

	check_names(p, use, c);
	if (c->key_in_body)
		notice(p, line,
		    "plugin key-auth: key_in_body: forms and JSON bodies are "
		    "read whole before they go on, without a caller");
	if (!c->key_in_header && !c->key_in_query && !c->key_in_body)
		problem(p, line,
		    "plugin key-auth: key_in_header, key_in_query or "
		    "key_in_body must be true");
	if (c->key_in_query)
		notice(p, line,
		    "plugin key-auth: keys in the query end up in logs and "
		    "histories");
	if (c->realm && strpbrk(c->realm, "\"\\"))
		problem(p, line,
		    "plugin key-auth: realm may not hold quotes or \\");
	c->challenge = c->realm
	    ? kb_sprintf(problems_arena(p), "Key realm=\"%s\"", c->realm)
	    : "Key";
}

/* ---- finding the key ----------------------------------------------------- */

enum found { NOTHING, ONE, TWICE, EMPTY };

struct presented {
	enum found found;
	struct kb_slice key;
	const char *name;
};

/* The request's body, where a key may be in it. */
enum body_kind { NO_BODY, FORM, JSON };

struct body {
	enum body_kind kind;
	struct kb_slice text;
};

/* A name with '_' also stands for the header with '-'. */
static bool
is_header(struct kb_slice name, const char *want)
{
	if (name.len != strlen(want))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i], d = want[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (d >= 'A' && d <= 'Z')
			d = (char)(d - 'A' + 'a');
		if (c != d && !(d == '_' && c == '-'))
			return false;
	}
	return true;
}

static void
look_in_header(struct exchange *x, struct presented *out)
{
	const struct kb_http1_head *h = exchange_head(x);
	const char *bytes = exchange_bytes(x);

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];

		if (!is_header(kb_http1_name(f, bytes), out->name))
			continue;
		out->found = out->found == NOTHING ? ONE : TWICE;
		out->key = kb_http1_value(f, bytes);
	}
	if (out->found == ONE && out->key.len == 0)
		out->found = EMPTY;
}

/* In the query or in a form. */
static void
look_in_form(struct exchange *x, struct kb_slice form, struct presented *out)
{
	struct lines args = { .arena = exchange_arena(x) };
	char *text;

	form_split(&args, form);
	for (size_t i = 0; i < args.n; i++) {
		struct kb_slice value = args.v[i].value;

		if (!kb_slice_eq(args.v[i].name, out->name) || value.len < 2)
			continue;
		value.ptr++;
		value.len--;
		if (!kb_percent_decode(exchange_arena(x), value, &text))
			continue;
		out->found = out->found == NOTHING ? ONE : TWICE;
		out->key = kb_slice_of(text);
	}
}

/* A member that is there twice makes it no JSON of ours. */
static void
look_in_json(struct exchange *x, struct kb_slice text, struct presented *out)
{
	const struct kb_json *j;
	const char *key, *why;

	if (kb_json_parse(exchange_arena(x), text.ptr, text.len, &j, &why) !=
	    KB_OK)
		return;
	key = kb_json_str(j, out->name);
	if (key == NULL || key[0] == '\0')
		return;
	out->found = ONE;
	out->key = kb_slice_of(key);
}

static struct presented
look(struct exchange *x, const struct conf *c, const struct body *body)
{
	struct presented p = { .found = NOTHING };

	for (size_t i = 0; i < c->key_names.n && p.found == NOTHING; i++) {
		p.name = c->key_names.v[i];
		if (c->key_in_header)
			look_in_header(x, &p);
		if (c->key_in_query && p.found == NOTHING)
			look_in_form(x, exchange_query(x), &p);
		if (body->kind == FORM && p.found == NOTHING)
			look_in_form(x, body->text, &p);
		if (body->kind == JSON && p.found == NOTHING)
			look_in_json(x, body->text, &p);
	}
	return p;
}

static enum body_kind
body_kind(const struct exchange *x, const struct conf *c)
{
	struct kb_slice type = exchange_header(x, "Content-Type");
	const char *end = type.ptr ? memchr(type.ptr, ';', type.len) : NULL;

	if (!c->key_in_body || type.ptr == NULL)
		return NO_BODY;
	if (end != NULL)
		type.len = (size_t)(end - type.ptr);
	type = kb_slice_trim(type);
	if (kb_slice_eqi(type, "application/json"))
		return JSON;
	return kb_slice_eqi(type, "application/x-www-form-urlencoded")
	    ? FORM
	    : NO_BODY;
}

/* ---- judging --------------------------------------------------------------
 */

static void
drop_names(struct lines *l, const struct conf *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		bool hidden = false;

		for (size_t j = 0; j < c->key_names.n; j++)
			hidden |= kb_slice_eq(l->v[i].name, c->key_names.v[j]);
		if (!hidden)
			l->v[kept++] = l->v[i];
	}
	l->n = kept;
}

static void
hide_in_headers(struct rewrite *r, const struct conf *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->fields.n; i++) {
		bool hidden = false;

		for (size_t j = 0; j < c->key_names.n; j++)
			hidden |= is_header(
			    r->fields.v[i].name, c->key_names.v[j]);
		if (!hidden)
			r->fields.v[kept++] = r->fields.v[i];
	}
	r->fields.n = kept;
}

static void
hide_in_body(struct exchange *x, const struct conf *c, const struct body *body)
{
	struct rewrite *r = exchange_rewrite(x);
	struct lines members = { .arena = exchange_arena(x) };
	struct kb_slice text;

	if (body->kind == FORM)
		form_split(&members, body->text);
	else if (!json_split(&members, body->text))
		return;
	drop_names(&members, c);
	text = body->kind == FORM ? form_join(&members) : json_join(&members);
	r->body = text.ptr;
	r->body_len = text.len;
}

/* Upstream shall not see the key, under none of its names. */
static void
hide(struct exchange *x, const struct conf *c, const struct body *body)
{
	struct rewrite *r = exchange_rewrite(x);
	struct lines args = { .arena = exchange_arena(x) };

	hide_in_headers(r, c);
	if (body->kind != NO_BODY && body->text.len)
		hide_in_body(x, c, body);
	if (!c->key_in_query || r->query.ptr == NULL)
		return;
	form_split(&args, r->query);
	drop_names(&args, c);
	r->query = form_join(&args);
	if (args.n == 0)
		r->query.ptr = NULL;
}

static void
refuse(struct exchange *x, const struct conf *c, enum kb_err err,
    const char *message)
{
	exchange_add_response(x, "WWW-Authenticate", c->challenge);
	exchange_fail(x, err, message);
}

static void
judge(struct exchange *x, const struct conf *c, const struct body *body)
{
	const struct credential *credential;
	struct presented p;

	/* Another plugin has found the caller, and that is enough. */
	if (c->anonymous && exchange_identity(x) != NULL) {
		if (c->hide_credentials)
			hide(x, c, body);
		return;
	}
	p = look(x, c, body);
	if (c->hide_credentials && p.found != NOTHING)
		hide(x, c, body);
	if (p.found == NOTHING && c->anonymous) {
		exchange_set_anonymous(x, c->anonymous);
		return;
	}
	if (p.found == NOTHING || p.found == EMPTY) {
		refuse(x, c, KB_UNAUTHENTICATED, "No API key found in request");
		return;
	}
	if (p.found == TWICE) {
		refuse(x, c, KB_AUTH_INVALID, "Duplicate API key found");
		return;
	}
	credential = exchange_find_key(x, p.key);
	if (credential == NULL)
		refuse(x, c, KB_AUTH_INVALID, NULL);
	else
		exchange_set_credential(x, credential);
	return;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	struct body body = { .kind = NO_BODY };

	if (exchange_is_preflight(x) && !c->run_on_preflight)
		return NEXT;
	body.kind = body_kind(x, c);
	if (body.kind != NO_BODY &&
	    exchange_body(x, BODY_MAX, &body.text) == WAIT)
		return WAIT;
	if (!exchange_is_answered(x))
		judge(x, c, &body);
	return NEXT;
}

const struct plugin plugin_key_auth = {
	.name = "key-auth",
	.priority = 1250,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.authenticates = true,
	.help = "an API key of a consumer, from a header, query or body",
};
