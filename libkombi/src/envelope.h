/*
 * Private: the error envelope of DESIGN 4.1, written in one place for the
 * engine and for replies.
 */
#ifndef KOMBI_ENVELOPE_PRIVATE_H
#define KOMBI_ENVELOPE_PRIVATE_H

#include <kombi/buf.h>
#include <kombi/error.h>

/* message NULL: the code's own text; details: JSON text or NULL. */
void kb_envelope_error(struct kb_buf *b, enum kb_err err, const char *message,
    const char *details, const char *request_id);

/* Header lines that every answer of a service carries. */
extern const char kb_security_lines[];

/* "WWW-Authenticate: …\r\n" for 401 (RFC 9110 15.5.2), "" for the others. */
const char *kb_envelope_lines(enum kb_err err);

#endif
