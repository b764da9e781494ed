/*
 * openid-connect (Kong 3.9): browsers sign in at the issuer and have a
 * session here, whose cookie is an id of 16 random bytes; who asks with a
 * bearer token may do that. The pieces are in oidc.h.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/secret.h>
#include <kombi/str.h>

#include "gateway.h"

static const char *const login_actions[] = { "upstream", "redirect", "response",
	NULL };
static const char *const storages[] = { "redis", NULL };
static const char *const same_sites[] = { "Lax", "Strict", NULL };
static const char *const response_modes[] = { "query", NULL };

struct conf {
	struct oidc oidc;
	struct strs response_type;
	int response_mode;
	bool verify_signature, verify_claims, verify_nonce, hide_credentials;
	bool session_cookie_http_only;
	struct strs login_methods;
};

/* clang-format off */
#define OIDC_(k, m, c, ...) \
	{ .kind = (k), .name = #m, .offset = offsetof(struct conf, oidc) + \
	    KB_OFFSET_OF(struct oidc, m, c), __VA_ARGS__ }
#define OIDC_STR(m, ...)  OIDC_(FIELD_STR, m, const char *, __VA_ARGS__)
#define OIDC_INT(m, ...)  OIDC_(FIELD_INT, m, int64_t, __VA_ARGS__)
#define OIDC_BOOL(m, ...) OIDC_(FIELD_BOOL, m, bool, __VA_ARGS__)
#define OIDC_ENUM(m, ...) OIDC_(FIELD_ENUM, m, int, __VA_ARGS__)
#define OIDC_STRS(m, ...) OIDC_(FIELD_STRS, m, struct strs, __VA_ARGS__)
/* clang-format on */

static const struct field fields[] = {
	OIDC_STR(issuer),
	OIDC_STR(jwks_uri, .empty = true),
	OIDC_STRS(client_id, .empty = true),
	OIDC_STRS(client_secret, .empty = true, .secret = true),
	OIDC_STRS(client_auth),
	OIDC_STRS(audience, .empty = true),
	OIDC_STRS(auth_methods),
	OIDC_STRS(scopes),
	OIDC_STRS(redirect_uri, .empty = true),
	OIDC_ENUM(login_action, .choices = login_actions),
	OIDC_STR(login_path),
	OIDC_STRS(login_redirect_uri, .empty = true),
	OIDC_STRS(return_urls, .empty = true),
	OIDC_STRS(trusted_origins, .empty = true),
	OIDC_STR(logout_uri_suffix),
	OIDC_STR(logout_query_arg),
	OIDC_STRS(logout_methods),
	OIDC_STRS(logout_redirect_uri, .empty = true),
	OIDC_BOOL(logout_revoke),
	OIDC_STR(backchannel_logout_path),
	OIDC_STR(session_secret, .empty = true, .secret = true),
	OIDC_STR(session_cookie_name),
	OIDC_ENUM(session_storage, .choices = storages),
	OIDC_ENUM(session_cookie_same_site, .choices = same_sites),
	OIDC_INT(session_idling_timeout, .min = 1, .max = 604800),
	OIDC_INT(session_rolling_timeout, .min = 1, .max = 604800),
	OIDC_INT(session_absolute_timeout, .min = 1, .max = 2592000),
	OIDC_INT(leeway, .min = 0, .max = 60),
	OIDC_BOOL(userinfo),
	OIDC_BOOL(beside_jwt),
	CONF_STRS(struct conf, response_type),
	CONF_ENUM(struct conf, response_mode, .choices = response_modes),
	CONF_STRS(struct conf, login_methods),
	CONF_BOOL(struct conf, verify_signature),
	CONF_BOOL(struct conf, verify_claims),
	CONF_BOOL(struct conf, verify_nonce),
	CONF_BOOL(struct conf, hide_credentials),
	CONF_BOOL(struct conf, session_cookie_http_only),
	CONF_NOTE("session_remember", "sessions end with the browser"),
	CONF_NOTE("login_tokens",
	    "login_action response answers the id token, others none"),
	CONF_NOTE("cache_ttl", "keys and tokens are kept by their own life"),
	CONF_NOTE("rediscovery_lifetime",
	    "keys are fetched again when one is unknown"),
	CONF_NOTE("proof_key_for_code_exchange", "PKCE with S256 is always on"),
	CONF_LATER("consumer_claim", "the caller is the subject of the token"),
	CONF_LATER("anonymous", "use auth_methods and beside_jwt"),
	CONF_LATER("logout_post_arg", "use logout_uri_suffix"),
	CONF_LATER("redis", "sessions are kept in the Redis of REDIS_HOST"),
	CONF_LATER("scopes_required", "use acl"),
	CONF_LATER("roles_required", "use acl, whose groups are the roles"),
	CONF_LATER("groups_required", "use acl"),
	CONF_LATER("audience_required", "use audience"),
	CONF_LATER("upstream_headers_claims",
	    "upstream gets the identity headers; use request-transformer"),
	CONF_LATER("upstream_headers_names",
	    "upstream gets the identity headers; use request-transformer"),
	CONF_END,
};

#define LIST(...)                                                              \
	{                                                                      \
		.v = (const char *const[]) { __VA_ARGS__ },                    \
		.n = KB_COUNT(((const char *const[]) { __VA_ARGS__ }))         \
	}

static const struct conf defaults = {
	.oidc = {
		.client_auth = LIST("client_secret_basic"),
		.auth_methods = LIST("authorization_code", "bearer", "session",
		    "refresh_token"),
		.scopes = LIST("openid", "profile", "email"),
		.login_action = LOGIN_REDIRECT,
		.logout_methods = LIST("POST", "DELETE"),
		.session_cookie_name = "kombi_sid",
		.session_idling_timeout = 900,
		.session_rolling_timeout = 3600,
		.session_absolute_timeout = 86400,
		.leeway = 30,
	},
	.response_type = LIST("code"),
	.verify_signature = true,
	.verify_claims = true,
	.verify_nonce = true,
	.hide_credentials = true,
	.session_cookie_http_only = true,
};

/* ---- loading ------------------------------------------------------------- */

struct reading {
	struct problems *p;
	unsigned line;
	struct conf *conf;
	struct oidc *o;
};

#define TELL(r, ...)                                                           \
	problem((r)->p, (r)->line, "plugin openid-connect: " __VA_ARGS__)

static const char *
first(const struct strs *list)
{
	return list->n ? list->v[0] : NULL;
}

static void
read_methods(struct reading *r)
{
	static const struct {
		const char *name;
		unsigned bit;
	} known[] = {
		{ "authorization_code", METHOD_CODE },
		{ "bearer", METHOD_BEARER },
		{ "session", METHOD_SESSION },
		{ "refresh_token", METHOD_REFRESH },
	};

	for (size_t i = 0; i < r->o->auth_methods.n; i++) {
		const char *name = r->o->auth_methods.v[i];
		unsigned bit = 0;

		for (size_t j = 0; j < KB_COUNT(known); j++)
			if (kb_str_eq(known[j].name, name))
				bit = known[j].bit;
		if (bit == 0)
			TELL(r,
			    "auth_methods \"%s\" is not implemented; there "
			    "are authorization_code, bearer, session, "
			    "refresh_token",
			    name);
		r->o->methods |= bit;
	}
	if ((r->o->methods & METHOD_CODE) && !(r->o->methods & METHOD_SESSION))
		TELL(r, "auth_methods authorization_code needs session");
	if (r->o->beside_jwt)
		r->o->methods &= ~(unsigned)METHOD_BEARER;
}

static void
read_sign_outs(struct reading *r)
{
	for (size_t i = 0; i < r->o->logout_methods.n; i++) {
		const char *name = r->o->logout_methods.v[i];
		enum kb_method m = kb_method_of(name, strlen(name));

		if (m != KB_M_GET && m != KB_M_POST && m != KB_M_DELETE)
			TELL(r,
			    "logout_methods \"%s\" is not one of: GET, POST, "
			    "DELETE",
			    name);
		else
			r->o->sign_outs |= 1U << m;
	}
}

static enum client_auth
read_client_auth(struct reading *r)
{
	const char *how = first(&r->o->client_auth);

	if (kb_str_eq(how, "none"))
		return AUTH_NONE;
	if (kb_str_eq(how, "client_secret_post"))
		return AUTH_POST;
	if (!kb_str_eq(how, "client_secret_basic"))
		TELL(r,
		    "client_auth \"%s\" is not implemented; there are "
		    "client_secret_basic, client_secret_post, none",
		    how ? how : "");
	return AUTH_BASIC;
}

/* Paths that we answer ourselves stand there as they come. */
static void
check_path(struct reading *r, const char *name, const char *path)
{
	const struct strs none = { NULL, 0 };

	if (path != NULL && (!return_url_ok(&none, path) || strchr(path, '?')))
		TELL(r, "%s \"%s\" must be a path in normal form", name, path);
}

static void
check_addresses(struct reading *r)
{
	struct oidc *o = r->o;
	const char *why;

	for (size_t i = 0; i < o->redirect_uri.n; i++) {
		why = return_entry_problem(o->redirect_uri.v[i]);
		if (why == NULL &&
		    strchr(strstr(o->redirect_uri.v[i], "://") + 3, '/') ==
			NULL)
			why = "has no path";
		if (why)
			TELL(r, "redirect_uri \"%s\" %s", o->redirect_uri.v[i],
			    why);
	}
	for (size_t i = 0; i < o->return_urls.n; i++) {
		why = return_entry_problem(o->return_urls.v[i]);
		if (why)
			TELL(r, "return_urls \"%s\" %s", o->return_urls.v[i],
			    why);
	}
	for (size_t i = 0; i < o->trusted_origins.n; i++) {
		const char *origin = o->trusted_origins.v[i];

		why = return_entry_problem(origin);
		if (why == NULL && strchr(strstr(origin, "://") + 3, '/'))
			why = "must be an origin, without a path";
		if (why)
			TELL(r, "trusted_origins \"%s\" %s", origin, why);
	}
	check_path(r, "login_path", o->login_path);
	check_path(r, "backchannel_logout_path", o->backchannel_logout_path);
	check_path(r, "logout_uri_suffix", o->logout_uri_suffix);
}

static void
check_fixed(struct reading *r)
{
	const struct conf *c = r->conf;

	if (c->response_type.n != 1 ||
	    !kb_str_eq(c->response_type.v[0], "code"))
		TELL(r, "response_type must be [code]");
	if (!c->verify_signature || !c->verify_claims || !c->verify_nonce)
		TELL(r,
		    "verify_signature, verify_claims and verify_nonce are "
		    "always on");
	if (!c->session_cookie_http_only)
		TELL(r, "session_cookie_http_only is always on");
	if (!c->hide_credentials)
		TELL(r,
		    "hide_credentials is always on: services get the "
		    "identity and a proof");
	for (const char *s = r->o->session_cookie_name; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
			(*s >= '0' && *s <= '9') || *s == '_' || *s == '-')) {
			TELL(r,
			    "session_cookie_name may hold letters, digits, "
			    "'_' and '-'");
			break;
		}
}

/* What stands in the process's options may be left out of the file. */
static void
complete(struct reading *r, struct oidc_client_conf *client)
{
	const struct gateway_defaults *d = problems_defaults(r->p);
	struct kb_arena *a = problems_arena(r->p);
	struct oidc *o = r->o;

	client->issuer = o->issuer;
	client->jwks_url = o->jwks_uri && o->jwks_uri[0] ? o->jwks_uri : NULL;
	if (client->issuer == NULL) {
		client->issuer = d->issuer;
		if (client->jwks_url == NULL)
			client->jwks_url = d->jwks_url;
	}
	client->client_id = first(&o->client_id) ? first(&o->client_id)
						 : d->client_id;
	client->client_secret = first(&o->client_secret);
	if (client->client_secret == NULL && d->client_secret &&
	    kb_secret_is_set(d->client_secret)) {
		size_t len;
		const void *bytes = kb_secret_reveal(d->client_secret, &len);

		client->client_secret = kb_strndup(a, bytes, len);
	}
	client->audience = o->audience;
	if (o->audience.n == 0 && d->audience != NULL) {
		client->audience.v = d->audience;
		while (d->audience[client->audience.n] != NULL)
			client->audience.n++;
	}
	if (client->audience.n == 0 && client->client_id) {
		const char **one = kb_new_array(a, 2, const char *);

		one[0] = client->client_id;
		client->audience = (struct strs) { .v = one, .n = 1 };
	}
}

static void
make_keys(struct reading *r, struct oidc_client_conf *client)
{
	const struct gateway_defaults *d = problems_defaults(r->p);
	const char *own = r->o->session_secret;
	struct kb_secret secret = { 0 };

	if (own && own[0]) {
		if (strlen(own) < 32)
			TELL(
			    r, "session_secret must be at least 32 characters");
		kb_secret_set(&secret, own, strlen(own));
		seal_keys_make(
		    &secret, NULL, "kombi session v1", &client->seal);
		kb_secret_free(&secret);
	} else
		seal_keys_make(d->session_secret, d->session_secret_next,
		    "kombi session v1", &client->seal);
	if (client->seal.n == 0)
		TELL(r,
		    "OIDC_SESSION_SECRET must be set: sessions are sealed "
		    "with it");
}

static char *
join(struct kb_arena *a, const struct strs *list)
{
	char *text = kb_strdup(a, "");

	for (size_t i = 0; i < list->n; i++)
		text = kb_sprintf(a, "%s%s%s", text, i ? " " : "", list->v[i]);
	return text;
}

static void
make_client(struct reading *r, struct oidc_client_conf *client)
{
	struct oidc *o = r->o;

	client->auth = read_client_auth(r);
	client->scopes = join(problems_arena(r->p), &o->scopes);
	client->userinfo = o->userinfo || problems_defaults(r->p)->userinfo;
	client->leeway_s = o->leeway;
	if (client->issuer == NULL)
		TELL(r, "issuer is required (or set ZITADEL_ISSUER)");
	if (client->auth != AUTH_NONE && client->client_secret == NULL)
		TELL(r,
		    "client_secret is required (or ZITADEL_CLIENT_SECRET, "
		    "or client_auth none)");
	if ((o->methods & METHOD_CODE) && o->redirect_uri.n == 0)
		TELL(r, "redirect_uri is required");
	if (!kb_str_starts(client->scopes, "openid"))
		TELL(r, "scopes must begin with openid");
	make_keys(r, client);
	if (problems_any(r->p))
		return;
	o->client = oidc_client_get(client);
	o->bearer = verifier_get(&(struct verifier_conf) {
	    .issuer = client->issuer,
	    .jwks_url = client->jwks_url,
	    .audience = client->audience,
	    .leeway_s = client->leeway_s,
	    .userinfo = client->userinfo,
	});
	if (o->client == NULL || o->bearer == NULL)
		TELL(r, "too many different configurations");
}

/* A client in the file is meant; one of the options, which other parts of the
 * platform read as well, only together with its secret. */
static bool
is_wanted(const struct oidc *o, const struct oidc_client_conf *client)
{
	if (client->client_id == NULL || client->client_id[0] == '\0')
		return false;
	return o->client_id.n || client->client_secret ||
	    kb_str_eq(first(&o->client_auth), "none");
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	struct reading r = {
		.p = p,
		.line = use->config ? use->config->line : use->line,
		.conf = c,
		.o = &c->oidc,
	};
	struct oidc *o = r.o;
	struct oidc_client_conf client = { 0 };
	struct kb_arena *a = problems_arena(p);

	o->secure = !problems_defaults(p)->development;
	o->cookie = kb_sprintf(
	    a, "%s%s", o->secure ? "__Host-" : "", o->session_cookie_name);
	o->auth_cookie = kb_sprintf(a, "%s_auth_", o->cookie);
	o->times = (struct session_times) {
		.idle_s = o->session_idling_timeout,
		.rolling_s = o->session_rolling_timeout,
		.absolute_s = o->session_absolute_timeout,
	};
	read_methods(&r);
	read_sign_outs(&r);
	check_addresses(&r);
	check_fixed(&r);
	complete(&r, &client);
	if (is_wanted(o, &client))
		make_client(&r, &client);
	else if (!o->beside_jwt)
		notice(p, r.line,
		    "plugin openid-connect: switched off, there is no "
		    "client_id or secret (nor ZITADEL_CLIENT_ID and "
		    "ZITADEL_CLIENT_SECRET)");
	kb_wipe(&client.seal, sizeof(client.seal));
}

/* Who sends no bearer token is left to us; only while we do our part. */
static void
route(const struct plugin_use *use, struct route *r)
{
	const struct conf *c = use->conf;

	if (c->oidc.client != NULL && c->oidc.beside_jwt)
		r->sessions = true;
}

/* ---- requests ------------------------------------------------------------ */

static bool
is_path(struct exchange *x, const char *path)
{
	return path != NULL && kb_slice_eq(exchange_path(x), path);
}

static bool
asks_sign_out(struct exchange *x, const struct oidc *o)
{
	struct kb_slice path = exchange_path(x);
	size_t n = o->logout_uri_suffix ? strlen(o->logout_uri_suffix) : 0;

	if (n && path.len >= n &&
	    memcmp(path.ptr + path.len - n, o->logout_uri_suffix, n) == 0)
		return true;
	return o->logout_query_arg &&
	    exchange_query_arg(x, o->logout_query_arg) != NULL;
}

static const char *
home(const struct oidc *o)
{
	return o->login_redirect_uri.n ? o->login_redirect_uri.v[0] : "/";
}

/* Where to go after signing in: as asked, if it may be. */
static const char *
return_to(struct exchange *x, const struct oidc *o)
{
	const char *url = exchange_query_arg(x, "returnUrl");

	return url && return_url_ok(&o->return_urls, url) ? url : home(o);
}

static const char *
here(struct exchange *x, const struct oidc *o)
{
	const struct strs none = { NULL, 0 };
	struct kb_slice path = exchange_path(x), query = exchange_query(x);
	const char *url = kb_sprintf(exchange_arena(x), "%.*s%s%.*s",
	    (int)path.len, path.ptr, query.len ? "?" : "", (int)query.len,
	    query.len ? query.ptr : "");

	return return_url_ok(&none, url) ? url : home(o);
}

static enum verdict
sign_out(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	if (!(o->sign_outs & 1U << exchange_method(x))) {
		exchange_fail(x, KB_METHOD, NULL);
		return NEXT;
	}
	if (!exchange_is_ours(x, &o->trusted_origins)) {
		exchange_fail(x, KB_FORBIDDEN, "Not from another site");
		return NEXT;
	}
	return signout(x, o, f);
}

static enum verdict
nobody(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	bool had = f->has_id;

	if (asks_sign_out(x, o))
		return sign_out(x, o, f);
	if (is_path(x, o->login_path))
		return signin_start(x, o, f, return_to(x, o));
	if ((o->methods & METHOD_CODE) && exchange_is_navigation(x))
		return signin_start(x, o, f, here(x, o));
	if (had)
		signin_cookie(x, o, o->cookie, NULL, 0);
	exchange_fail(x, KB_UNAUTHENTICATED, NULL);
	return NEXT;
}

static enum verdict
somebody(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	const char *hidden[] = { o->cookie };

	if (asks_sign_out(x, o))
		return sign_out(x, o, f);
	if (is_path(x, o->login_path)) {
		exchange_add_response(x, "Location", return_to(x, o));
		exchange_answer(x, 302, NULL, NULL, 0);
		return NEXT;
	}
	if (!exchange_is_ours(x, &o->trusted_origins)) {
		exchange_fail(x, KB_FORBIDDEN,
		    "A session changes nothing for another site: Origin or "
		    "Sec-Fetch-Site must tell that this one asks");
		return NEXT;
	}
	/* Sign-ins under way have names that begin like the session's. */
	exchange_hide_cookies(x, hidden, 1);
	return NEXT;
}

static enum verdict
by_session(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	if (sessions_use(x, o->client, &o->times, f->id, &f->wait) == WAIT) {
		f->next = by_session;
		exchange_again(x);
		return WAIT;
	}
	switch (f->wait.state) {
	case SESSION_FOUND: return somebody(x, o, f);
	case SESSION_NONE: return nobody(x, o, f);
	case SESSION_AWAY: break;
	}
	exchange_add_response(x, "Retry-After", "5");
	exchange_fail(
	    x, KB_UNAVAILABLE, "Sessions cannot be looked up just now");
	return NEXT;
}

static enum verdict
switched_off(struct exchange *x, const struct oidc *o)
{
	if (!o->beside_jwt)
		exchange_fail(x, KB_NOT_FOUND, "Nobody can sign in here");
	return NEXT;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct oidc *o = &((const struct conf *)use->conf)->oidc;
	struct oidc_flow *f;
	struct kb_slice value;

	if (exchange_is_preflight(x))
		return NEXT;
	if (o->client == NULL)
		return switched_off(x, o);
	/* First: who has waited has an identity by now, but is not judged. */
	f = exchange_slot(x, use->plugin, sizeof(*f));
	if (f->next != NULL)
		return f->next(x, o, f);
	if (exchange_identity(x) != NULL && o->beside_jwt)
		return NEXT;
	if ((o->methods & METHOD_CODE) &&
	    signin_is_callback(o, exchange_path(x)))
		return signin_callback(x, o, f);
	if (is_path(x, o->backchannel_logout_path))
		return signout_backchannel(x, o, f);
	value = exchange_header(x, "Authorization");
	if (value.ptr != NULL && (o->methods & METHOD_BEARER))
		return verifier_check_bearer(o->bearer, x);
	if ((o->methods & METHOD_SESSION) &&
	    exchange_cookie(x, o->cookie, &value) == COOKIE_ONE)
		f->has_id = session_id(value, f->id);
	return f->has_id ? by_session(x, o, f) : nobody(x, o, f);
}

const struct plugin plugin_openid_connect = {
	.name = "openid-connect",
	.priority = 1050,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.route = route,
	.access = access,
	.authenticates = true,
	.help = "browsers sign in at the issuer and have a session in Redis",
};
