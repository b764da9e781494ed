/* OAuth2 over the network: a code for a token, a token for a person. */
#include <string.h>

#include <kombi/fetch.h>
#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "auth_provider.h"

#define TIMEOUT_MS 15000
#define LEEWAY_S 60

struct exchange {
	struct api *api;
	const struct oauth2_code *code;
	struct provider p;
	struct person *out;
	const char *id_token;
};

static struct kb_arena *
arena_of(const struct exchange *x)
{
	return x->api->req->cx.arena;
}

/* A tenant of a shared instance does not reach what is behind it. */
static enum kb_fetch_reach
reach_of(const struct exchange *x)
{
	const struct kb_common_config *c = kb_app(x->api->req)->common;

	return c->environment == KB_ENV_DEVELOPMENT ||
		c->mode == KB_MODE_SELF_HOSTED
	    ? KB_REACH_INTERNAL
	    : KB_REACH_GLOBAL;
}

/* A JSON object of status 200, or NULL. */
static const struct kb_json *
ask(const struct exchange *x, struct kb_fetch *f)
{
	const struct kb_json *j;
	struct kb_fetched got;
	const char *why;

	f->reach = reach_of(x);
	f->timeout_ms = TIMEOUT_MS;
	f->request_id = x->api->req->id;
	if (kb_fetch(arena_of(x), x->api->req->cx.log, f, &got) ||
	    got.status < 200 || got.status > 299 ||
	    kb_json_parse(arena_of(x), got.body, got.len, &j, &why))
		return NULL;
	return j;
}

/* ---- the token
 * ---------------------------------------------------------------------------
 */

static void
add(struct kb_buf *b, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	kb_buf_addf(b, "%s%s=", b->len > 0 ? "&" : "", name);
	kb_percent_encode(b, value, "");
}

static const char *
basic(const struct exchange *x)
{
	const struct oauth2_provider *conf = x->code->conf;
	struct kb_buf b;
	const char *out;

	kb_buf_init(&b, 16384);
	kb_percent_encode(&b, conf->client_id, "");
	kb_buf_addc(&b, ':');
	kb_percent_encode(&b, conf->client_secret, "");
	out = kb_sprintf(arena_of(x), "Authorization: Basic %s",
	    kb_base64(arena_of(x), b.ptr, b.len));
	kb_buf_free(&b);
	return out;
}

/* Both ways of RFC 6749 section 2.3.1 are in use. */
static const struct kb_json *
ask_token(const struct exchange *x, bool in_header)
{
	const char *headers[] = { "Accept: application/json",
		in_header ? basic(x) : NULL, NULL };
	const struct kb_json *j;
	struct kb_buf b;

	kb_buf_init(&b, 65536);
	add(&b, "grant_type", "authorization_code");
	add(&b, "code", x->code->code);
	add(&b, "redirect_uri", x->code->redirect);
	if (x->p.pkce)
		add(&b, "code_verifier", x->code->verifier);
	if (!in_header) {
		add(&b, "client_id", x->code->conf->client_id);
		add(&b, "client_secret", x->code->conf->client_secret);
	}
	j = ask(x,
	    &(struct kb_fetch) {
		.method = "POST",
		.url = x->p.token_url,
		.headers = headers,
		.body = kb_strdup(arena_of(x), kb_buf_str(&b)),
		.body_len = b.len,
		.content_type = "application/x-www-form-urlencoded",
	    });
	kb_buf_free(&b);
	return kb_json_str(j, "access_token") ? j : NULL;
}

static const char *
text_of(const struct kb_json *j, const char *name)
{
	return kb_json_str(j, name) ? kb_json_str(j, name) : "";
}

static bool
get_token(struct exchange *x)
{
	const struct kb_json *j = ask_token(x, true);
	int64_t life;

	if (j == NULL)
		j = ask_token(x, false);
	if (j == NULL)
		return false;
	x->out->access = text_of(j, "access_token");
	x->out->refresh = text_of(j, "refresh_token");
	x->id_token = text_of(j, "id_token");
	if (kb_json_int(j, "expires_in", &life) && life > 0)
		x->out->expires_s = kb_wall_s() + life;
	return true;
}

/* ---- the person
 * ------------------------------------------------------------------------ */

static bool
is_audience(const struct kb_json *claims, const char *client_id)
{
	const struct kb_json *aud = kb_json_get(claims, "aud");

	if (kb_json_text(aud) != NULL)
		return strcmp(kb_json_text(aud), client_id) == 0;
	for (aud = kb_json_first(aud); aud != NULL; aud = kb_json_after(aud))
		if (kb_str_eq(kb_json_text(aud), client_id))
			return true;
	return false;
}

static bool
is_issuer(
    const struct exchange *x, const struct kb_json *extra, const char *issuer)
{
	const struct kb_json *j = kb_json_get(extra, "issuers");

	if (strcmp(x->code->conf->name, "apple") == 0)
		return kb_str_eq(issuer, "https://appleid.apple.com");
	if (kb_json_size(j) == 0)
		return true;
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		if (kb_str_eq(kb_json_text(j), issuer))
			return true;
	return false;
}

/* The key set's word, where the configuration names one. */
static bool
is_signed(const struct exchange *x, const struct kb_json *extra)
{
	static const struct kb_jwt_rules rules = { .leeway_s = LEEWAY_S };
	const char *url = kb_json_str(extra, "jwksURL"), *why;
	const struct kb_json *j;
	struct kb_jwks *keys;
	struct kb_jwt jwt;
	char *text;
	enum kb_err err;

	if (url == NULL || url[0] == '\0')
		return true;
	j = ask(x, &(struct kb_fetch) { .url = url });
	if (j == NULL)
		return false;
	text = kb_json_print(arena_of(x), j);
	if (kb_jwks_parse(text, strlen(text), &keys, &why))
		return false;
	err = kb_jwt_verify(
	    arena_of(x), kb_slice_of(x->id_token), keys, &rules, &jwt);
	kb_jwks_unref(keys);
	return err == KB_OK;
}

/*
 * Claims of the id token. It came from the token endpoint over TLS, which is
 * as good as a signature (OpenID Connect Core 3.1.3.7); without TLS there must
 * be one.
 */
static const struct kb_json *
id_claims(const struct exchange *x)
{
	const struct oauth2_provider *conf = x->code->conf;
	const struct kb_json *claims, *extra = NULL;
	const char *why;
	int64_t exp;

	if (conf->extra != NULL &&
	    kb_json_parse(
		arena_of(x), conf->extra, strlen(conf->extra), &extra, &why))
		return NULL;
	if (kb_jwt_peek(
		arena_of(x), x->id_token, strlen(x->id_token), &claims) ||
	    !kb_json_int(claims, "exp", &exp) || exp + LEEWAY_S < kb_wall_s() ||
	    !is_audience(claims, conf->client_id) ||
	    !is_issuer(x, extra, text_of(claims, "iss")) ||
	    !is_signed(x, extra))
		return NULL;
	return claims;
}

static const struct kb_json *
ask_user(const struct exchange *x, const char *url)
{
	struct kb_arena *a = arena_of(x);
	const char *more = x->p.header;
	const char *headers[4] = { "Accept: application/json",
		kb_sprintf(a, "Authorization: Bearer %s", x->out->access) };

	if (more != NULL)
		headers[2] = strchr(more, ':')
		    ? more
		    : kb_sprintf(a, "%s: %s", more, x->code->conf->client_id);
	return ask(x,
	    &(struct kb_fetch) {
		.method = x->p.query ? "POST" : "GET",
		.url = url,
		.headers = headers,
		.body = x->p.query,
		.body_len = x->p.query ? strlen(x->p.query) : 0,
	    });
}

/* The main address among several. */
static void
find_email(struct exchange *x)
{
	const struct kb_json *j = ask_user(x, x->p.emails_url);

	if (j == NULL || kb_json_kind(j) != KB_JSON_ARRAY)
		return;
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j)) {
		const char *email = text_of(j, "email");

		if (!kb_json_bool(j, "primary", false) ||
		    !kb_json_bool(j, "verified", false) || !kb_is_email(email))
			continue;
		x->out->email = email;
		x->out->verified = true;
		return;
	}
}

static bool
get_person(struct exchange *x)
{
	const struct kb_json *j = x->p.user_url[0] != '\0'
	    ? ask_user(x, x->p.user_url)
	    : id_claims(x);

	if (j == NULL || !person_read(arena_of(x), &x->p.paths, j, x->out))
		return false;
	if (x->out->email[0] == '\0' && x->p.emails_url != NULL)
		find_email(x);
	return true;
}

enum kb_err
oauth2_person(struct api *api, const struct oauth2_code *code,
    struct person *out, const char **why)
{
	struct exchange x = { .api = api, .code = code, .out = out };

	*out = (struct person) { .id = "" };
	*why = NULL;
	provider_fill(code->conf, &x.p);
	if (!get_token(&x))
		*why = "Failed to fetch OAuth2 token.";
	else if (!get_person(&x))
		*why = "Failed to fetch OAuth2 user.";
	return *why ? KB_INVALID : KB_OK;
}
