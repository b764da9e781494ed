/*
 * rate-limiting: so many requests a second, minute, … year, in windows that
 * are aligned to the calendar in UTC (kong.md 1.13). Counted in this process;
 * what is refused does not count.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "gateway.h"

enum period { SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, PERIODS };
enum limit_by { CONSUMER, CREDENTIAL, IP, SERVICE, HEADER, PATH };

struct conf {
	int64_t second, minute, hour, day, month, year;
	int limit_by, policy;
	const char *header_name, *path, *error_message;
	bool hide_client_headers, fault_tolerant;
	int64_t error_code;
	/* made by load */
	int64_t limit[PERIODS]; /* 0: none */
};

static const char *const period_names[PERIODS] = { "Second", "Minute", "Hour",
	"Day", "Month", "Year" };
static const char *const limit_bys[] = { "consumer", "credential", "ip",
	"service", "header", "path", NULL };
static const char *const policies[] = { "local", "cluster", "redis", NULL };

enum { MOST = 1000000000 };

static const struct field fields[] = {
	CONF_INT(struct conf, second, .min = 1, .max = MOST),
	CONF_INT(struct conf, minute, .min = 1, .max = MOST),
	CONF_INT(struct conf, hour, .min = 1, .max = MOST),
	CONF_INT(struct conf, day, .min = 1, .max = MOST),
	CONF_INT(struct conf, month, .min = 1, .max = MOST),
	CONF_INT(struct conf, year, .min = 1, .max = MOST),
	CONF_ENUM(struct conf, limit_by, .choices = limit_bys),
	CONF_ENUM(struct conf, policy, .choices = policies),
	CONF_STR(struct conf, header_name),
	CONF_STR(struct conf, path),
	CONF_BOOL(struct conf, hide_client_headers),
	CONF_BOOL(struct conf, fault_tolerant),
	CONF_INT(struct conf, error_code, .min = 400, .max = 599),
	CONF_STR(struct conf, error_message),
	CONF_NOTE("sync_rate", "counted in this process"),
	CONF_NOTE("redis", "counted in this process"),
	CONF_NOTE("redis_host", "counted in this process"),
	CONF_NOTE("redis_port", "counted in this process"),
	CONF_NOTE("redis_username", "counted in this process"),
	CONF_NOTE("redis_password", "counted in this process"),
	CONF_NOTE("redis_database", "counted in this process"),
	CONF_NOTE("redis_timeout", "counted in this process"),
	CONF_NOTE("redis_ssl", "counted in this process"),
	CONF_NOTE("redis_ssl_verify", "counted in this process"),
	CONF_NOTE("redis_server_name", "counted in this process"),
	CONF_END,
};

static const struct conf defaults = {
	.fault_tolerant = true,
	.error_code = 429,
	.error_message = "API rate limit exceeded",
};

/* ---- loading ------------------------------------------------------------- */

static void
check_limits(struct problems *p, unsigned line, const struct conf *c)
{
	int last = -1;

	for (int i = 0; i < PERIODS; i++) {
		if (c->limit[i] == 0)
			continue;
		if (last >= 0 && c->limit[i] < c->limit[last])
			problem(p, line,
			    "plugin rate-limiting: the limit of a %s (%lld) "
			    "must not be smaller than that of a %s (%lld)",
			    period_names[i], (long long)c->limit[i],
			    period_names[last], (long long)c->limit[last]);
		last = i;
	}
	if (last < 0)
		problem(p, line,
		    "plugin rate-limiting: one of second, minute, hour, day, "
		    "month, year is required");
}

static void
check_key(struct problems *p, unsigned line, const struct conf *c)
{
	if (c->limit_by == HEADER && c->header_name == NULL)
		problem(p, line,
		    "plugin rate-limiting: limit_by header needs header_name");
	else if (c->limit_by == HEADER)
		notice(p, line,
		    "plugin rate-limiting: limit_by header: a client chooses "
		    "by itself which limit it uses up");
	if (c->limit_by == PATH && (c->path == NULL || c->path[0] != '/'))
		problem(p, line,
		    "plugin rate-limiting: limit_by path needs a path that "
		    "begins with '/'");
	if (c->policy > 0)
		notice(p, line,
		    "plugin rate-limiting: policy %s: counted in this process",
		    policies[c->policy]);
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	unsigned line = use->config ? use->config->line : use->line;
	const int64_t limits[PERIODS] = { c->second, c->minute, c->hour, c->day,
		c->month, c->year };

	memcpy(c->limit, limits, sizeof(limits));
	check_limits(p, line, c);
	check_key(p, line, c);
}

static void
route(const struct plugin_use *use, struct route *r)
{
	(void)use;
	r->limited = true;
}

/* ---- who is counted ------------------------------------------------------ */

struct key {
	uint64_t use;
	char kind;
	char text[160];
};

static void
key_text(struct key *key, char kind, const char *text, size_t len)
{
	uint64_t hash[1];

	key->kind = kind;
	if (len < sizeof(key->text)) {
		memcpy(key->text, text, len);
		return;
	}
	hash[0] = kb_hash(text, len);
	memcpy(key->text, hash, sizeof(hash));
}

/* An IPv6 user has a /64, so that is what is counted. */
static void
key_address(struct key *key, const char *ip)
{
	struct in6_addr six;

	if (inet_pton(AF_INET6, ip, &six) == 1)
		key_text(key, '6', (const char *)six.s6_addr, 8);
	else
		key_text(key, '4', ip, strlen(ip));
}

static bool
key_caller(struct key *key, const struct exchange *x)
{
	const struct consumer *c = exchange_consumer(x);
	const struct kb_identity *id = exchange_identity(x);

	if (c != NULL)
		key_text(key, 'c', c->id, strlen(c->id));
	else if (id != NULL)
		key_text(key, 'u', id->value[KB_ID_USER],
		    strlen(id->value[KB_ID_USER]));
	return c != NULL || id != NULL;
}

static uint64_t
subject_of(
    struct exchange *x, const struct plugin_use *use, const struct conf *c)
{
	struct key key = { .use = use->id };
	struct kb_slice header = { NULL, 0 };
	bool done = false;

	if (c->limit_by == CONSUMER || c->limit_by == CREDENTIAL)
		done = !exchange_is_anonymous(x) && key_caller(&key, x);
	else if (c->limit_by == SERVICE) {
		const char *name = exchange_route(x)->service->name;

		key_text(&key, 's', name, strlen(name));
		done = true;
	} else if (c->limit_by == PATH) {
		done = kb_slice_eq(exchange_path(x), c->path);
		key.kind = 'p';
	} else if (c->limit_by == HEADER)
		header = exchange_header(x, c->header_name);
	if (header.len) {
		key_text(&key, 'h', header.ptr, header.len);
		done = true;
	}
	if (!done)
		key_address(&key, exchange_client_ip(x));
	return kb_hash(&key, sizeof(key));
}

/* ---- counting ------------------------------------------------------------ */

static int64_t
month_start(int64_t now_s, int months)
{
	time_t t = (time_t)now_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	tm = (struct tm) {
		.tm_year = tm.tm_year,
		.tm_mon = tm.tm_mon + months,
		.tm_mday = 1,
	};
	return timegm(&tm);
}

static int64_t
year_start(int64_t now_s, int years)
{
	time_t t = (time_t)now_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	tm = (struct tm) { .tm_year = tm.tm_year + years, .tm_mday = 1 };
	return timegm(&tm);
}

static void
window_of(enum period period, int64_t now_s, int64_t *begin, int64_t *end)
{
	static const int64_t lengths[] = { 1, 60, 3600, 86400 };

	if (period == MONTH) {
		*begin = month_start(now_s, 0);
		*end = month_start(now_s, 1);
	} else if (period == YEAR) {
		*begin = year_start(now_s, 0);
		*end = year_start(now_s, 1);
	} else {
		*begin = now_s - now_s % lengths[period];
		*end = *begin + lengths[period];
	}
}

/* Counts all periods or, when one is over, none. Which one is tightest. */
static int
take(const struct conf *c, uint64_t subject, struct counted got[PERIODS])
{
	int64_t now = kb_wall_s(), begin[PERIODS], end;
	int tightest = -1, over = -1;

	for (int i = 0; i < PERIODS; i++) {
		if (c->limit[i] == 0)
			continue;
		window_of((enum period)i, now, &begin[i], &end);
		counter_take_fixed(
		    subject + (uint64_t)i, begin[i], end, c->limit[i], &got[i]);
		if (got[i].over)
			over = i;
		if (tightest < 0 || got[i].remaining <= got[tightest].remaining)
			tightest = i;
	}
	for (int i = 0; over >= 0 && i < PERIODS; i++) {
		if (c->limit[i] == 0 || got[i].over)
			continue;
		counter_give_fixed(subject + (uint64_t)i, begin[i]);
		got[i].remaining++;
	}
	return over >= 0 ? over : tightest;
}

static void
show(struct exchange *x, const struct conf *c,
    const struct counted got[PERIODS], const struct counted *tightest)
{
	char name[48];

	for (int i = 0; i < PERIODS; i++) {
		if (c->limit[i] == 0)
			continue;
		snprintf(name, sizeof(name), "X-RateLimit-Limit-%s",
		    period_names[i]);
		exchange_add_response_number(x, name, got[i].limit);
		snprintf(name, sizeof(name), "X-RateLimit-Remaining-%s",
		    period_names[i]);
		exchange_add_response_number(x, name, got[i].remaining);
	}
	exchange_add_response_number(x, "RateLimit-Limit", tightest->limit);
	exchange_add_response_number(
	    x, "RateLimit-Remaining", tightest->remaining);
	exchange_add_response_number(x, "RateLimit-Reset", tightest->wait_s);
	exchange_add_response_number(x, "X-RateLimit-Limit", tightest->limit);
	exchange_add_response_number(
	    x, "X-RateLimit-Remaining", tightest->remaining);
	exchange_add_response_number(x, "X-RateLimit-Reset", tightest->reset_s);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	struct counted got[PERIODS] = { { 0 } };
	const struct counted *tightest;

	if (exchange_is_preflight(x))
		return NEXT;
	tightest = &got[take(c, subject_of(x, use, c), got)];
	if (!c->hide_client_headers)
		show(x, c, got, tightest);
	if (!tightest->over)
		return NEXT;
	exchange_add_response_number(x, "Retry-After", tightest->wait_s);
	exchange_count_limited(x);
	exchange_refuse(x, (int)c->error_code, c->error_message);
	return NEXT;
}

const struct plugin plugin_rate_limiting = {
	.name = "rate-limiting",
	.priority = 910,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.route = route,
	.access = access,
	.help = "requests a second, minute, …, by caller, address, service",
};
