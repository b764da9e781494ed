/*
 * Outgoing HTTP against a small server in a thread, and the table of
 * addresses that may be reached.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/buf.h>
#include <kombi/fetch.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define MAX_CONNS 16

/* Answers by the path of the request; remembers the last one whole. */
struct server {
	int listener, port, wake[2];
	pthread_t thread;
	pthread_mutex_t lock;
	unsigned accepted;
	char last[4096];
	struct {
		int fd;
		char buf[4096];
		size_t len;
	} conns[MAX_CONNS];
	size_t n;
};

struct world {
	struct server server;
	struct kb_arena *arena;
	char url[64];
};

static void
answer(int fd, const char *request)
{
	static const struct {
		const char *path, *text;
	} answers[] = {
		{ " /ok ",
		    "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\n"
		    "ETag: \"e1\"\r\nX-Checksum-SHA256: abcd\r\n"
		    "Content-Length: 5\r\n\r\nhello" },
		{ " /missing ",
		    "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno" },
		{ " /redirect ",
		    "HTTP/1.1 302 Found\r\nLocation: /ok\r\n"
		    "Content-Length: 0\r\n\r\n" },
		{ " /large ",
		    "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\nx" },
		{ " /chunks ",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "8\r\n01234567\r\n8\r\n89abcdef\r\n0\r\n\r\n" },
		{ " /cut ",
		    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"
		    "Connection: close\r\n\r\nabc" },
		{ " /garbage ", "what?\r\n\r\n" },
	};

	for (size_t i = 0; i < KB_COUNT(answers); i++) {
		if (!strstr(request, answers[i].path))
			continue;
		(void)!send(
		    fd, answers[i].text, strlen(answers[i].text), MSG_NOSIGNAL);
		if (strstr(request, " /cut ") || strstr(request, " /garbage "))
			(void)shutdown(fd, SHUT_RDWR);
	}
}

/* A request is complete with its empty line and its Content-Length. */
static bool
is_complete(const char *request)
{
	const char *end = strstr(request, "\r\n\r\n");
	const char *length = strstr(request, "Content-Length: ");

	if (!end)
		return false;
	return !length || strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static void
serve_conn(struct server *s, size_t i)
{
	size_t room = sizeof(s->conns[i].buf) - s->conns[i].len - 1;
	ssize_t n = recv(
	    s->conns[i].fd, s->conns[i].buf + s->conns[i].len, room, 0);

	if (n <= 0) {
		close(s->conns[i].fd);
		s->conns[i] = s->conns[--s->n];
		return;
	}
	s->conns[i].len += (size_t)n;
	s->conns[i].buf[s->conns[i].len] = '\0';
	if (!is_complete(s->conns[i].buf))
		return;
	pthread_mutex_lock(&s->lock);
	memcpy(s->last, s->conns[i].buf, sizeof(s->last));
	pthread_mutex_unlock(&s->lock);
	answer(s->conns[i].fd, s->conns[i].buf);
	s->conns[i].len = 0;
}

static void
serve_listener(struct server *s)
{
	int fd = accept(s->listener, NULL, NULL);

	if (fd < 0)
		return;
	if (s->n == MAX_CONNS) {
		close(fd);
		return;
	}
	s->conns[s->n].fd = fd;
	s->conns[s->n++].len = 0;
	pthread_mutex_lock(&s->lock);
	s->accepted++;
	pthread_mutex_unlock(&s->lock);
}

static void *
serve(void *arg)
{
	struct server *s = arg;

	for (;;) {
		struct pollfd p[MAX_CONNS + 2] = {
			{ .fd = s->wake[0], .events = POLLIN },
			{ .fd = s->listener, .events = POLLIN },
		};
		size_t n = s->n;

		for (size_t i = 0; i < n; i++)
			p[i + 2] = (struct pollfd) { .fd = s->conns[i].fd,
				.events = POLLIN };
		if (poll(p, n + 2, -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		/* Backwards: a closed one is replaced by the last. */
		for (size_t i = n; i-- > 0;)
			if (p[i + 2].revents)
				serve_conn(s, i);
		if (p[1].revents)
			serve_listener(s);
	}
}

static void
start_server(struct server *s, int listener)
{
	s->listener = listener;
	pthread_mutex_init(&s->lock, NULL);
	assert_int_equal(pipe(s->wake), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
stop_server(struct server *s)
{
	assert_int_equal(write(s->wake[1], "x", 1), 1);
	pthread_join(s->thread, NULL);
	for (size_t i = 0; i < s->n; i++)
		close(s->conns[i].fd);
	close(s->listener);
	close(s->wake[0]);
	close(s->wake[1]);
	pthread_mutex_destroy(&s->lock);
}

static int
listen_loopback(int *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	start_server(&w->server, listen_loopback(&w->server.port));
	w->arena = kb_arena_new(0);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	stop_server(&w->server);
	kb_arena_free(w->arena);
	free(w);
	return 0;
}

static struct kb_fetch
fetch_of(struct world *w, const char *path)
{
	return (struct kb_fetch) {
		.url = kb_sprintf(
		    w->arena, "http://127.0.0.1:%d%s", w->server.port, path),
		.reach = KB_REACH_INTERNAL,
		.timeout_ms = 5000,
	};
}

static enum kb_err
fetch(struct world *w, const struct kb_fetch *f, struct kb_fetched *out)
{
	return kb_fetch(w->arena, NULL, f, out);
}

static enum kb_err
fetch_path(struct world *w, const char *path, struct kb_fetched *out)
{
	struct kb_fetch f = fetch_of(w, path);

	return fetch(w, &f, out);
}

static bool
last_has(struct world *w, const char *text)
{
	bool found;

	pthread_mutex_lock(&w->server.lock);
	found = strstr(w->server.last, text) != NULL;
	pthread_mutex_unlock(&w->server.lock);
	return found;
}

/* ---- answers
 * ------------------------------------------------------------------ */

static void
an_answer_comes_with_status_body_and_the_headers_asked_for(void **state)
{
	struct world *w = *state;
	struct kb_fetched got;

	assert_int_equal(fetch_path(w, "/ok", &got), KB_OK);
	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "hello");
	assert_int_equal(got.len, 5);
	assert_string_equal(got.content_type, "text/x");
	assert_string_equal(got.etag, "\"e1\"");
	assert_string_equal(got.checksum, "abcd");
	assert_null(got.error);
	assert_int_equal(fetch_path(w, "/missing", &got), KB_OK);
	assert_int_equal(got.status, 404);
	assert_null(got.etag);
	assert_int_equal(fetch_path(w, "/chunks", &got), KB_OK);
	assert_string_equal(got.body, "0123456789abcdef");
}

static void
a_body_is_sent_with_its_type_and_the_request_id(void **state)
{
	static const char *const headers[] = { "Authorization: Bearer t",
		NULL };
	struct world *w = *state;
	struct kb_fetch f = fetch_of(w, "/ok");
	struct kb_fetched got;

	f.method = "PATCH";
	f.body = "{\"a\":1}";
	f.body_len = 7;
	f.headers = headers;
	f.request_id = "req_1";
	assert_int_equal(fetch(w, &f, &got), KB_OK);
	assert_true(last_has(w, "PATCH /ok HTTP/1.1\r\n"));
	assert_true(last_has(w, "\r\nContent-Type: application/json\r\n"));
	assert_true(last_has(w, "\r\nContent-Length: 7\r\n"));
	assert_true(last_has(w, "\r\nX-Request-ID: req_1\r\n"));
	assert_true(last_has(w, "\r\nAuthorization: Bearer t\r\n"));
	assert_true(last_has(w, "\r\n\r\n{\"a\":1}"));
	assert_false(last_has(w, "Expect"));
}

static void
methods_go_out_as_asked(void **state)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT",
		"DELETE", "OPTIONS" };
	struct world *w = *state;
	struct kb_fetched got;
	char line[50];

	for (size_t i = 0; i < KB_COUNT(methods); i++) {
		struct kb_fetch f = fetch_of(w, "/redirect");

		f.method = methods[i];
		assert_int_equal(fetch(w, &f, &got), KB_OK);
		snprintf(line, sizeof(line), "%s /redirect HTTP/1.1\r\n",
		    methods[i]);
		assert_true(last_has(w, line));
	}
}

static void
redirects_are_not_followed(void **state)
{
	struct world *w = *state;
	struct kb_fetched got;

	assert_int_equal(fetch_path(w, "/redirect", &got), KB_OK);
	assert_int_equal(got.status, 302);
}

static void
a_thread_uses_its_connections_again(void **state)
{
	struct world *w = *state;
	struct kb_fetched got;

	for (int i = 0; i < 5; i++)
		assert_int_equal(fetch_path(w, "/ok", &got), KB_OK);
	assert_int_equal(w->server.accepted, 1);
}

static void
the_environment_names_no_proxy(void **state)
{
	struct world *w = *state;
	struct kb_fetched got;

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	assert_int_equal(fetch_path(w, "/ok", &got), KB_OK);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

/* ---- limits
 * --------------------------------------------------------------------- */

static void
an_answer_over_the_ceiling_is_refused(void **state)
{
	struct world *w = *state;
	struct kb_fetch f = fetch_of(w, "/chunks");
	struct kb_fetched got;

	assert_int_equal(fetch_path(w, "/large", &got), KB_TOO_LARGE);
	assert_int_equal(got.status, 0);
	f.max_answer = 15;
	assert_int_equal(fetch(w, &f, &got), KB_TOO_LARGE);
	f.max_answer = 16;
	assert_int_equal(fetch(w, &f, &got), KB_OK);
	assert_int_equal(got.len, 16);
}

static bool
keep_four(void *arg, const void *data, size_t len)
{
	struct kb_buf *b = arg;

	kb_buf_add(b, data, len);
	return b->len < 4;
}

static bool
keep_all(void *arg, const void *data, size_t len)
{
	kb_buf_add(arg, data, len);
	return true;
}

static void
a_sink_gets_the_answer_and_may_stop_it(void **state)
{
	struct world *w = *state;
	struct kb_fetch f = fetch_of(w, "/chunks");
	struct kb_fetched got;
	struct kb_buf b;

	kb_buf_init(&b, 1000);
	f.sink = keep_all;
	f.sink_arg = &b;
	assert_int_equal(fetch(w, &f, &got), KB_OK);
	assert_string_equal(kb_buf_str(&b), "0123456789abcdef");
	assert_int_equal(got.len, 0);
	kb_buf_reset(&b);
	f.sink = keep_four;
	assert_int_equal(fetch(w, &f, &got), KB_OK);
	assert_int_equal(got.status, 200);
	assert_true(b.len >= 4);
	kb_buf_free(&b);
}

static void
a_silent_server_ends_with_the_deadline(void **state)
{
	struct world *w = *state;
	struct kb_fetch f = fetch_of(w, "/silent");
	int64_t began = kb_mono_ms();
	struct kb_fetched got;

	f.timeout_ms = 100;
	assert_int_equal(fetch(w, &f, &got), KB_TIMEOUT);
	assert_int_equal(got.status, 0);
	assert_non_null(got.error);
	assert_true(kb_mono_ms() - began < 3000);
}

static void
incomplete_and_foreign_answers_are_no_answers(void **state)
{
	struct world *w = *state;
	struct kb_fetched got;

	assert_int_equal(fetch_path(w, "/cut", &got), KB_UNAVAILABLE);
	assert_int_equal(got.status, 0);
	assert_int_equal(fetch_path(w, "/garbage", &got), KB_UNAVAILABLE);
}

static void
a_refused_connect_is_tried_again_for_safe_methods(void **state)
{
	struct world *w = *state;
	struct kb_fetched got;
	struct kb_fetch f;
	int64_t began;
	int port, fd = listen_loopback(&port);

	close(fd);
	f = fetch_of(w, "/");
	f.url = kb_sprintf(w->arena, "http://127.0.0.1:%d/", port);
	f.retries = 2;
	began = kb_mono_ms();
	assert_int_equal(fetch(w, &f, &got), KB_UNAVAILABLE);
	/* Two pauses of at least 25 and 50 ms. */
	assert_true(kb_mono_ms() - began >= 75);
	f.method = "POST";
	f.retries = 20;
	began = kb_mono_ms();
	assert_int_equal(fetch(w, &f, &got), KB_UNAVAILABLE);
	assert_true(kb_mono_ms() - began < 1000);
}

/* ---- the guard
 * -------------------------------------------------------------------- */

static void
global_reach_refuses_inner_addresses_and_other_schemes(void **state)
{
	static const struct {
		const char *url;
		enum kb_err err;
	} cases[] = {
		{ "https://127.0.0.1:%d/", KB_FORBIDDEN },
		{ "https://localhost:%d/", KB_FORBIDDEN },
		{ "https://2130706433:%d/", KB_FORBIDDEN },
		{ "https://0177.0.0.1:%d/", KB_FORBIDDEN },
		{ "https://127.1:%d/", KB_FORBIDDEN },
		{ "https://0:%d/", KB_FORBIDDEN },
		{ "https://[::1]:%d/", KB_FORBIDDEN },
		{ "https://[::ffff:127.0.0.1]:%d/", KB_FORBIDDEN },
		{ "https://169.254.169.254:%d/latest", KB_FORBIDDEN },
		{ "https://168.63.129.16:%d/", KB_FORBIDDEN },
		{ "http://127.0.0.1:%d/", KB_FORBIDDEN },
		{ "ftp://127.0.0.1:%d/", KB_FORBIDDEN },
		{ "file:///etc/passwd", KB_FORBIDDEN },
		{ "https://evil.example@127.0.0.1:%d/", KB_INVALID },
		{ "https://h/\r\nX: y", KB_INVALID },
		{ "https://h/ x", KB_INVALID },
		{ "", KB_INVALID },
	};
	struct world *w = *state;
	struct kb_fetched got;

	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		struct kb_fetch f = { .timeout_ms = 2000 };
		char url[100];
		const char *at = strstr(cases[i].url, "%d");

		snprintf(url, sizeof(url), "%.*s",
		    at ? (int)(at - cases[i].url) : (int)strlen(cases[i].url),
		    cases[i].url);
		if (at)
			snprintf(url + strlen(url), sizeof(url) - strlen(url),
			    "%d%s", w->server.port, at + 2);
		f.url = url;
		if (fetch(w, &f, &got) != cases[i].err)
			fail_msg("%s: %s", url, got.error);
		assert_int_equal(got.status, 0);
	}
	assert_int_equal(w->server.accepted, 0);
}

static void
a_connection_made_inside_is_not_used_from_outside(void **state)
{
	struct world *w = *state;
	struct kb_fetch f = fetch_of(w, "/ok");
	struct kb_fetched got;

	assert_int_equal(fetch(w, &f, &got), KB_OK);
	f.reach = KB_REACH_GLOBAL;
	assert_int_equal(fetch(w, &f, &got), KB_FORBIDDEN);
	f.unix_socket = "/nowhere";
	assert_int_equal(fetch(w, &f, &got), KB_FORBIDDEN);
}

static void
what_cannot_be_sent_is_refused_before(void **state)
{
	static const char *const split[] = { "X: a\r\nY: b", NULL };
	static const char *const bare[] = { "X", NULL };
	struct world *w = *state;
	struct kb_fetched got;
	struct kb_fetch f = fetch_of(w, "/ok");

	f.headers = split;
	assert_int_equal(fetch(w, &f, &got), KB_INVALID);
	f.headers = bare;
	assert_int_equal(fetch(w, &f, &got), KB_INVALID);
	f.headers = NULL;
	f.method = "GET / HTTP/1.1\r\n";
	assert_int_equal(fetch(w, &f, &got), KB_INVALID);
	f.method = NULL;
	f.request_id = "a\nb";
	assert_int_equal(fetch(w, &f, &got), KB_INVALID);
	f.request_id = NULL;
	f.url = NULL;
	assert_int_equal(fetch(w, &f, &got), KB_INVALID);
	assert_int_equal(w->server.accepted, 0);
}

static void
a_unix_socket_is_reached(void **state)
{
	struct world *w = *state;
	struct server *s = calloc(1, sizeof(*s));
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/kombi-fetch-XXXXXX";
	struct kb_fetched got;
	struct kb_fetch f;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_non_null(s);
	assert_non_null(mkdtemp(dir));
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 4), 0);
	start_server(s, fd);
	f = fetch_of(w, "");
	f.url = "http://docker/ok";
	f.unix_socket = a.sun_path;
	assert_int_equal(fetch(w, &f, &got), KB_OK);
	assert_string_equal(got.body, "hello");
	stop_server(s);
	free(s);
	unlink(a.sun_path);
	rmdir(dir);
}

static bool
is_global(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return kb_address_is_global((struct sockaddr *)&in);
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return kb_address_is_global((struct sockaddr *)&in6);
}

static void
only_global_unicast_addresses_are_global(void **state)
{
	static const char *const inner[] = { "0.0.0.0", "0.1.2.3",
		"10.255.255.255", "100.64.0.1", "100.100.100.200",
		"100.127.255.255", "127.0.0.1", "127.255.255.255",
		"168.63.129.16", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1",
		"192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
		"203.0.113.7", "224.0.0.1", "239.1.1.1", "240.0.0.1",
		"255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1",
		"::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
		"64:ff9b:1::1", "100::1", "2001::1", "2001:0:1::", "2001:2::1",
		"2001:10::1", "2001:db8::1",
		"2002:7f00:1::", "2002:808:808::", "3fff::1", "fc00::1",
		"fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "4000::1",
		"5f00::1" };
	static const char *const outer[] = { "1.1.1.1", "8.8.8.8", "9.255.0.1",
		"11.0.0.1", "100.63.255.255", "100.128.0.1", "126.1.1.1",
		"128.0.0.1", "168.63.129.15", "168.63.129.17", "169.253.1.1",
		"169.255.1.1", "172.15.255.255", "172.32.0.1", "192.0.1.1",
		"192.167.1.1", "192.169.1.1", "198.17.1.1", "198.20.1.1",
		"223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::808:808",
		"2001:200::1", "2001:4860:4860::8888", "2606:4700::1111",
		"2a00:1450::1", "2001:db7::1", "2001:db9::1", "2003::1" };
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(inner); i++)
		if (is_global(inner[i]))
			fail_msg("%s is said to be global", inner[i]);
	for (size_t i = 0; i < KB_COUNT(outer); i++)
		if (!is_global(outer[i]))
			fail_msg("%s is said not to be global", outer[i]);
	assert_false(kb_address_is_global((struct sockaddr *)&un));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(
		    an_answer_comes_with_status_body_and_the_headers_asked_for),
		TEST(a_body_is_sent_with_its_type_and_the_request_id),
		TEST(methods_go_out_as_asked),
		TEST(redirects_are_not_followed),
		TEST(a_thread_uses_its_connections_again),
		TEST(the_environment_names_no_proxy),
		TEST(an_answer_over_the_ceiling_is_refused),
		TEST(a_sink_gets_the_answer_and_may_stop_it),
		TEST(a_silent_server_ends_with_the_deadline),
		TEST(incomplete_and_foreign_answers_are_no_answers),
		TEST(a_refused_connect_is_tried_again_for_safe_methods),
		TEST(global_reach_refuses_inner_addresses_and_other_schemes),
		TEST(a_connection_made_inside_is_not_used_from_outside),
		TEST(what_cannot_be_sent_is_refused_before),
		TEST(a_unix_socket_is_reached),
		cmocka_unit_test(only_global_unicast_addresses_are_global),
	};

	kb_log_threshold(KB_ERROR);
	kb_fetch_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
