/*
 * TLS contexts: certificates, keys and rules read once, checked, then only
 * read. Choosing a certificate by name is here too.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include <mbedtls/asn1.h>
#include <mbedtls/error.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "tls_private.h"

#if KB_TLS_3
#include <psa/crypto.h>
#endif

#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"
#define TICKET_S 3600 /* life of a ticket and of the key that seals it */

int
kb_tls_random(void *unused, unsigned char *out, size_t len)
{
	(void)unused;
	kb_random(out, len);
	return 0;
}

/* ---- certificates and keys --------------------------------------------------
 */

static const char *
fault(struct kb_arena *a, const char *what, const char *where, int rc)
{
	char text[160] = "";

	mbedtls_strerror(rc, text, sizeof(text));
	return kb_sprintf(a, "%s %s: %s", what, where, text);
}

static bool
read_chain(mbedtls_x509_crt *chain, const char *pem, bool file,
    struct kb_arena *a, const char **why)
{
	int rc;

	if (file)
		rc = mbedtls_x509_crt_parse_file(chain, pem);
	else
		rc = mbedtls_x509_crt_parse(
		    chain, (const unsigned char *)pem, strlen(pem) + 1);
	if (rc == 0)
		return true;
	/* Above zero: so many of the file could not be read. */
	*why = rc > 0 ? kb_sprintf(a, "certificate %s: %d of it cannot be read",
			    file ? pem : "text", rc)
		      : fault(a, "certificate", file ? pem : "text", rc);
	return false;
}

static const char *
key_file_problem(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return strerror(errno);
	return st.st_mode & S_IRWXO ? "open to others: allowed are the modes "
				      "0400, 0440, 0600, 0640"
				    : NULL;
}

static int
parse_key(mbedtls_pk_context *key, const char *pem, bool file)
{
	const unsigned char *text = (const unsigned char *)pem;

#if KB_TLS_3
	return file
	    ? mbedtls_pk_parse_keyfile(key, pem, NULL, kb_tls_random, NULL)
	    : mbedtls_pk_parse_key(
		  key, text, strlen(pem) + 1, NULL, 0, kb_tls_random, NULL);
#else
	return file ? mbedtls_pk_parse_keyfile(key, pem, NULL)
		    : mbedtls_pk_parse_key(key, text, strlen(pem) + 1, NULL, 0);
#endif
}

static int
check_pair(const mbedtls_pk_context *pub, const mbedtls_pk_context *key)
{
#if KB_TLS_3
	return mbedtls_pk_check_pair(pub, key, kb_tls_random, NULL);
#else
	return mbedtls_pk_check_pair(pub, key);
#endif
}

static bool
read_key(struct kb_tls_cert *c, const struct kb_tls_pair *pair,
    struct kb_arena *a, const char **why)
{
	const char *where = pair->files ? pair->key : "text";
	const char *problem = pair->files ? key_file_problem(pair->key) : NULL;
	int rc;

	if (problem != NULL) {
		*why = kb_sprintf(a, "key %s: %s", where, problem);
		return false;
	}
	rc = parse_key(&c->key, pair->key, pair->files);
	if (rc != 0) {
		*why = fault(a, "key", where, rc);
		return false;
	}
	if (check_pair(&c->chain.pk, &c->key) != 0) {
		*why = kb_sprintf(
		    a, "key %s: is not the key of the certificate", where);
		return false;
	}
	return true;
}

static char *
lower_copy(const char *text, size_t len)
{
	char *copy = kb_xalloc(len + 1);

	for (size_t i = 0; i < len; i++)
		copy[i] = text[i] >= 'A' && text[i] <= 'Z'
		    ? (char)(text[i] + 32)
		    : text[i];
	copy[len] = '\0';
	return copy;
}

static bool
is_dns_name(const mbedtls_x509_sequence *san)
{
	return (san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) ==
	    MBEDTLS_X509_SAN_DNS_NAME &&
	    memchr(san->buf.p, '\0', san->buf.len) == NULL;
}

bool
kb_tls_is_for(
    const mbedtls_x509_crt *crt, const unsigned char *address, size_t len)
{
	enum { IP_ADDRESS = 7 }; /* GeneralName, RFC 5280 4.2.1.6 */
	const mbedtls_x509_sequence *san = &crt->subject_alt_names;

	for (; san != NULL; san = san->next)
		if ((san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) ==
			IP_ADDRESS &&
		    san->buf.len == len &&
		    memcmp(san->buf.p, address, len) == 0)
			return true;
	return false;
}

/* As given, else the DNS names that the certificate is for. */
static void
set_names(struct kb_tls_cert *c, const char *const *given)
{
	const mbedtls_x509_sequence *san = &c->chain.subject_alt_names;
	size_t n = 0;

	while (given != NULL && given[n] != NULL)
		n++;
	for (; given == NULL && san != NULL; san = san->next)
		n++;
	c->names = kb_xalloc((n + 1) * sizeof(*c->names));
	n = 0;
	for (; given != NULL && given[n] != NULL; n++)
		c->names[n] = lower_copy(given[n], strlen(given[n]));
	if (given == NULL)
		for (san = &c->chain.subject_alt_names; san; san = san->next)
			if (san->buf.p != NULL && is_dns_name(san))
				c->names[n++] = lower_copy(
				    (const char *)san->buf.p, san->buf.len);
	c->names[n] = NULL;
}

static void
cert_init(struct kb_tls_cert *c)
{
	mbedtls_x509_crt_init(&c->chain);
	mbedtls_pk_init(&c->key);
	c->names = NULL;
}

static void
cert_free(struct kb_tls_cert *c)
{
	mbedtls_x509_crt_free(&c->chain);
	mbedtls_pk_free(&c->key);
	for (char **n = c->names; n != NULL && *n != NULL; n++)
		free(*n);
	free(c->names);
}

static bool
cert_read(struct kb_tls_cert *c, const struct kb_tls_pair *pair,
    struct kb_arena *a, const char **why)
{
	if (!read_chain(&c->chain, pair->cert, pair->files, a, why) ||
	    !read_key(c, pair, a, why))
		return false;
	set_names(c, pair->names);
	return true;
}

static int64_t
end_of(const mbedtls_x509_crt *crt)
{
	const mbedtls_x509_time *t = &crt->valid_to;
	struct tm tm = {
		.tm_year = t->year - 1900,
		.tm_mon = t->mon - 1,
		.tm_mday = t->day,
		.tm_hour = t->hour,
		.tm_min = t->min,
		.tm_sec = t->sec,
	};

	return (int64_t)timegm(&tm);
}

/* ---- choosing by name -------------------------------------------------------
 */

/* "*.rest" has one label before the rest, "rest.*" one after it. */
static int
pattern_matches(const char *pattern, const char *name)
{
	const char *first = strchr(name, '.'), *last = strrchr(name, '.');
	size_t n = strlen(pattern);

	if (strcmp(pattern, name) == 0)
		return 3;
	if (first != NULL && pattern[0] == '*')
		return strcmp(pattern + 1, first) == 0 ? 2 : 0;
	if (last != NULL && n > 2 && pattern[n - 1] == '*')
		return (size_t)(last - name) == n - 2 &&
		    strncmp(pattern, name, n - 1) == 0;
	return 0;
}

/* 3: the name itself; 2, 1: a pattern; 0: none. */
static int
matches(const struct kb_tls_cert *c, const char *name)
{
	int best = 0;

	for (char **n = c->names; *n != NULL; n++) {
		int m = pattern_matches(*n, name);

		best = m > best ? m : best;
	}
	return best;
}

int
kb_tls_choose(
    const struct kb_tls_server *s, mbedtls_ssl_context *ssl, const char *name)
{
	int best = 0, rc = 0;

	for (size_t i = 0; i < s->n_certs; i++) {
		int m = matches(&s->certs[i], name);

		best = m > best ? m : best;
	}
	/* A name of nobody gets the default of the configuration. */
	for (size_t i = 0; best > 0 && rc == 0 && i < s->n_certs; i++)
		if (matches(&s->certs[i], name) == best)
			rc = mbedtls_ssl_set_hs_own_cert(
			    ssl, &s->certs[i].chain, &s->certs[i].key);
	return rc;
}

/* ---- rules of both sides ----------------------------------------------------
 */

static const int suites[] = {
#if defined(MBEDTLS_TLS1_3_AES_128_GCM_SHA256)
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
	MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
#endif
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	0,
};

static const char *protocols[] = { "http/1.1", NULL };

static void
set_groups(mbedtls_ssl_config *conf)
{
#if KB_TLS_3
	static const uint16_t groups[] = {
		MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
		MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
		MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
		MBEDTLS_SSL_IANA_TLS_GROUP_NONE,
	};

	mbedtls_ssl_conf_groups(conf, groups);
	mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
#else
	static const mbedtls_ecp_group_id groups[] = {
		MBEDTLS_ECP_DP_CURVE25519,
		MBEDTLS_ECP_DP_SECP256R1,
		MBEDTLS_ECP_DP_SECP384R1,
		MBEDTLS_ECP_DP_NONE,
	};

	mbedtls_ssl_conf_curves(conf, groups);
	mbedtls_ssl_conf_min_version(
	    conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
}

static void
set_rules(mbedtls_ssl_config *conf, int endpoint)
{
#if KB_TLS_3
	if (psa_crypto_init() != PSA_SUCCESS)
		kb_fatal("tls: the library cannot be set up");
#endif
	if (mbedtls_ssl_config_defaults(conf, endpoint,
		MBEDTLS_SSL_TRANSPORT_STREAM,
		MBEDTLS_SSL_PRESET_DEFAULT) != 0 ||
	    mbedtls_ssl_conf_alpn_protocols(conf, protocols) != 0)
		kb_fatal("tls: a context cannot be set up");
	mbedtls_ssl_conf_rng(conf, kb_tls_random, NULL);
	mbedtls_ssl_conf_ciphersuites(conf, suites);
	mbedtls_ssl_conf_cert_profile(conf, &mbedtls_x509_crt_profile_next);
	set_groups(conf);
#if defined(MBEDTLS_SSL_RENEGOTIATION)
	mbedtls_ssl_conf_renegotiation(
	    conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
}

/* ---- server
 * ------------------------------------------------------------------ */

static void
server_free(struct kb_tls_server *s)
{
	mbedtls_ssl_config_free(&s->conf);
	mbedtls_ssl_ticket_free(&s->tickets);
	mbedtls_x509_crt_free(&s->client_ca);
	for (size_t i = 0; i < s->n_certs; i++)
		cert_free(&s->certs[i]);
	free(s->certs);
	free(s);
}

static bool
server_certs(struct kb_tls_server *s, const struct kb_tls_server_conf *conf,
    struct kb_arena *a, const char **why)
{
	s->certs = kb_xalloc(conf->n_pairs * sizeof(*s->certs));
	s->expires = INT64_MAX;
	for (size_t i = 0; i < conf->n_pairs; i++) {
		struct kb_tls_cert *c = &s->certs[s->n_certs++];
		int64_t end;

		cert_init(c);
		if (!cert_read(c, &conf->pairs[i], a, why))
			return false;
		end = end_of(&c->chain);
		if (end < s->expires)
			s->expires = end;
	}
	return true;
}

static bool
server_clients(struct kb_tls_server *s, const struct kb_tls_server_conf *conf,
    struct kb_arena *a, const char **why)
{
	static const int modes[] = {
		[KB_TLS_CLIENTS_ANY] = MBEDTLS_SSL_VERIFY_NONE,
		[KB_TLS_CLIENTS_OPTIONAL] = MBEDTLS_SSL_VERIFY_OPTIONAL,
		[KB_TLS_CLIENTS_REQUIRED] = MBEDTLS_SSL_VERIFY_REQUIRED,
	};

	s->clients = conf->clients;
	mbedtls_ssl_conf_authmode(&s->conf, modes[conf->clients]);
	if (conf->clients == KB_TLS_CLIENTS_ANY)
		return true;
	assert(conf->client_ca != NULL);
	if (!read_chain(&s->client_ca, conf->client_ca, conf->ca_file, a, why))
		return false;
	mbedtls_ssl_conf_ca_chain(&s->conf, &s->client_ca, NULL);
	return true;
}

static void
add_print(struct kb_buf *b, const void *data, size_t len)
{
	kb_buf_addf(b, "%zu:", len);
	kb_buf_add(b, data, len);
}

/* Keys need not be in it: each is the one of its certificate. */
static void
set_print(struct kb_tls_server *s)
{
	const mbedtls_x509_crt *crt;
	struct kb_buf b;

	kb_buf_init(&b, SIZE_MAX / 2);
	kb_buf_addf(&b, "%d ", (int)s->clients);
	for (size_t i = 0; i < s->n_certs; i++) {
		for (crt = &s->certs[i].chain; crt; crt = crt->next)
			add_print(&b, crt->raw.p, crt->raw.len);
		for (char **n = s->certs[i].names; *n != NULL; n++)
			add_print(&b, *n, strlen(*n));
	}
	kb_buf_adds(&b, "ca");
	for (crt = &s->client_ca; crt != NULL; crt = crt->next)
		add_print(&b, crt->raw.p, crt->raw.len);
	kb_sha256(b.ptr, b.len, s->print);
	kb_buf_free(&b);
}

static void
server_rules(struct kb_tls_server *s)
{
	if (mbedtls_ssl_ticket_setup(&s->tickets, kb_tls_random, NULL,
		MBEDTLS_CIPHER_AES_256_GCM, TICKET_S) != 0 ||
	    mbedtls_ssl_conf_own_cert(
		&s->conf, &s->certs[0].chain, &s->certs[0].key) != 0)
		kb_fatal("tls: a context cannot be set up");
	mbedtls_ssl_conf_session_tickets_cb(&s->conf, mbedtls_ssl_ticket_write,
	    mbedtls_ssl_ticket_parse, &s->tickets);
	mbedtls_ssl_conf_sni(&s->conf, kb_tls_on_name, s);
}

struct kb_tls_server *
kb_tls_server_new(
    const struct kb_tls_server_conf *conf, struct kb_arena *a, const char **why)
{
	struct kb_tls_server *s = kb_xalloc(sizeof(*s));

	assert(conf->n_pairs > 0);
	memset(s, 0, sizeof(*s));
	atomic_init(&s->refs, 1);
	mbedtls_ssl_config_init(&s->conf);
	mbedtls_ssl_ticket_init(&s->tickets);
	mbedtls_x509_crt_init(&s->client_ca);
	set_rules(&s->conf, MBEDTLS_SSL_IS_SERVER);
	if (!server_certs(s, conf, a, why) ||
	    !server_clients(s, conf, a, why)) {
		server_free(s);
		return NULL;
	}
	server_rules(s);
	set_print(s);
	return s;
}

struct kb_tls_server *
kb_tls_server_ref(struct kb_tls_server *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
kb_tls_server_unref(struct kb_tls_server *s)
{
	if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1)
		server_free(s);
}

bool
kb_tls_server_same(const struct kb_tls_server *a, const struct kb_tls_server *b)
{
	return memcmp(a->print, b->print, sizeof(a->print)) == 0;
}

int64_t
kb_tls_server_expires(const struct kb_tls_server *s)
{
	return s->expires;
}

/* ---- client
 * ------------------------------------------------------------------ */

static void
client_free(struct kb_tls_client *c)
{
	mbedtls_ssl_config_free(&c->conf);
	mbedtls_x509_crt_free(&c->ca);
	cert_free(&c->own);
	free(c);
}

static bool
client_ca(struct kb_tls_client *c, const struct kb_tls_client_conf *conf,
    struct kb_arena *a, const char **why)
{
	if (conf->check == KB_TLS_CHECK_NOTHING) {
		mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_NONE);
		return true;
	}
	mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_REQUIRED);
	if (conf->ca == NULL) {
		/* One of the many that cannot be read is no reason to stop. */
		int rc = mbedtls_x509_crt_parse_file(&c->ca, SYSTEM_CA);

		if (rc < 0) {
			*why = fault(a, "certificates", SYSTEM_CA, rc);
			return false;
		}
	} else if (!read_chain(&c->ca, conf->ca, conf->ca_file, a, why))
		return false;
	mbedtls_ssl_conf_ca_chain(&c->conf, &c->ca, NULL);
	return true;
}

struct kb_tls_client *
kb_tls_client_new(
    const struct kb_tls_client_conf *conf, struct kb_arena *a, const char **why)
{
	struct kb_tls_client *c = kb_xalloc(sizeof(*c));

	memset(c, 0, sizeof(*c));
	atomic_init(&c->refs, 1);
	c->check = conf->check;
	c->depth = conf->depth;
	mbedtls_ssl_config_init(&c->conf);
	mbedtls_x509_crt_init(&c->ca);
	cert_init(&c->own);
	set_rules(&c->conf, MBEDTLS_SSL_IS_CLIENT);
	if (!client_ca(c, conf, a, why) ||
	    (conf->own != NULL && !cert_read(&c->own, conf->own, a, why))) {
		client_free(c);
		return NULL;
	}
	if (conf->own != NULL &&
	    mbedtls_ssl_conf_own_cert(&c->conf, &c->own.chain, &c->own.key) !=
		0)
		kb_fatal("tls: a context cannot be set up");
	return c;
}

struct kb_tls_client *
kb_tls_client_ref(struct kb_tls_client *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void
kb_tls_client_unref(struct kb_tls_client *c)
{
	if (c != NULL && atomic_fetch_sub(&c->refs, 1) == 1)
		client_free(c);
}
