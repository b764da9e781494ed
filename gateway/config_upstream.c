/*
 * Upstreams of the file: targets, how they are chosen, and what makes them
 * healthy and unhealthy, with Kong's defaults.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

enum { SECONDS_MAX = 65535, RETURN_S = 30 };

/* ---- seconds, statuses
 * ------------------------------------------------------- */

/* Kong takes fractions here. */
static void
read_seconds(struct problems *p, const struct kb_yaml *y, const char *what,
    int64_t *out_ms)
{
	char *end = NULL;
	double s = 0;

	if (y == NULL || kb_yaml_is_null(y))
		return;
	if (y->kind == KB_YAML_SCALAR && y->text[0] >= '0' && y->text[0] <= '9')
		s = strtod(y->text, &end);
	if (end == NULL || *end || !(s >= 0 && s <= SECONDS_MAX))
		problem(p, y->line, "%s must be seconds, 0 to %d", what,
		    SECONDS_MAX);
	else
		*out_ms = (int64_t)(s * 1000);
}

static void
add_status(struct status_set *set, int64_t status)
{
	set->bits[status / 64] |= 1ULL << (status % 64);
}

static void
set_statuses(struct status_set *set, const struct ints *list)
{
	for (size_t i = 0; i < list->n; i++)
		add_status(set, list->v[i]);
}

/* Kong's lists, but for 429: that a caller has asked too often says nothing
 * about the target, and must not take it from all others. */
static const int64_t active_healthy[] = { 200, 302 };
static const int64_t active_unhealthy[] = { 404, 500, 501, 502, 503, 504, 505 };
static const int64_t passive_healthy[] = { 200, 201, 202, 203, 204, 205, 206,
	207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308 };
static const int64_t passive_unhealthy[] = { 500, 503 };

/* ---- healthchecks
 * ------------------------------------------------------------- */

struct state_reading {
	const struct kb_yaml *interval, *recover_after;
	struct ints http_statuses;
	int64_t successes, tcp_failures, timeouts, http_failures;
};

struct side_reading {
	const struct kb_yaml *healthy, *unhealthy, *headers, *timeout,
	    *interval;
	int type;
	const char *http_path, *https_sni;
	int64_t concurrency;
	bool https_verify_certificate;
};

struct health_reading {
	const struct kb_yaml *active, *passive;
	int64_t threshold;
};

static const char *const types[] = { "http", "tcp", "https", NULL };

static const struct field healthy_fields[] = {
	CONF_NODE(struct state_reading, interval, .type = "number"),
	CONF_INTS(struct state_reading, http_statuses, .min = 100, .max = 999),
	CONF_INT(struct state_reading, successes, .max = 255),
	CONF_END,
};

static const struct field unhealthy_fields[] = {
	CONF_NODE(struct state_reading, interval, .type = "number"),
	CONF_NODE(struct state_reading, recover_after, .type = "number"),
	CONF_INTS(struct state_reading, http_statuses, .min = 100, .max = 999),
	CONF_INT(struct state_reading, tcp_failures, .max = 255),
	CONF_INT(struct state_reading, timeouts, .max = 255),
	CONF_INT(struct state_reading, http_failures, .max = 255),
	CONF_END,
};

#define STATUSES(list)                                                         \
	{                                                                      \
		.http_statuses = {.v = (list), .n = KB_COUNT(list) }           \
	}
static const struct state_reading active_good = STATUSES(active_healthy);
static const struct state_reading active_bad = STATUSES(active_unhealthy);
static const struct state_reading passive_good = STATUSES(passive_healthy);
static const struct state_reading passive_bad = STATUSES(passive_unhealthy);

static const struct schema active_good_schema = { healthy_fields,
	&active_good };
static const struct schema active_bad_schema = { unhealthy_fields,
	&active_bad };
static const struct schema passive_good_schema = { healthy_fields,
	&passive_good };
static const struct schema passive_bad_schema = { unhealthy_fields,
	&passive_bad };

static const struct field active_fields[] = {
	CONF_ENUM(struct side_reading, type, .choices = types),
	CONF_STR(struct side_reading, http_path),
	CONF_NODE(struct side_reading, timeout, .type = "number"),
	CONF_INT(struct side_reading, concurrency, .min = 1, .max = 2147483648),
	CONF_NODE(struct side_reading, interval, .type = "number"),
	CONF_NODE(struct side_reading, healthy, .record = &active_good_schema),
	CONF_NODE(struct side_reading, unhealthy, .record = &active_bad_schema),
	CONF_NODE(struct side_reading, headers),
	CONF_STR(struct side_reading, https_sni),
	CONF_BOOL(struct side_reading, https_verify_certificate),
	CONF_END,
};

static const struct side_reading active_defaults = {
	.concurrency = 10,
	.http_path = "/",
	.https_verify_certificate = true,
};

static const struct field passive_fields[] = {
	CONF_ENUM(struct side_reading, type, .choices = types),
	CONF_NODE(struct side_reading, healthy, .record = &passive_good_schema),
	CONF_NODE(
	    struct side_reading, unhealthy, .record = &passive_bad_schema),
	CONF_END,
};

static const struct schema active_schema = { active_fields, &active_defaults };
static const struct schema passive_schema = { passive_fields, NULL };

static const struct field health_fields[] = {
	CONF_NODE(struct health_reading, active, .record = &active_schema),
	CONF_NODE(struct health_reading, passive, .record = &passive_schema),
	CONF_INT(struct health_reading, threshold, .max = 100),
	CONF_END,
};

static const struct health_reading health_defaults = { .threshold = -1 };

static const struct schema health_schema = { health_fields, &health_defaults };

static void
read_states(struct problems *p, const struct side_reading *r,
    struct state_reading *healthy, struct state_reading *unhealthy)
{
	if (r->healthy)
		fields_read(p, r->healthy, healthy_fields, healthy, "healthy");
	if (r->unhealthy)
		fields_read(
		    p, r->unhealthy, unhealthy_fields, unhealthy, "unhealthy");
}

static void
set_limits(struct limits *l, const struct state_reading *healthy,
    const struct state_reading *unhealthy)
{
	l->successes = (unsigned char)healthy->successes;
	l->http = (unsigned char)unhealthy->http_failures;
	l->tcp = (unsigned char)unhealthy->tcp_failures;
	l->timeouts = (unsigned char)unhealthy->timeouts;
}

static bool
header_ok(const struct kb_yaml *name, const struct kb_yaml *value)
{
	for (const char *c = name->key; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_",
			*c))
			return false;
	return value->kind == KB_YAML_SCALAR && name->key[0] &&
	    line_name_is_free(name->key) &&
	    !kb_has_control(value->text, strlen(value->text));
}

/* {Name: value} or {Name: [value, ...]} as lines. */
static const char *
read_headers(struct problems *p, const struct kb_yaml *y)
{
	const char *lines = "";

	if (y == NULL || y->kind != KB_YAML_MAPPING)
		return lines;
	for (const struct kb_yaml *h = y->first; h != NULL; h = h->next) {
		bool many = h->kind == KB_YAML_SEQUENCE;

		for (const struct kb_yaml *v = many ? h->first : h; v != NULL;
		     v = many ? v->next : NULL) {
			if (!header_ok(h, v))
				problem(p, h->key_line,
				    "healthchecks: header \"%s\" may not be "
				    "set, or its value is not text",
				    h->key);
			else
				lines = kb_sprintf(problems_arena(p),
				    "%s%s: %s\r\n", lines, h->key, v->text);
		}
	}
	return lines;
}

static void
read_active(struct problems *p, const struct kb_yaml *y, struct checks *c)
{
	struct side_reading r = active_defaults;
	struct state_reading good = active_good, bad = active_bad;

	c->timeout_ms = 1000;
	fields_read(p, y, active_fields, &r, "healthchecks.active");
	read_states(p, &r, &good, &bad);
	read_seconds(p, r.timeout, "active.timeout", &c->timeout_ms);
	/* Not Kong's: for both, where they say nothing. */
	read_seconds(p, r.interval, "active.interval", &c->healthy_ms);
	c->unhealthy_ms = c->healthy_ms;
	read_seconds(p, good.interval, "healthy.interval", &c->healthy_ms);
	read_seconds(p, bad.interval, "unhealthy.interval", &c->unhealthy_ms);
	set_limits(&c->active.limits, &good, &bad);
	set_statuses(&c->active.healthy, &good.http_statuses);
	set_statuses(&c->active.unhealthy, &bad.http_statuses);
	if (r.http_path[0] != '/' || strpbrk(r.http_path, " #"))
		problem(p, y ? y->line : 0,
		    "healthchecks: http_path must begin with \"/\" and hold "
		    "no space");
	if (c->timeout_ms == 0)
		problem(p, y ? y->line : 0,
		    "healthchecks: active.timeout must be above 0");
	c->path = r.http_path;
	c->headers = read_headers(p, r.headers);
	c->tcp = r.type == 1;
	c->https = r.type == 2;
	c->https_verify = r.https_verify_certificate;
	c->https_sni = r.https_sni;
	c->concurrency = r.concurrency;
	c->probes = c->healthy_ms || c->unhealthy_ms;
}

static void
read_passive(struct problems *p, const struct kb_yaml *y, struct checks *c)
{
	struct side_reading r = { 0 };
	struct state_reading good = passive_good, bad = passive_bad;
	const struct limits *l = &c->passive.limits;

	c->return_ms = RETURN_S * 1000;
	fields_read(p, y, passive_fields, &r, "healthchecks.passive");
	read_states(p, &r, &good, &bad);
	if ((good.interval && !kb_yaml_is_null(good.interval)) ||
	    (bad.interval && !kb_yaml_is_null(bad.interval)))
		problem(p, y->line,
		    "healthchecks.passive: interval belongs to active");
	read_seconds(p, bad.recover_after, "recover_after", &c->return_ms);
	set_limits(&c->passive.limits, &good, &bad);
	set_statuses(&c->passive.healthy, &good.http_statuses);
	set_statuses(&c->passive.unhealthy, &bad.http_statuses);
	c->watches = l->http || l->tcp || l->timeouts;
}

const struct checks *
checks_read(struct problems *p, const struct kb_yaml *y)
{
	struct health_reading r = health_defaults;
	struct checks *c = kb_new(problems_arena(p), struct checks);

	if (y == NULL || kb_yaml_is_null(y))
		return NULL;
	fields_read(p, y, health_fields, &r, "healthchecks");
	read_active(p, r.active, c);
	read_passive(p, r.passive, c);
	c->threshold = r.threshold;
	/* Where no probe brings a target back, time does. */
	c->returns = c->return_ms > 0 &&
	    (c->unhealthy_ms == 0 || c->active.limits.successes == 0);
	return c->probes || c->watches ? c : NULL;
}

/* ---- targets
 * --------------------------------------------------------------------- */

struct target_reading {
	const char *target;
	int64_t weight;
};

#define ENTITY_COMMON                                                          \
	CONF_SKIP("id"), CONF_SKIP("created_at"), CONF_SKIP("updated_at")

static const struct field target_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct target_reading, target, .required = true),
	CONF_INT(struct target_reading, weight, .min = 0, .max = 65535),
	CONF_SKIP("tags"),
	CONF_SKIP("upstream"),
	CONF_END,
};

static const struct target_reading target_defaults = { .weight = 100 };

const struct schema target_schema = { target_fields, &target_defaults };

/* Room for one more; rooms double. */
static struct target *
next_target(struct problems *p, struct upstream *u)
{
	struct target *v;

	if (u->n & (u->n - 1))
		return &u->targets[u->n];
	v = kb_new_array(problems_arena(p), u->n ? 2 * u->n : 1, struct target);
	if (u->n)
		memcpy(v, u->targets, u->n * sizeof(*v));
	u->targets = v;
	return &u->targets[u->n];
}

void
upstream_read_target(
    struct problems *p, const struct entity *e, struct upstream *u)
{
	struct target_reading r = target_defaults;
	struct target *t = next_target(p, u);
	const struct kb_yaml *y = e->y;
	const char *colon;
	uint64_t port = 8000;
	size_t len;

	fields_read(p, y, target_fields, &r, "target");
	if (r.target == NULL)
		return;
	colon = strrchr(r.target, ':');
	if (colon != NULL && strchr(r.target, ']') > colon)
		colon = NULL;
	len = colon ? (size_t)(colon - r.target) : strlen(r.target);
	if (colon != NULL &&
	    (!kb_parse_u64(kb_slice_of(colon + 1), &port) || port == 0 ||
		port > 65535)) {
		problem(p, y->line, "target \"%s\" has a bad port", r.target);
		return;
	}
	if (!kb_http_host_ok((struct kb_slice) { r.target, len })) {
		problem(p, y->line, "target \"%s\" is not host:port", r.target);
		return;
	}
	t->host = kb_strndup(problems_arena(p), r.target, len);
	t->port = (int)port;
	t->weight = r.weight;
	u->n++;
}

/* ---- the upstream
 * -------------------------------------------------------------- */

struct upstream_reading {
	const char *name, *host_header;
	struct strs tags;
	const struct kb_yaml *healthchecks;
	int algorithm, hash_on, hash_fallback;
	const char *hash_on_header, *hash_fallback_header, *hash_on_cookie,
	    *hash_on_cookie_path, *hash_on_query_arg, *hash_fallback_query_arg,
	    *hash_on_uri_capture, *hash_fallback_uri_capture;
	int64_t slots;
};

static const char *const algorithms[] = { "round-robin", "least-connections",
	"consistent-hashing", "latency", NULL };
static const char *const sources[] = { "none", "consumer", "ip", "header",
	"cookie", "path", "query_arg", "uri_capture", NULL };

static const struct field upstream_fields[] = {
	ENTITY_COMMON,
	CONF_STR(struct upstream_reading, name, .required = true),
	CONF_STR(struct upstream_reading, host_header),
	CONF_STRS(struct upstream_reading, tags),
	CONF_SKIP("targets"),
	CONF_NODE(
	    struct upstream_reading, healthchecks, .record = &health_schema),
	CONF_ENUM(struct upstream_reading, algorithm, .choices = algorithms),
	CONF_ENUM(struct upstream_reading, hash_on, .choices = sources),
	CONF_ENUM(struct upstream_reading, hash_fallback, .choices = sources),
	CONF_STR(struct upstream_reading, hash_on_header),
	CONF_STR(struct upstream_reading, hash_fallback_header),
	CONF_STR(struct upstream_reading, hash_on_cookie),
	CONF_STR(struct upstream_reading, hash_on_cookie_path),
	CONF_STR(struct upstream_reading, hash_on_query_arg),
	CONF_STR(struct upstream_reading, hash_fallback_query_arg),
	CONF_STR(struct upstream_reading, hash_on_uri_capture),
	CONF_STR(struct upstream_reading, hash_fallback_uri_capture),
	CONF_INT(struct upstream_reading, slots, .min = 10, .max = 65536),
	CONF_LATER("use_srv_name", "targets are host:port"),
	CONF_SKIP("client_certificate"),
	CONF_END,
};

static const struct upstream_reading upstream_defaults = {
	.slots = 10000,
	.hash_on_cookie_path = "/",
};

const struct schema upstream_schema = { upstream_fields, &upstream_defaults };

static void
need(struct problems *p, unsigned line, const char *side, int on,
    const struct hash_source *s)
{
	const char *missing = NULL;

	if (on == HASH_HEADER && s->header == NULL)
		missing = "header";
	else if (on == HASH_QUERY_ARG && s->query_arg == NULL)
		missing = "query_arg";
	else if (on == HASH_URI_CAPTURE && s->uri_capture == NULL)
		missing = "uri_capture";
	if (missing)
		problem(p, line, "upstream: %s %s needs %s_%s", side, missing,
		    side, missing);
}

static bool
cookie_ok(const struct balance *b)
{
	for (const char *c = b->cookie; *c; c++)
		if (*c <= ' ' || *c > '~' || strchr("()<>@,;:\\\"/[]?={}", *c))
			return false;
	for (const char *c = b->cookie_path; *c; c++)
		if (*c < ' ' || *c > '~' || *c == ';')
			return false;
	return b->cookie_path[0] == '/';
}

static const struct balance *
read_balance(
    struct problems *p, unsigned line, const struct upstream_reading *r)
{
	struct balance *b = kb_new(problems_arena(p), struct balance);
	bool cookie = r->hash_on == HASH_COOKIE ||
	    r->hash_fallback == HASH_COOKIE;

	*b = (struct balance) {
		.algorithm = r->algorithm,
		.source = { r->hash_on, r->hash_on_header, r->hash_on_query_arg,
		    r->hash_on_uri_capture },
		.fallback = { r->hash_fallback, r->hash_fallback_header,
		    r->hash_fallback_query_arg, r->hash_fallback_uri_capture },
		.cookie = r->hash_on_cookie,
		.cookie_path = r->hash_on_cookie_path,
	};
	need(p, line, "hash_on", r->hash_on, &b->source);
	need(p, line, "hash_fallback", r->hash_fallback, &b->fallback);
	if (cookie && (b->cookie == NULL || !cookie_ok(b)))
		problem(p, line,
		    "upstream: a hash on a cookie needs hash_on_cookie (a "
		    "cookie's name) and a hash_on_cookie_path with \"/\"");
	/* Before there were algorithms, hash_on alone said it. */
	if (b->algorithm == ROUND_ROBIN && r->hash_on != HASH_NONE)
		b->algorithm = CONSISTENT_HASHING;
	return b->algorithm == ROUND_ROBIN ? NULL : b;
}

struct upstream *
upstream_read(struct problems *p, const struct entity *e)
{
	const struct kb_yaml *y = e->y;
	struct upstream_reading r = upstream_defaults;
	struct upstream *u = kb_new(problems_arena(p), struct upstream);

	fields_read(p, y, upstream_fields, &r, "upstream");
	if (r.name == NULL)
		return NULL;
	u->name = r.name;
	u->host_header = r.host_header;
	u->tags = r.tags;
	u->line = e->line;
	u->id = e->id;
	u->balance = read_balance(p, e->line, &r);
	u->checks = checks_read(p, r.healthchecks);
	return u;
}
