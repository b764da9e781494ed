/*
 * Outgoing HTTP from worker threads: libcurl's one home. Each thread keeps
 * one easy handle for each reach, and with it connections that are open: so
 * that a connection made without the guard is never used behind it.
 */
#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fetch_bundle.h"
#include <kombi/buf.h>
#include <kombi/crypto.h>
#include <kombi/fetch.h>
#include <kombi/http1.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define DEFAULT_TIMEOUT_MS 10000
#define CONNECT_TIMEOUT_MS 5000
#define DEFAULT_MAX ((size_t)1024 * 1024)
#define BACKOFF_MS 50
#define BACKOFF_MAX_MS 2000

/* One easy handle a reach. */
struct handles {
	CURL *easy[2];
};

/* A fetch under way. */
struct run {
	const struct kb_fetch *f;
	CURL *easy;
	struct curl_slist *headers;
	struct kb_buf body;
	size_t max, total;
	bool refused;  /* by the guard */
	bool overflow; /* the answer is larger than allowed */
	bool stopped;  /* by the sink */
	char error[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static const char *ca_bundle; /* NULL: libcurl's own choice is there */

static void
free_handles(void *arg)
{
	struct handles *h = arg;

	for (size_t i = 0; i < KB_COUNT(h->easy); i++)
		curl_easy_cleanup(h->easy[i]);
	free(h);
}

/* Where systems keep their CA bundle, if not where libcurl looks. */
static const char *
find_bundle(void)
{
	static const char *const paths[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem",
	};
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);

	if (v->cainfo && access(v->cainfo, R_OK) == 0)
		return NULL;
	for (size_t i = 0; i < KB_COUNT(paths); i++)
		if (access(paths[i], R_OK) == 0)
			return paths[i];
	return NULL;
}

static void
init_once(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
	    pthread_key_create(&key, free_handles) != 0)
		kb_fatal("libcurl cannot be set up");
	ca_bundle = find_bundle();
}

void
kb_fetch_init(void)
{
	pthread_once(&once, init_once);
}

const char *
fetch_bundle(void)
{
	return ca_bundle;
}

/* This thread's handle, with nothing set but its open connections. */
static CURL *
take_handle(enum kb_fetch_reach reach)
{
	struct handles *h = pthread_getspecific(key);

	if (!h) {
		h = kb_xalloc(sizeof(*h));
		memset(h, 0, sizeof(*h));
		pthread_setspecific(key, h);
	}
	if (!h->easy[reach]) {
		h->easy[reach] = curl_easy_init();
		if (!h->easy[reach])
			kb_fatal("libcurl: out of memory");
	}
	curl_easy_reset(h->easy[reach]);
	return h->easy[reach];
}

/* ---- checks ----------------------------------------------------------------
 */

static bool
is_method(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 20)
		return false;
	for (; *s; s++)
		if (!isupper((unsigned char)*s) && *s != '-')
			return false;
	return true;
}

static bool
is_plain(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s == 0x7f)
			return false;
	return true;
}

/* NULL, or why the request is not made. */
static const char *
check_reach(const struct kb_fetch *f)
{
	bool internal = f->reach == KB_REACH_INTERNAL;

	if (f->unix_socket && !internal)
		return "a unix socket is internal";
	if (strncasecmp(f->url, "https://", 8) == 0)
		return NULL;
	if (internal && strncasecmp(f->url, "http://", 7) == 0)
		return NULL;
	return "scheme not allowed";
}

/* NULL, or what is wrong with the request. */
static const char *
check(const struct kb_fetch *f)
{
	if (!f->url || !is_plain(f->url) || !strstr(f->url, "://"))
		return "bad URL";
	if (f->method && !is_method(f->method))
		return "bad method";
	for (size_t i = 0; f->headers && f->headers[i]; i++)
		if (kb_has_control(f->headers[i], strlen(f->headers[i])) ||
		    !strchr(f->headers[i], ':'))
			return "bad header";
	if (f->request_id && !is_plain(f->request_id))
		return "bad request id";
	return NULL;
}

static bool
is_safe(const char *method)
{
	return !method || kb_str_eq(method, "GET") ||
	    kb_str_eq(method, "HEAD") || kb_str_eq(method, "OPTIONS");
}

/* ---- what libcurl calls
 * ------------------------------------------------------ */

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct run *r = arg;

	(void)purpose;
	if (r->f->reach != KB_REACH_INTERNAL &&
	    !kb_address_is_global(&a->addr)) {
		r->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t
take_bytes(char *data, size_t one, size_t n, void *arg)
{
	struct run *r = arg;
	size_t len = one * n;

	if (len > r->max - r->total) {
		r->overflow = true;
		return 0;
	}
	r->total += len;
	if (!r->f->sink) {
		kb_buf_add(&r->body, data, len);
	} else if (!r->f->sink(r->f->sink_arg, data, len)) {
		r->stopped = true;
		return 0;
	}
	return len;
}

/* ---- a request
 * ----------------------------------------------------------------- */

static void
add_header(
    struct run *r, struct kb_arena *a, const char *name, const char *value)
{
	struct curl_slist *list = curl_slist_append(
	    r->headers, kb_sprintf(a, "%s: %s", name, value));

	if (!list)
		kb_fatal("libcurl: out of memory");
	r->headers = list;
}

static void
set_headers(struct run *r, struct kb_arena *a)
{
	const struct kb_fetch *f = r->f;
	struct curl_slist *list;

	/* An empty value takes a header of libcurl's out. */
	list = curl_slist_append(NULL, "Expect:");
	for (size_t i = 0; list && f->headers && f->headers[i]; i++) {
		struct curl_slist *more = curl_slist_append(
		    list, f->headers[i]);

		if (!more)
			break;
		list = more;
	}
	if (!list)
		kb_fatal("libcurl: out of memory");
	r->headers = list;
	if (f->body)
		add_header(r, a, "Content-Type",
		    f->content_type ? f->content_type : "application/json");
	if (f->request_id)
		add_header(r, a, "X-Request-ID", f->request_id);
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
}

static void
set_method(struct run *r)
{
	const struct kb_fetch *f = r->f;
	const char *method = f->method ? f->method : "GET";
	bool post = kb_str_eq(method, "POST");

	if (f->body || post) {
		curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(
		    r->easy, CURLOPT_POSTFIELDS, f->body ? f->body : "");
		curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		    (curl_off_t)f->body_len);
		if (!post)
			curl_easy_setopt(
			    r->easy, CURLOPT_CUSTOMREQUEST, method);
	} else if (kb_str_eq(method, "HEAD")) {
		curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
	} else if (!kb_str_eq(method, "GET")) {
		curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, method);
	}
}

/* Everything that libcurl would take from its environment is set. */
static void
set_policy(struct run *r)
{
	bool internal = r->f->reach == KB_REACH_INTERNAL;
	CURL *e = r->easy;

	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(
	    e, CURLOPT_PROTOCOLS_STR, internal ? "http,https" : "https");
	curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, r);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_MAXCONNECTS, 8L);
	if (ca_bundle)
		curl_easy_setopt(e, CURLOPT_CAINFO, ca_bundle);
	if (r->f->unix_socket)
		curl_easy_setopt(
		    e, CURLOPT_UNIX_SOCKET_PATH, r->f->unix_socket);
}

static void
set_up(struct run *r, struct kb_arena *a)
{
	CURL *e = r->easy;

	set_policy(r);
	set_method(r);
	set_headers(r, a);
	curl_easy_setopt(e, CURLOPT_URL, r->f->url);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "kombify/" KOMBI_VERSION);
	curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->max);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->error);
}

/* Between 1/2 and all of 50 ms, 100 ms, 200 ms … */
static int64_t
back_off(int attempt)
{
	int64_t ms = BACKOFF_MS;
	uint16_t dice;

	for (int i = 0; i < attempt && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	kb_random(&dice, sizeof(dice));
	return ms / 2 + dice % (ms / 2 + 1);
}

static void
wait_ms(int64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
		.tv_nsec = (ms % 1000) * 1000000 };

	(void)nanosleep(&t, NULL);
}

static bool
is_connect_failure(const struct run *r, CURLcode code)
{
	return !r->refused &&
	    (code == CURLE_COULDNT_CONNECT ||
		code == CURLE_COULDNT_RESOLVE_HOST);
}

/* Tries, and again, until the time is up. */
static CURLcode
perform(struct run *r)
{
	int64_t timeout = r->f->timeout_ms > 0 ? r->f->timeout_ms
					       : DEFAULT_TIMEOUT_MS;
	int64_t end = kb_mono_ms() + timeout;
	int retries = is_safe(r->f->method) ? r->f->retries : 0;

	for (int attempt = 0;; attempt++) {
		int64_t left = end - kb_mono_ms(), pause;
		CURLcode code;

		if (left < 1)
			return CURLE_OPERATION_TIMEDOUT;
		curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)left);
		curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS,
		    (long)(left < CONNECT_TIMEOUT_MS ? left
						     : CONNECT_TIMEOUT_MS));
		r->error[0] = '\0';
		code = curl_easy_perform(r->easy);
		pause = back_off(attempt);
		if (attempt >= retries || !is_connect_failure(r, code) ||
		    kb_mono_ms() + pause >= end)
			return code;
		wait_ms(pause);
	}
}

/* ---- the answer
 * ------------------------------------------------------------------ */

static const char *
answer_header(CURL *easy, struct kb_arena *a, const char *name)
{
	struct curl_header *h;

	if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return kb_strdup(a, h->value);
}

static void
take_answer(struct run *r, struct kb_arena *a, struct kb_fetched *out)
{
	char *body = kb_arena_alloc(a, r->body.len + 1);
	long status = 0;

	if (r->body.len > 0)
		memcpy(body, r->body.ptr, r->body.len);
	out->body = body;
	out->len = r->body.len;
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	out->status = (int)status;
	out->content_type = answer_header(r->easy, a, "Content-Type");
	out->etag = answer_header(r->easy, a, "ETag");
	out->checksum = answer_header(r->easy, a, "X-Checksum-SHA256");
}

static enum kb_err
judge(const struct run *r, CURLcode code)
{
	if (r->overflow)
		return KB_TOO_LARGE;
	if (r->stopped)
		return KB_OK;
	switch (code) {
	case CURLE_OK: return KB_OK;
	case CURLE_FILESIZE_EXCEEDED: return KB_TOO_LARGE;
	case CURLE_OPERATION_TIMEDOUT: return KB_TIMEOUT;
	case CURLE_URL_MALFORMAT:
	case CURLE_LOGIN_DENIED: /* a user name in the URL */ return KB_INVALID;
	default: return r->refused ? KB_FORBIDDEN : KB_UNAVAILABLE;
	}
}

static const char *
cause(const struct run *r, CURLcode code)
{
	if (r->refused)
		return "address not allowed";
	if (r->overflow)
		return "answer too large";
	return r->error[0] ? r->error : curl_easy_strerror(code);
}

/* Without user, path or query, which may hold secrets. */
static const char *
host_of(struct kb_arena *a, const char *url)
{
	char *host = NULL, *copy;
	CURLU *u = curl_url();

	if (!u)
		return NULL;
	if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
		(void)curl_url_get(u, CURLUPART_HOST, &host, 0);
	copy = kb_strdup(a, host);
	curl_free(host);
	curl_url_cleanup(u);
	return copy;
}

static void
report(struct kb_arena *a, const struct kb_log *log, const struct run *r,
    const struct kb_fetched *out)
{
	const char *method = r->f->method ? r->f->method : "GET";

	if (r->f->quiet)
		return;
	if (out->status)
		kb_debug(log, "fetched", KB_S("method", method),
		    KB_S("host", host_of(a, r->f->url)),
		    KB_N("status", out->status));
	else
		kb_warn(log, "fetch failed", KB_S("method", method),
		    KB_S("host", host_of(a, r->f->url)),
		    KB_S("error", out->error));
}

static enum kb_err
run(struct run *r, struct kb_arena *a, struct kb_fetched *out)
{
	enum kb_err err;
	CURLcode code;

	r->easy = take_handle(r->f->reach);
	r->max = r->f->max_answer ? r->f->max_answer : DEFAULT_MAX;
	kb_buf_init(&r->body, r->max);
	set_up(r, a);
	code = perform(r);
	err = judge(r, code);
	if (err)
		out->error = kb_strdup(a, cause(r, code));
	else
		take_answer(r, a, out);
	/* The handle outlives the arena and this frame. */
	curl_easy_reset(r->easy);
	curl_slist_free_all(r->headers);
	kb_buf_free(&r->body);
	return err;
}

enum kb_err
kb_fetch(struct kb_arena *a, const struct kb_log *log, const struct kb_fetch *f,
    struct kb_fetched *out)
{
	struct run r = { .f = f };
	enum kb_err err;

	kb_fetch_init();
	memset(out, 0, sizeof(*out));
	out->body = "";
	out->error = check(f);
	if (out->error)
		return KB_INVALID;
	out->error = check_reach(f);
	if (out->error)
		return KB_FORBIDDEN;
	err = run(&r, a, out);
	report(a, log, &r, out);
	return err;
}
