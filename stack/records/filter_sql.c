/*
 * Expressions of the filter language as SQL, with PocketBase's meaning: over
 * several values a plain operator must hold for each of them, its ? form for
 * one; = and != take NULL and '' for the same, but not in JSON.
 */
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "filter.h"

bool
query_refuse(struct query *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (q->why == NULL)
		q->why = kb_vsprintf(q->arena, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- operands
 * -------------------------------------------------------------------------- */

static bool
resolve_name(
    struct query *q, struct joins *set, const char *name, struct value *out)
{
	if (strcasecmp(name, "null") == 0)
		out->val = KB_NULL;
	else if (strcasecmp(name, "true") == 0)
		out->sql = "1";
	else if (strcasecmp(name, "false") == 0)
		out->sql = "0";
	else if (name[0] != '@')
		return path_resolve(q, set, name, out);
	else if (!macro_value(q->arena, name, &out->val))
		return path_resolve(q, set, name, out);
	return true;
}

/* Kilometres on a sphere; min() because of what is rounded above 1. */
static bool
resolve_distance(struct query *q, struct joins *set, const struct operand *o,
    struct value *out)
{
	const char *at[4];

	if (o->n_args != KB_COUNT(at))
		return query_refuse(q, "geoDistance takes 4 arguments");
	for (size_t i = 0; i < KB_COUNT(at); i++) {
		struct value arg = { .sql = NULL };

		if (o->args[i]->kind == OPERAND_CALL ||
		    o->args[i]->kind == OPERAND_TEXT)
			return query_refuse(
			    q, "geoDistance takes numbers and fields");
		if (!operand_resolve(q, set, o->args[i], &arg))
			return false;
		out->multi = out->multi || arg.multi;
		if (arg.guard != NULL)
			out->guard = arg.guard;
		at[i] = value_sql(q, &arg);
	}
	out->sql = kb_sprintf(q->arena,
	    "(6371 * acos(min(1, cos(radians(%s)) * cos(radians(%s)) *"
	    " cos(radians(%s) - radians(%s)) + sin(radians(%s)) *"
	    " sin(radians(%s)))))",
	    at[1], at[3], at[2], at[0], at[1], at[3]);
	return true;
}

/* strftime(format, time, modifiers…) and geoDistance(…). */
static bool
resolve_call(struct query *q, struct joins *set, const struct operand *o,
    struct value *out)
{
	const char *sql = "strftime(";

	if (strcmp(o->text, "geoDistance") == 0)
		return resolve_distance(q, set, o, out);
	if (strcmp(o->text, "strftime") != 0 || o->n_args == 0 ||
	    o->args[0]->kind != OPERAND_TEXT)
		return query_refuse(q, "unknown function %s", o->text);
	for (size_t i = 0; i < o->n_args; i++) {
		struct value arg = { .sql = NULL };

		if (o->args[i]->kind == OPERAND_CALL &&
		    o->args[i]->n_args > 0 &&
		    o->args[i]->args[0]->kind == OPERAND_CALL)
			return query_refuse(q, "functions nest too deeply");
		if (!operand_resolve(q, set, o->args[i], &arg))
			return false;
		out->multi = out->multi || arg.multi;
		if (arg.guard != NULL)
			out->guard = arg.guard;
		sql = kb_sprintf(
		    q->arena, "%s%s%s", sql, i ? ", " : "", value_sql(q, &arg));
	}
	out->sql = kb_sprintf(q->arena, "%s)", sql);
	return true;
}

bool
operand_resolve(struct query *q, struct joins *set, const struct operand *o,
    struct value *out)
{
	*out = (struct value) { .sql = NULL };
	switch (o->kind) {
	case OPERAND_TEXT: out->val = KB_TEXT(o->text); return true;
	case OPERAND_NUMBER:
		/* Whole numbers as such: a text column compares with '5'. */
		out->val = o->number == floor(o->number) &&
			fabs(o->number) < 9e15
		    ? KB_INT(o->number)
		    : KB_REAL(o->number);
		return true;
	case OPERAND_CALL: return resolve_call(q, set, o, out);
	default: return resolve_name(q, set, o->text, out);
	}
}

const char *
value_sql(struct query *q, const struct value *v)
{
	if (v->sql != NULL)
		return v->sql;
	return v->val.kind == KB_V_NULL ? "NULL" : query_param(q, v->val);
}

/* ---- operators
 * ---------------------------------------------------------------------------
 */

static bool
is_empty(const struct value *v)
{
	return v->sql == NULL &&
	    (v->val.kind == KB_V_NULL ||
		(v->val.kind == KB_V_TEXT && v->val.len == 0));
}

static bool
is_known(const struct value *v)
{
	return (v->sql == NULL && !is_empty(v)) ||
	    (v->sql != NULL &&
		(strcmp(v->sql, "0") == 0 || strcmp(v->sql, "1") == 0));
}

static const char *
empty_sql(struct query *q, const struct value *v, bool equal)
{
	const char *sql = value_sql(q, v);

	if (equal)
		return kb_sprintf(
		    q->arena, "(%s = '' OR %s IS NULL)", sql, sql);
	return kb_sprintf(
	    q->arena, "(%s IS NOT '' AND %s IS NOT NULL)", sql, sql);
}

static const char *
compare_sql(struct query *q, const struct value *l, const struct value *r,
    const char *op)
{
	const char *left = value_sql(q, l);
	const char *right = value_sql(q, r);

	return kb_sprintf(q->arena, "%s %s %s", left, op, right);
}

static const char *
equal_sql(
    struct query *q, const struct value *l, const struct value *r, bool equal)
{
	const char *left, *right;

	if (l->json || r->json)
		return compare_sql(q, l, r, equal ? "IS" : "IS NOT");
	if (is_empty(l) && is_empty(r))
		return equal ? "1" : "0";
	if (is_known(l) || is_known(r))
		return compare_sql(q, l, r, equal ? "=" : "IS NOT");
	if (is_empty(l))
		return empty_sql(q, r, equal);
	if (is_empty(r))
		return empty_sql(q, l, equal);
	left = value_sql(q, l);
	right = value_sql(q, r);
	return kb_sprintf(q->arena, "coalesce(%s, '') %s coalesce(%s, '')",
	    left, equal ? "=" : "IS NOT", right);
}

/* A constant with % of its own is a pattern, else it is looked for. */
static struct kb_val
like_pattern(struct kb_arena *a, struct kb_val v)
{
	const char *text = v.kind == KB_V_TEXT ? v.ptr : "";
	char *out, *p;

	if (v.kind == KB_V_NULL)
		return v; /* is like nothing */
	if (v.kind == KB_V_INT)
		text = kb_sprintf(a, "%lld", (long long)v.i);
	else if (v.kind == KB_V_NUM)
		text = kb_sprintf(a, "%.15g", v.d);
	for (const char *c = text; *c != '\0'; c++)
		if (*c == '%' && (c == text || c[-1] != '\\'))
			return KB_TEXT(text);
	out = p = kb_arena_alloc(a, 2 * strlen(text) + 3);
	*p++ = '%';
	for (; *text != '\0'; text++) {
		if (*text == '%' || *text == '_' || *text == '\\')
			*p++ = '\\';
		*p++ = *text;
	}
	*p++ = '%';
	*p = '\0';
	return KB_TEXT(out);
}

static const char *
like_sql(struct query *q, const struct value *l, const struct value *r,
    const char *op)
{
	const char *left = value_sql(q, l);

	if (r->sql == NULL)
		return kb_sprintf(q->arena, "%s %s %s ESCAPE '\\'", left, op,
		    query_param(q, like_pattern(q->arena, r->val)));
	return kb_sprintf(q->arena, "%s %s ('%%' || %s || '%%') ESCAPE '\\'",
	    left, op, r->sql);
}

static const char *
condition_sql(struct query *q, enum filter_op op, const struct value *l,
    const struct value *r)
{
	switch (op) {
	case OP_EQ: return equal_sql(q, l, r, true);
	case OP_NE: return equal_sql(q, l, r, false);
	case OP_GT: return compare_sql(q, l, r, ">");
	case OP_GE: return compare_sql(q, l, r, ">=");
	case OP_LT: return compare_sql(q, l, r, "<");
	case OP_LE: return compare_sql(q, l, r, "<=");
	case OP_LIKE: return like_sql(q, l, r, "LIKE");
	default: return like_sql(q, l, r, "NOT LIKE");
	}
}

static const char *
guarded(struct query *q, const char *sql, const struct value *l,
    const struct value *r)
{
	if (l->guard == NULL && r->guard == NULL)
		return kb_sprintf(q->arena, "(%s)", sql);
	return kb_sprintf(q->arena, "((%s) AND %s AND %s)", sql,
	    l->guard ? l->guard : "1", r->guard ? r->guard : "1");
}

/* ---- expressions
 * ----------------------------------------------------------------------------
 */

const char *
joins_sql(struct query *q, const struct joins *set)
{
	const char *sql = "";

	for (const struct join *j = set->first; j != NULL; j = j->next)
		sql = kb_sprintf(q->arena, "%s%s", sql, j->sql);
	return sql;
}

/*
 * Every one of the values: none may be that breaks it. The outer joins give
 * at least one row: nothing at all is another value than any (!=, as
 * upstream), and no match of anything else by itself.
 */
static const char *
every_sql(struct query *q, const struct filter *f, const struct joins *set,
    const struct value *l, const struct value *r)
{
	const char *sql = guarded(q, condition_sql(q, f->op, l, r), l, r);
	const char *none_l = "", *none_r = "";

	if (f->op != OP_EQ && f->op != OP_NE && l->multi)
		none_l = kb_sprintf(q->arena, " OR %s IS NULL", l->sql);
	if (f->op != OP_EQ && f->op != OP_NE && r->multi)
		none_r = kb_sprintf(q->arena, " OR %s IS NULL", r->sql);
	return kb_sprintf(q->arena,
	    "NOT EXISTS (SELECT 1 FROM (SELECT 1)%s WHERE %s IS NOT TRUE%s%s)",
	    joins_sql(q, set), sql, none_l, none_r);
}

static bool
resolve_both(struct query *q, struct joins *set, const struct filter *f,
    struct value *l, struct value *r)
{
	return operand_resolve(q, set, f->left, l) &&
	    operand_resolve(q, set, f->right, r);
}

static const char *
expr_sql(struct query *q, const struct filter *f)
{
	struct joins own = { .first = NULL };
	size_t n_params = q->n_params;
	unsigned n_joins = q->n_joins;
	struct value l, r;

	/* Tried apart: only what has several values stays apart. */
	if (!f->any) {
		if (!resolve_both(q, &own, f, &l, &r))
			return NULL;
		if (l.multi || r.multi)
			return every_sql(q, f, &own, &l, &r);
		q->n_params = n_params;
		q->n_joins = n_joins;
	}
	if (!resolve_both(q, &q->joins, f, &l, &r))
		return NULL;
	return guarded(q, condition_sql(q, f->op, &l, &r), &l, &r);
}

static const char *filter_sql(struct query *q, const struct filter *f);

/* Halves of halves: SQLite's expressions may not be deep. */
static const char *
joined_sql(
    struct query *q, const struct filter **kids, size_t n, const char *by)
{
	const char *left, *right;

	if (n == 1)
		return filter_sql(q, kids[0]);
	left = joined_sql(q, kids, n / 2, by);
	if (left == NULL)
		return NULL;
	right = joined_sql(q, kids + n / 2, n - n / 2, by);
	return right ? kb_sprintf(q->arena, "(%s %s %s)", left, by, right)
		     : NULL;
}

static const char *
filter_sql(struct query *q, const struct filter *f)
{
	const struct filter **kids;
	size_t n = 0;

	if (f->kind == FILTER_EXPR)
		return expr_sql(q, f);
	kids = kb_new_array(q->arena, f->n_kids, const struct filter *);
	for (const struct filter *k = f->kids; k != NULL; k = k->next)
		kids[n++] = k;
	return joined_sql(q, kids, n, f->kind == FILTER_AND ? "AND" : "OR");
}

/* ---- rules and filters
 * ------------------------------------------------------------------------ */

static bool
add_text(struct query *q, const char *text)
{
	const char *why = "", *sql;
	struct filter *f;

	/* Blank counts as none. */
	if (text[strspn(text, " \t\r\n")] == '\0')
		return true;
	f = filter_parse(q->arena, text, &why);
	if (f == NULL)
		return query_refuse(q, "%s", why);
	sql = filter_sql(q, f);
	if (sql == NULL)
		return false;
	q->where = q->where[0]
	    ? kb_sprintf(q->arena, "%s AND %s", q->where, sql)
	    : sql;
	return true;
}

bool
query_rule(struct query *q, const char *rule)
{
	bool ok;

	if (q->api->superuser)
		return true;
	if (rule == NULL)
		return query_refuse(q, "only superusers");
	q->trusted = true;
	ok = add_text(q, rule);
	q->trusted = false;
	return ok;
}

bool
query_filter(struct query *q, const char *filter)
{
	return filter == NULL || add_text(q, filter);
}

static const char *
with_joins(struct query *q)
{
	if (q->joins.first == NULL)
		return q->where;
	return kb_sprintf(q->arena,
	    "EXISTS (SELECT 1 FROM (SELECT 1)%s WHERE %s)",
	    joins_sql(q, &q->joins), q->where);
}

const char *
query_condition(struct query *q)
{
	if (q->where[0] == '\0')
		return "";
	return kb_sprintf(q->arena, " AND %s", with_joins(q));
}

/*
 * A client's filter sees through a relation only what the list rule over
 * there shows; otherwise its answers would tell the rest bit by bit.
 */
bool
query_nested_rule(struct query *q, const struct collection *c,
    const char *alias, const char **condition)
{
	struct query sub = *q;
	const char *rule = c->rules[RULE_LIST];
	bool ok;

	*condition = "";
	if (q->trusted || q->api->superuser)
		return true;
	if (rule == NULL) {
		*condition = " AND 0";
		return true;
	}
	sub.c = c;
	sub.base = alias;
	sub.where = "";
	sub.joins.first = NULL;
	ok = query_rule(&sub, rule);
	q->params = sub.params;
	q->n_params = sub.n_params;
	q->room = sub.room;
	q->n_joins = sub.n_joins;
	if (!ok)
		return query_refuse(q, "%s cannot be seen", c->name);
	*condition = query_condition(&sub);
	return true;
}

/* ---- parameters and sorting
 * --------------------------------------------------------------------- */

void
query_init(struct query *q, const struct api *api, const struct collection *c)
{
	*q = (struct query) {
		.arena = api->req->cx.arena,
		.api = api,
		.c = c,
		.base = "t",
		.where = "",
	};
}

const char *
query_param(struct query *q, struct kb_val v)
{
	struct kb_val *grown;

	if (q->n_params + 1 >= q->room) {
		q->room = q->room ? 2 * q->room : 16;
		grown = kb_new_array(q->arena, q->room, struct kb_val);
		for (size_t i = 0; i < q->n_params; i++)
			grown[i] = q->params[i];
		q->params = grown;
	}
	q->params[q->n_params++] = v;
	return kb_sprintf(q->arena, "$%zu", q->n_params);
}

const struct kb_val *
query_values(struct query *q)
{
	static const struct kb_val none = { .kind = KB_V_END };

	if (q->n_params == 0)
		return &none;
	q->params[q->n_params] = KB_SQL_END_;
	return q->params;
}

#define SORT_TERMS 8
#define SORT_TERM_MAX 255

static const char *
sort_term(struct query *q, const char *name)
{
	struct joins own = { .first = NULL };
	struct value v = { .sql = NULL };

	if (strcmp(name, "@random") == 0)
		return "random()";
	if (strcmp(name, "@rowid") == 0)
		return "t.rowid";
	if (!path_resolve(q, &own, name, &v) || name[0] == '@')
		return NULL;
	if (v.guard != NULL)
		v.sql = kb_sprintf(q->arena, "CASE WHEN %s THEN %s END",
		    v.guard, value_sql(q, &v));
	if (own.first == NULL)
		return value_sql(q, &v);
	return kb_sprintf(q->arena, "(SELECT %s FROM (SELECT 1)%s LIMIT 1)",
	    value_sql(q, &v), joins_sql(q, &own));
}

bool
query_sort(struct query *q, const char *sort, const char **order)
{
	struct kb_slice rest = kb_slice_of(sort ? sort : ""), part;
	unsigned n = 0;

	*order = "";
	while (rest.len > 0 && kb_slice_next(&rest, ',', &part)) {
		bool down;
		const char *sql;

		part = kb_slice_trim(part);
		if (part.len == 0)
			continue;
		down = part.ptr[0] == '-';
		if (down || part.ptr[0] == '+')
			part = (struct kb_slice) { part.ptr + 1, part.len - 1 };
		if (part.len > SORT_TERM_MAX || ++n > SORT_TERMS)
			return query_refuse(q, "the sort is too long");
		sql = sort_term(q, kb_slice_dup(q->arena, part));
		if (sql == NULL)
			return q->forbidden
			    ? false
			    : query_refuse(q, "unknown sort field");
		*order = kb_sprintf(q->arena, "%s%s%s%s", *order,
		    n > 1 ? ", " : "", sql, down ? " DESC" : "");
	}
	if (n == 0)
		*order = "t.rowid";
	return true;
}
