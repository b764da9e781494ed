/*
 * Who verifies tokens (an issuer's keys and what a file asks of them), and
 * what follows from a verified one: identity, its header lines, proofs.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "verify_inside.h"

/*
 * Made while loading, on the main thread; they stay as long as a snapshot
 * that asked for them is in use. Only those of the file in force count.
 */
static struct {
	/* Covers the table where others than the main thread read it, or it
	 * changes. */
	pthread_mutex_t lock;
	struct verifier *v[VERIFIERS_MAX]; /* NULL: free */
	uint64_t serial;                   /* of the last one */
	atomic_bool private; /* issuers may have addresses that are not global
			      */
	unsigned load;       /* main thread: number of the present one */
	unsigned closing;    /* issuers that are being stopped */
	pthread_cond_t closed;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.closed = PTHREAD_COND_INITIALIZER };

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
	for (unsigned i = 0; i < VERIFIERS_MAX; i++) {
		struct verifier *v = all.v[i];

		if (v != NULL && kb_str_eq(v->issuer, conf->issuer) &&
		    kb_str_eq(v->jwks_url, conf->jwks_url) &&
		    v->max_life_s == conf->max_life_s &&
		    v->leeway_s == conf->leeway_s &&
		    (v->provider != NULL) == conf->userinfo &&
		    same_audience(v, &conf->audience))
			return v;
	}
	return NULL;
}

static struct verifier *
add(const struct verifier_conf *conf)
{
	struct verifier *v;
	unsigned i = 0;

	while (i < VERIFIERS_MAX && all.v[i] != NULL)
		i++;
	if (i == VERIFIERS_MAX)
		return NULL;
	v = verifier_new(conf);
	v->index = i;
	v->serial = ++all.serial;
	v->first_load = all.load;
	pthread_mutex_lock(&all.lock);
	all.v[i] = v;
	pthread_mutex_unlock(&all.lock);
	return v;
}

struct verifier *
verifier_get(const struct verifier_conf *conf)
{
	struct verifier *v = find(conf);

	if (v == NULL)
		v = add(conf);
	if (v == NULL)
		return NULL;
	v->load = all.load;
	/* Asked at every load, so that it stays in use. */
	if (conf->userinfo)
		v->provider = oidc_client_get(&(struct oidc_client_conf) {
		    .issuer = conf->issuer,
		    .jwks_url = conf->jwks_url,
		    .client_id = "",
		    .scopes = "",
		    .auth = AUTH_NONE,
		});
	return v;
}

void
verifiers_begin(void)
{
	all.load++;
}

void
verifier_stay(struct verifier *v)
{
	v->stays = true;
}

unsigned
verifiers_load(void)
{
	return all.load;
}

static struct verifier *
issuer_like(const struct verifier *v)
{
	for (unsigned i = 0; i < VERIFIERS_MAX; i++)
		if (all.v[i] != NULL && all.v[i] != v &&
		    all.v[i]->keys != NULL &&
		    kb_str_eq(all.v[i]->issuer, v->issuer) &&
		    kb_str_eq(all.v[i]->jwks_url, v->jwks_url))
			return all.v[i];
	return NULL;
}

bool
verifiers_private(void)
{
	return atomic_load_explicit(&all.private, memory_order_relaxed);
}

void
verifiers_start(bool allow_private)
{
	atomic_store(&all.private, allow_private);
	for (unsigned i = 0; i < VERIFIERS_MAX; i++) {
		struct verifier *v = all.v[i], *like;

		if (v == NULL)
			continue;
		v->used = v->load == all.load;
		if (!v->used || v->keys != NULL)
			continue;
		like = issuer_like(v);
		if (like != NULL) {
			v->keys = like->keys;
			continue;
		}
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

static void
verifier_free(struct verifier *v)
{
	for (size_t j = 0; v->audience[j] != NULL; j++)
		free((char *)(uintptr_t)v->audience[j]);
	free(v->audience);
	free(v->issuer);
	free(v->jwks_url);
	free(v);
}

/* ---- those that are of no use any more ------------------------------------
 */

static void *
close_issuer(void *keys)
{
	kb_issuer_stop(keys);
	pthread_mutex_lock(&all.lock);
	all.closing--;
	pthread_cond_signal(&all.closed);
	pthread_mutex_unlock(&all.lock);
	return NULL;
}

/* Stopping waits for a fetch that is under way: not here. */
static void
close_beside(struct kb_issuer *keys)
{
	pthread_t thread;

	pthread_mutex_lock(&all.lock);
	all.closing++;
	pthread_mutex_unlock(&all.lock);
	if (pthread_create(&thread, NULL, close_issuer, keys) == 0)
		pthread_detach(thread);
	else
		(void)close_issuer(keys);
}

static void
remove_verifier(struct verifier *v)
{
	struct verifier *heir;

	pthread_mutex_lock(&all.lock);
	all.v[v->index] = NULL;
	pthread_mutex_unlock(&all.lock);
	heir = v->owner ? issuer_like(v) : NULL;
	if (heir != NULL)
		heir->owner = true;
	else if (v->owner)
		close_beside(v->keys);
	verifier_free(v);
}

void
verifiers_sweep(unsigned oldest, unsigned newest)
{
	for (unsigned i = 0; i < VERIFIERS_MAX; i++) {
		struct verifier *v = all.v[i];

		if (v != NULL && !v->stays &&
		    (v->load < oldest || v->first_load > newest))
			remove_verifier(v);
	}
}

void
verifiers_stop(void)
{
	for (unsigned i = 0; i < VERIFIERS_MAX; i++)
		if (all.v[i] != NULL)
			remove_verifier(all.v[i]);
	pthread_mutex_lock(&all.lock);
	while (all.closing > 0)
		pthread_cond_wait(&all.closed, &all.lock);
	pthread_mutex_unlock(&all.lock);
}

static bool
is_ready(const struct verifier *v)
{
	struct kb_issuer *issuer = v->keys;
	struct kb_jwks *keys = issuer ? kb_issuer_keys(issuer) : NULL;
	bool ready = keys != NULL;

	kb_jwks_unref(keys);
	return ready;
}

bool
verifiers_ready(void)
{
	bool ready = true;

	pthread_mutex_lock(&all.lock);
	for (unsigned i = 0; ready && i < VERIFIERS_MAX; i++)
		if (all.v[i] != NULL && all.v[i]->used)
			ready = is_ready(all.v[i]);
	pthread_mutex_unlock(&all.lock);
	return ready;
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
	free(t->jwt);
	free(t);
}

struct token_entry *
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
		kb_buf_adds(&lines, kb_identity_header[i]);
		kb_buf_add(&lines, ": ", 2);
		kb_buf_add(&lines, value, size - 1);
		kb_buf_add(&lines, "\r\n", 2);
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

struct token_entry *
token_of_session(const struct kb_identity *id, const char *jwt)
{
	struct token_entry *t = entry_new(id);

	t->jwt = jwt ? kb_xstrdup(jwt) : NULL;
	return t;
}

const char *
token_jwt(const struct token_entry *t)
{
	return t->jwt;
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
