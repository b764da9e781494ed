/*
 * Any bytes as a JSON object, a form or a template. An object that is taken
 * apart and put together stays JSON and comes apart the same way again; so
 * does a form.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>

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

static void
object(struct kb_arena *a, struct kb_slice text)
{
	struct lines once = { .arena = a }, twice = { .arena = a };
	struct kb_slice joined;

	if (!json_split(&once, text))
		return;
	joined = json_join(&once);
	check(kb_json_check(a, joined.ptr, joined.len) == NULL);
	check(json_split(&twice, joined));
	check(once.n == twice.n);
	for (size_t i = 0; i < once.n; i++)
		check(same(once.v[i].name, twice.v[i].name) &&
		    same(once.v[i].value, twice.v[i].value));
}

static void
form(struct kb_arena *a, struct kb_slice text)
{
	struct lines once = { .arena = a }, twice = { .arena = a };

	form_split(&once, text);
	form_split(&twice, form_join(&once));
	check(once.n == twice.n);
	for (size_t i = 0; i < once.n; i++)
		check(same(once.v[i].value, twice.v[i].value));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems p = { .arena = kb_arena_new(0), .file = "fuzz" };
	struct kb_slice text = { (const char *)data + 1, size - 1 };
	struct template t;

	if (size > 0 && data[0] % 3 == 0)
		object(p.arena, text);
	else if (size > 0 && data[0] % 3 == 1 &&
	    memchr(text.ptr, '\0', text.len) == NULL)
		form(p.arena, text);
	else if (size > 0 &&
	    template_parse(
		&p, 1, "value", kb_strndup(p.arena, text.ptr, text.len), &t))
		check(!problems_any(&p));
	kb_arena_free(p.arena);
	return 0;
}
