/*
 * A service without a socket, for tests: routes, authorisation, handlers and
 * reply lines are the server's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "envelope.h"
#include "service_private.h"
#include "stream.h"

#define TEST_SECRET "KOMBI_SERVICE_SECRET=loopback-secret-of-at-least-32-bytes"

struct kb_loopback {
	struct kb_runtime *rt;
	struct kb_arena *call; /* of the last call */
};

static bool
env_has(const char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return true;
	return false;
}

/* The test's list with what every service needs. */
static char **
whole_env(struct kb_arena *a, const char *const *env)
{
	size_t n = 0, m = 0;

	while (env != NULL && env[n] != NULL)
		n++;
	char **all = kb_new_array(a, n + 3, char *);
	for (; m < n; m++)
		all[m] = kb_strdup(a, env[m]);
	if (!env_has(env, "KOMBI_ENVIRONMENT"))
		all[m++] = kb_strdup(a, "KOMBI_ENVIRONMENT=development");
	if (!env_has(env, "KOMBI_SERVICE_SECRET"))
		all[m++] = kb_strdup(a, TEST_SECRET);
	return all;
}

struct kb_loopback *
kb_loopback_start(const struct kb_service *service, const char *const *env)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_loopback *lo;
	struct kb_runtime *rt;
	struct kb_buf problems;

	kb_log_init(service->name, KB_WARN);
	kb_access_init();
	kb_buf_init(&problems, 65536);
	rt = kb_runtime_load(service, whole_env(a, env), &problems);
	if (rt == NULL)
		fprintf(stderr, "%s: %s", service->name, kb_buf_str(&problems));
	kb_buf_free(&problems);
	kb_arena_free(a);
	if (rt == NULL || !kb_runtime_start(rt))
		return NULL;
	kb_background_start(rt);
	lo = kb_xalloc(sizeof(*lo));
	*lo = (struct kb_loopback) { .rt = rt, .call = kb_arena_new(0) };
	return lo;
}

void
kb_loopback_stop(struct kb_loopback *lo)
{
	if (lo == NULL)
		return;
	kb_runtime_stop(lo->rt);
	kb_arena_free(lo->call);
	free(lo);
}

struct kb_app *
kb_loopback_app(struct kb_loopback *lo)
{
	return &lo->rt->app;
}

/* ---- a call
 * -------------------------------------------------------------------- */

static void
add_field(struct kb_request *req, const char *name, const char *value)
{
	struct kb_request_private *p = req->private_;

	p->headers[p->n_headers++] = (struct kb_text_field) {
		kb_strdup(req->cx.arena, name), kb_strdup(req->cx.arena, value),
		kb_header_id(name, strlen(name))
	};
}

static void
add_line(struct kb_request *req, const char *line)
{
	struct kb_slice rest = kb_slice_of(line), name;

	(void)kb_slice_next(&rest, ':', &name);
	add_field(req, kb_slice_dup(req->cx.arena, name),
	    kb_slice_dup(req->cx.arena, kb_slice_trim(rest)));
}

static void
add_identity(struct kb_loopback *lo, struct kb_request *req,
    const struct kb_identity *user)
{
	char proof[KB_PROOF_SIZE];

	for (int i = 0; i < KB_ID_FIELDS; i++)
		if (user->value[i] != NULL)
			add_field(req, kb_identity_header[i], user->value[i]);
	kb_proof_make(&lo->rt->gateway, kb_wall_s(),
	    kb_method_name(req->method), lo->rt->app.service->name, user,
	    proof);
	add_field(req, KB_PROOF_HEADER, proof);
}

static void
add_token(struct kb_loopback *lo, struct kb_request *req, const char *caller)
{
	struct kb_pair_keys keys;
	const char *token;

	kb_pair_keys(&lo->rt->common.service_secret,
	    &lo->rt->common.service_secret_next, caller,
	    lo->rt->app.service->name, &keys);
	token = kb_service_token(
	    req->cx.arena, &keys, caller, lo->rt->app.service->name);
	add_field(req, "Authorization",
	    kb_sprintf(req->cx.arena, "Bearer %s", token));
}

static struct kb_request *
make_request(struct kb_loopback *lo, const char *method, const char *target,
    enum kb_err *err)
{
	struct kb_buf *path = kb_arena_buf(lo->call, 65536);
	struct kb_slice query = { NULL, 0 }, authority;

	*err = kb_http_path(kb_slice_of(target), path, &query, &authority);
	struct kb_request_source from = {
		.method = kb_method_of(method, strlen(method)),
		.path = { kb_buf_str(path), path->len },
		.query = query,
		.id = kb_id_new(lo->call, "req_"),
		.peer = "127.0.0.1",
	};
	struct kb_request *req = kb_request_new(lo->call, &lo->rt->app, &from);
	req->private_->headers = kb_new_array(
	    lo->call, KB_HTTP1_FIELDS + 12, struct kb_text_field);
	return req;
}

static struct kb_reply
answer(struct kb_loopback *lo, struct kb_request *req)
{
	bool later = false;
	enum kb_err err = kb_request_route(req, lo->rt->router);

	if (err == KB_METHOD && req->method == KB_M_OPTIONS)
		return kb_options(req);
	if (err == KB_OK)
		err = kb_authorise_head(req, &later);
	if (err == KB_OK)
		err = kb_request_media(req, req->body_len > 0);
	if (err == KB_OK &&
	    req->body_len >
		(req->route->body_limit ? req->route->body_limit : 1u << 20))
		err = KB_TOO_LARGE;
	return err ? kb_refuse(req, err, NULL) : kb_request_run(req, later);
}

/* Of a stream: what was sent before the handler returned. */
static void
gather_body(struct kb_loopback *lo, struct kb_reply_private *p)
{
	struct kb_slice sent;
	char *bytes;
	ssize_t n;

	if (p->stream != NULL) {
		sent = kb_stream_pending(p->stream);
		p->body = kb_strndup(lo->call, sent.ptr, sent.len);
		p->len = sent.len;
		kb_stream_gone(p->stream);
	} else if (p->file != NULL) {
		bytes = kb_arena_alloc(lo->call, p->file->left + 1);
		n = pread(
		    p->file->fd, bytes, p->file->left, (off_t)p->file->at);
		p->len = n > 0 ? (size_t)n : 0;
		bytes[p->len] = '\0';
		p->body = bytes;
	}
}

struct kb_loopback_answer
kb_loopback_send(
    struct kb_loopback *lo, const struct kb_loopback_request *request)
{
	const char *const *header = request->headers;
	const char *body = request->body;
	struct kb_request *req;
	struct kb_reply reply;
	struct kb_buf *lines;
	enum kb_err err;

	kb_arena_reset(lo->call);
	req = make_request(lo, request->method, request->target, &err);
	if (body != NULL)
		kb_request_body(req, kb_strdup(lo->call, body), strlen(body));
	if (request->user != NULL)
		add_identity(lo, req, request->user);
	if (request->caller != NULL)
		add_token(lo, req, request->caller);
	for (; header != NULL && *header != NULL; header++)
		add_line(req, *header);
	if (body != NULL && kb_header(req, "Content-Type") == NULL)
		add_field(req, "Content-Type", "application/json");

	reply = err ? kb_fail(req, err, NULL) : answer(lo, req);
	lines = kb_arena_buf(lo->call, 65536);
	kb_buf_adds(lines, kb_security_lines);
	kb_reply_lines(req, &reply, lines);
	gather_body(lo, reply.private_);
	return (struct kb_loopback_answer) {
		.status = reply.status,
		.body = reply.private_->body,
		.len = reply.private_->len,
		.headers = kb_buf_str(lines),
	};
}
