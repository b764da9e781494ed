/*
 * Documents: flat lists of entities with an index of their ids and of what
 * must be unique. How a file becomes one is in document_read.c.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "document_inside.h"
#include "inside.h"

/* clang-format off */
const struct kind_info kind_infos[KINDS] = {
	[KIND_CA_CERTIFICATE] = { "ca_certificates", "ca_certificates", "ca_certificate", NULL, NULL },
	[KIND_CERTIFICATE] = { "certificates", "certificates", "certificate", NULL, "key" },
	[KIND_SNI] = { "snis", "snis", "sni", "name", NULL },
	[KIND_SERVICE] = { "services", "services", "service", "name", NULL },
	[KIND_ROUTE] = { "routes", "routes", "route", "name", NULL },
	[KIND_UPSTREAM] = { "upstreams", "upstreams", "upstream", "name", NULL },
	[KIND_TARGET] = { "targets", "targets", "target", "target", NULL },
	[KIND_CONSUMER_GROUP] = { "consumer_groups", "consumer_groups", "consumer_group", "name", NULL },
	[KIND_CONSUMER] = { "consumers", "consumers", "consumer", "username", NULL },
	[KIND_JWT_SECRET] = { "jwt_secrets", "jwts", "jwt_secret", "key", "secret" },
	[KIND_KEYAUTH] = { "keyauth_credentials", "key-auths", "keyauth_credential", "key", NULL },
	[KIND_BASICAUTH] = { "basicauth_credentials", "basic-auths", "basicauth_credential", "username", NULL },
	[KIND_ACL] = { "acls", "acls", "acl", "group", NULL },
	[KIND_PLUGIN] = { "plugins", "plugins", "plugin", "instance_name", NULL },
	[KIND_VAULT] = { "vaults", "vaults", "vault", "prefix", NULL },
};

const struct reference references[] = {
	{ KIND_SNI, KIND_CERTIFICATE, "certificate", .owned = true, .required = true },
	{ KIND_SERVICE, KIND_CERTIFICATE, "client_certificate", .owned = false },
	{ KIND_SERVICE, KIND_CA_CERTIFICATE, "ca_certificates", .list = true, .texts = true },
	{ KIND_ROUTE, KIND_SERVICE, "service", .owned = false },
	{ KIND_UPSTREAM, KIND_CERTIFICATE, "client_certificate", .owned = false },
	{ KIND_TARGET, KIND_UPSTREAM, "upstream", .owned = true, .required = true },
	{ KIND_CONSUMER, KIND_CONSUMER_GROUP, "groups", .list = true },
	{ KIND_JWT_SECRET, KIND_CONSUMER, "consumer", .owned = true, .required = true },
	{ KIND_KEYAUTH, KIND_CONSUMER, "consumer", .owned = true, .required = true },
	{ KIND_BASICAUTH, KIND_CONSUMER, "consumer", .owned = true, .required = true },
	{ KIND_ACL, KIND_CONSUMER, "consumer", .owned = true, .required = true },
	{ KIND_PLUGIN, KIND_SERVICE, "service", .owned = true },
	{ KIND_PLUGIN, KIND_ROUTE, "route", .owned = true },
	{ KIND_PLUGIN, KIND_CONSUMER, "consumer", .owned = true },
	{ KIND_PLUGIN, KIND_CONSUMER_GROUP, "consumer_group", .owned = true },
};
/* clang-format on */

const size_t n_references = KB_COUNT(references);

/* ---- index --------------------------------------------------------------- */

/* 'i' its id, 'n' its name, 'c' a consumer's custom_id, 'u' what else must
 * be there once. */
struct slot {
	const char *text; /* NULL: free */
	struct entity *e;
	char space;
};

struct document_index {
	struct slot *v;
	size_t cap, n;
};

static struct slot *
slot_of(const struct document_index *x, enum kind kind, char space,
    const char *text)
{
	size_t i = (size_t)(kb_hash(text, strlen(text)) + (uint64_t)kind * 131 +
		       (unsigned char)space) &
	    (x->cap - 1);

	while (x->v[i].text != NULL &&
	    !(x->v[i].e->kind == kind && x->v[i].space == space &&
		kb_str_eq(x->v[i].text, text)))
		i = (i + 1) & (x->cap - 1);
	return &x->v[i];
}

static void
grow(struct document *d)
{
	struct document_index *x = d->index, old = *x;

	x->cap = old.cap ? old.cap * 2 : 256;
	x->v = kb_new_array(d->arena, x->cap, struct slot);
	for (size_t i = 0; i < old.cap; i++)
		if (old.v[i].text != NULL)
			*slot_of(x, old.v[i].e->kind, old.v[i].space,
			    old.v[i].text) = old.v[i];
}

/* The one that has the place already, or NULL and it is taken. */
static struct entity *
index_add(struct document *d, struct entity *e, char space, const char *text)
{
	struct slot *at;

	if (text == NULL)
		return NULL;
	if (d->index->n * 2 >= d->index->cap)
		grow(d);
	at = slot_of(d->index, e->kind, space, text);
	if (at->text != NULL)
		return at->e == e ? NULL : at->e;
	*at = (struct slot) { .text = text, .e = e, .space = space };
	d->index->n++;
	return NULL;
}

static struct entity *
index_find(
    const struct document *d, enum kind kind, char space, const char *text)
{
	return d->index->cap ? slot_of(d->index, kind, space, text)->e : NULL;
}

/* Id of what the reference names, "" when there is none. */
static const char *
id_in(const struct entity *e, const char *member)
{
	const struct kb_yaml *y = kb_yaml_get(e->y, member);

	y = y && y->kind == KB_YAML_MAPPING ? kb_yaml_get(y, "id") : NULL;
	return y ? y->text : "";
}

const char *
entity_text(const struct entity *e, const char *member)
{
	const struct kb_yaml *y = kb_yaml_get(e->y, member);

	if (y == NULL || y->kind != KB_YAML_SCALAR || kb_yaml_is_null(y))
		return NULL;
	return y->text;
}

/* Where and what a plugin is; of each there is one. */
static const char *
plugin_place(struct kb_arena *a, const struct entity *e)
{
	const char *name = entity_text(e, "name");

	return kb_sprintf(a, "%s:%s:%s:%s:%s", name ? name : "",
	    id_in(e, "route"), id_in(e, "service"), id_in(e, "consumer"),
	    id_in(e, "consumer_group"));
}

/* What must be there once beside id and name; NULL: nothing. */
const char *
entity_place(struct kb_arena *a, const struct entity *e)
{
	switch (e->kind) {
	case KIND_TARGET:
		return kb_sprintf(
		    a, "%s:%s", e->name ? e->name : "", id_in(e, "upstream"));
	case KIND_ACL:
		return kb_sprintf(
		    a, "%s:%s", id_in(e, "consumer"), e->name ? e->name : "");
	case KIND_PLUGIN: return plugin_place(a, e);
	case KIND_CONSUMER: return entity_text(e, "custom_id");
	default: return NULL;
	}
}

/* The name alone tells one of these from another. */
static bool
name_is_unique(enum kind kind)
{
	return kind != KIND_TARGET && kind != KIND_ACL;
}

/* Adds it under all that it is known by; the one in its way, or NULL. */
static struct entity *
index_entity(struct document *d, struct entity *e, const char **by)
{
	struct entity *other = NULL;

	*by = kind_infos[e->kind].key;
	if (name_is_unique(e->kind))
		other = index_add(d, e, 'n', e->name);
	if (other == NULL) {
		*by = e->kind == KIND_CONSUMER ? "custom_id" : NULL;
		other = index_add(d, e, 'u', entity_place(d->arena, e));
	}
	if (other == NULL) {
		*by = "id";
		other = index_add(d, e, 'i', e->id);
	}
	return other;
}

static void
reindex(struct document *d)
{
	const char *by;

	d->index = kb_new(d->arena, struct document_index);
	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < d->of[k].n; i++)
			(void)index_entity(d, d->of[k].v[i], &by);
}

static void
list_add(struct kb_arena *a, struct entities *l, struct entity *e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct entity **v = kb_new_array(a, cap, struct entity *);

		if (l->n)
			memcpy(v, l->v, l->n * sizeof(*v));
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = e;
}

/* ---- entities ------------------------------------------------------------ */

struct document *
document_new(struct kb_arena *a)
{
	struct document *d = kb_new(a, struct document);

	d->arena = a;
	d->index = kb_new(a, struct document_index);
	return d;
}

struct entity *
document_find(const struct document *d, enum kind kind, const char *name)
{
	struct entity *e = index_find(d, kind, 'i', name);

	if (e == NULL)
		e = index_find(d, kind, 'n', name);
	if (e == NULL && kind == KIND_CONSUMER)
		e = index_find(d, kind, 'u', name);
	/* Targets of several upstreams may have one name. */
	for (size_t i = 0;
	     e == NULL && !name_is_unique(kind) && i < d->of[kind].n; i++)
		if (kb_str_eq(d->of[kind].v[i]->name, name))
			e = d->of[kind].v[i];
	return e;
}

struct entity *
document_foreign(
    const struct document *d, const struct entity *e, const char *member)
{
	const char *id = id_in(e, member);

	for (size_t i = 0; id[0] && i < n_references; i++)
		if (references[i].from == e->kind &&
		    kb_str_eq(references[i].member, member))
			return index_find(d, references[i].to, 'i', id);
	return NULL;
}

static void
wipe_secret(void *arg)
{
	kb_wipe(arg, strlen(arg));
}

const char *
secret_keep(struct kb_arena *a, const char *text)
{
	char *copy = kb_strdup(a, text);

	if (copy != NULL)
		kb_arena_on_free(a, wipe_secret, copy);
	return copy;
}

struct document *
document_copy(struct kb_arena *a, const struct document *d)
{
	struct document *copy = document_new(a);

	copy->routes_without_name = d->routes_without_name;
	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < d->of[k].n; i++) {
			const struct entity *from = d->of[k].v[i];
			struct entity *e = kb_new(a, struct entity);

			*e = *from;
			e->id = kb_strdup(a, from->id);
			e->name = kb_strdup(a, from->name);
			e->y = kb_yaml_copy(a, from->y);
			e->secret = secret_keep(a, from->secret);
			e->made = NULL;
			list_add(a, &copy->of[k], e);
		}
	reindex(copy);
	return copy;
}

static void
told_twice(struct problems *p, const struct document *d, const struct entity *e,
    const struct entity *other, const char *by)
{
	const char *what = kind_infos[e->kind].singular;
	const char *also = other->line
	    ? kb_sprintf(problems_arena(p), " (also in line %u)", other->line)
	    : "";

	p->about = ABOUT_UNIQUE;
	p->field = by;
	if (e->kind == KIND_PLUGIN && by == NULL)
		problem(p, e->line, "plugin %s is configured twice for %s%s",
		    entity_text(e, "name"), plugin_scope_text(d, e), also);
	else if (e->kind == KIND_KEYAUTH && !kb_str_eq(by, "id"))
		problem(p, e->line,
		    "keyauth_credentials: the same key is there twice%s", also);
	else if (by != NULL && kb_str_eq(by, "id"))
		problem(p, e->line, "%s: the id %s is there twice%s", what,
		    e->id, also);
	else if (by != NULL && kb_str_eq(by, "custom_id"))
		problem(p, e->line, "%s: the custom_id \"%s\" is there twice%s",
		    what, entity_text(e, "custom_id"), also);
	else
		problem(p, e->line, "%s \"%s\" is there twice%s", what,
		    e->name ? e->name : "", also);
	p->about = ABOUT_SCHEMA;
	p->field = NULL;
}

bool
document_add(struct problems *p, struct document *d, struct entity *e)
{
	const char *by = NULL;
	struct entity *other = index_entity(d, e, &by);

	if (other != NULL) {
		told_twice(p, d, e, other, by);
		return false;
	}
	list_add(d->arena, &d->of[e->kind], e);
	return true;
}

bool
document_replace(struct problems *p, struct document *d, struct entity *e)
{
	struct entity *old = index_find(d, e->kind, 'i', e->id), *other;
	struct entities *l = &d->of[e->kind];
	const char *by = NULL;

	if (old == NULL)
		return document_add(p, d, e);
	e->created_s = old->created_s;
	if (e->secret == NULL)
		e->secret = old->secret;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i] == old)
			l->v[i] = e;
	/* Its old names are free again; in its own place nobody can be. */
	d->index = kb_new(d->arena, struct document_index);
	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < d->of[k].n; i++) {
			other = index_entity(d, d->of[k].v[i], &by);
			if (other != NULL) {
				told_twice(p, d, d->of[k].v[i], other, by);
				return false;
			}
		}
	return true;
}

const char *
plugin_scope_text(const struct document *d, const struct entity *e)
{
	const char *text = "";

	for (size_t i = 0; i < n_references; i++) {
		const char *member = references[i].member;
		const struct entity *at;

		if (references[i].from != KIND_PLUGIN)
			continue;
		at = document_foreign(d, e, member);
		if (at != NULL)
			text = kb_sprintf(d->arena, "%s%s%s %s", text,
			    text[0] ? " and " : "", member,
			    at->name ? at->name : at->id);
	}
	return text[0] ? text : "global";
}

/* ---- taking out ---------------------------------------------------------- */

static bool
list_has(const struct kb_yaml *list, const char *id)
{
	for (const struct kb_yaml *y = list ? list->first : NULL; y;
	     y = y->next)
		if (kb_str_eq(y->kind == KB_YAML_MAPPING
			    ? kb_yaml_get(y, "id")->text
			    : y->text,
			id))
			return true;
	return false;
}

static bool
refers(const struct entity *from, const struct reference *r,
    const struct entity *e)
{
	if (r->list)
		return list_has(kb_yaml_get(from->y, r->member), e->id);
	return kb_str_eq(id_in(from, r->member), e->id);
}

static struct entity *
holder_of(const struct document *d, const struct entity *e)
{
	for (size_t i = 0; i < n_references; i++) {
		const struct reference *r = &references[i];
		const struct entities *l = &d->of[r->from];

		if (r->to != e->kind || r->owned || (r->list && !r->texts))
			continue;
		for (size_t j = 0; j < l->n; j++)
			if (refers(l->v[j], r, e))
				return l->v[j];
	}
	return NULL;
}

static void
take_from_list(struct entity *from, const char *member, const char *id)
{
	struct kb_yaml *list = NULL, **at;

	for (struct kb_yaml *y = from->y->first; y != NULL; y = y->next)
		if (kb_str_eq(y->key, member))
			list = y;
	at = list ? &list->first : NULL;
	while (at != NULL && *at != NULL) {
		if (kb_str_eq(kb_yaml_get(*at, "id")->text, id)) {
			*at = (*at)->next;
			list->n--;
		} else
			at = &(*at)->next;
	}
}

static void
take_out(struct document *d, struct entity *e)
{
	struct entities *l = &d->of[e->kind];
	size_t n = 0;

	for (size_t i = 0; i < n_references; i++) {
		const struct reference *r = &references[i];
		struct entities *of = &d->of[r->from];

		if (r->to != e->kind)
			continue;
		for (size_t j = of->n; j-- > 0;) {
			if (!refers(of->v[j], r, e))
				continue;
			if (r->owned)
				take_out(d, of->v[j]);
			else if (r->list)
				take_from_list(of->v[j], r->member, e->id);
		}
	}
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i] != e)
			l->v[n++] = l->v[i];
	l->n = n;
}

struct entity *
document_remove(struct document *d, struct entity *e)
{
	struct entity *holder = holder_of(d, e);

	if (holder != NULL)
		return holder;
	take_out(d, e);
	reindex(d);
	return NULL;
}

/* ---- ids ----------------------------------------------------------------- */

static const char *
uuid_of(struct kb_arena *a, const char *entity, const char *key)
{
	char space[KB_UUID_SIZE], id[KB_UUID_SIZE];

	kb_uuid5("fd02801f-0957-4a15-a55a-c8d9606f30b5", entity, space);
	kb_uuid5(space, key, id);
	return kb_strdup(a, id);
}

/* Kong's keys: the name; with that of the parent where the name is unique
 * below it only; for credentials and plugins the cache key ("*": of any
 * workspace). */
const char *
entity_make_id(struct document *d, const struct entity *e)
{
	struct kb_arena *a = d->arena;
	const char *file = kind_infos[e->kind].file;
	const char *key = e->name;
	char random[KB_UUID_SIZE];

	switch (e->kind) {
	case KIND_TARGET: key = entity_place(a, e); break;
	case KIND_ACL:
	case KIND_PLUGIN:
		key = kb_sprintf(a, "%s:*:%s", file, entity_place(a, e));
		break;
	case KIND_JWT_SECRET:
	case KIND_KEYAUTH:
	case KIND_BASICAUTH:
		if (key != NULL)
			key = kb_sprintf(a, "%s:*:%s", file, key);
		break;
	case KIND_CONSUMER:
		if (key == NULL)
			key = entity_text(e, "custom_id");
		break;
	case KIND_CA_CERTIFICATE:
	case KIND_CERTIFICATE: key = entity_text(e, "cert"); break;
	case KIND_ROUTE:
		if (key == NULL)
			key = kb_sprintf(a, "%s:%u", id_in(e, "service"),
			    ++d->routes_without_name);
		break;
	default: break;
	}
	if (key != NULL)
		return uuid_of(a, file, key);
	kb_uuid4(random);
	return kb_strdup(a, random);
}
