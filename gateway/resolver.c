/*
 * Names of upstream targets, looked up by a few threads of their own, so that
 * neither a loop nor the main thread ever waits for DNS. What is known is
 * asked again every 30 s, what is unknown or fails sooner, later and later;
 * always at slightly varied times. Addresses stay while a look-up fails.
 *
 * getaddrinfo, not a resolver of our own: what the machine resolves otherwise
 * (hosts file, mDNS of a homelab, search lists) has to work here too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kombi/crypto.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum {
	AGAIN_MS = 30000,
	FIRST_FAIL_MS = 1000, /* doubles with every failure */
	LAST_FAIL_MS = 15000,
	THREADS = 8,
	STACK = 256 * 1024,
	STOP_MS = 1000,
	BUCKETS = 4096,
};

struct resolver {
	pthread_mutex_t lock; /* covers everything below */
	pthread_cond_t work;  /* something may be due */
	pthread_cond_t told;  /* a first answer came, or a thread ended */
	struct peer *buckets[BUCKETS];
	struct peer **heap; /* of those not being looked up, by due_ms */
	size_t n, cap;
	size_t unknown; /* never answered yet, either way */
	unsigned threads;
	bool stop, orphan;
};

static struct kb_metric lookups = {
	.kind = KB_COUNTER,
	.name = "kombi_gateway_dns_lookups_total",
	.help = "Look-ups of names of targets",
	.labels = { "result" },
};

void
resolver_register(void)
{
	kb_metric_register(&lookups);
}

static void
count(bool fine)
{
	const char *const labels[KB_METRIC_LABELS] = { fine ? "ok" : "failed" };

	kb_series_add(kb_metric_series(&lookups, labels), 1);
}

struct resolver *
resolver_new(void)
{
	struct resolver *r = kb_xalloc(sizeof(*r));
	pthread_condattr_t attr;

	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->work, &attr);
	pthread_cond_init(&r->told, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

static void
wait_until(struct resolver *r, pthread_cond_t *what, int64_t ms)
{
	struct timespec at = { .tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * 1000000 };

	pthread_cond_timedwait(what, &r->lock, &at);
}

/* ---- what is due next -------------------------------------------------------
 */

static void
swap(struct resolver *r, size_t a, size_t b)
{
	struct peer *p = r->heap[a];

	r->heap[a] = r->heap[b];
	r->heap[b] = p;
}

static void
heap_add(struct resolver *r, struct peer *p)
{
	size_t at = r->n;

	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->heap = kb_xrealloc(r->heap, r->cap * sizeof(*r->heap));
	}
	r->heap[r->n++] = p;
	while (at > 0 && r->heap[(at - 1) / 2]->due_ms > r->heap[at]->due_ms) {
		swap(r, at, (at - 1) / 2);
		at = (at - 1) / 2;
	}
	if (at == 0 || p->due_ms == 0)
		pthread_cond_signal(&r->work);
}

static struct peer *
heap_take(struct resolver *r)
{
	struct peer *first = r->heap[0];
	size_t at = 0, next;

	r->heap[0] = r->heap[--r->n];
	while ((next = 2 * at + 1) < r->n) {
		if (next + 1 < r->n &&
		    r->heap[next + 1]->due_ms < r->heap[next]->due_ms)
			next++;
		if (r->heap[at]->due_ms <= r->heap[next]->due_ms)
			break;
		swap(r, at, next);
		at = next;
	}
	return first;
}

/* ---- looking up -------------------------------------------------------------
 */

/* "[::1]" without its brackets. */
static void
bare_host(const char *host, char *out, size_t size)
{
	size_t n = strlen(host);

	if (n > 2 && host[0] == '[' && host[n - 1] == ']')
		snprintf(out, size, "%.*s", (int)(n - 2), host + 1);
	else
		snprintf(out, size, "%s", host);
}

struct found {
	struct peer_address v[PEER_ADDRESSES];
	size_t n;
	int problem; /* EAI_*; 0: none */
};

static void
look_up(const struct peer *p, int flags, struct found *out)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | flags };
	struct addrinfo *list = NULL;
	char name[256], service[8];

	memset(out, 0, sizeof(*out));
	bare_host(p->host, name, sizeof(name));
	snprintf(service, sizeof(service), "%d", p->port);
	out->problem = getaddrinfo(name, service, &hints, &list);
	if (out->problem != 0)
		return;
	for (const struct addrinfo *a = list; a && out->n < PEER_ADDRESSES;
	     a = a->ai_next) {
		if (a->ai_addrlen > sizeof(out->v[0].addr))
			continue;
		memcpy(&out->v[out->n].addr, a->ai_addr, a->ai_addrlen);
		out->v[out->n++].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
}

static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct peer_address));
}

/* A tenth more or less, so that names do not stay in step. */
static int64_t
varied(int64_t ms)
{
	uint32_t r;

	kb_random(&r, sizeof(r));
	return ms - ms / 10 + (int64_t)(r % (uint32_t)(ms / 5 + 1));
}

static void
failed(struct peer *p, int problem)
{
	int64_t ms = (int64_t)FIRST_FAIL_MS
	    << (p->failures < 5 ? p->failures : 5);

	if (p->failures++ == 0)
		kb_warn(NULL, "a target's name cannot be looked up",
		    KB_S("host", p->host), KB_S("why", gai_strerror(problem)),
		    KB_N("addressesKept", (int64_t)p->n));
	p->due_ms = kb_mono_ms() +
	    varied(ms > LAST_FAIL_MS ? LAST_FAIL_MS : ms);
	atomic_store(&p->problem, problem);
}

/* What a look-up told; the lock is held. */
static void
keep(struct peer *p, struct found *f)
{
	if (f->n == 0) {
		failed(p, f->problem ? f->problem : EAI_NONAME);
		return;
	}
	if (p->failures)
		kb_info(NULL, "a target's name is known again",
		    KB_S("host", p->host));
	p->failures = 0;
	atomic_store(&p->problem, 0);
	p->due_ms = kb_mono_ms() + varied(AGAIN_MS);
	qsort(f->v, f->n, sizeof(*f->v), by_bytes);
	if (f->n == p->n && memcmp(f->v, p->addresses, sizeof(f->v)) == 0)
		return;
	memcpy(p->addresses, f->v, sizeof(f->v));
	p->n = f->n;
	atomic_fetch_add(&p->generation, 1);
}

/* ---- peers ------------------------------------------------------------------
 */

static struct peer **
bucket_of(struct resolver *r, const char *host, int port)
{
	return &r->buckets[(kb_hash(host, strlen(host)) + (unsigned)port) %
	    BUCKETS];
}

static struct peer *
new_peer(const char *host, int port)
{
	struct peer *p = kb_xalloc(sizeof(*p));
	unsigned char bytes[16];
	struct found f;
	char name[256];

	memset(p, 0, sizeof(*p));
	p->host = kb_xstrdup(host);
	p->port = port;
	bare_host(host, name, sizeof(name));
	p->literal = inet_pton(AF_INET, name, bytes) == 1 ||
	    inet_pton(AF_INET6, name, bytes) == 1;
	if (p->literal) {
		look_up(p, AI_NUMERICHOST, &f);
		keep(p, &f);
	}
	return p;
}

static void
peer_free(struct peer *p)
{
	free(p->host);
	free(p);
}

struct peer *
resolver_peer(struct resolver *r, const char *host, int port)
{
	struct peer **bucket = bucket_of(r, host, port), *p;

	pthread_mutex_lock(&r->lock);
	for (p = *bucket; p != NULL; p = p->next)
		if (p->port == port && kb_str_eq(p->host, host))
			break;
	if (p == NULL) {
		p = new_peer(host, port);
		p->next = *bucket;
		*bucket = p;
		if (!p->literal) {
			r->unknown++;
			heap_add(r, p);
		}
	}
	p->refs++;
	pthread_mutex_unlock(&r->lock);
	return p;
}

void
resolver_release(struct resolver *r, struct peer *p)
{
	struct peer **at = bucket_of(r, p->host, p->port);

	pthread_mutex_lock(&r->lock);
	if (--p->refs == 0) {
		while (*at != p)
			at = &(*at)->next;
		*at = p->next;
		p->gone = true; /* its turn to be looked up is its end */
		if (p->literal)
			peer_free(p);
	}
	pthread_mutex_unlock(&r->lock);
}

static void
settled(struct resolver *r, struct peer *p)
{
	if (p->asked)
		return;
	p->asked = true;
	if (--r->unknown == 0)
		pthread_cond_broadcast(&r->told);
}

static void
look(struct resolver *r, struct peer *p)
{
	struct found f;

	if (p->gone) {
		settled(r, p);
		peer_free(p);
		return;
	}
	/* Host and port of a peer never change. */
	pthread_mutex_unlock(&r->lock);
	look_up(p, AI_ADDRCONFIG, &f);
	count(f.n > 0);
	pthread_mutex_lock(&r->lock);
	keep(p, &f);
	settled(r, p);
	heap_add(r, p);
}

static void
destroy(struct resolver *r)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct peer *p = r->buckets[i], *next;

		for (; p != NULL; p = next) {
			next = p->next;
			if (p->literal)
				peer_free(p);
		}
	}
	/* Nobody is looking up any more: all others are there. */
	for (size_t i = 0; i < r->n; i++)
		peer_free(r->heap[i]);
	free(r->heap);
	pthread_cond_destroy(&r->work);
	pthread_cond_destroy(&r->told);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void *
run(void *arg)
{
	struct resolver *r = arg;
	bool last;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		if (r->n == 0)
			pthread_cond_wait(&r->work, &r->lock);
		else if (r->heap[0]->due_ms > kb_mono_ms())
			wait_until(r, &r->work, r->heap[0]->due_ms);
		else
			look(r, heap_take(r));
	}
	r->threads--;
	last = r->threads == 0 && r->orphan;
	pthread_cond_broadcast(&r->told);
	pthread_mutex_unlock(&r->lock);
	if (last)
		destroy(r);
	return NULL;
}

/* ---- life -------------------------------------------------------------------
 */

void
resolver_start(struct resolver *r)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_mutex_lock(&r->lock);
	while (
	    r->threads < THREADS && pthread_create(&thread, &attr, run, r) == 0)
		r->threads++;
	pthread_mutex_unlock(&r->lock);
	pthread_attr_destroy(&attr);
}

void
resolver_wait(struct resolver *r, int64_t ms)
{
	int64_t end = kb_mono_ms() + ms;

	pthread_mutex_lock(&r->lock);
	while (r->threads > 0 && r->unknown > 0 && kb_mono_ms() < end)
		wait_until(r, &r->told, end);
	pthread_mutex_unlock(&r->lock);
}

/* A thread may be stuck in a look-up for long: then it is the last one, and
 * cleans up. */
void
resolver_free(struct resolver *r)
{
	int64_t end = kb_mono_ms() + STOP_MS;

	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->work);
	while (r->threads > 0 && kb_mono_ms() < end)
		wait_until(r, &r->told, end);
	r->orphan = r->threads > 0;
	pthread_mutex_unlock(&r->lock);
	if (!r->orphan)
		destroy(r);
}

size_t
resolver_addresses(struct resolver *r, struct peer *p,
    struct peer_address out[PEER_ADDRESSES], unsigned *generation)
{
	size_t n;

	pthread_mutex_lock(&r->lock);
	n = p->n;
	if (n)
		memcpy(out, p->addresses, n * sizeof(*out));
	*generation = atomic_load(&p->generation);
	pthread_mutex_unlock(&r->lock);
	return n;
}

const char *
peer_problem(const struct peer *p)
{
	int problem = atomic_load(&p->problem);

	return problem ? gai_strerror(problem) : NULL;
}
