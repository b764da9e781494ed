/*
 * Tokens of auth records by PocketBase's scheme, and who a request is by
 * them. Claims: id, type, collectionId, exp, and refreshable or the addresses.
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/jwt.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "auth.h"

static const char *const kind_names[TOKEN_COUNT] = {
	[TOKEN_AUTH] = "auth",
	[TOKEN_PASSWORD_RESET] = "passwordReset",
	[TOKEN_EMAIL_CHANGE] = "emailChange",
	[TOKEN_VERIFICATION] = "verification",
	[TOKEN_FILE] = "file",
};

/* Lives where a collection says none. */
static const int64_t lives_s[TOKEN_COUNT] = {
	[TOKEN_AUTH] = 432000,
	[TOKEN_PASSWORD_RESET] = 1800,
	[TOKEN_EMAIL_CHANGE] = 1800,
	[TOKEN_VERIFICATION] = 86400,
	[TOKEN_FILE] = 180,
};

/* ---- values
 * -------------------------------------------------------------------------- */

const char *
auth_text(const struct record *r, const char *name)
{
	const struct field *f = collection_field(r->c, name);
	const char *text = NULL;

	if (f != NULL && f->type != FT_NUMBER && f->type != FT_BOOL)
		text = r->cells[f - r->c->fields].text;
	return text ? text : "";
}

bool
auth_flag(const struct record *r, const char *name)
{
	const struct field *f = collection_field(r->c, name);

	return f != NULL && f->type == FT_BOOL &&
	    r->cells[f - r->c->fields].flag;
}

bool
auth_set(struct record *r, const char *name, union cell v)
{
	const struct field *f = collection_field(r->c, name);

	if (f == NULL)
		return false;
	r->cells[f - r->c->fields] = v;
	return true;
}

/* ---- making
 * -------------------------------------------------------------------------- */

/* A collection without a secret of its own has the tenant's. */
static const char *
key_of(struct kb_arena *a, const struct tenant *t, const struct auth_row *row,
    enum token_kind kind)
{
	const struct auth_options *o = row->record->c->auth_options;
	const char *secret = o ? o->tokens[kind].secret : NULL;

	if (secret == NULL || secret[0] == '\0')
		secret = kind == TOKEN_AUTH
		    ? t->token_secret
		    : kb_sprintf(a, "%s%s", t->token_secret, kind_names[kind]);
	return kb_sprintf(a, "%s%s", row->token_key, secret);
}

static int64_t
life_of(const struct auth_row *row, const struct token_spec *spec)
{
	const struct auth_options *o = row->record->c->auth_options;

	if (spec->life_s > 0)
		return spec->life_s;
	if (o != NULL && o->tokens[spec->kind].duration_s > 0)
		return o->tokens[spec->kind].duration_s;
	return lives_s[spec->kind];
}

const char *
auth_token_issue(struct kb_arena *a, const struct tenant *t,
    const struct auth_row *row, const struct token_spec *spec)
{
	const char *key = key_of(a, t, row, spec->kind), *token;
	struct kb_buf claims;
	struct kb_jsonw w;

	kb_buf_init(&claims, 8192);
	kb_w_init(&w, &claims);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "id", record_id_of(row->record));
	kb_w_str(&w, "type", kind_names[spec->kind]);
	kb_w_str(&w, "collectionId", row->record->c->id);
	kb_w_int(&w, "exp", kb_wall_s() + life_of(row, spec));
	if (spec->kind == TOKEN_AUTH)
		kb_w_bool(&w, "refreshable", spec->refreshable);
	else if (spec->kind != TOKEN_FILE)
		kb_w_str(&w, "email", auth_email(row));
	kb_w_opt(&w, "newEmail", spec->new_email);
	kb_w_object_end(&w);
	token = kb_jwt_sign_hs256(
	    a, kb_buf_str(&claims), NULL, key, strlen(key));
	kb_buf_free(&claims);
	return token;
}

/* ---- judging
 * ------------------------------------------------------------------------- */

static const struct kb_json *
claims_of(struct kb_arena *a, struct kb_slice token, enum token_kind kind)
{
	const struct kb_json *claims;

	if (token.len == 0 || token.len > KB_JWT_MAX ||
	    kb_jwt_peek(a, token.ptr, token.len, &claims) ||
	    !kb_str_eq(kb_json_str(claims, "type"), kind_names[kind]))
		return NULL;
	return claims;
}

bool
auth_token_peek(struct kb_arena *a, struct kb_slice token, enum token_kind kind,
    const char **collection_id, const char **id)
{
	const struct kb_json *claims = claims_of(a, token, kind);

	*collection_id = kb_json_str(claims, "collectionId");
	*id = kb_json_str(claims, "id");
	return *collection_id != NULL && *id != NULL;
}

int64_t
auth_token_end(struct kb_arena *a, struct kb_slice token)
{
	const struct kb_json *claims = claims_of(a, token, TOKEN_AUTH);
	int64_t end = 0;

	return kb_json_int(claims, "exp", &end) ? end : 0;
}

/* NULL: not signed by that key, or too late. */
static const struct kb_json *
verified_claims(struct kb_arena *a, const char *key, struct kb_slice token)
{
	static const struct kb_jwt_rules rules = { .leeway_s = 0 };
	struct kb_slice k = kb_slice_of(key);
	struct kb_jwt jwt;
	enum kb_err err = kb_jwt_verify_hs256(a, token, k, &rules, &jwt);

	return err ? NULL : jwt.claims;
}

enum kb_err
auth_token_judge(const struct api *api, struct kb_slice token,
    enum token_kind kind, struct auth_token *out)
{
	struct kb_cx *cx = &api->req->cx;
	const struct kb_json *claims;
	const struct collection *c;
	const char *collection, *id;
	enum kb_err err;

	*out = (struct auth_token) { .email = "", .new_email = "" };
	if (!auth_token_peek(cx->arena, token, kind, &collection, &id))
		return KB_AUTH_INVALID;
	c = schema_find(api->schema, collection);
	if (c == NULL || !c->auth || strcmp(c->id, collection) != 0)
		return KB_AUTH_INVALID;
	err = auth_row_get(cx, c, id, &out->row);
	if (err)
		return err == KB_NOT_FOUND ? KB_AUTH_INVALID : err;
	if (out->row.disabled || out->row.token_key[0] == '\0')
		return KB_AUTH_INVALID;
	claims = verified_claims(cx->arena,
	    key_of(cx->arena, &api->tenant->row, &out->row, kind), token);
	if (claims == NULL)
		return KB_AUTH_INVALID;
	if (kb_json_str(claims, "email") != NULL)
		out->email = kb_json_str(claims, "email");
	if (kb_json_str(claims, "newEmail") != NULL)
		out->new_email = kb_json_str(claims, "newEmail");
	out->refreshable = kb_json_bool(claims, "refreshable", false);
	return KB_OK;
}

/* ---- who asks
 * ------------------------------------------------------------------------ */

struct kb_slice
auth_header_token(const struct kb_request *req)
{
	const char *value = kb_header(req, "Authorization");
	struct kb_slice token = kb_slice_of(value ? value : "");

	if (token.len > 7 &&
	    kb_slice_eqi((struct kb_slice) { token.ptr, 7 }, "Bearer "))
		token = (struct kb_slice) { token.ptr + 7, token.len - 7 };
	return token;
}

void
auth_member(const struct auth_row *row, struct member *m)
{
	const struct record *r = row->record;

	*m = (struct member) {
		.id = record_id_of(r),
		.email = auth_email(row),
		.name = auth_text(r, "name"),
		.role = auth_text(r, "role"),
		.sub = auth_text(r, "ssoSub"),
		.token_key = row->token_key,
		.disabled = row->disabled,
	};
}

static void
become(struct api *api, const struct auth_row *row, bool refreshable)
{
	struct kb_request *req = api->req;
	struct principal *p = kb_new(req->cx.arena, struct principal);

	*p = (struct principal) {
		.c = row->record->c,
		.id = record_id_of(row->record),
		.email = auth_email(row),
		.verified = auth_flag(row->record, "verified"),
		.record = row->record,
		.refreshable = refreshable,
	};
	api->auth = p;
	if (strcmp(p->c->id, USERS_ID) == 0) {
		auth_member(row, &api->tenant->user);
		req->role = kb_tenant_role_of(api->tenant->user.role);
	}
	api->superuser = auth_is_superuser(p->c) || req->role == KB_ROLE_ADMIN;
}

enum kb_err
auth_recognise(struct api *api)
{
	struct kb_request *req = api->req;
	const char *member = api->tenant->user.id;
	struct auth_token t;
	enum kb_err err;

	if (member != NULL) { /* the gateway's word */
		err = auth_row_get(&req->cx, schema_find(api->schema, USERS_ID),
		    member, &t.row);
		if (!err)
			become(api, &t.row, true);
		return err == KB_NOT_FOUND ? KB_TENANT_FORBIDDEN : err;
	}
	err = auth_token_judge(api, auth_header_token(req), TOKEN_AUTH, &t);
	if (!err)
		become(api, &t.row, t.refreshable);
	return err == KB_AUTH_INVALID ? KB_OK : err;
}
