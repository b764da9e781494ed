/* Networks, and the client behind trusted proxies. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <kombi/network.h>
#include <kombi/str.h>

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
kb_is_address(const char *text)
{
	unsigned char bytes[16];
	bool four;

	return to_bytes(text, bytes, &four);
}

bool
kb_network_parse(const char *text, struct kb_network *out)
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
has_bytes(const struct kb_network *n, const unsigned char bytes[16])
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;

	if (memcmp(n->bytes, bytes, whole) != 0)
		return false;
	return rest == 0 ||
	    ((n->bytes[whole] ^ bytes[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

bool
kb_network_has(const struct kb_network *n, const struct sockaddr_storage *a)
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
kb_network_has_text(const struct kb_network *n, const char *ip)
{
	unsigned char bytes[16];
	bool four;

	return to_bytes(ip, bytes, &four) && has_bytes(n, bytes);
}

const char *
kb_network_check(const char *value)
{
	struct kb_network n;

	return kb_network_parse(value, &n)
	    ? NULL
	    : "must be an address or address/bits";
}

struct kb_networks
kb_networks_of(struct kb_arena *a, const char *const *list)
{
	struct kb_networks all = { NULL, 0 };
	size_t n = 0;

	while (list != NULL && list[n] != NULL)
		n++;
	all.v = kb_new_array(a, n + 1, struct kb_network);
	for (size_t i = 0; i < n; i++)
		if (kb_network_parse(list[i], &all.v[all.n]))
			all.n++;
	return all;
}

bool
kb_networks_have(
    const struct kb_networks *trusted, const struct sockaddr_storage *a)
{
	for (size_t i = 0; i < trusted->n; i++)
		if (kb_network_has(&trusted->v[i], a))
			return true;
	return false;
}

bool
kb_networks_have_text(const struct kb_networks *trusted, const char *ip)
{
	for (size_t i = 0; i < trusted->n; i++)
		if (kb_network_has_text(&trusted->v[i], ip))
			return true;
	return false;
}

const char *
kb_forwarded_client(struct kb_arena *a, const struct kb_networks *trusted,
    const char *peer, struct kb_slice list)
{
	const char *best = peer;

	while (list.len > 0 && kb_networks_have_text(trusted, best)) {
		const char *comma = memrchr(list.ptr, ',', list.len);
		struct kb_slice part = list;
		const char *text;

		if (comma != NULL) {
			part.ptr = comma + 1;
			part.len = list.len - (size_t)(part.ptr - list.ptr);
		}
		text = kb_slice_dup(a, kb_slice_trim(part));
		if (!kb_is_address(text))
			return best;
		best = text;
		list.len = comma ? (size_t)(comma - list.ptr) : 0;
	}
	return best;
}
