/*
 * The look-up of a Redis server's name on a thread of its own, because the
 * resolver blocks. The thread and the client share one small struct; who
 * leaves last frees it.
 */
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <kombi/arena.h>
#include <kombi/crypto.h>

#include "redis_private.h"

struct redis_lookup {
	char *host;
	char port[16];
	int done; /* eventfd */
	_Atomic int users;
	bool found;
	union redis_address address;
	socklen_t len;
	struct kb_redis *client; /* its thread only */
	struct event ready;
};

static void
unuse(struct redis_lookup *l)
{
	if (--l->users > 0)
		return;
	close(l->done);
	free(l->host);
	free(l);
}

/* One of the addresses, another one each time: a dead one is not for ever. */
static void
pick(struct redis_lookup *l, const struct addrinfo *all)
{
	const struct addrinfo *ai;
	unsigned n = 0, chosen;

	for (ai = all; ai; ai = ai->ai_next)
		n++;
	kb_random(&chosen, sizeof(chosen));
	chosen %= n;
	for (ai = all; chosen > 0; chosen--)
		ai = ai->ai_next;
	if (ai->ai_addrlen > sizeof(l->address))
		return;
	memcpy(&l->address, ai->ai_addr, ai->ai_addrlen);
	l->len = ai->ai_addrlen;
	l->found = true;
}

static void *
look_up(void *arg)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM };
	struct redis_lookup *l = arg;
	struct addrinfo *all = NULL;
	const uint64_t one = 1;

	if (getaddrinfo(l->host, l->port, &hints, &all) == 0 && all) {
		pick(l, all);
		freeaddrinfo(all);
	}
	if (write(l->done, &one, sizeof(one)) != (ssize_t)sizeof(one))
		l->found = false;
	unuse(l);
	return NULL;
}

void
kb_redis_lookup_drop(struct kb_redis *r)
{
	struct redis_lookup *l = r->lookup;

	if (!l)
		return;
	r->lookup = NULL;
	event_del(&l->ready);
	unuse(l);
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct redis_lookup *l = arg;
	struct kb_redis *r = l->client;
	union redis_address address = l->address;
	socklen_t len = l->len;
	bool found = l->found;

	(void)fd;
	(void)what;
	kb_redis_lookup_drop(r);
	kb_redis_dial_address(r, found ? &address : NULL, len);
}

static bool
numeric(const struct kb_redis *r, union redis_address *out, socklen_t *len)
{
	const uint16_t port = htons((uint16_t)r->conf.port);

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, r->host, &out->v4.sin_addr) == 1) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = port;
		*len = sizeof(out->v4);
		return true;
	}
	if (inet_pton(AF_INET6, r->host, &out->v6.sin6_addr) != 1)
		return false;
	out->v6.sin6_family = AF_INET6;
	out->v6.sin6_port = port;
	*len = sizeof(out->v6);
	return true;
}

void
kb_redis_lookup(struct kb_redis *r)
{
	union redis_address address;
	struct redis_lookup *l;
	socklen_t len = 0;
	pthread_t thread;
	pthread_attr_t attr;
	int failed;

	if (numeric(r, &address, &len)) {
		kb_redis_dial_address(r, &address, len);
		return;
	}
	l = kb_xalloc(sizeof(*l));
	memset(l, 0, sizeof(*l));
	l->host = kb_xstrdup(r->host);
	snprintf(l->port, sizeof(l->port), "%d", r->conf.port);
	l->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->users = 2;
	l->client = r;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	failed = l->done < 0 || pthread_create(&thread, &attr, look_up, l);
	pthread_attr_destroy(&attr);
	if (failed) {
		l->users = 1;
		unuse(l);
		kb_redis_dial_address(r, NULL, 0);
		return;
	}
	r->lookup = l;
	event_assign(&l->ready, r->conf.base, l->done, EV_READ, on_ready, l);
	event_add(&l->ready, NULL);
}
