/*
 * Captive mode: a command runs beside the service, which serves for as long
 * as the command lives. No shell: the line is split at blanks.
 */
#include <signal.h>
#include <spawn.h>
#include <string.h>

#include <kombi/str.h>

#include "service_private.h"

char **
kb_split_words(struct kb_arena *a, const char *line)
{
	struct kb_slice rest = kb_slice_of(line), word;
	char **words = kb_new_array(a, rest.len / 2 + 2, char *);
	size_t n = 0;

	while (kb_slice_next(&rest, ' ', &word))
		if (word.len > 0)
			words[n++] = kb_slice_dup(a, word);
	return words;
}

/* The command gets the signals as a process has them by default. */
static void
reset_signals(posix_spawnattr_t *attr)
{
	sigset_t none, defaults;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &defaults);
	posix_spawnattr_setflags(
	    attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

int
kb_spawn(char *const argv[], char *const env[], const char **why)
{
	posix_spawnattr_t attr;
	pid_t pid = -1;
	int rc;

	posix_spawnattr_init(&attr);
	reset_signals(&attr);
	rc = posix_spawnp(&pid, argv[0], NULL, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	if (rc == 0)
		return pid;
	*why = strerror(rc);
	return -1;
}
