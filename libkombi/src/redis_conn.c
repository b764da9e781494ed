/*
 * The connection of a Redis client: dial, greet, read, write, rest. hiredis
 * reads the replies; the socket, its timers and its buffer are ours, because
 * hiredis' own asynchronous layer has neither connect nor command timeouts.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "redis_private.h"

enum { REST_MS = 25, REST_STEPS = 4, ARRAY_MAX = 1 << 20 };

#if HIREDIS_MAJOR >= 1
typedef size_t array_size;
#else
typedef int array_size;
#endif

void
kb_redis_timer(struct event *ev, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(ev, &tv);
}

/* Waits, then dials or (connected, but not fit yet) asks again. 25 to 400 ms,
 * so that a Redis that came back is noticed within a second. */
void
kb_redis_rest(struct kb_redis *r)
{
	unsigned step = r->tries < REST_STEPS ? r->tries : REST_STEPS;
	uint32_t most = (uint32_t)REST_MS << step, jitter;

	kb_random(&jitter, sizeof(jitter));
	r->tries++;
	if (r->state != REDIS_PROBE)
		r->state = REDIS_REST;
	kb_redis_timer(&r->timer, most / 2 + jitter % (most / 2 + 1));
}

void
kb_redis_hang_up(struct kb_redis *r)
{
	kb_redis_lookup_drop(r);
	if (r->fd >= 0) {
		event_del(&r->io);
		close(r->fd);
		r->fd = -1;
	}
	if (r->reader) {
		redisReaderFree(r->reader);
		r->reader = NULL;
	}
	kb_buf_free(&r->out);
	event_del(&r->timer);
	r->greetings = 0;
	r->unanswered_bytes = 0;
	r->state = REDIS_REST;
}

/* ---- reading ----------------------------------------------------------------
 */

/* An array of a billion elements is garbage, and costs memory at once. */
static void *
bounded_array(const redisReadTask *task, array_size n)
{
	const redisReplyObjectFunctions *usual = task->privdata;

	return n > (array_size)ARRAY_MAX ? NULL : usual->createArray(task, n);
}

static bool
reader_new(struct kb_redis *r)
{
	r->reader = redisReaderCreate();
	if (!r->reader)
		return false;
	r->fns = *r->reader->fn;
	r->fns.createArray = bounded_array;
	/* Tasks carry privdata; the usual functions do not look at it. */
	r->reader->privdata = r->reader->fn;
	r->reader->fn = &r->fns;
	return true;
}

/* Takes all complete replies. NULL: fine, or what is wrong. */
static const char *
take_replies(struct kb_redis *r)
{
	void *reply = NULL;

	while (r->reader) {
		bool known;

		if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
			return "bytes that are not Redis'";
		if (!reply)
			return r->unanswered_bytes > r->conf.reply_max
			    ? "an answer without end"
			    : NULL;
		r->unanswered_bytes = 0;
		known = kb_redis_answer(r, reply);
		freeReplyObject(reply);
		if (!known)
			return "an answer to nothing";
		if (r->freed)
			return NULL;
	}
	return NULL;
}

bool
kb_redis_receive(struct kb_redis *r)
{
	char chunk[16384];
	bool standing;

	if (r->fd < 0 || r->state < REDIS_GREET)
		return r->fd >= 0;
	kb_redis_enter(r);
	while (r->fd >= 0) {
		ssize_t n = read(r->fd, chunk, sizeof(chunk));
		const char *wrong;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			kb_redis_lost(r, n == 0 ? "closed" : strerror(errno));
			break;
		}
		r->unanswered_bytes += (size_t)n;
		wrong = redisReaderFeed(r->reader, chunk, (size_t)n)
		    ? "an answer too large"
		    : take_replies(r);
		if (wrong)
			kb_redis_lost(r, wrong);
		if ((size_t)n < sizeof(chunk))
			break;
	}
	standing = r->fd >= 0 && !r->freed;
	kb_redis_leave(r);
	return standing;
}

/* ---- writing ----------------------------------------------------------------
 */

static void
watch(struct kb_redis *r, short what)
{
	if ((event_get_events(&r->io) & (EV_READ | EV_WRITE)) == what &&
	    event_pending(&r->io, what, NULL))
		return;
	event_del(&r->io);
	event_assign(&r->io, r->conf.base, r->fd, (short)(what | EV_PERSIST),
	    event_get_callback(&r->io), r);
	event_add(&r->io, NULL);
}

static void
send_out(struct kb_redis *r)
{
	while (r->out.len > 0) {
		ssize_t n = send(r->fd, r->out.ptr, r->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			watch(r, EV_READ | EV_WRITE);
			return;
		}
		if (n < 0) {
			kb_redis_lost(r, strerror(errno));
			return;
		}
		kb_buf_consume(&r->out, (size_t)n);
	}
	if (r->state == REDIS_GREET) { /* held the password */
		kb_wipe(r->out.ptr, r->out.cap);
		kb_buf_free(&r->out);
	}
	watch(r, EV_READ);
}

void
kb_redis_send_soon(struct kb_redis *r)
{
	event_active(&r->soon, EV_TIMEOUT, 0);
}

/* ---- dialing ----------------------------------------------------------------
 */

static struct kb_slice
secret_slice(const struct kb_secret *s)
{
	struct kb_slice out;

	out.ptr = (const char *)kb_secret_reveal(s, &out.len);
	return out;
}

static void
say(struct kb_redis *r, const struct kb_slice *argv, size_t argc)
{
	kb_redis_encode(&r->out, argv, argc);
	kb_redis_push(r, FROM_GREETING, r->conf.connect_ms);
	r->greetings++;
}

/* SELECT also for database 0: what does not speak Redis is found out before
 * a user's command is sent there. */
static void
greet(struct kb_redis *r)
{
	char number[16];
	struct kb_slice argv[3];
	size_t n = 0;

	event_del(&r->timer);
	r->state = REDIS_GREET;
	if (kb_secret_is_set(&r->password)) {
		argv[n++] = kb_slice_of("AUTH");
		if (r->user)
			argv[n++] = kb_slice_of(r->user);
		argv[n++] = secret_slice(&r->password);
		say(r, argv, n);
	}
	snprintf(number, sizeof(number), "%d", r->conf.database);
	argv[0] = kb_slice_of("SELECT");
	argv[1] = kb_slice_of(number);
	say(r, argv, 2);
	watch(r, EV_READ);
}

static void
on_io(evutil_socket_t fd, short what, void *arg)
{
	struct kb_redis *r = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	kb_redis_enter(r);
	if (r->state == REDIS_DIALING) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
			error = errno;
		if (error)
			kb_redis_lost(r, strerror(error));
		else
			greet(r);
	} else if (!(what & EV_READ) || kb_redis_receive(r)) {
		if ((what & EV_WRITE) && r->fd >= 0)
			send_out(r);
	}
	kb_redis_leave(r);
}

void
kb_redis_dial_address(
    struct kb_redis *r, const union redis_address *address, socklen_t len)
{
	const int on = 1;

	if (!address) {
		kb_redis_lost(r, "its name is not known");
		return;
	}
	r->fd = socket(address->any.sa_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->fd < 0 || !reader_new(r)) {
		kb_redis_lost(r, "no socket");
		return;
	}
	if (address->any.sa_family != AF_UNIX) {
		setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(r->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	r->state = REDIS_DIALING;
	event_assign(
	    &r->io, r->conf.base, r->fd, EV_WRITE | EV_PERSIST, on_io, r);
	if (connect(r->fd, &address->any, len) != 0 && errno != EINPROGRESS) {
		kb_redis_lost(r, strerror(errno));
		return;
	}
	event_add(&r->io, NULL);
}

void
kb_redis_dial(struct kb_redis *r)
{
	union redis_address address = { .local = { .sun_family = AF_UNIX } };

	r->state = REDIS_NAMING;
	kb_redis_timer(&r->timer, r->conf.connect_ms);
	if (r->host[0] != '/') {
		kb_redis_lookup(r);
		return;
	}
	snprintf(address.local.sun_path, sizeof(address.local.sun_path), "%s",
	    r->host);
	kb_redis_dial_address(r, &address, sizeof(address.local));
}

static void
ask_again(struct kb_redis *r)
{
	const struct kb_slice ping = { "PING", 4 };

	kb_redis_encode(&r->out, &ping, 1);
	kb_redis_push(r, FROM_PROBE, r->conf.connect_ms);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kb_redis *r = arg;

	(void)fd;
	(void)what;
	if (r->state == REDIS_REST)
		kb_redis_dial(r);
	else if (r->state == REDIS_PROBE)
		ask_again(r);
	else
		kb_redis_lost(r, "connect timeout");
}

void
kb_redis_conn_init(struct kb_redis *r)
{
	r->fd = -1;
	event_assign(&r->timer, r->conf.base, -1, 0, on_timer, r);
	kb_redis_timer(&r->timer, 0);
}
