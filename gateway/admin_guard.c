/*
 * Who may use the Admin API. On loopback it is whoever is on the machine, but
 * no web page that a browser shows there: a request with an Origin, or for
 * a name that is not ours (DNS rebinding), is refused. On any other address
 * it takes a token.
 */
#include <arpa/inet.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/network.h>
#include <kombi/str.h>

#include "admin_api.h"

/* ---- addresses ----------------------------------------------------------- */

static bool
is_loopback(const char *host)
{
	struct kb_network n;

	return (kb_network_parse("127.0.0.0/8", &n) &&
		   kb_network_has_text(&n, host)) ||
	    kb_str_eq(host, "::1") || kb_str_eq(host, "localhost");
}

static bool
is_address(const char *host)
{
	unsigned char bytes[16];
	size_t len = strlen(host);
	char text[64];

	if (host[0] == '[' && len > 2 && len < sizeof(text)) {
		memcpy(text, host + 1, len - 2);
		text[len - 2] = '\0';
		return inet_pton(AF_INET6, text, bytes) == 1;
	}
	return inet_pton(AF_INET, host, bytes) == 1 ||
	    inet_pton(AF_INET6, host, bytes) == 1;
}

bool
admin_may_listen(const struct gateway *g, const char *host, const char **why)
{
	if (is_loopback(host) || kb_secret_is_set(&g->config->admin_token))
		return true;
	*why = "KOMBI_ADMIN_LISTEN: an address other than loopback needs a "
	       "KOMBI_ADMIN_TOKEN";
	return false;
}

bool
admin_writes(const struct gateway *g, const char *host)
{
	enum { AUTO, YES, NO };

	return g->config->admin_write == YES ||
	    (g->config->admin_write == AUTO && is_loopback(host));
}

/* ---- requests ------------------------------------------------------------ */

/* An address cannot be bound to another one by DNS; a name can. */
static bool
host_is_ours(struct admin_call *c)
{
	const char *host = kb_slice_dup(c->a, kb_ex_host(c->ex));
	const char *listen = c->g->config->admin_listen;
	size_t n = strlen(host);

	return n == 0 || is_address(host) || kb_str_eq(host, "localhost") ||
	    kb_str_ends(host, ".localhost") ||
	    (strncmp(listen, host, n) == 0 && listen[n] == ':') ||
	    kb_str_eq(host, c->g->config->admin_name);
}

static struct kb_slice
token_of(struct admin_call *c)
{
	const struct kb_http1_head *h = kb_ex_head(c->ex);
	const char *bytes = kb_ex_bytes(c->ex);
	struct kb_slice token = kb_http1_find(h, bytes, "kong-admin-token");
	struct kb_slice bearer = kb_http1_get(h, bytes, KB_H_AUTHORIZATION);
	struct kb_slice word;

	if (token.ptr != NULL)
		return token;
	if (bearer.ptr != NULL && kb_slice_next(&bearer, ' ', &word) &&
	    kb_slice_eqi(word, "bearer"))
		return kb_slice_trim(bearer);
	return (struct kb_slice) { NULL, 0 };
}

/* Time tells nothing: hashes of the same length are compared. */
static bool
token_is_right(struct admin_call *c)
{
	struct kb_slice given = token_of(c);
	unsigned char a[KB_SHA256_SIZE], b[KB_SHA256_SIZE];
	const unsigned char *token;
	size_t len;

	if (given.ptr == NULL)
		return false;
	token = kb_secret_reveal(&c->g->config->admin_token, &len);
	kb_sha256(given.ptr, given.len, a);
	kb_sha256(token, len, b);
	return kb_equal_ct(a, b, sizeof(a));
}

/* Probes and scrapers have no token and learn nothing from these. */
static bool
is_open(const struct admin_call *c)
{
	static const char *const open[] = { "health", "ready" };

	for (size_t i = 0; i < KB_COUNT(open); i++)
		if (c->n == 1 && kb_str_eq(c->segment[0], open[i]))
			return true;
	return false;
}

bool
admin_may(struct admin_call *c)
{
	if (kb_http1_get(kb_ex_head(c->ex), kb_ex_bytes(c->ex), KB_H_ORIGIN)
		.ptr != NULL)
		admin_message(c, 403, "Requests of web pages are refused");
	else if (!is_open(c) && !host_is_ours(c))
		admin_message(c, 403,
		    "Unknown Host: use the address of the listener, or name "
		    "it in KOMBI_ADMIN_NAME");
	else if (!is_open(c) && kb_secret_is_set(&c->g->config->admin_token) &&
	    !token_is_right(c))
		admin_message(c, 401, "Invalid or missing Kong-Admin-Token");
	else
		return true;
	return false;
}
