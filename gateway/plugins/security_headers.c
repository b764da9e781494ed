/*
 * security-headers: what browsers are told to refuse. Without it the
 * gateway's standard holds: HSTS of a year, nosniff, no referrer, framing by
 * the same origin, and nothing at all in the gateway's own answers.
 */
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

enum { YEAR_S = 31536000 };

struct conf {
	bool hsts, hsts_include_subdomains, hsts_preload;
	int64_t hsts_max_age;
	bool content_type_options, override_upstream;
	const char *content_security_policy, *frame_options, *referrer_policy,
	    *permissions_policy, *cross_origin_opener_policy,
	    *cross_origin_resource_policy;
	/* made by load */
	const struct policy *policy;
};

static const struct field fields[] = {
	CONF_BOOL(struct conf, hsts),
	CONF_INT(struct conf, hsts_max_age, .min = 0, .max = 10 * YEAR_S),
	CONF_BOOL(struct conf, hsts_include_subdomains),
	CONF_BOOL(struct conf, hsts_preload),
	CONF_BOOL(struct conf, content_type_options),
	CONF_STR(struct conf, content_security_policy, .empty = true),
	CONF_STR(struct conf, frame_options, .empty = true),
	CONF_STR(struct conf, referrer_policy, .empty = true),
	CONF_STR(struct conf, permissions_policy, .empty = true),
	CONF_STR(struct conf, cross_origin_opener_policy, .empty = true),
	CONF_STR(struct conf, cross_origin_resource_policy, .empty = true),
	CONF_BOOL(struct conf, override_upstream),
	CONF_END,
};

static const struct conf defaults = {
	.hsts = true,
	.hsts_max_age = YEAR_S,
	.hsts_include_subdomains = true,
	.content_type_options = true,
	.content_security_policy = "frame-ancestors 'self'",
	.frame_options = "SAMEORIGIN",
	.referrer_policy = "no-referrer",
};

/* Words that a value is one of; NULL: any text. */
static const char *const frames[] = { "", "DENY", "SAMEORIGIN", NULL };
static const char *const referrers[] = { "", "no-referrer",
	"no-referrer-when-downgrade", "origin", "origin-when-cross-origin",
	"same-origin", "strict-origin", "strict-origin-when-cross-origin",
	"unsafe-url", NULL };
static const char *const openers[] = { "", "same-origin",
	"same-origin-allow-popups", "noopener-allow-popups", "unsafe-none",
	NULL };
static const char *const resources[] = { "", "same-origin", "same-site",
	"cross-origin", NULL };

static bool
is_among(const char *value, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(value, *words) == 0)
			return true;
	return false;
}

static void
check_value(struct problems *p, const struct plugin_use *use, const char *name,
    const char *value, const char *const *words)
{
	unsigned line = use->config ? use->config->line : use->line;

	if (value == NULL)
		return;
	if (kb_has_control(value, strlen(value)) ||
	    (words && !is_among(value, words)))
		problem(p, line,
		    "plugin security-headers: %s \"%s\" is not a value of "
		    "that header; \"\" leaves it out",
		    name, value);
}

static const char *
hsts_value(
    struct problems *p, const struct plugin_use *use, const struct conf *c)
{
	unsigned line = use->config ? use->config->line : use->line;

	if (c->hsts_preload &&
	    (c->hsts_max_age < YEAR_S || !c->hsts_include_subdomains))
		problem(p, line,
		    "plugin security-headers: hsts_preload needs "
		    "hsts_include_subdomains and an hsts_max_age of at least "
		    "31536000");
	if (!c->hsts)
		return NULL;
	return kb_sprintf(problems_arena(p), "max-age=%lld%s%s",
	    (long long)c->hsts_max_age,
	    c->hsts_include_subdomains ? "; includeSubDomains" : "",
	    c->hsts_preload ? "; preload" : "");
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	const char *const values[POLICIES] = {
		[POLICY_HSTS] = hsts_value(p, use, c),
		[POLICY_NOSNIFF] = c->content_type_options ? "nosniff" : NULL,
		[POLICY_REFERRER] = c->referrer_policy,
		[POLICY_CSP] = c->content_security_policy,
		[POLICY_FRAMES] = c->frame_options,
		[POLICY_PERMISSIONS] = c->permissions_policy,
		[POLICY_OPENER] = c->cross_origin_opener_policy,
		[POLICY_RESOURCE] = c->cross_origin_resource_policy,
	};

	check_value(p, use, "content_security_policy",
	    c->content_security_policy, NULL);
	check_value(p, use, "permissions_policy", c->permissions_policy, NULL);
	check_value(p, use, "frame_options", c->frame_options, frames);
	check_value(p, use, "referrer_policy", c->referrer_policy, referrers);
	check_value(p, use, "cross_origin_opener_policy",
	    c->cross_origin_opener_policy, openers);
	check_value(p, use, "cross_origin_resource_policy",
	    c->cross_origin_resource_policy, resources);
	c->policy = policy_make(
	    problems_arena(p), values, c->override_upstream);
}

static void
response(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;

	exchange_set_policy(x, c->policy);
}

const struct plugin plugin_security_headers = {
	.name = "security-headers",
	.priority = 799,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.response = response,
	.help = "HSTS, CSP and what else browsers are told",
};
