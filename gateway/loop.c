/*
 * The loops that carry the traffic: each a thread with its own event base,
 * listener (SO_REUSEPORT), upstream connections and caches. What others tell
 * a loop goes through one small inbox: a new snapshot, or to drain.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "inside.h"

enum {
	VERIFY_THREADS = 1,
	VERIFY_QUEUE = 256,
	CALL_THREADS = 4,
	CALL_QUEUE = 128,
	RETRY_CREDIT = 1000,
};

/* ---- snapshots as a loop holds them ---------------------------------------
 */

static struct local *
local_new(struct gateway *g, struct snapshot *s)
{
	struct local *l = kb_xalloc(sizeof(*l));

	*l = (struct local) { .gateway = g, .snapshot = s, .refs = 1 };
	l->turns = calloc(s->n_upstreams + 1, sizeof(*l->turns));
	l->metrics = calloc(s->n_routes + 1, sizeof(struct route_metrics *));
	l->consumers = calloc(s->n_consumers + 1, sizeof(struct token_entry *));
	if (l->turns == NULL || l->metrics == NULL || l->consumers == NULL)
		abort();
	return l;
}

static void
signal_fd(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

struct local *
local_ref(struct local *l)
{
	l->refs++;
	return l;
}

void
local_unref(struct local *l)
{
	if (l == NULL || --l->refs)
		return;
	observe_free(l);
	for (size_t i = 0; i < l->snapshot->n_consumers; i++)
		token_unref(l->consumers[i]);
	/* The main thread holds it too: thousands of pages are given back
	 * there, not here. */
	snapshot_unref(l->snapshot);
	signal_fd(l->gateway->reap_fd);
	free(l->consumers);
	free(l->turns);
	free(l->metrics);
	free(l);
}

/* What plugins need before the first request of a snapshot. */
static void
prepare(struct loop *l, const struct snapshot *s)
{
	for (size_t i = 0; i < s->n_uses; i++) {
		const struct plugin_use *use = s->uses[i];

		if (use->plugin != NULL && use->plugin->prepare != NULL)
			use->plugin->prepare(l, use);
	}
}

/* ---- inbox
 * -------------------------------------------------------------------- */

static void
drained(void *arg)
{
	struct loop *l = arg;

	event_base_loopbreak(l->base);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct snapshot *next;
	uint64_t count;
	struct kb_tls_server *tls;
	int64_t drain_ms;
	bool drain;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	pthread_mutex_lock(&l->lock);
	next = l->next;
	l->next = NULL;
	tls = l->next_tls;
	l->next_tls = NULL;
	drain = l->drain;
	drain_ms = l->drain_ms;
	if (drain)
		kb_server_drain_idle(l->server, l->drain_idle_ms);
	l->drain = false;
	pthread_mutex_unlock(&l->lock);
	if (next != NULL) {
		struct local *old = l->local;

		prepare(l, next);
		l->local = local_new(l->gateway, next);
		local_unref(old);
		balancer_turn(l);
	}
	if (tls != NULL)
		kb_server_set_tls(l->server, tls);
	kb_tls_server_unref(tls);
	if (drain)
		kb_server_drain(l->server, drain_ms, drained, l);
}

void
loops_publish(struct gateway *g, struct snapshot *s)
{
	for (size_t i = 0; i < g->n_loops; i++) {
		struct loop *l = &g->loops[i];

		pthread_mutex_lock(&l->lock);
		snapshot_unref(l->next);
		l->next = snapshot_ref(s);
		kb_tls_server_unref(l->next_tls);
		l->next_tls = g->tls ? kb_tls_server_ref(g->tls) : NULL;
		pthread_mutex_unlock(&l->lock);
		signal_fd(l->wake_fd);
	}
}

void
loops_drain(struct gateway *g, int64_t ms, int64_t idle_ms)
{
	for (size_t i = 0; i < g->n_loops; i++) {
		struct loop *l = &g->loops[i];

		pthread_mutex_lock(&l->lock);
		l->drain = true;
		l->drain_ms = ms;
		l->drain_idle_ms = idle_ms;
		pthread_mutex_unlock(&l->lock);
		signal_fd(l->wake_fd);
	}
}

bool
loops_drained(const struct gateway *g)
{
	for (size_t i = 0; i < g->n_loops; i++)
		if (!atomic_load(&g->loops[i].drained))
			return false;
	return true;
}

/* ---- memory of plugins
 * ------------------------------------------------------------ */

void *
loop_slot(struct loop *l, const struct plugin *plugin,
    void *(*make)(struct loop *l), void (*drop)(void *p))
{
	size_t i = 0;

	while (i < LOOP_SLOTS && l->slots[i].plugin != NULL &&
	    l->slots[i].plugin != plugin)
		i++;
	assert(i < LOOP_SLOTS);
	if (l->slots[i].plugin == NULL)
		l->slots[i] = (struct loop_plugin_slot) {
			.plugin = plugin,
			.p = make(l),
			.drop = drop,
		};
	return l->slots[i].p;
}

bool
loop_ask(struct loop *l, struct kb_task *t)
{
	if (l->calls == NULL)
		l->calls = kb_pool_new(l->base, CALL_THREADS, CALL_QUEUE);
	return kb_pool_submit(l->calls, t);
}

/* ---- life of a loop
 * ------------------------------------------------------------------ */

static void *
run(void *arg)
{
	struct loop *l = arg;
	char name[16];

	/* As operators see it in top and perf. */
	snprintf(name, sizeof(name), "loop-%u", l->index);
	(void)pthread_setname_np(pthread_self(), name);
	kb_metrics_thread();
	event_base_dispatch(l->base);
	kb_metrics_thread_end();
	atomic_store(&l->drained, true);
	return NULL;
}

static struct event_base *
base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (config == NULL)
		return NULL;
	/* Precise timers would cost a timerfd call on every turn. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static bool
loop_open(struct gateway *g, struct loop *l, const char **why)
{
	struct kb_server_conf conf = {
		.ops = &exchange_ops,
		.arg = l,
		.on_fail = policy_behind_tls(g) ? policy_of_engine_tls
						: policy_of_engine,
		.on_fail_tls = policy_of_engine_tls,
	};

	l->gateway = g;
	l->retry_credit = RETRY_CREDIT;
	pthread_mutex_init(&l->lock, NULL);
	kb_buf_init(&l->head, 128 * 1024);
	kb_buf_init(&l->lines, 256 * 1024);
	l->base = base_new();
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->base == NULL || l->wake_fd < 0) {
		*why = "cannot make an event loop";
		return false;
	}
	l->wake = event_new(
	    l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
	event_add(l->wake, NULL);
	conf.base = l->base;
	l->server = kb_server_new(&conf);
	l->client = kb_client_new(&(struct kb_client_conf) { .base = l->base });
	l->pool = kb_pool_new(l->base, VERIFY_THREADS, VERIFY_QUEUE);
	l->local = local_new(g, snapshot_ref(g->snapshot));
	revocations_start(l);
	prepare(l, g->snapshot);
	return true;
}

static bool
loop_listen(struct gateway *g, struct loop *l, const char **why)
{
	struct listen_at at = { g->common->listen, g->port, l->index,
		g->n_loops };
	int fds[SOCKETS_MAX];
	size_t n = sockets_take(g->sockets, SOCKET_HTTP, &at, fds, why);

	if (n == 0)
		return false;
	g->port = kb_listen_port(fds[0]);
	for (size_t i = 0; i < n; i++)
		kb_server_listen(l->server, fds[i]);
	if (g->tls == NULL)
		return true;
	at.address = g->tls_address;
	at.port = g->tls_port;
	n = sockets_take(g->sockets, SOCKET_HTTPS, &at, fds, why);
	if (n == 0)
		return false;
	g->tls_port = kb_listen_port(fds[0]);
	for (size_t i = 0; i < n; i++)
		kb_server_listen_tls(l->server, fds[i], g->tls);
	return true;
}

static void
free_exchanges(struct loop *l)
{
	while (l->free != NULL) {
		struct exchange *x = l->free;

		l->free = x->next_free;
		exchange_free(x);
	}
}

static void
loop_close(struct loop *l)
{
	if (l->base == NULL)
		return;
	/* Exchanges first: they hold the rest. */
	kb_server_free(l->server);
	loop_counters_free(l);
	kb_pool_free(l->pool);
	if (l->calls)
		kb_pool_free(l->calls);
	sessions_stop(l);
	revocations_stop(l);
	userinfo_stop(l);
	park_stop(l);
	loop_redis_free(l);
	for (size_t i = 0; i < LOOP_SLOTS; i++)
		if (l->slots[i].plugin)
			l->slots[i].drop(l->slots[i].p);
	for (size_t i = 0; i < VERIFIERS_MAX; i++)
		if (l->tokens[i])
			kb_token_cache_free(l->tokens[i]);
	if (l->consumer_tokens)
		kb_token_cache_free(l->consumer_tokens);
	free_exchanges(l);
	for (size_t i = 0; i < l->n_origins; i++)
		origin_sets_free(l->origins[i]);
	free(l->origins);
	kb_client_free(l->client);
	local_unref(l->local);
	snapshot_unref(l->next);
	kb_tls_server_unref(l->next_tls);
	kb_buf_free(&l->head);
	kb_buf_free(&l->lines);
	event_free(l->wake);
	close(l->wake_fd);
	event_base_free(l->base);
	pthread_mutex_destroy(&l->lock);
}

bool
loops_start(struct gateway *g, const char **why)
{
	g->n_loops = (size_t)g->common->workers;
	g->loops = calloc(g->n_loops, sizeof(*g->loops));
	if (g->loops == NULL)
		abort();
	for (size_t i = 0; i < g->n_loops; i++) {
		g->loops[i].index = (unsigned)i;
		if (!loop_open(g, &g->loops[i], why) ||
		    !loop_listen(g, &g->loops[i], why)) {
			g->n_loops = i + 1;
			for (size_t j = 0; j <= i; j++)
				loop_close(&g->loops[j]);
			free(g->loops);
			g->n_loops = 0;
			return false;
		}
	}
	/* Only now, so that no request is lost between two sockets. */
	for (size_t i = 0; i < g->n_loops; i++)
		if (pthread_create(
			&g->loops[i].thread, NULL, run, &g->loops[i]) != 0)
			kb_fatal("cannot start a thread");
	return true;
}

void
loops_stats(const struct gateway *g, struct kb_server_stats *sum)
{
	struct kb_server_stats one;

	memset(sum, 0, sizeof(*sum));
	for (size_t i = 0; i < g->n_loops; i++) {
		kb_server_stats(g->loops[i].server, &one);
		sum->accepted += one.accepted;
		sum->requests += one.requests;
		sum->refused += one.refused;
		sum->handshakes += one.handshakes;
		sum->handshakes_failed += one.handshakes_failed;
		sum->connections += one.connections;
		sum->active += one.active;
	}
}

void
loops_join(struct gateway *g)
{
	for (size_t i = 0; i < g->n_loops; i++) {
		pthread_join(g->loops[i].thread, NULL);
		loop_close(&g->loops[i]);
	}
	free(g->loops);
	g->n_loops = 0;
}
