/*
 * Lists by pages, ordered by id: what changes between two pages neither
 * repeats nor hides what did not.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "admin_api.h"
#include "document_inside.h"

enum { PAGE_USUAL = 100, PAGE_MAX = 1000, TAGS_MAX = 16, TAGS_TEXT = 8192 };

struct page {
	uint64_t size;
	const char *after; /* id of the last one shown; "": from the start */
	const char *tags;  /* as asked for, or NULL */
	const char *tag[TAGS_MAX];
	size_t n_tags;
	bool any; /* one of them is enough */
};

/* ---- what is asked for --------------------------------------------------- */

static bool
read_size(struct admin_call *c, struct page *p)
{
	const char *text = form_value(c->a, kb_ex_query(c->ex), "size");

	p->size = PAGE_USUAL;
	if (text == NULL ||
	    (kb_parse_u64(kb_slice_of(text), &p->size) && p->size >= 1 &&
		p->size <= PAGE_MAX))
		return true;
	admin_refuse(c, ADMIN_SIZE, "size",
	    "size must be an integer between 1 and 1000");
	return false;
}

static bool
read_offset(struct admin_call *c, struct page *p)
{
	const char *text = form_value(c->a, kb_ex_query(c->ex), "offset");
	size_t len = text ? strlen(text) : 0;
	unsigned char id[256];
	long n;

	p->after = "";
	if (len == 0)
		return true;
	n = len <= 128 ? kb_base64url_decode(text, len, id) : -1;
	if (n > 0 && memchr(id, 0, (size_t)n) == NULL) {
		p->after = kb_strndup(c->a, (char *)id, (size_t)n);
		return true;
	}
	admin_refuse(c, ADMIN_OFFSET, "offset", "offset is not one of ours");
	return false;
}

/* "a,b": both; "a/b": one of them. */
static bool
read_tags(struct admin_call *c, struct page *p)
{
	struct kb_slice rest, part;
	char sep;

	p->tags = form_value(c->a, kb_ex_query(c->ex), "tags");
	if (p->tags == NULL || p->tags[0] == '\0') {
		p->tags = NULL;
		return true;
	}
	p->any = strchr(p->tags, '/') != NULL;
	sep = p->any ? '/' : ',';
	rest = kb_slice_of(p->tags);
	while (strlen(p->tags) < TAGS_TEXT && p->n_tags < TAGS_MAX &&
	    kb_slice_next(&rest, sep, &part))
		p->tag[p->n_tags++] = kb_slice_dup(c->a, part);
	if (rest.len == 0 && !(p->any && strchr(p->tags, ',')))
		return true;
	admin_refuse(c, ADMIN_SCHEMA, "tags",
	    "tags are at most 16, divided by \",\" (all of them) or by \"/\" "
	    "(one of them), not by both");
	return false;
}

/* ---- what is shown ------------------------------------------------------- */

static bool
has_tag(const struct kb_yaml *tags, const char *tag)
{
	struct kb_slice rest, part;

	if (tags->kind == KB_YAML_SCALAR) {
		rest = kb_slice_of(tags->text);
		while (kb_slice_next(&rest, ',', &part))
			if (kb_slice_eq(kb_slice_trim(part), tag))
				return true;
	}
	for (const struct kb_yaml *y = tags->first; y != NULL; y = y->next)
		if (kb_str_eq(y->text, tag))
			return true;
	return false;
}

static bool
has_tags(const struct page *p, const struct entity *e)
{
	const struct kb_yaml *tags = kb_yaml_get(e->y, "tags");

	for (size_t i = 0; i < p->n_tags; i++) {
		bool has = tags != NULL && has_tag(tags, p->tag[i]);

		if (has == p->any)
			return has;
	}
	return !p->any || p->n_tags == 0;
}

static int
by_id(const void *a, const void *b)
{
	return strcmp((*(const struct entity *const *)a)->id,
	    (*(const struct entity *const *)b)->id);
}

static void
write_next(struct kb_jsonw *w, struct admin_call *c, const struct page *p,
    const char *id)
{
	char *offset = kb_base64url(c->a, id, strlen(id));
	struct kb_buf next;

	kb_buf_init(&next, 1 << 16);
	for (size_t i = 0; i < c->n; i++) {
		kb_buf_addc(&next, '/');
		kb_percent_encode(&next, c->segment[i], "");
	}
	kb_buf_addf(
	    &next, "?offset=%s&size=%llu", offset, (unsigned long long)p->size);
	if (p->tags != NULL) {
		kb_buf_adds(&next, "&tags=");
		kb_percent_encode(&next, p->tags, "");
	}
	kb_w_str(w, "next", kb_buf_str(&next));
	kb_w_str(w, "offset", offset);
	kb_buf_free(&next);
}

static void
write_page(
    struct admin_call *c, const struct page *p, struct entity **v, size_t n)
{
	size_t shown = n < p->size ? n : (size_t)p->size;
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		view_entity(&w, NULL, admin_document(c), v[i]);
	kb_w_array_end(&w);
	if (shown < n)
		write_next(&w, c, p, v[shown - 1]->id);
	else
		kb_w_null(&w, "next");
	kb_w_object_end(&w);
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}

void
admin_list(struct admin_call *c, enum kind kind,
    bool (*wanted)(const struct entity *e, const void *arg), const void *arg)
{
	const struct entities *all = &admin_document(c)->of[kind];
	struct entity **v = kb_new_array(c->a, all->n + 1, struct entity *);
	struct page p = { .size = 0 };
	size_t n = 0;

	if (!read_size(c, &p) || !read_offset(c, &p) || !read_tags(c, &p))
		return;
	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->v[i]->id, p.after) > 0 &&
		    has_tags(&p, all->v[i]) &&
		    (wanted == NULL || wanted(all->v[i], arg)))
			v[n++] = all->v[i];
	if (n > 1)
		qsort(v, n, sizeof(struct entity *), by_id);
	write_page(c, &p, v, n);
}

/* ---- tags ---------------------------------------------------------------- */

static void
write_tag(struct kb_jsonw *w, const struct entity *e, struct kb_slice tag)
{
	kb_w_object(w, NULL);
	kb_w_str(w, "entity_name", kind_infos[e->kind].file);
	kb_w_str(w, "entity_id", e->id);
	kb_w_slice(w, "tag", tag);
	kb_w_object_end(w);
}

static void
write_tags(struct kb_jsonw *w, const struct entity *e, const char *only)
{
	const struct kb_yaml *tags = kb_yaml_get(e->y, "tags");
	struct kb_slice rest = { NULL, 0 }, tag;

	if (tags == NULL)
		return;
	if (tags->kind == KB_YAML_SCALAR && !kb_yaml_is_null(tags))
		rest = kb_slice_of(tags->text);
	while (kb_slice_next(&rest, ',', &tag))
		if (only == NULL || kb_slice_eq(kb_slice_trim(tag), only))
			write_tag(w, e, kb_slice_trim(tag));
	for (const struct kb_yaml *y = tags->first; y != NULL; y = y->next)
		if (only == NULL || kb_str_eq(y->text, only))
			write_tag(w, e, kb_slice_of(y->text));
}

void
admin_tags(struct admin_call *c, const char *only)
{
	const struct document *d = admin_document(c);
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_array(&w, "data");
	for (int k = 0; k < KINDS; k++)
		for (size_t i = 0; i < d->of[k].n; i++)
			write_tags(&w, d->of[k].v[i], only);
	kb_w_array_end(&w);
	kb_w_null(&w, "next");
	kb_w_object_end(&w);
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}
