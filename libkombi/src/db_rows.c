/*
 * Cursors: rows into structs by a column table, the first error kept until
 * the end.
 */
#include "db_driver.h"

#include <assert.h>
#include <string.h>

/* The error sticks, and takes the transaction around it along. */
static void
rows_fail(struct kb_rows *rows, enum kb_err err)
{
	if (!rows->err)
		rows->err = err;
	if (rows->cx->tx != NULL && !rows->cx->tx->failed)
		rows->cx->tx->failed = err;
}

/* Statement and connection go back; what was read stays in the arena. */
static void
rows_release(struct kb_rows *rows)
{
	const struct kb_db_driver *driver = rows->cx->db->driver;

	if (rows->stmt != NULL)
		driver->finish(rows);
	rows->stmt = NULL;
	if (rows->own_conn)
		driver->give_back(rows->conn);
	rows->own_conn = false;
	rows->conn = NULL;
}

struct kb_rows
kb_query_v(struct kb_cx *cx, const char *sql, const struct kb_val *values)
{
	const struct kb_db_driver *driver = cx->db->driver;
	struct kb_rows rows = { .cx = cx, .conn = cx->tx };

	if (cx->tx != NULL) {
		rows.err = cx->tx->failed;
	} else {
		rows.err = driver->borrow(cx, &rows.conn);
		rows.own_conn = !rows.err;
	}
	if (!rows.err)
		rows.err = driver->query(&rows, sql, values);
	if (rows.err) {
		rows_fail(&rows, rows.err);
		rows_release(&rows);
	}
	return rows;
}

static int
count_cols(const struct kb_col *cols)
{
	int n = 0;

	while (cols[n].type != KB_COL_T_END)
		n++;
	return n;
}

bool
kb_rows_next(struct kb_rows *rows, const struct kb_col *cols, void *into)
{
	const struct kb_db_driver *driver = rows->cx->db->driver;

	if (rows->err || rows->stmt == NULL || rows->row == KB_ROWS_OVER)
		return false;
	if (!driver->step(rows)) {
		if (rows->err)
			rows_fail(rows, rows->err);
		return false;
	}
	if (cols == NULL)
		return true;
	/* A table that does not fit its SELECT would shift every member. */
	assert(rows->row > 1 || count_cols(cols) == driver->columns(rows));
	for (int i = 0; cols[i].type != KB_COL_T_END; i++)
		driver->column(
		    rows, i, cols[i].type, (char *)into + cols[i].offset);
	return true;
}

enum kb_err
kb_rows_end(struct kb_rows *rows)
{
	enum kb_err before = rows->err;

	rows_release(rows);
	if (rows->err && !before)
		rows_fail(rows, rows->err);
	return rows->err;
}

enum kb_err
kb_rows_one(struct kb_rows *rows, const struct kb_col *cols, void *into)
{
	bool found = kb_rows_next(rows, cols, into);
	enum kb_err err = kb_rows_end(rows);

	if (err)
		return err;
	return found ? KB_OK : KB_NOT_FOUND;
}

enum kb_err
kb_rows_all(struct kb_rows *rows, const struct kb_col *cols, size_t size,
    void *items_out, size_t *n_out)
{
	struct kb_arena *a = rows->cx->arena;
	size_t n = 0;
	size_t cap = 16;
	char *items = kb_arena_array(a, cap, size);
	char *grown;
	enum kb_err err;

	while (kb_rows_next(rows, cols, items + n * size)) {
		if (++n < cap)
			continue;
		grown = kb_arena_array(a, cap * 2, size);
		memcpy(grown, items, n * size);
		items = grown;
		cap *= 2;
	}
	err = kb_rows_end(rows);
	if (err)
		return err;
	memcpy(items_out, &items, sizeof(items));
	*n_out = n;
	return KB_OK;
}
