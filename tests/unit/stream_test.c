/*
 * Streams, files and spooled bodies of a service as a process: this program,
 * called as one, is it.
 */
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <kombi/buf.h>
#include <kombi/service.h>
#include <kombi/str.h>
#include <kombi/stream.h>

#define WRITERS 4
#define LINES 500
#define FILE_SIZE 1500007
#define LAST_CHUNK "\r\n0\r\n\r\n"

/* ---- the service --------------------------------------------------------- */

static atomic_int opened, closed, flooded, writing;

static struct kb_reply
number(struct kb_request *req, int n)
{
	char *text = kb_sprintf(req->cx.arena, "n=%d.", n);

	return kb_bytes_reply(req, 200, "text/plain", text, strlen(text));
}

static void
on_closed(struct kb_stream *s, void *arg)
{
	(void)s;
	(void)arg;
	atomic_fetch_add(&closed, 1);
}

static struct kb_reply
get_closed(struct kb_request *req)
{
	return number(req, atomic_load(&closed));
}

static struct kb_reply
get_flooded(struct kb_request *req)
{
	return number(req, atomic_load(&flooded));
}

static struct kb_reply
open_one(struct kb_request *req)
{
	struct kb_stream_conf conf = { .content_type = "text/event-stream",
		.closed = on_closed };
	struct kb_stream *s;
	struct kb_reply reply = kb_stream_reply(req, &conf, &s);

	(void)kb_stream_send(s, "data:hello\n\n", 12);
	kb_stream_release(s);
	atomic_fetch_add(&opened, 1);
	return reply;
}

static struct kb_reply
idle(struct kb_request *req)
{
	struct kb_stream_conf conf = { .content_type = "text/event-stream",
		.closed = on_closed,
		.keep_alive_ms = 1,
		.idle_ms = 900 };
	struct kb_stream *s;
	struct kb_reply reply = kb_stream_reply(req, &conf, &s);

	kb_stream_release(s);
	return reply;
}

static struct kb_reply
hard(struct kb_request *req)
{
	struct kb_stream_conf conf = { .content_type = "text/event-stream",
		.closed = on_closed,
		.most_ms = 1 };
	struct kb_stream *s;
	struct kb_reply reply = kb_stream_reply(req, &conf, &s);

	kb_stream_release(s);
	return reply;
}

struct writer {
	struct kb_stream *s;
	int id;
};

static void *
write_lines(void *arg)
{
	struct writer *w = arg;
	char line[32];

	for (int i = 0; i < LINES; i++) {
		int n = snprintf(line, sizeof(line), "<%d:%d>", w->id, i);

		(void)kb_stream_send(w->s, line, (size_t)n);
	}
	if (atomic_fetch_sub(&writing, 1) == 1)
		kb_stream_end(w->s);
	kb_stream_release(w->s);
	free(w);
	return NULL;
}

static void
begin(void *(*fn)(void *), struct kb_stream *s, int id)
{
	struct writer *w = malloc(sizeof(*w));
	pthread_t thread;

	*w = (struct writer) { kb_stream_ref(s), id };
	if (pthread_create(&thread, NULL, fn, w) == 0)
		pthread_detach(thread);
}

static struct kb_reply
threads(struct kb_request *req)
{
	struct kb_stream_conf conf = { .content_type = "text/plain",
		.closed = on_closed };
	struct kb_stream *s;
	struct kb_reply reply = kb_stream_reply(req, &conf, &s);

	atomic_store(&writing, WRITERS);
	for (int i = 0; i < WRITERS; i++)
		begin(write_lines, s, i);
	kb_stream_release(s);
	return reply;
}

static void *
write_without_end(void *arg)
{
	static const char piece[16384];
	struct writer *w = arg;

	while (kb_stream_send(w->s, piece, sizeof(piece)))
		;
	atomic_fetch_add(&flooded, 1);
	kb_stream_release(w->s);
	free(w);
	return NULL;
}

static struct kb_reply
flood(struct kb_request *req)
{
	struct kb_stream_conf conf = { .content_type = "text/plain",
		.closed = on_closed,
		.high_water = 65536 };
	struct kb_stream *s;
	struct kb_reply reply = kb_stream_reply(req, &conf, &s);

	begin(write_without_end, s, 0);
	kb_stream_release(s);
	return reply;
}

static char
byte_of(size_t i)
{
	return (char)('a' + i * 7 % 23);
}

static struct kb_reply
file(struct kb_request *req)
{
	char path[] = "/tmp/kombi-stream-XXXXXX", *bytes = malloc(FILE_SIZE);
	int fd = mkstemp(path);

	unlink(path);
	for (size_t i = 0; i < FILE_SIZE; i++)
		bytes[i] = byte_of(i);
	if (write(fd, bytes, FILE_SIZE) != FILE_SIZE)
		abort();
	free(bytes);
	return kb_file_reply_conditional(
	    req, "text/plain", fd, "\"tag\"", 1000000000);
}

static struct kb_reply
count_files(struct kb_request *req)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return number(req, n);
}

/* The bytes of a body that are as they should be; negative: in memory. */
static struct kb_reply
upload(struct kb_request *req)
{
	int fd = kb_body_fd(req), n = 0;
	char byte;

	if (fd < 0) {
		for (size_t i = 0; i < req->body_len; i++)
			n += req->body[i] == byte_of(i);
		return number(req, -n);
	}
	while (read(fd, &byte, 1) == 1)
		n += byte == byte_of((size_t)n);
	return number(req, (size_t)n == req->body_len ? n : 0);
}

static const struct kb_route routes[] = {
	KB_GET("/open", KB_PUBLIC, open_one),
	KB_GET("/idle", KB_PUBLIC, idle),
	KB_GET("/hard", KB_PUBLIC, hard),
	KB_GET("/threads", KB_PUBLIC, threads),
	KB_GET("/flood", KB_PUBLIC, flood),
	KB_GET("/flooded", KB_PUBLIC, get_flooded, .flags = KB_INLINE),
	KB_GET("/closed", KB_PUBLIC, get_closed, .flags = KB_INLINE),
	KB_GET("/file", KB_PUBLIC, file),
	KB_GET("/files", KB_PUBLIC, count_files),
	KB_POST("/upload", KB_PUBLIC, upload, .flags = KB_SPOOL_BODY,
	    .body_limit = 1 << 20),
	KB_ROUTES_END,
};

static const char *
spool_folder(struct kb_app *app, struct kb_arena *a)
{
	const char *folder = getenv("SPOOL");

	(void)app;
	(void)a;
	return folder ? folder : "/tmp";
}

static const struct kb_service service = {
	.name = "self",
	.title = "Self",
	.routes = routes,
	.spool_folder = spool_folder,
};

/* ---- its process ----------------------------------------------------------
 */

struct process {
	pid_t pid;
	int out, port;
};

/* Its own standard output is read by nobody after it listens: it is quiet. */
static void
serve(struct process *p, const char *extra)
{
	const char *const argv[] = { "self", NULL };
	const char *env[] = { "KOMBI_ENVIRONMENT=development",
		"KOMBI_SERVICE_SECRET=a-secret-of-more-than-thirty-two-bytes",
		"PORT=0", "KOMBI_WORKERS=2", extra, NULL };
	posix_spawn_file_actions_t actions;
	char said[8192] = "", *at = NULL;
	size_t len = 0;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
	assert_int_equal(
	    posix_spawn(&p->pid, "/proc/self/exe", &actions, NULL,
		(char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env),
	    0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	p->out = fds[0];
	while (strstr(said, "\"workers\":") == NULL) {
		ssize_t n = read(p->out, said + len, sizeof(said) - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
		said[len] = '\0';
	}
	at = strstr(said, "\"port\":");
	assert_non_null(at);
	p->port = (int)strtol(at + strlen("\"port\":"), NULL, 10);
}

/* It ends by itself, soon, and well. */
static void
stop(struct process *p)
{
	char said[4096];
	int status;

	assert_int_equal(kill(p->pid, SIGTERM), 0);
	while (read(p->out, said, sizeof(said)) > 0)
		;
	close(p->out);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int
ask(const struct process *p, const char *head, const char *lines)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)p->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), n;
	char text[512];

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	n = snprintf(text, sizeof(text),
	    "%s HTTP/1.1\r\nHost: self\r\nConnection: close\r\n%s\r\n", head,
	    lines);
	assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
	return fd;
}

static char *
rest_of(int fd)
{
	size_t room = 4u << 20, len = 0;
	char *text = malloc(room);
	ssize_t n;

	while ((n = recv(fd, text + len, room - 1 - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
	return text;
}

static char *
get(const struct process *p, const char *head, const char *lines)
{
	return rest_of(ask(p, head, lines));
}

static int
get_number(const struct process *p, const char *path)
{
	char *text = get(p, path, "");
	const char *at = strstr(text, "n=");
	int n = at ? (int)strtol(at + 2, NULL, 10) : -1;

	free(text);
	return n;
}

struct wanted {
	const struct process *p;
	const char *path;
	int n;
};

static bool
is_so(void *arg)
{
	const struct wanted *w = arg;

	return get_number(w->p, w->path) == w->n;
}

static void
wait_for(const struct process *p, const char *path, int n)
{
	struct wanted w = { p, path, n };

	assert_true(test_wait(is_so, &w));
}

static bool
ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a >= b && strcmp(text + a - b, end) == 0;
}

static void
read_hello(int fd)
{
	char text[4096] = "";
	size_t len = 0;

	while (strstr(text, "data:hello\n\n") == NULL) {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);

		assert_true(n > 0);
		len += (size_t)n;
		text[len] = '\0';
	}
	test_contains(text, "Transfer-Encoding: chunked\r\n");
}

/* ---- tests ------------------------------------------------------------------
 */

static void
what_many_threads_send_arrives_whole_and_in_order(void **state)
{
	struct process p;
	char *text, line[32];

	(void)state;
	serve(&p, NULL);
	text = get(&p, "GET /threads", "");
	assert_true(ends_with(text, LAST_CHUNK));
	for (int w = 0; w < WRITERS; w++) {
		const char *at = text;

		for (int i = 0; i < LINES; i++) {
			snprintf(line, sizeof(line), "%d:%d>", w, i);
			at = strstr(at, line);
			/* Chunks may end within what was sent at once only if
			 * the engine cut it: it does not. */
			assert_non_null(at);
		}
	}
	free(text);
	wait_for(&p, "GET /closed", 1);
	stop(&p);
}

static void
a_client_that_leaves_is_told_once(void **state)
{
	struct process p;
	int fd;

	(void)state;
	serve(&p, NULL);
	fd = ask(&p, "GET /open", "");
	read_hello(fd);
	assert_int_equal(get_number(&p, "GET /closed"), 0);
	close(fd);
	wait_for(&p, "GET /closed", 1);
	stop(&p);
}

static void
a_client_that_does_not_read_is_cut_off(void **state)
{
	struct process p;
	char *text;
	int fd;

	(void)state;
	serve(&p, NULL);
	fd = ask(&p, "GET /flood", "");
	wait_for(&p, "GET /flooded", 1);
	wait_for(&p, "GET /closed", 1);
	text = rest_of(fd);
	assert_false(ends_with(text, LAST_CHUNK));
	free(text);
	stop(&p);
}

static void
silence_is_broken_by_comments_and_ends_in_time(void **state)
{
	struct process p;
	char *text;

	(void)state;
	serve(&p, NULL);
	text = get(&p, "GET /idle", "");
	test_contains(text, ": \n\n");
	assert_true(ends_with(text, LAST_CHUNK));
	free(text);
	text = get(&p, "GET /hard", "");
	test_contains(text, "HTTP/1.1 200");
	assert_true(ends_with(text, "0\r\n\r\n"));
	free(text);
	stop(&p);
}

static void
the_services_end_is_the_streams(void **state)
{
	struct process p;
	char *text;
	int fd;

	(void)state;
	serve(&p, NULL);
	text = get(&p, "HEAD /open", "");
	test_contains(text, "HTTP/1.1 200");
	assert_true(ends_with(text, "\r\n\r\n"));
	assert_null(strstr(text, "hello"));
	free(text);
	fd = ask(&p, "GET /open", "");
	read_hello(fd);
	stop(&p);
	text = rest_of(fd);
	assert_string_equal(text, "0\r\n\r\n");
	free(text);
}

static const char *
body_of(const char *text)
{
	const char *at = strstr(text, "\r\n\r\n");

	assert_non_null(at);
	return at + 4;
}

static void
is_part(const char *text, size_t from, size_t len)
{
	const char *body = body_of(text);

	assert_int_equal(strlen(body), len);
	for (size_t i = 0; i < len; i++)
		if (body[i] != byte_of(from + i))
			fail_msg("byte %zu is wrong", i);
}

static void
files_are_sent_whole_in_part_or_not_at_all(void **state)
{
	static const struct {
		const char *lines;
		const char *says;
		size_t from, len;
	} cases[] = {
		{ "", "HTTP/1.1 200", 0, FILE_SIZE },
		{ "Range: bytes=10-19\r\n", "bytes 10-19/1500007", 10, 10 },
		{ "Range: bytes=1500000-\r\n", "HTTP/1.1 206", 1500000, 7 },
		{ "Range: bytes=-5\r\n", "bytes 1500002-1500006/1500007",
		    1500002, 5 },
		{ "Range: bytes=5-99999999\r\n", "bytes 5-1500006/1500007", 5,
		    FILE_SIZE - 5 },
		{ "Range: bytes=1-2,4-5\r\n", "HTTP/1.1 200", 0, FILE_SIZE },
		{ "Range: bytes=9-1\r\n", "HTTP/1.1 200", 0, FILE_SIZE },
		{ "Range: bytes=1500007-\r\n", "bytes */1500007", 0, 0 },
		{ "Range: bytes=1-2\r\nIf-Range: \"other\"\r\n", "HTTP/1.1 200",
		    0, FILE_SIZE },
		{ "Range: bytes=1-2\r\nIf-Range: \"tag\"\r\n", "HTTP/1.1 206",
		    1, 2 },
		{ "If-None-Match: \"x\", W/\"tag\"\r\n", "HTTP/1.1 304", 0, 0 },
		{ "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n",
		    "HTTP/1.1 304", 0, 0 },
		{ "If-Match: \"other\"\r\n", "HTTP/1.1 412", 0, 0 },
	};
	struct process p;
	char *text;
	int files;

	(void)state;
	serve(&p, NULL);
	files = get_number(&p, "GET /files");
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		text = get(&p, "GET /file", cases[i].lines);
		test_contains(text, cases[i].says);
		is_part(text, cases[i].from, cases[i].len);
		free(text);
	}
	text = get(&p, "HEAD /file", "");
	test_contains(text, "Content-Length: 1500007\r\n");
	is_part(text, 0, 0);
	free(text);
	close(ask(&p, "GET /file", "")); /* does not wait for it */
	wait_for(&p, "GET /files", files);
	stop(&p);
}

static int
post(const struct process *p, size_t len, const char *says)
{
	char lines[64], *bytes = malloc(len), *text;
	const char *at;
	size_t done = 0;
	int fd, n = 0;

	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_of(i);
	snprintf(lines, sizeof(lines), "Content-Length: %zu\r\n", len);
	fd = ask(p, "POST /upload", lines);
	while (done < len) {
		ssize_t sent = send(fd, bytes + done, len - done, MSG_NOSIGNAL);

		if (sent <= 0)
			break; /* refused before its end */
		done += (size_t)sent;
	}
	text = rest_of(fd);
	test_contains(text, says);
	at = strstr(text, "n=");
	if (at != NULL)
		n = (int)strtol(at + 2, NULL, 10);
	free(bytes);
	free(text);
	return n;
}

static void
large_bodies_go_to_a_file_and_small_ones_do_not(void **state)
{
	struct process p;
	int files;

	(void)state;
	serve(&p, NULL);
	files = get_number(&p, "GET /files");
	assert_int_equal(post(&p, 1000, "HTTP/1.1 200"), -1000);
	assert_int_equal(post(&p, 65536, "HTTP/1.1 200"), -65536);
	assert_int_equal(post(&p, 65537, "HTTP/1.1 200"), 65537);
	assert_int_equal(post(&p, 1 << 20, "HTTP/1.1 200"), 1 << 20);
	assert_int_equal(post(&p, (1 << 20) + 1, "HTTP/1.1 413"), 0);
	wait_for(&p, "GET /files", files);
	stop(&p);
}

static void
a_body_that_cannot_be_kept_is_refused(void **state)
{
	struct process p;

	(void)state;
	serve(&p, "SPOOL=/nowhere/at/all");
	assert_int_equal(post(&p, 100, "HTTP/1.1 200"), -100);
	assert_int_equal(post(&p, 70000, "HTTP/1.1 507"), 0);
	stop(&p);
}

int
main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    what_many_threads_send_arrives_whole_and_in_order),
		cmocka_unit_test(a_client_that_leaves_is_told_once),
		cmocka_unit_test(a_client_that_does_not_read_is_cut_off),
		cmocka_unit_test(
		    silence_is_broken_by_comments_and_ends_in_time),
		cmocka_unit_test(the_services_end_is_the_streams),
		cmocka_unit_test(files_are_sent_whole_in_part_or_not_at_all),
		cmocka_unit_test(
		    large_bodies_go_to_a_file_and_small_ones_do_not),
		cmocka_unit_test(a_body_that_cannot_be_kept_is_refused),
	};

	if (strcmp(argv[0], "self") == 0)
		return kb_service_main(&service, argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
