/*
 * Sends the outbox: what a change must tell other services is written with
 * the change and sent until it was taken, so that neither is lost when one
 * side is away. Receivers take the same letter twice without harm.
 */
#include <string.h>

#include <kombi/fetch.h>
#include <kombi/str.h>

#include "admin.h"

#define IDLE_MS 5000 /* when nobody wakes the sender */
#define DELAY_S 1    /* doubled with each attempt */
#define DELAY_MAX_S 300
#define TIMEOUT_MS 5000

static enum kb_err
send_letter(struct kb_app *app, struct kb_cx *cx, const struct letter *l,
    struct kb_fetched *answer)
{
	struct kb_pair_keys keys;
	const char *headers[2] = { NULL, NULL };
	struct kb_fetch f = {
		.method = l->method,
		.url = l->url,
		.reach = KB_REACH_INTERNAL,
		.headers = headers,
		.body = l->body,
		.body_len = strlen(l->body),
		.timeout_ms = TIMEOUT_MS,
		.request_id = l->id,
	};

	kb_pair_keys(&app->common->service_secret,
	    &app->common->service_secret_next, "admin", l->callee, &keys);
	headers[0] = kb_sprintf(cx->arena, "Authorization: Bearer %s",
	    kb_service_token(cx->arena, &keys, "admin", l->callee));
	return kb_fetch(cx->arena, cx->log, &f, answer);
}

static int64_t
delay_of(int64_t attempts)
{
	int64_t s = DELAY_S;

	while (--attempts > 0 && s < DELAY_MAX_S)
		s *= 2;
	return s < DELAY_MAX_S ? s : DELAY_MAX_S;
}

/* What the callee says is wrong with the letter will be wrong again. */
static bool
is_final(int status)
{
	return status == 400 || status == 409 || status == 413 || status == 422;
}

static enum kb_err
deliver(struct kb_app *app, struct kb_cx *cx, const struct letter *l)
{
	struct kb_fetched answer = { 0 };
	const char *error;

	if (send_letter(app, cx, l, &answer))
		error = "no answer";
	else if (answer.status >= 200 && answer.status < 300)
		return outbox_sent(cx, l);
	else
		error = kb_sprintf(cx->arena, "status %d", answer.status);
	kb_warn(cx->log, "a service did not take a message",
	    KB_S("callee", l->callee), KB_S("messageId", l->id),
	    KB_S("error", error), KB_N("attempts", l->attempts));
	return outbox_failed(
	    cx, l, error, delay_of(l->attempts), is_final(answer.status));
}

int64_t
outbox_work(struct kb_app *app, struct kb_cx *cx)
{
	struct letter l;
	int64_t ms;

	/* A letter to be repeated in a second waits a second, not longer. */
	if (outbox_take(cx, &l))
		return outbox_wait(cx, IDLE_MS, &ms) ? IDLE_MS : ms;
	if (deliver(app, cx, &l))
		return IDLE_MS;
	return 0;
}
