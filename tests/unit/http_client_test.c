/* The client engine: answers good and bad, and the pool. */
#include "client_world.h"

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

struct starter {
	struct world *w;
	struct seen s;
};

static void
start_from_event(evutil_socket_t fd, short what, void *arg)
{
	struct starter *st = arg;

	(void)fd;
	(void)what;
	start_get(st->w, &st->s);
}

static void
bytes_that_came_in_the_same_turn_of_the_loop_do_not_either(void **state)
{
	struct world *w = *state;
	struct starter st = { .w = w };
	struct event *e;
	int fd = warm_up(w), other, pipes[2];

	clear(&st.s);
	assert_int_equal(pipe(pipes), 0);
	e = event_new(w->base, pipes[0], EV_READ, start_from_event, &st);
	event_add(e, NULL);
	/* The event that starts the call is due first. */
	assert_int_equal(write(pipes[1], "x", 1), 1);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
	other = accept_one(w);
	expect_request(w, other, GET);
	say(other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	UNTIL(w, st.s.dones == 1);
	assert_string_equal(kb_buf_str(&st.s.body), "ok");
	kb_buf_free(&st.s.body);
	event_free(e);
	close(pipes[0]);
	close(pipes[1]);
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
		TEST(bytes_that_came_in_the_same_turn_of_the_loop_do_not_either),
		TEST(an_idle_connection_that_closes_leaves_the_pool),
		TEST(a_stale_connection_is_replaced_once_without_telling),
		TEST(a_new_connection_that_closes_is_not_retried),
		TEST(a_post_is_not_sent_twice),
		TEST(a_post_never_takes_a_connection_known_to_be_closed),
		TEST(the_connection_used_last_is_taken_first_and_the_pool_is_bounded),
		TEST(idle_connections_and_used_up_ones_are_closed),
		TEST(one_address_is_one_origin),
	};
	/* clang-format on */

	return cmocka_run_group_tests(tests, NULL, NULL);
}
