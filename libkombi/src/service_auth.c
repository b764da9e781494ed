/*
 * Who may call a route: gateway proof, service token, the service's own
 * credentials, tenant membership, platform role; deny by default.
 */
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "service_private.h"

/* The seven headers; one that occurs twice speaks for nobody. */
static bool
collect_identity(const struct kb_request *req, struct kb_identity *id)
{
	for (int i = 0; i < KB_ID_FIELDS; i++) {
		const char *name = kb_identity_header[i];

		if (kb_request_count(req, name) > 1)
			return false;
		id->value[i] = kb_header(req, name);
	}
	return true;
}

static const char *
present(const char *value)
{
	return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool
decode(struct kb_request *req, const char *value, const char **out)
{
	char *plain;

	*out = NULL;
	if (present(value) == NULL)
		return true;
	if (!kb_percent_decode(req->cx.arena, kb_slice_of(value), &plain) ||
	    !kb_utf8_valid(plain, strlen(plain)) ||
	    kb_has_control(plain, strlen(plain)))
		return false;
	*out = plain;
	return true;
}

static enum kb_err
take_identity(struct kb_request *req, const struct kb_identity *id)
{
	const char *roles = present(id->value[KB_ID_ROLES]);
	const char *plan = present(id->value[KB_ID_PLAN]);
	struct kb_user user = {
		.sub = present(id->value[KB_ID_USER]),
		.org = present(id->value[KB_ID_ORG]),
		.roles = roles ? roles : "",
		.tenant = present(id->value[KB_ID_TENANT]),
	};

	if (plan != NULL && !kb_plan_of(plan, &user.plan))
		return KB_AUTH_INVALID;
	if (!decode(req, id->value[KB_ID_EMAIL], &user.email) ||
	    !decode(req, id->value[KB_ID_NAME], &user.name))
		return KB_AUTH_INVALID;
	req->user = user;
	req->private_->log.fields[1] = KB_S("userId", user.sub);
	req->private_->log.fields[2] = KB_END;
	return KB_OK;
}

/* KB_NOT_FOUND: there is no proof at all. */
static enum kb_err
check_proof(struct kb_request *req)
{
	const struct kb_runtime *rt = kb_runtime_of(req->private_->app);
	const char *proof = kb_header(req, KB_PROOF_HEADER);
	struct kb_identity id = { .value = { NULL } };
	enum kb_err err;

	if (proof == NULL)
		return KB_NOT_FOUND;
	if (!rt->has_keys || kb_request_count(req, KB_PROOF_HEADER) > 1 ||
	    !collect_identity(req, &id))
		return KB_AUTH_INVALID;
	err = kb_proof_check(&rt->gateway, kb_wall_s(),
	    kb_method_name(req->method), rt->app.service->name, &id,
	    kb_slice_of(proof));
	return err ? KB_AUTH_INVALID : take_identity(req, &id);
}

static bool
in_list(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (kb_str_eq(*list, name))
			return true;
	return false;
}

static enum kb_err
check_token(struct kb_request *req, struct kb_slice token)
{
	const struct kb_runtime *rt = kb_runtime_of(req->private_->app);
	const char *caller;
	enum kb_err err;

	if (!rt->has_keys)
		return KB_AUTH_INVALID;
	err = kb_service_token_check(req->cx.arena, &rt->common.service_secret,
	    &rt->common.service_secret_next, token, rt->app.service->name,
	    &caller);
	if (err)
		return KB_AUTH_INVALID;
	req->user = (struct kb_user) { .roles = "", .service = caller };
	req->private_->log.fields[1] = KB_S("caller", caller);
	req->private_->log.fields[2] = KB_END;
	return in_list(req->route->permission.list, caller) ? KB_OK
							    : KB_FORBIDDEN;
}

/* The credential, with or without "Bearer "; true with it. */
static bool
bearer(const char *authorization, struct kb_slice *token)
{
	*token = kb_slice_of(authorization);
	if (token->len < 7 ||
	    !kb_slice_eqi((struct kb_slice) { token->ptr, 7 }, "Bearer "))
		return false;
	token->ptr += 7;
	token->len -= 7;
	return true;
}

static bool
claims_identity(const struct kb_request *req)
{
	const struct kb_request_private *p = req->private_;

	for (size_t i = 0; i < p->n_headers; i++)
		if (kb_header_is_owned(
			p->headers[i].name, strlen(p->headers[i].name)))
			return true;
	return false;
}

/* Nothing was offered that says who calls. */
static enum kb_err
nobody(const struct kb_request *req)
{
	const struct kb_runtime *rt = kb_runtime_of(req->private_->app);

	if (claims_identity(req))
		return KB_AUTH_INVALID;
	if (rt->common.mode != KB_MODE_SELF_HOSTED &&
	    req->route->permission.kind != KB_PERM_SERVICE)
		return KB_GATEWAY_REQUIRED;
	return KB_UNAUTHENTICATED;
}

/* Roles that need nothing but the head. */
static enum kb_err
check_roles(const struct kb_request *req)
{
	const struct kb_permission *p = &req->route->permission;

	if (p->kind == KB_PERM_SERVICE && req->user.service == NULL)
		return KB_FORBIDDEN;
	if (p->kind != KB_PERM_PLATFORM)
		return KB_OK;
	for (const char *const *role = p->list; *role != NULL; role++)
		if (kb_roles_have(req->user.roles, *role))
			return KB_OK;
	return KB_FORBIDDEN;
}

static bool
services_listed(const struct kb_permission *p)
{
	return p->list[0] != NULL &&
	    (p->kind == KB_PERM_SERVICE || p->kind == KB_PERM_USER);
}

/* Routes that the service's own session tokens open. */
static bool
takes_sessions(const struct kb_request *req)
{
	enum kb_permission_kind kind = req->route->permission.kind;

	return req->private_->app->service->session != NULL &&
	    (kind == KB_PERM_USER || kind == KB_PERM_TENANT);
}

/* An Authorization header without gateway proof. */
static enum kb_err
check_authorization(struct kb_request *req, const char *value, bool *later)
{
	enum kb_err err = KB_AUTH_INVALID;
	struct kb_slice token;

	if (kb_request_count(req, "Authorization") > 1)
		return KB_AUTH_INVALID;
	if (bearer(value, &token) && services_listed(&req->route->permission))
		err = check_token(req, token);
	*later = err == KB_AUTH_INVALID && takes_sessions(req);
	return *later ? KB_OK : err;
}

enum kb_err
kb_authorise_head(struct kb_request *req, bool *later)
{
	const struct kb_permission *p = &req->route->permission;
	const char *authorization = kb_header(req, "Authorization");
	enum kb_err err = check_proof(req);

	*later = false;
	if (p->kind == KB_PERM_PUBLIC)
		return KB_OK; /* a proof that is no good names nobody */
	if (err != KB_OK && err != KB_NOT_FOUND)
		return err;
	if (err == KB_OK && req->user.sub != NULL)
		return check_roles(req);
	if (authorization == NULL)
		return err == KB_OK ? KB_UNAUTHENTICATED : nobody(req);
	return check_authorization(req, authorization, later);
}

struct kb_reply
kb_refuse(struct kb_request *req, enum kb_err err, const char *message)
{
	const struct kb_service *service = req->private_->app->service;
	struct kb_reply reply;

	if (service->refusal == NULL || !service->refusal(req, err, &reply))
		return kb_fail(req, err, message ? "%s" : NULL, message);
	if (err == KB_METHOD && req->private_->allow != NULL)
		kb_reply_header(req, "Allow", req->private_->allow);
	return reply;
}

struct kb_reply
kb_options(struct kb_request *req)
{
	const struct kb_service *service = req->private_->app->service;
	struct kb_reply reply;

	kb_reply_header(req, "Allow", req->private_->allow);
	if (service->refusal != NULL &&
	    service->refusal(req, KB_METHOD, &reply))
		return reply;
	return kb_no_content(req);
}

/* ---- on the worker
 * -------------------------------------------------------------- */

static enum kb_err
check_session(struct kb_request *req)
{
	const char *value = kb_header(req, "Authorization");
	struct kb_slice token;
	enum kb_err err;

	(void)bearer(value, &token);
	err = req->private_->app->service->session(req, token);
	if (err)
		return err;
	req->private_->log.fields[1] = KB_S("userId", req->user.sub);
	req->private_->log.fields[2] = KB_END;
	return check_roles(req);
}

static struct kb_reply
run_tenant(struct kb_request *req, bool *entered)
{
	enum kb_err err = req->private_->app->service->tenant(req);

	if (err)
		return kb_refuse(req, err, NULL);
	*entered = true;
	if (req->role < req->route->permission.role)
		return kb_refuse(req, KB_FORBIDDEN, NULL);
	return req->route->handler(req);
}

struct kb_reply
kb_request_run(struct kb_request *req, bool later)
{
	const struct kb_service *service = req->private_->app->service;
	bool entered = later; /* the session may have set the tenant */
	enum kb_err err = later ? check_session(req) : KB_OK;
	struct kb_reply reply;

	if (err)
		reply = kb_refuse(req, err, NULL);
	else if (req->route->permission.kind == KB_PERM_TENANT)
		reply = run_tenant(req, &entered);
	else
		reply = req->route->handler(req);
	if (entered && service->tenant_done != NULL)
		service->tenant_done(req);
	return reply;
}
