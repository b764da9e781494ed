/*
 * The client engine's transport: the bare socket, or TLS on it.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include <kombi/arena.h>

#include "http_client_private.h"

static void
want_write(struct conn *c)
{
	if (c->reading)
		event_del(&c->readable);
	c->reading = false;
	c->write_armed = true;
	event_add(&c->writable, NULL);
}

static void
want_read(struct conn *c)
{
	if (!c->reading)
		event_add(&c->readable, NULL);
	c->reading = true;
}

static enum connected
shake_failed(struct conn *c)
{
	struct kb_arena *a = kb_arena_new(0);

	snprintf(c->origin->problem, sizeof(c->origin->problem), "%s",
	    kb_tls_problem(c->tls, a));
	kb_arena_free(a);
	return CONN_FAILED;
}

enum connected
kb_wire_shake(struct conn *c)
{
	const struct kb_origin *o = c->origin;

	if (o->tls == NULL)
		return CONN_READY;
	if (c->tls == NULL)
		c->tls = kb_tls_connect(o->tls, c->fd, o->name);
	switch (kb_tls_handshake(c->tls)) {
	case KB_TLS_WANT_READ: want_read(c); return CONN_WAITS;
	case KB_TLS_WANT_WRITE: want_write(c); return CONN_WAITS;
	case KB_TLS_DONE: return CONN_READY;
	default: return shake_failed(c);
	}
}

ssize_t
kb_wire_recv(struct conn *c, void *to, size_t len)
{
	if (c->tls != NULL)
		return kb_tls_read(c->tls, to, len);
	return recv(c->fd, to, len, 0);
}

ssize_t
kb_wire_sendv(struct conn *c, struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	size_t sent = 0;

	if (c->tls == NULL)
		return n == 1
		    ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
		    : sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	/* A record at a time, until the socket takes no more. */
	while (sent < iov->iov_len) {
		ssize_t one = kb_tls_write(c->tls,
		    (const char *)iov->iov_base + sent, iov->iov_len - sent);

		if (one < 0 && sent == 0)
			return -1;
		if (one < 0)
			break;
		sent += (size_t)one;
	}
	return (ssize_t)sent;
}

bool
kb_wire_is_quiet(struct conn *c)
{
	char byte;

	/* TLS has messages of its own: tickets come after the handshake. */
	return c->tls != NULL && kb_tls_read(c->tls, &byte, 1) < 0 &&
	    errno == EAGAIN;
}

void
kb_wire_drop(struct conn *c)
{
	if (c->tls == NULL)
		return;
	if (!c->connecting)
		kb_tls_end(c->tls);
	kb_tls_free(c->tls);
	c->tls = NULL;
}

void
kb_wire_end(struct conn *c)
{
	if (c->tls != NULL)
		kb_tls_end(c->tls);
	(void)shutdown(c->fd, SHUT_WR);
}
