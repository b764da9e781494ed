/*
 * Encodings of bytes as text: hex, base64, percent; and the hash of
 * untrusted bytes.
 */
#include <kombi/str.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void
kb_hex(const void *data, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;
	size_t i;

	for (i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
kb_unhex(const char *s, size_t len, void *out)
{
	unsigned char *p = out;
	size_t i;

	if (len % 2)
		return false;
	for (i = 0; i < len; i += 2) {
		int hi = hex_value(s[i]), lo = hex_value(s[i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		p[i / 2] = (unsigned char)(hi << 4 | lo);
	}
	return true;
}

static const char url_alphabet
    [] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char std_alphabet
    [] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *
encode64(struct kb_arena *a, const char *alphabet, const void *data, size_t n)
{
	const unsigned char *p = data;
	char *out, *q;

	if (n > SIZE_MAX / 2)
		abort();
	q = out = kb_arena_alloc(a, n / 3 * 4 + 5);
	for (; n >= 3; n -= 3, p += 3) {
		*q++ = alphabet[p[0] >> 2];
		*q++ = alphabet[(p[0] & 3) << 4 | p[1] >> 4];
		*q++ = alphabet[(p[1] & 15) << 2 | p[2] >> 6];
		*q++ = alphabet[p[2] & 63];
	}
	if (n > 0) {
		unsigned second = n > 1 ? p[1] : 0;

		*q++ = alphabet[p[0] >> 2];
		*q++ = alphabet[(p[0] & 3U) << 4 | second >> 4];
		if (n > 1)
			*q++ = alphabet[(second & 15) << 2];
	}
	return out;
}

char *
kb_base64url(struct kb_arena *a, const void *data, size_t n)
{
	return encode64(a, url_alphabet, data, n);
}

char *
kb_base64(struct kb_arena *a, const void *data, size_t n)
{
	char *out = encode64(a, std_alphabet, data, n);
	size_t len = strlen(out);

	while (len % 4)
		out[len++] = '=';
	return out;
}

/* Values of the 62 common digits plus one, 0 for all other bytes. */
/* clang-format off */
#define DIGITS64 \
	['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4, ['E'] = 5, ['F'] = 6, \
	['G'] = 7, ['H'] = 8, ['I'] = 9, ['J'] = 10, ['K'] = 11, ['L'] = 12, \
	['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, \
	['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, \
	['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, \
	['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, \
	['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, \
	['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, \
	['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, \
	['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, \
	['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57, \
	['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62
/* clang-format on */
static const uint8_t url_values[256] = { DIGITS64, ['-'] = 63, ['_'] = 64 };
static const uint8_t std_values[256] = { DIGITS64, ['+'] = 63, ['/'] = 64 };

/* Four digits to three bytes; false if one is none. */
static inline bool
quartet(const unsigned char *s, const uint8_t *values, unsigned char *out)
{
	unsigned a = values[s[0]], b = values[s[1]], c = values[s[2]],
		 d = values[s[3]];
	uint32_t bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);

	out[0] = (unsigned char)(bits >> 16);
	out[1] = (unsigned char)(bits >> 8 & 0xff);
	out[2] = (unsigned char)(bits & 0xff);
	return a && b && c && d;
}

static long
decode64(
    const char *text, size_t len, const uint8_t *values, unsigned char *out)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char last[4], bytes[3];
	size_t n = 0, left = len % 4;

	if (left == 1)
		return -1;
	for (size_t i = 0; i + 4 <= len; i += 4, n += 3)
		if (!quartet(s + i, values, out + n))
			return -1;
	if (left == 0)
		return (long)n;
	/* The digit of six zero bits stands for those that are not there. */
	memset(last, 'A', sizeof(last));
	memcpy(last, s + len - left, left);
	if (!quartet(last, values, bytes))
		return -1;
	/* Two spellings of the same bytes would be two tokens of one. */
	if (bytes[left - 1] != 0)
		return -1;
	memcpy(out + n, bytes, left - 1);
	return (long)(n + left - 1);
}

long
kb_base64url_decode(const char *s, size_t len, void *out)
{
	return decode64(s, len, url_values, out);
}

long
kb_base64_decode(const char *s, size_t len, void *out)
{
	size_t pad = 0;

	if (len % 4)
		return -1;
	while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
		pad++;
	return decode64(s, len - pad, std_values, out);
}

static bool
unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~';
}

void
kb_percent_encode(struct kb_buf *b, const char *s, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (unreserved(c) || (keep && strchr(keep, c))) {
			kb_buf_addc(b, *s);
			continue;
		}
		kb_buf_addc(b, '%');
		kb_buf_addc(b, digits[c >> 4]);
		kb_buf_addc(b, digits[c & 15]);
	}
}

bool
kb_percent_decode(struct kb_arena *a, struct kb_slice s, char **out)
{
	char *p = kb_arena_alloc(a, s.len + 1);
	size_t i, n = 0;

	for (i = 0; i < s.len; i++) {
		unsigned char byte;

		if (s.ptr[i] == '\0')
			return false;
		if (s.ptr[i] != '%') {
			p[n++] = s.ptr[i];
			continue;
		}
		if (s.len - i < 3 || !kb_unhex(s.ptr + i + 1, 2, &byte) ||
		    byte == 0)
			return false;
		p[n++] = (char)byte;
		i += 2;
	}
	*out = p;
	return true;
}

static uint64_t hash_key[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void
draw_hash_key(void)
{
	if (getrandom(hash_key, sizeof(hash_key), 0) != sizeof(hash_key))
		abort();
}

static inline uint64_t
rotate(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

uint64_t
kb_hash(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t v[4], word, tail = (uint64_t)len << 56;
	size_t i;

	pthread_once(&hash_once, draw_hash_key);
	v[0] = hash_key[0] ^ 0x736f6d6570736575;
	v[1] = hash_key[1] ^ 0x646f72616e646f6d;
	v[2] = hash_key[0] ^ 0x6c7967656e657261;
	v[3] = hash_key[1] ^ 0x7465646279746573;
	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (i = 0; i < len; i++)
		tail |= (uint64_t)p[i] << (8 * i);
	v[3] ^= tail;
	sip_round(v);
	v[0] ^= tail;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
