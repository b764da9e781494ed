/*
 * Credentials of consumers. Keys are hashed before anything else sees them; in
 * the table stands the MAC of the hash under a secret of this process (or the
 * salted hash that the file holds), so neither a dump of memory nor a slow
 * compare tells one.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "inside.h"

enum {
	KEY_MAX = 1024,
	KEY_SHORT = 16,
	SALTED_MAX = 256, /* each costs a hash for every unknown key */
	SALT_MAX = 64,
};

#define HASHED "sha256:"

struct key {
	unsigned char mac[KB_SHA256_SIZE];
	struct credential credential;
};

struct salted {
	unsigned char salt[SALT_MAX], hash[KB_SHA256_SIZE];
	size_t salt_len;
	struct credential credential;
};

struct keys {
	struct key *v; /* by mac */
	size_t n;
	struct salted *salted;
	size_t n_salted;
};

/* ---- hiding -------------------------------------------------------------- */

void
secret_wipe(struct kb_yaml *y)
{
	/* The tree lives as long as the snapshot. */
	kb_wipe((char *)(uintptr_t)y->text, strlen(y->text));
	y->text = "";
}

static bool
key_is_fine(struct problems *p, const struct kb_yaml *y)
{
	size_t n = y->kind == KB_YAML_SCALAR ? strlen(y->text) : 0;

	if (n == 0 || n > KEY_MAX || kb_has_control(y->text, n) ||
	    y->text[0] == ' ' || y->text[n - 1] == ' ') {
		problem(p, y->line,
		    "keyauth_credentials: key must be a text of 1 to %d "
		    "characters without blanks at its ends",
		    KEY_MAX);
		return false;
	}
	if (n < KEY_SHORT)
		notice(p, y->line,
		    "keyauth_credentials: a key of less than %d characters "
		    "can be guessed",
		    KEY_SHORT);
	return true;
}

void
key_hide(struct problems *p, struct kb_yaml *y)
{
	char hex[65];

	if (!key_is_fine(p, y) || kb_str_starts(y->text, HASHED))
		return;
	kb_sha256_hex(y->text, strlen(y->text), hex);
	secret_wipe(y);
	y->text = kb_sprintf(problems_arena(p), HASHED "%s", hex);
	y->plain = false;
}

static void
salted_hash(const void *salt, size_t salt_len, struct kb_slice text,
    unsigned char out[KB_SHA256_SIZE])
{
	unsigned char bytes[SALT_MAX + KEY_MAX];

	memcpy(bytes, salt, salt_len);
	memcpy(bytes + salt_len, text.ptr, text.len);
	kb_sha256(bytes, salt_len + text.len, out);
	kb_wipe(bytes, salt_len + text.len);
}

void
password_hide(
    struct problems *p, struct kb_yaml *y, const char *id, bool hashed)
{
	size_t n = y->kind == KB_YAML_SCALAR ? strlen(y->text) : 0;
	unsigned char salt[16], hash[KB_SHA256_SIZE];
	char salt_hex[33], hex[65];

	if (n == 0 || n > KEY_MAX)
		problem(p, y->line,
		    "basicauth_credentials: password must be a text of 1 to "
		    "%d bytes",
		    KEY_MAX);
	else if (hashed && !kb_str_starts(y->text, HASHED))
		problem(p, y->line,
		    "basicauth_credentials: with _transform: false a "
		    "password is given as sha256:SALT:HASH");
	if (n == 0 || n > KEY_MAX || hashed || kb_str_starts(y->text, HASHED))
		return;
	/* Its own salt for each, and the same one at every start. */
	kb_sha256(id, strlen(id), hash);
	memcpy(salt, hash, sizeof(salt));
	salted_hash(salt, sizeof(salt), kb_slice_of(y->text), hash);
	kb_hex(salt, sizeof(salt), salt_hex);
	kb_hex(hash, sizeof(hash), hex);
	secret_wipe(y);
	y->text = kb_sprintf(problems_arena(p), HASHED "%s:%s", salt_hex, hex);
	y->plain = false;
}

/* ---- reading ------------------------------------------------------------- */

#define CREDENTIAL_COMMON                                                      \
	CONF_SKIP("id"), CONF_SKIP("created_at"), CONF_SKIP("updated_at"),     \
	    CONF_SKIP("tags"), CONF_SKIP("consumer")

static const char *const jwt_algorithms[] = { "RS256", "ES256", "HS256",
	"HS384", "HS512", "RS384", "RS512", "ES384", "ES512", "PS256", "PS384",
	"PS512", "EdDSA", NULL };

static const struct field jwt_secret_fields[] = {
	CREDENTIAL_COMMON,
	CONF_STR(struct jwt_secret, key, .required = true),
	CONF_ENUM(struct jwt_secret, algorithm, .choices = jwt_algorithms),
	CONF_NODE(struct jwt_secret, rsa_public_key, .type = "string"),
	CONF_SKIP("secret"),
	CONF_END,
};

static const struct jwt_secret jwt_secret_defaults = { .algorithm = -1 };

const struct schema jwt_secret_schema = { jwt_secret_fields,
	&jwt_secret_defaults };

struct key_reading {
	const struct kb_yaml *key;
};

static const struct field key_fields[] = {
	CREDENTIAL_COMMON,
	CONF_NODE(struct key_reading, key, .required = true, .type = "string"),
	CONF_LATER("ttl", "a key holds as long as it is in the file"),
	CONF_END,
};

const struct schema keyauth_schema = { key_fields, NULL };

struct basic_reading {
	const char *username;
	const struct kb_yaml *password;
};

static const struct field basic_fields[] = {
	CREDENTIAL_COMMON,
	CONF_STR(struct basic_reading, username, .required = true),
	CONF_NODE(struct basic_reading, password, .required = true,
	    .type = "string", .secret = true),
	CONF_END,
};

const struct schema basicauth_schema = { basic_fields, NULL };

struct acl_reading {
	const char *group;
};

static const struct field acl_fields[] = {
	CREDENTIAL_COMMON,
	CONF_STR(struct acl_reading, group, .required = true),
	CONF_END,
};

const struct schema acl_schema = { acl_fields, NULL };

static const struct consumer *
owner_of(const struct document *d, const struct entity *e)
{
	const struct entity *c = document_foreign(d, e, "consumer");

	return c ? c->made : NULL;
}

static void
free_key(void *key)
{
	kb_jws_key_free(key);
}

static const struct kb_jws_key *
jwt_key(struct kb_arena *a, const char *alg, struct kb_slice secret,
    const char *pem, const char **why)
{
	struct kb_jws_key *k = kb_jws_key_new(alg, secret, pem, why);

	if (k != NULL)
		kb_arena_on_free(a, free_key, k);
	return k;
}

/* With secret_is_base64 the secret stands there encoded, in either way. */
static struct kb_slice
decoded(struct kb_arena *a, const char *text)
{
	size_t n = strlen(text);
	char *bytes = kb_arena_alloc(a, n + 3);
	long len = kb_base64_decode(text, n, bytes);

	if (len < 0)
		len = kb_base64url_decode(text, n, bytes);
	return (struct kb_slice) { bytes, len > 0 ? (size_t)len : 0 };
}

static void
jwt_secret_keys(struct problems *p, struct jwt_secret *s, const char *alg)
{
	struct kb_arena *a = problems_arena(p);
	const struct kb_slice none = { NULL, 0 };
	const char *why;

	if (alg[0] == 'H') {
		if (s->secret == NULL) {
			problem(p, s->line,
			    "jwt_secrets: secret is required for %s", alg);
			return;
		}
		s->verify = jwt_key(a, alg, kb_slice_of(s->secret), NULL, &why);
		if (s->verify == NULL)
			problem(p, s->line, "jwt_secrets: %s", why);
		s->verify_base64 = jwt_key(
		    a, alg, decoded(a, s->secret), NULL, &why);
		return;
	}
	if (s->rsa_public_key == NULL)
		return;
	s->verify = jwt_key(a, alg, none, s->rsa_public_key->text, &why);
	if (s->verify == NULL)
		notice(p, s->rsa_public_key->key_line,
		    "jwt_secrets: rsa_public_key is %s: keys come from the key "
		    "set of the issuer named by \"key\"",
		    why);
}

static bool
jwt_secret_read(struct problems *p, const struct document *d, struct entity *e,
    struct jwt_secret *out)
{
	const char *alg = "HS256"; /* Kong's default */

	out->algorithm = -1;
	out->consumer = owner_of(d, e);
	out->line = e->line;
	out->id = e->id;
	out->secret = e->secret;
	fields_read(p, e->y, jwt_secret_fields, out, "jwt_secrets");
	if (out->algorithm >= 0)
		alg = jwt_algorithms[out->algorithm];
	if (kb_str_eq(alg, "EdDSA"))
		problem(p, e->line,
		    "jwt_secrets: algorithm EdDSA is not implemented; there "
		    "are HS, RS, PS and ES with 256, 384, 512");
	else
		jwt_secret_keys(p, out, alg);
	return out->key != NULL;
}

static atomic_ullong serials = 1;

static void
read_jwt_secrets(struct problems *p, struct snapshot *s)
{
	const struct entities *l = &s->document->of[KIND_JWT_SECRET];

	s->serial = atomic_fetch_add(&serials, 1);
	s->jwt_secrets = kb_new_array(s->arena, l->n + 1, struct jwt_secret);
	for (size_t i = 0; i < l->n; i++)
		if (jwt_secret_read(p, s->document, l->v[i],
			&s->jwt_secrets[s->n_jwt_secrets]))
			s->n_jwt_secrets++;
}

/* Groups of a consumer stand together in the order of the file. */
static void
read_acls(struct problems *p, struct snapshot *s)
{
	const struct entities *l = &s->document->of[KIND_ACL];

	for (size_t i = 0; i < l->n; i++) {
		struct acl_reading r = { 0 };
		struct entity *owner = document_foreign(
		    s->document, l->v[i], "consumer");
		struct consumer *c = owner ? owner->made : NULL;
		const char **v;

		fields_read(p, l->v[i]->y, acl_fields, &r, "acls");
		if (r.group == NULL || c == NULL)
			continue;
		v = kb_new_array(s->arena, c->groups.n + 1, const char *);
		if (c->groups.n)
			memcpy(v, c->groups.v, c->groups.n * sizeof(*v));
		v[c->groups.n] = r.group;
		c->groups.v = v;
		c->groups.n++;
	}
}

/* ---- the table of keys --------------------------------------------------- */

static unsigned char secret[32];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void
draw_secret(void)
{
	kb_random(secret, sizeof(secret));
}

static void
mac_of(struct kb_slice key, unsigned char out[KB_SHA256_SIZE])
{
	pthread_once(&secret_once, draw_secret);
	kb_hmac_sha256(secret, sizeof(secret), key.ptr, key.len, out);
}

/* "sha256:SALT:HASH", both hex; HASH is that of the salt and the key. */
static bool
salted_parse(const char *text, struct salted *out)
{
	const char *salt = text + strlen(HASHED);
	const char *colon = strchr(salt, ':');
	size_t n = colon ? (size_t)(colon - salt) : 0;

	out->salt_len = n / 2;
	return n >= 16 && n % 2 == 0 && n <= (size_t)2 * SALT_MAX &&
	    kb_unhex(salt, n, out->salt) && strlen(colon + 1) == 64 &&
	    kb_unhex(colon + 1, 64, out->hash);
}

static void
add_key(struct problems *p, struct keys *keys, const struct kb_yaml *y,
    const struct credential *c)
{
	struct key *key = &keys->v[keys->n];
	struct salted *salted = &keys->salted[keys->n_salted];
	unsigned char hash[KB_SHA256_SIZE];

	/* What is no hash was refused and told before. */
	if (y->kind != KB_YAML_SCALAR || !kb_str_starts(y->text, HASHED))
		return;
	if (strlen(y->text) == strlen(HASHED) + 64 &&
	    kb_unhex(y->text + strlen(HASHED), 64, hash)) {
		mac_of(
		    (struct kb_slice) { (char *)hash, sizeof(hash) }, key->mac);
		key->credential = *c;
		keys->n++;
	} else if (salted_parse(y->text, salted)) {
		salted->credential = *c;
		if (++keys->n_salted == SALTED_MAX + 1)
			problem(p, y->line,
			    "keyauth_credentials: more than %d hashed keys "
			    "with salt",
			    SALTED_MAX);
	} else
		problem(p, y->line,
		    "keyauth_credentials: a hashed key is sha256:HASH or "
		    "sha256:SALT:HASH, the salt 8 to 64 bytes in hex, HASH "
		    "the SHA-256 of salt and key in hex");
}

/* A consumer with keys becomes X-User-ID. */
static void
check_user(struct problems *p, const struct consumer *c)
{
	const char *name = c->custom_id ? c->custom_id : c->username;

	if (name != NULL && !consumer_name_is_id(name))
		problem(p, c->line,
		    "consumer: \"%s\" with keys must be 1 to 128 of letters, "
		    "digits and _.:@|-, it becomes X-User-ID",
		    name);
}

static int
by_mac(const void *a, const void *b)
{
	return memcmp(((const struct key *)a)->mac,
	    ((const struct key *)b)->mac, KB_SHA256_SIZE);
}

static void
read_keys(struct problems *p, struct snapshot *s)
{
	const struct entities *l = &s->document->of[KIND_KEYAUTH];
	struct keys *keys = kb_new(s->arena, struct keys);

	keys->v = kb_new_array(s->arena, l->n + 1, struct key);
	keys->salted = kb_new_array(s->arena, l->n + 1, struct salted);
	for (size_t i = 0; i < l->n; i++) {
		struct key_reading r = { 0 };
		struct credential c = {
			.consumer = owner_of(s->document, l->v[i]),
			.id = l->v[i]->id,
			.line = l->v[i]->line,
		};

		fields_read(
		    p, l->v[i]->y, key_fields, &r, "keyauth_credentials");
		if (r.key == NULL || c.consumer == NULL)
			continue;
		check_user(p, c.consumer);
		add_key(p, keys, r.key, &c);
	}
	if (keys->n)
		qsort(keys->v, keys->n, sizeof(*keys->v), by_mac);
	s->keys = keys;
}

/* ---- passwords ----------------------------------------------------------- */

struct basic {
	const char *username;
	struct salted salted;
};

struct basics {
	struct basic *v; /* by username */
	size_t n;
};

static int
by_username(const void *a, const void *b)
{
	return strcmp(((const struct basic *)a)->username,
	    ((const struct basic *)b)->username);
}

static void
read_passwords(struct problems *p, struct snapshot *s)
{
	const struct entities *l = &s->document->of[KIND_BASICAUTH];
	struct basics *all = kb_new(s->arena, struct basics);

	all->v = kb_new_array(s->arena, l->n + 1, struct basic);
	for (size_t i = 0; i < l->n; i++) {
		struct basic_reading r = { 0 };
		struct basic *b = &all->v[all->n];
		const struct consumer *c = owner_of(s->document, l->v[i]);

		fields_read(
		    p, l->v[i]->y, basic_fields, &r, "basicauth_credentials");
		if (r.username == NULL || r.password == NULL || c == NULL ||
		    r.password->kind != KB_YAML_SCALAR)
			continue;
		check_user(p, c);
		if (strchr(r.username, ':'))
			problem(p, l->v[i]->line,
			    "basicauth_credentials: username \"%s\" must not "
			    "hold a \":\"",
			    r.username);
		if (!kb_str_starts(r.password->text, HASHED) ||
		    !salted_parse(r.password->text, &b->salted)) {
			problem(p, r.password->line,
			    "basicauth_credentials: a hashed password is "
			    "sha256:SALT:HASH, the salt 8 to 64 bytes in hex, "
			    "HASH the SHA-256 of salt and password in hex");
			continue;
		}
		b->username = r.username;
		b->salted.credential = (struct credential) {
			.consumer = c,
			.id = l->v[i]->id,
			.name = r.username,
			.line = l->v[i]->line,
		};
		all->n++;
	}
	if (all->n)
		qsort(all->v, all->n, sizeof(*all->v), by_username);
	s->basics = all;
}

const struct credential *
exchange_find_password(
    const struct exchange *x, const char *username, struct kb_slice password)
{
	const struct basics *all = x->local->snapshot->basics;
	const struct basic want = { .username = username }, *b = NULL;
	unsigned char hash[KB_SHA256_SIZE];

	if (password.len == 0 || password.len > KEY_MAX)
		return NULL;
	if (all->n)
		b = bsearch(
		    &want, all->v, all->n, sizeof(*all->v), by_username);
	if (b == NULL)
		return NULL;
	salted_hash(b->salted.salt, b->salted.salt_len, password, hash);
	return kb_equal_ct(hash, b->salted.hash, sizeof(hash))
	    ? &b->salted.credential
	    : NULL;
}

void
credentials_link(struct problems *p, struct snapshot *s)
{
	read_acls(p, s);
	read_jwt_secrets(p, s);
	read_keys(p, s);
	read_passwords(p, s);
}

/* ---- callers ------------------------------------------------------------- */

const struct credential *
exchange_find_key(const struct exchange *x, struct kb_slice key)
{
	const struct keys *keys = x->local->snapshot->keys;
	unsigned char hash[KB_SHA256_SIZE];
	struct key want = { .mac = { 0 } };
	const struct key *found = NULL;

	if (key.len == 0 || key.len > KEY_MAX)
		return NULL;
	kb_sha256(key.ptr, key.len, hash);
	mac_of((struct kb_slice) { (char *)hash, sizeof(hash) }, want.mac);
	if (keys->n)
		found = bsearch(
		    &want, keys->v, keys->n, sizeof(*keys->v), by_mac);
	if (found != NULL)
		return &found->credential;
	for (size_t i = 0; i < keys->n_salted; i++) {
		const struct salted *s = &keys->salted[i];

		salted_hash(s->salt, s->salt_len, key, hash);
		if (kb_equal_ct(hash, s->hash, sizeof(hash)))
			return &s->credential;
	}
	return NULL;
}
