/*
 * The Admin API inside: what internal.c and admin_*.c share. Everything here
 * runs on the main thread.
 *
 * Answers have Kong's shapes, because Kong's own tools read them: lists are
 * {"data":[…],"next":…}, errors {"message":…,"name":…,"code":…,"fields":{…}}.
 */
#ifndef GATEWAY_ADMIN_API_H
#define GATEWAY_ADMIN_API_H

#include <kombi/json.h>

#include "admin_body.h"
#include "inside.h"

enum { ADMIN_SEGMENTS = 8, ADMIN_TEXT_MAX = 64 << 20 };

/* One request of an operator. */
struct admin_call {
	struct kb_exchange *ex;
	struct gateway *g;
	struct kb_arena *a; /* of the exchange */
	enum kb_method method;
	const char *segment[ADMIN_SEGMENTS]; /* of the path, decoded */
	size_t n;
	struct kb_buf body; /* wiped when the call is over */
	bool over;          /* answered before the body was there */
};

/* ---- answers (admin_reply.c) --------------------------------------------- */

/* Kong's codes of errors. */
enum admin_code {
	ADMIN_PRIMARY_KEY = 1, /* it is not one */
	ADMIN_SCHEMA = 2,
	ADMIN_PRIMARY_TAKEN = 3,
	ADMIN_FOREIGN = 4,
	ADMIN_UNIQUE = 5,
	ADMIN_OFFSET = 7,
	ADMIN_SIZE = 9,
	ADMIN_DECLARATIVE = 14,
};

void admin_json(struct admin_call *c, int status, const struct kb_buf *text);
void admin_empty(struct admin_call *c, int status);
/* {"message":…} */
void admin_message(struct admin_call *c, int status, const char *message);
void admin_not_found(struct admin_call *c);
/* 405; `allow` is "GET, HEAD". */
void admin_not_allowed(struct admin_call *c, const char *allow);
/* One field is wrong; field NULL: the entity as a whole. */
void admin_refuse(struct admin_call *c, enum admin_code code, const char *field,
    const char *message);
/* What the problems say. */
void admin_problems(struct admin_call *c, const struct problems *p);

/* ---- entities as JSON (admin_view.c) ------------------------------------- */

/* Of a kind's own fields; never NULL. */
const struct schema *kind_schema(enum kind kind);
/* The entity with all of its fields, defaults and nulls; what is secret is
 * masked. It stands in `d`, which is linked. */
void view_entity(struct kb_jsonw *w, const char *name, const struct document *d,
    const struct entity *e);
/* The field is id, tags, times, a reference, or not a field of the entity. */
bool view_is_common(enum kind kind, const struct field *f);
/* What holds where nothing is said; null when there is nothing. */
bool view_has_default(const struct field *f, const void *defaults);
void view_default(struct kb_jsonw *w, const char *name, const struct field *f,
    const void *defaults);
/* A tree as it is; masked: without the values of secret names. */
void view_tree(
    struct kb_jsonw *w, const char *name, const struct kb_yaml *y, bool masked);
/* What stands for a secret; sent back it means "as it is". */
extern const char view_mask[];
/* The value is never shown. */
bool view_is_secret(const struct field *f);
bool view_name_is_secret(const char *name);

/* ---- schemas (admin_schema.c) -------------------------------------------- */

/* {"fields":[…]} in the form of Kong's schemas. */
void schema_of_kind(struct kb_jsonw *w, enum kind kind);
void schema_of_plugin(struct kb_jsonw *w, const struct plugin *p);

/* ---- lists (admin_list.c) ------------------------------------------------ */

/* Those of the kind for which `wanted` (NULL: all) holds, by pages. */
void admin_list(struct admin_call *c, enum kind kind,
    bool (*wanted)(const struct entity *e, const void *arg), const void *arg);
void admin_tags(struct admin_call *c, const char *tag);

/* ---- entities one by one (admin_entity.c) -------------------------------- */

/* What stands below another in a path: /services/x/routes. */
struct admin_child {
	enum kind parent;
	const char *path;
	enum kind kind;
	const char *member; /* the reference to the parent */
};
extern const struct admin_child admin_children[];

/* False: the path names no kind of entity. */
bool admin_entities(struct admin_call *c);

/* ---- changes (admin_edit.c) ---------------------------------------------- */

struct edit {
	struct admin_call *c;
	struct problems p;
	struct document *d;
	struct kb_yaml *body; /* a mapping, in the document's arena */
};

/* A copy to change, with the body if `with_body`. False: it was answered. */
bool edit_begin(struct edit *e, struct admin_call *c, bool with_body);
/* Forgets it. */
void edit_drop(struct edit *e);
/* Problems are answered, and it is forgotten. */
void edit_refuse(struct edit *e);
/* Into use, with everything checked. False: nothing was changed, and it was
 * answered. */
bool edit_commit(struct edit *e);

/* A mask that comes back stands for what it hid: the text in its place in
 * `old` (NULL: there is none, which is a problem). */
void
edit_unmask(struct problems *p, struct kb_yaml *y, const struct kb_yaml *old);
/* No text refers to the environment. False: it was answered. */
bool edit_texts_are_literal(struct admin_call *c, const struct kb_yaml *tree);

/* Where an entity is put: its kind, key and parent. */
struct edit_place {
	enum kind kind;
	const char *key; /* id or name in the path; NULL: POST */
	const struct admin_child *child; /* NULL: on top level */
	const struct entity *parent;
};
/* The one that is meant, in `d`; NULL: there is none. */
struct entity *edit_find(const struct document *d, const struct edit_place *at);
/* `place`: the entity belongs to its parent. */
bool edit_is_below(const struct entity *e, const void *place);
void edit_post(struct admin_call *c, const struct edit_place *at);
void edit_put(struct admin_call *c, const struct edit_place *at);
void edit_patch(struct admin_call *c, const struct edit_place *at);
void edit_delete(struct admin_call *c, const struct edit_place *at);
/* Checks the body as if it was posted. */
void edit_validate(struct admin_call *c, enum kind kind);
/* A consumer into a group (then not yet answered) and out of it. */
void edit_join(
    struct admin_call *c, const struct entity *group, const char *consumer);
void edit_leave(
    struct admin_call *c, const struct entity *group, const char *consumer);

/* ---- the whole (admin_config.c) ------------------------------------------ */

/* A declarative file; without secrets unless `secrets`. */
void config_text(struct kb_buf *out, const struct document *d, bool secrets);
void admin_config(struct admin_call *c);

/* ---- who may (admin_guard.c) --------------------------------------------- */

/* The listener may be bound to that address with these options. */
bool
admin_may_listen(const struct gateway *g, const char *host, const char **why);
/* Whether entities may be changed there. */
bool admin_writes(const struct gateway *g, const char *host);
/* False: it was answered. */
bool admin_may(struct admin_call *c);

/* ---- the present state --------------------------------------------------- */

static inline const struct document *
admin_document(const struct admin_call *c)
{
	return c->g->snapshot->document;
}

/* admin_api.c: the head is there. False: it was answered. */
bool admin_begin(struct admin_call *c);
/* The body is there as well. */
void admin_answer(struct admin_call *c);

#endif
