/*
 * After an unclean stop a file may lie in storage that no record names:
 * placed by a transaction that was never committed, or dropped by one whose
 * end did not come to the files. Once after the start each record's folder is
 * compared with its record. What seems to be nobody's is judged again inside
 * of a write transaction, while no other one can be placing files.
 */
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

#define RECORDS_MAX 200000

struct folder {
	const struct schema *schema;
	const char *path; /* STORAGE/COLLECTION/RECORD */
	const char *collection, *record;
	bool remove; /* else: only count */
	size_t orphans;
};

static enum kb_err
record_of(struct kb_cx *cx, const struct folder *f, struct record **r)
{
	struct query q = { .arena = cx->arena, .where = "" };
	enum kb_err err;

	*r = NULL;
	q.c = schema_find(f->schema, f->collection);
	if (q.c == NULL || q.c->type == CT_VIEW)
		return KB_NOT_FOUND;
	err = record_get(cx, &q, f->record, r);
	return err == KB_NOT_FOUND ? KB_OK : err;
}

/* A file of a record that is there stays when either knows of it: the record
 * may have a field that is younger than the schema at hand. */
static enum kb_err
is_kept(struct kb_cx *cx, const struct folder *f, const struct record *r,
    const char *name, bool *kept)
{
	*kept = false;
	if (r == NULL)
		return KB_OK;
	if (file_field(cx->arena, r, name) == NULL)
		return file_is_known(cx, f->collection, f->record, name, kept);
	*kept = true;
	return KB_OK;
}

static enum kb_err
remove_one(struct kb_cx *cx, const struct folder *f, const char *name)
{
	(void)unlink(kb_sprintf(cx->arena, "%s/%s", f->path, name));
	return file_delete(cx, f->collection, f->record, name);
}

static enum kb_err
sweep_folder(struct kb_cx *cx, void *arg)
{
	struct folder *f = arg;
	struct record *r;
	enum kb_err err = record_of(cx, f, &r);
	const struct dirent *e;
	DIR *dir;

	f->orphans = 0;
	/* A collection that is younger than what is known here. */
	if (err == KB_NOT_FOUND)
		return KB_OK;
	dir = err ? NULL : opendir(f->path);
	while (!err && dir != NULL && (e = readdir(dir)) != NULL) {
		bool kept = true;

		if (e->d_name[0] != '.')
			err = is_kept(cx, f, r, e->d_name, &kept);
		if (err || kept)
			continue;
		f->orphans++;
		if (f->remove)
			err = remove_one(cx, f, e->d_name);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return err;
}

static void
look_at_record(struct kb_cx *cx, struct folder *f)
{
	f->remove = false;
	if (sweep_folder(cx, f) || f->orphans == 0)
		return;
	f->remove = true;
	if (kb_transaction(cx, sweep_folder, f))
		return;
	(void)rmdir(f->path);
	kb_warn(cx->log, "files that no record names are removed",
	    KB_S("collection", f->collection), KB_S("record", f->record));
}

static size_t
look_at_collection(struct kb_cx *cx, const struct schema *schema,
    const char *path, const char *collection, size_t most)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	size_t n = 0;

	while (dir != NULL && n < most && (e = readdir(dir)) != NULL) {
		struct kb_cx own = *cx;
		struct folder f = { .schema = schema,
			.collection = collection,
			.record = e->d_name };

		if (e->d_name[0] == '.')
			continue;
		own.arena = kb_arena_new(0);
		f.path = kb_sprintf(own.arena, "%s/%s", path, e->d_name);
		look_at_record(&own, &f);
		kb_arena_free(own.arena);
		n++;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return n;
}

static void
look_at_storage(
    struct kb_cx *cx, const struct schema *schema, const char *storage)
{
	DIR *dir = opendir(storage);
	const struct dirent *e;
	size_t n = 0;

	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.')
			n += look_at_collection(cx, schema,
			    kb_sprintf(cx->arena, "%s/%s", storage, e->d_name),
			    kb_strdup(cx->arena, e->d_name), RECORDS_MAX - n);
	if (dir != NULL)
		(void)closedir(dir);
}

static void
look_at_tenant(struct kb_app *app, struct kb_cx *cx, const struct tenant *t)
{
	struct stack_state *state = stack_state(app);
	struct kb_cx own = *cx;
	struct tenant_handle *h;
	struct schema *schema = NULL;

	if (tenancy_acquire(state->tenancy, cx->arena, t->slug, &h))
		return;
	own.db = tenant_db(h);
	if (schema_acquire(&own, tenant_schemas(h), &schema) == KB_OK) {
		look_at_storage(&own, schema,
		    kb_sprintf(cx->arena, "%s/tenants/%s/storage",
			stack_config(app)->data_dir, t->slug));
		schema_release(tenant_schemas(h), schema);
	}
	tenancy_release(state->tenancy, h);
}

int64_t
files_look_after(struct kb_app *app, struct kb_cx *cx)
{
	struct tenant *tenants;
	size_t n;

	if (tenants_active(cx, &tenants, &n))
		return 1000;
	for (size_t i = 0; i < n; i++)
		look_at_tenant(app, cx, &tenants[i]);
	return KB_BACKGROUND_DONE;
}
