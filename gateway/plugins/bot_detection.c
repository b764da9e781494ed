/*
 * bot-detection: requests whose User-Agent matches one of the deny patterns,
 * or of the usual ones below, are refused, unless an allow pattern matches
 * (Kong's fields). Patterns
 * match anywhere in it; text and steps are bounded, so that no client can
 * make a match expensive.
 */
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

enum { PATTERNS_MAX = 64, AGENT_MAX = 512 };

struct conf {
	struct strs allow, deny;
	/* made by load */
	const struct kb_regex **allowed, **denied, **usual;
};

static const struct field fields[] = {
	CONF_STRS(struct conf, allow),
	CONF_STRS(struct conf, deny),
	CONF_END,
};

/* Programs that name themselves as what fetches without a user. */
static const char *const usual[] = { "(C|c)hrome-Lighthouse", "Googlebot",
	"AdsBot", "AhrefsBot", "SemrushBot", "MJ12bot", "DotBot", "PetalBot",
	"Bytespider", "BLEXBot", "Baiduspider", "YandexBot", "bingbot",
	"Sogou.*spider", "DataForSeoBot", "GPTBot", "CCBot", "ClaudeBot",
	"zgrab", "masscan", "Nikto", "sqlmap", "Nmap Scripting Engine" };

static const struct kb_regex **
compile_all(struct problems *p, const struct plugin_use *use,
    const char *const *list, size_t n)
{
	const struct kb_regex **v = kb_new_array(
	    problems_arena(p), n + 1, const struct kb_regex *);
	const char *why;

	if (n > PATTERNS_MAX)
		problem(p, use->config->line,
		    "plugin bot-detection: at most %d patterns", PATTERNS_MAX);
	for (size_t i = 0; i < n && i < PATTERNS_MAX; i++) {
		v[i] = kb_regex_new(problems_arena(p), list[i], 0, &why);
		if (v[i] == NULL)
			problem(p, use->config->line,
			    "plugin bot-detection: the pattern \"%s\": %s",
			    list[i], why);
	}
	return v;
}

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;

	c->allowed = compile_all(p, use, c->allow.v, c->allow.n);
	c->denied = compile_all(p, use, c->deny.v, c->deny.n);
	c->usual = compile_all(p, use, usual, KB_COUNT(usual));
}

static bool
matches(struct kb_slice agent, const struct kb_regex **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (kb_regex_match(v[i], agent, NULL))
			return true;
	return false;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	const struct kb_http1_head *h = exchange_head(x);
	struct kb_slice agent;

	if (exchange_is_preflight(x))
		return NEXT;
	agent = kb_http1_get(h, exchange_bytes(x), KB_H_USER_AGENT);
	if (kb_http1_count(h, KB_H_USER_AGENT) > 1) {
		exchange_fail(
		    x, KB_MALFORMED, "Only one User-Agent header is allowed");
		return NEXT;
	}
	if (agent.len > AGENT_MAX)
		agent.len = AGENT_MAX;
	if (!matches(agent, c->allowed, c->allow.n) &&
	    (matches(agent, c->denied, c->deny.n) ||
		matches(agent, c->usual, KB_COUNT(usual))))
		exchange_fail(x, KB_FORBIDDEN, NULL);
	return NEXT;
}

const struct plugin plugin_bot_detection = {
	.name = "bot-detection",
	.priority = 2500,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.load = load,
	.access = access,
	.help = "refuses programs by their User-Agent",
};
