/* Table of contents of the sim service. */
#include "sim.h"

#define ANYONE KB_TENANT(KB_ROLE_VIEWER)
#define WRITER KB_TENANT(KB_ROLE_MEMBER)

/* The older spelling of the prefix is an alias. */
/* clang-format off */
#define SIMULATION_ROUTES(prefix) \
	KB_GET(prefix, ANYONE, simulations_list, .summary = "Simulations; ?status= filters", .returns = "200 A page of simulations"), \
	KB_POST(prefix, WRITER, simulations_create, .body = simulation_rules, .summary = "Create a simulation with its nodes", .returns = "201 The simulation"), \
	KB_GET(prefix "/{id}", ANYONE, simulations_get, .summary = "One simulation with its nodes", .returns = "200 The simulation"), \
	KB_PATCH(prefix "/{id}", WRITER, simulations_patch, .body = simulation_patch_rules, .summary = "Rename or describe", .returns = "200 The simulation"), \
	KB_DELETE(prefix "/{id}", WRITER, simulations_delete, .summary = "Delete the simulation and its nodes", .returns = "202 On its way"), \
	KB_POST(prefix "/{id}/start", WRITER, simulations_start, .flags = KB_RAW_BODY, .summary = "Start all nodes", .returns = "202 On its way"), \
	KB_POST(prefix "/{id}/stop", WRITER, simulations_stop, .flags = KB_RAW_BODY, .summary = "Stop all nodes", .returns = "202 On its way"), \
	KB_GET(prefix "/{id}/logs", ANYONE, simulations_logs, .summary = "What happened after ?after=N", .returns = "200 Events"), \
	KB_GET(prefix "/{id}/nodes", ANYONE, nodes_list, .summary = "Nodes of the simulation", .returns = "200 A page of nodes"), \
	KB_POST(prefix "/{id}/nodes", WRITER, nodes_create, .body = node_rules, .summary = "Add a node", .returns = "201 The node")
/* clang-format on */

const struct kb_route sim_routes[] = {
	SIMULATION_ROUTES("/v1/simulations"),
	SIMULATION_ROUTES("/v1/simulation"),

	KB_GET("/v1/nodes", ANYONE, nodes_list,
	    .summary = "All nodes; ?simulationId= filters",
	    .returns = "200 A page of nodes"),
	KB_GET("/v1/nodes/{node}", ANYONE, nodes_get, .summary = "One node",
	    .returns = "200 The node"),
	KB_DELETE("/v1/nodes/{node}", WRITER, nodes_delete,
	    .summary = "Delete a node", .returns = "202 On its way"),
	KB_POST("/v1/nodes/{node}/start", WRITER, nodes_start,
	    .flags = KB_RAW_BODY, .summary = "Start a node",
	    .returns = "202 On its way"),
	KB_POST("/v1/nodes/{node}/stop", WRITER, nodes_stop,
	    .flags = KB_RAW_BODY, .summary = "Stop a node",
	    .returns = "202 On its way"),
	KB_GET("/v1/nodes/{node}/ssh", WRITER, nodes_ssh,
	    .summary = "How to log in", .returns = "200 Host, port, password"),
	KB_GET("/v1/nodes/{node}/stats", ANYONE, nodes_stats,
	    .summary = "Load of a running node", .returns = "200 Figures"),

	KB_GET("/v1/templates", ANYONE, templates_list,
	    .summary = "Built-in templates", .returns = "200 Templates"),
	KB_GET("/v1/templates/{id}", ANYONE, templates_get,
	    .summary = "One template", .returns = "200 The template"),
	KB_POST("/v1/templates/{id}/apply", WRITER, templates_apply,
	    .body = apply_rules, .summary = "A simulation from a template",
	    .returns = "201 The simulation"),

	KB_POST("/api/internal/tenants", KB_SERVICE("admin"), tenants_create,
	    .body = tenant_rules, .summary = "Provision a tenant",
	    .returns = "201 The tenant"),
	KB_ROUTES_END,
};
