/*
 * Region allocator: a chain of blocks, the first one inside the arena itself,
 * so that most requests cost one malloc. Under ASan the unused part of every
 * block is poisoned and allocations are kept apart, so that an overflow inside
 * an arena is found like one on the heap.
 */
#include <kombi/arena.h>

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
/* gcc takes poisoning fresh memory for reading it. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define ARENA_GAP 16
#define arena_hide(p, n) __asan_poison_memory_region((p), (n))
#define arena_show(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define ARENA_GAP 0
#define arena_hide(p, n) ((void)(p), (void)(n))
#define arena_show(p, n) ((void)(p), (void)(n))
#endif

#define ARENA_ALIGN 16
#define ARENA_DEFAULT 4000
#define ARENA_MAX_BLOCK ((size_t)64 * 1024)

struct block {
	alignas(ARENA_ALIGN) struct block *next;
	size_t size;
	size_t used;
};

struct cleanup {
	void (*fn)(void *);
	void *arg;
	struct cleanup *next;
};

struct kb_arena {
	struct block *current; /* where small allocations are taken from */
	struct cleanup *cleanups;
	size_t used;
	struct block first; /* its bytes follow the struct; last member */
};

static char *
block_bytes(struct block *b)
{
	return (char *)(b + 1);
}

void *
kb_xalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

void *
kb_xrealloc(void *p, size_t size)
{
	void *q = realloc(p, size ? size : 1);

	if (!q)
		abort();
	return q;
}

char *
kb_xstrdup(const char *s)
{
	char *p = strdup(s);

	if (!p)
		abort();
	return p;
}

struct kb_arena *
kb_arena_new(size_t hint)
{
	size_t size = hint ? hint : ARENA_DEFAULT;
	struct kb_arena *a;

	if (size > SIZE_MAX / 2)
		abort();
	size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	a = malloc(sizeof(*a) + size);
	if (!a)
		abort();
	a->current = &a->first;
	a->cleanups = NULL;
	a->used = 0;
	a->first.next = NULL;
	a->first.size = size;
	a->first.used = 0;
	arena_hide(block_bytes(&a->first), size);
	return a;
}

static void
arena_empty(struct kb_arena *a)
{
	struct block *b, *next;

	while (a->cleanups) {
		struct cleanup *c = a->cleanups;

		a->cleanups = c->next;
		c->fn(c->arg);
	}
	for (b = a->first.next; b; b = next) {
		next = b->next;
		arena_show(block_bytes(b), b->size);
		free(b);
	}
	a->first.next = NULL;
}

void
kb_arena_free(struct kb_arena *a)
{
	if (!a)
		return;
	arena_empty(a);
	arena_show(block_bytes(&a->first), a->first.size);
	free(a);
}

void
kb_arena_reset(struct kb_arena *a)
{
	arena_empty(a);
	a->current = &a->first;
	a->first.used = 0;
	a->used = 0;
	arena_hide(block_bytes(&a->first), a->first.size);
}

size_t
kb_arena_used(const struct kb_arena *a)
{
	return a->used;
}

static struct block *
block_after(struct block *where, size_t size)
{
	struct block *b = malloc(sizeof(*b) + size);

	if (!b)
		abort();
	b->size = size;
	b->used = 0;
	b->next = where->next;
	where->next = b;
	arena_hide(block_bytes(b), size);
	return b;
}

static struct block *
arena_room(struct kb_arena *a, size_t need)
{
	struct block *b = a->current;
	size_t size = b->size * 2;

	if (b->size - b->used >= need)
		return b;
	if (size < ARENA_DEFAULT)
		size = ARENA_DEFAULT & ~(size_t)(ARENA_ALIGN - 1);
	if (size > ARENA_MAX_BLOCK)
		size = ARENA_MAX_BLOCK;
	/* What is large gets a block of its own: the rest stays usable. */
	if (need > size / 2)
		return block_after(b, need);
	a->current = block_after(b, size);
	return a->current;
}

void *
kb_arena_alloc(struct kb_arena *a, size_t size)
{
	struct block *b;
	size_t need;
	char *p;

	if (size > SIZE_MAX / 2)
		abort();
	need = (size + ARENA_GAP + ARENA_ALIGN - 1) &
	    ~(size_t)(ARENA_ALIGN - 1);
	if (need == 0)
		need = ARENA_ALIGN;
	b = arena_room(a, need);
	p = block_bytes(b) + b->used;
	b->used += need;
	a->used += size;
	arena_show(p, size);
	memset(p, 0, size);
	return p;
}

void *
kb_arena_array(struct kb_arena *a, size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total))
		abort();
	return kb_arena_alloc(a, total);
}

char *
kb_strndup(struct kb_arena *a, const char *s, size_t n)
{
	char *p = kb_arena_alloc(a, n + 1);

	if (n)
		memcpy(p, s, n);
	return p;
}

char *
kb_strdup(struct kb_arena *a, const char *s)
{
	return s ? kb_strndup(a, s, strlen(s)) : NULL;
}

char *
kb_slice_dup(struct kb_arena *a, struct kb_slice s)
{
	return kb_strndup(a, s.ptr, s.len);
}

char *
kb_vsprintf(struct kb_arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		abort();
	p = kb_arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	return p;
}

char *
kb_sprintf(struct kb_arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = kb_vsprintf(a, fmt, ap);
	va_end(ap);
	return p;
}

void
kb_arena_on_free(struct kb_arena *a, void (*fn)(void *), void *arg)
{
	struct cleanup *c = kb_new(a, struct cleanup);

	c->fn = fn;
	c->arg = arg;
	c->next = a->cleanups;
	a->cleanups = c;
}
