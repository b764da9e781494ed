/* Stacks: the homelabs of a tenant, each described by a kombination.yaml. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "platform.h"

#define SPEC_MAX (256 * 1024)

struct stack_body {
	const char *name, *description, *kit, *spec;
	const char *const *members;
	const struct kb_json *configuration;
};

static bool
is_kit_id(const char *s)
{
	return s[0] == '\0' || kb_is_slug(s);
}

/* clang-format off */
#define BODY_RULES(is_required) \
	KB_RULE_STR(struct stack_body, name, .required = is_required, .match = kb_is_name, .hint = "must be 1 to 128 characters, no blank at either end"), \
	KB_RULE_STR(struct stack_body, description, .max = 2000), \
	KB_RULE_STR(struct stack_body, kit, .match = is_kit_id, .hint = "may hold a-z, 0-9 and dashes"), \
	KB_RULE_STR(struct stack_body, spec, .max = SPEC_MAX, .doc = "kombination.yaml, kept byte for byte"), \
	KB_RULE_JSON(struct stack_body, configuration, .doc = "Further settings, an object"), \
	KB_RULE_STRS(struct stack_body, members, .max = 100, .doc = "User ids of the tenant")
/* clang-format on */

extern const struct kb_rule stack_create_rules[], stack_patch_rules[];

const struct kb_rule stack_create_rules[] = { BODY_RULES(true), KB_RULES_END };
const struct kb_rule stack_patch_rules[] = { BODY_RULES(false), KB_RULES_END };

static void
summary_json(struct kb_jsonw *w, const void *obj)
{
	const struct stack *s = obj;

	kb_w_str(w, "id", s->id);
	kb_w_str(w, "name", s->name);
	kb_w_str(w, "description", s->description);
	kb_w_str(w, "ownerId", s->owner);
	kb_w_str(w, "kit", s->kit);
	kb_w_str(w, "specSha256", s->spec_sha256);
	kb_w_array(w, "members");
	for (const char *const *id = s->members; id && *id; id++)
		kb_w_str(w, NULL, *id);
	kb_w_array_end(w);
	kb_w_str(w, "status", s->status);
	kb_w_str(w, "createdAt", s->created);
	kb_w_str(w, "updatedAt", s->updated);
}

static void
stack_json(struct kb_jsonw *w, const void *obj)
{
	const struct stack *s = obj;

	summary_json(w, s);
	kb_w_raw(w, "configuration", s->configuration);
	kb_w_str(w, "spec", s->spec);
}

static struct viewer
viewer_of(const struct kb_request *req)
{
	return (struct viewer) {
		.user_id = tenant_of(req)->user.id,
		.admin = req->role == KB_ROLE_ADMIN,
	};
}

static void
set_spec(struct kb_arena *a, struct stack *s, const char *spec)
{
	char *digest = kb_arena_alloc(a, 65);

	s->spec = spec;
	if (spec[0] != '\0')
		kb_sha256_hex(spec, strlen(spec), digest);
	s->spec_sha256 = digest;
}

/* Copies what the body gave over what the stack has. */
static void
apply(struct kb_request *req, const struct stack_body *b, struct stack *s)
{
	if (b->name != NULL)
		s->name = b->name;
	if (b->description != NULL)
		s->description = b->description;
	if (b->kit != NULL)
		s->kit = b->kit;
	if (b->spec != NULL)
		set_spec(req->cx.arena, s, b->spec);
	if (b->configuration != NULL)
		s->configuration = kb_json_print(
		    req->cx.arena, b->configuration);
	s->members = b->members;
}

static bool
read_stack(
    struct kb_request *req, const struct kb_rule *rules, struct stack_body *b)
{
	if (!kb_read_body(req, rules, b))
		return false;
	if (b->configuration != NULL &&
	    kb_json_kind(b->configuration) != KB_JSON_OBJECT) {
		kb_bad_field(req, "configuration", "must be an object");
		return false;
	}
	return true;
}

static struct kb_reply
not_written(struct kb_request *req, enum kb_err err)
{
	if (err == KB_INVALID) {
		kb_bad_field(
		    req, "members", "must hold ids of members of this tenant");
		return kb_invalid(req);
	}
	return kb_fail(req, err, NULL);
}

struct kb_reply
stacks_list(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct kb_page page;
	struct stack *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = stacks_page(&req->cx, &v, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, summary_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
stacks_create(struct kb_request *req)
{
	const struct tenant_cx *tc = tenant_of(req);
	struct stack_body b = { 0 };
	struct stack s = {
		.owner = tc->user.id,
		.description = "",
		.kit = "",
		.spec = "",
		.spec_sha256 = "",
		.configuration = "{}",
		.status = "draft",
	};
	int64_t used = 0;
	enum kb_err err;

	if (!read_stack(req, stack_create_rules, &b))
		return kb_invalid(req);
	apply(req, &b, &s);
	s.id = kb_id_new(req->cx.arena, "stk");
	s.created = s.updated = kb_now_text(req->cx.arena);
	err = stack_insert(&req->cx, &s, tc->row.max_stacks, &used);
	if (err == KB_QUOTA)
		return quota_exceeded(req, "stacks", tc->row.max_stacks, used);
	if (err)
		return not_written(req, err);
	quota_took(req, &req->cx,
	    &(const struct quota) { "stacks", tc->row.max_stacks, used });
	note(req, "stack.created", "stack", s.id, NULL);
	kb_info(req->cx.log, "stack created", KB_S("stackId", s.id));
	return kb_data(req, 201, stack_json, &s);
}

struct kb_reply
stacks_get(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct stack s;
	enum kb_err err = stack_get(&req->cx, &v, kb_param(req, "id"), &s);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 200, stack_json, &s);
}

struct kb_reply
stacks_spec(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct stack s;
	enum kb_err err = stack_get(&req->cx, &v, kb_param(req, "id"), &s);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_bytes_reply(
	    req, 200, "application/yaml", s.spec, strlen(s.spec));
}

/* Owners and admins change a stack; its members only see it. */
static enum kb_err
get_to_change(struct kb_request *req, struct stack *s)
{
	struct viewer v = viewer_of(req);
	enum kb_err err = stack_get(&req->cx, &v, kb_param(req, "id"), s);

	if (!err && !v.admin && strcmp(s->owner, v.user_id) != 0)
		err = KB_FORBIDDEN;
	return err;
}

struct kb_reply
stacks_patch(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct stack_body b = { 0 };
	struct stack s;
	enum kb_err err;

	if (!read_stack(req, stack_patch_rules, &b))
		return kb_invalid(req);
	err = get_to_change(req, &s);
	if (err)
		return kb_fail(req, err, NULL);
	apply(req, &b, &s);
	s.updated = kb_now_text(req->cx.arena);
	err = stack_update(&req->cx, &s);
	if (!err)
		err = stack_get(&req->cx, &v, s.id, &s);
	if (err)
		return not_written(req, err);
	note(req, "stack.changed", "stack", s.id, NULL);
	return kb_data(req, 200, stack_json, &s);
}

struct kb_reply
stacks_delete(struct kb_request *req)
{
	struct stack s;
	enum kb_err err = get_to_change(req, &s);

	if (!err)
		err = stack_delete(&req->cx, s.id);
	if (err)
		return kb_fail(req, err, NULL);
	note(req, "stack.deleted", "stack", s.id, NULL);
	return kb_no_content(req);
}

static void
job_id_json(struct kb_jsonw *w, const void *obj)
{
	const struct job *j = obj;

	kb_w_str(w, "jobId", j->id);
	kb_w_str(w, "type", j->type);
	kb_w_str(w, "status", j->status);
}

struct kb_reply
stacks_validate(struct kb_request *req)
{
	struct stack s;
	struct job j = { .type = "validate", .status = "pending" };
	enum kb_err err = get_to_change(req, &s);

	if (err)
		return kb_fail(req, err, NULL);
	if (s.spec[0] == '\0')
		return kb_fail(req, KB_INVALID,
		    "The stack has no spec; PATCH it with a kombination.yaml");
	j.id = kb_id_new(req->cx.arena, "job");
	j.stack_id = s.id;
	j.user_id = tenant_of(req)->user.id;
	j.payload = "{}";
	j.max_attempts = 3;
	j.created = kb_now_text(req->cx.arena);
	err = job_insert(&req->cx, &j);
	if (!err)
		err = job_hint_set(
		    &tenant_of(req)->platform, tenant_of(req)->row.id);
	if (err)
		return kb_fail(req, err, NULL);
	kb_background_wake(kb_app(req), "jobs");
	note(req, "job.created", "job", j.id, NULL);
	return kb_data(req, 202, job_id_json, &j);
}
