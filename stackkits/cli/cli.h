/* The stackkit command: what its files share. */
#ifndef STACKKIT_CLI_H
#define STACKKIT_CLI_H

#include "../stackkits.h"

/* Exit status: fine; the document or kit is not; wrong use; a tool or the
 * network failed. */
enum { CLI_OK = 0, CLI_BAD = 1, CLI_USAGE = 2, CLI_FAILED = 3 };

struct cli_source;

struct cli {
	struct kb_arena *arena;
	const struct cli_source *source;
	const char *kit;  /* --kit, or NULL */
	const char *file; /* the one argument, or NULL */
	bool json;
	const char *dir, *cue, *api;
	struct kb_secret token;
	struct sk_config config;
	struct sk_judge *judge;
	struct sk_registry *registry; /* local source, once loaded */
};

struct cli_kit {
	const char *id, *name, *version, *description, *min_plan;
};

/* Where kits come from. Each function returns an exit status and has said
 * on stderr what was wrong. */
struct cli_source {
	const char *name;
	int (*list)(struct cli *c, struct cli_kit **kits, size_t *n);
	int (*info)(struct cli *c, const char *kit, const char **json);
	int (*archive)(struct cli *c, const char *kit, struct kb_slice *tar,
	    const char **sha256);
	int (*validate)(struct cli *c, const char *kit, struct kb_slice yaml,
	    struct sk_verdict *v);
};

extern const struct cli_source cli_local, cli_api;

/* "stackkit: …" on stderr; returns `status`. */
int cli_say(int status, const char *fmt, ...) KB_PRINTF(2, 3);

int cmd_list(struct cli *c);
int cmd_info(struct cli *c);
int cmd_validate(struct cli *c);
int cmd_init(struct cli *c);

#endif
