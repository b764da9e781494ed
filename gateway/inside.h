/*
 * The gateway inside: configuration snapshots, router, loops, exchanges.
 * Plugins see gateway.h only.
 */
#ifndef GATEWAY_INSIDE_H
#define GATEWAY_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <kombi/config.h>
#include <kombi/http_client.h>
#include <kombi/http_server.h>
#include <kombi/log.h>
#include <kombi/metrics.h>
#include <kombi/network.h>
#include <kombi/pool.h>
#include <kombi/time.h>
#include <kombi/tls.h>

#include "document.h"
#include "gateway.h"

/* ---- problems ------------------------------------------------------------ */

/* What it is that is wrong. */
enum about {
	ABOUT_SCHEMA,  /* the entity itself */
	ABOUT_FOREIGN, /* what it refers to */
	ABOUT_UNIQUE,  /* there is one already */
};

struct problem {
	unsigned line, order;
	bool error;
	const char *text;
	enum about about;
	const char *field;           /* of the entity, or NULL */
	const struct entity *entity; /* or NULL */
};

struct problems {
	struct kb_arena *arena;
	const char *file;
	struct problem *v;
	size_t n, cap, errors;
	/* Put on those that come. */
	enum about about;
	const char *field;
	const struct entity *entity;
	struct gateway_defaults defaults;
	bool skip_unsupported; /* plugins that there are not: a notice */
};

/* Lines "file:12: message", by line; notices are marked. */
void problems_print(const struct problems *p, bool notices, struct kb_buf *out);

/* ---- tables of entities -------------------------------------------------- */

/* Tables with defaults of each kind, where each is read. */
extern const struct schema ca_certificate_schema, certificate_schema,
    sni_schema, service_schema, route_schema, upstream_schema, target_schema,
    consumer_group_schema, consumer_schema, jwt_secret_schema, keyauth_schema,
    basicauth_schema, acl_schema, plugin_schema, vault_schema;

/* ---- substitution -------------------------------------------------------- */

struct substitution {
	char *const *env;
	bool allow_unset;  /* unset names become place holders */
	bool deck;         /* the text went through deck_mark */
	struct strs names; /* all names that occur, for check */
};

/* decK replaces before it parses: quotes and braces of ${{ env "X" }} would
 * mean something in YAML, so they become $<< env `X` >>. */
void deck_mark(char *text);
/* Replaces ${NAME}, ${NAME:-default} and the like (config_subst.c) in every
 * scalar below `y`. */
void substitute(struct problems *p, struct kb_yaml *y, struct substitution *s);

/* ---- router -------------------------------------------------------------- */

struct router;

struct router_query {
	struct kb_slice path; /* normalised */
	struct kb_slice host; /* lower case, no port */
	enum kb_method method;
	unsigned proto; /* PROTO_* of the request */
	/* For routes with headers; NULL: they do not match. */
	const struct kb_http1_head *head;
	const char *bytes;
	struct kb_slice sni; /* name asked for by TLS */
};

struct router_match {
	const struct route *route;    /* NULL: none */
	size_t prefix;                /* matched length of the path */
	const struct kb_regex *regex; /* which matched it; NULL: a prefix */
	unsigned allow;               /* methods that would match: 405 */
	/* The first route that would match over https: 426, or a redirect. */
	const struct route *https_only;
};

/* `kong`: raw prefixes and Kong's priorities instead of whole segments. */
struct router *router_new(
    struct kb_arena *a, struct route *const *routes, size_t n, bool kong);
void router_find(const struct router *r, const struct router_query *q,
    struct router_match *out);
/* "" when the path may stand in a configuration, else what it should be. */
const char *router_path_problem(struct kb_arena *a, const char *path);
/* service.path and the request's path (prefix removed when stripping). */
void upstream_path(struct kb_buf *out, const struct route *route,
    struct kb_slice path, size_t prefix);
/* Never reachable from outside, whatever the file says. */
bool path_is_denied(struct kb_slice path);

/* ---- snapshot ------------------------------------------------------------ */

struct snapshot {
	struct kb_arena *arena;
	atomic_uint refs;
	/* main thread, while it is held there */
	struct snapshot *next_held;
	unsigned load;                   /* number of the load that made it */
	const struct document *document; /* what it was made of */
	char hash[33];                   /* of all entities */
	struct service **services;
	size_t n_services;
	struct route **routes;
	size_t n_routes;
	struct upstream **upstreams;
	size_t n_upstreams;
	struct plugin_use **uses;
	size_t n_uses;
	struct plugin_use **placed; /* by plugin and where it holds */
	size_t n_placed;
	struct consumer **consumers;
	size_t n_consumers;
	struct consumer_group **groups;
	size_t n_groups;
	struct certificate **certificates;
	size_t n_certificates;
	struct certificate **ca_certificates;
	size_t n_ca_certificates;
	uint64_t serial; /* no other one has had it */
	struct jwt_secret *jwt_secrets;
	size_t n_jwt_secrets;
	struct keys *keys;     /* of consumers */
	struct basics *basics; /* likewise passwords */
	struct chain global;   /* for requests that match no route */
	struct kb_tls_client *instance_tls; /* for instances of https */
	struct router *router;
	/* Services that get a proof, and the keys for them. */
	const char *callees[16];
	struct kb_pair_keys callee_keys[16];
	size_t n_callees;
};

/*
 * Text to snapshot, in p->arena, which becomes the snapshot's own. Problems
 * are appended; look at problems_any(): with errors the snapshot (if there is
 * one) is good for nothing. NULL when the file could not be read at all.
 */
struct snapshot *config_parse(
    struct problems *p, const char *text, size_t len, struct substitution *s);
/* Chains, weights, router. Called by document_link. */
void config_link(struct problems *p, struct snapshot *s);
struct snapshot *
config_load_file(struct problems *p, const char *file, struct substitution *s);
/* What holds of a plugin for that consumer only; NULL: what holds for all. */
const struct plugin_use *
use_of_consumer(const struct snapshot *s, const struct plugin *plugin,
    const struct route *r, const struct consumer *c);
/* config_route.c: its expressions, and the headers that it asks for. */
void route_compile(
    struct problems *p, const struct kb_yaml *headers, struct route *r);
/* Protocols, methods, places: checked, and made what the router needs. */
void route_link(struct problems *p, struct route *r);
/* A name, or one with a "*" label at its left or right end. */
bool config_host_is_fine(const char *host);
/* config_upstream.c: an upstream; NULL: it has no name. Then its targets. */
struct upstream *upstream_read(struct problems *p, const struct entity *e);
void upstream_read_target(
    struct problems *p, const struct entity *e, struct upstream *u);
/* What link needs: the ring of an upstream whose targets are known. */
void upstream_ring(struct kb_arena *a, struct upstream *u);
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);
const struct service *
snapshot_service(const struct snapshot *s, const char *name);

/* ---- consumers.c -----------------------------------------------------------
 */

/* Their entities; acls and credentials are linked afterwards. */
struct consumer_group *
consumer_group_read(struct problems *p, const struct entity *e);
struct consumer *consumer_read(
    struct problems *p, const struct document *d, const struct entity *e);
/* Numbers consumers, makes their roles of groups and tags. */
void consumers_finish(struct problems *p, struct snapshot *s);
/* It may be an X-User-ID. */
bool consumer_name_is_id(const char *name);
/* X-Consumer-* and the like of the exchange's consumer. */
void consumer_lines(const struct exchange *x, struct kb_buf *out);

/* ---- credentials.c ---------------------------------------------------------
 */

/* Puts the hash of a consumer's key in its place, wipes the key. */
void key_hide(struct problems *p, struct kb_yaml *y);
/* The same for a password, salted by `id`; hashed: it must be one already. */
void password_hide(
    struct problems *p, struct kb_yaml *y, const char *id, bool hashed);
void secret_wipe(struct kb_yaml *y);
/* acls, jwt_secrets, keys and passwords of the snapshot's document. */
void credentials_link(struct problems *p, struct snapshot *s);

/* ---- resolver.c: names of targets and their addresses ---------------------
 */

enum { PEER_ADDRESSES = 8 };

struct peer_address {
	struct sockaddr_storage addr;
	socklen_t len;
};

struct peer {
	char *host;
	int port;
	bool literal;           /* an address, never looked up again */
	atomic_uint generation; /* grows whenever the addresses change */
	struct peer_address addresses[PEER_ADDRESSES];
	size_t n;
	/* of the resolver alone */
	int64_t due_ms;    /* of the next look-up */
	unsigned failures; /* in a row */
	bool asked;        /* there was an answer, good or bad */
	atomic_int problem;
	struct peer *next;
	unsigned refs;
	bool gone; /* nobody wants it any more */
};

/* The peers of a process; they live as long as somebody wants them. */
struct resolver;
struct resolver *resolver_new(void);
/* The same peer for the same two, until it was released as often as it was
 * asked for; any thread, never waits. A new name has no address before its
 * first look-up. */
struct peer *resolver_peer(struct resolver *r, const char *host, int port);
void resolver_release(struct resolver *r, struct peer *p);
/* Looks names up in threads of its own until resolver_free. */
void resolver_start(struct resolver *r);
/* Until each name was looked up once, but no longer than that. */
void resolver_wait(struct resolver *r, int64_t ms);
void resolver_free(struct resolver *r);
void resolver_register(void); /* its metrics */
/* Why the last look-up failed; NULL: it did not. Any thread. */
const char *peer_problem(const struct peer *p);
/* Copies the present addresses; any thread. Returns how many. */
size_t resolver_addresses(struct resolver *r, struct peer *p,
    struct peer_address out[PEER_ADDRESSES], unsigned *generation);

#include "balance.h"

/* ---- gateway, loops ---------------------------------------------------------
 */

struct gateway_config {
	const char *config_file;
	const char *admin_listen, *admin_name;
	struct kb_secret admin_token;
	int admin_write; /* auto, true, false */
	const char *config_state;
	bool config_watch;
	const char *issuer, *jwks_url, *client_id;
	struct kb_secret client_secret, session_secret, session_secret_next;
	bool userinfo;
	const char *const *audience;
	const char *const *trusted;
	const char *tls_listen, *tls_cert, *tls_key, *tls_client_ca;
	int tls_clients; /* enum kb_tls_clients */
	bool captive;    /* on free ports */
	const char *server_name;
	int router; /* 0: whole segments, 1: as Kong */
	int64_t retry_percent, metric_series;
	const char *const *kong_headers;
	const char *upstream_ca, *upstream_cert, *upstream_key;
	bool upstream_tls;
	int64_t drain_delay_ms; /* /ready says no first */
	int64_t upgrade_ms;     /* a new process has to come up */
	const char *pid_file;   /* NULL: none */
	const char *redis_host, *redis_username;
	struct kb_secret redis_password;
	int64_t redis_port, redis_database;
	int64_t replicas;
};

/* ---- sockets.c: listening sockets --------------------------------------- */

enum socket_kind { SOCKET_HTTP, SOCKET_HTTPS, SOCKET_INTERNAL, SOCKET_KINDS };
enum { SOCKETS_MAX = 256 };

struct socket_list {
	int fd[SOCKETS_MAX];
	bool taken[SOCKETS_MAX];
	size_t n;
};

/* Main thread. */
struct sockets {
	struct socket_list passed[SOCKET_KINDS]; /* what we were started with */
	struct socket_list open[SOCKET_KINDS];   /* what we listen on */
	int ready_fd; /* to the process before; -1: there is none */
};

/* One of `of` listeners for the same address. */
struct listen_at {
	const char *address;
	int port;
	size_t index, of;
};

/*
 * Reads what the environment says was passed on, and takes it out of there.
 * False: it is not what it should be, *why.
 */
bool sockets_inherit(struct sockets *s, const char **why) KB_MUSTUSE;
bool sockets_are_handed_over(const struct sockets *s);
/* To the process before, once: we serve (NULL), or why we cannot. */
void sockets_tell(struct sockets *s, const char *why);
/*
 * The sockets that a listener shall accept from, all of which it owns: passed
 * on ones where there are any of that kind, whatever their address, so that
 * none stays unserved; else a new one. Returns how many; 0: *why.
 */
size_t sockets_take(struct sockets *s, enum socket_kind kind,
    const struct listen_at *at, int out[SOCKETS_MAX], const char **why);
/* Those that nobody took. */
void sockets_close_rest(struct sockets *s);
const char *socket_kind_name(enum socket_kind kind);

/* How the process was started, and so how a new one is. */
struct launch {
	char **argv, **env;
	const char *command; /* of --run, or NULL */
	struct sockets *sockets;
};

struct gateway {
	const struct kb_common_config *common;
	const struct gateway_config *config;
	char **env;
	struct kb_arena *arena;
	struct resolver *resolver;
	struct health *health;
	struct prober *prober; /* main loop */
	struct kb_networks trusted;
	int port;     /* of the public listener */
	int tls_port; /* the same by TLS; 0 before it is bound */
	const char *tls_address;
	struct kb_tls_server *tls; /* main thread's; NULL: no TLS */
	struct sockets *sockets;
	struct loop *loops;
	size_t n_loops;
	struct snapshot *snapshot; /* main thread's reference */
	struct snapshot *held;     /* all that are in use somewhere: they end
				      on the main thread, not on a loop */
	int reap_fd;               /* a loop has let one go */
	int64_t loaded_ms;         /* wall time */
	unsigned kong_headers;     /* bits of kong_headers.c */
	bool draining;             /* main thread */
	bool admin_write;          /* the Admin API may change something */
	atomic_bool reloading;
};

/* A snapshot as one loop holds it: counted without atomics. */
struct local {
	struct gateway *gateway;
	struct snapshot *snapshot;
	unsigned refs;
	size_t *turns; /* position in the wheel of each upstream */
	struct route_metrics **metrics; /* of each route, made when needed */
	struct token_entry **consumers; /* likewise */
};

struct loop_plugin_slot {
	const struct plugin *plugin;
	void *p;
	void (*drop)(void *p);
};

enum { VERIFIERS_MAX = 32, LOOP_SLOTS = 8 };

struct loop {
	struct gateway *gateway;
	unsigned index;
	pthread_t thread;
	struct event_base *base;
	struct kb_server *server;
	struct kb_client *client;
	struct kb_pool *pool;
	struct kb_pool *calls; /* to issuers; NULL before the first */
	struct revocations *revocations;
	struct sessions *sessions;              /* NULL before the first */
	struct userinfo *userinfo;              /* likewise */
	struct kb_token_cache *consumer_tokens; /* likewise */
	struct parked *parked; /* tokens whose key is not there yet */
	struct event *park_timer;
	unsigned n_parked;
	struct local *local;
	struct kb_buf head;    /* scratch: request head for upstream */
	struct kb_buf lines;   /* scratch: response lines */
	struct exchange *free; /* exchanges for reuse */
	unsigned n_free;
	struct origin_set **origins; /* by index of the seat */
	size_t n_origins;
	struct kb_token_cache *tokens[VERIFIERS_MAX];
	uint64_t token_serials[VERIFIERS_MAX]; /* of whose verifier */
	struct loop_plugin_slot slots[LOOP_SLOTS];
	struct redis_client *redis;  /* its clients */
	int64_t retry_credit;        /* hundredths of a retry */
	int64_t told_ms;             /* when a failed handshake was logged */
	struct counters_sync *syncs; /* counters.c */
	int64_t stamp_ms;            /* wall time of `stamp`, for log lines */
	char stamp[KB_RFC3339_SIZE];
	struct event *wake;
	int wake_fd;
	pthread_mutex_t lock;           /* covers next… and drain… */
	struct snapshot *next;          /* to be taken over */
	struct kb_tls_server *next_tls; /* likewise, or NULL */
	bool drain;
	int64_t drain_ms, drain_idle_ms;
	atomic_bool drained;
};

/* Starts `workers` loops on sockets of the same port. NULL with a message. */
bool loops_start(struct gateway *g, const char **why) KB_MUSTUSE;
/* Hands a snapshot to all loops; takes a reference for each. */
void loops_publish(struct gateway *g, struct snapshot *s);
/*
 * Ends them within `ms`; connections without a request stay for `idle_ms`.
 * Called once more it only sets another end.
 */
void loops_drain(struct gateway *g, int64_t ms, int64_t idle_ms);
bool loops_drained(const struct gateway *g);
void loops_join(struct gateway *g);
/* redis.c: the clients of a loop end; metrics; at the end of the process. */
void loop_redis_free(struct loop *l);
void redis_register(void);
void redis_forget(void);
/* The same server as the same user; timeouts do not matter. */
bool redis_conf_same(const struct redis_conf *a, const struct redis_conf *b);
/* Strings of its own. */
void redis_conf_copy(struct redis_conf *to, const struct redis_conf *from);
void redis_conf_free(struct redis_conf *conf);
/* counters.c: before the loop's Redis; likewise. */
void loop_counters_free(struct loop *l);
void counters_register(void);
void counters_forget(void);
/* What all of them have seen. Main thread. */
void loops_stats(const struct gateway *g, struct kb_server_stats *sum);
struct local *local_ref(struct local *l);
void local_unref(struct local *l);

extern const struct kb_server_ops exchange_ops;

/* ---- an exchange
 * ------------------------------------------------------------- */

enum phase {
	PHASE_ROUTE,    /* find_route */
	PHASE_ACCESS,   /* plugins: cors, jwt, acl, rate limit … */
	PHASE_UPSTREAM, /* ask upstream, until the head of its answer is there
			 */
	PHASE_RESPONSE, /* header lines: cors, security …; also on errors */
	PHASE_ANSWER,   /* send; the body streams */
	PHASE_DONE
};

enum { EXCHANGE_SLOTS = 12, REPLAY_MAX = 64 * 1024, TRIES_KEPT = 4 };
enum { TRIED_ADDRESS = 56 };

/* One try at an address of upstream. */
struct tried {
	char address[TRIED_ADDRESS]; /* "ip:port" */
	int64_t began_ns, ended_ns;  /* until the head of the answer */
	int status;                  /* 0: there was none */
	bool failed;
	enum kb_call_error error; /* when it failed */
};

/* Upstream's answer, kept until its body is complete (rewrite.c). */
struct held {
	int status;
	struct kb_slice lines;
	struct kb_buf body;
	void (*change)(struct exchange *x, void *arg, struct kb_slice *body);
	void *arg;
};

struct exchange {
	struct kb_exchange *ex;
	struct loop *loop;
	struct local *local;
	const struct route *route; /* NULL: none */
	struct chain chain;
	size_t prefix;
	enum phase phase;
	size_t at; /* plugin in the chain */
	bool running, woken, again, preflight;
	void (*cancel)(void *arg);
	void *cancel_arg;

	struct token_entry *token;
	struct kb_slice bearer; /* the request's token, once it is looked at */
	struct kb_slice consumer_jwt; /* the same, verified as a consumer's */
	const char *tenant;
	const char *client_ip;
	struct kb_buf up, down; /* lines of plugins */
	struct {
		const struct plugin *plugin;
		void *p;
	} slots[EXCHANGE_SLOTS];

	/* the answer: an error, one of our own, or upstream's */
	enum kb_err err;
	const char *message;
	int status; /* of our own answer */
	const char *content_type;
	const void *body;
	size_t body_len;
	const struct kb_http1_head *answer; /* upstream's, while it is read */
	const char *answer_bytes;
	const char *allow;

	/* what plugins change, see rewrite.c; NULL: nothing */
	struct rewrite *rewrite;
	struct lines *answer_lines;
	struct held *held;
	struct kb_buf *body_in; /* the request's body, read beforehand */
	bool collecting;        /* it is being read */
	const struct kb_json *claims;
	const struct consumer *consumer;
	const char *credential;      /* id of the consumer's */
	bool anonymous;              /* that one stands for nobody */
	size_t known_at;             /* place in the chain where it was set */
	const struct line *captures; /* groups of the route's path */
	size_t n_captures;

	/* upstream */
	struct kb_call *call;
	struct instance *instance; /* NULL: as the upstream chooses */
	struct picked picked;
	uint64_t balance_key; /* for consistent hashing; 0: none */
	bool has_body, body_ended, paused, asked, responded, tunnel;
	bool replay_lost; /* the body cannot be sent once more */
	struct kb_buf replay;
	unsigned tries;
	struct tried tried[TRIES_KEPT]; /* later ones replace the last */
	const char *trace_id;           /* 32 digits; NULL: not traced */
	const struct policy *policy;    /* NULL: the standard */
	bool https;                     /* as the client sees it */
	int ended_status;               /* in log() */
	struct event *retry_timer;
	int64_t asked_ns;    /* when upstream was asked first; 0: never */
	int64_t upstream_ns; /* when the first byte of the answer came */
	int upstream_status;
	struct exchange *next_free;
};

void exchange_advance(struct exchange *x);
/* exchange_pool.c: a blank one, one that is over, and its end. */
struct exchange *exchange_take(struct loop *l);
void exchange_give(struct exchange *x);
void exchange_free(struct exchange *x);
/* Ends an exchange that has no answer yet, after the response phase. */
void exchange_answer_error(struct exchange *x, enum kb_err err);
/* The method that upstream sees. */
enum kb_method upstream_method(const struct exchange *x);

/* ---- rewrite.c -------------------------------------------------------------
 */

/* The request's body while it is collected for a plugin. */
void rewrite_body(struct exchange *x, const char *data, size_t len);
void rewrite_body_end(struct exchange *x);
/* The answer while it is held. */
void held_head(struct exchange *x, int status, const struct kb_buf *lines);
void held_body(struct exchange *x, const char *data, size_t len);
void held_done(struct exchange *x);
void held_fail(struct exchange *x, enum kb_err err);
/* "Authorization: Bearer …" line for that service, or "". */
char *service_token(struct kb_arena *a, const struct snapshot *s,
    const struct service *service);
/* As ask_start, for nobody's exchange. */
void ask_start_alone(struct loop *l, struct ask *a);
/* Allowed method names of a mask, "GET, POST". */
char *method_list(struct kb_arena *a, unsigned mask);

/* ---- upstream.c
 * ---------------------------------------------------- */

/* Starts a try; the exchange goes on when the answer's head is there. */
void upstream_start(struct exchange *x);
void upstream_body(struct exchange *x, const char *data, size_t len);
void upstream_body_end(struct exchange *x);
void upstream_writable(struct exchange *x);
void upstream_cancel(struct exchange *x);
/* Request head of the exchange for its service, into loop->head. */
void upstream_head(struct exchange *x);
/* A websocket is asked for, and the route allows it. */
bool upstream_may_upgrade(const struct exchange *x);
/* Header lines of upstream's answer that go on to the client. */
void upstream_lines(struct exchange *x, struct kb_buf *out);
/* The client's fields, and those of upstream's answer, that go on. */
void upstream_request_fields(struct exchange *x, struct lines *out);
void upstream_answer_fields(struct exchange *x, struct lines *out);
void copy_lines(struct kb_buf *out, const struct lines *lines);

/* ---- upstream_tls.c
 * ------------------------------------------------------------------ */

/* How the other side of a connection is known, and what we show it. */
struct trust {
	enum kb_tls_check check;
	int depth; /* as in kb_tls_client_conf */
	const char *ca;
	bool ca_file;
	struct kb_tls_pair own; /* cert NULL: nothing */
};

/* Contexts of services, instances and probes; the names are linked. */
void upstream_tls_link(struct problems *p, struct snapshot *s);
bool
snapshot_uses_tls(const struct snapshot *s, const struct kb_tls_client *tls);

/* ---- verify.c
 * ---------------------------------------------------------------------- */

enum { PROOFS = 8, PROOF_RENEW_S = 30 };

struct token_entry; /* verified token: identity, its lines, its proofs */
const struct kb_identity *token_identity(const struct token_entry *t);
/* It was made from the request's bearer token. */
bool token_is_bearer(const struct token_entry *t);
/* A new one for an identity that is no token's. */
struct token_entry *token_of_identity(const struct kb_identity *id);
/* The same for a session; `jwt` (or NULL) is copied: exchange_claims. */
struct token_entry *
token_of_session(const struct kb_identity *id, const char *jwt);
const char *token_jwt(const struct token_entry *t); /* or NULL */
void token_ref(struct token_entry *t);
void token_unref(struct token_entry *t);
/* Identity lines, tenant and proof for a callee. */
void token_lines(struct token_entry *t, const struct snapshot *s,
    const struct service *service, enum kb_method method, const char *tenant,
    struct kb_buf *out);
/* A file is about to be loaded; verifiers_load: the number of that load. */
void verifiers_begin(void);
unsigned verifiers_load(void);
/* It is never freed before the end. */
void verifier_stay(struct verifier *v);
/* Frees those that no load from `oldest` to `newest` asked for: the
 * snapshots of those loads are the ones that are in use. */
void verifiers_sweep(unsigned oldest, unsigned newest);
/* It is taken: starts the issuers that it asked for. */
void verifiers_start(bool allow_private);
void verifiers_stop(void);
/* True when each issuer of the file in force has given its keys. */
bool verifiers_ready(void);
/* Issuers may have addresses that are not global. */
bool verifiers_private(void);
/* As kb_jwt_verify with the issuer's keys; waits up to a second for a key
 * that is not known yet, so not for loops. */
enum kb_err
verifier_verify(struct verifier *v, struct kb_arena *a, struct kb_slice token,
    const struct kb_jwt_rules *rules, struct kb_jwt *out);

/* ---- revocation.c, sessions.c ------------------------------------------- */

void revocations_start(struct loop *l);
void revocations_stop(struct loop *l);
/* Grows with everything that is learned; 0: nothing can be. */
uint64_t revocations_generation(const struct loop *l);
void sessions_init(void); /* once, before loops */
void sessions_stop(struct loop *l);
void userinfo_stop(struct loop *l);
void park_stop(struct loop *l); /* park.c */

#include "observe.h"

/* ---- trusted proxies
 * -------------------------------------------------------------------- */

/* The peer is a trusted proxy; its client; what scheme that one used. */
bool forwarded_trusted(const struct exchange *x);
bool forwarded_https(const struct exchange *x);
const char *forwarded_client(struct exchange *x);

/* ---- tls.c
 * ---------------------------------------------------------------------------
 */

/* "host:port", "[::1]:port" or "port". */
bool split_address(
    struct kb_arena *a, const char *text, const char **host, int *port);
/*
 * Takes the certificates that the options name, whose files it reads, and
 * those of the snapshot (NULL: none), at start and at every reload. False,
 * with one line logged: they stay as they are.
 */
bool tls_load(struct gateway *g, const struct snapshot *s) KB_MUSTUSE;
/* Certificates of the file that cannot be used, as problems. */
void tls_link(struct problems *p, const struct snapshot *s);
/* Address and port of the listener. False: *why. */
bool tls_prepare(struct gateway *g, const char **why) KB_MUSTUSE;

/* ---- internal.c
 * ---------------------------------------------------------------------------
 */

/* The listener for operators on the main loop. */
struct internal;
int internal_port(const struct internal *in);
struct internal *
internal_start(struct gateway *g, struct event_base *base, const char **why);
void internal_stop(struct internal *in);
/* Accepts no more: somebody else does. */
void internal_drain(struct internal *in, int64_t ms);
/* The JSON of /health, also for the public listener. */
char *health_text(struct kb_arena *a, const struct gateway *g);

/* ---- options.c, gateway.c
 * ---------------------------------------------------------------------- */

struct settings {
	struct kb_common_config common;
	struct gateway_config config;
};

/* Value of a name in an environment; NULL: it is not there. */
const char *env_get(char *const env[], const char *name);
struct kb_option_set *settings_sets(struct settings *s, struct kb_arena *a);
bool settings_load(struct settings *s, struct kb_arena *a, char *const env[],
    struct kb_buf *problems) KB_MUSTUSE;

/*
 * Serves until SIGTERM or SIGINT; with a command, until it ends (on free
 * ports of 127.0.0.1, told to it as KOMBI_URL and KOMBI_ADMIN_URL). Exit
 * status.
 */
int gateway_run(
    struct settings *s, struct kb_arena *a, const struct launch *launch);
/*
 * Main thread: takes a snapshot into use everywhere. Takes over the
 * reference. It was loaded after verifiers_begin() and has no problems.
 */
void gateway_adopt(struct gateway *g, struct snapshot *s);
/* How many configurations are in use: long exchanges keep their own. */
size_t gateway_snapshots_held(const struct gateway *g);
/* What stands in for what a plugin's config leaves out. */
struct gateway_defaults gateway_defaults_of(const struct gateway *g);
/* Reads the file as it would be served; problems on stderr. */
bool gateway_file_ok(const struct settings *s, char **env);

/* config_explain.c: notices about what has no effect in a file without
 * errors. */
void config_explain(struct problems *p, const struct snapshot *s);
/* `gateway check [options] FILE`: exit status. */
int config_check(int argc, char *argv[], char *const env[]);

#endif
