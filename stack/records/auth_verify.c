/* Addresses: that one is the record's, and that it has another one now. */
#include <string.h>

#include <kombi/jwt.h>
#include <kombi/str.h>

#include "auth.h"

static const struct auth_limit mails = { "verification", 1, 120 };
static const char
    superusers_verified[] = "All superusers are verified by default.";
static const char
    superusers_change[] = "All superusers can change their emails directly.";

static const char *
key_of(struct api *api, const struct auth_row *row)
{
	return kb_sprintf(api->req->cx.arena, "%s/%s", row->record->c->id,
	    record_id_of(row->record));
}

/* ---- verification
 * ----------------------------------------------------------------------- */

static struct kb_reply
request_verification(struct api *api)
{
	struct kb_request *req = api->req;
	struct token_spec spec = { .kind = TOKEN_VERIFICATION };
	struct auth_mail mail = { .kind = MAIL_VERIFICATION };
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct auth_row row;
	struct form f;
	const char *email;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (auth_is_superuser(c))
		return api_fail(req, 400, superusers_verified);
	if (!form_open(&f, api, &reply))
		return reply;
	email = form_email(&f, "email");
	if (!form_ok(&f, &reply))
		return reply;
	err = auth_row_by(&req->cx, c, "email", email, &row);
	if (err != KB_OK && err != KB_NOT_FOUND)
		return api_fail_db(req, err, NULL);
	if (err || row.disabled || auth_flag(row.record, "verified") ||
	    !auth_limit_take(api, &mails, key_of(api, &row)))
		return kb_no_content(req);
	mail.token = auth_token_issue(
	    req->cx.arena, &api->tenant->row, &row, &spec);
	err = auth_mail(api, &row, &mail);
	return err ? api_fail_db(req, err, NULL) : kb_no_content(req);
}

static const struct kb_json *
claims_of(struct form *f)
{
	const char *token = kb_json_str(f->api->body, "token");
	const struct kb_json *claims = NULL;

	if (token == NULL ||
	    kb_jwt_peek(f->api->req->cx.arena, token, strlen(token), &claims))
		return NULL;
	return claims;
}

static bool
has_claim(struct form *f, const char *name)
{
	const char *value = kb_json_str(claims_of(f), name);

	return value != NULL && value[0] != '\0';
}

static bool
has_token(struct form *f)
{
	const char *token = kb_json_str(f->api->body, "token");

	return token != NULL && token[0] != '\0';
}

static enum kb_err
read_verification(
    struct form *f, const struct collection *c, struct auth_token *t)
{
	enum kb_err err;

	*t = (struct auth_token) { .email = "" };
	if (has_token(f) && !has_claim(f, "email")) {
		form_blame(f, "token", "validation_invalid_token_claims",
		    "Missing email token claim.");
		return KB_OK;
	}
	err = auth_form_token(f, c, TOKEN_VERIFICATION, t);
	if (!err && !form_bad(f, "token") &&
	    strcmp(auth_email(&t->row), t->email) != 0)
		form_blame(f, "token", "validation_token_email_mismatch",
		    "The record email doesn't match with the requested token"
		    " claims.");
	return err;
}

static enum kb_err
set_verified(struct kb_cx *cx, struct record *r, void *arg)
{
	const struct auth_token *t = arg;

	(void)cx;
	if (strcmp(auth_text(r, "email"), t->email) != 0)
		return KB_AUTH_INVALID;
	(void)auth_set(r, "verified", (union cell) { .flag = true });
	return KB_OK;
}

static struct kb_reply
confirm_verification(struct api *api)
{
	struct kb_request *req = api->req;
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct auth_token t;
	struct form f;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (auth_is_superuser(c))
		return api_fail(req, 400, superusers_verified);
	if (!form_open(&f, api, &reply))
		return reply;
	err = read_verification(&f, c, &t);
	if (err)
		return api_fail_db(req, err, NULL);
	if (!form_ok(&f, &reply))
		return reply;
	if (t.row.record == NULL)
		return api_fail(
		    req, 400, "Invalid or expired verification token.");
	if (!auth_flag(t.row.record, "verified"))
		err = auth_save(api, &t.row, set_verified, &t);
	if (err)
		return api_fail_db(req, err,
		    "An error occurred while saving the verified"
		    " state.");
	auth_limit_give(api, &mails, key_of(api, &t.row));
	return kb_no_content(req);
}

/* ---- another address
 * ------------------------------------------------------------------ */

static enum kb_err
read_new_email(struct form *f, const struct auth_row *row, const char **email)
{
	struct auth_row other;
	enum kb_err err;

	*email = form_email(f, "newEmail");
	if (form_bad(f, "newEmail"))
		return KB_OK;
	if (strcmp(*email, auth_email(row)) == 0) {
		form_blame(f, "newEmail", "validation_not_in_invalid",
		    "Must not be in list.");
		return KB_OK;
	}
	err = auth_row_by(
	    &f->api->req->cx, row->record->c, "email", *email, &other);
	if (!err &&
	    strcmp(record_id_of(other.record), record_id_of(row->record)) != 0)
		form_blame(f, "newEmail", "validation_invalid_new_email",
		    "Invalid new email address.");
	return err == KB_NOT_FOUND ? KB_OK : err;
}

static struct kb_reply
send_change(struct api *api, const struct auth_row *row, const char *email)
{
	struct token_spec spec = {
		.kind = TOKEN_EMAIL_CHANGE,
		.new_email = email,
	};
	struct auth_mail mail = {
		.kind = MAIL_EMAIL_CHANGE,
		.to = email,
		.token = auth_token_issue(
		    api->req->cx.arena, &api->tenant->row, row, &spec),
		.at_once = true,
	};

	if (auth_mail(api, row, &mail))
		return api_fail(
		    api->req, 400, "Failed to request email change.");
	return kb_no_content(api->req);
}

static struct kb_reply
request_email_change(struct api *api)
{
	struct kb_request *req = api->req;
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct auth_row row;
	struct form f;
	const char *email;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (api->auth->c != c)
		return auth_other_collection(api);
	if (auth_is_superuser(c))
		return api_fail(req, 400, superusers_change);
	if (!form_open(&f, api, &reply))
		return reply;
	err = auth_row_get(&req->cx, c, api->auth->id, &row);
	if (!err)
		err = read_new_email(&f, &row, &email);
	if (err)
		return api_fail_db(req, err, NULL);
	return form_ok(&f, &reply) ? send_change(api, &row, email) : reply;
}

static enum kb_err
read_change(struct form *f, const struct collection *c, struct auth_token *t)
{
	const char *email = kb_json_str(claims_of(f), "newEmail");
	struct auth_row other;
	enum kb_err err;

	*t = (struct auth_token) { .email = "" };
	if (has_token(f) && !has_claim(f, "newEmail")) {
		form_blame(f, "token", "validation_invalid_token_payload",
		    "Invalid token payload - newEmail must be set.");
		return KB_OK;
	}
	err = auth_form_token(f, c, TOKEN_EMAIL_CHANGE, t);
	if (err || form_bad(f, "token") || email == NULL)
		return err;
	err = auth_row_by(&f->api->req->cx, c, "email", email, &other);
	if (!err)
		form_blame(f, "token", "validation_existing_token_email",
		    kb_sprintf(f->api->req->cx.arena,
			"The new email address is already registered: %s",
			email));
	return err == KB_NOT_FOUND ? KB_OK : err;
}

static bool
check_password(struct form *f, const struct auth_token *t)
{
	const char *password = form_text(f, "password", 1, 100);
	bool limited = false;

	if (form_bad(f, "password"))
		return true;
	if (form_bad(f, "token") || t->row.record == NULL ||
	    !auth_password_is(f->api, &t->row, password, &limited))
		form_blame(f, "password", "validation_invalid_password",
		    "Missing or invalid auth record password.");
	return !limited;
}

static enum kb_err
set_email(struct kb_cx *cx, struct record *r, void *arg)
{
	const struct auth_token *t = arg;

	(void)cx;
	if (strcmp(auth_text(r, "tokenKey"), t->row.token_key) != 0)
		return KB_AUTH_INVALID;
	(void)auth_set(r, "email", (union cell) { .text = t->new_email });
	(void)auth_set(r, "verified", (union cell) { .flag = true });
	return KB_OK;
}

static struct kb_reply
confirm_email_change(struct api *api)
{
	struct kb_request *req = api->req;
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct auth_token t;
	struct form f;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (auth_is_superuser(c))
		return api_fail(req, 400, superusers_change);
	if (!form_open(&f, api, &reply))
		return reply;
	err = read_change(&f, c, &t);
	if (err)
		return api_fail_db(req, err, NULL);
	if (!check_password(&f, &t))
		return api_fail(req, 429, NULL);
	if (!form_ok(&f, &reply))
		return reply;
	err = auth_save(api, &t.row, set_email, &t);
	return err ? api_fail_db(req, err, "Failed to confirm email change.")
		   : kb_no_content(req);
}

API_HANDLER(auth_request_verification, API_GUESTS, request_verification)
API_HANDLER(auth_confirm_verification, API_GUESTS, confirm_verification)
API_HANDLER(auth_request_email_change, API_MEMBERS, request_email_change)
API_HANDLER(auth_confirm_email_change, API_GUESTS, confirm_email_change)
