/*
 * Trees that were not read from a text, or are changed after it.
 */
#include <kombi/yaml.h>

#include <string.h>

#include <kombi/str.h>

struct kb_yaml *
kb_yaml_new(struct kb_arena *a, enum kb_yaml_kind kind)
{
	struct kb_yaml *y = kb_new(a, struct kb_yaml);

	y->kind = kind;
	return y;
}

struct kb_yaml *
kb_yaml_text(struct kb_arena *a, const char *text)
{
	struct kb_yaml *y = kb_yaml_new(a, KB_YAML_SCALAR);

	y->text = text;
	return y;
}

/* The link that leads to the member of that key, or the last one. */
static struct kb_yaml **
link_of(struct kb_yaml *map, const char *key)
{
	struct kb_yaml **at = &map->first;

	while (*at != NULL && !kb_str_eq((*at)->key, key))
		at = &(*at)->next;
	return at;
}

void
kb_yaml_set(struct kb_yaml *map, const char *key, struct kb_yaml *value)
{
	struct kb_yaml **at = link_of(map, key);
	const struct kb_yaml *before = *at;

	value->key = key;
	value->next = before ? before->next : NULL;
	if (before != NULL && value->key_line == 0) {
		value->key_line = before->key_line;
		value->key_column = before->key_column;
	}
	map->n += before == NULL;
	*at = value;
}

struct kb_yaml *
kb_yaml_member(struct kb_yaml *map, const char *key)
{
	return *link_of(map, key);
}

bool
kb_yaml_unset(struct kb_yaml *map, const char *key)
{
	struct kb_yaml **at = link_of(map, key);

	if (*at == NULL)
		return false;
	*at = (*at)->next;
	map->n--;
	return true;
}

void
kb_yaml_append(struct kb_yaml *sequence, struct kb_yaml *value)
{
	struct kb_yaml **at = &sequence->first;

	while (*at != NULL)
		at = &(*at)->next;
	value->key = NULL;
	value->next = NULL;
	*at = value;
	sequence->n++;
}

struct kb_yaml *
kb_yaml_copy(struct kb_arena *a, const struct kb_yaml *y)
{
	struct kb_yaml *copy = kb_new(a, struct kb_yaml), **last = &copy->first;

	*copy = *y;
	copy->text = kb_strdup(a, y->text);
	copy->key = kb_strdup(a, y->key);
	copy->first = copy->next = NULL;
	for (const struct kb_yaml *at = y->first; at != NULL; at = at->next) {
		*last = kb_yaml_copy(a, at);
		last = &(*last)->next;
	}
	return copy;
}
