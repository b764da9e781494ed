/*
 * Tokens of consumers, Kong's way (Kong 3.9): a claim of the token names
 * a jwt_secret of the file, whose key and algorithm verify it. The caller is
 * that consumer, whatever else the token says.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "inside.h"

enum { ENTRIES = 2048 };

struct seen {
	size_t index; /* of the jwt_secret */
};

static struct kb_token_cache *
cache_of(struct loop *l)
{
	if (l->consumer_tokens == NULL)
		l->consumer_tokens = kb_token_cache_new(ENTRIES, free);
	return l->consumer_tokens;
}

/* Verified by this file and these rules; others look again. */
static uint64_t
generation(const struct snapshot *s, const struct token_rules *rules)
{
	return s->serial << 32 ^ rules->id;
}

static const struct jwt_secret *
owner_of(
    struct exchange *x, const struct token_rules *rules, struct kb_slice token)
{
	const struct snapshot *s = x->local->snapshot;
	struct kb_arena *a = exchange_arena(x);
	const struct kb_json *claims, *header;
	const char *key;

	if (kb_jwt_peek(a, token.ptr, token.len, &claims))
		return NULL;
	key = kb_json_str(claims, rules->key_claim_name);
	if (key == NULL &&
	    kb_jwt_peek_header(a, token.ptr, token.len, &header) == KB_OK)
		key = kb_json_str(header, rules->key_claim_name);
	for (size_t i = 0; key && i < s->n_jwt_secrets; i++)
		if (kb_str_eq(s->jwt_secrets[i].key, key))
			return &s->jwt_secrets[i];
	return NULL;
}

static void
use(struct exchange *x, const struct jwt_secret *secret, struct kb_slice token)
{
	const struct credential c = {
		.consumer = secret->consumer,
		.id = secret->key, /* X-Credential-Identifier, as in Kong */
		.line = secret->line,
	};

	exchange_set_credential(x, &c);
	x->consumer_jwt = token;
}

static enum token_owner
judge(struct exchange *x, const struct token_rules *rules,
    struct kb_slice token, const struct jwt_secret *secret)
{
	const struct snapshot *s = x->local->snapshot;
	const struct kb_jws_key *key = rules->secret_is_base64 && secret->secret
	    ? secret->verify_base64
	    : secret->verify;
	const struct kb_jwt_rules jwt_rules = {
		.audience = rules->audience.n ? rules->audience.v : NULL,
		.leeway_s = rules->leeway_s,
		.max_life_s = rules->max_life_s,
	};
	struct kb_jwt jwt = { .why = "secret is not base64" };
	struct seen *seen = NULL;

	if (key != NULL &&
	    kb_jwt_verify_by(exchange_arena(x), token, key, &jwt_rules, &jwt) ==
		KB_OK) {
		seen = kb_xalloc(sizeof(*seen));
		seen->index = (size_t)(secret - s->jwt_secrets);
		use(x, secret, token);
	} else
		kb_debug(NULL, "token refused", KB_S("why", jwt.why),
		    KB_S("requestId", exchange_request_id(x)));
	kb_token_cache_put(cache_of(x->loop), token.ptr, token.len,
	    generation(s, rules), jwt.expires, seen);
	return seen ? TOKEN_GOOD : TOKEN_BAD;
}

enum token_owner
exchange_judge_token(
    struct exchange *x, const struct token_rules *rules, struct kb_slice token)
{
	const struct snapshot *s = x->local->snapshot;
	const struct jwt_secret *secret;
	void *hit = NULL;

	if (s->n_jwt_secrets == 0)
		return TOKEN_NOBODYS;
	switch (kb_token_cache_get(cache_of(x->loop), token.ptr, token.len,
	    generation(s, rules), &hit)) {
	case KB_CACHE_HIT:
		use(x, &s->jwt_secrets[((const struct seen *)hit)->index],
		    token);
		return TOKEN_GOOD;
	case KB_CACHE_REFUSED: return TOKEN_BAD;
	case KB_CACHE_MISS: break;
	}
	secret = owner_of(x, rules, token);
	if (secret == NULL || (secret->verify == NULL && !secret->secret))
		return TOKEN_NOBODYS;
	return judge(x, rules, token, secret);
}
