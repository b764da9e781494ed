/*
 * A token as it comes from a client, under every key that we verify with.
 * Bytes that verify were signed by us or are a find: the keys below are not
 * in any corpus.
 */
#include <stdlib.h>

#include <kombi/identity.h>
#include <kombi/jwt.h>
#include <kombi/str.h>

static const char
    pem[] = "-----BEGIN PUBLIC KEY-----\n"
	    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENi0NnamP7P9mzVouyMNU+rk7kZYU\n"
	    "geGvmnffFS3TDNJibg+PjxOlWLQnKYNdaBZwxtMeQxp7jYkZktBS7lJ+lA==\n"
	    "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The way behind the signature, which random bytes never pass. */
static void
signed_by_us(struct kb_arena *a, const char *data, size_t size,
    const struct kb_jwt_rules *rules)
{
	char *text = kb_strndup(a, data, size);
	char *token = kb_jwt_sign_hs256(a, text, text, "key", 3);
	struct kb_identity id;
	struct kb_jwt jwt;

	if (kb_jwt_verify_hs256(a,
		(struct kb_slice) { token, kb_slice_of(token).len },
		(struct kb_slice) { "key", 3 }, rules, &jwt) ||
	    kb_identity_from_claims(a, jwt.claims, NULL, &id))
		return;
	for (int i = 0; i < KB_ID_FIELDS; i++)
		if (id.value[i] &&
		    kb_has_control(id.value[i], kb_slice_of(id.value[i]).len))
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct kb_jwt_rules rules = { .leeway_s = 1LL << 40 };
	static struct kb_jwks *keys;
	struct kb_arena *a = kb_arena_new(0);
	const char *token = (const char *)data, *caller;
	struct kb_secret root = { 0 };
	const struct kb_json *claims;
	struct kb_jwt jwt;

	if (!keys && kb_jwks_from_pem(pem, NULL, &keys))
		abort();
	kb_secret_set(&root, "0123456789abcdef0123456789abcdef", 32);
	if (kb_jwt_verify(a, (struct kb_slice) { token, size }, keys, &rules,
		&jwt) == KB_OK)
		abort();
	if (kb_jwt_verify_hs256(a, (struct kb_slice) { token, size },
		(struct kb_slice) { "fedcba9876543210fedcba9876543210", 32 },
		&rules, &jwt) == KB_OK)
		abort();
	if (kb_service_token_check(a, &root, NULL,
		(struct kb_slice) { token, size }, "stack", &caller) == KB_OK)
		abort();
	if (kb_jwt_peek(a, token, size, &claims) == KB_OK && !claims)
		abort();
	if (size < KB_JWT_MAX / 4)
		signed_by_us(a, token, size, &rules);
	kb_secret_free(&root);
	kb_arena_free(a);
	return 0;
}
