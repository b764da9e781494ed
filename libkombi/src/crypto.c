/*
 * Hashes, MACs, random bytes and field encryption: the home of mbedTLS.
 * Public keys are next door in crypto_keys.c.
 *
 * A primitive of mbedTLS fails only for want of memory or when the code here
 * hands it nonsense, so failure aborts: there is no caller who could go on.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <mbedtls/gcm.h>
#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/sha1.h>
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#include <kombi/crypto.h>
#include <kombi/log.h>
#include <kombi/str.h>

#if MBEDTLS_VERSION_NUMBER < 0x03000000
#define mbedtls_sha1 mbedtls_sha1_ret
#define mbedtls_sha256 mbedtls_sha256_ret
#define mbedtls_sha256_starts mbedtls_sha256_starts_ret
#define mbedtls_sha256_update mbedtls_sha256_update_ret
#define mbedtls_sha256_finish mbedtls_sha256_finish_ret
#endif

#define NONCE_SIZE 12
#define TAG_SIZE 16
#define HMAC_BLOCK 64
#define FIELD_PREFIX "enc:v1:"

static void
must(int rc, const char *what)
{
	if (rc)
		kb_fatal("crypto: %s failed (-0x%04x)", what, (unsigned)-rc);
}

void
kb_random(void *out, size_t len)
{
	unsigned char *p = out;
	ssize_t n;

	while (len) {
		n = getrandom(p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			kb_fatal("crypto: the system has no entropy");
		p += n;
		len -= (size_t)n;
	}
}

void
kb_sha256(const void *data, size_t len, unsigned char out[32])
{
	must(mbedtls_sha256(len ? data : "", len, out, 0), "SHA-256");
}

void
kb_sha256_hex(const void *data, size_t len, char out[65])
{
	unsigned char digest[KB_SHA256_SIZE];

	kb_sha256(data, len, digest);
	kb_hex(digest, sizeof(digest), out);
}

void
kb_sha1(const void *data, size_t len, unsigned char out[20])
{
	must(mbedtls_sha1(len ? data : "", len, out), "SHA-1");
}

/* SHA-256 of one block and the parts after it. */
static void
hash_block_and_parts(const unsigned char block[HMAC_BLOCK],
    const struct kb_slice *parts, size_t n, unsigned char out[32])
{
	mbedtls_sha256_context ctx;

	mbedtls_sha256_init(&ctx);
	must(mbedtls_sha256_starts(&ctx, 0), "SHA-256");
	must(mbedtls_sha256_update(&ctx, block, HMAC_BLOCK), "SHA-256");
	for (size_t i = 0; i < n; i++)
		if (parts[i].len)
			must(mbedtls_sha256_update(&ctx,
				 (const unsigned char *)parts[i].ptr,
				 parts[i].len),
			    "SHA-256");
	must(mbedtls_sha256_finish(&ctx, out), "SHA-256");
	mbedtls_sha256_free(&ctx);
}

/*
 * RFC 2104 on the hash itself: mbedtls_md allocates twice a call, and this
 * runs for every proof and every token of ours.
 */
void
kb_hmac_sha256_parts(const void *key, size_t key_len,
    const struct kb_slice *parts, size_t n, unsigned char out[32])
{
	unsigned char block[HMAC_BLOCK] = { 0 }, inner[KB_SHA256_SIZE];
	struct kb_slice second = { (const char *)inner, sizeof(inner) };

	if (key_len > sizeof(block))
		kb_sha256(key, key_len, block);
	else if (key_len)
		memcpy(block, key, key_len);

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36;
	hash_block_and_parts(block, parts, n, inner);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	hash_block_and_parts(block, &second, 1, out);

	kb_wipe(block, sizeof(block));
	kb_wipe(inner, sizeof(inner));
}

void
kb_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
    unsigned char out[32])
{
	struct kb_slice part = { data, len };

	kb_hmac_sha256_parts(key, key_len, &part, 1, out);
}

void
kb_hkdf_sha256(
    const void *key, size_t key_len, const char *info, void *out, size_t len)
{
	const mbedtls_md_info_t *md = mbedtls_md_info_from_type(
	    MBEDTLS_MD_SHA256);

	assert(len <= (size_t)255 * KB_SHA256_SIZE);
	must(mbedtls_hkdf(md, NULL, 0, key, key_len,
		 (const unsigned char *)info, strlen(info), out, len),
	    "HKDF");
}

bool
kb_equal_ct(const void *a, const void *b, size_t len)
{
	const volatile unsigned char *x = a, *y = b;
	unsigned char differ = 0;

	for (size_t i = 0; i < len; i++)
		differ |= (unsigned char)(x[i] ^ y[i]);
	return differ == 0;
}

/*
 * The MACs under a random key are compared, so neither the place of the
 * first difference nor the other string's length shows.
 */
bool
kb_str_equal_ct(const char *a, const char *b)
{
	unsigned char key[32], x[KB_SHA256_SIZE], y[KB_SHA256_SIZE];

	if (!a || !b)
		return false;
	kb_random(key, sizeof(key));
	kb_hmac_sha256(key, sizeof(key), a, strlen(a), x);
	kb_hmac_sha256(key, sizeof(key), b, strlen(b), y);
	return kb_equal_ct(x, y, sizeof(x));
}

void
kb_wipe(void *p, size_t len)
{
	if (len)
		mbedtls_platform_zeroize(p, len);
}

static void
gcm_begin(mbedtls_gcm_context *gcm, const unsigned char key[32])
{
	mbedtls_gcm_init(gcm);
	must(mbedtls_gcm_setkey(gcm, MBEDTLS_CIPHER_ID_AES, key, 256), "AES");
}

char *
kb_field_encrypt(struct kb_arena *a, const unsigned char key[32],
    const void *plain, size_t len, const char *aad)
{
	size_t size = NONCE_SIZE + len + TAG_SIZE;
	unsigned char *box = kb_arena_alloc(a, size);
	mbedtls_gcm_context gcm;

	kb_random(box, NONCE_SIZE);
	gcm_begin(&gcm, key);
	must(mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, len, box,
		 NONCE_SIZE, (const unsigned char *)aad, strlen(aad), plain,
		 box + NONCE_SIZE, TAG_SIZE, box + NONCE_SIZE + len),
	    "AES-GCM");
	mbedtls_gcm_free(&gcm);

	return kb_sprintf(a, FIELD_PREFIX "%s", kb_base64(a, box, size));
}

enum kb_err
kb_field_decrypt(struct kb_arena *a, const unsigned char key[32],
    const char *text, const char *aad, unsigned char **plain, size_t *len)
{
	size_t text_len = strlen(text), prefix = sizeof(FIELD_PREFIX) - 1;
	unsigned char *box, *out;
	mbedtls_gcm_context gcm;
	long size;
	int rc;

	if (strncmp(text, FIELD_PREFIX, prefix) != 0)
		return KB_INVALID;
	box = kb_arena_alloc(a, (text_len - prefix) * 3 / 4 + 3);
	size = kb_base64_decode(text + prefix, text_len - prefix, box);
	if (size < NONCE_SIZE + TAG_SIZE)
		return KB_INVALID;

	size -= NONCE_SIZE + TAG_SIZE;
	out = kb_arena_alloc(a, (size_t)size + 1);
	gcm_begin(&gcm, key);
	rc = mbedtls_gcm_auth_decrypt(&gcm, (size_t)size, box, NONCE_SIZE,
	    (const unsigned char *)aad, strlen(aad), box + NONCE_SIZE + size,
	    TAG_SIZE, box + NONCE_SIZE, out);
	mbedtls_gcm_free(&gcm);
	if (rc)
		return KB_INVALID;

	*plain = out;
	*len = (size_t)size;
	return KB_OK;
}
