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
	const char *path;   /* temporary file, gone with the request */
	int64_t size;
	bool used; /* some field has taken it */
	struct upload *next;
};

/*
 * What a body makes of a file field: names that are kept, removed, and files
 * that came. `j` may be NULL when only files came. Limits of the field (size,
 * number, media types) are judged. False: an error was added.
 */
bool file_value(struct api *api, struct judge *judge, const struct field *f,
    enum modifier m, const struct kb_json *j, union cell *v) KB_MUSTUSE;
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

#endif
