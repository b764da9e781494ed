/* What happened in a tenant, in its own database. */
#include <kombi/id.h>
#include <kombi/time.h>

#include "platform.h"

#define KEEP_MS (90LL * 24 * 3600 * 1000)

static const struct kb_col cols[] = {
	KB_COL_STR(struct happening, id),
	KB_COL_STR(struct happening, at),
	KB_COL_STR(struct happening, actor),
	KB_COL_STR(struct happening, actor_name),
	KB_COL_STR(struct happening, action),
	KB_COL_STR(struct happening, resource),
	KB_COL_STR(struct happening, resource_id),
	KB_COL_STR(struct happening, details),
	KB_COLS_END,
};

static enum kb_err
insert_tx(struct kb_cx *cx, void *arg)
{
	const struct happening *h = arg;
	char old[KB_RFC3339_SIZE];
	enum kb_err err = kb_exec(cx,
	    "INSERT INTO _kombi_activity (id, at, actor, actor_name, action,"
	    " resource, resource_id, details)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	    KB_TEXT(kb_id_new(cx->arena, "act")),
	    KB_TEXT(kb_now_text(cx->arena)), KB_TEXT(h->actor),
	    KB_TEXT(h->actor_name), KB_TEXT(h->action), KB_TEXT(h->resource),
	    KB_TEXT(h->resource_id), KB_TEXT(h->details));

	/* Each new line takes the old ones with it: no sweep has to open the
	 * databases of tenants that sleep. */
	kb_rfc3339(kb_wall_ms() - KEEP_MS, old);
	return err ? err
		   : kb_exec(cx, "DELETE FROM _kombi_activity WHERE at < $1",
			 KB_TEXT(old));
}

enum kb_err
activity_insert(struct kb_cx *tenant, const struct happening *h)
{
	struct happening copy = *h;

	return kb_transaction(tenant, insert_tx, &copy);
}

enum kb_err
activity_select(struct kb_cx *tenant, const struct happening_filter *f,
    struct happening **rows_out, size_t *n)
{
	struct kb_rows rows = kb_query(tenant,
	    "SELECT id, at, actor, actor_name, action, resource, resource_id,"
	    " details FROM _kombi_activity"
	    " WHERE ($1 = '' OR action = $1) AND ($2 = '' OR actor = $2)"
	    " AND ($3 = '' OR resource = $3) AND at >= $4"
	    " AND ($5 = '' OR at < $5) AND ($6 = '' OR id < $6)"
	    " ORDER BY id DESC LIMIT $7",
	    KB_TEXT(f->action), KB_TEXT(f->actor), KB_TEXT(f->resource),
	    KB_TEXT(f->since), KB_TEXT(f->until), KB_TEXT(f->before),
	    KB_INT(f->limit));

	return kb_rows_all(&rows, cols, sizeof(struct happening), rows_out, n);
}
