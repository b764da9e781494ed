/*
 * Signatures of webhooks: "t=<unix seconds>,v1=<hex>[,v1=<hex>…]", where v1
 * is HMAC-SHA256 over t, a dot and the raw body, and the key is the secret's
 * text as it is. Stripe sends it as Stripe-Signature, Zitadel's Actions v2 as
 * ZITADEL-Signature, we ourselves as X-Kombify-Signature.
 *
 * Stricter than the vendors' libraries: at most 4 KiB and 8 signatures, `t`
 * exactly once and decimal, nothing but NAME=VALUE between commas, and no
 * more than a minute of the future. Schemes other than v1 are ignored, so
 * that none of them can stand in for it.
 *
 * Zitadel's older form has the time in a header beside it (RFC 3339). That
 * header is not signed: it can only make a delivery fail, never pass.
 */
#ifndef KOMBI_WEBHOOK_H
#define KOMBI_WEBHOOK_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/secret.h>

#define KB_WEBHOOK_AGE_S 300    /* oldest delivery that is taken */
#define KB_WEBHOOK_FUTURE_S 60  /* how far the sender's clock may be ahead */
#define KB_WEBHOOK_APART_S 60   /* signed time and the header beside it */
#define KB_WEBHOOK_SIGNATURES 8 /* v1 values in one header */
#define KB_WEBHOOK_HEADER_MAX 4096

struct kb_webhook {
	const char *signature; /* header; NULL: there was none */
	const char *timestamp; /* RFC 3339 header; NULL: there was none */
	struct kb_slice body;  /* the raw bytes that were received */
	int64_t now_s;         /* kb_wall_s() */
};

/*
 * KB_OK when one v1 was made with `current` or `next` (a secret that is not
 * set, or NULL, makes none). KB_CONFIGURATION: neither is set;
 * KB_TIMESTAMP_EXPIRED: signed well, at a time that is not taken, or that
 * the header beside it contradicts; KB_BAD_SIGNATURE: all else. Compares in
 * constant time. Thread-safe.
 */
enum kb_err kb_webhook_verify(const struct kb_webhook *w,
    const struct kb_secret *current, const struct kb_secret *next) KB_MUSTUSE;

/* The header's value for a delivery of ours. */
char *kb_webhook_sign(struct kb_arena *a, const struct kb_secret *secret,
    int64_t now_s, struct kb_slice body);

#endif
