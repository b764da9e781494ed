/*
 * sso-start: hands a verified caller over to the stack. The service's
 * /api/internal/sso/exchange gives a session token; programs get its answer
 * as it is, browsers a cookie and a redirect.
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "gateway.h"

enum { ASK_MS = 10000, ANSWER_MAX = 64 * 1024, TOKEN_MAX = 4000 };

struct sso {
	bool secure_cookie;
	struct strs return_urls;
};

static const struct field fields[] = {
	CONF_BOOL(struct sso, secure_cookie),
	CONF_STRS(struct sso, return_urls, .empty = true),
	CONF_END,
};

static const struct sso defaults = { .secure_cookie = true };

/* Development has no TLS; a Secure cookie would be dropped by browsers. */
static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct sso *sso = conf;
	const char *why;

	for (size_t i = 0; i < sso->return_urls.n; i++) {
		why = return_entry_problem(sso->return_urls.v[i]);
		if (why)
			problem(p, use->line,
			    "plugin sso-start: return_urls \"%s\" %s",
			    sso->return_urls.v[i], why);
	}
	if (problems_defaults(p)->development)
		sso->secure_cookie = false;
}

struct handover {
	struct exchange *x;
	struct ask ask;
	const char *back; /* where to go, if somebody said it; or NULL */
	bool over;
};

static void
answered(struct ask *ask)
{
	struct handover *h = ask->arg;

	h->over = true;
	exchange_resume(h->x);
}

static void
give_up(void *arg)
{
	struct handover *h = arg;

	if (!h->over)
		ask_cancel(&h->ask);
	kb_buf_free(&h->ask.body);
}

static void
free_body(void *arg)
{
	kb_buf_free(arg);
}

static void
start(struct exchange *x, struct handover *h)
{
	const struct service *service = exchange_route(x)->service;
	struct kb_buf lines;

	kb_buf_init(&lines, 16384);
	exchange_identity_lines(x, service, KB_M_POST, &lines);
	kb_buf_addf(&lines, "X-Request-ID: %s\r\n", exchange_request_id(x));
	h->x = x;
	h->ask = (struct ask) {
		.service = service,
		.method = KB_M_POST,
		.path = "/api/internal/sso/exchange",
		.headers = kb_strdup(exchange_arena(x), kb_buf_str(&lines)),
		.timeout_ms = ASK_MS,
		.max_answer = ANSWER_MAX,
		/* The exchange finds or creates: twice is as good as once. */
		.repeatable = true,
		.done = answered,
		.arg = h,
	};
	kb_buf_free(&lines);
	ask_start(x, &h->ask);
	exchange_on_cancel(x, give_up, h);
	exchange_again(x);
}

static bool
cookie_value(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++) {
		char c = s[n];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || strchr("-._~+/=", c)))
			return false;
	}
	return n > 0 && n <= TOKEN_MAX;
}

/* A path of ours or an absolute address, nothing that a header cannot hold. */
static bool
is_target(const char *s)
{
	if (strlen(s) > 2000 || kb_has_control(s, strlen(s)) ||
	    strchr(s, ' ') || strchr(s, '\\'))
		return false;
	if (s[0] == '/')
		return s[1] != '/';
	return kb_str_starts(s, "https://") || kb_str_starts(s, "http://");
}

static void
redirect(struct exchange *x, const struct sso *conf, const struct kb_json *j,
    const char *back)
{
	const char *token = kb_json_str(j, "token");
	const char *target = kb_json_str(j, "redirectUrl");
	const char *until = kb_json_str(j, "expiresAt");
	const char *age = "";
	int64_t ms;

	if (token == NULL || !cookie_value(token) || target == NULL ||
	    !is_target(target)) {
		exchange_fail(x, KB_BAD_GATEWAY, NULL);
		return;
	}
	if (until != NULL && kb_rfc3339_parse(until, &ms) &&
	    ms / 1000 > kb_wall_s())
		age = kb_sprintf(exchange_arena(x), "; Max-Age=%lld",
		    (long long)(ms / 1000 - kb_wall_s()));
	exchange_add_response(x, "Location", back ? back : target);
	exchange_add_response(x, "Set-Cookie",
	    kb_sprintf(exchange_arena(x),
		"kombi_session=%s; HttpOnly%s; SameSite=Lax; Path=/%s", token,
		conf->secure_cookie ? "; Secure" : "", age));
	exchange_add_response(x, "Cache-Control", "no-store");
	exchange_answer(x, 302, NULL, NULL, 0);
}

static bool
wants_json(struct exchange *x)
{
	struct kb_slice rest = exchange_header(x, "Accept"), part, type;

	while (kb_slice_next(&rest, ',', &part)) {
		if (kb_slice_next(&part, ';', &type) &&
		    kb_slice_eqi(kb_slice_trim(type), "application/json"))
			return true;
	}
	return false;
}

static void
finish(struct exchange *x, const struct sso *conf, struct handover *h)
{
	const struct kb_json *j;
	const char *why;
	const char *text = kb_buf_str(&h->ask.body);
	size_t len = h->ask.body.len;

	kb_arena_on_free(exchange_arena(x), free_body, &h->ask.body);
	if (h->ask.err) {
		exchange_fail(x, h->ask.err, NULL);
		return;
	}
	if (kb_json_parse(exchange_arena(x), text, len, &j, &why) != KB_OK ||
	    h->ask.status < 200) {
		exchange_fail(x, KB_BAD_GATEWAY, NULL);
		return;
	}
	if (h->ask.status >= 300 || wants_json(x)) {
		exchange_add_response(x, "Cache-Control", "no-store");
		exchange_answer(
		    x, h->ask.status, "application/json", text, len);
		return;
	}
	redirect(x, conf, j, h->back);
}

/* False: it is there, and may not be. */
static bool
read_return(struct exchange *x, const struct sso *conf, struct handover *h)
{
	struct lines args = { .arena = exchange_arena(x) };

	h->back = exchange_query_arg(x, "returnUrl");
	if (h->back != NULL)
		return return_url_ok(&conf->return_urls, h->back);
	/* Twice, or not to be decoded: not the same as not there. */
	form_split(&args, exchange_query(x));
	for (size_t i = 0; i < args.n; i++)
		if (kb_slice_eq(args.v[i].name, "returnUrl"))
			return false;
	return true;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	struct handover *h;

	if (exchange_is_preflight(x))
		return NEXT;
	if (exchange_identity(x) == NULL) {
		exchange_fail(x, KB_UNAUTHENTICATED, NULL);
		return NEXT;
	}
	h = exchange_slot(x, use->plugin, sizeof(*h));
	if (h->x == NULL && !read_return(x, use->conf, h)) {
		exchange_fail(x, KB_INVALID, "returnUrl is not allowed");
		return NEXT;
	}
	if (h->x == NULL) {
		start(x, h);
		return WAIT;
	}
	finish(x, use->conf, h);
	return NEXT;
}

const struct plugin plugin_sso_start = {
	.name = "sso-start",
	.priority = 50,
	.fields = fields,
	.conf_size = sizeof(struct sso),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.help = "session of the stack for a verified caller",
};
