/*
 * Consumers of the file and their API keys. A key is kept as a MAC under a
 * secret of this process (or as the salted hash that the file holds), so
 * neither a dump of memory nor a slow compare tells one.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>

#include "inside.h"

enum {
	KEY_MAX = 1024,
	KEY_SHORT = 16,
	SALTED_MAX = 256, /* each costs a hash for every unknown key */
	SALT_MAX = 64,
};

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

/* ---- reading ------------------------------------------------------------- */

struct reading {
	struct consumer consumer;
	const struct kb_yaml *jwt_secrets, *keyauth_credentials, *acls;
	struct strs tags;
};

/* clang-format off */
#define IN_CONSUMER(m) \
	{ .kind = FIELD_STR, .name = #m, .offset = offsetof(struct reading, consumer) + \
	    KB_OFFSET_OF(struct consumer, m, const char *) }
/* clang-format on */

static const struct field consumer_fields[] = {
	IN_CONSUMER(id),
	IN_CONSUMER(username),
	IN_CONSUMER(custom_id),
	CONF_SKIP("created_at"),
	CONF_SKIP("updated_at"),
	CONF_STRS(struct reading, tags),
	CONF_NODE(struct reading, jwt_secrets),
	CONF_NODE(struct reading, keyauth_credentials),
	CONF_NODE(struct reading, acls),
	CONF_LATER("basicauth_credentials", "basic-auth"),
	CONF_LATER("hmacauth_credentials", "hmac-auth"),
	CONF_LATER("oauth2_credentials", "oauth2"),
	CONF_LATER("mtls_auth_credentials", "mtls-auth"),
	CONF_LATER("groups", "consumer groups; use acls"),
	CONF_LATER("plugins", "plugins of a consumer"),
	CONF_END,
};

struct jwt_secret {
	const char *key;
	int algorithm;
};

static const char *const jwt_algorithms[] = { "RS256", "ES256", NULL };

static const struct field jwt_secret_fields[] = {
	CONF_SKIP("id"),
	CONF_SKIP("created_at"),
	CONF_SKIP("updated_at"),
	CONF_STR(struct jwt_secret, key, .required = true),
	CONF_ENUM(struct jwt_secret, algorithm, .choices = jwt_algorithms,
	    .required = true),
	CONF_NOTE("rsa_public_key",
	    "keys come from the key set of the issuer named by \"key\""),
	CONF_SKIP("tags"),
	CONF_LATER("secret", "tokens are verified with public keys"),
	CONF_END,
};

struct key_reading {
	const char *id;
	const struct kb_yaml *key;
};

static const struct field key_fields[] = {
	CONF_STR(struct key_reading, id),
	CONF_NODE(struct key_reading, key, .required = true),
	CONF_SKIP("created_at"),
	CONF_SKIP("updated_at"),
	CONF_SKIP("tags"),
	CONF_LATER("ttl", "a key holds as long as it is in the file"),
	CONF_END,
};

struct acl_reading {
	const char *group;
};

static const struct field acl_fields[] = {
	CONF_SKIP("id"),
	CONF_STR(struct acl_reading, group, .required = true),
	CONF_SKIP("created_at"),
	CONF_SKIP("updated_at"),
	CONF_SKIP("tags"),
	CONF_END,
};

static bool
is_list(struct problems *p, const struct kb_yaml *y, const char *what)
{
	if (y == NULL || kb_yaml_is_null(y))
		return false;
	if (y->kind != KB_YAML_SEQUENCE)
		problem(p, y->line, "%s must be a list", what);
	return y->kind == KB_YAML_SEQUENCE;
}

static bool
has_only(const char *text, const char *also, size_t max)
{
	size_t n = strlen(text);

	for (const char *c = text; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			(*c >= '0' && *c <= '9') || strchr(also, *c)))
			return false;
	return n >= 1 && n <= max;
}

/* Values of tags "prefix:value". */
static struct strs
tagged(struct kb_arena *a, const struct strs *tags, const char *prefix)
{
	const char **v = kb_new_array(a, tags->n + 1, const char *);
	size_t n = 0;

	for (size_t i = 0; i < tags->n; i++)
		if (kb_str_starts(tags->v[i], prefix))
			v[n++] = tags->v[i] + strlen(prefix);
	return (struct strs) { .v = v, .n = n };
}

static void
read_groups(struct problems *p, const struct kb_yaml *list, struct consumer *c)
{
	const char **v;

	if (!is_list(p, list, "acls"))
		return;
	v = kb_new_array(problems_arena(p), list->n + 1, const char *);
	for (const struct kb_yaml *y = list->first; y != NULL; y = y->next) {
		struct acl_reading r = { 0 };

		fields_read(p, y, acl_fields, &r, "acls");
		if (r.group != NULL)
			v[c->groups.n++] = r.group;
	}
	c->groups.v = v;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Roles are the groups and the tags role:NAME, as X-User-Roles has them. */
static void
make_roles(struct problems *p, const struct strs *tags, struct consumer *c)
{
	struct kb_arena *a = problems_arena(p);
	struct strs roles = tagged(a, tags, "role:");
	size_t n = roles.n + c->groups.n;
	const char **v = kb_new_array(a, n + 1, const char *);
	struct kb_buf b;

	for (size_t i = 0; i < roles.n; i++)
		v[i] = roles.v[i];
	for (size_t i = 0; i < c->groups.n; i++)
		v[roles.n + i] = c->groups.v[i];
	if (n)
		qsort(v, n, sizeof(*v), by_text);
	kb_buf_init(&b, 1 << 16);
	for (size_t i = 0; i < n; i++) {
		if (!has_only(v[i], "_.:-", 64))
			problem(p, c->line,
			    "consumer: the group or role \"%s\" must be 1 to "
			    "64 of letters, digits and _.:-",
			    v[i]);
		if (i && kb_str_eq(v[i], v[i - 1]))
			continue;
		kb_buf_addf(&b, "%s%s", b.len ? "," : "", v[i]);
	}
	c->roles = b.len ? kb_strdup(a, kb_buf_str(&b)) : NULL;
	kb_buf_free(&b);
}

static void
make_identity(struct problems *p, const struct strs *tags, struct consumer *c)
{
	struct kb_arena *a = problems_arena(p);
	struct strs plans = tagged(a, tags, "plan:");
	struct strs orgs = tagged(a, tags, "org:");
	enum kb_plan plan = KB_PLAN_FREE;

	if (plans.n > 1 || (plans.n && !kb_plan_of(plans.v[0], &plan)))
		problem(p, c->line,
		    "consumer: the tag plan: must be there once, one of "
		    "plan:free, plan:pro, plan:enterprise");
	if (orgs.n > 1 || (orgs.n && !has_only(orgs.v[0], "_.:@|-", 128)))
		problem(p, c->line,
		    "consumer: the tag org: must be there once, 1 to 128 of "
		    "letters, digits and _.:@|-");
	c->plan = kb_plan_name(plan);
	c->org = orgs.n ? orgs.v[0] : NULL;
	make_roles(p, tags, c);
}

static void
read_jwt_secrets(struct problems *p, const struct kb_yaml *list)
{
	if (!is_list(p, list, "jwt_secrets"))
		return;
	for (const struct kb_yaml *y = list->first; y != NULL; y = y->next) {
		struct jwt_secret secret = { 0 };

		fields_read(p, y, jwt_secret_fields, &secret, "jwt_secrets");
	}
}

static const char *
id_of(struct kb_arena *a, const char *entity, const char *name)
{
	char space[KB_UUID_SIZE], id[KB_UUID_SIZE];

	kb_uuid5("fd02801f-0957-4a15-a55a-c8d9606f30b5", entity, space);
	kb_uuid5(space, name, id);
	return kb_strdup(a, id);
}

struct consumer *
consumer_read(struct problems *p, const struct kb_yaml *y)
{
	struct reading r = { .consumer.line = y->line };
	struct consumer *c = kb_new(problems_arena(p), struct consumer);
	const char *name;

	fields_read(p, y, consumer_fields, &r, "consumer");
	*c = r.consumer;
	name = c->custom_id ? c->custom_id : c->username;
	if (name == NULL) {
		problem(
		    p, y->line, "consumer: username or custom_id is required");
		return c;
	}
	read_jwt_secrets(p, r.jwt_secrets);
	read_groups(p, r.acls, c);
	make_identity(p, &r.tags, c);
	if (is_list(p, r.keyauth_credentials, "keyauth_credentials"))
		c->keys = r.keyauth_credentials;
	if (c->keys != NULL && !has_only(name, "_.:@|-", 128))
		problem(p, y->line,
		    "consumer: \"%s\" with keys must be 1 to 128 of letters, "
		    "digits and _.:@|-, it becomes X-User-ID",
		    name);
	if (c->id == NULL)
		c->id = id_of(problems_arena(p), "consumers",
		    c->username ? c->username : c->custom_id);
	return c;
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
read_salted(struct problems *p, const struct kb_yaml *y, struct salted *out)
{
	const char *salt = y->text + strlen("sha256:");
	const char *colon = strchr(salt, ':');
	size_t n = colon ? (size_t)(colon - salt) : 0;

	if (n >= 16 && n % 2 == 0 && n <= (size_t)2 * SALT_MAX &&
	    kb_unhex(salt, n, out->salt) && strlen(colon + 1) == 64 &&
	    kb_unhex(colon + 1, 64, out->hash)) {
		out->salt_len = n / 2;
		return true;
	}
	problem(p, y->line,
	    "keyauth_credentials: a hashed key is sha256:SALT:HASH, the salt "
	    "8 to 64 bytes in hex, HASH the SHA-256 of salt and key in hex");
	return false;
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

static void
add_key(struct problems *p, struct keys *keys, const struct kb_yaml *y,
    const struct credential *c)
{
	struct key *key = &keys->v[keys->n];
	struct salted *salted = &keys->salted[keys->n_salted];

	if (!key_is_fine(p, y))
		return;
	if (kb_str_starts(y->text, "sha256:")) {
		if (!read_salted(p, y, salted))
			return;
		salted->credential = *c;
		if (++keys->n_salted == SALTED_MAX + 1)
			problem(p, y->line,
			    "keyauth_credentials: more than %d hashed keys",
			    SALTED_MAX);
		return;
	}
	mac_of(kb_slice_of(y->text), key->mac);
	key->credential = *c;
	keys->n++;
	/* The tree lives as long as the snapshot. */
	kb_wipe((char *)(uintptr_t)y->text, strlen(y->text));
}

static void
add_keys(struct problems *p, struct keys *keys, const struct consumer *c)
{
	struct kb_arena *a = problems_arena(p);
	const char *name = c->username ? c->username : c->custom_id;
	unsigned n = 0;

	for (const struct kb_yaml *y = c->keys ? c->keys->first : NULL; y;
	     y = y->next) {
		struct key_reading r = { 0 };
		struct credential credential = {
			.consumer = c,
			.line = y->line,
		};

		fields_read(p, y, key_fields, &r, "keyauth_credentials");
		n++;
		credential.id = r.id;
		if (r.id == NULL)
			credential.id = id_of(a, "keyauth_credentials",
			    kb_sprintf(a, "%s:%u", name, n));
		if (r.key != NULL)
			add_key(p, keys, r.key, &credential);
	}
}

static int
by_mac(const void *a, const void *b)
{
	return memcmp(((const struct key *)a)->mac,
	    ((const struct key *)b)->mac, KB_SHA256_SIZE);
}

static int
by_username(const void *a, const void *b)
{
	const struct consumer *p = *(const struct consumer *const *)a;
	const struct consumer *q = *(const struct consumer *const *)b;

	return strcmp(
	    p->username ? p->username : "", q->username ? q->username : "");
}

static void
check_names(struct problems *p, const struct snapshot *s)
{
	struct consumer **v = kb_new_array(
	    s->arena, s->n_consumers + 1, struct consumer *);

	if (s->n_consumers == 0)
		return;
	memcpy(v, s->consumers, s->n_consumers * sizeof(*v));
	qsort(v, s->n_consumers, sizeof(*v), by_username);
	for (size_t i = 1; i < s->n_consumers; i++)
		if (v[i]->username &&
		    kb_str_eq(v[i]->username, v[i - 1]->username))
			problem(p, v[i]->line,
			    "consumer \"%s\" is there twice (also in line "
			    "%u)",
			    v[i]->username, v[i - 1]->line);
}

void
consumers_link(struct problems *p, struct snapshot *s)
{
	struct keys *keys = kb_new(s->arena, struct keys);
	size_t n = 1;

	for (size_t i = 0; i < s->n_consumers; i++) {
		s->consumers[i]->index = i;
		n += s->consumers[i]->keys ? s->consumers[i]->keys->n : 0;
	}
	keys->v = kb_new_array(s->arena, n, struct key);
	keys->salted = kb_new_array(s->arena, n, struct salted);
	for (size_t i = 0; i < s->n_consumers; i++)
		add_keys(p, keys, s->consumers[i]);
	if (keys->n)
		qsort(keys->v, keys->n, sizeof(*keys->v), by_mac);
	for (size_t i = 1; i < keys->n; i++)
		if (by_mac(&keys->v[i - 1], &keys->v[i]) == 0)
			problem(p, keys->v[i].credential.line,
			    "keyauth_credentials: the same key is there twice "
			    "(also in line %u)",
			    keys->v[i - 1].credential.line);
	check_names(p, s);
	s->keys = keys;
}

/* ---- callers ------------------------------------------------------------- */

const struct credential *
exchange_find_key(const struct exchange *x, struct kb_slice key)
{
	const struct keys *keys = x->local->snapshot->keys;
	unsigned char hash[KB_SHA256_SIZE];
	unsigned char text[SALT_MAX + KEY_MAX];
	struct key want = { .mac = { 0 } };
	const struct key *found = NULL;

	if (key.len == 0 || key.len > KEY_MAX)
		return NULL;
	mac_of(key, want.mac);
	if (keys->n)
		found = bsearch(
		    &want, keys->v, keys->n, sizeof(*keys->v), by_mac);
	if (found != NULL)
		return &found->credential;
	for (size_t i = 0; i < keys->n_salted; i++) {
		const struct salted *s = &keys->salted[i];

		memcpy(text, s->salt, s->salt_len);
		memcpy(text + s->salt_len, key.ptr, key.len);
		kb_sha256(text, s->salt_len + key.len, hash);
		if (kb_equal_ct(hash, s->hash, sizeof(hash)))
			return &s->credential;
	}
	return NULL;
}

const struct consumer *
exchange_find_consumer(const struct exchange *x, const char *name)
{
	const struct snapshot *s = x->local->snapshot;

	for (size_t i = 0; i < s->n_consumers; i++) {
		const struct consumer *c = s->consumers[i];

		if ((c->username && kb_str_eq(c->username, name)) ||
		    (c->custom_id && kb_str_eq(c->custom_id, name)) ||
		    kb_str_eq(c->id, name))
			return c;
	}
	return NULL;
}

const struct consumer *
exchange_consumer(const struct exchange *x)
{
	return x->consumer;
}

bool
exchange_is_anonymous(const struct exchange *x)
{
	return x->anonymous;
}

/* Each loop keeps one entry a consumer, with its proofs. */
static struct token_entry *
entry_of(struct exchange *x, const struct consumer *c)
{
	struct local *l = x->local;
	const struct kb_identity id = {
		.value = {
			[KB_ID_USER] = c->custom_id ? c->custom_id : c->username,
			[KB_ID_ORG] = c->org,
			[KB_ID_ROLES] = c->roles,
			[KB_ID_PLAN] = c->plan,
		},
	};

	if (l->consumers[c->index] == NULL)
		l->consumers[c->index] = token_of_identity(&id);
	return l->consumers[c->index];
}

void
exchange_set_credential(struct exchange *x, const struct credential *c)
{
	x->consumer = c->consumer;
	x->credential = c->id;
	x->anonymous = false;
	exchange_set_identity(x, entry_of(x, c->consumer));
}

void
exchange_set_anonymous(struct exchange *x, const struct consumer *c)
{
	x->consumer = c;
	x->anonymous = true;
}

static void
add_line(struct kb_buf *out, const char *name, const char *value)
{
	if (value != NULL)
		kb_buf_addf(out, "%s: %s\r\n", name, value);
}

void
consumer_lines(const struct exchange *x, struct kb_buf *out)
{
	const struct consumer *c = x->consumer;

	if (c == NULL)
		return;
	add_line(out, "X-Consumer-ID", c->id);
	add_line(out, "X-Consumer-Custom-ID", c->custom_id);
	add_line(out, "X-Consumer-Username", c->username);
	if (x->anonymous)
		add_line(out, "X-Anonymous-Consumer", "true");
	else
		add_line(out, "X-Credential-Identifier", x->credential);
}
