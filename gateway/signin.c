/*
 * Signing in: off to the issuer with state, nonce and PKCE (RFC 7636), back
 * with a code (RFC 6749 4.1, RFC 9700). What must be remembered in between
 * stands sealed in a cookie of ten minutes, so that only the browser that
 * went away can come back, and each state is taken once.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/json.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum {
	AWAY_S = 600,
	STATE_TEXT = 22,
	STATE_IN_NAME = 8, /* characters of it name the cookie */
	AUTH_COOKIES_MAX = 6,
	CODE_MAX = 4096,
};

static const char begin_again[] = "The sign-in has expired or was not begun in "
				  "this browser: begin again";

/* ---- jobs ---------------------------------------------------------------- */

static void
job_unref(void *arg)
{
	struct oidc_job *j = arg;

	if (--j->refs)
		return;
	kb_arena_free(j->arena);
	free(j);
}

static void
job_exchange_ends(void *arg)
{
	struct oidc_job *j = arg;

	j->x = NULL;
	job_unref(j);
}

static void
job_forget(void *arg)
{
	struct oidc_job *j = arg;

	j->x = NULL;
}

struct oidc_job *
oidc_job_new(struct exchange *x, const struct oidc *o)
{
	struct oidc_job *j = kb_xalloc(sizeof(*j));

	memset(j, 0, sizeof(*j));
	j->client = o->client;
	j->arena = kb_arena_new(0);
	j->loop = exchange_loop(x);
	j->x = x;
	j->refs = 1;
	kb_arena_on_free(exchange_arena(x), job_exchange_ends, j);
	return j;
}

void
oidc_job_wait(struct exchange *x, struct oidc_job *j)
{
	j->refs++;
	exchange_on_cancel(x, job_forget, j);
	exchange_again(x);
}

void
oidc_job_resume(struct oidc_job *j)
{
	if (j->x != NULL)
		exchange_resume(j->x);
	job_unref(j);
}

static void
job_work(struct kb_task *t)
{
	struct oidc_job *j = KB_CONTAINER(t, struct oidc_job, task);

	j->work(j);
}

static void
job_done(struct kb_task *t)
{
	oidc_job_resume(KB_CONTAINER(t, struct oidc_job, task));
}

enum verdict
oidc_job_ask(struct exchange *x, struct oidc_flow *f, struct oidc_job *j,
    void (*work)(struct oidc_job *j))
{
	j->task = (struct kb_task) { .work = job_work, .done = job_done };
	j->work = work;
	f->job = j;
	oidc_job_wait(x, j);
	if (loop_ask(j->loop, &j->task))
		return WAIT;
	exchange_on_cancel(x, NULL, NULL);
	job_unref(j);
	exchange_add_response(x, "Retry-After", "1");
	exchange_fail(x, KB_UNAVAILABLE, "Too many are signing in just now");
	return NEXT;
}

/* ---- cookies ------------------------------------------------------------- */

void
signin_cookie(struct exchange *x, const struct oidc *o, const char *name,
    const char *value, int64_t max_age_s)
{
	const char *age = "";

	if (value == NULL)
		age = "; Max-Age=0";
	else if (max_age_s)
		age = kb_sprintf(
		    exchange_arena(x), "; Max-Age=%lld", (long long)max_age_s);
	exchange_add_response(x, "Set-Cookie",
	    kb_sprintf(exchange_arena(x),
		"%s=%s; Path=/; HttpOnly%s; SameSite=%s%s", name,
		value ? value : "", o->secure ? "; Secure" : "",
		o->session_cookie_same_site && name == o->cookie ? "Strict"
								 : "Lax",
		age));
}

static char *
auth_cookie_name(struct kb_arena *a, const struct oidc *o, const char *state)
{
	return kb_sprintf(a, "%s%.*s", o->auth_cookie, STATE_IN_NAME, state);
}

/* Sign-ins that were begun and left: too many of them fill the head. */
static void
clear_abandoned(struct exchange *x, const struct oidc *o)
{
	struct kb_slice rest = kb_http1_get(
	    exchange_head(x), exchange_bytes(x), KB_H_COOKIE);
	size_t prefix = strlen(o->auth_cookie);
	const char *names[32];
	struct kb_slice part;
	size_t n = 0;

	while (kb_slice_next(&rest, ';', &part)) {
		part = kb_slice_trim(part);
		if (n < KB_COUNT(names) && part.len > prefix + STATE_IN_NAME &&
		    memcmp(part.ptr, o->auth_cookie, prefix) == 0 &&
		    part.ptr[prefix + STATE_IN_NAME] == '=')
			names[n++] = kb_strndup(exchange_arena(x), part.ptr,
			    prefix + STATE_IN_NAME);
	}
	for (size_t i = 0; n >= AUTH_COOKIES_MAX && i < n; i++)
		signin_cookie(x, o, names[i], NULL, 0);
}

/* ---- going away ---------------------------------------------------------- */

/* The fixed one whose origin the browser is at, else the first. */
static const char *
redirect_uri_for(const struct exchange *x, const struct oidc *o)
{
	struct kb_slice host = kb_http1_get(
	    exchange_head(x), exchange_bytes(x), KB_H_HOST);
	const char *scheme = exchange_is_https(x) ? "https://" : "http://";
	size_t n = strlen(scheme);

	for (size_t i = 0; i < o->redirect_uri.n; i++) {
		const char *uri = o->redirect_uri.v[i];

		if (kb_str_starts(uri, scheme) && host.len &&
		    strlen(uri) > n + host.len &&
		    memcmp(uri + n, host.ptr, host.len) == 0 &&
		    uri[n + host.len] == '/')
			return uri;
	}
	return o->redirect_uri.v[0];
}

static char *
random_text(struct kb_arena *a, size_t n)
{
	unsigned char bytes[32];

	kb_random(bytes, n);
	return kb_base64url(a, bytes, n);
}

static void
query_add(struct kb_buf *b, const char *name, const char *value)
{
	kb_buf_addc(b, memchr(b->ptr, '?', b->len) ? '&' : '?');
	kb_buf_adds(b, name);
	kb_buf_addc(b, '=');
	kb_percent_encode(b, value, "");
}

struct going {
	struct code_grant grant;
	const char *state, *to;
};

static char *
sealed_state(struct exchange *x, const struct oidc *o, const char *place,
    const struct going *away)
{
	struct kb_arena *a = exchange_arena(x);
	const struct code_grant *g = &away->grant;
	struct kb_buf b;
	struct kb_jsonw w;
	char *text;

	kb_buf_init(&b, 16 * 1024);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "state", away->state);
	kb_w_str(&w, "nonce", g->nonce);
	kb_w_str(&w, "verifier", g->verifier);
	kb_w_str(&w, "redirect", g->redirect_uri);
	kb_w_str(&w, "client", oidc_client_conf(o->client)->client_id);
	kb_w_str(&w, "issuer", oidc_client_conf(o->client)->issuer);
	kb_w_str(&w, "to", away->to);
	kb_w_int(&w, "at", kb_wall_s());
	kb_w_object_end(&w);
	text = seal(a, &oidc_client_conf(o->client)->seal, place, b.ptr, b.len);
	kb_wipe(b.ptr, b.len);
	kb_buf_free(&b);
	return text;
}

static void
go(struct exchange *x, const struct oidc *o, const struct oidc_flow *f,
    const struct endpoints *e)
{
	struct kb_arena *a = exchange_arena(x);
	unsigned char hash[KB_SHA256_SIZE];
	const struct going away = {
		.grant = {
			.verifier = random_text(a, 32),
			.nonce = random_text(a, 16),
			.redirect_uri = redirect_uri_for(x, o),
		},
		.state = random_text(a, 16),
		.to = f->return_to,
	};
	const struct code_grant *g = &away.grant;
	const char *name = auth_cookie_name(a, o, away.state);
	struct kb_buf url;

	kb_sha256(g->verifier, strlen(g->verifier), hash);
	kb_buf_init(&url, 16 * 1024);
	kb_buf_adds(&url, e->authorization);
	query_add(&url, "response_type", "code");
	query_add(&url, "client_id", oidc_client_conf(o->client)->client_id);
	query_add(&url, "redirect_uri", g->redirect_uri);
	query_add(&url, "scope", oidc_client_conf(o->client)->scopes);
	query_add(&url, "state", away.state);
	query_add(&url, "nonce", g->nonce);
	query_add(&url, "code_challenge", kb_base64url(a, hash, sizeof(hash)));
	query_add(&url, "code_challenge_method", "S256");
	clear_abandoned(x, o);
	exchange_add_response(x, "Location", kb_strdup(a, kb_buf_str(&url)));
	kb_buf_free(&url);
	signin_cookie(x, o, name, sealed_state(x, o, name, &away), AWAY_S);
	exchange_answer(x, 302, NULL, NULL, 0);
}

static void
discover(struct oidc_job *j)
{
	j->err = oidc_discover(j->client);
}

static enum verdict
start_known(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	struct endpoints e;

	if (f->job->err || !oidc_endpoints(o->client, exchange_arena(x), &e)) {
		exchange_add_response(x, "Retry-After", "5");
		exchange_fail(x, KB_UNAVAILABLE,
		    "The identity provider cannot be reached now");
		return NEXT;
	}
	go(x, o, f, &e);
	return NEXT;
}

enum verdict
signin_start(struct exchange *x, const struct oidc *o, struct oidc_flow *f,
    const char *return_to)
{
	struct endpoints e;

	f->return_to = return_to;
	if (!sessions_up(exchange_loop(x))) {
		exchange_add_response(x, "Retry-After", "5");
		exchange_fail(x, KB_UNAVAILABLE,
		    "Nobody can sign in now: sessions cannot be kept");
		return NEXT;
	}
	if (oidc_endpoints(o->client, exchange_arena(x), &e)) {
		go(x, o, f, &e);
		return NEXT;
	}
	f->next = start_known;
	return oidc_job_ask(x, f, oidc_job_new(x, o), discover);
}

/* ---- coming back --------------------------------------------------------- */

bool
signin_is_callback(const struct oidc *o, struct kb_slice path)
{
	for (size_t i = 0; i < o->redirect_uri.n; i++) {
		const char *host = strstr(o->redirect_uri.v[i], "://") + 3;
		const char *own = strchr(host, '/');

		if (own && kb_slice_eq(path, own))
			return true;
	}
	return false;
}

static enum verdict
refuse(struct exchange *x, const char *why, const char *message)
{
	kb_info(NULL, "sign-in refused", KB_S("why", why),
	    KB_S("requestId", exchange_request_id(x)));
	exchange_fail(x, KB_AUTH_INVALID, message);
	return NEXT;
}

/* What was remembered when the browser went away; why not, or NULL. */
static const char *
recall(struct exchange *x, const struct oidc *o, const char *state,
    struct oidc_job *j)
{
	struct kb_arena *a = j->arena;
	const struct oidc_client_conf *c = oidc_client_conf(o->client);
	const char *name = auth_cookie_name(exchange_arena(x), o, state);
	const char *plain, *why;
	const struct kb_json *kept;
	struct kb_slice value;
	int64_t at = 0, now = kb_wall_s();
	size_t len;

	if (exchange_cookie(x, name, &value) != COOKIE_ONE)
		return "no cookie of this state";
	plain = unseal(a, &c->seal, name, kb_slice_dup(a, value), &len);
	if (plain == NULL || kb_json_parse(a, plain, len, &kept, &why))
		return "cookie is not ours";
	j->grant.nonce = kb_json_str(kept, "nonce");
	j->grant.verifier = kb_json_str(kept, "verifier");
	j->grant.redirect_uri = kb_json_str(kept, "redirect");
	j->return_to = kb_json_str(kept, "to");
	if (kb_json_str(kept, "state") == NULL ||
	    !kb_str_equal_ct(kb_json_str(kept, "state"), state))
		return "state is another one";
	if (!kb_str_eq(kb_json_str(kept, "client"), c->client_id) ||
	    !kb_str_eq(kb_json_str(kept, "issuer"), c->issuer))
		return "begun with another client";
	if (!kb_json_int(kept, "at", &at) || at > now || now - at > AWAY_S)
		return "begun too long ago";
	if (!j->grant.nonce || !j->grant.verifier || !j->grant.redirect_uri ||
	    !j->return_to)
		return "cookie is not complete";
	j->put.once = kb_sprintf(a, "kombi:signin:%s", state);
	return NULL;
}

static void
redeem(struct oidc_job *j)
{
	j->err = oidc_redeem(j->client, j->arena, &j->grant, &j->tokens);
}

static void
kept(struct session_put *p)
{
	oidc_job_resume(p->arg);
}

static void
fill_session(struct oidc_job *j, struct session *s)
{
	const struct tokens *t = &j->tokens;

	*s = (struct session) {
		.sub = t->identity.value[KB_ID_USER],
		.sid = t->sid,
		.access = t->access,
		.refresh = t->refresh,
		.id_token = t->id_token,
		.claims = t->claims,
		.created_s = kb_wall_s(),
		.issued_s = t->issued_s,
		.expires_s = t->expires_s,
		.identity = t->identity,
	};
}

static void
answer_tokens(struct exchange *x, const struct oidc_job *j)
{
	struct kb_buf b;
	struct kb_jsonw w;
	char *text;

	kb_buf_init(&b, 64 * 1024);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "id_token", j->tokens.id_token);
	kb_w_object_end(&w);
	text = kb_strdup(exchange_arena(x), kb_buf_str(&b));
	kb_buf_free(&b);
	exchange_answer(x, 200, "application/json", text, strlen(text));
}

static enum verdict
callback_kept(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	struct oidc_job *j = f->job;

	if (j->put.err == KB_CONFLICT)
		return refuse(x, "state was used before", begin_again);
	if (j->put.err) {
		exchange_add_response(x, "Retry-After", "5");
		exchange_fail(x, j->put.err,
		    "Nobody can sign in now: the session could not be kept");
		return NEXT;
	}
	signin_cookie(x, o, o->cookie,
	    kb_base64url(exchange_arena(x), j->put.id, SESSION_ID), 0);
	kb_info(NULL, "signed in", KB_S("sub", j->put.session.sub),
	    KB_S("requestId", exchange_request_id(x)));
	if (o->login_action == LOGIN_RESPONSE) {
		answer_tokens(x, j);
	} else if (o->login_action == LOGIN_REDIRECT) {
		exchange_add_response(x, "Location", j->return_to);
		exchange_answer(x, 303, NULL, NULL, 0);
	} else {
		struct token_entry *t = token_of_session(
		    &j->put.session.identity, j->put.session.claims);

		exchange_set_identity(x, t);
		token_unref(t);
	}
	return NEXT;
}

static enum verdict
callback_redeemed(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	struct oidc_job *j = f->job;
	struct kb_slice old;

	if (j->err == KB_AUTH_INVALID || j->err == KB_BAD_GATEWAY)
		return refuse(x, j->tokens.why ? j->tokens.why : "bad answer",
		    j->tokens.refused ? begin_again
				      : "The identity provider's answer was "
					"not accepted");
	if (j->err) {
		exchange_add_response(x, "Retry-After", "5");
		exchange_fail(x, KB_UNAVAILABLE,
		    "The identity provider cannot be reached now");
		return NEXT;
	}
	fill_session(j, &j->put.session);
	if (revocation_covers(
		j->loop, "user:", j->put.session.sub, j->put.session.issued_s))
		return refuse(x, "user is locked", "Access was revoked");
	if (exchange_cookie(x, o->cookie, &old) == COOKIE_ONE)
		j->put.has_old = session_id(old, j->put.old);
	j->put.done = kept;
	j->put.arg = j;
	f->next = callback_kept;
	oidc_job_wait(x, j);
	sessions_put(j->loop, o->client, &o->times, &j->put);
	return WAIT;
}

/* The issuer's own word for it, when it is one (RFC 6749 4.1.2.1). */
static const char *
error_word(struct exchange *x, const char *error)
{
	for (const char *c = error; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || *c == '_') || c - error > 40)
			return "The identity provider refused";
	return kb_sprintf(
	    exchange_arena(x), "The identity provider refused: %s", error);
}

enum verdict
signin_callback(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	const char *state = exchange_query_arg(x, "state");
	const char *code = exchange_query_arg(x, "code");
	const char *error = exchange_query_arg(x, "error");
	const char *issuer = exchange_query_arg(x, "iss");
	struct oidc_job *j;
	const char *why;

	if (exchange_method(x) != KB_M_GET) {
		exchange_add_response(x, "Allow", "GET");
		exchange_fail(x, KB_METHOD, NULL);
		return NEXT;
	}
	if (state == NULL || strlen(state) != STATE_TEXT)
		return refuse(x, "no state", begin_again);
	j = oidc_job_new(x, o);
	why = recall(x, o, state, j);
	/* Used up, whatever comes of it; nobody else's cookie is touched. */
	if (why == NULL)
		signin_cookie(x, o,
		    auth_cookie_name(exchange_arena(x), o, state), NULL, 0);
	if (why != NULL)
		return refuse(x, why, begin_again);
	/* RFC 9207: another issuer's answer is mixed up with this one. */
	if (issuer && !kb_str_eq(issuer, oidc_client_conf(o->client)->issuer))
		return refuse(x, "answer of another issuer", begin_again);
	if (error != NULL)
		return refuse(x, "the issuer refused", error_word(x, error));
	if (code == NULL || code[0] == '\0' || strlen(code) > CODE_MAX)
		return refuse(x, "no code", begin_again);
	j->grant.code = kb_strdup(j->arena, code);
	f->next = callback_redeemed;
	return oidc_job_ask(x, f, j, redeem);
}
