/*
 * A Kong declarative file to the gateway's entities: one field table an
 * entity of its document. What Kong knows and the gateway does not do yet is
 * refused by name; what is in no table is unknown.
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

#include "document_inside.h"
#include "inside.h"

enum { FILE_MAX = 16 << 20, NODES_MAX = 1000000, TIMEOUT_MAX = 2147483646 };

struct loading {
	struct problems *p;
	struct kb_arena *a;
	struct document *d;
	struct snapshot *s;
};

/* ---- tables -------------------------------------------------------------- */

static const char *const protocols[] = { "http", "ws", "https", "wss", "grpc",
	"grpcs", "tcp", "tls", "udp", NULL };

#define ENTITY_COMMON                                                          \
	CONF_SKIP("id"), CONF_SKIP("created_at"), CONF_SKIP("updated_at")

/* Unset is a third value. */
static const char *const switches[] = { "false", "true", NULL };

static const struct field service_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct service, name, .required = true),
	CONF_STR(struct service, url),
	CONF_ENUM(struct service, protocol, .choices = protocols),
	CONF_STR(struct service, host),
	CONF_INT(struct service, port, .min = 1, .max = 65535,
	    .initial = "80"), /* of https: 443 */
	CONF_STR(struct service, path, .empty = true),
	CONF_INT(struct service, retries, .min = 0, .max = 32767),
	CONF_INT(struct service, connect_timeout, .min = 1, .max = TIMEOUT_MAX),
	CONF_INT(struct service, write_timeout, .min = 1, .max = TIMEOUT_MAX),
	CONF_INT(struct service, read_timeout, .min = 1, .max = TIMEOUT_MAX),
	CONF_BOOL(struct service, enabled),
	CONF_STRS(struct service, tags),
	CONF_ENUM(
	    struct service, tls_verify, .choices = switches, .type = "boolean"),
	CONF_INT(struct service, tls_verify_depth, .min = 0, .max = 64),
	CONF_SKIP("client_certificate"), /* references are resolved */
	CONF_SKIP("ca_certificates"),
	CONF_SKIP("routes"), /* entities of their own, for "did you mean" */
	CONF_SKIP("plugins"),
	CONF_END,
};

static const struct service service_defaults = {
	.retries = 5,
	.connect_timeout = 60000,
	.write_timeout = 60000,
	.read_timeout = 60000,
	.enabled = true,
	.tls_verify = TLS_VERIFY_UNSET,
	.tls_verify_depth = -1,
};

const struct schema service_schema = { service_fields, &service_defaults };

struct route_reading {
	struct route route;
	int path_handling;
	int64_t https_redirect_status_code;
	const struct kb_yaml *headers;
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
	IN_ROUTE(FIELD_STRS, protocols, struct strs,
	    .initial = "[\"http\",\"https\"]"),
	IN_ROUTE(FIELD_STRS, tags, struct strs),
	IN_ROUTE(FIELD_BOOL, strip_path, bool),
	IN_ROUTE(FIELD_BOOL, preserve_host, bool),
	CONF_SKIP("service"),
	CONF_SKIP("plugins"),
	CONF_ENUM(
	    struct route_reading, path_handling, .choices = path_handlings),
	IN_ROUTE(FIELD_INT, regex_priority, int64_t, .max = UINT32_MAX),
	CONF_INT(struct route_reading, https_redirect_status_code, .min = 301,
	    .max = 426),
	CONF_NODE(struct route_reading, headers),
	IN_ROUTE(FIELD_STRS, snis, struct strs),
	CONF_NOTE_AS("request_buffering", "bodies are always streamed",
	    "boolean", "true"),
	CONF_NOTE_AS("response_buffering", "bodies are always streamed",
	    "boolean", "true"),
	CONF_LATER("sources", "stream routes"),
	CONF_LATER("destinations", "stream routes"),
	CONF_LATER("expression", "routes match by their fields"),
	CONF_LATER("priority", "routes match by their fields"),
	CONF_END,
};

static const struct route_reading route_defaults = {
	.route.strip_path = true,
	.https_redirect_status_code = 426,
};

const struct schema route_schema = { route_fields, &route_defaults };

static const struct field use_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct plugin_use, name, .required = true),
	CONF_STR(struct plugin_use, instance_name),
	CONF_NODE(struct plugin_use, config),
	CONF_BOOL(struct plugin_use, enabled),
	CONF_STRS(struct plugin_use, protocols,
	    .initial = "[\"grpc\",\"grpcs\",\"http\",\"https\"]"),
	CONF_STRS(struct plugin_use, tags),
	CONF_SKIP("service"),
	CONF_SKIP("route"),
	CONF_SKIP("consumer"),
	CONF_SKIP("consumer_group"),
	CONF_NOTE("ordering", "plugins run by Kong's priorities"),
	CONF_END,
};

static const struct plugin_use use_defaults = { .enabled = true };

const struct schema plugin_schema = { use_fields, &use_defaults };

struct certificate_reading {
	const struct kb_yaml *cert, *cert_alt;
};

struct sni_reading {
	const char *name;
};

static const struct field certificate_fields[] = {
	ENTITY_COMMON,
	CONF_NODE(struct certificate_reading, cert, .required = true,
	    .type = "string"),
	CONF_NODE(struct certificate_reading, cert_alt, .type = "string"),
	CONF_LATER("key_alt", "one key a certificate"),
	CONF_SKIP("tags"),
	CONF_SKIP("key"),
	CONF_SKIP("snis"),
	CONF_END,
};

static const struct field ca_certificate_fields[] = {
	ENTITY_COMMON,
	CONF_NODE(struct certificate_reading, cert, .required = true,
	    .type = "string"),
	CONF_SKIP("cert_digest"),
	CONF_SKIP("tags"),
	CONF_END,
};

static const struct field sni_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct sni_reading, name, .required = true),
	CONF_SKIP("certificate"),
	CONF_SKIP("tags"),
	CONF_END,
};

const struct schema certificate_schema = { certificate_fields, NULL };
const struct schema ca_certificate_schema = { ca_certificate_fields, NULL };
const struct schema sni_schema = { sni_fields, NULL };

struct vault_reading {
	const char *name, *prefix, *description;
	const struct kb_yaml *config;
};

static const struct field vault_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct vault_reading, name, .required = true),
	CONF_STR(struct vault_reading, prefix, .required = true),
	CONF_STR(struct vault_reading, description),
	CONF_NODE(struct vault_reading, config),
	CONF_SKIP("tags"),
	CONF_END,
};

struct vault_config {
	const char *prefix;
};

static const struct field vault_config_fields[] = {
	CONF_STR(struct vault_config, prefix),
	CONF_NOTE("base64_decode", "values are taken as they are"),
	CONF_SKIP("ttl"),
	CONF_SKIP("neg_ttl"),
	CONF_SKIP("resurrect_ttl"),
	CONF_END,
};

/* Their values were put in with the other variables. */
static void *
read_vault(struct loading *l, struct entity *e)
{
	struct vault_reading r = { 0 };
	struct vault_config c = { 0 };

	fields_read(l->p, e->y, vault_fields, &r, "vault");
	if (r.name != NULL && !kb_str_eq(r.name, "env"))
		problem(l->p, e->line,
		    "vault: \"%s\" is not supported, there is: env", r.name);
	else
		fields_read(
		    l->p, r.config, vault_config_fields, &c, "vault: config");
	return NULL;
}

const struct schema vault_schema = { vault_fields, NULL };

/* ---- certificates -------------------------------------------------------- */

/* PEM has lines, which other texts may not have. */
static const char *
pem_of(struct loading *l, const struct kb_yaml *y, const char *what)
{
	if (y != NULL && y->kind == KB_YAML_SCALAR &&
	    strstr(y->text, "-----BEGIN CERTIFICATE-----") != NULL)
		return y->text;
	if (y != NULL)
		problem(l->p, y->line, "%s: cert must be PEM text", what);
	return NULL;
}

static void *
read_certificate(struct loading *l, struct entity *e)
{
	struct certificate *c = kb_new(l->a, struct certificate);
	struct certificate_reading r = { 0 };

	fields_read(l->p, e->y, certificate_fields, &r, "certificate");
	if (r.cert_alt && !kb_yaml_is_null(r.cert_alt))
		problem(l->p, r.cert_alt->key_line,
		    "certificate: cert_alt is not implemented: one key a "
		    "certificate");
	c->id = e->id;
	c->line = e->line;
	c->cert = pem_of(l, r.cert, "certificate");
	c->key = e->secret;
	if (c->key == NULL)
		problem(l->p, e->line, "certificate: key is required");
	return c;
}

static void *
read_ca_certificate(struct loading *l, struct entity *e)
{
	struct certificate *c = kb_new(l->a, struct certificate);
	struct certificate_reading r = { 0 };

	fields_read(l->p, e->y, ca_certificate_fields, &r, "ca_certificate");
	c->id = e->id;
	c->line = e->line;
	c->cert = pem_of(l, r.cert, "ca_certificate");
	return c;
}

static void *
read_sni(struct loading *l, struct entity *e)
{
	struct entity *owner = document_foreign(l->d, e, "certificate");
	struct certificate *c = owner ? owner->made : NULL;
	struct sni_reading r = { 0 };
	const char **v;

	fields_read(l->p, e->y, sni_fields, &r, "sni");
	if (c == NULL || r.name == NULL)
		return NULL;
	if (!config_host_is_fine(r.name))
		problem(l->p, e->line,
		    "sni \"%s\" must be a lower-case name, *.name or name.*",
		    r.name);
	v = kb_new_array(l->a, c->snis.n + 1, const char *);
	if (c->snis.n)
		memcpy(v, c->snis.v, c->snis.n * sizeof(*v));
	v[c->snis.n] = r.name;
	c->snis.v = v;
	c->snis.n++;
	return NULL;
}

/* ---- entities ------------------------------------------------------------ */

/* What a reference leads to, NULL for none. */
static void *
made(const struct loading *l, const struct entity *e, const char *member)
{
	const struct entity *to = document_foreign(l->d, e, member);

	return to ? to->made : NULL;
}

static void *
read_use(struct loading *l, struct entity *e)
{
	struct plugin_use *use = kb_new(l->a, struct plugin_use);

	*use = use_defaults;
	fields_read(l->p, e->y, use_fields, use, "plugin");
	use->line = e->line;
	use->service = made(l, e, "service");
	use->route = made(l, e, "route");
	use->consumer = made(l, e, "consumer");
	use->consumer_group = made(l, e, "consumer_group");
	use->scope = plugin_scope_text(l->d, e);
	return use->name != NULL && use->enabled ? use : NULL;
}

static void *
read_route(struct loading *l, struct entity *e)
{
	struct route_reading r = route_defaults;
	struct route *route = kb_new(l->a, struct route);

	fields_read(l->p, e->y, route_fields, &r, "route");
	*route = r.route;
	route->line = e->line;
	route->id = e->id;
	route->redirect_status = r.https_redirect_status_code;
	route->service = made(l, e, "service");
	if (route->name == NULL)
		route->name = kb_sprintf(l->a, "%s-route-%zu",
		    route->service ? route->service->name : "no-service",
		    l->s->n_routes + 1);
	route_compile(l->p, r.headers, route);
	return route;
}

/* protocol://host[:port][/path] over what was given one by one. */
static void
apply_url(struct loading *l, struct service *s)
{
	struct kb_slice rest, authority;
	const char *colon, *slash;
	uint64_t port;

	bool secure = kb_str_starts(s->url, "https://");

	if (!secure && !kb_str_starts(s->url, "http://")) {
		problem(l->p, s->line,
		    "service: url must be http://host[:port][/path] or "
		    "https://…");
		return;
	}
	s->protocol = secure ? SERVICE_HTTPS : SERVICE_HTTP;
	rest = kb_slice_of(s->url + (secure ? 8 : 7));
	slash = memchr(rest.ptr, '/', rest.len);
	authority = rest;
	if (slash != NULL)
		authority.len = (size_t)(slash - rest.ptr);
	if (!kb_http_host_ok(authority)) {
		problem(l->p, s->line, "service: url has no valid host");
		return;
	}
	colon = memchr(authority.ptr, ':', authority.len);
	s->port = secure ? 443 : 80;
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
	if (s->port == 0)
		s->port = s->protocol >= SERVICE_HTTPS ? 443 : 80;
	if (s->protocol > SERVICE_WSS)
		problem(l->p, s->line,
		    "service %s: protocol %s is not implemented: services are "
		    "reached by http, https, ws or wss",
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
read_ca_list(struct loading *l, const struct entity *e, struct service *s)
{
	const struct kb_yaml *list = kb_yaml_get(e->y, "ca_certificates");
	const struct certificate **v;

	if (list == NULL || list->n == 0)
		return;
	v = kb_new_array(l->a, list->n, const struct certificate *);
	for (const struct kb_yaml *y = list->first; y != NULL; y = y->next) {
		const struct entity *ca = document_find(
		    l->d, KIND_CA_CERTIFICATE, y->text);

		if (ca != NULL)
			v[s->n_ca_certificates++] = ca->made;
	}
	s->ca_certificates = v;
}

static void *
read_service(struct loading *l, struct entity *e)
{
	struct service *s = kb_new(l->a, struct service);

	*s = service_defaults;
	s->line = e->line;
	fields_read(l->p, e->y, service_fields, s, "service");
	s->id = e->id;
	s->client_certificate = made(l, e, "client_certificate");
	read_ca_list(l, e, s);
	if (s->name == NULL)
		return NULL;
	check_service(l, s);
	return s;
}

static void *
read_upstream(struct loading *l, struct entity *e)
{
	struct upstream *u = upstream_read(l->p, e);

	if (u != NULL)
		u->client_certificate = made(l, e, "client_certificate");
	return u;
}

static void *
read_target(struct loading *l, struct entity *e)
{
	struct upstream *u = made(l, e, "upstream");

	if (u != NULL)
		upstream_read_target(l->p, e, u);
	return NULL;
}

static void *
read_group(struct loading *l, struct entity *e)
{
	return consumer_group_read(l->p, e);
}

static void *
read_consumer(struct loading *l, struct entity *e)
{
	return consumer_read(l->p, l->d, e);
}

/* ---- document ------------------------------------------------------------ */

static void
read_kind(struct loading *l, enum kind kind,
    void *(*read)(struct loading *l, struct entity *e), void ***v, size_t *n)
{
	const struct entities *of = &l->d->of[kind];
	size_t none = 0;

	if (v != NULL)
		*v = kb_new_array(l->a, of->n + 1, void *);
	else
		n = &none;
	for (size_t i = 0; i < of->n; i++) {
		l->p->entity = of->v[i];
		of->v[i]->made = read(l, of->v[i]);
		if (v != NULL && of->v[i]->made != NULL)
			(*v)[(*n)++] = of->v[i]->made;
	}
	l->p->entity = NULL;
}

/* Of all that it holds: what was put into the file counts, where it came
 * from does not. */
static void
hash_document(struct snapshot *s, const struct document *d)
{
	unsigned char digest[KB_SHA256_SIZE] = { 0 };

	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < d->of[k].n; i++) {
			const struct entity *e = d->of[k].v[i];
			struct kb_arena *a = kb_arena_new(0);
			char *text = kb_yaml_to_json(a, e->y);
			struct kb_slice parts[] = { kb_slice_of(text),
				kb_slice_of(e->secret ? e->secret : "") };

			kb_hmac_sha256_parts(
			    digest, sizeof(digest), parts, 2, digest);
			kb_arena_free(a);
		}
	kb_hex(digest, 16, s->hash);
}

/* Kong's way to name an issuer: the key of a consumer's jwt_secret that has no
 * usable key of its own. Where neither plugin nor options name one, and there
 * is one only, that is it. */
static void
default_issuer(struct problems *p, const struct snapshot *s)
{
	const char *key = NULL;
	bool several = false;

	for (size_t i = 0; i < s->n_jwt_secrets; i++) {
		const char *at = s->jwt_secrets[i].key;

		if (s->jwt_secrets[i].verify != NULL) {
			p->defaults.consumer_tokens = true;
			continue;
		}
		if (!kb_str_starts(at, "https://") &&
		    !kb_str_starts(at, "http://"))
			continue;
		several |= key != NULL && !kb_str_eq(key, at);
		key = at;
	}
	if (p->defaults.issuer == NULL && !several)
		p->defaults.issuer = key;
}

struct snapshot *
document_link(struct problems *p, struct document *d)
{
	struct snapshot *s = kb_new(d->arena, struct snapshot);
	struct loading l = { .p = p, .a = d->arena, .d = d, .s = s };

	s->arena = d->arena;
	s->document = d;
	atomic_init(&s->refs, 1);
	/* clang-format off */
	read_kind(&l, KIND_CA_CERTIFICATE, read_ca_certificate, (void ***)&s->ca_certificates, &s->n_ca_certificates);
	read_kind(&l, KIND_CERTIFICATE, read_certificate, (void ***)&s->certificates, &s->n_certificates);
	read_kind(&l, KIND_SNI, read_sni, NULL, NULL);
	read_kind(&l, KIND_SERVICE, read_service, (void ***)&s->services, &s->n_services);
	read_kind(&l, KIND_ROUTE, read_route, (void ***)&s->routes, &s->n_routes);
	read_kind(&l, KIND_UPSTREAM, read_upstream, (void ***)&s->upstreams, &s->n_upstreams);
	read_kind(&l, KIND_TARGET, read_target, NULL, NULL);
	read_kind(&l, KIND_CONSUMER_GROUP, read_group, (void ***)&s->groups, &s->n_groups);
	read_kind(&l, KIND_CONSUMER, read_consumer, (void ***)&s->consumers, &s->n_consumers);
	read_kind(&l, KIND_PLUGIN, read_use, (void ***)&s->uses, &s->n_uses);
	read_kind(&l, KIND_VAULT, read_vault, NULL, NULL);
	/* clang-format on */
	credentials_link(p, s);
	default_issuer(p, s);
	consumers_finish(p, s);
	config_link(p, s);
	hash_document(s, d);
	return s;
}

/* ---- file ---------------------------------------------------------------- */

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
	const struct kb_yaml_limits limits = {
		.text = FILE_MAX,
		.nodes = NODES_MAX,
	};

	char *copy = memmem(text, len, "${{", 3) ? kb_strndup(a, text, len)
						 : NULL;

	if (copy != NULL) {
		deck_mark(copy);
		sub->deck = true;
		text = copy;
	}
	if (kb_yaml_parse_within(a, (struct kb_slice) { text, len }, &limits,
		&tree, &why) != KB_OK)
		yaml_problem(p, why);
	else if (tree == NULL || tree->kind != KB_YAML_MAPPING)
		problem(p, 0, "the file must be a mapping");
	else {
		substitute(p, tree, sub);
		s = document_link(p, document_read(p, tree));
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
	/* Keys and passwords are in it. */
	if (text.len)
		kb_wipe(text.ptr, text.len);
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
