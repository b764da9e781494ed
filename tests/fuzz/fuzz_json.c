/*
 * JSON: what the strict scan accepts the tree reads, prints and reads again
 * as the same text; what it refuses is refused with a place; nothing else
 * happens. Rule tables bind whatever comes.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>

struct item {
	const char *name;
	int64_t count;
	const char *const *tags;
	const struct kb_json *any;
	struct kb_list items;
};

static const struct kb_rule inner[] = {
	KB_RULE_STR(struct item, name, .required = true, .min = 1, .max = 8),
	KB_RULE_INT(struct item, count, .min = -5, .max = 5),
	KB_RULES_END,
};

static const struct kb_rule rules[] = {
	KB_RULE_STR_AS(struct item, name, "a", .nullable = true),
	KB_RULE_INT_AS(struct item, count, "b"),
	KB_RULE_STRS_AS(struct item, tags, "c", .max = 4),
	KB_RULE_JSON_AS(struct item, any, "d"),
	KB_RULE_OBJECTS_AS(
	    struct item, items, "e", struct item, inner, .max = 9),
	KB_RULES_END,
};

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void
check_again(struct kb_arena *a, const struct kb_json *j)
{
	const char *text = kb_json_print(a, j), *why;
	const struct kb_json *again;

	if (kb_json_parse(a, text, strlen(text), &again, &why) ||
	    strcmp(kb_json_print(a, again), text) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_problems problems = { 0 };
	struct item item = { 0 };
	const struct kb_json *j;
	const char *why;

	if (kb_json_parse(a, (const char *)data, size, &j, &why)) {
		if (!strstr(why, " at byte "))
			abort();
	} else {
		check_again(a, j);
		if (kb_json_bind(a, j, rules, &item, &problems) !=
		    (problems.n == 0))
			abort();
	}
	kb_arena_free(a);
	return 0;
}
