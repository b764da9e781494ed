/*
 * What jwt.c needs of a key set beyond the public face: the key for a token.
 */
#ifndef KOMBI_JWKS_H
#define KOMBI_JWKS_H

#include <kombi/jwt.h>

#include "crypto_keys.h"

#define KB_KID_MAX 256

/*
 * The key that `kid` names, byte for byte. A set of one key without kid has
 * that key for every token; without a kid (NULL) only a set of one key has
 * an answer. NULL otherwise. Lives as long as the set.
 */
const struct kb_pubkey *kb_jwks_find(const struct kb_jwks *k, const char *kid);

#endif
