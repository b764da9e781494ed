/* A tenant's upkeep; SQL of it in crons_store.c. */
#ifndef STACK_CRONS_H
#define STACK_CRONS_H

#include "records.h"

/* Statistics by which SQLite chooses its indexes. */
enum kb_err crons_optimize(struct kb_cx *cx) KB_MUSTUSE;
/* Rows of _mfas, or else of _otps, of that collection's accounts that are
 * older than life_s. */
enum kb_err crons_prune(struct kb_cx *cx, bool mfas, const char *collection_id,
    int64_t life_s) KB_MUSTUSE;

#endif
