/*
 * A private redis-server in a temporary folder: a unix socket, a loopback
 * port that was free, a password, nothing on disk. It dies with the test
 * (parent death signal). Tests skip where redis-server is not installed.
 */
#ifndef TESTS_REDIS_H
#define TESTS_REDIS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/time.h>

#define REDIS_TEST_PASSWORD "correct horse % battery"

struct redis_server {
	char dir[64];
	char socket[80];
	int port;
	pid_t pid; /* 0: not running */
};

extern char **environ;

/* The program, or NULL. Debian's redis-tools has it as redis-check-rdb, which
 * is a server when it is called redis-server. */
static inline const char *
redis_server_program(void)
{
	static const char *const places[] = { "/usr/bin/redis-server",
		"/usr/local/bin/redis-server", "/usr/sbin/redis-server",
		"/usr/bin/redis-check-rdb" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* Why there is no Redis to test with; NULL if there is one. */
static inline const char *
redis_server_find(void)
{
	return redis_server_program() ? NULL : "redis-server is not installed";
}

static inline int
redis_free_port(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, len) != 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		addr.sin_port = 0;
	close(fd);
	return ntohs(addr.sin_port);
}

/* It takes connections. */
static inline bool
redis_server_answers(const struct redis_server *rs)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", rs->socket);
	ok = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(fd);
	return ok;
}

/* False when it does not come up within 10 s. */
static inline bool
redis_server_start(struct redis_server *rs)
{
	char conf[96], port[16], program[96];
	const char *argv[] = { "setpriv", "--pdeathsig", "KILL", program, conf,
		"--port", port, NULL };
	posix_spawn_file_actions_t quiet;
	int64_t limit = kb_mono_ms() + 10000;

	snprintf(conf, sizeof(conf), "%s/redis.conf", rs->dir);
	snprintf(program, sizeof(program), "%s/redis-server", rs->dir);
	snprintf(port, sizeof(port), "%d", rs->port);
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&quiet, 1, 2);
	if (posix_spawnp(&rs->pid, "setpriv", &quiet, NULL,
		(char *const *)(uintptr_t)argv, environ) != 0)
		rs->pid = 0;
	posix_spawn_file_actions_destroy(&quiet);
	while (rs->pid > 0 && !redis_server_answers(rs)) {
		if (kb_mono_ms() > limit ||
		    waitpid(rs->pid, NULL, WNOHANG) == rs->pid)
			return false;
		usleep(5000);
	}
	return rs->pid > 0;
}

static inline void
redis_server_kill(struct redis_server *rs)
{
	if (rs->pid <= 0)
		return;
	kill(rs->pid, SIGKILL);
	waitpid(rs->pid, NULL, 0);
	rs->pid = 0;
	unlink(rs->socket);
}

/* A new folder, a free port, started. */
static inline bool
redis_server_new(struct redis_server *rs)
{
	char path[96];
	FILE *f;

	memset(rs, 0, sizeof(*rs));
	snprintf(rs->dir, sizeof(rs->dir), "/tmp/kombi-redis-XXXXXX");
	if (mkdtemp(rs->dir) == NULL)
		return false;
	snprintf(rs->socket, sizeof(rs->socket), "%s/socket", rs->dir);
	snprintf(path, sizeof(path), "%s/redis-server", rs->dir);
	if (symlink(redis_server_program(), path) != 0)
		return false;
	snprintf(path, sizeof(path), "%s/redis.conf", rs->dir);
	f = fopen(path, "we");
	if (f == NULL)
		return false;
	fprintf(f,
	    "bind 127.0.0.1\nunixsocket %s\nrequirepass \"%s\"\n"
	    "save \"\"\nappendonly no\ndir %s\ndaemonize no\n"
	    "user limiter on >%s ~rl:* +@all -@dangerous\n",
	    rs->socket, REDIS_TEST_PASSWORD, rs->dir, "limit-secret");
	fclose(f);
	rs->port = redis_free_port();
	return redis_server_start(rs);
}

static inline void
redis_server_free(struct redis_server *rs)
{
	char path[96];

	redis_server_kill(rs);
	if (rs->dir[0] == '\0')
		return;
	snprintf(path, sizeof(path), "%s/redis.conf", rs->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/redis-server", rs->dir);
	unlink(path);
	rmdir(rs->dir);
}

#endif
