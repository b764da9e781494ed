/*
 * Heads on their way: the request as upstream shall see it, the answer as
 * the client shall. Both are written from parsed fields, never copied whole:
 * what belongs to one connection, or to the gateway, does not pass.
 */
#include <string.h>
#include <strings.h>

#include <kombi/str.h>

#include "inside.h"

/* Request fields that do not go on; the gateway writes its own instead. */
static const bool request_dropped[KB_H_COUNT] = {
	[KB_H_CONNECTION] = true,
	[KB_H_CONTENT_LENGTH] = true,
	[KB_H_EXPECT] = true,
	[KB_H_HOST] = true,
	[KB_H_KEEP_ALIVE] = true,
	[KB_H_PROXY_AUTHENTICATE] = true,
	[KB_H_PROXY_AUTHORIZATION] = true,
	[KB_H_PROXY_CONNECTION] = true,
	[KB_H_TE] = true,
	[KB_H_TRAILER] = true,
	[KB_H_TRANSFER_ENCODING] = true,
	[KB_H_UPGRADE] = true,
	[KB_H_X_REQUEST_ID] = true,
};

static const bool answer_dropped[KB_H_COUNT] = {
	[KB_H_CONNECTION] = true,
	[KB_H_CONTENT_LENGTH] = true,
	[KB_H_DATE] = true,
	[KB_H_KEEP_ALIVE] = true,
	[KB_H_PROXY_AUTHENTICATE] = true,
	[KB_H_PROXY_CONNECTION] = true,
	[KB_H_SERVER] = true,
	[KB_H_TE] = true,
	[KB_H_TRAILER] = true,
	[KB_H_TRANSFER_ENCODING] = true,
	[KB_H_UPGRADE] = true,
	[KB_H_X_REQUEST_ID] = true,
};

/* What Connection names beside its own words; ptr NULL when there is
 * nothing to look up, which is the usual case. */
static struct kb_slice
connection_names(const struct kb_http1_head *h, const char *bytes)
{
	struct kb_slice value = kb_http1_get(h, bytes, KB_H_CONNECTION);

	if (value.ptr == NULL || kb_slice_eqi(value, "keep-alive") ||
	    kb_slice_eqi(value, "close") || kb_slice_eqi(value, "upgrade"))
		return (struct kb_slice) { NULL, 0 };
	return value;
}

static bool
is_named(struct kb_slice list, struct kb_slice name)
{
	struct kb_slice part;

	while (list.ptr != NULL && kb_slice_next(&list, ',', &part)) {
		part = kb_slice_trim(part);
		if (part.len == name.len &&
		    strncasecmp(part.ptr, name.ptr, name.len) == 0)
			return true;
	}
	return false;
}

/* Others may fold '_' and the like to '-': such names do not pass. */
static bool
is_plain_name(struct kb_slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return true;
}

static void
copy_field(struct kb_buf *out, struct kb_slice name, struct kb_slice value)
{
	char *at = kb_buf_reserve(out, name.len + value.len + 4);

	if (at == NULL)
		return;
	memcpy(at, name.ptr, name.len);
	at += name.len;
	*at++ = ':';
	*at++ = ' ';
	if (value.len)
		memcpy(at, value.ptr, value.len);
	at += value.len;
	*at++ = '\r';
	*at++ = '\n';
	kb_buf_commit(out, name.len + value.len + 4);
}

static bool
passes(const struct exchange *x, const struct kb_http1_field *f,
    struct kb_slice name, struct kb_slice named)
{
	if (request_dropped[f->id])
		return false;
	if (f->id == KB_H_AUTHORIZATION)
		return !x->route->authenticated;
	if (f->id != KB_H_OTHER)
		return !is_named(named, name);
	if (x->trace_id && trace_owns_field(name))
		return false;
	return is_plain_name(name) && !kb_header_is_owned(name.ptr, name.len) &&
	    !kb_slice_eqi(name, "x-correlation-id") && !is_named(named, name);
}

static void
copy_request_fields(struct exchange *x, struct kb_buf *out)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);
	const char *bytes = kb_ex_bytes(x->ex);
	struct kb_slice named = connection_names(h, bytes);

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];
		struct kb_slice name = kb_http1_name(f, bytes);

		if (passes(x, f, name, named))
			copy_field(out, name, kb_http1_value(f, bytes));
	}
}

void
upstream_request_fields(struct exchange *x, struct lines *out)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);
	const char *bytes = kb_ex_bytes(x->ex);
	struct kb_slice named = connection_names(h, bytes);

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];
		struct kb_slice name = kb_http1_name(f, bytes);

		if (passes(x, f, name, named))
			lines_add(out, name, kb_http1_value(f, bytes));
	}
}

void
copy_lines(struct kb_buf *out, const struct lines *lines)
{
	for (size_t i = 0; i < lines->n; i++)
		copy_field(out, lines->v[i].name, lines->v[i].value);
}

/* What a plugin put there is looked at once more. */
static void
copy_rewritten(const struct exchange *x, struct kb_buf *out)
{
	const struct rewrite *r = x->rewrite;

	for (size_t i = 0; i < r->fields.n; i++) {
		const struct line *f = &r->fields.v[i];

		if (!request_dropped[kb_header_id(f->name.ptr, f->name.len)] &&
		    is_plain_name(f->name) &&
		    !(x->trace_id && trace_owns_field(f->name)) &&
		    !kb_header_is_owned(f->name.ptr, f->name.len) &&
		    !kb_has_control(f->value.ptr, f->value.len))
			copy_field(out, f->name, f->value);
	}
}

static void
line(struct kb_buf *out, const char *name, const char *value)
{
	kb_buf_adds(out, name);
	kb_buf_adds(out, value);
	kb_buf_add(out, "\r\n", 2);
}

static void
forwarded_lines(struct exchange *x, struct kb_buf *out)
{
	const struct gateway *g = x->loop->gateway;
	struct kb_slice host = kb_ex_host(x->ex), path = kb_ex_path(x->ex);
	struct kb_slice list = { NULL, 0 };

	if (forwarded_trusted(x))
		list = exchange_header(x, "X-Forwarded-For");
	line(out, "X-Real-IP: ", x->client_ip);
	kb_buf_adds(out, "X-Forwarded-For: ");
	if (list.len) {
		kb_buf_add(out, list.ptr, list.len);
		kb_buf_adds(out, ", ");
	}
	line(out, "", kb_ex_peer_text(x->ex));
	line(out, "X-Forwarded-Proto: ", x->https ? "https" : "http");
	copy_field(out, kb_slice_of("X-Forwarded-Host"), host);
	kb_buf_adds(out, "X-Forwarded-Port: ");
	kb_buf_addu(out, (uint64_t)(kb_ex_tls(x->ex) ? g->tls_port : g->port));
	kb_buf_add(out, "\r\n", 2);
	copy_field(out, kb_slice_of("X-Forwarded-Path"), path);
	if (x->route->strip_path && x->prefix > 1)
		copy_field(out, kb_slice_of("X-Forwarded-Prefix"),
		    (struct kb_slice) { path.ptr, x->prefix });
	if (g->kong_headers)
		kong_request_lines(x, out);
}

static void
framing_lines(struct exchange *x, struct kb_buf *out)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);

	if (x->rewrite && x->rewrite->body) {
		kb_buf_adds(out, "Content-Length: ");
		kb_buf_addu(out, x->rewrite->body_len);
		kb_buf_adds(out, "\r\n");
	} else if (h->chunked) {
		kb_buf_adds(out, "Transfer-Encoding: chunked\r\n");
	} else if (h->has_length) {
		kb_buf_adds(out, "Content-Length: ");
		kb_buf_addu(out, h->length);
		kb_buf_adds(out, "\r\n");
	}
	if (upstream_may_upgrade(x))
		kb_buf_adds(
		    out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
}

bool
upstream_may_upgrade(const struct exchange *x)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);

	return h->upgrade && x->route->websocket && h->method == KB_M_GET &&
	    upstream_method(x) == KB_M_GET && !x->has_body &&
	    (x->rewrite == NULL || x->rewrite->body == NULL) &&
	    kb_slice_eqi(
		kb_http1_get(h, kb_ex_bytes(x->ex), KB_H_UPGRADE), "websocket");
}

enum kb_method
upstream_method(const struct exchange *x)
{
	return x->rewrite ? x->rewrite->method : kb_ex_head(x->ex)->method;
}

static void
target(struct exchange *x, struct kb_buf *out)
{
	struct kb_slice query = kb_ex_query(x->ex);
	bool has_query = kb_ex_has_query(x->ex);

	if (x->rewrite) {
		query = x->rewrite->query;
		has_query = query.ptr != NULL;
		kb_buf_add(out, x->rewrite->path.ptr, x->rewrite->path.len);
	} else
		upstream_path(out, x->route, kb_ex_path(x->ex), x->prefix);
	if (has_query) {
		kb_buf_addc(out, '?');
		kb_buf_add(out, query.ptr, query.len);
	}
}

static void
request_line(struct exchange *x, struct kb_buf *out)
{
	struct kb_slice host = kb_http1_get(
	    kb_ex_head(x->ex), kb_ex_bytes(x->ex), KB_H_HOST);

	kb_buf_adds(out, kb_method_name(upstream_method(x)));
	kb_buf_addc(out, ' ');
	target(x, out);
	kb_buf_adds(out, " HTTP/1.1\r\nHost: ");
	if (x->rewrite && x->rewrite->host)
		kb_buf_adds(out, x->rewrite->host);
	else if (x->route->preserve_host && host.len)
		kb_buf_add(out, host.ptr, host.len);
	else if (x->instance)
		kb_buf_adds(out, x->instance->authority);
	else
		kb_buf_adds(out, x->route->service->host_value);
	kb_buf_add(out, "\r\n", 2);
}

void
upstream_head(struct exchange *x)
{
	struct kb_buf *out = &x->loop->head;
	const struct service *s = x->route->service;

	kb_buf_reset(out);
	request_line(x, out);
	if (x->rewrite)
		copy_rewritten(x, out);
	else
		copy_request_fields(x, out);
	framing_lines(x, out);
	forwarded_lines(x, out);
	line(out, "X-Request-ID: ", kb_ex_request_id(x->ex));
	line(out, "X-Forwarded-By: Kong\r\nX-Service-Name: ", s->display_name);
	kb_buf_add(out, x->up.ptr, x->up.len);
	consumer_lines(x, out);
	if (x->token)
		token_lines(x->token, x->local->snapshot, s, upstream_method(x),
		    x->tenant, out);
	kb_buf_add(out, "\r\n", 2);
}

/* ---- answers ---------------------------------------------------------------
 */

/* Never for clients. */
static const char *const answer_dropped_names[] = { "x-powered-by",
	"x-correlation-id" };

static bool
begins(struct kb_slice name, const char *with)
{
	size_t n = strlen(with);

	return name.len > n && strncasecmp(name.ptr, with, n) == 0;
}

static bool
other_passes(const struct exchange *x, struct kb_slice name)
{
	for (size_t i = 0; i < KB_COUNT(answer_dropped_names); i++)
		if (kb_slice_eqi(name, answer_dropped_names[i]))
			return false;
	if (begins(name, "access-control-"))
		return !x->route->cors ||
		    (x->preflight && x->route->asks_preflights);
	if (begins(name, "x-ratelimit-") || begins(name, "ratelimit-"))
		return !x->route->limited;
	return !kb_header_is_owned(name.ptr, name.len);
}

/* *policy: which header of policies it is, or 0. */
static bool
answer_passes(const struct exchange *x, const struct kb_http1_field *f,
    struct kb_slice name, struct kb_slice named, unsigned *policy)
{
	*policy = 0;
	if (answer_dropped[f->id] || is_named(named, name))
		return false;
	if (f->id != KB_H_OTHER)
		return true;
	*policy = policy_bit(name);
	return *policy ? !policy_drops(x, *policy) : other_passes(x, name);
}

void
upstream_answer_fields(struct exchange *x, struct lines *out)
{
	const struct kb_http1_head *h = x->answer;
	const char *bytes = x->answer_bytes;
	struct kb_slice named = connection_names(h, bytes);
	unsigned policy;

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];
		struct kb_slice name = kb_http1_name(f, bytes);

		if (answer_passes(x, f, name, named, &policy))
			lines_add(out, name, kb_http1_value(f, bytes));
	}
}

/* Returns which headers of policies upstream's answer brings itself. */
static unsigned
copy_answer_fields(struct exchange *x, struct kb_buf *out)
{
	const struct kb_http1_head *h = x->answer;
	const char *bytes = x->answer_bytes;
	struct kb_slice named = connection_names(h, bytes);
	unsigned policy, brought = 0;

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];
		struct kb_slice name = kb_http1_name(f, bytes);

		if (!answer_passes(x, f, name, named, &policy))
			continue;
		brought |= policy;
		copy_field(out, name, kb_http1_value(f, bytes));
	}
	return brought;
}

/* What plugins made of them. */
static unsigned
copy_answer_lines(const struct lines *l, struct kb_buf *out)
{
	unsigned brought = 0;

	for (size_t i = 0; i < l->n; i++)
		brought |= policy_bit(l->v[i].name);
	copy_lines(out, l);
	return brought;
}

void
upstream_lines(struct exchange *x, struct kb_buf *out)
{
	unsigned brought = x->answer_lines
	    ? copy_answer_lines(x->answer_lines, out)
	    : copy_answer_fields(x, out);

	line(out, "X-Request-ID: ", kb_ex_request_id(x->ex));
	policy_lines(x, brought, out);
	if (x->answer->status == 101)
		line(out, "Upgrade: ", "websocket");
}
