/* What the stackkit command does, wherever the kits come from. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/crypto.h>
#include <kombi/str.h>
#include <kombi/yaml.h>

enum { MAX_DOCUMENT = 1 << 20, MAX_KIT = 64 << 20 };

int
cmd_list(struct cli *c)
{
	struct cli_kit *kits;
	size_t n;
	int status = c->source->list(c, &kits, &n);

	for (size_t i = 0; status == CLI_OK && i < n; i++)
		printf("%-20s %-10s %-11s %s\n", kits[i].id, kits[i].version,
		    kits[i].min_plan, kits[i].description);
	return status;
}

int
cmd_info(struct cli *c)
{
	const char *kit = c->file != NULL ? c->file : c->kit;
	const char *json;
	int status;

	if (kit == NULL)
		return cli_say(CLI_USAGE, "which kit? see --help");
	status = c->source->info(c, kit, &json);
	if (status == CLI_OK)
		puts(json);
	return status;
}

/* ---- validate -------------------------------------------------------------
 */

static int
read_document(struct cli *c, const char *path, struct kb_slice *text)
{
	char *data = kb_arena_alloc(c->arena, MAX_DOCUMENT + 2);
	FILE *f = fopen(path, "rbe");
	size_t n;

	if (f == NULL)
		return cli_say(CLI_FAILED, "%s: %s", path, strerror(errno));
	n = fread(data, 1, MAX_DOCUMENT + 1, f);
	fclose(f);
	if (n > MAX_DOCUMENT)
		return cli_say(CLI_BAD, "%s: over 1 MiB", path);
	*text = (struct kb_slice) { data, n };
	return CLI_OK;
}

/* --kit, else the kit that the document names, else the one to begin with. */
static const char *
kit_of(struct cli *c, struct kb_slice text)
{
	static const char *const members[] = { "kit", "stackkit" };
	struct kb_yaml *doc = NULL;
	const char *why;

	if (c->kit != NULL)
		return c->kit;
	if (kb_yaml_parse(c->arena, text.ptr, text.len, &doc, &why) == KB_OK &&
	    doc != NULL)
		for (size_t i = 0; i < KB_COUNT(members); i++) {
			const struct kb_yaml *y = kb_yaml_get(doc, members[i]);

			if (y != NULL && y->kind == KB_YAML_SCALAR &&
			    kb_is_slug(y->text))
				return y->text;
		}
	return "base";
}

/* As compilers do, so that editors can jump there. */
static void
print_findings(const char *file, const char *kind, const struct sk_findings *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct sk_finding *x = &f->items[i];

		printf("%s:%u:%u: %s: %s %s [%s]\n", file, x->line, x->column,
		    kind, *x->path != '\0' ? x->path : "the document",
		    x->message, x->code);
	}
}

static void
write_findings(
    struct kb_jsonw *w, const char *name, const struct sk_findings *f)
{
	kb_w_array(w, name);
	for (size_t i = 0; i < f->n; i++) {
		kb_w_object(w, NULL);
		kb_w_str(w, "path", f->items[i].path);
		kb_w_str(w, "code", f->items[i].code);
		kb_w_str(w, "message", f->items[i].message);
		kb_w_int(w, "line", f->items[i].line);
		kb_w_int(w, "column", f->items[i].column);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static void
print_json(const char *kit, const struct sk_verdict *v)
{
	struct kb_jsonw w;
	struct kb_buf b;

	kb_buf_init(&b, 4 << 20);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_bool(&w, "valid", v->valid);
	kb_w_str(&w, "stackkit", kit);
	write_findings(&w, "errors", &v->errors);
	write_findings(&w, "warnings", &v->warnings);
	kb_w_object_end(&w);
	puts(kb_buf_str(&b));
	kb_buf_free(&b);
}

int
cmd_validate(struct cli *c)
{
	const char *file = c->file != NULL ? c->file : "kombination.yaml";
	struct kb_slice text = { NULL, 0 };
	struct sk_verdict v;
	const char *kit;
	int status = read_document(c, file, &text);

	if (status != CLI_OK)
		return status;
	kit = kit_of(c, text);
	status = c->source->validate(c, kit, text, &v);
	if (status != CLI_OK)
		return status;
	if (c->json)
		print_json(kit, &v);
	else {
		print_findings(file, "error", &v.errors);
		print_findings(file, "warning", &v.warnings);
		printf("%s: %s for %s\n", file, v.valid ? "valid" : "invalid",
		    kit);
	}
	return v.valid ? CLI_OK : CLI_BAD;
}

/* ---- init -----------------------------------------------------------------
 */

struct unpack {
	struct cli *cli;
	const struct kb_json *manifest;
	const char *target; /* folder that gets the top folder */
	char top[256];
	size_t n;
};

/* The digest that the manifest gives for `path`, or NULL. */
static const char *
digest_of(const struct unpack *u, const char *path)
{
	const struct kb_json *f = kb_json_first(
	    kb_json_get(u->manifest, "files"));

	for (; f != NULL; f = kb_json_after(f))
		if (kb_str_eq(kb_json_str(f, "path"), path))
			return kb_json_str(f, "sha256");
	return NULL;
}

static bool
make_folders(struct kb_arena *a, const char *path, size_t from)
{
	for (const char *p = path + from; (p = strchr(p + 1, '/')) != NULL;)
		if (mkdir(kb_strndup(a, path, (size_t)(p - path)), 0755) != 0 &&
		    errno != EEXIST)
			return false;
	return true;
}

/* New files only: nothing that is there is overwritten or followed. */
static enum kb_err
write_file(struct unpack *u, const char *path, const char *data, size_t len)
{
	struct kb_arena *a = u->cli->arena;
	const char *full = kb_sprintf(a, "%s/%s", u->target, path);
	int fd = -1;

	if (make_folders(a, full, strlen(u->target)))
		fd = open(full,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	while (fd >= 0 && len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		data += n;
		len -= (size_t)n;
	}
	if (fd < 0 || close(fd) != 0 || len > 0) {
		cli_say(CLI_FAILED, "%s: %s", full, strerror(errno));
		return KB_INTERNAL;
	}
	u->n++;
	return KB_OK;
}

static enum kb_err
read_manifest(struct unpack *u, const char *data, size_t len)
{
	const char *why;

	return kb_json_parse(u->cli->arena, data, len, &u->manifest, &why);
}

static enum kb_err
unpack_file(
    void *arg, const char *path, const void *data, size_t len, bool executable)
{
	struct unpack *u = arg;
	const char *rest = strchr(path, '/');
	const char *want;
	char hex[65];

	(void)executable;
	if (rest == NULL)
		return KB_INVALID;
	rest++;
	if (u->manifest == NULL) {
		if (strcmp(rest, "MANIFEST.json") != 0 ||
		    read_manifest(u, data, len) != KB_OK)
			return KB_INVALID;
		(void)snprintf(u->top, sizeof(u->top), "%.*s",
		    (int)(rest - path - 1), path);
		return write_file(u, path, data, len);
	}
	want = digest_of(u, rest);
	kb_sha256_hex(data, len, hex);
	if (want == NULL || strcmp(want, hex) != 0) {
		cli_say(CLI_FAILED, "%s is not what the manifest says", path);
		return KB_INVALID;
	}
	return write_file(u, path, data, len);
}

int
cmd_init(struct cli *c)
{
	struct unpack u = {
		.cli = c,
		.target = c->file != NULL ? c->file : ".",
	};
	const char *kit = c->kit != NULL ? c->kit : "base";
	const char *sha256, *why = NULL;
	struct kb_slice tar;
	char hex[65];
	int status = c->source->archive(c, kit, &tar, &sha256);

	if (status != CLI_OK)
		return status;
	kb_sha256_hex(tar.ptr, tar.len, hex);
	if (sha256 == NULL || strcmp(sha256, hex) != 0)
		return cli_say(CLI_FAILED, "the archive of %s is damaged", kit);
	if (mkdir(u.target, 0755) != 0 && errno != EEXIST)
		return cli_say(CLI_FAILED, "%s: %s", u.target, strerror(errno));
	if (kb_archive_read(c->arena, tar, MAX_KIT, unpack_file, &u, &why) !=
	    KB_OK)
		return why != NULL
		    ? cli_say(
			  CLI_FAILED, "the archive of %s holds %s", kit, why)
		    : cli_say(CLI_FAILED, "%s was not unpacked", kit);
	printf("%s/%s: %zu files, sha256 %s\n", u.target, u.top, u.n, hex);
	return CLI_OK;
}
