/* Built-in templates: homelabs that people often start from. */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "sim.h"

const struct template templates[] = {
	{ "single-node", "Single node", "One machine for everything", "local",
	    { { "server", "main", "local", "standard" } } },
	{ "single-vps", "Single VPS", "One rented server", "vps",
	    { { "vps", "main", "vps", "standard" } } },
	{ "single-local", "Single local server", "One machine at home", "local",
	    { { "local-server", "main", "local", "standard" } } },
	{ "homelab-basic", "Basic homelab", "A web server and a database",
	    "homelab",
	    { { "web-server", "main", "local", "standard" },
		{ "database", "database", "local", "minimal" } } },
	{ "homelab-advanced", "Advanced homelab",
	    "Proxy, sign-in, applications, database and storage", "homelab",
	    { { "proxy", "gateway", "local", "minimal" },
		{ "auth", "worker", "local", "minimal" },
		{ "apps", "main", "local", "minimal" },
		{ "database", "database", "local", "minimal" },
		{ "storage", "worker", "local", "minimal" } } },
	{ "hybrid-homelab", "Hybrid homelab",
	    "A rented entry point before a machine at home", "homelab",
	    { { "vps-entry", "gateway", "vps", "minimal" },
		{ "local-server", "main", "local", "standard" } } },
	{ "dev-environment", "Development environment",
	    "A development and a database server", "development",
	    { { "dev-server", "main", "local", "standard" },
		{ "db-server", "database", "local", "minimal" } } },
	{ "ha-setup", "High availability",
	    "Two load balancers before three web servers", "homelab",
	    { { "lb-1", "gateway", "local", "minimal" },
		{ "lb-2", "gateway", "local", "minimal" },
		{ "web-1", "worker", "local", "minimal" },
		{ "web-2", "worker", "local", "minimal" },
		{ "web-3", "worker", "local", "minimal" } } },
	{ .id = NULL },
};

static const struct {
	const char *size;
	double cpu;
	int64_t memory_mb, disk_gb;
} sizes[] = {
	{ "minimal", 0.5, 512, 2 },
	{ "standard", 2, 2048, 10 },
	{ "large", 4, 8192, 50 },
};

bool
node_size(const char *size, struct node *n)
{
	for (size_t i = 0; i < KB_COUNT(sizes); i++)
		if (strcmp(sizes[i].size, size) == 0) {
			n->cpu = sizes[i].cpu;
			n->memory_mb = sizes[i].memory_mb;
			n->disk_gb = sizes[i].disk_gb;
			return true;
		}
	return false;
}

static void
template_json(struct kb_jsonw *w, const void *obj)
{
	const struct template *t = obj;

	kb_w_str(w, "id", t->id);
	kb_w_str(w, "name", t->name);
	kb_w_str(w, "description", t->description);
	kb_w_str(w, "category", t->category);
	kb_w_array(w, "nodes");
	for (size_t i = 0; i < KB_COUNT(t->nodes) && t->nodes[i].name; i++) {
		kb_w_object(w, NULL);
		kb_w_str(w, "name", t->nodes[i].name);
		kb_w_str(w, "role", t->nodes[i].role);
		kb_w_str(w, "location", t->nodes[i].location);
		kb_w_str(w, "size", t->nodes[i].size);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static const struct template *
find(const char *id)
{
	const struct template *t = templates;

	while (t->id != NULL && strcmp(t->id, id) != 0)
		t++;
	return t->id ? t : NULL;
}

struct kb_reply
templates_list(struct kb_request *req)
{
	size_t n = 0;
	struct kb_page page = { .page = 1 };

	while (templates[n].id != NULL)
		n++;
	page.limit = page.total = (int64_t)n;
	return kb_items(
	    req, template_json, templates, n, sizeof(*templates), &page);
}

struct kb_reply
templates_get(struct kb_request *req)
{
	const struct template *t = find(kb_param(req, "id"));

	if (t == NULL)
		return kb_fail(req, KB_NOT_FOUND, NULL);
	return kb_data(req, 200, template_json, t);
}

struct apply_body {
	const char *name;
	bool start;
};

const struct kb_rule apply_rules[] = {
	KB_RULE_STR_AS(struct apply_body, name, "simulationName",
	    .match = kb_is_name,
	    .hint = "must be 1 to 128 characters, no blank at either end"),
	KB_RULE_BOOL_AS(struct apply_body, start, "autoStart"),
	KB_RULES_END,
};

static void
nodes_of(struct kb_arena *a, const struct template *t, struct simulation *s)
{
	s->nodes = kb_new_array(a, KB_COUNT(t->nodes), struct node);
	for (; s->n_nodes < KB_COUNT(t->nodes) && t->nodes[s->n_nodes].name;
	     s->n_nodes++) {
		const struct template_node *from = &t->nodes[s->n_nodes];
		struct node *n = &s->nodes[s->n_nodes];

		*n = (struct node) {
			.id = kb_id_new(a, "node"),
			.name = from->name,
			.os = "debian-12",
			.location = from->location,
			.role = from->role,
			.created = kb_now_text(a),
		};
		if (!node_size(from->size, n))
			kb_fatal(
			    "template %s: unknown size %s", t->id, from->size);
	}
}

struct kb_reply
templates_apply(struct kb_request *req)
{
	const struct template *t = find(kb_param(req, "id"));
	struct apply_body b = { 0 };
	struct simulation s = { 0 };

	if (t == NULL)
		return kb_fail(req, KB_NOT_FOUND, NULL);
	if (!kb_read_body(req, apply_rules, &b))
		return kb_invalid(req);
	s.name = b.name ? b.name : t->name;
	s.description = t->description;
	nodes_of(req->cx.arena, t, &s);
	return simulation_create(req, &s, b.start);
}
