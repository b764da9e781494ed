/* stackkit: kits and documents from the command line. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <kombi/child.h>
#include <kombi/fetch.h>
#include <kombi/str.h>

static const char usage[] =
    "usage: stackkit COMMAND [--source=local|api] [--kit=KIT] [OPTION]...\n"
    "\n"
    "commands\n"
    "  list                 the kits that there are\n"
    "  info [KIT]           one kit\n"
    "  validate [FILE]      judge a kombination.yaml (default "
    "./kombination.yaml)\n"
    "  init [FOLDER]        unpack a kit (default .), checked against its "
    "digests\n"
    "\n"
    "options\n"
    "  --source=local|api   kits from a folder (default) or from a service\n"
    "  --kit=KIT            name or alias; default: what the file names, "
    "else base\n"
    "  --dir=FOLDER         folder with kits/ and base/ (STACKKITS_DIR)\n"
    "  --cue=PROGRAM        the cue command (CUE_BIN; else looked up in "
    "PATH)\n"
    "  --api=URL            address of the service (STACKKIT_API)\n"
    "  --token-file=FILE    file with the access token "
    "(STACKKIT_TOKEN_FILE, STACKKIT_TOKEN)\n"
    "  --json               answer as JSON\n"
    "  --help\n"
    "\n"
    "status: 0 fine, 1 the document is invalid or there is no such kit,\n"
    "2 wrong use, 3 a tool or the network failed\n";

int
cli_say(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("stackkit: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* ---- settings -------------------------------------------------------------
 */

static const struct kb_option options[] = {
	KB_OPTION_STR(struct cli, dir, "STACKKITS_DIR",
	    .fallback = "/usr/share/kombify/stackkits"),
	KB_OPTION_STR(struct cli, cue, "CUE_BIN"),
	KB_OPTION_URL(struct cli, api, "STACKKIT_API"),
	KB_OPTION_SECRET(struct cli, token, "STACKKIT_TOKEN"),
	KB_OPTIONS_END,
};

/* The first `cue` of PATH: a convenience of the command line alone. */
static const char *
find_cue(struct kb_arena *a, char *const env[])
{
	struct kb_slice path = { "", 0 }, part;

	for (; *env != NULL; env++)
		if (kb_str_starts(*env, "PATH="))
			path = kb_slice_of(*env + 5);
	while (kb_slice_next(&path, ':', &part)) {
		const char *p = kb_sprintf(
		    a, "%.*s/cue", (int)part.len, part.ptr);

		if (part.len > 0 && access(p, X_OK) == 0)
			return p;
	}
	return NULL;
}

/* Options of the command line stand for variables of the same meaning. */
static const struct {
	const char *option, *variable;
} flags[] = {
	{ "--dir=", "STACKKITS_DIR" },
	{ "--cue=", "CUE_BIN" },
	{ "--api=", "STACKKIT_API" },
	{ "--token-file=", "STACKKIT_TOKEN_FILE" },
};

static bool
is_setting(const char *pair)
{
	for (size_t i = 0; i < KB_COUNT(flags); i++)
		if (kb_str_starts(pair, flags[i].variable))
			return true;
	return kb_str_starts(pair, "STACKKIT_TOKEN=");
}

/* What the command line says comes last, and replaces. */
static char **
settings(struct kb_arena *a, int argc, char *argv[])
{
	char **all, **p;
	size_t n = 0;

	while (environ[n] != NULL)
		n++;
	all = p = kb_new_array(a, n + (size_t)argc + 1, char *);
	for (int i = 1; i < argc; i++)
		for (size_t k = 0; k < KB_COUNT(flags); k++)
			if (kb_str_starts(argv[i], flags[k].option))
				*p++ = kb_sprintf(a, "%s=%s", flags[k].variable,
				    argv[i] + strlen(flags[k].option));
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(environ[i], "=") + 1;
		bool given = !is_setting(environ[i]);

		for (char **q = all; q < p && !given; q++)
			given = strncmp(*q, environ[i], len) == 0;
		if (!given)
			*p++ = environ[i];
	}
	return all;
}

static int
configure(struct cli *c, int argc, char *argv[])
{
	const struct kb_option_set sets[] = { { options, c }, { NULL, NULL } };
	struct kb_buf problems;
	bool ok;

	kb_buf_init(&problems, 65536);
	ok = kb_config_load(
	    c->arena, sets, settings(c->arena, argc, argv), true, &problems);
	if (!ok)
		fputs(kb_buf_str(&problems), stderr);
	kb_buf_free(&problems);
	if (!ok)
		return CLI_USAGE;
	if (c->cue == NULL)
		c->cue = find_cue(c->arena, environ);
	c->config = (struct sk_config) {
		.dir = c->dir,
		.cue = c->cue,
		.memory_mb = 2048,
		.cpu_s = 30,
		.timeout_ms = 60000,
		.parallel = 1,
	};
	c->judge = sk_judge_new(&c->config);
	return CLI_OK;
}

/* ---- command line ----------------------------------------------------------
 */

static const struct {
	const char *name;
	int (*run)(struct cli *c);
} commands[] = {
	{ "list", cmd_list },
	{ "info", cmd_info },
	{ "validate", cmd_validate },
	{ "init", cmd_init },
};

static const char *
after(const char *arg, const char *option)
{
	return kb_str_starts(arg, option) ? arg + strlen(option) : NULL;
}

static bool
is_flag(const char *arg)
{
	for (size_t i = 0; i < KB_COUNT(flags); i++)
		if (kb_str_starts(arg, flags[i].option))
			return true;
	return false;
}

static int
read_source(struct cli *c, const char *name)
{
	const struct cli_source *const all[] = { &cli_local, &cli_api };

	for (size_t i = 0; i < KB_COUNT(all); i++)
		if (strcmp(all[i]->name, name) == 0) {
			c->source = all[i];
			return CLI_OK;
		}
	if (strcmp(name, "git") == 0)
		return cli_say(CLI_USAGE,
		    "clone the repository with git, then use --source=local "
		    "--dir=CLONE/stackkits");
	return cli_say(CLI_USAGE, "--source must be local or api");
}

static int
read_argument(struct cli *c, const char *arg)
{
	const char *kit = after(arg, "--kit=");

	if (kit == NULL)
		kit = after(arg, "--stackkit=");
	if (kit != NULL) {
		c->kit = kit;
		return CLI_OK;
	}
	if (after(arg, "--source=") != NULL)
		return read_source(c, after(arg, "--source="));
	if (strcmp(arg, "--json") == 0) {
		c->json = true;
		return CLI_OK;
	}
	if (kb_str_starts(arg, "--token="))
		return cli_say(CLI_USAGE,
		    "a token on the command line is seen by everybody on this "
		    "machine: use --token-file=FILE or STACKKIT_TOKEN");
	if (is_flag(arg))
		return CLI_OK;
	if (!kb_child_arg_ok(arg) || c->file != NULL)
		return cli_say(
		    CLI_USAGE, "%s is not understood; see --help", arg);
	c->file = arg;
	return CLI_OK;
}

static int
run(struct cli *c, int argc, char *argv[])
{
	int status = CLI_OK;

	for (int i = 2; status == CLI_OK && i < argc; i++)
		status = read_argument(c, argv[i]);
	if (status == CLI_OK)
		status = configure(c, argc, argv);
	if (status != CLI_OK)
		return status;
	for (size_t i = 0; i < KB_COUNT(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(c);
	return cli_say(
	    CLI_USAGE, "there is no command %s; see --help", argv[1]);
}

int
main(int argc, char *argv[])
{
	struct cli c = { .arena = kb_arena_new(0), .source = &cli_local };
	int status;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0)
			return fputs(usage, stdout) < 0 ? CLI_FAILED : CLI_OK;
	if (argc < 2) {
		fputs(usage, stderr);
		return CLI_USAGE;
	}
	kb_log_init("stackkit", KB_ERROR);
	kb_log_fd(2);
	kb_fetch_init();
	status = run(&c, argc, argv);
	sk_registry_free(c.registry);
	sk_judge_free(c.judge);
	kb_secret_free(&c.token);
	kb_arena_free(c.arena);
	return fflush(stdout) != 0 ? CLI_FAILED : status;
}
