/* The service's descriptor: options, start and stop, checks. */
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>

#include "sim.h"

static const char *const engine_names[] = { "mock", NULL };
static const struct engine *const engines[] = { &engine_mock };

static const struct kb_option options[] = {
	KB_OPTION_STR(struct sim_config, data_dir, "KOMBI_DATA_DIR",
	    .fallback = "./data",
	    .help = "folder of sim.db; made by the operator"),
	KB_OPTION_ENUM(struct sim_config, engine, "KOMBI_SIM_ENGINE",
	    .fallback = "mock", .choices = engine_names,
	    .help = "what runs the nodes"),
	KB_OPTION_INT(struct sim_config, ssh_start, "KOMBI_SSH_PORT_START",
	    .fallback = "20000", .min = 1024, .max = 65535,
	    .help = "first port of the SSH pool"),
	KB_OPTION_INT(struct sim_config, ssh_end, "KOMBI_SSH_PORT_END",
	    .fallback = "29999", .min = 1024, .max = 65535,
	    .help = "last port of the SSH pool"),
	KB_OPTION_INT(struct sim_config, ssh_block, "KOMBI_SSH_PORTS_A_TENANT",
	    .fallback = "25", .min = 1, .max = 1000,
	    .help = "ports of one tenant"),
	KB_OPTION_STR(struct sim_config, ssh_host, "KOMBI_SSH_HOST",
	    .fallback = "127.0.0.1", .help = "where users reach the SSH ports"),
	KB_OPTIONS_END,
};

static const char *
database_url(const void *config, struct kb_arena *a)
{
	const struct sim_config *c = config;

	return kb_sprintf(a, "sqlite:%s/sim.db", c->data_dir);
}

/* Without a configured secret passwords change with each start. */
static void
derive_key(struct kb_app *app, unsigned char key[32])
{
	const struct kb_secret *root = &app->common->service_secret;
	size_t len;
	const unsigned char *bytes;

	if (!kb_secret_is_set(root)) {
		kb_random(key, 32);
		return;
	}
	bytes = kb_secret_reveal(root, &len);
	kb_hkdf_sha256(bytes, len, "kombi sim ssh v1", key, 32);
}

static enum kb_err
start(struct kb_app *app, void **state)
{
	struct sim_state *s = kb_xalloc(sizeof(*s));
	const struct sim_config *c = sim_config(app);

	if (c->ssh_end - c->ssh_start + 1 < c->ssh_block) {
		kb_error(NULL,
		    "KOMBI_SSH_PORT_START to _END holds not even one tenant's"
		    " ports");
		free(s);
		return KB_INVALID;
	}
	s->engine = engines[c->engine];
	derive_key(app, s->ssh_key);
	*state = s;
	return KB_OK;
}

static void
stop(struct kb_app *app)
{
	kb_wipe(sim_state(app)->ssh_key, 32);
	free(sim_state(app));
}

static const char *
check_engine(struct kb_app *app, struct kb_arena *a)
{
	return sim_state(app)->engine->check(a);
}

static const struct kb_check checks[] = {
	{ "engine", check_engine, false },
	{ NULL, NULL, false },
};

static const struct kb_background background[] = {
	{ "engine", engine_work },
	{ NULL, NULL },
};

const struct kb_service sim_service = {
	.name = "sim",
	.title = "kombify sim: simulations of a homelab",
	.port = 8081,
	.options = options,
	.config_size = sizeof(struct sim_config),
	.routes = sim_routes,
	.database_url = database_url,
	.migrations = sim_migrations,
	.start = start,
	.stop = stop,
	.tenant = tenant_resolve,
	.checks = checks,
	.background = background,
};
