/*
 * What is asked of an issuer for browsers: its discovery document, tokens for
 * a code or a refresh token, userinfo, revocation. Everything here blocks and
 * runs on the threads that loops have for it (loop_ask).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/fetch.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "oidc_inside.h"

enum {
	CLIENTS_MAX = 32,
	CALL_MS = 5000,
	ANSWER_MAX = 256 * 1024,
	DISCOVERY_S = 3600,
	DISCOVERY_RETRY_S = 2,
	TOKEN_MAX = 16 * 1024,
	IAT_LEEWAY_S = 300,
};

/* On the main thread while loading; like verifiers they stay. */
static struct {
	struct oidc_client *v[CLIENTS_MAX];
	size_t n;
} all;

/* ---- clients ------------------------------------------------------------- */

static bool
same_list(const struct strs *a, const struct strs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!kb_str_eq(a->v[i], b->v[i]))
			return false;
	return true;
}

static bool
same_conf(const struct oidc_client_conf *a, const struct oidc_client_conf *b)
{
	return kb_str_eq(a->issuer, b->issuer) &&
	    kb_str_eq(a->jwks_url, b->jwks_url) &&
	    kb_str_eq(a->client_id, b->client_id) &&
	    kb_str_eq(a->client_secret, b->client_secret) &&
	    a->auth == b->auth && same_list(&a->audience, &b->audience) &&
	    kb_str_eq(a->scopes, b->scopes) && a->userinfo == b->userinfo &&
	    a->leeway_s == b->leeway_s &&
	    memcmp(&a->seal, &b->seal, sizeof(a->seal)) == 0;
}

static struct strs
copy_list(const struct strs *list)
{
	const char **v = kb_xalloc((list->n + 1) * sizeof(*v));

	for (size_t i = 0; i < list->n; i++)
		v[i] = kb_xstrdup(list->v[i]);
	v[list->n] = NULL;
	return (struct strs) { .v = v, .n = list->n };
}

static struct oidc_client *
client_new(const struct oidc_client_conf *conf)
{
	struct oidc_client *c = kb_xalloc(sizeof(*c));

	memset(c, 0, sizeof(*c));
	c->conf = *conf;
	c->conf.issuer = kb_xstrdup(conf->issuer);
	c->conf.client_id = kb_xstrdup(conf->client_id);
	if (conf->jwks_url)
		c->conf.jwks_url = kb_xstrdup(conf->jwks_url);
	if (conf->client_secret)
		c->conf.client_secret = kb_xstrdup(conf->client_secret);
	c->conf.scopes = kb_xstrdup(conf->scopes);
	c->conf.audience = copy_list(&conf->audience);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->fetching, NULL);
	return c;
}

struct oidc_client *
oidc_client_get(const struct oidc_client_conf *conf)
{
	struct verifier_conf keys = {
		.issuer = conf->issuer,
		.jwks_url = conf->jwks_url,
		.leeway_s = conf->leeway_s,
	};
	struct oidc_client *c = NULL;

	for (size_t i = 0; i < all.n && c == NULL; i++)
		if (same_conf(&all.v[i]->conf, conf))
			c = all.v[i];
	if (c == NULL && all.n == CLIENTS_MAX)
		return NULL;
	if (c == NULL)
		c = all.v[all.n++] = client_new(conf);
	/* Asked for at every load: it stays in use. */
	c->verifier = verifier_get(&keys);
	if (c->verifier)
		verifier_stay(c->verifier); /* as we do */
	return c->verifier ? c : NULL;
}

void
oidc_clients_stop(void)
{
	for (size_t i = 0; i < all.n; i++) {
		struct oidc_client *c = all.v[i];
		char *secret = (char *)(uintptr_t)c->conf.client_secret;

		if (secret)
			kb_wipe(secret, strlen(secret));
		free(secret);
		free((char *)(uintptr_t)c->conf.issuer);
		free((char *)(uintptr_t)c->conf.jwks_url);
		free((char *)(uintptr_t)c->conf.client_id);
		free((char *)(uintptr_t)c->conf.scopes);
		for (size_t j = 0; j < c->conf.audience.n; j++)
			free((char *)(uintptr_t)c->conf.audience.v[j]);
		free((void *)(uintptr_t)c->conf.audience.v);
		kb_arena_free(c->arena);
		pthread_mutex_destroy(&c->lock);
		pthread_mutex_destroy(&c->fetching);
		kb_wipe(&c->conf.seal, sizeof(c->conf.seal));
		free(c);
	}
	all.n = 0;
}

const struct oidc_client_conf *
oidc_client_conf(const struct oidc_client *c)
{
	return &c->conf;
}

/* ---- fetching ------------------------------------------------------------ */

static enum kb_fetch_reach
reach(void)
{
	return verifiers_private() ? KB_REACH_INTERNAL : KB_REACH_GLOBAL;
}

/* KB_OK: any answer that is a JSON object; *status is its own. */
static enum kb_err
fetch_json(struct kb_arena *a, struct kb_fetch *f, int *status,
    const struct kb_json **out)
{
	struct kb_fetched got = { 0 };
	enum kb_err err;
	const char *why;

	f->reach = reach();
	f->timeout_ms = CALL_MS;
	f->max_answer = ANSWER_MAX;
	*out = NULL;
	err = kb_fetch(a, NULL, f, &got);
	if (err)
		return err == KB_TIMEOUT ? err : KB_UNAVAILABLE;
	*status = got.status;
	if (kb_json_parse(a, got.body, got.len, out, &why) ||
	    kb_json_kind(*out) != KB_JSON_OBJECT)
		return KB_BAD_GATEWAY;
	return KB_OK;
}

/* ---- discovery ----------------------------------------------------------- */

/* An endpoint that we may use: https, or http where private is allowed. */
static const char *
endpoint(const struct kb_json *doc, const char *name)
{
	const char *url = kb_json_str(doc, name);

	if (url == NULL || strlen(url) > 1000 ||
	    kb_has_control(url, strlen(url)) || strpbrk(url, " \"<>\\#"))
		return NULL;
	if (kb_str_starts(url, "https://") ||
	    (verifiers_private() && kb_str_starts(url, "http://")))
		return url;
	return NULL;
}

static void
keep_document(
    struct oidc_client *c, struct kb_arena *a, const struct kb_json *doc)
{
	struct kb_arena *old;

	pthread_mutex_lock(&c->lock);
	old = c->arena;
	c->arena = a;
	c->endpoints = (struct endpoints) {
		.authorization = endpoint(doc, "authorization_endpoint"),
		.token = endpoint(doc, "token_endpoint"),
		.userinfo = endpoint(doc, "userinfo_endpoint"),
		.end_session = endpoint(doc, "end_session_endpoint"),
		.revocation = endpoint(doc, "revocation_endpoint"),
	};
	c->known_s = kb_mono_ms() / 1000;
	pthread_mutex_unlock(&c->lock);
	kb_arena_free(old);
}

static enum kb_err
fetch_document(struct oidc_client *c)
{
	struct kb_arena *a = kb_arena_new(0);
	const struct kb_json *doc;
	size_t len = strlen(c->conf.issuer);
	struct kb_fetch f = { .retries = 1 };
	enum kb_err err;
	int status = 0;

	while (len && c->conf.issuer[len - 1] == '/')
		len--;
	f.url = kb_sprintf(a, "%.*s/.well-known/openid-configuration", (int)len,
	    c->conf.issuer);
	err = fetch_json(a, &f, &status, &doc);
	if (!err &&
	    (status != 200 ||
		!kb_str_eq(kb_json_str(doc, "issuer"), c->conf.issuer) ||
		endpoint(doc, "authorization_endpoint") == NULL ||
		endpoint(doc, "token_endpoint") == NULL))
		err = KB_BAD_GATEWAY;
	if (err) {
		kb_warn(NULL, "the issuer cannot be discovered",
		    KB_S("issuer", c->conf.issuer),
		    KB_S("error", kb_err_code(err)));
		kb_arena_free(a);
		return err;
	}
	keep_document(c, a, doc);
	return KB_OK;
}

/* Locks; true when a document is there, *fresh when it is young. */
static bool
look(struct oidc_client *c, bool *fresh)
{
	bool there;

	pthread_mutex_lock(&c->lock);
	there = c->arena != NULL;
	*fresh = there && kb_mono_ms() / 1000 - c->known_s < DISCOVERY_S;
	pthread_mutex_unlock(&c->lock);
	return there;
}

enum kb_err
oidc_discover(struct oidc_client *c)
{
	enum kb_err err = KB_OK;
	bool fresh;

	look(c, &fresh);
	if (fresh)
		return KB_OK;
	pthread_mutex_lock(&c->fetching);
	/* Somebody else may have fetched, or failed, just now. */
	look(c, &fresh);
	if (!fresh && kb_mono_ms() / 1000 - c->failed_s >= DISCOVERY_RETRY_S)
		err = fetch_document(c);
	else if (!fresh)
		err = KB_UNAVAILABLE;
	if (err && !fresh && err != KB_UNAVAILABLE)
		c->failed_s = kb_mono_ms() / 1000;
	pthread_mutex_unlock(&c->fetching);
	/* An old one is better than none. */
	return err && look(c, &fresh) ? KB_OK : err;
}

bool
oidc_endpoints(struct oidc_client *c, struct kb_arena *a, struct endpoints *out)
{
	bool there;

	pthread_mutex_lock(&c->lock);
	there = c->arena != NULL;
	if (there)
		*out = (struct endpoints) {
			.authorization = kb_strdup(
			    a, c->endpoints.authorization),
			.token = kb_strdup(a, c->endpoints.token),
			.userinfo = kb_strdup(a, c->endpoints.userinfo),
			.end_session = kb_strdup(a, c->endpoints.end_session),
			.revocation = kb_strdup(a, c->endpoints.revocation),
		};
	pthread_mutex_unlock(&c->lock);
	return there;
}

/* ---- the token endpoint -------------------------------------------------- */

static void
form_add(struct kb_buf *b, const char *name, const char *value)
{
	kb_buf_adds(b, b->len ? "&" : "");
	kb_buf_adds(b, name);
	kb_buf_addc(b, '=');
	kb_percent_encode(b, value, "");
}

/* The client's own proof: a header, members of the form, or its name alone
 * (RFC 6749 2.3.1: both are form-encoded before they go into Basic). */
static const char *
authenticate(const struct oidc_client_conf *conf, struct kb_arena *a,
    struct kb_buf *form)
{
	struct kb_buf pair;
	char *line;

	if (conf->auth != AUTH_BASIC) {
		form_add(form, "client_id", conf->client_id);
		if (conf->auth == AUTH_POST)
			form_add(form, "client_secret", conf->client_secret);
		return NULL;
	}
	kb_buf_init(&pair, 8192);
	kb_percent_encode(&pair, conf->client_id, "");
	kb_buf_addc(&pair, ':');
	kb_percent_encode(&pair, conf->client_secret, "");
	line = kb_sprintf(
	    a, "Authorization: Basic %s", kb_base64(a, pair.ptr, pair.len));
	kb_wipe(pair.ptr, pair.len);
	kb_buf_free(&pair);
	return line;
}

static enum kb_err
post_form(struct oidc_client *c, struct kb_arena *a, const char *url,
    struct kb_buf *form, int *status, const struct kb_json **out)
{
	const char *headers[3] = { "Accept: application/json", NULL, NULL };
	struct kb_fetch f = {
		.method = "POST",
		.url = url,
		.content_type = "application/x-www-form-urlencoded",
	};
	enum kb_err err;

	headers[1] = authenticate(&c->conf, a, form);
	f.headers = headers;
	f.body = kb_buf_str(form);
	f.body_len = form->len;
	err = fetch_json(a, &f, status, out);
	if (form->ptr)
		kb_wipe(form->ptr, form->len);
	kb_buf_free(form);
	return err;
}

/* ---- what comes back ----------------------------------------------------- */

/* RFC 7519 tokens have two dots; others are opaque to us. */
static bool
is_jwt(const char *token)
{
	const char *dot = strchr(token, '.');

	return strlen(token) <= KB_JWT_MAX && dot && strchr(dot + 1, '.');
}

/* OpenID Connect Core 3.1.3.6: left half of the hash of the access token. */
static bool
at_hash_agrees(
    struct kb_arena *a, const struct kb_json *claims, const char *access)
{
	const struct kb_json *j = kb_json_get(claims, "at_hash");
	unsigned char hash[KB_SHA256_SIZE];

	if (j == NULL)
		return true;
	kb_sha256(access, strlen(access), hash);
	return kb_json_text(j) != NULL &&
	    kb_str_eq(kb_json_text(j), kb_base64url(a, hash, sizeof(hash) / 2));
}

/* Core 3.1.3.7 point 4 and 5. */
static bool
azp_agrees(const struct kb_json *claims, const char *client_id)
{
	const struct kb_json *aud = kb_json_get(claims, "aud");
	const struct kb_json *azp = kb_json_get(claims, "azp");

	if (azp != NULL)
		return kb_str_eq(kb_json_text(azp), client_id);
	return aud == NULL || kb_json_kind(aud) != KB_JSON_ARRAY ||
	    kb_json_size(aud) == 1;
}

static const char *
check_id_token(struct oidc_client *c, struct kb_arena *a, const char *nonce,
    const struct tokens *t, struct kb_jwt *jwt)
{
	const char *const audience[] = { c->conf.client_id, NULL };
	const struct kb_jwt_rules rules = {
		.issuer = c->conf.issuer,
		.audience = audience,
		.leeway_s = c->conf.leeway_s,
	};

	if (verifier_verify(
		c->verifier, a, kb_slice_of(t->id_token), &rules, jwt) != KB_OK)
		return jwt->why ? jwt->why : "id token cannot be verified";
	if (jwt->subject == NULL || jwt->issued_at == 0)
		return "id token without sub or iat";
	if (jwt->issued_at < kb_wall_s() - IAT_LEEWAY_S)
		return "id token is old";
	if (!azp_agrees(jwt->claims, c->conf.client_id))
		return "id token is another client's";
	if (nonce &&
	    !kb_str_equal_ct(kb_json_str(jwt->claims, "nonce")
		    ? kb_json_str(jwt->claims, "nonce")
		    : "",
		nonce))
		return "nonce of the id token is another one";
	if (!at_hash_agrees(a, jwt->claims, t->access))
		return "at_hash is not the access token's";
	return NULL;
}

const struct kb_json *
oidc_userinfo(struct oidc_client *c, struct kb_arena *a, const char *access,
    const char *sub)
{
	const struct kb_json *claims;
	struct endpoints e = { 0 };
	const char *headers[] = { "Accept: application/json",
		kb_sprintf(a, "Authorization: Bearer %s", access), NULL };
	struct kb_fetch f = { .headers = headers, .retries = 1 };
	int status = 0;

	if (oidc_discover(c) || !oidc_endpoints(c, a, &e) || !e.userinfo)
		return NULL;
	f.url = e.userinfo;
	if (fetch_json(a, &f, &status, &claims) || status != 200)
		return NULL;
	/* Core 5.3.2: of another subject it must not be used. */
	return kb_str_eq(kb_json_str(claims, "sub"), sub) ? claims : NULL;
}

/* ---- who that is --------------------------------------------------------- */

static void
fill(struct kb_identity *id, const struct kb_identity *from)
{
	static const enum kb_identity_field fields[] = { KB_ID_EMAIL,
		KB_ID_NAME };

	for (size_t i = 0; i < KB_COUNT(fields); i++)
		if (id->value[fields[i]] == NULL)
			id->value[fields[i]] = from->value[fields[i]];
}

/*
 * The same identity as a bearer of the access token would have; where that
 * is opaque, what the id token says. E-mail and name from wherever they are.
 */
static const char *
find_identity(struct oidc_client *c, struct kb_arena *a,
    const struct kb_jwt *id_token, struct tokens *t)
{
	const struct kb_jwt_rules rules = {
		.issuer = c->conf.issuer,
		.audience = c->conf.audience.v,
		.leeway_s = c->conf.leeway_s,
		.typ_at_jwt = true,
	};
	struct kb_identity of_id = { { NULL } };
	const struct kb_json *more = NULL;
	struct kb_jwt access = { .why = NULL };

	if (kb_identity_from_claims(a, id_token->claims, NULL, &of_id))
		return "a claim of the id token cannot stand in a header";
	t->identity = of_id;
	t->claims = t->id_token;
	if (is_jwt(t->access)) {
		if (verifier_verify(c->verifier, a, kb_slice_of(t->access),
			&rules, &access))
			return access.why ? access.why
					  : "access token is not for us";
		if (!kb_str_eq(access.subject, id_token->subject))
			return "access token is another subject's";
		if (kb_identity_from_claims(
			a, access.claims, NULL, &t->identity))
			return "a claim cannot stand in a header";
		t->claims = t->access;
		t->expires_s = access.expires;
	}
	fill(&t->identity, &of_id);
	if (c->conf.userinfo &&
	    (!t->identity.value[KB_ID_EMAIL] || !t->identity.value[KB_ID_NAME]))
		more = oidc_userinfo(c, a, t->access, id_token->subject);
	if (more && kb_identity_from_claims(a, more, NULL, &of_id) == KB_OK) {
		fill(&t->identity, &of_id);
		if (t->claims == t->id_token && !t->identity.value[KB_ID_ORG])
			t->identity = of_id;
	}
	return NULL;
}

static const char *
text_member(const struct kb_json *j, const char *name)
{
	const char *s = kb_json_str(j, name);

	return s && s[0] && strlen(s) <= TOKEN_MAX &&
		!kb_has_control(s, strlen(s))
	    ? s
	    : NULL;
}

static enum kb_err
read_tokens(
    struct kb_arena *a, const struct kb_json *j, int status, struct tokens *out)
{
	int64_t in_s = 0;

	if (status >= 500) {
		out->why = "token endpoint answered an error of its own";
		return KB_UNAVAILABLE;
	}
	if (status != 200) {
		const char *error = kb_json_str(j, "error");

		out->refused = kb_str_eq(error, "invalid_grant");
		out->why = kb_sprintf(a, "token endpoint refused: %.40s",
		    error && !kb_has_control(error, strlen(error)) ? error
								   : "?");
		return out->refused ? KB_AUTH_INVALID : KB_BAD_GATEWAY;
	}
	out->access = text_member(j, "access_token");
	out->id_token = text_member(j, "id_token");
	out->refresh = text_member(j, "refresh_token");
	if (out->access == NULL ||
	    !kb_str_eq(
		kb_str_lower(a,
		    kb_json_str(j, "token_type") ? kb_json_str(j, "token_type")
						 : ""),
		"bearer")) {
		out->why = "answer has no bearer token";
		return KB_BAD_GATEWAY;
	}
	if (kb_json_int(j, "expires_in", &in_s) && in_s > 0)
		out->expires_s = kb_wall_s() + in_s;
	return KB_OK;
}

static enum kb_err
ask_tokens(struct oidc_client *c, struct kb_arena *a, struct kb_buf *form,
    struct tokens *out)
{
	struct endpoints e = { 0 };
	const struct kb_json *j = NULL;
	int status = 0;
	enum kb_err err = oidc_discover(c);

	if (err || !oidc_endpoints(c, a, &e)) {
		kb_buf_free(form);
		out->why = "the issuer cannot be discovered";
		return err ? err : KB_UNAVAILABLE;
	}
	err = post_form(c, a, e.token, form, &status, &j);
	if (err) {
		out->why = "no good answer from the token endpoint";
		return status >= 500 ? KB_UNAVAILABLE : err;
	}
	return read_tokens(a, j, status, out);
}

/* A refreshed answer may come without an id token (Core 12.2): what counts is
 * the access token then, or, where that is opaque, what was known before. */
static enum kb_err
believe_access(struct oidc_client *c, struct kb_arena *a, struct tokens *out)
{
	const struct kb_jwt_rules rules = {
		.issuer = c->conf.issuer,
		.audience = c->conf.audience.v,
		.leeway_s = c->conf.leeway_s,
		.typ_at_jwt = true,
	};
	struct kb_jwt jwt = { .why = NULL };

	if (!is_jwt(out->access))
		return KB_OK;
	if (verifier_verify(
		c->verifier, a, kb_slice_of(out->access), &rules, &jwt) ||
	    kb_identity_from_claims(a, jwt.claims, NULL, &out->identity)) {
		out->why = jwt.why ? jwt.why : "access token is not for us";
		return KB_AUTH_INVALID;
	}
	out->claims = out->access;
	out->expires_s = jwt.expires;
	return KB_OK;
}

static enum kb_err
believe(struct oidc_client *c, struct kb_arena *a, const char *nonce,
    struct tokens *out)
{
	struct kb_jwt jwt = { .why = NULL };

	if (out->id_token == NULL)
		out->why = "answer has no id token";
	else
		out->why = check_id_token(c, a, nonce, out, &jwt);
	if (out->why == NULL)
		out->why = find_identity(c, a, &jwt, out);
	if (out->why)
		return KB_AUTH_INVALID;
	out->issued_s = jwt.issued_at;
	out->sid = text_member(jwt.claims, "sid");
	if (out->expires_s == 0)
		out->expires_s = jwt.expires;
	return KB_OK;
}

enum kb_err
oidc_redeem(struct oidc_client *c, struct kb_arena *a,
    const struct code_grant *g, struct tokens *out)
{
	struct kb_buf form;
	enum kb_err err;

	memset(out, 0, sizeof(*out));
	kb_buf_init(&form, 64 * 1024);
	form_add(&form, "grant_type", "authorization_code");
	form_add(&form, "code", g->code);
	form_add(&form, "redirect_uri", g->redirect_uri);
	form_add(&form, "code_verifier", g->verifier);
	err = ask_tokens(c, a, &form, out);
	return err ? err : believe(c, a, g->nonce, out);
}

enum kb_err
oidc_refresh(struct oidc_client *c, struct kb_arena *a, const char *refresh,
    const char *sub, struct tokens *out)
{
	struct kb_buf form;
	enum kb_err err;

	memset(out, 0, sizeof(*out));
	kb_buf_init(&form, 64 * 1024);
	form_add(&form, "grant_type", "refresh_token");
	form_add(&form, "refresh_token", refresh);
	err = ask_tokens(c, a, &form, out);
	if (!err)
		err = out->id_token ? believe(c, a, NULL, out)
				    : believe_access(c, a, out);
	if (!err && out->identity.value[KB_ID_USER] != NULL &&
	    !kb_str_eq(out->identity.value[KB_ID_USER], sub)) {
		out->why = "refreshed tokens are another subject's";
		err = KB_AUTH_INVALID;
	}
	/* It stays good where no new one came (RFC 6749 6). */
	if (!err && out->refresh == NULL)
		out->refresh = refresh;
	return err;
}

void
oidc_revoke(struct oidc_client *c, struct kb_arena *a, const char *token)
{
	struct endpoints e = { 0 };
	const struct kb_json *j;
	struct kb_buf form;
	int status = 0;

	if (oidc_discover(c) || !oidc_endpoints(c, a, &e) || !e.revocation)
		return;
	kb_buf_init(&form, 64 * 1024);
	form_add(&form, "token", token);
	form_add(&form, "token_type_hint", "refresh_token");
	/* The answer is empty when all went well: no JSON is no error. */
	(void)!post_form(c, a, e.revocation, &form, &status, &j);
	if (status != 200)
		kb_warn(NULL, "a refresh token could not be revoked",
		    KB_S("issuer", c->conf.issuer), KB_N("status", status));
}

/* ---- logout tokens ------------------------------------------------------- */

enum kb_err
logout_claims(const struct kb_json *claims, struct logout_token *out)
{
	static const char
	    event[] = "http://schemas.openid.net/event/backchannel-logout";
	const struct kb_json *happened = kb_json_get(
	    kb_json_get(claims, "events"), event);

	memset(out, 0, sizeof(*out));
	out->sub = text_member(claims, "sub");
	out->sid = text_member(claims, "sid");
	out->jti = text_member(claims, "jti");
	if (happened == NULL || kb_json_kind(happened) != KB_JSON_OBJECT)
		out->why = "logout token without its event";
	else if (kb_json_get(claims, "nonce"))
		out->why = "logout token with a nonce";
	else if (out->sub == NULL && out->sid == NULL)
		out->why = "logout token without sub and sid";
	else if (out->jti == NULL)
		out->why = "logout token without jti";
	else if (!kb_json_int(claims, "iat", &out->issued_s))
		out->why = "logout token without iat";
	else if (out->issued_s < kb_wall_s() - IAT_LEEWAY_S)
		out->why = "logout token is old";
	return out->why ? KB_AUTH_INVALID : KB_OK;
}

/* RFC 8725 3.11: an id token or an access token is none. */
static bool
typ_fits(const struct kb_json *header)
{
	const char *typ = kb_json_str(header, "typ");

	return typ == NULL || kb_slice_eqi(kb_slice_of(typ), "logout+jwt") ||
	    kb_slice_eqi(kb_slice_of(typ), "application/logout+jwt") ||
	    kb_slice_eqi(kb_slice_of(typ), "JWT");
}

enum kb_err
oidc_logout_token(struct oidc_client *c, struct kb_arena *a, const char *token,
    struct logout_token *out)
{
	const char *const audience[] = { c->conf.client_id, NULL };
	const struct kb_jwt_rules rules = {
		.issuer = c->conf.issuer,
		.audience = audience,
		.leeway_s = c->conf.leeway_s,
	};
	struct kb_jwt jwt = { .why = NULL };
	enum kb_err err = verifier_verify(
	    c->verifier, a, kb_slice_of(token), &rules, &jwt);

	memset(out, 0, sizeof(*out));
	if (err) {
		out->why = jwt.why;
		return err;
	}
	if (!typ_fits(jwt.header)) {
		out->why = "token of another kind";
		return KB_AUTH_INVALID;
	}
	return logout_claims(jwt.claims, out);
}
