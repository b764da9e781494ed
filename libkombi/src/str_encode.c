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

static int
value64(char c, char c62, char c63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == c62 ? 62 : c == c63 ? 63 : -1;
}

static long
decode64(const char *s, size_t len, const char *last_two, unsigned char *out)
{
	unsigned bits = 0;
	size_t i, n = 0;
	int have = 0;

	if (len % 4 == 1)
		return -1;
	for (i = 0; i < len; i++) {
		int v = value64(s[i], last_two[0], last_two[1]);

		if (v < 0)
			return -1;
		bits = (bits << 6 | (unsigned)v) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (unsigned char)(bits >> have & 0xff);
		}
	}
	/* Two spellings of the same bytes would be two tokens of one. */
	if (bits & ((1U << have) - 1))
		return -1;
	return (long)n;
}

long
kb_base64url_decode(const char *s, size_t len, void *out)
{
	return decode64(s, len, "-_", out);
}

long
kb_base64_decode(const char *s, size_t len, void *out)
{
	size_t pad = 0;

	if (len % 4)
		return -1;
	while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
		pad++;
	return decode64(s, len - pad, "+/", out);
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
