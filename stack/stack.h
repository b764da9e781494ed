/*
 * The stack service: homelab control plane of many tenants. What its files
 * share; nobody else includes it.
 */
#ifndef STACK_H
#define STACK_H

#include <pthread.h>

#include <kombi/audit.h>
#include <kombi/id.h>
#include <kombi/service.h>

struct stack_config {
	const char *data_dir;
	const char *stackkits_url; /* NULL: built from host and port */
	const char *stackkits_host;
	int64_t stackkits_port;
	int64_t max_tenants;    /* 0: by deployment mode */
	int64_t session_s;      /* life of a session token */
	bool create_tenants;    /* SSO exchange may create the tenant */
	int64_t tenant_idle_ms; /* close a tenant's database after */
	int64_t keep_changes, keep_days; /* records/changes.h */
	/* mail.c: what tenants without a server of their own send by */
	const char *smtp_host, *smtp_user, *smtp_from;
	int64_t smtp_port;
	bool smtp_tls;
	struct kb_secret smtp_password;
	const char *mail_dir;       /* development's mailbox */
	const char *const *proxies; /* client_ip.c; NULL: none */
	struct kb_secret wallet_key, wallet_key_next;
	const char *superuser_email; /* setup.c */
	struct kb_secret superuser_password;
	int64_t wave;         /* tenants migrated at once after an upgrade */
	int64_t tenants_open; /* databases kept open; 0: no bound */
	int64_t audit_days;   /* 0: by deployment mode */
};

/* ---- tenants ----------------------------------------------------------- */

/* A row of _tenants. */
struct tenant {
	const char *id, *slug, *name, *org, *plan, *status;
	const char *token_secret;
	/* -1: unlimited; storage in bytes */
	int64_t max_users, max_nodes, max_stacks, max_storage;
	const char *created, *updated;
};

/* A member of a tenant: a row of its users. */
struct member {
	const char *id, *email, *name, *role, *sub, *token_key;
	bool disabled;
};

/*
 * A verified tenant context, from the hook alone: handlers reach a tenant's
 * database through it (req->cx.db is that database while it is set).
 */
struct tenant_cx {
	struct tenant row;
	struct member user;
	struct tenant_handle *handle;
	struct kb_cx platform; /* the same arena and log on platform.db */
};

static inline struct tenant_cx *
tenant_of(const struct kb_request *req)
{
	return req->tenant;
}

/* Open databases of tenants, shared and counted; thread-safe. */
struct tenancy;
struct tenant_handle;

/* most: databases kept open, those in use not counted; 0: no bound. */
struct tenancy *
tenancy_new(const char *data_dir, int64_t idle_ms, int64_t most);
void tenancy_free(struct tenancy *t);
/* Opens (and migrates) the tenant's database, or finds it open. */
enum kb_err tenancy_acquire(struct tenancy *t, struct kb_arena *a,
    const char *slug, struct tenant_handle **out) KB_MUSTUSE;
void tenancy_release(struct tenancy *t, struct tenant_handle *h);
struct kb_db *tenant_db(struct tenant_handle *h);
/* The collections of the tenant, kept beside its open database. */
struct schema_slot {
	pthread_mutex_t lock;
	struct schema *now; /* NULL: to be read */
	uint64_t generation;
};
struct schema_slot *tenant_schemas(struct tenant_handle *h);
struct hub *tenant_hub(struct tenant_handle *h); /* records/hub.h */
/* Ends the realtime streams of a tenant that is suspended or goes. */
void tenancy_end_clients(struct tenancy *t, const char *slug);
void schema_slot_open(struct schema_slot *slot);
void schema_slot_close(struct schema_slot *slot);
/* Closes what nobody used for the idle time. */
void tenancy_sweep(struct tenancy *t);
/* Databases open at the moment. */
size_t tenancy_open_count(struct tenancy *t);
/* The tenants whose databases are, NULL-ended. */
const char *const *tenancy_open_slugs(struct tenancy *t, struct kb_arena *a);
/* Removes a tenant's files; nobody may hold its handle. */
enum kb_err
tenancy_remove_files(struct tenancy *t, const char *slug) KB_MUSTUSE;

/* kb_service.refusal: below /api/ in PocketBase's shape. */
bool
api_refusal(struct kb_request *req, enum kb_err err, struct kb_reply *reply);

/* Behind a trusted proxy req->peer becomes whom the proxy speaks for. */
void client_ip_believe(struct kb_request *req);

/* kb_service.tenant and .tenant_done */
enum kb_err tenant_resolve(struct kb_request *req);
void tenant_resolved_done(struct kb_request *req);
/*
 * For routes that guests may use as well: opens the tenant of that slug; ended
 * by tenant_resolved_done. Whom the gateway vouches for is in tc->user, whose
 * id is NULL otherwise.
 */
enum kb_err tenant_visit(
    struct kb_request *req, struct tenant_cx *tc, const char *slug) KB_MUSTUSE;

enum kb_err tenant_insert(struct kb_cx *cx, const struct tenant *t,
    int64_t max_tenants) KB_MUSTUSE; /* KB_UNAVAILABLE: instance full */
enum kb_err tenant_update(struct kb_cx *cx, const struct tenant *t) KB_MUSTUSE;
enum kb_err
tenant_by_slug(struct kb_cx *cx, const char *slug, struct tenant *t) KB_MUSTUSE;
enum kb_err
tenant_by_org(struct kb_cx *cx, const char *org, struct tenant *t) KB_MUSTUSE;
enum kb_err
tenant_by_id(struct kb_cx *cx, const char *id, struct tenant *t) KB_MUSTUSE;
enum kb_err
tenants_active(struct kb_cx *cx, struct tenant **rows, size_t *n) KB_MUSTUSE;
enum kb_err tenant_count(struct kb_cx *cx, int64_t *n) KB_MUSTUSE;
/* The newest tenant that this user entered. */
enum kb_err
tenant_last_of(struct kb_cx *cx, const char *sub, struct tenant *t) KB_MUSTUSE;

/* ---- members and sessions ---------------------------------------------- */

struct mapping {
	const char *sub, *tenant_id, *user_id, *last_login;
	bool is_admin;
};

enum kb_err mapping_get(struct kb_cx *platform, const char *sub,
    const char *tenant_id, struct mapping *m) KB_MUSTUSE;
enum kb_err
mapping_upsert(struct kb_cx *platform, const struct mapping *m) KB_MUSTUSE;

enum kb_err
member_by_id(struct kb_cx *tenant, const char *id, struct member *m) KB_MUSTUSE;
/*
 * Finds the member of that sub or makes it: the first one of a tenant is
 * admin, later ones member. KB_QUOTA with *used when max_users is reached.
 * E-mail and name are brought up to date.
 */
enum kb_err member_enter(struct kb_cx *tenant, struct member *m,
    int64_t max_users, int64_t *used) KB_MUSTUSE;
enum kb_err members_list(struct kb_cx *tenant, struct kb_page *page,
    struct member **rows, size_t *n) KB_MUSTUSE;
/* KB_INVALID unless every id is a member. */
enum kb_err
members_exist(struct kb_cx *tenant, const char *const *ids) KB_MUSTUSE;

/* A PocketBase auth token of a member (records/auth.h), in the open tenant. */
struct session_token {
	int64_t life_s; /* asked for */
	int64_t expires_s;
	const char *token;
};
enum kb_err
session_issue(struct kb_cx *cx, struct tenant_handle *h, const struct tenant *t,
    const struct member *m, struct session_token *out) KB_MUSTUSE;
/* kb_service.session: a request to /tenant/{slug}/… with such a token. */
enum kb_err session_resolve(struct kb_request *req, struct kb_slice token);

/* Now, in the form of the records API: "2026-11-20 10:32:23.123Z". */
const char *record_now(struct kb_arena *a);

/* ---- stacks -------------------------------------------------------------- */

struct stack {
	const char *id, *name, *description, *owner, *kit, *spec, *spec_sha256;
	const char *configuration; /* JSON text */
	const char *status, *created, *updated;
	const char *const *members; /* user ids, NULL-ended; NULL: none */
};

/* Who looks: an admin sees all stacks of the tenant, others their own ones
 * and those that they are members of. */
struct viewer {
	const char *user_id;
	bool admin;
};

enum kb_err stack_insert(struct kb_cx *cx, const struct stack *s,
    int64_t max_stacks, int64_t *used) KB_MUSTUSE;
enum kb_err stack_get(struct kb_cx *cx, const struct viewer *v, const char *id,
    struct stack *s) KB_MUSTUSE;
enum kb_err stacks_page(struct kb_cx *cx, const struct viewer *v,
    struct kb_page *page, struct stack **rows, size_t *n) KB_MUSTUSE;
enum kb_err stack_update(struct kb_cx *cx, const struct stack *s) KB_MUSTUSE;
enum kb_err stack_set_status(
    struct kb_cx *cx, const char *id, const char *status) KB_MUSTUSE;
enum kb_err stack_delete(struct kb_cx *cx, const char *id) KB_MUSTUSE;
enum kb_err stacks_used(struct kb_cx *cx, int64_t *n) KB_MUSTUSE;

/* ---- feature flags
 * ------------------------------------------------------- */

struct flag {
	const char *key, *value; /* value: JSON text */
};

/* Whose flags: an organisation's (tenant_id), a user's (sub), or, with
 * neither, the instance's defaults. */
struct flag_level {
	const char *tenant_id, *sub; /* "" where there is none */
	int64_t version;
	const char *updated;
};

/* All flags of the level, if the version is newer than what is here: *fresh.
 */
enum kb_err
flags_replace(struct kb_cx *platform, const struct flag_level *level,
    const struct flag *flags, size_t n, bool *fresh) KB_MUSTUSE;
/* What holds for a user in a tenant: its own, else the tenant's, else the
 * default. */
enum kb_err flags_of(struct kb_cx *platform, const char *tenant_id,
    const char *sub, struct flag **rows, size_t *n) KB_MUSTUSE;

/* ---- jobs ---------------------------------------------------------------- */

struct job {
	const char *id, *type, *status, *stack_id, *user_id;
	const char *payload, *result, *error;
	int64_t progress, attempts, max_attempts, fence;
	const char *created, *started, *completed;
};

struct job_line {
	int64_t seq;
	const char *at, *level, *step, *message;
};

enum kb_err job_insert(struct kb_cx *cx, const struct job *j) KB_MUSTUSE;
enum kb_err job_get(struct kb_cx *cx, const struct viewer *v, const char *id,
    struct job *j) KB_MUSTUSE;
struct job_filter {
	const char *stack_id, *status; /* NULL: any */
};
enum kb_err
jobs_page(struct kb_cx *cx, const struct viewer *v, const struct job_filter *f,
    struct kb_page *page, struct job **rows, size_t *n) KB_MUSTUSE;
enum kb_err job_lines(struct kb_cx *cx, const char *id, int64_t after,
    int64_t limit, struct job_line **rows, size_t *n) KB_MUSTUSE;
/* The oldest pending job that may start becomes running and is ours by
 * j->fence. KB_NOT_FOUND: nothing to do. */
enum kb_err
job_claim(struct kb_cx *cx, const char *runner, struct job *j) KB_MUSTUSE;
/* Appends a line; KB_CONFLICT when the job is no longer ours. */
enum kb_err job_say(struct kb_cx *cx, const struct job *j, const char *level,
    const char *step, const char *message) KB_MUSTUSE;
enum kb_err
job_progress(struct kb_cx *cx, const struct job *j, int64_t percent) KB_MUSTUSE;
/* Terminal state; KB_CONFLICT when the job is no longer ours. */
enum kb_err job_finish(struct kb_cx *cx, const struct job *j,
    const char *status, const char *result, const char *error) KB_MUSTUSE;
/* Back to pending, to be tried again after delay_ms. */
enum kb_err job_retry(struct kb_cx *cx, const struct job *j, const char *error,
    int64_t delay_ms) KB_MUSTUSE;
enum kb_err job_cancel(struct kb_cx *cx, const char *id) KB_MUSTUSE;
/* Jobs that another run of the service left running become pending again,
 * or failed when their attempts are used up. *pending: how many now wait. */
enum kb_err
jobs_recover(struct kb_cx *cx, const char *runner, int64_t *pending) KB_MUSTUSE;
/* Jobs that wait, whether they may start yet or not. */
enum kb_err jobs_pending(struct kb_cx *cx, int64_t *n) KB_MUSTUSE;

/* Tenants with jobs to run, in platform.db. */
struct job_hint {
	const char *tenant_id, *at;
};
enum kb_err
job_hint_set(struct kb_cx *platform, const char *tenant_id) KB_MUSTUSE;
enum kb_err
job_hints(struct kb_cx *platform, struct job_hint **rows, size_t *n) KB_MUSTUSE;
/* Unless it was set anew since it was read. */
enum kb_err
job_hint_clear(struct kb_cx *platform, const struct job_hint *h) KB_MUSTUSE;

/* One kind of job: run does the work and says what it does in the log. */
struct job_run {
	struct kb_app *app;
	struct kb_cx *cx; /* the tenant's database */
	const struct tenant *tenant;
	const struct job *job;
	const char *result; /* JSON text, set by run */
	const char *error;  /* why it failed, set by run */
};
/* KB_OK: completed; KB_INVALID: failed for good; others: tried again. */
typedef enum kb_err job_fn(struct job_run *run);

struct job_type {
	const char *name;
	job_fn *run;
};
extern const struct job_type job_types[]; /* name NULL ends */
job_fn job_validate_run;

/* A line into the job's log; formatting into the run's arena. */
enum kb_err run_say(struct job_run *run, const char *level, const char *step,
    const char *fmt, ...) KB_PRINTF(4, 5) KB_MUSTUSE;

struct mail_queue;
struct kb_window;
struct auth_limits; /* thread-safe */
struct auth_limits *auth_limits_new(void);
void auth_limits_free(struct auth_limits *l);
int64_t mail_work(struct kb_app *app, struct kb_cx *cx);

/* kb_background.run: runs jobs; looks once after those of an earlier run;
 * closes idle tenants. */
int64_t jobs_work(struct kb_app *app, struct kb_cx *cx);
int64_t jobs_look_after(struct kb_app *app, struct kb_cx *cx);
int64_t files_look_after(struct kb_app *app, struct kb_cx *cx);
int64_t tenants_sweep(struct kb_app *app, struct kb_cx *cx);
/* The upkeep that is due, for the tenants that are open. */
int64_t crons_work(struct kb_app *app, struct kb_cx *cx);

/* ---- the service --------------------------------------------------------- */

struct stack_state {
	struct tenancy *tenancy;
	char runner[KB_UUID_SIZE];          /* this run of the service */
	char *stackkits;                    /* base URL */
	struct kb_pair_keys stackkits_keys; /* stack -> stackkits */
	struct mail_queue *mails;
	struct auth_limits *auth_limits; /* records/auth_limit.c */
	struct kb_window *rates;         /* records/frame.c */
	struct wallet_keys *wallet;      /* platform.h */
	struct setup *setup;
	struct waves *waves;
};

static inline struct stack_state *
stack_state(struct kb_app *app)
{
	return app->state;
}

static inline const struct stack_config *
stack_config(struct kb_app *app)
{
	return app->config;
}

int64_t stack_max_tenants(struct kb_app *app);
/* Default limits of a plan, into t. */
void plan_limits(struct tenant *t);

kb_audit_sink audit_store;

extern const struct kb_route stack_routes[];
extern const struct kb_option stack_options[];
extern const struct kb_migration stack_migrations[];
extern const struct kb_migration stack_migrations_tenant[];

kb_handler sso_exchange;
kb_handler session_dashboard;
kb_handler collections_list, collections_get, collections_post,
    collections_patch, collections_delete;
kb_handler records_list, records_get, records_post, records_patch,
    records_delete;
kb_handler collections_truncate, collections_import, collections_scaffolds,
    collections_providers, collections_dry_run;
kb_handler realtime_connect, realtime_subscribe, changes_missed;
kb_handler files_get;
kb_handler crons_list, crons_run;
kb_handler records_batch, settings_read, settings_change;
kb_handler auth_try_mail, auth_methods, auth_refresh, auth_with_password,
    auth_with_otp, auth_with_oauth2, auth_request_otp, auth_request_reset,
    auth_confirm_reset, auth_request_verification, auth_confirm_verification,
    auth_request_email_change, auth_confirm_email_change, auth_impersonate,
    auth_file_token, oauth2_redirect_get, oauth2_redirect_post, auth_page,
    api_health;
kb_handler tenants_create, tenants_get, tenants_patch, tenants_delete;
kb_handler tenant_current, tenant_members, tenant_usage, tenant_flags;
kb_handler flags_apply;
kb_handler stacks_list, stacks_create, stacks_get, stacks_patch, stacks_delete,
    stacks_validate, stacks_spec;
kb_handler jobs_list, jobs_get, jobs_logs, jobs_cancel;

/* Headers of contract B.12. */
void quota_headers(struct kb_request *req, int64_t limit, int64_t used);
/* 403 QUOTA_EXCEEDED as the contract spells it. */
struct kb_reply quota_exceeded(
    struct kb_request *req, const char *resource, int64_t limit, int64_t used);

#endif
