/*
 * What the author of a service sees: request, reply, route, handler.
 *
 * A handler runs on a worker thread, reads, does, and returns its reply: it
 * cannot forget to answer and cannot answer twice. 400 for malformed heads,
 * 401, 403, 404, 405, 413, 415, 431 are answered before it runs.
 */
#ifndef KOMBI_HTTP_H
#define KOMBI_HTTP_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/db.h>
#include <kombi/error.h>
#include <kombi/http1.h>
#include <kombi/identity.h>
#include <kombi/json.h>
#include <kombi/log.h>

/* The verified caller. For a service caller `sub` is NULL. */
struct kb_user {
	const char *sub;   /* X-User-ID */
	const char *email; /* decoded; NULL if absent */
	const char *name;
	const char *org;   /* X-Org-ID; NULL if absent */
	const char *roles; /* comma separated; "" if none */
	enum kb_plan plan;
	const char *tenant;  /* X-Tenant-ID: a selection, not a membership */
	const char *service; /* name of a calling service, or NULL */
};

/* Role inside of a tenant, ascending. */
enum kb_tenant_role {
	KB_ROLE_NONE,
	KB_ROLE_VIEWER,
	KB_ROLE_MEMBER,
	KB_ROLE_ADMIN,
};
const char *kb_tenant_role_name(enum kb_tenant_role r);
enum kb_tenant_role kb_tenant_role_of(const char *name); /* NONE: unknown */

struct kb_request {
	struct kb_cx cx; /* arena, logger, database, deadline */
	enum kb_method method;
	const char *path;  /* normalised, NUL-terminated */
	const char *query; /* raw, "" if none */
	const char *id;    /* request id */
	const char *peer;  /* address text */
	const struct kb_route *route;
	struct kb_user user;
	/* Tenant context set by the service's authorisation hook for
	 * KB_TENANT routes: the only door to a tenant's data. */
	void *tenant;
	enum kb_tenant_role role; /* verified, KB_TENANT routes */
	const char *body;         /* NUL-terminated; "" if none */
	size_t body_len;
	void *service; /* kb_service.context */
	struct kb_request_private *private_;
};

/* Value of {name} in the route's pattern, decoded. Never NULL (assert). */
const char *kb_param(const struct kb_request *req, const char *name);
/* Decoded query parameter, first of that name; NULL if absent. */
const char *kb_query_param(const struct kb_request *req, const char *name);
/* Header of the request; NULL if absent. */
const char *kb_header(const struct kb_request *req, const char *name);

/*
 * A request that came inside of another one (a batch, a subscription): the
 * same parameters, with a method and a query of its own; headers as names and
 * values in turn, NULL-ended, or NULL: the outer one's. In the same arena;
 * NULL: the query cannot be decoded.
 */
struct kb_request *kb_request_part(const struct kb_request *req,
    enum kb_method method, const char *query, const char *const *headers);

/* ---- replies --------------------------------------------------------------
 */

/* Proof that a request was answered: only the functions below make one. */
struct kb_reply {
	int status;
	struct kb_reply_private *private_;
};

typedef void kb_json_fn(struct kb_jsonw *w, const void *obj);

/* {"data":{…}}: `fn` writes the members of the object. */
struct kb_reply
kb_data(struct kb_request *req, int status, kb_json_fn *fn, const void *obj);
/* The bare object, for bodies that a contract spells out. */
struct kb_reply
kb_bare(struct kb_request *req, int status, kb_json_fn *fn, const void *obj);
/* {"data":[…],"meta":{page,limit,total}} of n items of `size` bytes. */
struct kb_page {
	int64_t page, limit, total; /* total -1: not counted, left out */
};
struct kb_reply kb_items(struct kb_request *req, kb_json_fn *fn,
    const void *items, size_t n, size_t size, const struct kb_page *page);
struct kb_reply kb_no_content(struct kb_request *req); /* 204 */
/* Any bytes; data must live in the request's arena or be static. */
struct kb_reply kb_bytes_reply(struct kb_request *req, int status,
    const char *content_type, const void *data, size_t len);
/* JSON text as it is. */
struct kb_reply
kb_json_reply(struct kb_request *req, int status, const char *json);
struct kb_reply kb_not_modified(struct kb_request *req);

/* The error envelope. fmt NULL: the code's own text. */
struct kb_reply kb_fail(struct kb_request *req, enum kb_err err,
    const char *fmt, ...) KB_PRINTF(3, 4);
/* With "details": fn writes its members. */
struct kb_reply kb_fail_details(struct kb_request *req, enum kb_err err,
    const char *message, kb_json_fn *fn, const void *obj);
/* VALIDATION_FAILED with details.fields = the problems collected so far by
 * kb_read_body, kb_read_query and kb_bad_field. */
struct kb_reply kb_invalid(struct kb_request *req);

/* Adds a header to the reply that will be made. Clean values only (assert). */
void
kb_reply_header(struct kb_request *req, const char *name, const char *value);

/*
 * Binds the JSON body: 415 for another content type than application/json,
 * 400 for bad JSON or problems; then return kb_invalid(req).
 */
bool kb_read_body(
    struct kb_request *req, const struct kb_rule *rules, void *into) KB_MUSTUSE;
void kb_bad_field(struct kb_request *req, const char *path, const char *fmt,
    ...) KB_PRINTF(3, 4);
/* page (from 1) and limit (default 20, most 100) of the query. */
bool kb_read_page(struct kb_request *req, struct kb_page *page) KB_MUSTUSE;

/* ---- routes ----------------------------------------------------------------
 */

/* A function type: "kb_handler stacks_list, stacks_get;" declares handlers. */
typedef struct kb_reply kb_handler(struct kb_request *req);

enum kb_permission_kind {
	KB_PERM_NONE_,    /* a row without permission: refused at start */
	KB_PERM_PUBLIC,   /* nobody needs to be known */
	KB_PERM_SERVICE,  /* services of the list, by service token */
	KB_PERM_USER,     /* a user through the gateway; also listed services */
	KB_PERM_TENANT,   /* a member of the tenant with at least this role */
	KB_PERM_PLATFORM, /* a user with one of these platform roles */
};

struct kb_permission {
	enum kb_permission_kind kind;
	enum kb_tenant_role role;
	const char *list[6]; /* services or platform roles, NULL-ended */
};

/* clang-format off */
#define KB_PUBLIC      { .kind = KB_PERM_PUBLIC }
#define KB_SERVICE(...) { .kind = KB_PERM_SERVICE, .list = { __VA_ARGS__, NULL } }
#define KB_USER        { .kind = KB_PERM_USER }
#define KB_USER_OR_SERVICE(...) { .kind = KB_PERM_USER, .list = { __VA_ARGS__, NULL } }
#define KB_TENANT(r)   { .kind = KB_PERM_TENANT, .role = (r) }
#define KB_PLATFORM(...) { .kind = KB_PERM_PLATFORM, .list = { __VA_ARGS__, NULL } }
/* clang-format on */

enum {
	KB_INLINE = 1,     /* runs on the loop: must not block */
	KB_RAW_BODY = 2,   /* any content type; the handler reads req->body */
	KB_SPOOL_BODY = 4, /* as KB_RAW_BODY; large ones in a file:
			      kombi/stream.h */
};

struct kb_route {
	enum kb_method method;
	const char *pattern; /* "/v1/stacks/{id}": whole segments */
	struct kb_permission permission;
	kb_handler *handler;
	/* optional, by designated initialiser */
	unsigned flags;
	uint64_t body_limit;        /* bytes, 0: 1 MiB */
	const char *summary;        /* for the OpenAPI document */
	const struct kb_rule *body; /* rules of the body, for the document */
	const char *returns;        /* "200 The stack" … for the document */
};

/* One row: method macro (pattern, permission, handler, extras…). A row
 * without a permission does not compile. HEAD follows GET by itself. */
#define KB_ROUTE(m, p, perm, h, ...)                                           \
	{                                                                      \
		.method = (m), .pattern = (p), .permission = perm,             \
		.handler = (h), __VA_ARGS__                                    \
	}
#define KB_GET(p, perm, ...) KB_ROUTE(KB_M_GET, p, KB_P(perm), __VA_ARGS__)
#define KB_POST(p, perm, ...) KB_ROUTE(KB_M_POST, p, KB_P(perm), __VA_ARGS__)
#define KB_PUT(p, perm, ...) KB_ROUTE(KB_M_PUT, p, KB_P(perm), __VA_ARGS__)
#define KB_PATCH(p, perm, ...) KB_ROUTE(KB_M_PATCH, p, KB_P(perm), __VA_ARGS__)
#define KB_DELETE(p, perm, ...)                                                \
	KB_ROUTE(KB_M_DELETE, p, KB_P(perm), __VA_ARGS__)
#define KB_P(...) (struct kb_permission) __VA_ARGS__
#define KB_ROUTES_END                                                          \
	{                                                                      \
		.method = KB_M_NONE                                            \
	}

#endif
