/*
 * Options: every row of a table is read, converted and checked by its type;
 * the same rows make --help and --print-config.
 */
#include <kombi/config.h>

#include <arpa/inet.h>
#include <string.h>

#include <kombi/log.h>
#include <kombi/str.h>

#include "config_value.h"

#define VALUE_SHOWN 80 /* bytes of a wrong value in a message */

static void *
field_of(const struct kb_option_set *set, const struct kb_option *o)
{
	return (char *)set->into + o->offset;
}

/* A value that is no secret, for a message; passwords in URLs are hidden. */
static const char *
shown(struct kb_arena *a, const char *value)
{
	const char *scheme = strstr(value, "://");
	const char *at = scheme ? strchr(scheme, '@') : NULL;
	const char *colon = at
	    ? memchr(scheme + 3, ':', (size_t)(at - scheme - 3))
	    : NULL;

	if (colon)
		return kb_sprintf(a, "%.*s:***%.*s", (int)(colon - value),
		    value, VALUE_SHOWN, at);
	return kb_sprintf(a, "%.*s", VALUE_SHOWN, value);
}

static void
wrong(struct loader *l, const struct value *v, const char *allowed)
{
	config_problem(l, v->source, "must be %s, not \"%s\"", allowed,
	    shown(l->arena, v->bytes));
}

/* The further check of a row; tells what is wrong. */
static bool
checked(struct loader *l, const struct kb_option *o, const struct value *v,
    const char *text)
{
	const char *why = o->check ? o->check(text) : NULL;

	if (!why)
		return true;
	config_problem(
	    l, v->source, "%s, not \"%s\"", why, shown(l->arena, text));
	return false;
}

/* ---- one reader a type ----------------------------------------------------
 */

static bool
printable(struct loader *l, const struct value *v)
{
	if (strlen(v->bytes) == v->len && kb_utf8_valid(v->bytes, v->len) &&
	    !kb_has_control(v->bytes, v->len))
		return true;
	config_problem(l, v->source, "must be one line of UTF-8 text");
	return false;
}

static void
read_str(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	if (printable(l, v) && checked(l, o, v, v->bytes))
		*(const char **)field = kb_strdup(l->arena, v->bytes);
}

static bool
bounded(const struct kb_option *o)
{
	return o->min != 0 || o->max != 0;
}

static void
read_int(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	int64_t n;

	if (kb_parse_i64((struct kb_slice) { v->bytes, v->len }, &n) &&
	    (!bounded(o) || (n >= o->min && n <= o->max)))
		*(int64_t *)field = n;
	else if (bounded(o))
		wrong(l, v,
		    kb_sprintf(l->arena, "a whole number from %lld to %lld",
			(long long)o->min, (long long)o->max));
	else
		wrong(l, v, "a whole number");
}

static void
read_bool(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = { { "true", true }, { "1", true }, { "false", false },
		{ "0", false } };
	size_t i;

	(void)o;
	for (i = 0; i < KB_COUNT(words); i++)
		if (strcmp(v->bytes, words[i].text) == 0) {
			*(bool *)field = words[i].value;
			return;
		}
	wrong(l, v, "true or false");
}

static const char *
choices_text(struct kb_arena *a, const char *const *choices)
{
	const char *text = choices[0];
	size_t i;

	for (i = 1; choices[i]; i++)
		text = kb_sprintf(a, "%s, %s", text, choices[i]);
	return text;
}

static void
read_enum(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	int i;

	for (i = 0; o->choices[i]; i++)
		if (strcmp(v->bytes, o->choices[i]) == 0) {
			*(int *)field = i;
			return;
		}
	wrong(l, v,
	    kb_sprintf(
		l->arena, "one of %s", choices_text(l->arena, o->choices)));
}

static void
read_secret(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	const char *weak = l->development
	    ? NULL
	    : config_weak_secret(v->bytes, v->len);

	if ((int64_t)v->len < o->min)
		config_problem(l, v->source,
		    "must have at least %lld bytes, it has %zu",
		    (long long)o->min, v->len);
	else if (weak)
		config_problem(l, v->source,
		    "%s: make one with `openssl rand -hex 32`", weak);
	else
		kb_secret_set(field, v->bytes, v->len);
}

/* Host of an absolute http(s) URL without user info; empty if it is none. */
static struct kb_slice
url_host(const char *url)
{
	static const struct kb_slice none = { "", 0 };
	size_t skip = kb_str_starts(url, "http://") ? 7
	    : kb_str_starts(url, "https://")        ? 8
						    : 0;
	size_t n = strcspn(url + skip, "/?#");
	const char *host = url + skip;
	size_t len;

	if (skip == 0 || memchr(host, '@', n) || strpbrk(url, " \"<>\\^`{|}"))
		return none;
	if (host[0] == '[') {
		len = strcspn(host, "]");
		return len < n ? (struct kb_slice) { host, len + 1 } : none;
	}
	len = strcspn(host, ":/?#");
	return (struct kb_slice) { host, len };
}

static bool
is_loopback(struct kb_slice host)
{
	return kb_slice_eq(host, "localhost") || kb_slice_eq(host, "[::1]") ||
	    (host.len > 4 && memcmp(host.ptr, "127.", 4) == 0 &&
		strspn(host.ptr, "0123456789.") >= host.len);
}

static void
read_url(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	struct kb_slice host;

	if (!printable(l, v))
		return;
	host = url_host(v->bytes);
	if (host.len == 0 || strchr(v->bytes, '#'))
		wrong(l, v,
		    "an absolute http:// or https:// URL without user info "
		    "and fragment");
	else if ((o->flags & KB_OPT_HTTPS_IN_PRODUCTION) && !l->development &&
	    !kb_str_starts(v->bytes, "https://") && !is_loopback(host))
		wrong(l, v, "an https:// URL in production");
	else if (checked(l, o, v, v->bytes))
		*(const char **)field = kb_strdup(l->arena, v->bytes);
}

static void
read_list(struct loader *l, const struct kb_option *o, const struct value *v,
    void *field)
{
	struct kb_slice rest = { v->bytes, v->len }, part;
	const char **items;
	size_t n = 0;

	if (!printable(l, v))
		return;
	items = kb_new_array(l->arena, v->len / 2 + 2, const char *);
	while (kb_slice_next(&rest, ',', &part)) {
		part = kb_slice_trim(part);
		if (part.len == 0) {
			wrong(l, v, "a comma separated list without gaps");
			return;
		}
		items[n] = kb_slice_dup(l->arena, part);
		if (!checked(l, o, v, items[n++]))
			return;
	}
	*(const char *const **)field = items;
}

static void (*const readers[])(
    struct loader *, const struct kb_option *, const struct value *, void *) = {
	[KB_OPT_STR] = read_str,
	[KB_OPT_INT] = read_int,
	[KB_OPT_BOOL] = read_bool,
	[KB_OPT_ENUM] = read_enum,
	[KB_OPT_SECRET] = read_secret,
	[KB_OPT_URL] = read_url,
	[KB_OPT_LIST] = read_list,
};

/* ---- loading ---------------------------------------------------------------
 */

static bool
is_required(const struct loader *l, const struct kb_option *o)
{
	return (o->flags & KB_OPT_REQUIRED) ||
	    ((o->flags & KB_OPT_REQUIRED_IN_PRODUCTION) && !l->development);
}

static void
load_option(struct loader *l, const struct kb_option_set *set,
    const struct kb_option *o)
{
	struct value v;

	if (!value_find(l, o, &v))
		return;
	if (!v.bytes && o->fallback) {
		v.source = o->name;
		v.bytes = kb_xstrdup(o->fallback);
		v.len = strlen(o->fallback);
	}
	if (v.bytes)
		readers[o->type](l, o, &v, field_of(set, o));
	else if (is_required(l, o))
		config_problem(l, o->name, "is required%s%s%s",
		    o->flags & KB_OPT_REQUIRED ? "" : " in production",
		    o->help ? ": " : "", o->help ? o->help : "");
	value_free(&v);
}

static const struct kb_option *
option_named(const struct kb_option_set *set, const char *name, size_t len)
{
	const struct kb_option *o;

	for (o = set->options; o->type != KB_OPT_END; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

/* X_NEXT is what X will become: the same value would be no rotation. */
static void
check_rotation(struct loader *l, const struct kb_option_set *set,
    const struct kb_option *next)
{
	const unsigned char *a, *b;
	const struct kb_option *now;
	size_t n, m;

	if (next->type != KB_OPT_SECRET || !kb_str_ends(next->name, "_NEXT") ||
	    !kb_secret_is_set(field_of(set, next)))
		return;
	now = option_named(set, next->name, strlen(next->name) - 5);
	if (!now || now->type != KB_OPT_SECRET)
		return;
	a = kb_secret_reveal(field_of(set, now), &n);
	b = kb_secret_reveal(field_of(set, next), &m);
	if (n == m && memcmp(a, b, n) == 0)
		config_problem(l, next->name, "must differ from %s", now->name);
}

bool
kb_config_load(struct kb_arena *a, const struct kb_option_set *sets,
    char *const env[], bool development, struct kb_buf *problems)
{
	struct loader l = { .arena = a,
		.sets = sets,
		.env = env,
		.development = development,
		.problems = problems };
	const struct kb_option_set *set;
	const struct kb_option *o;
	size_t before = problems->len;

	for (set = sets; set->options; set++) {
		for (o = set->options; o->type != KB_OPT_END; o++)
			load_option(&l, set, o);
		for (o = set->options; o->type != KB_OPT_END; o++)
			check_rotation(&l, set, o);
	}
	config_refuse_unknown(&l);
	return problems->len == before && !kb_buf_failed(problems);
}

void
kb_config_free(const struct kb_option_set *sets)
{
	const struct kb_option *o;

	for (; sets->options; sets++)
		for (o = sets->options; o->type != KB_OPT_END; o++)
			if (o->type == KB_OPT_SECRET)
				kb_secret_free(field_of(sets, o));
}

/* ---- --help and --print-config ---------------------------------------------
 */

static void
print_bounds(const struct kb_option *o, FILE *out)
{
	int i;

	switch (o->type) {
	case KB_OPT_INT:
		if (bounded(o))
			fprintf(out, " [%lld..%lld]", (long long)o->min,
			    (long long)o->max);
		break;
	case KB_OPT_BOOL: fputs(" [true|false]", out); break;
	case KB_OPT_ENUM:
		for (i = 0; o->choices[i]; i++)
			fprintf(out, "%s%s", i ? "|" : " [", o->choices[i]);
		fputc(']', out);
		break;
	case KB_OPT_SECRET:
		fputs(" [secret", out);
		if (o->min)
			fprintf(
			    out, ", at least %lld bytes", (long long)o->min);
		fputc(']', out);
		break;
	case KB_OPT_URL: fputs(" [URL]", out); break;
	case KB_OPT_LIST: fputs(" [a,b,c]", out); break;
	case KB_OPT_STR:
	case KB_OPT_END: break;
	}
}

static void
help_option(const struct kb_option *o, FILE *out)
{
	fprintf(out, "  %s", o->name);
	if (o->alias)
		fprintf(out, " (also %s)", o->alias);
	print_bounds(o, out);
	if (o->fallback)
		fprintf(out, " default %s", o->fallback);
	if (o->flags & KB_OPT_REQUIRED)
		fputs(" required", out);
	else if (o->flags & KB_OPT_REQUIRED_IN_PRODUCTION)
		fputs(" required in production", out);
	fprintf(out, "\n        %s\n", o->help ? o->help : "");
}

void
kb_config_help(const struct kb_option_set *sets, FILE *out)
{
	const struct kb_option *o;

	fputs("Options are environment variables; NAME_FILE gives a value by "
	      "the file that holds it.\n",
	    out);
	for (; sets->options; sets++)
		for (o = sets->options; o->type != KB_OPT_END; o++)
			help_option(o, out);
}

static void
print_list(const char *const *items, FILE *out)
{
	size_t i;

	for (i = 0; items && items[i]; i++)
		fprintf(out, "%s%s", i ? "," : "", items[i]);
}

static void
print_text(const char *text, FILE *out)
{
	struct kb_arena *a = kb_arena_new(0);

	if (text)
		fputs(strstr(text, "://") ? shown(a, text) : text, out);
	kb_arena_free(a);
}

static void
print_value(const struct kb_option *o, const void *field, FILE *out)
{
	switch (o->type) {
	case KB_OPT_STR:
	case KB_OPT_URL: print_text(*(const char *const *)field, out); break;
	case KB_OPT_INT:
		fprintf(out, "%lld", (long long)*(const int64_t *)field);
		break;
	case KB_OPT_BOOL:
		fputs(*(const bool *)field ? "true" : "false", out);
		break;
	case KB_OPT_ENUM: fputs(o->choices[*(const int *)field], out); break;
	case KB_OPT_SECRET:
		fputs(kb_secret_is_set(field) ? "(set)" : "(not set)", out);
		break;
	case KB_OPT_LIST:
		print_list(*(const char *const *const *)field, out);
		break;
	case KB_OPT_END: break;
	}
}

void
kb_config_print(const struct kb_option_set *sets, FILE *out)
{
	const struct kb_option *o;

	for (; sets->options; sets++)
		for (o = sets->options; o->type != KB_OPT_END; o++) {
			fprintf(out, "%s=", o->name);
			print_value(o, field_of(sets, o), out);
			fputc('\n', out);
		}
}

/* ---- what every service has -------------------------------------------------
 */

static const char *
check_address(const char *value)
{
	struct in6_addr any;

	if (inet_pton(AF_INET, value, &any) == 1 ||
	    inet_pton(AF_INET6, value, &any) == 1)
		return NULL;
	return "must be an IP address such as 127.0.0.1, 0.0.0.0 or ::";
}

static const char *const environments[] = { "production", "development", NULL };
static const char *const modes[] = { "self-hosted", "saas-shared",
	"saas-dedicated", NULL };
static const char *const levels[] = { "debug", "info", "warn", "error", NULL };

#define T struct kb_common_config
static const struct kb_option common_options[] = {
	KB_OPTION_ENUM(T, environment, "KOMBI_ENVIRONMENT",
	    .choices = environments, .fallback = "production",
	    .help = "development relaxes what production refuses"),
	KB_OPTION_ENUM(T, mode, "KOMBIFY_DEPLOYMENT_MODE",
	    .alias = "KOMBI_DEPLOYMENT_MODE", .choices = modes,
	    .fallback = "self-hosted", .help = "who runs this for whom"),
	KB_OPTION_STR(T, listen, "KOMBI_LISTEN", .fallback = "127.0.0.1",
	    .check = check_address, .help = "address to listen on"),
	KB_OPTION_INT(T, port, "PORT", .alias = "KOMBI_PORT", .min = 0,
	    .max = 65535, .help = "port to listen on; 0 picks a free one"),
	KB_OPTION_INT(T, workers, "KOMBI_WORKERS", .min = 1, .max = 256,
	    .help = "threads that handle requests"),
	KB_OPTION_INT(T, queue, "KOMBI_QUEUE", .min = 1, .max = 65536,
	    .fallback = "256",
	    .help = "requests that may wait for a worker before 503"),
	KB_OPTION_INT(T, drain_ms, "KOMBI_DRAIN_MS", .min = 0, .max = 25000,
	    .fallback = "25000",
	    .help = "how long SIGTERM lets requests finish, in ms"),
	KB_OPTION_ENUM(T, log_level, "KOMBI_LOG_LEVEL",
	    .alias = "KOMBIFY_LOG_LEVEL", .choices = levels, .fallback = "info",
	    .help = "least level that is logged"),
	KB_OPTION_SECRET(T, service_secret, "KOMBI_SERVICE_SECRET", .min = 32,
	    .flags = KB_OPT_REQUIRED_IN_PRODUCTION,
	    .help = "root of the keys between services, the same for all"),
	KB_OPTION_SECRET(T, service_secret_next, "KOMBI_SERVICE_SECRET_NEXT",
	    .min = 32, .help = "accepted as well: the next root, to rotate"),
	KB_OPTIONS_END,
};
#undef T

const struct kb_option *
kb_common_options(
    struct kb_arena *a, int64_t default_port, int64_t default_workers)
{
	struct kb_option *copy = kb_new_array(
	    a, KB_COUNT(common_options), struct kb_option);
	struct kb_option *o;

	memcpy(copy, common_options, sizeof(common_options));
	for (o = copy; o->type != KB_OPT_END; o++) {
		if (strcmp(o->name, "PORT") == 0)
			o->fallback = kb_sprintf(
			    a, "%lld", (long long)default_port);
		if (strcmp(o->name, "KOMBI_WORKERS") == 0)
			o->fallback = kb_sprintf(
			    a, "%lld", (long long)default_workers);
	}
	return copy;
}
