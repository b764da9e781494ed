/*
 * The sim service: simulations of a homelab's nodes, per tenant. What its
 * files share; nobody else includes it.
 */
#ifndef SIM_H
#define SIM_H

#include <kombi/audit.h>
#include <kombi/service.h>

#include "engine.h"

struct sim_config {
	const char *data_dir;
	int engine;                 /* index into sim_engines */
	int64_t ssh_start, ssh_end; /* the pool; end is included */
	int64_t ssh_block;          /* ports of a tenant */
	const char *ssh_host;       /* where users reach the ports */
};

struct sim_state {
	const struct engine *engine;
	unsigned char ssh_key[32]; /* node passwords are derived from it */
};

static inline struct sim_state *
sim_state(struct kb_app *app)
{
	return app->state;
}

static inline const struct sim_config *
sim_config(struct kb_app *app)
{
	return app->config;
}

/* ---- tenants ---------------------------------------------------------------
 */

struct tenant {
	const char *id, *slug, *name, *org, *plan, *status;
	int64_t max_simulations, max_nodes; /* -1: unlimited */
	double quota_cpu, quota_memory_gb;
	int64_t ssh_start, ssh_end;
	const char *created, *updated;
};

static inline const struct tenant *
tenant_of(const struct kb_request *req)
{
	return req->tenant;
}

/* The port pool that blocks are taken from. */
struct ssh_pool {
	int64_t start, end, block;
};

/* Takes a free block of ports for it. KB_UNAVAILABLE: the pool is used up. */
enum kb_err tenant_insert(
    struct kb_cx *cx, struct tenant *t, const struct ssh_pool *pool) KB_MUSTUSE;
enum kb_err tenant_update(struct kb_cx *cx, const struct tenant *t) KB_MUSTUSE;
enum kb_err
tenant_by_slug(struct kb_cx *cx, const char *slug, struct tenant *t) KB_MUSTUSE;
enum kb_err
tenant_by_org(struct kb_cx *cx, const char *org, struct tenant *t) KB_MUSTUSE;
void plan_limits(struct tenant *t);
struct ssh_pool ssh_pool_of(struct kb_app *app);
/* kb_service.tenant */
enum kb_err tenant_resolve(struct kb_request *req);

/* ---- simulations and nodes
 * --------------------------------------------------- */

struct node {
	const char *id, *simulation_id, *name, *os, *location, *role;
	const char *container, *ip, *wanted, *status, *error;
	int64_t ssh_port, memory_mb, disk_gb, attempts;
	double cpu;
	const char *started, *created, *updated;
};

struct simulation {
	const char *id, *name, *description, *wanted, *status;
	const char *created, *updated;
	int64_t nodes_count, nodes_running;
	struct node *nodes; /* only where they were asked for */
	size_t n_nodes;
};

/* Which quota refused, and its figures. */
struct excess {
	const char *resource;
	double limit, used;
};

/* All quotas are checked in the transaction that writes. KB_QUOTA fills
 * *excess. */
enum kb_err simulation_insert(struct kb_cx *cx, const struct tenant *t,
    struct simulation *s, struct excess *excess) KB_MUSTUSE;
enum kb_err simulation_get(struct kb_cx *cx, const struct tenant *t,
    const char *id, struct simulation *s) KB_MUSTUSE; /* with nodes */
enum kb_err
simulations_page(struct kb_cx *cx, const struct tenant *t, const char *status,
    struct kb_page *page, struct simulation **rows, size_t *n) KB_MUSTUSE;
enum kb_err simulation_rename(struct kb_cx *cx, const struct tenant *t,
    const struct simulation *s) KB_MUSTUSE;
/* wanted: "running", "stopped", "deleted". KB_RUNNING: already so. */
enum kb_err simulation_want(struct kb_cx *cx, const struct tenant *t,
    const char *id, const char *wanted, struct excess *excess) KB_MUSTUSE;

enum kb_err
node_insert(struct kb_cx *cx, const struct tenant *t, const char *simulation_id,
    struct node *n, struct excess *excess) KB_MUSTUSE;
enum kb_err node_get(struct kb_cx *cx, const struct tenant *t, const char *id,
    struct node *n) KB_MUSTUSE;
enum kb_err
nodes_page(struct kb_cx *cx, const struct tenant *t, const char *simulation_id,
    struct kb_page *page, struct node **rows, size_t *n) KB_MUSTUSE;
enum kb_err node_want(struct kb_cx *cx, const struct tenant *t, const char *id,
    const char *wanted, struct excess *excess) KB_MUSTUSE;

struct event {
	int64_t seq;
	const char *at, *level, *node, *message;
};
enum kb_err events_after(struct kb_cx *cx, const struct tenant *t,
    const char *simulation_id, int64_t after, struct event **rows,
    size_t *n) KB_MUSTUSE;

/* ---- the engine loop
 * ------------------------------------------------------------ */

/* A node with work to do and all that an engine needs to know of it. */
struct work {
	const char *tenant, *simulation_id;
	const char *id, *name, *os, *role, *container, *wanted, *status;
	double cpu;
	int64_t memory_mb, disk_gb, ssh_port, attempts;
};

enum kb_err work_next(struct kb_cx *cx, struct work *w) KB_MUSTUSE;
/* The node reached that status; its simulation's status follows. */
enum kb_err work_done(struct kb_cx *cx, const struct work *w,
    const char *status, const struct engine_state *state) KB_MUSTUSE;
enum kb_err work_failed(struct kb_cx *cx, const struct work *w,
    const char *error, bool final) KB_MUSTUSE;
/* kb_background.run */
int64_t engine_work(struct kb_app *app, struct kb_cx *cx);

/* ---- templates
 * -------------------------------------------------------------------- */

struct template_node {
	const char *name, *role, *location;
	const char *size; /* minimal, standard, large */
};

struct template
{
	const char *id, *name, *description, *category;
	struct template_node nodes[6];
};

extern const struct template templates[]; /* id NULL ends */
/* Resources of a size; false if there is none of that name. */
bool node_size(const char *size, struct node *n) KB_MUSTUSE;

extern const struct kb_service sim_service;
extern const struct kb_route sim_routes[];
extern const struct kb_migration sim_migrations[];
extern const struct kb_rule tenant_rules[], simulation_rules[],
    simulation_patch_rules[], node_rules[], apply_rules[];

kb_handler tenants_create;
kb_handler simulations_list, simulations_create, simulations_get,
    simulations_patch, simulations_delete, simulations_start, simulations_stop,
    simulations_logs;
kb_handler nodes_list, nodes_create, nodes_get, nodes_delete, nodes_start,
    nodes_stop, nodes_ssh, nodes_stats;
kb_handler templates_list, templates_get, templates_apply;

/* Shared by simulations.c, nodes.c and templates.c. */
struct node_body {
	const char *name, *os, *location, *role, *type;
	struct resources_body {
		double cpu;
		const char *memory, *disk;
	} resources;
};
/* Checks and fills a node; problems go to the request. */
bool node_of_body(struct kb_request *req, const struct node_body *b,
    const char *path, struct node *n) KB_MUSTUSE;
kb_json_fn node_json, simulation_json;
struct kb_reply refused(struct kb_request *req, enum kb_err err,
    const struct excess *excess, enum kb_err missing);
struct kb_reply
simulation_create(struct kb_request *req, struct simulation *s, bool start);

#endif
