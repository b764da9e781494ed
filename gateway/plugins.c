/*
 * The plugins in running order: Kong's priorities, ours put between.
 */
#include <kombi/str.h>

#include "gateway.h"

extern const struct plugin plugin_correlation_id, plugin_cors, plugin_jwt,
    plugin_request_size_limiting, plugin_acl, plugin_rate_limiting_advanced,
    plugin_tenant_router, plugin_sso_start, plugin_request_transformer,
    plugin_response_transformer, plugin_ip_restriction, plugin_bot_detection,
    plugin_request_termination, plugin_key_auth, plugin_rate_limiting,
    plugin_openid_connect, plugin_basic_auth, plugin_redirect,
    plugin_prometheus, plugin_opentelemetry, plugin_security_headers;

const struct plugin *const plugins[] = {
	&plugin_correlation_id,
	&plugin_bot_detection,
	&plugin_cors,
	&plugin_jwt,
	&plugin_key_auth,
	&plugin_basic_auth,
	&plugin_openid_connect,
	&plugin_ip_restriction,
	&plugin_request_size_limiting,
	&plugin_acl,
	&plugin_rate_limiting,
	&plugin_rate_limiting_advanced,
	&plugin_tenant_router,
	&plugin_request_transformer,
	&plugin_response_transformer,
	&plugin_redirect,
	&plugin_security_headers,
	&plugin_sso_start,
	&plugin_opentelemetry,
	&plugin_prometheus,
	&plugin_request_termination,
	NULL,
};

const struct plugin *
plugin_find(const char *name)
{
	/* The platform's own documents call it that. */
	if (kb_str_eq(name, "oidc"))
		name = "openid-connect";
	for (size_t i = 0; plugins[i] != NULL; i++)
		if (kb_str_eq(plugins[i]->name, name))
			return plugins[i];
	return NULL;
}
