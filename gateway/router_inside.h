/* What the two ways of finding a route share. */
#ifndef GATEWAY_ROUTER_INSIDE_H
#define GATEWAY_ROUTER_INSIDE_H

#include "inside.h"

/* A route at a place of the tree, once for each of its paths and hosts. */
struct entry {
	struct kb_slice path; /* without slash at the end; "" is the root */
	const char *text;     /* as the file has it */
	const struct kb_regex *regex; /* NULL: a prefix */
	bool slash;                   /* written with a slash at the end */
	const char *host;             /* NULL: any */
	unsigned rank;                /* 0 exact host, 1 wildcard, 2 any */
	const struct route *route;
};

/* "*.name" and "name.*". */
bool wildcard_matches(const char *pattern, struct kb_slice host);
/* With what every text begins that the pattern matches, as far as that is
 * plain to see. */
struct kb_slice regex_literal(const char *pattern);
/*
 * All but the place: headers, names of TLS, the expression (NULL: none),
 * method and scheme. False: a method or scheme in the way is noted.
 */
bool route_takes(const struct route *r, const struct kb_regex *regex,
    const struct router_query *q, unsigned methods, size_t prefix,
    struct router_match *out);

/* router_kong.c */
struct kong_table;
const struct kong_table *
kong_table_new(struct kb_arena *a, struct route *const *routes, size_t n);
void kong_find(const struct kong_table *t, const struct router_query *q,
    struct router_match *out);

#endif
