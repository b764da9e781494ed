/*
 * Audit events (spec B.9): who did what to what. A line in the log of kind
 * "audit" always; and a row where the service has a sink.
 */
#ifndef KOMBI_AUDIT_H
#define KOMBI_AUDIT_H

#include <kombi/http.h>

struct kb_audit_event {
	const char *action; /* "tenant.created" */
	const char *actor;  /* sub, or service name */
	const char *tenant; /* slug, or NULL */
	const char *resource, *resource_id;
	const char *ip, *request_id;
	const char *details; /* JSON object text, or NULL */
	int64_t at_ms;
};

typedef enum kb_err
kb_audit_sink(struct kb_cx *cx, const struct kb_audit_event *event);
/* Once at start. */
void kb_audit_set_sink(kb_audit_sink *sink);

/* An event of this request; in its transaction when cx->tx is set. */
enum kb_err kb_audit(struct kb_request *req, struct kb_cx *cx,
    const char *action, const char *resource, const char *resource_id,
    const char *details) KB_MUSTUSE;

#endif
