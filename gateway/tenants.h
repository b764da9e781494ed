/*
 * Which tenants there are for an organisation, a user or a slug, and on which
 * instance each lives: asked of admin, kept by each loop, refreshed when
 * admin says that something changed. Part of gateway.h.
 */
#ifndef GATEWAY_TENANTS_H
#define GATEWAY_TENANTS_H

struct instance;

/* One active tenant. */
struct tenant_at {
	const char *slug;
	const char *endpoint; /* of its instance; NULL: it has none */
	bool usable;          /* admin does not call the instance unhealthy */
	struct instance
	    *instance; /* of whoever asked last, see exchange_set_instance */
};

struct tenant_list {
	struct tenant_at *v; /* in admin's order */
	size_t n;
};

enum tenants_by { TENANTS_OF_ORG, TENANTS_OF_USER, TENANTS_BY_SLUG };

struct tenants_query {
	enum tenants_by by;
	const char *id;            /* of the organisation, the user; the slug */
	const char *admin_service; /* whom to ask */
	struct kb_slice wish; /* the slug that matters; ptr NULL: the first */
};

/*
 * NEXT with the list (which may be empty, and is good until the exchange
 * waits or ends) or with the exchange failed and *out NULL; or WAIT: the
 * access function is called once more.
 */
enum verdict tenants_find(struct exchange *x, const struct plugin *plugin,
    const struct tenants_query *q, struct tenant_list **out);

/* The tenant of that slug in the list; NULL: it is not there. */
struct tenant_at *tenant_in(const struct tenant_list *l, struct kb_slice slug);

#endif
