/*
 * A client engine and its upstream, played by the test itself: it accepts,
 * reads and answers by hand between turns of the event loop, so that every
 * order of events can be had.
 */
#ifndef TESTS_SUPPORT_CLIENT_WORLD_H
#define TESTS_SUPPORT_CLIENT_WORLD_H

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/http_client.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define PATIENCE_MS 5000

struct world {
	struct event_base *base;
	struct kb_client *client;
	struct kb_origin *origin;
	int listener;
};

/* What a call has met, and what its callbacks shall do. */
struct seen {
	int heads, dones, fails, writables;
	int status;
	enum kb_call_error error;
	bool sent, answered;
	struct kb_buf body;
	size_t largest; /* piece of a body */
	enum { NOTHING, IN_HEAD, IN_BODY, IN_DONE, IN_FAIL, IN_WRITABLE } where;
	enum { DO_CANCEL, DO_PAUSE, DO_AGAIN, DO_PAUSE_RESUME } what;
	struct kb_call_conf again;
	struct kb_call *call;
};

static inline void
act(struct kb_call *call, int where)
{
	struct seen *s = kb_call_user(call);

	if ((int)s->where != where)
		return;
	switch (s->what) {
	case DO_CANCEL: kb_call_cancel(call); break;
	case DO_PAUSE: kb_call_pause(call); break;
	case DO_PAUSE_RESUME:
		kb_call_pause(call);
		kb_call_resume(call);
		break;
	case DO_AGAIN:
		s->where = NOTHING;
		kb_call_start(&s->again);
		break;
	}
}

static inline void
on_head(struct kb_call *call, const struct kb_http1_head *h, const char *bytes)
{
	struct seen *s = kb_call_user(call);

	assert_memory_equal(bytes, "HTTP/1.", 7);
	s->heads++;
	s->status = h->status;
	act(call, IN_HEAD);
}

static inline void
on_body(struct kb_call *call, const char *data, size_t len)
{
	struct seen *s = kb_call_user(call);

	assert_true(len > 0);
	kb_buf_add(&s->body, data, len);
	if (len > s->largest)
		s->largest = len;
	act(call, IN_BODY);
}

static inline void
on_writable(struct kb_call *call)
{
	struct seen *s = kb_call_user(call);

	s->writables++;
	act(call, IN_WRITABLE);
}

static inline void
on_done(struct kb_call *call)
{
	struct seen *s = kb_call_user(call);

	s->dones++;
	act(call, IN_DONE);
}

static inline void
on_fail(
    struct kb_call *call, enum kb_call_error error, bool sent, bool answered)
{
	struct seen *s = kb_call_user(call);

	s->fails++;
	s->error = error;
	s->sent = sent;
	s->answered = answered;
	act(call, IN_FAIL);
}

static const struct kb_call_ops ops = {
	.on_head = on_head,
	.on_body = on_body,
	.on_writable = on_writable,
	.on_done = on_done,
	.on_fail = on_fail,
};

/* ---- the world -------------------------------------------------------------
 */

static inline int
listen_anywhere(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memset(addr, 0, sizeof(*addr));
	addr->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(
	    bind(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

static inline void
open_world(struct world *w, const struct kb_client_conf *conf)
{
	struct kb_client_conf c = conf ? *conf : (struct kb_client_conf) { 0 };
	struct sockaddr_in addr;

	w->base = event_base_new();
	assert_non_null(w->base);
	c.base = w->base;
	w->client = kb_client_new(&c);
	w->listener = listen_anywhere(&addr);
	w->origin = kb_client_origin(
	    w->client, (const struct sockaddr *)&addr, sizeof(addr));
}

static inline int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	open_world(w, NULL);
	*state = w;
	return 0;
}

static inline int
teardown(void **state)
{
	struct world *w = *state;

	kb_client_free(w->client);
	event_base_free(w->base);
	close(w->listener);
	free(w);
	return 0;
}

/* A world whose client has other settings. */
static inline void
reopen(struct world *w, const struct kb_client_conf *conf)
{
	kb_client_free(w->client);
	event_base_free(w->base);
	close(w->listener);
	open_world(w, conf);
}

static inline void
turn(struct world *w)
{
	event_base_loop(w->base, EVLOOP_NONBLOCK);
}

/* Turns of the loop, with the test's sockets served by the kernel between
 * them, until the condition holds. */
#define UNTIL(w, condition)                                                    \
	do {                                                                   \
		int64_t end_ = kb_mono_ms() + PATIENCE_MS;                     \
		while (!(condition)) {                                         \
			if (kb_mono_ms() > end_)                               \
				fail_msg("never: %s", #condition);             \
			turn(w);                                               \
			(void)poll(NULL, 0, 1);                                \
		}                                                              \
	} while (0)

static inline bool
can_read(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static inline int
accept_one(struct world *w)
{
	int fd;

	UNTIL(w, can_read(w->listener));
	fd = accept(w->listener, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

/* Reads until the bytes end with `end`. */
static inline void
read_until(struct world *w, int fd, struct kb_buf *b, const char *end)
{
	char buf[65536];

	while (!kb_str_ends(kb_buf_str(b), end)) {
		ssize_t n;

		UNTIL(w, can_read(fd));
		n = recv(fd, buf, sizeof(buf), 0);
		assert_true(n > 0);
		kb_buf_add(b, buf, (size_t)n);
	}
}

static inline void
expect_request(struct world *w, int fd, const char *text)
{
	struct kb_buf b;

	kb_buf_init(&b, 1 << 20);
	read_until(w, fd, &b, text);
	assert_string_equal(kb_buf_str(&b), text);
	kb_buf_free(&b);
}

static inline void
say(int fd, const char *text)
{
	size_t len = strlen(text);

	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

static inline bool
is_closed(int fd)
{
	char c;

	return can_read(fd) && recv(fd, &c, 1, MSG_PEEK) <= 0;
}

static inline struct kb_call_conf
conf_of(struct world *w, struct seen *s, const char *head)
{
	struct kb_call_conf c = {
		.origin = w->origin,
		.ops = &ops,
		.user = s,
		.method = KB_M_GET,
		.head = head,
		.head_len = strlen(head),
		.connect_ms = 3000,
		.write_ms = 3000,
		.read_ms = 3000,
	};

	return c;
}

static inline void
clear(struct seen *s)
{
	memset(s, 0, sizeof(*s));
	kb_buf_init(&s->body, 64 << 20);
}

static inline struct kb_call *
start_get(struct world *w, struct seen *s)
{
	struct kb_call_conf c = conf_of(w, s, GET);

	clear(s);
	s->call = kb_call_start(&c);
	return s->call;
}

static inline struct kb_origin_stats
stats(struct world *w)
{
	struct kb_origin_stats st;

	kb_origin_stats(w->origin, &st);
	return st;
}

/* One request and answer on a new connection; it stays in the pool. */
static inline int
warm_up(struct world *w)
{
	struct seen s;
	int fd;

	start_get(w, &s);
	fd = accept_one(w);
	expect_request(w, fd, GET);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	UNTIL(w, s.dones == 1);
	assert_int_equal(stats(w).idle, 1);
	kb_buf_free(&s.body);
	return fd;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
