/* Where a record signs in from: a mail when that is a new place. */
#include <string.h>

#include <kombi/crypto.h>
#include <kombi/str.h>

#include "auth.h"

#define ORIGINS_MAX 5
#define AGENT_MAX 200

static const char *
user_agent(const struct kb_request *req)
{
	const char *agent = kb_header(req, "User-Agent");

	if (agent == NULL)
		return "";
	return strlen(agent) <= AGENT_MAX
	    ? agent
	    : kb_sprintf(req->cx.arena, "%.*s...", AGENT_MAX, agent);
}

static const char *
fingerprint(const struct kb_request *req)
{
	char *hex = kb_arena_alloc(req->cx.arena, 65);
	const char *text = kb_sprintf(
	    req->cx.arena, "%s%s", req->peer ? req->peer : "", user_agent(req));

	kb_sha256_hex(text, strlen(text), hex);
	hex[32] = '\0'; /* as long as those of other servers */
	return hex;
}

static struct record *
known(struct record **origins, size_t n, const char *print)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(auth_text(origins[i], "fingerprint"), print) == 0)
			return origins[i];
	return NULL;
}

static enum kb_err
tell(struct api *api, const struct auth_row *row)
{
	struct auth_mail mail = {
		.kind = MAIL_AUTH_ALERT,
		.alert = kb_sprintf(api->req->cx.arena, "%s - %s %s",
		    record_now(api->req->cx.arena),
		    api->req->peer ? api->req->peer : "", user_agent(api->req)),
	};

	return auth_email(row)[0] ? auth_mail(api, row, &mail) : KB_OK;
}

static enum kb_err
add_origin(struct api *api, const struct auth_row *row, const char *print)
{
	struct kb_cx *cx = &api->req->cx;
	struct record *origin = auth_ref_new(
	    api, cx, "_authOrigins", row->record);
	enum kb_err err;

	(void)auth_set(origin, "fingerprint", (union cell) { .text = print });
	err = record_insert(cx, origin);
	/* Two sign-ins at once from one place. */
	return err == KB_CONFLICT ? KB_OK : err;
}

enum kb_err
auth_alert(struct api *api, const struct auth_row *row)
{
	struct kb_cx *cx = &api->req->cx;
	const char *print = fingerprint(api->req);
	struct record **origins;
	size_t n;
	enum kb_err err = auth_refs(cx,
	    schema_find(api->schema, "_authOrigins"), row->record, &origins,
	    &n);

	if (err || known(origins, n, print) != NULL)
		return err;
	if (n > 0)
		err = tell(api, row);
	for (size_t i = ORIGINS_MAX - 1; !err && i < n; i++) {
		err = auth_ref_delete(cx, origins[i]);
		if (err == KB_NOT_FOUND)
			err = KB_OK;
	}
	return err ? err : add_origin(api, row, print);
}
