/*
 * Verifying RS256 (RFC 8017 8.2.2 with SHA-256) by nettle and GMP, which take
 * a third of mbedTLS' time: a token that was never seen costs little else.
 * Private to libkombi.
 */
#ifndef KOMBI_CRYPTO_RSA_H
#define KOMBI_CRYPTO_RSA_H

#include <kombi/base.h>
#include <kombi/crypto.h>

struct kb_rsa;

/* NULL: no such key. n and e are big-endian. Only read afterwards: any thread
 * may verify. */
struct kb_rsa *kb_rsa_new(struct kb_slice n, struct kb_slice e);
void kb_rsa_free(struct kb_rsa *k); /* NULL is fine */

/* `sig_len` must be that of the modulus. */
bool
kb_rsa_verify(const struct kb_rsa *k, const unsigned char hash[KB_SHA256_SIZE],
    const unsigned char *sig, size_t sig_len) KB_MUSTUSE;

#endif
