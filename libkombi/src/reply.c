/*
 * Replies: a handler returns one of these; nothing goes to the wire here.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <kombi/json.h>
#include <kombi/str.h>

#include "envelope.h"
#include "request.h"

#define REPLY_MAX (64u << 20)
#define JSON_TYPE "application/json"

static void
free_buf(void *arg)
{
	kb_buf_free(arg);
}

struct kb_buf *
kb_arena_buf(struct kb_arena *a, size_t max)
{
	struct kb_buf *b = kb_new(a, struct kb_buf);

	kb_buf_init(b, max);
	kb_arena_on_free(a, free_buf, b);
	return b;
}

static struct kb_reply
reply_of(struct kb_request *req, int status, const char *type, const void *body,
    size_t len)
{
	struct kb_reply_private *p = kb_new(
	    req->cx.arena, struct kb_reply_private);

	*p = (struct kb_reply_private) {
		.type = type,
		.body = body,
		.len = len,
	};
	return (struct kb_reply) { .status = status, .private_ = p };
}

/* The reply of a written buffer; too much is our fault. */
static struct kb_reply
reply_buf(struct kb_request *req, int status, struct kb_buf *b)
{
	if (kb_buf_failed(b)) {
		kb_error(req->cx.log, "reply over the ceiling",
		    KB_S("path", req->path));
		return kb_fail(req, KB_INTERNAL, NULL);
	}
	return reply_of(req, status, JSON_TYPE, kb_buf_str(b), b->len);
}

struct kb_reply
kb_data(struct kb_request *req, int status, kb_json_fn *fn, const void *obj)
{
	struct kb_buf *b = kb_arena_buf(req->cx.arena, REPLY_MAX);
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_object(&w, "data");
	fn(&w, obj);
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	return reply_buf(req, status, b);
}

struct kb_reply
kb_bare(struct kb_request *req, int status, kb_json_fn *fn, const void *obj)
{
	struct kb_buf *b = kb_arena_buf(req->cx.arena, REPLY_MAX);
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	fn(&w, obj);
	kb_w_object_end(&w);
	return reply_buf(req, status, b);
}

static void
page_json(struct kb_jsonw *w, const struct kb_page *page)
{
	kb_w_object(w, "meta");
	kb_w_int(w, "page", page->page);
	kb_w_int(w, "limit", page->limit);
	if (page->total >= 0)
		kb_w_int(w, "total", page->total);
	kb_w_object_end(w);
}

struct kb_reply
kb_items(struct kb_request *req, kb_json_fn *fn, const void *items, size_t n,
    size_t size, const struct kb_page *page)
{
	struct kb_buf *b = kb_arena_buf(req->cx.arena, REPLY_MAX);
	const char *item = items;
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	kb_w_array(&w, "data");
	for (size_t i = 0; i < n; i++) {
		kb_w_object(&w, NULL);
		fn(&w, item + i * size);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	if (page != NULL)
		page_json(&w, page);
	kb_w_object_end(&w);
	return reply_buf(req, 200, b);
}

struct kb_reply
kb_no_content(struct kb_request *req)
{
	return reply_of(req, 204, NULL, "", 0);
}

struct kb_reply
kb_bytes_reply(struct kb_request *req, int status, const char *content_type,
    const void *data, size_t len)
{
	return reply_of(req, status, content_type, data, len);
}

struct kb_reply
kb_json_reply(struct kb_request *req, int status, const char *json)
{
	return reply_of(req, status, JSON_TYPE, json, strlen(json));
}

struct kb_reply
kb_not_modified(struct kb_request *req)
{
	return reply_of(req, 304, NULL, "", 0);
}

/* ---- errors ----------------------------------------------------------------
 */

static struct kb_reply
fail(struct kb_request *req, enum kb_err err, const char *message,
    const char *details)
{
	struct kb_buf *b = kb_arena_buf(req->cx.arena, REPLY_MAX);
	struct kb_reply reply;

	assert(err > KB_OK && err < KB_ERR_COUNT);
	kb_envelope_error(b, err, message, details, req->id);
	kb_buf_adds(req->private_->lines, kb_envelope_lines(err));
	if (err == KB_METHOD && req->private_->allow != NULL)
		kb_reply_header(req, "Allow", req->private_->allow);
	reply = reply_of(
	    req, kb_err_status(err), JSON_TYPE, kb_buf_str(b), b->len);
	reply.private_->err = err;
	return reply;
}

struct kb_reply
kb_fail(struct kb_request *req, enum kb_err err, const char *fmt, ...)
{
	const char *message = NULL;
	va_list ap;

	if (fmt != NULL) {
		va_start(ap, fmt);
		message = kb_vsprintf(req->cx.arena, fmt, ap);
		va_end(ap);
	}
	return fail(req, err, message, NULL);
}

struct kb_reply
kb_fail_details(struct kb_request *req, enum kb_err err, const char *message,
    kb_json_fn *fn, const void *obj)
{
	struct kb_buf *b = kb_arena_buf(req->cx.arena, REPLY_MAX);
	struct kb_jsonw w;

	kb_w_init(&w, b);
	kb_w_object(&w, NULL);
	fn(&w, obj);
	kb_w_object_end(&w);
	return fail(req, err, message, kb_buf_str(b));
}

static void
fields_json(struct kb_jsonw *w, const void *obj)
{
	const struct kb_problems *p = obj;

	kb_w_object(w, "fields");
	for (const struct kb_problem *f = p->first; f != NULL; f = f->next)
		kb_w_str(w, f->path, f->text);
	kb_w_object_end(w);
}

struct kb_reply
kb_invalid(struct kb_request *req)
{
	struct kb_request_private *p = req->private_;

	if (p->body_err)
		return kb_fail(req, p->body_err, "%s", p->body_why);
	return kb_fail_details(
	    req, KB_INVALID, "Invalid request", fields_json, &p->problems);
}

/* ---- header lines -----------------------------------------------------------
 */

/* Without printf: every reply passes here. */
static void
add_line(struct kb_buf *b, const char *name, const char *value)
{
	kb_buf_adds(b, name);
	kb_buf_adds(b, ": ");
	kb_buf_adds(b, value);
	kb_buf_adds(b, "\r\n");
}

void
kb_reply_header(struct kb_request *req, const char *name, const char *value)
{
	struct kb_request_private *p = req->private_;

	assert(!kb_has_control(name, strlen(name)));
	assert(!kb_has_control(value, strlen(value)));
	if (strcasecmp(name, "Cache-Control") == 0)
		p->cache_set = true;
	add_line(p->lines, name, value);
}

void
kb_reply_lines(
    struct kb_request *req, const struct kb_reply *reply, struct kb_buf *lines)
{
	const struct kb_request_private *p = req->private_;

	if (!p->cache_set)
		add_line(lines, "Cache-Control", "no-store");
	if (reply->private_->type != NULL)
		add_line(lines, "Content-Type", reply->private_->type);
	add_line(lines, "X-Request-ID", req->id);
	kb_buf_add(lines, kb_buf_str(p->lines), p->lines->len);
}
