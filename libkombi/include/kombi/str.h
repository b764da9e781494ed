/*
 * Strings: predicates, parsing of numbers, encodings. `const char *` is
 * UTF-8 and NUL-terminated; slices are wire bytes.
 */
#ifndef KOMBI_STR_H
#define KOMBI_STR_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/buf.h>

struct kb_slice kb_slice_of(const char *s);
bool kb_slice_eq(struct kb_slice s, const char *t);
/* ASCII case-insensitive. */
bool kb_slice_eqi(struct kb_slice s, const char *t);
struct kb_slice kb_slice_trim(struct kb_slice s); /* SP and HTAB */
bool kb_str_eq(const char *a, const char *b);     /* NULL equals NULL only */
bool kb_str_starts(const char *s, const char *prefix);
bool kb_str_ends(const char *s, const char *suffix);
char *kb_str_lower(struct kb_arena *a, const char *s); /* ASCII */

/* Takes the part of *rest up to `sep` (or all of it); false when none left. */
bool kb_slice_next(struct kb_slice *rest, char sep, struct kb_slice *part);

/* Whole string, decimal, no sign but '-' for i64, no blanks, no overflow. */
bool kb_parse_u64(struct kb_slice s, uint64_t *out) KB_MUSTUSE;
bool kb_parse_i64(struct kb_slice s, int64_t *out) KB_MUSTUSE;

/* Valid UTF-8 by RFC 3629 (no overlong forms, no surrogates). */
bool kb_utf8_valid(const char *s, size_t len);
bool kb_has_control(const char *s, size_t len); /* < 0x20 or 0x7f */

/* Tenant slug: ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ */
bool kb_is_slug(const char *s);
/* Names of things people make: 1..128 chars, UTF-8, no control characters,
 * no blank at either end. */
bool kb_is_name(const char *s);
/* An id of ours: [a-z0-9_-]{1,64}. */
bool kb_is_id(const char *s);
bool kb_is_email(const char *s); /* one @, no blanks or controls, <= 254 */
bool kb_is_uuid(const char *s);

/* Hex, lower case. `out` has room for 2n + 1. */
void kb_hex(const void *data, size_t n, char *out);
bool kb_unhex(const char *s, size_t len, void *out) KB_MUSTUSE; /* len / 2 */

/* base64url without padding, RFC 4648 section 5. Decoding is strict: no
 * padding, no blanks, no other alphabet, unused bits zero. Returns the
 * decoded size or -1. `out` has room for len * 3 / 4 + 3. */
char *kb_base64url(struct kb_arena *a, const void *data, size_t n);
long kb_base64url_decode(const char *s, size_t len, void *out) KB_MUSTUSE;
/* Standard base64 with padding. */
char *kb_base64(struct kb_arena *a, const void *data, size_t n);
long kb_base64_decode(const char *s, size_t len, void *out) KB_MUSTUSE;

/* Percent-encodes all but unreserved (RFC 3986 2.3) and the bytes of keep. */
void kb_percent_encode(struct kb_buf *b, const char *s, const char *keep);
/* Decodes %XX; false for a bad escape or %00. */
bool
kb_percent_decode(struct kb_arena *a, struct kb_slice s, char **out) KB_MUSTUSE;

/* SipHash-1-3 with a key drawn once a process: hash of untrusted bytes. */
uint64_t kb_hash(const void *data, size_t len);

#endif
