/*
 * ip-restriction: only clients of these networks, or none of those; deny is
 * looked at before allow (Kong 3.9). The address is that of the client
 * as trusted proxies tell it, never what a client writes itself.
 */
#include <kombi/network.h>
#include <kombi/str.h>

#include "gateway.h"

struct conf {
	struct strs allow, deny;
	int64_t status;
	const char *message;
	/* made by load */
	struct kb_network *allowed, *denied;
};

static const struct field fields[] = {
	CONF_STRS(struct conf, allow),
	CONF_STRS(struct conf, deny),
	CONF_INT(struct conf, status, .min = 400, .max = 599),
	CONF_STR(struct conf, message),
	CONF_END,
};

static const struct conf defaults = { .status = 403 };

static struct kb_network *
networks(struct problems *p, const struct plugin_use *use, const char *what,
    const struct strs *list)
{
	struct kb_network *v = kb_new_array(
	    problems_arena(p), list->n + 1, struct kb_network);

	for (size_t i = 0; i < list->n; i++)
		if (!kb_network_parse(list->v[i], &v[i]))
			problem(p, use->config->line,
			    "plugin ip-restriction: %s \"%s\" must be an "
			    "IPv4 or IPv6 address or network such as "
			    "10.0.0.0/8 or fd00::/8",
			    what, list->v[i]);
	return v;
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;

	if (c->allow.n + c->deny.n == 0)
		problem(p, use->line,
		    "plugin ip-restriction: allow or deny must name a network");
	c->allowed = networks(p, use, "allow", &c->allow);
	c->denied = networks(p, use, "deny", &c->deny);
}

static bool
is_in(const char *ip, const struct kb_network *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (kb_network_has_text(&v[i], ip))
			return true;
	return false;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	const char *ip = exchange_client_ip(x);
	bool refused = is_in(ip, c->denied, c->deny.n) ||
	    (c->allow.n > 0 && !is_in(ip, c->allowed, c->allow.n));

	if (!refused)
		return NEXT;
	exchange_refuse(x, (int)c->status,
	    c->message ? c->message
		       : kb_sprintf(exchange_arena(x),
			     "IP address not allowed: %s", ip));
	return NEXT;
}

const struct plugin plugin_ip_restriction = {
	.name = "ip-restriction",
	.priority = 990,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.help = "only clients of these networks",
};
