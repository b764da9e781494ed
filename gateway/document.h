/*
 * A configuration as Kong knows it: flat lists of entities, in whatever way
 * they were written (nested in a file, or one by one by the Admin API).
 *
 *   file ──document_read──▶ document ──document_link──▶ snapshot
 *   Admin API: document_copy, change, document_link, gateway_adopt
 *
 * A document and all that is in it lives in one arena, which becomes the
 * snapshot's own; nothing of it changes after document_link. Part of inside.h.
 */
#ifndef GATEWAY_DOCUMENT_H
#define GATEWAY_DOCUMENT_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/yaml.h>

/* In the order in which references between them can be resolved. */
enum kind {
	KIND_CA_CERTIFICATE,
	KIND_CERTIFICATE,
	KIND_SNI,
	KIND_SERVICE,
	KIND_ROUTE,
	KIND_UPSTREAM,
	KIND_TARGET,
	KIND_CONSUMER_GROUP,
	KIND_CONSUMER,
	KIND_JWT_SECRET,
	KIND_KEYAUTH,
	KIND_BASICAUTH,
	KIND_ACL,
	KIND_PLUGIN,
	KIND_VAULT,
	KINDS
};

struct entity {
	enum kind kind;
	/* UUID: as given, else UUIDv5 of Kong's name space for the kind and
	 * the entity's key (kong.md 1.1), so that it is the same on all
	 * replicas and after every start. */
	const char *id;
	/* What identifies it for people: name, username, key … or NULL. */
	const char *name;
	/*
	 * The mapping in flat form: no nested entities, foreign references as
	 * {id: UUID} ("service", "route", "consumer", "upstream" …), text
	 * substituted. Keys of consumers stand there hashed
	 * ("sha256:<64 hex>"), never plain.
	 */
	struct kb_yaml *y;
	unsigned line;     /* of the file; 0: there is none */
	int64_t created_s; /* unix time */
	int64_t updated_s;
};

struct entities {
	struct entity **v;
	size_t n, cap;
};

struct document {
	struct kb_arena *arena;
	struct entities of[KINDS];
};

struct problems;
struct snapshot;

/* Kong's plural and singular: "services", "service"; the path segment of the
 * Admin API and the member of a file ("keyauth_credentials") may differ. */
struct kind_info {
	const char *file;     /* member of a declarative file */
	const char *path;     /* segment of the Admin API: "key-auths" */
	const char *singular; /* in messages and foreign references */
	const char *key;      /* member that is unique, or NULL */
};
extern const struct kind_info kind_infos[KINDS];

struct document *document_new(struct kb_arena *a);
/*
 * The tree of a file (substituted already) to flat entities; problems are
 * told. With problems the document is good for nothing but more checks.
 */
struct document *document_read(struct problems *p, const struct kb_yaml *tree);
/* By id, else by name; NULL: none. */
struct entity *
document_find(const struct document *d, enum kind kind, const char *name);
/* A deep copy, in another arena: what the Admin API changes. */
struct document *document_copy(struct kb_arena *a, const struct document *d);
/*
 * Adds an entity, or puts it in the place of the one with its id; gives it
 * an id when `y` has none. NULL: problems were told.
 */
struct entity *document_put(struct problems *p, struct document *d,
    enum kind kind, struct kb_yaml *y, unsigned line);
/* Takes it out, and what belongs to it as in Kong (plugins of a route,
 * targets of an upstream, credentials of a consumer). */
void document_remove(struct document *d, struct entity *e);
/* The entity that a foreign reference of `e` names ("service"), or NULL. */
struct entity *document_foreign(
    const struct document *d, const struct entity *e, const char *member);

/*
 * The snapshot of a document, in its arena. As config_parse: look at
 * problems_any(). snapshot.document is `d`.
 */
struct snapshot *document_link(struct problems *p, struct document *d);

#endif
