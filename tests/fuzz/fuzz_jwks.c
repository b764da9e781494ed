/*
 * A key set as an issuer, or whoever stands in its place, might send it; and
 * the same bytes as a PEM key.
 */
#include <stdlib.h>

#include <kombi/jwt.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwks *keys = NULL;
	const char *why = NULL;

	if (kb_jwks_parse((const char *)data, size, &keys, &why) == KB_OK) {
		if (kb_jwks_count(keys) < 1 || kb_jwks_count(keys) > 64)
			abort();
		kb_jwks_unref(keys);
	} else if (!why) {
		abort();
	}
	if (kb_jwks_from_pem(
		kb_strndup(a, (const char *)data, size), "k", &keys) == KB_OK)
		kb_jwks_unref(keys);
	kb_arena_free(a);
	return 0;
}
