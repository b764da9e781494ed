/* Which way a tenant's mails go, and the queue of those that may wait. */
#include "mail.h"

#include <stdlib.h>
#include <string.h>

#include <kombi/mail.h>
#include <kombi/str.h>

#define QUEUE_MAX 1000
#define TEXT_MAX (1u << 20)
#define IDLE_MS 60000

struct waiting {
	struct kb_arena *arena;
	struct settings settings;
	struct stack_mail mail;
	struct waiting *next;
};

struct mail_queue {
	pthread_mutex_t lock;
	struct waiting *first, **last;
	unsigned n;
};

struct mail_queue *
mail_queue_new(void)
{
	struct mail_queue *q = kb_xalloc(sizeof(*q));

	*q = (struct mail_queue) { .n = 0 };
	q->last = &q->first;
	pthread_mutex_init(&q->lock, NULL);
	return q;
}

static struct waiting *
take(struct mail_queue *q)
{
	struct waiting *w;

	pthread_mutex_lock(&q->lock);
	w = q->first;
	if (w != NULL) {
		q->first = w->next;
		q->n--;
		if (q->first == NULL)
			q->last = &q->first;
	}
	pthread_mutex_unlock(&q->lock);
	return w;
}

static bool
put(struct mail_queue *q, struct waiting *w)
{
	bool room;

	pthread_mutex_lock(&q->lock);
	room = q->n < QUEUE_MAX;
	if (room) {
		*q->last = w;
		q->last = &w->next;
		q->n++;
	}
	pthread_mutex_unlock(&q->lock);
	return room;
}

void
mail_queue_free(struct mail_queue *q)
{
	struct waiting *w;

	while ((w = take(q)) != NULL)
		kb_arena_free(w->arena);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* ---- sending
 * --------------------------------------------------------------------- */

static bool
is_given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

/* A tenant of a shared instance does not reach what is behind it. */
static bool
may_reach_all(struct kb_app *app)
{
	return app->common->environment == KB_ENV_DEVELOPMENT ||
	    app->common->mode == KB_MODE_SELF_HOSTED;
}

static struct kb_smtp
server_of(struct kb_app *app, const struct settings *s)
{
	const struct stack_config *c = stack_config(app);
	size_t len;

	if (s->smtp)
		return (struct kb_smtp) {
			.host = s->smtp_host,
			.port = s->smtp_port,
			.tls = s->smtp_tls,
			.user = s->smtp_user,
			.password = s->smtp_password,
			.auth = s->smtp_auth,
			.local_name = s->smtp_local_name,
			.any_address = may_reach_all(app),
		};
	return (struct kb_smtp) {
		.host = c->smtp_host,
		.port = c->smtp_port,
		.tls = c->smtp_tls,
		.user = c->smtp_user,
		.password = kb_secret_is_set(&c->smtp_password)
		    ? (const char *)kb_secret_reveal(&c->smtp_password, &len)
		    : NULL,
		.any_address = true,
	};
}

enum kb_err
mail_send(struct kb_app *app, struct kb_cx *cx, const struct settings *s,
    const struct stack_mail *m)
{
	const struct stack_config *c = stack_config(app);
	bool instance = !s->smtp && is_given(c->smtp_host);
	struct kb_smtp server = server_of(app, s);
	struct kb_mail mail = {
		.from_name = s->sender_name,
		.from = instance && is_given(c->smtp_from) ? c->smtp_from
							   : s->sender_address,
		.to = m->to,
		.subject = m->subject,
		.html = m->html,
	};

	if (s->smtp || instance)
		return kb_smtp_send(cx->arena, cx->log, &server, &mail);
	if (is_given(c->mail_dir) &&
	    app->common->environment == KB_ENV_DEVELOPMENT)
		return kb_mail_drop(cx->arena, cx->log, c->mail_dir, &mail);
	kb_warn(cx->log, "mail not sent", KB_S("error", "no server is set"));
	return KB_CONFIGURATION;
}

static struct settings
copy_settings(struct kb_arena *a, const struct settings *s)
{
	return (struct settings) {
		.sender_name = kb_strdup(a, s->sender_name),
		.sender_address = kb_strdup(a, s->sender_address),
		.smtp = s->smtp,
		.smtp_host = kb_strdup(a, s->smtp_host),
		.smtp_port = s->smtp_port,
		.smtp_tls = s->smtp_tls,
		.smtp_user = kb_strdup(a, s->smtp_user),
		.smtp_password = kb_strdup(a, s->smtp_password),
		.smtp_auth = kb_strdup(a, s->smtp_auth),
		.smtp_local_name = kb_strdup(a, s->smtp_local_name),
	};
}

void
mail_post(struct kb_app *app, struct kb_cx *cx, const struct settings *s,
    const struct stack_mail *m)
{
	struct kb_arena *a = kb_arena_new(0);
	struct waiting *w = kb_new(a, struct waiting);

	w->arena = a;
	w->settings = copy_settings(a, s);
	w->mail.to = kb_strdup(a, m->to);
	w->mail.subject = kb_strdup(a, m->subject);
	w->mail.html = kb_strdup(a, m->html);
	if (put(stack_state(app)->mails, w)) {
		kb_background_wake(app, "mail");
		return;
	}
	kb_warn(cx->log, "mail not sent", KB_S("error", "too many wait"));
	kb_arena_free(a);
}

int64_t
mail_work(struct kb_app *app, struct kb_cx *cx)
{
	struct waiting *w = take(stack_state(app)->mails);
	enum kb_err err;

	if (w == NULL)
		return IDLE_MS;
	err = mail_send(app, cx, &w->settings, &w->mail);
	if (err)
		kb_warn(
		    cx->log, "mail given up", KB_S("error", kb_err_text(err)));
	kb_arena_free(w->arena);
	return 0;
}

/* ---- templates
 * ------------------------------------------------------------------- */

static const struct placeholder *
placeholder_at(const char *text, const struct placeholder *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (kb_str_starts(text, p[i].name))
			return &p[i];
	return NULL;
}

const char *
mail_fill(
    struct kb_arena *a, const char *text, const struct placeholder *p, size_t n)
{
	struct kb_buf b;
	const char *out;

	kb_buf_init(&b, TEXT_MAX);
	while (*text != '\0') {
		const struct placeholder *at = *text == '{'
		    ? placeholder_at(text, p, n)
		    : NULL;

		if (at == NULL) {
			kb_buf_addc(&b, *text++);
			continue;
		}
		kb_buf_adds(&b, at->value);
		text += strlen(at->name);
	}
	out = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}

const char *
mail_escape(struct kb_arena *a, const char *text)
{
	static const struct placeholder entities[] = {
		{ "&", "&amp;" },
		{ "<", "&lt;" },
		{ ">", "&gt;" },
		{ "\"", "&#34;" },
		{ "'", "&#39;" },
	};
	struct kb_buf b;
	const char *out;

	kb_buf_init(&b, TEXT_MAX);
	for (; *text != '\0'; text++) {
		const struct placeholder *e = placeholder_at(
		    text, entities, KB_COUNT(entities));

		if (e != NULL)
			kb_buf_adds(&b, e->value);
		else
			kb_buf_addc(&b, *text);
	}
	out = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return out;
}
