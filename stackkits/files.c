/* A kit's files: read from its folder, packed into its archive. */
#include "stackkits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

struct walk {
	struct kb_arena *arena;
	struct sk_files *files;
	const char *why;
};

static enum kb_err
refuse(struct walk *w, const char *path, const char *text)
{
	w->why = kb_sprintf(w->arena, "%s: %s", path, text);
	return KB_INVALID;
}

static enum kb_err
read_all(struct walk *w, int fd, const char *path, size_t size)
{
	char *data = kb_arena_alloc(w->arena, size + 1);
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, data + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return refuse(w, path, "changed while it was read");
		len += (size_t)n;
	}
	w->files->items[w->files->n++] = (struct sk_file) {
		.path = path, .data = data, .len = len
	};
	w->files->bytes += len;
	return KB_OK;
}

static enum kb_err
read_file(struct walk *w, int fd, const char *path)
{
	struct sk_files *f = w->files;
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return refuse(w, path, "is neither a file nor a folder");
	if (!kb_archive_path_ok(path))
		return refuse(w, path, "is not a name that a kit may use");
	/* `cue cmd` files can run programs; the registry serves none. */
	if (kb_str_ends(path, "_tool.cue"))
		return refuse(w, path, "tool files are not allowed in a kit");
	if (f->n == SK_MAX_FILES)
		return refuse(w, path, "more than 200 files");
	if ((size_t)st.st_size > SK_MAX_BYTES - f->bytes)
		return refuse(w, path, "more than 8 MiB in all");
	return read_all(w, fd, path, (size_t)st.st_size);
}

static int
visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* Takes over `fd`, an open folder. */
static enum kb_err
walk_folder(struct walk *w, int fd, const char *prefix, int depth)
{
	struct dirent **names = NULL;
	enum kb_err err = KB_OK;
	int n = depth > SK_MAX_DEPTH
	    ? -1
	    : scandirat(fd, ".", &names, visible, alphasort);

	if (n < 0)
		err = refuse(w, prefix, "cannot be read, or is too deep");
	for (int i = 0; i < n; i++) {
		const char *path = kb_sprintf(
		    w->arena, "%s%s", prefix, names[i]->d_name);
		int child = err != KB_OK
		    ? -1
		    : openat(fd, names[i]->d_name,
			  O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		struct stat st;

		free(names[i]);
		if (err != KB_OK)
			continue;
		if (child < 0)
			err = refuse(w, path, "cannot be opened, or is a link");
		else if (fstat(child, &st) == 0 && S_ISDIR(st.st_mode)) {
			err = walk_folder(w, child,
			    kb_sprintf(w->arena, "%s/", path), depth + 1);
			continue;
		} else
			err = read_file(w, child, path);
		if (child >= 0)
			close(child);
	}
	free(names);
	close(fd);
	return err;
}

enum kb_err
sk_files_read(struct kb_arena *a, const char *folder, const char *prefix,
    struct sk_files *files, const char **why)
{
	struct walk w = { .arena = a, .files = files };
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum kb_err err;

	if (files->items == NULL)
		files->items = kb_new_array(a, SK_MAX_FILES, struct sk_file);
	if (fd < 0)
		err = refuse(&w, folder, strerror(errno));
	else
		err = walk_folder(&w, fd, prefix, 0);
	*why = w.why;
	return err;
}

const struct sk_file *
sk_files_get(const struct sk_files *files, const char *path)
{
	for (size_t i = 0; i < files->n; i++)
		if (strcmp(files->items[i].path, path) == 0)
			return &files->items[i];
	return NULL;
}

/* MANIFEST.json: what a reader checks each file against. */
static void
write_manifest(
    struct kb_buf *b, const struct sk_kit *kit, const struct sk_files *files)
{
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "kit", kit->id);
	kb_w_str(&w, "version", kit->version);
	kb_w_int(&w, "schemaVersion", kit->schema_version);
	kb_w_array(&w, "files");
	for (size_t i = 0; i < files->n; i++) {
		const struct sk_file *f = &files->items[i];
		char hex[65];

		kb_sha256_hex(f->data, f->len, hex);
		kb_w_object(&w, NULL);
		kb_w_str(&w, "path", f->path);
		kb_w_int(&w, "size", (int64_t)f->len);
		kb_w_str(&w, "sha256", hex);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	kb_w_object_end(&w);
}

static int
by_path(const void *a, const void *b)
{
	const struct sk_file *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* The day of the release: the same for everybody who packs this version. */
static int64_t
release_time(struct kb_arena *a, const struct sk_kit *kit)
{
	int64_t ms = 0;

	if (kit->n_versions == 0 ||
	    !kb_rfc3339_parse(
		kb_sprintf(a, "%sT00:00:00Z", kit->versions[0].date), &ms))
		return 0;
	return ms / 1000;
}

static enum kb_err
add(struct kb_archive *w, struct kb_arena *a, const struct sk_kit *kit,
    const struct sk_file *f)
{
	const char *path = kb_sprintf(
	    a, "%s-%s/%s", kit->id, kit->version, f->path);

	return kb_archive_add(w, path, f->data, f->len, false);
}

enum kb_err
sk_package(struct kb_arena *a, struct sk_kit *kit, const struct sk_files *files,
    const char **why)
{
	struct kb_archive *w = kb_archive_new(
	    release_time(a, kit), SK_MAX_BYTES);
	struct sk_file manifest = { .path = "MANIFEST.json" };
	enum kb_err err = KB_OK;
	struct kb_buf json;

	kb_buf_init(&json, SK_MAX_BYTES);
	qsort(files->items, files->n, sizeof(*files->items), by_path);
	write_manifest(&json, kit, files);
	manifest.data = kb_buf_str(&json);
	manifest.len = json.len;
	err = add(w, a, kit, &manifest);
	for (size_t i = 0; err == KB_OK && i < files->n; i++)
		err = add(w, a, kit, &files->items[i]);
	kb_buf_free(&json);
	if (err == KB_OK)
		err = kb_archive_finish(
		    w, a, &kit->tarball.ptr, &kit->tarball.len);
	else
		kb_archive_free(w);
	if (err != KB_OK)
		*why = "cannot be packed";
	else
		kb_sha256_hex(kit->tarball.ptr, kit->tarball.len, kit->sha256);
	return err;
}
