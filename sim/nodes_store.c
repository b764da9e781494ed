/* Nodes of simulations, their SSH ports, and what they count for. */
#include <string.h>

#include <kombi/time.h>

#include "sim.h"
#include "store.h"

#define COLUMNS                                                                \
	"id, simulation_id, name, os, location, role, container_id, ip,"       \
	" wanted, status, error, ssh_port, resources_memory_mb,"               \
	" resources_disk_gb, attempts, resources_cpu, started_at,"             \
	" created_at, updated_at"

static const struct kb_col cols[] = {
	KB_COL_STR(struct node, id),
	KB_COL_STR(struct node, simulation_id),
	KB_COL_STR(struct node, name),
	KB_COL_STR(struct node, os),
	KB_COL_STR(struct node, location),
	KB_COL_STR(struct node, role),
	KB_COL_STR(struct node, container),
	KB_COL_STR(struct node, ip),
	KB_COL_STR(struct node, wanted),
	KB_COL_STR(struct node, status),
	KB_COL_STR(struct node, error),
	KB_COL_INT(struct node, ssh_port),
	KB_COL_INT(struct node, memory_mb),
	KB_COL_INT(struct node, disk_gb),
	KB_COL_INT(struct node, attempts),
	KB_COL_NUM(struct node, cpu),
	KB_COL_STR(struct node, started),
	KB_COL_STR(struct node, created),
	KB_COL_STR(struct node, updated),
	KB_COLS_END,
};

static const struct kb_col count_cols[] = {
	KB_COL_INT(struct store_count, n),
	KB_COLS_END,
};

struct load {
	double cpu, memory_mb;
};

static const struct kb_col load_cols[] = {
	KB_COL_NUM(struct load, cpu),
	KB_COL_NUM(struct load, memory_mb),
	KB_COLS_END,
};

static enum kb_err
too_much(struct excess *excess, const char *resource, double limit, double used)
{
	*excess = (struct excess) {
		.resource = resource,
		.limit = limit,
		.used = used,
	};
	return KB_QUOTA;
}

/* What runs, or is wanted to, counts; a stopped node costs nothing. */
static enum kb_err
check_load(struct kb_cx *tx, const struct tenant *t, const struct node *n,
    struct excess *excess)
{
	struct kb_rows rows = kb_query(tx,
	    "SELECT coalesce(sum(resources_cpu), 0),"
	    " coalesce(sum(resources_memory_mb), 0) FROM nodes"
	    " WHERE tenant_id = $1 AND id <> $2"
	    " AND (wanted = 'running' OR status = 'running')",
	    KB_TEXT(t->id), KB_TEXT(n->id));
	struct load used = { 0 };
	enum kb_err err = kb_rows_one(&rows, load_cols, &used);

	if (err)
		return err;
	if (used.cpu + n->cpu > t->quota_cpu)
		return too_much(excess, "cpu", t->quota_cpu, used.cpu);
	if (used.memory_mb + (double)n->memory_mb > t->quota_memory_gb * 1024)
		return too_much(excess, "memoryGb", t->quota_memory_gb,
		    used.memory_mb / 1024);
	return KB_OK;
}

static enum kb_err
check_count(struct kb_cx *tx, const struct tenant *t, const char *simulation_id,
    struct excess *excess)
{
	struct kb_rows rows = kb_query(tx,
	    "SELECT count(*) FROM nodes"
	    " WHERE tenant_id = $1 AND simulation_id = $2",
	    KB_TEXT(t->id), KB_TEXT(simulation_id));
	struct store_count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	if (t->max_nodes >= 0 && c.n >= t->max_nodes)
		return too_much(
		    excess, "nodes", (double)t->max_nodes, (double)c.n);
	return KB_OK;
}

/* The lowest free port of the tenant's block. */
static enum kb_err
take_port(struct kb_cx *tx, const struct tenant *t, struct excess *excess,
    int64_t *port)
{
	struct kb_rows rows = kb_query(tx,
	    "SELECT p FROM (SELECT $1 AS p UNION SELECT ssh_port + 1"
	    " FROM nodes WHERE ssh_port >= $1 AND ssh_port < $2)"
	    " WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE ssh_port = p)"
	    " ORDER BY p LIMIT 1",
	    KB_INT(t->ssh_start), KB_INT(t->ssh_end));
	struct store_count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);
	double size = (double)(t->ssh_end - t->ssh_start + 1);

	if (err == KB_NOT_FOUND)
		return too_much(excess, "sshPorts", size, size);
	*port = c.n;
	return err;
}

enum kb_err
store_node(struct kb_cx *tx, const struct tenant *t, const char *simulation_id,
    struct node *n, struct excess *excess)
{
	enum kb_err err = check_count(tx, t, simulation_id, excess);

	if (!err && strcmp(n->wanted, "running") == 0)
		err = check_load(tx, t, n, excess);
	if (!err)
		err = take_port(tx, t, excess, &n->ssh_port);
	if (err)
		return err;
	n->simulation_id = simulation_id;
	n->status = "creating";
	return kb_exec(tx,
	    "INSERT INTO nodes (id, tenant_id, simulation_id, name, os,"
	    " location, role, ssh_port, wanted, status, resources_cpu,"
	    " resources_memory_mb, resources_disk_gb, created_at, updated_at)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'creating', $10,"
	    " $11, $12, $13, $13)",
	    KB_TEXT(n->id), KB_TEXT(t->id), KB_TEXT(simulation_id),
	    KB_TEXT(n->name), KB_TEXT(n->os), KB_TEXT(n->location),
	    KB_TEXT(n->role), KB_INT(n->ssh_port), KB_TEXT(n->wanted),
	    KB_REAL(n->cpu), KB_INT(n->memory_mb), KB_INT(n->disk_gb),
	    KB_TEXT(n->created));
}

enum kb_err
store_node_wanted(struct kb_cx *tx, const struct tenant *t,
    const struct node *n, const char *wanted, struct excess *excess)
{
	enum kb_err err = KB_OK;

	if (strcmp(wanted, "running") == 0)
		err = check_load(tx, t, n, excess);
	if (err)
		return err;
	/* A failed node gets another chance. */
	return kb_exec(tx,
	    "UPDATE nodes SET wanted = $3, attempts = 0, updated_at = $4,"
	    " error = NULL, status = CASE status WHEN 'error' THEN"
	    " CASE WHEN container_id IS NULL THEN 'creating'"
	    " ELSE 'stopped' END ELSE status END"
	    " WHERE tenant_id = $1 AND id = $2",
	    KB_TEXT(t->id), KB_TEXT(n->id), KB_TEXT(wanted),
	    KB_TEXT(kb_now_text(tx->arena)));
}

enum kb_err
store_nodes_of(struct kb_cx *cx, const struct tenant *t, struct simulation *s)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM nodes"
	    " WHERE tenant_id = $1 AND simulation_id = $2 ORDER BY id",
	    KB_TEXT(t->id), KB_TEXT(s->id));

	return kb_rows_all(
	    &rows, cols, sizeof(struct node), &s->nodes, &s->n_nodes);
}

struct insert {
	const struct tenant *t;
	const char *simulation_id;
	struct node *n;
	struct excess *excess;
};

static enum kb_err
insert_tx(struct kb_cx *tx, void *arg)
{
	const struct insert *in = arg;
	struct simulation s;
	enum kb_err err = simulation_get(tx, in->t, in->simulation_id, &s);

	if (err)
		return err;
	if (strcmp(s.wanted, "deleted") == 0)
		return KB_NOT_FOUND;
	in->n->wanted = s.wanted;
	err = store_node(tx, in->t, s.id, in->n, in->excess);
	if (!err)
		err = store_event(tx, s.id, "info", in->n->name, "Added");
	return err ? err : store_sim_status(tx, s.id);
}

enum kb_err
node_insert(struct kb_cx *cx, const struct tenant *t, const char *simulation_id,
    struct node *n, struct excess *excess)
{
	struct insert in = {
		.t = t,
		.simulation_id = simulation_id,
		.n = n,
		.excess = excess,
	};

	return kb_transaction(cx, insert_tx, &in);
}

enum kb_err
node_get(
    struct kb_cx *cx, const struct tenant *t, const char *id, struct node *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM nodes WHERE tenant_id = $1 AND id = $2",
	    KB_TEXT(t->id), KB_TEXT(id));

	return kb_rows_one(&rows, cols, n);
}

enum kb_err
nodes_page(struct kb_cx *cx, const struct tenant *t, const char *simulation_id,
    struct kb_page *page, struct node **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) FROM nodes"
	    " WHERE tenant_id = $1 AND ($2 IS NULL OR simulation_id = $2)",
	    KB_TEXT(t->id), KB_TEXT(simulation_id));
	struct store_count c = { 0 };
	enum kb_err err = kb_rows_one(&rows, count_cols, &c);

	if (err)
		return err;
	page->total = c.n;
	rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM nodes"
	    " WHERE tenant_id = $1 AND ($2 IS NULL OR simulation_id = $2)"
	    " ORDER BY id LIMIT $3 OFFSET $4",
	    KB_TEXT(t->id), KB_TEXT(simulation_id), KB_INT(page->limit),
	    KB_INT((page->page - 1) * page->limit));
	return kb_rows_all(&rows, cols, sizeof(struct node), out, n);
}

struct want {
	const struct tenant *t;
	const char *id, *wanted;
	struct excess *excess;
};

static enum kb_err
want_tx(struct kb_cx *tx, void *arg)
{
	const struct want *w = arg;
	struct node n;
	enum kb_err err = node_get(tx, w->t, w->id, &n);

	if (err)
		return err;
	if (strcmp(n.wanted, "deleted") == 0)
		return strcmp(w->wanted, "deleted") == 0 ? KB_OK : KB_CONFLICT;
	if (strcmp(w->wanted, "running") == 0 &&
	    strcmp(n.status, "running") == 0)
		return KB_RUNNING;
	err = store_node_wanted(tx, w->t, &n, w->wanted, w->excess);
	if (!err)
		err = store_event(tx, n.simulation_id, "info", n.name,
		    kb_sprintf(tx->arena, "Wanted: %s", w->wanted));
	return err ? err : store_sim_status(tx, n.simulation_id);
}

enum kb_err
node_want(struct kb_cx *cx, const struct tenant *t, const char *id,
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
