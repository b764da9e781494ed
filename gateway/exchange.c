/*
 * The life of a request: find its route, let the plugins judge it, ask
 * upstream, let the plugins dress the answer, send it. One table of phases;
 * a phase that must wait is entered again. Errors jump to the response
 * phase, so that they too pass CORS and are counted.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/log.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "inside.h"

/* ---- what plugins see ------------------------------------------------------
 */

struct kb_arena *
exchange_arena(struct exchange *x)
{
	return kb_ex_arena(x->ex);
}

enum kb_method
exchange_method(const struct exchange *x)
{
	return kb_ex_head(x->ex)->method;
}

const struct kb_http1_head *
exchange_head(const struct exchange *x)
{
	return kb_ex_head(x->ex);
}

const char *
exchange_bytes(const struct exchange *x)
{
	return kb_ex_bytes(x->ex);
}

struct kb_slice
exchange_header(const struct exchange *x, const char *name)
{
	return kb_http1_find(kb_ex_head(x->ex), kb_ex_bytes(x->ex), name);
}

const struct route *
exchange_route(const struct exchange *x)
{
	return x->route;
}

const char *
exchange_client_ip(const struct exchange *x)
{
	return x->client_ip;
}

const char *
exchange_request_id(const struct exchange *x)
{
	return kb_ex_request_id(x->ex);
}

struct kb_slice
exchange_path(const struct exchange *x)
{
	return kb_ex_path(x->ex);
}

struct kb_slice
exchange_query(const struct exchange *x)
{
	return kb_ex_query(x->ex);
}

const struct kb_identity *
exchange_identity(const struct exchange *x)
{
	return x->token ? token_identity(x->token) : NULL;
}

void
exchange_set_identity(struct exchange *x, struct token_entry *entry)
{
	token_ref(entry);
	token_unref(x->token);
	x->token = entry;
}

void
exchange_set_tenant(struct exchange *x, const char *slug)
{
	x->tenant = slug;
}

static void
add_line(struct kb_buf *b, const char *name, const char *value)
{
	kb_buf_adds(b, name);
	kb_buf_adds(b, ": ");
	kb_buf_adds(b, value);
	kb_buf_adds(b, "\r\n");
}

void
exchange_add_upstream(struct exchange *x, const char *name, const char *value)
{
	add_line(&x->up, name, value);
}

void
exchange_add_response(struct exchange *x, const char *name, const char *value)
{
	add_line(&x->down, name, value);
}

void
exchange_add_response_number(
    struct exchange *x, const char *name, int64_t value)
{
	kb_buf_adds(&x->down, name);
	kb_buf_add(&x->down, ": ", 2);
	kb_buf_addu(&x->down, value > 0 ? (uint64_t)value : 0);
	kb_buf_add(&x->down, "\r\n", 2);
}

void
exchange_add_response_lines(struct exchange *x, const char *lines, size_t len)
{
	kb_buf_add(&x->down, lines, len);
}

/* From whatever phase straight to the response. */
static void
jump_to_response(struct exchange *x)
{
	x->phase = PHASE_RESPONSE;
	x->at = 0;
}

bool
exchange_is_answered(const struct exchange *x)
{
	return x->phase >= PHASE_RESPONSE;
}

void
exchange_fail(struct exchange *x, enum kb_err err, const char *message)
{
	if (exchange_is_answered(x))
		return;
	x->err = err;
	x->message = message;
	jump_to_response(x);
}

void
exchange_answer(struct exchange *x, int status, const char *content_type,
    const void *body, size_t len)
{
	if (exchange_is_answered(x))
		return;
	x->status = status;
	x->content_type = content_type;
	x->body = body;
	x->body_len = len;
	jump_to_response(x);
}

void
exchange_on_cancel(struct exchange *x, void (*cancel)(void *arg), void *arg)
{
	x->cancel = cancel;
	x->cancel_arg = arg;
}

void
exchange_resume(struct exchange *x)
{
	x->woken = true;
	x->cancel = NULL;
	if (!x->running)
		exchange_advance(x);
}

void
exchange_again(struct exchange *x)
{
	x->again = true;
}

void *
exchange_slot(struct exchange *x, const struct plugin *plugin, size_t n)
{
	size_t i = 0;

	while (i < EXCHANGE_SLOTS && x->slots[i].plugin != NULL &&
	    x->slots[i].plugin != plugin)
		i++;
	assert(i < EXCHANGE_SLOTS);
	if (x->slots[i].plugin == NULL) {
		x->slots[i].plugin = plugin;
		x->slots[i].p = kb_arena_alloc(exchange_arena(x), n);
	}
	return x->slots[i].p;
}

bool
exchange_is_preflight(const struct exchange *x)
{
	return x->preflight;
}

const char *
exchange_tracker(struct exchange *x, uint64_t n)
{
	const struct gateway *g = x->loop->gateway;

	return kb_sprintf(exchange_arena(x), "%s-%d-%d-%u-%llu-%lld",
	    g->common->listen, kb_ex_tls(x->ex) ? g->tls_port : g->port,
	    (int)getpid(), x->loop->index, (unsigned long long)n,
	    (long long)kb_wall_ms());
}

struct loop *
exchange_loop(const struct exchange *x)
{
	return x->loop;
}

const struct service *
exchange_service(const struct exchange *x, const char *name)
{
	return snapshot_service(x->local->snapshot, name);
}

void
exchange_identity_lines(struct exchange *x, const struct service *service,
    enum kb_method method, struct kb_buf *out)
{
	if (x->token)
		token_lines(x->token, x->local->snapshot, service, method,
		    x->tenant, out);
}

char *
exchange_service_token(struct exchange *x, const struct service *service)
{
	return service_token(exchange_arena(x), x->local->snapshot, service);
}

char *
service_token(
    struct kb_arena *a, const struct snapshot *s, const struct service *service)
{
	if (service->callee_index == NO_CALLEE)
		return kb_strdup(a, "");
	return kb_sprintf(a, "Authorization: Bearer %s\r\n",
	    kb_service_token(a, &s->callee_keys[service->callee_index],
		"gateway", service->callee));
}

/* ---- finding the route
 * ------------------------------------------------------- */

char *
method_list(struct kb_arena *a, unsigned mask)
{
	static const enum kb_method known[] = { KB_M_GET, KB_M_HEAD, KB_M_POST,
		KB_M_PUT, KB_M_PATCH, KB_M_DELETE, KB_M_OPTIONS };
	struct kb_buf b;
	char *text;

	kb_buf_init(&b, 256);
	for (size_t i = 0; i < KB_COUNT(known); i++)
		if (mask & (1U << known[i]))
			kb_buf_addf(&b, "%s%s", b.len ? ", " : "",
			    kb_method_name(known[i]));
	text = kb_strdup(a, kb_buf_str(&b));
	kb_buf_free(&b);
	return text;
}

/* Method of a preflight; KB_M_NONE if it is none. */
static enum kb_method
preflight_method(const struct exchange *x)
{
	const struct kb_http1_head *h = kb_ex_head(x->ex);
	const char *bytes = kb_ex_bytes(x->ex);
	struct kb_slice method;

	if (h->method != KB_M_OPTIONS ||
	    kb_http1_get(h, bytes, KB_H_ORIGIN).len == 0)
		return KB_M_NONE;
	method = kb_http1_get(h, bytes, KB_H_ACR_METHOD);
	return method.len ? kb_method_of(method.ptr, method.len) : KB_M_NONE;
}

static bool
forwardable(enum kb_method m)
{
	return m != KB_M_NONE && m != KB_M_OTHER && m != KB_M_TRACE &&
	    m != KB_M_CONNECT;
}

/* What the groups of the route's path matched, by number and by name. */
static void
keep_captures(struct exchange *x, const struct kb_regex *regex)
{
	static const char numbers[] = "0123456789101112131415161718192021222324"
				      "25262728293031";
	size_t n = kb_regex_groups(regex);
	struct kb_slice groups[KB_REGEX_GROUPS];
	struct line *v;

	if (n == 0 || !kb_regex_match(regex, kb_ex_path(x->ex), groups))
		return;
	v = kb_new_array(exchange_arena(x), 2 * n, struct line);
	x->captures = v;
	for (size_t i = 1; i <= n; i++) {
		const char *name = kb_regex_name(regex, i);

		v[x->n_captures++] = (struct line) {
			.name = { numbers + (i < 10 ? i : 2 * i - 10),
			    i < 10 ? 1 : 2 },
			.value = groups[i],
		};
		if (name != NULL)
			v[x->n_captures++] = (struct line) {
				.name = kb_slice_of(name),
				.value = groups[i],
			};
	}
}

static bool
use_route(struct exchange *x, const struct router_match *m)
{
	if (m->route == NULL)
		return false;
	x->route = m->route;
	x->prefix = m->prefix;
	x->chain = m->route->chain;
	if (m->regex != NULL)
		keep_captures(x, m->regex);
	return true;
}

/* A prefix cut off and a service's path put before may spell a path that is
 * nobody's outside, though the client's own is harmless. */
static bool
leads_inside(struct exchange *x)
{
	struct kb_buf path;
	bool denied;

	if (!x->route->strip_path && x->route->service->path[0] == '\0')
		return false;
	kb_buf_init(&path, 1 << 16);
	upstream_path(&path, x->route, kb_ex_path(x->ex), x->prefix);
	denied = path_is_denied((struct kb_slice) { path.ptr, path.len });
	kb_buf_free(&path);
	return denied;
}

static void
redirect_to_https(struct exchange *x, int status)
{
	struct kb_slice host = kb_ex_host(x->ex), path = exchange_path(x);
	struct kb_slice query = exchange_query(x);

	exchange_add_response(x, "Location",
	    kb_sprintf(exchange_arena(x), "https://%.*s%.*s%s%.*s",
		(int)host.len, host.ptr, (int)path.len, path.ptr,
		query.ptr ? "?" : "", (int)query.len,
		query.ptr ? query.ptr : ""));
	exchange_answer(x, status, NULL, "", 0);
}

static void
no_route(struct exchange *x, const struct router_match *m)
{
	if (m->https_only && m->https_only->redirect_status == 426) {
		exchange_add_response(x, "Upgrade", "TLS/1.2, HTTP/1.1");
		exchange_fail(x, KB_UPGRADE_REQUIRED, "Please use HTTPS");
	} else if (m->https_only) {
		redirect_to_https(x, (int)m->https_only->redirect_status);
	} else if (m->allow) {
		exchange_add_response(
		    x, "Allow", method_list(exchange_arena(x), m->allow));
		exchange_fail(x, KB_METHOD, NULL);
	} else
		exchange_fail(x, KB_NOT_FOUND, NULL);
}

static bool
answers_health(struct exchange *x, struct kb_slice path)
{
	enum kb_method m = exchange_method(x);
	char *text;

	if (!kb_slice_eq(path, "/health"))
		return false;
	if (m != KB_M_GET && m != KB_M_HEAD) {
		exchange_add_response(x, "Allow", "GET, HEAD");
		exchange_fail(x, KB_METHOD, NULL);
		return true;
	}
	text = health_text(exchange_arena(x), x->loop->gateway);
	exchange_answer(x, 200, "application/json", text, strlen(text));
	return true;
}

/* What says that it is too large is refused before anybody else hears of it;
 * what grows too large on its way, by the engine. */
static void
limit_body(struct exchange *x)
{
	const struct kb_http1_head *h = exchange_head(x);

	if (h->has_length && h->length > x->route->body_limit) {
		exchange_fail(x,
		    h->expect_continue ? KB_EXPECTATION : KB_TOO_LARGE, NULL);
		return;
	}
	if (h->chunked && x->route->needs_length) {
		exchange_refuse(
		    x, 411, "A valid Content-Length header is required");
		return;
	}
	kb_ex_body_limit(x->ex, x->route->body_limit);
	if (x->route->unlimited)
		kb_ex_body_deadline(x->ex, 0);
}

static enum verdict
find_route(struct exchange *x)
{
	const struct router *router = x->local->snapshot->router;
	struct router_match m = { 0 };
	struct router_query q = {
		.path = kb_ex_path(x->ex),
		.host = kb_ex_host(x->ex),
		.method = preflight_method(x),
		.proto = PROTO_HTTP,
		.head = exchange_head(x),
		.bytes = exchange_bytes(x),
	};
	const struct kb_tls *tls = kb_ex_tls(x->ex);

	if (tls != NULL && kb_tls_name(tls) != NULL)
		q.sni = kb_slice_of(kb_tls_name(tls));
	if (x->https)
		q.proto = PROTO_HTTPS;
	if (answers_health(x, q.path))
		return NEXT;
	if (path_is_denied(q.path) || q.path.ptr[0] != '/') {
		exchange_fail(x, KB_NOT_FOUND, NULL);
		return NEXT;
	}
	if (forwardable(q.method)) {
		router_find(router, &q, &m);
		x->preflight = m.route != NULL && m.route->cors;
	}
	if (!x->preflight) {
		q.method = exchange_method(x);
		router_find(router, &q, &m);
		if (!forwardable(q.method)) {
			m.route = NULL;
			m.allow |= 1U << KB_M_GET;
		}
	}
	if (!use_route(x, &m))
		no_route(x, &m);
	else if (leads_inside(x))
		exchange_fail(x, KB_NOT_FOUND, NULL);
	else
		limit_body(x);
	return NEXT;
}

/* ---- the phases
 * ---------------------------------------------------------------- */

/*
 * What runs at a place of the chain, NULL: nothing. A consumer's own one
 * counts after the place at which he became known, in all phases.
 */
static const struct plugin_use *
use_in(const struct exchange *x, size_t i)
{
	const struct plugin_use *use = NULL;

	if (x->chain.plugins != NULL && x->chain.plugins[i] != NULL &&
	    x->consumer != NULL && i > x->known_at)
		use = use_of_consumer(x->local->snapshot, x->chain.plugins[i],
		    x->route, x->consumer);
	return use ? use : x->chain.v[i];
}

static enum verdict
access_phase(struct exchange *x)
{
	while (x->at < x->chain.n) {
		const struct plugin_use *use = use_in(x, x->at);
		enum verdict verdict = NEXT;

		x->again = false;
		if (use != NULL && use->plugin->access)
			verdict = use->plugin->access(x, use);
		if (x->phase != PHASE_ACCESS)
			return NEXT;
		if (verdict == NEXT || !x->again)
			x->at++;
		if (verdict == WAIT)
			return WAIT;
	}
	return NEXT;
}

static enum verdict
ask_upstream(struct exchange *x)
{
	if (!x->asked && x->route->service->host == NULL)
		exchange_fail(
		    x, KB_UNAVAILABLE, "no Service found with those values");
	else if (!x->asked) {
		x->asked = true;
		upstream_start(x);
	}
	return x->answer || x->phase != PHASE_UPSTREAM ? NEXT : WAIT;
}

static enum verdict
response_phase(struct exchange *x)
{
	x->responded = true;
	for (size_t i = 0; i < x->chain.n; i++) {
		const struct plugin_use *use = use_in(x, i);

		if (use != NULL && use->plugin->response)
			use->plugin->response(x, use);
	}
	return NEXT;
}

static void
own_lines(struct exchange *x, struct kb_buf *b)
{
	kb_buf_reset(b);
	if (x->answer_lines)
		copy_lines(b, x->answer_lines);
	kb_buf_add(b, x->down.ptr, x->down.len);
	policy_own_lines(x, b);
	kong_answer_lines(x, b);
}

static void
answer_error(struct exchange *x)
{
	struct kb_buf *b = &x->loop->lines;

	own_lines(x, b);
	kb_ex_fail(x->ex, x->err, x->message, NULL, kb_buf_str(b));
}

void
exchange_answer_error(struct exchange *x, enum kb_err err)
{
	x->err = err;
	x->message = NULL;
	answer_error(x);
}

static void
answer_own(struct exchange *x)
{
	struct kb_buf *b = &x->loop->lines;

	own_lines(x, b);
	kb_buf_adds(b, "Cache-Control: no-store\r\n");
	if (x->content_type)
		add_line(b, "Content-Type", x->content_type);
	add_line(b, "X-Request-ID", exchange_request_id(x));
	kb_ex_answer(x->ex, x->status, b->ptr, b->len, x->body, x->body_len);
}

static uint64_t
answer_length(const struct exchange *x)
{
	const struct kb_http1_head *h = x->answer;

	if (h->has_length)
		return h->length;
	if (h->status == 204 || h->status == 304)
		return 0;
	return KB_LENGTH_STREAM;
}

static void
answer_upstream(struct exchange *x)
{
	struct kb_buf *b = &x->loop->lines;
	int status = x->answer->status;

	kb_buf_reset(b);
	upstream_lines(x, b);
	kb_buf_add(b, x->down.ptr, x->down.len);
	kong_answer_lines(x, b);
	if (status == 101) {
		x->tunnel = true;
		kb_ex_upgrade(x->ex, b->ptr, b->len);
		return;
	}
	if (x->held) {
		held_head(x, status, b);
		return;
	}
	kb_ex_head_out(x->ex, status, b->ptr, b->len, answer_length(x));
}

static enum verdict
answer(struct exchange *x)
{
	if (x->answer)
		answer_upstream(x);
	else if (x->err)
		answer_error(x);
	else
		answer_own(x);
	x->answer = NULL;
	return NEXT;
}

static enum verdict (*const phases[])(struct exchange *x) = {
	[PHASE_ROUTE] = find_route,
	[PHASE_ACCESS] = access_phase,
	[PHASE_UPSTREAM] = ask_upstream,
	[PHASE_RESPONSE] = response_phase,
	[PHASE_ANSWER] = answer,
};

void
exchange_advance(struct exchange *x)
{
	x->running = true;
	while (x->phase != PHASE_DONE) {
		enum phase was = x->phase;

		x->woken = false;
		if (phases[was](x) == WAIT) {
			if (x->woken)
				continue;
			break;
		}
		if (x->phase == was) {
			x->phase++;
			x->at = 0;
		}
	}
	x->running = false;
}

/* ---- from the engine
 * ------------------------------------------------------------ */

static void
on_request(struct kb_exchange *ex)
{
	struct loop *l = kb_ex_arg(ex);
	const struct kb_http1_head *h = kb_ex_head(ex);
	struct exchange *x = exchange_take(l);

	x->ex = ex;
	x->loop = l;
	x->local = local_ref(l->local);
	x->chain = l->local->snapshot->global;
	x->has_body = h->chunked || (h->has_length && h->length > 0);
	kb_ex_set_user(ex, x);
	x->client_ip = forwarded_client(x);
	x->https = forwarded_https(x);
	exchange_advance(x);
	/* The body waits until somebody takes it. */
	if (x->has_body && x->call == NULL && !x->collecting &&
	    x->phase != PHASE_DONE) {
		x->paused = true;
		kb_ex_pause(ex);
	}
}

static void
on_body(struct kb_exchange *ex, const char *data, size_t len)
{
	struct exchange *x = kb_ex_user(ex);

	if (x->collecting)
		rewrite_body(x, data, len);
	else
		upstream_body(x, data, len);
}

static void
on_body_end(struct kb_exchange *ex)
{
	struct exchange *x = kb_ex_user(ex);

	x->body_ended = true;
	if (x->collecting)
		rewrite_body_end(x);
	else
		upstream_body_end(x);
}

static void
on_writable(struct kb_exchange *ex)
{
	upstream_writable(kb_ex_user(ex));
}

static void
tell_plugins(struct exchange *x)
{
	for (size_t i = 0; i < x->chain.n; i++) {
		const struct plugin_use *use = use_in(x, i);

		if (use != NULL && use->plugin->log)
			use->plugin->log(x, use);
	}
}

static void
on_end(struct kb_exchange *ex, enum kb_end end)
{
	struct exchange *x = kb_ex_user(ex);
	int status = kb_ex_status(ex);

	if (x->cancel)
		x->cancel(x->cancel_arg);
	upstream_cancel(x);
	/* The client left before there was an answer: nginx's number. */
	if (status == 0 || (end == KB_END_ABORTED && !kb_ex_head_sent(ex)))
		status = 499;
	x->ended_status = status;
	tell_plugins(x);
	observe(x, status);
	exchange_give(x);
}

const struct kb_server_ops exchange_ops = {
	.on_request = on_request,
	.on_body = on_body,
	.on_body_end = on_body_end,
	.on_writable = on_writable,
	.on_end = on_end,
	.on_refused = observe_refused,
};
