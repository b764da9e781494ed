/*
 * A tenant's settings, as PocketBase's /api/settings has them, kept as JSON
 * in _params and read once beside the open database.
 */
#ifndef STACK_SETTINGS_H
#define STACK_SETTINGS_H

#include "records.h"

struct s3_conf {
	bool enabled, path_style;
	const char *bucket, *region, *endpoint, *access_key, *secret;
};

struct settings {
	/* meta */
	const char *app_name, *app_url, *sender_name, *sender_address;
	/* smtp */
	bool smtp;
	const char *smtp_host, *smtp_user, *smtp_password;
	const char *smtp_auth, *smtp_local_name;
	int64_t smtp_port;
	bool smtp_tls;
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
	/* rateLimits: settings.c's own */
	bool rate_limits;
	const struct rate_rule *rate_rules;
	size_t n_rate_rules;
};

/* The settings that hold now, in the arena of cx. Defaults where a tenant
 * has set nothing. */
enum kb_err settings_get(struct kb_cx *cx, struct tenant_handle *handle,
    const struct settings **out) KB_MUSTUSE;

#endif
