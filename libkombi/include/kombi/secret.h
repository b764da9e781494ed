/*
 * A value that must not be printed: no format prints it, the logger has no
 * field for it, --print-config masks it, the memory is wiped when freed.
 */
#ifndef KOMBI_SECRET_H
#define KOMBI_SECRET_H

#include <kombi/base.h>

struct kb_secret {
	unsigned char *bytes_; /* through the functions only */
	size_t len_;
};

void kb_secret_set(struct kb_secret *s, const void *bytes, size_t len);
void kb_secret_free(struct kb_secret *s);
bool kb_secret_is_set(const struct kb_secret *s);
/* The one door: for HMAC, database passwords and the like. The result lives
 * as long as the secret and is NUL-terminated after len bytes. */
const unsigned char *kb_secret_reveal(const struct kb_secret *s, size_t *len);

#endif
