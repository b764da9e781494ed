/*
 * Captive mode: the gateway serves while a command runs, on ports that are
 * told to it, and leaves with its status.
 */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include <kombi/str.h>

#include "process.h"

void
captive_prepare(struct settings *s)
{
	s->common.port = 0;
	s->common.listen = "127.0.0.1";
	s->config.admin_listen = "127.0.0.1:0";
	if (s->config.tls_cert != NULL)
		s->config.tls_listen = "127.0.0.1:0";
	s->config.captive = true;
}

void
captive_follow_parent(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
}

static char **
with_addresses(struct process *p, struct kb_arena *a)
{
	char **given = p->launch->env;
	size_t n = 0;
	char **env;

	while (given[n] != NULL)
		n++;
	env = kb_new_array(a, n + 5, char *);
	memcpy(env, given, n * sizeof(*env));
	env[n++] = kb_sprintf(
	    a, "KOMBI_URL=http://127.0.0.1:%d", p->gateway.port);
	env[n++] = kb_sprintf(a, "KOMBI_ADMIN_URL=http://127.0.0.1:%d",
	    internal_port(p->internal));
	if (p->gateway.tls != NULL)
		env[n++] = kb_sprintf(a, "KOMBI_TLS_URL=https://127.0.0.1:%d",
		    p->gateway.tls_port);
	return env;
}

bool
captive_spawn(struct process *p, struct kb_arena *a, const char *command)
{
	struct kb_slice rest = kb_slice_of(command), word;
	char **argv = kb_new_array(a, rest.len / 2 + 2, char *);
	posix_spawnattr_t attr;
	sigset_t pipe;
	size_t n = 0;
	int rc;

	while (kb_slice_next(&rest, ' ', &word))
		if (word.len)
			argv[n++] = kb_slice_dup(a, word);
	if (n == 0)
		return false;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &pipe);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(
	    &p->child, argv[0], NULL, &attr, argv, with_addresses(p, a));
	posix_spawnattr_destroy(&attr);
	if (rc != 0)
		fprintf(stderr, "gateway: %s: %s\n", argv[0], strerror(rc));
	return rc == 0;
}
