/* Signatures of webhooks, made and verified over the raw body. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/time.h>
#include <kombi/webhook.h>

#define TIME_DIGITS 12 /* some thousand years */

/* What the header says, before anything of it is believed. */
struct claim {
	struct kb_slice t; /* ptr NULL: not seen */
	int64_t t_s;
	unsigned char macs[KB_WEBHOOK_SIGNATURES][KB_SHA256_SIZE];
	size_t n; /* v1 values, well formed or not */
	size_t n_macs;
};

static bool
read_time(struct claim *c, struct kb_slice value)
{
	uint64_t n;

	if (c->t.ptr != NULL || value.len > TIME_DIGITS ||
	    !kb_parse_u64(value, &n))
		return false;
	c->t = value;
	c->t_s = (int64_t)n;
	return true;
}

/* A value that is no MAC is passed over; too many of them are refused. */
static bool
read_mac(struct claim *c, struct kb_slice value)
{
	if (c->n++ == KB_WEBHOOK_SIGNATURES)
		return false;
	if (value.len == sizeof(c->macs[0]) * 2 &&
	    kb_unhex(value.ptr, value.len, c->macs[c->n_macs]))
		c->n_macs++;
	return true;
}

static bool
read_part(struct claim *c, struct kb_slice part)
{
	const char *eq = part.len ? memchr(part.ptr, '=', part.len) : NULL;
	struct kb_slice name, value;

	if (eq == NULL)
		return false;
	name = (struct kb_slice) { part.ptr, (size_t)(eq - part.ptr) };
	value = (struct kb_slice) { eq + 1, part.len - name.len - 1 };
	if (value.len && memchr(value.ptr, '=', value.len) != NULL)
		return false;
	if (kb_slice_eq(name, "t"))
		return read_time(c, value);
	if (kb_slice_eq(name, "v1"))
		return read_mac(c, value);
	return true;
}

static bool
read_header(const char *header, struct claim *c)
{
	struct kb_slice rest, part;

	if (header == NULL)
		return false;
	rest = kb_slice_of(header);
	if (rest.len > KB_WEBHOOK_HEADER_MAX)
		return false;
	while (kb_slice_next(&rest, ',', &part))
		if (!read_part(c, part))
			return false;
	return c->t.ptr != NULL && c->n_macs > 0;
}

static void
mac_of(const struct kb_secret *secret, struct kb_slice t, struct kb_slice body,
    unsigned char out[KB_SHA256_SIZE])
{
	const struct kb_slice parts[] = { t, { ".", 1 }, body };
	size_t len;
	const unsigned char *key = kb_secret_reveal(secret, &len);

	kb_hmac_sha256_parts(key, len, parts, KB_COUNT(parts), out);
}

/* Looks at every value, so that the time tells nothing of which was right. */
static bool
is_signed(
    const struct claim *c, const struct kb_secret *secret, struct kb_slice body)
{
	unsigned char mac[KB_SHA256_SIZE];
	bool found = false;

	if (secret == NULL || !kb_secret_is_set(secret))
		return false;
	mac_of(secret, c->t, body, mac);
	for (size_t i = 0; i < c->n_macs; i++)
		found |= kb_equal_ct(mac, c->macs[i], sizeof(mac));
	kb_wipe(mac, sizeof(mac));
	return found;
}

static enum kb_err
judge_time(const struct kb_webhook *w, int64_t t_s)
{
	int64_t beside_ms, apart;

	if (w->now_s - t_s > KB_WEBHOOK_AGE_S ||
	    t_s - w->now_s > KB_WEBHOOK_FUTURE_S)
		return KB_TIMESTAMP_EXPIRED;
	if (w->timestamp == NULL)
		return KB_OK;
	if (!kb_rfc3339_parse(w->timestamp, &beside_ms))
		return KB_TIMESTAMP_EXPIRED;
	apart = beside_ms - t_s * 1000;
	return apart > KB_WEBHOOK_APART_S * 1000 ||
		apart < -KB_WEBHOOK_APART_S * 1000
	    ? KB_TIMESTAMP_EXPIRED
	    : KB_OK;
}

static bool
is_set(const struct kb_secret *secret)
{
	return secret != NULL && kb_secret_is_set(secret);
}

enum kb_err
kb_webhook_verify(const struct kb_webhook *w, const struct kb_secret *current,
    const struct kb_secret *next)
{
	struct claim c = { 0 };
	bool by_current, by_next;

	if (!is_set(current) && !is_set(next))
		return KB_CONFIGURATION;
	if (!read_header(w->signature, &c))
		return KB_BAD_SIGNATURE;
	by_current = is_signed(&c, current, w->body);
	by_next = is_signed(&c, next, w->body);
	if (!by_current && !by_next)
		return KB_BAD_SIGNATURE;
	return judge_time(w, c.t_s);
}

char *
kb_webhook_sign(struct kb_arena *a, const struct kb_secret *secret,
    int64_t now_s, struct kb_slice body)
{
	unsigned char mac[KB_SHA256_SIZE];
	char hex[KB_SHA256_SIZE * 2 + 1];
	char *t = kb_sprintf(a, "%" PRId64, now_s);

	assert(kb_secret_is_set(secret) && now_s >= 0);
	mac_of(secret, kb_slice_of(t), body, mac);
	kb_hex(mac, sizeof(mac), hex);
	return kb_sprintf(a, "t=%s,v1=%s", t, hex);
}
