/*
 * Writes of auth records: who may say what of password, e-mail address and
 * verification, and what follows from a change of them.
 */
#include <string.h>

#include <kombi/password.h>
#include <kombi/regex.h>
#include <kombi/str.h>

#include "auth.h"

#define PASSWORD_CHARS 71

/* What the platform keeps of its members: for the tenant's admins. */
static const char *const platform_fields[] = { "role", "permissions", "ssoSub",
	"ssoProvider", "disabled" };

/* ---- before the transaction
 * ----------------------------------------------------------- */

/* Numbers count as their text. NULL: not in the body. */
static const char *
said(struct api *api, const char *name)
{
	const struct kb_json *j = kb_json_get(api->body, name);

	if (j == NULL)
		return NULL;
	if (kb_json_kind(j) == KB_JSON_NUMBER)
		return kb_json_print(api->req->cx.arena, j);
	return kb_json_text(j) ? kb_json_text(j) : "";
}

static bool
given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

static unsigned
cost_of(const struct field *f)
{
	return f->cost > 0 ? (unsigned)f->cost : 0;
}

enum kb_err
auth_prepare(struct api *api, const struct collection *c, const char *id,
    struct auth_change *change)
{
	struct kb_cx *cx = &api->req->cx;
	const struct field *f = collection_field(c, "password");
	struct auth_row row;
	bool limited;
	enum kb_err err;

	*change = (struct auth_change) { .password = NULL };
	if (!c->auth || f == NULL)
		return KB_OK;
	change->password = said(api, "password");
	change->confirm = said(api, "passwordConfirm");
	change->old = said(api, "oldPassword");
	if (given(change->password))
		change->hash = kb_password_hash(
		    cx->arena, change->password, cost_of(f));
	if (id == NULL || !given(change->old))
		return KB_OK;
	err = auth_row_get(cx, c, id, &row);
	if (err)
		return err == KB_NOT_FOUND ? KB_OK : err;
	/* Whoever has a token may guess, but not without end. */
	if (auth_password_is(api, &row, change->old, &limited))
		change->verified = row.password;
	return KB_OK;
}

/* ---- who may
 * -------------------------------------------------------------------------- */

bool
auth_may_register(const struct api *api, const struct collection *c)
{
	return api->superuser || strcmp(c->id, USERS_ID) != 0 ||
	    kb_app(api->req)->common->mode == KB_MODE_SELF_HOSTED;
}

enum kb_err
auth_may_manage(struct api *api, struct kb_cx *cx, const struct record *r,
    bool fresh, bool *may)
{
	const struct auth_options *o = r->c->auth_options;
	const char *rule = o ? o->manage_rule : NULL;
	struct record *stored;
	struct query q;
	enum kb_err err;

	*may = api->superuser;
	if (*may || !given(rule) || api->auth == NULL)
		return KB_OK;
	query_init(&q, api, r->c);
	if (!query_rule(&q, rule))
		return KB_OK;
	if (fresh)
		return record_would(cx, &q, r, may);
	err = record_get(cx, &q, record_id_of(r), &stored);
	*may = err == KB_OK;
	return err == KB_NOT_FOUND ? KB_OK : err;
}

enum kb_err
auth_mark_managed(
    const struct api *api, struct kb_cx *cx, struct record **rows, size_t n)
{
	const struct auth_options *o = n > 0 ? rows[0]->c->auth_options : NULL;
	const char **ids = kb_new_array(cx->arena, n + 1, const char *);
	struct record **mine;
	struct query q;
	size_t found;
	enum kb_err err;

	if (o == NULL || !given(o->manage_rule) || api->auth == NULL ||
	    api->superuser)
		return KB_OK;
	query_init(&q, api, rows[0]->c);
	if (!query_rule(&q, o->manage_rule))
		return KB_OK;
	for (size_t i = 0; i < n; i++)
		ids[i] = record_id_of(rows[i]);
	err = records_by_ids(
	    cx, &q, value_list_text(cx->arena, ids, n), &mine, &found);
	for (size_t i = 0; !err && i < n; i++)
		for (size_t k = 0; k < found && !rows[i]->managed; k++)
			rows[i]->managed = strcmp(ids[i],
					       record_id_of(mine[k])) == 0;
	return err;
}

struct apply {
	struct api *api;
	struct kb_cx *cx;
	const struct auth_change *change;
	const struct record *was;
	struct record *r;
	struct api_errors *errors;
	bool manager;
};

static void
blame(const struct apply *a, const char *field, const char *code,
    const char *message)
{
	api_error_add(a->cx->arena, a->errors, field, code, message);
}

static void
mismatch(const struct apply *a, const char *field)
{
	blame(a, field, "validation_values_mismatch", "Values don't match.");
}

static void
required(const struct apply *a, const char *field)
{
	blame(a, field, "validation_required", "Cannot be blank.");
}

static void
judge_state(const struct apply *a)
{
	bool verified = a->was ? auth_flag(a->was, "verified") : false;

	if (a->manager)
		return;
	if (a->was != NULL &&
	    strcmp(auth_text(a->was, "email"), auth_text(a->r, "email")) != 0)
		mismatch(a, "email");
	if (auth_flag(a->r, "verified") != verified)
		mismatch(a, "verified");
}

static void
judge_platform(const struct apply *a)
{
	if (strcmp(a->r->c->id, USERS_ID) != 0 || a->api->superuser)
		return;
	for (size_t i = 0; i < KB_COUNT(platform_fields); i++) {
		const char *name = platform_fields[i];
		const struct field *f = collection_field(a->r->c, name);
		const char *was;

		if (f == NULL)
			continue;
		was = a->was ? auth_text(a->was, name) : value_zero(f).text;
		if (f->type == FT_BOOL
			? auth_flag(a->r, name) !=
			    (a->was && auth_flag(a->was, name))
			: strcmp(auth_text(a->r, name), was ? was : "") != 0)
			blame(a, name, "validation_values_mismatch",
			    "Only superusers can change this.");
	}
}

/* Who gets a role is a member, of whom there are so many. */
static enum kb_err
judge_quota(const struct apply *a)
{
	int64_t most = a->api->tenant->row.max_users, n = 0;
	enum kb_err err;

	if (strcmp(a->r->c->id, USERS_ID) != 0 || most < 0 ||
	    !given(auth_text(a->r, "role")) ||
	    (a->was != NULL && given(auth_text(a->was, "role"))))
		return KB_OK;
	err = auth_members(a->cx, &n);
	if (!err && n >= most)
		blame(a, "role", "validation_quota_exceeded",
		    kb_sprintf(a->cx->arena,
			"This tenant takes no more than %lld members.",
			(long long)most));
	return err;
}

static void
judge_old(const struct apply *a)
{
	const struct auth_change *c = a->change;

	if (a->was == NULL || a->manager ||
	    (!given(c->password) && !given(c->confirm)))
		return;
	if (!given(c->old))
		required(a, "oldPassword");
	else if (c->verified == NULL ||
	    strcmp(c->verified, auth_text(a->was, "password")) != 0)
		blame(a, "oldPassword", "validation_invalid_old_password",
		    "Missing or invalid old password.");
}

static void
judge_password(const struct apply *a)
{
	const struct auth_change *c = a->change;
	bool new = a->was == NULL;

	if (!given(c->password) && (new || given(c->confirm) || given(c->old)))
		required(a, "password");
	if (!given(c->confirm) && (new || given(c->password) || given(c->old)))
		required(a, "passwordConfirm");
	else if (strcmp(c->confirm ? c->confirm : "",
		     c->password ? c->password : "") != 0)
		mismatch(a, "passwordConfirm");
	judge_old(a);
}

/* What the field asks of a password; the record's other errors go with it. */
static void
judge_length(const struct apply *a, const struct field *f)
{
	struct kb_arena *arena = a->cx->arena;
	const char *text = a->change->password;
	int64_t n = auth_characters(text);
	int64_t max = f->max_len > 0 ? f->max_len : PASSWORD_CHARS;
	const struct kb_regex *re = NULL;
	const char *why;

	if (given(f->pattern))
		re = kb_regex_new(arena, f->pattern, 0, &why);
	if (n < f->min_len)
		blame(a, "password", "validation_min_text_constraint",
		    kb_sprintf(arena, "Must be at least %lld character(s).",
			(long long)f->min_len));
	else if (n > max)
		blame(a, "password", "validation_max_text_constraint",
		    kb_sprintf(arena, "Must be less than %lld character(s).",
			(long long)max));
	else if (re != NULL && !kb_regex_match(re, kb_slice_of(text), NULL))
		blame(a, "password", "validation_invalid_format",
		    "Invalid value format.");
}

/* ---- the record
 * ------------------------------------------------------------------------- */

static void
set_key(const struct apply *a)
{
	union cell key;

	if (a->was != NULL &&
	    (strcmp(auth_text(a->was, "tokenKey"),
		 auth_text(a->r, "tokenKey")) != 0 ||
		(a->change->hash == NULL &&
		    strcmp(auth_text(a->was, "email"),
			auth_text(a->r, "email")) == 0)))
		return;
	if (a->was == NULL && given(auth_text(a->r, "tokenKey")))
		return;
	key.text = random_key(a->cx->arena, TOKEN_KEY_SIZE);
	(void)auth_set(a->r, "tokenKey", key);
}

/* Tokens name a collection beside the id, but people do not. */
static enum kb_err
judge_id(const struct apply *a)
{
	const struct schema *s = a->api->schema;
	const char *id = record_id_of(a->r);
	const char *ids = value_list_text(a->cx->arena, &id, 1);
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && a->was == NULL && i < s->n; i++) {
		int64_t n = 0;

		if (!s->collections[i].auth || &s->collections[i] == a->r->c)
			continue;
		err = records_count_ids(a->cx, &s->collections[i], ids, &n);
		if (!err && n > 0)
			blame(a, "id", "validation_invalid_auth_id",
			    "Invalid or duplicated auth record id.");
	}
	return err;
}

static void
apply(const struct apply *a)
{
	const struct field *f = collection_field(a->r->c, "password");
	union cell v = { .text = a->was ? auth_text(a->was, "password") : "" };

	if (f != NULL && given(a->change->password))
		judge_length(a, f);
	if (a->change->hash != NULL)
		v.text = a->change->hash;
	(void)auth_set(a->r, "password", v);
	set_key(a);
	v.flag = true;
	if (auth_is_superuser(a->r->c))
		(void)auth_set(a->r, "verified", v);
}

enum kb_err
auth_record_apply(struct api *api, struct kb_cx *cx,
    const struct auth_change *change, const struct record *was,
    struct record *r, struct api_errors *errors)
{
	struct apply a = { api, cx, change, was, r, errors, false };
	union cell verified = { .flag = auth_flag(r, "verified") };
	size_t before = errors->n;
	enum kb_err err;

	if (!r->c->auth)
		return KB_OK;
	/* A rule that asks for verified must not hold by the claim itself. */
	if (was == NULL)
		(void)auth_set(r, "verified", (union cell) { .flag = false });
	err = auth_may_manage(api, cx, was ? was : r, was == NULL, &a.manager);
	if (was == NULL)
		(void)auth_set(r, "verified", verified);
	if (err)
		return err;
	judge_state(&a);
	judge_platform(&a);
	err = judge_quota(&a);
	if (err)
		return err;
	if (collection_field(r->c, "password") != NULL)
		judge_password(&a);
	if (errors->n > before)
		return KB_INVALID;
	/* Longer than can be hashed: refused as it is, without a field. */
	if (given(change->password) && change->hash == NULL)
		return KB_INVALID;
	apply(&a);
	return judge_id(&a);
}

/* ---- after it
 * ----------------------------------------------------------------------------
 */

static enum kb_err
forget(const struct api *api, struct kb_cx *cx, const char *of,
    const struct record *r)
{
	const struct collection *c = schema_find(api->schema, of);

	return c ? auth_refs_delete(cx, c, r) : KB_OK;
}

enum kb_err
auth_record_stored(const struct api *api, struct kb_cx *cx,
    const struct record *was, const struct record *r)
{
	enum kb_err err;

	if (was == NULL || !r->c->auth ||
	    strcmp(auth_text(was, "password"), auth_text(r, "password")) == 0)
		return KB_OK;
	err = forget(api, cx, "_authOrigins", r);
	return err ? err : forget(api, cx, "_mfas", r);
}

enum kb_err
auth_record_gone(const struct api *api, struct kb_cx *cx,
    const struct record *r, struct api_errors *errors)
{
	static const char *const all[] = { "_authOrigins", "_mfas", "_otps",
		"_externalAuths" };
	enum kb_err err = KB_OK;
	int64_t n = 2;

	if (!r->c->auth)
		return KB_OK;
	if (auth_is_superuser(r->c))
		err = auth_count(cx, r->c, &n);
	if (!err && n < 2) {
		api_error_add(cx->arena, errors, "id",
		    "validation_invalid_value",
		    "You can't delete the only existing superuser.");
		return KB_INVALID;
	}
	for (size_t i = 0; !err && i < KB_COUNT(all); i++)
		err = forget(api, cx, all[i], r);
	return err;
}
