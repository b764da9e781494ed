/*
 * Mail out: a message of one sender to one receiver, by SMTP or into a folder
 * (the mailbox of development). Blocking: on a worker or in the background.
 */
#ifndef KOMBI_MAIL_H
#define KOMBI_MAIL_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>
#include <kombi/log.h>

struct kb_mail {
	const char *from_name, *from; /* name NULL or "": none */
	const char *to;
	const char *subject; /* UTF-8; controls become blanks */
	const char *html;
	const char *text; /* NULL: made of html */
};

/* An address that can stand in a header and in an SMTP command. */
bool kb_mail_address_ok(const char *address);
/*
 * The message as RFC 5322 wants it: multipart/alternative of text and HTML in
 * base64, names and subject as RFC 2047 words. Nothing of *m can add a header
 * or end the message. KB_INVALID: an address that is none.
 */
enum kb_err kb_mail_compose(
    struct kb_arena *a, const struct kb_mail *m, const char **out) KB_MUSTUSE;
/* The words of HTML: tags go, links are told behind their text. */
const char *kb_mail_text_of(struct kb_arena *a, const char *html);

struct kb_smtp {
	const char *host;
	int64_t port;
	bool tls; /* from the first byte; else STARTTLS where it is offered */
	const char *user, *password; /* NULL or "": no sign-in. Never sent in
					clear, but to this machine. */
	const char *auth;            /* "PLAIN", "LOGIN"; NULL or "": either */
	const char *local_name;      /* EHLO; NULL or "": localhost */
	const char *ca_file;         /* NULL: the system's */
	bool any_address;            /* private and loopback addresses too */
	int64_t timeout_ms;          /* of all; 0: 15,000 */
};

/* KB_UNAVAILABLE, KB_TIMEOUT, KB_FORBIDDEN (address, or no TLS for the
 * password), KB_AUTH_INVALID, KB_INVALID. Logged without secrets. */
enum kb_err kb_smtp_send(struct kb_arena *a, const struct kb_log *log,
    const struct kb_smtp *smtp, const struct kb_mail *m) KB_MUSTUSE;

/* As DIR/<time>-<random>.eml, whole or not at all. */
enum kb_err kb_mail_drop(struct kb_arena *a, const struct kb_log *log,
    const char *dir, const struct kb_mail *m) KB_MUSTUSE;

#endif
