/*
 * The wallet: secrets of a tenant, encrypted each for its own place. Values
 * are told to nobody but who has signed in freshly and says why.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "platform.h"
#include "records/auth.h"

#define VALUE_MAX (64 * 1024)
#define PROOF_LIFE_S 300

static const struct auth_limit reveals = { "wallet", 30, 60 };

struct wallet_body {
	const char *key, *label, *kind, *stack_id, *value;
	const struct kb_json *metadata;
};

struct reveal_body {
	const char *proof, *reason;
};

struct reauth_body {
	const char *password;
};

static bool
is_key(const char *s)
{
	size_t n = strspn(s,
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
	    "-");

	return n > 0 && n <= 128 && s[n] == '\0';
}

/* clang-format off */
#define ITEM_RULES(is_required) \
	KB_RULE_STR(struct wallet_body, label, .max = 200), \
	KB_RULE_STR(struct wallet_body, kind, .match = kb_is_id, .hint = "may hold a-z, 0-9, _ and -"), \
	KB_RULE_STR(struct wallet_body, value, .required = is_required, .min = 1, .max = VALUE_MAX), \
	KB_RULE_JSON(struct wallet_body, metadata, .doc = "An object; not encrypted")
/* clang-format on */

const struct kb_rule wallet_rules[] = {
	KB_RULE_STR(struct wallet_body, key, .required = true, .match = is_key,
	    .hint = "may hold letters, digits, _, . and -"),
	KB_RULE_STR_AS(struct wallet_body, stack_id, "stackId",
	    .match = kb_is_id, .hint = "must be a stack's id"),
	ITEM_RULES(true),
	KB_RULES_END,
};
const struct kb_rule wallet_patch_rules[] = { ITEM_RULES(false), KB_RULES_END };
const struct kb_rule reveal_rules[] = {
	KB_RULE_STR(struct reveal_body, proof, .required = true, .min = 1,
	    .max = 200, .doc = "Of POST /v1/wallet/reauth"),
	KB_RULE_STR(
	    struct reveal_body, reason, .required = true, .min = 1, .max = 500),
	KB_RULES_END,
};
const struct kb_rule reauth_rules[] = {
	KB_RULE_STR(struct reauth_body, password, .min = 1, .max = 1000,
	    .doc = "Of a local account; else a fresh sign-in counts"),
	KB_RULES_END,
};

static const struct wallet_keys *
keys_of(struct kb_request *req)
{
	return stack_state(kb_app(req))->wallet;
}

static struct viewer
viewer_of(const struct kb_request *req)
{
	return (struct viewer) {
		.user_id = tenant_of(req)->user.id,
		.admin = req->role == KB_ROLE_ADMIN,
	};
}

static struct kb_reply
shut(struct kb_request *req)
{
	return kb_fail(req, KB_UNAVAILABLE,
	    "The wallet has no key: TECHSTACK_ENCRYPTION_KEY is not set");
}

static const char *
place_of(struct kb_request *req, const struct wallet_item *i)
{
	return kb_sprintf(req->cx.arena, "%s|wallet|ciphertext|%s",
	    tenant_of(req)->row.id, i->id);
}

static void
seal(struct kb_request *req, struct wallet_item *i, const char *value)
{
	i->ciphertext = kb_field_encrypt(req->cx.arena, keys_of(req)->keys[0],
	    value, strlen(value), place_of(req, i));
}

static void
item_json(struct kb_jsonw *w, const void *obj)
{
	const struct wallet_item *i = obj;

	kb_w_str(w, "id", i->id);
	kb_w_str(w, "key", i->key);
	kb_w_str(w, "label", i->label);
	kb_w_str(w, "kind", i->kind);
	kb_w_str(w, "stackId", i->stack_id);
	kb_w_raw(w, "metadata", i->metadata);
	kb_w_str(w, "createdBy", i->created_by);
	kb_w_str(w, "createdAt", i->created);
	kb_w_str(w, "updatedAt", i->updated);
}

struct kb_reply
wallet_list(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct kb_page page;
	struct wallet_item *rows;
	size_t n;
	enum kb_err err;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = wallet_page(&req->cx, &v, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, item_json, rows, n, sizeof(*rows), &page);
}

static bool
read_item(
    struct kb_request *req, const struct kb_rule *rules, struct wallet_body *b)
{
	if (!kb_read_body(req, rules, b))
		return false;
	if (b->metadata == NULL || kb_json_kind(b->metadata) == KB_JSON_OBJECT)
		return true;
	kb_bad_field(req, "metadata", "must be an object");
	return false;
}

static void
apply(
    struct kb_request *req, const struct wallet_body *b, struct wallet_item *i)
{
	if (b->label != NULL)
		i->label = b->label;
	if (b->kind != NULL)
		i->kind = b->kind;
	if (b->metadata != NULL)
		i->metadata = kb_json_print(req->cx.arena, b->metadata);
	if (b->value != NULL)
		seal(req, i, b->value);
	i->updated = kb_now_text(req->cx.arena);
}

struct kb_reply
wallet_create(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct wallet_body b = { 0 };
	struct wallet_item i = { .label = "",
		.kind = "secret",
		.metadata = "{}",
		.created_by = tenant_of(req)->user.id };
	enum kb_err err;

	if (!read_item(req, wallet_rules, &b))
		return kb_invalid(req);
	if (keys_of(req)->n == 0)
		return shut(req);
	i.id = kb_id_new(req->cx.arena, "wal");
	i.key = b.key;
	i.stack_id = b.stack_id;
	apply(req, &b, &i);
	i.created = i.updated;
	err = wallet_insert(&req->cx, &v, &i);
	if (err == KB_INVALID) {
		kb_bad_field(req, "stackId", "is no stack of this tenant");
		return kb_invalid(req);
	}
	if (err)
		return kb_fail(req, err, NULL);
	note(req, "wallet.created", "wallet", i.id, NULL);
	return kb_data(req, 201, item_json, &i);
}

struct kb_reply
wallet_patch(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct wallet_body b = { 0 };
	struct wallet_item i;
	enum kb_err err;

	if (!read_item(req, wallet_patch_rules, &b))
		return kb_invalid(req);
	if (keys_of(req)->n == 0)
		return shut(req);
	err = wallet_get(&req->cx, &v, kb_param(req, "id"), &i);
	if (!err) {
		apply(req, &b, &i);
		err = wallet_update(&req->cx, &i);
	}
	if (err)
		return kb_fail(req, err, NULL);
	note(req, "wallet.changed", "wallet", i.id, NULL);
	return kb_data(req, 200, item_json, &i);
}

struct kb_reply
wallet_remove(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	const char *id = kb_param(req, "id");
	enum kb_err err = wallet_delete(&req->cx, &v, id);

	if (err)
		return kb_fail(req, err, NULL);
	note(req, "wallet.deleted", "wallet", id, NULL);
	return kb_no_content(req);
}

/* ---- proofs of a fresh sign-in --------------------------------------------
 */

/* "<unix seconds>.<MAC>": of this member, until then. */
static const char *
proof_at(struct kb_request *req, int64_t until_s)
{
	const struct tenant_cx *tc = tenant_of(req);
	struct kb_arena *a = req->cx.arena;
	const char *text = kb_sprintf(a, "%s|%s|%s|%lld", tc->row.id,
	    tc->user.id, tc->user.token_key, (long long)until_s);
	unsigned char key[32], mac[32];

	kb_hkdf_sha256(
	    keys_of(req)->keys[0], 32, "kombi wallet proof", key, sizeof(key));
	kb_hmac_sha256(key, sizeof(key), text, strlen(text), mac);
	kb_wipe(key, sizeof(key));
	return kb_sprintf(a, "%lld.%s", (long long)until_s,
	    kb_base64url(a, mac, sizeof(mac)));
}

static bool
proof_is_good(struct kb_request *req, const char *proof)
{
	const char *dot = strchr(proof, '.');
	struct kb_slice head = { .ptr = proof,
		.len = dot ? (size_t)(dot - proof) : 0 };
	int64_t until_s, now_s = kb_wall_s();

	return dot != NULL && kb_parse_i64(head, &until_s) &&
	    until_s >= now_s && until_s <= now_s + PROOF_LIFE_S &&
	    kb_str_equal_ct(proof, proof_at(req, until_s));
}

static enum kb_err
by_password(struct api *api, const char *password)
{
	struct auth_row row;
	bool limited = false, good = false;
	struct schema_slot *slot = tenant_schemas(api->tenant->handle);
	struct schema *schema;
	enum kb_err err = schema_acquire(&api->req->cx, slot, &schema);

	if (err)
		return err;
	api->schema = schema;
	err = auth_row_get(&api->req->cx, schema_find(schema, USERS_ID),
	    api->tenant->user.id, &row);
	if (!err && row.password[0] != '\0')
		good = auth_password_is(api, &row, password, &limited);
	schema_release(slot, schema);
	if (err || limited)
		return err ? err : KB_RATE_LIMITED;
	return good ? KB_OK : KB_AUTH_INVALID;
}

/* Came through the identity provider within the last minutes. */
static enum kb_err
by_entry(struct tenant_cx *tc)
{
	struct mapping m;
	int64_t at_ms;
	enum kb_err err;

	if (tc->user.sub == NULL || tc->user.sub[0] == '\0')
		return KB_AUTH_INVALID;
	err = mapping_get(&tc->platform, tc->user.sub, tc->row.id, &m);
	if (err)
		return err == KB_NOT_FOUND ? KB_AUTH_INVALID : err;
	if (!kb_rfc3339_parse(m.last_login, &at_ms) ||
	    kb_wall_ms() - at_ms > PROOF_LIFE_S * 1000LL)
		return KB_AUTH_INVALID;
	return KB_OK;
}

struct proof {
	const char *text;
	char until[KB_RFC3339_SIZE];
};

static void
proof_json(struct kb_jsonw *w, const void *obj)
{
	const struct proof *p = obj;

	kb_w_str(w, "proof", p->text);
	kb_w_str(w, "expiresAt", p->until);
}

struct kb_reply
wallet_reauth(struct kb_request *req)
{
	struct tenant_cx *tc = tenant_of(req);
	struct api api = { .req = req, .tenant = tc };
	struct reauth_body b = { 0 };
	struct proof p;
	int64_t until_s = kb_wall_s() + PROOF_LIFE_S;
	enum kb_err err;

	if (!kb_read_body(req, reauth_rules, &b))
		return kb_invalid(req);
	if (keys_of(req)->n == 0)
		return shut(req);
	err = b.password ? by_password(&api, b.password) : by_entry(tc);
	if (err == KB_AUTH_INVALID)
		return kb_fail(req, KB_FORBIDDEN, "%s",
		    b.password ? "The password is not right"
			       : "Sign in again first");
	if (err)
		return kb_fail(req, err, NULL);
	p.text = proof_at(req, until_s);
	kb_rfc3339(until_s * 1000, p.until);
	return kb_data(req, 200, proof_json, &p);
}

/* ---- revealing ------------------------------------------------------------
 */

static void
reason_json(struct kb_jsonw *w, const void *obj)
{
	const struct reveal_body *b = obj;

	kb_w_str(w, "reason", b->reason);
}

struct revealed {
	const char *id, *key;
	struct kb_slice value;
};

static void
revealed_json(struct kb_jsonw *w, const void *obj)
{
	const struct revealed *r = obj;

	kb_w_str(w, "id", r->id);
	kb_w_str(w, "key", r->key);
	kb_w_slice(w, "value", r->value);
}

/* With either key; what the former one sealed is sealed anew. */
static enum kb_err
unseal(struct kb_request *req, struct wallet_item *i, struct kb_slice *out)
{
	const struct wallet_keys *k = keys_of(req);
	const char *place = place_of(req, i);
	unsigned char *plain;
	size_t len;
	enum kb_err err = KB_INVALID;

	for (unsigned n = 0; err && n < k->n; n++) {
		err = kb_field_decrypt(req->cx.arena, k->keys[n], i->ciphertext,
		    place, &plain, &len);
		if (err || n == 0)
			continue;
		i->ciphertext = kb_field_encrypt(
		    req->cx.arena, k->keys[0], plain, len, place);
		err = wallet_update(&req->cx, i);
	}
	if (err == KB_INVALID)
		return KB_CONFIGURATION; /* sealed by a key that is gone */
	if (!err)
		*out = (struct kb_slice) { .ptr = (char *)plain, .len = len };
	return err;
}

/* The audit comes first: what cannot be noted is not told. */
static enum kb_err
note_reveal(struct kb_request *req, const struct wallet_item *i,
    const struct reveal_body *b)
{
	const struct tenant_cx *tc = tenant_of(req);
	const char *details = details_text(req->cx.arena, reason_json, b);
	enum kb_err err = kb_audit(
	    req, platform_of(req), "wallet.revealed", "wallet", i->id, details);

	return err ? err
		   : activity_insert(&req->cx,
			 &(const struct happening) {
			     .actor = tc->user.id,
			     .actor_name = tc->user.name,
			     .action = "wallet.revealed",
			     .resource = "wallet",
			     .resource_id = i->id,
			     .details = details,
			 });
}

struct kb_reply
wallet_reveal(struct kb_request *req)
{
	struct viewer v = viewer_of(req);
	struct tenant_cx *tc = tenant_of(req);
	struct api api = { .req = req, .tenant = tc };
	struct reveal_body b = { 0 };
	struct wallet_item i;
	struct revealed r;
	enum kb_err err;

	if (!kb_read_body(req, reveal_rules, &b))
		return kb_invalid(req);
	if (keys_of(req)->n == 0)
		return shut(req);
	err = wallet_get(&req->cx, &v, kb_param(req, "id"), &i);
	if (err)
		return kb_fail(req, err, NULL);
	if (!auth_limit_take(&api, &reveals, tc->user.id))
		return kb_fail(req, KB_RATE_LIMITED, NULL);
	if (!proof_is_good(req, b.proof))
		return kb_fail(req, KB_FORBIDDEN,
		    "The proof is none of yours or too old: ask"
		    " /v1/wallet/reauth again");
	err = note_reveal(req, &i, &b);
	if (!err)
		err = unseal(req, &i, &r.value);
	if (err)
		return kb_fail(req, err, NULL);
	r.id = i.id;
	r.key = i.key;
	return kb_data(req, 200, revealed_json, &r);
}
