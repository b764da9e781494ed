/*
 * A private PostgreSQL cluster in a temporary folder: unix socket only, a
 * password of its own, no fsync. It dies with the test (parent death signal),
 * however that ends. Tests skip where PostgreSQL's server is not installed.
 */
#ifndef TESTS_PGSQL_H
#define TESTS_PGSQL_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/time.h>

#define PGSQL_PASSWORD "correct horse % battery"

struct pgsql {
	char bin[128]; /* folder of the server's programs */
	char dir[64];
	char data[80];
	pid_t pid; /* 0: not running */
	bool root; /* runs as user postgres then: the server refuses root */
};

extern char **environ;

/* Why there is no PostgreSQL to test with; NULL if there is one. */
static inline const char *
pgsql_find(struct pgsql *pg)
{
	glob_t found;
	char *slash;

	pg->root = geteuid() == 0;
	if (pg->root && getpwnam("postgres") == NULL)
		return "runs as root and there is no user postgres";
	if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) != 0)
		return "PostgreSQL's server is not installed";
	snprintf(
	    pg->bin, sizeof(pg->bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
	globfree(&found);
	slash = strrchr(pg->bin, '/');
	*slash = '\0';
	return NULL;
}

/* argv[0] is a program of the server; NULL-ended. */
static inline pid_t
pgsql_spawn(
    const struct pgsql *pg, const char *program, const char *const args[])
{
	char path[160];
	const char *argv[40] = { "setpriv", "--pdeathsig", "QUIT" };
	posix_spawn_file_actions_t quiet;
	size_t n = 3;
	pid_t pid;

	if (pg->root) {
		argv[n++] = "--reuid=postgres";
		argv[n++] = "--regid=postgres";
		argv[n++] = "--clear-groups";
	}
	snprintf(path, sizeof(path), "%s/%s", pg->bin, program);
	argv[n++] = path;
	for (size_t i = 0; args[i] != NULL; i++)
		argv[n++] = args[i];
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&quiet, 1, 2);
	if (posix_spawnp(&pid, "setpriv", &quiet, NULL,
		(char *const *)(uintptr_t)argv, environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&quiet);
	return pid;
}

/* The socket is there before queries are taken; this file knows both. */
static inline bool
pgsql_is_ready(const struct pgsql *pg)
{
	char path[128];
	char text[512] = { 0 };
	FILE *f;

	snprintf(path, sizeof(path), "%s/postmaster.pid", pg->data);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	if (fread(text, 1, sizeof(text) - 1, f) == 0)
		text[0] = '\0';
	fclose(f);
	return strtol(text, NULL, 10) == pg->pid &&
	    strstr(text, "\nready") != NULL;
}

/* False when it does not come up within 30 s. */
static inline bool
pgsql_start(struct pgsql *pg)
{
	char socket_dir[96];
	const char *args[] = { "-D", pg->data, "-c", "listen_addresses=", "-c",
		socket_dir, "-c", "fsync=off", "-c", "shared_buffers=16MB",
		"-c", "max_connections=40", "-c", "full_page_writes=off",
		NULL };
	int64_t limit = kb_mono_ms() + 30000;

	snprintf(socket_dir, sizeof(socket_dir), "unix_socket_directories=%s",
	    pg->dir);
	pg->pid = pgsql_spawn(pg, "postgres", args);
	while (pg->pid > 0 && !pgsql_is_ready(pg)) {
		if (kb_mono_ms() > limit ||
		    waitpid(pg->pid, NULL, WNOHANG) == pg->pid)
			return false;
		usleep(20000);
	}
	return pg->pid > 0;
}

/* SIGINT: connections are cut, then a clean stop; SIGQUIT: like a crash. */
static inline void
pgsql_stop(struct pgsql *pg, int signal_number)
{
	if (pg->pid <= 0)
		return;
	kill(pg->pid, signal_number);
	waitpid(pg->pid, NULL, 0);
	pg->pid = 0;
}

static inline bool
pgsql_write_password(const struct pgsql *pg, char *path, size_t size)
{
	int fd;
	bool ok;

	snprintf(path, size, "%s/password", pg->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	ok = fd >= 0 &&
	    write(fd, PGSQL_PASSWORD "\n", strlen(PGSQL_PASSWORD) + 1) > 0;
	close(fd);
	return ok;
}

static inline bool
pgsql_init(struct pgsql *pg)
{
	char password[96];
	char pwfile[112];
	const char *args[] = { "-D", pg->data, "-U", "kombi", "-E", "UTF8",
		"--locale=C", "-A", "scram-sha-256", pwfile, "-N", NULL };
	int status = -1;
	pid_t pid;

	snprintf(pg->dir, sizeof(pg->dir), "/tmp/kombi-pg-XXXXXX");
	if (mkdtemp(pg->dir) == NULL ||
	    !pgsql_write_password(pg, password, sizeof(password)))
		return false;
	snprintf(pg->data, sizeof(pg->data), "%s/data", pg->dir);
	snprintf(pwfile, sizeof(pwfile), "--pwfile=%s", password);
	if (pg->root) {
		const struct passwd *owner = getpwnam("postgres");

		if (chown(pg->dir, owner->pw_uid, owner->pw_gid) != 0)
			return false;
	}
	pid = pgsql_spawn(pg, "initdb", args);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 &&
	    pgsql_start(pg);
}

static inline int
pgsql_remove_one(
    const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static inline void
pgsql_free(struct pgsql *pg)
{
	pgsql_stop(pg, SIGINT);
	if (pg->dir[0] != '\0')
		nftw(pg->dir, pgsql_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
