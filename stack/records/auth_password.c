/* Signing in by password, and a new one for who has forgotten it. */
#include <string.h>

#include <kombi/jwt.h>
#include <kombi/password.h>
#include <kombi/str.h>

#include "auth.h"

#define NOT_CONFIGURED                                                         \
	"The collection is not configured to allow password authentication."

/* Wrong guesses: of one identity from one address, of one identity from
 * anywhere, from one address at all. Right ones do not count. */
static const struct auth_limit guesses = { "password", 20, 300 };
static const struct auth_limit identity_guesses = { "identity", 200, 300 };
static const struct auth_limit address_guesses = { "address", 200, 300 };
/* A mail in two minutes, as many as are asked for. */
static const struct auth_limit resets = { "reset", 1, 120 };

/* ---- guesses
 * -------------------------------------------------------------------------- */

struct guess {
	const char *both, *identity, *address;
};

static struct guess
guess_of(struct api *api, const struct collection *c, const char *identity)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *name = kb_sprintf(
	    a, "%s/%s", c->id, kb_str_lower(a, identity));
	const char *peer = api->req->peer ? api->req->peer : "";

	return (
	    struct guess) { kb_sprintf(a, "%s@%s", name, peer), name, peer };
}

static bool
may_guess(struct api *api, const struct guess *g)
{
	return auth_limit_take(api, &guesses, g->both) &&
	    auth_limit_take(api, &identity_guesses, g->identity) &&
	    auth_limit_take(api, &address_guesses, g->address);
}

static void
guessed_right(struct api *api, const struct guess *g)
{
	auth_limit_give(api, &guesses, g->both);
	auth_limit_give(api, &identity_guesses, g->identity);
	auth_limit_give(api, &address_guesses, g->address);
}

bool
auth_password_is(struct api *api, const struct auth_row *row,
    const char *password, bool *limited)
{
	struct guess g = guess_of(
	    api, row->record->c, record_id_of(row->record));

	*limited = !may_guess(api, &g);
	if (*limited || !kb_password_verify(password, row->password))
		return false;
	guessed_right(api, &g);
	return true;
}

/* ---- signing in
 * ----------------------------------------------------------------------- */

static bool
is_identity_field(const struct auth_options *o, const char *name)
{
	for (size_t i = 0; o->identity_fields[i] != NULL; i++)
		if (strcmp(o->identity_fields[i], name) == 0)
			return true;
	return false;
}

static enum kb_err
by_field(struct api *api, const struct collection *c, const char *field,
    const char *identity, struct auth_row *row)
{
	if (strcmp(field, "email") == 0 && !kb_is_email(identity))
		return KB_NOT_FOUND;
	return auth_find(api, c, field, identity, row);
}

/* The e-mail address first, then the other fields in their order. */
static enum kb_err
find(struct api *api, const struct collection *c, const char *identity,
    struct auth_row *row)
{
	const struct auth_options *o = c->auth_options;
	enum kb_err err = is_identity_field(o, "email")
	    ? by_field(api, c, "email", identity, row)
	    : KB_NOT_FOUND;

	for (size_t i = 0; err == KB_NOT_FOUND && o->identity_fields[i]; i++)
		if (strcmp(o->identity_fields[i], "email") != 0)
			err = by_field(
			    api, c, o->identity_fields[i], identity, row);
	return err;
}

struct sign_in_form {
	const char *identity, *password, *field;
};

static bool
read_sign_in(struct api *api, const struct collection *c,
    struct sign_in_form *in, struct kb_reply *reply)
{
	struct form f;

	if (!form_open(&f, api, reply))
		return false;
	in->identity = form_text(&f, "identity", 1, 255);
	in->password = form_text(&f, "password", 1, 255);
	in->field = form_text(&f, "identityField", 0, 255);
	if (in->field[0] != '\0' &&
	    !is_identity_field(c->auth_options, in->field))
		form_blame(&f, "identityField", "validation_in_invalid",
		    "Must be a valid value.");
	return form_ok(&f, reply);
}

static struct kb_reply
with_password(struct api *api)
{
	static const struct sign_in how = { .method = "password" };
	struct kb_request *req = api->req;
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct sign_in_form in;
	struct auth_row row = { .password = NULL };
	struct guess g;
	bool right;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (!c->auth_options->password)
		return api_fail(req, 403, NOT_CONFIGURED);
	if (!read_sign_in(api, c, &in, &reply))
		return reply;
	api->context = "password";
	err = in.field[0] != '\0'
	    ? by_field(api, c, in.field, in.identity, &row)
	    : find(api, c, in.identity, &row);
	if (err != KB_OK && err != KB_NOT_FOUND)
		return api_fail_db(req, err, NULL);
	g = guess_of(api, c, in.identity);
	if (!may_guess(api, &g))
		return api_fail(req, 429, NULL);
	/* Also for nobody: an answer takes as long. */
	right = kb_password_verify(in.password, row.password);
	if (err || !right)
		return api_fail(req, 400, "Failed to authenticate.");
	guessed_right(api, &g);
	return auth_respond(api, &row, &how);
}

/* ---- a forgotten one
 * ------------------------------------------------------------------ */

static struct kb_reply
request_reset(struct api *api)
{
	struct kb_request *req = api->req;
	struct token_spec spec = { .kind = TOKEN_PASSWORD_RESET };
	struct auth_mail mail = { .kind = MAIL_PASSWORD_RESET };
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct auth_row row;
	struct form f;
	const char *email;
	enum kb_err err;

	if (c == NULL)
		return reply;
	if (!c->auth_options->password)
		return api_fail(req, 400, NOT_CONFIGURED);
	if (!form_open(&f, api, &reply))
		return reply;
	email = form_email(&f, "email");
	if (!form_ok(&f, &reply))
		return reply;
	err = auth_find(api, c, "email", email, &row);
	if (err != KB_OK && err != KB_NOT_FOUND)
		return api_fail_db(req, err, NULL);
	/* Whether there is such an address is not told. */
	if (err ||
	    !auth_limit_take(api, &resets,
		kb_sprintf(
		    req->cx.arena, "%s/%s", c->id, record_id_of(row.record))))
		return kb_no_content(req);
	mail.token = auth_token_issue(
	    req->cx.arena, &api->tenant->row, &row, &spec);
	err = auth_mail(api, &row, &mail);
	return err ? api_fail_db(req, err, NULL) : kb_no_content(req);
}

struct reset {
	struct auth_token token;
	const char *password, *hash;
};

/* The token's field of a form: *t is set unless an error was added. */
enum kb_err
auth_form_token(struct form *f, const struct collection *c,
    enum token_kind kind, struct auth_token *t)
{
	const char *text = form_text(f, "token", 1, KB_JWT_MAX);
	enum kb_err err;

	*t = (struct auth_token) { .email = "", .new_email = "" };
	if (form_bad(f, "token"))
		return KB_OK;
	err = auth_token_judge(f->api, kb_slice_of(text), kind, t);
	if (err == KB_AUTH_INVALID) {
		t->row.record = NULL;
		form_blame(f, "token", "validation_invalid_token",
		    "Invalid or expired token.");
		return KB_OK;
	}
	if (!err && t->row.record->c != c)
		form_blame(f, "token", "validation_token_collection_mismatch",
		    "The provided token is for different auth collection.");
	return err;
}

static enum kb_err
read_reset(struct form *f, const struct collection *c, struct reset *r)
{
	const struct field *field = collection_field(c, "password");
	enum kb_err err = auth_form_token(
	    f, c, TOKEN_PASSWORD_RESET, &r->token);
	const char *confirm;

	r->password = form_text(f, "password",
	    field && field->min_len > 0 ? field->min_len : 1, 255);
	confirm = form_text(f, "passwordConfirm", 1, INT64_MAX);
	if (confirm[0] != '\0' && strcmp(confirm, r->password) != 0)
		form_blame(f, "passwordConfirm", "validation_values_mismatch",
		    "Values don't match.");
	return err;
}

static enum kb_err
set_password(struct kb_cx *cx, struct record *r, void *arg)
{
	const struct reset *reset = arg;
	const char *email = reset->token.email;

	/* The token is good once: its key must still be the record's. */
	if (strcmp(auth_text(r, "tokenKey"), reset->token.row.token_key) != 0)
		return KB_AUTH_INVALID;
	(void)cx;
	(void)auth_set(r, "password", (union cell) { .text = reset->hash });
	if (email[0] != '\0' && strcmp(auth_text(r, "email"), email) == 0)
		(void)auth_set(r, "verified", (union cell) { .flag = true });
	return KB_OK;
}

/* Bounds of the field beyond the form's own. */
static bool
fits_field(struct form *f, const struct collection *c, struct reset *r)
{
	const struct field *field = collection_field(c, "password");
	struct kb_arena *a = f->api->req->cx.arena;
	int64_t max = field && field->max_len > 0 ? field->max_len : 71;

	if (auth_characters(r->password) > max)
		form_blame(f, "password", "validation_max_text_constraint",
		    kb_sprintf(a, "Must be less than %lld character(s).",
			(long long)max));
	r->hash = kb_password_hash(
	    a, r->password, field ? (unsigned)field->cost : 0);
	if (r->hash == NULL)
		form_blame(f, "password", "validation_invalid_value",
		    "Invalid value.");
	return f->errors.n == 0;
}

static struct kb_reply
confirm_reset(struct api *api)
{
	static const char failed[] = "Failed to set new password.";
	struct kb_request *req = api->req;
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct reset r;
	struct form f;
	enum kb_err err;

	if (c == NULL || !form_open(&f, api, &reply))
		return reply;
	err = read_reset(&f, c, &r);
	if (err)
		return api_fail_db(req, err, NULL);
	if (!form_ok(&f, &reply))
		return reply;
	if (!fits_field(&f, c, &r))
		return api_fail_fields(req, failed, &f.errors);
	err = auth_save(api, &r.token.row, set_password, &r);
	if (err == KB_AUTH_INVALID || err == KB_NOT_FOUND)
		return api_fail(
		    req, 400, "Invalid or expired password reset token.");
	if (err)
		return api_fail_db(req, err, failed);
	auth_limit_give(api, &resets,
	    kb_sprintf(req->cx.arena, "%s/%s", c->id,
		record_id_of(r.token.row.record)));
	return kb_no_content(req);
}

API_HANDLER(auth_with_password, API_GUESTS, with_password)
API_HANDLER(auth_request_reset, API_GUESTS, request_reset)
API_HANDLER(auth_confirm_reset, API_GUESTS, confirm_reset)
