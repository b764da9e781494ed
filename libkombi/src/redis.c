/*
 * Redis client: commands, their deadlines, the breaker. Whatever goes wrong
 * with the connection, each command's callback runs once, on the loop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/arena.h>
#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "redis_private.h"

enum { BREAKER = 3 };

const char *
kb_redis_result_name(enum kb_redis_result result)
{
	static const char *const names[] = {
		[KB_REDIS_OK] = "ok",
		[KB_REDIS_ERROR] = "error",
		[KB_REDIS_REFUSED] = "refused",
		[KB_REDIS_DOWN] = "down",
		[KB_REDIS_BUSY] = "busy",
		[KB_REDIS_TIMEOUT] = "timeout",
		[KB_REDIS_CLOSED] = "closed",
	};

	return names[result];
}

/* ---- life ---------------------------------------------------------------- */

static void
release(struct kb_redis *r)
{
	kb_secret_free(&r->password);
	kb_buf_free(&r->out);
	free(r->host);
	free(r->user);
	free(r->slots);
	free(r->debts);
	free(r);
}

void
kb_redis_enter(struct kb_redis *r)
{
	r->depth++;
}

void
kb_redis_leave(struct kb_redis *r)
{
	if (--r->depth == 0 && r->freed)
		release(r);
}

static void
call_back(struct kb_redis *r, struct redis_debt d, const redisReply *reply)
{
	if (!d.fn)
		return;
	kb_redis_enter(r);
	d.fn(d.result, (const struct kb_redis_reply *)(const void *)reply,
	    d.arg);
	kb_redis_leave(r);
}

/* ---- slots --------------------------------------------------------------- */

static struct redis_slot *
slot_at(struct kb_redis *r, uint32_t i)
{
	return &r->slots[(r->head + i) % r->cap];
}

static void
pop(struct kb_redis *r)
{
	kb_buf_free(&slot_at(r, 0)->again);
	r->head = (r->head + 1) % r->cap;
	r->count--;
	atomic_store_explicit(
	    &r->counts.inflight, r->count, memory_order_relaxed);
}

static void
arm_deadline(struct kb_redis *r)
{
	int64_t first = INT64_MAX, wait;

	for (uint32_t i = 0; i < r->count; i++) {
		const struct redis_slot *s = slot_at(r, i);

		if (!s->settled && s->deadline_ms < first)
			first = s->deadline_ms;
	}
	if (first == INT64_MAX) {
		event_del(&r->deadline);
		return;
	}
	wait = first - kb_mono_ms();
	kb_redis_timer(&r->deadline, wait < 1 ? 1 : wait);
}

struct redis_slot *
kb_redis_push(struct kb_redis *r, enum redis_origin origin, int64_t timeout_ms)
{
	struct redis_slot *s;

	assert(r->count < r->cap);
	s = slot_at(r, r->count++);
	memset(s, 0, sizeof(*s));
	s->origin = origin;
	s->sent_ms = kb_mono_ms();
	s->deadline_ms = s->sent_ms + timeout_ms;
	kb_buf_init(&s->again, SIZE_MAX / 2);
	atomic_store_explicit(
	    &r->counts.inflight, r->count, memory_order_relaxed);
	if (!event_pending(&r->deadline, EV_TIMEOUT, NULL))
		arm_deadline(r);
	kb_redis_send_soon(r);
	return s;
}

/* ---- the breaker ----------------------------------------------------------
 */

/* True if the connection had to be dropped. */
static bool
failed(struct kb_redis *r, const char *why)
{
	if (++r->failures < BREAKER || r->state != REDIS_UP)
		return false;
	r->counts.opened++;
	kb_redis_lost(r, why);
	return true;
}

static void
worked(struct kb_redis *r)
{
	r->failures = 0;
	r->tries = 0;
	r->counts.answers++;
}

static void
settle(struct kb_redis *r, struct redis_slot *s, enum kb_redis_result result)
{
	struct redis_debt d = { .result = result, .fn = s->fn, .arg = s->arg };

	if (s->settled || s->origin != FROM_USER)
		return;
	s->settled = true;
	call_back(r, d, NULL);
}

static void
tell(struct kb_redis *r, bool is_up, const char *why)
{
	if (r->conf.changed)
		r->conf.changed(r->conf.arg, is_up, why);
	else if (is_up)
		kb_info(r->conf.log, "redis is back", KB_S("host", r->host));
	else
		kb_warn(r->conf.log, "redis is down", KB_S("host", r->host),
		    KB_S("reason", why));
}

void
kb_redis_lost(struct kb_redis *r, const char *why)
{
	if (r->state == REDIS_UP)
		r->counts.losses++;
	if (r->state != REDIS_REST && !r->told && !r->freed) {
		r->told = true;
		tell(r, false, why);
	}
	r->counts.up = false;
	kb_redis_hang_up(r);
	kb_redis_enter(r);
	/* What a callback starts now meets a client that is down. */
	while (r->count > 0) {
		struct redis_slot s = *slot_at(r, 0);

		pop(r);
		settle(r, &s, KB_REDIS_CLOSED);
	}
	event_del(&r->deadline);
	if (!r->freed)
		kb_redis_rest(r);
	kb_redis_leave(r);
}

/* Slots keep their place: the answer may still come, and is dropped. */
static void
expire(struct kb_redis *r)
{
	int64_t now = kb_mono_ms();

	for (uint32_t i = 0; i < r->count; i++) {
		struct redis_slot *s = slot_at(r, i);

		if (s->settled || s->deadline_ms > now)
			continue;
		if (s->origin != FROM_USER) {
			kb_redis_lost(r, "no answer to the greeting");
			return;
		}
		r->counts.timeouts++;
		settle(r, s, KB_REDIS_TIMEOUT);
		if (r->freed || r->state != REDIS_UP || failed(r, "timeouts"))
			return;
	}
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct kb_redis *r = arg;

	(void)fd;
	(void)what;
	kb_redis_enter(r);
	/* When the loop was late the answer may be here already. */
	if (kb_redis_receive(r)) {
		expire(r);
		if (!r->freed)
			arm_deadline(r);
	}
	kb_redis_leave(r);
}

/* ---- answers ---------------------------------------------------------------
 */

enum error_class { COMMAND_WRONG, SERVER_UNFIT, NO_SCRIPT };

static enum error_class
class_of(const redisReply *reply)
{
	static const struct {
		const char *prefix;
		enum error_class is;
	} table[] = {
		{ "NOSCRIPT ", NO_SCRIPT },
		{ "LOADING ", SERVER_UNFIT },
		{ "READONLY ", SERVER_UNFIT },
		{ "OOM ", SERVER_UNFIT },
		{ "MISCONF ", SERVER_UNFIT },
		{ "MASTERDOWN ", SERVER_UNFIT },
		{ "BUSY ", SERVER_UNFIT },
		{ "NOAUTH ", SERVER_UNFIT },
		{ "NOREPLICAS ", SERVER_UNFIT },
		{ "CLUSTERDOWN ", SERVER_UNFIT },
	};

	for (size_t i = 0; i < KB_COUNT(table); i++)
		if (kb_str_starts(reply->str, table[i].prefix))
			return table[i].is;
	return COMMAND_WRONG;
}

/* The head slot's script was unknown: the text itself, in the same time. */
static void
send_text(struct kb_redis *r)
{
	struct redis_slot old = *slot_at(r, 0), *s;

	kb_buf_init(&slot_at(r, 0)->again, 0);
	pop(r);
	kb_buf_add(&r->out, old.again.ptr, old.again.len);
	kb_buf_free(&old.again);
	s = kb_redis_push(r, FROM_USER, 0);
	s->fn = old.fn;
	s->arg = old.arg;
	s->sent_ms = old.sent_ms;
	s->deadline_ms = old.deadline_ms;
	s->settled = old.settled;
	r->counts.scripts++;
	arm_deadline(r);
}

static void
answer_user(struct kb_redis *r, redisReply *reply)
{
	struct redis_slot *s = slot_at(r, 0);
	struct redis_debt d = { .fn = s->settled ? NULL : s->fn,
		.arg = s->arg };
	bool late = s->settled, unfit = false;

	if (reply->type == REDIS_REPLY_ERROR) {
		enum error_class is = class_of(reply);

		if (is == NO_SCRIPT && s->again.len > 0) {
			send_text(r);
			return;
		}
		unfit = is == SERVER_UNFIT;
		d.result = unfit ? KB_REDIS_REFUSED : KB_REDIS_ERROR;
	}
	pop(r);
	if (unfit)
		r->counts.refused++;
	else if (!late)
		worked(r);
	call_back(r, d, reply);
	if (unfit && !r->freed && r->state == REDIS_UP)
		failed(r, reply->str);
}

static void
probe(struct kb_redis *r)
{
	const struct kb_slice ping = { "PING", 4 };

	r->state = REDIS_PROBE;
	kb_redis_encode(&r->out, &ping, 1);
	kb_redis_push(r, FROM_PROBE, r->conf.connect_ms);
}

static void
come_up(struct kb_redis *r)
{
	r->state = REDIS_UP;
	r->failures = 0;
	r->counts.up = true;
	r->counts.connects++;
	event_del(&r->timer);
	if (r->told)
		tell(r, true, "");
	r->told = false;
}

static void
answer_own(struct kb_redis *r, const redisReply *reply)
{
	struct redis_slot s = *slot_at(r, 0);
	bool bad = reply->type == REDIS_REPLY_ERROR;

	pop(r);
	if (s.origin == FROM_GREETING) {
		if (bad)
			kb_redis_lost(r, reply->str);
		else if (--r->greetings == 0)
			probe(r);
		return;
	}
	if (bad || kb_mono_ms() - s.sent_ms > r->conf.command_ms)
		kb_redis_rest(r); /* loading, or too slow: ask again */
	else
		come_up(r);
}

bool
kb_redis_answer(struct kb_redis *r, redisReply *reply)
{
	if (r->count == 0)
		return false;
	kb_redis_enter(r);
	if (slot_at(r, 0)->origin == FROM_USER)
		answer_user(r, reply);
	else
		answer_own(r, reply);
	kb_redis_leave(r);
	return true;
}

/* ---- debts: callbacks without an answer -----------------------------------
 */

static void
owe(struct kb_redis *r, const struct kb_redis_call *call,
    enum kb_redis_result result)
{
	r->counts.not_sent++;
	if (r->n_debts == r->cap_debts) {
		r->cap_debts = r->cap_debts ? 2 * r->cap_debts : 16;
		r->debts = kb_xrealloc(
		    r->debts, r->cap_debts * sizeof(*r->debts));
	}
	r->debts[r->n_debts++] = (struct redis_debt) {
		.result = result, .fn = call->fn, .arg = call->arg
	};
	event_active(&r->soon, EV_TIMEOUT, 0);
}

/* Those that callbacks add wait for the loop's next turn. */
static void
pay_debts(struct kb_redis *r)
{
	struct redis_debt *debts = r->debts;
	size_t n = r->n_debts;

	r->debts = NULL;
	r->n_debts = r->cap_debts = 0;
	kb_redis_enter(r);
	for (size_t i = 0; i < n; i++)
		call_back(r, debts[i], NULL);
	kb_redis_leave(r);
	free(debts);
}

static void
on_soon(evutil_socket_t fd, short what, void *arg)
{
	struct kb_redis *r = arg;

	(void)fd;
	(void)what;
	kb_redis_enter(r);
	pay_debts(r);
	if (!r->freed && r->fd >= 0 && r->state >= REDIS_GREET)
		event_active(&r->io, EV_WRITE, 0);
	kb_redis_leave(r);
}

/* ---- what users call -------------------------------------------------------
 */

struct kb_redis *
kb_redis_new(const struct kb_redis_conf *conf)
{
	struct kb_redis *r = kb_xalloc(sizeof(*r));

	assert(conf->base != NULL && conf->host != NULL);
	memset(r, 0, sizeof(*r));
	r->conf = *conf;
	r->conf.port = conf->port ? conf->port : 6379;
	r->conf.connect_ms = conf->connect_ms ? conf->connect_ms : 500;
	r->conf.command_ms = conf->command_ms ? conf->command_ms : 20;
	r->conf.inflight = conf->inflight ? conf->inflight : 128;
	r->conf.reply_max = conf->reply_max ? conf->reply_max
					    : (size_t)8 * 1024 * 1024;
	r->host = kb_xstrdup(conf->host);
	r->user = conf->user ? kb_xstrdup(conf->user) : NULL;
	if (conf->password && kb_secret_is_set(conf->password)) {
		size_t len;
		const unsigned char *bytes = kb_secret_reveal(
		    conf->password, &len);

		kb_secret_set(&r->password, bytes, len);
	}
	r->conf.host = r->conf.user = NULL;
	r->conf.password = NULL;
	r->cap = r->conf.inflight + 4; /* greeting and probe */
	r->slots = kb_xalloc(r->cap * sizeof(*r->slots));
	kb_buf_init(&r->out, SIZE_MAX / 2);
	event_assign(&r->deadline, conf->base, -1, 0, on_deadline, r);
	event_assign(&r->soon, conf->base, -1, 0, on_soon, r);
	kb_redis_conn_init(r);
	return r;
}

void
kb_redis_free(struct kb_redis *r)
{
	if (!r || r->freed)
		return;
	r->freed = true;
	kb_redis_enter(r);
	kb_redis_lookup_drop(r);
	kb_redis_lost(r, "freed");
	while (r->n_debts > 0)
		pay_debts(r);
	event_del(&r->timer);
	event_del(&r->soon);
	event_del(&r->deadline);
	kb_redis_leave(r);
}

static void
encode_head(struct kb_buf *out, size_t argc)
{
	kb_buf_addc(out, '*');
	kb_buf_addu(out, argc);
	kb_buf_add(out, "\r\n", 2);
}

static void
encode_words(struct kb_buf *out, const struct kb_slice *argv, size_t argc)
{
	for (size_t i = 0; i < argc; i++) {
		kb_buf_addc(out, '$');
		kb_buf_addu(out, argv[i].len);
		kb_buf_add(out, "\r\n", 2);
		kb_buf_add(out, argv[i].ptr, argv[i].len);
		kb_buf_add(out, "\r\n", 2);
	}
}

void
kb_redis_encode(struct kb_buf *out, const struct kb_slice *argv, size_t argc)
{
	encode_head(out, argc);
	encode_words(out, argv, argc);
}

/* A slot for the call, or NULL and the callback is owed. */
static struct redis_slot *
begin(struct kb_redis *r, const struct kb_redis_call *call)
{
	struct redis_slot *s;

	if (r->state != REDIS_UP || r->freed) {
		owe(r, call, KB_REDIS_DOWN);
		return NULL;
	}
	if (r->count >= r->conf.inflight) {
		owe(r, call, KB_REDIS_BUSY);
		return NULL;
	}
	s = kb_redis_push(r, FROM_USER,
	    call->timeout_ms ? call->timeout_ms : r->conf.command_ms);
	s->fn = call->fn;
	s->arg = call->arg;
	r->counts.commands++;
	if (call->timeout_ms)
		arm_deadline(r);
	return s;
}

void
kb_redis_start(struct kb_redis *r, const struct kb_redis_call *call)
{
	assert(call->argc > 0);
	if (begin(r, call) != NULL)
		kb_redis_encode(&r->out, call->argv, call->argc);
}

void
kb_redis_script_init(struct kb_redis_script *s, const char *text)
{
	unsigned char digest[20];

	s->text = text;
	kb_sha1(text, strlen(text), digest);
	kb_hex(digest, sizeof(digest), s->sha);
}

static void
encode_script(struct kb_buf *out, const char *verb, const char *script,
    const struct kb_redis_call *call)
{
	const struct kb_slice first[] = { kb_slice_of(verb),
		kb_slice_of(script) };

	encode_head(out, 2 + call->argc);
	encode_words(out, first, 2);
	encode_words(out, call->argv, call->argc);
}

void
kb_redis_eval(struct kb_redis *r, const struct kb_redis_script *s,
    const struct kb_redis_call *call)
{
	struct redis_slot *slot = begin(r, call);

	if (!slot)
		return;
	encode_script(&r->out, "EVALSHA", s->sha, call);
	encode_script(&slot->again, "EVAL", s->text, call);
}

/* ---- replies ----------------------------------------------------------------
 */

static const redisReply *
inner(const struct kb_redis_reply *reply)
{
	return (const redisReply *)(const void *)reply;
}

enum kb_redis_kind
kb_redis_kind(const struct kb_redis_reply *reply)
{
	const redisReply *r = inner(reply);

	if (!r)
		return KB_REDIS_NIL;
	switch (r->type) {
	case REDIS_REPLY_INTEGER: return KB_REDIS_INT;
	case REDIS_REPLY_ARRAY: return KB_REDIS_LIST;
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_STATUS:
	case REDIS_REPLY_ERROR: return KB_REDIS_TEXT;
	default: return KB_REDIS_NIL;
	}
}

int64_t
kb_redis_int(const struct kb_redis_reply *reply)
{
	return kb_redis_kind(reply) == KB_REDIS_INT ? inner(reply)->integer : 0;
}

struct kb_slice
kb_redis_text(const struct kb_redis_reply *reply)
{
	if (kb_redis_kind(reply) != KB_REDIS_TEXT)
		return (struct kb_slice) { "", 0 };
	return (
	    struct kb_slice) { inner(reply)->str, (size_t)inner(reply)->len };
}

size_t
kb_redis_count(const struct kb_redis_reply *reply)
{
	return kb_redis_kind(reply) == KB_REDIS_LIST ? inner(reply)->elements
						     : 0;
}

const struct kb_redis_reply *
kb_redis_item(const struct kb_redis_reply *reply, size_t i)
{
	if (i >= kb_redis_count(reply))
		return NULL;
	return (const struct kb_redis_reply *)(const void *)inner(reply)
	    ->element[i];
}

/* ---- state
 * -------------------------------------------------------------------
 */

bool
kb_redis_is_up(const struct kb_redis *r)
{
	return atomic_load_explicit(&r->counts.up, memory_order_relaxed);
}

void
kb_redis_stats(const struct kb_redis *r, struct kb_redis_stats *out)
{
	const struct redis_counts *c = &r->counts;

	*out = (struct kb_redis_stats) {
		.up = c->up,
		.inflight = c->inflight,
		.commands = c->commands,
		.answers = c->answers,
		.timeouts = c->timeouts,
		.refused = c->refused,
		.not_sent = c->not_sent,
		.connects = c->connects,
		.losses = c->losses,
		.opened = c->opened,
		.scripts = c->scripts,
	};
}
