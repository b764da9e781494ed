/*
 * Verified tokens. Each loop remembers what it has verified, with the header
 * lines that follow from it; what is new is verified at once when that is
 * cheap (RSA of 2048 bit, 44 us) and on a worker when it is not (ES256, 2 ms).
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum {
	CACHE_ENTRIES = 8192,
	/* base64url length of an RSA signature of 2048 bit */
	CHEAP_SIGNATURE = 342,
	ES256_SIGNATURE = 86,
};

struct proof {
	unsigned callee;
	enum kb_method method;
	int64_t made_s;
	char tenant[64];
	char text[KB_PROOF_SIZE];
};

struct token_entry {
	unsigned refs; /* of one loop */
	bool bearer;   /* made from a bearer token */
	struct kb_identity id;
	char *lines; /* identity header lines, without the tenant */
	size_t lines_len;
	struct proof proofs[PROOFS];
	unsigned next_proof;
	char text[]; /* values of id */
};

struct verifier {
	unsigned index;
	char *issuer, *jwks_url;
	const char **audience; /* NULL-ended */
	int64_t max_life_s, leeway_s;
	/* Shared by verifiers of one issuer; NULL before it is started. */
	_Atomic(struct kb_issuer *) keys;
	bool owner;       /* stops it */
	unsigned load;    /* main thread: the last load that asked for it */
	atomic_bool used; /* by the file in force */
};

/*
 * Made while loading, on the main thread; they stay, since a file that is
 * refused or replaced may come back. Only those of the file in force count.
 */
static struct {
	struct verifier *v[VERIFIERS_MAX];
	atomic_uint n;
	unsigned load; /* main thread: number of the present one */
} all;

/* ---- verifiers ------------------------------------------------------------
 */

static bool
same_audience(const struct verifier *v, const struct strs *list)
{
	size_t i = 0;

	for (; v->audience[i] != NULL; i++)
		if (i >= list->n || !kb_str_eq(v->audience[i], list->v[i]))
			return false;
	return i == list->n;
}

static struct verifier *
verifier_new(const struct verifier_conf *conf)
{
	struct verifier *v = kb_xalloc(sizeof(*v));

	memset(v, 0, sizeof(*v));
	v->index = all.n;
	v->issuer = kb_xstrdup(conf->issuer);
	v->jwks_url = conf->jwks_url ? kb_xstrdup(conf->jwks_url) : NULL;
	v->max_life_s = conf->max_life_s;
	v->leeway_s = conf->leeway_s;
	v->audience = kb_xalloc((conf->audience.n + 1) * sizeof(char *));
	for (size_t i = 0; i < conf->audience.n; i++)
		v->audience[i] = kb_xstrdup(conf->audience.v[i]);
	v->audience[conf->audience.n] = NULL;
	return v;
}

static struct verifier *
find(const struct verifier_conf *conf)
{
	for (unsigned i = 0; i < all.n; i++) {
		struct verifier *v = all.v[i];

		if (kb_str_eq(v->issuer, conf->issuer) &&
		    kb_str_eq(v->jwks_url, conf->jwks_url) &&
		    v->max_life_s == conf->max_life_s &&
		    v->leeway_s == conf->leeway_s &&
		    same_audience(v, &conf->audience))
			return v;
	}
	return NULL;
}

struct verifier *
verifier_get(const struct verifier_conf *conf)
{
	struct verifier *v = find(conf);

	if (v == NULL && all.n == VERIFIERS_MAX)
		return NULL;
	if (v == NULL) {
		v = verifier_new(conf);
		all.v[v->index] = v;
		atomic_fetch_add(&all.n, 1);
	}
	v->load = all.load;
	return v;
}

void
verifiers_begin(void)
{
	all.load++;
}

static struct kb_issuer *
issuer_like(const struct verifier *v)
{
	for (unsigned i = 0; i < v->index; i++)
		if (kb_str_eq(all.v[i]->issuer, v->issuer) &&
		    kb_str_eq(all.v[i]->jwks_url, v->jwks_url))
			return all.v[i]->keys;
	return NULL;
}

void
verifiers_start(bool allow_private)
{
	for (unsigned i = 0; i < all.n; i++) {
		struct verifier *v = all.v[i];

		v->used = v->load == all.load;
		if (!v->used || v->keys != NULL)
			continue;
		v->keys = issuer_like(v);
		if (v->keys != NULL)
			continue;
		v->owner = true;
		v->keys = kb_issuer_start(&(struct kb_issuer_conf) {
		    .issuer = v->issuer,
		    .jwks_url = v->jwks_url,
		    .allow_private = allow_private,
		    .min_refetch_ms = 30000,
		    .max_age_ms = 600000,
		    .max_stale_ms = 86400000,
		});
	}
}

void
verifiers_stop(void)
{
	for (unsigned i = 0; i < all.n; i++) {
		struct verifier *v = all.v[i];

		if (v->owner)
			kb_issuer_stop(v->keys);
		for (size_t j = 0; v->audience[j] != NULL; j++)
			free((char *)(uintptr_t)v->audience[j]);
		free(v->audience);
		free(v->issuer);
		free(v->jwks_url);
		free(v);
	}
	all.n = 0;
}

bool
verifiers_ready(void)
{
	unsigned n = all.n;

	for (unsigned i = 0; i < n; i++) {
		struct verifier *v = all.v[i];
		struct kb_issuer *issuer = v->keys;
		struct kb_jwks *keys;

		if (!v->used)
			continue;
		keys = issuer ? kb_issuer_keys(issuer) : NULL;
		if (keys == NULL)
			return false;
		kb_jwks_unref(keys);
	}
	return true;
}

/* ---- entries ---------------------------------------------------------------
 */

const struct kb_identity *
token_identity(const struct token_entry *t)
{
	return &t->id;
}

bool
token_is_bearer(const struct token_entry *t)
{
	return t->bearer;
}

void
token_ref(struct token_entry *t)
{
	t->refs++;
}

void
token_unref(struct token_entry *t)
{
	if (t == NULL || --t->refs)
		return;
	free(t->lines);
	free(t);
}

static void
drop_entry(void *p)
{
	token_unref(p);
}

static struct token_entry *
entry_new(const struct kb_identity *id)
{
	size_t size = 0;
	struct token_entry *t;
	struct kb_buf lines;
	char *at;

	for (int i = 0; i < KB_ID_FIELDS; i++)
		size += id->value[i] ? strlen(id->value[i]) + 1 : 0;
	t = kb_xalloc(sizeof(*t) + size);
	memset(t, 0, sizeof(*t));
	t->refs = 1;
	at = t->text;
	kb_buf_init(&lines, 65536);
	for (int i = 0; i < KB_ID_FIELDS; i++) {
		const char *value = id->value[i];

		if (value == NULL || value[0] == '\0' || i == KB_ID_TENANT)
			continue;
		size = strlen(value) + 1;
		memcpy(at, value, size);
		t->id.value[i] = at;
		at += size;
		kb_buf_addf(&lines, "%s: %s\r\n", kb_identity_header[i], value);
	}
	t->lines_len = lines.len;
	t->lines = lines.ptr; /* taken over */
	return t;
}

struct token_entry *
token_of_identity(const struct kb_identity *id)
{
	return entry_new(id);
}

static const struct proof *
proof_for(struct token_entry *t, const struct snapshot *s, unsigned callee,
    enum kb_method method, const char *tenant)
{
	int64_t now = kb_wall_s();
	struct kb_identity id = t->id;
	struct proof *p;

	for (unsigned i = 0; i < PROOFS; i++) {
		p = &t->proofs[i];
		if (p->made_s && p->callee == callee && p->method == method &&
		    kb_str_eq(p->tenant, tenant ? tenant : "")) {
			if (now - p->made_s < PROOF_RENEW_S && now >= p->made_s)
				return p;
			break;
		}
		p = NULL;
	}
	if (p == NULL)
		p = &t->proofs[t->next_proof++ % PROOFS];
	*p = (struct proof) {
		.callee = callee,
		.method = method,
		.made_s = now,
	};
	if (tenant)
		memcpy(
		    p->tenant, tenant, strnlen(tenant, sizeof(p->tenant) - 1));
	id.value[KB_ID_TENANT] = tenant;
	kb_proof_make(&s->callee_keys[callee], now, kb_method_name(method),
	    s->callees[callee], &id, p->text);
	return p;
}

void
token_lines(struct token_entry *t, const struct snapshot *s,
    const struct service *service, enum kb_method method, const char *tenant,
    struct kb_buf *out)
{
	kb_buf_add(out, t->lines, t->lines_len);
	if (tenant != NULL) {
		kb_buf_adds(out, "X-Tenant-ID: ");
		kb_buf_adds(out, tenant);
		kb_buf_adds(out, "\r\n");
	}
	if (service->callee_index == NO_CALLEE)
		return;
	kb_buf_adds(out, KB_PROOF_HEADER ": ");
	kb_buf_adds(
	    out, proof_for(t, s, service->callee_index, method, tenant)->text);
	kb_buf_adds(out, "\r\n");
}

/* ---- verifying
 * --------------------------------------------------------------- */

/* Outcome of one verification, on whatever thread. */
struct outcome {
	enum kb_err err;
	struct token_entry *entry;
	int64_t expires;
	const char *why;
	bool unknown_kid;
	uint64_t generation;
};

static void
verify(const struct verifier *v, struct kb_arena *a, const char *token,
    size_t len, struct outcome *out)
{
	const struct kb_jwt_rules rules = {
		.issuer = v->issuer,
		.audience = v->audience[0] ? v->audience : NULL,
		.leeway_s = v->leeway_s,
		.max_life_s = v->max_life_s,
		.typ_at_jwt = true,
	};
	struct kb_jwks *keys;
	struct kb_jwt jwt;
	struct kb_identity id = { { NULL } };

	out->generation = kb_issuer_generation(v->keys);
	keys = kb_issuer_keys(v->keys);
	out->err = kb_jwt_verify(
	    a, (struct kb_slice) { token, len }, keys, &rules, &jwt);
	out->why = jwt.why;
	out->unknown_kid = jwt.unknown_kid;
	kb_jwks_unref(keys);
	if (out->err)
		return;
	out->expires = jwt.expires;
	out->err = kb_identity_from_claims(a, jwt.claims, NULL, &id);
	if (out->err) {
		out->why = "a claim cannot stand in a header";
		return;
	}
	out->entry = entry_new(&id);
	out->entry->bearer = true;
}

static struct kb_token_cache *
cache_of(struct loop *l, const struct verifier *v)
{
	if (l->tokens[v->index] == NULL)
		l->tokens[v->index] = kb_token_cache_new(
		    CACHE_ENTRIES, drop_entry);
	return l->tokens[v->index];
}

static void
refuse(struct exchange *x, enum kb_err err)
{
	exchange_fail(x, err,
	    err == KB_UNAVAILABLE ? "Tokens cannot be verified now" : NULL);
}

static void
keep(struct loop *l, struct verifier *v, struct kb_slice token,
    const struct outcome *o)
{
	if (o->unknown_kid)
		kb_issuer_unknown_kid(v->keys);
	if (o->err == KB_UNAVAILABLE || o->unknown_kid)
		return;
	if (o->entry)
		token_ref(o->entry);
	kb_token_cache_put(cache_of(l, v), token.ptr, token.len, o->generation,
	    o->expires, o->entry);
}

static void
settle(struct exchange *x, const struct outcome *o)
{
	if (o->err) {
		kb_debug(NULL, "token refused", KB_S("why", o->why),
		    KB_S("requestId", exchange_request_id(x)));
		refuse(x, o->err);
		return;
	}
	exchange_set_identity(x, o->entry);
}

/* A verification on a worker; outlives an exchange that ends meanwhile. */
struct job {
	struct kb_task task;
	struct verifier *verifier;
	struct loop *loop;
	struct exchange *x; /* NULL: it ended */
	struct outcome outcome;
	struct kb_slice token;
	char text[];
};

static void
work(struct kb_task *t)
{
	struct job *j = KB_CONTAINER(t, struct job, task);
	struct kb_arena *a = kb_arena_new(0);

	verify(j->verifier, a, j->token.ptr, j->token.len, &j->outcome);
	kb_arena_free(a);
}

static void
done(struct kb_task *t)
{
	struct job *j = KB_CONTAINER(t, struct job, task);

	keep(j->loop, j->verifier, j->token, &j->outcome);
	if (j->x != NULL) {
		settle(j->x, &j->outcome);
		exchange_resume(j->x);
	}
	if (j->outcome.entry)
		token_unref(j->outcome.entry);
	free(j);
}

static void
forget(void *arg)
{
	struct job *j = arg;

	j->x = NULL;
}

static enum verdict
verify_later(struct verifier *v, struct exchange *x, struct kb_slice token)
{
	struct job *j = kb_xalloc(sizeof(*j) + token.len + 1);

	memset(j, 0, sizeof(*j));
	memcpy(j->text, token.ptr, token.len);
	j->task = (struct kb_task) { .work = work, .done = done };
	j->verifier = v;
	j->loop = x->loop;
	j->x = x;
	j->token = (struct kb_slice) { j->text, token.len };
	if (!kb_pool_submit(x->loop->pool, &j->task)) {
		free(j);
		exchange_add_response(x, "Retry-After", "1");
		refuse(x, KB_UNAVAILABLE);
		return NEXT;
	}
	exchange_on_cancel(x, forget, j);
	return WAIT;
}

static bool
is_cheap(struct kb_slice token)
{
	const char *dot = memrchr(token.ptr, '.', token.len);
	size_t n = dot ? token.len - (size_t)(dot - token.ptr) - 1 : 0;

	return n <= CHEAP_SIGNATURE && n != ES256_SIGNATURE;
}

enum verdict
verifier_check(struct verifier *v, struct exchange *x, struct kb_slice token)
{
	struct loop *l = x->loop;
	struct outcome o = { 0 };
	void *hit = NULL;

	switch (kb_token_cache_get(cache_of(l, v), token.ptr, token.len,
	    kb_issuer_generation(v->keys), &hit)) {
	case KB_CACHE_HIT: exchange_set_identity(x, hit); return NEXT;
	case KB_CACHE_REFUSED: refuse(x, KB_AUTH_INVALID); return NEXT;
	case KB_CACHE_MISS: break;
	}
	if (!is_cheap(token))
		return verify_later(v, x, token);
	verify(v, exchange_arena(x), token.ptr, token.len, &o);
	keep(l, v, token, &o);
	settle(x, &o);
	if (o.entry)
		token_unref(o.entry);
	return NEXT;
}
