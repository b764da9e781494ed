/*
 * Signing in at another provider. Its word opens a record that is linked to
 * the person there; an address alone links only when the provider knows it to
 * be the person's. A record whose address nobody has verified may have been
 * made by somebody else in wait for its owner: what opened it before (the
 * password, its tokens, earlier links) ends when the owner comes.
 */
#include <string.h>

#include <kombi/password.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "auth_provider.h"
#include "changes.h"
#include "record_write.h"

#define LINKS "_externalAuths"

struct entry {
	struct api *api;
	const struct collection *c;
	const struct oauth2_provider *conf;
	struct person who;
	const char *found;     /* before the transaction; NULL: nobody */
	const char *record_id; /* whom it ends with */
	bool mine;             /* the caller's own record */
	bool linked, fresh;
	const char *fresh_hash; /* of a password that nobody knows */
	struct write create;
};

/* ---- the request
 * ----------------------------------------------------------------------- */

static const struct oauth2_provider *
configured(const struct auth_options *o, const char *name)
{
	for (size_t i = 0; i < o->n_providers; i++)
		if (strcmp(o->providers[i].name, name) == 0 &&
		    provider_find(name) != NULL)
			return &o->providers[i];
	return NULL;
}

static void
judge_provider(struct form *f, struct entry *e, const char *name)
{
	struct kb_arena *a = f->api->req->cx.arena;

	e->conf = configured(e->c->auth_options, name);
	if (name[0] == '\0' || form_bad(f, "provider") || e->conf != NULL)
		return;
	api_error_add(a, &f->errors, "provider", "validation_invalid_provider",
	    kb_sprintf(a, "Provider with name %s is missing or is not enabled.",
		name));
}

static bool
read_form(struct entry *e, struct oauth2_code *code, struct kb_reply *reply)
{
	static const char
	    failed[] = "An error occurred while loading the submitted data.";
	struct form f;
	const char *name;

	if (!form_open(&f, e->api, reply))
		return false;
	name = form_text(&f, "provider", 1, 100);
	judge_provider(&f, e, name);
	code->conf = e->conf;
	code->code = form_text(&f, "code", 1, 8192);
	code->verifier = form_text(&f, "codeVerifier", 0, 1024);
	code->redirect = form_text(&f, "redirectUrl", 0, 4096);
	if (code->redirect[0] == '\0' ||
	    kb_json_get(e->api->body, "redirectURL") != NULL)
		code->redirect = form_text(&f, "redirectURL", 1, 4096);
	if (f.unreadable)
		*reply = api_fail(e->api->req, 400, failed);
	else if (f.errors.n > 0)
		*reply = api_fail_fields(e->api->req, failed, &f.errors);
	return !f.unreadable && f.errors.n == 0;
}

/* ---- whose record
 * ---------------------------------------------------------------------- */

static struct record *
link_of(struct kb_cx *cx, const struct entry *e, const struct record *r)
{
	struct record *link = auth_ref_new(e->api, cx, LINKS, r);

	(void)auth_set(
	    link, "provider", (union cell) { .text = e->conf->name });
	(void)auth_set(link, "providerId", (union cell) { .text = e->who.id });
	return link;
}

static enum kb_err
by_link(struct kb_cx *cx, struct entry *e)
{
	const struct collection *links = schema_find(e->api->schema, LINKS);
	struct record none = { .c = e->c,
		.cells = kb_new_array(cx->arena, e->c->n_fields, union cell) };
	struct record *link;
	enum kb_err err = auth_link_find(
	    cx, links, link_of(cx, e, &none), &link);

	if (err)
		return err;
	e->linked = true;
	e->record_id = auth_text(link, "recordRef");
	return KB_OK;
}

static enum kb_err
find_record(struct kb_cx *cx, struct entry *e)
{
	const struct principal *p = e->api->auth;
	struct auth_row row;
	enum kb_err err = by_link(cx, e);

	if (err != KB_NOT_FOUND) {
		e->found = e->record_id;
		return err;
	}
	if (p != NULL && p->c == e->c) {
		e->found = p->id;
		return KB_OK;
	}
	if (!e->who.verified)
		return KB_OK;
	err = auth_find(e->api, e->c, "email", e->who.email, &row);
	if (!err)
		e->found = record_id_of(row.record);
	return err == KB_NOT_FOUND ? KB_OK : err;
}

/* ---- a known record
 * -------------------------------------------------------------------- */

static enum kb_err
shut_out_others(struct kb_cx *cx, const struct entry *e, struct record *r)
{
	static const char *const all[] = { LINKS, "_mfas", "_otps",
		"_authOrigins" };
	enum kb_err err = KB_OK;

	(void)auth_set(r, "password", (union cell) { .text = e->fresh_hash });
	(void)auth_set(r, "tokenKey",
	    (union cell) { .text = random_key(cx->arena, TOKEN_KEY_SIZE) });
	for (size_t i = 0; !err && i < KB_COUNT(all); i++)
		err = auth_refs_delete(
		    cx, schema_find(e->api->schema, all[i]), r);
	return err;
}

static enum kb_err
adopt(struct kb_cx *cx, struct record *r, void *arg)
{
	struct entry *e = arg;
	const char *email = auth_text(r, "email");
	enum kb_err err = KB_OK;

	if (!e->mine && !e->linked && email[0] != '\0' &&
	    !auth_flag(r, "verified"))
		err = shut_out_others(cx, e, r);
	if (email[0] == '\0' && e->who.verified) {
		email = e->who.email;
		(void)auth_set(r, "email", (union cell) { .text = email });
	}
	if (e->who.verified && strcmp(email, e->who.email) == 0)
		(void)auth_set(r, "verified", (union cell) { .flag = true });
	return err;
}

/* ---- a new one
 * ------------------------------------------------------------------------- */

static bool
is_given(const struct kb_json *data, const char *name)
{
	return kb_json_get(data, name) != NULL;
}

static void
map(struct kb_jsonw *w, const struct entry *e, const struct kb_json *data,
    const char *field, const char *value)
{
	const struct field *f = field && field[0]
	    ? collection_field(e->c, field)
	    : NULL;

	/* A picture's address is no picture. */
	if (f != NULL && value[0] != '\0' && !is_given(data, field) &&
	    f->type != FT_FILE)
		kb_w_str(w, field, value);
}

/* What the client says of the record, and what the provider does. */
static void
write_payload(
    struct kb_jsonw *w, const struct entry *e, const struct kb_json *data)
{
	struct kb_arena *a = e->api->req->cx.arena;
	const struct auth_options *o = e->c->auth_options;
	const char *password = random_key(a, 30);
	const char *email = kb_json_str(data, "email");

	kb_w_object(w, NULL);
	for (const struct kb_json *j = kb_json_first(data); j != NULL;
	     j = kb_json_after(j))
		if (strcmp(kb_json_name(j), "email") != 0)
			kb_w_raw(w, kb_json_name(j), kb_json_print(a, j));
	kb_w_str(w, "email", email && email[0] ? email : e->who.email);
	map(w, e, data, o->map_id, e->who.id);
	map(w, e, data, o->map_name, e->who.name);
	map(w, e, data, o->map_username, e->who.username);
	map(w, e, data, o->map_avatar, e->who.avatar);
	if (!is_given(data, "password")) {
		kb_w_str(w, "password", password);
		if (!is_given(data, "passwordConfirm"))
			kb_w_str(w, "passwordConfirm", password);
	}
	kb_w_object_end(w);
}

static bool
set_payload(struct entry *e)
{
	struct kb_arena *a = e->api->req->cx.arena;
	const struct kb_json *data = kb_json_get(e->api->body, "createData");
	const char *why;
	struct kb_jsonw w;
	struct kb_buf b;
	bool ok;

	if (data != NULL && kb_json_kind(data) != KB_JSON_OBJECT)
		data = NULL;
	kb_buf_init(&b, 8u << 20);
	kb_w_init(&w, &b);
	write_payload(&w, e, data);
	ok = !kb_buf_failed(&b) &&
	    kb_json_parse(a, kb_buf_str(&b), b.len, &e->api->body, &why) ==
		KB_OK;
	kb_buf_free(&b);
	return ok;
}

/* ---- all of it in one transaction
 * --------------------------------------------------------- */

static enum kb_err
verify_new(struct kb_cx *cx, const struct entry *e, struct record *r)
{
	if (!e->who.verified ||
	    strcmp(auth_text(r, "email"), e->who.email) != 0)
		return KB_OK;
	(void)auth_set(r, "verified", (union cell) { .flag = true });
	return record_update(cx, r);
}

static enum kb_err
create_tx(struct kb_cx *cx, struct entry *e, struct record **r)
{
	enum kb_err err = write_tx(cx, &e->create);

	*r = e->create.r;
	return err ? err : verify_new(cx, e, *r);
}

static enum kb_err
enter_tx(struct kb_cx *cx, void *arg)
{
	struct entry *e = arg;
	struct record *r;
	struct auth_row row;
	enum kb_err err;

	/* Somebody may have linked it meanwhile; this may run twice. */
	e->linked = false;
	e->record_id = e->found;
	err = by_link(cx, e);
	if (err != KB_OK && err != KB_NOT_FOUND)
		return err;
	e->fresh = e->record_id == NULL;
	if (e->fresh) {
		err = create_tx(cx, e, &r);
	} else {
		err = auth_row_get(cx, e->c, e->record_id, &row);
		r = row.record;
		if (!err && !auth_may_sign_in(e->api, &row))
			err = KB_AUTH_INVALID;
		if (!err)
			err = auth_save_tx(e->api, cx, &row, adopt, e);
	}
	if (err || e->linked)
		return err;
	e->record_id = record_id_of(r);
	return record_insert(cx, link_of(cx, e, r));
}

static struct kb_reply
refuse(struct entry *e, enum kb_err err)
{
	struct kb_request *req = e->api->req;

	if (!e->fresh || err == KB_AUTH_INVALID)
		return api_fail_db(req, err, "Failed to authenticate.");
	write_failed(&e->create, &req->cx, err);
	return api_failed(req, &e->create.failure);
}

/* ---- the answer
 * ------------------------------------------------------------------------ */

static const char *
meta_of(const struct entry *e)
{
	struct kb_arena *a = e->api->req->cx.arena;
	char expiry[KB_RFC3339_SIZE] = "";
	struct kb_jsonw w;
	struct kb_buf b;
	const char *out;

	if (e->who.expires_s > 0) {
		kb_rfc3339(e->who.expires_s * 1000, expiry);
		expiry[10] = ' ';
	}
	kb_buf_init(&b, 4u << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "id", e->who.id);
	kb_w_str(&w, "name", e->who.name);
	kb_w_str(&w, "username", e->who.username);
	kb_w_str(&w, "email", e->who.email);
	kb_w_str(&w, "avatarURL", e->who.avatar);
	kb_w_str(&w, "avatarUrl", e->who.avatar);
	kb_w_str(&w, "accessToken", e->who.access);
	kb_w_str(&w, "refreshToken", e->who.refresh);
	kb_w_str(&w, "expiry", expiry);
	kb_w_raw(&w, "rawUser", e->who.raw);
	kb_w_bool(&w, "isNew", e->fresh);
	kb_w_object_end(&w);
	out = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}

/* Before the transaction: what takes long, and what needs no lock. */
static enum kb_err
prepare(struct entry *e)
{
	struct api *api = e->api;
	enum kb_err err = find_record(&api->req->cx, e);

	if (err)
		return err;
	e->mine = api->auth != NULL && api->auth->c == e->c &&
	    e->found != NULL && strcmp(api->auth->id, e->found) == 0;
	e->fresh_hash = kb_password_hash(
	    api->req->cx.arena, random_key(api->req->cx.arena, 30), 0);
	if (e->found != NULL)
		return KB_OK;
	e->fresh = true;
	if (!set_payload(e))
		return KB_INVALID;
	e->create = write_start(api, WRITE_CREATE, e->c, NULL);
	return write_allowed(&e->create) ? write_prepare(&e->create)
					 : KB_FORBIDDEN;
}

static struct kb_reply
enter(struct entry *e)
{
	struct kb_request *req = e->api->req;
	const struct kb_json *body = e->api->body;
	struct sign_in how = { .method = "oauth2" };
	struct auth_row row;
	enum kb_err err = prepare(e);

	if (err == KB_FORBIDDEN && e->create.failure.status != 0)
		return api_failed(req, &e->create.failure);
	if (!err)
		err = kb_transaction(&req->cx, enter_tx, e);
	if (err)
		return refuse(e, err);
	changes_publish(e->api);
	e->api->body = body; /* mfaId is in it */
	err = auth_row_get(&req->cx, e->c, e->record_id, &row);
	if (err)
		return api_fail_db(req, err, "Failed to authenticate.");
	how.meta = meta_of(e);
	return auth_respond(e->api, &row, &how);
}

static struct kb_reply
with_oauth2(struct api *api)
{
	struct kb_request *req = api->req;
	struct kb_reply reply;
	struct entry e = { .api = api, .c = auth_context(api, &reply) };
	struct oauth2_code code;
	const char *why;

	if (e.c == NULL)
		return reply;
	if (!e.c->auth_options->oauth2 || auth_is_superuser(e.c))
		return api_fail(req, 403,
		    "The collection is not configured to allow OAuth2"
		    " authentication.");
	if (!read_form(&e, &code, &reply))
		return reply;
	api->context = "oauth2";
	if (oauth2_person(api, &code, &e.who, &why))
		return api_fail(req, 400, why);
	return enter(&e);
}

API_HANDLER(auth_with_oauth2, API_GUESTS, with_oauth2)
