/*
 * Values of fields: from JSON into the column's form, leniently as PocketBase
 * does it, then judged by the field's options.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/regex.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "records.h"

#define TEXT_MAX 5000
#define JSON_MAX (1 << 20)
#define EDITOR_MAX (5 << 20)
#define GEO_ZERO "{\"lon\":0,\"lat\":0}"

/* ---- lists
 * ------------------------------------------------------------------------- */

const char *const *
value_list(struct kb_arena *a, const char *json, size_t *n)
{
	const struct kb_json *j = NULL;
	const char **items, *why;

	*n = 0;
	if (json == NULL || json[0] != '[' ||
	    kb_json_parse(a, json, strlen(json), &j, &why))
		return kb_new_array(a, 1, const char *);
	items = kb_new_array(a, kb_json_size(j) + 1, const char *);
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j))
		if (kb_json_text(j) != NULL)
			items[(*n)++] = kb_json_text(j);
	return items;
}

const char *
value_list_text(struct kb_arena *a, const char *const *items, size_t n)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 8u << 20);
	kb_w_init(&w, &b);
	kb_w_array(&w, NULL);
	for (size_t i = 0; i < n; i++)
		kb_w_str(&w, NULL, items[i]);
	kb_w_array_end(&w);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

static bool
holds(const char *const *items, size_t n, const char *item)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(items[i], item) == 0)
			return true;
	return false;
}

/* ---- zero
 * ----------------------------------------------------------------------------
 */

union cell
value_zero(const struct field *f)
{
	union cell v = { .text = "" };

	switch (f->type) {
	case FT_NUMBER: v.number = 0; break;
	case FT_BOOL: v.flag = false; break;
	case FT_JSON: v.text = NULL; break;
	case FT_GEO_POINT: v.text = GEO_ZERO; break;
	default: v.text = field_is_multi(f) ? "[]" : ""; break;
	}
	return v;
}

bool
value_is_zero(const struct field *f, union cell v)
{
	static const char *const empty[] = { "null", "\"\"", "[]", "{}" };

	switch (f->type) {
	case FT_NUMBER: return v.number == 0;
	case FT_BOOL: return !v.flag;
	case FT_JSON:
		return v.text == NULL || holds(empty, KB_COUNT(empty), v.text);
	case FT_GEO_POINT:
		return v.text == NULL || strcmp(v.text, GEO_ZERO) == 0;
	default:
		return v.text == NULL || v.text[0] == '\0' ||
		    (field_is_multi(f) && strcmp(v.text, "[]") == 0);
	}
}

struct kb_val
value_bind(const struct field *f, union cell v)
{
	switch (f->type) {
	case FT_NUMBER: return KB_REAL(v.number);
	case FT_BOOL: return KB_FLAG(v.flag);
	default: return KB_TEXT(v.text);
	}
}

/* ---- reading
 * ----------------------------------------------------------------------------
 */

static const char *
read_text(struct kb_arena *a, const struct kb_json *j)
{
	switch (kb_json_kind(j)) {
	case KB_JSON_STRING: return kb_json_text(j);
	case KB_JSON_NULL:
	case KB_JSON_ARRAY:
	case KB_JSON_OBJECT: return "";
	default: return kb_json_print(a, j);
	}
}

static double
read_number(struct kb_arena *a, const struct kb_json *j)
{
	const char *text;
	double d = 0;
	char *end;

	if (kb_json_number(j, &d))
		return d;
	if (kb_json_kind(j) == KB_JSON_BOOL)
		return kb_json_true(j);
	text = read_text(a, j);
	d = strtod(text, &end);
	return end == text || *end != '\0' || !isfinite(d) ? 0 : d;
}

static bool
read_flag(const struct kb_json *j)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE",
		"True" };
	double d;

	if (kb_json_number(j, &d))
		return d != 0;
	if (kb_json_text(j) != NULL)
		return holds(yes, KB_COUNT(yes), kb_json_text(j));
	return kb_json_true(j);
}

/* Dates come in the API's form, as RFC 3339, without zone, or as a day. */
const char *
value_date(struct kb_arena *a, const struct kb_json *j)
{
	const char *text = kb_json_text(j);
	char out[KB_RFC3339_SIZE];
	size_t len = text ? strlen(text) : 0;
	char *try;
	int64_t ms;

	if (len < 10)
		return "";
	try = kb_sprintf(a, "%s%s%s", text, len == 10 ? "T00:00:00" : "",
	    strpbrk(text + 10, "Z+-") == NULL ? "Z" : "");
	try[10] = 'T';
	if (!kb_rfc3339_parse(try, &ms))
		return "";
	kb_rfc3339(ms, out);
	out[10] = ' ';
	return kb_strdup(a, out);
}

/* A string that is itself JSON counts as that: forms send nothing else. */
static const char *
read_json(struct kb_arena *a, const struct kb_json *j)
{
	const char *text = kb_json_text(j);

	if (text != NULL && text[0] != '\0' &&
	    kb_json_check(a, text, strlen(text)) == NULL)
		return text;
	return kb_json_print(a, j);
}

static const char *const *
read_items(struct kb_arena *a, const struct kb_json *j, size_t *n)
{
	bool many = kb_json_kind(j) == KB_JSON_ARRAY;
	const char **items = kb_new_array(
	    a, (many ? kb_json_size(j) : 1) + 1, const char *);
	const char *item;

	*n = 0;
	if (many)
		j = kb_json_first(j);
	for (; j != NULL; j = many ? kb_json_after(j) : NULL) {
		item = read_text(a, j);
		if (item[0] != '\0' && !holds(items, *n, item))
			items[(*n)++] = item;
	}
	return items;
}

static const char *
read_choice(struct kb_arena *a, const struct field *f, const struct kb_json *j)
{
	size_t n;
	const char *const *items = read_items(a, j, &n);

	if (field_is_multi(f))
		return value_list_text(a, items, n);
	return n > 0 ? items[n - 1] : "";
}

/* {"lon":…,"lat":…}, or such text; what is neither is 0, 0. */
static const char *
read_point(struct kb_arena *a, const struct kb_json *j)
{
	const char *text = kb_json_text(j), *why;
	const struct kb_json *part;
	double lon = 0, lat = 0;

	if (text != NULL && kb_json_parse(a, text, strlen(text), &j, &why))
		return GEO_ZERO;
	part = kb_json_get(j, "lon");
	if (part != NULL && !kb_json_number(part, &lon))
		return GEO_ZERO;
	part = kb_json_get(j, "lat");
	if (part != NULL && !kb_json_number(part, &lat))
		return GEO_ZERO;
	return kb_sprintf(a, "{\"lon\":%.15g,\"lat\":%.15g}", lon, lat);
}

bool
value_read(struct judge *judge, const struct field *f, const struct kb_json *j,
    union cell *out)
{
	struct kb_arena *a = judge->arena;

	*out = value_zero(f);
	if (j == NULL)
		return true;
	switch (f->type) {
	case FT_NUMBER: out->number = read_number(a, j); break;
	case FT_BOOL: out->flag = read_flag(j); break;
	case FT_DATE:
	case FT_AUTODATE: out->text = value_date(a, j); break;
	case FT_SELECT:
	case FT_RELATION: out->text = read_choice(a, f, j); break;
	case FT_FILE: out->text = read_choice(a, f, j); break;
	case FT_JSON: out->text = read_json(a, j); break;
	case FT_GEO_POINT: out->text = read_point(a, j); break;
	default: out->text = read_text(a, j); break;
	}
	return true;
}

/* ---- modifiers
 * -------------------------------------------------------------------------- */

static void
modify_list(struct judge *judge, const struct field *f, enum modifier m,
    const struct kb_json *j, union cell *v)
{
	struct kb_arena *a = judge->arena;
	size_t n_old, n_new, n = 0;
	const char *const *old = value_list(a, v->text, &n_old);
	const char *const *new = read_items(a, j, &n_new);
	const char **out = kb_new_array(a, n_old + n_new + 1, const char *);

	for (size_t i = 0; m == MOD_PREPEND && i < n_new; i++)
		if (!holds(old, n_old, new[i]))
			out[n++] = new[i];
	for (size_t i = 0; i < n_old; i++)
		if (m != MOD_REMOVE || !holds(new, n_new, old[i]))
			out[n++] = old[i];
	for (size_t i = 0; m == MOD_APPEND && i < n_new; i++)
		if (!holds(old, n_old, new[i]))
			out[n++] = new[i];
	(void)f;
	v->text = value_list_text(a, out, n);
}

bool
value_modify(struct judge *judge, const struct field *f, enum modifier m,
    const struct kb_json *j, union cell *v)
{
	double d;

	if (f->type == FT_NUMBER) {
		d = read_number(judge->arena, j);
		v->number += m == MOD_REMOVE ? -d : d;
		return true;
	}
	if (f->type != FT_SELECT && f->type != FT_RELATION)
		return false;
	if (field_is_multi(f)) {
		modify_list(judge, f, m, j, v);
	} else {
		const char *item = read_choice(judge->arena, f, j);

		if (m != MOD_REMOVE)
			v->text = item;
		else if (strcmp(v->text, item) == 0)
			v->text = "";
	}
	return true;
}

/* ---- judging
 * -----------------------------------------------------------------------------
 */

static void
bad(struct judge *judge, const struct field *f, const char *code,
    const char *message)
{
	api_error_add(judge->arena, judge->errors, f->name, code, message);
}

/* With params {name: n}. */
static void
bad_bound(struct judge *judge, const struct field *f, const char *code,
    const char *fmt, struct bound n)
{
	const char *name = strstr(code, "_min_text") ? "min"
	    : strstr(code, "_max_text")              ? "max"
	    : strstr(code, "too_many")               ? "maxSelect"
	    : strstr(code, "not_enough")             ? "minSelect"
						     : NULL;
	char number[40];

	snprintf(number, sizeof(number), "%.15g", n.value);
	api_error_param(judge->arena, judge->errors, f->name, code,
	    kb_sprintf(judge->arena, "%s %s.", fmt, number),
	    name ? kb_sprintf(judge->arena, "{\"%s\":%s}", name, number)
		 : NULL);
}

static struct bound
bound_of(int64_t n)
{
	return (struct bound) { (double)n, true };
}

static int64_t
characters(const char *s)
{
	int64_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

/* Ids are judged at every write; other patterns by PCRE2, with its limits. */
static bool
matches(struct kb_arena *a, const char *pattern, const char *s)
{
	const struct kb_regex *re;
	const char *why = NULL;

	if (strcmp(pattern, "^[a-z0-9]+$") == 0)
		return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789")] ==
		    '\0';
	re = kb_regex_new(a, pattern, 0, &why);
	return re != NULL && kb_regex_match(re, kb_slice_of(s), NULL);
}

static void
check_text(struct judge *judge, const struct field *f, const char *s)
{
	int64_t n = characters(s);
	int64_t most = f->max_len > 0 ? f->max_len : TEXT_MAX;

	if (n < f->min_len)
		bad_bound(judge, f, "validation_min_text_constraint",
		    "The length must be at least", bound_of(f->min_len));
	else if (n > most)
		bad_bound(judge, f, "validation_max_text_constraint",
		    "The length must be no more than", bound_of(most));
	else if (f->pattern[0] != '\0' && !matches(judge->arena, f->pattern, s))
		bad(judge, f, "validation_invalid_format",
		    "Invalid value format.");
}

static void
check_number(struct judge *judge, const struct field *f, double d)
{
	if (f->only_int && d != floor(d))
		bad(judge, f, "validation_only_int_constraint",
		    "Decimal numbers are not allowed.");
	else if (f->min.set && d < f->min.value)
		bad_bound(judge, f, "validation_min_number_constraint",
		    "Must be larger than or equal to", f->min);
	else if (f->max.set && d > f->max.value)
		bad_bound(judge, f, "validation_max_number_constraint",
		    "Must be less than or equal to", f->max);
}

static bool
domain_allowed(const struct field *f, const char *domain)
{
	size_t n = 0;

	while (f->only != NULL && f->only[n] != NULL)
		n++;
	if (n > 0)
		return holds(f->only, n, domain);
	for (n = 0; f->except != NULL && f->except[n] != NULL;)
		n++;
	return n == 0 || !holds(f->except, n, domain);
}

static void
check_email(struct judge *judge, const struct field *f, const char *s)
{
	/* One that can be written to from anywhere: with a domain of names. */
	if (!kb_is_email(s) || strchr(strchr(s, '@'), '.') == NULL)
		bad(judge, f, "validation_is_email",
		    "Must be a valid email address.");
	else if (!domain_allowed(f, strchr(s, '@') + 1))
		bad(judge, f, "validation_email_domain_not_allowed",
		    "Email domain is not allowed.");
}

static void
check_url(struct judge *judge, const struct field *f, const char *s)
{
	const char *host = strstr(s, "://");
	size_t len = host ? strcspn(host + 3, "/?#:") : 0;

	if (host == NULL || host == s || len == 0 ||
	    strspn(s,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789+-.") != (size_t)(host - s) ||
	    strpbrk(s, " \"<>\\^`{|}") != NULL || kb_has_control(s, strlen(s)))
		bad(judge, f, "validation_invalid_url", "Must be a valid url.");
	else if (!domain_allowed(f, kb_strndup(judge->arena, host + 3, len)))
		bad(judge, f, "validation_url_domain_not_allowed",
		    "Url domain is not allowed.");
}

/* As RFC 3339 without what is zero, as upstream tells a bound. */
static const char *
threshold(struct kb_arena *a, const char *date)
{
	char *text = kb_strdup(a, date), *end;

	if (strlen(text) < 11)
		return kb_sprintf(a, "{\"threshold\":\"%s\"}", text);
	text[10] = 'T';
	end = strstr(text, ".000Z");
	if (end != NULL)
		memcpy(end, "Z", 2);
	return kb_sprintf(a, "{\"threshold\":\"%s\"}", text);
}

static void
check_date(struct judge *judge, const struct field *f, const char *s)
{
	if (f->after[0] != '\0' && strcmp(s, f->after) < 0)
		api_error_param(judge->arena, judge->errors, f->name,
		    "validation_min_greater_equal_than_required",
		    "Must not be earlier.", threshold(judge->arena, f->after));
	else if (f->before[0] != '\0' && strcmp(s, f->before) > 0)
		api_error_param(judge->arena, judge->errors, f->name,
		    "validation_max_less_equal_than_required",
		    "Must not be later.", threshold(judge->arena, f->before));
}

static void
bad_choice(struct judge *judge, const struct field *f, const char *item)
{
	struct kb_arena *a = judge->arena;
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, 8u << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "value", item);
	kb_w_object_end(&w);
	api_error_param(a, judge->errors, f->name, "validation_invalid_value",
	    "Invalid value.", kb_strdup(a, kb_buf_str(&b)));
	kb_buf_free(&b);
}

static void
check_select(struct judge *judge, const struct field *f, const char *s)
{
	size_t n = 1, allowed = 0;
	const char *const one[] = { s };
	const char *const *items = one;

	if (field_is_multi(f))
		items = value_list(judge->arena, s, &n);
	else if (s[0] == '\0')
		n = 0;
	while (f->values != NULL && f->values[allowed] != NULL)
		allowed++;
	if (field_is_multi(f) && (int64_t)n > f->max_select)
		bad_bound(judge, f, "validation_too_many_values",
		    "Select no more than", bound_of(f->max_select));
	for (size_t i = 0; i < n; i++)
		if (!holds(f->values, allowed, items[i]))
			bad_choice(judge, f, items[i]);
}

static void
check_relation(struct judge *judge, const struct field *f, const char *s)
{
	size_t n = s[0] != '\0';

	if (field_is_multi(f))
		(void)value_list(judge->arena, s, &n);
	if (field_is_multi(f) && (int64_t)n > f->max_select)
		bad_bound(judge, f, "validation_too_many_values",
		    "Select no more than", bound_of(f->max_select));
	else if (n > 0 && (int64_t)n < f->min_select)
		bad_bound(judge, f, "validation_not_enough_values",
		    "Select at least", bound_of(f->min_select));
}

static void
check_size(
    struct judge *judge, const struct field *f, const char *s, int64_t fallback)
{
	int64_t most = f->max_size > 0 ? f->max_size : fallback;

	if (s != NULL && (int64_t)strlen(s) > most)
		api_error_param(judge->arena, judge->errors, f->name,
		    f->type == FT_JSON ? "validation_json_size_limit"
				       : "validation_content_size_limit",
		    "The value is too large.",
		    kb_sprintf(
			judge->arena, "{\"maxSize\":%lld}", (long long)most));
}

static void
check_point(struct judge *judge, const struct field *f, const char *s)
{
	double lon = 0, lat = 0;

	if (sscanf(s, "{\"lon\":%lf,\"lat\":%lf}", &lon, &lat) != 2 ||
	    fabs(lon) > 180)
		bad(judge, f, "validation_invalid_longitude",
		    "Longitude must be between -180 and 180 degrees.");
	else if (fabs(lat) > 90)
		bad(judge, f, "validation_invalid_latitude",
		    "Latitude must be between -90 and 90 degrees.");
}

static void
check_files(struct judge *judge, const struct field *f, const char *s)
{
	size_t n = 1;
	int64_t most = f->max_select > 1 ? f->max_select : 1;

	if (field_is_multi(f))
		(void)value_list(judge->arena, s, &n);
	if ((int64_t)n > most)
		bad_bound(judge, f, "validation_too_many_files",
		    "The maximum allowed files is", bound_of(most));
}

void
value_check(struct judge *judge, const struct field *f, union cell v)
{
	if (f->required && value_is_zero(f, v)) {
		bad(judge, f, "validation_required", "Cannot be blank.");
		return;
	}
	if (value_is_zero(f, v) && f->type != FT_NUMBER)
		return;
	switch (f->type) {
	case FT_TEXT: check_text(judge, f, v.text); break;
	case FT_NUMBER:
		if (f->required || v.number != 0)
			check_number(judge, f, v.number);
		break;
	case FT_EMAIL: check_email(judge, f, v.text); break;
	case FT_URL: check_url(judge, f, v.text); break;
	case FT_DATE: check_date(judge, f, v.text); break;
	case FT_SELECT: check_select(judge, f, v.text); break;
	case FT_RELATION: check_relation(judge, f, v.text); break;
	case FT_FILE: check_files(judge, f, v.text); break;
	case FT_JSON: check_size(judge, f, v.text, JSON_MAX); break;
	case FT_EDITOR: check_size(judge, f, v.text, EDITOR_MAX); break;
	case FT_GEO_POINT: check_point(judge, f, v.text); break;
	default: break;
	}
}

/* Eight characters of time, seven at random: sorts by creation, and rows that
 * come together stand together. */
const char *
record_new_id(struct kb_arena *a)
{
	static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char *id = kb_arena_alloc(a, RECORD_ID_SIZE + 1);
	uint64_t time = (uint64_t)kb_wall_ms();
	unsigned char random[2 * RECORD_ID_SIZE];
	size_t n = 8;

	for (int i = 7; i >= 0; i--, time /= 36)
		id[i] = alphabet[time % 36];
	while (n < RECORD_ID_SIZE) {
		kb_random(random, sizeof(random));
		/* Bytes beyond seven alphabets would favour some letters. */
		for (size_t i = 0; i < sizeof(random) && n < RECORD_ID_SIZE;
		     i++)
			if (random[i] < 252)
				id[n++] = alphabet[random[i] % 36];
	}
	return id;
}
