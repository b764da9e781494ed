/*
 * `gateway check [--allow-unset] FILE`: every problem of a configuration file
 * with its line, or what the file holds.
 */
#include <stdio.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static void
print_names(const struct strs *names)
{
	if (names->n == 0)
		return;
	printf("variables:");
	for (size_t i = 0; i < names->n; i++)
		printf(" %s", names->v[i]);
	printf("\n");
}

static int
check_file(const char *file, struct substitution *sub)
{
	struct problems p = { .arena = kb_arena_new(0), .file = file };
	struct snapshot *s = config_load_file(&p, file, sub);
	struct kb_buf text;
	int status = 1;

	kb_buf_init(&text, 1 << 20);
	problems_print(&p, true, &text);
	fputs(kb_buf_str(&text), stderr);
	if (s != NULL && !problems_any(&p)) {
		printf("%s: ok: %zu services, %zu routes, %zu upstreams, "
		       "%zu plugins, %zu consumers\n",
		    file, s->n_services, s->n_routes, s->n_upstreams, s->n_uses,
		    s->n_consumers);
		print_names(&sub->names);
		status = 0;
	}
	kb_buf_free(&text);
	kb_arena_free(p.arena);
	return status;
}

int
config_check(int argc, char *argv[], char *const env[])
{
	struct substitution sub = { .env = env };
	const char *file = NULL;

	for (int i = 0; i < argc; i++) {
		if (kb_str_eq(argv[i], "--allow-unset"))
			sub.allow_unset = true;
		else if (argv[i][0] == '-' || file != NULL) {
			fprintf(stderr,
			    "usage: gateway check [--allow-unset] FILE\n");
			return 2;
		} else
			file = argv[i];
	}
	if (file == NULL) {
		fprintf(stderr, "usage: gateway check [--allow-unset] FILE\n");
		return 2;
	}
	return check_file(file, &sub);
}
