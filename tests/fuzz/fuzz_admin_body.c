/*
 * Any bytes as a body of the Admin API: a form or JSON makes a tree that can
 * be written as JSON, and what was made of JSON comes out as the same JSON.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "admin_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool holds)
{
	if (!holds)
		abort();
}

static void
try_form(struct kb_arena *a, struct kb_slice body)
{
	struct kb_yaml *y = NULL;
	const char *why = NULL;

	if (tree_of_form(a, body, &y, &why) == KB_OK)
		(void)kb_yaml_to_json(a, y);
	else
		check(why != NULL && why[0] != '\0');
	(void)form_value(a, body, "config");
}

static void
try_json(struct kb_arena *a, struct kb_slice body)
{
	struct kb_yaml *y = NULL, *again = NULL;
	const char *why = NULL;
	char *text;

	if (tree_of_json(a, body, &y, &why) != KB_OK)
		return;
	text = kb_yaml_to_json(a, y);
	check(tree_of_json(a, kb_slice_of(text), &again, &why) == KB_OK);
	check(kb_str_eq(kb_yaml_to_json(a, again), text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kb_slice body = { (const char *)data, size };
	struct kb_arena *a = kb_arena_new(0);

	try_form(a, body);
	try_json(a, body);
	(void)body_type_of((struct kb_slice) { (const char *)data, size / 2 },
	    (struct kb_slice) {
		(const char *)data + size / 2, size - size / 2 });
	kb_arena_free(a);
	return 0;
}
