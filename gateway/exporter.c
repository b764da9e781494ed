/*
 * Exporters: each a queue with a ceiling and a thread that sends what is in
 * it. A collector that is slow or away costs items, which are counted and
 * told once, and no request anything.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kombi/crypto.h>
#include <kombi/fetch.h>
#include <kombi/log.h>
#include <kombi/metrics.h>
#include <kombi/str.h>

#include "gateway.h"

enum { BYTES_MAX = 16 << 20, FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 8000 };

/* Items with a comma after each, and where each ends. */
struct items {
	struct kb_buf text, ends;
	size_t n;
};

struct exporter {
	struct exporter_conf conf; /* in `arena` */
	struct kb_arena *arena;
	struct exporter *next;
	unsigned refs;
	bool started, idle, failing;
	struct items items;
	pthread_cond_t work;
	struct kb_series *sent, *dropped;
};

/* Covers all of it: an item is added within a microsecond. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct exporter *first;
static bool stopping;

static struct kb_metric sent_total = {
	.kind = KB_COUNTER,
	.name = "gateway_exported_total",
	.help = "Items that a collector took",
	.labels = { "exporter" },
};

static struct kb_metric dropped_total = {
	.kind = KB_COUNTER,
	.name = "gateway_export_dropped_total",
	.help = "Items that no collector took, or there was no room for",
	.labels = { "exporter" },
};

/* ---- making and finding ----------------------------------------------------
 */

static bool
same_headers(const char *const *a, const char *const *b)
{
	for (; *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return *a == NULL && *b == NULL;
}

static bool
same_conf(const struct exporter_conf *a, const struct exporter_conf *b)
{
	return kb_str_eq(a->name, b->name) && kb_str_eq(a->url, b->url) &&
	    kb_str_eq(a->method, b->method) &&
	    kb_str_eq(a->content_type, b->content_type) &&
	    kb_str_eq(a->before, b->before) && kb_str_eq(a->after, b->after) &&
	    same_headers(a->headers, b->headers) && a->batch == b->batch &&
	    a->delay_ms == b->delay_ms && a->queue == b->queue &&
	    a->timeout_ms == b->timeout_ms && a->retry_ms == b->retry_ms;
}

static const char *const *
copy_headers(struct kb_arena *a, const char *const *headers)
{
	const char **v;
	size_t n = 0;

	while (headers[n])
		n++;
	v = kb_new_array(a, n + 1, const char *);
	for (size_t i = 0; i < n; i++)
		v[i] = kb_strdup(a, headers[i]);
	return v;
}

static struct exporter *
exporter_new(const struct exporter_conf *c)
{
	struct exporter *e = kb_xalloc(sizeof(*e));
	struct kb_arena *a = kb_arena_new(1024);
	const char *const labels[KB_METRIC_LABELS] = { c->name };
	pthread_condattr_t attr;

	e->arena = a;
	e->conf = *c;
	e->conf.name = kb_strdup(a, c->name);
	e->conf.url = kb_strdup(a, c->url);
	e->conf.method = kb_strdup(a, c->method);
	e->conf.content_type = kb_strdup(a, c->content_type);
	e->conf.before = kb_strdup(a, c->before);
	e->conf.after = kb_strdup(a, c->after);
	e->conf.headers = copy_headers(a, c->headers);
	kb_buf_init(&e->items.text, BYTES_MAX);
	kb_buf_init(&e->items.ends, BYTES_MAX);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->work, &attr);
	pthread_condattr_destroy(&attr);
	kb_metric_register(&sent_total);
	kb_metric_register(&dropped_total);
	e->sent = kb_metric_series(&sent_total, labels);
	e->dropped = kb_metric_series(&dropped_total, labels);
	return e;
}

struct exporter *
exporter_get(const struct exporter_conf *conf)
{
	struct exporter *e;

	pthread_mutex_lock(&mutex);
	for (e = first; e; e = e->next)
		if (e->refs && same_conf(&e->conf, conf))
			break;
	if (e == NULL) {
		e = exporter_new(conf);
		e->next = first;
		first = e;
	}
	e->refs++;
	pthread_mutex_unlock(&mutex);
	return e;
}

/* With the lock held. */
static void
exporter_free(struct exporter *e)
{
	struct exporter **at = &first;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	for (size_t i = 0; e->conf.headers[i]; i++)
		kb_wipe((char *)(uintptr_t)e->conf.headers[i],
		    strlen(e->conf.headers[i]));
	kb_buf_free(&e->items.text);
	kb_buf_free(&e->items.ends);
	pthread_cond_destroy(&e->work);
	kb_arena_free(e->arena);
	free(e);
}

void
exporter_put(struct exporter *e)
{
	if (e == NULL)
		return;
	pthread_mutex_lock(&mutex);
	if (--e->refs == 0) {
		if (e->started)
			pthread_cond_signal(&e->work);
		else
			exporter_free(e);
	}
	pthread_mutex_unlock(&mutex);
}

/* ---- sending ---------------------------------------------------------------
 */

static struct timespec
deadline_in(int64_t ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += (time_t)(ms / 1000);
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

static bool
is_ending(const struct exporter *e)
{
	return stopping || e->refs == 0;
}

/* Once per row of failures, and once when it is over. */
static void
tell(struct exporter *e, bool failed, const struct kb_fetched *got)
{
	if (failed && !e->failing)
		kb_warn(NULL, "a collector does not take what was observed",
		    KB_S("exporter", e->conf.name),
		    KB_N("statusCode", got->status),
		    KB_S("error", got->error ? got->error : ""));
	else if (!failed && e->failing)
		kb_info(NULL, "a collector takes what was observed again",
		    KB_S("exporter", e->conf.name));
	e->failing = failed;
}

/* OTLP/HTTP: these may be tried again, all else is for nothing. */
static bool
may_repeat(int status)
{
	return status == 0 || status == 429 || status == 502 || status == 503 ||
	    status == 504;
}

/* One request. True when it need not be tried again. */
static bool
post(struct exporter *e, const struct kb_buf *body, size_t n)
{
	struct kb_arena *a = kb_arena_new(4096);
	struct kb_fetched got;
	enum kb_err err = kb_fetch(a, NULL,
	    &(struct kb_fetch) {
		.method = e->conf.method,
		.url = e->conf.url,
		.reach = KB_REACH_INTERNAL,
		.headers = e->conf.headers,
		.body = body->ptr,
		.body_len = body->len,
		.content_type = e->conf.content_type,
		.timeout_ms = e->conf.timeout_ms,
		.quiet = true,
	    },
	    &got);
	bool taken = err == KB_OK && got.status >= 200 && got.status <= 299;
	bool again = !taken && may_repeat(got.status);

	tell(e, !taken, &got);
	kb_arena_free(a);
	if (taken)
		kb_series_add(e->sent, (double)n);
	else if (!again)
		kb_series_add(e->dropped, (double)n);
	return !again;
}

/* Waits with the queue open; false when it is not worth while any more. */
static bool
wait_to_repeat(struct exporter *e, int64_t ms)
{
	struct timespec until = deadline_in(ms);
	bool on;

	pthread_mutex_lock(&mutex);
	while (!is_ending(e) &&
	    pthread_cond_timedwait(&e->work, &mutex, &until) == 0)
		continue;
	on = !is_ending(e);
	pthread_mutex_unlock(&mutex);
	return on;
}

static void
send_batch(struct exporter *e, const struct kb_buf *body, size_t n)
{
	int64_t wait = FIRST_WAIT_MS, waited = 0;

	while (!post(e, body, n)) {
		if (waited + wait > e->conf.retry_ms ||
		    !wait_to_repeat(e, wait)) {
			kb_series_add(e->dropped, (double)n);
			return;
		}
		waited += wait;
		wait = wait * 2 < LONGEST_WAIT_MS ? wait * 2 : LONGEST_WAIT_MS;
	}
}

static size_t
end_of(const struct items *items, size_t i)
{
	size_t end;

	memcpy(&end, items->ends.ptr + i * sizeof(end), sizeof(end));
	return end;
}

static void
send_items(struct exporter *e, const struct items *items)
{
	size_t batch = (size_t)e->conf.batch, from = 0;
	struct kb_buf body;

	kb_buf_init(&body, BYTES_MAX + 65536);
	for (size_t i = 0; i < items->n; i += batch) {
		size_t n = items->n - i < batch ? items->n - i : batch;
		size_t to = end_of(items, i + n - 1);

		kb_buf_reset(&body);
		kb_buf_adds(&body, e->conf.before);
		kb_buf_add(&body, items->text.ptr + from, to - from - 1);
		kb_buf_adds(&body, e->conf.after);
		send_batch(e, &body, n);
		from = to;
	}
	kb_buf_free(&body);
}

/* Until a batch is full or an item has waited long enough; the lock is held.
 * False: there is nothing, and there will be nothing. */
static bool
await_items(struct exporter *e, struct items *out)
{
	struct timespec until;

	while (e->items.n == 0 && !is_ending(e)) {
		e->idle = true;
		pthread_cond_wait(&e->work, &mutex);
	}
	e->idle = false;
	if (e->items.n == 0)
		return false;
	until = deadline_in(e->conf.delay_ms);
	while (e->items.n < (size_t)e->conf.batch && !is_ending(e) &&
	    pthread_cond_timedwait(&e->work, &mutex, &until) == 0)
		continue;
	*out = e->items;
	e->items.n = 0;
	kb_buf_init(&e->items.text, BYTES_MAX);
	kb_buf_init(&e->items.ends, BYTES_MAX);
	return true;
}

static void *
run(void *arg)
{
	struct exporter *e = arg;
	struct items items;

	pthread_mutex_lock(&mutex);
	while (await_items(e, &items)) {
		pthread_mutex_unlock(&mutex);
		send_items(e, &items);
		kb_buf_free(&items.text);
		kb_buf_free(&items.ends);
		pthread_mutex_lock(&mutex);
	}
	e->started = false;
	if (e->refs == 0)
		exporter_free(e);
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

/* With the lock held. Signals are for the main thread. */
static bool
start(struct exporter *e)
{
	sigset_t all, before;
	pthread_t thread;

	if (e->started || stopping)
		return e->started;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	e->started = pthread_create(&thread, NULL, run, e) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (e->started)
		pthread_detach(thread);
	return e->started;
}

void
exporter_add(struct exporter *e, const char *item, size_t len)
{
	struct items *q = &e->items;
	size_t end;

	pthread_mutex_lock(&mutex);
	if (q->n >= (size_t)e->conf.queue || q->text.len + len >= BYTES_MAX ||
	    !start(e)) {
		kb_series_add(e->dropped, 1);
		pthread_mutex_unlock(&mutex);
		return;
	}
	kb_buf_add(&q->text, item, len);
	kb_buf_addc(&q->text, ',');
	end = q->text.len;
	kb_buf_add(&q->ends, &end, sizeof(end));
	q->n++;
	if (e->idle || q->n == (size_t)e->conf.batch)
		pthread_cond_signal(&e->work);
	e->idle = false;
	pthread_mutex_unlock(&mutex);
}

static bool
any_started(void)
{
	for (const struct exporter *e = first; e; e = e->next)
		if (e->started)
			return true;
	return false;
}

void
exporters_stop(int64_t ms)
{
	struct timespec until;

	pthread_mutex_lock(&mutex);
	stopping = true;
	for (struct exporter *e = first; e; e = e->next)
		pthread_cond_signal(&e->work);
	clock_gettime(CLOCK_REALTIME, &until); /* as `ended` is made */
	until.tv_sec += (time_t)(ms / 1000) + 1;
	while (any_started() &&
	    pthread_cond_timedwait(&ended, &mutex, &until) == 0)
		continue;
	stopping = false;
	pthread_mutex_unlock(&mutex);
}
