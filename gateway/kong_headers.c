/*
 * Headers by which Kong tells of itself (Kong 3.9), for those who
 * read them: KOMBI_KONG_HEADERS names which, with Kong's words.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

enum {
	UPSTREAM_LATENCY = 1,
	PROXY_LATENCY = 2,
	RESPONSE_LATENCY = 4,
	REQUEST_ID = 8,
	UPSTREAM_STATUS = 16,
	VIA = 32,
	SERVER = 64,
};

static const struct {
	const char *word;
	unsigned bits;
} words[] = {
	{ "off", 0 },
	{ "latency_tokens",
	    UPSTREAM_LATENCY | PROXY_LATENCY | RESPONSE_LATENCY },
	{ "server_tokens", VIA | SERVER },
	{ "X-Kong-Upstream-Latency", UPSTREAM_LATENCY },
	{ "X-Kong-Proxy-Latency", PROXY_LATENCY },
	{ "X-Kong-Response-Latency", RESPONSE_LATENCY },
	{ "X-Kong-Request-Id", REQUEST_ID },
	{ "X-Kong-Upstream-Status", UPSTREAM_STATUS },
	{ "Via", VIA },
	{ "Server", SERVER },
};

static const char via[] = "Via: 1.1 kong/" KOMBI_VERSION "\r\n";

static int
find(const char *word)
{
	for (size_t i = 0; i < KB_COUNT(words); i++)
		if (kb_slice_eqi(kb_slice_of(word), words[i].word))
			return (int)i;
	return -1;
}

const char *
kong_headers_check(const char *word)
{
	return find(word) >= 0
	    ? NULL
	    : "must be off, latency_tokens, server_tokens, Via, Server or "
	      "X-Kong-Upstream-Latency, -Proxy-Latency, -Response-Latency, "
	      "-Request-Id, -Upstream-Status";
}

unsigned
kong_headers_of(const char *const *list)
{
	unsigned bits = 0;

	for (; list != NULL && *list != NULL; list++) {
		int at = find(*list);

		if (at >= 0)
			bits |= words[at].bits;
	}
	return bits;
}

static void
number(struct kb_buf *out, const char *name, int64_t value)
{
	kb_buf_adds(out, name);
	kb_buf_addu(out, value > 0 ? (uint64_t)value : 0);
	kb_buf_add(out, "\r\n", 2);
}

void
kong_answer_lines(const struct exchange *x, struct kb_buf *out)
{
	unsigned bits = x->loop->gateway->kong_headers;
	struct spent s;

	if (bits == 0)
		return;
	spent_of(x, &s);
	if (x->asked_ns == 0) {
		if (bits & RESPONSE_LATENCY)
			number(out, "X-Kong-Response-Latency: ",
			    s.request_ns / 1000000);
		if (bits & SERVER)
			kb_buf_adds(out, "Server: kong/" KOMBI_VERSION "\r\n");
	} else {
		if (bits & UPSTREAM_LATENCY)
			number(out, "X-Kong-Upstream-Latency: ",
			    (s.proxied ? s.proxy_ns
				       : s.request_ns - s.kong_ns) /
				1000000);
		if (bits & PROXY_LATENCY)
			number(
			    out, "X-Kong-Proxy-Latency: ", s.kong_ns / 1000000);
		if (bits & VIA)
			kb_buf_adds(out, via);
		if ((bits & UPSTREAM_STATUS) && x->upstream_status)
			number(out,
			    "X-Kong-Upstream-Status: ", x->upstream_status);
	}
	if (bits & REQUEST_ID)
		kb_buf_addf(
		    out, "X-Kong-Request-Id: %s\r\n", exchange_request_id(x));
}

void
kong_request_lines(const struct exchange *x, struct kb_buf *out)
{
	unsigned bits = x->loop->gateway->kong_headers;

	if (bits & VIA)
		kb_buf_add(out, via, sizeof(via) - 1);
	if (bits & REQUEST_ID)
		kb_buf_addf(
		    out, "X-Kong-Request-Id: %s\r\n", exchange_request_id(x));
}
