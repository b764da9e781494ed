/*
 * JSON in and out (RFC 8259).
 *
 * In: a strict scan first (UTF-8, depth, number grammar, no duplicate member
 * names, no \u0000, nothing after the value), then a tree, then rule tables
 * that bind members to struct fields. All problems of a body are reported at
 * once, by path. Out: a streaming writer.
 */
#ifndef KOMBI_JSON_H
#define KOMBI_JSON_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/buf.h>
#include <kombi/error.h>

#define KB_JSON_DEPTH 32

/* ---- reading ---------------------------------------------------------- */

struct kb_json; /* a parsed value; lives in its arena */

/*
 * Parses the whole of `text`. KB_OK, or KB_INVALID with *why (arena) saying
 * what and where ("duplicate member \"a\" at byte 17"; bytes count from 0).
 * Beyond RFC 8259 it refuses: depth over KB_JSON_DEPTH, duplicate members,
 * U+0000, lone surrogates, a byte order mark, numbers over 63 characters or
 * out of a double's range.
 */
enum kb_err kb_json_parse(struct kb_arena *a, const char *text, size_t len,
    const struct kb_json **out, const char **why) KB_MUSTUSE;

/* Only the strict scan; NULL when the text is well-formed, else why. */
const char *kb_json_check(struct kb_arena *a, const char *text, size_t len);

enum kb_json_kind {
	KB_JSON_NULL,
	KB_JSON_BOOL,
	KB_JSON_NUMBER,
	KB_JSON_STRING,
	KB_JSON_ARRAY,
	KB_JSON_OBJECT,
};

enum kb_json_kind kb_json_kind(const struct kb_json *j);
/* Member by exact name; NULL if absent or j is NULL or no object. */
const struct kb_json *kb_json_get(const struct kb_json *j, const char *name);
/* NULL if absent or of another kind. */
const char *kb_json_str(const struct kb_json *j, const char *name);
/* False if absent, no number, not integral or not within +-(2^53 - 1). */
bool
kb_json_int(const struct kb_json *j, const char *name, int64_t *out) KB_MUSTUSE;
bool kb_json_bool(const struct kb_json *j, const char *name, bool fallback);
/* Values themselves. */
const char *kb_json_text(const struct kb_json *j); /* NULL if no string */
bool kb_json_integer(const struct kb_json *j, int64_t *out) KB_MUSTUSE;
bool kb_json_number(const struct kb_json *j, double *out) KB_MUSTUSE;
bool kb_json_true(const struct kb_json *j);
size_t kb_json_size(const struct kb_json *j); /* of array or object */
const struct kb_json *kb_json_at(const struct kb_json *j, size_t i);
/* Name of the i-th member of an object. */
const char *kb_json_name_at(const struct kb_json *j, size_t i);
/* First and following elements without an index (linear). */
const struct kb_json *kb_json_first(const struct kb_json *j);
const struct kb_json *kb_json_after(const struct kb_json *j);
const char *kb_json_name(const struct kb_json *j); /* own member name */
/* The value as compact text. */
char *kb_json_print(struct kb_arena *a, const struct kb_json *j);

/* ---- rules ------------------------------------------------------------ */

enum kb_rule_type {
	KB_RULE_T_END,
	KB_RULE_T_STR,    /* const char * */
	KB_RULE_T_INT,    /* int64_t */
	KB_RULE_T_NUM,    /* double */
	KB_RULE_T_BOOL,   /* bool */
	KB_RULE_T_STRS,   /* const char *const *, NULL-ended */
	KB_RULE_T_JSON,   /* const struct kb_json *: any value, kept as it is */
	KB_RULE_T_OBJECT, /* nested struct through `nested` */
	KB_RULE_T_OBJECTS, /* struct kb_list: array of nested structs */
};

/* An array of structs in the arena. */
struct kb_list {
	void *items;
	size_t n;
};

struct kb_rule {
	enum kb_rule_type type;
	const char *name; /* JSON member name (camelCase) */
	size_t offset;
	bool required;
	bool nullable;    /* null counts as absent; else null is refused */
	int64_t min, max; /* length of a string or array, value of a number;
			     both 0: no bound (strings: at most 65536 bytes) */
	bool (*match)(const char *); /* string predicate, NULL: any */
	const char *hint; /* said when match fails: "may hold a-z, 0-9, -" */
	const char *const *choices; /* NULL-ended list of allowed strings */
	const struct kb_rule *nested;
	size_t nested_size;
	/* offset of a bool set to true if the member was present; 0: none */
	size_t present;
	const char *doc; /* for the OpenAPI document */
};

/* clang-format off */
#define KB_RULE_STR_AS(t, m, n, ...) \
	{ .type = KB_RULE_T_STR, .name = (n), .offset = KB_OFFSET_OF(t, m, const char *), __VA_ARGS__ }
#define KB_RULE_STR(t, m, ...) KB_RULE_STR_AS(t, m, #m, __VA_ARGS__)
#define KB_RULE_INT_AS(t, m, n, ...) \
	{ .type = KB_RULE_T_INT, .name = (n), .offset = KB_OFFSET_OF(t, m, int64_t), __VA_ARGS__ }
#define KB_RULE_INT(t, m, ...) KB_RULE_INT_AS(t, m, #m, __VA_ARGS__)
#define KB_RULE_NUM_AS(t, m, n, ...) \
	{ .type = KB_RULE_T_NUM, .name = (n), .offset = KB_OFFSET_OF(t, m, double), __VA_ARGS__ }
#define KB_RULE_NUM(t, m, ...) KB_RULE_NUM_AS(t, m, #m, __VA_ARGS__)
#define KB_RULE_BOOL_AS(t, m, n, ...) \
	{ .type = KB_RULE_T_BOOL, .name = (n), .offset = KB_OFFSET_OF(t, m, bool), __VA_ARGS__ }
#define KB_RULE_BOOL(t, m, ...) KB_RULE_BOOL_AS(t, m, #m, __VA_ARGS__)
#define KB_RULE_STRS_AS(t, m, n, ...) \
	{ .type = KB_RULE_T_STRS, .name = (n), .offset = KB_OFFSET_OF(t, m, const char *const *), __VA_ARGS__ }
#define KB_RULE_STRS(t, m, ...) KB_RULE_STRS_AS(t, m, #m, __VA_ARGS__)
#define KB_RULE_JSON_AS(t, m, n, ...) \
	{ .type = KB_RULE_T_JSON, .name = (n), .offset = KB_OFFSET_OF(t, m, const struct kb_json *), __VA_ARGS__ }
#define KB_RULE_JSON(t, m, ...) KB_RULE_JSON_AS(t, m, #m, __VA_ARGS__)
#define KB_RULE_OBJECT_AS(t, m, n, sub, subrules, ...) \
	{ .type = KB_RULE_T_OBJECT, .name = (n), .offset = KB_OFFSET_OF(t, m, sub), .nested = (subrules), .nested_size = sizeof(sub), __VA_ARGS__ }
#define KB_RULE_OBJECTS_AS(t, m, n, sub, subrules, ...) \
	{ .type = KB_RULE_T_OBJECTS, .name = (n), .offset = KB_OFFSET_OF(t, m, struct kb_list), .nested = (subrules), .nested_size = sizeof(sub), __VA_ARGS__ }
#define KB_RULES_END { .type = KB_RULE_T_END }
/* clang-format on */

/* Problems by path ("nodes[0].name" -> "must be a string"); arena-owned. */
struct kb_problems {
	struct kb_problem {
		const char *path;
		const char *text;
		struct kb_problem *next;
	} * first, **last;
	size_t n; /* how many were found; the first 64 are kept */
};

void kb_problem_add(struct kb_arena *a, struct kb_problems *p, const char *path,
    const char *fmt, ...) KB_PRINTF(4, 5);

/*
 * Binds the members of object `j` to *into by `rules`. Unknown members are
 * problems ("unknown field"). Every problem is added; true if there was none.
 * Absent optional members leave their field untouched. `j` may be NULL or any
 * other value: then "body" "must be an object". Bounds: max below min means
 * no upper bound; those of an array count its items, its strings are held to
 * match and choices. A KB_RULE_T_JSON field takes null as a value unless the
 * rule is nullable. Strings are copied to `a`; KB_RULE_T_JSON values live as
 * long as the tree.
 */
bool kb_json_bind(struct kb_arena *a, const struct kb_json *j,
    const struct kb_rule *rules, void *into, struct kb_problems *p) KB_MUSTUSE;

/* ---- writing ---------------------------------------------------------- */

/* Writes into a kb_buf; commas and escapes are its business. Invalid UTF-8
 * is replaced by U+FFFD. Nesting errors are programming errors (assert). */
struct kb_jsonw {
	struct kb_buf *buf;
	unsigned depth;   /* less than 64 */
	uint64_t comma;   /* bit per depth: a value was written */
	uint64_t objects; /* bit per depth: inside an object */
};

void kb_w_init(struct kb_jsonw *w, struct kb_buf *buf);
/* name NULL inside arrays and for the top value. */
void kb_w_object(struct kb_jsonw *w, const char *name);
void kb_w_object_end(struct kb_jsonw *w);
void kb_w_array(struct kb_jsonw *w, const char *name);
void kb_w_array_end(struct kb_jsonw *w);
void
kb_w_str(struct kb_jsonw *w, const char *name, const char *v); /* NULL: null */
void kb_w_slice(struct kb_jsonw *w, const char *name, struct kb_slice v);
void kb_w_int(struct kb_jsonw *w, const char *name, int64_t v);
void kb_w_num(struct kb_jsonw *w, const char *name, double v); /* inf: null */
void kb_w_bool(struct kb_jsonw *w, const char *name, bool v);
void kb_w_null(struct kb_jsonw *w, const char *name);
/* Text that is already JSON. */
void kb_w_raw(struct kb_jsonw *w, const char *name, const char *json);
/* Only if v is not NULL. */
void kb_w_opt(struct kb_jsonw *w, const char *name, const char *v);

#endif
