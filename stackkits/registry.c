/* The registry: every kit below STACKKITS_DIR/kits, checked and packed. */
#include "stackkits.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/child.h>
#include <kombi/str.h>
#include <kombi/yaml.h>

enum { MAX_KITS = 200 };

/* The least document; a kit may refuse it, but must be able to judge it. */
static const char probe[] = "name: probe\nnodes: [{name: one, type: main}]\n";

static bool
is_kit_id(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n >= 2 && n <= 63 && s[n] == '\0' && s[0] >= 'a' && s[0] <= 'z';
}

/* ---- versions -------------------------------------------------------------
 */

static int
compare_part(struct kb_slice x, struct kb_slice y)
{
	uint64_t m, n;
	bool xn = kb_parse_u64(x, &m), yn = kb_parse_u64(y, &n);
	size_t len = x.len < y.len ? x.len : y.len;
	int c;

	if (xn && yn)
		return (m > n) - (m < n);
	if (xn != yn)
		return xn ? -1 : 1; /* numbers before words */
	c = memcmp(x.ptr, y.ptr, len);
	return c != 0 ? c : (x.len > y.len) - (x.len < y.len);
}

static int
compare_dotted(struct kb_slice x, struct kb_slice y)
{
	struct kb_slice p, q;

	for (;;) {
		bool more_x = kb_slice_next(&x, '.', &p);
		bool more_y = kb_slice_next(&y, '.', &q);
		int c;

		if (!more_x || !more_y)
			return (int)more_x - (int)more_y;
		c = compare_part(p, q);
		if (c != 0)
			return c;
	}
}

int
sk_version_compare(const char *a, const char *b)
{
	size_t n = strcspn(a, "-+"), m = strcspn(b, "-+");
	const char *pre_a = a[n] == '-' ? a + n + 1 : "";
	const char *pre_b = b[m] == '-' ? b + m + 1 : "";
	int c = compare_dotted(
	    (struct kb_slice) { a, n }, (struct kb_slice) { b, m });

	if (c != 0)
		return c;
	if (*pre_a == '\0' || *pre_b == '\0')
		return (*pre_a == '\0') - (*pre_b == '\0');
	return compare_dotted((struct kb_slice) { pre_a, strcspn(pre_a, "+") },
	    (struct kb_slice) { pre_b, strcspn(pre_b, "+") });
}

/* ---- manifest -------------------------------------------------------------
 */

static const char *const *
strings(struct kb_arena *a, const struct kb_json *list)
{
	size_t n = list != NULL && kb_json_kind(list) == KB_JSON_ARRAY
	    ? kb_json_size(list)
	    : 0;
	const char **out = kb_new_array(a, n + 1, const char *);
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		out[k] = kb_json_text(kb_json_at(list, i));
		k += out[k] != NULL;
	}
	out[k] = NULL;
	return out;
}

static void
read_versions(
    struct kb_arena *a, const struct kb_json *list, struct sk_kit *kit)
{
	size_t n = list != NULL && kb_json_kind(list) == KB_JSON_ARRAY
	    ? kb_json_size(list)
	    : 0;
	struct sk_version *v = kb_new_array(a, n + 1, struct sk_version);

	for (size_t i = 0; i < n; i++) {
		const struct kb_json *j = kb_json_at(list, i);

		v[kit->n_versions].version = kb_json_str(j, "version");
		v[kit->n_versions].date = kb_json_str(j, "date");
		v[kit->n_versions].summary = kb_json_str(j, "summary");
		kit->n_versions += v[kit->n_versions].version != NULL &&
		    v[kit->n_versions].date != NULL;
	}
	kit->versions = v;
}

static const char *
text_of(struct kb_arena *a, const struct kb_json *j, const char *member)
{
	const struct kb_json *m = kb_json_get(j, member);

	return m != NULL ? kb_json_print(a, m) : "null";
}

/* NULL, or what is wrong. Only what this service itself relies on. */
static const char *
bind_manifest(struct kb_arena *a, const struct kb_json *j, struct sk_kit *kit)
{
	const struct kb_json *meta = kb_json_get(j, "metadata");
	const char *plan = kb_json_str(j, "minPlan");

	kit->name = kb_json_str(meta, "displayName");
	kit->version = kb_json_str(meta, "version");
	kit->description = kb_json_str(meta, "description");
	kit->license = kb_json_str(meta, "license");
	kit->status = kb_json_str(meta, "status");
	kit->tags = strings(a, kb_json_get(meta, "tags"));
	kit->aliases = strings(a, kb_json_get(meta, "aliases"));
	kit->requirements = text_of(a, j, "requirements");
	kit->services = text_of(a, j, "services");
	kit->supported_os = text_of(a, j, "supportedOS");
	read_versions(a, kb_json_get(j, "changelog"), kit);
	if (!kb_str_eq(kb_json_str(meta, "name"), kit->id))
		return "metadata.name must be the name of the folder";
	if (kit->name == NULL || kit->description == NULL)
		return "metadata.displayName and .description are required";
	if (plan == NULL || !kb_plan_of(plan, &kit->min_plan))
		return "minPlan must be free, pro or enterprise";
	if (!kb_json_int(j, "schemaVersion", &kit->schema_version))
		return "schemaVersion must be a whole number";
	if (kit->n_versions == 0 || kit->version == NULL ||
	    strcmp(kit->versions[0].version, kit->version) != 0)
		return "changelog must begin with metadata.version";
	if (!kb_archive_path_ok(kit->version))
		return "metadata.version must be a version such as 1.0.0";
	return NULL;
}

static const char *
read_manifest(struct kb_arena *a, const struct sk_file *f, struct sk_kit *kit)
{
	const struct kb_json *j;
	struct kb_yaml *y;
	const char *why = NULL, *json;

	if (f == NULL)
		return "there is no stackkit.yaml";
	if (kb_yaml_parse(a, f->data, f->len, &y, &why) != KB_OK)
		return kb_sprintf(a, "stackkit.yaml: %s", why);
	json = kb_yaml_to_json(a, y);
	if (kb_json_parse(a, json, strlen(json), &j, &why) == KB_OK)
		why = bind_manifest(a, j, kit);
	return why != NULL ? kb_sprintf(a, "stackkit.yaml: %s", why) : NULL;
}

/* ---- one kit --------------------------------------------------------------
 */

static const char *
text_file(const struct sk_files *files, const char *path)
{
	const struct sk_file *f = sk_files_get(files, path);

	return f != NULL ? f->data : NULL;
}

/* The kit's own files, and what it imports, so that it is whole offline. */
static const char *
read_files(struct kb_arena *a, const char *dir, const char *folder,
    struct sk_files *files)
{
	const char *why = NULL;

	if (sk_files_read(a, folder, "", files, &why) != KB_OK ||
	    sk_files_read(a, kb_sprintf(a, "%s/base", dir), "base/", files,
		&why) != KB_OK ||
	    sk_files_read(a, kb_sprintf(a, "%s/cue.mod", dir), "cue.mod/",
		files, &why) != KB_OK)
		return why;
	return sk_files_get(files, "stackfile.cue") == NULL
	    ? "there is no stackfile.cue"
	    : NULL;
}

static const char *
try_out(struct kb_arena *a, struct sk_judge *judge, const struct sk_kit *kit)
{
	struct sk_verdict v;
	const char *why = NULL;

	if (judge == NULL || sk_judge_missing(judge, a) != NULL)
		return NULL; /* /ready says so already */
	if (sk_judge_manifest(judge, a, kit->folder, &why) != KB_OK)
		return why;
	if (sk_judge_document(judge, a, kit, kb_slice_of(probe), &v, &why) !=
	    KB_OK)
		return why;
	if (v.too_complex)
		return "judging the least document takes more than is allowed";
	return NULL;
}

static const char *
load_kit(struct kb_arena *a, const char *dir, struct sk_judge *judge,
    struct sk_kit *kit)
{
	struct sk_files files = { 0 };
	const char *why;

	if (!is_kit_id(kit->id))
		return "the folder's name must hold a-z, 0-9 and dashes";
	kit->folder = kb_sprintf(a, "%s/kits/%s", dir, kit->id);
	why = read_files(a, dir, kit->folder, &files);
	if (why == NULL)
		why = read_manifest(
		    a, sk_files_get(&files, "stackkit.yaml"), kit);
	if (why != NULL)
		return why;
	kit->readme = text_file(&files, "README.md");
	kit->changelog = text_file(&files, "CHANGELOG.md");
	if (sk_package(a, kit, &files, &why) != KB_OK)
		return why;
	return try_out(a, judge, kit);
}

/* ---- all kits -------------------------------------------------------------
 */

static int
visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* Another kit's id or alias cannot be taken. */
static const char *
taken_name(const struct sk_registry *r, const struct sk_kit *kit)
{
	if (sk_registry_find(r, kit->id) != NULL)
		return kit->id;
	for (const char *const *p = kit->aliases; *p != NULL; p++)
		if (sk_registry_find(r, *p) != NULL)
			return *p;
	return NULL;
}

static void
load_one(struct sk_registry *r, const char *dir, struct sk_judge *judge,
    const char *id)
{
	struct sk_kit kit = { .id = kb_strdup(r->arena, id) };
	const char *why = load_kit(r->arena, dir, judge, &kit);

	if (why == NULL && taken_name(r, &kit) != NULL)
		why = kb_sprintf(r->arena, "another kit has the name %s",
		    taken_name(r, &kit));
	if (why != NULL) {
		r->n_refused++;
		kb_error(
		    NULL, "kit refused", KB_S("kit", id), KB_S("reason", why));
		return;
	}
	r->kits[r->n++] = kit;
	kb_info(NULL, "kit loaded", KB_S("kit", kit.id),
	    KB_S("version", kit.version), KB_S("sha256", kit.sha256));
}

struct sk_registry *
sk_registry_load(const char *dir, struct sk_judge *judge)
{
	struct kb_arena *a = kb_arena_new(0);
	struct sk_registry *r = kb_new(a, struct sk_registry);
	const char *folder = kb_sprintf(a, "%s/kits", dir);
	struct dirent **names = NULL;
	int n = scandir(folder, &names, visible, alphasort);

	*r = (struct sk_registry) {
		.arena = a,
		.kits = kb_new_array(a, MAX_KITS, struct sk_kit),
	};
	if (n < 0)
		kb_error(NULL, "no kits folder", KB_S("folder", folder));
	for (int i = 0; i < n; i++) {
		if (i < MAX_KITS)
			load_one(r, dir, judge, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return r;
}

void
sk_registry_free(struct sk_registry *r)
{
	if (r != NULL)
		kb_arena_free(r->arena);
}

const struct sk_kit *
sk_registry_find(const struct sk_registry *r, const char *id)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct sk_kit *kit = &r->kits[i];

		if (strcmp(kit->id, id) == 0)
			return kit;
		for (const char *const *p = kit->aliases; *p != NULL; p++)
			if (strcmp(*p, id) == 0)
				return kit;
	}
	return NULL;
}
