/*
 * The schemas of entities and plugins in Kong's form, made of the tables that
 * read them. Clients take their defaults from here.
 */
#include <string.h>

#include <kombi/str.h>

#include "admin_api.h"
#include "document_inside.h"

static const char *const types[] = {
	[FIELD_STR] = "string",
	[FIELD_INT] = "integer",
	[FIELD_BOOL] = "boolean",
	[FIELD_ENUM] = "string",
	[FIELD_STRS] = "array",
	[FIELD_INTS] = "array",
	[FIELD_NODE] = "map",
	[FIELD_NOTE] = "any",
	[FIELD_LATER] = "any",
};

static void
write_type(struct kb_jsonw *w, const char *name, const char *type)
{
	kb_w_object(w, name);
	kb_w_str(w, "type", type);
	kb_w_object_end(w);
}

/* Kong's client takes a map with these two for what it is. */
static void
write_map(struct kb_jsonw *w)
{
	write_type(w, "keys", "string");
	write_type(w, "values", "any");
}

static void
write_bounds(struct kb_jsonw *w, const struct field *f)
{
	if (f->kind == FIELD_INT && f->max != 0) {
		kb_w_array(w, "between");
		kb_w_int(w, NULL, f->min);
		kb_w_int(w, NULL, f->max);
		kb_w_array_end(w);
	}
	if (f->kind == FIELD_ENUM && f->type == NULL) {
		kb_w_array(w, "one_of");
		for (size_t i = 0; f->choices[i] != NULL; i++)
			kb_w_str(w, NULL, f->choices[i]);
		kb_w_array_end(w);
	}
	if (f->kind == FIELD_STRS)
		write_type(w, "elements", "string");
	if (f->kind == FIELD_INTS)
		write_type(w, "elements", "integer");
}

static void write_fields(struct kb_jsonw *w, const struct schema *s);

static void
write_field(struct kb_jsonw *w, const struct field *f, const void *defaults)
{
	const char *type = f->record ? "record"
	    : f->type                ? f->type
				     : types[f->kind];

	kb_w_object(w, NULL);
	kb_w_object(w, f->name);
	kb_w_str(w, "type", type);
	if (f->required || f->record)
		kb_w_bool(w, "required", true);
	if (view_has_default(f, defaults))
		view_default(w, "default", f, defaults);
	write_bounds(w, f);
	if (kb_str_eq(type, "map"))
		write_map(w);
	if (f->record != NULL)
		write_fields(w, f->record);
	if (view_is_secret(f))
		kb_w_bool(w, "encrypted", true);
	kb_w_object_end(w);
	kb_w_object_end(w);
}

static void
write_fields(struct kb_jsonw *w, const struct schema *s)
{
	kb_w_array(w, "fields");
	for (const struct field *f = s->fields; f->kind != FIELD_END; f++)
		if (f->kind != FIELD_SKIP)
			write_field(w, f, s->defaults);
	kb_w_array_end(w);
}

static void
write_common(struct kb_jsonw *w)
{
	static const char *const times[] = { "created_at", "updated_at" };

	kb_w_object(w, NULL);
	kb_w_object(w, "id");
	kb_w_str(w, "type", "string");
	kb_w_bool(w, "uuid", true);
	kb_w_bool(w, "auto", true);
	kb_w_object_end(w);
	kb_w_object_end(w);
	for (size_t i = 0; i < KB_COUNT(times); i++) {
		kb_w_object(w, NULL);
		kb_w_object(w, times[i]);
		kb_w_str(w, "type", "integer");
		kb_w_bool(w, "timestamp", true);
		kb_w_bool(w, "auto", true);
		kb_w_object_end(w);
		kb_w_object_end(w);
	}
	kb_w_object(w, NULL);
	kb_w_object(w, "tags");
	kb_w_str(w, "type", "set");
	write_type(w, "elements", "string");
	kb_w_object_end(w);
	kb_w_object_end(w);
}

static void
write_references(struct kb_jsonw *w, enum kind kind)
{
	for (size_t i = 0; i < n_references; i++) {
		const struct reference *r = &references[i];

		if (r->from != kind || (r->list && !r->texts))
			continue;
		kb_w_object(w, NULL);
		kb_w_object(w, r->member);
		kb_w_str(w, "type", r->list ? "array" : "foreign");
		if (r->list)
			write_type(w, "elements", "string");
		else
			kb_w_str(w, "reference", kind_infos[r->to].file);
		if (r->required)
			kb_w_bool(w, "required", true);
		kb_w_object_end(w);
		kb_w_object_end(w);
	}
}

static void
write_secret(struct kb_jsonw *w, enum kind kind)
{
	const char *name = kind_infos[kind].secret;

	if (name == NULL)
		return;
	kb_w_object(w, NULL);
	kb_w_object(w, name);
	kb_w_str(w, "type", "string");
	kb_w_bool(w, "encrypted", true);
	kb_w_object_end(w);
	kb_w_object_end(w);
}

void
schema_of_kind(struct kb_jsonw *w, enum kind kind)
{
	const struct schema *s = kind_schema(kind);

	kb_w_object(w, NULL);
	kb_w_array(w, "fields");
	write_common(w);
	for (const struct field *f = s->fields; f->kind != FIELD_END; f++)
		if (!view_is_common(kind, f) && !kb_str_eq(f->name, "url"))
			write_field(w, f, s->defaults);
	write_secret(w, kind);
	write_references(w, kind);
	kb_w_array_end(w);
	kb_w_object_end(w);
}

static const struct field *
field_named(const struct field *table, const char *name)
{
	while (table->kind != FIELD_END && !kb_str_eq(table->name, name))
		table++;
	return table;
}

void
schema_of_plugin(struct kb_jsonw *w, const struct plugin *p)
{
	const struct schema config = { p->fields, p->defaults };
	const struct schema *s = kind_schema(KIND_PLUGIN);

	kb_w_object(w, NULL);
	kb_w_array(w, "fields");
	write_references(w, KIND_PLUGIN);
	write_field(w, field_named(s->fields, "protocols"), s->defaults);
	kb_w_object(w, NULL);
	kb_w_object(w, "config");
	kb_w_str(w, "type", "record");
	kb_w_bool(w, "required", true);
	write_fields(w, &config);
	kb_w_object_end(w);
	kb_w_object_end(w);
	kb_w_array_end(w);
	kb_w_object_end(w);
}
