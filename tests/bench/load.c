/*
 * Load for a measurement: requests over CONNECTIONS connections at once, one
 * thread, and one line of JSON about them. What is no complete answer of 200
 * is an error; latencies are those of the answered requests, from the moment
 * that a request is written (or its connection begun) to its last byte.
 *
 * usage: load -p PORT -t TARGET [-c CONNECTIONS] [-s SECONDS] [-r REQUESTS]
 *             [-k TOKENS] [-o OFFSET]
 *             [-a VALUE] [-b BODIES] [-n] [-i]
 *   -s -r  ends after that time or so many requests, whichever is first
 *   -k     file of bearer tokens, one a line: each request takes the next
 *          one, from OFFSET on, and begins anew after the last
 *   -a     value of Authorization as it is, instead of tokens
 *   -b     POST: file of bodies, one a line, taken in turn
 *   -n     a new connection for each request, from addresses in turn, so that
 *          ports do not run out
 *   -i     idle: one request on each connection, then "idle" on standard
 *          output, and all stay open until standard input is closed
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define HEAD_MAX 8192
#define BUCKETS 4096 /* of the histogram: 64 to each power of two */
#define AT_ONCE 64   /* connections under way while idle ones are opened */

struct conn {
	int fd;
	uint64_t begun;
	bool busy, connecting;
	size_t head_len;
	uint64_t left; /* of the body */
	bool in_body, chunked;
	char tail[5]; /* of a chunked body */
	bool closes;  /* says the answer: no further request on it */
	char head[HEAD_MAX];
};

static struct {
	int port, connections;
	double seconds;
	uint64_t requests;
	bool fresh, idle;
	const char *target, *authorization;
} options = { .connections = 1, .seconds = 1e9, .requests = UINT64_MAX };

struct lines {
	char **line;
	size_t n, next;
};
static struct lines tokens, bodies;
static char prefix[4096], suffix[] = "\r\nAccept: application/json\r\n\r\n";
static int epoll_fd;
static uint64_t started, stop_at, begun, answered, errors, bytes;
static uint32_t histogram[BUCKETS];
static char waste[256 * 1024];

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- the histogram: microseconds, 64 steps to each power of two ---------- */

static unsigned
bucket_of(uint64_t us)
{
	unsigned shift = 0;

	while (us >> shift >= 128)
		shift++;
	if (shift == 0)
		return (unsigned)us;
	return shift * 64 + (unsigned)(us >> shift);
}

static uint64_t
value_of(unsigned bucket)
{
	unsigned shift = bucket < 128 ? 0 : bucket / 64 - 1;

	return shift ? (uint64_t)(bucket - shift * 64) << shift : bucket;
}

static uint64_t
quantile(double q)
{
	uint64_t seen = 0, want = (uint64_t)(q * (double)answered);

	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += histogram[i];
		if (seen > want)
			return value_of(i);
	}
	return 0;
}

/* ---- tokens and bodies */

static void
read_lines(struct lines *to, const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	if (f == NULL)
		die(path);
	while ((n = getline(&line, &size, f)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		to->line = realloc(to->line, (to->n + 1) * sizeof(*to->line));
		if (to->line == NULL)
			die("lines");
		to->line[to->n++] = strdup(line);
	}
	free(line);
	fclose(f);
	if (to->n == 0)
		die("no lines");
}

static const char *
next_line(struct lines *of)
{
	return of->n > 0 ? of->line[of->next++ % of->n] : "";
}

/* ---- connections */

static bool
more_wanted(void)
{
	return begun < options.requests && now_ns() < stop_at;
}

static void
watch(struct conn *c, int op, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (epoll_ctl(epoll_fd, op, c->fd, &e) != 0)
		die("epoll_ctl");
}

static void
give_up(struct conn *c)
{
	if (c->busy)
		errors++;
	c->busy = c->connecting = false;
	close(c->fd);
	c->fd = -1;
}

/* From 127.0.0.2 to .251 in turn: 250 times as many ports. */
static void
bind_in_turn(int fd)
{
	static unsigned turn;
	struct sockaddr_in from = { .sin_family = AF_INET };
	int on = 1;

	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % 250);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0)
		die("bind");
}

static bool
open_conn(struct conn *c)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)options.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (options.fresh)
		bind_in_turn(c->fd);
	c->connecting = true;
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 &&
	    errno != EINPROGRESS) {
		c->busy = true;
		give_up(c);
		return false;
	}
	watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
	return true;
}

static void
write_request(struct conn *c)
{
	const char *token = next_line(&tokens), *body = next_line(&bodies);
	char length[96] = "";
	struct iovec v[5];
	size_t size = 0;

	if (bodies.n > 0)
		snprintf(length, sizeof(length),
		    "\r\nContent-Type: application/json"
		    "\r\nContent-Length: %zu",
		    strlen(body));
	v[0] = (struct iovec) { prefix, strlen(prefix) };
	v[1] = (struct iovec) { (void *)(uintptr_t)token, strlen(token) };
	v[2] = (struct iovec) { length, strlen(length) };
	v[3] = (struct iovec) { suffix, sizeof(suffix) - 1 };
	v[4] = (struct iovec) { (void *)(uintptr_t)body, strlen(body) };
	for (int i = 0; i < 5; i++)
		size += v[i].iov_len;
	if (writev(c->fd, v, 5) != (ssize_t)size)
		give_up(c);
}

/* The next request of a connection, or of one in its place. */
static void
begin(struct conn *c)
{
	if (!more_wanted())
		return;
	begun++;
	c->busy = true;
	c->begun = now_ns();
	c->head_len = 0;
	c->in_body = false;
	if (c->fd < 0)
		open_conn(c);
	else
		write_request(c);
}

static void
finish(struct conn *c)
{
	unsigned bucket = bucket_of((now_ns() - c->begun) / 1000);

	histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	answered++;
	c->busy = false;
	if (options.idle)
		return;
	if (options.fresh || c->closes) {
		close(c->fd);
		c->fd = -1;
	}
	begin(c);
}

/* ---- answers */

/* Whether the chunked body is at its end: no JSON ends like the last chunk. */
static bool
chunks_end(struct conn *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		memmove(c->tail, c->tail + 1, sizeof(c->tail) - 1);
		c->tail[sizeof(c->tail) - 1] = data[i];
	}
	return memcmp(c->tail, "0\r\n\r\n", sizeof(c->tail)) == 0;
}

/* The last five bytes are all that counts. */
static bool
chunks(struct conn *c, const char *data, size_t len)
{
	size_t from = len > sizeof(c->tail) ? len - sizeof(c->tail) : 0;

	c->left = !chunks_end(c, data + from, len - from);
	return true;
}

/* A head of 200; its body has a length or comes in chunks. */
static bool
read_head(struct conn *c, const char *end)
{
	const char *length;

	c->head[c->head_len] = '\0';
	length = strcasestr(c->head, "\r\ncontent-length:");
	if (strncmp(c->head, "HTTP/1.1 200", 12) != 0)
		return false;
	c->in_body = true;
	c->closes = strcasestr(c->head, "\r\nconnection: close") != NULL;
	end += 4;
	c->chunked = length == NULL;
	memset(c->tail, 0, sizeof(c->tail));
	if (c->chunked)
		return strcasestr(c->head, "\r\ntransfer-encoding: chunked") &&
		    chunks(c, end, (size_t)(c->head + c->head_len - end));
	c->left = strtoull(length + 17, NULL, 10);
	c->left -= (uint64_t)(c->head + c->head_len - end);
	return true;
}

/* False: the connection is of no more use. */
static bool
read_some(struct conn *c, bool *again)
{
	char *to = c->in_body ? waste : c->head + c->head_len;
	size_t room = c->in_body ? sizeof(waste) : HEAD_MAX - 1 - c->head_len;
	ssize_t n = read(c->fd, to, room);
	char *end;

	*again = n == (ssize_t)room;
	if (n < 0)
		return errno == EAGAIN;
	if (n == 0 || !c->busy)
		return false;
	bytes += (uint64_t)n;
	if (c->in_body && c->chunked)
		return chunks(c, waste, (size_t)n);
	if (c->in_body) {
		if ((uint64_t)n > c->left)
			return false;
		c->left -= (uint64_t)n;
		return true;
	}
	c->head_len += (size_t)n;
	end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
	if (end == NULL)
		return c->head_len < HEAD_MAX - 1;
	return read_head(c, end);
}

static void
on_readable(struct conn *c)
{
	bool again = true;

	while (again) {
		if (!read_some(c, &again)) {
			give_up(c);
			begin(c);
			return;
		}
		if (c->busy && c->in_body && c->left == 0) {
			finish(c);
			return;
		}
	}
}

static void
on_event(struct conn *c, uint32_t events)
{
	if (c->connecting && (events & EPOLLOUT)) {
		c->connecting = false;
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
		write_request(c);
	}
	if (c->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		on_readable(c);
}

static void
turn(void)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(epoll_fd, events, EVENTS, 100);

	for (int i = 0; i < n; i++)
		on_event(events[i].data.ptr, events[i].events);
}

static bool
any_busy(const struct conn *conns)
{
	for (int i = 0; i < options.connections; i++)
		if (conns[i].busy)
			return true;
	return false;
}

/* Opens them a few at a time: no listener's queue is to overflow. */
static void
hold(struct conn *conns)
{
	uint64_t late = now_ns() + UINT64_C(60000000000);

	for (int i = 0; i < options.connections; i++) {
		begin(&conns[i]);
		while (begun - answered - errors >= AT_ONCE && now_ns() < late)
			turn();
	}
	while (answered + errors < begun && now_ns() < late)
		turn();
	printf("idle %lu errors %lu\n", (unsigned long)answered,
	    (unsigned long)errors);
	fflush(stdout);
	while (read(STDIN_FILENO, waste, 1) > 0)
		continue;
}

static void
drive(struct conn *conns)
{
	uint64_t late;

	for (int i = 0; i < options.connections; i++)
		begin(&conns[i]);
	while (more_wanted())
		turn();
	/* What is under way may come to its end. */
	late = now_ns() + UINT64_C(10000000000);
	while (any_busy(conns) && now_ns() < late)
		turn();
	for (int i = 0; i < options.connections; i++)
		errors += conns[i].busy;
}

static void
read_options(int argc, char *argv[])
{
	int option;

	while ((option = getopt(argc, argv, "p:t:c:s:r:k:o:a:b:ni")) != -1)
		switch (option) {
		case 'p': options.port = (int)strtol(optarg, NULL, 10); break;
		case 't': options.target = optarg; break;
		case 'c':
			options.connections = (int)strtol(optarg, NULL, 10);
			break;
		case 's': options.seconds = strtod(optarg, NULL); break;
		case 'r': options.requests = strtoull(optarg, NULL, 10); break;
		case 'k': read_lines(&tokens, optarg); break;
		case 'o': tokens.next = strtoull(optarg, NULL, 10); break;
		case 'a': options.authorization = optarg; break;
		case 'b': read_lines(&bodies, optarg); break;
		case 'n': options.fresh = true; break;
		case 'i': options.idle = true; break;
		default: exit(2);
		}
	if (options.port == 0 || options.target == NULL) {
		fprintf(stderr, "usage: load -p PORT -t TARGET …\n");
		exit(2);
	}
	snprintf(prefix, sizeof(prefix),
	    "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
	    "User-Agent: load\r\nAuthorization: %s",
	    bodies.n > 0 ? "POST" : "GET", options.target, options.port,
	    options.authorization ? options.authorization : "Bearer ");
}

int
main(int argc, char *argv[])
{
	struct rlimit files = { 65536, 65536 };
	struct conn *conns;
	double seconds;

	read_options(argc, argv);
	if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
		getrlimit(RLIMIT_NOFILE, &files);
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	conns = calloc((size_t)options.connections, sizeof(*conns));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (conns == NULL || epoll_fd < 0)
		die("load");
	for (int i = 0; i < options.connections; i++)
		conns[i].fd = -1;
	started = now_ns();
	stop_at = started + (uint64_t)(options.seconds * 1e9);
	if (options.idle) {
		hold(conns);
		return errors > 0;
	}
	drive(conns);
	seconds = (double)(now_ns() - started) / 1e9;
	printf("{\"requests\":%lu,\"errors\":%lu,\"seconds\":%.6f,"
	       "\"bytes\":%lu,\"p50\":%lu,\"p99\":%lu}\n",
	    (unsigned long)answered, (unsigned long)errors, seconds,
	    (unsigned long)bytes, (unsigned long)quantile(0.5),
	    (unsigned long)quantile(0.99));
	return 0;
}
