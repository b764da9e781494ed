/*
 * Index definitions of collections, taken apart and never run as they came:
 *
 *	CREATE [UNIQUE] INDEX [IF NOT EXISTS] name ON table
 *	    (column [COLLATE NOCASE] [ASC|DESC], …) [WHERE column != '']
 *
 * Columns and conditions that are more than this are kept as texts that are
 * proven to end where they seem to.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "records.h"

struct scan {
	struct kb_arena *arena;
	const char *at;
	const char *from; /* where the word begins */
	const char *word; /* NULL at the end, or what cannot be read */
	bool quoted;
};

static bool
is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static void
take_quoted(struct scan *s, char end)
{
	const char *close = strchr(s->at + 1, end);

	s->quoted = true;
	s->word = NULL;
	if (close == NULL)
		return;
	s->word = kb_strndup(s->arena, s->at + 1, (size_t)(close - s->at - 1));
	s->at = close + 1;
}

static void
next(struct scan *s)
{
	const char *start;

	while (isspace((unsigned char)*s->at))
		s->at++;
	s->from = start = s->at;
	s->quoted = false;
	s->word = NULL;
	if (*start == '\0')
		return;
	if (*start == '`' || *start == '"' || *start == '\'') {
		take_quoted(s, *start);
		return;
	}
	if (*start == '[') {
		take_quoted(s, ']');
		return;
	}
	if (is_word(*start))
		while (is_word(*s->at))
			s->at++;
	else
		s->at += (*start == '!' || *start == '<') ? 2 : 1;
	s->word = kb_strndup(
	    s->arena, start, strnlen(start, (size_t)(s->at - start)));
	if (strlen(s->word) < (size_t)(s->at - start))
		s->at = start + strlen(s->word);
}

static bool
is(struct scan *s, const char *word)
{
	return s->word != NULL && !s->quoted && strcasecmp(s->word, word) == 0;
}

static bool
eat(struct scan *s, const char *word)
{
	if (!is(s, word))
		return false;
	next(s);
	return true;
}

static bool
eat_name(struct scan *s, const char **out)
{
	if (s->word == NULL || s->word[0] == '\0' ||
	    (!s->quoted && !is_word(s->word[0])))
		return false;
	*out = s->word;
	next(s);
	return true;
}

static bool
read_column(struct scan *s, struct index *x)
{
	if (x->n == KB_COUNT(x->columns) || !eat_name(s, &x->columns[x->n]))
		return false;
	if (eat(s, "COLLATE")) {
		if (is(s, "NOCASE"))
			x->nocase[x->n] = true;
		else if (!is(s, "BINARY"))
			return false;
		next(s);
	}
	if (eat(s, "DESC"))
		x->descending[x->n] = true;
	else
		(void)eat(s, "ASC");
	x->n++;
	return true;
}

/*
 * The end of an expression: its ")", or the end of the text. NULL: quotes or
 * parentheses are open, or it holds a comment, another statement, a parameter.
 */
static const char *
expression_end(const char *s)
{
	int depth = 0;

	for (; *s != '\0'; s++) {
		if (strchr("'\"`[", *s) != NULL) {
			s = strchr(s + 1, *s == '[' ? ']' : *s);
			if (s == NULL)
				return NULL;
			continue;
		}
		depth += *s == '(' ? 1 : *s == ')' ? -1 : 0;
		if (depth < 0)
			return s;
		if (strchr(";?$@#:{}\\", *s) != NULL ||
		    (s[0] == '-' && s[1] == '-') ||
		    (s[0] == '/' && s[1] == '*'))
			return NULL;
	}
	return depth == 0 ? s : NULL;
}

/* Without blanks and semicolons at its end. */
static const char *
without_end(struct kb_arena *a, const char *text)
{
	size_t n = strlen(text);

	while (n > 0 && strchr("; \t\r\n", text[n - 1]) != NULL)
		n--;
	return kb_strndup(a, text, n);
}

static bool
is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == '\0';
}

/* Names of columns, else whatever else stands there. */
static bool
read_columns(struct scan *s, struct index *x)
{
	struct scan from = *s;
	const char *end;

	do {
		if (!read_column(s, x))
			goto expressions;
	} while (eat(s, ","));
	if (is(s, ")"))
		return true;
expressions:
	*s = from;
	x->n = 0;
	end = expression_end(s->from);
	if (end == NULL || *end != ')')
		return false;
	x->expressions = kb_strndup(s->arena, s->from, (size_t)(end - s->from));
	s->at = end;
	next(s);
	return !is_blank(x->expressions);
}

/* The condition that makes optional values unique. */
static bool
reads_not_empty(struct scan *s, struct index *x)
{
	const char *column;

	if (x->n != 1 || !eat_name(s, &column) ||
	    strcmp(column, x->columns[0]) != 0 ||
	    (!is(s, "!=") && !is(s, "<>")))
		return false;
	next(s);
	if (!s->quoted || s->word == NULL || s->word[0] != '\0')
		return false;
	next(s);
	x->skip_empty = s->word == NULL && *s->at == '\0';
	return x->skip_empty;
}

static bool
read_where(struct scan *s, struct index *x)
{
	struct scan from;
	const char *end, *text;

	while (eat(s, ";"))
		;
	if (!eat(s, "WHERE"))
		return true;
	from = *s;
	if (reads_not_empty(s, x))
		return true;
	*s = from;
	text = without_end(s->arena, s->from);
	end = expression_end(text);
	if (end == NULL || *end != '\0' || is_blank(text))
		return false;
	x->where = text;
	s->at = "";
	next(s);
	return true;
}

bool
index_parse(struct kb_arena *a, const char *sql, struct index *out)
{
	struct scan s = { .arena = a, .at = sql };
	const char *table;

	*out = (struct index) { .name = NULL };
	next(&s);
	if (!eat(&s, "CREATE"))
		return false;
	out->unique = eat(&s, "UNIQUE");
	if (!eat(&s, "INDEX"))
		return false;
	if (eat(&s, "IF") && (!eat(&s, "NOT") || !eat(&s, "EXISTS")))
		return false;
	if (!eat_name(&s, &out->name) || !eat(&s, "ON") ||
	    !eat_name(&s, &table) || !eat(&s, "("))
		return false;
	if (!read_columns(&s, out) || !eat(&s, ")") || !read_where(&s, out))
		return false;
	while (eat(&s, ";"))
		;
	return s.word == NULL && *s.at == '\0';
}

bool
has_unique_index(
    struct kb_arena *a, const struct collection *c, const char *column)
{
	struct index x;

	for (size_t i = 0; c->indexes[i] != NULL; i++)
		if (index_parse(a, c->indexes[i], &x) && x.unique && x.n == 1 &&
		    strcmp(x.columns[0], column) == 0)
			return true;
	return false;
}
