/*
 * SSO exchange (contract K-4): the gateway vouches for a user by identity
 * headers; the user enters the tenant of the organisation and gets a session
 * token. The answer is the seed's, with user and redirectUrl added.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "platform.h"
#include "tenants.h"

#define SLUG_MAX 48 /* leaves room for the suffix */
#define SLUG_TRIES 4

struct entry {
	struct tenant tenant;
	struct member member;
	struct session_token session;
	char expires[KB_RFC3339_SIZE];
	const char *redirect;
};

static void
entry_json(struct kb_jsonw *w, const void *obj)
{
	const struct entry *e = obj;

	kb_w_str(w, "token", e->session.token);
	kb_w_str(w, "tenantId", e->tenant.id);
	kb_w_str(w, "tenantSlug", e->tenant.slug);
	kb_w_str(w, "userId", e->member.id);
	kb_w_str(w, "email", e->member.email ? e->member.email : "");
	kb_w_str(w, "role", e->member.role);
	kb_w_str(w, "expiresAt", e->expires);
	kb_w_object(w, "user");
	kb_w_str(w, "id", e->member.id);
	kb_w_str(w, "email", e->member.email ? e->member.email : "");
	kb_w_str(w, "name", e->member.name ? e->member.name : "");
	kb_w_str(w, "role", e->member.role);
	kb_w_object_end(w);
	kb_w_str(w, "redirectUrl", e->redirect);
}

/* Organisation id -> slug: lower case, other bytes become single dashes. */
static const char *
slug_of_org(struct kb_arena *a, const char *org, unsigned attempt)
{
	char digest[65];
	char *slug = kb_arena_alloc(a, SLUG_MAX + 16);
	size_t n = 0;

	for (const char *p = kb_str_lower(a, org); *p && n < SLUG_MAX; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') ||
		    (*p >= '0' && *p <= '9');

		if (plain)
			slug[n++] = *p;
		else if (n > 0 && slug[n - 1] != '-')
			slug[n++] = '-';
	}
	while (n > 0 && slug[n - 1] == '-')
		n--;
	slug[n] = '\0';
	if (attempt == 0 && n > 0)
		return slug;
	kb_sha256_hex(org, strlen(org), digest);
	return kb_sprintf(a, "%.*s%s%.*s", (int)n, slug, n ? "-" : "t",
	    (int)(4 + 2 * attempt), digest);
}

/* The first launch of an organisation nobody provisioned makes its tenant. */
static enum kb_err
create_tenant(struct kb_request *req, const char *org, struct tenant *t)
{
	enum kb_err err = KB_CONFLICT;

	for (unsigned i = 0; err == KB_CONFLICT && i < SLUG_TRIES; i++) {
		const char *slug = slug_of_org(req->cx.arena, org, i);

		*t = tenant_make(req->cx.arena, slug, slug, org,
		    kb_plan_name(req->user.plan));
		err = tenant_insert(
		    &req->cx, t, stack_max_tenants(kb_app(req)));
		/* Somebody of the same organisation was faster. */
		if (err == KB_CONFLICT && !tenant_by_org(&req->cx, org, t))
			return KB_OK;
	}
	if (!err)
		err = kb_audit(
		    req, &req->cx, "tenant.created", "tenant", t->id, NULL);
	return err;
}

static enum kb_err
find_or_create_tenant(struct kb_request *req, struct tenant *t)
{
	enum kb_err err = tenant_by_org(&req->cx, req->user.org, t);

	if (err != KB_NOT_FOUND)
		return err;
	if (!stack_config(kb_app(req))->create_tenants)
		return KB_TENANT_NOT_FOUND;
	return create_tenant(req, req->user.org, t);
}

/* Makes the caller a member in the tenant's own database. */
static enum kb_err
enter_tenant(struct kb_request *req, struct entry *e, int64_t *used)
{
	struct tenancy *tenancy = stack_state(kb_app(req))->tenancy;
	struct kb_cx cx = req->cx;
	struct tenant_handle *h;
	enum kb_err err;

	err = tenancy_acquire(tenancy, cx.arena, e->tenant.slug, &h);
	if (err)
		return err;
	cx.db = tenant_db(h);
	err = member_enter(&cx, &e->member, e->tenant.max_users, used);
	if (!err && *used > 0)
		quota_took(req, &cx,
		    &(const struct quota) {
			"users", e->tenant.max_users, *used });
	if (!err && e->member.disabled)
		err = KB_TENANT_FORBIDDEN;
	if (!err)
		err = session_issue(
		    &cx, h, &e->tenant, &e->member, &e->session);
	tenancy_release(tenancy, h);
	return err;
}

static enum kb_err
record_entry(struct kb_request *req, const struct entry *e)
{
	struct mapping m = {
		.sub = req->user.sub,
		.tenant_id = e->tenant.id,
		.user_id = e->member.id,
		.is_admin = strcmp(e->member.role, "admin") == 0,
		.last_login = kb_now_text(req->cx.arena),
	};
	enum kb_err err = mapping_upsert(&req->cx, &m);

	if (err)
		return err;
	return kb_audit(
	    req, &req->cx, "sso.exchange", "tenant", e->tenant.id, NULL);
}

static void
tell_session(struct kb_request *req, struct entry *e)
{
	kb_rfc3339(e->session.expires_s * 1000, e->expires);
	e->redirect = kb_sprintf(
	    req->cx.arena, "/tenant/%s/dashboard", e->tenant.slug);
}

static struct kb_reply
tenant_refused(struct kb_request *req, enum kb_err err)
{
	if (err == KB_UNAVAILABLE)
		return kb_fail(req, err, "This instance takes no more tenants");
	return kb_fail(req, err, NULL);
}

struct kb_reply
sso_exchange(struct kb_request *req)
{
	struct entry e = {
		.member = {
		    .sub = req->user.sub,
		    .email = req->user.email,
		    .name = req->user.name,
		},
		.session.life_s = stack_config(kb_app(req))->session_s,
	};
	int64_t used = 0;
	enum kb_err err;

	if (req->user.org == NULL || req->user.org[0] == '\0')
		return kb_fail(
		    req, KB_INVALID, "X-Org-ID must name the organisation");
	err = find_or_create_tenant(req, &e.tenant);
	if (err)
		return tenant_refused(req, err);
	req->user.tenant = e.tenant.slug; /* for the audit */
	if (strcmp(e.tenant.status, "active") != 0)
		return kb_fail(
		    req, KB_TENANT_FORBIDDEN, "This tenant is not active");
	err = enter_tenant(req, &e, &used);
	if (err == KB_QUOTA)
		return quota_exceeded(req, "users", e.tenant.max_users, used);
	if (!err)
		err = record_entry(req, &e);
	if (err)
		return kb_fail(req, err, NULL);
	tell_session(req, &e);
	return kb_bare(req, 200, entry_json, &e);
}
