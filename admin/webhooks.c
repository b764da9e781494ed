/*
 * Webhooks of Stripe and Zitadel: judged by their signature, stored, and
 * answered; what they ask for is done later, from what was stored. So an
 * answer of 200 means that nothing is lost, and a repeated delivery is
 * nothing new. Neither secret, signature nor payload is ever logged.
 */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>
#include <kombi/webhook.h>

#include "admin.h"

#define RETRY_S "5"

struct provider {
	const char *name;
	const char *header, *beside; /* beside NULL: none */
	size_t secret, secret_next;  /* offsets in the configuration */
	webhook_read *read;
	const char *worker; /* to be woken; NULL: none */
};

#define SECRET(member)                                                         \
	KB_OFFSET_OF(struct admin_config, member, struct kb_secret)

static const struct provider stripe = {
	.name = "stripe",
	.header = "Stripe-Signature",
	.secret = SECRET(stripe_webhook),
	.secret_next = SECRET(stripe_webhook_next),
	.read = webhook_read_stripe,
};

static const struct provider zitadel = {
	.name = "zitadel",
	.header = "ZITADEL-Signature",
	.beside = "ZITADEL-Timestamp",
	.secret = SECRET(zitadel_webhook),
	.secret_next = SECRET(zitadel_webhook_next),
	.read = webhook_read_zitadel,
	.worker = "webhooks",
};

static const struct kb_secret *
secret_at(struct kb_request *req, size_t offset)
{
	const char *config = (const char *)admin_config(kb_app(req));

	return (const void *)(config + offset);
}

static enum kb_err
judge(struct kb_request *req, const struct provider *p)
{
	const struct kb_webhook w = {
		.signature = kb_header(req, p->header),
		.timestamp = p->beside ? kb_header(req, p->beside) : NULL,
		.body = { req->body, req->body_len },
		.now_s = kb_wall_s(),
	};

	return kb_webhook_verify(
	    &w, secret_at(req, p->secret), secret_at(req, p->secret_next));
}

/*
 * Anybody may send rubbish as fast as he likes: one row a second says how
 * much it was, so that he cannot fill the audit log.
 */
static void
audit_rejection(
    struct kb_request *req, const struct provider *p, enum kb_err why)
{
	struct admin_state *state = admin_state(kb_app(req));
	int64_t now = kb_mono_ms() / 1000;
	const char *details;

	atomic_fetch_add(&state->rejected, 1);
	if (atomic_exchange(&state->rejected_s, now) == now)
		return;
	details = kb_sprintf(req->cx.arena,
	    "{\"provider\":\"%s\",\"code\":\"%s\",\"count\":%lld}", p->name,
	    kb_err_code(why), (long long)atomic_exchange(&state->rejected, 0));
	if (kb_audit(
		req, &req->cx, "webhook.rejected", "webhook", p->name, details))
		kb_warn(req->cx.log, "a refused webhook was not audited",
		    KB_S("provider", p->name));
}

static struct kb_reply
refuse(struct kb_request *req, const struct provider *p, enum kb_err err)
{
	if (err == KB_CONFIGURATION)
		return kb_fail(req, err,
		    "No secret is configured for webhooks of %s", p->name);
	audit_rejection(req, p, err);
	return kb_fail(req, err, NULL);
}

static void
received_json(struct kb_jsonw *w, const void *obj)
{
	const struct kb_request *req = obj;

	kb_w_bool(w, "received", true);
	kb_w_str(w, "requestId", req->id);
}

static struct kb_reply
keep(struct kb_request *req, const struct provider *p, struct webhook_event *e,
    const char *customer)
{
	bool fresh;
	enum kb_err err;

	e->id = kb_id_new(req->cx.arena, "whe");
	err = webhook_insert(&req->cx, e, customer, &fresh);
	if (err) {
		kb_reply_header(req, "Retry-After", RETRY_S);
		return kb_fail(req, err, NULL);
	}
	if (fresh && p->worker != NULL)
		kb_background_wake(kb_app(req), p->worker);
	return kb_bare(req, 200, received_json, req);
}

static struct kb_reply
receive(struct kb_request *req, const struct provider *p)
{
	struct webhook_event e = { .provider = p->name, .payload = req->body };
	const struct kb_json *j = NULL;
	const char *why = NULL, *customer = NULL;
	enum kb_err err = judge(req, p);

	if (err)
		return refuse(req, p, err);
	if (kb_json_parse(req->cx.arena, req->body, req->body_len, &j, &why))
		return kb_fail(req, KB_INVALID, "The body is no JSON: %s", why);
	if (kb_json_kind(j) != KB_JSON_OBJECT)
		return kb_fail(req, KB_INVALID, "The body must be an object");
	why = p->read(req->cx.arena, j, &e, &customer);
	if (why != NULL)
		return kb_fail(req, KB_INVALID, "The event is none: %s", why);
	return keep(req, p, &e, customer);
}

struct kb_reply
webhooks_stripe(struct kb_request *req)
{
	return receive(req, &stripe);
}

struct kb_reply
webhooks_zitadel(struct kb_request *req)
{
	return receive(req, &zitadel);
}

struct health {
	bool configured, development;
	const char *now;
};

static void
health_json(struct kb_jsonw *w, const void *obj)
{
	const struct health *h = obj;

	kb_w_str(w, "status", h->configured ? "healthy" : "unhealthy");
	kb_w_object(w, "checks");
	kb_w_bool(w, "webhookSecretConfigured", h->configured);
	kb_w_object_end(w);
	kb_w_str(
	    w, "environment", h->development ? "development" : "production");
	kb_w_str(w, "timestamp", h->now);
}

static struct kb_reply
health(struct kb_request *req, const struct provider *p)
{
	struct health h = {
		.configured = kb_secret_is_set(secret_at(req, p->secret)) ||
		    kb_secret_is_set(secret_at(req, p->secret_next)),
		.development = kb_app(req)->common->environment ==
		    KB_ENV_DEVELOPMENT,
		.now = kb_now_text(req->cx.arena),
	};

	return kb_bare(req, h.configured ? 200 : 503, health_json, &h);
}

struct kb_reply
webhooks_stripe_health(struct kb_request *req)
{
	return health(req, &stripe);
}

struct kb_reply
webhooks_zitadel_health(struct kb_request *req)
{
	return health(req, &zitadel);
}

/* For operators: everything but the payload, which holds people's data. */
static void
event_json(struct kb_jsonw *w, const void *obj)
{
	const struct webhook_event *e = obj;

	kb_w_str(w, "id", e->id);
	kb_w_str(w, "provider", e->provider);
	kb_w_str(w, "eventId", e->event_id);
	kb_w_str(w, "type", e->type);
	kb_w_str(w, "object", e->object);
	kb_w_str(w, "status", e->status);
	kb_w_int(w, "attempts", e->attempts);
	kb_w_str(w, "error", e->error);
	kb_w_str(w, "receivedAt", e->received);
	kb_w_str(w, "processedAt", e->processed);
}

static bool
one_of(struct kb_request *req, const char *name, const char *value,
    const char *const *choices)
{
	if (value == NULL)
		return true;
	for (size_t i = 0; choices[i] != NULL; i++)
		if (strcmp(choices[i], value) == 0)
			return true;
	kb_bad_field(req, name, "is none of those that there are");
	return false;
}

struct kb_reply
webhooks_list(struct kb_request *req)
{
	static const char *const providers[] = { "stripe", "zitadel", NULL };
	static const char *const states[] = { "pending", "done", "ignored",
		"failed", NULL };
	const struct webhook_filter f = {
		.provider = kb_query_param(req, "provider"),
		.status = kb_query_param(req, "status"),
	};
	struct kb_page page;
	struct webhook_event *rows;
	size_t n;
	enum kb_err err;
	bool good = kb_read_page(req, &page);

	good = one_of(req, "provider", f.provider, providers) && good;
	good = one_of(req, "status", f.status, states) && good;
	if (!good)
		return kb_invalid(req);
	err = webhooks_page(&req->cx, &f, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, event_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
webhooks_retry(struct kb_request *req)
{
	const char *id = kb_param(req, "id");
	enum kb_err err = webhook_retry(&req->cx, id);

	if (!err)
		err = kb_audit(
		    req, &req->cx, "webhook.retried", "webhook", id, NULL);
	if (err)
		return kb_fail(req, err, NULL);
	kb_background_wake(kb_app(req), zitadel.worker);
	return kb_no_content(req);
}
