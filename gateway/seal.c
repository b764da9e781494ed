/*
 * Values that only this platform's gateways can read and nobody can change:
 * AES-256-GCM under keys made of a secret, bound to the place where they
 * stand, so that one cannot be put in another's.
 */
#include <string.h>

#include <kombi/crypto.h>

#include "inside.h"

static void
add_key(
    struct seal_keys *out, const struct kb_secret *secret, const char *purpose)
{
	const unsigned char *bytes;
	size_t len;

	if (secret == NULL || !kb_secret_is_set(secret))
		return;
	bytes = kb_secret_reveal(secret, &len);
	kb_hkdf_sha256(
	    bytes, len, purpose, out->key[out->n], sizeof(out->key[0]));
	out->n++;
}

void
seal_keys_make(const struct kb_secret *secret, const struct kb_secret *next,
    const char *purpose, struct seal_keys *out)
{
	memset(out, 0, sizeof(*out));
	add_key(out, secret, purpose);
	add_key(out, next, purpose);
}

char *
seal(struct kb_arena *a, const struct seal_keys *keys, const char *place,
    const void *plain, size_t len)
{
	return kb_field_encrypt(a, keys->key[0], plain, len, place);
}

char *
unseal(struct kb_arena *a, const struct seal_keys *keys, const char *place,
    const char *text, size_t *len)
{
	unsigned char *plain;

	for (unsigned i = 0; i < keys->n; i++)
		if (kb_field_decrypt(
			a, keys->key[i], text, place, &plain, len) == KB_OK)
			return (char *)plain;
	return NULL;
}
