/* Events of Stripe and Zitadel, kept until their work is done. */
#include <kombi/id.h>
#include <kombi/str.h>

#include "admin.h"

#define COLUMNS                                                                \
	"id, provider, event_id, type, object, ordinal, payload, status,"      \
	" error, " TIME_TEXT("received_at") ", " TIME_TEXT(                    \
	    "processed_at") ", attempts"

static const struct kb_col cols[] = {
	KB_COL_STR(struct webhook_event, id),
	KB_COL_STR(struct webhook_event, provider),
	KB_COL_STR(struct webhook_event, event_id),
	KB_COL_STR(struct webhook_event, type),
	KB_COL_STR(struct webhook_event, object),
	KB_COL_INT(struct webhook_event, ordinal),
	KB_COL_STR(struct webhook_event, payload),
	KB_COL_STR(struct webhook_event, status),
	KB_COL_STR(struct webhook_event, error),
	KB_COL_STR(struct webhook_event, received),
	KB_COL_STR(struct webhook_event, processed),
	KB_COL_INT(struct webhook_event, attempts),
	KB_COLS_END,
};

struct number {
	int64_t n;
};

static const struct kb_col number_cols[] = {
	KB_COL_INT(struct number, n),
	KB_COLS_END,
};

struct insert {
	const struct webhook_event *e;
	const char *customer;
	bool fresh;
};

static enum kb_err
insert_tx(struct kb_cx *tx, void *arg)
{
	struct insert *in = arg;
	const struct webhook_event *e = in->e;
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(tx, &changed,
	    "INSERT INTO webhook_events"
	    " (id, provider, event_id, type, object, ordinal, payload)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7)"
	    " ON CONFLICT (provider, event_id) DO NOTHING",
	    KB_TEXT(e->id), KB_TEXT(e->provider), KB_TEXT(e->event_id),
	    KB_TEXT(e->type), KB_TEXT(e->object), KB_INT(e->ordinal),
	    KB_TEXT(e->payload));

	in->fresh = changed > 0;
	if (err || !in->fresh || in->customer == NULL)
		return err;
	return kb_exec(tx,
	    "UPDATE stripe_customers SET dirty_at = now()"
	    " WHERE customer_id = $1",
	    KB_TEXT(in->customer));
}

enum kb_err
webhook_insert(struct kb_cx *cx, const struct webhook_event *e,
    const char *customer, bool *fresh)
{
	struct insert in = { .e = e, .customer = customer };
	enum kb_err err = kb_transaction(cx, insert_tx, &in);

	*fresh = in.fresh;
	return err;
}

#define FILTER                                                                 \
	" FROM webhook_events WHERE (CAST($1 AS text) IS NULL"                 \
	" OR provider = $1) AND (CAST($2 AS text) IS NULL OR status = $2)"

enum kb_err
webhooks_page(struct kb_cx *cx, const struct webhook_filter *f,
    struct kb_page *page, struct webhook_event **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx, "SELECT count(*)" FILTER,
	    KB_TEXT(f->provider), KB_TEXT(f->status));
	struct number total = { 0 };
	enum kb_err err = kb_rows_one(&rows, number_cols, &total);

	if (err)
		return err;
	page->total = total.n;
	rows = kb_query(cx,
	    "SELECT " COLUMNS FILTER " ORDER BY arrival DESC LIMIT $3 OFFSET"
	    " $4",
	    KB_TEXT(f->provider), KB_TEXT(f->status), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct webhook_event), out, n);
}

enum kb_err
webhook_retry(struct kb_cx *cx, const char *id)
{
	int64_t changed = 0;
	enum kb_err err = kb_exec_n(cx, &changed,
	    "UPDATE webhook_events SET status = 'pending', attempts = 0,"
	    " not_before = now(), error = NULL, processed_at = NULL"
	    " WHERE id = $1 AND status = 'failed'",
	    KB_TEXT(id));

	return !err && changed == 0 ? KB_NOT_FOUND : err;
}

struct next {
	webhook_do *fn;
	struct webhook_event *e;
};

static enum kb_err
next_tx(struct kb_cx *tx, void *arg)
{
	struct next *next = arg;
	struct webhook_event *e = next->e;
	const char *status = NULL;
	struct kb_rows rows = kb_query(tx,
	    "SELECT " COLUMNS " FROM webhook_events e"
	    " WHERE provider = 'zitadel' AND status = 'pending'"
	    " AND not_before <= now() AND NOT EXISTS"
	    " (SELECT 1 FROM webhook_events o WHERE o.provider = e.provider"
	    " AND o.object = e.object AND o.status = 'pending'"
	    " AND o.arrival < e.arrival)"
	    " ORDER BY arrival LIMIT 1 FOR UPDATE SKIP LOCKED");
	enum kb_err err;

	*e = (struct webhook_event) { 0 };
	err = kb_rows_one(&rows, cols, e);
	if (!err)
		err = next->fn(tx, e, &status);
	if (err)
		return err;
	return kb_exec(tx,
	    "UPDATE webhook_events SET status = $2, processed_at = now(),"
	    " error = NULL, attempts = attempts + 1 WHERE id = $1",
	    KB_TEXT(e->id), KB_TEXT(status));
}

enum kb_err
webhook_next(struct kb_cx *cx, webhook_do *fn, struct webhook_event *e)
{
	struct next next = { fn, e };

	return kb_transaction(cx, next_tx, &next);
}

enum kb_err
webhook_failed(struct kb_cx *cx, const struct webhook_event *e,
    const char *error, int64_t delay_s, bool final)
{
	return kb_exec(cx,
	    "UPDATE webhook_events SET error = $2, attempts = attempts + 1,"
	    " not_before = now() + make_interval(secs => $3),"
	    " status = CASE WHEN $4 = 1 THEN 'failed' ELSE status END,"
	    " processed_at = CASE WHEN $4 = 1 THEN now() END"
	    " WHERE id = $1 AND status = 'pending'",
	    KB_TEXT(e->id), KB_TEXT(error), KB_INT(delay_s), KB_FLAG(final));
}

enum kb_err
webhook_wait(struct kb_cx *cx, int64_t most_ms, int64_t *ms)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT greatest(100, least($1, coalesce(ceil(extract(epoch FROM"
	    " min(not_before) - now()) * 1000), $1)))::bigint"
	    " FROM webhook_events WHERE provider = 'zitadel'"
	    " AND status = 'pending'",
	    KB_INT(most_ms));
	struct number wait = { 0 };
	enum kb_err err = kb_rows_one(&rows, number_cols, &wait);

	*ms = wait.n;
	return err;
}

enum kb_err
webhooks_purge(struct kb_cx *cx)
{
	/* Stripe repeats for three days, an operator looks back for weeks. */
	return kb_exec(cx,
	    "DELETE FROM webhook_events WHERE status IN ('done', 'ignored')"
	    " AND processed_at < now() - interval '30 days'");
}

struct standing {
	const char *status;
};

static const struct kb_col standing_cols[] = {
	KB_COL_STR(struct standing, status),
	KB_COLS_END,
};

/* The row of that sub, made if there is none, ours until the end. */
static enum kb_err
lock_user(struct kb_cx *tx, const char *sub, struct standing *s)
{
	struct kb_rows rows;
	enum kb_err err = kb_exec(tx,
	    "INSERT INTO users (id, sub) VALUES ($1, $2)"
	    " ON CONFLICT (sub) DO NOTHING",
	    KB_TEXT(kb_id_new(tx->arena, "usr")), KB_TEXT(sub));

	if (err)
		return err;
	rows = kb_query(tx,
	    "SELECT status FROM users WHERE sub = $1 FOR UPDATE", KB_TEXT(sub));
	return kb_rows_one(&rows, standing_cols, s);
}

/* News of one part, unless the row has newer ones. */
#define HEAR(part)                                                             \
	"UPDATE users SET " part " = $2, " part                                \
	"_ordinal = $3, updated_at = now()"                                    \
	" WHERE sub = $1 AND status <> 'deleted' AND " part "_ordinal <= $3"

static enum kb_err
hear(struct kb_cx *tx, const char *sql, const struct user_news *news,
    const char *value)
{
	const struct kb_val values[] = { KB_TEXT(news->sub), KB_TEXT(value),
		KB_INT(news->ordinal), { .kind = KB_V_END } };

	return value ? kb_exec_v(tx, sql, values, NULL) : KB_OK;
}

/* What stays is the sub, so that late events find that it was here. */
static enum kb_err
erase(struct kb_cx *tx, const char *sub)
{
	return kb_exec(tx,
	    "UPDATE users SET status = 'deleted', email = NULL, name = NULL,"
	    " avatar_url = NULL, tenant_id = NULL, is_homelab_admin = false,"
	    " homelab_role = 'member', updated_at = now() WHERE sub = $1",
	    KB_TEXT(sub));
}

enum kb_err
user_hear(struct kb_cx *tx, const struct user_news *news, bool *changed)
{
	struct standing before, after;
	enum kb_err err = lock_user(tx, news->sub, &before);

	if (!err && kb_str_eq(news->status, "deleted"))
		err = erase(tx, news->sub);
	else if (!err)
		err = hear(tx, HEAR("status"), news, news->status);
	if (!err)
		err = hear(tx, HEAR("email"), news, news->email);
	if (!err)
		err = hear(tx, HEAR("name"), news, news->name);
	if (!err)
		err = lock_user(tx, news->sub, &after);
	*changed = !err && !kb_str_eq(before.status, after.status);
	return err;
}
