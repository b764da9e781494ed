/*
 * The health of targets: a state machine in one word for each address of
 * each target, and the table of them, which outlives every configuration.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

/* ---- the word -------------------------------------------------------------
 * bit 0 unhealthy; from 8 on one byte a counter, in the order of the
 * outcomes; byte 5 the outcome that changed it last, plus one; above that the
 * HTTP status that did.
 */

enum { COUNTER_MAX = 255, WHY_SHIFT = 40, STATUS_SHIFT = 48 };

static const uint64_t UNHEALTHY = 1;

static unsigned
shift_of(enum health_event kind)
{
	return 8 + 8 * (unsigned)kind;
}

bool
health_is_healthy(uint64_t state)
{
	return (state & UNHEALTHY) == 0;
}

unsigned
health_count(uint64_t state, enum health_event kind)
{
	return (unsigned)(state >> shift_of(kind)) & COUNTER_MAX;
}

static uint64_t
with_count(uint64_t state, enum health_event kind, unsigned n)
{
	if (n > COUNTER_MAX)
		n = COUNTER_MAX;
	state &= ~((uint64_t)COUNTER_MAX << shift_of(kind));
	return state | (uint64_t)n << shift_of(kind);
}

static uint64_t
turned(bool healthy, enum health_event what, int status)
{
	return (healthy ? 0 : UNHEALTHY) | ((uint64_t)what + 1) << WHY_SHIFT |
	    ((uint64_t)status & 0xffff) << STATUS_SHIFT;
}

static uint64_t
succeeded(uint64_t s, int status, const struct limits *l)
{
	unsigned n = health_count(s, SUCCESS) + 1;

	for (enum health_event k = FAIL_HTTP; k <= FAIL_TIMEOUT; k++)
		s = with_count(s, k, 0);
	if (health_is_healthy(s))
		return s;
	if (l->successes && n >= l->successes)
		return turned(true, SUCCESS, status);
	return with_count(s, SUCCESS, n);
}

static uint64_t
failed(uint64_t s, enum health_event kind, int status, const struct limits *l)
{
	const unsigned char limit[] = { 0, l->http, l->tcp, l->timeouts };
	unsigned n = health_count(s, kind) + 1;

	if (limit[kind] == 0)
		return s;
	s = with_count(s, SUCCESS, 0);
	if (!health_is_healthy(s))
		return s;
	if (n >= limit[kind])
		return turned(false, kind, status);
	return with_count(s, kind, n);
}

static uint64_t
returned(uint64_t s, const struct limits *l)
{
	if (health_is_healthy(s))
		return s;
	s = turned(true, RETURN, 0);
	s = with_count(s, FAIL_HTTP, l->http ? l->http - 1U : 0);
	s = with_count(s, FAIL_TCP, l->tcp ? l->tcp - 1U : 0);
	return with_count(s, FAIL_TIMEOUT, l->timeouts ? l->timeouts - 1U : 0);
}

uint64_t
health_step(
    uint64_t s, enum health_event what, int status, const struct limits *l)
{
	switch (what) {
	case SUCCESS: return succeeded(s, status, l);
	case RETURN: return returned(s, l);
	case BY_HAND: return turned(status != 0, BY_HAND, 0);
	default: return failed(s, what, status, l);
	}
}

void
health_reason(uint64_t state, char out[48])
{
	static const char *const words[] = { "", "answered", "answered",
		"could not be reached or broke off", "no answer in time",
		"tried again after a while", "set by an operator" };
	unsigned why = (unsigned)(state >> WHY_SHIFT) & 0xff;
	unsigned status = (unsigned)(state >> STATUS_SHIFT);

	if (why >= KB_COUNT(words))
		why = 0;
	if (status)
		snprintf(out, 48, "%s %u", words[why], status);
	else
		snprintf(out, 48, "%s", words[why]);
}

bool
status_has(const struct status_set *set, int status)
{
	return status > 0 && status < 1024 &&
	    (set->bits[status / 64] >> (status % 64) & 1);
}

/* ---- seats
 * -------------------------------------------------------------------
 */

enum { SEAT_BUCKETS = 4096 };

struct health {
	struct resolver *resolver;
	/* covers seats, instances and the spots' names, not their states */
	pthread_mutex_t lock;
	struct seat *buckets[SEAT_BUCKETS];
	size_t n;           /* indexes given out so far */
	size_t *free_index; /* of seats that are gone */
	size_t n_free;
	uint64_t serial;
	unsigned mark;
	struct instance *instances[INSTANCES_MAX];
	atomic_size_t n_instances;
};

struct health *
health_new(struct resolver *r)
{
	struct health *h = kb_xalloc(sizeof(*h));

	*h = (struct health) { .resolver = r };
	pthread_mutex_init(&h->lock, NULL);
	return h;
}

static void
seat_free(struct seat *s)
{
	free(s->upstream);
	free(s->host);
	free(s);
}

void
health_free(struct health *h)
{
	if (h == NULL)
		return;
	for (size_t i = 0; i < SEAT_BUCKETS; i++) {
		struct seat *s = h->buckets[i], *next;

		for (; s != NULL; s = next) {
			next = s->next;
			seat_free(s);
		}
	}
	for (size_t i = 0; i < h->n_instances; i++)
		instance_free(h->instances[i]);
	pthread_mutex_destroy(&h->lock);
	free(h->free_index);
	free(h);
}

static struct seat *
new_seat(struct health *h, const char *upstream, const char *host, int port)
{
	struct seat *s = kb_xalloc(sizeof(*s));

	memset(s, 0, sizeof(*s));
	s->upstream = kb_xstrdup(upstream);
	s->host = kb_xstrdup(host);
	s->port = port;
	s->serial = ++h->serial;
	s->index = h->n_free > 0 ? h->free_index[--h->n_free] : h->n++;
	s->peer = resolver_peer(h->resolver, host, port);
	return s;
}

/* The lock is held. */
static struct seat *
seat_of(struct health *h, const char *upstream, const char *host, int port)
{
	uint64_t key = kb_hash(upstream, strlen(upstream)) * 31 +
	    kb_hash(host, strlen(host)) + (unsigned)port;
	struct seat **bucket = &h->buckets[key % SEAT_BUCKETS], *s;

	for (s = *bucket; s != NULL; s = s->next)
		if (s->port == port && kb_str_eq(s->host, host) &&
		    kb_str_eq(s->upstream, upstream))
			return s;
	s = new_seat(h, upstream, host, port);
	s->next = *bucket;
	*bucket = s;
	return s;
}

struct seat *
health_seat(struct health *h, const char *upstream, const char *host, int port)
{
	struct seat *s;

	pthread_mutex_lock(&h->lock);
	s = seat_of(h, upstream, host, port);
	pthread_mutex_unlock(&h->lock);
	return s;
}

/* ---- instances
 * ------------------------------------------------
 */

struct instance *
health_instance(struct health *h, const char *upstream, const char *endpoint)
{
	struct instance *p = NULL;
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < h->n_instances; i++) {
		p = h->instances[i];
		if (kb_str_eq(p->upstream, upstream) &&
		    kb_str_eq(p->endpoint, endpoint))
			break;
	}
	if (i == h->n_instances) {
		p = i < INSTANCES_MAX ? instance_new(upstream, endpoint) : NULL;
		if (p != NULL) {
			p->seat = seat_of(h, upstream, p->host, p->port);
			h->instances[i] = p;
			atomic_store(&h->n_instances, i + 1);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return p;
}

size_t
health_instances(const struct health *h, struct instance *const **out)
{
	*out = h->instances;
	return atomic_load(&h->n_instances);
}

static void
clear(struct kb_series *const series[])
{
	for (size_t i = 0; i < TARGET_STATES; i++)
		if (series[i])
			kb_series_set(series[i], 0);
}

static void
name_spot(struct spot *p)
{
	const struct sockaddr *sa = (const struct sockaddr *)&p->address.addr;
	const struct sockaddr_in *in = (const void *)&p->address.addr;
	const struct sockaddr_in6 *in6 = (const void *)&p->address.addr;
	char ip[INET6_ADDRSTRLEN] = "";

	if (sa->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(p->text, sizeof(p->text), "[%s]:%d", ip,
		    ntohs(in6->sin6_port));
		return;
	}
	inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
	snprintf(p->text, sizeof(p->text), "%s:%d", ip, ntohs(in->sin_port));
}

/* The spot of an address, or one whose address is gone. There are twice as
 * many as a name may have addresses. */
static struct spot *
match(struct seat *s, const struct peer_address *a)
{
	struct spot *unused = NULL;

	for (size_t i = 0; i < KB_COUNT(s->spots); i++) {
		struct spot *p = &s->spots[i];

		if (p->address.len && memcmp(&p->address, a, sizeof(*a)) == 0)
			return p;
		if (!p->present && (unused == NULL || p->address.len == 0) &&
		    (unused == NULL || unused->address.len))
			unused = p;
	}
	return unused;
}

static void
match_all(struct seat *s, const struct peer_address *list, size_t n)
{
	bool old[KB_COUNT(s->spots)];

	for (size_t i = 0; i < KB_COUNT(s->spots); i++)
		old[i] = s->spots[i].present;
	for (size_t i = 0; i < n; i++) {
		struct spot *p = match(s, &list[i]);

		old[p - s->spots] = false;
		p->present = true;
		if (p->address.len &&
		    memcmp(&p->address, &list[i], sizeof(list[i])) == 0)
			continue;
		p->address = list[i];
		atomic_store(&p->state, 0);
		atomic_store(&p->mean_us, 0);
		atomic_store(&p->changed_ms, kb_mono_ms());
		clear(p->series);
		memset(p->series, 0, sizeof(p->series));
		name_spot(p);
	}
	for (size_t i = 0; i < KB_COUNT(s->spots); i++)
		s->spots[i].present = s->spots[i].present && !old[i];
}

size_t
health_spots(struct health *h, struct seat *s, struct spot *out[PEER_ADDRESSES],
    struct peer_address list[PEER_ADDRESSES], unsigned *generation)
{
	size_t n;

	pthread_mutex_lock(&h->lock);
	n = resolver_addresses(h->resolver, s->peer, list, generation);
	if (!s->matched || s->generation != *generation) {
		match_all(s, list, n);
		s->matched = n > 0;
		s->generation = *generation;
	}
	for (size_t i = 0; i < n; i++)
		out[i] = match(s, &list[i]);
	pthread_mutex_unlock(&h->lock);
	return n;
}

bool
spot_is_healthy(const struct upstream *u, const struct spot *p)
{
	return u->checks == NULL ||
	    health_is_healthy(
		atomic_load_explicit(&p->state, memory_order_relaxed));
}

/* ---- reports
 * -------------------------------------------------------------------
 */

static void
tell(const struct seat *seat, const struct spot *spot, uint64_t state)
{
	char why[48], target[300];

	health_reason(state, why);
	snprintf(target, sizeof(target), "%s:%d", seat->host, seat->port);
	if (health_is_healthy(state))
		kb_info(NULL, "target is healthy",
		    KB_S("upstream", seat->upstream), KB_S("target", target),
		    KB_S("address", spot->text), KB_S("reason", why));
	else
		kb_warn(NULL, "target is unhealthy",
		    KB_S("upstream", seat->upstream), KB_S("target", target),
		    KB_S("address", spot->text), KB_S("reason", why));
}

void
health_report(const struct seat *seat, struct spot *spot,
    const struct limits *l, enum health_event what, int status)
{
	unsigned long long old = atomic_load(&spot->state);
	uint64_t next;

	do {
		next = health_step(old, what, status, l);
		if (next == old)
			return;
	} while (!atomic_compare_exchange_weak(&spot->state, &old, next));
	if (health_is_healthy(old) == health_is_healthy(next))
		return;
	atomic_store(&spot->changed_ms, kb_mono_ms());
	tell(seat, spot, next);
}

void
health_status(const struct seat *seat, struct spot *spot,
    const struct side *side, int status)
{
	if (status_has(&side->unhealthy, status))
		health_report(seat, spot, &side->limits, FAIL_HTTP, status);
	else if (status_has(&side->healthy, status))
		health_report(seat, spot, &side->limits, SUCCESS, status);
}

void
health_clear_series(struct health *h)
{
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < SEAT_BUCKETS; i++)
		for (struct seat *s = h->buckets[i]; s; s = s->next) {
			clear(s->series);
			for (size_t j = 0; j < KB_COUNT(s->spots); j++)
				clear(s->spots[j].series);
		}
	pthread_mutex_unlock(&h->lock);
}

/* ---- a new configuration
 * -------------------------------------------------------
 */

static void
take_seats(struct health *h, const struct upstream *u)
{
	struct peer_address list[PEER_ADDRESSES];
	struct spot *spots[PEER_ADDRESSES];
	unsigned generation;

	for (size_t i = 0; i < u->n; i++) {
		u->targets[i].seat = health_seat(
		    h, u->name, u->targets[i].host, u->targets[i].port);
		(void)health_spots(
		    h, u->targets[i].seat, spots, list, &generation);
	}
}

static void
mark_seats(unsigned mark, const struct upstream *u)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->targets[i].seat != NULL)
			u->targets[i].seat->mark = mark;
}

static void
mark_all(struct health *h, const struct snapshot *s)
{
	for (; s != NULL; s = s->next_held) {
		for (size_t i = 0; i < s->n_upstreams; i++)
			mark_seats(h->mark, s->upstreams[i]);
		for (size_t i = 0; i < s->n_services; i++)
			mark_seats(h->mark, s->services[i]->upstream);
	}
	for (size_t i = 0; i < h->n_instances; i++)
		h->instances[i]->seat->mark = h->mark;
}

static void
remove_seat(struct health *h, struct seat *s)
{
	h->free_index = kb_xrealloc(
	    h->free_index, (h->n_free + 1) * sizeof(*h->free_index));
	h->free_index[h->n_free++] = s->index;
	clear(s->series);
	for (size_t i = 0; i < KB_COUNT(s->spots); i++)
		clear(s->spots[i].series);
	resolver_release(h->resolver, s->peer);
	seat_free(s);
}

void
health_sweep(struct health *h, const struct snapshot *held)
{
	pthread_mutex_lock(&h->lock);
	h->mark++;
	mark_all(h, held);
	for (size_t i = 0; i < SEAT_BUCKETS; i++) {
		struct seat **at = &h->buckets[i];

		while (*at != NULL) {
			struct seat *s = *at;

			if (s->mark == h->mark) {
				at = &s->next;
				continue;
			}
			*at = s->next;
			remove_seat(h, s);
		}
	}
	pthread_mutex_unlock(&h->lock);
}

void
health_activate(struct gateway *g, struct snapshot *s)
{
	for (size_t i = 0; i < s->n_upstreams; i++)
		take_seats(g->health, s->upstreams[i]);
	for (size_t i = 0; i < s->n_services; i++)
		take_seats(g->health, s->services[i]->upstream);
}
