/*
 * Any bytes as a configuration file: loading says what is wrong or gives a
 * snapshot, and never more than that.
 */
#include <stdint.h>

#include "inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[] = "NAME=value", issuer[] = "ISSUER=https://issuer.example";
	char *env[] = { name, issuer, NULL };
	struct substitution sub = { .env = env, .allow_unset = size % 2 };
	struct problems p = { .arena = kb_arena_new(0), .file = "fuzz" };
	struct kb_buf text;
	struct snapshot *s = config_parse(&p, (const char *)data, size, &sub);

	kb_buf_init(&text, 1 << 20);
	problems_print(&p, true, &text);
	if (s != NULL && !problems_any(&p)) {
		struct router_match m;

		router_find(s->router,
		    &(struct router_query) {
			.path = { "/v1/a", 5 },
			.host = { "h", 1 },
			.method = KB_M_GET,
			.proto = PROTO_HTTP,
		    },
		    &m);
	}
	kb_buf_free(&text);
	kb_arena_free(p.arena);
	return 0;
}
