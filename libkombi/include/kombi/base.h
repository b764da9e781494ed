/*
 * Attributes and compile-time checks that every other header uses.
 */
#ifndef KOMBI_BASE_H
#define KOMBI_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KB_MUSTUSE __attribute__((warn_unused_result))
#define KB_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define KB_NORETURN __attribute__((noreturn))
#define KB_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct of which `member` is pointed to by `ptr`. */
#define KB_CONTAINER(ptr, type, member)                                        \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * Evaluates to offsetof(type, member) and does not compile when the member's
 * type is not `want`. All rule tables (JSON, SQL columns, options) are built
 * on it, so that a wrong row is a compile error.
 */
#define KB_OFFSET_OF(type, member, want)                                       \
	(offsetof(type, member) + 0 * sizeof(struct {                          \
		_Static_assert(__builtin_types_compatible_p(                   \
				   __typeof__(((type *)0)->member), want),     \
		    #type "." #member " is not a " #want);                     \
		int used;                                                      \
	}))

/* Bytes that are not NUL-terminated: what came from the wire. */
struct kb_slice {
	const char *ptr;
	size_t len;
};

#endif
