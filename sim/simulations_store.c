/* Simulations of a tenant; creation and start check its quotas. */
#include <string.h>

#include <kombi/time.h>

#include "sim.h"
#include "store.h"

#define COLUMNS                                                                \
	"s.id, s.name, s.description, s.wanted, s.status, s.created_at,"       \
	" s.updated_at, (SELECT count(*) FROM nodes n"                         \
	" WHERE n.simulation_id = s.id), (SELECT count(*) FROM nodes n"        \
	" WHERE n.simulation_id = s.id AND n.status = 'running')"

static const struct kb_col cols[] = {
	KB_COL_STR(struct simulation, id),
	KB_COL_STR(struct simulation, name),
	KB_COL_STR(struct simulation, description),
	KB_COL_STR(struct simulation, wanted),
	KB_COL_STR(struct simulation, status),
	KB_COL_STR(struct simulation, created),
	KB_COL_STR(struct simulation, updated),
	KB_COL_INT(struct simulation, nodes_count),
	KB_COL_INT(struct simulation, nodes_running),
	KB_COLS_END,
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct store_count, n),
	KB_COLS_END,
};

static const struct kb_col event_cols[] = {
	KB_COL_INT(struct event, seq),
	KB_COL_STR(struct event, at),
	KB_COL_STR(struct event, level),
	KB_COL_STR(struct event, node),
	KB_COL_STR(struct event, message),
	KB_COLS_END,
};

enum kb_err
store_event(struct kb_cx *tx, const char *simulation_id, const char *level,
    const char *node, const char *message)
{
	return kb_exec(tx,
	    "INSERT INTO events (simulation_id, seq, at, level, node, message)"
	    " VALUES ($1, coalesce((SELECT max(seq) FROM events"
	    " WHERE simulation_id = $1), 0) + 1, $2, $3, $4, $5)",
	    KB_TEXT(simulation_id), KB_TEXT(kb_now_text(tx->arena)),
	    KB_TEXT(level), KB_TEXT(node), KB_TEXT(message));
}

enum kb_err
store_sim_status(struct kb_cx *tx, const char *simulation_id)
{
	return kb_exec(tx,
	    "UPDATE simulations SET updated_at = $2, status = CASE"
	    " WHEN EXISTS (SELECT 1 FROM nodes n"
	    " WHERE n.simulation_id = $1 AND n.status = 'error') THEN 'error'"
	    " WHEN wanted = 'deleted' THEN 'deleting'"
	    " WHEN EXISTS (SELECT 1 FROM nodes n WHERE n.simulation_id = $1"
	    " AND n.wanted <> n.status AND n.wanted = 'running')"
	    " THEN 'starting'"
	    " WHEN EXISTS (SELECT 1 FROM nodes n WHERE n.simulation_id = $1"
	    " AND n.wanted <> n.status AND n.status = 'creating')"
	    " THEN 'creating'"
	    " WHEN EXISTS (SELECT 1 FROM nodes n WHERE n.simulation_id = $1"
	    " AND n.wanted <> n.status AND n.wanted = 'stopped')"
	    " THEN 'stopping'"
	    " WHEN EXISTS (SELECT 1 FROM nodes n WHERE n.simulation_id = $1"
	    " AND n.status = 'running') THEN 'running'"
	    " ELSE 'stopped' END WHERE id = $1",
	    KB_TEXT(simulation_id), KB_TEXT(kb_now_text(tx->arena)));
}

static enum kb_err
count_simulations(struct kb_cx *cx, const struct tenant *t, int64_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM simulations WHERE tenant_id = $1",
	    KB_TEXT(t->id));
	struct store_count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	*n = c.n;
	return err;
}

struct insert {
	const struct tenant *t;
	struct simulation *s;
	struct excess *excess;
};

static enum kb_err
check_count(struct kb_cx *cx, const struct insert *in)
{
	int64_t used, max = in->t->max_simulations;
	enum kb_err err = count_simulations(cx, in->t, &used);

	if (err)
		return err;
	if (max < 0 || used < max)
		return KB_OK;
	*in->excess = (struct excess) {
		.resource = "simulations",
		.limit = (double)max,
		.used = (double)used,
	};
	return KB_QUOTA;
}

static enum kb_err
insert_tx(struct kb_cx *cx, void *arg)
{
	const struct insert *in = arg;
	struct simulation *s = in->s;
	enum kb_err err = check_count(cx, in);

	if (err)
		return err;
	err = kb_exec(cx,
	    "INSERT INTO simulations (id, tenant_id, name, description,"
	    " wanted, status, created_at, updated_at)"
	    " VALUES ($1, $2, $3, $4, $5, 'creating', $6, $6)",
	    KB_TEXT(s->id), KB_TEXT(in->t->id), KB_TEXT(s->name),
	    KB_TEXT(s->description), KB_TEXT(s->wanted), KB_TEXT(s->created));
	for (size_t i = 0; !err && i < s->n_nodes; i++) {
		s->nodes[i].wanted = s->wanted;
		err = store_node(cx, in->t, s->id, &s->nodes[i], in->excess);
	}
	if (!err)
		err = store_event(cx, s->id, "info", NULL, "Created");
	return err ? err : store_sim_status(cx, s->id);
}

enum kb_err
simulation_insert(struct kb_cx *cx, const struct tenant *t,
    struct simulation *s, struct excess *excess)
{
	struct insert in = { .t = t, .s = s, .excess = excess };

	return kb_transaction(cx, insert_tx, &in);
}

enum kb_err
simulation_get(struct kb_cx *cx, const struct tenant *t, const char *id,
    struct simulation *s)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM simulations s"
	    " WHERE s.tenant_id = $1 AND s.id = $2",
	    KB_TEXT(t->id), KB_TEXT(id));
	enum kb_err err = kb_rows_one(&rows, cols, s);

	return err ? err : store_nodes_of(cx, t, s);
}

enum kb_err
simulations_page(struct kb_cx *cx, const struct tenant *t, const char *status,
    struct kb_page *page, struct simulation **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM simulations"
	    " WHERE tenant_id = $1 AND ($2 IS NULL OR status = $2)",
	    KB_TEXT(t->id), KB_TEXT(status));
	struct store_count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM simulations s"
	    " WHERE s.tenant_id = $1 AND ($2 IS NULL OR s.status = $2)"
	    " ORDER BY s.id DESC LIMIT $3 OFFSET $4",
	    KB_TEXT(t->id), KB_TEXT(status), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct simulation), out, n);
}

enum kb_err
simulation_rename(
    struct kb_cx *cx, const struct tenant *t, const struct simulation *s)
{
	return kb_exec(cx,
	    "UPDATE simulations SET name = $3, description = $4,"
	    " updated_at = $5 WHERE tenant_id = $1 AND id = $2",
	    KB_TEXT(t->id), KB_TEXT(s->id), KB_TEXT(s->name),
	    KB_TEXT(s->description), KB_TEXT(kb_now_text(cx->arena)));
}

struct want {
	const struct tenant *t;
	const char *id, *wanted;
	struct excess *excess;
};

static enum kb_err
want_tx(struct kb_cx *cx, void *arg)
{
	const struct want *w = arg;
	struct simulation s;
	enum kb_err err = simulation_get(cx, w->t, w->id, &s);

	if (err)
		return err;
	if (strcmp(s.wanted, "deleted") == 0)
		return strcmp(w->wanted, "deleted") == 0 ? KB_OK : KB_CONFLICT;
	if (strcmp(w->wanted, "running") == 0 &&
	    strcmp(s.status, "running") == 0)
		return KB_RUNNING;
	err = kb_exec(cx,
	    "UPDATE simulations SET wanted = $3"
	    " WHERE tenant_id = $1 AND id = $2",
	    KB_TEXT(w->t->id), KB_TEXT(w->id), KB_TEXT(w->wanted));
	for (size_t i = 0; !err && i < s.n_nodes; i++)
		err = store_node_wanted(
		    cx, w->t, &s.nodes[i], w->wanted, w->excess);
	if (!err)
		err = store_event(cx, w->id, "info", NULL,
		    kb_sprintf(cx->arena, "Wanted: %s", w->wanted));
	if (err)
		return err;
	if (strcmp(w->wanted, "deleted") == 0 && s.n_nodes == 0)
		return store_sim_gone(cx, w->id);
	return store_sim_status(cx, w->id);
}

enum kb_err
simulation_want(struct kb_cx *cx, const struct tenant *t, const char *id,
    const char *wanted, struct excess *excess)
{
	struct want w = {
		.t = t,
		.id = id,
		.wanted = wanted,
		.excess = excess,
	};

	return kb_transaction(cx, want_tx, &w);
}

enum kb_err
store_sim_gone(struct kb_cx *tx, const char *simulation_id)
{
	return kb_exec(tx,
	    "DELETE FROM simulations WHERE id = $1 AND wanted = 'deleted'"
	    " AND NOT EXISTS (SELECT 1 FROM nodes WHERE simulation_id = $1)",
	    KB_TEXT(simulation_id));
}

enum kb_err
events_after(struct kb_cx *cx, const struct tenant *t,
    const char *simulation_id, int64_t after, struct event **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT e.seq, e.at, e.level, e.node, e.message FROM events e"
	    " JOIN simulations s ON s.id = e.simulation_id"
	    " WHERE s.tenant_id = $1 AND s.id = $2 AND e.seq > $3"
	    " ORDER BY e.seq LIMIT 500",
	    KB_TEXT(t->id), KB_TEXT(simulation_id), KB_INT(after));

	return kb_rows_all(&rows, event_cols, sizeof(struct event), out, n);
}
