/*
 * JSON trees: cJSON behind typed getters. A struct kb_json is a cJSON node;
 * nobody else knows, and nothing reaches cJSON before the strict scan.
 */
#include <kombi/json.h>

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include <cjson/cJSON.h>

static const cJSON *
node_of(const struct kb_json *j)
{
	return (const cJSON *)(const void *)j;
}

static const struct kb_json *
json_of(const cJSON *node)
{
	return (const struct kb_json *)(const void *)node;
}

/*
 * cJSON takes its memory from the arena of the call that parses: some 50
 * allocations for a token's claims, none to be freed one by one. Nothing else
 * here makes cJSON allocate.
 */
static _Thread_local struct kb_arena *parsing;

static void *
take(size_t size)
{
	assert(parsing);
	return kb_arena_alloc(parsing, size);
}

static void
leave(void *p)
{
	(void)p;
}

static void
set_hooks(void)
{
	cJSON_Hooks hooks = { .malloc_fn = take, .free_fn = leave };

	cJSON_InitHooks(&hooks);
}

enum kb_err
kb_json_parse(struct kb_arena *a, const char *text, size_t len,
    const struct kb_json **out, const char **why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	cJSON *tree;

	*out = NULL;
	*why = kb_json_check(a, text, len);
	if (*why)
		return KB_INVALID;
	pthread_once(&once, set_hooks);
	parsing = a;
	tree = cJSON_ParseWithLength(text, len);
	parsing = NULL;
	if (!tree) {
		*why = "cannot be read";
		return KB_INVALID;
	}
	*out = json_of(tree);
	return KB_OK;
}

enum kb_json_kind
kb_json_kind(const struct kb_json *j)
{
	const cJSON *node = node_of(j);

	if (cJSON_IsBool(node))
		return KB_JSON_BOOL;
	if (cJSON_IsNumber(node))
		return KB_JSON_NUMBER;
	if (cJSON_IsString(node))
		return KB_JSON_STRING;
	if (cJSON_IsArray(node))
		return KB_JSON_ARRAY;
	return cJSON_IsObject(node) ? KB_JSON_OBJECT : KB_JSON_NULL;
}

const struct kb_json *
kb_json_get(const struct kb_json *j, const char *name)
{
	if (!cJSON_IsObject(node_of(j)))
		return NULL;
	return json_of(cJSON_GetObjectItemCaseSensitive(node_of(j), name));
}

const char *
kb_json_str(const struct kb_json *j, const char *name)
{
	return kb_json_text(kb_json_get(j, name));
}

bool
kb_json_int(const struct kb_json *j, const char *name, int64_t *out)
{
	return kb_json_integer(kb_json_get(j, name), out);
}

bool
kb_json_bool(const struct kb_json *j, const char *name, bool fallback)
{
	const struct kb_json *member = kb_json_get(j, name);

	if (!cJSON_IsBool(node_of(member)))
		return fallback;
	return kb_json_true(member);
}

const char *
kb_json_text(const struct kb_json *j)
{
	return cJSON_IsString(node_of(j)) ? node_of(j)->valuestring : NULL;
}

bool
kb_json_integer(const struct kb_json *j, int64_t *out)
{
	/* From 2^53 on a double stands for several integers. */
	const double limit = 9007199254740992.0;
	double v;

	if (!kb_json_number(j, &v) || fabs(v) >= limit || trunc(v) != v)
		return false;
	*out = (int64_t)v;
	return true;
}

bool
kb_json_number(const struct kb_json *j, double *out)
{
	if (!cJSON_IsNumber(node_of(j)))
		return false;
	*out = node_of(j)->valuedouble;
	return true;
}

bool
kb_json_true(const struct kb_json *j)
{
	return cJSON_IsTrue(node_of(j));
}

const struct kb_json *
kb_json_first(const struct kb_json *j)
{
	const cJSON *node = node_of(j);

	if (!cJSON_IsArray(node) && !cJSON_IsObject(node))
		return NULL;
	return json_of(node->child);
}

const struct kb_json *
kb_json_after(const struct kb_json *j)
{
	return j ? json_of(node_of(j)->next) : NULL;
}

const char *
kb_json_name(const struct kb_json *j)
{
	return j ? node_of(j)->string : NULL;
}

size_t
kb_json_size(const struct kb_json *j)
{
	size_t n = 0;

	for (j = kb_json_first(j); j; j = kb_json_after(j))
		n++;
	return n;
}

const struct kb_json *
kb_json_at(const struct kb_json *j, size_t i)
{
	for (j = kb_json_first(j); j && i > 0; i--)
		j = kb_json_after(j);
	return j;
}

const char *
kb_json_name_at(const struct kb_json *j, size_t i)
{
	return kb_json_name(kb_json_at(j, i));
}

static void
write_value(struct kb_jsonw *w, const char *name, const struct kb_json *j)
{
	enum kb_json_kind kind = kb_json_kind(j);
	const struct kb_json *item;

	switch (kind) {
	case KB_JSON_NULL: kb_w_null(w, name); return;
	case KB_JSON_BOOL: kb_w_bool(w, name, kb_json_true(j)); return;
	case KB_JSON_NUMBER: kb_w_num(w, name, node_of(j)->valuedouble); return;
	case KB_JSON_STRING: kb_w_str(w, name, kb_json_text(j)); return;
	case KB_JSON_ARRAY: kb_w_array(w, name); break;
	case KB_JSON_OBJECT: kb_w_object(w, name); break;
	}
	for (item = kb_json_first(j); item; item = kb_json_after(item))
		write_value(w,
		    kind == KB_JSON_OBJECT ? kb_json_name(item) : NULL, item);
	if (kind == KB_JSON_OBJECT)
		kb_w_object_end(w);
	else
		kb_w_array_end(w);
}

char *
kb_json_print(struct kb_arena *a, const struct kb_json *j)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	char *out;

	kb_buf_init(&buf, SIZE_MAX / 2);
	kb_w_init(&w, &buf);
	write_value(&w, NULL, j);
	out = kb_strndup(a, kb_buf_str(&buf), buf.len);
	kb_buf_free(&buf);
	return out;
}
