/*
 * Streaming JSON writer. Runs of harmless bytes are copied whole; escapes,
 * numbers and commas are written without printf, which costs more than all
 * the rest of a reply.
 */
#include <kombi/json.h>

#include <assert.h>
#include <math.h>
#include <string.h>

#include "json_text.h"
#include "utf8.h"

void
kb_w_init(struct kb_jsonw *w, struct kb_buf *buf)
{
	*w = (struct kb_jsonw) { .buf = buf };
}

/* Escape letter of a control character; 'u': \u00XX; 0: none needed. */
static char
escape_of(unsigned char c)
{
	switch (c) {
	case '"':
	case '\\': return (char)c;
	case '\b': return 'b';
	case '\f': return 'f';
	case '\n': return 'n';
	case '\r': return 'r';
	case '\t': return 't';
	default: return c < 0x20 || c == 0x7f ? 'u' : 0;
	}
}

static void
write_escape(struct kb_buf *b, unsigned char c, char escape)
{
	static const char digits[] = "0123456789abcdef";
	char out[6] = { '\\', escape, '0', '0', digits[c >> 4],
		digits[c & 15] };

	kb_buf_add(b, out, escape == 'u' ? 6 : 2);
}

/* The parts between quotes that cannot be copied in one go. */
static void
write_escaped(struct kb_buf *b, const unsigned char *s, size_t len)
{
	size_t n;

	while (len > 0) {
		n = json_plain(s, len);
		if (n == 0)
			n = *s < 0x80 ? 0 : utf8_step(s, len);
		if (n > 0) {
			kb_buf_add(b, s, n);
		} else {
			n = 1;
			if (*s < 0x80)
				write_escape(b, *s, escape_of(*s));
			else
				kb_buf_add(b, "\xef\xbf\xbd", 3);
		}
		s += n;
		len -= n;
	}
}

/* What stands round a text; '\0': nothing. */
struct around {
	char before, after;
};

/* Most texts need no escapes: then all of it is one reservation. */
static void
write_text(struct kb_buf *b, const char *text, size_t len, struct around with)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = json_plain(s, len);
	size_t room = n + 2 + (with.before != 0) + (with.after != 0);
	char *start = kb_buf_reserve(b, room), *p = start;

	if (!p) {
		b->failed = true;
		return;
	}
	if (with.before)
		*p++ = with.before;
	*p++ = '"';
	if (n)
		memcpy(p, s, n);
	p += n;
	if (n < len) {
		kb_buf_commit(b, (size_t)(p - start));
		write_escaped(b, s + n, len - n);
		kb_buf_addc(b, '"');
		if (with.after)
			kb_buf_addc(b, with.after);
		return;
	}
	*p++ = '"';
	if (with.after)
		*p++ = with.after;
	kb_buf_commit(b, (size_t)(p - start));
}

/* Comma and member name in front of a value. */
static void
write_front(struct kb_jsonw *w, const char *name)
{
	uint64_t bit = (uint64_t)1 << w->depth;
	bool comma = (w->comma & bit) != 0;

	assert(((w->objects & bit) != 0) == (name != NULL));
	assert(w->depth > 0 || !comma);
	w->comma |= bit;
	if (name)
		write_text(w->buf, name, strlen(name),
		    (struct around) { comma ? ',' : '\0', ':' });
	else if (comma)
		kb_buf_addc(w->buf, ',');
}

static void
write_string(struct kb_jsonw *w, const char *text, size_t len)
{
	write_text(w->buf, text, len, (struct around) { '\0', '\0' });
}

static void
open_level(struct kb_jsonw *w, const char *name, bool object)
{
	uint64_t bit;

	write_front(w, name);
	assert(w->depth < 63);
	bit = (uint64_t)1 << ++w->depth;
	w->comma &= ~bit;
	w->objects = object ? w->objects | bit : w->objects & ~bit;
	kb_buf_addc(w->buf, object ? '{' : '[');
}

static void
close_level(struct kb_jsonw *w, bool object)
{
	assert(w->depth > 0);
	assert(((w->objects >> w->depth & 1) != 0) == object);
	w->depth--;
	kb_buf_addc(w->buf, object ? '}' : ']');
}

void
kb_w_object(struct kb_jsonw *w, const char *name)
{
	open_level(w, name, true);
}

void
kb_w_object_end(struct kb_jsonw *w)
{
	close_level(w, true);
}

void
kb_w_array(struct kb_jsonw *w, const char *name)
{
	open_level(w, name, false);
}

void
kb_w_array_end(struct kb_jsonw *w)
{
	close_level(w, false);
}

void
kb_w_str(struct kb_jsonw *w, const char *name, const char *v)
{
	if (!v) {
		kb_w_null(w, name);
		return;
	}
	write_front(w, name);
	write_string(w, v, strlen(v));
}

void
kb_w_slice(struct kb_jsonw *w, const char *name, struct kb_slice v)
{
	write_front(w, name);
	write_string(w, v.ptr, v.len);
}

void
kb_w_int(struct kb_jsonw *w, const char *name, int64_t v)
{
	write_front(w, name);
	if (v < 0)
		kb_buf_addc(w->buf, '-');
	kb_buf_addu(w->buf, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void
kb_w_num(struct kb_jsonw *w, const char *name, double v)
{
	if (!isfinite(v)) {
		kb_w_null(w, name);
		return;
	}
	write_front(w, name);
	kb_buf_addd(w->buf, v);
}

void
kb_w_bool(struct kb_jsonw *w, const char *name, bool v)
{
	write_front(w, name);
	kb_buf_adds(w->buf, v ? "true" : "false");
}

void
kb_w_null(struct kb_jsonw *w, const char *name)
{
	write_front(w, name);
	kb_buf_add(w->buf, "null", 4);
}

void
kb_w_raw(struct kb_jsonw *w, const char *name, const char *json)
{
	write_front(w, name);
	kb_buf_adds(w->buf, json);
}

void
kb_w_opt(struct kb_jsonw *w, const char *name, const char *v)
{
	if (v)
		kb_w_str(w, name, v);
}
