/*
 * What a YAML tree says: look-ups, and plain scalars by the core schema of
 * YAML 1.2 (so that "no", "on" and 012 are what they look like).
 */
#include <kombi/yaml.h>

#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

const struct kb_yaml *
kb_yaml_get(const struct kb_yaml *map, const char *key)
{
	const struct kb_yaml *y;

	if (!map || map->kind != KB_YAML_MAPPING)
		return NULL;
	for (y = map->first; y; y = y->next)
		if (strcmp(y->key, key) == 0)
			return y;
	return NULL;
}

static bool
is_plain(const struct kb_yaml *y)
{
	return y && y->kind == KB_YAML_SCALAR && y->plain;
}

static bool
is_word(const char *s, const char *const words[])
{
	for (; *words; words++)
		if (strcmp(s, *words) == 0)
			return true;
	return false;
}

/* 0o17 and 0x1f. */
static bool
read_based(const char *s, int64_t *out)
{
	bool hex = s[0] == '0' && s[1] == 'x';
	const char *digits = hex ? "0123456789abcdefABCDEF" : "01234567";
	unsigned long long v;

	if (!hex && !(s[0] == '0' && s[1] == 'o'))
		return false;
	s += 2;
	if (*s == '\0' || s[strspn(s, digits)] != '\0')
		return false;
	while (*s == '0' && s[1])
		s++;
	if (strlen(s) > (hex ? 16 : 21))
		return false;
	v = strtoull(s, NULL, hex ? 16 : 8);
	if (v > INT64_MAX)
		return false;
	*out = (int64_t)v;
	return true;
}

bool
kb_yaml_int(const struct kb_yaml *y, int64_t *out)
{
	struct kb_slice s;

	if (!is_plain(y))
		return false;
	if (read_based(y->text, out))
		return true;
	s = kb_slice_of(y->text);
	if (s.len > 1 && s.ptr[0] == '+' && s.ptr[1] != '-') {
		s.ptr++;
		s.len--;
	}
	return kb_parse_i64(s, out);
}

bool
kb_yaml_bool(const struct kb_yaml *y, bool *out)
{
	static const char *const yes[] = { "true", "True", "TRUE", NULL };
	static const char *const no[] = { "false", "False", "FALSE", NULL };

	if (!is_plain(y))
		return false;
	*out = is_word(y->text, yes);
	return *out || is_word(y->text, no);
}

bool
kb_yaml_is_null(const struct kb_yaml *y)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL",
		NULL };

	return is_plain(y) && is_word(y->text, words);
}

static const char *
skip_digits(const char *s)
{
	return s + strspn(s, "0123456789");
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool
read_float(const char *text, double *out)
{
	const char *s = text + (*text == '-' || *text == '+');
	const char *whole = s;

	s = skip_digits(s);
	if (s == whole && (s[0] != '.' || s[1] < '0' || s[1] > '9'))
		return false;
	if (*s == '.')
		s = skip_digits(s + 1);
	if (*s == 'e' || *s == 'E') {
		s += 1 + (s[1] == '-' || s[1] == '+');
		if (*s < '0' || *s > '9')
			return false;
		s = skip_digits(s);
	}
	if (*s != '\0')
		return false;
	*out = strtod(text, NULL);
	return true;
}

static void
write_scalar(struct kb_jsonw *w, const char *name, const struct kb_yaml *y)
{
	int64_t n;
	double d;
	bool b;

	if (kb_yaml_is_null(y))
		kb_w_null(w, name);
	else if (kb_yaml_bool(y, &b))
		kb_w_bool(w, name, b);
	else if (kb_yaml_int(y, &n))
		kb_w_int(w, name, n);
	else if (y->plain && read_float(y->text, &d))
		kb_w_num(w, name, d);
	else
		kb_w_str(w, name, y->text);
}

static void
write_node(struct kb_jsonw *w, const char *name, const struct kb_yaml *y)
{
	const struct kb_yaml *child;
	bool mapping = y->kind == KB_YAML_MAPPING;

	if (y->kind == KB_YAML_SCALAR) {
		write_scalar(w, name, y);
		return;
	}
	if (mapping)
		kb_w_object(w, name);
	else
		kb_w_array(w, name);
	for (child = y->first; child; child = child->next)
		write_node(w, mapping ? child->key : NULL, child);
	if (mapping)
		kb_w_object_end(w);
	else
		kb_w_array_end(w);
}

char *
kb_yaml_to_json(struct kb_arena *a, const struct kb_yaml *y)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	char *out;

	kb_buf_init(&buf, SIZE_MAX / 2);
	kb_w_init(&w, &buf);
	write_node(&w, NULL, y);
	out = kb_strndup(a, kb_buf_str(&buf), buf.len);
	kb_buf_free(&buf);
	return out;
}
