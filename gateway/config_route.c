/*
 * Routes of the file: what they ask of a request, checked and compiled.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

/* ---- expressions and headers --------------------------------------------- */

static const struct kb_regex *
compile(struct problems *p, const struct route *r, const char *pattern,
    unsigned flags)
{
	const char *why = NULL;
	const struct kb_regex *re = kb_regex_new(
	    problems_arena(p), pattern, flags, &why);

	if (re == NULL)
		problem(p, r->line,
		    "route %s: \"%s\" is not a regular expression: %s", r->name,
		    pattern, why);
	return re;
}

static void
compile_paths(struct problems *p, struct route *r)
{
	const struct kb_regex **v = kb_new_array(
	    problems_arena(p), r->paths.n + 1, const struct kb_regex *);

	for (size_t i = 0; i < r->paths.n; i++)
		if (r->paths.v[i][0] == '~')
			v[i] = compile(
			    p, r, r->paths.v[i] + 1, KB_REGEX_AT_START);
	r->regexes = v;
}

/* [value, …] or one value; "~*" begins an expression. */
static void
read_rule(struct problems *p, const struct route *r, const struct kb_yaml *y,
    struct header_rule *out)
{
	struct kb_arena *a = problems_arena(p);
	bool many = y->kind == KB_YAML_SEQUENCE;
	size_t n = 0, max = many ? y->n : 1;
	const char **v = kb_new_array(a, max + 1, const char *);
	const struct kb_regex **regexes = kb_new_array(
	    a, max + 1, const struct kb_regex *);

	for (const struct kb_yaml *at = many ? y->first : y; at && n < max;
	     at = many ? at->next : NULL) {
		if (at->kind != KB_YAML_SCALAR || !at->text[0]) {
			problem(p, at->line,
			    "route %s: headers: a value of %s must be text",
			    r->name, y->key);
			continue;
		}
		v[n] = at->text;
		if (kb_str_starts(at->text, "~*"))
			regexes[n] = compile(
			    p, r, at->text + 2, KB_REGEX_ICASE);
		n++;
	}
	*out = (struct header_rule) {
		.name = y->key,
		.values = { v, n },
		.regexes = regexes,
	};
}

static bool
name_is_token(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			(*c >= '0' && *c <= '9') || strchr("-_", *c)))
			return false;
	return name[0] != '\0';
}

static void
read_rules(struct problems *p, const struct kb_yaml *y, struct route *r)
{
	struct header_rule *v;

	if (y == NULL || kb_yaml_is_null(y))
		return;
	if (y->kind != KB_YAML_MAPPING) {
		problem(p, y->line, "route: headers must be a mapping");
		return;
	}
	v = kb_new_array(problems_arena(p), y->n + 1, struct header_rule);
	for (const struct kb_yaml *h = y->first; h != NULL; h = h->next) {
		if (kb_slice_eqi(kb_slice_of(h->key), "host") ||
		    !name_is_token(h->key))
			problem(p, h->key_line,
			    "route %s: headers: \"%s\" cannot be asked for%s",
			    r->name, h->key,
			    name_is_token(h->key) ? ", use hosts" : "");
		else
			read_rule(p, r, h, &v[r->headers.n++]);
	}
	r->headers.v = v;
}

void
route_compile(
    struct problems *p, const struct kb_yaml *headers, struct route *r)
{
	static const int64_t redirects[] = { 426, 301, 302, 307, 308 };
	bool fine = false;

	compile_paths(p, r);
	read_rules(p, headers, r);
	for (size_t i = 0; i < KB_COUNT(redirects); i++)
		fine |= redirects[i] == r->redirect_status;
	if (!fine)
		problem(p, r->line,
		    "route %s: https_redirect_status_code is not one of: 426, "
		    "301, 302, 307, 308",
		    r->name);
}

/* ---- protocols, methods, places ------------------------------------------ */

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
link_protocols(struct problems *p, struct route *r)
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
			problem(p, r->line,
			    "route %s: protocol \"%s\" is not one of: http, "
			    "https, ws, wss",
			    r->name, r->protocols.v[i]);
		r->proto |= bits;
	}
	r->websocket = (r->proto & PROTO_WS) != 0;
	for (size_t i = 0; i < r->tags.n; i++)
		r->websocket |= kb_str_eq(r->tags.v[i], "websocket");
	if (r->service != NULL &&
	    (r->service->protocol == SERVICE_WS ||
		r->service->protocol == SERVICE_WSS))
		r->websocket = true;
	r->proto &= PROTO_HTTP | PROTO_HTTPS;
}

static void
link_methods(struct problems *p, struct route *r)
{
	for (size_t i = 0; i < r->methods.n; i++) {
		const char *name = r->methods.v[i];
		enum kb_method m = kb_method_of(name, strlen(name));

		if (m == KB_M_NONE || m == KB_M_OTHER || m == KB_M_TRACE ||
		    m == KB_M_CONNECT)
			problem(p, r->line,
			    "route %s: method \"%s\" is not one of: GET, HEAD, "
			    "POST, PUT, PATCH, DELETE, OPTIONS",
			    r->name, name);
		else
			r->method_mask |= 1U << m;
	}
}

bool
config_host_is_fine(const char *host)
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
check_places(struct problems *p, struct route *r)
{
	for (size_t i = 0; i < r->hosts.n; i++)
		if (!config_host_is_fine(r->hosts.v[i]))
			problem(p, r->line,
			    "route %s: host \"%s\" must be a lower-case name, "
			    "*.name or name.*, without a port",
			    r->name, r->hosts.v[i]);
	for (size_t i = 0; i < r->paths.n; i++) {
		const char *path = r->paths.v[i];
		const char *wrong;

		if (path[0] == '~')
			continue;
		wrong = router_path_problem(problems_arena(p), path);
		if (wrong[0])
			problem(p, r->line, "route %s: path \"%s\" %s", r->name,
			    path, wrong);
		else if (path_is_denied(kb_slice_of(path)))
			notice(p, r->line,
			    "route %s: \"%s\" is never reachable from outside",
			    r->name, path);
	}
	for (size_t i = 0; i < r->snis.n; i++)
		if (!config_host_is_fine(r->snis.v[i]))
			problem(p, r->line,
			    "route %s: sni \"%s\" must be a lower-case name, "
			    "*.name or name.*",
			    r->name, r->snis.v[i]);
	if (r->paths.n + r->hosts.n + r->methods.n + r->headers.n + r->snis.n ==
	    0)
		problem(p, r->line,
		    "route %s: paths, hosts, methods, headers or snis are "
		    "required",
		    r->name);
}

void
route_link(struct problems *p, struct route *r)
{
	link_protocols(p, r);
	link_methods(p, r);
	check_places(p, r);
	r->body_limit = 1 << 20;
}
