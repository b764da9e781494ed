/*
 * What admin knows of tenants, as one loop remembers it. An answer serves for
 * 30 s (5 s when there is no tenant), longer while admin cannot be reached;
 * those who ask for the same at once share one question. Every second admin
 * is asked what changed: whoever asks for one of these waits for fresh news,
 * so that no request goes to an instance that a tenant has left.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum {
	BUCKETS = 1024,
	ENTRIES_MAX = 16384,
	TENANTS_MAX = 32,
	KEEP_MS = 30000,
	KEEP_NONE_MS = 5000,
	RETRY_MS = 1000,
	STALE_MS = 24 * 3600 * 1000,
	ASK_MS = 5000,
	ANSWER_MAX = 256 * 1024,
	CHANGES_MS = 1000,
	OVERLAP_MS = 3000, /* transactions that ended late */
	IDLE_MS = 60000,   /* nobody asked: changes do not matter */
	UNKNOWN_PER_MINUTE = 60,
};

/* One exchange that waits for an answer. */
struct waiter {
	struct exchange *x;
	struct waiter *next;
	struct entry *entry;
};

struct entry {
	struct entry *next;
	enum tenants_by by;
	char *id;
	struct tenant_at tenants[TENANTS_MAX];
	struct tenant_list list;
	int64_t known_ms; /* when admin answered last; 0: never */
	int64_t fresh_ms; /* no question before that time */
	enum kb_err err;  /* of the last question */
	bool asking;
	bool changed; /* what is known is known to be old */
	struct ask ask;
	char *path, *headers;
	struct waiter *waiters;
};

struct table {
	struct loop *loop;
	struct entry *buckets[BUCKETS];
	size_t n;
	/* what changed */
	char *admin_service;
	struct event *timer;
	struct ask changes;
	char *path, *headers;
	bool asking;
	int64_t since_ms; /* admin's clock; 0: not known yet */
	int64_t used_ms;
};

static const struct {
	const char *before, *after; /* the id */
} paths[] = {
	[TENANTS_OF_ORG] = { "/api/internal/tenants/by-org/", "" },
	[TENANTS_OF_USER] = { "/api/internal/users/", "/tenants" },
	[TENANTS_BY_SLUG] = { "/api/internal/tenants/", "" },
};

/* ---- entries --------------------------------------------------------------
 */

static void
forget_tenants(struct entry *e)
{
	for (size_t i = 0; i < e->list.n; i++) {
		free((char *)(uintptr_t)e->tenants[i].slug);
		free((char *)(uintptr_t)e->tenants[i].endpoint);
	}
	memset(e->tenants, 0, sizeof(e->tenants));
	e->list = (struct tenant_list) { .v = e->tenants };
}

static void
entry_free(struct entry *e)
{
	if (e->asking)
		ask_cancel(&e->ask);
	kb_buf_free(&e->ask.body);
	forget_tenants(e);
	free(e->path);
	free(e->headers);
	free(e->id);
	free(e);
}

/* Makes room: forgets what nobody waits for, in the bucket at hand. */
static void
forget(struct table *t, struct entry **bucket)
{
	struct entry **at = bucket;

	while (*at != NULL) {
		struct entry *e = *at;

		if (e->asking || e->waiters) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		entry_free(e);
		t->n--;
	}
}

static struct entry *
find(struct table *t, enum tenants_by by, const char *id, struct entry ***where)
{
	struct entry **bucket = &t->buckets[kb_hash(id, strlen(id)) % BUCKETS];

	*where = bucket;
	for (struct entry *e = *bucket; e != NULL; e = e->next)
		if (e->by == by && kb_str_eq(e->id, id))
			return e;
	return NULL;
}

static struct entry *
entry_of(struct table *t, enum tenants_by by, const char *id)
{
	struct entry **bucket, *e = find(t, by, id, &bucket);

	if (e != NULL)
		return e;
	if (t->n >= ENTRIES_MAX)
		forget(t, bucket);
	e = kb_xalloc(sizeof(*e));
	memset(e, 0, sizeof(*e));
	e->by = by;
	e->id = kb_xstrdup(id);
	e->list.v = e->tenants;
	kb_buf_init(&e->ask.body, ANSWER_MAX);
	e->next = *bucket;
	*bucket = e;
	t->n++;
	return e;
}

/* ---- answers --------------------------------------------------------------
 */

/* States in which an instance takes requests; tenants leave one by one while
 * it is being decommissioned. */
static bool
is_usable(const struct kb_json *instance)
{
	const char *status = kb_json_str(instance, "status");
	const char *health = kb_json_str(instance, "health");

	return !kb_str_eq(health, "UNHEALTHY") &&
	    (status == NULL || kb_str_eq(status, "ACTIVE") ||
		kb_str_eq(status, "DECOMMISSIONING"));
}

static void
keep_tenant(struct entry *e, const struct kb_json *t)
{
	const char *slug = kb_json_str(t, "slug");
	const struct kb_json *instance = kb_json_get(t, "instance");
	const char *endpoint = NULL;
	struct tenant_at *at = &e->tenants[e->list.n];

	if (slug == NULL || !kb_is_slug(slug) || e->list.n == TENANTS_MAX ||
	    !kb_str_eq(kb_json_str(t, "status"), "active"))
		return;
	if (instance != NULL && kb_json_kind(instance) == KB_JSON_OBJECT)
		endpoint = kb_json_str(instance, "internalEndpoint");
	at->slug = kb_xstrdup(slug);
	at->endpoint = endpoint ? kb_xstrdup(endpoint) : NULL;
	at->usable = endpoint == NULL || is_usable(instance);
	at->instance = NULL;
	e->list.n++;
}

static bool
keep_answer(struct entry *e, const char *text, size_t len)
{
	struct kb_arena *a = kb_arena_new(0);
	const struct kb_json *root, *data = NULL;
	enum kb_json_kind kind = KB_JSON_NULL;
	const char *why;

	if (kb_json_parse(a, text, len, &root, &why) == KB_OK)
		data = kb_json_get(root, "data");
	if (data != NULL)
		kind = kb_json_kind(data);
	if (kind == KB_JSON_ARRAY || kind == KB_JSON_OBJECT)
		forget_tenants(e);
	if (kind == KB_JSON_OBJECT)
		keep_tenant(e, data);
	for (size_t i = 0; kind == KB_JSON_ARRAY && i < kb_json_size(data); i++)
		keep_tenant(e, kb_json_at(data, i));
	kb_arena_free(a);
	return kind == KB_JSON_ARRAY || kind == KB_JSON_OBJECT;
}

static void
wake_all(struct entry *e)
{
	struct waiter *w = e->waiters;

	e->waiters = NULL;
	while (w != NULL) {
		struct waiter *next = w->next;

		w->entry = NULL;
		exchange_resume(w->x);
		w = next;
	}
}

static void
answered(struct ask *ask)
{
	struct entry *e = ask->arg;
	int64_t now = kb_mono_ms();
	bool known = false;

	e->asking = false;
	e->err = ask->err;
	if (ask->err == KB_OK && ask->status == 404) {
		forget_tenants(e);
		known = true;
	} else if (ask->err == KB_OK && ask->status == 200) {
		known = keep_answer(e, kb_buf_str(&ask->body), ask->body.len);
	}
	if (known) {
		e->known_ms = now;
		e->changed = false;
		e->fresh_ms = now + (e->list.n ? KEEP_MS : KEEP_NONE_MS);
	} else {
		kb_warn(NULL, "tenants are not known", KB_S("of", e->id),
		    KB_N("status", ask->status));
		e->err = e->err ? e->err : KB_BAD_GATEWAY;
		e->fresh_ms = now + RETRY_MS;
	}
	kb_buf_free(&ask->body);
	wake_all(e);
}

static void
ask_admin(struct exchange *x, struct entry *e, const struct service *admin)
{
	struct kb_buf path;

	kb_buf_init(&path, 4096);
	kb_buf_adds(&path, paths[e->by].before);
	kb_percent_encode(&path, e->id, "");
	kb_buf_adds(&path, paths[e->by].after);
	free(e->path);
	free(e->headers);
	e->path = kb_xstrdup(kb_buf_str(&path));
	e->headers = kb_xstrdup(exchange_service_token(x, admin));
	kb_buf_free(&path);
	e->ask = (struct ask) {
		.service = admin,
		.method = KB_M_GET,
		.path = e->path,
		.headers = e->headers,
		.timeout_ms = ASK_MS,
		.max_answer = ANSWER_MAX,
		.done = answered,
		.arg = e,
	};
	e->asking = true;
	ask_start(x, &e->ask);
}

/* ---- what changed ---------------------------------------------------------
 */

static void
mark(struct table *t, enum tenants_by by, const char *id)
{
	struct entry **bucket;
	struct entry *e = id ? find(t, by, id, &bucket) : NULL;

	if (e != NULL) {
		e->changed = true;
		e->fresh_ms = 0;
	}
}

static void
mark_all(struct table *t)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = t->buckets[i]; e != NULL; e = e->next) {
			e->changed = true;
			e->fresh_ms = 0;
		}
}

/* A user may be a member of any of them: there are few such entries. */
static void
mark_users(struct table *t, const char *slug)
{
	for (size_t i = 0; slug != NULL && i < BUCKETS; i++)
		for (struct entry *e = t->buckets[i]; e != NULL; e = e->next)
			if (e->by == TENANTS_OF_USER &&
			    tenant_in(&e->list, kb_slice_of(slug))) {
				e->changed = true;
				e->fresh_ms = 0;
			}
}

static void
take_changes(struct table *t, const struct kb_json *data)
{
	const struct kb_json *list = kb_json_get(data, "tenants");
	int64_t now;

	if (!kb_json_int(data, "now", &now) || now <= OVERLAP_MS)
		return;
	t->since_ms = now - OVERLAP_MS;
	if (kb_json_bool(data, "all", false))
		mark_all(t);
	if (list == NULL || kb_json_kind(list) != KB_JSON_ARRAY)
		return;
	for (size_t i = 0; i < kb_json_size(list); i++) {
		const struct kb_json *one = kb_json_at(list, i);
		const char *slug = kb_json_str(one, "slug");

		mark(t, TENANTS_BY_SLUG, slug);
		mark(t, TENANTS_OF_ORG, kb_json_str(one, "orgId"));
		mark_users(t, slug);
	}
}

static void
changes_answered(struct ask *ask)
{
	struct table *t = ask->arg;
	struct kb_arena *a = kb_arena_new(0);
	const struct kb_json *root, *data = NULL;
	const char *why;

	t->asking = false;
	if (ask->err == KB_OK && ask->status == 200 &&
	    kb_json_parse(
		a, kb_buf_str(&ask->body), ask->body.len, &root, &why) == KB_OK)
		data = kb_json_get(root, "data");
	if (data != NULL && kb_json_kind(data) == KB_JSON_OBJECT)
		take_changes(t, data);
	kb_buf_free(&ask->body);
	kb_arena_free(a);
}

static void
ask_changes(struct table *t, const struct service *admin)
{
	struct kb_arena *a = kb_arena_new(0);

	free(t->path);
	free(t->headers);
	t->path = kb_xstrdup(t->since_ms == 0
		? "/api/internal/tenant-changes"
		: kb_sprintf(a, "/api/internal/tenant-changes?since=%lld",
		      (long long)t->since_ms));
	t->headers = kb_xstrdup(
	    service_token(a, t->loop->local->snapshot, admin));
	kb_arena_free(a);
	t->changes = (struct ask) {
		.service = admin,
		.method = KB_M_GET,
		.path = t->path,
		.headers = t->headers,
		.timeout_ms = ASK_MS,
		.max_answer = ANSWER_MAX,
		.done = changes_answered,
		.arg = t,
	};
	t->asking = true;
	ask_start_alone(t->loop, &t->changes);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct table *t = arg;
	const struct service *admin = snapshot_service(
	    t->loop->local->snapshot, t->admin_service);

	(void)fd;
	(void)what;
	if (kb_mono_ms() - t->used_ms > IDLE_MS) {
		event_del(t->timer);
		return;
	}
	if (!t->asking && admin != NULL)
		ask_changes(t, admin);
}

static void
watch_changes(struct table *t, const char *admin_service, int64_t now)
{
	struct timeval every = { .tv_sec = CHANGES_MS / 1000,
		.tv_usec = CHANGES_MS % 1000 * 1000 };

	t->used_ms = now;
	if (!kb_str_eq(t->admin_service, admin_service)) {
		free(t->admin_service);
		t->admin_service = kb_xstrdup(admin_service);
	}
	if (event_pending(t->timer, EV_TIMEOUT, NULL))
		return;
	event_add(t->timer, &every);
	on_timer(-1, EV_TIMEOUT, t);
}

static void *
table_make(struct loop *l)
{
	struct table *t = kb_xalloc(sizeof(*t));

	memset(t, 0, sizeof(*t));
	t->loop = l;
	t->timer = event_new(l->base, -1, EV_PERSIST, on_timer, t);
	return t;
}

static void
table_drop(void *p)
{
	struct table *t = p;

	for (size_t i = 0; i < BUCKETS; i++) {
		while (t->buckets[i] != NULL) {
			struct entry *e = t->buckets[i];

			t->buckets[i] = e->next;
			entry_free(e);
		}
	}
	if (t->asking) {
		ask_cancel(&t->changes);
		kb_buf_free(&t->changes.body);
	}
	event_free(t->timer);
	free(t->admin_service);
	free(t->path);
	free(t->headers);
	free(t);
}

/* ---- finding --------------------------------------------------------------
 */

struct tenant_at *
tenant_in(const struct tenant_list *l, struct kb_slice slug)
{
	for (size_t i = 0; i < l->n; i++)
		if (kb_slice_eq(slug, l->v[i].slug))
			return &l->v[i];
	return NULL;
}

static bool
has_wish(const struct tenants_query *q, const struct entry *e)
{
	return q->wish.ptr == NULL || tenant_in(&e->list, q->wish) != NULL;
}

/* A tenant that was made a moment ago shall not be missed for long. */
static bool
worth_asking(const struct tenants_query *q, const struct entry *e, int64_t now)
{
	if (now >= e->fresh_ms)
		return true;
	return now - e->known_ms > KEEP_NONE_MS && !e->err && !has_wish(q, e);
}

/* Old news serve while the fresh answer is on its way, or admin is away; but
 * not such that are known to be wrong. */
static bool
serves(const struct tenants_query *q, const struct entry *e, int64_t now)
{
	if (e->known_ms == 0 || now - e->known_ms > STALE_MS)
		return false;
	if (!e->asking || e->err)
		return true;
	return !e->changed && e->list.n && now - e->known_ms < 2 * KEEP_MS &&
	    has_wish(q, e);
}

/* The exchange ended before the answer came. */
static void
leave(void *arg)
{
	struct waiter *w = arg, **at;

	if (w->entry == NULL)
		return;
	for (at = &w->entry->waiters; *at != NULL; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			return;
		}
	}
}

static enum verdict
wait_for(struct exchange *x, struct entry *e)
{
	struct waiter *w = kb_new(exchange_arena(x), struct waiter);

	*w = (struct waiter) { .x = x, .next = e->waiters, .entry = e };
	e->waiters = w;
	exchange_on_cancel(x, leave, w);
	exchange_again(x);
	return WAIT;
}

/* Slugs come from anybody: who asks for many that are not known yet is
 * looking for those of others. */
static bool
may_ask_unknown(
    struct exchange *x, const struct tenants_query *q, const struct entry *e)
{
	const char *ip = exchange_client_ip(x);
	struct counted c;

	if (q->by != TENANTS_BY_SLUG || e->known_ms != 0)
		return true;
	counter_take(
	    kb_hash(ip, strlen(ip)) ^ 0x736c7567, 60, UNKNOWN_PER_MINUTE, &c);
	if (!c.over)
		return true;
	exchange_add_response_number(x, "Retry-After", c.wait_s);
	exchange_fail(x, KB_RATE_LIMITED, NULL);
	return false;
}

enum verdict
tenants_find(struct exchange *x, const struct plugin *plugin,
    const struct tenants_query *q, struct tenant_list **out)
{
	struct table *t = loop_slot(x->loop, plugin, table_make, table_drop);
	const struct service *admin = exchange_service(x, q->admin_service);
	struct entry *e = entry_of(t, q->by, q->id);
	int64_t now = kb_mono_ms();

	*out = NULL;
	watch_changes(t, q->admin_service, now);
	if (!e->asking && admin != NULL && worth_asking(q, e, now)) {
		if (!may_ask_unknown(x, q, e))
			return NEXT;
		ask_admin(x, e, admin);
	}
	if (serves(q, e, now)) {
		*out = &e->list;
		return NEXT;
	}
	if (e->asking)
		return wait_for(x, e);
	exchange_fail(x, KB_UNAVAILABLE, "The tenant cannot be looked up now");
	return NEXT;
}
