/*
 * Redis as the gateway's loops see it: one client a loop and server, one log
 * line however many loops lose it, metrics by server.
 */
#include "test.h"

#include "redis.h"

#include <event2/event.h>

#include <kombi/redis.h>

#include "inside.h"

enum { LOOPS = 2 };

static struct redis_server server;

struct world {
	struct gateway_config config;
	struct gateway gateway;
	struct event_base *base;
	struct loop loops[LOOPS];
	FILE *log;
};

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->base = event_base_new();
	w->gateway.config = &w->config;
	w->config.redis_port = 6379;
	for (int i = 0; i < LOOPS; i++) {
		w->loops[i].gateway = &w->gateway;
		w->loops[i].base = w->base;
	}
	w->log = tmpfile();
	kb_log_fd(fileno(w->log));
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < LOOPS; i++)
		loop_redis_free(&w->loops[i]);
	event_base_free(w->base);
	kb_log_flush();
	kb_log_fd(1);
	fclose(w->log);
	kb_secret_free(&w->config.redis_password);
	redis_forget();
	free(w);
	return 0;
}

static void
use_server(struct world *w)
{
	w->config.redis_host = server.socket;
	kb_secret_set(&w->config.redis_password, REDIS_TEST_PASSWORD,
	    strlen(REDIS_TEST_PASSWORD));
}

/* How often the text stands in the log. */
static int
logged(struct world *w, const char *text)
{
	static char all[65536];
	ssize_t n;
	int times = 0;

	kb_log_flush();
	n = pread(fileno(w->log), all, sizeof(all) - 1, 0);
	all[n > 0 ? n : 0] = '\0';
	for (const char *at = all; (at = strstr(at, text)) != NULL; at++)
		times++;
	return times;
}

static bool
metrics_have(const char *line)
{
	struct kb_buf b;
	bool found;

	kb_buf_init(&b, 1 << 20);
	kb_metrics_text(&b);
	found = strstr(kb_buf_str(&b), line) != NULL;
	kb_buf_free(&b);
	return found;
}

static void
run_until(struct world *w, bool up)
{
	int64_t limit = kb_mono_ms() + 10000;
	bool all = false;

	while (!all && kb_mono_ms() < limit) {
		event_base_loop(w->base, EVLOOP_ONCE);
		all = true;
		for (int i = 0; i < LOOPS; i++)
			all &= kb_redis_is_up(loop_redis(&w->loops[i], NULL)) ==
			    up;
	}
	assert_true(all);
}

static void
without_a_server_there_is_no_client(void **state)
{
	struct world *w = *state;
	struct redis_conf none = { .port = 7 };

	assert_null(loop_redis(&w->loops[0], NULL));
	assert_null(loop_redis(&w->loops[0], &none));
}

static void
equal_ones_share_a_client_in_a_loop_and_no_other(void **state)
{
	struct world *w = *state;
	struct redis_conf conf = { .host = "127.0.0.1", .port = 1 };
	struct redis_conf same = { .host = "127.0.0.1", .port = 1 };
	struct redis_conf other = {
		.host = "127.0.0.1", .port = 1, .password = "another one"
	};
	struct kb_redis *r = loop_redis(&w->loops[0], &conf);

	assert_non_null(r);
	assert_ptr_equal(loop_redis(&w->loops[0], &same), r);
	assert_ptr_not_equal(loop_redis(&w->loops[1], &conf), r);
	assert_ptr_not_equal(loop_redis(&w->loops[0], &other), r);
	w->config.redis_host = "127.0.0.1";
	w->config.redis_port = 1;
	assert_ptr_equal(loop_redis(&w->loops[0], NULL), r);
}

static void
there_are_so_many_servers_and_no_more(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 20; i++) {
		struct redis_conf conf = {
			.host = "127.0.0.1", .port = 1, .database = i
		};

		assert_true(
		    (loop_redis(&w->loops[0], &conf) != NULL) == (i < 8));
	}
	assert_int_equal(logged(w, "too many different redis servers"), 1);
}

static void
loss_and_return_are_one_line_each(void **state)
{
	struct world *w = *state;
	char line[160];

	use_server(w);
	run_until(w, true);
	assert_int_equal(logged(w, "redis is down"), 0);
	snprintf(line, sizeof(line), "kombi_redis_up{server=\"%s:6379/0\"} 1",
	    server.socket);
	assert_true(metrics_have(line));
	redis_server_kill(&server);
	run_until(w, false);
	line[strlen(line) - 1] = '0';
	assert_true(metrics_have(line));
	assert_true(redis_server_start(&server));
	run_until(w, true);
	assert_int_equal(logged(w, "redis is down"), 1);
	assert_int_equal(logged(w, "redis is back"), 1);
	assert_int_equal(logged(w, REDIS_TEST_PASSWORD), 0);
}

static int
start(void **state)
{
	(void)state;
	redis_register();
	return redis_server_find() || redis_server_new(&server) ? 0 : -1;
}

static int
stop(void **state)
{
	(void)state;
	redis_server_free(&server);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest local[] = {
		cmocka_unit_test_setup_teardown(
		    without_a_server_there_is_no_client, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    equal_ones_share_a_client_in_a_loop_and_no_other, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    there_are_so_many_servers_and_no_more, setup, teardown),
	};
	const struct CMUnitTest real[] = {
		cmocka_unit_test_setup_teardown(
		    loss_and_return_are_one_line_each, setup, teardown),
	};
	int failed = cmocka_run_group_tests(local, start, stop);

	if (redis_server_find() != NULL) {
		printf("# SKIP %s\n", redis_server_find());
		return failed;
	}
	return failed + cmocka_run_group_tests(real, start, stop);
}
