/*
 * An HTTP server and its clients in one thread: the test turns the loop
 * until what it waits for is there, so nothing depends on time passing.
 */
#ifndef KOMBI_TESTS_LOOPBACK_HTTP_H
#define KOMBI_TESTS_LOOPBACK_HTTP_H

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kombi/buf.h>
#include <kombi/http_server.h>
#include <kombi/time.h>
#include <kombi/tls.h>

struct loopback_http {
	struct event_base *base;
	struct kb_server *server;
	struct kb_server_limits limits;
	int port;
	int ends[4]; /* by enum kb_end */
	int refused;
	struct kb_exchange *held; /* by a handler, to be answered later */
	uint64_t left;            /* of a pushed body */
	size_t most_pending;
	bool drained;
	struct kb_tls_server *tls; /* the server speaks TLS, and its clients */
	struct kb_tls_client *tls_client;
};

struct loopback_client {
	int fd;
	struct kb_tls *tls; /* NULL: plain */
	bool closed, reset;
	struct kb_buf got;
};

/* One turn of the loop without waiting longer than a millisecond. */
static inline void
loopback_turn(struct loopback_http *lo)
{
	struct timeval tv = { 0, 1000 };

	event_base_loopexit(lo->base, &tv);
	event_base_loop(lo->base, EVLOOP_ONCE);
}

static inline void
loopback_start(struct loopback_http *lo, const struct kb_server_ops *ops)
{
	struct event_config *config = event_config_new();
	const char *why = NULL;
	struct kb_server_conf conf = {
		.limits = &lo->limits,
		.ops = ops,
		.arg = lo,
		.server_header = "test",
		.always = "X-Always: yes\r\n",
	};
	int fd = kb_listen_socket("127.0.0.1", 0, false, &why);

	assert_true(fd >= 0);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	lo->base = conf.base = event_base_new_with_config(config);
	event_config_free(config);
	lo->server = kb_server_new(&conf);
	lo->port = kb_listen_port(fd);
	if (lo->tls != NULL)
		kb_server_listen_tls(lo->server, fd, lo->tls);
	else
		kb_server_listen(lo->server, fd);
}

static inline void
loopback_stop(struct loopback_http *lo)
{
	kb_server_free(lo->server);
	event_base_free(lo->base);
}

/* False: refused. */
static inline bool
loopback_try_shake(
    struct loopback_http *lo, struct loopback_client *c, const char *name)
{
	int64_t until = kb_mono_ms() + 10000;

	c->tls = kb_tls_connect(lo->tls_client, c->fd, name);
	while (kb_mono_ms() < until) {
		enum kb_tls_step step = kb_tls_handshake(c->tls);

		if (step == KB_TLS_DONE || step == KB_TLS_FAILED)
			return step == KB_TLS_DONE;
		loopback_turn(lo);
	}
	return false;
}

static inline void
loopback_shake(
    struct loopback_http *lo, struct loopback_client *c, const char *name)
{
	assert_true(loopback_try_shake(lo, c, name));
}

static inline ssize_t
loopback_recv(struct loopback_client *c, void *to, size_t len)
{
	return c->tls ? kb_tls_read(c->tls, to, len) : recv(c->fd, to, len, 0);
}

/* The client's side ends, the server's goes on. */
static inline void
loopback_shut(struct loopback_client *c)
{
	if (c->tls)
		kb_tls_end(c->tls);
	else
		assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
}

static inline void
loopback_connect_sized(
    struct loopback_http *lo, struct loopback_client *c, int rcvbuf)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)lo->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	*c = (struct loopback_client) { .fd = -1 };
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	if (rcvbuf > 0)
		assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF,
				     &rcvbuf, sizeof(rcvbuf)),
		    0);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
	kb_buf_init(&c->got, 64 << 20);
	if (lo->tls != NULL)
		loopback_shake(lo, c, "default.test");
}

static inline void
loopback_connect(struct loopback_http *lo, struct loopback_client *c)
{
	loopback_connect_sized(lo, c, 0);
}

static inline void
loopback_close(struct loopback_client *c)
{
	kb_tls_free(c->tls);
	close(c->fd);
	kb_buf_free(&c->got);
}

/* What is there; keeps a NUL behind it. */
static inline void
loopback_read(struct loopback_client *c)
{
	char data[65536];
	ssize_t n;

	while (!c->closed && (n = loopback_recv(c, data, sizeof(data))) >= 0) {
		if (n == 0)
			c->closed = true;
		kb_buf_add(&c->got, data, (size_t)n);
	}
	if (!c->closed && errno != EAGAIN)
		c->closed = c->reset = true;
}

static inline void
loopback_send_n(struct loopback_http *lo, struct loopback_client *c,
    const char *data, size_t len)
{
	int64_t until = kb_mono_ms() + 10000;

	while (len > 0 && kb_mono_ms() < until) {
		ssize_t n = c->tls ? kb_tls_write(c->tls, data, len)
				   : send(c->fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return; /* refused early: the answer will tell */
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		loopback_turn(lo);
		loopback_read(c);
	}
	assert_int_equal(len, 0);
}

static inline void
loopback_send(
    struct loopback_http *lo, struct loopback_client *c, const char *text)
{
	loopback_send_n(lo, c, text, strlen(text));
}

/* Turns until the client has got this text n times. */
static inline void
loopback_expect_n(struct loopback_http *lo, struct loopback_client *c,
    const char *text, int n)
{
	int64_t until = kb_mono_ms() + 10000;
	int found = 0;

	while (kb_mono_ms() < until) {
		const char *at = kb_buf_str(&c->got);

		for (found = 0; (at = strstr(at, text)) != NULL; at++)
			found++;
		if (found >= n)
			return;
		loopback_turn(lo);
		loopback_read(c);
	}
	fail_msg("%d instead of %d times \"%s\" in \"%.2000s\"", found, n, text,
	    kb_buf_str(&c->got));
}

static inline void
loopback_expect(
    struct loopback_http *lo, struct loopback_client *c, const char *text)
{
	loopback_expect_n(lo, c, text, 1);
}

static inline void
loopback_expect_closed(struct loopback_http *lo, struct loopback_client *c)
{
	int64_t until = kb_mono_ms() + 10000;

	while (!c->closed && kb_mono_ms() < until) {
		loopback_turn(lo);
		loopback_read(c);
	}
	if (!c->closed)
		fail_msg("still open after \"%.500s\"", kb_buf_str(&c->got));
}

/* Forgets what came so far. */
static inline void
loopback_clear(struct loopback_client *c)
{
	kb_buf_reset(&c->got);
	kb_buf_add(&c->got, "", 0);
}

/* Turns until the count is reached. */
static inline void
loopback_until(struct loopback_http *lo, const int *count, int n)
{
	int64_t until = kb_mono_ms() + 10000;

	while (*count < n && kb_mono_ms() < until)
		loopback_turn(lo);
	assert_int_equal(*count, n);
}

/* ---- a server that does what the path says ------------------------------ */

#define LOOPBACK_TEXT "Content-Type: text/plain\r\n"

static inline void
loopback_answer(struct kb_exchange *ex, const char *body)
{
	kb_ex_answer(
	    ex, 200, LOOPBACK_TEXT, strlen(LOOPBACK_TEXT), body, strlen(body));
}

static inline void
loopback_push(struct kb_exchange *ex)
{
	static const char data[16384];
	struct loopback_http *lo = kb_ex_arg(ex);

	while (lo->left > 0) {
		size_t n = lo->left < sizeof(data) ? (size_t)lo->left
						   : sizeof(data);

		lo->left -= n;
		if (!kb_ex_write(ex, data, n))
			return;
	}
	kb_ex_finish(ex);
}

static inline void
loopback_upgrade(struct kb_exchange *ex)
{
	static const char lines[] = "Upgrade: echo\r\n";

	kb_ex_upgrade(ex, lines, sizeof(lines) - 1);
}

static inline void
loopback_request(struct kb_exchange *ex)
{
	struct loopback_http *lo = kb_ex_arg(ex);
	const char *path = kb_ex_path(ex).ptr;

	if (strcmp(path, "/early") == 0)
		kb_ex_fail(ex, KB_NOT_FOUND, NULL, NULL, NULL);
	else if (strcmp(path, "/upgrade") == 0)
		loopback_upgrade(ex);
	else if (strcmp(path, "/small") == 0)
		kb_ex_body_limit(ex, 10);
	else if (strcmp(path, "/continue") == 0)
		kb_ex_continue(ex);
	else if (strcmp(path, "/paused") == 0) {
		kb_ex_pause(ex);
		lo->held = ex;
	}
	if (strcmp(path, "/upgrade") != 0)
		kb_ex_set_user(
		    ex, kb_arena_alloc(kb_ex_arena(ex), sizeof(struct kb_buf)));
	if (kb_ex_user(ex) != NULL)
		kb_buf_init(kb_ex_user(ex), 8 << 20);
}

static inline void
loopback_body(struct kb_exchange *ex, const char *data, size_t len)
{
	if (kb_ex_user(ex) != NULL)
		kb_buf_add(kb_ex_user(ex), data, len);
	else
		kb_ex_write(ex, data, len); /* tunnel */
}

/* The client's certificate as the server knows it. */
static inline void
loopback_who(struct kb_exchange *ex)
{
	struct kb_tls_peer peer = { .subject = "nobody" };

	if (kb_ex_tls(ex) != NULL &&
	    kb_tls_peer(kb_ex_tls(ex), kb_ex_arena(ex), &peer))
		assert_int_equal(strlen(peer.fingerprint), 64);
	loopback_answer(ex, peer.subject);
}

static inline void
loopback_body_end(struct kb_exchange *ex)
{
	struct loopback_http *lo = kb_ex_arg(ex);
	const char *path = kb_ex_path(ex).ptr;
	struct kb_buf *body = kb_ex_user(ex);

	if (body == NULL)
		kb_ex_finish(ex); /* tunnel */
	else if (strcmp(path, "/who") == 0)
		loopback_who(ex);
	else if (strcmp(path, "/later") == 0)
		lo->held = ex;
	else if (strcmp(path, "/stream") == 0) {
		kb_ex_head_out(ex, 200, LOOPBACK_TEXT, strlen(LOOPBACK_TEXT),
		    KB_LENGTH_STREAM);
		kb_ex_write(ex, "one ", 4);
		kb_ex_write(ex, "two", 3);
		kb_ex_finish(ex);
	} else if (strcmp(path, "/push") == 0) {
		kb_ex_head_out(ex, 200, "", 0, lo->left);
		loopback_push(ex);
	} else if (strcmp(path, "/cut") == 0) {
		kb_ex_head_out(ex, 200, "", 0, KB_LENGTH_STREAM);
		kb_ex_write(ex, "part", 4);
		kb_ex_abort(ex);
	} else
		kb_ex_answer(ex, 200, LOOPBACK_TEXT, strlen(LOOPBACK_TEXT),
		    kb_buf_str(body), body->len);
}

static inline void
loopback_end(struct kb_exchange *ex, enum kb_end end)
{
	struct loopback_http *lo = kb_ex_arg(ex);

	lo->ends[end]++;
	if (lo->held == ex)
		lo->held = NULL;
	kb_buf_free(kb_ex_user(ex) ? kb_ex_user(ex) : &(struct kb_buf) { 0 });
}

static inline void
loopback_refused(void *arg, const struct sockaddr_storage *peer, int status,
    const char *request_id, const char *why)
{
	struct loopback_http *lo = arg;

	assert_int_equal(peer->ss_family, AF_INET);
	assert_true(status >= 400 && request_id[0] != '\0' && why != NULL);
	lo->refused++;
}

static const struct kb_server_ops loopback_ops = {
	.on_request = loopback_request,
	.on_body = loopback_body,
	.on_body_end = loopback_body_end,
	.on_writable = loopback_push,
	.on_end = loopback_end,
	.on_refused = loopback_refused,
};

/* With LOOPBACK_TLS all of it runs over TLS. */
#ifdef LOOPBACK_TLS
#include "tls_certs.h"
static inline void
loopback_tls(struct loopback_http *lo)
{
	lo->tls = certs_server("default", KB_TLS_CLIENTS_ANY);
	lo->tls_client = certs_client(NULL);
}
#else
static inline void
loopback_tls(struct loopback_http *lo)
{
	(void)lo;
}
#define loopback_group_setup NULL
#define loopback_group_teardown NULL
#endif

/* Setup and teardown: *state is a started server with default limits. */
static inline int
loopback_setup(void **state)
{
	struct loopback_http *lo = kb_xalloc(sizeof(*lo));

	*lo = (struct loopback_http) { .limits = kb_server_default_limits };
	loopback_tls(lo);
	loopback_start(lo, &loopback_ops);
	*state = lo;
	return 0;
}

static inline int
loopback_teardown(void **state)
{
	struct loopback_http *lo = *state;

	loopback_stop(lo);
	kb_tls_server_unref(lo->tls);
	kb_tls_client_unref(lo->tls_client);
	free(lo);
	return 0;
}

/* The same server anew with other limits. */
static inline void
loopback_restart(struct loopback_http *lo, struct kb_server_limits limits)
{
	loopback_stop(lo);
	*lo = (struct loopback_http) {
		.limits = limits,
		.tls = lo->tls,
		.tls_client = lo->tls_client,
	};
	loopback_start(lo, &loopback_ops);
}

#define loopback_test(fn)                                                      \
	cmocka_unit_test_setup_teardown(fn, loopback_setup, loopback_teardown)

#endif
