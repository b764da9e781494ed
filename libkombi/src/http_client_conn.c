/*
 * Connections of the client engine: opening, pooling, writing, deadlines.
 * One timer a connection is enough: it is moved only when it would fire too
 * late, and looks at the real deadline when it fires.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/arena.h>
#include <kombi/time.h>

#include "http_client_private.h"

/* ---- deadlines ----------------------------------------------------------- */

static struct timeval
timeval_of(int64_t ms)
{
	return (struct timeval) {
		.tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000) * 1000,
	};
}

/*
 * The few durations that a configuration has get queues of their own in
 * libevent; whatever else is left of a duration goes to its heap.
 */
static const struct timeval *
duration(struct kb_client *client, int64_t ms, struct timeval *room)
{
	*room = timeval_of(ms);
	for (size_t i = 0; i < CLIENT_TIMEOUTS; i++) {
		if (client->timeouts[i].ms == ms)
			return client->timeouts[i].tv;
		if (client->timeouts[i].ms == 0) {
			client->timeouts[i].tv = event_base_init_common_timeout(
			    client->conf.base, room);
			client->timeouts[i].ms = ms;
			break;
		}
	}
	return room;
}

/*
 * The connection has until `at` (0: for ever). `usual`: that is a duration of
 * the settings from now.
 */
static void
set_deadline(struct conn *c, int64_t now, int64_t at, bool usual)
{
	int64_t ms = at > now ? at - now : 1;
	struct timeval room;
	const struct timeval *tv = &room;

	c->deadline = at;
	if (at == 0 || (c->timer_at && c->timer_at <= at))
		return;
	if (usual)
		tv = duration(c->origin->client, ms, &room);
	else
		room = timeval_of(ms);
	c->timer_at = now + ms;
	event_add(&c->timer, tv);
}

/* How long the present state of the call may last; 0: as long as it likes. */
static int64_t
patience(const struct conn *c)
{
	const struct kb_call *call = c->call;

	if (c->connecting)
		return call->conf.connect_ms;
	if (kb_call_pending(call) > 0)
		return call->conf.write_ms;
	if (call->phase == CALL_TUNNEL || call->paused)
		return 0;
	return call->ended ? call->conf.read_ms : 0;
}

void
kb_conn_touch(struct conn *c)
{
	int64_t ms = patience(c), now = kb_mono_coarse_ms();
	int64_t at = ms > 0 ? now + KB_COARSE_MS + ms : 0;
	int64_t total = c->call->phase == CALL_TUNNEL ? 0 : c->call->total_at;

	if (total && (at == 0 || total < at))
		set_deadline(c, now, total, false);
	else
		set_deadline(c, now, at, true);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	int64_t now = kb_mono_coarse_ms();

	(void)fd;
	(void)what;
	c->timer_at = 0;
	if (c->fd < 0)
		kb_answer_fail(c, KB_CALL_CONNECT);
	else if (c->deadline > now)
		set_deadline(c, now, c->deadline, false);
	else if (c->deadline == 0)
		return;
	else if (!c->call)
		kb_conn_close(c);
	else
		kb_answer_fail(
		    c, c->connecting ? KB_CALL_CONNECT : KB_CALL_TIMEOUT);
}

/* ---- reading ---------------------------------------------------------------
 */

void
kb_conn_reading(struct conn *c, bool on)
{
	if (on == c->reading || c->connecting || c->fd < 0)
		return;
	c->reading = on;
	if (on)
		event_add(&c->readable, NULL);
	else
		event_del(&c->readable);
}

static void connect_step(struct conn *c);

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	char *scratch = c->origin->client->scratch;
	ssize_t n;

	(void)what;
	(void)fd;
	if (!c->call) { /* idle: closed, or bytes that nobody asked for */
		if (!kb_wire_is_quiet(c))
			kb_conn_close(c);
		return;
	}
	if (c->connecting) { /* TLS is being agreed on */
		connect_step(c);
		return;
	}
	if (c->call->paused)
		return;
	if (c->call->stashed) {
		kb_answer_feed(c, NULL, 0);
		return;
	}
	n = kb_wire_recv(c, scratch, CLIENT_SCRATCH);
	if (n > 0)
		kb_answer_feed(c, scratch, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		kb_answer_eof(c, n < 0);
}

/* ---- writing ---------------------------------------------------------------
 */

static void
arm_write(struct conn *c)
{
	if (!c->write_armed) {
		c->write_armed = true;
		event_add(&c->writable, NULL);
	}
}

/* What is sent is forgotten, unless a retry may want it. */
static void
drop_sent(struct kb_call *call)
{
	if (call->broken ||
	    (call->conf.body_length == 0 && call->phase != CALL_TUNNEL))
		return;
	if (call->out_off == call->out.len) {
		kb_buf_reset(&call->out);
		call->out_off = 0;
	} else if (call->out_off > CLIENT_SCRATCH) {
		kb_buf_consume(&call->out, call->out_off);
		call->out_off = 0;
	}
}

/* Sends what the socket takes of iov; bytes that it took. */
static size_t
send_some(struct conn *c, struct iovec *iov, size_t n)
{
	ssize_t sent = kb_wire_sendv(c, iov, n);

	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			c->call->broken = true;
		return 0;
	}
	c->call->sent |= sent > 0;
	return (size_t)sent;
}

/* After sending: wait for the socket, or for what the user has to say. */
static void
after_send(struct conn *c, bool progress)
{
	struct kb_call *call = c->call;

	drop_sent(call);
	if (kb_call_pending(call) > 0) {
		progress |= !c->write_armed;
		arm_write(c);
	} else if (call->phase == CALL_TUNNEL && call->ended && !call->broken) {
		kb_wire_end(c);
	}
	if (call->choked &&
	    kb_call_pending(call) < c->origin->client->conf.high_water / 2)
		event_active(&c->writable, EV_WRITE, 0);
	if (progress)
		kb_conn_touch(c);
}

void
kb_conn_flush(struct conn *c)
{
	struct kb_call *call = c->call;
	struct iovec iov;
	size_t n = 0;

	if (c->connecting || c->fd < 0)
		return;
	iov.iov_len = kb_call_pending(call);
	if (iov.iov_len > 0) {
		iov.iov_base = call->out.ptr + call->out_off;
		n = send_some(c, &iov, 1);
	}
	call->out_off += n;
	after_send(c, n > 0 || call->broken);
}

/* Keeps what follows the first `skip` bytes of the iov for later. */
static void
keep_rest(struct kb_call *call, const struct iovec *iov, int n, size_t skip)
{
	for (int i = 0; i < n; i++) {
		size_t off = skip < iov[i].iov_len ? skip : iov[i].iov_len;

		skip -= off;
		kb_buf_add(&call->out, (const char *)iov[i].iov_base + off,
		    iov[i].iov_len - off);
	}
}

void
kb_conn_put(struct conn *c, const struct iovec *iov, int n)
{
	struct kb_call *call = c->call;
	size_t waiting = kb_call_pending(call), sent;
	struct iovec all[4];

	assert(n < (int)KB_COUNT(all));
	if (c->connecting || c->write_armed || c->fd < 0 || call->broken) {
		/* A retry may want what a broken connection did not take. */
		if (!call->broken || !call->sent)
			keep_rest(call, iov, n, 0);
		return;
	}
	if (c->tls) { /* one record for all of it */
		keep_rest(call, iov, n, 0);
		kb_conn_flush(c);
		return;
	}
	memcpy(all + 1, iov, (size_t)n * sizeof(*iov));
	if (waiting > 0) {
		all[0].iov_base = call->out.ptr + call->out_off;
		all[0].iov_len = waiting;
		sent = send_some(c, all, (size_t)n + 1);
	} else {
		sent = send_some(c, all + 1, (size_t)n);
	}
	call->out_off += sent < waiting ? sent : waiting;
	keep_rest(call, iov, n, sent < waiting ? 0 : sent - waiting);
	after_send(c, sent > 0 || call->broken);
}

static enum connected
end_connect(struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);
	enum connected now;

	if (!c->tls &&
	    (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err))
		return CONN_FAILED;
	now = kb_wire_shake(c);
	if (now != CONN_READY)
		return now;
	c->connecting = false;
	c->origin->stats.connects++;
	kb_conn_reading(c, !c->call->paused);
	return CONN_READY;
}

static void
connect_step(struct conn *c)
{
	switch (end_connect(c)) {
	case CONN_FAILED: kb_answer_fail(c, KB_CALL_CONNECT); return;
	case CONN_WAITS: return;
	case CONN_READY: break;
	}
	kb_conn_flush(c);
	kb_answer_writable(c);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	/* It may be due by the loop and by event_active at once. */
	c->write_armed = event_pending(&c->writable, EV_WRITE, NULL) != 0;
	if (c->connecting) {
		connect_step(c);
		return;
	}
	kb_conn_flush(c);
	kb_answer_writable(c);
}

/* ---- opening and closing ----------------------------------------------------
 */

static int
open_socket(const struct kb_origin *o, bool *connecting)
{
	int one = 1, fd;

	fd = socket(
	    o->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (o->addr.ss_family != AF_UNIX)
		(void)setsockopt(
		    fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*connecting = false;
	if (connect(fd, (const struct sockaddr *)&o->addr, o->addr_len) == 0)
		return fd;
	*connecting = errno == EINPROGRESS;
	if (*connecting)
		return fd;
	close(fd);
	return -1;
}

static struct conn *
new_conn(struct kb_origin *o)
{
	struct kb_client *client = o->client;
	struct conn *c = TAILQ_FIRST(&client->free_conns);

	if (c)
		TAILQ_REMOVE(&client->free_conns, c, link);
	else
		c = kb_xalloc(sizeof(*c));
	memset(c, 0, sizeof(*c));
	c->origin = o;
	c->fd = open_socket(o, &c->connecting);
	event_assign(&c->readable, client->conf.base, c->fd,
	    EV_READ | EV_PERSIST, on_readable, c);
	event_assign(
	    &c->writable, client->conf.base, c->fd, EV_WRITE, on_writable, c);
	event_assign(&c->timer, client->conf.base, -1, 0, on_timer, c);
	return c;
}

/* Takes the connection out of its list and its call off it. */
static void
detach(struct conn *c)
{
	struct kb_origin *o = c->origin;

	if (c->call) {
		c->call->conn = NULL;
		c->call = NULL;
		TAILQ_REMOVE(&o->active, c, link);
		o->stats.active--;
	} else {
		TAILQ_REMOVE(&o->idle, c, link);
		o->stats.idle--;
	}
}

void
kb_conn_close(struct conn *c)
{
	detach(c);
	event_del(&c->timer);
	if (c->fd >= 0) {
		event_del(&c->readable);
		event_del(&c->writable);
		kb_wire_drop(c);
		close(c->fd);
	}
	TAILQ_INSERT_HEAD(&c->origin->client->free_conns, c, link);
}

void
kb_conn_keep(struct conn *c)
{
	struct kb_origin *o = c->origin;
	const struct kb_client_conf *conf = &o->client->conf;

	int64_t now = kb_mono_coarse_ms();

	detach(c);
	event_del(&c->writable); /* may be due for the call that is over */
	c->write_armed = false;
	TAILQ_INSERT_HEAD(&o->idle, c, link);
	o->stats.idle++;
	kb_conn_reading(c, true);
	set_deadline(c, now, now + conf->idle_ms, true);
	while (o->stats.idle > conf->idle_per_origin)
		kb_conn_close(TAILQ_LAST(&o->idle, conns));
}

/* The other side has closed, or sent what nobody asked for. */
static bool
is_stale(const struct conn *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

/*
 * The connection used last, if it is good. One whose read event is due in
 * this very turn of the loop is not: whatever is there was not asked for by
 * the next request. What cannot be repeated is worth a look at the socket.
 */
static struct conn *
take_idle(struct kb_origin *o, bool look)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&o->idle)) != NULL) {
		bool due = c->readable.ev_evcallback.evcb_flags & EVLIST_ACTIVE;

		if (due || (look && is_stale(c))) {
			kb_conn_close(c);
			continue;
		}
		TAILQ_REMOVE(&o->idle, c, link);
		o->stats.idle--;
		return c;
	}
	return NULL;
}

static bool
is_repeatable_when_sent(struct kb_call *call)
{
	bool sent = call->sent, repeatable;

	call->sent = true;
	repeatable = kb_call_repeatable(call);
	call->sent = sent;
	return repeatable;
}

void
kb_conn_begin(struct kb_call *call, bool fresh)
{
	struct kb_origin *o = call->conf.origin;
	struct conn *c = NULL;

	if (!fresh)
		c = take_idle(o, !is_repeatable_when_sent(call));
	if (c) {
		c->reused = true;
		o->stats.reused++;
	} else {
		c = new_conn(o);
	}
	c->call = call;
	call->conn = c;
	c->requests++;
	TAILQ_INSERT_HEAD(&o->active, c, link);
	o->stats.active++;
	if (c->fd < 0) {
		event_active(&c->timer, EV_TIMEOUT, 0);
	} else if (c->connecting) {
		kb_conn_touch(c);
		arm_write(c);
	} else if (!c->reused) {
		/* Connected at once (a unix socket): as if by the loop. */
		c->connecting = true;
		event_active(&c->writable, EV_WRITE, 0);
	} else if (call->ended) {
		kb_conn_flush(c);
	} else {
		/* The body may come at once: one write for both. */
		kb_conn_touch(c);
		event_active(&c->writable, EV_WRITE, 0);
	}
}
