/*
 * Second step of loading: plugins are bound to their code, every route gets
 * its chain (of each plugin the most specific configuration), services and
 * upstreams their targets, and the router is built.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

enum {
	WHEEL_MAX = 1024,
	LAST_AUTH = 1020, /* plugins that authenticate run earlier */
};

struct linking {
	struct problems *p;
	struct kb_arena *a;
	struct snapshot *s;
	bool *by_consumer; /* of each plugin: some consumer has his own */
	size_t n_plugins;
	struct service *nobody;
};

/* ---- looking up by name ---------------------------------------------------
 */

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(const struct service *const *)a)->name,
	    (*(const struct service *const *)b)->name);
}

static int
name_is(const void *key, const void *item)
{
	return strcmp(key, (*(const struct service *const *)item)->name);
}

static void *
made_of(const struct linking *l, enum kind kind, const char *name)
{
	const struct entity *e = document_find(l->s->document, kind, name);

	return e && kb_str_eq(e->name, name) ? e->made : NULL;
}

/* ---- upstreams ------------------------------------------------------------
 */

static int64_t
gcd(int64_t a, int64_t b)
{
	while (b) {
		int64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Shares of the targets in the wheel: weights over their common divisor. */
static size_t
shares(const struct upstream *u, int64_t *out)
{
	int64_t divisor = 0, total = 0;

	for (size_t i = 0; i < u->n; i++) {
		divisor = gcd(u->targets[i].weight, divisor);
		total += u->targets[i].weight;
	}
	if (divisor == 0)
		return 0;
	if (total / divisor > WHEEL_MAX)
		divisor = total / WHEEL_MAX + 1;
	total = 0;
	for (size_t i = 0; i < u->n; i++) {
		int64_t weight = u->targets[i].weight;

		out[i] = weight ? (weight + divisor - 1) / divisor : 0;
		total += out[i];
	}
	return (size_t)total;
}

/* Smooth: at each place the target that is furthest behind its share. */
static void
make_wheel(struct kb_arena *a, struct upstream *u)
{
	int64_t *share = kb_new_array(a, u->n + 1, int64_t);
	int64_t *behind = kb_new_array(a, u->n + 1, int64_t);
	size_t total = shares(u, share);

	u->wheel = kb_new_array(a, total + 1, size_t);
	for (u->wheel_n = 0; u->wheel_n < total; u->wheel_n++) {
		size_t next = 0;

		for (size_t i = 0; i < u->n; i++) {
			behind[i] += share[i];
			if (behind[i] > behind[next])
				next = i;
		}
		behind[next] -= (int64_t)total;
		u->wheel[u->wheel_n] = next;
	}
}

static struct upstream *
upstream_of_host(struct linking *l, struct service *s)
{
	struct upstream *u = kb_new(l->a, struct upstream);

	u->name = s->name;
	u->targets = kb_new_array(l->a, 1, struct target);
	u->targets[0] = (struct target) {
		.host = s->host,
		.port = (int)s->port,
		.weight = 1,
	};
	u->n = 1;
	u->line = s->line;
	return u;
}

/* ---- services -------------------------------------------------------------
 */

/* Its host is the name of an upstream of the file. */
static bool
service_has_upstream(const struct service *s)
{
	return s->upstream->id != NULL;
}

/* Names under which our own services see themselves, and the constant that
 * X-Service-Name carries to them (spec B.2). */
static const struct {
	const char *callee, *display;
} own_services[] = {
	{ "admin", "Administration" },
	{ "stack", "KombiStack" },
	{ "sim", "KombiSim" },
	{ "stackkits", "StackKits" },
	{ "portal", "KombiSphere" },
};

static const char *
callee_of(struct linking *l, const struct service *s)
{
	size_t n = strlen(s->host);

	for (size_t i = 0; i < s->tags.n; i++)
		if (kb_str_starts(s->tags.v[i], "callee:"))
			return s->tags.v[i] + strlen("callee:");
	if (service_has_upstream(s) && kb_str_ends(s->host, "-upstream"))
		return kb_strndup(l->a, s->host, n - strlen("-upstream"));
	return s->name;
}

/* Only our own services, and those tagged "callee:NAME", can check a proof. */
static unsigned
callee_number(struct linking *l, const struct service *s)
{
	struct snapshot *snap = l->s;
	bool own = false;

	for (size_t i = 0; i < KB_COUNT(own_services) && !own; i++)
		own = kb_str_eq(own_services[i].callee, s->callee);
	for (size_t i = 0; i < s->tags.n && !own; i++)
		own = kb_str_starts(s->tags.v[i], "callee:");
	if (!own)
		return NO_CALLEE;
	for (unsigned i = 0; i < snap->n_callees; i++)
		if (kb_str_eq(snap->callees[i], s->callee))
			return i;
	if (snap->n_callees == KB_COUNT(snap->callees)) {
		problem(l->p, s->line,
		    "service %s: more than %zu different callees", s->name,
		    KB_COUNT(snap->callees));
		return NO_CALLEE;
	}
	snap->callees[snap->n_callees] = s->callee;
	return (unsigned)snap->n_callees++;
}

static void
link_service(struct linking *l, struct service *s)
{
	if (s->host == NULL)
		return;
	s->upstream = made_of(l, KIND_UPSTREAM, s->host);
	if (s->upstream == NULL) {
		struct upstream *u = upstream_of_host(l, s);

		make_wheel(l->a, u);
		s->upstream = u;
	}
	s->callee = callee_of(l, s);
	s->display_name = s->name;
	for (size_t i = 0; i < KB_COUNT(own_services); i++)
		if (kb_str_eq(own_services[i].callee, s->callee))
			s->display_name = own_services[i].display;
	s->callee_index = callee_number(l, s);
	if (s->upstream->host_header)
		s->host_value = s->upstream->host_header;
	else if (!service_has_upstream(s) &&
	    s->port != (s->protocol >= SERVICE_HTTPS ? 443 : 80))
		s->host_value = kb_sprintf(
		    l->a, "%s:%lld", s->host, (long long)s->port);
	else
		s->host_value = s->host;
}

static void
link_upstreams(struct linking *l)
{
	for (size_t i = 0; i < l->s->n_upstreams; i++) {
		struct upstream *u = l->s->upstreams[i];
		bool used = false;

		u->index = i;
		make_wheel(l->a, u);
		upstream_ring(l->a, u);
		for (size_t j = 0; j < l->s->n_services && !used; j++)
			used = l->s->services[j]->upstream == u;
		if (!used)
			notice(l->p, u->line,
			    "upstream \"%s\" is not the host of any service",
			    u->name);
		/* As in Kong: targets may come later, or go for a while. */
		if (used && u->wheel_n == 0)
			notice(l->p, u->line,
			    "upstream \"%s\" has no target with a weight above "
			    "0: its services answer 503",
			    u->name);
	}
}

/* ---- plugins --------------------------------------------------------------
 */

static void
unknown_plugin(struct linking *l, const struct plugin_use *use)
{
	struct kb_buf list;

	kb_buf_init(&list, 1024);
	for (size_t i = 0; plugins[i] != NULL; i++)
		kb_buf_addf(&list, "%s%s", i ? ", " : "", plugins[i]->name);
	(l->p->skip_unsupported ? notice : problem)(l->p, use->line,
	    "plugin \"%s\" is not supported%s; there are: %s", use->name,
	    l->p->skip_unsupported ? " and skipped" : "", kb_buf_str(&list));
	kb_buf_free(&list);
}

static bool
runs_over_http(const struct plugin_use *use)
{
	for (size_t i = 0; i < use->protocols.n; i++)
		if (kb_str_starts(use->protocols.v[i], "http"))
			return true;
	return use->protocols.n == 0;
}

/* What decides for the whole route, or before the consumer is known, cannot
 * be one consumer's. */
static void
check_scope(struct linking *l, const struct plugin_use *use)
{
	if (use->consumer != NULL && use->consumer_group != NULL)
		problem(l->p, use->line,
		    "plugin %s: a scope of a consumer and a consumer_group at "
		    "once is not possible",
		    use->name);
	if ((use->consumer != NULL || use->consumer_group != NULL) &&
	    (use->plugin->authenticates || use->plugin->route != NULL ||
		use->plugin->priority > LAST_AUTH))
		problem(l->p, use->line,
		    "plugin %s: cannot be configured for a consumer: it runs "
		    "before the consumer is known",
		    use->name);
}

static bool
link_use(struct linking *l, struct plugin_use *use)
{
	void *conf;
	const char *what = kb_sprintf(l->a, "plugin %s", use->name);

	use->plugin = plugin_find(use->name);
	if (use->plugin == NULL) {
		unknown_plugin(l, use);
		return false;
	}
	use->name = use->plugin->name; /* it may have been another one for it */
	check_scope(l, use);
	use->id = 14695981039346656037ULL;
	for (const char *c = use->name; *c; c++)
		use->id = (use->id ^ (unsigned char)*c) * 1099511628211ULL;
	for (const char *c = use->scope; *c; c++)
		use->id = (use->id ^ (unsigned char)*c) * 1099511628211ULL;
	conf = kb_arena_alloc(l->a, use->plugin->conf_size + 1);
	if (use->plugin->defaults)
		memcpy(conf, use->plugin->defaults, use->plugin->conf_size);
	fields_read(l->p, use->config, use->plugin->fields, conf, what);
	if (use->plugin->load)
		use->plugin->load(l->p, use, conf);
	use->conf = conf;
	return runs_over_http(use);
}

/* By plugin, then by where it holds: pointers, NULL first. */
static int
by_place(const void *a, const void *b)
{
	const struct plugin_use *p = *(const struct plugin_use *const *)a;
	const struct plugin_use *q = *(const struct plugin_use *const *)b;
	const uintptr_t x[] = { (uintptr_t)p->plugin, (uintptr_t)p->route,
		(uintptr_t)p->service, (uintptr_t)p->consumer,
		(uintptr_t)p->consumer_group };
	const uintptr_t y[] = { (uintptr_t)q->plugin, (uintptr_t)q->route,
		(uintptr_t)q->service, (uintptr_t)q->consumer,
		(uintptr_t)q->consumer_group };

	for (size_t i = 0; i < KB_COUNT(x); i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

static void
link_uses(struct linking *l)
{
	struct snapshot *s = l->s;

	s->placed = kb_new_array(l->a, s->n_uses + 1, struct plugin_use *);
	for (size_t i = 0; i < s->n_uses; i++)
		if (link_use(l, s->uses[i]))
			s->placed[s->n_placed++] = s->uses[i];
	if (s->n_placed)
		qsort(s->placed, s->n_placed, sizeof(*s->placed), by_place);
}

static const struct plugin_use *
use_at(const struct snapshot *s, const struct plugin_use *want)
{
	struct plugin_use *const *at = s->n_placed
	    ? bsearch(
		  &want, s->placed, s->n_placed, sizeof(*s->placed), by_place)
	    : NULL;

	return at ? *at : NULL;
}

/* The most specific one of a plugin for a route, within what `who` is. */
static const struct plugin_use *
use_within(const struct snapshot *s, const struct plugin_use *who,
    const struct route *r, bool bare)
{
	const struct service *service = r ? r->service : NULL;
	struct plugin_use want = *who;
	const struct plugin_use *use = NULL;

	want.route = r;
	want.service = service;
	if (r != NULL && service != NULL)
		use = use_at(s, &want);
	want.service = NULL;
	/* With a consumer the route comes before the service, too. */
	if (use == NULL && r != NULL)
		use = use_at(s, &want);
	want.route = NULL;
	want.service = service;
	if (use == NULL && service != NULL)
		use = use_at(s, &want);
	want.service = NULL;
	if (use == NULL && bare)
		use = use_at(s, &want);
	return use;
}

/*
 * Kong's order: route and service and consumer, route and consumer, service
 * and consumer, the same with a group; route and service; consumer, group;
 * route; service; everywhere.
 */
const struct plugin_use *
use_of_consumer(const struct snapshot *s, const struct plugin *plugin,
    const struct route *r, const struct consumer *c)
{
	const struct plugin_use *use;
	struct plugin_use who = { .plugin = plugin, .consumer = c };
	struct plugin_use both = { .plugin = plugin, .route = r };

	use = use_within(s, &who, r, false);
	who.consumer = NULL;
	for (size_t i = 0; use == NULL && i < c->n_member_of; i++) {
		who.consumer_group = c->member_of[i];
		use = use_within(s, &who, r, false);
	}
	both.service = r ? r->service : NULL;
	if (use == NULL && r != NULL && both.service != NULL)
		use = use_at(s, &both);
	who = (struct plugin_use) { .plugin = plugin, .consumer = c };
	if (use == NULL)
		use = use_at(s, &who);
	who.consumer = NULL;
	for (size_t i = 0; use == NULL && i < c->n_member_of; i++) {
		who.consumer_group = c->member_of[i];
		use = use_at(s, &who);
	}
	return use;
}

static bool
has_consumers(const struct snapshot *s, const struct plugin *plugin)
{
	for (size_t i = 0; i < s->n_placed; i++)
		if (s->placed[i]->plugin == plugin &&
		    (s->placed[i]->consumer || s->placed[i]->consumer_group))
			return true;
	return false;
}

static void
find_consumer_plugins(struct linking *l)
{
	size_t n = 0;

	while (plugins[n] != NULL)
		n++;
	l->by_consumer = kb_new_array(l->a, n + 1, bool);
	for (size_t i = 0; i < n; i++)
		l->by_consumer[i] = has_consumers(l->s, plugins[i]);
	l->n_plugins = n;
}

/* It runs over what the route takes. */
static bool
protocols_meet(const struct plugin_use *use, const struct route *r)
{
	unsigned proto = 0;

	if (use->protocols.n == 0 || r == NULL)
		return true;
	for (size_t i = 0; i < use->protocols.n; i++)
		if (kb_str_eq(use->protocols.v[i], "http"))
			proto |= PROTO_HTTP;
		else if (kb_str_eq(use->protocols.v[i], "https"))
			proto |= PROTO_HTTPS;
		else if (kb_str_eq(use->protocols.v[i], "ws") ||
		    kb_str_eq(use->protocols.v[i], "wss"))
			proto |= r->websocket ? r->proto : 0;
	return (proto & r->proto) != 0;
}

static struct chain
make_chain(const struct linking *l, const struct route *r)
{
	const struct plugin_use **v, *use;
	struct chain chain = { 0 };

	v = kb_new_array(l->a, l->n_plugins + 1, const struct plugin_use *);
	chain.plugins = kb_new_array(
	    l->a, l->n_plugins + 1, const struct plugin *);
	for (size_t i = 0; i < l->n_plugins; i++) {
		struct plugin_use everybody = { .plugin = plugins[i] };

		use = use_within(l->s, &everybody, r, true);
		if (use != NULL && !protocols_meet(use, r))
			use = NULL;
		if (use == NULL && !l->by_consumer[i])
			continue;
		v[chain.n] = use;
		/* Only where a consumer may have one of his own. */
		if (l->by_consumer[i])
			chain.plugins[chain.n] = plugins[i];
		chain.n++;
	}
	chain.v = v;
	return chain;
}

/* Routes without a service have this one: it has no host, and answers 503. */
static struct service *
nobody(struct linking *l)
{
	struct service *s = kb_new(l->a, struct service);
	struct upstream *u = kb_new(l->a, struct upstream);

	u->name = "";
	*s = (struct service) {
		.name = "",
		.id = "",
		.path = "",
		.enabled = true,
		.callee = "",
		.display_name = "",
		.host_value = "",
		.callee_index = NO_CALLEE,
		.upstream = u,
	};
	return s;
}

static void
finish_route(struct linking *l, struct route *r)
{
	r->chain = make_chain(l, r);
	if (r->service == NULL)
		r->service = l->nobody;
	for (size_t i = 0; i < r->chain.n; i++) {
		const struct plugin_use *use = r->chain.v[i];

		if (use == NULL)
			continue;
		r->authenticated |= use->plugin->authenticates;
		if (use->plugin->route)
			use->plugin->route(use, r);
	}
}

/* Routes of enabled services only: the others do not exist. */
static void
drop_disabled(struct snapshot *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_routes; i++) {
		struct route *r = s->routes[i];

		if (r->service != NULL && !r->service->enabled)
			continue;
		r->index = n;
		s->routes[n++] = r;
	}
	s->n_routes = n;
}

void
config_link(struct problems *p, struct snapshot *s)
{
	struct linking l = { .p = p, .a = s->arena, .s = s };

	for (size_t i = 0; i < s->n_services; i++)
		link_service(&l, s->services[i]);
	link_upstreams(&l);
	for (size_t i = 0; i < s->n_routes; i++)
		route_link(p, s->routes[i]);
	link_uses(&l);
	find_consumer_plugins(&l);
	l.nobody = nobody(&l);
	for (size_t i = 0; i < s->n_routes; i++)
		finish_route(&l, s->routes[i]);
	s->global = make_chain(&l, NULL);
	upstream_tls_link(p, s);
	tls_link(p, s);
	if (problems_any(p))
		return;
	drop_disabled(s);
	if (s->n_services)
		qsort(
		    s->services, s->n_services, sizeof(*s->services), by_name);
	s->router = router_new(
	    l.a, s->routes, s->n_routes, p->defaults.kong_router);
}

const struct service *
snapshot_service(const struct snapshot *s, const char *name)
{
	struct service *const *at = s->n_services
	    ? bsearch(name, s->services, s->n_services, sizeof(*s->services),
		  name_is)
	    : NULL;

	return at ? *at : NULL;
}
