/*
 * What a supervisor is told: systemd by its notification socket
 * (sd_notify(3)), others by a file with our process id.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "process.h"

enum { PID_TEXT = 24 };

void
notify_supervisor(const char *line)
{
	const char *path = env_get(environ, "NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(to.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@') /* a name of Linux, not of a file */
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, line, strlen(line), MSG_NOSIGNAL,
	    (const struct sockaddr *)&to,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static bool
write_pid(int fd)
{
	char text[PID_TEXT];
	int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	return write(fd, text, (size_t)n) == n;
}

/* A reader sees the old number or the new one, never a part. */
bool
pid_file_write(const char *path)
{
	char aside[4096];
	int fd = -1;
	bool fine;

	if (path == NULL)
		return true;
	if (snprintf(aside, sizeof(aside), "%s.%ld", path, (long)getpid()) <
	    (int)sizeof(aside))
		fd = open(
		    aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	fine = fd >= 0 && write_pid(fd) && rename(aside, path) == 0;
	if (!fine)
		kb_error(NULL, "the pid file cannot be written",
		    KB_S("file", path), KB_S("why", strerror(errno)));
	if (fd >= 0) {
		close(fd);
		if (!fine)
			unlink(aside);
	}
	return fine;
}

void
pid_file_remove(const char *path)
{
	char text[PID_TEXT] = "";
	uint64_t pid;
	ssize_t n;
	int fd;

	if (path == NULL)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 1 && text[n - 1] == '\n' &&
	    kb_parse_u64((struct kb_slice) { text, (size_t)n - 1 }, &pid) &&
	    pid == (uint64_t)getpid())
		unlink(path);
}
