/*
 * Changes by the Admin API: a copy of the configuration is changed, checked
 * as a whole and taken into use, or nothing is.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "admin_api.h"
#include "config_state.h"
#include "document_inside.h"

/* ---- beginning and end --------------------------------------------------- */

/* What stands in files for something else means nothing here, and must not
 * read the environment for whoever can send requests. */
static const char *
text_problem(const struct kb_yaml *y)
{
	if (y->kind == KB_YAML_SCALAR)
		return strstr(y->text, "${") ||
			kb_str_starts(y->text, "{vault://") ||
			kb_str_starts(y->text, "{env://")
		    ? y->text
		    : NULL;
	for (const struct kb_yaml *at = y->first; at != NULL; at = at->next) {
		const char *text = text_problem(at);

		if (text != NULL)
			return text;
	}
	return NULL;
}

bool
edit_texts_are_literal(struct admin_call *c, const struct kb_yaml *tree)
{
	const char *text = text_problem(tree);

	if (text == NULL)
		return true;
	admin_refuse(c, ADMIN_SCHEMA, NULL,
	    kb_sprintf(c->a,
		"\"%.80s\": references to the environment are resolved in "
		"files only",
		text));
	return false;
}

static bool
read_body(struct edit *e)
{
	struct admin_call *c = e->c;
	struct kb_slice body = { kb_buf_str(&c->body), c->body.len };
	struct kb_slice type = kb_http1_get(
	    kb_ex_head(c->ex), kb_ex_bytes(c->ex), KB_H_CONTENT_TYPE);
	const char *why = NULL;
	enum kb_err err = KB_OK;

	switch (body_type_of(type, body)) {
	case BODY_NONE:
		e->body = kb_yaml_new(e->p.arena, KB_YAML_MAPPING);
		return true;
	case BODY_JSON:
		err = tree_of_json(e->p.arena, body, &e->body, &why);
		break;
	case BODY_FORM:
		err = tree_of_form(e->p.arena, body, &e->body, &why);
		break;
	default:
		admin_message(c, 415,
		    "The body must be JSON or a form, with its Content-Type");
		return false;
	}
	if (err == KB_OK && e->body->kind == KB_YAML_MAPPING)
		return edit_texts_are_literal(c, e->body);
	admin_message(c, 400,
	    kb_sprintf(c->a, "Cannot parse the body: %s",
		why ? why : "it must be an object"));
	return false;
}

bool
edit_begin(struct edit *e, struct admin_call *c, bool with_body)
{
	*e = (struct edit) {
		.c = c,
		.p = { .arena = kb_arena_new(64 * 1024),
		    .file = "request",
		    .defaults = gateway_defaults_of(c->g) },
	};
	if (with_body && !read_body(e)) {
		edit_drop(e);
		return false;
	}
	e->d = document_copy(e->p.arena, admin_document(c));
	return true;
}

void
edit_drop(struct edit *e)
{
	kb_arena_free(e->p.arena);
}

void
edit_refuse(struct edit *e)
{
	admin_problems(e->c, &e->p);
	edit_drop(e);
}

bool
edit_commit(struct edit *e)
{
	struct snapshot *s;
	const char *why;

	verifiers_begin();
	s = document_link(&e->p, e->d);
	if (problems_any(&e->p)) {
		edit_refuse(e);
		return false;
	}
	if (!tls_load(e->c->g, s)) {
		admin_refuse(e->c, ADMIN_SCHEMA, "cert",
		    "the certificates cannot be used: the log says why");
		edit_drop(e);
		return false;
	}
	if (!state_save(e->c->g, e->d, &why)) {
		(void)!tls_load(e->c->g, e->c->g->snapshot);
		kb_error(NULL, "change refused: it cannot be kept",
		    KB_S("file", e->c->g->config->config_state),
		    KB_S("reason", why));
		admin_message(e->c, 500, "The change cannot be kept");
		edit_drop(e);
		return false;
	}
	gateway_adopt(e->c->g, s);
	kb_info(NULL, "configuration changed",
	    KB_S("method", kb_method_name(e->c->method)),
	    KB_S("entity", e->c->n ? e->c->segment[0] : ""),
	    KB_S("client", kb_ex_peer_text(e->c->ex)), KB_S("hash", s->hash));
	return true;
}

/* ---- which one ----------------------------------------------------------- */

bool
edit_is_below(const struct entity *e, const void *arg)
{
	const struct edit_place *at = arg;
	const struct kb_yaml *y = kb_yaml_get(e->y, at->child->member);

	y = y && y->kind == KB_YAML_MAPPING ? kb_yaml_get(y, "id") : NULL;
	return y != NULL && kb_str_eq(y->text, at->parent->id);
}

struct entity *
edit_find(const struct document *d, const struct edit_place *at)
{
	const struct entities *all = &d->of[at->kind];
	struct entity *e;

	if (at->child == NULL) {
		e = document_find(d, at->kind, at->key);
		if (e != NULL || at->kind != KIND_CERTIFICATE)
			return e;
		/* A certificate goes by its names as well. */
		e = document_find(d, KIND_SNI, at->key);
		return e ? document_foreign(d, e, "certificate") : NULL;
	}
	/* Names of targets and groups are unique below their parents only. */
	for (size_t i = 0; i < all->n; i++)
		if ((kb_str_eq(all->v[i]->id, at->key) ||
			kb_str_eq(all->v[i]->name, at->key)) &&
		    edit_is_below(all->v[i], at))
			return all->v[i];
	return NULL;
}

static struct kb_yaml *
id_map(struct edit *e, const char *id)
{
	struct kb_yaml *map = kb_yaml_new(e->p.arena, KB_YAML_MAPPING);

	kb_yaml_set(
	    map, "id", kb_yaml_text(e->p.arena, kb_strdup(e->p.arena, id)));
	return map;
}

static void
set_text(struct edit *e, const char *member, const char *text)
{
	kb_yaml_set(e->body, member,
	    kb_yaml_text(e->p.arena, kb_strdup(e->p.arena, text)));
}

/* ---- what a body may hold ------------------------------------------------ */

/* Entities have paths of their own. */
static bool
holds_no_others(struct edit *e, enum kind kind)
{
	static const char *const lists[] = { "routes", "plugins", "targets",
		"jwt_secrets", "keyauth_credentials", "basicauth_credentials",
		"acls", "consumers" };

	for (size_t i = 0; i < KB_COUNT(lists); i++) {
		struct kb_yaml *y = kb_yaml_member(e->body, lists[i]);

		if (y == NULL)
			continue;
		admin_refuse(e->c, ADMIN_SCHEMA, lists[i],
		    kb_sprintf(e->c->a,
			"unknown field of a %s: they are put one by one",
			kind_infos[kind].singular));
		return false;
	}
	return true;
}

static bool
is_mask(const struct kb_yaml *y)
{
	return y->kind == KB_YAML_SCALAR && kb_str_eq(y->text, view_mask);
}

void
edit_unmask(struct problems *p, struct kb_yaml *y, const struct kb_yaml *old)
{
	for (struct kb_yaml *at = y->first; at != NULL; at = at->next) {
		const struct kb_yaml *was = NULL;

		if (y->kind == KB_YAML_MAPPING && old != NULL &&
		    old->kind == KB_YAML_MAPPING)
			was = kb_yaml_get(old, at->key);
		if (!is_mask(at))
			edit_unmask(p, at, was);
		else if (was != NULL) {
			struct kb_yaml *copy = kb_yaml_copy(p->arena, was);

			at->kind = copy->kind;
			at->text = copy->text;
			at->plain = copy->plain;
			at->first = copy->first;
			at->n = copy->n;
		} else
			problem(p, y->line, "%s: %s stands for nothing here",
			    at->key ? at->key : "a list", view_mask);
	}
}

static void
unmask_secret(struct edit *e, enum kind kind, const struct entity *old)
{
	const char *secret = kind_infos[kind].secret;
	struct kb_yaml *y = secret ? kb_yaml_member(e->body, secret) : NULL;

	if (y == NULL || !is_mask(y))
		return;
	if (old == NULL || old->secret == NULL)
		problem(&e->p, 0, "%s: %s stands for nothing here", secret,
		    view_mask);
	kb_yaml_unset(e->body, secret);
}

/*
 * A key that the same consumer has under another id moves to the new one:
 * clients that see hashes only take a known key for a new one.
 */
static void
take_over_key(struct edit *e, const char *id)
{
	struct kb_yaml *key = kb_yaml_member(e->body, "key");
	const struct kb_yaml *consumer = kb_yaml_get(e->body, "consumer");
	struct entity *old;

	if (key == NULL || key->kind != KB_YAML_SCALAR || consumer == NULL)
		return;
	key_hide(&e->p, key);
	old = document_find(e->d, KIND_KEYAUTH, key->text);
	consumer = kb_yaml_get(consumer, "id");
	if (old != NULL && consumer != NULL && !kb_str_eq(old->id, id) &&
	    kb_str_eq(kb_yaml_get(kb_yaml_get(old->y, "consumer"), "id")->text,
		consumer->text))
		(void)document_remove(e->d, old);
}

/* The names of a certificate become those of the list. */
static void
put_snis(struct edit *e, const char *id, const struct kb_yaml *names)
{
	struct entities *all = &e->d->of[KIND_SNI];

	for (size_t i = all->n; i-- > 0;) {
		const struct kb_yaml *y = names->first;
		const struct kb_yaml *of = kb_yaml_get(
		    all->v[i]->y, "certificate");

		if (!kb_str_eq(kb_yaml_get(of, "id")->text, id))
			continue;
		while (y != NULL && !kb_str_eq(y->text, all->v[i]->name))
			y = y->next;
		if (y == NULL)
			(void)document_remove(e->d, all->v[i]);
	}
	for (const struct kb_yaml *y = names->first; y != NULL; y = y->next) {
		struct kb_yaml *sni = kb_yaml_new(e->p.arena, KB_YAML_MAPPING);
		const struct entity *old = document_find(
		    e->d, KIND_SNI, y->text ? y->text : "");

		if (old != NULL &&
		    kb_str_eq(
			kb_yaml_get(kb_yaml_get(old->y, "certificate"), "id")
			    ->text,
			id))
			continue;
		kb_yaml_set(sni, "name", kb_yaml_text(e->p.arena, y->text));
		kb_yaml_set(sni, "certificate", id_map(e, id));
		if (document_put(&e->p, e->d, KIND_SNI, sni, 0) == NULL)
			return;
	}
}

/* ---- putting ------------------------------------------------------------- */

static void
answer_entity(struct edit *e, int status, enum kind kind, const char *id)
{
	const struct document *d = admin_document(e->c);
	const struct entity *entity = document_find(d, kind, id);
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	view_entity(&w, NULL, d, entity);
	admin_json(e->c, status, &b);
	kb_buf_free(&b);
}

static void
finish(struct edit *e, const struct edit_place *at, const char *id, int status)
{
	struct kb_yaml *snis = at->kind == KIND_CERTIFICATE
	    ? kb_yaml_member(e->body, "snis")
	    : NULL;
	const char *copy = kb_strdup(e->c->a, id);
	struct entity *put = NULL;

	if (snis != NULL)
		kb_yaml_unset(e->body, "snis");
	if (!problems_any(&e->p))
		put = document_put(&e->p, e->d, at->kind, e->body, 0);
	if (put != NULL)
		put->updated_s = kb_wall_s();
	if (put != NULL && snis != NULL && snis->kind == KB_YAML_SEQUENCE)
		put_snis(e, copy, snis);
	if (problems_any(&e->p))
		edit_refuse(e);
	else if (edit_commit(e))
		answer_entity(e, status, at->kind, copy);
}

static void
set_parent(struct edit *e, const struct edit_place *at)
{
	if (at->child != NULL)
		kb_yaml_set(
		    e->body, at->child->member, id_map(e, at->parent->id));
}

/* The id in the body; NULL: there is none. */
static const char *
id_of(struct edit *e)
{
	struct kb_yaml *y = kb_yaml_member(e->body, "id");

	return y && y->kind == KB_YAML_SCALAR && !kb_yaml_is_null(y) ? y->text
								     : NULL;
}

static const char *
draw_id(struct edit *e)
{
	char id[KB_UUID_SIZE];

	kb_uuid4(id);
	set_text(e, "id", id);
	return id_of(e);
}

void
edit_post(struct admin_call *c, const struct edit_place *at)
{
	struct edit e;
	const char *id;

	if (!edit_begin(&e, c, true))
		return;
	set_parent(&e, at);
	id = id_of(&e);
	if (id != NULL && document_find(e.d, at->kind, id) != NULL) {
		admin_refuse(c, ADMIN_PRIMARY_TAKEN, "id",
		    "primary key violation: there is one of that id");
		edit_drop(&e);
		return;
	}
	if (!holds_no_others(&e, at->kind)) {
		edit_drop(&e);
		return;
	}
	unmask_secret(&e, at->kind, NULL);
	edit_unmask(&e.p, e.body, NULL);
	finish(&e, at, id ? id : draw_id(&e), 201);
}

/* Name and id as the path says. False: it was answered. */
static bool
set_key(struct edit *e, const struct edit_place *at, const struct entity *old)
{
	const char *key = kind_infos[at->kind].key;
	bool uuid = kb_is_uuid(at->key);

	if (!uuid && key == NULL) {
		admin_not_found(e->c);
		return false;
	}
	if (!uuid && kb_yaml_member(e->body, key) == NULL)
		set_text(e, key, at->key);
	if (old != NULL)
		set_text(e, "id", old->id);
	else if (uuid)
		set_text(e, "id", at->key);
	else if (id_of(e) == NULL)
		(void)draw_id(e);
	return true;
}

/* What has paths of its own does not go when the rest is replaced. */
static void
keep_groups(struct edit *e, enum kind kind, const struct entity *old)
{
	const struct kb_yaml *groups = kind == KIND_CONSUMER && old
	    ? kb_yaml_get(old->y, "groups")
	    : NULL;

	if (groups != NULL && kb_yaml_member(e->body, "groups") == NULL)
		kb_yaml_set(
		    e->body, "groups", kb_yaml_copy(e->p.arena, groups));
}

void
edit_put(struct admin_call *c, const struct edit_place *at)
{
	struct entity *old;
	struct edit e;

	if (!edit_begin(&e, c, true))
		return;
	old = edit_find(e.d, at);
	set_parent(&e, at);
	if (!set_key(&e, at, old) || !holds_no_others(&e, at->kind)) {
		edit_drop(&e);
		return;
	}
	unmask_secret(&e, at->kind, old);
	edit_unmask(&e.p, e.body, old ? old->y : NULL);
	keep_groups(&e, at->kind, old);
	if (at->kind == KIND_KEYAUTH)
		take_over_key(&e, id_of(&e));
	finish(&e, at, id_of(&e), 200);
}

/* ---- checking only ------------------------------------------------------- */

/* The least that an entity of a kind is made of. */
static const struct {
	enum kind kind;
	const char *json;
} least[] = {
	{ KIND_SERVICE, "{\"name\":\"x\",\"host\":\"localhost\"}" },
	{ KIND_ROUTE, "{\"name\":\"x\",\"paths\":[\"/x\"]}" },
	{ KIND_UPSTREAM, "{\"name\":\"x\"}" },
	{ KIND_CONSUMER, "{\"username\":\"x\"}" },
	{ KIND_CONSUMER_GROUP, "{\"name\":\"x\"}" },
};

static const char *
stand_in(struct edit *e, enum kind kind)
{
	struct kb_yaml *y = NULL;
	struct entity *put = NULL;
	const char *why;

	for (size_t i = 0; i < KB_COUNT(least) && y == NULL; i++)
		if (least[i].kind == kind &&
		    tree_of_json(e->p.arena, kb_slice_of(least[i].json), &y,
			&why) != KB_OK)
			y = NULL;
	if (y != NULL && kind == KIND_ROUTE)
		kb_yaml_set(y, "service", id_map(e, stand_in(e, KIND_SERVICE)));
	if (y != NULL)
		put = document_put(&e->p, e->d, kind, y, 0);
	return put ? put->id : NULL;
}

/* What it refers to need not be there yet: something stands in for it. */
static void
stand_in_for_all(struct edit *e, enum kind kind)
{
	for (size_t i = 0; i < n_references; i++) {
		const struct reference *r = &references[i];
		const char *id = NULL;

		if (r->from != kind ||
		    !(kb_yaml_unset(e->body, r->member) || r->required))
			continue;
		if (document_find(e->d, r->to, "x") == NULL)
			id = stand_in(e, r->to);
		else
			id = document_find(e->d, r->to, "x")->id;
		if (id != NULL && !r->list)
			kb_yaml_set(e->body, r->member, id_map(e, id));
	}
}

void
edit_validate(struct admin_call *c, enum kind kind)
{
	struct edit e;

	if (!edit_begin(&e, c, true))
		return;
	e.d = document_new(e.p.arena);
	stand_in_for_all(&e, kind);
	set_text(&e, "id", draw_id(&e));
	verifiers_begin();
	if (document_put(&e.p, e.d, kind, e.body, 0) != NULL)
		(void)document_link(&e.p, e.d);
	if (problems_any(&e.p)) {
		edit_refuse(&e);
		return;
	}
	edit_drop(&e);
	admin_message(c, 201, "schema validation successful");
}

/* ---- changing ------------------------------------------------------------ */

static bool
is_reference(enum kind kind, const char *member)
{
	for (size_t i = 0; i < n_references; i++)
		if (references[i].from == kind &&
		    kb_str_eq(references[i].member, member))
			return true;
	return false;
}

/* Records member by member, everything else as a whole; null takes out. */
static void
merge(struct kb_yaml *into, struct kb_yaml *from, enum kind kind)
{
	struct kb_yaml *next;

	for (struct kb_yaml *y = from->first; y != NULL; y = next) {
		struct kb_yaml *old = kb_yaml_member(into, y->key);

		next = y->next;
		if (kb_yaml_is_null(y))
			kb_yaml_unset(into, y->key);
		else if (old != NULL && old->kind == KB_YAML_MAPPING &&
		    y->kind == KB_YAML_MAPPING && !is_reference(kind, y->key))
			merge(old, y, KINDS);
		else
			kb_yaml_set(into, y->key, y);
	}
}

/* A service's "url" would win over the parts that are changed. */
static void
split_url(struct edit *e, struct kb_yaml *y)
{
	const struct field *f = service_schema.fields;
	const struct kb_yaml *id = kb_yaml_get(y, "id");
	const struct entity *was = document_find(
	    admin_document(e->c), KIND_SERVICE, id->text);
	const struct service *s = was->made;
	struct kb_arena *a = e->p.arena;
	struct kb_yaml *port;

	if (!kb_yaml_unset(y, "url"))
		return;
	while (!kb_str_eq(f->name, "protocol"))
		f++;
	port = kb_yaml_text(a, kb_sprintf(a, "%d", (int)s->port));
	port->plain = true;
	kb_yaml_set(y, "protocol", kb_yaml_text(a, f->choices[s->protocol]));
	kb_yaml_set(y, "host", kb_yaml_text(a, kb_strdup(a, s->host)));
	kb_yaml_set(y, "port", port);
	kb_yaml_set(y, "path", kb_yaml_text(a, kb_strdup(a, s->path)));
}

void
edit_patch(struct admin_call *c, const struct edit_place *at)
{
	struct entity *old;
	struct kb_yaml *y;
	struct edit e;

	if (!edit_begin(&e, c, true))
		return;
	old = edit_find(e.d, at);
	if (old == NULL || !holds_no_others(&e, at->kind)) {
		if (old == NULL)
			admin_not_found(c);
		edit_drop(&e);
		return;
	}
	unmask_secret(&e, at->kind, old);
	edit_unmask(&e.p, e.body, old->y);
	y = kb_yaml_copy(e.p.arena, old->y);
	y->key = NULL;
	if (at->kind == KIND_SERVICE)
		split_url(&e, y);
	merge(y, e.body, at->kind);
	e.body = y;
	set_text(&e, "id", old->id);
	finish(&e, at, old->id, 200);
}

/* ---- taking out ---------------------------------------------------------- */

void
edit_delete(struct admin_call *c, const struct edit_place *at)
{
	const struct entity *holder;
	struct entity *old;
	struct edit e;

	if (edit_find(admin_document(c), at) == NULL) {
		admin_empty(c, 204);
		return;
	}
	if (!edit_begin(&e, c, false))
		return;
	old = edit_find(e.d, at);
	holder = document_remove(e.d, old);
	if (holder != NULL) {
		const char *by = kind_infos[holder->kind].file;

		admin_refuse(c, ADMIN_FOREIGN, "@referenced_by",
		    kb_sprintf(c->a,
			"an existing '%s' entity references this '%s' entity",
			by, kind_infos[at->kind].file));
		edit_drop(&e);
	} else if (edit_commit(&e))
		admin_empty(c, 204);
}

/* ---- groups -------------------------------------------------------------- */

/* The consumer's groups, for sure a list of its own. */
static struct kb_yaml *
groups_of(struct edit *e, const char *consumer, const char *without)
{
	struct entity *was = document_find(e->d, KIND_CONSUMER, consumer);
	struct kb_yaml *list = kb_yaml_new(e->p.arena, KB_YAML_SEQUENCE);
	const struct kb_yaml *old = kb_yaml_get(was->y, "groups");

	e->body = kb_yaml_copy(e->p.arena, was->y);
	e->body->key = NULL;
	for (const struct kb_yaml *y = old ? old->first : NULL; y; y = y->next)
		if (!kb_str_eq(kb_yaml_get(y, "id")->text, without))
			kb_yaml_append(
			    list, id_map(e, kb_yaml_get(y, "id")->text));
	kb_yaml_set(e->body, "groups", list);
	return list;
}

static bool
put_consumer(struct edit *e)
{
	struct entity *put = document_put(
	    &e->p, e->d, KIND_CONSUMER, e->body, 0);

	if (put != NULL)
		return edit_commit(e);
	edit_refuse(e);
	return false;
}

void
edit_join(
    struct admin_call *c, const struct entity *group, const char *consumer)
{
	struct edit e;

	if (!edit_begin(&e, c, false))
		return;
	kb_yaml_append(
	    groups_of(&e, consumer, group->id), id_map(&e, group->id));
	(void)put_consumer(&e);
}

void
edit_leave(
    struct admin_call *c, const struct entity *group, const char *consumer)
{
	struct edit e;

	if (!edit_begin(&e, c, false))
		return;
	(void)groups_of(&e, consumer, group->id);
	if (put_consumer(&e))
		admin_empty(c, 204);
}
