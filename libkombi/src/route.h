/*
 * Private: matching of paths against route tables, without sockets and
 * without judging permissions.
 */
#ifndef KOMBI_ROUTE_PRIVATE_H
#define KOMBI_ROUTE_PRIVATE_H

#include <kombi/http.h>

#define KB_ROUTE_PARAMS 8

struct kb_router;

struct kb_match {
	const struct kb_route *route; /* NULL unless KB_OK */
	unsigned n_params;
	struct kb_slice names[KB_ROUTE_PARAMS];
	struct kb_slice values[KB_ROUTE_PARAMS]; /* into the path, encoded */
	const char *allow; /* KB_METHOD: value of the Allow header */
};

/*
 * Compiles tables, each ended by KB_ROUTES_END, the list by NULL. NULL and
 * *why (arena) when a row has no permission, no handler, a bad pattern or
 * repeats another one.
 */
struct kb_router *kb_router_new(struct kb_arena *a,
    const struct kb_route *const tables[], const char **why);

/*
 * KB_OK, KB_NOT_FOUND, or KB_METHOD with the allowed ones. A literal segment
 * goes before a parameter; HEAD takes the GET row when there is no own one.
 */
enum kb_err kb_router_match(const struct kb_router *r, enum kb_method method,
    struct kb_slice path, struct kb_match *out) KB_MUSTUSE;

/*
 * Takes "segment" of "/segment/rest" from *rest; false at the end.
 */
bool kb_route_segment(struct kb_slice *rest, struct kb_slice *segment);
bool kb_route_is_param(struct kb_slice segment); /* "{name}" */

#endif
