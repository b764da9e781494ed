/*
 * Keys that verify one algorithm of RFC 7518 each, for jwt.c alone.
 */
#ifndef KOMBI_CRYPTO_JWS_H
#define KOMBI_CRYPTO_JWS_H

#include <kombi/base.h>
#include <kombi/jwt.h>

/* HS, RS, PS with 256, 384, 512; ES256, ES384, ES512. */
bool kb_jws_alg_known(const char *name);
const char *kb_jws_key_alg(const struct kb_jws_key *k);
/* Any number of threads. */
bool kb_jws_key_verify(const struct kb_jws_key *k, const void *data, size_t len,
    const unsigned char *sig, size_t sig_len) KB_MUSTUSE;

#endif
