/* Archives: the same files give the same bytes, and only safe ones are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <kombi/archive.h>

static const char big[200000];

static enum kb_err
pack(struct kb_arena *a, const char *const *paths, struct kb_slice *out)
{
	struct kb_archive *w = kb_archive_new(1700000000, 1 << 20);

	for (; *paths != NULL; paths++) {
		enum kb_err err = kb_archive_add(
		    w, *paths, *paths, strlen(*paths), false);

		if (err != KB_OK) {
			kb_archive_free(w);
			return err;
		}
	}
	return kb_archive_finish(w, a, &out->ptr, &out->len);
}

static void
the_same_files_give_the_same_bytes(void **state)
{
	static const char *const paths[] = { "kit-1.0.0/stackfile.cue",
		"kit-1.0.0/tofu/main.tf", NULL };
	struct kb_arena *a = kb_arena_new(0);
	struct kb_slice one, two;

	(void)state;
	assert_int_equal(pack(a, paths, &one), KB_OK);
	assert_int_equal(pack(a, paths, &two), KB_OK);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.ptr, two.ptr, one.len);
	/* gzip magic, and no time in its header */
	assert_memory_equal(one.ptr, "\x1f\x8b", 2);
	assert_memory_equal(one.ptr + 4, "\0\0\0\0", 4);
	kb_arena_free(a);
}

struct got {
	char names[256];
	size_t used, n, bytes;
};

static enum kb_err
each(void *arg, const char *path, const void *data, size_t len, bool exec)
{
	struct got *g = arg;

	(void)data;
	(void)exec;
	g->n++;
	g->bytes += len;
	g->used += (size_t)snprintf(
	    g->names + g->used, sizeof(g->names) - g->used, "%s ", path);
	return KB_OK;
}

static void
what_was_packed_is_read_back_in_order(void **state)
{
	static const char *const paths[] = { "b", "a/x.tf", NULL };
	struct kb_arena *a = kb_arena_new(0);
	struct got g = { 0 };
	struct kb_slice tar;
	const char *why;

	(void)state;
	assert_int_equal(pack(a, paths, &tar), KB_OK);
	assert_int_equal(
	    kb_archive_read(a, tar, 1 << 20, each, &g, &why), KB_OK);
	assert_string_equal(g.names, "b a/x.tf ");
	assert_int_equal(g.bytes, 7);
	kb_arena_free(a);
}

static void
unsafe_paths_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"/etc/passwd",
		"../evil",
		"a/../evil",
		"a//b",
		"a/",
		"./a",
		"-rf",
		"a/-x",
		"a b",
		"a\\b",
		"a\nb",
		"\xc3\xa4",
		"1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
	};
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	for (size_t i = 0; i < KB_COUNT(bad); i++) {
		const char *const paths[] = { bad[i], NULL };
		struct kb_slice tar;

		assert_int_equal(pack(a, paths, &tar), KB_INVALID);
	}
	assert_true(
	    kb_archive_path_ok("base-homelab-1.0.0/cue.mod/module.cue"));
	assert_true(kb_archive_path_ok(".terraform.lock.hcl"));
	kb_arena_free(a);
}

static void
a_result_over_its_limit_is_refused(void **state)
{
	struct kb_archive *w = kb_archive_new(0, 600);
	char noise[4096];
	unsigned seed = 1;
	enum kb_err err;
	const char *data;
	size_t len;
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)rand_r(&seed);
	err = kb_archive_add(w, "noise", noise, sizeof(noise), false);
	if (err == KB_OK)
		err = kb_archive_finish(w, a, &data, &len);
	else
		kb_archive_free(w);
	assert_int_equal(err, KB_TOO_LARGE);
	kb_arena_free(a);
}

static void
bombs_and_rubbish_are_refused_when_reading(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_archive *w = kb_archive_new(0, 1 << 20);
	struct kb_slice tar, cut;
	struct got g = { 0 };
	const char *why;

	(void)state;
	assert_int_equal(
	    kb_archive_add(w, "zeros", big, sizeof(big), false), KB_OK);
	assert_int_equal(kb_archive_finish(w, a, &tar.ptr, &tar.len), KB_OK);
	assert_int_equal(
	    kb_archive_read(a, tar, 1 << 20, each, &g, &why), KB_INVALID);
	assert_string_equal(why, "more data than allowed");
	cut = (struct kb_slice) { tar.ptr, tar.len / 2 };
	assert_int_equal(
	    kb_archive_read(a, cut, 1 << 20, each, &g, &why), KB_INVALID);
	cut = (struct kb_slice) { "not an archive", 14 };
	assert_int_equal(
	    kb_archive_read(a, cut, 1 << 20, each, &g, &why), KB_INVALID);
	assert_int_equal(g.n, 0);
	kb_arena_free(a);
}

static void
the_same_name_twice_is_refused_when_reading(void **state)
{
	static const char *const paths[] = { "a", "a", NULL };
	struct kb_arena *a = kb_arena_new(0);
	struct got g = { 0 };
	struct kb_slice tar;
	const char *why;

	(void)state;
	assert_int_equal(pack(a, paths, &tar), KB_OK);
	assert_int_equal(
	    kb_archive_read(a, tar, 1 << 20, each, &g, &why), KB_INVALID);
	assert_string_equal(why, "the same name twice");
	kb_arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_files_give_the_same_bytes),
		cmocka_unit_test(what_was_packed_is_read_back_in_order),
		cmocka_unit_test(unsafe_paths_are_refused),
		cmocka_unit_test(a_result_over_its_limit_is_refused),
		cmocka_unit_test(bombs_and_rubbish_are_refused_when_reading),
		cmocka_unit_test(the_same_name_twice_is_refused_when_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
