/* The public catalog: tools for a homelab, by category. */
#include <kombi/str.h>

#include "admin.h"

#define SEARCH_MAX 100

static void
tool_json(struct kb_jsonw *w, const void *obj)
{
	const struct tool *t = obj;

	kb_w_str(w, "id", t->id);
	kb_w_str(w, "name", t->name);
	kb_w_str(w, "slug", t->slug);
	kb_w_str(w, "description", t->description);
	kb_w_str(w, "category", t->category);
	kb_w_str(w, "subcategory", t->subcategory);
	kb_w_raw(w, "tags", t->tags);
	kb_w_str(w, "status", t->status);
	kb_w_str(w, "dockerImage", t->docker_image);
	kb_w_str(w, "website", t->website);
	kb_w_str(w, "githubUrl", t->github_url);
	kb_w_str(w, "latestVersion", t->latest_version);
	if (t->rating > 0)
		kb_w_int(w, "rating", t->rating);
	else
		kb_w_null(w, "rating");
}

struct kb_reply
catalog_tools(struct kb_request *req)
{
	struct tool_filter f = {
		.category = kb_query_param(req, "category"),
		.search = kb_query_param(req, "q"),
	};
	struct kb_page page;
	struct tool *rows;
	size_t n;
	enum kb_err err;

	if (f.category != NULL && !kb_is_slug(f.category))
		kb_bad_field(req, "category", "must be a category's slug");
	if (f.search != NULL && kb_slice_of(f.search).len > SEARCH_MAX)
		kb_bad_field(
		    req, "q", "must have at most %d characters", SEARCH_MAX);
	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	err = tools_published(&req->cx, &f, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, tool_json, rows, n, sizeof(*rows), &page);
}

static void
category_json(struct kb_jsonw *w, const void *obj)
{
	const struct category *c = obj;

	kb_w_str(w, "id", c->id);
	kb_w_str(w, "slug", c->slug);
	kb_w_str(w, "name", c->name);
	kb_w_str(w, "parent", c->parent);
	kb_w_int(w, "tools", c->tools);
}

struct kb_reply
catalog_categories(struct kb_request *req)
{
	struct kb_page page = { .page = 1 };
	struct category *rows;
	size_t n;
	enum kb_err err = categories_all(&req->cx, &rows, &n);

	if (err)
		return kb_fail(req, err, NULL);
	page.limit = page.total = (int64_t)n;
	return kb_items(req, category_json, rows, n, sizeof(*rows), &page);
}
