/*
 * The HTTP client engine as its users see it: clients, origins, calls.
 */
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/arena.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "http_client_private.h"

struct kb_client *
kb_client_new(const struct kb_client_conf *conf)
{
	struct kb_client *c = kb_xalloc(sizeof(*c));

	memset(c, 0, sizeof(*c));
	c->conf = *conf;
	assert(c->conf.base != NULL);
	if (c->conf.limits.head == 0) {
		c->conf.limits = kb_http1_default_limits;
		c->conf.limits.field_line = 32 * 1024;
		c->conf.limits.head = 64 * 1024;
	}
	if (c->conf.idle_per_origin == 0)
		c->conf.idle_per_origin = 512;
	if (c->conf.idle_ms == 0)
		c->conf.idle_ms = 55000;
	if (c->conf.requests == 0)
		c->conf.requests = 10000;
	if (c->conf.high_water == 0)
		c->conf.high_water = (size_t)256 * 1024;
	TAILQ_INIT(&c->free_conns);
	c->scratch = kb_xalloc(CLIENT_SCRATCH);
	return c;
}

static void
free_origin(struct kb_origin *o)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&o->idle)) != NULL)
		kb_conn_close(c);
	while ((c = TAILQ_FIRST(&o->active)) != NULL) {
		struct kb_call *call = c->call;

		kb_conn_close(c);
		kb_call_release(call);
	}
	kb_tls_client_unref(o->tls);
	free(o->name);
	free(o);
}

void
kb_client_free(struct kb_client *client)
{
	struct conn *c;
	struct kb_call *call;

	if (!client)
		return;
	for (size_t i = 0; i < CLIENT_BUCKETS; i++) {
		struct kb_origin *o = client->origins[i], *next;

		for (; o; o = next) {
			next = o->next;
			free_origin(o);
		}
	}
	while ((c = TAILQ_FIRST(&client->free_conns)) != NULL) {
		TAILQ_REMOVE(&client->free_conns, c, link);
		free(c);
	}
	while ((call = client->free_calls) != NULL) {
		client->free_calls = call->next_free;
		kb_buf_free(&call->out);
		kb_buf_free(&call->in);
		free(call);
	}
	free(client->scratch);
	free(client);
}

/* ---- origins ------------------------------------------------------------ */

/* A copy without the bytes that do not belong to the address. */
static void
copy_address(
    struct sockaddr_storage *to, const struct sockaddr *from, socklen_t len)
{
	struct sockaddr_storage in = { 0 };

	assert(len <= sizeof(in));
	memcpy(&in, from, len);
	if (in.ss_family == AF_INET)
		memset(((struct sockaddr_in *)(void *)&in)->sin_zero, 0,
		    sizeof(((struct sockaddr_in *)NULL)->sin_zero));
	*to = in;
}

/* Whoever is on the stack now may hold one that has just become unused. */
enum { UNUSED_MS = 1000 };

static void
unlink_origin(struct kb_client *c, struct kb_origin *o)
{
	struct kb_origin *
	    *at = &c->origins[kb_hash(&o->addr, o->addr_len) % CLIENT_BUCKETS];

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
}

static void
free_unused(struct kb_client *c)
{
	struct kb_origin **at = &c->unused, *o;
	int64_t now = kb_mono_ms();

	while ((o = *at) != NULL) {
		bool busy = !TAILQ_EMPTY(&o->active) ||
		    now - o->unused_ms < UNUSED_MS;

		if (o->refs == 0 && busy) {
			at = &o->next_unused;
			continue;
		}
		*at = o->next_unused;
		o->unused = false;
		if (o->refs == 0) {
			unlink_origin(c, o);
			free_origin(o);
		}
	}
}

void
kb_origin_unref(struct kb_origin *o)
{
	struct kb_client *c = o->client;

	assert(o->refs > 0);
	if (--o->refs > 0)
		return;
	o->unused_ms = kb_mono_ms();
	if (o->unused)
		return;
	o->unused = true;
	o->next_unused = c->unused;
	c->unused = o;
}

static void
write_address(struct kb_origin *o)
{
	const struct sockaddr *sa = (const struct sockaddr *)&o->addr;
	bool six = sa->sa_family == AF_INET6;
	char host[INET6_ADDRSTRLEN], port[8];

	if (getnameinfo(sa, o->addr_len, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(o->text, sizeof(o->text), six ? "[%s]:%s" : "%s:%s",
		    host, port);
}

const char *
kb_origin_text(const struct kb_origin *o)
{
	return o->text;
}

static struct kb_origin *
find_origin(struct kb_client *c, const struct sockaddr *addr, socklen_t len,
    struct kb_tls_client *tls, const char *name)
{
	struct sockaddr_storage key;
	struct kb_origin **bucket, *o;

	if (c->unused != NULL)
		free_unused(c);
	copy_address(&key, addr, len);
	bucket = &c->origins[kb_hash(&key, len) % CLIENT_BUCKETS];
	for (o = *bucket; o; o = o->next)
		if (o->addr_len == len && memcmp(&o->addr, &key, len) == 0 &&
		    o->tls == tls && (!tls || strcmp(o->name, name) == 0)) {
			o->refs++;
			return o;
		}
	o = kb_xalloc(sizeof(*o));
	memset(o, 0, sizeof(*o));
	o->client = c;
	o->refs = 1;
	o->addr = key;
	o->addr_len = len;
	write_address(o);
	TAILQ_INIT(&o->idle);
	TAILQ_INIT(&o->active);
	if (tls) {
		o->tls = kb_tls_client_ref(tls);
		o->name = kb_xstrdup(name);
	}
	o->next = *bucket;
	*bucket = o;
	return o;
}

struct kb_origin *
kb_client_origin(
    struct kb_client *c, const struct sockaddr *addr, socklen_t len)
{
	return find_origin(c, addr, len, NULL, NULL);
}

struct kb_origin *
kb_client_origin_tls(struct kb_client *c, const struct sockaddr *addr,
    socklen_t len, struct kb_tls_client *tls, const char *name)
{
	return find_origin(c, addr, len, tls, name);
}

const char *
kb_origin_problem(const struct kb_origin *o)
{
	return o->problem;
}

void
kb_origin_stats(const struct kb_origin *o, struct kb_origin_stats *out)
{
	*out = o->stats;
}

/* ---- calls --------------------------------------------------------------- */

static struct kb_call *
new_call(struct kb_client *client)
{
	struct kb_call *call = client->free_calls;

	if (call) {
		client->free_calls = call->next_free;
	} else {
		call = kb_xalloc(sizeof(*call));
		kb_buf_init(&call->out, SIZE_MAX / 2);
		kb_buf_init(
		    &call->in, client->conf.limits.head + 2 * CLIENT_SCRATCH);
	}
	/* All but the buffers, which are kept, and the answer's head. */
	memset(call, 0, offsetof(struct kb_call, out));
	call->out_off = 0;
	kb_http1_head_init(&call->head, true);
	call->body = (struct kb_http1_body) { 0 };
	return call;
}

static void
put_away(struct kb_buf *b)
{
	if (b->cap > CLIENT_KEEP)
		kb_buf_free(b);
	else
		kb_buf_reset(b);
}

void
kb_call_release(struct kb_call *call)
{
	struct kb_client *client = call->conf.origin->client;

	assert(call->conn == NULL);
	put_away(&call->out);
	put_away(&call->in);
	call->next_free = client->free_calls;
	client->free_calls = call;
}

bool
kb_call_repeatable(const struct kb_call *call)
{
	if (!call->sent)
		return true;
	if (call->conf.body_length > 0)
		return false;
	switch (call->conf.method) {
	case KB_M_GET:
	case KB_M_HEAD:
	case KB_M_OPTIONS:
	case KB_M_TRACE:
	case KB_M_PUT:
	case KB_M_DELETE: return true;
	default: return false;
	}
}

struct kb_call *
kb_call_start(const struct kb_call_conf *conf)
{
	struct kb_call *call = new_call(conf->origin->client);

	call->conf = *conf;
	call->conf.head = NULL; /* the caller's, copied below */
	call->ended = conf->body_length == 0;
	call->body_left = conf->body_length;
	if (conf->total_ms > 0)
		call->total_at = kb_mono_coarse_ms() + KB_COARSE_MS +
		    conf->total_ms;
	kb_buf_add(&call->out, conf->head, conf->head_len);
	kb_conn_begin(call, false);
	return call;
}

void *
kb_call_user(const struct kb_call *call)
{
	return call->conf.user;
}

static void
put_chunk(struct kb_call *call, const void *data, size_t len)
{
	char size[20];
	int n = snprintf(size, sizeof(size), "%zx\r\n", len);
	struct iovec iov[3] = {
		{ size, (size_t)n },
		{ (void *)(uintptr_t)data, len },
		{ (void *)(uintptr_t) "\r\n", 2 },
	};

	kb_conn_put(call->conn, iov, 3);
}

bool
kb_call_write(struct kb_call *call, const void *data, size_t len)
{
	struct iovec iov = { (void *)(uintptr_t)data, len };
	bool tunnel = call->phase == CALL_TUNNEL;

	if (!call->conn || call->cancelled || len == 0)
		return true;
	assert(tunnel || !call->ended);
	if (tunnel) {
		kb_conn_put(call->conn, &iov, 1);
	} else if (call->conf.body_length == KB_LENGTH_STREAM) {
		put_chunk(call, data, len);
	} else {
		assert(len <= call->body_left);
		call->body_left -= len;
		kb_conn_put(call->conn, &iov, 1);
	}
	if (kb_call_pending(call) > call->conn->origin->client->conf.high_water)
		call->choked = true;
	return !call->choked;
}

void
kb_call_end(struct kb_call *call)
{
	static const char last[] = "0\r\n\r\n";
	struct iovec iov = { (void *)(uintptr_t)last, sizeof(last) - 1 };

	if (!call->conn || call->cancelled)
		return;
	if (call->phase == CALL_TUNNEL) {
		call->ended = true;
		kb_conn_flush(call->conn);
		return;
	}
	if (call->ended)
		return;
	assert(
	    call->conf.body_length == KB_LENGTH_STREAM || call->body_left == 0);
	call->ended = true;
	if (call->conf.body_length == KB_LENGTH_STREAM)
		kb_conn_put(call->conn, &iov, 1);
	kb_conn_touch(call->conn);
}

void
kb_call_pause(struct kb_call *call)
{
	if (!call->conn || call->paused)
		return;
	call->paused = true;
	kb_conn_reading(call->conn, false);
	kb_conn_touch(call->conn);
}

void
kb_call_resume(struct kb_call *call)
{
	if (!call->conn || !call->paused)
		return;
	call->paused = false;
	if (!call->conn->connecting && call->conn->fd >= 0) {
		kb_conn_reading(call->conn, true);
		/* What is at hand is given out by the loop, not here. */
		if (call->stashed)
			event_active(&call->conn->readable, EV_READ, 0);
	}
	kb_conn_touch(call->conn);
}

void
kb_call_cancel(struct kb_call *call)
{
	if (!call->conn)
		return;
	call->cancelled = true;
	if (call->conn->busy)
		return;
	kb_conn_close(call->conn);
	kb_call_release(call);
}
