/*
 * PUT /api/collections/import: collections as they are to be, all or none.
 * Each is written before any is judged, so that they may name one another in
 * any order; views come last, for they are made of the others.
 */
#include <string.h>

#include <kombi/str.h>

#include "collections.h"

struct import {
	struct api *api;             /* body: the whole */
	const struct schema *schema; /* as it is so far */
	const struct kb_json *list;
	bool delete_missing;
	struct collection *read;       /* in the order of their reading */
	const struct collection **was; /* beside; NULL: it is new */
	size_t n;
	struct api_errors errors;
	const char *at, *why; /* the one that was read last; a broken view */
};

static const struct collection *
known(const struct import *im, const struct kb_json *j)
{
	const char *id = kb_json_str(j, "id"), *name = kb_json_str(j, "name");
	const struct schema *s = im->api->schema;
	const struct collection *c = id && id[0] ? schema_find(s, id) : NULL;

	return c ? c : schema_find(s, name ? name : "");
}

static const struct field *
with_id(const struct collection *c, const char *id)
{
	for (size_t i = 0; i < c->n_fields; i++)
		if (strcmp(c->fields[i].id, id) == 0)
			return &c->fields[i];
	return NULL;
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
		if (collection_field(c, was->fields[i].name) == NULL &&
		    with_id(c, was->fields[i].id) == NULL)
			c->fields[c->n_fields++] = was->fields[i];
}

static enum kb_err
import_one(struct kb_cx *cx, struct import *im, const struct kb_json *j)
{
	const struct collection *was = known(im, j);
	struct collection *c = &im->read[im->n];
	struct api as = *im->api;
	enum kb_err err;

	im->at = kb_json_str(j, "name");
	as.body = j;
	as.schema = im->schema;
	if (!collection_read(&as, cx, was, c, &im->errors))
		return KB_INVALID;
	if (was != NULL && !im->delete_missing && c->type != CT_VIEW)
		keep_fields(cx->arena, was, c);
	if (was == NULL)
		err = collection_create(cx, c);
	else
		err = collection_alter(cx, was, c);
	if (err)
		return err;
	im->was[im->n++] = was;
	im->schema = schema_with(cx->arena, im->schema, c);
	return KB_OK;
}

static bool
is_view(const struct import *im, const struct kb_json *j)
{
	const struct collection *was = known(im, j);

	return was ? was->type == CT_VIEW
		   : kb_str_eq(kb_json_str(j, "type"), "view");
}

static enum kb_err
import_those(struct kb_cx *cx, struct import *im, bool views)
{
	enum kb_err err = KB_OK;

	for (const struct kb_json *j = kb_json_first(im->list);
	     !err && j != NULL; j = kb_json_after(j))
		if (is_view(im, j) == views)
			err = import_one(cx, im, j);
	return err;
}

static bool
is_listed(const struct import *im, const struct collection *c)
{
	for (size_t i = 0; i < im->n; i++)
		if (strcmp(im->read[i].id, c->id) == 0)
			return true;
	return false;
}

/* Views first: they are made of the others. */
static enum kb_err
drop_missing(struct kb_cx *cx, struct import *im)
{
	const struct schema *all = im->schema;
	struct schema *left = kb_new(cx->arena, struct schema);
	enum kb_err err = KB_OK;

	left->collections = kb_new_array(cx->arena, all->n, struct collection);
	for (int views = 1; views >= 0; views--)
		for (size_t i = 0; !err && i < all->n; i++) {
			const struct collection *c = &all->collections[i];

			if ((c->type == CT_VIEW) != views)
				continue;
			if (c->system || is_listed(im, c))
				left->collections[left->n++] = *c;
			else
				err = collection_drop(cx, c);
		}
	im->schema = left;
	return err;
}

static enum kb_err
check_all(struct import *im)
{
	struct api as = *im->api;

	as.schema = im->schema;
	for (size_t i = 0; i < im->n; i++) {
		im->at = im->read[i].name;
		collection_check(&as, im->was[i], &im->read[i], &im->errors);
		if (im->errors.n > 0)
			return KB_INVALID;
	}
	return KB_OK;
}

static enum kb_err
import_all(struct kb_cx *cx, void *arg)
{
	struct import *im = arg;
	size_t n = kb_json_size(im->list);
	enum kb_err err;

	im->schema = im->api->schema;
	im->errors = (struct api_errors) { 0 };
	im->read = kb_new_array(cx->arena, n, struct collection);
	im->was = kb_new_array(cx->arena, n, const struct collection *);
	im->n = 0;
	im->why = NULL;
	err = import_those(cx, im, false);
	if (!err)
		err = import_those(cx, im, true);
	if (!err && im->delete_missing)
		err = drop_missing(cx, im);
	if (!err)
		err = check_all(im);
	return err ? err : views_refresh(im->api, cx, im->schema, &im->why);
}

static struct kb_reply
failed(const struct import *im)
{
	struct kb_arena *a = im->api->req->cx.arena;
	const struct api_error *first = im->errors.first;
	struct api_errors errors = { 0 };
	const char *why = im->why ? im->why : im->at ? im->at : "";

	if (first != NULL)
		why = kb_sprintf(
		    a, "%s, %s: %s", why, first->path, first->message);
	api_error_add(a, &errors, "collections",
	    "validation_collections_import_failure",
	    kb_sprintf(a, "Failed to import the collections: %s", why));
	return api_fail_fields(
	    im->api->req, "Failed to import collections.", &errors);
}

static struct kb_reply
import(struct api *api)
{
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
	return err ? failed(&im) : kb_no_content(api->req);
}

API_HANDLER(collections_import, API_SUPERUSERS, import)
