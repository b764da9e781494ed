/*
 * Identifiers. Row ids are ULIDs with a prefix: 48 bit milliseconds, 80 bit
 * random, counted up within one millisecond so that they sort by creation.
 */
#include <kombi/id.h>

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>

#define RANDOM_SIZE 10
#define RANDOM_DRAWN 64 /* parts of that size a call to the kernel */

/* Covers `last`: the id that was given out last, and random bytes for the
 * next ones. */
static pthread_mutex_t id_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
	int64_t ms;
	unsigned char random[RANDOM_SIZE];
	unsigned char drawn[RANDOM_DRAWN][RANDOM_SIZE];
	unsigned left;
} last;

static void
random_bytes(void *out, size_t len)
{
	if (getrandom(out, len, 0) != (ssize_t)len)
		abort();
}

/* Nobody gets the same bytes twice: what is given out is wiped. */
static void
next_random(void)
{
	unsigned char *next;

	if (last.left == 0) {
		random_bytes(last.drawn, sizeof(last.drawn));
		last.left = RANDOM_DRAWN;
	}
	next = last.drawn[--last.left];
	memcpy(last.random, next, RANDOM_SIZE);
	memset(next, 0, RANDOM_SIZE);
}

/* 16 bytes, big-endian: time, then random. */
static void
next_id(unsigned char out[16])
{
	int64_t now = kb_wall_ms();
	int i;

	pthread_mutex_lock(&id_mutex);
	if (now > last.ms) {
		last.ms = now;
		next_random();
		last.random[0] &= 0x7f; /* room to count up */
	} else {
		for (i = RANDOM_SIZE - 1; i >= 0 && ++last.random[i] == 0;)
			i--;
	}
	for (i = 0; i < 6; i++)
		out[i] = (unsigned char)(last.ms >> (40 - 8 * i));
	memcpy(out + 6, last.random, RANDOM_SIZE);
	pthread_mutex_unlock(&id_mutex);
}

char *
kb_id_new(struct kb_arena *a, const char *prefix)
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	size_t len = prefix ? strlen(prefix) : 0;
	bool joined = len == 0 || prefix[len - 1] == '_';
	char *out = kb_arena_alloc(a, len + 28), *p = out;
	unsigned char id[16];
	unsigned bits = 0;
	int i, have = 2; /* 128 bits are 26 digits of 5 with 2 zero in front */
	size_t next = 0;

	next_id(id);
	if (len)
		memcpy(p, prefix, len);
	p += len;
	if (!joined)
		*p++ = '_';
	for (i = 0; i < 26; i++) {
		if (have < 5) {
			bits = (bits << 8 | id[next++]) & 0xfff;
			have += 8;
		}
		have -= 5;
		*p++ = digits[bits >> have & 31];
	}
	return out;
}

static void
uuid_text(unsigned char b[16], int version, char out[KB_UUID_SIZE])
{
	char hex[33];

	b[6] = (unsigned char)((b[6] & 0x0f) | version << 4);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	kb_hex(b, 16, hex);
	memcpy(out, "00000000-0000-0000-0000-000000000000", KB_UUID_SIZE);
	memcpy(out, hex, 8);
	memcpy(out + 9, hex + 8, 4);
	memcpy(out + 14, hex + 12, 4);
	memcpy(out + 19, hex + 16, 4);
	memcpy(out + 24, hex + 20, 12);
}

void
kb_uuid4(char out[KB_UUID_SIZE])
{
	unsigned char b[16];

	random_bytes(b, sizeof(b));
	uuid_text(b, 4, out);
}

static bool
request_id_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool
kb_request_id_ok(const char *s, size_t len)
{
	size_t i;

	if (len < 1 || len > 64)
		return false;
	for (i = 0; i < len; i++)
		if (!request_id_char((unsigned char)s[i]))
			return false;
	return true;
}

void
kb_uuid5(const char *ns, const char *name, char out[KB_UUID_SIZE])
{
	struct kb_buf text;
	unsigned char digest[20], space[16];
	char hex[33];
	size_t i, n = 0;

	assert(kb_is_uuid(ns));
	for (i = 0; ns[i]; i++)
		if (ns[i] != '-')
			hex[n++] = ns[i];
	if (!kb_unhex(hex, n, space))
		abort();
	kb_buf_init(&text, SIZE_MAX / 2);
	kb_buf_add(&text, space, sizeof(space));
	kb_buf_adds(&text, name);
	kb_sha1(text.ptr, text.len, digest);
	kb_buf_free(&text);
	uuid_text(digest, 5, out);
}
