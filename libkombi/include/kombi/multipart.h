/*
 * multipart/form-data (RFC 7578, RFC 2046 5.1), read as it comes: memory is
 * bounded by one part's header, time is linear. Strict: a delimiter line ends
 * with CRLF or "--", a header without a form-data name is refused.
 */
#ifndef KOMBI_MULTIPART_H
#define KOMBI_MULTIPART_H

#include <kombi/arena.h>
#include <kombi/base.h>
#include <kombi/error.h>

#define KB_MULTIPART_HEADER_MAX 8192
#define KB_MULTIPART_NAME_MAX 256
#define KB_MULTIPART_FILENAME_MAX 1024

struct kb_multipart;

struct kb_multipart_part {
	const char *name;
	const char *filename; /* as the client says it, unsafe; NULL: a value */
	const char *type;     /* the client's word for it; NULL: none */
};

/* What is told of; another result than KB_OK ends the reading with it. The
 * strings of a part live in the arena. */
struct kb_multipart_conf {
	enum kb_err (*part)(void *arg, const struct kb_multipart_part *part);
	enum kb_err (*data)(void *arg, const char *data, size_t len);
	enum kb_err (*end)(void *arg); /* of the part */
	void *arg;
	size_t max_parts; /* 0: 1000 */
};

/* The boundary of a Content-Type; false when it is no multipart/form-data or
 * its boundary is not 1 to 70 characters of RFC 2046. */
bool kb_multipart_boundary(
    struct kb_arena *a, const char *content_type, const char **boundary);
/* In the arena; conf is copied. */
struct kb_multipart *kb_multipart_new(struct kb_arena *a, const char *boundary,
    const struct kb_multipart_conf *conf);
/* KB_MALFORMED: not of this form; KB_TOO_LARGE: over a limit of this header. */
enum kb_err kb_multipart_feed(
    struct kb_multipart *m, const char *data, size_t len) KB_MUSTUSE;
/* KB_MALFORMED unless the last delimiter was seen. */
enum kb_err kb_multipart_finish(struct kb_multipart *m) KB_MUSTUSE;

#endif
