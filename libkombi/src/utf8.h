/*
 * One step through UTF-8, shared by everything that reads text (RFC 3629).
 */
#ifndef KOMBI_SRC_UTF8_H
#define KOMBI_SRC_UTF8_H

#include <kombi/base.h>

static inline bool
utf8_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/*
 * Length of the well-formed sequence at s (1..4), 0 if there is none: no
 * overlong forms, no surrogates, nothing over U+10FFFF. len is at least 1.
 */
static inline size_t
utf8_step(const unsigned char *s, size_t len)
{
	unsigned char c = s[0];

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	if (c < 0xe0)
		return len >= 2 && utf8_tail(s[1]) ? 2 : 0;
	if (c < 0xf0) {
		if (len < 3 || !utf8_tail(s[1]) || !utf8_tail(s[2]) ||
		    (c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f))
			return 0;
		return 3;
	}
	if (len < 4 || !utf8_tail(s[1]) || !utf8_tail(s[2]) ||
	    !utf8_tail(s[3]) || (c == 0xf0 && s[1] < 0x90) ||
	    (c == 0xf4 && s[1] > 0x8f))
		return 0;
	return 4;
}

/* Characters in valid UTF-8. */
static inline size_t
utf8_count(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += !utf8_tail((unsigned char)*s);
	return n;
}

#endif
