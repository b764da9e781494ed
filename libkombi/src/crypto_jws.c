/*
 * Keys that verify one algorithm of RFC 7518 each: HMAC, RSA (PKCS #1 v1.5
 * and PSS), ECDSA on P-256, P-384 and P-521. mbedTLS has no Ed25519, so there
 * is no EdDSA.
 */
#include <stdlib.h>
#include <string.h>

#include <mbedtls/asn1write.h>
#include <mbedtls/bignum.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/rsa.h>

#include <kombi/arena.h>
#include <kombi/crypto.h>
#include <kombi/secret.h>

#include "crypto_jws.h"

#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 4096
#define HMAC_MIN 16
#define DER_MAX 160 /* two numbers of 66 bytes, and what frames them */

enum family { HMAC, PKCS1, PSS, ECDSA };

static const struct algorithm {
	const char *name;
	enum family family;
	mbedtls_md_type_t md;
	unsigned bits; /* of the curve */
} algorithms[] = {
	{ "HS256", HMAC, MBEDTLS_MD_SHA256, 0 },
	{ "HS384", HMAC, MBEDTLS_MD_SHA384, 0 },
	{ "HS512", HMAC, MBEDTLS_MD_SHA512, 0 },
	{ "RS256", PKCS1, MBEDTLS_MD_SHA256, 0 },
	{ "RS384", PKCS1, MBEDTLS_MD_SHA384, 0 },
	{ "RS512", PKCS1, MBEDTLS_MD_SHA512, 0 },
	{ "PS256", PSS, MBEDTLS_MD_SHA256, 0 },
	{ "PS384", PSS, MBEDTLS_MD_SHA384, 0 },
	{ "PS512", PSS, MBEDTLS_MD_SHA512, 0 },
	{ "ES256", ECDSA, MBEDTLS_MD_SHA256, 256 },
	{ "ES384", ECDSA, MBEDTLS_MD_SHA384, 384 },
	{ "ES512", ECDSA, MBEDTLS_MD_SHA512, 521 },
};

struct kb_jws_key {
	const struct algorithm *alg;
	const mbedtls_md_info_t *md;
	struct kb_secret secret; /* HMAC */
	mbedtls_pk_context pk;   /* the others */
};

static const struct algorithm *
algorithm_named(const char *name)
{
	for (size_t i = 0; i < KB_COUNT(algorithms); i++)
		if (strcmp(algorithms[i].name, name) == 0)
			return &algorithms[i];
	return NULL;
}

bool
kb_jws_alg_known(const char *name)
{
	return algorithm_named(name) != NULL;
}

const char *
kb_jws_key_alg(const struct kb_jws_key *k)
{
	return k->alg->name;
}

void
kb_jws_key_free(struct kb_jws_key *k)
{
	if (!k)
		return;
	kb_secret_free(&k->secret);
	mbedtls_pk_free(&k->pk);
	free(k);
}

static const char *
read_pem(struct kb_jws_key *k, const char *pem)
{
	size_t bits;

	if (!pem ||
	    mbedtls_pk_parse_public_key(
		&k->pk, (const unsigned char *)pem, strlen(pem) + 1))
		return "not a public key in PEM";
	bits = mbedtls_pk_get_bitlen(&k->pk);
	if (k->alg->family == ECDSA)
		return mbedtls_pk_get_type(&k->pk) == MBEDTLS_PK_ECKEY &&
			bits == k->alg->bits
		    ? NULL
		    : "not a key on the curve of the algorithm";
	if (mbedtls_pk_get_type(&k->pk) != MBEDTLS_PK_RSA)
		return "not an RSA key";
	return bits >= RSA_MIN_BITS && bits <= RSA_MAX_BITS
	    ? NULL
	    : "RSA modulus is not of 2048 to 4096 bit";
}

struct kb_jws_key *
kb_jws_key_new(
    const char *alg, struct kb_slice secret, const char *pem, const char **why)
{
	const struct algorithm *found = algorithm_named(alg);
	struct kb_jws_key *k;
	unsigned char sig[RSA_MAX_BITS / 8] = { 0 };

	*why = found ? NULL : "algorithm is not known";
	if (!found)
		return NULL;
	k = kb_xalloc(sizeof(*k));
	memset(k, 0, sizeof(*k));
	mbedtls_pk_init(&k->pk);
	k->alg = found;
	k->md = mbedtls_md_info_from_type(found->md);
	if (found->family == HMAC && secret.len < HMAC_MIN)
		*why = "secret is shorter than 16 bytes";
	else if (found->family == HMAC)
		kb_secret_set(&k->secret, secret.ptr, secret.len);
	else
		*why = read_pem(k, pem);
	if (*why) {
		kb_jws_key_free(k);
		return NULL;
	}
	/* Helper values are kept at the first use: now, before it is shared.
	 */
	if (found->family == PKCS1 || found->family == PSS)
		(void)!kb_jws_key_verify(
		    k, "", 0, sig, mbedtls_pk_get_len(&k->pk));
	return k;
}

/* ---- verifying ----------------------------------------------------------- */

static bool
verify_hmac(const struct kb_jws_key *k, const void *data, size_t len,
    const unsigned char *sig, size_t sig_len)
{
	unsigned char mac[MBEDTLS_MD_MAX_SIZE];
	size_t key_len, size = mbedtls_md_get_size(k->md);
	const unsigned char *key = kb_secret_reveal(&k->secret, &key_len);
	bool good = sig_len == size &&
	    mbedtls_md_hmac(k->md, key, key_len, data, len, mac) == 0 &&
	    kb_equal_ct(mac, sig, size);

	kb_wipe(mac, sizeof(mac));
	return good;
}

/* r and s as they stand in a token, to the DER that the library reads. */
static int
to_der(const unsigned char *sig, size_t half, unsigned char *der,
    unsigned char **start)
{
	mbedtls_mpi r, s;
	unsigned char *at = der + DER_MAX;
	int len = 0, ret, bad;

	mbedtls_mpi_init(&r);
	mbedtls_mpi_init(&s);
	bad = mbedtls_mpi_read_binary(&r, sig, half) ||
	    mbedtls_mpi_read_binary(&s, sig + half, half);
	if (!bad && (ret = mbedtls_asn1_write_mpi(&at, der, &s)) > 0) {
		len += ret;
		if ((ret = mbedtls_asn1_write_mpi(&at, der, &r)) > 0)
			len += ret;
		if (ret > 0 &&
		    (ret = mbedtls_asn1_write_len(&at, der, (size_t)len)) > 0)
			len += ret;
		if (ret > 0 &&
		    (ret = mbedtls_asn1_write_tag(&at, der,
			 MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE)) > 0)
			len += ret;
		if (ret <= 0)
			len = 0;
	}
	mbedtls_mpi_free(&r);
	mbedtls_mpi_free(&s);
	*start = at;
	return len;
}

static bool
verify_ecdsa(const struct kb_jws_key *k, mbedtls_pk_context *pk,
    const unsigned char *hash, const unsigned char *sig, size_t sig_len)
{
	unsigned char der[DER_MAX], *start;
	size_t half = (k->alg->bits + 7) / 8;
	int len;

	if (sig_len != 2 * half)
		return false;
	len = to_der(sig, half, der, &start);
	return len > 0 &&
	    mbedtls_pk_verify(pk, k->alg->md, hash, mbedtls_md_get_size(k->md),
		start, (size_t)len) == 0;
}

bool
kb_jws_key_verify(const struct kb_jws_key *k, const void *data, size_t len,
    const unsigned char *sig, size_t sig_len)
{
	/* Not const in the library's signatures; only read once warm. */
	mbedtls_pk_context *pk = (mbedtls_pk_context *)(uintptr_t)&k->pk;
	unsigned char hash[MBEDTLS_MD_MAX_SIZE];
	size_t size = mbedtls_md_get_size(k->md);
	const mbedtls_pk_rsassa_pss_options pss = {
		.mgf1_hash_id = k->alg->md,
		.expected_salt_len = (int)size,
	};

	if (k->alg->family == HMAC)
		return verify_hmac(k, data, len, sig, sig_len);
	if (mbedtls_md(k->md, data, len, hash))
		return false;
	if (k->alg->family == ECDSA)
		return verify_ecdsa(k, pk, hash, sig, sig_len);
	if (sig_len != mbedtls_pk_get_len(pk))
		return false;
	if (k->alg->family == PSS)
		return mbedtls_pk_verify_ext(MBEDTLS_PK_RSASSA_PSS, &pss, pk,
			   k->alg->md, hash, size, sig, sig_len) == 0;
	return mbedtls_pk_verify(pk, k->alg->md, hash, size, sig, sig_len) == 0;
}
