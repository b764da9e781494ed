/* TLS: who is let in, by which certificate, and what breaks a connection. */
#define LOOPBACK_TLS
#include "loopback_http.h"

#include <sys/stat.h>

#include <kombi/http_client.h>

/* The server anew with this context, which it takes over. */
static void
serve_with(struct loopback_http *lo, struct kb_tls_server *tls)
{
	kb_tls_server_unref(lo->tls);
	lo->tls = tls;
	loopback_restart(lo, lo->limits);
}

/* Clients show this certificate from now on. */
static void
show(struct loopback_http *lo, const char *own)
{
	kb_tls_client_unref(lo->tls_client);
	lo->tls_client = certs_client(own);
}

static void
connect_plain(struct loopback_http *lo, struct loopback_client *c)
{
	struct kb_tls_server *tls = lo->tls;

	lo->tls = NULL;
	loopback_connect(lo, c);
	lo->tls = tls;
}

/* What the server says to /who; NULL when it lets nobody in. */
static const char *
ask(struct loopback_http *lo, const char *name, const char **problem)
{
	static char answer[4096];
	struct loopback_client c;
	const char *body = NULL;

	connect_plain(lo, &c);
	if (loopback_try_shake(lo, &c, name)) {
		loopback_send(lo, &c,
		    "GET /who HTTP/1.1\r\nHost: a\r\n"
		    "Connection: close\r\n\r\n");
		loopback_expect_closed(lo, &c);
		snprintf(answer, sizeof(answer), "%s", kb_buf_str(&c.got));
		body = strstr(answer, "\r\n\r\n");
	}
	if (problem)
		*problem = kb_tls_problem(c.tls, certs.arena);
	loopback_close(&c);
	return body ? body + 4 : NULL;
}

static void
a_handshake_agrees_on_what_is_safe(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;
	struct kb_server_stats stats;

	loopback_connect(lo, &c);
	test_contains("TLSv1.2 TLSv1.3", kb_tls_version(c.tls));
	test_contains(kb_tls_suite(c.tls), "GCM");
	loopback_send(lo, &c, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c, "\r\n\r\nnobody");
	kb_server_stats(lo->server, &stats);
	assert_int_equal(stats.handshakes, 1);
	assert_int_equal(stats.handshakes_failed, 0);
	loopback_close(&c);
}

static void
the_certificate_is_chosen_by_the_name_asked_for(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_tls_pair pairs[] = { certs_pair("default"), certs_pair("one"),
		certs_pair("rsa"), certs_pair("wild") };
	struct kb_tls_server_conf conf = { .pairs = pairs, .n_pairs = 4 };
	const char *why = "", *problem;

	serve_with(lo, kb_tls_server_new(&conf, certs.arena, &why));
	assert_non_null(ask(lo, "default.test", NULL));
	assert_non_null(ask(lo, "one.test", NULL));
	assert_non_null(ask(lo, "ONE.test", NULL));
	assert_non_null(ask(lo, "a.wild.test", NULL));
	assert_null(ask(lo, "a.b.wild.test", NULL));
	assert_null(ask(lo, "wild.test", NULL));
	assert_null(ask(lo, "stranger.test", &problem));
	test_contains(problem, "does not match");
}

static void
given_names_go_before_those_of_the_certificate(void **state)
{
	static const char *const names[] = { "default.test", NULL };
	struct loopback_http *lo = *state;
	struct kb_tls_pair pairs[] = { certs_pair("one"),
		certs_pair("default") };
	struct kb_tls_server_conf conf = { .pairs = pairs, .n_pairs = 2 };
	const char *why = "";

	pairs[0].names = names;
	pairs[1].names = names + 1;
	serve_with(lo, kb_tls_server_new(&conf, certs.arena, &why));
	/* So "default.test" is shown the certificate of "one.test". */
	assert_null(ask(lo, "default.test", NULL));
	assert_non_null(ask(lo, "one.test", NULL));
}

static void
an_expired_certificate_is_refused(void **state)
{
	struct loopback_http *lo = *state;
	const char *problem = "";

	serve_with(lo, certs_server("expired", KB_TLS_CLIENTS_ANY));
	assert_true(kb_tls_server_expires(lo->tls) < 1600000000);
	assert_null(ask(lo, "one.test", &problem));
	test_contains(problem, "expired");
}

static void
a_certificate_of_an_unknown_ca_is_refused(void **state)
{
	struct loopback_http *lo = *state;

	serve_with(lo, certs_server("stranger", KB_TLS_CLIENTS_ANY));
	assert_null(ask(lo, "node-1.test", NULL));
}

static void
a_client_without_a_certificate_is_refused_where_one_is_required(void **state)
{
	struct loopback_http *lo = *state;

	serve_with(lo, certs_server("default", KB_TLS_CLIENTS_REQUIRED));
	assert_null(ask(lo, "default.test", NULL));
	show(lo, "stranger");
	assert_null(ask(lo, "default.test", NULL));
	show(lo, "client");
	assert_string_equal(ask(lo, "default.test", NULL), "CN=node-1");
}

static void
an_optional_client_certificate_may_be_absent_but_not_wrong(void **state)
{
	struct loopback_http *lo = *state;

	serve_with(lo, certs_server("default", KB_TLS_CLIENTS_OPTIONAL));
	assert_string_equal(ask(lo, "default.test", NULL), "nobody");
	show(lo, "stranger");
	assert_null(ask(lo, "default.test", NULL));
	show(lo, "client");
	assert_string_equal(ask(lo, "default.test", NULL), "CN=node-1");
}

static void
check(struct loopback_http *lo, enum kb_tls_check how, int depth)
{
	kb_tls_client_unref(lo->tls_client);
	lo->tls_client = certs_checks(how, depth);
}

static void
a_certificate_for_an_address_is_good_for_that_address_alone(void **state)
{
	struct loopback_http *lo = *state;
	const char *problem;

	serve_with(lo, certs_server("address", KB_TLS_CLIENTS_ANY));
	assert_non_null(ask(lo, "127.0.0.1", NULL));
	assert_non_null(ask(lo, "::1", NULL));
	assert_non_null(ask(lo, "[::1]", NULL));
	assert_null(ask(lo, "127.0.0.2", &problem));
	test_contains(problem, "does not match");
	serve_with(lo, certs_server("default", KB_TLS_CLIENTS_ANY));
	assert_null(ask(lo, "127.0.0.1", NULL));
}

static void
names_are_not_looked_at_where_the_chain_alone_counts(void **state)
{
	struct loopback_http *lo = *state;

	check(lo, KB_TLS_CHECK_CHAIN, 0);
	assert_non_null(ask(lo, "another.test", NULL));
	assert_non_null(ask(lo, "127.0.0.1", NULL));
	serve_with(lo, certs_server("stranger", KB_TLS_CLIENTS_ANY));
	assert_null(ask(lo, "node-1.test", NULL));
	check(lo, KB_TLS_CHECK_NOTHING, 0);
	assert_non_null(ask(lo, "another.test", NULL));
}

static void
a_chain_may_be_longer_than_it_is_wished(void **state)
{
	struct loopback_http *lo = *state;

	serve_with(lo, certs_server("deep", KB_TLS_CLIENTS_ANY));
	check(lo, KB_TLS_CHECK_NAME, 0);
	assert_non_null(ask(lo, "deep.test", NULL));
	check(lo, KB_TLS_CHECK_NAME, 2);
	assert_non_null(ask(lo, "deep.test", NULL));
	check(lo, KB_TLS_CHECK_NAME, 1);
	assert_null(ask(lo, "deep.test", NULL));
	serve_with(lo, certs_server("default", KB_TLS_CLIENTS_ANY));
	assert_non_null(ask(lo, "default.test", NULL));
	check(lo, KB_TLS_CHECK_NAME, -1);
	assert_non_null(ask(lo, "default.test", NULL));
}

static void
new_certificates_leave_open_connections_as_they_are(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_tls_server *next = certs_server("one", KB_TLS_CLIENTS_ANY);
	struct loopback_client c;

	assert_false(kb_tls_server_same(lo->tls, next));
	loopback_connect(lo, &c);
	kb_server_set_tls(lo->server, next);
	kb_tls_server_unref(lo->tls);
	lo->tls = next;
	loopback_send(lo, &c, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect(lo, &c, "\r\n\r\nnobody");
	assert_null(ask(lo, "default.test", NULL));
	assert_non_null(ask(lo, "one.test", NULL));
	loopback_close(&c);
}

static void
the_same_files_make_the_same_context(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_tls_server *again, *other;

	again = certs_server("default", KB_TLS_CLIENTS_ANY);
	other = certs_server("default", KB_TLS_CLIENTS_REQUIRED);
	assert_true(kb_tls_server_same(lo->tls, again));
	assert_false(kb_tls_server_same(lo->tls, other));
	kb_tls_server_unref(again);
	kb_tls_server_unref(other);
}

static void
files_that_do_not_fit_are_told(void **state)
{
	struct kb_tls_pair mixed = certs_pair("one"), absent, open;
	struct kb_tls_server_conf conf = { .pairs = &mixed, .n_pairs = 1 };
	const char *why = "";

	(void)state;
	mixed.key = certs_file("default", "key");
	assert_null(kb_tls_server_new(&conf, certs.arena, &why));
	test_contains(why, "is not the key of the certificate");
	absent = certs_pair("absent");
	conf.pairs = &absent;
	assert_null(kb_tls_server_new(&conf, certs.arena, &why));
	test_contains(why, "absent.pem");
	open = certs_pair("wild");
	conf.pairs = &open;
	assert_int_equal(chmod(open.key, 0644), 0);
	assert_null(kb_tls_server_new(&conf, certs.arena, &why));
	test_contains(why, "open to others");
	assert_int_equal(chmod(open.key, 0600), 0);
}

/* Turns until so many handshakes have failed. */
static void
expect_failed(struct loopback_http *lo, uint64_t n)
{
	int64_t until = kb_mono_ms() + 10000;
	struct kb_server_stats stats;

	do {
		loopback_turn(lo);
		kb_server_stats(lo->server, &stats);
	} while (stats.handshakes_failed < n && kb_mono_ms() < until);
	assert_int_equal(stats.handshakes_failed, n);
	assert_int_equal(stats.connections, 0);
}

static void
a_slow_handshake_is_cut(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_server_limits limits = kb_server_default_limits;
	struct loopback_client c;

	limits.head_ms = 50;
	loopback_restart(lo, limits);
	connect_plain(lo, &c);
	assert_int_equal(send(c.fd, "\x16\x03", 2, MSG_NOSIGNAL), 2);
	expect_failed(lo, 1);
	loopback_close(&c);
}

static void
plain_http_and_broken_records_end_the_handshake(void **state)
{
	static const char *const starts[] = {
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"\x16\x03\x01\xff\xff\x01",
		"\x15\x03\x01\x01\x02\x02\x28",
	};
	struct loopback_http *lo = *state;

	for (size_t i = 0; i < KB_COUNT(starts); i++) {
		struct loopback_client c;

		connect_plain(lo, &c);
		assert_true(
		    send(c.fd, starts[i], strlen(starts[i]), MSG_NOSIGNAL) > 0);
		expect_failed(lo, i + 1);
		loopback_close(&c);
	}
}

static void
part_of_a_record_does_not_keep_a_connection_alive(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_server_limits limits = kb_server_default_limits;
	struct kb_server_stats stats;
	struct loopback_client c;
	int64_t began, next;

	limits.first_ms = 300;
	loopback_restart(lo, limits);
	loopback_connect(lo, &c);
	assert_int_equal(
	    send(c.fd, "\x17\x03\x03\x40\x18", 5, MSG_NOSIGNAL), 5);
	began = next = kb_mono_ms();
	do {
		if (kb_mono_ms() >= next) {
			(void)send(c.fd, "x", 1, MSG_NOSIGNAL);
			next += 50;
		}
		loopback_turn(lo);
		kb_server_stats(lo->server, &stats);
	} while (stats.connections > 0 && kb_mono_ms() < began + 10000);
	assert_int_equal(stats.connections, 0);
	loopback_close(&c);
}

static void
a_record_that_was_changed_on_the_way_ends_the_connection(void **state)
{
	static const char forged[] = "\x17\x03\x03\x00\x20"
				     "0123456789abcdef0123456789abcdef";
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(send(c.fd, forged, 37, MSG_NOSIGNAL), 37);
	loopback_expect_closed(lo, &c);
	loopback_until(lo, &lo->ends[KB_END_ABORTED], 1);
	loopback_close(&c);
}

static void
an_end_without_close_notify_is_a_cut(void **state)
{
	struct loopback_http *lo = *state;
	struct loopback_client c;

	loopback_connect(lo, &c);
	loopback_send(lo, &c, "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
	loopback_expect_closed(lo, &c);
	assert_true(c.reset);
	loopback_close(&c);
	loopback_connect(lo, &c);
	loopback_send(lo, &c,
	    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhel");
	assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
	loopback_until(lo, &lo->ends[KB_END_ABORTED], 2);
	loopback_close(&c);
}

/* ---- the client engine ----------------------------------------------------
 */

struct asked {
	struct kb_buf got;
	int done, failed;
	enum kb_call_error error;
};

static void
on_head(struct kb_call *call, const struct kb_http1_head *h, const char *bytes)
{
	(void)call;
	(void)bytes;
	assert_int_equal(h->status, 200);
}

static void
on_body(struct kb_call *call, const char *data, size_t len)
{
	struct asked *a = kb_call_user(call);

	kb_buf_add(&a->got, data, len);
}

static void
on_done(struct kb_call *call)
{
	struct asked *a = kb_call_user(call);

	a->done++;
}

static void
on_fail(
    struct kb_call *call, enum kb_call_error error, bool sent, bool answered)
{
	struct asked *a = kb_call_user(call);

	assert_false(sent || answered);
	a->error = error;
	a->failed++;
}

static struct kb_origin *
origin_of(struct loopback_http *lo, struct kb_client *client, const char *name)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)lo->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	return kb_client_origin_tls(
	    client, (struct sockaddr *)&to, sizeof(to), lo->tls_client, name);
}

static void
call_echo(struct kb_origin *o, struct asked *a, const char *body, size_t len)
{
	static const struct kb_call_ops ops = { on_head, on_body, NULL, on_done,
		on_fail };
	struct kb_call_conf conf = {
		.origin = o,
		.ops = &ops,
		.user = a,
		.method = KB_M_POST,
		.connect_ms = 10000,
		.read_ms = 10000,
		.body_length = len,
	};
	char head[128];
	struct kb_call *call;

	conf.head = head;
	conf.head_len = (size_t)snprintf(head, sizeof(head),
	    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
	    len);
	call = kb_call_start(&conf);
	kb_call_write(call, body, len);
	kb_call_end(call);
}

static void
the_client_engine_speaks_it_and_keeps_its_connections(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_client *client = kb_client_new(
	    &(struct kb_client_conf) { .base = lo->base });
	struct kb_origin *o = origin_of(lo, client, "default.test");
	struct kb_origin_stats stats;
	struct asked a = { .done = 0 };
	size_t len = 1 << 20;
	char *body = kb_xalloc(len);

	for (size_t i = 0; i < len; i++)
		body[i] = (char)('a' + i % 23);
	kb_buf_init(&a.got, 4 << 20);
	call_echo(o, &a, body, len);
	loopback_until(lo, &a.done, 1);
	assert_int_equal(a.got.len, len);
	assert_memory_equal(a.got.ptr, body, len);
	call_echo(o, &a, "again", 5);
	loopback_until(lo, &a.done, 2);
	kb_origin_stats(o, &stats);
	assert_int_equal(stats.connects, 1);
	assert_int_equal(stats.reused, 1);
	kb_client_free(client);
	kb_buf_free(&a.got);
	free(body);
}

static void
the_client_engine_sends_nothing_to_a_server_of_another_name(void **state)
{
	struct loopback_http *lo = *state;
	struct kb_client *client = kb_client_new(
	    &(struct kb_client_conf) { .base = lo->base });
	struct asked a = { .done = 0 };

	call_echo(origin_of(lo, client, "other.test"), &a, "secret", 6);
	loopback_until(lo, &a.failed, 1);
	assert_int_equal(a.error, KB_CALL_CONNECT);
	kb_client_free(client);
	assert_int_equal(lo->ends[KB_END_SENT], 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		loopback_test(a_handshake_agrees_on_what_is_safe),
		loopback_test(the_certificate_is_chosen_by_the_name_asked_for),
		loopback_test(given_names_go_before_those_of_the_certificate),
		loopback_test(an_expired_certificate_is_refused),
		loopback_test(a_certificate_of_an_unknown_ca_is_refused),
		loopback_test(
		    a_client_without_a_certificate_is_refused_where_one_is_required),
		loopback_test(
		    an_optional_client_certificate_may_be_absent_but_not_wrong),
		loopback_test(
		    a_certificate_for_an_address_is_good_for_that_address_alone),
		loopback_test(
		    names_are_not_looked_at_where_the_chain_alone_counts),
		loopback_test(a_chain_may_be_longer_than_it_is_wished),
		loopback_test(
		    new_certificates_leave_open_connections_as_they_are),
		loopback_test(the_same_files_make_the_same_context),
		loopback_test(files_that_do_not_fit_are_told),
		loopback_test(a_slow_handshake_is_cut),
		loopback_test(plain_http_and_broken_records_end_the_handshake),
		loopback_test(
		    part_of_a_record_does_not_keep_a_connection_alive),
		loopback_test(
		    a_record_that_was_changed_on_the_way_ends_the_connection),
		loopback_test(an_end_without_close_notify_is_a_cut),
		loopback_test(
		    the_client_engine_speaks_it_and_keeps_its_connections),
		loopback_test(
		    the_client_engine_sends_nothing_to_a_server_of_another_name),
	};

	return cmocka_run_group_tests(
	    tests, loopback_group_setup, loopback_group_teardown);
}
