/*
 * Outgoing HTTP from a worker thread: blocking, with a deadline, a ceiling
 * on the answer, no redirects, no proxy or netrc from the environment, and a
 * guard against server-side request forgery (checked on the address that is
 * connected to, after resolution).
 */
#ifndef KOMBI_FETCH_H
#define KOMBI_FETCH_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/log.h>

enum kb_fetch_reach {
	KB_REACH_GLOBAL,   /* global unicast addresses, https only */
	KB_REACH_INTERNAL, /* our own services: any address, http allowed */
};

struct kb_fetch {
	const char *method; /* NULL: GET */
	const char *url;    /* absolute */
	enum kb_fetch_reach reach;
	const char *const *headers; /* "Name: value", NULL-ended; NULL: none */
	const void *body;           /* NULL: none */
	size_t body_len;
	const char *content_type; /* with a body; NULL: application/json */
	const char *unix_socket;  /* connect there instead; NULL */
	int64_t timeout_ms;       /* total; 0: 10,000 */
	size_t max_answer;        /* bytes, for a sink too; 0: 1 MiB */
	int retries; /* of safe methods, on connect failure: with back-off */
	const char *request_id; /* sent as X-Request-ID; NULL */
	bool quiet;             /* the caller tells of failures himself */
	/* Answers written as they come instead of kept, or NULL. False stops.
	 */
	bool (*sink)(void *arg, const void *data, size_t len);
	void *sink_arg;
};

struct kb_fetched {
	int status;       /* 0: no answer */
	const char *body; /* NUL-terminated, in the arena */
	size_t len;
	const char *content_type; /* or NULL */
	const char *etag;
	const char *checksum; /* X-Checksum-SHA256, or NULL */
	const char *error; /* why there is no answer; for logs, not for users */
};

/*
 * KB_OK for any HTTP answer, whatever its status, and when the sink stopped.
 * KB_UNAVAILABLE: no connection, or no complete answer; KB_TIMEOUT;
 * KB_TOO_LARGE; KB_FORBIDDEN: the guard refused the address or the scheme;
 * KB_INVALID: URL, method or header that cannot be sent (a user name in the
 * URL is refused too). Connections are reused per thread and reach. Failures
 * are logged, with the host alone of the URL.
 */
enum kb_err kb_fetch(struct kb_arena *a, const struct kb_log *log,
    const struct kb_fetch *f, struct kb_fetched *out) KB_MUSTUSE;

/* True for addresses that are global unicast (RFC 6890 tables), IPv4-mapped
 * and NAT64 forms looked through; 6to4 and Teredo are not, nor are the
 * addresses of cloud platforms' metadata. */
struct sockaddr;
bool kb_address_is_global(const struct sockaddr *sa);

/* Once a process, before threads. */
void kb_fetch_init(void);

#endif
