/*
 * Any bytes as a Cookie field: what is found lies inside of it, and what was
 * taken out is found no more, in whatever the field still says.
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const hidden[] = { "sid" };
	struct kb_arena *a = kb_arena_new(0);
	char *copy = malloc(size ? size : 1);
	struct kb_slice field = { copy, size }, value, other;
	enum cookie_found found, kept;
	char *rest;

	check(copy != NULL);
	/* A field's value has no NUL; the parser of heads sees to that. */
	for (size_t i = 0; i < size; i++)
		copy[i] = data[i] ? (char)data[i] : ' ';
	found = cookie_find(field, "sid", &value);
	if (found == COOKIE_ONE)
		check(value.ptr >= copy &&
		    value.ptr + value.len <= copy + size &&
		    memchr(value.ptr, ';', value.len) == NULL);
	rest = cookie_without(a, field, hidden, 1);
	if (rest != NULL) {
		check(cookie_find(kb_slice_of(rest), "sid", &other) ==
		    COOKIE_NONE);
		kept = cookie_find(field, "a", &value);
		check(cookie_find(kb_slice_of(rest), "a", &other) == kept);
		if (kept == COOKIE_ONE)
			check(value.len == other.len &&
			    memcmp(value.ptr, other.ptr, value.len) == 0);
	} else {
		check(cookie_find(field, "a", &value) == COOKIE_NONE);
	}
	free(copy);
	kb_arena_free(a);
	return 0;
}
