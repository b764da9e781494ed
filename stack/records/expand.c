/*
 * ?expand=author,comments_via_post.user: the records that records refer to,
 * one statement a relation, as far as their own view rules allow.
 */
#include <string.h>

#include <kombi/str.h>

#include "auth.h"

#define EXPAND_DEPTH 6
#define EXPAND_PATHS 40

struct level {
	const struct api *api;
	struct kb_cx *cx;
	struct record **rows;
	size_t n;
	const char *name; /* of this step */
};

/* ---- ids
 * ----------------------------------------------------------------------------
 */

struct ids {
	const char **items;
	size_t n, room;
};

static void
ids_add(struct kb_arena *a, struct ids *ids, const char *id)
{
	const char **grown;

	if (id == NULL || id[0] == '\0')
		return;
	if (ids->n == ids->room) {
		ids->room = ids->room ? 2 * ids->room : 32;
		grown = kb_new_array(a, ids->room, const char *);
		for (size_t i = 0; i < ids->n; i++)
			grown[i] = ids->items[i];
		ids->items = grown;
	}
	ids->items[ids->n++] = id;
}

static union cell
cell_of(const struct record *r, const struct field *f)
{
	return r->cells[f - r->c->fields];
}

static const char *const *
ids_of(struct kb_arena *a, const struct record *r, const struct field *f,
    size_t *n)
{
	const char *text = cell_of(r, f).text;
	const char **one;

	if (field_is_multi(f))
		return value_list(a, text, n);
	one = kb_new_array(a, 1, const char *);
	one[0] = text ? text : "";
	*n = one[0][0] != '\0';
	return one;
}

/* ---- hanging records on records
 * --------------------------------------------------------- */

static struct expanded *
hang(struct kb_arena *a, struct record *r, const char *name, bool list,
    size_t room)
{
	struct expanded *e;

	for (e = r->expanded; e != NULL; e = e->next)
		if (strcmp(e->name, name) == 0)
			return e; /* author and author.team share it */
	e = kb_new(a, struct expanded);
	*e = (struct expanded) {
		.name = name,
		.list = list,
		.records = kb_new_array(a, room + 1, struct record *),
		.next = r->expanded,
	};
	r->expanded = e;
	return e;
}

static struct expanded *
hanging(const struct record *r, const char *name)
{
	struct expanded *e = r->expanded;

	while (e != NULL && strcmp(e->name, name) != 0)
		e = e->next;
	return e;
}

static struct record *
find_record(struct record **rows, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(record_id_of(rows[i]), id) == 0)
			return rows[i];
	return NULL;
}

/* With the view rule over there; false: nothing may be seen. */
static bool
start_query(const struct level *l, struct query *q, const struct collection *c)
{
	query_init(q, l->api, c);
	if (!query_rule(q, c->rules[RULE_VIEW]))
		return false;
	for (size_t i = 0; i < l->n; i++)
		l->rows[i]->expands = true;
	return true;
}

/* ---- a step
 * -----------------------------------------------------------------------------
 */

static enum kb_err
step_relation(const struct level *l, const struct field *f)
{
	struct kb_arena *a = l->cx->arena;
	const struct collection *to = schema_find(
	    l->api->schema, f->collection_id);
	struct ids all = { 0 };
	struct record **found;
	struct query q;
	size_t n_found, n;
	enum kb_err err;

	for (size_t i = 0; i < l->n; i++) {
		const char *const *ids = ids_of(a, l->rows[i], f, &n);

		for (size_t k = 0; k < n; k++)
			ids_add(a, &all, ids[k]);
	}
	if (to == NULL || !start_query(l, &q, to) || all.n == 0)
		return KB_OK;
	err = records_by_ids(
	    l->cx, &q, value_list_text(a, all.items, all.n), &found, &n_found);
	for (size_t i = 0; !err && i < l->n; i++) {
		const char *const *ids = ids_of(a, l->rows[i], f, &n);

		for (size_t k = 0; k < n; k++) {
			struct record *r = find_record(found, n_found, ids[k]);
			struct expanded *e;

			if (r == NULL)
				continue;
			e = hang(a, l->rows[i], l->name, field_is_multi(f), n);
			e->records[e->n++] = r;
		}
	}
	return err;
}

static bool
refers_to(struct kb_arena *a, const struct record *r, const struct field *f,
    const char *id)
{
	size_t n;
	const char *const *ids = ids_of(a, r, f, &n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

static bool
is_unique(struct kb_arena *a, const struct collection *c, const char *name)
{
	struct index x;

	for (size_t i = 0; c->indexes[i] != NULL; i++)
		if (index_parse(a, c->indexes[i], &x) && x.unique && x.n == 1 &&
		    strcmp(x.columns[0], name) == 0)
			return true;
	return false;
}

static enum kb_err
step_back(const struct level *l, const char *via)
{
	struct kb_arena *a = l->cx->arena;
	const struct collection *from = schema_find(
	    l->api->schema, kb_strndup(a, l->name, (size_t)(via - l->name)));
	const struct field *f = from ? collection_field(from, via + 5) : NULL;
	struct ids all = { 0 };
	struct record **found;
	struct query q;
	size_t n;
	bool list;
	enum kb_err err;

	if (f == NULL || f->type != FT_RELATION ||
	    (f->hidden && !l->api->superuser) ||
	    strcmp(f->collection_id, l->rows[0]->c->id) != 0 ||
	    !start_query(l, &q, from))
		return KB_OK;
	list = field_is_multi(f) || !is_unique(a, from, f->name);
	for (size_t i = 0; i < l->n; i++)
		ids_add(a, &all, record_id_of(l->rows[i]));
	err = records_referring(
	    l->cx, &q, f, value_list_text(a, all.items, all.n), &found, &n);
	for (size_t i = 0; !err && i < l->n; i++)
		for (size_t k = 0; k < n; k++)
			if (refers_to(
				a, found[k], f, record_id_of(l->rows[i]))) {
				struct expanded *e = hang(
				    a, l->rows[i], l->name, list, n);

				e->records[e->n++] = found[k];
			}
	return err;
}

/* All records one step further, each once. */
static struct record **
gather(const struct level *l, size_t *n)
{
	struct record **all;
	size_t room = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct expanded *e = hanging(l->rows[i], l->name);

		room += e ? e->n : 0;
	}
	all = kb_new_array(l->cx->arena, room + 1, struct record *);
	*n = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct expanded *e = hanging(l->rows[i], l->name);

		for (size_t k = 0; e != NULL && k < e->n; k++)
			if (find_record(all, *n, record_id_of(e->records[k])) ==
			    NULL)
				all[(*n)++] = e->records[k];
	}
	return all;
}

static enum kb_err
step(const struct level *l)
{
	const struct field *f = collection_field(l->rows[0]->c, l->name);
	const char *via = strstr(l->name, "_via_");

	for (size_t i = 0; i < l->n; i++)
		if (hanging(l->rows[i], l->name) != NULL)
			return KB_OK; /* an earlier path went this way */
	if (f != NULL && f->type == FT_RELATION &&
	    (!f->hidden || l->api->superuser))
		return step_relation(l, f);
	return via != NULL && f == NULL ? step_back(l, via) : KB_OK;
}

static enum kb_err
expand_path(struct level l, struct kb_slice path)
{
	struct kb_slice part;
	struct level next;
	enum kb_err err = KB_OK;

	for (int depth = 0; !err && depth < EXPAND_DEPTH && l.n > 0 &&
	     kb_slice_next(&path, '.', &part);
	     depth++) {
		l.name = kb_slice_dup(l.cx->arena, kb_slice_trim(part));
		err = step(&l);
		if (err)
			break;
		next = l;
		next.rows = gather(&l, &next.n);
		l = next;
	}
	return err;
}

/* What cannot be expanded is left out, as upstream. */
enum kb_err
records_expand(const struct api *api, struct kb_cx *cx, struct record **rows,
    size_t n, const char *expand)
{
	struct level l = { .api = api, .cx = cx, .rows = rows, .n = n };
	struct kb_slice rest = kb_slice_of(expand ? expand : ""), path;
	enum kb_err err = auth_mark_managed(api, cx, rows, n);

	for (int i = 0; !err && i < EXPAND_PATHS && n > 0 && rest.len > 0 &&
	     kb_slice_next(&rest, ',', &path);
	     i++)
		err = expand_path(l, path);
	return err;
}
