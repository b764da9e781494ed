/*
 * Signing out: by the browser, which then goes to the issuer's end of session
 * (OpenID Connect RP-Initiated Logout 1.0), and by the issuer itself
 * (Back-Channel Logout 1.0).
 */
#include <string.h>
#include <strings.h>

#include <kombi/json.h>
#include <kombi/log.h>
#include <kombi/str.h>

#include "inside.h"

enum { FORM_MAX = 32 * 1024 };

/* ---- the browser --------------------------------------------------------- */

static void
query_add(struct kb_buf *b, const char *name, const char *value)
{
	kb_buf_addc(b, memchr(b->ptr, '?', b->len) ? '&' : '?');
	kb_buf_adds(b, name);
	kb_buf_addc(b, '=');
	kb_percent_encode(b, value, "");
}

static const char *
end_of_session(struct exchange *x, const struct oidc *o, const char *id_token)
{
	const char *home = o->logout_redirect_uri.n
	    ? o->logout_redirect_uri.v[0]
	    : "/";
	struct endpoints e = { 0 };
	struct kb_buf url;
	char *text;

	if (!oidc_endpoints(o->client, exchange_arena(x), &e) || !e.end_session)
		return home;
	kb_buf_init(&url, 32 * 1024);
	kb_buf_adds(&url, e.end_session);
	query_add(&url, "client_id", oidc_client_conf(o->client)->client_id);
	if (o->logout_redirect_uri.n)
		query_add(&url, "post_logout_redirect_uri", home);
	/* So that the issuer need not ask who that is; left out when it would
	 * make the address too long. */
	if (id_token && strlen(id_token) < 4096)
		query_add(&url, "id_token_hint", id_token);
	text = kb_strdup(exchange_arena(x), kb_buf_str(&url));
	kb_buf_free(&url);
	return text;
}

static bool
wants_json(const struct exchange *x)
{
	struct kb_slice rest = exchange_header(x, "Accept"), part, type;

	while (kb_slice_next(&rest, ',', &part))
		if (kb_slice_next(&part, ';', &type) &&
		    kb_slice_eqi(kb_slice_trim(type), "application/json"))
			return true;
	return false;
}

/* A page's script cannot follow to another origin: it is told where. */
static enum verdict
leave(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	const char *to = end_of_session(x, o, f->job ? f->job->text : NULL);
	struct kb_buf b;
	struct kb_jsonw w;
	char *text;

	signin_cookie(x, o, o->cookie, NULL, 0);
	if (!wants_json(x)) {
		exchange_add_response(x, "Location", to);
		exchange_answer(x, 303, NULL, NULL, 0);
		return NEXT;
	}
	kb_buf_init(&b, 64 * 1024);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_object(&w, "data");
	kb_w_str(&w, "redirectUrl", to);
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	text = kb_strdup(exchange_arena(x), kb_buf_str(&b));
	kb_buf_free(&b);
	exchange_answer(x, 200, "application/json", text, strlen(text));
	return NEXT;
}

/* Finds the issuer's addresses, and gives the refresh token back. */
static void
tell_issuer(struct oidc_job *j)
{
	j->err = oidc_discover(j->client);
	if (j->tokens.refresh)
		oidc_revoke(j->client, j->arena, j->tokens.refresh);
}

enum verdict
signout(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	const struct session *s = f->has_id ? sessions_found(x, f->id) : NULL;
	struct oidc_job *j = oidc_job_new(x, o);
	struct endpoints e;

	if (s != NULL) {
		kb_info(NULL, "signed out", KB_S("sub", s->sub),
		    KB_S("requestId", exchange_request_id(x)));
		j->text = kb_strdup(j->arena, s->id_token);
		/* Loops that have just used it hear of it in a second. */
		if (s->sid)
			revocation_tell(
			    j->loop, "sid:", s->sid, s->issued_s, NULL, NULL);
		if (o->logout_revoke)
			j->tokens.refresh = kb_strdup(j->arena, s->refresh);
	}
	if (f->has_id)
		sessions_drop(exchange_loop(x), f->id);
	f->job = j;
	if (j->tokens.refresh == NULL &&
	    oidc_endpoints(o->client, exchange_arena(x), &e))
		return leave(x, o, f);
	f->next = leave;
	return oidc_job_ask(x, f, j, tell_issuer);
}

/* ---- the issuer ---------------------------------------------------------- */

static enum verdict
refuse_token(struct exchange *x, const char *why)
{
	kb_info(NULL, "back-channel logout refused", KB_S("why", why),
	    KB_S("requestId", exchange_request_id(x)));
	exchange_fail(x, KB_INVALID, "The logout token was not accepted");
	return NEXT;
}

static void
told(void *arg, bool fine)
{
	struct oidc_job *j = arg;

	j->err = fine ? KB_OK : KB_UNAVAILABLE;
	oidc_job_resume(j);
}

static enum verdict
backchannel_told(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	(void)o;
	if (f->job->err)
		exchange_fail(x, KB_UNAVAILABLE,
		    "Sessions cannot be ended everywhere now");
	else
		exchange_answer(x, 200, NULL, NULL, 0);
	return NEXT;
}

static enum verdict
backchannel_verified(
    struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	struct oidc_job *j = f->job;
	const struct logout_token *t = &j->logout;

	(void)o;
	if (j->err == KB_UNAVAILABLE) {
		exchange_fail(x, KB_UNAVAILABLE, NULL);
		return NEXT;
	}
	if (j->err)
		return refuse_token(x, t->why);
	kb_info(NULL, "signed out by the issuer", KB_S("sub", t->sub),
	    KB_S("sid", t->sid));
	f->next = backchannel_told;
	oidc_job_wait(x, j);
	/* The moment is the issuer's: sessions that began later stay, also
	 * when the letter comes twice. */
	if (t->sid)
		revocation_tell(j->loop, "sid:", t->sid, t->issued_s, told, j);
	else
		revocation_tell(
		    j->loop, "signout:", t->sub, t->issued_s, told, j);
	return WAIT;
}

static void
verify(struct oidc_job *j)
{
	j->err = oidc_logout_token(j->client, j->arena, j->text, &j->logout);
}

static const char *
form_member(struct exchange *x, struct kb_slice body, const char *name)
{
	struct lines args = { .arena = exchange_arena(x) };
	char *found = NULL;

	form_split(&args, body);
	for (size_t i = 0; i < args.n; i++) {
		struct kb_slice value = args.v[i].value;

		if (!kb_slice_eq(args.v[i].name, name))
			continue;
		if (found != NULL || value.len < 2)
			return NULL;
		value.ptr++;
		value.len--;
		if (!kb_percent_decode(exchange_arena(x), value, &found))
			return NULL;
	}
	return found;
}

static bool
is_form(const struct exchange *x)
{
	struct kb_slice rest = exchange_header(x, "Content-Type"), type;

	return kb_slice_next(&rest, ';', &type) &&
	    kb_slice_eqi(
		kb_slice_trim(type), "application/x-www-form-urlencoded");
}

static enum verdict
backchannel_body(struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	struct kb_slice body;
	const char *token;
	struct oidc_job *j;

	if (exchange_body(x, FORM_MAX, &body) == WAIT)
		return WAIT;
	if (exchange_is_answered(x))
		return NEXT;
	token = form_member(x, body, "logout_token");
	if (token == NULL || strlen(token) > KB_JWT_MAX)
		return refuse_token(x, "no logout token");
	j = oidc_job_new(x, o);
	j->text = kb_strdup(j->arena, token);
	f->next = backchannel_verified;
	return oidc_job_ask(x, f, j, verify);
}

enum verdict
signout_backchannel(
    struct exchange *x, const struct oidc *o, struct oidc_flow *f)
{
	if (exchange_method(x) != KB_M_POST) {
		exchange_add_response(x, "Allow", "POST");
		exchange_fail(x, KB_METHOD, NULL);
		return NEXT;
	}
	if (!is_form(x)) {
		exchange_fail(x, KB_MEDIA_TYPE, NULL);
		return NEXT;
	}
	f->next = backchannel_body;
	return backchannel_body(x, o, f);
}
