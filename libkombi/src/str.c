/*
 * Strings: comparison, splitting, numbers, and the predicates that decide
 * what a name, a slug or an address may look like.
 */
#include <kombi/str.h>

#include <string.h>
#include <strings.h>

#include "utf8.h"

struct kb_slice
kb_slice_of(const char *s)
{
	return (struct kb_slice) { s ? s : "", s ? strlen(s) : 0 };
}

bool
kb_slice_eq(struct kb_slice s, const char *t)
{
	size_t len = strlen(t);

	return s.len == len && (len == 0 || memcmp(s.ptr, t, len) == 0);
}

static unsigned char
lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

bool
kb_slice_eqi(struct kb_slice s, const char *t)
{
	size_t i;

	if (s.len != strlen(t))
		return false;
	for (i = 0; i < s.len; i++)
		if (lower((unsigned char)s.ptr[i]) !=
		    lower((unsigned char)t[i]))
			return false;
	return true;
}

static bool
blank(char c)
{
	return c == ' ' || c == '\t';
}

struct kb_slice
kb_slice_trim(struct kb_slice s)
{
	while (s.len && blank(s.ptr[0])) {
		s.ptr++;
		s.len--;
	}
	while (s.len && blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

bool
kb_str_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool
kb_str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
kb_str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *
kb_str_lower(struct kb_arena *a, const char *s)
{
	char *out = kb_strdup(a, s), *p;

	for (p = out; *p; p++)
		*p = (char)lower((unsigned char)*p);
	return out;
}

bool
kb_slice_next(struct kb_slice *rest, char sep, struct kb_slice *part)
{
	const char *end;

	if (!rest->ptr)
		return false;
	end = rest->len ? memchr(rest->ptr, sep, rest->len) : NULL;
	if (!end) {
		*part = *rest;
		*rest = (struct kb_slice) { NULL, 0 };
		return true;
	}
	*part = (struct kb_slice) { rest->ptr, (size_t)(end - rest->ptr) };
	rest->len -= part->len + 1;
	rest->ptr = end + 1;
	return true;
}

bool
kb_parse_u64(struct kb_slice s, uint64_t *out)
{
	uint64_t value = 0;
	size_t i;

	if (s.len == 0)
		return false;
	for (i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(
			value, (uint64_t)(s.ptr[i] - '0'), &value))
			return false;
	}
	*out = value;
	return true;
}

bool
kb_parse_i64(struct kb_slice s, int64_t *out)
{
	bool negative = s.len > 0 && s.ptr[0] == '-';
	uint64_t value;

	if (negative) {
		s.ptr++;
		s.len--;
	}
	if (!kb_parse_u64(s, &value) ||
	    value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return false;
	*out = negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

bool
kb_utf8_valid(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0, n;

	while (i < len) {
		n = utf8_step(p + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

bool
kb_has_control(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return true;
	return false;
}

static bool
lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool
kb_is_slug(const char *s)
{
	size_t len = s ? strnlen(s, 64) : 0, i;

	if (len < 1 || len > 63 || s[0] == '-' || s[len - 1] == '-')
		return false;
	for (i = 0; i < len; i++)
		if (!lower_or_digit(s[i]) && s[i] != '-')
			return false;
	return true;
}

/* C1 controls are two bytes in UTF-8: U+0080 to U+009F. */
static bool
has_c1(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	for (; *p; p++)
		if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
			return true;
	return false;
}

bool
kb_is_name(const char *s)
{
	size_t len = s ? strnlen(s, 513) : 0;

	if (len < 1 || len > 512 || !kb_utf8_valid(s, len) ||
	    kb_has_control(s, len) || has_c1(s))
		return false;
	return utf8_count(s) <= 128 && s[0] != ' ' && s[len - 1] != ' ';
}

bool
kb_is_id(const char *s)
{
	size_t len = s ? strnlen(s, 65) : 0, i;

	if (len < 1 || len > 64)
		return false;
	for (i = 0; i < len; i++)
		if (!lower_or_digit(s[i]) && s[i] != '-' && s[i] != '_')
			return false;
	return true;
}

bool
kb_is_email(const char *s)
{
	size_t len = s ? strnlen(s, 255) : 0;
	const char *at;

	if (len < 3 || len > 254 || kb_has_control(s, len) ||
	    !kb_utf8_valid(s, len) || strpbrk(s, " <>()[],;:\\\"") || has_c1(s))
		return false;
	at = strchr(s, '@');
	return at && at != s && at[1] != '\0' && at[1] != '.' &&
	    s[len - 1] != '.' && !strchr(at + 1, '@') && !strstr(at, "..");
}

bool
kb_is_uuid(const char *s)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i;

	if (!s || strnlen(s, sizeof(shape)) != sizeof(shape) - 1)
		return false;
	for (i = 0; shape[i]; i++) {
		char c = (char)lower((unsigned char)s[i]);
		bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

		if (shape[i] == 'x' ? !hex : c != '-')
			return false;
	}
	return true;
}
