/*
 * What every service is as a program: its arguments, and the order in which
 * it starts and stops.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/http_server.h>
#include <kombi/str.h>

#include "service_private.h"

enum { EXIT_OK = 0, EXIT_CONFIG = 1, EXIT_USAGE = 2 };

struct invocation {
	const struct kb_service *service;
	struct kb_arena *arena;
	const char *command; /* captive */
	char **env;
};

typedef int action(struct invocation *inv);

/* ---- environment
 * --------------------------------------------------------------------- */

static const char *
env_get(char *const env[], const char *name)
{
	size_t len = strlen(name);

	for (; *env != NULL; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

/* env with NAME=value set or replaced. */
static char **
env_with(
    struct kb_arena *a, char *const env[], const char *name, const char *value)
{
	size_t n = 0, len = strlen(name), m = 0;

	while (env[n] != NULL)
		n++;
	char **out = kb_new_array(a, n + 2, char *);
	for (size_t i = 0; i < n; i++)
		if (strncmp(env[i], name, len) != 0 || env[i][len] != '=')
			out[m++] = env[i];
	out[m] = kb_sprintf(a, "%s=%s", name, value);
	return out;
}

/*
 * Captive and in development, a missing secret is drawn, so that the command
 * can sign as the gateway does.
 */
static void
draw_secret(struct invocation *inv)
{
	const char *where = env_get(inv->env, "KOMBI_ENVIRONMENT");
	unsigned char bytes[32];
	char hex[65];

	if (!kb_str_eq(where, "development") ||
	    env_get(inv->env, "KOMBI_SERVICE_SECRET") != NULL ||
	    env_get(inv->env, "KOMBI_SERVICE_SECRET_FILE") != NULL)
		return;
	kb_random(bytes, sizeof(bytes));
	kb_hex(bytes, sizeof(bytes), hex);
	inv->env = env_with(inv->arena, inv->env, "KOMBI_SERVICE_SECRET", hex);
}

/* ---- actions
 * ----------------------------------------------------------------------------
 */

static void
usage(const struct kb_service *s, FILE *out)
{
	fprintf(out,
	    "%s: %s\n\nUsage: %s [OPTION]\n"
	    "  --help            this text\n"
	    "  --version         the version\n"
	    "  --print-config    the options in force, secrets masked\n"
	    "  --check-config    check the options and leave\n"
	    "  --openapi         the OpenAPI document\n"
	    "  --run 'CMD ARGS'  serve on a free port of 127.0.0.1 while CMD "
	    "runs,\n"
	    "                    with KOMBI_URL set; leave with its status\n\n"
	    "Options come from the environment:\n",
	    s->name, s->title ? s->title : "", s->name);
}

static int
show_help(struct invocation *inv)
{
	struct kb_runtime *rt = kb_runtime_new(inv->service);

	usage(inv->service, stdout);
	kb_config_help(kb_runtime_sets(rt), stdout);
	kb_arena_free(rt->arena);
	return EXIT_OK;
}

static int
show_version(struct invocation *inv)
{
	printf("%s %s\n", inv->service->name, KOMBI_VERSION);
	return EXIT_OK;
}

static int
show_openapi(struct invocation *inv)
{
	printf("%s\n", kb_openapi(inv->arena, inv->service));
	return EXIT_OK;
}

static struct kb_runtime *
load(struct invocation *inv)
{
	struct kb_runtime *rt;
	struct kb_buf problems;

	kb_buf_init(&problems, 1 << 20);
	rt = kb_runtime_load(inv->service, inv->env, &problems);
	if (rt == NULL)
		fprintf(stderr, "%s: the configuration is not valid:\n%s",
		    inv->service->name, kb_buf_str(&problems));
	kb_buf_free(&problems);
	return rt;
}

static void
unload(struct kb_runtime *rt)
{
	kb_config_free(kb_runtime_sets(rt));
	kb_arena_free(rt->arena);
}

static int
print_config(struct invocation *inv)
{
	struct kb_runtime *rt = load(inv);

	if (rt == NULL)
		return EXIT_CONFIG;
	kb_config_print(kb_runtime_sets(rt), stdout);
	unload(rt);
	return EXIT_OK;
}

static int
check_config(struct invocation *inv)
{
	struct kb_runtime *rt = load(inv);

	if (rt == NULL)
		return EXIT_CONFIG;
	unload(rt);
	printf("%s: the configuration is valid\n", inv->service->name);
	return EXIT_OK;
}

/* ---- serving
 * ------------------------------------------------------------------------------
 */

static int
open_listener(struct invocation *inv, const struct kb_runtime *rt)
{
	const char *address = inv->command ? "127.0.0.1" : rt->common.listen;
	int port = inv->command ? 0 : (int)rt->common.port;
	const char *why = NULL;
	int fd = kb_listen_socket(address, port, false, &why);

	if (fd < 0)
		fprintf(stderr, "%s: cannot listen on %s port %d: %s\n",
		    inv->service->name, address, port, why);
	return fd;
}

static int
start_command(struct invocation *inv, int port)
{
	char **words = kb_split_words(inv->arena, inv->command);
	const char *why = "the command is empty";
	char **env = env_with(inv->arena, inv->env, "KOMBI_URL",
	    kb_sprintf(inv->arena, "http://127.0.0.1:%d", port));
	int pid = words[0] ? kb_spawn(words, env, &why) : -1;

	if (pid < 0)
		fprintf(stderr, "%s: cannot run '%s': %s\n", inv->service->name,
		    inv->command, why);
	return pid;
}

static int
serve_on(struct invocation *inv, struct kb_runtime *rt, int fd)
{
	int child = 0;

	if (inv->command != NULL) {
		/* The socket listens already: the command's first connection
		 * waits in its backlog. */
		child = start_command(inv, kb_listen_port(fd));
		if (child < 0) {
			close(fd);
			return EXIT_CONFIG;
		}
	}
	return kb_serve(rt, fd, child);
}

static int
serve(struct invocation *inv)
{
	struct kb_runtime *rt;
	int fd, status;

	signal(SIGPIPE, SIG_IGN);
	if (inv->command != NULL)
		draw_secret(inv);
	rt = load(inv);
	if (rt == NULL)
		return EXIT_CONFIG;
	kb_log_init(inv->service->name, (enum kb_level)rt->common.log_level);
	if (inv->command != NULL)
		kb_log_fd(STDERR_FILENO); /* stdout is the command's */
	kb_access_init();
	/* A taken port is told before anything is touched. */
	fd = open_listener(inv, rt);
	if (fd < 0) {
		unload(rt);
		return EXIT_CONFIG;
	}
	if (!kb_runtime_start(rt)) {
		close(fd);
		unload(rt);
		return EXIT_CONFIG;
	}
	status = serve_on(inv, rt, fd);
	kb_runtime_stop(rt);
	return status;
}

/* ---- arguments
 * ------------------------------------------------------------------------------
 */

static const struct {
	const char *argument;
	action *run;
	bool takes_value;
} actions[] = {
	{ "--help", show_help, false },
	{ "--version", show_version, false },
	{ "--print-config", print_config, false },
	{ "--check-config", check_config, false },
	{ "--openapi", show_openapi, false },
	{ "--run", serve, true },
};

static action *
choose(struct invocation *inv, int argc, char *argv[])
{
	if (argc == 1)
		return serve;
	for (size_t i = 0; i < KB_COUNT(actions); i++) {
		if (strcmp(argv[1], actions[i].argument) != 0 ||
		    argc != (actions[i].takes_value ? 3 : 2))
			continue;
		if (actions[i].takes_value)
			inv->command = argv[2];
		return actions[i].run;
	}
	return NULL;
}

int
kb_service_main(const struct kb_service *service, int argc, char *argv[])
{
	struct invocation inv = {
		.service = service,
		.arena = kb_arena_new(0),
		.env = environ,
	};
	action *run = choose(&inv, argc, argv);
	int status = EXIT_USAGE;

	if (run == NULL)
		fprintf(stderr, "%s: unknown arguments; see %s --help\n",
		    service->name, service->name);
	else
		status = run(&inv);
	kb_arena_free(inv.arena);
	return status;
}
