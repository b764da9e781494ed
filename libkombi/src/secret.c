/*
 * Secrets: heap bytes of their own, wiped before the memory goes back.
 */
#include <kombi/secret.h>

#include <stdlib.h>
#include <string.h>

#include <kombi/arena.h>

void
kb_secret_set(struct kb_secret *s, const void *bytes, size_t len)
{
	unsigned char *copy = kb_xalloc(len + 1);

	if (len)
		memcpy(copy, bytes, len);
	kb_secret_free(s);
	s->bytes_ = copy;
	s->len_ = len;
}

void
kb_secret_free(struct kb_secret *s)
{
	if (s->bytes_)
		explicit_bzero(s->bytes_, s->len_);
	free(s->bytes_);
	s->bytes_ = NULL;
	s->len_ = 0;
}

bool
kb_secret_is_set(const struct kb_secret *s)
{
	return s->bytes_ != NULL;
}

const unsigned char *
kb_secret_reveal(const struct kb_secret *s, size_t *len)
{
	if (len)
		*len = s->len_;
	return s->bytes_ ? s->bytes_ : (const unsigned char *)"";
}
