/*
 * What superusers do with collections beside one at a time: import, truncate,
 * what new ones look like, what a view's query would give.
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

/* ---- import
 * --------------------------------------------------------------------- */

struct import {
	struct api *api; /* body: the whole; schema: as it is so far */
	struct schema schema;
	const struct kb_json *list;
	bool delete_missing;
	struct api_errors errors;
	size_t at;
};

static const struct collection *
known(const struct import *im, const struct kb_json *j)
{
	const char *id = kb_json_str(j, "id"), *name = kb_json_str(j, "name");
	const struct collection *c = id && id[0] ? schema_find(&im->schema, id)
						 : NULL;

	return c ? c : schema_find(&im->schema, name ? name : "");
}

static void
schema_put(struct import *im, const struct collection *c)
{
	struct schema *s = &im->schema;
	struct collection *all = kb_new_array(
	    im->api->req->cx.arena, s->n + 1, struct collection);
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->collections[i].id, c->id) != 0)
			all[n++] = s->collections[i];
	all[n++] = *c;
	s->collections = all;
	s->n = n;
}

/* Without deleteMissing fields that are not named stay. */
static void
keep_fields(
    struct kb_arena *a, const struct collection *was, struct collection *c)
{
	struct field *all = kb_new_array(
	    a, c->n_fields + was->n_fields, struct field);

	memcpy(all, c->fields, c->n_fields * sizeof(*all));
	c->fields = all;
	for (size_t i = 0; i < was->n_fields; i++)
		if (collection_field(c, was->fields[i].name) == NULL)
			c->fields[c->n_fields++] = was->fields[i];
}

static enum kb_err
import_one(struct kb_cx *cx, struct import *im, const struct kb_json *j)
{
	const struct collection *was = known(im, j);
	struct api as = *im->api;
	struct collection c;
	enum kb_err err;

	as.body = j;
	as.schema = &im->schema;
	if (!collection_read(&as, was, &c, &im->errors))
		return KB_INVALID;
	if (was != NULL && !im->delete_missing)
		keep_fields(as.req->cx.arena, was, &c);
	if (was == NULL)
		err = collection_create(cx, &c);
	else
		err = collection_alter(cx, was, &c);
	if (!err)
		schema_put(im, &c);
	return err;
}

static bool
is_listed(const struct import *im, const struct collection *c)
{
	for (const struct kb_json *j = kb_json_first(im->list); j != NULL;
	     j = kb_json_after(j))
		if (known(im, j) == c ||
		    kb_str_eq(kb_json_str(j, "name"), c->name))
			return true;
	return false;
}

static enum kb_err
drop_missing(struct kb_cx *cx, struct import *im)
{
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < im->schema.n; i++) {
		const struct collection *c = &im->schema.collections[i];

		if (!c->system && !is_listed(im, c))
			err = collection_drop(cx, c);
	}
	return err;
}

static enum kb_err
import_all(struct kb_cx *cx, void *arg)
{
	struct import *im = arg;
	const struct kb_json *j;
	enum kb_err err = KB_OK;

	im->schema = *im->api->schema;
	im->errors = (struct api_errors) { 0 };
	im->at = 0;
	for (j = kb_json_first(im->list); !err && j != NULL;
	     j = kb_json_after(j), im->at++)
		err = import_one(cx, im, j);
	if (!err && im->delete_missing)
		err = drop_missing(cx, im);
	return err;
}

static struct kb_reply
import(struct api *api)
{
	static const char failed[] = "Failed to import collections.";
	struct import im = { .api = api };
	struct api_errors errors = { 0 };
	struct kb_reply reply;
	enum kb_err err;

	if (!api_body(api, &reply))
		return reply;
	im.list = kb_json_get(api->body, "collections");
	im.delete_missing = kb_json_bool(api->body, "deleteMissing", false);
	if (im.list == NULL || kb_json_size(im.list) == 0) {
		api_error_add(api->req->cx.arena, &errors, "collections",
		    "validation_required", "Cannot be blank.");
		return api_fail_fields(api->req,
		    "An error occurred while validating the submitted data.",
		    &errors);
	}
	err = kb_transaction(&api->req->cx, import_all, &im);
	schema_forget(tenant_schemas(api->tenant->handle));
	if (!err)
		return kb_no_content(api->req);
	api_error_add(api->req->cx.arena, &errors, "collections",
	    "validation_collections_import_failure",
	    kb_sprintf(api->req->cx.arena,
		"Failed to import the collections configuration: number %zu"
		" of the list%s%s.",
		im.at + 1, im.errors.first ? ", " : "",
		im.errors.first ? im.errors.first->path : ""));
	return api_fail_fields(api->req, failed, &errors);
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
	else if (!view_fields(api, query, &c, &why))
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
API_HANDLER(collections_import, API_SUPERUSERS, import)
API_HANDLER(collections_dry_run, API_SUPERUSERS, dry_run_view)
API_HANDLER(collections_providers, API_SUPERUSERS, providers)
