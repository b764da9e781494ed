/*
 * The HTTP/1.1 grammar, strictly (RFC 9112, RFC 9110): one parser for
 * requests and for responses, and one body decoder. Pure functions on bytes:
 * no sockets, no allocation, no clock. What RFC 9112 lets a recipient repair
 * is refused: bare CR or LF, obs-fold, blanks before the colon, two framing
 * headers, Content-Length lists or signs, any Transfer-Encoding but one
 * "chunked", control bytes, more than one Host.
 */
#ifndef KOMBI_HTTP1_H
#define KOMBI_HTTP1_H

#include <kombi/base.h>
#include <kombi/buf.h>
#include <kombi/error.h>

#define KB_HTTP1_FIELDS 100

struct kb_http1_limits {
	uint32_t start_line;      /* 8192 */
	uint32_t field_line;      /* 8192 */
	uint32_t head;            /* 16384: all of the head, CRLFs counted */
	uint32_t fields;          /* <= KB_HTTP1_FIELDS */
	uint32_t chunk_ext;       /* 256 a chunk */
	uint32_t chunk_ext_total; /* 4096 a message */
	uint32_t trailer;         /* 4096 */
};

extern const struct kb_http1_limits kb_http1_default_limits;

enum kb_method {
	KB_M_NONE,
	KB_M_GET,
	KB_M_HEAD,
	KB_M_POST,
	KB_M_PUT,
	KB_M_PATCH,
	KB_M_DELETE,
	KB_M_OPTIONS,
	KB_M_TRACE,
	KB_M_CONNECT,
	KB_M_OTHER, /* a valid token that we do not know */
};

const char *kb_method_name(enum kb_method m);
enum kb_method kb_method_of(const char *s, size_t len);

/* Header names that somebody asks for by number; others are KB_H_OTHER. */
/* clang-format off */
#define KB_HEADER_TABLE(X) \
	X(ACCEPT, "accept") X(AUTHORIZATION, "authorization") \
	X(CONNECTION, "connection") X(CONTENT_LENGTH, "content-length") \
	X(CONTENT_TYPE, "content-type") X(COOKIE, "cookie") X(DATE, "date") \
	X(EXPECT, "expect") X(HOST, "host") X(IF_NONE_MATCH, "if-none-match") \
	X(KEEP_ALIVE, "keep-alive") X(ORIGIN, "origin") \
	X(PROXY_AUTHENTICATE, "proxy-authenticate") \
	X(PROXY_AUTHORIZATION, "proxy-authorization") \
	X(PROXY_CONNECTION, "proxy-connection") X(RETRY_AFTER, "retry-after") \
	X(SERVER, "server") X(TE, "te") X(TRAILER, "trailer") \
	X(TRANSFER_ENCODING, "transfer-encoding") X(UPGRADE, "upgrade") \
	X(USER_AGENT, "user-agent") X(VARY, "vary") X(VIA, "via") \
	X(X_API_KEY, "x-api-key") X(X_REQUEST_ID, "x-request-id") \
	X(ACR_METHOD, "access-control-request-method") \
	X(ACR_HEADERS, "access-control-request-headers")
/* clang-format on */

enum kb_header_id {
	KB_H_OTHER,
#define KB_HEADER_ENUM(id, name) KB_H_##id,
	KB_HEADER_TABLE(KB_HEADER_ENUM)
#undef KB_HEADER_ENUM
	    KB_H_COUNT
};

/* Case-insensitive. */
enum kb_header_id kb_header_id(const char *name, size_t len);

/* Offsets are into the buffer that was parsed, so it may be moved. */
struct kb_http1_field {
	uint32_t name, value;
	uint16_t name_len;
	uint16_t value_len;
	uint16_t id; /* enum kb_header_id */
};

/*
 * A parsed head. Zero it (kb_http1_head_init) before the first call for a
 * message. `done` bytes of the buffer make the head, the body follows.
 */
struct kb_http1_head {
	/* start line */
	bool response;
	uint8_t minor;         /* HTTP/1.0 or 1.1 */
	uint16_t status;       /* response: 100..599 */
	enum kb_method method; /* request */
	uint32_t start,
	    method_len; /* start line: 0, or 2 after an empty line */
	uint32_t target, target_len; /* request: verbatim */
	/* fields */
	uint16_t n_fields;
	struct kb_http1_field fields[KB_HTTP1_FIELDS];
	uint32_t done;
	/* framing, derived (RFC 9112 section 6) */
	bool has_length, chunked;
	uint64_t length;
	bool keep_alive;
	bool expect_continue; /* Expect: 100-continue */
	bool upgrade;         /* Connection: upgrade with an Upgrade field */
	int16_t host;         /* index of the Host field, -1: none (1.0 only) */
	/* private: progress between calls */
	uint32_t scan, line;
	uint8_t state;
};

enum kb_http1_result { KB_HTTP1_MORE, KB_HTTP1_DONE, KB_HTTP1_BAD };

void kb_http1_head_init(struct kb_http1_head *h, bool response);

/*
 * Looks at buf[0..len), which begins with the message and holds all bytes of
 * it seen so far. Bytes already looked at are not looked at again. Errors
 * are found as soon as the line that has them is complete (or a limit is
 * passed): splitting the input never changes the outcome.
 * On KB_HTTP1_BAD *err is KB_MALFORMED, KB_URI_TOO_LONG,
 * KB_HEADERS_TOO_LARGE, KB_HTTP_VERSION or KB_NOT_IMPLEMENTED and *why a
 * constant text. For requests one empty line before the start is skipped
 * (RFC 9112 2.2) and counts into `done`.
 *
 * Beyond the grammar it is refused (the choices the RFC leaves open): a
 * target with bytes other than visible ASCII or with a fragment; "*" with
 * another method than OPTIONS; CONNECT with anything but host:port or with a
 * body; user information in an authority; an absolute-form whose authority is
 * not that of Host (RFC 9112 3.2.2); a length over 2^53; Transfer-Encoding in
 * HTTP/1.0. Bytes of 0x80 and over are accepted in field values (obs-text,
 * RFC 9110 5.5) and nowhere else.
 */
enum kb_http1_result kb_http1_parse(struct kb_http1_head *h, const char *buf,
    size_t len, const struct kb_http1_limits *limits, enum kb_err *err,
    const char **why) KB_MUSTUSE;

/* First field of that id; slice with NULL ptr if none. */
struct kb_slice kb_http1_get(
    const struct kb_http1_head *h, const char *buf, enum kb_header_id id);
struct kb_slice
kb_http1_find(const struct kb_http1_head *h, const char *buf, const char *name);
unsigned kb_http1_count(const struct kb_http1_head *h, enum kb_header_id id);
static inline struct kb_slice
kb_http1_name(const struct kb_http1_field *f, const char *buf)
{
	return (struct kb_slice) { buf + f->name, f->name_len };
}
static inline struct kb_slice
kb_http1_value(const struct kb_http1_field *f, const char *buf)
{
	return (struct kb_slice) { buf + f->value, f->value_len };
}
/* True if the comma separated list of tokens has this one (any case). */
bool kb_http1_has_token(struct kb_slice list, const char *token);

/* ---- bodies ----------------------------------------------------------- */

/* A length that is not known beforehand: chunked. */
#define KB_LENGTH_STREAM UINT64_MAX

enum kb_body_kind {
	KB_BODY_NONE,
	KB_BODY_LENGTH,
	KB_BODY_CHUNKED,
	KB_BODY_UNTIL_CLOSE, /* responses only */
};

struct kb_http1_body {
	enum kb_body_kind kind;
	uint64_t left;  /* of the body or of the chunk */
	uint64_t total; /* body bytes so far */
	bool ended;
	uint8_t state;                      /* private */
	uint32_t count, ext_total, trailer; /* private */
};

/* For a request head. */
void
kb_http1_body_request(struct kb_http1_body *b, const struct kb_http1_head *h);
/* For a response to `method`; 1xx, 204, 304 and HEAD have none. */
void kb_http1_body_response(struct kb_http1_body *b,
    const struct kb_http1_head *h, enum kb_method method);

/*
 * Takes bytes from *in: sets *data to the next run of body bytes inside it
 * (may be empty) and moves *in past what was used. Call until *in is empty
 * or b->ended. Trailers are checked and dropped. False: framing error.
 */
bool kb_http1_body_next(struct kb_http1_body *b, struct kb_slice *in,
    struct kb_slice *data, const struct kb_http1_limits *limits) KB_MUSTUSE;

/* ---- paths ------------------------------------------------------------ */

/*
 * Request target -> normalised path and query (RFC 3986 6.2.2): refuses
 * %00 %2f %5c %25, backslash, control and non-ASCII bytes, bad escapes
 * (escaped controls and escapes that are not UTF-8 among them) and
 * fragments; decodes unreserved, upper-cases other escapes, escapes what may
 * not stand bare in a path, removes dot segments (never above the root),
 * merges slashes. "*" stays "*". KB_MALFORMED, or KB_URI_TOO_LONG when `out`
 * is full; nothing is appended then. absolute-form gives
 * *authority, else its ptr is NULL. The path is appended to `out`; *query
 * points into `target` (ptr NULL: no '?'; it is checked, not changed).
 */
enum kb_err kb_http_path(struct kb_slice target, struct kb_buf *out,
    struct kb_slice *query, struct kb_slice *authority) KB_MUSTUSE;

/* Host field or authority: name of letters, digits and -._~ without empty
 * labels, IPv4 or [IPv6]; optional port 1..65535. */
bool kb_http_host_ok(struct kb_slice host);

#endif
