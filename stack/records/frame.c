/*
 * What PocketBase's API has around every answer: other origins may read it,
 * and the tenant's own limits of requests hold.
 */
#include <string.h>

#include <kombi/str.h>
#include <kombi/window.h>

#include "frame.h"
#include "settings.h"

/* ---- other origins --------------------------------------------------------
 */

/* Tokens are headers that a page must know: no cookie, no credentials. */
void
frame_origin(struct kb_request *req)
{
	kb_reply_header(req, "Vary", "Origin");
	if (kb_header(req, "Origin") != NULL)
		kb_reply_header(req, "Access-Control-Allow-Origin", "*");
}

static bool
is_clean(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s < 0x20 || *s > 0x7e)
			return false;
	return true;
}

struct kb_reply
frame_preflight(struct kb_request *req)
{
	const char *asked = kb_header(req, "Access-Control-Request-Headers");

	frame_origin(req);
	if (kb_header(req, "Origin") != NULL) {
		kb_reply_header(req, "Access-Control-Allow-Methods",
		    "GET,HEAD,PUT,PATCH,POST,DELETE");
		if (asked != NULL && asked[0] != '\0' && is_clean(asked))
			kb_reply_header(
			    req, "Access-Control-Allow-Headers", asked);
	}
	return kb_no_content(req);
}

/* ---- limits ---------------------------------------------------------------
 */

/* What a route does to its collection, by the pattern's end. */
static const struct {
	enum kb_method method;
	const char *rest, *action, *group;
} actions[] = {
	{ KB_M_GET, "/records", "list", NULL },
	{ KB_M_POST, "/records", "create", NULL },
	{ KB_M_GET, "/records/{id}", "view", NULL },
	{ KB_M_PATCH, "/records/{id}", "update", NULL },
	{ KB_M_DELETE, "/records/{id}", "delete", NULL },
	{ KB_M_GET, "/{id}/{filename}", "file", NULL },
	{ KB_M_GET, "/auth-methods", "listAuthMethods", NULL },
	{ KB_M_POST, "/auth-refresh", "authRefresh", NULL },
	{ KB_M_POST, "/auth-with-password", "authWithPassword", "auth" },
	{ KB_M_POST, "/auth-with-oauth2", "authWithOAuth2", "auth" },
	{ KB_M_POST, "/auth-with-otp", "authWithOTP", "auth" },
	{ KB_M_POST, "/request-otp", "requestOTP", NULL },
	{ KB_M_POST, "/request-password-reset", "requestPasswordReset", NULL },
	{ KB_M_POST, "/confirm-password-reset", "confirmPasswordReset", NULL },
	{ KB_M_POST, "/request-verification", "requestVerification", NULL },
	{ KB_M_POST, "/confirm-verification", "confirmVerification", NULL },
	{ KB_M_POST, "/request-email-change", "requestEmailChange", NULL },
	{ KB_M_POST, "/confirm-email-change", "confirmEmailChange", NULL },
};

#define LABELS 8

/* Labels of the request, the narrowest first; NULL-ended. */
static void
labels_of(struct api *api, const char *labels[LABELS])
{
	struct kb_request *req = api->req;
	struct kb_arena *a = req->cx.arena;
	const struct collection *c = NULL;
	const char *rest = strstr(req->route->pattern, "{collection}");
	const char *path = strstr(req->path, "/api/");
	size_t n = 0, i = KB_COUNT(actions);

	if (rest != NULL && (c = api_collection(api)) != NULL) {
		rest += strlen("{collection}");
		for (i = 0; i < KB_COUNT(actions); i++)
			if (actions[i].method == req->route->method &&
			    strcmp(actions[i].rest, rest) == 0)
				break;
	}
	if (i < KB_COUNT(actions)) {
		const char *action = actions[i].action;
		const char *group = actions[i].group;

		labels[n++] = kb_sprintf(a, "%s:%s", c->name, action);
		if (group != NULL)
			labels[n++] = kb_sprintf(a, "%s:%s", c->name, group);
		labels[n++] = kb_sprintf(a, "*:%s", action);
		if (group != NULL)
			labels[n++] = kb_sprintf(a, "*:%s", group);
	}
	path = path != NULL ? path : req->path;
	labels[n++] = kb_sprintf(a, "%s %s", kb_method_name(req->method), path);
	labels[n++] = path;
	labels[n] = NULL;
}

static bool
is_audience(const struct api *api, const struct rate_rule *r)
{
	return r->audience[0] == '\0' ||
	    strcmp(r->audience, api->auth ? "@auth" : "@guest") == 0;
}

static bool
is_prefix(struct kb_arena *a, const struct rate_rule *r, const char *label)
{
	return kb_str_ends(r->label, "/") &&
	    kb_str_starts(kb_sprintf(a, "%s/", label), r->label);
}

static const struct rate_rule *
rule_of(const struct api *api, const char *const *labels)
{
	const struct rate_limits *l = api->schema->limits;
	struct kb_arena *a = api->req->cx.arena;

	for (; *labels != NULL; labels++) {
		for (size_t i = 0; i < l->n; i++)
			if (strcmp(l->rules[i].label, *labels) == 0 &&
			    is_audience(api, &l->rules[i]))
				return &l->rules[i];
		for (size_t i = 0; i < l->n; i++)
			if (is_prefix(a, &l->rules[i], *labels) &&
			    is_audience(api, &l->rules[i]))
				return &l->rules[i];
	}
	return NULL;
}

static void
tell(struct kb_request *req, const struct kb_window_verdict *v)
{
	struct kb_arena *a = req->cx.arena;

	kb_reply_header(req, "X-RateLimit-Limit",
	    kb_sprintf(a, "%lld", (long long)v->limit));
	kb_reply_header(req, "X-RateLimit-Remaining",
	    kb_sprintf(a, "%lld", (long long)v->remaining));
	kb_reply_header(req, "X-RateLimit-Reset",
	    kb_sprintf(a, "%lld", (long long)v->reset_s));
	if (v->over)
		kb_reply_header(req, "Retry-After",
		    kb_sprintf(a, "%lld", (long long)v->wait_s));
}

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

bool
frame_limit(struct api *api)
{
	struct kb_request *req = api->req;
	const struct rate_rule *r;
	struct kb_window_rule rule = { .kind = KB_WINDOW_FIXED };
	struct kb_window_verdict verdict;
	const char *labels[LABELS], *key;

	if (api->schema->limits == NULL || api->superuser)
		return true;
	labels_of(api, labels);
	r = rule_of(api, labels);
	if (r == NULL || r->requests < 1 || r->duration_s < 1)
		return true;
	rule.limit = least(r->requests, 1000000000);
	rule.window_s = least(r->duration_s, 31536000);
	/* Per collection for an action's label, as its labels name it. */
	key = kb_sprintf(req->cx.arena, "api %s %s %s %s %s",
	    api->tenant->row.id, r->label, r->audience,
	    r->label[0] == '*' ? labels[0] : "", req->peer);
	kb_window_take(stack_state(kb_app(req))->rates,
	    (struct kb_slice) { key, strlen(key) }, &rule, &verdict);
	tell(req, &verdict);
	return !verdict.over;
}

/* ---- health ---------------------------------------------------------------
 */

static void
health_json(struct kb_jsonw *w, const void *obj)
{
	const struct api *api = obj;

	kb_w_str(w, "message", "API is healthy.");
	kb_w_int(w, "code", 200);
	kb_w_object(w, "data");
	if (api->superuser) {
		/* No backup can be asked for by this API. */
		kb_w_bool(w, "canBackup", false);
		kb_w_str(w, "possibleProxyHeader", "");
		kb_w_str(w, "realIP", api->req->peer);
	}
	kb_w_object_end(w);
}

static struct kb_reply
health(struct api *api)
{
	return kb_bare(api->req, 200, health_json, api);
}

API_HANDLER(api_health, API_GUESTS, health)
