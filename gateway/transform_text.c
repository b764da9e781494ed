/*
 * Query strings, forms and JSON objects taken apart into names and values
 * and put together again. What no rule touches keeps its text: numbers of
 * any size, escapes, order.
 */
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "gateway.h"

static struct kb_slice
taken(struct kb_arena *a, struct kb_buf *b)
{
	struct kb_slice s = { kb_strndup(a, kb_buf_str(b), b->len), b->len };

	kb_buf_free(b);
	return s;
}

/* ---- a=b&c ----------------------------------------------------------------
 */

/* Bad escapes stay as they are. */
static struct kb_slice
form_name(struct kb_arena *a, struct kb_slice raw)
{
	char *spaced = kb_slice_dup(a, raw), *text = NULL;

	for (char *c = spaced; *c; c++)
		if (*c == '+')
			*c = ' ';
	return kb_percent_decode(a, kb_slice_of(spaced), &text)
	    ? kb_slice_of(text)
	    : raw;
}

void
form_split(struct lines *out, struct kb_slice text)
{
	struct kb_slice part;

	while (kb_slice_next(&text, '&', &part)) {
		const char *equals = part.len ? memchr(part.ptr, '=', part.len)
					      : NULL;
		struct kb_slice name = part, value = { "", 0 };

		if (part.len == 0)
			continue;
		if (equals != NULL) {
			name.len = (size_t)(equals - part.ptr);
			value.ptr = equals;
			value.len = part.len - name.len;
		}
		lines_add(out, form_name(out->arena, name), value);
	}
}

struct kb_slice
form_join(const struct lines *l)
{
	struct kb_buf b;

	kb_buf_init(&b, 16 << 20);
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			kb_buf_addc(&b, '&');
		kb_percent_encode(&b, kb_slice_dup(l->arena, l->v[i].name), "");
		kb_buf_add(&b, l->v[i].value.ptr, l->v[i].value.len);
	}
	return taken(l->arena, &b);
}

/* ---- JSON ------------------------------------------------------------------
 */

static const char *
after_blanks(const char *c)
{
	return c + strspn(c, " \t\r\n");
}

/* After the string that begins at `c`. */
static const char *
after_string(const char *c)
{
	for (c++; *c != '"'; c++)
		if (*c == '\\')
			c++;
	return c + 1;
}

/* After the value that begins at `c`; the text is valid JSON. */
static const char *
after_value(const char *c)
{
	int depth = 0;

	do {
		if (*c == '"') {
			c = after_string(c);
			continue;
		}
		depth += *c == '{' || *c == '[';
		depth -= *c == '}' || *c == ']';
		c++;
	} while (depth > 0 || strchr(",}] \t\r\n", *c) == NULL);
	return c;
}

static struct kb_slice
json_name(struct kb_arena *a, const char *begin, const char *end)
{
	struct kb_slice raw = { begin + 1, (size_t)(end - begin) - 2 };
	const struct kb_json *j;
	const char *why;

	if (raw.len == 0 || memchr(raw.ptr, '\\', raw.len) == NULL ||
	    kb_json_parse(a, begin, (size_t)(end - begin), &j, &why))
		return raw;
	return kb_slice_of(kb_json_text(j));
}

bool
json_split(struct lines *out, struct kb_slice text)
{
	const char *c = kb_slice_dup(out->arena, text), *name, *value;

	if (kb_json_check(out->arena, text.ptr, text.len) != NULL)
		return false;
	c = after_blanks(c);
	if (*c != '{')
		return false;
	c = after_blanks(c + 1);
	while (*c == '"') {
		name = c;
		c = after_string(c);
		value = after_blanks(after_blanks(c) + 1);
		lines_add(out, json_name(out->arena, name, c),
		    (struct kb_slice) {
			value, (size_t)(after_value(value) - value) });
		c = after_blanks(after_value(value));
		if (*c == ',')
			c = after_blanks(c + 1);
	}
	return true;
}

struct kb_slice
json_join(const struct lines *l)
{
	struct kb_buf b;
	struct kb_jsonw w;

	kb_buf_init(&b, 16 << 20);
	kb_buf_addc(&b, '{');
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			kb_buf_addc(&b, ',');
		kb_w_init(&w, &b);
		kb_w_slice(&w, NULL, l->v[i].name);
		kb_buf_addc(&b, ':');
		kb_buf_add(&b, l->v[i].value.ptr, l->v[i].value.len);
	}
	kb_buf_addc(&b, '}');
	return taken(l->arena, &b);
}
