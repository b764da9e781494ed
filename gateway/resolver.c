/*
 * Names of upstream targets: looked up when a configuration is loaded and
 * again every 30 s (every 5 s while unknown) in a thread of its own, so that
 * no loop ever waits for DNS. Old addresses stay while a look-up fails.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { AGAIN_MS = 30000, UNKNOWN_AGAIN_MS = 5000 };

struct resolver {
	pthread_mutex_t lock; /* covers everything below */
	pthread_cond_t changed;
	struct peer **peers;
	size_t n, cap;
	bool running, stop;
	pthread_t thread;
};

struct resolver *
resolver_new(void)
{
	struct resolver *r = kb_xalloc(sizeof(*r));
	pthread_condattr_t attr;

	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

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

static size_t
look_up(const char *host, int port, struct peer_address *out)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char name[256], service[8];
	size_t n = 0;

	bare_host(host, name, sizeof(name));
	snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(name, service, &hints, &list) != 0)
		return 0;
	for (const struct addrinfo *a = list; a && n < PEER_ADDRESSES;
	     a = a->ai_next) {
		if (a->ai_addrlen > sizeof(out[n].addr))
			continue;
		memset(&out[n], 0, sizeof(out[n]));
		memcpy(&out[n].addr, a->ai_addr, a->ai_addrlen);
		out[n++].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return n;
}

static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct peer_address));
}

static void
keep(struct peer *p, struct peer_address *found, size_t n)
{
	p->due_ms = kb_mono_ms() + (n || p->n ? AGAIN_MS : UNKNOWN_AGAIN_MS);
	if (n == 0) {
		p->due_ms = kb_mono_ms() + UNKNOWN_AGAIN_MS;
		return;
	}
	qsort(found, n, sizeof(*found), by_bytes);
	if (n == p->n && memcmp(found, p->addresses, n * sizeof(*found)) == 0)
		return;
	memcpy(p->addresses, found, n * sizeof(*found));
	p->n = n;
	atomic_fetch_add(&p->generation, 1);
}

static struct peer *
find_peer(const struct resolver *r, const char *host, int port)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->peers[i]->port == port &&
		    kb_str_eq(r->peers[i]->host, host))
			return r->peers[i];
	return NULL;
}

static struct peer *
new_peer(const char *host, int port)
{
	struct peer *p = kb_xalloc(sizeof(*p));
	struct peer_address found[PEER_ADDRESSES] = { 0 };
	unsigned char bytes[16];
	char name[256];

	memset(p, 0, sizeof(*p));
	p->host = kb_xstrdup(host);
	p->port = port;
	bare_host(host, name, sizeof(name));
	p->literal = inet_pton(AF_INET, name, bytes) == 1 ||
	    inet_pton(AF_INET6, name, bytes) == 1;
	keep(p, found, look_up(host, port, found));
	return p;
}

static void
add_peer(struct resolver *r, struct peer *p)
{
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->peers = kb_xrealloc(r->peers, r->cap * sizeof(*r->peers));
	}
	r->peers[r->n++] = p;
	pthread_cond_signal(&r->changed);
}

struct peer *
resolver_peer(struct resolver *r, const char *host, int port)
{
	struct peer *p;

	pthread_mutex_lock(&r->lock);
	p = find_peer(r, host, port);
	pthread_mutex_unlock(&r->lock);
	if (p != NULL)
		return p;
	/* Without the lock: loops must not wait for a name. */
	p = new_peer(host, port);
	pthread_mutex_lock(&r->lock);
	add_peer(r, p);
	pthread_mutex_unlock(&r->lock);
	return p;
}

/* The peer whose look-up is due first; NULL: only literal ones. */
static struct peer *
next_due(const struct resolver *r)
{
	struct peer *next = NULL;

	for (size_t i = 0; i < r->n; i++)
		if (!r->peers[i]->literal &&
		    (next == NULL || r->peers[i]->due_ms < next->due_ms))
			next = r->peers[i];
	return next;
}

static void
wait_until(struct resolver *r, int64_t ms)
{
	struct timespec at = { .tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * 1000000 };

	pthread_cond_timedwait(&r->changed, &r->lock, &at);
}

static void *
run(void *arg)
{
	struct resolver *r = arg;
	struct peer_address found[PEER_ADDRESSES];

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct peer *p = next_due(r);
		size_t n;

		if (p == NULL) {
			pthread_cond_wait(&r->changed, &r->lock);
			continue;
		}
		if (p->due_ms > kb_mono_ms()) {
			wait_until(r, p->due_ms);
			continue;
		}
		/* Host and port of a peer never change. */
		pthread_mutex_unlock(&r->lock);
		n = look_up(p->host, p->port, found);
		pthread_mutex_lock(&r->lock);
		keep(p, found, n);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

void
resolver_start(struct resolver *r)
{
	r->running = pthread_create(&r->thread, NULL, run, r) == 0;
}

void
resolver_free(struct resolver *r)
{
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (r->running)
		pthread_join(r->thread, NULL);
	for (size_t i = 0; i < r->n; i++) {
		free(r->peers[i]->host);
		free(r->peers[i]);
	}
	free(r->peers);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
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
