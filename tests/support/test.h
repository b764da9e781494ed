/*
 * What every unit test needs: cmocka with the headers that it wants first,
 * an arena a test, and a temporary folder.
 */
#ifndef KOMBI_TESTS_TEST_H
#define KOMBI_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/arena.h>

/* Setup and teardown: *state is an arena of the test's own. */
static inline int
test_arena_new(void **state)
{
	*state = kb_arena_new(0);
	return 0;
}

static inline int
test_arena_free(void **state)
{
	kb_arena_free(*state);
	return 0;
}

#define test_with_arena(fn)                                                    \
	cmocka_unit_test_setup_teardown(fn, test_arena_new, test_arena_free)

/* A slice of a string constant, NUL bytes inside included. */
#define test_slice(text) ((struct kb_slice) { (text), sizeof(text) - 1 })

/* Text contains part; prints both if not. */
static inline void
test_contains(const char *text, const char *part)
{
	if (!text || !strstr(text, part))
		fail_msg("\"%s\" does not contain \"%s\"",
		    text ? text : "(null)", part);
}

/* Polls until done(arg) or ten seconds are over; false if they are. */
static inline bool
test_wait(bool (*done)(void *), void *arg)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int i;

	for (i = 0; i < 10000 && !done(arg); i++)
		nanosleep(&pause, NULL);
	return i < 10000;
}

#endif
