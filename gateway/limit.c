/*
 * What the plugins that limit share, see limit.h.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "inside.h"

const char *const limit_by_names[] = { "consumer", "credential", "ip",
	"service", "header", "path", "consumer-group", NULL };

/* ---- loading ---------------------------------------------------------------
 */

/* The block "redis", into the same members as the shorthands. */
#define IN_REDIS(k, m, t, n, ...)                                              \
	{                                                                      \
		.kind = (k), .name = (n),                                      \
		.offset = KB_OFFSET_OF(struct limit_conf, m, t), __VA_ARGS__   \
	}

static const struct field redis_fields[] = {
	IN_REDIS(FIELD_STR, redis_host, const char *, "host", .empty = true),
	IN_REDIS(
	    FIELD_INT, redis_port, int64_t, "port", .min = 1, .max = 65535),
	IN_REDIS(
	    FIELD_STR, redis_username, const char *, "username", .empty = true),
	IN_REDIS(
	    FIELD_STR, redis_password, const char *, "password", .empty = true),
	IN_REDIS(FIELD_INT, redis_database, int64_t, "database", .min = 0,
	    .max = 9999),
	IN_REDIS(FIELD_INT, redis_timeout, int64_t, "timeout", .min = 1,
	    .max = 2147483646),
	IN_REDIS(FIELD_INT, redis_timeout, int64_t, "read_timeout", .min = 1,
	    .max = 2147483646),
	CONF_SKIP("connect_timeout"),
	CONF_SKIP("send_timeout"),
	CONF_SKIP("keepalive_pool_size"),
	CONF_SKIP("keepalive_backlog"),
	IN_REDIS(FIELD_BOOL, redis_ssl, bool, "ssl"),
	IN_REDIS(FIELD_BOOL, redis_ssl_verify, bool, "ssl_verify"),
	IN_REDIS(FIELD_STR, redis_server_name, const char *, "server_name",
	    .empty = true),
	CONF_LATER("sentinel_master", "Redis Sentinel"),
	CONF_LATER("sentinel_nodes", "Redis Sentinel"),
	CONF_LATER("sentinel_role", "Redis Sentinel"),
	CONF_LATER("sentinel_username", "Redis Sentinel"),
	CONF_LATER("sentinel_password", "Redis Sentinel"),
	CONF_LATER("sentinel_addresses", "Redis Sentinel"),
	CONF_LATER("cluster_nodes", "Redis Cluster"),
	CONF_LATER("cluster_addresses", "Redis Cluster"),
	CONF_SKIP("cluster_max_redirections"),
	CONF_SKIP("connection_is_proxied"),
	CONF_END,
};

static const char *
unless_empty(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* Seconds with a fraction to milliseconds; false: it is none. */
static bool
to_ms(const char *text, int64_t *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= 60))
		return false;
	*ms = (int64_t)(seconds * 1000);
	return true;
}

/* False: counts are never exchanged. */
static bool
load_rate(struct problems *p, unsigned line, const char *plugin,
    const struct limit_conf *c, int64_t *sync_ms)
{
	*sync_ms = 0;
	if (c->sync_rate == NULL)
		return true;
	if (kb_str_eq(c->sync_rate, "-1")) {
		/* Kong's rate-limiting: with every request. */
		if (kb_str_eq(plugin, "rate-limiting"))
			return true;
		return false;
	}
	if (!to_ms(c->sync_rate, sync_ms) || (*sync_ms != 0 && *sync_ms < 20)) {
		problem(p, line,
		    "plugin %s: sync_rate must be -1, 0, or 0.02 to 60 "
		    "seconds",
		    plugin);
		return true;
	}
	if (*sync_ms == 0) {
		*sync_ms = 20;
		notice(p, line,
		    "plugin %s: sync_rate 0: counts are exchanged every 20 "
		    "ms; no request waits for Redis",
		    plugin);
	}
	return true;
}

static void
load_sharing(struct problems *p, const struct plugin_use *use,
    struct limit_conf *c, enum limit_sharing sharing)
{
	const char *plugin = use->plugin->name;
	unsigned line = use->config ? use->config->line : use->line;
	struct counters_conf conf = {
		.redis = {
			.host = unless_empty(c->redis_host),
			.port = c->redis_port,
			.username = unless_empty(c->redis_username),
			.password = unless_empty(c->redis_password),
			.database = c->redis_database,
			.timeout_ms = c->redis_timeout,
		},
	};

	conf.shared = sharing >= LIMIT_CLUSTER ||
	    (sharing == LIMIT_UNSAID && conf.redis.host != NULL);
	conf.shared &= load_rate(p, line, plugin, c, &conf.sync_ms);
	if (conf.redis.host == NULL)
		conf.redis = (struct redis_conf) { .host = NULL };
	if (c->redis_ssl)
		problem(p, line,
		    "plugin %s: redis_ssl is not implemented: Redis is spoken "
		    "to in plain, on a private network or through a tunnel",
		    plugin);
	c->counters = counters_get(&conf);
	if (c->counters == NULL)
		problem(p, line,
		    "plugin %s: too many different Redis servers or sync_rates",
		    plugin);
}

static void
load_keys(
    struct problems *p, const struct plugin_use *use, struct limit_conf *c)
{
	const char *plugin = use->plugin->name;
	unsigned line = use->config ? use->config->line : use->line;

	for (size_t i = 0; i < c->n_by; i++) {
		if (c->by[i] == LIMIT_HEADER && c->header_name == NULL)
			problem(p, line,
			    "plugin %s: to count by header needs header_name",
			    plugin);
		else if (c->by[i] == LIMIT_HEADER)
			notice(p, line,
			    "plugin %s: counted by header: a client chooses "
			    "by itself which limit it uses up",
			    plugin);
		if (c->by[i] == LIMIT_PATH &&
		    (c->path == NULL || c->path[0] != '/'))
			problem(p, line,
			    "plugin %s: to count by path needs a path that "
			    "begins with '/'",
			    plugin);
	}
}

/* FNV-1a: the same in every replica. */
static uint64_t
seed_of(const char *text)
{
	uint64_t seed = 14695981039346656037ULL;

	for (; *text; text++)
		seed = (seed ^ (unsigned char)*text) * 1099511628211ULL;
	return seed;
}

void
limit_load(struct problems *p, const struct plugin_use *use,
    struct limit_conf *c, enum limit_sharing sharing)
{
	if (c->redis != NULL && !kb_yaml_is_null(c->redis))
		fields_read(p, c->redis, redis_fields, c, "redis");
	c->seed = c->namespace ? seed_of(c->namespace) : use->id;
	load_keys(p, use, c);
	load_sharing(p, use, c, sharing);
}

void
limit_prepare(struct loop *l, const struct limit_conf *c)
{
	if (c->counters != NULL)
		counters_use(c->counters, l);
}

/* ---- who is counted --------------------------------------------------------
 */

enum { TEXT_MAX = 72 };

/* Kind, length, text; of a long one its hash. */
static void
key_add(struct limit_key *key, char kind, const char *text, size_t len)
{
	char *at = key->bytes + key->len;

	at[0] = kind;
	if (len <= TEXT_MAX) {
		at[1] = (char)len;
		memcpy(at + 2, text, len);
	} else {
		at[1] = TEXT_MAX + 1;
		kb_sha256(text, len, (unsigned char *)at + 2);
		len = KB_SHA256_SIZE;
	}
	key->len += 2 + len;
}

/* An IPv6 user has a /64, so that is what is counted. */
static void
key_address(struct limit_key *key, const char *ip)
{
	struct in6_addr six;

	if (strchr(ip, ':') && inet_pton(AF_INET6, ip, &six) == 1)
		key_add(key, '6', (const char *)six.s6_addr, 8);
	else
		key_add(key, '4', ip, strlen(ip));
}

static bool
key_text(struct limit_key *key, char kind, const char *text)
{
	if (text == NULL)
		return false;
	key_add(key, kind, text, strlen(text));
	return true;
}

/* Who has proved to be somebody: the consumer, else the token's subject. */
static bool
key_caller(struct limit_key *key, const struct exchange *x, bool credential)
{
	const struct consumer *c = exchange_consumer(x);
	const struct kb_identity *id = exchange_identity(x);

	if (exchange_is_anonymous(x))
		return false;
	if (credential && key_text(key, 'k', exchange_credential(x)))
		return true;
	if (c != NULL)
		return key_text(key, 'c', c->id);
	return id != NULL && key_text(key, 'u', id->value[KB_ID_USER]);
}

static bool
key_group(struct limit_key *key, const struct exchange *x)
{
	const struct consumer *c = exchange_consumer(x);

	return c != NULL && !exchange_is_anonymous(x) && c->n_member_of > 0 &&
	    key_text(key, 'g', c->member_of[0]->id);
}

static bool
key_header(struct limit_key *key, const struct exchange *x, const char *name)
{
	struct kb_slice value = exchange_header(x, name);

	if (value.len == 0)
		return false;
	key_add(key, 'h', value.ptr, value.len);
	return true;
}

static bool
key_part(struct limit_key *key, const struct exchange *x,
    const struct limit_conf *c, enum limit_by by)
{
	switch (by) {
	case LIMIT_CONSUMER: return key_caller(key, x, false);
	case LIMIT_CREDENTIAL: return key_caller(key, x, true);
	case LIMIT_SERVICE:
		return key_text(key, 's', exchange_route(x)->service->name);
	case LIMIT_HEADER: return key_header(key, x, c->header_name);
	case LIMIT_PATH:
		return kb_slice_eq(exchange_path(x), c->path) &&
		    key_text(key, 'p', "");
	case LIMIT_GROUP: return key_group(key, x) || key_caller(key, x, false);
	case LIMIT_IP: break;
	}
	return false;
}

void
limit_key(struct exchange *x, const struct limit_conf *c, struct limit_key *out)
{
	memcpy(out->bytes, &c->seed, sizeof(c->seed));
	out->len = sizeof(c->seed);
	for (size_t i = 0; i < c->n_by; i++)
		if (!key_part(out, x, c, c->by[i]))
			key_address(out, exchange_client_ip(x));
}

/* ---- counting --------------------------------------------------------------
 */

struct taken {
	struct kb_window_verdict v[LIMIT_RULES];
	size_t tightest; /* index */
	bool over, alone;
};

/* By all of the rules, or by none. */
static void
take(struct kb_window *w, struct kb_slice key, const struct limit_rules *r,
    struct taken *t)
{
	for (size_t i = 0; i < r->n; i++) {
		kb_window_take(w, key, &r->rules[i], &t->v[i]);
		t->over |= t->v[i].over;
		t->alone |= t->v[i].alone;
	}
	for (size_t i = 0; t->over && i < r->n; i++) {
		if (t->v[i].over)
			continue;
		kb_window_give(w, key, &r->rules[i]);
		t->v[i].remaining++;
	}
	/* What lets pass last; else what is nearest, the longer of two. */
	for (size_t i = 1; i < r->n; i++) {
		const struct kb_window_verdict *v = &t->v[i];
		const struct kb_window_verdict *best = &t->v[t->tightest];

		if (t->over ? v->wait_s >= best->wait_s && v->over
			    : v->remaining <= best->remaining)
			t->tightest = i;
	}
}

static void
show_window(
    struct exchange *x, const char *name, const struct kb_window_verdict *v)
{
	char line[64];

	snprintf(line, sizeof(line), "X-RateLimit-Limit-%s", name);
	exchange_add_response_number(x, line, v->limit);
	snprintf(line, sizeof(line), "X-RateLimit-Remaining-%s", name);
	exchange_add_response_number(x, line, v->remaining);
}

static void
show(struct exchange *x, const struct limit_rules *r, const struct taken *t)
{
	const struct kb_window_verdict *v = &t->v[t->tightest];

	for (size_t i = 0; r->names != NULL && i < r->n; i++)
		show_window(x, r->names[i], &t->v[i]);
	exchange_add_response_number(x, "RateLimit-Limit", v->limit);
	exchange_add_response_number(x, "RateLimit-Remaining", v->remaining);
	exchange_add_response_number(x, "RateLimit-Reset", v->reset_in);
	exchange_add_response_number(x, "X-RateLimit-Limit", v->limit);
	exchange_add_response_number(x, "X-RateLimit-Remaining", v->remaining);
	exchange_add_response_number(x, "X-RateLimit-Reset", v->reset_s);
}

static void
refuse(struct exchange *x, const struct limit_conf *c, int64_t wait_s)
{
	const char *id = exchange_request_id(x);

	if (c->retry_after_jitter_max > 0)
		wait_s += (int64_t)(kb_hash(id, strlen(id)) %
		    ((uint64_t)c->retry_after_jitter_max + 1));
	exchange_add_response_number(x, "Retry-After", wait_s);
	exchange_count_limited(x);
	exchange_refuse(x, (int)c->error_code, c->error_message);
}

void
limit_take(struct exchange *x, const struct limit_conf *c,
    const struct limit_key *key, const struct limit_rules *r)
{
	struct kb_window *w = counters_window(c->counters);
	const struct kb_slice bytes = { key->bytes, key->len };
	struct taken t = { .tightest = 0 };

	take(w, bytes, r, &t);
	if (t.alone && !c->fault_tolerant) {
		for (size_t i = 0; !t.over && i < r->n; i++)
			kb_window_give(w, bytes, &r->rules[i]);
		exchange_fail(x, KB_UNAVAILABLE, NULL);
		return;
	}
	if (!c->hide_client_headers)
		show(x, r, &t);
	if (t.over)
		refuse(x, c, t.v[t.tightest].wait_s);
}
