/* What auth's requests have in common: the collection, the body's fields. */
#include <string.h>

#include <kombi/str.h>

#include "auth.h"

const struct collection *
auth_context(struct api *api, struct kb_reply *reply)
{
	const struct collection *c = api_collection(api);

	if (c->auth)
		return c;
	*reply = api_fail(
	    api->req, 404, "Missing or invalid auth collection context.");
	return NULL;
}

bool
auth_may_sign_in(const struct api *api, const struct auth_row *row)
{
	bool provided = strcmp(row->record->c->id, USERS_ID) == 0 &&
	    auth_text(row->record, "ssoSub")[0] != '\0';

	return !row->disabled &&
	    (!provided ||
		kb_app(api->req)->common->mode == KB_MODE_SELF_HOSTED);
}

enum kb_err
auth_find(struct api *api, const struct collection *c, const char *field,
    const char *value, struct auth_row *row)
{
	enum kb_err err = auth_row_by(&api->req->cx, c, field, value, row);

	if (err || auth_may_sign_in(api, row))
		return err;
	*row = (struct auth_row) { .record = NULL };
	return KB_NOT_FOUND;
}

struct kb_reply
auth_other_collection(struct api *api)
{
	return api_fail(api->req, 403,
	    kb_sprintf(api->req->cx.arena,
		"The request requires auth record from %s collection.",
		api->auth->c->name));
}

/* ---- bodies
 * ---------------------------------------------------------------------------
 */

bool
form_open(struct form *f, struct api *api, struct kb_reply *reply)
{
	const char *why;

	*f = (struct form) { .api = api };
	if (api->req->body_len > 0)
		return api_body(api, reply);
	return kb_json_parse(api->req->cx.arena, "{}", 2, &api->body, &why) ==
	    KB_OK;
}

void
form_blame(
    struct form *f, const char *field, const char *code, const char *message)
{
	api_error_add(f->api->req->cx.arena, &f->errors, field, code, message);
}

bool
form_bad(const struct form *f, const char *field)
{
	const struct api_error *e = f->errors.first;

	while (e != NULL && strcmp(e->path, field) != 0)
		e = e->next;
	return e != NULL;
}

int64_t
auth_characters(const char *text)
{
	int64_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

const char *
form_text(struct form *f, const char *name, int64_t min, int64_t max)
{
	struct kb_arena *a = f->api->req->cx.arena;
	const struct kb_json *j = kb_json_get(f->api->body, name);
	const char *text = kb_json_text(j) ? kb_json_text(j) : "";
	int64_t n;

	if (j != NULL && kb_json_kind(j) != KB_JSON_STRING &&
	    kb_json_kind(j) != KB_JSON_NULL)
		f->unreadable = true;
	n = auth_characters(text);
	if (n == 0 && min > 0)
		form_blame(f, name, "validation_required", "Cannot be blank.");
	else if (n > 0 && (n < min || n > max))
		api_error_param(a, &f->errors, name,
		    "validation_length_out_of_range",
		    kb_sprintf(a, "The length must be between %lld and %lld.",
			(long long)(min > 0 ? min : 1), (long long)max),
		    kb_sprintf(a, "{\"max\":%lld,\"min\":%lld}", (long long)max,
			(long long)(min > 0 ? min : 1)));
	return text;
}

const char *
form_email(struct form *f, const char *name)
{
	const char *text = form_text(f, name, 1, 255);

	if (text[0] != '\0' && !form_bad(f, name) && !kb_is_email(text))
		form_blame(f, name, "validation_is_email",
		    "Must be a valid email address.");
	return text;
}

int64_t
form_int(struct form *f, const char *name, int64_t min)
{
	const struct kb_json *j = kb_json_get(f->api->body, name);
	struct kb_arena *a = f->api->req->cx.arena;
	int64_t n = 0;

	if (j != NULL && kb_json_kind(j) != KB_JSON_NULL &&
	    !kb_json_integer(j, &n))
		f->unreadable = true;
	else if (n < min)
		api_error_param(a, &f->errors, name,
		    "validation_min_greater_equal_than_required",
		    kb_sprintf(a, "Must be no less than %lld.", (long long)min),
		    kb_sprintf(a, "{\"threshold\":%lld}", (long long)min));
	return n;
}

bool
form_ok(struct form *f, struct kb_reply *reply)
{
	if (f->unreadable) {
		*reply = api_fail(f->api->req, 400,
		    "An error occurred while loading the submitted data.");
		return false;
	}
	if (f->errors.n == 0)
		return true;
	*reply = api_fail_fields(f->api->req,
	    "An error occurred while validating the submitted data.",
	    &f->errors);
	return false;
}
