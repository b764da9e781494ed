/*
 * Networks of IP addresses, and who a client is behind proxies that are
 * trusted: what they say in X-Forwarded-For counts, nobody else's word does.
 */
#ifndef KOMBI_NETWORK_H
#define KOMBI_NETWORK_H

#include <sys/socket.h>

#include <kombi/arena.h>
#include <kombi/base.h>

struct kb_network {
	unsigned char bytes[16]; /* IPv4 mapped */
	unsigned bits;
};

bool kb_is_address(const char *text);
/* "10.0.0.0/8", "fd00::/8", or one address. */
bool kb_network_parse(const char *text, struct kb_network *out) KB_MUSTUSE;
bool
kb_network_has(const struct kb_network *n, const struct sockaddr_storage *a);
/* `ip` is an address as text; what is none is in no network. */
bool kb_network_has_text(const struct kb_network *n, const char *ip);

struct kb_networks {
	struct kb_network *v;
	size_t n;
};

/* A list of an option, NULL-ended or NULL; what is no network is left out. */
struct kb_networks kb_networks_of(struct kb_arena *a, const char *const *list);
/* An option's check: NULL or what is wrong. */
const char *kb_network_check(const char *value);
bool kb_networks_have(
    const struct kb_networks *trusted, const struct sockaddr_storage *a);
bool kb_networks_have_text(const struct kb_networks *trusted, const char *ip);
/*
 * The client of a connection from `peer`, in `a` or `peer` itself: the last
 * address of X-Forwarded-For that is none of the trusted proxies, when peer
 * is one.
 */
const char *kb_forwarded_client(struct kb_arena *a,
    const struct kb_networks *trusted, const char *peer, struct kb_slice list);

#endif
