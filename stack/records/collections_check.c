/*
 * What a definition of a collection must be, in PocketBase's codes. Rules are
 * compiled as they will be at each request: one that does not is refused.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <kombi/regex.h>
#include <kombi/str.h>

#include "collections.h"

#define NAME_MAX_LEN 255
#define FIELDS_MAX 200 /* columns of a table, parameters of a statement */

/* Collections of the platform's own contract. */
static const char *const reserved[] = { "stacks", "nodes", "jobs", "workers",
	"services", "wallet", "activity_log", "workflows", NULL };

static const char *const taken_fields[] = { "null", "true", "false", "_rowid_",
	"rowid", "oid", "expand", "collectionid", "collectionname", NULL };

struct check {
	struct api *api;
	struct kb_arena *arena;
	const struct collection *was;
	struct collection *c;
	struct api_errors *errors;
};

static bool
is_word(const char *s)
{
	if (s[0] == '\0' || strlen(s) > NAME_MAX_LEN)
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && *s != '_')
			return false;
	return true;
}

static bool
in(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcasecmp(*list, name) == 0)
			return true;
	return false;
}

static void
bad(struct check *ck, const char *path, const char *code, const char *message)
{
	api_error_add(ck->arena, ck->errors, path, code, message);
}

static void
check_name(struct check *ck)
{
	const char *name = ck->c->name;
	const struct collection *other = schema_find(ck->api->schema, name);

	if (name[0] == '\0')
		bad(ck, "name", "validation_required", "Cannot be blank.");
	else if (ck->was != NULL && ck->was->system &&
	    strcmp(ck->was->name, name) != 0)
		bad(ck, "name", "validation_collection_system_name_change",
		    "System collection name cannot be changed.");
	else if (strlen(name) > NAME_MAX_LEN)
		api_error_param(ck->arena, ck->errors, "name",
		    "validation_length_out_of_range",
		    "The length must be between 1 and 255.",
		    "{\"max\":255,\"min\":1}");
	else if (strstr(name, "_via_") != NULL)
		bad(ck, "name", "validation_found_via",
		    "The value cannot contain \"_via_\".");
	else if (!is_word(name) || (name[0] == '_' && !ck->c->system) ||
	    strncasecmp(name, "sqlite_", 7) == 0 ||
	    strncasecmp(name, "kombi_", 6) == 0)
		bad(ck, "name", "validation_match_invalid",
		    "Must be of letters, digits and underscores, and not"
		    " begin with an underscore.");
	else if (in(reserved, name) ||
	    (other != NULL && strcmp(other->id, ck->c->id) != 0))
		bad(ck, "name", "validation_collection_name_exists",
		    "Collection name must be unique (case insensitive).");
}

/* ---- fields
 * ---------------------------------------------------------------------- */

static const char *
at(struct check *ck, size_t i, const char *option)
{
	return kb_sprintf(ck->arena, "fields.%zu.%s", i, option);
}

/* {"fieldName":…}: errors name what they are about. */
static const char *
param_name(struct kb_arena *a, const char *name)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 1u << 16);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "fieldName", name);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

static void
check_field_name(struct check *ck, size_t i)
{
	const struct field *f = &ck->c->fields[i];

	if (f->name[0] == '\0') {
		bad(ck, at(ck, i, "name"), "validation_required",
		    "Cannot be blank.");
		return;
	}
	if (strstr(f->name, "_via_") != NULL)
		bad(ck, at(ck, i, "name"), "validation_found_via",
		    "The value cannot contain \"_via_\".");
	else if (!is_word(f->name))
		bad(ck, at(ck, i, "name"), "validation_match_invalid",
		    "Must be of letters, digits and underscores.");
	else if (in(taken_fields, f->name))
		bad(ck, at(ck, i, "name"), "validation_not_in_invalid",
		    "The name is reserved.");
	for (size_t k = 0; k < i; k++)
		if (strcmp(ck->c->fields[k].id, f->id) == 0)
			bad(ck, at(ck, i, "id"),
			    "validation_duplicated_field_id",
			    "Duplicated or invalid field id.");
		else if (strcasecmp(ck->c->fields[k].name, f->name) == 0)
			api_error_param(ck->arena, ck->errors,
			    at(ck, i, "name"),
			    "validation_duplicated_field_name",
			    "Duplicated or invalid field name.",
			    param_name(ck->arena, f->name));
}

/* `n` against the option beside it; codes and params of upstream. */
static void
check_least(struct check *ck, const char *path, double n, double least)
{
	if (n < least)
		api_error_param(ck->arena, ck->errors, path,
		    "validation_min_greater_equal_than_required",
		    kb_sprintf(ck->arena, "Must be no less than %.15g.", least),
		    kb_sprintf(ck->arena, "{\"threshold\":%.15g}", least));
}

static void
check_number(struct check *ck, size_t i)
{
	const struct field *f = &ck->c->fields[i];

	if (f->min.set && f->max.set)
		check_least(ck, at(ck, i, "max"), f->max.value, f->min.value);
}

static void
check_relation(struct check *ck, size_t i)
{
	const struct field *f = &ck->c->fields[i];
	bool self = strcmp(f->collection_id, ck->c->id) == 0;

	if (f->collection_id[0] == '\0')
		bad(ck, at(ck, i, "collectionId"), "validation_required",
		    "Cannot be blank.");
	else if (!self &&
	    schema_find(ck->api->schema, f->collection_id) == NULL)
		bad(ck, at(ck, i, "collectionId"),
		    "validation_field_relation_missing_collection",
		    "The relation collection doesn't exist.");
	if (f->max_select != 0 && f->min_select > f->max_select)
		bad(ck, at(ck, i, "maxSelect"),
		    "validation_min_greater_equal_than_required",
		    "Must not be less than minSelect.");
}

static void
check_select(struct check *ck, size_t i)
{
	const struct field *f = &ck->c->fields[i];
	int64_t n = 0;

	while (f->values != NULL && f->values[n] != NULL)
		n++;
	if (n == 0)
		bad(ck, at(ck, i, "values"), "validation_required",
		    "Cannot be blank.");
	else if (f->max_select > n)
		api_error_param(ck->arena, ck->errors, at(ck, i, "maxSelect"),
		    "validation_max_less_equal_than_required",
		    "Must be no greater than the number of values.",
		    kb_sprintf(
			ck->arena, "{\"threshold\":%lld}", (long long)n));
}

static void
check_text(struct check *ck, size_t i)
{
	const struct field *f = &ck->c->fields[i];
	const char *why = NULL;

	if (f->pattern[0] != '\0' &&
	    kb_regex_new(ck->arena, f->pattern, 0, &why) == NULL)
		bad(ck, at(ck, i, "pattern"), "validation_invalid_regex",
		    why ? why : "Invalid regular expression.");
	if (f->generate[0] != '\0' &&
	    text_generate(ck->arena, f->generate) == NULL)
		bad(ck, at(ck, i, "autogeneratePattern"),
		    "validation_invalid_regex",
		    "Letters, [classes] and {repeats} are supported.");
	if (f->max_len != 0)
		check_least(ck, at(ck, i, "max"), (double)f->max_len,
		    (double)f->min_len);
	if (f->primary_key && strcmp(f->name, "id") != 0)
		bad(ck, at(ck, i, "primaryKey"), "validation_invalid_value",
		    "Only id can be the primary key.");
}

static bool
is_auth_field(const char *name)
{
	size_t n;
	const struct field *fields = auth_fields(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0)
			return true;
	return false;
}

static void
check_change(struct check *ck, size_t i)
{
	const struct field *f = &ck->c->fields[i], *was = NULL;

	for (size_t k = 0; ck->was != NULL && k < ck->was->n_fields; k++)
		if (strcmp(ck->was->fields[k].id, f->id) == 0)
			was = &ck->was->fields[k];
	if (was == NULL) {
		if (f->system && strcmp(f->name, "id") != 0 &&
		    !(ck->c->type == CT_AUTH && is_auth_field(f->name)))
			bad(ck, at(ck, i, "system"), "validation_invalid_value",
			    "System fields cannot be added.");
		return;
	}
	if (was->type != f->type)
		bad(ck, at(ck, i, "type"), "validation_field_type_change",
		    "Field type cannot be changed.");
	if (was->system && (strcmp(was->name, f->name) != 0 || !f->system))
		bad(ck, at(ck, i, "name"), "validation_system_field_change",
		    "System fields cannot be renamed.");
	if (was->hidden && was->system && !f->hidden)
		bad(ck, at(ck, i, "hidden"), "validation_system_field_change",
		    "System fields cannot be shown.");
}

static void
check_fields(struct check *ck)
{
	const struct collection *was = ck->was;

	if (ck->c->n_fields > FIELDS_MAX)
		bad(ck, "fields", "validation_length_out_of_range",
		    "There are too many fields.");
	for (size_t i = 0; i < ck->c->n_fields; i++) {
		check_field_name(ck, i);
		check_change(ck, i);
		field_check(ck->arena, ck->c, i, ck->errors);
		switch (ck->c->fields[i].type) {
		case FT_TEXT: check_text(ck, i); break;
		case FT_NUMBER: check_number(ck, i); break;
		case FT_SELECT: check_select(ck, i); break;
		case FT_RELATION: check_relation(ck, i); break;
		default: break;
		}
	}
	for (size_t i = 0; was != NULL && i < was->n_fields; i++)
		if (was->fields[i].system &&
		    collection_field(ck->c, was->fields[i].name) == NULL)
			bad(ck, "fields", "validation_system_field_change",
			    "System fields cannot be deleted.");
}

/* ---- indexes and rules
 * ----------------------------------------------------------------- */

static bool
index_fits(struct check *ck, const char *sql, struct index *x)
{
	if (!index_parse(ck->arena, sql, x))
		return false;
	for (size_t i = 0; i < x->n; i++)
		if (collection_field(ck->c, x->columns[i]) == NULL)
			return false;
	return true;
}

static void
check_indexes(struct check *ck)
{
	struct index all[32];

	if (ck->c->type == CT_VIEW && ck->c->indexes[0] != NULL) {
		bad(ck, "indexes", "validation_indexes_not_supported",
		    "View collections don't support indexes.");
		return;
	}
	for (size_t i = 0; ck->c->indexes[i] != NULL; i++) {
		const char *path = kb_sprintf(ck->arena, "indexes.%zu", i);

		if (i == KB_COUNT(all) ||
		    !index_fits(ck, ck->c->indexes[i], &all[i])) {
			bad(ck, path, "validation_invalid_index_expression",
			    "Invalid CREATE INDEX expression.");
			return;
		}
		for (size_t k = 0; k < i; k++)
			if (strcasecmp(all[k].name, all[i].name) == 0)
				bad(ck, path,
				    "validation_duplicated_index_name",
				    "The index name already exists.");
	}
}

const struct schema *
schema_with(
    struct kb_arena *a, const struct schema *s, const struct collection *c)
{
	struct schema *out = kb_new(a, struct schema);
	bool placed = false;

	out->collections = kb_new_array(a, s->n + 1, struct collection);
	for (size_t i = 0; i < s->n; i++) {
		bool same = strcmp(s->collections[i].id, c->id) == 0;

		out->collections[out->n++] = same ? *c : s->collections[i];
		placed = placed || same;
	}
	if (!placed)
		out->collections[out->n++] = *c;
	return out;
}

static void
check_rule(struct check *ck, const char *path, const char *rule)
{
	struct api as = *ck->api;
	struct query q;

	if (rule == NULL || rule[0] == '\0')
		return;
	as.schema = schema_with(ck->arena, ck->api->schema, ck->c);
	as.superuser = false;
	query_init(&q, &as, ck->c);
	if (!query_rule(&q, rule))
		bad(ck, path, "validation_invalid_rule",
		    kb_sprintf(
			ck->arena, "Invalid rule. Raw error: %s", q.why));
}

/* Members are a system collection here, whose rules are the tenant's: only
 * those that no client could make are fixed. */
static bool
same_rule(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
check_rules(struct check *ck)
{
	for (int i = 0; i < RULE_COUNT; i++)
		if (ck->c->type == CT_VIEW && i >= RULE_CREATE &&
		    ck->c->rules[i] != NULL)
			bad(ck, rule_names[i], "validation_nil",
			    "Must be nil.");
		else if (ck->was != NULL && ck->was->name[0] == '_' &&
		    !same_rule(ck->was->rules[i], ck->c->rules[i]))
			bad(ck, rule_names[i],
			    "validation_collection_system_rule_change",
			    "System collection API rule cannot be changed.");
		else
			check_rule(ck, rule_names[i], ck->c->rules[i]);
}

/* ---- auth collections ------------------------------------------------------
 */

static void
check_range(
    struct check *ck, const char *path, int64_t n, int64_t least, int64_t most)
{
	if (n < least)
		api_error_param(ck->arena, ck->errors, path,
		    "validation_min_greater_equal_than_required",
		    kb_sprintf(ck->arena, "Must be no less than %lld.",
			(long long)least),
		    kb_sprintf(
			ck->arena, "{\"threshold\":%lld}", (long long)least));
	else if (n > most)
		api_error_param(ck->arena, ck->errors, path,
		    "validation_max_less_equal_than_required",
		    kb_sprintf(ck->arena, "Must be no greater than %lld.",
			(long long)most),
		    kb_sprintf(
			ck->arena, "{\"threshold\":%lld}", (long long)most));
}

static void
check_identities(struct check *ck, const struct auth_options *o)
{
	if (!o->password)
		return;
	if (o->identity_fields[0] == NULL)
		bad(ck, "passwordAuth.identityFields", "validation_required",
		    "Cannot be blank.");
	for (size_t i = 0; o->identity_fields[i] != NULL; i++) {
		const char *name = o->identity_fields[i];
		bool known = collection_field(ck->c, name) != NULL;

		if (known && has_unique_index(ck->arena, ck->c, name))
			continue;
		api_error_param(ck->arena, ck->errors,
		    "passwordAuth.identityFields",
		    known ? "validation_missing_unique_constraint"
			  : "validation_missing_field",
		    known ? "The field doesn't have a UNIQUE constraint."
			  : "Invalid or missing field.",
		    param_name(ck->arena, name));
		return;
	}
}

static void
check_auth(struct check *ck)
{
	static const char *const tokens[TOKEN_COUNT] = {
		[TOKEN_AUTH] = "authToken.duration",
		[TOKEN_PASSWORD_RESET] = "passwordResetToken.duration",
		[TOKEN_EMAIL_CHANGE] = "emailChangeToken.duration",
		[TOKEN_VERIFICATION] = "verificationToken.duration",
		[TOKEN_FILE] = "fileToken.duration",
	};
	const struct auth_options *o = ck->c->auth_options;
	int methods = o->password + o->oauth2 + o->otp;

	check_identities(ck, o);
	if (o->mfa && methods < 2)
		bad(ck, "mfa.enabled", "validation_mfa_not_enough_auths",
		    "MFA requires at least 2 auth methods to be enabled.");
	if (o->mfa)
		check_range(ck, "mfa.duration", o->mfa_s, 10, 24 * 3600);
	if (o->otp) {
		check_range(ck, "otp.duration", o->otp_s, 10, 24 * 3600);
		check_range(ck, "otp.length", o->otp_length, 4, 100);
	}
	for (int i = 0; i < TOKEN_COUNT; i++)
		check_range(
		    ck, tokens[i], o->tokens[i].duration_s, 10, 94670856);
}

static void
check_auth_rules(struct check *ck)
{
	const struct auth_options *o = ck->c->auth_options;
	const struct {
		const char *path, *rule;
	} rules[] = {
		{ "authRule", o->auth_rule },
		{ "manageRule", o->manage_rule },
		{ "mfa.rule", o->mfa_rule },
	};

	for (size_t i = 0; i < KB_COUNT(rules); i++)
		check_rule(ck, rules[i].path, rules[i].rule);
}

void
collection_check(struct api *api, const struct collection *was,
    struct collection *c, struct api_errors *errors)
{
	struct check ck = {
		.api = api,
		.arena = api->req->cx.arena,
		.was = was,
		.c = c,
		.errors = errors,
	};

	check_name(&ck);
	if (c->type != CT_VIEW)
		check_fields(&ck);
	if (errors->n == 0)
		check_indexes(&ck);
	if (errors->n == 0)
		check_rules(&ck);
	if (errors->n == 0 && c->type == CT_AUTH) {
		check_auth(&ck);
		check_auth_rules(&ck);
	}
}
