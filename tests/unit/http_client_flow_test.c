/* The client engine: bodies, back-pressure, cancelling, deadlines, tunnels. */
#include "client_world.h"

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

int
main(void)
{
	/* clang-format off */
	const struct CMUnitTest tests[] = {
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
