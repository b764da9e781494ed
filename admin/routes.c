/*
 * Table of contents of the admin service: what other services call
 * (/api/internal), what users and operators reach through the gateway (/v1).
 */
#include "admin.h"

/* Roles of the platform itself. "admin" is not one: any organisation may have
 * its own admins. */
#define OPERATOR KB_PLATFORM("kombisphere_admin", "admin:super")

/* Whoever knows the secret may: the signature is over the raw body. */
#define SIGNED .flags = KB_RAW_BODY, .body_limit = 256 * 1024

const struct kb_route admin_routes[] = {
	KB_GET("/api/internal/users/{sub}",
	    KB_SERVICE("cloud", "stack", "gateway"), users_get,
	    .summary = "One user by sub", .returns = "200 The user"),
	KB_POST("/api/internal/users", KB_SERVICE("cloud", "stack"), users_put,
	    .body = user_rules, .summary = "Create or update a user by sub",
	    .returns = "200 The user"),
	KB_GET("/api/internal/users/{sub}/tenants",
	    KB_SERVICE("cloud", "gateway"), users_tenants,
	    .summary = "Tenants of a user", .returns = "200 Tenants"),

	KB_GET("/api/internal/tenants/by-org/{orgId}",
	    KB_SERVICE("gateway", "cloud", "stack"), tenants_get_by_org,
	    .summary = "Tenants of an organisation and where they live",
	    .returns = "200 Tenants"),
	KB_GET("/api/internal/tenants/{slug}",
	    KB_SERVICE("gateway", "cloud", "stack"), tenants_get,
	    .summary = "One tenant", .returns = "200 The tenant"),
	KB_POST("/api/internal/tenants", KB_SERVICE("cloud"), tenants_create,
	    .body = tenant_rules, .summary = "Create and place a tenant",
	    .returns = "201 The tenant"),

	KB_GET("/api/internal/instances", KB_SERVICE("gateway", "cloud"),
	    instances_list, .summary = "Stack instances",
	    .returns = "200 Instances"),
	KB_GET("/api/internal/instances/{id}/health",
	    KB_SERVICE("gateway", "cloud"), instances_health,
	    .summary = "Latest health checks of an instance",
	    .returns = "200 Checks, newest first"),
	KB_POST("/api/internal/instances/health", KB_SERVICE("stack"),
	    instances_report, .body = health_rules,
	    .summary = "An instance reports its health",
	    .returns = "202 Taken"),

	KB_POST("/v1/tenants", KB_USER, tenants_create_own,
	    .body = tenant_own_rules,
	    .summary = "Create the tenant of your organisation",
	    .returns = "201 The tenant"),
	KB_GET("/v1/tenants", KB_USER, tenants_list_own,
	    .summary = "Tenants of your organisation",
	    .returns = "200 Tenants"),

	KB_GET("/v1/admin/users", OPERATOR, users_list,
	    .summary = "Users known to the platform",
	    .returns = "200 A page of users"),
	KB_GET("/v1/admin/tenants", OPERATOR, tenants_list,
	    .summary = "All tenants", .returns = "200 A page of tenants"),
	KB_POST("/v1/admin/tenants", OPERATOR, tenants_create,
	    .body = tenant_rules,
	    .summary = "Create and place a tenant for an organisation",
	    .returns = "201 The tenant"),
	KB_GET("/v1/admin/instances", OPERATOR, instances_list,
	    .summary = "Stack instances", .returns = "200 Instances"),
	KB_POST("/v1/admin/instances", OPERATOR, instances_create,
	    .body = instance_rules, .summary = "Register a stack instance",
	    .returns = "201 The instance"),
	KB_GET("/v1/admin/instances/{id}/health", OPERATOR, instances_health,
	    .summary = "Latest health checks of an instance",
	    .returns = "200 Checks, newest first"),

	KB_GET("/v1/catalog/public", KB_PUBLIC, catalog_tools,
	    .summary = "Published tools; ?category= and ?q= filter",
	    .returns = "200 A page of tools"),
	KB_GET("/v1/catalog/categories", KB_PUBLIC, catalog_categories,
	    .summary = "Categories of tools", .returns = "200 Categories"),

	KB_POST("/api/webhooks/stripe", KB_PUBLIC, webhooks_stripe, SIGNED,
	    .summary = "Stripe tells of an event; signed by Stripe-Signature",
	    .returns = "200 Kept"),
	KB_GET("/api/webhooks/stripe/health", KB_PUBLIC, webhooks_stripe_health,
	    .summary = "Whether webhooks of Stripe can be verified",
	    .returns = "200 They can"),
	KB_POST("/api/webhooks/zitadel", KB_PUBLIC, webhooks_zitadel, SIGNED,
	    .summary = "Zitadel tells of an event; signed by"
		       " ZITADEL-Signature",
	    .returns = "200 Kept"),
	KB_GET("/api/webhooks/zitadel/health", KB_PUBLIC,
	    webhooks_zitadel_health,
	    .summary = "Whether webhooks of Zitadel can be verified",
	    .returns = "200 They can"),
	KB_GET("/v1/admin/webhooks", OPERATOR, webhooks_list,
	    .summary = "Webhooks that came, newest first; ?provider= and"
		       " ?status= filter",
	    .returns = "200 A page of events without their payload"),
	KB_POST("/v1/admin/webhooks/{id}/retry", OPERATOR, webhooks_retry,
	    .flags = KB_RAW_BODY, .summary = "Try a failed event once more",
	    .returns = "204 It is pending again"),
	KB_ROUTES_END,
};
