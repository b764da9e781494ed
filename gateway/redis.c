/*
 * Redis servers that the options and the file name. Each loop has a client of
 * its own for each; operators see one server: one line when the first client
 * loses it, one when the last is back, one set of metrics.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/redis.h>
#include <kombi/str.h>

#include "inside.h"

enum { SERVERS_MAX = 8, PORT = 6379, COMMAND_MS = 100, COMMAND_MAX_MS = 2000 };

struct server {
	struct redis_conf conf; /* owned */
	char name[96];          /* "host:port/database", for logs and labels */
	struct redis_client *clients;
	unsigned n_down;
	bool told;
	struct kb_redis_stats gone; /* of clients that ended */
	struct kb_redis_stats seen; /* what the metrics have */
};

struct redis_client {
	struct server *server;
	struct kb_redis *redis;
	bool down;
	struct redis_client *next_of_loop;
	struct redis_client *next, **link; /* of the server */
};

static struct {
	pthread_mutex_t lock; /* covers all of it but the fixed members */
	struct server v[SERVERS_MAX];
	size_t n;
	bool told_full;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- metrics --------------------------------------------------------------
 */

static struct kb_metric up = {
	.kind = KB_GAUGE,
	.name = "kombi_redis_up",
	.help = "1: every loop's connection to this Redis answers",
	.labels = { "server" },
};

static struct kb_metric commands = {
	.kind = KB_COUNTER,
	.name = "kombi_redis_commands_total",
	.help = "Commands by what became of them",
	.labels = { "server", "result" },
};

static struct kb_metric opened = {
	.kind = KB_COUNTER,
	.name = "kombi_redis_breaker_opened_total",
	.help = "Times that Redis was given up after failures in a row",
	.labels = { "server" },
};

static struct kb_metric connects = {
	.kind = KB_COUNTER,
	.name = "kombi_redis_connections_total",
	.help = "Connections that came up",
	.labels = { "server" },
};

static void
add(struct kb_redis_stats *sum, const struct kb_redis_stats *s)
{
	sum->answers += s->answers;
	sum->timeouts += s->timeouts;
	sum->refused += s->refused;
	sum->not_sent += s->not_sent;
	sum->opened += s->opened;
	sum->connects += s->connects;
}

static void
count(
    struct kb_metric *m, const struct server *s, const char *result, uint64_t n)
{
	const char *const labels[KB_METRIC_LABELS] = { s->name, result };

	if (n > 0)
		kb_series_add(kb_metric_series(m, labels), (double)n);
}

static void
collect_server(struct server *s)
{
	const char *const labels[KB_METRIC_LABELS] = { s->name };
	struct kb_redis_stats now = s->gone, one;
	const struct kb_redis_stats *seen = &s->seen;
	bool all_up = s->clients != NULL;

	for (struct redis_client *c = s->clients; c != NULL; c = c->next) {
		kb_redis_stats(c->redis, &one);
		all_up &= one.up;
		add(&now, &one);
	}
	kb_series_set(kb_metric_series(&up, labels), all_up);
	count(&commands, s, "answered", now.answers - seen->answers);
	count(&commands, s, "timeout", now.timeouts - seen->timeouts);
	count(&commands, s, "refused", now.refused - seen->refused);
	count(&commands, s, "not_sent", now.not_sent - seen->not_sent);
	count(&opened, s, NULL, now.opened - seen->opened);
	count(&connects, s, NULL, now.connects - seen->connects);
	s->seen = now;
}

static void
collect(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&all.lock);
	for (size_t i = 0; i < all.n; i++)
		collect_server(&all.v[i]);
	pthread_mutex_unlock(&all.lock);
}

void
redis_register(void)
{
	struct kb_metric *metrics[] = { &up, &commands, &opened, &connects };

	for (size_t i = 0; i < KB_COUNT(metrics); i++)
		kb_metric_register(metrics[i]);
	kb_metrics_collector(collect, NULL);
}

/* ---- servers ---------------------------------------------------------------
 */

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool
redis_conf_same(const struct redis_conf *a, const struct redis_conf *b)
{
	return same_text(a->host, b->host) && a->port == b->port &&
	    a->database == b->database && same_text(a->username, b->username) &&
	    same_text(a->password, b->password);
}

static char *
copy(const char *text)
{
	char *p = text ? strdup(text) : NULL;

	if (text != NULL && p == NULL)
		abort();
	return p;
}

void
redis_conf_copy(struct redis_conf *to, const struct redis_conf *from)
{
	*to = *from;
	to->host = copy(from->host);
	to->username = copy(from->username);
	to->password = copy(from->password);
}

void
redis_conf_free(struct redis_conf *conf)
{
	char *password = (char *)(uintptr_t)conf->password;

	if (password != NULL)
		kb_wipe(password, strlen(password));
	free(password);
	free((char *)(uintptr_t)conf->host);
	free((char *)(uintptr_t)conf->username);
	*conf = (struct redis_conf) { .host = NULL };
}

/* `all.lock` is held. */
static struct server *
server_of(const struct redis_conf *conf)
{
	struct server *s = all.v;

	for (; s < &all.v[all.n]; s++)
		if (redis_conf_same(&s->conf, conf))
			return s;
	if (all.n == SERVERS_MAX) {
		if (!all.told_full)
			kb_error(NULL, "too many different redis servers",
			    KB_S("host", conf->host), KB_N("most", all.n));
		all.told_full = true;
		return NULL;
	}
	*s = (struct server) { .clients = NULL };
	redis_conf_copy(&s->conf, conf);
	snprintf(s->name, sizeof(s->name), "%s:%lld/%lld", conf->host,
	    (long long)conf->port, (long long)conf->database);
	all.n++;
	return s;
}

/* ---- clients ---------------------------------------------------------------
 */

static void
changed(void *arg, bool is_up, const char *why)
{
	struct redis_client *c = arg;
	struct server *s = c->server;

	pthread_mutex_lock(&all.lock);
	if (c->down == is_up)
		s->n_down += is_up ? -1U : 1U;
	c->down = !is_up;
	if (!is_up && !s->told)
		kb_warn(NULL, "redis is down", KB_S("server", s->name),
		    KB_S("reason", why));
	else if (is_up && s->told && s->n_down == 0)
		kb_info(NULL, "redis is back", KB_S("server", s->name));
	s->told = s->told ? s->n_down > 0 : !is_up;
	pthread_mutex_unlock(&all.lock);
}

static struct redis_client *
client_new(struct loop *l, struct server *s)
{
	struct redis_client *c = kb_xalloc(sizeof(*c));
	const struct redis_conf *conf = &s->conf;
	int64_t wait = conf->timeout_ms ? conf->timeout_ms : COMMAND_MS;
	struct kb_secret password = { 0 };

	if (conf->password != NULL)
		kb_secret_set(
		    &password, conf->password, strlen(conf->password));
	*c = (struct redis_client) { .server = s };
	/* May already tell that it is down, so without the lock. */
	c->redis = kb_redis_new(&(struct kb_redis_conf) {
	    .base = l->base,
	    .host = conf->host,
	    .port = (int)conf->port,
	    .user = conf->username,
	    .password = &password,
	    .database = (int)conf->database,
	    .command_ms = wait < COMMAND_MAX_MS ? wait : COMMAND_MAX_MS,
	    .changed = changed,
	    .arg = c,
	});
	kb_secret_free(&password);
	c->next_of_loop = l->redis;
	l->redis = c;
	pthread_mutex_lock(&all.lock);
	c->next = s->clients;
	c->link = &s->clients;
	if (c->next != NULL)
		c->next->link = &c->next;
	s->clients = c;
	pthread_mutex_unlock(&all.lock);
	return c;
}

/* What the options say, when the file does not. */
static struct redis_conf
resolved(const struct loop *l, const struct redis_conf *conf)
{
	const struct gateway_config *g = l->gateway->config;
	struct redis_conf r = { .host = NULL };
	size_t len;

	if (conf != NULL && conf->host != NULL) {
		r = *conf;
	} else {
		r.host = g->redis_host;
		r.port = g->redis_port;
		r.database = g->redis_database;
		r.username = g->redis_username;
		if (kb_secret_is_set(&g->redis_password))
			r.password = (const char *)kb_secret_reveal(
			    &g->redis_password, &len);
	}
	if (r.port == 0)
		r.port = PORT;
	return r;
}

struct kb_redis *
loop_redis(struct loop *l, const struct redis_conf *conf)
{
	struct redis_conf want = resolved(l, conf);
	struct redis_client *c = l->redis;
	struct server *s;

	if (want.host == NULL)
		return NULL;
	while (c != NULL && !redis_conf_same(&c->server->conf, &want))
		c = c->next_of_loop;
	if (c != NULL)
		return c->redis;
	pthread_mutex_lock(&all.lock);
	s = server_of(&want);
	pthread_mutex_unlock(&all.lock);
	return s ? client_new(l, s)->redis : NULL;
}

void
loop_redis_free(struct loop *l)
{
	while (l->redis != NULL) {
		struct redis_client *c = l->redis;
		struct kb_redis_stats stats;

		l->redis = c->next_of_loop;
		pthread_mutex_lock(&all.lock);
		kb_redis_stats(c->redis, &stats);
		add(&c->server->gone, &stats);
		c->server->n_down -= c->down;
		*c->link = c->next;
		if (c->next != NULL)
			c->next->link = c->link;
		pthread_mutex_unlock(&all.lock);
		kb_redis_free(c->redis);
		free(c);
	}
}

void
redis_forget(void)
{
	for (size_t i = 0; i < all.n; i++)
		redis_conf_free(&all.v[i].conf);
	all.n = 0;
	all.told_full = false;
}
