/*
 * A tenant's settings, as PocketBase's /api/settings has them, kept as JSON
 * in _params. Passwords and keys in it are encrypted there and never told.
 */
#ifndef STACK_SETTINGS_H
#define STACK_SETTINGS_H

#include "records.h"

struct s3_conf {
	bool enabled, path_style;
	const char *bucket, *region, *endpoint, *access_key, *secret;
};

/* {label, audience, duration, maxRequests} */
struct rate_rule {
	const char *label, *audience;
	int64_t duration_s, requests;
};

struct rate_limits {
	const struct rate_rule *rules;
	size_t n;
};

struct settings {
	/* meta */
	const char *app_name, *app_url, *sender_name, *sender_address;
	bool hide_controls;
	/* smtp */
	bool smtp, smtp_tls;
	const char *smtp_host, *smtp_user, *smtp_password;
	const char *smtp_auth, *smtp_local_name;
	int64_t smtp_port;
	/* batch */
	bool batch;
	int64_t batch_requests, batch_timeout_s, batch_body;
	/* backups */
	const char *backup_cron; /* "": none */
	int64_t backup_keep;
	struct s3_conf backup_s3, s3;
	/* logs */
	int64_t logs_days, logs_level;
	bool logs_ip, logs_auth;
	/* rateLimits */
	bool rate_limits;
	struct rate_rule *rate_rules;
	size_t n_rate_rules;
	/* trustedProxy */
	const char *const *proxy_headers; /* NULL-ended */
	bool proxy_leftmost;
};

/* The settings that hold now, in the arena of cx. Defaults where a tenant
 * has set nothing. */
enum kb_err settings_get(struct kb_cx *cx, struct tenant_handle *handle,
    const struct settings **out) KB_MUSTUSE;
/* The rules that hold, for the tenant's snapshot and in its arena; NULL: the
 * tenant limits nobody. */
enum kb_err settings_limits(struct kb_cx *cx, struct kb_arena *a,
    const struct rate_limits **out) KB_MUSTUSE;
/* What secrets in _params are encrypted with; once, before threads. */
void settings_set_key(const unsigned char key[32]);

/* settings_store.c: the JSON text; NULL: none was kept. */
enum kb_err settings_load(struct kb_cx *cx, const char **text) KB_MUSTUSE;
enum kb_err settings_save(struct kb_cx *cx, const char *text) KB_MUSTUSE;

#endif
