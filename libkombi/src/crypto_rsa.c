/*
 * RSA public keys on nettle.
 */
#include <stdlib.h>

#include <nettle/bignum.h>
#include <nettle/rsa.h>

#include <kombi/arena.h>

#include "crypto_rsa.h"

struct kb_rsa {
	struct rsa_public_key key;
};

struct kb_rsa *
kb_rsa_new(struct kb_slice n, struct kb_slice e)
{
	struct kb_rsa *k = kb_xalloc(sizeof(*k));

	rsa_public_key_init(&k->key);
	nettle_mpz_set_str_256_u(k->key.n, n.len, (const uint8_t *)n.ptr);
	nettle_mpz_set_str_256_u(k->key.e, e.len, (const uint8_t *)e.ptr);
	if (rsa_public_key_prepare(&k->key))
		return k;
	kb_rsa_free(k);
	return NULL;
}

void
kb_rsa_free(struct kb_rsa *k)
{
	if (k == NULL)
		return;
	rsa_public_key_clear(&k->key);
	free(k);
}

bool
kb_rsa_verify(const struct kb_rsa *k, const unsigned char hash[KB_SHA256_SIZE],
    const unsigned char *sig, size_t sig_len)
{
	bool good;
	mpz_t s;

	if (sig_len != k->key.size)
		return false;
	nettle_mpz_init_set_str_256_u(s, sig_len, sig);
	/* Builds the whole padded block and compares it; s >= n is refused. */
	good = rsa_sha256_verify_digest(&k->key, hash, s) != 0;
	mpz_clear(s);
	return good;
}
