/*
 * E-mail and name of callers whose tokens do not say them (those of Zitadel
 * do not): asked of the issuer's userinfo once a subject and ten minutes, by
 * one request at a time, and done without when the issuer does not answer.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "oidc_inside.h"

enum {
	SLOTS = 4096, /* each holds one subject; the next one takes its place */
	KNOWN_MS = 600000,
	FAILED_MS = 30000,
	PENDING_MAX = 256,
};

struct known {
	const struct oidc_client *provider;
	char *sub, *email, *name; /* e-mail and name as in headers, or NULL */
	int64_t until_ms;
};

struct waiter {
	struct waiter *next;
	void (*done)(void *arg);
	void *arg;
};

struct asking {
	struct kb_task task;
	struct asking *next;
	struct loop *loop;
	struct oidc_client *provider;
	struct kb_arena *arena;
	const char *sub, *token;
	struct kb_identity found;
	bool fine;
	struct waiter *waiters;
};

struct userinfo {
	struct known slots[SLOTS];
	struct asking *asking;
	unsigned n;
};

static struct userinfo *
userinfo_of(struct loop *l)
{
	if (l->userinfo == NULL) {
		l->userinfo = kb_xalloc(sizeof(*l->userinfo));
		memset(l->userinfo, 0, sizeof(*l->userinfo));
	}
	return l->userinfo;
}

static struct known *
slot_of(struct userinfo *u, const char *sub)
{
	return &u->slots[kb_hash(sub, strlen(sub)) % SLOTS];
}

static void
forget(struct known *k)
{
	free(k->sub);
	free(k->email);
	free(k->name);
	memset(k, 0, sizeof(*k));
}

bool
userinfo_known(struct loop *l, const struct oidc_client *provider,
    const char *sub, struct kb_identity *fill)
{
	const struct known *k = slot_of(userinfo_of(l), sub);

	if (!kb_str_eq(k->sub, sub) || k->provider != provider ||
	    kb_mono_ms() > k->until_ms)
		return false;
	if (fill->value[KB_ID_EMAIL] == NULL)
		fill->value[KB_ID_EMAIL] = k->email;
	if (fill->value[KB_ID_NAME] == NULL)
		fill->value[KB_ID_NAME] = k->name;
	return true;
}

static void
work(struct kb_task *t)
{
	struct asking *q = KB_CONTAINER(t, struct asking, task);
	const struct kb_json *claims = oidc_userinfo(
	    q->provider, q->arena, q->token, q->sub);

	q->fine = claims != NULL &&
	    kb_identity_from_claims(q->arena, claims, NULL, &q->found) == KB_OK;
}

static char *
copy(const char *text)
{
	return text ? kb_xstrdup(text) : NULL;
}

static void
keep(struct userinfo *u, const struct asking *q)
{
	struct known *k = slot_of(u, q->sub);

	forget(k);
	k->provider = q->provider;
	k->sub = kb_xstrdup(q->sub);
	k->until_ms = kb_mono_ms() + (q->fine ? KNOWN_MS : FAILED_MS);
	if (q->fine) {
		k->email = copy(q->found.value[KB_ID_EMAIL]);
		k->name = copy(q->found.value[KB_ID_NAME]);
	}
}

static void
done(struct kb_task *t)
{
	struct asking *q = KB_CONTAINER(t, struct asking, task);
	struct userinfo *u = userinfo_of(q->loop);
	struct asking **at = &u->asking;
	struct waiter *w, *next;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	u->n--;
	keep(u, q);
	for (w = q->waiters; w != NULL; w = next) {
		next = w->next;
		w->done(w->arg);
		free(w);
	}
	kb_arena_free(q->arena);
	free(q);
}

static struct asking *
ask_new(struct loop *l, struct oidc_client *provider, const char *sub,
    struct kb_slice token)
{
	struct userinfo *u = userinfo_of(l);
	struct asking *q = kb_xalloc(sizeof(*q));

	memset(q, 0, sizeof(*q));
	q->task = (struct kb_task) { .work = work, .done = done };
	q->loop = l;
	q->provider = provider;
	q->arena = kb_arena_new(0);
	q->sub = kb_strdup(q->arena, sub);
	q->token = kb_slice_dup(q->arena, token);
	if (u->n < PENDING_MAX && loop_ask(l, &q->task)) {
		q->next = u->asking;
		u->asking = q;
		u->n++;
		return q;
	}
	kb_arena_free(q->arena);
	free(q);
	return NULL;
}

bool
userinfo_ask(struct loop *l, const struct userinfo_question *question,
    void (*fn)(void *arg), void *arg)
{
	struct userinfo *u = userinfo_of(l);
	struct asking *q = u->asking;
	struct waiter *w;

	while (q != NULL &&
	    (q->provider != question->provider ||
		!kb_str_eq(q->sub, question->sub)))
		q = q->next;
	if (q == NULL)
		q = ask_new(
		    l, question->provider, question->sub, question->token);
	if (q == NULL)
		return false;
	w = kb_xalloc(sizeof(*w));
	*w = (struct waiter) { .next = q->waiters, .done = fn, .arg = arg };
	q->waiters = w;
	return true;
}

void
userinfo_stop(struct loop *l)
{
	for (size_t i = 0; l->userinfo && i < SLOTS; i++)
		forget(&l->userinfo->slots[i]);
	free(l->userinfo);
	l->userinfo = NULL;
}
