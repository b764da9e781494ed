/*
 * rate-limiting: so many requests a second, minute, … year, in windows that
 * are aligned to the calendar in UTC (Kong 3.9). What is refused does not
 * count. With policy redis replicas share the counts; no request waits.
 */
#include "gateway.h"

enum period { SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, PERIODS };

struct conf {
	struct limit_conf base;
	int64_t second, minute, hour, day, month, year;
	int limit_by, policy;
	/* made by load */
	struct kb_window_rule rules[PERIODS];
	const char *names[PERIODS];
	size_t n;
};

static const struct {
	const char *name;
	struct kb_window_rule rule;
} periods[PERIODS] = {
	{ "Second", { .kind = KB_WINDOW_FIXED, .window_s = 1 } },
	{ "Minute", { .kind = KB_WINDOW_FIXED, .window_s = 60 } },
	{ "Hour", { .kind = KB_WINDOW_FIXED, .window_s = 3600 } },
	{ "Day", { .kind = KB_WINDOW_FIXED, .window_s = 86400 } },
	{ "Month", { .kind = KB_WINDOW_MONTH, .window_s = 2678400 } },
	{ "Year", { .kind = KB_WINDOW_YEAR, .window_s = 31536000 } },
};

/* In the order of enum limit_sharing, which begins with none said. */
static const char *const policies[] = { "local", "cluster", "redis", NULL };

enum { MOST = 1000000000 };

static const struct field fields[] = {
	CONF_INT(struct conf, second, .min = 1, .max = MOST),
	CONF_INT(struct conf, minute, .min = 1, .max = MOST),
	CONF_INT(struct conf, hour, .min = 1, .max = MOST),
	CONF_INT(struct conf, day, .min = 1, .max = MOST),
	CONF_INT(struct conf, month, .min = 1, .max = MOST),
	CONF_INT(struct conf, year, .min = 1, .max = MOST),
	CONF_ENUM(struct conf, limit_by, .choices = limit_by_names),
	CONF_ENUM(struct conf, policy, .choices = policies),
	LIMIT_FIELDS,
	CONF_END,
};

static const struct conf defaults = {
	.base = { LIMIT_DEFAULTS },
	.policy = -1,
};

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	unsigned line = use->config ? use->config->line : use->line;
	const int64_t limits[PERIODS] = { c->second, c->minute, c->hour, c->day,
		c->month, c->year };

	for (int i = 0; i < PERIODS; i++) {
		if (limits[i] == 0)
			continue;
		if (c->n > 0 && limits[i] < c->rules[c->n - 1].limit)
			problem(p, line,
			    "plugin rate-limiting: the limit of a %s (%lld) "
			    "must not be smaller than that of a %s (%lld)",
			    periods[i].name, (long long)limits[i],
			    c->names[c->n - 1],
			    (long long)c->rules[c->n - 1].limit);
		c->rules[c->n] = periods[i].rule;
		c->rules[c->n].limit = limits[i];
		c->names[c->n++] = periods[i].name;
	}
	if (c->n == 0)
		problem(p, line,
		    "plugin rate-limiting: one of second, minute, hour, day, "
		    "month, year is required");
	c->base.by[0] = (enum limit_by)c->limit_by;
	c->base.n_by = 1;
	limit_load(p, use, &c->base, (enum limit_sharing)(c->policy + 1));
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

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	struct limit_key key;

	if (exchange_is_preflight(x))
		return NEXT;
	limit_key(x, &c->base, &key);
	limit_take(x, &c->base, &key,
	    &(struct limit_rules) {
		.rules = c->rules, .names = c->names, .n = c->n });
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
	.prepare = prepare,
	.access = access,
	.help = "requests a second, minute, …, by caller, address, service",
};
