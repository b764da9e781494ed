/* Stacks of a tenant, as far as the viewer may see them. */
#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "stack.h"

#define COLUMNS                                                                \
	"s.id, s.name, s.description, s.owner_id, s.kit, s.spec,"              \
	" s.spec_sha256, s.configuration, s.status, s.created, s.updated,"     \
	" (SELECT json_group_array(m.user_id) FROM _kombi_stack_members m"     \
	" WHERE m.stack_id = s.id)"
/* $1 is the viewer's id, $2 whether it is an admin. */
#define VISIBLE                                                                \
	"($2 = 1 OR s.owner_id = $1 OR EXISTS (SELECT 1 FROM "                 \
	"_kombi_stack_members"                                                 \
	" v WHERE v.stack_id = s.id AND v.user_id = $1))"

struct row {
	const char *id, *name, *description, *owner, *kit, *spec, *spec_sha256;
	const char *configuration, *status, *created, *updated, *members;
};

static const struct kb_col cols[] = {
	KB_COL_STR(struct row, id),
	KB_COL_STR(struct row, name),
	KB_COL_STR(struct row, description),
	KB_COL_STR(struct row, owner),
	KB_COL_STR(struct row, kit),
	KB_COL_STR(struct row, spec),
	KB_COL_STR(struct row, spec_sha256),
	KB_COL_STR(struct row, configuration),
	KB_COL_STR(struct row, status),
	KB_COL_STR(struct row, created),
	KB_COL_STR(struct row, updated),
	KB_COL_STR(struct row, members),
	KB_COLS_END,
};

struct count {
	int64_t n;
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct count, n),
	KB_COLS_END,
};

static const char *const *
member_list(struct kb_arena *a, const char *text)
{
	const struct kb_json *list = NULL;
	const char **ids, *why;
	size_t n;

	if (text == NULL ||
	    kb_json_parse(a, text, kb_slice_of(text).len, &list, &why))
		return NULL;
	n = kb_json_size(list);
	ids = kb_new_array(a, n + 1, const char *);
	for (size_t i = 0; i < n; i++)
		ids[i] = kb_json_text(kb_json_at(list, i));
	return ids;
}

static struct stack
stack_of(struct kb_arena *a, const struct row *r)
{
	return (struct stack) {
		.id = r->id,
		.name = r->name,
		.description = r->description,
		.owner = r->owner,
		.kit = r->kit,
		.spec = r->spec,
		.spec_sha256 = r->spec_sha256,
		.configuration = r->configuration,
		.status = r->status,
		.created = r->created,
		.updated = r->updated,
		.members = member_list(a, r->members),
	};
}

enum kb_err
stacks_used(struct kb_cx *cx, int64_t *n)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT count(*) FROM _kombi_stacks");
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

static enum kb_err
write_members(struct kb_cx *cx, const struct stack *s)
{
	enum kb_err err = members_exist(cx, s->members);

	for (const char *const *id = s->members; !err && *id != NULL; id++)
		err = kb_exec(cx,
		    "INSERT INTO _kombi_stack_members (stack_id, user_id)"
		    " VALUES ($1, $2) ON CONFLICT DO NOTHING",
		    KB_TEXT(s->id), KB_TEXT(*id));
	return err;
}

struct insert {
	const struct stack *s;
	int64_t max, used;
};

/* Counting and inserting in one transaction: the quota holds under any
 * number of parallel requests. */
static enum kb_err
insert_tx(struct kb_cx *cx, void *arg)
{
	struct insert *in = arg;
	const struct stack *s = in->s;
	enum kb_err err = stacks_used(cx, &in->used);

	if (err)
		return err;
	if (in->max >= 0 && in->used >= in->max)
		return KB_QUOTA;
	err = kb_exec(cx,
	    "INSERT INTO _kombi_stacks (id, name, description, owner_id, kit, "
	    "spec,"
	    " spec_sha256, configuration, status, created, updated)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
	    KB_TEXT(s->id), KB_TEXT(s->name), KB_TEXT(s->description),
	    KB_TEXT(s->owner), KB_TEXT(s->kit), KB_TEXT(s->spec),
	    KB_TEXT(s->spec_sha256), KB_TEXT(s->configuration),
	    KB_TEXT(s->status), KB_TEXT(s->created));
	if (err)
		return err;
	in->used++;
	return s->members ? write_members(cx, s) : KB_OK;
}

enum kb_err
stack_insert(
    struct kb_cx *cx, const struct stack *s, int64_t max_stacks, int64_t *used)
{
	struct insert in = { .s = s, .max = max_stacks };
	enum kb_err err = kb_transaction(cx, insert_tx, &in);

	*used = in.used;
	return err;
}

enum kb_err
stack_get(
    struct kb_cx *cx, const struct viewer *v, const char *id, struct stack *s)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS
	    " FROM _kombi_stacks s WHERE s.id = $3 AND " VISIBLE,
	    KB_TEXT(v->user_id), KB_FLAG(v->admin), KB_TEXT(id));
	struct row r = { 0 };
	enum kb_err err = kb_rows_one(&rows, cols, &r);

	if (!err)
		*s = stack_of(cx->arena, &r);
	return err;
}

static enum kb_err
count_visible(struct kb_cx *cx, const struct viewer *v, int64_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM _kombi_stacks s WHERE " VISIBLE,
	    KB_TEXT(v->user_id), KB_FLAG(v->admin));
	struct count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

enum kb_err
stacks_page(struct kb_cx *cx, const struct viewer *v, struct kb_page *page,
    struct stack **out, size_t *n)
{
	enum kb_err err = count_visible(cx, v, &page->total);
	struct kb_rows rows;
	struct row *found;

	if (err)
		return err;
	rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM _kombi_stacks s WHERE " VISIBLE
	    " ORDER BY s.id DESC LIMIT $3 OFFSET $4",
	    KB_TEXT(v->user_id), KB_FLAG(v->admin), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	err = kb_rows_all(&rows, cols, sizeof(struct row), &found, n);
	if (err)
		return err;
	*out = kb_new_array(cx->arena, *n + 1, struct stack);
	for (size_t i = 0; i < *n; i++)
		(*out)[i] = stack_of(cx->arena, &found[i]);
	return KB_OK;
}

static enum kb_err
update_tx(struct kb_cx *cx, void *arg)
{
	const struct stack *s = arg;
	enum kb_err err = kb_exec(cx,
	    "UPDATE _kombi_stacks SET name = $2, description = $3, kit = $4,"
	    " spec = $5, spec_sha256 = $6, configuration = $7, status = $8,"
	    " updated = $9 WHERE id = $1",
	    KB_TEXT(s->id), KB_TEXT(s->name), KB_TEXT(s->description),
	    KB_TEXT(s->kit), KB_TEXT(s->spec), KB_TEXT(s->spec_sha256),
	    KB_TEXT(s->configuration), KB_TEXT(s->status), KB_TEXT(s->updated));

	if (err || s->members == NULL)
		return err;
	err = kb_exec(cx,
	    "DELETE FROM _kombi_stack_members WHERE stack_id = $1",
	    KB_TEXT(s->id));
	return err ? err : write_members(cx, s);
}

enum kb_err
stack_update(struct kb_cx *cx, const struct stack *s)
{
	struct stack copy = *s;

	return kb_transaction(cx, update_tx, &copy);
}

enum kb_err
stack_set_status(struct kb_cx *cx, const char *id, const char *status)
{
	return kb_exec(cx,
	    "UPDATE _kombi_stacks SET status = $2, updated = $3 WHERE id = $1",
	    KB_TEXT(id), KB_TEXT(status), KB_TEXT(kb_now_text(cx->arena)));
}

enum kb_err
stack_delete(struct kb_cx *cx, const char *id)
{
	return kb_exec(
	    cx, "DELETE FROM _kombi_stacks WHERE id = $1", KB_TEXT(id));
}
