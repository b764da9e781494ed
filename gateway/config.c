/*
 * A Kong 3.0 declarative file to the gateway's entities: one field table an
 * entity. What Kong knows and the gateway does not do yet is refused by name;
 * what is in no table is unknown.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "inside.h"

enum { FILE_MAX = 16 << 20, NODES_MAX = 1000000, TIMEOUT_MAX = 2147483646 };

/* A growing list of pointers in an arena. */
struct list {
	void **v;
	size_t n, cap;
};

static void
list_add(struct kb_arena *a, struct list *l, void *item)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		void **v = kb_new_array(a, cap, void *);

		if (l->n)
			memcpy(v, l->v, l->n * sizeof(*v));
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = item;
}

struct loading {
	struct problems *p;
	struct kb_arena *a;
	struct list services, routes, upstreams, uses, consumers;
};

/* ---- tables -------------------------------------------------------------- */

static const char *const protocols[] = { "http", "ws", "https", "wss", "grpc",
	"grpcs", "tcp", "tls", "udp", NULL };

#define ENTITY_COMMON                                                          \
	CONF_SKIP("id"), CONF_SKIP("created_at"), CONF_SKIP("updated_at")

static const struct field service_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct service, name, .required = true),
	CONF_STR(struct service, url),
	CONF_ENUM(struct service, protocol, .choices = protocols),
	CONF_STR(struct service, host),
	CONF_INT(struct service, port, .min = 1, .max = 65535),
	CONF_STR(struct service, path, .empty = true),
	CONF_INT(struct service, retries, .min = 0, .max = 32767),
	CONF_INT(struct service, connect_timeout, .min = 1, .max = TIMEOUT_MAX),
	CONF_INT(struct service, write_timeout, .min = 1, .max = TIMEOUT_MAX),
	CONF_INT(struct service, read_timeout, .min = 1, .max = TIMEOUT_MAX),
	CONF_BOOL(struct service, enabled),
	CONF_STRS(struct service, tags),
	CONF_NODE(struct service, routes),
	CONF_NODE(struct service, plugins),
	CONF_LATER(
	    "client_certificate", "upstreams are reached over plain HTTP"),
	CONF_LATER("ca_certificates", "upstreams are reached over plain HTTP"),
	CONF_LATER("tls_verify", "upstreams are reached over plain HTTP"),
	CONF_LATER("tls_verify_depth", "upstreams are reached over plain HTTP"),
	CONF_END,
};

struct route_reading {
	struct route route;
	const struct kb_yaml *service, *plugins;
	int path_handling;
	int64_t regex_priority, https_redirect_status_code;
};

static const char *const path_handlings[] = { "v0", "v1", NULL };

/* clang-format off */
#define IN_ROUTE(k, m, c, ...) \
	{ .kind = (k), .name = #m, .offset = offsetof(struct route_reading, route) + \
	    KB_OFFSET_OF(struct route, m, c), __VA_ARGS__ }
/* clang-format on */

static const struct field route_fields[] = {
	ENTITY_COMMON,
	IN_ROUTE(FIELD_STR, name, const char *),
	IN_ROUTE(FIELD_STRS, paths, struct strs),
	IN_ROUTE(FIELD_STRS, methods, struct strs),
	IN_ROUTE(FIELD_STRS, hosts, struct strs),
	IN_ROUTE(FIELD_STRS, protocols, struct strs),
	IN_ROUTE(FIELD_STRS, tags, struct strs),
	IN_ROUTE(FIELD_BOOL, strip_path, bool),
	IN_ROUTE(FIELD_BOOL, preserve_host, bool),
	CONF_NODE(struct route_reading, service),
	CONF_NODE(struct route_reading, plugins),
	CONF_ENUM(
	    struct route_reading, path_handling, .choices = path_handlings),
	CONF_INT(struct route_reading, regex_priority, .min = 0),
	CONF_INT(struct route_reading, https_redirect_status_code, .min = 426,
	    .max = 426),
	CONF_NOTE("request_buffering", "bodies are always streamed"),
	CONF_NOTE("response_buffering", "bodies are always streamed"),
	CONF_LATER("headers", "routes match by path, host and method"),
	CONF_LATER("snis", "routes match by path, host and method"),
	CONF_LATER("sources", "stream routes"),
	CONF_LATER("destinations", "stream routes"),
	CONF_LATER("expression", "routes match by path, host and method"),
	CONF_LATER("priority", "routes match by path, host and method"),
	CONF_END,
};

struct use_reading {
	struct plugin_use use;
	const struct kb_yaml *service, *route;
};

/* clang-format off */
#define IN_USE(k, m, c, ...) \
	{ .kind = (k), .name = #m, .offset = offsetof(struct use_reading, use) + \
	    KB_OFFSET_OF(struct plugin_use, m, c), __VA_ARGS__ }
/* clang-format on */

static const struct field use_fields[] = {
	ENTITY_COMMON,
	IN_USE(FIELD_STR, name, const char *, .required = true),
	IN_USE(FIELD_STR, instance_name, const char *),
	IN_USE(FIELD_NODE, config, const struct kb_yaml *),
	IN_USE(FIELD_BOOL, enabled, bool),
	IN_USE(FIELD_STRS, protocols, struct strs),
	IN_USE(FIELD_STRS, tags, struct strs),
	CONF_NODE(struct use_reading, service),
	CONF_NODE(struct use_reading, route),
	CONF_LATER("consumer", "plugins of a consumer"),
	CONF_LATER("consumer_group", "plugins of a consumer group"),
	CONF_LATER("ordering", "plugins run by Kong's priorities"),
	CONF_LATER("_config", "shared plugin configurations"),
	CONF_END,
};

struct root {
	const char *_format_version;
	const struct kb_yaml *services, *routes, *plugins, *upstreams,
	    *consumers;
};

static const struct field root_fields[] = {
	CONF_STR(struct root, _format_version, .required = true),
	CONF_NODE(struct root, services),
	CONF_NODE(struct root, routes),
	CONF_NODE(struct root, plugins),
	CONF_NODE(struct root, upstreams),
	CONF_NODE(struct root, consumers),
	CONF_SKIP("_transform"),
	CONF_SKIP("_info"),
	CONF_SKIP("_workspace"),
	CONF_SKIP("_konnect"),
	CONF_LATER("_plugin_configs", "shared plugin configurations"),
	CONF_LATER("targets", "write targets below their upstream"),
	CONF_LATER("jwt_secrets", "write jwt_secrets below their consumer"),
	CONF_LATER("consumer_groups", "consumer groups"),
	CONF_LATER("keyauth_credentials", "write them below their consumer"),
	CONF_LATER("basicauth_credentials", "basic-auth"),
	CONF_LATER("acls", "write them below their consumer"),
	CONF_LATER("certificates", "TLS"),
	CONF_LATER("ca_certificates", "TLS"),
	CONF_LATER("snis", "TLS"),
	CONF_LATER("vaults", "vaults"),
	CONF_LATER("keys", "keys"),
	CONF_LATER("key_sets", "keys"),
	CONF_END,
};

/* ---- entities ------------------------------------------------------------ */

static void
each(struct loading *l, const struct kb_yaml *list, const char *what,
    void (*fn)(struct loading *l, const struct kb_yaml *y, void *arg),
    void *arg)
{
	if (list == NULL || kb_yaml_is_null(list))
		return;
	if (list->kind != KB_YAML_SEQUENCE) {
		problem(l->p, list->line, "%s must be a list", what);
		return;
	}
	for (const struct kb_yaml *y = list->first; y != NULL; y = y->next) {
		if (y->kind != KB_YAML_MAPPING)
			problem(l->p, y->line, "%s: an entry must be a mapping",
			    what);
		else
			fn(l, y, arg);
	}
}

/* "name" or {name: x} or {id: x}: which entity is meant. */
static const char *
reference(struct loading *l, const struct kb_yaml *y, const char *what)
{
	const struct kb_yaml *name = y;

	if (y == NULL || kb_yaml_is_null(y))
		return NULL;
	if (y->kind == KB_YAML_MAPPING) {
		name = kb_yaml_get(y, "name");
		if (name == NULL)
			name = kb_yaml_get(y, "id");
	}
	if (name == NULL || name->kind != KB_YAML_SCALAR) {
		problem(l->p, y->line, "%s must be a name or {name: …}", what);
		return NULL;
	}
	return name->text;
}

/* Where a plugin stands; both NULL: global. */
struct scope {
	const char *service, *route;
};

static void
read_use(struct loading *l, const struct kb_yaml *y, void *arg)
{
	const struct scope *scope = arg;
	struct use_reading r = { .use.enabled = true };
	struct plugin_use *use = kb_new(l->a, struct plugin_use);
	const char *service, *route;

	fields_read(l->p, y, use_fields, &r, "plugin");
	service = reference(l, r.service, "service");
	route = reference(l, r.route, "route");
	*use = r.use;
	use->line = y->line;
	use->service = scope && scope->service ? scope->service : service;
	use->route = scope && scope->route ? scope->route : route;
	if (use->name != NULL && use->enabled)
		list_add(l->a, &l->uses, use);
}

static void
read_route(struct loading *l, const struct kb_yaml *y, void *arg)
{
	struct service *service = arg;
	struct route_reading r = { .route.strip_path = true };
	struct route *route = kb_new(l->a, struct route);

	fields_read(l->p, y, route_fields, &r, "route");
	*route = r.route;
	route->line = y->line;
	route->service_name = service ? service->name
				      : reference(l, r.service, "service");
	if (route->service_name == NULL)
		problem(l->p, y->line, "route: service is required");
	if (route->name == NULL)
		route->name = kb_sprintf(l->a, "%s-route-%zu",
		    route->service_name ? route->service_name : "no-service",
		    l->routes.n + 1);
	list_add(l->a, &l->routes, route);
	each(l, r.plugins, "plugins", read_use,
	    &(struct scope) { .route = route->name });
}

/* protocol://host[:port][/path] over what was given one by one. */
static void
apply_url(struct loading *l, struct service *s)
{
	struct kb_slice rest, authority;
	const char *colon, *slash;
	uint64_t port;

	if (kb_str_starts(s->url, "http://")) {
		s->protocol = 0;
		rest = kb_slice_of(s->url + 7);
	} else {
		problem(l->p, s->line,
		    "service: url must be http://host[:port][/path]");
		return;
	}
	slash = memchr(rest.ptr, '/', rest.len);
	authority = rest;
	if (slash != NULL)
		authority.len = (size_t)(slash - rest.ptr);
	if (!kb_http_host_ok(authority)) {
		problem(l->p, s->line, "service: url has no valid host");
		return;
	}
	colon = memchr(authority.ptr, ':', authority.len);
	s->port = 80;
	if (colon != NULL && authority.ptr[0] != '[') {
		size_t at = (size_t)(colon - authority.ptr);
		struct kb_slice text = { colon + 1, authority.len - at - 1 };

		if (!kb_parse_u64(text, &port) || port == 0 || port > 65535)
			problem(l->p, s->line, "service: url has a bad port");
		else
			s->port = (int64_t)port;
		authority.len = at;
	}
	s->host = kb_slice_dup(l->a, authority);
	if (slash != NULL)
		s->path = kb_strdup(l->a, slash);
}

static void
check_service(struct loading *l, struct service *s)
{
	const char *wrong;

	if (s->url != NULL)
		apply_url(l, s);
	if (s->protocol > 1)
		problem(l->p, s->line,
		    "service %s: protocol %s is not implemented: upstreams "
		    "are reached over plain HTTP",
		    s->name, protocols[s->protocol]);
	if (s->host == NULL)
		problem(l->p, s->line, "service %s: host or url is required",
		    s->name);
	else if (!kb_http_host_ok(kb_slice_of(s->host)) ||
	    (strchr(s->host, ':') && s->host[0] != '['))
		problem(l->p, s->line,
		    "service %s: host \"%s\" is not a host name", s->name,
		    s->host);
	if (s->path == NULL || kb_str_eq(s->path, "/"))
		s->path = "";
	if (s->path[0] == '\0')
		return;
	wrong = router_path_problem(l->a, s->path);
	if (wrong[0])
		problem(l->p, s->line, "service %s: path %s", s->name, wrong);
}

static void
read_service(struct loading *l, const struct kb_yaml *y, void *arg)
{
	struct service *s = kb_new(l->a, struct service);

	(void)arg;
	*s = (struct service) {
		.port = 80,
		.retries = 5,
		.connect_timeout = 60000,
		.write_timeout = 60000,
		.read_timeout = 60000,
		.enabled = true,
		.line = y->line,
	};
	fields_read(l->p, y, service_fields, s, "service");
	if (s->name == NULL)
		return;
	check_service(l, s);
	list_add(l->a, &l->services, s);
	each(l, s->routes, "routes", read_route, s);
	each(l, s->plugins, "plugins", read_use,
	    &(struct scope) { .service = s->name });
}

static void
read_upstream(struct loading *l, const struct kb_yaml *y, void *arg)
{
	struct upstream *u = upstream_read(l->p, y);

	(void)arg;
	if (u != NULL)
		list_add(l->a, &l->upstreams, u);
}

static void
read_consumer(struct loading *l, const struct kb_yaml *y, void *arg)
{
	(void)arg;
	list_add(l->a, &l->consumers, consumer_read(l->p, y));
}

/* ---- file ---------------------------------------------------------------- */

static struct snapshot *
snapshot_of(struct kb_arena *a, const struct loading *l)
{
	struct snapshot *s = kb_new(a, struct snapshot);

	s->arena = a;
	atomic_init(&s->refs, 1);
	s->services = (struct service **)l->services.v;
	s->n_services = l->services.n;
	s->routes = (struct route **)l->routes.v;
	s->n_routes = l->routes.n;
	s->upstreams = (struct upstream **)l->upstreams.v;
	s->n_upstreams = l->upstreams.n;
	s->uses = (struct plugin_use **)l->uses.v;
	s->n_uses = l->uses.n;
	s->consumers = (struct consumer **)l->consumers.v;
	s->n_consumers = l->consumers.n;
	return s;
}

static struct snapshot *
read_root(struct problems *p, struct kb_arena *a, const struct kb_yaml *y)
{
	struct loading l = { .p = p, .a = a };
	struct root root = { 0 };
	struct snapshot *s;

	fields_read(p, y, root_fields, &root, "file");
	if (root._format_version != NULL &&
	    !kb_str_eq(root._format_version, "3.0"))
		problem(p, y->line,
		    "_format_version %s is not supported, it must be \"3.0\"",
		    root._format_version);
	each(&l, root.services, "services", read_service, NULL);
	each(&l, root.routes, "routes", read_route, NULL);
	each(&l, root.plugins, "plugins", read_use, NULL);
	each(&l, root.upstreams, "upstreams", read_upstream, NULL);
	each(&l, root.consumers, "consumers", read_consumer, NULL);
	s = snapshot_of(a, &l);
	consumers_link(p, s);
	config_link(p, s);
	return s;
}

/* "line 3, column 7: what" of the YAML reader, with the line taken out. */
static void
yaml_problem(struct problems *p, const char *why)
{
	unsigned line = 0;

	if (kb_str_starts(why, "line "))
		line = (unsigned)strtoul(why + 5, NULL, 10);
	problem(p, line, "%s", why);
}

struct snapshot *
config_parse(
    struct problems *p, const char *text, size_t len, struct substitution *sub)
{
	struct kb_arena *a = p->arena;
	struct snapshot *s = NULL;
	struct kb_yaml *tree = NULL;
	const char *why = "";
	unsigned char digest[KB_SHA256_SIZE];
	const struct kb_yaml_limits limits = {
		.text = FILE_MAX,
		.nodes = NODES_MAX,
	};

	if (kb_yaml_parse_within(a, (struct kb_slice) { text, len }, &limits,
		&tree, &why) != KB_OK)
		yaml_problem(p, why);
	else if (tree == NULL || tree->kind != KB_YAML_MAPPING)
		problem(p, 0, "the file must be a mapping");
	else {
		substitute(p, tree, sub);
		s = read_root(p, a, tree);
		kb_sha256(text, len, digest);
		kb_hex(digest, 16, s->hash);
	}
	return s;
}

static enum kb_err
read_file(struct problems *p, const char *file, struct kb_buf *out)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0) {
		problem(p, 0, "cannot be read: %s", strerror(errno));
		return KB_UNAVAILABLE;
	}
	for (;;) {
		char *room = kb_buf_reserve(out, 64 * 1024);

		n = room ? read(fd, room, 64 * 1024) : -1;
		if (n <= 0)
			break;
		kb_buf_commit(out, (size_t)n);
	}
	close(fd);
	if (n == 0)
		return KB_OK;
	problem(p, 0, "cannot be read: %s",
	    kb_buf_failed(out) ? "larger than 16 MiB" : strerror(errno));
	return KB_TOO_LARGE;
}

struct snapshot *
config_load_file(struct problems *p, const char *file, struct substitution *sub)
{
	struct snapshot *s = NULL;
	struct kb_buf text;

	p->file = file;
	kb_buf_init(&text, FILE_MAX);
	if (read_file(p, file, &text) == KB_OK)
		s = config_parse(p, kb_buf_str(&text), text.len, sub);
	kb_buf_free(&text);
	return s;
}

struct snapshot *
snapshot_ref(struct snapshot *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
snapshot_unref(struct snapshot *s)
{
	if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1)
		kb_arena_free(s->arena);
}
