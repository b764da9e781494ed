/*
 * Tokens of records as anybody may send them: what is peeked at is a whole
 * claim or nothing, of the kind that was asked for. And what a provider says
 * of a person: an address counts only with an id beside it or not at all.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/jwt.h>
#include <kombi/str.h>

#include "records/auth_provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
peek(struct kb_arena *a, const char *text, size_t size)
{
	struct kb_slice token = { text, size };
	unsigned kinds = 0;

	for (int kind = 0; kind < TOKEN_COUNT; kind++) {
		const char *collection = NULL, *id = NULL;

		if (!auth_token_peek(
			a, token, (enum token_kind)kind, &collection, &id))
			continue;
		if (collection == NULL || id == NULL || size > KB_JWT_MAX)
			abort();
		kinds++;
	}
	if (kinds > 1)
		abort();
}

static void
read_person(struct kb_arena *a, const char *text, size_t size)
{
	static const char *const names[] = { "oidc", "github", "twitch",
		"microsoft", "kakao" };
	const struct kb_json *j;
	const char *why;

	if (kb_json_parse(a, text, size, &j, &why))
		return;
	for (size_t i = 0; i < KB_COUNT(names); i++) {
		struct person p = { .id = "" };

		(void)person_read(a, &provider_find(names[i])->paths, j, &p);
		if (p.verified && !kb_is_email(p.email))
			abort();
		if (p.verified && strcmp(names[i], "microsoft") == 0)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *text = kb_strndup(a, (const char *)data, size);

	peek(a, text, size);
	read_person(a, text, size);
	kb_arena_free(a);
	return 0;
}
