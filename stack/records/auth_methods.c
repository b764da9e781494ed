/* GET …/auth-methods: how one may sign in to a collection. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "auth_provider.h"

struct challenge {
	const char *state, *verifier, *challenge, *method;
};

struct offer {
	const char *name, *display, *url;
	struct challenge challenge;
};

struct methods {
	const struct auth_options *o;
	struct offer *offers;
	size_t n;
};

static bool
by_identity(const struct auth_options *o, const char *name)
{
	for (size_t i = 0; o->password && o->identity_fields[i] != NULL; i++)
		if (strcmp(o->identity_fields[i], name) == 0)
			return true;
	return false;
}

static struct challenge
make_challenge(struct kb_arena *a, bool pkce)
{
	struct challenge c = { random_key(a, 30), "", "", "" };
	unsigned char digest[KB_SHA256_SIZE];

	if (!pkce)
		return c;
	c.verifier = random_key(a, 43);
	kb_sha256(c.verifier, strlen(c.verifier), digest);
	c.challenge = kb_base64url(a, digest, sizeof(digest));
	c.method = "S256";
	return c;
}

static void
add_param(struct kb_buf *b, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	kb_buf_addf(b, "%s%s=", b->ptr[b->len - 1] == '?' ? "" : "&", name);
	kb_percent_encode(b, value, "");
}

/* The client puts its own address behind it. */
static const char *
auth_url(struct kb_arena *a, const struct provider *p, const char *client_id,
    const struct challenge *c)
{
	struct kb_buf b;
	const char *out;

	kb_buf_init(&b, 16384);
	kb_buf_adds(&b, p->auth_url);
	kb_buf_adds(&b, strchr(p->auth_url, '?') ? "" : "?");
	if (b.len == 0)
		return "";
	add_param(&b, "client_id", client_id);
	add_param(&b, "code_challenge", c->challenge);
	add_param(&b, "code_challenge_method", c->method);
	kb_buf_adds(&b, p->auth_extra);
	add_param(&b, "response_type", "code");
	add_param(&b, "scope", p->scopes);
	add_param(&b, "state", c->state);
	kb_buf_adds(&b, "&redirect_uri=");
	out = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}

static void
make_offers(struct kb_arena *a, struct methods *m)
{
	m->offers = kb_new_array(a, m->o->n_providers + 1, struct offer);
	for (size_t i = 0; m->o->oauth2 && i < m->o->n_providers; i++) {
		const struct oauth2_provider *conf = &m->o->providers[i];
		struct offer *offer = &m->offers[m->n];
		struct provider p;

		if (provider_find(conf->name) == NULL)
			continue;
		provider_fill(conf, &p);
		offer->name = conf->name;
		offer->display = p.display;
		offer->challenge = make_challenge(a, p.pkce);
		offer->url = auth_url(
		    a, &p, conf->client_id, &offer->challenge);
		m->n++;
	}
}

static void
write_offers(struct kb_jsonw *w, const char *name, const struct methods *m)
{
	kb_w_array(w, name);
	for (size_t i = 0; i < m->n; i++) {
		const struct offer *o = &m->offers[i];

		kb_w_object(w, NULL);
		kb_w_str(w, "name", o->name);
		kb_w_str(w, "displayName", o->display);
		kb_w_str(w, "state", o->challenge.state);
		kb_w_str(w, "authURL", o->url);
		kb_w_str(w, "authUrl", o->url);
		kb_w_str(w, "codeVerifier", o->challenge.verifier);
		kb_w_str(w, "codeChallenge", o->challenge.challenge);
		kb_w_str(w, "codeChallengeMethod", o->challenge.method);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static void
write_factor(struct kb_jsonw *w, const char *name, bool on, int64_t seconds)
{
	kb_w_object(w, name);
	kb_w_bool(w, "enabled", on);
	kb_w_int(w, "duration", on ? seconds : 0);
	kb_w_object_end(w);
}

static void
methods_json(struct kb_jsonw *w, const void *obj)
{
	const struct methods *m = obj;
	const struct auth_options *o = m->o;

	kb_w_object(w, "password");
	kb_w_bool(w, "enabled", o->password);
	kb_w_array(w, "identityFields");
	for (size_t i = 0; o->password && o->identity_fields[i] != NULL; i++)
		kb_w_str(w, NULL, o->identity_fields[i]);
	kb_w_array_end(w);
	kb_w_object_end(w);
	kb_w_object(w, "oauth2");
	kb_w_bool(w, "enabled", o->oauth2);
	write_offers(w, "providers", m);
	kb_w_object_end(w);
	write_factor(w, "mfa", o->mfa, o->mfa_s);
	write_factor(w, "otp", o->otp, o->otp_s);
	/* What older clients read. */
	if (o->oauth2)
		write_offers(w, "authProviders", m);
	else
		kb_w_null(w, "authProviders");
	kb_w_bool(w, "usernamePassword", by_identity(o, "username"));
	kb_w_bool(w, "emailPassword", by_identity(o, "email"));
}

static struct kb_reply
methods(struct api *api)
{
	struct kb_reply reply;
	const struct collection *c = auth_context(api, &reply);
	struct methods m = { NULL, NULL, 0 };

	if (c == NULL)
		return reply;
	m.o = c->auth_options;
	make_offers(api->req->cx.arena, &m);
	return kb_bare(api->req, 200, methods_json, &m);
}

API_HANDLER(auth_methods, API_GUESTS, methods)
