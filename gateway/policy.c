/*
 * Security headers of answers: the one place that decides about them. The
 * lines of a policy are written once; an answer takes those that it needs.
 *
 * HSTS goes to clients that speak TLS (RFC 6797 7.2): with us, with a trusted
 * proxy that says so, or with whatever stands before a gateway of the SaaS
 * modes that has no certificate, which is never reached otherwise. Answers of
 * the gateway's own hold nothing to show or run, whatever the policy says
 * about those of services.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

struct policy {
	unsigned drops; /* POLICY_* of upstream that do not pass */
	struct kb_slice plain, https;    /* on every answer */
	struct kb_slice lines[POLICIES]; /* where upstream has none; or "" */
	struct kb_slice own, own_https;  /* all of them on our own answers */
};

/* In the order of the bits. */
static const char *const names[POLICIES] = { "Strict-Transport-Security",
	"X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy",
	"X-Frame-Options", "Permissions-Policy", "Cross-Origin-Opener-Policy",
	"Cross-Origin-Resource-Policy" };

#define S(text)                                                                \
	{                                                                      \
		(text), sizeof(text) - 1                                       \
	}
#define NOSNIFF "X-Content-Type-Options: nosniff\r\n"
#define NO_REFERRER "Referrer-Policy: no-referrer\r\n"
#define HSTS                                                                   \
	"Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n"
#define NOTHING                                                                \
	"X-Frame-Options: DENY\r\n"                                            \
	"Content-Security-Policy: default-src 'none'; frame-ancestors "        \
	"'none'\r\n"
#define BIT(i) (1U << (i))

static const struct policy standard = {
	.drops = BIT(POLICY_HSTS) | BIT(POLICY_NOSNIFF) | BIT(POLICY_REFERRER),
	.plain = S(NOSNIFF NO_REFERRER),
	.https = S(HSTS NOSNIFF NO_REFERRER),
	.lines = {
		[POLICY_CSP] =
		    S("Content-Security-Policy: frame-ancestors 'self'\r\n"),
		[POLICY_FRAMES] = S("X-Frame-Options: SAMEORIGIN\r\n"),
	},
	.own = S(NOSNIFF NO_REFERRER NOTHING),
	.own_https = S(HSTS NOSNIFF NO_REFERRER NOTHING),
};

const char policy_of_engine[] = NOSNIFF NO_REFERRER NOTHING;
const char policy_of_engine_tls[] = HSTS NOSNIFF NO_REFERRER NOTHING;

/* ---- making
 * ------------------------------------------------------------------
 */

static void
add(struct kb_buf *b, enum policy_kind kind, const char *value)
{
	if (value != NULL && value[0] != '\0')
		kb_buf_addf(b, "%s: %s\r\n", names[kind], value);
}

static struct kb_slice
keep(struct kb_arena *a, struct kb_buf *b)
{
	struct kb_slice s = { kb_strndup(a, kb_buf_str(b), b->len), b->len };

	kb_buf_reset(b);
	return s;
}

const struct policy *
policy_make(struct kb_arena *a, const char *const values[POLICIES], bool ours)
{
	struct policy *p = kb_new(a, struct policy);
	const char *hsts = values[POLICY_HSTS];
	struct kb_buf b;

	kb_buf_init(&b, 256 * 1024);
	p->drops = BIT(POLICY_HSTS);
	for (unsigned i = POLICY_NOSNIFF; i < POLICIES; i++) {
		if (ours || i == POLICY_NOSNIFF || i == POLICY_REFERRER)
			p->drops |= BIT(i);
		else if (values[i]) {
			add(&b, i, values[i]);
			p->lines[i] = keep(a, &b);
		}
	}
	for (unsigned i = POLICY_NOSNIFF; i < POLICIES; i++)
		if (p->drops & BIT(i))
			add(&b, i, values[i]);
	p->plain = keep(a, &b);
	add(&b, POLICY_HSTS, hsts);
	kb_buf_add(&b, p->plain.ptr, p->plain.len);
	p->https = keep(a, &b);
	add(&b, POLICY_NOSNIFF, values[POLICY_NOSNIFF]);
	add(&b, POLICY_REFERRER, values[POLICY_REFERRER]);
	add(&b, POLICY_PERMISSIONS, values[POLICY_PERMISSIONS]);
	kb_buf_adds(&b, NOTHING);
	p->own = keep(a, &b);
	add(&b, POLICY_HSTS, hsts);
	kb_buf_add(&b, p->own.ptr, p->own.len);
	p->own_https = keep(a, &b);
	kb_buf_free(&b);
	return p;
}

/* ---- answers
 * -----------------------------------------------------------------
 */

bool
policy_behind_tls(const struct gateway *g)
{
	return g->common->mode != KB_MODE_SELF_HOSTED &&
	    g->config->tls_cert == NULL;
}

static bool
is_tls(const struct exchange *x)
{
	return x->https || policy_behind_tls(x->loop->gateway);
}

void
exchange_set_policy(struct exchange *x, const struct policy *p)
{
	x->policy = p;
}

static const struct policy *
policy_of(const struct exchange *x)
{
	return x->policy ? x->policy : &standard;
}

unsigned
policy_bit(struct kb_slice name)
{
	/* Told apart by their length, mostly. */
	for (unsigned i = 0; i < POLICIES; i++)
		if (kb_slice_eqi(name, names[i]))
			return BIT(i);
	return 0;
}

bool
policy_drops(const struct exchange *x, unsigned bit)
{
	return (policy_of(x)->drops & bit) != 0;
}

void
policy_lines(const struct exchange *x, unsigned brought, struct kb_buf *out)
{
	const struct policy *p = policy_of(x);
	struct kb_slice always = is_tls(x) ? p->https : p->plain;

	kb_buf_add(out, always.ptr, always.len);
	for (unsigned i = 0; i < POLICIES; i++)
		if (p->lines[i].len && !(brought & BIT(i)))
			kb_buf_add(out, p->lines[i].ptr, p->lines[i].len);
}

void
policy_own_lines(const struct exchange *x, struct kb_buf *out)
{
	const struct policy *p = policy_of(x);
	struct kb_slice own = is_tls(x) ? p->own_https : p->own;

	kb_buf_add(out, own.ptr, own.len);
}
