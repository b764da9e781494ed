/* Children: what they print, how they end, what stops them. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/child.h>
#include <kombi/time.h>

/* A shell is the handiest misbehaving program; the product starts none. */
static struct kb_child
shell(const char **argv, const char *script)
{
	argv[0] = "sh";
	argv[1] = "-c";
	argv[2] = script;
	argv[3] = NULL;
	return (struct kb_child) {
		.program = "/bin/sh",
		.argv = argv,
		.deadline_ms = 20000,
		.max_output = 65536,
	};
}

static struct kb_child_result
run(struct kb_arena *a, const struct kb_child *c)
{
	struct kb_child_result r;
	const char *why;

	assert_int_equal(kb_child_run(a, c, &r, &why), KB_OK);
	assert_null(why);
	return r;
}

static void
output_status_and_input_are_carried(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	struct kb_child c = shell(argv, "cat; echo bad >&2; exit 7");
	struct kb_child_result r;

	(void)state;
	c.input = "hello";
	c.input_len = 5;
	r = run(a, &c);
	assert_int_equal(r.end, KB_CHILD_EXITED);
	assert_int_equal(r.status, 7);
	assert_string_equal(r.out, "hello");
	assert_string_equal(r.err, "bad\n");
	kb_arena_free(a);
}

static void
only_the_given_environment_and_folder_are_seen(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	static const char *const env[] = { "ONLY=this", NULL };
	struct kb_child c = shell(
	    argv, "echo \"$ONLY-$KOMBI_TEST_SECRET\"; pwd");
	struct kb_child_result r;

	(void)state;
	setenv("KOMBI_TEST_SECRET", "leaks", 1);
	c.env = env;
	c.cwd = "/usr";
	r = run(a, &c);
	assert_string_equal(r.out, "this-\n/usr\n");
	kb_arena_free(a);
}

static void
no_other_descriptor_reaches_the_child(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	int fds[2];
	struct kb_child c = shell(argv,
	    "for i in 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$i ] "
	    "&& echo open $i; done; exit 0");
	struct kb_child_result r;

	(void)state;
	assert_int_equal(pipe(fds), 0); /* not close-on-exec */
	r = run(a, &c);
	assert_string_equal(r.out, "");
	close(fds[0]);
	close(fds[1]);
	kb_arena_free(a);
}

static void
a_loop_is_killed_by_the_cpu_limit(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	struct kb_child c = shell(argv, "while :; do :; done");
	struct kb_child_result r;

	(void)state;
	c.cpu_s = 1;
	r = run(a, &c);
	assert_int_equal(r.end, KB_CHILD_CPU);
	/* The limit goes by ticks, which a busy machine gives unevenly. */
	assert_true(r.cpu_ms >= 500 && r.cpu_ms < 5000);
	kb_arena_free(a);
}

static void
a_sleeper_is_killed_at_the_deadline_with_its_children(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	struct kb_child c = shell(argv, "sleep 600 & echo $!; sleep 600");
	int64_t before = kb_mono_ms();
	struct kb_child_result r;
	pid_t left;

	(void)state;
	c.deadline_ms = 300;
	r = run(a, &c);
	assert_int_equal(r.end, KB_CHILD_DEADLINE);
	assert_true(kb_mono_ms() - before < 5000);
	left = (pid_t)strtol(r.out, NULL, 10);
	assert_true(left > 0);
	/* Its parent is gone: init, or nobody, reaps it. A zombie counts. */
	for (int i = 0; i < 500 && kill(left, 0) == 0; i++) {
		char path[64], text[256] = "";
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", left);
		f = fopen(path, "r");
		if (f == NULL || fgets(text, sizeof(text), f) == NULL)
			break;
		fclose(f);
		if (strstr(text, ") Z ") != NULL)
			break;
		assert_int_not_equal(i, 499);
		usleep(10000);
	}
	kb_arena_free(a);
}

static void
one_that_allocates_without_end_hits_the_memory_limit(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	struct kb_child c = shell(
	    argv, "x=0123456789; while :; do x=$x$x; done");
	struct kb_child_result r;

	(void)state;
	c.memory = 64 << 20;
	c.cpu_s = 10;
	r = run(a, &c);
	assert_int_not_equal(r.end, KB_CHILD_CPU);
	assert_int_not_equal(r.end, KB_CHILD_DEADLINE);
	assert_false(r.end == KB_CHILD_EXITED && r.status == 0);
	kb_arena_free(a);
}

static void
output_over_the_cap_ends_the_child(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	struct kb_child c = shell(argv, "while :; do echo 0123456789; done");
	struct kb_child_result r;

	(void)state;
	c.max_output = 100000;
	r = run(a, &c);
	assert_int_equal(r.end, KB_CHILD_OUTPUT);
	assert_true(r.out_len <= 100000);
	kb_arena_free(a);
}

struct seen {
	size_t bytes;
	int left;
};

static void
on_output(void *arg, enum kb_child_stream s, const char *data, size_t len)
{
	struct seen *seen = arg;

	(void)data;
	if (s == KB_CHILD_OUT)
		seen->bytes += len;
}

static bool
keep_going(void *arg)
{
	struct seen *seen = arg;

	return seen->bytes == 0;
}

static void
output_can_be_followed_and_the_child_stopped(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *argv[4];
	struct seen seen = { 0 };
	struct kb_child c = shell(argv, "echo started; sleep 600");
	struct kb_child_result r;

	(void)state;
	c.on_output = on_output;
	c.keep_going = keep_going;
	c.arg = &seen;
	r = run(a, &c);
	assert_int_equal(r.end, KB_CHILD_STOPPED);
	assert_int_equal(seen.bytes, 8);
	assert_string_equal(r.out, "");
	kb_arena_free(a);
}

static void
a_program_that_is_not_there_is_told(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	static const char *const argv[] = { "cue", NULL };
	struct kb_child c = {
		.program = "/nonexistent/cue",
		.argv = argv,
		.deadline_ms = 1000,
		.max_output = 100,
	};
	struct kb_child_result r;
	const char *why;

	(void)state;
	assert_int_equal(kb_child_run(a, &c, &r, &why), KB_UNAVAILABLE);
	assert_non_null(strstr(why, "/nonexistent/cue"));
	kb_arena_free(a);
}

static void
arguments_of_users_never_look_like_options(void **state)
{
	(void)state;
	assert_true(kb_child_arg_ok("home.yaml"));
	assert_true(kb_child_arg_ok("/srv/a b"));
	assert_false(kb_child_arg_ok("-e"));
	assert_false(kb_child_arg_ok("--out=/etc/passwd"));
	assert_false(kb_child_arg_ok(""));
	assert_false(kb_child_arg_ok(NULL));
	assert_false(kb_child_arg_ok("a\nb"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_status_and_input_are_carried),
		cmocka_unit_test(
		    only_the_given_environment_and_folder_are_seen),
		cmocka_unit_test(no_other_descriptor_reaches_the_child),
		cmocka_unit_test(a_loop_is_killed_by_the_cpu_limit),
		cmocka_unit_test(
		    a_sleeper_is_killed_at_the_deadline_with_its_children),
		cmocka_unit_test(
		    one_that_allocates_without_end_hits_the_memory_limit),
		cmocka_unit_test(output_over_the_cap_ends_the_child),
		cmocka_unit_test(output_can_be_followed_and_the_child_stopped),
		cmocka_unit_test(a_program_that_is_not_there_is_told),
		cmocka_unit_test(arguments_of_users_never_look_like_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
