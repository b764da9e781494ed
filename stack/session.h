/* How a session token enters a tenant: shared by session.c and
 * tenant_resolve.c. */
#ifndef STACK_SESSION_H
#define STACK_SESSION_H

#include <kombi/error.h>

struct kb_request;
struct tenant_cx;

/* tc->row is set; opens the tenant if it is active. */
enum kb_err session_open(struct kb_request *req, struct tenant_cx *tc);

#endif
