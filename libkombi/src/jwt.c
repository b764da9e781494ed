/*
 * Verifying a token: its shape, the key it names, the signature, and only
 * then what it claims. Every refusal is a constant text for the log; the
 * caller learns no more than "invalid".
 */
#include <assert.h>
#include <string.h>
#include <strings.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "crypto_jws.h"
#include "jwks.h"

/* A token taken apart; nothing in it is believed yet. */
struct parts {
	struct kb_slice signed_text; /* header "." payload as sent */
	struct kb_slice payload;     /* decoded */
	struct kb_slice sig;         /* decoded */
	const struct kb_json *header;
	enum kb_jwt_alg alg;
	const char *kid; /* NULL: none */
};

static const struct {
	const char *name;
	enum kb_jwt_alg alg;
} algs[] = {
	{ "RS256", KB_JWT_RS256 },
	{ "ES256", KB_JWT_ES256 },
	{ "HS256", KB_JWT_HS256 },
};

/* Members that bring a key, an extension or another format along. */
static const char *const refused_members[] = { "jku", "jwk", "x5u", "x5c",
	"crit", "b64", "zip", "cty", "enc", "epk" };

/* ---- structure -----------------------------------------------------------*/

static bool
decode(struct kb_arena *a, struct kb_slice text, struct kb_slice *out)
{
	char *bytes;
	long n;

	if (!text.len)
		return false;
	bytes = kb_arena_alloc(a, text.len * 3 / 4 + 3);
	n = kb_base64url_decode(text.ptr, text.len, bytes);
	if (n < 0)
		return false;
	*out = (struct kb_slice) { bytes, (size_t)n };
	return true;
}

static bool
parse_object(
    struct kb_arena *a, struct kb_slice text, const struct kb_json **out)
{
	const char *why;

	return kb_json_parse(a, text.ptr, text.len, out, &why) == KB_OK &&
	    kb_json_kind(*out) == KB_JSON_OBJECT;
}

/* Cuts at the two dots; false for any other number of them. */
static bool
cut(const char *token, size_t len, struct kb_slice part[3])
{
	struct kb_slice rest = { token, len };
	const char *dot;

	for (int i = 0; i < 2; i++) {
		dot = rest.len ? memchr(rest.ptr, '.', rest.len) : NULL;
		if (!dot)
			return false;
		part[i] = (struct kb_slice) { rest.ptr,
			(size_t)(dot - rest.ptr) };
		rest.len -= part[i].len + 1;
		rest.ptr = dot + 1;
	}
	part[2] = rest;
	return rest.len && !memchr(rest.ptr, '.', rest.len);
}

static bool
read_alg(const struct kb_json *header, enum kb_jwt_alg *out)
{
	const char *alg = kb_json_str(header, "alg");

	for (size_t i = 0; alg && i < KB_COUNT(algs); i++)
		if (strcmp(algs[i].name, alg) == 0) {
			*out = algs[i].alg;
			return true;
		}
	*out = KB_JWT_OTHER;
	return alg && kb_jws_alg_known(alg);
}

static const char *
read_header(struct parts *p)
{
	const struct kb_json *kid = kb_json_get(p->header, "kid");
	const struct kb_json *typ = kb_json_get(p->header, "typ");

	for (size_t i = 0; i < KB_COUNT(refused_members); i++)
		if (kb_json_get(p->header, refused_members[i]))
			return "header has a member that is not allowed";
	if (!read_alg(p->header, &p->alg))
		return "alg is not allowed";
	if (typ && !kb_json_text(typ))
		return "typ is not a string";
	if (!kid)
		return NULL;
	p->kid = kb_json_text(kid);
	if (!p->kid || !*p->kid || strlen(p->kid) > KB_KID_MAX)
		return "kid is not a short string";
	return NULL;
}

static const char *
take_apart(struct kb_arena *a, const char *token, size_t len, struct parts *p)
{
	struct kb_slice part[3], header;

	memset(p, 0, sizeof(*p));
	if (len > KB_JWT_MAX)
		return "token is too long";
	if (!cut(token, len, part))
		return "not three parts";
	p->signed_text = (struct kb_slice) { token,
		(size_t)(part[2].ptr - token) - 1 };
	if (!decode(a, part[0], &header) || !decode(a, part[1], &p->payload) ||
	    !decode(a, part[2], &p->sig))
		return "not base64url";
	if (!parse_object(a, header, &p->header))
		return "header is not a JSON object";
	return read_header(p);
}

/* ---- claims --------------------------------------------------------------*/

/* False if present and no integer; *out stays when absent. */
static bool
time_claim(const struct kb_json *claims, const char *name, int64_t *out)
{
	const struct kb_json *j = kb_json_get(claims, name);

	return !j || kb_json_integer(j, out);
}

static const char *
check_times(const struct kb_json *claims, const struct kb_jwt_rules *rules,
    struct kb_jwt *out)
{
	int64_t now = kb_wall_s(), not_before = 0;

	if (!kb_json_get(claims, "exp"))
		return "exp is missing";
	if (!time_claim(claims, "exp", &out->expires) ||
	    !time_claim(claims, "nbf", &not_before) ||
	    !time_claim(claims, "iat", &out->issued_at))
		return "exp, nbf or iat is not an integer";
	if (out->expires <= now - rules->leeway_s)
		return "expired";
	if (not_before > now + rules->leeway_s)
		return "not valid yet";
	if (out->issued_at > now + rules->leeway_s)
		return "issued in the future";
	if (rules->max_life_s &&
	    out->expires > now + rules->max_life_s + rules->leeway_s)
		return "lives too long";
	return NULL;
}

static bool
is_one_of(const char *s, const char *const *list)
{
	for (; s && *list; list++)
		if (strcmp(s, *list) == 0)
			return true;
	return false;
}

/* RFC 7519 4.1.3: a string or an array of strings, nothing else in it. */
static bool
audience_holds(const struct kb_json *aud, const char *const *allowed)
{
	bool found = false;

	if (!aud)
		return false;
	if (kb_json_kind(aud) != KB_JSON_ARRAY)
		return is_one_of(kb_json_text(aud), allowed);
	for (const struct kb_json *j = kb_json_first(aud); j;
	     j = kb_json_after(j)) {
		if (!kb_json_text(j))
			return false;
		found |= is_one_of(kb_json_text(j), allowed);
	}
	return found;
}

/* RFC 9068 section 4; media types ignore case (RFC 7515 4.1.9). */
static bool
typ_is_access_token(const struct kb_json *header)
{
	static const char *const good[] = { "JWT", "at+jwt",
		"application/at+jwt" };
	const char *typ = kb_json_str(header, "typ");

	for (size_t i = 0; typ && i < KB_COUNT(good); i++)
		if (strcasecmp(typ, good[i]) == 0)
			return true;
	return !typ;
}

static const char *
check_claims(struct kb_arena *a, const struct parts *p,
    const struct kb_jwt_rules *rules, struct kb_jwt *out)
{
	const struct kb_json *claims;

	if (rules->typ_at_jwt && !typ_is_access_token(p->header))
		return "typ is of another kind of token";
	if (!parse_object(a, p->payload, &claims))
		return "claims are not a JSON object";
	out->header = p->header;
	out->claims = claims;
	out->issuer = kb_json_str(claims, "iss");
	out->subject = kb_json_str(claims, "sub");
	if (kb_json_get(claims, "iss") && !out->issuer)
		return "iss is not a string";
	if (kb_json_get(claims, "sub") && !out->subject)
		return "sub is not a string";
	if (rules->issuer && !kb_str_eq(out->issuer, rules->issuer))
		return "iss is another issuer";
	if (rules->audience &&
	    !audience_holds(kb_json_get(claims, "aud"), rules->audience))
		return "aud does not name us";
	return check_times(claims, rules, out);
}

/* ---- verifying -----------------------------------------------------------*/

static enum kb_err
verdict(const char *problem, struct kb_jwt *out)
{
	if (!problem)
		return KB_OK;
	*out = (struct kb_jwt) {
		.why = problem,
		.unknown_kid = out->unknown_kid,
	};
	return KB_AUTH_INVALID;
}

static const char *
check_signature(const struct parts *p, const struct kb_pubkey *key)
{
	static const enum kb_jwt_alg alg_of_kind[] = {
		[KB_PUBKEY_RSA] = KB_JWT_RS256,
		[KB_PUBKEY_P256] = KB_JWT_ES256,
	};

	if (p->alg != alg_of_kind[kb_pubkey_kind(key)])
		return "alg is not the key's";
	if (!kb_pubkey_verify(key, p->signed_text.ptr, p->signed_text.len,
		(const unsigned char *)p->sig.ptr, p->sig.len))
		return "bad signature";
	return NULL;
}

enum kb_err
kb_jwt_verify(struct kb_arena *a, struct kb_slice token, struct kb_jwks *keys,
    const struct kb_jwt_rules *rules, struct kb_jwt *out)
{
	const struct kb_pubkey *key;
	const char *problem;
	struct parts p;

	*out = (struct kb_jwt) { .why = keys ? NULL : "no keys" };
	if (!keys)
		return KB_UNAVAILABLE;
	problem = take_apart(a, token.ptr, token.len, &p);
	if (problem)
		return verdict(problem, out);
	key = kb_jwks_find(keys, p.kid);
	if (!key) {
		/* No issuer's key will ever carry HS256: not worth a fetch. */
		out->unknown_kid = p.kid &&
		    (p.alg == KB_JWT_RS256 || p.alg == KB_JWT_ES256);
		return verdict("no such key", out);
	}
	problem = check_signature(&p, key);
	if (!problem)
		problem = check_claims(a, &p, rules, out);
	return verdict(problem, out);
}

enum kb_err
kb_jwt_verify_hs256(struct kb_arena *a, struct kb_slice token,
    struct kb_slice key, const struct kb_jwt_rules *rules, struct kb_jwt *out)
{
	unsigned char mac[KB_SHA256_SIZE];
	const char *problem;
	struct parts p;

	*out = (struct kb_jwt) { .why = NULL };
	if (!key.len)
		return verdict("empty key", out);
	problem = take_apart(a, token.ptr, token.len, &p);
	if (problem)
		return verdict(problem, out);
	if (p.alg != KB_JWT_HS256)
		return verdict("alg is not the key's", out);
	kb_hmac_sha256(
	    key.ptr, key.len, p.signed_text.ptr, p.signed_text.len, mac);
	if (p.sig.len != sizeof(mac) ||
	    !kb_equal_ct(mac, p.sig.ptr, sizeof(mac)))
		return verdict("bad signature", out);
	return verdict(check_claims(a, &p, rules, out), out);
}

enum kb_err
kb_jwt_verify_by(struct kb_arena *a, struct kb_slice token,
    const struct kb_jws_key *key, const struct kb_jwt_rules *rules,
    struct kb_jwt *out)
{
	const char *problem;
	struct parts p;

	*out = (struct kb_jwt) { .why = NULL };
	problem = take_apart(a, token.ptr, token.len, &p);
	if (problem)
		return verdict(problem, out);
	if (!kb_str_eq(kb_json_str(p.header, "alg"), kb_jws_key_alg(key)))
		return verdict("alg is not the key's", out);
	if (!kb_jws_key_verify(key, p.signed_text.ptr, p.signed_text.len,
		(const unsigned char *)p.sig.ptr, p.sig.len))
		return verdict("bad signature", out);
	return verdict(check_claims(a, &p, rules, out), out);
}

enum kb_err
kb_jwt_peek_header(struct kb_arena *a, const char *token, size_t len,
    const struct kb_json **header)
{
	struct kb_slice part[3], text;

	if (len > KB_JWT_MAX || !cut(token, len, part) ||
	    !decode(a, part[0], &text) || !parse_object(a, text, header))
		return KB_INVALID;
	return KB_OK;
}

enum kb_err
kb_jwt_peek(struct kb_arena *a, const char *token, size_t len,
    const struct kb_json **claims)
{
	struct kb_slice part[3], payload;

	if (len > KB_JWT_MAX || !cut(token, len, part) ||
	    !decode(a, part[1], &payload) || !parse_object(a, payload, claims))
		return KB_INVALID;
	return KB_OK;
}

/* ---- signing -------------------------------------------------------------*/

static char *
header_text(struct kb_arena *a, const char *kid)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	char *text;

	kb_buf_init(&buf, KB_JWT_MAX);
	kb_w_init(&w, &buf);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "alg", "HS256");
	kb_w_str(&w, "typ", "JWT");
	kb_w_opt(&w, "kid", kid);
	kb_w_object_end(&w);
	text = kb_base64url(a, buf.ptr, buf.len);
	kb_buf_free(&buf);
	return text;
}

char *
kb_jwt_sign_hs256(struct kb_arena *a, const char *claims, const char *kid,
    const void *key, size_t key_len)
{
	unsigned char mac[KB_SHA256_SIZE];
	char *text = kb_sprintf(a, "%s.%s", header_text(a, kid),
	    kb_base64url(a, claims, strlen(claims)));

	assert(key_len);
	kb_hmac_sha256(key, key_len, text, strlen(text), mac);
	return kb_sprintf(a, "%s.%s", text, kb_base64url(a, mac, sizeof(mac)));
}
