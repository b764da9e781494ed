/*
 * The filter language, parsed: shared by filter_parse.c and what makes SQL of
 * it.
 */
#ifndef STACK_RECORDS_FILTER_H
#define STACK_RECORDS_FILTER_H

#include <kombi/arena.h>
#include <kombi/db.h>

#include "records.h"

#define FILTER_MAX 3500 /* characters */
#define FILTER_EXPRS 200
#define FILTER_DEPTH 16 /* of parentheses */
#define FILTER_ARGS 8

enum filter_op {
	OP_EQ,
	OP_NE,
	OP_GT,
	OP_GE,
	OP_LT,
	OP_LE,
	OP_LIKE,
	OP_UNLIKE,
};

enum operand_kind { OPERAND_NAME, OPERAND_TEXT, OPERAND_NUMBER, OPERAND_CALL };

struct operand {
	enum operand_kind kind;
	const char *text; /* name, text, or the function's name */
	double number;
	struct operand *args[FILTER_ARGS];
	size_t n_args;
};

enum filter_kind { FILTER_EXPR, FILTER_AND, FILTER_OR };

struct filter {
	enum filter_kind kind;
	enum filter_op op;
	bool any; /* ?= and the like */
	struct operand *left, *right;
	struct filter *kids, *next; /* of AND and OR: first, next sibling */
	size_t n_kids;
};

/* NULL with *why for what is no filter. */
struct filter *
filter_parse(struct kb_arena *a, const char *text, const char **why);

/* ---- operands as SQL --------------------------------------------------------
 */

struct join {
	const char *key; /* the path that needs it */
	const char *alias, *sql;
	struct join *next;
};

/* Constants stay values until they are written: ~ changes them. */
struct value {
	const char *sql; /* NULL: the constant `val` */
	struct kb_val val;
	bool json;         /* NULL and '' differ */
	bool multi;        /* stands for several values */
	const char *guard; /* a condition that must hold beside, or NULL */
};

/* False with q->why. Joins that the operand needs go to *set. */
bool operand_resolve(struct query *q, struct joins *set,
    const struct operand *o, struct value *out);
/* A name of the language: @now, @request…, fields by dots. */
bool path_resolve(
    struct query *q, struct joins *set, const char *path, struct value *out);
/* @now and the like; false: no such macro. */
bool macro_value(struct kb_arena *a, const char *name, struct kb_val *out);
const char *value_sql(struct query *q, const struct value *v);
bool query_refuse(struct query *q, const char *fmt, ...) KB_PRINTF(2, 3);
/* The alias of the join of that key, new with *fresh. NULL: too many. */
struct join *
join_get(struct query *q, struct joins *set, const char *key, bool *fresh);
const char *joins_sql(struct query *q, const struct joins *set);
/* The list rule of a collection that a client's filter looks into. */
bool query_nested_rule(struct query *q, const struct collection *c,
    const char *alias, const char **condition);

#endif
