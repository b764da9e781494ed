/* The HTTP/1.1 server over real sockets: deadlines, limits, drain, memory. */
#include "loopback_http.h"

#include <malloc.h>
#include <sys/resource.h>

static struct kb_server_limits
short_limits(void)
{
	struct kb_server_limits limits = kb_server_default_limits;

	limits.first_ms = limits.head_ms = limits.idle_ms = 60;
	limits.body_ms = limits.write_ms = 60;
	return limits;
}

static void
a_silent_connection_is_closed_without_a_word(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_restart(lo, short_limits());
	loopback_connect(lo, &c);
	loopback_expect_closed(lo, &c);
	assert_int_equal(c.got.len, 0);
	loopback_close(&c);
}

static void
a_slow_head_is_told_408_after_its_total_time(void **state)
{
	static const char head[] = "GET /echo HTTP/1.1\r\nHost: a\r\nX: ";
	struct loopback_http *lo = *state;
	struct kb_server_limits limits = kb_server_default_limits;
	struct loopback_client c;
	int64_t began = kb_mono_ms(), sent = began;

	limits.head_ms = 200;
	loopback_restart(lo, limits);
	loopback_connect(lo, &c);
	loopback_send(lo, &c, head);
	/* Bytes that keep coming do not move the end. */
	while (!c.closed && kb_mono_ms() - began < 5000) {
		if (kb_mono_ms() - sent >= 10) {
			sent = kb_mono_ms();
			(void)send(c.fd, "x", 1, MSG_NOSIGNAL);
		}
		loopback_turn(lo);
		loopback_read(&c);
	}
	assert_true(kb_mono_ms() - began >= 190);
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 408");
	test_contains(kb_buf_str(&c.got), "REQUEST_TIMEOUT");
	assert_int_equal(lo->refused, 1);
	loopback_close(&c);
}

static void
an_idle_connection_is_closed_after_its_answer(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_restart(lo, short_limits());
	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c, "HTTP/1.1 200");
	loopback_expect_closed(lo, &c);
	assert_null(strstr(kb_buf_str(&c.got), "408"));
	loopback_close(&c);
}

static void
a_slow_body_is_told_408(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_restart(lo, short_limits());
	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /echo HTTP/1.1\r\nHost: a\r\n"
	    "Content-Length: 5\r\n\r\nhel");
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 408");
	assert_int_equal(lo->ends[KB_END_TIMEOUT], 1);
	loopback_close(&c);
}

static void
a_handler_that_takes_its_time_is_not_the_clients_fault(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;
	int64_t began = kb_mono_ms();

	loopback_restart(lo, short_limits());
	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	while (kb_mono_ms() - began < 200)
		loopback_turn(lo);
	assert_non_null(lo->held);
	loopback_answer(lo->held, "late");
	loopback_expect(lo, &c, "\r\n\r\nlate");
	loopback_close(&c);
}

static void
a_reader_that_stops_is_cut_off(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_restart(lo, short_limits());
	lo->left = 50 << 20;
	loopback_connect_sized(lo, &c, 4096);
	(void)send(c.fd, "GET /push HTTP/1.1\r\nHost: a\r\n\r\n", 31, 0);
	loopback_until(lo, &lo->ends[KB_END_TIMEOUT], 1);
	loopback_close(&c);
}

static void
the_last_request_of_a_connection_closes_it(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_server_limits limits = kb_server_default_limits;
	struct loopback_client c;

	limits.requests = 2;
	loopback_restart(lo, limits);
	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
	    "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
	    "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect_closed(lo, &c);
	assert_int_equal(lo->ends[KB_END_SENT], 2);
	test_contains(kb_buf_str(&c.got), "Connection: close\r\n");
	loopback_close(&c);
}

static void
connections_over_the_limit_are_told_503(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_server_limits limits = kb_server_default_limits;
	struct loopback_client c[3];

	limits.connections = 2;
	loopback_restart(lo, limits);
	for (int i = 0; i < 3; i++)
		loopback_connect(lo, &c[i]);
	loopback_expect_closed(lo, &c[2]);
	test_contains(kb_buf_str(&c[2].got), "HTTP/1.1 503");
	test_contains(kb_buf_str(&c[2].got), "SERVICE_UNAVAILABLE");
	test_contains(kb_buf_str(&c[2].got), "Retry-After: 1\r\n");
	loopback_send(lo, &c[0], "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c[0], "HTTP/1.1 200");
	for (int i = 0; i < 3; i++)
		loopback_close(&c[i]);
}

/* The lowest descriptor that is free: all below are taken. */
static rlim_t
next_descriptor(void)
{
	int fd = dup(0);

	close(fd);
	return (rlim_t)fd;
}

static void
without_descriptors_a_client_is_told_and_the_server_recovers(void **state)
{
	struct loopback_http *lo = *state;
	struct rlimit before, few;
	struct loopback_client c[3];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 3; i++)
		loopback_connect(lo, &c[i]);
	few = before;
	few.rlim_cur = next_descriptor() + 1; /* room for one */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	loopback_expect_closed(lo, &c[1]);
	test_contains(kb_buf_str(&c[1].got), "HTTP/1.1 503");
	loopback_send(lo, &c[0], "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c[0], "HTTP/1.1 200");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	loopback_send(lo, &c[2], "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	/* It accepts again by itself: the third is told or answered. */
	loopback_expect(lo, &c[2], "HTTP/1.1 ");
	for (int i = 0; i < 3; i++)
		loopback_close(&c[i]);
	loopback_connect(lo, &c[0]);
	loopback_send(lo, &c[0], "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c[0], "HTTP/1.1 200");
	loopback_close(&c[0]);
}

static void
on_drained(void *arg)
{
	((struct loopback_http *)arg)->drained = true;
}

static void
draining_finishes_what_is_in_flight(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client idle, busy;

	loopback_connect(lo, &idle);
	loopback_send(lo, &idle, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &idle, "HTTP/1.1 200");
	loopback_connect(lo, &busy);
	loopback_send(lo, &busy, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_turn(lo);
	kb_server_drain(lo->server, 10000, on_drained, lo);
	loopback_expect_closed(lo, &idle);
	assert_false(lo->drained);
	assert_non_null(lo->held);
	loopback_answer(lo->held, "done");
	loopback_expect(lo, &busy, "\r\n\r\ndone");
	test_contains(kb_buf_str(&busy.got), "Connection: close\r\n");
	loopback_expect_closed(lo, &busy);
	loopback_close(&idle);
	loopback_close(&busy);
	for (int i = 0; i < 10000 && !lo->drained; i++)
		loopback_turn(lo);
	assert_true(lo->drained);
	assert_int_equal(lo->ends[KB_END_SENT], 2);
}

static void
draining_cuts_what_outlasts_its_time(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_turn(lo);
	kb_server_drain(lo->server, 50, on_drained, lo);
	loopback_expect_closed(lo, &c);
	assert_true(lo->drained);
	assert_int_equal(lo->ends[KB_END_ABORTED], 1);
	loopback_close(&c);
}

static void
draining_an_empty_server_is_told_on_the_loop(void **state)
{
	struct loopback_http *lo = *state;

	kb_server_drain(lo->server, 10000, on_drained, lo);
	assert_false(lo->drained);
	for (int i = 0; i < 10000 && !lo->drained; i++)
		loopback_turn(lo);
	assert_true(lo->drained);
}

static void
a_spared_idle_connection_has_one_more_answer(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client idle;

	loopback_connect(lo, &idle);
	loopback_send(lo, &idle, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &idle, "HTTP/1.1 200");
	kb_server_drain_idle(lo->server, 10000);
	kb_server_drain(lo->server, 20000, on_drained, lo);
	kb_buf_reset(&idle.got);
	loopback_send(lo, &idle, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &idle, "HTTP/1.1 200");
	test_contains(kb_buf_str(&idle.got), "Connection: close\r\n");
	loopback_expect_closed(lo, &idle);
	loopback_close(&idle);
	for (int i = 0; i < 10000 && !lo->drained; i++)
		loopback_turn(lo);
	assert_true(lo->drained);
}

static void
idle_connections_are_spared_for_a_while_only(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client idle;

	loopback_connect(lo, &idle);
	loopback_send(lo, &idle, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &idle, "HTTP/1.1 200");
	kb_server_drain_idle(lo->server, 50);
	kb_server_drain(lo->server, 20000, on_drained, lo);
	assert_false(lo->drained);
	loopback_expect_closed(lo, &idle);
	assert_true(lo->drained);
	loopback_close(&idle);
}

static void
draining_once_more_sets_another_end(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_turn(lo);
	kb_server_drain(lo->server, 60000, on_drained, lo);
	loopback_turn(lo);
	assert_false(lo->drained);
	kb_server_drain(lo->server, 0, on_drained, lo);
	loopback_expect_closed(lo, &c);
	assert_true(lo->drained);
	loopback_close(&c);
}

#define IDLE 2000

/* All of them have had an answer, so that they held buffers before. */
static void
an_idle_connection_holds_little_memory(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client *c = calloc(IDLE, sizeof(*c));
	size_t before, after;
	struct kb_server_stats stats;

	loopback_connect(lo, &c[0]);
	loopback_send(lo, &c[0], "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c[0], "HTTP/1.1 200");
	kb_buf_free(&c[0].got);
	before = mallinfo2().uordblks;
	for (int i = 1; i < IDLE; i++) {
		loopback_connect(lo, &c[i]);
		loopback_send(
		    lo, &c[i], "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
		loopback_expect(lo, &c[i], "HTTP/1.1 200");
		kb_buf_free(&c[i].got);
	}
	after = mallinfo2().uordblks;
	kb_server_stats(lo->server, &stats);
	assert_int_equal(stats.connections, IDLE);
	print_message(
	    "%zu bytes an idle connection\n", (after - before) / (IDLE - 1));
	/* Sanitizers have their own malloc and tell nothing here. */
	assert_true(after - before <= (size_t)550 * (IDLE - 1));
	for (int i = 0; i < IDLE; i++)
		loopback_close(&c[i]);
	free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		loopback_test(a_silent_connection_is_closed_without_a_word),
		loopback_test(a_slow_head_is_told_408_after_its_total_time),
		loopback_test(an_idle_connection_is_closed_after_its_answer),
		loopback_test(a_slow_body_is_told_408),
		loopback_test(
		    a_handler_that_takes_its_time_is_not_the_clients_fault),
		loopback_test(a_reader_that_stops_is_cut_off),
		loopback_test(the_last_request_of_a_connection_closes_it),
		loopback_test(connections_over_the_limit_are_told_503),
		loopback_test(
		    without_descriptors_a_client_is_told_and_the_server_recovers),
		loopback_test(draining_finishes_what_is_in_flight),
		loopback_test(draining_cuts_what_outlasts_its_time),
		loopback_test(draining_an_empty_server_is_told_on_the_loop),
		loopback_test(a_spared_idle_connection_has_one_more_answer),
		loopback_test(idle_connections_are_spared_for_a_while_only),
		loopback_test(draining_once_more_sets_another_end),
		loopback_test(an_idle_connection_holds_little_memory),
	};

	return cmocka_run_group_tests(
	    tests, loopback_group_setup, loopback_group_teardown);
}
