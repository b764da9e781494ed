/*
 * A whole connection: the input is what a client sends, in pieces, and how
 * the handlers behave. Every request must end exactly once, whatever comes.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_server_private.h"

struct world {
	struct event_base *base;
	struct kb_server *server;
	struct kb_exchange *held;
	int begun, ended;
};

static struct world world;

/* The last letter of the path says what to do at the head. */
static void
on_request(struct kb_exchange *ex)
{
	struct kb_slice path = kb_ex_path(ex);

	world.begun++;
	kb_ex_set_user(ex, &world);
	switch (path.ptr[path.len - 1]) {
	case 'a': kb_ex_fail(ex, KB_NOT_FOUND, NULL, NULL, NULL); break;
	case 'b': kb_ex_upgrade(ex, "Upgrade: x\r\n", 12); break;
	case 'c': kb_ex_continue(ex); break;
	case 'd': kb_ex_body_limit(ex, 3); break;
	case 'e':
		kb_ex_pause(ex);
		world.held = ex;
		break;
	case 'f': kb_ex_head_out(ex, 200, "", 0, KB_LENGTH_STREAM); break;
	case 'g': kb_ex_interim(ex, 103, "Link: x\r\n", 9); break;
	default: break;
	}
}

static void
on_body(struct kb_exchange *ex, const char *data, size_t len)
{
	if (kb_ex_user(ex) != &world)
		abort();
	if (kb_ex_head_sent(ex))
		kb_ex_write(ex, data, len);
	else if (len > 0 && data[0] == '!')
		kb_ex_abort(ex);
	else if (len > 0 && data[0] == '?')
		kb_ex_answer(ex, 200, "", 0, "early", 5);
}

static void
on_body_end(struct kb_exchange *ex)
{
	struct kb_slice path = kb_ex_path(ex);

	if (kb_ex_head_sent(ex))
		kb_ex_finish(ex);
	else if (path.ptr[path.len - 1] == 'h')
		world.held = ex;
	else if (path.ptr[path.len - 1] == 'i') {
		static const char data[100000];

		kb_ex_head_out(ex, 200, "", 0, sizeof(data) + 1);
		kb_ex_write(ex, data, sizeof(data));
		kb_ex_finish(ex);
	} else
		kb_ex_answer(ex, 204, "", 0, "", 0);
}

static void
on_writable(struct kb_exchange *ex)
{
	(void)ex;
}

static void
on_end(struct kb_exchange *ex, enum kb_end end)
{
	(void)end;
	if (kb_ex_user(ex) != &world)
		abort();
	world.ended++;
	if (world.held == ex)
		world.held = NULL;
}

static void
start(void)
{
	static const struct kb_server_ops ops = { on_request, on_body,
		on_body_end, on_writable, on_end, NULL };
	struct event_config *config = event_config_new();
	struct kb_server_limits limits = kb_server_default_limits;
	struct kb_server_conf conf = { .ops = &ops, .limits = &limits };

	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	world.base = conf.base = event_base_new_with_config(config);
	event_config_free(config);
	limits.high_water = 1000;
	world.server = kb_server_new(&conf);
}

static void
drop_answers(int fd)
{
	char data[65536];

	while (recv(fd, data, sizeof(data), 0) > 0)
		continue;
}

static void
turn(int fd)
{
	for (int i = 0; i < 4; i++)
		event_base_loop(world.base, EVLOOP_NONBLOCK);
	if (fd >= 0)
		drop_answers(fd);
}

/* A handler that took its time. */
static void
go_on(void)
{
	struct kb_exchange *ex = world.held;

	world.held = NULL;
	if (ex != NULL && ex->paused)
		kb_ex_resume(ex);
	else if (ex != NULL)
		kb_ex_answer(ex, 200, "", 0, "late", 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0xff cuts the input into pieces that are sent apart. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET };
	struct kb_server_stats stats;
	int fds[2];

	if (world.base == NULL)
		start();
	world.begun = world.ended = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		fds) != 0)
		abort();
	kb_conn_new(world.server, fds[1], &peer, false);
	for (bool half = size % 2 != 0; size > 0;) {
		const uint8_t *cut = memchr(data, 0xff, size);
		size_t len = cut ? (size_t)(cut - data) : size;

		(void)send(fds[0], data, len, MSG_NOSIGNAL);
		data += cut ? len + 1 : len;
		size -= cut ? len + 1 : len;
		if (size == 0 && half)
			(void)shutdown(fds[0], SHUT_WR);
		turn(fds[0]);
		go_on();
		turn(fds[0]);
	}
	close(fds[0]);
	for (int i = 0; i < 4; i++) {
		turn(-1);
		go_on();
	}
	kb_server_stats(world.server, &stats);
	if (world.begun != world.ended || stats.active != 0 ||
	    stats.connections != 0)
		abort();
	return 0;
}
