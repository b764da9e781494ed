/*
 * The job loop: takes the oldest job of each tenant in turn, so that one
 * tenant's queue does not hold up another's, and runs it by its type.
 */
#include <string.h>

#include <kombi/str.h>
#include <kombi/time.h>

#include "stack.h"

#define IDLE_MS 2000 /* when nobody wakes the loop */
#define SWEEP_MS 30000
#define BACKOFF_MS 1000 /* doubled with each attempt */
#define BACKOFF_MAX_MS 30000

const struct job_type job_types[] = {
	{ "validate", job_validate_run },
	{ NULL, NULL },
};

enum kb_err
run_say(struct job_run *run, const char *level, const char *step,
    const char *fmt, ...)
{
	const char *message;
	va_list ap;

	va_start(ap, fmt);
	message = kb_vsprintf(run->cx->arena, fmt, ap);
	va_end(ap);
	return job_say(run->cx, run->job, level, step, message);
}

static const struct job_type *
type_of(const struct job *j)
{
	const struct job_type *t = job_types;

	while (t->name != NULL && strcmp(t->name, j->type) != 0)
		t++;
	return t->name ? t : NULL;
}

static int64_t
backoff(int64_t attempts)
{
	int64_t ms = BACKOFF_MS;

	while (--attempts > 0 && ms < BACKOFF_MAX_MS)
		ms *= 2;
	return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* A failed or cancelled run has nothing more to say: its fence is gone. */
static enum kb_err
end_job(struct job_run *run, enum kb_err outcome)
{
	const struct job *j = run->job;
	const char *error = run->error ? run->error : kb_err_text(outcome);

	if (outcome == KB_OK)
		return job_finish(run->cx, j, "completed", run->result, NULL);
	if (outcome != KB_INVALID && j->attempts < j->max_attempts) {
		enum kb_err err = run_say(run, "warn", "retry",
		    "%s; trying again in %lld s", error,
		    (long long)(backoff(j->attempts) / 1000));

		if (err)
			return err;
		return job_retry(run->cx, j, error, backoff(j->attempts));
	}
	return job_finish(run->cx, j, "failed", run->result, error);
}

static void
run_job(struct kb_app *app, struct kb_cx *cx, const struct tenant *t,
    const struct job *j)
{
	struct job_run run = { .app = app, .cx = cx, .tenant = t, .job = j };
	const struct job_type *type = type_of(j);
	enum kb_err err;

	kb_info(cx->log, "job starts", KB_S("jobId", j->id),
	    KB_S("type", j->type), KB_S("tenant", t->slug));
	if (type != NULL) {
		err = type->run(&run);
	} else {
		run.error = "No such type of job";
		err = KB_INVALID;
	}
	if (err == KB_CONFLICT) /* cancelled, or taken over */
		return;
	err = end_job(&run, err);
	if (err && err != KB_CONFLICT)
		kb_warn(cx->log, "a job's end could not be written",
		    KB_S("jobId", j->id), KB_S("code", kb_err_code(err)));
}

/* One job of that tenant. True if there was one. */
static bool
work_for(
    struct kb_app *app, struct kb_cx *platform, const struct job_hint *hint)
{
	struct stack_state *state = stack_state(app);
	struct kb_cx cx = *platform;
	struct tenant_handle *h;
	struct tenant t;
	struct job j;
	int64_t waiting = 0;
	enum kb_err err = tenant_by_id(platform, hint->tenant_id, &t);

	if (err || tenancy_acquire(state->tenancy, cx.arena, t.slug, &h))
		return false;
	cx.db = tenant_db(h);
	err = job_claim(&cx, state->runner, &j);
	if (!err)
		run_job(app, &cx, &t, &j);
	else if (err == KB_NOT_FOUND)
		err = jobs_pending(&cx, &waiting) ? KB_INTERNAL : KB_NOT_FOUND;
	tenancy_release(state->tenancy, h);
	if (err == KB_NOT_FOUND && waiting == 0)
		err = job_hint_clear(platform, hint);
	return err == KB_OK;
}

int64_t
jobs_work(struct kb_app *app, struct kb_cx *cx)
{
	struct job_hint *hints;
	bool worked = false;
	size_t n;

	if (job_hints(cx, &hints, &n))
		return IDLE_MS;
	for (size_t i = 0; i < n; i++)
		worked |= work_for(app, cx, &hints[i]);
	return worked ? 0 : IDLE_MS;
}

/* Jobs that an earlier run of the service left behind. */
static void
recover_tenant(
    struct kb_app *app, struct kb_cx *platform, const struct tenant *t)
{
	struct stack_state *state = stack_state(app);
	struct kb_cx cx = *platform;
	struct tenant_handle *h;
	int64_t pending = 0;
	enum kb_err err;

	if (tenancy_acquire(state->tenancy, cx.arena, t->slug, &h))
		return;
	cx.db = tenant_db(h);
	err = jobs_recover(&cx, state->runner, &pending);
	tenancy_release(state->tenancy, h);
	if (!err && pending > 0)
		err = job_hint_set(platform, t->id);
	if (err)
		kb_warn(platform->log, "jobs of a tenant not looked after",
		    KB_S("tenant", t->slug), KB_S("code", kb_err_code(err)));
}

int64_t
jobs_look_after(struct kb_app *app, struct kb_cx *cx)
{
	struct tenant *tenants;
	size_t n;

	if (tenants_active(cx, &tenants, &n))
		return IDLE_MS;
	for (size_t i = 0; i < n; i++)
		recover_tenant(app, cx, &tenants[i]);
	kb_background_wake(app, "jobs");
	return KB_BACKGROUND_DONE;
}

int64_t
tenants_sweep(struct kb_app *app, struct kb_cx *cx)
{
	(void)cx;
	tenancy_sweep(stack_state(app)->tenancy);
	return SWEEP_MS;
}
