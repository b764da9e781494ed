/*
 * Sliding windows: the exchange with Redis. A loop sends what its part of
 * the table has let through since the last time and hears the counts of all
 * replicas, 128 keys a script call; leases are asked for and given back in
 * the same call. Nothing here is waited for by a request.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include <kombi/arena.h>
#include <kombi/crypto.h>
#include <kombi/log.h>
#include <kombi/redis.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "window_private.h"

enum {
	BATCH = 128,
	BATCHES = 8,         /* under way at a time */
	URGENT_MS = 5,       /* between two exchanges at least */
	HEARTBEAT_MS = 1000, /* that a replica without traffic is counted */
	CLOCK_SLACK_MS = 25,
	KEY_TEXT = 36, /* "rl:" and 32 digits */
	REPLY_HEAD = 3,
	REPLY_KEY = 4,
};

/*
 * KEYS: replicas (sorted set), epoch, then one a counter. ARGV: this replica,
 * then one a counter: window, count now, count before, limit, seconds, flags
 * (1: a lease is wanted, 2: it does not slide).
 * Value of a counter: window, count now, count before.
 * Answer: epoch, milliseconds, replicas, then window, now, before, lease.
 */
static const char script_text[] =
    "local t=redis.call('TIME')\n"
    "local now=t[1]*1000+math.floor(t[2]/1000)\n"
    "redis.call('ZADD',KEYS[1],now,ARGV[1])\n"
    "redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',now-4000)\n"
    "redis.call('ZREMRANGEBYSCORE',KEYS[1],now+4000,'+inf')\n"
    "redis.call('PEXPIRE',KEYS[1],60000)\n"
    "local replicas=math.max(1,redis.call('ZCARD',KEYS[1]))\n"
    "local epoch=tonumber(redis.call('GET',KEYS[2]))\n"
    "if not epoch then epoch=now%4294967295+1\n"
    " redis.call('SET',KEYS[2],string.format('%.0f',epoch)) end\n"
    "local out={epoch,now,replicas}\n"
    "for i=3,#KEYS do\n"
    " local k,dn,db,limit,s,want=struct.unpack('<I4i4i4I4I4I4',ARGV[i-1])\n"
    " local w,n,b=k,0,0\n"
    " local v=redis.call('GET',KEYS[i])\n"
    " if v and #v==12 then\n"
    "  w,n,b=struct.unpack('<I4i4i4',v)\n"
    "  if w==k-1 then w,n,b=k,0,n\n"
    "  elseif w<k then w,n,b=k,0,0\n"
    "  elseif w>k+1 then w=k end\n"
    " end\n"
    " local lease=0\n"
    " if w==k then\n"
    "  n=math.max(0,n+dn) b=math.max(0,b+db)\n"
    "  if want%2>0 then\n"
    "   local left=limit-n\n"
    "   if want<2 then\n"
    "    local size=s*1000\n"
    "    local into=math.min(size,math.max(0,now-k*size))\n"
    "    left=left-math.floor(b*(size-into)/size) end\n"
    "   if left>0 then\n"
    "    lease=math.max(1,math.floor(left/(4*replicas))) n=n+lease end\n"
    "  end\n"
    " else b=math.max(0,b+dn) end\n"
    " n=math.min(n,2147483647)\n"
    " redis.call('SET',KEYS[i],struct.pack('<I4i4i4',w,n,b),"
    "'PX',string.format('%.0f',2000*s+1000))\n"
    " local o=#out\n"
    " out[o+1]=w out[o+2]=n out[o+3]=b out[o+4]=lease\n"
    "end\n"
    "return out\n";

/* A counter's line in a batch. */
struct record {
	uint64_t key;
	uint32_t index; /* in its shard */
	uint8_t shard;
	unsigned char id[WINDOW_ID];
	struct {
		uint32_t number;
		int32_t now, before;
		uint32_t limit, window_s, want;
	} said; /* as it goes to Redis: little endian, 24 bytes */
};

struct batch {
	struct kb_window_sync *sync; /* NULL: freed meanwhile */
	int64_t sent_ms;
	size_t n;
	struct record records[BATCH];
};

struct kb_window_sync {
	struct kb_window *w;
	struct window_part *part;
	unsigned index;
	struct kb_redis *redis;
	struct kb_redis_script script;
	char replicas_key[KEY_TEXT], epoch_key[KEY_TEXT];
	struct event tick, wake;
	int64_t last_ms;    /* exchange */
	int64_t regular_ms; /* next one */
	bool again;         /* urgent when the ones under way are done */
	bool told;          /* that the script is refused */
	struct batch *under_way[BATCHES];
	size_t n_under_way;
};

_Static_assert(
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are sent as they are");

/* ---- collecting
 * --------------------------------------------------------------
 */

/* False if there is nothing to say. */
static bool
record_entry(struct window_entry *e, const struct kb_window *w, bool regular,
    struct record *r)
{
	struct window_moment m = window_moment(
	    (enum kb_window_kind)e->kind, e->window_s, window_now_ms(w));

	window_roll(e, m.number);
	if (regular) {
		if (e->lease > 0 && !e->active) {
			e->own_now -= e->lease;
			e->lease = 0;
		}
		e->active = false;
	}
	memcpy(r->id, e->id, WINDOW_ID);
	r->said.number = e->number;
	r->said.now = e->own_now;
	r->said.before = e->own_before;
	r->said.limit = e->limit;
	r->said.window_s = e->window_s;
	r->said.want = (uint32_t)e->want + (m.slides ? 0 : 2);
	e->want = false;
	if (regular && e->refresh) {
		e->refresh = false;
		return true;
	}
	return r->said.now != 0 || r->said.before != 0 || r->said.want & 1 ||
	    e->unsure_now != 0 || e->unsure_before != 0 || e->recent != 0;
}

/* Takes dirty entries of a shard; stops when the batch is full. */
static void
collect_shard(
    struct kb_window *w, size_t shard_index, bool regular, struct batch *b)
{
	struct window_shard *shard = &w->shards[shard_index];
	size_t words = (w->n_sets * WINDOW_WAYS + 63) / 64;

	pthread_mutex_lock(&shard->lock);
	for (size_t i = 0; i < words; i++) {
		uint64_t left = shard->dirty[i];

		for (; left && b->n < BATCH; left &= left - 1) {
			size_t at = i * 64 + (size_t)__builtin_ctzll(left);
			struct window_entry *e = window_entry_at(shard, at);
			struct record *r = &b->records[b->n];

			shard->dirty[i] &= ~(left & -left);
			if (record_entry(e, w, regular, r))
				b->n++;
			if (e->lease > 0 || e->refresh)
				window_mark(shard, at); /* looked at again */
			r->shard = (uint8_t)shard_index;
			r->index = (uint32_t)at;
			r->key = shard->sets[at / WINDOW_WAYS]
				     .key[at % WINDOW_WAYS];
		}
	}
	pthread_mutex_unlock(&shard->lock);
}

/* ---- what came back
 * ----------------------------------------------------------
 */

static int32_t
clamp(int64_t n)
{
	return n < 0 ? 0 : n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

static int32_t
above_zero(int32_t n)
{
	return n > 0 ? n : 0;
}

struct heard {
	uint32_t number;
	int32_t now, before, lease;
	uint32_t epoch;
};

/* The acknowledged counts are Redis' now, but never less than we let pass
 * ourselves; those that a new epoch does not know are sent again. */
static bool
recover(struct window_entry *e, int32_t said_now, int32_t said_before)
{
	int32_t now = e->passed_now - said_now - above_zero(e->own_now);
	int32_t before = e->passed_before - said_before -
	    above_zero(e->own_before);

	e->lease = 0;
	if (now > 0)
		e->own_now += now;
	if (before > 0)
		e->own_before += before;
	return now > 0 || before > 0;
}

static void
settle_same_window(
    struct window_entry *e, const struct record *r, const struct heard *h)
{
	e->own_now -= r->said.now;
	e->own_before -= r->said.before;
	if (h->number == e->number) {
		e->global_now = h->now;
		e->global_before = h->before;
		e->lease += h->lease;
		if (h->lease > 0)
			e->chunk = h->lease;
	} else {
		e->global_now = h->before; /* Redis has rolled on */
	}
}

/* The window ended while the exchange was under way. */
static void
settle_next_window(
    struct window_entry *e, const struct record *r, const struct heard *h)
{
	e->own_before -= r->said.now;
	if (h->number == e->number) {
		e->global_now = h->now;
		e->global_before = h->before;
	} else {
		e->global_before = h->now;
		e->own_before -= h->lease;
	}
}

/* True if Redis had lost counts of ours. */
static bool
settle_entry(const struct kb_window *w, struct window_entry *e,
    const struct record *r, const struct heard *h)
{
	uint32_t rolled = e->number - r->said.number;
	int64_t news = (int64_t)r->said.now + e->unsure_now;
	bool lost = false;

	if (rolled > 1)
		return false;
	(rolled ? settle_next_window : settle_same_window)(e, r, h);
	e->unsure_now = e->unsure_before = 0;
	if (e->epoch != 0 && e->epoch != h->epoch) {
		lost = rolled ? recover(e, 0, above_zero(r->said.now))
			      : recover(e, above_zero(r->said.now),
				    above_zero(r->said.before));
	} else {
		int32_t known = e->passed_now - above_zero(e->own_now);

		if (e->global_now < known)
			e->global_now = known;
	}
	e->epoch = h->epoch;
	/* Others may have sent as much at the same time. */
	e->refresh = 8 * news >= e->limit;
	e->recent = e->refresh && !rolled ? (int32_t)news : 0;
	if (r->said.want & 1 && h->lease == 0) {
		int64_t now = window_now_ms(w);
		int64_t wait = window_wait_ms(e,
		    window_moment(
			(enum kb_window_kind)e->kind, e->window_s, now));

		if (wait > 1000)
			wait = 1000;
		e->ask_after = (uint32_t)(now + (wait < 1 ? 1 : wait));
	}
	return lost;
}

static void
make_unsure(struct window_entry *e, const struct record *r)
{
	if (e->number == r->said.number) {
		e->own_now -= r->said.now;
		e->unsure_now += r->said.now;
		e->own_before -= r->said.before;
		e->unsure_before += r->said.before;
	} else if (e->number == r->said.number + 1) {
		e->own_before -= r->said.now;
		e->unsure_before += r->said.now;
	}
}

static struct heard
heard_of(const struct kb_redis_reply *reply, size_t i)
{
	size_t at = REPLY_HEAD + REPLY_KEY * i;

	return (struct heard) {
		.epoch = (uint32_t)kb_redis_int(kb_redis_item(reply, 0)),
		.number = (uint32_t)kb_redis_int(kb_redis_item(reply, at)),
		.now = clamp(kb_redis_int(kb_redis_item(reply, at + 1))),
		.before = clamp(kb_redis_int(kb_redis_item(reply, at + 2))),
		.lease = clamp(kb_redis_int(kb_redis_item(reply, at + 3))),
	};
}

/* reply NULL: none came; sent false: nothing left us. */
static void
settle_record(struct kb_window *w, const struct record *r,
    const struct heard *heard, bool sent)
{
	struct window_shard *shard = &w->shards[r->shard];
	struct window_entry *e = window_entry_at(shard, r->index);
	bool lost = false;

	pthread_mutex_lock(&shard->lock);
	if (shard->sets[r->index / WINDOW_WAYS].key[r->index % WINDOW_WAYS] ==
	    r->key) {
		if (heard)
			lost = settle_entry(w, e, r, heard);
		else if (sent)
			make_unsure(e, r);
		if (e->own_now != 0 || e->own_before != 0 || e->lease > 0 ||
		    e->refresh || e->unsure_now != 0 || e->unsure_before != 0)
			window_mark(shard, r->index);
	}
	pthread_mutex_unlock(&shard->lock);
	if (lost)
		w->recoveries++;
}

static void
settle_batch(struct kb_window *w, const struct batch *b,
    const struct kb_redis_reply *reply, bool sent)
{
	for (size_t i = 0; i < b->n; i++) {
		struct heard h;

		if (reply)
			h = heard_of(reply, i);
		settle_record(w, &b->records[i], reply ? &h : NULL, sent);
	}
}

static void
set_clock(struct kb_window *w, const struct batch *b, int64_t redis_ms)
{
	int64_t now = kb_mono_ms();
	int64_t offset = redis_ms - (b->sent_ms + now) / 2;
	int64_t off = offset - w->offset_ms;

	if (off < 0)
		off = -off;
	if (redis_ms <= 0 || off <= CLOCK_SLACK_MS + (now - b->sent_ms) / 2)
		return;
	w->offset_ms = offset;
	w->moves++;
}

static void
set_replicas(struct kb_window *w, int64_t seen)
{
	w->replicas = seen > w->configured && seen < 10000 ? (unsigned)seen
							   : w->configured;
}

/* ---- exchanging
 * --------------------------------------------------------------
 */

static void
arm(struct kb_window_sync *s, int64_t at_ms)
{
	int64_t wait = at_ms - kb_mono_ms();
	struct timeval tv = { 0 };

	if (wait < 1)
		wait = 1;
	tv.tv_sec = wait / 1000;
	tv.tv_usec = (suseconds_t)(wait % 1000) * 1000;
	event_add(&s->tick, &tv);
}

static void
forget_batch(struct kb_window_sync *s, const struct batch *b)
{
	for (size_t i = 0; i < s->n_under_way; i++)
		if (s->under_way[i] == b) {
			s->under_way[i] = s->under_way[--s->n_under_way];
			return;
		}
}

static void
on_exchanged(
    enum kb_redis_result result, const struct kb_redis_reply *reply, void *arg)
{
	struct batch *b = arg;
	struct kb_window_sync *s = b->sync;
	bool good = result == KB_REDIS_OK &&
	    kb_redis_count(reply) == REPLY_HEAD + REPLY_KEY * b->n;
	bool sent = result != KB_REDIS_DOWN && result != KB_REDIS_BUSY &&
	    result != KB_REDIS_REFUSED;

	if (!s) {
		free(b);
		return;
	}
	forget_batch(s, b);
	if (good) {
		set_clock(s->w, b, kb_redis_int(kb_redis_item(reply, 1)));
		set_replicas(s->w, kb_redis_int(kb_redis_item(reply, 2)));
		s->w->exchanges++;
		s->w->exchanged_keys += b->n;
	} else {
		s->w->failed++;
	}
	if (result == KB_REDIS_ERROR && !s->told) {
		s->told = true;
		kb_error(NULL, "redis refuses the script of the rate limits",
		    KB_S("reason", kb_redis_text(reply).ptr));
	}
	s->part->up = good;
	settle_batch(s->w, b, good ? reply : NULL, sent);
	free(b);
	if (s->again && s->n_under_way == 0) {
		s->again = false;
		arm(s, s->last_ms + URGENT_MS);
	}
}

static void
send_batch(struct kb_window_sync *s, struct batch *b)
{
	struct kb_slice argv[4 + 2 * BATCH];
	char keys[BATCH][KEY_TEXT], count[8];
	struct kb_redis_call call = {
		.argv = argv, .argc = 4 + 2 * b->n, .fn = on_exchanged, .arg = b
	};

	snprintf(count, sizeof(count), "%zu", 2 + b->n);
	argv[0] = kb_slice_of(count);
	argv[1] = kb_slice_of(s->replicas_key);
	argv[2] = kb_slice_of(s->epoch_key);
	argv[3 + b->n] = kb_slice_of(s->w->replica);
	for (size_t i = 0; i < b->n; i++) {
		struct record *r = &b->records[i];

		memcpy(keys[i], "rl:", 3);
		kb_hex(r->id, WINDOW_ID, keys[i] + 3);
		argv[3 + i] = (struct kb_slice) { keys[i], KEY_TEXT - 1 };
		argv[4 + b->n + i] = (struct kb_slice) { (const char *)&r->said,
			sizeof(r->said) };
	}
	s->under_way[s->n_under_way++] = b;
	b->sent_ms = kb_mono_ms();
	kb_redis_eval(s->redis, &s->script, &call);
}

static struct batch *
new_batch(struct kb_window_sync *s)
{
	struct batch *b = kb_xalloc(sizeof(*b));

	b->sync = s;
	b->n = 0;
	return b;
}

/* All dirty entries of the part, as far as BATCHES go. */
static void
exchange(struct kb_window_sync *s, bool regular)
{
	struct kb_window *w = s->w;
	struct batch *b = new_batch(s);
	size_t shard = s->index;
	int64_t now = kb_mono_ms();

	while (shard < WINDOW_SHARDS) {
		collect_shard(w, shard, regular, b);
		if (b->n < BATCH) {
			shard += w->n_parts;
			continue;
		}
		if (s->n_under_way == BATCHES - 1)
			break;
		send_batch(s, b);
		b = new_batch(s);
	}
	s->again = shard < WINDOW_SHARDS; /* there is more */
	if (b->n > 0 || now - s->last_ms >= HEARTBEAT_MS || !s->part->up)
		send_batch(s, b);
	else
		free(b);
	if (s->n_under_way > 0)
		s->last_ms = now;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kb_window_sync *s = arg;
	int64_t now = kb_mono_ms();
	bool regular = now >= s->regular_ms;

	(void)fd;
	(void)what;
	if (regular)
		s->regular_ms = now + s->w->sync_ms;
	if (!kb_redis_is_up(s->redis))
		s->part->up = false;
	else if (s->n_under_way > 0)
		s->again = true;
	else
		exchange(s, regular);
	arm(s, s->regular_ms);
}

/* A loop's request used up half of a share. */
static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct kb_window_sync *s = arg;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0)
		return;
	s->part->poked = false;
	if (s->n_under_way > 0)
		s->again = true;
	else if (s->last_ms + URGENT_MS < s->regular_ms)
		arm(s, s->last_ms + URGENT_MS);
}

/* ---- life ---------------------------------------------------------------- */

struct kb_window_sync *
kb_window_sync_new(struct kb_window *w, unsigned index, struct event_base *base,
    struct kb_redis *redis)
{
	struct kb_window_sync *s = kb_xalloc(sizeof(*s));
	unsigned char digest[KB_SHA256_SIZE];
	char hex[2 * 8 + 1];

	assert(index < w->n_parts && !w->parts[index].attached);
	memset(s, 0, sizeof(*s));
	s->w = w;
	s->index = index;
	s->part = &w->parts[index];
	s->redis = redis;
	kb_redis_script_init(&s->script, script_text);
	kb_sha256(w->namespace, strlen(w->namespace), digest);
	kb_hex(digest, 8, hex);
	snprintf(
	    s->replicas_key, sizeof(s->replicas_key), "rl:%s:replicas", hex);
	snprintf(s->epoch_key, sizeof(s->epoch_key), "rl:%s:epoch", hex);
	event_assign(&s->tick, base, -1, 0, on_tick, s);
	event_assign(
	    &s->wake, base, s->part->wake, EV_READ | EV_PERSIST, on_wake, s);
	event_add(&s->wake, NULL);
	s->part->attached = true;
	arm(s, 0);
	return s;
}

void
kb_window_sync_free(struct kb_window_sync *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_under_way; i++) {
		settle_batch(s->w, s->under_way[i], NULL, true);
		s->under_way[i]->sync = NULL;
	}
	event_del(&s->tick);
	event_del(&s->wake);
	s->part->up = false;
	s->part->attached = false;
	free(s);
}
