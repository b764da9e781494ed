/*
 * tenant-router: which tenant the caller's organisation has. admin is asked
 * with a service token; each loop remembers an answer for 30 s (5 s when
 * there is no tenant) and uses an older one while admin cannot be reached.
 * Those who ask for the same organisation at once share one question.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "gateway.h"

enum {
	BUCKETS = 1024,
	ENTRIES_MAX = 16384,
	TENANTS_MAX = 32,
	KEEP_MS = 30000,
	KEEP_NONE_MS = 5000,
	RETRY_MS = 1000,
	STALE_MS = 24 * 3600 * 1000,
	ASK_MS = 5000,
};

struct router_conf {
	const char *admin_service;
};

static const struct field fields[] = {
	CONF_STR(struct router_conf, admin_service, .required = true),
	CONF_END,
};

/* One exchange that waits for an answer. */
struct waiter {
	struct exchange *x;
	struct waiter *next;
	struct org *org;
};

/* What is known of an organisation. */
struct org {
	struct org *next;
	char *id;
	char *tenants[TENANTS_MAX]; /* active slugs, in admin's order */
	size_t n;
	int64_t known_ms; /* when admin answered last; 0: never */
	int64_t fresh_ms; /* no question before that time */
	enum kb_err err;  /* of the last question */
	bool asking;
	struct ask ask;
	char *path, *headers;
	struct waiter *waiters;
};

struct table {
	struct org *buckets[BUCKETS];
	size_t n;
};

static void
org_free(struct org *o)
{
	if (o->asking)
		ask_cancel(&o->ask);
	kb_buf_free(&o->ask.body);
	for (size_t i = 0; i < o->n; i++)
		free(o->tenants[i]);
	free(o->path);
	free(o->headers);
	free(o->id);
	free(o);
}

static void *
table_make(struct loop *l)
{
	struct table *t = kb_xalloc(sizeof(*t));

	(void)l;
	memset(t, 0, sizeof(*t));
	return t;
}

static void
table_drop(void *p)
{
	struct table *t = p;

	for (size_t i = 0; i < BUCKETS; i++) {
		while (t->buckets[i] != NULL) {
			struct org *o = t->buckets[i];

			t->buckets[i] = o->next;
			org_free(o);
		}
	}
	free(t);
}

/* Makes room: forgets what nobody waits for, in the bucket at hand. */
static void
forget(struct table *t, struct org **bucket)
{
	struct org **at = bucket;

	while (*at != NULL) {
		struct org *o = *at;

		if (o->asking || o->waiters) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		org_free(o);
		t->n--;
	}
}

static struct org *
org_of(struct table *t, const char *id)
{
	struct org **bucket = &t->buckets[kb_hash(id, strlen(id)) % BUCKETS];
	struct org *o;

	for (o = *bucket; o != NULL; o = o->next)
		if (kb_str_eq(o->id, id))
			return o;
	if (t->n >= ENTRIES_MAX)
		forget(t, bucket);
	o = kb_xalloc(sizeof(*o));
	memset(o, 0, sizeof(*o));
	o->id = kb_xstrdup(id);
	kb_buf_init(&o->ask.body, 256 * 1024);
	o->next = *bucket;
	*bucket = o;
	t->n++;
	return o;
}

/* ---- asking -------------------------------------------------------------- */

static bool
keep_tenants(struct org *o, const char *text, size_t len)
{
	struct kb_arena *a = kb_arena_new(0);
	const struct kb_json *root, *list;
	const char *why;
	bool fine = kb_json_parse(a, text, len, &root, &why) == KB_OK;

	list = fine ? kb_json_get(root, "data") : NULL;
	fine = list != NULL && kb_json_kind(list) == KB_JSON_ARRAY;
	if (fine) {
		for (size_t i = 0; i < o->n; i++)
			free(o->tenants[i]);
		o->n = 0;
	}
	for (size_t i = 0; fine && i < kb_json_size(list); i++) {
		const struct kb_json *t = kb_json_at(list, i);
		const char *slug = kb_json_str(t, "slug");
		const char *status = kb_json_str(t, "status");

		if (slug != NULL && kb_is_slug(slug) &&
		    kb_str_eq(status, "active") && o->n < TENANTS_MAX)
			o->tenants[o->n++] = kb_xstrdup(slug);
	}
	kb_arena_free(a);
	return fine;
}

static void
answered(struct ask *ask)
{
	struct org *o = ask->arg;
	struct waiter *w = o->waiters;
	int64_t now = kb_mono_ms();
	bool known = false;

	o->asking = false;
	o->waiters = NULL;
	o->err = ask->err;
	if (ask->err == KB_OK && ask->status == 404) {
		for (size_t i = 0; i < o->n; i++)
			free(o->tenants[i]);
		o->n = 0;
		known = true;
	} else if (ask->err == KB_OK && ask->status == 200) {
		known = keep_tenants(o, kb_buf_str(&ask->body), ask->body.len);
	}
	if (known) {
		o->known_ms = now;
		o->fresh_ms = now + (o->n ? KEEP_MS : KEEP_NONE_MS);
	} else {
		kb_warn(NULL, "tenants of an organisation are not known",
		    KB_S("org", o->id), KB_N("status", ask->status));
		o->fresh_ms = now + RETRY_MS;
	}
	kb_buf_free(&ask->body);
	while (w != NULL) {
		struct waiter *next = w->next;

		w->org = NULL;
		exchange_resume(w->x);
		w = next;
	}
}

static void
ask_admin(struct exchange *x, struct org *o, const struct service *admin)
{
	struct kb_buf path;

	kb_buf_init(&path, 4096);
	kb_buf_adds(&path, "/api/internal/tenants/by-org/");
	kb_percent_encode(&path, o->id, "");
	free(o->path);
	free(o->headers);
	o->path = kb_xstrdup(kb_buf_str(&path));
	o->headers = kb_xstrdup(exchange_service_token(x, admin));
	kb_buf_free(&path);
	o->ask = (struct ask) {
		.service = admin,
		.method = KB_M_GET,
		.path = o->path,
		.headers = o->headers,
		.timeout_ms = ASK_MS,
		.max_answer = 256 * 1024,
		.done = answered,
		.arg = o,
	};
	o->asking = true;
	ask_start(x, &o->ask);
}

/* The exchange ended before the answer came. */
static void
leave(void *arg)
{
	struct waiter *w = arg, **at;

	if (w->org == NULL)
		return;
	for (at = &w->org->waiters; *at != NULL; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			return;
		}
	}
}

static enum verdict
wait_for(struct exchange *x, struct org *o)
{
	struct waiter *w = kb_new(exchange_arena(x), struct waiter);

	*w = (struct waiter) { .x = x, .next = o->waiters, .org = o };
	o->waiters = w;
	exchange_on_cancel(x, leave, w);
	exchange_again(x);
	return WAIT;
}

/* ---- choosing ------------------------------------------------------------ */

/* The tenant that the client asks for, else the first; NULL: not a member. */
static const char *
chosen(struct kb_slice wish, const struct org *o)
{
	if (wish.ptr == NULL)
		return o->n ? o->tenants[0] : "";
	for (size_t i = 0; i < o->n; i++)
		if (kb_slice_eq(wish, o->tenants[i]))
			return o->tenants[i];
	return NULL;
}

static void
choose(struct exchange *x, const struct org *o)
{
	const char *slug = chosen(exchange_header(x, "X-Tenant-ID"), o);

	if (slug == NULL)
		exchange_fail(x, KB_TENANT_FORBIDDEN, NULL);
	else if (slug[0])
		exchange_set_tenant(x, kb_strdup(exchange_arena(x), slug));
}

static void
without_org(struct exchange *x)
{
	if (exchange_header(x, "X-Tenant-ID").ptr != NULL)
		exchange_fail(x, KB_TENANT_FORBIDDEN, NULL);
}

/* A tenant that was made a moment ago shall not be missed for long. */
static bool
worth_asking(struct exchange *x, const struct org *o, int64_t now)
{
	if (now >= o->fresh_ms)
		return true;
	return now - o->known_ms > KEEP_NONE_MS && !o->err &&
	    chosen(exchange_header(x, "X-Tenant-ID"), o) == NULL;
}

/* Old news serve while the fresh answer is on its way, or admin is away. */
static bool
serves(struct exchange *x, const struct org *o, int64_t now)
{
	if (o->known_ms == 0 || now - o->known_ms > STALE_MS)
		return false;
	if (!o->asking || o->err)
		return true;
	return o->n && now - o->known_ms < 2 * KEEP_MS &&
	    chosen(exchange_header(x, "X-Tenant-ID"), o) != NULL;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct router_conf *conf = use->conf;
	const struct kb_identity *id = exchange_identity(x);
	const struct service *admin = exchange_service(x, conf->admin_service);
	const char *org = id ? id->value[KB_ID_ORG] : NULL;
	int64_t now = kb_mono_ms();
	struct org *o;

	if (org == NULL || org[0] == '\0') {
		without_org(x);
		return NEXT;
	}
	o = org_of(
	    loop_slot(exchange_loop(x), use->plugin, table_make, table_drop),
	    org);
	if (!o->asking && admin != NULL && worth_asking(x, o, now))
		ask_admin(x, o, admin);
	if (serves(x, o, now)) {
		choose(x, o);
		return NEXT;
	}
	if (o->asking)
		return wait_for(x, o);
	exchange_fail(x, KB_UNAVAILABLE, "The tenant cannot be looked up now");
	return NEXT;
}

const struct plugin plugin_tenant_router = {
	.name = "tenant-router",
	.priority = 905,
	.fields = fields,
	.conf_size = sizeof(struct router_conf),
	.access = access,
	.help = "the tenant of the caller's organisation, asked of admin",
};
