/*
 * One bearer token's way. What this loop has verified it remembers. What is
 * new is verified at once when that is cheap (RSA of 2048 bit, 44 us) and on
 * a worker when it is not (ES256, 2 ms); a key that is not known yet is waited
 * for while the issuer is asked, a second at most; and what the token does
 * not say of its owner is completed from userinfo.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "verify_inside.h"

enum {
	CACHE_ENTRIES = 8192,
	/* base64url length of an RSA signature of 2048 bit */
	CHEAP_SIGNATURE = 342,
	ES256_SIGNATURE = 86,
	NEW_KEY_MS = 1000,
	NEW_KEY_LOOK_MS = 20,
	PARKED_MAX = 1024,
};

/* Outcome of one verification, on whatever thread. */
struct outcome {
	enum kb_err err;
	struct token_entry *entry;
	int64_t expires;
	const char *why;
	bool unknown_kid;
	uint64_t generation;
};

/* A token that is not settled at once; outlives an exchange that ends. */
struct parked {
	struct kb_task task;
	struct verifier *verifier;
	struct loop *loop;
	struct local *local; /* so that the verifier stays */
	struct exchange *x;  /* NULL: it ended */
	struct outcome outcome;
	struct parked *next; /* of the loop's, while it waits for a key */
	int64_t until_ms;
	bool waited; /* once is enough */
	struct kb_slice token;
	char text[];
};

/* ---- verifying ----------------------------------------------------------- */

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
	out->entry->issued_s = jwt.issued_at;
}

enum kb_err
verifier_verify(struct verifier *v, struct kb_arena *a, struct kb_slice token,
    const struct kb_jwt_rules *rules, struct kb_jwt *out)
{
	int64_t until = kb_mono_ms() + NEW_KEY_MS, left = NEW_KEY_MS;
	uint64_t generation;
	enum kb_err err;

	do {
		struct kb_jwks *keys;

		generation = kb_issuer_generation(v->keys);
		keys = kb_issuer_keys(v->keys);
		err = kb_jwt_verify(a, token, keys, rules, out);
		kb_jwks_unref(keys);
		if (err != KB_UNAVAILABLE && !out->unknown_kid)
			return err;
		if (out->unknown_kid && !kb_issuer_unknown_kid(v->keys))
			return err;
		left = until - kb_mono_ms();
	} while (left > 0 && kb_issuer_wait(v->keys, generation, left));
	return err;
}

static void
drop_entry(void *p)
{
	token_unref(p);
}

static struct kb_token_cache *
cache_of(struct loop *l, const struct verifier *v)
{
	struct kb_token_cache **cache = &l->tokens[v->index];

	if (*cache != NULL && l->token_serials[v->index] != v->serial) {
		kb_token_cache_free(*cache);
		*cache = NULL;
	}
	if (*cache == NULL) {
		*cache = kb_token_cache_new(CACHE_ENTRIES, drop_entry);
		l->token_serials[v->index] = v->serial;
	}
	return *cache;
}

/* ---- outcomes ------------------------------------------------------------ */

/* Locked users are looked for again whenever something has been revoked. */
static bool
is_revoked(struct loop *l, struct token_entry *t)
{
	uint64_t generation = revocations_generation(l);

	if (t->checked != generation) {
		t->checked = generation;
		t->revoked = revocation_covers(
		    l, "user:", t->id.value[KB_ID_USER], t->issued_s);
	}
	return t->revoked;
}

static void
refuse(struct exchange *x, enum kb_err err)
{
	exchange_fail(x, err,
	    err == KB_UNAVAILABLE ? "Tokens cannot be verified now" : NULL);
}

static void
use(struct exchange *x, struct token_entry *t)
{
	if (is_revoked(x->loop, t))
		exchange_fail(x, KB_AUTH_INVALID, "Access was revoked");
	else
		exchange_set_identity(x, t);
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
	use(x, o->entry);
}

/* Keys that are missing may come; other refusals stay what they are. */
static void
keep(struct loop *l, struct verifier *v, struct kb_slice token,
    const struct outcome *o)
{
	if (o->err == KB_UNAVAILABLE || o->unknown_kid)
		return;
	if (o->entry)
		token_ref(o->entry);
	kb_token_cache_put(cache_of(l, v), token.ptr, token.len, o->generation,
	    o->expires, o->entry);
}

/* ---- e-mail and name ----------------------------------------------------- */

static bool
is_complete(const struct verifier *v, const struct outcome *o)
{
	return v->provider == NULL || o->entry == NULL ||
	    (o->entry->id.value[KB_ID_EMAIL] && o->entry->id.value[KB_ID_NAME]);
}

/* False: it is not known yet. */
static bool
complete(struct loop *l, const struct verifier *v, struct outcome *o)
{
	struct kb_identity id;
	struct token_entry *t;

	if (is_complete(v, o))
		return true;
	id = o->entry->id;
	if (!userinfo_known(l, v->provider, id.value[KB_ID_USER], &id))
		return false;
	t = entry_new(&id);
	t->bearer = true;
	t->issued_s = o->entry->issued_s;
	token_unref(o->entry);
	o->entry = t;
	return true;
}

/* ---- those that wait ----------------------------------------------------- */

static void
forget(void *arg)
{
	struct parked *p = arg;

	p->x = NULL;
}

static struct parked *
parked_new(struct verifier *v, struct exchange *x, struct kb_slice token)
{
	struct parked *p = kb_xalloc(sizeof(*p) + token.len + 1);

	memset(p, 0, sizeof(*p));
	memcpy(p->text, token.ptr, token.len);
	p->verifier = v;
	p->loop = x->loop;
	p->local = local_ref(x->local);
	p->x = x;
	p->token = (struct kb_slice) { p->text, token.len };
	return p;
}

static void
parked_free(struct parked *p)
{
	local_unref(p->local);
	free(p);
}

static void
finish(struct parked *p)
{
	keep(p->loop, p->verifier, p->token, &p->outcome);
	if (p->x != NULL) {
		settle(p->x, &p->outcome);
		exchange_resume(p->x);
	}
	if (p->outcome.entry)
		token_unref(p->outcome.entry);
	parked_free(p);
}

static void
on_userinfo(void *arg)
{
	struct parked *p = arg;

	(void)!complete(p->loop, p->verifier, &p->outcome);
	finish(p);
}

static bool park(struct parked *p);

/* After verifying: true when it waits for something more. */
static bool
waits(struct parked *p)
{
	struct userinfo_question q = { .provider = p->verifier->provider };

	if (p->outcome.unknown_kid && !p->waited && p->x && park(p))
		return true;
	if (complete(p->loop, p->verifier, &p->outcome))
		return false;
	q.sub = p->outcome.entry->id.value[KB_ID_USER];
	q.token = p->token;
	return userinfo_ask(p->loop, &q, on_userinfo, p);
}

static void
work(struct kb_task *t)
{
	struct parked *p = KB_CONTAINER(t, struct parked, task);
	struct kb_arena *a = kb_arena_new(0);

	verify(p->verifier, a, p->token.ptr, p->token.len, &p->outcome);
	kb_arena_free(a);
}

static void
done(struct kb_task *t)
{
	struct parked *p = KB_CONTAINER(t, struct parked, task);

	if (!waits(p))
		finish(p);
}

static bool
give_to_worker(struct parked *p)
{
	p->task = (struct kb_task) { .work = work, .done = done };
	return kb_pool_submit(p->loop->pool, &p->task);
}

static bool
is_cheap(struct kb_slice token)
{
	const char *dot = memrchr(token.ptr, '.', token.len);
	size_t n = dot ? token.len - (size_t)(dot - token.ptr) - 1 : 0;

	return n <= CHEAP_SIGNATURE && n != ES256_SIGNATURE;
}

/* ---- keys that are not there yet ----------------------------------------- */

/* It is verified once more, by the keys as they are now. */
static void
judge_again(struct parked *p)
{
	p->outcome = (struct outcome) { .err = KB_UNAVAILABLE };
	p->waited = true;
	if (p->x == NULL) {
		finish(p);
		return;
	}
	if (is_cheap(p->token))
		work(&p->task);
	else if (give_to_worker(p))
		return;
	done(&p->task);
}

static void
look(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct parked *p = l->parked, *next;
	int64_t now = kb_mono_ms();

	(void)fd;
	(void)what;
	l->parked = NULL;
	l->n_parked = 0;
	for (; p != NULL; p = next) {
		next = p->next;
		if (p->x != NULL && now < p->until_ms &&
		    kb_issuer_generation(p->verifier->keys) ==
			p->outcome.generation) {
			p->next = l->parked;
			l->parked = p;
			l->n_parked++;
			continue;
		}
		judge_again(p);
	}
	if (l->parked == NULL)
		event_del(l->park_timer);
}

/* False: no new keys are about to come, or too many wait for them. */
static bool
park(struct parked *p)
{
	const struct timeval every = { 0, NEW_KEY_LOOK_MS * 1000 };
	struct loop *l = p->loop;

	if (!kb_issuer_unknown_kid(p->verifier->keys) ||
	    l->n_parked >= PARKED_MAX)
		return false;
	if (l->park_timer == NULL)
		l->park_timer = event_new(l->base, -1, EV_PERSIST, look, l);
	if (l->parked == NULL)
		event_add(l->park_timer, &every);
	p->until_ms = kb_mono_ms() + NEW_KEY_MS;
	p->next = l->parked;
	l->parked = p;
	l->n_parked++;
	return true;
}

void
park_stop(struct loop *l)
{
	struct parked *next;

	for (struct parked *p = l->parked; p != NULL; p = next) {
		next = p->next;
		parked_free(p);
	}
	l->parked = NULL;
	if (l->park_timer)
		event_free(l->park_timer);
	l->park_timer = NULL;
}

/* ---- from plugins -------------------------------------------------------- */

static enum verdict
verify_later(struct verifier *v, struct exchange *x, struct kb_slice token)
{
	struct parked *p = parked_new(v, x, token);

	if (!give_to_worker(p)) {
		parked_free(p);
		exchange_add_response(x, "Retry-After", "1");
		refuse(x, KB_UNAVAILABLE);
		return NEXT;
	}
	exchange_on_cancel(x, forget, p);
	return WAIT;
}

/* What is not settled yet goes on by itself; false: it is. */
static bool
settle_later(struct verifier *v, struct exchange *x, struct kb_slice token,
    struct outcome *o)
{
	struct parked *p;

	if (!o->unknown_kid && complete(x->loop, v, o))
		return false;
	p = parked_new(v, x, token);
	p->outcome = *o;
	if (waits(p)) {
		exchange_on_cancel(x, forget, p);
		return true;
	}
	*o = p->outcome;
	parked_free(p);
	return false;
}

enum verdict
verifier_check(struct verifier *v, struct exchange *x, struct kb_slice token)
{
	struct loop *l = x->loop;
	struct outcome o = { 0 };
	void *hit = NULL;

	x->bearer = token;
	switch (kb_token_cache_get(cache_of(l, v), token.ptr, token.len,
	    kb_issuer_generation(v->keys), &hit)) {
	case KB_CACHE_HIT: use(x, hit); return NEXT;
	case KB_CACHE_REFUSED: refuse(x, KB_AUTH_INVALID); return NEXT;
	case KB_CACHE_MISS: break;
	}
	if (!is_cheap(token))
		return verify_later(v, x, token);
	verify(v, exchange_arena(x), token.ptr, token.len, &o);
	if (settle_later(v, x, token, &o))
		return WAIT;
	keep(l, v, token, &o);
	settle(x, &o);
	if (o.entry)
		token_unref(o.entry);
	return NEXT;
}

/* "Bearer" 1*SP token, the scheme in any case (RFC 6750, RFC 9110 11.1). */
static bool
bearer(struct kb_slice value, struct kb_slice *token)
{
	if (value.len < 7 || strncasecmp(value.ptr, "bearer", 6) != 0 ||
	    value.ptr[6] != ' ')
		return false;
	value.ptr += 7;
	value.len -= 7;
	while (value.len && *value.ptr == ' ') {
		value.ptr++;
		value.len--;
	}
	*token = value;
	return value.len > 0;
}

enum kb_err
exchange_bearer(const struct exchange *x, struct kb_slice *token)
{
	const struct kb_http1_head *head = exchange_head(x);
	struct kb_slice value = kb_http1_get(
	    head, exchange_bytes(x), KB_H_AUTHORIZATION);

	if (value.ptr == NULL || value.len == 0)
		return KB_UNAUTHENTICATED;
	if (kb_http1_count(head, KB_H_AUTHORIZATION) != 1 ||
	    !bearer(value, token) || token->len > KB_JWT_MAX ||
	    memchr(token->ptr, ' ', token->len) ||
	    memchr(token->ptr, ',', token->len))
		return KB_AUTH_INVALID;
	return KB_OK;
}

enum verdict
verifier_check_bearer(struct verifier *v, struct exchange *x)
{
	struct kb_slice token;
	enum kb_err err = exchange_bearer(x, &token);

	if (err == KB_OK)
		return verifier_check(v, x, token);
	exchange_fail(x, err, NULL);
	return NEXT;
}
