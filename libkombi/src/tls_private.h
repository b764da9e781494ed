/*
 * Private: what contexts (tls_context.c) and connections (tls.c) share, and
 * where the two generations of mbedTLS differ.
 */
#ifndef KOMBI_TLS_PRIVATE_H
#define KOMBI_TLS_PRIVATE_H

#include <stdatomic.h>

#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include <kombi/crypto.h>
#include <kombi/tls.h>

/* Contexts are shared by threads: tickets and RSA keys lock themselves. */
#if !defined(MBEDTLS_THREADING_C)
#error "mbedTLS must be built with MBEDTLS_THREADING_C"
#endif

#define KB_TLS_3 (MBEDTLS_VERSION_NUMBER >= 0x03000000)

/* One pair as it is used. */
struct kb_tls_cert {
	mbedtls_x509_crt chain;
	mbedtls_pk_context key;
	char **names; /* lower case, NULL-ended */
};

struct kb_tls_server {
	atomic_uint refs;
	mbedtls_ssl_config conf;
	mbedtls_ssl_ticket_context tickets;
	mbedtls_x509_crt client_ca;
	struct kb_tls_cert *certs;
	size_t n_certs;
	enum kb_tls_clients clients;
	unsigned char print[KB_SHA256_SIZE];
	int64_t expires;
};

struct kb_tls_client {
	atomic_uint refs;
	mbedtls_ssl_config conf;
	mbedtls_x509_crt ca;
	struct kb_tls_cert own;
	enum kb_tls_check check;
	int depth; /* 0: any; negative: none */
};

struct kb_tls {
	mbedtls_ssl_context ssl;
	struct kb_tls_server *server; /* or */
	struct kb_tls_client *client;
	int fd;
	bool dead;     /* nothing more goes through it */
	bool ended;    /* close_notify was sent */
	size_t unsent; /* length of a record that the socket did not take */
	int problem;   /* of mbedTLS */
	char *name;    /* SNI, or NULL */
	/* the peer is known by an address: its bytes */
	unsigned char address[16];
	size_t address_len;
};

/* mbedTLS's source of random bytes. */
int kb_tls_random(void *unused, unsigned char *out, size_t len);
/* The certificates for a name, into the handshake. */
int kb_tls_choose(
    const struct kb_tls_server *s, mbedtls_ssl_context *ssl, const char *name);
/* The certificate is for that address. */
bool kb_tls_is_for(
    const mbedtls_x509_crt *crt, const unsigned char *address, size_t len);
/* Callback of mbedTLS: ctx is the server's context. */
int kb_tls_on_name(
    void *ctx, mbedtls_ssl_context *ssl, const unsigned char *name, size_t len);

#endif
