/*
 * Mails of tenants: by the server of the tenant's settings, else by the
 * instance's, else (development) into a folder.
 */
#ifndef STACK_MAIL_H
#define STACK_MAIL_H

#include "records/settings.h"

struct stack_mail {
	const char *to, *subject, *html;
};

struct mail_queue; /* thread-safe */
struct mail_queue *mail_queue_new(void);
void mail_queue_free(struct mail_queue *q); /* what waits is not sent */

/* At once, on the caller's thread. KB_CONFIGURATION: there is no way. */
enum kb_err mail_send(struct kb_app *app, struct kb_cx *cx,
    const struct settings *s, const struct stack_mail *m) KB_MUSTUSE;
/* Later, in the background, where failures are logged. Everything is copied.
 * Too many that wait are dropped with a line in the log. */
void mail_post(struct kb_app *app, struct kb_cx *cx, const struct settings *s,
    const struct stack_mail *m);

/*
 * A template's text with its placeholders ("{TOKEN}") replaced, in one pass:
 * what a value holds is never looked into.
 */
struct placeholder {
	const char *name, *value; /* "{APP_NAME}" */
};
const char *mail_fill(struct kb_arena *a, const char *text,
    const struct placeholder *p, size_t n);
/* & < > " ' as entities. */
const char *mail_escape(struct kb_arena *a, const char *text);

#endif
