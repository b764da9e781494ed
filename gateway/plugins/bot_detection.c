/*
 * bot-detection: requests whose User-Agent matches one of the deny patterns,
 * or of the usual ones below, are refused, unless an allow pattern matches
 * (kong.md 1.20). Patterns are
 * POSIX extended regular expressions without back references; what is
 * matched is bounded, so that no client can make a match expensive.
 */
#include <regex.h>
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

enum { PATTERNS_MAX = 64, PATTERN_MAX = 256, AGENT_MAX = 512 };

struct conf {
	struct strs allow, deny;
	/* made by load */
	regex_t *allowed, *denied, *usual;
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

static void
drop_pattern(void *arg)
{
	regfree(arg);
}

static const char *
unsupported(const char *text)
{
	size_t n = strlen(text);

	if (n > PATTERN_MAX)
		return "is longer than 256 characters";
	for (const char *c = text; *c; c++) {
		if (*c == '\\' && c[1] != '\0') {
			c++;
			if ((*c >= '0' && *c <= '9') ||
			    (*c >= 'a' && *c <= 'z') ||
			    (*c >= 'A' && *c <= 'Z'))
				return "may escape punctuation only: write "
				       "[0-9] for \\d, [[:space:]] for \\s";
		} else if (*c == '{')
			return "may not repeat by {n}: use * + ?";
		else if (c[0] == '(' && c[1] == '?')
			return "may not hold (?…), but for (?i) at its start";
	}
	return NULL;
}

static void
compile(struct problems *p, const struct plugin_use *use, const char *text,
    regex_t *out)
{
	int flags = REG_EXTENDED | REG_NOSUB;
	const char *pattern = text, *why;
	char message[128];
	int code;

	if (kb_str_starts(text, "(?i)")) {
		flags |= REG_ICASE;
		pattern += 4;
	}
	why = unsupported(pattern);
	if (why != NULL) {
		problem(p, use->config->line,
		    "plugin bot-detection: the pattern \"%s\" %s", text, why);
		return;
	}
	code = regcomp(out, pattern, flags);
	if (code == 0) {
		kb_arena_on_free(problems_arena(p), drop_pattern, out);
		return;
	}
	regerror(code, out, message, sizeof(message));
	problem(p, use->config->line,
	    "plugin bot-detection: the pattern \"%s\": %s", text, message);
}

static regex_t *
compile_all(struct problems *p, const struct plugin_use *use,
    const char *const *list, size_t n)
{
	regex_t *v = kb_new_array(problems_arena(p), n + 1, regex_t);

	if (n > PATTERNS_MAX)
		problem(p, use->config->line,
		    "plugin bot-detection: at most %d patterns", PATTERNS_MAX);
	for (size_t i = 0; i < n && i < PATTERNS_MAX; i++)
		compile(p, use, list[i], &v[i]);
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
matches(const char *agent, const regex_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (regexec(&v[i], agent, 0, NULL, 0) == 0)
			return true;
	return false;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	const struct kb_http1_head *h = exchange_head(x);
	struct kb_slice value;
	char agent[AGENT_MAX + 1];
	size_t n;

	if (exchange_is_preflight(x))
		return NEXT;
	value = kb_http1_get(h, exchange_bytes(x), KB_H_USER_AGENT);
	if (kb_http1_count(h, KB_H_USER_AGENT) > 1) {
		exchange_fail(
		    x, KB_MALFORMED, "Only one User-Agent header is allowed");
		return NEXT;
	}
	n = value.len < AGENT_MAX ? value.len : AGENT_MAX;
	if (n)
		memcpy(agent, value.ptr, n);
	agent[n] = '\0';
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
