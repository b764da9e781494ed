/*
 * What a change of a record does to its files. Bytes get their name before
 * the commit and lose it after the commit; files_settle does what is left
 * once it is known how the transaction ended.
 */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>

#define SIZE_DEFAULT (5ll << 20)

/* A path that the transaction has made, or that goes when it commits. */
struct file_note {
	const char *path;
	bool placed;
	struct file_note *next;
};

/* ---- values
 * -------------------------------------------------------------------- */

const char *
file_member(struct kb_arena *a, const struct field *f, enum modifier m)
{
	switch (m) {
	case MOD_APPEND: return kb_sprintf(a, "%s+", f->name);
	case MOD_PREPEND: return kb_sprintf(a, "+%s", f->name);
	case MOD_REMOVE: return kb_sprintf(a, "%s-", f->name);
	default: return f->name;
	}
}

bool
file_came(const struct api *api, const char *member)
{
	for (const struct upload *u = api->uploads; u != NULL; u = u->next)
		if (strcmp(u->field, member) == 0)
			return true;
	return false;
}

struct upload *
files_of_item(const struct api *api, size_t i)
{
	struct kb_arena *a = api->req->cx.arena;
	const char *prefix = kb_sprintf(a, "requests.%zu.", i);
	struct upload *first = NULL, **last = &first;

	for (const struct upload *u = api->uploads; u != NULL; u = u->next) {
		struct upload *mine;

		if (!kb_str_starts(u->field, prefix))
			continue;
		mine = kb_new(a, struct upload);
		*mine = *u;
		mine->field += strlen(prefix);
		mine->next = NULL;
		*last = mine;
		last = &mine->next;
	}
	return first;
}

struct names {
	const char **items;
	size_t n;
};

static bool
has_name(const struct names *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->items[i], name) == 0)
			return true;
	return false;
}

static void
add_name(struct names *l, const char *name)
{
	if (name != NULL && name[0] != '\0' && !has_name(l, name))
		l->items[l->n++] = name;
}

/* The files that a column names; room for `more` ones. */
static struct names
names_of(
    struct kb_arena *a, const struct field *f, const char *text, size_t more)
{
	size_t n = 1;
	const char *const *items = field_is_multi(f) ? value_list(a, text, &n)
						     : &text;
	struct names l = { kb_new_array(a, n + more + 1, const char *), 0 };

	for (size_t i = 0; i < n; i++)
		add_name(&l, items[i]);
	return l;
}

static bool
is_allowed_type(const struct field *f, const char *type)
{
	size_t len = strcspn(type, ";");

	if (f->mime_types == NULL || f->mime_types[0] == NULL)
		return true;
	for (size_t i = 0; f->mime_types[i] != NULL; i++) {
		const char *t = f->mime_types[i];

		if (strcspn(t, ";") == len && strncasecmp(t, type, len) == 0)
			return true;
	}
	return false;
}

/* Text inside of a message's parameters. */
static const char *
quoted(struct kb_arena *a, const char *s)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 65536);
	kb_w_init(&w, &b);
	kb_w_str(&w, NULL, s);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

static bool
judge_upload(struct judge *judge, const struct field *f, const struct upload *u)
{
	struct kb_arena *a = judge->arena;
	int64_t most = f->max_size > 0 ? f->max_size : SIZE_DEFAULT;
	const char *types = "";

	if (u->size > most) {
		api_error_param(a, judge->errors, f->name,
		    "validation_file_size_limit",
		    kb_sprintf(a,
			"Failed to upload %s - the maximum allowed file size"
			" is %lld bytes.",
			u->name, (long long)most),
		    kb_sprintf(a, "{\"file\":%s,\"maxSize\":%lld}",
			quoted(a, u->name), (long long)most));
		return false;
	}
	if (is_allowed_type(f, u->type))
		return true;
	for (size_t i = 0; f->mime_types[i] != NULL; i++)
		types = kb_sprintf(
		    a, "%s%s%s", types, i ? ", " : "", f->mime_types[i]);
	api_error_add(a, judge->errors, f->name, "validation_invalid_mime_type",
	    kb_sprintf(
		a, "\"%s\" mime type must be one of: %s.", u->stored, types));
	return false;
}

static const char *
text_of(const struct kb_json *j)
{
	return kb_json_kind(j) == KB_JSON_STRING ? kb_json_text(j) : NULL;
}

/* The names that the body gives; a new one comes with bytes alone. */
static bool
given_names(struct judge *judge, const struct field *f, const struct kb_json *j,
    const struct names *old, struct names *out)
{
	bool many = j != NULL && kb_json_kind(j) == KB_JSON_ARRAY;

	for (j = many ? kb_json_first(j) : j; j != NULL;
	     j = many ? kb_json_after(j) : NULL) {
		const char *name = text_of(j);

		if (name == NULL || name[0] == '\0')
			continue;
		if (old != NULL && !has_name(old, name)) {
			const char *list = kb_sprintf(
			    judge->arena, "[%s]", name);

			api_error_param(judge->arena, judge->errors, f->name,
			    "validation_invalid_file",
			    kb_sprintf(
				judge->arena, "Invalid new files: %s.", list),
			    kb_sprintf(judge->arena, "{\"invalidFiles\":[%s]}",
				quoted(judge->arena, name)));
			return false;
		}
		add_name(out, name);
	}
	return true;
}

static bool
came_names(struct api *api, struct judge *judge, const struct field *f,
    enum modifier m, struct names *out)
{
	const char *member = file_member(judge->arena, f, m);

	for (struct upload *u = api->uploads; u != NULL; u = u->next) {
		if (strcmp(u->field, member) != 0)
			continue;
		if (!judge_upload(judge, f, u))
			return false;
		add_name(out, u->stored);
	}
	return true;
}

static struct names
join(struct kb_arena *a, enum modifier m, const struct names *old,
    const struct names *new)
{
	struct names l = { kb_new_array(a, old->n + new->n + 1, const char *),
		0 };

	for (size_t i = 0; (m == MOD_PREPEND || m == MOD_NONE) && i < new->n;
	     i++)
		add_name(&l, new->items[i]);
	for (size_t i = 0; m != MOD_NONE && i < old->n; i++)
		if (m != MOD_REMOVE || !has_name(new, old->items[i]))
			add_name(&l, old->items[i]);
	for (size_t i = 0; m == MOD_APPEND && i < new->n; i++)
		add_name(&l, new->items[i]);
	return l;
}

bool
file_value(struct api *api, struct judge *judge, const struct field *f,
    enum modifier m, const struct kb_json *j, union cell *v)
{
	struct kb_arena *a = judge->arena;
	size_t room = j != NULL && kb_json_kind(j) == KB_JSON_ARRAY
	    ? kb_json_size(j)
	    : 1;
	struct names old = names_of(a, f, v->text ? v->text : "", 0), new;
	struct names l;

	for (const struct upload *u = api->uploads; u != NULL; u = u->next)
		room++;
	new.items = kb_new_array(a, room + 1, const char *);
	new.n = 0;
	if (!given_names(judge, f, j, m == MOD_REMOVE ? NULL : &old, &new) ||
	    (m != MOD_REMOVE && !came_names(api, judge, f, m, &new)))
		return false;
	l = join(a, m, &old, &new);
	if (field_is_multi(f))
		v->text = value_list_text(a, l.items, l.n);
	else
		v->text = l.n == 0 ? ""
				   : l.items[m == MOD_PREPEND ? 0 : l.n - 1];
	return true;
}

const struct field *
file_field(struct kb_arena *a, const struct record *r, const char *name)
{
	for (size_t i = 0; i < r->c->n_fields; i++) {
		const struct field *f = &r->c->fields[i];
		struct names l;

		if (f->type != FT_FILE)
			continue;
		l = names_of(a, f, r->cells[i].text, 0);
		if (has_name(&l, name))
			return f;
	}
	return NULL;
}

/* ---- places
 * -------------------------------------------------------------------- */

static void
note(struct api *api, const char *path, bool placed)
{
	struct file_note *n = kb_new(api->req->cx.arena, struct file_note);

	n->path = path;
	n->placed = placed;
	n->next = api->files;
	api->files = n;
}

static const char *
record_folder(const struct api *api, const struct record *r)
{
	return kb_sprintf(api->req->cx.arena, "%s/%s/%s", files_folder(api),
	    r->c->id, record_id_of(r));
}

static bool
make_folder(const char *path)
{
	return mkdir(path, 0750) == 0 || errno == EEXIST;
}

static bool
sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The folders up to the tenant's own, which was synced with its database. */
static enum kb_err
make_folders(struct api *api, const struct record *r)
{
	const char *storage = files_folder(api);
	const char *of = kb_sprintf(
	    api->req->cx.arena, "%s/%s", storage, r->c->id);
	const char *folder = record_folder(api, r);

	if (!file_part_ok(r->c->id) || !file_part_ok(record_id_of(r)))
		return KB_INVALID;
	if (!make_folder(of) || !make_folder(folder) || !sync_folder(of) ||
	    !sync_folder(storage))
		return file_error("cannot make a record's storage");
	return KB_OK;
}

static struct upload *
upload_of(struct api *api, const char *stored)
{
	struct upload *u = api->uploads;

	while (u != NULL && strcmp(u->stored, stored) != 0)
		u = u->next;
	return u;
}

static enum kb_err
place_one(struct api *api, struct kb_cx *cx, const struct record *r,
    const struct upload *u)
{
	const char *folder = record_folder(api, r);
	const char *to = kb_sprintf(cx->arena, "%s/%s", folder, u->stored);
	char from[64];
	enum kb_err err = make_folders(api, r);

	if (err)
		return err;
	snprintf(from, sizeof(from), "/proc/self/fd/%d", u->fd);
	if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) != 0)
		return file_error("cannot place a file");
	note(api, to, true);
	if (!sync_folder(folder))
		return file_error("cannot sync a record's storage");
	return file_insert(cx, r, u->stored, u->size);
}

static enum kb_err
drop_one(
    struct api *api, struct kb_cx *cx, const struct record *r, const char *name)
{
	if (file_part_ok(name) && file_part_ok(record_id_of(r)))
		note(api,
		    kb_sprintf(cx->arena, "%s/%s", record_folder(api, r), name),
		    false);
	return file_delete(cx, r->c->id, record_id_of(r), name);
}

static enum kb_err
place_field(struct api *api, struct kb_cx *cx, const struct record *was,
    const struct record *r, size_t i)
{
	const struct field *f = &r->c->fields[i];
	struct names none = { NULL, 0 };
	struct names old = was ? names_of(cx->arena, f, was->cells[i].text, 0)
			       : none;
	struct names new = names_of(cx->arena, f, r->cells[i].text, 0);
	enum kb_err err = KB_OK;

	for (size_t k = 0; !err && k < new.n; k++) {
		struct upload *u = upload_of(api, new.items[k]);

		if (u != NULL && !has_name(&old, new.items[k]))
			err = place_one(api, cx, r, u);
	}
	for (size_t k = 0; !err && k < old.n; k++)
		if (!has_name(&new, old.items[k]))
			err = drop_one(api, cx, r, old.items[k]);
	return err;
}

enum kb_err
files_place(struct api *api, struct kb_cx *cx, const struct record *was,
    const struct record *r)
{
	const struct file_note *before = api->files;
	int64_t used = 0;
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < r->c->n_fields; i++)
		if (r->c->fields[i].type == FT_FILE)
			err = place_field(api, cx, was, r, i);
	if (err || api->files == before || api->uploads == NULL)
		return err;
	err = files_used(cx, &used);
	if (!err && api->tenant->row.max_storage >= 0 &&
	    used > api->tenant->row.max_storage)
		err = KB_STORAGE_QUOTA;
	return err;
}

enum kb_err
files_drop(struct api *api, struct kb_cx *cx, const struct record *r)
{
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < r->c->n_fields; i++) {
		const struct field *f = &r->c->fields[i];
		struct names l;

		if (f->type != FT_FILE)
			continue;
		l = names_of(cx->arena, f, r->cells[i].text, 0);
		for (size_t k = 0; !err && k < l.n; k++)
			err = drop_one(api, cx, r, l.items[k]);
	}
	return err;
}

void
files_settle(struct api *api, bool committed)
{
	for (const struct file_note *n = api->files; n != NULL; n = n->next) {
		const char *slash = strrchr(n->path, '/');

		if (n->placed == committed)
			continue;
		(void)unlink(n->path);
		/* The record's folder, when it was the last file. */
		(void)rmdir(kb_strndup(
		    api->req->cx.arena, n->path, (size_t)(slash - n->path)));
	}
	api->files = NULL;
}

/* ---- whole folders
 * ------------------------------------------------------------- */

/* Follows no link; storage/COLLECTION/RECORD/FILE is what there is. */
static void
remove_below(int parent, const char *name, int depth)
{
	int fd = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) != 0 && depth > 0)
			remove_below(fd, e->d_name, depth - 1);
	}
	(void)closedir(dir);
	(void)unlinkat(parent, name, AT_REMOVEDIR);
}

void
files_forget(const struct api *api, const struct collection *c)
{
	if (file_part_ok(c->id))
		remove_below(AT_FDCWD,
		    kb_sprintf(
			api->req->cx.arena, "%s/%s", files_folder(api), c->id),
		    2);
}

void
files_remove_all(const char *tenant_folder)
{
	struct kb_arena *a = kb_arena_new(0);

	remove_below(AT_FDCWD, kb_sprintf(a, "%s/storage", tenant_folder), 3);
	kb_arena_free(a);
}
