/*
 * request-termination: answers instead of upstream, always or when a header
 * or query argument asks for it (Kong 3.9).
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

struct conf {
	int64_t status_code;
	const char *message, *content_type, *body, *trigger;
	bool echo;
};

static const struct field fields[] = {
	CONF_INT(struct conf, status_code, .min = 100, .max = 599),
	CONF_STR(struct conf, message),
	CONF_STR(struct conf, content_type),
	CONF_STR(struct conf, body, .empty = true),
	CONF_STR(struct conf, trigger),
	CONF_BOOL(struct conf, echo),
	CONF_END,
};

static const struct conf defaults = { .status_code = 503 };

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	const struct conf *c = conf;
	unsigned line = use->config ? use->config->line : use->line;

	if (c->status_code < 200)
		problem(p, line,
		    "plugin request-termination: status_code must be 200 to "
		    "599");
	if (c->message && (c->body || c->content_type))
		problem(p, line,
		    "plugin request-termination: message cannot be used with "
		    "body or content_type");
	if (c->content_type && !c->body && !c->echo)
		problem(p, line,
		    "plugin request-termination: content_type needs a body");
	if (c->trigger && !line_name_is_free(c->trigger))
		problem(p, line,
		    "plugin request-termination: trigger \"%s\" must be the "
		    "name of a header of letters, digits and '-' that is not "
		    "the gateway's own",
		    c->trigger);
}

static bool
has_argument(struct exchange *x, const char *name)
{
	struct lines args = { .arena = exchange_arena(x) };

	form_split(&args, exchange_query(x));
	for (size_t i = 0; i < args.n; i++)
		if (kb_slice_eq(args.v[i].name, name))
			return true;
	return false;
}

static bool
is_triggered(struct exchange *x, const struct conf *c)
{
	return c->trigger == NULL ||
	    exchange_header(x, c->trigger).ptr != NULL ||
	    has_argument(x, c->trigger);
}

/* What the gateway made of the request; no header of the client but names. */
static void
answer_echo(struct exchange *x, const struct conf *c)
{
	const struct kb_http1_head *h = exchange_head(x);
	struct kb_slice query = exchange_query(x);
	struct kb_buf b;
	struct kb_jsonw w;

	kb_buf_init(&b, 64 * 1024);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "message", c->message);
	kb_w_object(&w, "request");
	kb_w_str(&w, "method", kb_method_name(h->method));
	kb_w_slice(&w, "path", exchange_path(x));
	kb_w_slice(&w, "query", query);
	kb_w_str(&w, "clientIp", exchange_client_ip(x));
	kb_w_str(&w, "requestId", exchange_request_id(x));
	kb_w_array(&w, "headers");
	for (unsigned i = 0; i < h->n_fields; i++)
		kb_w_slice(
		    &w, NULL, kb_http1_name(&h->fields[i], exchange_bytes(x)));
	kb_w_array_end(&w);
	kb_w_object_end(&w);
	kb_w_str(&w, "route", exchange_route(x)->name);
	kb_w_str(&w, "service", exchange_route(x)->service->name);
	kb_w_object_end(&w);
	exchange_answer(x, (int)c->status_code, "application/json",
	    kb_strndup(exchange_arena(x), kb_buf_str(&b), b.len), b.len);
	kb_buf_free(&b);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;

	if (exchange_is_preflight(x) || !is_triggered(x, c))
		return NEXT;
	if (c->echo)
		answer_echo(x, c);
	else if (c->body)
		exchange_answer(x, (int)c->status_code,
		    c->content_type ? c->content_type : "application/json",
		    c->body, strlen(c->body));
	else
		exchange_refuse(x, (int)c->status_code, c->message);
	return NEXT;
}

const struct plugin plugin_request_termination = {
	.name = "request-termination",
	.priority = 2,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.help = "answers instead of upstream",
};
