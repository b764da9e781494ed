/*
 * ${NAME} and ${NAME:-default} inside of YAML scalars. It works on the parsed
 * tree, so no value can add structure to the file; the type of a plain scalar
 * follows the text that results. All missing names are told, with lines.
 */
#include <string.h>

#include <kombi/str.h>

#include "inside.h"

enum { VALUE_MAX = 64 * 1024, NAMES_MAX = 256, DEPTH_MAX = 64 };

struct place {
	struct problems *p;
	struct substitution *s;
	const struct kb_yaml *y;
};

static bool
is_name_char(char c, bool first)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_')
		return true;
	return !first && c >= '0' && c <= '9';
}

static bool
is_name(struct kb_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_name_char(s.ptr[i], i == 0))
			return false;
	return s.len > 0;
}

static const char *
lookup(char *const *env, struct kb_slice name)
{
	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name.ptr, name.len) == 0 &&
		    (*env)[name.len] == '=')
			return *env + name.len + 1;
	return NULL;
}

static void
remember(struct place *at, struct kb_slice name)
{
	const char **v = NULL;
	struct strs *names = &at->s->names;

	for (size_t i = 0; i < names->n; i++)
		if (kb_slice_eq(name, names->v[i]))
			return;
	if (names->n == NAMES_MAX)
		return;
	v = kb_new_array(at->p->arena, names->n + 1, const char *);
	for (size_t i = 0; i < names->n; i++)
		v[i] = names->v[i];
	v[names->n] = kb_slice_dup(at->p->arena, name);
	names->v = v;
	names->n++;
}

/* What stands for an unset name, so that a file can be checked without its
 * environment. */
static const char *
place_holder(struct kb_slice name)
{
	static const struct {
		const char *end, *text;
	} table[] = {
		{ "PORT", "1" },
		{ "URL", "https://unset.invalid" },
		{ "URI", "https://unset.invalid" },
		{ "ISSUER", "https://unset.invalid" },
		{ "ORIGIN", "https://unset.invalid" },
	};

	for (size_t i = 0; i < KB_COUNT(table); i++) {
		size_t n = strlen(table[i].end);

		if (name.len >= n &&
		    memcmp(name.ptr + name.len - n, table[i].end, n) == 0)
			return table[i].text;
	}
	return "unset";
}

/* The text inside of ${…}. */
static void
put_value(struct place *at, struct kb_slice inside, struct kb_buf *out)
{
	const char *mark = memmem(inside.ptr, inside.len, ":-", 2);
	struct kb_slice name = inside;
	const char *value;

	if (mark != NULL)
		name.len = (size_t)(mark - inside.ptr);
	if (!is_name(name)) {
		problem(at->p, at->y->line,
		    "\"${%.*s}\" is not of the form ${NAME} or "
		    "${NAME:-default}",
		    (int)(inside.len > 60 ? 60 : inside.len), inside.ptr);
		return;
	}
	remember(at, name);
	value = lookup(at->s->env, name);
	if (mark != NULL && (value == NULL || value[0] == '\0')) {
		kb_buf_add(out, mark + 2,
		    inside.len - (size_t)(mark + 2 - inside.ptr));
		return;
	}
	if (value != NULL) {
		kb_buf_adds(out, value);
		return;
	}
	/* So that one missing name makes one problem. */
	kb_buf_adds(out, place_holder(name));
	if (!at->s->allow_unset)
		problem(at->p, at->y->line,
		    "environment variable %.*s is not set", (int)name.len,
		    name.ptr);
}

static void
replace(struct place *at, struct kb_yaml *y)
{
	const char *rest = y->text, *open;
	struct kb_buf out;

	if (strstr(y->text, "${") == NULL)
		return;
	kb_buf_init(&out, VALUE_MAX);
	while ((open = strstr(rest, "${")) != NULL) {
		const char *close = strchr(open, '}');

		kb_buf_add(&out, rest, (size_t)(open - rest));
		if (close == NULL) {
			problem(at->p, y->line, "\"${\" without a \"}\"");
			rest = open + strlen(open);
			break;
		}
		put_value(at,
		    (struct kb_slice) { open + 2, (size_t)(close - open) - 2 },
		    &out);
		rest = close + 1;
	}
	kb_buf_adds(&out, rest);
	if (kb_buf_failed(&out))
		problem(at->p, y->line, "the value is longer than 64 KiB");
	y->text = kb_strdup(at->p->arena, kb_buf_str(&out));
	kb_buf_free(&out);
}

static void
walk(struct problems *p, struct kb_yaml *y, struct substitution *s,
    unsigned depth)
{
	struct place at = { .p = p, .s = s, .y = y };

	if (depth > DEPTH_MAX)
		return;
	if (y->kind == KB_YAML_SCALAR) {
		replace(&at, y);
		return;
	}
	for (struct kb_yaml *child = y->first; child != NULL;
	     child = child->next)
		walk(p, child, s, depth + 1);
}

void
substitute(struct problems *p, struct kb_yaml *y, struct substitution *s)
{
	walk(p, y, s, 0);
}
