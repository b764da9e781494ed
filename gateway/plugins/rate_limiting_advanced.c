/*
 * rate-limiting-advanced: at most so many requests in a sliding (or fixed)
 * window (Kong 3.9). identifier jwt_claim_NAME: the verified claim picks
 * one of the limits, counted for each subject; with the others all limits
 * hold. What is refused does not count.
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

enum { NO_BUCKET = -1 };

struct conf {
	struct limit_conf base;
	struct strs claim_values, compound_identifier, consumer_groups;
	struct ints limit, window_size;
	const char *identifier, *claim_default;
	int window_type, strategy;
	bool disable_penalty, enforce_consumer_groups;
	/* made by load */
	const char *claim; /* whose value picks the limit; NULL: all hold */
	bool by_plan;
	struct kb_window_rule rules[LIMIT_RULES];
	const char *names[LIMIT_RULES];
	size_t n;
	int fallback;     /* bucket of who has no claim */
	int admin_bucket; /* of the platform's administrators, or NO_BUCKET */
};

static const char *const window_types[] = { "sliding", "fixed", NULL };
/* In the order of enum limit_sharing, which begins with none said. */
static const char *const strategies[] = { "local", "cluster", "redis", NULL };

static const struct field fields[] = {
	CONF_STR(struct conf, identifier),
	CONF_STRS(struct conf, compound_identifier),
	CONF_INTS(
	    struct conf, limit, .required = true, .min = 1, .max = 1000000000),
	CONF_INTS(struct conf, window_size, .required = true, .min = 1,
	    .max = 31536000),
	CONF_ENUM(struct conf, window_type, .choices = window_types),
	CONF_ENUM(struct conf, strategy, .choices = strategies),
	CONF_STRS(struct conf, claim_values),
	CONF_STR(struct conf, claim_default),
	CONF_STR(struct limit_conf, namespace),
	CONF_BOOL(struct conf, disable_penalty),
	CONF_INT(
	    struct limit_conf, retry_after_jitter_max, .min = 0, .max = 3600),
	CONF_BOOL(struct conf, enforce_consumer_groups),
	CONF_STRS(struct conf, consumer_groups),
	CONF_SKIP("dictionary_name"),
	CONF_SKIP("lock_dictionary_name"),
	LIMIT_FIELDS,
	CONF_END,
};

static const struct conf defaults = {
	.base = { LIMIT_DEFAULTS },
	.identifier = "consumer",
	.claim_default = "free",
	.strategy = -1,
	/* Kong's default false would count what is refused. */
	.disable_penalty = true,
};

/* ---- loading ------------------------------------------------------------- */

static int
index_of(const struct strs *list, const char *name)
{
	for (size_t i = 0; name != NULL && i < list->n; i++)
		if (kb_str_eq(list->v[i], name))
			return (int)i;
	return NO_BUCKET;
}

/* The limits are those of plans: free, pro, enterprise, administrators. */
static void
load_claim(struct problems *p, unsigned line, struct conf *c)
{
	static const char *const usual[] = { "free", "pro", "enterprise",
		"admin" };
	size_t usual_n = KB_COUNT(usual);

	if (c->claim_values.n == 0)
		c->claim_values = (struct strs) {
			.v = usual,
			.n = c->limit.n < usual_n ? c->limit.n : usual_n,
		};
	if (c->claim_values.n != c->limit.n)
		problem(p, line,
		    "plugin rate-limiting-advanced: claim_values and limit "
		    "must have the same length");
	c->fallback = index_of(&c->claim_values, c->claim_default);
	if (c->fallback < 0)
		c->fallback = 0;
	c->by_plan = kb_str_eq(c->claim, "plan");
	c->admin_bucket = index_of(&c->claim_values, "admin");
}

static bool
add_identifier(struct conf *c, const char *name)
{
	for (int i = 0; limit_by_names[i] != NULL; i++) {
		if (!kb_str_eq(limit_by_names[i], name))
			continue;
		c->base.by[c->base.n_by++] = (enum limit_by)i;
		return true;
	}
	return false;
}

static void
load_identifiers(struct problems *p, unsigned line, struct conf *c)
{
	const struct strs *list = &c->compound_identifier;

	if (list->n > LIMIT_PARTS)
		problem(p, line,
		    "plugin rate-limiting-advanced: compound_identifier has "
		    "%zu parts, at most %d",
		    list->n, LIMIT_PARTS);
	else if (list->n > 0) {
		for (size_t i = 0; i < list->n; i++)
			if (!add_identifier(c, list->v[i]))
				problem(p, line,
				    "plugin rate-limiting-advanced: "
				    "compound_identifier has \"%s\", which is "
				    "not one of: consumer, credential, ip, "
				    "service, header, path, consumer-group",
				    list->v[i]);
	} else if (kb_str_starts(c->identifier, "jwt_claim_") &&
	    c->identifier[10] != '\0') {
		c->claim = c->identifier + 10;
		c->base.by[c->base.n_by++] = LIMIT_CONSUMER;
	} else if (!add_identifier(c, c->identifier))
		problem(p, line,
		    "plugin rate-limiting-advanced: identifier \"%s\" is not "
		    "one of: jwt_claim_NAME, consumer, credential, ip, "
		    "service, header, path, consumer-group",
		    c->identifier);
}

static const char *
name_of(struct kb_arena *a, int64_t window_s)
{
	static const struct {
		int64_t size;
		const char *name;
	} known[] = { { 1, "Second" }, { 60, "Minute" }, { 3600, "Hour" },
		{ 86400, "Day" }, { 2592000, "Month" }, { 31536000, "Year" } };

	for (size_t i = 0; i < KB_COUNT(known); i++)
		if (known[i].size == window_s)
			return known[i].name;
	return kb_sprintf(a, "%lld", (long long)window_s);
}

static bool
load_rules(struct problems *p, unsigned line, struct conf *c)
{
	bool equal = true;

	c->n = c->limit.n;
	if (c->n != c->window_size.n || c->n == 0 || c->n > LIMIT_RULES) {
		problem(p, line,
		    "plugin rate-limiting-advanced: limit and window_size must "
		    "have the same length, 1 to %d",
		    LIMIT_RULES);
		c->n = 0;
		return false;
	}
	for (size_t i = 0; i < c->n; i++) {
		c->rules[i] = (struct kb_window_rule) {
			.kind = c->window_type == 1 ? KB_WINDOW_FIXED
						    : KB_WINDOW_SLIDING,
			.limit = c->limit.v[i],
			.window_s = c->window_size.v[i],
		};
		c->names[i] = name_of(problems_arena(p), c->window_size.v[i]);
		equal &= c->window_size.v[i] == c->window_size.v[0];
	}
	return equal;
}

/* Shortest window first, as the header lines have them. */
static void
sort_rules(struct conf *c)
{
	for (size_t i = 1; i < c->n; i++)
		for (size_t j = i;
		     j > 0 && c->rules[j].window_s < c->rules[j - 1].window_s;
		     j--) {
			struct kb_window_rule rule = c->rules[j];
			const char *name = c->names[j];

			c->rules[j] = c->rules[j - 1];
			c->names[j] = c->names[j - 1];
			c->rules[j - 1] = rule;
			c->names[j - 1] = name;
		}
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	unsigned line = use->config ? use->config->line : use->line;
	bool equal = load_rules(p, line, c);

	load_identifiers(p, line, c);
	/* Windows that differ cannot be those of plans: all of them hold. */
	if (c->claim != NULL && !equal)
		c->claim = NULL;
	if (c->claim != NULL)
		load_claim(p, line, c);
	else
		sort_rules(c);
	for (size_t i = 1; c->claim == NULL && i < c->n; i++)
		if (c->rules[i].window_s == c->rules[i - 1].window_s)
			problem(p, line,
			    "plugin rate-limiting-advanced: two limits for "
			    "%lld seconds: the larger one would never count",
			    (long long)c->rules[i].window_s);
	if (!c->disable_penalty)
		notice(p, line,
		    "plugin rate-limiting-advanced: disable_penalty false: "
		    "refused requests do not count all the same");
	if (c->enforce_consumer_groups)
		notice(p, line,
		    "plugin rate-limiting-advanced: enforce_consumer_groups: "
		    "a group has the limits of the plugin in its own scope");
	limit_load(p, use, &c->base, (enum limit_sharing)(c->strategy + 1));
}

static void
route(const struct plugin_use *use, struct route *r)
{
	(void)use;
	r->limited = true;
}

static void
prepare(struct loop *l, const struct plugin_use *use)
{
	const struct conf *c = use->conf;

	limit_prepare(l, &c->base);
}

/* ---- running ------------------------------------------------------------- */

/*
 * Of the platform, which alone grants these. "admin" is none of them: every
 * customer's organisation has admins of its own.
 */
static bool
is_platform_admin(const struct kb_identity *id)
{
	const char *roles = id->value[KB_ID_ROLES];

	return roles != NULL &&
	    (kb_roles_have(roles, "kombisphere_admin") ||
		kb_roles_have(roles, "admin:super"));
}

static const char *
plan_of(const struct kb_identity *id)
{
	enum kb_plan plan = KB_PLAN_FREE;

	if (id->value[KB_ID_PLAN] == NULL ||
	    !kb_plan_of(id->value[KB_ID_PLAN], &plan))
		return NULL;
	return kb_plan_name(plan);
}

/* Of the verified token only; nothing that a client may choose. */
static size_t
bucket_of(struct exchange *x, const struct conf *c)
{
	const struct kb_identity *id = exchange_identity(x);
	const char *value;
	int bucket;

	if (id == NULL)
		return (size_t)c->fallback;
	if (c->admin_bucket >= 0 && is_platform_admin(id))
		return (size_t)c->admin_bucket;
	if (c->by_plan)
		value = plan_of(id);
	else
		value = kb_json_str(exchange_claims(x), c->claim);
	bucket = index_of(&c->claim_values, value);
	return (size_t)(bucket < 0 ? c->fallback : bucket);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	struct limit_rules r = { .rules = c->rules, .n = c->n };
	struct limit_key key;

	if (exchange_is_preflight(x))
		return NEXT;
	if (c->claim != NULL) {
		r.rules = &c->rules[bucket_of(x, c)];
		r.n = 1;
	} else if (c->n > 1) {
		r.names = c->names;
	}
	limit_key(x, &c->base, &key);
	limit_take(x, &c->base, &key, &r);
	return NEXT;
}

const struct plugin plugin_rate_limiting_advanced = {
	.name = "rate-limiting-advanced",
	.priority = 910,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.route = route,
	.prepare = prepare,
	.access = access,
	.help = "requests in a sliding window, by plan, caller or address",
};
