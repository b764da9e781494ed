/*
 * correlation-id: a name for the request that all services log. Under
 * X-Request-ID it is the request's own id (kept from the client when it is
 * clean), under other names one of its own, made as Kong's generators do
 * (Kong 3.9); X-Correlation-ID of a client is carried beside it.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <kombi/id.h>
#include <kombi/str.h>

#include "gateway.h"

struct correlation {
	const char *header_name;
	int generator;
	bool echo_downstream;
};

enum { UUID_COUNTER, UUID, TRACKER };
static const char *const generators[] = { "uuid#counter", "uuid", "tracker",
	NULL };

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

/* As request ids, and what the generators make. */
static bool
is_clean(struct kb_slice value)
{
	const char *mark = value.len ? memchr(value.ptr, '#', value.len) : NULL;
	struct kb_slice count;
	uint64_t n;

	if (mark == NULL)
		return kb_request_id_ok(value.ptr, value.len);
	count.ptr = mark + 1;
	count.len = value.len - (size_t)(count.ptr - value.ptr);
	return kb_request_id_ok(value.ptr, (size_t)(mark - value.ptr)) &&
	    kb_parse_u64(count, &n);
}

/* The client's value when it is clean. */
static const char *
kept(struct exchange *x, const char *name)
{
	struct kb_slice value = exchange_header(x, name);

	if (value.ptr == NULL || !is_clean(value))
		return NULL;
	return kb_slice_dup(exchange_arena(x), value);
}

/* Of one loop. */
struct numbers {
	char uuid[KB_UUID_SIZE];
	uint64_t n;
};

static void *
numbers_new(struct loop *l)
{
	struct numbers *numbers = kb_xalloc(sizeof(*numbers));

	(void)l;
	kb_uuid4(numbers->uuid);
	return numbers;
}

static const char *
generate(struct exchange *x, const struct plugin_use *use)
{
	const struct correlation *c = use->conf;
	struct numbers *numbers = loop_slot(
	    exchange_loop(x), use->plugin, numbers_new, free);
	struct kb_arena *a = exchange_arena(x);
	char uuid[KB_UUID_SIZE];

	numbers->n++;
	if (c->generator == UUID_COUNTER)
		return kb_sprintf(a, "%s#%llu", numbers->uuid,
		    (unsigned long long)numbers->n);
	if (c->generator == TRACKER)
		return exchange_tracker(x, numbers->n);
	kb_uuid4(uuid);
	return kb_strdup(a, uuid);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct correlation *c = use->conf;
	struct slot *slot;
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
	if (slot->value == NULL)
		slot->value = generate(x, use);
	exchange_add_upstream(x, c->header_name, slot->value);
	return NEXT;
}

static void
response(struct exchange *x, const struct plugin_use *use)
{
	const struct correlation *c = use->conf;
	struct slot *slot;

	if (!c->echo_downstream)
		return;
	slot = exchange_slot(x, use->plugin, sizeof(*slot));
	/* Where nobody was let in, or there is no route. */
	if (slot->value == NULL && strcasecmp(c->header_name, "X-Request-ID"))
		slot->value = generate(x, use);
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
