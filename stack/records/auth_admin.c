/* What the platform does with a tenant's auth: its first superuser, and new
 * secrets for a copy of it. */
#include <string.h>

#include <kombi/password.h>
#include <kombi/str.h>

#include "auth.h"

#define PASSWORD_MIN 8
#define PASSWORD_MAX 71

static bool
judge(struct superuser *su)
{
	int64_t n = auth_characters(su->password);

	if (!kb_is_email(su->email))
		su->why = "The e-mail address is not valid.";
	else if (n < PASSWORD_MIN)
		su->why = "The password needs at least 8 characters.";
	else if (n > PASSWORD_MAX || strlen(su->password) > KB_PASSWORD_MAX)
		su->why = "The password is too long.";
	return su->why == NULL;
}

static enum kb_err
insert_tx(struct kb_cx *cx, void *arg)
{
	return record_insert(cx, arg);
}

static struct record *
record_of(
    struct kb_arena *a, const struct collection *c, const struct superuser *su)
{
	struct record *r = kb_new(a, struct record);
	const char *now = record_now(a);
	const struct {
		const char *name, *text;
	} texts[] = {
		{ "id", record_new_id(a) },
		{ "email", su->email },
		{ "password", kb_password_hash(a, su->password, 0) },
		{ "tokenKey", random_key(a, TOKEN_KEY_SIZE) },
		{ "created", now },
		{ "updated", now },
	};

	r->c = c;
	r->cells = kb_new_array(a, c->n_fields, union cell);
	for (size_t i = 0; i < c->n_fields; i++)
		r->cells[i] = value_zero(&c->fields[i]);
	for (size_t i = 0; i < KB_COUNT(texts); i++)
		(void)auth_set(
		    r, texts[i].name, (union cell) { .text = texts[i].text });
	(void)auth_set(r, "verified", (union cell) { .flag = true });
	return r;
}

enum kb_err
auth_superuser_create(
    struct kb_cx *cx, struct tenant_handle *h, struct superuser *su)
{
	struct schema *schema;
	struct record *r;
	enum kb_err err;

	su->why = NULL;
	if (!judge(su))
		return KB_INVALID;
	err = schema_acquire(cx, tenant_schemas(h), &schema);
	if (err)
		return err;
	r = record_of(cx->arena, schema_find(schema, SUPERUSERS_ID), su);
	err = kb_transaction(cx, insert_tx, r);
	if (!err)
		su->id = record_id_of(r);
	schema_release(tenant_schemas(h), schema);
	return err;
}

/* ---- new secrets
 * ---------------------------------------------------------------------- */

static enum kb_err
rotate_tx(struct kb_cx *cx, void *arg)
{
	static const char *const begun[] = { "_mfas", "_otps" };
	const struct schema *s = arg;
	enum kb_err err = auth_rotate_secrets(cx);

	for (size_t i = 0; !err && i < s->n; i++)
		if (s->collections[i].auth)
			err = auth_rotate_keys(cx, &s->collections[i]);
	for (size_t i = 0; !err && i < KB_COUNT(begun); i++)
		err = auth_empty(cx, schema_find(s, begun[i]));
	return err;
}

enum kb_err
auth_rotate_all(struct kb_cx *cx, struct tenant_handle *h)
{
	struct schema_slot *slot = tenant_schemas(h);
	struct schema *schema;
	enum kb_err err = schema_acquire(cx, slot, &schema);

	if (err)
		return err;
	err = kb_transaction(cx, rotate_tx, schema);
	schema_release(slot, schema);
	if (!err)
		schema_forget(slot);
	return err;
}
