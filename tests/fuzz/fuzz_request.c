/* Paths and queries as a service takes them apart. */
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "request.h"

static struct kb_reply
nothing(struct kb_request *req)
{
	return kb_no_content(req);
}

static const struct kb_route routes[] = {
	KB_GET("/a/{one}", KB_PUBLIC, nothing),
	KB_GET("/a/{one}/b/{two}", KB_PUBLIC, nothing),
	KB_GET("/a/b/{two}", KB_PUBLIC, nothing),
	KB_ROUTES_END,
};

/* What a handler gets is text: no broken UTF-8, no controls in paths. */
static void
check(const struct kb_request *req)
{
	const struct kb_request_private *p = req->private_;

	for (unsigned i = 0; i < p->n_params; i++) {
		const char *v = kb_param(req, p->params[i].name);

		if (!kb_utf8_valid(v, strlen(v)) ||
		    kb_has_control(v, strlen(v)) || v[0] == '\0')
			abort();
	}
	for (size_t i = 0; i < p->n_query; i++)
		if (!kb_utf8_valid(
			p->query[i].value, strlen(p->query[i].value)) ||
		    kb_query_param(req, p->query[i].name) == NULL)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct kb_route *const tables[] = { routes, NULL };
	struct kb_arena *a = kb_arena_new(0);
	struct kb_app app = { .service = NULL };
	const char *why;
	struct kb_buf *path = kb_arena_buf(a, 65536);
	struct kb_slice target = { (const char *)data, size };
	struct kb_request_source from = {
		.method = KB_M_GET, .id = "req_1", .peer = "::1"
	};
	struct kb_slice authority;

	if (kb_http_path(target, path, &from.query, &authority) == KB_OK) {
		from.path = (struct kb_slice) { kb_buf_str(path), path->len };
		struct kb_request *req = kb_request_new(a, &app, &from);

		if (kb_request_route(req, kb_router_new(a, tables, &why)) ==
		    KB_OK)
			check(req);
	}
	kb_arena_free(a);
	return 0;
}
