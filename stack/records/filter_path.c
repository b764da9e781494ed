/*
 * Names of the filter language as SQL: fields through relations, the request,
 * other collections. What is not known is refused.
 */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "filter.h"

#define SEGMENTS 16
#define JOINS_MAX 40

struct walk {
	struct query *q;
	struct joins *set;
	const char *path;
	char *seg[SEGMENTS]; /* of the path, from `at` on */
	size_t n, at;
	const char *modifier; /* after ':' of the last segment, or NULL */
	const struct collection *c;
	const char *alias;
	const char *key; /* of the join that we stand on */
	bool multi;
	const char *guard;
};

/* ---- joins
 * -------------------------------------------------------------------------- */

struct join *
join_get(struct query *q, struct joins *set, const char *key, bool *fresh)
{
	struct join **p = &set->first;

	while (*p != NULL && strcmp((*p)->key, key) != 0)
		p = &(*p)->next;
	*fresh = *p == NULL;
	if (*p != NULL)
		return *p;
	if (q->n_joins == JOINS_MAX) {
		(void)query_refuse(q, "too many relations");
		return NULL;
	}
	*p = kb_new(q->arena, struct join);
	(*p)->key = key;
	(*p)->alias = kb_sprintf(q->arena, "j%u", ++q->n_joins);
	(*p)->sql = "";
	return *p;
}

/* A parameter for a join that is not made yet: one that no text names would
 * be one too many. */
static const char *
join_param(struct walk *w, const char *key, struct kb_val v)
{
	for (struct join *j = w->set->first; j != NULL; j = j->next)
		if (strcmp(j->key, key) == 0)
			return "";
	return query_param(w->q, v);
}

/* The next table: ON `on` as far as it may be seen. */
static bool
step_to(struct walk *w, const struct collection *c, const char *key,
    const char *on_fmt, const char *on_arg)
{
	struct query *q = w->q;
	const char *condition = "";
	bool fresh;
	struct join *j = join_get(q, w->set, key, &fresh);

	if (j == NULL)
		return false;
	w->c = c;
	w->alias = j->alias;
	w->key = key;
	if (!fresh)
		return true;
	if (!query_nested_rule(q, c, j->alias, &condition))
		return false;
	j->sql = kb_sprintf(q->arena, " LEFT JOIN %s %s ON %s%s%s%s",
	    sql_name(q->arena, c->table), j->alias, on_fmt[0] ? j->alias : "",
	    on_fmt, on_arg, condition);
	return true;
}

/* Elements of a list: json_each as a table; its alias. */
static const char *
step_each(struct walk *w, const char *key, const char *list)
{
	bool fresh;
	struct join *j = join_get(w->q, w->set, key, &fresh);

	if (j == NULL)
		return NULL;
	if (fresh)
		j->sql = kb_sprintf(
		    w->q->arena, " LEFT JOIN json_each(%s) %s", list, j->alias);
	w->multi = true;
	return j->alias;
}

static const char *
key_of(struct walk *w, const char *segment)
{
	return kb_sprintf(w->q->arena, "%s.%s", w->key, segment);
}

static const char *
column(struct walk *w, const struct field *f)
{
	return kb_sprintf(
	    w->q->arena, "%s.%s", w->alias, sql_name(w->q->arena, f->name));
}

static const struct collection *
target_of(struct walk *w, const struct field *f)
{
	return schema_find(w->q->api->schema, f->collection_id);
}

static bool
may_see(const struct walk *w, const struct field *f)
{
	return !f->hidden || w->q->trusted || w->q->api->superuser;
}

/* ---- steps
 * ---------------------------------------------------------------------------
 */

static bool
step_relation(struct walk *w, const struct field *f)
{
	const struct collection *to = target_of(w, f);
	const char *value = column(w, f);

	if (to == NULL)
		return query_refuse(w->q, "unknown relation %s", f->name);
	if (field_is_multi(f)) {
		const char *each = step_each(w,
		    key_of(w, kb_sprintf(w->q->arena, "%s[]", f->name)), value);

		if (each == NULL)
			return false;
		value = kb_sprintf(w->q->arena, "%s.value", each);
	}
	return step_to(w, to, key_of(w, f->name), ".\"id\" = ", value);
}

static bool
is_unique(const struct walk *w, const struct collection *c, const char *column)
{
	struct index x;

	for (size_t i = 0; c->indexes[i] != NULL; i++)
		if (index_parse(w->q->arena, c->indexes[i], &x) && x.unique &&
		    x.n == 1 && strcmp(x.columns[0], column) == 0)
			return true;
	return false;
}

/* posts_via_author: rows that refer to this one. */
static bool
step_back(struct walk *w, const char *segment, const char *via)
{
	struct kb_arena *a = w->q->arena;
	const char *name = kb_strndup(a, segment, (size_t)(via - segment));
	const struct collection *from = schema_find(w->q->api->schema, name);
	const struct field *f = from ? collection_field(from, via + 5) : NULL;
	const char *on = kb_sprintf(a, "%s.\"id\"", w->alias);

	if (f == NULL || f->type != FT_RELATION || !may_see(w, f) ||
	    strcmp(f->collection_id, w->c->id) != 0)
		return query_refuse(w->q, "unknown back relation %s", segment);
	if (!is_unique(w, from, f->name))
		w->multi = true;
	if (!field_is_multi(f))
		return step_to(w, from, key_of(w, segment),
		    kb_sprintf(a, ".%s = ", sql_name(a, f->name)), on);
	return step_to(w, from, key_of(w, segment),
	    kb_sprintf(a,
		".\"id\" IN (SELECT r.\"id\" FROM %s r,"
		" json_each(r.%s) e WHERE e.value = ",
		sql_name(a, from->table), sql_name(a, f->name)),
	    kb_sprintf(a, "%s)", on));
}

/* The rest of the path inside of a JSON value. */
static bool
inside_json(struct walk *w, const struct field *f, struct value *out)
{
	struct kb_arena *a = w->q->arena;
	const char *path = "$";

	for (; w->at < w->n; w->at++) {
		const char *s = w->seg[w->at];

		if (s[strspn(s, "0123456789")] == '\0')
			path = kb_sprintf(a, "%s[%s]", path, s);
		else
			path = kb_sprintf(a, "%s.\"%s\"", path, s);
	}
	out->sql = kb_sprintf(a, "json_extract(%s, %s)", column(w, f),
	    query_param(w->q, KB_TEXT(path)));
	out->json = true;
	return true;
}

/* ---- ends
 * ------------------------------------------------------------------------------
 */

static bool
end_modified(struct walk *w, const struct field *f, struct value *out)
{
	struct kb_arena *a = w->q->arena;
	const char *each;

	if (strcmp(w->modifier, "lower") == 0) {
		out->sql = kb_sprintf(a, "lower(%s)", out->sql);
		return true;
	}
	if (!field_is_multi(f))
		return query_refuse(w->q, ":%s needs a list", w->modifier);
	if (strcmp(w->modifier, "length") == 0) {
		out->sql = kb_sprintf(
		    a, "json_array_length(coalesce(%s, '[]'))", out->sql);
		return true;
	}
	if (strcmp(w->modifier, "each") != 0)
		return query_refuse(w->q, "unknown modifier %s", w->modifier);
	each = step_each(
	    w, key_of(w, kb_sprintf(a, "%s[]", f->name)), out->sql);
	if (each == NULL)
		return false;
	out->sql = kb_sprintf(a, "%s.value", each);
	return true;
}

static bool
end_field(struct walk *w, const struct field *f, struct value *out)
{
	out->sql = column(w, f);
	if (f->type == FT_JSON)
		return w->modifier ? query_refuse(w->q, "no modifier here")
				   : inside_json(w, f, out);
	/* Who filters must not learn addresses that are not shown. */
	if (f->type == FT_EMAIL && w->c->auth && !w->q->trusted &&
	    !w->q->api->superuser)
		w->guard = kb_sprintf(w->q->arena,
		    "coalesce(%s.\"emailVisibility\", 0) = 1", w->alias);
	return w->modifier == NULL || end_modified(w, f, out);
}

static bool
end_system(struct walk *w, const char *segment, struct value *out)
{
	if (!w->q->trusted && !w->q->api->superuser)
		return query_refuse(w->q, "unknown field %s", segment);
	if (strcmp(segment, "collectionId") == 0)
		out->val = KB_TEXT(w->c->id);
	else if (strcmp(segment, "collectionName") == 0)
		out->val = KB_TEXT(w->c->name);
	else
		return query_refuse(w->q, "unknown field %s", segment);
	return true;
}

/* From the alias on by the segments that are left. */
static bool
walk_fields(struct walk *w, struct value *out)
{
	while (w->at < w->n) {
		const char *segment = w->seg[w->at++];
		const char *via = strstr(segment, "_via_");
		const struct field *f = collection_field(w->c, segment);
		bool last = w->at == w->n;

		if (f == NULL && via != NULL && !last) {
			if (!step_back(w, segment, via))
				return false;
			continue;
		}
		if (f == NULL && last)
			return end_system(w, segment, out);
		if (f == NULL || !may_see(w, f))
			return query_refuse(w->q, "unknown field %s", segment);
		if (last)
			return end_field(w, f, out);
		if (f->type == FT_JSON || f->type == FT_GEO_POINT)
			return w->modifier
			    ? query_refuse(w->q, "no modifier here")
			    : inside_json(w, f, out);
		if (f->type != FT_RELATION)
			return query_refuse(w->q, "%s is no relation", f->name);
		if (!step_relation(w, f))
			return false;
	}
	return query_refuse(w->q, "the path ends too early");
}

/* ---- the request
 * -------------------------------------------------------------------------- */

/* posts_via_author is a way from c. */
static bool
refers_back(
    const struct schema *s, const struct collection *c, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct collection *from = &s->collections[i];
		size_t len = strlen(from->name);
		const struct field *f;

		if (strncmp(name, from->name, len) != 0 ||
		    strncmp(name + len, "_via_", 5) != 0)
			continue;
		f = collection_field(from, name + len + 5);
		if (f != NULL && f->type == FT_RELATION &&
		    strcmp(f->collection_id, c->id) == 0)
			return true;
	}
	return false;
}

static bool
from_auth(struct walk *w, struct value *out)
{
	const struct principal *m = w->q->api->auth;
	const char *name = w->at < w->n ? w->seg[w->at] : "";
	const struct {
		const char *name, *value;
	} known[] = {
		{ "id", m ? m->id : NULL },
		{ "collectionId", m ? m->c->id : NULL },
		{ "collectionName", m ? m->c->name : NULL },
		{ "email", m ? m->email : NULL },
	};

	out->val = KB_NULL;
	if (m == NULL)
		return true;
	for (size_t i = 0; i < KB_COUNT(known); i++)
		if (strcmp(known[i].name, name) == 0 && w->at + 1 == w->n &&
		    w->modifier == NULL) {
			out->val = KB_TEXT(known[i].value);
			return true;
		}
	/* Accounts are of several collections: one has what others have not. */
	if (collection_field(m->c, name) == NULL &&
	    !refers_back(w->q->api->schema, m->c, name))
		return true;
	w->key = "@request";
	return step_to(w, m->c, "@request.auth", ".\"id\" = ",
		   join_param(w, "@request.auth", KB_TEXT(m->id))) &&
	    walk_fields(w, out);
}

static struct kb_val
constant_of(struct kb_arena *a, const struct kb_json *j)
{
	double d = 0;

	if (j == NULL)
		return KB_NULL;
	switch (kb_json_kind(j)) {
	case KB_JSON_NULL: return KB_NULL;
	case KB_JSON_BOOL: return KB_FLAG(kb_json_true(j));
	case KB_JSON_NUMBER:
		return kb_json_number(j, &d) ? KB_REAL(d) : KB_NULL;
	case KB_JSON_STRING: return KB_TEXT(kb_json_text(j));
	default: return KB_TEXT(kb_json_print(a, j));
	}
}

/* Set, and other than what the record holds. */
static bool
body_changed(struct walk *w, const struct kb_json *j, struct value *out)
{
	struct query *q = w->q;
	const struct field *f = collection_field(q->c, w->seg[w->at]);
	struct judge judge = { .arena = q->arena, .schema = q->api->schema };
	union cell v;

	if (f == NULL)
		return query_refuse(q, ":changed needs a field");
	if (j == NULL) {
		out->sql = "0";
		return true;
	}
	(void)value_read(&judge, f, j, &v);
	out->sql = kb_sprintf(q->arena, "(%s IS NOT %s.%s)",
	    query_param(q, value_bind(f, v)), q->base,
	    sql_name(q->arena, f->name));
	return true;
}

static bool
body_modified(struct walk *w, const struct kb_json *j, struct value *out)
{
	struct query *q = w->q;
	bool many = j != NULL && kb_json_kind(j) == KB_JSON_ARRAY;
	const char *list = "[]", *each, *key;

	if (strcmp(w->modifier, "isset") == 0) {
		out->sql = j ? "1" : "0";
		return true;
	}
	if (strcmp(w->modifier, "changed") == 0)
		return body_changed(w, j, out);
	if (strcmp(w->modifier, "lower") == 0) {
		out->sql = kb_sprintf(q->arena, "lower(%s)",
		    query_param(q, constant_of(q->arena, j)));
		return true;
	}
	if (strcmp(w->modifier, "length") == 0) {
		out->val = KB_INT(many ? kb_json_size(j) : j != NULL);
		return true;
	}
	if (strcmp(w->modifier, "each") != 0)
		return query_refuse(q, "unknown modifier %s", w->modifier);
	if (j != NULL)
		list = kb_sprintf(
		    q->arena, many ? "%s" : "[%s]", kb_json_print(q->arena, j));
	key = kb_sprintf(q->arena, "%s[]", w->path);
	each = step_each(w, key, join_param(w, key, KB_TEXT(list)));
	if (each == NULL)
		return false;
	out->sql = kb_sprintf(q->arena, "%s.value", each);
	return true;
}

/* The record that the body's relation names. */
static bool
body_relation(struct walk *w, const struct field *f, const struct kb_json *j,
    struct value *out)
{
	struct query *q = w->q;
	struct judge judge = { .arena = q->arena, .schema = q->api->schema };
	const struct collection *to = target_of(w, f);
	const char *value;
	union cell v;

	if (to == NULL)
		return query_refuse(q, "unknown relation %s", f->name);
	(void)value_read(&judge, f, j, &v);
	w->key = kb_sprintf(q->arena, "@request.body.%s", f->name);
	value = join_param(
	    w, key_of(w, field_is_multi(f) ? "[]" : ""), KB_TEXT(v.text));
	if (field_is_multi(f)) {
		const char *each = step_each(w, key_of(w, "[]"), value);

		if (each == NULL)
			return false;
		value = kb_sprintf(q->arena, "%s.value", each);
	}
	return step_to(w, to, key_of(w, ""), ".\"id\" = ", value) &&
	    walk_fields(w, out);
}

static bool
from_body(struct walk *w, struct value *out)
{
	struct query *q = w->q;
	const struct kb_json *j = q->api->body;
	const struct field *f;

	if (w->at == w->n)
		return query_refuse(q, "a field of the body is missing");
	f = collection_field(q->c, w->seg[w->at]);
	if (f != NULL && f->type == FT_RELATION && w->at + 1 < w->n) {
		j = kb_json_get(j, w->seg[w->at++]);
		return body_relation(w, f, j, out);
	}
	if (f != NULL && !field_is_multi(f) && w->modifier != NULL &&
	    (strcmp(w->modifier, "length") == 0 ||
		strcmp(w->modifier, "each") == 0))
		return query_refuse(q, "%s holds no list", f->name);
	if (w->at + 1 == w->n && w->modifier != NULL)
		return body_modified(w, kb_json_get(j, w->seg[w->at]), out);
	for (; w->at < w->n; w->at++)
		j = kb_json_get(j, w->seg[w->at]);
	if (w->modifier != NULL)
		return body_modified(w, j, out);
	out->val = constant_of(q->arena, j);
	return true;
}

/* x_token is the header X-Token. */
static const char *
header_value(const struct walk *w, const char *name)
{
	char *wire = kb_strdup(w->q->arena, name);

	for (char *c = wire; *c != '\0'; c++)
		if (*c == '_')
			*c = '-';
	return kb_header(w->q->api->req, wire);
}

static bool
from_request_text(struct walk *w, struct value *out)
{
	struct kb_request *req = w->q->api->req;
	const char *kind = w->seg[1];
	const char *value = NULL;

	if (w->n == 2 && strcmp(kind, "method") == 0)
		value = kb_method_name(req->method);
	else if (w->n == 2 && strcmp(kind, "context") == 0)
		value = w->q->api->context ? w->q->api->context : "default";
	else if (w->n == 3 && strcmp(kind, "query") == 0)
		value = kb_query_param(req, w->seg[2]);
	else if (w->n == 3 && strcmp(kind, "headers") == 0)
		value = header_value(w, w->seg[2]);
	else
		return query_refuse(w->q, "unknown name %s", w->path);
	out->val = KB_TEXT(value);
	if (w->modifier == NULL)
		return true;
	if (strcmp(w->modifier, "isset") == 0)
		out->sql = value ? "1" : "0";
	else if (strcmp(w->modifier, "lower") == 0)
		out->val = KB_TEXT(
		    value ? kb_str_lower(w->q->arena, value) : NULL);
	else
		return query_refuse(w->q, "unknown modifier %s", w->modifier);
	return true;
}

static bool
from_request(struct walk *w, struct value *out)
{
	if (w->n < 2)
		return query_refuse(w->q, "unknown name %s", w->path);
	w->at = 2;
	if (strcmp(w->seg[1], "auth") == 0)
		return from_auth(w, out);
	if (strcmp(w->seg[1], "body") == 0 || strcmp(w->seg[1], "data") == 0)
		return from_body(w, out);
	return from_request_text(w, out);
}

/* @collection.name:alias.field: any row of that collection. */
static bool
from_collection(struct walk *w, struct value *out)
{
	struct query *q = w->q;
	const struct collection *c;
	char *name, *alias;

	if (w->n < 3)
		return query_refuse(q, "unknown name %s", w->path);
	name = kb_strdup(q->arena, w->seg[1]);
	alias = strchr(name, ':');
	if (alias != NULL)
		*alias = '\0';
	c = schema_find(q->api->schema, name);
	if (c == NULL)
		return query_refuse(q, "unknown collection %s", name);
	w->at = 2;
	w->multi = true;
	return step_to(w, c, kb_sprintf(q->arena, "@collection.%s", w->seg[1]),
		   "", "1") &&
	    walk_fields(w, out);
}

/* ---- all of it
 * -------------------------------------------------------------------------------
 */

static bool
split(struct walk *w)
{
	char *rest = kb_strdup(w->q->arena, w->path), *dot, *colon;

	do {
		if (w->n == SEGMENTS || rest[0] == '\0' || rest[0] == '.')
			return query_refuse(w->q, "the path %s", w->path);
		dot = strchr(rest, '.');
		if (dot != NULL)
			*dot = '\0';
		w->seg[w->n++] = rest;
		rest = dot ? dot + 1 : NULL;
	} while (rest != NULL);
	colon = strchr(w->seg[w->n - 1], ':');
	if (colon != NULL) {
		*colon = '\0';
		w->modifier = colon + 1;
	}
	return true;
}

static bool
resolve_split(struct walk *w, struct value *out)
{
	struct query *q = w->q;
	bool request = strcmp(w->seg[0], "@request") == 0;

	if (!request && strcmp(w->seg[0], "@collection") != 0)
		return walk_fields(w, out);
	if (!q->trusted && !q->api->superuser) {
		q->forbidden = true;
		return query_refuse(
		    q, "Only superusers can filter by %s.", w->seg[0]);
	}
	return request ? from_request(w, out) : from_collection(w, out);
}

bool
path_resolve(
    struct query *q, struct joins *set, const char *path, struct value *out)
{
	struct walk w = {
		.q = q,
		.set = set,
		.path = path,
		.c = q->c,
		.alias = q->base,
		.key = q->base,
	};

	if (!split(&w) || !resolve_split(&w, out))
		return false;
	out->multi = w.multi;
	out->guard = w.guard;
	return true;
}
