/*
 * Options of a service: one row gives name, type, default, bounds, help.
 * Values come from the environment, or for NAME_FILE from that file (one
 * trailing newline removed). Unknown KOMBI_* / KOMBIFY_* variables, values
 * out of bounds and unsafe values outside development are refused with a
 * message that names the variable, what was wrong and what is allowed.
 */
#ifndef KOMBI_CONFIG_H
#define KOMBI_CONFIG_H

#include <stdio.h>

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/buf.h>
#include <kombi/error.h>
#include <kombi/secret.h>

enum kb_option_type {
	KB_OPT_END,
	KB_OPT_STR,    /* const char *; default NULL or text */
	KB_OPT_INT,    /* int64_t with min and max */
	KB_OPT_BOOL,   /* bool; true/false/1/0 */
	KB_OPT_ENUM,   /* int: index into choices */
	KB_OPT_SECRET, /* struct kb_secret; min = least length in bytes */
	KB_OPT_URL, /* const char *, absolute http or https URL, no user info */
	KB_OPT_LIST, /* const char *const *: comma separated, NULL-ended */
};

enum {
	KB_OPT_REQUIRED = 1, /* must be given, always */
	KB_OPT_REQUIRED_IN_PRODUCTION = 2,
	KB_OPT_HTTPS_IN_PRODUCTION = 4, /* URL: loopback or https only */
};

struct kb_option {
	enum kb_option_type type;
	unsigned flags;    /* KB_OPT_REQUIRED … */
	const char *name;  /* environment variable */
	const char *alias; /* second accepted name, or NULL */
	size_t offset;
	const char *fallback;       /* default as text, NULL: none */
	int64_t min, max;           /* INT; SECRET: min bytes */
	const char *const *choices; /* ENUM: NULL-ended */
	const char *help;
	/* further check of a STR/URL/LIST value: NULL or what is wrong */
	const char *(*check)(const char *value);
};

/* clang-format off */
#define KB_OPTION_STR(t, m, n, ...) \
	{ .type = KB_OPT_STR, .name = (n), .offset = KB_OFFSET_OF(t, m, const char *), __VA_ARGS__ }
#define KB_OPTION_INT(t, m, n, ...) \
	{ .type = KB_OPT_INT, .name = (n), .offset = KB_OFFSET_OF(t, m, int64_t), __VA_ARGS__ }
#define KB_OPTION_BOOL(t, m, n, ...) \
	{ .type = KB_OPT_BOOL, .name = (n), .offset = KB_OFFSET_OF(t, m, bool), __VA_ARGS__ }
#define KB_OPTION_ENUM(t, m, n, ...) \
	{ .type = KB_OPT_ENUM, .name = (n), .offset = KB_OFFSET_OF(t, m, int), __VA_ARGS__ }
#define KB_OPTION_SECRET(t, m, n, ...) \
	{ .type = KB_OPT_SECRET, .name = (n), .offset = KB_OFFSET_OF(t, m, struct kb_secret), __VA_ARGS__ }
#define KB_OPTION_URL(t, m, n, ...) \
	{ .type = KB_OPT_URL, .name = (n), .offset = KB_OFFSET_OF(t, m, const char *), __VA_ARGS__ }
#define KB_OPTION_LIST(t, m, n, ...) \
	{ .type = KB_OPT_LIST, .name = (n), .offset = KB_OFFSET_OF(t, m, const char *const *), __VA_ARGS__ }
#define KB_OPTIONS_END { .type = KB_OPT_END }
/* clang-format on */

/* One table and the struct that it fills. */
struct kb_option_set {
	const struct kb_option *options;
	void *into;
};

/*
 * Reads several sets (the common one and the service's own), NULL-ended by a
 * set without options. `env` is environ or a test's. Strings live in `a`.
 * All problems are appended to `problems`, one a line; false if there is any.
 * `development` relaxes KB_OPT_*_IN_PRODUCTION. An empty variable counts as
 * not given. NAME and NAME_FILE together are refused; so are, outside of
 * development, secret files open to others (only 0400, 0440, 0600, 0640) and
 * secrets that look like an example's, are too uniform or repeat themselves;
 * X_NEXT must differ from X. *into must be zeroed before the first load; who
 * embeds a secret frees it (kb_secret_free).
 */
bool kb_config_load(struct kb_arena *a, const struct kb_option_set *sets,
    char *const env[], bool development, struct kb_buf *problems) KB_MUSTUSE;

/* Wipes and frees the secrets that kb_config_load has set. */
void kb_config_free(const struct kb_option_set *sets);

/* --help: name, default, bounds, text. --print-config: NAME=value lines,
 * secrets as "(set)" or "(not set)". */
void kb_config_help(const struct kb_option_set *sets, FILE *out);
void kb_config_print(const struct kb_option_set *sets, FILE *out);

enum kb_environment { KB_ENV_PRODUCTION, KB_ENV_DEVELOPMENT };
enum kb_deployment_mode {
	KB_MODE_SELF_HOSTED,
	KB_MODE_SAAS_SHARED,
	KB_MODE_SAAS_DEDICATED,
};

/* What every service has; filled by kb_service_main, gateway's main too. */
struct kb_common_config {
	int environment;    /* enum kb_environment */
	int mode;           /* enum kb_deployment_mode */
	const char *listen; /* address */
	int64_t port;
	int64_t workers;  /* handler threads; gateway: event loops */
	int64_t queue;    /* requests waiting for a worker */
	int64_t drain_ms; /* at SIGTERM, most 25000 */
	int log_level;    /* enum kb_level */
	struct kb_secret service_secret;
	struct kb_secret service_secret_next;
};

/* A fresh copy of the table with the service's default port and workers. */
const struct kb_option *kb_common_options(
    struct kb_arena *a, int64_t default_port, int64_t default_workers);

#endif
