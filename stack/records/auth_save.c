/* Changes of an auth record that its own requests make: a new password, an
 * address that was confirmed. */
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "auth.h"
#include "changes.h"

struct save {
	struct api *api;
	const struct auth_row *row;
	auth_change_fn *fn;
	void *arg;
};

static enum kb_err
read_again(struct kb_cx *cx, const struct save *s, struct record **r)
{
	struct query q;

	query_init(&q, s->api, s->row->record->c);
	return record_get(cx, &q, record_id_of(s->row->record), r);
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

static bool
differs(const struct record *a, const struct record *b, const char *field)
{
	return strcmp(auth_text(a, field), auth_text(b, field)) != 0;
}

static enum kb_err
save(struct kb_cx *cx, const struct save *s)
{
	struct record *was, *r;
	union cell v;
	enum kb_err err = read_again(cx, s, &was);

	s->api->changes = NULL; /* it may be the second time */
	if (err)
		return err;
	r = copy_of(cx->arena, was);
	err = s->fn(cx, r, s->arg);
	if (err)
		return err;
	if ((differs(was, r, "password") || differs(was, r, "email")) &&
	    !differs(was, r, "tokenKey")) {
		v.text = random_key(cx->arena, TOKEN_KEY_SIZE);
		(void)auth_set(r, "tokenKey", v);
	}
	v.text = record_now(cx->arena);
	(void)auth_set(r, "updated", v);
	err = record_update(cx, r);
	if (!err)
		err = auth_record_stored(s->api, cx, was, r);
	return err ? err : change_note(s->api, cx, CHANGE_UPDATE, r);
}

static enum kb_err
save_tx(struct kb_cx *cx, void *arg)
{
	return save(cx, arg);
}

enum kb_err
auth_save(
    struct api *api, const struct auth_row *row, auth_change_fn *fn, void *arg)
{
	struct save s = { api, row, fn, arg };
	enum kb_err err = kb_transaction(&api->req->cx, save_tx, &s);

	if (!err)
		changes_publish(api);
	return err;
}

enum kb_err
auth_save_tx(struct api *api, struct kb_cx *cx, const struct auth_row *row,
    auth_change_fn *fn, void *arg)
{
	struct save s = { api, row, fn, arg };

	return save(cx, &s);
}

bool
auth_ref_old(const struct record *ref, int64_t life_s)
{
	char text[RECORD_TIME_SIZE] = "";
	const char *created = auth_text(ref, "created");
	int64_t at;

	if (strlen(created) != sizeof(text) - 1)
		return true;
	memcpy(text, created, sizeof(text));
	text[10] = 'T';
	return !kb_rfc3339_parse(text, &at) ||
	    kb_wall_ms() - at > life_s * 1000;
}
