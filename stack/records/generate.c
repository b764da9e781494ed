/*
 * Text made by a field's autogeneratePattern: letters as they are, classes
 * such as [a-z0-9_], each perhaps repeated by {n}, {n,m}, ?, + or *. A part
 * of regular expressions that says how to make a text and nothing else.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/buf.h>
#include <kombi/crypto.h>

#include "records.h"

#define LETTERS 128
#define REPEATS 1000
#define LONGEST 5000
#define UNBOUNDED 10 /* what * and + repeat at most */

struct part {
	char letters[LETTERS + 1];
	size_t n;
	unsigned least, most;
};

static unsigned
random_below(unsigned n)
{
	uint32_t r;

	kb_random(&r, sizeof(r));
	return (unsigned)((uint64_t)r * n >> 32);
}

static bool
add_range(struct part *p, unsigned char from, unsigned char to)
{
	for (unsigned c = from; c <= to; c++) {
		if (p->n == LETTERS || c < 0x20 || c > 0x7e)
			return false;
		p->letters[p->n++] = (char)c;
	}
	return from <= to;
}

/* After "[": up to and with "]". NULL: not of this kind. */
static const char *
read_class(const char *s, struct part *p)
{
	if (*s == '^' || *s == ']')
		return NULL;
	while (*s != '\0' && *s != ']') {
		unsigned char from = (unsigned char)*s++, to = from;

		if (from == '\\' && *s != '\0')
			from = to = (unsigned char)*s++;
		if (s[0] == '-' && s[1] != ']' && s[1] != '\0') {
			to = (unsigned char)s[1];
			s += 2;
		}
		if (!add_range(p, from, to))
			return NULL;
	}
	return *s == ']' ? s + 1 : NULL;
}

static const char *
read_repeat(const char *s, struct part *p)
{
	char *end;

	p->least = p->most = 1;
	if (*s == '?' || *s == '*' || *s == '+') {
		p->least = *s == '+';
		p->most = *s == '?' ? 1 : UNBOUNDED;
		return s + 1;
	}
	if (*s != '{')
		return s;
	if (!isdigit((unsigned char)s[1]))
		return NULL;
	p->least = p->most = (unsigned)strtoul(s + 1, &end, 10);
	if (*end == ',' && isdigit((unsigned char)end[1]))
		p->most = (unsigned)strtoul(end + 1, &end, 10);
	if (*end != '}' || p->least > p->most || p->most > REPEATS)
		return NULL;
	return end + 1;
}

static const char *
read_part(const char *s, struct part *p)
{
	p->n = 0;
	if (*s == '[') {
		s = read_class(s + 1, p);
	} else if (*s == '\\' && s[1] != '\0' && ispunct((unsigned char)s[1])) {
		p->letters[p->n++] = s[1];
		s += 2;
	} else if (strchr("()|.^$*+?{}]\\", *s) != NULL) {
		return NULL;
	} else {
		p->letters[p->n++] = *s++;
	}
	return s == NULL || p->n == 0 ? NULL : read_repeat(s, p);
}

static bool
generate(struct kb_buf *out, const char *pattern)
{
	struct part p;

	while (*pattern != '\0') {
		pattern = read_part(pattern, &p);
		if (pattern == NULL || out->len > LONGEST - REPEATS)
			return false;
		for (unsigned n = p.least + random_below(p.most - p.least + 1);
		     n > 0; n--)
			kb_buf_addc(
			    out, p.letters[random_below((unsigned)p.n)]);
	}
	return true;
}

const char *
text_generate(struct kb_arena *a, const char *pattern)
{
	const char *text = NULL;
	struct kb_buf out;

	kb_buf_init(&out, LONGEST + 1);
	if (generate(&out, pattern))
		text = kb_strdup(a, kb_buf_str(&out));
	kb_buf_free(&out);
	return text;
}
