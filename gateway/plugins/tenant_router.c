/*
 * tenant-router: which tenant a request is for, and on which instance it
 * lives. With `source: identity` that is the tenant of the caller's
 * organisation, or the one of the caller's own that X-Tenant-ID names; with
 * `source: path` the one that /tenant/{slug}/… names, whoever calls. Requests
 * to a service of `placed_services` go to the tenant's instance and to no
 * other: its data is nowhere else.
 */
#include <string.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "gateway.h"

enum named_by { IDENTITY, PATH };

struct router_conf {
	const char *admin_service;
	int source;
	struct strs placed_services; /* by the name in their proofs */
	int64_t tenant_limit;        /* requests of a tenant in a minute */
};

static const char *const sources[] = { "identity", "path", NULL };

static const struct field fields[] = {
	CONF_STR(struct router_conf, admin_service, .required = true),
	CONF_ENUM(struct router_conf, source, .choices = sources),
	CONF_STRS(struct router_conf, placed_services),
	CONF_INT(struct router_conf, tenant_limit, .max = 10000000),
	CONF_END,
};

static const char *const usually_placed[] = { "stack" };

static const struct router_conf defaults = {
	.placed_services = { usually_placed, KB_COUNT(usually_placed) },
};

extern const struct plugin plugin_tenant_router;

/* ---- placing ------------------------------------------------------------- */

static bool
is_placed(const struct router_conf *conf, const struct service *s)
{
	for (size_t i = 0; i < conf->placed_services.n; i++)
		if (kb_str_eq(conf->placed_services.v[i], s->callee))
			return true;
	return false;
}

static void
place(struct exchange *x, const struct router_conf *conf, struct tenant_at *t)
{
	if (t->endpoint == NULL || !is_placed(conf, exchange_route(x)->service))
		return;
	if (!t->usable) {
		exchange_fail(x, KB_UNAVAILABLE,
		    "The instance of this tenant is not available");
		return;
	}
	if (t->instance == NULL || !instance_is_for(t->instance, x))
		t->instance = exchange_find_instance(x, t->endpoint);
	if (t->instance != NULL) {
		exchange_set_instance(x, t->instance);
		return;
	}
	kb_error(NULL, "a tenant's instance has no usable endpoint",
	    KB_S("tenant", t->slug), KB_S("endpoint", t->endpoint));
	exchange_fail(x, KB_UNAVAILABLE, NULL);
}

static void
limit(struct exchange *x, const struct router_conf *conf, const char *slug)
{
	struct counted c;

	if (conf->tenant_limit == 0)
		return;
	counter_take(kb_hash(slug, strlen(slug)) ^ 0x74656e616e74, 60,
	    conf->tenant_limit, &c);
	if (!c.over)
		return;
	exchange_count_limited(x);
	exchange_add_response_number(x, "Retry-After", c.wait_s);
	exchange_fail(x, KB_RATE_LIMITED, NULL);
}

/* ---- by identity --------------------------------------------------------- */

static void
choose(struct exchange *x, const struct router_conf *conf, struct tenant_at *t)
{
	exchange_set_tenant(x, kb_strdup(exchange_arena(x), t->slug));
	limit(x, conf, t->slug);
	if (!exchange_is_answered(x))
		place(x, conf, t);
}

/* Users may be members of tenants of other organisations than their own. */
static enum verdict
by_membership(
    struct exchange *x, const struct router_conf *conf, struct tenants_query *q)
{
	const struct kb_identity *id = exchange_identity(x);
	struct tenant_list *list;
	struct tenant_at *t;

	q->by = TENANTS_OF_USER;
	q->id = id ? id->value[KB_ID_USER] : NULL;
	if (q->id == NULL || q->id[0] == '\0') {
		exchange_fail(x, KB_TENANT_FORBIDDEN, NULL);
		return NEXT;
	}
	if (tenants_find(x, &plugin_tenant_router, q, &list) == WAIT)
		return WAIT;
	if (list == NULL)
		return NEXT;
	t = tenant_in(list, q->wish);
	if (t != NULL)
		choose(x, conf, t);
	else
		exchange_fail(x, KB_TENANT_FORBIDDEN, NULL);
	return NEXT;
}

static enum verdict
by_identity(
    struct exchange *x, const struct router_conf *conf, struct tenants_query *q)
{
	const struct kb_identity *id = exchange_identity(x);
	struct tenant_list *list = NULL;
	struct tenant_at *t = NULL;

	q->wish = exchange_header(x, "X-Tenant-ID");
	q->by = TENANTS_OF_ORG;
	q->id = id ? id->value[KB_ID_ORG] : NULL;
	if (q->id != NULL && q->id[0]) {
		if (tenants_find(x, &plugin_tenant_router, q, &list) == WAIT)
			return WAIT;
		if (list == NULL)
			return NEXT;
		if (q->wish.ptr != NULL)
			t = tenant_in(list, q->wish);
		else if (list->n)
			t = &list->v[0];
	}
	if (t != NULL)
		choose(x, conf, t);
	else if (q->wish.ptr != NULL)
		return by_membership(x, conf, q);
	return NEXT;
}

/* ---- by path ------------------------------------------------------------- */

/* What follows /tenant/; NULL: nothing does. */
static const char *
slug_of_path(struct exchange *x)
{
	struct kb_slice rest = exchange_path(x), part;

	if (rest.len < 9 || memcmp(rest.ptr, "/tenant/", 8) != 0)
		return NULL;
	rest.ptr += 8;
	rest.len -= 8;
	if (!kb_slice_next(&rest, '/', &part) || part.len == 0)
		return NULL;
	return kb_slice_dup(exchange_arena(x), part);
}

static enum verdict
by_path(
    struct exchange *x, const struct router_conf *conf, struct tenants_query *q)
{
	struct tenant_list *list;
	struct tenant_at *t;

	q->by = TENANTS_BY_SLUG;
	q->id = slug_of_path(x);
	if (q->id == NULL || !kb_is_slug(q->id)) {
		exchange_fail(x, KB_TENANT_NOT_FOUND, NULL);
		return NEXT;
	}
	q->wish = kb_slice_of(q->id);
	if (tenants_find(x, &plugin_tenant_router, q, &list) == WAIT)
		return WAIT;
	if (list == NULL)
		return NEXT;
	t = tenant_in(list, q->wish);
	if (t == NULL) {
		exchange_fail(x, KB_TENANT_NOT_FOUND, NULL);
		return NEXT;
	}
	limit(x, conf, t->slug);
	if (!exchange_is_answered(x))
		place(x, conf, t);
	return NEXT;
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct router_conf *conf = use->conf;
	struct tenants_query q = { .admin_service = conf->admin_service };

	if (conf->source == PATH)
		return by_path(x, conf, &q);
	return by_identity(x, conf, &q);
}

const struct plugin plugin_tenant_router = {
	.name = "tenant-router",
	.priority = 905,
	.fields = fields,
	.conf_size = sizeof(struct router_conf),
	.defaults = &defaults,
	.access = access,
	.help = "sends a tenant's requests to the instance where it lives",
};
