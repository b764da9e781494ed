/*
 * The Redis client against a real server and against a liar: every callback
 * once and later, the breaker, the way back, and what a server may say.
 */
#include "test.h"

#include "redis.h"

#include <event2/event.h>
#include <event2/listener.h>

#include <kombi/log.h>
#include <kombi/redis.h>
#include <kombi/str.h>

static struct redis_server server;

struct got {
	int calls;
	enum kb_redis_result result;
	int64_t number;
	char text[128];
	size_t count;
};

struct world {
	struct event_base *base;
	struct kb_redis *redis;
	struct kb_secret password;
	struct got got;
};

static void
on_reply(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct got *got = arg;
	struct kb_slice text = kb_redis_text(reply);

	got->calls++;
	got->result = result;
	got->number = kb_redis_int(reply);
	got->count = kb_redis_count(reply);
	snprintf(got->text, sizeof(got->text), "%.*s", (int)text.len, text.ptr);
}

static struct kb_redis *
client(struct world *w, struct kb_redis_conf conf)
{
	conf.base = w->base;
	if (!conf.host)
		conf.host = server.socket;
	if (!conf.password)
		conf.password = &w->password;
	if (!conf.command_ms)
		conf.command_ms = 200; /* a busy machine is no fault here */
	w->redis = kb_redis_new(&conf);
	return w->redis;
}

static int
open_world(void **state)
{
	struct world *w = kb_xalloc(sizeof(*w));

	memset(w, 0, sizeof(*w));
	w->base = event_base_new();
	kb_secret_set(
	    &w->password, REDIS_TEST_PASSWORD, strlen(REDIS_TEST_PASSWORD));
	if (server.dir[0] && server.pid == 0 && !redis_server_start(&server))
		return -1;
	*state = w;
	return 0;
}

static int
close_world(void **state)
{
	struct world *w = *state;

	kb_redis_free(w->redis);
	kb_secret_free(&w->password);
	event_base_free(w->base);
	free(w);
	return 0;
}

static void
tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

/* Runs the loop until done(w), five seconds at most. */
static bool
until(struct world *w, bool (*done)(struct world *))
{
	const struct timeval step = { .tv_usec = 2000 };
	struct event *ev = event_new(w->base, -1, EV_PERSIST, tick, w->base);
	int64_t limit = kb_mono_ms() + 5000;

	event_add(ev, &step);
	while (!done(w) && kb_mono_ms() < limit)
		event_base_loop(w->base, EVLOOP_ONCE);
	event_free(ev);
	return done(w);
}

static bool
is_up(struct world *w)
{
	return kb_redis_is_up(w->redis);
}

static bool
is_down(struct world *w)
{
	return !kb_redis_is_up(w->redis);
}

static bool
is_answered(struct world *w)
{
	return w->got.calls > 0;
}

static void
start(struct world *w, const char *const words[])
{
	struct kb_slice argv[8];
	size_t n = 0;

	for (; words[n]; n++)
		argv[n] = kb_slice_of(words[n]);
	memset(&w->got, 0, sizeof(w->got));
	kb_redis_start(w->redis,
	    &(struct kb_redis_call) {
		.argv = argv, .argc = n, .fn = on_reply, .arg = &w->got });
	assert_int_equal(w->got.calls, 0);
}

#define WORDS(...) ((const char *const[]) { __VA_ARGS__, NULL })

static void
expect(struct world *w, enum kb_redis_result result)
{
	assert_true(until(w, is_answered));
	assert_int_equal(w->got.calls, 1);
	if (w->got.result != result)
		fail_msg("%s instead of %s (%s)",
		    kb_redis_result_name(w->got.result),
		    kb_redis_result_name(result), w->got.text);
}

#define need_server()                                                          \
	do {                                                                   \
		if (redis_server_find() != NULL)                               \
			skip();                                                \
	} while (0)

static void
kinds_of_replies_are_told_apart(void **state)
{
	struct world *w = *state;

	need_server();
	client(w, (struct kb_redis_conf) { 0 });
	assert_true(until(w, is_up));
	start(w, WORDS("SET", "rl:a", "1 2\r\n%s"));
	expect(w, KB_REDIS_OK);
	assert_string_equal(w->got.text, "OK");
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_OK);
	assert_string_equal(w->got.text, "1 2\r\n%s");
	start(w, WORDS("APPEND", "rl:a", "x"));
	expect(w, KB_REDIS_OK);
	assert_int_equal(w->got.number, 8);
	start(w, WORDS("MGET", "rl:a", "rl:none"));
	expect(w, KB_REDIS_OK);
	assert_int_equal(w->got.count, 2);
	start(w, WORDS("INCR", "rl:a"));
	expect(w, KB_REDIS_ERROR);
	test_contains(w->got.text, "not an integer");
}

static void
names_ports_and_acl_users_work(void **state)
{
	struct world *w = *state;
	struct kb_secret own = { 0 };

	need_server();
	kb_secret_set(&own, "limit-secret", 12);
	client(w,
	    (struct kb_redis_conf) { .host = "localhost",
		.port = server.port,
		.user = "limiter",
		.password = &own,
		.connect_ms = 3000 });
	kb_secret_free(&own);
	assert_true(until(w, is_up));
	start(w, WORDS("SET", "other", "1"));
	expect(w, KB_REDIS_ERROR);
	test_contains(w->got.text, "NOPERM");
	start(w, WORDS("SET", "rl:mine", "1"));
	expect(w, KB_REDIS_OK);
}

static void
a_database_is_chosen(void **state)
{
	struct world *w = *state;

	need_server();
	client(w, (struct kb_redis_conf) { .database = 3 });
	assert_true(until(w, is_up));
	start(w, WORDS("CLIENT", "INFO"));
	expect(w, KB_REDIS_OK);
	test_contains(w->got.text, "addr=");
	start(w, WORDS("SET", "rl:in-three", "1"));
	expect(w, KB_REDIS_OK);
	start(w, WORDS("MOVE", "rl:in-three", "0"));
	expect(w, KB_REDIS_OK);
	assert_int_equal(w->got.number, 1);
}

static void
a_wrong_password_keeps_it_down(void **state)
{
	struct world *w = *state;
	struct kb_secret wrong = { 0 };

	need_server();
	kb_secret_set(&wrong, "guess", 5);
	client(w, (struct kb_redis_conf) { .password = &wrong });
	kb_secret_free(&wrong);
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_DOWN);
	assert_false(kb_redis_is_up(w->redis));
}

static void
too_many_in_flight_fail_at_once(void **state)
{
	struct world *w = *state;
	struct kb_slice ping = { "PING", 4 };
	struct kb_redis_stats stats;
	struct got many[5] = { 0 };

	need_server();
	client(w, (struct kb_redis_conf) { .inflight = 4 });
	assert_true(until(w, is_up));
	for (size_t i = 0; i < 5; i++)
		kb_redis_start(w->redis,
		    &(struct kb_redis_call) { .argv = &ping,
			.argc = 1,
			.fn = on_reply,
			.arg = &many[i] });
	start(w, WORDS("PING"));
	expect(w, KB_REDIS_BUSY);
	assert_int_equal(many[4].result, KB_REDIS_BUSY);
	start(w, WORDS("PING"));
	assert_true(until(w, is_answered));
	kb_redis_stats(w->redis, &stats);
	while (kb_redis_stats(w->redis, &stats), stats.inflight > 0)
		event_base_loop(w->base, EVLOOP_ONCE);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(many[i].calls, 1);
	assert_int_equal(many[0].result, KB_REDIS_OK);
}

static void
freeing_answers_what_is_in_flight(void **state)
{
	struct world *w = *state;

	need_server();
	client(w, (struct kb_redis_conf) { 0 });
	assert_true(until(w, is_up));
	start(w, WORDS("PING"));
	kb_redis_free(w->redis);
	w->redis = NULL;
	assert_int_equal(w->got.calls, 1);
	assert_int_equal(w->got.result, KB_REDIS_CLOSED);
}

static void
free_in_callback(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct world *w = arg;

	kb_redis_free(w->redis);
	w->redis = NULL;
	on_reply(result, reply, &w->got);
}

static void
a_callback_may_free_the_client(void **state)
{
	struct world *w = *state;
	struct kb_slice ping = { "PING", 4 };
	struct got second = { 0 };

	need_server();
	client(w, (struct kb_redis_conf) { 0 });
	assert_true(until(w, is_up));
	kb_redis_start(w->redis,
	    &(struct kb_redis_call) {
		.argv = &ping, .argc = 1, .fn = free_in_callback, .arg = w });
	kb_redis_start(w->redis,
	    &(struct kb_redis_call) {
		.argv = &ping, .argc = 1, .fn = on_reply, .arg = &second });
	assert_true(until(w, is_answered));
	assert_int_equal(w->got.result, KB_REDIS_OK);
	assert_int_equal(second.calls, 1);
	assert_int_equal(second.result, KB_REDIS_CLOSED);
}

static void
unknown_scripts_are_sent_whole_and_then_known(void **state)
{
	struct world *w = *state;
	struct kb_redis_script script;
	struct kb_slice argv[] = { test_slice("0"), test_slice("40") };
	struct kb_redis_call call = {
		.argv = argv, .argc = 2, .fn = on_reply, .arg = &w->got
	};
	struct kb_redis_stats stats;

	need_server();
	kb_redis_script_init(&script, "return tonumber(ARGV[1]) + 2");
	client(w, (struct kb_redis_conf) { 0 });
	assert_true(until(w, is_up));
	start(w, WORDS("SCRIPT", "FLUSH"));
	expect(w, KB_REDIS_OK);
	for (int i = 0; i < 3; i++) {
		memset(&w->got, 0, sizeof(w->got));
		kb_redis_eval(w->redis, &script, &call);
		expect(w, KB_REDIS_OK);
		assert_int_equal(w->got.number, 42);
	}
	kb_redis_stats(w->redis, &stats);
	assert_int_equal(stats.scripts, 1);
}

/* Three commands without answer. */
static void
stall(struct world *w)
{
	for (int i = 0; i < 3; i++) {
		start(w, WORDS("GET", "rl:a"));
		expect(w, KB_REDIS_TIMEOUT);
	}
}

static void
a_stopped_server_opens_the_breaker_and_comes_back_within_a_second(void **state)
{
	struct world *w = *state;
	struct kb_redis_stats stats;
	int64_t t;

	need_server();
	client(w, (struct kb_redis_conf) { .command_ms = 20 });
	assert_true(until(w, is_up));
	kill(server.pid, SIGSTOP);
	stall(w);
	assert_true(until(w, is_down));
	t = kb_mono_ms();
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_DOWN);
	assert_in_range(kb_mono_ms() - t, 0, 200);
	kill(server.pid, SIGCONT);
	t = kb_mono_ms();
	assert_true(until(w, is_up));
	print_message("back after %lld ms\n", (long long)(kb_mono_ms() - t));
	assert_in_range(kb_mono_ms() - t, 0, 1000);
	kb_redis_stats(w->redis, &stats);
	assert_int_equal(stats.opened, 1);
	assert_int_equal(stats.timeouts, 3);
	start(w, WORDS("PING"));
	expect(w, KB_REDIS_OK);
	assert_string_equal(w->got.text, "PONG");
}

static void
a_killed_server_is_found_again(void **state)
{
	struct world *w = *state;
	int64_t t;

	need_server();
	client(w, (struct kb_redis_conf) { 0 });
	assert_true(until(w, is_up));
	redis_server_kill(&server);
	assert_true(until(w, is_down));
	assert_true(redis_server_start(&server));
	t = kb_mono_ms();
	assert_true(until(w, is_up));
	assert_in_range(kb_mono_ms() - t, 0, 1000);
}

static void
a_full_or_read_only_server_is_no_server(void **state)
{
	struct world *w = *state;

	need_server();
	client(w, (struct kb_redis_conf) { 0 });
	assert_true(until(w, is_up));
	start(w, WORDS("CONFIG", "SET", "maxmemory", "1"));
	expect(w, KB_REDIS_OK);
	start(w, WORDS("SET", "rl:a", "1"));
	expect(w, KB_REDIS_REFUSED);
	test_contains(w->got.text, "OOM");
	for (int i = 0; i < 2; i++) {
		start(w, WORDS("SET", "rl:a", "1"));
		expect(w, KB_REDIS_REFUSED);
	}
	assert_false(kb_redis_is_up(w->redis));
	assert_true(until(w, is_up)); /* PING is answered */
	start(w, WORDS("CONFIG", "SET", "maxmemory", "0"));
	expect(w, KB_REDIS_OK);
	start(w, WORDS("REPLICAOF", "127.0.0.1", "1"));
	expect(w, KB_REDIS_OK);
	start(w, WORDS("SET", "rl:a", "1"));
	expect(w, KB_REDIS_REFUSED);
	test_contains(w->got.text, "READONLY");
	start(w, WORDS("REPLICAOF", "NO", "ONE"));
	expect(w, KB_REDIS_OK);
}

/* ---- a server that says what the test wants -------------------------------
 */

struct liar {
	struct evconnlistener *listener;
	struct event_base *base;
	char port[16];
	int number;
	const char *says;   /* to what is not a greeting */
	const char *greets; /* to a PING; NULL: +PONG */
	bool hangs_up;
	struct event *conns[16];
	size_t n;
};

static void
liar_read(evutil_socket_t fd, short what, void *arg)
{
	struct liar *l = arg;
	char text[4096] = { 0 };
	const char *answer;

	(void)what;
	if (read(fd, text, sizeof(text) - 1) <= 0) {
		for (size_t i = 0; i < l->n; i++)
			if (event_get_fd(l->conns[i]) == fd)
				event_del(l->conns[i]);
		return;
	}
	if (strstr(text, "SELECT"))
		answer = "+OK\r\n";
	else if (strstr(text, "PING"))
		answer = l->greets ? l->greets : "+PONG\r\n";
	else
		answer = l->says;
	if (write(fd, answer, strlen(answer)) < 0)
		return;
	if (answer == l->says && l->hangs_up)
		shutdown(fd, SHUT_RDWR);
}

static void
liar_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *addr, int len, void *arg)
{
	struct liar *l = arg;

	(void)listener;
	(void)addr;
	(void)len;
	if (l->n == KB_COUNT(l->conns)) {
		close(fd);
		return;
	}
	l->conns[l->n] = event_new(
	    l->base, fd, EV_READ | EV_PERSIST, liar_read, l);
	event_add(l->conns[l->n++], NULL);
}

static void
liar_open(struct liar *l, struct world *w)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);

	l->base = w->base;
	l->listener = evconnlistener_new_bind(w->base, liar_accept, l,
	    LEV_OPT_CLOSE_ON_FREE, 4, (struct sockaddr *)&addr, sizeof(addr));
	assert_non_null(l->listener);
	getsockname(
	    evconnlistener_get_fd(l->listener), (struct sockaddr *)&addr, &len);
	l->number = ntohs(addr.sin_port);
}

static void
liar_close(struct liar *l)
{
	for (size_t i = 0; i < l->n; i++) {
		close(event_get_fd(l->conns[i]));
		event_free(l->conns[i]);
	}
	evconnlistener_free(l->listener);
}

static void
nonsense_closes_the_connection(void **state)
{
	static const char *const nonsense[] = {
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"*1000000000\r\n",
		"*-7\r\n",
		"$99999999999999999999\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
		":12x\r\n",
		"\r\n",
	};
	struct world *w = *state;
	struct kb_secret none = { 0 };

	for (size_t i = 0; i < KB_COUNT(nonsense); i++) {
		struct liar liar = { .says = nonsense[i], .hangs_up = false };

		liar_open(&liar, w);
		client(w,
		    (struct kb_redis_conf) { .host = "127.0.0.1",
			.port = liar.number,
			.password = &none });
		assert_true(until(w, is_up));
		start(w, WORDS("GET", "rl:a"));
		assert_true(until(w, is_answered));
		assert_int_equal(w->got.calls, 1);
		if (w->got.result != KB_REDIS_CLOSED)
			fail_msg("\"%s\" ended in %s", nonsense[i],
			    kb_redis_result_name(w->got.result));
		kb_redis_free(w->redis);
		w->redis = NULL;
		liar_close(&liar);
	}
}

static void
half_an_answer_is_no_answer(void **state)
{
	struct world *w = *state;
	struct kb_secret none = { 0 };
	struct liar liar = { .says = "$10\r\nhal", .hangs_up = true };

	liar_open(&liar, w);
	client(w,
	    (struct kb_redis_conf) {
		.host = "127.0.0.1", .port = liar.number, .password = &none });
	assert_true(until(w, is_up));
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_CLOSED);
	assert_true(until(w, is_up)); /* and again */
	liar.hangs_up = false;
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_TIMEOUT);
	liar_close(&liar);
}

static void
answers_to_nothing_close_the_connection(void **state)
{
	struct world *w = *state;
	struct kb_secret none = { 0 };
	struct liar liar = { .says = "+OK\r\n+OK\r\n" };
	struct kb_redis_stats stats;

	liar_open(&liar, w);
	client(w,
	    (struct kb_redis_conf) {
		.host = "127.0.0.1", .port = liar.number, .password = &none });
	assert_true(until(w, is_up));
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_OK);
	kb_redis_stats(w->redis, &stats);
	assert_true(until(w, is_up));
	kb_redis_stats(w->redis, &stats);
	assert_int_equal(stats.losses, 1);
	liar_close(&liar);
}

static void
an_endless_answer_is_cut_off(void **state)
{
	struct world *w = *state;
	struct kb_secret none = { 0 };
	char *long_text = kb_xalloc(70000);
	struct liar liar = { .says = long_text };

	memset(long_text, 'a', 69999);
	memcpy(long_text, "$9000000\r\n", 10);
	long_text[69999] = '\0';
	liar_open(&liar, w);
	client(w,
	    (struct kb_redis_conf) { .host = "127.0.0.1",
		.port = liar.number,
		.reply_max = 60000,
		.password = &none });
	assert_true(until(w, is_up));
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_CLOSED);
	liar_close(&liar);
	free(long_text);
}

static bool
has_pinged_twice(struct world *w)
{
	static int64_t since;

	(void)w;
	if (since == 0)
		since = kb_mono_ms();
	return kb_mono_ms() > since + 150;
}

static void
a_loading_server_is_not_up_until_it_has_loaded(void **state)
{
	struct world *w = *state;
	struct kb_secret none = { 0 };
	struct liar liar = {
		.greets = "-LOADING Redis is loading the dataset in memory\r\n",
	};

	liar_open(&liar, w);
	client(w,
	    (struct kb_redis_conf) {
		.host = "127.0.0.1", .port = liar.number, .password = &none });
	assert_true(until(w, has_pinged_twice));
	assert_false(kb_redis_is_up(w->redis));
	liar.greets = NULL;
	assert_true(until(w, is_up));
	assert_int_equal(liar.n, 1); /* on the same connection */
	liar_close(&liar);
}

static void
nobody_listening_is_down_at_once(void **state)
{
	struct world *w = *state;
	struct kb_secret none = { 0 };

	client(w,
	    (struct kb_redis_conf) {
		.host = "/nonexistent/socket", .password = &none });
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_DOWN);
	kb_redis_free(w->redis);
	client(w,
	    (struct kb_redis_conf) {
		.host = "no-such-host.invalid", .password = &none });
	start(w, WORDS("GET", "rl:a"));
	expect(w, KB_REDIS_DOWN);
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(kinds_of_replies_are_told_apart),
		test(names_ports_and_acl_users_work),
		test(a_database_is_chosen),
		test(a_wrong_password_keeps_it_down),
		test(too_many_in_flight_fail_at_once),
		test(freeing_answers_what_is_in_flight),
		test(a_callback_may_free_the_client),
		test(unknown_scripts_are_sent_whole_and_then_known),
		test(
		    a_stopped_server_opens_the_breaker_and_comes_back_within_a_second),
		test(a_killed_server_is_found_again),
		test(a_full_or_read_only_server_is_no_server),
		test(nonsense_closes_the_connection),
		test(half_an_answer_is_no_answer),
		test(answers_to_nothing_close_the_connection),
		test(an_endless_answer_is_cut_off),
		test(a_loading_server_is_not_up_until_it_has_loaded),
		test(nobody_listening_is_down_at_once),
	};
	const char *why = redis_server_find();
	int failed;

	kb_log_fd(2);
	kb_log_init("test", KB_ERROR);
	if (why)
		print_message("tests with a server are skipped: %s\n", why);
	else if (!redis_server_new(&server))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	redis_server_free(&server);
	return failed;
}
