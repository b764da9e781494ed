/*
 * A key set (RFC 7517) becomes an immutable table of checked public keys.
 * What is not usable for verifying is left out, so that one odd entry of an
 * issuer does not lock everybody out.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "jwks.h"

#define TEXT_MAX ((size_t)256 * 1024)
#define KEYS_MAX 64
#define NUMBER_MAX 1024 /* base64url characters of a member of a key */

struct entry {
	char *kid; /* NULL: the key has none */
	struct kb_pubkey *key;
	bool ambiguous;
};

struct kb_jwks {
	atomic_uint refs;
	size_t n;
	struct entry entries[KEYS_MAX];
};

static struct kb_jwks *
jwks_new(void)
{
	struct kb_jwks *k = kb_xalloc(sizeof(*k));

	atomic_init(&k->refs, 1);
	return k;
}

struct kb_jwks *
kb_jwks_ref(struct kb_jwks *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void
kb_jwks_unref(struct kb_jwks *k)
{
	if (!k ||
	    atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < k->n; i++) {
		free(k->entries[i].kid);
		kb_pubkey_free(k->entries[i].key);
	}
	free(k);
}

size_t
kb_jwks_count(const struct kb_jwks *k)
{
	return k->n;
}

const struct kb_pubkey *
kb_jwks_find(const struct kb_jwks *k, const char *kid)
{
	if (k->n == 1 && (!kid || !k->entries[0].kid))
		return k->entries[0].key;
	for (size_t i = 0; kid && i < k->n; i++)
		if (k->entries[i].kid && strcmp(k->entries[i].kid, kid) == 0)
			return k->entries[i].key;
	return NULL;
}

bool
kb_jwks_has(const struct kb_jwks *k, const char *kid)
{
	return kid && kb_jwks_find(k, kid);
}

/* ---- one key -------------------------------------------------------------*/

static bool
number(struct kb_arena *a, const struct kb_json *jwk, const char *name,
    struct kb_slice *out)
{
	const char *text = kb_json_str(jwk, name);
	size_t len = text ? strlen(text) : 0;
	char *bytes;
	long n;

	if (!len || len > NUMBER_MAX)
		return false;
	bytes = kb_arena_alloc(a, len * 3 / 4 + 3);
	n = kb_base64url_decode(text, len, bytes);
	if (n <= 0)
		return false;
	*out = (struct kb_slice) { bytes, (size_t)n };
	return true;
}

static bool
is_absent_or(const struct kb_json *jwk, const char *name, const char *want)
{
	return !kb_json_get(jwk, name) ||
	    kb_str_eq(kb_json_str(jwk, name), want);
}

static bool
may_verify(const struct kb_json *jwk)
{
	const struct kb_json *ops = kb_json_get(jwk, "key_ops");

	if (!is_absent_or(jwk, "use", "sig"))
		return false;
	if (!ops)
		return true;
	for (const struct kb_json *op = kb_json_first(ops); op;
	     op = kb_json_after(op))
		if (kb_str_eq(kb_json_text(op), "verify"))
			return true;
	return false;
}

/* A key whose private half was published can be used by anybody. */
static bool
is_private(const struct kb_json *jwk)
{
	static const char *const names[] = { "d", "p", "q", "dp", "dq", "qi",
		"oth", "k" };

	for (size_t i = 0; i < KB_COUNT(names); i++)
		if (kb_json_get(jwk, names[i]))
			return true;
	return false;
}

static struct kb_pubkey *
public_key(struct kb_arena *a, const struct kb_json *jwk)
{
	const char *kty = kb_json_str(jwk, "kty"), *why;
	struct kb_slice first, second;

	if (kb_str_eq(kty, "RSA")) {
		if (!is_absent_or(jwk, "alg", "RS256") ||
		    !number(a, jwk, "n", &first) ||
		    !number(a, jwk, "e", &second))
			return NULL;
		return kb_pubkey_rsa(first, second, &why);
	}
	if (kb_str_eq(kty, "EC")) {
		if (!is_absent_or(jwk, "alg", "ES256") ||
		    !kb_str_eq(kb_json_str(jwk, "crv"), "P-256") ||
		    !number(a, jwk, "x", &first) ||
		    !number(a, jwk, "y", &second))
			return NULL;
		return kb_pubkey_p256(first, second, &why);
	}
	return NULL;
}

/* ---- the set -------------------------------------------------------------*/

static void
add(struct kb_arena *a, struct kb_jwks *set, const struct kb_json *jwk)
{
	const char *kid = kb_json_str(jwk, "kid");
	struct entry *e = &set->entries[set->n];

	if (kb_json_kind(jwk) != KB_JSON_OBJECT || !may_verify(jwk) ||
	    is_private(jwk))
		return;
	if (kb_json_get(jwk, "kid") &&
	    (!kid || !*kid || strlen(kid) > KB_KID_MAX))
		return;
	e->key = public_key(a, jwk);
	if (!e->key)
		return;
	e->kid = kid ? kb_xstrdup(kid) : NULL;
	set->n++;
}

static void
drop(struct kb_jwks *set, size_t i)
{
	free(set->entries[i].kid);
	kb_pubkey_free(set->entries[i].key);
	set->n--;
	memmove(&set->entries[i], &set->entries[i + 1],
	    (set->n - i) * sizeof(set->entries[0]));
	memset(&set->entries[set->n], 0, sizeof(set->entries[0]));
}

static bool
same_key(const struct entry *x, const struct entry *y)
{
	return memcmp(kb_pubkey_print(x->key), kb_pubkey_print(y->key),
		   KB_SHA256_SIZE) == 0;
}

/*
 * One name for two different keys: nobody can say which is meant, so neither
 * counts. The same key twice counts once.
 */
static void
drop_ambiguous(struct kb_jwks *set)
{
	for (size_t i = 0; i < set->n; i++)
		for (size_t j = i + 1; j < set->n;) {
			struct entry *x = &set->entries[i];
			struct entry *y = &set->entries[j];

			if (!kb_str_eq(x->kid, y->kid)) {
				j++;
			} else if (same_key(x, y)) {
				drop(set, j);
			} else {
				x->ambiguous = y->ambiguous = true;
				j++;
			}
		}
	for (size_t i = set->n; i-- > 0;)
		if (set->entries[i].ambiguous)
			drop(set, i);
}

static void
drop_nameless(struct kb_jwks *set)
{
	if (set->n < 2)
		return;
	for (size_t i = set->n; i-- > 0;)
		if (!set->entries[i].kid)
			drop(set, i);
}

static const char *
fill(struct kb_arena *a, struct kb_jwks *set, const char *text, size_t len)
{
	const struct kb_json *doc, *keys;
	const char *why;

	if (len > TEXT_MAX)
		return "key set over 256 KiB";
	if (kb_json_parse(a, text, len, &doc, &why))
		return "key set is not JSON";
	keys = kb_json_get(doc, "keys");
	if (!keys || kb_json_kind(keys) != KB_JSON_ARRAY)
		return "key set has no array \"keys\"";
	if (kb_json_size(keys) > KEYS_MAX)
		return "key set has more than 64 keys";

	for (const struct kb_json *jwk = kb_json_first(keys); jwk;
	     jwk = kb_json_after(jwk))
		add(a, set, jwk);
	drop_nameless(set);
	drop_ambiguous(set);
	return set->n ? NULL : "key set has no usable key";
}

enum kb_err
kb_jwks_parse(
    const char *text, size_t len, struct kb_jwks **out, const char **why)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwks *set = jwks_new();
	const char *problem = fill(a, set, text, len);

	kb_arena_free(a);
	if (problem) {
		kb_jwks_unref(set);
		*why = problem;
		return KB_INVALID;
	}
	*out = set;
	return KB_OK;
}

enum kb_err
kb_jwks_from_pem(const char *pem, const char *kid, struct kb_jwks **out)
{
	const char *why;
	struct kb_pubkey *key = kb_pubkey_pem(pem, &why);
	struct kb_jwks *set;

	if (!key)
		return KB_INVALID;
	set = jwks_new();
	set->entries[0] = (struct entry) {
		.kid = kid ? kb_xstrdup(kid) : NULL,
		.key = key,
	};
	set->n = 1;
	*out = set;
	return KB_OK;
}
