/*
 * Structured log. Callers append whole lines to a bounded buffer, one thread
 * writes them out: a stopped reader of our stdout costs lines (counted, and
 * reported when it reads again), never a request.
 */
#include <kombi/log.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kombi/json.h>
#include <kombi/time.h>

#define LOG_PENDING_MAX ((size_t)1024 * 1024)
#define LOG_LINE_MAX ((size_t)32 * 1024)
#define LOG_VALUE_MAX ((size_t)4096)  /* longer texts are cut */
#define LOG_KEEP ((size_t)256 * 1024) /* of a buffer that was written out */
#define LOG_GATHER_MS 5               /* lines written by one write */
#define LOG_FLUSH_MS 1000

static atomic_int log_threshold = KB_INFO;
static _Atomic(const char *) log_service = "kombify";
static pthread_once_t log_once = PTHREAD_ONCE_INIT;

/* Covers `sink`. */
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct kb_buf pending;   /* lines to be written */
	uint64_t dropped;        /* since the last report */
	uint64_t added, written; /* count bytes taken and dealt with */
	int fd;
	bool idle;   /* the writer waits without a deadline */
	bool urgent; /* write now: somebody flushes, or a line matters */
	pthread_cond_t work, done;
} sink = { .fd = STDOUT_FILENO };

static const char *
level_name(enum kb_level level)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };

	return (unsigned)level < KB_COUNT(names) ? names[level] : "error";
}

static struct timespec
deadline_in(int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

/* False when the lines cannot be written at all. */
static bool
write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			poll(&pfd, 1, -1);
		} else if (n == 0 || errno != EINTR) {
			return false;
		}
	}
	return true;
}

static void
begin_line(struct kb_jsonw *w, enum kb_level level, const char *message)
{
	char now[KB_RFC3339_SIZE];

	kb_rfc3339(kb_wall_ms(), now);
	kb_w_object(w, NULL);
	kb_w_str(w, "timestamp", now);
	kb_w_str(w, "level", level_name(level));
	kb_w_slice(w, "message",
	    (struct kb_slice) { message, strnlen(message, LOG_VALUE_MAX) });
	kb_w_str(w, "service", log_service);
}

static void
report_dropped(struct kb_buf *out, uint64_t dropped)
{
	struct kb_jsonw w;

	kb_w_init(&w, out);
	begin_line(&w, KB_WARN, "log lines dropped");
	kb_w_int(&w, "dropped", (int64_t)dropped);
	kb_w_object_end(&w);
	kb_buf_addc(out, '\n');
}

/*
 * Waits for lines and takes them all; the mutex is held. The empty buffer that
 * it was called with takes the next ones, so that writers of lines need not
 * make one.
 */
static void
take_pending(struct kb_buf *lines)
{
	struct kb_buf empty = *lines;
	struct timespec until;

	while (sink.pending.len == 0) {
		sink.idle = true;
		pthread_cond_wait(&sink.work, &log_mutex);
	}
	sink.idle = false;
	until = deadline_in(LOG_GATHER_MS);
	while (!sink.urgent && sink.pending.len < LOG_PENDING_MAX / 2)
		if (pthread_cond_timedwait(&sink.work, &log_mutex, &until))
			break;
	sink.urgent = false;
	*lines = sink.pending;
	sink.pending = empty;
}

static void *
writer_main(void *arg)
{
	struct kb_buf lines;
	uint64_t dropped;
	size_t taken;
	int fd;

	(void)arg;
	kb_buf_init(&lines, LOG_PENDING_MAX);
	pthread_mutex_lock(&log_mutex);
	for (;;) {
		take_pending(&lines);
		taken = lines.len;
		dropped = sink.dropped;
		sink.dropped = 0;
		fd = sink.fd;
		pthread_mutex_unlock(&log_mutex);
		if (dropped) {
			lines.max += LOG_LINE_MAX;
			report_dropped(&lines, dropped);
		}
		write_all(fd, lines.ptr, lines.len);
		if (lines.cap > LOG_KEEP)
			kb_buf_free(&lines);
		kb_buf_reset(&lines);
		lines.max = LOG_PENDING_MAX;
		pthread_mutex_lock(&log_mutex);
		sink.written += taken;
		pthread_cond_broadcast(&sink.done);
	}
	return NULL;
}

static void
start_writer(void)
{
	pthread_condattr_t attr;
	sigset_t all, before;
	pthread_t thread;

	kb_buf_init(&sink.pending, LOG_PENDING_MAX);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sink.work, &attr);
	pthread_cond_init(&sink.done, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are for the main thread; SIGPIPE becomes an error. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, writer_main, NULL))
		abort();
	pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	atexit(kb_log_flush);
}

static void
add_line(const char *line, size_t len, bool urgent)
{
	char *p;

	pthread_once(&log_once, start_writer);
	pthread_mutex_lock(&log_mutex);
	p = kb_buf_reserve(&sink.pending, len + 1);
	if (p) {
		memcpy(p, line, len);
		p[len] = '\n';
		kb_buf_commit(&sink.pending, len + 1);
		sink.added += len + 1;
	} else {
		sink.dropped++;
	}
	sink.urgent |= urgent;
	if (sink.idle || urgent) {
		sink.idle = false;
		pthread_cond_signal(&sink.work);
	}
	pthread_mutex_unlock(&log_mutex);
}

void
kb_log_raw(const char *line, size_t len)
{
	add_line(line, len, false);
}

void
kb_log_flush(void)
{
	struct timespec until = deadline_in(LOG_FLUSH_MS);
	uint64_t target;

	pthread_once(&log_once, start_writer);
	pthread_mutex_lock(&log_mutex);
	target = sink.added;
	while (sink.written < target) {
		sink.urgent = true;
		pthread_cond_signal(&sink.work);
		if (pthread_cond_timedwait(&sink.done, &log_mutex, &until))
			break;
	}
	pthread_mutex_unlock(&log_mutex);
}

void
kb_log_fd(int fd)
{
	kb_log_flush();
	pthread_mutex_lock(&log_mutex);
	sink.fd = fd;
	pthread_mutex_unlock(&log_mutex);
}

void
kb_log_init(const char *service, enum kb_level threshold)
{
	log_service = service;
	log_threshold = (int)threshold;
}

void
kb_log_threshold(enum kb_level threshold)
{
	log_threshold = (int)threshold;
}

bool
kb_log_enabled(enum kb_level level)
{
	return (int)level >=
	    atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

static void
write_field(struct kb_jsonw *w, const struct kb_field *f)
{
	switch (f->kind) {
	case KB_FIELD_STR:
		if (f->str)
			kb_w_slice(w, f->name,
			    (struct kb_slice) {
				f->str, strnlen(f->str, LOG_VALUE_MAX) });
		else
			kb_w_null(w, f->name);
		break;
	case KB_FIELD_NUM: kb_w_int(w, f->name, f->num); break;
	case KB_FIELD_BOOL: kb_w_bool(w, f->name, f->num != 0); break;
	case KB_FIELD_END: break;
	}
}

static void
write_context(struct kb_jsonw *w, const struct kb_log *log)
{
	size_t i;

	if (!log)
		return;
	write_context(w, log->parent);
	for (i = 0; i < KB_COUNT(log->fields); i++) {
		if (log->fields[i].kind == KB_FIELD_END)
			break;
		write_field(w, &log->fields[i]);
	}
}

void
kb_log_write(const struct kb_log *log, enum kb_level level, const char *message,
    const struct kb_field *fields)
{
	struct kb_buf line;
	struct kb_jsonw w;

	if (!kb_log_enabled(level))
		return;
	kb_buf_init(&line, LOG_LINE_MAX);
	kb_w_init(&w, &line);
	begin_line(&w, level, message);
	write_context(&w, log);
	for (; fields && fields->kind != KB_FIELD_END; fields++)
		write_field(&w, fields);
	kb_w_object_end(&w);
	if (kb_buf_failed(&line)) {
		kb_buf_reset(&line);
		kb_w_init(&w, &line);
		begin_line(&w, level, message);
		kb_w_bool(&w, "truncated", true);
		kb_w_object_end(&w);
	}
	add_line(line.ptr, line.len, level == KB_ERROR);
	kb_buf_free(&line);
}

void
kb_fatal(const char *fmt, ...)
{
	va_list ap;

	kb_log_flush();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}
