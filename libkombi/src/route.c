/*
 * Route tables as a tree of path segments: a literal child goes before the
 * parameter child, so the order of rows does not matter.
 */
#include <string.h>

#include <kombi/str.h>

#include "route.h"

struct node {
	struct kb_slice segment;
	struct node *next;     /* sibling */
	struct node *literals; /* children by name */
	struct node *param;    /* child that takes any segment */
	const struct kb_route *routes[KB_M_OTHER];
	const char *allow;
};

struct kb_router {
	struct node root;
};

bool
kb_route_segment(struct kb_slice *rest, struct kb_slice *segment)
{
	if (rest->len == 0 || rest->ptr[0] != '/')
		return false;
	const char *start = rest->ptr + 1;
	const char *slash = memchr(start, '/', rest->len - 1);
	size_t len = slash ? (size_t)(slash - start) : rest->len - 1;

	*segment = (struct kb_slice) { start, len };
	*rest = (struct kb_slice) { start + len, rest->len - 1 - len };
	return true;
}

bool
kb_route_is_param(struct kb_slice s)
{
	return s.len > 2 && s.ptr[0] == '{' && s.ptr[s.len - 1] == '}';
}

static struct node *
literal_child(const struct node *n, struct kb_slice segment)
{
	for (struct node *c = n->literals; c != NULL; c = c->next)
		if (c->segment.len == segment.len &&
		    memcmp(c->segment.ptr, segment.ptr, segment.len) == 0)
			return c;
	return NULL;
}

static struct node *
child_for(struct kb_arena *a, struct node *n, struct kb_slice segment)
{
	struct node *c;

	if (kb_route_is_param(segment)) {
		if (n->param == NULL)
			n->param = kb_new(a, struct node);
		return n->param;
	}
	c = literal_child(n, segment);
	if (c == NULL) {
		c = kb_new(a, struct node);
		c->segment = segment;
		c->next = n->literals;
		n->literals = c;
	}
	return c;
}

static const char *
row_fault(const struct kb_route *r)
{
	const struct kb_permission *p = &r->permission;

	if (r->pattern == NULL || r->pattern[0] != '/')
		return "pattern does not begin with '/'";
	if (p->kind == KB_PERM_NONE_)
		return "no permission";
	if (r->handler == NULL)
		return "no handler";
	if (r->method <= KB_M_NONE || r->method >= KB_M_OTHER)
		return "no method";
	if (p->kind == KB_PERM_TENANT && p->role == KB_ROLE_NONE)
		return "no tenant role";
	if ((p->kind == KB_PERM_PLATFORM || p->kind == KB_PERM_SERVICE) &&
	    p->list[0] == NULL)
		return "nobody is listed";
	return NULL;
}

static const char *
add_row(struct kb_arena *a, struct node *n, const struct kb_route *r)
{
	struct kb_slice rest = kb_slice_of(r->pattern), segment;
	unsigned params = 0;

	while (kb_route_segment(&rest, &segment)) {
		if (kb_route_is_param(segment) && ++params > KB_ROUTE_PARAMS)
			return "too many parameters";
		n = child_for(a, n, segment);
	}
	if (n->routes[r->method] != NULL)
		return "the same route twice";
	n->routes[r->method] = r;
	return NULL;
}

/* "GET, HEAD, POST, OPTIONS" for every node that has routes. */
static void
write_allow(struct kb_arena *a, struct node *n)
{
	struct kb_buf b;

	kb_buf_init(&b, 256);
	for (int m = KB_M_NONE + 1; m < KB_M_OTHER; m++) {
		bool has = n->routes[m] != NULL ||
		    (m == KB_M_HEAD && n->routes[KB_M_GET] != NULL);
		if (has && m != KB_M_OPTIONS)
			kb_buf_addf(
			    &b, "%s, ", kb_method_name((enum kb_method)m));
	}
	if (b.len > 0 || n->routes[KB_M_OPTIONS] != NULL)
		n->allow = kb_sprintf(a, "%sOPTIONS", kb_buf_str(&b));
	kb_buf_free(&b);
	for (struct node *c = n->literals; c != NULL; c = c->next)
		write_allow(a, c);
	if (n->param != NULL)
		write_allow(a, n->param);
}

struct kb_router *
kb_router_new(
    struct kb_arena *a, const struct kb_route *const tables[], const char **why)
{
	struct kb_router *r = kb_new(a, struct kb_router);

	for (; *tables != NULL; tables++) {
		for (const struct kb_route *row = *tables;
		     row->method != KB_M_NONE; row++) {
			const char *fault = row_fault(row);

			if (fault == NULL)
				fault = add_row(a, &r->root, row);
			if (fault == NULL)
				continue;
			*why = kb_sprintf(a, "route %s %s: %s",
			    kb_method_name(row->method),
			    row->pattern ? row->pattern : "?", fault);
			return NULL;
		}
	}
	write_allow(a, &r->root);
	return r;
}

/* Never deeper than the deepest pattern. */
static const struct node *
find(const struct node *n, struct kb_slice rest, struct kb_match *m)
{
	const struct node *child, *found;
	struct kb_slice segment;

	if (!kb_route_segment(&rest, &segment))
		return n->allow != NULL ? n : NULL;
	child = literal_child(n, segment);
	found = child ? find(child, rest, m) : NULL;
	if (found != NULL || n->param == NULL || segment.len == 0)
		return found;
	m->values[m->n_params++] = segment;
	found = find(n->param, rest, m);
	if (found == NULL)
		m->n_params--;
	return found;
}

/* Two rows may name the same place differently: names are the row's own. */
static void
take_names(struct kb_match *m)
{
	struct kb_slice rest = kb_slice_of(m->route->pattern), segment;
	unsigned i = 0;

	while (kb_route_segment(&rest, &segment))
		if (kb_route_is_param(segment))
			m->names[i++] = (struct kb_slice) { segment.ptr + 1,
				segment.len - 2 };
}

enum kb_err
kb_router_match(const struct kb_router *r, enum kb_method method,
    struct kb_slice path, struct kb_match *out)
{
	const struct node *n;

	*out = (struct kb_match) { .route = NULL };
	n = find(&r->root, path, out);
	if (n == NULL)
		return KB_NOT_FOUND;
	out->allow = n->allow;
	if (method > KB_M_NONE && method < KB_M_OTHER)
		out->route = n->routes[method];
	if (out->route == NULL && method == KB_M_HEAD)
		out->route = n->routes[KB_M_GET];
	if (out->route == NULL)
		return KB_METHOD;
	take_names(out);
	return KB_OK;
}
