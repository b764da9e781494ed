/*
 * Audit events: a log line always, a row where the service keeps them.
 */
#include <kombi/audit.h>
#include <kombi/service.h>
#include <kombi/time.h>

/* Set once at start, before threads. */
static kb_audit_sink *the_sink;

void
kb_audit_set_sink(kb_audit_sink *sink)
{
	the_sink = sink;
}

static const char *
actor_of(const struct kb_user *user)
{
	if (user->sub != NULL)
		return user->sub;
	return user->service ? user->service : "anonymous";
}

enum kb_err
kb_audit(struct kb_request *req, struct kb_cx *cx, const char *action,
    const char *resource, const char *resource_id, const char *details)
{
	struct kb_audit_event event = {
		.action = action,
		.actor = actor_of(&req->user),
		.tenant = req->user.tenant,
		.resource = resource,
		.resource_id = resource_id,
		.ip = req->peer,
		.request_id = req->id,
		.details = details,
		.at_ms = kb_wall_ms(),
	};

	kb_info(cx->log, "audit", KB_S("kind", "audit"), KB_S("action", action),
	    KB_S("actor", event.actor), KB_S("tenant", event.tenant),
	    KB_S("resource", resource), KB_S("resourceId", resource_id),
	    KB_S("ip", event.ip), KB_S("details", details));
	return the_sink ? the_sink(cx, &event) : KB_OK;
}
