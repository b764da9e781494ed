/*
 * Instances: endpoints that are told at run time, one by one, instead of
 * targets of the file. They share health, probes and connections with a target
 * of the same upstream and address, and outlive every configuration.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { USED_STEP_MS = 1000, USED_MS = 10 * 60 * 1000 };

/* "host", "host:port", "[::1]:port"; false: is none. */
static bool
split(struct kb_slice authority, int usual, struct kb_slice *host, int *port)
{
	const char *end = authority.ptr + authority.len, *colon = NULL;
	uint64_t n = (uint64_t)usual;

	for (const char *c = end; c > authority.ptr && c[-1] != ']'; c--)
		if (c[-1] == ':')
			colon = c - 1;
	*host = authority;
	if (colon != NULL) {
		struct kb_slice text = { colon + 1, (size_t)(end - colon - 1) };

		host->len = (size_t)(colon - authority.ptr);
		if (!kb_parse_u64(text, &n) || n == 0 || n > 65535)
			return false;
	}
	*port = (int)n;
	return host->len > 0 && kb_http_host_ok(*host);
}

static char *
copy(struct kb_slice s)
{
	char *p = kb_xalloc(s.len + 1);

	memcpy(p, s.ptr, s.len);
	p[s.len] = '\0';
	return p;
}

struct instance *
instance_new(const char *upstream, const char *endpoint)
{
	bool tls = kb_str_starts(endpoint, "https://");
	struct kb_slice authority, host;
	struct instance *p;
	int port;

	if (!tls && !kb_str_starts(endpoint, "http://"))
		return NULL;
	authority = kb_slice_of(endpoint + (tls ? 8 : 7));
	if (!split(authority, tls ? 443 : 80, &host, &port))
		return NULL;
	p = kb_xalloc(sizeof(*p));
	memset(p, 0, sizeof(*p));
	p->upstream = kb_xstrdup(upstream);
	p->endpoint = kb_xstrdup(endpoint);
	p->authority = copy(authority);
	p->host = copy(host);
	p->port = port;
	p->tls = tls;
	return p;
}

void
instance_free(struct instance *p)
{
	free(p->upstream);
	free(p->endpoint);
	free(p->authority);
	free(p->host);
	free(p);
}

bool
instance_is_used(const struct instance *p, int64_t now_ms)
{
	return now_ms - atomic_load(&p->used_ms) < USED_MS;
}

struct instance *
exchange_find_instance(struct exchange *x, const char *endpoint)
{
	struct instance *p = health_instance(x->loop->gateway->health,
	    x->route->service->upstream->name, endpoint);

	/* In plain it is not said what was to be told by TLS. */
	if (p != NULL && p->tls && x->local->snapshot->instance_tls == NULL)
		return NULL;
	return p;
}

bool
instance_is_for(const struct instance *p, const struct exchange *x)
{
	return kb_str_eq(p->upstream, x->route->service->upstream->name);
}

void
exchange_set_instance(struct exchange *x, struct instance *p)
{
	int64_t now = kb_mono_ms();

	if (now - atomic_load_explicit(&p->used_ms, memory_order_relaxed) >
	    USED_STEP_MS)
		atomic_store(&p->used_ms, now);
	x->instance = p;
}
