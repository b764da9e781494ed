/*
 * Rule tables: bind the members of a JSON object to a struct and say of
 * every one that does not fit where it is and what is allowed.
 */
#include <kombi/json.h>

#include <math.h>
#include <string.h>

#include <kombi/str.h>

#include "utf8.h"

#define PROBLEMS_KEPT 64
#define STRING_MAX 65536 /* bytes, when a rule gives no bound */
#define NAME_SHOWN 64    /* bytes of an unknown member's name */

/* Where a value is; made into text only when there is something to say. */
struct place {
	const struct place *up;
	const char *name; /* NULL: element `index` of an array */
	size_t index;
};

struct binder {
	struct kb_arena *arena;
	struct kb_problems *problems;
};

void
kb_problem_add(struct kb_arena *a, struct kb_problems *p, const char *path,
    const char *fmt, ...)
{
	struct kb_problem *problem;
	va_list ap;

	if (p->n++ >= PROBLEMS_KEPT)
		return;
	problem = kb_new(a, struct kb_problem);
	problem->path = kb_strdup(a, path);
	va_start(ap, fmt);
	problem->text = kb_vsprintf(a, fmt, ap);
	va_end(ap);
	if (!p->first)
		p->last = &p->first;
	*p->last = problem;
	p->last = &problem->next;
}

static const char *
place_text(struct kb_arena *a, const struct place *at)
{
	const char *up;

	if (!at)
		return "body";
	up = at->up ? place_text(a, at->up) : "";
	if (!at->name)
		return kb_sprintf(a, "%s[%zu]", up, at->index);
	return kb_sprintf(
	    a, "%s%s%.*s", up, at->up ? "." : "", NAME_SHOWN, at->name);
}

static void
problem_at(struct binder *b, const struct place *at, const char *text)
{
	if (b->problems->n >= PROBLEMS_KEPT)
		b->problems->n++;
	else
		kb_problem_add(b->arena, b->problems, place_text(b->arena, at),
		    "%s", text);
}

/* ---- bounds ------------------------------------------------------------ */

static bool
has_upper(const struct kb_rule *r)
{
	return r->max >= r->min && (r->min != 0 || r->max != 0);
}

static bool
has_lower(const struct kb_rule *r)
{
	return r->min != 0 || r->max != 0;
}

/* How many there must be: "1 to 64 characters". */
static const char *
count_text(struct kb_arena *a, const struct kb_rule *r, const char *what)
{
	long long min = r->min, max = r->max;

	if (!has_upper(r))
		return kb_sprintf(a, "must have at least %lld %s", min, what);
	if (min == max)
		return kb_sprintf(a, "must have exactly %lld %s", min, what);
	if (min <= 0)
		return kb_sprintf(a, "must have at most %lld %s", max, what);
	return kb_sprintf(a, "must have %lld to %lld %s", min, max, what);
}

static bool
count_fits(const struct kb_rule *r, size_t n)
{
	return (!has_lower(r) || (int64_t)n >= r->min) &&
	    (!has_upper(r) || (int64_t)n <= r->max);
}

static const char *
range_text(struct kb_arena *a, const struct kb_rule *r)
{
	if (!has_upper(r))
		return kb_sprintf(
		    a, "must be at least %lld", (long long)r->min);
	return kb_sprintf(a, "must be between %lld and %lld", (long long)r->min,
	    (long long)r->max);
}

static bool
in_range(const struct kb_rule *r, double v)
{
	return (!has_lower(r) || v >= (double)r->min) &&
	    (!has_upper(r) || v <= (double)r->max);
}

static const char *
choices_text(struct kb_arena *a, const char *const *choices)
{
	const char *text = "must be one of";
	size_t i;

	for (i = 0; choices[i]; i++)
		text = kb_sprintf(
		    a, "%s%s %s", text, i > 0 ? "," : "", choices[i]);
	return text;
}

static bool
is_choice(const char *const *choices, const char *s)
{
	for (; *choices; choices++)
		if (strcmp(*choices, s) == 0)
			return true;
	return false;
}

/* ---- one value of each type -------------------------------------------- */

/* What every string of a rule must be, alone or in an array. */
static bool
string_fits(struct binder *b, const struct kb_rule *r, const struct place *at,
    const char *s)
{
	if (r->choices && !is_choice(r->choices, s))
		problem_at(b, at, choices_text(b->arena, r->choices));
	else if (!has_upper(r) && strlen(s) > STRING_MAX)
		problem_at(b, at, "must have at most 65536 bytes");
	else if (r->match && !r->match(s))
		problem_at(b, at, r->hint ? r->hint : "is not valid");
	else
		return true;
	return false;
}

static void
bind_str(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	const char *s = kb_json_text(v);

	if (!s)
		problem_at(b, at, "must be a string");
	else if (!count_fits(r, utf8_count(s)))
		problem_at(b, at, count_text(b->arena, r, "characters"));
	else if (string_fits(b, r, at, s))
		*(const char **)field = kb_strdup(b->arena, s);
}

static void
bind_int(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	int64_t n;

	if (!kb_json_integer(v, &n))
		problem_at(b, at, "must be a whole number");
	else if (!in_range(r, (double)n))
		problem_at(b, at, range_text(b->arena, r));
	else
		*(int64_t *)field = n;
}

static void
bind_num(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	double n;

	if (!kb_json_number(v, &n))
		problem_at(b, at, "must be a number");
	else if (!in_range(r, n))
		problem_at(b, at, range_text(b->arena, r));
	else
		*(double *)field = n;
}

static void
bind_bool(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	(void)r;
	if (kb_json_kind(v) != KB_JSON_BOOL)
		problem_at(b, at, "must be true or false");
	else
		*(bool *)field = kb_json_true(v);
}

/* False if v is no array or has too few or too many items. */
static bool
array_fits(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v)
{
	if (kb_json_kind(v) != KB_JSON_ARRAY)
		problem_at(b, at, "must be an array");
	else if (!count_fits(r, kb_json_size(v)))
		problem_at(b, at, count_text(b->arena, r, "items"));
	else
		return true;
	return false;
}

static void
bind_strs(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	struct place here = { .up = at };
	struct kb_rule item = *r;
	const char **out;

	if (!array_fits(b, r, at, v))
		return;
	item.min = item.max = 0; /* bounds are the array's */
	out = kb_new_array(b->arena, kb_json_size(v) + 1, const char *);
	*(const char *const **)field = out;
	for (v = kb_json_first(v); v; v = kb_json_after(v), here.index++)
		bind_str(b, &item, &here, v, &out[here.index]);
}

static void
bind_json(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	(void)b;
	(void)r;
	(void)at;
	*(const struct kb_json **)field = v;
}

static void bind_object(struct binder *b, const struct kb_rule *r,
    const struct place *at, const struct kb_json *v, void *field);

static void
bind_objects(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	struct place here = { .up = at };
	struct kb_list *list = field;

	if (!array_fits(b, r, at, v))
		return;
	list->n = kb_json_size(v);
	list->items = kb_arena_array(b->arena, list->n, r->nested_size);
	for (v = kb_json_first(v); v; v = kb_json_after(v), here.index++)
		bind_object(b, r, &here, v,
		    (char *)list->items + here.index * r->nested_size);
}

static void (*const binders[])(struct binder *, const struct kb_rule *,
    const struct place *, const struct kb_json *, void *) = {
	[KB_RULE_T_STR] = bind_str,
	[KB_RULE_T_INT] = bind_int,
	[KB_RULE_T_NUM] = bind_num,
	[KB_RULE_T_BOOL] = bind_bool,
	[KB_RULE_T_STRS] = bind_strs,
	[KB_RULE_T_JSON] = bind_json,
	[KB_RULE_T_OBJECT] = bind_object,
	[KB_RULE_T_OBJECTS] = bind_objects,
};

/* ---- objects ------------------------------------------------------------ */

static void
bind_member(struct binder *b, const struct kb_rule *r, const struct place *up,
    const struct kb_json *v, void *into)
{
	struct place at = { .up = up, .name = r->name };
	bool null = v && kb_json_kind(v) == KB_JSON_NULL;

	if (v && r->present)
		*(bool *)((char *)into + r->present) = true;
	if (null && r->nullable)
		v = NULL;
	if (!v && r->required)
		problem_at(b, &at, "is required");
	else if (v && null && r->type != KB_RULE_T_JSON)
		problem_at(b, &at, "must not be null");
	else if (v)
		binders[r->type](b, r, &at, v, (char *)into + r->offset);
}

static bool
is_known(const struct kb_rule *rules, const char *name)
{
	for (; rules->type != KB_RULE_T_END; rules++)
		if (strcmp(rules->name, name) == 0)
			return true;
	return false;
}

static void
bind_rules(struct binder *b, const struct kb_rule *rules,
    const struct place *at, const struct kb_json *v, void *into)
{
	const struct kb_rule *r;
	const struct kb_json *member;

	if (!v || kb_json_kind(v) != KB_JSON_OBJECT) {
		problem_at(b, at, "must be an object");
		return;
	}
	for (r = rules; r->type != KB_RULE_T_END; r++)
		bind_member(b, r, at, kb_json_get(v, r->name), into);
	for (member = kb_json_first(v); member;
	     member = kb_json_after(member)) {
		struct place here = { .up = at, .name = kb_json_name(member) };

		if (!is_known(rules, here.name))
			problem_at(b, &here, "unknown field");
	}
}

static void
bind_object(struct binder *b, const struct kb_rule *r, const struct place *at,
    const struct kb_json *v, void *field)
{
	bind_rules(b, r->nested, at, v, field);
}

bool
kb_json_bind(struct kb_arena *a, const struct kb_json *j,
    const struct kb_rule *rules, void *into, struct kb_problems *p)
{
	struct binder b = { .arena = a, .problems = p };
	size_t before = p->n;

	bind_rules(&b, rules, NULL, j, into);
	return p->n == before;
}
