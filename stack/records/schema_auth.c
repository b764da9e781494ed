/*
 * What an auth collection has beside its fields: how its records sign in, the
 * secrets and lives of its tokens, the texts of its mails. In the database it
 * is one JSON object (_collections.options), in the API members of the
 * collection; secrets are never told.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "records.h"

#define SECRET_SIZE 50

static const struct {
	const char *name;
	int64_t life_s;
} tokens[TOKEN_COUNT] = {
	[TOKEN_AUTH] = { "authToken", 604800 },
	[TOKEN_PASSWORD_RESET] = { "passwordResetToken", 1800 },
	[TOKEN_EMAIL_CHANGE] = { "emailChangeToken", 1800 },
	[TOKEN_VERIFICATION] = { "verificationToken", 259200 },
	[TOKEN_FILE] = { "fileToken", 180 },
};

#define LINK(path, text)                                                       \
	"<p><a class=\"btn\" href=\"{APP_URL}/_/#/auth/" path                  \
	"/{TOKEN}\" target=\"_blank\" rel=\"noopener\">" text "</a></p>"

/* Where a template is a member of its own, and of what else it is part. */
static const struct {
	const char *outer, *inner, *subject, *body;
} mails[MAIL_COUNT] = {
	[MAIL_VERIFICATION] = { "verificationTemplate", NULL,
	    "Verify your {APP_NAME} email",
	    "<p>Please confirm that this is your address:</p>" LINK(
		"confirm-verification", "Confirm") },
	[MAIL_PASSWORD_RESET] = { "resetPasswordTemplate", NULL,
	    "Reset your {APP_NAME} password",
	    "<p>Somebody asked for a new password for your account. If it was"
	    " you:</p>" LINK("confirm-password-reset",
		"Choose a password") "<p>If not, nothing has changed.</p>" },
	[MAIL_EMAIL_CHANGE] = { "confirmEmailChangeTemplate", NULL,
	    "Confirm your {APP_NAME} new email address",
	    "<p>Please confirm the new address of your account:</p>" LINK(
		"confirm-email-change", "Confirm") },
	[MAIL_OTP] = { "otp", "emailTemplate", "OTP for {APP_NAME}",
	    "<p>Your one-time password is <strong>{OTP}</strong>.</p>" },
	[MAIL_AUTH_ALERT] = { "authAlert", "emailTemplate",
	    "Login from a new location",
	    "<p>Your {APP_NAME} account was used from a new place:"
	    " {ALERT_INFO}</p><p>If that was not you, change your password:"
	    " it ends all sessions.</p>" },
};

const char *
random_key(struct kb_arena *a, size_t len)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz0123456789";
	char *key = kb_arena_alloc(a, len + 1);
	unsigned char random[64];
	size_t n = 0;

	while (n < len) {
		kb_random(random, sizeof(random));
		/* Beyond four alphabets some letters would be favoured. */
		for (size_t i = 0; i < sizeof(random) && n < len; i++)
			if (random[i] < 4 * 62)
				key[n++] = letters[random[i] % 62];
	}
	key[n] = '\0';
	return key;
}

/* ---- what a new one has ---------------------------------------------------
 */

static struct auth_options *
fresh(struct kb_arena *a)
{
	static const char *const by_email[] = { "email", NULL };
	struct auth_options *o = kb_new(a, struct auth_options);

	*o = (struct auth_options) {
		.auth_rule = "",
		.alert = true,
		.password = true,
		.identity_fields = by_email,
		.mfa_s = 1800,
		.mfa_rule = "",
		.otp_s = 180,
		.otp_length = 8,
		.map_id = "",
		.map_name = "",
		.map_username = "",
		.map_avatar = "",
	};
	for (int i = 0; i < TOKEN_COUNT; i++) {
		o->tokens[i].duration_s = tokens[i].life_s;
		o->tokens[i].secret = random_key(a, SECRET_SIZE);
	}
	for (int i = 0; i < MAIL_COUNT; i++)
		o->mails[i] = (struct mail_template) { mails[i].subject,
			mails[i].body };
	return o;
}

/* ---- reading ---------------------------------------------------------------
 */

static void
read_str(struct kb_arena *a, const struct kb_json *j, const char *name,
    const char **to)
{
	const char *text = kb_json_str(j, name);

	if (text != NULL)
		*to = kb_strdup(a, text);
}

static void
read_int(const struct kb_json *j, const char *name, int64_t *to)
{
	const struct kb_json *member = kb_json_get(j, name);
	int64_t n;

	if (member != NULL && kb_json_integer(member, &n))
		*to = n;
}

/* null is a rule, too: nobody. */
static void
read_rule(struct kb_arena *a, const struct kb_json *j, const char *name,
    const char **to)
{
	const struct kb_json *rule = kb_json_get(j, name);

	if (rule != NULL && kb_json_kind(rule) == KB_JSON_NULL)
		*to = NULL;
	else
		read_str(a, j, name, to);
}

static void
read_names(struct kb_arena *a, const struct kb_json *j, const char *const **to)
{
	const char **names;
	size_t n = 0;

	if (j == NULL || kb_json_kind(j) != KB_JSON_ARRAY)
		return;
	names = kb_new_array(a, kb_json_size(j) + 1, const char *);
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		if (kb_json_text(j) != NULL)
			names[n++] = kb_strdup(a, kb_json_text(j));
	*to = names;
}

static void
read_provider(struct kb_arena *a, const struct kb_json *j,
    const struct auth_options *was, struct oauth2_provider *p)
{
	const struct kb_json *pkce = kb_json_get(j, "pkce");
	const struct kb_json *extra = kb_json_get(j, "extra");

	*p = (struct oauth2_provider) { "", "", "", "", "", "", "", false,
		false, NULL };
	read_str(a, j, "name", &p->name);
	/* A secret that is not sent again stays: it is never told. */
	for (size_t i = 0; was != NULL && i < was->n_providers; i++)
		if (strcmp(was->providers[i].name, p->name) == 0)
			p->client_secret = was->providers[i].client_secret;
	read_str(a, j, "clientId", &p->client_id);
	if (kb_json_str(j, "clientSecret") != NULL &&
	    kb_json_str(j, "clientSecret")[0] != '\0')
		read_str(a, j, "clientSecret", &p->client_secret);
	read_str(a, j, "authURL", &p->auth_url);
	read_str(a, j, "tokenURL", &p->token_url);
	read_str(a, j, "userInfoURL", &p->user_info_url);
	read_str(a, j, "displayName", &p->display_name);
	p->pkce_set = pkce != NULL && kb_json_kind(pkce) == KB_JSON_BOOL;
	p->pkce = p->pkce_set && kb_json_true(pkce);
	if (extra != NULL && kb_json_kind(extra) == KB_JSON_OBJECT)
		p->extra = kb_json_print(a, extra);
}

static void
read_oauth2(struct kb_arena *a, const struct kb_json *j, struct auth_options *o)
{
	const struct kb_json *list = kb_json_get(j, "providers");
	const struct kb_json *map = kb_json_get(j, "mappedFields");
	const struct auth_options was = *o;

	o->oauth2 = kb_json_bool(j, "enabled", o->oauth2);
	read_str(a, map, "id", &o->map_id);
	read_str(a, map, "name", &o->map_name);
	read_str(a, map, "username", &o->map_username);
	read_str(a, map, "avatarURL", &o->map_avatar);
	if (list == NULL || kb_json_kind(list) != KB_JSON_ARRAY)
		return;
	o->n_providers = 0;
	o->providers = kb_new_array(
	    a, kb_json_size(list) + 1, struct oauth2_provider);
	for (list = kb_json_first(list); list != NULL;
	     list = kb_json_after(list))
		read_provider(a, list, &was, &o->providers[o->n_providers++]);
}

static void
read_mail(struct kb_arena *a, const struct kb_json *j, int kind,
    struct auth_options *o)
{
	const struct kb_json *template = kb_json_get(j, mails[kind].outer);

	if (mails[kind].inner != NULL)
		template = kb_json_get(template, mails[kind].inner);
	read_str(a, template, "subject", &o->mails[kind].subject);
	read_str(a, template, "body", &o->mails[kind].body);
}

static bool
same_rule(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

struct auth_options *
auth_options_read(
    struct kb_arena *a, const struct kb_json *j, const struct auth_options *was)
{
	struct auth_options *o = was ? kb_new(a, struct auth_options)
				     : fresh(a);
	const struct kb_json *part;

	if (was != NULL)
		*o = *was;
	read_rule(a, j, "authRule", &o->auth_rule);
	read_rule(a, j, "manageRule", &o->manage_rule);
	o->alert = kb_json_bool(
	    kb_json_get(j, "authAlert"), "enabled", o->alert);
	part = kb_json_get(j, "passwordAuth");
	o->password = kb_json_bool(part, "enabled", o->password);
	read_names(a, kb_json_get(part, "identityFields"), &o->identity_fields);
	part = kb_json_get(j, "mfa");
	o->mfa = kb_json_bool(part, "enabled", o->mfa);
	read_int(part, "duration", &o->mfa_s);
	read_str(a, part, "rule", &o->mfa_rule);
	part = kb_json_get(j, "otp");
	o->otp = kb_json_bool(part, "enabled", o->otp);
	read_int(part, "duration", &o->otp_s);
	read_int(part, "length", &o->otp_length);
	read_oauth2(a, kb_json_get(j, "oauth2"), o);
	for (int i = 0; i < TOKEN_COUNT; i++) {
		part = kb_json_get(j, tokens[i].name);
		read_int(part, "duration", &o->tokens[i].duration_s);
		read_str(a, part, "secret", &o->tokens[i].secret);
	}
	for (int i = 0; i < MAIL_COUNT; i++)
		read_mail(a, j, i, o);
	/* Who came in under another rule asks anew. */
	if (was != NULL && !same_rule(was->auth_rule, o->auth_rule))
		o->tokens[TOKEN_AUTH].secret = random_key(a, SECRET_SIZE);
	return o;
}

/* ---- writing ---------------------------------------------------------------
 */

static void
write_template(
    struct kb_jsonw *w, const char *name, const struct mail_template *template)
{
	kb_w_object(w, name);
	kb_w_str(w, "subject", template->subject);
	kb_w_str(w, "body", template->body);
	kb_w_object_end(w);
}

static void
write_oauth2(struct kb_jsonw *w, const struct auth_options *o, bool secrets)
{
	kb_w_object(w, "oauth2");
	kb_w_array(w, "providers");
	for (size_t i = 0; i < o->n_providers; i++) {
		const struct oauth2_provider *p = &o->providers[i];

		kb_w_object(w, NULL);
		if (p->pkce_set)
			kb_w_bool(w, "pkce", p->pkce);
		else
			kb_w_null(w, "pkce");
		kb_w_str(w, "name", p->name);
		kb_w_str(w, "clientId", p->client_id);
		if (secrets)
			kb_w_str(w, "clientSecret", p->client_secret);
		kb_w_str(w, "authURL", p->auth_url);
		kb_w_str(w, "tokenURL", p->token_url);
		kb_w_str(w, "userInfoURL", p->user_info_url);
		kb_w_str(w, "displayName", p->display_name);
		kb_w_raw(w, "extra", p->extra ? p->extra : "null");
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_object(w, "mappedFields");
	kb_w_str(w, "id", o->map_id);
	kb_w_str(w, "name", o->map_name);
	kb_w_str(w, "username", o->map_username);
	kb_w_str(w, "avatarURL", o->map_avatar);
	kb_w_object_end(w);
	kb_w_bool(w, "enabled", o->oauth2);
	kb_w_object_end(w);
}

static void
write_methods(struct kb_jsonw *w, const struct auth_options *o)
{
	kb_w_object(w, "passwordAuth");
	kb_w_bool(w, "enabled", o->password);
	kb_w_array(w, "identityFields");
	for (size_t i = 0; o->identity_fields[i] != NULL; i++)
		kb_w_str(w, NULL, o->identity_fields[i]);
	kb_w_array_end(w);
	kb_w_object_end(w);
	kb_w_object(w, "mfa");
	kb_w_bool(w, "enabled", o->mfa);
	kb_w_int(w, "duration", o->mfa_s);
	kb_w_str(w, "rule", o->mfa_rule);
	kb_w_object_end(w);
	kb_w_object(w, "otp");
	kb_w_bool(w, "enabled", o->otp);
	kb_w_int(w, "duration", o->otp_s);
	kb_w_int(w, "length", o->otp_length);
	write_template(w, "emailTemplate", &o->mails[MAIL_OTP]);
	kb_w_object_end(w);
}

void
auth_options_write(
    struct kb_jsonw *w, const struct auth_options *o, bool secrets)
{
	kb_w_str(w, "authRule", o->auth_rule);
	kb_w_str(w, "manageRule", o->manage_rule);
	kb_w_object(w, "authAlert");
	kb_w_bool(w, "enabled", o->alert);
	write_template(w, "emailTemplate", &o->mails[MAIL_AUTH_ALERT]);
	kb_w_object_end(w);
	write_oauth2(w, o, secrets);
	write_methods(w, o);
	for (int i = 0; i < TOKEN_COUNT; i++) {
		kb_w_object(w, tokens[i].name);
		kb_w_int(w, "duration", o->tokens[i].duration_s);
		if (secrets)
			kb_w_str(w, "secret", o->tokens[i].secret);
		kb_w_object_end(w);
	}
	for (int i = 0; i < MAIL_COUNT; i++)
		if (mails[i].inner == NULL)
			write_template(w, mails[i].outer, &o->mails[i]);
}

/* ---- fields
 * ------------------------------------------------------------------ */

const struct field *
auth_fields(size_t *n)
{
	static const struct field fields[] = {
		{ .id = "password901924565",
		    .name = "password",
		    .help = "",
		    .type = FT_PASSWORD,
		    .system = true,
		    .hidden = true,
		    .required = true,
		    .min_len = 8,
		    .pattern = "" },
		{ .id = "text2504183744",
		    .name = "tokenKey",
		    .help = "",
		    .type = FT_TEXT,
		    .system = true,
		    .hidden = true,
		    .required = true,
		    .min_len = 30,
		    .max_len = 60,
		    .pattern = "",
		    .generate = "[a-zA-Z0-9]{50}" },
		{ .id = "email3885137012",
		    .name = "email",
		    .help = "",
		    .type = FT_EMAIL,
		    .system = true,
		    .required = true },
		{ .id = "bool1547992806",
		    .name = "emailVisibility",
		    .help = "",
		    .type = FT_BOOL,
		    .system = true },
		{ .id = "bool256245529",
		    .name = "verified",
		    .help = "",
		    .type = FT_BOOL,
		    .system = true },
	};

	*n = KB_COUNT(fields);
	return fields;
}
