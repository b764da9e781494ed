/* The filter language as any client sends it; parsed into an arena. */
#include "../../stack/records/filter_parse.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
count(const struct filter *f)
{
	size_t n = f->kind == FILTER_EXPR;

	for (const struct filter *k = f->kids; k != NULL; k = k->next)
		n += count(k);
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	const char *why = NULL;
	struct filter *f = filter_parse(
	    a, kb_strndup(a, (const char *)data, size), &why);

	/* A filter or a reason, never both, and within the limits. */
	if ((f == NULL) != (why != NULL) ||
	    (f != NULL && count(f) > FILTER_EXPRS))
		__builtin_trap();
	kb_arena_free(a);
	return 0;
}
