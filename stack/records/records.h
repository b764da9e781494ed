/*
 * The records API: a tenant's collections and their rows as PocketBase's
 * clients know them. What the files of this folder share.
 *
 * A request sees one `struct schema`, an immutable snapshot of the tenant's
 * collections; a change of a collection makes a new one (schema_cache.c).
 */
#ifndef STACK_RECORDS_H
#define STACK_RECORDS_H

#include <kombi/http.h>

#include "../stack.h"

#define RECORD_ID_SIZE 15
#define RECORD_TIME_SIZE 25 /* "2026-11-20 10:32:23.123Z" and NUL */
#define USERS_ID "_pb_users_auth_"
#define SUPERUSERS_ID "pbc_3142635823"

/* ---- schema -------------------------------------------------------------- */

enum field_type {
	FT_TEXT,
	FT_NUMBER,
	FT_BOOL,
	FT_EMAIL,
	FT_URL,
	FT_EDITOR,
	FT_DATE,
	FT_AUTODATE,
	FT_SELECT,
	FT_JSON,
	FT_RELATION,
	FT_FILE,
	FT_PASSWORD,
	FT_GEO_POINT,
	FT_COUNT
};

/* A bound that may be absent (JSON null). */
struct bound {
	double value;
	bool set;
};

struct field {
	const char *id, *name, *help;
	enum field_type type;
	bool system, hidden, presentable, required;
	/* options, by type: field_options[] says which */
	struct bound min, max;    /* number */
	int64_t min_len, max_len; /* text; 0: none, 5000 */
	const char *pattern, *generate;
	bool primary_key, only_int, on_create, on_update, cascade, urls;
	const char *after, *before;              /* date: min, max */
	const char *const *values;               /* select */
	const char *const *except, *const *only; /* email, url: domains */
	int64_t min_select, max_select, max_size;
	const char *collection_id;                     /* relation */
	const char *const *mime_types, *const *thumbs; /* file */
	bool protected_;                               /* file: by token */
	int64_t cost; /* password: of bcrypt, 0: 10 */
};

enum api_rule {
	RULE_LIST,
	RULE_VIEW,
	RULE_CREATE,
	RULE_UPDATE,
	RULE_DELETE,
	RULE_COUNT
};
extern const char *const rule_names[RULE_COUNT]; /* "listRule" … */

enum collection_type { CT_BASE, CT_AUTH, CT_VIEW };

/* Kinds of tokens; each has a secret and a life of its own. */
enum token_kind {
	TOKEN_AUTH,
	TOKEN_PASSWORD_RESET,
	TOKEN_EMAIL_CHANGE,
	TOKEN_VERIFICATION,
	TOKEN_FILE,
	TOKEN_COUNT
};
struct token_conf {
	int64_t duration_s;
	const char *secret; /* written, never read by clients */
};
struct mail_template {
	const char *subject, *body;
};
enum mail_kind {
	MAIL_VERIFICATION,
	MAIL_PASSWORD_RESET,
	MAIL_EMAIL_CHANGE,
	MAIL_OTP,
	MAIL_AUTH_ALERT,
	MAIL_COUNT
};
struct oauth2_provider {
	const char *name, *client_id, *client_secret;
	const char *auth_url, *token_url, *user_info_url, *display_name;
	bool pkce, pkce_set;
	const char *extra; /* JSON text or NULL */
};
/* What an auth collection has beside: schema_auth.c reads and writes it. */
struct auth_options {
	const char *auth_rule, *manage_rule; /* NULL: null */
	bool alert, password, mfa, otp, oauth2;
	const char *const *identity_fields; /* NULL-ended */
	int64_t mfa_s, otp_s, otp_length;
	const char *mfa_rule;
	const char *map_id, *map_name, *map_username, *map_avatar;
	struct oauth2_provider *providers;
	size_t n_providers;
	struct token_conf tokens[TOKEN_COUNT];
	struct mail_template mails[MAIL_COUNT];
};

struct collection {
	const char *id, *name, *table;
	enum collection_type type;
	bool auth, system;                 /* auth: type == CT_AUTH */
	struct auth_options *auth_options; /* of CT_AUTH, never NULL then */
	const char *view_query;            /* of CT_VIEW */
	struct field *fields;
	size_t n_fields;
	const char *const *indexes;    /* as the client wrote them */
	const char *rules[RULE_COUNT]; /* NULL: superusers only, "": everyone */
	const char *created, *updated;
	/* Made once: t."id", t."title", … and how its rows are read. */
	const char *columns;
	struct kb_col *cols;
};

/* Limits of requests, settings.h; NULL: none hold. */
struct rate_limits;

struct schema {
	struct kb_arena *arena;
	struct collection *collections;
	size_t n;
	const struct rate_limits *limits;
	unsigned refs; /* under the slot's lock */
};

/* By id or by name (any case). */
const struct collection *
schema_find(const struct schema *s, const char *id_or_name);
const struct field *
collection_field(const struct collection *c, const char *name);
/* Holds a list: a JSON array in its column. */
bool field_is_multi(const struct field *f);
const char *field_type_name(enum field_type t);

/* One field of a definition. Unknown types: false, *why is the code. */
bool field_read(struct kb_arena *a, const struct kb_json *j, struct field *f,
    const char **why);
void field_write(struct kb_jsonw *w, const struct field *f);
void collection_write(struct kb_jsonw *w, const void *collection);
const char *collection_type_name(enum collection_type type);
/* Options of an auth collection: what `j` says over `was` (NULL: over what a
 * new one has, with fresh secrets). */
struct auth_options *auth_options_read(struct kb_arena *a,
    const struct kb_json *j, const struct auth_options *was);
/* Their members; secrets only for the database. */
void auth_options_write(
    struct kb_jsonw *w, const struct auth_options *o, bool secrets);
/* Random text of letters and digits, for secrets and keys of tokens. */
const char *random_key(struct kb_arena *a, size_t len);
/* A text that a field's autogeneratePattern makes; NULL: none that we can. */
const char *text_generate(struct kb_arena *a, const char *pattern);
/* The fields that every auth collection has beside id; *n of them. */
const struct field *auth_fields(size_t *n);
/* "pbc_" or a type's name, then CRC-32 of the text in decimal. */
const char *hashed_id(struct kb_arena *a, const char *prefix, const char *text);

/* The tenant's snapshot; given back with schema_release. */
enum kb_err schema_acquire(
    struct kb_cx *cx, struct schema_slot *slot, struct schema **out) KB_MUSTUSE;
void schema_release(struct schema_slot *slot, struct schema *s);
/* A collection was changed: the next request reads anew. */
void schema_forget(struct schema_slot *slot);
/* Fills columns and cols; records_store.c. */
void collection_prepare(struct kb_arena *a, struct collection *c);
/* collections_store.c; into s->arena. */
enum kb_err schema_load(struct kb_cx *cx, struct schema *s) KB_MUSTUSE;

/* ---- the API's requests ---------------------------------------------------
 */

struct upload;   /* files.h */
struct change;   /* changes.h */
struct settings; /* settings.h */

/* Who asks, where it is somebody: a record of an auth collection. */
struct principal {
	const struct collection *c;
	const char *id, *email; /* email "": none */
	bool verified;
	const struct record *record; /* all of it, hidden fields too */
	bool refreshable;            /* came by a token that may be renewed */
};

struct api {
	struct kb_request *req;
	struct tenant_cx *tenant;
	const struct schema *schema;
	const struct principal *auth; /* NULL: a guest */
	/* Of _superusers, or a member of the platform with role admin (any
	 * member's row is in tenant->user, whose id is NULL otherwise). */
	bool superuser;
	const char *context;        /* @request.context; NULL: "default" */
	const struct kb_json *body; /* an object, after api_body */
	struct upload *uploads;     /* files of the body */
	struct file_note *files;    /* files.c: placed, or to go */
	struct change *changes;     /* made by the request's transaction */
};

typedef struct kb_reply api_handler(struct api *api);

/* MEMBERS: any auth record. */
enum api_access { API_GUESTS, API_MEMBERS, API_SUPERUSERS };

/*
 * The only way from a route to a tenant here: enters the tenant that the path
 * names ({slug}, or the end of {collection}: users_acme), judges the token,
 * runs fn, leaves.
 */
struct kb_reply
api_run(struct kb_request *req, enum api_access access, api_handler *fn);
#define API_HANDLER(name, access, fn)                                          \
	struct kb_reply name(struct kb_request *req)                           \
	{                                                                      \
		return api_run(req, access, fn);                               \
	}

/* The collection that the path names, or NULL. */
const struct collection *api_collection(struct api *api);
/* Reads the JSON body; false: *reply is the refusal. */
bool api_body(struct api *api, struct kb_reply *reply);

/* A refusal as it is told: {"status","message","data":{}}. */
struct api_errors;
struct api_failure {
	int status;
	const char *message; /* NULL: the status' own */
	const struct api_errors *errors;
};
struct kb_reply api_failed(struct kb_request *req, const struct api_failure *f);
/* Its members. */
void api_failure_write(struct kb_jsonw *w, const void *failure);
/* What the database answered, in this API's words. */
struct api_failure api_failure_of(enum kb_err err, const char *message);
/* A rule that is null lets superusers alone pass. */
bool rule_is_locked(
    const struct api *api, const struct collection *c, enum api_rule r);
extern const char api_superusers_only[];

/* {"status","message","data":{}}; message NULL: the status' own. */
struct kb_reply
api_fail(struct kb_request *req, int status, const char *message);

/* Field errors: data.<path> = {"code","message","params"}. */
struct api_errors {
	struct api_error {
		const char *path, *code, *message;
		const char *params; /* JSON text or NULL */
		struct api_error *next;
	} * first;
	size_t n;
};
void api_error_add(struct kb_arena *a, struct api_errors *e, const char *path,
    const char *code, const char *message);
void api_error_param(struct kb_arena *a, struct api_errors *e, const char *path,
    const char *code, const char *message, const char *params);
struct kb_reply api_fail_fields(
    struct kb_request *req, const char *message, const struct api_errors *e);
/* What the database answered, in this API's words. */
struct kb_reply
api_fail_db(struct kb_request *req, enum kb_err err, const char *message);

/* ---- records ------------------------------------------------------------- */

/* One value of a row. */
union cell {
	const char *text; /* NULL for NULL */
	double number;
	bool flag;
};

struct record {
	const struct collection *c;
	union cell *cells; /* one a field, in the fields' order */
	struct expanded *expanded;
	bool expands; /* a relation of it was asked for */
	bool managed; /* the caller may manage it: sees its address */
};

/* Records beside a record: expand.<name>. */
struct expanded {
	const char *name;
	bool list;
	struct record **records;
	size_t n;
	struct expanded *next;
};

const char *record_id_of(const struct record *r);
const char *record_new_id(struct kb_arena *a);

/* ?fields=: NULL picks everything. */
struct picker;
struct picker *picker_parse(struct kb_arena *a, const char *fields);
/* Whether a member is picked; *inner: what of it. */
bool picker_wants(
    const struct picker *p, const char *name, const struct picker **inner);
/* Writes the members of the record's object. */
void record_write(struct kb_jsonw *w, const struct api *api,
    const struct record *r, const struct picker *p);

/* The record's object as text, with ?expand= and ?fields= of the request. */
enum kb_err record_answer(const struct api *api, struct kb_cx *cx,
    struct record *r, const char **text) KB_MUSTUSE;

/* A field's value as it comes, judged and brought into the column's form. */
struct judge {
	struct kb_arena *arena;
	struct api_errors *errors;
	const struct schema *schema;
};
/* The value that a record has without one being given. */
union cell value_zero(const struct field *f);
bool value_is_zero(const struct field *f, union cell v);
/* j may be NULL: then the zero value. False: the error was added. */
bool value_read(struct judge *judge, const struct field *f,
    const struct kb_json *j, union cell *out);
/* A date as it is kept; "": none, or no date. */
const char *value_date(struct kb_arena *a, const struct kb_json *j);
/* Bounds, required, choices: after modifiers were applied. */
void value_check(struct judge *judge, const struct field *f, union cell v);
struct kb_val value_bind(const struct field *f, union cell v);
/* "name+", "+name", "name-": what j does to the value so far. */
enum modifier { MOD_NONE, MOD_APPEND, MOD_PREPEND, MOD_REMOVE };
bool value_modify(struct judge *judge, const struct field *f, enum modifier m,
    const struct kb_json *j, union cell *v);
/* A column of several values as an array of texts, NULL-ended. */
const char *const *value_list(struct kb_arena *a, const char *json, size_t *n);
const char *
value_list_text(struct kb_arena *a, const char *const *items, size_t n);

/* ---- queries ---------------------------------------------------------------
 */

struct join;
/* Tables beside the collection's own, in the order of their making. */
struct joins {
	struct join *first;
};

/*
 * A condition under construction: API rule and client filter share their
 * joins, as a PocketBase server's do. Values become parameters of `params`.
 */
struct query {
	struct kb_arena *arena;
	const struct api *api;
	const struct collection *c;
	const char *base; /* alias of c's table: "t" */
	struct kb_val *params;
	size_t n_params, room;
	struct joins joins;
	unsigned n_joins;
	const char *where; /* "": everything */
	bool trusted;      /* compiling a rule: @request, hidden fields */
	const char *why;   /* of a refusal */
	bool forbidden;    /* the refusal is a 403 */
};

void
query_init(struct query *q, const struct api *api, const struct collection *c);
/* Adds the rule: false when it can never hold (null for others, or unknown
 * things in it). "" adds nothing. */
bool query_rule(struct query *q, const char *rule);
/* Adds a client's filter; false: q->why. */
bool query_filter(struct query *q, const char *filter);
/* The client's sort as an ORDER BY list. */
bool query_sort(struct query *q, const char *sort, const char **order);
/* " AND (…)" or "": with the joins that it needs. */
const char *query_condition(struct query *q);
/* Adds a parameter; its "$n". */
const char *query_param(struct query *q, struct kb_val v);
/* Ends the list of parameters. */
const struct kb_val *query_values(struct query *q);

/* records_store.c */
struct record_page {
	int64_t page, per_page, total; /* total -1: not asked */
	const char *order;
	size_t n_where; /* parameters of the condition; the sort's follow */
};
enum kb_err records_page(struct kb_cx *cx, struct query *q,
    struct record_page *page, struct record ***rows, size_t *n) KB_MUSTUSE;
/* The record of that id if the query's condition holds for it. */
enum kb_err record_get(struct kb_cx *cx, struct query *q, const char *id,
    struct record **out) KB_MUSTUSE;
/* Records of these ids (a JSON array) for which the condition holds. */
enum kb_err records_by_ids(struct kb_cx *cx, struct query *q, const char *ids,
    struct record ***rows, size_t *n) KB_MUSTUSE;
/* Rows of a view that was judged and is not stored. */
enum kb_err view_rows(struct kb_cx *cx, struct query *q, int64_t most,
    struct record ***rows, size_t *n) KB_MUSTUSE;
enum kb_err records_all(struct kb_cx *cx, struct query *q,
    struct record ***rows, size_t *n) KB_MUSTUSE;
/* Records whose field `f` names one of the ids. */
enum kb_err
records_referring(struct kb_cx *cx, struct query *q, const struct field *f,
    const char *ids, struct record ***rows, size_t *n) KB_MUSTUSE;
/* Whether the condition holds for a record that is not stored yet. */
enum kb_err record_would(struct kb_cx *cx, struct query *q,
    const struct record *r, bool *holds) KB_MUSTUSE;
enum kb_err record_insert(struct kb_cx *cx, const struct record *r) KB_MUSTUSE;
enum kb_err record_update(struct kb_cx *cx, const struct record *r) KB_MUSTUSE;
/* With what refers to it: cascades, or is emptied. KB_CONFLICT: a required
 * relation refers to it. */
enum kb_err record_delete(
    struct api *api, struct kb_cx *cx, const struct record *record) KB_MUSTUSE;
/* *n: how many of the ids (JSON array) exist. */
enum kb_err records_count_ids(struct kb_cx *cx, const struct collection *c,
    const char *ids, int64_t *n) KB_MUSTUSE;
/* Which fields of a unique index the record shares with another one. */
enum kb_err record_duplicates(struct kb_cx *cx, const struct record *r,
    struct api_errors *errors) KB_MUSTUSE;
enum kb_err
users_admins_but(struct kb_cx *cx, const char *id, int64_t *n) KB_MUSTUSE;

/* ?expand= of the request. */
enum kb_err records_expand(const struct api *api, struct kb_cx *cx,
    struct record **rows, size_t n, const char *expand) KB_MUSTUSE;

/* ---- collections
 * ------------------------------------------------------------- */

enum kb_err
collection_create(struct kb_cx *cx, const struct collection *c) KB_MUSTUSE;
enum kb_err collection_alter(struct kb_cx *cx, const struct collection *was,
    const struct collection *c) KB_MUSTUSE;
enum kb_err
collection_drop(struct kb_cx *cx, const struct collection *c) KB_MUSTUSE;
/* Judges a definition against the tenant's others. */
void collection_check(struct api *api, const struct collection *was,
    struct collection *c, struct api_errors *errors);

/* CREATE [UNIQUE] INDEX name ON table (columns). */
struct index {
	const char *name;
	bool unique;
	const char *columns[8];
	bool nocase[8], descending[8];
	size_t n;
	bool skip_empty; /* WHERE `column` != '' */
	/* What is more than names, as it came: balanced, one expression list,
	 * without comments. SQLite itself lets an index see its own table
	 * alone. expressions: instead of columns; NULL: not so. */
	const char *expressions, *where;
};
bool index_parse(struct kb_arena *a, const char *sql, struct index *out);
/* Whether one column alone is unique. */
bool has_unique_index(
    struct kb_arena *a, const struct collection *c, const char *column);

/*
 * The fields that a view's query gives, into c. False: *why says what is not
 * so (for its author). Nothing is run.
 */
bool view_fields(struct api *api, struct kb_cx *cx, const char *query,
    struct collection *c, const char **why);

/* "name" as an identifier of SQL. */
const char *sql_name(struct kb_arena *a, const char *name);

#endif
