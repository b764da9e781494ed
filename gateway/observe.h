/*
 * What is known of a request afterwards, and the headers that are decided
 * about in one place. Part of inside.h.
 */
#ifndef GATEWAY_OBSERVE_H
#define GATEWAY_OBSERVE_H

/* ---- observation
 * ---------------------------------------------------------------------- */

/* Where the time of a request went. */
struct spent {
	int64_t request_ns, kong_ns, proxy_ns;
	bool proxied; /* proxy_ns is known */
};

struct route_metrics;
void metrics_register(struct gateway *g);
/* UUID of this process, as metrics and the Admin API tell it. */
const char *metrics_node_id(void);
/* username, else custom_id, else id. */
const char *consumer_name(const struct consumer *c);
void spent_of(const struct exchange *x, struct spent *out);
/* One line (access_log.c). */
void access_log(struct exchange *x, int status, const struct spent *spent);
/* What went wrong, in a word; NULL: nothing. */
const char *try_error(const struct tried *t);
/* The last of its tries; there was one. */
const struct tried *last_try(const struct exchange *x);
/* Counts and writes the access log line of a finished exchange. */
void observe(struct exchange *x, int status);
void observe_refused(void *arg, const struct sockaddr_storage *peer, int status,
    const char *request_id, const char *why);
void observe_free(struct local *l);

/* ---- policy.c -------------------------------------------------------------
 */

/* Header lines of errors that the engine makes by itself. */
extern const char policy_of_engine[], policy_of_engine_tls[];
/* Clients speak TLS to what stands before this gateway. */
bool policy_behind_tls(const struct gateway *g);
/* Bit of a header that policies are about; 0: it is none. */
unsigned policy_bit(struct kb_slice name);
/* Upstream's does not pass. */
bool policy_drops(const struct exchange *x, unsigned bit);
/* What an answer of upstream that brought these gets. */
void
policy_lines(const struct exchange *x, unsigned brought, struct kb_buf *out);
void policy_own_lines(const struct exchange *x, struct kb_buf *out);

/* ---- kong_headers.c -------------------------------------------------------
 */

/* NULL: that is a word of KOMBI_KONG_HEADERS. */
const char *kong_headers_check(const char *word);
unsigned kong_headers_of(const char *const *list);
void kong_answer_lines(const struct exchange *x, struct kb_buf *out);
void kong_request_lines(const struct exchange *x, struct kb_buf *out);

#endif
