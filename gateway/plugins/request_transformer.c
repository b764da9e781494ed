/*
 * request-transformer: removes, renames, replaces, adds and appends header
 * fields, query arguments and members of a body, before the request goes
 * upstream (Kong 3.9). The gateway's own headers are not to be had.
 */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "gateway.h"

enum { BODY_MAX = 1 << 20 };

struct conf {
	const struct kb_yaml *remove, *rename, *replace, *add, *append;
	int http_method;
	struct transform t;
};

/* HEAD, TRACE and CONNECT change how the answer is framed. */
static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE",
	"OPTIONS", NULL };

static const struct field fields[] = {
	CONF_NODE(struct conf, remove),
	CONF_NODE(struct conf, rename),
	CONF_NODE(struct conf, replace),
	CONF_NODE(struct conf, add),
	CONF_NODE(struct conf, append),
	CONF_ENUM(struct conf, http_method, .choices = methods),
	CONF_END,
};

static const struct conf defaults = { .http_method = -1 };

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	const struct transform_nodes nodes = {
		.of = { c->remove, c->rename, c->replace, c->add, c->append },
	};

	transform_load(p, use, &nodes, true, &c->t);
}

/* X-Service-Name is the gateway's to write; the file may say what. */
static void
route(const struct plugin_use *use, struct route *r)
{
	const struct conf *c = use->conf;

	if (c->t.service_name && r->service)
		r->service->display_name = c->t.service_name;
}

/* ---- areas --------------------------------------------------------------- */

static void
change_target(const struct conf *c, const struct originals *o)
{
	const char *text;
	bool absent;

	if (c->t.uri.n) {
		text = template_path(&c->t.uri, o);
		if (text == NULL || !exchange_set_path(o->x, text))
			exchange_fail(o->x, KB_MALFORMED, NULL);
	}
	if (c->http_method >= 0)
		exchange_rewrite(o->x)->method = kb_method_of(
		    methods[c->http_method], strlen(methods[c->http_method]));
	if (c->t.host.n == 0)
		return;
	text = template_value(&c->t.host, o, &absent);
	if (absent || !kb_http_host_ok(kb_slice_of(text)))
		exchange_fail(o->x, KB_MALFORMED, NULL);
	else
		exchange_rewrite(o->x)->host = text;
}

static void
change_headers(const struct conf *c, const struct originals *o)
{
	const struct rules *claimed = &c->t.claimed;
	bool absent;

	transform_apply(&c->t, AREA_HEADERS, TEXT_HEADERS, o,
	    &exchange_rewrite(o->x)->fields);
	for (size_t i = 0; i < claimed->n; i++) {
		const char *text = template_value(
		    &claimed->v[i].value, o, &absent);

		if (!absent)
			exchange_add_upstream(o->x, claimed->v[i].name, text);
	}
}

static void
change_query(const struct conf *c, const struct originals *o)
{
	struct lines args = { .arena = exchange_arena(o->x) };
	struct rewrite *r = exchange_rewrite(o->x);

	if (!transform_has(&c->t, AREA_QUERY))
		return;
	if (r->query.ptr)
		form_split(&args, r->query);
	transform_apply(&c->t, AREA_QUERY, TEXT_FORM, o, &args);
	r->query = form_join(&args);
	if (args.n == 0)
		r->query.ptr = NULL;
}

static bool
is_type(struct kb_slice value, const char *type)
{
	const char *semicolon = value.len ? memchr(value.ptr, ';', value.len)
					  : NULL;

	if (semicolon != NULL)
		value.len = (size_t)(semicolon - value.ptr);
	return kb_slice_eqi(kb_slice_trim(value), type);
}

static bool
body_kind(const struct exchange *x, enum text_kind *kind)
{
	struct kb_slice type = exchange_header(x, "Content-Type");

	*kind = TEXT_JSON;
	if (is_type(type, "application/json"))
		return true;
	*kind = TEXT_FORM;
	return is_type(type, "application/x-www-form-urlencoded");
}

static void
change_body(const struct conf *c, const struct originals *o,
    enum text_kind kind, struct kb_slice body)
{
	struct lines members = { .arena = exchange_arena(o->x) };
	struct rewrite *r = exchange_rewrite(o->x);

	if (kind == TEXT_FORM)
		form_split(&members, body);
	else if (body.len && !json_split(&members, body))
		return;
	transform_apply(&c->t, AREA_BODY, kind, o, &members);
	if (body.len == 0 && members.n == 0)
		return;
	body = kind == TEXT_FORM ? form_join(&members) : json_join(&members);
	r->body = body.ptr;
	r->body_len = body.len;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	struct kb_slice body = { NULL, 0 };
	enum text_kind kind = TEXT_JSON;
	bool has_body;
	struct originals o;

	if (exchange_is_preflight(x))
		return NEXT;
	has_body = transform_has(&c->t, AREA_BODY) && body_kind(x, &kind);
	if (has_body && exchange_body(x, BODY_MAX, &body) == WAIT)
		return WAIT;
	if (exchange_is_answered(x))
		return NEXT;
	originals_take(x, &o);
	change_target(c, &o);
	if (exchange_is_answered(x))
		return NEXT;
	change_headers(c, &o);
	if (has_body)
		change_body(c, &o, kind, body);
	change_query(c, &o);
	return NEXT;
}

const struct plugin plugin_request_transformer = {
	.name = "request-transformer",
	.priority = 801,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.route = route,
	.access = access,
	.help = "changes header, query and body before they go upstream",
};
