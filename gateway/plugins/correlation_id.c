/*
 * correlation-id: a name for the request that all services log. Under
 * X-Request-ID it is the request's own id (kept from the client when it is
 * clean), under other names a UUID of its own; X-Correlation-ID of a client
 * is carried beside it.
 */
#include <strings.h>

#include <kombi/id.h>
#include <kombi/str.h>

#include "gateway.h"

struct correlation {
	const char *header_name;
	int generator;
	bool echo_downstream;
};

static const char *const generators[] = { "uuid", NULL };

static const struct field fields[] = {
	CONF_STR(struct correlation, header_name),
	CONF_ENUM(struct correlation, generator, .choices = generators),
	CONF_BOOL(struct correlation, echo_downstream),
	CONF_END,
};

static const struct correlation defaults = {
	.header_name = "Kong-Request-ID",
};

struct slot {
	const char *value; /* of header_name, when it is not X-Request-ID */
	const char *correlation;
};

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	const struct correlation *c = conf;
	const char *name = c->header_name;
	size_t i = 0;

	for (; name[i]; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') ||
			(name[i] >= 'A' && name[i] <= 'Z') ||
			(name[i] >= '0' && name[i] <= '9') || name[i] == '-'))
			break;
	if (name[i] || kb_header_is_owned(name, i))
		problem(p, use->line,
		    "plugin correlation-id: header_name \"%s\" cannot be used",
		    name);
}

/* The client's value when it is clean. */
static const char *
kept(struct exchange *x, const char *name)
{
	struct kb_slice value = exchange_header(x, name);

	if (value.ptr == NULL || !kb_request_id_ok(value.ptr, value.len))
		return NULL;
	return kb_slice_dup(exchange_arena(x), value);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct correlation *c = use->conf;
	struct slot *slot;
	char uuid[KB_UUID_SIZE];
	bool plain = strcasecmp(c->header_name, "X-Request-ID") == 0;
	bool same = strcasecmp(c->header_name, "X-Correlation-ID") == 0;
	const char *correlation = same ? NULL : kept(x, "X-Correlation-ID");

	if (plain && correlation == NULL)
		return NEXT;
	slot = exchange_slot(x, use->plugin, sizeof(*slot));
	slot->correlation = correlation;
	if (correlation)
		exchange_add_upstream(x, "X-Correlation-ID", correlation);
	if (plain)
		return NEXT;
	slot->value = kept(x, c->header_name);
	if (slot->value == NULL) {
		kb_uuid4(uuid);
		slot->value = kb_strdup(exchange_arena(x), uuid);
	}
	exchange_add_upstream(x, c->header_name, slot->value);
	return NEXT;
}

static void
response(struct exchange *x, const struct plugin_use *use)
{
	const struct correlation *c = use->conf;
	const struct slot *slot;

	if (!c->echo_downstream)
		return;
	slot = exchange_slot(x, use->plugin, sizeof(*slot));
	if (slot->value)
		exchange_add_response(x, c->header_name, slot->value);
	if (slot->correlation)
		exchange_add_response(x, "X-Correlation-ID", slot->correlation);
}

const struct plugin plugin_correlation_id = {
	.name = "correlation-id",
	.priority = 100001,
	.fields = fields,
	.conf_size = sizeof(struct correlation),
	.defaults = &defaults,
	.load = load,
	.access = access,
	.response = response,
	.help = "one id of the request for all services and the client",
};
