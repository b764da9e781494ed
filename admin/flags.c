/*
 * Feature flags: operators define and assign them, services ask what holds
 * for a user. Every change is told to the stack instances that it concerns.
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>

#include "admin.h"

#define TEXT_MAX 1024
#define CHANGES_MAX 100

static const char *const types[] = { "bool", "string", "number", NULL };

static bool
is_flag_key(const char *s)
{
	return s[0] >= 'a' && s[0] <= 'z' && strlen(s) <= 64 &&
	    strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(s);
}

static bool
is_subject(const char *s)
{
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return false;
	return s[0] != '\0' && strlen(s) <= 128;
}

struct flag_body {
	const char *key, *type, *description;
	const struct kb_json *fallback;
};

const struct kb_rule flag_rules[] = {
	KB_RULE_STR(struct flag_body, key, .required = true,
	    .match = is_flag_key,
	    .hint = "must be 1 to 64 of a-z, 0-9, _, . and -, a letter first"),
	KB_RULE_STR(struct flag_body, type, .required = true, .choices = types),
	KB_RULE_STR(struct flag_body, description, .max = 500),
	KB_RULE_JSON_AS(struct flag_body, fallback, "default", .required = true,
	    .doc = "what holds where nothing is assigned; of the flag's type"),
	KB_RULES_END,
};

const struct kb_rule flag_patch_rules[] = {
	KB_RULE_STR(struct flag_body, description, .max = 500),
	KB_RULE_JSON_AS(struct flag_body, fallback, "default",
	    .doc = "what holds where nothing is assigned; of the flag's type"),
	KB_RULES_END,
};

struct assignment_body {
	const char *sub, *org;
	const struct kb_json *value;
};

const struct kb_rule flag_assignment_rules[] = {
	KB_RULE_STR(struct assignment_body, sub, .match = is_subject,
	    .hint = "must be a user's sub"),
	KB_RULE_STR_AS(struct assignment_body, org, "orgId",
	    .match = is_subject, .hint = "must be an organisation's id"),
	KB_RULE_JSON(struct assignment_body, value, .required = true,
	    .doc = "of the flag's type"),
	KB_RULES_END,
};

struct values_body {
	const struct kb_json *flags;
};

const struct kb_rule flag_values_rules[] = {
	KB_RULE_JSON(struct values_body, flags, .required = true,
	    .doc = "{key: value}; null takes the user's own value away"),
	KB_RULES_END,
};

/* A value of the flag's type, or a problem of that path. */
static bool
read_value(struct kb_request *req, const char *path, const struct kb_json *j,
    const char *type, struct flag_value *v)
{
	enum kb_json_kind kind = kb_json_kind(j);
	bool fits = false;

	*v = (struct flag_value) { .type = type };
	if (strcmp(type, "bool") == 0) {
		fits = kind == KB_JSON_BOOL;
		v->yes = kb_json_true(j);
	} else if (strcmp(type, "number") == 0) {
		fits = kb_json_number(j, &v->number);
	} else {
		v->text = kb_json_text(j);
		fits = v->text != NULL && strlen(v->text) <= TEXT_MAX;
	}
	if (!fits)
		kb_bad_field(req, path,
		    "must be a %s, as the flag is (texts: at most %d bytes)",
		    type, TEXT_MAX);
	return fits;
}

static void
flag_json(struct kb_jsonw *w, const void *obj)
{
	const struct flag *f = obj;

	kb_w_str(w, "id", f->id);
	kb_w_str(w, "key", f->key);
	kb_w_str(w, "type", f->type);
	kb_w_str(w, "description", f->description);
	kb_w_raw(w, "default", f->value);
	kb_w_str(w, "createdAt", f->created);
	kb_w_str(w, "updatedAt", f->updated);
}

struct kb_reply
flags_list(struct kb_request *req)
{
	struct kb_page page;
	struct flag *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = flags_page(&req->cx, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, flag_json, rows, n, sizeof(*rows), &page);
}

static struct kb_reply
shown(struct kb_request *req, int status, const char *key)
{
	struct flag f;
	enum kb_err err = flag_by_key(&req->cx, key, &f);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, status, flag_json, &f);
}

struct kb_reply
flags_get(struct kb_request *req)
{
	return shown(req, 200, kb_param(req, "key"));
}

/* The change is written: says so in the audit log, and sends its letters. */
static enum kb_err
changed(struct kb_request *req, const char *what, const char *key)
{
	kb_background_wake(kb_app(req), "outbox");
	return kb_audit(req, &req->cx, what, "feature_flag", key, NULL);
}

struct kb_reply
flags_create(struct kb_request *req)
{
	struct flag_body b = { 0 };
	struct flag_value fallback;
	struct flag f;
	enum kb_err err;

	if (!kb_read_body(req, flag_rules, &b) ||
	    !read_value(req, "default", b.fallback, b.type, &fallback))
		return kb_invalid(req);
	f = (struct flag) { .id = kb_id_new(req->cx.arena, "flg"),
		.key = b.key,
		.type = b.type,
		.description = b.description ? b.description : "" };
	err = flag_insert(&req->cx, &f, &fallback);
	if (err == KB_CONFLICT)
		return kb_fail(req, err, "There is a flag of this key");
	if (!err)
		err = changed(req, "admin.flag.created", f.key);
	if (err)
		return kb_fail(req, err, NULL);
	return shown(req, 201, f.key);
}

struct kb_reply
flags_patch(struct kb_request *req)
{
	const char *key = kb_param(req, "key");
	struct flag_body b = { 0 };
	struct flag_value fallback;
	struct flag f;
	enum kb_err err;

	if (!kb_read_body(req, flag_patch_rules, &b))
		return kb_invalid(req);
	err = flag_by_key(&req->cx, key, &f);
	if (err)
		return kb_fail(req, err, NULL);
	if (b.fallback != NULL &&
	    !read_value(req, "default", b.fallback, f.type, &fallback))
		return kb_invalid(req);
	err = flag_update(
	    &req->cx, key, b.description, b.fallback ? &fallback : NULL);
	if (!err)
		err = changed(req, "admin.flag.updated", key);
	if (err)
		return kb_fail(req, err, NULL);
	return shown(req, 200, key);
}

struct kb_reply
flags_delete(struct kb_request *req)
{
	const char *key = kb_param(req, "key");
	enum kb_err err = flag_delete(&req->cx, key);

	if (!err)
		err = changed(req, "admin.flag.deleted", key);
	return err ? kb_fail(req, err, NULL) : kb_no_content(req);
}

static void
assignment_json(struct kb_jsonw *w, const void *obj)
{
	const struct flag_assignment *a = obj;

	kb_w_str(w, "id", a->id);
	kb_w_str(w, "key", a->key);
	kb_w_opt(w, "sub", a->sub);
	kb_w_opt(w, "orgId", a->org);
	kb_w_raw(w, "value", a->value);
	kb_w_str(w, "updatedAt", a->updated);
}

struct kb_reply
flags_assignments(struct kb_request *req)
{
	const char *key = kb_param(req, "key");
	struct kb_page page;
	struct flag_assignment *rows;
	struct flag f;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = flag_by_key(&req->cx, key, &f);
	if (!err)
		err = flag_assignments(&req->cx, key, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, assignment_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
flags_assign_one(struct kb_request *req)
{
	struct assignment_body b = { 0 };
	struct flag_change c = { .key = kb_param(req, "key") };
	struct flag_assignment whose = { 0 };
	struct flag f;
	enum kb_err err;

	if (!kb_read_body(req, flag_assignment_rules, &b))
		return kb_invalid(req);
	if ((b.sub == NULL) == (b.org == NULL)) {
		kb_bad_field(req, "sub", "give either sub or orgId");
		return kb_invalid(req);
	}
	err = flag_by_key(&req->cx, c.key, &f);
	if (err)
		return kb_fail(req, err, NULL);
	if (!read_value(req, "value", b.value, f.type, &c.value))
		return kb_invalid(req);
	whose.sub = b.sub;
	whose.org = b.org;
	err = flags_assign(&req->cx, &whose, &c, 1);
	if (!err)
		err = changed(req, "admin.flag.assigned", c.key);
	return err ? kb_fail(req, err, NULL) : kb_no_content(req);
}

struct kb_reply
flags_unassign(struct kb_request *req)
{
	const char *key = kb_param(req, "key");
	enum kb_err err = flag_assignment_delete(
	    &req->cx, key, kb_param(req, "id"));

	if (!err)
		err = changed(req, "admin.flag.unassigned", key);
	return err ? kb_fail(req, err, NULL) : kb_no_content(req);
}

struct answer {
	const char *sub, *org;
	struct flag_resolved *flags;
	size_t n;
};

static void
answer_json(struct kb_jsonw *w, const void *obj)
{
	const struct answer *a = obj;
	const char *newest = NULL;

	kb_w_str(w, "sub", a->sub);
	kb_w_opt(w, "orgId", a->org);
	kb_w_object(w, "flags");
	for (size_t i = 0; i < a->n; i++)
		kb_w_raw(w, a->flags[i].key, a->flags[i].value);
	kb_w_object_end(w);
	for (size_t i = 0; i < a->n; i++)
		if (newest == NULL || strcmp(a->flags[i].updated, newest) > 0)
			newest = a->flags[i].updated;
	kb_w_str(w, "updatedAt", newest);
}

static struct kb_reply
resolved(struct kb_request *req, const char *sub, const char *org)
{
	struct answer a = { .sub = sub, .org = org };
	enum kb_err err = flags_resolve(&req->cx, sub, org, &a.flags, &a.n);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_bare(req, 200, answer_json, &a);
}

struct kb_reply
flags_of_user(struct kb_request *req)
{
	const char *sub = kb_query_param(req, "sub");
	const char *org = kb_query_param(req, "org");
	bool good = true;

	if (sub == NULL || !is_subject(sub)) {
		kb_bad_field(req, "sub", "must be a user's sub");
		good = false;
	}
	if (org != NULL && !is_subject(org)) {
		kb_bad_field(req, "org", "must be an organisation's id");
		good = false;
	}
	return good ? resolved(req, sub, org) : kb_invalid(req);
}

/* All or none: a wrong one is told with all other wrong ones. */
static enum kb_err
read_changes(struct kb_request *req, const struct kb_json *flags,
    struct flag_change *changes, bool *good)
{
	size_t i = 0;

	*good = true;
	for (const struct kb_json *j = kb_json_first(flags); j != NULL;
	     j = kb_json_after(j), i++) {
		const char *path = kb_sprintf(
		    req->cx.arena, "flags.%s", kb_json_name(j));
		struct flag f;
		enum kb_err err = flag_by_key(&req->cx, kb_json_name(j), &f);

		changes[i].key = kb_json_name(j);
		if (err && err != KB_NOT_FOUND)
			return err;
		if (err) {
			kb_bad_field(req, path, "there is no such flag");
			*good = false;
		} else if (kb_json_kind(j) != KB_JSON_NULL) {
			*good &= read_value(
			    req, path, j, f.type, &changes[i].value);
		}
	}
	return KB_OK;
}

struct kb_reply
flags_set_for_user(struct kb_request *req)
{
	struct values_body b = { 0 };
	struct flag_assignment whose = { .sub = kb_param(req, "sub") };
	struct flag_change *changes;
	size_t n;
	bool good = false;
	enum kb_err err;

	if (!is_subject(whose.sub))
		return kb_fail(req, KB_NOT_FOUND, NULL);
	if (!kb_read_body(req, flag_values_rules, &b))
		return kb_invalid(req);
	if (kb_json_kind(b.flags) != KB_JSON_OBJECT ||
	    kb_json_size(b.flags) > CHANGES_MAX) {
		kb_bad_field(req, "flags",
		    "must be an object of at most %d members", CHANGES_MAX);
		return kb_invalid(req);
	}
	n = kb_json_size(b.flags);
	changes = kb_new_array(req->cx.arena, n + 1, struct flag_change);
	err = read_changes(req, b.flags, changes, &good);
	if (!err && !good)
		return kb_invalid(req);
	if (!err)
		err = flags_assign(&req->cx, &whose, changes, n);
	if (!err)
		err = changed(req, "admin.flag.assigned", whose.sub);
	if (err)
		return kb_fail(req, err, NULL);
	return resolved(req, whose.sub, NULL);
}
