/*
 * The gateway as a plugin's author sees it: the configuration's entities, the
 * table that reads a plugin's "config", and an exchange (one request with its
 * answer) on its way through the phases.
 *
 * A plugin is one file in plugins/ and one row in plugins.c. Its functions
 * run on the loop of the exchange and never block: access may return WAIT
 * when something was started that will call exchange_resume() later.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/buf.h>
#include <kombi/error.h>
#include <kombi/http1.h>
#include <kombi/identity.h>
#include <kombi/jwt.h>
#include <kombi/regex.h>
#include <kombi/secret.h>
#include <kombi/yaml.h>

/* ---- reading configuration ---------------------------------------------- */

struct strs {
	const char *const *v;
	size_t n;
};

struct ints {
	const int64_t *v;
	size_t n;
};

/* Problems of one file, each with its line; all of them are collected. */
struct problems;

/* One more error. `line` 0: the file as a whole. */
void problem(struct problems *p, unsigned line, const char *fmt, ...)
    KB_PRINTF(3, 4);
/* Something that is accepted but worth knowing; does not fail the file. */
void
notice(struct problems *p, unsigned line, const char *fmt, ...) KB_PRINTF(3, 4);
bool problems_any(const struct problems *p);
struct kb_arena *problems_arena(struct problems *p);

/* Options of the process that stand in for what a plugin's config leaves out.
 */
struct gateway_defaults {
	const char *issuer, *jwks_url;
	const char *const *audience; /* NULL-ended, or NULL */
	const char *client_id;
	const struct kb_secret *client_secret; /* this and the next: or NULL */
	const struct kb_secret *session_secret, *session_secret_next;
	bool userinfo;        /* completes what bearer tokens do not say */
	bool consumer_tokens; /* jwt_secrets of the file verify some */
	bool development;
	/* files; NULL: the system's authorities, no certificate of ours */
	const char *upstream_ca, *upstream_cert, *upstream_key;
	bool upstream_tls; /* our own services are spoken to by TLS */
	bool kong_router;  /* paths are matched as Kong does */
};
const struct gateway_defaults *problems_defaults(const struct problems *p);

enum field_kind {
	FIELD_END,
	FIELD_STR,   /* const char *; "" is refused unless .empty */
	FIELD_INT,   /* int64_t in min..max */
	FIELD_BOOL,  /* bool */
	FIELD_ENUM,  /* int: index into choices */
	FIELD_STRS,  /* struct strs; a sequence, or one comma separated text */
	FIELD_INTS,  /* struct ints in min..max */
	FIELD_NODE,  /* const struct kb_yaml *: read by the owner */
	FIELD_SKIP,  /* accepted, without a meaning here (comments, ids) */
	FIELD_NOTE,  /* accepted, has no effect yet: a notice says so */
	FIELD_LATER, /* known to Kong, not implemented: an error says so */
};

struct field {
	enum field_kind kind;
	const char *name;
	size_t offset;
	bool required, empty;
	int64_t min, max;
	const char *const *choices; /* NULL-ended */
	const char *why;            /* NOTE, LATER: said in the message */
	/* What the Admin API tells of it, see struct schema: */
	const struct schema *record; /* NODE: a mapping of these */
	const char *type;            /* NODE: Kong's name; NULL: "map" */
	const char *initial; /* default as JSON, where no struct has it */
	bool secret;         /* never shown */
};

/* A table with what stands in the struct before it is read: the defaults. */
struct schema {
	const struct field *fields;
	const void *defaults; /* NULL: there are none */
};

/* clang-format off */
#define FIELD_(k, t, m, c, ...) \
	{ .kind = (k), .name = #m, .offset = KB_OFFSET_OF(t, m, c), __VA_ARGS__ }
#define CONF_STR(t, m, ...)  FIELD_(FIELD_STR, t, m, const char *, __VA_ARGS__)
#define CONF_INT(t, m, ...)  FIELD_(FIELD_INT, t, m, int64_t, __VA_ARGS__)
#define CONF_BOOL(t, m, ...) FIELD_(FIELD_BOOL, t, m, bool, __VA_ARGS__)
#define CONF_ENUM(t, m, ...) FIELD_(FIELD_ENUM, t, m, int, __VA_ARGS__)
#define CONF_STRS(t, m, ...) FIELD_(FIELD_STRS, t, m, struct strs, __VA_ARGS__)
#define CONF_INTS(t, m, ...) FIELD_(FIELD_INTS, t, m, struct ints, __VA_ARGS__)
#define CONF_NODE(t, m, ...) FIELD_(FIELD_NODE, t, m, const struct kb_yaml *, __VA_ARGS__)
#define CONF_SKIP(n)         { .kind = FIELD_SKIP, .name = (n) }
#define CONF_NOTE(n, w)      { .kind = FIELD_NOTE, .name = (n), .why = (w) }
#define CONF_NOTE_AS(n, w, t, i) \
	{ .kind = FIELD_NOTE, .name = (n), .why = (w), .type = (t), .initial = (i) }
#define CONF_LATER(n, w)     { .kind = FIELD_LATER, .name = (n), .why = (w) }
#define CONF_END             { .kind = FIELD_END }
/* clang-format on */

/*
 * Reads a mapping into a struct by its table; members that are not in the
 * file keep what they had. `what` names the entity in messages.
 */
void fields_read(struct problems *p, const struct kb_yaml *map,
    const struct field *table, void *into, const char *what);

/* ---- entities of a configuration (immutable once loaded) ---------------- */

struct kb_tls_client;
struct seat;    /* a target's addresses and their health, see balance.h */
struct balance; /* how an upstream chooses among its targets */
struct checks;  /* what makes its targets healthy and unhealthy */

/* A certificate of the file, or one of an authority (without key). */
struct certificate {
	const char *id;
	const char *cert; /* PEM, the whole chain */
	const char *key;  /* PEM; never to be shown */
	struct strs snis; /* lower case; "*.name" and "name.*" too */
	unsigned line;
};

struct target {
	const char *host;
	int port;
	int64_t weight;
	struct seat *seat; /* while the file is in force */
};

struct upstream {
	const char *name;
	const char *host_header; /* NULL: the target's name */
	struct strs tags;
	struct target *targets;
	size_t n;
	size_t *wheel; /* indexes of targets, as often as their share */
	size_t wheel_n;
	const struct balance *balance; /* NULL: round robin */
	const struct checks *checks;   /* NULL: none */
	const char *id;
	const struct certificate *client_certificate; /* or NULL */
	const char *tls_name;            /* NULL: the target's name */
	struct kb_tls_client *probe_tls; /* NULL: probed in plain */
	const char *probe_name;          /* NULL: the target's name */
	size_t index;                    /* in the snapshot */
	unsigned line;
};

#define NO_CALLEE UINT32_MAX

/* service.protocol */
enum { SERVICE_HTTP, SERVICE_WS, SERVICE_HTTPS, SERVICE_WSS };
/* service.tls_verify: what the file leaves open is for the gateway. */
enum { TLS_VERIFY_UNSET = -1, TLS_VERIFY_OFF, TLS_VERIFY_ON };

struct service {
	const char *name;
	const char *url; /* as given; shorthand for the four below */
	const char *id;
	int protocol; /* SERVICE_HTTP … */
	const char *host;
	int64_t port;
	const char *path; /* "" or "/prefix" without slash at the end */
	int64_t retries, connect_timeout, write_timeout, read_timeout;
	bool enabled;
	struct strs tags;
	int tls_verify;                               /* TLS_VERIFY_… */
	int64_t tls_verify_depth;                     /* -1: not given */
	const struct certificate *client_certificate; /* or NULL */
	const struct certificate *const *ca_certificates;
	size_t n_ca_certificates;        /* 0: those of the system */
	const struct upstream *upstream; /* never NULL once linked */
	struct kb_tls_client *tls;       /* NULL: spoken to in plain */
	const char *tls_name;            /* NULL: the target's name */
	const char *callee;       /* the service as our own ones know it */
	const char *display_name; /* X-Service-Name */
	const char *host_value;   /* Host without preserve_host */
	unsigned callee_index;    /* which proof; NO_CALLEE: none */
	unsigned line;
};

enum { PROTO_HTTP = 1, PROTO_HTTPS = 2, PROTO_WS = 4 };

/* What is counted of a route beside what always is. */
enum { OBSERVE_CONSUMER = 1, OBSERVE_LATENCY = 2 };

struct plugin;

/* A plugin as configured in one place. */
struct plugin_use {
	const struct plugin *plugin;
	const void *conf;
	const char *scope; /* "global", "service stack", "route x" */
	uint64_t id;       /* of name and scope: the same after a reload */
	unsigned line;
	/* Where it holds; all NULL: everywhere. */
	const struct service *service;
	const struct route *route;
	const struct consumer *consumer;
	const struct consumer_group *consumer_group;
	/* while loading */
	const char *name, *instance_name;
	const struct kb_yaml *config;
	struct strs protocols, tags;
	bool enabled;
};

/*
 * What runs for a request, in running order. Where a consumer may have a
 * configuration of his own `plugins` has the plugin (else NULL), and `v` what
 * holds for all others (NULL: nothing).
 */
struct chain {
	const struct plugin_use *const *v;
	const struct plugin **plugins;
	size_t n;
};

/* A header that a request must have, with one of the values. */
struct header_rule {
	const char *name;
	struct strs values;
	const struct kb_regex *const *regexes; /* of each value, or NULL */
};

struct route {
	const char *name; /* made up from the service when the file has none */
	const char *id;
	struct strs paths, methods, hosts, protocols, tags, snis;
	const struct kb_regex *const *regexes; /* of each path, or NULL */
	struct {
		const struct header_rule *v;
		size_t n;
	} headers;
	int64_t regex_priority;
	int64_t redirect_status; /* of http where only https is served */
	bool strip_path, preserve_host;
	struct service *service; /* without host: plugins answer, or 503 */
	unsigned proto;          /* PROTO_* bits */
	unsigned method_mask;    /* 1 << enum kb_method; 0: all */
	bool websocket;          /* upgrades pass */
	bool authenticated;      /* has jwt: Authorization is not forwarded */
	bool sessions;  /* openid-connect looks for who sends no bearer token */
	bool cors;      /* upstream's own CORS headers are dropped */
	bool limited;   /* likewise its headers of rate limits */
	bool unlimited; /* no deadline for the body */
	bool needs_length;    /* bodies of unknown length are refused */
	bool asks_preflights; /* upstream answers them, with its CORS headers */
	uint64_t body_limit;  /* bytes; UINT64_MAX: none */
	struct chain chain;
	size_t index; /* in the snapshot */
	unsigned line;
	/* OBSERVE_* bits of prometheus */
	unsigned observed;
};

struct consumer_group {
	const char *id, *name;
	unsigned line;
};

/* A consumer of the file, known by a credential. */
struct consumer {
	const char *username, *custom_id; /* one may be NULL */
	const char *id;                   /* UUID */
	struct strs groups;               /* acls */
	const char *plan, *roles, *org;   /* from tags; NULL: none */
	struct strs tags;
	const struct consumer_group *const *member_of;
	size_t n_member_of;
	size_t index; /* in the snapshot */
	unsigned line;
};

/* A key or password of a consumer; the text itself is kept nowhere. */
struct credential {
	const struct consumer *consumer;
	const char *id;
	const char *name; /* of a password: the user name; else NULL */
	unsigned line;
};

/* How a consumer's tokens are known: by the claim that has `key`. */
struct jwt_secret {
	const struct consumer *consumer;
	const char *id, *key;
	int algorithm;
	const struct kb_yaml *rsa_public_key; /* as given, or NULL */
	/* NULL: the keys are those of the issuer that `key` names. */
	const struct kb_jws_key *verify;
	const struct kb_jws_key
	    *verify_base64; /* its secret decoded; or NULL */
	const char *secret; /* or NULL; never to be shown */
	unsigned line;
};

/* ---- plugins ------------------------------------------------------------- */

enum verdict { NEXT, WAIT };

struct exchange;
struct loop; /* the event loop that an exchange belongs to */

struct plugin {
	const char *name;
	int priority; /* higher runs earlier */
	const struct field *fields;
	size_t conf_size;
	const void *defaults; /* of conf_size; NULL: zeroes */
	/* Checks and completes a configuration once; problems by problem(). */
	void (*load)(
	    struct problems *p, const struct plugin_use *use, void *conf);
	/* Sets what the plugin decides for a whole route, once at load. */
	void (*route)(const struct plugin_use *use, struct route *r);
	/* A loop takes the file into use: before its first request. */
	void (*prepare)(struct loop *l, const struct plugin_use *use);
	/* Before upstream. May answer (exchange_fail, exchange_answer). */
	enum verdict (*access)(
	    struct exchange *x, const struct plugin_use *use);
	/* Header lines of the answer, also of errors. */
	void (*response)(struct exchange *x, const struct plugin_use *use);
	/* The exchange is over: to count and to tell. Must not change it. */
	void (*log)(struct exchange *x, const struct plugin_use *use);
	bool authenticates; /* routes with it forward no Authorization */
	const char *help;
};

/* The table in plugins.c, by descending priority; NULL-ended. */
extern const struct plugin *const plugins[];
const struct plugin *plugin_find(const char *name);

/* ---- an exchange --------------------------------------------------------- */

/* Lives until the exchange is over. */
struct kb_arena *exchange_arena(struct exchange *x);
enum kb_method exchange_method(const struct exchange *x);
const struct kb_http1_head *exchange_head(const struct exchange *x);
const char *exchange_bytes(const struct exchange *x); /* head's buffer */
/* First header of that name; ptr NULL: none. */
struct kb_slice exchange_header(const struct exchange *x, const char *name);
const struct route *exchange_route(const struct exchange *x); /* or NULL */
/* Address of the client (behind trusted proxies: as they say). */
const char *exchange_client_ip(const struct exchange *x);
const char *exchange_request_id(const struct exchange *x);
/* Normalised path, and query without '?', as the client asked. */
struct kb_slice exchange_path(const struct exchange *x);
struct kb_slice exchange_query(const struct exchange *x);

/* The verified caller; NULL before jwt or on routes without it. */
struct token_entry;
const struct kb_identity *exchange_identity(const struct exchange *x);
void exchange_set_identity(struct exchange *x, struct token_entry *entry);
/* X-Tenant-ID for upstream; NULL: none. Must outlive the exchange's arena
 * or be in it. */
void exchange_set_tenant(struct exchange *x, const char *slug);

/*
 * An endpoint ("http://host:port") of the upstream of the route's service
 * that the file does not name, the same for the same endpoint as long as the
 * process lives; NULL: it is none, or there are too many. set: the request,
 * and questions to that service, go there and nowhere else, which is the
 * end of it when it is not healthy.
 */
struct instance;
struct instance *
exchange_find_instance(struct exchange *x, const char *endpoint);
bool instance_is_for(const struct instance *p, const struct exchange *x);
void exchange_set_instance(struct exchange *x, struct instance *p);

/* One header line for upstream / for the client. Clean values only. */
void
exchange_add_upstream(struct exchange *x, const char *name, const char *value);
void
exchange_add_response(struct exchange *x, const char *name, const char *value);
void exchange_add_response_number(
    struct exchange *x, const char *name, int64_t value);
/* Complete lines, CRLF each. */
void
exchange_add_response_lines(struct exchange *x, const char *lines, size_t len);

/* Ends the request with the error envelope; NULL: the code's own text. */
void exchange_fail(struct exchange *x, enum kb_err err, const char *message);
/* Ends the request with this answer; `body` lives as long as the exchange. */
void exchange_answer(struct exchange *x, int status, const char *content_type,
    const void *body, size_t len);
/* The same with a status: the envelope from 400 on, else {"message":…}. */
void exchange_refuse(struct exchange *x, int status, const char *message);
bool exchange_is_answered(const struct exchange *x);

/*
 * After WAIT: goes on with the exchange; exactly once for each WAIT. Before
 * returning WAIT tell what to do if the exchange ends meanwhile: `cancel` is
 * called then, and exchange_resume must not be called any more.
 */
void
exchange_on_cancel(struct exchange *x, void (*cancel)(void *arg), void *arg);
void exchange_resume(struct exchange *x);
/* Calls the access function of the same plugin once more when resumed. */
void exchange_again(struct exchange *x);

/* Kong's tracker: address, port, process, loop, `n`, time. */
const char *exchange_tracker(struct exchange *x, uint64_t n);

/* Memory of a plugin for one exchange, zeroed at first use. */
void *exchange_slot(struct exchange *x, const struct plugin *plugin, size_t n);

/*
 * True for OPTIONS with Origin and Access-Control-Request-Method whose method
 * has a route at this path: the exchange's route is then that one.
 */
bool exchange_is_preflight(const struct exchange *x);

/* ---- changing a request and its answer (rewrite.c) ----------------------- */

/* A header field; name and value live as long as the exchange. */
struct line {
	struct kb_slice name, value;
};

struct lines {
	struct kb_arena *arena;
	struct line *v;
	size_t n, cap;
};

void lines_add(struct lines *l, struct kb_slice name, struct kb_slice value);
/* The first of that name (any case) or NULL. */
struct line *lines_find(const struct lines *l, const char *name);
/* Takes out all of that name; how many there were. */
size_t lines_remove(struct lines *l, const char *name);

/*
 * True for a name that a plugin may set, change or take out in a request or
 * an answer: none of the gateway's own, of framing, of the connection.
 */
bool line_name_is_free(const char *name);

/* The request as it will go upstream. */
struct rewrite {
	enum kb_method method;
	struct kb_slice path;  /* change by exchange_set_path only */
	struct kb_slice query; /* without '?'; ptr NULL: there is none */
	const char *host;      /* NULL: as the route says */
	struct lines fields;   /* the client's that go on; lines that may not
				  stand there are left out when it goes */
	const char *body;      /* NULL: as it comes from the client */
	size_t body_len;
};

/* What would go now, at first use; what is changed there goes upstream. For
 * exchanges with a route, in access. */
struct rewrite *exchange_rewrite(struct exchange *x);
/* Path with all its prefixes. False: it is no path, or none that may be
 * reached from outside; nothing was changed then. */
bool exchange_set_path(struct exchange *x, const char *path) KB_MUSTUSE;
/*
 * The whole body of the request, empty if it has none. WAIT: return that;
 * the access function is called once more. A longer one than `max` ends the
 * request with KB_TOO_LARGE.
 */
enum verdict
exchange_body(struct exchange *x, size_t max, struct kb_slice *body);
/* What a named or numbered group of the route's path matched; ptr NULL:
 * nothing (routes without regular expressions have no groups). */
struct kb_slice exchange_capture(const struct exchange *x, const char *name);
/* The consumer that the caller is, or stands for nobody; NULL: none. */
const struct consumer *exchange_consumer(const struct exchange *x);
bool exchange_is_anonymous(const struct exchange *x);
/* Id of the consumer's credential; NULL: none was shown. */
const char *exchange_credential(const struct exchange *x);
/* Whose key that is; NULL: nobody's. */
const struct credential *
exchange_find_key(const struct exchange *x, struct kb_slice key);
/* The same for a name and password; NULL: wrong, or nobody's. */
const struct credential *exchange_find_password(
    const struct exchange *x, const char *username, struct kb_slice password);
/* By username, custom_id or id; NULL: none. */
const struct consumer *
exchange_find_consumer(const struct exchange *x, const char *name);
/*
 * The caller is the consumer of `c`: identity with plan and roles, and
 * X-Consumer-* for upstream.
 */
void exchange_set_credential(struct exchange *x, const struct credential *c);
/*
 * Nobody has proved to be anybody: X-Consumer-* of the consumer of that name,
 * but no identity. Fails the exchange when there is no such consumer.
 */
void exchange_set_anonymous(struct exchange *x, const char *consumer);
/* Claims of the bearer token that made the identity; NULL: there is none. */
const struct kb_json *exchange_claims(struct exchange *x);

/*
 * In response(): the fields of the answer, upstream's and what plugins have
 * put on so far; what is changed there is what the client gets.
 */
struct lines *exchange_answer_lines(struct exchange *x);
/* The answer comes from upstream (else it is the gateway's own). */
bool exchange_answer_is_upstreams(const struct exchange *x);
int exchange_answer_status(const struct exchange *x);
/*
 * In response(), for upstream's answers: keeps the answer until its body is
 * complete, then `change` may put another one. Over `max` bytes: 502.
 */
void exchange_hold_answer(struct exchange *x, size_t max,
    void (*change)(struct exchange *x, void *arg, struct kb_slice *body),
    void *arg);

/* ---- security headers (policy.c) ------------------------------------------
 */

struct policy;

enum policy_kind {
	POLICY_HSTS,
	POLICY_NOSNIFF,
	POLICY_REFERRER,
	POLICY_CSP,
	POLICY_FRAMES,
	POLICY_PERMISSIONS,
	POLICY_OPENER,
	POLICY_RESOURCE,
	POLICIES
};

/*
 * Values of these headers; NULL and "": none. `ours`: also where upstream has
 * its own, which else goes before ours but for the first three.
 */
const struct policy *
policy_make(struct kb_arena *a, const char *const values[POLICIES], bool ours);
/* In response(): instead of the gateway's standard. */
void exchange_set_policy(struct exchange *x, const struct policy *p);

/* ---- what is known of an exchange afterwards ------------------------------
 */

struct report_try {
	const char *address; /* "ip:port" */
	int64_t began_ns, ended_ns;
	int status;        /* 0: no answer */
	const char *error; /* in a word; NULL: none */
	int number;        /* from 0 */
};

enum { REPORT_TRIES = 4 };

/* Times are nanoseconds since 1970. */
struct report {
	int status;
	bool https; /* as the client sees it */
	int64_t began_ns, ended_ns;
	int64_t asked_ns; /* upstream; 0: never */
	struct report_try tries[REPORT_TRIES];
	size_t n_tries;
};

/* In log(). */
void exchange_report(const struct exchange *x, struct report *out);
/* The exchange belongs to this trace, 32 digits that outlive it: its log
 * line tells so, and the client's own trace fields do not go upstream. */
void exchange_set_trace(struct exchange *x, const char *trace_id);

/* ---- what a plugin may ask other services -------------------------------- */

struct event;
struct local;

struct ask {
	const struct service *service;
	enum kb_method method;
	const char *path;    /* with query */
	const char *headers; /* complete lines, or "" */
	int64_t timeout_ms;
	size_t max_answer;
	/* Asked once more when nothing was answered: only for questions that
	 * change nothing when they come twice, and while `service` lives. */
	bool repeatable;
	/* Filled before done. err: KB_UNAVAILABLE, KB_TIMEOUT, KB_BAD_GATEWAY
	 */
	enum kb_err err;
	int status;
	struct kb_buf body;
	void (*done)(struct ask *a);
	void *arg;
	struct kb_call *call; /* private */
	struct loop *loop;    /* private */
	struct local *local;  /* private: of the exchange, not counted */
	const struct instance *instance; /* private */
	bool repeated;                   /* private */
	struct event *later;             /* private */
};

struct loop *exchange_loop(const struct exchange *x);
/* `a` belongs to the caller and must live until done or ask_cancel; when it
 * is repeatable, so must the exchange. */
void ask_start(struct exchange *x, struct ask *a);
void ask_cancel(struct ask *a);
/* Service of the present configuration by name; NULL: none. */
const struct service *
exchange_service(const struct exchange *x, const char *name);
/* Identity headers and proof for a call to `service`, as complete lines. */
void exchange_identity_lines(struct exchange *x, const struct service *service,
    enum kb_method method, struct kb_buf *out);
/* "Authorization: Bearer …" line of a service token for that service. */
char *exchange_service_token(struct exchange *x, const struct service *service);

/* Memory of a plugin for one loop: made at first use, freed with the loop. */
void *loop_slot(struct loop *l, const struct plugin *plugin,
    void *(*make)(struct loop *l), void (*drop)(void *p));

/* ---- Redis (redis.c) ------------------------------------------------------
 */

struct kb_redis;

/* Where; equal ones share a client, which has the timeout of the first. Zero
 * and NULL: the defaults. */
struct redis_conf {
	const char *host; /* NULL: none here */
	int64_t port;
	const char *username, *password;
	int64_t database, timeout_ms;
};

/*
 * The client of this loop for that server, made at first use; `conf` NULL, or
 * without a host: the one that the options of the process name. NULL: there is
 * none, or there are too many. It belongs to the loop's thread and ends with
 * the loop, after the exchanges and before the memory of plugins; answers
 * that are outstanding then come as KB_REDIS_CLOSED.
 */
struct kb_redis *loop_redis(struct loop *l, const struct redis_conf *conf);

/* ---- verifying tokens (verify.c) ------------------------------------------
 */

struct verifier; /* issuer, audience and bounds; shared by equal configs */

struct verifier_conf {
	const char *issuer, *jwks_url;
	struct strs audience;
	int64_t max_life_s, leeway_s;
	bool userinfo; /* completes e-mail and name */
};

/* The same verifier for equal configurations, as long as a snapshot that asked
 * for it is in use: whoever waits with it on another thread holds the local of
 * its exchange. NULL when there are
 * too many different ones. */
struct verifier *verifier_get(const struct verifier_conf *conf);
/* NEXT with the identity set or the exchange failed, or WAIT. */
enum verdict
verifier_check(struct verifier *v, struct exchange *x, struct kb_slice token);
/* The same with the token of the Authorization field. */
enum verdict verifier_check_bearer(struct verifier *v, struct exchange *x);
/* The token of that field: KB_UNAUTHENTICATED when there is no field,
 * KB_AUTH_INVALID when there is something else in it. */
enum kb_err exchange_bearer(const struct exchange *x, struct kb_slice *token);

/* ---- tokens of consumers (verify_consumer.c) ------------------------------
 */

enum token_owner {
	TOKEN_NOBODYS, /* no jwt_secret has its key: an issuer's, if anybody's
			*/
	TOKEN_GOOD,    /* the exchange has its consumer */
	TOKEN_BAD,
};

struct token_rules {
	uint64_t id; /* of the plugin_use: equal rules */
	const char *key_claim_name;
	bool secret_is_base64;
	struct strs audience;
	int64_t max_life_s, leeway_s;
};

/* Judges a token by the jwt_secrets of the file. */
enum token_owner exchange_judge_token(
    struct exchange *x, const struct token_rules *rules, struct kb_slice token);

/* ---- counters.c ------------------------------------------------------------
 */

struct kb_window;
struct counters; /* windows, shared by equal configurations */

struct counters_conf {
	bool shared;             /* by replicas, through Redis */
	struct redis_conf redis; /* without a host: the one of the options;
				    without that one too, they are not shared */
	int64_t sync_ms;         /* between exchanges; 0: 50 */
};

/* The same for equal ones, for ever. NULL: too many different ones. */
struct counters *counters_get(const struct counters_conf *conf);
/* For prepare(): from now on requests of the loop may be counted there. */
void counters_use(struct counters *c, struct loop *l);
struct kb_window *counters_window(const struct counters *c);

struct counted {
	int64_t limit, remaining;
	int64_t reset_s; /* unix time at which the window ends */
	int64_t wait_s;  /* until one would pass, at least 1 */
	bool over;       /* refused, and not counted */
};

/* One more request of `subject` in a sliding window of this process. Any
 * thread. */
void counter_take(
    uint64_t subject, int64_t window_s, int64_t limit, struct counted *out);

/* kong_rate_limiting_limit_hit_total of the route. */
void exchange_count_limited(struct exchange *x);

/* ---- rules that change names and values -----------------------------------
 */
#include "exporter.h"
#include "tenants.h"
#include "trace.h"
#include "transform.h"

/* ---- browsers that sign in ------------------------------------------------
 */
#include "oidc.h"

/* ---- what the plugins that limit share ------------------------------------
 */
#include "limit.h"

#endif
