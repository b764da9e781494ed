/* Audit events as rows of audit_log. */
#include <kombi/id.h>
#include <kombi/time.h>

#include "admin.h"

enum kb_err
audit_store(struct kb_cx *cx, const struct kb_audit_event *event)
{
	char at[KB_RFC3339_SIZE];

	kb_rfc3339(event->at_ms, at);
	return kb_exec(cx,
	    "INSERT INTO audit_log (id, at, tenant, actor, action, resource,"
	    " resource_id, details, ip, request_id)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	    KB_TEXT(kb_id_new(cx->arena, "aud")), KB_TEXT(at),
	    KB_TEXT(event->tenant), KB_TEXT(event->actor),
	    KB_TEXT(event->action), KB_TEXT(event->resource),
	    KB_TEXT(event->resource_id), KB_TEXT(event->details),
	    KB_TEXT(event->ip), KB_TEXT(event->request_id));
}
