/*
 * A request of a service: copied from the wire into its own arena, so that a
 * worker can read it while the connection lives its own life.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "request.h"

#define QUERY_MAX 100

static const char *const role_names[] = {
	[KB_ROLE_NONE] = "none",
	[KB_ROLE_VIEWER] = "viewer",
	[KB_ROLE_MEMBER] = "member",
	[KB_ROLE_ADMIN] = "admin",
};

const char *
kb_tenant_role_name(enum kb_tenant_role r)
{
	assert(r >= KB_ROLE_NONE && r <= KB_ROLE_ADMIN);
	return role_names[r];
}

enum kb_tenant_role
kb_tenant_role_of(const char *name)
{
	for (int r = KB_ROLE_VIEWER; r <= KB_ROLE_ADMIN; r++)
		if (kb_str_eq(role_names[r], name))
			return (enum kb_tenant_role)r;
	return KB_ROLE_NONE;
}

static char *
text_of(struct kb_arena *a, struct kb_slice s)
{
	return kb_strndup(a, s.ptr ? s.ptr : "", s.len);
}

/*
 * One copy of the head's bytes; the ':' and CR after names and values make
 * room for the NULs.
 */
static void
copy_headers(
    struct kb_request *req, const struct kb_http1_head *head, const char *bytes)
{
	struct kb_request_private *p = req->private_;
	char *copy = kb_arena_alloc(req->cx.arena, (size_t)head->done + 1);

	p->n_headers = head->n_fields;
	p->headers = kb_new_array(
	    req->cx.arena, p->n_headers + 1, struct kb_text_field);
	memcpy(copy, bytes, head->done);
	for (size_t i = 0; i < p->n_headers; i++) {
		const struct kb_http1_field *f = &head->fields[i];

		copy[f->name + f->name_len] = '\0';
		copy[f->value + f->value_len] = '\0';
		p->headers[i] = (struct kb_text_field) { copy + f->name,
			copy + f->value, (enum kb_header_id)f->id };
	}
}

struct kb_request *
kb_request_new(struct kb_arena *a, struct kb_app *app,
    const struct kb_request_source *from)
{
	struct kb_request *req = kb_new(a, struct kb_request);
	struct kb_request_private *p = kb_new(a, struct kb_request_private);

	p->body_fd = -1;
	req->private_ = p;
	req->cx.arena = a;
	req->cx.db = app->db;
	req->cx.deadline_ms = kb_mono_ms() + KB_REQUEST_MS;
	req->method = from->method;
	req->path = text_of(a, from->path);
	req->query = text_of(a, from->query);
	req->id = kb_strdup(a, from->id);
	req->peer = kb_strdup(a, from->peer);
	req->user.roles = "";
	req->body = "";
	req->service = app;
	p->app = app;
	p->lines = kb_arena_buf(a, 16384);
	p->log.fields[0] = KB_S("requestId", req->id);
	p->log.fields[1] = KB_END;
	req->cx.log = &p->log;
	if (from->head != NULL)
		copy_headers(req, from->head, from->bytes);
	return req;
}

static bool
decode_params(struct kb_request *req, const struct kb_match *m)
{
	struct kb_request_private *p = req->private_;

	for (unsigned i = 0; i < m->n_params; i++) {
		char *value;

		if (!kb_percent_decode(req->cx.arena, m->values[i], &value) ||
		    !kb_utf8_valid(value, strlen(value)) ||
		    kb_has_control(value, strlen(value)))
			return false;
		p->params[i] = (struct kb_text_field) {
			.name = kb_slice_dup(req->cx.arena, m->names[i]),
			.value = value,
		};
	}
	p->n_params = m->n_params;
	return true;
}

/* application/x-www-form-urlencoded: '+' is a blank. */
static bool
decode_form(struct kb_arena *a, struct kb_slice s, const char **out)
{
	char *plain = kb_strndup(a, s.ptr, s.len), *value;

	for (char *c = plain; *c != '\0'; c++)
		if (*c == '+')
			*c = ' ';
	if (!kb_percent_decode(a, (struct kb_slice) { plain, s.len }, &value) ||
	    !kb_utf8_valid(value, strlen(value)))
		return false;
	*out = value;
	return true;
}

static bool
decode_query(struct kb_request *req)
{
	struct kb_request_private *p = req->private_;
	struct kb_slice rest = kb_slice_of(req->query), pair;

	if (rest.len == 0)
		return true;
	p->query = kb_new_array(req->cx.arena, QUERY_MAX, struct kb_text_field);
	while (kb_slice_next(&rest, '&', &pair)) {
		struct kb_text_field *f = &p->query[p->n_query];
		struct kb_slice name = { "", 0 };

		if (pair.len == 0)
			continue;
		if (p->n_query == QUERY_MAX)
			return false;
		if (pair.ptr[0] == '=')
			pair = (struct kb_slice) { pair.ptr + 1, pair.len - 1 };
		else
			(void)kb_slice_next(&pair, '=', &name);
		if (pair.ptr == NULL)
			pair = (struct kb_slice) { "", 0 };
		if (!decode_form(req->cx.arena, name, &f->name) ||
		    !decode_form(req->cx.arena, pair, &f->value))
			return false;
		p->n_query++;
	}
	return true;
}

enum kb_err
kb_request_route(struct kb_request *req, const struct kb_router *router)
{
	struct kb_match m;
	enum kb_err err;

	err = kb_router_match(router, req->method, kb_slice_of(req->path), &m);
	req->private_->allow = m.allow;
	req->route = m.route;
	if (err)
		return err;
	if (!decode_params(req, &m) || !decode_query(req))
		return KB_MALFORMED;
	return KB_OK;
}

static void
replace_headers(struct kb_arena *a, struct kb_request_private *p,
    const char *const *headers)
{
	size_t n = 0;

	while (headers[n] != NULL)
		n++;
	p->headers = kb_new_array(a, n / 2 + 1, struct kb_text_field);
	p->n_headers = 0;
	for (size_t i = 0; i + 1 < n; i += 2)
		p->headers[p->n_headers++] = (struct kb_text_field) {
			.name = headers[i],
			.value = headers[i + 1],
		};
}

struct kb_request *
kb_request_part(const struct kb_request *req, enum kb_method method,
    const char *query, const char *const *headers)
{
	struct kb_request *part = kb_new(req->cx.arena, struct kb_request);
	struct kb_request_private *p = kb_new(
	    req->cx.arena, struct kb_request_private);

	*part = *req;
	*p = *req->private_;
	part->private_ = p;
	part->method = method;
	part->query = query;
	p->n_query = 0;
	if (headers != NULL)
		replace_headers(req->cx.arena, p, headers);
	return decode_query(part) ? part : NULL;
}

/* JSON is UTF-8 (RFC 8259 8.1): another charset would be read as what it is
 * not. Other parameters have no meaning and do no harm. */
static bool
charset_is_utf8(struct kb_slice parameter)
{
	struct kb_slice name;

	if (!kb_slice_next(&parameter, '=', &name) ||
	    !kb_slice_eqi(kb_slice_trim(name), "charset"))
		return true;
	parameter = kb_slice_trim(parameter);
	return kb_slice_eqi(parameter, "utf-8") ||
	    kb_slice_eqi(parameter, "\"utf-8\"");
}

static bool
type_is_json(const char *type)
{
	struct kb_slice rest = kb_slice_of(type), part;

	if (!kb_slice_next(&rest, ';', &part) ||
	    !kb_slice_eqi(kb_slice_trim(part), "application/json"))
		return false;
	while (kb_slice_next(&rest, ';', &part))
		if (!charset_is_utf8(part))
			return false;
	return true;
}

enum kb_err
kb_request_media(const struct kb_request *req, bool has_body)
{
	const char *type = kb_header(req, "Content-Type");

	if (!has_body || (req->route->flags & (KB_RAW_BODY | KB_SPOOL_BODY)))
		return KB_OK;
	if (type == NULL || !type_is_json(type) ||
	    kb_request_count(req, "Content-Type") > 1)
		return KB_MEDIA_TYPE;
	if (kb_header(req, "Content-Encoding") != NULL)
		return KB_MEDIA_TYPE;
	return KB_OK;
}

void
kb_request_body(struct kb_request *req, const char *body, size_t len)
{
	req->body = len > 0 ? body : "";
	req->body_len = len;
}

const char *
kb_param(const struct kb_request *req, const char *name)
{
	const struct kb_request_private *p = req->private_;
	const char *value = NULL;

	for (unsigned i = 0; i < p->n_params && value == NULL; i++)
		if (kb_str_eq(p->params[i].name, name))
			value = p->params[i].value;
	assert(value != NULL);
	return value;
}

const char *
kb_query_param(const struct kb_request *req, const char *name)
{
	const struct kb_request_private *p = req->private_;

	for (size_t i = 0; i < p->n_query; i++)
		if (kb_str_eq(p->query[i].name, name))
			return p->query[i].value;
	return NULL;
}

const char *
kb_header(const struct kb_request *req, const char *name)
{
	const struct kb_request_private *p = req->private_;

	for (size_t i = 0; i < p->n_headers; i++)
		if (strcasecmp(p->headers[i].name, name) == 0)
			return p->headers[i].value;
	return NULL;
}

unsigned
kb_request_count(const struct kb_request *req, const char *name)
{
	const struct kb_request_private *p = req->private_;
	unsigned n = 0;

	for (size_t i = 0; i < p->n_headers; i++)
		n += strcasecmp(p->headers[i].name, name) == 0;
	return n;
}

/* ---- bodies and pages -----------------------------------------------------
 */

static bool
refuse_body(struct kb_request *req, enum kb_err err, const char *why)
{
	req->private_->body_err = err;
	req->private_->body_why = why;
	return false;
}

bool
kb_read_body(struct kb_request *req, const struct kb_rule *rules, void *into)
{
	struct kb_request_private *p = req->private_;
	const struct kb_json *json;
	const char *why = NULL;
	enum kb_err err;

	if (req->body_len == 0)
		return refuse_body(req, KB_INVALID, "A JSON body is required");
	if (kb_header(req, "Content-Type") == NULL ||
	    !type_is_json(kb_header(req, "Content-Type")))
		return refuse_body(req, KB_MEDIA_TYPE,
		    "The content type must be application/json");
	err = kb_json_parse(
	    req->cx.arena, req->body, req->body_len, &json, &why);
	if (err)
		return refuse_body(req, KB_INVALID,
		    kb_sprintf(req->cx.arena, "Invalid JSON: %s",
			why ? why : "unreadable"));
	if (kb_json_kind(json) != KB_JSON_OBJECT)
		return refuse_body(
		    req, KB_INVALID, "The body must be a JSON object");
	return kb_json_bind(req->cx.arena, json, rules, into, &p->problems);
}

void
kb_bad_field(struct kb_request *req, const char *path, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	const char *text = kb_vsprintf(req->cx.arena, fmt, ap);
	va_end(ap);
	kb_problem_add(
	    req->cx.arena, &req->private_->problems, path, "%s", text);
}

static bool
read_number(struct kb_request *req, const char *name, int64_t max, int64_t *out)
{
	const char *text = kb_query_param(req, name);
	int64_t n;

	if (text == NULL)
		return true;
	if (!kb_parse_i64(kb_slice_of(text), &n) || n < 1 || n > max) {
		kb_bad_field(
		    req, name, "must be between 1 and %lld", (long long)max);
		return false;
	}
	*out = n;
	return true;
}

bool
kb_read_page(struct kb_request *req, struct kb_page *page)
{
	*page = (struct kb_page) { .page = 1, .limit = 20, .total = -1 };
	bool page_ok = read_number(req, "page", 1000000, &page->page);

	return read_number(req, "limit", 100, &page->limit) && page_ok;
}
