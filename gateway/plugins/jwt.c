/*
 * jwt (Kong 3.9): a bearer token in the Authorization header, or in a
 * cookie where the file says so. Signed by the issuer (RS256 or ES256, keys
 * from its key set): what it says becomes the identity of the exchange. Or
 * by a consumer of the file (jwt_secrets): the caller is that consumer.
 */
#include <strings.h>

#include <kombi/str.h>

#include "gateway.h"

struct jwt {
	const char *issuer, *jwks_uri, *key_claim_name;
	struct strs audience, claims_to_verify;
	struct strs header_names, uri_param_names, cookie_names;
	int64_t maximum_expiration, leeway;
	bool run_on_preflight, userinfo, secret_is_base64;
	const char *anonymous, *realm;
	/* made by load */
	struct verifier *verifier; /* NULL: consumers' tokens only */
	struct token_rules rules;
	const char *challenge; /* with a realm */
	struct strs hidden;    /* cookies that upstream does not see */
};

static const struct field fields[] = {
	CONF_STR(struct jwt, issuer),
	CONF_STRS(struct jwt, audience, .empty = true),
	CONF_STR(struct jwt, jwks_uri, .empty = true),
	CONF_STRS(struct jwt, claims_to_verify),
	CONF_INT(struct jwt, maximum_expiration, .min = 0, .max = 31536000),
	CONF_INT(struct jwt, leeway, .min = 0, .max = 60),
	CONF_STRS(struct jwt, header_names),
	CONF_STRS(struct jwt, uri_param_names, .empty = true),
	CONF_STRS(struct jwt, cookie_names, .empty = true),
	CONF_STR(struct jwt, key_claim_name),
	CONF_BOOL(struct jwt, run_on_preflight),
	CONF_BOOL(struct jwt, userinfo),
	CONF_BOOL(struct jwt, secret_is_base64),
	CONF_STR(struct jwt, anonymous),
	CONF_STR(struct jwt, realm),
	CONF_END,
};

static const struct jwt defaults = {
	.key_claim_name = "iss",
	.leeway = 30,
	.run_on_preflight = true,
};

static bool
is_listed(const struct strs *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (kb_str_eq(list->v[i], name))
			return true;
	return false;
}

/* Tokens in URLs end up in logs and histories, cookies travel unasked. */
static void
check_carriers(
    struct problems *p, const struct plugin_use *use, const struct jwt *j)
{
	for (size_t i = 0; i < j->header_names.n; i++)
		if (strcasecmp(j->header_names.v[i], "authorization") != 0)
			problem(p, use->line,
			    "plugin jwt: header_names may hold authorization "
			    "only");
	if (j->uri_param_names.n)
		problem(p, use->line,
		    "plugin jwt: uri_param_names must be [], tokens come in "
		    "the Authorization header");
	for (size_t i = 0; i < j->cookie_names.n; i++)
		if (strpbrk(j->cookie_names.v[i], " ;,=\"\\"))
			problem(p, use->line,
			    "plugin jwt: cookie_names \"%s\" is no name of a "
			    "cookie",
			    j->cookie_names.v[i]);
	if (j->realm && strpbrk(j->realm, "\"\\"))
		problem(p, use->line,
		    "plugin jwt: realm may not hold quotes or \\");
}

static void
check_claims(
    struct problems *p, const struct plugin_use *use, const struct jwt *j)
{
	const struct strs known = {
		.v = (const char *const[]) { "exp", "nbf", "iss", "aud" },
		.n = 4,
	};

	for (size_t i = 0; i < j->claims_to_verify.n; i++)
		if (!is_listed(&known, j->claims_to_verify.v[i]))
			problem(p, use->line,
			    "plugin jwt: claims_to_verify \"%s\" is not one "
			    "of: "
			    "exp, nbf, iss, aud",
			    j->claims_to_verify.v[i]);
	if (is_listed(&j->claims_to_verify, "aud") && j->audience.n == 0)
		problem(p, use->line,
		    "plugin jwt: claims_to_verify has aud but there is no "
		    "audience");
}

static size_t
count(const char *const *list)
{
	size_t n = 0;

	while (list != NULL && list[n] != NULL)
		n++;
	return n;
}

/* A list that ends with NULL, as libkombi reads it. */
static struct strs
terminated(struct kb_arena *a, const struct strs *list)
{
	const char **v = kb_new_array(a, list->n + 1, const char *);

	for (size_t i = 0; i < list->n; i++)
		v[i] = list->v[i];
	return (struct strs) { .v = v, .n = list->n };
}

/* "name=", so that it is not the beginning of another one's name. */
static struct strs
with_equals(struct kb_arena *a, const struct strs *names)
{
	const char **v = kb_new_array(a, names->n + 1, const char *);

	for (size_t i = 0; i < names->n; i++)
		v[i] = kb_sprintf(a, "%s=", names->v[i]);
	return (struct strs) { .v = v, .n = names->n };
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	const struct gateway_defaults *d = problems_defaults(p);
	struct jwt *j = conf;

	if (j->issuer == NULL) {
		j->issuer = d->issuer;
		if (j->jwks_uri == NULL)
			j->jwks_uri = d->jwks_url;
		if (j->audience.n == 0)
			j->audience = (struct strs) {
				.v = d->audience,
				.n = count(d->audience),
			};
	}
	if (j->jwks_uri != NULL && j->jwks_uri[0] == '\0')
		j->jwks_uri = NULL;
	check_carriers(p, use, j);
	check_claims(p, use, j);
	j->challenge = j->realm
	    ? kb_sprintf(problems_arena(p), "Bearer realm=\"%s\"", j->realm)
	    : NULL;
	j->hidden = with_equals(problems_arena(p), &j->cookie_names);
	j->rules = (struct token_rules) {
		.id = use->id,
		.key_claim_name = j->key_claim_name,
		.secret_is_base64 = j->secret_is_base64,
		.audience = terminated(problems_arena(p), &j->audience),
		.max_life_s = j->maximum_expiration,
		.leeway_s = j->leeway,
	};
	if (j->issuer == NULL && d->consumer_tokens)
		return;
	if (j->issuer == NULL) {
		problem(p, use->line,
		    "plugin jwt: issuer is required (or set ZITADEL_ISSUER, "
		    "or give consumers jwt_secrets)");
		return;
	}
	if (!kb_str_starts(j->issuer, "https://") &&
	    !kb_str_starts(j->issuer, "http://")) {
		problem(p, use->line,
		    "plugin jwt: issuer \"%s\" must be an http or https URL",
		    j->issuer);
		return;
	}
	j->verifier = verifier_get(&(struct verifier_conf) {
	    .issuer = j->issuer,
	    .jwks_url = j->jwks_uri,
	    .audience = j->audience,
	    .max_life_s = j->maximum_expiration,
	    .leeway_s = j->leeway,
	    .userinfo = j->userinfo || d->userinfo,
	});
	if (j->verifier == NULL)
		problem(p, use->line,
		    "plugin jwt: too many different configurations");
}

static enum verdict
refuse(struct exchange *x, enum kb_err err, const char *message)
{
	exchange_fail(x, err, message);
	return NEXT;
}

/*
 * KB_UNAUTHENTICATED: none. The header counts before cookies, which travel
 * unasked: with one of them another site must not change anything.
 */
static enum kb_err
find_token(struct exchange *x, const struct jwt *j, struct kb_slice *token,
    bool *by_cookie)
{
	enum kb_err err = exchange_bearer(x, token);

	*by_cookie = false;
	for (size_t i = 0; err == KB_UNAUTHENTICATED && i < j->cookie_names.n;
	     i++)
		switch (exchange_cookie(x, j->cookie_names.v[i], token)) {
		case COOKIE_NONE: break;
		case COOKIE_SEVERAL: return KB_AUTH_INVALID;
		case COOKIE_ONE:
			*by_cookie = true;
			err = token->len && token->len <= KB_JWT_MAX
			    ? KB_OK
			    : KB_AUTH_INVALID;
		}
	return err;
}

static enum verdict
nobody(struct exchange *x, const struct jwt *j)
{
	if (exchange_route(x)->sessions) /* openid-connect looks further */
		return NEXT;
	if (j->anonymous == NULL)
		return refuse(x, KB_UNAUTHENTICATED, NULL);
	exchange_set_anonymous(x, j->anonymous);
	return NEXT;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct jwt *j = use->conf;
	const struct strs nobody_else = { NULL, 0 };
	struct kb_slice token;
	bool by_cookie;
	enum kb_err err;

	if (exchange_is_preflight(x) && !j->run_on_preflight)
		return NEXT;
	/* Another plugin has found the caller, and that is enough. */
	if (j->anonymous && exchange_identity(x) != NULL)
		return NEXT;
	err = find_token(x, j, &token, &by_cookie);
	if (err == KB_UNAUTHENTICATED)
		return nobody(x, j);
	if (err)
		return refuse(x, err, NULL);
	if (by_cookie && !exchange_is_ours(x, &nobody_else))
		return refuse(x, KB_FORBIDDEN, "Not from another site");
	if (by_cookie)
		exchange_hide_cookies(x, j->hidden.v, j->hidden.n);
	switch (exchange_judge_token(x, &j->rules, token)) {
	case TOKEN_GOOD: return NEXT;
	case TOKEN_BAD: return refuse(x, KB_AUTH_INVALID, NULL);
	case TOKEN_NOBODYS: break;
	}
	if (j->verifier == NULL)
		return refuse(x, KB_AUTH_INVALID, NULL);
	return verifier_check(j->verifier, x, token);
}

/* Beside the challenge without a realm that every 401 has. */
static void
response(struct exchange *x, const struct plugin_use *use)
{
	const struct jwt *j = use->conf;

	if (j->challenge && !exchange_answer_is_upstreams(x) &&
	    exchange_answer_status(x) == 401)
		exchange_add_response(x, "WWW-Authenticate", j->challenge);
}

const struct plugin plugin_jwt = {
	.name = "jwt",
	.priority = 1450,
	.fields = fields,
	.conf_size = sizeof(struct jwt),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.response = response,
	.authenticates = true,
	.help = "a bearer token of the issuer or of a consumer",
};
