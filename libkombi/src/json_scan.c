/*
 * The strict scan of RFC 8259 text that runs before any tree is built: one
 * pass, a fixed stack, no recursion. cJSON alone would take numbers like
 * "01", control characters, broken UTF-8 and two members of one name, and
 * what two readers can understand differently is how checks are got round.
 */
#include <kombi/json.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "json_text.h"
#include "utf8.h"

/* Longer numbers are refused: cJSON reads them through 63 characters. */
#define NUMBER_MAX 63

/* A member seen: name after unescaping, and the object that it is in. */
struct seen {
	uint64_t hash;
	const char *name; /* NULL: free slot */
	uint32_t len;
	uint32_t object;
};

#define SEEN_FIRST 64

struct scan {
	struct kb_arena *arena; /* for what is wrong */
	const char *text;
	size_t len;
	size_t pos;
	const char *why;
	unsigned depth;
	struct {
		bool object;
		uint32_t serial;
	} stack[KB_JSON_DEPTH];
	uint32_t objects;  /* serial of the last object opened */
	struct seen *seen; /* open addressing, a power of two of slots */
	size_t seen_slots, seen_n;
	struct seen seen_first[SEEN_FIRST];
};

enum step {
	FAILED,
	MORE, /* a value comes next */
	DONE, /* a value has ended */
};

static enum step
fail_at(struct scan *s, size_t pos, const char *what)
{
	if (!s->why)
		s->why = kb_sprintf(s->arena, "%s at byte %zu", what, pos);
	return FAILED;
}

static int
peek(const struct scan *s)
{
	return s->pos < s->len ? (unsigned char)s->text[s->pos] : -1;
}

static enum step
fail_here(struct scan *s, const char *expected)
{
	const char *what = peek(s) < 0
	    ? kb_sprintf(s->arena, "unexpected end, %s was expected,", expected)
	    : kb_sprintf(s->arena, "%s was expected", expected);

	return fail_at(s, s->pos, what);
}

static void
skip_blanks(struct scan *s)
{
	while (s->pos < s->len &&
	    (s->text[s->pos] == ' ' || s->text[s->pos] == '\n' ||
		s->text[s->pos] == '\r' || s->text[s->pos] == '\t'))
		s->pos++;
}

/* ---- strings ----------------------------------------------------------- */

/* The four digits after \u at p; -1 if they are none. */
static long
hex4(const char *p, size_t room)
{
	unsigned char b[2];

	if (room < 4 || !kb_unhex(p, 4, b))
		return -1;
	return b[0] << 8 | b[1];
}

static bool
scan_unicode_escape(struct scan *s)
{
	const char *p = s->text + s->pos;
	size_t room = s->len - s->pos;
	long code = hex4(p + 2, room - 2), low;

	if (code < 0)
		return fail_at(s, s->pos, "bad \\u escape");
	if (code == 0)
		return fail_at(s, s->pos, "\\u0000 is not allowed");
	if (code >= 0xdc00 && code <= 0xdfff)
		return fail_at(s, s->pos, "lone surrogate");
	s->pos += 6;
	if (code < 0xd800 || code > 0xdbff)
		return true;
	low = room >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, 4) : -1;
	if (low < 0xdc00 || low > 0xdfff)
		return fail_at(s, s->pos - 6, "lone surrogate");
	s->pos += 6;
	return true;
}

static bool
scan_escape(struct scan *s)
{
	char c = s->len - s->pos >= 2 ? s->text[s->pos + 1] : '\0';

	if (c == 'u')
		return scan_unicode_escape(s);
	if (c == '\0' || !strchr("\"\\/bfnrt", c))
		return fail_at(s, s->pos, "bad escape");
	s->pos += 2;
	return true;
}

/* From the opening quote over the closing one. */
static bool
scan_string(struct scan *s, bool *escaped)
{
	const unsigned char *text = (const unsigned char *)s->text;
	size_t n;

	*escaped = false;
	s->pos++;
	while (s->pos < s->len) {
		unsigned char c;

		s->pos += json_plain(text + s->pos, s->len - s->pos);
		if (s->pos == s->len)
			break;
		c = text[s->pos];
		if (c == '"') {
			s->pos++;
			return true;
		}
		if (c == '\\') {
			*escaped = true;
			if (!scan_escape(s))
				return false;
			continue;
		}
		if (c < 0x20)
			return fail_at(s, s->pos, "raw control character");
		n = utf8_step(text + s->pos, s->len - s->pos);
		if (n == 0)
			return fail_at(s, s->pos, "invalid UTF-8");
		s->pos += n;
	}
	return fail_at(s, s->pos, "unclosed string");
}

/* ---- member names ------------------------------------------------------ */

static size_t
put_utf8(char *out, unsigned long c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* A scanned string without its escapes. */
static struct kb_slice
unescape(struct kb_arena *a, struct kb_slice raw)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	char *out = kb_arena_alloc(a, raw.len + 1);
	size_t i = 0, n = 0;

	while (i < raw.len) {
		unsigned long code;

		if (raw.ptr[i] != '\\') {
			out[n++] = raw.ptr[i++];
			continue;
		}
		if (raw.ptr[i + 1] != 'u') {
			out[n++] = values[strchr(letters, raw.ptr[i + 1]) -
			    letters];
			i += 2;
			continue;
		}
		code = (unsigned long)hex4(raw.ptr + i + 2, 4);
		i += 6;
		if (code >= 0xd800 && code <= 0xdbff) {
			code = 0x10000 + ((code - 0xd800) << 10) +
			    ((unsigned long)hex4(raw.ptr + i + 2, 4) - 0xdc00);
			i += 6;
		}
		n += put_utf8(out + n, code);
	}
	return (struct kb_slice) { out, n };
}

static struct seen *
seen_slot(struct seen *table, size_t slots, const struct seen *want)
{
	size_t i = (size_t)want->hash & (slots - 1);

	while (table[i].name) {
		if (table[i].hash == want->hash &&
		    table[i].object == want->object &&
		    table[i].len == want->len &&
		    memcmp(table[i].name, want->name, want->len) == 0)
			break;
		i = (i + 1) & (slots - 1);
	}
	return &table[i];
}

static void
seen_grow(struct scan *s)
{
	size_t slots = s->seen_slots * 2, i;
	struct seen *table = kb_xalloc(slots * sizeof(*table));

	for (i = 0; i < s->seen_slots; i++)
		if (s->seen[i].name)
			*seen_slot(table, slots, &s->seen[i]) = s->seen[i];
	if (s->seen != s->seen_first)
		free(s->seen);
	s->seen = table;
	s->seen_slots = slots;
}

/* False if the object at hand has this member already. */
static bool
remember_name(struct scan *s, struct kb_slice name, size_t at)
{
	struct seen want = { .name = name.ptr,
		.len = (uint32_t)name.len,
		.object = s->stack[s->depth - 1].serial };
	struct seen *slot;

	/* Keyed hash: nobody can choose names that fall together. */
	want.hash = kb_hash(name.ptr, name.len) ^
	    want.object * 0x9e3779b97f4a7c15;
	slot = seen_slot(s->seen, s->seen_slots, &want);
	if (slot->name)
		return fail_at(s, at,
		    kb_sprintf(s->arena, "duplicate member \"%.*s\"",
			(int)(name.len < 64 ? name.len : 64), name.ptr));
	*slot = want;
	if (++s->seen_n > s->seen_slots / 2)
		seen_grow(s);
	return true;
}

/* Name and colon. */
static enum step
scan_name(struct scan *s)
{
	struct kb_slice name;
	size_t at;
	bool escaped;

	skip_blanks(s);
	if (peek(s) != '"')
		return fail_here(s, "a member name in double quotes");
	at = s->pos;
	if (!scan_string(s, &escaped))
		return FAILED;
	name = (struct kb_slice) { s->text + at + 1, s->pos - at - 2 };
	if (escaped)
		name = unescape(s->arena, name);
	if (!remember_name(s, name, at))
		return FAILED;
	skip_blanks(s);
	if (peek(s) != ':')
		return fail_here(s, "':'");
	s->pos++;
	return MORE;
}

/* ---- numbers and words ------------------------------------------------- */

static bool
digits(struct scan *s)
{
	size_t from = s->pos;

	while (peek(s) >= '0' && peek(s) <= '9')
		s->pos++;
	return s->pos > from;
}

static bool
number_fits(const struct scan *s, size_t from)
{
	char copy[NUMBER_MAX + 1];

	memcpy(copy, s->text + from, s->pos - from);
	copy[s->pos - from] = '\0';
	return isfinite(strtod(copy, NULL));
}

static enum step
scan_number(struct scan *s)
{
	size_t from = s->pos;
	bool exponent = false;

	if (peek(s) == '-')
		s->pos++;
	if (peek(s) == '0')
		s->pos++;
	else if (!digits(s))
		return fail_here(s, "a digit");
	if (peek(s) == '.') {
		s->pos++;
		if (!digits(s))
			return fail_here(s, "a digit");
	}
	if (peek(s) == 'e' || peek(s) == 'E') {
		exponent = true;
		s->pos++;
		if (peek(s) == '+' || peek(s) == '-')
			s->pos++;
		if (!digits(s))
			return fail_here(s, "a digit");
	}
	if (s->pos - from > NUMBER_MAX)
		return fail_at(s, from, "number of more than 63 characters");
	if (exponent && !number_fits(s, from))
		return fail_at(s, from, "number out of range");
	return DONE;
}

static enum step
scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if (s->len - s->pos < n || memcmp(s->text + s->pos, word, n) != 0)
		return fail_at(s, s->pos, "a value was expected");
	s->pos += n;
	return DONE;
}

/* ---- structure --------------------------------------------------------- */

static enum step
open_level(struct scan *s, bool object)
{
	if (s->depth == KB_JSON_DEPTH)
		return fail_at(s, s->pos, "nested deeper than 32 levels");
	s->stack[s->depth].object = object;
	s->stack[s->depth].serial = object ? ++s->objects : 0;
	s->depth++;
	s->pos++;
	skip_blanks(s);
	if (peek(s) == (object ? '}' : ']')) {
		s->pos++;
		s->depth--;
		return DONE;
	}
	return object ? scan_name(s) : MORE;
}

static enum step
scan_value(struct scan *s)
{
	bool escaped;
	int c;

	skip_blanks(s);
	c = peek(s);
	switch (c) {
	case '{': return open_level(s, true);
	case '[': return open_level(s, false);
	case '"': return scan_string(s, &escaped) ? DONE : FAILED;
	case 't': return scan_word(s, "true");
	case 'f': return scan_word(s, "false");
	case 'n': return scan_word(s, "null");
	default: break;
	}
	if (c == '-' || (c >= '0' && c <= '9'))
		return scan_number(s);
	return fail_here(s, "a value");
}

/* After a value inside an array or object: a comma, or its end. */
static enum step
scan_after(struct scan *s)
{
	bool object = s->stack[s->depth - 1].object;

	skip_blanks(s);
	if (peek(s) == ',') {
		s->pos++;
		return object ? scan_name(s) : MORE;
	}
	if (peek(s) != (object ? '}' : ']'))
		return fail_here(s, object ? "',' or '}'" : "',' or ']'");
	s->pos++;
	s->depth--;
	return DONE;
}

static void
scan_document(struct scan *s)
{
	enum step step = MORE;

	while (step == MORE) {
		step = scan_value(s);
		while (step == DONE && s->depth > 0)
			step = scan_after(s);
	}
	if (step == FAILED)
		return;
	skip_blanks(s);
	if (s->pos < s->len)
		fail_at(s, s->pos, "text after the value");
}

const char *
kb_json_check(struct kb_arena *a, const char *text, size_t len)
{
	struct scan s;

	if (len > UINT32_MAX)
		return "text of more than 4 GiB";
	memset(&s, 0, sizeof(s));
	s.arena = a;
	s.text = text;
	s.len = len;
	s.seen = s.seen_first;
	s.seen_slots = SEEN_FIRST;
	scan_document(&s);
	if (s.seen != s.seen_first)
		free(s.seen);
	return s.why;
}
