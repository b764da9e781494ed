/*
 * A service from its options to its database and back: what a server and a
 * test's loopback have in common.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kombi/str.h>

#include "service_private.h"

/* An empty table for services without options of their own. */
static const struct kb_option no_options[] = { KB_OPTIONS_END };

static bool
env_says_development(char *const env[])
{
	for (; *env != NULL; env++)
		if (strcmp(*env, "KOMBI_ENVIRONMENT=development") == 0)
			return true;
	return false;
}

struct kb_option_set *
kb_runtime_sets(struct kb_runtime *rt)
{
	const struct kb_service *s = rt->app.service;
	struct kb_option_set *sets = kb_new_array(
	    rt->arena, 3, struct kb_option_set);

	sets[0] = (struct kb_option_set) {
		kb_common_options(
		    rt->arena, s->port, s->workers ? s->workers : 16),
		&rt->common,
	};
	sets[1] = (struct kb_option_set) {
		s->options ? s->options : no_options,
		(void *)(uintptr_t)rt->app.config,
	};
	return sets;
}

struct kb_runtime *
kb_runtime_new(const struct kb_service *service)
{
	struct kb_arena *a = kb_arena_new(0);
	struct kb_runtime *rt = kb_new(a, struct kb_runtime);

	rt->arena = a;
	rt->app.service = service;
	rt->app.common = &rt->common;
	rt->app.config = kb_arena_alloc(a, service->config_size + 1);
	return rt;
}

struct kb_runtime *
kb_runtime_load(const struct kb_service *service, char *const env[],
    struct kb_buf *problems)
{
	struct kb_runtime *rt = kb_runtime_new(service);

	if (!kb_config_load(rt->arena, kb_runtime_sets(rt), env,
		env_says_development(env), problems)) {
		kb_arena_free(rt->arena);
		return NULL;
	}
	if (kb_secret_is_set(&rt->common.service_secret)) {
		kb_pair_keys(&rt->common.service_secret,
		    &rt->common.service_secret_next, "gateway", service->name,
		    &rt->gateway);
		rt->has_keys = true;
	}
	return rt;
}

static bool
has_tenant_routes(const struct kb_route *routes)
{
	for (; routes->method != KB_M_NONE; routes++)
		if (routes->permission.kind == KB_PERM_TENANT)
			return true;
	return false;
}

static bool
compile_routes(struct kb_runtime *rt)
{
	const struct kb_service *s = rt->app.service;
	const struct kb_route *const tables[] = { kb_frame_routes, s->routes,
		NULL };
	const char *why = NULL;

	rt->router = kb_router_new(rt->arena, tables, &why);
	if (rt->router != NULL && has_tenant_routes(s->routes) &&
	    s->tenant == NULL)
		why = "tenant routes need the tenant hook of the service";
	if (why != NULL)
		fprintf(stderr, "%s: %s\n", s->name, why);
	return why == NULL;
}

static bool
open_database(struct kb_runtime *rt)
{
	const struct kb_service *s = rt->app.service;
	struct kb_db_conf conf = {
		.migrations = s->migrations,
		.connections = s->db_connections,
	};

	if (s->database_url == NULL)
		return true;
	conf.url = s->database_url(rt->app.config, rt->arena);
	if (conf.url == NULL)
		return true;
	if (conf.connections == 0)
		conf.connections = (unsigned)rt->common.workers;
	if (kb_db_open(&conf, &rt->app.db) == KB_OK)
		return true;
	fprintf(stderr, "%s: the database cannot be opened\n", s->name);
	return false;
}

bool
kb_runtime_start(struct kb_runtime *rt)
{
	const struct kb_service *s = rt->app.service;

	if (!compile_routes(rt) || !open_database(rt))
		return false;
	if (s->start == NULL || s->start(&rt->app, &rt->app.state) == KB_OK)
		return true;
	fprintf(stderr, "%s: the service cannot start\n", s->name);
	kb_db_close(rt->app.db);
	rt->app.db = NULL;
	return false;
}

void
kb_runtime_stop(struct kb_runtime *rt)
{
	kb_background_stop(rt);
	if (rt->app.service->stop != NULL)
		rt->app.service->stop(&rt->app);
	kb_db_close(rt->app.db);
	kb_config_free(kb_runtime_sets(rt));
	kb_arena_free(rt->arena);
}

struct kb_app *
kb_app(struct kb_request *req)
{
	return req->private_->app;
}
