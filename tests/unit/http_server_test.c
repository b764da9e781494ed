/* The HTTP/1.1 server over real sockets: requests and answers. */
#include "loopback_http.h"

static void
a_request_is_answered_and_the_connection_kept(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /echo HTTP/1.1\r\nHost: a\r\n"
	    "Content-Length: 5\r\n\r\nhello");
	loopback_expect(lo, &c, "\r\n\r\nhello");
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 200 OK\r\nDate: ");
	test_contains(kb_buf_str(&c.got), "Server: test\r\n");
	test_contains(kb_buf_str(&c.got), "X-Always: yes\r\n");
	test_contains(kb_buf_str(&c.got), "Content-Length: 5\r\n");
	assert_null(strstr(kb_buf_str(&c.got), "Connection:"));
	loopback_clear(&c);
	loopback_send(lo, &c,
	    "GET /echo HTTP/1.1\r\nHost: a\r\n"
	    "Connection: close\r\n\r\n");
	loopback_expect(lo, &c, "Connection: close\r\n");
	loopback_expect_closed(lo, &c);
	assert_int_equal(lo->ends[KB_END_SENT], 2);
	loopback_close(&c);
}

static void
a_thousand_pipelined_requests_are_answered_in_order(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;
	struct kb_buf all;
	char want[32];
	const char *at;

	kb_buf_init(&all, 1 << 20);
	for (int i = 0; i < 1000; i++)
		kb_buf_addf(&all,
		    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
		    "\r\n%05d",
		    i);
	loopback_connect(lo, &c);
	loopback_send_n(lo, &c, all.ptr, all.len);
	loopback_expect_n(lo, &c, "HTTP/1.1 200", 1000);
	loopback_expect(lo, &c, "\r\n\r\n00999");
	at = kb_buf_str(&c.got);
	for (int i = 0; i < 1000; i++) {
		snprintf(want, sizeof(want), "\r\n\r\n%05d", i);
		at = strstr(at, want);
		assert_non_null(at);
	}
	kb_buf_free(&all);
	loopback_close(&c);
}

static void
the_answer_does_not_depend_on_how_bytes_arrive(void **state)
{
	static const char request[] =
	    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
	    "\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n"
	    "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	struct loopback_http *lo = *state;

	for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
		struct loopback_client c;

		loopback_connect(lo, &c);
		loopback_send_n(lo, &c, request, cut);
		loopback_send_n(
		    lo, &c, request + cut, sizeof(request) - 1 - cut);
		loopback_expect_closed(lo, &c);
		test_contains(kb_buf_str(&c.got), "\r\n\r\nabcdeHTTP/1.1 200");
		loopback_close(&c);
	}
}

static void
large_bodies_pass_both_ways(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;
	struct kb_buf all;

	kb_buf_init(&all, 2 << 20);
	kb_buf_addf(&all,
	    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
	    1 << 20);
	for (int i = 0; i < 1 << 20; i++)
		kb_buf_addc(&all, (char)('a' + i % 23));
	loopback_connect(lo, &c);
	loopback_send_n(lo, &c, all.ptr, all.len);
	loopback_send(lo, &c, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c, "3\r\ntwo\r\n0\r\n\r\n");
	const char *body = strstr(kb_buf_str(&c.got), "\r\n\r\n") + 4;
	assert_memory_equal(body, all.ptr + all.len - (1 << 20), 1 << 20);
	test_contains(body + (1 << 20), "Transfer-Encoding: chunked\r\n");
	kb_buf_free(&all);
	loopback_close(&c);
}

static void
framing_errors_are_answered_in_the_envelope_and_close(void **state)
{
	static const struct {
		const char *request, *status, *code;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", "400", "VALIDATION_FAILED" },
		{ "GET / HTTP/1.1\rHost: a\r\r", "400", "VALIDATION_FAILED" },
		{ "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400",
		    "VALIDATION_FAILED" },
		{ "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
		  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		    "400", "VALIDATION_FAILED" },
		{ "POST /echo HTTP/1.1\r\nHost: a\r\n"
		  "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
		    "400", "VALIDATION_FAILED" },
		{ "GET /%2e%2e%2f HTTP/1.1\r\nHost: a\r\n\r\n", "400",
		    "VALIDATION_FAILED" },
		{ "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400",
		    "VALIDATION_FAILED" },
		{ "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400",
		    "VALIDATION_FAILED" },
		{ "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "4", "" },
		{ "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "405",
		    "METHOD_NOT_ALLOWED" },
		{ "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "501",
		    "VALIDATION_FAILED" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417",
		    "VALIDATION_FAILED" },
		{ "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505",
		    "VALIDATION_FAILED" },
		{ "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n"
		  "\r\n",
		    "413", "PAYLOAD_TOO_LARGE" },
		{ "POST /small HTTP/1.1\r\nHost: a\r\n"
		  "Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n",
		    "413", "PAYLOAD_TOO_LARGE" },
	};
	struct loopback_http *lo = *state;
	char want[64];

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct loopback_client c;

		loopback_connect(lo, &c);
		loopback_send(lo, &c, cases[i].request);
		loopback_expect_closed(lo, &c);
		assert_false(c.reset);
		snprintf(want, sizeof(want), "HTTP/1.1 %s", cases[i].status);
		test_contains(kb_buf_str(&c.got), want);
		snprintf(want, sizeof(want), "{\"error\":{\"code\":\"%s",
		    cases[i].code);
		test_contains(kb_buf_str(&c.got), want);
		test_contains(kb_buf_str(&c.got), "\"requestId\":\"req_");
		test_contains(kb_buf_str(&c.got), "X-Request-ID: req_");
		test_contains(kb_buf_str(&c.got), "Connection: close\r\n");
		loopback_close(&c);
	}
	assert_int_equal(lo->ends[KB_END_SENT], 0);
}

static void
a_refused_upload_reads_its_answer_and_no_reset(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;
	struct kb_buf all;

	kb_buf_init(&all, 4 << 20);
	kb_buf_adds(&all,
	    "POST /small HTTP/1.1\r\nHost: a\r\n"
	    "Content-Length: 2000000\r\n\r\n");
	for (int i = 0; i < 2000000; i++)
		kb_buf_addc(&all, 'x');
	loopback_connect(lo, &c);
	loopback_send_n(lo, &c, all.ptr, all.len);
	loopback_expect_closed(lo, &c);
	assert_false(c.reset);
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 413");
	assert_int_equal(lo->ends[KB_END_ERROR], 1);
	kb_buf_free(&all);
	loopback_close(&c);
}

static void
an_unread_body_is_never_taken_for_a_request(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\n"
	    "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n123"
	    "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c, "HTTP/1.1 200 OK");
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 404");
	assert_int_equal(lo->ends[KB_END_SENT], 2);
	loopback_clear(&c);
	/* Too much to be worth reading: the connection ends instead. */
	loopback_send(lo, &c,
	    "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n");
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "Connection: close\r\n");
	loopback_close(&c);
}

static void
continue_is_the_handlers_to_say(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /continue HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
	    "Expect: 100-continue\r\n\r\n");
	loopback_expect(lo, &c, "HTTP/1.1 100 Continue\r\n\r\n");
	loopback_send(lo, &c, "ok");
	loopback_expect(lo, &c, "\r\n\r\nok");
	loopback_clear(&c);
	loopback_send(lo, &c,
	    "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
	    "Expect: 100-continue\r\n\r\n");
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 404");
	assert_null(strstr(kb_buf_str(&c.got), "100 Continue"));
	loopback_close(&c);
}

static void
head_answers_carry_the_length_and_no_body(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	lo->left = 1000;
	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "HEAD /push HTTP/1.1\r\nHost: a\r\n\r\n"
	    "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n"
	    "GET /echo HTTP/1.1\r\nHost: a\r\n"
	    "Connection: close\r\n\r\n");
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "Content-Length: 1000\r\n");
	assert_null(strstr(kb_buf_str(&c.got), "one"));
	loopback_expect_n(lo, &c, "HTTP/1.1 200", 3);
	loopback_close(&c);
}

static void
old_clients_get_their_stream_until_close(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "GET /echo HTTP/1.0\r\n"
	    "Connection: keep-alive\r\n\r\n");
	loopback_expect(lo, &c, "Connection: keep-alive\r\n");
	loopback_clear(&c);
	loopback_send(lo, &c, "GET /stream HTTP/1.0\r\n\r\n");
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "\r\n\r\none two");
	assert_null(strstr(kb_buf_str(&c.got), "chunked"));
	loopback_close(&c);
}

static void
an_aborted_answer_does_not_look_complete(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect_closed(lo, &c);
	assert_null(strstr(kb_buf_str(&c.got), "0\r\n\r\n"));
	assert_int_equal(lo->ends[KB_END_ABORTED], 1);
	loopback_close(&c);
}

static void
a_half_closed_client_gets_its_answer(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_shut(&c);
	for (int i = 0; i < 5; i++)
		loopback_turn(lo);
	assert_non_null(lo->held);
	loopback_answer(lo->held, "late");
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "\r\n\r\nlate");
	assert_int_equal(lo->ends[KB_END_SENT], 1);
	loopback_close(&c);
}

static void
a_client_that_resets_ends_its_exchange(void **state)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(
	    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	loopback_close(&c);
	loopback_until(lo, &lo->ends[KB_END_ABORTED], 1);
	assert_null(lo->held);
}

static void
a_body_that_ends_early_is_an_error(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /echo HTTP/1.1\r\nHost: a\r\n"
	    "Content-Length: 5\r\n\r\nhel");
	loopback_shut(&c);
	loopback_expect_closed(lo, &c);
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 400");
	assert_int_equal(lo->ends[KB_END_ABORTED], 1);
	loopback_close(&c);
}

static void
a_paused_body_waits_in_the_kernel(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /paused HTTP/1.1\r\nHost: a\r\n"
	    "Content-Length: 10\r\n\r\n01234");
	loopback_send(lo, &c, "56789");
	for (int i = 0; i < 20; i++)
		loopback_turn(lo);
	assert_non_null(lo->held);
	assert_int_equal(kb_ex_bytes_in(lo->held), 0);
	kb_ex_resume(lo->held);
	loopback_expect(lo, &c, "\r\n\r\n0123456789");
	loopback_close(&c);
}

static void
an_upgraded_connection_is_a_tunnel(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "GET /upgrade HTTP/1.1\r\nHost: a\r\n"
	    "Connection: upgrade\r\nUpgrade: echo\r\n\r\n"
	    "early");
	loopback_expect(lo, &c, "\r\n\r\nearly");
	test_contains(kb_buf_str(&c.got), "HTTP/1.1 101 Switching Protocols");
	test_contains(kb_buf_str(&c.got), "Connection: Upgrade\r\n");
	loopback_clear(&c);
	loopback_send(lo, &c, "GET / HTTP/1.1\r\n\r\n");
	loopback_expect(lo, &c, "GET / HTTP/1.1\r\n\r\n");
	loopback_shut(&c);
	loopback_expect_closed(lo, &c);
	assert_int_equal(lo->ends[KB_END_SENT], 1);
	loopback_close(&c);
}

static void
a_slow_reader_bounds_what_is_buffered(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_server_limits limits = kb_server_default_limits;
	struct loopback_client c;

	limits.high_water = 65536;
	loopback_restart(lo, limits);
	lo->left = 20 << 20;
	loopback_connect_sized(lo, &c, 4096);
	loopback_send(lo, &c, "GET /push HTTP/1.1\r\nHost: a\r\n\r\n");
	for (int i = 0; i < 50; i++)
		loopback_turn(lo);
	/* What the kernel took and little more has been produced. */
	assert_true(lo->left > 10 << 20);
	int64_t until = kb_mono_ms() + 60000;
	while (c.got.len < 20 << 20 && kb_mono_ms() < until) {
		loopback_turn(lo);
		loopback_read(&c);
	}
	assert_true(c.got.len > 20 << 20);
	loopback_until(lo, &lo->ends[KB_END_SENT], 1);
	loopback_close(&c);
}

static void
request_ids_of_clients_are_kept_if_clean(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "GET /early HTTP/1.1\r\nHost: a\r\n"
	    "X-Request-ID: mine-1\r\n\r\n");
	loopback_expect(lo, &c, "\"requestId\":\"mine-1\"");
	loopback_clear(&c);
	loopback_send(lo, &c,
	    "GET /early HTTP/1.1\r\nHost: a\r\n"
	    "X-Request-ID: not \"mine\"\r\n\r\n");
	loopback_expect(lo, &c, "\"requestId\":\"req_");
	loopback_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		loopback_test(a_request_is_answered_and_the_connection_kept),
		loopback_test(
		    a_thousand_pipelined_requests_are_answered_in_order),
		loopback_test(the_answer_does_not_depend_on_how_bytes_arrive),
		loopback_test(large_bodies_pass_both_ways),
		loopback_test(
		    framing_errors_are_answered_in_the_envelope_and_close),
		loopback_test(a_refused_upload_reads_its_answer_and_no_reset),
		loopback_test(an_unread_body_is_never_taken_for_a_request),
		loopback_test(continue_is_the_handlers_to_say),
		loopback_test(head_answers_carry_the_length_and_no_body),
		loopback_test(old_clients_get_their_stream_until_close),
		loopback_test(an_aborted_answer_does_not_look_complete),
		loopback_test(a_half_closed_client_gets_its_answer),
		loopback_test(a_client_that_resets_ends_its_exchange),
		loopback_test(a_body_that_ends_early_is_an_error),
		loopback_test(a_paused_body_waits_in_the_kernel),
		loopback_test(an_upgraded_connection_is_a_tunnel),
		loopback_test(a_slow_reader_bounds_what_is_buffered),
		loopback_test(request_ids_of_clients_are_kept_if_clean),
	};

	return cmocka_run_group_tests(
	    tests, loopback_group_setup, loopback_group_teardown);
}
