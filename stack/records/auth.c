/* What the SDK asks of an auth collection: how to sign in, and a new token. */
#include <kombi/str.h>

#include "auth.h"

/* People sign in at the identity provider and come with a token. */
static struct kb_reply
methods(struct api *api)
{
	if (!api_collection(api)->auth)
		return api_fail(api->req, 404, NULL);
	return kb_json_reply(api->req, 200,
	    "{\"password\":{\"enabled\":false,\"identityFields\":[]},"
	    "\"oauth2\":{\"enabled\":false,\"providers\":[]},"
	    "\"mfa\":{\"enabled\":false,\"duration\":0},"
	    "\"otp\":{\"enabled\":false,\"duration\":0},"
	    "\"authProviders\":[],\"usernamePassword\":false,"
	    "\"emailPassword\":false}");
}

struct session {
	const struct api *api;
	const char *token;
	const struct record *record;
	const struct picker *picker;
};

static void
session_json(struct kb_jsonw *w, const void *obj)
{
	const struct session *s = obj;

	kb_w_object(w, "record");
	record_write(w, s->api, s->record, s->picker);
	kb_w_object_end(w);
	kb_w_str(w, "token", s->token);
}

static struct kb_reply
refresh(struct api *api)
{
	struct kb_request *req = api->req;
	const struct collection *c = api_collection(api);
	struct session s = { .api = api };
	struct token_spec spec = {
		.kind = TOKEN_AUTH,
		.refreshable = true,
		.life_s = stack_config(kb_app(req))->session_s,
	};
	struct auth_row row;
	enum kb_err err;

	if (api->auth->c != c)
		return api_fail(req, 403,
		    "The authorized record is not allowed to perform this"
		    " action.");
	err = auth_row_get(&req->cx, c, api->auth->id, &row);
	if (!err)
		err = records_expand(api, &req->cx, &row.record, 1,
		    kb_query_param(req, "expand"));
	if (err)
		return api_fail_db(req, err, "Failed to authenticate.");
	s.record = row.record;
	s.token = auth_token_issue(
	    req->cx.arena, &api->tenant->row, &row, &spec);
	return kb_bare(req, 200, session_json, &s);
}

API_HANDLER(auth_methods, API_GUESTS, methods)
API_HANDLER(auth_refresh, API_MEMBERS, refresh)
