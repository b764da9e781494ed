/*
 * Table of contents of the stack service. Tenant routes exist twice: under
 * the gateway's prefixes, where the gateway vouches for the caller, and under
 * /tenant/{slug}, where the tenant's own session token does.
 */
#include "platform.h"

#define TENANT_SLUG "/tenant/{slug}"
#define ANYONE KB_TENANT(KB_ROLE_VIEWER)
#define WRITER KB_TENANT(KB_ROLE_MEMBER)
#define ADMIN KB_TENANT(KB_ROLE_ADMIN)
#define RECORD_BODY (8u << 20)
#define FILES_BODY (128u << 20) /* what is no file: less, records/body.c */

extern const struct kb_rule stack_create_rules[], stack_patch_rules[];
extern const struct kb_rule tenant_create_rules[], tenant_patch_rules[];
extern const struct kb_rule flags_apply_rules[];

/* clang-format off */
#define TENANT_ROUTES(prefix) \
	KB_GET(prefix "/v1/stacks", ANYONE, stacks_list, .summary = "Stacks that you may see", .returns = "200 A page of stacks"), \
	KB_POST(prefix "/v1/stacks", WRITER, stacks_create, .body = stack_create_rules, .summary = "Create a stack from a kombination.yaml", .returns = "201 The stack"), \
	KB_GET(prefix "/v1/stacks/{id}", ANYONE, stacks_get, .summary = "One stack", .returns = "200 The stack"), \
	KB_GET(prefix "/v1/stacks/{id}/spec", ANYONE, stacks_spec, .summary = "The kombination.yaml, byte for byte", .returns = "200 YAML"), \
	KB_PATCH(prefix "/v1/stacks/{id}", WRITER, stacks_patch, .body = stack_patch_rules, .summary = "Change a stack", .returns = "200 The stack"), \
	KB_DELETE(prefix "/v1/stacks/{id}", WRITER, stacks_delete, .summary = "Delete a stack", .returns = "204 Deleted"), \
	KB_POST(prefix "/v1/stacks/{id}/validate", WRITER, stacks_validate, .summary = "Validate the stack against its kit, as a job", .returns = "202 The job's id"), \
	KB_GET(prefix "/v1/jobs", ANYONE, jobs_list, .summary = "Jobs, newest first; ?stackId= and ?status= filter", .returns = "200 A page of jobs"), \
	KB_GET(prefix "/v1/jobs/{id}", ANYONE, jobs_get, .summary = "One job", .returns = "200 The job"), \
	KB_GET(prefix "/v1/jobs/{id}/logs", ANYONE, jobs_logs, .summary = "Log lines after ?after=N, oldest first", .returns = "200 Lines and where to go on"), \
	KB_POST(prefix "/v1/jobs/{id}/cancel", WRITER, jobs_cancel, .summary = "Cancel a job that has not ended", .returns = "200 The job"), \
	KB_GET(prefix "/v1/tenant", ANYONE, tenant_current, .summary = "The tenant and your role in it", .returns = "200 The tenant"), \
	KB_GET(prefix "/v1/tenant/usage", ANYONE, tenant_usage, .summary = "Quotas and what is used of them", .returns = "200 Usage by resource"), \
	KB_GET(prefix "/v1/tenant/feature-flags", ANYONE, tenant_flags, .summary = "Feature flags that hold for you here", .returns = "200 Values by key"), \
	KB_GET(prefix "/v1/tenant/members", ANYONE, tenant_members, .summary = "Members of the tenant", .returns = "200 A page of members")

#define PEOPLE_ROUTES(prefix) \
	KB_PATCH(prefix "/v1/tenant/members/{id}", ADMIN, members_patch, .body = member_patch_rules, .summary = "Change a member's role, shut out or let in", .returns = "200 The member"), \
	KB_DELETE(prefix "/v1/tenant/members/{id}", ADMIN, members_delete, .summary = "Take a member out of the tenant", .returns = "204 Gone"), \
	KB_POST(prefix "/v1/tenant/leave", ANYONE, tenant_leave, .summary = "Leave the tenant", .returns = "204 Left"), \
	KB_GET(prefix "/v1/tenant/invitations", ADMIN, invitations_list, .summary = "Invitations that wait", .returns = "200 A page of invitations"), \
	KB_POST(prefix "/v1/tenant/invitations", ADMIN, invitations_create, .body = invitation_rules, .summary = "Invite an e-mail address", .returns = "201 The invitation"), \
	KB_DELETE(prefix "/v1/tenant/invitations/{id}", ADMIN, invitations_delete, .summary = "Revoke an invitation", .returns = "204 Revoked"), \
	KB_GET(prefix "/v1/tenant/activity", ANYONE, activity_list, .summary = "What happened; ?action= actor= resource= since= until= filter, ?before= pages", .returns = "200 Newest first, and where to go on"), \
	KB_GET(prefix "/v1/tenant/audit", ADMIN, audit_list, .summary = "The audit of the tenant, filtered and paged likewise", .returns = "200 Newest first, and where to go on")

#define WALLET_ROUTES(prefix) \
	KB_GET(prefix "/v1/wallet/items", WRITER, wallet_list, .summary = "Secrets of the tenant, without their values", .returns = "200 A page of items"), \
	KB_POST(prefix "/v1/wallet/items", WRITER, wallet_create, .body = wallet_rules, .summary = "Keep a secret, encrypted", .returns = "201 The item"), \
	KB_PATCH(prefix "/v1/wallet/items/{id}", WRITER, wallet_patch, .body = wallet_patch_rules, .summary = "Change a secret", .returns = "200 The item"), \
	KB_DELETE(prefix "/v1/wallet/items/{id}", WRITER, wallet_remove, .summary = "Forget a secret", .returns = "204 Forgotten"), \
	KB_POST(prefix "/v1/wallet/items/{id}/reveal", WRITER, wallet_reveal, .body = reveal_rules, .summary = "The value, with a proof of fresh sign-in and a reason", .returns = "200 The value"), \
	KB_POST(prefix "/v1/wallet/reauth", WRITER, wallet_reauth, .body = reauth_rules, .summary = "A proof by password, or by a sign-in of the last five minutes", .returns = "200 The proof")

/*
 * The records API in PocketBase's shapes. Everyone may call: the collections'
 * own rules decide, after api_run has found out who asks. {collection} is a
 * name below a tenant's address and NAME_SLUG at the root.
 */
#define COLLECTION_ROUTES(prefix) \
	KB_GET(prefix "/api/collections", KB_PUBLIC, collections_list, .summary = "Collections; the tenant's admins only", .returns = "200 A page of collections"), \
	KB_POST(prefix "/api/collections", KB_PUBLIC, collections_post, .flags = KB_RAW_BODY, .summary = "Create a collection", .returns = "200 The collection"), \
	KB_GET(prefix "/api/collections/{collection}", KB_PUBLIC, collections_get, .summary = "One collection", .returns = "200 The collection"), \
	KB_PATCH(prefix "/api/collections/{collection}", KB_PUBLIC, collections_patch, .flags = KB_RAW_BODY, .summary = "Change a collection", .returns = "200 The collection"), \
	KB_DELETE(prefix "/api/collections/{collection}", KB_PUBLIC, collections_delete, .summary = "Delete a collection and its records", .returns = "204 Deleted")
#define COLLECTIONS_ROUTES(prefix) \
	KB_PUT(prefix "/api/collections/import", KB_PUBLIC, collections_import, .flags = KB_RAW_BODY, .body_limit = RECORD_BODY, .summary = "Collections as they are to be, all or none", .returns = "204 Imported"), \
	KB_GET(prefix "/api/collections/meta/scaffolds", KB_PUBLIC, collections_scaffolds, .summary = "What new collections of each type have", .returns = "200 By type"), \
	KB_GET(prefix "/api/collections/meta/oauth2-providers", KB_PUBLIC, collections_providers, .summary = "Providers that auth collections can be configured with", .returns = "200 A list"), \
	KB_POST(prefix "/api/collections/meta/dry-run-view", KB_PUBLIC, collections_dry_run, .flags = KB_RAW_BODY, .summary = "What a view's query would give", .returns = "200 Fields"), \
	KB_DELETE(prefix "/api/collections/{collection}/truncate", KB_PUBLIC, collections_truncate, .summary = "Delete all records of a collection", .returns = "204 Deleted")
#define RECORD_ROUTES(prefix) \
	KB_GET(prefix "/api/collections/{collection}/records", KB_PUBLIC, records_list, .summary = "Records: page, perPage, sort, filter, expand, fields, skipTotal", .returns = "200 A page of records"), \
	KB_POST(prefix "/api/collections/{collection}/records", KB_PUBLIC, records_post, .flags = KB_SPOOL_BODY, .body_limit = FILES_BODY, .summary = "Create a record", .returns = "200 The record"), \
	KB_GET(prefix "/api/collections/{collection}/records/{id}", KB_PUBLIC, records_get, .summary = "One record", .returns = "200 The record"), \
	KB_PATCH(prefix "/api/collections/{collection}/records/{id}", KB_PUBLIC, records_patch, .flags = KB_SPOOL_BODY, .body_limit = FILES_BODY, .summary = "Change a record", .returns = "200 The record"), \
	KB_DELETE(prefix "/api/collections/{collection}/records/{id}", KB_PUBLIC, records_delete, .summary = "Delete a record", .returns = "204 Deleted")
#define AUTH_PATH(prefix, name) prefix "/api/collections/{collection}/" name
#define AUTH_POST(prefix, name, ...) KB_POST(AUTH_PATH(prefix, name), KB_PUBLIC, __VA_ARGS__, .flags = KB_RAW_BODY)
#define AUTH_ROUTES(prefix) \
	KB_GET(AUTH_PATH(prefix, "auth-methods"), KB_PUBLIC, auth_methods, .summary = "How to sign in", .returns = "200 Methods"), \
	AUTH_POST(prefix, "auth-refresh", auth_refresh, .summary = "A fresh session token", .returns = "200 Token and record"), \
	AUTH_POST(prefix, "auth-with-password", auth_with_password, .summary = "Sign in by password", .returns = "200 Token and record"), \
	AUTH_POST(prefix, "auth-with-oauth2", auth_with_oauth2, .summary = "Sign in by another provider's code", .returns = "200 Token and record"), \
	AUTH_POST(prefix, "request-otp", auth_request_otp, .summary = "A one-time password by mail", .returns = "200 Its id"), \
	AUTH_POST(prefix, "auth-with-otp", auth_with_otp, .summary = "Sign in by one-time password", .returns = "200 Token and record"), \
	AUTH_POST(prefix, "request-password-reset", auth_request_reset, .summary = "A mail for a new password", .returns = "204 Whether there is such an address or not"), \
	AUTH_POST(prefix, "confirm-password-reset", auth_confirm_reset, .summary = "Set a new password by the mail's token", .returns = "204 Set"), \
	AUTH_POST(prefix, "request-verification", auth_request_verification, .summary = "A mail to verify the address", .returns = "204 Whether there is such an address or not"), \
	AUTH_POST(prefix, "confirm-verification", auth_confirm_verification, .summary = "Verify the address by the mail's token", .returns = "204 Verified"), \
	AUTH_POST(prefix, "request-email-change", auth_request_email_change, .summary = "A mail to a new address", .returns = "204 Sent"), \
	AUTH_POST(prefix, "confirm-email-change", auth_confirm_email_change, .summary = "Take a new address by the mail's token", .returns = "204 Changed"), \
	AUTH_POST(prefix, "impersonate/{id}", auth_impersonate, .summary = "Act as a record; superusers, with a reason", .returns = "200 Token and record")
#define REALTIME_ROUTES(prefix) \
	KB_GET(prefix "/api/realtime", KB_PUBLIC, realtime_connect, .summary = "Events of subscriptions, as a stream", .returns = "200 Server-sent events"), \
	KB_POST(prefix "/api/realtime", KB_PUBLIC, realtime_subscribe, .flags = KB_RAW_BODY, .summary = "Set a stream's subscriptions", .returns = "204 Set"), \
	KB_GET(prefix "/api/x/changes", KB_PUBLIC, changes_missed, .summary = "Changes after ?since=SEQ: what a stream missed", .returns = "200 Changes and where to go on")
#define FILE_ROUTES(prefix) \
	KB_GET(prefix "/api/files/{collection}/{id}/{filename}", KB_PUBLIC, files_get, .summary = "A record's file; ?token= for protected ones, ?download=1", .returns = "200 The file")
#define SETTINGS_ROUTES(prefix) \
	KB_GET(prefix "/api/settings", KB_PUBLIC, settings_read, .summary = "Settings of the tenant's API; superusers only", .returns = "200 The settings"), \
	KB_PATCH(prefix "/api/settings", KB_PUBLIC, settings_change, .flags = KB_RAW_BODY, .summary = "Change settings", .returns = "200 The settings"), \
	KB_GET(prefix "/api/crons", KB_PUBLIC, crons_list, .summary = "A tenant's upkeep; superusers only", .returns = "200 Ids and times"), \
	KB_POST(prefix "/api/crons/{id}", KB_PUBLIC, crons_run, .flags = KB_RAW_BODY, .summary = "Run it now", .returns = "204 Run"), \
	KB_POST(prefix "/api/batch", KB_PUBLIC, records_batch, .flags = KB_SPOOL_BODY, .body_limit = FILES_BODY, .summary = "Several changes of records, all or none", .returns = "200 An answer for each")
/* clang-format on */

const struct kb_route stack_routes[] = {
	KB_POST("/api/internal/sso/exchange", KB_USER, sso_exchange,
	    .flags = KB_RAW_BODY,
	    .summary = "Enter a tenant: identity headers to session token",
	    .returns = "200 Token, tenant, user"),

	KB_POST("/api/internal/tenants", KB_SERVICE("admin"), tenants_create,
	    .body = tenant_create_rules, .summary = "Provision a tenant",
	    .returns = "201 The tenant"),
	KB_GET("/api/internal/tenants/{slug}", KB_SERVICE("admin", "gateway"),
	    tenants_get, .summary = "One tenant", .returns = "200 The tenant"),
	KB_PATCH("/api/internal/tenants/{slug}", KB_SERVICE("admin"),
	    tenants_patch, .body = tenant_patch_rules,
	    .summary = "Change plan, limits or status",
	    .returns = "200 The tenant"),
	KB_DELETE("/api/internal/tenants/{slug}", KB_SERVICE("admin"),
	    tenants_delete, .summary = "Mark a tenant deleted",
	    .returns = "204 Deleted"),

	KB_POST("/api/internal/feature-flags/apply", KB_SERVICE("admin"),
	    flags_apply, .body = flags_apply_rules,
	    .summary = "All feature flags of a user, an organisation, or of"
		       " everybody",
	    .returns = "200 How many were applied and skipped"),

	KB_POST("/api/x/setup", KB_PUBLIC, setup_run,
	    .summary = "Self-hosted: the first superuser, once, by the token"
		       " in the data folder",
	    .returns = "201 The superuser"),
	KB_GET("/api/internal/audit", KB_SERVICE("admin"), audit_of_all,
	    .summary = "The audit of all tenants; ?tenant= and the filters of"
		       " /v1/tenant/audit",
	    .returns = "200 Newest first, and where to go on"),
	KB_POST("/v1/invitations/accept", KB_USER, invitations_accept,
	    .body = accept_rules,
	    .summary = "Become a member by an invitation to your address",
	    .returns = "200 The tenant and your role in it"),

	TENANT_ROUTES(""),
	TENANT_ROUTES(TENANT_SLUG),
	PEOPLE_ROUTES(""),
	PEOPLE_ROUTES(TENANT_SLUG),
	WALLET_ROUTES(""),
	WALLET_ROUTES(TENANT_SLUG),

	COLLECTION_ROUTES(TENANT_SLUG),
	COLLECTIONS_ROUTES(TENANT_SLUG),
	RECORD_ROUTES(TENANT_SLUG),
	SETTINGS_ROUTES(TENANT_SLUG),
	FILE_ROUTES(TENANT_SLUG),
	FILE_ROUTES(""),
	REALTIME_ROUTES(TENANT_SLUG),
	RECORD_ROUTES(""),
	AUTH_ROUTES(TENANT_SLUG),
	AUTH_ROUTES(""),
	KB_POST(TENANT_SLUG "/api/settings/test/email", KB_PUBLIC,
	    auth_try_mail, .flags = KB_RAW_BODY,
	    .summary = "Try a mail; superusers only", .returns = "204 Sent"),
	KB_GET(TENANT_SLUG "/api/oauth2-redirect", KB_PUBLIC,
	    oauth2_redirect_get, .summary = "Where a provider sends people",
	    .returns = "307 To the page that closes itself"),
	KB_POST(TENANT_SLUG "/api/oauth2-redirect", KB_PUBLIC,
	    oauth2_redirect_post, .flags = KB_RAW_BODY,
	    .summary = "The same for providers that post",
	    .returns = "303 To the page that closes itself"),
	KB_GET(TENANT_SLUG "/_/", KB_PUBLIC, auth_page,
	    .summary = "Where the links of mails lead",
	    .returns = "200 A page"),
	KB_GET(TENANT_SLUG "/_", KB_PUBLIC, auth_page,
	    .summary = "Where the links of mails lead",
	    .returns = "200 A page"),
	KB_POST(TENANT_SLUG "/api/files/token", KB_PUBLIC, auth_file_token,
	    .flags = KB_RAW_BODY,
	    .summary = "A short token for protected"
		       " files",
	    .returns = "200 The token"),
	KB_GET(TENANT_SLUG "/api/health", KB_PUBLIC, api_health,
	    .summary = "That the API answers", .returns = "200 Healthy"),
	KB_GET(TENANT_SLUG "/dashboard", KB_PUBLIC, session_dashboard,
	    .summary = "Where a launch ends", .returns = "200 A page"),
	KB_ROUTES_END,
};
