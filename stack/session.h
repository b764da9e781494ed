/* How a session token enters a tenant: shared by session.c and
 * tenant_resolve.c. */
#ifndef STACK_SESSION_H
#define STACK_SESSION_H

#include <kombi/error.h>

struct kb_request;
struct tenant_cx;

/* tc->row is set; opens the tenant and reads the member. */
enum kb_err session_enter(
    struct kb_request *req, struct tenant_cx *tc, const char *user_id);

/* The tenant is open: reads the member; KB_TENANT_FORBIDDEN if there is none
 * of that id or it is disabled. */
enum kb_err session_member(
    struct kb_request *req, struct tenant_cx *tc, const char *user_id);

#endif
