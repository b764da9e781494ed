/* tar.gz archives: the home of libarchive. */
#include <kombi/archive.h>

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/buf.h>

enum { MAX_ENTRIES = 2000, MAX_RATIO = 100, MAX_SEGMENTS = 16, MAX_PATH = 200 };

struct kb_archive {
	struct archive *tar;
	struct archive_entry *entry;
	struct kb_buf out;
	int64_t mtime;
};

static la_ssize_t
on_write(struct archive *tar, void *arg, const void *data, size_t len)
{
	struct kb_archive *w = arg;

	(void)tar;
	kb_buf_add(&w->out, data, len);
	return kb_buf_failed(&w->out) ? -1 : (la_ssize_t)len;
}

struct kb_archive *
kb_archive_new(int64_t mtime, size_t max)
{
	struct kb_archive *w = kb_xalloc(sizeof(*w));
	int bad = 0;

	*w = (struct kb_archive) { .mtime = mtime };
	kb_buf_init(&w->out, max);
	w->tar = archive_write_new();
	w->entry = archive_entry_new();
	if (w->tar == NULL || w->entry == NULL)
		abort(); /* out of memory */
	bad |= archive_write_add_filter_gzip(w->tar);
	bad |= archive_write_set_options(
	    w->tar, "gzip:!timestamp,gzip:compression-level=9");
	bad |= archive_write_set_format_ustar(w->tar);
	/* No padding to a tape block: the gzip stream says where it ends. */
	bad |= archive_write_set_bytes_in_last_block(w->tar, 1);
	bad |= archive_write_open(w->tar, w, NULL, on_write, NULL);
	assert(bad == ARCHIVE_OK);
	return w;
}

/* Length of the segment at p; 0 when it is not allowed. */
static size_t
segment_length(const char *p)
{
	size_t n = 0;

	while (p[n] != '\0' &&
	    (isalnum((unsigned char)p[n]) || strchr("._-", p[n]) != NULL))
		n++;
	if (p[0] == '-' || (n == 1 && p[0] == '.') ||
	    (n == 2 && p[0] == '.' && p[1] == '.'))
		return 0;
	return n;
}

bool
kb_archive_path_ok(const char *path)
{
	const char *p = path;

	if (strnlen(path, MAX_PATH + 1) > MAX_PATH)
		return false;
	for (int i = 0; i < MAX_SEGMENTS; i++) {
		size_t n = segment_length(p);

		if (n == 0)
			return false;
		p += n;
		if (*p == '\0')
			return true;
		if (*p++ != '/')
			return false;
	}
	return false;
}

enum kb_err
kb_archive_add(struct kb_archive *w, const char *path, const void *data,
    size_t len, bool executable)
{
	struct archive_entry *e = archive_entry_clear(w->entry);

	if (!kb_archive_path_ok(path))
		return KB_INVALID;
	archive_entry_set_pathname(e, path);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, executable ? 0755 : 0644);
	archive_entry_set_size(e, (la_int64_t)len);
	archive_entry_set_mtime(e, w->mtime, 0);
	archive_entry_set_uid(e, 0);
	archive_entry_set_gid(e, 0);
	if (archive_write_header(w->tar, e) != ARCHIVE_OK ||
	    archive_write_data(w->tar, data, len) != (la_ssize_t)len)
		return kb_buf_failed(&w->out) ? KB_TOO_LARGE : KB_INVALID;
	return KB_OK;
}

enum kb_err
kb_archive_finish(
    struct kb_archive *w, struct kb_arena *a, const char **data, size_t *len)
{
	enum kb_err err = KB_OK;

	if (archive_write_close(w->tar) != ARCHIVE_OK)
		err = kb_buf_failed(&w->out) ? KB_TOO_LARGE : KB_INTERNAL;
	if (err == KB_OK) {
		char *copy = kb_arena_alloc(a, w->out.len + 1);

		memcpy(copy, w->out.ptr, w->out.len);
		*data = copy;
		*len = w->out.len;
	}
	kb_archive_free(w);
	return err;
}

void
kb_archive_free(struct kb_archive *w)
{
	if (w == NULL)
		return;
	archive_entry_free(w->entry);
	archive_write_free(w->tar);
	kb_buf_free(&w->out);
	free(w);
}

/* ---- reading ------------------------------------------------------------ */

struct reading {
	struct kb_arena *arena;
	struct archive *tar;
	const char *why;
	const char **paths; /* seen */
	size_t n, left;     /* entries; bytes that may still come */
};

static enum kb_err
refuse(struct reading *r, const char *why)
{
	r->why = why;
	return KB_INVALID;
}

static enum kb_err
check_entry(struct reading *r, struct archive_entry *e, const char *path)
{
	if (r->n == MAX_ENTRIES)
		return refuse(r, "more than 2,000 entries");
	if (archive_entry_hardlink(e) != NULL ||
	    (archive_entry_filetype(e) != AE_IFREG &&
		archive_entry_filetype(e) != AE_IFDIR))
		return refuse(r, "something other than files and folders");
	if (path == NULL || !kb_archive_path_ok(path))
		return refuse(r, "a name that is not allowed");
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->paths[i], path) == 0)
			return refuse(r, "the same name twice");
	r->paths[r->n++] = path;
	return KB_OK;
}

/* Sizes in headers are claims: only what was read counts. */
static enum kb_err
read_data(struct reading *r, struct kb_buf *b)
{
	for (;;) {
		char chunk[16384];
		la_ssize_t n = archive_read_data(r->tar, chunk, sizeof(chunk));

		if (n < 0)
			return refuse(r, "damaged data");
		if (n == 0)
			return KB_OK;
		if ((size_t)n > r->left)
			return refuse(r, "more data than allowed");
		r->left -= (size_t)n;
		kb_buf_add(b, chunk, (size_t)n);
	}
}

/* "folder/" names the same as "folder". */
static const char *
entry_path(struct reading *r, struct archive_entry *e)
{
	const char *p = archive_entry_pathname(e);
	size_t n = p != NULL ? strlen(p) : 0;

	if (n > 1 && p[n - 1] == '/' && archive_entry_filetype(e) == AE_IFDIR)
		n--;
	return p != NULL ? kb_strndup(r->arena, p, n) : NULL;
}

static enum kb_err
read_entry(struct reading *r, struct archive_entry *e, size_t max,
    kb_archive_fn *each, void *arg)
{
	const char *path = entry_path(r, e);
	enum kb_err err = check_entry(r, e, path);
	struct kb_buf b;

	if (err != KB_OK || archive_entry_filetype(e) == AE_IFDIR)
		return err;
	kb_buf_init(&b, max);
	err = read_data(r, &b);
	if (err == KB_OK)
		err = each(arg, path, kb_buf_str(&b), b.len,
		    (archive_entry_perm(e) & 0100) != 0);
	kb_buf_free(&b);
	return err;
}

enum kb_err
kb_archive_read(struct kb_arena *a, struct kb_slice data, size_t max,
    kb_archive_fn *each, void *arg, const char **why)
{
	struct reading r = {
		.arena = a,
		.tar = archive_read_new(),
		.paths = kb_new_array(a, MAX_ENTRIES, const char *),
		.left = data.len < max / MAX_RATIO ? data.len * MAX_RATIO : max,
	};
	struct archive_entry *e;
	enum kb_err err = KB_OK;
	int got = ARCHIVE_FATAL;

	if (r.tar == NULL)
		abort(); /* out of memory */
	archive_read_support_filter_gzip(r.tar);
	archive_read_support_format_tar(r.tar);
	if (archive_read_open_memory(r.tar, data.ptr, data.len) == ARCHIVE_OK)
		while (err == KB_OK &&
		    (got = archive_read_next_header(r.tar, &e)) == ARCHIVE_OK)
			err = read_entry(&r, e, max, each, arg);
	if (err == KB_OK && got != ARCHIVE_EOF)
		err = refuse(&r, "not a tar.gz archive, or a damaged one");
	archive_read_free(r.tar);
	*why = r.why;
	return err;
}
