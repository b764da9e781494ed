/*
 * Any bytes as a traceparent, a tracestate and a b3. What is taken is well
 * formed, and what is written from it is read as the same again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool holds)
{
	if (!holds)
		abort();
}

static void
is_id(const char *id, size_t digits)
{
	check(strlen(id) == digits &&
	    strspn(id, "0123456789abcdef") == digits &&
	    strspn(id, "0") < digits);
}

static void
comes_back(const struct trace_context *c)
{
	struct trace_context again;
	char text[TRACEPARENT_SIZE];

	is_id(c->trace, TRACE_ID_SIZE - 1);
	is_id(c->span, SPAN_ID_SIZE - 1);
	trace_write_w3c(c, text);
	check(
	    trace_parse_w3c((struct kb_slice) { text, strlen(text) }, &again));
	check(strcmp(again.trace, c->trace) == 0 &&
	    strcmp(again.span, c->span) == 0);
	check((again.sampled == SAMPLED_YES) == (c->sampled == SAMPLED_YES));
	check(
	    trace_is_in_share(c->trace, 1) && !trace_is_in_share(c->trace, 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy, so that reading past its end is seen. */
	char *copy = malloc(size ? size : 1);
	struct kb_slice text = { copy, size };
	struct trace_context c;

	if (copy == NULL)
		return 0;
	memcpy(copy, data, size);
	if (trace_parse_w3c(text, &c))
		comes_back(&c);
	if (trace_parse_b3(text, &c) && c.trace[0])
		comes_back(&c);
	if (trace_parse_b3_fields(text, text, text, &c))
		comes_back(&c);
	if (tracestate_ok(text))
		for (size_t i = 0; i < size; i++)
			check(copy[i] == '\t' ||
			    (copy[i] >= 0x20 && copy[i] <= 0x7e));
	(void)trace_owns_field(text);
	free(copy);
	return 0;
}
