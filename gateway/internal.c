/*
 * The listener for operators, on the main loop and by default on loopback
 * only: Kong's Admin API (admin_api.c) with /health, /ready and /metrics.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "admin_api.h"

struct internal {
	struct gateway *gateway;
	struct kb_server *server;
	int port;
};

char *
health_text(struct kb_arena *a, const struct gateway *g)
{
	char now[KB_RFC3339_SIZE];
	bool keys = verifiers_ready();
	struct kb_jsonw w;
	struct kb_buf b;
	char *text;

	(void)g;
	kb_rfc3339(kb_wall_ms(), now);
	kb_buf_init(&b, 4096);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "status", keys ? "healthy" : "degraded");
	kb_w_str(&w, "version", KOMBI_VERSION);
	kb_w_str(&w, "timestamp", now);
	kb_w_object(&w, "checks");
	kb_w_str(&w, "configuration", "ok");
	kb_w_str(&w, "zitadel", keys ? "ok" : "error");
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

/* ---- one call ------------------------------------------------------------ */

enum { BODY_USUAL = 1 << 20, BODY_CONFIG = 16 << 20 };

static void
on_request(struct kb_exchange *ex)
{
	const struct internal *in = kb_ex_arg(ex);
	struct kb_arena *a = kb_ex_arena(ex);
	struct admin_call *c = kb_new(a, struct admin_call);
	size_t limit = kb_slice_eq(kb_ex_path(ex), "/config") ? BODY_CONFIG
							      : BODY_USUAL;

	*c = (struct admin_call) {
		.ex = ex,
		.g = in->gateway,
		.a = a,
		.method = kb_ex_head(ex)->method,
	};
	kb_buf_init(&c->body, limit);
	kb_ex_set_user(ex, c);
	if (!admin_begin(c))
		return;
	kb_ex_body_limit(ex, limit);
	kb_ex_continue(ex);
}

static void
on_body(struct kb_exchange *ex, const char *data, size_t len)
{
	struct admin_call *c = kb_ex_user(ex);

	if (!c->over)
		kb_buf_add(&c->body, data, len);
}

static void
on_body_end(struct kb_exchange *ex)
{
	struct admin_call *c = kb_ex_user(ex);

	if (!c->over)
		admin_answer(c);
}

static void
on_writable(struct kb_exchange *ex)
{
	(void)ex;
}

static void
on_end(struct kb_exchange *ex, enum kb_end end)
{
	struct admin_call *c = kb_ex_user(ex);

	(void)end;
	/* There may have been keys in it. */
	if (c->body.ptr != NULL)
		kb_wipe(c->body.ptr, c->body.len);
	kb_buf_free(&c->body);
}

static const struct kb_server_ops ops = {
	.on_request = on_request,
	.on_body = on_body,
	.on_body_end = on_body_end,
	.on_writable = on_writable,
	.on_end = on_end,
};

bool
split_address(
    struct kb_arena *a, const char *text, const char **host, int *port)
{
	const char *colon = strrchr(text, ':');
	char *name;
	uint64_t n;

	if (!kb_parse_u64(kb_slice_of(colon ? colon + 1 : text), &n) ||
	    n > 65535)
		return false;
	*port = (int)n;
	name = colon ? kb_strndup(a, text, (size_t)(colon - text))
		     : kb_strdup(a, "127.0.0.1");
	if (name[0] == '[' && kb_str_ends(name, "]"))
		name = kb_strndup(a, name + 1, strlen(name) - 2);
	*host = name;
	return true;
}

struct internal *
internal_start(struct gateway *g, struct event_base *base, const char **why)
{
	struct internal *in;
	struct listen_at at = { .of = 1 };
	int fds[SOCKETS_MAX];
	size_t n;

	if (!split_address(
		g->arena, g->config->admin_listen, &at.address, &at.port)) {
		*why = "KOMBI_ADMIN_LISTEN must be address:port";
		return NULL;
	}
	if (!admin_may_listen(g, at.address, why))
		return NULL;
	g->admin_write = admin_writes(g, at.address);
	n = sockets_take(g->sockets, SOCKET_INTERNAL, &at, fds, why);
	if (n == 0)
		return NULL;
	in = kb_xalloc(sizeof(*in));
	in->gateway = g;
	in->port = kb_listen_port(fds[0]);
	in->server = kb_server_new(&(struct kb_server_conf) {
	    .base = base,
	    .ops = &ops,
	    .arg = in,
	});
	for (size_t i = 0; i < n; i++)
		kb_server_listen(in->server, fds[i]);
	return in;
}

static void
on_drained(void *arg)
{
	(void)arg;
}

void
internal_drain(struct internal *in, int64_t ms)
{
	kb_server_drain(in->server, ms, on_drained, in);
}

int
internal_port(const struct internal *in)
{
	return in->port;
}

void
internal_stop(struct internal *in)
{
	if (in == NULL)
		return;
	kb_server_free(in->server);
	free(in);
}
