/*
 * The log: one JSON object a line, nothing forged, nothing interleaved, and
 * a reader that stops reading does not stop us.
 */
#include <fcntl.h>
#include <pthread.h>

#include "test.h"

#include <kombi/json.h>
#include <kombi/log.h>
#include <kombi/time.h>

static FILE *sink_file;

static int
open_sink(void **state)
{
	sink_file = tmpfile();
	assert_non_null(sink_file);
	kb_log_fd(fileno(sink_file));
	kb_log_init("unit", KB_INFO);
	return test_arena_new(state);
}

static int
close_sink(void **state)
{
	kb_log_fd(STDOUT_FILENO);
	fclose(sink_file);
	return test_arena_free(state);
}

/* All lines so far. */
static char *
logged(struct kb_arena *a)
{
	off_t size;
	char *out;

	kb_log_flush();
	size = lseek(fileno(sink_file), 0, SEEK_END);
	out = kb_arena_alloc(a, (size_t)size + 1);
	assert_int_equal(pread(fileno(sink_file), out, (size_t)size, 0), size);
	return out;
}

/* The only line, as a tree. */
static const struct kb_json *
logged_line(struct kb_arena *a)
{
	char *text = logged(a);
	const struct kb_json *j;
	const char *why;
	size_t n = strlen(text);

	assert_true(n > 0 && text[n - 1] == '\n');
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	if (kb_json_parse(a, text, n, &j, &why))
		fail_msg("%s: %s", text, why);
	return j;
}

static void
a_line_has_the_agreed_fields(void **state)
{
	const struct kb_log outer = { .fields = { KB_S("requestId", "r1") } };
	const struct kb_log inner = { .parent = &outer,
		.fields = { KB_S("userId", "u1") } };
	const struct kb_json *j;
	int64_t n;

	kb_warn(&inner, "upstream slow", KB_N("durationMs", -12),
	    KB_B("retried", true), KB_S("host", NULL));
	j = logged_line(*state);
	assert_true(kb_rfc3339_parse(kb_json_str(j, "timestamp"), &n));
	assert_string_equal(kb_json_str(j, "level"), "warn");
	assert_string_equal(kb_json_str(j, "message"), "upstream slow");
	assert_string_equal(kb_json_str(j, "service"), "unit");
	assert_string_equal(kb_json_str(j, "requestId"), "r1");
	assert_string_equal(kb_json_str(j, "userId"), "u1");
	assert_true(kb_json_int(j, "durationMs", &n));
	assert_int_equal(n, -12);
	assert_true(kb_json_bool(j, "retried", false));
	assert_int_equal(kb_json_kind(kb_json_get(j, "host")), KB_JSON_NULL);
}

static void
values_cannot_forge_a_line(void **state)
{
	const struct kb_json *j;

	kb_info(NULL, "login",
	    KB_S("user", "x\"}\n{\"level\":\"error\",\"a\":\"\xff\x1b[31m"));
	j = logged_line(*state);
	assert_string_equal(kb_json_str(j, "level"), "info");
	assert_string_equal(kb_json_str(j, "user"),
	    "x\"}\n{\"level\":\"error\",\"a\":\"\xef\xbf\xbd\x1b[31m");
}

static void
long_values_are_cut_and_long_lines_stay_json(void **state)
{
	static char text[100000];
	const struct kb_log many = { .fields = { KB_S("a", text),
					 KB_S("b", text), KB_S("c", text),
					 KB_S("d", text) } };
	const struct kb_log more = { .parent = &many,
		.fields = { KB_S("e", text), KB_S("f", text), KB_S("g", text),
		    KB_S("h", text) } };
	const struct kb_json *j;

	memset(text, 'x', sizeof(text) - 1);
	kb_info(&many, "large");
	j = logged_line(*state);
	assert_int_equal(strlen(kb_json_str(j, "a")), 4096);
	assert_int_equal(ftruncate(fileno(sink_file), 0), 0);
	lseek(fileno(sink_file), 0, SEEK_SET);
	kb_info(&more, "too large");
	j = logged_line(*state);
	assert_true(kb_json_bool(j, "truncated", false));
	assert_string_equal(kb_json_str(j, "message"), "too large");
}

static void
below_the_threshold_nothing_is_written(void **state)
{
	kb_debug(NULL, "not this");
	assert_string_equal(logged(*state), "");
	kb_log_threshold(KB_DEBUG);
	kb_debug(NULL, "but this");
	test_contains(logged(*state), "\"level\":\"debug\"");
	kb_log_threshold(KB_ERROR);
	assert_false(kb_log_enabled(KB_WARN));
	assert_true(kb_log_enabled(KB_ERROR));
}

static void
raw_lines_are_written_whole(void **state)
{
	kb_log_raw("{\"a\":1}xx", 7);
	assert_string_equal(logged(*state), "{\"a\":1}\n");
}

#define THREADS 4
#define PER_THREAD 500

static void *
log_many(void *arg)
{
	int i;

	for (i = 0; i < PER_THREAD; i++)
		kb_info(NULL, "from a thread", KB_N("thread", *(int *)arg),
		    KB_N("n", i));
	return NULL;
}

static void
lines_of_threads_do_not_interleave_and_keep_their_order(void **state)
{
	pthread_t threads[THREADS];
	int numbers[THREADS], next[THREADS] = { 0 }, i, total = 0;
	char *line, *end;

	for (i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(
		    pthread_create(&threads[i], NULL, log_many, &numbers[i]),
		    0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (line = logged(*state); *line; line = end + 1, total++) {
		const struct kb_json *j;
		const char *why;
		int64_t thread, n;

		end = strchr(line, '\n');
		assert_non_null(end);
		assert_int_equal(
		    kb_json_parse(*state, line, (size_t)(end - line), &j, &why),
		    KB_OK);
		assert_true(kb_json_int(j, "thread", &thread));
		assert_true(kb_json_int(j, "n", &n));
		assert_int_equal(n, next[thread]++);
	}
	assert_int_equal(total, THREADS * PER_THREAD);
}

/* Reads what comes until the text is there or ten seconds are over. */
struct reading {
	int fd;
	struct kb_buf text;
};

static bool
read_report(void *arg)
{
	struct reading *r = arg;
	char part[65536];
	ssize_t n;

	while ((n = read(r->fd, part, sizeof(part))) > 0)
		kb_buf_add(&r->text, part, (size_t)n);
	return strstr(kb_buf_str(&r->text), "log lines dropped") != NULL;
}

static void
a_stopped_reader_costs_lines_and_they_are_counted(void **state)
{
	struct reading r;
	int fds[2], i;
	int64_t began = kb_mono_ms();

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	kb_log_fd(fds[1]);
	for (i = 0; i < 30000; i++)
		kb_info(NULL, "nobody reads this", KB_N("n", i));
	assert_true(kb_mono_ms() - began < 10000);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	r.fd = fds[0];
	kb_buf_init(&r.text, 100000000);
	assert_true(test_wait(read_report, &r)); /* makes room */
	test_contains(kb_buf_str(&r.text), "\"n\":0}\n");
	kb_buf_free(&r.text);
	kb_log_fd(fileno(sink_file));
	close(fds[0]);
	close(fds[1]);
}

static void
a_closed_reader_does_not_end_the_process(void **state)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[0]);
	kb_log_fd(fds[1]);
	kb_info(NULL, "into the void");
	kb_log_fd(fileno(sink_file));
	close(fds[1]);
	kb_info(NULL, "still here");
	test_contains(logged(*state), "still here");
	assert_null(strstr(logged(*state), "void"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_line_has_the_agreed_fields, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(
		    values_cannot_forge_a_line, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(
		    long_values_are_cut_and_long_lines_stay_json, open_sink,
		    close_sink),
		cmocka_unit_test_setup_teardown(
		    below_the_threshold_nothing_is_written, open_sink,
		    close_sink),
		cmocka_unit_test_setup_teardown(
		    raw_lines_are_written_whole, open_sink, close_sink),
		cmocka_unit_test_setup_teardown(
		    lines_of_threads_do_not_interleave_and_keep_their_order,
		    open_sink, close_sink),
		cmocka_unit_test_setup_teardown(
		    a_stopped_reader_costs_lines_and_they_are_counted,
		    open_sink, close_sink),
		cmocka_unit_test_setup_teardown(
		    a_closed_reader_does_not_end_the_process, open_sink,
		    close_sink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
