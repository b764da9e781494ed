/*
 * Preloaded into a service: writes down what it does to the files below
 * DISK_LOG_ROOT, and which answers it sends, in the order of their
 * happening, into DISK_LOG. tests/e2e/power_loss.py makes of it the
 * states in which a loss of power could leave the disk.
 *
 * A record: kind, length of the path, offset, length of the data (1, 4, 8, 4
 * bytes), path, data. Kinds: W write, T truncate, S sync, U unlink, C create,
 * R rename (data: the new path), L link (the same; of a file without a name
 * the old path ends in "(deleted)"), A answer (no path).
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH 512
#define ANSWER 4096

static int log_fd = -1;
static const char *root;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("DISK_LOG");

	root = getenv("DISK_LOG_ROOT");
	if (path != NULL && root != NULL)
		log_fd = REAL(open)(
		    path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void
note(char kind, const char *path, uint64_t offset, const void *data, size_t len)
{
	uint32_t path_len = (uint32_t)strlen(path), data_len = (uint32_t)len;
	char head[17];
	struct iovec v[3] = { { head, sizeof(head) },
		{ (void *)(uintptr_t)path, path_len },
		{ (void *)(uintptr_t)data, len } };

	head[0] = kind;
	memcpy(head + 1, &path_len, 4);
	memcpy(head + 5, &offset, 8);
	memcpy(head + 13, &data_len, 4);
	pthread_mutex_lock(&lock);
	if (REAL(writev)(log_fd, v, 3) < 0)
		abort(); /* a log with holes would tell lies */
	pthread_mutex_unlock(&lock);
}

static int
is_ours(const char *path)
{
	return log_fd >= 0 && strncmp(path, root, strlen(root)) == 0;
}

/* The path that a descriptor was opened by; "" for what is not below root. */
static int
path_of(int fd, char path[PATH])
{
	char link[40];
	ssize_t n;

	if (log_fd < 0 || fd == log_fd)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	return is_ours(path);
}

static void
answer(const struct iovec *v, int n)
{
	char text[ANSWER];
	size_t len = 0;

	if (log_fd < 0)
		return;
	for (int i = 0; i < n && len < sizeof(text); i++) {
		size_t part = v[i].iov_len;

		if (part > sizeof(text) - len)
			part = sizeof(text) - len;
		memcpy(text + len, v[i].iov_base, part);
		len += part;
	}
	if (len > 12 && memcmp(text, "HTTP/1.1 200", 12) == 0)
		note('A', "", 0, text, len);
}

/* What was written is noted after it is, a sync too; an answer before it
 * goes: nothing is believed durable too early, nothing acknowledged late. */

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	ssize_t n = REAL(pwrite)(fd, data, len, offset);
	char path[PATH];

	if (n > 0 && path_of(fd, path))
		note('W', path, (uint64_t)offset, data, (size_t)n);
	return n;
}

ssize_t
pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	return pwrite(fd, data, len, offset);
}

ssize_t
write(int fd, const void *data, size_t len)
{
	char path[PATH];
	ssize_t n;

	if (!path_of(fd, path)) {
		answer(&(struct iovec) { (void *)(uintptr_t)data, len }, 1);
		return REAL(write)(fd, data, len);
	}
	n = REAL(write)(fd, data, len);
	if (n > 0)
		note('W', path, (uint64_t)(lseek(fd, 0, SEEK_CUR) - (off_t)n),
		    data, (size_t)n);
	return n;
}

ssize_t
writev(int fd, const struct iovec *v, int n)
{
	answer(v, n);
	return REAL(writev)(fd, v, n);
}

ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
	answer(m->msg_iov, (int)m->msg_iovlen);
	return REAL(sendmsg)(fd, m, flags);
}

ssize_t
send(int fd, const void *data, size_t len, int flags)
{
	answer(&(struct iovec) { (void *)(uintptr_t)data, len }, 1);
	return REAL(send)(fd, data, len, flags);
}

int
ftruncate(int fd, off_t len)
{
	int result = REAL(ftruncate)(fd, len);
	char path[PATH];

	if (result == 0 && path_of(fd, path))
		note('T', path, (uint64_t)len, "", 0);
	return result;
}

int
ftruncate64(int fd, off64_t len)
{
	return ftruncate(fd, len);
}

static int
sync_of(int fd, int (*real)(int))
{
	char path[PATH];
	int known = path_of(fd, path), result = real(fd);

	if (result == 0 && known)
		note('S', path, 0, "", 0);
	return result;
}

int
fsync(int fd)
{
	return sync_of(fd, REAL(fsync));
}

int
fdatasync(int fd)
{
	return sync_of(fd, REAL(fdatasync));
}

int
unlink(const char *path)
{
	int result = REAL(unlink)(path);

	if (result == 0 && is_ours(path))
		note('U', path, 0, "", 0);
	return result;
}

/* A path of openat and its like as an absolute one. */
static int
absolute(int at, const char *path, char out[PATH])
{
	char folder[PATH];

	if (path[0] == '/' || at == AT_FDCWD) {
		snprintf(out, PATH, "%s", path);
		return is_ours(out);
	}
	if (!path_of(at, folder))
		return 0;
	/* Too long a path is none of ours: the tests' are short. */
	return snprintf(out, PATH, "%s/%s", folder, path) < PATH;
}

int
unlinkat(int at, const char *path, int flags)
{
	int result = REAL(unlinkat)(at, path, flags);
	char full[PATH];

	if (result == 0 && absolute(at, path, full))
		note('U', full, 0, "", 0);
	return result;
}

int
renameat(int at, const char *from, int to_at, const char *to)
{
	int result = REAL(renameat)(at, from, to_at, to);
	char a[PATH], b[PATH];

	if (result == 0 && absolute(at, from, a) && absolute(to_at, to, b))
		note('R', a, 0, b, strlen(b));
	return result;
}

int
rename(const char *from, const char *to)
{
	int result = REAL(rename)(from, to);

	if (result == 0 && is_ours(from))
		note('R', from, 0, to, strlen(to));
	return result;
}

int
linkat(int at, const char *from, int to_at, const char *to, int flags)
{
	int result = REAL(linkat)(at, from, to_at, to, flags), fd;
	char a[PATH], b[PATH];

	if (result != 0 || !absolute(to_at, to, b))
		return result;
	if (sscanf(from, "/proc/self/fd/%d", &fd) == 1 ? path_of(fd, a)
						       : absolute(at, from, a))
		note('L', a, 0, b, strlen(b));
	return result;
}

static void
opened(int at, const char *path, int flags)
{
	char full[PATH];

	if ((flags & O_CREAT) && absolute(at, path, full))
		note('C', full, 0, "", 0);
}

/* Created before it is open: whether it was there already, power_loss.py
 * knows. */
#define OPEN(name)                                                             \
	int name(const char *path, int flags, ...)                             \
	{                                                                      \
		va_list more;                                                  \
		mode_t mode;                                                   \
                                                                               \
		va_start(more, flags);                                         \
		mode = va_arg(more, mode_t);                                   \
		va_end(more);                                                  \
		opened(AT_FDCWD, path, flags);                                 \
		return REAL(name)(path, flags, mode);                          \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                           \
	int name(int at, const char *path, int flags, ...)                     \
	{                                                                      \
		va_list more;                                                  \
		mode_t mode;                                                   \
                                                                               \
		va_start(more, flags);                                         \
		mode = va_arg(more, mode_t);                                   \
		va_end(more);                                                  \
		opened(at, path, flags);                                       \
		return REAL(name)(at, path, flags, mode);                      \
	}
OPENAT(openat)
OPENAT(openat64)
