/*
 * Consistent hashing: what of a request is hashed, and the ring of points
 * that says which target a hash belongs to.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>

#include "inside.h"

enum { POINTS = 160 }; /* of a target with an average weight */

uint64_t
balance_hash(const void *data, size_t len)
{
	const unsigned char *c = data;
	uint64_t h = 14695981039346656037ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ c[i]) * 1099511628211ULL;
	/* FNV-1a leaves its high bits nearly alone: mixed as MurmurHash3. */
	h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
	h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 33;
	return h ? h : 1;
}

/* ---- the ring --------------------------------------------------------------
 */

static int
by_place(const void *a, const void *b)
{
	const struct point *p = a, *q = b;

	if (p->at != q->at)
		return p->at < q->at ? -1 : 1;
	return p->target < q->target ? -1 : p->target > q->target;
}

static size_t
points_of(const struct upstream *u, size_t i, int64_t total)
{
	if (u->targets[i].weight == 0)
		return 0;
	return (size_t)(POINTS * (int64_t)u->n * u->targets[i].weight / total) +
	    1;
}

void
upstream_ring(struct kb_arena *a, struct upstream *u)
{
	struct balance *b = kb_new(a, struct balance);
	struct point *ring;
	int64_t total = 0;
	size_t n = 0;

	if (u->balance == NULL || u->balance->algorithm != CONSISTENT_HASHING)
		return;
	*b = *u->balance;
	for (size_t i = 0; i < u->n; i++)
		total += u->targets[i].weight;
	for (size_t i = 0; i < u->n; i++)
		n += points_of(u, i, total);
	ring = kb_new_array(a, n + 1, struct point);
	n = 0;
	for (size_t i = 0; i < u->n; i++) {
		size_t points = points_of(u, i, total);

		for (size_t j = 0; j < points; j++) {
			const char *text = kb_sprintf(a, "%s:%d#%zu",
			    u->targets[i].host, u->targets[i].port, j);

			ring[n++] = (struct point) {
				.at = (uint32_t)(balance_hash(
						     text, strlen(text)) >>
				    32),
				.target = (uint32_t)i,
			};
		}
	}
	if (n)
		qsort(ring, n, sizeof(*ring), by_place);
	b->ring = ring;
	b->ring_n = n;
	u->balance = b;
}

size_t
ring_find(const struct balance *b, uint64_t key)
{
	uint32_t at = (uint32_t)(key >> 32);
	size_t low = 0, high = b->ring_n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->ring[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low < b->ring_n ? low : 0;
}

/* ---- what is hashed
 * ---------------------------------------------------------- */

static struct kb_slice
of_consumer(
    struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	const struct kb_identity *id = exchange_identity(x);
	const struct consumer *c = exchange_consumer(x);

	(void)b;
	(void)s;
	if (c != NULL && c->id != NULL)
		return kb_slice_of(c->id);
	if (id != NULL && id->value[KB_ID_USER] != NULL)
		return kb_slice_of(id->value[KB_ID_USER]);
	return (struct kb_slice) { NULL, 0 };
}

static struct kb_slice
of_ip(struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	(void)b;
	(void)s;
	return kb_slice_of(exchange_client_ip(x));
}

static struct kb_slice
of_header(
    struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	(void)b;
	return exchange_header(x, s->header);
}

/* "name=value" among parts, as it stands there. */
static struct kb_slice
member(struct kb_slice all, char separator, const char *name)
{
	size_t n = strlen(name);
	struct kb_slice part;

	while (kb_slice_next(&all, separator, &part)) {
		part = kb_slice_trim(part);
		if (part.len > n && part.ptr[n] == '=' &&
		    memcmp(part.ptr, name, n) == 0)
			return (struct kb_slice) { part.ptr + n + 1,
				part.len - n - 1 };
	}
	return (struct kb_slice) { NULL, 0 };
}

/* A client without the cookie gets one, and so comes back to its target. */
static struct kb_slice
of_cookie(
    struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	struct kb_slice all = exchange_header(x, "Cookie"), value;
	char *id;

	(void)s;
	value = all.len ? member(all, ';', b->cookie) : all;
	if (value.len)
		return value;
	id = kb_arena_alloc(exchange_arena(x), KB_UUID_SIZE);
	kb_uuid4(id);
	exchange_add_response(x, "Set-Cookie",
	    kb_sprintf(exchange_arena(x),
		"%s=%s; Path=%s; SameSite=Lax; HttpOnly", b->cookie, id,
		b->cookie_path));
	return kb_slice_of(id);
}

static struct kb_slice
of_path(
    struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	(void)b;
	(void)s;
	return exchange_path(x);
}

static struct kb_slice
of_query(
    struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	struct kb_slice query = exchange_query(x);

	(void)b;
	return query.len ? member(query, '&', s->query_arg) : query;
}

static struct kb_slice
of_capture(
    struct exchange *x, const struct balance *b, const struct hash_source *s)
{
	(void)b;
	return exchange_capture(x, s->uri_capture);
}

static struct kb_slice (*const readers[])(struct exchange *x,
    const struct balance *b, const struct hash_source *s) = {
	[HASH_CONSUMER] = of_consumer,
	[HASH_IP] = of_ip,
	[HASH_HEADER] = of_header,
	[HASH_COOKIE] = of_cookie,
	[HASH_PATH] = of_path,
	[HASH_QUERY_ARG] = of_query,
	[HASH_URI_CAPTURE] = of_capture,
};

uint64_t
balance_key(struct exchange *x)
{
	const struct balance *b = x->route->service->upstream->balance;
	const struct hash_source *sources[2];

	if (b == NULL || b->algorithm != CONSISTENT_HASHING)
		return 0;
	sources[0] = &b->source;
	sources[1] = &b->fallback;
	for (size_t i = 0; i < 2; i++) {
		struct kb_slice value = { NULL, 0 };

		if (sources[i]->on != HASH_NONE)
			value = readers[sources[i]->on](x, b, sources[i]);
		if (value.len)
			return balance_hash(value.ptr, value.len);
	}
	return 0;
}

/* ---- latency
 * ----------------------------------------------------------------- */

enum { HALF_MS = 10000, HALVINGS_MAX = 20 };

uint64_t
latency_mean(uint64_t mean_us, int64_t since_ms, uint64_t sample_us)
{
	uint64_t since = since_ms > 1 ? (uint64_t)since_ms : 1;

	if (mean_us == 0)
		return sample_us ? sample_us : 1;
	if (since > 100 * HALF_MS)
		since = 100 * HALF_MS;
	return (mean_us * HALF_MS + sample_us * since) / (HALF_MS + since) + 1;
}

uint64_t
latency_score(uint64_t mean_us, int64_t age_ms, unsigned calls)
{
	int64_t halvings = age_ms / HALF_MS;

	if (halvings > HALVINGS_MAX)
		halvings = HALVINGS_MAX;
	return ((mean_us >> halvings) + 1) * ((uint64_t)calls + 1);
}
