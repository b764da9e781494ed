/* Audit events as rows of _audit_logs in platform.db. */
#include <kombi/id.h>
#include <kombi/time.h>

#include "platform.h"

enum kb_err
audit_store(struct kb_cx *cx, const struct kb_audit_event *event)
{
	char at[KB_RFC3339_SIZE];

	kb_rfc3339(event->at_ms, at);
	return kb_exec(cx,
	    "INSERT INTO _audit_logs (id, at, tenant, actor, action, resource,"
	    " resource_id, details, ip, request_id)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	    KB_TEXT(kb_id_new(cx->arena, "aud")), KB_TEXT(at),
	    KB_TEXT(event->tenant), KB_TEXT(event->actor),
	    KB_TEXT(event->action), KB_TEXT(event->resource),
	    KB_TEXT(event->resource_id), KB_TEXT(event->details),
	    KB_TEXT(event->ip), KB_TEXT(event->request_id));
}

static const struct kb_col cols[] = {
	KB_COL_STR(struct happening, id),
	KB_COL_STR(struct happening, at),
	KB_COL_STR(struct happening, tenant),
	KB_COL_STR(struct happening, actor),
	KB_COL_STR(struct happening, action),
	KB_COL_STR(struct happening, resource),
	KB_COL_STR(struct happening, resource_id),
	KB_COL_STR(struct happening, details),
	KB_COL_STR(struct happening, ip),
	KB_COL_STR(struct happening, request_id),
	KB_COLS_END,
};

enum kb_err
audit_select(struct kb_cx *platform, const struct happening_filter *f,
    struct happening **rows_out, size_t *n)
{
	struct kb_rows rows = kb_query(platform,
	    "SELECT id, at, tenant, actor, action, resource, resource_id,"
	    " details, ip, request_id FROM _audit_logs"
	    " WHERE ($1 = '' OR tenant = $1) AND ($2 = '' OR action = $2)"
	    " AND ($3 = '' OR actor = $3) AND ($4 = '' OR resource = $4)"
	    " AND at >= $5 AND ($6 = '' OR at < $6) AND ($7 = '' OR id < $7)"
	    " ORDER BY id DESC LIMIT $8",
	    KB_TEXT(f->tenant), KB_TEXT(f->action), KB_TEXT(f->actor),
	    KB_TEXT(f->resource), KB_TEXT(f->since), KB_TEXT(f->until),
	    KB_TEXT(f->before), KB_INT(f->limit));

	return kb_rows_all(&rows, cols, sizeof(struct happening), rows_out, n);
}

enum kb_err
audit_prune(struct kb_cx *platform, const char *before)
{
	return kb_exec(
	    platform, "DELETE FROM _audit_logs WHERE at < $1", KB_TEXT(before));
}
