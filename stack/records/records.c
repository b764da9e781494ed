/* /api/collections/{collection}/records: rows under their collection's rules.
 */
#include <string.h>

#include <kombi/str.h>

#include "auth.h"

#define PER_PAGE 30
#define PER_PAGE_MAX 1000

static const char
    superusers_only[] = "Only superusers can perform this action.";

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

/* A rule that is null lets superusers alone pass. */
static bool
is_locked(const struct api *api, const struct collection *c, enum api_rule r)
{
	return c->rules[r] == NULL && !api->superuser;
}

/* ---- reading
 * ----------------------------------------------------------------------------
 */

static int64_t
query_number(struct api *api, const char *name, int64_t fallback, int64_t most)
{
	const char *text = kb_query_param(api->req, name);
	int64_t n;

	if (text == NULL || !kb_parse_i64(kb_slice_of(text), &n) || n < 1)
		return fallback;
	return n > most ? most : n;
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

	if (is_locked(api, c, RULE_LIST))
		return api_fail(req, 403, superusers_only);
	query_init(&q, api, c);
	if (!query_rule(&q, c->rules[RULE_LIST]) ||
	    !query_filter(&q, kb_query_param(req, "filter")))
		return refuse_query(api, &q);
	a.page.n_where = q.n_params;
	if (!query_sort(&q, kb_query_param(req, "sort"), &a.page.order))
		return refuse_query(api, &q);
	a.page.page = query_number(api, "page", 1, INT32_MAX);
	a.page.per_page = query_number(api, "perPage", PER_PAGE, PER_PAGE_MAX);
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

	if (is_locked(api, c, RULE_VIEW))
		return api_fail(req, 403, superusers_only);
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

/* ---- the body's values
 * ---------------------------------------------------------------------- */

struct write {
	struct api *api;
	const struct collection *c;
	const char *id; /* of the path; NULL: create */
	struct record *r;
	struct api_errors errors;
	const char *now;
	struct auth_change auth;
};

static enum modifier
modifier_of(const struct kb_json *j, const char **name, struct kb_arena *a)
{
	const char *given = kb_json_name(j);
	size_t len = strlen(given);

	*name = given;
	if (len < 2)
		return MOD_NONE;
	if (given[0] == '+') {
		*name = given + 1;
		return MOD_PREPEND;
	}
	if (given[len - 1] != '+' && given[len - 1] != '-')
		return MOD_NONE;
	*name = kb_strndup(a, given, len - 1);
	return given[len - 1] == '+' ? MOD_APPEND : MOD_REMOVE;
}

static bool
same_value(const struct field *f, union cell a, union cell b)
{
	if (f->type == FT_NUMBER)
		return a.number == b.number;
	if (f->type == FT_BOOL)
		return a.flag == b.flag;
	return kb_str_eq(a.text ? a.text : "", b.text ? b.text : "");
}

static void
set_value(struct write *w, const struct field *f, enum modifier m,
    const struct kb_json *j)
{
	struct judge judge = { w->api->req->cx.arena, &w->errors,
		w->api->schema };
	union cell *at = &w->r->cells[f - w->c->fields];
	union cell v = *at;

	if (m != MOD_NONE) {
		if (!value_modify(&judge, f, m, j, &v))
			return;
	} else if (!value_read(&judge, f, j, &v)) {
		return;
	}
	if (f->primary_key && w->id != NULL && !same_value(f, *at, v))
		api_error_add(judge.arena, &w->errors, f->name,
		    "validation_pk_change",
		    "The record primary key cannot be changed.");
	else if (f->primary_key && v.text[0] == '\0')
		return; /* a new id stays */
	else
		*at = v;
}

static void
apply_body(struct write *w)
{
	struct kb_arena *a = w->api->req->cx.arena;
	const struct kb_json *j = kb_json_first(w->api->body);

	for (; j != NULL; j = kb_json_after(j)) {
		const struct field *f = collection_field(w->c, kb_json_name(j));
		enum modifier m = MOD_NONE;
		const char *name;

		if (f == NULL) {
			m = modifier_of(j, &name, a);
			f = collection_field(w->c, name);
		}
		if (f == NULL || f->type == FT_AUTODATE ||
		    (f->hidden && !w->api->superuser))
			continue;
		set_value(w, f, m, j);
	}
}

/* Texts that nobody gave and that have a pattern to be made by. */
static void
set_generated(struct write *w)
{
	for (size_t i = 0; i < w->c->n_fields; i++) {
		const struct field *f = &w->c->fields[i];
		const char *made;

		if (f->type != FT_TEXT || f->generate[0] == '\0' ||
		    w->r->cells[i].text[0] != '\0')
			continue;
		made = text_generate(w->api->req->cx.arena, f->generate);
		if (made != NULL)
			w->r->cells[i].text = made;
	}
}

static void
set_times(struct write *w)
{
	for (size_t i = 0; i < w->c->n_fields; i++) {
		const struct field *f = &w->c->fields[i];

		if (f->type == FT_AUTODATE &&
		    (w->id == NULL ? f->on_create : f->on_update))
			w->r->cells[i].text = w->now;
	}
}

/* Every id that a relation names is there. */
static enum kb_err
check_relations(struct kb_cx *cx, struct write *w)
{
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < w->c->n_fields; i++) {
		const struct field *f = &w->c->fields[i];
		const struct collection *to;
		const char *ids = w->r->cells[i].text;
		int64_t found = 0;
		size_t n = 1;

		if (f->type != FT_RELATION || value_is_zero(f, w->r->cells[i]))
			continue;
		if (field_is_multi(f))
			(void)value_list(cx->arena, ids, &n);
		else
			ids = value_list_text(cx->arena, &ids, 1);
		to = schema_find(w->api->schema, f->collection_id);
		if (to != NULL)
			err = records_count_ids(cx, to, ids, &found);
		if (!err && found != (int64_t)n)
			api_error_add(cx->arena, &w->errors, f->name,
			    "validation_missing_rel_records",
			    "Failed to find all relation records with the"
			    " provided ids.");
	}
	return err;
}

static enum kb_err
check_values(struct kb_cx *cx, struct write *w)
{
	struct judge judge = { cx->arena, &w->errors, w->api->schema };
	enum kb_err err;

	for (size_t i = 0; i < w->c->n_fields; i++)
		value_check(&judge, &w->c->fields[i], w->r->cells[i]);
	err = check_relations(cx, w);
	if (err)
		return err;
	return w->errors.n > 0 ? KB_INVALID : KB_OK;
}

/* ---- writing
 * ------------------------------------------------------------------------------
 */

static enum kb_err
create_tx(struct kb_cx *cx, void *arg)
{
	struct write *w = arg;
	struct query q;
	bool holds = true;
	enum kb_err err;

	w->errors = (struct api_errors) { 0 };
	for (size_t i = 0; i < w->c->n_fields; i++)
		w->r->cells[i] = value_zero(&w->c->fields[i]);
	w->r->cells[collection_field(w->c, "id") - w->c->fields]
	    .text = record_new_id(cx->arena);
	set_times(w);
	apply_body(w);
	set_generated(w);
	query_init(&q, w->api, w->c);
	if (!query_rule(&q, w->c->rules[RULE_CREATE]))
		return KB_FORBIDDEN;
	/* The rule first: who may not create learns nothing of the rows. */
	err = record_would(cx, &q, w->r, &holds);
	if (!err && !holds)
		err = KB_FORBIDDEN;
	if (!err)
		err = auth_record_apply(
		    w->api, cx, &w->auth, NULL, w->r, &w->errors);
	if (!err)
		err = check_values(cx, w);
	return err ? err : record_insert(cx, w->r);
}

static struct kb_reply
write_failed(struct write *w, enum kb_err err, const char *message)
{
	struct kb_request *req = w->api->req;

	if (err == KB_CONFLICT) {
		w->errors = (struct api_errors) { 0 };
		err = record_duplicates(&req->cx, w->r, &w->errors);
		if (!err)
			err = KB_INVALID;
	}
	if (err == KB_INVALID)
		return api_fail_fields(req, message, &w->errors);
	return api_fail_db(req, err, message);
}

static struct write
write_start(struct api *api, const struct collection *c)
{
	struct kb_arena *a = api->req->cx.arena;
	struct write w = { .api = api, .c = c, .now = record_now(a) };

	w.r = kb_new(a, struct record);
	w.r->c = c;
	w.r->cells = kb_new_array(a, c->n_fields, union cell);
	return w;
}

static struct kb_reply
create(struct api *api)
{
	const struct collection *c = api_collection(api);
	struct write w = write_start(api, c);
	struct kb_reply reply;
	enum kb_err err;

	if (is_locked(api, c, RULE_CREATE))
		return api_fail(api->req, 403, superusers_only);
	if (c->auth && !auth_may_register(api, c))
		return api_fail(api->req, 403, NULL);
	if (!api_body(api, &reply))
		return reply;
	err = auth_prepare(api, c, NULL, &w.auth);
	if (!err)
		err = kb_transaction(&api->req->cx, create_tx, &w);
	if (err)
		return write_failed(&w, err, "Failed to create record.");
	return answer_record(api, w.r);
}

/* A tenant that has an admin keeps one. */
static enum kb_err
keep_admin(struct kb_cx *cx, struct write *w, const struct record *was,
    const struct record *r)
{
	int64_t others = 0;
	enum kb_err err;

	if (strcmp(w->c->id, USERS_ID) != 0 ||
	    strcmp(auth_text(was, "role"), "admin") != 0 ||
	    (r != NULL && strcmp(auth_text(r, "role"), "admin") == 0))
		return KB_OK;
	err = users_admins_but(cx, w->id, &others);
	if (!err && others == 0) {
		api_error_add(cx->arena, &w->errors, "role",
		    "validation_invalid_value", "The last admin stays admin.");
		err = KB_INVALID;
	}
	return err;
}

static struct record *
copy_of(struct kb_arena *a, const struct record *r)
{
	struct record *copy = kb_new(a, struct record);

	copy->c = r->c;
	copy->cells = kb_new_array(a, r->c->n_fields, union cell);
	memcpy(copy->cells, r->cells, r->c->n_fields * sizeof(*r->cells));
	return copy;
}

static enum kb_err
update_tx(struct kb_cx *cx, void *arg)
{
	struct write *w = arg;
	struct record *was;
	struct query q;
	enum kb_err err;

	w->errors = (struct api_errors) { 0 };
	query_init(&q, w->api, w->c);
	if (!query_rule(&q, w->c->rules[RULE_UPDATE]))
		return KB_NOT_FOUND;
	err = record_get(cx, &q, w->id, &w->r);
	if (err)
		return err;
	was = copy_of(cx->arena, w->r);
	apply_body(w);
	set_times(w);
	err = auth_record_apply(w->api, cx, &w->auth, was, w->r, &w->errors);
	if (!err)
		err = check_values(cx, w);
	if (!err)
		err = keep_admin(cx, w, was, w->r);
	if (!err)
		err = record_update(cx, w->r);
	return err ? err : auth_record_stored(w->api, cx, was, w->r);
}

static struct kb_reply
patch(struct api *api)
{
	const struct collection *c = api_collection(api);
	struct write w = write_start(api, c);
	struct kb_reply reply;
	enum kb_err err;

	w.id = kb_param(api->req, "id");
	if (is_locked(api, c, RULE_UPDATE))
		return api_fail(api->req, 403, superusers_only);
	if (!api_body(api, &reply))
		return reply;
	err = auth_prepare(api, c, w.id, &w.auth);
	if (!err)
		err = kb_transaction(&api->req->cx, update_tx, &w);
	if (err == KB_NOT_FOUND)
		return api_fail(api->req, 404, NULL);
	if (err)
		return write_failed(&w, err, "Failed to update record.");
	return answer_record(api, w.r);
}

static enum kb_err
delete_tx(struct kb_cx *cx, void *arg)
{
	struct write *w = arg;
	struct query q;
	enum kb_err err;

	query_init(&q, w->api, w->c);
	if (!query_rule(&q, w->c->rules[RULE_DELETE]))
		return KB_NOT_FOUND;
	err = record_get(cx, &q, w->id, &w->r);
	if (!err)
		err = keep_admin(cx, w, w->r, NULL);
	if (!err)
		err = auth_record_gone(w->api, cx, w->r, &w->errors);
	return err ? err : record_delete(cx, w->api->schema, w->c, w->id);
}

static struct kb_reply delete (struct api *api)
{
	static const char failed[] = "Failed to delete record. Make sure that "
				     "the record is not part"
				     " of a required relation reference.";
	const struct collection *c = api_collection(api);
	struct write w = write_start(api, c);
	enum kb_err err;

	w.id = kb_param(api->req, "id");
	if (is_locked(api, c, RULE_DELETE))
		return api_fail(api->req, 403, superusers_only);
	err = kb_transaction(&api->req->cx, delete_tx, &w);
	if (err == KB_NOT_FOUND)
		return api_fail(api->req, 404, NULL);
	return err ? api_fail_db(api->req, err, failed)
		   : kb_no_content(api->req);
}

API_HANDLER(records_list, API_GUESTS, list)
API_HANDLER(records_get, API_GUESTS, get)
API_HANDLER(records_post, API_GUESTS, create)
API_HANDLER(records_patch, API_GUESTS, patch)
API_HANDLER(records_delete, API_GUESTS, delete)
