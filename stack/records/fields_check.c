/* Options of fields: what each type's must be, in PocketBase's codes. */
#include <string.h>

#include <kombi/regex.h>
#include <kombi/str.h>

#include "collections.h"

struct judged {
	struct kb_arena *arena;
	const struct field *f;
	size_t at; /* in the list of fields */
	struct api_errors *errors;
};

static void
bad(const struct judged *jd, const char *option, const char *code,
    const char *message)
{
	api_error_add(jd->arena, jd->errors,
	    kb_sprintf(jd->arena, "fields.%zu.%s", jd->at, option), code,
	    message);
}

/* `n` against a bound; zero is not judged, as upstream. */
static void
check_least(
    const struct judged *jd, const char *option, int64_t n, int64_t least)
{
	if (n != 0 && n < least)
		api_error_param(jd->arena, jd->errors,
		    kb_sprintf(jd->arena, "fields.%zu.%s", jd->at, option),
		    "validation_min_greater_equal_than_required",
		    kb_sprintf(jd->arena, "Must be no less than %lld.",
			(long long)least),
		    kb_sprintf(
			jd->arena, "{\"threshold\":%lld}", (long long)least));
}

static void
check_most(const struct judged *jd, const char *option, int64_t n, int64_t most)
{
	if (n > most)
		api_error_param(jd->arena, jd->errors,
		    kb_sprintf(jd->arena, "fields.%zu.%s", jd->at, option),
		    "validation_max_less_equal_than_required",
		    kb_sprintf(jd->arena, "Must be no greater than %lld.",
			(long long)most),
		    kb_sprintf(
			jd->arena, "{\"threshold\":%lld}", (long long)most));
}

/* ---- domains
 * ------------------------------------------------------------------ */

static void
check_each(const struct judged *jd, const char *option, const char *const *list,
    const char *pattern, const char *code)
{
	const char *why = NULL;
	const struct kb_regex *re = kb_regex_new(jd->arena, pattern, 0, &why);

	for (size_t i = 0; list != NULL && list[i] != NULL; i++)
		if (re == NULL ||
		    !kb_regex_match(re, kb_slice_of(list[i]), NULL))
			bad(jd, kb_sprintf(jd->arena, "%s.%zu", option, i),
			    code, "Must be in a valid format.");
}

static bool
has_items(const char *const *list)
{
	return list != NULL && list[0] != NULL;
}

static void
check_domains(const struct judged *jd)
{
	static const char domain
	    [] = "^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})?\\.)+[a-zA-Z]{1,63}\\.?$";
	const struct field *f = jd->f;

	if (has_items(f->only) && has_items(f->except)) {
		bad(jd, "exceptDomains", "validation_empty", "Must be blank.");
		bad(jd, "onlyDomains", "validation_empty", "Must be blank.");
		return;
	}
	check_each(
	    jd, "exceptDomains", f->except, domain, "validation_is_domain");
	check_each(jd, "onlyDomains", f->only, domain, "validation_is_domain");
}

/* ---- by type
 * ------------------------------------------------------------------ */

static void
check_file(const struct judged *jd)
{
	check_least(jd, "maxSelect", jd->f->max_select, 0);
	check_least(jd, "maxSize", jd->f->max_size, 0);
	check_each(jd, "thumbs", jd->f->thumbs, "^[0-9]+x[0-9]+[tbf]?$",
	    "validation_match_invalid");
	for (size_t i = 0; has_items(jd->f->thumbs) && jd->f->thumbs[i]; i++)
		if (kb_str_starts(jd->f->thumbs[i], "0x0"))
			bad(jd, kb_sprintf(jd->arena, "thumbs.%zu", i),
			    "validation_not_in_invalid",
			    "Must not be in list.");
}

static void
check_password(const struct judged *jd)
{
	const struct field *f = jd->f;
	const char *why = NULL;

	check_least(jd, "min", f->min_len, 1);
	check_most(jd, "min", f->min_len, 71);
	check_least(jd, "max", f->max_len, f->min_len);
	check_most(jd, "max", f->max_len, 71);
	check_least(jd, "cost", f->cost, 4);
	check_most(jd, "cost", f->cost, 31);
	if (f->pattern[0] != '\0' &&
	    kb_regex_new(jd->arena, f->pattern, 0, &why) == NULL)
		bad(jd, "pattern", "validation_invalid_regex",
		    why ? why : "Invalid regular expression.");
}

static void
check_autodate(const struct judged *jd)
{
	static const char
	    either[] = "Either onCreate or onUpdate must be enabled.";

	if (jd->f->on_create || jd->f->on_update)
		return;
	bad(jd, "onCreate", "validation_required", either);
	bad(jd, "onUpdate", "validation_required", either);
}

void
field_check(struct kb_arena *a, const struct collection *c, size_t at,
    struct api_errors *errors)
{
	const struct field *f = &c->fields[at];
	struct judged jd = { a, f, at, errors };

	switch (f->type) {
	case FT_TEXT: check_least(&jd, "min", f->min_len, 0); break;
	case FT_EMAIL:
	case FT_URL: check_domains(&jd); break;
	case FT_EDITOR:
	case FT_JSON: check_least(&jd, "maxSize", f->max_size, 0); break;
	case FT_SELECT: check_least(&jd, "maxSelect", f->max_select, 0); break;
	case FT_RELATION:
		check_least(&jd, "minSelect", f->min_select, 0);
		break;
	case FT_FILE: check_file(&jd); break;
	case FT_PASSWORD: check_password(&jd); break;
	case FT_AUTODATE: check_autodate(&jd); break;
	default: break;
	}
}
