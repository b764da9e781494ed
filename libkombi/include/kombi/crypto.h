/*
 * Hashes, MACs, random, constant-time compare, field encryption; mbedTLS
 * behind it.
 */
#ifndef KOMBI_CRYPTO_H
#define KOMBI_CRYPTO_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>

#define KB_SHA256_SIZE 32

void kb_random(void *out, size_t len); /* aborts if there is no entropy */
void kb_sha256(const void *data, size_t len, unsigned char out[32]);
/* Hex digest of SHA-256, 65 bytes with NUL. */
void kb_sha256_hex(const void *data, size_t len, char out[65]);
void kb_sha1(const void *data, size_t len, unsigned char out[20]); /* UUIDv5 */
void kb_hmac_sha256(const void *key, size_t key_len, const void *data,
    size_t len, unsigned char out[32]);
/* The same over `n` parts one after another. */
void kb_hmac_sha256_parts(const void *key, size_t key_len,
    const struct kb_slice *parts, size_t n, unsigned char out[32]);
/* RFC 5869 with SHA-256, without salt; len <= 8160. */
void kb_hkdf_sha256(
    const void *key, size_t key_len, const char *info, void *out, size_t len);
/* Time depends on len only. */
bool kb_equal_ct(const void *a, const void *b, size_t len);
/* Compares two strings without telling where they differ. */
bool kb_str_equal_ct(const char *a, const char *b);
void kb_wipe(void *p, size_t len); /* not optimised away */

/*
 * AES-256-GCM, text form "enc:v1:" + base64(nonce, ciphertext, tag). `aad`
 * binds it to its place ("tenant|table|column|row"). KB_INVALID if the text
 * is not of this form or does not authenticate.
 */
char *kb_field_encrypt(struct kb_arena *a, const unsigned char key[32],
    const void *plain, size_t len, const char *aad);
enum kb_err kb_field_decrypt(struct kb_arena *a, const unsigned char key[32],
    const char *text, const char *aad, unsigned char **plain,
    size_t *len) KB_MUSTUSE;

#endif
