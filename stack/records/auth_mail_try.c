/* POST /api/settings/test/email: one of the mails, with made-up values, to an
 * address of a superuser's choice. */
#include <string.h>

#include <kombi/str.h>

#include "auth.h"

static const struct {
	const char *name;
	enum mail_kind kind;
	enum token_kind token;
} templates[] = {
	{ "verification", MAIL_VERIFICATION, TOKEN_VERIFICATION },
	{ "password-reset", MAIL_PASSWORD_RESET, TOKEN_PASSWORD_RESET },
	{ "email-change", MAIL_EMAIL_CHANGE, TOKEN_EMAIL_CHANGE },
	{ "otp", MAIL_OTP, TOKEN_COUNT },
	{ "login-alert", MAIL_AUTH_ALERT, TOKEN_COUNT },
};

/* The trial goes to anybody whom its sender names: not without end. */
static const struct auth_limit trials = { "test-mail", 30, 3600 };

static const struct collection *
read_collection(struct form *f)
{
	const char *name = form_text(f, "collection", 0, 255);
	const struct collection *c = schema_find(
	    f->api->schema, name[0] ? name : SUPERUSERS_ID);

	if (c != NULL && c->auth)
		return c;
	form_blame(f, "collection", "validation_invalid_auth_collection",
	    "Must be a valid auth collection id or name.");
	return NULL;
}

static size_t
read_template(struct form *f)
{
	const char *name = form_text(f, "template", 1, 255);

	for (size_t i = 0; i < KB_COUNT(templates); i++)
		if (strcmp(templates[i].name, name) == 0)
			return i;
	if (!form_bad(f, "template"))
		form_blame(f, "template", "validation_in_invalid",
		    "Must be a valid value.");
	return 0;
}

/* A record of nobody, each text saying where it stands. */
static struct auth_row
made_up(struct kb_arena *a, const struct collection *c, const char *email)
{
	struct record *r = kb_new(a, struct record);

	r->c = c;
	r->cells = kb_new_array(a, c->n_fields, union cell);
	for (size_t i = 0; i < c->n_fields; i++) {
		const struct field *f = &c->fields[i];

		r->cells[i] = value_zero(f);
		if (!f->hidden && f->type != FT_NUMBER && f->type != FT_BOOL)
			r->cells[i].text = kb_sprintf(
			    a, "__test_%s__", f->name);
	}
	(void)auth_set(r, "email", (union cell) { .text = email });
	return (struct auth_row) {
		.record = r,
		.token_key = random_key(a, TOKEN_KEY_SIZE),
		.password = "",
	};
}

static struct kb_reply
try_mail(struct api *api)
{
	static const char failed[] = "Failed to send the test email.";
	struct kb_request *req = api->req;
	struct auth_mail mail = { .otp = "123456",
		.otp_id = "_TEST_OTP_ID_",
		.alert = "TEST_IP TEST_USER_AGENT",
		.at_once = true };
	struct token_spec spec = { .kind = TOKEN_COUNT };
	const struct collection *c;
	struct kb_reply reply;
	struct auth_row row;
	struct form f;
	size_t i;

	if (!form_open(&f, api, &reply))
		return reply;
	c = read_collection(&f);
	mail.to = form_email(&f, "email");
	i = read_template(&f);
	if (!f.unreadable && f.errors.n > 0)
		return api_fail_fields(req, failed, &f.errors);
	if (!form_ok(&f, &reply))
		return reply;
	if (!auth_limit_take(api, &trials, ""))
		return api_fail(req, 429, NULL);
	row = made_up(req->cx.arena, c, mail.to);
	mail.kind = templates[i].kind;
	spec.kind = templates[i].token;
	spec.new_email = mail.kind == MAIL_EMAIL_CHANGE ? mail.to : NULL;
	if (spec.kind != TOKEN_COUNT)
		mail.token = auth_token_issue(
		    req->cx.arena, &api->tenant->row, &row, &spec);
	if (auth_mail(api, &row, &mail))
		return api_fail(req, 400, failed);
	return kb_no_content(req);
}

API_HANDLER(auth_try_mail, API_SUPERUSERS, try_mail)
