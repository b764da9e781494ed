/*
 * Where the loop, the workers and the wire meet: each request becomes a job
 * with an arena of its own; the loop owns it, lends it to a worker, answers,
 * and frees it. A client that leaves takes the exchange away, never the job.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/http_server.h>
#include <kombi/pool.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "envelope.h"
#include "service_private.h"
#include "stream.h"

#define QUEUE_WAIT_MS 10000 /* who waited longer has given up */
#define INLINE_MS 50
#define BODY_LIMIT (1u << 20)
#define SPOOL_FROM (64u << 10) /* larger bodies go to a file */

struct serving {
	struct kb_runtime *rt;
	struct event_base *base;
	struct kb_server *server;
	struct kb_pool *pool;
	struct kb_pool *frame; /* one thread for /health, /ready, /metrics */
	struct kb_access *access;
	struct event *signals[4];
	size_t n_signals;
	pid_t child;
	int status; /* of the process */
	bool stopping;
};

struct job {
	struct kb_task task;
	struct serving *sv;
	struct kb_exchange *ex; /* NULL: the client is gone */
	struct kb_request *req;
	struct kb_reply reply;
	struct kb_buf *body, *lines;
	int64_t started_ns;
	int status;
	bool later;   /* authorisation goes on on the worker */
	bool running; /* a worker owns req and reply */
	bool answered;
	uint64_t spooled; /* bytes of the body in its file */
};

/* ---- one job
 * ---------------------------------------------------------------------- */

static void
job_close(struct job *job)
{
	const struct kb_reply_private *p = job->reply.private_;

	if (p != NULL && p->stream != NULL)
		kb_stream_gone(p->stream);
	kb_access_end(job->sv->access, job->req, job->status, job->started_ns);
	kb_arena_free(job->req->cx.arena);
}

static void
job_reply(struct job *job, struct kb_reply reply)
{
	job->reply = reply;
	job->lines = kb_arena_buf(job->req->cx.arena, 65536);
	kb_reply_lines(job->req, &reply, job->lines);
}

static void
job_answer(struct job *job)
{
	const struct kb_reply_private *p = job->reply.private_;

	job->answered = true;
	if (p->stream != NULL || p->file != NULL) {
		kb_ex_head_out(job->ex, job->reply.status, job->lines->ptr,
		    job->lines->len,
		    p->file ? p->file->left : KB_LENGTH_STREAM);
		if (p->file != NULL)
			kb_file_send(p->file, job->ex);
		else
			kb_stream_attach(p->stream, job->ex);
		return;
	}
	kb_ex_answer(job->ex, job->reply.status, job->lines->ptr,
	    job->lines->len, p->body, p->len);
}

static void
job_fail(struct job *job, enum kb_err err, const char *message)
{
	if (err == KB_UNAVAILABLE)
		kb_reply_header(job->req, "Retry-After", "1");
	job_reply(job, kb_refuse(job->req, err, message));
}

static void
job_work(struct kb_task *task)
{
	struct job *job = KB_CONTAINER(task, struct job, task);

	if (kb_mono_ms() - task->queued_ms > QUEUE_WAIT_MS)
		job_fail(job, KB_UNAVAILABLE, "The service is overloaded");
	else
		job_reply(job, kb_request_run(job->req, job->later));
}

static void
job_done(struct kb_task *task)
{
	struct job *job = KB_CONTAINER(task, struct job, task);

	job->running = false;
	if (job->ex != NULL)
		job_answer(job);
	else
		job_close(job);
}

/*
 * The frame's own routes have a thread to themselves: a service whose
 * workers are all busy is still alive and says so.
 */
static struct kb_pool *
pool_for(const struct job *job)
{
	const struct kb_route *r = kb_frame_routes;

	while (r->method != KB_M_NONE && r != job->req->route)
		r++;
	return r->method == KB_M_NONE ? job->sv->pool : job->sv->frame;
}

static void
job_start(struct job *job)
{
	job->task.work = job_work;
	job->task.done = job_done;
	if (job->sv->rt->app.service->lane != NULL)
		job->task.lane = job->sv->rt->app.service->lane(job->req);
	job->req->cx.deadline_ms = kb_mono_ms() + KB_REQUEST_MS;
	kb_access_queue(job->sv->access, kb_pool_waiting(job->sv->pool));
	if (kb_pool_submit(pool_for(job), &job->task)) {
		job->running = true;
		return;
	}
	job_fail(job, KB_UNAVAILABLE, "The service is overloaded");
	job_answer(job);
}

/* On the loop: what blocks here blocks everybody. */
static void
job_inline(struct job *job)
{
	int64_t began = kb_mono_ms();

	job_reply(job, kb_request_run(job->req, job->later));
	if (kb_mono_ms() - began > INLINE_MS)
		kb_warn(job->req->cx.log, "inline handler blocks the loop",
		    KB_S("path", job->req->path),
		    KB_N("ms", kb_mono_ms() - began));
	job_answer(job);
}

/* ---- the engine's calls
 * -------------------------------------------------------------- */

static struct job *
job_new(struct serving *sv, struct kb_exchange *ex)
{
	struct kb_arena *a = kb_arena_new(8192);
	struct job *job = kb_new(a, struct job);
	struct kb_request_source from = {
		.method = kb_ex_head(ex)->method,
		.path = kb_ex_path(ex),
		.query = kb_ex_query(ex),
		.id = kb_ex_request_id(ex),
		.peer = kb_ex_peer_text(ex),
		.head = kb_ex_head(ex),
		.bytes = kb_ex_bytes(ex),
	};

	job->sv = sv;
	job->ex = ex;
	job->req = kb_request_new(a, &sv->rt->app, &from);
	job->started_ns = kb_ex_started_ns(ex);
	kb_ex_set_user(ex, job);
	kb_access_begin(sv->access);
	return job;
}

/* All that is judged before a byte of the body is read. */
static enum kb_err
judge_head(struct job *job)
{
	const struct kb_http1_head *h = kb_ex_head(job->ex);
	bool has_body = h->chunked || (h->has_length && h->length > 0);
	enum kb_err err = kb_request_route(job->req, job->sv->rt->router);

	if (err == KB_OK)
		err = kb_authorise_head(job->req, &job->later);
	if (err == KB_OK)
		err = kb_request_media(job->req, has_body);
	return err;
}

/* ---- bodies in files --------------------------------------------------------
 */

static bool
spools(const struct job *job)
{
	return (job->req->route->flags & KB_SPOOL_BODY) &&
	    job->sv->rt->app.service->spool_folder != NULL;
}

static void
close_spool(void *arg)
{
	struct kb_request_private *p = arg;

	close(p->body_fd);
}

static bool
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* A file without a name: whatever happens, it is gone with its descriptor. */
static bool
open_spool(struct job *job)
{
	struct kb_app *app = &job->sv->rt->app;
	struct kb_request_private *p = job->req->private_;
	const char *folder = app->service->spool_folder(
	    app, job->req->cx.arena);

	p->body_fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (p->body_fd < 0)
		return false;
	kb_arena_on_free(job->req->cx.arena, close_spool, p);
	job->spooled = job->body->len;
	return write_all(p->body_fd, job->body->ptr, job->body->len);
}

static bool
spool(struct job *job, const char *data, size_t len)
{
	struct kb_request_private *p = job->req->private_;

	if ((p->body_fd < 0 && !open_spool(job)) ||
	    !write_all(p->body_fd, data, len)) {
		kb_error(job->req->cx.log, "cannot keep a request's body",
		    KB_S("error", strerror(errno)));
		return false;
	}
	job->spooled += len;
	return true;
}

static void
on_request(struct kb_exchange *ex)
{
	struct job *job = job_new(kb_ex_arg(ex), ex);
	const struct kb_http1_head *h = kb_ex_head(ex);
	enum kb_err err = judge_head(job);
	uint64_t limit;

	if (err == KB_METHOD && h->method == KB_M_OPTIONS) {
		job_reply(job, kb_options(job->req));
		job_answer(job);
		return;
	}
	if (err) {
		job_fail(job, err, NULL);
		job_answer(job);
		return;
	}
	limit = job->req->route->body_limit ? job->req->route->body_limit
					    : BODY_LIMIT;
	job->body = kb_arena_buf(job->req->cx.arena, limit + 1);
	kb_ex_body_limit(ex, limit);
	if (spools(job))
		kb_ex_body_deadline(ex, 0); /* the least rate is enough */
	if (!h->has_length || h->length <= limit)
		kb_ex_continue(ex);
}

static void
on_body(struct kb_exchange *ex, const char *data, size_t len)
{
	struct job *job = kb_ex_user(ex);

	if (job->answered)
		return;
	if (job->spooled == 0 &&
	    (!spools(job) || job->body->len + len <= SPOOL_FROM)) {
		kb_buf_add(job->body, data, len);
		return;
	}
	if (!spool(job, data, len)) {
		job_fail(job, KB_RESOURCE_LIMIT, NULL);
		job_answer(job);
	}
}

static void
on_body_end(struct kb_exchange *ex)
{
	struct job *job = kb_ex_user(ex);

	if (job->answered)
		return;
	if (job->spooled > 0) {
		(void)lseek(job->req->private_->body_fd, 0, SEEK_SET);
		kb_request_body(job->req, "", (size_t)job->spooled);
	} else
		kb_request_body(
		    job->req, kb_buf_str(job->body), job->body->len);
	if (job->req->route->flags & KB_INLINE)
		job_inline(job);
	else
		job_start(job);
}

static void
on_writable(struct kb_exchange *ex)
{
	struct job *job = kb_ex_user(ex);
	const struct kb_reply_private *p = job->reply.private_;

	if (p != NULL && p->file != NULL && p->file->left > 0)
		kb_file_send(p->file, ex);
	else if (p != NULL && p->stream != NULL)
		kb_stream_writable(p->stream);
}

static void
on_end(struct kb_exchange *ex, enum kb_end end)
{
	struct job *job = kb_ex_user(ex);

	/* 499: the client left before it had an answer. */
	job->status = kb_ex_status(ex);
	if (end == KB_END_ABORTED && job->status == 0)
		job->status = 499;
	job->ex = NULL;
	if (!job->running)
		job_close(job);
}

static void
on_refused(void *arg, const struct sockaddr_storage *peer, int status,
    const char *request_id, const char *why)
{
	const struct sockaddr_in6 *in6 = (const void *)peer;
	const struct sockaddr_in *in = (const void *)peer;
	char text[INET6_ADDRSTRLEN] = "unknown";

	(void)arg;
	if (peer->ss_family == AF_INET)
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
	else if (peer->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
	kb_access_refused(text, status, request_id, why);
}

static const struct kb_server_ops ops = {
	.on_request = on_request,
	.on_body = on_body,
	.on_body_end = on_body_end,
	.on_writable = on_writable,
	.on_end = on_end,
	.on_refused = on_refused,
};

/* ---- stopping
 * -------------------------------------------------------------------------- */

static void
on_drained(void *arg)
{
	struct serving *sv = arg;

	event_base_loopbreak(sv->base);
}

static void
stop(struct serving *sv)
{
	if (sv->stopping)
		return;
	sv->stopping = true;
	atomic_store(&sv->rt->draining, true);
	kb_info(NULL, "draining", KB_N("limitMs", sv->rt->common.drain_ms));
	kb_streams_end(sv->rt->streams);
	kb_server_drain(sv->server, sv->rt->common.drain_ms, on_drained, sv);
}

static void
on_stop_signal(evutil_socket_t signal, short what, void *arg)
{
	struct serving *sv = arg;

	(void)signal;
	(void)what;
	if (sv->child > 0)
		kill(sv->child, SIGTERM);
	if (sv->stopping) {
		kb_warn(NULL, "told twice to stop: leaving at once", KB_END);
		_exit(1);
	}
	stop(sv);
}

static void
on_reload_signal(evutil_socket_t signal, short what, void *arg)
{
	struct serving *sv = arg;
	const struct kb_service *service = sv->rt->app.service;

	(void)signal;
	(void)what;
	if (service->reload != NULL)
		service->reload(&sv->rt->app);
}

/* The shell's way to tell an end by a signal: 128 + its number. */
static int
status_of(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
				      : 128 + WTERMSIG(wait_status);
}

static void
on_child_signal(evutil_socket_t signal, short what, void *arg)
{
	struct serving *sv = arg;
	int wait_status;

	(void)signal;
	(void)what;
	if (sv->child <= 0 ||
	    waitpid(sv->child, &wait_status, WNOHANG) != sv->child)
		return;
	sv->child = 0;
	sv->status = status_of(wait_status);
	stop(sv);
}

static void
watch_signal(struct serving *sv, int number, event_callback_fn fn)
{
	struct event *ev = evsignal_new(sv->base, number, fn, sv);

	if (ev == NULL || event_add(ev, NULL) != 0)
		kb_fatal("cannot watch signal %d", number);
	sv->signals[sv->n_signals++] = ev;
}

/* ---- the whole
 * ----------------------------------------------------------------------------
 */

/* As many descriptors as the system lets us have. */
static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static struct event_base *
base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	/* One thread a base: no locks. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	if (base == NULL)
		kb_fatal("cannot make an event loop");
	return base;
}

static void
serving_open(struct serving *sv, int fd)
{
	struct kb_server_conf conf = {
		.ops = &ops,
		.arg = sv,
		.always = kb_security_lines,
	};

	raise_descriptors();
	sv->access = kb_access_new(sv->rt->arena, sv->rt->app.service->routes);
	sv->base = conf.base = base_new();
	watch_signal(sv, SIGTERM, on_stop_signal);
	watch_signal(sv, SIGINT, on_stop_signal);
	watch_signal(sv, SIGHUP, on_reload_signal);
	watch_signal(sv, SIGCHLD, on_child_signal);
	sv->pool = kb_pool_new(sv->base, (unsigned)sv->rt->common.workers,
	    (unsigned)sv->rt->common.queue);
	if (sv->rt->app.service->lane != NULL)
		kb_pool_slow_lanes(sv->pool);
	sv->frame = kb_pool_new(sv->base, 1, 64);
	sv->rt->streams = kb_streams_new(sv->base);
	kb_background_start(sv->rt);
	sv->server = kb_server_new(&conf);
	kb_server_listen(sv->server, fd);
}

static void
serving_close(struct serving *sv)
{
	kb_pool_free(sv->pool);
	kb_pool_free(sv->frame);
	kb_server_free(sv->server);
	kb_streams_free(sv->rt->streams);
	sv->rt->streams = NULL;
	for (size_t i = 0; i < sv->n_signals; i++)
		event_free(sv->signals[i]);
	event_base_free(sv->base);
}

int
kb_serve(struct kb_runtime *rt, int fd, int child)
{
	struct serving sv = { .rt = rt, .child = child };

	serving_open(&sv, fd);
	kb_info(NULL, "listening", KB_S("address", rt->common.listen),
	    KB_N("port", kb_listen_port(fd)),
	    KB_N("workers", rt->common.workers));
	/* The command may have ended before its signal was watched. */
	event_active(sv.signals[3], EV_SIGNAL, 1);
	event_base_dispatch(sv.base);
	serving_close(&sv);
	kb_info(NULL, "stopped", KB_END);
	return sv.status;
}
