/*
 * Region allocator: one arena per piece of work (request, job, configuration
 * snapshot). What is allocated from it lives exactly as long as the arena;
 * nothing is freed singly. Allocation cannot fail: out of memory aborts.
 * An arena belongs to one thread at a time.
 */
#ifndef KOMBI_ARENA_H
#define KOMBI_ARENA_H

#include <stdarg.h>

#include <kombi/base.h>

struct kb_arena;

/* First block of `hint` bytes (0: a default). Never NULL. */
struct kb_arena *kb_arena_new(size_t hint);

/* Frees everything; NULL is fine. */
void kb_arena_free(struct kb_arena *a);

/* Forgets everything but keeps the first block for reuse. */
void kb_arena_reset(struct kb_arena *a);

/* Bytes handed out since new or reset. */
size_t kb_arena_used(const struct kb_arena *a);

/* Zeroed memory, aligned for any type. */
void *kb_arena_alloc(struct kb_arena *a, size_t size) __attribute__((malloc));

/* n × size zeroed, aborts on overflow. */
void *kb_arena_array(struct kb_arena *a, size_t n, size_t size);

#define kb_new(arena, type) ((type *)kb_arena_alloc((arena), sizeof(type)))
#define kb_new_array(arena, n, type)                                           \
	((type *)kb_arena_array((arena), (n), sizeof(type)))

/* NUL-terminated copies. NULL stays NULL in kb_strdup. */
char *kb_strdup(struct kb_arena *a, const char *s);
char *kb_strndup(struct kb_arena *a, const char *s, size_t n);
char *kb_slice_dup(struct kb_arena *a, struct kb_slice s);
char *kb_sprintf(struct kb_arena *a, const char *fmt, ...) KB_PRINTF(2, 3);
char *
kb_vsprintf(struct kb_arena *a, const char *fmt, va_list ap) KB_PRINTF(2, 0);

/* Calls fn(arg) when the arena is freed or reset, last registered first. */
void kb_arena_on_free(struct kb_arena *a, void (*fn)(void *), void *arg);

/*
 * malloc, calloc, realloc, strdup that abort instead of returning NULL, for
 * libkombi types with a heap part of their own. Released with free().
 */
void *kb_xalloc(size_t size);
void *kb_xrealloc(void *p, size_t size);
char *kb_xstrdup(const char *s);

#endif
