/*
 * stackkits: the registry of StackKits. Kits are folders under
 * STACKKITS_DIR/kits, read once at start (again on SIGHUP) and served from
 * memory; documents are judged by the official `cue` command.
 */
#ifndef STACKKITS_H
#define STACKKITS_H

#include <pthread.h>

#include <kombi/archive.h>
#include <kombi/buf.h>
#include <kombi/service.h>

struct sk_config {
	const char *dir;   /* STACKKITS_DIR */
	const char *cue;   /* CUE_BIN, or NULL */
	int64_t memory_mb; /* limits of one judgement */
	int64_t cpu_s;
	int64_t timeout_ms;
	int64_t parallel; /* judgements at a time */
	int64_t cached;   /* verdicts kept */
};

extern const struct kb_option sk_options[];
extern const struct kb_route sk_routes[];
extern const struct kb_service sk_service;

/* ---- registry: the kits -------------------------------------------------- */

struct sk_file {
	const char *path; /* in the archive, below the top folder */
	const char *data; /* NUL-terminated */
	size_t len;
};

struct sk_version {
	const char *version, *date, *summary;
};

struct sk_kit {
	const char *id, *name, *version, *description, *license, *status;
	enum kb_plan min_plan;
	int64_t schema_version;
	const char *const *tags; /* NULL-ended */
	const char *const *aliases;
	const char *requirements; /* JSON text */
	const char *services;     /* JSON text */
	const char *supported_os; /* JSON text */
	const char *readme, *changelog;
	const struct sk_version *versions; /* newest first */
	size_t n_versions;
	const char *folder; /* absolute, where cue runs */
	struct kb_slice tarball;
	char sha256[65]; /* of the tarball: also names the content */
};

/* Immutable after loading; shared by requests, so counted. */
struct sk_registry {
	struct kb_arena *arena;
	struct sk_kit *kits; /* by id */
	size_t n;
	size_t n_refused;
	int refs; /* under the lock of the state */
};

struct sk_judge;

/*
 * Reads every kit below `dir`. A broken kit is logged with the reason and
 * left out. `judge` tries each kit out, unless it is NULL or has no cue.
 * Never NULL.
 */
struct sk_registry *sk_registry_load(const char *dir, struct sk_judge *judge);
void sk_registry_free(struct sk_registry *r);
/* By id or alias; NULL if there is none. */
const struct sk_kit *
sk_registry_find(const struct sk_registry *r, const char *id);
/* The order of semver 2.0 (precedence, section 11): <0, 0, >0. */
int sk_version_compare(const char *a, const char *b);

/*
 * Reads the files below dir/sub (regular files only, no links, names that an
 * archive may hold, at most 200 files and 8 MiB) and adds them to *files as
 * prefix + name, in order of name. KB_INVALID with *why.
 */
struct sk_files {
	struct sk_file *items;
	size_t n, bytes;
};
enum { SK_MAX_FILES = 200, SK_MAX_BYTES = 8 << 20, SK_MAX_DEPTH = 8 };
enum kb_err sk_files_read(struct kb_arena *a, const char *folder,
    const char *prefix, struct sk_files *files, const char **why) KB_MUSTUSE;
const struct sk_file *
sk_files_get(const struct sk_files *files, const char *path);
/* Packs them below "<id>-<version>/" with a MANIFEST.json of digests. */
enum kb_err sk_package(struct kb_arena *a, struct sk_kit *kit,
    const struct sk_files *files, const char **why) KB_MUSTUSE;

/* ---- judge: documents against kits --------------------------------------- */

struct sk_finding {
	const char *path, *code, *message;
	unsigned line, column; /* 0: not known */
};

struct sk_findings {
	struct sk_finding *items;
	size_t n;
};

struct sk_verdict {
	bool valid;
	bool too_complex; /* judging it was ended by a limit */
	struct sk_findings errors, warnings;
	const char *info; /* JSON text, or NULL */
};

struct sk_judge *sk_judge_new(const struct sk_config *config);
void sk_judge_free(struct sk_judge *j);
/* NULL, or why documents cannot be judged. */
const char *sk_judge_missing(const struct sk_judge *j, struct kb_arena *a);

/*
 * Judges the text of a kombination.yaml. KB_OK with a verdict (text that is
 * no YAML is a verdict too); KB_UNAVAILABLE without cue or when too many wait,
 * KB_TIMEOUT, KB_INTERNAL when the kit itself fails, with *why for people.
 * Thread-safe.
 */
enum kb_err sk_judge_document(struct sk_judge *j, struct kb_arena *a,
    const struct sk_kit *kit, struct kb_slice yaml, struct sk_verdict *out,
    const char **why) KB_MUSTUSE;

/* Is the manifest what base.#Manifest demands? KB_INVALID with *why. */
enum kb_err sk_judge_manifest(struct sk_judge *j, struct kb_arena *a,
    const char *kit_folder, const char **why) KB_MUSTUSE;

/*
 * What `cue` wrote on stderr as findings: for constraints that a kit puts on
 * the document itself, outside of the report. Only lines about `input`
 * count; 0 findings: it was about the kit.
 */
struct sk_findings sk_cue_findings(struct kb_arena *a, const char *text);

/* Line and column of each finding's path in the document. */
struct kb_yaml;
void sk_findings_locate(struct sk_findings *f, const struct kb_yaml *doc);

/* ---- verdicts by content hash -------------------------------------------- */

struct sk_cache;
struct sk_cache *sk_cache_new(size_t entries);
void sk_cache_free(struct sk_cache *c);
/* A copy in the arena, or NULL. Thread-safe. */
const char *
sk_cache_get(struct sk_cache *c, struct kb_arena *a, const char key[65]);
void sk_cache_put(struct sk_cache *c, const char key[65], const char *report);

/* ---- the running service --------------------------------------------------
 */

struct sk_state {
	pthread_mutex_t lock; /* covers `registry` and its count of users */
	struct sk_registry *registry;
	struct sk_judge *judge;
	bool reload; /* atomic: SIGHUP came */
};

/* The current registry; held until the request's arena is freed. */
const struct sk_registry *sk_registry_of(struct kb_request *req);
/* The kit named in the path, or NULL. */
const struct sk_kit *sk_kit_of(struct kb_request *req);
/* May this caller use it? Services may use every kit. */
bool sk_kit_allowed(const struct kb_request *req, const struct sk_kit *kit);
struct kb_reply
sk_plan_required(struct kb_request *req, const struct sk_kit *kit);

/* kits.c */
kb_handler kits_list, kits_get, kits_download, kits_versions, kits_changelog;
/* validate.c */
kb_handler kits_validate, kits_validate_config;
extern const struct kb_rule kits_validate_rules[];
extern const struct kb_rule kits_validate_config_rules[];

#endif
