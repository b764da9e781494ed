/* /api/settings: read, changed in parts, judged as a whole. */
#include "settings.h"

#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "cron.h"

#define AAD "settings"

static unsigned char key[32];

void
settings_set_key(const unsigned char with[32])
{
	memcpy(key, with, sizeof(key));
}

/* ---- what there is ---------------------------------------------------------
 */

enum kind { S_STR, S_INT, S_BOOL, S_SECRET };

struct setting {
	const char *group, *inner, *name; /* inner: a group in the group */
	enum kind kind;
	size_t offset;
};

/* clang-format off */
#define STR(g, i, n, m) { g, i, n, S_STR, KB_OFFSET_OF(struct settings, m, const char *) }
#define SECRET(g, i, n, m) { g, i, n, S_SECRET, KB_OFFSET_OF(struct settings, m, const char *) }
#define INT(g, i, n, m) { g, i, n, S_INT, KB_OFFSET_OF(struct settings, m, int64_t) }
#define BOOL(g, i, n, m) { g, i, n, S_BOOL, KB_OFFSET_OF(struct settings, m, bool) }
#define S3(g, i, m) \
	BOOL(g, i, "enabled", m.enabled), STR(g, i, "bucket", m.bucket), \
	STR(g, i, "region", m.region), STR(g, i, "endpoint", m.endpoint), \
	STR(g, i, "accessKey", m.access_key), SECRET(g, i, "secret", m.secret), \
	BOOL(g, i, "forcePathStyle", m.path_style)

static const struct setting table[] = {
	BOOL("smtp", NULL, "enabled", smtp),
	INT("smtp", NULL, "port", smtp_port),
	STR("smtp", NULL, "host", smtp_host),
	STR("smtp", NULL, "username", smtp_user),
	SECRET("smtp", NULL, "password", smtp_password),
	STR("smtp", NULL, "authMethod", smtp_auth),
	BOOL("smtp", NULL, "tls", smtp_tls),
	STR("smtp", NULL, "localName", smtp_local_name),
	STR("backups", NULL, "cron", backup_cron),
	INT("backups", NULL, "cronMaxKeep", backup_keep),
	S3("backups", "s3", backup_s3),
	S3("s3", NULL, s3),
	STR("meta", NULL, "appName", app_name),
	STR("meta", NULL, "appURL", app_url),
	STR("meta", NULL, "senderName", sender_name),
	STR("meta", NULL, "senderAddress", sender_address),
	BOOL("meta", NULL, "hideControls", hide_controls),
	BOOL("batch", NULL, "enabled", batch),
	INT("batch", NULL, "maxRequests", batch_requests),
	INT("batch", NULL, "timeout", batch_timeout_s),
	INT("batch", NULL, "maxBodySize", batch_body),
	INT("logs", NULL, "maxDays", logs_days),
	INT("logs", NULL, "minLevel", logs_level),
	BOOL("logs", NULL, "logIP", logs_ip),
	BOOL("logs", NULL, "logAuthId", logs_auth),
};
/* clang-format on */

static struct rate_rule default_rules[] = {
	{ "*:auth", "", 3, 2 },
	{ "*:create", "", 5, 20 },
	{ "/api/batch", "", 1, 3 },
	{ "/api/", "", 10, 300 },
};

static const struct s3_conf no_s3 = { false, false, "", "", "", "", "" };
static const char *const no_headers[] = { NULL };

static struct settings
defaults(void)
{
	return (struct settings) {
		.app_name = "Acme",
		.app_url = "http://localhost:8090",
		.sender_name = "Support",
		.sender_address = "support@example.com",
		.smtp_host = "smtp.example.com",
		.smtp_user = "",
		.smtp_password = "",
		.smtp_auth = "",
		.smtp_local_name = "",
		.smtp_port = 587,
		.batch_requests = 50,
		.batch_timeout_s = 3,
		.backup_cron = "",
		.backup_keep = 3,
		.backup_s3 = no_s3,
		.s3 = no_s3,
		.logs_days = 5,
		.logs_ip = true,
		.rate_rules = default_rules,
		.n_rate_rules = KB_COUNT(default_rules),
		.proxy_headers = no_headers,
	};
}

/* ---- reading
 * ----------------------------------------------------------------- */

static const struct kb_json *
group_of(const struct kb_json *j, const struct setting *s)
{
	j = kb_json_get(j, s->group);
	return s->inner && j ? kb_json_get(j, s->inner) : j;
}

static const char *
decrypted(struct kb_arena *a, const char *text)
{
	unsigned char *plain;
	size_t len;

	if (kb_field_decrypt(a, key, text, AAD, &plain, &len))
		return ""; /* of another instance: to be set anew */
	return kb_strndup(a, (const char *)plain, len);
}

static void
read_one(struct kb_arena *a, const struct setting *s, const struct kb_json *j,
    struct settings *to, bool stored)
{
	void *at = (char *)to + s->offset;
	const struct kb_json *group = group_of(j, s);
	const struct kb_json *v = group ? kb_json_get(group, s->name) : NULL;
	int64_t n;

	if (v == NULL)
		return;
	if (s->kind == S_BOOL && kb_json_kind(v) == KB_JSON_BOOL)
		*(bool *)at = kb_json_true(v);
	else if (s->kind == S_INT && kb_json_integer(v, &n))
		*(int64_t *)at = n;
	else if (s->kind == S_STR && kb_json_text(v) != NULL)
		*(const char **)at = kb_strdup(a, kb_json_text(v));
	else if (s->kind == S_SECRET && kb_json_text(v) != NULL)
		*(const char **)at = stored ? decrypted(a, kb_json_text(v))
					    : kb_strdup(a, kb_json_text(v));
}

static void
read_rules(struct kb_arena *a, const struct kb_json *list, struct settings *to)
{
	if (list == NULL || kb_json_kind(list) != KB_JSON_ARRAY)
		return;
	to->n_rate_rules = 0;
	to->rate_rules = kb_new_array(
	    a, kb_json_size(list) + 1, struct rate_rule);
	for (const struct kb_json *j = kb_json_first(list); j != NULL;
	     j = kb_json_after(j)) {
		struct rate_rule *r = &to->rate_rules[to->n_rate_rules++];
		const char *label = kb_json_str(j, "label");
		const char *audience = kb_json_str(j, "audience");

		*r = (struct rate_rule) {
			.label = kb_strdup(a, label ? label : ""),
			.audience = kb_strdup(a, audience ? audience : ""),
		};
		if (!kb_json_int(j, "duration", &r->duration_s))
			r->duration_s = 0;
		if (!kb_json_int(j, "maxRequests", &r->requests))
			r->requests = 0;
	}
}

static void
read_proxy(struct kb_arena *a, const struct kb_json *j, struct settings *to)
{
	const struct kb_json *list = j ? kb_json_get(j, "headers") : NULL;
	const char **names;
	size_t n = 0;

	if (j == NULL)
		return;
	to->proxy_leftmost = kb_json_bool(
	    j, "useLeftmostIP", to->proxy_leftmost);
	if (list == NULL || kb_json_kind(list) != KB_JSON_ARRAY)
		return;
	names = kb_new_array(a, kb_json_size(list) + 1, const char *);
	for (list = kb_json_first(list); list; list = kb_json_after(list))
		if (kb_json_text(list) != NULL)
			names[n++] = kb_strdup(a, kb_json_text(list));
	to->proxy_headers = names;
}

static void
read_all(struct kb_arena *a, const struct kb_json *j, struct settings *to,
    bool stored)
{
	const struct kb_json *limits = kb_json_get(j, "rateLimits");

	for (size_t i = 0; i < KB_COUNT(table); i++)
		read_one(a, &table[i], j, to, stored);
	if (limits != NULL) {
		to->rate_limits = kb_json_bool(
		    limits, "enabled", to->rate_limits);
		read_rules(a, kb_json_get(limits, "rules"), to);
	}
	read_proxy(a, kb_json_get(j, "trustedProxy"), to);
}

enum kb_err
settings_get(
    struct kb_cx *cx, struct tenant_handle *handle, const struct settings **out)
{
	struct settings *s = kb_new(cx->arena, struct settings);
	const struct kb_json *j;
	const char *text, *why = NULL;
	enum kb_err err = settings_load(cx, &text);

	(void)handle;
	if (err)
		return err;
	*s = defaults();
	if (text != NULL) {
		if (kb_json_parse(cx->arena, text, strlen(text), &j, &why))
			return KB_INTERNAL;
		read_all(cx->arena, j, s, true);
	}
	*out = s;
	return KB_OK;
}

/* Rules alone go into the snapshot: no secret is kept in memory with them. */
static const struct rate_limits *
copy_limits(struct kb_arena *a, const struct settings *s)
{
	struct rate_limits *to = kb_new(a, struct rate_limits);
	struct rate_rule *rules = kb_new_array(
	    a, s->n_rate_rules + 1, struct rate_rule);

	for (size_t i = 0; i < s->n_rate_rules; i++) {
		rules[i] = s->rate_rules[i];
		rules[i].label = kb_strdup(a, rules[i].label);
		rules[i].audience = kb_strdup(a, rules[i].audience);
	}
	*to = (struct rate_limits) { rules, s->n_rate_rules };
	return to;
}

enum kb_err
settings_limits(
    struct kb_cx *cx, struct kb_arena *a, const struct rate_limits **out)
{
	const struct settings *s;
	enum kb_err err = settings_get(cx, NULL, &s);

	*out = NULL;
	if (!err && s->rate_limits)
		*out = copy_limits(a, s);
	return err;
}

/* ---- writing
 * ----------------------------------------------------------------- */

struct output {
	const struct settings *settings;
	struct kb_arena *arena; /* with it: for the database, with secrets */
};

static void
write_one(struct kb_jsonw *w, const struct setting *s, const struct output *o)
{
	const void *at = (const char *)o->settings + s->offset;
	const char *text = NULL;

	if (s->kind == S_STR || s->kind == S_SECRET)
		text = *(const char *const *)at;
	switch (s->kind) {
	case S_BOOL: kb_w_bool(w, s->name, *(const bool *)at); break;
	case S_INT: kb_w_int(w, s->name, *(const int64_t *)at); break;
	case S_STR: kb_w_str(w, s->name, text); break;
	case S_SECRET:
		if (o->arena != NULL && text[0] != '\0')
			kb_w_str(w, s->name,
			    kb_field_encrypt(
				o->arena, key, text, strlen(text), AAD));
		break;
	}
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The table's rows stand in the order of their groups. */
static void
write_table(struct kb_jsonw *w, const struct output *o)
{
	const char *group = NULL, *inner = NULL;

	for (size_t i = 0; i < KB_COUNT(table); i++) {
		const struct setting *s = &table[i];

		if (inner != NULL && !same(s->inner, inner)) {
			kb_w_object_end(w);
			inner = NULL;
		}
		if (!same(s->group, group)) {
			if (group != NULL)
				kb_w_object_end(w);
			kb_w_object(w, group = s->group);
		}
		if (s->inner != NULL && inner == NULL)
			kb_w_object(w, inner = s->inner);
		write_one(w, s, o);
	}
	kb_w_object_end(w);
}

static void
settings_json(struct kb_jsonw *w, const void *obj)
{
	const struct output *o = obj;
	const struct settings *s = o->settings;

	write_table(w, o);
	kb_w_object(w, "rateLimits");
	kb_w_array(w, "rules");
	for (size_t i = 0; i < s->n_rate_rules; i++) {
		kb_w_object(w, NULL);
		kb_w_str(w, "label", s->rate_rules[i].label);
		kb_w_str(w, "audience", s->rate_rules[i].audience);
		kb_w_int(w, "duration", s->rate_rules[i].duration_s);
		kb_w_int(w, "maxRequests", s->rate_rules[i].requests);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_bool(w, "enabled", s->rate_limits);
	kb_w_object_end(w);
	kb_w_object(w, "trustedProxy");
	kb_w_array(w, "headers");
	for (size_t i = 0; s->proxy_headers[i] != NULL; i++)
		kb_w_str(w, NULL, s->proxy_headers[i]);
	kb_w_array_end(w);
	kb_w_bool(w, "useLeftmostIP", s->proxy_leftmost);
	kb_w_object_end(w);
}

static const char *
stored_text(struct kb_arena *a, const struct settings *s)
{
	struct output o = { s, a };
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 1u << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	settings_json(&w, &o);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

/* ---- judging
 * ----------------------------------------------------------------- */

struct check {
	struct kb_arena *arena;
	struct api_errors *errors;
};

static void
need(struct check *c, const char *path, bool given)
{
	if (!given)
		api_error_add(c->arena, c->errors, path, "validation_required",
		    "Cannot be blank.");
}

static void
at_least(struct check *c, const char *path, int64_t n, int64_t least)
{
	if (n < least)
		api_error_param(c->arena, c->errors, path,
		    "validation_min_greater_equal_than_required",
		    kb_sprintf(c->arena, "Must be no less than %lld.",
			(long long)least),
		    kb_sprintf(
			c->arena, "{\"threshold\":%lld}", (long long)least));
}

static void
check_s3(struct check *c, const char *group, const struct s3_conf *s)
{
	const struct {
		const char *name, *value;
	} needed[] = {
		{ "bucket", s->bucket },
		{ "region", s->region },
		{ "endpoint", s->endpoint },
		{ "accessKey", s->access_key },
		{ "secret", s->secret },
	};

	for (size_t i = 0; s->enabled && i < KB_COUNT(needed); i++)
		need(c, kb_sprintf(c->arena, "%s.%s", group, needed[i].name),
		    needed[i].value[0] != '\0');
}

static bool
is_web_address(const char *s)
{
	return kb_str_starts(s, "http://") || kb_str_starts(s, "https://");
}

static void
check_meta(struct check *c, const struct settings *s)
{
	need(c, "meta.appName", s->app_name[0] != '\0');
	need(c, "meta.appURL", s->app_url[0] != '\0');
	need(c, "meta.senderName", s->sender_name[0] != '\0');
	need(c, "meta.senderAddress", s->sender_address[0] != '\0');
	if (s->app_url[0] != '\0' && !is_web_address(s->app_url))
		api_error_add(c->arena, c->errors, "meta.appURL",
		    "validation_is_url", "Must be a valid URL.");
	if (s->sender_address[0] != '\0' && !kb_is_email(s->sender_address))
		api_error_add(c->arena, c->errors, "meta.senderAddress",
		    "validation_is_email", "Must be a valid email address.");
}

/* "POST /path", "/path", "/prefix/", "collection:action", "*:action". */
static bool
is_label(const char *s)
{
	static const char *const methods[] = { "GET ", "POST ", "PATCH ",
		"PUT ", "DELETE ", "HEAD ", "OPTIONS " };

	for (size_t i = 0; i < KB_COUNT(methods); i++)
		if (kb_str_starts(s, methods[i])) {
			s += strlen(methods[i]);
			break;
		}
	if (s[0] == '/')
		return strpbrk(s, " \t") == NULL;
	return strchr(s, ':') != NULL && strpbrk(s, " /\t") == NULL;
}

static void
check_rules(struct check *c, const struct settings *s)
{
	need(c, "rateLimits.rules", !s->rate_limits || s->n_rate_rules > 0);
	for (size_t i = 0; i < s->n_rate_rules; i++) {
		const struct rate_rule *r = &s->rate_rules[i];
		const char *at = kb_sprintf(
		    c->arena, "rateLimits.rules.%zu", i);

		need(c, kb_sprintf(c->arena, "%s.label", at),
		    r->label[0] != '\0');
		if (r->label[0] != '\0' && !is_label(r->label))
			api_error_add(c->arena, c->errors,
			    kb_sprintf(c->arena, "%s.label", at),
			    "validation_match_invalid",
			    "Must be in a valid format.");
		need(c, kb_sprintf(c->arena, "%s.maxRequests", at),
		    r->requests > 0);
		need(c, kb_sprintf(c->arena, "%s.duration", at),
		    r->duration_s > 0);
	}
}

static void
check_all(struct check *c, const struct settings *s)
{
	struct cron cron;

	check_meta(c, s);
	if (s->smtp) {
		need(c, "smtp.host", s->smtp_host[0] != '\0');
		need(c, "smtp.port", s->smtp_port != 0);
	}
	at_least(c, "smtp.port", s->smtp_port, 0);
	if (s->batch) {
		need(c, "batch.maxRequests", s->batch_requests != 0);
		need(c, "batch.timeout", s->batch_timeout_s != 0);
	}
	at_least(c, "batch.maxRequests", s->batch_requests, 0);
	at_least(c, "batch.timeout", s->batch_timeout_s, 0);
	at_least(c, "batch.maxBodySize", s->batch_body, 0);
	at_least(c, "logs.maxDays", s->logs_days, 0);
	if (s->backup_cron[0] != '\0' && !cron_parse(s->backup_cron, &cron))
		api_error_add(c->arena, c->errors, "backups.cron",
		    "validation_invalid_cron", "Invalid cron expression.");
	if (s->backup_cron[0] != '\0')
		need(c, "backups.cronMaxKeep", s->backup_keep > 0);
	check_s3(c, "s3", &s->s3);
	check_s3(c, "backups.s3", &s->backup_s3);
	check_rules(c, s);
}

/* ---- the API
 * ----------------------------------------------------------------- */

static struct kb_reply
answer(struct api *api, const struct settings *s)
{
	struct output o = { .settings = s };

	return kb_bare(api->req, 200, settings_json, &o);
}

static struct kb_reply
get(struct api *api)
{
	const struct settings *s;
	enum kb_err err = settings_get(&api->req->cx, api->tenant->handle, &s);

	return err ? api_fail_db(api->req, err, NULL) : answer(api, s);
}

static struct kb_reply
patch(struct api *api)
{
	static const char failed[] = "An error occurred while saving the new"
				     " settings.";
	struct kb_cx *cx = &api->req->cx;
	struct api_errors errors = { 0 };
	struct check c = { cx->arena, &errors };
	const struct settings *was;
	struct settings now;
	struct kb_reply reply;
	enum kb_err err;

	if (!api_body(api, &reply))
		return reply;
	err = settings_get(cx, api->tenant->handle, &was);
	if (err)
		return api_fail_db(api->req, err, failed);
	now = *was;
	read_all(cx->arena, api->body, &now, false);
	check_all(&c, &now);
	if (errors.n > 0)
		return api_fail_fields(api->req, failed, &errors);
	err = settings_save(cx, stored_text(cx->arena, &now));
	schema_forget(tenant_schemas(api->tenant->handle)); /* its limits */
	return err ? api_fail_db(api->req, err, failed) : answer(api, &now);
}

API_HANDLER(settings_read, API_SUPERUSERS, get)
API_HANDLER(settings_change, API_SUPERUSERS, patch)
