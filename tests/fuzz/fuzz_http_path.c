/*
 * Targets: refused with nothing written, or a normal form that is its own
 * normal form and has no dot segments, doubled slashes or loose escapes.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/http1.h>

static void
check(int ok)
{
	if (!ok)
		abort();
}

static void
check_path(const char *p)
{
	size_t len = strlen(p);

	check(p[0] == '/' || strcmp(p, "*") == 0);
	check(!strstr(p, "//") && !strstr(p, "/./") && !strstr(p, "/../"));
	check(!strstr(p, "%2F") && !strstr(p, "%5C") && !strstr(p, "%25"));
	check(!strpbrk(p, "\\#? \"<>"));
	check(len < 2 || strcmp(p + len - 2, "/.") != 0);
	check(len < 3 || strcmp(p + len - 3, "/..") != 0);
	for (; *p; p++)
		check(*p > 0x20 && *p < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size ? size : 1);
	struct kb_slice query, authority, first;
	struct kb_buf once, twice;

	check(bytes != NULL);
	memcpy(bytes, data, size);
	kb_buf_init(&once, 1 << 20);
	kb_buf_init(&twice, 1 << 20);
	if (kb_http_path((struct kb_slice) { bytes, size }, &once, &query,
		&authority) == KB_OK) {
		check_path(kb_buf_str(&once));
		check(strlen(kb_buf_str(&once)) == once.len);
		check(!authority.ptr || kb_http_host_ok(authority));
		first = (struct kb_slice) { once.ptr, once.len };
		check(kb_http_path(first, &twice, &query, &authority) == KB_OK);
		check(twice.len == once.len);
		check(memcmp(twice.ptr, once.ptr, once.len) == 0);
		check(!query.ptr && !authority.ptr);
	} else {
		check(once.len == 0);
	}
	kb_buf_free(&once);
	kb_buf_free(&twice);
	free(bytes);
	return 0;
}
