/*
 * Certificates for tests: made once a program by make-certs, in a folder
 * that goes with it.
 */
#ifndef KOMBI_TESTS_TLS_CERTS_H
#define KOMBI_TESTS_TLS_CERTS_H

#include "test.h"

#include <spawn.h>
#include <sys/wait.h>

#include <kombi/tls.h>

static struct {
	char dir[64];
	struct kb_arena *arena;
} certs;

static inline int
certs_run(char *const argv[])
{
	extern char **environ;
	int status = -1;
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static inline int
certs_make(void **state)
{
	const char *source = getenv("KOMBI_SOURCE_DIR");
	char program[512];

	(void)state;
	snprintf(certs.dir, sizeof(certs.dir), "/tmp/kombi-certs-XXXXXX");
	if (mkdtemp(certs.dir) == NULL)
		return -1;
	certs.arena = kb_arena_new(0);
	snprintf(program, sizeof(program), "%s/tests/support/make-certs",
	    source ? source : "../..");
	return certs_run((char *[]) { program, certs.dir, NULL });
}

static inline int
certs_drop(void **state)
{
	char rm[] = "rm", all[] = "-rf";

	(void)state;
	kb_arena_free(certs.arena);
	return certs_run((char *[]) { rm, all, certs.dir, NULL });
}

static inline const char *
certs_file(const char *name, const char *ending)
{
	return kb_sprintf(certs.arena, "%s/%s.%s", certs.dir, name, ending);
}

static inline struct kb_tls_pair
certs_pair(const char *name)
{
	return (struct kb_tls_pair) {
		.cert = certs_file(name, "pem"),
		.key = certs_file(name, "key"),
		.files = true,
	};
}

/* Of one certificate; clients are asked for one of "ca". */
static inline struct kb_tls_server *
certs_server(const char *name, enum kb_tls_clients clients)
{
	struct kb_tls_pair pair = certs_pair(name);
	struct kb_tls_server_conf conf = {
		.pairs = &pair,
		.n_pairs = 1,
		.clients = clients,
		.client_ca = certs_file("ca", "pem"),
		.ca_file = true,
	};
	const char *why = "";
	struct kb_tls_server *s = kb_tls_server_new(&conf, certs.arena, &why);

	if (s == NULL)
		fail_msg("%s", why);
	return s;
}

/* Trusts "ca"; shows this certificate, or none. */
static inline struct kb_tls_client *
certs_client(const char *own)
{
	struct kb_tls_pair pair = { .files = true };
	struct kb_tls_client_conf conf = {
		.ca = certs_file("ca", "pem"),
		.ca_file = true,
		.own = own ? &pair : NULL,
	};
	const char *why = "";
	struct kb_tls_client *c;

	if (own)
		pair = certs_pair(own);
	c = kb_tls_client_new(&conf, certs.arena, &why);
	if (c == NULL)
		fail_msg("%s", why);
	return c;
}

/* The same without a certificate to show. */
static inline struct kb_tls_client *
certs_checks(enum kb_tls_check check, int depth)
{
	struct kb_tls_client_conf conf = {
		.check = check,
		.ca = certs_file("ca", "pem"),
		.ca_file = true,
		.depth = depth,
	};
	const char *why = "";
	struct kb_tls_client *c = kb_tls_client_new(&conf, certs.arena, &why);

	if (c == NULL)
		fail_msg("%s", why);
	return c;
}

#define loopback_group_setup certs_make
#define loopback_group_teardown certs_drop

#endif
