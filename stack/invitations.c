/*
 * Invitations into a tenant, bound to an e-mail address: the token alone lets
 * nobody in, the caller's own address must be the invited one.
 */
#include <string.h>
#include <strings.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "mail.h"
#include "platform.h"

#define TOKEN_BYTES 32
#define TOKEN_SIZE 43 /* in base64url */
#define HOURS_DEFAULT 168
#define HOURS_MAX 720
#define HOUR_MS 3600000LL

static const char *const role_names[] = { "admin", "member", "viewer", NULL };

struct invitation_body {
	const char *email, *role;
	int64_t hours;
};

struct accept_body {
	const char *token;
};

const struct kb_rule invitation_rules[] = {
	KB_RULE_STR(struct invitation_body, email, .required = true,
	    .match = kb_is_email, .hint = "must be an e-mail address"),
	KB_RULE_STR(struct invitation_body, role, .choices = role_names,
	    .doc = "member unless given"),
	KB_RULE_INT_AS(struct invitation_body, hours, "expiresInHours",
	    .min = 1, .max = HOURS_MAX, .doc = "168 unless given"),
	KB_RULES_END,
};

const struct kb_rule accept_rules[] = {
	KB_RULE_STR(struct accept_body, token, .required = true,
	    .min = TOKEN_SIZE, .max = TOKEN_SIZE),
	KB_RULES_END,
};

struct shown {
	const struct invitation *i;
	const char *token, *url; /* NULL: goes by mail alone */
};

static void
invitation_json(struct kb_jsonw *w, const void *obj)
{
	const struct invitation *i = obj;

	kb_w_str(w, "id", i->id);
	kb_w_str(w, "email", i->email);
	kb_w_str(w, "role", i->role);
	kb_w_str(w, "invitedBy", i->invited_by);
	kb_w_str(w, "createdAt", i->created);
	kb_w_str(w, "expiresAt", i->expires);
}

static void
shown_json(struct kb_jsonw *w, const void *obj)
{
	const struct shown *s = obj;

	invitation_json(w, s->i);
	kb_w_opt(w, "token", s->token);
	kb_w_opt(w, "acceptUrl", s->url);
}

struct kb_reply
invitations_list(struct kb_request *req)
{
	struct tenant_cx *tc = tenant_of(req);
	struct kb_page page;
	struct invitation *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = invitations_open(&tc->platform, tc->row.id, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, invitation_json, rows, n, sizeof(*rows), &page);
}

static void
send_mail(struct kb_request *req, const struct settings *s,
    const struct invitation *i, const char *url)
{
	struct kb_arena *a = req->cx.arena;
	const struct tenant_cx *tc = tenant_of(req);
	struct stack_mail mail = {
		.to = i->email,
		.subject = kb_sprintf(a, "You are invited to %s", tc->row.name),
	};

	mail.html = kb_sprintf(a,
	    "<p>Hello,</p><p>you are invited to join %s as %s.</p>"
	    "<p><a href=\"%s\">Accept the invitation</a></p>"
	    "<p>It is good until %s and for this address alone.</p>",
	    mail_escape(a, tc->row.name), i->role, mail_escape(a, url),
	    i->expires);
	mail_post(kb_app(req), &req->cx, s, &mail);
}

/* Where no mail may get through, the answer itself carries the link. */
static bool
tells_link(struct kb_app *app)
{
	return app->common->environment == KB_ENV_DEVELOPMENT ||
	    app->common->mode == KB_MODE_SELF_HOSTED;
}

static const char *
new_token(struct kb_arena *a)
{
	unsigned char random[TOKEN_BYTES];

	kb_random(random, sizeof(random));
	return kb_base64url(a, random, sizeof(random));
}

static const char *
hash_of(struct kb_arena *a, const char *token)
{
	char *hash = kb_arena_alloc(a, 65);

	kb_sha256_hex(token, strlen(token), hash);
	return hash;
}

struct kb_reply
invitations_create(struct kb_request *req)
{
	struct tenant_cx *tc = tenant_of(req);
	struct kb_arena *a = req->cx.arena;
	struct invitation_body b = { .role = "member", .hours = HOURS_DEFAULT };
	char expires[KB_RFC3339_SIZE];
	struct invitation i;
	struct shown s = { .i = &i, .token = new_token(a) };
	const struct settings *settings;
	enum kb_err err;

	if (!kb_read_body(req, invitation_rules, &b))
		return kb_invalid(req);
	kb_rfc3339(kb_wall_ms() + b.hours * HOUR_MS, expires);
	i = (struct invitation) {
		.id = kb_id_new(a, "inv"),
		.tenant_id = tc->row.id,
		.email = b.email,
		.role = b.role,
		.token_hash = hash_of(a, s.token),
		.invited_by = tc->user.id,
		.created = kb_now_text(a),
		.expires = expires,
	};
	err = settings_get(&req->cx, tc->handle, &settings);
	if (!err)
		err = invitation_insert(&tc->platform, &i);
	if (err)
		return kb_fail(req, err, "%s",
		    err == KB_CONFLICT ? "This address is invited already"
				       : kb_err_text(err));
	s.url = kb_sprintf(
	    a, "%s/invitations/accept?token=%s", settings->app_url, s.token);
	send_mail(req, settings, &i, s.url);
	note(req, "invitation.created", "invitation", i.id, NULL);
	if (!tells_link(kb_app(req)))
		s.token = s.url = NULL;
	return kb_data(req, 201, shown_json, &s);
}

struct kb_reply
invitations_delete(struct kb_request *req)
{
	struct tenant_cx *tc = tenant_of(req);
	const char *id = kb_param(req, "id");
	enum kb_err err = invitation_delete(&tc->platform, tc->row.id, id);

	if (err)
		return kb_fail(req, err, NULL);
	note(req, "invitation.revoked", "invitation", id, NULL);
	return kb_no_content(req);
}

/* ---- accepting ------------------------------------------------------------
 */

struct accepted {
	struct tenant tenant;
	struct member member;
};

static void
accepted_json(struct kb_jsonw *w, const void *obj)
{
	const struct accepted *a = obj;

	kb_w_str(w, "tenantId", a->tenant.id);
	kb_w_str(w, "tenantSlug", a->tenant.slug);
	kb_w_str(w, "userId", a->member.id);
	kb_w_str(w, "role", a->member.role);
}

static enum kb_err
join(struct kb_request *req, struct accepted *a, struct quota *q)
{
	struct tenancy *tenancy = stack_state(kb_app(req))->tenancy;
	struct kb_cx cx = req->cx;
	struct tenant_handle *h;
	enum kb_err err = tenancy_acquire(
	    tenancy, cx.arena, a->tenant.slug, &h);

	if (err)
		return err;
	cx.db = tenant_db(h);
	err = member_join(&cx, &a->member, q->limit, &q->used);
	if (!err)
		quota_took(req, &cx, q);
	tenancy_release(tenancy, h);
	return err;
}

static enum kb_err
finish(struct kb_request *req, const struct invitation *i,
    const struct accepted *a)
{
	struct mapping m = {
		.sub = req->user.sub,
		.tenant_id = a->tenant.id,
		.user_id = a->member.id,
		.is_admin = strcmp(a->member.role, "admin") == 0,
		.last_login = kb_now_text(req->cx.arena),
	};
	enum kb_err err = mapping_upsert(&req->cx, &m);

	if (!err)
		err = invitation_close(&req->cx, i->id);
	if (!err)
		note(req, "invitation.accepted", "invitation", i->id, NULL);
	return err;
}

/* The invitation, whose tenant is active and whose address is the caller's. */
static enum kb_err
find(struct kb_request *req, const char *token, struct invitation *i,
    struct tenant *t)
{
	enum kb_err err = invitation_by_hash(
	    &req->cx, hash_of(req->cx.arena, token), i);

	if (!err)
		err = tenant_by_id(&req->cx, i->tenant_id, t);
	if (err)
		return err;
	if (strcmp(t->status, "active") != 0)
		return KB_NOT_FOUND;
	if (req->user.email == NULL ||
	    strcasecmp(req->user.email, i->email) != 0)
		return KB_FORBIDDEN;
	req->user.tenant = t->slug; /* for the audit */
	return invitation_claim(&req->cx, i->id, req->user.sub);
}

struct kb_reply
invitations_accept(struct kb_request *req)
{
	struct accept_body b = { 0 };
	struct accepted a = { 0 };
	struct invitation i;
	struct quota q = { .resource = "users" };
	enum kb_err err;

	if (!kb_read_body(req, accept_rules, &b))
		return kb_invalid(req);
	err = find(req, b.token, &i, &a.tenant);
	if (err == KB_FORBIDDEN)
		return kb_fail(
		    req, err, "This invitation is for another address");
	if (err)
		return kb_fail(req, err, NULL);
	a.member = (struct member) {
		.sub = req->user.sub,
		.email = req->user.email,
		.name = req->user.name,
		.role = i.role,
	};
	q.limit = a.tenant.max_users;
	err = join(req, &a, &q);
	if (err == KB_QUOTA)
		return quota_exceeded(req, "users", q.limit, q.used);
	if (!err)
		err = finish(req, &i, &a);
	return err ? kb_fail(req, err, NULL)
		   : kb_data(req, 200, accepted_json, &a);
}
