/* The service's descriptor: options, start and stop, checks. */
#include "stack_service.h"

#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/network.h>
#include <kombi/str.h>
#include <kombi/window.h>

#include "mail.h"
#include "platform.h"
#include "records/settings.h"
#include "stack.h"

const struct kb_option stack_options[] = {
	KB_OPTION_STR(struct stack_config, data_dir, "KOMBI_DATA_DIR",
	    .fallback = "./data",
	    .help = "folder of platform.db and tenants/; made by the operator"),
	KB_OPTION_URL(struct stack_config, stackkits_url, "STACKKITS_URL",
	    .help = "base URL of the stackkits service; else from"
		    " STACKKITS_SERVICE_HOST and _PORT"),
	KB_OPTION_STR(struct stack_config, stackkits_host,
	    "STACKKITS_SERVICE_HOST", .fallback = "127.0.0.1",
	    .help = "host of the stackkits service"),
	KB_OPTION_INT(struct stack_config, stackkits_port,
	    "STACKKITS_SERVICE_PORT", .fallback = "8082", .min = 1,
	    .max = 65535, .help = "port of the stackkits service"),
	KB_OPTION_INT(struct stack_config, max_tenants, "KOMBI_MAX_TENANTS",
	    .fallback = "0", .min = 0, .max = 100000,
	    .help = "tenants of this instance; 0: 50 shared, 1 otherwise"),
	KB_OPTION_INT(struct stack_config, session_s, "KOMBI_SESSION_SECONDS",
	    .fallback = "432000", .min = 60, .max = 2592000,
	    .help = "life of a session token"),
	KB_OPTION_BOOL(struct stack_config, create_tenants,
	    "KOMBI_SSO_CREATES_TENANTS", .fallback = "true",
	    .help = "the first SSO exchange of an organisation makes its"
		    " tenant; false: only admin provisions"),
	KB_OPTION_INT(struct stack_config, tenant_idle_ms,
	    "KOMBI_TENANT_IDLE_MS", .fallback = "600000", .min = 100,
	    .max = 86400000,
	    .help = "a tenant's database is closed when unused for so long"),
	KB_OPTION_INT(struct stack_config, keep_changes, "KOMBI_KEEP_CHANGES",
	    .fallback = "50000", .min = 1, .max = 10000000,
	    .help = "changes of records that a tenant's clients can catch up "
		    "with"),
	KB_OPTION_INT(struct stack_config, keep_days, "KOMBI_KEEP_CHANGES_DAYS",
	    .fallback = "30", .min = 1, .max = 3650,
	    .help = "and for how many days"),
	KB_OPTION_STR(struct stack_config, smtp_host, "KOMBI_SMTP_HOST",
	    .help = "mail server for tenants that have set none"),
	KB_OPTION_INT(struct stack_config, smtp_port, "KOMBI_SMTP_PORT",
	    .fallback = "587", .min = 1, .max = 65535, .help = "its port"),
	KB_OPTION_BOOL(struct stack_config, smtp_tls, "KOMBI_SMTP_TLS",
	    .fallback = "false",
	    .help = "TLS from the first byte; else STARTTLS where offered"),
	KB_OPTION_STR(struct stack_config, smtp_user, "KOMBI_SMTP_USER",
	    .help = "its user name"),
	KB_OPTION_SECRET(struct stack_config, smtp_password,
	    "KOMBI_SMTP_PASSWORD", .help = "its password"),
	KB_OPTION_STR(struct stack_config, smtp_from, "KOMBI_SMTP_FROM",
	    .help = "sender's address of mails that go by it; else the"
		    " tenant's own"),
	KB_OPTION_LIST(struct stack_config, proxies, "KOMBI_TRUSTED_PROXIES",
	    .check = kb_network_check,
	    .help = "proxies (the gateway) whose X-Real-IP is believed"),
	KB_OPTION_STR(struct stack_config, mail_dir, "KOMBI_MAIL_DIR",
	    .help = "development only: mails become files of this folder"
		    " where no server is set"),
	KB_OPTION_STR(struct stack_config, superuser_email,
	    "PB_SUPERUSER_EMAIL",
	    .help = "self-hosted: the first superuser, made when there is"
		    " none"),
	KB_OPTION_SECRET(struct stack_config, superuser_password,
	    "PB_SUPERUSER_PASSWORD", .help = "and its password"),
	KB_OPTION_INT(struct stack_config, wave, "KOMBI_MIGRATION_WAVE",
	    .fallback = "20", .min = 1, .max = 10000,
	    .help = "tenants migrated in a wave after an upgrade, behind a"
		    " first one alone"),
	KB_OPTION_INT(struct stack_config, tenants_open, "KOMBI_TENANTS_OPEN",
	    .fallback = "1000", .min = 0, .max = 100000,
	    .help = "databases of tenants kept open, the least used are"
		    " closed first; 0: no bound"),
	KB_OPTION_INT(struct stack_config, audit_days, "KOMBI_AUDIT_DAYS",
	    .fallback = "0", .min = 0, .max = 36500,
	    .help = "days that the audit is kept; 0: 365 dedicated, 90"
		    " otherwise"),
	KB_OPTION_SECRET(struct stack_config, wallet_key,
	    "TECHSTACK_ENCRYPTION_KEY",
	    .help = "32 bytes, as 64 hex digits or base64: encrypts the"
		    " wallets; without it they are shut, but in development"),
	KB_OPTION_SECRET(struct stack_config, wallet_key_next,
	    "TECHSTACK_ENCRYPTION_KEY_NEXT",
	    .help = "a second key that decrypts: the coming or the former one"),
	KB_OPTIONS_END,
};

int64_t
stack_max_tenants(struct kb_app *app)
{
	int64_t configured = stack_config(app)->max_tenants;

	if (configured > 0)
		return configured;
	return app->common->mode == KB_MODE_SAAS_SHARED ? 50 : 1;
}

static const char *
database_url(const void *config, struct kb_arena *a)
{
	const struct stack_config *c = config;

	return kb_sprintf(a, "sqlite:%s/platform.db", c->data_dir);
}

static char *
stackkits_base(const struct stack_config *c)
{
	struct kb_arena *a = kb_arena_new(0);
	char *url;

	if (c->stackkits_url != NULL)
		url = kb_xstrdup(c->stackkits_url);
	else
		url = kb_xstrdup(kb_sprintf(a, "http://%s:%lld",
		    c->stackkits_host, (long long)c->stackkits_port));
	kb_arena_free(a);
	return url;
}

/* Secrets in settings are of this instance: by its own secret. */
static void
settings_key(struct kb_app *app)
{
	unsigned char key[32];
	size_t len;
	const unsigned char *secret = kb_secret_reveal(
	    &app->common->service_secret, &len);

	kb_hkdf_sha256(secret, len, "kombi stack settings", key, sizeof(key));
	settings_set_key(key);
	kb_wipe(key, sizeof(key));
}

static enum kb_err
start(struct kb_app *app, void **state)
{
	struct stack_state *s = kb_xalloc(sizeof(*s));
	const struct stack_config *c = stack_config(app);

	memset(s, 0, sizeof(*s));
	s->tenancy = tenancy_new(
	    c->data_dir, c->tenant_idle_ms, c->tenants_open);
	s->stackkits = stackkits_base(c);
	kb_uuid4(s->runner);
	kb_pair_keys(&app->common->service_secret,
	    &app->common->service_secret_next, "stack", "stackkits",
	    &s->stackkits_keys);
	settings_key(app);
	s->wallet = kb_xalloc(sizeof(*s->wallet));
	if (!wallet_keys_read(app, s->wallet))
		return KB_CONFIGURATION;
	s->mails = mail_queue_new();
	s->auth_limits = auth_limits_new();
	s->rates = kb_window_new(&(struct kb_window_conf) { .keys = 0 });
	kb_audit_set_sink(audit_store);
	quota_register();
	s->setup = setup_new();
	s->waves = waves_new();
	*state = s;
	app->state = s; /* set-up works with it before the first request */
	return setup_begin(app);
}

static void
stop(struct kb_app *app)
{
	struct stack_state *s = stack_state(app);

	tenancy_free(s->tenancy);
	mail_queue_free(s->mails);
	auth_limits_free(s->auth_limits);
	kb_window_free(s->rates);
	setup_free(s->setup);
	waves_free(s->waves);
	kb_wipe(s->wallet, sizeof(*s->wallet));
	free(s->wallet);
	free(s->stackkits);
	free(s);
}

/* The tenant that the request says it is about. */
static uint64_t
lane(const struct kb_request *req)
{
	const char *name = req->user.tenant, *end;

	if (kb_str_starts(req->path, "/tenant/")) {
		name = req->path + 8;
		end = strchrnul(name, '/');
		return kb_hash(name, (size_t)(end - name));
	}
	if (name == NULL || name[0] == '\0')
		name = req->user.org;
	return name && name[0] ? kb_hash(name, strlen(name)) : 0;
}

/* Beside the tenants: bodies of any size wait on the data's own disk. */
static const char *
spool_folder(struct kb_app *app, struct kb_arena *a)
{
	(void)a;
	return stack_config(app)->data_dir;
}

static const struct kb_check checks[] = {
	{ "tenant_migrations", waves_check, false },
	{ NULL, NULL, false },
};

static const struct kb_background background[] = {
	{ "look-after", jobs_look_after },
	{ "jobs", jobs_work },
	{ "jobs-2", jobs_work },
	{ "sweep", tenants_sweep },
	{ "migrations", waves_work },
	{ "audit", audit_work },
	{ "mail", mail_work },
	{ "crons", crons_work },
	{ "files", files_look_after },
	{ NULL, NULL },
};

const struct kb_service stack_service = {
	.name = "stack",
	.title = "kombify stack: homelab control plane",
	.port = 8080,
	.options = stack_options,
	.config_size = sizeof(struct stack_config),
	.routes = stack_routes,
	.database_url = database_url,
	.migrations = stack_migrations,
	.start = start,
	.stop = stop,
	.tenant = tenant_resolve,
	.tenant_done = tenant_resolved_done,
	.session = session_resolve,
	.refusal = api_refusal,
	.lane = lane,
	.spool_folder = spool_folder,
	.checks = checks,
	.background = background,
};
