/* A file as an answer: conditions and ranges of RFC 9110, 13 and 14. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/stream.h>
#include <kombi/time.h>

struct range {
	uint64_t from, len;
	bool given, beyond; /* a Range that counts; none of the file is in it */
};

/* One of the list is the tag, or "*". Weak comparison (RFC 9110 8.8.3.2). */
static bool
names_tag(const char *list, const char *etag)
{
	struct kb_slice rest = kb_slice_of(list), part;

	while (kb_slice_next(&rest, ',', &part)) {
		part = kb_slice_trim(part);
		if (part.len > 2 && strncmp(part.ptr, "W/", 2) == 0)
			part = (struct kb_slice) { part.ptr + 2, part.len - 2 };
		if (kb_slice_eq(part, "*") ||
		    (etag != NULL && kb_slice_eq(part, etag)))
			return true;
	}
	return false;
}

static bool
same_date(const char *text, int64_t modified_s)
{
	char date[30];

	kb_http_date(modified_s, date);
	return modified_s > 0 && strcmp(text, date) == 0;
}

static bool
is_unchanged(const struct kb_request *req, const char *etag, int64_t modified_s)
{
	const char *none = kb_header(req, "If-None-Match");
	const char *since = kb_header(req, "If-Modified-Since");

	if (none != NULL)
		return names_tag(none, etag);
	return since != NULL && same_date(since, modified_s);
}

static bool
range_counts(const struct kb_request *req, const char *etag, int64_t modified_s)
{
	const char *if_range = kb_header(req, "If-Range");

	if (if_range == NULL)
		return true;
	if (if_range[0] == '"')
		return etag != NULL && strcmp(if_range, etag) == 0;
	return same_date(if_range, modified_s);
}

/* bytes=A-B, bytes=A-, bytes=-N; anything else is as if it was not there. */
static struct range
range_of(const char *text, uint64_t size)
{
	struct range r = { 0, size, false, false };
	struct kb_slice rest, first;
	uint64_t from = 0, to = 0;
	bool has_from, has_to;

	if (text == NULL || strncmp(text, "bytes=", 6) != 0 ||
	    strchr(text, ',') != NULL)
		return r;
	rest = kb_slice_of(text + 6);
	if (strchr(rest.ptr, '-') == NULL || !kb_slice_next(&rest, '-', &first))
		return r;
	has_from = kb_parse_u64(kb_slice_trim(first), &from);
	rest = kb_slice_trim(rest);
	has_to = rest.len > 0 && kb_parse_u64(rest, &to);
	if ((first.len > 0 && !has_from) || (rest.len > 0 && !has_to) ||
	    (!has_from && !has_to) || (has_from && has_to && to < from))
		return r;
	r.given = true;
	if (!has_from) {
		r.len = to < size ? to : size;
		r.from = size - r.len;
		r.beyond = r.len == 0;
		return r;
	}
	r.beyond = from >= size;
	r.from = from;
	r.len = has_to && to < size - 1 ? to - from + 1 : size - from;
	return r;
}

struct kb_reply
kb_file_reply_conditional(struct kb_request *req, const char *content_type,
    int fd, const char *etag, int64_t modified_s)
{
	struct kb_arena *a = req->cx.arena;
	const char *match = kb_header(req, "If-Match");
	struct range r = { 0, 0, false, false };
	struct stat st;
	char date[30];

	if (fstat(fd, &st) != 0) {
		close(fd);
		return kb_fail(req, KB_INTERNAL, NULL);
	}
	if (etag != NULL)
		kb_reply_header(req, "ETag", etag);
	if (modified_s > 0) {
		kb_http_date(modified_s, date);
		kb_reply_header(req, "Last-Modified", kb_strdup(a, date));
	}
	kb_reply_header(req, "Accept-Ranges", "bytes");
	if (match != NULL && !names_tag(match, etag)) {
		close(fd);
		return kb_bytes_reply(req, 412, NULL, "", 0);
	}
	if (is_unchanged(req, etag, modified_s)) {
		close(fd);
		return kb_not_modified(req);
	}
	r = range_of(range_counts(req, etag, modified_s)
		? kb_header(req, "Range")
		: NULL,
	    (uint64_t)st.st_size);
	if (r.given && r.beyond) {
		close(fd);
		kb_reply_header(req, "Content-Range",
		    kb_sprintf(a, "bytes */%lld", (long long)st.st_size));
		return kb_bytes_reply(req, 416, NULL, "", 0);
	}
	if (r.given)
		kb_reply_header(req, "Content-Range",
		    kb_sprintf(a, "bytes %llu-%llu/%lld",
			(unsigned long long)r.from,
			(unsigned long long)(r.from + r.len - 1),
			(long long)st.st_size));
	return kb_file_reply(
	    req, r.given ? 206 : 200, content_type, fd, r.from, r.len);
}
