/*
 * The gateway as a process: loads the configuration, starts the loops, takes
 * signals on the main thread, loads anew at SIGHUP (all or nothing), drains
 * at SIGTERM.
 */
#include <event2/event.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { SIGNALS = 4, DRAIN_LOOK_MS = 20 };

struct process {
	struct gateway gateway;
	struct event_base *base;
	struct internal *internal;
	struct event *signals[SIGNALS];
	struct event *drain_look;
	pid_t child;
	int status;
};

/* ---- configuration ---------------------------------------------------------
 */

struct gateway_defaults
gateway_defaults_of(const struct gateway *g)
{
	return (struct gateway_defaults) {
		.issuer = g->config->issuer,
		.jwks_url = g->config->jwks_url,
		.audience = g->config->audience,
		.development = g->common->environment == KB_ENV_DEVELOPMENT,
	};
}

/* NULL: problems were printed on stderr. */
static struct snapshot *
load(const struct gateway *g)
{
	struct substitution sub = { .env = g->env };
	struct problems p = {
		.arena = kb_arena_new(64 * 1024),
		.defaults = gateway_defaults_of(g),
	};
	struct snapshot *snap;
	struct kb_buf text;

	verifiers_begin();
	snap = config_load_file(&p, g->config->config_file, &sub);
	if (snap != NULL && !problems_any(&p))
		return snap;
	kb_buf_init(&text, 1 << 20);
	problems_print(&p, false, &text);
	fputs(kb_buf_str(&text), stderr);
	kb_buf_free(&text);
	kb_arena_free(p.arena);
	return NULL;
}

bool
gateway_file_ok(const struct settings *s, char **env)
{
	struct gateway g = {
		.common = &s->common,
		.config = &s->config,
		.env = env,
	};
	struct snapshot *snap = load(&g);
	bool fine = tls_load(&g);

	snapshot_unref(snap);
	kb_tls_server_unref(g.tls);
	return snap != NULL && fine;
}

/* What a snapshot needs of the process before loops may use it. */
static void
activate(struct gateway *g, struct snapshot *s)
{
	const struct kb_common_config *common = g->common;
	bool keys = kb_secret_is_set(&common->service_secret);

	health_activate(g, s);
	prober_use(g->prober, s);
	for (size_t i = 0; !keys && i < s->n_services; i++)
		s->services[i]->callee_index = NO_CALLEE;
	for (size_t i = 0; keys && i < s->n_callees; i++)
		kb_pair_keys(&common->service_secret,
		    &common->service_secret_next, "gateway", s->callees[i],
		    &s->callee_keys[i]);
	verifiers_start(common->environment == KB_ENV_DEVELOPMENT ||
	    common->mode == KB_MODE_SELF_HOSTED);
}

void
gateway_adopt(struct gateway *g, struct snapshot *s)
{
	activate(g, s);
	loops_publish(g, s);
	snapshot_unref(g->snapshot);
	g->snapshot = s;
	g->loaded_ms = kb_wall_ms();
}

static void
reload(struct gateway *g)
{
	struct snapshot *s = load(g);

	if (s == NULL || !tls_load(g)) {
		snapshot_unref(s);
		kb_error(NULL, "configuration refused, the old one stays",
		    KB_S("file", g->config->config_file));
		return;
	}
	gateway_adopt(g, s);
	kb_info(NULL, "configuration loaded", KB_N("services", s->n_services),
	    KB_N("routes", s->n_routes), KB_S("hash", s->hash));
}

/* ---- signals, end
 * ------------------------------------------------------------ */

static void
look_drained(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	if (loops_drained(&p->gateway))
		event_base_loopbreak(p->base);
}

static void
stop(struct process *p)
{
	struct timeval every = { .tv_usec = DRAIN_LOOK_MS * 1000 };

	if (p->gateway.draining)
		return;
	p->gateway.draining = true;
	kb_info(NULL, "draining");
	loops_drain(&p->gateway);
	event_add(p->drain_look, &every);
}

static void
on_signal(evutil_socket_t number, short what, void *arg)
{
	struct process *p = arg;
	int status;

	(void)what;
	if (number == SIGHUP)
		reload(&p->gateway);
	else if (number != SIGCHLD)
		stop(p);
	else if (p->child > 0 &&
	    waitpid(p->child, &status, WNOHANG) == p->child) {
		p->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		p->child = 0;
		stop(p);
	}
}

static void
watch_signals(struct process *p)
{
	static const int numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP,
		SIGCHLD };

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < SIGNALS; i++) {
		p->signals[i] = evsignal_new(p->base, numbers[i], on_signal, p);
		event_add(p->signals[i], NULL);
	}
	p->drain_look = event_new(p->base, -1, EV_PERSIST, look_drained, p);
}

static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* ---- captive
 * --------------------------------------------------------------------- */

static char **
with_addresses(struct process *p, struct kb_arena *a)
{
	size_t n = 0;
	char **env;

	while (p->gateway.env[n] != NULL)
		n++;
	env = kb_new_array(a, n + 5, char *);
	memcpy(env, p->gateway.env, n * sizeof(*env));
	env[n++] = kb_sprintf(
	    a, "KOMBI_URL=http://127.0.0.1:%d", p->gateway.port);
	env[n++] = kb_sprintf(a, "KOMBI_ADMIN_URL=http://127.0.0.1:%d",
	    internal_port(p->internal));
	if (p->gateway.tls != NULL)
		env[n++] = kb_sprintf(a, "KOMBI_TLS_URL=https://127.0.0.1:%d",
		    p->gateway.tls_port);
	return env;
}

static bool
spawn(struct process *p, struct kb_arena *a, const char *command)
{
	struct kb_slice rest = kb_slice_of(command), word;
	char **argv = kb_new_array(a, rest.len / 2 + 2, char *);
	posix_spawnattr_t attr;
	sigset_t pipe;
	size_t n = 0;
	int rc;

	while (kb_slice_next(&rest, ' ', &word))
		if (word.len)
			argv[n++] = kb_slice_dup(a, word);
	if (n == 0)
		return false;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &pipe);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(
	    &p->child, argv[0], NULL, &attr, argv, with_addresses(p, a));
	posix_spawnattr_destroy(&attr);
	if (rc != 0)
		fprintf(stderr, "gateway: %s: %s\n", argv[0], strerror(rc));
	return rc == 0;
}

/* In development a missing secret is drawn: proofs are then made as always. */
static void
draw_secret(struct settings *s)
{
	unsigned char bytes[32];

	if (s->common.environment != KB_ENV_DEVELOPMENT ||
	    kb_secret_is_set(&s->common.service_secret))
		return;
	kb_random(bytes, sizeof(bytes));
	kb_secret_set(&s->common.service_secret, bytes, sizeof(bytes));
	kb_wipe(bytes, sizeof(bytes));
}

static void
make_captive(struct settings *s)
{
	s->common.port = 0;
	s->common.listen = "127.0.0.1";
	s->config.admin_listen = "127.0.0.1:0";
	if (s->config.tls_cert != NULL)
		s->config.tls_listen = "127.0.0.1:0";
}

/* ---- running
 * ------------------------------------------------------------------------ */

static void
trust(struct gateway *g, struct kb_arena *a)
{
	const char *const *list = g->config->trusted;
	size_t n = 0;

	while (list != NULL && list[n] != NULL)
		n++;
	g->trusted = kb_new_array(a, n + 1, struct network);
	for (size_t i = 0; i < n; i++)
		if (network_parse(list[i], &g->trusted[i]))
			g->n_trusted++;
}

static bool
start(struct process *p, const char **why)
{
	struct gateway *g = &p->gateway;

	watch_signals(p);
	resolver_start(g->resolver);
	p->internal = internal_start(g, p->base, why);
	if (p->internal == NULL)
		return false;
	return tls_prepare(g, why) && loops_start(g, why);
}

static int
serve(struct process *p, struct kb_arena *a, const char *command)
{
	struct gateway *g = &p->gateway;
	const char *why = "";

	if (!start(p, &why)) {
		fprintf(stderr, "gateway: cannot listen: %s\n", why);
		return 1;
	}
	kb_info(NULL, "listening", KB_S("address", g->common->listen),
	    KB_N("port", g->port), KB_N("tlsPort", g->tls_port),
	    KB_N("adminPort", internal_port(p->internal)),
	    KB_N("workers", g->n_loops), KB_N("routes", g->snapshot->n_routes));
	if (command != NULL && !spawn(p, a, command)) {
		p->status = 1;
		stop(p);
	}
	event_base_dispatch(p->base);
	loops_join(g);
	return p->status;
}

static void
finish(struct process *p)
{
	internal_stop(p->internal);
	prober_free(p->gateway.prober);
	for (size_t i = 0; i < SIGNALS; i++)
		if (p->signals[i])
			event_free(p->signals[i]);
	if (p->drain_look)
		event_free(p->drain_look);
	event_base_free(p->base);
	verifiers_stop();
	health_free(p->gateway.health);
	resolver_free(p->gateway.resolver);
	snapshot_unref(p->gateway.snapshot);
	kb_tls_server_unref(p->gateway.tls);
}

int
gateway_run(
    struct settings *s, struct kb_arena *a, char **env, const char *command)
{
	struct process p = {
		.gateway = { .common = &s->common,
		    .config = &s->config,
		    .env = env,
		    .arena = a },
	};
	struct gateway *g = &p.gateway;
	int status;

	if (command != NULL)
		make_captive(s);
	draw_secret(s);
	raise_descriptors();
	g->port = (int)s->common.port;
	g->snapshot = load(g);
	if (g->snapshot == NULL || !tls_load(g)) {
		snapshot_unref(g->snapshot);
		return 1;
	}
	g->resolver = resolver_new();
	g->loaded_ms = kb_wall_ms();
	trust(g, a);
	g->health = health_new(g->resolver);
	metrics_register(g);
	health_view_register(g);
	p.base = event_base_new();
	if (p.base == NULL)
		kb_fatal("cannot make an event loop");
	g->prober = prober_new(p.base, g->health);
	activate(g, g->snapshot);
	status = serve(&p, a, command);
	finish(&p);
	return status;
}
