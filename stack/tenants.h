/* Making a tenant: shared by provisioning and the SSO exchange. */
#ifndef STACK_TENANTS_H
#define STACK_TENANTS_H

#include "stack.h"

/* A fresh tenant with its plan's limits and a new token secret. */
struct tenant tenant_make(struct kb_arena *a, const char *slug,
    const char *name, const char *org, const char *plan);

/* Makes and migrates the tenant's database, so that the first request of a
 * member does not meet a failure. */
enum kb_err tenant_open_check(
    struct kb_app *app, struct kb_arena *a, const char *slug) KB_MUSTUSE;

#endif
