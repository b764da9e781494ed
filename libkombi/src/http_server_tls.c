/*
 * TLS under the HTTP/1.1 server: handshakes before the first request, a few
 * in each turn of the loop since each costs as much as a hundred requests,
 * and ends that the client can tell from a cut.
 */
#include <errno.h>
#include <sys/socket.h>

#include "http_server_private.h"

#define TURN_STEPS 2 /* of handshakes; the others' turn is the next one */

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct kb_server *s = arg;

	(void)fd;
	(void)what;
	s->shakes = 0;
}

void
kb_shake_init(struct kb_server *s)
{
	event_assign(&s->turn, s->base, -1, 0, on_turn, s);
}

void
kb_shake_stop(struct kb_server *s)
{
	event_del(&s->turn);
	kb_tls_server_unref(s->tls);
	s->tls = NULL;
}

void
kb_server_set_tls(struct kb_server *s, struct kb_tls_server *tls)
{
	struct kb_tls_server *old = s->tls;

	s->tls = kb_tls_server_ref(tls);
	kb_tls_server_unref(old);
}

/* False: enough for this turn; the event is level-triggered and comes again. */
static bool
may_step(struct kb_server *s)
{
	/* Behind all that is ready now. */
	if (s->shakes == 0)
		event_active(&s->turn, EV_TIMEOUT, 0);
	return s->shakes++ < TURN_STEPS;
}

static void
wait_for(struct kb_conn *c, short what)
{
	if (event_get_events(&c->ev) & what)
		return;
	event_del(&c->ev);
	event_assign(&c->ev, c->server->base, event_get_fd(&c->ev),
	    (short)(what | EV_PERSIST), kb_conn_readable, c);
	event_add(&c->ev, NULL);
	c->reading = true;
}

static void
shake_done(struct kb_conn *c)
{
	c->shaking = false;
	kb_count(&c->server->stats.handshakes, 1);
	wait_for(c, EV_READ);
	kb_conn_settle(c);
}

static void
shake_failed(struct kb_conn *c)
{
	kb_count(&c->server->stats.handshakes_failed, 1);
	kb_conn_break(c, KB_END_ERROR);
}

/* Memory for TLS is taken when the first bytes are there, and not before. */
static bool
begin(struct kb_conn *c)
{
	char first;
	ssize_t n = recv(event_get_fd(&c->ev), &first, 1, MSG_PEEK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		kb_conn_free(c);
		return false;
	}
	c->tls = kb_tls_accept(c->server->tls, event_get_fd(&c->ev));
	kb_conn_wait(c, KB_WAIT_HEAD);
	return true;
}

void
kb_conn_shake(struct kb_conn *c)
{
	if (!may_step(c->server) || (c->tls == NULL && !begin(c)))
		return;
	switch (kb_tls_handshake(c->tls)) {
	case KB_TLS_DONE: shake_done(c); break;
	case KB_TLS_WANT_READ: wait_for(c, EV_READ); break;
	case KB_TLS_WANT_WRITE: wait_for(c, EV_WRITE); break;
	case KB_TLS_FAILED: shake_failed(c); break;
	}
}

int
kb_conn_shut(struct kb_conn *c)
{
	if (c->tls != NULL)
		kb_tls_end(c->tls);
	return shutdown(event_get_fd(&c->ev), SHUT_WR);
}

void
kb_conn_drop_tls(struct kb_conn *c)
{
	if (c->tls == NULL)
		return;
	/* A client must not take what was cut for complete. */
	if (!c->cut && !c->shaking)
		kb_tls_end(c->tls);
	kb_tls_free(c->tls);
	c->tls = NULL;
}
