/*
 * Sessions as a loop knows them. The record is in Redis, where all gateways
 * see it; each loop keeps what it has read for a few seconds, so that a page
 * with its dozens of requests costs one round trip. Tokens that end are
 * refreshed by one gateway at a time (a lock in Redis), and a record that
 * somebody else has refreshed meanwhile is taken over, so that no refresh
 * token is ever used twice.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/log.h>
#include <kombi/redis.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "sessions_inside.h"

enum {
	BUCKETS = 4096,
	LIVE_MAX = 8192,
	FRESH_MS = 5000,  /* no look at Redis for so long */
	AWAY_MS = 300000, /* nor while Redis is away */
	RETRY_MS = 1000,  /* Redis was away: not asked again before */
	TOUCH_MS = 60000, /* how often use is noted in Redis */
	ONCE_S = 900,
};

struct sessions {
	struct loop *loop;
	struct live *buckets[BUCKETS];
	struct live *newest, *oldest;
	size_t n;
};

/* ---- the table ----------------------------------------------------------- */

static struct live **
bucket_of(struct sessions *t, const unsigned char id[SESSION_ID])
{
	return &t->buckets[kb_hash(id, SESSION_ID) % BUCKETS];
}

static void
forget_record(struct live *s)
{
	token_unref(s->entry);
	s->entry = NULL;
	kb_arena_free(s->record);
	s->record = NULL;
}

void
live_unref(struct live *s)
{
	if (--s->refs)
		return;
	forget_record(s);
	if (s->timer)
		event_free(s->timer);
	kb_arena_free(s->arena);
	free(s);
}

static void
by_use_out(struct sessions *t, struct live *s)
{
	*(s->newer ? &s->newer->older : &t->newest) = s->older;
	*(s->older ? &s->older->newer : &t->oldest) = s->newer;
	s->newer = s->older = NULL;
}

static void
by_use_in(struct sessions *t, struct live *s)
{
	s->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = s;
	t->newest = s;
}

static void
unlist(struct sessions *t, struct live *s)
{
	struct live **at = bucket_of(t, s->id);

	if (!s->listed)
		return;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	by_use_out(t, s);
	s->listed = false;
	t->n--;
	live_unref(s);
}

static struct live *
find(struct sessions *t, const unsigned char id[SESSION_ID])
{
	struct live *s = *bucket_of(t, id);

	while (s != NULL && memcmp(s->id, id, SESSION_ID) != 0)
		s = s->next;
	return s;
}

static struct live *
live_new(struct sessions *t, struct oidc_client *c,
    const struct session_times *times, const unsigned char id[SESSION_ID])
{
	struct live *s = kb_xalloc(sizeof(*s));
	struct live **at = bucket_of(t, id);

	if (t->n >= LIVE_MAX)
		unlist(t, t->oldest);
	memset(s, 0, sizeof(*s));
	memcpy(s->id, id, SESSION_ID);
	s->loop = t->loop;
	s->client = c;
	s->times = *times;
	s->arena = kb_arena_new(512);
	s->key = session_key(s->arena, id);
	s->place = session_place(s->arena, s->key, c);
	s->lock = session_lock_key(s->arena, s->key);
	s->refs = 1;
	s->listed = true;
	s->next = *at;
	*at = s;
	by_use_in(t, s);
	t->n++;
	return s;
}

static struct sessions *
sessions_of(struct loop *l)
{
	if (l->sessions == NULL) {
		l->sessions = kb_xalloc(sizeof(*l->sessions));
		memset(l->sessions, 0, sizeof(*l->sessions));
		l->sessions->loop = l;
	}
	return l->sessions;
}

void
sessions_stop(struct loop *l)
{
	struct sessions *t = l->sessions;

	for (size_t i = 0; t && i < BUCKETS; i++)
		while (t->buckets[i] != NULL) {
			t->buckets[i]->loop = NULL;
			unlist(t, t->buckets[i]);
		}
	free(t);
	l->sessions = NULL;
}

/* ---- Redis --------------------------------------------------------------- */

/* `argv` is NULL-ended text. */
void
session_redis(
    struct loop *l, const char *const *argv, kb_redis_fn *fn, void *arg)
{
	struct kb_slice v[8];
	size_t n = 0;

	for (; argv[n] != NULL; n++)
		v[n] = kb_slice_of(argv[n]);
	kb_redis_start(loop_redis(l, NULL),
	    &(struct kb_redis_call) {
		.argv = v,
		.argc = n,
		.fn = fn,
		.arg = arg,
		.timeout_ms = SESSION_REDIS_MS,
	    });
}

bool
sessions_up(struct loop *l)
{
	struct kb_redis *redis = loop_redis(l, NULL);

	return redis != NULL && kb_redis_is_up(redis);
}

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* For how long the record may lie unused; at most to its absolute end. */
int64_t
session_ttl(const struct session *s, const struct session_times *times)
{
	int64_t now = kb_wall_s();
	int64_t ttl = least(times->idle_s, times->rolling_s);

	ttl = least(ttl, s->created_s + times->absolute_s - now);
	if (s->refresh == NULL)
		ttl = least(ttl, s->expires_s - now);
	return ttl > 0 ? ttl : 1;
}

/* ---- a record becomes an identity ---------------------------------------- */

/* Takes over the arena. */
void
live_adopt(struct live *s, struct kb_arena *a, const struct session *session)
{
	forget_record(s);
	s->record = a;
	s->session = *session;
	s->entry = token_of_session(&session->identity, session->claims);
	s->loaded_ms = kb_mono_ms();
	s->retry_ms = 0;
	s->gone = false;
}

bool
live_adopt_text(struct live *s, struct kb_slice text)
{
	struct kb_arena *a = kb_arena_new(0);
	struct session session;

	if (session_open(a, &s->client->conf.seal, s->place, text, &session)) {
		live_adopt(s, a, &session);
		return true;
	}
	kb_arena_free(a);
	return false;
}

/* The loop is about to end: nothing is begun any more. */
bool
live_has_ended(const struct live *s)
{
	return s->loop == NULL || s->loop->sessions == NULL;
}

/* Somebody ended it, here or elsewhere. */
static bool
is_revoked(const struct live *s)
{
	const struct session *r = &s->session;

	return revocation_covers(s->loop, "user:", r->sub, r->issued_s) ||
	    revocation_covers(s->loop, "signout:", r->sub, r->issued_s) ||
	    revocation_covers(s->loop, "sid:", r->sid, r->issued_s);
}

enum judged { USE, OVER, EXPIRED };

static enum judged
judge(const struct live *s)
{
	const struct session *r = &s->session;
	int64_t now = kb_wall_s();

	if (s->record == NULL || s->gone || is_revoked(s) ||
	    now >= r->created_s + s->times.absolute_s)
		return OVER;
	if (now < r->expires_s)
		return USE;
	return r->refresh ? EXPIRED : OVER;
}

void
live_end(struct live *s)
{
	const char *argv[] = { "DEL", s->key, NULL };

	s->gone = true;
	if (live_has_ended(s))
		return;
	session_redis(s->loop, argv, NULL, NULL);
	unlist(s->loop->sessions, s);
}

static void
touch(struct live *s)
{
	char ttl[24];
	const char *argv[] = { "EXPIRE", s->key, ttl, NULL };
	int64_t now = kb_mono_ms();

	if (now - s->touched_ms < least(TOUCH_MS, s->times.idle_s * 250))
		return;
	s->touched_ms = now;
	snprintf(ttl, sizeof(ttl), "%lld",
	    (long long)session_ttl(&s->session, &s->times));
	session_redis(s->loop, argv, NULL, NULL);
}

/* ---- those who wait ------------------------------------------------------ */

static void
forget_waiter(void *arg)
{
	struct session_wait *w = arg;

	w->x = NULL;
}

static void
join(struct live *s, struct exchange *x, struct session_wait *w)
{
	w->x = x;
	w->next = s->waiters;
	s->waiters = w;
	exchange_on_cancel(x, forget_waiter, w);
}

static void
settle(struct live *s, struct exchange *x, struct session_wait *w,
    enum session_state state)
{
	w->decided = true;
	w->state = state;
	if (state == SESSION_FOUND)
		exchange_set_identity(x, s->entry);
}

/* Redis did not say, and what is known is nothing or too old. */
static bool
is_away(const struct live *s)
{
	return s->retry_ms && !s->gone &&
	    (s->record == NULL || kb_mono_ms() - s->loaded_ms >= AWAY_MS);
}

void
live_wake(struct live *s)
{
	enum judged judged = live_has_ended(s) ? OVER : judge(s);
	enum session_state state = SESSION_FOUND;
	struct session_wait *w, *next;

	if (judged == EXPIRED && live_refresh(s))
		return;
	if (judged == EXPIRED || is_away(s))
		state = SESSION_AWAY;
	else if (judged == OVER)
		state = SESSION_NONE;
	s->refs++;
	if (state == SESSION_NONE && s->record != NULL)
		live_end(s);
	else if (state == SESSION_NONE && !live_has_ended(s))
		unlist(s->loop->sessions, s);
	w = s->waiters;
	s->waiters = NULL;
	for (; w != NULL; w = next) {
		next = w->next;
		if (w->x == NULL)
			continue;
		settle(s, w->x, w, state);
		exchange_resume(w->x);
	}
	live_unref(s);
}

/* ---- loading ------------------------------------------------------------- */

static void
on_loaded(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct live *s = arg;

	s->loading = false;
	if (result != KB_REDIS_OK)
		s->retry_ms = kb_mono_ms() + RETRY_MS;
	else if (kb_redis_kind(reply) != KB_REDIS_TEXT ||
	    !live_adopt_text(s, kb_redis_text(reply)))
		s->gone = true;
	live_wake(s);
	live_unref(s);
}

static void
load(struct live *s)
{
	const char *argv[] = { "GET", s->key, NULL };

	if (s->loading || s->refreshing)
		return;
	s->loading = true;
	s->refs++;
	session_redis(s->loop, argv, on_loaded, s);
}

/* Good without asking: young, or Redis was away a moment ago. */
static bool
is_fresh(const struct live *s, int64_t now)
{
	if (s->record == NULL || s->gone)
		return false;
	return now - s->loaded_ms <
	    (s->refreshing ? SESSION_LOCK_MS : FRESH_MS) ||
	    (now < s->retry_ms && now - s->loaded_ms < AWAY_MS);
}

static bool
is_clients(const struct live *s, const struct oidc_client *c)
{
	return s->client == c ||
	    (kb_str_eq(s->client->conf.issuer, c->conf.issuer) &&
		kb_str_eq(s->client->conf.client_id, c->conf.client_id));
}

enum verdict
sessions_use(struct exchange *x, struct oidc_client *c,
    const struct session_times *times, const unsigned char id[SESSION_ID],
    struct session_wait *w)
{
	struct sessions *t = sessions_of(x->loop);
	struct live *s = find(t, id);
	int64_t now = kb_mono_ms();

	if (w->decided)
		return NEXT;
	if (loop_redis(x->loop, NULL) == NULL || (s && !is_clients(s, c))) {
		w->decided = true;
		w->state = s ? SESSION_NONE : SESSION_AWAY;
		return NEXT;
	}
	if (s == NULL)
		s = live_new(t, c, times, id);
	by_use_out(t, s);
	by_use_in(t, s);
	if (is_fresh(s, now) && judge(s) == USE) {
		settle(s, x, w, SESSION_FOUND);
		touch(s);
		if (s->session.refresh &&
		    s->session.expires_s - kb_wall_s() < SESSION_EARLY_S)
			(void)!live_refresh(s);
		return NEXT;
	}
	join(s, x, w);
	load(s);
	return WAIT;
}

const struct session *
sessions_found(struct exchange *x, const unsigned char id[SESSION_ID])
{
	struct live *s = x->loop->sessions ? find(x->loop->sessions, id) : NULL;

	return s && s->record && !s->gone ? &s->session : NULL;
}

/* ---- new and ended ones -------------------------------------------------- */

struct putting {
	struct loop *loop;
	struct oidc_client *client;
	struct session_times times;
	struct session_put *put;
};

static void
put_over(struct putting *p, enum kb_err err)
{
	p->put->err = err;
	p->put->done(p->put);
	free(p);
}

static void
on_put(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct putting *p = arg;

	(void)reply;
	if (result == KB_REDIS_OK && p->put->has_old)
		sessions_drop(p->loop, p->put->old);
	put_over(p, result == KB_REDIS_OK ? KB_OK : KB_UNAVAILABLE);
}

static void
put_record(struct putting *p)
{
	struct kb_arena *a = kb_arena_new(0);
	char *key, ttl[24];
	const char *argv[] = { "SET", NULL, NULL, "EX", ttl, NULL };

	kb_random(p->put->id, SESSION_ID);
	argv[1] = key = session_key(a, p->put->id);
	argv[2] = session_seal(a, &p->client->conf.seal,
	    session_place(a, key, p->client), &p->put->session);
	snprintf(ttl, sizeof(ttl), "%lld",
	    (long long)session_ttl(&p->put->session, &p->times));
	if (argv[2] != NULL)
		session_redis(p->loop, argv, on_put, p);
	else
		put_over(p, KB_TOO_LARGE);
	kb_arena_free(a);
}

static void
on_once(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct putting *p = arg;

	if (result != KB_REDIS_OK)
		put_over(p, KB_UNAVAILABLE);
	else if (kb_redis_kind(reply) == KB_REDIS_NIL)
		put_over(p, KB_CONFLICT);
	else
		put_record(p);
}

void
sessions_put(struct loop *l, struct oidc_client *c,
    const struct session_times *times, struct session_put *put)
{
	struct putting *p = kb_xalloc(sizeof(*p));
	char seconds[24];
	const char *argv[] = { "SET", put->once, "1", "NX", "EX", seconds,
		NULL };

	*p = (struct putting) {
		.loop = l, .client = c, .times = *times, .put = put
	};
	snprintf(seconds, sizeof(seconds), "%d", ONCE_S);
	if (loop_redis(l, NULL) == NULL)
		put_over(p, KB_UNAVAILABLE);
	else if (put->once)
		session_redis(l, argv, on_once, p);
	else
		put_record(p);
}

void
sessions_drop(struct loop *l, const unsigned char id[SESSION_ID])
{
	struct live *s = l->sessions ? find(l->sessions, id) : NULL;
	struct kb_arena *a;
	const char *argv[] = { "DEL", NULL, NULL };

	if (s != NULL) {
		live_end(s);
		return;
	}
	if (loop_redis(l, NULL) == NULL)
		return;
	a = kb_arena_new(256);
	argv[1] = session_key(a, id);
	session_redis(l, argv, NULL, NULL);
	kb_arena_free(a);
}
