/*
 * Which addresses are out in the world: the IANA special-purpose registries
 * (RFC 6890 and later) as tables. What a table does not say is refused for
 * IPv6 and allowed for IPv4.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <kombi/fetch.h>

struct block4 {
	uint32_t net;
	int bits;
};

#define NET(a, b, c, d)                                                        \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 |      \
	    (uint32_t)(d))

static const struct block4 not_global4[] = {
	{ NET(0, 0, 0, 0), 8 },        /* this network */
	{ NET(10, 0, 0, 0), 8 },       /* private */
	{ NET(100, 64, 0, 0), 10 },    /* shared; 100.100.100.200 metadata */
	{ NET(127, 0, 0, 0), 8 },      /* loopback */
	{ NET(168, 63, 129, 16), 32 }, /* Azure's platform address */
	{ NET(169, 254, 0, 0), 16 },   /* link local; metadata services */
	{ NET(172, 16, 0, 0), 12 },    /* private */
	{ NET(192, 0, 0, 0), 24 },     /* protocol assignments */
	{ NET(192, 0, 2, 0), 24 },     /* documentation */
	{ NET(192, 88, 99, 0), 24 },   /* 6to4 relays */
	{ NET(192, 168, 0, 0), 16 },   /* private */
	{ NET(198, 18, 0, 0), 15 },    /* benchmarks */
	{ NET(198, 51, 100, 0), 24 },  /* documentation */
	{ NET(203, 0, 113, 0), 24 },   /* documentation */
	{ NET(224, 0, 0, 0), 4 },      /* multicast */
	{ NET(240, 0, 0, 0), 4 },      /* reserved, broadcast */
};

struct block6 {
	uint8_t net[16];
	int bits;
};

/* Within 2000::/3, which is all that is global unicast. */
static const struct block6 not_global6[] = {
	{ { 0x20, 0x01, 0x00 }, 23 },       /* protocols, Teredo, benchmarks */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, /* documentation */
	{ { 0x20, 0x02 }, 16 },             /* 6to4: IPv4 in disguise */
	{ { 0x3f, 0xff, 0x00 }, 20 },       /* documentation */
};

static const struct block6 mapped = { { [10] = 0xff, [11] = 0xff }, 96 };
static const struct block6 nat64 = {
	{ 0x00, 0x64, 0xff, 0x9b },
	96,
};
static const struct block6 global_unicast = { { 0x20 }, 3 };

static bool
is_global4(uint32_t addr)
{
	for (size_t i = 0; i < KB_COUNT(not_global4); i++) {
		const struct block4 *b = &not_global4[i];

		if ((addr ^ b->net) >> (32 - b->bits) == 0)
			return false;
	}
	return true;
}

static bool
is_in6(const uint8_t addr[16], const struct block6 *b)
{
	int whole = b->bits / 8, rest = b->bits % 8;

	if (memcmp(addr, b->net, (size_t)whole) != 0)
		return false;
	return rest == 0 || (addr[whole] ^ b->net[whole]) >> (8 - rest) == 0;
}

static bool
is_global6(const uint8_t addr[16])
{
	if (is_in6(addr, &mapped) || is_in6(addr, &nat64))
		return is_global4(NET(addr[12], addr[13], addr[14], addr[15]));
	if (!is_in6(addr, &global_unicast))
		return false;
	for (size_t i = 0; i < KB_COUNT(not_global6); i++)
		if (is_in6(addr, &not_global6[i]))
			return false;
	return true;
}

bool
kb_address_is_global(const struct sockaddr *sa)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&in, sa, sizeof(in));
		return is_global4(ntohl(in.sin_addr.s_addr));
	case AF_INET6:
		memcpy(&in6, sa, sizeof(in6));
		return is_global6(in6.sin6_addr.s6_addr);
	default: return false;
	}
}
