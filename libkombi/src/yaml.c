/*
 * YAML documents: libyaml's events made into a tree, with everything bounded
 * that a small text can blow up (depth, nodes and text after expansion).
 */
#include <kombi/yaml.h>

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include <kombi/str.h>

#include "utf8.h"

#define DEPTH_MAX 32

static const struct kb_yaml_limits usual = {
	.text = (size_t)1024 * 1024,
	.nodes = 10000,
};

struct anchor {
	const char *name;
	const struct kb_yaml *node;
	struct anchor *next;
};

struct reader {
	struct kb_arena *arena;
	struct kb_slice text;
	yaml_parser_t parser;
	yaml_event_t event; /* the one at hand */
	bool has_event;
	const char *why;
	struct kb_yaml_limits limits;
	size_t nodes, expanded; /* values, and bytes of their text */
	struct anchor *anchors; /* the latest of a name comes first */
};

/* The keys of one mapping, hashed: 10,000 keys must not cost their square. */
struct keys {
	const struct kb_yaml **slots;
	size_t cap, n;
};

static bool
fail_at(struct reader *r, unsigned line, unsigned column, const char *what)
{
	if (!r->why)
		r->why = kb_sprintf(
		    r->arena, "line %u, column %u: %s", line, column, what);
	return false;
}

static bool
fail_mark(struct reader *r, const yaml_mark_t *mark, const char *what)
{
	return fail_at(
	    r, (unsigned)mark->line + 1, (unsigned)mark->column + 1, what);
}

static bool
fail_here(struct reader *r, const char *what)
{
	return fail_mark(r, &r->event.start_mark, what);
}

/* At a byte of the text; columns count characters. */
static bool
fail_byte(struct reader *r, size_t at, const char *what)
{
	unsigned line = 1, column = 1;
	size_t i;

	for (i = 0; i < at && i < r->text.len; i++) {
		if (r->text.ptr[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)r->text.ptr[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	return fail_at(r, line, column, what);
}

/* What libyaml found, at the place that a person has to change: a text that
 * never ends is told where it began. */
static bool
fail_parser(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "cannot be read";
	const char *context = p->context ? p->context : "";
	bool scanning = kb_str_starts(context, "while scanning");

	if (p->error == YAML_READER_ERROR)
		return fail_byte(
		    r, p->problem_offset, kb_strdup(r->arena, problem));
	return fail_mark(r, scanning ? &p->context_mark : &p->problem_mark,
	    kb_sprintf(
		r->arena, "%s%s%s", problem, *context ? ", " : "", context));
}

static bool
next_event(struct reader *r)
{
	if (r->has_event)
		yaml_event_delete(&r->event);
	r->has_event = yaml_parser_parse(&r->parser, &r->event) != 0;
	return r->has_event ? true : fail_parser(r);
}

/* ---- nodes -----------------------------------------------------------------
 */

static bool
count_node(struct reader *r, const struct kb_yaml *y, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return fail_at(
		    r, y->line, y->column, "nested deeper than 32 levels");
	if (++r->nodes > r->limits.nodes)
		return fail_at(r, y->line, y->column,
		    kb_sprintf(r->arena,
			"more than %zu values after alias expansion",
			r->limits.nodes));
	/* Aliases of one long text make a small document a huge one. */
	r->expanded += y->text ? strlen(y->text) : 0;
	if (r->expanded > 4 * r->limits.text)
		return fail_at(r, y->line, y->column,
		    "too much text after alias expansion");
	return true;
}

static struct kb_yaml *
new_node(struct reader *r, enum kb_yaml_kind kind)
{
	struct kb_yaml *y = kb_new(r->arena, struct kb_yaml);

	y->kind = kind;
	y->line = (unsigned)r->event.start_mark.line + 1;
	y->column = (unsigned)r->event.start_mark.column + 1;
	return y;
}

static void
append(struct kb_yaml *parent, struct kb_yaml ***last, struct kb_yaml *child)
{
	**last = child;
	*last = &child->next;
	parent->n++;
}

/* A copy of a tree, for an alias; keeps the places of the original. */
static struct kb_yaml *
copy_node(struct reader *r, const struct kb_yaml *from, unsigned depth)
{
	struct kb_yaml *y, **last;
	const struct kb_yaml *child;

	if (!count_node(r, from, depth))
		return NULL;
	y = kb_new(r->arena, struct kb_yaml);
	*y = *from;
	y->next = y->first = NULL;
	last = &y->first;
	for (child = from->first; child; child = child->next) {
		*last = copy_node(r, child, depth + 1);
		if (!*last)
			return NULL;
		last = &(*last)->next;
	}
	return y;
}

static void
remember_anchor(struct reader *r, const char *name, const struct kb_yaml *node)
{
	struct anchor *anchor;

	if (!name)
		return;
	anchor = kb_new(r->arena, struct anchor);
	anchor->name = name;
	anchor->node = node;
	anchor->next = r->anchors;
	r->anchors = anchor;
}

static struct kb_yaml *
read_alias(struct reader *r, unsigned depth)
{
	const char *name = (const char *)r->event.data.alias.anchor;
	const struct anchor *anchor;
	struct kb_yaml *y;

	for (anchor = r->anchors; anchor; anchor = anchor->next)
		if (strcmp(anchor->name, name) == 0)
			break;
	if (!anchor) {
		fail_here(r,
		    kb_sprintf(r->arena,
			"alias *%s has no finished value before it", name));
		return NULL;
	}
	y = copy_node(r, anchor->node, depth);
	if (!y)
		return NULL;
	y->key = NULL;
	y->line = (unsigned)r->event.start_mark.line + 1;
	y->column = (unsigned)r->event.start_mark.column + 1;
	return y;
}

/* ---- tags
 * -------------------------------------------------------------------- */

#define CORE "tag:yaml.org,2002:"

static bool
collection_tag_ok(struct reader *r, const yaml_char_t *tag, const char *want)
{
	if (!tag || strcmp((const char *)tag, "!") == 0 ||
	    strcmp((const char *)tag, want) == 0)
		return true;
	return fail_here(r,
	    kb_sprintf(
		r->arena, "tag %s is not allowed here", (const char *)tag));
}

/* !!str and ! make a string of a plain scalar; the others need one. */
static bool
scalar_tag_ok(struct reader *r, struct kb_yaml *y, const yaml_char_t *utag)
{
	static const char *const typed[] = { CORE "int", CORE "float",
		CORE "bool", CORE "null" };
	const char *tag = (const char *)utag;
	size_t i;

	if (!tag)
		return true;
	if (strcmp(tag, "!") == 0 || strcmp(tag, CORE "str") == 0) {
		y->plain = false;
		return true;
	}
	for (i = 0; i < KB_COUNT(typed); i++)
		if (strcmp(tag, typed[i]) == 0 && y->plain)
			return true;
	return fail_here(
	    r, kb_sprintf(r->arena, "tag %s is not allowed here", tag));
}

/* ---- reading
 * --------------------------------------------------------------------- */

static struct kb_yaml *read_node(struct reader *r, unsigned depth);

static struct kb_yaml *
read_scalar(struct reader *r, unsigned depth)
{
	const char *text = (const char *)r->event.data.scalar.value;
	size_t len = r->event.data.scalar.length;
	struct kb_yaml *y = new_node(r, KB_YAML_SCALAR);

	y->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (memchr(text, '\0', len)) {
		fail_here(r, "\\0 is not allowed in text");
		return NULL;
	}
	y->text = kb_strndup(r->arena, text, len);
	if (!scalar_tag_ok(r, y, r->event.data.scalar.tag) ||
	    !count_node(r, y, depth))
		return NULL;
	remember_anchor(r,
	    kb_strdup(r->arena, (const char *)r->event.data.scalar.anchor), y);
	return y;
}

static struct kb_yaml *
read_sequence(struct reader *r, unsigned depth)
{
	struct kb_yaml *y = new_node(r, KB_YAML_SEQUENCE), **last = &y->first;
	const char *anchor = kb_strdup(
	    r->arena, (const char *)r->event.data.sequence_start.anchor);

	if (!collection_tag_ok(
		r, r->event.data.sequence_start.tag, CORE "seq") ||
	    !count_node(r, y, depth))
		return NULL;
	while (next_event(r) && r->event.type != YAML_SEQUENCE_END_EVENT) {
		struct kb_yaml *item = read_node(r, depth + 1);

		if (!item)
			return NULL;
		append(y, &last, item);
	}
	remember_anchor(r, anchor, y);
	return r->why ? NULL : y;
}

static const struct kb_yaml **
key_slot(const struct kb_yaml **slots, size_t cap, const char *key)
{
	size_t i = (size_t)kb_hash(key, strlen(key)) & (cap - 1);

	while (slots[i] && strcmp(slots[i]->key, key) != 0)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

static const struct kb_yaml *
key_find(const struct keys *k, const char *key)
{
	return k->cap ? *key_slot(k->slots, k->cap, key) : NULL;
}

static void
key_add(struct reader *r, struct keys *k, const struct kb_yaml *y)
{
	size_t cap = k->cap ? k->cap * 2 : 16, i;
	const struct kb_yaml **slots;

	if (k->n * 2 >= k->cap) {
		slots = kb_new_array(r->arena, cap, const struct kb_yaml *);
		for (i = 0; i < k->cap; i++)
			if (k->slots[i])
				*key_slot(
				    slots, cap, k->slots[i]->key) = k->slots[i];
		k->slots = slots;
		k->cap = cap;
	}
	*key_slot(k->slots, k->cap, y->key) = y;
	k->n++;
}

/* One mapping while it is read. */
struct mapping {
	struct kb_yaml *y, **last;
	struct keys keys;
	const struct kb_yaml *merge; /* value of "<<" */
};

/* Adds the members of `from` that are not there yet. */
static bool
merge_one(struct reader *r, struct mapping *m, const struct kb_yaml *from,
    unsigned depth)
{
	const struct kb_yaml *member;

	if (from->kind != KB_YAML_MAPPING)
		return fail_at(r, from->line, from->column,
		    "<< needs a mapping or a list of mappings");
	for (member = from->first; member; member = member->next) {
		struct kb_yaml *copy;

		if (key_find(&m->keys, member->key))
			continue;
		copy = copy_node(r, member, depth + 1);
		if (!copy)
			return false;
		append(m->y, &m->last, copy);
		key_add(r, &m->keys, copy);
	}
	return true;
}

static bool
merge_all(struct reader *r, struct mapping *m, unsigned depth)
{
	const struct kb_yaml *from = m->merge;

	if (!from)
		return true;
	if (from->kind != KB_YAML_SEQUENCE)
		return merge_one(r, m, from, depth);
	for (from = from->first; from; from = from->next)
		if (!merge_one(r, m, from, depth))
			return false;
	return true;
}

/* The event at hand is a key: reads it and its value. */
static bool
read_member(struct reader *r, struct mapping *m, unsigned depth)
{
	unsigned line = (unsigned)r->event.start_mark.line + 1;
	unsigned column = (unsigned)r->event.start_mark.column + 1;
	const struct kb_yaml *before;
	struct kb_yaml *key, *value;
	bool merge;

	if (r->event.type != YAML_SCALAR_EVENT)
		return fail_here(r, "a key must be text");
	key = read_scalar(r, depth + 1);
	if (!key || !next_event(r))
		return false;
	r->nodes--; /* a key is no value */
	merge = key->plain && strcmp(key->text, "<<") == 0;
	before = merge ? m->merge : key_find(&m->keys, key->text);
	if (before)
		return fail_at(r, line, column,
		    kb_sprintf(r->arena,
			"duplicate key \"%.64s\", first on line %u", key->text,
			merge ? before->line : before->key_line));
	value = read_node(r, depth + 1);
	if (!value)
		return false;
	if (merge) {
		m->merge = value;
		return true;
	}
	value->key = key->text;
	value->key_line = line;
	value->key_column = column;
	append(m->y, &m->last, value);
	key_add(r, &m->keys, value);
	return true;
}

static struct kb_yaml *
read_mapping(struct reader *r, unsigned depth)
{
	struct mapping m = { .y = new_node(r, KB_YAML_MAPPING) };
	const char *anchor = kb_strdup(
	    r->arena, (const char *)r->event.data.mapping_start.anchor);

	m.last = &m.y->first;
	if (!collection_tag_ok(
		r, r->event.data.mapping_start.tag, CORE "map") ||
	    !count_node(r, m.y, depth))
		return NULL;
	while (next_event(r) && r->event.type != YAML_MAPPING_END_EVENT)
		if (!read_member(r, &m, depth))
			return NULL;
	if (r->why || !merge_all(r, &m, depth))
		return NULL;
	remember_anchor(r, anchor, m.y);
	return m.y;
}

/* The value that begins with the event at hand; depth from 1. */
static struct kb_yaml *
read_node(struct reader *r, unsigned depth)
{
	switch (r->event.type) {
	case YAML_SCALAR_EVENT: return read_scalar(r, depth);
	case YAML_SEQUENCE_START_EVENT: return read_sequence(r, depth);
	case YAML_MAPPING_START_EVENT: return read_mapping(r, depth);
	case YAML_ALIAS_EVENT: return read_alias(r, depth);
	default: fail_here(r, "a value was expected"); return NULL;
	}
}

static struct kb_yaml *
read_document(struct reader *r)
{
	struct kb_yaml *y;

	if (!next_event(r) || !next_event(r)) /* stream, document */
		return NULL;
	if (r->event.type != YAML_DOCUMENT_START_EVENT) {
		fail_here(r, "the document is empty");
		return NULL;
	}
	if (!next_event(r))
		return NULL;
	y = read_node(r, 1);
	if (!y || !next_event(r) || !next_event(r))
		return NULL;
	if (r->event.type != YAML_STREAM_END_EVENT) {
		fail_here(r, "only one document is allowed");
		return NULL;
	}
	return y;
}

static bool
check_encoding(struct reader *r)
{
	const unsigned char *text = (const unsigned char *)r->text.ptr;
	size_t i = 0, n;

	while (i < r->text.len) {
		n = utf8_step(text + i, r->text.len - i);
		if (n == 0)
			return fail_byte(r, i, "invalid UTF-8");
		i += n;
	}
	return true;
}

enum kb_err
kb_yaml_parse_within(struct kb_arena *a, struct kb_slice text,
    const struct kb_yaml_limits *limits, struct kb_yaml **out, const char **why)
{
	struct reader r = { .arena = a, .text = text, .limits = *limits };

	*out = NULL;
	if (text.len > limits->text)
		fail_at(&r, 1, 1,
		    kb_sprintf(a, "more than %zu bytes of text", limits->text));
	else
		check_encoding(&r);
	*why = r.why;
	if (*why)
		return KB_INVALID;
	if (!yaml_parser_initialize(&r.parser))
		abort();
	yaml_parser_set_input_string(
	    &r.parser, (const unsigned char *)text.ptr, text.len);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	*out = read_document(&r);
	if (r.has_event)
		yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	*why = r.why;
	return *out ? KB_OK : KB_INVALID;
}

enum kb_err
kb_yaml_parse(struct kb_arena *a, const char *text, size_t len,
    struct kb_yaml **out, const char **why)
{
	return kb_yaml_parse_within(
	    a, (struct kb_slice) { text, len }, &usual, out, why);
}
