/* What the engine loop has to do, and what became of it. */
#include <string.h>

#include <kombi/time.h>

#include "sim.h"
#include "store.h"

static const struct kb_col cols[] = {
	KB_COL_STR(struct work, tenant),
	KB_COL_STR(struct work, simulation_id),
	KB_COL_STR(struct work, id),
	KB_COL_STR(struct work, name),
	KB_COL_STR(struct work, os),
	KB_COL_STR(struct work, role),
	KB_COL_STR(struct work, container),
	KB_COL_STR(struct work, wanted),
	KB_COL_STR(struct work, status),
	KB_COL_NUM(struct work, cpu),
	KB_COL_INT(struct work, memory_mb),
	KB_COL_INT(struct work, disk_gb),
	KB_COL_INT(struct work, ssh_port),
	KB_COL_INT(struct work, attempts),
	KB_COLS_END,
};

enum kb_err
work_next(struct kb_cx *cx, struct work *w)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT t.slug, n.simulation_id, n.id, n.name, n.os, n.role,"
	    " n.container_id, n.wanted, n.status, n.resources_cpu,"
	    " n.resources_memory_mb, n.resources_disk_gb, n.ssh_port,"
	    " n.attempts FROM nodes n JOIN tenants t ON t.id = n.tenant_id"
	    " WHERE n.status <> n.wanted AND n.status <> 'error'"
	    " ORDER BY n.attempts, n.id LIMIT 1");

	return kb_rows_one(&rows, cols, w);
}

struct outcome {
	const struct work *w;
	const char *status;
	const struct engine_state *state;
	const char *error;
	bool final;
};

static enum kb_err
gone_tx(struct kb_cx *tx, const struct work *w)
{
	enum kb_err err = store_event(
	    tx, w->simulation_id, "info", w->name, "Deleted");

	if (!err)
		err = kb_exec(
		    tx, "DELETE FROM nodes WHERE id = $1", KB_TEXT(w->id));
	if (!err)
		err = store_sim_gone(tx, w->simulation_id);
	return err;
}

static enum kb_err
done_tx(struct kb_cx *tx, void *arg)
{
	const struct outcome *o = arg;
	const struct work *w = o->w;
	const char *now = kb_now_text(tx->arena);
	bool running = strcmp(o->status, "running") == 0;
	enum kb_err err;

	if (strcmp(o->status, "deleted") == 0)
		return gone_tx(tx, w);
	err = kb_exec(tx,
	    "UPDATE nodes SET status = $2, attempts = 0, error = NULL,"
	    " container_id = coalesce($3, container_id),"
	    " ip = coalesce($4, ip),"
	    " started_at = CASE WHEN $5 = 1 THEN $6 END, updated_at = $6"
	    " WHERE id = $1",
	    KB_TEXT(w->id), KB_TEXT(o->status),
	    KB_TEXT(o->state ? o->state->container : NULL),
	    KB_TEXT(o->state ? o->state->ip : NULL), KB_FLAG(running),
	    KB_TEXT(now));
	if (!err)
		err = store_event(tx, w->simulation_id, "info", w->name,
		    running ? "Running" : "Stopped");
	return err ? err : store_sim_status(tx, w->simulation_id);
}

enum kb_err
work_done(struct kb_cx *cx, const struct work *w, const char *status,
    const struct engine_state *state)
{
	struct outcome o = { .w = w, .status = status, .state = state };

	return kb_transaction(cx, done_tx, &o);
}

static enum kb_err
failed_tx(struct kb_cx *tx, void *arg)
{
	const struct outcome *o = arg;
	enum kb_err err = kb_exec(tx,
	    "UPDATE nodes SET attempts = attempts + 1, error = $2,"
	    " status = CASE WHEN $3 = 1 THEN 'error' ELSE status END,"
	    " updated_at = $4 WHERE id = $1",
	    KB_TEXT(o->w->id), KB_TEXT(o->error), KB_FLAG(o->final),
	    KB_TEXT(kb_now_text(tx->arena)));

	if (!err)
		err = store_event(
		    tx, o->w->simulation_id, "error", o->w->name, o->error);
	return err ? err : store_sim_status(tx, o->w->simulation_id);
}

enum kb_err
work_failed(
    struct kb_cx *cx, const struct work *w, const char *error, bool final)
{
	struct outcome o = { .w = w, .error = error, .final = final };

	return kb_transaction(cx, failed_tx, &o);
}
