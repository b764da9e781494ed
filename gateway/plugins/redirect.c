/*
 * redirect: answers with another place to ask (Kong's fields). The place is
 * the operator's; of the client at most path and query are kept.
 */
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

struct conf {
	int64_t status_code;
	const char *location;
	bool keep_incoming_path;
	/* made by load: scheme and authority of the location */
	const char *origin;
};

static const struct field fields[] = {
	CONF_INT(struct conf, status_code, .min = 300, .max = 399),
	CONF_STR(struct conf, location, .required = true),
	CONF_BOOL(struct conf, keep_incoming_path),
	CONF_END,
};

static const struct conf defaults = { .status_code = 301 };

static bool
is_redirect(int64_t status)
{
	return status == 301 || status == 302 || status == 303 ||
	    status == 307 || status == 308;
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	const char *host, *end;

	if (!is_redirect(c->status_code))
		problem(p, use->line,
		    "plugin redirect: status_code is not one of: 301, 302, "
		    "303, 307, 308");
	if (c->location == NULL)
		return;
	host = strstr(c->location, "://");
	if ((!kb_str_starts(c->location, "http://") &&
		!kb_str_starts(c->location, "https://")) ||
	    strpbrk(c->location, " <>\"\\^`{|}") != NULL) {
		problem(p, use->line,
		    "plugin redirect: location must be an address that begins "
		    "with http:// or https://");
		return;
	}
	end = host + 3 + strcspn(host + 3, "/?#");
	if (!kb_http_host_ok(
		(struct kb_slice) { host + 3, (size_t)(end - host) - 3 }))
		problem(p, use->line,
		    "plugin redirect: location has no valid host");
	c->origin = kb_strndup(
	    problems_arena(p), c->location, (size_t)(end - c->location));
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	static const char body[] = "redirecting";
	const struct conf *c = use->conf;
	struct kb_slice path = exchange_path(x), query = exchange_query(x);
	const char *location = c->location;

	if (exchange_is_preflight(x))
		return NEXT;
	if (c->keep_incoming_path)
		location = kb_sprintf(exchange_arena(x), "%s%.*s%s%.*s",
		    c->origin, (int)path.len, path.ptr, query.ptr ? "?" : "",
		    (int)query.len, query.ptr ? query.ptr : "");
	exchange_add_response(x, "Location", location);
	exchange_answer(
	    x, (int)c->status_code, "text/plain", body, sizeof(body) - 1);
	return NEXT;
}

const struct plugin plugin_redirect = {
	.name = "redirect",
	.priority = 779,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.help = "answers with another address",
};
