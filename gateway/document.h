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
	 * the entity's key, so that it is the same on all replicas and after
	 * every start. That of an API key is made of its hash. */
	const char *id;
	/* What identifies it for people: name, username, key … or NULL. */
	const char *name;
	/*
	 * The mapping in flat form, with its id: no nested entities, foreign
	 * references as {id: UUID} ("service", "route", "consumer",
	 * "upstream" …; "groups" of a consumer is a list of them,
	 * "ca_certificates" of a service a list of UUIDs), text substituted.
	 * Keys of consumers stand there hashed ("sha256:<64 hex>", or
	 * "sha256:SALT:HASH"), passwords of basic-auth as a salted hash;
	 * what kind_info.secret names does not stand there at all.
	 */
	struct kb_yaml *y;
	/* The value of kind_info.secret ("secret" of a jwt_secret, "key" of a
	 * certificate), or NULL. Wiped with the arena. Never to be shown. */
	const char *secret;
	unsigned line;     /* of the file; 0: there is none */
	int64_t created_s; /* unix time */
	int64_t updated_s;
	void *made; /* by document_link: its struct service, route … */
};

struct entities {
	struct entity **v;
	size_t n, cap;
};

struct document_index; /* document.c: ids and names to entities */

struct document {
	struct kb_arena *arena;
	struct entities of[KINDS];
	struct document_index *index;
	unsigned routes_without_name; /* so far: their ids are numbered */
	bool hashed; /* _transform: false: passwords are given as hashes */
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
	const char *secret;   /* member that is kept apart, or NULL */
};
extern const struct kind_info kind_infos[KINDS];

struct document *document_new(struct kb_arena *a);
/*
 * The tree of a file (substituted already; in the arena of `p`, taken over)
 * to flat entities; problems are told. With problems the document is good
 * for nothing but more checks. Keys and passwords in the tree are wiped.
 */
struct document *document_read(struct problems *p, struct kb_yaml *tree);
/* By id, else by name (a consumer also by custom_id); NULL: none. */
struct entity *
document_find(const struct document *d, enum kind kind, const char *name);
/* A deep copy, in another arena: what the Admin API changes. */
struct document *document_copy(struct kb_arena *a, const struct document *d);
/*
 * Adds an entity, or puts it in the place of the one with its id; gives it
 * an id when `y` has none. Nested entities are added too. References may be
 * names or {name: …}. A secret that `y` leaves out stays what it was. `y`
 * lives in the document's arena (kb_yaml_copy) and is taken over. NULL:
 * problems were told, and the document is good for nothing.
 */
struct entity *document_put(struct problems *p, struct document *d,
    enum kind kind, struct kb_yaml *y, unsigned line);
/*
 * Takes it out, and what belongs to it as in Kong (plugins of a route,
 * targets of an upstream, credentials of a consumer). Not when another
 * refers to it without belonging to it (a route to its service): that one is
 * returned, and nothing was changed. NULL: it is out.
 */
struct entity *document_remove(struct document *d, struct entity *e);
/* The entity that a foreign reference of `e` names ("service"), or NULL. */
struct entity *document_foreign(
    const struct document *d, const struct entity *e, const char *member);

/*
 * The snapshot of a document, in its arena. As config_parse: look at
 * problems_any(). snapshot.document is `d`; its hash is that of all entities.
 */
struct snapshot *document_link(struct problems *p, struct document *d);

#endif
