/*
 * The public operation of RSA, held against mbedTLS.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include <mbedtls/bignum.h>

#include <kombi/crypto.h>

#include "crypto_rsa.h"

#define MOST 512

static const struct kb_slice usual = { "\1\0\1", 3 };

static void
by_mbedtls(const unsigned char *n, const unsigned char *in, size_t len,
    unsigned char *out)
{
	mbedtls_mpi N, X, E;

	mbedtls_mpi_init(&N);
	mbedtls_mpi_init(&X);
	mbedtls_mpi_init(&E);
	assert_int_equal(mbedtls_mpi_read_binary(&N, n, len), 0);
	assert_int_equal(mbedtls_mpi_read_binary(&X, in, len), 0);
	assert_int_equal(mbedtls_mpi_lset(&E, 65537), 0);
	assert_int_equal(mbedtls_mpi_exp_mod(&X, &X, &E, &N, NULL), 0);
	assert_int_equal(mbedtls_mpi_write_binary(&X, out, len), 0);
	mbedtls_mpi_free(&N);
	mbedtls_mpi_free(&X);
	mbedtls_mpi_free(&E);
}

/* Random bytes, or runs of ones and zeros, where carries go far. */
static void
fill(unsigned char *p, size_t len, int round)
{
	kb_random(p, len);
	if (round % 3 == 0)
		return;
	for (size_t i = 8; i + 8 < len; i += 8)
		if (p[i] % 4)
			memset(p + i, p[i] % 2 ? 0xff : 0x00, 8);
	if (round % 3 == 2)
		memset(p, 0xff, len / 2);
}

static void
powers_are_those_of_mbedtls(void **state)
{
	static const size_t lens[] = { 256, 264, 384, 512 };
	unsigned char n[MOST], x[MOST], ours[MOST], theirs[MOST];
	struct kb_rsa k;

	(void)state;
	for (int round = 0; round < 400; round++) {
		size_t len = lens[round % 4];

		fill(n, len, round / 4);
		fill(x, len, round / 12);
		n[0] |= 0x80;
		n[len - 1] |= 1;
		assert_true(kb_rsa_init(
		    &k, (struct kb_slice) { (const char *)n, len }, usual));
		if (memcmp(x, n, len) >= 0) {
			assert_false(kb_rsa_public(&k, x, ours));
			x[0] &= 0x7f;
		}
		assert_true(kb_rsa_public(&k, x, ours));
		by_mbedtls(n, x, len, theirs);
		assert_memory_equal(ours, theirs, len);
	}
}

static void
the_ends_of_the_range(void **state)
{
	unsigned char n[256], x[256] = { 0 }, out[256];
	struct kb_rsa k;

	(void)state;
	memset(n, 0xff, sizeof(n));
	assert_true(kb_rsa_init(
	    &k, (struct kb_slice) { (const char *)n, sizeof(n) }, usual));
	assert_true(kb_rsa_public(&k, x, out));
	assert_memory_equal(out, x, sizeof(x));
	x[255] = 1;
	assert_true(kb_rsa_public(&k, x, out));
	assert_memory_equal(out, x, sizeof(x));
	/* (n - 1) to an odd power is n - 1; n itself is refused. */
	memcpy(x, n, sizeof(x));
	assert_false(kb_rsa_public(&k, x, out));
	x[255]--;
	assert_true(kb_rsa_public(&k, x, out));
	assert_memory_equal(out, x, sizeof(x));
}

static void
unusual_keys_are_left_to_mbedtls(void **state)
{
	unsigned char n[MOST + 8];
	struct kb_rsa k;

	(void)state;
	memset(n, 0xff, sizeof(n));
	assert_false(kb_rsa_init(&k, (struct kb_slice) { (const char *)n, 256 },
	    (struct kb_slice) { "\3", 1 }));
	assert_false(
	    kb_rsa_init(&k, (struct kb_slice) { (const char *)n, 257 }, usual));
	assert_false(kb_rsa_init(
	    &k, (struct kb_slice) { (const char *)n, MOST + 8 }, usual));
	n[0] = 0x7f;
	assert_false(
	    kb_rsa_init(&k, (struct kb_slice) { (const char *)n, 256 }, usual));
	assert_int_equal(k.words, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(powers_are_those_of_mbedtls),
		cmocka_unit_test(the_ends_of_the_range),
		cmocka_unit_test(unusual_keys_are_left_to_mbedtls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
