/*
 * PCRE2's only home. A thread has one block for results and one context with
 * the bounds, made at its first match and freed with it.
 */
#include <kombi/regex.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* MATCH_STEPS counts calls of the inner matcher; a JIT-compiled one does
 * some 100 million a second. */
enum {
	PATTERN_MAX = 4096,
	MATCH_STEPS = 50000,
	DEPTH_MAX = 500,
	HEAP_KIB = 256,
};

struct kb_regex {
	pcre2_code *code;
	size_t groups;
	const char *names[KB_REGEX_GROUPS];
};

struct scratch {
	pcre2_match_data *data;
	pcre2_match_context *context;
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* The destructor of the key frees it; this one is quick to find. */
static _Thread_local struct scratch *mine;

static void
scratch_free(void *arg)
{
	struct scratch *s = arg;

	pcre2_match_data_free(s->data);
	pcre2_match_context_free(s->context);
	free(s);
	mine = NULL;
}

/* The main thread's would outlive the key's destructors. */
static void
at_exit(void)
{
	if (mine != NULL)
		scratch_free(mine);
}

static void
make_key(void)
{
	if (pthread_key_create(&key, scratch_free) != 0 || atexit(at_exit) != 0)
		abort();
}

static struct scratch *
scratch_of_thread(void)
{
	struct scratch *s = mine;

	if (s != NULL)
		return s;
	pthread_once(&once, make_key);
	s = kb_xalloc(sizeof(*s));
	s->data = pcre2_match_data_create(KB_REGEX_GROUPS, NULL);
	s->context = pcre2_match_context_create(NULL);
	if (s->data == NULL || s->context == NULL)
		abort();
	pcre2_set_match_limit(s->context, MATCH_STEPS);
	pcre2_set_depth_limit(s->context, DEPTH_MAX);
	pcre2_set_heap_limit(s->context, HEAP_KIB);
	pthread_setspecific(key, s);
	mine = s;
	return s;
}

static void
drop(void *arg)
{
	pcre2_code_free(arg);
}

static void
read_names(struct kb_arena *a, struct kb_regex *re)
{
	uint32_t n = 0, size = 0;
	PCRE2_SPTR table = NULL;

	pcre2_pattern_info(re->code, PCRE2_INFO_NAMECOUNT, &n);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMETABLE, &table);
	for (uint32_t i = 0; i < n; i++, table += size) {
		size_t group = (size_t)table[0] << 8 | table[1];

		if (group < KB_REGEX_GROUPS)
			re->names[group] = kb_strdup(
			    a, (const char *)table + 2);
	}
}

static const char *
message(struct kb_arena *a, int code, size_t at)
{
	PCRE2_UCHAR text[128];

	pcre2_get_error_message(code, text, sizeof(text));
	return kb_sprintf(a, "%s at character %zu", (const char *)text, at + 1);
}

struct kb_regex *
kb_regex_new(
    struct kb_arena *a, const char *pattern, unsigned flags, const char **why)
{
	struct kb_regex *re = kb_new(a, struct kb_regex);
	uint32_t options = PCRE2_NEVER_BACKSLASH_C, groups = 0;
	size_t at = 0;
	int code = 0;

	*why = NULL;
	if (flags & (KB_REGEX_AT_START | KB_REGEX_WHOLE))
		options |= PCRE2_ANCHORED;
	if (flags & KB_REGEX_WHOLE)
		options |= PCRE2_ENDANCHORED;
	if (flags & KB_REGEX_ICASE)
		options |= PCRE2_CASELESS;
	if (strlen(pattern) > PATTERN_MAX) {
		*why = "longer than 4096 bytes";
		return NULL;
	}
	re->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
	    options, &code, &at, NULL);
	if (re->code == NULL) {
		*why = message(a, code, at);
		return NULL;
	}
	kb_arena_on_free(a, drop, re->code);
	pcre2_pattern_info(re->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	if (groups >= KB_REGEX_GROUPS) {
		*why = "more than 31 groups";
		return NULL;
	}
	re->groups = groups;
	read_names(a, re);
	/* Where there is none the interpreter does it. */
	(void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
	return re;
}

bool
kb_regex_match(
    const struct kb_regex *re, struct kb_slice text, struct kb_slice *groups)
{
	struct scratch *s = scratch_of_thread();
	const char *bytes = text.ptr ? text.ptr : "";
	const PCRE2_SIZE *at;
	int n = pcre2_match(
	    re->code, (PCRE2_SPTR)bytes, text.len, 0, 0, s->data, s->context);

	if (n <= 0)
		return false;
	if (groups == NULL)
		return true;
	at = pcre2_get_ovector_pointer(s->data);
	for (int i = 0; i < KB_REGEX_GROUPS; i++) {
		groups[i] = (struct kb_slice) { NULL, 0 };
		/* \K may put the start behind the end. */
		if (i < n && at[2 * i] != PCRE2_UNSET &&
		    at[2 * i] <= at[2 * i + 1])
			groups[i] = (struct kb_slice) { bytes + at[2 * i],
				at[2 * i + 1] - at[2 * i] };
	}
	return true;
}

size_t
kb_regex_groups(const struct kb_regex *re)
{
	return re->groups;
}

const char *
kb_regex_name(const struct kb_regex *re, size_t group)
{
	return group < KB_REGEX_GROUPS ? re->names[group] : NULL;
}
