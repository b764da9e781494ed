/*
 * The gateway's proof: keys of a pair of services, and the MAC that binds
 * the identity headers to a moment, a method and a callee.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/identity.h>
#include <kombi/str.h>

#define KEY_ID_LEN 8
#define MAC_HEX ((size_t)2 * KB_SHA256_SIZE)
/* Clocks of two machines may differ by this much. */
#define SKEW_S 5
/* prefix, time, method, callee, values: each with its line end */
#define PROOF_PARTS (2 * (4 + KB_ID_FIELDS))

const char *const kb_identity_header[KB_ID_FIELDS] = {
	[KB_ID_USER] = "X-User-ID",
	[KB_ID_EMAIL] = "X-User-Email",
	[KB_ID_NAME] = "X-User-Name",
	[KB_ID_ORG] = "X-Org-ID",
	[KB_ID_ROLES] = "X-User-Roles",
	[KB_ID_PLAN] = "X-Subscription-Plan",
	[KB_ID_TENANT] = "X-Tenant-ID",
};

static void
derive(const struct kb_secret *root, const char *caller, const char *callee,
    struct kb_pair_key *out)
{
	char info[192], hex[2 * KB_SHA256_SIZE + 1];
	size_t len;
	const unsigned char *bytes = kb_secret_reveal(root, &len);
	int n = snprintf(
	    info, sizeof(info), "kombi pair v1 %s %s", caller, callee);

	assert(n > 0 && (size_t)n < sizeof(info));
	kb_hkdf_sha256(bytes, len, info, out->key, sizeof(out->key));
	kb_sha256_hex(out->key, sizeof(out->key), hex);
	memcpy(out->id, hex, KEY_ID_LEN);
	out->id[KEY_ID_LEN] = '\0';
}

void
kb_pair_keys(const struct kb_secret *root, const struct kb_secret *next,
    const char *caller, const char *callee, struct kb_pair_keys *out)
{
	memset(out, 0, sizeof(*out));
	if (root && kb_secret_is_set(root))
		derive(root, caller, callee, &out->keys[out->n++]);
	if (next && kb_secret_is_set(next))
		derive(next, caller, callee, &out->keys[out->n++]);
}

/* Lines, so that no value can run over into the next one. */
static void
mac(const struct kb_pair_key *key, const char *time, const char *method,
    const char *callee, const struct kb_identity *id, char hex[MAC_HEX + 1])
{
	const char *lines[4 + KB_ID_FIELDS] = { "kombi-proof-v1", time, method,
		callee };
	struct kb_slice parts[PROOF_PARTS];
	unsigned char digest[KB_SHA256_SIZE];

	memcpy(lines + 4, id->value, sizeof(id->value));
	for (size_t i = 0; i < KB_COUNT(lines); i++) {
		parts[2 * i] = kb_slice_of(lines[i] ? lines[i] : "");
		parts[2 * i + 1] = (struct kb_slice) { "\n", 1 };
	}
	kb_hmac_sha256_parts(
	    key->key, sizeof(key->key), parts, KB_COUNT(parts), digest);
	kb_hex(digest, sizeof(digest), hex);
}

static bool
is_clean(const char *s)
{
	return !s || !kb_has_control(s, strlen(s));
}

static bool
values_are_clean(const char *method, const struct kb_identity *id)
{
	for (int i = 0; i < KB_ID_FIELDS; i++)
		if (!is_clean(id->value[i]))
			return false;
	return is_clean(method);
}

void
kb_proof_make(const struct kb_pair_keys *keys, int64_t now_s,
    const char *method, const char *callee, const struct kb_identity *id,
    char out[KB_PROOF_SIZE])
{
	char time[24], hex[MAC_HEX + 1];
	int n;

	assert(keys->n > 0 && values_are_clean(method, id));
	snprintf(time, sizeof(time), "%" PRId64, now_s);
	mac(&keys->keys[0], time, method, callee, id, hex);
	n = snprintf(
	    out, KB_PROOF_SIZE, "t=%s,k=%s,v1=%s", time, keys->keys[0].id, hex);
	assert(n > 0 && n < KB_PROOF_SIZE);
	(void)n;
}

static bool
after(struct kb_slice part, const char *name, struct kb_slice *value)
{
	size_t len = strlen(name);

	if (part.len < len || memcmp(part.ptr, name, len) != 0)
		return false;
	*value = (struct kb_slice) { part.ptr + len, part.len - len };
	return true;
}

/* "t=…,k=…,v1=…", nothing before, between or after. */
static bool
split(struct kb_slice proof, struct kb_slice *t, struct kb_slice *k,
    struct kb_slice *v1)
{
	struct kb_slice part;

	return kb_slice_next(&proof, ',', &part) && after(part, "t=", t) &&
	    kb_slice_next(&proof, ',', &part) && after(part, "k=", k) &&
	    after(proof, "v1=", v1) && v1->len == MAC_HEX;
}

static const struct kb_pair_key *
key_by_id(const struct kb_pair_keys *keys, struct kb_slice id)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (kb_slice_eq(id, keys->keys[i].id))
			return &keys->keys[i];
	return NULL;
}

enum kb_err
kb_proof_check(const struct kb_pair_keys *keys, int64_t now_s,
    const char *method, const char *callee, const struct kb_identity *id,
    struct kb_slice proof)
{
	struct kb_slice t, k, v1;
	char time[24], hex[MAC_HEX + 1];
	const struct kb_pair_key *key;
	uint64_t made;
	int64_t age;

	if (proof.len >= KB_PROOF_SIZE || !split(proof, &t, &k, &v1) ||
	    t.len >= sizeof(time))
		return KB_AUTH_INVALID;
	key = key_by_id(keys, k);
	if (!key || !kb_parse_u64(t, &made) || made > INT64_MAX ||
	    !values_are_clean(method, id))
		return KB_AUTH_INVALID;
	age = now_s - (int64_t)made;
	if (age < -SKEW_S || age > KB_PROOF_LIFE_S)
		return KB_AUTH_INVALID;

	memcpy(time, t.ptr, t.len);
	time[t.len] = '\0';
	mac(key, time, method, callee, id, hex);
	return kb_equal_ct(hex, v1.ptr, MAC_HEX) ? KB_OK : KB_AUTH_INVALID;
}
