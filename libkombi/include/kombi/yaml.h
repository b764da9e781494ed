/*
 * YAML 1.1 documents as a read-only tree with line and column of each node
 * (libyaml). Limits: 1 MiB, depth 32, 10,000 values after alias expansion.
 * Anchors, aliases and merge keys (<<) are resolved; duplicate keys and
 * several documents are errors. Tags other than the core ones are refused.
 * An aliased value has the place of its alias, what is inside keeps its own.
 */
#ifndef KOMBI_YAML_H
#define KOMBI_YAML_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>

enum kb_yaml_kind { KB_YAML_SCALAR, KB_YAML_SEQUENCE, KB_YAML_MAPPING };

struct kb_yaml {
	enum kb_yaml_kind kind;
	unsigned line, column; /* from 1 */
	bool plain;       /* scalar without quotes: its type follows its text */
	const char *text; /* scalar */
	const char *key;  /* as a value of a mapping: its key, else NULL */
	unsigned key_line, key_column;
	struct kb_yaml *first, *next; /* children in order; siblings */
	size_t n;
};

/* KB_INVALID with *why "line 3, column 7: …" (arena). */
enum kb_err kb_yaml_parse(struct kb_arena *a, const char *text, size_t len,
    struct kb_yaml **out, const char **why) KB_MUSTUSE;

/* For an operator's own files, which may be larger (depth stays 32). */
struct kb_yaml_limits {
	size_t text;  /* bytes; four times as much after alias expansion */
	size_t nodes; /* values after alias expansion */
};
enum kb_err kb_yaml_parse_within(struct kb_arena *a, struct kb_slice text,
    const struct kb_yaml_limits *limits, struct kb_yaml **out,
    const char **why) KB_MUSTUSE;

/* NULL if absent or no mapping (linear). */
const struct kb_yaml *kb_yaml_get(const struct kb_yaml *map, const char *key);
/* Typed reading of plain scalars by the YAML 1.2 core schema. */
bool kb_yaml_int(const struct kb_yaml *y, int64_t *out) KB_MUSTUSE;
bool kb_yaml_bool(const struct kb_yaml *y, bool *out) KB_MUSTUSE;
bool kb_yaml_is_null(const struct kb_yaml *y);
/*
 * Trees of one's own: nodes come from the arena, strings are taken as they
 * are (they must live as long). A node stands in one place only.
 */
struct kb_yaml *kb_yaml_new(struct kb_arena *a, enum kb_yaml_kind kind);
/* A text, as if it stood in quotes. */
struct kb_yaml *kb_yaml_text(struct kb_arena *a, const char *text);
/* Puts `value` under `key`, in the place of what stood there, else last. */
void kb_yaml_set(struct kb_yaml *map, const char *key, struct kb_yaml *value);
/* The member to change, or NULL. */
struct kb_yaml *kb_yaml_member(struct kb_yaml *map, const char *key);
/* Takes the member out; false: there was none. */
bool kb_yaml_unset(struct kb_yaml *map, const char *key);
void kb_yaml_append(struct kb_yaml *sequence, struct kb_yaml *value);
/* Deep, strings too; keeps the places in the text. */
struct kb_yaml *kb_yaml_copy(struct kb_arena *a, const struct kb_yaml *y);
/* The whole tree as JSON text (core schema types; .inf and .nan are text). */
char *kb_yaml_to_json(struct kb_arena *a, const struct kb_yaml *y);

#endif
