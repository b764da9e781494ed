/*
 * Values from the environment inside of YAML scalars: ${NAME} and
 * ${NAME:-default}, decK's ${{ env "DECK_NAME" | toInt }}, and as a whole
 * value Kong's {vault://env/name[/field]} and {env://NAME}. It works on the
 * parsed tree, so no value can add structure to the file; the type of a plain
 * scalar follows the text that results. All missing names are told, with
 * lines.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "inside.h"

enum { VALUE_MAX = 64 * 1024, NAMES_MAX = 256, DEPTH_MAX = 64 };

struct place {
	struct problems *p;
	struct substitution *s;
	const struct kb_yaml *y;
	const struct kb_yaml *vaults; /* of the file, or NULL */
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

/* Value of a name; unset: NULL, and it is told once. */
static const char *
value_of(struct place *at, struct kb_slice name)
{
	const char *value;

	remember(at, name);
	value = lookup(at->s->env, name);
	/* So that one missing name makes one problem. */
	if (value == NULL && !at->s->allow_unset)
		problem(at->p, at->y->line,
		    "environment variable %.*s is not set", (int)name.len,
		    name.ptr);
	return value;
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
	if (mark != NULL) {
		remember(at, name);
		value = lookup(at->s->env, name);
		if (value == NULL || value[0] == '\0')
			kb_buf_add(out, mark + 2,
			    inside.len - (size_t)(mark + 2 - inside.ptr));
		else
			kb_buf_adds(out, value);
		return;
	}
	value = value_of(at, name);
	kb_buf_adds(out, value ? value : place_holder(name));
}

/* ---- decK ---------------------------------------------------------------- */

/* What a pipe makes of a value, and stands for one that is not set. */
static const struct {
	const char *name, *unset;
} pipes[] = {
	{ "toBool", "false" }, { "toInt", "42" }, { "toFloat", "42" },
	{ "indent", NULL }, /* decK's text has columns, a tree has none */
};

static bool
pipe_takes(size_t pipe, const char *value)
{
	const struct kb_yaml y = { .plain = true, .text = value };
	char *end = NULL;
	int64_t n;
	bool b;

	switch (pipe) {
	case 0: return kb_yaml_bool(&y, &b);
	case 1: return kb_yaml_int(&y, &n);
	case 2: (void)strtod(value, &end); return end != value && !*end;
	default: return true;
	}
}

static const char *
piped(struct place *at, struct kb_slice name, struct kb_slice pipe)
{
	const char *value = value_of(at, name);
	struct kb_slice word, rest = pipe;

	if (pipe.len == 0)
		return value ? value : kb_slice_dup(at->p->arena, name);
	(void)kb_slice_next(&rest, ' ', &word);
	for (size_t i = 0; i < KB_COUNT(pipes); i++) {
		if (!kb_slice_eq(word, pipes[i].name))
			continue;
		if (value == NULL)
			return pipes[i].unset
			    ? pipes[i].unset
			    : kb_slice_dup(at->p->arena, name);
		if (!pipe_takes(i, value))
			problem(at->p, at->y->line,
			    "environment variable %.*s does not fit %s",
			    (int)name.len, name.ptr, pipes[i].name);
		return value;
	}
	problem(at->p, at->y->line,
	    "\"%.*s\" is not one of: toBool, toInt, toFloat, indent",
	    (int)word.len, word.ptr);
	return "";
}

/* The text inside of ${{…}}: env "NAME" | pipe. Quotes may be back ticks,
 * see deck_mark. */
static void
put_deck(struct place *at, struct kb_slice inside, struct kb_buf *out)
{
	struct kb_slice text = kb_slice_trim(inside), name, pipe = { "", 0 };
	const char *bar = text.len ? memchr(text.ptr, '|', text.len) : NULL;

	if (bar != NULL) {
		pipe = kb_slice_trim((struct kb_slice) {
		    bar + 1, text.len - (size_t)(bar + 1 - text.ptr) });
		text.len = (size_t)(bar - text.ptr);
		text = kb_slice_trim(text);
	}
	name = text;
	if (text.len > 6 && memcmp(text.ptr, "env ", 4) == 0)
		name = kb_slice_trim(
		    (struct kb_slice) { text.ptr + 4, text.len - 4 });
	if (name.len > 2 && strchr("\"`'", name.ptr[0]) &&
	    name.ptr[0] == name.ptr[name.len - 1])
		name = (struct kb_slice) { name.ptr + 1, name.len - 2 };
	if (name.ptr == text.ptr || !is_name(name)) {
		problem(at->p, at->y->line,
		    "\"${{%.*s}}\" is not of the form ${{ env \"DECK_NAME\" "
		    "}}",
		    (int)(inside.len > 60 ? 60 : inside.len), inside.ptr);
		return;
	}
	if (name.len < 6 || memcmp(name.ptr, "DECK_", 5) != 0)
		problem(at->p, at->y->line,
		    "environment variable %.*s: decK's names begin with DECK_",
		    (int)name.len, name.ptr);
	kb_buf_adds(out, piped(at, name, pipe));
}

void
deck_mark(char *text)
{
	char *open = text, *close;

	while ((open = strstr(open, "${{")) != NULL) {
		close = strstr(open, "}}");
		if (close == NULL)
			return;
		if (memchr(open, '\n', (size_t)(close - open)) == NULL) {
			memcpy(open + 1, "<<", 2);
			memcpy(close, ">>", 2);
			for (char *c = open; c < close; c++)
				if (*c == '"')
					*c = '`';
		}
		open = close;
	}
}

/* ---- vaults -------------------------------------------------------------- */

static const char *
text_in(const struct kb_yaml *map, const char *key)
{
	const struct kb_yaml *y = map && map->kind == KB_YAML_MAPPING
	    ? kb_yaml_get(map, key)
	    : NULL;

	return y && y->kind == KB_YAML_SCALAR ? y->text : NULL;
}

/* What stands before the names of a vault; NULL: there is no such vault. */
static const char *
vault_prefix(const struct place *at, const char *vault)
{
	const struct kb_yaml *y = at->vaults &&
		at->vaults->kind == KB_YAML_SEQUENCE
	    ? at->vaults->first
	    : NULL;

	for (; y != NULL; y = y->next)
		if (kb_str_eq(text_in(y, "prefix"), vault) &&
		    kb_str_eq(text_in(y, "name"), "env")) {
			const char *prefix = text_in(
			    kb_yaml_get(y, "config"), "prefix");

			return prefix ? prefix : "";
		}
	return kb_str_eq(vault, "env") ? "" : NULL;
}

static const char *
field_of(
    struct place *at, const char *name, const char *value, const char *field)
{
	const struct kb_json *j = NULL;
	const char *text = NULL, *why;

	if (value != NULL &&
	    kb_json_parse(at->p->arena, value, strlen(value), &j, &why) ==
		KB_OK)
		text = kb_json_str(j, field);
	if (text == NULL && value != NULL)
		problem(at->p, at->y->line,
		    "environment variable %s has no JSON text \"%s\"", name,
		    field);
	return text;
}

/* vault/name[/field] */
static const char *
from_vault(struct place *at, const char *path)
{
	struct kb_arena *a = at->p->arena;
	struct kb_slice rest = kb_slice_of(path), vault, name,
			field = { "", 0 };
	const char *prefix, *value;
	char *full;

	if (!kb_slice_next(&rest, '/', &vault) ||
	    !kb_slice_next(&rest, '/', &name) || name.len == 0) {
		problem(at->p, at->y->line,
		    "a vault reference is {vault://PREFIX/NAME} or "
		    "{vault://PREFIX/NAME/FIELD}");
		return "";
	}
	(void)kb_slice_next(&rest, '/', &field);
	prefix = vault_prefix(at, kb_slice_dup(a, vault));
	if (prefix == NULL) {
		problem(at->p, at->y->line,
		    "there is no vault \"%.*s\": only env is read, and "
		    "vaults of the file with the name env",
		    (int)vault.len, vault.ptr);
		return "";
	}
	full = kb_sprintf(a, "%s%.*s", prefix, (int)name.len, name.ptr);
	for (char *c = full; *c; c++)
		*c = *c == '-'               ? '_'
		    : *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A')
					     : *c;
	value = value_of(at, kb_slice_of(full));
	if (field.len)
		value = field_of(at, full, value, kb_slice_dup(a, field));
	return value ? value : place_holder(kb_slice_of(full));
}

/* True for a value that is one reference as a whole. */
static bool
replace_whole(struct place *at, struct kb_yaml *y)
{
	size_t n = strlen(y->text);
	const char *inside;

	if (n < 3 || y->text[0] != '{' || y->text[n - 1] != '}')
		return false;
	inside = kb_strndup(at->p->arena, y->text + 1, n - 2);
	if (kb_str_starts(inside, "vault://"))
		y->text = from_vault(at, inside + strlen("vault://"));
	else if (kb_str_starts(inside, "env://")) {
		struct kb_slice name = kb_slice_of(inside + strlen("env://"));
		const char *value = value_of(at, name);

		y->text = value ? value : place_holder(name);
	} else
		return false;
	y->text = kb_strdup(at->p->arena, y->text);
	return true;
}

/* ---- the tree ------------------------------------------------------------ */

/* The next "${", or "$<<" of a marked "${{". */
static const char *
next_mark(const struct place *at, const char *text)
{
	while ((text = strchr(text, '$')) != NULL && text[1] != '{' &&
	    !(at->s->deck && text[1] == '<' && text[2] == '<'))
		text++;
	return text;
}

/* One variable; where the text goes on behind it. */
static const char *
put_one(struct place *at, const char *open, struct kb_buf *out)
{
	bool deck = open[1] == '<' || open[2] == '{';
	const char *end = open[1] == '<' ? ">>" : deck ? "}}" : "}";
	const char *begin = open + (deck ? 3 : 2);
	const char *close = strstr(begin, end);
	struct kb_slice inside;

	if (close == NULL) {
		problem(at->p, at->y->line, "\"${\" without a \"}\"");
		return open + strlen(open);
	}
	inside = (struct kb_slice) { begin, (size_t)(close - begin) };
	if (deck)
		put_deck(at, inside, out);
	else
		put_value(at, inside, out);
	return close + strlen(end);
}

static void
replace(struct place *at, struct kb_yaml *y)
{
	const char *rest = y->text, *open;
	struct kb_buf out;

	if (replace_whole(at, y) || next_mark(at, y->text) == NULL)
		return;
	kb_buf_init(&out, VALUE_MAX);
	while ((open = next_mark(at, rest)) != NULL) {
		kb_buf_add(&out, rest, (size_t)(open - rest));
		rest = put_one(at, open, &out);
	}
	kb_buf_adds(&out, rest);
	if (kb_buf_failed(&out))
		problem(at->p, y->line, "the value is longer than 64 KiB");
	y->text = kb_strdup(at->p->arena, kb_buf_str(&out));
	kb_buf_free(&out);
}

static void
walk(struct place *at, struct kb_yaml *y, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return;
	at->y = y;
	if (y->kind == KB_YAML_SCALAR) {
		replace(at, y);
		return;
	}
	for (struct kb_yaml *child = y->first; child != NULL;
	     child = child->next)
		walk(at, child, depth + 1);
}

void
substitute(struct problems *p, struct kb_yaml *y, struct substitution *s)
{
	struct place at = { .p = p, .s = s };

	if (y->kind == KB_YAML_MAPPING)
		at.vaults = kb_yaml_get(y, "vaults");
	walk(&at, y, 0);
}
