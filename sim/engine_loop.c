/*
 * The engine loop: brings each node to what is wanted of it, one step at a
 * time. The rows say what is wanted before anything is done, so a crash
 * between two steps loses nothing.
 */
#include <string.h>

#include "sim.h"

#define IDLE_MS 5000 /* when nobody wakes the loop */
#define RETRY_MS 1000
#define ATTEMPTS 3

static struct engine_node
node_of(const struct work *w)
{
	return (struct engine_node) {
		.tenant = w->tenant,
		.simulation = w->simulation_id,
		.id = w->id,
		.name = w->name,
		.os = w->os,
		.role = w->role,
		.container = w->container,
		.cpu = w->cpu,
		.memory_mb = w->memory_mb,
		.disk_gb = w->disk_gb,
		.ssh_port = w->ssh_port,
	};
}

/* The engine's part of reaching what is wanted. */
static enum kb_err
act(const struct engine *e, struct kb_arena *a, const struct work *w,
    struct engine_state *state)
{
	struct engine_node n = node_of(w);
	enum kb_err err = KB_OK;

	if (strcmp(w->wanted, "deleted") == 0)
		return w->container ? e->destroy(a, &n) : KB_OK;
	if (w->container == NULL) {
		err = e->create(a, &n, state);
		n.container = state->container;
	}
	if (!err && strcmp(w->wanted, "running") == 0)
		err = e->start(a, &n, state);
	else if (!err && w->container != NULL)
		err = e->stop(a, &n);
	return err;
}

int64_t
engine_work(struct kb_app *app, struct kb_cx *cx)
{
	const struct engine *engine = sim_state(app)->engine;
	struct engine_state state = { 0 };
	struct work w;
	enum kb_err err = work_next(cx, &w);

	if (err)
		return IDLE_MS;
	err = act(engine, cx->arena, &w, &state);
	if (!err)
		err = work_done(cx, &w, w.wanted, &state);
	else
		err = work_failed(cx, &w,
		    kb_sprintf(cx->arena, "The %s engine failed: %s",
			engine->name, kb_err_text(err)),
		    w.attempts + 1 >= ATTEMPTS);
	if (err)
		kb_warn(cx->log, "a node's step could not be written",
		    KB_S("nodeId", w.id), KB_S("code", kb_err_code(err)));
	return err ? RETRY_MS : 0;
}
