/*
 * /api/crons: what a tenant's upkeep is, run by the clock for the tenants
 * that are open (one that nobody uses gathers nothing), or when asked.
 */
#include "crons.h"

#include <string.h>

#include <kombi/time.h>

#include "cron.h"

#define MINUTE_MS 60000

struct upkeep {
	struct kb_cx *cx;
	const struct schema *schema;
};

struct cron_job {
	const char *id, *expression;
	enum kb_err (*run)(struct upkeep *u);
};

static enum kb_err
optimize(struct upkeep *u)
{
	return crons_optimize(u->cx);
}

/* What is left of sign-ins that were never ended. */
static enum kb_err
prune(struct upkeep *u, const char *table)
{
	enum kb_err err = KB_OK;

	for (size_t i = 0; !err && i < u->schema->n; i++) {
		const struct collection *c = &u->schema->collections[i];
		bool mfas = strcmp(table, "_mfas") == 0;

		if (c->auth_options == NULL)
			continue;
		err = crons_prune(u->cx, mfas, c->id,
		    mfas ? c->auth_options->mfa_s : c->auth_options->otp_s);
	}
	return err;
}

static enum kb_err
prune_mfas(struct upkeep *u)
{
	return prune(u, "_mfas");
}

static enum kb_err
prune_otps(struct upkeep *u)
{
	return prune(u, "_otps");
}

static const struct cron_job jobs[] = {
	{ "__pbDBOptimize__", "0 0 * * *", optimize },
	{ "__pbMFACleanup__", "0 * * * *", prune_mfas },
	{ "__pbOTPCleanup__", "0 * * * *", prune_otps },
};

static enum kb_err
run_job(struct upkeep *u, const struct cron_job *job, const char *slug)
{
	enum kb_err err = job->run(u);

	if (err)
		kb_warn(u->cx->log, "a tenant's upkeep failed",
		    KB_S("tenant", slug), KB_S("job", job->id),
		    KB_S("code", kb_err_code(err)));
	return err;
}

/* ---- the API --------------------------------------------------------------
 */

static struct kb_reply
list(struct api *api)
{
	struct kb_jsonw w;
	struct kb_buf b;
	const char *text;

	kb_buf_init(&b, 1u << 16);
	kb_w_init(&w, &b);
	kb_w_array(&w, NULL);
	for (size_t i = 0; i < KB_COUNT(jobs); i++) {
		kb_w_object(&w, NULL);
		kb_w_str(&w, "id", jobs[i].id);
		kb_w_str(&w, "expression", jobs[i].expression);
		kb_w_object_end(&w);
	}
	kb_w_array_end(&w);
	text = kb_strdup(api->req->cx.arena, kb_buf_str(&b));
	kb_buf_free(&b);
	return kb_json_reply(api->req, 200, text);
}

static struct kb_reply
run(struct api *api)
{
	const char *id = kb_param(api->req, "id");
	struct upkeep u = { &api->req->cx, api->schema };
	enum kb_err err;

	for (size_t i = 0; i < KB_COUNT(jobs); i++) {
		if (strcmp(jobs[i].id, id) != 0)
			continue;
		err = run_job(&u, &jobs[i], api->tenant->row.slug);
		return err ? api_fail_db(api->req, err, NULL)
			   : kb_no_content(api->req);
	}
	return api_fail(api->req, 404, "Missing or invalid cron job.");
}

API_HANDLER(crons_list, API_SUPERUSERS, list)
API_HANDLER(crons_run, API_SUPERUSERS, run)

/* ---- the clock ------------------------------------------------------------
 */

static bool
is_due(const struct cron_job *job, int64_t wall_s)
{
	struct cron cron;

	return cron_parse(job->expression, &cron) && cron_due(&cron, wall_s);
}

static void
run_due(struct upkeep *u, int64_t wall_s, const char *slug)
{
	for (size_t i = 0; i < KB_COUNT(jobs); i++)
		if (is_due(&jobs[i], wall_s))
			(void)run_job(u, &jobs[i], slug); /* was logged */
}

static void
look_after(
    struct kb_app *app, struct kb_cx *platform, const char *slug, int64_t wall)
{
	struct tenancy *tenancy = stack_state(app)->tenancy;
	struct kb_cx cx = *platform;
	struct upkeep u = { .cx = &cx };
	struct tenant_handle *h;
	struct schema *schema;

	if (tenancy_acquire(tenancy, cx.arena, slug, &h))
		return;
	cx.db = tenant_db(h);
	if (schema_acquire(&cx, tenant_schemas(h), &schema) == KB_OK) {
		u.schema = schema;
		run_due(&u, wall, slug);
		schema_release(tenant_schemas(h), schema);
	}
	tenancy_release(tenancy, h);
}

static bool
any_due(int64_t wall_s)
{
	for (size_t i = 0; i < KB_COUNT(jobs); i++)
		if (is_due(&jobs[i], wall_s))
			return true;
	return false;
}

int64_t
crons_work(struct kb_app *app, struct kb_cx *cx)
{
	int64_t now = kb_wall_ms(), wall = now / 1000;
	const char *const *slugs;

	if (any_due(wall)) { /* else nobody's database is kept open by us */
		slugs = tenancy_open_slugs(
		    stack_state(app)->tenancy, cx->arena);
		for (; *slugs != NULL; slugs++)
			look_after(app, cx, *slugs, wall);
	}
	now = kb_wall_ms();
	return now / MINUTE_MS == wall / 60 ? MINUTE_MS - now % MINUTE_MS : 0;
}
