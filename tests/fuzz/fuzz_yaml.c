/*
 * YAML: any bytes give a tree within its bounds or a message with line and
 * column; what a tree says as JSON is JSON.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/yaml.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static size_t
count(const struct kb_yaml *y)
{
	size_t n = 1;

	for (y = y->first; y; y = y->next)
		n += count(y);
	return n;
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_yaml *y;
	const char *why;

	if (kb_yaml_parse(a, (const char *)data, size, &y, &why)) {
		if (strncmp(why, "line ", 5) != 0)
			abort();
	} else {
		const char *json = kb_yaml_to_json(a, y);

		if (count(y) > 10000 ||
		    kb_json_check(a, json, strlen(json)) != NULL)
			abort();
	}
	kb_arena_free(a);
	return 0;
}
