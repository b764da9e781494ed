/*
 * Private: how a request of a service is put together and taken apart; what
 * the frame knows of it beside the public struct.
 */
#ifndef KOMBI_REQUEST_PRIVATE_H
#define KOMBI_REQUEST_PRIVATE_H

#include <kombi/http.h>
#include <kombi/service.h>

#include "route.h"

#define KB_REQUEST_MS 30000 /* what a handler may take, waiting included */

struct kb_text_field {
	const char *name, *value;
	enum kb_header_id id;
};

struct kb_request_private {
	struct kb_app *app;
	struct kb_text_field *headers;
	size_t n_headers;
	struct kb_text_field *query;
	size_t n_query;
	unsigned n_params;
	struct kb_text_field params[KB_ROUTE_PARAMS];
	const char *allow;
	int body_fd; /* of a body that went to a file; -1: none */
	struct kb_problems problems;
	enum kb_err body_err; /* why kb_read_body refused */
	const char *body_why;
	struct kb_buf *lines; /* header lines of the reply */
	bool cache_set;
	struct kb_log log;
};

struct kb_reply_private {
	const char *type; /* content type, NULL: no body */
	const char *body;
	size_t len;
	enum kb_err err;
	struct kb_stream *stream;  /* the body is this stream, or NULL */
	struct kb_file_body *file; /* or this file */
};

/* A growing buffer whose memory goes with the arena. */
struct kb_buf *kb_arena_buf(struct kb_arena *a, size_t max);

/* What is known of a request when its head is complete. Copied. */
struct kb_request_source {
	enum kb_method method;
	struct kb_slice path, query;
	const char *id, *peer;
	const struct kb_http1_head *head; /* or NULL: no headers */
	const char *bytes;
};

/* A request in arena `a`, not routed and not authorised yet. */
struct kb_request *kb_request_new(struct kb_arena *a, struct kb_app *app,
    const struct kb_request_source *from);
/*
 * Route and parameters, query decoded. KB_OK, KB_NOT_FOUND, KB_METHOD
 * (Allow is set), KB_MALFORMED for bytes that may not stand in a path or a
 * query.
 */
enum kb_err kb_request_route(
    struct kb_request *req, const struct kb_router *router) KB_MUSTUSE;
/* Checks of media type and size that need no body. */
enum kb_err kb_request_media(const struct kb_request *req, bool has_body);
void kb_request_body(struct kb_request *req, const char *body, size_t len);
/* How often the header occurs (any case). */
unsigned kb_request_count(const struct kb_request *req, const char *name);

/* Header lines of a reply: cache, type, id, the handler's. The security
 * lines are the server's, on every answer. */
void kb_reply_lines(
    struct kb_request *req, const struct kb_reply *reply, struct kb_buf *lines);

#endif
