/*
 * The frame of the records API: the way into the tenant, PocketBase's error
 * bodies, the request's body.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "../platform.h"
#include "auth.h"
#include "frame.h"

#define ERRORS_MAX 64

static const struct {
	int status;
	const char *message;
} texts[] = {
	{ 400, "Something went wrong while processing your request." },
	{ 401, "Missing or invalid authentication." },
	{ 403, "You are not allowed to perform this request." },
	{ 404, "The requested resource wasn't found." },
	{ 405, "Method Not Allowed." },
	{ 413, "Request entity too large." },
	{ 429, "Too Many Requests." },
	{ 503, "Service unavailable." },
	{ 507, "Out of storage." },
};

static const char *
text_of(int status)
{
	for (size_t i = 0; i < KB_COUNT(texts); i++)
		if (texts[i].status == status)
			return texts[i].message;
	return texts[0].message;
}

const char *
record_now(struct kb_arena *a)
{
	char *text = kb_now_text(a);

	text[10] = ' ';
	return text;
}

/* ---- errors
 * --------------------------------------------------------------------- */

const char api_superusers_only[] = "Only superusers can perform this action.";

bool
rule_is_locked(
    const struct api *api, const struct collection *c, enum api_rule r)
{
	return c->rules[r] == NULL && !api->superuser;
}

/* The rest of a dotted path below the first `depth` segments. */
static const char *
below(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(path, prefix, len) == 0 ? path + len : NULL;
}

static void
write_error(struct kb_jsonw *w, const char *name, const struct api_error *e)
{
	kb_w_object(w, name);
	kb_w_str(w, "code", e->code);
	kb_w_str(w, "message", e->message);
	if (e->params != NULL)
		kb_w_raw(w, "params", e->params);
	kb_w_object_end(w);
}

static bool
seen_before(const struct api_errors *all, const struct api_error *e, size_t len)
{
	for (const struct api_error *b = all->first; b != e; b = b->next)
		if (strncmp(b->path, e->path, len) == 0)
			return true;
	return false;
}

/* Paths are nested objects: "fields.3.name" is data.fields.3.name. */
static void
write_errors(struct kb_jsonw *w, struct kb_arena *a,
    const struct api_errors *all, const char *prefix)
{
	for (const struct api_error *e = all->first; e != NULL; e = e->next) {
		const char *rest = below(e->path, prefix), *dot;
		size_t len;

		if (rest == NULL)
			continue;
		dot = strchr(rest, '.');
		len = dot ? (size_t)(dot + 1 - e->path) : strlen(e->path) + 1;
		if (seen_before(all, e, len))
			continue;
		if (dot == NULL) {
			write_error(w, rest, e);
			continue;
		}
		kb_w_object(w, kb_strndup(a, rest, (size_t)(dot - rest)));
		write_errors(w, a, all, kb_strndup(a, e->path, len));
		kb_w_object_end(w);
	}
}

void
api_failure_write(struct kb_jsonw *w, const void *failure)
{
	const struct api_failure *f = failure;
	struct kb_arena *a = kb_arena_new(0);

	kb_w_object(w, "data");
	if (f->errors != NULL)
		write_errors(w, a, f->errors, "");
	kb_w_object_end(w);
	kb_w_str(w, "message", f->message ? f->message : text_of(f->status));
	kb_w_int(w, "status", f->status);
	kb_arena_free(a);
}

struct kb_reply
api_failed(struct kb_request *req, const struct api_failure *f)
{
	if (f->status == 401)
		kb_reply_header(req, "WWW-Authenticate", "Bearer");
	if (f->status == 503)
		kb_reply_header(req, "Retry-After", "1");
	return kb_bare(req, f->status, api_failure_write, f);
}

struct kb_reply
api_fail(struct kb_request *req, int status, const char *message)
{
	struct api_failure f = { status, message, NULL };

	return api_failed(req, &f);
}

struct kb_reply
api_fail_fields(
    struct kb_request *req, const char *message, const struct api_errors *e)
{
	struct api_failure f = { 400, message, e };

	return api_failed(req, &f);
}

struct api_failure
api_failure_of(enum kb_err err, const char *message)
{
	if (err == KB_UNAVAILABLE || err == KB_TIMEOUT ||
	    err == KB_RESOURCE_LIMIT || err == KB_TOO_LARGE)
		return (struct api_failure) { kb_err_status(err), NULL, NULL };
	if (err == KB_STORAGE_QUOTA)
		return (struct api_failure) { 403, "Storage quota exceeded.",
			NULL };
	return (struct api_failure) { 400, message, NULL };
}

struct kb_reply
api_fail_db(struct kb_request *req, enum kb_err err, const char *message)
{
	struct api_failure f = api_failure_of(err, message);

	return api_failed(req, &f);
}

void
api_error_param(struct kb_arena *a, struct api_errors *e, const char *path,
    const char *code, const char *message, const char *params)
{
	struct api_error **p = &e->first;
	struct api_error *new;

	while (*p != NULL && strcmp((*p)->path, path) != 0)
		p = &(*p)->next;
	if (*p != NULL || e->n == ERRORS_MAX)
		return; /* the first one of a field is told */
	new = kb_new(a, struct api_error);
	new->path = kb_strdup(a, path);
	new->code = code;
	new->message = message;
	new->params = params;
	*p = new;
	e->n++;
}

void
api_error_add(struct kb_arena *a, struct api_errors *e, const char *path,
    const char *code, const char *message)
{
	api_error_param(a, e, path, code, message, NULL);
}

bool
api_refusal(struct kb_request *req, enum kb_err err, struct kb_reply *reply)
{
	const char *rest = req->path;

	if (kb_str_starts(rest, "/tenant/")) {
		rest = strchr(rest + 8, '/');
		if (rest == NULL || !kb_str_starts(rest, "/api/"))
			return false;
	} else if (!kb_str_starts(rest, "/api/collections") &&
	    !kb_str_starts(rest, "/api/files/")) {
		return false;
	}
	if (req->method == KB_M_OPTIONS) {
		*reply = frame_preflight(req);
		return true;
	}
	frame_origin(req);
	/* A method that a path has not is no route of it, as upstream. */
	*reply = api_fail(
	    req, err == KB_METHOD ? 404 : kb_err_status(err), NULL);
	return true;
}

/* ---- the way in
 * -------------------------------------------------------------------- */

/* users_acme: a slug has no underscore, so the last one parts them. Plain
 * names are of the default tenant, where there is one. */
static bool
split_address(struct kb_request *req, const char **slug)
{
	const char *address = kb_param(req, "collection");
	const char *mark = strrchr(address, '_');

	if (mark != NULL && mark != address)
		*slug = mark + 1;
	else if (kb_app(req)->common->mode == KB_MODE_SELF_HOSTED)
		*slug = DEFAULT_TENANT;
	else
		return false;
	return true;
}

static bool
by_slug(const struct kb_request *req)
{
	return kb_str_starts(req->route->pattern, "/tenant/{slug}");
}

static bool
has_collection(const struct kb_request *req)
{
	return strstr(req->route->pattern, "{collection}") != NULL;
}

const struct collection *
api_collection(struct api *api)
{
	const char *name = kb_param(api->req, "collection");

	if (!by_slug(api->req)) {
		const char *mark = strrchr(name, '_');

		/* Without a mark it is the home of a self-hosted instance. */
		if (mark != NULL && mark != name)
			name = kb_strndup(
			    api->req->cx.arena, name, (size_t)(mark - name));
	}
	return schema_find(api->schema, name);
}

static struct kb_reply
refuse(struct kb_request *req, enum kb_err err)
{
	switch (err) {
	case KB_TENANT_NOT_FOUND: return api_fail(req, 404, NULL);
	case KB_TENANT_FORBIDDEN: return api_fail(req, 403, NULL);
	default: return api_fail_db(req, err, NULL);
	}
}

/* NULL when the caller may go on, else why not. */
static const char *
not_allowed(const struct api *api, enum api_access access, int *status)
{
	if (access >= API_MEMBERS && api->auth == NULL) {
		*status = 401;
		return "The request requires valid record authorization token.";
	}
	if (access == API_SUPERUSERS && !api->superuser) {
		*status = 403;
		return "The authorized record is not allowed to perform this"
		       " action.";
	}
	return NULL;
}

/* What is said where there is none, by the route; NULL: the usual. */
static const char *
no_collection(const struct kb_request *req)
{
	const char *rest = strstr(req->route->pattern, "{collection}") +
	    strlen("{collection}");

	if (rest[0] == '\0' || strcmp(rest, "/truncate") == 0)
		return NULL;
	if (kb_str_starts(rest, "/records"))
		return "Missing collection context.";
	return kb_str_starts(rest, "/impersonate/")
	    ? "Missing or invalid auth collection context."
	    : "Missing or invalid collection context.";
}

static struct kb_reply
run(struct api *api, enum api_access access, api_handler *fn)
{
	struct kb_request *req = api->req;
	enum kb_err err = auth_recognise(api);
	const char *why;
	int status;

	if (err)
		return refuse(req, err);
	if (!frame_limit(api))
		return api_fail(req, 429, NULL);
	why = not_allowed(api, access, &status);
	if (why != NULL)
		return api_fail(req, status, why);
	if (has_collection(req) && api_collection(api) == NULL)
		return api_fail(req, 404, no_collection(req));
	return fn(api);
}

static void
method_json(struct kb_jsonw *w, const void *obj)
{
	const struct kb_request *req = obj;

	kb_w_str(w, "method", kb_method_name(req->method));
	kb_w_str(w, "path", req->path);
}

/* What superusers change (collections, settings, …) is noted here, so that
 * no handler can forget it. */
static void
note_change(const struct api *api)
{
	struct kb_request *req = api->req;

	if (req->user.sub == NULL && api->auth != NULL)
		req->user.sub = api->auth->id;
	note(req, "superuser.change", "api",
	    has_collection(req) ? kb_param(req, "collection") : "",
	    details_text(req->cx.arena, method_json, req));
}

static struct kb_reply
run_with_schema(struct api *api, enum api_access access, api_handler *fn)
{
	struct kb_request *req = api->req;
	struct schema_slot *slot = tenant_schemas(api->tenant->handle);
	struct schema *schema = NULL;
	struct kb_reply reply;
	enum kb_err err = schema_acquire(&req->cx, slot, &schema);

	if (err)
		return api_fail_db(req, err, NULL);
	api->schema = schema;
	reply = run(api, access, fn);
	if (access == API_SUPERUSERS && reply.status < 300 &&
	    req->method != KB_M_GET && req->method != KB_M_HEAD)
		note_change(api);
	schema_release(slot, schema);
	return reply;
}

struct kb_reply
api_run(struct kb_request *req, enum api_access access, api_handler *fn)
{
	struct tenant_cx *tc = kb_new(req->cx.arena, struct tenant_cx);
	struct api api = { .req = req, .tenant = tc };
	const char *slug = by_slug(req) ? kb_param(req, "slug") : NULL;
	struct kb_reply reply;
	enum kb_err err;

	frame_origin(req);
	if (slug == NULL && !split_address(req, &slug))
		return api_fail(req, 404, "Missing collection context.");
	err = tenant_visit(req, tc, slug);
	if (err)
		reply = refuse(req, err);
	else
		reply = run_with_schema(&api, access, fn);
	tenant_resolved_done(req);
	return reply;
}
