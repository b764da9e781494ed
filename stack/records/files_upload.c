/*
 * Files on their way into storage: written to the tenant's own disk as they
 * come, without a name. A file without a name is gone with its descriptor,
 * however the process ends.
 */
#include "files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>

#define UPLOAD_MAX (100ll << 20)
#define UPLOADS_MAX 200
#define STEM_MAX 100
#define ENDING_MAX 20

const char *
files_folder(const struct api *api)
{
	return kb_sprintf(api->req->cx.arena, "%s/tenants/%s/storage",
	    stack_config(kb_app(api->req))->data_dir, api->tenant->row.slug);
}

bool
file_part_ok(const char *part)
{
	return part[0] != '\0' && part[0] != '.' && strlen(part) < 256 &&
	    strpbrk(part, "/\\") == NULL && !kb_has_control(part, strlen(part));
}

/* ---- names
 * ------------------------------------------------------------------- */

static const char *
ending_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	if (dot == NULL || dot[1] == '\0')
		return "";
	if ((strcmp(dot, ".gz") == 0 || strcmp(dot, ".bz2") == 0 ||
		strcmp(dot, ".xz") == 0) &&
	    dot - name > 4 && memcmp(dot - 4, ".tar", 4) == 0)
		return dot - 4;
	return dot;
}

static const char *
clean_ending(struct kb_arena *a, const char *ending)
{
	char *out = kb_arena_alloc(a, strlen(ending) + 1);
	size_t n = 0;

	for (; *ending != '\0'; ending++)
		if (isalnum((unsigned char)*ending) || *ending == '.' ||
		    *ending == '_' || *ending == '-')
			out[n++] = *ending;
	if (n <= ENDING_MAX)
		return n > 1 ? out : "";
	out += n - ENDING_MAX;
	return kb_sprintf(a, ".%s", out + strspn(out, "."));
}

/* "My Photo-1" is my_photo_1: words, in lower case, joined. */
static char *
snake_case(struct kb_arena *a, const char *stem, size_t len)
{
	char *out = kb_arena_alloc(a, 2 * len + 1);
	size_t n = 0;
	bool lower = false; /* what came before begins no word here */

	for (size_t i = 0; i < len && n < STEM_MAX; i++) {
		unsigned char c = (unsigned char)stem[i];

		if (!isascii(c) || !isalnum(c)) {
			if (n > 0 && out[n - 1] != '_')
				out[n++] = '_';
			lower = false;
			continue;
		}
		if (isupper(c) && lower)
			out[n++] = '_';
		lower = !isupper(c);
		out[n++] = (char)tolower(c);
	}
	while (n > 0 && out[n - 1] == '_')
		n--;
	out[n] = '\0';
	return out;
}

/* Ten letters and digits; in lower case, since disks may know no other. */
static const char *
random_part(struct kb_arena *a)
{
	return kb_str_lower(a, random_key(a, 10));
}

/* What a name without an ending gets. */
static const char *
ending_for(const char *type)
{
	static const struct {
		const char *type, *ending;
	} known[] = {
		{ "image/png", ".png" },
		{ "image/jpeg", ".jpg" },
		{ "image/gif", ".gif" },
		{ "image/webp", ".webp" },
		{ "image/svg+xml", ".svg" },
		{ "application/pdf", ".pdf" },
		{ "application/zip", ".zip" },
		{ "application/gzip", ".gz" },
		{ "application/json", ".json" },
		{ "text/plain", ".txt" },
		{ "text/html", ".html" },
		{ "text/xml", ".xml" },
		{ "video/mp4", ".mp4" },
		{ "video/webm", ".webm" },
		{ "audio/mpeg", ".mp3" },
	};

	for (size_t i = 0; i < KB_COUNT(known); i++)
		if (kb_str_starts(type, known[i].type))
			return known[i].ending;
	return "";
}

const char *
file_stored_name(struct kb_arena *a, const char *name, const char *type)
{
	const char *ending, *stem;
	size_t len = strlen(name);

	if (len > 300)
		name += len - 300;
	ending = ending_of(name);
	stem = snake_case(
	    a, name, (size_t)(ending[0] ? ending - name : (long)strlen(name)));
	if (strlen(stem) < 3)
		stem = kb_sprintf(a, "%s%s", stem, random_part(a));
	ending = clean_ending(a, ending);
	return kb_sprintf(a, "%s_%s%s", stem, random_part(a),
	    ending[0] ? ending : ending_for(type));
}

/* ---- types
 * ------------------------------------------------------------------- */

static const struct {
	size_t at;
	const char *bytes;
	size_t len;
	const char *type;
} magic[] = {
	{ 0, "\x89PNG\r\n\x1a\n", 8, "image/png" },
	{ 0, "\xff\xd8\xff", 3, "image/jpeg" },
	{ 0, "GIF87a", 6, "image/gif" },
	{ 0, "GIF89a", 6, "image/gif" },
	{ 8, "WEBP", 4, "image/webp" },
	{ 0, "BM", 2, "image/bmp" },
	{ 0, "\0\0\1\0", 4, "image/x-icon" },
	{ 0, "%PDF-", 5, "application/pdf" },
	{ 0, "PK\3\4", 4, "application/zip" },
	{ 0, "\x1f\x8b", 2, "application/gzip" },
	{ 0, "7z\xbc\xaf\x27\x1c", 6, "application/x-7z-compressed" },
	{ 257, "ustar", 5, "application/x-tar" },
	{ 8, "WAVE", 4, "audio/wav" },
	{ 0, "ID3", 3, "audio/mpeg" },
	{ 0, "\xff\xfb", 2, "audio/mpeg" },
	{ 0, "OggS", 4, "application/ogg" },
	{ 0, "fLaC", 4, "audio/flac" },
	{ 4, "ftypqt", 6, "video/quicktime" },
	{ 4, "ftyp3g", 6, "video/3gpp" },
	{ 4, "ftyp", 4, "video/mp4" },
	{ 0, "\x1a\x45\xdf\xa3", 4, "video/webm" },
	{ 0, "SQLite format 3", 16, "application/vnd.sqlite3" },
	{ 0,
	    "\x7f"
	    "ELF",
	    4, "application/x-elf" },
};

static bool
starts_markup(const char *s, const char *tag)
{
	return strncasecmp(s, tag, strlen(tag)) == 0;
}

static const char *
sniff_text(const char *head)
{
	const char *s = head + strspn(head, " \t\r\n");

	if (starts_markup(s, "<svg") ||
	    (starts_markup(s, "<?xml") && strstr(s, "<svg") != NULL))
		return "image/svg+xml";
	if (starts_markup(s, "<!doctype html") || starts_markup(s, "<html") ||
	    starts_markup(s, "<script") || starts_markup(s, "<body"))
		return "text/html; charset=utf-8";
	if (starts_markup(s, "<?xml"))
		return "text/xml; charset=utf-8";
	if (*s == '{' || *s == '[')
		return "application/json";
	return "text/plain; charset=utf-8";
}

const char *
file_sniff(const char *head, size_t n)
{
	char text[513];

	for (size_t i = 0; i < KB_COUNT(magic); i++)
		if (magic[i].at + magic[i].len <= n &&
		    memcmp(head + magic[i].at, magic[i].bytes, magic[i].len) ==
			0)
			return magic[i].type;
	if (n >= sizeof(text))
		n = sizeof(text) - 1;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)head[i] < 0x20 &&
		    strchr("\t\n\r\f\x1b", head[i]) == NULL)
			return "application/octet-stream";
	if (memchr(head, '\0', n) != NULL)
		return "application/octet-stream";
	memcpy(text, head, n);
	text[n] = '\0';
	return sniff_text(text);
}

/* ---- bytes
 * -------------------------------------------------------------------- */

static void
close_fd(void *arg)
{
	close(((struct upload *)arg)->fd);
}

enum kb_err
file_error(const char *what)
{
	int why = errno;

	kb_error(NULL, what, KB_S("error", strerror(why)));
	return why == ENOSPC || why == EDQUOT || why == EFBIG
	    ? KB_RESOURCE_LIMIT
	    : KB_UNAVAILABLE;
}

enum kb_err
upload_open(
    struct api *api, const char *field, const char *name, struct upload **out)
{
	struct kb_arena *a = api->req->cx.arena;
	struct upload **at = &api->uploads, *u;
	const char *folder = files_folder(api);
	size_t n = 0;

	for (; *at != NULL; at = &(*at)->next)
		n++;
	if (n == UPLOADS_MAX)
		return KB_TOO_LARGE;
	if (mkdir(folder, 0750) != 0 && errno != EEXIST)
		return file_error("cannot make a tenant's storage");
	u = kb_new(a, struct upload);
	u->field = field;
	u->name = name;
	u->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
	if (u->fd < 0)
		return file_error("cannot make a file for an upload");
	kb_arena_on_free(a, close_fd, u);
	*at = u;
	*out = u;
	return KB_OK;
}

enum kb_err
upload_write(struct upload *u, const char *data, size_t len)
{
	size_t head = sizeof(u->head) - u->n_head;

	if (head > len)
		head = len;
	memcpy(u->head + u->n_head, data, head);
	u->n_head += head;
	u->size += (int64_t)len;
	if (u->size > UPLOAD_MAX)
		return KB_TOO_LARGE;
	while (len > 0) {
		ssize_t n = write(u->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return file_error("cannot write an upload");
		data += n;
		len -= (size_t)n;
	}
	return KB_OK;
}

enum kb_err
upload_close(struct api *api, struct upload *u)
{
	u->type = file_sniff(u->head, u->n_head);
	u->stored = file_stored_name(api->req->cx.arena, u->name, u->type);
	return fsync(u->fd) == 0 ? KB_OK : file_error("cannot sync an upload");
}
