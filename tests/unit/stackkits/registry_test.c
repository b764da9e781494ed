/* The registry: which kits it takes, which it refuses, what it packs. */
#include <setjmp.h>
#include <stdarg.h>

#include "folder.h"

#include <kombi/crypto.h>
#include <kombi/json.h>

#include "stackkits.h"

/* Without cue kits are read and packed, only not tried out. */
static const struct sk_config no_cue = { .parallel = 1, .cached = 0 };

static struct sk_registry *
load(void)
{
	struct sk_judge *j = sk_judge_new(&no_cue);
	struct sk_registry *r = sk_registry_load(folder, j);

	sk_judge_free(j);
	return r;
}

static void
a_broken_kit_is_refused_and_the_others_are_served(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct sk_registry *r;

	(void)state;
	folder_kit(a, "good-kit", "free");
	folder_put(a, "kits/no-manifest/stackfile.cue", "package kit\n");
	folder_kit(a, "bad-plan", "gold");
	folder_kit(a, "with-tool", "free");
	folder_put(a, "kits/with-tool/run_tool.cue", "package kit\n");
	folder_kit(a, "with-link", "free");
	assert_int_equal(symlink("/etc/passwd",
			     kb_sprintf(a, "%s/kits/with-link/tofu", folder)),
	    0);
	folder_kit(a, "bad-name", "free");
	folder_put(a, "kits/bad-name/a b", "");
	folder_kit(a, "Bad_Id", "free");
	folder_kit(a, "broken-yaml", "free");
	folder_put(
	    a, "kits/broken-yaml/stackkit.yaml", "metadata: {name: [}\n");
	r = load();
	assert_int_equal(r->n, 1);
	assert_int_equal(r->n_refused, 7);
	assert_string_equal(r->kits[0].id, "good-kit");
	assert_ptr_equal(sk_registry_find(r, "good-kit-alias"), &r->kits[0]);
	assert_null(sk_registry_find(r, "bad-plan"));
	assert_null(sk_registry_find(r, "../good-kit"));
	sk_registry_free(r);
	kb_arena_free(a);
}

static void
a_kit_cannot_take_the_name_of_another(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct sk_registry *r;

	(void)state;
	folder_kit(a, "kit-a", "free");
	folder_kit(a, "kit-a-alias", "pro");
	r = load();
	assert_int_equal(r->n, 1);
	assert_string_equal(sk_registry_find(r, "kit-a-alias")->id, "kit-a");
	sk_registry_free(r);
	kb_arena_free(a);
}

static void
a_missing_folder_gives_an_empty_registry(void **state)
{
	struct sk_judge *j = sk_judge_new(&no_cue);
	struct sk_registry *r = sk_registry_load("/nonexistent", j);

	(void)state;
	assert_int_equal(r->n, 0);
	sk_registry_free(r);
	sk_judge_free(j);
}

static void
packing_twice_gives_the_same_digest_and_a_change_another(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct sk_registry *one, *two, *three;

	(void)state;
	folder_kit(a, "good-kit", "free");
	one = load();
	two = load();
	folder_put(a, "base/base.cue", "package base\n#New: string\n");
	three = load();
	assert_string_equal(one->kits[0].sha256, two->kits[0].sha256);
	assert_memory_equal(one->kits[0].tarball.ptr, two->kits[0].tarball.ptr,
	    one->kits[0].tarball.len);
	assert_string_not_equal(one->kits[0].sha256, three->kits[0].sha256);
	sk_registry_free(one);
	sk_registry_free(two);
	sk_registry_free(three);
	kb_arena_free(a);
}

struct unpacked {
	struct kb_arena *arena;
	const char *manifest;
	size_t n, checked;
};

static enum kb_err
each(void *arg, const char *path, const void *data, size_t len, bool exec)
{
	static const char top[] = "good-kit-1.1.0/";
	struct unpacked *u = arg;
	char hex[65];

	assert_false(exec);
	assert_memory_equal(path, top, sizeof(top) - 1);
	path += sizeof(top) - 1;
	u->n++;
	if (strcmp(path, "MANIFEST.json") == 0) {
		u->manifest = kb_strndup(u->arena, data, len);
		return KB_OK;
	}
	assert_non_null(u->manifest); /* it comes first */
	kb_sha256_hex(data, len, hex);
	assert_non_null(strstr(u->manifest,
	    kb_sprintf(u->arena,
		"{\"path\":\"%s\",\"size\":%zu,\"sha256\":\"%s\"}", path, len,
		hex)));
	u->checked++;
	return KB_OK;
}

static void
the_archive_holds_kit_base_and_module_with_their_digests(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct unpacked u = { .arena = a };
	struct sk_registry *r;
	const char *why;

	(void)state;
	folder_kit(a, "good-kit", "free");
	r = load();
	assert_int_equal(
	    kb_archive_read(a, r->kits[0].tarball, 1 << 20, each, &u, &why),
	    KB_OK);
	assert_int_equal(u.n, 7);
	assert_int_equal(u.checked, 6);
	assert_non_null(strstr(u.manifest, "\"base/base.cue\""));
	assert_non_null(strstr(u.manifest, "\"cue.mod/module.cue\""));
	sk_registry_free(r);
	kb_arena_free(a);
}

static void
the_repositorys_own_kits_are_all_good(void **state)
{
	struct kb_arena *a = kb_arena_new(0);
	struct sk_judge *j = sk_judge_new(&no_cue);
	struct sk_registry *r = sk_registry_load(
	    kb_sprintf(a, "%s/stackkits", getenv("KOMBI_SOURCE_DIR")), j);
	const struct sk_kit *base = sk_registry_find(r, "base-homelab");

	(void)state;
	assert_int_equal(r->n_refused, 0);
	assert_non_null(base);
	assert_int_equal(base->min_plan, KB_PLAN_FREE);
	assert_ptr_equal(sk_registry_find(r, "base"), base);
	assert_ptr_equal(sk_registry_find(r, "base-kit"), base);
	sk_registry_free(r);
	sk_judge_free(j);
	kb_arena_free(a);
}

static void
versions_are_ordered_as_semver_says(void **state)
{
	static const char *const ordered[] = { "1.0.0-alpha", "1.0.0-alpha.1",
		"1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
		"1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.2.0", "1.10.0",
		"2.0.0" };

	(void)state;
	for (size_t i = 0; i < KB_COUNT(ordered); i++)
		for (size_t k = 0; k < KB_COUNT(ordered); k++) {
			int c = sk_version_compare(ordered[i], ordered[k]);

			assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
		}
	assert_int_equal(sk_version_compare("1.0.0+a", "1.0.0+b"), 0);
}

#define IN_FOLDER(f)                                                           \
	cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(a_broken_kit_is_refused_and_the_others_are_served),
		IN_FOLDER(a_kit_cannot_take_the_name_of_another),
		cmocka_unit_test(a_missing_folder_gives_an_empty_registry),
		IN_FOLDER(
		    packing_twice_gives_the_same_digest_and_a_change_another),
		IN_FOLDER(
		    the_archive_holds_kit_base_and_module_with_their_digests),
		cmocka_unit_test(the_repositorys_own_kits_are_all_good),
		cmocka_unit_test(versions_are_ordered_as_semver_says),
	};

	kb_log_fd(2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
