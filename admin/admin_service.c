/* The service's descriptor: options, start and stop. */
#include <stdlib.h>
#include <string.h>

#include <kombi/id.h>
#include <kombi/time.h>

#include "admin.h"

#define LOCAL_INSTANCE "local"
#define SHARED_TENANTS 50

const struct kb_option admin_options[] = {
	KB_OPTION_SECRET(struct admin_config, database_url, "DATABASE_URL",
	    .alias = "KOMBIFY_DATABASE_URL", .flags = KB_OPT_REQUIRED,
	    .min = 13, .help = "postgresql://user:password@host:port/database"),
	KB_OPTION_STR(struct admin_config, stack_host, "STACK_SERVICE_HOST",
	    .fallback = "127.0.0.1",
	    .help = "host of the stack instance that comes with this"
		    " installation"),
	KB_OPTION_INT(struct admin_config, stack_port, "STACK_SERVICE_PORT",
	    .fallback = "8080", .min = 1, .max = 65535, .help = "its port"),
	KB_OPTION_URL(struct admin_config, stack_public_url, "STACK_PUBLIC_URL",
	    .help = "its public address"),
	KB_OPTION_STR(struct admin_config, sim_host, "SIM_SERVICE_HOST",
	    .fallback = "127.0.0.1", .help = "host of the sim service"),
	KB_OPTION_INT(struct admin_config, sim_port, "SIM_SERVICE_PORT",
	    .fallback = "8081", .min = 1, .max = 65535,
	    .help = "port of the sim service"),
	KB_OPTION_STR(struct admin_config, region, "KOMBI_REGION",
	    .fallback = "local", .help = "region of that stack instance"),
	KB_OPTION_SECRET(struct admin_config, stripe_webhook,
	    "STRIPE_WEBHOOK_SECRET", .min = 16,
	    .help = "signs webhooks of Stripe (whsec_..., as text); without it "
		    "they are refused"),
	KB_OPTION_SECRET(struct admin_config, stripe_webhook_next,
	    "STRIPE_WEBHOOK_SECRET_NEXT", .min = 16,
	    .help = "second secret of Stripe that is taken, for a roll"),
	KB_OPTION_SECRET(struct admin_config, zitadel_webhook,
	    "ZITADEL_WEBHOOK_SECRET", .min = 16,
	    .help = "signing key of Zitadel's webhook target; without it they "
		    "are refused"),
	KB_OPTION_SECRET(struct admin_config, zitadel_webhook_next,
	    "ZITADEL_WEBHOOK_SECRET_NEXT", .min = 16,
	    .help = "second signing key of Zitadel that is taken, for a "
		    "rotation"),
	KB_OPTIONS_END,
};

static const char *
database_url(const void *config, struct kb_arena *a)
{
	const struct admin_config *c = config;

	size_t len;

	(void)a;
	return (const char *)kb_secret_reveal(&c->database_url, &len);
}

/* The stack instance that this installation came with. */
static enum kb_err
register_local(struct kb_app *app, struct kb_arena *a)
{
	const struct admin_config *c = admin_config(app);
	bool shared = app->common->mode == KB_MODE_SAAS_SHARED;
	struct kb_cx cx = { .arena = a, .db = app->db };
	struct instance i = {
		.id = kb_id_new(a, "ins"),
		.name = LOCAL_INSTANCE,
		.region = c->region,
		.mode = "SHARED",
		.max_tenants = shared ? SHARED_TENANTS : 1,
		.internal_endpoint = kb_sprintf(a, "http://%s:%lld",
		    c->stack_host, (long long)c->stack_port),
		.public_endpoint = c->stack_public_url,
	};

	return instance_register_local(&cx, &i);
}

static enum kb_err
start(struct kb_app *app, void **state)
{
	const struct admin_config *c = admin_config(app);
	struct kb_arena *a = kb_arena_new(0);
	struct admin_state *s = kb_xalloc(sizeof(*s));
	enum kb_err err;

	memset(s, 0, sizeof(*s));
	s->started_ms = kb_mono_ms();
	s->sim_url = kb_xstrdup(kb_sprintf(
	    a, "http://%s:%lld", c->sim_host, (long long)c->sim_port));
	kb_audit_set_sink(audit_store);
	*state = s;
	err = register_local(app, a);
	if (err)
		kb_error(NULL, "the local stack instance is not registered",
		    KB_S("code", kb_err_code(err)));
	kb_arena_free(a);
	return err;
}

static void
stop(struct kb_app *app)
{
	free(admin_state(app)->sim_url);
	free(admin_state(app));
}

static const struct kb_background background[] = {
	{ "outbox", outbox_work },
	{ "webhooks", webhooks_work },
	{ NULL, NULL },
};

const struct kb_service admin_service = {
	.name = "admin",
	.title = "kombify admin: the platform's backend",
	.port = 8090,
	.options = admin_options,
	.config_size = sizeof(struct admin_config),
	.routes = admin_routes,
	.database_url = database_url,
	.migrations = admin_migrations,
	.start = start,
	.stop = stop,
	.background = background,
};
