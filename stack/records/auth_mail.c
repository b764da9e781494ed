/* The mails of auth records: templates of the collection, or ours. */
#include <string.h>

#include <kombi/str.h>

#include "../mail.h"
#include "auth.h"

#define FIELDS_MAX 64

static const struct mail_template fallback[MAIL_COUNT] = {
	[MAIL_VERIFICATION] = { "Verify your {APP_NAME} email",
	    "<p>Hello,</p>\n"
	    "<p>please confirm that this address is yours.</p>\n"
	    "<p><a class=\"btn\" href=\"{APP_URL}/_/#/auth/"
	    "confirm-verification/{TOKEN}\">Verify</a></p>\n"
	    "<p>{APP_NAME}</p>" },
	[MAIL_PASSWORD_RESET] = { "Reset your {APP_NAME} password",
	    "<p>Hello,</p>\n"
	    "<p>somebody asked for a new password for your account.</p>\n"
	    "<p><a class=\"btn\" href=\"{APP_URL}/_/#/auth/"
	    "confirm-password-reset/{TOKEN}\">Set a new password</a></p>\n"
	    "<p>If that was not you, nothing needs to be done.</p>\n"
	    "<p>{APP_NAME}</p>" },
	[MAIL_EMAIL_CHANGE] = { "Confirm your {APP_NAME} new email address",
	    "<p>Hello,</p>\n"
	    "<p>please confirm your new address.</p>\n"
	    "<p><a class=\"btn\" href=\"{APP_URL}/_/#/auth/"
	    "confirm-email-change/{TOKEN}\">Confirm</a></p>\n"
	    "<p>If you did not ask for it, nothing needs to be done.</p>\n"
	    "<p>{APP_NAME}</p>" },
	[MAIL_OTP] = { "OTP for {APP_NAME}",
	    "<p>Hello,</p>\n"
	    "<p>your one-time password is <strong>{OTP}</strong></p>\n"
	    "<p>If you did not ask for it, nothing needs to be done.</p>\n"
	    "<p>{APP_NAME}</p>" },
	[MAIL_AUTH_ALERT] = { "Login from a new location",
	    "<p>Hello,</p>\n"
	    "<p>your {APP_NAME} account was used from a new place:</p>\n"
	    "<p><em>{ALERT_INFO}</em></p>\n"
	    "<p>If that was not you, change your password at once: all other"
	    " sessions end with it.</p>\n"
	    "<p>{APP_NAME}</p>" },
};

static const char layout_before
    [] = "<!doctype html>\n<html><head><meta charset=\"utf-8\"><style>"
	 "body{margin:0;padding:20px 30px;color:#16161a;background:#fff;"
	 "font:14px/20px sans-serif}"
	 ".btn{display:inline-block;min-width:150px;padding:0 20px;"
	 "border-radius:6px;color:#fff;background:#16161a;font-weight:bold;"
	 "line-height:40px;text-align:center;text-decoration:none}"
	 "</style></head><body>\n";
static const char layout_after[] = "\n</body></html>\n";

struct values {
	struct placeholder list[FIELDS_MAX + 8];
	size_t n;
};

static void
add(struct values *v, const char *name, const char *value)
{
	if (v->n < KB_COUNT(v->list))
		v->list[v->n++] = (struct placeholder) { name,
			value ? value : "" };
}

static const char *
value_text(struct kb_arena *a, const struct field *f, union cell v)
{
	if (f->type == FT_BOOL)
		return v.flag ? "true" : "false";
	if (f->type == FT_NUMBER)
		return kb_sprintf(a, "%.15g", v.number);
	return mail_escape(a, v.text ? v.text : "");
}

static void
add_record(struct values *v, struct kb_arena *a, const struct record *r)
{
	for (size_t i = 0; i < r->c->n_fields && i < FIELDS_MAX; i++) {
		const struct field *f = &r->c->fields[i];

		if (f->hidden || strcmp(f->name, "password") == 0 ||
		    strcmp(f->name, "tokenKey") == 0)
			continue;
		add(v, kb_sprintf(a, "{RECORD:%s}", f->name),
		    value_text(a, f, r->cells[i]));
	}
}

/* Templates put a path behind it. */
static const char *
app_url(struct kb_arena *a, const struct settings *s)
{
	const char *url = s->app_url ? s->app_url : "";
	size_t len = strlen(url);

	while (len > 0 && url[len - 1] == '/')
		len--;
	return kb_strndup(a, url, len);
}

static struct stack_mail
render(struct kb_arena *a, const struct settings *s, const struct auth_mail *m,
    const struct auth_row *row)
{
	const struct auth_options *o = row->record->c->auth_options;
	struct mail_template t = fallback[m->kind];
	struct values *v = kb_new(a, struct values);

	if (o != NULL && o->mails[m->kind].body != NULL &&
	    o->mails[m->kind].body[0] != '\0')
		t = o->mails[m->kind];
	add(v, "{APP_NAME}", s->app_name);
	add(v, "{APP_URL}", app_url(a, s));
	add(v, "{TOKEN}", m->token);
	add(v, "{OTP}", m->otp);
	add(v, "{OTP_ID}", m->otp_id);
	add(v, "{ALERT_INFO}", mail_escape(a, m->alert ? m->alert : ""));
	add_record(v, a, row->record);
	return (struct stack_mail) {
		.to = m->to ? m->to : auth_email(row),
		.subject = mail_fill(a, t.subject, v->list, v->n),
		.html = kb_sprintf(a, "%s%s%s", layout_before,
		    mail_fill(a, t.body, v->list, v->n), layout_after),
	};
}

enum kb_err
auth_mail(
    struct api *api, const struct auth_row *row, const struct auth_mail *m)
{
	struct kb_cx *cx = &api->req->cx;
	struct kb_app *app = kb_app(api->req);
	const struct settings *s;
	struct stack_mail mail;
	enum kb_err err = settings_get(cx, api->tenant->handle, &s);

	if (err)
		return err;
	mail = render(cx->arena, s, m, row);
	if (mail.to[0] == '\0')
		return KB_INVALID;
	if (m->at_once)
		return mail_send(app, cx, s, &mail);
	mail_post(app, cx, s, &mail);
	return KB_OK;
}
