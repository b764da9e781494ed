/*
 * cors: which web origins may read answers (Fetch standard). Origins are
 * compared byte by byte, or by a pattern whose first label is a star: exactly
 * one label; an Origin is never reflected otherwise. Preflights are
 * answered here, before anybody is asked for a token, when the requested
 * method has a route.
 */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "gateway.h"

struct cors {
	struct strs origins, methods, headers, exposed_headers;
	int64_t max_age;
	bool credentials, preflight_continue, private_network,
	    allow_origin_absent;
	/* made by load: lines that never change */
	const char *granted, *preflight;
	size_t granted_len, preflight_len;
	const struct kb_regex **regexes; /* of each origin, or NULL */
	bool any;                        /* origins: ["*"] */
};

static const struct cors defaults = { .allow_origin_absent = true };

static const struct field fields[] = {
	CONF_STRS(struct cors, origins, .empty = true),
	CONF_STRS(struct cors, methods),
	CONF_STRS(struct cors, headers),
	CONF_STRS(struct cors, exposed_headers),
	CONF_INT(struct cors, max_age, .min = 0, .max = 86400 * 7),
	CONF_BOOL(struct cors, credentials),
	CONF_BOOL(struct cors, preflight_continue),
	CONF_BOOL(struct cors, allow_origin_absent),
	CONF_BOOL(struct cors, private_network),
	CONF_END,
};

/* ---- loading ------------------------------------------------------------- */

static void
join(struct kb_buf *out, const char *name, const struct strs *list)
{
	if (list->n == 0)
		return;
	kb_buf_addf(out, "%s: ", name);
	for (size_t i = 0; i < list->n; i++)
		kb_buf_addf(out, "%s%s", i ? "," : "", list->v[i]);
	kb_buf_adds(out, "\r\n");
}

/* scheme://host[:port], the first label perhaps a star. */
static bool
origin_is_fine(const char *origin)
{
	const char *host = strstr(origin, "://");

	if (kb_str_eq(origin, "*"))
		return true;
	if (host == NULL || host == origin || strpbrk(host + 3, "/@?# ,"))
		return false;
	host += 3;
	if (kb_str_starts(host, "*."))
		host += 2;
	return host[0] && strchr(host, '*') == NULL &&
	    kb_http_host_ok(kb_slice_of(host));
}

/* Identity is the gateway's to write: browsers may select a tenant only. */
static void
drop_owned(struct problems *p, const struct plugin_use *use, struct strs *list)
{
	const char **v = kb_new_array(
	    problems_arena(p), list->n + 1, const char *);
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		const char *name = list->v[i];

		if (kb_header_is_owned(name, strlen(name)) &&
		    strcasecmp(name, "X-Tenant-ID") != 0)
			notice(p, use->line,
			    "plugin cors: header %s belongs to the gateway and "
			    "is not granted",
			    name);
		else
			v[n++] = name;
	}
	*list = (struct strs) { .v = v, .n = n };
}

/* What is neither an origin nor one with a star is an expression for the
 * whole of one; that it is one must show, so that no slip becomes one. */
static void
compile_origin(
    struct problems *p, const struct plugin_use *use, struct cors *c, size_t i)
{
	const char *entry = c->origins.v[i], *why = NULL;

	if (origin_is_fine(entry))
		return;
	if (strpbrk(entry, "\\([|+^$") == NULL)
		why = "must be scheme://host[:port], scheme://*.domain or a "
		      "regular expression";
	else
		c->regexes[i] = kb_regex_new(
		    problems_arena(p), entry, KB_REGEX_WHOLE, &why);
	if (c->credentials && c->regexes[i] &&
	    kb_regex_match(c->regexes[i],
		kb_slice_of(
		    strchr(entry, ':') ? "https://any.invalid" : "any.invalid"),
		NULL))
		why = "matches any origin, and credentials need origins by "
		      "name";
	if (why != NULL)
		problem(
		    p, use->line, "plugin cors: origin \"%s\": %s", entry, why);
}

static void
check_lists(struct problems *p, const struct plugin_use *use, struct cors *c)
{
	c->regexes = kb_new_array(
	    problems_arena(p), c->origins.n + 1, const struct kb_regex *);
	for (size_t i = 0; i < c->origins.n; i++) {
		compile_origin(p, use, c, i);
		c->any |= kb_str_eq(c->origins.v[i], "*");
	}
	if (c->origins.n == 0)
		c->any = true;
	if (c->any && c->credentials)
		problem(p, use->line,
		    "plugin cors: credentials need origins by name, not \"*\"");
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct cors *c = conf;
	struct kb_arena *a = problems_arena(p);
	struct kb_buf b;

	check_lists(p, use, c);
	drop_owned(p, use, &c->headers);
	kb_buf_init(&b, 65536);
	if (c->credentials)
		kb_buf_adds(&b, "Access-Control-Allow-Credentials: true\r\n");
	join(&b, "Access-Control-Expose-Headers", &c->exposed_headers);
	c->granted = kb_strdup(a, kb_buf_str(&b));
	c->granted_len = b.len;
	kb_buf_reset(&b);
	if (c->credentials)
		kb_buf_adds(&b, "Access-Control-Allow-Credentials: true\r\n");
	if (c->methods.n)
		join(&b, "Access-Control-Allow-Methods", &c->methods);
	else
		kb_buf_adds(&b,
		    "Access-Control-Allow-Methods: "
		    "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS\r\n");
	join(&b, "Access-Control-Allow-Headers", &c->headers);
	if (c->max_age > 0)
		kb_buf_addf(&b, "Access-Control-Max-Age: %lld\r\n",
		    (long long)c->max_age);
	c->preflight = kb_strdup(a, kb_buf_str(&b));
	c->preflight_len = b.len;
	kb_buf_free(&b);
}

static void
route(const struct plugin_use *use, struct route *r)
{
	const struct cors *c = use->conf;

	r->cors = true;
	r->asks_preflights = c->preflight_continue;
}

/* ---- running ------------------------------------------------------------- */

static bool
label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* The star takes exactly one label. */
static bool
pattern_matches(const char *pattern, const char *star, struct kb_slice origin)
{
	size_t head = (size_t)(star - pattern), tail = strlen(star + 1);
	size_t label;

	if (origin.len <= head + tail ||
	    memcmp(origin.ptr, pattern, head) != 0 ||
	    memcmp(origin.ptr + origin.len - tail, star + 1, tail) != 0)
		return false;
	label = origin.len - head - tail;
	for (size_t i = 0; i < label; i++)
		if (!label_char(origin.ptr[head + i]))
			return false;
	return true;
}

/* What an expression without ':' is about, as in Kong. */
static struct kb_slice
host_of(struct kb_slice origin)
{
	struct kb_slice host = origin;
	const char *mark = memmem(origin.ptr, origin.len, "://", 3);

	if (mark == NULL)
		return (struct kb_slice) { origin.ptr, 0 };
	host.ptr = mark + 3;
	host.len = origin.len - (size_t)(host.ptr - origin.ptr);
	mark = memchr(host.ptr, ':', host.len);
	if (mark != NULL)
		host.len = (size_t)(mark - host.ptr);
	return host;
}

static bool
is_allowed(const struct cors *c, struct kb_slice origin)
{
	for (size_t i = 0; i < c->origins.n; i++) {
		const char *entry = c->origins.v[i];
		const char *star = strchr(entry, '*');

		if (c->regexes[i] != NULL) {
			if (kb_regex_match(c->regexes[i],
				strchr(entry, ':') ? origin : host_of(origin),
				NULL))
				return true;
		} else if (star
			? star[1] && pattern_matches(entry, star, origin)
			: kb_slice_eq(origin, entry))
			return true;
	}
	return false;
}

static void
allow_origin(struct exchange *x, struct kb_slice origin)
{
	static const char name[] = "Access-Control-Allow-Origin: ";

	exchange_add_response_lines(x, name, sizeof(name) - 1);
	exchange_add_response_lines(x, origin.ptr, origin.len);
	exchange_add_response_lines(x, "\r\n", 2);
}

/* Grants what was asked for, without the gateway's own names. */
static void
echo_headers(struct exchange *x)
{
	struct kb_slice rest = exchange_header(
	    x, "Access-Control-Request-Headers");
	struct kb_slice name;
	struct kb_buf out;

	if (rest.ptr == NULL)
		return;
	kb_buf_init(&out, 8192);
	while (kb_slice_next(&rest, ',', &name)) {
		name = kb_slice_trim(name);
		if (name.len == 0 ||
		    (kb_header_is_owned(name.ptr, name.len) &&
			!kb_slice_eqi(name, "X-Tenant-ID")))
			continue;
		if (out.len)
			kb_buf_addc(&out, ',');
		kb_buf_add(&out, name.ptr, name.len);
	}
	if (out.len)
		exchange_add_response(
		    x, "Access-Control-Allow-Headers", kb_buf_str(&out));
	kb_buf_free(&out);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct cors *c = use->conf;

	if (!exchange_is_preflight(x) || c->preflight_continue)
		return NEXT;
	exchange_answer(x, 204, NULL, NULL, 0);
	return NEXT;
}

static void
grant_preflight(struct exchange *x, const struct cors *c)
{
	static const char private
	    [] = "Access-Control-Allow-Private-Network: true\r\n";

	exchange_add_response_lines(x, c->preflight, c->preflight_len);
	if (c->headers.n == 0)
		echo_headers(x);
	if (c->private_network &&
	    kb_slice_eq(
		exchange_header(x, "Access-Control-Request-Private-Network"),
		"true"))
		exchange_add_response_lines(x, private, sizeof(private) - 1);
}

static void
response(struct exchange *x, const struct plugin_use *use)
{
	static const char vary[] = "Vary: Origin\r\n";
	static const char any[] = "Access-Control-Allow-Origin: *\r\n";
	const struct cors *c = use->conf;
	struct kb_slice origin = exchange_header(x, "Origin");

	if (exchange_is_preflight(x) && c->preflight_continue)
		return;
	if (!c->any)
		exchange_add_response_lines(x, vary, sizeof(vary) - 1);
	if (origin.ptr == NULL && (!c->any || !c->allow_origin_absent))
		return;
	if (!c->any && !is_allowed(c, origin))
		return;
	if (c->any)
		exchange_add_response_lines(x, any, sizeof(any) - 1);
	else
		allow_origin(x, origin);
	if (exchange_is_preflight(x))
		grant_preflight(x, c);
	else
		exchange_add_response_lines(x, c->granted, c->granted_len);
}

const struct plugin plugin_cors = {
	.name = "cors",
	.priority = 2000,
	.fields = fields,
	.conf_size = sizeof(struct cors),
	.defaults = &defaults,
	.load = load,
	.route = route,
	.access = access,
	.response = response,
	.help = "which web origins may read answers; answers preflights",
};
