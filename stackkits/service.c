/* The service: its options, its start and reload, its health. */
#include "stackkits.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
const struct kb_option sk_options[] = {
	KB_OPTION_STR(struct sk_config, dir, "STACKKITS_DIR",
	    .fallback = "stackkits", .help = "folder with kits/, base/ and cue.mod/"),
	KB_OPTION_STR(struct sk_config, cue, "CUE_BIN",
	    .help = "path of the official cue command; without it nothing can be validated"),
	KB_OPTION_INT(struct sk_config, memory_mb, "KOMBI_CUE_MEMORY_MB",
	    .fallback = "2048", .min = 1024, .max = 65536,
	    .help = "address space of one validation (a Go program reserves 1 GiB at once)"),
	KB_OPTION_INT(struct sk_config, cpu_s, "KOMBI_CUE_CPU_SECONDS",
	    .fallback = "10", .min = 1, .max = 300, .help = "CPU time of one validation"),
	KB_OPTION_INT(struct sk_config, timeout_ms, "KOMBI_CUE_TIMEOUT_MS",
	    .fallback = "25000", .min = 100, .max = 300000, .help = "time of one validation"),
	KB_OPTION_INT(struct sk_config, parallel, "KOMBI_CUE_PARALLEL",
	    .fallback = "2", .min = 1, .max = 64, .help = "validations at a time; others wait"),
	KB_OPTION_INT(struct sk_config, cached, "KOMBI_CUE_CACHE",
	    .fallback = "512", .min = 0, .max = 100000, .help = "verdicts kept in memory"),
	KB_OPTIONS_END,
};
/* clang-format on */

static struct sk_registry *
registry_load(struct kb_app *app)
{
	const struct sk_config *config = app->config;
	struct sk_state *s = app->state;

	return sk_registry_load(config->dir, s->judge);
}

static void
unref(struct sk_state *s, struct sk_registry *r)
{
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --r->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (last)
		sk_registry_free(r);
}

/* The service's own hold is the first reference. */
static void
registry_set(struct sk_state *s, struct sk_registry *fresh)
{
	struct sk_registry *old;

	pthread_mutex_lock(&s->lock);
	old = s->registry;
	s->registry = fresh;
	if (fresh != NULL)
		fresh->refs = 1;
	pthread_mutex_unlock(&s->lock);
	if (old != NULL)
		unref(s, old);
}

struct hold {
	struct sk_state *state;
	struct sk_registry *registry;
};

static void
release(void *arg)
{
	struct hold *h = arg;

	unref(h->state, h->registry);
}

static struct sk_registry *
hold(struct sk_state *s, struct kb_arena *a)
{
	struct hold *h = kb_new(a, struct hold);

	pthread_mutex_lock(&s->lock);
	*h = (struct hold) { s, s->registry };
	h->registry->refs++;
	pthread_mutex_unlock(&s->lock);
	kb_arena_on_free(a, release, h);
	return h->registry;
}

const struct sk_registry *
sk_registry_of(struct kb_request *req)
{
	return hold(kb_app(req)->state, req->cx.arena);
}

static enum kb_err
start(struct kb_app *app, void **state)
{
	struct sk_state *s = kb_xalloc(sizeof(*s));
	struct kb_arena *a = kb_arena_new(0);
	const char *missing;

	*s = (struct sk_state) { .judge = sk_judge_new(app->config) };
	pthread_mutex_init(&s->lock, NULL);
	app->state = *state = s;
	missing = sk_judge_missing(s->judge, a);
	if (missing != NULL)
		kb_error(
		    NULL, "validation unavailable", KB_S("reason", missing));
	registry_set(s, registry_load(app));
	kb_arena_free(a);
	return KB_OK;
}

static void
stop(struct kb_app *app)
{
	struct sk_state *s = app->state;

	registry_set(s, NULL);
	sk_judge_free(s->judge);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* SIGHUP comes on the loop; reading and trying kits out takes a while. */
static void
reload(struct kb_app *app)
{
	struct sk_state *s = app->state;

	__atomic_store_n(&s->reload, true, __ATOMIC_RELEASE);
	kb_background_wake(app, "registry");
}

static int64_t
reload_run(struct kb_app *app, struct kb_cx *cx)
{
	struct sk_state *s = app->state;

	if (__atomic_exchange_n(&s->reload, false, __ATOMIC_ACQ_REL)) {
		registry_set(s, registry_load(app));
		kb_info(cx->log, "registry reloaded");
	}
	return 3600 * 1000;
}

static const char *
check_registry(struct kb_app *app, struct kb_arena *a)
{
	return hold(app->state, a)->n == 0 ? "no kit could be loaded" : NULL;
}

static const char *
check_kits(struct kb_app *app, struct kb_arena *a)
{
	size_t n = hold(app->state, a)->n_refused;

	return n > 0 ? kb_sprintf(a, "%zu refused, see the log", n) : NULL;
}

static const char *
check_cue(struct kb_app *app, struct kb_arena *a)
{
	const struct sk_state *s = app->state;

	return sk_judge_missing(s->judge, a);
}

static const struct kb_check checks[] = {
	{ "registry", check_registry, true },
	{ "kits", check_kits, false },
	{ "cue", check_cue, true },
	{ NULL, NULL, false },
};

static const struct kb_background background[] = {
	{ "registry", reload_run },
	{ NULL, NULL },
};

const struct kb_service sk_service = {
	.name = "stackkits",
	.title = "kombify StackKits: blueprints for homelabs",
	.port = 8082,
	.options = sk_options,
	.config_size = sizeof(struct sk_config),
	.routes = sk_routes,
	.start = start,
	.stop = stop,
	.checks = checks,
	.background = background,
	.reload = reload,
};
