/*
 * POST /api/batch: changes of records that are made together or not at all.
 * Each is judged like a request of its own, with the caller's rights, and
 * sees what those before it have changed.
 */
#include <stdio.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "changes.h"
#include "files.h"
#include "record_write.h"
#include "settings.h"

#define PREFIX "/api/collections/"

struct item {
	struct write w;
	struct api api; /* with a request of its own */
	enum kb_method method;
	const char *collection, *id;
	const char *answer; /* JSON text; NULL: none (204) */
};

struct batch {
	struct api *api;
	struct item *items;
	size_t n, at; /* at: which one runs, or has failed */
	struct api_failure failure;
};

/* ---- reading ----------------------------------------------------------------
 */

/* /api/collections/NAME/records[/ID][?QUERY] */
static bool
read_url(struct api *api, const char *url, struct item *item)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *query = strchr(url, '?');
	struct kb_slice rest = { url,
		query ? (size_t)(query - url) : strlen(url) };
	struct kb_slice part[3] = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
	char *text[3] = { NULL, NULL, NULL };
	size_t n = 0;

	item->api.req = kb_request_part(
	    api->req, item->method, query ? kb_strdup(a, query + 1) : "", NULL);
	if (item->api.req == NULL || rest.len < strlen(PREFIX) ||
	    strncmp(rest.ptr, PREFIX, strlen(PREFIX)) != 0)
		return false;
	rest.ptr += strlen(PREFIX);
	rest.len -= strlen(PREFIX);
	while (n < KB_COUNT(part) && rest.len > 0 &&
	    kb_slice_next(&rest, '/', &part[n]))
		n++;
	if (rest.len > 0 || n < 2 || !kb_slice_eq(part[1], "records"))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!kb_percent_decode(a, part[i], &text[i]))
			return false;
	item->collection = text[0];
	item->id = n == 3 ? text[2] : NULL;
	return true;
}

static bool
fits(const struct item *item)
{
	switch (item->method) {
	case KB_M_POST:
	case KB_M_PUT: return item->id == NULL;
	case KB_M_PATCH:
	case KB_M_DELETE: return item->id != NULL;
	default: return false;
	}
}

static enum kb_method
method_of(const char *name)
{
	static const enum kb_method known[] = { KB_M_POST, KB_M_PUT, KB_M_PATCH,
		KB_M_DELETE };

	for (size_t i = 0; i < KB_COUNT(known); i++)
		if (kb_str_eq(kb_method_name(known[i]), name))
			return known[i];
	return KB_M_NONE;
}

static void
need(struct kb_arena *a, struct api_errors *e, size_t i, const char *name,
    const char *value)
{
	if (value == NULL || value[0] == '\0')
		api_error_add(a, e, kb_sprintf(a, "requests.%zu.%s", i, name),
		    "validation_required", "Cannot be blank.");
}

static bool
refuse(struct batch *b, int status, const char *message)
{
	b->failure = (struct api_failure) { status, message, NULL };
	return false;
}

/* An item with a request and a body of its own; the caller is the batch's. */
static bool
read_item(struct batch *b, const struct kb_json *j, struct item *item)
{
	const struct kb_json *none = NULL;
	struct kb_arena *a = b->api->req->cx.arena;
	const char *why, *url = kb_json_str(j, "url");
	const struct kb_json *body = kb_json_get(j, "body");

	if (kb_json_parse(a, "{}", 2, &none, &why))
		return refuse(b, 500, NULL);
	item->api = *b->api;
	item->api.context = "batch";
	item->api.body = body && kb_json_kind(body) == KB_JSON_OBJECT ? body
								      : none;
	item->api.uploads = files_of_item(b->api, b->at);
	item->method = method_of(kb_json_str(j, "method"));
	if (!read_url(b->api, url, item) || !fits(item))
		return refuse(b, 400, NULL);
	item->w.c = schema_find(b->api->schema, item->collection);
	if (item->w.c == NULL)
		return refuse(b, 404, "Missing collection context.");
	return true;
}

static bool
read_items(struct batch *b, const struct kb_json *list)
{
	for (const struct kb_json *j = kb_json_first(list); j != NULL;
	     j = kb_json_after(j), b->at++)
		if (!read_item(b, j, &b->items[b->at]))
			return false;
	return true;
}

static bool
check_list(struct api *api, const struct settings *s,
    const struct kb_json *list, struct api_errors *e)
{
	struct kb_arena *a = api->req->cx.arena;
	size_t n = kb_json_size(list), i = 0;

	if (n == 0)
		api_error_add(a, e, "requests", "validation_required",
		    "Cannot be blank.");
	else if ((int64_t)n > s->batch_requests)
		api_error_param(a, e, "requests", "validation_length_too_long",
		    "There are too many.",
		    kb_sprintf(a, "{\"max\":%lld,\"min\":0}",
			(long long)s->batch_requests));
	else
		for (const struct kb_json *j = kb_json_first(list); j;
		     j = kb_json_after(j), i++) {
			need(a, e, i, "method", kb_json_str(j, "method"));
			need(a, e, i, "url", kb_json_str(j, "url"));
		}
	return e->n == 0;
}

/* ---- running
 * ----------------------------------------------------------------- */

/* PUT is an update where the record is, else a creation. */
static enum kb_err
kind_of(struct kb_cx *cx, struct item *item, enum write_kind *kind)
{
	const char *id = kb_json_str(item->api.body, "id");
	int64_t n = 0;
	enum kb_err err = KB_OK;

	*kind = item->method == KB_M_PATCH ? WRITE_UPDATE
	    : item->method == KB_M_DELETE  ? WRITE_DELETE
					   : WRITE_CREATE;
	if (item->method != KB_M_PUT || id == NULL || id[0] == '\0' ||
	    item->w.c->type == CT_VIEW)
		return KB_OK;
	err = records_count_ids(
	    cx, item->w.c, value_list_text(cx->arena, &id, 1), &n);
	if (n > 0) {
		*kind = WRITE_UPDATE;
		item->id = id;
	}
	return err;
}

static enum kb_err
run_item(struct kb_cx *cx, struct batch *b, struct item *item)
{
	const struct collection *c = item->w.c;
	struct auth_change auth = item->w.auth;
	enum write_kind kind;
	enum kb_err err = kind_of(cx, item, &kind);

	if (err)
		return err;
	item->w = write_start(&item->api, kind, c, item->id);
	item->w.auth = auth;
	if (!write_allowed(&item->w)) {
		b->failure = item->w.failure;
		return KB_FORBIDDEN;
	}
	err = write_tx(cx, &item->w);
	if (!err && kind != WRITE_DELETE)
		err = record_answer(&item->api, cx, item->w.r, &item->answer);
	return err;
}

static enum kb_err
run_all(struct kb_cx *cx, void *arg)
{
	struct batch *b = arg;
	enum kb_err err = KB_OK;

	b->failure.status = 0;
	for (b->at = 0; !err && b->at < b->n; b->at++) {
		err = run_item(cx, b, &b->items[b->at]);
		if (err)
			break;
	}
	return err;
}

/* Passwords are hashed before, outside of the transaction. */
static enum kb_err
prepare_all(struct batch *b)
{
	enum kb_err err = KB_OK;

	for (b->at = 0; !err && b->at < b->n; b->at++) {
		struct item *item = &b->items[b->at];

		if (item->method != KB_M_DELETE)
			err = auth_prepare(&item->api, item->w.c,
			    item->method == KB_M_PUT
				? kb_json_str(item->api.body, "id")
				: item->id,
			    &item->w.auth);
		if (err)
			break;
	}
	return err;
}

/* ---- answers
 * ------------------------------------------------------------------ */

static void
failed_json(struct kb_jsonw *w, const void *obj)
{
	const struct batch *b = obj;
	char at[24];

	snprintf(at, sizeof(at), "%zu", b->at);
	kb_w_object(w, "data");
	kb_w_object(w, "requests");
	kb_w_object(w, at);
	kb_w_str(w, "code", "batch_request_failed");
	kb_w_str(w, "message", "Batch request failed.");
	kb_w_object(w, "response");
	api_failure_write(w, &b->failure);
	kb_w_object_end(w);
	kb_w_object_end(w);
	kb_w_object_end(w);
	kb_w_object_end(w);
	kb_w_str(w, "message", "Batch transaction failed.");
	kb_w_int(w, "status", 400);
}

static struct kb_reply
answer(struct batch *b)
{
	struct kb_arena *a = b->api->req->cx.arena;
	struct kb_jsonw w;
	struct kb_buf out;
	const char *text;

	kb_buf_init(&out, 256u << 20);
	kb_w_init(&w, &out);
	kb_w_array(&w, NULL);
	for (size_t i = 0; i < b->n; i++) {
		kb_w_object(&w, NULL);
		kb_w_raw(&w, "body",
		    b->items[i].answer ? b->items[i].answer : "null");
		kb_w_int(&w, "status", b->items[i].answer ? 200 : 204);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	text = kb_strdup(a, kb_buf_str(&out));
	kb_buf_free(&out);
	return kb_json_reply(b->api->req, 200, text);
}

static struct kb_reply
run_batch(struct batch *b, const struct settings *s)
{
	struct kb_cx *cx = &b->api->req->cx;
	int64_t until = kb_mono_ms() + s->batch_timeout_s * 1000;
	enum kb_err err;

	if (cx->deadline_ms == 0 || until < cx->deadline_ms)
		cx->deadline_ms = until;
	err = prepare_all(b);
	if (!err)
		err = kb_transaction(cx, run_all, b);
	for (size_t i = 0; i < b->n; i++)
		files_settle(&b->items[i].api, err == KB_OK);
	for (size_t i = 0; !err && i < b->n; i++)
		changes_publish(&b->items[i].api);
	if (!err)
		return answer(b);
	if (b->failure.status == 0 && b->at < b->n) {
		struct write *w = &b->items[b->at].w;

		write_failed(w, cx, err);
		b->failure = w->failure;
	}
	return kb_bare(b->api->req, 400, failed_json, b);
}

static struct kb_reply
batch(struct api *api)
{
	struct kb_request *req = api->req;
	struct batch b = { .api = api };
	struct api_errors errors = { 0 };
	const struct settings *s;
	const struct kb_json *list;
	struct kb_reply reply;
	enum kb_err err = settings_get(&req->cx, api->tenant->handle, &s);

	if (err)
		return api_fail_db(req, err, NULL);
	if (!s->batch || s->batch_requests <= 0)
		return api_fail(req, 403, "Batch requests are not allowed.");
	if (s->batch_body > 0 && (int64_t)req->body_len > s->batch_body)
		return api_fail(req, 413, NULL);
	if (!api_body(api, &reply))
		return reply;
	list = kb_json_get(api->body, "requests");
	if (list != NULL && kb_json_kind(list) != KB_JSON_ARRAY)
		return api_fail(
		    req, 400, "Failed to read the submitted batch data.");
	if (!check_list(api, s, list, &errors))
		return api_fail_fields(
		    req, "Invalid batch request data.", &errors);
	b.n = kb_json_size(list);
	b.items = kb_new_array(req->cx.arena, b.n, struct item);
	if (!read_items(&b, list))
		return kb_bare(req, 400, failed_json, &b);
	return run_batch(&b, s);
}

API_HANDLER(records_batch, API_GUESTS, batch)
