/*
 * The HTTP/1.1 server: listeners, deadlines, drain. See
 * http_server_private.h for the map.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/id.h>
#include <kombi/log.h>
#include <kombi/metrics.h>
#include <kombi/time.h>

#include "envelope.h"
#include "http_server_private.h"

#define ACCEPT_BATCH 64
#define ACCEPT_PAUSE_US 100000L
#define RECOVERED_MS 1000
#define LINGER_MS 1000

const struct kb_server_limits kb_server_default_limits = {
	.http1 = {
	    .start_line = 8192,
	    .field_line = 8192,
	    .head = 16384,
	    .fields = KB_HTTP1_FIELDS,
	    .chunk_ext = 256,
	    .chunk_ext_total = 4096,
	    .trailer = 4096,
	},
	.body = 1 << 20,
	.head_ms = 10000,
	.first_ms = 10000,
	.idle_ms = 60000,
	.body_ms = 55000,
	.body_rate = 1024,
	.write_ms = 30000,
	.requests = 10000,
	.connections = 20000,
	.high_water = 256 << 10,
};

/* ---- deadlines
 * ------------------------------------------------------------------ */

static int64_t
wait_ms(const struct kb_server *s, enum kb_wait wait)
{
	const struct kb_server_limits *l = &s->limits;
	int64_t tick = 1000;

	switch (wait) {
	case KB_WAIT_FIRST: return l->first_ms;
	case KB_WAIT_IDLE: return l->idle_ms;
	case KB_WAIT_HEAD: return l->head_ms;
	case KB_WAIT_LINGER: return LINGER_MS;
	default: break;
	}
	/* Looked at often enough for the shortest of them. */
	if (l->write_ms / 4 < tick)
		tick = l->write_ms / 4;
	if (l->body_ms > 0 && l->body_ms / 4 < tick)
		tick = l->body_ms / 4;
	return tick > 0 ? tick : 1;
}

static void
wait_remove(struct kb_conn *c)
{
	struct kb_server *s = c->server;

	if (c->wait == KB_WAIT_NOTHING)
		return;
	if (c->wait_prev != NULL)
		c->wait_prev->wait_next = c->wait_next;
	else
		s->waits[c->wait].first = c->wait_next;
	if (c->wait_next != NULL)
		c->wait_next->wait_prev = c->wait_prev;
	else
		s->waits[c->wait].last = c->wait_prev;
	c->wait = KB_WAIT_NOTHING;
}

static void
timer_arm(struct kb_server *s, int64_t due, int64_t now)
{
	int64_t ms = due > now ? due - now : 0;
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (s->timer_due_ms != 0 && s->timer_due_ms <= due)
		return;
	s->timer_due_ms = due;
	event_add(&s->timer, &tv);
}

void
kb_conn_wait(struct kb_conn *c, enum kb_wait wait)
{
	struct kb_server *s = c->server;
	int64_t now;

	/* A total deadline runs on; the others begin anew. */
	if (c->wait == wait &&
	    (wait == KB_WAIT_HEAD || wait == KB_WAIT_LINGER ||
		wait == KB_WAIT_TICK || wait == KB_WAIT_NOTHING))
		return;
	wait_remove(c);
	if (wait == KB_WAIT_NOTHING)
		return;
	now = kb_mono_coarse_ms();
	c->wait = (uint8_t)wait;
	c->due_ms = now + KB_COARSE_MS + wait_ms(s, wait);
	c->wait_next = NULL;
	c->wait_prev = s->waits[wait].last;
	if (c->wait_prev != NULL)
		c->wait_prev->wait_next = c;
	else
		s->waits[wait].first = c;
	s->waits[wait].last = c;
	timer_arm(s, c->due_ms, now);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kb_server *s = arg;
	int64_t now = kb_mono_coarse_ms(), next = INT64_MAX;

	(void)fd;
	(void)what;
	s->timer_due_ms = 0;
	for (int w = KB_WAIT_FIRST; w < KB_WAITS; w++) {
		struct kb_conn *c;

		while ((c = s->waits[w].first) != NULL && c->due_ms <= now) {
			wait_remove(c);
			kb_conn_timeout(c, (enum kb_wait)w);
		}
		if (c != NULL && c->due_ms < next)
			next = c->due_ms;
	}
	if (next != INT64_MAX)
		timer_arm(s, next, now);
}

/* ---- connections
 * ------------------------------------------------------------------ */

static void
drain_done(struct kb_server *s)
{
	void (*done)(void *) = s->drained;

	if (!s->draining || s->conns != NULL || done == NULL)
		return;
	s->drained = NULL;
	event_del(&s->drain_timer);
	event_del(&s->idle_timer);
	done(s->drained_arg);
}

void
kb_conn_free(struct kb_conn *c)
{
	struct kb_server *s = c->server;

	assert(c->ex == NULL);
	wait_remove(c);
	event_del(&c->ev);
	kb_conn_drop_tls(c);
	close(event_get_fd(&c->ev));
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	kb_count(&s->stats.connections, -1);
	free(c);
	drain_done(s);
}

void
kb_conn_new(
    struct kb_server *s, int fd, const struct sockaddr_storage *peer, bool tls)
{
	struct kb_conn *c = kb_xalloc(sizeof(*c));
	int on = 1;

	memset(c, 0, sizeof(*c));
	c->server = s;
	c->shaking = tls;
	memcpy(&c->peer, peer, sizeof(c->peer));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	event_assign(
	    &c->ev, s->base, fd, EV_READ | EV_PERSIST, kb_conn_readable, c);
	c->next = s->conns;
	if (s->conns != NULL)
		s->conns->prev = c;
	s->conns = c;
	kb_count(&s->stats.accepted, 1);
	kb_count(&s->stats.connections, 1);
	kb_conn_read(c, true);
	kb_conn_wait(c, KB_WAIT_FIRST);
}

/* Told in one write and let go: there is no connection to keep it in. */
static void
turn_away(struct kb_server *s, int fd, bool tls)
{
	struct kb_arena *a;
	struct kb_buf body, out;

	kb_count(&s->stats.refused, 1);
	if (tls) { /* a word in plain text would be taken for an attack */
		close(fd);
		return;
	}
	a = kb_arena_new(512);

	kb_buf_init(&body, 1024);
	kb_buf_init(&out, 4096);
	kb_envelope_error(&body, KB_UNAVAILABLE, "Too many connections", NULL,
	    kb_id_new(a, "req_"));
	kb_buf_addf(&out,
	    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
	    "Content-Type: application/json\r\nConnection: close\r\n"
	    "Content-Length: %zu\r\n\r\n%s",
	    body.len, kb_buf_str(&body));
	(void)send(fd, out.ptr, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(fd, SHUT_WR);
	close(fd);
	kb_buf_free(&body);
	kb_buf_free(&out);
	kb_arena_free(a);
}

static void
listeners_on(struct kb_server *s, bool on)
{
	for (struct kb_listener *l = s->listeners; l != NULL; l = l->next)
		if (on)
			event_add(&l->ev, NULL);
		else
			event_del(&l->ev);
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct kb_server *s = arg;

	(void)fd;
	(void)what;
	if (s->reserve_fd < 0)
		s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (!s->draining)
		listeners_on(s, true);
}

static struct kb_metric accept_paused = {
	.kind = KB_COUNTER,
	.name = "kombi_http_accept_paused_total",
	.help = "Times that no connection could be accepted for want of "
		"descriptors",
};

/* One line for each change, however often it is felt. */
static void
starve(struct kb_server *s)
{
	kb_series_add(kb_metric_series(&accept_paused, NULL), 1);
	s->starved_ms = kb_mono_ms();
	if (!s->starved)
		kb_warn(NULL,
		    "no descriptors are left, connections have to wait",
		    KB_N("connections", s->stats.connections));
	s->starved = true;
}

/* Nobody waits any more, and that has lasted. */
static void
recover(struct kb_server *s)
{
	if (!s->starved || kb_mono_ms() - s->starved_ms < RECOVERED_MS)
		return;
	s->starved = false;
	kb_info(NULL, "descriptors are there again",
	    KB_N("connections", s->stats.connections));
}

/*
 * No descriptor is left: one client is told so with the reserve, then
 * nothing is accepted for a moment; a level-triggered listener would spin.
 */
static void
no_descriptors(struct kb_server *s, int listen_fd, bool tls)
{
	struct timeval tv = { 0, ACCEPT_PAUSE_US };

	starve(s);
	if (s->reserve_fd >= 0) {
		close(s->reserve_fd);
		int fd = accept4(
		    listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			turn_away(s, fd, tls);
		s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	listeners_on(s, false);
	event_add(&s->resume, &tv);
}

static void
on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	const struct kb_listener *l = arg;
	struct kb_server *s = l->server;

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(peer);
		int fd = accept4(listen_fd, (struct sockaddr *)&peer, &len,
		    SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0 && s->stats.connections >= s->limits.connections)
			turn_away(s, fd, l->tls);
		else if (fd >= 0)
			kb_conn_new(s, fd, &peer, l->tls);
		else if (errno == EMFILE || errno == ENFILE ||
		    errno == ENOMEM || errno == ENOBUFS) {
			no_descriptors(s, listen_fd, l->tls);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			recover(s);
			return;
		}
	}
}

/* ---- due exchanges
 * ------------------------------------------------------------------ */

void
kb_ex_due(struct kb_exchange *ex)
{
	struct kb_server *s = ex->server;

	if (ex->due)
		return;
	ex->due = true;
	ex->due_next = NULL;
	if (s->due_first == NULL)
		event_active(&s->due_event, EV_TIMEOUT, 0);
	*s->due_last = ex;
	s->due_last = &ex->due_next;
	s->n_due++;
}

void
kb_ex_undue(struct kb_exchange *ex)
{
	struct kb_server *s = ex->server;
	struct kb_exchange **at = &s->due_first;

	if (!ex->due)
		return;
	while (*at != ex)
		at = &(*at)->due_next;
	*at = ex->due_next;
	if (*at == NULL)
		s->due_last = at;
	ex->due = false;
	s->n_due--;
}

/* Only as many as were due at the beginning: others get their turn. */
static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct kb_server *s = arg;

	(void)fd;
	(void)what;
	for (unsigned n = s->n_due; n > 0 && s->due_first != NULL; n--) {
		struct kb_exchange *ex = s->due_first;

		kb_ex_undue(ex);
		kb_ex_work(ex);
	}
	if (s->due_first != NULL)
		event_active(&s->due_event, EV_TIMEOUT, 0);
}

/* ---- life
 * ------------------------------------------------------------------------------
 */

struct kb_server *
kb_server_new(const struct kb_server_conf *conf)
{
	struct kb_server *s = kb_xalloc(sizeof(*s));

	memset(s, 0, sizeof(*s));
	s->base = conf->base;
	s->limits = conf->limits ? *conf->limits : kb_server_default_limits;
	s->ops = conf->ops;
	s->arg = conf->arg;
	if (conf->server_header != NULL) {
		size_t len = strlen(conf->server_header) +
		    sizeof("Server: \r\n");

		s->server_line = kb_xalloc(len);
		snprintf(
		    s->server_line, len, "Server: %s\r\n", conf->server_header);
	}
	s->always = kb_xstrdup(conf->always ? conf->always : "");
	s->on_fail = kb_xstrdup(conf->on_fail ? conf->on_fail : "");
	kb_metric_register(&accept_paused);
	s->on_fail_tls = kb_xstrdup(conf->on_fail_tls ? conf->on_fail_tls : "");
	s->due_last = &s->due_first;
	s->scratch = kb_xalloc(KB_SCRATCH);
	s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	event_assign(&s->timer, s->base, -1, 0, on_timer, s);
	event_assign(&s->resume, s->base, -1, 0, on_resume, s);
	event_assign(&s->due_event, s->base, -1, 0, on_due, s);
	kb_shake_init(s);
	return s;
}

static void
add_listener(struct kb_server *s, int fd, bool tls)
{
	struct kb_listener *l = kb_xalloc(sizeof(*l));

	*l = (struct kb_listener) {
		.server = s,
		.next = s->listeners,
		.tls = tls,
	};
	s->listeners = l;
	event_assign(&l->ev, s->base, fd, EV_READ | EV_PERSIST, on_accept, l);
	event_add(&l->ev, NULL);
}

void
kb_server_listen(struct kb_server *s, int fd)
{
	add_listener(s, fd, false);
}

void
kb_server_listen_tls(struct kb_server *s, int fd, struct kb_tls_server *tls)
{
	kb_server_set_tls(s, tls);
	add_listener(s, fd, true);
}

static void
close_listeners(struct kb_server *s)
{
	event_del(&s->resume);
	while (s->listeners != NULL) {
		struct kb_listener *l = s->listeners;

		s->listeners = l->next;
		event_del(&l->ev);
		close(event_get_fd(&l->ev));
		free(l);
	}
}

static void
cut_all(struct kb_server *s)
{
	for (struct kb_conn *c = s->conns, *next; c != NULL; c = next) {
		next = c->next;
		kb_conn_break(c, KB_END_ABORTED);
	}
}

static void
on_drain_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	cut_all(arg);
	drain_done(arg);
}

static void
close_idle(struct kb_server *s)
{
	s->sparing = false;
	for (struct kb_conn *c = s->conns, *next; c != NULL; c = next) {
		next = c->next;
		if (c->ex == NULL && !c->lingering)
			kb_conn_free(c);
	}
}

static void
on_idle_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	close_idle(arg);
}

static void
arm_drain(struct kb_server *s, int64_t ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(&s->drain_timer, &tv);
}

void
kb_server_drain_idle(struct kb_server *s, int64_t ms)
{
	s->drain_idle_ms = ms;
}

void
kb_server_drain(
    struct kb_server *s, int64_t ms, void (*done)(void *), void *arg)
{
	struct timeval idle = { s->drain_idle_ms / 1000,
		s->drain_idle_ms % 1000 * 1000 };

	if (s->draining) {
		if (s->drained != NULL)
			arm_drain(s, ms);
		return;
	}
	s->draining = true;
	s->drained = done;
	s->drained_arg = arg;
	close_listeners(s);
	event_assign(&s->drain_timer, s->base, -1, 0, on_drain_end, s);
	event_assign(&s->idle_timer, s->base, -1, 0, on_idle_end, s);
	/* Told on the loop, never from here: also when nobody is connected. */
	s->drained = NULL;
	if (s->drain_idle_ms == 0)
		close_idle(s);
	s->drained = done;
	s->sparing = s->drain_idle_ms > 0;
	if (s->sparing)
		event_add(&s->idle_timer, &idle);
	arm_drain(s, s->conns == NULL ? 0 : ms);
}

void
kb_server_free(struct kb_server *s)
{
	if (s == NULL)
		return;
	s->drained = NULL;
	close_listeners(s);
	cut_all(s);
	if (s->draining) {
		event_del(&s->drain_timer);
		event_del(&s->idle_timer);
	}
	event_del(&s->timer);
	event_del(&s->due_event);
	kb_shake_stop(s);
	while (s->free != NULL) {
		struct kb_exchange *ex = s->free;

		s->free = ex->due_next;
		kb_ex_free(ex);
	}
	if (s->reserve_fd >= 0)
		close(s->reserve_fd);
	free(s->scratch);
	free(s->server_line);
	free(s->always);
	free(s->on_fail);
	free(s->on_fail_tls);
	free(s);
}

void
kb_server_stats(const struct kb_server *s, struct kb_server_stats *out)
{
	const struct server_counts *n = &s->stats;

	*out = (struct kb_server_stats) {
		.accepted = n->accepted,
		.requests = n->requests,
		.refused = n->refused,
		.handshakes = n->handshakes,
		.handshakes_failed = n->handshakes_failed,
		.connections = (uint32_t)n->connections,
		.active = (uint32_t)n->active,
	};
}

/* ---- listening sockets
 * --------------------------------------------------------------------- */

static socklen_t
address_of(const char *address, int port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		return sizeof(*in6);
	}
	return 0;
}

static const char *
listen_fault(void)
{
	switch (errno) {
	case EADDRINUSE: return "the port is taken by another process";
	case EACCES: return "the port needs privileges";
	case EADDRNOTAVAIL: return "the address is not of this machine";
	default: return "the socket cannot be opened";
	}
}

int
kb_listen_socket(
    const char *address, int port, bool reuseport, const char **why)
{
	struct sockaddr_storage to;
	socklen_t len = address_of(address, port, &to);
	int on = 1, fd;

	if (len == 0 || port < 0 || port > 65535) {
		*why = "not an IP address and port";
		return -1;
	}
	fd = socket(
	    to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		*why = listen_fault();
		return -1;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (reuseport)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&to, len) != 0 ||
	    listen(fd, 4096) != 0) {
		*why = listen_fault();
		close(fd);
		return -1;
	}
	return fd;
}

int
kb_listen_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} at = { .in6 = { .sin6_port = 0 } };
	socklen_t len = sizeof(at);

	if (getsockname(fd, &at.any, &len) != 0)
		return -1;
	return ntohs(
	    at.any.sa_family == AF_INET6 ? at.in6.sin6_port : at.in.sin_port);
}
