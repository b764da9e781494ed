/*
 * Growing bytes with a ceiling. Capacity always leaves room for the NUL that
 * makes the content a string.
 */
#include <kombi/buf.h>

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256

void
kb_buf_init(struct kb_buf *b, size_t max)
{
	*b = (struct kb_buf) { .max = max };
}

void
kb_buf_free(struct kb_buf *b)
{
	free(b->ptr);
	kb_buf_init(b, b->max);
}

void
kb_buf_reset(struct kb_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->ptr)
		b->ptr[0] = '\0';
}

static void
buf_grow(struct kb_buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	char *p;

	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	if (cap > b->max && need <= b->max)
		cap = b->max + 1;
	p = realloc(b->ptr, cap);
	if (!p)
		abort();
	b->ptr = p;
	b->cap = cap;
}

char *
kb_buf_reserve_more(struct kb_buf *b, size_t len)
{
	if (b->failed || len > b->max - b->len)
		return NULL;
	if (b->cap - b->len <= len)
		buf_grow(b, b->len + len + 1);
	return b->ptr + b->len;
}

/* "00" to "99": halves the divisions. */
static const char pairs[] = "00010203040506070809"
			    "10111213141516171819"
			    "20212223242526272829"
			    "30313233343536373839"
			    "40414243444546474849"
			    "50515253545556575859"
			    "60616263646566676869"
			    "70717273747576777879"
			    "80818283848586878889"
			    "90919293949596979899";

void
kb_buf_addu(struct kb_buf *b, uint64_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	for (; n >= 100; n /= 100) {
		i -= 2;
		memcpy(digits + i, pairs + n % 100 * 2, 2);
	}
	if (n >= 10) {
		i -= 2;
		memcpy(digits + i, pairs + n * 2, 2);
	} else {
		digits[--i] = (char)('0' + n);
	}
	kb_buf_add(b, digits + i, sizeof(digits) - i);
}

void
kb_buf_addd(struct kb_buf *b, double v)
{
	char text[32];
	int digits = 15;

	if (fabs(v) < 9007199254740992.0 && trunc(v) == v &&
	    (v != 0 || !signbit(v))) {
		if (v < 0)
			kb_buf_addc(b, '-');
		kb_buf_addu(b, (uint64_t)fabs(v));
		return;
	}
	do
		snprintf(text, sizeof(text), "%.*g", digits, v);
	while (strtod(text, NULL) != v && ++digits <= 17);
	kb_buf_adds(b, text);
}

void
kb_buf_addf(struct kb_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		abort();
	p = kb_buf_reserve(b, (size_t)n);
	if (p) {
		vsnprintf(p, (size_t)n + 1, fmt, ap);
		b->len += (size_t)n;
	} else {
		b->failed = true;
	}
	va_end(ap);
}

void
kb_buf_consume(struct kb_buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	b->len -= n;
	memmove(b->ptr, b->ptr + n, b->len + 1);
}

const char *
kb_buf_str(const struct kb_buf *b)
{
	return b->ptr ? b->ptr : "";
}
