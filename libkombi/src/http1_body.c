/*
 * Message bodies of HTTP/1.1 (RFC 9112 sections 6 and 7): by length, chunked
 * or until the connection closes. The chunked grammar is a state machine
 * over single bytes for the framing; body bytes are passed on in runs,
 * uncopied.
 */
#include <kombi/http1.h>

#include "http1_private.h"

#define MAX_CHUNK (UINT64_C(1) << 53)
#define MAX_DIGITS 16

enum state {
	SIZE_FIRST, /* the first digit of a chunk's size */
	SIZE,
	EXT_NAME_FIRST, /* after ';' */
	EXT_NAME,
	EXT_VALUE_FIRST, /* after '=' */
	EXT_VALUE,
	EXT_QUOTED,
	EXT_QUOTED_PAIR, /* after a backslash */
	EXT_QUOTED_END,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_FIRST, /* a field's name, or the CR of the end */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
};

static void
start(struct kb_http1_body *b, enum kb_body_kind kind, uint64_t left)
{
	*b = (struct kb_http1_body) { .kind = kind, .left = left };
	b->ended = kind == KB_BODY_NONE ||
	    (kind == KB_BODY_LENGTH && left == 0);
}

void
kb_http1_body_request(struct kb_http1_body *b, const struct kb_http1_head *h)
{
	if (h->chunked)
		start(b, KB_BODY_CHUNKED, 0);
	else if (h->has_length)
		start(b, KB_BODY_LENGTH, h->length);
	else
		start(b, KB_BODY_NONE, 0);
}

void
kb_http1_body_response(struct kb_http1_body *b, const struct kb_http1_head *h,
    enum kb_method method)
{
	if (method == KB_M_HEAD || h->status < 200 || h->status == 204 ||
	    h->status == 304)
		start(b, KB_BODY_NONE, 0);
	else if (h->chunked)
		start(b, KB_BODY_CHUNKED, 0);
	else if (h->has_length)
		start(b, KB_BODY_LENGTH, h->length);
	else
		start(b, KB_BODY_UNTIL_CLOSE, 0);
}

/* The line of a chunk's size is at its end: what follows? */
static bool
end_size(struct kb_http1_body *b)
{
	if (b->left > MAX_CHUNK || b->total > MAX_CHUNK - b->left)
		return false;
	b->state = b->left > 0 ? DATA : TRAILER_FIRST;
	b->count = 0;
	return true;
}

/* After the size, a name, a value: the next extension or the end. */
static bool
next_ext(struct kb_http1_body *b, char c)
{
	if (c != ';' && c != '\r')
		return false;
	b->state = c == ';' ? EXT_NAME_FIRST : SIZE_LF;
	return true;
}

static bool
size_byte(struct kb_http1_body *b, char c)
{
	int digit = kb_http1_hex(c);

	if (digit >= 0) {
		b->left = (b->left << 4) | (unsigned)digit;
		b->state = SIZE;
		return ++b->count <= MAX_DIGITS;
	}
	if (b->state == SIZE_FIRST)
		return false;
	b->count = 0; /* of the extension's bytes from here on */
	return next_ext(b, c);
}

/* A step of the extension grammar; no blanks anywhere but in quotes. */
static bool
ext_step(struct kb_http1_body *b, char c)
{
	switch (b->state) {
	case EXT_NAME_FIRST: b->state = EXT_NAME; return kb_http1_is_token(c);
	case EXT_NAME:
		if (kb_http1_is_token(c))
			return true;
		if (c != '=')
			return next_ext(b, c);
		b->state = EXT_VALUE_FIRST;
		return true;
	case EXT_VALUE_FIRST:
		b->state = c == '"' ? EXT_QUOTED : EXT_VALUE;
		return c == '"' || kb_http1_is_token(c);
	case EXT_VALUE: return kb_http1_is_token(c) || next_ext(b, c);
	case EXT_QUOTED:
		if (c == '"')
			b->state = EXT_QUOTED_END;
		else if (c == '\\')
			b->state = EXT_QUOTED_PAIR;
		return !kb_http1_is_control(c);
	case EXT_QUOTED_PAIR:
		b->state = EXT_QUOTED;
		return !kb_http1_is_control(c);
	default: /* EXT_QUOTED_END */ return next_ext(b, c);
	}
}

static bool
ext_byte(struct kb_http1_body *b, char c, const struct kb_http1_limits *limits)
{
	return ++b->count <= limits->chunk_ext &&
	    ++b->ext_total <= limits->chunk_ext_total && ext_step(b, c);
}

static bool
trailer_step(struct kb_http1_body *b, char c)
{
	switch (b->state) {
	case TRAILER_FIRST:
		b->state = c == '\r' ? END_LF : TRAILER_NAME;
		return c == '\r' || kb_http1_is_token(c);
	case TRAILER_NAME:
		if (c == ':')
			b->state = TRAILER_VALUE;
		return c == ':' || kb_http1_is_token(c);
	case TRAILER_VALUE:
		if (c == '\r')
			b->state = TRAILER_LF;
		return c == '\r' || !kb_http1_is_control(c);
	case TRAILER_LF: b->state = TRAILER_FIRST; return c == '\n';
	default: /* END_LF */ b->ended = c == '\n'; return b->ended;
	}
}

static bool
trailer_byte(
    struct kb_http1_body *b, char c, const struct kb_http1_limits *limits)
{
	return ++b->trailer <= limits->trailer && trailer_step(b, c);
}

/* One byte of framing. */
static bool
framing_byte(
    struct kb_http1_body *b, char c, const struct kb_http1_limits *limits)
{
	switch (b->state) {
	case SIZE_FIRST:
	case SIZE: return size_byte(b, c);
	case SIZE_LF: return c == '\n' && end_size(b);
	case DATA_CR: b->state = DATA_LF; return c == '\r';
	case DATA_LF:
		b->state = SIZE_FIRST;
		b->count = 0;
		return c == '\n';
	case TRAILER_FIRST:
	case TRAILER_NAME:
	case TRAILER_VALUE:
	case TRAILER_LF:
	case END_LF: return trailer_byte(b, c, limits);
	default: return ext_byte(b, c, limits);
	}
}

/* Hands out at most `most` bytes. */
static void
take(struct kb_http1_body *b, struct kb_slice *in, struct kb_slice *data,
    uint64_t most)
{
	size_t n = in->len < most ? in->len : (size_t)most;

	*data = (struct kb_slice) { in->ptr, n };
	in->ptr += n;
	in->len -= n;
	b->total += n;
}

static bool
next_chunked(struct kb_http1_body *b, struct kb_slice *in,
    struct kb_slice *data, const struct kb_http1_limits *limits)
{
	while (in->len > 0 && !b->ended) {
		if (b->state == DATA) {
			take(b, in, data, b->left);
			b->left -= data->len;
			if (b->left == 0)
				b->state = DATA_CR;
			return true;
		}
		if (!framing_byte(b, *in->ptr, limits))
			return false;
		in->ptr++;
		in->len--;
	}
	return true;
}

bool
kb_http1_body_next(struct kb_http1_body *b, struct kb_slice *in,
    struct kb_slice *data, const struct kb_http1_limits *limits)
{
	*data = (struct kb_slice) { in->ptr, 0 };
	if (b->ended)
		return true;
	switch (b->kind) {
	case KB_BODY_CHUNKED: return next_chunked(b, in, data, limits);
	case KB_BODY_LENGTH:
		take(b, in, data, b->left);
		b->left -= data->len;
		b->ended = b->left == 0;
		return true;
	default: /* KB_BODY_UNTIL_CLOSE */
		take(b, in, data, UINT64_MAX);
		return true;
	}
}
