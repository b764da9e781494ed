/* What happened: a tenant's activity for its members, the audit for those who
 * answer for it. */
#include <string.h>

#include <kombi/audit.h>
#include <kombi/str.h>
#include <kombi/time.h>

#include "platform.h"

const char *
details_text(struct kb_arena *a, kb_json_fn *fn, const void *obj)
{
	struct kb_buf buf;
	struct kb_jsonw w;
	const char *text;

	kb_buf_init(&buf, 64 * 1024);
	kb_w_init(&w, &buf);
	kb_w_object(&w, NULL);
	fn(&w, obj);
	kb_w_object_end(&w);
	text = kb_strdup(a, kb_buf_str(&buf));
	kb_buf_free(&buf);
	return text;
}

struct kb_cx *
platform_of(struct kb_request *req)
{
	return req->tenant ? &tenant_of(req)->platform : &req->cx;
}

void
note(struct kb_request *req, const char *action, const char *resource,
    const char *id, const char *details)
{
	const struct tenant_cx *tc = tenant_of(req);
	enum kb_err err = kb_audit(
	    req, platform_of(req), action, resource, id, details);

	if (!err && tc != NULL)
		err = activity_insert(&req->cx,
		    &(const struct happening) {
			.actor = tc->user.id ? tc->user.id : "",
			.actor_name = tc->user.name ? tc->user.name : "",
			.action = action,
			.resource = resource,
			.resource_id = id ? id : "",
			.details = details,
		    });
	if (err)
		kb_error(req->cx.log, "what happened was not noted",
		    KB_S("action", action), KB_S("error", kb_err_code(err)));
}

#define DAY_MS (24LL * 3600 * 1000)
#define PRUNE_EVERY_MS (3600 * 1000)

int64_t
audit_work(struct kb_app *app, struct kb_cx *cx)
{
	int64_t days = stack_config(app)->audit_days;
	char old[KB_RFC3339_SIZE];
	enum kb_err err;

	if (days == 0)
		days = app->common->mode == KB_MODE_SAAS_DEDICATED ? 365 : 90;
	kb_rfc3339(kb_wall_ms() - days * DAY_MS, old);
	err = audit_prune(cx, old);
	if (err)
		kb_warn(cx->log, "the audit was not pruned",
		    KB_S("error", kb_err_code(err)));
	return PRUNE_EVERY_MS;
}

/* A time of the query in the one form that the rows have. */
static const char *
read_time(struct kb_request *req, const char *name)
{
	const char *text = kb_query_param(req, name);
	char *out = kb_arena_alloc(req->cx.arena, KB_RFC3339_SIZE);
	int64_t ms;

	out[0] = '\0';
	if (text == NULL || text[0] == '\0')
		return out;
	if (kb_rfc3339_parse(text, &ms))
		kb_rfc3339(ms, out);
	else
		kb_bad_field(req, name, "must be a time (RFC 3339)");
	return out;
}

static const char *
read_text(struct kb_request *req, const char *name)
{
	const char *text = kb_query_param(req, name);

	return text ? text : "";
}

static bool
read_filter(struct kb_request *req, struct happening_filter *f)
{
	struct kb_page page;
	bool good = kb_read_page(req, &page);
	size_t times;

	*f = (struct happening_filter) {
		.tenant = read_text(req, "tenant"),
		.action = read_text(req, "action"),
		.actor = read_text(req, "actor"),
		.resource = read_text(req, "resource"),
		.since = read_time(req, "since"),
		.until = read_time(req, "until"),
		.before = read_text(req, "before"),
		.limit = page.limit,
	};
	times = strlen(read_text(req, "since")) ? strlen(f->since) : 1;
	if (strlen(read_text(req, "until")))
		times = times && strlen(f->until);
	return good && times;
}

struct listing {
	struct happening *rows;
	size_t n;
	int64_t limit;
};

static void
listing_json(struct kb_jsonw *w, const void *obj)
{
	const struct listing *l = obj;

	kb_w_array(w, "items");
	for (const struct happening *h = l->rows; h < l->rows + l->n; h++) {
		kb_w_object(w, NULL);
		kb_w_str(w, "id", h->id);
		kb_w_str(w, "timestamp", h->at);
		kb_w_opt(w, "tenant", h->tenant);
		kb_w_str(w, "actor", h->actor);
		kb_w_opt(w, "actorName", h->actor_name);
		kb_w_str(w, "action", h->action);
		kb_w_str(w, "resource", h->resource);
		kb_w_str(w, "resourceId", h->resource_id);
		kb_w_raw(w, "details", h->details ? h->details : "null");
		kb_w_opt(w, "ip", h->ip);
		kb_w_opt(w, "requestId", h->request_id);
		kb_w_object_end(w);
	}
	kb_w_array_end(w);
	kb_w_str(w, "next",
	    (int64_t)l->n == l->limit && l->n ? l->rows[l->n - 1].id : NULL);
}

typedef enum kb_err select_fn(struct kb_cx *cx,
    const struct happening_filter *f, struct happening **rows, size_t *n);

static struct kb_reply
list(struct kb_request *req, struct kb_cx *cx, select_fn *fn,
    const char *of_tenant)
{
	struct happening_filter f;
	struct listing l = { 0 };
	enum kb_err err;

	if (!read_filter(req, &f))
		return kb_invalid(req);
	if (of_tenant != NULL)
		f.tenant = of_tenant;
	l.limit = f.limit;
	err = fn(cx, &f, &l.rows, &l.n);
	return err ? kb_fail(req, err, NULL)
		   : kb_data(req, 200, listing_json, &l);
}

struct kb_reply
activity_list(struct kb_request *req)
{
	return list(req, &req->cx, activity_select, tenant_of(req)->row.slug);
}

struct kb_reply
audit_list(struct kb_request *req)
{
	struct tenant_cx *tc = tenant_of(req);

	return list(req, &tc->platform, audit_select, tc->row.slug);
}

struct kb_reply
audit_of_all(struct kb_request *req)
{
	return list(req, &req->cx, audit_select, NULL);
}
