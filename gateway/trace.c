/*
 * Trace context in header fields. What is not exactly as its standard says
 * counts as absent: a wrong id would tie strangers' requests together.
 */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "gateway.h"

enum { STATE_MEMBERS = 32, STATE_KEY = 256, STATE_VALUE = 256 };
enum { TRACE_LEN = 32, SPAN_LEN = 16, SHORT_TRACE_LEN = 16 };

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
is_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (digit(s[i]) < 0)
			return false;
	return true;
}

/* An id of that many digits, not all of them zero. */
static bool
take_id(char *out, const char *s, size_t n)
{
	bool zero = true;

	if (!is_hex(s, n))
		return false;
	for (size_t i = 0; i < n; i++)
		zero &= s[i] == '0';
	memcpy(out, s, n);
	out[n] = '\0';
	return !zero;
}

/* ---- W3C
 * ---------------------------------------------------------------------
 */

/* version 2, '-', trace 32, '-', span 16, '-', flags 2 */
bool
trace_parse_w3c(struct kb_slice value, struct trace_context *out)
{
	enum { TRACE = 3, SPAN = 36, FLAGS = 53, END = 55 };
	const char *s = value.ptr;

	memset(out, 0, sizeof(*out));
	if (value.len < END || !is_hex(s, 2) || memcmp(s, "ff", 2) == 0 ||
	    s[TRACE - 1] != '-' || s[SPAN - 1] != '-' || s[FLAGS - 1] != '-')
		return false;
	if (memcmp(s, "00", 2) == 0 ? value.len != END
				    : value.len > END && s[END] != '-')
		return false;
	if (!take_id(out->trace, s + TRACE, TRACE_LEN) ||
	    !take_id(out->span, s + SPAN, SPAN_LEN) || !is_hex(s + FLAGS, 2))
		return false;
	out->sampled = digit(s[FLAGS + 1]) & 1 ? SAMPLED_YES : SAMPLED_NO;
	return true;
}

static bool
key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
	    c == '-' || c == '*' || c == '/' || c == '@';
}

static bool
member_ok(struct kb_slice member)
{
	const char *eq = memchr(member.ptr, '=', member.len);
	size_t key, n;

	if (eq == NULL)
		return false;
	key = (size_t)(eq - member.ptr);
	n = member.len - key - 1;
	if (key == 0 || key > STATE_KEY || n == 0 || n > STATE_VALUE)
		return false;
	for (size_t i = 0; i < key; i++)
		if (!key_char(member.ptr[i]))
			return false;
	if (digit(member.ptr[0]) < 0 &&
	    (member.ptr[0] < 'a' || member.ptr[0] > 'z'))
		return false;
	for (size_t i = 1; i <= n; i++)
		if (eq[i] < 0x20 || eq[i] > 0x7e || eq[i] == '=')
			return false;
	return true;
}

bool
tracestate_ok(struct kb_slice value)
{
	struct kb_slice member;
	size_t n = 0;

	if (value.len == 0 || value.len > TRACESTATE_MAX)
		return false;
	while (kb_slice_next(&value, ',', &member)) {
		member = kb_slice_trim(member);
		if (member.len == 0)
			continue;
		if (++n > STATE_MEMBERS || !member_ok(member))
			return false;
	}
	return n > 0;
}

void
trace_write_w3c(const struct trace_context *c, char out[TRACEPARENT_SIZE])
{
	memcpy(out, "00-", 3);
	memcpy(out + 3, c->trace, TRACE_LEN);
	out[35] = '-';
	memcpy(out + 36, c->span, SPAN_LEN);
	memcpy(out + 52, c->sampled == SAMPLED_YES ? "-01" : "-00", 4);
}

/* ---- B3
 * ----------------------------------------------------------------------
 */

static bool
b3_sampled(struct kb_slice value, enum sampled *out)
{
	if (value.ptr == NULL)
		*out = SAMPLED_UNKNOWN;
	else if (kb_slice_eq(value, "1") || kb_slice_eq(value, "d") ||
	    kb_slice_eq(value, "true"))
		*out = SAMPLED_YES;
	else if (kb_slice_eq(value, "0") || kb_slice_eq(value, "false"))
		*out = SAMPLED_NO;
	else
		return false;
	return true;
}

bool
trace_parse_b3_fields(struct kb_slice trace, struct kb_slice span,
    struct kb_slice sampled, struct trace_context *out)
{
	memset(out, 0, sizeof(*out));
	if (!b3_sampled(sampled, &out->sampled) || span.len != SPAN_LEN ||
	    !take_id(out->span, span.ptr, SPAN_LEN))
		return false;
	if (trace.len == TRACE_LEN)
		return take_id(out->trace, trace.ptr, TRACE_LEN);
	if (trace.len != SHORT_TRACE_LEN)
		return false;
	memset(out->trace, '0', SHORT_TRACE_LEN);
	return take_id(
	    out->trace + SHORT_TRACE_LEN, trace.ptr, SHORT_TRACE_LEN);
}

bool
trace_parse_b3(struct kb_slice value, struct trace_context *out)
{
	struct kb_slice part[4] = { 0 };
	size_t n = 0;

	memset(out, 0, sizeof(*out));
	if (value.len == 1)
		return b3_sampled(value, &out->sampled);
	while (n < 4 && kb_slice_next(&value, '-', &part[n]))
		n++;
	if (value.len > 0 || n < 2 || (n > 2 && part[2].len != 1) ||
	    (n == 4 &&
		(part[3].len != SPAN_LEN || !is_hex(part[3].ptr, SPAN_LEN))))
		return false;
	return trace_parse_b3_fields(part[0], part[1], part[2], out);
}

/* ---- both
 * --------------------------------------------------------------------
 */

bool
trace_is_in_share(const char *trace, double share)
{
	uint64_t low = 0;

	for (size_t i = TRACE_LEN - 16; i < TRACE_LEN; i++)
		low = low << 4 | (uint64_t)digit(trace[i]);
	/* 53 bits, which a double holds exactly. */
	return (double)(low >> 11) < share * 9007199254740992.0;
}

bool
trace_owns_field(struct kb_slice name)
{
	static const char *const names[] = { "traceparent", "tracestate", "b3",
		"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid",
		"x-b3-sampled", "x-b3-flags" };

	for (size_t i = 0; i < KB_COUNT(names); i++)
		if (kb_slice_eqi(name, names[i]))
			return true;
	return false;
}
