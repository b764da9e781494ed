/*
 * JSON and forms to the trees that configurations are made of.
 */
#include "admin_body.h"

#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

enum { PAIRS_MAX = 2000, STEPS_MAX = 16 };

static struct kb_yaml *
plain(struct kb_arena *a, const char *text)
{
	struct kb_yaml *y = kb_yaml_text(a, text);

	y->plain = true;
	return y;
}

/* ---- JSON ---------------------------------------------------------------- */

static struct kb_yaml *
from_json(struct kb_arena *a, const struct kb_json *j)
{
	struct kb_yaml *y, **last;
	bool object = kb_json_kind(j) == KB_JSON_OBJECT;

	switch (kb_json_kind(j)) {
	case KB_JSON_STRING: return kb_yaml_text(a, kb_json_text(j));
	case KB_JSON_ARRAY:
	case KB_JSON_OBJECT: break;
	default: return plain(a, kb_json_print(a, j));
	}
	y = kb_yaml_new(a, object ? KB_YAML_MAPPING : KB_YAML_SEQUENCE);
	last = &y->first;
	for (const struct kb_json *at = kb_json_first(j); at != NULL;
	     at = kb_json_after(at)) {
		*last = from_json(a, at);
		(*last)->key = object ? kb_json_name(at) : NULL;
		last = &(*last)->next;
		y->n++;
	}
	return y;
}

enum kb_err
tree_of_json(struct kb_arena *a, struct kb_slice body, struct kb_yaml **out,
    const char **why)
{
	const struct kb_json *j;
	enum kb_err err = kb_json_parse(a, body.ptr, body.len, &j, why);

	if (err == KB_OK)
		*out = from_json(a, j);
	return err;
}

/* ---- forms --------------------------------------------------------------- */

/* '+' is a blank. */
static const char *
decode(struct kb_arena *a, struct kb_slice s)
{
	char *text = kb_slice_dup(a, s), *value;

	for (char *c = text; *c != '\0'; c++)
		if (*c == '+')
			*c = ' ';
	if (!kb_percent_decode(a, (struct kb_slice) { text, s.len }, &value) ||
	    !kb_utf8_valid(value, strlen(value)))
		return NULL;
	return value;
}

/* "a.b[c][]" taken apart; an item of a list is "". */
struct steps {
	const char *v[STEPS_MAX];
	size_t n;
};

static bool
is_index(const char *s)
{
	return s[strspn(s, "0123456789")] == '\0';
}

static bool
add_step(struct kb_arena *a, struct steps *s, const char *from, size_t len)
{
	if (s->n == STEPS_MAX)
		return false;
	s->v[s->n++] = kb_strndup(a, from, len);
	return true;
}

static bool
take_apart(struct kb_arena *a, const char *name, struct steps *s)
{
	size_t len = strcspn(name, ".[");

	if (len == 0 || strchr(name, ']') == name || !add_step(a, s, name, len))
		return false;
	for (const char *at = name + len; *at != '\0'; at += len) {
		bool bracket = *at++ == '[';

		len = strcspn(at, bracket ? "]" : ".[");
		if (bracket ? at[len] != ']' : len == 0)
			return false;
		if (!add_step(a, s, at, len))
			return false;
		if (bracket && is_index(s->v[s->n - 1]))
			s->v[s->n - 1] = "";
		if (bracket)
			len++;
		if (bracket && at[len] != '\0' && !strchr(".[", at[len]))
			return false;
	}
	return true;
}

/* Puts the value where the steps lead; false: something else is there. */
static bool
place(struct kb_arena *a, struct kb_yaml *at, const struct steps *s,
    struct kb_yaml *value)
{
	for (size_t i = 0; i < s->n; i++) {
		bool last = i + 1 == s->n, item = s->v[i][0] == '\0';
		bool list = !last && s->v[i + 1][0] == '\0';
		struct kb_yaml *next;

		if (at->kind != (item ? KB_YAML_SEQUENCE : KB_YAML_MAPPING))
			return false;
		next = item ? NULL : kb_yaml_member(at, s->v[i]);
		if (last && next != NULL && next->kind == KB_YAML_SCALAR) {
			struct kb_yaml *many = kb_yaml_new(a, KB_YAML_SEQUENCE);

			kb_yaml_set(at, s->v[i], many);
			kb_yaml_append(many, next);
			next = many;
		}
		if (last && next != NULL) {
			if (next->kind != KB_YAML_SEQUENCE)
				return false;
			kb_yaml_append(next, value);
			return true;
		}
		if (next == NULL) {
			next = last
			    ? value
			    : kb_yaml_new(
				  a, list ? KB_YAML_SEQUENCE : KB_YAML_MAPPING);
			if (item)
				kb_yaml_append(at, next);
			else
				kb_yaml_set(at, s->v[i], next);
		}
		at = next;
	}
	return true;
}

static const char *
take_pair(struct kb_arena *a, struct kb_slice pair, struct kb_yaml *root)
{
	struct kb_slice name = { NULL, 0 };
	struct steps steps = { .n = 0 };
	const char *text, *value;

	(void)kb_slice_next(&pair, '=', &name);
	text = decode(a, name);
	value = decode(a, pair);
	if (text == NULL || value == NULL)
		return "the form has a bad escape or is not UTF-8";
	if (!take_apart(a, text, &steps))
		return kb_sprintf(a, "the form has a bad name \"%.80s\"", text);
	if (!place(a, root, &steps, plain(a, value[0] ? value : "null")))
		return kb_sprintf(
		    a, "the form says two things about \"%.80s\"", text);
	return NULL;
}

enum kb_err
tree_of_form(struct kb_arena *a, struct kb_slice body, struct kb_yaml **out,
    const char **why)
{
	struct kb_yaml *root = kb_yaml_new(a, KB_YAML_MAPPING);
	struct kb_slice pair;
	size_t n = 0;

	while (kb_slice_next(&body, '&', &pair)) {
		if (pair.len == 0)
			continue;
		if (++n > PAIRS_MAX)
			*why = "the form has too many members";
		else
			*why = take_pair(a, pair, root);
		if (*why != NULL)
			return KB_INVALID;
	}
	*out = root;
	return KB_OK;
}

const char *
form_value(struct kb_arena *a, struct kb_slice form, const char *name)
{
	struct kb_slice pair, key;

	while (kb_slice_next(&form, '&', &pair)) {
		if (!kb_slice_next(&pair, '=', &key) || !kb_slice_eq(key, name))
			continue;
		return decode(a, pair);
	}
	return NULL;
}

/* ---- which --------------------------------------------------------------- */

enum body_type
body_type_of(struct kb_slice content_type, struct kb_slice body)
{
	static const struct {
		const char *name;
		enum body_type type;
	} types[] = {
		{ "application/json", BODY_JSON },
		{ "application/x-www-form-urlencoded", BODY_FORM },
		{ "application/yaml", BODY_YAML },
		{ "application/x-yaml", BODY_YAML },
		{ "text/yaml", BODY_YAML },
		{ "text/x-yaml", BODY_YAML },
		{ "text/plain", BODY_YAML },
	};
	struct kb_slice name;

	if (body.len == 0)
		return BODY_NONE;
	if (content_type.ptr == NULL) {
		while (body.len && strchr(" \t\r\n", body.ptr[0])) {
			body.ptr++;
			body.len--;
		}
		return body.len && body.ptr[0] == '{' ? BODY_JSON : BODY_OTHER;
	}
	if (!kb_slice_next(&content_type, ';', &name))
		return BODY_OTHER;
	name = kb_slice_trim(name);
	for (size_t i = 0; i < KB_COUNT(types); i++)
		if (kb_slice_eqi(name, types[i].name))
			return types[i].type;
	return BODY_OTHER;
}
