/*
 * Whose request it is behind a proxy: the proxies of KOMBI_TRUSTED_PROXIES
 * say so in X-Real-IP. Nobody else is believed.
 */
#include <arpa/inet.h>
#include <string.h>

#include <kombi/str.h>

#include "stack.h"

struct address {
	int family;
	size_t bits;
	unsigned char bytes[16];
};

static bool
read_address(const char *text, struct address *a)
{
	a->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	a->bits = a->family == AF_INET6 ? 128 : 32;
	memset(a->bytes, 0, sizeof(a->bytes));
	return inet_pton(a->family, text, a->bytes) == 1;
}

/* "10.0.0.0/8", "::1" */
static bool
read_network(const char *text, struct address *a)
{
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN];
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t bits;

	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (!read_address(host, a))
		return false;
	if (slash == NULL)
		return true;
	if (!kb_parse_u64(kb_slice_of(slash + 1), &bits) || bits > a->bits)
		return false;
	a->bits = (size_t)bits;
	return true;
}

const char *
client_network_check(const char *text)
{
	struct address a;

	return read_network(text, &a) ? NULL
				      : "must be an address or address/bits";
}

static bool
is_within(const struct address *net, const struct address *a)
{
	size_t whole = net->bits / 8, rest = net->bits % 8;
	unsigned mask = 0xff00u >> rest & 0xff;

	return net->family == a->family &&
	    memcmp(net->bytes, a->bytes, whole) == 0 &&
	    (rest == 0 ||
		(net->bytes[whole] & mask) == (a->bytes[whole] & mask));
}

void
client_ip_believe(struct kb_request *req)
{
	const char *const *list = stack_config(kb_app(req))->proxies;
	const char *said = kb_header(req, "X-Real-IP");
	struct address peer, net, client;

	if (list == NULL || said == NULL || req->peer == NULL ||
	    !read_address(req->peer, &peer) || !read_address(said, &client))
		return;
	for (; *list != NULL; list++)
		if (read_network(*list, &net) && is_within(&net, &peer)) {
			req->peer = kb_strdup(req->cx.arena, said);
			return;
		}
}
