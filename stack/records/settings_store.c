/* The settings' text in _params. */
#include "settings.h"

struct param {
	const char *value;
};

static const struct kb_col cols[] = {
	KB_COL_STR(struct param, value),
	KB_COLS_END,
};

enum kb_err
settings_load(struct kb_cx *cx, const char **text)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT value FROM _params WHERE id = 'settings'");
	struct param p = { 0 };
	enum kb_err err = kb_rows_one(&rows, cols, &p);

	*text = p.value;
	return err == KB_NOT_FOUND ? KB_OK : err;
}

enum kb_err
settings_save(struct kb_cx *cx, const char *text)
{
	return kb_exec(cx,
	    "INSERT INTO _params (id, value, created, updated)"
	    " VALUES ('settings', $1, $2, $2) ON CONFLICT (id)"
	    " DO UPDATE SET value = excluded.value, updated = excluded.updated",
	    KB_TEXT(text), KB_TEXT(record_now(cx->arena)));
}
