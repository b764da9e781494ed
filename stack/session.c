/*
 * Session tokens on the platform's own routes: auth tokens of a member, which
 * is a record of the tenant's users collection (records/auth_token.c).
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "records/auth.h"
#include "session.h"
#include "stack.h"

#define TENANT_PREFIX "/tenant/{slug}"

enum kb_err
session_issue(struct kb_cx *cx, struct tenant_handle *h, const struct tenant *t,
    const struct member *m, struct session_token *out)
{
	struct token_spec spec = {
		.kind = TOKEN_AUTH,
		.life_s = out->life_s,
		.refreshable = true,
	};
	struct schema *schema;
	struct auth_row row;
	enum kb_err err = schema_acquire(cx, tenant_schemas(h), &schema);

	if (err)
		return err;
	err = auth_row_get(cx, schema_find(schema, USERS_ID), m->id, &row);
	if (!err) {
		out->expires_s = kb_wall_s() + out->life_s;
		out->token = auth_token_issue(cx->arena, t, &row, &spec);
	}
	schema_release(tenant_schemas(h), schema);
	return err;
}

/* The open tenant's token of a member with a role. */
static enum kb_err
judge(struct kb_request *req, struct tenant_cx *tc, struct kb_slice token)
{
	struct schema_slot *slot = tenant_schemas(tc->handle);
	struct api api = { .req = req, .tenant = tc };
	struct auth_token t;
	struct schema *schema;
	enum kb_err err = schema_acquire(&req->cx, slot, &schema);

	if (err)
		return err;
	api.schema = schema;
	err = auth_token_judge(&api, token, TOKEN_AUTH, &t);
	if (!err && strcmp(t.row.record->c->id, USERS_ID) != 0)
		err = KB_AUTH_INVALID;
	if (!err)
		auth_member(&t.row, &tc->user);
	schema_release(slot, schema);
	if (err)
		return err;
	req->role = kb_tenant_role_of(tc->user.role);
	return req->role == KB_ROLE_NONE ? KB_AUTH_INVALID : KB_OK;
}

static bool
is_members_token(struct kb_request *req, struct kb_slice token)
{
	const char *collection, *id;

	return auth_token_peek(
		   req->cx.arena, token, TOKEN_AUTH, &collection, &id) &&
	    strcmp(collection, USERS_ID) == 0 && kb_is_id(id);
}

enum kb_err
session_resolve(struct kb_request *req, struct kb_slice token)
{
	struct tenant_cx *tc = kb_new(req->cx.arena, struct tenant_cx);
	const char *slug;
	enum kb_err err;

	if (!kb_str_starts(req->route->pattern, TENANT_PREFIX))
		return KB_UNAUTHENTICATED;
	if (!is_members_token(req, token))
		return KB_AUTH_INVALID;
	/* An unknown tenant is told as a bad token: nothing to learn here. */
	slug = kb_param(req, "slug");
	if (!kb_is_slug(slug) || tenant_by_slug(&req->cx, slug, &tc->row))
		return KB_AUTH_INVALID;
	err = session_open(req, tc);
	if (err == KB_TENANT_FORBIDDEN)
		return err; /* suspended */
	if (!err)
		err = judge(req, tc, token);
	if (err) {
		req->role = KB_ROLE_NONE;
		return err == KB_UNAVAILABLE ? err : KB_AUTH_INVALID;
	}
	req->user.sub = tc->user.sub;
	req->user.email = tc->user.email;
	req->user.name = tc->user.name;
	req->user.tenant = tc->row.slug;
	return KB_OK;
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
