/*
 * Counters of requests: windows of libkombi for the process, and for each
 * Redis that limits are shared by. The loops exchange their parts with it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/window.h>

#include "inside.h"

enum { TABLES_MAX = 8, PARTS_MAX = 64 };

struct counters {
	bool shared;
	struct redis_conf redis; /* host NULL: the one of the options */
	int64_t sync_ms;
	struct kb_window *window; /* made when the first loop takes it */
};

/* A loop's exchange for one of them. */
struct counters_sync {
	struct counters *counters;
	struct kb_window_sync *sync;
	struct counters_sync *next;
};

static struct {
	pthread_mutex_t lock; /* for what changes: `n`, `window` */
	struct counters v[TABLES_MAX];
	size_t n;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- tables ----------------------------------------------------------------
 */

static struct counters *
find(const struct counters_conf *conf)
{
	for (size_t i = 0; i < all.n; i++) {
		struct counters *c = &all.v[i];

		if (c->shared == conf->shared &&
		    (!c->shared ||
			(c->sync_ms == conf->sync_ms &&
			    redis_conf_same(&c->redis, &conf->redis))))
			return c;
	}
	return NULL;
}

struct counters *
counters_get(const struct counters_conf *conf)
{
	struct counters *c;

	pthread_mutex_lock(&all.lock);
	c = find(conf);
	if (c == NULL && all.n < TABLES_MAX) {
		c = &all.v[all.n++];
		*c = (struct counters) {
			.shared = conf->shared,
			.sync_ms = conf->sync_ms,
		};
		if (conf->shared)
			redis_conf_copy(&c->redis, &conf->redis);
	}
	pthread_mutex_unlock(&all.lock);
	return c;
}

struct kb_window *
counters_window(const struct counters *c)
{
	return c->window;
}

/* The same in every replica, and another for each table: two of them at one
 * Redis must not take each other for replicas. */
static void
name_table(const struct counters *c, char out[64])
{
	uint64_t hash = 14695981039346656037ULL;
	char text[512];

	snprintf(text, sizeof(text), "%s:%lld/%lld %s %lld",
	    c->redis.host ? c->redis.host : "", (long long)c->redis.port,
	    (long long)c->redis.database,
	    c->redis.username ? c->redis.username : "", (long long)c->sync_ms);
	for (const char *at = text; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 1099511628211ULL;
	snprintf(out, 64, "kombi-%016llx", (unsigned long long)hash);
}

static struct kb_window *
window_of(struct counters *c, const struct gateway *g)
{
	struct kb_window *w;
	char name[64];

	name_table(c, name);
	pthread_mutex_lock(&all.lock);
	if (c->window == NULL)
		c->window = kb_window_new(&(struct kb_window_conf) {
		    .namespace = name,
		    .replicas = (unsigned)g->config->replicas,
		    .loops = g->n_loops < PARTS_MAX ? (unsigned)g->n_loops
						    : PARTS_MAX,
		    .sync_ms = c->sync_ms,
		});
	w = c->window;
	pthread_mutex_unlock(&all.lock);
	return w;
}

void
counters_use(struct counters *c, struct loop *l)
{
	struct kb_window *w = window_of(c, l->gateway);
	struct counters_sync *s = l->syncs;
	struct kb_redis *redis;

	while (s != NULL && s->counters != c)
		s = s->next;
	if (!c->shared || s != NULL || l->index >= PARTS_MAX)
		return;
	redis = loop_redis(l, &c->redis);
	if (redis == NULL)
		return;
	s = kb_xalloc(sizeof(*s));
	*s = (struct counters_sync) {
		.counters = c,
		.sync = kb_window_sync_new(w, l->index, l->base, redis),
		.next = l->syncs,
	};
	l->syncs = s;
}

void
loop_counters_free(struct loop *l)
{
	while (l->syncs != NULL) {
		struct counters_sync *s = l->syncs;

		l->syncs = s->next;
		kb_window_sync_free(s->sync);
		free(s);
	}
}

void
counters_forget(void)
{
	for (size_t i = 0; i < all.n; i++) {
		kb_window_free(all.v[i].window);
		redis_conf_free(&all.v[i].redis);
	}
	all.n = 0;
}

/* ---- the gateway's own limits -----------------------------------------------
 */

static struct kb_window *own;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static void
make_own(void)
{
	own = kb_window_new(&(struct kb_window_conf) { 0 });
}

void
counter_take(
    uint64_t subject, int64_t window_s, int64_t limit, struct counted *out)
{
	const struct kb_slice key = { (const char *)&subject, sizeof(subject) };
	struct kb_window_verdict v;

	pthread_once(&own_once, make_own);
	kb_window_take(own, key,
	    &(struct kb_window_rule) { .limit = limit, .window_s = window_s },
	    &v);
	*out = (struct counted) {
		.limit = v.limit,
		.remaining = v.remaining,
		.reset_s = v.reset_s,
		.wait_s = v.wait_s > 0 ? v.wait_s : v.reset_in,
		.over = v.over,
	};
}

/* ---- metrics ----------------------------------------------------------------
 */

static struct kb_metric decisions = {
	.kind = KB_COUNTER,
	.name = "kombi_limits_decisions_total",
	.help = "Counted requests by decision; rationed: refused below the "
		"limit because other replicas may use the rest",
	.labels = { "decision" },
};

static struct kb_metric keys = {
	.kind = KB_COUNTER,
	.name = "kombi_limits_keys_total",
	.help = "Counters made, and counters given up while they still counted",
	.labels = { "what" },
};

static struct kb_metric exchanges = {
	.kind = KB_COUNTER,
	.name = "kombi_limits_exchanges_total",
	.help = "Exchanges of counts with Redis",
	.labels = { "result" },
};

static struct kb_metric shared = {
	.kind = KB_GAUGE,
	.name = "kombi_limits_shared",
	.help = "1: limits that are to be shared are, 0: each replica lets "
		"through its share",
};

static struct kb_metric replicas = {
	.kind = KB_GAUGE,
	.name = "kombi_limits_replicas",
	.help = "Replicas that limits are shared by",
};

static struct kb_window_stats seen;

static void
count(struct kb_metric *m, const char *label, uint64_t now, uint64_t before)
{
	const char *const labels[KB_METRIC_LABELS] = { label };

	if (now > before)
		kb_series_add(
		    kb_metric_series(m, labels), (double)(now - before));
}

static void
add(struct kb_window_stats *sum, struct kb_window *w)
{
	struct kb_window_stats s;

	kb_window_stats(w, &s);
	sum->passed += s.passed;
	sum->refused += s.refused;
	sum->rationed += s.rationed;
	sum->keys_made += s.keys_made;
	sum->keys_evicted += s.keys_evicted;
	sum->exchanges += s.exchanges;
	sum->failed_exchanges += s.failed_exchanges;
	if (s.replicas > sum->replicas)
		sum->replicas = s.replicas;
	sum->shared &= s.shared;
}

static struct kb_window_stats
sum_all(bool *any_shared)
{
	struct kb_window_stats now = { .shared = true };
	bool is_shared;

	pthread_mutex_lock(&all.lock);
	for (size_t i = 0; i < all.n; i++) {
		const struct counters *c = &all.v[i];

		if (c->window == NULL)
			continue;
		is_shared = now.shared;
		add(&now, c->window);
		if (c->shared)
			*any_shared = true;
		else
			now.shared = is_shared;
	}
	pthread_mutex_unlock(&all.lock);
	return now;
}

static void
collect(void *arg)
{
	static const char *const none[KB_METRIC_LABELS] = { NULL };
	bool any_shared = false;
	struct kb_window_stats now = sum_all(&any_shared);

	(void)arg;
	count(&decisions, "passed", now.passed, seen.passed);
	count(&decisions, "refused", now.refused, seen.refused);
	count(&decisions, "rationed", now.rationed, seen.rationed);
	count(&keys, "made", now.keys_made, seen.keys_made);
	count(&keys, "evicted", now.keys_evicted, seen.keys_evicted);
	count(&exchanges, "done", now.exchanges, seen.exchanges);
	count(
	    &exchanges, "failed", now.failed_exchanges, seen.failed_exchanges);
	seen = now;
	if (!any_shared)
		return;
	kb_series_set(kb_metric_series(&shared, none), now.shared);
	kb_series_set(kb_metric_series(&replicas, none), now.replicas);
}

void
counters_register(void)
{
	struct kb_metric *metrics[] = { &decisions, &keys, &exchanges, &shared,
		&replicas };

	for (size_t i = 0; i < KB_COUNT(metrics); i++)
		kb_metric_register(metrics[i]);
	kb_metrics_collector(collect, NULL);
}
