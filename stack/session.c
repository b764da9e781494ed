/*
 * Session tokens: PocketBase auth tokens of a tenant's users collection
 * (HS256; key = the member's token_key, then the tenant's token secret), so
 * that a changed token_key ends all sessions of one member and a changed
 * secret those of all members.
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "session.h"
#include "stack.h"

#define TENANT_PREFIX "/tenant/{slug}"
#define COLLECTION_ID "_pb_users_auth_" /* PocketBase's users collection */

static const char *
session_key(struct kb_arena *a, const struct tenant *t, const struct member *m)
{
	return kb_sprintf(a, "%s%s", m->token_key, t->token_secret);
}

char *
session_issue(struct kb_arena *a, const struct tenant *t,
    const struct member *m, int64_t life_s, int64_t *expires_s)
{
	const char *key = session_key(a, t, m);
	struct kb_buf claims;
	struct kb_jsonw w;
	char *token;

	*expires_s = kb_wall_s() + life_s;
	kb_buf_init(&claims, 4096);
	kb_w_init(&w, &claims);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "id", m->id);
	kb_w_str(&w, "type", "auth");
	kb_w_str(&w, "collectionId", COLLECTION_ID);
	kb_w_bool(&w, "refreshable", true);
	kb_w_int(&w, "exp", *expires_s);
	kb_w_object_end(&w);
	token = kb_jwt_sign_hs256(
	    a, kb_buf_str(&claims), NULL, key, strlen(key));
	kb_buf_free(&claims);
	return token;
}

static bool
is_auth_token(const struct kb_json *claims, const char **id)
{
	const char *type = kb_json_str(claims, "type");
	const char *collection = kb_json_str(claims, "collectionId");

	*id = kb_json_str(claims, "id");
	return kb_str_eq(type, "auth") &&
	    kb_str_eq(collection, COLLECTION_ID) && *id != NULL &&
	    kb_is_id(*id);
}

/* After entering: the member's own key must have signed the token. */
static enum kb_err
check_signature(
    struct kb_request *req, const struct tenant_cx *tc, struct kb_slice token)
{
	static const struct kb_jwt_rules rules = { .leeway_s = 0 };
	const char *key = session_key(req->cx.arena, &tc->row, &tc->user);
	struct kb_jwt jwt;

	return kb_jwt_verify_hs256(req->cx.arena, token,
	    (struct kb_slice) { key, strlen(key) }, &rules, &jwt);
}

enum kb_err
session_resolve(struct kb_request *req, struct kb_slice token)
{
	struct tenant_cx *tc = kb_new(req->cx.arena, struct tenant_cx);
	const struct kb_json *claims;
	const char *slug, *id;
	enum kb_err err;

	if (!kb_str_starts(req->route->pattern, TENANT_PREFIX))
		return KB_UNAUTHENTICATED;
	if (kb_jwt_peek(req->cx.arena, token.ptr, token.len, &claims) ||
	    !is_auth_token(claims, &id))
		return KB_AUTH_INVALID;
	/* An unknown tenant is told as a bad token: nothing to learn here. */
	slug = kb_param(req, "slug");
	if (!kb_is_slug(slug) || tenant_by_slug(&req->cx, slug, &tc->row))
		return KB_AUTH_INVALID;
	err = session_enter(req, tc, id);
	if (err == KB_TENANT_FORBIDDEN && tc->handle == NULL)
		return err; /* suspended */
	if (err || check_signature(req, tc, token)) {
		req->role = KB_ROLE_NONE;
		return err == KB_UNAVAILABLE ? err : KB_AUTH_INVALID;
	}
	req->user.sub = tc->user.sub;
	req->user.email = tc->user.email;
	req->user.name = tc->user.name;
	req->user.tenant = tc->row.slug;
	return KB_OK;
}

enum kb_err
session_judge(
    struct kb_request *req, struct tenant_cx *tc, struct kb_slice token)
{
	const struct kb_json *claims;
	const char *id;
	enum kb_err err;

	if (kb_jwt_peek(req->cx.arena, token.ptr, token.len, &claims) ||
	    !is_auth_token(claims, &id))
		return KB_AUTH_INVALID;
	err = session_member(req, tc, id);
	return err ? err : check_signature(req, tc, token);
}

/* The page where a launch ends. What it shows comes from the API that the
 * session opens; the page itself holds nothing of a tenant. */
struct kb_reply
session_dashboard(struct kb_request *req)
{
	static const char page[] =
	    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
	    "<title>kombify stack</title></head><body>"
	    "<h1>Your homelab is launched</h1>"
	    "<p>The API of this tenant answers below this address; send the"
	    " session token as Authorization.</p></body></html>\n";

	return kb_bytes_reply(
	    req, 200, "text/html; charset=utf-8", page, sizeof(page) - 1);
}
