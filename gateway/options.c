/*
 * The gateway's options, beside those that every service has.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

static const char *const tls_clients[] = { "any", "optional", "required",
	NULL };
static const char *const routers[] = { "segments", "kong", NULL };

static const char *const admin_writes[] = { "auto", "true", "false", NULL };

static const struct kb_option options[] = {
	KB_OPTION_STR(struct gateway_config, config_file,
	    "KONG_DECLARATIVE_CONFIG", .flags = KB_OPT_REQUIRED,
	    .help = "Kong 3.0 declarative file; read again at SIGHUP"),
	KB_OPTION_STR(struct gateway_config, admin_listen, "KOMBI_ADMIN_LISTEN",
	    .fallback = "127.0.0.1:8001",
	    .help = "address:port of the Admin API with /health /ready "
		    "/metrics"),
	KB_OPTION_SECRET(struct gateway_config, admin_token,
	    "KOMBI_ADMIN_TOKEN", .min = 16,
	    .help = "what clients of the Admin API send as Kong-Admin-Token; "
		    "a must on an address other than loopback"),
	KB_OPTION_ENUM(struct gateway_config, admin_write, "KOMBI_ADMIN_WRITE",
	    .fallback = "auto", .choices = admin_writes,
	    .help = "whether it may change the configuration; auto: on "
		    "loopback"),
	KB_OPTION_STR(struct gateway_config, admin_name, "KOMBI_ADMIN_NAME",
	    .help = "name under which clients reach it, beside its address"),
	KB_OPTION_STR(struct gateway_config, config_state, "KOMBI_CONFIG_STATE",
	    .help = "file that keeps what the Admin API changed over a "
		    "restart"),
	KB_OPTION_BOOL(struct gateway_config, config_watch,
	    "KOMBI_CONFIG_WATCH", .fallback = "true",
	    .help = "load the declarative file when it changes"),
	KB_OPTION_URL(struct gateway_config, issuer, "ZITADEL_ISSUER",
	    .alias = "KOMBI_ISSUER", .flags = KB_OPT_HTTPS_IN_PRODUCTION,
	    .help = "issuer of tokens where the file names none"),
	KB_OPTION_URL(struct gateway_config, jwks_url, "ZITADEL_JWKS_URL",
	    .flags = KB_OPT_HTTPS_IN_PRODUCTION,
	    .help = "its key set; without it found by discovery"),
	KB_OPTION_STR(struct gateway_config, client_id, "ZITADEL_CLIENT_ID",
	    .help = "client of this platform at the issuer; turns signing in "
		    "by openid-connect on"),
	KB_OPTION_SECRET(struct gateway_config, client_secret,
	    "ZITADEL_CLIENT_SECRET", .help = "its secret"),
	KB_OPTION_SECRET(struct gateway_config, session_secret,
	    "OIDC_SESSION_SECRET", .min = 32,
	    .help = "seals sessions of browsers; the same in all gateways"),
	KB_OPTION_SECRET(struct gateway_config, session_secret_next,
	    "OIDC_SESSION_SECRET_NEXT", .min = 32,
	    .help = "opens them as well, to rotate"),
	KB_OPTION_BOOL(struct gateway_config, userinfo, "KOMBI_USERINFO",
	    .fallback = "false",
	    .help = "asks the issuer for e-mail and name that tokens leave "
		    "out"),
	KB_OPTION_LIST(struct gateway_config, audience, "KOMBI_AUDIENCE",
	    .help = "accepted audiences of tokens, comma separated"),
	KB_OPTION_LIST(struct gateway_config, trusted, "KOMBI_TRUSTED_PROXIES",
	    .check = kb_network_check,
	    .help = "proxies whose X-Forwarded-* is believed"),
	KB_OPTION_ENUM(struct gateway_config, router, "KOMBI_ROUTER",
	    .fallback = "segments", .choices = routers,
	    .help = "how paths match: whole segments, or Kong's raw prefixes"),
	KB_OPTION_INT(struct gateway_config, retry_percent,
	    "KOMBI_RETRY_PERCENT", .fallback = "10", .min = 0, .max = 100,
	    .help = "retries, at most so many per 100 requests"),
	KB_OPTION_INT(struct gateway_config, drain_delay_ms,
	    "KOMBI_DRAIN_DELAY_MS", .fallback = "0", .min = 0, .max = 60000,
	    .help = "at SIGTERM /ready says no so long before draining begins"),
	KB_OPTION_INT(struct gateway_config, upgrade_ms, "KOMBI_UPGRADE_MS",
	    .fallback = "30000", .min = 100, .max = 600000,
	    .help = "at SIGUSR2 the new process has to be ready within it"),
	KB_OPTION_STR(struct gateway_config, pid_file, "KOMBI_PID_FILE",
	    .help = "holds the id of the process that serves"),
	KB_OPTION_STR(struct gateway_config, redis_host, "REDIS_HOST",
	    .help = "Redis for shared limits and sessions: name, address, or "
		    "/path of a unix socket; without it each process has its "
		    "own"),
	KB_OPTION_INT(struct gateway_config, redis_port, "REDIS_PORT",
	    .fallback = "6379", .min = 1, .max = 65535, .help = "its port"),
	KB_OPTION_STR(struct gateway_config, redis_username, "REDIS_USERNAME",
	    .help = "its ACL user"),
	KB_OPTION_SECRET(struct gateway_config, redis_password,
	    "REDIS_PASSWORD", .min = 8, .help = "password there"),
	KB_OPTION_INT(struct gateway_config, redis_database, "REDIS_DATABASE",
	    .fallback = "0", .min = 0, .max = 9999,
	    .help = "number of the database there"),
	KB_OPTION_INT(struct gateway_config, replicas, "KOMBI_REPLICAS",
	    .fallback = "1", .min = 1, .max = 1000,
	    .help = "gateways that share limits: each alone lets through its "
		    "share while Redis is away"),
	KB_OPTION_STR(struct gateway_config, upstream_ca,
	    "KOMBI_UPSTREAM_CA_FILE",
	    .help = "PEM bundle that certificates of services must come from; "
		    "else the system's"),
	KB_OPTION_STR(struct gateway_config, upstream_cert,
	    "KOMBI_UPSTREAM_CERT_FILE",
	    .help = "certificate in PEM that services are shown"),
	KB_OPTION_STR(struct gateway_config, upstream_key,
	    "KOMBI_UPSTREAM_KEY_FILE",
	    .help = "its private key in PEM, closed to others; the three are "
		    "read again at SIGHUP"),
	KB_OPTION_BOOL(struct gateway_config, upstream_tls,
	    "KOMBI_UPSTREAM_TLS", .fallback = "false",
	    .help = "our own services are spoken to by TLS, whatever the file "
		    "says"),
	KB_OPTION_LIST(struct gateway_config, kong_headers,
	    "KOMBI_KONG_HEADERS", .alias = "KONG_HEADERS",
	    .check = kong_headers_check,
	    .help = "Kong's own headers: off, latency_tokens, server_tokens, "
		    "X-Kong-Request-Id"),
	KB_OPTION_INT(struct gateway_config, metric_series,
	    "KOMBI_METRIC_SERIES", .fallback = "2000", .min = 256,
	    .max = 100000,
	    .help = "series of one metric; further ones are __overflow__"),
	KB_OPTION_STR(struct gateway_config, tls_cert, "KOMBI_TLS_CERT_FILE",
	    .help = "certificate chain in PEM: turns HTTPS on; read again at "
		    "SIGHUP"),
	KB_OPTION_STR(struct gateway_config, tls_key, "KOMBI_TLS_KEY_FILE",
	    .help = "its private key in PEM, closed to others"),
	KB_OPTION_STR(struct gateway_config, tls_listen, "KOMBI_TLS_LISTEN",
	    .help = "address:port of HTTPS; else that of KOMBI_LISTEN, 8443"),
	KB_OPTION_ENUM(struct gateway_config, tls_clients, "KOMBI_TLS_CLIENTS",
	    .fallback = "any", .choices = tls_clients,
	    .help = "whether clients must show a certificate"),
	KB_OPTION_STR(struct gateway_config, tls_client_ca,
	    "KOMBI_TLS_CLIENT_CA_FILE",
	    .help = "PEM bundle that clients' certificates must come from"),
	KB_OPTIONS_END,
};

const char *
env_get(char *const env[], const char *name)
{
	size_t n = strlen(name);

	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

static bool
says_development(char *const env[])
{
	return kb_str_eq(env_get(env, "KOMBI_ENVIRONMENT"), "development");
}

struct kb_option_set *
settings_sets(struct settings *s, struct kb_arena *a)
{
	struct kb_option_set *sets = kb_new_array(a, 3, struct kb_option_set);

	sets[0] = (struct kb_option_set) {
		.options = kb_common_options(a, 8000, 2),
		.into = &s->common,
	};
	sets[1] = (struct kb_option_set) {
		.options = options,
		.into = &s->config,
	};
	return sets;
}

bool
settings_load(struct settings *s, struct kb_arena *a, char *const env[],
    struct kb_buf *problems)
{
	return kb_config_load(
	    a, settings_sets(s, a), env, says_development(env), problems);
}
