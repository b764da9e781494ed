/*
 * Does what stored events ask for, in the transaction that marks them done:
 * an event is done once, wherever a process dies. Stripe's wait: they only
 * say that a customer must be read anew.
 */
#include <string.h>

#include <kombi/time.h>

#include "admin.h"

#define IDLE_MS 5000 /* when nobody wakes the worker */
#define TRIES 8
#define PURGE_MS (60 * 60 * 1000)

/* What events of Zitadel say of a user. */
static const struct hears {
	const char *type, *status; /* NULL: not how it stands */
	const char *audit;
	bool profile;
} hears[] = {
	{ "user.created", "active", "user.restored", true },
	{ "user.human.added", "active", "user.restored", true },
	{ "user.human.selfregistered", "active", "user.restored", true },
	{ "user.updated", NULL, NULL, true },
	{ "user.human.profile.changed", NULL, NULL, true },
	{ "user.human.email.changed", NULL, NULL, true },
	{ "user.deactivated", "suspended", "user.suspended", false },
	{ "user.locked", "suspended", "user.suspended", false },
	{ "user.reactivated", "active", "user.restored", false },
	{ "user.unlocked", "active", "user.restored", false },
	{ "user.deleted", "deleted", "user.deleted", false },
	{ "user.removed", "deleted", "user.deleted", false },
};

static const struct hears *
hears_of(const char *type)
{
	for (size_t i = 0; i < KB_COUNT(hears); i++)
		if (strcmp(hears[i].type, type) == 0)
			return &hears[i];
	return NULL;
}

static enum kb_err
do_zitadel(struct kb_cx *tx, const struct webhook_event *e, const char **status)
{
	const struct hears *h = hears_of(e->type);
	struct user_news news;
	struct kb_audit_event event = {
		.actor = "zitadel",
		.resource = "user",
		.resource_id = e->object,
		.request_id = e->id,
		.at_ms = kb_wall_ms(),
	};
	bool changed;
	enum kb_err err;

	*status = h ? "done" : "ignored";
	if (h == NULL)
		return KB_OK;
	webhook_user_news(tx->arena, e, &news);
	if (!h->profile)
		news.email = news.name = NULL;
	news.status = h->status;
	event.action = h->audit;
	err = user_hear(tx, &news, &changed);
	return !err && changed ? audit_store(tx, &event) : err;
}

static void
defer(struct kb_cx *cx, const struct webhook_event *e, enum kb_err cause)
{
	bool final = e->attempts + 1 >= TRIES;

	kb_warn(cx->log, "an event could not be done", KB_S("eventId", e->id),
	    KB_S("type", e->type), KB_S("error", kb_err_code(cause)),
	    KB_B("final", final));
	if (webhook_failed(
		cx, e, kb_err_code(cause), (int64_t)1 << e->attempts, final))
		kb_warn(cx->log, "an event's failure was not kept",
		    KB_S("eventId", e->id));
}

static int64_t
rest(struct kb_app *app, struct kb_cx *cx)
{
	struct admin_state *state = admin_state(app);
	int64_t ms;

	if (state->purge_ms <= kb_mono_ms()) {
		if (webhooks_purge(cx))
			kb_warn(cx->log, "old events were not forgotten");
		state->purge_ms = kb_mono_ms() + PURGE_MS;
	}
	return webhook_wait(cx, IDLE_MS, &ms) ? IDLE_MS : ms;
}

int64_t
webhooks_work(struct kb_app *app, struct kb_cx *cx)
{
	struct webhook_event e = { 0 };
	enum kb_err err = webhook_next(cx, do_zitadel, &e);

	if (!err)
		return 0;
	if (err == KB_NOT_FOUND)
		return rest(app, cx);
	/* The database is away: what it keeps is done when it is back. */
	if (err == KB_UNAVAILABLE || err == KB_TIMEOUT || e.id == NULL)
		return IDLE_MS;
	defer(cx, &e, err);
	return 0;
}
