/* Definitions of collections, between collections.c and collections_more.c. */
#ifndef STACK_COLLECTIONS_H
#define STACK_COLLECTIONS_H

#include "records.h"

/*
 * The definition in api->body (a new one, or changes of `was`); the rest of it
 * is collection_check's to judge. False: errors were added.
 */
bool
collection_read(struct api *api, struct kb_cx *cx, const struct collection *was,
    struct collection *c, struct api_errors *errors);
/* The collections with that one, new or instead of the one of its id. */
const struct schema *schema_with(
    struct kb_arena *a, const struct schema *s, const struct collection *c);
/*
 * view.c: fields of all views of the schema, as they are after a change of
 * what they read. KB_INVALID: a view cannot be any more, *why says which.
 */
enum kb_err views_refresh(struct api *api, struct kb_cx *cx,
    const struct schema *s, const char **why) KB_MUSTUSE;
/* fields_check.c: the options of one field, beside what collections_check.c
 * judges against the other fields and collections. */
void field_check(struct kb_arena *a, const struct collection *c, size_t at,
    struct api_errors *errors);
/* What a new one of the type has by itself; without id and name. */
struct collection
collection_scaffold(struct kb_arena *a, enum collection_type type);
/* The one as an object, with what the query's `fields` asks for. */
void collection_write_picked(struct kb_jsonw *w, const struct api *api,
    const struct collection *c, const struct picker *p);
struct kb_reply collection_reply(struct api *api, const struct collection *c);
/* collections_store.c: what reads the view itself, as SQLite keeps it. */
const char *view_everything(struct kb_arena *a, const struct collection *c);
/* collections_store.c: deletes all of its records as if one by one. */
enum kb_err collection_truncate(
    struct api *api, struct kb_cx *cx, const struct collection *c) KB_MUSTUSE;

#endif
