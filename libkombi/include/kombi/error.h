/*
 * The error vocabulary: one table for code and wire (DESIGN 4.1, spec B.7).
 */
#ifndef KOMBI_ERROR_H
#define KOMBI_ERROR_H

#include <kombi/base.h>

/* clang-format off */
/* name, code on the wire, HTTP status, text when the caller gives none */
#define KB_ERROR_TABLE(X) \
	X(KB_MALFORMED,         "VALIDATION_FAILED",     400, "Malformed request") \
	X(KB_INVALID,           "VALIDATION_FAILED",     400, "Invalid request") \
	X(KB_TENANT_REQUIRED,   "TENANT_REQUIRED",       400, "Tenant ID required") \
	X(KB_BAD_SIGNATURE,     "INVALID_SIGNATURE",     400, "Invalid signature") \
	X(KB_TIMESTAMP_EXPIRED, "TIMESTAMP_EXPIRED",     400, "Timestamp outside of the allowed window") \
	X(KB_BAD_TARGET,        "UNSUPPORTED_TARGET",    400, "Unsupported target") \
	X(KB_BAD_CONFIG,        "INVALID_CONFIG",        400, "Invalid configuration") \
	X(KB_UNAUTHENTICATED,   "AUTH_REQUIRED",         401, "Authentication required") \
	X(KB_GATEWAY_REQUIRED,  "KONG_AUTH_REQUIRED",    401, "Requests must come through the gateway") \
	X(KB_AUTH_INVALID,      "AUTH_INVALID",          401, "Invalid credentials") \
	X(KB_FORBIDDEN,         "AUTH_INSUFFICIENT",     403, "Insufficient permissions") \
	X(KB_TENANT_FORBIDDEN,  "TENANT_FORBIDDEN",      403, "Not a member of this tenant") \
	X(KB_QUOTA,             "QUOTA_EXCEEDED",        403, "Quota exceeded") \
	X(KB_STORAGE_QUOTA,     "STORAGE_QUOTA_EXCEEDED",403, "Storage quota exceeded") \
	X(KB_PLAN_REQUIRED,     "PLAN_UPGRADE_REQUIRED", 403, "Plan upgrade required") \
	X(KB_NO_REGISTRATION,   "REGISTRATION_DISABLED", 403, "Registration is disabled") \
	X(KB_NOT_FOUND,         "NOT_FOUND",             404, "Not found") \
	X(KB_TENANT_NOT_FOUND,  "TENANT_NOT_FOUND",      404, "Tenant not found") \
	X(KB_METHOD,            "METHOD_NOT_ALLOWED",    405, "Method not allowed") \
	X(KB_REQUEST_TIMEOUT,   "REQUEST_TIMEOUT",       408, "The request took too long to arrive") \
	X(KB_CONFLICT,          "CONFLICT",              409, "Already exists") \
	X(KB_RUNNING,           "ALREADY_RUNNING",       409, "Already running") \
	X(KB_TOO_LARGE,         "PAYLOAD_TOO_LARGE",     413, "Request body too large") \
	X(KB_URI_TOO_LONG,      "VALIDATION_FAILED",     414, "Request target too long") \
	X(KB_MEDIA_TYPE,        "UNSUPPORTED_MEDIA_TYPE",415, "Unsupported content type") \
	X(KB_EXPECTATION,       "VALIDATION_FAILED",     417, "Expectation failed") \
	X(KB_UPGRADE_REQUIRED,  "VALIDATION_FAILED",     426, "Upgrade required") \
	X(KB_RATE_LIMITED,      "RATE_LIMITED",          429, "Too many requests") \
	X(KB_HEADERS_TOO_LARGE, "VALIDATION_FAILED",     431, "Request header fields too large") \
	X(KB_INTERNAL,          "INTERNAL_ERROR",        500, "Internal error") \
	X(KB_CONFIGURATION,     "CONFIGURATION_ERROR",   500, "The service is not configured for this") \
	X(KB_NOT_IMPLEMENTED,   "VALIDATION_FAILED",     501, "Not implemented") \
	X(KB_BAD_GATEWAY,       "SERVICE_UNAVAILABLE",   502, "Bad answer from upstream") \
	X(KB_UNAVAILABLE,       "SERVICE_UNAVAILABLE",   503, "Service unavailable") \
	X(KB_TIMEOUT,           "SERVICE_UNAVAILABLE",   504, "Upstream timed out") \
	X(KB_HTTP_VERSION,      "VALIDATION_FAILED",     505, "HTTP version not supported") \
	X(KB_RESOURCE_LIMIT,    "RESOURCE_LIMIT",        507, "Out of resources")
/* clang-format on */

enum kb_err {
	KB_OK,
#define KB_ERROR_ENUM(name, wire, status, text) name,
	KB_ERROR_TABLE(KB_ERROR_ENUM)
#undef KB_ERROR_ENUM
	    KB_ERR_COUNT
};

const char *kb_err_code(enum kb_err err); /* wire code */
int kb_err_status(enum kb_err err);       /* HTTP status */
const char *kb_err_text(enum kb_err err); /* default message */

#endif
