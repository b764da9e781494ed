/*
 * What plugins change in a request and in its answer. Most exchanges change
 * nothing and pay nothing: the copies that can be changed are made at first
 * use, in the exchange's arena.
 */
#include <string.h>
#include <strings.h>

#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

/* ---- lines --------------------------------------------------------------- */

void
lines_add(struct lines *l, struct kb_slice name, struct kb_slice value)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct line *v = kb_new_array(l->arena, cap, struct line);

		if (l->n)
			memcpy(v, l->v, l->n * sizeof(*v));
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct line) { name, value };
}

struct line *
lines_find(const struct lines *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (kb_slice_eqi(l->v[i].name, name))
			return &l->v[i];
	return NULL;
}

size_t
lines_remove(struct lines *l, const char *name)
{
	size_t kept = 0, all = l->n;

	for (size_t i = 0; i < all; i++)
		if (!kb_slice_eqi(l->v[i].name, name))
			l->v[kept++] = l->v[i];
	l->n = kept;
	return all - kept;
}

/* Of the connection, of framing, or set by the gateway on every message. */
static const char *const never_free[] = { "connection", "content-length",
	"date", "expect", "host", "keep-alive", "proxy-authenticate",
	"proxy-authorization", "proxy-connection", "referrer-policy", "server",
	"strict-transport-security", "te", "trailer", "transfer-encoding",
	"upgrade", "x-content-type-options", "x-correlation-id", "x-request-id",
	NULL };

bool
line_name_is_free(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			(*c >= '0' && *c <= '9') || *c == '-'))
			return false;
	for (size_t i = 0; never_free[i] != NULL; i++)
		if (strcasecmp(name, never_free[i]) == 0)
			return false;
	return name[0] != '\0' && !kb_header_is_owned(name, strlen(name));
}

/* ---- the request --------------------------------------------------------- */

struct rewrite *
exchange_rewrite(struct exchange *x)
{
	struct kb_arena *a = exchange_arena(x);
	struct rewrite *r = x->rewrite;
	struct kb_buf path;

	if (r != NULL)
		return r;
	r = kb_new(a, struct rewrite);
	r->method = exchange_method(x);
	kb_buf_init(&path, 64 * 1024);
	upstream_path(&path, x->route, kb_ex_path(x->ex), x->prefix);
	r->path = (struct kb_slice) { kb_strdup(a, kb_buf_str(&path)),
		path.len };
	kb_buf_free(&path);
	if (kb_ex_has_query(x->ex))
		r->query = kb_ex_query(x->ex);
	r->fields.arena = a;
	upstream_request_fields(x, &r->fields);
	x->rewrite = r;
	return r;
}

bool
exchange_set_path(struct exchange *x, const char *path)
{
	struct kb_arena *a = exchange_arena(x);
	struct rewrite *r = exchange_rewrite(x);
	struct kb_slice query, authority;
	struct kb_buf out;
	bool fine;

	kb_buf_init(&out, 8192);
	fine = path[0] == '/' &&
	    kb_http_path(kb_slice_of(path), &out, &query, &authority) ==
		KB_OK &&
	    query.ptr == NULL && authority.ptr == NULL &&
	    !path_is_denied((struct kb_slice) { out.ptr, out.len });
	if (fine)
		r->path = (struct kb_slice) { kb_strdup(a, out.ptr), out.len };
	kb_buf_free(&out);
	return fine;
}

/* An envelope for a status that no error of ours has. */
static char *
envelope_text(struct exchange *x, int status, const char *message)
{
	enum kb_err like = status < 500 ? KB_INVALID : KB_UNAVAILABLE;
	struct kb_arena *a = exchange_arena(x);
	struct kb_jsonw w;
	struct kb_buf b;
	char *text;

	kb_buf_init(&b, 64 * 1024);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	if (status >= 400) {
		kb_w_object(&w, "error");
		kb_w_str(&w, "code", kb_err_code(like));
		kb_w_str(&w, "message", message ? message : kb_err_text(like));
		kb_w_str(&w, "requestId", exchange_request_id(x));
		kb_w_str(&w, "timestamp", kb_now_text(a));
		kb_w_object_end(&w);
	} else
		kb_w_opt(&w, "message", message);
	kb_w_object_end(&w);
	text = kb_strndup(a, kb_buf_str(&b), b.len);
	kb_buf_free(&b);
	return text;
}

void
exchange_refuse(struct exchange *x, int status, const char *message)
{
	char *text;

	for (int err = KB_OK + 1; err < KB_ERR_COUNT; err++) {
		if (kb_err_status((enum kb_err)err) != status)
			continue;
		exchange_fail(x, (enum kb_err)err, message);
		return;
	}
	text = envelope_text(x, status, message);
	exchange_answer(x, status, "application/json", text, strlen(text));
}

static void
free_buf(void *arg)
{
	kb_buf_free(arg);
}

enum verdict
exchange_body(struct exchange *x, size_t max, struct kb_slice *body)
{
	*body = (struct kb_slice) { "", 0 };
	if (!x->has_body)
		return NEXT;
	if (x->body_in != NULL) {
		if (kb_buf_failed(x->body_in))
			exchange_fail(x, KB_TOO_LARGE, NULL);
		*body = (struct kb_slice) { kb_buf_str(x->body_in),
			x->body_in->len };
		return NEXT;
	}
	x->body_in = kb_new(exchange_arena(x), struct kb_buf);
	kb_buf_init(x->body_in, max);
	kb_arena_on_free(exchange_arena(x), free_buf, x->body_in);
	x->collecting = true;
	kb_ex_continue(x->ex);
	if (x->paused) {
		x->paused = false;
		kb_ex_resume(x->ex);
	}
	exchange_again(x);
	return WAIT;
}

void
rewrite_body(struct exchange *x, const char *data, size_t len)
{
	kb_buf_add(x->body_in, data, len);
	if (!kb_buf_failed(x->body_in))
		return;
	x->collecting = false;
	exchange_resume(x);
}

/* The body that was read goes on as it is when no plugin puts another. */
void
rewrite_body_end(struct exchange *x)
{
	struct rewrite *r = exchange_rewrite(x);

	x->collecting = false;
	if (r->body == NULL) {
		r->body = kb_buf_str(x->body_in);
		r->body_len = x->body_in->len;
	}
	exchange_resume(x);
}

struct kb_slice
exchange_capture(const struct exchange *x, const char *name)
{
	for (size_t i = 0; i < x->n_captures; i++)
		if (kb_slice_eq(x->captures[i].name, name))
			return x->captures[i].value;
	return (struct kb_slice) { NULL, 0 };
}

/* "Bearer token" was checked when the identity was made from it. */
const struct kb_json *
exchange_claims(struct exchange *x)
{
	struct kb_slice jwt = x->consumer_jwt;

	if (x->claims != NULL)
		return x->claims;
	if (x->token && token_jwt(x->token) != NULL)
		jwt = kb_slice_of(token_jwt(x->token));
	else if (x->token && token_is_bearer(x->token))
		jwt = x->bearer;
	if (jwt.ptr == NULL ||
	    kb_jwt_peek(exchange_arena(x), jwt.ptr, jwt.len, &x->claims))
		return NULL;
	return x->claims;
}

/* ---- the answer ---------------------------------------------------------- */

bool
exchange_answer_is_upstreams(const struct exchange *x)
{
	return x->answer != NULL;
}

int
exchange_answer_status(const struct exchange *x)
{
	if (x->answer != NULL)
		return x->answer->status;
	return x->err ? kb_err_status(x->err) : x->status;
}

/* Lines of plugins were written as text. */
static void
add_text_lines(struct lines *l, struct kb_slice text)
{
	struct kb_slice row;

	while (kb_slice_next(&text, '\n', &row)) {
		const char *colon = row.len ? memchr(row.ptr, ':', row.len)
					    : NULL;
		struct kb_slice name = { row.ptr, 0 }, value;

		if (colon == NULL)
			continue;
		name.len = (size_t)(colon - row.ptr);
		value.ptr = colon + 1;
		value.len = row.len - name.len - 1;
		if (value.len && value.ptr[value.len - 1] == '\r')
			value.len--;
		lines_add(l, name, kb_slice_trim(value));
	}
}

struct lines *
exchange_answer_lines(struct exchange *x)
{
	struct kb_arena *a = exchange_arena(x);
	struct lines *l = x->answer_lines;
	char *text;

	if (l != NULL)
		return l;
	l = kb_new(a, struct lines);
	l->arena = a;
	if (x->answer)
		upstream_answer_fields(x, l);
	text = kb_strndup(a, kb_buf_str(&x->down), x->down.len);
	add_text_lines(l, (struct kb_slice) { text, x->down.len });
	kb_buf_reset(&x->down);
	x->answer_lines = l;
	return l;
}

void
exchange_hold_answer(struct exchange *x, size_t max,
    void (*change)(struct exchange *x, void *arg, struct kb_slice *body),
    void *arg)
{
	int status = exchange_answer_status(x);

	if (x->answer == NULL || x->held != NULL || status == 101 ||
	    status == 204 || status == 304 || exchange_method(x) == KB_M_HEAD ||
	    upstream_method(x) == KB_M_HEAD)
		return;
	x->held = kb_new(exchange_arena(x), struct held);
	x->held->change = change;
	x->held->arg = arg;
	kb_buf_init(&x->held->body, max);
	kb_arena_on_free(exchange_arena(x), free_buf, &x->held->body);
}

/* An error instead of an answer that was held: nothing of it remains. */
void
held_fail(struct exchange *x, enum kb_err err)
{
	static const char cors[] = "access-control-";
	struct lines *l = x->answer_lines;
	size_t kept = 0;

	for (size_t i = 0; l != NULL && i < l->n; i++)
		if (l->v[i].name.len >= sizeof(cors) - 1 &&
		    strncasecmp(l->v[i].name.ptr, cors, sizeof(cors) - 1) == 0)
			l->v[kept++] = l->v[i];
	if (l != NULL)
		l->n = kept;
	exchange_answer_error(x, err);
}

void
held_head(struct exchange *x, int status, const struct kb_buf *lines)
{
	x->held->status = status;
	x->held->lines = (struct kb_slice) {
		kb_strndup(exchange_arena(x), lines->ptr, lines->len),
		lines->len,
	};
}

void
held_body(struct exchange *x, const char *data, size_t len)
{
	struct kb_call *call = x->call;

	kb_buf_add(&x->held->body, data, len);
	if (!kb_buf_failed(&x->held->body))
		return;
	kb_warn(NULL, "an answer is too large to be transformed",
	    KB_S("service", x->route->service->name),
	    KB_S("requestId", exchange_request_id(x)));
	x->call = NULL;
	kb_call_cancel(call);
	held_fail(x, KB_BAD_GATEWAY);
}

void
held_done(struct exchange *x)
{
	struct held *h = x->held;
	struct kb_slice body = { kb_buf_str(&h->body), h->body.len };

	h->change(x, h->arg, &body);
	kb_ex_answer(
	    x->ex, h->status, h->lines.ptr, h->lines.len, body.ptr, body.len);
}
