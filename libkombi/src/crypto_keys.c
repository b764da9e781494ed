/*
 * Public keys on mbedTLS (and nettle, which verifies RSA): made from the
 * numbers of a JWK or from PEM, checked once, then only read.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>
#include <mbedtls/pk.h>
#include <mbedtls/rsa.h>

#include <kombi/arena.h>
#include <kombi/crypto.h>

#include "crypto_keys.h"
#include "crypto_rsa.h"

#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 4096
#define RSA_MAX_BYTES (RSA_MAX_BITS / 8)
#define EXPONENT_MAX_BYTES 8
#define COORDINATE 32
#define TWO_COORDINATES ((size_t)2 * COORDINATE) /* a signature, a point */
#define POINT (1 + TWO_COORDINATES)

struct kb_pubkey {
	enum kb_pubkey_kind kind;
	unsigned char print[KB_SHA256_SIZE];
	mbedtls_pk_context rsa;
	struct kb_rsa *verifier; /* the same RSA key */
	mbedtls_ecp_group group;
	mbedtls_ecp_point point;
};

static struct kb_pubkey *
key_new(enum kb_pubkey_kind kind)
{
	struct kb_pubkey *k = kb_xalloc(sizeof(*k));

	k->kind = kind;
	mbedtls_pk_init(&k->rsa);
	mbedtls_ecp_group_init(&k->group);
	mbedtls_ecp_point_init(&k->point);
	return k;
}

void
kb_pubkey_free(struct kb_pubkey *k)
{
	if (!k)
		return;
	kb_rsa_free(k->verifier);
	mbedtls_pk_free(&k->rsa);
	mbedtls_ecp_point_free(&k->point);
	mbedtls_ecp_group_free(&k->group);
	free(k);
}

static struct kb_pubkey *
refuse(struct kb_pubkey *k, const char **why, const char *text)
{
	kb_pubkey_free(k);
	*why = text;
	return NULL;
}

static void
set_print(struct kb_pubkey *k, struct kb_slice first, struct kb_slice second)
{
	static const char *const labels[] = { "rsa", "p256" };
	struct kb_slice parts[] = { first, { ".", 1 }, second };
	const char *label = labels[k->kind];

	kb_hmac_sha256_parts(
	    label, strlen(label), parts, KB_COUNT(parts), k->print);
}

/*
 * mbedTLS keeps helper values in the context at the first public operation
 * (Montgomery constant, multiples of the base point). One run now, before
 * the key is shared, and from then on threads only read.
 */
static void
warm(const struct kb_pubkey *k)
{
	unsigned char sig[RSA_MAX_BYTES] = { 0 };
	size_t len = TWO_COORDINATES;
	bool verified;

	if (k->kind == KB_PUBKEY_RSA)
		len = mbedtls_pk_get_len(&k->rsa);
	sig[COORDINATE - 1] = 1;
	sig[len - 1] = 1;
	verified = kb_pubkey_verify(k, "", 0, sig, len);
	assert(!verified);
	(void)verified;
}

static struct kb_slice
without_leading_zeros(struct kb_slice s)
{
	while (s.len && *s.ptr == 0) {
		s.ptr++;
		s.len--;
	}
	return s;
}

static const char *
rsa_problem(struct kb_slice n, struct kb_slice e)
{
	uint64_t exponent = 0;

	if (n.len < RSA_MIN_BITS / 8 ||
	    (n.len == RSA_MIN_BITS / 8 && !(n.ptr[0] & 0x80)))
		return "RSA modulus under 2048 bit";
	if (n.len > RSA_MAX_BYTES)
		return "RSA modulus over 4096 bit";
	if (!(n.ptr[n.len - 1] & 1))
		return "RSA modulus is even";
	if (e.len > EXPONENT_MAX_BYTES)
		return "RSA exponent over 64 bit";
	for (size_t i = 0; i < e.len; i++)
		exponent = exponent << 8 | (unsigned char)e.ptr[i];
	if (exponent < 65537)
		return "RSA exponent under 65537";
	if (!(exponent & 1))
		return "RSA exponent is even";
	return NULL;
}

struct kb_pubkey *
kb_pubkey_rsa(struct kb_slice n, struct kb_slice e, const char **why)
{
	struct kb_pubkey *k;
	mbedtls_rsa_context *rsa;
	const char *problem;

	n = without_leading_zeros(n);
	e = without_leading_zeros(e);
	problem = rsa_problem(n, e);
	if (problem)
		return refuse(NULL, why, problem);

	k = key_new(KB_PUBKEY_RSA);
	if (mbedtls_pk_setup(
		&k->rsa, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)))
		return refuse(k, why, "RSA is not available");
	rsa = mbedtls_pk_rsa(k->rsa);
	if (mbedtls_rsa_import_raw(rsa, (const unsigned char *)n.ptr, n.len,
		NULL, 0, NULL, 0, NULL, 0, (const unsigned char *)e.ptr,
		e.len) ||
	    mbedtls_rsa_complete(rsa) || mbedtls_rsa_check_pubkey(rsa))
		return refuse(k, why, "not an RSA public key");

	k->verifier = kb_rsa_new(n, e);
	if (k->verifier == NULL)
		return refuse(k, why, "not an RSA public key");
	set_print(k, n, e);
	warm(k);
	return k;
}

struct kb_pubkey *
kb_pubkey_p256(struct kb_slice x, struct kb_slice y, const char **why)
{
	struct kb_pubkey *k;
	unsigned char raw[POINT] = { 0x04 };

	if (x.len != COORDINATE || y.len != COORDINATE)
		return refuse(NULL, why, "P-256 coordinate is not 32 bytes");
	memcpy(raw + 1, x.ptr, COORDINATE);
	memcpy(raw + 1 + COORDINATE, y.ptr, COORDINATE);

	k = key_new(KB_PUBKEY_P256);
	if (mbedtls_ecp_group_load(&k->group, MBEDTLS_ECP_DP_SECP256R1))
		return refuse(k, why, "P-256 is not available");
	if (mbedtls_ecp_point_read_binary(
		&k->group, &k->point, raw, sizeof(raw)) ||
	    mbedtls_ecp_check_pubkey(&k->group, &k->point))
		return refuse(k, why, "point is not on P-256");

	set_print(k, x, y);
	warm(k);
	return k;
}

static struct kb_pubkey *
rsa_of_pk(mbedtls_pk_context *pk, const char **why)
{
	unsigned char n[RSA_MAX_BYTES], e[EXPONENT_MAX_BYTES];
	size_t len = mbedtls_pk_get_len(pk);

	if (len > sizeof(n))
		return refuse(NULL, why, "RSA modulus over 4096 bit");
	if (mbedtls_rsa_export_raw(mbedtls_pk_rsa(*pk), n, len, NULL, 0, NULL,
		0, NULL, 0, e, sizeof(e)))
		return refuse(NULL, why, "RSA exponent over 64 bit");
	return kb_pubkey_rsa((struct kb_slice) { (const char *)n, len },
	    (struct kb_slice) { (const char *)e, sizeof(e) }, why);
}

/*
 * Through DER, because 3.x keeps the members of a key pair private: an
 * uncompressed P-256 key is always this prefix and the point (RFC 5480).
 */
static struct kb_pubkey *
p256_of_pk(mbedtls_pk_context *pk, const char **why)
{
	static const unsigned char prefix[] = { 0x30, 0x59, 0x30, 0x13, 0x06,
		0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
		0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42,
		0x00, 0x04 };
	unsigned char der[256];
	int len = mbedtls_pk_write_pubkey_der(pk, der, sizeof(der));
	const unsigned char *at;

	if ((size_t)len != sizeof(prefix) + TWO_COORDINATES)
		return refuse(NULL, why, "not a P-256 key");
	at = der + sizeof(der) - (size_t)len; /* written from the end */
	if (memcmp(at, prefix, sizeof(prefix)) != 0)
		return refuse(NULL, why, "not a P-256 key");
	at += sizeof(prefix);
	return kb_pubkey_p256(
	    (struct kb_slice) { (const char *)at, COORDINATE },
	    (struct kb_slice) { (const char *)at + COORDINATE, COORDINATE },
	    why);
}

struct kb_pubkey *
kb_pubkey_pem(const char *pem, const char **why)
{
	mbedtls_pk_context pk;
	struct kb_pubkey *k = NULL;

	mbedtls_pk_init(&pk);
	if (mbedtls_pk_parse_public_key(
		&pk, (const unsigned char *)pem, strlen(pem) + 1))
		*why = "not a public key in PEM";
	else if (mbedtls_pk_get_type(&pk) == MBEDTLS_PK_RSA)
		k = rsa_of_pk(&pk, why);
	else if (mbedtls_pk_get_type(&pk) == MBEDTLS_PK_ECKEY)
		k = p256_of_pk(&pk, why);
	else
		*why = "neither an RSA nor a P-256 key";
	mbedtls_pk_free(&pk);
	return k;
}

enum kb_pubkey_kind
kb_pubkey_kind(const struct kb_pubkey *k)
{
	return k->kind;
}

const unsigned char *
kb_pubkey_print(const struct kb_pubkey *k)
{
	return k->print;
}

/* The library refuses r and s outside of [1, n-1] (RFC 6979 needs no less). */
static bool
verify_p256(const struct kb_pubkey *k, const unsigned char hash[KB_SHA256_SIZE],
    const unsigned char *sig)
{
	/* Not const in the signature; only read once warm() has run. */
	mbedtls_ecp_group *group = (mbedtls_ecp_group *)(uintptr_t)&k->group;
	mbedtls_mpi r, s;
	bool good;

	mbedtls_mpi_init(&r);
	mbedtls_mpi_init(&s);
	good = mbedtls_mpi_read_binary(&r, sig, COORDINATE) == 0 &&
	    mbedtls_mpi_read_binary(&s, sig + COORDINATE, COORDINATE) == 0 &&
	    mbedtls_ecdsa_verify(
		group, hash, KB_SHA256_SIZE, &k->point, &r, &s) == 0;
	mbedtls_mpi_free(&r);
	mbedtls_mpi_free(&s);
	return good;
}

bool
kb_pubkey_verify(const struct kb_pubkey *k, const void *data, size_t len,
    const unsigned char *sig, size_t sig_len)
{
	unsigned char hash[KB_SHA256_SIZE];

	if (k->kind == KB_PUBKEY_P256 && sig_len != TWO_COORDINATES)
		return false;
	if (k->kind == KB_PUBKEY_RSA && sig_len != mbedtls_pk_get_len(&k->rsa))
		return false;
	kb_sha256(data, len, hash);
	if (k->kind == KB_PUBKEY_P256)
		return verify_p256(k, hash, sig);
	return kb_rsa_verify(k->verifier, hash, sig, sig_len);
}
