/*
 * Any path and host against a table with every kind of route, compared with
 * the plain reading of the rules: try all routes, take the longest; in Kong's
 * way, that of the highest priority.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char file[] =
    "_format_version: \"3.0\"\n"
    "services:\n- name: s\n  host: h\n  path: /base\n  routes:\n"
    "  - {name: root, paths: [/]}\n"
    "  - {name: a, paths: [/a, /b/c]}\n"
    "  - {name: ab, paths: [/a/b], methods: [GET]}\n"
    "  - {name: dir, paths: [/d/]}\n"
    "  - {name: host, paths: [/a], hosts: [x.io]}\n"
    "  - {name: wild, paths: [/a/b], hosts: [\"*.x.io\"], strip_path: false}\n";

static bool
host_fits(const struct route *r, struct kb_slice host)
{
	if (r->hosts.n == 0)
		return true;
	if (r->hosts.v[0][0] != '*')
		return kb_slice_eq(host, r->hosts.v[0]);
	return host.len > 5 && memcmp(host.ptr + host.len - 5, ".x.io", 5) == 0;
}

static bool
path_fits(const char *prefix, struct kb_slice path)
{
	size_t n = strlen(prefix);

	if (prefix[n - 1] == '/')
		return path.len >= n && memcmp(path.ptr, prefix, n) == 0;
	return path.len >= n && memcmp(path.ptr, prefix, n) == 0 &&
	    (path.len == n || path.ptr[n] == '/');
}

/* Length of the longest prefix that fits; -1: none. */
static int
longest(const struct snapshot *s, struct kb_slice path, struct kb_slice host,
    enum kb_method method)
{
	int best = -1;

	for (size_t i = 0; i < s->n_routes; i++) {
		const struct route *r = s->routes[i];

		if (!host_fits(r, host) ||
		    (r->method_mask && method != KB_M_GET &&
			method != KB_M_HEAD))
			continue;
		for (size_t j = 0; j < r->paths.n; j++) {
			int n = (int)strlen(r->paths.v[j]);

			n -= r->paths.v[j][n - 1] == '/';
			if (path_fits(r->paths.v[j], path) && n > best)
				best = n;
		}
	}
	return best;
}

static const struct snapshot *
load(const char *yaml, bool kong)
{
	struct problems p = { .file = "fuzz", .defaults.kong_router = kong };
	struct substitution sub = { 0 };
	struct snapshot *s;

	p.arena = kb_arena_new(0);
	s = config_parse(&p, yaml, strlen(yaml), &sub);
	assert(s != NULL && !problems_any(&p));
	return s;
}

static const struct snapshot *
table(void)
{
	static const struct snapshot *s;

	if (s == NULL)
		s = load(file, false);
	return s;
}

/* ---- Kong's way ---------------------------------------------------------- */

static const char kong_file
    [] = "_format_version: \"3.0\"\n"
	 "services:\n- name: s\n  host: h\n  path: /base\n  routes:\n"
	 "  - {name: root, paths: [/]}\n"
	 "  - {name: a, paths: [/a, /b/c]}\n"
	 "  - {name: ab, paths: [/a/b], methods: [GET]}\n"
	 "  - {name: re, paths: [\"~/a/[b-d]+/x$\"]}\n"
	 "  - {name: re2, paths: [\"~/a/(b|c)?\"], regex_priority: 3}\n"
	 "  - {name: re3, paths: [\"~/d?/e\"]}\n"
	 "  - {name: host, paths: [/a], hosts: [x.io]}\n"
	 "  - {name: wild, paths: [/a/b], hosts: [\"*.x.io\"]}\n";

/* More is better, in this order; -1 at the end: it does not fit. */
struct rank {
	int kinds, plain, regex, priority, length;
};

static bool
rank_of(const struct route *r, size_t path, struct kb_slice text,
    struct kb_slice host, enum kb_method method, struct rank *out)
{
	const char *p = r->paths.v[path];
	const struct kb_regex *re = r->regexes[path];
	size_t n = strlen(p);

	if (!host_fits(r, host) || (r->method_mask && method != KB_M_GET))
		return false;
	if (re != NULL ? !kb_regex_match(re, text, NULL)
		       : text.len < n || memcmp(text.ptr, p, n) != 0)
		return false;
	*out = (struct rank) {
		.kinds = 1 + (r->hosts.n > 0) + (r->method_mask != 0),
		.plain = r->hosts.n > 0 && r->hosts.v[0][0] != '*',
		.regex = re != NULL,
		.priority = re ? (int)r->regex_priority : 0,
		.length = (int)n - (re != NULL),
	};
	return true;
}

static int
better(const struct rank *a, const struct rank *b)
{
	const int x[] = { a->kinds, a->plain, a->regex, a->priority,
		a->length };
	const int y[] = { b->kinds, b->plain, b->regex, b->priority,
		b->length };

	for (size_t i = 0; i < KB_COUNT(x); i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

static const struct route *
best_route(const struct snapshot *s, struct kb_slice path, struct kb_slice host,
    enum kb_method method)
{
	const struct route *best = NULL;
	struct rank at, top;

	for (size_t i = 0; i < s->n_routes; i++)
		for (size_t j = 0; j < s->routes[i]->paths.n; j++)
			if (rank_of(s->routes[i], j, path, host, method, &at) &&
			    (best == NULL || better(&at, &top) > 0)) {
				best = s->routes[i];
				top = at;
			}
	return best;
}

static void
compare_kong(struct kb_slice path, struct kb_slice host, enum kb_method method)
{
	static const struct snapshot *s;
	struct router_match m;

	if (s == NULL)
		s = load(kong_file, true);
	router_find(s->router,
	    &(struct router_query) {
		.path = path,
		.host = host,
		.method = method,
		.proto = PROTO_HTTP,
	    },
	    &m);
	assert(m.route == best_route(s, path, host, method));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct snapshot *s = table();
	struct kb_slice all = { (const char *)data, size }, target, host, query,
			authority;
	struct router_match m;
	struct kb_buf path, out;
	enum kb_method method = size % 2 ? KB_M_GET : KB_M_POST;
	int want;

	if (!kb_slice_next(&all, '\n', &target))
		return 0;
	host = all.ptr ? all : (struct kb_slice) { "", 0 };
	kb_buf_init(&path, 16384);
	kb_buf_init(&out, 32768);
	if (kb_http_path(target, &path, &query, &authority) == KB_OK &&
	    path.ptr[0] == '/') {
		struct kb_slice p = { path.ptr, path.len };

		router_find(s->router,
		    &(struct router_query) {
			.path = p,
			.host = host,
			.method = method,
			.proto = PROTO_HTTP,
		    },
		    &m);
		compare_kong(p, host, method);
		want = longest(s, p, host, method);
		assert((m.route != NULL) == (want >= 0));
		assert(m.route == NULL || (int)m.prefix == want);
		if (m.route != NULL) {
			upstream_path(&out, m.route, p, m.prefix);
			assert(kb_str_starts(kb_buf_str(&out), "/base"));
		}
	}
	kb_buf_free(&path);
	kb_buf_free(&out);
	return 0;
}
