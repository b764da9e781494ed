/*
 * response-transformer: removes, renames, replaces, adds and appends header
 * fields of the answer and members of its JSON body (Kong 3.9). Upstream
 * is not asked for compressed answers where bodies are changed.
 */
#include <string.h>

#include <kombi/str.h>

#include "gateway.h"

enum { BODY_MAX = 4 << 20 };

struct conf {
	const struct kb_yaml *remove, *rename, *replace, *add, *append;
	struct transform t;
};

static const struct field fields[] = {
	CONF_NODE(struct conf, remove),
	CONF_NODE(struct conf, rename),
	CONF_NODE(struct conf, replace),
	CONF_NODE(struct conf, add),
	CONF_NODE(struct conf, append),
	CONF_END,
};

static void
load(struct problems *p, const struct plugin_use *use, void *conf)
{
	struct conf *c = conf;
	const struct transform_nodes nodes = {
		.of = { c->remove, c->rename, c->replace, c->add, c->append },
	};

	transform_load(p, use, &nodes, false, &c->t);
}

static enum verdict
access(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;

	if (transform_has(&c->t, AREA_BODY))
		lines_remove(&exchange_rewrite(x)->fields, "Accept-Encoding");
	return NEXT;
}

static bool
is_json(const struct lines *l)
{
	const struct line *type = lines_find(l, "Content-Type");
	struct kb_slice value, part;

	if (type == NULL || lines_find(l, "Content-Encoding") != NULL)
		return false;
	value = type->value;
	return kb_slice_next(&value, ';', &part) &&
	    kb_slice_eqi(kb_slice_trim(part), "application/json");
}

/* What is no JSON object passes as it is. */
static void
change(struct exchange *x, void *arg, struct kb_slice *body)
{
	const struct transform *t = arg;
	struct lines members = { .arena = exchange_arena(x) };
	const struct originals o = { .x = x };

	if (!json_split(&members, *body))
		return;
	transform_apply(t, AREA_BODY, TEXT_JSON, &o, &members);
	*body = json_join(&members);
}

/* The gateway's own answers keep their type: their body is not upstream's. */
static void
response(struct exchange *x, const struct plugin_use *use)
{
	const struct conf *c = use->conf;
	const struct originals o = { .x = x };
	struct lines *l;

	if (exchange_is_preflight(x))
		return;
	l = exchange_answer_lines(x);
	if (exchange_answer_is_upstreams(x) &&
	    transform_has(&c->t, AREA_BODY) && is_json(l)) {
		lines_remove(l, "ETag");
		lines_remove(l, "Content-MD5");
		lines_remove(l, "Digest");
		exchange_hold_answer(
		    x, BODY_MAX, change, (void *)(uintptr_t)&c->t);
	}
	transform_apply(&c->t, AREA_HEADERS, TEXT_HEADERS, &o, l);
	if (!exchange_answer_is_upstreams(x))
		lines_remove(l, "Content-Type");
}

const struct plugin plugin_response_transformer = {
	.name = "response-transformer",
	.priority = 800,
	.fields = fields,
	.conf_size = sizeof(struct conf),
	.load = load,
	.access = access,
	.response = response,
	.help = "changes header and JSON body of answers",
};
