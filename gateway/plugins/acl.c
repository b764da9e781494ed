/*
 * acl: only callers who hold one of these roles, whole names, in their
 * organisation. Runs after jwt; without a verified caller nobody passes.
 */
#include "gateway.h"

struct acl {
	struct strs allow;
};

static const struct field fields[] = {
	CONF_STRS(struct acl, allow, .required = true),
	CONF_SKIP("hide_groups_header"),
	CONF_LATER("deny", "name the roles that may pass in allow"),
	CONF_LATER("include_consumer_groups", "consumer groups"),
	CONF_END,
};

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	const struct acl *acl = conf;

	if (acl->allow.n == 0)
		problem(p, use->line, "plugin acl: allow must name a role");
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct acl *acl = use->conf;
	const struct kb_identity *id = exchange_identity(x);

	if (id == NULL) {
		exchange_fail(x, KB_UNAUTHENTICATED, NULL);
		return NEXT;
	}
	for (size_t i = 0; i < acl->allow.n; i++)
		if (id->value[KB_ID_ROLES] != NULL &&
		    kb_roles_have(id->value[KB_ID_ROLES], acl->allow.v[i]))
			return NEXT;
	exchange_fail(x, KB_FORBIDDEN, NULL);
	return NEXT;
}

const struct plugin plugin_acl = {
	.name = "acl",
	.priority = 950,
	.fields = fields,
	.conf_size = sizeof(struct acl),
	.load = load,
	.access = access,
	.help = "only callers with one of these roles",
};
