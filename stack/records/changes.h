/*
 * What changed in a tenant: every committed change of a record has a number
 * from the same transaction (_changes), is told to the clients that subscribed
 * (realtime.c) and can be read again later (/api/x/changes).
 */
#ifndef STACK_CHANGES_H
#define STACK_CHANGES_H

#include "records.h"

enum change_action { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE };

struct change {
	enum change_action action;
	const struct record *r;
	int64_t seq;
	struct change *next;
	void *told; /* realtime.c's: who may know of a delete, judged before */
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

/* The subscribers of a tenant, beside its open database. */
struct hub;
struct hub *hub_new(void);
void hub_free(struct hub *hub); /* NULL is fine; ends its clients */

#endif
