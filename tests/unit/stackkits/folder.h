/* A scratch folder with the base schemas, for tests that make kits. */
#ifndef TESTS_STACKKITS_FOLDER_H
#define TESTS_STACKKITS_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <kombi/arena.h>

static char folder[64];

static void
folder_put(struct kb_arena *a, const char *path, const char *text)
{
	const char *full = kb_sprintf(a, "%s/%s", folder, path);
	FILE *f;

	for (const char *p = full + strlen(folder); (p = strchr(p + 1, '/'));)
		(void)mkdir(kb_strndup(a, full, (size_t)(p - full)), 0700);
	f = fopen(full, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static inline const char *
folder_script(struct kb_arena *a, const char *name, const char *body)
{
	const char *full = kb_sprintf(a, "%s/%s", folder, name);

	folder_put(a, name, kb_sprintf(a, "#!/bin/sh\n%s\n", body));
	assert_int_equal(chmod(full, 0700), 0);
	return full;
}

static inline void
folder_kit(struct kb_arena *a, const char *id, const char *plan)
{
	folder_put(a, kb_sprintf(a, "kits/%s/stackfile.cue", id),
	    "package kit\ninput: _\nreport: valid: true\n");
	folder_put(a, kb_sprintf(a, "kits/%s/README.md", id), "# A kit\n");
	folder_put(a, kb_sprintf(a, "kits/%s/CHANGELOG.md", id),
	    "# Changelog\n\n## 1.1.0 - 2026-02-01\n\n- New.\n\n"
	    "## 1.0.0 - 2026-01-01\n\n- First.\n");
	folder_put(a, kb_sprintf(a, "kits/%s/stackkit.yaml", id),
	    kb_sprintf(a,
		"schemaVersion: 1\nminPlan: %s\n"
		"metadata: {name: %s, version: 1.1.0, displayName: A kit, "
		"description: For tests., tags: [test], aliases: [%s-alias]}\n"
		"changelog:\n"
		"  - {version: 1.1.0, date: \"2026-02-01\"}\n"
		"  - {version: 1.0.0, date: \"2026-01-01\"}\n",
		plan, id, id));
}

static int
folder_make(void **state)
{
	struct kb_arena *a = kb_arena_new(0);

	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/kombi-kits-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	folder_put(a, "cue.mod/module.cue", "module: \"kombify.io/x@v0\"\n");
	folder_put(a, "base/base.cue", "package base\n");
	kb_arena_free(a);
	return 0;
}

static int
folder_unlink(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static int
folder_remove(void **state)
{
	(void)state;
	return nftw(folder, folder_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
