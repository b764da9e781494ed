/*
 * JSON Web Tokens: JWS compact (RFC 7515) with RS256, ES256, HS256 (RFC
 * 7518), claims (RFC 7519), key sets (RFC 7517), and the rules of RFC 8725.
 * The key names the algorithm; a token's own "alg" must agree with it.
 */
#ifndef KOMBI_JWT_H
#define KOMBI_JWT_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/json.h>

#define KB_JWT_MAX 8192 /* bytes of a token */

/* OTHER: known, but not for keys of issuers. */
enum kb_jwt_alg { KB_JWT_RS256, KB_JWT_ES256, KB_JWT_HS256, KB_JWT_OTHER };

struct kb_jwks; /* immutable, reference counted set of keys */

/*
 * A key set from its JSON text: at most 256 KiB and 64 keys; RSA 2048..4096
 * bit, e odd and >= 65537; P-256 with the point on the curve; keys with
 * private members, with use other than "sig" or with alg other than the
 * key's, oct keys and keys without kid (when there are several) are left out;
 * of different keys with one kid none counts. KB_INVALID if not one key
 * remains.
 */
enum kb_err kb_jwks_parse(const char *text, size_t len, struct kb_jwks **out,
    const char **why) KB_MUSTUSE; /* *why: constant text */
struct kb_jwks *kb_jwks_ref(struct kb_jwks *k);
void kb_jwks_unref(struct kb_jwks *k); /* NULL is fine */
size_t kb_jwks_count(const struct kb_jwks *k);
bool kb_jwks_has(const struct kb_jwks *k, const char *kid);
/* One RSA or EC public key in PEM as a set (Kong's rsa_public_key). */
enum kb_err kb_jwks_from_pem(
    const char *pem, const char *kid, struct kb_jwks **out) KB_MUSTUSE;

struct kb_jwt_rules {
	const char *issuer;          /* byte-equal, NULL: not checked */
	const char *const *audience; /* one of these, NULL: not checked */
	int64_t leeway_s;            /* 30 */
	int64_t max_life_s; /* exp at most this far ahead; 0: no bound */
	bool typ_at_jwt;    /* only "at+jwt" or "JWT" or absent typ */
};

/*
 * What verifying found. The claims are set for a verified token only; strings
 * live in the arena.
 */
struct kb_jwt {
	const char *issuer, *subject;
	int64_t expires, issued_at;   /* unix seconds; issued_at 0: absent */
	const struct kb_json *claims; /* the whole payload */
	const struct kb_json *header;
	const char *why;  /* refused: constant text for the log; else NULL */
	bool unknown_kid; /* well-formed, but its kid is not in the set */
};

/*
 * Verifies `token` (no "Bearer "). KB_OK, KB_AUTH_INVALID, or KB_UNAVAILABLE
 * when `keys` is NULL. The kid is compared byte for byte; a token without one
 * is verified by a set of one key only, and a lone key without kid verifies
 * any token's kid. Order: structure, key, signature, then claims; exp is
 * required.
 */
enum kb_err
kb_jwt_verify(struct kb_arena *a, struct kb_slice token, struct kb_jwks *keys,
    const struct kb_jwt_rules *rules, struct kb_jwt *out) KB_MUSTUSE;

/* HS256 with a raw key, for our own tokens. */
enum kb_err kb_jwt_verify_hs256(struct kb_arena *a, struct kb_slice token,
    struct kb_slice key, const struct kb_jwt_rules *rules,
    struct kb_jwt *out) KB_MUSTUSE;
/*
 * A key of one algorithm, for those whose tokens no issuer signs: HS256, 384,
 * 512 with a secret of at least 16 bytes; RS and PS with 256, 384, 512,
 * ES256, ES384, ES512 with a public key in PEM. NULL with *why (constant).
 */
struct kb_jws_key;
struct kb_jws_key *kb_jws_key_new(
    const char *alg, struct kb_slice secret, const char *pem, const char **why);
void kb_jws_key_free(struct kb_jws_key *k); /* NULL is fine */
/* As kb_jwt_verify; the token's kid does not matter, its alg must be the
 * key's. */
enum kb_err kb_jwt_verify_by(struct kb_arena *a, struct kb_slice token,
    const struct kb_jws_key *key, const struct kb_jwt_rules *rules,
    struct kb_jwt *out) KB_MUSTUSE;
/* Signs `claims` (JSON object text); kid may be NULL. */
char *kb_jwt_sign_hs256(struct kb_arena *a, const char *claims, const char *kid,
    const void *key, size_t key_len);
/* The claims of a token WITHOUT any check: only to find which secret to
 * verify with. KB_INVALID if it is not a token at all. */
enum kb_err kb_jwt_peek(struct kb_arena *a, const char *token, size_t len,
    const struct kb_json **claims) KB_MUSTUSE;
/* Its header, likewise. */
enum kb_err kb_jwt_peek_header(struct kb_arena *a, const char *token,
    size_t len, const struct kb_json **header) KB_MUSTUSE;

/* ---- keys of an issuer ------------------------------------------------- */

/*
 * Keeps the key set of an issuer fresh in a thread of its own: found through
 * /.well-known/openid-configuration (the document's issuer must equal ours)
 * or a given URL; 10 min maximum age, refetch on an unknown kid at most
 * every 30 s, single flight, 5 s timeout, 256 KiB, no redirects; the last
 * good set stays up to 24 h when fetching fails, which is tried again after
 * 1, 2, 4, … s, at most min_refetch_ms apart. Thread-safe.
 */
struct kb_issuer;

struct kb_issuer_conf {
	const char *issuer;
	const char *jwks_url; /* NULL: discovery, or where that answers 404
				 "<iss>/oauth/v2/keys" */
	bool allow_private;   /* addresses that are not global (development) */
	int64_t min_refetch_ms; /* 30,000; tests set less */
	int64_t max_age_ms;     /* 600,000 */
	int64_t max_stale_ms;   /* 86,400,000 */
};

/* Durations of 0 take the values above. */
struct kb_issuer *kb_issuer_start(const struct kb_issuer_conf *conf);
/* Waits for a fetch under way: at most two timeouts. NULL is fine. */
void kb_issuer_stop(struct kb_issuer *i);
/* A reference to the present set, NULL while there is none (or too old).
 * Never blocks. */
struct kb_jwks *kb_issuer_keys(struct kb_issuer *i);
/* A token with an unknown kid was seen: fetch soon (rate limited). True when
 * that is now or in the next second, so that waiting for it may be worth it. */
bool kb_issuer_unknown_kid(struct kb_issuer *i);
/* Number that grows whenever the set changes: caches compare it. */
uint64_t kb_issuer_generation(struct kb_issuer *i);
/* Blocks until that number is another one: true; false after `ms`. */
bool kb_issuer_wait(struct kb_issuer *i, uint64_t generation, int64_t ms);

/* ---- cache of verified tokens ------------------------------------------ */

/*
 * Bounded map from whole token to a user's value, one a thread. Found by
 * SipHash of their end and full compare; an entry lives until min(exp, 60 s) or
 * until the generation changes. Negative entries are kept 10 s, in a table of
 * their own (a quarter of the size), so that a flood of them evicts no good
 * one. Tokens take at most 1 KiB × entries. A value stays valid until the next
 * call on the cache: copy it, or keep a reference of your own.
 */
struct kb_token_cache;

struct kb_token_cache *
kb_token_cache_new(size_t entries, void (*free_value)(void *));
void kb_token_cache_free(struct kb_token_cache *c);
enum kb_cached { KB_CACHE_MISS, KB_CACHE_HIT, KB_CACHE_REFUSED };
enum kb_cached kb_token_cache_get(struct kb_token_cache *c, const char *token,
    size_t len, uint64_t generation, void **value);
/* value NULL: a refused token. Takes over the value. */
void kb_token_cache_put(struct kb_token_cache *c, const char *token, size_t len,
    uint64_t generation, int64_t expires_s, void *value);

#endif
