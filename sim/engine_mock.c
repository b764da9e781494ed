/*
 * The mock engine: nodes without machines, for places without a container
 * daemon (Azure Container Apps) and for tests. What it tells follows from the
 * node itself, so it has no state to lose.
 */
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "engine.h"

/* Stable in a node's life, different between nodes. */
static uint32_t
number_of(const char *s)
{
	uint32_t h = 2166136261U; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619U;
	return h;
}

static enum kb_err
mock_create(
    struct kb_arena *a, const struct engine_node *n, struct engine_state *out)
{
	uint32_t h = number_of(n->id);

	out->container = kb_sprintf(a, "mock-%s", n->id);
	out->ip = kb_sprintf(a, "10.%u.%u.%u", 100 + number_of(n->tenant) % 100,
	    number_of(n->simulation) % 256, 2 + h % 250);
	return KB_OK;
}

static enum kb_err
mock_start(
    struct kb_arena *a, const struct engine_node *n, struct engine_state *out)
{
	return mock_create(a, n, out);
}

static enum kb_err
mock_done(struct kb_arena *a, const struct engine_node *n)
{
	(void)a;
	(void)n;
	return KB_OK;
}

static enum kb_err
mock_stats(
    const struct engine_node *n, int64_t started_ms, struct engine_stats *out)
{
	uint32_t h = number_of(n->id);
	int64_t up = (kb_wall_ms() - started_ms) / 1000;

	*out = (struct engine_stats) {
		.cpu_percent = 1 + (double)((h + (uint32_t)up / 5) % 200) / 10,
		.memory_total_mb = n->memory_mb,
		.memory_used_mb = n->memory_mb / 8 +
		    (int64_t)(h % (uint32_t)(n->memory_mb / 4 + 1)),
		.disk_total_gb = n->disk_gb,
		.disk_used_gb = n->disk_gb / 10,
		.uptime_s = up > 0 ? up : 0,
	};
	return KB_OK;
}

static const char *
mock_check(struct kb_arena *a)
{
	(void)a;
	return NULL;
}

const struct engine engine_mock = {
	.name = "mock",
	.create = mock_create,
	.start = mock_start,
	.stop = mock_done,
	.destroy = mock_done,
	.stats = mock_stats,
	.check = mock_check,
};
