/*
 * jwt: a bearer token in the Authorization header, signed by the issuer
 * (RS256 or ES256, keys from its key set). What the token says becomes the
 * identity of the exchange.
 */
#include <strings.h>

#include <kombi/str.h>

#include "gateway.h"

struct jwt {
	const char *issuer, *jwks_uri, *key_claim_name;
	struct strs audience, claims_to_verify;
	struct strs header_names, uri_param_names, cookie_names;
	int64_t maximum_expiration, leeway;
	bool run_on_preflight, userinfo;
	struct verifier *verifier;
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
	CONF_SKIP("secret_is_base64"),
	CONF_NOTE("realm", "the challenge is \"Bearer\" without a realm"),
	CONF_LATER("anonymous", "routes without a token have no jwt plugin"),
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
	if (j->cookie_names.n)
		problem(p, use->line,
		    "plugin jwt: cookie_names must be [], tokens come in the "
		    "Authorization header");
	if (!kb_str_eq(j->key_claim_name, "iss"))
		problem(p, use->line, "plugin jwt: key_claim_name must be iss");
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
	if (j->issuer == NULL) {
		problem(p, use->line,
		    "plugin jwt: issuer is required (or set ZITADEL_ISSUER)");
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
access(struct exchange *x, const struct plugin_use *use)
{
	const struct jwt *j = use->conf;

	if (exchange_is_preflight(x) && !j->run_on_preflight)
		return NEXT;
	/* A browser with a session: openid-connect finds it, or refuses. */
	if (exchange_route(x)->sessions &&
	    exchange_header(x, "Authorization").ptr == NULL)
		return NEXT;
	return verifier_check_bearer(j->verifier, x);
}

const struct plugin plugin_jwt = {
	.name = "jwt",
	.priority = 1450,
	.fields = fields,
	.conf_size = sizeof(struct jwt),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.authenticates = true,
	.help = "a bearer token of the issuer, from the Authorization header",
};
