/*
 * Asks targets how they are: one prober for the process, on the main loop,
 * each address at its own slightly varied times so that they do not all ask
 * at once. Also brings targets back that nobody probes.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { LOOK_MS = 1000, SOON_MS = 20, HEAD_MAX = 16 * 1024 };

struct prober {
	struct event_base *base;
	struct health *health;
	struct snapshot *snapshot;
	struct kb_client *client;
	struct event *timer;
	struct probe *running;
};

/* One question under way. */
struct probe {
	struct prober *prober;
	const struct upstream *upstream;
	const struct instance *instance; /* NULL: a target of the file */
	struct seat *seat;
	struct spot *spot;
	struct kb_call *call;
	struct event *connecting; /* tcp */
	int fd;
	struct probe *next;
};

static int64_t
random_below(int64_t n)
{
	uint32_t r;

	if (n <= 0)
		return 0;
	kb_random(&r, sizeof(r));
	return r % n;
}

/* ---- the end of a probe ----------------------------------------------------
 */

static void
probe_free(struct probe *p)
{
	struct probe **at = &p->prober->running;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->spot->probe = NULL;
	if (p->call)
		kb_call_cancel(p->call);
	if (p->connecting)
		event_free(p->connecting);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

static void
probe_report(struct probe *p, enum health_event what, int status)
{
	const struct side *side = &p->upstream->checks->active;

	if (status)
		health_status(p->seat, p->spot, side, status);
	else
		health_report(p->seat, p->spot, &side->limits, what, 0);
	probe_free(p);
}

/* ---- http
 * -------------------------------------------------------------------- */

static void
on_head(struct kb_call *call, const struct kb_http1_head *h, const char *bytes)
{
	(void)bytes;
	/* The status is all; the rest of the answer is not waited for. */
	probe_report(kb_call_user(call), SUCCESS, h->status);
}

static void
on_body(struct kb_call *call, const char *data, size_t len)
{
	(void)call;
	(void)data;
	(void)len;
}

static void
on_writable(struct kb_call *call)
{
	(void)call;
}

static void
on_done(struct kb_call *call)
{
	struct probe *p = kb_call_user(call);

	p->call = NULL;
	probe_free(p);
}

static void
on_fail(
    struct kb_call *call, enum kb_call_error error, bool sent, bool answered)
{
	struct probe *p = kb_call_user(call);

	(void)sent;
	(void)answered;
	p->call = NULL;
	probe_report(p, error == KB_CALL_TIMEOUT ? FAIL_TIMEOUT : FAIL_TCP, 0);
}

static const struct kb_call_ops http_ops = {
	.on_head = on_head,
	.on_body = on_body,
	.on_writable = on_writable,
	.on_done = on_done,
	.on_fail = on_fail,
};

static void
host_value(struct kb_buf *out, const struct probe *p)
{
	if (p->instance)
		kb_buf_adds(out, p->instance->authority);
	else if (p->upstream->host_header)
		kb_buf_adds(out, p->upstream->host_header);
	else
		kb_buf_addf(out, "%s:%d", p->seat->host, p->seat->port);
}

static struct kb_origin *
origin_of(const struct probe *p, const struct peer_address *a)
{
	const struct sockaddr *sa = (const struct sockaddr *)&a->addr;
	struct kb_tls_client *tls = p->upstream->probe_tls;
	const char *name = p->upstream->probe_name;

	if (p->instance) {
		tls = p->instance->tls ? p->prober->snapshot->instance_tls
				       : NULL;
		name = NULL;
	}
	if (tls == NULL)
		return kb_client_origin(p->prober->client, sa, a->len);
	return kb_client_origin_tls(
	    p->prober->client, sa, a->len, tls, name ? name : p->seat->host);
}

static void
ask_http(struct probe *p, const struct peer_address *a)
{
	const struct checks *c = p->upstream->checks;
	struct kb_origin *origin = origin_of(p, a);
	struct kb_buf head;

	kb_buf_init(&head, HEAD_MAX);
	kb_buf_addf(&head, "GET %s HTTP/1.1\r\nHost: ", c->path);
	host_value(&head, p);
	kb_buf_addf(&head,
	    "\r\nUser-Agent: kombify-gateway\r\n%sConnection: close\r\n\r\n",
	    c->headers);
	p->call = kb_call_start(&(struct kb_call_conf) {
	    .origin = origin,
	    .ops = &http_ops,
	    .user = p,
	    .method = KB_M_GET,
	    .head = head.ptr,
	    .head_len = head.len,
	    .connect_ms = c->timeout_ms,
	    .write_ms = c->timeout_ms,
	    .read_ms = c->timeout_ms,
	    .total_ms = c->timeout_ms,
	});
	kb_origin_unref(origin);
	kb_buf_free(&head);
}

/* ---- tcp
 * ---------------------------------------------------------------------- */

static void
on_connected(evutil_socket_t fd, short what, void *arg)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (what & EV_TIMEOUT) {
		probe_report(arg, FAIL_TIMEOUT, 0);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	probe_report(arg, error ? FAIL_TCP : SUCCESS, 0);
}

static void
ask_tcp(struct probe *p, const struct peer_address *a)
{
	int64_t ms = p->upstream->checks->timeout_ms;
	struct timeval wait = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	p->fd = socket(
	    a->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0 ||
	    (connect(p->fd, (const struct sockaddr *)&a->addr, a->len) != 0 &&
		errno != EINPROGRESS)) {
		/* No socket left is our trouble, not the target's. */
		if (p->fd < 0)
			probe_free(p);
		else
			probe_report(p, FAIL_TCP, 0);
		return;
	}
	p->connecting = event_new(
	    p->prober->base, p->fd, EV_WRITE, on_connected, p);
	event_add(p->connecting, &wait);
}

/* ---- when
 * ----------------------------------------------------------------------- */

/* What is probed: a target, or an instance of its upstream. */
struct probed {
	const struct upstream *u;
	struct seat *seat;
	const struct instance *instance;
};

static void
probe_start(struct prober *pr, const struct probed *what, struct spot *spot,
    const struct peer_address *a)
{
	const struct upstream *u = what->u;
	struct probe *p = kb_xalloc(sizeof(*p));

	*p = (struct probe) {
		.prober = pr,
		.upstream = u,
		.instance = what->instance,
		.seat = what->seat,
		.spot = spot,
		.fd = -1,
		.next = pr->running,
	};
	pr->running = p;
	spot->probe = p;
	if (u->checks->tcp)
		ask_tcp(p, a);
	else
		ask_http(p, a);
}

static int64_t
interval_of(const struct checks *c, const struct spot *spot)
{
	return health_is_healthy(atomic_load(&spot->state)) ? c->healthy_ms
							    : c->unhealthy_ms;
}

/* When it is due; INT64_MAX: never. */
static int64_t
due(const struct checks *c, struct spot *spot, int64_t now)
{
	int64_t every = interval_of(c, spot);

	if (every == 0 || spot->probe != NULL)
		return INT64_MAX;
	if (spot->probed_ms == 0) {
		spot->probed_ms = now - every;
		spot->jitter_ms = random_below(
		    every < LOOK_MS ? every : LOOK_MS);
	}
	return spot->probed_ms + every + spot->jitter_ms;
}

static void
bring_back(const struct upstream *u, const struct seat *seat, struct spot *spot,
    int64_t now)
{
	const struct checks *c = u->checks;

	if (c->returns && !health_is_healthy(atomic_load(&spot->state)) &&
	    atomic_load(&spot->changed_ms) + c->return_ms <= now)
		health_report(seat, spot, &c->passive.limits, RETURN, 0);
}

static size_t
running(const struct prober *pr, const struct upstream *u)
{
	size_t n = 0;

	for (const struct probe *p = pr->running; p != NULL; p = p->next)
		n += p->upstream == u;
	return n;
}

/* Starts what is due; the earliest time at which something will be. */
static int64_t
look_at(struct prober *pr, const struct probed *what, int64_t now)
{
	const struct upstream *u = what->u;
	struct seat *seat = what->seat;
	struct peer_address list[PEER_ADDRESSES];
	struct spot *spots[PEER_ADDRESSES];
	unsigned generation;
	size_t n = health_spots(pr->health, seat, spots, list, &generation);
	int64_t next = now + LOOK_MS;

	for (size_t i = 0; i < n; i++) {
		int64_t at, every;

		bring_back(u, seat, spots[i], now);
		at = due(u->checks, spots[i], now);
		if (at > now) {
			next = at < next ? at : next;
			continue;
		}
		if (running(pr, u) >= (size_t)u->checks->concurrency) {
			next = now + SOON_MS;
			continue;
		}
		every = interval_of(u->checks, spots[i]);
		spots[i]->probed_ms = now;
		spots[i]->jitter_ms = random_below(every / 10) - every / 20;
		probe_start(pr, what, spots[i], &list[i]);
	}
	return next;
}

static const struct upstream *
upstream_named(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_upstreams; i++)
		if (kb_str_eq(s->upstreams[i]->name, name))
			return s->upstreams[i];
	return NULL;
}

static int64_t
look_at_instances(struct prober *pr, int64_t now, int64_t next)
{
	struct instance *const *instances;
	size_t n = health_instances(pr->health, &instances);

	for (size_t i = 0; i < n; i++) {
		const struct upstream *u = upstream_named(
		    pr->snapshot, instances[i]->upstream);
		int64_t at;

		if (u == NULL || u->checks == NULL ||
		    !instance_is_used(instances[i], now))
			continue;
		at = look_at(pr,
		    &(struct probed) { u, instances[i]->seat, instances[i] },
		    now);
		next = at < next ? at : next;
	}
	return next;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct prober *pr = arg;
	int64_t now = kb_mono_ms(), next = now + LOOK_MS, ms;
	struct timeval after;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < pr->snapshot->n_upstreams; i++) {
		const struct upstream *u = pr->snapshot->upstreams[i];

		for (size_t j = 0; u->checks != NULL && j < u->n; j++) {
			int64_t at = look_at(pr,
			    &(struct probed) { u, u->targets[j].seat, NULL },
			    now);

			next = at < next ? at : next;
		}
	}
	next = look_at_instances(pr, now, next);
	ms = next - kb_mono_ms();
	ms = ms < SOON_MS ? SOON_MS : ms;
	after = (struct timeval) { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };
	event_add(pr->timer, &after);
}

/* ---- life
 * ------------------------------------------------------------------------ */

struct prober *
prober_new(struct event_base *base, struct health *h)
{
	struct prober *pr = kb_xalloc(sizeof(*pr));

	*pr = (struct prober) { .base = base, .health = h };
	pr->client = kb_client_new(&(struct kb_client_conf) {
	    .base = base,
	    .idle_per_origin = 1,
	    .idle_ms = 1,
	});
	pr->timer = evtimer_new(base, on_timer, pr);
	return pr;
}

static void
stop_running(struct prober *pr)
{
	while (pr->running)
		probe_free(pr->running);
}

static bool
checks_some(const struct snapshot *s)
{
	for (size_t i = 0; i < s->n_upstreams; i++)
		if (s->upstreams[i]->checks)
			return true;
	return false;
}

void
prober_use(struct prober *pr, struct snapshot *s)
{
	struct timeval now = { 0 };

	stop_running(pr);
	snapshot_unref(pr->snapshot);
	pr->snapshot = snapshot_ref(s);
	event_del(pr->timer);
	if (checks_some(s))
		event_add(pr->timer, &now);
}

void
prober_free(struct prober *pr)
{
	if (pr == NULL)
		return;
	stop_running(pr);
	event_free(pr->timer);
	kb_client_free(pr->client);
	snapshot_unref(pr->snapshot);
	free(pr);
}
