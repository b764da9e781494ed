/*
 * The platform's side of a tenant: members, invitations, what happened and
 * who did it, secrets.
 */
#ifndef STACK_PLATFORM_H
#define STACK_PLATFORM_H

#include "stack.h"

/* ---- what happened --------------------------------------------------------
 */

/* A line of the tenant's activity, or of the platform's audit. */
struct happening {
	const char *id, *at, *tenant, *actor, *actor_name, *action, *resource,
	    *resource_id, *details, *ip, *request_id;
};
/* What is asked for; NULL or "": any. Newest first, those older than the one
 * of that id. */
struct happening_filter {
	const char *tenant, *action, *actor, *resource, *since, *until, *before;
	int64_t limit;
};

/* activity_store.c, audit_store.c */
enum kb_err
activity_insert(struct kb_cx *tenant, const struct happening *h) KB_MUSTUSE;
enum kb_err
activity_select(struct kb_cx *tenant, const struct happening_filter *f,
    struct happening **rows, size_t *n) KB_MUSTUSE;
enum kb_err
audit_select(struct kb_cx *platform, const struct happening_filter *f,
    struct happening **rows, size_t *n) KB_MUSTUSE;
/* Those before that time go. */
enum kb_err audit_prune(struct kb_cx *platform, const char *before) KB_MUSTUSE;

/* kb_background.run: lets go what is older than the retention. */
int64_t audit_work(struct kb_app *app, struct kb_cx *cx);

/* The members of an object as JSON text, for details. */
const char *details_text(struct kb_arena *a, kb_json_fn *fn, const void *obj);
/* platform.db of a request, whether it has a tenant or not. */
struct kb_cx *platform_of(struct kb_request *req);
/*
 * Both the audit and, where the request has a tenant, its activity. After the
 * thing itself was done: a failure is logged and not the caller's.
 */
void note(struct kb_request *req, const char *action, const char *resource,
    const char *id, const char *details);

/* ---- quotas ---------------------------------------------------------------
 */

struct quota {
	const char *resource;
	int64_t limit, used; /* limit -1: unlimited */
};
/* Once at start. */
void quota_register(void);
/* From four fifths on it is worth a warning. */
bool quota_is_near(const struct quota *q);
/* One more was taken: headers, and the alert when that crossed the line.
 * `tenant`: its open database. */
void
quota_took(struct kb_request *req, struct kb_cx *tenant, const struct quota *q);

/* ---- members --------------------------------------------------------------
 */

struct member_change {
	const char *id;
	const char *role; /* NULL: as it is; "": no member any more */
	bool has_disabled, disabled;
};
/* KB_NOT_FOUND: no member of that id; KB_CONFLICT: the last active admin. */
enum kb_err member_alter(struct kb_cx *tenant, const struct member_change *c,
    struct member *now) KB_MUSTUSE;
/* Makes that sub a member with m->role, or lets it be one again: KB_QUOTA
 * with *used. */
enum kb_err member_join(struct kb_cx *tenant, struct member *m,
    int64_t max_users, int64_t *used) KB_MUSTUSE;
enum kb_err mapping_delete(struct kb_cx *platform, const char *tenant_id,
    const char *user_id) KB_MUSTUSE;
enum kb_err nodes_used(struct kb_cx *tenant, int64_t *n) KB_MUSTUSE;

/* ---- invitations ----------------------------------------------------------
 */

struct invitation {
	const char *id, *tenant_id, *email, *role, *token_hash, *invited_by,
	    *created, *expires, *accepted_by, *accepted;
};
/* KB_CONFLICT: the address has an open one. */
enum kb_err invitation_insert(
    struct kb_cx *platform, const struct invitation *i) KB_MUSTUSE;
/* Those that wait, oldest first. */
enum kb_err invitations_open(struct kb_cx *platform, const char *tenant_id,
    struct kb_page *page, struct invitation **rows, size_t *n) KB_MUSTUSE;
enum kb_err invitation_delete(
    struct kb_cx *platform, const char *tenant_id, const char *id) KB_MUSTUSE;
/* The open one of that token. */
enum kb_err invitation_by_hash(
    struct kb_cx *platform, const char *hash, struct invitation *i) KB_MUSTUSE;
/* KB_NOT_FOUND: somebody else has it. */
enum kb_err invitation_claim(
    struct kb_cx *platform, const char *id, const char *sub) KB_MUSTUSE;
enum kb_err invitation_close(struct kb_cx *platform, const char *id) KB_MUSTUSE;

/* ---- wallet ---------------------------------------------------------------
 */

struct wallet_item {
	const char *id, *key, *label, *kind, *stack_id, *ciphertext, *metadata,
	    *created_by, *created, *updated;
};
/* KB_CONFLICT: the key is taken. KB_INVALID: no stack that v may see. */
enum kb_err wallet_insert(struct kb_cx *tenant, const struct viewer *v,
    const struct wallet_item *i) KB_MUSTUSE;
enum kb_err wallet_get(struct kb_cx *tenant, const struct viewer *v,
    const char *id, struct wallet_item *i) KB_MUSTUSE;
enum kb_err wallet_page(struct kb_cx *tenant, const struct viewer *v,
    struct kb_page *page, struct wallet_item **rows, size_t *n) KB_MUSTUSE;
enum kb_err
wallet_update(struct kb_cx *tenant, const struct wallet_item *i) KB_MUSTUSE;
enum kb_err wallet_delete(
    struct kb_cx *tenant, const struct viewer *v, const char *id) KB_MUSTUSE;

/* Keys of the instance; the first one encrypts. None: the wallet is shut. */
struct wallet_keys {
	unsigned char keys[2][32];
	unsigned n;
};
/* From the options; false, with the reason logged: a key that is none. */
bool wallet_keys_read(struct kb_app *app, struct wallet_keys *out);

/* ---- the instance ---------------------------------------------------------
 */

#define DEFAULT_TENANT "default"

/* setup.c: the default tenant and the first superuser of a self-hosted one. */
struct setup;
struct setup *setup_new(void);
void setup_free(struct setup *s);
enum kb_err setup_begin(struct kb_app *app) KB_MUSTUSE;

/* waves.c: what /ready tells of tenants that could not be migrated. */
struct waves;
struct waves *waves_new(void);
void waves_free(struct waves *w);
int tenant_schema_version(void); /* the newest */
const char *waves_check(struct kb_app *app, struct kb_arena *a);
int64_t waves_work(struct kb_app *app, struct kb_cx *cx);
/* Up to `most` whose database is older than that; *waiting: all of them. */
enum kb_err tenants_to_migrate(struct kb_cx *platform, int version,
    int64_t most, struct tenant **rows, size_t *n, int64_t *waiting) KB_MUSTUSE;
enum kb_err
tenant_migrated(struct kb_cx *platform, const char *id, int version) KB_MUSTUSE;

/* ---- handlers -------------------------------------------------------------
 */

extern const struct kb_rule member_patch_rules[], invitation_rules[],
    accept_rules[], wallet_rules[], wallet_patch_rules[], reveal_rules[],
    reauth_rules[];

kb_handler members_patch, members_delete, tenant_leave;
kb_handler invitations_list, invitations_create, invitations_delete,
    invitations_accept;
kb_handler wallet_list, wallet_create, wallet_patch, wallet_remove,
    wallet_reveal, wallet_reauth;
kb_handler setup_run;
kb_handler activity_list, audit_list, audit_of_all;

#endif
