/*
 * What can be asked of an exchange.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>

#include "http_server_private.h"

const struct kb_http1_head *
kb_ex_head(const struct kb_exchange *ex)
{
	return &ex->head;
}

const char *
kb_ex_bytes(const struct kb_exchange *ex)
{
	return ex->in + ex->base;
}

struct kb_slice
kb_ex_path(const struct kb_exchange *ex)
{
	return (struct kb_slice) { kb_buf_str(&ex->path), ex->path.len };
}

struct kb_slice
kb_ex_query(const struct kb_exchange *ex)
{
	if (ex->query.ptr == NULL)
		return (struct kb_slice) { "", 0 };
	return ex->query;
}

bool
kb_ex_has_query(const struct kb_exchange *ex)
{
	return ex->query.ptr != NULL;
}

/* Made once; the struct is ours, const only for those who ask. */
static struct kb_exchange *
own(const struct kb_exchange *ex)
{
	return ex->conn->ex;
}

/* Up to the colon of the port; an IPv6 address keeps its brackets. */
static size_t
host_len(struct kb_slice host)
{
	const char *end = host.len > 0 && host.ptr[0] == '['
	    ? memchr(host.ptr, ']', host.len)
	    : host.ptr;
	const char *colon = memchr(
	    end, ':', host.len - (size_t)(end - host.ptr));

	return colon ? (size_t)(colon - host.ptr) : host.len;
}

struct kb_slice
kb_ex_host(const struct kb_exchange *ex)
{
	struct kb_slice host = kb_http1_get(
	    &ex->head, kb_ex_bytes(ex), KB_H_HOST);
	char *lower;
	size_t len;

	if (ex->host.len > 0 || host.ptr == NULL || host.len == 0)
		return ex->host;
	len = host_len(host);
	lower = kb_strndup(ex->arena, host.ptr, len);
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)tolower((unsigned char)lower[i]);
	own(ex)->host = (struct kb_slice) { lower, len };
	return ex->host;
}

const struct kb_tls *
kb_ex_tls(const struct kb_exchange *ex)
{
	return ex->conn->tls;
}

const struct sockaddr_storage *
kb_ex_peer(const struct kb_exchange *ex)
{
	/* The connection keeps the part that an address needs. */
	struct sockaddr_storage *peer = kb_new(
	    ex->arena, struct sockaddr_storage);

	memcpy(peer, &ex->conn->peer, sizeof(ex->conn->peer));
	return peer;
}

/* "192.0.2.1": inet_ntop goes through printf, which every request would pay.
 */
static void
ipv4_text(const unsigned char bytes[4], char *out)
{
	for (int i = 0; i < 4; i++) {
		unsigned n = bytes[i];

		if (n >= 100)
			*out++ = (char)('0' + n / 100);
		if (n >= 10)
			*out++ = (char)('0' + n / 10 % 10);
		*out++ = (char)('0' + n % 10);
		*out++ = i < 3 ? '.' : '\0';
	}
}

const char *
kb_ex_peer_text(const struct kb_exchange *ex)
{
	struct kb_exchange *mine = own(ex);
	char *text = mine->peer_text;
	unsigned char bytes[4];

	if (text[0] != '\0')
		return text;
	switch (ex->conn->peer.any.sa_family) {
	case AF_INET:
		memcpy(bytes, &ex->conn->peer.in.sin_addr, sizeof(bytes));
		ipv4_text(bytes, text);
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &ex->conn->peer.in6.sin6_addr, text,
		    KB_PEER_SIZE);
		break;
	default: memcpy(text, "unknown", sizeof("unknown"));
	}
	return text;
}

const char *
kb_ex_request_id(const struct kb_exchange *ex)
{
	struct kb_exchange *mine = own(ex);
	struct kb_slice given = { NULL, 0 };
	const char *id;

	if (mine->id[0] != '\0')
		return mine->id;
	if (kb_http1_count(&ex->head, KB_H_X_REQUEST_ID) == 1)
		given = kb_http1_get(
		    &ex->head, kb_ex_bytes(ex), KB_H_X_REQUEST_ID);
	if (given.ptr != NULL && given.len < KB_REQUEST_ID_SIZE &&
	    kb_request_id_ok(given.ptr, given.len)) {
		memcpy(mine->id, given.ptr, given.len);
		mine->id[given.len] = '\0';
		return mine->id;
	}
	id = kb_id_new(ex->arena, "req_");
	memcpy(mine->id, id, strlen(id) + 1);
	return mine->id;
}

void *
kb_ex_arg(const struct kb_exchange *ex)
{
	return ex->server->arg;
}

void
kb_ex_set_user(struct kb_exchange *ex, void *user)
{
	ex->user = user;
}

void *
kb_ex_user(const struct kb_exchange *ex)
{
	return ex->user;
}

struct kb_arena *
kb_ex_arena(struct kb_exchange *ex)
{
	return ex->arena;
}

struct event_base *
kb_ex_base(const struct kb_exchange *ex)
{
	return ex->server->base;
}

int64_t
kb_ex_started_ns(const struct kb_exchange *ex)
{
	return ex->started_ns;
}

void
kb_ex_body_limit(struct kb_exchange *ex, uint64_t limit)
{
	ex->body_limit = limit;
}

void
kb_ex_body_deadline(struct kb_exchange *ex, int64_t ms)
{
	ex->body_ms = ms;
}

bool
kb_ex_head_sent(const struct kb_exchange *ex)
{
	return ex->head_out;
}

int
kb_ex_status(const struct kb_exchange *ex)
{
	return ex->status;
}

uint64_t
kb_ex_bytes_out(const struct kb_exchange *ex)
{
	return ex->bytes_out;
}

uint64_t
kb_ex_bytes_in(const struct kb_exchange *ex)
{
	return ex->body.total;
}
