/*
 * Reads YAML mappings into structs by tables, and collects what is wrong with
 * a file: every problem with its line, unknown names with the nearest known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

enum { PROBLEMS_MAX = 200, TEXT_MAX = 4096 };

static void
add(struct problems *p, unsigned line, bool error, const char *text)
{
	if (error)
		p->errors++;
	if (p->n == PROBLEMS_MAX)
		return;
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 16;
		struct problem *v = kb_new_array(p->arena, cap, struct problem);

		if (p->n)
			memcpy(v, p->v, p->n * sizeof(*v));
		p->v = v;
		p->cap = cap;
	}
	p->v[p->n] = (struct problem) {
		.line = line,
		.order = (unsigned)p->n,
		.error = error,
		.text = text,
		.about = p->about,
		.field = p->field,
		.entity = p->entity,
	};
	p->n++;
}

void
problem(struct problems *p, unsigned line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(p, line, true, kb_vsprintf(p->arena, fmt, ap));
	va_end(ap);
}

void
notice(struct problems *p, unsigned line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(p, line, false, kb_vsprintf(p->arena, fmt, ap));
	va_end(ap);
}

bool
problems_any(const struct problems *p)
{
	return p->errors > 0;
}

struct kb_arena *
problems_arena(struct problems *p)
{
	return p->arena;
}

const struct gateway_defaults *
problems_defaults(const struct problems *p)
{
	return &p->defaults;
}

static int
by_line(const void *a, const void *b)
{
	const struct problem *p = a, *q = b;

	if (p->line != q->line)
		return p->line < q->line ? -1 : 1;
	return p->order < q->order ? -1 : p->order > q->order;
}

void
problems_print(const struct problems *p, bool notices, struct kb_buf *out)
{
	if (p->n > 1)
		qsort(p->v, p->n, sizeof(*p->v), by_line);
	for (size_t i = 0; i < p->n; i++) {
		const struct problem *at = &p->v[i];

		if (!at->error && !notices)
			continue;
		kb_buf_adds(out, p->file);
		if (at->line)
			kb_buf_addf(out, ":%u", at->line);
		kb_buf_addf(
		    out, ": %s%s\n", at->error ? "" : "note: ", at->text);
	}
	if (p->errors > PROBLEMS_MAX)
		kb_buf_addf(out, "%s: %zu errors, the first %d are shown\n",
		    p->file, p->errors, PROBLEMS_MAX);
}

/* ---- nearest name -------------------------------------------------------- */

enum { NAME_MAX_CMP = 48 };

static unsigned
least(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein distance, 99 for names that are too long to be a slip. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_CMP + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > NAME_MAX_CMP || m > NAME_MAX_CMP)
		return 99;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned up = row[j];

			row[j] = least(up + 1, row[j - 1] + 1,
			    diagonal + (a[i - 1] != b[j - 1]));
			diagonal = up;
		}
	}
	return row[m];
}

static const struct field *
nearest(const struct field *table, const char *name)
{
	const struct field *best = NULL;
	unsigned least_so_far = strlen(name) > 5 ? 4 : 3;

	for (const struct field *f = table; f->kind != FIELD_END; f++) {
		unsigned d = distance(name, f->name);

		if (d < least_so_far) {
			least_so_far = d;
			best = f;
		}
	}
	return best;
}

/* ---- values -------------------------------------------------------------- */

struct reading {
	struct problems *p;
	const struct kb_yaml *value;
	const struct field *field;
	const char *what;
	void *at;
};

static void
refuse(const struct reading *r, const struct kb_yaml *y, const char *expected)
{
	problem(r->p, y->line, "%s: %s %s", r->what, r->field->name, expected);
}

static bool
clean_text(const struct reading *r, const struct kb_yaml *y)
{
	if (y->kind != KB_YAML_SCALAR || (y->plain && kb_yaml_is_null(y))) {
		refuse(r, y, "must be text");
		return false;
	}
	if (strlen(y->text) > TEXT_MAX ||
	    kb_has_control(y->text, strlen(y->text))) {
		refuse(r, y, "is too long or holds control characters");
		return false;
	}
	if (!y->text[0] && !r->field->empty) {
		refuse(r, y, "must not be empty");
		return false;
	}
	return true;
}

static void
read_str(const struct reading *r)
{
	if (clean_text(r, r->value))
		*(const char **)r->at = kb_strdup(r->p->arena, r->value->text);
}

static bool
read_number(const struct reading *r, const struct kb_yaml *y, int64_t *out)
{
	const struct field *f = r->field;

	if (y->kind != KB_YAML_SCALAR || !kb_yaml_int(y, out)) {
		refuse(r, y, "must be a whole number");
		return false;
	}
	if (*out >= f->min && (f->max == 0 || *out <= f->max))
		return true;
	if (f->max)
		problem(r->p, y->line, "%s: %s must be %lld to %lld", r->what,
		    f->name, (long long)f->min, (long long)f->max);
	else
		problem(r->p, y->line, "%s: %s must be at least %lld", r->what,
		    f->name, (long long)f->min);
	return false;
}

static void
read_int(const struct reading *r)
{
	int64_t n;

	if (read_number(r, r->value, &n))
		*(int64_t *)r->at = n;
}

static void
read_bool(const struct reading *r)
{
	bool b;

	if (r->value->kind != KB_YAML_SCALAR || !kb_yaml_bool(r->value, &b))
		refuse(r, r->value, "must be true or false");
	else
		*(bool *)r->at = b;
}

static void
read_enum(const struct reading *r)
{
	const char *const *choices = r->field->choices;
	struct kb_buf list;

	if (!clean_text(r, r->value))
		return;
	for (int i = 0; choices[i] != NULL; i++) {
		if (kb_str_eq(choices[i], r->value->text)) {
			*(int *)r->at = i;
			return;
		}
	}
	kb_buf_init(&list, 1024);
	for (int i = 0; choices[i] != NULL; i++)
		kb_buf_addf(&list, "%s%s", i ? ", " : "", choices[i]);
	problem(r->p, r->value->line, "%s: %s \"%s\" is not one of: %s",
	    r->what, r->field->name, r->value->text, kb_buf_str(&list));
	kb_buf_free(&list);
}

static void
split_text(const struct reading *r, struct strs *out)
{
	struct kb_slice rest = kb_slice_of(r->value->text), part;
	size_t n = 1;
	const char **v;

	for (const char *c = r->value->text; *c; c++)
		n += *c == ',';
	v = kb_new_array(r->p->arena, n, const char *);
	n = 0;
	while (kb_slice_next(&rest, ',', &part)) {
		part = kb_slice_trim(part);
		if (part.len)
			v[n++] = kb_slice_dup(r->p->arena, part);
	}
	*out = (struct strs) { .v = v, .n = n };
}

static void
read_strs(const struct reading *r)
{
	const struct kb_yaml *y;
	const char **v;
	size_t n = 0;

	if (r->value->kind == KB_YAML_SCALAR) {
		if (kb_yaml_is_null(r->value) || !clean_text(r, r->value))
			return;
		split_text(r, r->at);
		return;
	}
	if (r->value->kind != KB_YAML_SEQUENCE) {
		refuse(r, r->value, "must be a list");
		return;
	}
	v = kb_new_array(r->p->arena, r->value->n + 1, const char *);
	for (y = r->value->first; y != NULL; y = y->next)
		if (clean_text(r, y))
			v[n++] = kb_strdup(r->p->arena, y->text);
	*(struct strs *)r->at = (struct strs) { .v = v, .n = n };
}

static void
read_ints(const struct reading *r)
{
	int64_t *v;
	size_t n = 0;

	if (r->value->kind != KB_YAML_SEQUENCE) {
		refuse(r, r->value, "must be a list of numbers");
		return;
	}
	v = kb_new_array(r->p->arena, r->value->n + 1, int64_t);
	for (const struct kb_yaml *y = r->value->first; y != NULL; y = y->next)
		if (read_number(r, y, &v[n]))
			n++;
	*(struct ints *)r->at = (struct ints) { .v = v, .n = n };
}

static void
read_node(const struct reading *r)
{
	*(const struct kb_yaml **)r->at = r->value;
}

static void
read_skip(const struct reading *r)
{
	(void)r;
}

static void
read_note(const struct reading *r)
{
	notice(r->p, r->value->key_line, "%s: %s: %s", r->what, r->field->name,
	    r->field->why);
}

static void
read_later(const struct reading *r)
{
	problem(r->p, r->value->key_line, "%s: %s is not implemented: %s",
	    r->what, r->field->name, r->field->why);
}

static void (*const readers[])(const struct reading *r) = {
	[FIELD_STR] = read_str,
	[FIELD_INT] = read_int,
	[FIELD_BOOL] = read_bool,
	[FIELD_ENUM] = read_enum,
	[FIELD_STRS] = read_strs,
	[FIELD_INTS] = read_ints,
	[FIELD_NODE] = read_node,
	[FIELD_SKIP] = read_skip,
	[FIELD_NOTE] = read_note,
	[FIELD_LATER] = read_later,
};

static const struct field *
field_named(const struct field *table, const char *name)
{
	for (const struct field *f = table; f->kind != FIELD_END; f++)
		if (kb_str_eq(f->name, name))
			return f;
	return NULL;
}

static void
read_member(struct problems *p, const struct kb_yaml *y,
    const struct field *table, void *into, const char *what)
{
	const struct field *f = field_named(table, y->key);
	const struct field *near;

	if (f == NULL) {
		p->field = y->key;
		near = nearest(table, y->key);
		if (near != NULL)
			problem(p, y->key_line,
			    "%s: unknown field \"%s\", did you mean \"%s\"?",
			    what, y->key, near->name);
		else
			problem(p, y->key_line, "%s: unknown field \"%s\"",
			    what, y->key);
		p->field = NULL;
		return;
	}
	/* null is Kong's way to say "not set". */
	if (kb_yaml_is_null(y) && f->kind != FIELD_NODE)
		return;
	p->field = f->name;
	readers[f->kind](&(struct reading) {
	    .p = p,
	    .value = y,
	    .field = f,
	    .what = what,
	    .at = (char *)into + f->offset,
	});
	p->field = NULL;
}

void
fields_read(struct problems *p, const struct kb_yaml *map,
    const struct field *table, void *into, const char *what)
{
	if (kb_yaml_is_null(map))
		map = NULL;
	if (map != NULL && map->kind != KB_YAML_MAPPING) {
		problem(p, map->line, "%s must be a mapping", what);
		return;
	}
	for (const struct kb_yaml *y = map ? map->first : NULL; y != NULL;
	     y = y->next)
		if (y->key[0] != '_' || field_named(table, y->key) != NULL)
			read_member(p, y, table, into, what);
		else if (!kb_str_eq(y->key, "_comment") &&
		    !kb_str_eq(y->key, "_ignore"))
			problem(p, y->key_line, "%s: unknown field \"%s\"",
			    what, y->key);
	for (const struct field *f = table; f->kind != FIELD_END; f++)
		if (f->required &&
		    (map == NULL || kb_yaml_get(map, f->name) == NULL)) {
			p->field = f->name;
			problem(p, map ? map->line : 0, "%s: %s is required",
			    what, f->name);
			p->field = NULL;
		}
}
