/*
 * Trace context as it travels in header fields: W3C Trace Context (level 2)
 * and B3, single and several fields. Part of gateway.h, which includes it.
 */
#ifndef GATEWAY_TRACE_H
#define GATEWAY_TRACE_H

enum { TRACE_ID_SIZE = 33, SPAN_ID_SIZE = 17, TRACEPARENT_SIZE = 56 };
enum { TRACESTATE_MAX = 512 };

enum sampled { SAMPLED_UNKNOWN, SAMPLED_NO, SAMPLED_YES };

/* Lower-case hexadecimal, never all zero; "" where there is none. */
struct trace_context {
	char trace[TRACE_ID_SIZE], span[SPAN_ID_SIZE];
	enum sampled sampled;
};

/*
 * A traceparent, strictly: false for what the standard tells to ignore. A
 * version that we do not know is read as far as ours goes.
 */
bool
trace_parse_w3c(struct kb_slice value, struct trace_context *out) KB_MUSTUSE;
/* A tracestate of one field may be passed on as it is. */
bool tracestate_ok(struct kb_slice value);
/* The field b3: "0", or trace-span, perhaps with "-1" and a parent. Traces of
 * 64 bits get zeroes in front. With "0" alone trace and span are "". */
bool
trace_parse_b3(struct kb_slice value, struct trace_context *out) KB_MUSTUSE;
/* X-B3-TraceId, -SpanId and -Sampled; ptr NULL: there is none. */
bool trace_parse_b3_fields(struct kb_slice trace, struct kb_slice span,
    struct kb_slice sampled, struct trace_context *out) KB_MUSTUSE;

void trace_write_w3c(const struct trace_context *c, char out[TRACEPARENT_SIZE]);
/* Of the same length in every trace: by its last 8 bytes, so that all who
 * take the same share take the same traces. */
bool trace_is_in_share(const char *trace, double share);
/* The client's fields that the gateway writes anew. */
bool trace_owns_field(struct kb_slice name);

#endif
