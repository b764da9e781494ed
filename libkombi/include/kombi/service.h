/*
 * A service is a descriptor: kb_service_main knows the order of start and
 * stop. Every service has --help, --version, --print-config, --check-config,
 * --openapi, --run 'CMD' (captive mode), /health, /ready, /metrics, and ends
 * on SIGTERM after draining (at most 25 s).
 */
#ifndef KOMBI_SERVICE_H
#define KOMBI_SERVICE_H

#include <kombi/config.h>
#include <kombi/http.h>

struct kb_service;

/* What a running service can reach from req->service. */
struct kb_app {
	const struct kb_service *service;
	const struct kb_common_config *common;
	const void *config; /* the service's own, of config_size */
	struct kb_db *db;   /* or NULL */
	void *state;        /* from kb_service.start */
};

/* One named check of /health and /ready. */
struct kb_check {
	const char *name; /* "database" */
	/* NULL when fine, else why (constant or arena). On a worker. */
	const char *(*check)(struct kb_app *app, struct kb_arena *a);
	bool ready; /* failing makes /ready 503; else only degraded */
};

/* Returned by a background's run that has done all it is for. */
#define KB_BACKGROUND_DONE INT64_MAX

/* Work that runs for ever in a thread of its own between start and stop. */
struct kb_background {
	const char *name;
	/* Called again and again; returns after how many ms next (0: at once
	 * when woken by kb_background_wake). */
	int64_t (*run)(struct kb_app *app, struct kb_cx *cx);
};

struct kb_service {
	const char *name;  /* "stack": also the callee of tokens and proofs */
	const char *title; /* for --help and OpenAPI */
	int64_t port, workers;           /* defaults; workers 0: 16 */
	const struct kb_option *options; /* own ones, KB_OPTIONS_END-ed */
	size_t config_size;
	const struct kb_route *routes;
	/* Database opened before start, URL from own config; NULL: none. */
	const char *(*database_url)(const void *config, struct kb_arena *a);
	const struct kb_migration *migrations;
	unsigned db_connections; /* 0: as many as workers */
	/*
	 * After the database, before the listener. *state is the app's. The
	 * reason of a failure is logged by the function. NULL: nothing to do.
	 */
	enum kb_err (*start)(struct kb_app *app, void **state);
	void (*stop)(struct kb_app *app); /* after the last request */
	/*
	 * KB_TENANT routes: resolves req->user.tenant (or {tenant} of the
	 * path), checks membership, sets req->tenant, req->role and
	 * req->cx.db. KB_OK or the refusal. Called on the worker.
	 */
	enum kb_err (*tenant)(struct kb_request *req);
	void (*tenant_done)(struct kb_request *req); /* after the reply */
	/*
	 * USER and TENANT routes, for requests that carry credentials of the
	 * service's own instead of a gateway proof: "Authorization: [Bearer ]
	 * token" that is no service token. Verifies it and sets req->user;
	 * may set req->tenant, req->role and req->cx.db as `tenant` does (then
	 * `tenant` is called all the same and tenant_done always is). KB_OK or
	 * the refusal. Called on the worker. NULL: such requests are refused.
	 */
	enum kb_err (*session)(struct kb_request *req, struct kb_slice token);
	/*
	 * What the frame refuses by itself (unknown route, method, size,
	 * credentials) in another shape than the envelope, for the clients of
	 * an API that has its own: true with *reply, made by one of the reply
	 * functions. req->route may be NULL. On the loop: must not block. Is
	 * asked (KB_METHOD) for OPTIONS as well: what a browser wants to know
	 * before a request.
	 */
	bool (*refusal)(
	    struct kb_request *req, enum kb_err err, struct kb_reply *reply);
	/*
	 * Whose request it is, as a hash (0: nobody's): requests of different
	 * owners take turns at the workers, and one owner's many do not hold
	 * up another's (kombi/pool.h). On the loop, before authorisation: a
	 * client's word, good for nothing else. NULL: all are one.
	 */
	uint64_t (*lane)(const struct kb_request *req);
	/* The folder for large bodies of KB_SPOOL_BODY routes (on the data's
	 * own disk, so that they can be moved). NULL: they stay in memory. */
	const char *(*spool_folder)(struct kb_app *app, struct kb_arena *a);
	const struct kb_check *checks;          /* name NULL ends */
	const struct kb_background *background; /* name NULL ends */
	void (*reload)(struct kb_app *app);     /* SIGHUP, or NULL */
};

int kb_service_main(const struct kb_service *service, int argc, char *argv[]);

struct kb_app *kb_app(struct kb_request *req);
/* Wakes the background work of that name at once. Thread-safe. */
void kb_background_wake(struct kb_app *app, const char *name);

/* The route table as an OpenAPI 3.1 document. */
char *kb_openapi(struct kb_arena *a, const struct kb_service *service);

/* ---- tests: a request without a socket ---------------------------------- */

struct kb_loopback; /* a started service without listener */

/* env: "NAME=value" list, NULL-ended. NULL with a message on stderr. */
struct kb_loopback *
kb_loopback_start(const struct kb_service *service, const char *const *env);
void kb_loopback_stop(struct kb_loopback *lo);
struct kb_app *kb_loopback_app(struct kb_loopback *lo);

struct kb_loopback_answer {
	int status;
	const char *body; /* until the next call */
	size_t len;
	const char *headers; /* "Name: value\r\n"… */
};
struct kb_loopback_request {
	const char *method, *target;
	/* identity headers with a valid proof are added, NULL: none */
	const struct kb_identity *user;
	const char *caller; /* its service token is added, NULL: none */
	/* further "Name: value" lines, NULL-ended or NULL */
	const char *const *headers;
	const char *body; /* or NULL; application/json unless told */
};
/*
 * Runs authorisation and handler on the caller's thread as the server would.
 */
struct kb_loopback_answer kb_loopback_send(
    struct kb_loopback *lo, const struct kb_loopback_request *request);
/* The same on one line. */
#define kb_loopback_call(lo, m, t, u, c, h, b)                                 \
	kb_loopback_send((lo),                                                 \
	    &(const struct kb_loopback_request) { .method = (m),               \
		.target = (t),                                                 \
		.user = (u),                                                   \
		.caller = (c),                                                 \
		.headers = (h),                                                \
		.body = (b) })

#endif
