/*
 * What the readers of HTTP bytes share: character classes (RFC 9110 5.6.2,
 * RFC 3986) and the absolute form of a target. Private to libkombi.
 */
#ifndef KOMBI_HTTP1_PRIVATE_H
#define KOMBI_HTTP1_PRIVATE_H

#include <string.h>

#include <kombi/base.h>

/* Lower-case form of a token character, 0 for any other byte. */
extern const uint8_t kb_http1_lower[256];

static inline bool
kb_http1_is_token(char c)
{
	return kb_http1_lower[(uint8_t)c] != 0;
}

static inline bool
kb_http1_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Value of a hexadecimal digit, -1 for any other byte. */
static inline int
kb_http1_hex(char c)
{
	if (kb_http1_is_digit(c))
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Token bytes against a lower-case name of the same length. */
static inline bool
kb_http1_same(const char *s, const char *lower, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (kb_http1_lower[(uint8_t)s[i]] != (uint8_t)lower[i])
			return false;
	return true;
}

/* A byte that no field value and no reason phrase may have. */
static inline bool
kb_http1_is_control(char c)
{
	return ((uint8_t)c < 0x20 && c != '\t') || c == 0x7f;
}

/*
 * The authority of a target in absolute form ("http://" or "https://" before
 * it), unchecked; ptr is NULL for any other target.
 */
struct kb_slice kb_http1_authority(struct kb_slice target);

#endif
