/*
 * Request targets and authorities (RFC 3986): one normal form of a path, so
 * that whoever routes, authorises or forwards it reads the same path.
 */
#include <arpa/inet.h>

#include <kombi/http1.h>

#include "http1_private.h"

/* What a byte is in a path (RFC 3986 section 3.3). */
enum {
	REFUSED,
	PLAIN,      /* unreserved: also when escaped */
	KEPT,       /* stands for itself, escaped it is something else */
	ESCAPED_IN, /* may not stand bare: is escaped */
};

/* clang-format off */
static const uint8_t path_class[128] = {
	['A'] = PLAIN, ['B'] = PLAIN, ['C'] = PLAIN, ['D'] = PLAIN,
	['E'] = PLAIN, ['F'] = PLAIN, ['G'] = PLAIN, ['H'] = PLAIN,
	['I'] = PLAIN, ['J'] = PLAIN, ['K'] = PLAIN, ['L'] = PLAIN,
	['M'] = PLAIN, ['N'] = PLAIN, ['O'] = PLAIN, ['P'] = PLAIN,
	['Q'] = PLAIN, ['R'] = PLAIN, ['S'] = PLAIN, ['T'] = PLAIN,
	['U'] = PLAIN, ['V'] = PLAIN, ['W'] = PLAIN, ['X'] = PLAIN,
	['Y'] = PLAIN, ['Z'] = PLAIN,
	['a'] = PLAIN, ['b'] = PLAIN, ['c'] = PLAIN, ['d'] = PLAIN,
	['e'] = PLAIN, ['f'] = PLAIN, ['g'] = PLAIN, ['h'] = PLAIN,
	['i'] = PLAIN, ['j'] = PLAIN, ['k'] = PLAIN, ['l'] = PLAIN,
	['m'] = PLAIN, ['n'] = PLAIN, ['o'] = PLAIN, ['p'] = PLAIN,
	['q'] = PLAIN, ['r'] = PLAIN, ['s'] = PLAIN, ['t'] = PLAIN,
	['u'] = PLAIN, ['v'] = PLAIN, ['w'] = PLAIN, ['x'] = PLAIN,
	['y'] = PLAIN, ['z'] = PLAIN,
	['0'] = PLAIN, ['1'] = PLAIN, ['2'] = PLAIN, ['3'] = PLAIN,
	['4'] = PLAIN, ['5'] = PLAIN, ['6'] = PLAIN, ['7'] = PLAIN,
	['8'] = PLAIN, ['9'] = PLAIN,
	['-'] = PLAIN, ['.'] = PLAIN, ['_'] = PLAIN, ['~'] = PLAIN,
	['!'] = KEPT, ['$'] = KEPT, ['&'] = KEPT, ['\''] = KEPT, ['('] = KEPT,
	[')'] = KEPT, ['*'] = KEPT, ['+'] = KEPT, [','] = KEPT, [';'] = KEPT,
	['='] = KEPT, [':'] = KEPT, ['@'] = KEPT,
	['"'] = ESCAPED_IN, ['<'] = ESCAPED_IN, ['>'] = ESCAPED_IN,
	['['] = ESCAPED_IN, [']'] = ESCAPED_IN, ['^'] = ESCAPED_IN,
	['`'] = ESCAPED_IN, ['{'] = ESCAPED_IN, ['|'] = ESCAPED_IN,
	['}'] = ESCAPED_IN,
};
/* clang-format on */

/* UTF-8 that comes as escapes, byte by byte (RFC 3629 section 4). */
struct utf8 {
	int left;        /* continuation bytes still to come */
	uint8_t low, up; /* bounds of the next one */
	uint32_t point;  /* what came of the code point */
};

/*
 * Look-alikes that compatibility normalisation (Unicode NFKC) turns into
 * . / \ or %: refused like what they become, for whoever reads the path after
 * us and normalises.
 */
static bool
folds_to_syntax(uint32_t point)
{
	static const uint32_t folding[] = { 0x2024, 0x2025, 0x2026, 0x2044,
		0x2215, 0x29f5, 0x29f8, 0xfe52, 0xfe68, 0xfe6a, 0xff05, 0xff0e,
		0xff0f, 0xff3c };

	for (size_t i = 0; i < KB_COUNT(folding); i++)
		if (point == folding[i])
			return true;
	return false;
}

static bool
utf8_lead(struct utf8 *u, uint8_t c)
{
	u->low = 0x80;
	u->up = 0xbf;
	u->point = c & 0x1f;
	if (c >= 0xc2 && c <= 0xdf) {
		u->left = 1;
	} else if (c >= 0xe0 && c <= 0xef) {
		u->left = 2;
		u->point = c & 0x0f;
		u->low = c == 0xe0 ? 0xa0 : 0x80;
		u->up = c == 0xed ? 0x9f : 0xbf;
	} else if (c >= 0xf0 && c <= 0xf4) {
		u->left = 3;
		u->point = c & 0x07;
		u->low = c == 0xf0 ? 0x90 : 0x80;
		u->up = c == 0xf4 ? 0x8f : 0xbf;
	} else {
		return false;
	}
	return true;
}

/* Every decoded byte of the path goes through here. */
static bool
utf8_next(struct utf8 *u, uint8_t c)
{
	if (u->left > 0) {
		bool ok = c >= u->low && c <= u->up;

		u->left--;
		u->low = 0x80;
		u->up = 0xbf;
		u->point = u->point << 6 | (c & 0x3f);
		return ok && (u->left > 0 || !folds_to_syntax(u->point));
	}
	return c < 0x80 || utf8_lead(u, c);
}

static char *
put_escape(char *out, uint8_t c)
{
	static const char digits[] = "0123456789ABCDEF";

	*out++ = '%';
	*out++ = digits[c >> 4];
	*out++ = digits[c & 15];
	return out;
}

/* The byte that an escape at `s` stands for; -1: refused. */
static int
read_escape(const char *s, const char *end)
{
	int high, low, c;

	if (end - s < 3)
		return -1;
	high = kb_http1_hex(s[1]);
	low = kb_http1_hex(s[2]);
	if (high < 0 || low < 0)
		return -1;
	c = high << 4 | low;
	if (c < 0x20 || c == 0x7f || c == '/' || c == '\\' || c == '%')
		return -1;
	return c;
}

/* One segment, up to '/' or the end; NULL when refused. */
static const char *
put_segment(char **out, const char *s, const char *end)
{
	struct utf8 u = { 0 };
	char *o = *out;

	for (; s < end && *s != '/'; s++) {
		uint8_t c = (uint8_t)*s;
		int escaped;

		if (c != '%') {
			if (c >= 0x80 || path_class[c] == REFUSED || u.left > 0)
				return NULL;
			if (path_class[c] == ESCAPED_IN)
				o = put_escape(o, c);
			else
				*o++ = (char)c;
			continue;
		}
		escaped = read_escape(s, end);
		if (escaped < 0 || !utf8_next(&u, (uint8_t)escaped))
			return NULL;
		if (escaped < 0x80 && path_class[escaped] == PLAIN)
			*o++ = (char)escaped;
		else
			o = put_escape(o, (uint8_t)escaped);
		s += 2;
	}
	*out = o;
	return u.left > 0 ? NULL : s;
}

/* Back to behind the slash that the last segment follows. */
static char *
drop_segment(const char *root, char *out)
{
	/* `out` is behind a slash; root is the first one. */
	if (out - 1 > root)
		out--;
	while (out - 1 > root && out[-1] != '/')
		out--;
	return out;
}

/*
 * Writes the normal form of a path that begins with '/'; returns its end or
 * NULL.
 */
static char *
put_path(char *out, const char *s, const char *end)
{
	char *const root = out;

	*out++ = '/';
	while (s < end) {
		char *segment = out;
		size_t len;

		while (s < end && *s == '/')
			s++;
		s = put_segment(&out, s, end);
		if (!s)
			return NULL;
		len = (size_t)(out - segment);
		if (len == 1 && segment[0] == '.')
			out = segment;
		else if (len == 2 && segment[0] == '.' && segment[1] == '.')
			out = drop_segment(root, segment);
		else if (len > 0 && s < end)
			*out++ = '/';
	}
	return out;
}

static bool
query_ok(struct kb_slice q)
{
	for (size_t i = 0; i < q.len; i++) {
		uint8_t c = (uint8_t)q.ptr[i];

		if (c <= 0x20 || c >= 0x7f || c == '#')
			return false;
		if (c == '%' &&
		    (q.len - i < 3 || kb_http1_hex(q.ptr[i + 1]) < 0 ||
			kb_http1_hex(q.ptr[i + 2]) < 0))
			return false;
	}
	return true;
}

struct kb_slice
kb_http1_authority(struct kb_slice target)
{
	const char *s = target.ptr, *end = s + target.len, *p;
	size_t skip = 0;

	if (target.len > 7 && kb_http1_same(s, "http", 4) &&
	    memcmp(s + 4, "://", 3) == 0)
		skip = 7;
	else if (target.len > 8 && kb_http1_same(s, "https", 5) &&
	    memcmp(s + 5, "://", 3) == 0)
		skip = 8;
	if (skip == 0)
		return (struct kb_slice) { NULL, 0 };
	for (p = s + skip; p < end && *p != '/' && *p != '?'; p++)
		;
	return (struct kb_slice) { s + skip, (size_t)(p - s) - skip };
}

/* Takes scheme and authority from the front. */
static bool
take_authority(struct kb_slice *target, struct kb_slice *authority)
{
	const char *end = target->ptr + target->len;

	*authority = kb_http1_authority(*target);
	if (!authority->ptr || !kb_http_host_ok(*authority))
		return false;
	target->ptr = authority->ptr + authority->len;
	target->len = (size_t)(end - target->ptr);
	return true;
}

/* The most that the normal form of a path can need. */
static size_t
room_for(struct kb_slice path)
{
	size_t room = path.len + 1;

	for (size_t i = 0; i < path.len; i++) {
		uint8_t c = (uint8_t)path.ptr[i];

		if (c < 0x80 && path_class[c] == ESCAPED_IN)
			room += 2;
	}
	return room;
}

/* Splits into path and query. */
static struct kb_slice
take_path(struct kb_slice target, struct kb_slice *query)
{
	const char *q = target.len ? memchr(target.ptr, '?', target.len) : NULL;
	struct kb_slice path = target;

	if (q) {
		path.len = (size_t)(q - target.ptr);
		*query = (struct kb_slice) { q + 1, target.len - path.len - 1 };
	}
	return path;
}

enum kb_err
kb_http_path(struct kb_slice target, struct kb_buf *out, struct kb_slice *query,
    struct kb_slice *authority)
{
	struct kb_slice path;
	char *room, *end;

	*query = *authority = (struct kb_slice) { NULL, 0 };
	if (target.len == 1 && target.ptr[0] == '*') {
		kb_buf_addc(out, '*');
		return kb_buf_failed(out) ? KB_URI_TOO_LONG : KB_OK;
	}
	if (target.len == 0)
		return KB_MALFORMED;
	if (target.ptr[0] != '/' && !take_authority(&target, authority))
		return KB_MALFORMED;
	path = take_path(target, query);
	if (query->ptr && !query_ok(*query))
		return KB_MALFORMED;
	room = kb_buf_reserve(out, room_for(path));
	if (!room)
		return KB_URI_TOO_LONG;
	end = put_path(room, path.ptr, path.ptr + path.len);
	if (!end)
		return KB_MALFORMED;
	kb_buf_commit(out, (size_t)(end - room));
	return KB_OK;
}

/* ---- authorities -------------------------------------------------------- */

static bool
port_ok(const char *s, size_t len)
{
	unsigned port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!kb_http1_is_digit(s[i]))
			return false;
		port = port * 10 + (unsigned)(s[i] - '0');
	}
	return port > 0 && port <= 65535;
}

static bool
name_ok(const char *s, size_t len)
{
	if (len == 0 || len > 253 || s[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)s[i];

		if (c >= 0x80 || path_class[c] != PLAIN)
			return false;
		if (c == '.' && i > 0 && s[i - 1] == '.')
			return false;
	}
	return true;
}

/* What stands between the brackets. */
static bool
ipv6_ok(const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	return strlen(text) == len && inet_pton(AF_INET6, text, &addr) == 1;
}

bool
kb_http_host_ok(struct kb_slice host)
{
	const char *s = host.ptr, *mark;
	size_t len = host.len, name;

	if (len == 0)
		return false;
	if (s[0] == '[') {
		mark = memchr(s, ']', len);
		if (!mark || !ipv6_ok(s + 1, (size_t)(mark - s) - 1))
			return false;
		name = (size_t)(mark - s) + 1;
	} else {
		mark = memchr(s, ':', len);
		name = mark ? (size_t)(mark - s) : len;
		if (!name_ok(s, name))
			return false;
	}
	if (name == len)
		return true;
	return s[name] == ':' && port_ok(s + name + 1, len - name - 1);
}
