/*
 * What runs simulated nodes. The loop in engine_loop.c calls an engine; each
 * call does one step and may be repeated after a crash, so each must take
 * "already done" for success.
 */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include <kombi/arena.h>
#include <kombi/error.h>
#include <kombi/log.h>

/* A node as an engine sees it. */
struct engine_node {
	const char *tenant, *simulation; /* slug, id */
	const char *id, *name, *os, *role;
	const char *container; /* the engine's own id; NULL before create */
	double cpu;
	int64_t memory_mb, disk_gb, ssh_port;
};

/* What an engine tells of a node. */
struct engine_state {
	const char *container;
	const char *ip;
};

struct engine_stats {
	double cpu_percent;
	int64_t memory_used_mb, memory_total_mb;
	int64_t disk_used_gb, disk_total_gb;
	int64_t uptime_s;
};

struct engine {
	const char *name;
	enum kb_err (*create)(struct kb_arena *a, const struct engine_node *n,
	    struct engine_state *out);
	enum kb_err (*start)(struct kb_arena *a, const struct engine_node *n,
	    struct engine_state *out);
	enum kb_err (*stop)(struct kb_arena *a, const struct engine_node *n);
	enum kb_err (*destroy)(struct kb_arena *a, const struct engine_node *n);
	/* Of a running node; started_ms is wall time. */
	enum kb_err (*stats)(const struct engine_node *n, int64_t started_ms,
	    struct engine_stats *out);
	/* Is the engine there? NULL, or why not. */
	const char *(*check)(struct kb_arena *a);
};

extern const struct engine engine_mock;

#endif
