/*
 * Files of records. A file's name is in the record's column, its bytes are in
 * tenants/SLUG/storage/COLLECTION_ID/RECORD_ID/NAME. Bytes are on the disk
 * before the row that names them is committed, and go after the row that no
 * longer names them was committed: a crash leaves bytes without a name at
 * most, which a sweep finds.
 */
#ifndef STACK_FILES_H
#define STACK_FILES_H

#include "records.h"

/* A file that came with the body; api->uploads. */
struct upload {
	const char *field;  /* "documents", "documents+": the part's name */
	const char *name;   /* the client's name for it, unsafe */
	const char *stored; /* the name in storage, made from it and safe */
	const char *type;   /* sniffed media type */
	int fd;             /* a file without a name, gone with the request */
	int64_t size;
	size_t n_head; /* the first bytes, to tell its type by */
	char head[512];
	struct upload *next;
};

/*
 * What a body makes of a file field: names that are kept, removed, and files
 * that came. `j` may be NULL when only files came. Limits of the field (size,
 * number, media types) are judged. False: an error was added.
 */
bool file_value(struct api *api, struct judge *judge, const struct field *f,
    enum modifier m, const struct kb_json *j, union cell *v) KB_MUSTUSE;
/* "f", "+f" or "f+": the member that a modifier has. */
const char *
file_member(struct kb_arena *a, const struct field *f, enum modifier m);
/* Whether a file came by that name. */
bool file_came(const struct api *api, const char *member);
/* The files of a batch that belong to its i-th request, as its own. */
struct upload *files_of_item(const struct api *api, size_t i);
/*
 * In the transaction, after the record was checked: brings the uploads that
 * the record names to their place, synced, and counts them against the
 * tenant's storage quota (KB_QUOTA). `was`: the record before, or NULL.
 * What was placed and what is to go is noted in api for files_settle.
 */
enum kb_err files_place(struct api *api, struct kb_cx *cx,
    const struct record *was, const struct record *r) KB_MUSTUSE;
/* The record is deleted in this transaction: its files go when it commits. */
enum kb_err files_drop(
    struct api *api, struct kb_cx *cx, const struct record *r) KB_MUSTUSE;
/* Outside of the transaction, once it ended: removes what has no name now. */
void files_settle(struct api *api, bool committed);
/* A collection's files, after the transaction that dropped it; its rows go by
 * files_delete_all in that transaction. */
void files_forget(const struct api *api, const struct collection *c);
/* All files of a tenant, whose folder this is. */
void files_remove_all(const char *tenant_folder);

/* ---- uploads (files_upload.c) ----------------------------------------------
 */

/* A file that comes: on the tenant's disk, without a name until it is placed.
 * It joins api->uploads. */
enum kb_err upload_open(struct api *api, const char *field, const char *name,
    struct upload **out) KB_MUSTUSE;
/* KB_TOO_LARGE, KB_RESOURCE_LIMIT: the disk is full. */
enum kb_err
upload_write(struct upload *u, const char *data, size_t len) KB_MUSTUSE;
/* It is all there, and on the disk. */
enum kb_err upload_close(struct api *api, struct upload *u) KB_MUSTUSE;
/* From errno, logged: KB_RESOURCE_LIMIT when the disk is full. */
enum kb_err file_error(const char *what);
/* The media type that a file's first bytes tell of. */
const char *file_sniff(const char *head, size_t n);
/* A name for storage: of word characters, with ten at random and the ending
 * that the client's name has, or else its type. */
const char *
file_stored_name(struct kb_arena *a, const char *name, const char *type);
/* Whether it may be one part of a path in storage. */
bool file_part_ok(const char *part);
/* The file field of the record that names the file; NULL: none does. */
const struct field *
file_field(struct kb_arena *a, const struct record *r, const char *name);
/* TENANT/storage. */
const char *files_folder(const struct api *api);

/* ---- what the database knows (files_store.c) -------------------------------
 */

enum kb_err files_used(struct kb_cx *cx, int64_t *used) KB_MUSTUSE;
enum kb_err file_insert(struct kb_cx *cx, const struct record *r,
    const char *name, int64_t size) KB_MUSTUSE;
enum kb_err file_delete(struct kb_cx *cx, const char *collection,
    const char *record, const char *name) KB_MUSTUSE;
enum kb_err file_is_known(struct kb_cx *cx, const char *collection,
    const char *record, const char *name, bool *known) KB_MUSTUSE;
enum kb_err
files_delete_all(struct kb_cx *cx, const struct collection *c) KB_MUSTUSE;

#endif
