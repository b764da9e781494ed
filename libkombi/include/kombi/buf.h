/*
 * Growing bytes with a ceiling and a sticky error: append as often as you
 * like, look at kb_buf_failed() once. Owner embeds it; no heap memory before
 * the first byte and after kb_buf_free(), which empties for reuse.
 */
#ifndef KOMBI_BUF_H
#define KOMBI_BUF_H

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include <kombi/base.h>

struct kb_buf {
	char *ptr; /* NULL while empty; kept NUL-terminated otherwise */
	size_t len;
	size_t cap;
	size_t max;  /* ceiling in bytes */
	bool failed; /* an append went over the ceiling and was dropped */
};

void kb_buf_init(struct kb_buf *b, size_t max);
void kb_buf_free(struct kb_buf *b);  /* back to the state after init */
void kb_buf_reset(struct kb_buf *b); /* empty, memory kept */

static inline void kb_buf_add(struct kb_buf *b, const void *data, size_t len);
static inline void kb_buf_addc(struct kb_buf *b, char c);
static inline void kb_buf_adds(struct kb_buf *b, const char *s);
void kb_buf_addu(struct kb_buf *b, uint64_t n); /* decimal */
/* Shortest of 15 to 17 digits that reads back as v; v is finite. */
void kb_buf_addd(struct kb_buf *b, double v);
void kb_buf_addf(struct kb_buf *b, const char *fmt, ...) KB_PRINTF(2, 3);

/* Room for `len` more bytes at ptr + this->len; NULL over the ceiling (which
 * is no failure yet: who reads from a socket stops reading). */
static inline char *kb_buf_reserve(struct kb_buf *b, size_t len);
/* After writing into reserved room. */
static inline void kb_buf_commit(struct kb_buf *b, size_t len);

/* Drops n bytes from the front; memory is kept until kb_buf_free(). */
void kb_buf_consume(struct kb_buf *b, size_t n);

static inline bool
kb_buf_failed(const struct kb_buf *b)
{
	return b->failed;
}

/* Never NULL; "" while empty. */
const char *kb_buf_str(const struct kb_buf *b);

/* ---- what is short enough to stand where it is used -----------------------
 */

/* Private: kb_buf_reserve when there is no room yet. */
char *kb_buf_reserve_more(struct kb_buf *b, size_t len);

static inline char *
kb_buf_reserve(struct kb_buf *b, size_t len)
{
	if (len < b->cap - b->len && len <= b->max - b->len && !b->failed)
		return b->ptr + b->len;
	return kb_buf_reserve_more(b, len);
}

static inline void
kb_buf_commit(struct kb_buf *b, size_t len)
{
	assert(len < b->cap - b->len);
	b->len += len;
	b->ptr[b->len] = '\0';
}

static inline void
kb_buf_add(struct kb_buf *b, const void *data, size_t len)
{
	char *p;

	if (len == 0)
		return;
	p = kb_buf_reserve(b, len);
	if (p == NULL) {
		b->failed = true;
		return;
	}
	memcpy(p, data, len);
	b->len += len;
	p[len] = '\0';
}

static inline void
kb_buf_addc(struct kb_buf *b, char c)
{
	kb_buf_add(b, &c, 1);
}

static inline void
kb_buf_adds(struct kb_buf *b, const char *s)
{
	kb_buf_add(b, s, strlen(s));
}

#endif
