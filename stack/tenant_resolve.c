/*
 * The only door to a tenant's data: which tenant a request is about, whether
 * the caller is a member of it, and as what.
 */
#include <string.h>

#include <kombi/str.h>

#include "session.h"
#include "stack.h"

#define TENANT_PREFIX "/tenant/{slug}"

/* The path names the tenant, or the header does, or there is only the one
 * that the caller entered last. */
static enum kb_err
find_tenant(struct kb_request *req, struct tenant *t)
{
	const char *slug = req->user.tenant;
	enum kb_err err;

	if (kb_str_starts(req->route->pattern, TENANT_PREFIX))
		slug = kb_param(req, "slug");
	if (slug == NULL || slug[0] == '\0') {
		err = tenant_last_of(&req->cx, req->user.sub, t);
		return err == KB_NOT_FOUND ? KB_TENANT_REQUIRED : err;
	}
	if (!kb_is_slug(slug))
		return KB_TENANT_NOT_FOUND;
	err = tenant_by_slug(&req->cx, slug, t);
	return err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err;
}

static enum kb_err
check_status(const struct tenant *t)
{
	if (strcmp(t->status, "active") == 0)
		return KB_OK;
	return strcmp(t->status, "suspended") == 0 ? KB_TENANT_FORBIDDEN
						   : KB_TENANT_NOT_FOUND;
}

static enum kb_err
open_tenant(struct kb_request *req, struct tenant_cx *tc)
{
	struct tenancy *tenancy = stack_state(kb_app(req))->tenancy;
	enum kb_err err;

	client_ip_believe(req);
	err = tenancy_acquire(
	    tenancy, req->cx.arena, tc->row.slug, &tc->handle);

	if (err)
		return err;
	tc->platform = req->cx;
	req->cx.db = tenant_db(tc->handle);
	req->tenant = tc;
	req->user.tenant = tc->row.slug; /* for the audit */
	return KB_OK;
}

/* Reads who the caller is in the open tenant. A record of users without a
 * role is no member of the platform. */
static enum kb_err
read_member(struct kb_request *req, struct tenant_cx *tc, const char *user_id)
{
	enum kb_err err = member_by_id(&req->cx, user_id, &tc->user);

	if (err)
		return err == KB_NOT_FOUND ? KB_TENANT_FORBIDDEN : err;
	if (tc->user.disabled)
		return KB_TENANT_FORBIDDEN;
	req->role = kb_tenant_role_of(tc->user.role);
	return req->role == KB_ROLE_NONE ? KB_TENANT_FORBIDDEN : KB_OK;
}

void
tenant_resolved_done(struct kb_request *req)
{
	struct tenant_cx *tc = req->tenant;

	if (tc == NULL)
		return;
	req->cx.db = tc->platform.db;
	req->tenant = NULL;
	if (tc->handle != NULL)
		tenancy_release(stack_state(kb_app(req))->tenancy, tc->handle);
}

static enum kb_err
enter(struct kb_request *req, struct tenant_cx *tc, const char *user_id)
{
	enum kb_err err = open_tenant(req, tc);

	if (err)
		return err;
	err = read_member(req, tc, user_id);
	/* Who is refused is not looked after: the database is let go here. */
	if (err)
		tenant_resolved_done(req);
	return err;
}

static enum kb_err
resolve(struct kb_request *req)
{
	struct tenant_cx *tc = kb_new(req->cx.arena, struct tenant_cx);
	struct mapping m;
	enum kb_err err;

	/* A session token resolved it already, with the same checks. */
	if (req->tenant != NULL)
		return KB_OK;
	err = find_tenant(req, &tc->row);
	if (err)
		return err;
	/*
	 * Membership comes before status: who does not belong to a tenant
	 * does not learn how it fares.
	 */
	err = mapping_get(&req->cx, req->user.sub, tc->row.id, &m);
	if (err)
		return err == KB_NOT_FOUND ? KB_TENANT_FORBIDDEN : err;
	err = check_status(&tc->row);
	if (err)
		return err;
	return enter(req, tc, m.user_id);
}

/* Routes that a feature flag shuts where it is false. */
static const struct {
	const char *part, *flag;
} gates[] = {
	{ "/v1/wallet/", "wallet" },
	{ "/v1/tenant/invitations", "invitations" },
	{ "/v1/jobs", "jobs" },
};

static enum kb_err
judge_flag(const struct tenant_cx *tc, const char *key)
{
	struct kb_cx platform = tc->platform;
	struct flag *rows;
	size_t n;
	enum kb_err err = flags_of(
	    &platform, tc->row.id, tc->user.sub ? tc->user.sub : "", &rows, &n);

	for (size_t i = 0; !err && i < n; i++)
		if (strcmp(rows[i].key, key) == 0 &&
		    strcmp(rows[i].value, "false") == 0)
			return KB_FORBIDDEN;
	return err;
}

enum kb_err
tenant_resolve(struct kb_request *req)
{
	enum kb_err err = resolve(req);

	for (size_t i = 0; !err && i < KB_COUNT(gates); i++)
		if (strstr(req->route->pattern, gates[i].part) != NULL)
			err = judge_flag(tenant_of(req), gates[i].flag);
	if (err)
		tenant_resolved_done(req);
	return err;
}

enum kb_err
session_open(struct kb_request *req, struct tenant_cx *tc)
{
	enum kb_err err = check_status(&tc->row);

	return err ? err : open_tenant(req, tc);
}

/* The gateway's word; tokens are judged by who knows the collections. */
static enum kb_err
recognise(struct kb_request *req, struct tenant_cx *tc)
{
	struct mapping m;
	enum kb_err err;

	if (req->user.sub == NULL)
		return KB_OK;
	err = mapping_get(&tc->platform, req->user.sub, tc->row.id, &m);
	if (err)
		return err == KB_NOT_FOUND ? KB_TENANT_FORBIDDEN : err;
	return read_member(req, tc, m.user_id);
}

enum kb_err
tenant_visit(struct kb_request *req, struct tenant_cx *tc, const char *slug)
{
	enum kb_err err;

	if (!kb_is_slug(slug))
		return KB_TENANT_NOT_FOUND;
	err = tenant_by_slug(&req->cx, slug, &tc->row);
	if (err)
		return err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err;
	err = session_open(req, tc);
	if (!err)
		err = recognise(req, tc);
	if (err) {
		tc->user = (struct member) { .id = NULL };
		req->role = KB_ROLE_NONE;
	}
	return err;
}
