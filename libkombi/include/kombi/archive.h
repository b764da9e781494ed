/*
 * Writing tar.gz archives (libarchive): the same files give the same bytes,
 * wherever and whenever they are packed. Format ustar, owner 0:0 without
 * names, one time for all entries, gzip header without time and name.
 */
#ifndef KOMBI_ARCHIVE_H
#define KOMBI_ARCHIVE_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>

struct kb_archive;

/* `mtime` in unix seconds for every entry; `max` bytes of the result. */
struct kb_archive *kb_archive_new(int64_t mtime, size_t max);

/*
 * Adds a regular file (mode 0644, or 0755 if `executable`). Folders are
 * implied. Add in a fixed order: it is part of the bytes. KB_INVALID: not a
 * path that kb_archive_path_ok allows; KB_TOO_LARGE: over `max`.
 */
enum kb_err kb_archive_add(struct kb_archive *w, const char *path,
    const void *data, size_t len, bool executable) KB_MUSTUSE;

/* Ends it; the bytes live in `a`. The writer is freed, whatever the result. */
enum kb_err kb_archive_finish(struct kb_archive *w, struct kb_arena *a,
    const char **data, size_t *len) KB_MUSTUSE;

/* Frees a writer that was not finished; NULL is fine. */
void kb_archive_free(struct kb_archive *w);

/*
 * Relative, 1 to 200 bytes, segments of [A-Za-z0-9._-] that do not begin
 * with '-' and are not "." or "..", at most 16 of them.
 */
bool kb_archive_path_ok(const char *path);

/*
 * Reading, for archives from elsewhere: calls `each` with every regular file
 * in order; the data lives until the call returns. KB_INVALID with *why
 * (arena) for anything but regular files and folders with such paths, for
 * a path that comes twice, for more than 2,000 entries, more than `max`
 * bytes in all, or more than 100 times the size of the archive; what `each`
 * returns ends the reading.
 */
typedef enum kb_err kb_archive_fn(
    void *arg, const char *path, const void *data, size_t len, bool executable);
enum kb_err kb_archive_read(struct kb_arena *a, struct kb_slice data,
    size_t max, kb_archive_fn *each, void *arg, const char **why) KB_MUSTUSE;

#endif
