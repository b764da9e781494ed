/*
 * The record of a session: JSON, sealed, bound to its key in Redis. A copy of
 * Redis tells neither whose it is nor the cookie that would open it.
 */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/json.h>
#include <kombi/str.h>

#include "inside.h"

enum { RECORD_MAX = 128 * 1024, RECORD_VERSION = 1 };

#define KEY_PREFIX "kombi:session:"

static const char *const identity_names[KB_ID_FIELDS] = { "user", "email",
	"name", "org", "roles", "plan", "tenant" };

bool
session_id(struct kb_slice text, unsigned char out[SESSION_ID])
{
	unsigned char bytes[SESSION_TEXT];

	if (text.len != SESSION_TEXT ||
	    kb_base64url_decode(text.ptr, text.len, bytes) != SESSION_ID)
		return false;
	memcpy(out, bytes, SESSION_ID);
	return true;
}

char *
session_key(struct kb_arena *a, const unsigned char id[SESSION_ID])
{
	unsigned char hash[KB_SHA256_SIZE];

	kb_sha256(id, SESSION_ID, hash);
	return kb_sprintf(
	    a, KEY_PREFIX "%s", kb_base64url(a, hash, sizeof(hash)));
}

char *
session_place(struct kb_arena *a, const char *key, const struct oidc_client *c)
{
	const struct oidc_client_conf *conf = oidc_client_conf(c);

	return kb_sprintf(a, "%s %s %s", key, conf->issuer, conf->client_id);
}

char *
session_lock_key(struct kb_arena *a, const char *key)
{
	return kb_sprintf(a, "%s:lock", key);
}

char *
session_seal(struct kb_arena *a, const struct seal_keys *keys,
    const char *place, const struct session *s)
{
	struct kb_buf b;
	struct kb_jsonw w;
	char *text = NULL;

	kb_buf_init(&b, RECORD_MAX);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_int(&w, "v", RECORD_VERSION);
	kb_w_str(&w, "sub", s->sub);
	kb_w_opt(&w, "sid", s->sid);
	kb_w_opt(&w, "access", s->access);
	kb_w_opt(&w, "refresh", s->refresh);
	kb_w_opt(&w, "idToken", s->id_token);
	/* One of the two above: which. */
	kb_w_bool(&w, "byAccess", s->claims && s->claims == s->access);
	kb_w_int(&w, "created", s->created_s);
	kb_w_int(&w, "issued", s->issued_s);
	kb_w_int(&w, "expires", s->expires_s);
	kb_w_object(&w, "identity");
	for (int i = 0; i < KB_ID_FIELDS; i++)
		kb_w_opt(&w, identity_names[i], s->identity.value[i]);
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	if (!kb_buf_failed(&b))
		text = seal(a, keys, place, b.ptr, b.len);
	kb_wipe(b.ptr, b.len);
	kb_buf_free(&b);
	return text;
}

bool
session_open(struct kb_arena *a, const struct seal_keys *keys,
    const char *place, struct kb_slice text, struct session *out)
{
	const struct kb_json *j, *id;
	const char *why;
	char *plain;
	int64_t version = 0;
	size_t len;

	memset(out, 0, sizeof(*out));
	if (text.len > 2 * RECORD_MAX)
		return false;
	plain = unseal(a, keys, place, kb_slice_dup(a, text), &len);
	if (plain == NULL || kb_json_parse(a, plain, len, &j, &why) ||
	    !kb_json_int(j, "v", &version) || version != RECORD_VERSION)
		return false;
	out->sub = kb_json_str(j, "sub");
	out->sid = kb_json_str(j, "sid");
	out->access = kb_json_str(j, "access");
	out->refresh = kb_json_str(j, "refresh");
	out->id_token = kb_json_str(j, "idToken");
	out->claims = kb_json_bool(j, "byAccess", false) ? out->access
							 : out->id_token;
	id = kb_json_get(j, "identity");
	for (int i = 0; i < KB_ID_FIELDS; i++)
		out->identity.value[i] = kb_json_str(id, identity_names[i]);
	return out->sub && out->identity.value[KB_ID_USER] &&
	    kb_json_int(j, "created", &out->created_s) &&
	    kb_json_int(j, "issued", &out->issued_s) &&
	    kb_json_int(j, "expires", &out->expires_s);
}
