/*
 * Which route takes a request: a tree of path segments, so that the longest
 * prefix of whole segments is found in one walk, whatever the number of
 * routes. A regular expression stands at the place to which its literal
 * beginning leads, before the prefixes that end there. Routes at one place
 * are ordered: exact hosts (sorted, found by bisection), hosts with a
 * wildcard, any host; there expressions before prefixes, who asks for more
 * (headers, names of TLS, methods) before who asks for less, then
 * regex_priority, length and the order of the file.
 *
 * Kong's own way is in router_kong.c.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "inside.h"
#include "router_inside.h"

struct node {
	struct kb_slice segment;
	const struct node *parent;
	size_t prefix;         /* bytes of the path down to here */
	struct node *children; /* sorted by segment */
	size_t n_children;
	const struct entry *entries;
	size_t n_entries, n_exact;
};

struct router {
	struct node root;
	const struct kong_table *kong; /* NULL: by segments */
};

/* ---- building ------------------------------------------------------------ */

/* '/' sorts before all others, so that equal segments stand together. */
static int
path_compare(struct kb_slice a, struct kb_slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < n; i++) {
		int x = a.ptr[i] == '/' ? 1 : (unsigned char)a.ptr[i];
		int y = b.ptr[i] == '/' ? 1 : (unsigned char)b.ptr[i];

		if (x != y)
			return x - y;
	}
	return a.len < b.len ? -1 : a.len > b.len;
}

/* What a route asks of a request beyond place and host. */
static unsigned
demands(const struct route *r)
{
	return (unsigned)(r->headers.n * 4) + (r->snis.n != 0) * 2U +
	    (r->method_mask != 0);
}

static int
regex_compare(const struct entry *p, const struct entry *q)
{
	size_t n = strlen(p->text), m = strlen(q->text);

	if (p->route->regex_priority != q->route->regex_priority)
		return p->route->regex_priority > q->route->regex_priority ? -1
									   : 1;
	return n > m ? -1 : n < m;
}

static int
entry_compare(const void *a, const void *b)
{
	const struct entry *p = a, *q = b;
	int d = path_compare(p->path, q->path);

	if (d == 0)
		d = (int)p->rank - (int)q->rank;
	if (d == 0 && p->rank == 0)
		d = strcmp(p->host, q->host);
	/* Longer wildcards are more specific. */
	if (d == 0 && p->rank == 1)
		d = (int)strlen(q->host) - (int)strlen(p->host);
	if (d == 0)
		d = (q->regex != NULL) - (p->regex != NULL);
	if (d == 0)
		d = (int)demands(q->route) - (int)demands(p->route);
	if (d == 0 && p->regex != NULL)
		d = regex_compare(p, q);
	if (d == 0)
		d = q->slash - p->slash;
	if (d == 0)
		d = p->route->index < q->route->index ? -1 : 1;
	return d;
}

static size_t
count_entries(struct route *const *routes, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += (routes[i]->paths.n ? routes[i]->paths.n : 1) *
		    (routes[i]->hosts.n ? routes[i]->hosts.n : 1);
	return total;
}

struct kb_slice
regex_literal(const char *pattern)
{
	size_t n;

	pattern += pattern[0] == '^';
	n = strcspn(pattern, "\\^$.|?*+()[]{}");
	/* The last character may be there no time at all. */
	if (n && pattern[n] && strchr("?*{", pattern[n]))
		n--;
	return (
	    struct kb_slice) { pattern, strchr(pattern, '|') == NULL ? n : 0 };
}

/* The whole segments of that. */
static struct kb_slice
literal_segments(const char *pattern)
{
	struct kb_slice path = regex_literal(pattern);

	while (path.len && path.ptr[path.len - 1] != '/')
		path.len--;
	if (path.len)
		path.len--;
	return path.len && path.ptr[0] == '/' ? path
					      : (struct kb_slice) { "", 0 };
}

static struct entry *
add_hosts(struct entry *at, const struct route *r, const char *path,
    const struct kb_regex *regex)
{
	struct entry e = { .path = kb_slice_of(path),
		.text = path,
		.regex = regex,
		.route = r,
		.rank = 2 };

	if (regex != NULL)
		e.path = literal_segments(path + 1);
	else if (e.path.len && e.path.ptr[e.path.len - 1] == '/') {
		e.path.len--;
		e.slash = e.path.len > 0;
	}
	if (r->hosts.n == 0)
		*at++ = e;
	for (size_t i = 0; i < r->hosts.n; i++) {
		e.host = r->hosts.v[i];
		e.rank = strchr(e.host, '*') != NULL;
		*at++ = e;
	}
	return at;
}

/* End of the segment that begins at `from`. */
static size_t
segment_end(struct kb_slice path, size_t from)
{
	const char *slash = NULL;

	if (from < path.len)
		slash = memchr(path.ptr + from, '/', path.len - from);
	return slash ? (size_t)(slash - path.ptr) : path.len;
}

static struct kb_slice
segment_at(const struct entry *e, size_t from)
{
	return (struct kb_slice) { e->path.ptr + from,
		segment_end(e->path, from) - from };
}

static bool
same(struct kb_slice a, struct kb_slice b)
{
	return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static void
build(struct kb_arena *a, struct node *node, const struct entry *v, size_t n)
{
	size_t from = node->prefix + 1, here = 0, groups = 0;

	while (here < n && v[here].path.len == node->prefix) {
		node->n_exact += v[here].rank == 0;
		here++;
	}
	node->entries = v;
	node->n_entries = here;
	for (size_t i = here; i < n; i++)
		groups += i == here ||
		    !same(segment_at(&v[i - 1], from), segment_at(&v[i], from));
	node->children = kb_new_array(a, groups + 1, struct node);
	for (size_t i = here; i < n;) {
		struct node *child = &node->children[node->n_children++];
		size_t first = i;

		child->segment = segment_at(&v[i], from);
		child->parent = node;
		child->prefix = from + child->segment.len;
		while (i < n && same(segment_at(&v[i], from), child->segment))
			i++;
		build(a, child, v + first, i - first);
	}
}

struct router *
router_new(struct kb_arena *a, struct route *const *routes, size_t n, bool kong)
{
	struct router *r = kb_new(a, struct router);
	size_t total = count_entries(routes, n);
	struct entry *v = kb_new_array(a, total + 1, struct entry), *at = v;

	if (kong) {
		r->kong = kong_table_new(a, routes, n);
		return r;
	}
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < routes[i]->paths.n; j++)
			at = add_hosts(at, routes[i], routes[i]->paths.v[j],
			    routes[i]->regexes[j]);
		if (routes[i]->paths.n == 0)
			at = add_hosts(at, routes[i], "", NULL);
	}
	if (total)
		qsort(v, total, sizeof(*v), entry_compare);
	build(a, &r->root, v, total);
	return r;
}

/* ---- what both ways ask of a route --------------------------------------- */

bool
wildcard_matches(const char *pattern, struct kb_slice host)
{
	size_t n = strlen(pattern) - 1;

	if (host.len <= n)
		return false;
	if (pattern[0] == '*')
		return memcmp(host.ptr + host.len - n, pattern + 1, n) == 0;
	return memcmp(host.ptr, pattern, n) == 0;
}

static bool
value_fits(const struct header_rule *h, struct kb_slice value)
{
	for (size_t i = 0; i < h->values.n; i++)
		if (h->regexes[i] != NULL
			? kb_regex_match(h->regexes[i], value, NULL)
			: kb_slice_eqi(value, h->values.v[i]))
			return true;
	return false;
}

static bool
header_fits(const struct header_rule *h, const struct router_query *q)
{
	for (size_t i = 0; q->head != NULL && i < q->head->n_fields; i++) {
		const struct kb_http1_field *f = &q->head->fields[i];

		if (kb_slice_eqi(kb_http1_name(f, q->bytes), h->name) &&
		    value_fits(h, kb_http1_value(f, q->bytes)))
			return true;
	}
	return false;
}

static bool
sni_fits(const struct route *r, const struct router_query *q)
{
	/* Names of TLS say nothing about a request without it. */
	if (r->snis.n == 0 || q->proto != PROTO_HTTPS)
		return true;
	for (size_t i = 0; i < r->snis.n; i++)
		if (strchr(r->snis.v[i], '*')
			? wildcard_matches(r->snis.v[i], q->sni)
			: kb_slice_eqi(q->sni, r->snis.v[i]))
			return true;
	return false;
}

static bool
route_fits(const struct route *r, const struct router_query *q)
{
	for (size_t i = 0; i < r->headers.n; i++)
		if (!header_fits(&r->headers.v[i], q))
			return false;
	return sni_fits(r, q);
}

static bool
regex_prefix(
    const struct kb_regex *regex, const struct router_query *q, size_t *prefix)
{
	struct kb_slice groups[KB_REGEX_GROUPS];

	if (!kb_regex_match(regex, q->path, groups))
		return false;
	*prefix = groups[0].ptr == q->path.ptr ? groups[0].len : 0;
	return true;
}

bool
route_takes(const struct route *r, const struct kb_regex *regex,
    const struct router_query *q, unsigned methods, size_t prefix,
    struct router_match *out)
{
	if (!route_fits(r, q) ||
	    (regex != NULL && !regex_prefix(regex, q, &prefix)))
		return false;
	if (!(methods & (1U << q->method))) {
		out->allow |= methods;
		return false;
	}
	if (!(r->proto & q->proto)) {
		if (out->https_only == NULL)
			out->https_only = r;
		return false;
	}
	out->route = r;
	out->regex = regex;
	out->prefix = prefix;
	return true;
}

static unsigned
methods_of(const struct route *r)
{
	unsigned mask = r->method_mask;

	if (mask == 0)
		return UINT32_MAX;
	/* HEAD is GET without the body (RFC 9110 9.3.2). */
	if (mask & (1U << KB_M_GET))
		mask |= 1U << KB_M_HEAD;
	return mask;
}

/* ---- finding ------------------------------------------------------------- */

static const struct node *
child_of(const struct node *node, struct kb_slice segment)
{
	size_t lo = 0, hi = node->n_children;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int d = path_compare(segment, node->children[mid].segment);

		if (d == 0)
			return &node->children[mid];
		if (d < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* The deepest place whose segments the path has. */
static const struct node *
descend(const struct router *r, struct kb_slice path)
{
	const struct node *node = &r->root, *next;

	while (node->prefix < path.len) {
		size_t from = node->prefix + 1;
		size_t end = segment_end(path, from);

		next = from > path.len
		    ? NULL
		    : child_of(node,
			  (struct kb_slice) { path.ptr + from, end - from });
		if (next == NULL)
			break;
		node = next;
	}
	return node;
}

/* True when the entry takes the request; else notes what was in the way. */
static bool
takes(const struct entry *e, const struct router_query *q,
    struct router_match *out)
{
	if (e->slash && q->path.len <= e->path.len)
		return false;
	return route_takes(
	    e->route, e->regex, q, methods_of(e->route), e->path.len, out);
}

static size_t
first_of_host(const struct node *node, struct kb_slice host)
{
	size_t lo = 0, hi = node->n_exact;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct kb_slice at = kb_slice_of(node->entries[mid].host);
		size_t n = at.len < host.len ? at.len : host.len;
		int d = memcmp(at.ptr, host.ptr, n);

		if (d < 0 || (d == 0 && at.len < host.len))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool
search_node(const struct node *node, const struct router_query *q,
    struct router_match *out)
{
	for (size_t i = first_of_host(node, q->host);
	     i < node->n_exact && kb_slice_eq(q->host, node->entries[i].host);
	     i++)
		if (takes(&node->entries[i], q, out))
			return true;
	for (size_t i = node->n_exact; i < node->n_entries; i++) {
		const struct entry *e = &node->entries[i];

		if (e->rank == 1 && !wildcard_matches(e->host, q->host))
			continue;
		if (takes(e, q, out))
			return true;
	}
	return false;
}

void
router_find(const struct router *r, const struct router_query *q,
    struct router_match *out)
{
	*out = (struct router_match) { 0 };
	if (r->kong != NULL) {
		kong_find(r->kong, q, out);
		return;
	}
	for (const struct node *node = descend(r, q->path); node != NULL;
	     node = node->parent)
		if (search_node(node, q, out))
			return;
}

/* ---- paths --------------------------------------------------------------- */

const char *
router_path_problem(struct kb_arena *a, const char *path)
{
	struct kb_slice query, authority;
	struct kb_buf out;
	const char *wrong = "";

	if (path[0] != '/')
		return "must begin with \"/\"";
	kb_buf_init(&out, 16384);
	if (kb_http_path(kb_slice_of(path), &out, &query, &authority) != KB_OK)
		wrong = "is not a valid path";
	else if (query.ptr != NULL)
		wrong = "must not hold a \"?\"";
	else if (!kb_str_eq(kb_buf_str(&out), path))
		wrong = kb_sprintf(
		    a, "is not normalised, write \"%s\"", kb_buf_str(&out));
	kb_buf_free(&out);
	return wrong;
}

/* A prefix that ends inside of a segment may leave "./" and "../". */
static struct kb_slice
without_dots(struct kb_slice rest)
{
	for (;;) {
		size_t n = rest.len && rest.ptr[0] == '.';

		n += n && rest.len > 1 && rest.ptr[1] == '.';
		if (n == 0 || (rest.len > n && rest.ptr[n] != '/'))
			return rest;
		n += rest.len > n;
		rest.ptr += n;
		rest.len -= n;
	}
}

/* Kong's path_handling v0 (Kong 3.9). */
void
upstream_path(struct kb_buf *out, const struct route *route,
    struct kb_slice path, size_t prefix)
{
	struct kb_slice base = kb_slice_of(route->service->path), rest = path;
	bool slash = path.len > 1 && path.ptr[path.len - 1] == '/';

	if (route->strip_path && prefix <= rest.len) {
		rest.ptr += prefix;
		rest.len -= prefix;
	}
	if (rest.len && rest.ptr[0] == '/') {
		rest.ptr++;
		rest.len--;
		/* "/" below a prefix is kept, a whole "/" is nothing. */
		slash = slash || path.len > 1;
	} else
		rest = without_dots(rest);
	if (base.len && base.ptr[base.len - 1] == '/')
		base.len--;
	kb_buf_add(out, base.ptr, base.len);
	if (base.len == 0 || rest.len || slash)
		kb_buf_addc(out, '/');
	kb_buf_add(out, rest.ptr, rest.len);
}

bool
path_is_denied(struct kb_slice path)
{
	static const char *const denied[] = { "/api/internal", "/metrics",
		"/ready" };

	for (size_t i = 0; i < KB_COUNT(denied); i++) {
		size_t n = strlen(denied[i]);

		if (path.len >= n && strncasecmp(path.ptr, denied[i], n) == 0 &&
		    (path.len == n || path.ptr[n] == '/' || path.ptr[n] == ';'))
			return true;
	}
	return false;
}
