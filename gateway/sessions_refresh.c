/*
 * New tokens for a session. One gateway at a time asks the issuer (a lock in
 * Redis); the others look until the record has changed, and take it over. So
 * no refresh token is used twice, which issuers take for theft (RFC 9700
 * 4.14.2).
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "sessions_inside.h"

enum {
	RETRY_MS = 5000,
	LOOK_MS = 100, /* whether another one has refreshed */
	LOOKS = 100,
	WRITES = 10, /* tries to write what was refreshed */
};

static struct kb_redis_script unlock_script;

struct refresh_job {
	struct kb_task task;
	struct live *live;
	struct kb_arena *arena;
	const char *token, *sub;
	struct tokens tokens;
	enum kb_err err;
};

static void
refresh_over(struct live *s)
{
	struct kb_slice argv[3];

	if (s->locked && !live_has_ended(s)) {
		argv[0] = kb_slice_of("1");
		argv[1] = kb_slice_of(s->lock);
		argv[2] = kb_slice_of(s->nonce);
		kb_redis_eval(loop_redis(s->loop, NULL), &unlock_script,
		    &(struct kb_redis_call) { .argv = argv,
			.argc = 3,
			.timeout_ms = SESSION_REDIS_MS });
	}
	s->refreshing = s->locked = false;
	live_wake(s);
	live_unref(s);
}

static void
refresh_later(struct live *s)
{
	s->refresh_again_ms = kb_mono_ms() + RETRY_MS;
	refresh_over(s);
}

static void write_record(struct live *s);

static void
on_write_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_record(arg);
}

static void
after(struct live *s, int64_t ms, event_callback_fn fn)
{
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	if (s->timer)
		event_free(s->timer);
	s->timer = event_new(s->loop->base, -1, 0, fn, s);
	event_add(s->timer, &t);
}

/* The old refresh token is used up: what came must not be lost. */
static void
on_written(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct live *s = arg;

	if (result == KB_REDIS_OK && kb_redis_kind(reply) == KB_REDIS_NIL)
		s->gone = true; /* signed out meanwhile */
	else if (result != KB_REDIS_OK && !live_has_ended(s) &&
	    ++s->writes < WRITES) {
		after(s, SESSION_REDIS_MS, on_write_timer);
		return;
	} else if (result != KB_REDIS_OK)
		kb_warn(NULL, "a refreshed session could not be written",
		    KB_S("error", kb_redis_result_name(result)));
	refresh_over(s);
}

static void
write_record(struct live *s)
{
	struct kb_arena *a = kb_arena_new(0);
	char ttl[24];
	const char *argv[] = { "SET", s->key,
		session_seal(a, &s->client->conf.seal, s->place, &s->session),
		"EX", ttl, "XX", NULL };

	snprintf(ttl, sizeof(ttl), "%lld",
	    (long long)session_ttl(&s->session, &s->times));
	if (live_has_ended(s) || argv[2] == NULL)
		refresh_over(s);
	else
		session_redis(s->loop, argv, on_written, s);
	kb_arena_free(a);
}

static void
refresh_work(struct kb_task *task)
{
	struct refresh_job *j = KB_CONTAINER(task, struct refresh_job, task);

	j->err = oidc_refresh(
	    j->live->client, j->arena, j->token, j->sub, &j->tokens);
}

/* What the tokens say, over what was there. Takes over the job's arena. */
static void
take_tokens(struct live *s, struct refresh_job *j)
{
	struct kb_arena *a = j->arena;
	const struct tokens *t = &j->tokens;
	struct session next = s->session;

	next.sub = kb_strdup(a, s->session.sub);
	next.sid = kb_strdup(a, s->session.sid);
	next.access = t->access;
	next.refresh = t->refresh;
	next.id_token = t->id_token ? t->id_token
				    : kb_strdup(a, s->session.id_token);
	next.claims = t->claims ? t->claims : next.id_token;
	next.expires_s = t->expires_s ? t->expires_s
				      : kb_wall_s() + SESSION_EARLY_S;
	if (t->identity.value[KB_ID_USER] != NULL)
		next.identity = t->identity;
	for (int i = 0; i < KB_ID_FIELDS; i++) {
		bool keeps = i == KB_ID_EMAIL || i == KB_ID_NAME ||
		    t->identity.value[KB_ID_USER] == NULL;

		if (keeps && next.identity.value[i] == NULL)
			next.identity.value[i] = s->session.identity.value[i];
		next.identity.value[i] = kb_strdup(a, next.identity.value[i]);
	}
	live_adopt(s, a, &next);
}

static void
refresh_done(struct kb_task *task)
{
	struct refresh_job *j = KB_CONTAINER(task, struct refresh_job, task);
	struct live *s = j->live;

	if (j->err)
		kb_info(NULL, "a session was not refreshed",
		    KB_S("why", j->tokens.why));
	if (!j->err && !live_has_ended(s)) {
		take_tokens(s, j);
		s->writes = 0;
		write_record(s);
	} else {
		if (j->err == KB_AUTH_INVALID)
			live_end(s);
		kb_arena_free(j->arena);
		if (j->err == KB_AUTH_INVALID)
			refresh_over(s);
		else
			refresh_later(s);
	}
	free(j);
}

static void
ask_issuer(struct live *s)
{
	struct refresh_job *j = kb_xalloc(sizeof(*j));

	memset(j, 0, sizeof(*j));
	j->task = (struct kb_task) {
		.work = refresh_work,
		.done = refresh_done,
	};
	j->live = s;
	j->arena = kb_arena_new(0);
	j->token = kb_strdup(j->arena, s->session.refresh);
	j->sub = kb_strdup(j->arena, s->session.sub);
	if (loop_ask(s->loop, &j->task))
		return;
	kb_arena_free(j->arena);
	free(j);
	refresh_later(s);
}

static void look_again(struct live *s);

static void
on_look_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_again(arg);
}

/* The record as it is now: whoever had the lock before has changed it. */
static void
on_looked(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct live *s = arg;
	char *before;

	if (live_has_ended(s) || result != KB_REDIS_OK) {
		refresh_later(s);
		return;
	}
	before = kb_xstrdup(s->session.access ? s->session.access : "");
	if (kb_redis_kind(reply) != KB_REDIS_TEXT ||
	    !live_adopt_text(s, kb_redis_text(reply))) {
		s->gone = true;
		refresh_over(s);
	} else if (!kb_str_eq(s->session.access, before) ||
	    s->session.refresh == NULL) {
		refresh_over(s);
	} else if (s->locked) {
		ask_issuer(s);
	} else if (++s->looks < LOOKS) {
		after(s, LOOK_MS, on_look_timer);
	} else
		refresh_later(s);
	free(before);
}

static void
look_again(struct live *s)
{
	const char *argv[] = { "GET", s->key, NULL };

	session_redis(s->loop, argv, on_looked, s);
}

static void
on_lock(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct live *s = arg;

	if (live_has_ended(s) || result != KB_REDIS_OK) {
		refresh_later(s);
		return;
	}
	s->locked = kb_redis_kind(reply) != KB_REDIS_NIL;
	look_again(s);
}

/* True: it is under way. */
bool
live_refresh(struct live *s)
{
	unsigned char nonce[16];
	char ms[24];
	const char *argv[] = { "SET", s->lock, s->nonce, "NX", "PX", ms, NULL };

	if (s->refreshing)
		return true;
	if (kb_mono_ms() < s->refresh_again_ms || !sessions_up(s->loop))
		return false;
	kb_random(nonce, sizeof(nonce));
	memcpy(s->nonce, kb_base64url(s->record, nonce, sizeof(nonce)),
	    sizeof(s->nonce));
	snprintf(ms, sizeof(ms), "%d", SESSION_LOCK_MS);
	s->refreshing = true;
	s->looks = 0;
	s->refs++;
	session_redis(s->loop, argv, on_lock, s);
	return true;
}

void
sessions_init(void)
{
	kb_redis_script_init(&unlock_script,
	    "if redis.call('GET', KEYS[1]) == ARGV[1] then "
	    "return redis.call('DEL', KEYS[1]) end return 0");
}
