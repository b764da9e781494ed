/* Records as JSON: what the caller may see of them, as far as ?fields= asks. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "records.h"

#define PICK_DEPTH 8

/* ---- fields
 * ------------------------------------------------------------------------- */

struct pick {
	const char *name; /* "*": any */
	struct picker *inner;
	int64_t excerpt; /* characters, -1: all */
	bool ellipsis;
	struct pick *next;
};

struct picker {
	struct pick *first;
};

static struct pick *
pick_get(struct kb_arena *a, struct picker *p, const char *name)
{
	struct pick **at = &p->first;

	while (*at != NULL && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	if (*at == NULL) {
		*at = kb_new(a, struct pick);
		(*at)->name = name;
		(*at)->excerpt = -1;
	}
	return *at;
}

/* "name:excerpt(200,true)" */
static void
read_excerpt(struct pick *pick, const char *modifier)
{
	char *end;

	if (!kb_str_starts(modifier, "excerpt("))
		return;
	pick->excerpt = strtol(modifier + 8, &end, 10);
	pick->ellipsis = strstr(end, "true") != NULL;
}

static void
read_path(struct kb_arena *a, struct picker *p, char *path)
{
	char *modifier = strchr(path, ':'), *dot;
	struct pick *pick;
	unsigned depth = 0;

	if (modifier != NULL)
		*modifier++ = '\0';
	for (;;) {
		dot = strchr(path, '.');
		if (dot != NULL)
			*dot = '\0';
		pick = pick_get(a, p, path);
		if (dot == NULL || ++depth == PICK_DEPTH)
			break;
		if (pick->inner == NULL)
			pick->inner = kb_new(a, struct picker);
		p = pick->inner;
		path = dot + 1;
	}
	if (modifier != NULL)
		read_excerpt(pick, modifier);
}

struct picker *
picker_parse(struct kb_arena *a, const char *fields)
{
	struct picker *p = kb_new(a, struct picker);
	struct kb_slice rest = kb_slice_of(fields ? fields : ""), part;

	/* Commas in the brackets of a modifier part nothing. */
	while (rest.len > 0 && kb_slice_next(&rest, ',', &part)) {
		char *path = kb_slice_dup(a, kb_slice_trim(part));

		if (strchr(path, '(') != NULL && strchr(path, ')') == NULL &&
		    kb_slice_next(&rest, ',', &part))
			path = kb_sprintf(
			    a, "%s,%s", path, kb_slice_dup(a, part));
		if (path[0] != '\0')
			read_path(a, p, path);
	}
	return p->first ? p : NULL;
}

/* The pick of that name; `everything` when nothing was asked for. */
static const struct pick *
pick_of(const struct picker *p, const char *name)
{
	static const struct pick everything = { .excerpt = -1 };
	const struct pick *any = NULL;

	if (p == NULL)
		return &everything;
	for (const struct pick *k = p->first; k != NULL; k = k->next) {
		if (strcmp(k->name, name) == 0)
			return k;
		if (strcmp(k->name, "*") == 0)
			any = &everything;
	}
	return any;
}

bool
picker_wants(
    const struct picker *p, const char *name, const struct picker **inner)
{
	const struct pick *pick = pick_of(p, name);

	*inner = pick ? pick->inner : NULL;
	return pick != NULL;
}

/* ---- values
 * ---------------------------------------------------------------------------
 */

/* Plain text of so many characters: tags go, blanks are folded. */
static void
write_excerpt(struct kb_jsonw *w, const char *name, const char *text,
    const struct pick *pick)
{
	struct kb_buf b;
	int64_t n = 0;
	bool tag = false, blank = true;

	kb_buf_init(&b, 1u << 20);
	for (; *text != '\0' && n <= pick->excerpt; text++) {
		unsigned char c = (unsigned char)*text;

		tag = c == '<' || (tag && c != '>');
		if (tag || c == '>' || (blank && isspace(c)))
			continue;
		blank = isspace(c);
		n += (c & 0xc0) != 0x80;
		if (n <= pick->excerpt)
			kb_buf_addc(&b, blank ? ' ' : (char)c);
	}
	if (n > pick->excerpt && pick->ellipsis)
		kb_buf_adds(&b, "...");
	kb_w_str(w, name, kb_buf_str(&b));
	kb_buf_free(&b);
}

/* What a view computes: JSON if it is any, else a text. */
static void
write_computed(struct kb_jsonw *w, const struct api *api, const char *name,
    const char *text)
{
	if (text == NULL || text[0] == '\0')
		kb_w_null(w, name);
	else if (kb_json_check(api->req->cx.arena, text, strlen(text)) == NULL)
		kb_w_raw(w, name, text);
	else
		kb_w_str(w, name, text);
}

static void
write_value(struct kb_jsonw *w, const struct field *f, union cell v,
    const struct pick *pick)
{
	switch (f->type) {
	case FT_NUMBER: kb_w_num(w, f->name, v.number); return;
	case FT_BOOL: kb_w_bool(w, f->name, v.flag); return;
	case FT_JSON: kb_w_raw(w, f->name, v.text ? v.text : "null"); return;
	case FT_GEO_POINT:
		kb_w_raw(w, f->name,
		    v.text && v.text[0] ? v.text : "{\"lon\":0,\"lat\":0}");
		return;
	default: break;
	}
	if (field_is_multi(f))
		kb_w_raw(w, f->name, v.text && v.text[0] ? v.text : "[]");
	else if (pick->excerpt >= 0)
		write_excerpt(w, f->name, v.text ? v.text : "", pick);
	else
		kb_w_str(w, f->name, v.text ? v.text : "");
}

static const struct field *
named(const struct record *r, const char *name, union cell *v)
{
	const struct field *f = collection_field(r->c, name);

	if (f != NULL)
		*v = r->cells[f - r->c->fields];
	return f;
}

const char *
record_id_of(const struct record *r)
{
	union cell v = { .text = "" };

	(void)named(r, "id", &v);
	return v.text;
}

/* An address is its owner's, unless the owner shows it. */
static bool
may_see(const struct api *api, const struct record *r, const struct field *f)
{
	union cell shown = { .flag = false };

	if (f->type == FT_PASSWORD ||
	    (r->c->auth && strcmp(f->name, "tokenKey") == 0))
		return false;
	if (api->superuser)
		return true;
	if (f->hidden)
		return false;
	if (f->type != FT_EMAIL || !r->c->auth || strcmp(f->name, "email") != 0)
		return true;
	(void)named(r, "emailVisibility", &shown);
	return shown.flag || r->managed ||
	    (api->auth != NULL && api->auth->c == r->c &&
		strcmp(api->auth->id, record_id_of(r)) == 0);
}

static void
write_expanded(struct kb_jsonw *w, const struct api *api,
    const struct record *r, const struct picker *p)
{
	kb_w_object(w, "expand");
	for (const struct expanded *e = r->expanded; e != NULL; e = e->next) {
		const struct pick *pick = pick_of(p, e->name);

		if (pick == NULL)
			continue;
		if (e->list)
			kb_w_array(w, e->name);
		for (size_t i = 0; i < e->n; i++) {
			kb_w_object(w, e->list ? NULL : e->name);
			record_write(w, api, e->records[i], pick->inner);
			kb_w_object_end(w);
		}
		if (e->list)
			kb_w_array_end(w);
	}
	kb_w_object_end(w);
}

void
record_write(struct kb_jsonw *w, const struct api *api, const struct record *r,
    const struct picker *p)
{
	const struct pick *pick;

	if (pick_of(p, "collectionId") != NULL)
		kb_w_str(w, "collectionId", r->c->id);
	if (pick_of(p, "collectionName") != NULL)
		kb_w_str(w, "collectionName", r->c->name);
	for (size_t i = 0; i < r->c->n_fields; i++) {
		const struct field *f = &r->c->fields[i];

		pick = pick_of(p, f->name);
		if (pick == NULL || !may_see(api, r, f))
			continue;
		if (r->c->type == CT_VIEW && f->type == FT_JSON)
			write_computed(w, api, f->name, r->cells[i].text);
		else
			write_value(w, f, r->cells[i], pick);
	}
	pick = r->expands ? pick_of(p, "expand") : NULL;
	if (pick != NULL)
		write_expanded(w, api, r, pick->inner);
}

enum kb_err
record_answer(const struct api *api, struct kb_cx *cx, struct record *r,
    const char **text)
{
	const struct picker *p = picker_parse(
	    cx->arena, kb_query_param(api->req, "fields"));
	struct kb_jsonw w;
	struct kb_buf b;
	enum kb_err err = records_expand(
	    api, cx, &r, 1, kb_query_param(api->req, "expand"));

	if (err)
		return err;
	kb_buf_init(&b, 32u << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	record_write(&w, api, r, p);
	kb_w_object_end(&w);
	*text = kb_strdup(cx->arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return KB_OK;
}
