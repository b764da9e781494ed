/*
 * Runs of bytes that JSON text holds as they are, found eight at a time:
 * reading and writing both spend most of their time in them.
 */
#ifndef KOMBI_SRC_JSON_TEXT_H
#define KOMBI_SRC_JSON_TEXT_H

#include <string.h>

#include <kombi/base.h>

#define JSON_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Some byte is a control, DEL, a quote, a backslash or not ASCII. May also
 * be true for harmless bytes next to such a one. */
static inline bool
json_word_special(uint64_t w)
{
	uint64_t low = (w - JSON_EACH(0x20)) |
	    ((w ^ JSON_EACH('"')) - JSON_EACH(1)) |
	    ((w ^ JSON_EACH('\\')) - JSON_EACH(1)) |
	    ((w ^ JSON_EACH(0x7f)) - JSON_EACH(1));

	return ((w | low) & JSON_EACH(0x80)) != 0;
}

static const bool json_special[256] = {
	[0 ... 0x1f] = true,
	['"'] = true,
	['\\'] = true,
	[0x7f ... 0xff] = true,
};

/* How many bytes at the front need no care at all. */
static inline size_t
json_plain(const unsigned char *s, size_t len)
{
	size_t i = 0;
	uint64_t w;

	for (; len - i >= 8; i += 8) {
		memcpy(&w, s + i, 8);
		if (json_word_special(w))
			break;
	}
	while (i < len && !json_special[s[i]])
		i++;
	return i;
}

#endif
