/*
 * What a configuration says that has no effect, or another one than it seems:
 * for `gateway check`. All of it is advice; nothing here fails a file.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

/* Zitadel's own default for access tokens. */
enum { ISSUER_LIFE_S = 12 * 3600 };

/* ---- routes that are never reached --------------------------------------- */

static const enum kb_method methods[] = { KB_M_GET, KB_M_HEAD, KB_M_POST,
	KB_M_PUT, KB_M_PATCH, KB_M_DELETE, KB_M_OPTIONS };

/* A host that the pattern takes and no plain name is likely to be. */
static struct kb_slice
host_for(struct kb_arena *a, const char *pattern)
{
	if (pattern[0] == '*')
		return kb_slice_of(kb_sprintf(a, "x-check%s", pattern + 1));
	if (kb_str_ends(pattern, ".*"))
		return kb_slice_of(kb_sprintf(
		    a, "%.*sx-check", (int)strlen(pattern) - 1, pattern));
	return kb_slice_of(pattern);
}

struct looking {
	const struct snapshot *s;
	struct kb_arena *a;
	const struct route *r, *other; /* who took it instead */
};

/* True when some method and scheme of the route leads to it. */
static bool
reached_at(struct looking *l, const char *path, struct kb_slice host)
{
	size_t n = strlen(path);
	/* A prefix with a slash at its end needs one there. */
	const char *asked = n && path[n - 1] == '/'
	    ? path
	    : kb_sprintf(l->a, "%s/x-check", path);

	for (size_t i = 0; i < KB_COUNT(methods) * 2; i++) {
		struct router_query q = {
			.path = kb_slice_of(i % 2 ? asked
				: *path           ? path
						  : "/"),
			.host = host,
			.method = methods[i / 2],
			.proto = l->r->proto & PROTO_HTTP ? PROTO_HTTP
							  : PROTO_HTTPS,
		};
		struct router_match m;

		if (l->r->method_mask &&
		    !(l->r->method_mask & (1U << q.method)))
			continue;
		router_find(l->s->router, &q, &m);
		if (m.route == l->r)
			return true;
		if (m.route != NULL)
			l->other = m.route;
	}
	return false;
}

static bool
path_is_reached(struct looking *l, const char *path)
{
	const struct route *r = l->r;

	if (r->hosts.n == 0)
		return reached_at(l, path, kb_slice_of("x-check.invalid"));
	for (size_t i = 0; i < r->hosts.n; i++)
		if (reached_at(l, path, host_for(l->a, r->hosts.v[i])))
			return true;
	return false;
}

static void
explain_shadow(struct problems *p, const struct snapshot *s, struct route *r)
{
	struct looking l = { .s = s, .a = kb_arena_new(0), .r = r };

	/* What asks for headers or names of TLS comes before what does not. */
	for (size_t i = 0; r->headers.n + r->snis.n == 0 && i < r->paths.n;
	     i++) {
		const char *path = r->paths.v[i];

		if (r->regexes[i] != NULL || path_is_denied(kb_slice_of(path)))
			continue;
		l.other = NULL;
		if (!path_is_reached(&l, path) && l.other != NULL)
			notice(p, r->line,
			    "route %s: \"%s\" is never reached: route %s "
			    "(line %u) takes all of it",
			    r->name, path, l.other->name, l.other->line);
	}
	kb_arena_free(l.a);
}

/* ---- browsers ------------------------------------------------------------ */

/* A page of another origin asks with OPTIONS first, which then is nobody's. */
static void
explain_preflight(struct problems *p, const struct route *r)
{
	if (r->cors || r->method_mask == 0 ||
	    (r->method_mask & (1U << KB_M_OPTIONS)))
		return;
	notice(p, r->line,
	    "route %s: no page of another origin can call it: its methods "
	    "lack OPTIONS and there is no cors plugin to answer preflights",
	    r->name);
}

static const char *
text_of(const struct kb_yaml *y)
{
	return y && y->kind == KB_YAML_SCALAR ? y->text : "";
}

static void
explain_cors(struct problems *p, const struct plugin_use *use)
{
	const struct kb_yaml *origins = kb_yaml_get(use->config, "origins");
	bool credentials = kb_str_eq(
	    text_of(kb_yaml_get(use->config, "credentials")), "true");

	for (const struct kb_yaml *y = origins ? origins->first : NULL; y;
	     y = y->next) {
		if (strchr(text_of(y), '*') == NULL)
			continue;
		if (credentials)
			notice(p, y->line,
			    "plugin cors: any page at \"%s\" may act with the "
			    "credentials of who visits it",
			    y->text);
		else if (kb_str_eq(y->text, "*"))
			notice(p, y->line,
			    "plugin cors: every page of the web may read what "
			    "is answered without credentials");
	}
}

/* ---- tokens -------------------------------------------------------------- */

static void
explain_jwt(struct problems *p, const struct plugin_use *use)
{
	const struct kb_yaml *y = kb_yaml_get(
	    use->config, "maximum_expiration");
	int64_t most = 0;

	if (y == NULL || !kb_yaml_int(y, &most) || most <= 0 ||
	    most >= ISSUER_LIFE_S)
		return;
	notice(p, y->line,
	    "plugin jwt: maximum_expiration: tokens that are valid for more "
	    "than %lld s are refused; Zitadel's default is %d s, set its "
	    "AccessTokenLifetime to %lld s at most",
	    (long long)most, ISSUER_LIFE_S, (long long)most);
}

/* ---- all ----------------------------------------------------------------- */

static void
explain_use(struct problems *p, const struct plugin_use *use)
{
	if (use->plugin == NULL || use->config == NULL ||
	    use->config->kind != KB_YAML_MAPPING)
		return;
	if (kb_str_eq(use->name, "cors"))
		explain_cors(p, use);
	else if (kb_str_eq(use->name, "jwt"))
		explain_jwt(p, use);
}

void
config_explain(struct problems *p, const struct snapshot *s)
{
	if (problems_any(p))
		return;
	for (size_t i = 0; i < s->n_routes; i++) {
		explain_shadow(p, s, s->routes[i]);
		explain_preflight(p, s->routes[i]);
	}
	for (size_t i = 0; i < s->n_uses; i++)
		explain_use(p, s->uses[i]);
	for (size_t i = 0; i < s->n_services; i++)
		if (!s->services[i]->enabled)
			notice(p, s->services[i]->line,
			    "service %s: is not enabled: its routes do not "
			    "exist",
			    s->services[i]->name);
}
