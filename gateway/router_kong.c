/*
 * Routes as Kong's traditional_compatible router finds them (Kong 3.9):
 * raw prefixes, one 64 bit priority an entry. Only entries whose prefix (of an
 * expression: its literal beginning) the path has are looked at: the hash of
 * the path's beginning grows byte by byte and is looked up at the lengths that
 * prefixes have.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "router_inside.h"

struct ranked {
	uint64_t priority;
	struct kb_slice path;         /* prefix, or literal beginning */
	const struct kb_regex *regex; /* or NULL */
	const struct route *route;
	const struct ranked *next; /* of the same prefix, lower */
};

struct bucket {
	uint64_t hash;
	const struct ranked *first; /* NULL: free */
};

struct kong_table {
	struct ranked *v; /* highest priority first */
	size_t n;
	struct bucket *buckets;
	size_t mask;
	bool *lengths; /* some prefix has it */
	size_t longest;
};

#define FNV_START 14695981039346656037ULL
#define FNV_PRIME 1099511628211ULL

/* ---- priority ------------------------------------------------------------ */

static bool
hosts_are_plain(const struct route *r)
{
	for (size_t i = 0; i < r->hosts.n; i++)
		if (strchr(r->hosts.v[i], '*') != NULL)
			return false;
	return r->hosts.n > 0;
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t
priority_of(const struct route *r, const char *path, bool regex)
{
	const size_t defined[] = { r->methods.n, r->hosts.n, r->headers.n,
		r->paths.n, r->snis.n };
	uint64_t kinds = 0, p;

	for (size_t i = 0; i < KB_COUNT(defined); i++)
		kinds += defined[i] != 0;
	p = kinds << 61;
	p |= (uint64_t)hosts_are_plain(r) << 60;
	p |= least(r->headers.n, 255) << 52;
	p |= (uint64_t)regex << 51;
	if (regex)
		p |= least((uint64_t)r->regex_priority, UINT32_MAX) << 19;
	/* The "~" says what it is and is not counted. */
	return p | least(strlen(path) - regex, (1U << 19) - 1);
}

static int
by_priority(const void *a, const void *b)
{
	const struct ranked *p = a, *q = b;

	if (p->priority != q->priority)
		return p->priority > q->priority ? -1 : 1;
	return p->route->index < q->route->index
	    ? -1
	    : p->route->index > q->route->index;
}

/* ---- building ------------------------------------------------------------ */

static void
add_path(struct kong_table *t, const struct route *r, const char *path,
    const struct kb_regex *regex)
{
	t->v[t->n++] = (struct ranked) {
		.priority = priority_of(r, path, regex != NULL),
		.path = regex ? regex_literal(path + 1) : kb_slice_of(path),
		.regex = regex,
		.route = r,
	};
}

static uint64_t
hash_of(struct kb_slice path)
{
	uint64_t h = FNV_START;

	for (size_t i = 0; i < path.len; i++)
		h = (h ^ (unsigned char)path.ptr[i]) * FNV_PRIME;
	return h;
}

static struct bucket *
bucket_of(const struct kong_table *t, uint64_t hash, struct kb_slice path)
{
	size_t i = (size_t)(hash ^ hash >> 32) & t->mask;

	for (;; i = (i + 1) & t->mask) {
		struct bucket *b = &t->buckets[i];

		if (b->first == NULL ||
		    (b->hash == hash && b->first->path.len == path.len &&
			memcmp(b->first->path.ptr, path.ptr, path.len) == 0))
			return b;
	}
}

static void
fill_buckets(struct kb_arena *a, struct kong_table *t)
{
	size_t cap = 16;

	while (cap < 2 * t->n)
		cap *= 2;
	t->mask = cap - 1;
	t->buckets = kb_new_array(a, cap, struct bucket);
	t->lengths = kb_new_array(a, t->longest + 1, bool);
	/* From the lowest, so that a list begins with the highest. */
	for (size_t i = t->n; i-- > 0;) {
		struct ranked *e = &t->v[i];
		uint64_t hash = hash_of(e->path);
		struct bucket *b;

		b = bucket_of(t, hash, e->path);
		e->next = b->first;
		*b = (struct bucket) { .hash = hash, .first = e };
		t->lengths[e->path.len] = true;
	}
}

const struct kong_table *
kong_table_new(struct kb_arena *a, struct route *const *routes, size_t n)
{
	struct kong_table *t = kb_new(a, struct kong_table);
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += routes[i]->paths.n ? routes[i]->paths.n : 1;
	t->v = kb_new_array(a, total + 1, struct ranked);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < routes[i]->paths.n; j++)
			add_path(t, routes[i], routes[i]->paths.v[j],
			    routes[i]->regexes[j]);
		if (routes[i]->paths.n == 0)
			add_path(t, routes[i], "", NULL);
	}
	if (t->n)
		qsort(t->v, t->n, sizeof(*t->v), by_priority);
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].path.len > t->longest)
			t->longest = t->v[i].path.len;
	fill_buckets(a, t);
	return t;
}

/* ---- finding ------------------------------------------------------------- */

static bool
host_fits(const struct route *r, struct kb_slice host)
{
	for (size_t i = 0; i < r->hosts.n; i++)
		if (strchr(r->hosts.v[i], '*')
			? wildcard_matches(r->hosts.v[i], host)
			: kb_slice_eq(host, r->hosts.v[i]))
			return true;
	return r->hosts.n == 0;
}

static bool
takes(const struct ranked *e, const struct router_query *q,
    struct router_match *out)
{
	const struct route *r = e->route;

	/* Kong's GET is no HEAD. */
	return host_fits(r, q->host) &&
	    route_takes(r, e->regex, q,
		r->method_mask ? r->method_mask : UINT32_MAX, e->path.len, out);
}

/* The first of a list that takes it, if it is before the best one so far. */
static const struct ranked *
best_of(const struct ranked *e, const struct ranked *best,
    const struct router_query *q, struct router_match *out)
{
	for (; e != NULL && (best == NULL || e < best); e = e->next)
		if (takes(e, q, out))
			return e;
	return best;
}

void
kong_find(const struct kong_table *t, const struct router_query *q,
    struct router_match *out)
{
	const struct ranked *best = NULL;
	uint64_t hash = FNV_START;

	for (size_t n = 0; n <= q->path.len && n <= t->longest; n++) {
		struct kb_slice beginning = { q->path.ptr, n };

		if (n > 0)
			hash = (hash ^ (unsigned char)q->path.ptr[n - 1]) *
			    FNV_PRIME;
		if (t->lengths[n])
			best = best_of(
			    bucket_of(t, hash, beginning)->first, best, q, out);
	}
}
