/*
 * Which route takes a request: a tree of path segments, so that the longest
 * prefix of whole segments is found in one walk, whatever the number of
 * routes. Routes at one place are ordered: exact hosts (sorted, found by
 * bisection), hosts with a wildcard, any host; with methods before without.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "inside.h"

/* A route at a place of the tree, once for each of its hosts. */
struct entry {
	struct kb_slice path; /* without slash at the end; "" is the root */
	bool slash;           /* written with a slash at the end */
	const char *host;     /* NULL: any */
	unsigned rank;        /* 0 exact host, 1 wildcard, 2 any */
	const struct route *route;
};

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
		d = (q->route->method_mask != 0) - (p->route->method_mask != 0);
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

static struct entry *
add_hosts(struct entry *at, const struct route *r, const char *path)
{
	struct entry e = { .path = kb_slice_of(path), .route = r, .rank = 2 };

	if (e.path.len && e.path.ptr[e.path.len - 1] == '/') {
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
router_new(struct kb_arena *a, struct route *const *routes, size_t n)
{
	struct router *r = kb_new(a, struct router);
	size_t total = count_entries(routes, n);
	struct entry *v = kb_new_array(a, total + 1, struct entry), *at = v;

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < routes[i]->paths.n; j++)
			at = add_hosts(at, routes[i], routes[i]->paths.v[j]);
		if (routes[i]->paths.n == 0)
			at = add_hosts(at, routes[i], "");
	}
	if (total)
		qsort(v, total, sizeof(*v), entry_compare);
	build(a, &r->root, v, total);
	return r;
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

static bool
wildcard_matches(const char *pattern, struct kb_slice host)
{
	size_t n = strlen(pattern) - 1;

	if (host.len <= n)
		return false;
	if (pattern[0] == '*')
		return memcmp(host.ptr + host.len - n, pattern + 1, n) == 0;
	return memcmp(host.ptr, pattern, n) == 0;
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

/* True when the entry takes the request; else notes what was in the way. */
static bool
takes(const struct entry *e, const struct router_query *q,
    struct router_match *out)
{
	const struct route *r = e->route;
	unsigned methods = methods_of(r);

	if (e->slash && q->path.len <= e->path.len)
		return false;
	if (!(methods & (1U << q->method))) {
		out->allow |= methods;
		return false;
	}
	if (!(r->proto & q->proto)) {
		out->https_only = true;
		return false;
	}
	out->route = r;
	out->prefix = e->path.len;
	return true;
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

void
upstream_path(struct kb_buf *out, const struct route *route,
    struct kb_slice path, size_t prefix)
{
	struct kb_slice base = kb_slice_of(route->service->path);

	if (route->strip_path) {
		path.ptr += prefix;
		path.len -= prefix;
	}
	if (base.len && base.ptr[base.len - 1] == '/')
		base.len--;
	kb_buf_add(out, base.ptr, base.len);
	if (base.len && prefix == 0 && path.len == 1)
		return;
	kb_buf_add(out, path.ptr, path.len);
	if (base.len == 0 && path.len == 0)
		kb_buf_addc(out, '/');
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
