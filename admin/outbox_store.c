/* Letters to other services, kept with the change that they tell of. */
#include "admin.h"

static const struct kb_col cols[] = {
	KB_COL_STR(struct letter, id),
	KB_COL_STR(struct letter, callee),
	KB_COL_STR(struct letter, method),
	KB_COL_STR(struct letter, url),
	KB_COL_STR(struct letter, body),
	KB_COL_STR(struct letter, tenant_id),
	KB_COL_INT(struct letter, attempts),
	KB_COLS_END,
};

enum kb_err
outbox_add(struct kb_cx *tx, const struct letter *l)
{
	return kb_exec(tx,
	    "INSERT INTO outbox (id, callee, method, url, body, tenant_id)"
	    " VALUES ($1, $2, $3, $4, $5, $6)",
	    KB_TEXT(l->id), KB_TEXT(l->callee), KB_TEXT(l->method),
	    KB_TEXT(l->url), KB_TEXT(l->body), KB_TEXT(l->tenant_id));
}

struct wait {
	int64_t ms;
};

static const struct kb_col wait_cols[] = {
	KB_COL_INT(struct wait, ms),
	KB_COLS_END,
};

enum kb_err
outbox_wait(struct kb_cx *cx, int64_t most_ms, int64_t *ms)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT greatest(100, least($1, coalesce(ceil(extract(epoch FROM"
	    " min(not_before) - now()) * 1000), $1)))::bigint FROM outbox"
	    " WHERE sent_at IS NULL AND refused_at IS NULL",
	    KB_INT(most_ms));
	struct wait w = { 0 };
	enum kb_err err = kb_rows_one(&rows, wait_cols, &w);

	*ms = w.ms;
	return err;
}

static enum kb_err
take_tx(struct kb_cx *tx, void *arg)
{
	struct letter *l = arg;
	/* Taken for a minute: if this process dies, another one goes on. */
	struct kb_rows rows = kb_query(tx,
	    "UPDATE outbox SET attempts = attempts + 1,"
	    " not_before = now() + interval '60 seconds'"
	    " WHERE id = (SELECT id FROM outbox WHERE sent_at IS NULL"
	    " AND refused_at IS NULL AND not_before <= now()"
	    " ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED)"
	    " RETURNING id, callee, method, url, body, tenant_id, attempts");

	return kb_rows_one(&rows, cols, l);
}

enum kb_err
outbox_take(struct kb_cx *cx, struct letter *l)
{
	return kb_transaction(cx, take_tx, l);
}

static enum kb_err
sent_tx(struct kb_cx *tx, void *arg)
{
	const struct letter *l = arg;
	enum kb_err err = kb_exec(tx,
	    "UPDATE outbox SET sent_at = now(), error = NULL WHERE id = $1",
	    KB_TEXT(l->id));

	if (err)
		return err;
	return kb_exec(tx,
	    "UPDATE tenants SET provisioned_at = now()"
	    " WHERE id = $1 AND provisioned_at IS NULL AND NOT EXISTS"
	    " (SELECT 1 FROM outbox WHERE tenant_id = $1"
	    " AND callee = 'stack' AND sent_at IS NULL)",
	    KB_TEXT(l->tenant_id));
}

enum kb_err
outbox_sent(struct kb_cx *cx, const struct letter *l)
{
	struct letter copy = *l;

	return kb_transaction(cx, sent_tx, &copy);
}

enum kb_err
outbox_failed(struct kb_cx *cx, const struct letter *l, const char *error,
    int64_t delay_s, bool final)
{
	return kb_exec(cx,
	    "UPDATE outbox SET error = $2,"
	    " not_before = now() + make_interval(secs => $3),"
	    " refused_at = CASE WHEN $4 = 1 THEN now() END WHERE id = $1",
	    KB_TEXT(l->id), KB_TEXT(error), KB_INT(delay_s), KB_FLAG(final));
}
