/*
 * Feature flags that admin sends. Each letter is the whole of one level (the
 * instance's defaults, an organisation's own, a user's own) with a version;
 * what is not newer than what is here changes nothing.
 */
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "stack.h"

#define FLAGS_MAX 1000
#define KEY_MAX 64

struct flags_body {
	const char *sub, *org;
	const struct kb_json *flags;
	int64_t version;
};

extern const struct kb_rule flags_apply_rules[];

const struct kb_rule flags_apply_rules[] = {
	KB_RULE_STR(struct flags_body, sub, .min = 1, .max = 128),
	KB_RULE_STR(struct flags_body, org, .min = 1, .max = 128),
	KB_RULE_JSON(struct flags_body, flags, .required = true,
	    .doc = "{key: boolean, text or number}; those that are not named"
		   " are forgotten"),
	KB_RULE_INT(struct flags_body, version, .required = true, .min = 1,
	    .max = INT64_MAX >> 10),
	KB_RULES_END,
};

static bool
is_value(const struct kb_json *j)
{
	enum kb_json_kind kind = kb_json_kind(j);

	return kind == KB_JSON_BOOL || kind == KB_JSON_NUMBER ||
	    kind == KB_JSON_STRING;
}

static bool
is_key(const char *s)
{
	return s[0] != '\0' && strlen(s) <= KEY_MAX &&
	    !kb_has_control(s, strlen(s));
}

static bool
read_flags(struct kb_request *req, const struct kb_json *j, struct flag *flags)
{
	bool good = true;
	size_t i = 0;

	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j), i++) {
		flags[i].key = kb_json_name(j);
		flags[i].value = kb_json_print(req->cx.arena, j);
		if (is_key(flags[i].key) && is_value(j))
			continue;
		kb_bad_field(req, "flags",
		    "must name values that are boolean, text or number");
		good = false;
	}
	return good;
}

struct applied {
	size_t applied, skipped;
	const char *updated;
};

static void
applied_json(struct kb_jsonw *w, const void *obj)
{
	const struct applied *a = obj;

	kb_w_int(w, "applied", (int64_t)a->applied);
	kb_w_int(w, "skipped", (int64_t)a->skipped);
	kb_w_str(w, "updatedAt", a->updated);
}

static enum kb_err
apply(struct kb_request *req, const struct flags_body *b,
    const struct flag *flags, struct applied *out)
{
	struct flag_level level = {
		.tenant_id = "",
		.sub = b->sub ? b->sub : "",
		.version = b->version,
		.updated = kb_now_text(req->cx.arena),
	};
	struct tenant t;
	size_t n = kb_json_size(b->flags);
	bool fresh;
	enum kb_err err = KB_OK;

	if (b->org != NULL)
		err = tenant_by_org(&req->cx, b->org, &t);
	if (err)
		return err == KB_NOT_FOUND ? KB_TENANT_NOT_FOUND : err;
	if (b->org != NULL)
		level.tenant_id = t.id;
	err = flags_replace(&req->cx, &level, flags, n, &fresh);
	out->applied = fresh ? n : 0;
	out->skipped = fresh ? 0 : n;
	out->updated = level.updated;
	return err;
}

struct kb_reply
flags_apply(struct kb_request *req)
{
	struct flags_body b = { 0 };
	struct applied out = { 0 };
	struct flag *flags;
	enum kb_err err;

	if (!kb_read_body(req, flags_apply_rules, &b))
		return kb_invalid(req);
	if (b.sub != NULL && b.org != NULL)
		kb_bad_field(req, "sub", "give sub or org, not both");
	else if (kb_json_kind(b.flags) != KB_JSON_OBJECT ||
	    kb_json_size(b.flags) > FLAGS_MAX)
		kb_bad_field(req, "flags",
		    "must be an object of at most %d members", FLAGS_MAX);
	else {
		flags = kb_new_array(
		    req->cx.arena, kb_json_size(b.flags) + 1, struct flag);
		if (read_flags(req, b.flags, flags)) {
			err = apply(req, &b, flags, &out);
			return err ? kb_fail(req, err, NULL)
				   : kb_bare(req, 200, applied_json, &out);
		}
	}
	return kb_invalid(req);
}

struct flags {
	struct flag *rows;
	size_t n;
};

static void
flags_json(struct kb_jsonw *w, const void *obj)
{
	const struct flags *f = obj;

	for (size_t i = 0; i < f->n; i++)
		kb_w_raw(w, f->rows[i].key, f->rows[i].value);
}

struct kb_reply
tenant_flags(struct kb_request *req)
{
	struct tenant_cx *tenant = tenant_of(req);
	struct flags f = { 0 };
	enum kb_err err = flags_of(
	    &tenant->platform, tenant->row.id, tenant->user.sub, &f.rows, &f.n);

	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 200, flags_json, &f);
}
