/* Users: profiles by sub, for the other services and for operators. */
#include <kombi/str.h>

#include "admin.h"

struct user_body {
	const char *sub, *email, *name, *avatar_url;
};

static bool
is_sub(const char *s)
{
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return false;
	return s[0] != '\0';
}

const struct kb_rule user_rules[] = {
	KB_RULE_STR(struct user_body, sub, .required = true, .max = 128,
	    .match = is_sub, .hint = "must be printable without blanks"),
	KB_RULE_STR(struct user_body, email, .nullable = true,
	    .match = kb_is_email, .hint = "must be an e-mail address"),
	KB_RULE_STR(struct user_body, name, .nullable = true,
	    .match = kb_is_name, .hint = "must be 1 to 128 characters"),
	KB_RULE_STR_AS(struct user_body, avatar_url, "avatarUrl",
	    .nullable = true, .max = 2048),
	KB_RULES_END,
};

static void
user_json(struct kb_jsonw *w, const void *obj)
{
	const struct user *u = obj;

	kb_w_str(w, "id", u->id);
	kb_w_str(w, "sub", u->sub);
	kb_w_str(w, "email", u->email);
	kb_w_str(w, "displayName", u->name);
	kb_w_str(w, "avatarUrl", u->avatar_url);
	kb_w_str(w, "tenantId", u->tenant_id);
	kb_w_bool(w, "isHomelabAdmin", u->homelab_admin);
	kb_w_str(w, "homelabRole", u->role);
	kb_w_str(w, "status", u->status);
	kb_w_str(w, "createdAt", u->created);
	kb_w_str(w, "updatedAt", u->updated);
}

struct kb_reply
users_get(struct kb_request *req)
{
	struct user u;
	enum kb_err err = user_by_sub(&req->cx, kb_param(req, "sub"), &u);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_bare(req, 200, user_json, &u);
}

struct kb_reply
users_put(struct kb_request *req)
{
	struct user_body b = { 0 };
	struct user u = { 0 };
	bool created;
	enum kb_err err;

	if (!kb_read_body(req, user_rules, &b))
		return kb_invalid(req);
	u.sub = b.sub;
	u.email = b.email;
	u.name = b.name;
	u.avatar_url = b.avatar_url;
	err = user_upsert(&req->cx, &u, &created);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_bare(req, created ? 201 : 200, user_json, &u);
}

struct kb_reply
users_list(struct kb_request *req)
{
	struct kb_page page;
	struct user *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = users_page(&req->cx, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, user_json, rows, n, sizeof(*rows), &page);
}
