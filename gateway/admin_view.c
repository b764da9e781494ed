/*
 * Entities and their schemas as the Admin API shows them, both from the
 * tables that read them: a field is written down once.
 */
#include <string.h>

#include <kombi/str.h>

#include "admin_api.h"
#include "document_inside.h"

const char view_mask[] = "********";

static const struct schema *const kind_schemas[KINDS] = {
	[KIND_CA_CERTIFICATE] = &ca_certificate_schema,
	[KIND_CERTIFICATE] = &certificate_schema,
	[KIND_SNI] = &sni_schema,
	[KIND_SERVICE] = &service_schema,
	[KIND_ROUTE] = &route_schema,
	[KIND_UPSTREAM] = &upstream_schema,
	[KIND_TARGET] = &target_schema,
	[KIND_CONSUMER_GROUP] = &consumer_group_schema,
	[KIND_CONSUMER] = &consumer_schema,
	[KIND_JWT_SECRET] = &jwt_secret_schema,
	[KIND_KEYAUTH] = &keyauth_schema,
	[KIND_BASICAUTH] = &basicauth_schema,
	[KIND_ACL] = &acl_schema,
	[KIND_PLUGIN] = &plugin_schema,
	[KIND_VAULT] = &vault_schema,
};

const struct schema *
kind_schema(enum kind kind)
{
	return kind_schemas[kind];
}

/* ---- secrets ------------------------------------------------------------- */

bool
view_name_is_secret(const char *name)
{
	static const char *const ends[] = { "password", "secret", "passphrase",
		"private_key" };

	for (size_t i = 0; i < KB_COUNT(ends); i++)
		if (kb_str_ends(name, ends[i]))
			return true;
	return false;
}

bool
view_is_secret(const struct field *f)
{
	return f->secret ||
	    (f->kind == FIELD_STR && view_name_is_secret(f->name));
}

/* ---- values -------------------------------------------------------------- */

static void
write_scalar(struct kb_jsonw *w, const char *name, const struct kb_yaml *y)
{
	int64_t n;
	bool b;

	if (y->plain && kb_yaml_int(y, &n))
		kb_w_int(w, name, n);
	else if (y->plain && kb_yaml_bool(y, &b))
		kb_w_bool(w, name, b);
	else if (y->plain && kb_yaml_is_null(y))
		kb_w_null(w, name);
	else
		kb_w_str(w, name, y->text);
}

/* "0.5" may stand there as it is; else it is text. */
static bool
is_decimal(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return n > 0 && n < 16 && (n == 1 || s[0] != '0') && s[n] == '.' &&
	    s[n + 1] && strspn(s + n + 1, "0123456789") == strlen(s + n + 1) &&
	    strlen(s) < 32;
}

void
view_tree(
    struct kb_jsonw *w, const char *name, const struct kb_yaml *y, bool masked)
{
	bool list = y->kind == KB_YAML_SEQUENCE;

	if (y->kind == KB_YAML_SCALAR) {
		if (masked && name && view_name_is_secret(name) &&
		    !kb_yaml_is_null(y))
			kb_w_str(w, name, view_mask);
		else if (y->plain && is_decimal(y->text))
			kb_w_raw(w, name, y->text);
		else
			write_scalar(w, name, y);
		return;
	}
	list ? kb_w_array(w, name) : kb_w_object(w, name);
	for (const struct kb_yaml *at = y->first; at != NULL; at = at->next)
		view_tree(w, list ? NULL : at->key, at, masked);
	list ? kb_w_array_end(w) : kb_w_object_end(w);
}

static void
write_split(struct kb_jsonw *w, const char *text)
{
	struct kb_slice rest = kb_slice_of(text), part;

	while (kb_slice_next(&rest, ',', &part)) {
		part = kb_slice_trim(part);
		if (part.len)
			kb_w_slice(w, NULL, part);
	}
}

static void
write_list(struct kb_jsonw *w, const struct field *f, const struct kb_yaml *y)
{
	kb_w_array(w, f->name);
	if (y->kind == KB_YAML_SCALAR)
		write_split(w, y->text);
	for (const struct kb_yaml *at = y->first; at != NULL; at = at->next) {
		if (f->kind == FIELD_INTS)
			write_scalar(w, NULL, at);
		else
			kb_w_str(w, NULL, at->text);
	}
	kb_w_array_end(w);
}

static void
write_strs(struct kb_jsonw *w, const char *name, const struct strs *list)
{
	kb_w_array(w, name);
	for (size_t i = 0; i < list->n; i++)
		kb_w_str(w, NULL, list->v[i]);
	kb_w_array_end(w);
}

static void
write_ints(struct kb_jsonw *w, const char *name, const struct ints *list)
{
	kb_w_array(w, name);
	for (size_t i = 0; i < list->n; i++)
		kb_w_int(w, NULL, list->v[i]);
	kb_w_array_end(w);
}

/* Where the default of a field stands: structs without one are zero. */
static const void *
default_of(const struct field *f, const void *defaults)
{
	static const char zeroes[8192];

	if (defaults == NULL && f->offset > sizeof(zeroes) - 64)
		return zeroes;
	return (defaults ? (const char *)defaults : zeroes) + f->offset;
}

bool
view_has_default(const struct field *f, const void *defaults)
{
	const void *at = default_of(f, defaults);
	int64_t n;

	if (f->initial != NULL || f->required)
		return f->initial != NULL;
	switch (f->kind) {
	case FIELD_STR: return *(const char *const *)at != NULL;
	case FIELD_BOOL: return true;
	case FIELD_ENUM: return *(const int *)at >= 0;
	case FIELD_INT:
		n = *(const int64_t *)at;
		return n >= f->min && (f->max == 0 || n <= f->max);
	case FIELD_STRS: return ((const struct strs *)at)->v != NULL;
	case FIELD_INTS: return ((const struct ints *)at)->v != NULL;
	default: return false;
	}
}

void
view_default(struct kb_jsonw *w, const char *name, const struct field *f,
    const void *defaults)
{
	const void *at = default_of(f, defaults);

	if (f->initial != NULL)
		kb_w_raw(w, name, f->initial);
	else if (!view_has_default(f, defaults))
		kb_w_null(w, name);
	else if (f->kind == FIELD_STR)
		kb_w_str(w, name, *(const char *const *)at);
	else if (f->kind == FIELD_BOOL)
		kb_w_bool(w, name, *(const bool *)at);
	else if (f->kind == FIELD_ENUM)
		kb_w_str(w, name, f->choices[*(const int *)at]);
	else if (f->kind == FIELD_INT)
		kb_w_int(w, name, *(const int64_t *)at);
	else if (f->kind == FIELD_STRS)
		write_strs(w, name, at);
	else
		write_ints(w, name, at);
}

static void write_fields(
    struct kb_jsonw *w, const struct kb_yaml *map, const struct schema *s);

static void
write_field(struct kb_jsonw *w, const struct field *f, const struct kb_yaml *y,
    const void *defaults)
{
	if (f->record != NULL && (y == NULL || y->kind == KB_YAML_MAPPING)) {
		kb_w_object(w, f->name);
		write_fields(w, y, f->record);
		kb_w_object_end(w);
	} else if (y == NULL)
		view_default(w, f->name, f, defaults);
	else if (view_is_secret(f))
		kb_w_str(w, f->name, view_mask);
	else if (f->kind == FIELD_STRS || f->kind == FIELD_INTS)
		write_list(w, f, y);
	else if (f->kind == FIELD_ENUM && f->type != NULL)
		kb_w_bool(w, f->name, kb_str_eq(y->text, "true"));
	else if (f->kind == FIELD_STR || f->kind == FIELD_ENUM)
		kb_w_str(w, f->name, y->text);
	else if (y->kind == KB_YAML_SCALAR && !y->plain &&
	    (f->kind == FIELD_INT || f->kind == FIELD_BOOL))
		kb_w_raw(w, f->name, y->text); /* checked when it was read */
	else
		view_tree(w, f->name, y, true);
}

static const struct kb_yaml *
member(const struct kb_yaml *map, const char *name)
{
	const struct kb_yaml *y = map ? kb_yaml_get(map, name) : NULL;

	return y && y->kind == KB_YAML_SCALAR && kb_yaml_is_null(y) ? NULL : y;
}

static void
write_fields(
    struct kb_jsonw *w, const struct kb_yaml *map, const struct schema *s)
{
	for (const struct field *f = s->fields; f->kind != FIELD_END; f++)
		if (f->kind != FIELD_SKIP)
			write_field(w, f, member(map, f->name), s->defaults);
}

/* ---- entities ------------------------------------------------------------ */

/* Not from the table: what every entity has, and references. */
bool
view_is_common(enum kind kind, const struct field *f)
{
	static const char *const names[] = { "id", "tags", "created_at",
		"updated_at" };

	for (size_t i = 0; i < KB_COUNT(names); i++)
		if (kb_str_eq(f->name, names[i]))
			return true;
	for (size_t i = 0; i < n_references; i++)
		if (references[i].from == kind &&
		    kb_str_eq(references[i].member, f->name))
			return true;
	return f->kind == FIELD_SKIP ||
	    (kind == KIND_CONSUMER && f->kind == FIELD_LATER);
}

static void
write_references(struct kb_jsonw *w, const struct entity *e)
{
	for (size_t i = 0; i < n_references; i++) {
		const struct reference *r = &references[i];
		const struct kb_yaml *y;

		/* Groups of a consumer are asked for by themselves. */
		if (r->from != e->kind || (r->list && !r->texts))
			continue;
		y = member(e->y, r->member);
		if (y != NULL)
			view_tree(w, r->member, y, true);
		else
			kb_w_null(w, r->member);
	}
}

/* "url" was taken apart when the file was read. */
static void
write_service(struct kb_jsonw *w, const struct entity *e)
{
	const struct service *s = e->made;

	for (const struct field *f = service_schema.fields;
	     f->kind != FIELD_END; f++) {
		if (view_is_common(KIND_SERVICE, f) ||
		    kb_str_eq(f->name, "url"))
			continue;
		if (kb_str_eq(f->name, "host"))
			kb_w_str(w, f->name, s->host);
		else if (kb_str_eq(f->name, "port"))
			kb_w_int(w, f->name, s->port);
		else if (kb_str_eq(f->name, "path"))
			kb_w_str(w, f->name, s->path[0] ? s->path : NULL);
		else if (kb_str_eq(f->name, "protocol"))
			kb_w_str(w, f->name, f->choices[s->protocol]);
		else
			write_field(w, f, member(e->y, f->name),
			    service_schema.defaults);
	}
}

static void
write_config(struct kb_jsonw *w, const struct entity *e)
{
	const struct plugin *p = plugin_find(entity_text(e, "name"));
	const struct schema s = { p->fields, p->defaults };

	kb_w_object(w, "config");
	write_fields(w, member(e->y, "config"), &s);
	kb_w_object_end(w);
}

static void
write_own(struct kb_jsonw *w, const struct entity *e)
{
	const struct schema *s = kind_schemas[e->kind];

	if (e->kind == KIND_SERVICE) {
		write_service(w, e);
		return;
	}
	for (const struct field *f = s->fields; f->kind != FIELD_END; f++) {
		if (view_is_common(e->kind, f))
			continue;
		if (e->kind == KIND_PLUGIN && kb_str_eq(f->name, "config"))
			write_config(w, e);
		else
			write_field(w, f, member(e->y, f->name), s->defaults);
	}
}

static void
write_tags(struct kb_jsonw *w, const struct entity *e)
{
	static const struct field tags = {
		.kind = FIELD_STRS,
		.name = "tags",
	};
	const struct kb_yaml *y = member(e->y, "tags");

	if (y != NULL)
		write_list(w, &tags, y);
	else
		kb_w_null(w, "tags");
}

/* Names of a certificate. */
static void
write_snis(struct kb_jsonw *w, const struct document *d, const struct entity *e)
{
	const struct entities *all = &d->of[KIND_SNI];

	kb_w_array(w, "snis");
	for (size_t i = 0; i < all->n; i++)
		if (document_foreign(d, all->v[i], "certificate") == e)
			kb_w_str(w, NULL, all->v[i]->name);
	kb_w_array_end(w);
}

void
view_entity(struct kb_jsonw *w, const char *name, const struct document *d,
    const struct entity *e)
{
	const char *secret = kind_infos[e->kind].secret;

	kb_w_object(w, name);
	kb_w_str(w, "id", e->id);
	kb_w_int(w, "created_at", e->created_s);
	kb_w_int(w, "updated_at", e->updated_s);
	write_own(w, e);
	if (secret != NULL)
		kb_w_str(w, secret, e->secret ? view_mask : NULL);
	if (e->kind == KIND_CERTIFICATE)
		write_snis(w, d, e);
	write_references(w, e);
	write_tags(w, e);
	kb_w_object_end(w);
}
