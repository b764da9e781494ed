/*
 * Who the client is: the peer of the connection, or what trusted proxies in
 * front of us say in X-Forwarded-For and -Proto. Nobody else is believed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static bool
to_bytes(const char *text, unsigned char out[16], bool *four)
{
	unsigned char v4[4];

	*four = inet_pton(AF_INET, text, v4) == 1;
	if (!*four)
		return inet_pton(AF_INET6, text, out) == 1;
	memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	memcpy(out + 12, v4, 4);
	return true;
}

bool
network_parse(const char *text, struct network *out)
{
	const char *slash = strchr(text, '/');
	char address[64];
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t bits;
	bool four;

	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	if (!to_bytes(address, out->bytes, &four))
		return false;
	bits = four ? 32 : 128;
	if (slash != NULL &&
	    (!kb_parse_u64(kb_slice_of(slash + 1), &bits) ||
		bits > (four ? 32U : 128U)))
		return false;
	out->bits = (unsigned)bits + (four ? 96 : 0);
	return true;
}

static bool
has_bytes(const struct network *n, const unsigned char bytes[16])
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;

	if (memcmp(n->bytes, bytes, whole) != 0)
		return false;
	return rest == 0 ||
	    ((n->bytes[whole] ^ bytes[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

bool
network_has(const struct network *n, const struct sockaddr_storage *a)
{
	unsigned char bytes[16] = { [10] = 0xff, [11] = 0xff };

	if (a->ss_family == AF_INET)
		memcpy(bytes + 12,
		    &((const struct sockaddr_in *)(const void *)a)->sin_addr,
		    4);
	else if (a->ss_family == AF_INET6)
		memcpy(bytes,
		    &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		    16);
	else
		return false;
	return has_bytes(n, bytes);
}

bool
network_has_text(const struct network *n, const char *ip)
{
	unsigned char bytes[16];
	bool four;

	return to_bytes(ip, bytes, &four) && has_bytes(n, bytes);
}

static bool
is_trusted_text(const struct gateway *g, const char *text)
{
	unsigned char bytes[16];
	bool four;

	if (!to_bytes(text, bytes, &four))
		return false;
	for (size_t i = 0; i < g->n_trusted; i++)
		if (has_bytes(&g->trusted[i], bytes))
			return true;
	return false;
}

bool
forwarded_trusted(const struct exchange *x)
{
	const struct gateway *g = x->loop->gateway;
	const struct sockaddr_storage *peer;

	if (g->n_trusted == 0)
		return false;
	peer = kb_ex_peer(x->ex);
	for (size_t i = 0; i < g->n_trusted; i++)
		if (network_has(&g->trusted[i], peer))
			return true;
	return false;
}

bool
forwarded_https(const struct exchange *x)
{
	struct kb_slice proto = exchange_header(x, "X-Forwarded-Proto");

	if (proto.len > 0 && forwarded_trusted(x))
		return kb_slice_eqi(proto, "https");
	return kb_ex_tls(x->ex) != NULL;
}

/* The last address of the list that is not one of our proxies. */
const char *
forwarded_client(struct exchange *x)
{
	const char *best = kb_ex_peer_text(x->ex);
	struct kb_slice list, part;

	if (!forwarded_trusted(x))
		return best;
	list = exchange_header(x, "X-Forwarded-For");
	while (list.len) {
		const char *comma = memrchr(list.ptr, ',', list.len);
		const char *text;
		unsigned char bytes[16];
		bool four;

		part = list;
		if (comma != NULL) {
			part.ptr = comma + 1;
			part.len = list.len - (size_t)(part.ptr - list.ptr);
		}
		text = kb_slice_dup(exchange_arena(x), kb_slice_trim(part));
		if (!to_bytes(text, bytes, &four))
			return best;
		best = text;
		if (!is_trusted_text(x->loop->gateway, text))
			return best;
		list.len = comma ? (size_t)(comma - list.ptr) : 0;
	}
	return best;
}
