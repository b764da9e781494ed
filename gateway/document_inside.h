/* What document.c and document_read.c share. */
#ifndef GATEWAY_DOCUMENT_INSIDE_H
#define GATEWAY_DOCUMENT_INSIDE_H

#include "document.h"

struct reference {
	enum kind from, to;
	const char *member;
	bool owned;    /* it goes with what it refers to */
	bool required; /* it cannot be without */
	bool list;     /* of references */
	bool texts;    /* which stand there as ids, without {id: …} */
};
extern const struct reference references[];
extern const size_t n_references;

/* Text of a member, NULL when it is none. */
const char *entity_text(const struct entity *e, const char *member);
/* What of its kind must be there once, beside id and name; NULL: nothing. */
const char *entity_place(struct kb_arena *a, const struct entity *e);
/* Id for an entity that has none; its references are resolved. */
const char *entity_make_id(struct document *d, const struct entity *e);
/* A copy that is wiped with the arena; NULL of NULL. */
const char *secret_keep(struct kb_arena *a, const char *text);
/* "route x", "service y and consumer z", "global". */
const char *plugin_scope_text(const struct document *d, const struct entity *e);
/* Into list and index. False: what is there already was told. */
bool document_add(struct problems *p, struct document *d, struct entity *e);
/* The same in the place of the one with its id, if there is one. */
bool document_replace(struct problems *p, struct document *d, struct entity *e);

#endif
