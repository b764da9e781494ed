/*
 * GET /api/files/{collection}/{record}/{filename}. Whoever knows the name may
 * read the file, unless its field is protected: then the view rule judges the
 * record whose file token comes along.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/stream.h>

#include "auth.h"
#include "files.h"

static const char *const shown[] = { "image/png", "image/jpeg", "image/gif",
	"image/webp", "image/x-icon", "image/bmp", "video/webm", "video/mp4",
	"video/3gpp", "video/quicktime", "audio/mpeg", "audio/wav",
	"application/pdf" };

static const struct {
	const char *ending, *type;
} by_ending[] = {
	{ ".svg", "image/svg+xml" },
	{ ".css", "text/css" },
	{ ".js", "text/javascript" },
	{ ".mjs", "text/javascript" },
};

static bool
is_true(const char *s)
{
	return kb_str_eq(s, "1") || kb_str_eq(s, "t") || kb_str_eq(s, "T") ||
	    kb_str_eq(s, "true") || kb_str_eq(s, "TRUE") ||
	    kb_str_eq(s, "True");
}

/* By the file token alone: what else came with the request is no ticket. */
static enum kb_err
judge_protected(struct api *api, const struct collection *c)
{
	const char *token = kb_query_param(api->req, "token");
	struct record *r;
	struct query q;
	enum kb_err err;

	api->auth = NULL;
	api->superuser = false;
	if (token != NULL && token[0] != '\0') {
		err = auth_file_token_judge(api, token);
		if (err && err != KB_AUTH_INVALID)
			return err;
	}
	api->context = "protectedFile";
	if (rule_is_locked(api, c, RULE_VIEW))
		return KB_NOT_FOUND;
	query_init(&q, api, c);
	if (!query_rule(&q, c->rules[RULE_VIEW]))
		return KB_NOT_FOUND;
	return record_get(&api->req->cx, &q, kb_param(api->req, "id"), &r);
}

static int
open_file(const struct api *api, const struct record *r, const char *name)
{
	const char *parts[] = { r->c->id, record_id_of(r), name };
	int at = open(
	    files_folder(api), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	for (size_t i = 0; i < KB_COUNT(parts) && at >= 0; i++) {
		int next = !file_part_ok(parts[i])
		    ? -1
		    : openat(at, parts[i],
			  O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

		close(at);
		at = next;
	}
	return at;
}

static const char *
type_to_say(const char *name, const char *type)
{
	for (size_t i = 0; i < KB_COUNT(by_ending); i++)
		if (kb_str_ends(name, by_ending[i].ending))
			return by_ending[i].type;
	return type;
}

static bool
is_shown(const char *type)
{
	for (size_t i = 0; i < KB_COUNT(shown); i++)
		if (strcmp(shown[i], type) == 0)
			return true;
	return false;
}

static struct kb_reply
serve(struct api *api, int fd, const char *name)
{
	struct kb_request *req = api->req;
	struct kb_arena *a = req->cx.arena;
	char head[512];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	const char *type = file_sniff(head, n > 0 ? (size_t)n : 0);
	bool attach = is_true(kb_query_param(req, "download")) ||
	    !is_shown(type);
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return api_fail(req, 404, NULL);
	}
	kb_reply_header(req, "Content-Disposition",
	    kb_sprintf(
		a, "%s; filename=%s", attach ? "attachment" : "inline", name));
	kb_reply_header(req, "Content-Security-Policy",
	    "default-src 'none'; media-src 'self'; style-src 'unsafe-inline';"
	    " sandbox");
	kb_reply_header(req, "Cache-Control",
	    "max-age=2592000, stale-while-revalidate=86400");
	/* A name is given to one content and never again. */
	return kb_file_reply_conditional(req, type_to_say(name, type), fd,
	    kb_sprintf(a, "\"%llx-%llx\"", (unsigned long long)st.st_mtime,
		(unsigned long long)st.st_size),
	    st.st_mtime);
}

static struct kb_reply
file_get(struct api *api)
{
	struct kb_request *req = api->req;
	const struct collection *c = api_collection(api);
	const char *name = kb_param(req, "filename");
	const struct field *f;
	struct record *r;
	struct query q;
	enum kb_err err;
	int fd;

	query_init(&q, api, c);
	err = record_get(&req->cx, &q, kb_param(req, "id"), &r);
	f = err ? NULL : file_field(req->cx.arena, r, name);
	if (f != NULL && f->protected_)
		err = judge_protected(api, c);
	if (err && err != KB_NOT_FOUND)
		return api_fail_db(req, err, NULL);
	if (err || f == NULL)
		return api_fail(req, 404, NULL);
	fd = open_file(api, r, name);
	return fd < 0 ? api_fail(req, 404, NULL) : serve(api, fd, name);
}

API_HANDLER(files_get, API_GUESTS, file_get)
