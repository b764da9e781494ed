/*
 * The Admin API: which answer belongs to which path. Pages are in one table,
 * everything else are entities (admin_entity.c).
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "admin_api.h"

/* What Kong's tools take for the version of the API that they talk to. */
#define KONG_VERSION "3.9.1"

static void
begin(struct kb_jsonw *w, struct kb_buf *b)
{
	kb_buf_init(b, ADMIN_TEXT_MAX);
	kb_w_init(w, b);
	kb_w_object(w, NULL);
}

static void
end(struct admin_call *c, struct kb_jsonw *w, struct kb_buf *b)
{
	kb_w_object_end(w);
	admin_json(c, 200, b);
	kb_buf_free(b);
}

/* ---- the node ------------------------------------------------------------ */

static void
write_plugins(struct kb_jsonw *w, const struct document *d)
{
	const struct entities *uses = &d->of[KIND_PLUGIN];

	kb_w_object(w, "plugins");
	kb_w_object(w, "available_on_server");
	for (size_t i = 0; plugins[i] != NULL; i++) {
		kb_w_object(w, plugins[i]->name);
		kb_w_str(w, "version", KONG_VERSION);
		kb_w_int(w, "priority", plugins[i]->priority);
		kb_w_str(w, "description", plugins[i]->help);
		kb_w_object_end(w);
	}
	kb_w_object_end(w);
	kb_w_array(w, "enabled_in_cluster");
	for (size_t i = 0; plugins[i] != NULL; i++)
		for (size_t j = 0; j < uses->n; j++) {
			const struct kb_yaml *y = kb_yaml_get(
			    uses->v[j]->y, "name");

			if (y == NULL || !kb_str_eq(y->text, plugins[i]->name))
				continue;
			kb_w_str(w, NULL, plugins[i]->name);
			break;
		}
	kb_w_array_end(w);
	kb_w_object_end(w);
}

/* "off" tells Kong's tools that entities cannot be written one by one. */
static void
write_configuration(struct kb_jsonw *w, const struct gateway *g)
{
	kb_w_object(w, "configuration");
	kb_w_str(w, "database", g->admin_write ? "postgres" : "off");
	kb_w_str(w, "router_flavor", "traditional_compatible");
	kb_w_str(w, "role", "traditional");
	kb_w_array(w, "admin_listen");
	kb_w_str(w, NULL, g->config->admin_listen);
	kb_w_array_end(w);
	kb_w_array(w, "plugins");
	kb_w_str(w, NULL, "bundled");
	kb_w_array_end(w);
	kb_w_object_end(w);
}

static void
root(struct admin_call *c)
{
	char host[256] = "localhost";
	struct kb_jsonw w;
	struct kb_buf b;

	(void)gethostname(host, sizeof(host) - 1);
	begin(&w, &b);
	kb_w_str(&w, "tagline", "kombify gateway");
	kb_w_str(&w, "version", KONG_VERSION);
	kb_w_str(&w, "edition", "community");
	kb_w_str(&w, "gateway_version", KOMBI_VERSION);
	kb_w_str(&w, "hostname", host);
	kb_w_str(&w, "node_id", metrics_node_id());
	write_configuration(&w, c->g);
	write_plugins(&w, admin_document(c));
	end(c, &w, &b);
}

static int64_t
resident_bytes(void)
{
	long size, pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f != NULL && fscanf(f, "%ld %ld", &size, &pages) != 2)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static void
write_server(struct kb_jsonw *w, const struct gateway *g)
{
	struct kb_server_stats stats;
	int64_t accepted, open, busy, requests;

	loops_stats(g, &stats);
	accepted = (int64_t)stats.accepted;
	open = (int64_t)stats.connections;
	busy = (int64_t)stats.active;
	requests = (int64_t)stats.requests;
	kb_w_object(w, "server");
	kb_w_int(w, "connections_accepted", accepted);
	kb_w_int(w, "connections_active", open);
	kb_w_int(w, "connections_handled", accepted);
	kb_w_int(w, "connections_reading", 0);
	kb_w_int(w, "connections_writing", busy);
	kb_w_int(w, "connections_waiting", open > busy ? open - busy : 0);
	kb_w_int(w, "total_requests", requests);
	kb_w_int(w, "workers", (int64_t)g->n_loops);
	kb_w_object_end(w);
}

static void
status(struct admin_call *c)
{
	const struct gateway *g = c->g;
	char loaded[KB_RFC3339_SIZE];
	struct kb_jsonw w;
	struct kb_buf b;

	kb_rfc3339(g->loaded_ms, loaded);
	begin(&w, &b);
	write_server(&w, g);
	kb_w_object(&w, "memory");
	kb_w_int(&w, "resident_bytes", resident_bytes());
	kb_w_object(&w, "lua_shared_dicts");
	kb_w_object_end(&w);
	kb_w_array(&w, "workers_lua_vms");
	kb_w_array_end(&w);
	kb_w_object_end(&w);
	kb_w_object(&w, "database");
	kb_w_bool(&w, "reachable", true);
	kb_w_object_end(&w);
	kb_w_object(&w, "configuration");
	kb_w_str(&w, "loaded_at", loaded);
	kb_w_int(&w, "services", (int64_t)g->snapshot->n_services);
	kb_w_int(&w, "routes", (int64_t)g->snapshot->n_routes);
	kb_w_int(&w, "held", (int64_t)gateway_snapshots_held(g));
	kb_w_object_end(&w);
	kb_w_str(&w, "configuration_hash", g->snapshot->hash);
	end(c, &w, &b);
}

static void
status_ready(struct admin_call *c)
{
	if (c->g->draining)
		admin_message(c, 503, "draining");
	else if (!verifiers_ready())
		admin_message(c, 503, "keys of an issuer are not there yet");
	else
		admin_message(c, 200, "ready");
}

static void
ready(struct admin_call *c)
{
	admin_empty(c, c->g->draining || !verifiers_ready() ? 503 : 200);
}

static void
health(struct admin_call *c)
{
	struct kb_buf b;

	kb_buf_init(&b, 1 << 16);
	kb_buf_adds(&b, health_text(c->a, c->g));
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}

static void
metrics(struct admin_call *c)
{
	static const char lines
	    [] = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
	struct kb_buf b;

	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_metrics_text(&b);
	c->over = true;
	kb_ex_answer(
	    c->ex, 200, lines, sizeof(lines) - 1, kb_buf_str(&b), b.len);
	kb_buf_free(&b);
}

/* ---- plugins, schemas ---------------------------------------------------- */

static void
enabled(struct admin_call *c)
{
	struct kb_jsonw w;
	struct kb_buf b;

	begin(&w, &b);
	kb_w_array(&w, "enabled_plugins");
	for (size_t i = 0; plugins[i] != NULL; i++)
		kb_w_str(&w, NULL, plugins[i]->name);
	kb_w_array_end(&w);
	end(c, &w, &b);
}

static void
tags(struct admin_call *c)
{
	admin_tags(c, c->n > 1 ? c->segment[1] : NULL);
}

static void
entity_schema(struct admin_call *c)
{
	struct kb_jsonw w;
	struct kb_buf b;
	int k = 0;

	while (k < KINDS && !kb_str_eq(kind_infos[k].file, c->segment[1]) &&
	    !kb_str_eq(kind_infos[k].path, c->segment[1]))
		k++;
	if (k == KINDS) {
		admin_message(c, 404,
		    kb_sprintf(c->a, "No entity named '%s'", c->segment[1]));
		return;
	}
	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	schema_of_kind(&w, (enum kind)k);
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}

static void
plugin_schema_page(struct admin_call *c)
{
	const struct plugin *p = plugin_find(c->segment[2]);
	struct kb_jsonw w;
	struct kb_buf b;

	if (p == NULL) {
		admin_message(c, 404,
		    kb_sprintf(c->a, "No plugin named '%s'", c->segment[2]));
		return;
	}
	kb_buf_init(&b, ADMIN_TEXT_MAX);
	kb_w_init(&w, &b);
	schema_of_plugin(&w, p);
	admin_json(c, 200, &b);
	kb_buf_free(&b);
}

static void
validate(struct admin_call *c)
{
	enum kind kind = KIND_PLUGIN;

	if (!kb_str_eq(c->segment[1], "plugins"))
		for (kind = 0; kind < KINDS; kind++)
			if (kb_str_eq(kind_infos[kind].file, c->segment[1]))
				break;
	if (kind == KINDS)
		admin_not_found(c);
	else
		edit_validate(c, kind);
}

static void endpoints(struct admin_call *c);

/* ---- paths --------------------------------------------------------------- */

enum { READ = 1, WRITE = 2 };

/* "*" is any segment. The first that fits counts. */
static const struct page {
	const char *path;
	unsigned methods;
	void (*answer)(struct admin_call *c);
} pages[] = {
	{ "/", READ, root },
	{ "/health", READ, health },
	{ "/ready", READ, ready },
	{ "/status", READ, status },
	{ "/status/ready", READ, status_ready },
	{ "/metrics", READ, metrics },
	{ "/endpoints", READ, endpoints },
	{ "/config", READ | WRITE, admin_config },
	{ "/tags", READ, tags },
	{ "/tags/*", READ, tags },
	{ "/plugins/enabled", READ, enabled },
	{ "/schemas/*", READ, entity_schema },
	{ "/schemas/*/validate", WRITE, validate },
	{ "/schemas/plugins/*", READ, plugin_schema_page },
};

static bool
fits(const struct admin_call *c, const char *path)
{
	struct kb_slice rest = kb_slice_of(path + 1), part;
	size_t i = 0;

	while (kb_slice_next(&rest, '/', &part)) {
		if (part.len == 0)
			continue;
		if (i == c->n ||
		    (!kb_slice_eq(part, "*") &&
			!kb_slice_eq(part, c->segment[i])))
			return false;
		i++;
	}
	return i == c->n;
}

static bool
is_read(const struct admin_call *c)
{
	return c->method == KB_M_GET || c->method == KB_M_HEAD;
}

static bool
answer_page(struct admin_call *c)
{
	for (size_t i = 0; i < KB_COUNT(pages); i++) {
		if (!fits(c, pages[i].path))
			continue;
		if (is_read(c) ? !(pages[i].methods & READ)
			       : !(pages[i].methods & WRITE))
			admin_not_allowed(
			    c, pages[i].methods & READ ? "GET, HEAD" : "POST");
		else
			pages[i].answer(c);
		return true;
	}
	return false;
}

static void
write_path(struct kb_jsonw *w, const char *a, const char *b)
{
	char path[256];

	snprintf(path, sizeof(path), b ? "/%s/{%s}/%s" : "/%s", a, b ? a : "",
	    b ? b : "");
	kb_w_str(w, NULL, path);
}

static void
endpoints(struct admin_call *c)
{
	struct kb_jsonw w;
	struct kb_buf b;

	begin(&w, &b);
	kb_w_array(&w, "data");
	for (size_t i = 0; i < KB_COUNT(pages); i++)
		kb_w_str(&w, NULL, pages[i].path);
	for (int k = 0; k < KINDS; k++) {
		write_path(&w, kind_infos[k].path, NULL);
		kb_w_str(&w, NULL,
		    kb_sprintf(c->a, "/%s/{%s}", kind_infos[k].path,
			kind_infos[k].file));
	}
	for (size_t i = 0; admin_children[i].path != NULL; i++)
		write_path(&w, kind_infos[admin_children[i].parent].path,
		    admin_children[i].path);
	kb_w_array_end(&w);
	kb_w_null(&w, "next");
	end(c, &w, &b);
}

/* ---- one call ------------------------------------------------------------ */

static bool
split(struct admin_call *c)
{
	struct kb_slice rest = kb_ex_path(c->ex), part;
	char *text;

	while (kb_slice_next(&rest, '/', &part)) {
		if (part.len == 0)
			continue;
		if (c->n == ADMIN_SEGMENTS ||
		    !kb_percent_decode(c->a, part, &text))
			return false;
		c->segment[c->n++] = text;
	}
	return true;
}

/* Kong's words where it has no database. */
static bool
may_write(struct admin_call *c)
{
	bool checks = c->n == 3 && kb_str_eq(c->segment[0], "schemas");

	if (is_read(c) || c->g->admin_write || checks)
		return true;
	admin_message(c, 405,
	    kb_sprintf(c->a,
		"cannot %s '%s' entities when not using a "
		"database",
		c->method == KB_M_DELETE ? "delete" : "create or update",
		c->n ? c->segment[0] : ""));
	return false;
}

bool
admin_begin(struct admin_call *c)
{
	if (!split(c))
		admin_not_found(c);
	else if (admin_may(c))
		return true;
	return false;
}

void
admin_answer(struct admin_call *c)
{
	if (c->method == KB_M_OPTIONS)
		admin_empty(c, 204);
	else if (health_view(c->ex, c->g))
		c->over = true;
	else if (may_write(c) && !answer_page(c) && !admin_entities(c))
		admin_not_found(c);
}
