/* Definitions of collections and fields, from their JSON and back. */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "records.h"

const char *const rule_names[RULE_COUNT] = {
	"listRule",
	"viewRule",
	"createRule",
	"updateRule",
	"deleteRule",
};

static const char *const type_names[FT_COUNT] = {
	[FT_TEXT] = "text",
	[FT_NUMBER] = "number",
	[FT_BOOL] = "bool",
	[FT_EMAIL] = "email",
	[FT_URL] = "url",
	[FT_EDITOR] = "editor",
	[FT_DATE] = "date",
	[FT_AUTODATE] = "autodate",
	[FT_SELECT] = "select",
	[FT_JSON] = "json",
	[FT_RELATION] = "relation",
	[FT_FILE] = "file",
	[FT_PASSWORD] = "password",
	[FT_GEO_POINT] = "geoPoint",
};

enum option_kind { O_BOOL, O_INT, O_BOUND, O_STR, O_STRS };

struct option {
	enum field_type type; /* FT_COUNT: of every type */
	const char *name;
	enum option_kind kind;
	size_t offset;
};

/* clang-format off */
#define OPT_BOOL(t, n, m) { t, n, O_BOOL, KB_OFFSET_OF(struct field, m, bool) }
#define OPT_INT(t, n, m) { t, n, O_INT, KB_OFFSET_OF(struct field, m, int64_t) }
#define OPT_BOUND(t, n, m) { t, n, O_BOUND, KB_OFFSET_OF(struct field, m, struct bound) }
#define OPT_STR(t, n, m) { t, n, O_STR, KB_OFFSET_OF(struct field, m, const char *) }
#define OPT_STRS(t, n, m) { t, n, O_STRS, KB_OFFSET_OF(struct field, m, const char *const *) }

static const struct option options[] = {
	OPT_BOOL(FT_COUNT, "system", system),
	OPT_BOOL(FT_COUNT, "hidden", hidden),
	OPT_BOOL(FT_COUNT, "presentable", presentable),
	OPT_STR(FT_COUNT, "help", help),
	OPT_BOOL(FT_COUNT, "required", required),
	OPT_INT(FT_TEXT, "min", min_len),
	OPT_INT(FT_TEXT, "max", max_len),
	OPT_STR(FT_TEXT, "pattern", pattern),
	OPT_STR(FT_TEXT, "autogeneratePattern", generate),
	OPT_BOOL(FT_TEXT, "primaryKey", primary_key),
	OPT_BOUND(FT_NUMBER, "min", min),
	OPT_BOUND(FT_NUMBER, "max", max),
	OPT_BOOL(FT_NUMBER, "onlyInt", only_int),
	OPT_STRS(FT_EMAIL, "exceptDomains", except),
	OPT_STRS(FT_EMAIL, "onlyDomains", only),
	OPT_STRS(FT_URL, "exceptDomains", except),
	OPT_STRS(FT_URL, "onlyDomains", only),
	OPT_INT(FT_EDITOR, "maxSize", max_size),
	OPT_BOOL(FT_EDITOR, "convertURLs", urls),
	OPT_STR(FT_DATE, "min", after),
	OPT_STR(FT_DATE, "max", before),
	OPT_BOOL(FT_AUTODATE, "onCreate", on_create),
	OPT_BOOL(FT_AUTODATE, "onUpdate", on_update),
	OPT_STRS(FT_SELECT, "values", values),
	OPT_INT(FT_SELECT, "maxSelect", max_select),
	OPT_INT(FT_JSON, "maxSize", max_size),
	OPT_STR(FT_RELATION, "collectionId", collection_id),
	OPT_BOOL(FT_RELATION, "cascadeDelete", cascade),
	OPT_INT(FT_RELATION, "minSelect", min_select),
	OPT_INT(FT_RELATION, "maxSelect", max_select),
	OPT_INT(FT_FILE, "maxSelect", max_select),
	OPT_INT(FT_FILE, "maxSize", max_size),
	OPT_STRS(FT_FILE, "mimeTypes", mime_types),
	OPT_STRS(FT_FILE, "thumbs", thumbs),
	OPT_BOOL(FT_FILE, "protected", protected_),
	OPT_INT(FT_PASSWORD, "min", min_len),
	OPT_INT(FT_PASSWORD, "max", max_len),
	OPT_STR(FT_PASSWORD, "pattern", pattern),
	OPT_INT(FT_PASSWORD, "cost", cost),
};
/* clang-format on */

const char *
field_type_name(enum field_type t)
{
	return type_names[t];
}

bool
field_is_multi(const struct field *f)
{
	return (f->type == FT_SELECT || f->type == FT_RELATION ||
		   f->type == FT_FILE) &&
	    f->max_select > 1;
}

const struct collection *
schema_find(const struct schema *s, const char *id_or_name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->collections[i].id, id_or_name) == 0)
			return &s->collections[i];
	for (size_t i = 0; i < s->n; i++)
		if (strcasecmp(s->collections[i].name, id_or_name) == 0)
			return &s->collections[i];
	return NULL;
}

const struct field *
collection_field(const struct collection *c, const char *name)
{
	for (size_t i = 0; i < c->n_fields; i++)
		if (strcmp(c->fields[i].name, name) == 0)
			return &c->fields[i];
	return NULL;
}

/* CRC-32 (IEEE 802.3), bit by bit: only definitions go through here. */
static uint32_t
crc32_of(const char *text)
{
	uint32_t crc = 0xffffffff;

	for (; *text != '\0'; text++) {
		crc ^= (unsigned char)*text;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

const char *
hashed_id(struct kb_arena *a, const char *prefix, const char *text)
{
	return kb_sprintf(a, "%s%u", prefix, crc32_of(text));
}

/* ---- reading ----------------------------------------------------------------
 */

static const char *const *
read_strings(struct kb_arena *a, const struct kb_json *j)
{
	const char **list;
	size_t n = 0;

	if (kb_json_kind(j) != KB_JSON_ARRAY)
		return NULL;
	list = kb_new_array(a, kb_json_size(j) + 1, const char *);
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		if (kb_json_text(j) != NULL)
			list[n++] = kb_strdup(a, kb_json_text(j));
	return list;
}

/* A value of another kind counts as the zero value, as upstream. */
static void
read_option(struct kb_arena *a, const struct option *o,
    const struct kb_json *from, struct field *f)
{
	void *at = (char *)f + o->offset;
	const struct kb_json *j = kb_json_get(from, o->name);
	struct bound b = { 0 };
	int64_t n = 0;

	switch (o->kind) {
	case O_BOOL: *(bool *)at = kb_json_bool(from, o->name, false); break;
	case O_INT:
		if (j == NULL || !kb_json_integer(j, &n))
			n = 0;
		*(int64_t *)at = n;
		break;
	case O_BOUND:
		b.set = j != NULL && kb_json_number(j, &b.value);
		*(struct bound *)at = b;
		break;
	case O_STR:
		*(const char **)at = kb_strdup(
		    a, j && kb_json_text(j) ? kb_json_text(j) : "");
		break;
	case O_STRS: *(const char *const **)at = read_strings(a, j); break;
	}
}

static bool
find_type(const char *name, enum field_type *out)
{
	for (int t = 0; t < FT_COUNT; t++)
		if (kb_str_eq(type_names[t], name)) {
			*out = (enum field_type)t;
			return true;
		}
	return false;
}

bool
field_read(struct kb_arena *a, const struct kb_json *j, struct field *f,
    const char **why)
{
	const char *id = kb_json_str(j, "id");
	const char *name = kb_json_str(j, "name");
	const char *type = kb_json_str(j, "type");

	*f = (struct field) { .name = kb_strdup(a, name ? name : "") };
	if (!find_type(type, &f->type)) {
		*why = "validation_invalid_field_type";
		return false;
	}
	for (size_t i = 0; i < KB_COUNT(options); i++)
		if (options[i].type == FT_COUNT || options[i].type == f->type)
			read_option(a, &options[i], j, f);
	if (f->type == FT_DATE) {
		f->after = value_date(a, kb_json_get(j, "min"));
		f->before = value_date(a, kb_json_get(j, "max"));
	}
	if (f->type == FT_PASSWORD)
		f->hidden = true; /* whatever it says */
	f->id = id && id[0] ? kb_strdup(a, id)
			    : hashed_id(a, type_names[f->type], f->name);
	return true;
}

/* ---- writing
 * ------------------------------------------------------------------ */

static void
write_strings(struct kb_jsonw *w, const char *name, const char *const *list)
{
	if (list == NULL) {
		kb_w_null(w, name);
		return;
	}
	kb_w_array(w, name);
	for (; *list != NULL; list++)
		kb_w_str(w, NULL, *list);
	kb_w_array_end(w);
}

static void
write_option(struct kb_jsonw *w, const struct option *o, const struct field *f)
{
	const void *at = (const char *)f + o->offset;
	const struct bound *b = at;

	switch (o->kind) {
	case O_BOOL: kb_w_bool(w, o->name, *(const bool *)at); break;
	case O_INT: kb_w_int(w, o->name, *(const int64_t *)at); break;
	case O_BOUND:
		if (b->set)
			kb_w_num(w, o->name, b->value);
		else
			kb_w_null(w, o->name);
		break;
	case O_STR: kb_w_str(w, o->name, *(const char *const *)at); break;
	case O_STRS:
		write_strings(w, o->name, *(const char *const *const *)at);
		break;
	}
}

void
field_write(struct kb_jsonw *w, const struct field *f)
{
	kb_w_object(w, NULL);
	kb_w_str(w, "id", f->id);
	kb_w_str(w, "name", f->name);
	kb_w_str(w, "type", type_names[f->type]);
	for (size_t i = 0; i < KB_COUNT(options); i++)
		if ((options[i].type == FT_COUNT &&
			(f->type != FT_AUTODATE ||
			    strcmp(options[i].name, "required") != 0)) ||
		    options[i].type == f->type)
			write_option(w, &options[i], f);
	kb_w_object_end(w);
}

const char *
collection_type_name(enum collection_type type)
{
	static const char *const names[] = {
		[CT_BASE] = "base",
		[CT_AUTH] = "auth",
		[CT_VIEW] = "view",
	};

	return names[type];
}

void
collection_write(struct kb_jsonw *w, const void *collection)
{
	const struct collection *c = collection;

	kb_w_str(w, "id", c->id);
	for (int i = 0; i < RULE_COUNT; i++)
		kb_w_str(w, rule_names[i], c->rules[i]);
	kb_w_str(w, "name", c->name);
	kb_w_str(w, "type", collection_type_name(c->type));
	kb_w_array(w, "fields");
	for (size_t i = 0; i < c->n_fields; i++)
		field_write(w, &c->fields[i]);
	kb_w_array_end(w);
	write_strings(w, "indexes", c->indexes);
	kb_w_bool(w, "system", c->system);
	if (c->type == CT_AUTH)
		auth_options_write(w, c->auth_options, false);
	if (c->type == CT_VIEW)
		kb_w_str(w, "viewQuery", c->view_query);
	kb_w_str(w, "created", c->created);
	kb_w_str(w, "updated", c->updated);
}
