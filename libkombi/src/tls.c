/*
 * TLS connections: mbedTLS directly on the socket, spoken to as recv and
 * send are. Contexts are next door in tls_context.c.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "tls_private.h"

/* ---- the socket ------------------------------------------------------------
 */

static int
on_send(void *ctx, const unsigned char *data, size_t len)
{
	const struct kb_tls *t = ctx;
	ssize_t n;

	do
		n = send(t->fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (int)n;
	return errno == EAGAIN || errno == ENOBUFS ? MBEDTLS_ERR_SSL_WANT_WRITE
						   : MBEDTLS_ERR_NET_CONN_RESET;
}

static int
on_recv(void *ctx, unsigned char *to, size_t len)
{
	const struct kb_tls *t = ctx;
	ssize_t n;

	do
		n = recv(t->fd, to, len, 0);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (int)n;
	return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ
			       : MBEDTLS_ERR_NET_CONN_RESET;
}

/* ---- life -------------------------------------------------------------------
 */

static struct kb_tls *
tls_new(const mbedtls_ssl_config *conf, int fd)
{
	struct kb_tls *t = kb_xalloc(sizeof(*t));

	memset(t, 0, sizeof(*t));
	t->fd = fd;
	mbedtls_ssl_init(&t->ssl);
	/* Fails for want of memory alone. */
	if (mbedtls_ssl_setup(&t->ssl, conf) != 0)
		kb_fatal("tls: a connection cannot be set up");
	mbedtls_ssl_set_bio(&t->ssl, t, on_send, on_recv, NULL);
	return t;
}

struct kb_tls *
kb_tls_accept(struct kb_tls_server *s, int fd)
{
	struct kb_tls *t = tls_new(&s->conf, fd);

	t->server = kb_tls_server_ref(s);
	return t;
}

/* Called for each certificate of the chain, the trusted one first. What else
 * is wrong with one stays wrong. */
static int
on_verify(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	const struct kb_tls *t = ctx;
	const struct kb_tls_client *c = t->client;

	if (c->depth != 0 && depth > (c->depth > 0 ? c->depth + 1 : 1))
		*flags |= MBEDTLS_X509_BADCERT_OTHER;
	if (depth > 0)
		return 0;
	if (c->check == KB_TLS_CHECK_CHAIN)
		*flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
	else if (t->address_len > 0 &&
	    !kb_tls_is_for(crt, t->address, t->address_len))
		*flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	return 0;
}

/* "[::1]" without its brackets too. */
static size_t
address_of(const char *name, unsigned char out[16])
{
	char bare[INET6_ADDRSTRLEN];
	size_t n = strlen(name);

	if (inet_pton(AF_INET, name, out) == 1)
		return 4;
	if (inet_pton(AF_INET6, name, out) == 1)
		return 16;
	if (n < 3 || n - 2 >= sizeof(bare) || name[0] != '[' ||
	    name[n - 1] != ']')
		return 0;
	memcpy(bare, name + 1, n - 2);
	bare[n - 2] = '\0';
	return inet_pton(AF_INET6, bare, out) == 1 ? 16 : 0;
}

struct kb_tls *
kb_tls_connect(struct kb_tls_client *c, int fd, const char *name)
{
	struct kb_tls *t = tls_new(&c->conf, fd);

	t->client = kb_tls_client_ref(c);
	t->address_len = address_of(name, t->address);
	mbedtls_ssl_set_verify(&t->ssl, on_verify, t);
	if (mbedtls_ssl_set_hostname(&t->ssl, t->address_len ? NULL : name) !=
	    0) {
		t->dead = true;
		t->problem = MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	}
	return t;
}

void
kb_tls_free(struct kb_tls *t)
{
	if (t == NULL)
		return;
	mbedtls_ssl_free(&t->ssl);
	kb_tls_server_unref(t->server);
	kb_tls_client_unref(t->client);
	free(t->name);
	free(t);
}

/* ---- names
 * ------------------------------------------------------------------- */

/* Kept in the connection: callbacks of mbedTLS know the context alone. */
int
kb_tls_on_name(
    void *ctx, mbedtls_ssl_context *ssl, const unsigned char *name, size_t len)
{
	struct kb_tls *t = KB_CONTAINER(ssl, struct kb_tls, ssl);

	if (len == 0 || len > 253 || memchr(name, '\0', len) != NULL)
		return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	free(t->name);
	t->name = kb_xalloc(len + 1);
	for (size_t i = 0; i < len; i++)
		t->name[i] = (char)tolower(name[i]);
	t->name[len] = '\0';
	return kb_tls_choose(ctx, ssl, t->name);
}

const char *
kb_tls_name(const struct kb_tls *t)
{
	return t->name != NULL ? t->name : "";
}

/* ---- handshake -------------------------------------------------------------
 */

static const mbedtls_x509_crt *
peer_cert(const struct kb_tls *t)
{
	return mbedtls_ssl_get_peer_cert(&t->ssl);
}

static enum kb_tls_step
failed(struct kb_tls *t, int problem)
{
	t->dead = true;
	t->problem = problem;
	return KB_TLS_FAILED;
}

/* An optional certificate that is wrong is not the same as none. */
static bool
peer_is_wrong(const struct kb_tls *t)
{
	return t->server != NULL &&
	    t->server->clients == KB_TLS_CLIENTS_OPTIONAL &&
	    peer_cert(t) != NULL && mbedtls_ssl_get_verify_result(&t->ssl) != 0;
}

enum kb_tls_step
kb_tls_handshake(struct kb_tls *t)
{
	int rc;

	if (t->dead)
		return KB_TLS_FAILED;
	rc = mbedtls_ssl_handshake(&t->ssl);
	if (rc == MBEDTLS_ERR_SSL_WANT_READ)
		return KB_TLS_WANT_READ;
	if (rc == MBEDTLS_ERR_SSL_WANT_WRITE)
		return KB_TLS_WANT_WRITE;
	if (rc != 0)
		return failed(t, rc);
	if (peer_is_wrong(t)) {
		(void)mbedtls_ssl_send_alert_message(&t->ssl,
		    MBEDTLS_SSL_ALERT_LEVEL_FATAL,
		    MBEDTLS_SSL_ALERT_MSG_BAD_CERT);
		return failed(t, MBEDTLS_ERR_X509_CERT_VERIFY_FAILED);
	}
	return KB_TLS_DONE;
}

/* ---- bytes ------------------------------------------------------------------
 */

static bool
means_later(int rc)
{
#if defined(MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
	if (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
		return true;
#endif
	return rc == MBEDTLS_ERR_SSL_WANT_READ ||
	    rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

static ssize_t
broke(struct kb_tls *t, int rc)
{
	(void)failed(t, rc);
	errno = ECONNRESET;
	return -1;
}

ssize_t
kb_tls_read(struct kb_tls *t, void *to, size_t len)
{
	int rc;

	if (t->dead)
		return broke(t, t->problem);
	rc = mbedtls_ssl_read(&t->ssl, to, len);
	if (rc > 0)
		return rc;
	if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		return 0;
	if (!means_later(rc))
		return broke(t, rc != 0 ? rc : MBEDTLS_ERR_SSL_CONN_EOF);
	errno = EAGAIN;
	return -1;
}

ssize_t
kb_tls_write(struct kb_tls *t, const void *from, size_t len)
{
	int rc;

	if (t->dead || t->ended)
		return broke(t, t->problem);
	assert(len >= t->unsent);
	/* A record that waits to be sent is not made anew: it ends as begun. */
	if (t->unsent > 0)
		len = t->unsent;
	rc = mbedtls_ssl_write(&t->ssl, from, len);
	if (rc >= 0) {
		t->unsent = 0;
		return rc;
	}
	if (!means_later(rc))
		return broke(t, rc);
	t->unsent = len;
	errno = EAGAIN;
	return -1;
}

bool
kb_tls_pending(const struct kb_tls *t)
{
	return !t->dead && mbedtls_ssl_check_pending(&t->ssl) != 0;
}

void
kb_tls_end(struct kb_tls *t)
{
	if (t->dead || t->ended)
		return;
	t->ended = true;
	(void)mbedtls_ssl_close_notify(&t->ssl);
}

/* ---- what is known of a connection ------------------------------------------
 */

const char *
kb_tls_version(const struct kb_tls *t)
{
	return mbedtls_ssl_get_version(&t->ssl);
}

const char *
kb_tls_suite(const struct kb_tls *t)
{
	return mbedtls_ssl_get_ciphersuite(&t->ssl);
}

const char *
kb_tls_problem(const struct kb_tls *t, struct kb_arena *a)
{
	char text[256] = "";
	uint32_t flags;

	if (t->problem == 0)
		return "";
	flags = mbedtls_ssl_get_verify_result(&t->ssl);
	if (t->problem == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED &&
	    flags != UINT32_MAX &&
	    mbedtls_x509_crt_verify_info(text, sizeof(text), "", flags) > 0) {
		text[strcspn(text, "\n")] = '\0';
		return kb_strdup(a, text);
	}
	mbedtls_strerror(t->problem, text, sizeof(text));
	return kb_strdup(a, text);
}

bool
kb_tls_peer(const struct kb_tls *t, struct kb_arena *a, struct kb_tls_peer *out)
{
	const mbedtls_x509_crt *crt = peer_cert(t);
	char text[512];

	if (crt == NULL || mbedtls_ssl_get_verify_result(&t->ssl) != 0)
		return false;
	if (mbedtls_x509_dn_gets(text, sizeof(text), &crt->subject) < 0)
		return false;
	out->subject = kb_strdup(a, text);
	kb_sha256_hex(crt->raw.p, crt->raw.len, out->fingerprint);
	return true;
}
