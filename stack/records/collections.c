/* /api/collections: the tenant's admins read and change its collections. */
#include <string.h>

#include <kombi/str.h>

#include "collections.h"
#include "files.h"

static const char not_loaded
    [] = "Failed to load the submitted data due to invalid formatting.";

static struct schema_slot *
slot_of(const struct api *api)
{
	return tenant_schemas(api->tenant->handle);
}

/* ---- definitions from the body
 * -------------------------------------------------------- */

static const struct field id_field = {
	.id = "text3208210256",
	.name = "id",
	.help = "",
	.type = FT_TEXT,
	.system = true,
	.required = true,
	.primary_key = true,
	.min_len = RECORD_ID_SIZE,
	.max_len = RECORD_ID_SIZE,
	.pattern = "^[a-z0-9]+$",
	.generate = "[a-z0-9]{15}",
};

static void
add_field(struct collection *c, struct field f, const struct collection *was)
{
	const struct field *kept = was ? collection_field(was, f.name) : NULL;

	if (strcmp(f.name, "id") == 0)
		f = id_field; /* not to be changed */
	else if (kept != NULL && kept->system)
		f = *kept;
	if (f.type == FT_TEXT && f.pattern == NULL)
		f.pattern = f.generate = "";
	c->fields[c->n_fields++] = f;
}

static void
keep_system_fields(struct collection *c, const struct collection *was)
{
	for (size_t i = 0; was != NULL && i < was->n_fields; i++)
		if (was->fields[i].system &&
		    collection_field(c, was->fields[i].name) == NULL)
			c->fields[c->n_fields++] = was->fields[i];
}

/* A field that the type has by itself: the client may set some options. */
static struct field
own_field(struct field own, const struct field *f)
{
	own.id = f->id;
	if (own.type == f->type && own.type == FT_PASSWORD) {
		own.min_len = f->min_len;
		own.max_len = f->max_len;
		own.cost = f->cost;
		own.pattern = f->pattern;
	}
	if (own.type == f->type && own.type == FT_EMAIL) {
		own.required = f->required;
		own.only = f->only;
		own.except = f->except;
	}
	return own;
}

static void
add_new_field(struct collection *c, const struct field *f)
{
	size_t n = 0;
	const struct field *own = c->auth ? auth_fields(&n) : NULL;

	for (size_t i = 0; i < n; i++)
		if (strcmp(own[i].name, f->name) == 0) {
			if (collection_field(c, f->name) == NULL)
				add_field(c, own_field(own[i], f), NULL);
			return;
		}
	if (strcmp(f->name, "id") != 0)
		add_field(c, *f, NULL);
}

/* Those that the client did not name, behind its own, as upstream. */
static void
add_missing_fields(struct collection *c)
{
	size_t n = 0;
	const struct field *own = c->auth ? auth_fields(&n) : NULL;

	for (size_t i = 0; i < n; i++)
		if (collection_field(c, own[i].name) == NULL)
			add_field(c, own[i], NULL);
}

/* One of a name that came before, without an id of its own, takes its place. */
static bool
replaces(struct kb_arena *a, struct collection *c, const struct kb_json *j)
{
	const char *name = kb_json_str(j, "name"), *id = kb_json_str(j, "id");
	const struct field *before = name ? collection_field(c, name) : NULL;
	const char *why = NULL;
	struct field f;

	if (before == NULL || before->system || (id != NULL && id[0]) ||
	    !field_read(a, j, &f, &why))
		return false;
	f.id = before->id;
	if (f.type == FT_TEXT && f.pattern == NULL)
		f.pattern = f.generate = "";
	c->fields[before - c->fields] = f;
	return true;
}

static void
read_fields(struct api *api, const struct collection *was, struct collection *c,
    struct api_errors *errors)
{
	const struct kb_json *j = kb_json_get(api->body, "fields");
	struct kb_arena *a = api->req->cx.arena;
	const char *why = NULL;
	struct field f;
	size_t i = 0;

	if (j == NULL && was != NULL)
		return;
	c->fields = kb_new_array(
	    a, kb_json_size(j) + 8 + (was ? was->n_fields : 0), struct field);
	c->n_fields = 0;
	if (was == NULL)
		add_field(c, id_field, NULL);
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j), i++) {
		if (replaces(a, c, j))
			continue;
		if (!field_read(a, j, &f, &why))
			api_error_add(a, errors,
			    kb_sprintf(a, "fields.%zu.type", i), why,
			    "Unsupported field type.");
		else if (was != NULL)
			add_field(c, f, was);
		else
			add_new_field(c, &f);
	}
	if (was == NULL)
		add_missing_fields(c);
	keep_system_fields(c, was);
}

static void
read_rules(struct api *api, struct collection *c, struct api_errors *errors)
{
	for (int i = 0; i < RULE_COUNT; i++) {
		const struct kb_json *j = kb_json_get(api->body, rule_names[i]);

		if (j == NULL)
			continue;
		if (kb_json_kind(j) == KB_JSON_NULL)
			c->rules[i] = NULL;
		else if (kb_json_text(j) != NULL)
			c->rules[i] = kb_json_text(j);
		else
			api_error_add(api->req->cx.arena, errors, rule_names[i],
			    "validation_invalid_rule",
			    "Must be a string or null.");
	}
}

static void
read_indexes(struct api *api, struct collection *c)
{
	const struct kb_json *j = kb_json_get(api->body, "indexes");
	const char **list;
	size_t n = 0;

	if (j == NULL && c->indexes != NULL)
		return;
	list = kb_new_array(
	    api->req->cx.arena, kb_json_size(j) + 1, const char *);
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		list[n++] = kb_json_text(j) ? kb_json_text(j) : "";
	c->indexes = list;
}

static void
read_type(struct api *api, const char *type, struct collection *c,
    struct api_errors *errors)
{
	if (type == NULL || strcmp(type, "base") == 0)
		c->type = CT_BASE;
	else if (strcmp(type, "auth") == 0)
		c->type = CT_AUTH;
	else if (strcmp(type, "view") == 0)
		c->type = CT_VIEW;
	else
		api_error_add(api->req->cx.arena, errors, "type",
		    "validation_in_invalid", "Must be a valid value.");
	c->auth = c->type == CT_AUTH;
}

/* The fields of a view are those of its query. */
static void
read_view(struct api *api, struct kb_cx *cx, const struct collection *was,
    struct collection *c, struct api_errors *errors)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *query = kb_json_str(api->body, "viewQuery");
	const char *why = NULL;

	if (query == NULL && was != NULL)
		return;
	c->view_query = query ? query : "";
	c->n_fields = 0;
	if (c->view_query[0] == '\0')
		api_error_add(a, errors, "viewQuery", "validation_required",
		    "Cannot be blank.");
	else if (!view_fields(api, cx, c->view_query, c, &why))
		api_error_add(a, errors, "viewQuery",
		    "validation_invalid_view_query",
		    kb_sprintf(a, "Invalid query - %s", why));
	else
		return;
	if (c->n_fields == 0)
		api_error_add(a, errors, "fields", "validation_required",
		    "Cannot be blank.");
	else
		api_error_add(a, errors, "fields",
		    "validation_missing_primary_key",
		    "Missing or invalid \"id\" PK field.");
}

/* An auth collection finds its records by key and by address. */
static void
add_auth_indexes(struct kb_arena *a, struct collection *c)
{
	const char **list;
	size_t n = 0;

	while (c->indexes[n] != NULL)
		n++;
	list = kb_new_array(a, n + 3, const char *);
	memcpy(list, c->indexes, n * sizeof(*list));
	if (!has_unique_index(a, c, "tokenKey"))
		list[n++] = kb_sprintf(a,
		    "CREATE UNIQUE INDEX `idx_tokenKey_%s` ON `%s`"
		    " (`tokenKey`)",
		    c->id, c->name);
	if (!has_unique_index(a, c, "email"))
		list[n++] = kb_sprintf(a,
		    "CREATE UNIQUE INDEX `idx_email_%s` ON `%s` (`email`)"
		    " WHERE `email` != ''",
		    c->id, c->name);
	c->indexes = list;
}

static void
read_definition(struct api *api, struct kb_cx *cx, const struct collection *was,
    struct collection *c, struct api_errors *errors)
{
	const struct kb_json *name = kb_json_get(api->body, "name");
	const char *type = kb_json_str(api->body, "type");

	if (name != NULL || was == NULL)
		c->name = kb_json_text(name) ? kb_json_text(name) : "";
	if (was == NULL)
		read_type(api, type, c, errors);
	else if (type != NULL &&
	    strcmp(type, collection_type_name(was->type)) != 0)
		api_error_add(api->req->cx.arena, errors, "type",
		    "validation_collection_type_change",
		    "Collection type cannot be changed.");
	if (c->type == CT_VIEW)
		read_view(api, cx, was, c, errors);
	else
		read_fields(api, was, c, errors);
	if (c->type == CT_AUTH)
		c->auth_options = auth_options_read(api->req->cx.arena,
		    api->body, was ? was->auth_options : NULL);
	read_rules(api, c, errors);
	read_indexes(api, c);
}

/* The id of the type and name, or the client's, or any that is free. */
static const char *
new_id(struct api *api, enum collection_type type, const char *name)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *wish = kb_json_str(api->body, "id");
	const char *id;

	/* An id must not be what another one is called by. */
	if (wish != NULL && kb_is_id(wish) && wish[0] != '_' &&
	    schema_find(api->schema, wish) == NULL)
		id = wish;
	else
		id = hashed_id(a, "pbc_",
		    kb_sprintf(a, "%s%s", collection_type_name(type), name));
	for (size_t i = 0; i < api->schema->n; i++)
		if (strcmp(api->schema->collections[i].id, id) == 0)
			return kb_sprintf(a, "pbc_%s", record_new_id(a));
	return id;
}

static struct kb_reply
answer(struct api *api, enum kb_err err, const struct collection *c,
    const char *failed)
{
	schema_forget(slot_of(api));
	if (err == KB_CONFLICT) {
		struct api_errors e = { 0 };

		api_error_add(api->req->cx.arena, &e, "indexes",
		    "validation_invalid_index_expression",
		    "The rows or collections that exist are not unique.");
		return api_fail_fields(api->req, failed, &e);
	}
	if (err)
		return api_fail_db(api->req, err, failed);
	return collection_reply(api, c);
}

struct collection
collection_scaffold(struct kb_arena *a, enum collection_type type)
{
	static const char *const none[] = { NULL };
	struct collection c = { .id = "",
		.name = "",
		.type = type,
		.auth = type == CT_AUTH,
		.created = "",
		.updated = "",
		.view_query = "",
		.indexes = none };

	c.fields = kb_new_array(a, 8, struct field);
	if (type != CT_VIEW)
		add_field(&c, id_field, NULL);
	add_missing_fields(&c);
	if (type == CT_AUTH) {
		c.auth_options = auth_options_read(a, NULL, NULL);
		add_auth_indexes(a, &c);
	}
	return c;
}

bool
collection_read(struct api *api, struct kb_cx *cx, const struct collection *was,
    struct collection *c, struct api_errors *errors)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *now = record_now(a);

	*c = was ? *was : (struct collection) { .created = now };
	c->updated = now;
	read_definition(api, cx, was, c, errors);
	if (was == NULL) {
		c->id = new_id(api, c->type, c->name);
		/* As upstream: queries of views and indexes name it so. */
		c->table = c->name;
		if (c->auth)
			add_auth_indexes(a, c);
	} else if (strcmp(was->table, was->name) == 0) {
		c->table = c->name;
	}
	return errors->n == 0;
}

static bool
read_checked(struct api *api, const struct collection *was,
    struct collection *c, struct api_errors *errors)
{
	if (collection_read(api, &api->req->cx, was, c, errors))
		collection_check(api, was, c, errors);
	return errors->n == 0;
}

/* A body that cannot be a definition; what is said of it, or NULL. */
static const char *
malformed(struct api *api)
{
	const struct kb_json *name = kb_json_get(api->body, "name");
	const struct kb_json *fields = kb_json_get(api->body, "fields");
	const char *why = NULL;
	struct field f;

	if (name != NULL && kb_json_kind(name) != KB_JSON_STRING &&
	    kb_json_kind(name) != KB_JSON_NULL)
		return "Failed to load the collection type data due to invalid"
		       " formatting.";
	if (fields != NULL && kb_json_kind(fields) != KB_JSON_ARRAY &&
	    kb_json_kind(fields) != KB_JSON_NULL)
		return not_loaded;
	for (const struct kb_json *j = kb_json_first(fields); j != NULL;
	     j = kb_json_after(j))
		if (!field_read(api->req->cx.arena, j, &f, &why))
			return not_loaded;
	return NULL;
}

static struct kb_reply
create(struct api *api)
{
	static const char failed[] = "Failed to create collection.";
	struct api_errors errors = { 0 };
	struct collection c;
	struct kb_reply reply;

	if (!api_body(api, &reply))
		return reply;
	if (malformed(api) != NULL)
		return api_fail(api->req, 400, malformed(api));
	if (!read_checked(api, NULL, &c, &errors))
		return api_fail_fields(api->req, failed, &errors);
	return answer(api, collection_create(&api->req->cx, &c), &c, failed);
}

struct change_of {
	struct api *api;
	const struct collection *was, *c; /* c NULL: it goes */
	const char *why;                  /* of a view that cannot be then */
};

static const char *
view_breaks(struct api *api, const char *failed, const char *why)
{
	return kb_sprintf(api->req->cx.arena,
	    "%s A view could not be any more: %s.", failed, why);
}

static enum kb_err
change_tx(struct kb_cx *cx, void *arg)
{
	struct change_of *ch = arg;
	const struct schema *s = ch->api->schema;
	struct schema left = { 0 };
	enum kb_err err;

	ch->why = NULL;
	if (ch->c != NULL) {
		err = collection_alter(cx, ch->was, ch->c);
		s = schema_with(cx->arena, s, ch->c);
	} else {
		err = collection_drop(cx, ch->was);
		left.collections = kb_new_array(
		    cx->arena, s->n, struct collection);
		for (size_t i = 0; i < s->n; i++)
			if (&s->collections[i] != ch->was)
				left.collections[left.n++] = s->collections[i];
		s = &left;
	}
	return err ? err : views_refresh(ch->api, cx, s, &ch->why);
}

static struct kb_reply
patch(struct api *api)
{
	static const char failed[] = "Failed to update collection.";
	const struct collection *was = api_collection(api);
	struct api_errors errors = { 0 };
	struct collection c;
	struct change_of ch = { .api = api, .was = was, .c = &c };
	struct kb_reply reply;
	enum kb_err err;

	if (!api_body(api, &reply))
		return reply;
	if (malformed(api) != NULL)
		return api_fail(api->req, 400, not_loaded);
	if (!read_checked(api, was, &c, &errors))
		return api_fail_fields(api->req, failed, &errors);
	err = kb_transaction(&api->req->cx, change_tx, &ch);
	return answer(
	    api, err, &c, ch.why ? view_breaks(api, failed, ch.why) : failed);
}

/* Why it stays while fields of others name it; NULL: none does. */
static const char *
referred(const struct api *api, const struct collection *c)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *names = NULL;

	for (size_t i = 0; i < api->schema->n; i++) {
		const struct collection *o = &api->schema->collections[i];
		bool refers = false;

		for (size_t k = 0; o != c && k < o->n_fields; k++)
			refers = refers ||
			    (o->fields[k].type == FT_RELATION &&
				strcmp(o->fields[k].collection_id, c->id) == 0);
		if (refers)
			names = names ? kb_sprintf(a, "%s, %s", names, o->name)
				      : o->name;
	}
	return names ? kb_sprintf(a,
			   "Failed to delete collection probably due to"
			   " existing reference in %s.",
			   names)
		     : NULL;
}

static struct kb_reply delete (struct api *api)
{
	const struct collection *c = api_collection(api);
	struct change_of ch = { .api = api, .was = c };
	enum kb_err err;

	if (c->system)
		return api_fail(api->req, 400, "Failed to delete collection.");
	if (referred(api, c) != NULL)
		return api_fail(api->req, 400, referred(api, c));
	err = kb_transaction(&api->req->cx, change_tx, &ch);
	schema_forget(slot_of(api));
	if (!err)
		files_forget(api, c);
	return err ? api_fail_db(api->req, err, "Failed to delete collection.")
		   : kb_no_content(api->req);
}

API_HANDLER(collections_post, API_SUPERUSERS, create)
API_HANDLER(collections_patch, API_SUPERUSERS, patch)
API_HANDLER(collections_delete, API_SUPERUSERS, delete)
