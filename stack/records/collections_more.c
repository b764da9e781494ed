/*
 * What superusers do with collections beside making them: truncate, what new
 * ones look like, what a view's query would give.
 */
#include <string.h>

#include <kombi/str.h>

#include "auth_provider.h"
#include "changes.h"
#include "collections.h"
#include "files.h"

#define SAMPLE 10 /* rows of a view that is tried */

/* ---- truncate
 * ---------------------------------------------------------------- */

static struct kb_reply
truncate_one(struct api *api)
{
	const struct collection *c = api_collection(api);
	enum kb_err err;

	if (c->type == CT_VIEW)
		return api_fail(api->req, 400,
		    "View collections cannot be truncated since they don't"
		    " store their own records.");
	err = collection_truncate(api, &api->req->cx, c);
	files_settle(api, err == KB_OK);
	if (err)
		return api_fail_db(api->req, err,
		    "Failed to truncate collection (most likely due to"
		    " required record references).");
	changes_publish(api);
	return kb_no_content(api->req);
}

/* ---- what new ones look like
 * --------------------------------------------------- */

static void
scaffolds_json(struct kb_jsonw *w, const void *obj)
{
	struct kb_arena *a = kb_arena_new(0);

	(void)obj;
	for (int type = CT_BASE; type <= CT_VIEW; type++) {
		struct collection c = collection_scaffold(
		    a, (enum collection_type)type);

		kb_w_object(w, collection_type_name(c.type));
		collection_write(w, &c);
		kb_w_object_end(w);
	}
	kb_arena_free(a);
}

static struct kb_reply
scaffolds(struct api *api)
{
	return kb_bare(api->req, 200, scaffolds_json, NULL);
}

/* Whom people can come from; the logos are the client's own. */
static void
write_providers(struct kb_jsonw *w)
{
	size_t n;
	const struct provider *all = provider_all(&n);

	kb_w_array(w, NULL);
	for (size_t i = 0; i < n; i++) {
		kb_w_object(w, NULL);
		kb_w_str(w, "name", all[i].name);
		kb_w_str(w, "displayName", all[i].display);
		kb_w_str(w, "logo", "");
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static struct kb_reply
providers(struct api *api)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 1u << 20);
	kb_w_init(&w, &b);
	write_providers(&w);
	text = kb_strdup(api->req->cx.arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return kb_json_reply(api->req, 200, text);
}

/* ---- what a query gives
 * ----------------------------------------------------------- */

/* Some of its rows, as records would show them. */
static struct kb_reply
sample(struct api *api, struct collection *c)
{
	struct kb_arena *a = api->req->cx.arena;
	struct query q = { .arena = a, .c = c, .where = "" };
	struct record **rows;
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;
	size_t n;
	enum kb_err err;

	collection_prepare(a, c);
	err = view_rows(&api->req->cx, &q, SAMPLE, &rows, &n);
	if (err)
		return api_fail_db(api->req, err, NULL);
	kb_buf_init(&b, 32u << 20);
	kb_w_init(&w, &b);
	kb_w_array(&w, NULL);
	for (size_t i = 0; i < n; i++) {
		kb_w_object(&w, NULL);
		record_write(&w, api, rows[i], NULL);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return kb_json_reply(api->req, 200, text);
}

static struct kb_reply
dry_run_view(struct api *api)
{
	struct kb_request *req = api->req;
	struct api_errors errors = { 0 };
	struct collection c = { .type = CT_VIEW, .id = "", .name = "" };
	struct kb_reply reply;
	const char *query, *why = NULL;

	if (!api_body(api, &reply))
		return reply;
	query = kb_json_str(api->body, "query");
	if (query == NULL || query[0] == '\0')
		api_error_add(req->cx.arena, &errors, "query",
		    "validation_required", "Cannot be blank.");
	else if (!view_fields(api, &req->cx, query, &c, &why))
		api_error_add(req->cx.arena, &errors, "query",
		    "validation_invalid_view_query",
		    kb_sprintf(req->cx.arena, "Invalid query - %s", why));
	if (errors.n > 0)
		return api_fail_fields(req,
		    "An error occurred while validating the submitted data.",
		    &errors);
	c.view_query = query;
	return sample(api, &c);
}

API_HANDLER(collections_truncate, API_SUPERUSERS, truncate_one)
API_HANDLER(collections_scaffolds, API_SUPERUSERS, scaffolds)
API_HANDLER(collections_dry_run, API_SUPERUSERS, dry_run_view)
API_HANDLER(collections_providers, API_SUPERUSERS, providers)
