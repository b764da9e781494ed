/*
 * rate-limiting-advanced: at most so many requests in a sliding window.
 * identifier jwt_claim_plan: the caller's plan picks one limit, counted for
 * each subject; consumer and ip: all limits apply. Counted in this process;
 * the bucket never comes from what a client may choose.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

enum { ADMIN_BUCKET = -1, LIMITS_MAX = 8 };

struct limits {
	struct strs claim_values;
	struct ints limit, window_size;
	const char *identifier, *namespace, *claim_default;
	const char *error_message;
	int window_type, strategy;
	int64_t error_code;
	bool hide_client_headers, disable_penalty, fault_tolerant;
	/* made by load */
	bool by_plan, by_ip;
	uint64_t seed;
	int bucket[KB_PLAN_ENTERPRISE + 1]; /* of a plan */
	int admin_bucket;                   /* -1: none */
};

static const char *const window_types[] = { "sliding", "fixed", NULL };
static const char *const strategies[] = { "local", "redis", NULL };

static const struct field fields[] = {
	CONF_STR(struct limits, identifier),
	CONF_INTS(struct limits, limit, .required = true, .min = 1,
	    .max = 1000000000),
	CONF_INTS(struct limits, window_size, .required = true, .min = 1,
	    .max = 31536000),
	CONF_ENUM(struct limits, window_type, .choices = window_types),
	CONF_ENUM(struct limits, strategy, .choices = strategies),
	CONF_STRS(struct limits, claim_values),
	CONF_STR(struct limits, claim_default),
	CONF_STR(struct limits, namespace),
	CONF_BOOL(struct limits, hide_client_headers),
	CONF_BOOL(struct limits, disable_penalty),
	CONF_BOOL(struct limits, fault_tolerant),
	CONF_INT(struct limits, error_code, .min = 429, .max = 429),
	CONF_STR(struct limits, error_message),
	CONF_NOTE("sync_rate", "counted in this process"),
	CONF_NOTE("dictionary_name", "counted in this process"),
	CONF_NOTE("redis", "counted in this process"),
	CONF_NOTE("redis_host", "counted in this process"),
	CONF_NOTE("redis_port", "counted in this process"),
	CONF_NOTE("redis_password", "counted in this process"),
	CONF_NOTE("redis_timeout", "counted in this process"),
	CONF_LATER("header_name", "counting by header"),
	CONF_LATER("path", "counting by path"),
	CONF_LATER("compound_identifier", "compound identifiers"),
	CONF_LATER("consumer_groups", "consumer groups"),
	CONF_LATER("enforce_consumer_groups", "consumer groups"),
	CONF_LATER("retry_after_jitter_max", "jitter"),
	CONF_END,
};

static const struct limits defaults = {
	.identifier = "consumer",
	.claim_default = "free",
	.error_code = 429,
};

/* ---- loading ------------------------------------------------------------- */

static int
index_of(const struct strs *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (kb_str_eq(list->v[i], name))
			return (int)i;
	return -1;
}

static void
load_plan(struct problems *p, const struct plugin_use *use, struct limits *l)
{
	static const char *const usual[] = { "free", "pro", "enterprise",
		"admin" };
	int fallback;

	if (l->claim_values.n == 0)
		l->claim_values = (struct strs) {
			.v = usual,
			.n = l->limit.n < 4 ? l->limit.n : 4,
		};
	if (l->claim_values.n != l->limit.n) {
		problem(p, use->line,
		    "plugin rate-limiting-advanced: claim_values and limit "
		    "must have the same length");
		return;
	}
	for (size_t i = 1; i < l->window_size.n; i++)
		if (l->window_size.v[i] != l->window_size.v[0])
			problem(p, use->line,
			    "plugin rate-limiting-advanced: with "
			    "jwt_claim_plan "
			    "all window_size must be equal");
	fallback = index_of(&l->claim_values, l->claim_default);
	if (fallback < 0)
		fallback = 0;
	for (int plan = 0; plan <= KB_PLAN_ENTERPRISE; plan++) {
		l->bucket[plan] = index_of(
		    &l->claim_values, kb_plan_name((enum kb_plan)plan));
		if (l->bucket[plan] < 0)
			l->bucket[plan] = fallback;
	}
	l->admin_bucket = index_of(&l->claim_values, "admin");
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct limits *l = conf;

	l->admin_bucket = ADMIN_BUCKET;
	l->seed = l->namespace ? kb_hash(l->namespace, strlen(l->namespace))
			       : use->id;
	if (l->limit.n != l->window_size.n || l->limit.n == 0 ||
	    l->limit.n > LIMITS_MAX) {
		problem(p, use->line,
		    "plugin rate-limiting-advanced: limit and window_size must "
		    "have the same length, 1 to %d",
		    LIMITS_MAX);
		return;
	}
	if (l->window_type == 1)
		problem(p, use->line,
		    "plugin rate-limiting-advanced: window_type fixed is not "
		    "implemented");
	if (l->strategy == 1)
		notice(p, use->line,
		    "plugin rate-limiting-advanced: strategy redis: counted in "
		    "this process until then");
	l->by_plan = kb_str_eq(l->identifier, "jwt_claim_plan");
	l->by_ip = kb_str_eq(l->identifier, "ip");
	if (l->by_plan)
		load_plan(p, use, l);
	else if (!l->by_ip && !kb_str_eq(l->identifier, "consumer"))
		problem(p, use->line,
		    "plugin rate-limiting-advanced: identifier \"%s\" is not "
		    "one of: jwt_claim_plan, consumer, ip",
		    l->identifier);
}

/* ---- running ------------------------------------------------------------- */

/* An IPv6 user has a /64, so that is what is counted. */
static void
address_text(const char *ip, char out[INET6_ADDRSTRLEN])
{
	struct in6_addr six;

	if (inet_pton(AF_INET6, ip, &six) == 1) {
		memset(&six.s6_addr[8], 0, 8);
		inet_ntop(AF_INET6, &six, out, INET6_ADDRSTRLEN);
		return;
	}
	snprintf(out, INET6_ADDRSTRLEN, "%s", ip);
}

static uint64_t
subject_of(struct exchange *x, const struct limits *l)
{
	const struct kb_identity *id = l->by_ip ? NULL : exchange_identity(x);
	char address[INET6_ADDRSTRLEN];
	const char *text = address;
	struct {
		uint64_t seed;
		char kind;
		char text[160];
	} key = { .seed = l->seed, .kind = id ? 'u' : 'a' };
	size_t len;

	if (id != NULL)
		text = id->value[KB_ID_USER];
	else
		address_text(exchange_client_ip(x), address);
	len = strnlen(text, sizeof(key.text) - 1);
	memcpy(key.text, text, len);
	return kb_hash(&key, sizeof(key));
}

static size_t
bucket_of(struct exchange *x, const struct limits *l)
{
	const struct kb_identity *id = exchange_identity(x);
	const char *roles = id ? id->value[KB_ID_ROLES] : NULL;
	enum kb_plan plan = KB_PLAN_FREE;

	if (id == NULL)
		return (size_t)l->bucket[KB_PLAN_FREE];
	if (l->admin_bucket >= 0 && roles != NULL &&
	    (kb_roles_have(roles, "admin") ||
		kb_roles_have(roles, "kombisphere_admin")))
		return (size_t)l->admin_bucket;
	if (id->value[KB_ID_PLAN] == NULL ||
	    !kb_plan_of(id->value[KB_ID_PLAN], &plan))
		plan = KB_PLAN_FREE;
	return (size_t)l->bucket[plan];
}

static void
show(struct exchange *x, const struct limits *l, const struct counted *c)
{
	if (!l->hide_client_headers) {
		exchange_add_response_number(x, "X-RateLimit-Limit", c->limit);
		exchange_add_response_number(
		    x, "X-RateLimit-Remaining", c->remaining);
		exchange_add_response_number(
		    x, "X-RateLimit-Reset", c->reset_s);
	}
	if (c->over)
		exchange_add_response_number(x, "Retry-After", c->wait_s);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct limits *l = use->conf;
	uint64_t subject;
	size_t first = 0, last = l->limit.n;
	struct counted tightest = { .remaining = INT64_MAX }, c;

	if (exchange_is_preflight(x))
		return NEXT;
	subject = subject_of(x, l);
	if (l->by_plan) {
		first = bucket_of(x, l);
		last = first + 1;
	}
	for (size_t i = first; i < last; i++) {
		counter_take(subject, l->window_size.v[i], l->limit.v[i], &c);
		if (c.over ||
		    (!tightest.over && c.remaining < tightest.remaining))
			tightest = c;
		if (c.over)
			break;
	}
	show(x, l, &tightest);
	if (tightest.over) {
		exchange_count_limited(x);
		exchange_fail(x, KB_RATE_LIMITED, l->error_message);
	}
	return NEXT;
}

const struct plugin plugin_rate_limiting_advanced = {
	.name = "rate-limiting-advanced",
	.priority = 910,
	.fields = fields,
	.conf_size = sizeof(struct limits),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.help = "requests in a sliding window, by plan, caller or address",
};
