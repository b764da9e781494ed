/*
 * The listener for operators, on the main loop and by default on loopback
 * only: /health, /ready, /status, /metrics, /upstreams/NAME/health and a
 * description at /.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/json.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

enum { TEXT_MAX = 16 << 20 };

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

static void
json(struct kb_exchange *ex, const char *text, size_t len)
{
	static const char lines[] = "Content-Type: application/json\r\n";

	kb_ex_answer(ex, 200, lines, sizeof(lines) - 1, text, len);
}

static void
health(struct kb_exchange *ex, struct internal *in)
{
	char *text = health_text(kb_ex_arena(ex), in->gateway);

	json(ex, text, strlen(text));
}

static void
ready(struct kb_exchange *ex, struct internal *in)
{
	if (in->gateway->draining || !verifiers_ready())
		kb_ex_answer(ex, 503, "", 0, NULL, 0);
	else
		kb_ex_answer(ex, 200, "", 0, NULL, 0);
}

static void
metrics(struct kb_exchange *ex, struct internal *in)
{
	static const char lines
	    [] = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
	struct kb_buf b;

	(void)in;
	kb_buf_init(&b, TEXT_MAX);
	kb_metrics_text(&b);
	kb_ex_answer(ex, 200, lines, sizeof(lines) - 1, kb_buf_str(&b), b.len);
	kb_buf_free(&b);
}

static void
status(struct kb_exchange *ex, struct internal *in)
{
	const struct gateway *g = in->gateway;
	uint64_t requests = 0, connections = 0;
	char loaded[KB_RFC3339_SIZE];
	struct kb_jsonw w;
	struct kb_buf b;

	for (size_t i = 0; i < g->n_loops; i++) {
		requests += atomic_load(&g->loops[i].requests);
		connections += atomic_load(&g->loops[i].connections);
	}
	kb_rfc3339(g->loaded_ms, loaded);
	kb_buf_init(&b, 65536);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_object(&w, "server");
	kb_w_int(&w, "connections_active", (int64_t)connections);
	kb_w_int(&w, "total_requests", (int64_t)requests);
	kb_w_int(&w, "workers", (int64_t)g->n_loops);
	kb_w_object_end(&w);
	kb_w_object(&w, "configuration");
	kb_w_str(&w, "loaded_at", loaded);
	kb_w_int(&w, "services", (int64_t)g->snapshot->n_services);
	kb_w_int(&w, "routes", (int64_t)g->snapshot->n_routes);
	kb_w_int(&w, "held", (int64_t)gateway_snapshots_held(g));
	kb_w_object_end(&w);
	kb_w_str(&w, "configuration_hash", g->snapshot->hash);
	kb_w_object_end(&w);
	json(ex, b.ptr, b.len);
	kb_buf_free(&b);
}

static void
description(struct kb_exchange *ex, struct internal *in)
{
	struct kb_jsonw w;
	struct kb_buf b;

	(void)in;
	kb_buf_init(&b, 65536);
	kb_w_init(&w, &b);
	kb_w_object(&w, NULL);
	kb_w_str(&w, "tagline", "kombify gateway");
	kb_w_str(&w, "version", KOMBI_VERSION);
	kb_w_object(&w, "plugins");
	kb_w_object(&w, "available_on_server");
	for (size_t i = 0; plugins[i] != NULL; i++) {
		kb_w_object(&w, plugins[i]->name);
		kb_w_int(&w, "priority", plugins[i]->priority);
		kb_w_str(&w, "description", plugins[i]->help);
		kb_w_object_end(&w);
	}
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	kb_w_object_end(&w);
	json(ex, b.ptr, b.len);
	kb_buf_free(&b);
}

static const struct {
	const char *path;
	void (*answer)(struct kb_exchange *ex, struct internal *in);
} pages[] = {
	{ "/", description },
	{ "/health", health },
	{ "/ready", ready },
	{ "/status", status },
	{ "/metrics", metrics },
};

static void
on_request(struct kb_exchange *ex)
{
	enum kb_method m = kb_ex_head(ex)->method;

	for (size_t i = 0; i < KB_COUNT(pages); i++) {
		if (!kb_slice_eq(kb_ex_path(ex), pages[i].path))
			continue;
		if (m == KB_M_GET || m == KB_M_HEAD)
			pages[i].answer(ex, kb_ex_arg(ex));
		else
			kb_ex_fail(
			    ex, KB_METHOD, NULL, NULL, "Allow: GET, HEAD\r\n");
		return;
	}
	if (!health_view(ex, ((struct internal *)kb_ex_arg(ex))->gateway))
		kb_ex_fail(ex, KB_NOT_FOUND, NULL, NULL, NULL);
}

static void
on_body(struct kb_exchange *ex, const char *data, size_t len)
{
	(void)ex;
	(void)data;
	(void)len;
}

static void
on_nothing(struct kb_exchange *ex)
{
	(void)ex;
}

static void
on_end(struct kb_exchange *ex, enum kb_end end)
{
	(void)ex;
	(void)end;
}

static const struct kb_server_ops ops = {
	.on_request = on_request,
	.on_body = on_body,
	.on_body_end = on_nothing,
	.on_writable = on_nothing,
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
