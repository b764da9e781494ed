/*
 * Regular expressions of an operator on a client's bytes (PCRE2, compiled to
 * machine code where that is possible). Every match is bounded in steps,
 * depth and memory, so that no pair of pattern and text can hold a loop for
 * more than about a millisecond. UTF-8 is matched as bytes.
 */
#ifndef KOMBI_REGEX_H
#define KOMBI_REGEX_H

#include <kombi/arena.h>
#include <kombi/base.h>

struct kb_regex;

enum {
	KB_REGEX_AT_START = 1, /* matches at the first byte or not at all */
	KB_REGEX_WHOLE = 2,    /* the whole text or not at all */
	KB_REGEX_ICASE = 4,
	KB_REGEX_GROUPS = 32, /* the whole match and 31 groups */
};

/*
 * Lives as long as the arena. NULL: *why says what is wrong with it and where
 * (arena). Beyond PCRE2's grammar are refused: more than 4096 bytes, more
 * than 31 groups, call-outs and \C.
 */
struct kb_regex *kb_regex_new(struct kb_arena *a, const char *pattern,
    unsigned flags, const char **why) KB_MUSTUSE;
/*
 * Any thread. False: it does not match, or the bounds were reached. `groups`
 * (KB_REGEX_GROUPS of them, or NULL) gets what the whole and the groups
 * matched; ptr NULL: nothing.
 */
bool kb_regex_match(
    const struct kb_regex *re, struct kb_slice text, struct kb_slice *groups);
/* Groups, the whole match not counted. */
size_t kb_regex_groups(const struct kb_regex *re);
/* Name of a group from 1; NULL: it has none. */
const char *kb_regex_name(const struct kb_regex *re, size_t group);

#endif
