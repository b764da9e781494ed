/*
 * Who is locked out, as each loop knows it: a table that is filled from one
 * sorted set in Redis, "kombi:revoked" (member what, score unix time), asked
 * every second for what is new. So a request costs a look at the table and
 * never waits for Redis; what was known stays known while Redis is away.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/log.h>
#include <kombi/redis.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum {
	POLL_MS = 1000,
	PAGE = 2000,
	OVERLAP_S = 120,   /* clocks of those who write differ */
	WHOLE_MS = 600000, /* everything is read again */
	KEEP_S = 90000,    /* longer than any session or token lives */
	MEMBER_MAX = 200,
	TABLE_MAX = 1 << 17, /* members of one loop */
	TABLE_FIRST = 256,
	ASK_MS = 1000,
};

#define KEY "kombi:revoked"

struct member {
	int64_t at_s;
	uint64_t hash;
	char name[]; /* NUL-terminated */
};

struct revocations {
	struct loop *loop;
	struct event *timer;
	struct member **table; /* open addressing; a power of two */
	size_t size, n;
	uint64_t generation;
	int64_t since_s;  /* the next page begins here */
	int64_t offset;   /* so many of that page are known */
	int64_t newest_s; /* highest score so far */
	int64_t whole_ms; /* when everything was asked for */
	bool asking, closed;
	unsigned refs; /* answers under way, and the loop's own */
};

/* ---- the table ----------------------------------------------------------- */

static struct member **
slot_of(const struct revocations *r, const char *name, uint64_t hash)
{
	size_t i = (size_t)hash & (r->size - 1);

	while (r->table[i] != NULL &&
	    (r->table[i]->hash != hash || strcmp(r->table[i]->name, name) != 0))
		i = (i + 1) & (r->size - 1);
	return &r->table[i];
}

/* Twice as large, without what is too old to matter. */
static void
rebuild(struct revocations *r)
{
	struct member **old = r->table;
	size_t size = r->size;
	int64_t oldest = kb_wall_s() - KEEP_S;

	r->size = r->n * 4 > TABLE_FIRST ? r->size * 2 : TABLE_FIRST;
	r->table = calloc(r->size, sizeof(*r->table));
	if (r->table == NULL)
		abort();
	r->n = 0;
	for (size_t i = 0; i < size; i++) {
		if (old[i] == NULL)
			continue;
		if (old[i]->at_s < oldest) {
			free(old[i]);
			continue;
		}
		*slot_of(r, old[i]->name, old[i]->hash) = old[i];
		r->n++;
	}
	free(old);
}

static void
learn(struct revocations *r, const char *name, int64_t at_s)
{
	uint64_t hash = kb_hash(name, strlen(name));
	struct member **slot;

	if (at_s < kb_wall_s() - KEEP_S)
		return;
	if (r->size == 0 || r->n * 2 >= r->size)
		rebuild(r);
	slot = slot_of(r, name, hash);
	if (*slot == NULL) {
		if (r->n >= TABLE_MAX) {
			kb_warn(NULL, "too many revocations to know all",
			    KB_N("known", r->n));
			return;
		}
		*slot = kb_xalloc(sizeof(**slot) + strlen(name) + 1);
		memset(*slot, 0, sizeof(**slot));
		(*slot)->hash = hash;
		memcpy((*slot)->name, name, strlen(name) + 1);
		r->n++;
	}
	if (at_s > (*slot)->at_s) {
		(*slot)->at_s = at_s;
		r->generation++;
	}
}

/* Long names (the issuer makes them up) stand there by their hash. */
static void
member_text(const char *prefix, const char *name, char out[MEMBER_MAX + 1])
{
	size_t n = strlen(prefix), m = strlen(name);

	memcpy(out, prefix, n);
	if (n + m <= MEMBER_MAX)
		memcpy(out + n, name, m + 1);
	else
		kb_sha256_hex(name, m, out + n);
}

bool
revocation_covers(const struct loop *l, const char *prefix, const char *name,
    int64_t issued_s)
{
	const struct revocations *r = l->revocations;
	char text[MEMBER_MAX + 1];
	const struct member *found;

	if (r == NULL || r->n == 0 || name == NULL || name[0] == '\0')
		return false;
	member_text(prefix, name, text);
	found = *slot_of(r, text, kb_hash(text, strlen(text)));
	return found != NULL && issued_s <= found->at_s;
}

uint64_t
revocations_generation(const struct loop *l)
{
	return l->revocations ? l->revocations->generation : 0;
}

/* ---- asking -------------------------------------------------------------- */

static void ask(struct revocations *r);

static void
unref(struct revocations *r)
{
	if (--r->refs)
		return;
	for (size_t i = 0; i < r->size; i++)
		free(r->table[i]);
	free(r->table);
	free(r);
}

/* Now and then, so that the set does not grow for ever. */
static void
forget_old(struct revocations *r)
{
	struct kb_redis *redis = loop_redis(r->loop, NULL);
	char until[24];
	const struct kb_slice argv[] = {
		kb_slice_of("ZREMRANGEBYSCORE"),
		kb_slice_of(KEY),
		kb_slice_of("-inf"),
		{ until,
		    (size_t)snprintf(until, sizeof(until), "(%lld",
			(long long)(kb_wall_s() - KEEP_S)) },
	};

	kb_redis_start(redis,
	    &(struct kb_redis_call) { .argv = argv, .argc = KB_COUNT(argv) });
}

static void
read_page(struct revocations *r, const struct kb_redis_reply *reply)
{
	size_t n = kb_redis_count(reply);

	for (size_t i = 0; i + 1 < n; i += 2) {
		struct kb_slice name = kb_redis_text(kb_redis_item(reply, i));
		struct kb_slice score = kb_redis_text(
		    kb_redis_item(reply, i + 1));
		char text[MEMBER_MAX + 1];
		int64_t at_s;

		if (name.len == 0 || name.len > MEMBER_MAX ||
		    memchr(name.ptr, '\0', name.len) ||
		    !kb_parse_i64(score, &at_s))
			continue;
		memcpy(text, name.ptr, name.len);
		text[name.len] = '\0';
		learn(r, text, at_s);
		if (at_s > r->newest_s)
			r->newest_s = at_s;
	}
	if (n / 2 == PAGE) {
		r->offset += PAGE;
		return;
	}
	r->offset = 0;
	r->since_s = r->newest_s - OVERLAP_S;
	if (kb_mono_ms() - r->whole_ms > WHOLE_MS) {
		r->whole_ms = kb_mono_ms();
		r->since_s = 0;
		forget_old(r);
	}
}

static void
on_page(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct revocations *r = arg;

	r->asking = false;
	if (!r->closed && result == KB_REDIS_OK) {
		read_page(r, reply);
		if (r->offset)
			ask(r);
	}
	unref(r);
}

static void
ask(struct revocations *r)
{
	struct kb_redis *redis = loop_redis(r->loop, NULL);
	char since[24], offset[24];
	struct kb_slice args[8] = {
		kb_slice_of("ZRANGEBYSCORE"),
		kb_slice_of(KEY),
		[3] = kb_slice_of("+inf"),
		kb_slice_of("WITHSCORES"),
		kb_slice_of("LIMIT"),
		[7] = kb_slice_of("2000"),
	};
	int64_t oldest = kb_wall_s() - KEEP_S;

	if (redis == NULL || !kb_redis_is_up(redis))
		return;
	snprintf(since, sizeof(since), "%lld",
	    (long long)(r->since_s > oldest ? r->since_s : oldest));
	snprintf(offset, sizeof(offset), "%lld", (long long)r->offset);
	args[2] = kb_slice_of(since);
	args[6] = kb_slice_of(offset);
	r->asking = true;
	r->refs++;
	kb_redis_start(redis,
	    &(struct kb_redis_call) {
		.argv = args,
		.argc = KB_COUNT(args),
		.fn = on_page,
		.arg = r,
		.timeout_ms = ASK_MS,
	    });
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct revocations *r = arg;

	(void)fd;
	(void)what;
	if (!r->asking)
		ask(r);
}

/* ---- telling ------------------------------------------------------------- */

struct telling {
	void (*done)(void *arg, bool told);
	void *arg;
};

static void
on_told(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct telling *t = arg;

	(void)reply;
	if (t->done)
		t->done(t->arg, result == KB_REDIS_OK);
	free(t);
}

void
revocation_tell(struct loop *l, const char *prefix, const char *name,
    int64_t at_s, void (*done)(void *arg, bool told), void *arg)
{
	struct kb_redis *redis = loop_redis(l, NULL);
	struct telling *t = kb_xalloc(sizeof(*t));
	char member[MEMBER_MAX + 1], score[24];
	struct kb_slice argv[5];

	*t = (struct telling) { .done = done, .arg = arg };
	if (redis == NULL) {
		on_told(KB_REDIS_DOWN, NULL, t);
		return;
	}
	member_text(prefix, name, member);
	snprintf(score, sizeof(score), "%lld", (long long)at_s);
	if (l->revocations)
		learn(l->revocations, member, at_s);
	argv[0] = kb_slice_of("ZADD");
	argv[1] = kb_slice_of(KEY);
	argv[2] = kb_slice_of("GT");
	argv[3] = kb_slice_of(score);
	argv[4] = kb_slice_of(member);
	kb_redis_start(redis,
	    &(struct kb_redis_call) {
		.argv = argv,
		.argc = KB_COUNT(argv),
		.fn = on_told,
		.arg = t,
		.timeout_ms = ASK_MS,
	    });
}

/* ---- with the loop ------------------------------------------------------- */

void
revocations_start(struct loop *l)
{
	struct revocations *r = kb_xalloc(sizeof(*r));
	struct timeval every = { POLL_MS / 1000, POLL_MS % 1000 * 1000 };

	memset(r, 0, sizeof(*r));
	r->loop = l;
	r->refs = 1;
	r->generation = 1;
	r->whole_ms = kb_mono_ms();
	r->timer = event_new(l->base, -1, EV_PERSIST, on_timer, r);
	event_add(r->timer, &every);
	l->revocations = r;
	/* Connects now, so that the first browser finds it up. */
	(void)!loop_redis(l, NULL);
}

void
revocations_stop(struct loop *l)
{
	struct revocations *r = l->revocations;

	if (r == NULL)
		return;
	event_free(r->timer);
	r->closed = true;
	l->revocations = NULL;
	unref(r);
}
