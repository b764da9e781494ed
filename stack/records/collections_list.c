/* Collections read: pages with filter and sort, and the members asked for. */
#include <string.h>

#include <kombi/str.h>

#include "collections.h"

#define PER_PAGE 30
#define PER_PAGE_MAX 1000

/* Definitions as rows: what may be filtered and sorted by. */
static struct collection
rows_of_definitions(struct kb_arena *a)
{
	static const struct {
		const char *name;
		enum field_type type;
	} columns[] = {
		{ "id", FT_TEXT },
		{ "name", FT_TEXT },
		{ "type", FT_TEXT },
		{ "system", FT_BOOL },
		{ "created", FT_DATE },
		{ "updated", FT_DATE },
	};
	struct collection c = { .id = "", .name = "", .table = "_collections" };

	c.n_fields = KB_COUNT(columns);
	c.fields = kb_new_array(a, c.n_fields, struct field);
	for (size_t i = 0; i < c.n_fields; i++)
		c.fields[i] = (struct field) { .id = columns[i].name,
			.name = columns[i].name,
			.type = columns[i].type };
	collection_prepare(a, &c);
	return c;
}

/* A number of the query within its bounds, else the nearest. */
static int64_t
query_number(
    const struct api *api, const char *name, int64_t fallback, int64_t most)
{
	const char *text = kb_query_param(api->req, name);
	int64_t n;

	if (text == NULL || !kb_parse_i64(kb_slice_of(text), &n) || n < 1)
		return fallback;
	return n > most ? most : n;
}

struct page {
	const struct api *api;
	const struct picker *picker;
	struct record_page of;
	struct record **rows;
	size_t n;
};

static void
page_json(struct kb_jsonw *w, const void *obj)
{
	const struct page *p = obj;
	int64_t total = p->of.total, each = p->of.per_page;

	kb_w_array(w, "items");
	for (size_t i = 0; i < p->n; i++) {
		const struct collection *c = schema_find(
		    p->api->schema, record_id_of(p->rows[i]));

		if (c == NULL)
			continue; /* gone, or newer than what we know */
		collection_write_picked(w, p->api, c, p->picker);
	}
	kb_w_array_end(w);
	kb_w_int(w, "page", p->of.page);
	kb_w_int(w, "perPage", each);
	kb_w_int(w, "totalItems", total);
	kb_w_int(w, "totalPages", total < 0 ? -1 : (total + each - 1) / each);
}

static bool
wants_total(const struct api *api)
{
	const char *skip = kb_query_param(api->req, "skipTotal");

	return !kb_str_eq(skip, "1") && !kb_str_eq(skip, "true");
}

static struct kb_reply
list(struct api *api)
{
	struct kb_arena *a = api->req->cx.arena;
	struct collection rows = rows_of_definitions(a);
	struct page p = { .api = api };
	struct query q;
	enum kb_err err;

	query_init(&q, api, &rows);
	if (!query_filter(&q, kb_query_param(api->req, "filter")))
		return api_fail(api->req, 400, NULL);
	p.of.n_where = q.n_params;
	if (!query_sort(&q, kb_query_param(api->req, "sort"), &p.of.order))
		return api_fail(api->req, 400, NULL);
	p.of.page = query_number(api, "page", 1, INT32_MAX);
	p.of.per_page = query_number(api, "perPage", PER_PAGE, PER_PAGE_MAX);
	p.of.total = wants_total(api) ? 0 : -1;
	err = records_page(&api->req->cx, &q, &p.of, &p.rows, &p.n);
	if (err)
		return api_fail_db(api->req, err, NULL);
	p.picker = picker_parse(a, kb_query_param(api->req, "fields"));
	return kb_bare(api->req, 200, page_json, &p);
}

/* ---- one
 * ------------------------------------------------------------------------ */

static void
picked_write(struct kb_jsonw *w, struct kb_arena *a, const char *name,
    const struct kb_json *j, const struct picker *p)
{
	bool object = kb_json_kind(j) == KB_JSON_OBJECT;
	const struct picker *inner = p;

	if (!object && kb_json_kind(j) != KB_JSON_ARRAY) {
		kb_w_raw(w, name, kb_json_print(a, j));
		return;
	}
	if (object)
		kb_w_object(w, name);
	else
		kb_w_array(w, name);
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		if (!object || picker_wants(p, kb_json_name(j), &inner))
			picked_write(
			    w, a, object ? kb_json_name(j) : NULL, j, inner);
	if (object)
		kb_w_object_end(w);
	else
		kb_w_array_end(w);
}

void
collection_write_picked(struct kb_jsonw *w, const struct api *api,
    const struct collection *c, const struct picker *p)
{
	struct kb_arena *a = api->req->cx.arena;
	const struct kb_json *j;
	const char *why = NULL;
	struct kb_jsonw whole;
	struct kb_buf b;

	if (p == NULL) {
		kb_w_object(w, NULL);
		collection_write(w, c);
		kb_w_object_end(w);
		return;
	}
	kb_buf_init(&b, 4u << 20);
	kb_w_init(&whole, &b);
	kb_w_object(&whole, NULL);
	collection_write(&whole, c);
	kb_w_object_end(&whole);
	if (!kb_json_parse(a, kb_buf_str(&b), b.len, &j, &why))
		picked_write(w, a, NULL, j, p);
	kb_buf_free(&b);
}

struct kb_reply
collection_reply(struct api *api, const struct collection *c)
{
	struct kb_arena *a = api->req->cx.arena;
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 4u << 20);
	kb_w_init(&w, &b);
	collection_write_picked(
	    &w, api, c, picker_parse(a, kb_query_param(api->req, "fields")));
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return kb_json_reply(api->req, 200, text);
}

static struct kb_reply
get(struct api *api)
{
	return collection_reply(api, api_collection(api));
}

API_HANDLER(collections_list, API_SUPERUSERS, list)
API_HANDLER(collections_get, API_SUPERUSERS, get)
