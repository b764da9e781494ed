/*
 * What rate-limiting and rate-limiting-advanced share: the fields about Redis
 * and refusals, who is counted, counting by several rules at once, and the
 * header lines that tell (Kong 3.9). The last part of gateway.h,
 * which includes it.
 */
#ifndef GATEWAY_LIMIT_H
#define GATEWAY_LIMIT_H

#include <kombi/window.h>

enum { LIMIT_RULES = 8, LIMIT_PARTS = 4 };

enum limit_by {
	LIMIT_CONSUMER,
	LIMIT_CREDENTIAL,
	LIMIT_IP,
	LIMIT_SERVICE,
	LIMIT_HEADER,
	LIMIT_PATH,
	LIMIT_GROUP,
};
/* Their names in the file, NULL-ended. */
extern const char *const limit_by_names[];

/* Defaults: LIMIT_DEFAULTS. Stands first in a plugin's configuration. */
struct limit_conf {
	const char *header_name, *path, *error_message, *namespace, *sync_rate;
	int64_t error_code, retry_after_jitter_max;
	bool hide_client_headers, fault_tolerant;
	const struct kb_yaml *redis; /* shadows redis_* */
	const char *redis_host, *redis_username, *redis_password;
	const char *redis_server_name;
	int64_t redis_port, redis_database, redis_timeout;
	bool redis_ssl, redis_ssl_verify;
	/* made by limit_load */
	enum limit_by by[LIMIT_PARTS];
	size_t n_by;
	uint64_t seed;
	struct counters *counters;
};

/* clang-format off */
#define LIMIT_DEFAULTS .fault_tolerant = true, .error_code = 429, \
	.error_message = "API rate limit exceeded"
#define LIMIT_FIELDS \
	CONF_STR(struct limit_conf, header_name), \
	CONF_STR(struct limit_conf, path), \
	CONF_BOOL(struct limit_conf, hide_client_headers), \
	CONF_BOOL(struct limit_conf, fault_tolerant), \
	CONF_INT(struct limit_conf, error_code, .min = 400, .max = 599), \
	CONF_STR(struct limit_conf, error_message), \
	CONF_STR(struct limit_conf, sync_rate), \
	CONF_NODE(struct limit_conf, redis), \
	CONF_STR(struct limit_conf, redis_host, .empty = true), \
	CONF_INT(struct limit_conf, redis_port, .min = 1, .max = 65535), \
	CONF_STR(struct limit_conf, redis_username, .empty = true), \
	CONF_STR(struct limit_conf, redis_password, .empty = true), \
	CONF_INT(struct limit_conf, redis_database, .min = 0, .max = 9999), \
	CONF_INT(struct limit_conf, redis_timeout, .min = 1, .max = 2147483646), \
	CONF_BOOL(struct limit_conf, redis_ssl), \
	CONF_BOOL(struct limit_conf, redis_ssl_verify), \
	CONF_STR(struct limit_conf, redis_server_name, .empty = true)
/* clang-format on */

/* How counts are to be shared: what the file says. */
enum limit_sharing { LIMIT_UNSAID, LIMIT_LOCAL, LIMIT_CLUSTER, LIMIT_REDIS };

/* Checks and completes what was read; `by` and `n_by` are set. Only for
 * load(): `use->plugin` names itself in messages. */
void limit_load(struct problems *p, const struct plugin_use *use,
    struct limit_conf *c, enum limit_sharing sharing);
/* For prepare(). */
void limit_prepare(struct loop *l, const struct limit_conf *c);

/* Whom a request is counted for. */
struct limit_key {
	char bytes[320];
	size_t len;
};

void limit_key(
    struct exchange *x, const struct limit_conf *c, struct limit_key *out);

/* Rules that hold together, shortest window first, with the ends of their
 * header lines ("Minute"). */
struct limit_rules {
	const struct kb_window_rule *rules;
	const char *const *names; /* NULL: no lines for each window */
	size_t n;                 /* up to LIMIT_RULES */
};

/*
 * Counts the request by all of the rules, or by none if one of them refuses,
 * tells the client, and ends the request if it is refused.
 */
void limit_take(struct exchange *x, const struct limit_conf *c,
    const struct limit_key *key, const struct limit_rules *r);

#endif
