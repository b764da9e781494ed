/*
 * Second step of loading: names become pointers, plugins are bound to their
 * code, every route gets its chain (of each plugin the most specific
 * configuration), upstreams their wheel, and the router is built.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

enum { WHEEL_MAX = 1024 };

struct linking {
	struct problems *p;
	struct kb_arena *a;
	struct snapshot *s;
	/* sorted by name */
	struct service **services;
	struct route **routes;
	struct upstream **upstreams;
	struct keyed *uses;
	size_t n_uses;
};

/* A plugin configuration under "plugin|kind|name". */
struct keyed {
	const char *key;
	struct plugin_use *use;
};

/* ---- looking up by name ---------------------------------------------------
 */

/* All three entities begin with their name. */
static const char *
name_of(const void *entity)
{
	return *(const char *const *)entity;
}

_Static_assert(offsetof(struct service, name) == 0, "name comes first");
_Static_assert(offsetof(struct route, name) == 0, "name comes first");
_Static_assert(offsetof(struct upstream, name) == 0, "name comes first");

static int
by_name(const void *a, const void *b)
{
	return strcmp(
	    name_of(*(const void *const *)a), name_of(*(const void *const *)b));
}

static int
name_is(const void *key, const void *item)
{
	return strcmp(key, name_of(*(const void *const *)item));
}

static void *
sorted(struct kb_arena *a, void *const *v, size_t n)
{
	void **copy = kb_new_array(a, n + 1, void *);

	if (n) {
		memcpy(copy, v, n * sizeof(*copy));
		qsort(copy, n, sizeof(*copy), by_name);
	}
	return copy;
}

static void *
find(void *const *v, size_t n, const char *name)
{
	void *const *at = n && name ? bsearch(name, v, n, sizeof(*v), name_is)
				    : NULL;

	return at ? *at : NULL;
}

static struct service *
find_service(const struct linking *l, const char *name)
{
	return find((void *const *)l->services, l->s->n_services, name);
}

static void
check_twice(struct linking *l, void *const *v, size_t n, size_t line_offset,
    const char *what)
{
	for (size_t i = 1; i < n; i++) {
		const char *a = v[i - 1], *b = v[i];

		if (!kb_str_eq(name_of(a), name_of(b)))
			continue;
		problem(l->p,
		    *(const unsigned *)(const void *)(b + line_offset),
		    "%s \"%s\" is there twice (also in line %u)", what,
		    name_of(b),
		    *(const unsigned *)(const void *)(a + line_offset));
	}
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
	if (s->upstream->line != s->line && kb_str_ends(s->host, "-upstream"))
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
	s->upstream = find(
	    (void *const *)l->upstreams, l->s->n_upstreams, s->host);
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
	else if (s->upstream->line == s->line && s->port != 80)
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
		if (used && u->wheel_n == 0)
			problem(l->p, u->line,
			    "upstream \"%s\" has no target with a weight above "
			    "0",
			    u->name);
	}
}

/* ---- routes ---------------------------------------------------------------
 */

static const struct {
	const char *name;
	unsigned bits;
} route_protocols[] = {
	{ "http", PROTO_HTTP },
	{ "https", PROTO_HTTPS },
	{ "ws", PROTO_WS | PROTO_HTTP },
	{ "wss", PROTO_WS | PROTO_HTTPS },
};

static void
link_protocols(struct linking *l, struct route *r)
{
	if (r->protocols.n == 0)
		r->proto = PROTO_HTTP | PROTO_HTTPS;
	for (size_t i = 0; i < r->protocols.n; i++) {
		unsigned bits = 0;

		for (size_t j = 0; j < KB_COUNT(route_protocols); j++)
			if (kb_str_eq(
				r->protocols.v[i], route_protocols[j].name))
				bits = route_protocols[j].bits;
		if (bits == 0)
			problem(l->p, r->line,
			    "route %s: protocol \"%s\" is not one of: http, "
			    "https, ws, wss",
			    r->name, r->protocols.v[i]);
		r->proto |= bits;
	}
	r->websocket = (r->proto & PROTO_WS) != 0;
	for (size_t i = 0; i < r->tags.n; i++)
		r->websocket |= kb_str_eq(r->tags.v[i], "websocket");
	if (r->service != NULL && r->service->protocol == 1)
		r->websocket = true;
	r->proto &= PROTO_HTTP | PROTO_HTTPS;
}

static void
link_methods(struct linking *l, struct route *r)
{
	for (size_t i = 0; i < r->methods.n; i++) {
		const char *name = r->methods.v[i];
		enum kb_method m = kb_method_of(name, strlen(name));

		if (m == KB_M_NONE || m == KB_M_OTHER || m == KB_M_TRACE ||
		    m == KB_M_CONNECT)
			problem(l->p, r->line,
			    "route %s: method \"%s\" is not one of: GET, HEAD, "
			    "POST, PUT, PATCH, DELETE, OPTIONS",
			    r->name, name);
		else
			r->method_mask |= 1U << m;
	}
}

/* A name, or one with a "*" label at its left or right end. */
static bool
host_is_fine(const char *host)
{
	struct kb_slice rest = kb_slice_of(host);

	if (kb_str_starts(host, "*."))
		rest = kb_slice_of(host + 2);
	else if (kb_str_ends(host, ".*"))
		rest.len -= 2;
	if (rest.len == 0 || strchr(host, ':') != NULL)
		return false;
	for (size_t i = 0; i < rest.len; i++)
		if (rest.ptr[i] == '*' ||
		    (rest.ptr[i] >= 'A' && rest.ptr[i] <= 'Z'))
			return false;
	return kb_http_host_ok(rest);
}

static void
check_places(struct linking *l, struct route *r)
{
	for (size_t i = 0; i < r->hosts.n; i++)
		if (!host_is_fine(r->hosts.v[i]))
			problem(l->p, r->line,
			    "route %s: host \"%s\" must be a lower-case name, "
			    "*.name or name.*, without a port",
			    r->name, r->hosts.v[i]);
	for (size_t i = 0; i < r->paths.n; i++) {
		const char *path = r->paths.v[i];
		const char *wrong = router_path_problem(l->a, path);

		if (path[0] == '~')
			problem(l->p, r->line,
			    "route %s: regular expression paths are not "
			    "implemented: %s",
			    r->name, path);
		else if (wrong[0])
			problem(l->p, r->line, "route %s: path \"%s\" %s",
			    r->name, path, wrong);
		else if (path_is_denied(kb_slice_of(path)))
			notice(l->p, r->line,
			    "route %s: \"%s\" is never reachable from outside",
			    r->name, path);
	}
	if (r->paths.n + r->hosts.n + r->methods.n == 0)
		problem(l->p, r->line,
		    "route %s: paths, hosts or methods are required", r->name);
}

static void
link_route(struct linking *l, struct route *r)
{
	r->service = find_service(l, r->service_name);
	if (r->service == NULL && r->service_name != NULL)
		problem(l->p, r->line, "route %s: there is no service \"%s\"",
		    r->name, r->service_name);
	link_protocols(l, r);
	link_methods(l, r);
	check_places(l, r);
	r->body_limit = 1 << 20;
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
	problem(l->p, use->line,
	    "plugin \"%s\" is not supported; there are: %s", use->name,
	    kb_buf_str(&list));
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

static bool
link_scope(struct linking *l, struct plugin_use *use)
{
	if (use->route != NULL && use->service != NULL) {
		problem(l->p, use->line,
		    "plugin %s: a scope of a route and a service at once is "
		    "not implemented",
		    use->name);
		return false;
	}
	use->scope = "global";
	if (use->service != NULL)
		use->scope = kb_sprintf(l->a, "service %s", use->service);
	if (use->route != NULL)
		use->scope = kb_sprintf(l->a, "route %s", use->route);
	if (use->service != NULL && find_service(l, use->service) == NULL)
		problem(l->p, use->line,
		    "plugin %s: there is no service \"%s\"", use->name,
		    use->service);
	if (use->route != NULL &&
	    find((void *const *)l->routes, l->s->n_routes, use->route) == NULL)
		problem(l->p, use->line, "plugin %s: there is no route \"%s\"",
		    use->name, use->route);
	return true;
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
	if (!link_scope(l, use))
		return false;
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

static int
by_key(const void *a, const void *b)
{
	return strcmp(
	    ((const struct keyed *)a)->key, ((const struct keyed *)b)->key);
}

static void
link_uses(struct linking *l)
{
	l->uses = kb_new_array(l->a, l->s->n_uses + 1, struct keyed);
	for (size_t i = 0; i < l->s->n_uses; i++) {
		struct plugin_use *use = l->s->uses[i];

		if (link_use(l, use))
			l->uses[l->n_uses++] = (struct keyed) {
				.key = kb_sprintf(
				    l->a, "%s|%s", use->name, use->scope),
				.use = use,
			};
	}
	if (l->n_uses)
		qsort(l->uses, l->n_uses, sizeof(*l->uses), by_key);
	for (size_t i = 1; i < l->n_uses; i++)
		if (by_key(&l->uses[i - 1], &l->uses[i]) == 0)
			problem(l->p, l->uses[i].use->line,
			    "plugin %s is configured twice for %s (also in "
			    "line %u)",
			    l->uses[i].use->name, l->uses[i].use->scope,
			    l->uses[i - 1].use->line);
}

static const struct plugin_use *
use_for(const struct linking *l, const struct plugin *plugin, const char *kind,
    const char *name)
{
	char key[512];
	const struct keyed *at = NULL;
	int n = snprintf(key, sizeof(key), "%s|%s%s%s", plugin->name, kind,
	    name[0] ? " " : "", name);

	if (n > 0 && (size_t)n < sizeof(key) && l->n_uses)
		at = bsearch(&(struct keyed) { .key = key }, l->uses, l->n_uses,
		    sizeof(*l->uses), by_key);
	return at ? at->use : NULL;
}

static struct chain
make_chain(const struct linking *l, const struct route *r)
{
	const struct plugin_use **v, *use;
	size_t n = 0;

	for (n = 0; plugins[n] != NULL; n++)
		;
	v = kb_new_array(l->a, n + 1, const struct plugin_use *);
	n = 0;
	for (size_t i = 0; plugins[i] != NULL; i++) {
		use = NULL;
		if (r != NULL)
			use = use_for(l, plugins[i], "route", r->name);
		if (r != NULL && use == NULL && r->service_name != NULL)
			use = use_for(
			    l, plugins[i], "service", r->service_name);
		if (use == NULL)
			use = use_for(l, plugins[i], "global", "");
		if (use != NULL)
			v[n++] = use;
	}
	return (struct chain) { .v = v, .n = n };
}

static void
finish_route(struct linking *l, struct route *r)
{
	r->chain = make_chain(l, r);
	for (size_t i = 0; i < r->chain.n; i++) {
		const struct plugin_use *use = r->chain.v[i];

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

	l.services = sorted(l.a, (void *const *)s->services, s->n_services);
	l.routes = sorted(l.a, (void *const *)s->routes, s->n_routes);
	l.upstreams = sorted(l.a, (void *const *)s->upstreams, s->n_upstreams);
	check_twice(&l, (void *const *)l.services, s->n_services,
	    offsetof(struct service, line), "service");
	check_twice(&l, (void *const *)l.routes, s->n_routes,
	    offsetof(struct route, line), "route");
	check_twice(&l, (void *const *)l.upstreams, s->n_upstreams,
	    offsetof(struct upstream, line), "upstream");
	for (size_t i = 0; i < s->n_services; i++)
		link_service(&l, s->services[i]);
	link_upstreams(&l);
	for (size_t i = 0; i < s->n_routes; i++)
		link_route(&l, s->routes[i]);
	link_uses(&l);
	for (size_t i = 0; i < s->n_routes; i++)
		finish_route(&l, s->routes[i]);
	s->global = make_chain(&l, NULL);
	if (problems_any(p))
		return;
	drop_disabled(s);
	s->services = l.services;
	s->router = router_new(l.a, s->routes, s->n_routes);
}

const struct service *
snapshot_service(const struct snapshot *s, const char *name)
{
	return find((void *const *)s->services, s->n_services, name);
}
