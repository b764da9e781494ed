/* Archives from elsewhere: whatever the bytes, only safe files come out. */
#include <kombi/archive.h>

enum { MAX = 1 << 20 };

static enum kb_err
each(void *arg, const char *path, const void *data, size_t len, bool exec)
{
	size_t *total = arg;

	(void)data;
	(void)exec;
	*total += len;
	if (!kb_archive_path_ok(path) || *total > MAX)
		__builtin_trap();
	return KB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_slice bytes = { (const char *)data, size };
	const char *why = NULL;
	size_t total = 0;

	if (kb_archive_read(a, bytes, MAX, each, &total, &why) != KB_OK &&
	    why == NULL)
		__builtin_trap(); /* refused without a reason */
	kb_arena_free(a);
	return 0;
}
