/*
 * What changed in a tenant: every committed change of a record has a number
 * from the same transaction (_kombi_changes), is told to the clients that
 * subscribed (realtime.c) and can be read again later (/api/x/changes).
 */
#ifndef STACK_CHANGES_H
#define STACK_CHANGES_H

#include "records.h"

enum change_action { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE };

struct told; /* realtime.c's: who may know of a delete, judged before */

struct change {
	enum change_action action;
	const struct record *r;
	struct told *told;
	struct change *next;
};

/*
 * In the transaction: numbers the change and keeps it in api->changes (which
 * the caller empties when its transaction begins, since it may run twice).
 * For a delete before the row goes, for the others after it was written.
 */
enum kb_err change_note(struct api *api, struct kb_cx *cx,
    enum change_action action, const struct record *r) KB_MUSTUSE;
/* After the commit: tells the subscribers of all of api->changes. */
void changes_publish(struct api *api);

/* realtime.c: what subscribers may know of a record that is about to go. */
struct told *
realtime_judge(struct api *api, struct kb_cx *cx, const struct change *c);
const char *change_name(enum change_action action);

/* changes_store.c */
struct change_row {
	int64_t seq, action;
	const char *collection_id, *record_id;
};
/* What is kept for those who were not connected. */
struct retention {
	int64_t rows, days;
};
enum kb_err change_insert(struct kb_cx *cx, const struct change *c,
    const struct retention *keep) KB_MUSTUSE;
/* The newest number; 0: nothing ever changed. */
enum kb_err changes_newest(struct kb_cx *cx, int64_t *seq) KB_MUSTUSE;
/* The oldest number that is still there; 0: none. */
enum kb_err changes_oldest(struct kb_cx *cx, int64_t *seq) KB_MUSTUSE;
enum kb_err changes_after(struct kb_cx *cx, int64_t seq, int64_t limit,
    struct change_row **rows, size_t *n) KB_MUSTUSE;

#endif
