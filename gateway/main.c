/*
 * gateway: its arguments.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <kombi/fetch.h>
#include <kombi/json.h>
#include <kombi/str.h>

#include "inside.h"

enum { EXIT_CONFIG = 1, EXIT_USAGE = 2 };

struct invocation {
	struct settings settings;
	struct kb_arena *arena;
	struct launch launch;
};

static void
usage(FILE *out)
{
	fprintf(out,
	    "gateway: the platform's front door\n\n"
	    "Usage: gateway [OPTION]\n"
	    "       gateway check [--allow-unset] [--skip-unsupported] "
	    "[--json] FILE\n\n"
	    "  check FILE        name every error of a configuration file\n"
	    "  --help            this text\n"
	    "  --version         the version\n"
	    "  --plugins         the plugins in running order\n"
	    "  --print-config    the options in force, secrets masked\n"
	    "  --check-config    check options and file, and leave\n"
	    "  --openapi         the OpenAPI document\n"
	    "  --run 'CMD ARGS'  serve on free ports of 127.0.0.1 while CMD "
	    "runs,\n"
	    "                    with KOMBI_URL and KOMBI_ADMIN_URL set; leave "
	    "with\n"
	    "                    its status\n\n"
	    "Signals: HUP reads the file anew, TERM and INT drain and end (a "
	    "second\n"
	    "one ends at once), USR2 starts the program once more with the "
	    "listening\n"
	    "sockets and gives way to it when it is ready.\n\n"
	    "Options come from the environment:\n");
}

static int
show_help(struct invocation *inv)
{
	usage(stdout);
	kb_config_help(settings_sets(&inv->settings, inv->arena), stdout);
	return 0;
}

static int
show_version(struct invocation *inv)
{
	(void)inv;
	printf("gateway %s\n", KOMBI_VERSION);
	return 0;
}

static int
show_plugins(struct invocation *inv)
{
	(void)inv;
	for (size_t i = 0; plugins[i] != NULL; i++) {
		const struct plugin *p = plugins[i];

		printf("%s (%d): %s\n   ", p->name, p->priority, p->help);
		for (const struct field *f = p->fields; f->kind != FIELD_END;
		     f++)
			if (f->kind < FIELD_SKIP)
				printf(
				    " %s%s", f->name, f->required ? "*" : "");
		printf("\n");
	}
	return 0;
}

static int
show_openapi(struct invocation *inv)
{
	struct kb_jsonw w;
	struct kb_buf b;

	(void)inv;
	kb_buf_init(&b, 65536);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "openapi", "3.1.0");
	kb_w_object(&w, "info");
	kb_w_str(&w, "title", "kombify gateway: routes come from its file");
	kb_w_str(&w, "version", KOMBI_VERSION);
	kb_w_object_end(&w);
	kb_w_raw(&w, "paths",
	    "{\"/health\":{\"get\":{\"summary\":\"Health of the gateway\","
	    "\"responses\":{\"200\":{\"description\":\"Healthy or degraded\"}"
	    "}}}}");
	kb_w_object_end(&w);
	printf("%s\n", kb_buf_str(&b));
	kb_buf_free(&b);
	return 0;
}

static bool
load(struct invocation *inv)
{
	struct kb_buf problems;
	bool fine;

	kb_buf_init(&problems, 1 << 20);
	fine = settings_load(&inv->settings, inv->arena, environ, &problems);
	if (!fine)
		fprintf(stderr, "gateway: the configuration is not valid:\n%s",
		    kb_buf_str(&problems));
	kb_buf_free(&problems);
	if (fine)
		kb_log_init(
		    "gateway", (enum kb_level)inv->settings.common.log_level);
	return fine;
}

static int
print_config(struct invocation *inv)
{
	if (!load(inv))
		return EXIT_CONFIG;
	kb_config_print(settings_sets(&inv->settings, inv->arena), stdout);
	return 0;
}

static int
check_config(struct invocation *inv)
{
	if (!load(inv) || !gateway_file_ok(&inv->settings, environ))
		return EXIT_CONFIG;
	printf("gateway: the configuration is valid\n");
	return 0;
}

static int
run(struct invocation *inv)
{
	struct sockets *sockets = kb_new(inv->arena, struct sockets);
	const char *why;
	int status;

	/* First of all: the names that tell of sockets are no options. */
	if (!sockets_inherit(sockets, &why)) {
		fprintf(
		    stderr, "gateway: sockets that were passed on: %s\n", why);
		return EXIT_CONFIG;
	}
	inv->launch.sockets = sockets;
	inv->launch.env = environ;
	if (!load(inv)) {
		sockets_tell(sockets, "its options are not valid");
		return EXIT_CONFIG;
	}
	kb_fetch_init();
	status = gateway_run(&inv->settings, inv->arena, &inv->launch);
	sockets_tell(sockets, "it could not start");
	return status;
}

static const struct {
	const char *name;
	int (*action)(struct invocation *inv);
	bool command;
} actions[] = {
	{ "--help", show_help, false },
	{ "--version", show_version, false },
	{ "--plugins", show_plugins, false },
	{ "--print-config", print_config, false },
	{ "--check-config", check_config, false },
	{ "--openapi", show_openapi, false },
	{ "--run", run, true },
};

static int
act(struct invocation *inv, int argc, char *argv[])
{
	if (argc == 1)
		return run(inv);
	if (kb_str_eq(argv[1], "check"))
		return config_check(argc - 2, argv + 2, environ);
	for (size_t i = 0; i < KB_COUNT(actions); i++) {
		if (!kb_str_eq(argv[1], actions[i].name) ||
		    argc != (actions[i].command ? 3 : 2))
			continue;
		inv->launch.command = actions[i].command ? argv[2] : NULL;
		return actions[i].action(inv);
	}
	usage(stderr);
	return EXIT_USAGE;
}

int
main(int argc, char *argv[])
{
	struct invocation inv = {
		.arena = kb_arena_new(0),
		.launch = { .argv = argv },
	};
	int status = act(&inv, argc, argv);

	kb_config_free(settings_sets(&inv.settings, inv.arena));
	kb_arena_free(inv.arena);
	return status;
}
