/* Stack instances, their room, and their health history. */
#include <kombi/id.h>

#include "admin.h"

#define COLUMNS                                                                \
	"i.id, i.name, i.region, i.status, i.deployment_mode,"                 \
	" i.internal_endpoint, i.public_endpoint, i.max_tenants,"              \
	" i.current_tenants, coalesce((SELECT h.status::text"                  \
	" FROM instance_health_checks h WHERE h.instance_id = i.id"            \
	" ORDER BY h.timestamp DESC LIMIT 1), 'UNKNOWN'), " TIME_TEXT(         \
	    "i.created_at") ", " TIME_TEXT("i.updated_at")

static const struct kb_col cols[] = {
	KB_COL_STR(struct instance, id),
	KB_COL_STR(struct instance, name),
	KB_COL_STR(struct instance, region),
	KB_COL_STR(struct instance, status),
	KB_COL_STR(struct instance, mode),
	KB_COL_STR(struct instance, internal_endpoint),
	KB_COL_STR(struct instance, public_endpoint),
	KB_COL_INT(struct instance, max_tenants),
	KB_COL_INT(struct instance, current_tenants),
	KB_COL_STR(struct instance, health),
	KB_COL_STR(struct instance, created),
	KB_COL_STR(struct instance, updated),
	KB_COLS_END,
};

static const struct kb_col health_cols[] = {
	KB_COL_STR(struct health_check, id),
	KB_COL_STR(struct health_check, instance_id),
	KB_COL_STR(struct health_check, at),
	KB_COL_STR(struct health_check, status),
	KB_COL_STR(struct health_check, database),
	KB_COL_STR(struct health_check, api),
	KB_COL_STR(struct health_check, agents),
	KB_COL_NUM(struct health_check, cpu),
	KB_COL_NUM(struct health_check, memory),
	KB_COL_NUM(struct health_check, storage),
	KB_COLS_END,
};

enum kb_err
instances_all(struct kb_cx *cx, struct instance **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM kombistack_instances i ORDER BY i.name");

	return kb_rows_all(&rows, cols, sizeof(struct instance), out, n);
}

enum kb_err
instance_by_id(struct kb_cx *cx, const char *id, struct instance *i)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT " COLUMNS " FROM kombistack_instances i WHERE i.id = $1",
	    KB_TEXT(id));

	return kb_rows_one(&rows, cols, i);
}

enum kb_err
instance_insert(struct kb_cx *cx, const struct instance *i)
{
	return kb_exec(cx,
	    "INSERT INTO kombistack_instances (id, name, region, status,"
	    " max_tenants, deployment_mode, internal_endpoint,"
	    " public_endpoint) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	    KB_TEXT(i->id), KB_TEXT(i->name), KB_TEXT(i->region),
	    KB_TEXT(i->status), KB_INT(i->max_tenants), KB_TEXT(i->mode),
	    KB_TEXT(i->internal_endpoint), KB_TEXT(i->public_endpoint));
}

enum kb_err
instance_pick(struct kb_cx *tx, struct instance *i)
{
	struct kb_rows rows = kb_query(tx,
	    "SELECT " COLUMNS " FROM kombistack_instances i"
	    " WHERE i.status = 'ACTIVE' AND i.deployment_mode = 'SHARED'"
	    " AND i.current_tenants < i.max_tenants"
	    " AND coalesce((SELECT h.status::text"
	    " FROM instance_health_checks h WHERE h.instance_id = i.id"
	    " ORDER BY h.timestamp DESC LIMIT 1), 'UNKNOWN') <> 'UNHEALTHY'"
	    " ORDER BY i.current_tenants, i.name LIMIT 1 FOR UPDATE OF i");
	enum kb_err err = kb_rows_one(&rows, cols, i);

	return err == KB_NOT_FOUND ? KB_UNAVAILABLE : err;
}

/* The row is locked; the check constraint is the last word all the same. */
enum kb_err
instance_add_tenant(struct kb_cx *tx, const char *id)
{
	return kb_exec(tx,
	    "UPDATE kombistack_instances"
	    " SET current_tenants = current_tenants + 1, updated_at = now()"
	    " WHERE id = $1",
	    KB_TEXT(id));
}

enum kb_err
instance_register_local(struct kb_cx *cx, const struct instance *i)
{
	return kb_exec(cx,
	    "INSERT INTO kombistack_instances (id, name, region, status,"
	    " max_tenants, deployment_mode, internal_endpoint,"
	    " public_endpoint)"
	    " SELECT $1, $2, $3, 'ACTIVE', $4, $5, $6, $7"
	    " WHERE NOT EXISTS (SELECT 1 FROM kombistack_instances"
	    " WHERE name <> $2)"
	    " ON CONFLICT (name) DO UPDATE SET"
	    " internal_endpoint = excluded.internal_endpoint,"
	    " public_endpoint = excluded.public_endpoint,"
	    " updated_at = now()",
	    KB_TEXT(i->id), KB_TEXT(i->name), KB_TEXT(i->region),
	    KB_INT(i->max_tenants), KB_TEXT(i->mode),
	    KB_TEXT(i->internal_endpoint), KB_TEXT(i->public_endpoint));
}

/* Unknown figures are stored as NULL. */
static struct kb_val
percent(double x)
{
	if (x < 0)
		return KB_NULL;
	return KB_REAL(x);
}

/* Who watches for changes hears of another state, not of each report. */
static enum kb_err
touch(struct kb_cx *tx, const struct health_check *h)
{
	return kb_exec(tx,
	    "UPDATE kombistack_instances i SET updated_at = now()"
	    " WHERE i.id = $1 AND $2 <> coalesce((SELECT h.status::text"
	    " FROM instance_health_checks h WHERE h.instance_id = i.id"
	    " ORDER BY h.timestamp DESC LIMIT 1), 'UNKNOWN')",
	    KB_TEXT(h->instance_id), KB_TEXT(h->status));
}

static enum kb_err
insert_tx(struct kb_cx *tx, void *arg)
{
	const struct health_check *h = arg;
	enum kb_err err = touch(tx, h);

	if (err)
		return err;
	return kb_exec(tx,
	    "INSERT INTO instance_health_checks (id, instance_id, timestamp,"
	    " status, database, api, agents, cpu_percent, memory_percent,"
	    " storage_percent)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	    KB_TEXT(h->id), KB_TEXT(h->instance_id), KB_TEXT(h->at),
	    KB_TEXT(h->status), KB_TEXT(h->database), KB_TEXT(h->api),
	    KB_TEXT(h->agents), percent(h->cpu), percent(h->memory),
	    percent(h->storage));
}

enum kb_err
health_insert(struct kb_cx *cx, struct health_check *h)
{
	return kb_transaction(cx, insert_tx, h);
}

enum kb_err
health_latest(struct kb_cx *cx, const char *instance_id, int64_t limit,
    struct health_check **out, size_t *n)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT id, instance_id, " TIME_TEXT(
		"timestamp") ", status,"
			     " database, api, agents, coalesce(cpu_percent, "
			     "-1),"
			     " coalesce(memory_percent, -1), "
			     "coalesce(storage_percent, -1)"
			     " FROM instance_health_checks WHERE instance_id = "
			     "$1"
			     " ORDER BY instance_health_checks.timestamp DESC "
			     "LIMIT $2",
	    KB_TEXT(instance_id), KB_INT(limit));

	return kb_rows_all(
	    &rows, health_cols, sizeof(struct health_check), out, n);
}
