/* Members of a tenant: what admins do with them, and leaving. */
#include <string.h>

#include "platform.h"

static const char *const role_names[] = { "admin", "member", "viewer", NULL };

const struct kb_rule member_patch_rules[] = {
	KB_RULE_STR(struct member_change, role, .choices = role_names),
	KB_RULE_BOOL(struct member_change, disabled,
	    .present = offsetof(struct member_change, has_disabled),
	    .doc = "Shut out until it is false again"),
	KB_RULES_END,
};

static void
member_json(struct kb_jsonw *w, const void *obj)
{
	const struct member *m = obj;

	kb_w_str(w, "id", m->id);
	kb_w_str(w, "email", m->email);
	kb_w_str(w, "name", m->name);
	kb_w_str(w, "role", m->role);
	kb_w_bool(w, "disabled", m->disabled);
}

static struct kb_reply
refused(struct kb_request *req, enum kb_err err)
{
	if (err == KB_CONFLICT)
		return kb_fail(
		    req, err, "A tenant keeps at least one active admin");
	return kb_fail(req, err, NULL);
}

static void
change_json(struct kb_jsonw *w, const void *obj)
{
	const struct member *m = obj;

	kb_w_str(w, "role", m->role);
	kb_w_bool(w, "disabled", m->disabled);
}

struct kb_reply
members_patch(struct kb_request *req)
{
	struct member_change c = { .role = NULL };
	struct member now;
	enum kb_err err;

	if (!kb_read_body(req, member_patch_rules, &c))
		return kb_invalid(req);
	c.id = kb_param(req, "id");
	err = member_alter(&req->cx, &c, &now);
	if (err)
		return refused(req, err);
	note(req, "member.changed", "member", now.id,
	    details_text(req->cx.arena, change_json, &now));
	return kb_data(req, 200, member_json, &now);
}

/* The row stays, since stacks name it; it is nobody's any more. */
static enum kb_err
take_out(struct kb_request *req, const char *id)
{
	struct tenant_cx *tc = tenant_of(req);
	struct member_change c = { .id = id, .role = "" };
	struct member gone;
	enum kb_err err = member_alter(&req->cx, &c, &gone);

	return err ? err : mapping_delete(&tc->platform, tc->row.id, id);
}

struct kb_reply
members_delete(struct kb_request *req)
{
	const char *id = kb_param(req, "id");
	enum kb_err err = take_out(req, id);

	if (err)
		return refused(req, err);
	note(req, "member.removed", "member", id, NULL);
	return kb_no_content(req);
}

struct kb_reply
tenant_leave(struct kb_request *req)
{
	const char *id = tenant_of(req)->user.id;
	enum kb_err err = take_out(req, id);

	if (err)
		return refused(req, err);
	note(req, "member.left", "member", id, NULL);
	return kb_no_content(req);
}
