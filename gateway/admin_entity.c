/*
 * Paths of entities: /services, /services/x, /services/x/routes,
 * /services/x/routes/y, /routes/y/service.
 */
#include <string.h>

#include <kombi/str.h>

#include "admin_api.h"
#include "document_inside.h"

const struct admin_child admin_children[] = {
	{ KIND_SERVICE, "routes", KIND_ROUTE, "service" },
	{ KIND_SERVICE, "plugins", KIND_PLUGIN, "service" },
	{ KIND_ROUTE, "plugins", KIND_PLUGIN, "route" },
	{ KIND_UPSTREAM, "targets", KIND_TARGET, "upstream" },
	{ KIND_CERTIFICATE, "snis", KIND_SNI, "certificate" },
	{ KIND_CERTIFICATE, "services", KIND_SERVICE, "client_certificate" },
	{ KIND_CERTIFICATE, "upstreams", KIND_UPSTREAM, "client_certificate" },
	{ KIND_CONSUMER, "jwt", KIND_JWT_SECRET, "consumer" },
	{ KIND_CONSUMER, "key-auth", KIND_KEYAUTH, "consumer" },
	{ KIND_CONSUMER, "basic-auth", KIND_BASICAUTH, "consumer" },
	{ KIND_CONSUMER, "acls", KIND_ACL, "consumer" },
	{ KIND_CONSUMER, "plugins", KIND_PLUGIN, "consumer" },
	{ KIND_CONSUMER_GROUP, "plugins", KIND_PLUGIN, "consumer_group" },
	{ KINDS, NULL, KINDS, NULL },
};

static bool
is_read(const struct admin_call *c)
{
	return c->method == KB_M_GET || c->method == KB_M_HEAD;
}

static void
show(struct admin_call *c, const struct entity *e)
{
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	view_entity(&w, NULL, admin_document(c), e);
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}

/* ---- groups and their consumers ------------------------------------------ */

static bool
is_member(const struct entity *consumer, const void *group)
{
	const struct kb_yaml *list = kb_yaml_get(consumer->y, "groups");
	const char *id = ((const struct entity *)group)->id;

	for (const struct kb_yaml *y = list ? list->first : NULL; y;
	     y = y->next)
		if (kb_str_eq(kb_yaml_get(y, "id")->text, id))
			return true;
	return false;
}

static bool
has_member(const struct entity *group, const void *consumer)
{
	return is_member(consumer, group);
}

/* As Kong Enterprise shows a group: beside its consumers. */
static void
show_group(struct admin_call *c, const struct entity *group, int status)
{
	const struct entities *all = &admin_document(c)->of[KIND_CONSUMER];
	const char *list = form_value(
	    c->a, kb_ex_query(c->ex), "list_consumers");
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	view_entity(&w, "consumer_group", admin_document(c), group);
	if (!kb_str_eq(list, "false")) {
		kb_w_array(&w, "consumers");
		for (size_t i = 0; i < all->n; i++)
			if (is_member(all->v[i], group))
				view_entity(
				    &w, NULL, admin_document(c), all->v[i]);
		kb_w_array_end(&w);
	}
	kb_w_object_end(&w);
	admin_json(c, status, &b);
	kb_buf_free(&b);
}

static const char *
body_text(struct admin_call *c, const char *name)
{
	struct kb_slice body = { kb_buf_str(&c->body), c->body.len };
	struct kb_slice type = kb_http1_get(
	    kb_ex_head(c->ex), kb_ex_bytes(c->ex), KB_H_CONTENT_TYPE);
	const struct kb_json *j;
	const char *why;

	if (body_type_of(type, body) == BODY_FORM)
		return form_value(c->a, body, name);
	if (kb_json_parse(c->a, body.ptr, body.len, &j, &why) != KB_OK)
		return NULL;
	return kb_json_str(j, name);
}

/* /consumer_groups/g/consumers[/c] and /consumers/c/consumer_groups[/g]. */
static void
membership(struct admin_call *c, const struct entity *at, enum kind other)
{
	const struct document *d = admin_document(c);
	bool group = at->kind == KIND_CONSUMER_GROUP;
	const char *name = c->n > 3 ? c->segment[3] : NULL;
	const char *id;
	struct entity *e;

	if (is_read(c) && name == NULL) {
		admin_list(c, other, group ? is_member : has_member, at);
		return;
	}
	if (c->method == KB_M_POST && name == NULL)
		name = body_text(c, group ? "consumer" : "group");
	else if (c->method != KB_M_DELETE || name == NULL) {
		admin_not_allowed(c, c->n > 3 ? "DELETE" : "GET, HEAD, POST");
		return;
	}
	e = name ? document_find(d, other, name) : NULL;
	id = kb_strdup(c->a, group || e == NULL ? at->id : e->id);
	if (e == NULL && c->method == KB_M_DELETE)
		admin_not_found(c);
	else if (e == NULL)
		admin_refuse(c, ADMIN_SCHEMA, group ? "consumer" : "group",
		    "there is none of that id or name");
	else if (c->method == KB_M_DELETE)
		edit_leave(c, group ? at : e, group ? e->id : at->id);
	else
		edit_join(c, group ? at : e, group ? e->id : at->id);
	if (c->over)
		return;
	/* It is in force, and what was there before is gone. */
	show_group(
	    c, document_find(admin_document(c), KIND_CONSUMER_GROUP, id), 201);
}

/* ---- one entity ---------------------------------------------------------- */

static void
one(struct admin_call *c, const struct edit_place *at, const struct entity *e)
{
	switch (c->method) {
	case KB_M_GET:
	case KB_M_HEAD:
		if (e == NULL)
			admin_not_found(c);
		else if (e->kind == KIND_CONSUMER_GROUP)
			show_group(c, e, 200);
		else
			show(c, e);
		break;
	case KB_M_PUT: edit_put(c, at); break;
	case KB_M_PATCH: edit_patch(c, at); break;
	case KB_M_DELETE: edit_delete(c, at); break;
	default: admin_not_allowed(c, "GET, HEAD, PUT, PATCH, DELETE"); break;
	}
}

static void
many(struct admin_call *c, const struct edit_place *at)
{
	if (c->method == KB_M_POST)
		edit_post(c, at);
	else if (!is_read(c))
		admin_not_allowed(c, "GET, HEAD, POST");
	else if (at->child == NULL)
		admin_list(c, at->kind, NULL, NULL);
	else
		admin_list(c, at->kind, edit_is_below, at);
}

/* /routes/r/service: the entity that `e` refers to. */
static bool
referred(struct admin_call *c, const struct entity *e)
{
	const struct entity *to;

	for (size_t i = 0; i < n_references; i++) {
		if (references[i].from != e->kind || references[i].list ||
		    !kb_str_eq(references[i].member, c->segment[2]))
			continue;
		to = document_foreign(
		    admin_document(c), e, references[i].member);
		if (to == NULL)
			admin_not_found(c);
		else
			one(c,
			    &(struct edit_place) {
				.kind = to->kind,
				.key = to->id,
			    },
			    to);
		return true;
	}
	return false;
}

static bool
children(struct admin_call *c, const struct entity *e)
{
	struct edit_place at = { .parent = e };
	bool all = c->n == 4 && kb_str_eq(c->segment[3], "all");

	for (size_t i = 0; admin_children[i].path != NULL; i++) {
		at.child = &admin_children[i];
		if (at.child->parent != e->kind ||
		    !kb_str_eq(at.child->path, c->segment[2]))
			continue;
		at.kind = at.child->kind;
		at.key = c->n > 3 ? c->segment[3] : NULL;
		if (c->n > 4)
			return false;
		if (at.key == NULL || (all && at.kind == KIND_TARGET))
			many(c, &at);
		else
			one(c, &at, edit_find(admin_document(c), &at));
		return true;
	}
	return false;
}

static bool
kind_of_path(const char *path, enum kind *out)
{
	for (int k = 0; k < KINDS; k++) {
		if (!kb_str_eq(kind_infos[k].path, path))
			continue;
		*out = (enum kind)k;
		return true;
	}
	return false;
}

static void
below(struct admin_call *c, const struct entity *e)
{
	if (e->kind == KIND_CONSUMER_GROUP &&
	    kb_str_eq(c->segment[2], "consumers") && c->n < 5)
		membership(c, e, KIND_CONSUMER);
	else if (e->kind == KIND_CONSUMER &&
	    kb_str_eq(c->segment[2], "consumer_groups") && c->n < 5)
		membership(c, e, KIND_CONSUMER_GROUP);
	else if (!children(c, e) && !(c->n == 3 && referred(c, e)))
		admin_not_found(c);
}

bool
admin_entities(struct admin_call *c)
{
	struct edit_place at = { .kind = KINDS };
	struct entity *e;

	if (c->n == 0 || !kind_of_path(c->segment[0], &at.kind))
		return false;
	if (c->n == 1) {
		many(c, &at);
		return true;
	}
	at.key = c->segment[1];
	e = edit_find(admin_document(c), &at);
	if (c->n == 2)
		one(c, &at, e);
	else if (e == NULL)
		admin_not_found(c);
	else
		below(c, e);
	return true;
}
