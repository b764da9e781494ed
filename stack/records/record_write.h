/*
 * A change of one record. In this order: write_start, write_allowed,
 * write_prepare (hashes passwords: before the transaction), write_tx inside of
 * one; after an error of any of them write_failed says it for the client.
 */
#ifndef STACK_RECORD_WRITE_H
#define STACK_RECORD_WRITE_H

#include "auth.h"
#include "records.h"

enum write_kind { WRITE_CREATE, WRITE_UPDATE, WRITE_DELETE };

struct write {
	struct api *api; /* its body is the change's */
	enum write_kind kind;
	const struct collection *c;
	const char *id;   /* of the record; NULL: create */
	struct record *r; /* as it is stored, after write_tx */
	struct api_errors errors;
	struct api_failure failure;
	const char *now;
	struct auth_change auth;
};

struct write write_start(struct api *api, enum write_kind kind,
    const struct collection *c, const char *id);
/* False: w->failure. */
bool write_allowed(struct write *w);
enum kb_err write_prepare(struct write *w) KB_MUSTUSE;
kb_tx_fn write_tx;
/* Outside of the transaction, which was rolled back. */
void write_failed(struct write *w, struct kb_cx *cx, enum kb_err err);

#endif
