/*
 * Montgomery arithmetic on words of 64 bit (Handbook of Applied Cryptography
 * 14.36 and 14.16), for x^65537 mod n alone: one way in, sixteen squarings,
 * one multiplication that leads out as well.
 */
#include "crypto_rsa.h"

#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* mulx saves a sixth; the loader takes the version that the machine has. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) &&    \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FASTEST __attribute__((target_clones("bmi2", "default")))
#else
#define FASTEST
#endif
#define INLINE static inline __attribute__((always_inline))

/* r = t mod n, where t (with `top` above it) is below 2n. */
INLINE void
reduce_once(
    uint64_t *r, const uint64_t *t, uint64_t top, const struct kb_rsa *k)
{
	uint64_t d[KB_RSA_WORDS], borrow = 0;

	for (size_t i = 0; i < k->words; i++) {
		wide x = (wide)t[i] - k->n[i] - borrow;

		d[i] = (uint64_t)x;
		borrow = (uint64_t)(x >> 64) & 1;
	}
	memcpy(r, top || !borrow ? d : t, k->words * sizeof(*r));
}

/* t += a * w over the words from `from` on; gives the carry. */
INLINE uint64_t
add_product(uint64_t *t, const uint64_t *a, uint64_t w, size_t from, size_t to)
{
	uint64_t carry = 0;

#pragma GCC unroll 16
	for (size_t j = from; j < to; j++) {
		wide x = (wide)a[j] * w + t[j] + carry;

		t[j] = (uint64_t)x;
		carry = (uint64_t)(x >> 64);
	}
	return carry;
}

/* r = t / 2^(64 * words) mod n; t has twice the words and is below n * 2^(…).
 */
INLINE void
reduce(uint64_t *r, uint64_t *t, const struct kb_rsa *k)
{
	uint64_t top = 0;

	for (size_t i = 0; i < k->words; i++) {
		uint64_t carry = add_product(
		    t + i, k->n, t[i] * k->inverse, 0, k->words);
		wide x = (wide)t[i + k->words] + carry + top;

		t[i + k->words] = (uint64_t)x;
		top = (uint64_t)(x >> 64);
	}
	reduce_once(r, t + k->words, top, k);
}

INLINE void
multiply(
    uint64_t *r, const uint64_t *a, const uint64_t *b, const struct kb_rsa *k)
{
	uint64_t t[2 * KB_RSA_WORDS];

	memset(t, 0, 2 * k->words * sizeof(*t));
	for (size_t i = 0; i < k->words; i++)
		t[i + k->words] = add_product(t + i, a, b[i], 0, k->words);
	reduce(r, t, k);
}

/* The products of different words once, doubled, and the squares added. */
INLINE void
square(uint64_t *r, const uint64_t *a, const struct kb_rsa *k)
{
	uint64_t t[2 * KB_RSA_WORDS], carry = 0, shifted = 0;

	memset(t, 0, 2 * k->words * sizeof(*t));
	for (size_t i = 0; i < k->words; i++)
		t[i + k->words] = add_product(t + i, a, a[i], i + 1, k->words);
	for (size_t i = 0; i < k->words; i++) {
		wide s = (wide)a[i] * a[i];
		uint64_t low = t[2 * i], high = t[2 * i + 1];
		wide x = (wide)(low << 1 | shifted) + (uint64_t)s + carry;

		t[2 * i] = (uint64_t)x;
		x = (wide)(high << 1 | low >> 63) + (uint64_t)(s >> 64) +
		    (uint64_t)(x >> 64);
		t[2 * i + 1] = (uint64_t)x;
		carry = (uint64_t)(x >> 64);
		shifted = high >> 63;
	}
	reduce(r, t, k);
}

FASTEST static void
power(uint64_t *r, const uint64_t *x, const struct kb_rsa *k)
{
	multiply(r, x, k->rr, k);
	for (int i = 0; i < 16; i++)
		square(r, r, k);
	multiply(r, r, x, k);
}

/* ---- keys and bytes ------------------------------------------------------ */

static void
read_words(uint64_t *w, size_t words, const unsigned char *bytes)
{
	for (size_t i = 0; i < words; i++) {
		const unsigned char *p = bytes + 8 * (words - 1 - i);

		w[i] = 0;
		for (int j = 0; j < 8; j++)
			w[i] = w[i] << 8 | p[j];
	}
}

static void
write_words(unsigned char *bytes, const uint64_t *w, size_t words)
{
	for (size_t i = 0; i < words; i++)
		for (int j = 0; j < 8; j++)
			bytes[8 * (words - 1 - i) +
			    (size_t)j] = (unsigned char)(w[i] >> (56 - 8 * j) &
			    0xff);
}

/* rr = 2^(128 * words) mod n, by doubling 2^(64 * words) - n. */
static void
find_rr(struct kb_rsa *k)
{
	uint64_t zero[KB_RSA_WORDS] = { 0 }, *w = k->rr;

	reduce_once(w, zero, 1, k);
	for (size_t bit = 0; bit < 64 * k->words; bit++) {
		uint64_t top = 0;

		for (size_t i = 0; i < k->words; i++) {
			uint64_t next = w[i] >> 63;

			w[i] = w[i] << 1 | top;
			top = next;
		}
		reduce_once(w, w, top, k);
	}
}

bool
kb_rsa_init(struct kb_rsa *k, struct kb_slice n, struct kb_slice e)
{
	const unsigned char *bytes = (const unsigned char *)n.ptr;
	uint64_t x = 1;

	memset(k, 0, sizeof(*k));
	if (e.len != 3 || memcmp(e.ptr, "\1\0\1", 3) != 0 || n.len < 256 ||
	    n.len > 8 * KB_RSA_WORDS || n.len % 8 || !(bytes[0] & 0x80) ||
	    !(bytes[n.len - 1] & 1))
		return false;
	k->words = n.len / 8;
	read_words(k->n, k->words, bytes);
	/* Newton: each step doubles the bits that are right. */
	for (int i = 0; i < 6; i++)
		x *= 2 - k->n[0] * x;
	k->inverse = 0 - x;
	find_rr(k);
	return true;
}

bool
kb_rsa_public(
    const struct kb_rsa *k, const unsigned char *in, unsigned char *out)
{
	uint64_t x[KB_RSA_WORDS], y[KB_RSA_WORDS];

	read_words(x, k->words, in);
	reduce_once(y, x, 0, k);
	if (memcmp(x, y, k->words * sizeof(*x)) != 0)
		return false;
	power(y, x, k);
	write_words(out, y, k->words);
	return true;
}

bool
kb_rsa_verify(const struct kb_rsa *k, const unsigned char hash[KB_SHA256_SIZE],
    const unsigned char *sig)
{
	/* DigestInfo of SHA-256 (RFC 8017 9.2), the hash follows. */
	static const unsigned char info[] = { 0x30, 0x31, 0x30, 0x0d, 0x06,
		0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
		0x05, 0x00, 0x04, 0x20 };
	unsigned char want[8 * KB_RSA_WORDS], got[8 * KB_RSA_WORDS];
	size_t len = 8 * k->words;
	size_t tail = sizeof(info) + KB_SHA256_SIZE;

	/* Built and compared whole, so that no byte goes unlooked at. */
	memset(want, 0xff, len);
	want[0] = 0x00;
	want[1] = 0x01;
	want[len - tail - 1] = 0x00;
	memcpy(want + len - tail, info, sizeof(info));
	memcpy(want + len - KB_SHA256_SIZE, hash, KB_SHA256_SIZE);
	return kb_rsa_public(k, sig, got) && memcmp(want, got, len) == 0;
}
