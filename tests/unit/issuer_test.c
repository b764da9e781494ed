/*
 * The thread that keeps an issuer's keys, against an issuer that answers
 * well, badly, slowly or not at all.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/fetch.h>
#include <kombi/jwt.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define DEADLINE_MS 20000

/* Public keys made for this test; nobody holds their private halves. */
/* clang-format off */
#define N1 \
	"iA84IuzNOpzncVOybr0RaE0aiyuDIxWfm5ONwbGs9yB0180Br2XPbfjOWCIhoK" \
	"J8-3Dv-nvDwjTgZcCBxMWFSD0wsvHQsusXBxPJUAIwNjst_8D6Gi0TWN0JoL_u" \
	"I9CeQ6Dbzf4qzq4JjTlEuSXNF6l0_I1pEKmYENETwynTEMoCd5zsK0BzpxCGqn" \
	"hJZNrBeo1m3nTwtWRBrw3vXSSbhuE0ZpvmdVMCDm9KqSzN4up71IPbghrhMw0H" \
	"eoD1uW5mWww4Kie0TymoT00UfIqHzHGaFB9YfxYC04mHBuZu2-WGkel5JuWtmm" \
	"DrHoQaEWHIg1H-kS00SJMuEEIG1RygrQ"
#define N2 \
	"mZn7o6GtKXSCFWYI1TJcoZUvC9jObCZeuXw7hPnfM-5MHccKc_q877ErhnBcQu" \
	"bt4cZbv8ZSROZetGvs0q1yuMaC9j_D2eXKdqEwC1Lqj_s6RWuBg9naRQAWWUjb" \
	"raEOOuhH2IPMqssrE1AN_nHU6jyXwMqpKzVAMM3uHjMmRBCFas9VRTxYPU9cZM" \
	"A6OoSJ3fVM7s_-m4pHr-mxS_2jeP7HYsXFNTT_AImq8b-K8H7fds-ZdS_YLS1q" \
	"bINCEQHHc260DUwURxD93EmtGatfw_GDtjTXA9mnyI3QCm9T4Xjz3cC5Bt1KcK" \
	"p-SzJ9z1kL5Ske3MQZU5EYOg_jop1aIw"
/* clang-format on */

extern char **environ;

struct stub {
	pid_t pid;
	int stdin_fd;
	char base[64];
};

static struct stub stub;

static void
read_port(int fd)
{
	char line[16] = "";
	size_t n = 0;

	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 &&
	    line[n] != '\n')
		n++;
	line[n] = '\0';
	close(fd);
	assert_true(n > 0);
	snprintf(stub.base, sizeof(stub.base), "http://127.0.0.1:%s", line);
}

static int
start_stub(void **state)
{
	const char *root = getenv("KOMBI_SOURCE_DIR");
	char script[512];
	char *argv[] = { (char[]) { "python3" }, script, (char[]) { N1 },
		(char[]) { N2 }, NULL };
	posix_spawn_file_actions_t actions;
	int in[2], out[2];

	(void)state;
	snprintf(script, sizeof(script), "%s/tests/support/issuer_stub.py",
	    root ? root : ".");
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	assert_int_equal(
	    posix_spawnp(&stub.pid, "python3", &actions, NULL, argv, environ),
	    0);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	stub.stdin_fd = in[1];
	read_port(out[0]);
	return 0;
}

static int
stop_stub(void **state)
{
	int status;

	(void)state;
	close(stub.stdin_fd); /* which ends it */
	assert_int_equal(waitpid(stub.pid, &status, 0), stub.pid);
	return 0;
}

/* Asks the stub; its answer as a number. */
static long
tell(const char *path)
{
	struct kb_arena *a = kb_arena_new(0);
	const struct kb_fetch f = {
		.url = kb_sprintf(a, "%s%s", stub.base, path),
		.reach = KB_REACH_INTERNAL,
	};
	struct kb_fetched got;
	long n;

	assert_int_equal(kb_fetch(a, NULL, &f, &got), KB_OK);
	assert_int_equal(got.status, 200);
	n = strtol(got.body ? got.body : "", NULL, 10);
	kb_arena_free(a);
	return n;
}

static bool
has_keys(struct kb_issuer *i, const char *kid)
{
	struct kb_jwks *keys = kb_issuer_keys(i);
	bool has = keys && (!kid || kb_jwks_has(keys, kid));

	kb_jwks_unref(keys);
	return has;
}

static void
pause_a_little(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 2000000 }, NULL);
}

static void
wait_for_kid(struct kb_issuer *i, const char *kid)
{
	int64_t end = kb_mono_ms() + DEADLINE_MS;

	while (!has_keys(i, kid)) {
		if (kb_mono_ms() > end)
			fail_msg("no key %s", kid);
		pause_a_little();
	}
}

static void
wait_for_count(long want)
{
	int64_t end = kb_mono_ms() + DEADLINE_MS;

	while (tell("/count") < want) {
		if (kb_mono_ms() > end)
			fail_msg("no fetch number %ld", want);
		pause_a_little();
	}
}

/* One at a time: when the third has begun, the second has been judged. */
static void
wait_for_fetches(long more)
{
	wait_for_count(tell("/count") + more);
}

static struct kb_issuer_conf
conf(void)
{
	return (struct kb_issuer_conf) {
		.issuer = stub.base,
		.allow_private = true,
		.min_refetch_ms = 20,
		.max_age_ms = 600000,
	};
}

static void
set(const char *mode, const char *discovery)
{
	char path[64];

	snprintf(path, sizeof(path), "/mode/%s", mode);
	tell(path);
	snprintf(path, sizeof(path), "/discovery/%s", discovery);
	tell(path);
}

/* ---- first fetch ---------------------------------------------------------*/

static void
keys_are_found_through_discovery(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;

	(void)state;
	set("good", "good");
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	assert_int_equal(kb_issuer_generation(i), 1);
	kb_issuer_stop(i);
}

static void
an_issuer_without_discovery_has_them_in_the_usual_place(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;

	(void)state;
	set("good", "missing");
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	kb_issuer_stop(i);
}

static void
a_given_address_is_used_without_asking(void **state)
{
	struct kb_issuer_conf c = conf();
	char url[96];
	struct kb_issuer *i;

	(void)state;
	set("good", "foreign");
	snprintf(url, sizeof(url), "%s/given", stub.base);
	c.jwks_url = url;
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	kb_issuer_stop(i);
}

static void
a_discovery_document_of_another_issuer_brings_no_keys(void **state)
{
	static const char *const documents[] = { "foreign", "without_uri" };
	struct kb_issuer_conf c = conf();

	(void)state;
	for (size_t n = 0; n < KB_COUNT(documents); n++) {
		struct kb_issuer *i;
		long before;

		set("good", documents[n]);
		before = tell("/count");
		i = kb_issuer_start(&c);
		/* It goes on trying: once the document is right, keys come. */
		for (int k = 0; k < 20; k++) {
			assert_false(has_keys(i, NULL));
			pause_a_little();
		}
		assert_int_equal(tell("/count"), before);
		set("good", "good");
		wait_for_kid(i, "k1");
		kb_issuer_stop(i);
	}
}

static void
a_bad_first_answer_leaves_no_keys_until_a_good_one_comes(void **state)
{
	static const char *const modes[] = { "error", "html", "empty", "cut",
		"no_keys", "huge", "redirect" };
	struct kb_issuer_conf c = conf();

	(void)state;
	for (size_t n = 0; n < KB_COUNT(modes); n++) {
		struct kb_issuer *i;

		set(modes[n], "good");
		i = kb_issuer_start(&c);
		wait_for_fetches(3);
		if (has_keys(i, NULL))
			fail_msg("keys from %s", modes[n]);
		assert_int_equal(kb_issuer_generation(i), 0);
		tell("/mode/good");
		wait_for_kid(i, "k1");
		kb_issuer_stop(i);
	}
}

static void
private_addresses_are_not_asked_unless_allowed(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;
	long before;

	(void)state;
	set("good", "good");
	c.allow_private = false;
	before = tell("/count");
	i = kb_issuer_start(&c);
	for (int k = 0; k < 50; k++) {
		assert_false(has_keys(i, NULL));
		pause_a_little();
	}
	kb_issuer_stop(i);
	assert_int_equal(tell("/count"), before);
}

/* ---- refresh -------------------------------------------------------------*/

static void
bad_refreshes_leave_the_last_good_keys_in_force(void **state)
{
	static const char *const modes[] = { "error", "html", "empty", "cut",
		"no_keys", "huge", "redirect" };
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;

	(void)state;
	set("good", "good");
	c.max_age_ms = 10;
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	for (size_t n = 0; n < KB_COUNT(modes); n++) {
		set(modes[n], "good");
		wait_for_fetches(3);
		if (!has_keys(i, "k1"))
			fail_msg("%s took the keys away", modes[n]);
	}
	assert_int_equal(kb_issuer_generation(i), 1);
	kb_issuer_stop(i);
}

static void
keys_older_than_the_limit_are_not_given_out(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;

	(void)state;
	set("good", "good");
	c.max_age_ms = 600000;
	c.max_stale_ms = 3600000;
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	tell("/mode/error");
	kb_clock_shift(3590000);
	assert_true(has_keys(i, "k1"));
	kb_clock_shift(20000);
	assert_false(has_keys(i, NULL));
	kb_issuer_stop(i);
	kb_clock_shift(-3610000);
}

static void
the_same_keys_again_change_no_generation(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;

	(void)state;
	set("good", "good");
	c.max_age_ms = 10;
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	wait_for_fetches(5);
	assert_int_equal(kb_issuer_generation(i), 1);
	kb_issuer_stop(i);
}

static void
an_unknown_kid_brings_rotated_keys(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;
	struct kb_jwks *old;

	(void)state;
	set("good", "good");
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	old = kb_issuer_keys(i);
	tell("/mode/rotated");
	kb_issuer_unknown_kid(i);
	wait_for_kid(i, "k2");
	assert_false(has_keys(i, "k1"));
	assert_int_equal(kb_issuer_generation(i), 2);
	/* Whoever still verifies with the old set may finish. */
	assert_true(kb_jwks_has(old, "k1"));
	kb_jwks_unref(old);
	kb_issuer_stop(i);
}

static void
a_key_published_right_after_a_fetch_does_not_wait_the_whole_interval(
    void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;
	long before;

	(void)state;
	set("good", "good");
	c.min_refetch_ms = 30000;
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	tell("/mode/rotated");
	kb_issuer_unknown_kid(i);
	wait_for_kid(i, "k2");
	/* The next one does. */
	before = tell("/count");
	kb_clock_shift(20000);
	kb_issuer_unknown_kid(i);
	for (int n = 0; n < 100; n++)
		pause_a_little();
	assert_int_equal(tell("/count"), before);
	kb_issuer_stop(i);
	kb_clock_shift(-20000);
}

static void
a_flood_of_unknown_kids_causes_one_fetch_an_interval(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;
	long before, fetches;
	int64_t start;

	(void)state;
	set("good", "good");
	c.min_refetch_ms = 100;
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	before = tell("/count");
	start = kb_mono_ms();
	while (kb_mono_ms() - start < 500)
		for (int n = 0; n < 1000; n++)
			kb_issuer_unknown_kid(i);
	kb_issuer_stop(i);
	fetches = tell("/count") - before;
	assert_true(fetches >= 1);
	assert_true(fetches <= 1 + (kb_mono_ms() - start) / 100);
}

static void
a_hanging_issuer_blocks_nobody_and_can_be_left(void **state)
{
	struct kb_issuer_conf c = conf();
	struct kb_issuer *i;
	int64_t start;
	long before;

	(void)state;
	set("good", "good");
	i = kb_issuer_start(&c);
	wait_for_kid(i, "k1");
	tell("/mode/slow");
	before = tell("/count");
	kb_issuer_unknown_kid(i);
	wait_for_count(before + 1);
	start = kb_mono_ms();
	for (int n = 0; n < 1000; n++)
		assert_true(has_keys(i, "k1"));
	assert_true(kb_mono_ms() - start < 1000);
	kb_issuer_stop(i);
	assert_true(kb_mono_ms() - start < 12000);
	tell("/mode/good");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_found_through_discovery),
		cmocka_unit_test(
		    an_issuer_without_discovery_has_them_in_the_usual_place),
		cmocka_unit_test(a_given_address_is_used_without_asking),
		cmocka_unit_test(
		    a_discovery_document_of_another_issuer_brings_no_keys),
		cmocka_unit_test(
		    a_bad_first_answer_leaves_no_keys_until_a_good_one_comes),
		cmocka_unit_test(
		    private_addresses_are_not_asked_unless_allowed),
		cmocka_unit_test(
		    bad_refreshes_leave_the_last_good_keys_in_force),
		cmocka_unit_test(keys_older_than_the_limit_are_not_given_out),
		cmocka_unit_test(the_same_keys_again_change_no_generation),
		cmocka_unit_test(an_unknown_kid_brings_rotated_keys),
		cmocka_unit_test(
		    a_key_published_right_after_a_fetch_does_not_wait_the_whole_interval),
		cmocka_unit_test(
		    a_flood_of_unknown_kids_causes_one_fetch_an_interval),
		cmocka_unit_test(
		    a_hanging_issuer_blocks_nobody_and_can_be_left),
	};

	kb_fetch_init();
	kb_log_init("issuer_test", KB_ERROR);
	return cmocka_run_group_tests(tests, start_stub, stop_stub);
}
