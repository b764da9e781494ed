/*
 * Views: collections whose records are the rows of a query. SQLite says which
 * columns a query has and where they come from, and that it reads collections
 * and does nothing else; only for what is computed its text is looked at.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "collections.h"

#define ITEMS 200

/* ---- what may be read -----------------------------------------------------
 */

static const struct collection *
by_table(const struct schema *s, const char *table)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcasecmp(s->collections[i].table, table) == 0)
			return &s->collections[i];
	return NULL;
}

/* Rows of collections; of those that sign in neither hash nor key. */
static bool
may_read(void *arg, const char *table, const char *column)
{
	const struct api *api = arg;
	const struct collection *c = by_table(api->schema, table);
	const struct field *f;

	if (c == NULL || column[0] == '\0')
		return c != NULL;
	f = collection_field(c, column);
	return f != NULL && !(c->auth && f->system && f->hidden);
}

/* ---- the text of what is selected ------------------------------------------
 */

struct items {
	const char *at[ITEMS];
	size_t n;
};

static const char *
skip_quoted(const char *s)
{
	char end = *s == '[' ? ']' : *s;
	const char *close = strchr(s + 1, end);

	return close ? close + 1 : s + strlen(s);
}

static bool
word_at(const char *s, const char *before, const char *word)
{
	size_t len = strlen(word);

	return (before == s || !isalnum((unsigned char)s[-1])) &&
	    strncasecmp(s, word, len) == 0 && !isalnum((unsigned char)s[len]) &&
	    s[len] != '_';
}

/* Begins of the items of the outermost SELECT. */
static void
find_items(const char *query, struct items *out)
{
	const char *s = query;
	int depth = 0;

	out->n = 0;
	while (*s != '\0' && !(depth == 0 && word_at(s, query, "SELECT")))
		if (strchr("'\"`[", *s) != NULL) {
			s = skip_quoted(s);
		} else {
			depth += *s == '(' ? 1 : *s == ')' ? -1 : 0;
			s++;
		}
	if (*s == '\0')
		return;
	s += 6;
	s += strspn(s, " \t\r\n");
	if (word_at(s, query, "DISTINCT"))
		s += 8;
	out->at[out->n++] = s;
	for (; *s != '\0' && !(depth == 0 && word_at(s, query, "FROM"));) {
		if (strchr("'\"`[", *s) != NULL) {
			s = skip_quoted(s);
			continue;
		}
		depth += *s == '(' ? 1 : *s == ')' ? -1 : 0;
		if (depth == 0 && *s == ',' && out->n < ITEMS)
			out->at[out->n++] = s + 1;
		s++;
	}
}

/* The type in "cast(… as TYPE)", lower case; NULL: it is no cast. */
static const char *
cast_type(struct kb_arena *a, const char *item)
{
	const char *end = item, *as;
	int depth = 0;

	if (strncasecmp(item, "cast(", 5) != 0)
		return NULL;
	for (end = item + 4; *end != '\0'; end++) {
		depth += *end == '(' ? 1 : *end == ')' ? -1 : 0;
		if (depth == 0)
			break;
	}
	item = kb_str_lower(a, kb_strndup(a, item, (size_t)(end - item)));
	as = strrchr(item, ' ');
	return as ? as + 1 : NULL;
}

static bool
one_of(const char *word, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, word) == 0)
			return true;
	return false;
}

static struct field
computed(struct kb_arena *a, const char *item)
{
	static const char *const whole[] = { "int", "integer", NULL };
	static const char *const real[] = { "real", "decimal", "numeric",
		NULL };
	static const char *const flag[] = { "bool", "boolean", NULL };
	struct field f = { .type = FT_JSON, .max_size = 1 };
	const char *type;

	item += strspn(item, " \t\r\n");
	type = cast_type(a, item);
	if (strncasecmp(item, "count(", 6) == 0 ||
	    (type != NULL && one_of(type, whole))) {
		f.type = FT_NUMBER;
		f.only_int = true;
	} else if (strncasecmp(item, "total(", 6) == 0 ||
	    (type != NULL && one_of(type, real))) {
		f.type = FT_NUMBER;
	} else if (type != NULL && one_of(type, flag)) {
		f.type = FT_BOOL;
	} else if (kb_str_eq(type, "text")) {
		f.type = FT_TEXT;
	}
	if (f.type != FT_JSON)
		f.max_size = 0;
	return f;
}

/* ---- fields
 * ------------------------------------------------------------------ */

static struct field
id_of_view(void)
{
	return (struct field) { .type = FT_TEXT,
		.system = true,
		.required = true,
		.primary_key = true,
		.pattern = "^[a-z0-9]+$" };
}

static struct field
field_of(struct api *api, const struct kb_db_column *col, const char *item)
{
	struct kb_arena *a = api->req->cx.arena;
	const struct collection *c = col->table
	    ? by_table(api->schema, col->table)
	    : NULL;
	const struct field *from = c && col->origin
	    ? collection_field(c, col->origin)
	    : NULL;
	bool own = from == NULL || strcmp(col->name, "id") == 0;
	struct field f;

	if (strcmp(col->name, "id") == 0) {
		f = id_of_view();
	} else if (from == NULL) {
		f = computed(a, item);
	} else if (from->primary_key) {
		f = (struct field) { .type = FT_RELATION,
			.max_select = 1,
			.collection_id = c->id };
	} else {
		f = *from;
	}
	f.name = col->name;
	f.help = "";
	f.id = hashed_id(
	    a, own ? field_type_name(f.type) : "_clone_", col->name);
	if (f.pattern == NULL)
		f.pattern = "";
	if (f.generate == NULL)
		f.generate = "";
	return f;
}

static const char *
judge(const struct kb_db_column *cols, size_t n, const struct items *items)
{
	bool id = false;

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < i; k++)
			if (strcasecmp(cols[i].name, cols[k].name) == 0)
				return "two columns have the same name";
		id = id || strcmp(cols[i].name, "id") == 0;
	}
	if (n != items->n)
		return "dynamic column names are not supported";
	if (!id)
		return "missing required id column (you can use"
		       " `(ROW_NUMBER() OVER()) as id` if you don't have one)";
	return NULL;
}

bool
view_fields(struct api *api, struct kb_cx *cx, const char *query,
    struct collection *c, const char **why)
{
	struct kb_arena *a = api->req->cx.arena;
	struct kb_db_described d = { .may_read = may_read, .arg = api };
	struct items items;

	if (kb_db_describe(cx, query, &d)) {
		*why = d.why ? d.why : "it cannot be judged now";
		return false;
	}
	find_items(query, &items);
	*why = judge(d.cols, d.n, &items);
	c->fields = kb_new_array(a, d.n, struct field);
	c->n_fields = d.n == items.n ? d.n : 0;
	if (*why != NULL)
		return false;
	for (size_t i = 0; i < d.n; i++)
		c->fields[i] = field_of(api, &d.cols[i], items.at[i]);
	return true;
}

/* The query names what has another name now; the view, which SQLite keeps
 * right, still gives the same columns. */
static bool
still_right(struct api *api, struct kb_cx *cx, const struct collection *c)
{
	struct kb_db_described d = { .may_read = may_read, .arg = api };
	const char *query = view_everything(cx->arena, c);

	if (kb_db_describe(cx, query, &d) || d.n != c->n_fields)
		return false;
	for (size_t i = 0; i < d.n; i++)
		if (strcmp(d.cols[i].name, c->fields[i].name) != 0)
			return false;
	return true;
}

static bool
same_fields(const struct collection *a, const struct collection *b)
{
	bool same = a->n_fields == b->n_fields;
	struct kb_jsonw wa, wb;
	struct kb_buf x, y;

	kb_buf_init(&x, 4u << 20);
	kb_buf_init(&y, 4u << 20);
	kb_w_init(&wa, &x);
	kb_w_init(&wb, &y);
	kb_w_array(&wa, NULL);
	kb_w_array(&wb, NULL);
	for (size_t i = 0; same && i < a->n_fields; i++) {
		field_write(&wa, &a->fields[i]);
		field_write(&wb, &b->fields[i]);
	}
	kb_w_array_end(&wa);
	kb_w_array_end(&wb);
	same = same && strcmp(kb_buf_str(&x), kb_buf_str(&y)) == 0;
	kb_buf_free(&x);
	kb_buf_free(&y);
	return same;
}

enum kb_err
views_refresh(
    struct api *api, struct kb_cx *cx, const struct schema *s, const char **why)
{
	struct api as = *api;
	enum kb_err err = KB_OK;

	as.schema = s;
	for (size_t i = 0; !err && i < s->n; i++) {
		const struct collection *was = &s->collections[i];
		struct collection c = *was;

		if (was->type != CT_VIEW)
			continue;
		if (!view_fields(&as, cx, c.view_query, &c, why)) {
			if (still_right(&as, cx, was))
				continue;
			*why = kb_sprintf(cx->arena, "%s: %s", c.name, *why);
			return KB_INVALID;
		}
		if (!same_fields(was, &c))
			err = collection_alter(cx, was, &c);
	}
	return err;
}
