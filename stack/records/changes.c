/*
 * Changes as they are made, and GET /api/x/changes: what a client missed
 * while it was not connected, under the rules that hold for it now.
 */
#include "changes.h"

#include <string.h>

#include <kombi/str.h>

#define LIMIT 100
#define LIMIT_MAX 500

const char *
change_name(enum change_action action)
{
	static const char *const names[] = { "create", "update", "delete" };

	return names[action];
}

enum kb_err
change_note(struct api *api, struct kb_cx *cx, enum change_action action,
    const struct record *r)
{
	const struct stack_config *config = stack_config(kb_app(api->req));
	struct change *c = kb_new(cx->arena, struct change), **at;
	enum kb_err err;

	*c = (struct change) { .action = action, .r = r };
	err = change_insert(cx, c,
	    &(struct retention) { config->keep_changes, config->keep_days });
	if (err)
		return err;
	if (action == CHANGE_DELETE)
		c->told = realtime_judge(api, cx, c);
	for (at = &api->changes; *at != NULL; at = &(*at)->next)
		;
	*at = c;
	return KB_OK;
}

/* ---- GET /api/x/changes
 * ------------------------------------------------------ */

struct missed {
	struct change_row *row;
	const struct collection *c;
	const char *record; /* JSON text; NULL: it is gone */
};

struct answer {
	struct missed *items;
	size_t n;
	int64_t next;
	bool reset;
};

static void
answer_json(struct kb_jsonw *w, const void *obj)
{
	const struct answer *a = obj;

	kb_w_array(w, "items");
	for (size_t i = 0; i < a->n; i++) {
		const struct missed *m = &a->items[i];
		bool gone = m->record == NULL;

		kb_w_object(w, NULL);
		kb_w_int(w, "seq", m->row->seq);
		kb_w_str(w, "action",
		    gone ? "delete"
			 : change_name((enum change_action)m->row->action));
		kb_w_str(w, "collection", m->c->name);
		if (gone)
			kb_w_str(w, "id", m->row->record_id);
		else
			kb_w_raw(w, "record", m->record);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_int(w, "next", a->next);
	kb_w_bool(w, "reset", a->reset);
}

static bool
is_wanted(struct kb_slice wanted, const struct collection *c)
{
	struct kb_slice part;

	if (wanted.len == 0)
		return true;
	while (kb_slice_next(&wanted, ',', &part)) {
		part = kb_slice_trim(part);
		if (kb_slice_eq(part, c->name) || kb_slice_eq(part, c->id))
			return true;
	}
	return false;
}

/*
 * The record as the caller may see it now. One that is gone is told by its id
 * alone to who may list the collection at all: whether its rule held for the
 * record cannot be judged any more, and an id that was made by chance tells
 * nothing else. One that is there and hidden is left out.
 */
static enum kb_err
look(struct api *api, struct missed *m, bool *visible)
{
	struct kb_cx *cx = &api->req->cx;
	struct record *r;
	struct query q;
	int64_t there = 0;
	enum kb_err err;

	*visible = false;
	if (rule_is_locked(api, m->c, RULE_LIST))
		return KB_OK;
	query_init(&q, api, m->c);
	if (!query_rule(&q, m->c->rules[RULE_LIST]))
		return KB_OK;
	err = record_get(cx, &q, m->row->record_id, &r);
	if (!err) {
		*visible = true;
		return record_answer(api, cx, r, &m->record);
	}
	if (err != KB_NOT_FOUND)
		return err;
	err = records_count_ids(cx, m->c,
	    value_list_text(cx->arena, &m->row->record_id, 1), &there);
	*visible = there == 0;
	return err;
}

static int64_t
number_of(const struct api *api, const char *name, int64_t fallback)
{
	const char *text = kb_query_param(api->req, name);
	int64_t n;

	if (text == NULL || !kb_parse_i64(kb_slice_of(text), &n) || n < 0)
		return fallback;
	return n;
}

static enum kb_err
gather(struct api *api, struct change_row *rows, size_t n, struct answer *a)
{
	const char *names = kb_query_param(api->req, "collections");
	struct kb_slice wanted = kb_slice_of(names ? names : "");
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < n; i++) {
		struct missed m = { .row = &rows[i] };
		bool visible;

		a->next = rows[i].seq;
		m.c = schema_find(api->schema, rows[i].collection_id);
		if (m.c == NULL || !is_wanted(wanted, m.c))
			continue;
		err = look(api, &m, &visible);
		if (!err && visible)
			a->items[a->n++] = m;
	}
	return err;
}

/*
 * Whether nobody can say any more what came after `since`: it is older than
 * what is kept, or of a time that a restored backup does not know.
 */
static enum kb_err
is_unknown(struct kb_cx *cx, int64_t since, int64_t *newest, bool *unknown)
{
	int64_t oldest = 0;
	enum kb_err err = changes_newest(cx, newest);

	if (!err)
		err = changes_oldest(cx, &oldest);
	if (oldest == 0)
		oldest = *newest + 1;
	*unknown = since + 1 < oldest || since > *newest;
	return err;
}

static struct kb_reply
missed(struct api *api)
{
	struct kb_cx *cx = &api->req->cx;
	struct answer a = { .next = number_of(api, "since", 0) };
	int64_t limit = number_of(api, "limit", LIMIT), newest = 0;
	struct change_row *rows = NULL;
	size_t n = 0;
	enum kb_err err = is_unknown(cx, a.next, &newest, &a.reset);

	if (limit < 1 || limit > LIMIT_MAX)
		limit = LIMIT_MAX;
	/* Who has to read everything anew goes on from here after that. */
	if (a.reset)
		a.next = newest;
	else if (!err)
		err = changes_after(cx, a.next, limit, &rows, &n);
	a.items = kb_new_array(cx->arena, n + 1, struct missed);
	if (!err)
		err = gather(api, rows, n, &a);
	if (err)
		return api_fail_db(api->req, err, NULL);
	return kb_bare(api->req, 200, answer_json, &a);
}

API_HANDLER(changes_missed, API_GUESTS, missed)
