/*
 * Browsers that sign in (OpenID Connect Core 1.0, authorization code with
 * PKCE): cookies, sealed values, sessions in Redis, what is asked of the
 * issuer, who has been locked out. Part of gateway.h; the plugin
 * openid-connect puts the pieces together.
 */
#ifndef GATEWAY_OIDC_H
#define GATEWAY_OIDC_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/identity.h>
#include <kombi/pool.h>
#include <kombi/secret.h>

struct exchange;
struct loop;
struct problems;

/* ---- cookies (cookies.c, RFC 6265) --------------------------------------- */

enum cookie_found { COOKIE_NONE, COOKIE_ONE, COOKIE_SEVERAL };

/*
 * The value of a cookie in the text of a Cookie field. SEVERAL: the name is
 * there more than once, as when a neighbouring domain has put one of its own;
 * the caller believes none of them. What is no pair is passed over.
 */
enum cookie_found
cookie_find(struct kb_slice field, const char *name, struct kb_slice *value);
/*
 * The field without the cookies whose names begin with one of `names` (of
 * which there are n). NULL: nothing is left.
 */
char *cookie_without(struct kb_arena *a, struct kb_slice field,
    const char *const *names, size_t n);
/* The same over all Cookie fields of a request. */
enum cookie_found exchange_cookie(
    const struct exchange *x, const char *name, struct kb_slice *value);
/* Upstream will not see cookies with these names' beginnings. */
void
exchange_hide_cookies(struct exchange *x, const char *const *names, size_t n);

/* ---- where a browser comes from and may go (browser.c) ------------------- */

/* The client came by HTTPS, as far as the gateway or its proxy can tell. */
bool exchange_is_https(const struct exchange *x);
/* Somebody looks at a page, so an answer may be a redirect: a GET that says
 * it navigates (Fetch Metadata), or without that asks for text/html. */
bool exchange_is_navigation(const struct exchange *x);
/*
 * For requests that are authenticated by a cookie alone: true when nothing
 * could be changed by them (GET, HEAD, OPTIONS, no upgrade), or when the
 * browser says that a page of our own origin or of one in `trusted` made
 * them (Origin, else Sec-Fetch-Site).
 */
bool exchange_is_ours(const struct exchange *x, const struct strs *trusted);

/*
 * An entry of an allow list of return URLs: "https://host[:port][/prefix]",
 * http for loopback only. NULL, or what is wrong with it.
 */
const char *return_entry_problem(const char *entry);
/*
 * True for a path of our own ("/x?y", in normal form) and for absolute URLs
 * whose origin is an entry's byte by byte and whose path is below its prefix
 * by whole segments. Anything else could lead a victim elsewhere.
 */
bool return_url_ok(const struct strs *allowed, const char *url);
/* A parameter of the query, decoded; NULL: it is not there exactly once. */
char *exchange_query_arg(struct exchange *x, const char *name);

/* ---- sealed values (seal.c) ---------------------------------------------- */

/* AES-256-GCM keys made of a secret and its successor; the first one seals,
 * both open. */
struct seal_keys {
	unsigned char key[2][32];
	unsigned n;
};

void seal_keys_make(const struct kb_secret *secret,
    const struct kb_secret *next, const char *purpose, struct seal_keys *out);
/* Text that can stand in a cookie; `place` must be the same when opening. */
char *seal(struct kb_arena *a, const struct seal_keys *keys, const char *place,
    const void *plain, size_t len);
/* NULL: not ours, not of this place, or changed. NUL-terminated. */
char *unseal(struct kb_arena *a, const struct seal_keys *keys,
    const char *place, const char *text, size_t *len);

/* ---- the issuer (provider.c; all of it blocks: for loop_ask only) -------- */

enum client_auth { AUTH_BASIC, AUTH_POST, AUTH_NONE };

struct oidc_client_conf {
	const char *issuer, *jwks_url;         /* jwks_url: or NULL */
	const char *client_id, *client_secret; /* secret: or NULL */
	enum client_auth auth;
	struct strs audience; /* of access tokens; at least one */
	const char *scopes;   /* by blanks */
	bool userinfo;        /* completes what tokens do not say */
	int64_t leeway_s;
	struct seal_keys seal;
};

/* A client at an issuer: shared by equal configurations, lives for ever. */
struct oidc_client;

/* NULL when there are too many different ones. Main thread. */
struct oidc_client *oidc_client_get(const struct oidc_client_conf *conf);
void oidc_clients_stop(void);
const struct oidc_client_conf *oidc_client_conf(const struct oidc_client *c);

/* From the discovery document; NULL: it has none. */
struct endpoints {
	const char *authorization, *token, *userinfo, *end_session, *revocation;
};

/* Without blocking: what is known. False: ask by oidc_discover. */
bool oidc_endpoints(
    struct oidc_client *c, struct kb_arena *a, struct endpoints *out);
/* KB_OK: oidc_endpoints answers now. */
enum kb_err oidc_discover(struct oidc_client *c);

/* What signing in or refreshing has brought; lives in the arena. */
struct tokens {
	const char *access, *refresh, *id_token; /* NULL: none */
	const char *claims;                      /* the JWT to read them from */
	int64_t expires_s;                       /* of access; unix time */
	int64_t issued_s;                        /* by the issuer's clock */
	const char *sid;                         /* or NULL */
	struct kb_identity identity;
	bool refused;    /* the issuer says no: invalid_grant and the like */
	const char *why; /* for the log */
};

struct code_grant {
	const char *code, *verifier, *redirect_uri, *nonce;
};

enum kb_err oidc_redeem(struct oidc_client *c, struct kb_arena *a,
    const struct code_grant *g, struct tokens *out);
/* `sub` is whose session it is: another one's answer is refused. */
enum kb_err oidc_refresh(struct oidc_client *c, struct kb_arena *a,
    const char *refresh, const char *sub, struct tokens *out);
/* Tells the issuer that a refresh token is not needed any more (RFC 7009). */
void oidc_revoke(struct oidc_client *c, struct kb_arena *a, const char *token);

/* A verified logout token (OpenID Connect Back-Channel Logout 1.0, 2.6). */
struct logout_token {
	const char *sub, *sid, *jti; /* sub or sid may be NULL */
	int64_t issued_s;
	const char *why;
};
enum kb_err oidc_logout_token(struct oidc_client *c, struct kb_arena *a,
    const char *token, struct logout_token *out);
/* Its claims once the signature is good: KB_OK or KB_AUTH_INVALID. */
enum kb_err
logout_claims(const struct kb_json *claims, struct logout_token *out);

/* ---- questions to the issuer, beside a loop ------------------------------ */

/*
 * Runs `work` on one of the loop's few threads for calls, then `done` on the
 * loop. False: too many wait already.
 */
bool loop_ask(struct loop *l, struct kb_task *t) KB_MUSTUSE;

/* ---- sessions (session.c, sessions.c) ------------------------------------ */

enum { SESSION_ID = 16, SESSION_TEXT = 22 };

struct session {
	const char *sub, *sid;                            /* sid: or NULL */
	const char *access, *refresh, *id_token, *claims; /* as in tokens */
	int64_t created_s; /* signed in, by our clock */
	int64_t issued_s;  /* the same by the issuer's */
	int64_t expires_s; /* of the access token */
	struct kb_identity identity;
};

/* The record as it stands in Redis, sealed for the key `place`. */
char *session_seal(struct kb_arena *a, const struct seal_keys *keys,
    const char *place, const struct session *s);
/* False: not a record of ours. Strings live in the arena. */
bool session_open(struct kb_arena *a, const struct seal_keys *keys,
    const char *place, struct kb_slice text, struct session *out);
/* The cookie's value to bytes. */
bool session_id(struct kb_slice text, unsigned char out[SESSION_ID]);
/* "kombi:session:" and the hash of the id. */
char *session_key(struct kb_arena *a, const unsigned char id[SESSION_ID]);

/* What a record is sealed for: its key, and whose client it is. */
char *
session_place(struct kb_arena *a, const char *key, const struct oidc_client *c);
char *session_lock_key(struct kb_arena *a, const char *key);

struct session_times {
	int64_t idle_s, rolling_s, absolute_s;
};

enum session_state {
	SESSION_NONE,  /* there is none, or it is over */
	SESSION_FOUND, /* the exchange has its identity */
	SESSION_AWAY   /* Redis or the issuer cannot be asked now */
};

/* What an exchange knows while it waits for its session; zeroed at first. */
struct session_wait {
	bool decided;
	enum session_state state;  /* once decided */
	struct exchange *x;        /* private */
	struct session_wait *next; /* private */
};

/*
 * Finds the session of that id, refreshes its tokens when they end and makes
 * it the exchange's identity. WAIT: call again when resumed (exchange_again
 * is the caller's). NEXT: w->state says what came of it.
 */
enum verdict sessions_use(struct exchange *x, struct oidc_client *c,
    const struct session_times *times, const unsigned char id[SESSION_ID],
    struct session_wait *w);
/* The session that sessions_use has found; until the exchange waits. */
const struct session *
sessions_found(struct exchange *x, const unsigned char id[SESSION_ID]);

/*
 * Keeps a new session, and forgets `old` when it is not NULL: an id that was
 * there before signing in is not used after it. Calls done once, later.
 */
struct session_put {
	struct session session;
	unsigned char id[SESSION_ID]; /* drawn */
	bool has_old;
	unsigned char old[SESSION_ID];
	const char *once; /* Redis key that may be taken once, or NULL */
	enum kb_err err;  /* KB_CONFLICT: `once` was taken before */
	void (*done)(struct session_put *p);
	void *arg;
};
void sessions_put(struct loop *l, struct oidc_client *c,
    const struct session_times *times, struct session_put *p);
/* Ends a session here and in Redis; does not wait. */
void sessions_drop(struct loop *l, const unsigned char id[SESSION_ID]);
/* Redis can be asked. */
bool sessions_up(struct loop *l);

/* ---- who is locked out (revocation.c) ------------------------------------ */

/*
 * True when `member` ("user:SUB", "sid:SID", "signout:SUB") was revoked at or
 * after `issued_s`. Looks at what this loop knows; never waits.
 */
bool revocation_covers(const struct loop *l, const char *prefix,
    const char *name, int64_t issued_s);
/* Tells all gateways, and this loop at once; `done` later. */
void revocation_tell(struct loop *l, const char *prefix, const char *name,
    int64_t at_s, void (*done)(void *arg, bool told), void *arg);

/* ---- the plugin openid-connect ------------------------------------------- */

enum {
	METHOD_CODE = 1,
	METHOD_BEARER = 2,
	METHOD_SESSION = 4,
	METHOD_REFRESH = 8,
};

enum login_action { LOGIN_UPSTREAM, LOGIN_REDIRECT, LOGIN_RESPONSE };

/* Its configuration, as signin.c and signout.c need it. */
struct oidc {
	const char *issuer, *jwks_uri;
	struct strs client_id, client_secret, client_auth, audience;
	struct strs auth_methods, scopes, redirect_uri;
	int login_action; /* enum login_action */
	const char *login_path;
	struct strs login_redirect_uri, return_urls, trusted_origins;
	const char *logout_uri_suffix, *logout_query_arg;
	struct strs logout_methods, logout_redirect_uri;
	bool logout_revoke;
	const char *backchannel_logout_path;
	const char *session_secret, *session_cookie_name;
	int session_storage, session_cookie_same_site;
	int64_t session_idling_timeout, session_rolling_timeout;
	int64_t session_absolute_timeout, leeway;
	bool userinfo, beside_jwt;
	/* made by load */
	struct oidc_client *client; /* NULL: switched off */
	struct verifier *bearer;
	unsigned methods;   /* METHOD_* */
	unsigned sign_outs; /* 1 << enum kb_method */
	bool secure;
	const char *cookie, *auth_cookie; /* the latter: how its names begin */
	struct session_times times;
};

/* What the plugin keeps of an exchange. */
struct oidc_job;
struct oidc_flow {
	/* Where it goes on after waiting; NULL: at the beginning. */
	enum verdict (*next)(
	    struct exchange *x, const struct oidc *o, struct oidc_flow *f);
	bool has_id;
	unsigned char id[SESSION_ID];
	struct session_wait wait;
	struct oidc_job *job;
	const char *return_to;
};

/* Is that the path of one of the redirect URIs? */
bool signin_is_callback(const struct oidc *o, struct kb_slice path);
/* Off to the issuer; `return_to` has been checked. */
enum verdict signin_start(struct exchange *x, const struct oidc *o,
    struct oidc_flow *f, const char *return_to);
enum verdict
signin_callback(struct exchange *x, const struct oidc *o, struct oidc_flow *f);
/* Ends the session of the exchange, if there is one, and goes to the issuer's
 * end of session. */
enum verdict
signout(struct exchange *x, const struct oidc *o, struct oidc_flow *f);
enum verdict signout_backchannel(
    struct exchange *x, const struct oidc *o, struct oidc_flow *f);
/* Set-Cookie; value NULL: the browser forgets it. `max_age_s` 0: as long as
 * the browser runs. */
void signin_cookie(struct exchange *x, const struct oidc *o, const char *name,
    const char *value, int64_t max_age_s);

/* A question to the issuer for an exchange: lives until both are through. */
struct oidc_job {
	struct kb_task task;
	void (*work)(struct oidc_job *j); /* on a thread; may block */
	struct oidc_client *client;
	struct kb_arena *arena; /* of what is asked and answered */
	struct loop *loop;
	struct exchange *x; /* NULL: it has ended */
	unsigned refs;
	enum kb_err err;
	struct code_grant grant;
	struct tokens tokens;
	const char *text, *return_to;
	struct logout_token logout;
	struct session_put put;
};
struct oidc_job *oidc_job_new(struct exchange *x, const struct oidc *o);
/* WAIT, and f->next when it is answered; NEXT: failed, it is too much. */
enum verdict oidc_job_ask(struct exchange *x, struct oidc_flow *f,
    struct oidc_job *j, void (*work)(struct oidc_job *j));
/* The exchange waits for something else of the job, which resumes it. */
void oidc_job_wait(struct exchange *x, struct oidc_job *j);
void oidc_job_resume(struct oidc_job *j);

#endif
