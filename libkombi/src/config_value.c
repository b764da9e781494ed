/*
 * Where option values come from: the environment, files named by it, and
 * what is refused there: variables nobody knows, secrets anybody can read
 * or guess.
 */
#include "config_value.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>

#define FILE_MAX 65536

void
config_problem(struct loader *l, const char *name, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kb_buf_addf(
	    l->problems, "%s: %s\n", name, kb_vsprintf(l->arena, fmt, ap));
	va_end(ap);
}

/* Value of a variable; NULL if unset or empty (compose files pass ""). */
static const char *
env_get(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			return (*env)[n + 1] ? *env + n + 1 : NULL;
	return NULL;
}

static bool
file_mode_ok(struct loader *l, const char *name, const char *path, mode_t mode)
{
	if (l->development || (mode & 0077 & ~(mode_t)0040) == 0)
		return true;
	config_problem(l, name,
	    "%s has mode %04o: a secret must not be open to others "
	    "(chmod 0400, or 0440)",
	    path, (unsigned)(mode & 07777));
	return false;
}

/* Reads a whole descriptor; -1 on error or beyond FILE_MAX. */
static ssize_t
read_whole(int fd, char *out)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, out + len, FILE_MAX + 1 - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		len += (size_t)n;
		if (len > FILE_MAX)
			return -1;
	}
	return (ssize_t)len;
}

static bool
open_value_file(struct loader *l, const struct kb_option *o, const char *name,
    const char *path, int *fd)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 || fstat(*fd, &st) != 0) {
		config_problem(
		    l, name, "cannot read %s: %s", path, strerror(errno));
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		config_problem(l, name, "%s is no regular file", path);
		return false;
	}
	return o->type != KB_OPT_SECRET ||
	    file_mode_ok(l, name, path, st.st_mode);
}

static bool
value_from_file(struct loader *l, const struct kb_option *o, struct value *v,
    const char *path)
{
	ssize_t n = -1;
	int fd;

	if (!open_value_file(l, o, v->source, path, &fd)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	v->len = FILE_MAX + 1;
	v->bytes = kb_xalloc(v->len + 1);
	n = read_whole(fd, v->bytes);
	close(fd);
	if (n < 0) {
		config_problem(l, v->source,
		    "cannot read %s, or it has more than 64 KiB", path);
		value_free(v);
		return false;
	}
	v->len = (size_t)n;
	if (v->len && v->bytes[v->len - 1] == '\n')
		v->len--;
	v->bytes[v->len] = '\0';
	if (v->len == 0) {
		config_problem(l, v->source, "%s is empty", path);
		value_free(v);
		return false;
	}
	return true;
}

/* One of the option's names: NAME or NAME_FILE. */
static bool
value_from_name(struct loader *l, const struct kb_option *o, const char *name,
    struct value *v)
{
	const char *file = kb_sprintf(l->arena, "%s_FILE", name);
	const char *text = env_get(l->env, name);
	const char *path = env_get(l->env, file);

	if (text && path) {
		config_problem(
		    l, name, "given twice, also as %s: remove one", file);
		return false;
	}
	if (path) {
		v->source = file;
		return value_from_file(l, o, v, path);
	}
	if (text) {
		v->source = name;
		v->bytes = kb_xstrdup(text);
		v->len = strlen(text);
	}
	return true;
}

bool
value_find(struct loader *l, const struct kb_option *o, struct value *v)
{
	struct value other = { 0 };
	bool same;

	*v = (struct value) { 0 };
	if (!value_from_name(l, o, o->name, v))
		return false;
	if (!o->alias)
		return true;
	if (!value_from_name(l, o, o->alias, &other)) {
		value_free(v);
		return false;
	}
	if (!other.bytes)
		return true;
	if (!v->bytes) {
		*v = other;
		return true;
	}
	same = v->len == other.len &&
	    memcmp(v->bytes, other.bytes, v->len) == 0;
	value_free(&other);
	if (same)
		return true;
	config_problem(l, v->source,
	    "differs from %s, which is the same option: remove one", o->alias);
	value_free(v);
	return false;
}

void
value_free(struct value *v)
{
	if (v->bytes)
		explicit_bzero(v->bytes, v->len);
	free(v->bytes);
	*v = (struct value) { 0 };
}

/* ---- variables that nobody knows ---------------------------------------- */

/* Names with our prefix that are another program's, so that one environment
 * can be given to all of the platform. */
static const char *const foreign[] = {
	"KOMBI_*_PORT", /* deploy/local: where it lets each service listen */
	"KOMBI_ADMIN_LISTEN", /* gateway */
	"KOMBI_ADMIN_URL",    /* captive gateway, as KOMBI_URL */
	"KOMBI_AUDIENCE",
	"KOMBI_BIN_DIR",
	"KOMBI_BUILD_*",  /* deploy/local and CI */
	"KOMBI_DATA_DIR", /* stack, sim */
	"KOMBI_DEV_*",
	"KOMBI_FUZZ_*",
	"KOMBI_IDP_*",
	"KOMBI_ISSUER",
	"KOMBI_LOCAL_*",       /* deploy/local */
	"KOMBI_RETRY_PERCENT", /* gateway */
	"KOMBI_SOURCE_DIR",    /* tests */
	"KOMBI_TEST_*",
	"KOMBI_TRUSTED_PROXIES", /* gateway */
	"KOMBI_URL", /* captive mode, for the command that it runs */
	"KOMBIFY_DATABASE_URL",
	"KOMBIFY_METRICS_ENABLED",
};

static bool
is_foreign(const char *name)
{
	size_t i;

	for (i = 0; i < KB_COUNT(foreign); i++)
		if (fnmatch(foreign[i], name, 0) == 0)
			return true;
	return false;
}

/* `name` is `option`, or its file form. */
static bool
names_option(const char *name, const char *option)
{
	size_t n = option ? strlen(option) : 0;

	return option && strncmp(name, option, n) == 0 &&
	    (name[n] == '\0' || strcmp(name + n, "_FILE") == 0);
}

#define NAME_MAX_LEN 64

/* Levenshtein distance of names up to NAME_MAX_LEN; large for longer ones. */
static size_t
distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LEN + 1], n = strlen(a), m = strlen(b), i, j;

	if (n > NAME_MAX_LEN || m > NAME_MAX_LEN)
		return SIZE_MAX;
	for (j = 0; j <= m; j++)
		row[j] = j;
	for (i = 1; i <= n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= m; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[m];
}

/* True if the name is an option's; else *nearest is the most similar one. */
static bool
find_option(struct loader *l, const char *name, const char **nearest)
{
	const struct kb_option_set *set;
	const struct kb_option *o;
	size_t best = 4, d;

	*nearest = NULL;
	for (set = l->sets; set->options; set++)
		for (o = set->options; o->type != KB_OPT_END; o++) {
			if (names_option(name, o->name) ||
			    names_option(name, o->alias))
				return true;
			d = distance(name, o->name);
			if (d < best) {
				best = d;
				*nearest = o->name;
			}
		}
	return false;
}

void
config_refuse_unknown(struct loader *l)
{
	char *const *e;

	for (e = l->env; *e; e++) {
		size_t n = strcspn(*e, "=");
		const char *name, *nearest;

		if (!kb_str_starts(*e, "KOMBI_") &&
		    !kb_str_starts(*e, "KOMBIFY_"))
			continue;
		name = kb_strndup(l->arena, *e, n);
		if (find_option(l, name, &nearest) || is_foreign(name))
			continue;
		if (nearest)
			config_problem(l, name,
			    "unknown variable, did you mean %s?", nearest);
		else
			config_problem(l, name,
			    "unknown variable (--help lists what there is)");
	}
}

/* ---- secrets that can be guessed ----------------------------------------- */

static bool
starts_well_known(const char *s)
{
	static const char *const words[] = { "change", "default", "dummy",
		"example", "insecure", "kombi", "password", "placeholder",
		"please", "replace", "secret", "test", "your" };
	size_t i;

	for (i = 0; i < KB_COUNT(words); i++)
		if (strncasecmp(s, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

static size_t
distinct_bytes(const char *s, size_t len)
{
	bool seen[256] = { false };
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		n += !seen[c];
		seen[c] = true;
	}
	return n;
}

/* Made of one part of at most half its length, again and again. */
static bool
repeats(const char *s, size_t len)
{
	size_t period;

	for (period = 1; period <= len / 2; period++)
		if (memcmp(s, s + period, len - period) == 0)
			return true;
	return false;
}

const char *
config_weak_secret(const char *s, size_t len)
{
	if (starts_well_known(s))
		return "begins like a value from an example";
	if (len >= 16 && distinct_bytes(s, len) < 8)
		return "has too few different characters";
	if (repeats(s, len))
		return "is one part repeated";
	return NULL;
}
