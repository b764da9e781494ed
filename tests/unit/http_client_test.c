/*
 * The client engine against a scripted upstream on the loopback. The test is
 * the upstream: it accepts, reads and answers by hand between turns of the
 * event loop, so every order of events can be played.
 */
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

static void
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

static void
on_head(struct kb_call *call, const struct kb_http1_head *h, const char *bytes)
{
	struct seen *s = kb_call_user(call);

	assert_memory_equal(bytes, "HTTP/1.", 7);
	s->heads++;
	s->status = h->status;
	act(call, IN_HEAD);
}

static void
on_body(struct kb_call *call, const char *data, size_t len)
{
	struct seen *s = kb_call_user(call);

	assert_true(len > 0);
	kb_buf_add(&s->body, data, len);
	if (len > s->largest)
		s->largest = len;
	act(call, IN_BODY);
}

static void
on_writable(struct kb_call *call)
{
	struct seen *s = kb_call_user(call);

	s->writables++;
	act(call, IN_WRITABLE);
}

static void
on_done(struct kb_call *call)
{
	struct seen *s = kb_call_user(call);

	s->dones++;
	act(call, IN_DONE);
}

static void
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

static int
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

static void
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

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	open_world(w, NULL);
	*state = w;
	return 0;
}

static int
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
static void
reopen(struct world *w, const struct kb_client_conf *conf)
{
	kb_client_free(w->client);
	event_base_free(w->base);
	close(w->listener);
	open_world(w, conf);
}

static void
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

static bool
can_read(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static int
accept_one(struct world *w)
{
	int fd;

	UNTIL(w, can_read(w->listener));
	fd = accept(w->listener, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

/* Reads until the bytes end with `end`. */
static void
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

static void
expect_request(struct world *w, int fd, const char *text)
{
	struct kb_buf b;

	kb_buf_init(&b, 1 << 20);
	read_until(w, fd, &b, text);
	assert_string_equal(kb_buf_str(&b), text);
	kb_buf_free(&b);
}

static void
say(int fd, const char *text)
{
	size_t len = strlen(text);

	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

static bool
is_closed(int fd)
{
	char c;

	return can_read(fd) && recv(fd, &c, 1, MSG_PEEK) <= 0;
}

static struct kb_call_conf
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

static void
clear(struct seen *s)
{
	memset(s, 0, sizeof(*s));
	kb_buf_init(&s->body, 64 << 20);
}

static struct kb_call *
start_get(struct world *w, struct seen *s)
{
	struct kb_call_conf c = conf_of(w, s, GET);

	clear(s);
	s->call = kb_call_start(&c);
	return s->call;
}

static struct kb_origin_stats
stats(struct world *w)
{
	struct kb_origin_stats st;

	kb_origin_stats(w->origin, &st);
	return st;
}

/* One request and answer on a new connection; it stays in the pool. */
static int
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

/* ---- answers
 * ----------------------------------------------------------------- */

static void
an_answer_with_a_length_is_given_and_the_connection_used_again(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w);

	for (int i = 0; i < 3; i++) {
		start_get(w, &s);
		assert_int_equal(s.heads + s.dones, 0);
		expect_request(w, fd, GET);
		say(fd, "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhe");
		UNTIL(w, s.body.len == 2);
		say(fd, "llo");
		UNTIL(w, s.dones == 1);
		assert_int_equal(s.status, 201);
		assert_string_equal(kb_buf_str(&s.body), "hello");
		kb_buf_free(&s.body);
	}
	assert_int_equal(stats(w).connects, 1);
	assert_int_equal(stats(w).reused, 3);
	close(fd);
}

static void
a_chunked_answer_is_decoded_wherever_it_is_cut(void **state)
{
	static const char
	    text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		     "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n";
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w);

	for (size_t cut = 1; cut < sizeof(text) - 1; cut += 3) {
		start_get(w, &s);
		expect_request(w, fd, GET);
		assert_true(send(fd, text, cut, MSG_NOSIGNAL) > 0);
		for (int i = 0; i < 3; i++)
			turn(w);
		say(fd, text + cut);
		UNTIL(w, s.dones == 1);
		assert_string_equal(kb_buf_str(&s.body), "abc0123456789");
		kb_buf_free(&s.body);
	}
	assert_int_equal(stats(w).connects, 1);
	close(fd);
}

static void
an_answer_until_close_ends_with_the_connection(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd;

	start_get(w, &s);
	fd = accept_one(w);
	expect_request(w, fd, GET);
	say(fd, "HTTP/1.0 200 OK\r\n\r\nsome");
	UNTIL(w, s.body.len == 4);
	say(fd, " more");
	close(fd);
	UNTIL(w, s.dones == 1);
	assert_string_equal(kb_buf_str(&s.body), "some more");
	assert_int_equal(stats(w).idle, 0);
	kb_buf_free(&s.body);
}

static void
answers_that_have_no_body_end_at_the_head(void **state)
{
	static const struct {
		enum kb_method method;
		const char *answer;
	} cases[] = {
		{ KB_M_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" },
		{ KB_M_GET, "HTTP/1.1 204 No\r\n\r\n" },
		{ KB_M_GET, "HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n" },
		{ KB_M_GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" },
	};
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w);

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_call_conf c = conf_of(w, &s, GET);

		clear(&s);
		c.method = cases[i].method;
		kb_call_start(&c);
		expect_request(w, fd, GET);
		say(fd, cases[i].answer);
		UNTIL(w, s.dones == 1);
		assert_int_equal(s.body.len, 0);
	}
	assert_int_equal(stats(w).connects, 1);
	close(fd);
}

static void
interim_answers_are_dropped_up_to_a_number(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w);

	start_get(w, &s);
	for (int i = 0; i < 3; i++)
		say(fd, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	assert_int_equal(s.heads, 1);
	start_get(w, &s);
	for (int i = 0; i < 20; i++)
		say(fd, "HTTP/1.1 100 Continue\r\n\r\n");
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_BAD);
	close(fd);
}

/* ---- bad answers
 * --------------------------------------------------------------- */

static void
bad_answers_fail_and_their_connection_is_dropped(void **state)
{
	static const char *const answers[] = {
		"garbage\r\n\r\n",
		"HTTP/1.1 99999 X\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
		"Content-Length: 3\r\n\r\nokX",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
		"Transfer-Encoding: chunked\r\n\r\nok",
		"HTTP/1.1 302 Found\r\nX-Bad: a\rSet-Cookie: b=c\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n"
		"Upgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 102 P\r\nContent-Length: 3\r\n\r\nabc",
	};
	struct world *w = *state;
	struct seen s;

	for (size_t i = 0; i < KB_COUNT(answers); i++) {
		int fd;

		start_get(w, &s);
		fd = accept_one(w);
		say(fd, answers[i]);
		UNTIL(w, s.fails == 1);
		assert_int_equal(s.error, KB_CALL_BAD);
		assert_true(s.sent && s.answered);
		assert_int_equal(s.dones, 0);
		UNTIL(w, is_closed(fd) || can_read(fd));
		assert_int_equal(stats(w).idle + stats(w).active, 0);
		kb_buf_free(&s.body);
		close(fd);
	}
}

static void
truncated_answers_fail_as_closed(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Le",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
	};
	struct world *w = *state;
	struct seen s;

	for (size_t i = 0; i < KB_COUNT(answers); i++) {
		int fd;

		start_get(w, &s);
		fd = accept_one(w);
		expect_request(w, fd, GET);
		say(fd, answers[i]);
		close(fd);
		UNTIL(w, s.fails == 1);
		assert_int_equal(s.error, KB_CALL_CLOSED);
		assert_true(s.answered);
		kb_buf_free(&s.body);
	}
}

static void
bytes_after_an_answer_never_reach_the_next_call(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd, other;

	start_get(w, &s);
	fd = accept_one(w);
	say(fd,
	    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
	UNTIL(w, s.dones == 1);
	assert_int_equal(stats(w).idle, 0);
	kb_buf_free(&s.body);
	close(fd);

	/* The same, a moment after the answer. */
	fd = warm_up(w);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
	UNTIL(w, stats(w).idle == 0);
	start_get(w, &s);
	other = accept_one(w);
	say(other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	UNTIL(w, s.dones == 1);
	assert_string_equal(kb_buf_str(&s.body), "ok");
	kb_buf_free(&s.body);
	close(fd);
	close(other);
}

/* ---- pool
 * ------------------------------------------------------------------------ */

static void
an_idle_connection_that_closes_leaves_the_pool(void **state)
{
	struct world *w = *state;
	int fd = warm_up(w);

	close(fd);
	UNTIL(w, stats(w).idle == 0);
}

static void
a_stale_connection_is_replaced_once_without_telling(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w), fresh;

	/* Closed, but the loop has not seen it when the call starts. */
	close(fd);
	start_get(w, &s);
	fresh = accept_one(w);
	expect_request(w, fresh, GET);
	say(fresh, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	UNTIL(w, s.dones == 1);
	assert_int_equal(s.fails, 0);
	assert_int_equal(stats(w).connects, 2);
	kb_buf_free(&s.body);
	close(fresh);
}

static void
a_new_connection_that_closes_is_not_retried(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd;

	start_get(w, &s);
	fd = accept_one(w);
	expect_request(w, fd, GET);
	close(fd);
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_CLOSED);
	assert_true(s.sent);
	assert_false(s.answered);
}

static void
a_post_is_not_sent_twice(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	struct seen s;
	int fd = warm_up(w);

	clear(&s);
	c = conf_of(w, &s, "POST / HTTP/1.1\r\nHost: h\r\n\r\n");
	c.method = KB_M_POST;
	kb_call_start(&c);
	expect_request(w, fd, c.head);
	close(fd);
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_CLOSED);
	assert_true(s.sent);
	assert_false(can_read(w->listener));
}

static void
a_post_never_takes_a_connection_known_to_be_closed(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	struct seen s;
	int fd = warm_up(w);

	close(fd);
	clear(&s);
	c = conf_of(
	    w, &s, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
	c.method = KB_M_POST;
	c.body_length = 4;
	s.call = kb_call_start(&c);
	kb_call_write(s.call, "body", 4);
	kb_call_end(s.call);
	fd = accept_one(w);
	expect_request(w, fd,
	    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
	say(fd, "HTTP/1.1 204 No\r\n\r\n");
	UNTIL(w, s.dones == 1);
	close(fd);
}

static void
the_connection_used_last_is_taken_first_and_the_pool_is_bounded(void **state)
{
	struct world *w = *state;
	struct kb_client_conf conf = { .idle_per_origin = 2 };
	struct seen s[3];
	int fd[3];

	reopen(w, &conf);
	for (int i = 0; i < 3; i++) {
		start_get(w, &s[i]);
		fd[i] = accept_one(w);
		expect_request(w, fd[i], GET);
	}
	assert_int_equal(stats(w).active, 3);
	for (int i = 0; i < 3; i++) {
		say(fd[i], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		UNTIL(w, s[i].dones == 1);
	}
	assert_int_equal(stats(w).idle, 2);
	UNTIL(w, is_closed(fd[0]));
	start_get(w, &s[0]);
	expect_request(w, fd[2], GET);
	kb_call_cancel(s[0].call);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}

static void
idle_connections_and_used_up_ones_are_closed(void **state)
{
	struct world *w = *state;
	struct kb_client_conf conf = { .idle_ms = 30, .requests = 2 };
	struct seen s;
	int fd;

	reopen(w, &conf);
	fd = warm_up(w);
	start_get(w, &s);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	assert_int_equal(stats(w).idle, 0);
	close(fd);
	fd = warm_up(w);
	UNTIL(w, stats(w).idle == 0);
	UNTIL(w, is_closed(fd));
	close(fd);
}

static void
one_address_is_one_origin(void **state)
{
	struct world *w = *state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct sockaddr_in b = a;
	const struct sockaddr *pa = (const struct sockaddr *)&a;
	const struct sockaddr *pb = (const struct sockaddr *)&b;
	struct kb_origin *o;

	memset(b.sin_zero, 7, sizeof(b.sin_zero));
	o = kb_client_origin(w->client, pa, sizeof(a));
	assert_ptr_equal(o, kb_client_origin(w->client, pb, sizeof(b)));
	b.sin_port = htons(10);
	assert_ptr_not_equal(o, kb_client_origin(w->client, pb, sizeof(b)));
}

/* ---- request bodies
 * ----------------------------------------------------------------- */

static void
a_streamed_body_goes_out_in_chunks(void **state)
{
	struct world *w = *state;
	const char *head = "PUT / HTTP/1.1\r\nHost: h\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n";
	struct kb_call_conf c;
	struct kb_buf got;
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, head);
	c.method = KB_M_PUT;
	c.body_length = KB_LENGTH_STREAM;
	s.call = kb_call_start(&c);
	assert_true(kb_call_write(s.call, "hello", 5));
	assert_true(kb_call_write(s.call, "", 0));
	fd = accept_one(w);
	assert_true(kb_call_write(s.call, "0123456789abcdefg", 17));
	kb_call_end(s.call);
	kb_buf_init(&got, 1 << 16);
	read_until(w, fd, &got, "0\r\n\r\n");
	assert_true(kb_str_starts(kb_buf_str(&got), head));
	assert_string_equal(kb_buf_str(&got) + strlen(head),
	    "5\r\nhello\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n");
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	assert_int_equal(stats(w).idle, 1);
	kb_buf_free(&got);
	close(fd);
}

/* Writes until told to wait; bytes written. */
static size_t
write_full(struct seen *s, size_t left)
{
	static char block[32768];
	size_t done = 0;

	while (done < left) {
		size_t n = left - done < sizeof(block) ? left - done
						       : sizeof(block);

		memset(block, 'b', n);
		done += n;
		if (!kb_call_write(s->call, block, n))
			break;
	}
	return done;
}

static void
a_large_request_waits_for_its_reader_in_bounded_memory(void **state)
{
	struct world *w = *state;
	const size_t size = 20 << 20;
	size_t written = 0, got = 0;
	int64_t end = kb_mono_ms() + PATIENCE_MS;
	struct kb_call_conf c;
	char buf[65536];
	struct seen s;
	ssize_t n;
	int fd, seen = 0;

	clear(&s);
	c = conf_of(w, &s, "POST / HTTP/1.1\r\n\r\n");
	c.method = KB_M_POST;
	c.body_length = size;
	s.call = kb_call_start(&c);
	fd = accept_one(w);
	written = write_full(&s, size);
	/* The sockets' buffers and ours: far from all of it. */
	assert_true(written < size / 2);
	while (got < size + 19 && kb_mono_ms() < end) {
		turn(w);
		if (s.writables > seen) {
			seen = s.writables;
			written += write_full(&s, size - written);
			if (written == size)
				kb_call_end(s.call);
		}
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, size + 19);
	assert_true(seen > 10);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	assert_int_equal(stats(w).idle, 1);
	close(fd);
}

static void
an_early_answer_ends_the_call_and_the_connection(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, "POST / HTTP/1.1\r\n\r\n");
	c.body_length = 1000;
	s.call = kb_call_start(&c);
	fd = accept_one(w);
	kb_call_write(s.call, "abc", 3);
	say(fd, "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	assert_int_equal(s.status, 413);
	assert_int_equal(stats(w).idle, 0);
	close(fd);
}

/* ---- back-pressure of answers
 * ------------------------------------------------------- */

static void
a_paused_answer_is_not_read(void **state)
{
	struct world *w = *state;
	const size_t size = 30 << 20;
	int64_t end = kb_mono_ms() + PATIENCE_MS;
	char block[65536], head[100];
	size_t sent = 0, paused_at;
	struct seen s;
	ssize_t n;
	int fd;

	start_get(w, &s);
	fd = accept_one(w);
	snprintf(head, sizeof(head),
	    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
	say(fd, head);
	s.where = IN_BODY;
	s.what = DO_PAUSE;
	memset(block, 'x', sizeof(block));
	for (int still = 0; still < 50;) {
		n = send(fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
		still = n > 0 ? 0 : still + 1;
		sent += n > 0 ? (size_t)n : 0;
		turn(w);
		if (n <= 0)
			(void)poll(NULL, 0, 1);
	}
	paused_at = s.body.len;
	assert_true(paused_at > 0 && paused_at <= 128 * 1024);
	assert_true(sent < size / 2);
	s.where = NOTHING;
	kb_call_resume(s.call);
	assert_int_equal(s.body.len, paused_at);
	while (s.dones == 0 && kb_mono_ms() < end) {
		size_t most = size - sent < sizeof(block) ? size - sent
							  : sizeof(block);

		if (most > 0) {
			n = send(fd, block, most, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
		}
		turn(w);
	}
	assert_int_equal(s.dones, 1);
	assert_int_equal(s.body.len, size);
	kb_buf_free(&s.body);
	close(fd);
}

static void
pausing_in_any_place_loses_nothing(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w);

	for (int where = IN_HEAD; where <= IN_BODY; where++) {
		for (int what = DO_PAUSE; what <= DO_PAUSE_RESUME; what += 2) {
			start_get(w, &s);
			s.where = (unsigned)where;
			s.what = (unsigned)what;
			say(fd,
			    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
			    "\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
			for (int i = 0; i < 20 && s.dones == 0; i++) {
				turn(w);
				(void)poll(NULL, 0, 1);
				if (s.dones == 0 && what == DO_PAUSE)
					kb_call_resume(s.call);
			}
			assert_int_equal(s.dones, 1);
			assert_string_equal(kb_buf_str(&s.body), "abcdef");
			kb_buf_free(&s.body);
		}
	}
	assert_int_equal(stats(w).connects, 1);
	close(fd);
}

/* ---- cancelling
 * ------------------------------------------------------------------------ */

static void
a_call_may_be_cancelled_in_every_callback(void **state)
{
	struct world *w = *state;
	struct seen s;

	for (int where = IN_HEAD; where <= IN_FAIL; where++) {
		int fd;

		start_get(w, &s);
		s.where = (unsigned)where;
		s.what = DO_CANCEL;
		fd = accept_one(w);
		expect_request(w, fd, GET);
		say(fd,
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "3\r\nabc\r\n3\r\ndef\r\n");
		if (where == IN_DONE)
			say(fd, "0\r\n\r\n");
		if (where == IN_FAIL)
			say(fd, "broken");
		UNTIL(w, stats(w).active == 0);
		assert_int_equal(s.heads, 1);
		assert_int_equal(s.body.len,
		    where == IN_HEAD       ? 0
			: where == IN_BODY ? 3
					   : 6);
		assert_int_equal(s.dones, where == IN_DONE);
		assert_int_equal(s.fails, where == IN_FAIL);
		assert_int_equal(stats(w).idle, where == IN_DONE);
		kb_buf_free(&s.body);
		close(fd);
		UNTIL(w, stats(w).idle == 0);
	}
}

static void
a_call_may_be_cancelled_while_it_connects_and_while_it_waits(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd;

	start_get(w, &s);
	kb_call_cancel(s.call);
	assert_int_equal(stats(w).active, 0);
	start_get(w, &s);
	fd = accept_one(w);
	kb_call_cancel(s.call);
	UNTIL(w, is_closed(fd) || can_read(fd));
	for (int i = 0; i < 5; i++)
		turn(w);
	assert_int_equal(s.heads + s.dones + s.fails, 0);
	close(fd);
}

static void
a_call_may_be_cancelled_when_it_becomes_writable(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	char buf[65536];
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, "POST / HTTP/1.1\r\n\r\n");
	c.body_length = KB_LENGTH_STREAM;
	s.call = kb_call_start(&c);
	s.where = IN_WRITABLE;
	s.what = DO_CANCEL;
	fd = accept_one(w);
	assert_true(write_full(&s, 64 << 20) < 64 << 20);
	UNTIL(w,
	    recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0 &&
		stats(w).active == 0);
	assert_int_equal(s.writables, 1);
	close(fd);
}

static void
the_next_call_may_start_in_any_callback(void **state)
{
	struct world *w = *state;
	struct seen s, next;
	int fd = warm_up(w), fresh;

	clear(&next);
	start_get(w, &s);
	s.again = conf_of(w, &next, GET);
	s.where = IN_DONE;
	s.what = DO_AGAIN;
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	/* It has got the connection that its predecessor has just left. */
	assert_int_equal(stats(w).reused, 2);
	s.where = NOTHING;
	say(fd, "garbage");
	UNTIL(w, next.fails == 1);
	close(fd);

	start_get(w, &s);
	s.again = conf_of(w, &next, GET);
	s.where = IN_FAIL;
	s.what = DO_AGAIN;
	fd = accept_one(w);
	say(fd, "garbage");
	UNTIL(w, s.fails == 1);
	fresh = accept_one(w);
	say(fresh, "HTTP/1.1 204 No\r\n\r\n");
	UNTIL(w, next.dones == 1);
	close(fd);
	close(fresh);
}

/* ---- deadlines
 * ---------------------------------------------------------------------------
 */

static void
no_listener_is_told_as_a_failed_connect(void **state)
{
	struct world *w = *state;
	struct sockaddr_in addr;
	struct kb_call_conf c;
	struct seen s;

	close(listen_anywhere(&addr));
	clear(&s);
	c = conf_of(w, &s, GET);
	c.origin = kb_client_origin(
	    w->client, (const struct sockaddr *)&addr, sizeof(addr));
	kb_call_start(&c);
	assert_int_equal(s.fails, 0);
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_CONNECT);
	assert_false(s.sent || s.answered);
}

static void
an_address_that_cannot_be_used_fails_later_too(void **state)
{
	struct world *w = *state;
	struct sockaddr_storage addr = { .ss_family = AF_APPLETALK };
	struct kb_call_conf c;
	struct seen s;

	clear(&s);
	c = conf_of(w, &s, GET);
	c.origin = kb_client_origin(
	    w->client, (const struct sockaddr *)&addr, sizeof(addr));
	kb_call_start(&c);
	assert_int_equal(s.fails, 0);
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_CONNECT);
}

static void
a_silent_upstream_runs_into_the_read_deadline(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	int64_t began = kb_mono_ms();
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, GET);
	c.read_ms = 60;
	kb_call_start(&c);
	fd = accept_one(w);
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_TIMEOUT);
	assert_true(s.sent && !s.answered);
	assert_true(kb_mono_ms() - began >= 60);
	close(fd);
}

static void
the_read_deadline_starts_anew_with_each_byte_and_the_total_one_does_not(
    void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	int64_t began = kb_mono_ms();
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, GET);
	c.read_ms = 150;
	c.total_ms = 400;
	kb_call_start(&c);
	fd = accept_one(w);
	expect_request(w, fd, GET);
	say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	while (s.fails == 0 && kb_mono_ms() - began < PATIENCE_MS) {
		(void)!send(fd, "x", 1, MSG_NOSIGNAL);
		turn(w);
		(void)poll(NULL, 0, 20);
	}
	assert_int_equal(s.error, KB_CALL_TIMEOUT);
	assert_true(s.answered);
	assert_true(kb_mono_ms() - began >= 390);
	assert_true(s.body.len > 3);
	kb_buf_free(&s.body);
	close(fd);
}

static void
a_body_that_is_not_taken_runs_into_the_write_deadline(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, "POST / HTTP/1.1\r\n\r\n");
	c.body_length = KB_LENGTH_STREAM;
	c.write_ms = 60;
	s.call = kb_call_start(&c);
	fd = accept_one(w);
	UNTIL(w, s.fails == 1 || write_full(&s, 64 << 20) == 0);
	assert_int_equal(s.error, KB_CALL_TIMEOUT);
	close(fd);
}

static void
deadlines_do_not_run_while_the_user_pauses_or_owes_the_body(void **state)
{
	struct world *w = *state;
	int64_t until;
	struct kb_call_conf c;
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, "POST / HTTP/1.1\r\n\r\n");
	c.body_length = 1;
	c.read_ms = c.write_ms = 30;
	s.call = kb_call_start(&c);
	fd = accept_one(w);
	for (until = kb_mono_ms() + 100; kb_mono_ms() < until;)
		turn(w);
	kb_call_pause(s.call);
	kb_call_write(s.call, "x", 1);
	kb_call_end(s.call);
	for (until = kb_mono_ms() + 100; kb_mono_ms() < until;)
		turn(w);
	assert_int_equal(s.fails, 0);
	kb_call_resume(s.call);
	UNTIL(w, s.fails == 1);
	assert_int_equal(s.error, KB_CALL_TIMEOUT);
	close(fd);
}

/* ---- tunnels
 * --------------------------------------------------------------------------------
 */

#define UPGRADE "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

static void
an_upgrade_becomes_a_tunnel_until_the_upstream_ends(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, UPGRADE);
	c.upgrade = true;
	c.read_ms = c.total_ms = 300;
	s.call = kb_call_start(&c);
	fd = accept_one(w);
	expect_request(w, fd, UPGRADE);
	say(fd,
	    "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\n"
	    "Upgrade: echo\r\n\r\nfirst");
	UNTIL(w, s.body.len == 5);
	assert_int_equal(s.status, 101);
	kb_call_write(s.call, "ping", 4);
	expect_request(w, fd, "ping");
	kb_call_end(s.call);
	UNTIL(w, is_closed(fd));
	say(fd, " last");
	UNTIL(w, s.body.len == 10);
	close(fd);
	UNTIL(w, s.dones == 1);
	assert_string_equal(kb_buf_str(&s.body), "first last");
	assert_int_equal(stats(w).idle, 0);
	kb_buf_free(&s.body);
}

static void
an_upgrade_may_be_declined(void **state)
{
	struct world *w = *state;
	struct kb_call_conf c;
	struct seen s;
	int fd;

	clear(&s);
	c = conf_of(w, &s, UPGRADE);
	c.upgrade = true;
	kb_call_start(&c);
	fd = accept_one(w);
	say(fd, "HTTP/1.1 426 No\r\nContent-Length: 0\r\n\r\n");
	UNTIL(w, s.dones == 1);
	assert_int_equal(s.status, 426);
	assert_int_equal(stats(w).idle, 1);
	close(fd);
}

static void
a_client_may_be_freed_with_calls_in_flight(void **state)
{
	struct world *w = *state;
	struct seen s;
	int fd = warm_up(w), other;

	start_get(w, &s);
	start_get(w, &s);
	other = accept_one(w);
	reopen(w, NULL);
	assert_int_equal(s.dones + s.fails, 0);
	close(fd);
	close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
		TEST(an_answer_with_a_length_is_given_and_the_connection_used_again),
		TEST(a_chunked_answer_is_decoded_wherever_it_is_cut),
		TEST(an_answer_until_close_ends_with_the_connection),
		TEST(answers_that_have_no_body_end_at_the_head),
		TEST(interim_answers_are_dropped_up_to_a_number),
		TEST(bad_answers_fail_and_their_connection_is_dropped),
		TEST(truncated_answers_fail_as_closed),
		TEST(bytes_after_an_answer_never_reach_the_next_call),
		TEST(an_idle_connection_that_closes_leaves_the_pool),
		TEST(a_stale_connection_is_replaced_once_without_telling),
		TEST(a_new_connection_that_closes_is_not_retried),
		TEST(a_post_is_not_sent_twice),
		TEST(a_post_never_takes_a_connection_known_to_be_closed),
		TEST(the_connection_used_last_is_taken_first_and_the_pool_is_bounded),
		TEST(idle_connections_and_used_up_ones_are_closed),
		TEST(one_address_is_one_origin),
		TEST(a_streamed_body_goes_out_in_chunks),
		TEST(a_large_request_waits_for_its_reader_in_bounded_memory),
		TEST(an_early_answer_ends_the_call_and_the_connection),
		TEST(a_paused_answer_is_not_read),
		TEST(pausing_in_any_place_loses_nothing),
		TEST(a_call_may_be_cancelled_in_every_callback),
		TEST(a_call_may_be_cancelled_while_it_connects_and_while_it_waits),
		TEST(a_call_may_be_cancelled_when_it_becomes_writable),
		TEST(the_next_call_may_start_in_any_callback),
		TEST(no_listener_is_told_as_a_failed_connect),
		TEST(an_address_that_cannot_be_used_fails_later_too),
		TEST(a_silent_upstream_runs_into_the_read_deadline),
		TEST(the_read_deadline_starts_anew_with_each_byte_and_the_total_one_does_not),
		TEST(a_body_that_is_not_taken_runs_into_the_write_deadline),
		TEST(deadlines_do_not_run_while_the_user_pauses_or_owes_the_body),
		TEST(an_upgrade_becomes_a_tunnel_until_the_upstream_ends),
		TEST(an_upgrade_may_be_declined),
		TEST(a_client_may_be_freed_with_calls_in_flight),
	};
	/* clang-format on */

	return cmocka_run_group_tests(tests, NULL, NULL);
}
