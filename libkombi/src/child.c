/* Child processes: spawn, limit, watch, capture, reap. */
#include <kombi/child.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kombi/buf.h>
#include <kombi/str.h>
#include <kombi/time.h>

enum { TICK_MS = 200, NO_PIDFD_TICK_MS = 20, CHUNK = 16384 };

/* One child in flight. Descriptors are -1 when closed. */
struct run {
	const struct kb_child *child;
	pid_t pid;
	int pidfd;
	int fd[2]; /* our ends of stdout and stderr */
	struct kb_buf got[2];
	size_t count[2];
	int64_t started_ms;
	bool ended;
	int wait_status;
	struct rusage usage;
	enum kb_child_end killed_for; /* EXITED: not killed by us */
};

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A memfd, not a pipe: nobody has to feed it while reading the answer. */
static int
open_input(const struct kb_child *c)
{
	const char *p = c->input;
	size_t left = c->input_len;
	int fd;

	if (c->input == NULL)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = memfd_create("input", MFD_CLOEXEC);
	while (fd >= 0 && left > 0) {
		ssize_t n = write(fd, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close_fd(&fd);
			break;
		}
		p += n;
		left -= (size_t)n;
	}
	if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0)
		close_fd(&fd);
	return fd;
}

static int
spawn_actions(posix_spawn_file_actions_t *actions, const struct kb_child *c,
    const int from[3])
{
	int err = 0;

	for (int i = 0; err == 0 && i < 3; i++)
		err = posix_spawn_file_actions_adddup2(actions, from[i], i);
	if (err == 0)
		err = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	if (err == 0 && c->cwd != NULL)
		err = posix_spawn_file_actions_addchdir_np(actions, c->cwd);
	return err;
}

/* Own group, default signals, empty mask: the child starts like any other. */
static int
spawn_attributes(posix_spawnattr_t *attr)
{
	sigset_t all, none;

	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	sigemptyset(&none);
	(void)posix_spawnattr_setsigdefault(attr, &all);
	(void)posix_spawnattr_setsigmask(attr, &none);
	(void)posix_spawnattr_setpgroup(attr, 0);
	return posix_spawnattr_setflags(attr,
	    POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
		POSIX_SPAWN_SETSIGMASK);
}

/* The prototype of posix_spawn is older than const. */
static char *const *
plain(const char *const *list)
{
	static const char *const none[] = { NULL };
	union {
		const char *const *from;
		char *const *to;
	} u = { .from = list != NULL ? list : none };

	return u.to;
}

static int
spawn(struct run *r, const int from[3])
{
	const struct kb_child *c = r->child;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	err = spawn_actions(&actions, c, from);
	if (err == 0)
		err = spawn_attributes(&attr);
	if (err == 0)
		err = posix_spawn(&r->pid, c->program, &actions, &attr,
		    plain(c->argv), plain(c->env));
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return err;
}

static int
limit_one(pid_t pid, enum __rlimit_resource what, uint64_t soft, uint64_t hard)
{
	struct rlimit now, want;

	if (prlimit(pid, what, NULL, &now) != 0)
		return errno;
	want.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
	want.rlim_cur = soft < want.rlim_max ? soft : want.rlim_max;
	return prlimit(pid, what, &want, NULL) != 0 ? errno : 0;
}

/*
 * posix_spawn has no attribute for limits; it returns when the child has
 * executed its program, so they hold from its first instructions on.
 */
static int
set_limits(const struct run *r)
{
	const struct kb_child *c = r->child;
	int err = limit_one(r->pid, RLIMIT_CORE, 0, 0);

	if (err == 0 && c->cpu_s > 0)
		err = limit_one(r->pid, RLIMIT_CPU, c->cpu_s, c->cpu_s + 1);
	if (err == 0 && c->memory > 0)
		err = limit_one(r->pid, RLIMIT_AS, c->memory, c->memory);
	if (err == 0 && c->file_size > 0)
		err = limit_one(
		    r->pid, RLIMIT_FSIZE, c->file_size, c->file_size);
	if (err == 0 && c->files > 0)
		err = limit_one(r->pid, RLIMIT_NOFILE, c->files, c->files);
	return err == ESRCH ? 0 : err; /* it is over already */
}

static void
end_for(struct run *r, enum kb_child_end why)
{
	if (r->killed_for != KB_CHILD_EXITED)
		return;
	r->killed_for = why;
	(void)kill(-r->pid, SIGKILL);
}

/* Takes what one stream holds; closes it at its end. */
static void
take(struct run *r, enum kb_child_stream s)
{
	char chunk[CHUNK];
	ssize_t n = read(r->fd[s], chunk, sizeof(chunk));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_fd(&r->fd[s]);
		return;
	}
	r->count[s] += (size_t)n;
	if (r->count[s] > r->child->max_output) {
		end_for(r, KB_CHILD_OUTPUT);
		close_fd(&r->fd[s]);
		return;
	}
	if (r->child->on_output != NULL)
		r->child->on_output(r->child->arg, s, chunk, (size_t)n);
	else
		kb_buf_add(&r->got[s], chunk, (size_t)n);
}

static void
reap(struct run *r, int flags)
{
	pid_t pid;

	do
		pid = wait4(r->pid, &r->wait_status, flags, &r->usage);
	while (pid < 0 && errno == EINTR);
	if (pid != r->pid)
		return;
	r->ended = true;
	/* What it left behind in its group goes with it. */
	(void)kill(-r->pid, SIGKILL);
}

/* After its end: what is still in the pipes, without waiting for more. */
static void
drain(struct run *r)
{
	for (int s = KB_CHILD_OUT; s <= KB_CHILD_ERR; s++) {
		size_t before = r->count[s] + 1;

		while (r->fd[s] >= 0 && before != r->count[s]) {
			before = r->count[s];
			take(r, (enum kb_child_stream)s);
		}
		close_fd(&r->fd[s]);
	}
}

static void
check_time(struct run *r)
{
	const struct kb_child *c = r->child;

	if (kb_mono_ms() - r->started_ms >= c->deadline_ms)
		end_for(r, KB_CHILD_DEADLINE);
	if (c->keep_going != NULL && !c->keep_going(c->arg))
		end_for(r, KB_CHILD_STOPPED);
}

static int
next_tick(const struct run *r)
{
	int64_t left = r->started_ms + r->child->deadline_ms - kb_mono_ms();
	int64_t tick = r->pidfd >= 0 ? TICK_MS : NO_PIDFD_TICK_MS;

	if (r->killed_for != KB_CHILD_EXITED)
		return NO_PIDFD_TICK_MS;
	return (int)(left < 0 ? 0 : left < tick ? left : tick);
}

static void
watch(struct run *r)
{
	while (!r->ended) {
		struct pollfd p[3] = {
			{ .fd = r->fd[0], .events = POLLIN },
			{ .fd = r->fd[1], .events = POLLIN },
			{ .fd = r->pidfd, .events = POLLIN },
		};

		(void)poll(p, 3, next_tick(r));
		for (int s = KB_CHILD_OUT; s <= KB_CHILD_ERR; s++)
			if (r->fd[s] >= 0 && p[s].revents != 0)
				take(r, (enum kb_child_stream)s);
		check_time(r);
		if (r->pidfd < 0 || p[2].revents != 0 ||
		    r->killed_for != KB_CHILD_EXITED)
			reap(r, WNOHANG);
	}
	drain(r);
}

static int64_t
cpu_ms(const struct rusage *u)
{
	return (int64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000 +
	    (int64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1000;
}

static void
report(struct kb_arena *a, const struct run *r, struct kb_child_result *out)
{
	*out = (struct kb_child_result) {
		.end = r->killed_for,
		.out = kb_strndup(a, kb_buf_str(&r->got[0]), r->got[0].len),
		.out_len = r->got[0].len,
		.err = kb_strndup(a, kb_buf_str(&r->got[1]), r->got[1].len),
		.err_len = r->got[1].len,
		.wall_ms = kb_mono_ms() - r->started_ms,
		.cpu_ms = cpu_ms(&r->usage),
	};
	if (WIFEXITED(r->wait_status))
		out->status = WEXITSTATUS(r->wait_status);
	if (!WIFSIGNALED(r->wait_status) || out->end != KB_CHILD_EXITED)
		return;
	out->signal = WTERMSIG(r->wait_status);
	out->end = KB_CHILD_SIGNALLED;
	if (r->child->cpu_s > 0 &&
	    (out->signal == SIGXCPU ||
		(out->signal == SIGKILL &&
		    out->cpu_ms >= (int64_t)r->child->cpu_s * 1000)))
		out->end = KB_CHILD_CPU;
}

/* The child's ends of its three streams in `theirs`, ours in r->fd. */
static bool
open_streams(struct run *r, int theirs[3])
{
	theirs[0] = open_input(r->child);
	for (int s = 0; s < 2; s++) {
		int pair[2];

		if (theirs[0] < 0 || pipe2(pair, O_CLOEXEC) != 0)
			return false;
		r->fd[s] = pair[0];
		theirs[s + 1] = pair[1];
		(void)fcntl(r->fd[s], F_SETFL, O_NONBLOCK);
	}
	return true;
}

static const char *
start(struct kb_arena *a, struct run *r)
{
	int theirs[3] = { -1, -1, -1 };
	const char *why = NULL;
	int err = 0;

	r->started_ms = kb_mono_ms();
	if (!open_streams(r, theirs))
		why = kb_sprintf(a, "no descriptors: %s", strerror(errno));
	if (why == NULL)
		err = spawn(r, theirs);
	if (err != 0)
		why = kb_sprintf(a, "%s: %s", r->child->program, strerror(err));
	for (int i = 0; i < 3; i++)
		close_fd(&theirs[i]);
	if (why != NULL)
		return why;
	err = set_limits(r);
	if (err != 0) {
		end_for(r, KB_CHILD_STOPPED);
		reap(r, 0);
		return kb_sprintf(a, "limits: %s", strerror(err));
	}
	r->pidfd = pidfd_open(r->pid, 0); /* close-on-exec by itself */
	return NULL;
}

enum kb_err
kb_child_run(struct kb_arena *a, const struct kb_child *child,
    struct kb_child_result *out, const char **why)
{
	struct run r = { .child = child, .pidfd = -1, .fd = { -1, -1 } };

	assert(child->deadline_ms > 0 && child->max_output > 0);
	kb_buf_init(&r.got[0], child->max_output);
	kb_buf_init(&r.got[1], child->max_output);
	*why = start(a, &r);
	if (*why == NULL) {
		watch(&r);
		report(a, &r, out);
	}
	close_fd(&r.fd[0]);
	close_fd(&r.fd[1]);
	close_fd(&r.pidfd);
	kb_buf_free(&r.got[0]);
	kb_buf_free(&r.got[1]);
	return *why == NULL ? KB_OK : KB_UNAVAILABLE;
}

const char *
kb_child_end_text(struct kb_arena *a, const struct kb_child_result *r)
{
	switch (r->end) {
	case KB_CHILD_EXITED:
		return kb_sprintf(a, "ended with status %d", r->status);
	case KB_CHILD_SIGNALLED:
		return kb_sprintf(a, "was ended by signal %d", r->signal);
	case KB_CHILD_CPU: return "used more CPU time than allowed";
	case KB_CHILD_DEADLINE:
		return kb_sprintf(
		    a, "was not done after %lld ms", (long long)r->wall_ms);
	case KB_CHILD_OUTPUT: return "printed more than allowed";
	case KB_CHILD_STOPPED: break;
	}
	return "was stopped";
}

bool
kb_child_arg_ok(const char *s)
{
	size_t len = s != NULL ? strnlen(s, 4097) : 0;

	return len > 0 && len <= 4096 && s[0] != '-' && !kb_has_control(s, len);
}
