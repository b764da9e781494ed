/*
 * TLS 1.2 and 1.3 (RFC 5246, RFC 8446) on non-blocking sockets, for the HTTP
 * engines: ECDHE with AEAD only, X25519 and AES-128-GCM first, ALPN
 * "http/1.1" (RFC 7301), names by SNI (RFC 6066), session tickets under keys
 * that change by themselves, renegotiation refused. What TLS 1.3 adds is
 * there when the library that is linked has it (mbedTLS 3.6; 2.28 ends at
 * TLS 1.2).
 *
 * Contexts are immutable and reference-counted; any thread may use, ref and
 * unref them. To reload, make a new one and hand it to the engines: what is
 * connected stays on the old one. Connections belong to one thread.
 */
#ifndef KOMBI_TLS_H
#define KOMBI_TLS_H

#include <sys/types.h>

#include <kombi/arena.h>
#include <kombi/base.h>

struct kb_tls_server; /* how to accept */
struct kb_tls_client; /* how to connect */
struct kb_tls;        /* one connection */

/* A certificate and its key, as PEM text or, with `files`, as paths. */
struct kb_tls_pair {
	const char *cert; /* and after it those up to its root, in order */
	const char *key;  /* as file: closed to others */
	bool files;
	/* NULL-ended, "a.example", "*.example" or "example.*", which count
	 * in this order; NULL: as the certificate says. Several pairs of one
	 * name (ECDSA and RSA): all are offered. */
	const char *const *names;
};

enum kb_tls_clients {
	KB_TLS_CLIENTS_ANY,      /* not asked for a certificate */
	KB_TLS_CLIENTS_OPTIONAL, /* may have none, but not a wrong one */
	KB_TLS_CLIENTS_REQUIRED,
};

struct kb_tls_server_conf {
	/* The first one stands in for names that none has. */
	const struct kb_tls_pair *pairs;
	size_t n_pairs;
	enum kb_tls_clients clients;
	const char *client_ca; /* PEM bundle; with ca_file its path */
	bool ca_file;
};

/* NULL and *why (in the arena), which names the file or the pair. */
struct kb_tls_server *kb_tls_server_new(const struct kb_tls_server_conf *conf,
    struct kb_arena *a, const char **why) KB_MUSTUSE;
struct kb_tls_server *kb_tls_server_ref(struct kb_tls_server *s);
void kb_tls_server_unref(struct kb_tls_server *s); /* NULL is fine */
/* Certificates, names and demands are the same: no need to replace it. */
bool kb_tls_server_same(
    const struct kb_tls_server *a, const struct kb_tls_server *b);
/* Unix time when the first of its certificates ends. */
int64_t kb_tls_server_expires(const struct kb_tls_server *s);

enum kb_tls_check {
	KB_TLS_CHECK_NAME,    /* chain and name */
	KB_TLS_CHECK_CHAIN,   /* whatever its name */
	KB_TLS_CHECK_NOTHING, /* encrypted, but to whom nobody knows */
};

struct kb_tls_client_conf {
	enum kb_tls_check check;
	const char *ca;                /* PEM bundle; NULL: the system's */
	bool ca_file;                  /* `ca` is a path */
	const struct kb_tls_pair *own; /* certificate to show, or NULL */
	/* Certificates between the peer's and a trusted one, at most; 0: as
	 * many as it likes, negative: none. */
	int depth;
};

struct kb_tls_client *kb_tls_client_new(const struct kb_tls_client_conf *conf,
    struct kb_arena *a, const char **why) KB_MUSTUSE;
struct kb_tls_client *kb_tls_client_ref(struct kb_tls_client *c);
void kb_tls_client_unref(struct kb_tls_client *c); /* NULL is fine */

/* ---- connections ----------------------------------------------------------
 */

/* Holds the context, borrows the descriptor: who opened it closes it. */
struct kb_tls *kb_tls_accept(struct kb_tls_server *s, int fd);
/* `name`: for SNI and the check; an address ("10.0.0.1", "::1", "[::1]") is
 * looked for in the certificate and not told (RFC 6066 3). */
struct kb_tls *
kb_tls_connect(struct kb_tls_client *c, int fd, const char *name);
void kb_tls_free(struct kb_tls *t); /* NULL is fine; tells the peer nothing */

enum kb_tls_step {
	KB_TLS_DONE,
	KB_TLS_WANT_READ, /* go on when the socket is readable */
	KB_TLS_WANT_WRITE,
	KB_TLS_FAILED, /* the peer was told; close */
};
enum kb_tls_step kb_tls_handshake(struct kb_tls *t);

/*
 * As recv and send on a non-blocking socket, errno included. read: 0 when the
 * peer has ended its side by close_notify; ECONNRESET for everything else,
 * an end without close_notify too, which may be somebody else's cut. It
 * takes one record at most. write: after EAGAIN the same bytes come first in
 * the next call, more may follow.
 */
ssize_t kb_tls_read(struct kb_tls *t, void *to, size_t len);
ssize_t kb_tls_write(struct kb_tls *t, const void *from, size_t len);
/* Bytes wait that the socket does not show: kb_tls_read gives some. */
bool kb_tls_pending(const struct kb_tls *t);
/* Sends close_notify if the socket takes it; no kb_tls_write after it. */
void kb_tls_end(struct kb_tls *t);

/* Name that the client asked for, lower case; "" if none. Server side. */
const char *kb_tls_name(const struct kb_tls *t);
const char *kb_tls_version(const struct kb_tls *t); /* "TLSv1.2" */
const char *kb_tls_suite(const struct kb_tls *t);
/* Why the handshake or the connection failed. */
const char *kb_tls_problem(const struct kb_tls *t, struct kb_arena *a);

/* The peer's certificate, verified. */
struct kb_tls_peer {
	const char *subject;  /* "CN=a, O=b" */
	char fingerprint[65]; /* SHA-256 of the certificate, hexadecimal */
};
/* False when it has shown none, or none was asked for. */
bool kb_tls_peer(
    const struct kb_tls *t, struct kb_arena *a, struct kb_tls_peer *out);

#endif
