/*
 * Any bytes as a query: of a target, as the gateway's transformers take it
 * apart. What passes the target's check has no bytes that could end a line or
 * a target, and arguments come apart the same way once they are put together.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool holds)
{
	if (!holds)
		abort();
}

static bool
same(struct kb_slice a, struct kb_slice b)
{
	return a.len == b.len &&
	    (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* No byte that the head of a request could not have in its target. */
static void
check_bytes(struct kb_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		check(s.ptr[i] > 0x20 && s.ptr[i] < 0x7f && s.ptr[i] != '#');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct lines once = { .arena = a }, twice = { .arena = a };
	struct kb_slice query, authority, joined;
	struct kb_buf path, target;

	kb_buf_init(&path, 1 << 16);
	kb_buf_init(&target, 1 << 16);
	kb_buf_add(&target, "/a?", 3);
	kb_buf_add(&target, (const char *)data, size < 8192 ? size : 8192);
	if (kb_http_path((struct kb_slice) { target.ptr, target.len }, &path,
		&query, &authority) == KB_OK) {
		check(query.ptr != NULL && authority.ptr == NULL);
		check_bytes(query);
		form_split(&once, query);
		joined = form_join(&once);
		check_bytes(joined);
		form_split(&twice, joined);
		check(once.n == twice.n);
		for (size_t i = 0; i < once.n; i++)
			check(same(once.v[i].name, twice.v[i].name) &&
			    same(once.v[i].value, twice.v[i].value));
	}
	kb_buf_free(&path);
	kb_buf_free(&target);
	kb_arena_free(a);
	return 0;
}
