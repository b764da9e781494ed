/*
 * Where providers send people back to: the code goes to the window that began
 * (its realtime client is the state), once. And the page where that and the
 * links of mails end.
 */
#include <string.h>

#include <kombi/str.h>

#include "auth.h"
#include "hub.h"

#define TOPIC "@oauth2"
#define FAILURE "../_#/auth/oauth2-redirect-failure"
#define SUCCESS "../_#/auth/oauth2-redirect-success"

struct landing {
	const char *state, *code, *error; /* "" if absent */
};

static void
landing_json(struct kb_jsonw *w, const struct landing *l)
{
	kb_w_object(w, NULL);
	kb_w_str(w, "state", l->state);
	kb_w_str(w, "code", l->code);
	if (l->error[0] != '\0')
		kb_w_str(w, "error", l->error);
	kb_w_object_end(w);
}

static void
tell(struct api *api, const struct landing *l)
{
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, 65536);
	kb_w_init(&w, &b);
	landing_json(&w, l);
	if (!kb_buf_failed(&b))
		hub_send(tenant_hub(api->tenant->handle), l->state, TOPIC,
		    kb_buf_str(&b));
	kb_buf_free(&b);
}

static struct kb_reply
land(struct api *api, const struct landing *l, int status)
{
	struct hub *hub = tenant_hub(api->tenant->handle);
	const char *to = FAILURE;

	if (l->state[0] != '\0' && strlen(l->state) == CLIENT_ID_SIZE &&
	    hub_unsubscribe(hub, l->state, TOPIC)) {
		tell(api, l);
		if (l->error[0] == '\0' && l->code[0] != '\0')
			to = SUCCESS;
	}
	kb_reply_header(api->req, "Location", to);
	return kb_bytes_reply(api->req, status, "text/plain", "", 0);
}

static const char *
or_empty(const char *text)
{
	return text ? text : "";
}

static struct kb_reply
by_get(struct api *api)
{
	struct landing l = {
		or_empty(kb_query_param(api->req, "state")),
		or_empty(kb_query_param(api->req, "code")),
		or_empty(kb_query_param(api->req, "error")),
	};

	return land(api, &l, 307);
}

/* A field of application/x-www-form-urlencoded. */
static const char *
form_field(struct kb_request *req, const char *name)
{
	struct kb_slice rest = { req->body, req->body_len }, part;

	while (rest.len > 0 && kb_slice_next(&rest, '&', &part)) {
		struct kb_slice key;
		char *text;

		if (!kb_slice_next(&part, '=', &key) || !kb_slice_eq(key, name))
			continue;
		text = kb_slice_dup(req->cx.arena, part);
		for (char *p = text; *p != '\0'; p++)
			if (*p == '+')
				*p = ' ';
		if (kb_percent_decode(req->cx.arena, kb_slice_of(text), &text))
			return text;
	}
	return "";
}

static struct kb_reply
by_post(struct api *api)
{
	struct landing l = {
		form_field(api->req, "state"),
		form_field(api->req, "code"),
		form_field(api->req, "error"),
	};

	return land(api, &l, 303);
}

/* ---- the page
 * ------------------------------------------------------------------------- */

/* The token stays behind '#': no server sees it before it is used. */
static const char page[] =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width\">"
    "<title>Account</title></head><body><main><p id=\"say\"></p>"
    "<form id=\"form\" hidden><label>Password <input id=\"word\""
    " type=\"password\" required></label> <button>Go on</button></form>"
    "</main><script>\n"
    "const [, kind, token] = location.hash.match("
    "/^#\\/auth\\/([a-z0-9-]+)\\/?(.*)$/) ?? [];\n"
    "const say = (text) => { document.getElementById('say').textContent ="
    " text; };\n"
    "const form = document.getElementById('form');\n"
    "async function send(more) {\n"
    "  try {\n"
    "    const claims = JSON.parse(atob(token.split('.')[1]"
    ".replace(/-/g, '+').replace(/_/g, '/')));\n"
    "    const base = location.pathname.replace(/\\/_\\/?$/, '');\n"
    "    const answer = await fetch(`${base}/api/collections/"
    "${encodeURIComponent(claims.collectionId)}/${kind}`, { method:"
    " 'POST', headers: { 'Content-Type': 'application/json' }, body:"
    " JSON.stringify({ token, ...more }) });\n"
    "    form.hidden = answer.ok;\n"
    "    say(answer.ok ? 'Done. You can close this window.' :"
    " 'That did not work: the link may be too old, or the password not"
    " right.');\n"
    "  } catch { say('This link is not valid.'); }\n"
    "}\n"
    "if (kind === 'oauth2-redirect-success') { say('You are signed in. You"
    " can close this window.'); window.close(); }\n"
    "else if (kind === 'oauth2-redirect-failure') { say('Signing in did not"
    " work. You can close this window.'); window.close(); }\n"
    "else if (kind === 'confirm-verification') send({});\n"
    "else if (kind === 'confirm-password-reset' || kind ==="
    " 'confirm-email-change') {\n"
    "  form.hidden = false;\n"
    "  say(kind === 'confirm-email-change' ? 'Your password, to confirm the"
    " new address:' : 'Your new password:');\n"
    "  form.onsubmit = (event) => { event.preventDefault(); const password"
    " = document.getElementById('word').value; send({ password,"
    " passwordConfirm: password }); };\n"
    "} else say('There is nothing here.');\n"
    "</script></body></html>\n";

struct kb_reply
auth_page(struct kb_request *req)
{
	kb_reply_header(req, "Content-Security-Policy",
	    "default-src 'none'; script-src 'unsafe-inline'; connect-src"
	    " 'self'; frame-ancestors 'none'");
	return kb_bytes_reply(
	    req, 200, "text/html; charset=utf-8", page, sizeof(page) - 1);
}

API_HANDLER(oauth2_redirect_get, API_GUESTS, by_get)
API_HANDLER(oauth2_redirect_post, API_GUESTS, by_post)
