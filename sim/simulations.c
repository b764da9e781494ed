/* Simulations: a homelab's nodes, tried out before anything is bought. */
#include <string.h>

#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "sim.h"

#define NODES_MAX 50

static const char *const status_names[] = { "creating", "starting", "running",
	"stopping", "stopped", "deleting", "error", NULL };

struct simulation_body {
	const char *name, *description;
	struct kb_list nodes;
	bool start;
};

static const struct kb_rule resources_rules[] = {
	KB_RULE_NUM(struct resources_body, cpu, .min = 0, .max = 64,
	    .doc = "Virtual CPUs"),
	KB_RULE_STR(struct resources_body, memory, .max = 16,
	    .doc = "As in kombination.yaml: 512Mi, 2Gi"),
	KB_RULE_STR(struct resources_body, disk, .max = 16,
	    .doc = "As in kombination.yaml: 20Gi, 1Ti"),
	KB_RULES_END,
};

static bool
is_node_name(const char *s)
{
	return kb_is_slug(s);
}

/* clang-format off */
const struct kb_rule node_rules[] = {
	KB_RULE_STR(struct node_body, name, .required = true, .match = is_node_name, .hint = "may hold a-z, 0-9 and dashes, 1 to 63 characters"),
	KB_RULE_STR(struct node_body, os, .max = 32, .match = kb_is_name, .hint = "such as debian-12 or ubuntu-24"),
	KB_RULE_STR(struct node_body, location, .choices = (const char *const[]) { "local", "vps", "hybrid", NULL }),
	KB_RULE_STR(struct node_body, type, .choices = (const char *const[]) { "local", "vps", "main", "worker", "edge", NULL }, .doc = "local or vps; or a kombination.yaml's main, worker, edge"),
	KB_RULE_STR(struct node_body, role, .choices = (const char *const[]) { "main", "worker", "edge", "database", "gateway", "controller", NULL }),
	KB_RULE_OBJECT_AS(struct node_body, resources, "resources", struct resources_body, resources_rules),
	KB_RULES_END,
};

const struct kb_rule simulation_rules[] = {
	KB_RULE_STR(struct simulation_body, name, .required = true, .match = kb_is_name, .hint = "must be 1 to 128 characters, no blank at either end"),
	KB_RULE_STR(struct simulation_body, description, .max = 2000),
	KB_RULE_OBJECTS_AS(struct simulation_body, nodes, "nodes", struct node_body, node_rules, .max = NODES_MAX),
	KB_RULE_BOOL(struct simulation_body, start, .doc = "Start the nodes at once"),
	KB_RULES_END,
};

const struct kb_rule simulation_patch_rules[] = {
	KB_RULE_STR(struct simulation_body, name, .match = kb_is_name, .hint = "must be 1 to 128 characters, no blank at either end"),
	KB_RULE_STR(struct simulation_body, description, .max = 2000),
	KB_RULES_END,
};
/* clang-format on */

static void
summary_json(struct kb_jsonw *w, const void *obj)
{
	const struct simulation *s = obj;

	kb_w_str(w, "id", s->id);
	kb_w_str(w, "name", s->name);
	kb_w_str(w, "description", s->description);
	kb_w_str(w, "status", s->status);
	kb_w_str(w, "wanted", s->wanted);
	kb_w_int(w, "nodesCount", s->nodes_count);
	kb_w_int(w, "nodesRunning", s->nodes_running);
	kb_w_str(w, "createdAt", s->created);
	kb_w_str(w, "updatedAt", s->updated);
}

void
simulation_json(struct kb_jsonw *w, const void *obj)
{
	const struct simulation *s = obj;

	summary_json(w, s);
	kb_w_array(w, "nodes");
	for (size_t i = 0; i < s->n_nodes; i++) {
		kb_w_object(w, NULL);
		node_json(w, &s->nodes[i]);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
}

static void
excess_json(struct kb_jsonw *w, const void *obj)
{
	const struct excess *e = obj;

	kb_w_str(w, "resource", e->resource);
	kb_w_num(w, "current", e->used);
	kb_w_num(w, "limit", e->limit);
	kb_w_num(w, "remaining", e->limit > e->used ? e->limit - e->used : 0);
	kb_w_str(w, "upgradeUrl", "https://app.kombify.io/upgrade");
}

struct kb_reply
refused(struct kb_request *req, enum kb_err err, const struct excess *excess,
    enum kb_err missing)
{
	if (err == KB_QUOTA && excess != NULL)
		return kb_fail_details(req, err,
		    kb_sprintf(req->cx.arena, "%s quota exceeded: %g/%g",
			excess->resource, excess->used, excess->limit),
		    excess_json, excess);
	if (err == KB_NOT_FOUND)
		return kb_fail(req, missing, NULL);
	if (err == KB_CONFLICT)
		return kb_fail(req, err,
		    "It is being deleted, or the name is"
		    " taken in this simulation");
	return kb_fail(req, err, NULL);
}

static bool
read_nodes(
    struct kb_request *req, const struct kb_list *list, struct simulation *s)
{
	const struct node_body *bodies = list->items;
	bool good = true;

	s->n_nodes = list->n;
	s->nodes = kb_new_array(req->cx.arena, list->n + 1, struct node);
	for (size_t i = 0; i < list->n; i++)
		good &= node_of_body(req, &bodies[i],
		    kb_sprintf(req->cx.arena, "nodes[%zu].", i), &s->nodes[i]);
	return good;
}

struct kb_reply
simulation_create(struct kb_request *req, struct simulation *s, bool start)
{
	const struct tenant *t = tenant_of(req);
	struct excess excess;
	enum kb_err err;

	s->id = kb_id_new(req->cx.arena, "sim");
	s->wanted = start ? "running" : "stopped";
	s->created = kb_now_text(req->cx.arena);
	err = simulation_insert(&req->cx, t, s, &excess);
	if (err == KB_CONFLICT)
		return kb_fail(req, err,
		    "Two nodes of a simulation cannot have the same name");
	if (!err)
		err = simulation_get(&req->cx, t, s->id, s);
	if (err)
		return refused(req, err, &excess, KB_NOT_FOUND);
	kb_background_wake(kb_app(req), "engine");
	return kb_data(req, 201, simulation_json, s);
}

struct kb_reply
simulations_create(struct kb_request *req)
{
	struct simulation_body b = { .description = "" };
	struct simulation s = { 0 };

	if (!kb_read_body(req, simulation_rules, &b) ||
	    !read_nodes(req, &b.nodes, &s))
		return kb_invalid(req);
	s.name = b.name;
	s.description = b.description;
	return simulation_create(req, &s, b.start);
}

struct kb_reply
simulations_list(struct kb_request *req)
{
	const char *status = kb_query_param(req, "status");
	const char *const *known = status_names;
	struct kb_page page;
	struct simulation *rows;
	size_t n;
	enum kb_err err;

	while (status != NULL && *known != NULL && strcmp(*known, status) != 0)
		known++;
	if (*known == NULL)
		kb_bad_field(req, "status", "is no status of a simulation");
	if (!kb_read_page(req, &page) || *known == NULL)
		return kb_invalid(req);
	err = simulations_page(
	    &req->cx, tenant_of(req), status, &page, &rows, &n);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_items(req, summary_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
simulations_get(struct kb_request *req)
{
	struct simulation s;
	enum kb_err err = simulation_get(
	    &req->cx, tenant_of(req), kb_param(req, "id"), &s);

	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	return kb_data(req, 200, simulation_json, &s);
}

struct kb_reply
simulations_patch(struct kb_request *req)
{
	struct simulation_body b = { 0 };
	struct simulation s;
	enum kb_err err;

	if (!kb_read_body(req, simulation_patch_rules, &b))
		return kb_invalid(req);
	err = simulation_get(&req->cx, tenant_of(req), kb_param(req, "id"), &s);
	if (!err) {
		s.name = b.name ? b.name : s.name;
		s.description = b.description ? b.description : s.description;
		err = simulation_rename(&req->cx, tenant_of(req), &s);
	}
	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	return kb_data(req, 200, simulation_json, &s);
}

static struct kb_reply
want(struct kb_request *req, const char *wanted)
{
	const char *id = kb_param(req, "id");
	struct excess excess;
	struct simulation s;
	enum kb_err err = simulation_want(
	    &req->cx, tenant_of(req), id, wanted, &excess);

	if (err)
		return refused(req, err, &excess, KB_NOT_FOUND);
	kb_background_wake(kb_app(req), "engine");
	err = simulation_get(&req->cx, tenant_of(req), id, &s);
	if (err == KB_NOT_FOUND) /* deleted already */
		return kb_json_reply(req, 202,
		    kb_sprintf(req->cx.arena,
			"{\"data\":{\"id\":\"%s\",\"deleted\":true}}", id));
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 202, simulation_json, &s);
}

struct kb_reply
simulations_start(struct kb_request *req)
{
	return want(req, "running");
}

struct kb_reply
simulations_stop(struct kb_request *req)
{
	return want(req, "stopped");
}

struct kb_reply
simulations_delete(struct kb_request *req)
{
	return want(req, "deleted");
}

struct log_page {
	const struct event *events;
	size_t n;
	int64_t after;
	const char *status;
};

static void
log_json(struct kb_jsonw *w, const void *obj)
{
	const struct log_page *p = obj;

	kb_w_array(w, "events");
	for (size_t i = 0; i < p->n; i++) {
		kb_w_object(w, NULL);
		kb_w_int(w, "seq", p->events[i].seq);
		kb_w_str(w, "timestamp", p->events[i].at);
		kb_w_str(w, "level", p->events[i].level);
		kb_w_str(w, "node", p->events[i].node);
		kb_w_str(w, "message", p->events[i].message);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_int(w, "next", p->n ? p->events[p->n - 1].seq : p->after);
	kb_w_str(w, "status", p->status);
}

struct kb_reply
simulations_logs(struct kb_request *req)
{
	const char *after = kb_query_param(req, "after");
	struct log_page p = { 0 };
	struct simulation s;
	struct event *events;
	enum kb_err err;

	if (after != NULL &&
	    (!kb_parse_i64(kb_slice_of(after), &p.after) || p.after < 0)) {
		kb_bad_field(req, "after", "must be a number from 0");
		return kb_invalid(req);
	}
	err = simulation_get(&req->cx, tenant_of(req), kb_param(req, "id"), &s);
	if (!err)
		err = events_after(
		    &req->cx, tenant_of(req), s.id, p.after, &events, &p.n);
	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	p.events = events;
	p.status = s.status;
	return kb_data(req, 200, log_json, &p);
}
