/*
 * basic-auth: a name and password of RFC 7617 name a consumer of the file, who
 * then is the caller. Proxy-Authorization is looked at first, as Kong does;
 * neither header goes on to upstream.
 */
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

enum { CREDENTIALS_MAX = 2048 };

struct conf {
	bool hide_credentials, run_on_preflight;
	const char *anonymous, *realm;
	/* made by load */
	const char *challenge;
};

static const struct field fields[] = {
	CONF_BOOL(struct conf, hide_credentials),
	CONF_BOOL(struct conf, run_on_preflight),
	CONF_STR(struct conf, anonymous),
	CONF_STR(struct conf, realm),
	CONF_END,
};

static const struct conf defaults = {
	.hide_credentials = true,
	.run_on_preflight = true,
	.realm = "service",
};

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;

	if (strpbrk(c->realm, "\"\\") != NULL)
		problem(p, use->line,
		    "plugin basic-auth: realm must not hold \" or \\");
	if (!c->hide_credentials)
		notice(p, use->line,
		    "plugin basic-auth: hide_credentials: passwords are never "
		    "sent to upstream");
	c->challenge = kb_sprintf(problems_arena(p),
	    "Basic realm=\"%s\", charset=\"UTF-8\"", c->realm);
}

/* "Basic token68" -> name and password; false: it is none. */
static bool
split(struct exchange *x, struct kb_slice header, const char **name,
    struct kb_slice *password)
{
	char *text, *colon;
	long n;

	if (header.len < 7 || header.len > CREDENTIALS_MAX ||
	    !kb_slice_eqi((struct kb_slice) { header.ptr, 6 }, "basic "))
		return false;
	header = kb_slice_trim(
	    (struct kb_slice) { header.ptr + 6, header.len - 6 });
	text = kb_arena_alloc(exchange_arena(x), header.len + 4);
	n = kb_base64_decode(header.ptr, header.len, text);
	if (n <= 0 || kb_has_control(text, (size_t)n))
		return false;
	text[n] = '\0';
	colon = strchr(text, ':');
	if (colon == NULL)
		return false;
	*colon = '\0';
	*name = text;
	*password = kb_slice_of(colon + 1);
	return true;
}

static void
refuse(struct exchange *x, const struct conf *c, enum kb_err err)
{
	exchange_add_response(x, "WWW-Authenticate", c->challenge);
	exchange_fail(x, err, NULL);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	static const char *const headers[] = { "Proxy-Authorization",
		"Authorization" };
	const struct conf *c = use->conf;
	const struct credential *found = NULL;
	struct kb_slice password = { "", 0 };
	const char *name = NULL;

	if (exchange_is_preflight(x) && !c->run_on_preflight)
		return NEXT;
	/* Another plugin has found the caller, and that is enough. */
	if (c->anonymous && exchange_identity(x) != NULL)
		return NEXT;
	for (size_t i = 0; i < KB_COUNT(headers) && name == NULL; i++)
		(void)split(
		    x, exchange_header(x, headers[i]), &name, &password);
	if (name != NULL)
		found = exchange_find_password(x, name, password);
	if (found != NULL)
		exchange_set_credential(x, found);
	else if (name == NULL && c->anonymous)
		exchange_set_anonymous(x, c->anonymous);
	else
		refuse(x, c, name ? KB_AUTH_INVALID : KB_UNAUTHENTICATED);
	return NEXT;
}

const struct plugin plugin_basic_auth = {
	.name = "basic-auth",
	.priority = 1100,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.authenticates = true,
	.help = "name and password of a consumer",
};
