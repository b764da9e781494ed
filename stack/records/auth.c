/* The answer to who has signed in, tokens anew, acting as another one, tokens
 * for files. */
#include <string.h>

#include <kombi/audit.h>
#include <kombi/str.h>

#include "auth.h"

/* ---- the answer
 * ----------------------------------------------------------------------- */

struct session {
	const struct api *api;
	const char *token, *meta;
	const struct record *record;
	const struct picker *picker;
};

static void
session_json(struct kb_jsonw *w, const void *obj)
{
	const struct session *s = obj;
	const struct picker *inner;

	if (s->meta != NULL && picker_wants(s->picker, "meta", &inner))
		kb_w_raw(w, "meta", s->meta);
	if (picker_wants(s->picker, "record", &inner)) {
		kb_w_object(w, "record");
		record_write(w, s->api, s->record, inner);
		kb_w_object_end(w);
	}
	if (picker_wants(s->picker, "token", &inner))
		kb_w_str(w, "token", s->token);
}

/* Whether the collection's authRule holds for the record. */
static enum kb_err
may_enter(struct api *api, const struct auth_row *row, bool *may)
{
	const struct auth_options *o = row->record->c->auth_options;
	struct record *r;
	struct query q;
	enum kb_err err;

	*may = api->superuser || (o->auth_rule && o->auth_rule[0] == '\0');
	if (*may || o->auth_rule == NULL)
		return KB_OK;
	query_init(&q, api, row->record->c);
	if (!query_rule(&q, o->auth_rule))
		return KB_OK;
	err = record_get(&api->req->cx, &q, record_id_of(row->record), &r);
	*may = err == KB_OK;
	return err == KB_NOT_FOUND ? KB_OK : err;
}

/* The record sees itself as it will with its token. */
static struct api
as_record(const struct api *api, const struct auth_row *row)
{
	struct principal *p = kb_new(api->req->cx.arena, struct principal);
	struct api mine = *api;

	*p = (struct principal) {
		.c = row->record->c,
		.id = record_id_of(row->record),
		.email = auth_email(row),
		.record = row->record,
	};
	mine.auth = p;
	mine.superuser = auth_is_superuser(p->c) ||
	    (strcmp(p->c->id, USERS_ID) == 0 &&
		strcmp(auth_text(p->record, "role"), "admin") == 0);
	return mine;
}

/* People of the platform keep to the session's length that it sets. */
static int64_t
life_of(struct api *api, const struct auth_row *row)
{
	const struct auth_options *o = row->record->c->auth_options;
	int64_t session_s = stack_config(kb_app(api->req))->session_s;
	int64_t own_s = o->tokens[TOKEN_AUTH].duration_s;
	bool member = strcmp(row->record->c->id, USERS_ID) == 0 &&
	    auth_text(row->record, "role")[0] != '\0';

	return member && session_s < own_s ? session_s : 0;
}

static struct kb_reply
answer(struct api *api, const struct auth_row *row, const struct sign_in *how)
{
	struct kb_request *req = api->req;
	struct api mine = as_record(api, row);
	struct record *r = row->record;
	struct token_spec spec = {
		.kind = TOKEN_AUTH,
		.refreshable = true,
		.life_s = life_of(api, row),
	};
	struct session s = {
		.api = &mine,
		.record = r,
		.token = how->token,
		.meta = how->meta,
		.picker = picker_parse(
		    req->cx.arena, kb_query_param(req, "fields")),
	};

	if (s.token == NULL)
		s.token = auth_token_issue(
		    req->cx.arena, &api->tenant->row, row, &spec);
	/* What cannot be expanded is left out. */
	if (records_expand(
		&mine, &req->cx, &r, 1, kb_query_param(req, "expand")))
		r->expanded = NULL;
	return kb_bare(req, 200, session_json, &s);
}

struct kb_reply
auth_respond(
    struct api *api, const struct auth_row *row, const struct sign_in *how)
{
	struct kb_request *req = api->req;
	const struct auth_options *o = row->record->c->auth_options;
	struct kb_reply reply;
	bool may;
	enum kb_err err = may_enter(api, row, &may);

	if (err)
		return api_fail_db(req, err, "Failed to authenticate.");
	if (!may)
		return api_fail(req, 403,
		    "The request doesn't satisfy the collection requirements"
		    " to authenticate.");
	if (how->method != NULL &&
	    !auth_mfa_pass(api, row, how->method, &reply))
		return reply;
	if (how->method != NULL && o->alert) {
		err = auth_alert(api, row);
		if (err)
			kb_warn(req->cx.log, "origin of sign-in not kept",
			    KB_S("error", kb_err_text(err)));
	}
	return answer(api, row, how);
}

/* ---- a new token
 * ---------------------------------------------------------------------- */

static struct kb_reply
refresh(struct api *api)
{
	struct kb_request *req = api->req;
	const struct collection *c = api_collection(api);
	struct sign_in how = { .method = NULL };
	struct auth_row row;
	enum kb_err err;

	if (api->auth->c != c)
		return auth_other_collection(api);
	err = auth_row_get(&req->cx, c, api->auth->id, &row);
	if (err)
		return api_fail_db(req, err, "Failed to authenticate.");
	if (!api->auth->refreshable)
		how.token = kb_slice_dup(req->cx.arena, auth_header_token(req));
	return auth_respond(api, &row, &how);
}

/* ---- acting as another one
 * ------------------------------------------------------------ */

static const char *
reason_of(struct form *f)
{
	const char *reason = kb_header(f->api->req, "X-Kombi-Reason");
	bool self_hosted = kb_app(f->api->req)->common->mode ==
	    KB_MODE_SELF_HOSTED;

	if (reason == NULL || reason[0] == '\0')
		return form_text(f, "reason", self_hosted ? 0 : 1, 500);
	return kb_sprintf(f->api->req->cx.arena, "%.500s", reason);
}

struct impersonation {
	const char *collection, *reason;
	int64_t duration;
};

static void
impersonation_json(struct kb_jsonw *w, const struct impersonation *i)
{
	kb_w_object(w, NULL);
	kb_w_str(w, "collection", i->collection);
	kb_w_int(w, "duration", i->duration);
	kb_w_str(w, "reason", i->reason);
	kb_w_object_end(w);
}

static enum kb_err
audit(struct api *api, const char *id, const struct impersonation *i)
{
	struct kb_request *req = api->req;
	struct kb_user user = req->user;
	struct kb_buf b;
	struct kb_jsonw w;
	enum kb_err err;

	kb_buf_init(&b, 8192);
	kb_w_init(&w, &b);
	impersonation_json(&w, i);
	/* Whom the tenant knows him as: guests do not come here. */
	if (req->user.sub == NULL)
		req->user.sub = api->auth->id;
	req->user.tenant = api->tenant->row.slug;
	err = kb_audit(req, &api->tenant->platform, "auth.impersonate",
	    "record", id, kb_buf_str(&b));
	req->user = user;
	kb_buf_free(&b);
	return err;
}

static struct kb_reply
impersonate(struct api *api)
{
	struct kb_request *req = api->req;
	struct impersonation i;
	struct token_spec spec = { .kind = TOKEN_AUTH };
	struct sign_in how = { .method = NULL };
	struct kb_reply reply;
	struct auth_row row;
	struct form f;
	const struct collection *c = auth_context(api, &reply);
	enum kb_err err;

	if (c == NULL)
		return reply;
	err = auth_row_get(&req->cx, c, kb_param(req, "id"), &row);
	if (err)
		return err == KB_NOT_FOUND ? api_fail(req, 404, NULL)
					   : api_fail_db(req, err, NULL);
	if (!form_open(&f, api, &reply))
		return reply;
	i.collection = c->name;
	i.duration = spec.life_s = form_int(&f, "duration", 0);
	i.reason = reason_of(&f);
	if (!form_ok(&f, &reply))
		return reply;
	err = audit(api, kb_param(req, "id"), &i);
	if (err)
		return api_fail_db(req, err, NULL);
	how.token = auth_token_issue(
	    req->cx.arena, &api->tenant->row, &row, &spec);
	return auth_respond(api, &row, &how);
}

/* ---- files
 * ----------------------------------------------------------------------------
 */

static void
token_json(struct kb_jsonw *w, const void *obj)
{
	kb_w_str(w, "token", obj);
}

static struct kb_reply
file_token(struct api *api)
{
	struct kb_request *req = api->req;
	struct token_spec spec = { .kind = TOKEN_FILE };
	struct auth_row row;
	enum kb_err err = auth_row_get(
	    &req->cx, api->auth->c, api->auth->id, &row);

	if (err)
		return api_fail_db(req, err, "Failed to generate file token.");
	return kb_bare(req, 200, token_json,
	    auth_token_issue(req->cx.arena, &api->tenant->row, &row, &spec));
}

enum kb_err
auth_file_token_judge(struct api *api, const char *token)
{
	struct auth_token t;
	enum kb_err err = auth_token_judge(
	    api, kb_slice_of(token), TOKEN_FILE, &t);

	if (!err)
		*api = as_record(api, &t.row);
	return err;
}

API_HANDLER(auth_refresh, API_MEMBERS, refresh)
API_HANDLER(auth_impersonate, API_SUPERUSERS, impersonate)
API_HANDLER(auth_file_token, API_MEMBERS, file_token)
