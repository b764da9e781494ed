/*
 * A change of one record: judged, and made in a transaction that is its own
 * or one of several changes.
 */
#include "record_write.h"

#include "changes.h"
#include "files.h"

#include <string.h>

#include <kombi/str.h>

/* ---- the body's values
 * ---------------------------------------------------------------------- */

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

	if (f->type == FT_FILE) {
		if (!file_value(w->api, &judge, f, m, j, &v))
			return;
	} else if (m != MOD_NONE) {
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

/* Files that came without a member beside them. */
static void
apply_uploads(struct write *w)
{
	static const enum modifier ways[] = { MOD_NONE, MOD_PREPEND,
		MOD_APPEND };

	for (size_t i = 0; w->api->uploads != NULL && i < w->c->n_fields; i++) {
		const struct field *f = &w->c->fields[i];

		if (f->type != FT_FILE || (f->hidden && !w->api->superuser))
			continue;
		for (size_t k = 0; k < KB_COUNT(ways); k++) {
			const char *name = file_member(
			    w->api->req->cx.arena, f, ways[k]);

			if (file_came(w->api, name) &&
			    kb_json_get(w->api->body, name) == NULL)
				set_value(w, f, ways[k], NULL);
		}
	}
}

/* "name:autogenerate": the text, and what the field's pattern makes behind
 * it. False: it is no such member. */
static bool
generate_text(struct write *w, const struct kb_json *j)
{
	static const char suffix[] = ":autogenerate";
	struct kb_arena *a = w->api->req->cx.arena;
	const char *given = kb_json_name(j), *text = kb_json_text(j), *made;
	const struct field *f;

	if (!kb_str_ends(given, suffix))
		return false;
	f = collection_field(
	    w->c, kb_strndup(a, given, strlen(given) - strlen(suffix)));
	if (f == NULL || f->type != FT_TEXT || f->primary_key ||
	    (f->hidden && !w->api->superuser))
		return true;
	made = f->generate[0] != '\0' ? text_generate(a, f->generate) : NULL;
	w->r->cells[f - w->c->fields].text = kb_sprintf(
	    a, "%s%s", text ? text : "", made ? made : "");
	return true;
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

		if (f == NULL && generate_text(w, j))
			continue;
		if (f == NULL) {
			m = modifier_of(j, &name, a);
			f = collection_field(w->c, name);
		}
		if (f == NULL || f->type == FT_AUTODATE ||
		    (f->hidden && !w->api->superuser))
			continue;
		set_value(w, f, m, j);
	}
	apply_uploads(w);
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
	if (!err)
		err = record_insert(cx, w->r);
	if (!err)
		err = files_place(w->api, cx, NULL, w->r);
	return err ? err : change_note(w->api, cx, CHANGE_CREATE, w->r);
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
	if (!err)
		err = files_place(w->api, cx, was, w->r);
	if (!err)
		err = auth_record_stored(w->api, cx, was, w->r);
	return err ? err : change_note(w->api, cx, CHANGE_UPDATE, w->r);
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
	return err ? err : record_delete(w->api, cx, w->r);
}

/* ---- one change
 * ------------------------------------------------------------------------------
 */

static const struct {
	enum api_rule rule;
	kb_tx_fn *run;
	const char *failed;
} kinds[] = {
	[WRITE_CREATE] = { RULE_CREATE, create_tx, "Failed to create record." },
	[WRITE_UPDATE] = { RULE_UPDATE, update_tx, "Failed to update record." },
	[WRITE_DELETE] = { RULE_DELETE, delete_tx,
	    "Failed to delete record. Make sure that the record is not part"
	    " of a required relation reference." },
};

struct write
write_start(struct api *api, enum write_kind kind, const struct collection *c,
    const char *id)
{
	struct kb_arena *a = api->req->cx.arena;
	struct write w = {
		.api = api, .kind = kind, .c = c, .id = id, .now = record_now(a)
	};

	w.r = kb_new(a, struct record);
	w.r->c = c;
	w.r->cells = kb_new_array(a, c->n_fields, union cell);
	return w;
}

static bool
refuse(struct write *w, int status, const char *message)
{
	w->failure = (struct api_failure) { status, message, NULL };
	return false;
}

bool
write_allowed(struct write *w)
{
	if (w->c->type == CT_VIEW)
		return refuse(w, 400, "Unsupported collection type.");
	if (rule_is_locked(w->api, w->c, kinds[w->kind].rule))
		return refuse(w, 403, api_superusers_only);
	if (w->kind == WRITE_CREATE && w->c->auth &&
	    !auth_may_register(w->api, w->c))
		return refuse(w, 403, NULL);
	return true;
}

enum kb_err
write_prepare(struct write *w)
{
	if (w->kind == WRITE_DELETE)
		return KB_OK;
	return auth_prepare(w->api, w->c, w->id, &w->auth);
}

enum kb_err
write_tx(struct kb_cx *cx, void *arg)
{
	struct write *w = arg;

	w->api->changes = NULL; /* it may be the second time */
	files_settle(w->api, false);
	return kinds[w->kind].run(cx, w);
}

void
write_failed(struct write *w, struct kb_cx *cx, enum kb_err err)
{
	const char *message = kinds[w->kind].failed;

	if (err == KB_NOT_FOUND && w->kind != WRITE_CREATE) {
		(void)refuse(w, 404, NULL);
		return;
	}
	if (err == KB_CONFLICT && w->kind != WRITE_DELETE) {
		w->errors = (struct api_errors) { 0 };
		err = record_duplicates(cx, w->r, &w->errors);
		if (!err)
			err = KB_INVALID;
	}
	w->failure = api_failure_of(err, message);
	if (err == KB_INVALID)
		w->failure.errors = &w->errors;
}
