/*
 * Where a request goes: how an upstream chooses, which of its addresses are
 * healthy, and what makes them so. Part of inside.h.
 *
 * The state of an address is one word that all loops read and change with
 * compare-and-swap; it lives as long as the process, so that a reload keeps
 * it, and whoever holds a spot may report to it at any time.
 */
#ifndef GATEWAY_BALANCE_H
#define GATEWAY_BALANCE_H

/* ---- how an upstream chooses ----------------------------------------------
 */

enum algorithm { ROUND_ROBIN, LEAST_CONNECTIONS, CONSISTENT_HASHING, LATENCY };

enum hash_on {
	HASH_NONE,
	HASH_CONSUMER,
	HASH_IP,
	HASH_HEADER,
	HASH_COOKIE,
	HASH_PATH,
	HASH_QUERY_ARG,
	HASH_URI_CAPTURE
};

struct hash_source {
	int on; /* enum hash_on */
	const char *header, *query_arg, *uri_capture;
};

struct point {
	uint32_t at, target;
};

struct balance {
	int algorithm;
	struct hash_source source, fallback;
	const char *cookie, *cookie_path;
	const struct point *ring; /* ascending */
	size_t ring_n;
};

/* The same on every gateway and after every start. Never 0. */
uint64_t balance_hash(const void *data, size_t len);
/* What a request is hashed by; 0: nothing, so that targets take turns. */
uint64_t balance_key(struct exchange *x);
/*
 * A mean of latencies that forgets: after `since_ms` the new sample weighs as
 * time has passed (10 s: half). And what an address is worth that has this
 * mean, was heard of so long ago and has so many calls: the less the better;
 * news that are old count for little, so that everybody has his turn again.
 */
uint64_t latency_mean(uint64_t mean_us, int64_t since_ms, uint64_t sample_us);
uint64_t latency_score(uint64_t mean_us, int64_t age_ms, unsigned calls);
/* Index in the ring of the first point at or after the key. */
size_t ring_find(const struct balance *b, uint64_t key);

/* ---- what makes a target healthy ------------------------------------------
 */

struct status_set {
	uint64_t bits[16]; /* 0 to 1023 */
};

/* Zero: does not count. */
struct limits {
	unsigned char successes, http, tcp, timeouts;
};

/* Judging by probes, or by the answers to requests. */
struct side {
	struct limits limits;
	struct status_set healthy, unhealthy;
};

struct checks {
	struct side active, passive;
	bool probes;  /* some interval is set */
	bool watches; /* requests count */
	bool returns; /* by itself, after return_ms */
	bool tcp;     /* probes connect only */
	bool https, https_verify;
	const char *https_sni;
	const char *path, *headers;
	int64_t timeout_ms, healthy_ms, unhealthy_ms, return_ms, concurrency;
	int64_t threshold; /* percent; -1: not in the file */
};

/* Reads "healthchecks"; NULL: nothing is checked. */
const struct checks *checks_read(struct problems *p, const struct kb_yaml *y);

enum health_event {
	SUCCESS,
	FAIL_HTTP,
	FAIL_TCP,
	FAIL_TIMEOUT,
	RETURN,
	BY_HAND
};

/*
 * A state: the four counters, healthy or not, and what changed it last.
 * RETURN makes an address healthy that the next failure takes out again.
 */
uint64_t health_step(
    uint64_t state, enum health_event what, int status, const struct limits *l);
bool health_is_healthy(uint64_t state);
unsigned health_count(uint64_t state, enum health_event kind);
/* "answered 503", "no answer in time" ...; "" while nothing changed it. */
void health_reason(uint64_t state, char out[48]);

/* ---- seats: targets with their addresses -----------------------------------
 */

enum { SPOT_TEXT = 64, TARGET_STATES = 4 };

struct probe;

struct spot {
	/* the lock of struct health covers these */
	struct peer_address address;
	char text[SPOT_TEXT]; /* ip:port */
	bool present;
	struct kb_series *series[TARGET_STATES];
	atomic_ullong state;
	atomic_llong changed_ms; /* monotonic */
	atomic_uint calls;       /* for least-connections and latency */
	atomic_ullong mean_us;   /* for latency; 0: not known */
	atomic_llong sampled_ms;
	/* main loop only */
	struct probe *probe;
	int64_t probed_ms, jitter_ms;
};

struct seat {
	char *upstream, *host;
	int port;
	size_t index;
	uint64_t serial; /* an index is used again, this is not */
	unsigned mark;   /* of the last sweep that found it in use */
	struct seat *next;
	struct peer *peer;
	unsigned generation; /* of the peer when spots were matched */
	bool matched;
	struct kb_series *series[TARGET_STATES]; /* without an address */
	struct spot spots[2 * PEER_ADDRESSES];
};

struct gateway;
struct health;
struct health *health_new(struct resolver *r);
void health_free(struct health *h);
/* The same seat for the same three, for ever; any thread. */
struct seat *
health_seat(struct health *h, const char *upstream, const char *host, int port);

/* ---- instances (instances.c)
 * ----------------------------------------------------- Endpoints of an
 * upstream that no file names: instances to which requests are sent one by one,
 * each to the one that has the data.
 */

enum { INSTANCES_MAX = 1024 };

struct instance {
	char *upstream, *endpoint;
	char *host;      /* of the endpoint; for TLS its name too */
	char *authority; /* as Host tells it */
	int port;
	bool tls;
	struct seat *seat;
	atomic_llong used_ms; /* monotonic, a second or so off */
};

/* "http://host[:port]" or https, without a path; NULL: is none. */
struct instance *instance_new(const char *upstream, const char *endpoint);
void instance_free(struct instance *p);
/* Probed while somebody uses it. */
bool instance_is_used(const struct instance *p, int64_t now_ms);
/*
 * The same for the same two, for ever; any thread. NULL: it is no endpoint,
 * or there are INSTANCES_MAX.
 */
struct instance *
health_instance(struct health *h, const char *upstream, const char *endpoint);
/* All of them; they stay, and more come at the end. */
size_t health_instances(const struct health *h, struct instance *const **out);

/* Present addresses and their spots; any thread. Returns how many. */
size_t health_spots(struct health *h, struct seat *seat,
    struct spot *out[PEER_ADDRESSES], struct peer_address list[PEER_ADDRESSES],
    unsigned *generation);
/* One more observation; a change of state is logged. Any thread. */
void health_report(const struct seat *seat, struct spot *spot,
    const struct limits *l, enum health_event what, int status);
/* The same for a status, which may be in neither list. */
void health_status(const struct seat *seat, struct spot *spot,
    const struct side *side, int status);
bool status_has(const struct status_set *set, int status);
bool spot_is_healthy(const struct upstream *u, const struct spot *p);

/* Sets the gauges of all that was ever there to 0. */
void health_clear_series(struct health *h);
/* Frees the seats that are of none of these snapshots, nor of instances. Main
 * thread. */
void health_sweep(struct health *h, const struct snapshot *held);
/* Seats for all targets of a snapshot. Main thread. */
void health_activate(struct gateway *g, struct snapshot *s);

/* ---- prober.c
 * ------------------------------------------------------------------ */

struct prober *prober_new(struct event_base *base, struct health *h);
/* From now on probes what this snapshot says. */
void prober_use(struct prober *p, struct snapshot *s);
void prober_free(struct prober *p);

/* ---- health_view.c
 * ------------------------------------------------------------ */

void health_view_register(struct gateway *g);
void health_count_panic(const struct upstream *u);
/* Answers /upstreams/...; false: that is no such path. */
bool health_view(struct kb_exchange *ex, struct gateway *g);

/* ---- balancer.c
 * ------------------------------------------------------------------ */

/* Addresses of a seat as one loop uses them, spoken to in one way. */
struct origin_set {
	struct origin_set *next;   /* another way */
	struct kb_tls_client *tls; /* NULL: plain */
	char *name;
	uint64_t serial; /* of the seat: an index is used again */
	int64_t used_ms;
	unsigned pins; /* exchanges that are at one of its addresses */
	unsigned generation;
	size_t n, turn;
	struct kb_origin *origins[PEER_ADDRESSES];
	struct spot *spots[PEER_ADDRESSES];
	int64_t down_until_ms[PEER_ADDRESSES];
};

void origin_sets_free(struct origin_set *set);
/*
 * A new configuration is in use on this loop: what has not been used for a
 * while, or speaks a TLS that is out of use, is given up with the connections
 * that are kept for it.
 */
void balancer_turn(struct loop *l);

/* Where a try goes. */
struct picked {
	const struct instance *only; /* set beforehand: nowhere else */
	const struct upstream *upstream;
	const struct seat *seat;
	struct kb_origin *origin; /* NULL: there is none */
	struct origin_set *set;
	struct spot *spot;
	size_t at;
	bool counted, pinned;
	int64_t began_ns; /* for latency */
};

/*
 * The next address for a service; another one than *out names, if there is
 * one. Afterwards exactly one of the three below; balancer_over also when
 * nobody is to blame.
 */
void balancer_pick(struct loop *l, struct local *local, const struct service *s,
    uint64_t key, struct picked *out);
void balancer_answered(struct picked *at, int status);
void balancer_failed(struct picked *at, enum kb_call_error error);
void balancer_over(struct picked *at);
/* True if another address than the failed ones could be tried. */
bool balancer_has_other(struct loop *l, const struct local *local,
    const struct service *s, const struct instance *only);

#endif
