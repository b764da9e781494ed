/*
 * Listening sockets and whom they come from: opened here, passed on by the
 * process before (KOMBI_HANDOVER), or by a supervisor (systemd's LISTEN_FDS).
 * A socket that is passed on keeps its queue: who has connected already is
 * served by whoever accepts next.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/http_server.h>
#include <kombi/str.h>

#include "process.h"

enum { FIRST_FD = 3 };

static const char *const kinds[SOCKET_KINDS + 1] = {
	[SOCKET_HTTP] = "http",
	[SOCKET_HTTPS] = "https",
	[SOCKET_INTERNAL] = "internal",
	[SOCKET_KINDS] = "ready",
};

const char *
socket_kind_name(enum socket_kind kind)
{
	return kinds[kind];
}

/* ---- what was passed on ----------------------------------------------------
 */

static bool
is_listening(int fd)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	int type = 0, listening = 0;
	socklen_t size = sizeof(type);

	if (getsockname(fd, (struct sockaddr *)&at, &len) != 0 ||
	    (at.ss_family != AF_INET && at.ss_family != AF_INET6))
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
	    type != SOCK_STREAM)
		return false;
	size = sizeof(listening);
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) ==
	    0 &&
	    listening;
}

static bool
is_pipe(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

static bool
keep_to_ourselves(int fd, bool nonblocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return false;
	return !nonblocking || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static const char *
add_passed(struct sockets *s, int fd, struct kb_slice name)
{
	size_t kind = 0;
	struct socket_list *list;

	while (kind <= SOCKET_KINDS && !kb_slice_eq(name, kinds[kind]))
		kind++;
	if (kind > SOCKET_KINDS)
		return "a name is none of http, https, internal";
	if (kind == SOCKET_KINDS) {
		if (s->ready_fd >= 0 || !is_pipe(fd) ||
		    !keep_to_ourselves(fd, false))
			return "\"ready\" is not a pipe";
		s->ready_fd = fd;
		return NULL;
	}
	list = &s->passed[kind];
	if (list->n == SOCKETS_MAX)
		return "there are too many";
	if (!is_listening(fd) || !keep_to_ourselves(fd, true))
		return "a descriptor is not a listening TCP socket";
	list->fd[list->n++] = fd;
	return NULL;
}

/* "http:http:internal": descriptors 3, 4, 5. */
static const char *
add_all(struct sockets *s, const char *names, size_t *n)
{
	struct kb_slice rest = kb_slice_of(names), name;
	const char *why = NULL;

	*n = 0;
	while (why == NULL && kb_slice_next(&rest, ':', &name))
		why = add_passed(s, FIRST_FD + (int)(*n)++, name);
	return why;
}

/* LISTEN_PID keeps what was meant for somebody else from us. */
static bool
is_for_us(const char *pid)
{
	uint64_t n;

	return pid != NULL && kb_parse_u64(kb_slice_of(pid), &n) &&
	    n == (uint64_t)getpid();
}

static const char *
from_supervisor(struct sockets *s, const char *count, const char *names)
{
	size_t named;
	uint64_t n;
	const char *why;

	if (!kb_parse_u64(kb_slice_of(count), &n) || n == 0)
		return "LISTEN_FDS is not a number";
	if (names == NULL)
		return "LISTEN_FDNAMES is not set (FileDescriptorName=http, "
		       "https or internal)";
	why = add_all(s, names, &named);
	if (why == NULL && named != n)
		why = "LISTEN_FDS and LISTEN_FDNAMES disagree";
	return why;
}

bool
sockets_inherit(struct sockets *s, const char **why)
{
	static const char *const ours[] = { "KOMBI_HANDOVER", "LISTEN_FDS",
		"LISTEN_FDNAMES", "LISTEN_PID" };
	const char *handover = env_get(environ, ours[0]),
		   *count = env_get(environ, ours[1]);
	size_t n;

	*s = (struct sockets) { .ready_fd = -1 };
	*why = NULL;
	if (handover != NULL) {
		*why = add_all(s, handover, &n);
		if (*why == NULL && s->ready_fd < 0)
			*why = "\"ready\" is missing";
	} else if (count != NULL && is_for_us(env_get(environ, ours[3])))
		*why = from_supervisor(s, count, env_get(environ, ours[2]));
	/* Not for our children, nor are they options. */
	for (size_t i = 0; i < KB_COUNT(ours); i++)
		unsetenv(ours[i]);
	return *why == NULL;
}

bool
sockets_are_handed_over(const struct sockets *s)
{
	return s->ready_fd >= 0;
}

void
sockets_tell(struct sockets *s, const char *why)
{
	const char *word = why == NULL ? "R" : why;

	if (s->ready_fd < 0)
		return;
	/* Who is not there any more need not know. */
	(void)!write(s->ready_fd, word, strlen(word));
	close(s->ready_fd);
	s->ready_fd = -1;
}

/* ---- taking them -----------------------------------------------------------
 */

static void
note_open(struct sockets *s, enum socket_kind kind, int fd)
{
	struct socket_list *list = &s->open[kind];

	if (list->n < SOCKETS_MAX)
		list->fd[list->n++] = fd;
}

/* Those that fall to this one; with fewer than takers they are shared. */
static size_t
take_passed(
    struct socket_list *list, const struct listen_at *at, int out[SOCKETS_MAX])
{
	size_t n = 0, i = at->index;

	if (i >= list->n) {
		out[0] = fcntl(list->fd[i % list->n], F_DUPFD_CLOEXEC, 0);
		return out[0] >= 0;
	}
	for (; i < list->n; i += at->of) {
		out[n++] = list->fd[i];
		list->taken[i] = true;
	}
	return n;
}

size_t
sockets_take(struct sockets *s, enum socket_kind kind,
    const struct listen_at *at, int out[SOCKETS_MAX], const char **why)
{
	struct socket_list *passed = &s->passed[kind];
	size_t n;

	if (passed->n > 0) {
		n = take_passed(passed, at, out);
		*why = "no descriptor is left for a socket";
	} else {
		out[0] = kb_listen_socket(
		    at->address, at->port, at->of > 1, why);
		n = out[0] >= 0;
	}
	for (size_t i = 0; i < n; i++)
		note_open(s, kind, out[i]);
	return n;
}

void
sockets_close_rest(struct sockets *s)
{
	for (size_t kind = 0; kind < SOCKET_KINDS; kind++) {
		struct socket_list *list = &s->passed[kind];

		for (size_t i = 0; i < list->n; i++)
			if (!list->taken[i])
				close(list->fd[i]);
		list->n = 0;
	}
}
