/*
 * acl: only callers who hold one of the roles or groups in allow, or none of
 * those in deny; whole names, roles in the active organisation. Runs after
 * authentication; without a verified caller nobody passes (Kong 3.9).
 */
#include <kombi/str.h>

#include "gateway.h"

struct acl {
	struct strs allow, deny;
	bool hide_groups_header, include_consumer_groups;
};

static const struct field fields[] = {
	CONF_STRS(struct acl, allow),
	CONF_STRS(struct acl, deny),
	CONF_BOOL(struct acl, hide_groups_header),
	CONF_BOOL(struct acl, include_consumer_groups),
	CONF_NOTE("always_use_authenticated_groups",
	    "roles of the token and groups of the consumer both count"),
	CONF_END,
};

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	const struct acl *acl = conf;

	if ((acl->allow.n == 0) == (acl->deny.n == 0))
		problem(p, use->line,
		    "plugin acl: either allow or deny must name a role or "
		    "group");
}

static bool
is_listed(const struct strs *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (kb_str_eq(list->v[i], name))
			return true;
	return false;
}

/* Groups of a consumer are among the roles of its identity. */
static bool
has_one(struct exchange *x, const struct acl *acl, const struct strs *list)
{
	const char *roles = exchange_identity(x)->value[KB_ID_ROLES];
	const struct consumer *c = exchange_consumer(x);

	for (size_t i = 0; i < list->n; i++)
		if (roles != NULL && kb_roles_have(roles, list->v[i]))
			return true;
	if (!acl->include_consumer_groups || c == NULL)
		return false;
	for (size_t i = 0; i < c->n_member_of; i++)
		if (is_listed(list, c->member_of[i]->name))
			return true;
	return false;
}

static void
tell_groups(struct exchange *x)
{
	const struct consumer *c = exchange_consumer(x);
	struct kb_buf b;

	if (c == NULL || c->groups.n == 0)
		return;
	kb_buf_init(&b, 8192);
	for (size_t i = 0; i < c->groups.n; i++)
		kb_buf_addf(&b, "%s%s", i ? ", " : "", c->groups.v[i]);
	if (!kb_buf_failed(&b))
		exchange_add_upstream(x, "X-Consumer-Groups", kb_buf_str(&b));
	kb_buf_free(&b);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct acl *acl = use->conf;

	if (exchange_identity(x) == NULL) {
		exchange_fail(x, KB_UNAUTHENTICATED, NULL);
		return NEXT;
	}
	if (acl->allow.n ? !has_one(x, acl, &acl->allow)
			 : has_one(x, acl, &acl->deny)) {
		exchange_fail(x, KB_FORBIDDEN, NULL);
		return NEXT;
	}
	if (!acl->hide_groups_header)
		tell_groups(x);
	return NEXT;
}

const struct plugin plugin_acl = {
	.name = "acl",
	.priority = 950,
	.fields = fields,
	.conf_size = sizeof(struct acl),
	.load = load,
	.access = access,
	.help = "only callers with one of these roles or groups, or with none",
};
