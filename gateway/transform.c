/*
 * Rules of the transformers: read and judged once when the file loads, then
 * applied to lists of names and values, whatever these stand for.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

/* ---- loading ------------------------------------------------------------- */

static const char *const op_names[OPS] = { "remove", "rename", "replace", "add",
	"append" };

struct parts {
	const struct kb_yaml *headers, *querystring, *body, *json, *json_types;
	const struct kb_yaml *uri;
};

static const struct field request_parts[] = {
	CONF_NODE(struct parts, headers),
	CONF_NODE(struct parts, querystring),
	CONF_NODE(struct parts, body),
	CONF_END,
};

static const struct field request_replace_parts[] = {
	CONF_NODE(struct parts, headers),
	CONF_NODE(struct parts, querystring),
	CONF_NODE(struct parts, body),
	CONF_NODE(struct parts, uri),
	CONF_END,
};

static const struct field answer_parts[] = {
	CONF_NODE(struct parts, headers),
	CONF_NODE(struct parts, json),
	CONF_END,
};

static const struct field answer_typed_parts[] = {
	CONF_NODE(struct parts, headers),
	CONF_NODE(struct parts, json),
	CONF_NODE(struct parts, json_types),
	CONF_END,
};

struct loader {
	struct problems *p;
	struct kb_arena *a;
	const struct plugin_use *use;
	struct transform *t;
	bool request;
	/* where we are */
	enum op op;
	enum area area;
	const char *what; /* "plugin x: add.headers" */
	unsigned line;
};

static bool
is_identity(const char *name)
{
	for (int i = 0; i < KB_ID_TENANT; i++)
		if (strcasecmp(name, kb_identity_header[i]) == 0)
			return true;
	return false;
}

static bool
begins_with_any(const char *name, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strncasecmp(name, *list, strlen(*list)) == 0)
			return true;
	return false;
}

/* Constants that the gateway writes on each request anyway. */
static const char *const written[] = { "x-forwarded-by", "x-forwarded-for",
	"x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
	"x-real-ip", NULL };
/* Names that tell about the user: from the verified token, and only so. */
static const char *const of_users[] = { "x-user-", "x-org-", "x-subscription-",
	"x-authenticated-", "x-auth-request-", NULL };

static void
add_rule(struct loader *l, struct rules *list, const struct rule *r)
{
	struct rule *v = kb_new_array(l->a, list->n + 1, struct rule);

	if (list->n)
		memcpy(v, list->v, list->n * sizeof(*v));
	v[list->n++] = *r;
	list->v = v;
}

/* A name of the gateway's own in a rule; whatever the file says. */
static void
owned_name(struct loader *l, const struct rule *r)
{
	bool sets = l->op >= OP_REPLACE;

	if (sets && r->value.only_claims && is_identity(r->name))
		notice(l->p, l->line,
		    "%s: %s is always set by the gateway itself, from the "
		    "verified token",
		    l->what, r->name);
	else if (sets && r->value.only_claims &&
	    begins_with_any(r->name, of_users))
		add_rule(l, &l->t->claimed, r);
	else if (sets && strcasecmp(r->name, "x-service-name") == 0 &&
	    r->value.n == 1 && r->value.v[0].from == FROM_TEXT)
		l->t->service_name = r->value.v[0].name;
	else if (sets && begins_with_any(r->name, written))
		notice(l->p, l->line,
		    "%s: %s is always set by the gateway itself", l->what,
		    r->name);
	else
		problem(l->p, l->line,
		    "%s: %s belongs to the gateway; only replace and add with "
		    "a $(jwt_claims…) may name X-User-*, X-Org-*, "
		    "X-Subscription-*",
		    l->what, r->name);
}

/* Names that templates set are always set, never a client's: one rule. */
static void
header_rule(struct loader *l, const struct rule *r)
{
	if (l->request && strcasecmp(r->name, "host") == 0 &&
	    l->op == OP_REPLACE) {
		l->t->host = r->value;
		return;
	}
	if (l->request && kb_header_is_owned(r->name, strlen(r->name))) {
		owned_name(l, r);
		return;
	}
	if (!line_name_is_free(r->name) ||
	    (r->to != NULL && !line_name_is_free(r->to))) {
		problem(l->p, l->line,
		    "%s: \"%s\" cannot be changed: names are letters, digits "
		    "and '-', and not those of framing, the connection or the "
		    "gateway",
		    l->what, line_name_is_free(r->name) ? r->to : r->name);
		return;
	}
	add_rule(l, &l->t->of[AREA_HEADERS][l->op], r);
}

static bool
read_value(struct loader *l, const char *value, struct rule *r)
{
	if (l->op == OP_RENAME) {
		r->to = value;
		return true;
	}
	if (!l->request) {
		template_plain(l->a, value, &r->value);
		return true;
	}
	return template_parse(l->p, l->line, l->what, value, &r->value);
}

/* "name" to be removed, "name:value" for the others. */
static bool
read_item(struct loader *l, const char *text, struct rule *r)
{
	const char *colon = strchr(text, ':'), *value = NULL;

	*r = (struct rule) { .name = text };
	if (l->op == OP_REMOVE) {
		if (colon == NULL || l->area != AREA_HEADERS)
			return true;
		problem(
		    l->p, l->line, "%s: \"%s\" must be a name", l->what, text);
		return false;
	}
	if (colon != NULL && colon != text) {
		r->name = kb_strndup(l->a, text, (size_t)(colon - text));
		value = colon + strspn(colon, ":");
	}
	if (value == NULL || (l->op == OP_RENAME && !*value)) {
		problem(l->p, l->line, "%s: \"%s\" must be %s", l->what, text,
		    l->op == OP_RENAME ? "old:new" : "name:value");
		return false;
	}
	return read_value(l, value, r);
}

static void
read_json_type(
    struct loader *l, const struct kb_yaml *types, size_t i, struct rule *r)
{
	static const char *const names[] = { "string", "number", "boolean" };
	const struct kb_yaml *y = types ? types->first : NULL;
	const char *text = r->value.n ? r->value.v[0].name : "";

	while (y != NULL && i--)
		y = y->next;
	if (y == NULL)
		return;
	for (size_t t = 0; t < KB_COUNT(names); t++) {
		if (!kb_str_eq(y->text, names[t]))
			continue;
		r->type = (enum json_type)t;
		if ((t == JSON_BOOLEAN && !kb_str_eq(text, "true") &&
			!kb_str_eq(text, "false")) ||
		    (t == JSON_NUMBER &&
			(kb_json_check(l->a, text, strlen(text)) ||
			    strchr("-0123456789", text[0]) == NULL)))
			problem(l->p, l->line, "%s: \"%s\" is no %s", l->what,
			    text, names[t]);
		return;
	}
	problem(l->p, y->line,
	    "%s: json_types must be string, number or boolean", l->what);
}

static void
read_list(
    struct loader *l, const struct kb_yaml *list, const struct kb_yaml *types)
{
	size_t i = 0;
	struct rule r;

	if (list == NULL || kb_yaml_is_null(list))
		return;
	if (list->kind != KB_YAML_SEQUENCE) {
		problem(l->p, list->line, "%s must be a list", l->what);
		return;
	}
	for (const struct kb_yaml *y = list->first; y; y = y->next, i++) {
		l->line = y->line;
		if (y->kind != KB_YAML_SCALAR || !y->text[0] ||
		    kb_has_control(y->text, strlen(y->text)))
			problem(l->p, y->line,
			    "%s: an item must be a text without control "
			    "characters",
			    l->what);
		else if (!read_item(l, kb_strdup(l->a, y->text), &r))
			continue;
		else if (l->area == AREA_HEADERS)
			header_rule(l, &r);
		else {
			read_json_type(l, types, i, &r);
			add_rule(l, &l->t->of[l->area][l->op], &r);
		}
	}
}

static void
read_uri(struct loader *l, const struct kb_yaml *y)
{
	l->what = kb_sprintf(l->a, "plugin %s: replace.uri", l->use->name);
	if (y == NULL || kb_yaml_is_null(y))
		return;
	if (y->kind != KB_YAML_SCALAR || y->text[0] != '/' ||
	    strpbrk(y->text, "?#") ||
	    kb_has_control(y->text, strlen(y->text))) {
		problem(l->p, y->line,
		    "%s must be a path that begins with '/', without a query",
		    l->what);
		return;
	}
	if (!template_parse(
		l->p, y->line, l->what, kb_strdup(l->a, y->text), &l->t->uri))
		l->t->uri.n = 0;
}

static void
read_op(struct loader *l, const struct kb_yaml *y)
{
	const char *name = op_names[l->op];
	const char *what = kb_sprintf(
	    l->a, "plugin %s: %s", l->use->name, name);
	struct parts parts = { 0 };
	const struct field *table = answer_typed_parts;
	const struct kb_yaml *lists[AREAS];
	const char *const names[AREAS] = { "headers", "querystring",
		l->request ? "body" : "json" };

	if (l->request)
		table = l->op == OP_REPLACE ? request_replace_parts
					    : request_parts;
	else if (l->op < OP_REPLACE)
		table = answer_parts;
	fields_read(l->p, y, table, &parts, what);
	lists[AREA_HEADERS] = parts.headers;
	lists[AREA_QUERY] = parts.querystring;
	lists[AREA_BODY] = l->request ? parts.body : parts.json;
	for (int area = 0; area < AREAS; area++) {
		l->area = (enum area)area;
		l->what = kb_sprintf(l->a, "%s.%s", what, names[area]);
		read_list(l, lists[area],
		    area == AREA_BODY ? parts.json_types : NULL);
	}
	read_uri(l, parts.uri);
}

void
transform_load(struct problems *p, const struct plugin_use *use,
    const struct transform_nodes *nodes, bool request, struct transform *out)
{
	struct loader l = {
		.p = p,
		.a = problems_arena(p),
		.use = use,
		.t = out,
		.request = request,
	};

	for (int op = 0; op < OPS; op++) {
		l.op = (enum op)op;
		if (nodes->of[op] != NULL && !kb_yaml_is_null(nodes->of[op]))
			read_op(&l, nodes->of[op]);
	}
}

bool
transform_has(const struct transform *t, enum area area)
{
	for (int op = 0; op < OPS; op++)
		if (t->of[area][op].n)
			return true;
	return false;
}

/* ---- applying ------------------------------------------------------------ */

struct work {
	const struct originals *o;
	struct kb_arena *a;
	struct lines *l;
	enum text_kind kind;
};

static bool
is_name(const struct work *w, struct kb_slice name, const char *want)
{
	return w->kind == TEXT_HEADERS ? kb_slice_eqi(name, want)
				       : kb_slice_eq(name, want);
}

static struct line *
find(const struct work *w, const char *name)
{
	for (size_t i = 0; i < w->l->n; i++)
		if (is_name(w, w->l->v[i].name, name))
			return &w->l->v[i];
	return NULL;
}

/* All of that name but the one at `keep`. */
static void
drop(struct work *w, const char *name, const struct line *keep)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->l->n; i++)
		if (&w->l->v[i] == keep || !is_name(w, w->l->v[i].name, name))
			w->l->v[kept++] = w->l->v[i];
	w->l->n = kept;
}

static struct kb_slice
taken(struct kb_arena *a, struct kb_buf *b)
{
	struct kb_slice s = { kb_strndup(a, kb_buf_str(b), b->len), b->len };

	kb_buf_free(b);
	return s;
}

/* A value as it stands in such a text. */
static struct kb_slice
written_as(const struct work *w, const struct rule *r, const char *text)
{
	struct kb_buf b;
	struct kb_jsonw json;

	if (w->kind == TEXT_HEADERS ||
	    (w->kind == TEXT_JSON && r->type != JSON_STRING))
		return kb_slice_of(text);
	kb_buf_init(&b, 1 << 20);
	if (w->kind == TEXT_FORM) {
		kb_buf_addc(&b, '=');
		kb_percent_encode(&b, text, "");
	} else {
		kb_w_init(&json, &b);
		kb_w_str(&json, NULL, text);
	}
	return taken(w->a, &b);
}

static void
rename_all(struct work *w, const struct rule *r)
{
	struct lines found = { .arena = w->a };

	if (find(w, r->name) == NULL)
		return;
	for (size_t i = 0; i < w->l->n; i++)
		if (is_name(w, w->l->v[i].name, r->name))
			lines_add(&found, kb_slice_of(r->to), w->l->v[i].value);
	drop(w, r->name, NULL);
	drop(w, r->to, NULL);
	for (size_t i = 0; i < found.n; i++)
		lines_add(w->l, found.v[i].name, found.v[i].value);
}

/* [old, new], or one more element of what is an array already. */
static struct kb_slice
json_appended(struct work *w, struct kb_slice old, struct kb_slice value)
{
	struct kb_buf b;
	bool array = old.len >= 2 && old.ptr[0] == '[';
	size_t n = array ? old.len - 1 : old.len;
	bool empty = true;

	for (size_t i = 1; array && i < n && empty; i++)
		empty = strchr(" \t\r\n", old.ptr[i]) != NULL;
	kb_buf_init(&b, 16 << 20);
	if (!array)
		kb_buf_addc(&b, '[');
	kb_buf_add(&b, old.ptr, n);
	if (old.len && !(array && empty))
		kb_buf_addc(&b, ',');
	kb_buf_add(&b, value.ptr, value.len);
	kb_buf_addc(&b, ']');
	return taken(w->a, &b);
}

static void
append(struct work *w, const struct rule *r, struct kb_slice value)
{
	struct line *at = w->kind == TEXT_JSON ? find(w, r->name) : NULL;
	struct kb_slice none = { "", 0 };

	if (w->kind == TEXT_JSON)
		value = json_appended(w, at ? at->value : none, value);
	if (at)
		at->value = value;
	else
		lines_add(w->l, kb_slice_of(r->name), value);
}

/* What comes from the token is always set, or is not there at all. */
static void
claim(struct work *w, const struct rule *r, const char *text, bool absent)
{
	drop(w, r->name, NULL);
	if (!absent)
		lines_add(w->l, kb_slice_of(r->name), written_as(w, r, text));
}

static void
apply_value(struct work *w, enum op op, const struct rule *r)
{
	bool absent = false;
	const char *text = template_value(&r->value, w->o, &absent);
	struct line *at;

	if (r->value.claims && op != OP_APPEND) {
		claim(w, r, text, absent);
		return;
	}
	if (absent)
		return;
	at = find(w, r->name);
	if (op == OP_APPEND)
		append(w, r, written_as(w, r, text));
	else if (op == OP_ADD && at == NULL)
		lines_add(w->l, kb_slice_of(r->name), written_as(w, r, text));
	else if (op == OP_REPLACE && at != NULL) {
		at->value = written_as(w, r, text);
		drop(w, r->name, at);
	}
}

void
transform_apply(const struct transform *t, enum area area, enum text_kind kind,
    const struct originals *o, struct lines *lines)
{
	struct work w = {
		.o = o,
		.a = lines->arena,
		.l = lines,
		.kind = kind,
	};

	for (int op = 0; op < OPS; op++) {
		const struct rules *rules = &t->of[area][op];

		for (size_t i = 0; i < rules->n; i++) {
			const struct rule *r = &rules->v[i];

			if (op == OP_REMOVE)
				drop(&w, r->name, NULL);
			else if (op == OP_RENAME)
				rename_all(&w, r);
			else
				apply_value(&w, (enum op)op, r);
		}
	}
}
