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
	struct kb_slice host = kb_ex_host(x->ex);
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
	line(out, "X-Forwarded-Proto: ", forwarded_https(x) ? "https" : "http");
	copy_field(out, kb_slice_of("X-Forwarded-Host"), host);
	kb_buf_adds(out, "X-Forwarded-Port: ");
	kb_buf_addu(out, (uint64_t)x->loop->gateway->port);
	kb_buf_add(out, "\r\n", 2);
}

static void
framing_lines(struct exchange *x, struct kb_buf *out)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);

	if (h->chunked) {
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
	    !x->has_body &&
	    kb_slice_eqi(
		kb_http1_get(h, kb_ex_bytes(x->ex), KB_H_UPGRADE), "websocket");
}

static void
request_line(struct exchange *x, struct kb_buf *out)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);
	const struct service *s = x->route->service;
	struct kb_slice query = kb_ex_query(x->ex), host;

	kb_buf_adds(out, kb_method_name(h->method));
	kb_buf_addc(out, ' ');
	upstream_path(out, x->route, kb_ex_path(x->ex), x->prefix);
	if (kb_ex_has_query(x->ex)) {
		kb_buf_addc(out, '?');
		kb_buf_add(out, query.ptr, query.len);
	}
	kb_buf_adds(out, " HTTP/1.1\r\nHost: ");
	host = kb_http1_get(h, kb_ex_bytes(x->ex), KB_H_HOST);
	if (x->route->preserve_host && host.len)
		kb_buf_add(out, host.ptr, host.len);
	else
		kb_buf_adds(out, s->host_value);
	kb_buf_add(out, "\r\n", 2);
}

void
upstream_head(struct exchange *x)
{
	struct kb_buf *out = &x->loop->head;
	const struct service *s = x->route->service;

	kb_buf_reset(out);
	request_line(x, out);
	copy_request_fields(x, out);
	framing_lines(x, out);
	forwarded_lines(x, out);
	line(out, "X-Request-ID: ", kb_ex_request_id(x->ex));
	line(out, "X-Forwarded-By: Kong\r\nX-Service-Name: ", s->display_name);
	kb_buf_add(out, x->up.ptr, x->up.len);
	if (x->token)
		token_lines(x->token, x->local->snapshot, s,
		    kb_ex_head(x->ex)->method, x->tenant, out);
	kb_buf_add(out, "\r\n", 2);
}

/* ---- answers ---------------------------------------------------------------
 */

/* Lines that the gateway sets on all answers, or decides about. */
enum answer_rule {
	PASS,
	DROP,   /* always set by the listener */
	POLICY, /* passes, and tells that ours is not needed */
	FRAMES, /* likewise */
};

static const struct {
	const char *name;
	enum answer_rule rule;
} answer_rules[] = {
	{ "strict-transport-security", DROP },
	{ "x-content-type-options", DROP },
	{ "referrer-policy", DROP },
	{ "x-powered-by", DROP },
	{ "x-correlation-id", DROP },
	{ "content-security-policy", POLICY },
	{ "x-frame-options", FRAMES },
};

static enum answer_rule
rule_of(const struct exchange *x, struct kb_slice name)
{
	static const char cors[] = "access-control-";

	for (size_t i = 0; i < KB_COUNT(answer_rules); i++)
		if (kb_slice_eqi(name, answer_rules[i].name))
			return answer_rules[i].rule;
	if (name.len > sizeof(cors) - 1 &&
	    strncasecmp(name.ptr, cors, sizeof(cors) - 1) == 0)
		return x->route->cors ? DROP : PASS;
	return kb_header_is_owned(name.ptr, name.len) ? DROP : PASS;
}

void
upstream_lines(struct exchange *x, struct kb_buf *out)
{
	const struct kb_http1_head *h = x->answer;
	const char *bytes = x->answer_bytes;
	struct kb_slice named = connection_names(h, bytes);
	bool policy = false, frames = false;

	for (unsigned i = 0; i < h->n_fields; i++) {
		const struct kb_http1_field *f = &h->fields[i];
		struct kb_slice name = kb_http1_name(f, bytes);
		enum answer_rule rule = PASS;

		if (answer_dropped[f->id] || is_named(named, name))
			continue;
		if (f->id == KB_H_OTHER)
			rule = rule_of(x, name);
		if (rule == DROP)
			continue;
		policy |= rule == POLICY;
		frames |= rule == FRAMES;
		copy_field(out, name, kb_http1_value(f, bytes));
	}
	line(out, "X-Request-ID: ", kb_ex_request_id(x->ex));
	if (!frames)
		line(out, "X-Frame-Options: ", "SAMEORIGIN");
	if (!policy)
		line(
		    out, "Content-Security-Policy: ", "frame-ancestors 'self'");
	if (h->status == 101)
		line(out, "Upgrade: ", "websocket");
}
