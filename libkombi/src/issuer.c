/*
 * The keys of an issuer, kept fresh by a thread of its own, so that no
 * request ever waits for a fetch and no flood of unknown kids causes one
 * more than the clock allows (RFC 8414 or OpenID Connect Discovery 1.0 for
 * the address, RFC 7517 for the set).
 */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/fetch.h>
#include <kombi/jwt.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define TIMEOUT_MS 5000
#define ANSWER_MAX ((size_t)256 * 1024)
#define FIRST_RETRY_MS 1000
#define BREATH_MS 1000 /* between any two fetches */
#define JITTER_PERCENT 25
#define LONGEST_SLEEP_MS 3600000

struct kb_issuer {
	char *issuer, *jwks_url;
	enum kb_fetch_reach reach;
	int64_t min_refetch_ms, max_age_ms, max_stale_ms;
	struct kb_log log;
	pthread_t thread;
	atomic_uint_fast64_t generation;

	pthread_mutex_t lock; /* held for a few instructions only */
	pthread_cond_t wake;
	pthread_cond_t changed; /* for kb_issuer_wait */
	bool stopping;
	bool wanted; /* an unknown kid was seen */
	bool fetching;
	struct kb_jwks *keys;                /* last good set, or NULL */
	unsigned char print[KB_SHA256_SIZE]; /* of its text */
	int64_t good_ms;                     /* when it was fetched */
	int64_t tried_ms, next_ms;
	int64_t asked_ms;  /* last fetch that an unknown kid asked for */
	unsigned failures; /* in a row */
};

/* ---- fetching ------------------------------------------------------------*/

/* One GET; *status is 0 when nothing answered. The reason, or NULL. */
static const char *
get(struct kb_issuer *i, struct kb_arena *a, const char *url, int *status,
    struct kb_slice *text)
{
	const struct kb_fetch f = {
		.url = url,
		.reach = i->reach,
		.timeout_ms = TIMEOUT_MS,
		.max_answer = ANSWER_MAX,
	};
	struct kb_fetched got = { 0 };
	enum kb_err err = kb_fetch(a, &i->log, &f, &got);

	*status = err ? 0 : got.status;
	if (err == KB_TOO_LARGE)
		return "answer over 256 KiB";
	if (err == KB_FORBIDDEN)
		return "address is not allowed";
	if (err)
		return "no answer";
	if (got.status != 200)
		return "status is not 200";
	*text = (struct kb_slice) { got.body, got.len };
	return NULL;
}

static char *
below_issuer(const struct kb_issuer *i, struct kb_arena *a, const char *path)
{
	size_t len = strlen(i->issuer);

	while (len && i->issuer[len - 1] == '/')
		len--;
	return kb_sprintf(a, "%.*s%s", (int)len, i->issuer, path);
}

/* Where the keys are; an issuer without discovery has them in one place. */
static const char *
find_url(struct kb_issuer *i, struct kb_arena *a, const char **url)
{
	const struct kb_json *doc;
	struct kb_slice text;
	const char *problem, *why;
	int status;

	*url = i->jwks_url;
	if (*url)
		return NULL;
	problem = get(i, a,
	    below_issuer(i, a, "/.well-known/openid-configuration"), &status,
	    &text);
	if (status == 404) {
		*url = below_issuer(i, a, "/oauth/v2/keys");
		return NULL;
	}
	if (problem)
		return problem;
	if (kb_json_parse(a, text.ptr, text.len, &doc, &why))
		return "discovery document is not JSON";
	if (!kb_str_eq(kb_json_str(doc, "issuer"), i->issuer))
		return "discovery document is another issuer's";
	*url = kb_json_str(doc, "jwks_uri");
	return *url ? NULL : "discovery document has no jwks_uri";
}

static const char *
fetch_keys(struct kb_issuer *i, struct kb_arena *a, struct kb_slice *text,
    struct kb_jwks **keys)
{
	const char *url, *why;
	const char *problem = find_url(i, a, &url);
	int status;

	if (!problem)
		problem = get(i, a, url, &status, text);
	if (!problem && kb_jwks_parse(text->ptr, text->len, keys, &why))
		problem = why;
	return problem;
}

/* ---- when ----------------------------------------------------------------*/

/* Shortened at random, so that instances do not come all at once. */
static int64_t
jittered(int64_t ms)
{
	uint32_t r;

	kb_random(&r, sizeof(r));
	return ms - ms * JITTER_PERCENT / 100 * (int64_t)(r % 1000) / 1000;
}

static int64_t
retry_ms(const struct kb_issuer *i)
{
	int64_t ms = FIRST_RETRY_MS;

	for (unsigned n = 1; n < i->failures && ms < i->min_refetch_ms; n++)
		ms *= 2;
	return ms < i->min_refetch_ms ? ms : i->min_refetch_ms;
}

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/*
 * With the lock held. What limits unknown kids is the last time that one was
 * heard, not the last fetch: a key published just after a fetch is found soon.
 */
static int64_t
due_ms(const struct kb_issuer *i)
{
	int64_t breath = i->min_refetch_ms < BREATH_MS ? i->min_refetch_ms
						       : BREATH_MS;
	int64_t soon = later(
	    i->asked_ms + i->min_refetch_ms, i->tried_ms + breath);

	return i->wanted && soon < i->next_ms ? soon : i->next_ms;
}

static struct timespec
from_now(int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return until;
}

/* With the lock held. */
static void
wait_for(struct kb_issuer *i, int64_t ms)
{
	struct timespec until = from_now(
	    ms < LONGEST_SLEEP_MS ? ms : LONGEST_SLEEP_MS);

	pthread_cond_timedwait(&i->wake, &i->lock, &until);
}

/* ---- the thread ----------------------------------------------------------*/

/* With the lock held; takes over `keys`. */
static void
install(struct kb_issuer *i, struct kb_slice text, struct kb_jwks *keys)
{
	unsigned char print[KB_SHA256_SIZE];
	bool changed;

	kb_sha256(text.ptr, text.len, print);
	changed = !i->keys || memcmp(print, i->print, sizeof(print)) != 0;
	kb_jwks_unref(i->keys);
	i->keys = keys;
	i->good_ms = kb_mono_ms();
	i->failures = 0;
	i->next_ms = i->good_ms + jittered(i->max_age_ms);
	if (changed) {
		memcpy(i->print, print, sizeof(print));
		atomic_fetch_add(&i->generation, 1);
		pthread_cond_broadcast(&i->changed);
		kb_info(&i->log, "keys of the issuer changed",
		    KB_N("keys", kb_jwks_count(keys)));
	}
}

/* With the lock held at entry and exit, released while fetching. */
static void
refresh(struct kb_issuer *i)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_jwks *keys = NULL;
	struct kb_slice text = { NULL, 0 };
	const char *problem;

	i->tried_ms = kb_mono_ms();
	if (i->wanted)
		i->asked_ms = i->tried_ms;
	i->wanted = false;
	i->fetching = true;
	pthread_mutex_unlock(&i->lock);
	problem = fetch_keys(i, a, &text, &keys);
	pthread_mutex_lock(&i->lock);
	i->fetching = false;

	if (!problem) {
		install(i, text, keys);
	} else {
		i->failures++;
		i->next_ms = kb_mono_ms() + jittered(retry_ms(i));
		kb_warn(&i->log, "keys of the issuer could not be fetched",
		    KB_S("reason", problem), KB_N("failures", i->failures),
		    KB_B("have_keys", i->keys != NULL));
	}
	kb_arena_free(a);
}

static void *
run(void *arg)
{
	struct kb_issuer *i = arg;

	pthread_mutex_lock(&i->lock);
	while (!i->stopping) {
		int64_t left = due_ms(i) - kb_mono_ms();

		if (left > 0)
			wait_for(i, left);
		else
			refresh(i);
	}
	pthread_mutex_unlock(&i->lock);
	return NULL;
}

static int64_t
or_default(int64_t value, int64_t fallback)
{
	return value > 0 ? value : fallback;
}

static void
init_wake(pthread_cond_t *wake)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(wake, &attr);
	pthread_condattr_destroy(&attr);
}

struct kb_issuer *
kb_issuer_start(const struct kb_issuer_conf *conf)
{
	struct kb_issuer *i = kb_xalloc(sizeof(*i));
	sigset_t all, before;
	int rc;

	assert(conf->issuer);
	i->issuer = kb_xstrdup(conf->issuer);
	i->jwks_url = conf->jwks_url ? kb_xstrdup(conf->jwks_url) : NULL;
	i->reach = conf->allow_private ? KB_REACH_INTERNAL : KB_REACH_GLOBAL;
	i->min_refetch_ms = or_default(conf->min_refetch_ms, 30000);
	i->max_age_ms = or_default(conf->max_age_ms, 600000);
	i->max_stale_ms = or_default(conf->max_stale_ms, 86400000);
	i->log.fields[0] = KB_S("issuer", i->issuer);
	i->next_ms = kb_mono_ms();
	i->asked_ms = i->next_ms - i->min_refetch_ms;
	pthread_mutex_init(&i->lock, NULL);
	init_wake(&i->wake);
	init_wake(&i->changed);

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&i->thread, NULL, run, i);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		kb_fatal("issuer: no thread (%s)", strerror(rc));
	return i;
}

void
kb_issuer_stop(struct kb_issuer *i)
{
	if (!i)
		return;
	pthread_mutex_lock(&i->lock);
	i->stopping = true;
	pthread_cond_signal(&i->wake);
	pthread_mutex_unlock(&i->lock);
	pthread_join(i->thread, NULL);

	kb_jwks_unref(i->keys);
	pthread_cond_destroy(&i->wake);
	pthread_cond_destroy(&i->changed);
	pthread_mutex_destroy(&i->lock);
	free(i->issuer);
	free(i->jwks_url);
	free(i);
}

struct kb_jwks *
kb_issuer_keys(struct kb_issuer *i)
{
	struct kb_jwks *keys = NULL;

	pthread_mutex_lock(&i->lock);
	if (i->keys && kb_mono_ms() - i->good_ms <= i->max_stale_ms)
		keys = kb_jwks_ref(i->keys);
	pthread_mutex_unlock(&i->lock);
	return keys;
}

bool
kb_issuer_unknown_kid(struct kb_issuer *i)
{
	bool soon;

	pthread_mutex_lock(&i->lock);
	if (!i->wanted) {
		i->wanted = true;
		pthread_cond_signal(&i->wake);
	}
	soon = i->fetching || due_ms(i) - kb_mono_ms() <= BREATH_MS;
	pthread_mutex_unlock(&i->lock);
	return soon;
}

uint64_t
kb_issuer_generation(struct kb_issuer *i)
{
	return atomic_load_explicit(&i->generation, memory_order_relaxed);
}

bool
kb_issuer_wait(struct kb_issuer *i, uint64_t generation, int64_t ms)
{
	const struct timespec until = from_now(ms);
	int rc = 0;

	pthread_mutex_lock(&i->lock);
	while (rc == 0 && kb_issuer_generation(i) == generation)
		rc = pthread_cond_timedwait(&i->changed, &i->lock, &until);
	pthread_mutex_unlock(&i->lock);
	return kb_issuer_generation(i) != generation;
}
