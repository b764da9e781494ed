/*
 * A service as a process: this program, called with arguments, is one. It
 * starts itself, talks to itself over sockets and signals, and looks at how
 * it ends.
 */
#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <kombi/buf.h>
#include <kombi/service.h>
#include <kombi/time.h>

#include "service_private.h"

/* ---- the service --------------------------------------------------------- */

static atomic_int holding, reloads, wakes;

static struct kb_reply
number(struct kb_request *req, int n)
{
	char *text = kb_sprintf(req->cx.arena, "n=%d.", n);

	return kb_bytes_reply(req, 200, "text/plain", text, strlen(text));
}

/* Answers when the service is told to stop, so that nothing is a race. */
static struct kb_reply
hold(struct kb_request *req)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	atomic_fetch_add(&holding, 1);
	while (!atomic_load(&kb_runtime_of(kb_app(req))->draining))
		nanosleep(&pause, NULL);
	return number(req, 1000);
}

static struct kb_reply
get_holding(struct kb_request *req)
{
	return number(req, atomic_load(&holding));
}

static struct kb_reply
get_reloads(struct kb_request *req)
{
	return number(req, atomic_load(&reloads));
}

static struct kb_reply
get_wakes(struct kb_request *req)
{
	kb_background_wake(kb_app(req), "sleeper");
	return number(req, atomic_load(&wakes));
}

static const struct kb_route routes[] = {
	KB_GET("/hold", KB_PUBLIC, hold),
	KB_GET("/holding", KB_PUBLIC, get_holding, .flags = KB_INLINE),
	KB_GET("/reloads", KB_PUBLIC, get_reloads, .flags = KB_INLINE),
	KB_GET("/wakes", KB_PUBLIC, get_wakes, .flags = KB_INLINE),
	KB_ROUTES_END,
};

static int64_t
sleeper(struct kb_app *app, struct kb_cx *cx)
{
	(void)app;
	(void)cx;
	atomic_fetch_add(&wakes, 1);
	return 3600000;
}

static int64_t
once(struct kb_app *app, struct kb_cx *cx)
{
	(void)app;
	(void)cx;
	return KB_BACKGROUND_DONE;
}

static const struct kb_background background[] = {
	{ "sleeper", sleeper },
	{ "once", once },
	{ NULL, NULL },
};

static void
reload(struct kb_app *app)
{
	(void)app;
	atomic_fetch_add(&reloads, 1);
}

static const struct kb_service service = {
	.name = "self",
	.title = "Self",
	.port = 0,
	.routes = routes,
	.background = background,
	.reload = reload,
};

/* ---- processes ------------------------------------------------------------
 */

struct process {
	pid_t pid;
	int out; /* its standard output and error */
	struct kb_buf text;
	int port;
};

static void
start(struct process *p, const char *const argv[], const char *const env[])
{
	posix_spawn_file_actions_t actions;
	int fds[2];

	*p = (struct process) { .pid = -1 };
	kb_buf_init(&p->text, 1 << 20);
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
}

/* Reads until the text is there or the process has closed its output. */
static bool
read_until(struct process *p, const char *part)
{
	char data[4096];
	ssize_t n;

	while (part == NULL || strstr(kb_buf_str(&p->text), part) == NULL) {
		n = read(p->out, data, sizeof(data));
		if (n <= 0)
			return false;
		kb_buf_add(&p->text, data, (size_t)n);
	}
	return true;
}

/* Its exit status; what it said is in text. */
static int
finish(struct process *p)
{
	int status;

	(void)read_until(p, NULL);
	close(p->out);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define SECRET "KOMBI_SERVICE_SECRET=a-secret-of-more-than-thirty-two-bytes"

static const char *const serve_argv[] = { "self", NULL };

static void
serve(struct process *p, const char *extra)
{
	const char *env[] = { "KOMBI_ENVIRONMENT=development", SECRET, "PORT=0",
		"KOMBI_WORKERS=1", extra, NULL };
	const char *at;

	start(p, serve_argv, env);
	assert_true(read_until(p, "\"workers\":"));
	at = strstr(kb_buf_str(&p->text), "\"port\":");
	assert_non_null(at);
	p->port = (int)strtol(at + strlen("\"port\":"), NULL, 10);
	assert_true(p->port > 0);
}

/* ---- a client -------------------------------------------------------------
 */

static int
dial(int port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int
ask(int port, const char *path)
{
	char text[256];
	int fd = dial(port), n;

	assert_true(fd >= 0);
	n = snprintf(text, sizeof(text),
	    "GET %s HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n", path);
	assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
	return fd;
}

static void
answer_of(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, text + len, size - 1 - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
}

static int
get_number(int port, const char *path)
{
	char text[4096];
	const char *at;

	answer_of(ask(port, path), text, sizeof(text));
	at = strstr(text, "n=");
	return at ? (int)strtol(at + 2, NULL, 10) : -1;
}

struct wanted {
	int port, n;
	const char *path;
};

static bool
reaches(void *arg)
{
	const struct wanted *w = arg;

	return get_number(w->port, w->path) >= w->n;
}

static void
wait_for(int port, const char *path, int n)
{
	struct wanted w = { port, n, path };

	assert_true(test_wait(reaches, &w));
}

/* ---- tests ------------------------------------------------------------------
 */

static void
sigterm_lets_requests_in_flight_finish(void **state)
{
	struct process p;
	char text[4096];
	int fd;

	(void)state;
	serve(&p, NULL);
	fd = ask(p.port, "/hold");
	wait_for(p.port, "/holding", 1);
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	answer_of(fd, text, sizeof(text));
	test_contains(text, "HTTP/1.1 200");
	test_contains(text, "n=1000.");
	assert_int_equal(finish(&p), 0);
	assert_int_equal(dial(p.port), -1);
	test_contains(kb_buf_str(&p.text), "\"message\":\"stopped\"");
	test_contains(kb_buf_str(&p.text), "\"path\":\"/hold\"");
	kb_buf_free(&p.text);
}

static void
a_full_queue_sheds_with_retry_after(void **state)
{
	struct process p;
	char text[4096];
	int first, second;

	(void)state;
	serve(&p, "KOMBI_QUEUE=1");
	first = ask(p.port, "/hold");
	wait_for(p.port, "/holding", 1);
	second = ask(p.port, "/hold");
	/* Told at once when the second has come to wait, held before. */
	for (int i = 0; i < 1000; i++) {
		int fd = ask(p.port, "/hold");
		struct timeval soon = { .tv_usec = 20000 };

		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon,
				     sizeof(soon)),
		    0);
		answer_of(fd, text, sizeof(text));
		if (text[0] != '\0')
			break;
	}
	test_contains(text, "HTTP/1.1 503");
	test_contains(text, "Retry-After: 1\r\n");
	test_contains(text, "SERVICE_UNAVAILABLE");
	/* Busy is not ill. */
	answer_of(ask(p.port, "/health"), text, sizeof(text));
	test_contains(text, "HTTP/1.1 200");
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	answer_of(first, text, sizeof(text));
	test_contains(text, "HTTP/1.1 200");
	answer_of(second, text, sizeof(text));
	test_contains(text, "HTTP/1.1 ");
	assert_int_equal(finish(&p), 0);
	kb_buf_free(&p.text);
}

static void
sighup_reloads_and_background_work_is_woken(void **state)
{
	struct process p;

	(void)state;
	serve(&p, NULL);
	assert_int_equal(get_number(p.port, "/reloads"), 0);
	assert_int_equal(kill(p.pid, SIGHUP), 0);
	wait_for(p.port, "/reloads", 1);
	wait_for(p.port, "/wakes", 3);
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	assert_int_equal(finish(&p), 0);
	kb_buf_free(&p.text);
}

static void
a_captive_service_ends_with_its_commands_status(void **state)
{
	static const struct {
		const char *command;
		int status;
	} cases[] = {
		{ "/proc/self/exe --client 7", 7 },
		{ "/proc/self/exe --client  0", 0 },
		{ "/proc/self/exe --die", 128 + SIGKILL },
		{ "/no/such/command", 1 },
		{ " ", 1 },
	};
	const char *env[] = { "KOMBI_ENVIRONMENT=development", NULL };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const char *argv[] = { "self", "--run", cases[i].command,
			NULL };
		struct process p;
		int status;

		start(&p, argv, env);
		status = finish(&p);
		if (status != cases[i].status)
			fail_msg("%s: %d\n%s", cases[i].command, status,
			    kb_buf_str(&p.text));
		kb_buf_free(&p.text);
	}
}

static void
arguments_and_settings_are_judged_before_anything_starts(void **state)
{
	const char *dev = "KOMBI_ENVIRONMENT=development";
	struct {
		const char *argument, *env;
		int status;
		const char *said;
	} cases[] = {
		{ "--nope", dev, 2, "unknown arguments" },
		{ "--run", dev, 2, "unknown arguments" },
		{ "--version", dev, 0, "self " },
		{ "--help", dev, 0, "KOMBI_SERVICE_SECRET" },
		{ "--openapi", dev, 0, "\"openapi\":\"3.1.0\"" },
		{ "--check-config", "PORT=nonsense", 1, "PORT" },
		{ "--check-config", dev, 0, "is valid" },
		{ "--print-config", dev, 0, "KOMBI_SERVICE_SECRET=(set)" },
		{ NULL, "KOMBI_LISTEN=not-an-address", 1, "not-an-address" },
	};

	(void)state;
	for (size_t i = 0; i < KB_COUNT(cases); i++) {
		const char *argv[] = { "self", cases[i].argument, NULL };
		const char *env[] = { cases[i].env, SECRET, NULL };
		struct process p;
		int status;

		start(&p, argv, env);
		status = finish(&p);
		if (status != cases[i].status)
			fail_msg("%zu: %d\n%s", i, status, kb_buf_str(&p.text));
		test_contains(kb_buf_str(&p.text), cases[i].said);
		assert_null(strstr(kb_buf_str(&p.text), "a-secret-of"));
		kb_buf_free(&p.text);
	}
}

static void
a_taken_port_is_told(void **state)
{
	struct process first, second;
	char port[32];
	const char *env[] = { port, SECRET, NULL };

	(void)state;
	serve(&first, NULL);
	snprintf(port, sizeof(port), "PORT=%d", first.port);
	start(&second, serve_argv, env);
	assert_int_equal(finish(&second), 1);
	test_contains(kb_buf_str(&second.text), "taken by another process");
	assert_int_equal(kill(first.pid, SIGTERM), 0);
	assert_int_equal(finish(&first), 0);
	kb_buf_free(&first.text);
	kb_buf_free(&second.text);
}

/* ---- this program in its other roles
 * ------------------------------------------ */

/* The captive command: fails unless the service answers and shares keys. */
static int
client(const char *status)
{
	const char *url = getenv("KOMBI_URL");
	const char *secret = getenv("KOMBI_SERVICE_SECRET");
	const char *port = url ? strrchr(url, ':') : NULL;

	if (port == NULL || secret == NULL || strlen(secret) != 64)
		return 99;
	if (get_number((int)strtol(port + 1, NULL, 10), "/holding") != 0)
		return 98;
	return (int)strtol(status, NULL, 10);
}

int
main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sigterm_lets_requests_in_flight_finish),
		cmocka_unit_test(a_full_queue_sheds_with_retry_after),
		cmocka_unit_test(sighup_reloads_and_background_work_is_woken),
		cmocka_unit_test(
		    a_captive_service_ends_with_its_commands_status),
		cmocka_unit_test(
		    arguments_and_settings_are_judged_before_anything_starts),
		cmocka_unit_test(a_taken_port_is_told),
	};

	if (argc == 3 && strcmp(argv[1], "--client") == 0)
		return client(argv[2]);
	if (argc == 2 && strcmp(argv[1], "--die") == 0)
		return kill(getpid(), SIGKILL);
	if (argc > 1 || strcmp(argv[0], "self") == 0)
		return kb_service_main(&service, argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
