/* /api/collections/{collection}/records: rows under their collection's rules.
 */
#include <string.h>

#include <kombi/str.h>

#include "changes.h"
#include "files.h"
#include "record_write.h"

#define PER_PAGE 30
#define PER_PAGE_MAX 1000

/* ---- answers
 * ------------------------------------------------------------------------ */

struct answer {
	const struct api *api;
	struct record **rows;
	size_t n;
	struct record_page page;
	const struct picker *picker;
};

static void
record_json(struct kb_jsonw *w, const void *obj)
{
	const struct answer *a = obj;

	record_write(w, a->api, a->rows[0], a->picker);
}

static void
page_json(struct kb_jsonw *w, const void *obj)
{
	const struct answer *a = obj;
	int64_t size = a->page.per_page, total = a->page.total;

	kb_w_array(w, "items");
	for (size_t i = 0; i < a->n; i++) {
		kb_w_object(w, NULL);
		record_write(w, a->api, a->rows[i], a->picker);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_int(w, "page", a->page.page);
	kb_w_int(w, "perPage", size);
	kb_w_int(w, "totalItems", total);
	kb_w_int(w, "totalPages", total < 0 ? -1 : (total + size - 1) / size);
}

static struct kb_reply
answer_record(struct api *api, struct record *r)
{
	struct kb_request *req = api->req;
	struct answer a = {
		.api = api,
		.rows = &r,
		.n = 1,
		.picker = picker_parse(
		    req->cx.arena, kb_query_param(req, "fields")),
	};
	enum kb_err err = records_expand(
	    api, &req->cx, a.rows, 1, kb_query_param(req, "expand"));

	if (err)
		return api_fail_db(req, err, NULL);
	return kb_bare(req, 200, record_json, &a);
}

/* ---- reading
 * ----------------------------------------------------------------------------
 */

/* False: it is no number. One that is out of bounds is the nearest. */
static bool
query_number(struct api *api, const char *name, int64_t most, int64_t *n)
{
	const char *text = kb_query_param(api->req, name);
	int64_t given;

	if (text == NULL || text[0] == '\0')
		return true;
	if (!kb_parse_i64(kb_slice_of(text), &given))
		return false;
	if (given >= 1)
		*n = given > most ? most : given;
	return true;
}

static bool
query_flag(struct api *api, const char *name)
{
	const char *text = kb_query_param(api->req, name);

	return kb_str_eq(text, "1") || kb_str_eq(text, "true") ||
	    kb_str_eq(text, "t") || kb_str_eq(text, "T") ||
	    kb_str_eq(text, "TRUE") || kb_str_eq(text, "True");
}

static struct kb_reply
refuse_query(struct api *api, const struct query *q)
{
	return api_fail(
	    api->req, q->forbidden ? 403 : 400, q->forbidden ? q->why : NULL);
}

static struct kb_reply
list(struct api *api)
{
	struct kb_request *req = api->req;
	const struct collection *c = api_collection(api);
	struct answer a = { .api = api };
	struct query q;
	enum kb_err err;

	if (rule_is_locked(api, c, RULE_LIST))
		return api_fail(req, 403, api_superusers_only);
	query_init(&q, api, c);
	if (!query_rule(&q, c->rules[RULE_LIST]) ||
	    !query_filter(&q, kb_query_param(req, "filter")))
		return refuse_query(api, &q);
	a.page.n_where = q.n_params;
	if (!query_sort(&q, kb_query_param(req, "sort"), &a.page.order))
		return refuse_query(api, &q);
	a.page.page = 1;
	a.page.per_page = PER_PAGE;
	if (!query_number(api, "page", INT32_MAX, &a.page.page) ||
	    !query_number(api, "perPage", PER_PAGE_MAX, &a.page.per_page))
		return api_fail(req, 400, NULL);
	a.page.total = query_flag(api, "skipTotal") ? -1 : 0;
	err = records_page(&req->cx, &q, &a.page, &a.rows, &a.n);
	if (!err)
		err = records_expand(
		    api, &req->cx, a.rows, a.n, kb_query_param(req, "expand"));
	if (err)
		return api_fail_db(req, err, NULL);
	a.picker = picker_parse(req->cx.arena, kb_query_param(req, "fields"));
	return kb_bare(req, 200, page_json, &a);
}

static struct kb_reply
get(struct api *api)
{
	struct kb_request *req = api->req;
	const struct collection *c = api_collection(api);
	struct record *r;
	struct query q;
	enum kb_err err;

	if (rule_is_locked(api, c, RULE_VIEW))
		return api_fail(req, 403, api_superusers_only);
	query_init(&q, api, c);
	if (!query_rule(&q, c->rules[RULE_VIEW]))
		return api_fail(req, 404, NULL);
	err = record_get(&req->cx, &q, kb_param(req, "id"), &r);
	if (err == KB_NOT_FOUND)
		return api_fail(req, 404, NULL);
	if (err)
		return api_fail_db(req, err, NULL);
	return answer_record(api, r);
}

/* ---- writing
 * ------------------------------------------------------------------------------
 */

/* One change of a record as a request of its own. */
static struct kb_reply
change(struct api *api, enum write_kind kind)
{
	struct write w = write_start(api, kind, api_collection(api),
	    kind == WRITE_CREATE ? NULL : kb_param(api->req, "id"));
	struct kb_reply reply;
	enum kb_err err;

	if (!write_allowed(&w))
		return api_failed(api->req, &w.failure);
	if (kind != WRITE_DELETE && !api_body(api, &reply))
		return reply;
	err = write_prepare(&w);
	if (!err)
		err = kb_transaction(&api->req->cx, write_tx, &w);
	files_settle(api, err == KB_OK);
	if (err) {
		write_failed(&w, &api->req->cx, err);
		return api_failed(api->req, &w.failure);
	}
	changes_publish(api);
	return kind == WRITE_DELETE ? kb_no_content(api->req)
				    : answer_record(api, w.r);
}

static struct kb_reply
create(struct api *api)
{
	return change(api, WRITE_CREATE);
}

static struct kb_reply
patch(struct api *api)
{
	return change(api, WRITE_UPDATE);
}

static struct kb_reply delete (struct api *api)
{
	return change(api, WRITE_DELETE);
}

API_HANDLER(records_list, API_GUESTS, list)
API_HANDLER(records_get, API_GUESTS, get)
API_HANDLER(records_post, API_GUESTS, create)
API_HANDLER(records_patch, API_GUESTS, patch)
API_HANDLER(records_delete, API_GUESTS, delete)
