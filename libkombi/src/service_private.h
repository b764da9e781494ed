/*
 * Private: a running service, and the steps that service.c, loopback.c and
 * the loop share.
 */
#ifndef KOMBI_SERVICE_PRIVATE_H
#define KOMBI_SERVICE_PRIVATE_H

#include <stdatomic.h>

#include <kombi/identity.h>
#include <kombi/service.h>

#include "request.h"

struct kb_background_thread;

struct kb_runtime {
	struct kb_app app; /* what handlers see */
	struct kb_arena *arena;
	struct kb_common_config common;
	const struct kb_router *router;
	struct kb_pair_keys gateway; /* of the pair gateway -> this service */
	bool has_keys;
	atomic_bool draining;       /* /ready says no */
	struct kb_streams *streams; /* of the loop; NULL: none serves */
	struct kb_background_thread *background;
	size_t n_background;
};

static inline struct kb_runtime *
kb_runtime_of(struct kb_app *app)
{
	return KB_CONTAINER(app, struct kb_runtime, app);
}

/* With no options read: for --help. Its arena is to be freed. */
struct kb_runtime *kb_runtime_new(const struct kb_service *service);
/*
 * Reads the options from env. NULL with every problem on a line of its own
 * in `problems`.
 */
struct kb_runtime *kb_runtime_load(const struct kb_service *service,
    char *const env[], struct kb_buf *problems);
/* Sets of options of a service, for --help and --print-config. */
struct kb_option_set *kb_runtime_sets(struct kb_runtime *rt);
/* Routes, database, start hook, in this order. False: logged or printed. */
bool kb_runtime_start(struct kb_runtime *rt) KB_MUSTUSE;
void kb_runtime_stop(struct kb_runtime *rt); /* all of it, reversed */

/* ---- authorisation (service_auth.c) ----------------------------------------
 */

/*
 * What can be decided from the head. KB_OK with *later: the service's own
 * credentials are still to be asked, on the worker.
 */
enum kb_err kb_authorise_head(struct kb_request *req, bool *later) KB_MUSTUSE;
/*
 * The rest of it, then the handler: on a worker, or on the loop for inline
 * routes.
 */
struct kb_reply kb_request_run(struct kb_request *req, bool later);

/* What the frame says when it refuses; message NULL: the code's own text. */
struct kb_reply
kb_refuse(struct kb_request *req, enum kb_err err, const char *message);
/* To OPTIONS where the service has no route of that method. */
struct kb_reply kb_options(struct kb_request *req);

/* ---- routes of the frame (service_health.c) ---------------------------------
 */

extern const struct kb_route kb_frame_routes[];

/* ---- access log and metrics (service_access.c)
 * ------------------------------- */

struct kb_access;

void kb_access_init(void); /* once a process, or more often */
struct kb_access *
kb_access_new(struct kb_arena *a, const struct kb_route *routes);
void kb_access_begin(struct kb_access *access);
void kb_access_end(struct kb_access *access, const struct kb_request *req,
    int status, int64_t started_ns);
void kb_access_refused(
    const char *peer, int status, const char *request_id, const char *why);
void kb_access_queue(struct kb_access *access, unsigned waiting);

/* ---- background work (service_background.c)
 * ------------------------------------ */

void kb_background_start(struct kb_runtime *rt);
void kb_background_stop(struct kb_runtime *rt);

/* ---- serving (service_serve.c)
 * --------------------------------------------------- */

/*
 * Listens on fd and serves until a signal, or, with `child` above 0, until
 * that process ends. Returns the exit status.
 */
int kb_serve(struct kb_runtime *rt, int fd, int child);

/* ---- captive mode (service_captive.c)
 * --------------------------------------------- */

/* Words of a command line, split at blanks; NULL-ended. */
char **kb_split_words(struct kb_arena *a, const char *line);
/* Starts argv[0] from PATH with env; its process id, or -1 with *why. */
int kb_spawn(char *const argv[], char *const env[], const char **why);

#endif
