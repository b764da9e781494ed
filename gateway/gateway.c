/*
 * The gateway as a process: loads the configuration, starts the loops, takes
 * signals on the main thread, loads anew at SIGHUP (all or nothing), drains
 * at SIGTERM, gives way to a new process at SIGUSR2.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "config_state.h"
#include "process.h"

enum {
	EXPORT_MS = 2000, /* what was observed is still told so long */
	DRAIN_LOOK_MS = 20,
	START_DNS_MS = 1000,
	ADOPT_DNS_MS = 200,
	LOAD_NICE = 10,
	KEYS_LOOK_MS = 5,
	/* How long connections without a request are spared: little at the
	 * end; at an upgrade long, since nobody waits for us. */
	END_IDLE_MS = 500,
	UPGRADE_IDLE_MS = 5000,
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
		.client_id = g->config->client_id,
		.client_secret = &g->config->client_secret,
		.session_secret = &g->config->session_secret,
		.session_secret_next = &g->config->session_secret_next,
		.userinfo = g->config->userinfo,
		.development = g->common->environment == KB_ENV_DEVELOPMENT,
		.upstream_ca = g->config->upstream_ca,
		.upstream_cert = g->config->upstream_cert,
		.upstream_key = g->config->upstream_key,
		.upstream_tls = g->config->upstream_tls,
		.kong_router = g->config->router == 1,
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
	const char *file = state_choose(g);
	struct snapshot *snap;
	struct kb_buf text;

	verifiers_begin();
	snap = config_load_file(&p, file, &sub);
	if (snap != NULL && !problems_any(&p)) {
		state_settle(g, file);
		return snap;
	}
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
	bool fine = tls_load(&g, snap);

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

/* Ours until nobody else uses it. */
static void
hold(struct gateway *g, struct snapshot *s)
{
	s->load = verifiers_load();
	s->next_held = g->held;
	g->held = snapshot_ref(s);
}

/* Lets go what only we still hold, and what was there for its sake. */
static void
reap_snapshots(struct gateway *g)
{
	struct snapshot **at = &g->held;
	unsigned oldest = g->snapshot->load;

	while (*at != NULL) {
		struct snapshot *s = *at;

		if (atomic_load(&s->refs) > 1) {
			oldest = s->load < oldest ? s->load : oldest;
			at = &s->next_held;
			continue;
		}
		*at = s->next_held;
		snapshot_unref(s);
	}
	verifiers_sweep(oldest, g->snapshot->load);
	health_sweep(g->health, g->held);
}

size_t
gateway_snapshots_held(const struct gateway *g)
{
	size_t n = 0;

	for (const struct snapshot *s = g->held; s; s = s->next_held)
		n++;
	return n;
}

void
gateway_adopt(struct gateway *g, struct snapshot *s)
{
	activate(g, s);
	(void)!tls_load(g, s); /* or the old ones stay, which is logged */
	/* Names that are new are known when the first request comes, as a
	 * rule; slow ones are not waited for. */
	resolver_wait(g->resolver, ADOPT_DNS_MS);
	hold(g, s);
	loops_publish(g, s);
	snapshot_unref(g->snapshot);
	g->snapshot = s;
	g->loaded_ms = kb_wall_ms();
}

/* A load that takes turns with the loops when there are too few processors:
 * they have requests to answer, this can wait. */
struct quiet_load {
	const struct gateway *gateway;
	struct snapshot *snapshot;
};

static void *
load_quietly(void *arg)
{
	struct quiet_load *q = arg;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), LOAD_NICE);
	q->snapshot = load(q->gateway);
	return NULL;
}

static struct snapshot *
load_beside(const struct gateway *g)
{
	struct quiet_load q = { .gateway = g };
	sigset_t all, before;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, load_quietly, &q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return load(g);
	pthread_join(thread, NULL);
	return q.snapshot;
}

static void
reload(struct gateway *g)
{
	struct snapshot *s = load_beside(g);

	if (s == NULL || !tls_load(g, s)) {
		snapshot_unref(s);
		reap_snapshots(g);
		kb_error(NULL, "configuration refused, the old one stays",
		    KB_S("file", g->config->config_file));
		reload_count(false);
		return;
	}
	gateway_adopt(g, s);
	reload_count(true);
	kb_info(NULL, "configuration loaded", KB_N("services", s->n_services),
	    KB_N("routes", s->n_routes), KB_S("hash", s->hash));
}

/* ---- the end ---------------------------------------------------------------
 */

static struct timeval
timeval_of(int64_t ms)
{
	return (struct timeval) { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };
}

static void
look_drained(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	if (loops_drained(&p->gateway) && !successor_is_guarded(p))
		event_base_loopbreak(p->base);
}

static void
drain(struct process *p, int64_t ms, int64_t idle_ms)
{
	struct timeval every = timeval_of(DRAIN_LOOK_MS);

	evtimer_del(p->drain_delay);
	loops_drain(&p->gateway, ms, idle_ms);
	event_add(p->drain_look, &every);
}

static void
on_drain_delay(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	drain(p, p->gateway.common->drain_ms, END_IDLE_MS);
}

/* Load balancers look at /ready, which says no from here on. */
static void
stop_first(struct process *p)
{
	struct timeval delay = timeval_of(p->gateway.config->drain_delay_ms);

	kb_info(NULL, "draining",
	    KB_N("delayMs", p->gateway.config->drain_delay_ms),
	    KB_N("limitMs", p->gateway.common->drain_ms));
	notify_supervisor("STOPPING=1");
	if (p->successor.pid > 0 && !p->successor.up)
		kill(p->successor.pid, SIGTERM);
	p->gateway.draining = true;
	evtimer_add(p->drain_delay, &delay);
}

void
process_stop(struct process *p)
{
	bool again = p->ending;

	p->ending = true;
	if (successor_is_guarded(p))
		kill(p->successor.pid, SIGTERM);
	if (again) {
		kb_warn(NULL, "ending at once");
		drain(p, 0, 0);
	} else if (!p->gateway.draining)
		stop_first(p);
}

void
process_give_way(struct process *p)
{
	p->gateway.draining = true;
	internal_drain(p->internal, UPGRADE_IDLE_MS);
	drain(p, p->gateway.common->drain_ms, UPGRADE_IDLE_MS);
}

/* ---- signals ---------------------------------------------------------------
 */

static void
on_reload(evutil_socket_t fd, short what, void *arg)
{
	struct process *p = arg;

	(void)fd;
	(void)what;
	p->successor.reload = true;
	reload(&p->gateway);
}

static void
on_let_go(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	reap_snapshots(arg);
}

static void
reap(struct process *p)
{
	int status;

	if (p->child > 0 && waitpid(p->child, &status, WNOHANG) == p->child) {
		p->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		p->child = 0;
		process_stop(p);
	}
	(void)successor_reap(p);
}

static void
on_signal(evutil_socket_t number, short what, void *arg)
{
	struct process *p = arg;

	(void)what;
	switch (number) {
	case SIGCHLD: reap(p); break;
	case SIGHUP:
	case SIGUSR2:
		if (successor_is_guarded(p))
			kill(p->successor.pid, number);
		else if (number == SIGUSR2)
			successor_start(p);
		else /* as many as came at once are one */
			event_active(p->reload, EV_TIMEOUT, 0);
		break;
	default: process_stop(p);
	}
}

static void
on_file(void *arg)
{
	struct process *p = arg;

	if (!successor_is_guarded(p))
		event_active(p->reload, EV_TIMEOUT, 0);
}

static void
watch_signals(struct process *p)
{
	static const int numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP, SIGUSR2,
		SIGCHLD };

	for (size_t i = 0; i < SIGNALS; i++) {
		p->signals[i] = evsignal_new(p->base, numbers[i], on_signal, p);
		event_add(p->signals[i], NULL);
	}
	p->reload = event_new(p->base, -1, 0, on_reload, p);
	p->let_go = event_new(p->base, p->gateway.reap_fd, EV_READ | EV_PERSIST,
	    on_let_go, &p->gateway);
	event_add(p->let_go, NULL);
	p->drain_delay = evtimer_new(p->base, on_drain_delay, p);
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

/* ---- running
 * ------------------------------------------------------------------------ */

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

/*
 * Who is handed the sockets must not accept before it can serve: the keys of
 * the issuers are there first. The process before ends the wait with us.
 */
static bool
wait_for_keys(const struct process *p)
{
	const struct gateway *g = &p->gateway;
	struct timeval pause = timeval_of(KEYS_LOOK_MS);
	int64_t end = kb_mono_ms() + g->config->upgrade_ms * 3 / 4;

	while (!verifiers_ready()) {
		if (kb_mono_ms() > end) {
			sockets_tell(
			    g->sockets, "the keys of an issuer cannot be had");
			return false;
		}
		event_base_loopexit(p->base, &pause);
		event_base_dispatch(p->base);
	}
	return true;
}

static bool
start(struct process *p, const char **why)
{
	struct gateway *g = &p->gateway;

	watch_signals(p);
	sessions_init();
	if (g->config->config_watch)
		p->watch = watch_start(
		    g->config->config_file, p->base, on_file, p);
	p->internal = internal_start(g, p->base, why);
	if (p->internal == NULL || !tls_prepare(g, why) || !loops_start(g, why))
		return false;
	sockets_close_rest(g->sockets);
	return true;
}

static void
started(struct process *p, struct kb_arena *a, bool successor)
{
	struct gateway *g = &p->gateway;
	const char *command = p->launch->command;

	kb_info(NULL, "listening", KB_S("address", g->common->listen),
	    KB_N("port", g->port), KB_N("tlsPort", g->tls_port),
	    KB_N("adminPort", internal_port(p->internal)),
	    KB_N("workers", g->n_loops), KB_N("routes", g->snapshot->n_routes),
	    KB_N("pid", getpid()));
	(void)pid_file_write(g->config->pid_file);
	sockets_tell(g->sockets, NULL);
	notify_supervisor("READY=1");
	if (command == NULL || successor)
		return;
	if (!captive_spawn(p, a, command)) {
		p->status = 1;
		process_stop(p);
	}
}

static int
serve(struct process *p, struct kb_arena *a)
{
	struct gateway *g = &p->gateway;
	bool successor = sockets_are_handed_over(g->sockets);
	const char *why = "";

	if (successor && !wait_for_keys(p))
		return 1;
	if (!start(p, &why)) {
		sockets_tell(g->sockets, why);
		fprintf(stderr, "gateway: cannot listen: %s\n", why);
		return 1;
	}
	started(p, a, successor);
	event_base_dispatch(p->base);
	loops_join(g);
	pid_file_remove(g->config->pid_file);
	return p->status;
}

static void
finish(struct process *p)
{
	struct event *const others[] = { p->reload, p->let_go, p->drain_delay,
		p->drain_look };
	struct gateway *g = &p->gateway;

	internal_stop(p->internal);
	watch_stop(p->watch);
	prober_free(p->gateway.prober);
	successor_free(p);
	for (size_t i = 0; i < SIGNALS; i++)
		if (p->signals[i])
			event_free(p->signals[i]);
	for (size_t i = 0; i < KB_COUNT(others); i++)
		if (others[i])
			event_free(others[i]);
	event_base_free(p->base);
	reap_snapshots(g);
	snapshot_unref(g->held);
	snapshot_unref(g->snapshot);
	close(g->reap_fd);
	oidc_clients_stop();
	verifiers_stop();
	counters_forget();
	redis_forget();
	health_free(g->health);
	resolver_free(g->resolver);
	kb_tls_server_unref(g->tls);
	exporters_stop(EXPORT_MS);
}

/* Options and file are good: what needs them is made. */
static void
assemble(struct process *p, struct kb_arena *a)
{
	struct gateway *g = &p->gateway;

	g->resolver = resolver_new();
	resolver_start(g->resolver);
	g->loaded_ms = kb_wall_ms();
	g->trusted = kb_networks_of(a, g->config->trusted);
	g->health = health_new(g->resolver);
	metrics_register(g);
	reload_metric_register();
	g->kong_headers = kong_headers_of(g->config->kong_headers);
	redis_register();
	counters_register();
	resolver_register();
	health_view_register(g);
	p->base = event_base_new();
	if (p->base == NULL)
		kb_fatal("cannot make an event loop");
	g->prober = prober_new(p->base, g->health);
	g->reap_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->reap_fd < 0)
		kb_fatal("cannot make an eventfd");
	activate(g, g->snapshot);
	resolver_wait(g->resolver, START_DNS_MS);
	hold(g, g->snapshot);
}

int
gateway_run(struct settings *s, struct kb_arena *a, const struct launch *launch)
{
	struct process p = {
		.gateway = { .common = &s->common,
		    .config = &s->config,
		    .env = launch->env,
		    .arena = a,
		    .sockets = launch->sockets },
		.launch = launch,
		.successor = { .fd = -1 },
	};
	struct gateway *g = &p.gateway;
	int status;

	signal(SIGPIPE, SIG_IGN);
	if (launch->command != NULL)
		captive_prepare(s);
	if (launch->command != NULL && sockets_are_handed_over(g->sockets))
		captive_follow_parent();
	draw_secret(s);
	raise_descriptors();
	g->port = (int)s->common.port;
	g->snapshot = load(g);
	if (g->snapshot == NULL || !tls_load(g, g->snapshot)) {
		sockets_tell(g->sockets, "its configuration is refused");
		snapshot_unref(g->snapshot);
		return 1;
	}
	assemble(&p, a);
	status = serve(&p, a);
	finish(&p);
	return status;
}
