/*
 * The public operation of RSA for the keys that tokens are signed with:
 * exponent 65537, modulus of 2048 to 4096 bit in whole 64-bit words. Public
 * numbers only: nothing here takes care of its timing. mbedTLS does the same
 * in twice the time; other keys stay with it.
 */
#ifndef KOMBI_CRYPTO_RSA_H
#define KOMBI_CRYPTO_RSA_H

#include <kombi/base.h>
#include <kombi/crypto.h>

#define KB_RSA_WORDS 64

struct kb_rsa {
	size_t words;              /* of the modulus; 0: not for us */
	uint64_t n[KB_RSA_WORDS];  /* least significant word first */
	uint64_t rr[KB_RSA_WORDS]; /* 2^(128 * words) mod n */
	uint64_t inverse;          /* -1/n mod 2^64 */
};

/* False, and words 0: not such a key. n and e without leading zeros. */
bool kb_rsa_init(struct kb_rsa *k, struct kb_slice n, struct kb_slice e);

/* in^65537 mod n; both have the modulus' bytes. False: in is not below n. */
bool kb_rsa_public(
    const struct kb_rsa *k, const unsigned char *in, unsigned char *out);

/* RFC 8017 8.2.2 with SHA-256; the signature has the modulus' bytes. */
bool
kb_rsa_verify(const struct kb_rsa *k, const unsigned char hash[KB_SHA256_SIZE],
    const unsigned char *sig) KB_MUSTUSE;

#endif
