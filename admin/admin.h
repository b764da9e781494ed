/*
 * The admin service: canonical writer of the platform's PostgreSQL. What its
 * files share; nobody else includes it.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include <stdatomic.h>

#include <kombi/audit.h>
#include <kombi/service.h>

struct admin_config {
	struct kb_secret database_url; /* a secret: it may hold a password */
	const char *stack_host;
	int64_t stack_port;
	const char *stack_public_url; /* NULL: none */
	const char *sim_host;
	int64_t sim_port;
	const char *region; /* of the instance registered at start */
	struct kb_secret stripe_webhook, stripe_webhook_next;
	struct kb_secret zitadel_webhook, zitadel_webhook_next;
};

/* Times come out of PostgreSQL as RFC 3339 UTC text. */
#define TIME_TEXT(column)                                                      \
	"to_char(" column " AT TIME ZONE 'UTC',"                               \
	" 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

/* ---- users --------------------------------------------------------------- */

struct user {
	const char *id, *sub, *email, *name, *avatar_url;
	const char *tenant_id, *role;
	const char *status; /* "active", "suspended", "deleted" */
	bool homelab_admin;
	const char *created, *updated;
};

enum kb_err
user_by_sub(struct kb_cx *cx, const char *sub, struct user *u) KB_MUSTUSE;
/* Creates or brings up to date by sub; NULL members stay as they are.
 * *created: it was not there before. */
enum kb_err
user_upsert(struct kb_cx *cx, struct user *u, bool *created) KB_MUSTUSE;
enum kb_err users_page(struct kb_cx *cx, struct kb_page *page,
    struct user **rows, size_t *n) KB_MUSTUSE;

/* ---- instances ------------------------------------------------------------
 */

struct instance {
	const char *id, *name, *region, *status, *mode;
	const char *internal_endpoint, *public_endpoint;
	int64_t max_tenants, current_tenants;
	const char *health; /* of the newest check; "UNKNOWN" without one */
	const char *created, *updated;
};

enum kb_err
instances_all(struct kb_cx *cx, struct instance **rows, size_t *n) KB_MUSTUSE;
enum kb_err
instance_by_id(struct kb_cx *cx, const char *id, struct instance *i) KB_MUSTUSE;
enum kb_err
instance_insert(struct kb_cx *cx, const struct instance *i) KB_MUSTUSE;
/*
 * The emptiest ACTIVE shared instance that is not known to be unhealthy,
 * locked until the transaction ends. KB_UNAVAILABLE: none has room.
 */
enum kb_err instance_pick(struct kb_cx *tx, struct instance *i) KB_MUSTUSE;
enum kb_err instance_add_tenant(struct kb_cx *tx, const char *id) KB_MUSTUSE;
/* Registers the instance that this installation came with, if there is no
 * instance at all; else brings its endpoints up to date. */
enum kb_err
instance_register_local(struct kb_cx *cx, const struct instance *i) KB_MUSTUSE;

struct health_check {
	const char *id, *instance_id, *at, *status, *database, *api, *agents;
	double cpu, memory, storage; /* percent; negative: unknown */
};

enum kb_err health_insert(struct kb_cx *cx, struct health_check *h) KB_MUSTUSE;
enum kb_err health_latest(struct kb_cx *cx, const char *instance_id,
    int64_t limit, struct health_check **rows, size_t *n) KB_MUSTUSE;

/* ---- tenants ---------------------------------------------------------------
 */

struct tenant {
	const char *id, *slug, *name, *org, *instance_id, *plan, *status;
	const char *subscription_status;
	int64_t max_users, max_nodes;
	const char *provisioned; /* NULL: its instance has not confirmed yet */
	const char *internal_endpoint, *public_endpoint; /* of the instance */
	const char *instance_status, *instance_health;
	const char *created, *updated;
};

/*
 * Places the tenant on an instance and inserts it, with what the instance
 * and sim must be told, in one transaction. KB_CONFLICT: slug or
 * organisation taken; KB_UNAVAILABLE: no instance has room.
 */
enum kb_err tenant_create(
    struct kb_cx *cx, struct tenant *t, const char *sim_url) KB_MUSTUSE;
enum kb_err
tenant_by_slug(struct kb_cx *cx, const char *slug, struct tenant *t) KB_MUSTUSE;
enum kb_err tenants_by_org(struct kb_cx *cx, const char *org,
    struct tenant **rows, size_t *n) KB_MUSTUSE;
/*
 * Slug and organisation of at most `max` tenants that changed after since_ms
 * (unix time of the database, which *now_ms tells; negative: none wanted),
 * or whose instance did. Transactions that began earlier may still come:
 * askers let their questions overlap.
 */
enum kb_err tenants_changed(struct kb_cx *cx, int64_t since_ms, size_t max,
    int64_t *now_ms, struct tenant **rows, size_t *n) KB_MUSTUSE;
enum kb_err tenants_page(struct kb_cx *cx, struct kb_page *page,
    struct tenant **rows, size_t *n) KB_MUSTUSE;
enum kb_err tenants_of_user(struct kb_cx *cx, const char *sub,
    struct tenant **rows, size_t *n) KB_MUSTUSE;
/* The creator of a tenant becomes its homelab admin. */
enum kb_err tenant_set_owner(
    struct kb_cx *cx, const char *tenant_id, const char *sub) KB_MUSTUSE;

/* ---- outbox
 * ------------------------------------------------------------------ */

struct letter {
	const char *id, *callee, *method, *url, *body, *tenant_id;
	int64_t attempts;
};

enum kb_err outbox_add(struct kb_cx *tx, const struct letter *l) KB_MUSTUSE;
/* The oldest letter that is due, taken for a minute. KB_NOT_FOUND: none. */
enum kb_err outbox_take(struct kb_cx *cx, struct letter *l) KB_MUSTUSE;
/* How long until the next letter is due: 100 to most_ms, for one that is
 * due may be in the hands of another process. */
enum kb_err
outbox_wait(struct kb_cx *cx, int64_t most_ms, int64_t *ms) KB_MUSTUSE;
enum kb_err outbox_sent(struct kb_cx *cx, const struct letter *l) KB_MUSTUSE;
/* To be tried again after delay_s; final: never. */
enum kb_err outbox_failed(struct kb_cx *cx, const struct letter *l,
    const char *error, int64_t delay_s, bool final) KB_MUSTUSE;
/* kb_background.run */
int64_t outbox_work(struct kb_app *app, struct kb_cx *cx);

/* ---- catalog
 * ------------------------------------------------------------------ */

struct tool {
	const char *id, *name, *slug, *description, *docker_image, *website;
	const char *github_url, *category, *subcategory, *tags, *status;
	const char *latest_version;
	int64_t rating; /* 0: none */
};

struct category {
	const char *id, *slug, *name, *parent;
	int64_t tools;
};

struct tool_filter {
	const char *category; /* slug; NULL: any */
	const char *search;   /* part of name or description; NULL: any */
};

/* Published tools: official and experimental ones. */
enum kb_err tools_published(struct kb_cx *cx, const struct tool_filter *f,
    struct kb_page *page, struct tool **rows, size_t *n) KB_MUSTUSE;
enum kb_err
categories_all(struct kb_cx *cx, struct category **rows, size_t *n) KB_MUSTUSE;

/* ---- feature flags
 * ------------------------------------------------------------------ */

/* One of three, by type; JSON text for readers. */
struct flag_value {
	const char *type; /* "bool", "string", "number" */
	bool yes;
	double number;
	const char *text;
};

struct flag {
	const char *id, *key, *type, *description;
	const char *value; /* the default, JSON */
	const char *created, *updated;
};

/* A flag's value for one user or for one organisation. */
struct flag_assignment {
	const char *id, *key;
	const char *sub, *org; /* one of them is NULL */
	const char *value, *updated;
};

/* What holds: the user's own value, else the organisation's, else the
 * flag's default. */
struct flag_resolved {
	const char *key, *value, *source, *updated;
};

enum kb_err flags_page(struct kb_cx *cx, struct kb_page *page,
    struct flag **rows, size_t *n) KB_MUSTUSE;
enum kb_err
flag_by_key(struct kb_cx *cx, const char *key, struct flag *f) KB_MUSTUSE;
/*
 * What changes a flag also writes the letters that tell the instances
 * concerned, in one transaction; changes of flags come one after another, so
 * that a letter with a higher version knows what those before it told.
 */
enum kb_err flag_insert(struct kb_cx *cx, const struct flag *f,
    const struct flag_value *fallback) KB_MUSTUSE;
/* description and fallback NULL: stay. */
enum kb_err flag_update(struct kb_cx *cx, const char *key,
    const char *description, const struct flag_value *fallback) KB_MUSTUSE;
/* With its assignments. */
enum kb_err flag_delete(struct kb_cx *cx, const char *key) KB_MUSTUSE;

/* One value to be set for a user or an organisation; value.type NULL:
 * taken away. */
struct flag_change {
	const char *key;
	struct flag_value value;
};
/* KB_NOT_FOUND: no such flag. */
enum kb_err flags_assign(struct kb_cx *cx, const struct flag_assignment *whose,
    const struct flag_change *changes, size_t n) KB_MUSTUSE;
enum kb_err flag_assignments(struct kb_cx *cx, const char *key,
    struct kb_page *page, struct flag_assignment **rows, size_t *n) KB_MUSTUSE;
enum kb_err flag_assignment_delete(
    struct kb_cx *cx, const char *key, const char *id) KB_MUSTUSE;
/* sub and org may be NULL. */
enum kb_err flags_resolve(struct kb_cx *cx, const char *sub, const char *org,
    struct flag_resolved **rows, size_t *n) KB_MUSTUSE;

/* ---- webhooks
 * ------------------------------------------------------------------ */

struct webhook_event {
	const char *id, *provider, *event_id, *type, *object;
	int64_t ordinal; /* the sender's order of the object's events */
	const char *payload;
	const char *status, *error, *received, *processed;
	int64_t attempts;
};

struct webhook_filter {
	const char *provider, *status; /* NULL: any */
};

/*
 * Stores the event and marks Stripe's customer that it is about (customer,
 * or NULL) in one transaction. *fresh: it was not here before.
 */
enum kb_err webhook_insert(struct kb_cx *cx, const struct webhook_event *e,
    const char *customer, bool *fresh) KB_MUSTUSE;
enum kb_err webhooks_page(struct kb_cx *cx, const struct webhook_filter *f,
    struct kb_page *page, struct webhook_event **rows, size_t *n) KB_MUSTUSE;
/* A failed event is tried once more. KB_NOT_FOUND: there is no such failed
 * one. */
enum kb_err webhook_retry(struct kb_cx *cx, const char *id) KB_MUSTUSE;

/*
 * Does one event in the transaction that marks it done. *status becomes what
 * it ends as: "done", "ignored".
 */
typedef enum kb_err webhook_do(
    struct kb_cx *tx, const struct webhook_event *e, const char **status);
/* Zitadel's oldest pending event with no older one of its object.
 * KB_NOT_FOUND: none is due. */
enum kb_err webhook_next(
    struct kb_cx *cx, webhook_do *fn, struct webhook_event *e) KB_MUSTUSE;
/* To be tried again after delay_s; final: never. */
enum kb_err webhook_failed(struct kb_cx *cx, const struct webhook_event *e,
    const char *error, int64_t delay_s, bool final) KB_MUSTUSE;
/* How long until one is due, as outbox_wait. */
enum kb_err
webhook_wait(struct kb_cx *cx, int64_t most_ms, int64_t *ms) KB_MUSTUSE;
/* Forgets what was done long ago. */
enum kb_err webhooks_purge(struct kb_cx *cx) KB_MUSTUSE;
/*
 * Reads who, what and when off a delivery's body (e->payload is set) and the
 * customer of Stripe that it is about, or NULL. NULL, or what is wrong.
 */
typedef const char *webhook_read(struct kb_arena *a, const struct kb_json *j,
    struct webhook_event *e, const char **customer);
webhook_read webhook_read_stripe, webhook_read_zitadel;
/* kb_background.run */
int64_t webhooks_work(struct kb_app *app, struct kb_cx *cx);

/* What an event says of a user; NULL members: nothing. */
struct user_news {
	const char *sub, *email, *name;
	const char *status; /* "active", "suspended", "deleted" */
	int64_t ordinal;    /* older news than the row has change nothing */
};
/* Applies them; a deleted user is kept without a name and never comes back.
 * *changed: the status is another one than before. */
enum kb_err user_hear(
    struct kb_cx *tx, const struct user_news *news, bool *changed) KB_MUSTUSE;
/* What a stored event of Zitadel says of its user, but for the status. */
void webhook_user_news(
    struct kb_arena *a, const struct webhook_event *e, struct user_news *news);

/* ---- the service
 * --------------------------------------------------------------- */

struct admin_state {
	char *sim_url;
	int64_t started_ms;
	int64_t purge_ms; /* webhooks_work's own: when to forget old ones */
	/* Webhooks refused since the last row in the audit log. */
	_Atomic int64_t rejected, rejected_s;
};

static inline const struct admin_config *
admin_config(struct kb_app *app)
{
	return app->config;
}

static inline struct admin_state *
admin_state(struct kb_app *app)
{
	return app->state;
}

/* Limits of a plan ("FREE", …), into t. */
void plan_limits(struct tenant *t);

kb_audit_sink audit_store;

extern const struct kb_service admin_service;
extern const struct kb_route admin_routes[];
extern const struct kb_option admin_options[];
extern const struct kb_migration admin_migrations[];
extern const struct kb_rule user_rules[], instance_rules[], health_rules[];
extern const struct kb_rule flag_rules[], flag_patch_rules[];
extern const struct kb_rule flag_assignment_rules[], flag_values_rules[];
extern const struct kb_rule tenant_own_rules[], tenant_rules[];

kb_handler users_get, users_put, users_tenants, users_list;
kb_handler tenants_create_own, tenants_list_own;
kb_handler tenants_create, tenants_list, tenants_get, tenants_get_by_org,
    tenants_get_changed;
kb_handler instances_list, instances_create, instances_health, instances_report;
kb_handler catalog_tools, catalog_categories;
kb_handler webhooks_stripe, webhooks_zitadel;
kb_handler webhooks_stripe_health, webhooks_zitadel_health;
kb_handler webhooks_list, webhooks_retry;
kb_handler flags_list, flags_get, flags_create, flags_patch, flags_delete;
kb_handler flags_assignments, flags_assign_one, flags_unassign;
kb_handler flags_of_user, flags_set_for_user;

#endif
