/*
 * Health as operators see it: /upstreams/NAME/health in Kong's shape with the
 * reason added, targets set healthy or not by hand, and the metrics.
 */
#include <stdio.h>
#include <string.h>

#include <kombi/id.h>
#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { TEXT_MAX = 8 << 20 };

/* In the order of spot.series. */
enum target_state { OFF, HEALTHY, UNHEALTHY, DNS_ERROR };

static const char *const state_labels[TARGET_STATES] = { "healthchecks_off",
	"healthy", "unhealthy", "dns_error" };
static const char *const state_names[TARGET_STATES] = { "HEALTHCHECKS_OFF",
	"HEALTHY", "UNHEALTHY", "DNS_ERROR" };

/* ---- metrics ----------------------------------------------------------------
 */

static struct kb_metric target_health = {
	.kind = KB_GAUGE,
	.name = "kong_upstream_target_health",
	.help = "1 for the state that an address of a target is in",
	.labels = { "upstream", "target", "address", "state", "subsystem" },
};

static struct kb_metric panic = {
	.kind = KB_COUNTER,
	.name = "kong_upstream_panic_total",
	.help = "Requests sent although no target was healthy",
	.labels = { "upstream" },
};

void
health_count_panic(const struct upstream *u)
{
	const char *const labels[KB_METRIC_LABELS] = { u->name };

	kb_series_add(kb_metric_series(&panic, labels), 1);
}

static enum target_state
state_of(const struct upstream *u, const struct spot *p)
{
	if (u->checks == NULL)
		return OFF;
	return spot_is_healthy(u, p) ? HEALTHY : UNHEALTHY;
}

static void
set_state(struct kb_series *series[], const struct seat *seat,
    const char *address, enum target_state state)
{
	char target[300];

	snprintf(target, sizeof(target), "%s:%d", seat->host, seat->port);
	if (series[state] == NULL) {
		const char *const labels[KB_METRIC_LABELS] = { seat->upstream,
			target, address, state_labels[state], "http" };

		series[state] = kb_metric_series(&target_health, labels);
	}
	kb_series_set(series[state], 1);
}

static void
collect_target(struct health *h, const struct upstream *u, struct seat *seat)
{
	struct peer_address list[PEER_ADDRESSES];
	struct spot *spots[PEER_ADDRESSES];
	unsigned generation;
	size_t n = health_spots(h, seat, spots, list, &generation);

	if (n == 0)
		set_state(seat->series, seat, "", DNS_ERROR);
	for (size_t i = 0; i < n; i++)
		set_state(spots[i]->series, seat, spots[i]->text,
		    state_of(u, spots[i]));
}

static bool
is_target(const struct upstream *u, const struct seat *seat)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->targets[i].seat == seat)
			return true;
	return false;
}

/* The instances of an upstream that are in use and no target of its own. */
static struct seat *
next_instance(const struct gateway *g, const struct upstream *u, size_t *at)
{
	struct instance *const *all;
	size_t n = health_instances(g->health, &all);

	while (*at < n) {
		struct instance *one = all[(*at)++];

		if (kb_str_eq(one->upstream, u->name) &&
		    !is_target(u, one->seat) &&
		    instance_is_used(one, kb_mono_ms()))
			return one->seat;
	}
	return NULL;
}

static void
collect(void *arg)
{
	struct gateway *g = arg;
	const struct snapshot *s = g->snapshot;

	health_clear_series(g->health);
	for (size_t i = 0; i < s->n_upstreams; i++) {
		const struct upstream *u = s->upstreams[i];
		struct seat *seat;
		size_t at = 0;

		for (size_t j = 0; j < u->n; j++)
			collect_target(g->health, u, u->targets[j].seat);
		while ((seat = next_instance(g, u, &at)) != NULL)
			collect_target(g->health, u, seat);
	}
}

void
health_view_register(struct gateway *g)
{
	kb_metric_register(&target_health);
	kb_metric_register(&panic);
	kb_metrics_collector(collect, g);
}

/* ---- GET /upstreams/NAME/health
 * ------------------------------------------------ */

struct view {
	struct kb_jsonw w;
	struct gateway *g;
	const struct upstream *u;
	int64_t good, total; /* weights */
};

static void
write_id(struct kb_jsonw *w, const char *name, const char *of)
{
	char id[KB_UUID_SIZE];

	kb_uuid5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", of, id);
	kb_w_str(w, name, id);
}

static void
write_reason(struct view *v, struct spot *p)
{
	uint64_t state = atomic_load(&p->state);
	int64_t age = kb_mono_ms() - atomic_load(&p->changed_ms);
	char why[48], since[KB_RFC3339_SIZE];

	health_reason(state, why);
	kb_rfc3339(kb_wall_ms() - age, since);
	kb_w_opt(&v->w, "reason", why[0] ? why : NULL);
	kb_w_str(&v->w, "since", since);
	kb_w_object(&v->w, "counters");
	kb_w_int(&v->w, "success", health_count(state, SUCCESS));
	kb_w_int(&v->w, "http_failure", health_count(state, FAIL_HTTP));
	kb_w_int(&v->w, "tcp_failure", health_count(state, FAIL_TCP));
	kb_w_int(&v->w, "timeout_failure", health_count(state, FAIL_TIMEOUT));
	kb_w_object_end(&v->w);
}

static void
write_address(struct view *v, const struct target *t, struct spot *p)
{
	const char *colon = strrchr(p->text, ':');
	struct kb_slice ip = { p->text, (size_t)(colon - p->text) };
	enum target_state state = state_of(v->u, p);

	v->total += t->weight;
	if (state != UNHEALTHY)
		v->good += t->weight;
	kb_w_object(&v->w, NULL);
	kb_w_slice(&v->w, "ip", ip);
	kb_w_int(&v->w, "port", t->port);
	kb_w_int(&v->w, "weight", t->weight);
	kb_w_str(&v->w, "health", state_names[state]);
	write_reason(v, p);
	kb_w_object_end(&v->w);
}

static void
write_weight(struct view *v, int64_t available, int64_t total)
{
	kb_w_object(&v->w, "weight");
	kb_w_int(&v->w, "total", total);
	kb_w_int(&v->w, "available", available);
	kb_w_int(&v->w, "unavailable", total - available);
	kb_w_object_end(&v->w);
}

static void
write_data(
    struct view *v, const struct target *t, struct spot *spots[], size_t n)
{
	int64_t good = v->good, total = v->total;

	kb_w_object(&v->w, "data");
	kb_w_str(&v->w, "host", t->host);
	kb_w_int(&v->w, "port", t->port);
	kb_w_int(&v->w, "nodeWeight", t->weight);
	kb_w_array(&v->w, "addresses");
	for (size_t i = 0; i < n; i++)
		write_address(v, t, spots[i]);
	kb_w_array_end(&v->w);
	write_weight(v, v->good - good, v->total - total);
	kb_w_object_end(&v->w);
}

static void
write_target(struct view *v, const struct target *t)
{
	struct peer_address list[PEER_ADDRESSES];
	struct spot *spots[PEER_ADDRESSES];
	unsigned generation;
	char name[300];
	size_t n = health_spots(
	    v->g->health, t->seat, spots, list, &generation);
	enum target_state state = n ? UNHEALTHY : DNS_ERROR;

	/* One good address is enough for a target. */
	for (size_t i = 0; i < n; i++)
		if (state_of(v->u, spots[i]) != UNHEALTHY)
			state = state_of(v->u, spots[i]);
	snprintf(name, sizeof(name), "%s:%d", t->host, t->port);
	kb_w_object(&v->w, NULL);
	write_id(&v->w, "id", name);
	kb_w_str(&v->w, "target", name);
	kb_w_int(&v->w, "weight", t->weight);
	kb_w_str(&v->w, "health", state_names[state]);
	kb_w_opt(&v->w, "dns_error", peer_problem(t->seat->peer));
	kb_w_object(&v->w, "upstream");
	write_id(&v->w, "id", v->u->name);
	kb_w_object_end(&v->w);
	write_data(v, t, spots, n);
	kb_w_object_end(&v->w);
}

/* What the balancer makes of it, see balancer.c. */
static void
write_balancer(struct view *v)
{
	const struct checks *c = v->u->checks;
	int64_t percent = v->total ? v->good * 100 / v->total : 0;
	int64_t threshold = c && c->threshold >= 0 ? c->threshold : 0;
	bool up = percent > threshold;

	kb_w_object(&v->w, "balancer");
	kb_w_str(&v->w, "health",
	    c == NULL ? "HEALTHCHECKS_OFF"
		: up  ? "HEALTHY"
		      : "UNHEALTHY");
	kb_w_bool(&v->w, "panic", c != NULL && c->threshold < 0 && !up);
	write_weight(v, v->good, v->total);
	kb_w_object_end(&v->w);
}

static void
show(struct kb_exchange *ex, struct gateway *g, const struct upstream *u)
{
	static const char lines[] = "Content-Type: application/json\r\n";
	struct view v = { .g = g, .u = u };
	struct seat *seat;
	struct kb_buf b;
	size_t at = 0;

	kb_buf_init(&b, TEXT_MAX);
	kb_w_init(&v.w, &b);
	kb_w_object(&v.w, NULL);
	kb_w_array(&v.w, "data");
	for (size_t i = 0; i < u->n; i++)
		write_target(&v, &u->targets[i]);
	/* Instances are reached for their tenants alone: without a weight. */
	while ((seat = next_instance(g, u, &at)) != NULL)
		write_target(
		    &v, &(struct target) { seat->host, seat->port, 0, seat });
	kb_w_array_end(&v.w);
	kb_w_null(&v.w, "next");
	write_balancer(&v);
	kb_w_object_end(&v.w);
	kb_ex_answer(ex, 200, lines, sizeof(lines) - 1, b.ptr, b.len);
	kb_buf_free(&b);
}

/* ---- PUT /upstreams/NAME/targets/HOST:PORT/healthy
 * ---------------------------- */

static bool
set_by_hand(struct gateway *g, const struct upstream *u, struct kb_slice name,
    bool healthy)
{
	static const struct limits none = { 0 };
	struct peer_address list[PEER_ADDRESSES];
	struct spot *spots[PEER_ADDRESSES];
	unsigned generation;
	char text[300];

	for (size_t i = 0; i < u->n; i++) {
		struct seat *seat = u->targets[i].seat;
		size_t n;

		snprintf(text, sizeof(text), "%s:%d", seat->host, seat->port);
		if (!kb_slice_eq(name, text))
			continue;
		n = health_spots(g->health, seat, spots, list, &generation);
		for (size_t j = 0; j < n; j++)
			health_report(seat, spots[j], &none, BY_HAND, healthy);
		return true;
	}
	return false;
}

static void
put_target(struct kb_exchange *ex, struct gateway *g, const struct upstream *u,
    struct kb_slice rest)
{
	struct kb_slice name = { NULL, 0 };
	const struct entity *e;
	bool healthy;

	(void)kb_slice_next(&rest, '/', &name);
	e = document_find(g->snapshot->document, KIND_TARGET,
	    kb_slice_dup(kb_ex_arena(ex), name));
	if (e != NULL)
		name = kb_slice_of(e->name);
	healthy = kb_slice_eq(rest, "healthy");
	if (!healthy && !kb_slice_eq(rest, "unhealthy"))
		kb_ex_fail(ex, KB_NOT_FOUND, NULL, NULL, NULL);
	else if (kb_ex_head(ex)->method != KB_M_PUT &&
	    kb_ex_head(ex)->method != KB_M_POST)
		kb_ex_fail(ex, KB_METHOD, NULL, NULL, "Allow: PUT, POST\r\n");
	else if (u->checks == NULL)
		kb_ex_fail(ex, KB_CONFLICT, "The upstream has no health checks",
		    NULL, NULL);
	else if (!set_by_hand(g, u, name, healthy))
		kb_ex_fail(ex, KB_NOT_FOUND, NULL, NULL, NULL);
	else
		kb_ex_answer(ex, 204, "", 0, NULL, 0);
}

static bool
is_for_health(struct kb_slice path)
{
	static const char *const ends[] = { "/healthy", "/unhealthy" };

	for (size_t i = 0; i < KB_COUNT(ends); i++) {
		size_t n = strlen(ends[i]);

		if (path.len > n &&
		    memcmp(path.ptr + path.len - n, ends[i], n) == 0)
			return true;
	}
	return false;
}

/* By name or id. */
static const struct upstream *
find_upstream(const struct snapshot *s, struct kb_slice name)
{
	const struct entities *all = &s->document->of[KIND_UPSTREAM];

	for (size_t i = 0; i < all->n; i++)
		if (kb_slice_eq(name, all->v[i]->name) ||
		    kb_slice_eq(name, all->v[i]->id))
			return all->v[i]->made;
	return NULL;
}

bool
health_view(struct kb_exchange *ex, struct gateway *g)
{
	struct kb_slice rest = kb_ex_path(ex), part = { NULL, 0 };
	enum kb_method m = kb_ex_head(ex)->method;
	const struct upstream *u = NULL;

	(void)kb_slice_next(&rest, '/', &part);
	if (!kb_slice_next(&rest, '/', &part) ||
	    !kb_slice_eq(part, "upstreams") ||
	    !kb_slice_next(&rest, '/', &part))
		return false;
	u = find_upstream(g->snapshot, part);
	if (u == NULL || !kb_slice_next(&rest, '/', &part))
		return false;
	if (kb_slice_eq(part, "targets") && is_for_health(rest)) {
		put_target(ex, g, u, rest);
		return true;
	}
	if (!kb_slice_eq(part, "health") || rest.len)
		return false;
	if (m == KB_M_GET || m == KB_M_HEAD)
		show(ex, g, u);
	else
		kb_ex_fail(ex, KB_METHOD, NULL, NULL, "Allow: GET, HEAD\r\n");
	return true;
}
