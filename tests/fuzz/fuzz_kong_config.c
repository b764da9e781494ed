/*
 * Any bytes as a configuration file: loading says what is wrong or gives a
 * snapshot, and never more than that. What was accepted stays so when its
 * document is copied, and means the same.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look_up(const struct snapshot *s)
{
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

static void
link_copy(const struct problems *before, const struct snapshot *s)
{
	struct problems p = {
		.arena = kb_arena_new(0),
		.file = "copy",
		.defaults = before->defaults,
	};
	struct snapshot *copy = document_link(
	    &p, document_copy(p.arena, s->document));

	assert(!problems_any(&p));
	assert(strcmp(copy->hash, s->hash) == 0);
	assert(copy->n_routes == s->n_routes);
	look_up(copy);
	kb_arena_free(p.arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[] = "NAME=value", issuer[] = "ISSUER=https://issuer.example",
	     deck[] = "DECK_N=7";
	char *env[] = { name, issuer, deck, NULL };
	struct substitution sub = { .env = env, .allow_unset = size % 2 };
	struct problems p = { .arena = kb_arena_new(0),
		.file = "fuzz",
		.defaults.kong_router = size % 4 > 1 };
	struct kb_buf text;
	struct snapshot *s = config_parse(&p, (const char *)data, size, &sub);

	kb_buf_init(&text, 1 << 20);
	problems_print(&p, true, &text);
	if (s != NULL && !problems_any(&p)) {
		look_up(s);
		config_explain(&p, s);
		link_copy(&p, s);
	}
	kb_buf_free(&text);
	kb_arena_free(p.arena);
	return 0;
}
