/*
 * PocketBase's filter language:
 *
 *	or   = and { "||" and }
 *	and  = term { "&&" term }
 *	term = "(" or ")" | operand op operand
 *
 * with names, numbers, quoted texts and function calls as operands, and
 * comments from // to the end of the line.
 */
#include "filter.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

struct parser {
	struct kb_arena *arena;
	const char *at;
	const char *why;
	unsigned depth, exprs;
};

static void *
refuse(struct parser *p, const char *why)
{
	if (p->why == NULL)
		p->why = why;
	return NULL;
}

static void
skip_blanks(struct parser *p)
{
	for (;;) {
		while (isspace((unsigned char)*p->at))
			p->at++;
		if (p->at[0] != '/' || p->at[1] != '/')
			return;
		p->at += strcspn(p->at, "\n");
	}
}

static bool
eat(struct parser *p, const char *token)
{
	skip_blanks(p);
	if (!kb_str_starts(p->at, token))
		return false;
	p->at += strlen(token);
	return true;
}

/* ---- operands
 * ----------------------------------------------------------------------- */

static bool
starts_name(char c)
{
	return isalpha((unsigned char)c) || c == '_' || c == '@' || c == '#';
}

static bool
in_name(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.' || c == ':' ||
	    c == '@' || c == '#';
}

/* A backslash escapes the quote alone. */
static struct operand *
parse_text(struct parser *p, struct operand *o)
{
	char quote = *p->at++;
	char *out = kb_arena_alloc(p->arena, strlen(p->at) + 1);
	size_t n = 0;

	while (*p->at != quote) {
		if (*p->at == '\0')
			return refuse(p, "a text has no end");
		if (p->at[0] == '\\' && p->at[1] == quote)
			p->at++;
		out[n++] = *p->at++;
	}
	p->at++;
	o->kind = OPERAND_TEXT;
	o->text = out;
	return o;
}

static struct operand *
parse_number(struct parser *p, struct operand *o)
{
	size_t len = *p->at == '-';
	const char *text;

	len += strspn(p->at + len, "0123456789");
	if (p->at[len] == '.')
		len += 1 + strspn(p->at + len + 1, "0123456789");
	text = kb_strndup(p->arena, p->at, len);
	if (len == 0 || len > 40 || !isdigit((unsigned char)text[len - 1]) ||
	    in_name(p->at[len]))
		return refuse(p, "a number cannot be read");
	p->at += len;
	o->kind = OPERAND_NUMBER;
	o->number = strtod(text, NULL);
	o->text = text;
	return o;
}

static struct operand *parse_operand(struct parser *p);

static struct operand *
parse_call(struct parser *p, struct operand *o)
{
	o->kind = OPERAND_CALL;
	if (++p->depth > FILTER_DEPTH)
		return refuse(p, "nested too deeply");
	while (!eat(p, ")")) {
		if (o->n_args == FILTER_ARGS)
			return refuse(p, "too many arguments");
		if (o->n_args > 0 && !eat(p, ","))
			return refuse(p, "a comma is missing");
		o->args[o->n_args] = parse_operand(p);
		if (o->args[o->n_args++] == NULL)
			return NULL;
	}
	p->depth--;
	return o;
}

static struct operand *
parse_name(struct parser *p, struct operand *o)
{
	size_t len = 1;

	while (in_name(p->at[len]))
		len++;
	o->kind = OPERAND_NAME;
	o->text = kb_strndup(p->arena, p->at, len);
	p->at += len;
	return *p->at == '(' && p->at++ ? parse_call(p, o) : o;
}

static struct operand *
parse_operand(struct parser *p)
{
	struct operand *o = kb_new(p->arena, struct operand);

	skip_blanks(p);
	if (*p->at == '\'' || *p->at == '"')
		return parse_text(p, o);
	if (*p->at == '-' || isdigit((unsigned char)*p->at))
		return parse_number(p, o);
	if (starts_name(*p->at))
		return parse_name(p, o);
	return refuse(p, "an operand is missing");
}

/* ---- expressions
 * ------------------------------------------------------------------------ */

static const struct {
	const char *sign; /* longer ones first */
	enum filter_op op;
	bool any;
} signs[] = {
	{ "?!=", OP_NE, true },
	{ "?>=", OP_GE, true },
	{ "?<=", OP_LE, true },
	{ "?!~", OP_UNLIKE, true },
	{ "?=", OP_EQ, true },
	{ "?>", OP_GT, true },
	{ "?<", OP_LT, true },
	{ "?~", OP_LIKE, true },
	{ "!=", OP_NE, false },
	{ ">=", OP_GE, false },
	{ "<=", OP_LE, false },
	{ "!~", OP_UNLIKE, false },
	{ "=", OP_EQ, false },
	{ ">", OP_GT, false },
	{ "<", OP_LT, false },
	{ "~", OP_LIKE, false },
};

static bool
parse_sign(struct parser *p, struct filter *f)
{
	for (size_t i = 0; i < KB_COUNT(signs); i++)
		if (eat(p, signs[i].sign)) {
			f->op = signs[i].op;
			f->any = signs[i].any;
			return true;
		}
	return refuse(p, "an operator is missing") != NULL;
}

static struct filter *parse_or(struct parser *p);

static struct filter *
parse_term(struct parser *p)
{
	struct filter *f;

	if (eat(p, "(")) {
		if (++p->depth > FILTER_DEPTH)
			return refuse(p, "nested too deeply");
		f = parse_or(p);
		if (f != NULL && !eat(p, ")"))
			return refuse(p, "a parenthesis is not closed");
		p->depth--;
		return f;
	}
	f = kb_new(p->arena, struct filter);
	if (++p->exprs > FILTER_EXPRS)
		return refuse(p, "too many expressions");
	f->left = parse_operand(p);
	if (f->left == NULL || !parse_sign(p, f))
		return NULL;
	f->right = parse_operand(p);
	return f->right ? f : NULL;
}

/* Terms joined by a sign; a single one stays itself. */
static struct filter *
parse_joined(struct parser *p, enum filter_kind kind, const char *sign,
    struct filter *(*inner)(struct parser *))
{
	struct filter *group = kb_new(p->arena, struct filter);
	struct filter **end = &group->kids;

	group->kind = kind;
	do {
		struct filter *kid = inner(p);

		if (kid == NULL)
			return NULL;
		*end = kid;
		end = &kid->next;
		group->n_kids++;
	} while (eat(p, sign));
	return group->n_kids == 1 ? group->kids : group;
}

static struct filter *
parse_and(struct parser *p)
{
	return parse_joined(p, FILTER_AND, "&&", parse_term);
}

static struct filter *
parse_or(struct parser *p)
{
	return parse_joined(p, FILTER_OR, "||", parse_and);
}

struct filter *
filter_parse(struct kb_arena *a, const char *text, const char **why)
{
	struct parser p = { .arena = a, .at = text };
	struct filter *f;

	if (strlen(text) > FILTER_MAX) {
		*why = "the filter is too long";
		return NULL;
	}
	f = parse_or(&p);
	skip_blanks(&p);
	if (f != NULL && *p.at != '\0')
		f = refuse(&p, "something stands after the end");
	*why = p.why;
	return f;
}
