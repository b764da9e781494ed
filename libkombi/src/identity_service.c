/*
 * Tokens between services: HS256 under the key of the pair, named by its id,
 * so that a token for one callee is worthless at another.
 */
#include <assert.h>
#include <string.h>

#include <kombi/id.h>
#include <kombi/identity.h>
#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define TOKEN_LIFE_S 60
#define LEEWAY_S 5 /* clocks of two machines */
#define CLAIMS_MAX 1024
#define SERVICE_NAME_MAX 64

char *
kb_service_token(struct kb_arena *a, const struct kb_pair_keys *keys,
    const char *caller, const char *callee)
{
	const struct kb_pair_key *key = &keys->keys[0];
	int64_t now = kb_wall_s();
	struct kb_jsonw w;
	struct kb_buf buf;
	char *token;

	assert(keys->n > 0);
	kb_buf_init(&buf, CLAIMS_MAX);
	kb_w_init(&w, &buf);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "iss", caller);
	kb_w_str(&w, "aud", callee);
	kb_w_int(&w, "iat", now);
	kb_w_int(&w, "exp", now + TOKEN_LIFE_S);
	kb_w_str(&w, "jti", kb_id_new(a, "st"));
	kb_w_object_end(&w);
	token = kb_jwt_sign_hs256(
	    a, kb_buf_str(&buf), key->id, key->key, sizeof(key->key));
	kb_buf_free(&buf);
	return token;
}

/* The caller's name goes into a key's derivation: only names of services. */
static bool
is_service_name(const char *s)
{
	return s && strlen(s) <= SERVICE_NAME_MAX && kb_is_slug(s);
}

enum kb_err
kb_service_token_check(struct kb_arena *a, const struct kb_secret *root,
    const struct kb_secret *next, struct kb_slice token, const char *callee,
    const char **caller)
{
	const char *const audience[] = { callee, NULL };
	struct kb_jwt_rules rules = {
		.audience = audience,
		.leeway_s = LEEWAY_S,
		.max_life_s = TOKEN_LIFE_S,
	};
	const struct kb_json *claims;
	struct kb_pair_keys keys;
	struct kb_jwt jwt;

	if (kb_jwt_peek(a, token.ptr, token.len, &claims))
		return KB_AUTH_INVALID;
	rules.issuer = kb_json_str(claims, "iss");
	if (!is_service_name(rules.issuer))
		return KB_AUTH_INVALID;
	/* Other formats name the caller a second time. */
	if (kb_json_get(claims, "svc") &&
	    !kb_str_eq(kb_json_str(claims, "svc"), rules.issuer))
		return KB_AUTH_INVALID;

	kb_pair_keys(root, next, rules.issuer, callee, &keys);
	for (unsigned i = 0; i < keys.n; i++) {
		const struct kb_pair_key *k = &keys.keys[i];

		if (kb_jwt_verify_hs256(a, token,
			(struct kb_slice) {
			    (const char *)k->key, sizeof(k->key) },
			&rules, &jwt) == KB_OK &&
		    kb_str_eq(kb_json_str(jwt.header, "kid"), k->id)) {
			*caller = jwt.issuer;
			return KB_OK;
		}
	}
	return KB_AUTH_INVALID;
}
