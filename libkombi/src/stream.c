/*
 * Replies whose body is not in memory. A stream is fed by any thread: what it
 * sends waits in the stream, which is put on the loop's list; the loop alone
 * touches the exchange.
 */
#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "service_private.h"

#define HIGH_WATER (1u << 20)
#define PIECE (64u << 10) /* of a file, read at once */
#define TICK_MS 500

struct kb_streams {
	pthread_mutex_t lock; /* of `dirty` */
	struct kb_stream *dirty;
	int efd;
	struct event *wake, *tick;
	struct kb_stream *all; /* attached ones; the loop's */
	bool ending;           /* the service stops: nothing stays open */
};

struct kb_stream {
	atomic_uint refs;
	struct kb_streams *streams; /* NULL: there is no loop (tests) */
	struct kb_stream_conf conf;

	pthread_mutex_t lock; /* covers the next block */
	struct kb_buf pending;
	bool ended, cut, gone, queued;
	int64_t sent_ms;
	struct kb_stream *next_dirty; /* under the streams' lock */

	/* the loop's */
	struct kb_exchange *ex;
	bool blocked, finished;
	int64_t opened_ms, byte_ms;
	struct kb_stream *next, **at;
};

/* ---- references ------------------------------------------------------------
 */

struct kb_stream *
kb_stream_ref(struct kb_stream *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
kb_stream_release(struct kb_stream *s)
{
	if (s == NULL || atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	kb_buf_free(&s->pending);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- any thread -------------------------------------------------------------
 */

/* Under the stream's lock: tells the loop, once until it has looked. */
static void
tell(struct kb_stream *s)
{
	struct kb_streams *all = s->streams;
	bool first;

	if (s->queued || s->gone || all == NULL)
		return;
	s->queued = true;
	kb_stream_ref(s);
	pthread_mutex_lock(&all->lock);
	first = all->dirty == NULL;
	s->next_dirty = all->dirty;
	all->dirty = s;
	pthread_mutex_unlock(&all->lock);
	if (first)
		(void)eventfd_write(all->efd, 1);
}

bool
kb_stream_send(struct kb_stream *s, const void *data, size_t len)
{
	size_t most = s->conf.high_water ? s->conf.high_water : HIGH_WATER;
	bool taken = false;

	pthread_mutex_lock(&s->lock);
	if (!s->gone && !s->ended && !s->cut) {
		s->cut = s->pending.len + len > most;
		taken = !s->cut;
		if (taken) {
			kb_buf_add(&s->pending, data, len);
			s->sent_ms = kb_mono_ms();
		}
		tell(s);
	}
	pthread_mutex_unlock(&s->lock);
	return taken;
}

void
kb_stream_end(struct kb_stream *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->gone && !s->ended) {
		s->ended = true;
		tell(s);
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- the loop
 * ---------------------------------------------------------------- */

static void
finish(struct kb_stream *s)
{
	if (s->finished)
		return;
	s->finished = true;
	kb_ex_finish(s->ex);
}

/* May end the exchange, and with it what the frame holds of the stream. */
static void
flush(struct kb_stream *s)
{
	struct kb_buf out;
	bool ended, cut;

	if (s->ex == NULL || s->finished)
		return;
	pthread_mutex_lock(&s->lock);
	cut = s->cut;
	if (s->blocked && !cut) {
		pthread_mutex_unlock(&s->lock);
		return;
	}
	out = s->pending;
	kb_buf_init(&s->pending, SIZE_MAX / 2);
	ended = s->ended;
	pthread_mutex_unlock(&s->lock);
	if (cut) {
		s->finished = true;
		kb_ex_abort(s->ex);
	} else if (out.len > 0) {
		s->byte_ms = kb_mono_ms();
		s->blocked = !kb_ex_write(s->ex, out.ptr, out.len);
	}
	kb_buf_free(&out);
	if (ended && !cut)
		finish(s);
}

void
kb_stream_attach(struct kb_stream *s, struct kb_exchange *ex)
{
	struct kb_streams *all = s->streams;

	s->ex = ex;
	s->opened_ms = s->byte_ms = kb_mono_ms();
	s->next = all->all;
	s->at = &all->all;
	if (s->next != NULL)
		s->next->at = &s->next;
	all->all = s;
	kb_ex_endless(ex);
	flush(s);
	/* A HEAD's answer has no body that could go on. */
	if (all->ending || kb_ex_head(ex)->method == KB_M_HEAD)
		finish(s);
}

void
kb_stream_writable(struct kb_stream *s)
{
	s->blocked = false;
	flush(s);
}

void
kb_stream_gone(struct kb_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->gone = true;
	pthread_mutex_unlock(&s->lock);
	if (s->at != NULL) {
		*s->at = s->next;
		if (s->next != NULL)
			s->next->at = s->at;
		s->at = NULL;
	}
	s->ex = NULL;
	if (s->conf.closed != NULL)
		s->conf.closed(s, s->conf.arg);
	kb_stream_release(s);
}

struct kb_slice
kb_stream_pending(struct kb_stream *s)
{
	return (struct kb_slice) { kb_buf_str(&s->pending), s->pending.len };
}

/* ---- all of them
 * --------------------------------------------------------------- */

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct kb_streams *all = arg;
	struct kb_stream *s, *next;
	eventfd_t n;

	(void)what;
	(void)eventfd_read(fd, &n);
	pthread_mutex_lock(&all->lock);
	s = all->dirty;
	all->dirty = NULL;
	pthread_mutex_unlock(&all->lock);
	for (; s != NULL; s = next) {
		next = s->next_dirty;
		pthread_mutex_lock(&s->lock);
		s->queued = false;
		pthread_mutex_unlock(&s->lock);
		flush(s);
		kb_stream_release(s);
	}
}

static bool
is_over(struct kb_stream *s, int64_t now)
{
	const struct kb_stream_conf *c = &s->conf;
	int64_t sent;

	pthread_mutex_lock(&s->lock);
	sent = s->sent_ms;
	pthread_mutex_unlock(&s->lock);
	return (c->most_ms > 0 && now - s->opened_ms >= c->most_ms) ||
	    (c->idle_ms > 0 && now - sent >= c->idle_ms);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kb_streams *all = arg;
	int64_t now = kb_mono_ms();

	(void)fd;
	(void)what;
	for (struct kb_stream *s = all->all, *next; s != NULL; s = next) {
		next = s->next;
		if (is_over(s, now)) {
			finish(s);
		} else if (s->conf.keep_alive_ms > 0 && !s->blocked &&
		    now - s->byte_ms >= s->conf.keep_alive_ms) {
			s->byte_ms = now;
			s->blocked = !kb_ex_write(s->ex, ": \n\n", 4);
		}
	}
}

void
kb_streams_end(struct kb_streams *all)
{
	all->ending = true;
	for (struct kb_stream *s = all->all; s != NULL; s = s->next)
		finish(s);
}

struct kb_streams *
kb_streams_new(struct event_base *base)
{
	struct kb_streams *all = kb_xalloc(sizeof(*all));
	struct timeval tick = { 0, TICK_MS * 1000 };

	*all = (struct kb_streams) { .efd = -1 };
	pthread_mutex_init(&all->lock, NULL);
	all->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (all->efd < 0)
		kb_fatal("cannot make an eventfd (errno %d)", errno);
	all->wake = event_new(
	    base, all->efd, EV_READ | EV_PERSIST, on_wake, all);
	all->tick = event_new(base, -1, EV_PERSIST, on_tick, all);
	if (all->wake == NULL || event_add(all->wake, NULL) != 0 ||
	    all->tick == NULL || event_add(all->tick, &tick) != 0)
		kb_fatal("cannot watch the streams");
	return all;
}

void
kb_streams_free(struct kb_streams *all)
{
	if (all == NULL)
		return;
	assert(all->all == NULL);
	on_wake(all->efd, 0, all);
	event_free(all->wake);
	event_free(all->tick);
	close(all->efd);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* ---- replies
 * -------------------------------------------------------------------- */

struct kb_reply
kb_stream_reply(struct kb_request *req, const struct kb_stream_conf *conf,
    struct kb_stream **out)
{
	struct kb_stream *s = kb_xalloc(sizeof(*s));
	struct kb_reply reply = kb_bytes_reply(
	    req, 200, conf->content_type, "", 0);

	memset(s, 0, sizeof(*s));
	atomic_init(&s->refs, 2); /* the caller's and the frame's */
	s->streams = kb_runtime_of(req->private_->app)->streams;
	s->conf = *conf;
	s->sent_ms = kb_mono_ms();
	pthread_mutex_init(&s->lock, NULL);
	kb_buf_init(&s->pending, SIZE_MAX / 2);
	reply.private_->stream = s;
	*out = s;
	return reply;
}

static void
close_file(void *arg)
{
	struct kb_file_body *f = arg;

	close(f->fd);
}

struct kb_reply
kb_file_reply(struct kb_request *req, int status, const char *content_type,
    int fd, uint64_t from, uint64_t len)
{
	struct kb_reply reply = kb_bytes_reply(
	    req, status, content_type, "", 0);
	struct kb_file_body *f = kb_new(req->cx.arena, struct kb_file_body);

	*f = (struct kb_file_body) { fd, from, len };
	kb_arena_on_free(req->cx.arena, close_file, f);
	reply.private_->file = f;
	return reply;
}

void
kb_file_send(struct kb_file_body *f, struct kb_exchange *ex)
{
	char piece[PIECE];
	bool more = true;

	while (more && f->left > 0) {
		size_t want = f->left < PIECE ? (size_t)f->left : PIECE;
		ssize_t n = pread(f->fd, piece, want, (off_t)f->at);

		if (n <= 0) {
			/* Shorter than it was, or unreadable: cut off, so that
			 * the client sees it. */
			f->left = 0;
			kb_ex_abort(ex);
			return;
		}
		f->at += (uint64_t)n;
		f->left -= (uint64_t)n;
		more = kb_ex_write(ex, piece, (size_t)n);
	}
	if (f->left == 0)
		kb_ex_finish(ex);
}

int
kb_body_fd(const struct kb_request *req)
{
	return req->private_->body_fd;
}
