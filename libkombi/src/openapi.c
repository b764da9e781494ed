/*
 * The OpenAPI 3.1 document of a service, from its route and rule tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/service.h>
#include <kombi/str.h>

#include "service_private.h"

#define DOCUMENT_MAX (16u << 20)

/* ---- schemas from rules
 * --------------------------------------------------------------- */

static void rules_schema(struct kb_jsonw *w, const struct kb_rule *rules);

static const char *
type_name(enum kb_rule_type t)
{
	switch (t) {
	case KB_RULE_T_STR: return "string";
	case KB_RULE_T_INT: return "integer";
	case KB_RULE_T_NUM: return "number";
	case KB_RULE_T_BOOL: return "boolean";
	case KB_RULE_T_STRS:
	case KB_RULE_T_OBJECTS: return "array";
	case KB_RULE_T_OBJECT: return "object";
	default: return NULL;
	}
}

static void
write_type(struct kb_jsonw *w, const struct kb_rule *r)
{
	const char *type = type_name(r->type);

	if (type == NULL)
		return; /* any value */
	if (!r->nullable) {
		kb_w_str(w, "type", type);
		return;
	}
	kb_w_array(w, "type");
	kb_w_str(w, NULL, type);
	kb_w_str(w, NULL, "null");
	kb_w_array_end(w);
}

static void
write_bounds(struct kb_jsonw *w, const struct kb_rule *r)
{
	static const struct {
		const char *min, *max;
	} words[] = {
		[KB_RULE_T_STR] = { "minLength", "maxLength" },
		[KB_RULE_T_INT] = { "minimum", "maximum" },
		[KB_RULE_T_NUM] = { "minimum", "maximum" },
		[KB_RULE_T_STRS] = { "minItems", "maxItems" },
		[KB_RULE_T_OBJECTS] = { "minItems", "maxItems" },
	};

	if ((r->min == 0 && r->max == 0) || r->type >= KB_COUNT(words) ||
	    words[r->type].min == NULL)
		return;
	kb_w_int(w, words[r->type].min, r->min);
	kb_w_int(w, words[r->type].max, r->max);
}

static void
write_choices(struct kb_jsonw *w, const char *const *choices)
{
	if (choices == NULL)
		return;
	kb_w_array(w, "enum");
	for (; *choices != NULL; choices++)
		kb_w_str(w, NULL, *choices);
	kb_w_array_end(w);
}

static void
rule_schema(struct kb_jsonw *w, const struct kb_rule *r)
{
	kb_w_object(w, r->name);
	if (r->type == KB_RULE_T_OBJECT)
		rules_schema(w, r->nested);
	else
		write_type(w, r);
	write_bounds(w, r);
	if (r->type == KB_RULE_T_STRS) {
		kb_w_object(w, "items");
		kb_w_str(w, "type", "string");
		write_choices(w, r->choices);
		kb_w_object_end(w);
	} else if (r->type == KB_RULE_T_OBJECTS) {
		kb_w_object(w, "items");
		rules_schema(w, r->nested);
		kb_w_object_end(w);
	} else
		write_choices(w, r->choices);
	kb_w_opt(w, "description", r->doc ? r->doc : r->hint);
	kb_w_object_end(w);
}

static void
rules_schema(struct kb_jsonw *w, const struct kb_rule *rules)
{
	bool required = false;

	kb_w_str(w, "type", "object");
	kb_w_bool(w, "additionalProperties", false);
	kb_w_object(w, "properties");
	for (const struct kb_rule *r = rules; r->type != KB_RULE_T_END; r++) {
		rule_schema(w, r);
		required |= r->required;
	}
	kb_w_object_end(w);
	if (!required)
		return;
	kb_w_array(w, "required");
	for (const struct kb_rule *r = rules; r->type != KB_RULE_T_END; r++)
		if (r->required)
			kb_w_str(w, NULL, r->name);
	kb_w_array_end(w);
}

/* ---- operations
 * -------------------------------------------------------------------------- */

static void
write_parameters(struct kb_arena *a, struct kb_jsonw *w, const char *pattern)
{
	struct kb_slice rest = kb_slice_of(pattern), segment;
	bool open = false;

	while (kb_route_segment(&rest, &segment)) {
		if (!kb_route_is_param(segment))
			continue;
		if (!open)
			kb_w_array(w, "parameters");
		open = true;
		kb_w_object(w, NULL);
		kb_w_str(
		    w, "name", kb_strndup(a, segment.ptr + 1, segment.len - 2));
		kb_w_str(w, "in", "path");
		kb_w_bool(w, "required", true);
		kb_w_object(w, "schema");
		kb_w_str(w, "type", "string");
		kb_w_object_end(w);
		kb_w_object_end(w);
	}
	if (open)
		kb_w_array_end(w);
}

static void
write_content(struct kb_jsonw *w, const struct kb_rule *rules)
{
	kb_w_object(w, "content");
	kb_w_object(w, "application/json");
	kb_w_object(w, "schema");
	rules_schema(w, rules);
	kb_w_object_end(w);
	kb_w_object_end(w);
	kb_w_object_end(w);
}

static void
write_scheme(struct kb_jsonw *w, const char *scheme)
{
	kb_w_object(w, NULL);
	kb_w_array(w, scheme);
	kb_w_array_end(w);
	kb_w_object_end(w);
}

static const char *const permission_names[] = {
	[KB_PERM_PUBLIC] = "public",
	[KB_PERM_SERVICE] = "service",
	[KB_PERM_USER] = "user",
	[KB_PERM_TENANT] = "tenant",
	[KB_PERM_PLATFORM] = "platform",
};

static void
write_permission(struct kb_jsonw *w, const struct kb_permission *p)
{
	bool service = p->kind == KB_PERM_SERVICE ||
	    (p->kind == KB_PERM_USER && p->list[0] != NULL);

	kb_w_array(w, "security");
	if (p->kind != KB_PERM_PUBLIC && p->kind != KB_PERM_SERVICE)
		write_scheme(w, "gateway");
	if (service)
		write_scheme(w, "service");
	kb_w_array_end(w);
	kb_w_object(w, "x-permission");
	kb_w_str(w, "kind", permission_names[p->kind]);
	if (p->kind == KB_PERM_TENANT)
		kb_w_str(w, "role", kb_tenant_role_name(p->role));
	if (p->list[0] != NULL) {
		kb_w_array(
		    w, p->kind == KB_PERM_PLATFORM ? "roles" : "callers");
		for (const char *const *s = p->list; *s != NULL; s++)
			kb_w_str(w, NULL, *s);
		kb_w_array_end(w);
	}
	kb_w_object_end(w);
}

/* "200 The stack; 404 No such stack" -> one response each. */
static void
write_returns(struct kb_arena *a, struct kb_jsonw *w, const char *returns)
{
	struct kb_slice rest = kb_slice_of(returns), one;

	while (kb_slice_next(&rest, ';', &one)) {
		one = kb_slice_trim(one);
		if (one.len < 3)
			continue;
		kb_w_object(w, kb_strndup(a, one.ptr, 3));
		kb_w_str(w, "description",
		    one.len > 4 ? kb_strndup(a, one.ptr + 4, one.len - 4) : "");
		kb_w_object_end(w);
	}
}

static void
write_responses(struct kb_arena *a, struct kb_jsonw *w, const char *returns)
{
	kb_w_object(w, "responses");
	write_returns(a, w, returns ? returns : "200 Success");
	kb_w_object(w, "default");
	kb_w_str(w, "$ref", "#/components/responses/Error");
	kb_w_object_end(w);
	kb_w_object_end(w);
}

static void
write_operation(
    struct kb_arena *a, struct kb_jsonw *w, const struct kb_route *r)
{
	kb_w_object(w, kb_str_lower(a, kb_method_name(r->method)));
	kb_w_opt(w, "summary", r->summary);
	write_permission(w, &r->permission);
	write_parameters(a, w, r->pattern);
	if (r->body != NULL) {
		kb_w_object(w, "requestBody");
		kb_w_bool(w, "required", true);
		write_content(w, r->body);
		kb_w_object_end(w);
	}
	write_responses(a, w, r->returns);
	kb_w_object_end(w);
}

/* ---- the document
 * ------------------------------------------------------------------------- */

static bool
seen_before(const struct kb_route *routes, const struct kb_route *row)
{
	for (; routes < row; routes++)
		if (strcmp(routes->pattern, row->pattern) == 0)
			return true;
	return false;
}

/* Each pattern once, with all of its methods, in the order of the table. */
static void
write_paths(
    struct kb_arena *a, struct kb_jsonw *w, const struct kb_route *routes)
{
	for (const struct kb_route *r = routes; r->method != KB_M_NONE; r++) {
		if (seen_before(routes, r))
			continue;
		kb_w_object(w, r->pattern);
		for (const struct kb_route *m = r; m->method != KB_M_NONE; m++)
			if (strcmp(m->pattern, r->pattern) == 0)
				write_operation(a, w, m);
		kb_w_object_end(w);
	}
}

static const char components[] =
    "{\"schemas\":{\"Error\":{\"type\":\"object\",\"required\":[\"error\"],"
    "\"properties\":{\"error\":{\"type\":\"object\","
    "\"required\":[\"code\",\"message\",\"requestId\",\"timestamp\"],"
    "\"properties\":{\"code\":{\"type\":\"string\"},"
    "\"message\":{\"type\":\"string\"},\"details\":{\"type\":\"object\"},"
    "\"requestId\":{\"type\":\"string\"},"
    "\"timestamp\":{\"type\":\"string\",\"format\":\"date-time\"}}}}}},"
    "\"responses\":{\"Error\":{\"description\":\"Error envelope\","
    "\"content\":{\"application/json\":{\"schema\":"
    "{\"$ref\":\"#/components/schemas/Error\"}}}}},"
    "\"securitySchemes\":{"
    "\"gateway\":{\"type\":\"apiKey\",\"in\":\"header\","
    "\"name\":\"X-Kombi-Proof\",\"description\":"
    "\"Identity headers vouched for by the gateway\"},"
    "\"service\":{\"type\":\"http\",\"scheme\":\"bearer\","
    "\"bearerFormat\":\"JWT\",\"description\":\"Service token\"}}}";

char *
kb_openapi(struct kb_arena *a, const struct kb_service *service)
{
	struct kb_buf *b = kb_arena_buf(a, DOCUMENT_MAX);
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "openapi", "3.1.0");
	kb_w_object(&w, "info");
	kb_w_str(&w, "title", service->title ? service->title : service->name);
	kb_w_str(&w, "version", KOMBI_VERSION);
	kb_w_object_end(&w);
	kb_w_object(&w, "paths");
	write_paths(a, &w, kb_frame_routes);
	write_paths(a, &w, service->routes);
	kb_w_object_end(&w);
	kb_w_raw(&w, "components", components);
	kb_w_object_end(&w);
	return kb_strdup(a, kb_buf_str(b));
}
