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
};

struct loopback_client {
	int fd;
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
	kb_server_listen(lo->server, fd);
}

static inline void
loopback_stop(struct loopback_http *lo)
{
	kb_server_free(lo->server);
	event_base_free(lo->base);
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
}

static inline void
loopback_connect(struct loopback_http *lo, struct loopback_client *c)
{
	loopback_connect_sized(lo, c, 0);
}

static inline void
loopback_close(struct loopback_client *c)
{
	close(c->fd);
	kb_buf_free(&c->got);
}

/* What is there; keeps a NUL behind it. */
static inline void
loopback_read(struct loopback_client *c)
{
	char data[65536];
	ssize_t n;

	while (!c->closed && (n = recv(c->fd, data, sizeof(data), 0)) >= 0) {
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
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

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

static inline void
loopback_body_end(struct kb_exchange *ex)
{
	struct loopback_http *lo = kb_ex_arg(ex);
	const char *path = kb_ex_path(ex).ptr;
	struct kb_buf *body = kb_ex_user(ex);

	if (body == NULL)
		kb_ex_finish(ex); /* tunnel */
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

/* Setup and teardown: *state is a started server with default limits. */
static inline int
loopback_setup(void **state)
{
	struct loopback_http *lo = kb_xalloc(sizeof(*lo));

	*lo = (struct loopback_http) { .limits = kb_server_default_limits };
	loopback_start(lo, &loopback_ops);
	*state = lo;
	return 0;
}

static inline int
loopback_teardown(void **state)
{
	loopback_stop(*state);
	free(*state);
	return 0;
}

/* The same server anew with other limits. */
static inline void
loopback_restart(struct loopback_http *lo, struct kb_server_limits limits)
{
	loopback_stop(lo);
	*lo = (struct loopback_http) { .limits = limits };
	loopback_start(lo, &loopback_ops);
}

#define loopback_test(fn)                                                      \
	cmocka_unit_test_setup_teardown(fn, loopback_setup, loopback_teardown)

#endif
