/*
 * Which address takes the next request of a service: targets in turn by
 * their weight, addresses of a target in turn. An address that refused a
 * connection is passed over for a second, unless all did.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/time.h>

#include "inside.h"

enum { DOWN_MS = 1000 };

static void
refresh(struct loop *l, struct peer *p, struct origin_set *set)
{
	struct peer_address list[PEER_ADDRESSES];
	size_t n = resolver_addresses(
	    l->gateway->resolver, p, list, &set->generation);

	for (size_t i = 0; i < n; i++) {
		set->origins[i] = kb_client_origin(l->client,
		    (const struct sockaddr *)&list[i].addr, list[i].len);
		set->down_until_ms[i] = 0;
	}
	set->n = n;
}

static struct origin_set *
origins_of(struct loop *l, struct peer *p)
{
	struct origin_set *set;

	if (p->index >= l->n_origins) {
		size_t n = p->index + 64;

		l->origins = kb_xrealloc(l->origins, n * sizeof(*l->origins));
		memset(l->origins + l->n_origins, 0,
		    (n - l->n_origins) * sizeof(*l->origins));
		l->n_origins = n;
	}
	set = l->origins[p->index];
	if (set == NULL) {
		set = kb_xalloc(sizeof(*set));
		memset(set, 0, sizeof(*set));
		l->origins[p->index] = set;
	}
	if (set->n == 0 ||
	    set->generation !=
		atomic_load_explicit(&p->generation, memory_order_acquire))
		refresh(l, p, set);
	return set;
}

/* An address of the set that is not down at `now`; n if there is none. */
static size_t
address_up(struct origin_set *set, int64_t now)
{
	for (size_t i = 0; i < set->n; i++) {
		size_t at = (set->turn + i) % set->n;

		if (set->down_until_ms[at] <= now) {
			set->turn = at + 1;
			return at;
		}
	}
	return set->n;
}

static size_t
turn_of(const struct local *local, const struct upstream *u)
{
	return u->wheel_n > 1 ? local->turns[u->index]++ % u->wheel_n : 0;
}

struct kb_origin *
balancer_pick(struct loop *l, struct local *local, const struct service *s,
    struct origin_set **set, size_t *at)
{
	const struct upstream *u = s->upstream;
	int64_t now = kb_mono_ms();
	struct origin_set *last = NULL;
	size_t turn = u->wheel_n ? turn_of(local, u) : 0;

	for (size_t i = 0; i < u->wheel_n; i++) {
		size_t index = u->wheel[(turn + i) % u->wheel_n];
		struct origin_set *o = origins_of(l, u->targets[index].peer);

		if (o->n == 0)
			continue;
		*at = address_up(o, now);
		if (*at < o->n) {
			*set = o;
			return o->origins[*at];
		}
		last = o;
	}
	if (last == NULL)
		return NULL;
	*set = last;
	*at = last->turn++ % last->n;
	return last->origins[*at];
}

void
balancer_failed(struct origin_set *set, size_t at)
{
	if (at < set->n)
		set->down_until_ms[at] = kb_mono_ms() + DOWN_MS;
}

void
balancer_worked(struct origin_set *set, size_t at)
{
	if (at < set->n)
		set->down_until_ms[at] = 0;
}

bool
balancer_has_other(struct loop *l, struct local *local, const struct service *s)
{
	const struct upstream *u = s->upstream;
	int64_t now = kb_mono_ms();

	(void)local;
	for (size_t i = 0; i < u->n; i++) {
		struct origin_set *o = origins_of(l, u->targets[i].peer);

		for (size_t j = 0; j < o->n; j++)
			if (o->down_until_ms[j] <= now && u->targets[i].weight)
				return true;
	}
	return false;
}
