/* Nodes of simulations. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/id.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "sim.h"

#define MEMORY_MAX_MB (1024 * 1024)
#define DISK_MAX_GB (64 * 1024)

void
node_json(struct kb_jsonw *w, const void *obj)
{
	const struct node *n = obj;

	kb_w_str(w, "id", n->id);
	kb_w_str(w, "simulationId", n->simulation_id);
	kb_w_str(w, "name", n->name);
	kb_w_str(w, "status", n->status);
	kb_w_str(w, "wanted", n->wanted);
	kb_w_str(w, "os", n->os);
	kb_w_str(w, "location", n->location);
	kb_w_str(w, "role", n->role);
	kb_w_str(w, "ip", n->ip);
	kb_w_int(w, "sshPort", n->ssh_port);
	kb_w_object(w, "resources");
	kb_w_num(w, "cpu", n->cpu);
	kb_w_int(w, "memoryMb", n->memory_mb);
	kb_w_int(w, "diskGb", n->disk_gb);
	kb_w_object_end(w);
	kb_w_str(w, "error", n->error);
	kb_w_str(w, "startedAt", n->started);
	kb_w_str(w, "createdAt", n->created);
}

/* "2Gi" in units of `unit`: a table of suffixes and what they are worth. */
struct suffix {
	const char *name;
	int64_t worth;
};

static const struct suffix memory_suffixes[] = { { "Mi", 1 }, { "Gi", 1024 },
	{ NULL, 0 } };
static const struct suffix disk_suffixes[] = { { "Gi", 1 }, { "Ti", 1024 },
	{ NULL, 0 } };

static bool
read_size(
    const char *text, const struct suffix *suffix, int64_t max, int64_t *out)
{
	size_t len = strlen(text);

	for (; suffix->name != NULL; suffix++) {
		uint64_t n;

		if (!kb_str_ends(text, suffix->name))
			continue;
		if (!kb_parse_u64((struct kb_slice) { text, len - 2 }, &n) ||
		    n == 0 || n > (uint64_t)(max / suffix->worth))
			return false;
		*out = (int64_t)n * suffix->worth;
		return true;
	}
	return false;
}

/* kombination.yaml's role defaults. */
static const struct {
	const char *role;
	double cpu;
	int64_t memory_mb, disk_gb;
} defaults[] = {
	{ "main", 4, 4096, 50 }, { "edge", 1, 1024, 10 },
	{ "worker", 2, 2048, 20 }, /* and all others */
};

static void
set_defaults(struct node *n)
{
	size_t i = 0;

	while (i < KB_COUNT(defaults) - 1 &&
	    strcmp(defaults[i].role, n->role) != 0)
		i++;
	n->cpu = defaults[i].cpu;
	n->memory_mb = defaults[i].memory_mb;
	n->disk_gb = defaults[i].disk_gb;
}

static bool
read_resources(struct kb_request *req, const struct resources_body *r,
    const char *path, struct node *n)
{
	struct kb_arena *a = req->cx.arena;
	bool good = true;

	if (r->cpu > 0)
		n->cpu = r->cpu;
	if (r->memory != NULL &&
	    !read_size(
		r->memory, memory_suffixes, MEMORY_MAX_MB, &n->memory_mb)) {
		kb_bad_field(req, kb_sprintf(a, "%sresources.memory", path),
		    "must be a number with Mi or Gi, at most 1024Gi");
		good = false;
	}
	if (r->disk != NULL &&
	    !read_size(r->disk, disk_suffixes, DISK_MAX_GB, &n->disk_gb)) {
		kb_bad_field(req, kb_sprintf(a, "%sresources.disk", path),
		    "must be a number with Gi or Ti, at most 64Ti");
		good = false;
	}
	return good;
}

static bool
is_place(const char *type)
{
	return strcmp(type, "local") == 0 || strcmp(type, "vps") == 0;
}

bool
node_of_body(struct kb_request *req, const struct node_body *b,
    const char *path, struct node *n)
{
	*n = (struct node) {
		.id = kb_id_new(req->cx.arena, "node"),
		.name = b->name,
		.os = b->os ? b->os : "debian-12",
		.location = b->location ? b->location : "local",
		.role = b->role ? b->role : "worker",
		.wanted = "stopped",
		.created = kb_now_text(req->cx.arena),
	};
	/* "type" says the place in our API, the role in kombination.yaml. */
	if (b->type != NULL && is_place(b->type) && b->location == NULL)
		n->location = b->type;
	if (b->type != NULL && !is_place(b->type) && b->role == NULL)
		n->role = b->type;
	set_defaults(n);
	return read_resources(req, &b->resources, path, n);
}

struct kb_reply
nodes_create(struct kb_request *req)
{
	struct node_body b = { 0 };
	struct excess excess;
	struct node n;
	enum kb_err err;

	if (!kb_read_body(req, node_rules, &b) ||
	    !node_of_body(req, &b, "", &n))
		return kb_invalid(req);
	err = node_insert(
	    &req->cx, tenant_of(req), kb_param(req, "id"), &n, &excess);
	if (err)
		return refused(req, err, &excess, KB_NOT_FOUND);
	kb_background_wake(kb_app(req), "engine");
	return kb_data(req, 201, node_json, &n);
}

struct kb_reply
nodes_list(struct kb_request *req)
{
	bool nested = strstr(req->route->pattern, "{id}") != NULL;
	const char *simulation = nested ? kb_param(req, "id")
					: kb_query_param(req, "simulationId");
	struct simulation s;
	struct kb_page page;
	struct node *rows;
	size_t n;
	enum kb_err err = KB_OK;

	if (!kb_read_page(req, &page))
		return kb_invalid(req);
	if (nested)
		err = simulation_get(&req->cx, tenant_of(req), simulation, &s);
	if (!err)
		err = nodes_page(
		    &req->cx, tenant_of(req), simulation, &page, &rows, &n);
	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	return kb_items(req, node_json, rows, n, sizeof(*rows), &page);
}

struct kb_reply
nodes_get(struct kb_request *req)
{
	struct node n;
	enum kb_err err = node_get(
	    &req->cx, tenant_of(req), kb_param(req, "node"), &n);

	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	return kb_data(req, 200, node_json, &n);
}

static struct kb_reply
want(struct kb_request *req, const char *wanted)
{
	const char *id = kb_param(req, "node");
	struct excess excess;
	struct node n;
	enum kb_err err = node_want(
	    &req->cx, tenant_of(req), id, wanted, &excess);

	if (err)
		return refused(req, err, &excess, KB_NOT_FOUND);
	kb_background_wake(kb_app(req), "engine");
	err = node_get(&req->cx, tenant_of(req), id, &n);
	if (err == KB_NOT_FOUND) /* deleted already */
		return kb_json_reply(req, 202,
		    kb_sprintf(req->cx.arena,
			"{\"data\":{\"id\":\"%s\",\"deleted\":true}}", id));
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 202, node_json, &n);
}

struct kb_reply
nodes_start(struct kb_request *req)
{
	return want(req, "running");
}

struct kb_reply
nodes_stop(struct kb_request *req)
{
	return want(req, "stopped");
}

struct kb_reply
nodes_delete(struct kb_request *req)
{
	return want(req, "deleted");
}

struct login {
	const char *host, *user, *password, *command;
	int64_t port;
};

static void
login_json(struct kb_jsonw *w, const void *obj)
{
	const struct login *l = obj;

	kb_w_str(w, "host", l->host);
	kb_w_int(w, "port", l->port);
	kb_w_str(w, "user", l->user);
	kb_w_str(w, "password", l->password);
	kb_w_str(w, "connectCommand", l->command);
}

/* Derived, never stored: one for each node, and no default anywhere. */
static const char *
password_of(struct kb_request *req, const struct node *n)
{
	unsigned char mac[KB_SHA256_SIZE];

	kb_hmac_sha256(
	    sim_state(kb_app(req))->ssh_key, 32, n->id, strlen(n->id), mac);
	return kb_base64url(req->cx.arena, mac, 18);
}

struct kb_reply
nodes_ssh(struct kb_request *req)
{
	struct login l = { .user = "root" };
	struct node n;
	enum kb_err err = node_get(
	    &req->cx, tenant_of(req), kb_param(req, "node"), &n);

	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	if (strcmp(n.status, "running") != 0)
		return kb_fail(req, KB_CONFLICT, "The node is not running");
	l.host = sim_config(kb_app(req))->ssh_host;
	l.port = n.ssh_port;
	l.password = password_of(req, &n);
	l.command = kb_sprintf(req->cx.arena, "ssh -p %lld root@%s",
	    (long long)n.ssh_port, l.host);
	return kb_data(req, 200, login_json, &l);
}

static void
stats_json(struct kb_jsonw *w, const void *obj)
{
	const struct engine_stats *s = obj;

	kb_w_num(w, "cpuPercent", s->cpu_percent);
	kb_w_int(w, "memoryUsedMb", s->memory_used_mb);
	kb_w_int(w, "memoryTotalMb", s->memory_total_mb);
	kb_w_int(w, "diskUsedGb", s->disk_used_gb);
	kb_w_int(w, "diskTotalGb", s->disk_total_gb);
	kb_w_int(w, "uptimeSeconds", s->uptime_s);
}

struct kb_reply
nodes_stats(struct kb_request *req)
{
	struct engine_node e;
	struct engine_stats stats;
	struct node n;
	int64_t started = 0;
	enum kb_err err = node_get(
	    &req->cx, tenant_of(req), kb_param(req, "node"), &n);

	if (err)
		return refused(req, err, NULL, KB_NOT_FOUND);
	if (strcmp(n.status, "running") != 0 || n.started == NULL ||
	    !kb_rfc3339_parse(n.started, &started))
		return kb_fail(req, KB_CONFLICT, "The node is not running");
	e = (struct engine_node) {
		.tenant = tenant_of(req)->slug,
		.simulation = n.simulation_id,
		.id = n.id,
		.container = n.container,
		.cpu = n.cpu,
		.memory_mb = n.memory_mb,
		.disk_gb = n.disk_gb,
	};
	err = sim_state(kb_app(req))->engine->stats(&e, started, &stats);
	if (err)
		return kb_fail(req, err, NULL);
	return kb_data(req, 200, stats_json, &stats);
}
