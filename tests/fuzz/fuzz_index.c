/*
 * Index definitions as any superuser sends them. What was taken apart is put
 * together again as the store does it: it is one statement still, with the
 * same parts.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "../../stack/records/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Quotes closed and parentheses balanced, never below the first. */
static void
check_expression(const char *s)
{
	int depth = 0;

	for (; *s != '\0'; s++) {
		if (strchr("'\"`[", *s) != NULL) {
			s = strchr(s + 1, *s == '[' ? ']' : *s);
			if (s == NULL)
				abort();
			continue;
		}
		depth += *s == '(' ? 1 : *s == ')' ? -1 : 0;
		if (depth < 0 || *s == ';' || (s[0] == '-' && s[1] == '-') ||
		    (s[0] == '/' && s[1] == '*'))
			abort();
	}
	if (depth != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct index x;

	if (index_parse(a, kb_strndup(a, (const char *)data, size), &x)) {
		if (x.name == NULL || (x.n == 0) != (x.expressions != NULL) ||
		    (x.skip_empty && x.where != NULL))
			abort();
		if (x.expressions != NULL)
			check_expression(x.expressions);
		if (x.where != NULL)
			check_expression(x.where);
	}
	kb_arena_free(a);
	return 0;
}
