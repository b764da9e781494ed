/*
 * Index definitions of collections, taken apart and never run as they came:
 *
 *	CREATE [UNIQUE] INDEX [IF NOT EXISTS] name ON table
 *	    (column [COLLATE NOCASE] [ASC|DESC], …) [WHERE column != '']
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "records.h"

struct scan {
	struct kb_arena *arena;
	const char *at;
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
	start = s->at;
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

/* Only the condition that makes optional values unique. */
static bool
read_where(struct scan *s, struct index *x)
{
	const char *column;

	if (!eat(s, "WHERE"))
		return true;
	if (x->n != 1 || !eat_name(s, &column) ||
	    strcmp(column, x->columns[0]) != 0 ||
	    (!is(s, "!=") && !is(s, "<>")))
		return false;
	next(s);
	if (!s->quoted || s->word == NULL || s->word[0] != '\0')
		return false;
	next(s);
	x->skip_empty = true;
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
	do {
		if (!read_column(&s, out))
			return false;
	} while (eat(&s, ","));
	if (!eat(&s, ")") || !read_where(&s, out))
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
