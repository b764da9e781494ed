/*
 * Bodies of requests: JSON, forms, forms with files. All of them become one
 * JSON object and a list of files.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/multipart.h>
#include <kombi/str.h>
#include <kombi/stream.h>

#include "files.h"

#define BODY_MAX (32u << 20) /* of all that is no file */
#define PAYLOAD "@jsonPayload"
#define PIECE 65536
#define MEMBERS_MAX 1000

struct member_of_form {
	const char *name;
	const char **values; /* JSON texts */
	size_t n, room;
	struct member_of_form *next;
};

struct form_body {
	struct api *api;
	struct member_of_form *first, **last;

	size_t n, room; /* values; bytes that are left */
	/* the part that comes */
	const char *name;
	struct upload *upload; /* NULL: a value */
	struct kb_buf value;
};

/* ---- the members
 * ------------------------------------------------------------------ */

/* Whether a server of the original takes the text for a number: when it is
 * the shortest that reads back as the same one. */
static bool
is_number(const char *s)
{
	char again[64];
	size_t len = strlen(s);

	if (len > 40 || strspn(s, "-.0123456789") != len ||
	    (s[0] != '-' && !(s[0] >= '0' && s[0] <= '9')))
		return false;
	for (int digits = 15; digits <= 17; digits++) {
		double d = strtod(s, NULL);

		snprintf(again, sizeof(again), "%.*g", digits, d);
		if (strtod(again, NULL) == d)
			break;
	}
	return strcmp(again, s) == 0;
}

static const char *
json_string(struct kb_arena *a, const char *s)
{
	struct kb_jsonw w;
	struct kb_buf b;
	char *text;

	kb_buf_init(&b, 8u * BODY_MAX);
	kb_w_init(&w, &b);
	kb_w_str(&w, NULL, s);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

static const char *
infer(struct kb_arena *a, const char *s)
{
	if (strcmp(s, "true") == 0 || strcmp(s, "false") == 0 || is_number(s))
		return kb_strdup(a, s);
	return json_string(a, s);
}

static struct member_of_form *
member_named(struct form_body *f, const char *name)
{
	struct member_of_form *m = f->first;

	while (m != NULL && strcmp(m->name, name) != 0)
		m = m->next;
	if (m != NULL)
		return m;
	m = kb_new(f->api->req->cx.arena, struct member_of_form);
	m->name = name;
	*f->last = m;
	f->last = &m->next;
	return m;
}

static void
add_value(struct kb_arena *a, struct member_of_form *m, const char *value)
{
	const char **more;

	if (m->n == m->room) {
		m->room = m->room ? 2 * m->room : 1;
		more = kb_new_array(a, m->room, const char *);
		if (m->n > 0)
			memcpy(more, m->values, m->n * sizeof(*more));
		m->values = more;
	}
	m->values[m->n++] = value;
}

/* A value that is whole. */
static enum kb_err
take_value(struct form_body *f, const char *name, const char *value)
{
	struct kb_arena *a = f->api->req->cx.arena;
	struct member_of_form *m;

	if (++f->n > MEMBERS_MAX)
		return KB_TOO_LARGE;
	if (!kb_utf8_valid(value, strlen(value)) ||
	    !kb_utf8_valid(name, strlen(name)))
		return KB_MALFORMED;
	if (name[0] == '\0')
		return KB_OK;
	m = member_named(f, name);
	add_value(a, m,
	    strcmp(name, PAYLOAD) == 0 ? kb_strdup(a, value) : infer(a, value));
	return KB_OK;
}

/* Members of the payloads stand above values of the same name. */
static enum kb_err
apply_payload(struct form_body *f, const char *text)
{
	struct kb_arena *a = f->api->req->cx.arena;
	const struct kb_json *j;
	const char *why;

	if (kb_json_parse(a, text, strlen(text), &j, &why) ||
	    kb_json_kind(j) != KB_JSON_OBJECT)
		return KB_MALFORMED;
	for (j = kb_json_first(j); j != NULL; j = kb_json_after(j)) {
		struct member_of_form *m;

		if (++f->n > MEMBERS_MAX)
			return KB_TOO_LARGE;
		m = member_named(f, kb_json_name(j));
		m->n = 0;
		add_value(a, m, kb_json_print(a, j));
	}
	return KB_OK;
}

static enum kb_err
apply_payloads(struct form_body *f)
{
	struct member_of_form *m = f->first;
	enum kb_err err = KB_OK;

	while (m != NULL && strcmp(m->name, PAYLOAD) != 0)
		m = m->next;
	if (m == NULL)
		return KB_OK;
	m->name = ""; /* no member itself */
	for (size_t i = 0; !err && i < m->n; i++)
		err = apply_payload(f, m->values[i]);
	return err;
}

static void
write_members(struct kb_jsonw *w, const struct form_body *f)
{
	kb_w_object(w, NULL);
	for (const struct member_of_form *m = f->first; m; m = m->next) {
		if (m->name[0] == '\0')
			continue;
		if (m->n == 1) {
			kb_w_raw(w, m->name, m->values[0]);
			continue;
		}
		kb_w_array(w, m->name);
		for (size_t i = 0; i < m->n; i++)
			kb_w_raw(w, NULL, m->values[i]);
		kb_w_array_end(w);
	}
	kb_w_object_end(w);
}

static enum kb_err
form_done(struct form_body *f)
{
	struct kb_arena *a = f->api->req->cx.arena;
	struct kb_jsonw w;
	struct kb_buf b;
	const char *why, *text;
	enum kb_err err = apply_payloads(f);

	if (err)
		return err;
	kb_buf_init(&b, 8u * BODY_MAX);
	kb_w_init(&w, &b);
	write_members(&w, f);
	text = kb_strdup(a, kb_buf_str(&b));
	err = kb_buf_failed(&b) ? KB_TOO_LARGE : KB_OK;
	kb_buf_free(&b);
	return err ? err
		   : kb_json_parse(a, text, strlen(text), &f->api->body, &why);
}

/* ---- multipart/form-data
 * ---------------------------------------------------------- */

/* A file without a name is none: what browsers send for an empty field. */
static enum kb_err
on_part(void *arg, const struct kb_multipart_part *part)
{
	struct form_body *f = arg;

	f->name = part->name;
	f->upload = NULL;
	kb_buf_reset(&f->value);
	if (part->filename == NULL || part->filename[0] == '\0')
		return KB_OK;
	return upload_open(f->api, part->name, part->filename, &f->upload);
}

static enum kb_err
on_data(void *arg, const char *data, size_t len)
{
	struct form_body *f = arg;

	if (f->upload != NULL)
		return upload_write(f->upload, data, len);
	if (memchr(data, '\0', len) != NULL)
		return KB_MALFORMED;
	if (len > f->room)
		return KB_TOO_LARGE;
	f->room -= len;
	kb_buf_add(&f->value, data, len);
	return KB_OK;
}

static enum kb_err
on_end(void *arg)
{
	struct form_body *f = arg;

	if (f->upload != NULL)
		return upload_close(f->api, f->upload);
	return take_value(f, f->name, kb_buf_str(&f->value));
}

/* The body in pieces, from memory or from its file. */
static enum kb_err
feed(struct api *api, struct kb_multipart *m)
{
	struct kb_request *req = api->req;
	int fd = kb_body_fd(req);
	char *piece;
	enum kb_err err = KB_OK;
	ssize_t n;

	if (fd < 0)
		return kb_multipart_feed(m, req->body, req->body_len);
	piece = kb_arena_alloc(req->cx.arena, PIECE);
	while (!err && (n = read(fd, piece, PIECE)) != 0)
		err = n < 0 ? KB_UNAVAILABLE
			    : kb_multipart_feed(m, piece, (size_t)n);
	return err;
}

static enum kb_err
read_multipart(struct form_body *f, const char *boundary)
{
	struct kb_multipart_conf conf = { .part = on_part,
		.data = on_data,
		.end = on_end,
		.arg = f,
		.max_parts = MEMBERS_MAX };
	struct kb_multipart *m = kb_multipart_new(
	    f->api->req->cx.arena, boundary, &conf);
	enum kb_err err;

	kb_buf_init(&f->value, BODY_MAX);
	err = feed(f->api, m);
	if (!err)
		err = kb_multipart_finish(m);
	kb_buf_free(&f->value);
	return err ? err : form_done(f);
}

/* ---- other bodies
 * ----------------------------------------------------------------- */

/* The body as text, whether it is in a file or not. */
static enum kb_err
whole(struct api *api, struct kb_slice *out)
{
	struct kb_request *req = api->req;
	int fd = kb_body_fd(req);
	char *text;
	size_t got = 0;

	*out = (struct kb_slice) { req->body, req->body_len };
	if (fd < 0)
		return KB_OK;
	if (req->body_len > BODY_MAX)
		return KB_TOO_LARGE;
	text = kb_arena_alloc(req->cx.arena, req->body_len + 1);
	while (got < req->body_len) {
		ssize_t n = read(fd, text + got, req->body_len - got);

		if (n <= 0)
			return KB_UNAVAILABLE;
		got += (size_t)n;
	}
	out->ptr = text;
	return KB_OK;
}

/* A plus is a blank in forms. */
static bool
decode(struct kb_arena *a, struct kb_slice s, char **out)
{
	char *copy = kb_slice_dup(a, s);

	for (size_t i = 0; i < s.len; i++)
		if (copy[i] == '+')
			copy[i] = ' ';
	s.ptr = copy;
	return kb_percent_decode(a, s, out);
}

static enum kb_err
read_urlencoded(struct form_body *f)
{
	struct kb_arena *a = f->api->req->cx.arena;
	struct kb_slice rest, pair, name;
	enum kb_err err = whole(f->api, &rest);
	char *n, *v;

	while (!err && kb_slice_next(&rest, '&', &pair)) {
		if (pair.len == 0)
			continue;
		if (!kb_slice_next(&pair, '=', &name))
			name = (struct kb_slice) { "", 0 };
		if (!decode(a, name, &n) || !decode(a, pair, &v))
			return KB_MALFORMED;
		err = take_value(f, n, v);
	}
	return err ? err : form_done(f);
}

static enum kb_err
read_json_body(struct api *api)
{
	struct kb_slice text;
	const char *why;
	enum kb_err err = whole(api, &text);

	if (err)
		return err;
	if (text.len == 0)
		text = kb_slice_of("{}");
	if (kb_json_parse(
		api->req->cx.arena, text.ptr, text.len, &api->body, &why) ||
	    kb_json_kind(api->body) != KB_JSON_OBJECT)
		return KB_MALFORMED;
	return KB_OK;
}

static bool
is_type(const char *type, const char *name)
{
	struct kb_slice rest = kb_slice_of(type), word;

	return kb_slice_next(&rest, ';', &word) &&
	    kb_slice_eqi(kb_slice_trim(word), name);
}

static enum kb_err
read_body(struct api *api)
{
	const char *type = kb_header(api->req, "Content-Type"), *boundary;
	struct form_body f = { .api = api, .room = BODY_MAX };

	f.last = &f.first;
	if (type != NULL && is_type(type, "multipart/form-data"))
		return kb_multipart_boundary(
			   api->req->cx.arena, type, &boundary)
		    ? read_multipart(&f, boundary)
		    : KB_MALFORMED;
	if (type != NULL && is_type(type, "application/x-www-form-urlencoded"))
		return read_urlencoded(&f);
	if (type != NULL && api->req->body_len > 0 &&
	    !is_type(type, "application/json"))
		return KB_MEDIA_TYPE;
	return read_json_body(api);
}

/* A form that cannot be read has the general words upstream, too. */
static const char *
unreadable(const struct api *api, enum kb_err err)
{
	const char *type = kb_header(api->req, "Content-Type");

	if (err == KB_MEDIA_TYPE)
		return "Unsupported Content-Type.";
	return type == NULL || is_type(type, "application/json")
	    ? "An error occurred while loading the submitted data."
	    : NULL;
}

bool
api_body(struct api *api, struct kb_reply *reply)
{
	enum kb_err err = read_body(api);

	if (!err)
		return true;
	if (err == KB_TOO_LARGE || err == KB_RESOURCE_LIMIT ||
	    err == KB_UNAVAILABLE)
		*reply = api_fail_db(api->req, err, NULL);
	else
		*reply = api_fail(api->req, 400, unreadable(api, err));
	return false;
}
