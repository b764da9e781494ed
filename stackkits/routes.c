/* The table of contents of the service. */
#include "stackkits.h"

#define CALLERS KB_USER_OR_SERVICE("stack", "admin")

const struct kb_route sk_routes[] = {
	KB_GET("/v1/stackkits", CALLERS, kits_list,
	    .summary = "Kits that the caller's plan includes",
	    .returns = "200 {kits}"),
	KB_POST("/v1/stackkits/validate", CALLERS, kits_validate_config,
	    .body = kits_validate_config_rules, .body_limit = 2 << 20,
	    .summary = "Validate a configuration against a kit by name",
	    .returns = "200 {valid, stackkit, version, validated_at, errors, "
		       "warnings, info}"),
	KB_GET("/v1/stackkits/{id}", CALLERS, kits_get, .summary = "One kit",
	    .returns = "200 The kit"),
	KB_GET("/v1/stackkits/{id}/download", CALLERS, kits_download,
	    .summary = "The kit as tar.gz, with everything to validate offline",
	    .returns = "200 application/gzip"),
	KB_POST("/v1/stackkits/{id}/validate", CALLERS, kits_validate,
	    .body = kits_validate_rules, .body_limit = 2 << 20,
	    .summary = "Validate a kombination.yaml against the kit",
	    .returns = "200 {valid, errors, warnings}"),
	KB_GET("/v1/stackkits/{id}/versions", CALLERS, kits_versions,
	    .summary = "Versions of the kit, newest first",
	    .returns = "200 {stackkit, versions}"),
	KB_GET("/v1/stackkits/{id}/versions/{version}/changelog", CALLERS,
	    kits_changelog, .summary = "What changed in a version",
	    .returns = "200 {version, released, changelog}"),
	KB_ROUTES_END,
};
