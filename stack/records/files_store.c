/* Which files a tenant's records have, and how much room they take. */
#include "files.h"

struct used {
	int64_t used;
};

static const struct kb_col cols[] = {
	KB_COL_INT(struct used, used),
	KB_COLS_END,
};

enum kb_err
files_used(struct kb_cx *cx, int64_t *used)
{
	struct kb_rows rows = kb_query(
	    cx, "SELECT used FROM _kombi_storage WHERE id = 1");
	struct used u = { 0 };
	enum kb_err err = kb_rows_one(&rows, cols, &u);

	*used = u.used;
	return err;
}

enum kb_err
file_insert(
    struct kb_cx *cx, const struct record *r, const char *name, int64_t size)
{
	return kb_exec(cx,
	    "INSERT INTO _kombi_files (collection_id, record_id, name, size)"
	    " VALUES ($1, $2, $3, $4)",
	    KB_TEXT(r->c->id), KB_TEXT(record_id_of(r)), KB_TEXT(name),
	    KB_INT(size));
}

enum kb_err
file_delete(struct kb_cx *cx, const char *collection, const char *record,
    const char *name)
{
	return kb_exec(cx,
	    "DELETE FROM _kombi_files WHERE collection_id = $1 AND record_id ="
	    " $2 AND name = $3",
	    KB_TEXT(collection), KB_TEXT(record), KB_TEXT(name));
}

enum kb_err
file_is_known(struct kb_cx *cx, const char *collection, const char *record,
    const char *name, bool *known)
{
	struct kb_rows rows = kb_query(cx,
	    "SELECT count(*) AS used FROM _kombi_files WHERE collection_id = $1"
	    " AND record_id = $2 AND name = $3",
	    KB_TEXT(collection), KB_TEXT(record), KB_TEXT(name));
	struct used n = { 0 };
	enum kb_err err = kb_rows_one(&rows, cols, &n);

	*known = n.used > 0;
	return err;
}

enum kb_err
files_delete_all(struct kb_cx *cx, const struct collection *c)
{
	return kb_exec(cx, "DELETE FROM _kombi_files WHERE collection_id = $1",
	    KB_TEXT(c->id));
}
