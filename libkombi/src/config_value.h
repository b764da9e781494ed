/* Where option values come from. Private to config*.c. */
#ifndef KOMBI_SRC_CONFIG_VALUE_H
#define KOMBI_SRC_CONFIG_VALUE_H

#include <kombi/buf.h>
#include <kombi/config.h>

/* What a load is about. */
struct loader {
	struct kb_arena *arena;
	const struct kb_option_set *sets;
	char *const *env;
	bool development;
	struct kb_buf *problems;
};

/* The text given for an option; wiped by value_free(), it may be a secret. */
struct value {
	const char *source; /* variable that gave it, for messages */
	char *bytes;        /* NUL-terminated; NULL: not given */
	size_t len;
};

/* Appends "NAME: text" as a line. */
void config_problem(struct loader *l, const char *name, const char *fmt, ...)
    KB_PRINTF(3, 4);

/* False if there was a problem (told). */
bool value_find(struct loader *l, const struct kb_option *o, struct value *v);
void value_free(struct value *v);

/* Tells every KOMBI_* and KOMBIFY_* variable that nobody knows. */
void config_refuse_unknown(struct loader *l);

/* NULL, or why a secret must not be used in production. */
const char *config_weak_secret(const char *s, size_t len);

#endif
