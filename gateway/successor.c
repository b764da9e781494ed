/*
 * Upgrade without a gap (SIGUSR2): the program is started once more, as it
 * was started and with our listening sockets; when it says that it serves,
 * this process finishes what it has. If it does not come up, nothing has
 * changed but a line in the log.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "process.h"

enum { FIRST_FD = 3, HANDED_MAX = SOCKET_KINDS * SOCKETS_MAX + 1 };

/* ---- starting it -----------------------------------------------------------
 */

/* Descriptors for the new process, which finds them from 3 on. */
struct handed {
	int fd[HANDED_MAX]; /* copies above those numbers */
	size_t n;
	int above;
	struct kb_buf names;
};

static bool
hand(struct handed *h, int fd, const char *name)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, h->above);

	if (copy < 0)
		return false;
	h->fd[h->n++] = copy;
	kb_buf_adds(&h->names, h->names.len ? ":" : "KOMBI_HANDOVER=");
	kb_buf_adds(&h->names, name);
	return true;
}

static bool
hand_all(struct handed *h, const struct sockets *s, int ready)
{
	h->above = FIRST_FD + 1;
	for (size_t kind = 0; kind < SOCKET_KINDS; kind++)
		h->above += (int)s->open[kind].n;
	for (size_t kind = 0; kind < SOCKET_KINDS; kind++)
		for (size_t i = 0; i < s->open[kind].n; i++)
			if (!hand(h, s->open[kind].fd[i],
				socket_kind_name((enum socket_kind)kind)))
				return false;
	return hand(h, ready, "ready");
}

static char **
with_names(char **env, char *names)
{
	size_t n = 0;
	char **out;

	while (env[n] != NULL)
		n++;
	out = kb_xalloc((n + 2) * sizeof(*out));
	memcpy(out, env, n * sizeof(*out));
	out[n] = names;
	out[n + 1] = NULL;
	return out;
}

static int
spawn(struct process *p, struct handed *h)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char **env = with_names(p->launch->env, h->names.ptr);
	char **argv = p->launch->argv;
	sigset_t pipe;
	int rc;

	posix_spawn_file_actions_init(&actions);
	for (size_t i = 0; i < h->n; i++)
		posix_spawn_file_actions_adddup2(
		    &actions, h->fd[i], FIRST_FD + (int)i);
	posix_spawn_file_actions_addclosefrom_np(
	    &actions, FIRST_FD + (int)h->n);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &pipe);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(
	    &p->successor.pid, argv[0], &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	return rc;
}

/* 0 or the error number. */
static int
start(struct process *p, int ready)
{
	struct handed *h = kb_xalloc(sizeof(*h));
	int rc;

	memset(h, 0, sizeof(*h));
	kb_buf_init(&h->names, 64 * 1024);
	rc = hand_all(h, p->launch->sockets, ready) ? spawn(p, h) : errno;
	for (size_t i = 0; i < h->n; i++)
		close(h->fd[i]);
	kb_buf_free(&h->names);
	free(h);
	if (rc != 0)
		p->successor.pid = 0;
	return rc;
}

/* ---- its word --------------------------------------------------------------
 */

static void
listen_no_more(struct successor *s)
{
	if (s->word)
		event_free(s->word);
	if (s->late)
		event_free(s->late);
	if (s->fd >= 0)
		close(s->fd);
	s->word = s->late = NULL;
	s->fd = -1;
}

static void
refused(struct successor *s, const char *why)
{
	listen_no_more(s);
	kb_error(NULL, "the new process did not come up, this one goes on",
	    KB_S("why", why));
}

static void
took_over(struct process *p)
{
	struct successor *s = &p->successor;
	char line[64];

	listen_no_more(s);
	s->up = true;
	kb_info(NULL, "handed over", KB_N("pid", s->pid));
	snprintf(line, sizeof(line), "MAINPID=%ld", (long)s->pid);
	notify_supervisor(line);
	if (s->reload)
		kill(s->pid, SIGHUP);
	process_give_way(p);
}

/* "R", or why it cannot; the end of the pipe comes with its own. */
static void
on_word(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;
	struct successor *s = &p->successor;
	char byte[sizeof(s->why)];
	ssize_t n = read(fd, byte, sizeof(byte));
	size_t room = sizeof(s->why) - 1 - s->why_len;

	(void)what;
	if (n < 0)
		return;
	if (n == 0) {
		event_del(s->word); /* SIGCHLD tells the rest, or `late` */
		return;
	}
	if (s->why_len == 0 && byte[0] == 'R' && n == 1) {
		took_over(p);
		return;
	}
	room = (size_t)n < room ? (size_t)n : room;
	memcpy(s->why + s->why_len, byte, room);
	s->why_len += room;
}

static void
on_late(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;
	struct successor *s = &p->successor;

	(void)fd;
	(void)what;
	if (s->why_len == 0)
		s->why_len = (size_t)snprintf(s->why, sizeof(s->why),
		    "it did not say in time that it is ready");
	kill(s->pid, SIGKILL);
}

static void
wait_for_word(struct process *p, int fd)
{
	struct successor *s = &p->successor;
	int64_t ms = p->gateway.config->upgrade_ms;
	struct timeval limit = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	s->fd = fd;
	s->word = event_new(p->base, fd, EV_READ | EV_PERSIST, on_word, p);
	s->late = evtimer_new(p->base, on_late, p);
	event_add(s->word, NULL);
	evtimer_add(s->late, &limit);
	kb_info(NULL, "a new process is started to take over",
	    KB_N("pid", s->pid), KB_S("program", p->launch->argv[0]));
}

void
successor_start(struct process *p)
{
	struct successor *s = &p->successor;
	int ready[2], rc;

	if (p->gateway.draining || s->pid > 0) {
		kb_warn(NULL,
		    "no new process: one is on its way, or this one "
		    "ends");
		return;
	}
	*s = (struct successor) { .fd = -1 };
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) != 0) {
		refused(s, strerror(errno));
		return;
	}
	rc = start(p, ready[1]);
	close(ready[1]);
	if (rc == 0) {
		wait_for_word(p, ready[0]);
		return;
	}
	close(ready[0]);
	refused(s, strerror(rc));
}

/* ---- its end ---------------------------------------------------------------
 */

bool
successor_is_guarded(const struct process *p)
{
	return p->launch->command != NULL && p->successor.up &&
	    p->successor.pid > 0;
}

bool
successor_reap(struct process *p)
{
	struct successor *s = &p->successor;
	int status;

	/* Its last word came before its end. */
	if (s->word)
		on_word(s->fd, EV_READ, p);
	if (s->pid == 0 || waitpid(s->pid, &status, WNOHANG) != s->pid)
		return false;
	s->pid = 0;
	if (s->up) {
		if (!p->ending)
			kb_error(NULL, "the process that took over has ended",
			    KB_N("status", status));
		return true;
	}
	if (s->why_len == 0 && WIFSIGNALED(status))
		snprintf(s->why, sizeof(s->why), "it was ended by signal %d",
		    WTERMSIG(status));
	else if (s->why_len == 0)
		snprintf(s->why, sizeof(s->why), "it ended with status %d",
		    WEXITSTATUS(status));
	refused(s, s->why);
	return true;
}

void
successor_free(struct process *p)
{
	listen_no_more(&p->successor);
}
