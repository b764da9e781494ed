/* Validation over HTTP. */
#include "stackkits.h"

#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

struct by_kit {
	const char *yaml;
};

const struct kb_rule kits_validate_rules[] = {
	KB_RULE_STR_AS(struct by_kit, yaml, "kombinationYaml", .required = true,
	    .min = 1, .max = 1 << 20, .doc = "the text of a kombination.yaml"),
	KB_RULES_END,
};

struct by_name {
	const char *stackkit, *version;
	const struct kb_json *config;
	bool strict;
};

const struct kb_rule kits_validate_config_rules[] = {
	KB_RULE_STR(struct by_name, stackkit, .required = true, .min = 1,
	    .max = 63, .doc = "name or alias of the kit"),
	KB_RULE_STR(struct by_name, version, .min = 1, .max = 64,
	    .doc = "the kit's version; the latest if left out"),
	KB_RULE_JSON(struct by_name, config, .required = true,
	    .doc = "the document as an object, or as YAML text"),
	KB_RULE_BOOL(struct by_name, strict,
	    .doc = "warnings make the document invalid too"),
	KB_RULES_END,
};

static void
write_findings(
    struct kb_jsonw *w, const char *name, const struct sk_findings *f)
{
	kb_w_array(w, name);
	for (size_t i = 0; i < f->n; i++) {
		const struct sk_finding *x = &f->items[i];

		kb_w_object(w, NULL);
		kb_w_str(w, "path", x->path);
		kb_w_str(w, "code", x->code);
		kb_w_str(w, "message", x->message);
		if (x->line > 0) {
			kb_w_int(w, "line", x->line);
			kb_w_int(w, "column", x->column);
		}
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static struct kb_reply
failed(struct kb_request *req, enum kb_err err, const char *why)
{
	kb_warn(req->cx.log, "validation failed", KB_S("reason", why));
	if (err != KB_UNAVAILABLE)
		return kb_fail(req, err, NULL);
	kb_reply_header(req, "Retry-After", "5");
	return kb_fail(req, err, "%s", why);
}

static enum kb_err
judge(struct kb_request *req, const struct sk_kit *kit, const char *yaml,
    struct sk_verdict *out, const char **why)
{
	const struct sk_state *s = kb_app(req)->state;

	return sk_judge_document(
	    s->judge, req->cx.arena, kit, kb_slice_of(yaml), out, why);
}

/* {valid, errors?, warnings?}: empty lists are left out. */
static void
write_verdict(struct kb_jsonw *w, const void *obj)
{
	const struct sk_verdict *v = obj;

	kb_w_bool(w, "valid", v->valid);
	if (v->errors.n > 0)
		write_findings(w, "errors", &v->errors);
	if (v->warnings.n > 0)
		write_findings(w, "warnings", &v->warnings);
}

struct kb_reply
kits_validate(struct kb_request *req)
{
	const struct sk_kit *kit = sk_kit_of(req);
	struct by_kit body = { 0 };
	struct sk_verdict v;
	const char *why = NULL;
	enum kb_err err;

	if (kit == NULL)
		return kb_fail(req, KB_NOT_FOUND, "Kit not found");
	if (!sk_kit_allowed(req, kit))
		return sk_plan_required(req, kit);
	if (!kb_read_body(req, kits_validate_rules, &body))
		return kb_invalid(req);
	err = judge(req, kit, body.yaml, &v, &why);
	if (err != KB_OK)
		return failed(req, err, why);
	return kb_bare(req, 200, write_verdict, &v);
}

struct report {
	const struct sk_kit *kit;
	struct sk_verdict verdict;
	const char *at;
};

static void
write_report(struct kb_jsonw *w, const void *obj)
{
	const struct report *r = obj;

	kb_w_bool(w, "valid", r->verdict.valid);
	kb_w_str(w, "stackkit", r->kit->id);
	kb_w_str(w, "version", r->kit->version);
	kb_w_str(w, "validated_at", r->at);
	write_findings(w, "errors", &r->verdict.errors);
	write_findings(w, "warnings", &r->verdict.warnings);
	if (r->verdict.info != NULL)
		kb_w_raw(w, "info", r->verdict.info);
}

struct kb_reply
kits_validate_config(struct kb_request *req)
{
	struct by_name body = { 0 };
	struct report r = { .at = kb_now_text(req->cx.arena) };
	const char *yaml, *why = NULL;
	enum kb_err err;

	if (!kb_read_body(req, kits_validate_config_rules, &body))
		return kb_invalid(req);
	r.kit = sk_registry_find(sk_registry_of(req), body.stackkit);
	if (r.kit == NULL)
		return kb_fail(req, KB_NOT_FOUND, "Kit not found");
	if (!sk_kit_allowed(req, r.kit))
		return sk_plan_required(req, r.kit);
	if (body.version != NULL && strcmp(body.version, r.kit->version) != 0)
		return kb_fail(req, KB_NOT_FOUND, "Version not found");
	yaml = kb_json_text(body.config);
	if (yaml == NULL)
		yaml = kb_json_print(req->cx.arena, body.config);
	err = judge(req, r.kit, yaml, &r.verdict, &why);
	if (err != KB_OK)
		return failed(req, err, why);
	if (body.strict && r.verdict.warnings.n > 0)
		r.verdict.valid = false;
	return kb_bare(req, 200, write_report, &r);
}
