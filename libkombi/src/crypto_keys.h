/*
 * Public keys that verify signatures, for jwks.c and jwt.c alone. The key
 * fixes the algorithm: RSA keys verify RS256 (RFC 8017 PKCS #1 v1.5 with
 * SHA-256), P-256 keys ES256 (RFC 7518 3.4: r and s, 32 bytes each).
 */
#ifndef KOMBI_CRYPTO_KEYS_H
#define KOMBI_CRYPTO_KEYS_H

#include <kombi/base.h>

enum kb_pubkey_kind { KB_PUBKEY_RSA, KB_PUBKEY_P256 };

/* Immutable once made; verify may run in any number of threads. */
struct kb_pubkey;

/*
 * NULL with *why (constant text) unless: modulus odd, 2048..4096 bit;
 * exponent odd, 65537 .. 2^64; point of 32 + 32 bytes on the curve.
 */
struct kb_pubkey *
kb_pubkey_rsa(struct kb_slice n, struct kb_slice e, const char **why);
struct kb_pubkey *
kb_pubkey_p256(struct kb_slice x, struct kb_slice y, const char **why);
/* "BEGIN PUBLIC KEY" or "BEGIN RSA PUBLIC KEY", under the same limits. */
struct kb_pubkey *kb_pubkey_pem(const char *pem, const char **why);
void kb_pubkey_free(struct kb_pubkey *k); /* NULL is fine */

enum kb_pubkey_kind kb_pubkey_kind(const struct kb_pubkey *k);
/* SHA-256 over the kind and the numbers: equal for equal keys. */
const unsigned char *kb_pubkey_print(const struct kb_pubkey *k);

bool kb_pubkey_verify(const struct kb_pubkey *k, const void *data, size_t len,
    const unsigned char *sig, size_t sig_len) KB_MUSTUSE;

#endif
