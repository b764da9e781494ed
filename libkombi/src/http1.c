/*
 * Message heads of HTTP/1.1: one strict, incremental pass that notes offsets
 * (RFC 9112 sections 2 to 6). It goes line by line: memchr finds the end, a
 * vector loop looks for control bytes, a table takes the name apart.
 */
#include <strings.h>

#include <kombi/http1.h>

#include "http1_private.h"

#define MAX_LENGTH (UINT64_C(1) << 53) /* exact in every peer's numbers */

const struct kb_http1_limits kb_http1_default_limits = {
	.start_line = 8192,
	.field_line = 8192,
	.head = 16384,
	.fields = KB_HTTP1_FIELDS,
	.chunk_ext = 256,
	.chunk_ext_total = 4096,
	.trailer = 4096,
};

/* Private bits of kb_http1_head.state. */
enum {
	IN_FIELDS = 1,
	FINISHED = 2,
	SAW_CLOSE = 4,
	SAW_KEEP_ALIVE = 8,
	SAW_UPGRADE_OPTION = 16,
	SAW_UPGRADE = 32,
};

/* clang-format off */
const uint8_t kb_http1_lower[256] = {
	['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&',
	['\''] = '\'', ['*'] = '*', ['+'] = '+', ['-'] = '-', ['.'] = '.',
	['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|', ['~'] = '~',
	['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',
	['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',
	['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e',
	['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j',
	['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o',
	['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't',
	['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',
	['Z'] = 'z',
	['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e',
	['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j',
	['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o',
	['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't',
	['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',
	['z'] = 'z',
};

static const char *const header_names[KB_H_COUNT] = {
#define NAME(id, name) [KB_H_##id] = name,
	KB_HEADER_TABLE(NAME)
#undef NAME
};

/* The names of each length, 0-ended. */
static const uint8_t headers_by_length[31][6] = {
	[2] = { KB_H_TE },
	[3] = { KB_H_VIA },
	[4] = { KB_H_HOST, KB_H_DATE, KB_H_VARY },
	[6] = { KB_H_ACCEPT, KB_H_COOKIE, KB_H_EXPECT, KB_H_ORIGIN, KB_H_SERVER },
	[7] = { KB_H_TRAILER, KB_H_UPGRADE },
	[9] = { KB_H_X_API_KEY },
	[10] = { KB_H_CONNECTION, KB_H_USER_AGENT, KB_H_KEEP_ALIVE },
	[11] = { KB_H_RETRY_AFTER },
	[12] = { KB_H_CONTENT_TYPE, KB_H_X_REQUEST_ID },
	[13] = { KB_H_AUTHORIZATION, KB_H_IF_NONE_MATCH },
	[14] = { KB_H_CONTENT_LENGTH },
	[16] = { KB_H_PROXY_CONNECTION },
	[17] = { KB_H_TRANSFER_ENCODING },
	[18] = { KB_H_PROXY_AUTHENTICATE },
	[19] = { KB_H_PROXY_AUTHORIZATION },
	[29] = { KB_H_ACR_METHOD },
	[30] = { KB_H_ACR_HEADERS },
};

static const char *const method_names[] = {
	[KB_M_NONE] = "", [KB_M_GET] = "GET", [KB_M_HEAD] = "HEAD",
	[KB_M_POST] = "POST", [KB_M_PUT] = "PUT", [KB_M_PATCH] = "PATCH",
	[KB_M_DELETE] = "DELETE", [KB_M_OPTIONS] = "OPTIONS",
	[KB_M_TRACE] = "TRACE", [KB_M_CONNECT] = "CONNECT", [KB_M_OTHER] = "",
};
/* clang-format on */

const char *
kb_method_name(enum kb_method m)
{
	return method_names[m];
}

enum kb_method
kb_method_of(const char *s, size_t len)
{
	for (enum kb_method m = KB_M_GET; m < KB_M_OTHER; m++)
		if (strlen(method_names[m]) == len &&
		    memcmp(s, method_names[m], len) == 0)
			return m;
	return KB_M_OTHER;
}

/*
 * A token against a known name of the same length, which has letters and
 * dashes only: setting 0x20 makes no other token byte one of those.
 */
static inline bool
is_name(const char *s, const char *known, size_t len)
{
	const uint64_t lower = UINT64_C(0x2020202020202020);
	uint64_t a, b;
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		memcpy(&a, s + i, 8);
		memcpy(&b, known + i, 8);
		if ((a | lower) != b)
			return false;
	}
	for (; i < len; i++)
		if ((s[i] | 0x20) != known[i])
			return false;
	return true;
}

static enum kb_header_id
id_of_token(const char *name, size_t len)
{
	if (len >= KB_COUNT(headers_by_length))
		return KB_H_OTHER;
	for (const uint8_t *id = headers_by_length[len]; *id; id++)
		if (is_name(name, header_names[*id], len))
			return (enum kb_header_id)(*id);
	return KB_H_OTHER;
}

static bool
is_token(struct kb_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!kb_http1_is_token(s.ptr[i]))
			return false;
	return s.len > 0;
}

enum kb_header_id
kb_header_id(const char *name, size_t len)
{
	struct kb_slice s = { name, len };

	return is_token(s) ? id_of_token(name, len) : KB_H_OTHER;
}

void
kb_http1_head_init(struct kb_http1_head *h, bool response)
{
	const size_t after = offsetof(struct kb_http1_head, done);

	/* The fields are written before they are read: not cleared. */
	memset(h, 0, offsetof(struct kb_http1_head, fields));
	memset((char *)h + after, 0, sizeof(*h) - after);
	h->response = response;
	h->host = -1;
}

/* What one call of the parser looks at. */
struct input {
	const char *buf;
	size_t len;
	const struct kb_http1_limits *limits;
	enum kb_err err;
	const char *why;
};

static bool
bad(struct input *in, enum kb_err err, const char *why)
{
	in->err = err;
	in->why = why;
	return false;
}

static bool
malformed(struct input *in, const char *why)
{
	return bad(in, KB_MALFORMED, why);
}

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

/* Bytes under 0x20 and DEL, HTAB among them. */
static inline bytes16
controls16(const char *p)
{
	bytes16 v;

	memcpy(&v, p, sizeof(v));
	return (bytes16)((v < 0x20) | (v == 0x7f));
}

static bool
has_control_slow(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (kb_http1_is_control(p[i]))
			return true;
	return false;
}

/* Does the line hold control bytes? HTAB is none. */
static bool
has_control(const char *p, size_t len)
{
	bytes16 found = { 0 };
	words2 words;
	size_t i;

	if (len < 16)
		return has_control_slow(p, len);
	for (i = 0; i + 16 <= len; i += 16)
		found |= controls16(p + i);
	found |= controls16(p + len - 16);
	words = (words2)found;
	return (words[0] | words[1]) != 0 && has_control_slow(p, len);
}

/*
 * How many token bytes begin a line. Names are letters, digits and dashes but
 * for rare ones: those are found sixteen at a time, the table does the rest.
 */
static size_t
token_length(const char *p, size_t len)
{
	size_t i = 0;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (len >= 16) {
		bytes16 v, lower, other;
		words2 words;

		memcpy(&v, p, sizeof(v));
		lower = v | 0x20;
		other = (bytes16) ~((bytes16)(lower - 'a' < 26) |
		    (bytes16)(v - '0' < 10) | (bytes16)(v == '-'));
		words = (words2)other;
		if (words[0] != 0)
			i = (size_t)__builtin_ctzll(words[0]) / 8;
		else if (words[1] != 0)
			i = 8 + (size_t)__builtin_ctzll(words[1]) / 8;
		else
			i = 16;
	}
#endif
	while (i < len && kb_http1_is_token(p[i]))
		i++;
	return i;
}

static struct kb_slice
trim(const char *p, size_t len)
{
	while (len > 0 && (*p == ' ' || *p == '\t'))
		p++, len--;
	while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
		len--;
	return (struct kb_slice) { p, len };
}

static bool
same(struct kb_slice s, const char *lower)
{
	return s.len == strlen(lower) && kb_http1_same(s.ptr, lower, s.len);
}

/* ---- start lines ------------------------------------------------------- */

static bool
read_version(struct kb_http1_head *h, struct input *in, const char *p)
{
	if (memcmp(p, "HTTP/", 5) != 0 || !kb_http1_is_digit(p[5]) ||
	    p[6] != '.' || !kb_http1_is_digit(p[7]))
		return malformed(in, "bad protocol version");
	if (p[5] != '1' || p[7] > '1')
		return bad(in, KB_HTTP_VERSION, "protocol version not served");
	h->minor = (uint8_t)(p[7] - '0');
	return true;
}

/* host:port, both present (RFC 9112 3.2.3). */
static bool
is_authority_form(struct kb_slice target)
{
	const char *colon = memrchr(target.ptr, ':', target.len);

	/* In "[::1]" the last colon is not that of a port. */
	return colon && target.ptr[target.len - 1] != ']' &&
	    kb_http_host_ok(target);
}

static bool
check_target(struct kb_http1_head *h, struct input *in, struct kb_slice target)
{
	struct kb_slice authority;

	for (size_t i = 0; i < target.len; i++) {
		uint8_t c = (uint8_t)target.ptr[i];

		if (c <= 0x20 || c >= 0x7f || c == '#')
			return malformed(in, "bad byte in the target");
	}
	if (h->method == KB_M_CONNECT)
		return is_authority_form(target) ||
		    malformed(in, "CONNECT needs host:port");
	if (target.ptr[0] == '/')
		return true;
	if (target.len == 1 && target.ptr[0] == '*')
		return h->method == KB_M_OPTIONS ||
		    malformed(in, "target * without OPTIONS");
	authority = kb_http1_authority(target);
	if (!authority.ptr || !kb_http_host_ok(authority))
		return malformed(in, "bad target");
	return true;
}

/* method SP target SP HTTP-version */
static bool
read_request_line(
    struct kb_http1_head *h, struct input *in, const char *p, size_t len)
{
	struct kb_slice target;
	size_t method = 0;

	while (method < len && kb_http1_is_token(p[method]))
		method++;
	if (method == 0 || method == len || p[method] != ' ')
		return malformed(in, "bad method");
	/* The shortest rest: " / HTTP/1.1". */
	if (len < method + 11 || p[len - 9] != ' ')
		return malformed(in, "bad request line");
	target.ptr = p + method + 1;
	target.len = len - 9 - (method + 1);
	if (!read_version(h, in, p + len - 8))
		return false;
	h->start = h->line;
	h->method = kb_method_of(p, method);
	h->method_len = (uint32_t)method;
	h->target = h->line + (uint32_t)method + 1;
	h->target_len = (uint32_t)target.len;
	return check_target(h, in, target);
}

/* HTTP-version SP 3DIGIT SP [ reason ] */
static bool
read_status_line(
    struct kb_http1_head *h, struct input *in, const char *p, size_t len)
{
	unsigned status;

	if (len < 13 || p[8] != ' ' || p[12] != ' ')
		return malformed(in, "bad status line");
	if (!read_version(h, in, p))
		return false;
	for (int i = 9; i < 12; i++)
		if (!kb_http1_is_digit(p[i]))
			return malformed(in, "bad status");
	status = (unsigned)(p[9] - '0') * 100 + (unsigned)(p[10] - '0') * 10 +
	    (unsigned)(p[11] - '0');
	if (status < 100 || status > 599)
		return malformed(in, "status out of range");
	h->status = (uint16_t)status;
	return true;
}

/* ---- fields that frame or route ----------------------------------------- */

static bool
take_length(struct kb_http1_head *h, struct input *in, struct kb_slice value)
{
	uint64_t n = 0;

	if (h->has_length)
		return malformed(in, "two Content-Length fields");
	if (h->chunked)
		return malformed(in, "Content-Length beside Transfer-Encoding");
	if (value.len == 0)
		return malformed(in, "bad Content-Length");
	for (size_t i = 0; i < value.len; i++) {
		if (!kb_http1_is_digit(value.ptr[i]))
			return malformed(in, "bad Content-Length");
		n = n * 10 + (uint64_t)(value.ptr[i] - '0');
		if (n > MAX_LENGTH)
			return malformed(in, "Content-Length too large");
	}
	h->has_length = true;
	h->length = n;
	return true;
}

static bool
take_encoding(struct kb_http1_head *h, struct input *in, struct kb_slice value)
{
	if (h->minor == 0)
		return malformed(in, "Transfer-Encoding in HTTP/1.0");
	if (h->chunked)
		return malformed(in, "two Transfer-Encoding fields");
	if (h->has_length)
		return malformed(in, "Content-Length beside Transfer-Encoding");
	if (!same(value, "chunked")) {
		if (is_token(value))
			return bad(in, KB_NOT_IMPLEMENTED,
			    "transfer coding not served");
		return malformed(in, "bad Transfer-Encoding");
	}
	h->chunked = true;
	return true;
}

static bool
take_host(struct kb_http1_head *h, struct input *in, struct kb_slice value)
{
	if (h->response)
		return true;
	if (h->host >= 0)
		return malformed(in, "two Host fields");
	if (!kb_http_host_ok(value))
		return malformed(in, "bad Host");
	h->host = (int16_t)h->n_fields;
	return true;
}

static void
take_connection(struct kb_http1_head *h, struct kb_slice value)
{
	/* The usual value without looking for tokens. */
	if (same(value, "keep-alive")) {
		h->state |= SAW_KEEP_ALIVE;
		return;
	}
	if (kb_http1_has_token(value, "close"))
		h->state |= SAW_CLOSE;
	if (kb_http1_has_token(value, "keep-alive"))
		h->state |= SAW_KEEP_ALIVE;
	if (kb_http1_has_token(value, "upgrade"))
		h->state |= SAW_UPGRADE_OPTION;
}

static bool
take_field(struct kb_http1_head *h, struct input *in, enum kb_header_id id,
    struct kb_slice value)
{
	switch (id) {
	case KB_H_CONTENT_LENGTH: return take_length(h, in, value);
	case KB_H_TRANSFER_ENCODING: return take_encoding(h, in, value);
	case KB_H_HOST: return take_host(h, in, value);
	case KB_H_CONNECTION: take_connection(h, value); return true;
	case KB_H_UPGRADE: h->state |= SAW_UPGRADE; return true;
	case KB_H_EXPECT:
		if (h->minor == 1 && same(value, "100-continue"))
			h->expect_continue = true;
		return true;
	default: return true;
	}
}

static bool
read_field(struct kb_http1_head *h, struct input *in, const char *p, size_t len)
{
	struct kb_http1_field *f = &h->fields[h->n_fields];
	struct kb_slice value;
	size_t name = token_length(p, len);

	if (h->n_fields >= in->limits->fields || h->n_fields >= KB_HTTP1_FIELDS)
		return bad(in, KB_HEADERS_TOO_LARGE, "too many fields");
	if (name == 0 || name == len || p[name] != ':')
		return malformed(in, "bad field name");
	value = trim(p + name + 1, len - name - 1);
	if (name > UINT16_MAX || value.len > UINT16_MAX)
		return bad(in, KB_HEADERS_TOO_LARGE, "field too large");
	f->name = h->line;
	f->name_len = (uint16_t)name;
	f->value = (uint32_t)(value.ptr - in->buf);
	f->value_len = (uint16_t)value.len;
	f->id = (uint16_t)id_of_token(p, name);
	if (!take_field(h, in, (enum kb_header_id)f->id, value))
		return false;
	h->n_fields++;
	return true;
}

/* RFC 9112 3.2.2: the two names of the host are one. */
static bool
check_authority(struct kb_http1_head *h, struct input *in)
{
	struct kb_slice a, host;

	if (h->host < 0 || in->buf[h->target] == '/')
		return true;
	a = kb_http1_authority(
	    (struct kb_slice) { in->buf + h->target, h->target_len });
	if (!a.ptr)
		return true;
	host = kb_http1_value(&h->fields[h->host], in->buf);
	if (a.len != host.len || strncasecmp(a.ptr, host.ptr, a.len) != 0)
		return malformed(in, "Host is not that of the target");
	return true;
}

static bool
finish(struct kb_http1_head *h, struct input *in)
{
	uint8_t s = h->state;

	if (!h->response) {
		if (h->host < 0 && h->minor == 1)
			return malformed(in, "Host missing");
		if (!check_authority(h, in))
			return false;
		/* RFC 9110 9.3.6: it has no content, and peers disagree on
		 * whether such a length counts. */
		if (h->method == KB_M_CONNECT && (h->chunked || h->length > 0))
			return malformed(in, "CONNECT with a body");
	}
	h->keep_alive = !(s & SAW_CLOSE) &&
	    (h->minor == 1 || (s & SAW_KEEP_ALIVE));
	h->upgrade = h->minor == 1 && (s & SAW_UPGRADE_OPTION) &&
	    (s & SAW_UPGRADE);
	h->state |= FINISHED;
	return true;
}

/* ---- lines --------------------------------------------------------------- */

/*
 * The beginning of the message, before its first line is complete: what is
 * no HTTP at all (a TLS hello) is known by its first byte. Skips one empty
 * line before a request.
 */
static enum kb_http1_result
check_begin(struct kb_http1_head *h, struct input *in)
{
	if (in->len == h->line)
		return KB_HTTP1_MORE;
	if (!h->response && h->line == 0 && in->buf[0] == '\r') {
		if (in->len < 2)
			return KB_HTTP1_MORE;
		if (in->buf[1] == '\n')
			h->line = h->scan = 2;
		if (in->len == h->line)
			return KB_HTTP1_MORE;
	}
	if (h->response ? in->buf[0] == 'H'
			: kb_http1_is_token(in->buf[h->line]))
		return KB_HTTP1_DONE;
	(void)malformed(in, "not HTTP");
	return KB_HTTP1_BAD;
}

/* `end`: where the line ends, its LF counted, or would end at the least. */
static bool
check_limits(const struct kb_http1_head *h, struct input *in, size_t end)
{
	size_t size = end - h->line;

	if (!(h->state & IN_FIELDS)) {
		if (size > in->limits->start_line || end > in->limits->head)
			return bad(in, KB_URI_TOO_LONG, "start line too long");
		return true;
	}
	if (size > in->limits->field_line)
		return bad(in, KB_HEADERS_TOO_LARGE, "field line too long");
	if (end > in->limits->head)
		return bad(in, KB_HEADERS_TOO_LARGE, "head too large");
	return true;
}

/* One complete line, from h->line to its LF at `nl`. */
static bool
read_line(struct kb_http1_head *h, struct input *in, size_t nl)
{
	const char *p = in->buf + h->line;
	size_t len;
	bool ok;

	if (!check_limits(h, in, nl + 1))
		return false;
	if (nl == h->line || in->buf[nl - 1] != '\r')
		return malformed(in, "LF without CR");
	len = nl - 1 - h->line;
	if (has_control(p, len))
		return malformed(in, "control byte in the head");
	if (h->state & IN_FIELDS)
		ok = len == 0 ? finish(h, in) : read_field(h, in, p, len);
	else if (h->response)
		ok = read_status_line(h, in, p, len);
	else
		ok = read_request_line(h, in, p, len);
	h->state |= IN_FIELDS;
	h->line = h->scan = (uint32_t)nl + 1;
	return ok;
}

static enum kb_http1_result
parse(struct kb_http1_head *h, struct input *in)
{
	enum kb_http1_result begin;
	const char *nl;

	if (!(h->state & IN_FIELDS)) {
		begin = check_begin(h, in);
		if (begin != KB_HTTP1_DONE)
			return begin;
	}
	while (!(h->state & FINISHED)) {
		nl = memchr(in->buf + h->scan, '\n', in->len - h->scan);
		if (!nl) {
			h->scan = (uint32_t)in->len;
			if (!check_limits(h, in, in->len + 1))
				return KB_HTTP1_BAD;
			return KB_HTTP1_MORE;
		}
		if (!read_line(h, in, (size_t)(nl - in->buf)))
			return KB_HTTP1_BAD;
	}
	h->done = h->line;
	return KB_HTTP1_DONE;
}

enum kb_http1_result
kb_http1_parse(struct kb_http1_head *h, const char *buf, size_t len,
    const struct kb_http1_limits *limits, enum kb_err *err, const char **why)
{
	struct input in = { .buf = buf, .len = len, .limits = limits };
	enum kb_http1_result result = parse(h, &in);

	if (result == KB_HTTP1_BAD) {
		*err = in.err;
		*why = in.why;
	}
	return result;
}

/* ---- looking up -----------------------------------------------------------
 */

struct kb_slice
kb_http1_get(
    const struct kb_http1_head *h, const char *buf, enum kb_header_id id)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (h->fields[i].id == id)
			return kb_http1_value(&h->fields[i], buf);
	return (struct kb_slice) { NULL, 0 };
}

struct kb_slice
kb_http1_find(const struct kb_http1_head *h, const char *buf, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];

		if (f->name_len == len &&
		    strncasecmp(buf + f->name, name, len) == 0)
			return kb_http1_value(f, buf);
	}
	return (struct kb_slice) { NULL, 0 };
}

unsigned
kb_http1_count(const struct kb_http1_head *h, enum kb_header_id id)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_fields; i++)
		n += h->fields[i].id == id;
	return n;
}

bool
kb_http1_has_token(struct kb_slice list, const char *token)
{
	const char *p = list.ptr;
	size_t left = list.len, len = strlen(token);

	while (left > 0) {
		const char *comma = memchr(p, ',', left);
		size_t size = comma ? (size_t)(comma - p) : left;
		struct kb_slice part = trim(p, size);

		if (part.len == len && strncasecmp(part.ptr, token, len) == 0)
			return true;
		if (!comma)
			return false;
		p += size + 1;
		left -= size + 1;
	}
	return false;
}
